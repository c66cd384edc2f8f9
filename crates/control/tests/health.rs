//! The configuration's services as the health of their destinations allows.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, SocketAddr};

use api::{Change, Origin, ServiceKey};
use common::{World, scheduler, server, settings, web};
use dirigo_control::{Action, Desired, DesiredService, Event, LinkReport};

fn service(destinations: &[(u8, u32)]) -> DesiredService {
    DesiredService {
        key: web(),
        settings: scheduler("rr"),
        destinations: destinations
            .iter()
            .map(|(n, weight)| (SocketAddr::new(server(*n), 80), settings(*weight)))
            .collect(),
    }
}

/// A table of the file, with everybody resolved.
fn world(destinations: &[(u8, u32)]) -> World {
    let mut world = World::new();
    world.run(Event::Config(Desired {
        interfaces: vec!["eth0".to_owned()],
        services: vec![service(destinations)],
        ..Desired::default()
    }));
    for (n, _) in destinations {
        world.resolve(server(*n));
    }
    world
}

fn weights(world: &World, key: ServiceKey) -> Vec<(IpAddr, u32)> {
    let listed = world.state.services[&key].list.iter();
    let destinations = listed.map(|id| &world.state.destinations[id]);
    destinations
        .map(|one| (one.address.ip(), one.settings.weight))
        .collect()
}

#[test]
fn a_destination_that_is_withheld_gets_nothing_and_comes_back_as_the_files_own() {
    let mut world = world(&[(1, 1), (2, 1)]);
    let id = world.id(web(), server(1));
    world.run(Event::Services(vec![service(&[(2, 1)])]));
    assert_eq!(world.picks(web(), 3), [server(2); 3]);

    world.run(Event::Services(vec![service(&[(1, 1), (2, 1)])]));
    world.resolve(server(1));
    assert_eq!(weights(&world, web()), [(server(1), 1), (server(2), 1)]);
    assert_eq!(world.id(web(), server(1)), id, "with its connections");
    let destination = &world.state.destinations[&id];
    assert_eq!(destination.origin, Origin::Config);
    // Whoever reads the same file again finds nothing to do.
    let file = world.state.applied_last().unwrap();
    assert!(world.run(Event::Config(file)).is_empty());
}

#[test]
fn what_an_operator_changed_at_runtime_is_not_undone_by_the_health_of_others() {
    let mut world = world(&[(1, 1), (2, 1), (3, 1)]);
    world.edit(web(), server(2), 0);
    world.add(web(), server(5), 7);
    world.run(Event::Services(vec![service(&[(2, 1), (3, 1)])]));
    world.run(Event::Services(vec![service(&[(1, 1), (2, 1), (3, 1)])]));
    let mut weights = weights(&world, web());
    weights.sort_unstable();
    assert_eq!(
        weights,
        [
            (server(1), 1),
            (server(2), 0),
            (server(3), 1),
            (server(5), 7)
        ]
    );
}

#[test]
fn a_service_that_was_deleted_at_runtime_stays_deleted_whatever_its_health() {
    let mut world = world(&[(1, 1), (2, 1)]);
    let deleted = Change::DeleteService { service: web() };
    world.change(deleted).unwrap();
    let plan = world.run(Event::Services(vec![service(&[(2, 1)])]));
    assert!(plan.is_empty());
    assert!(!world.state.services.contains_key(&web()));
}

#[test]
fn a_service_that_the_file_does_not_name_is_none_of_the_healths_business() {
    let mut world = World::new();
    let plan = world.run(Event::Services(vec![service(&[(1, 1)])]));
    assert!(plan.is_empty());
    assert!(world.state.services.is_empty());
}

#[test]
fn who_takes_over_is_published_before_the_last_one_that_had_weight_is_drained() {
    let with = |destinations: &[(u8, u32)]| DesiredService {
        settings: scheduler("wlc"),
        ..service(destinations)
    };
    let mut world = World::new();
    let file = |service| Desired {
        interfaces: vec!["eth0".to_owned()],
        services: vec![service],
        ..Desired::default()
    };
    world.run(Event::Config(file(with(&[(1, 3)]))));
    world.resolve(server(1));
    let link = LinkReport::Via {
        mac: [2, 0, 0, 0, 0, 12],
        interface: 2,
    };
    world.observed.links = [(server(2), link)].into();
    let plan = world.run(Event::Apply {
        desired: file(with(&[(1, 0), (2, 1)])),
        generation: 2,
    });
    let at = |is: &dyn Fn(&Action) -> bool| plan.actions.iter().position(is).unwrap();
    let weight = |wanted: u32| {
        at(&|action| matches!(action, Action::WriteDestination { weight, .. } if *weight == wanted))
    };
    let published = at(&|action| matches!(action, Action::PublishService { .. }));
    assert!(weight(1) < published && published < weight(0), "{plan:?}");
}
