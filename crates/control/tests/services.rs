//! Firewall marks, shares, limits, counters' zero points, and the way back.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, SocketAddr};

use api::{
    Change, DestinationSettings, Persistence, RefusalCode, SchedulerFlags, ServiceKey,
    ServiceSettings, Stats,
};
use common::{World, key, scheduler, server, settings, web};
use dirigo_control::{Desired, Event, MarkRule, Observed, Schedule, State, step_all};
use proptest::prelude::*;

fn other() -> ServiceKey {
    key("tcp:192.0.2.101:80")
}

fn rule(mark: u32, network: &str) -> MarkRule {
    let (address, prefix) = network.split_once('/').unwrap();
    MarkRule {
        mark: mark.try_into().unwrap(),
        protocol: None,
        address: address.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
        first_port: 0,
        last_port: u16::MAX,
    }
}

fn with_marks(marks: Vec<MarkRule>) -> Event {
    Event::Config(Desired {
        interfaces: vec!["eth0".to_owned()],
        manage_vips: true,
        marks,
        ..Desired::default()
    })
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn addresses_of_a_mark_are_looked_at_while_it_has_a_service_or_connections_of_one() {
    let mut world = World::new();
    world.run(with_marks(vec![
        rule(7, "192.0.2.100/31"),
        rule(8, "2001:db8::9/128"),
    ]));
    assert!(world.maps.looked_at.is_empty(), "a mark alone is nothing");

    world.add_service(key("fwm:7"), "rr");
    assert_eq!(
        world.maps.looked_at,
        addresses(&["192.0.2.100", "192.0.2.101"])
    );
    assert!(
        world.state.vips.is_empty(),
        "marks are no addresses to put on"
    );

    world.add_service(key("fwm:8"), "rr");
    assert_eq!(world.maps.looked_at.len(), 2, "that mark is for IPv6");
    world.add_service(key("fwm6:8"), "rr");
    assert_eq!(world.maps.looked_at.len(), 3);

    let destination = SocketAddr::new(server(1), 0);
    world
        .change(Change::AddDestination {
            service: key("fwm:7"),
            destination,
            settings: settings(1),
        })
        .unwrap();
    let service = key("fwm:7");
    world.change(Change::DeleteService { service }).unwrap();
    assert_eq!(world.maps.looked_at.len(), 3, "its connections live");

    world.change(Change::Clear).unwrap();
    assert!(world.maps.looked_at.is_empty());
}

#[test]
fn a_mark_of_a_wide_network_has_the_data_plane_look_at_everything() {
    let mut world = World::new();
    world.run(with_marks(vec![rule(7, "10.0.0.0/8")]));
    world.add_service(web(), "rr");
    assert!(!world.maps.looks_at_everything);

    world.add_service(key("fwm:7"), "rr");
    assert!(world.maps.looks_at_everything);

    world.run(with_marks(vec![rule(7, "10.0.0.0/24")]));
    assert!(!world.maps.looks_at_everything);
    assert_eq!(world.maps.looked_at.len(), 256 + 1);
}

#[test]
fn a_destination_of_a_mark_keeps_its_port_and_port_0_is_every_one() {
    let mut world = World::new();
    let service = key("fwm:7");
    world.add_service(service, "rr");
    for port in [0, 8080] {
        let destination = SocketAddr::new(server(1), port);
        let settings = settings(1);
        world
            .change(Change::AddDestination {
                service,
                destination,
                settings,
            })
            .unwrap();
    }
    let listed: Vec<u16> = world.state.services[&service]
        .list
        .iter()
        .map(|id| world.state.destinations[id].address.port())
        .collect();
    assert_eq!(listed, [8080, 0]);
    assert_eq!(
        world.state.real_servers().len(),
        1,
        "one real server behind both"
    );
}

#[test]
fn a_service_may_take_the_whole_table_until_there_is_another() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    assert_eq!(world.maps.published[&web()].share, 100);

    world.add_service(other(), "rr");
    assert_eq!(world.maps.published[&web()].share, 75);
    assert_eq!(world.maps.published[&other()].share, 75);

    let settings = ServiceSettings {
        share: Some(30),
        ..scheduler("rr")
    };
    let service = other();
    world
        .change(Change::EditService { service, settings })
        .unwrap();
    assert_eq!(world.maps.published[&other()].share, 30);
    let settings = scheduler("wrr");
    world
        .change(Change::EditService { service, settings })
        .unwrap();
    assert_eq!(
        world.maps.published[&other()].share,
        30,
        "ipvsadm knows nothing of it"
    );

    let service = web();
    world.change(Change::DeleteService { service }).unwrap();
    assert_eq!(world.maps.published[&other()].share, 30);
    world.add_service(web(), "rr");
    let service = other();
    world.change(Change::DeleteService { service }).unwrap();
    assert_eq!(world.maps.published[&web()].share, 100);
}

fn fill(world: &mut World, count: u16) -> Option<RefusalCode> {
    let add = |n: u16| {
        let [high, low] = n.to_be_bytes();
        Change::AddDestination {
            service: web(),
            destination: SocketAddr::from(([10, 0, high, low], 80)),
            settings: settings(1),
        }
    };
    let changes = (1..=count).map(add).collect();
    let (refusals, plan) = step_all(&mut world.state, changes, &Observed::default());
    world.maps.carry_out(&plan);
    let (last, others) = refusals.split_last().unwrap();
    assert!(others.iter().all(Option::is_none));
    last.as_ref().map(|refusal| refusal.code)
}

#[test]
fn a_service_has_1024_destinations_or_256_when_its_scheduler_looks_at_all_of_them() {
    for (name, limit) in [("wrr", 1024), ("mh", 1024), ("wlc", 256), ("lblcr", 256)] {
        let mut world = World::new();
        world.add_service(web(), name);
        assert_eq!(
            fill(&mut world, limit + 1),
            Some(RefusalCode::Full),
            "{name}"
        );
        assert_eq!(world.state.services[&web()].list.len(), usize::from(limit));
    }
    let mut world = World::new();
    world.add_service(web(), "rr");
    assert_eq!(fill(&mut world, 257), None);
    let refusal = world
        .change(Change::EditService {
            service: web(),
            settings: scheduler("sed"),
        })
        .unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Full);
    assert!(refusal.message.contains("at most 256"), "{refusal}");
}

#[test]
fn what_is_edited_in_a_list_is_written_and_not_published_anew() {
    let mut world = World::new();
    world.add_service(web(), "wlc");
    world.add(web(), server(1), 1);
    let names = |plan: &dirigo_control::Plan| plan.to_string();

    let plan = world.change(Change::EditDestination {
        service: web(),
        destination: SocketAddr::new(server(1), 80),
        settings: DestinationSettings {
            upper_threshold: 10,
            lower_threshold: 4,
            ..settings(3)
        },
    });
    let text = names(&plan.unwrap());
    assert_eq!(
        text,
        "destination 1 of 0: unresolved, weight 3, thresholds 10 and 4, reopened\n"
    );
    let before = world.maps.published[&web()].clone();
    world.resolve(server(1));
    assert_eq!(world.maps.published[&web()], before);
    assert!(matches!(before.schedule, Schedule::List { .. }));
}

#[test]
fn without_a_scheduler_a_service_is_there_and_chooses_nobody() {
    let mut world = World::new();
    world.add_service(web(), "none");
    world.add_resolved(web(), server(1), 1);
    assert_eq!(world.pick(web()), None);
}

#[test]
fn zeroing_a_service_takes_what_was_shown_for_its_zero_point_and_leaves_the_sum_of_all() {
    let counted = |packets| Stats {
        packets,
        ..Stats::default()
    };
    let mut world = World::new();
    for service in [web(), other()] {
        world.add_service(service, "rr");
        for n in [1, 2] {
            world.add(service, server(n), 1);
        }
    }
    let (first, second) = (world.id(web(), server(1)), world.id(web(), server(2)));
    let foreign = world.id(other(), server(1));
    world.stats = [(first, 5), (second, 7), (foreign, 9)]
        .map(|(id, packets)| (id, counted(packets)))
        .into();
    world.observed.total = counted(21);
    world.delete(web(), server(2));

    world
        .change(Change::Zero {
            service: Some(web()),
        })
        .unwrap();
    assert_eq!(world.state.destinations[&first].base, counted(5));
    assert_eq!(world.state.trash[&second].destination.base, counted(7));
    assert_eq!(world.state.destinations[&foreign].base, counted(0));
    assert_eq!(world.state.base, counted(0));

    world.change(Change::Zero { service: None }).unwrap();
    assert_eq!(world.state.destinations[&foreign].base, counted(9));
    assert_eq!(world.state.base, counted(21));

    let service = Some(key("tcp:192.0.2.102:80"));
    let refusal = world.change(Change::Zero { service }).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NoSuchService);
}

/// A table as `ipvsadm -S` sees it: services and destinations in order, with all that is saved.
type Saved = Vec<(
    ServiceKey,
    ServiceSettings,
    Vec<(SocketAddr, DestinationSettings)>,
)>;

fn saved(state: &State) -> Saved {
    let services = state.services.iter();
    services
        .map(|(key, service)| {
            let listed = service.list.iter().map(|id| &state.destinations[id]);
            let mut listed: Vec<_> = listed
                .map(|one| (one.address, one.settings.clone()))
                .collect();
            listed.sort_by_key(|(address, _)| *address);
            (*key, service.settings.clone(), listed)
        })
        .collect()
}

fn restored(saved: &Saved) -> Vec<Change> {
    let mut changes = vec![Change::Clear];
    for (service, settings, destinations) in saved.clone() {
        changes.push(Change::AddService { service, settings });
        let add = |(destination, settings)| Change::AddDestination {
            service,
            destination,
            settings,
        };
        changes.extend(destinations.into_iter().map(add));
    }
    changes
}

fn any_service() -> impl Strategy<Value = (ServiceKey, ServiceSettings)> {
    let keys = [
        "tcp:192.0.2.100:80",
        "udp:192.0.2.100:53",
        "sctp:192.0.2.100:5060",
        "tcp:192.0.2.101:0",
        "tcp:[2001:db8::100]:80",
        "fwm:7",
        "fwm6:7",
    ];
    let schedulers = [
        "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh",
        "twos",
    ];
    let flags = prop::sample::subsequence(vec!["flag-1", "flag-2", "flag-3"], 0..=3);
    let persistence = prop::option::of(1_u32..2_678_400);
    (
        prop::sample::select(keys.to_vec()),
        prop::sample::select(schedulers.to_vec()),
        flags,
        persistence,
    )
        .prop_map(|(name, scheduler, flags, persistence)| {
            let named = |flag: &&str| SchedulerFlags::named(flag, scheduler).unwrap();
            let timeout_s = persistence.or(name.ends_with(":0").then_some(300));
            let settings = ServiceSettings {
                flags: flags
                    .iter()
                    .map(named)
                    .fold(SchedulerFlags::NONE, SchedulerFlags::with),
                persistence: timeout_s.map(|timeout_s| Persistence {
                    timeout_s,
                    netmask: None,
                }),
                ..ServiceSettings::of(scheduler)
            };
            (key(name), settings)
        })
}

fn any_destination() -> impl Strategy<Value = (u8, DestinationSettings)> {
    (1_u8..9, 0_u32..5, 0_u32..50, 0_u32..50).prop_map(|(n, weight, a, b)| {
        let settings = DestinationSettings {
            upper_threshold: a.max(b),
            lower_threshold: a.min(b),
            ..settings(weight)
        };
        (n, settings)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_saved_cleared_and_restored_is_what_it_was(
        table in prop::collection::vec(
            (any_service(), prop::collection::vec(any_destination(), 0..6)), 0..6,
        ),
    ) {
        let mut world = World::new();
        let mut changes = Vec::new();
        for ((service, settings), destinations) in table {
            changes.push(Change::AddService { service, settings });
            for (n, settings) in destinations {
                let ip = match service.is_ipv6() {
                    true => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()]),
                    false => server(n),
                };
                let destination = SocketAddr::new(ip, service.port());
                changes.push(Change::AddDestination { service, destination, settings });
            }
        }
        // Names that meet are refused, which is as good a table.
        let (_, plan) = step_all(&mut world.state, changes, &Observed::default());
        world.maps.carry_out(&plan);
        let before = saved(&world.state);

        for _ in 0..2 {
            let changes = restored(&saved(&world.state));
            let (refusals, plan) = step_all(&mut world.state, changes, &Observed::default());
            prop_assert!(refusals.iter().all(Option::is_none), "{refusals:?}");
            world.maps.carry_out(&plan);
            prop_assert_eq!(&saved(&world.state), &before);
            prop_assert_eq!(world.maps.published.len(), before.len());
        }
    }
}

#[test]
fn a_step_that_could_not_be_carried_out_is_gone_back_on() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    for n in [1, 2, 3] {
        world.add_resolved(web(), server(n), 1);
    }
    assert_eq!(world.picks(web(), 2), [server(3), server(2)]);
    let (before, maps) = (world.state.clone(), world.maps.reach.clone());

    world.delete(web(), server(1));
    let picks = world.maps.picks.clone();
    let back = world.state.go_back(|questions| Observed {
        picks: questions.picks.iter().map(|id| (*id, picks[id])).collect(),
        ..Observed::default()
    });
    world.maps.carry_out(&back);

    assert_eq!(world.state.destinations, before.destinations);
    assert_eq!(world.state.trash, before.trash);
    assert_eq!(world.maps.reach, maps);
    assert_eq!(world.picks(web(), 2), [server(1), server(3)], "in its turn");
    let written = serde_json::to_string(&world.state).unwrap();
    assert_eq!(
        serde_json::from_str::<dirigo_control::State>(&written).unwrap(),
        world.state
    );
}
