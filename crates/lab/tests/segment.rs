//! The segment without a director: what it is made of, that it serves, and that it goes away.

mod common;

use std::process::Command;

use dirigo_lab::page::{Kind, Page};
use dirigo_lab::{Error, Family, Host, Net, Point, State, http, realserver};

const BOTH: [Family; 2] = [Family::Ipv4, Family::Ipv6];

#[test]
fn hosts_find_each_other_at_the_macs_the_experiment_names() {
    if !common::have_root() {
        return;
    }
    for family in BOTH {
        let net = Net::build(&common::options(family)).unwrap();
        for host in [Host::Director, Host::Rs1, Host::Rs2] {
            let mac = net.resolve(Host::Client, host.address(family)).unwrap();
            assert_eq!(mac, host.mac(), "{family} {host}");
        }
    }
}

#[test]
fn nothing_is_left_when_a_lab_is_dropped() {
    if !common::have_root() {
        return;
    }
    let options = common::options(Family::Ipv4);
    let net = Net::build(&options).unwrap();
    let state = net.state().clone();
    let sleeper = net.spawn(Host::Rs1, "sleep", vec!["sleep".into(), "1000".into()]);
    let sleeper = sleeper.unwrap().id();
    assert!(state.directory().exists());

    drop(net);

    assert!(!state.directory().exists());
    assert_eq!(State::load(&options.name).unwrap(), None);
    let names = netlink::Namespace::names();
    assert!(
        !names.iter().any(|name| name.contains(&options.name)),
        "{names:?}"
    );
    let status = std::fs::read_to_string(format!("/proc/{sleeper}/status"));
    assert!(status.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn a_name_in_use_is_refused_and_the_lab_that_has_it_is_left_alone() {
    if !common::have_root() {
        return;
    }
    let options = common::options(Family::Ipv4);
    let net = Net::build(&options).unwrap();
    let again = Net::build(&options);
    assert!(matches!(again, Err(Error::Exists { .. })));
    let mac = net.resolve(Host::Client, Host::Rs1.address(Family::Ipv4));
    assert_eq!(mac.unwrap(), Host::Rs1.mac());
}

#[test]
fn a_page_names_its_server_and_the_captures_see_the_request() {
    if !common::have_root() {
        return;
    }
    for (family, kind) in BOTH.into_iter().zip([Kind::available(), Kind::Builtin]) {
        let net = Net::build(&common::options(family)).unwrap();
        let capture = net.capture().unwrap();
        let page = Page::start(&net, Host::Rs2, kind).unwrap();
        let at = (Host::Rs2.address(family), dirigo_lab::topology::PORT).into();
        let mark = capture.mark();

        let answer = http::get(&net, Host::Client, at).unwrap();

        assert_eq!(answer.server(), Some(Host::Rs2), "{kind:?}");
        let seen = capture.since(&mark, Point::Host(Host::Rs2));
        let asked = seen.iter().filter_map(|seen| seen.frame.segment());
        assert_eq!(
            asked
                .filter(|segment| segment.source == answer.from && segment.opens)
                .count(),
            1
        );
        assert_eq!(capture.lost(), 0);

        page.crash();
        assert!(http::get(&net, Host::Client, at).is_err());
    }
}

#[test]
fn a_real_server_set_up_by_the_binary_passes_its_check_and_fails_it_when_let_loose() {
    if !common::have_root() {
        return;
    }
    let net = Net::build(&common::options(Family::Ipv4)).unwrap();
    assert!(!realserver::check(&net, Host::Rs1).unwrap().0);
    realserver::up(&net, Host::Rs1).unwrap();
    realserver::up(&net, Host::Rs2).unwrap();
    let (content, said) = realserver::check(&net, Host::Rs1).unwrap();
    assert!(content, "{said}");

    for conf in ["all", "lo", "eth0"] {
        let key = format!("ipv4/conf/{conf}/arp_ignore");
        net.set_sysctl(Host::Rs1, &key, "0").unwrap();
    }

    assert!(!realserver::check(&net, Host::Rs1).unwrap().0);
    assert!(realserver::check(&net, Host::Rs2).unwrap().0);
}

#[test]
fn nobody_answers_for_a_vip_that_only_real_servers_hold() {
    if !common::have_root() {
        return;
    }
    for family in BOTH {
        let net = Net::build(&common::options(family)).unwrap();
        for server in Host::SERVERS {
            realserver::up(&net, server).unwrap();
        }
        let found = net.resolve(Host::Client, family.vip());
        assert!(
            matches!(found, Err(Error::Timeout { .. })),
            "{family}: {found:?}"
        );
    }
}

#[test]
fn a_command_that_fails_on_a_host_is_an_error_with_its_words() {
    if !common::have_root() {
        return;
    }
    let net = Net::build(&common::options(Family::Ipv4)).unwrap();
    let mut command = Command::new("cat");
    command.arg("/no/such/file");
    let error = net.exec_ok(Host::Client, &mut command).unwrap_err();
    assert!(error.to_string().contains("cat /no/such/file"), "{error}");
}
