//! SCTP: what its chunks make of a connection.

use std::net::IpAddr;

use director::{DropReason, PassReason};

use crate::case::{Case, Exchange, case};
use crate::packet::{CLIENT, CLIENT_6, Packet, Transport, VIP, VIP_6, packet};
use crate::world::{A, B, Change, publish};

/// Number of the service, and its port.
const SERVICE: u32 = 30;
const PORT: u16 = 5_060;

const DATA: u8 = 0;
const INIT: u8 = 1;
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_COMPLETE: u8 = 14;
const COOKIE_ECHO: u8 = 10;

/// Chunks of a type and a number of bytes, as RFC 9260 §3.2 lays them out.
fn sctp(client: IpAddr, client_port: u16, chunks: &[(u8, u16)]) -> Packet {
    let vip = if client.is_ipv4() { VIP } else { VIP_6 };
    let mut association = packet(client, client_port, vip, PORT, Transport::Other(132));
    let mut bytes = [client_port.to_be_bytes(), PORT.to_be_bytes()].concat();
    bytes.extend([0x5a; 8]);
    for (kind, length) in chunks {
        let mut chunk = vec![*kind, 0];
        chunk.extend(length.to_be_bytes());
        chunk.resize(usize::from(*length).next_multiple_of(4).max(4), 0x11);
        bytes.extend(chunk);
    }
    association.payload = bytes;
    association
}

fn on(client: IpAddr) -> impl Fn(u16, u8) -> Packet {
    move |port, chunk| sctp(client, port, &[(chunk, 20)])
}

pub fn cases() -> Vec<Case> {
    let v4 = || publish(SERVICE, 132, VIP, PORT, &[A, B]);
    let v6 = || publish(SERVICE + 1, 132, VIP_6, PORT, &[A, B]);
    let (four, six) = (on(CLIENT), on(CLIENT_6));
    vec![
        case("an association begins with INIT and is established by the cookie")
            .given([v4()])
            .frame(four(1, INIT).begins_at(A))
            .remembers(&[(1, A, "INIT1")])
            .gauges(A, 0, 1)
            .frame(four(1, COOKIE_ECHO).goes_to(A))
            .remembers(&[(1, A, "ESTABLISHED")])
            .gauges(A, 1, 0)
            .frame(four(1, DATA).goes_to(A))
            .frame(four(1, HEARTBEAT).goes_to(A))
            .frame(four(1, SHUTDOWN).goes_to(A))
            .remembers(&[(1, A, "S-RECEIVED")])
            .frame(four(1, SHUTDOWN_COMPLETE).goes_to(A))
            .remembers(&[(1, A, "CLOSED")])
            .gauges(A, 0, 1),
        case("IPv6 associations are balanced as those of IPv4")
            .given([v6()])
            .frame(six(1, INIT).begins_at(A))
            .frame(six(2, INIT).begins_at(B))
            .frame(six(1, COOKIE_ECHO).goes_to(A))
            .gauges(A, 1, 0),
        case("INIT on an established association changes nothing, on a closed one begins anew")
            .given([v4()])
            .frame(four(1, INIT).begins_at(A))
            .frame(four(1, COOKIE_ECHO).goes_to(A))
            .frame(four(1, INIT).goes_to(A))
            .remembers(&[(1, A, "ESTABLISHED")])
            .frame(four(1, ABORT).goes_to(A))
            .remembers(&[(1, A, "CLOSED")])
            .frame(four(1, INIT).begins_at(B))
            .remembers(&[(1, B, "INIT1")]),
        case("an ABORT behind the cookie is what counts, wherever the padding puts it")
            .given([v4()])
            .frame(four(1, INIT).begins_at(A))
            .frame(sctp(CLIENT, 1, &[(COOKIE_ECHO, 21), (ABORT, 4)]).goes_to(A))
            .remembers(&[(1, A, "CLOSED")])
            .frame(four(2, INIT).begins_at(B))
            .frame(sctp(CLIENT, 2, &[(COOKIE_ECHO, 20), (DATA, 20), (ABORT, 4)]).goes_to(B))
            .remembers(&[(1, A, "CLOSED"), (2, B, "ESTABLISHED")]),
        case("without an association the host answers, and nobody on other ports")
            .given([v4()])
            .frames(
                [DATA, COOKIE_ECHO, ABORT, SHUTDOWN]
                    .map(|chunk| four(1, chunk).passes(PassReason::NoConnection)),
            ),
        case("SCTP that is shorter than its header and a chunk goes nowhere")
            .given([v4()])
            .frames([0, 4, 11, 12, 15].map(short)),
        case("a refused association is answered with port unreachable")
            .given([publish(SERVICE, 132, VIP, PORT, &[])])
            .frame(four(1, INIT).is_answered_port_unreachable()),
        case("an association ends 61 s after its shutdown")
            .given([v4()])
            .frame(four(1, INIT).begins_at(A))
            .frame(four(1, COOKIE_ECHO).goes_to(A))
            .frame(four(1, SHUTDOWN).goes_to(A))
            .then(Change::Age(63))
            .frame(four(1, DATA).passes(PassReason::NoConnection))
            .gauges(A, 0, 0),
    ]
}

/// An INIT of which only so many bytes are there.
fn short(bytes: usize) -> Exchange {
    let mut init = sctp(CLIENT, 1, &[(INIT, 20)]);
    init.payload.truncate(bytes);
    init.is_dropped(DropReason::MalformedSctp)
}
