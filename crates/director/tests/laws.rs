//! What holds for every frame and every table, found false by nothing that proptest can think of.
//!
//! The golden table of `dataplane/tests/kernel` has the examples; here are the laws behind them.
#![allow(clippy::unwrap_used)]

extern crate dirigo_director as director;

use std::collections::HashMap;

use director::arrival::Arrival;
use director::memory::{MemoryTables, plain_service};
use director::tables::Segment;
use director::{Counter, PassReason, ReplyReason, Tables, Verdict, scheduler};
use etherparse::{Icmpv4Header, Icmpv6Header, Ipv4Header, Ipv6Header};
use proptest::collection::vec;
use proptest::prelude::*;
use world::{
    ACK, DESTINATIONS, EMPTY, FIN, Flow, HTTP, PSH, RST, SYN, any_frame, any_packet, destination,
    forward, link_all, publish, tables, words,
};
use zerocopy::FromZeros;

mod world;

proptest! {
    #[test]
    fn forwarding_changes_mac_addresses_and_one_hop_of_lifetime_only(packet in any_packet(HTTP, 2..=255)) {
        let (frame, out, verdict) = through(&tables(64), packet.bytes());
        prop_assert_eq!(verdict, Verdict::Transmit);
        let id = destination(&out).unwrap();
        prop_assert!((1..=DESTINATIONS).contains(&id));

        let mut restored = out.clone();
        restored[..12].copy_from_slice(&frame[..12]);
        if packet.is_v4() {
            prop_assert_eq!(out[22], frame[22] - 1);
            let (header, _) = Ipv4Header::from_slice(&out[14..]).unwrap();
            prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            restored[22] = frame[22];
            restored[24..26].copy_from_slice(&frame[24..26]);
        } else {
            prop_assert_eq!(out[21], frame[21] - 1);
            restored[21] = frame[21];
        }
        prop_assert_eq!(restored, frame);
    }

    #[test]
    fn a_frame_that_passes_or_is_dropped_is_untouched(frames in vec(any_frame(), 1..40)) {
        let tables = tables(8);
        for frame in frames {
            let (frame, out, verdict) = through(&tables, frame);
            if matches!(verdict, Verdict::Pass(_) | Verdict::Drop(_)) {
                prop_assert_eq!(out, frame, "{:?}", verdict);
            }
        }
    }

    #[test]
    fn every_frame_moves_one_verdicts_counter(frames in vec(any_frame(), 1..40)) {
        let tables = tables(8);
        let beside = [
            Counter::ConnectionNew,
            Counter::EvictedExpired,
            Counter::EvictedHalfOpen,
            Counter::EvictedClosing,
            Counter::EvictedUdp,
            Counter::IcmpErrorForwarded,
            Counter::FragmentFirst,
            Counter::FragmentFollowed,
        ];
        for (number, frame) in frames.into_iter().enumerate() {
            let _ = through(&tables, frame);
            let counted = tables.counters_moved().into_iter();
            let verdicts = counted.filter(|(name, _)| beside.iter().all(|b| b.name() != *name));
            let sum: u64 = verdicts.map(|(_, count)| count).sum();
            prop_assert_eq!(sum, number as u64 + 1);
        }
    }

    #[test]
    fn no_bytes_whatever_make_the_packet_path_panic(bytes in vec(any::<u8>(), 0..300), ether_type in 0usize..5) {
        let tables = tables(8);
        let _ = through(&tables, bytes.clone());
        // And with an Ethernet header that leads on.
        let mut frame = world::ethernet([0x0800, 0x86dd, 0x8100, 0x88a8, 0x0806][ether_type]);
        frame.extend(bytes);
        let _ = through(&tables, frame);
    }

    #[test]
    fn the_fast_path_decides_as_the_whole_path_would(frames in vec(any_frame(), 1..60), age in 0u64..200) {
        let (both, whole) = (tables(8), tables(8));
        for (number, frame) in frames.into_iter().enumerate() {
            // Ticks pass, so that entries are renewed, and some run out.
            for tables in [&both, &whole] {
                tables.now_ns.set((1 << 40) + number as u64 * age * 1_000_000_000);
            }
            let (_, out, verdict) = through(&both, frame.clone());
            let (out_of_whole, verdict_of_whole) = world::whole(&whole, frame);
            prop_assert_eq!(verdict, verdict_of_whole);
            prop_assert_eq!(out, out_of_whole);
            prop_assert_eq!(words(&both), words(&whole));
        }
        prop_assert_eq!(both.counters_moved(), whole.counters_moved());
        prop_assert_eq!(both.statistics, whole.statistics);
    }

    #[test]
    fn a_connection_stays_on_its_destination_while_it_lives(steps in vec(any_step(), 1..120)) {
        let mut tables = tables(1_024);
        let mut homes: HashMap<Flow, u32> = HashMap::new();
        for step in steps {
            match step {
                Step::Packet(flow, flags) => {
                    let known = homes.get(&flow).copied();
                    let flags = if known.is_some() { flags } else { SYN };
                    let (_, out, verdict) = through(&tables, flow.packet(flags).bytes());
                    let Some(id) = destination(&out).filter(|_| verdict == Verdict::Transmit) else {
                        // Only a service without destinations sends nobody on.
                        prop_assert_eq!(known, None, "{:?}", verdict);
                        continue;
                    };
                    prop_assert_eq!(*homes.entry(flow).or_insert(id), id);
                }
                Step::Publish(rotation, first) => publish(&mut tables, &rotation, first),
                Step::Withdraw => tables.services.clear(),
                Step::Wait(seconds) => {
                    let now = tables.now_ns.get();
                    tables.now_ns.set(now + seconds * 1_000_000_000);
                    // A minute is the shortest that any of these states lives: all are renewed.
                    for flow in homes.keys() {
                        let _ = through(&tables, flow.packet(ACK).bytes());
                    }
                }
            }
        }
    }

    #[test]
    fn an_icmp_error_is_right_by_another_librarys_reckoning(packet in any_packet(EMPTY, 0..=255)) {
        let (frame, out, verdict) = through(&tables(64), packet.bytes());
        prop_assert_eq!(verdict, Verdict::Reply(ReplyReason::PortUnreachable));
        let packet_len = packet.ip_len();
        assert_error(&frame, &out, packet_len, packet.is_v4())?;
    }

    #[test]
    fn a_late_packets_error_is_right_as_well(packet in any_packet(HTTP, 0..=1)) {
        let (frame, out, verdict) = through(&tables(64), packet.bytes());
        prop_assert_eq!(verdict, Verdict::Reply(ReplyReason::TimeExceeded));
        assert_error(&frame, &out, packet.ip_len(), packet.is_v4())?;
    }

    #[test]
    fn picks_follow_the_segments_position_by_position(
        runs in vec((1u64..9, 1usize..5), 1..12),
        scale in prop_oneof![Just(1u64), Just(1 << 20), Just((1 << 31) - 1)],
        first: u64,
        picks in 1u64..60,
    ) {
        let (mut tables, mut end, mut segments) = (tables(8), 0, Vec::new());
        for (number, (span, count)) in runs.into_iter().enumerate() {
            end += span * scale;
            let from = 1 + number as u32 * 10;
            segments.push((end, (from..from + count as u32).collect::<Vec<_>>()));
        }
        let first = first % end;
        let key = world::key(HTTP, false);
        tables.publish(key, 1, first, &segments);
        let service = tables.service(&key).unwrap();
        for pick in 0..picks {
            let position = (first + pick) % end;
            let index = segments.iter().position(|(end, _)| position < *end).unwrap();
            let start = if index == 0 { 0 } else { segments[index - 1].0 };
            let turn = (position - start) % segments[index].1.len() as u64;
            let want = segments[index].1[turn as usize];
            prop_assert_eq!(scheduler::at(&service, position, &tables), Some(want));
            prop_assert_eq!(scheduler::choose(&service, &Arrival::new_zeroed(), &tables), want);
        }
    }

    #[test]
    fn a_rotation_that_is_not_whole_picks_nobody_and_does_not_panic(
        cycle: u64, segments_base: u32, segments: u32, first: u64,
        list in vec((any::<u64>(), any::<u32>(), any::<u32>()), 0..6),
    ) {
        let mut tables = tables(8);
        let of = |(end, slots_base, slots)| Segment { end, slots_base, slots };
        tables.segments = list.into_iter().map(of).collect();
        tables.rotation_slots = vec![1, 0, 2];
        let service = plain_service(first, cycle, 1, segments_base, segments);
        let id = scheduler::choose(&service, &Arrival::new_zeroed(), &tables);
        if id != 0 {
            prop_assert!(id == 1 || id == 2, "{}", id);
        }
    }

    #[test]
    fn no_virtual_address_is_taken_for_a_foreign_one(addresses in vec(any::<std::net::IpAddr>(), 1..200)) {
        let mut tables = MemoryTables::new(4, world::KEYS);
        tables.set_egress(0, 1, world::DIRECTOR);
        addresses.iter().for_each(|address| tables.add_vip(*address));
        for address in addresses {
            let frame = world::packet_to(address).bytes();
            let verdict = forward(&tables, frame).1;
            prop_assert_eq!(verdict, Verdict::Pass(PassReason::NotAService));
        }
    }
}

/// What happens to living connections.
#[derive(Clone, Debug)]
enum Step {
    Packet(Flow, u8),
    Publish(Vec<u32>, u64),
    Withdraw,
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    // Neither FIN nor RST: those end a connection.
    let flags = prop_oneof![Just(ACK), Just(ACK | PSH), Just(SYN)];
    prop_oneof![
        12 => (world::any_flow(), flags).prop_map(|(flow, flags)| Step::Packet(flow, flags)),
        3 => (vec(1..=DESTINATIONS, 0..5), any::<u64>()).prop_map(|(r, first)| Step::Publish(r, first)),
        1 => Just(Step::Withdraw),
        2 => (1u64..59).prop_map(Step::Wait),
    ]
}

/// The frame, what became of it, and why.
fn through(tables: &MemoryTables, frame: Vec<u8>) -> (Vec<u8>, Vec<u8>, Verdict) {
    let (out, verdict) = forward(tables, frame.clone());
    (frame, out, verdict)
}

/// An ICMP error about the packet of `packet_len` bytes in `frame`, to whoever sent it.
fn assert_error(
    frame: &[u8],
    out: &[u8],
    packet_len: usize,
    is_v4: bool,
) -> Result<(), TestCaseError> {
    let packet = &frame[14..14 + packet_len];
    prop_assert_eq!(&out[..6], &frame[6..12]);
    prop_assert_eq!(&out[6..12], &frame[..6]);
    let quote = if is_v4 {
        let (ip, rest) = Ipv4Header::from_slice(&out[14..]).unwrap();
        prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        prop_assert_eq!(usize::from(ip.total_len), out.len() - 14);
        prop_assert!(ip.total_len <= 576);
        prop_assert_eq!(&ip.source[..], &packet[16..20]);
        prop_assert_eq!(&ip.destination[..], &packet[12..16]);
        let (icmp, quote) = Icmpv4Header::from_slice(rest).unwrap();
        prop_assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(quote));
        prop_assert_eq!(quote.len(), packet.len().min(576 - 28));
        quote
    } else {
        let (ip, rest) = Ipv6Header::from_slice(&out[14..]).unwrap();
        prop_assert_eq!(usize::from(ip.payload_length), out.len() - 54);
        prop_assert!(ip.payload_length <= 1_240);
        prop_assert_eq!(&ip.source[..], &packet[24..40]);
        prop_assert_eq!(&ip.destination[..], &packet[8..24]);
        let (icmp, quote) = Icmpv6Header::from_slice(rest).unwrap();
        let right = icmp
            .icmp_type
            .calc_checksum(ip.source, ip.destination, quote);
        prop_assert_eq!(icmp.checksum, right.unwrap());
        prop_assert_eq!(quote.len(), packet.len().min(1_280 - 48));
        quote
    };
    prop_assert_eq!(quote, &packet[..quote.len()]);
    Ok(())
}

#[test]
fn what_ends_a_connection_ends_it() {
    // The law above has neither FIN nor RST because of this.
    let mut tables = tables(64);
    publish(&mut tables, &[1, 2], 0);
    let flow = world::some_flow();
    for (flags, want) in [
        (SYN, 1),
        (RST, 1),
        (ACK, 1),
        (RST, 1),
        (SYN, 2),
        (FIN, 2),
        (SYN, 1),
    ] {
        let out = forward(&tables, flow.packet(flags).bytes()).0;
        assert_eq!(destination(&out), Some(want));
    }
    link_all(&mut tables);
}

#[test]
fn a_frame_whose_way_out_was_never_written_goes_nowhere_and_is_counted() {
    let mut tables = tables(8);
    for id in 1..=3 {
        let mac = director::headers::Mac::from_bytes([2, 0, 0, 1, 0, id as u8]);
        tables
            .links
            .insert(id, director::tables::Link::via(mac, 5).0);
    }
    let packet = world::some_flow().packet(SYN);

    let (bytes, verdict) = world::forward(&tables, packet.bytes());

    assert_eq!(verdict, Verdict::Drop(director::DropReason::Internal));
    assert_eq!(bytes, packet.bytes());
    let (_, again) = world::forward(&tables, world::some_flow().packet(world::ACK).bytes());
    assert_eq!(again, verdict);
}
