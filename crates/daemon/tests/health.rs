//! Health checks through the whole daemon, with real frames: who gets new connections, and when.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::{DestinationHealth, HealthState};
use common::{CHILD, FILES, World, root, server, six, until, vip};
use dirigo_daemon as daemon;
use netlink::{AddressFlags, Netlink};

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

/// The classic service with a check of connections, and more keys of the service.
fn checked(world: &World, keys: &str) -> String {
    let classic = world.classic("rr");
    let service = format!("protocol = \"tcp\"\nchecks = [\"port\"]\n{keys}\n");
    classic.replace("protocol = \"tcp\"\n", &service)
        + "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\n\
           fall = 2\n"
}

fn health(world: &World, server: IpAddr) -> Option<DestinationHealth> {
    let services = world.api().health().unwrap();
    let mut all = services
        .into_iter()
        .flat_map(|service| service.destinations);
    all.find(|one| one.server == server)
}

fn is(world: &World, server: IpAddr, state: HealthState) -> bool {
    health(world, server).is_some_and(|one| one.health == state)
}

fn until_both_are_up(world: &World) {
    until("both real servers are up", || {
        is(world, server(1), HealthState::Up) && is(world, server(2), HealthState::Up)
    });
}

fn set_vip(world: &World, number: usize, there: bool) {
    world.servers[number - 1]
        .run(|| {
            let netlink = Netlink::open().unwrap();
            let lo = netlink.link("lo").unwrap().index;
            if there {
                let flags = AddressFlags::default();
                netlink.add_address(lo, vip(), 32, flags).unwrap();
            } else {
                netlink.delete_address(lo, vip(), 32).unwrap();
            }
        })
        .unwrap();
}

fn who_answers(world: &World) -> BTreeSet<u8> {
    world.ask(6).into_iter().collect()
}

#[test]
fn a_server_that_loses_the_virtual_address_is_out_until_it_has_it_again_and_others_keep_connections()
 {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = checked(&world, "");
    world.start(&config);
    until_both_are_up(&world);
    assert_eq!(who_answers(&world), BTreeSet::from([1, 2]));
    let mut open = loop {
        let open = world.connect().unwrap();
        if open.server == 2 {
            break open;
        }
    };
    set_vip(&world, 1, false);
    until("the fault is explained", || {
        let reason = health(&world, server(1)).and_then(|one| one.reason);
        reason.is_some_and(|reason| reason.contains("missing on its lo"))
    });
    assert!(is(&world, server(1), HealthState::Down));
    assert_eq!(who_answers(&world), BTreeSet::from([2]));
    assert!(open.echoes(), "the other server's connection lives");
    set_vip(&world, 1, true);
    until_both_are_up(&world);
    assert_eq!(who_answers(&world), BTreeSet::from([1, 2]));
    assert!(open.echoes());
    let log = world.log();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(lines("health: down"), 1, "{log}");
    assert_eq!(lines("health: still down"), 1, "one explanation: {log}");
    assert_eq!(lines("health: up"), 3, "{log}");
}

#[test]
fn a_restarted_daemon_begins_with_what_the_last_one_knew() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = checked(&world, "");
    set_vip(&world, 1, false);
    world.start(&config);
    until("one is up and one is down", || {
        is(&world, server(1), HealthState::Down) && is(&world, server(2), HealthState::Up)
    });
    let slow = config.replace("500ms", "30s").replace("400ms", "1s");
    for orderly in [false, true] {
        if orderly {
            world.terminate();
        } else {
            world.kill();
        }
        assert_eq!(who_answers(&world), BTreeSet::from([2]), "without a daemon");
        // Before its first checks: nobody is lost, and the one that failed gets nothing.
        world.start(&slow);
        assert_eq!(who_answers(&world), BTreeSet::from([2]), "{orderly}");
    }
    set_vip(&world, 1, true);
}

#[test]
fn an_inhibited_server_keeps_its_place_with_weight_0_and_its_connections() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = checked(&world, "inhibit_on_failure = true");
    world.start(&config);
    until_both_are_up(&world);
    let mut open = loop {
        let open = world.connect().unwrap();
        if open.server == 1 {
            break open;
        }
    };
    // It answers ARP for the virtual address from now on: a fault that its connections survive.
    let arp = |ignore: &str| {
        world.servers[0]
            .run(|| std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", ignore).unwrap())
            .unwrap();
    };
    arp("0");
    until("it is down", || is(&world, server(1), HealthState::Down));
    let down = health(&world, server(1)).unwrap();
    assert_eq!(down.weight, Some(0));
    assert!(
        down.reason.unwrap().contains("answers ARP for"),
        "{}",
        world.log()
    );
    let services = world.api().services().unwrap();
    let weight = |of: IpAddr| {
        let mut all = services[0].destinations.iter();
        all.find(|one| one.destination.ip() == of)
            .map(|one| one.settings.weight)
    };
    assert_eq!((weight(server(1)), weight(server(2))), (Some(0), Some(1)));
    assert!(open.echoes());
    arp("1");
    until_both_are_up(&world);
}

#[test]
fn a_service_by_firewall_mark_is_checked_where_its_rule_says() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let rule = format!(
        "[[mark]]\nmark = 7\naddresses = [\"{}\"]\nprotocol = \"tcp\"\nports = [\"80\"]\n",
        vip()
    );
    let address = format!("address = \"{}:80\"\nprotocol = \"tcp\"", vip());
    let config = checked(&world, "").replace(&address, "mark = 7") + &rule;
    set_vip(&world, 1, false);
    world.start(&config);
    until("one is up and one is down", || {
        is(&world, server(1), HealthState::Down) && is(&world, server(2), HealthState::Up)
    });
    let destinations = world.api().services().unwrap().remove(0).destinations;
    let listed: Vec<IpAddr> = destinations
        .iter()
        .map(|one| one.destination.ip())
        .collect();
    assert_eq!(listed, [server(2)]);
    set_vip(&world, 1, true);
    until_both_are_up(&world);
}

#[test]
fn the_sorry_server_serves_while_nobody_else_does() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let without_second = |config: String| {
        let second = format!("[[service.destination]]\naddress = \"{}\"\n", server(2));
        config.replace(&second, "")
    };
    let sorry = format!("sorry_server = \"{}\"", server(2));
    let config = without_second(checked(&world, &sorry));
    set_vip(&world, 1, false);
    world.start(&config);
    until("the sorry server serves", || {
        world.connect().is_ok_and(|open| open.server == 2)
    });
    set_vip(&world, 1, true);
    until("the real server is back", || {
        is(&world, server(1), HealthState::Up) && who_answers(&world) == BTreeSet::from([1])
    });
    assert_eq!(world.api().health().unwrap()[0].sorry_server, None);
    set_vip(&world, 1, false);
    until("the sorry server serves again", || {
        world.connect().is_ok_and(|open| open.server == 2)
    });
    let health = world.api().health().unwrap();
    assert!(!health[0].quorum);
    assert_eq!(health[0].sorry_server, Some(server(2)));
}

#[test]
fn ipv6_servers_are_checked_on_the_true_path_too() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let (vip, first, second) = (six(100), six(11), six(12));
    let config = format!(
        "[director]\ninterface = \"eth0\"\n[[check]]\nname = \"port\"\ntype = \"tcp\"\n\
         interval = \"500ms\"\ntimeout = \"400ms\"\nfall = 2\n[[service]]\naddress = \"[{vip}]:80\"\n\
         protocol = \"tcp\"\nchecks = [\"port\"]\n[[service.destination]]\naddress = \"{first}\"\n\
         [[service.destination]]\naddress = \"{second}\"\n"
    );
    world.start(&config);
    until("both are up", || {
        is(&world, first, HealthState::Up) && is(&world, second, HealthState::Up)
    });
    let set_vip = |there: bool| {
        world.servers[0]
            .run(|| {
                let netlink = Netlink::open().unwrap();
                let lo = netlink.link("lo").unwrap().index;
                if there {
                    let flags = AddressFlags::default();
                    netlink.add_address(lo, vip, 128, flags).unwrap();
                } else {
                    netlink.delete_address(lo, vip, 128).unwrap();
                }
            })
            .unwrap();
    };
    set_vip(false);
    until("the fault is explained", || {
        let reason = health(&world, first).and_then(|one| one.reason);
        reason.is_some_and(|reason| reason.contains("missing on its lo"))
    });
    assert!(is(&world, second, HealthState::Up));
    set_vip(true);
    until("it is back", || is(&world, first, HealthState::Up));
}
