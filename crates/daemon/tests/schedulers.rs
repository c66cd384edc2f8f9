//! IPVS's schedulers, thresholds, firewall marks and counters through the whole daemon, with real TCP.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;

use api::{Change, DestinationSettings, SchedulerFlags, ServiceKey, ServiceSettings};
use common::{CHILD, FILES, World, root, server, until, vip};
use dirigo_daemon as daemon;

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

fn web() -> ServiceKey {
    format!("tcp:{}:80", vip()).parse().unwrap()
}

fn edit_service(world: &World, settings: ServiceSettings) {
    let service = web();
    let edit = Change::EditService { service, settings };
    world.api().change(&edit).unwrap();
}

fn edit(world: &World, n: u8, settings: DestinationSettings) {
    let edit = Change::EditDestination {
        service: web(),
        destination: SocketAddr::new(server(n), 80),
        settings,
    };
    world.api().change(&edit).unwrap();
}

/// The one service, and its destination for server `n`.
fn shown(world: &World, n: u8) -> (api::Service, api::Destination) {
    let service = world.api().services().unwrap().remove(0);
    let mut all = service.destinations.iter();
    let one = all.find(|one| one.destination.ip() == server(n));
    let one = one.unwrap().clone();
    (service, one)
}

#[test]
fn every_scheduler_serves_clients_as_its_rule_says() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    for name in [
        "rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh",
        "twos",
    ] {
        edit_service(&world, ServiceSettings::of(name));
        let answers = world.ask(4);
        // One client and one virtual address: a hash of either leads to one server.
        if matches!(name, "dh" | "sh" | "mh" | "lblc") {
            assert_eq!(answers, [answers[0]; 4], "{name}");
        }
        // Each question is answered before the next is asked, but its connection is not gone.
        if matches!(name, "rr" | "wrr") {
            let mut sorted = answers.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [1, 1, 2, 2], "{name}");
        }
    }
    edit_service(&world, ServiceSettings::of("none"));
    assert!(world.connect().is_err(), "nobody is chosen");
}

#[test]
fn a_client_of_a_drained_server_is_refused_by_sh_and_mh_or_sent_on_with_their_flag() {
    if !root() {
        return;
    }
    for name in ["sh", "mh"] {
        let mut world = World::new();
        let config = world.classic(name);
        world.start(&config);
        let first = world.ask(1)[0];

        edit(&world, first, DestinationSettings::of(0));
        assert!(world.connect().is_err(), "{name} keeps the slot");

        edit_service(
            &world,
            ServiceSettings {
                flags: SchedulerFlags::FLAG_1,
                ..ServiceSettings::of(name)
            },
        );
        assert_eq!(world.ask(2), [3 - first; 2], "{name}");
    }
}

#[test]
fn a_server_at_its_upper_threshold_is_passed_by_and_shown_so() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let one_connection = DestinationSettings {
        upper_threshold: 1,
        ..DestinationSettings::of(1)
    };
    for n in [1, 2] {
        edit(&world, n, one_connection.clone());
    }

    let mut first = world.connect().unwrap();
    assert!(first.echoes());
    assert!(shown(&world, first.server).1.overloaded);
    let second = world.connect().unwrap();
    assert_ne!(second.server, first.server);
    assert!(world.connect().is_err(), "both are full");

    edit(&world, first.server, DestinationSettings::of(1));
    assert!(!shown(&world, first.server).1.overloaded);
    assert_eq!(world.ask(2), [first.server; 2]);
}

#[test]
fn a_service_by_mark_serves_what_the_file_marks() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = format!(
        "[director]\ninterface = \"eth0\"\n\
         [[mark]]\nmark = 7\naddresses = [\"{}\"]\nprotocol = \"tcp\"\nports = [\"1-100\"]\n\
         [[service]]\nmark = 7\nscheduler = \"wlc\"\npersistence = 300\n\
         [[service.destination]]\naddress = \"{}\"\n\
         [[service.destination]]\naddress = \"{}\"\n\
         # Nobody puts the address on for a mark: this one does, and is never asked.\n\
         [[service]]\naddress = \"{}:80\"\nprotocol = \"tcp\"\n",
        vip(),
        server(1),
        server(2),
        vip(),
    );
    world.start(&config);

    let answers = world.ask(3);
    assert_eq!(answers, [answers[0]; 3], "persistent");

    let services = world.api().services().unwrap();
    let keys: Vec<String> = services.iter().map(|one| one.service.to_string()).collect();
    assert_eq!(keys, [web().to_string(), "fwm:7".to_owned()]);
    let first = &services[1].destinations;
    let first = first.iter().find(|one| one.templates == 1).unwrap();
    assert_eq!(first.destination, SocketAddr::new(server(answers[0]), 0));
    let mut templates = Vec::new();
    let query = api::ConnectionQuery::default();
    world
        .api()
        .connections(&query, &mut |connection| {
            if connection.client.port() == 0 {
                templates.push(connection);
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(templates.len(), 1);
    assert_eq!(templates[0].protocol, None);
    assert_eq!(templates[0].virtual_address.to_string(), "0.0.0.7:0");
}

#[test]
fn counters_are_shown_and_zeroed_and_those_of_all_together_stay() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    world.ask(4);
    until("the counters are looked at", || {
        world.api().status().unwrap().stats.connections == 4
    });
    let (service, one) = shown(&world, 1);
    assert_eq!((service.stats.connections, one.stats.connections), (4, 2));
    assert!(service.rates.packets > 0 && service.rates.bytes > 0);
    assert!(world.api().status().unwrap().rates.packets > 0);

    let service = Some(web());
    world.api().change(&Change::Zero { service }).unwrap();
    let (service, one) = shown(&world, 1);
    assert_eq!(service.stats, api::Stats::default());
    assert_eq!(one.stats, api::Stats::default());
    assert_eq!(service.rates, api::Rates::default());
    assert_eq!(world.api().status().unwrap().stats.connections, 4);

    world.ask(2);
    until("they go on from there", || {
        shown(&world, 1).0.stats.connections == 2
    });
    world.api().change(&Change::Zero { service: None }).unwrap();
    assert_eq!(world.api().status().unwrap().stats, api::Stats::default());
}
