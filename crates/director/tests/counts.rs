//! What counts while a destination is chosen: the connection that this one follows on the same ports, one that is
//! over with its only packet, and what was remembered under another scheduler (`reference` ipvs §2, §3.6).
#![allow(clippy::unwrap_used)]

extern crate dirigo_director as director;

use std::sync::atomic::Ordering::SeqCst;

use director::memory::MemoryTables;
use director::scheduler::Kind;
use director::tables::{Gauge, Weight, service_flag};
use director::{ReplyReason, Verdict};
use world::{ACK, HTTP, Packet, RST, SYN, destination, key, some_flow};

mod world;

/// The service of HTTP with these destinations, newest first, each of this weight and these thresholds.
fn tables(kind: Kind, list: &[u32], weight: u32, thresholds: (u32, u32)) -> MemoryTables {
    let mut tables = world::tables(64);
    // A destination is of one service, here that of TCP: it is written last.
    for is_udp in [true, false] {
        let key = key(HTTP, is_udp);
        let id = tables.services[&key].id;
        tables.publish_list(key, id, kind, list);
        for destination in list {
            tables.set_standing(*destination, weight, id, thresholds);
        }
    }
    tables
}

fn packet(port: u16, flags: u8) -> Packet {
    Packet {
        client_port: port,
        ..some_flow().packet(flags)
    }
}

fn datagram(port: u16) -> Packet {
    Packet {
        flags: None,
        ..packet(port, 0)
    }
}

fn server_of(tables: &MemoryTables, packet: &Packet) -> Option<u32> {
    let (bytes, verdict) = world::forward(tables, packet.bytes());
    match verdict {
        Verdict::Transmit => destination(&bytes),
        Verdict::Reply(ReplyReason::PortUnreachable) => None,
        other => panic!("{other:?}"),
    }
}

/// Active and inactive connections.
fn gauge(tables: &MemoryTables, destination: usize) -> (u32, u32) {
    Gauge::split(tables.gauges[destination].load(SeqCst))
}

fn is_overloaded(tables: &MemoryTables, destination: usize) -> bool {
    Weight(tables.standings[destination].weight.load(SeqCst)).is_overloaded()
}

/// A connection of port 1000 that a reset has ended.
fn end_one(tables: &MemoryTables) {
    assert_eq!(server_of(tables, &packet(1000, SYN)), Some(1));
    assert_eq!(server_of(tables, &packet(1000, ACK)), Some(1));
    assert_eq!(server_of(tables, &packet(1000, RST)), Some(1));
    assert_eq!(gauge(tables, 1), (0, 1));
}

#[test]
fn an_ended_connection_counts_until_its_successor_is_chosen_and_gives_it_its_slot() {
    let tables = tables(Kind::LC, &[1, 2], 1, (0, 0));
    end_one(&tables);
    let taken = |tables| {
        world::words(tables)
            .iter()
            .filter(|word| **word != 0)
            .count()
    };
    let before = taken(&tables);

    assert_eq!(server_of(&tables, &packet(1000, SYN)), Some(2));

    assert_eq!((gauge(&tables, 1), gauge(&tables, 2)), ((0, 0), (1, 0)));
    assert_eq!(taken(&tables), before);
    assert_eq!(server_of(&tables, &packet(1000, ACK)), Some(2));
}

#[test]
fn an_upper_threshold_sees_an_ended_connection_and_its_successor() {
    let tables = tables(Kind::LC, &[1], 1, (2, 1));
    end_one(&tables);

    assert_eq!(server_of(&tables, &packet(1000, SYN)), Some(1));

    assert!(is_overloaded(&tables, 1));
    assert_eq!(gauge(&tables, 1), (1, 0));
}

#[test]
fn an_ended_connection_whose_successor_is_refused_is_over_all_the_same() {
    let mut tables = tables(Kind::LC, &[1], 1, (0, 0));
    end_one(&tables);
    let id = tables.services[&key(HTTP, false)].id;
    tables.set_standing(1, 0, id, (0, 0));

    assert_eq!(server_of(&tables, &packet(1000, SYN)), None);

    assert_eq!(gauge(&tables, 1), (0, 0));
}

#[test]
fn an_upper_threshold_sees_a_connection_of_one_packet() {
    let mut tables = tables(Kind::LC, &[1], 1, (2, 1));
    assert_eq!(server_of(&tables, &datagram(1000)), Some(1));
    tables.services.get_mut(&key(HTTP, true)).unwrap().flags |= service_flag::ONE_PACKET;
    assert!(!is_overloaded(&tables, 1));

    assert_eq!(server_of(&tables, &datagram(1001)), Some(1));

    assert!(is_overloaded(&tables, 1));
    assert_eq!(server_of(&tables, &datagram(1002)), None);
}

#[test]
fn with_another_number_of_its_memory_lblc_has_forgotten_who_had_an_address() {
    let mut tables = tables(Kind::LBLC, &[1, 2], 10, (0, 0));
    for port in [1000, 1001, 1002] {
        assert_eq!(server_of(&tables, &packet(port, SYN)), Some(1));
    }
    tables.services.get_mut(&key(HTTP, false)).unwrap().first = 7;

    assert_eq!(server_of(&tables, &packet(1003, SYN)), Some(2));
}
