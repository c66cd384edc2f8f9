//! The meaning of each change: what IPVS does, refuses, remembers.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use api::{Change, ForwardingMethod, Origin, RefusalCode, ServiceKey, Stats};
use common::{World, key, scheduler, server, settings, web};
use dirigo_control::{
    Action, Desired, DesiredService, Event, HostAddress, Plan, Reach, Saved, State,
};

fn other() -> ServiceKey {
    key("tcp:192.0.2.101:80")
}

fn virtual_address(key: ServiceKey) -> IpAddr {
    key.address().unwrap().ip()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn host(interface: &str, own: &str, prefix: u8) -> HostAddress {
    HostAddress {
        interface: interface.to_owned(),
        address: address(own),
        prefix,
    }
}

fn add(service: ServiceKey, destination: &str) -> Change {
    Change::AddDestination {
        service,
        destination: destination.parse().unwrap(),
        settings: settings(1),
    }
}

fn refused(world: &mut World, change: Change) -> RefusalCode {
    let before = world.state.clone();
    let code = world.change(change).unwrap_err().code;
    assert_eq!(world.state, before, "a refusal must leave no trace");
    code
}

fn names(plan: &Plan) -> Vec<String> {
    let name = |action: &Action| {
        let json = serde_json::to_value(action).unwrap();
        json["action"].as_str().unwrap().to_owned()
    };
    plan.actions.iter().map(name).collect()
}

/// Reads the gauges of everything in the trash: `busy` for the ids that have connections.
fn read_trash(world: &mut World, now_s: u64, busy: &[u32]) -> Plan {
    let readings: BTreeMap<_, _> = world
        .state
        .trash
        .keys()
        .map(|id| {
            let reading = dirigo_control::TrashReading {
                busy: busy.contains(id),
                stats: world.stats.get(id).copied().unwrap_or_default(),
            };
            (*id, reading)
        })
        .collect();
    world.run(Event::Trash { now_s, readings })
}

#[test]
fn new_destinations_come_first_and_editing_keeps_the_position() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    for n in [1, 2, 3] {
        world.add(web(), server(n), 1);
    }
    world.edit(web(), server(1), 5);
    world.delete(web(), server(2));
    world.add(web(), server(2), 1);

    let service = &world.state.services[&web()];
    let order: Vec<IpAddr> = service
        .list
        .iter()
        .map(|id| world.state.destinations[id].address.ip())
        .collect();
    assert_eq!(order, [server(2), server(3), server(1)]);
}

#[test]
fn the_port_of_a_destination_is_the_services_except_when_it_is_deleted() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.change(add(web(), "192.0.2.11:8080")).unwrap();
    world
        .change(Change::EditDestination {
            service: web(),
            destination: "192.0.2.11:8080".parse().unwrap(),
            settings: settings(7),
        })
        .unwrap();

    let id = world.id(web(), server(1));
    assert_eq!(world.state.destinations[&id].settings.weight, 7);
    let delete = |port| Change::DeleteDestination {
        service: web(),
        destination: SocketAddr::new(server(1), port),
    };
    assert_eq!(
        refused(&mut world, delete(8080)),
        RefusalCode::NoSuchDestination
    );
    world.change(delete(80)).unwrap();
}

#[test]
fn what_exists_or_does_not_is_refused_with_the_kernels_meaning() {
    use RefusalCode::*;
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add(web(), server(1), 1);
    let add_service = |service, name| Change::AddService {
        service,
        settings: scheduler(name),
    };
    let edit_service = |service, name| Change::EditService {
        service,
        settings: scheduler(name),
    };
    let edit = |service, destination: &str| Change::EditDestination {
        service,
        destination: destination.parse().unwrap(),
        settings: settings(1),
    };
    let cases = [
        (add_service(web(), "nonsense"), ServiceExists),
        (add_service(other(), "nonsense"), NoSuchScheduler),
        (add_service(key("tcp:192.0.2.100:0"), "rr"), BadRequest),
        (
            add_service(key("tcp:[::ffff:192.0.2.101]:80"), "rr"),
            BadAddress,
        ),
        (edit_service(other(), "rr"), NoSuchService),
        (edit_service(web(), "nonsense"), NoSuchScheduler),
        (Change::DeleteService { service: other() }, NoSuchService),
        (add(other(), "192.0.2.12:80"), NoSuchService),
        (add(web(), "192.0.2.11:80"), DestinationExists),
        (edit(other(), "192.0.2.12:80"), NoSuchService),
        (edit(web(), "192.0.2.12:80"), NoSuchDestination),
        (
            Change::DeleteDestination {
                service: other(),
                destination: "192.0.2.11:80".parse().unwrap(),
            },
            NoSuchService,
        ),
    ];
    for (change, code) in cases {
        let text = format!("{change:?}");
        assert_eq!(refused(&mut world, change), code, "{text}");
    }
}

#[test]
fn a_destination_must_be_unicast_or_an_address_of_this_host() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    let web6 = key("tcp:[2001:db8::100]:80");
    world.add_service(web6, "rr");
    world.observed.addresses = vec![
        host("eth0", "192.0.2.2", 24),
        host("eth1", "198.51.100.0", 31),
        host("eth0", "fe80::8", 64),
        host("eth0", "::ffff:192.0.2.1", 128),
    ];
    for bad in [
        "0.0.0.0:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "192.0.2.255:80",
        "[2001:db8::11]:80",
    ] {
        assert_eq!(
            refused(&mut world, add(web(), bad)),
            RefusalCode::BadAddress,
            "{bad}"
        );
    }
    for good in [
        "240.0.0.1:80",
        "127.0.0.1:80",
        "192.0.2.100:80",
        "198.51.100.1:80",
        "203.0.113.9:80",
    ] {
        world.change(add(web(), good)).unwrap();
    }
    for bad in [
        "[::]:80",
        "[ff02::1]:80",
        "[fe80::9]:80",
        "[::ffff:192.0.2.1]:80",
        "192.0.2.11:80",
    ] {
        assert_eq!(
            refused(&mut world, add(web6, bad)),
            RefusalCode::BadAddress,
            "{bad}"
        );
    }
    for good in ["[2001:db8::11]:80", "[::1]:80", "[fe80::8]:80"] {
        world.change(add(web6, good)).unwrap();
    }
}

#[test]
fn ranges_are_asked_before_existence_and_support_after_it() {
    use RefusalCode::*;
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add(web(), server(1), 1);
    let with = |n, edit: fn(&mut api::DestinationSettings)| {
        let mut settings = settings(1);
        edit(&mut settings);
        Change::AddDestination {
            service: web(),
            destination: SocketAddr::new(server(n), 80),
            settings,
        }
    };
    let cases = [
        (with(1, |s| s.weight = 1 << 31), OutOfRange),
        (with(2, |s| s.lower_threshold = 1), OutOfRange),
        (with(2, |s| s.upper_threshold = 1 << 31), OutOfRange),
        (with(1, |s| s.upper_threshold = 5), DestinationExists),
        (
            with(2, |s| s.forwarding = ForwardingMethod::Tunnelling),
            NotSupported,
        ),
        (
            with(2, |s| s.forwarding = ForwardingMethod::Masquerading),
            NotSupported,
        ),
    ];
    for (change, code) in cases {
        let text = format!("{change:?}");
        assert_eq!(refused(&mut world, change), code, "{text}");
    }
    world
        .change(with(2, |s| s.weight = i32::MAX as u32))
        .unwrap();
}

#[test]
fn a_deleted_destination_is_gone_but_comes_back_with_its_id_and_counters() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add_resolved(web(), server(1), 1);
    world.add_resolved(web(), server(2), 1);
    let id = world.id(web(), server(1));

    world.delete(web(), server(1));
    assert_eq!(world.maps.reach[&id], Reach::Gone);
    assert_eq!(world.picks(web(), 2), [server(2), server(2)]);

    world.add(web(), server(1), 9);
    world.resolve(server(1));
    assert_eq!(world.id(web(), server(1)), id);
    assert!(matches!(world.maps.reach[&id], Reach::Via { .. }));
    assert_eq!(world.state.destinations[&id].base, Stats::default());
}

#[test]
fn a_destination_revived_under_a_service_made_anew_counts_from_zero() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add_service(other(), "rr");
    world.add(web(), server(1), 1);
    let id = world.id(web(), server(1));
    let counted = Stats {
        connections: 3,
        packets: 30,
        bytes: 3000,
        ..Stats::default()
    };
    world.stats.insert(id, counted);

    world
        .change(Change::DeleteService { service: web() })
        .unwrap();
    world.add_service(web(), "wrr");
    world.add(web(), server(1), 1);

    assert_eq!(world.id(web(), server(1)), id);
    assert_eq!(world.state.destinations[&id].base, counted);
}

#[test]
fn an_id_rests_until_its_connections_are_gone_and_the_trash_time_is_over() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add(web(), server(1), 1);
    let id = world.id(web(), server(1));
    let counted = Stats {
        connections: 1,
        packets: 2,
        bytes: 3,
        ..Stats::default()
    };
    world.stats.insert(id, counted);
    world.delete(web(), server(1));

    assert!(read_trash(&mut world, 1000, &[id]).is_empty());
    assert!(read_trash(&mut world, 5000, &[]).is_empty());
    assert!(read_trash(&mut world, 5119, &[]).is_empty());
    // A connection that the table counts again starts the time anew.
    assert!(read_trash(&mut world, 5120, &[id]).is_empty());
    assert!(read_trash(&mut world, 5130, &[]).is_empty());
    world.add(web(), server(2), 1);
    assert_ne!(world.id(web(), server(2)), id);

    let plan = read_trash(&mut world, 5250, &[]);
    assert_eq!(names(&plan), ["write-destination", "reset-destination"]);
    assert_eq!(world.state.services[&web()].retired, counted);
    assert!(!world.state.trash.contains_key(&id));
}

#[test]
fn traffic_of_a_deleted_service_is_looked_at_until_no_service_is_left() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add_service(other(), "rr");
    world.add(web(), server(1), 1);
    assert_eq!(
        world.maps.looked_at,
        [virtual_address(web()), virtual_address(other())]
    );

    world
        .change(Change::DeleteService { service: web() })
        .unwrap();
    assert_eq!(
        world.maps.looked_at,
        [virtual_address(web()), virtual_address(other())]
    );

    world
        .change(Change::DeleteService { service: other() })
        .unwrap();
    assert!(world.maps.looked_at.is_empty());

    world.add_service(other(), "rr");
    assert_eq!(
        world.maps.looked_at,
        [virtual_address(web()), virtual_address(other())]
    );
    read_trash(&mut world, 1, &[]);
    read_trash(&mut world, 121, &[]);
    assert_eq!(world.maps.looked_at, [virtual_address(other())]);
}

#[test]
fn clearing_empties_the_table_and_keeps_the_trash() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add_service(other(), "wrr");
    world.add_resolved(web(), server(1), 1);
    world.add_resolved(other(), server(1), 1);

    let plan = world.change(Change::Clear).unwrap();

    assert_eq!(
        names(&plan),
        [
            "withdraw-service",
            "withdraw-service",
            "write-destination",
            "write-destination",
            "write-vips"
        ]
    );
    assert!(world.maps.published.is_empty());
    assert_eq!(world.state.trash.len(), 2);
    assert!(world.state.real_servers().is_empty());
    assert!(world.change(Change::Clear).unwrap().is_empty());
}

#[test]
fn nothing_is_published_before_it_is_reachable_nor_removed_while_published() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add(web(), server(1), 1);

    let link = dirigo_control::LinkReport::Via {
        mac: [2; 6],
        interface: 2,
    };
    let plan = world.try_run(Event::Links(vec![(server(1), link)]));
    assert_eq!(
        names(&plan.unwrap()),
        ["write-destination", "publish-service"]
    );

    let plan = world.change(Change::DeleteDestination {
        service: web(),
        destination: SocketAddr::new(server(1), 80),
    });
    assert_eq!(
        names(&plan.unwrap()),
        ["publish-service", "write-destination"]
    );
}

#[test]
fn a_server_that_changes_its_mac_is_followed_without_touching_the_rotation() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add_service(other(), "rr");
    world.add_resolved(web(), server(1), 1);
    world.add(other(), server(1), 1);

    let link = dirigo_control::LinkReport::Via {
        mac: [2, 9, 9, 9, 9, 9],
        interface: 2,
    };
    let plan = world.run(Event::Links(vec![(server(1), link)]));

    assert_eq!(names(&plan), ["write-destination", "write-destination"]);
}

#[test]
fn a_link_report_about_a_stranger_changes_nothing() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    let before = world.state.clone();
    world.resolve(server(9));
    assert_eq!(world.state, before);
}

#[test]
fn destinations_behind_an_interface_that_goes_away_are_not_eligible() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add_resolved(web(), server(1), 1);

    world.run(Event::InterfaceGone { index: 2 });

    assert_eq!(world.pick(web()), None);
    let id = world.id(web(), server(1));
    assert_eq!(world.maps.reach[&id], Reach::Unresolved);
}

#[test]
fn editing_a_service_to_the_scheduler_it_has_disturbs_nothing() {
    let mut world = World::new();
    world.add_service(web(), "wrr");
    let plan = world.change(Change::EditService {
        service: web(),
        settings: scheduler("wrr"),
    });
    assert!(plan.unwrap().is_empty());
}

fn desired(services: &[(ServiceKey, &[(u8, u32)])]) -> Desired {
    let services = services.iter().map(|(key, destinations)| DesiredService {
        key: *key,
        settings: scheduler("wrr"),
        destinations: destinations
            .iter()
            .map(|(n, weight)| (SocketAddr::new(server(*n), 80), settings(*weight)))
            .collect(),
    });
    Desired {
        interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
        manage_vips: true,
        services: services.collect(),
        ..Desired::default()
    }
}

fn weights(world: &World, key: ServiceKey) -> Vec<(IpAddr, u32)> {
    let service = &world.state.services[&key];
    let listed = service.list.iter().map(|id| &world.state.destinations[id]);
    listed
        .map(|one| (one.address.ip(), one.settings.weight))
        .collect()
}

#[test]
fn the_file_is_followed_where_it_speaks_and_runtime_services_stay() {
    let mut world = World::new();
    world.add_service(other(), "rr");
    world.run(Event::Config(desired(&[(web(), &[(1, 1), (2, 2)])])));
    assert_eq!(weights(&world, web()), [(server(2), 2), (server(1), 1)]);
    assert_eq!(world.state.services[&other()].origin, Origin::Runtime);
    world.add(web(), server(5), 5);

    world.run(Event::Config(desired(&[(web(), &[(2, 3), (3, 1)])])));

    assert_eq!(
        weights(&world, web()),
        [(server(3), 1), (server(5), 5), (server(2), 3)]
    );
    world.run(Event::Config(desired(&[])));
    assert!(!world.state.services.contains_key(&web()));
    assert!(world.state.services.contains_key(&other()));
}

#[test]
fn a_service_number_used_again_starts_at_the_head_of_its_list() {
    let mut world = World::new();
    world.add_service(other(), "wrr");
    world.add_resolved(other(), server(9), 1);
    for n in [1, 2] {
        world.add_resolved(other(), server(n), 2);
    }
    world.picks(other(), 3);
    world
        .change(Change::DeleteService { service: other() })
        .unwrap();

    world.run(Event::Config(desired(&[(
        web(),
        &[(3, 1), (2, 1), (1, 1)],
    )])));
    for n in [1, 2, 3] {
        world.resolve(server(n));
    }

    assert_eq!(world.state.services[&web()].id, 0);
    assert_eq!(world.picks(web(), 3), [server(1), server(2), server(3)]);
}

#[test]
fn what_was_changed_at_runtime_survives_a_crash_but_not_an_orderly_stop() {
    let mut world = World::new();
    let file = desired(&[(web(), &[(1, 1), (2, 2)]), (other(), &[(1, 1)])]);
    world.run(Event::Config(file.clone()));
    world.edit(web(), server(2), 0);
    world.delete(web(), server(1));
    world
        .change(Change::DeleteService { service: other() })
        .unwrap();

    world.run(Event::Config(file.clone()));
    assert_eq!(weights(&world, web()), [(server(2), 0)]);
    assert!(!world.state.services.contains_key(&other()));

    world.state.applied = None;
    world.run(Event::Config(file));
    assert_eq!(weights(&world, web()), [(server(1), 1), (server(2), 2)]);
    assert!(world.state.services.contains_key(&other()));
}

#[test]
fn virtual_addresses_go_where_they_belong_and_leave_with_their_last_service() {
    let mut world = World::new();
    world.observed.addresses = vec![
        host("lo", "127.0.0.1", 8),
        host("eth0", "198.51.100.2", 24),
        host("eth1", "192.0.2.2", 24),
        host("eth0", "192.0.2.101", 32),
    ];
    let file = desired(&[
        (web(), &[]),
        (other(), &[]),
        (key("udp:203.0.113.1:53"), &[]),
    ]);
    let plan = world.run(Event::Config(file));
    let text = plan.to_string();
    assert!(text.contains("add 192.0.2.100 to eth1"), "{text}");
    assert!(text.contains("announce 192.0.2.101 on eth0"), "{text}");
    assert!(text.contains("add 203.0.113.1 to eth0"), "{text}");

    world.add_service(key("udp:192.0.2.100:80"), "rr");
    let plan = world
        .change(Change::DeleteService { service: web() })
        .unwrap();
    assert!(!names(&plan).contains(&"remove-vip".to_owned()));
    let plan = world.change(Change::Clear).unwrap();
    let text = plan.to_string();
    assert!(text.contains("remove 192.0.2.100 from eth1"), "{text}");
    assert!(
        !text.contains("192.0.2.101 from"),
        "not ours to remove: {text}"
    );
}

#[test]
fn a_virtual_address_of_ours_moves_when_the_file_names_another_interface() {
    let mut world = World::new();
    let mut file = desired(&[(web(), &[])]);
    world.run(Event::Config(file.clone()));
    world.observed.addresses = vec![host("eth0", "192.0.2.100", 32)];

    file.interfaces = vec!["eth7".to_owned()];
    let text = world.run(Event::Config(file)).to_string();

    assert!(text.contains("add 192.0.2.100 to eth7"), "{text}");
    assert!(text.contains("remove 192.0.2.100 from eth0"), "{text}");
}

#[test]
fn virtual_addresses_of_ours_are_given_up_when_they_are_no_longer_ours_to_manage() {
    let mut world = World::new();
    world.observed.addresses = vec![host("eth0", "192.0.2.101", 32)];
    let mut file = desired(&[(web(), &[]), (other(), &[])]);
    world.run(Event::Config(file.clone()));
    assert_eq!(world.state.vips.len(), 2);

    file.manage_vips = false;
    let plan = world.run(Event::Config(file));

    assert!(world.state.vips.is_empty());
    let text = plan.to_string();
    assert!(text.contains("remove 192.0.2.100 from eth0"), "{text}");
    assert!(
        !text.contains("192.0.2.101 from"),
        "not ours to remove: {text}"
    );
}

#[test]
fn an_interface_that_is_gone_is_taken_out_of_the_data_plane_after_what_leaves_through_it() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add_resolved(web(), server(1), 1);
    let before = world.state.clone();

    let plan = world.run(Event::InterfaceGone { index: 2 });

    assert_eq!(
        names(&plan),
        ["publish-service", "write-destination", "clear-interface"]
    );
    let resumed = Plan::resumed(&before, &Plan::default(), &world.state, &[]);
    assert!(names(&resumed).contains(&"clear-interface".to_owned()));
}

#[test]
fn a_state_and_its_plan_survive_being_written_and_read() {
    let mut world = World::new();
    world.run(Event::Config(desired(&[(web(), &[(1, 1), (2, 2)])])));
    world.resolve(server(1));
    world.lose(server(2));
    world.delete(web(), server(2));
    let saved = Saved {
        version: Saved::VERSION,
        pending: Plan::whole(&world.state),
        state: world.state.clone(),
    };

    let text = serde_json::to_string(&saved).unwrap();

    assert_eq!(serde_json::from_str::<Saved>(&text).unwrap(), saved);
}

#[test]
fn events_survive_being_recorded() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add(web(), server(1), 1);
    world.delete(web(), server(1));
    let readings = world
        .state
        .trash
        .keys()
        .map(|id| {
            let reading = dirigo_control::TrashReading {
                busy: true,
                stats: Stats::default(),
            };
            (*id, reading)
        })
        .collect();
    for event in [
        Event::Change(add(web(), "192.0.2.11:80")),
        Event::Config(desired(&[(web(), &[(1, 1)])])),
        Event::Trash { now_s: 1, readings },
        Event::Resume,
    ] {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}

#[test]
fn the_plan_back_undoes_a_plan() {
    let mut world = World::new();
    world.run(Event::Config(desired(&[(web(), &[(1, 1), (2, 2)])])));
    world.resolve(server(1));
    let before = world.state.clone();
    let (published, looked_at) = (world.maps.published.clone(), world.maps.looked_at.clone());
    let reach = world.maps.reach.clone();

    world.add_service(other(), "rr");
    world.add_resolved(other(), server(1), 1);
    world.delete(web(), server(1));
    let back = Plan::between(&world.state, &before);
    world.maps.carry_out(&back);

    assert_eq!(world.maps.published, published);
    assert_eq!(world.maps.looked_at, looked_at);
    for (id, reach) in reach {
        assert_eq!(world.maps.reach[&id], reach);
    }
}

#[test]
fn the_whole_plan_makes_an_empty_data_plane_hold_the_state() {
    let mut world = World::new();
    world.run(Event::Config(desired(&[(web(), &[(1, 1), (2, 2)])])));
    world.resolve(server(1));
    world.delete(web(), server(2));

    let mut maps = common::Maps::default();
    maps.carry_out(&Plan::whole(&world.state));

    let rotations = |maps: &common::Maps| {
        let published = maps.published.iter();
        published
            .map(|(key, one)| (*key, one.service, one.schedule.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(rotations(&maps), rotations(&world.maps));
    assert_eq!(maps.reach, world.maps.reach);
    assert_eq!(maps.looked_at, world.maps.looked_at);
}

#[test]
fn a_daemon_that_takes_over_finishes_what_was_pending_and_leaves_no_gap() {
    let mut world = World::new();
    world.run(Event::Config(desired(&[
        (web(), &[(1, 1)]),
        (other(), &[(2, 1)]),
    ])));
    let before = world.state.clone();
    // The plan of these changes was written down, but never carried out.
    world
        .change(Change::DeleteService { service: other() })
        .unwrap();
    let pending = Plan::between(&before, &world.state);
    let left = world.state.clone();
    world
        .change(Change::DeleteService { service: web() })
        .unwrap();
    world.add_service(web(), "rr");
    let stray = key("udp:192.0.2.100:53");

    let plan = Plan::resumed(&left, &pending, &world.state, &[web(), other(), stray]);

    let text = plan.to_string();
    assert!(text.contains("withdraw tcp:192.0.2.101:80"), "{text}");
    assert!(text.contains("withdraw udp:192.0.2.100:53"), "{text}");
    assert!(text.contains("remove 192.0.2.101 from eth0"), "{text}");
    assert!(!text.contains("withdraw tcp:192.0.2.100:80"), "{text}");
    assert!(text.contains("publish tcp:192.0.2.100:80"), "{text}");
}

#[test]
fn every_service_number_is_used_and_one_more_is_refused() {
    let mut state = State::default();
    let observed = dirigo_control::Observed::default();
    let add = |n: u32| {
        let service = key(&format!("tcp:192.0.2.100:{}", n % 60_000 + 1));
        Event::Change(Change::AddService {
            service,
            settings: scheduler("rr"),
        })
    };
    for n in 0..16_384 {
        dirigo_control::step(&mut state, add(n), &observed).unwrap();
    }
    let ids: std::collections::BTreeSet<u32> = state.services.values().map(|one| one.id).collect();
    assert_eq!(ids, (0..16_384).collect());

    let refusal = dirigo_control::step(&mut state, add(20_000), &observed).unwrap_err();

    assert_eq!(refusal.code, RefusalCode::Full);
}

fn set(tcp: u32, tcpfin: u32, udp: u32) -> Change {
    let timeouts = api::Timeouts { tcp, tcpfin, udp };
    Change::SetTimeouts { timeouts }
}

#[test]
fn a_timeout_that_was_set_stays_until_the_file_says_something_new_of_it() {
    let mut world = World::new();
    let mut file = desired(&[]);
    world.run(Event::Config(file.clone()));

    let plan = world.change(set(0, 60, 30)).unwrap();

    assert_eq!(plan.to_string(), "timeouts 900 60 30 s\n");
    for applied in [Some(file.clone()), None] {
        world.state.applied = applied.map(std::sync::Arc::new);
        world.run(Event::Config(file.clone()));
        let api::Timeouts { tcp, tcpfin, udp } = world.state.timeouts;
        assert_eq!((tcp, tcpfin, udp), (900, 60, 30));
    }
    file.timeouts.udp = 200;
    world.run(Event::Config(file.clone()));
    file.timeouts.tcp = 600;
    world.run(Event::Config(file));
    let api::Timeouts { tcp, tcpfin, udp } = world.state.timeouts;
    assert_eq!((tcp, tcpfin, udp), (600, 60, 200));
    assert_eq!(
        refused(&mut world, set(2_678_401, 0, 0)),
        RefusalCode::OutOfRange
    );
}

#[test]
fn a_state_written_before_timeouts_could_be_set_is_read() {
    let mut text = serde_json::to_value(State::default()).unwrap();
    let rest = text["rest"].as_object_mut().unwrap();
    assert!(rest.remove("timeouts_set").is_some());
    assert_eq!(
        serde_json::from_value::<State>(text).unwrap(),
        State::default()
    );
}

fn persistent(timeout_s: u32, netmask: Option<api::Netmask>) -> api::ServiceSettings {
    api::ServiceSettings {
        persistence: Some(api::Persistence { timeout_s, netmask }),
        ..scheduler("rr")
    }
}

#[test]
fn persistence_is_published_and_a_change_of_it_disturbs_no_turn() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    for n in [1, 2] {
        world.add_resolved(web(), server(n), 1);
    }
    assert_eq!(world.picks(web(), 1), [server(2)]);

    let settings = persistent(300, None);
    let plan = world
        .change(Change::EditService {
            service: web(),
            settings,
        })
        .unwrap()
        .to_string();

    assert!(plan.contains("publish tcp:192.0.2.100:80"), "{plan}");
    assert!(plan.contains(", persistent 300 s"), "{plan}");
    assert_eq!(world.picks(web(), 2), [server(1), server(2)]);
}

#[test]
fn the_data_plane_is_told_the_weight_and_an_edit_of_it_publishes_a_rotation_anew() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    world.add_resolved(web(), server(1), 1);
    let (write, publish) = ("write-destination", "publish-service");
    // Who looks at weights finds the new list before nobody.
    for (new, order) in [(0, [publish, write]), (3, [write, publish])] {
        let plan = world
            .change(Change::EditDestination {
                service: web(),
                destination: SocketAddr::new(server(1), 80),
                settings: settings(new),
            })
            .unwrap();
        assert_eq!(names(&plan), order);
        let id = world.id(web(), server(1));
        assert_eq!(world.maps.weights[&id], new);
    }
}

#[test]
fn every_port_needs_persistence_and_persistence_a_time_and_a_mask_of_its_family() {
    let mut world = World::new();
    let add = |key_text: &str, settings| Change::AddService {
        service: key(key_text),
        settings,
    };
    let v4 = Some(api::Netmask::V4([255, 255, 255, 0].into()));
    let v6 = |prefix| Some(api::Netmask::V6(prefix));
    let one_packet = api::ServiceSettings {
        one_packet: true,
        ..scheduler("rr")
    };
    let web6 = "tcp:[2001:db8::100]:80";
    for (service, settings, code) in [
        (
            "tcp:192.0.2.100:0",
            scheduler("rr"),
            RefusalCode::BadRequest,
        ),
        (
            "tcp:192.0.2.100:80",
            one_packet.clone(),
            RefusalCode::BadRequest,
        ),
        (
            "tcp:192.0.2.100:80",
            persistent(0, None),
            RefusalCode::OutOfRange,
        ),
        (
            "tcp:192.0.2.100:80",
            persistent(2_678_401, None),
            RefusalCode::OutOfRange,
        ),
        (
            "tcp:192.0.2.100:80",
            persistent(60, v6(24)),
            RefusalCode::BadAddress,
        ),
        (web6, persistent(60, v4), RefusalCode::BadAddress),
        (web6, persistent(60, v6(0)), RefusalCode::BadAddress),
        (web6, persistent(60, v6(129)), RefusalCode::BadAddress),
    ] {
        assert_eq!(
            refused(&mut world, add(service, settings)),
            code,
            "{service}"
        );
    }
    for (service, settings) in [
        ("tcp:192.0.2.100:0", persistent(2_678_400, v4)),
        ("udp:192.0.2.100:53", one_packet),
        (web6, persistent(1, v6(64))),
    ] {
        world.change(add(service, settings)).unwrap();
    }
    let settings = scheduler("rr");
    let service = key("tcp:192.0.2.100:0");
    let edit = Change::EditService { service, settings };
    assert_eq!(refused(&mut world, edit), RefusalCode::BadRequest);
}
