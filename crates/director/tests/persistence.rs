//! Persistence, one-packet scheduling, shares of the table, and IPVS's settings: rules that a service or
//! the table has beside scheduling (`reference` ipvs §3.4 to §3.6).
#![allow(clippy::unwrap_used)]

extern crate dirigo_director as director;

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::SeqCst;

use director::connection::{CLAIMED, Entry, FREE, State};
use director::memory::MemoryTables;
use director::persistence::RENEWAL;
use director::tables::{Gauge, Link, Service, Tuple, service_flag, setting};
use director::time::{TICK_SHIFT, ticks_from_seconds};
use director::{DropReason, PassReason, Verdict};
use world::{ACK, FIN, HTTP, Packet, RST, SYN, destination, key, some_flow};

mod world;

const LIFE_S: u32 = 300;

/// A client's packet to the service: the client's last byte, its port, TCP flags.
fn packet(client: u8, port: u16, flags: u8) -> Packet {
    let client = Ipv4Addr::new(198, 51, 100, client).into();
    Packet {
        client,
        client_port: port,
        ..some_flow().packet(flags)
    }
}

fn datagram(client: u8, port: u16) -> Packet {
    Packet {
        flags: None,
        ..packet(client, port, 0)
    }
}

fn forward(tables: &MemoryTables, packet: &Packet) -> (Option<u32>, Verdict) {
    let (bytes, verdict) = world::forward(tables, packet.bytes());
    (destination(&bytes), verdict)
}

fn server_of(tables: &MemoryTables, packet: &Packet) -> u32 {
    match forward(tables, packet) {
        (Some(server), Verdict::Transmit) => server,
        other => panic!("{other:?}"),
    }
}

fn edit(tables: &mut MemoryTables, port: u16, is_udp: bool, edit: impl Fn(&mut Service)) {
    edit(tables.services.get_mut(&key(port, is_udp)).unwrap());
}

/// The service on HTTP remembers clients of these bits.
fn persistent(mask: u32) -> MemoryTables {
    let mut tables = world::tables(64);
    for is_udp in [false, true] {
        edit(&mut tables, HTTP, is_udp, |service| {
            service.persistence = ticks_from_seconds(LIFE_S);
            service.client_mask = mask;
        });
    }
    tables
}

fn pass_time(tables: &MemoryTables, seconds: u32) {
    let ns = u64::from(ticks_from_seconds(seconds)) << TICK_SHIFT;
    tables.now_ns.set(tables.now_ns.get() + ns);
}

/// Slots of templates, with entry and tuple.
fn templates(tables: &MemoryTables) -> Vec<(Entry, Tuple)> {
    let slots = tables
        .buckets
        .iter()
        .flat_map(|bucket| &bucket.slots)
        .enumerate();
    let used = slots.filter(|(_, slot)| ![FREE, CLAIMED].contains(&slot.tag.load(SeqCst)));
    used.map(|(number, slot)| {
        let tuple = director::Tables::tuple(tables, number as u32).unwrap();
        (Entry(slot.entry.load(SeqCst)), tuple)
    })
    .filter(|(entry, _)| entry.state().is_template())
    .collect()
}

fn moved(tables: &MemoryTables, name: &str) -> u64 {
    let counters = tables.counters_moved();
    counters
        .iter()
        .find(|(counter, _)| *counter == name)
        .map_or(0, |(_, count)| *count)
}

#[test]
fn a_clients_second_connection_goes_where_its_first_went() {
    let tables = persistent(u32::MAX);
    let first = server_of(&tables, &packet(1, 1000, SYN));

    let other_client = server_of(&tables, &packet(2, 1000, SYN));
    let second = server_of(&tables, &packet(1, 1001, SYN));

    assert_eq!(second, first);
    assert_ne!(other_client, first);
    assert_eq!(
        (
            moved(&tables, "template_new"),
            moved(&tables, "template_hit")
        ),
        (2, 1)
    );
}

#[test]
fn a_mask_makes_one_client_of_a_network() {
    let tables = persistent(0xffff_ff00);
    let first = server_of(&tables, &packet(1, 1000, SYN));

    for client in 2..20 {
        assert_eq!(server_of(&tables, &packet(client, 1000, SYN)), first);
    }

    let [(_, tuple)] = templates(&tables)[..] else {
        panic!("one template")
    };
    let client = director::memory::unmapped(tuple.client);
    assert_eq!(client, Ipv4Addr::new(198, 51, 100, 0));
    assert_eq!((tuple.ports, tuple.template), (HTTP.into(), 19));
}

#[test]
fn a_template_counts_in_no_gauge() {
    let tables = persistent(u32::MAX);
    let server = server_of(&tables, &packet(1, 1000, SYN));

    let gauge = tables.gauges[server as usize].load(SeqCst);

    assert_eq!(Gauge::split(gauge), (1, 0));
}

#[test]
fn a_template_is_assured_when_a_connection_of_it_is_established_and_a_datagram_assures_nothing() {
    let tables = persistent(u32::MAX);
    let _ = server_of(&tables, &packet(1, 1000, SYN));
    assert_eq!(templates(&tables)[0].0.state(), State::TEMPLATE);

    let _ = server_of(&tables, &packet(1, 1000, ACK));
    assert_eq!(templates(&tables)[0].0.state(), State::ASSURED);

    let tables = persistent(u32::MAX);
    for _ in 0..3 {
        let _ = server_of(&tables, &datagram(1, 1000));
    }
    assert_eq!(templates(&tables)[0].0.state(), State::TEMPLATE);
}

#[test]
fn a_template_bypasses_the_scheduler_and_a_drained_server_keeps_its_clients() {
    let mut tables = persistent(u32::MAX);
    let first = server_of(&tables, &packet(1, 1000, SYN));
    let link = Link(tables.links[&first]);
    tables.links.insert(first, link.drained().0);

    assert_eq!(server_of(&tables, &packet(1, 1001, SYN)), first);

    tables.settings.as_mut().unwrap().flags = setting::EXPIRE_QUIESCENT_TEMPLATE;
    let second = server_of(&tables, &packet(1, 1002, SYN));
    assert_ne!(second, first);
    assert_eq!(server_of(&tables, &packet(1, 1003, SYN)), second);
}

#[test]
fn a_template_of_a_deleted_server_gets_another() {
    let mut tables = persistent(u32::MAX);
    let first = server_of(&tables, &packet(1, 1000, SYN));
    tables.links.insert(first, Link::GONE.0);

    let second = server_of(&tables, &packet(1, 1001, SYN));

    assert_ne!(second, first);
    assert_eq!(templates(&tables).len(), 1);
    assert_eq!(templates(&tables)[0].0.destination(), second);
}

#[test]
fn a_template_whose_time_is_over_lives_on_while_it_has_connections_and_not_longer() {
    let tables = persistent(u32::MAX);
    let first = server_of(&tables, &packet(1, 1000, SYN));
    let _ = server_of(&tables, &packet(1, 1000, ACK));
    pass_time(&tables, LIFE_S + 10);
    assert_eq!(server_of(&tables, &packet(1, 1001, SYN)), first);

    // Both connections run out, are found so, and are the template's no longer.
    let _ = forward(&tables, &packet(1, 1001, RST));
    pass_time(&tables, 1_000);
    for port in [1000, 1001] {
        let (_, verdict) = forward(&tables, &packet(1, port, ACK));
        assert_eq!(verdict, Verdict::Pass(PassReason::NoConnection));
    }
    assert_eq!(templates(&tables)[0].1.template, 0);

    let _ = server_of(&tables, &packet(2, 1, SYN));
    let _ = server_of(&tables, &packet(1, 1002, SYN));
    assert_eq!(moved(&tables, "template_new"), 3);
    const { assert!(RENEWAL < ticks_from_seconds(LIFE_S)) };
}

#[test]
fn a_service_on_port_0_takes_every_port_of_a_client_to_one_server() {
    let mut tables = persistent(u32::MAX);
    let mut service = tables.services.remove(&key(HTTP, false)).unwrap();
    service.flags = service_flag::ALL_PORTS;
    tables.services.insert(key(0, false), service);
    let first = server_of(&tables, &packet(1, 1000, SYN));

    for port in [443, 8080, 22] {
        let packet = Packet {
            port,
            ..packet(1, 2000, SYN)
        };
        assert_eq!(server_of(&tables, &packet), first);
    }
    assert_eq!(templates(&tables)[0].1.ports, 0);
}

#[test]
fn ftps_data_connections_follow_a_persistent_control_connection_and_no_other() {
    let mut tables = persistent(u32::MAX);
    let mut service = tables.services.remove(&key(HTTP, false)).unwrap();
    service.flags = service_flag::ALL_PORTS;
    tables.services.insert(key(21, false), service);
    let control = Packet {
        port: 21,
        ..packet(1, 1000, SYN)
    };
    let data = Packet {
        port: 50_000,
        ..packet(1, 1001, SYN)
    };
    let low = Packet {
        port: 99,
        ..packet(1, 1002, SYN)
    };

    assert_eq!(server_of(&tables, &control), server_of(&tables, &data));
    assert_eq!(
        forward(&tables, &low).1,
        Verdict::Pass(PassReason::NotAService)
    );

    service.persistence = 0;
    tables.services.insert(key(21, false), service);
    let data = Packet {
        port: 50_001,
        ..data
    };
    assert_eq!(
        forward(&tables, &data).1,
        Verdict::Pass(PassReason::NotAService)
    );
}

#[test]
fn one_packet_scheduling_schedules_each_datagram_and_remembers_nothing() {
    let mut tables = world::tables(64);
    edit(&mut tables, HTTP, true, |service| {
        service.flags = service_flag::ONE_PACKET
    });

    let servers: Vec<u32> = (0..6)
        .map(|_| server_of(&tables, &datagram(1, 1000)))
        .collect();

    assert_eq!(servers, [1, 2, 3, 1, 2, 3]);
    assert!(world::words(&tables).iter().all(|word| *word == 0));
    let statistics = tables.statistics.borrow();
    assert!((1..=3).all(|id| statistics[&id].connections == 2));
}

#[test]
fn one_packet_scheduling_is_for_datagrams_only() {
    let mut tables = world::tables(64);
    edit(&mut tables, HTTP, false, |service| {
        service.flags = service_flag::ONE_PACKET
    });

    let first = server_of(&tables, &packet(1, 1000, SYN));

    assert_eq!(server_of(&tables, &packet(1, 1000, ACK)), first);
}

#[test]
fn a_service_that_has_its_share_takes_only_from_its_own() {
    let mut tables = world::tables(64);
    edit(&mut tables, HTTP, false, |service| service.share = 4);
    for port in 1001..=1004 {
        let _ = server_of(&tables, &packet(1, port, SYN));
        let _ = server_of(&tables, &packet(1, port, ACK));
    }

    let refused = (1005..1100).filter(|port| {
        let (_, verdict) = forward(&tables, &packet(1, *port, SYN));
        verdict == Verdict::Drop(DropReason::ServiceShare)
    });

    // Established connections give way to nobody, and there is room for all others.
    assert_eq!(refused.count(), 95);
    let _ = server_of(&tables, &datagram(1, 1));
    for port in 1001..=1004 {
        let _ = server_of(&tables, &packet(1, port, ACK));
    }
}

#[test]
fn sloppy_tcp_begins_with_any_segment_but_rst() {
    let mut tables = world::tables(64);
    tables.settings.as_mut().unwrap().flags = setting::SLOPPY_TCP;

    let first = server_of(&tables, &packet(1, 1000, ACK));

    assert_eq!(server_of(&tables, &packet(1, 1000, ACK)), first);
    let (_, verdict) = forward(&tables, &packet(1, 1001, RST));
    assert_eq!(verdict, Verdict::Pass(PassReason::NoConnection));
}

#[test]
fn a_reused_port_keeps_its_server_or_not_as_the_mode_says() {
    for (mode, closing, moves) in [
        (0, RST, false),
        (1, RST, true),
        (1, FIN, false),
        (2, FIN, true),
    ] {
        let mut tables = world::tables(64);
        tables.settings.as_mut().unwrap().conn_reuse_mode = mode;
        let first = server_of(&tables, &packet(1, 1000, SYN));
        let _ = server_of(&tables, &packet(1, 1000, ACK));
        let _ = server_of(&tables, &packet(1, 1000, closing));

        let again = server_of(&tables, &packet(1, 1000, SYN));

        assert_eq!(again != first, moves, "mode {mode}, flags {closing:#x}");
    }
}

#[test]
fn expire_nodest_conn_lets_a_client_go_on_elsewhere() {
    let mut tables = world::tables(64);
    let first = server_of(&tables, &datagram(1, 1000));
    let tcp = server_of(&tables, &packet(1, 1000, SYN));
    let _ = server_of(&tables, &packet(1, 1000, ACK));
    for server in [first, tcp] {
        tables.links.insert(server, Link::GONE.0);
    }
    let (_, verdict) = forward(&tables, &datagram(1, 1000));
    assert_eq!(verdict, Verdict::Drop(DropReason::DestinationGone));

    world::publish(&mut tables, &[4, 5], 0);
    tables.settings.as_mut().unwrap().flags = setting::EXPIRE_NODEST_CONN;

    assert!([4, 5].contains(&server_of(&tables, &datagram(1, 1000))));
    let (_, verdict) = forward(&tables, &packet(1, 1000, ACK));
    assert_eq!(verdict, Verdict::Pass(PassReason::NoConnection));
    assert!([4, 5].contains(&server_of(&tables, &packet(1, 1000, SYN))));
}
