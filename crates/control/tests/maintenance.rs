//! Real servers in maintenance: what counts for a new connection, and what comes back.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, SocketAddr};

use api::{RefusalCode, ServiceKey};
use common::{World, key, scheduler, server, settings, web};
use dirigo_control::{Desired, DesiredService, Event, Maintain, Order, Plan, Schedule, State};

fn order(server: IpAddr, service: Option<ServiceKey>) -> Order {
    Order {
        server,
        service,
        since_s: 7,
        awaited: true,
        until_s: None,
        remove: false,
        removed: false,
    }
}

fn hold(world: &mut World, server: IpAddr) -> Plan {
    world.run(Event::Maintain(Maintain::Hold(order(server, None))))
}

fn end(world: &mut World, server: IpAddr) -> Plan {
    let service = None;
    world.run(Event::Maintain(Maintain::End { server, service }))
}

/// Drained with removal, and empty at once.
fn remove(world: &mut World, server: IpAddr, is_named: bool) {
    let order = Order {
        remove: true,
        ..order(server, None)
    };
    world.run(Event::Maintain(Maintain::Hold(order)));
    let service = None;
    world.run(Event::Maintain(Maintain::Finish {
        server,
        service,
        is_named,
    }));
}

fn with_two(scheduler: &str) -> World {
    let mut world = World::new();
    world.add_service(web(), scheduler);
    world.add_resolved(web(), server(1), 3);
    world.add_resolved(web(), server(2), 1);
    world
}

fn desired(weights: &[(u8, u32)]) -> Desired {
    let destinations = weights.iter().map(|(n, weight)| {
        let address = SocketAddr::new(server(*n), 80);
        (address, settings(*weight))
    });
    Desired {
        interfaces: vec!["eth0".to_owned()],
        services: vec![DesiredService {
            key: web(),
            settings: scheduler("wrr"),
            destinations: destinations.collect(),
        }],
        ..Desired::default()
    }
}

fn weight_in_maps(world: &World, server: IpAddr) -> u32 {
    world.maps.weights[&world.id(web(), server)]
}

#[test]
fn a_held_server_has_weight_0_in_the_data_plane_and_its_own_in_the_table() {
    let mut world = with_two("wrr");
    hold(&mut world, server(1));
    assert_eq!(weight_in_maps(&world, server(1)), 0);
    assert_eq!(world.picks(web(), 5), [server(2); 5]);
    let id = world.id(web(), server(1));
    assert_eq!(world.state.destinations[&id].settings.weight, 3);
    end(&mut world, server(1));
    assert_eq!(weight_in_maps(&world, server(1)), 3);
    let picks = world.picks(web(), 4);
    assert_eq!(picks.iter().filter(|one| **one == server(1)).count(), 3);
}

#[test]
fn what_ipvsadm_says_of_a_held_servers_weight_counts_when_it_is_enabled() {
    let mut world = with_two("wrr");
    hold(&mut world, server(1));
    world.edit(web(), server(1), 5);
    assert_eq!(weight_in_maps(&world, server(1)), 0);
    assert_eq!(world.picks(web(), 3), [server(2); 3]);
    end(&mut world, server(1));
    assert_eq!(weight_in_maps(&world, server(1)), 5);
}

#[test]
fn a_server_that_goes_and_comes_back_and_a_new_service_are_held_as_well() {
    let mut world = with_two("rr");
    hold(&mut world, server(1));
    world.delete(web(), server(1));
    world.add_resolved(web(), server(1), 3);
    assert_eq!(weight_in_maps(&world, server(1)), 0);
    let tls = key("tcp:192.0.2.100:443");
    world.add_service(tls, "rr");
    world.add(tls, server(1), 1);
    assert_eq!(world.pick(tls), None);
}

#[test]
fn one_service_may_be_named_and_the_others_go_on() {
    let mut world = with_two("rr");
    let tls = key("tcp:192.0.2.100:443");
    world.add_service(tls, "rr");
    world.add_resolved(tls, server(1), 1);
    let only = order(server(1), Some(web()));
    world.run(Event::Maintain(Maintain::Hold(only)));
    assert_eq!(world.picks(web(), 3), [server(2); 3]);
    assert_eq!(world.pick(tls), Some(server(1)));
    let wrong = Maintain::End {
        server: server(1),
        service: Some(tls),
    };
    let refusal = world.try_run(Event::Maintain(wrong)).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NoSuchDestination);
    end(&mut world, server(1));
    hold(&mut world, server(1));
    let wrong = Maintain::End {
        server: server(1),
        service: Some(tls),
    };
    let refusal = world.try_run(Event::Maintain(wrong)).unwrap_err();
    assert!(refusal.message.contains("in all services"), "{refusal}");
}

#[test]
fn with_sh_and_mh_nobody_else_moves_and_the_held_ones_clients_are_served() {
    for name in ["sh", "mh"] {
        let mut world = with_two(name);
        let table = |world: &World| match &world.maps.published[&web()].schedule {
            Schedule::Table {
                slots, fallback, ..
            } => (slots.clone(), *fallback),
            other => panic!("{other}"),
        };
        let (slots, fallback) = table(&world);
        assert!(!fallback);
        hold(&mut world, server(1));
        assert_eq!(table(&world), (slots.clone(), true), "{name}");
        assert_eq!(weight_in_maps(&world, server(1)), 0);
        end(&mut world, server(1));
        assert_eq!(table(&world), (slots, false), "{name}");
    }
}

#[test]
fn dh_leaves_the_held_one_out() {
    let mut world = with_two("dh");
    hold(&mut world, server(1));
    let other = world.id(web(), server(2));
    match &world.maps.published[&web()].schedule {
        Schedule::Table {
            slots, fallback, ..
        } => assert_eq!((slots, fallback), (&vec![other; 256], &false)),
        schedule => panic!("{schedule}"),
    }
}

#[test]
fn a_removed_server_of_the_file_stays_out_through_reloads_until_it_is_enabled() {
    let mut world = World::new();
    world.run(Event::Config(desired(&[(1, 3), (2, 1)])));
    remove(&mut world, server(1), true);
    let listed = |world: &World| world.state.services[&web()].list.len();
    assert_eq!(listed(&world), 1);
    // A reload with another weight, a check that passes, and an orderly restart.
    world.run(Event::Config(desired(&[(1, 4), (2, 1)])));
    world.run(Event::Services(desired(&[(1, 2), (2, 1)]).services));
    world.state.applied = None;
    world.run(Event::Config(desired(&[(1, 4), (2, 1)])));
    assert_eq!(listed(&world), 1);
    end(&mut world, server(1));
    world.resolve(server(1));
    assert_eq!(weight_in_maps(&world, server(1)), 4);
    assert_eq!(world.state.maintenance.orders().count(), 0);
}

#[test]
fn a_removed_server_that_the_file_does_not_name_leaves_no_order_behind() {
    let mut world = with_two("rr");
    remove(&mut world, server(1), false);
    assert_eq!(world.state.services[&web()].list.len(), 1);
    assert_eq!(world.state.maintenance.orders().count(), 0);
    world.add_resolved(web(), server(1), 3);
    assert_eq!(weight_in_maps(&world, server(1)), 3);
}

#[test]
fn orders_are_written_behind_the_state_and_read_again() {
    let mut world = with_two("wrr");
    let text = serde_json::to_string(&world.state).unwrap();
    world.written = Some(serde_json::from_str(&text).unwrap());
    hold(&mut world, server(1));
    let written = world.written.clone().unwrap();
    assert_eq!(written, world.state);
    assert!(written.maintenance.holds(&web(), server(1)));
    let whole: State = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
    assert!(whole.maintenance.holds(&web(), server(1)));
}
