//! ICMP errors that the director sends, to whom, and how many.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use director::DropReason::{NoDestination, TimeExceeded};
use director::PassReason::{NotAService, NotAVirtualAddress};

use crate::case::{Case, Exchange, case};
use crate::packet::{ACK, CLIENT, CLIENT_6, FOREIGN, Packet, SYN, VIP, VIP_6, tcp, udp};
use crate::world::{A, B, Change, DNS, EMPTY, HTTP, NO_SERVICE, PORT_OF_FAR};

pub fn cases() -> Vec<Case> {
    [unreachable(), exceeded(), unanswerable(), allowance()]
        .into_iter()
        .flatten()
        .collect()
}

/// The client `number` of an IPv4 or IPv6 network: each has an allowance of its own.
fn client(number: u8, is_v6: bool) -> IpAddr {
    if is_v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(203, 0, 113, number).into()
    }
}

fn unreachable() -> Vec<Case> {
    let syn = |client| tcp(client, 40_000, EMPTY, SYN);
    let datagram = |client| udp(client, 40_000, EMPTY);
    let lengths = |lengths: &[usize], is_v6| -> Vec<Exchange> {
        let one = |(number, len): (usize, &usize)| {
            datagram(client(number as u8 + 1, is_v6))
                .payload(*len)
                .is_answered_port_unreachable()
        };
        lengths.iter().enumerate().map(one).collect()
    };
    vec![
        case("without an eligible server the client is told: port unreachable")
            .frames([
                syn(CLIENT).is_answered_port_unreachable(),
                datagram(CLIENT).is_answered_port_unreachable(),
                syn(CLIENT_6).is_answered_port_unreachable(),
                datagram(CLIENT_6).is_answered_port_unreachable(),
            ])
            .remembers(&[]),
        // 28 bytes of headers: 520 bytes of payload are quoted whole, and not one more.
        case("the packet is quoted, up to 576 bytes in all").frames(lengths(
            &[
                0, 1, 2, 3, 4, 5, 63, 64, 65, 483, 519, 520, 521, 522, 523, 700, 1_472,
            ],
            false,
        )),
        case("an IPv6 packet is quoted, up to 1,280 bytes in all").frames(lengths(
            &[
                0, 1, 2, 3, 4, 5, 1_167, 1_183, 1_184, 1_185, 1_186, 1_187, 1_452,
            ],
            true,
        )),
        case("options and payload are quoted, what follows the packet is not").frames([
            syn(client(1, false))
                .options(&[1; 40])
                .tcp_options(&[1; 8])
                .payload(3)
                .padding(7)
                .is_answered_port_unreachable(),
            syn(client(2, false))
                .padding(6)
                .class(0xb8)
                .is_answered_port_unreachable(),
            syn(client(3, true))
                .tcp_options(&[1; 40])
                .payload(1)
                .padding(3)
                .is_answered_port_unreachable(),
        ]),
        // The lifetime is not looked at: nobody would have got the packet.
        case("a packet at its last hop for a service without servers is unreachable, not late")
            .frame(syn(CLIENT).ttl(1).is_answered_port_unreachable()),
        case("a datagram whose header checksum is wrong is quoted as it came").frame({
            let packet = datagram(CLIENT);
            let spoil = |bytes: &mut Vec<u8>, at: usize| bytes[at] ^= 0x40;
            let raw = packet.edited(|bytes| spoil(bytes, 24));
            // Quoted 28 bytes further on, and the ICMP checksum (at 36) makes up for it.
            let mut out = packet.port_unreachable();
            let before = u16::from_be_bytes([out[52], out[53]]);
            spoil(&mut out, 52);
            let after = u16::from_be_bytes([out[52], out[53]]);
            let checksum = u16::from_be_bytes([out[36], out[37]]);
            let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
            let folded = (sum & 0xffff) + (sum >> 16);
            let folded = (folded & 0xffff) + (folded >> 16);
            out[36..38].copy_from_slice(&(!(folded as u16)).to_be_bytes());
            let verdict = director::Verdict::Reply(director::ReplyReason::PortUnreachable);
            raw.becomes(verdict, out)
        }),
    ]
}

fn exceeded() -> Vec<Case> {
    let syn = |client, port| tcp(client, 40_000, port, SYN);
    vec![
        case("a packet at its last hop is not forwarded, and the client is told")
            .frames([
                syn(CLIENT, HTTP)
                    .ttl(1)
                    .is_answered_time_exceeded()
                    .makes_a_connection(),
                syn(CLIENT_6, HTTP)
                    .ttl(1)
                    .is_answered_time_exceeded()
                    .makes_a_connection(),
                udp(CLIENT, 40_000, DNS)
                    .ttl(1)
                    .is_answered_time_exceeded()
                    .makes_a_connection(),
                udp(CLIENT_6, 40_000, DNS)
                    .ttl(1)
                    .payload(1_300)
                    .is_answered_time_exceeded()
                    .makes_a_connection(),
            ])
            // It was scheduled, so that the next packet of the flow goes the same way.
            .frame(syn(CLIENT, HTTP).goes_to(A)),
        case("a lifetime of nothing is no better").frames([
            syn(CLIENT, HTTP)
                .ttl(0)
                .is_answered_time_exceeded()
                .makes_a_connection(),
            syn(CLIENT_6, HTTP)
                .ttl(0)
                .is_answered_time_exceeded()
                .makes_a_connection(),
        ]),
        case("a known connection's packet at its last hop is answered, counted and remembered")
            .frame(syn(CLIENT, HTTP).begins_at(A))
            .frame(
                tcp(CLIENT, 40_000, HTTP, ACK)
                    .ttl(1)
                    .payload(701)
                    .is_answered_time_exceeded(),
            )
            .remembers(&[(40_000, A, "ESTABLISHED")])
            .sent(A, 1, 2, 40 + 741),
        case("the answer leaves by the interface the packet came by").frame(
            syn(CLIENT, PORT_OF_FAR)
                .ttl(1)
                .is_answered_time_exceeded()
                .makes_a_connection(),
        ),
        case("the lifetime of the host's own packets is the host's matter").frames([
            syn(CLIENT, NO_SERVICE).ttl(1).passes(NotAService),
            syn(CLIENT, HTTP)
                .ttl(1)
                .to(FOREIGN)
                .passes(NotAVirtualAddress),
        ]),
    ]
}

fn unanswerable() -> Vec<Case> {
    let nobody = [
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv4Addr::new(0, 1, 2, 3).into(),
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::new(224, 0, 0, 1).into(),
        Ipv4Addr::new(239, 255, 255, 255).into(),
        Ipv4Addr::new(240, 0, 0, 1).into(),
        Ipv4Addr::BROADCAST.into(),
        VIP,
        Ipv6Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
        VIP_6,
    ];
    let late = nobody.map(|from| tcp(from, 40_000, HTTP, SYN).ttl(1));
    vec![
        case("nobody is told port unreachable who cannot have asked")
            .frames(nobody.map(|from| udp(from, 40_000, EMPTY).is_dropped(NoDestination))),
        case("nobody is told time exceeded who cannot have asked")
            .frames(late.map(|packet| packet.is_dropped(TimeExceeded).makes_a_connection())),
        case("addresses next to those that cannot ask are answered").frames(
            [
                Ipv4Addr::new(1, 0, 0, 0),
                Ipv4Addr::new(126, 255, 255, 255),
                Ipv4Addr::new(128, 0, 0, 1),
                Ipv4Addr::new(223, 255, 255, 255),
            ]
            .map(|from| udp(from.into(), 40_000, EMPTY).is_answered_port_unreachable()),
        ),
    ]
}

fn allowance() -> Vec<Case> {
    let answers = |packet: &Packet, count: usize| -> Vec<Exchange> {
        (0..count)
            .map(|_| packet.is_answered_port_unreachable())
            .collect()
    };
    let (four, six) = (udp(CLIENT, 40_000, EMPTY), udp(CLIENT_6, 40_000, EMPTY));
    let other = udp(client(9, false), 40_000, EMPTY);
    let silence = |packet: &Packet| packet.is_dropped(NoDestination);
    vec![
        case("a client gets six answers at once, then silence; another client is not its victim")
            .frames(answers(&four, 6))
            .frames([silence(&four), silence(&four)])
            .frames(answers(&other, 6))
            .frame(silence(&other)),
        case("an IPv6 client has the same allowance")
            .frames(answers(&six, 6))
            .frame(silence(&six)),
        case("each second of silence buys an answer")
            .frames(answers(&four, 6))
            .frame(silence(&four))
            .then(Change::Age(1))
            .frames(answers(&four, 1))
            .frame(silence(&four))
            .then(Change::Age(3))
            .frames(answers(&four, 3))
            .frame(silence(&four)),
        case("no more than six answers can be saved")
            .frames(answers(&four, 3))
            .then(Change::Age(500))
            .frames(answers(&four, 6))
            .frame(silence(&four)),
        case("both kinds of answers share one allowance")
            .frames(answers(&four, 5))
            .frame(
                tcp(CLIENT, 40_000, HTTP, SYN)
                    .ttl(1)
                    .is_answered_time_exceeded()
                    .makes_a_connection(),
            )
            .frame(
                tcp(CLIENT, 40_000, HTTP, SYN)
                    .ttl(1)
                    .is_dropped(TimeExceeded),
            )
            .frame(silence(&four))
            .frame(tcp(CLIENT, 40_001, HTTP, SYN).begins_at(B)),
    ]
}
