//! The real ldirectord drives the director through `ipvsadm`, which is our binary.
//!
//! ```text
//! ldirectord ── GET / ──► real servers' pages, one of which stops and comes back
//!      └── /usr/sbin/ipvsadm (dirigo, bind-mounted over the original) ──► the lab's director
//! ```
//!
//! ldirectord calls ipvsadm by its path, so PATH alone would not do: the mount is in a mount namespace
//! of ldirectord's own.
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dirigo_lab::http::Connection;
use dirigo_lab::process::Process;
use dirigo_lab::{Family, Host, Lab};

use common::service::up;

/// How long ldirectord may take: it looks once a second, and each look may take three.
const NOTICED_MAX: Duration = Duration::from_secs(60);

/// What it makes of a server whose check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// `quiescent = no`: it is deleted.
    Deleted,
    /// `quiescent = yes`: its weight is 0.
    Drained,
}

/// Starts it. Supervised, it stays in the foreground and writes no file into `/run`.
fn start(lab: &Lab, failed: Failed) -> Process {
    let state = lab.net.state();
    let file = state.directory().join("ldirectord.cf");
    std::fs::write(&file, config(lab, failed)).unwrap();
    // Words that the shell sees as variables need no quoting.
    let script = "mount --bind \"$DIRIGO\" /usr/sbin/ipvsadm && exec ldirectord \"$FILE\" start";
    let words = [
        "env".to_owned(),
        format!("DIRIGO={}", lab.net.dirigo().display()),
        format!("FILE={}", file.display()),
        format!("DIRIGO_INSTANCE={}", state.instance()),
        "unshare".to_owned(),
        "--mount".to_owned(),
        "sh".to_owned(),
        "-c".to_owned(),
        script.to_owned(),
    ];
    let words = words.map(Into::into).to_vec();
    lab.net.spawn(Host::Director, "ldirectord", words).unwrap()
}

fn config(lab: &Lab, failed: Failed) -> String {
    let family = lab.family();
    let [rs1, rs2] = Host::SERVERS.map(|server| server.address(family));
    let log = lab.net.state().directory().join("ldirectord-own.log");
    let quiescent = match failed {
        Failed::Deleted => "no",
        Failed::Drained => "yes",
    };
    format!(
        "checktimeout = 3\nnegotiatetimeout = 3\ncheckinterval = 1\nfailurecount = 1\n\
         supervised = yes\nquiescent = {quiescent}\nlogfile = \"{}\"\n\
         virtual = {}\n\
         \treal = {rs1}:80 gate 1\n\
         \treal = {rs2}:80 gate 3\n\
         \tservice = http\n\
         \tscheduler = wrr\n\
         \tprotocol = tcp\n\
         \tchecktype = negotiate\n\
         \trequest = \"/\"\n\
         \treceive = \"serves this page\"\n",
        log.display(),
        family.service()
    )
}

/// Weights by server, of the one service; `None` without a service.
fn weights(lab: &Lab) -> Option<BTreeMap<Host, u32>> {
    let director = lab.director.as_ref().unwrap();
    let services = director.services().unwrap();
    let service = services.first()?;
    assert_eq!(service.settings.scheduler, "wrr");
    let host = |address| {
        let mut servers = Host::SERVERS.into_iter();
        servers.find(|server| server.address(lab.family()) == address)
    };
    let destinations = service.destinations.iter();
    Some(
        destinations
            .map(|one| (host(one.destination.ip()).unwrap(), one.settings.weight))
            .collect(),
    )
}

fn await_weights(lab: &Lab, ldirectord: &Process, wanted: Option<&[(Host, u32)]>) {
    let wanted = wanted.map(|wanted| wanted.iter().copied().collect::<BTreeMap<_, _>>());
    let reached = lab
        .net
        .interrupt()
        .poll(NOTICED_MAX, || Ok((weights(lab) == wanted).then_some(())));
    assert!(
        reached.unwrap().is_some(),
        "{:?} instead of {wanted:?}\n{}",
        weights(lab),
        ldirectord.log_tail()
    );
}

/// Which servers answer twelve requests.
fn answering(lab: &Lab) -> BTreeMap<Host, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..12 {
        let service = lab.family().service();
        let connection = Connection::open(&lab.net, Host::Client, service).unwrap();
        let server = connection.get_last().unwrap().server().unwrap();
        *answers.entry(server).or_default() += 1;
    }
    answers
}

fn have_ldirectord() -> bool {
    if Path::new("/usr/sbin/ldirectord").exists() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must have ldirectord (Debian's package of that name)"
    );
    println!("skipped: needs ldirectord");
    false
}

#[test]
fn ldirectord_takes_a_server_out_when_its_page_stops_and_in_again_when_it_is_back() {
    if !common::have_root() || !have_ldirectord() {
        return;
    }
    let mut lab = up(Family::Ipv4);
    let pages = lab.pages().unwrap();
    for failed in [Failed::Deleted, Failed::Drained] {
        // The table is ldirectord's.
        lab.ipvsadm(&["-C"]).unwrap();
        let mut ldirectord = start(&lab, failed);
        let both = [(Host::Rs1, 1), (Host::Rs2, 3)];
        await_weights(&lab, &ldirectord, Some(&both));
        let spread = BTreeMap::from([(Host::Rs1, 3), (Host::Rs2, 9)]);
        assert_eq!(answering(&lab), spread, "{failed:?}");

        lab.crash_page(Host::Rs1);

        let one: &[_] = match failed {
            Failed::Deleted => &[(Host::Rs2, 3)],
            Failed::Drained => &[(Host::Rs1, 0), (Host::Rs2, 3)],
        };
        await_weights(&lab, &ldirectord, Some(one));
        assert_eq!(
            answering(&lab),
            BTreeMap::from([(Host::Rs2, 12)]),
            "{failed:?}"
        );

        lab.start_page(Host::Rs1, pages).unwrap();

        await_weights(&lab, &ldirectord, Some(&both));
        assert_eq!(answering(&lab), spread, "{failed:?}");

        // Told to end, it takes its services with it (cleanstop, its default).
        let interrupt = lab.net.interrupt().clone();
        ldirectord.terminate(NOTICED_MAX, &interrupt).unwrap();
        await_weights(&lab, &ldirectord, None);
    }
}
