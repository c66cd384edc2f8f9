//! A table without room: who has to go, and who never does.

use director::Counter::{EvictedClosing, EvictedExpired, EvictedHalfOpen, EvictedUdp};
use director::DropReason::TableFull;
use director::PassReason::NoConnection;

use crate::case::{Case, Exchange, case};
use crate::packet::{ACK, CLIENT, CLIENT_6, FIN, RST, SYN, tcp, udp};
use crate::world::{A, B, Change, DNS, HTTP, PORT_OF_FAR, WRR};

/// One bucket: all connections compete, and which goes does not depend on a hash.
const ONE_BUCKET: u32 = 4;
/// Two buckets: every connection may be in both.
const TWO_BUCKETS: u32 = 8;

pub fn cases() -> Vec<Case> {
    [half_open(), established(), closing(), datagrams()]
        .into_iter()
        .flatten()
        .collect()
}

/// The service of these cases takes A, B, A, …
fn turn(number: u16) -> u32 {
    if number.is_multiple_of(2) { A } else { B }
}

/// Half-open connections of the client ports 0x1000 and on.
fn syns(count: u16) -> Vec<Exchange> {
    let syn = |n| tcp(CLIENT, 0x1000 + n, HTTP, SYN).begins_at(turn(n));
    (0..count).map(syn).collect()
}

/// Established connections of the same ports.
fn handshakes(count: u16) -> Vec<Exchange> {
    let ack = |n| tcp(CLIENT, 0x1000 + n, HTTP, ACK).goes_to(turn(n));
    let mut frames = syns(count);
    frames.extend((0..count).map(ack));
    frames
}

fn half_open() -> Vec<Case> {
    let newcomer = || tcp(CLIENT, 0x2000, HTTP, SYN);
    vec![
        case("a newcomer pushes out a half-open connection, the oldest first")
            .room(ONE_BUCKET)
            .frames(syns(1))
            .then(Change::Age(1))
            .frame(tcp(CLIENT, 0x1001, HTTP, SYN).begins_at(B))
            .then(Change::Age(1))
            .frame(tcp(CLIENT, 0x1002, HTTP, SYN).begins_at(A))
            .frame(tcp(CLIENT, 0x1003, HTTP, SYN).begins_at(B))
            .frame(newcomer().begins_at(A).and(EvictedHalfOpen))
            .remembers(&[
                (0x1001, B, "SYN_RECV"),
                (0x1002, A, "SYN_RECV"),
                (0x1003, B, "SYN_RECV"),
                (0x2000, A, "SYN_RECV"),
            ])
            .frame(tcp(CLIENT, 0x1000, HTTP, ACK).passes(NoConnection))
            .gauges(A, 2, 0)
            .gauges(B, 2, 0),
        case("two buckets hold eight connections whatever their hashes, and then one goes")
            .room(TWO_BUCKETS)
            .frames(syns(8))
            .gauges(A, 4, 0)
            .gauges(B, 4, 0)
            .frame(newcomer().begins_at(A).and(EvictedHalfOpen)),
        case("a flood of SYNs leaves established connections alone")
            .room(TWO_BUCKETS)
            .frames(handshakes(6))
            .frames((0..2).map(|n| tcp(CLIENT, 0x3000 + n, HTTP, SYN).begins_at(turn(n))))
            .frames((2..40).map(|n| {
                tcp(CLIENT, 0x3000 + n, HTTP, SYN)
                    .begins_at(turn(n))
                    .and(EvictedHalfOpen)
            }))
            .frames((0..6).map(|n| tcp(CLIENT, 0x1000 + n, HTTP, ACK).goes_to(turn(n)))),
    ]
}

fn established() -> Vec<Case> {
    vec![
        case("established connections are never pushed out: the newcomer is dropped")
            .room(ONE_BUCKET)
            .frames(handshakes(4))
            .frame(tcp(CLIENT, 0x2000, HTTP, SYN).is_dropped(TableFull))
            .frame(tcp(CLIENT_6, 0x2000, HTTP, SYN).is_dropped(TableFull))
            .frame(udp(CLIENT, 0x2000, DNS).is_dropped(TableFull))
            .frame(tcp(CLIENT, 0x2000, PORT_OF_FAR, SYN).is_dropped(TableFull))
            .gauges(A, 2, 0)
            .gauges(B, 2, 0),
        case("the same with two buckets")
            .room(TWO_BUCKETS)
            .frames(handshakes(8))
            .frame(tcp(CLIENT, 0x2000, HTTP, SYN).is_dropped(TableFull)),
        case("what has run out goes first, established or not")
            .room(ONE_BUCKET)
            .frames(handshakes(1))
            .then(Change::Age(902))
            .frames((1..4).map(|n| tcp(CLIENT, 0x1000 + n, HTTP, SYN).begins_at(turn(n))))
            .frame(
                tcp(CLIENT, 0x2000, HTTP, SYN)
                    .begins_at(A)
                    .and(EvictedExpired),
            )
            .gauges(A, 2, 0)
            .gauges(B, 2, 0),
        case("a known connection needs no room")
            .room(ONE_BUCKET)
            .frames(handshakes(4))
            .frames((0..4).map(|n| tcp(CLIENT, 0x1000 + n, HTTP, FIN).goes_to(turn(n))))
            .gauges(A, 0, 2),
        case("a SYN on a closed connection takes its own slot again")
            .room(ONE_BUCKET)
            .frames(handshakes(4))
            .frame(tcp(CLIENT, 0x1001, HTTP, RST).goes_to(B))
            .frame(tcp(CLIENT, 0x1001, HTTP, SYN).begins_at(A))
            .gauges(A, 3, 0)
            .gauges(B, 1, 0),
    ]
}

fn closing() -> Vec<Case> {
    vec![
        case("a closing connection goes when all others are established")
            .room(ONE_BUCKET)
            .frames(handshakes(4))
            .frame(tcp(CLIENT, 0x1002, HTTP, FIN).goes_to(A))
            .frame(
                tcp(CLIENT, 0x2000, HTTP, SYN)
                    .begins_at(A)
                    .and(EvictedClosing),
            )
            .remembers(&[
                (0x1000, A, "ESTABLISHED"),
                (0x1001, B, "ESTABLISHED"),
                (0x1003, B, "ESTABLISHED"),
                (0x2000, A, "SYN_RECV"),
            ])
            .gauges(A, 2, 0),
        case("a half-open connection goes before a closing one")
            .room(ONE_BUCKET)
            .frames(handshakes(3))
            .frame(tcp(CLIENT, 0x1000, HTTP, RST).goes_to(A))
            .frame(tcp(CLIENT, 0x1003, HTTP, SYN).begins_at(B))
            .frame(
                tcp(CLIENT, 0x2000, HTTP, SYN)
                    .begins_at(A)
                    .and(EvictedHalfOpen),
            )
            .frame(tcp(CLIENT, 0x1003, HTTP, ACK).passes(NoConnection)),
    ]
}

fn datagrams() -> Vec<Case> {
    let flows = |count: u16| (0..count).map(|n| udp(CLIENT, 0x1000 + n, DNS).begins_at(turn(n)));
    vec![
        case("a SYN pushes out no UDP flow")
            .room(ONE_BUCKET)
            .frames(flows(4))
            .frame(tcp(CLIENT, 0x2000, HTTP, SYN).is_dropped(TableFull))
            .gauges(A, 0, 2),
        case("a datagram may push out a UDP flow, the one that is idle longest")
            .room(ONE_BUCKET)
            .frames(flows(4))
            .then(Change::Age(1))
            .frames([0, 1, 3].map(|n| udp(CLIENT, 0x1000 + n, DNS).goes_to(turn(n))))
            .frame(udp(CLIENT, 0x2000, DNS).begins_at(A).and(EvictedUdp))
            .remembers(&[
                (0x1000, A, "UDP"),
                (0x1001, B, "UDP"),
                (0x1003, B, "UDP"),
                (0x2000, A, "UDP"),
            ]),
        case("a closing connection goes before a UDP flow")
            .room(ONE_BUCKET)
            .frames(flows(3))
            .frame(tcp(CLIENT, 0x1003, WRR, SYN).begins_at(A))
            .frame(tcp(CLIENT, 0x1003, WRR, FIN).goes_to(A))
            .frame(udp(CLIENT, 0x2000, DNS).begins_at(B).and(EvictedClosing)),
    ]
}
