//! The daemon as a process, with real frames: what it takes over, follows, refuses, leaves.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;

use api::{Change, DestinationSettings, RefusalCode, ServiceKey};
use common::{CHILD, FILES, World, root, server, six, until, vip};
use dirigo_daemon as daemon;

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

fn web() -> ServiceKey {
    format!("tcp:{}:80", vip()).parse().unwrap()
}

fn weight(weight: u32) -> DestinationSettings {
    DestinationSettings::of(weight)
}

fn edit(n: u8, settings: DestinationSettings) -> Change {
    Change::EditDestination {
        service: web(),
        destination: SocketAddr::new(server(n), 80),
        settings,
    }
}

fn add(n: u8, settings: DestinationSettings) -> Change {
    Change::AddDestination {
        service: web(),
        destination: SocketAddr::new(server(n), 80),
        settings,
    }
}

fn delete(n: u8) -> Change {
    Change::DeleteDestination {
        service: web(),
        destination: SocketAddr::new(server(n), 80),
    }
}

#[test]
fn a_killed_daemon_leaves_forwarding_and_the_next_one_takes_everything_over() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    assert_eq!(world.ask(3), [2, 1, 2]);
    let mut open = world.connect().unwrap();
    assert_eq!(open.server, 1);

    world.kill();
    assert!(open.echoes(), "an open connection lives without the daemon");
    assert_eq!(world.ask(3), [2, 1, 2], "new ones go on in order");

    world.start(&config);
    let status = world.api().status().unwrap();
    assert!(status.adopted);
    assert!(open.echoes(), "and survive its return");
    assert_eq!(world.ask(2), [1, 2], "which does not disturb the order");
    // What is shown is looked at every two seconds, as in IPVS.
    let counts_them = (0..50).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        world.api().services().unwrap()[0].stats.connections == 9
    });
    assert!(counts_them);
    let mut listed = 0;
    world
        .api()
        .connections(&api::ConnectionQuery::default(), &mut |_| {
            listed += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(listed, 9);
}

#[test]
fn what_was_changed_at_runtime_survives_a_crash_and_not_an_orderly_stop() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    world.api().change(&edit(1, weight(0))).unwrap();
    assert_eq!(world.ask(3), [2, 2, 2]);

    world.kill();
    world.start(&config);
    assert_eq!(world.ask(3), [2, 2, 2]);

    world.terminate();
    assert_eq!(world.ask(2), [2, 2], "forwarding stays");
    world.start(&config);
    let mut answered = world.ask(2);
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
}

#[test]
fn a_drained_or_deleted_server_keeps_or_loses_its_connections_and_gets_no_new_ones() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let mut open = world.connect().unwrap();
    assert_eq!(open.server, 2);

    world.api().change(&edit(2, weight(0))).unwrap();
    assert!(open.echoes(), "a drained server keeps its connections");
    assert_eq!(world.ask(3), [1, 1, 1]);

    world.api().change(&delete(2)).unwrap();
    assert!(!open.echoes(), "a deleted one's packets are dropped");
    world.api().change(&add(2, weight(3))).unwrap();
    assert!(open.echoes(), "added again, it has its connections back");
}

#[test]
fn a_server_that_changes_its_mac_is_followed_with_its_connections() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let mut open = world.connect().unwrap();
    let mac = [2, 0, 0, 9, 0, 0xee];

    world.set_mac(open.server, mac);

    let moved = server(open.server);
    until("the new MAC is known", || {
        matches!(
            world.link(moved),
            Some(api::LinkState::Resolved { mac: found, .. }) if found == netlink::mac_text(&mac)
        )
    });
    assert!(open.echoes());
}

#[test]
fn a_dead_server_gets_no_connections_until_it_answers_again() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);

    world.set_link(1, false);
    until("its silence is noticed", || !world.is_resolved(server(1)));
    assert_eq!(world.ask(4), [2, 2, 2, 2]);
    let Some(api::LinkState::Unresolved { reason }) = world.link(server(1)) else {
        panic!("it is resolved");
    };
    assert_eq!(reason, "no answer to ARP on eth0");

    world.set_link(1, true);
    until("it is back", || world.is_resolved(server(1)));
    let mut answered = world.ask(2);
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
}

#[test]
fn a_destination_answers_the_very_next_connection_after_it_was_added() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start("[director]\ninterface = \"eth0\"\n");
    let settings = api::ServiceSettings::of("wrr");
    let service = web();
    let api = world.api();
    api.change(&Change::AddService { service, settings })
        .unwrap();
    api.change(&add(1, weight(1))).unwrap();

    assert_eq!(world.ask(2), [1, 1]);
    assert!(world.director_has(vip()));
}

#[test]
fn release_takes_away_program_pins_addresses_and_files() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    assert!(world.director_has(vip()));

    assert_eq!(world.down(true).unwrap(), daemon::Down::Stopped);

    assert!(!world.director_has(vip()));
    assert!(world.connect().is_err());
    assert_nothing_is_left(&world);
    assert_eq!(world.down(true).unwrap(), daemon::Down::Nothing);
    assert!(matches!(
        world.down(false),
        Err(daemon::Error::Unreachable(_))
    ));
}

#[test]
fn release_works_on_what_a_dead_daemon_left() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    world.kill();
    assert!(world.director_has(vip()));

    assert_eq!(world.down(true).unwrap(), daemon::Down::Released);

    assert!(!world.director_has(vip()));
    assert_nothing_is_left(&world);
}

#[test]
fn release_says_so_when_a_damaged_state_hides_which_addresses_are_ours() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    world.kill();
    let state = format!("/run/dirigo/{}.state.json", world.instance);
    std::fs::write(state, "{").unwrap();

    let down = world.down(true).unwrap();

    assert!(
        matches!(&down, daemon::Down::ReleasedWithoutAddresses { reason } if reason.contains("damaged")),
        "{down:?}"
    );
    assert!(world.director_has(vip()));
    assert_nothing_is_left(&world);
}

#[test]
fn a_daemon_started_at_once_after_a_release_keeps_its_socket() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    // An open request keeps the first one for a while after it has released everything.
    let path = api::socket_path(&world.instance);
    let mut open = std::os::unix::net::UnixStream::connect(path).unwrap();
    std::io::Write::write_all(&mut open, b"GET /v1/status HTTP/1.1\r\n").unwrap();
    world.api().stop(api::Stop { release: true }).unwrap();

    let mut first = world.leave_running();
    world.start(&config);

    assert!(first.wait().unwrap().success());
    assert!(!world.api().status().unwrap().adopted);
    assert_eq!(world.ask(2), [2, 1]);
}

fn assert_nothing_is_left(world: &World) {
    let pins = std::path::Path::new(dataplane::PIN_ROOT).join(&world.instance);
    assert!(!pins.exists(), "{} is left", pins.display());
    let files = std::fs::read_dir("/run/dirigo").into_iter().flatten();
    let left: Vec<_> = files
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with(&format!("{}.", world.instance)))
        .collect();
    assert!(left.is_empty(), "{left:?} are left");
}

#[test]
fn an_address_that_was_there_before_is_used_and_not_removed() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world
        .director
        .run(|| {
            let netlink = netlink::Netlink::open().unwrap();
            let index = netlink.link("eth0").unwrap().index;
            let flags = netlink::AddressFlags::default();
            netlink.add_address(index, vip(), 32, flags).unwrap();
        })
        .unwrap();
    let config = world.classic("rr");
    world.start(&config);
    assert_eq!(world.ask(2), [2, 1]);

    world.down(true).unwrap();

    assert!(world.director_has(vip()));
}

#[test]
fn the_config_may_have_forwarding_end_with_the_daemon() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr").replace(
        "interface = \"eth0\"",
        "interface = \"eth0\"\non_stop = \"release\"",
    );
    world.start(&config);
    world.terminate();
    assert!(!world.director_has(vip()));
    assert_nothing_is_left(&world);
}

#[test]
fn a_second_daemon_of_an_instance_is_refused_with_the_pid_of_the_first() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let options = daemon::Options {
        instance: world.instance.clone(),
        file: "/config".into(),
        texts: Vec::new(),
        config: config::Config::parse(&config, "second").unwrap(),
    };
    let second = world.director.run(|| daemon::run(&options)).unwrap();
    assert!(matches!(
        second,
        Err(daemon::Error::AlreadyRunning { pid: Some(pid) }) if pid == world.pid()
    ));
}

#[test]
fn what_the_table_refuses_reaches_the_client_with_its_code() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let refused = |change: Change| match world.api().change(&change) {
        Err(api::ClientError::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    };
    let settings = api::ServiceSettings::of;
    let service = web();
    assert_eq!(
        refused(Change::AddService {
            service,
            settings: settings("rr")
        }),
        RefusalCode::ServiceExists
    );
    assert_eq!(
        refused(Change::EditService {
            service,
            settings: settings("fastest")
        }),
        RefusalCode::NoSuchScheduler
    );
    assert_eq!(refused(add(1, weight(1))), RefusalCode::DestinationExists);
    assert_eq!(refused(delete(9)), RefusalCode::NoSuchDestination);
    let broadcast = Change::AddDestination {
        service,
        destination: "10.9.0.255:80".parse().unwrap(),
        settings: weight(1),
    };
    assert_eq!(refused(broadcast), RefusalCode::BadAddress);
}

#[test]
fn ipv6_servers_are_resolved_lost_and_found_too() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&format!(
        "[director]\ninterface = \"eth0\"\n[[service]]\naddress = \"[{}]:80\"\nprotocol = \"tcp\"\n\
         scheduler = \"rr\"\n[[service.destination]]\naddress = \"{}\"\n",
        six(100),
        six(11)
    ));
    assert!(world.is_resolved(six(11)));
    assert!(world.director_has(six(100)));
    let mac = [2, 0, 0, 9, 0, 0xee];
    world.set_mac(1, mac);
    until("the new MAC is known", || {
        matches!(
            world.link(six(11)),
            Some(api::LinkState::Resolved { mac: found, .. }) if found == netlink::mac_text(&mac)
        )
    });
}

#[test]
fn requests_that_cannot_be_read_are_refused_with_what_is_wrong() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start("[director]\ninterface = \"eth0\"\n");
    let long = format!(
        "POST /v1/changes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
        100_000,
        " ".repeat(100_000)
    );
    for (request, status, said) in [
        (
            "GET /nonsense HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "400",
            "no such route",
        ),
        (
            "POST /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "400",
            "no such route",
        ),
        (
            "POST /v1/changes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
            "400",
            "cannot be read",
        ),
        (&long, "400", "at most 65536 bytes"),
    ] {
        let answer = world.raw(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.contains(said), "{answer}");
        assert!(answer.contains("bad-request"), "{answer}");
    }
    assert!(world.api().status().is_ok());
}

#[test]
fn a_destination_deleted_and_added_again_at_once_is_never_lost_of_sight() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    for _ in 0..20 {
        world.api().change(&delete(1)).unwrap();
        world.api().change(&add(1, weight(1))).unwrap();
        assert!(world.is_resolved(server(1)));
    }
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    if !root() {
        return;
    }
    let world = World::new();
    let config = world.classic("rr").replace("eth0", "nonsense0");
    let options = daemon::Options {
        instance: world.instance.clone(),
        file: "/config".into(),
        texts: Vec::new(),
        config: config::Config::parse(&config, "config").unwrap(),
    };

    let error = world
        .director
        .run(|| daemon::run(&options))
        .unwrap()
        .unwrap_err();

    assert!(error.to_string().contains("nonsense0"), "{error}");
    assert_nothing_is_left(&world);
}

#[test]
fn a_start_that_fails_among_its_maps_leaves_nothing_behind() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    for limit in [12, 16, 20] {
        world.start_with_files(&config, limit);
        assert!(
            world.log().contains("opening the data plane"),
            "{}",
            world.log()
        );
        assert_nothing_is_left(&world);
    }
}

#[test]
fn an_interface_that_goes_and_comes_back_forwards_again() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    assert_eq!(world.ask(2), [2, 1]);

    world.replace_directors_interface();

    until("the virtual address is back", || world.director_has(vip()));
    until("the real servers are found again", || {
        world.is_resolved(server(1)) && world.is_resolved(server(2))
    });
    let mut answered = world.ask(2);
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
}

#[test]
fn a_virtual_address_that_somebody_removes_is_put_back() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    world
        .director
        .run(|| {
            let netlink = netlink::Netlink::open().unwrap();
            let index = netlink.link("eth0").unwrap().index;
            netlink.delete_address(index, vip(), 32).unwrap();
        })
        .unwrap();
    until("it is back", || world.director_has(vip()));
}

#[test]
fn a_daemon_started_while_the_killed_one_still_ends_waits_for_its_end() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    for _ in 0..3 {
        let mut killed = world.kill_and_run();
        world.start(&config);
        killed.wait().unwrap();
        assert!(world.api().status().unwrap().adopted);
    }
}

#[test]
fn a_data_plane_that_lost_its_table_begins_anew() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    assert_eq!(world.ask(2), [2, 1]);
    world.kill();
    std::fs::remove_file(format!("/run/dirigo/{}.state.json", world.instance)).unwrap();

    world.start(&config);

    assert!(!world.api().status().unwrap().adopted);
    assert_eq!(world.ask(2), [2, 1]);
}

#[test]
fn a_data_plane_of_another_network_namespace_is_taken_over_with_its_real_servers_looked_for_anew() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    world.kill();

    world.replace_director();
    world.start(&config);

    assert!(world.api().status().unwrap().adopted);
    let mut answered = world.ask(2);
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
}

#[test]
fn a_timeout_that_was_set_counts_at_once_and_survives_the_daemon() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let open = world.connect().unwrap();
    let timeouts = api::Timeouts {
        tcp: 5000,
        tcpfin: 0,
        udp: 60,
    };
    world
        .api()
        .change(&Change::SetTimeouts { timeouts })
        .unwrap();

    for end in [World::kill, World::terminate] {
        let set = world.api().status().unwrap().timeouts;
        assert_eq!((set.tcp, set.tcpfin, set.udp), (5000, 120, 60));
        let mut left = Vec::new();
        world
            .api()
            .connections(&api::ConnectionQuery::default(), &mut |connection| {
                left.push(connection.expires_s);
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert!(matches!(left[..], [2000..=5000]), "{left:?}");
        end(&mut world);
        world.start(&config);
    }
    assert_eq!(world.api().status().unwrap().timeouts.tcp, 5000);
    drop(open);
}

#[test]
fn a_persistent_service_of_every_port_keeps_a_client_where_it_is_also_when_that_server_drains() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start("[director]\ninterface = \"eth0\"\n");
    let service: api::ServiceKey = format!("tcp:{}:0", vip()).parse().unwrap();
    let settings = api::ServiceSettings {
        persistence: Some(api::Persistence {
            timeout_s: 300,
            netmask: Some(api::Netmask::V4([255, 255, 255, 0].into())),
        }),
        ..api::ServiceSettings::of("rr")
    };
    let api = world.api();
    api.change(&Change::AddService { service, settings })
        .unwrap();
    let of_all_ports = |n, weight| Change::AddDestination {
        service,
        destination: SocketAddr::new(server(n), 0),
        settings: weight,
    };
    for n in [1, 2] {
        api.change(&of_all_ports(n, weight(1))).unwrap();
    }

    let first = world.ask(1)[0];
    assert_eq!(world.ask(3), [first; 3]);
    let drained = Change::EditDestination {
        service,
        destination: SocketAddr::new(server(first), 0),
        settings: weight(0),
    };
    api.change(&drained).unwrap();
    assert_eq!(world.ask(2), [first; 2], "the template goes on");

    for destination in &api.services().unwrap()[0].destinations {
        let is_first = destination.destination.ip() == server(first);
        assert_eq!(destination.templates, u32::from(is_first));
    }
    let mut listed = Vec::new();
    api.connections(&api::ConnectionQuery::default(), &mut |connection| {
        listed.push(connection);
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    let (templates, connections): (Vec<_>, Vec<_>) =
        listed.iter().partition(|one| one.client.port() == 0);
    assert_eq!(connections.len(), 6);
    for connection in connections {
        assert_eq!(connection.destination, SocketAddr::new(server(first), 80));
    }
    let [template] = templates[..] else {
        panic!("{templates:?}")
    };
    assert_eq!(template.client.to_string(), "10.9.0.0:0");
    assert_eq!(template.virtual_address, SocketAddr::new(vip(), 0));
    assert_eq!(template.destination, SocketAddr::new(server(first), 0));
    assert_eq!(template.state, "ASSURED");
}

#[test]
fn the_settings_of_the_file_count_and_are_shown() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr").replace(
        "scheduler = \"rr\"",
        "scheduler = \"rr\"\npersistence = 300",
    ) + "[settings]\nexpire_quiescent_template = true\n";
    world.start(&config);
    let first = world.ask(1)[0];
    assert_eq!(world.ask(2), [first; 2]);

    world.api().change(&edit(first, weight(0))).unwrap();

    assert_eq!(world.ask(2), [3 - first; 2], "its template counts no more");
    let settings = world.api().status().unwrap().settings;
    assert!(settings.expire_quiescent_template);
    assert!(!settings.expire_nodest_conn);
}
