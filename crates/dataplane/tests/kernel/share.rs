//! A service's share of the table: a flood at one virtual address is its own affair.

use std::net::{IpAddr, Ipv4Addr};

use dirigo_dataplane::Rules;

use crate::kernel::Kernel;
use crate::packet::{ACK, CLIENT_6, SYN, Transport, VIP, VIP_6, packet};
use crate::support::is_root;
use crate::world::{A, B, Change, HTTP, classic, key, publish, round};

/// Slots of the table.
const ROOM: u32 = 4_096;
/// The flooded service has a quarter of them.
const SHARE: u32 = ROOM / 4;
/// Its number, and that of the service that must not notice.
const FLOODED: u32 = 1;
const QUIET: u32 = 11;
/// Handshakes with the quiet service, during the flood.
const HANDSHAKES: u16 = 200;
/// SYNs to the flooded one between a client's SYN and its ACK.
const SYNS: u32 = 300;

#[test]
fn a_flooded_virtual_address_does_not_starve_another() {
    if !is_root() {
        return;
    }
    let (mut with, mut without) = (flooded("share", SHARE), flooded("no-share", u32::MAX));

    let (broken, unprotected) = (handshakes(&mut with), handshakes(&mut without));

    eprintln!("{broken} of {HANDSHAKES} handshakes broken with a share, {unprotected} without");
    assert_eq!(broken, 0, "handshakes of the quiet service");
    assert!(unprotected > 0, "nothing was proved");
    assert!(population(&with, FLOODED) <= SHARE.into());
    assert!(population(&without, FLOODED) > SHARE.into());
    assert_eq!(with.plane.gauges(B), (HANDSHAKES.into(), 0));
    let shares = with.counters();
    assert!(shares["evicted_half_open"] > 0, "{shares:?}");
}

/// A table that a flood has been through.
fn flooded(test: &str, share: u32) -> Kernel {
    let mut kernel = Kernel::with(test, ROOM, &classic());
    kernel.apply(&Change::PublishWith {
        key: key(6, VIP, HTTP),
        id: FLOODED,
        rules: Rules {
            share,
            ..Rules::default()
        },
        segments: round(&[A]),
        first: 0,
    });
    kernel.apply(&publish(QUIET, 6, VIP_6, HTTP, &[B]));
    flood(&mut kernel, 0..2 * ROOM);
    kernel
}

/// Each SYN from another source.
fn flood(kernel: &mut Kernel, sources: std::ops::Range<u32>) {
    for source in sources {
        let client = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + source));
        let syn = packet(client, 40_000, VIP, HTTP, Transport::Tcp(SYN));
        kernel.receive(&syn.bytes());
    }
}

/// How many handshakes the flood comes between.
fn handshakes(kernel: &mut Kernel) -> u16 {
    let mut broken = 0;
    for number in 0..HANDSHAKES {
        let segment = |flags| packet(CLIENT_6, 1_000 + number, VIP_6, HTTP, Transport::Tcp(flags));
        assert_eq!(kernel.receive(&segment(SYN).bytes()).action, 3);
        let from = (number as u32 + 100) * SYNS;
        flood(kernel, from..from + SYNS);
        broken += u16::from(kernel.receive(&segment(ACK).bytes()).action != 3);
    }
    broken
}

fn population(kernel: &Kernel, service: u32) -> u64 {
    kernel
        .instance
        .array::<1>("POPULATIONS")
        .get(&service, 0)
        .unwrap()[0]
}
