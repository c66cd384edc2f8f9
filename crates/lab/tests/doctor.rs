//! `dirigo doctor` in the lab: a healthy one gives no finding; each of a table of faults is named
//! with the right host, and the fix that is printed, run on that host, clears it.

#[path = "doctor/cases.rs"]
mod cases;
mod common;

use std::process::Command;

use cases::{ADDRESSES, Case, Extra, HOSTS, IPV6, SEGMENT};
use dirigo_lab::page::Kind;
use dirigo_lab::process::Process;
use dirigo_lab::topology::{INTERFACE, PORT};
use dirigo_lab::{Family, Host, Lab, http};
use netlink::FrameSocket;
use serde_json::Value as Json;

const ROLES: [(Host, &str); 4] = [
    (Host::Director, "director"),
    (Host::Rs1, "realserver"),
    (Host::Rs2, "realserver"),
    (Host::Client, "witness"),
];

/// How long the kernel or a daemon may take for what follows from a change.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

fn lab(family: Family) -> Lab {
    let options = common::options(family);
    Lab::up(&options, Kind::Builtin, &mut |_| {}).expect("the lab stands")
}

/// A shell which knows the lab's addresses and its binary.
fn shell(lab: &Lab, words: &str) -> Command {
    let family = lab.family();
    let binary = common::dirigo()
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .args(["-ec", words])
        .env("PATH", format!("{binary}:{path}:/usr/sbin:/sbin"))
        .env("DIRIGO_INSTANCE", lab.net.state().instance())
        .env("CONFIG", lab.net.state().directory().join("director.toml"))
        .env("VIP", family.vip().to_string());
    for (name, host) in [
        ("CLIENT", Host::Client),
        ("DIRECTOR", Host::Director),
        ("RS1", Host::Rs1),
        ("RS2", Host::Rs2),
    ] {
        command.env(name, host.address(family).to_string());
    }
    command
}

fn run(lab: &Lab, host: Host, words: &str) {
    let done = lab.net.exec(host, &mut shell(lab, words)).expect("it runs");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{words} on {host}: {said}");
}

/// The doctor's exit code and report.
fn doctor(lab: &Lab, (host, role): (Host, &str)) -> (i32, Json) {
    let words = format!("dirigo doctor --json --role {role}");
    let done = lab
        .net
        .exec(host, &mut shell(lab, &words))
        .expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout);
    let said = String::from_utf8_lossy(&done.stderr);
    let report = serde_json::from_str(&text);
    let report = report.unwrap_or_else(|error| panic!("{role} on {host}: {error}: {text}{said}"));
    (done.status.code().unwrap_or(-1), report)
}

fn assert_healthy(lab: &Lab, look: (Host, &str), when: &str) {
    let (code, report) = doctor(lab, look);
    let findings = &report["findings"];
    assert!(
        code == 0 && findings == &serde_json::json!([]),
        "{when}, {look:?} ends with {code} and finds {findings:#}"
    );
}

/// Whom a finding names.
fn named(lab: &Lab, host: &Json) -> Option<Host> {
    let mac = host["mac"].as_str().unwrap_or_default();
    let address = host["address"].as_str().unwrap_or_default();
    let is = |one: &&Host| one.address(lab.family()).to_string() == address;
    Host::ALL
        .iter()
        .find(is)
        .or_else(|| {
            Host::ALL
                .iter()
                .find(|one| netlink::mac_text(&one.mac()) == mac)
        })
        .copied()
}

/// Real server 1 says once that the VIP is its own.
fn announce_from_rs1(lab: &Lab) {
    let index = lab.net.link(Host::Rs1).expect("a link").index;
    let frame = netlink::announce::frame(Host::Rs1.mac(), lab.family().vip());
    let send = || FrameSocket::open(index)?.send(&frame);
    let sent = lab.net.on(Host::Rs1, send);
    sent.expect("a host").expect("an announcement");
}

/// The daemon, whoever started it.
fn director_pid(lab: &Lab) -> u32 {
    let client = api::Client::new(&lab.net.state().instance());
    client.status().expect("a daemon answers").pid
}

/// A daemon that was started by hand takes its time on a busy machine.
fn await_daemon(lab: &Lab) {
    let client = api::Client::new(&lab.net.state().instance());
    let until = std::time::Instant::now() + PATIENCE;
    while let Err(error) = client.status() {
        assert!(std::time::Instant::now() < until, "no daemon: {error}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Of the other end of the director's veth.
fn set_port_mtu(lab: &Lab, mtu: u32) {
    let set = lab.net.switch().run(|| {
        let netlink = netlink::Netlink::open()?;
        netlink.set_mtu(netlink.link(Host::Director.name())?.index, mtu)
    });
    set.expect("a namespace").expect("an MTU");
}

/// What lives as long as a fault.
#[derive(Default)]
struct Alive {
    listener: Option<std::net::TcpListener>,
    _process: Option<Process>,
}

fn seed(lab: &mut Lab, case: &Case) -> Alive {
    if case.extra == Extra::DaemonDies {
        let pid = director_pid(lab);
        run(lab, Host::Director, &format!("kill -9 {pid}; sleep 0.2"));
    }
    for (host, words) in case.seed {
        run(lab, *host, words);
    }
    let mut alive = Alive::default();
    let family = lab.family();
    match case.extra {
        Extra::None | Extra::DaemonDies => {}
        Extra::Generic => {
            run(lab, Host::Director, "dirigo down --release");
            set_port_mtu(lab, 9_000);
            let start = "setsid dirigo run -c $CONFIG >/dev/null 2>&1 </dev/null &";
            run(lab, Host::Director, start);
            let until = std::time::Instant::now() + PATIENCE;
            while lab.net.link(Host::Director).expect("a link").xdp.is_none() {
                assert!(std::time::Instant::now() < until, "no program within 30 s");
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            std::thread::sleep(std::time::Duration::from_secs(1));
            set_port_mtu(lab, 1_500);
        }
        Extra::PageDies => lab.crash_page(Host::Rs1),
        Extra::PageOnRealAddress => {
            lab.crash_page(Host::Rs1);
            let at = (Host::Rs1.address(family), PORT);
            let bound = lab.net.on(Host::Rs1, || std::net::TcpListener::bind(at));
            alive.listener = Some(bound.expect("a host").expect("a free port"));
        }
        Extra::Announces => {
            http::get(&lab.net, Host::Client, family.service()).expect("the service answers");
            announce_from_rs1(lab);
        }
        Extra::XdpOnServer => {
            let dirigo = common::dirigo().as_os_str().to_owned();
            let words = ["lab", "flush", INTERFACE].map(std::ffi::OsString::from);
            let words = std::iter::once(dirigo).chain(words).collect();
            alive._process = Some(lab.net.spawn(Host::Rs1, "xdp", words).expect("it starts"));
            let until = std::time::Instant::now() + PATIENCE;
            while lab.net.link(Host::Rs1).expect("a link").xdp.is_none() {
                assert!(std::time::Instant::now() < until, "no program within 30 s");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
    alive
}

fn restore(lab: &mut Lab, case: &Case, alive: Alive) {
    let paged = alive.listener.is_some() || case.extra == Extra::PageDies;
    drop(alive);
    if paged {
        lab.start_page(Host::Rs1, Kind::Builtin).expect("a page");
    }
    for (host, words) in case.restore {
        run(lab, *host, words);
    }
    if case.extra == Extra::DaemonDies {
        await_daemon(lab);
    }
}

/// Looks, finds the fault by its code and host, runs what is printed, looks again.
fn examine(lab: &mut Lab, case: &Case) {
    let alive = seed(lab, case);
    let (code, report) = doctor(lab, case.look);
    assert_eq!(code, 1, "{}: {report:#}", case.name);
    let findings = report["findings"].as_array().expect("findings").clone();
    let of_code = findings.iter().find(|finding| finding["code"] == case.code);
    let found = of_code.unwrap_or_else(|| panic!("{}: no {} in {report:#}", case.name, case.code));
    assert_eq!(
        named(lab, &found["host"]),
        Some(case.culprit),
        "{}: {found:#}",
        case.name
    );
    for word in ["seen", "why"] {
        assert!(
            found[word].as_str().is_some_and(|text| text.len() > 5),
            "{found:#}"
        );
    }
    // A fix that sends the operator to another host's doctor is that one's to mend.
    let diagnosis = |command: &str| command.starts_with("dirigo doctor");
    let mut all: Vec<&Json> = findings.iter().collect();
    all.sort_by_key(|finding| finding["code"] != case.code);
    for finding in all {
        let place = if finding["fix_on"].is_null() {
            &finding["host"]
        } else {
            &finding["fix_on"]
        };
        let host = named(lab, place).unwrap_or(case.look.0);
        let fix = finding["fix"].as_array().expect("a fix");
        assert!(!fix.is_empty(), "{}: {finding:#}", case.name);
        for command in fix
            .iter()
            .filter_map(Json::as_str)
            .filter(|command| !diagnosis(command))
        {
            // The other findings of the same fault may have been mended by the first.
            let done = lab
                .net
                .exec(host, &mut shell(lab, command))
                .expect("it runs");
            let first = finding["code"] == case.code;
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(
                done.status.success() || !first,
                "{}: {command}: {said}",
                case.name
            );
        }
        if finding["code"] == case.code
            && fix.iter().any(|one| !diagnosis(one.as_str().unwrap_or("")))
        {
            settle(lab, case, finding);
        }
    }
    if case.restore.is_empty() {
        assert_eventually_healthy(lab, case.look, &format!("after the fix of `{}`", case.name));
    }
    restore(lab, case, alive);
    assert_eventually_healthy(lab, case.look, &format!("with `{}` taken back", case.name));
}

/// The fix of the finding itself must clear it, before any other is run.
fn settle(lab: &Lab, case: &Case, finding: &Json) {
    let until = std::time::Instant::now() + PATIENCE;
    let last = loop {
        let last = doctor(lab, case.look).1;
        let findings = last["findings"].as_array().expect("findings");
        let same = |one: &Json| {
            ["code", "interfaces"]
                .iter()
                .all(|key| one[key] == finding[key])
        };
        if !findings.iter().any(same) {
            return;
        }
        if std::time::Instant::now() >= until {
            break last;
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
    };
    panic!("{}: its fix does not clear it: {last:#}", case.name);
}

/// Some things take the kernel or the daemon a second: a MAC is learnt, a program attached.
fn assert_eventually_healthy(lab: &Lab, look: (Host, &str), when: &str) {
    let until = std::time::Instant::now() + PATIENCE;
    while doctor(lab, look).0 != 0 && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    assert_healthy(lab, look, when);
}

/// Whether the programs are there that a case is made or mended with; in CI they must be.
fn have_tools(case: &Case) -> bool {
    let seeds = case.seed.iter().chain(case.restore);
    let words: Vec<&str> = seeds.flat_map(|(_, words)| words.split(' ')).collect();
    let tools = ["nft", "iptables", "ip6tables", "ethtool"];
    let missing = tools.into_iter().find(|tool| {
        let runs = || Command::new(tool).arg("--version").output().is_ok();
        words.contains(tool) && !runs()
    });
    if let Some(tool) = missing {
        assert!(std::env::var_os("CI").is_none(), "CI must have {tool}");
        println!("skipped: {}: needs {tool}", case.name);
    }
    missing.is_none()
}

fn examine_all(family: Family, cases: &[Case]) {
    if !common::have_root() {
        return;
    }
    let only = std::env::var("DOCTOR_CASE").unwrap_or_default();
    let mut lab = lab(family);
    for look in ROLES {
        assert_eventually_healthy(&lab, look, "in a healthy lab");
    }
    let here = |case: &&Case| case.family == family && case.name.contains(&only);
    for case in cases.iter().filter(here).filter(|case| have_tools(case)) {
        println!("{}: {}", family, case.name);
        examine(&mut lab, case);
    }
    for look in ROLES {
        assert_eventually_healthy(&lab, look, "in the end");
    }
}

#[test]
fn a_healthy_lab_gives_no_finding_to_anybody_and_the_table_knows_of_no_connection() {
    if !common::have_root() {
        return;
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let lab = lab(family);
        for look in ROLES {
            assert_healthy(&lab, look, "in a healthy lab");
        }
        let before = lab
            .director
            .as_ref()
            .expect("a director")
            .status()
            .expect("an answer");
        assert_healthy(&lab, ROLES[0], "a second time");
        let after = lab
            .director
            .as_ref()
            .expect("a director")
            .status()
            .expect("an answer");
        assert_eq!(
            before.connections, after.connections,
            "the director's doctor leaves no connection"
        );
    }
}

#[test]
fn faults_of_addresses_and_answers_are_named_and_their_fixes_clear_them() {
    examine_all(Family::Ipv4, ADDRESSES);
}

#[test]
fn faults_of_the_segment_are_named_and_their_fixes_clear_them() {
    examine_all(Family::Ipv4, SEGMENT);
}

#[test]
fn faults_of_hosts_are_named_and_their_fixes_clear_them() {
    examine_all(Family::Ipv4, HOSTS);
}

#[test]
fn faults_of_ipv6_are_named_and_their_fixes_clear_them() {
    examine_all(Family::Ipv6, IPV6);
}

#[test]
fn a_server_that_hides_the_vip_by_rules_of_arp_in_place_of_sysctls_gives_no_finding() {
    if !common::have_root() {
        return;
    }
    let lab = lab(Family::Ipv4);
    let has_nft = Command::new("nft").arg("--version").output().is_ok();
    assert!(
        has_nft || std::env::var_os("CI").is_none(),
        "CI must have nft"
    );
    if !has_nft {
        return println!("skipped: needs nft");
    }
    let sysctls = "sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0";
    run(&lab, Host::Rs1, sysctls);
    assert_eq!(doctor(&lab, ROLES[1]).0, 1, "it answers for the VIP");
    let rules = "nft add table arp quiet
         nft 'add chain arp quiet in { type filter hook input priority 0; }'
         nft 'add chain arp quiet out { type filter hook output priority 0; }'
         nft add rule arp quiet in arp daddr ip $VIP drop
         nft add rule arp quiet out arp saddr ip $VIP arp saddr ip set $RS1";
    run(&lab, Host::Rs1, rules);
    for look in ROLES {
        assert_eventually_healthy(&lab, look, "with rules of ARP");
    }
}

/// Waits for something that comes within seconds.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < until, "{what} did not happen");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_watching_doctor_tells_of_one_announcement_and_of_its_end() {
    if !common::have_root() {
        return;
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let lab = lab(family);
        let words = "dirigo doctor --watch --interval 1 --looks 6 --json";
        let said = std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut command = shell(&lab, words);
                lab.net.exec(Host::Director, &mut command).expect("it runs")
            });
            // Between its second look and its third, or nearly so: it hears it in any case.
            std::thread::sleep(std::time::Duration::from_secs(3));
            announce_from_rs1(&lab);
            watching.join().expect("no panic")
        });
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        let text = String::from_utf8_lossy(&said.stdout);
        let lines: Vec<Json> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 6, "{text}");
        let tells = |which: &str| {
            let has = |line: &&Json| line[which][0]["code"] == "vip-announced";
            let line = lines
                .iter()
                .find(has)
                .unwrap_or_else(|| panic!("{which}: {text}"));
            named(&lab, &line[which][0]["host"])
        };
        assert_eq!(
            (tells("new"), tells("gone")),
            (Some(Host::Rs1), Some(Host::Rs1))
        );
    }
}

#[test]
fn the_daemon_tells_of_another_host_that_announces_the_vip() {
    if !common::have_root() {
        return;
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let lab = lab(family);
        let log = lab.net.state().directory().join("director.log");
        let told = || {
            let text = std::fs::read_to_string(&log).expect("a log");
            let about = |line: &&str| line.contains("another host claims a virtual address");
            text.lines().find(about).map(str::to_owned)
        };
        let claims = || {
            let status = lab.director.as_ref().expect("a director").status();
            status.expect("an answer").counters["vip_claimed"]
        };
        assert_eq!(
            (told(), claims()),
            (None, 0),
            "of the director's own announcements"
        );

        // The listener is there a moment after the daemon answers.
        eventually("the event", || {
            announce_from_rs1(&lab);
            told().is_some()
        });

        let line = told().expect("a line");
        let mac = netlink::mac_text(&Host::Rs1.mac());
        for word in [mac.as_str(), &family.vip().to_string(), INTERFACE] {
            assert!(line.contains(word), "{line}");
        }
        assert!(claims() > 0);
    }
}
