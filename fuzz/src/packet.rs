//! What the fuzzer does with its bytes; a plain test (`crates/director/tests/fuzz.rs`) replays what it found.
//!
//! ```text
//! world │ length │ frame … │ length │ frame … │ …
//!   1       2                  2                    bytes; lengths little endian, modulo 4,096
//! ```
//!
//! The laws: nothing panics; a frame that passes or is dropped is untouched; a frame that is sent keeps its
//! length; the fast path decides as the whole path; gauges count what the table holds.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering::SeqCst;

use director::connection::{CLAIMED, Entry, FREE};
use director::headers::Mac;
use director::memory::{MemoryFrame, MemoryTables, service_key};
use director::tables::{Gauge, Link};
use director::{Next, Verdict};

/// Frames of one input; a longer one only takes longer.
const FRAMES: usize = 64;
const KEYS: [u64; 8] = [
    3,
    5,
    7,
    11,
    0x9e37_79b9_7f4a_7c15,
    13,
    0xd6e8_feb8_6659_fd93,
    17,
];
const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
const INGRESS: u32 = 1;

/// Plays one input.
pub fn run(data: &[u8]) {
    let Some((&world, mut rest)) = data.split_first() else {
        return;
    };
    let (one, other) = (tables(world), tables(world));
    for number in 0..FRAMES {
        let Some((frame, after)) = next_frame(rest) else {
            break;
        };
        rest = after;
        // Ticks pass with every eighth frame, and minutes with every sixteenth.
        let seconds = [0, 1, 70][usize::from(number % 8 == 7) + usize::from(number % 16 == 15)];
        for tables in [&one, &other] {
            tables
                .now_ns
                .set(tables.now_ns.get() + seconds * 1_000_000_000);
        }
        assert_laws(&one, &other, frame);
    }
    assert_gauges(&one);
}

fn next_frame(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length) & 0xfff);
    Some(rest.split_at(length.min(rest.len())))
}

fn assert_laws(one: &MemoryTables, other: &MemoryTables, frame: &[u8]) {
    let run = |tables: &MemoryTables, is_whole: bool| {
        let mut frame = MemoryFrame {
            bytes: frame.to_vec(),
            ingress: INGRESS,
        };
        let verdict = if is_whole {
            director::go_on(&mut frame, tables, Next::Whole)
        } else {
            director::forward(&mut frame, tables)
        };
        (verdict, frame.bytes)
    };
    let (verdict, out) = run(one, false);
    let (verdict_of_whole, out_of_whole) = run(other, true);
    assert_eq!(verdict, verdict_of_whole);
    assert_eq!(out, out_of_whole);
    match verdict {
        Verdict::Pass(_) | Verdict::Drop(_) => assert_eq!(out, frame),
        Verdict::Transmit | Verdict::Redirect { .. } => assert_eq!(out.len(), frame.len()),
        Verdict::Reply(_) => assert!(out.len() <= 14 + 8 + 1_280),
    }
}

/// Each gauge counts what the table holds, and nothing stays claimed.
fn assert_gauges(tables: &MemoryTables) {
    let mut held: HashMap<u32, u64> = HashMap::new();
    for slot in tables.buckets.iter().flat_map(|bucket| &bucket.slots) {
        let (tag, entry) = (slot.tag.load(SeqCst), Entry(slot.entry.load(SeqCst)));
        assert_ne!(tag, CLAIMED);
        if tag != FREE {
            *held.entry(entry.destination()).or_default() += Gauge::of(entry.state());
        }
    }
    for (id, gauge) in (0..).zip(&tables.gauges) {
        assert_eq!(gauge.load(SeqCst), held.get(&id).copied().unwrap_or(0));
    }
}

/// Two virtual addresses with a few services, and real servers of all kinds.
fn tables(world: u8) -> MemoryTables {
    let room = [4, 8, 64, 1_024][usize::from(world & 3)];
    let mut tables = MemoryTables::new(room, KEYS);
    tables.set_egress(0, INGRESS, DIRECTOR);
    tables.set_egress(1, 9, [2, 0, 0, 0, 0, 0x20]);
    let links = [
        Link::via(Mac::from_bytes([2, 0, 0, 1, 0, 1]), 0),
        Link::via(Mac::from_bytes([2, 0, 0, 1, 0, 2]), 1),
        [
            Link::UNRESOLVED,
            Link::GONE,
            Link::LOCAL,
            Link::via(Mac::from_bytes([4; 6]), 77),
        ][usize::from(world >> 2 & 3)],
    ];
    for (id, link) in (1..).zip(links) {
        tables.links.insert(id, link.0);
    }
    let vips: [IpAddr; 2] = [
        Ipv4Addr::new(192, 0, 2, 100).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100).into(),
    ];
    let mut id = 0;
    for vip in vips {
        tables.add_vip(vip);
        for protocol in [6, 17] {
            let rotations = [
                vec![(3, vec![1, 2, 3])],
                vec![(1, vec![1]), (5, vec![2, 1])],
                vec![],
            ];
            for (port, rotation) in [80, 53, 81].into_iter().zip(rotations) {
                id += 1;
                tables.publish(service_key(vip, port, protocol), id, 0, &rotation);
            }
        }
    }
    if world & 0x10 != 0 {
        tables.settings = None;
    }
    tables
}
