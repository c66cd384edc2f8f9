//! ICMP errors about connections: they go to the real server that sent the packet they quote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use director::Counter::IcmpErrorForwarded;
use director::DropReason::{DestinationGone, TimeExceeded};
use director::PassReason::{Fragment, Icmp, LocalDestination, NoConnection, NotAVirtualAddress};
use dirigo_dataplane::DestinationLink;

use crate::case::{Case, Exchange, case};
use crate::packet::{
    ACK, CLIENT, CLIENT_6, FOREIGN, Packet, SYN, Transport, VIP, icmp_error, packet, tcp, udp,
};
use crate::world::{A, Change, DNS, FAR, HTTP, PORT_OF_FAR, PORT_OF_LOCAL};

/// A router between director and client that found a packet too large.
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 254));
const ROUTER_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0xfe));

/// Fragmentation needed.
const TOO_BIG: (u8, u8) = (3, 4);
/// Packet too big.
const TOO_BIG_6: (u8, u8) = (2, 0);
/// As much as RFC 792 wants quoted: the header and eight bytes.
const LEAST: usize = 28;

pub fn cases() -> Vec<Case> {
    [forwarded(), not_ours(), ends()]
        .into_iter()
        .flatten()
        .collect()
}

/// The packet of a real server on the connection of this one.
fn answer_to(packet: &Packet) -> Packet {
    packet.reversed().payload(1_400)
}

/// An error about the real server's packet on the connection of this one.
fn about(packet: &Packet) -> Packet {
    if packet.client.is_ipv4() {
        icmp_error(ROUTER, &answer_to(packet), TOO_BIG.0, TOO_BIG.1, LEAST)
    } else {
        icmp_error(
            ROUTER_6,
            &answer_to(packet),
            TOO_BIG_6.0,
            TOO_BIG_6.1,
            1_232,
        )
    }
}

impl Packet {
    fn follows_to(&self, destination: u32) -> Exchange {
        self.goes_to(destination).and(IcmpErrorForwarded)
    }
}

fn forwarded() -> Vec<Case> {
    let (syn, syn_6) = (
        tcp(CLIENT, 40_000, HTTP, SYN),
        tcp(CLIENT_6, 40_000, HTTP, SYN),
    );
    let (four, six) = (udp(CLIENT, 40_000, DNS), udp(CLIENT_6, 40_000, DNS));
    let kinds = |kinds: &[(u8, u8)], router, packet: &Packet| -> Vec<Exchange> {
        let error =
            |(kind, code): &(u8, u8)| icmp_error(router, &answer_to(packet), *kind, *code, 576);
        kinds.iter().map(|kind| error(kind).follows_to(A)).collect()
    };
    vec![
        case("a router's complaint goes to the real server whose packet it quotes")
            .frames([
                syn.begins_at(A),
                tcp(CLIENT, 40_001, HTTP, SYN).begins_at(2),
            ])
            .frame(about(&syn).follows_to(A))
            .frame(about(&tcp(CLIENT, 40_001, HTTP, SYN)).follows_to(2))
            .remembers(&[(40_000, A, "SYN_RECV"), (40_001, 2, "SYN_RECV")])
            .sent(A, 1, 2, 40 + 56),
        case("so it does in IPv6, and for UDP").frames([
            syn_6.begins_at(A),
            about(&syn_6).follows_to(A),
            four.begins_at(A),
            about(&four).follows_to(A),
            six.begins_at(A),
            about(&six).follows_to(A),
        ]),
        case("every kind of error goes there")
            .frame(syn.begins_at(A))
            .frames(kinds(
                &[
                    (3, 0),
                    (3, 1),
                    (3, 3),
                    (3, 13),
                    (4, 0),
                    (11, 0),
                    (11, 1),
                    (12, 0),
                ],
                ROUTER,
                &syn,
            )),
        case("every kind of ICMPv6 error goes there")
            .frame(syn_6.begins_at(A))
            .frames(kinds(
                &[(1, 0), (1, 4), (2, 0), (3, 0), (4, 1), (100, 0), (127, 0)],
                ROUTER_6,
                &syn_6,
            )),
        case("an error in a VLAN, with options, or about a packet with options, too").frames([
            syn.begins_at(A),
            about(&syn).tags(&[42]).options(&[1; 8]).follows_to(A),
            {
                let answer = answer_to(&syn).options(&[1; 12]);
                icmp_error(ROUTER, &answer, 3, 4, LEAST + 12).follows_to(A)
            },
            syn_6.begins_at(A),
            about(&syn_6).options_header(60, 8).follows_to(A),
        ]),
        // A server that heard of a small MTU puts a fragment header before what it sends (RFC 6946).
        case("an error about the first piece of a packet goes there")
            .frame(syn.begins_at(A))
            .frame(
                icmp_error(ROUTER, &answer_to(&syn).fragment(0, true), 3, 4, LEAST).follows_to(A),
            )
            .frame(syn_6.begins_at(A))
            .frame(
                icmp_error(ROUTER_6, &answer_to(&syn_6).fragment(0, true), 2, 0, 600).follows_to(A),
            ),
        case("an error goes by another interface as packets do")
            .frame(
                tcp(CLIENT, 40_000, PORT_OF_FAR, SYN)
                    .is_redirected_to(FAR)
                    .makes_a_connection(),
            )
            .frame(
                about(&tcp(CLIENT, 40_000, PORT_OF_FAR, SYN))
                    .is_redirected_to(FAR)
                    .and(IcmpErrorForwarded),
            ),
        case("an error about a connection with the director itself is its own")
            .frame(
                tcp(CLIENT, 40_000, PORT_OF_LOCAL, SYN)
                    .passes(LocalDestination)
                    .makes_a_connection(),
            )
            .frame(
                about(&tcp(CLIENT, 40_000, PORT_OF_LOCAL, SYN))
                    .passes(LocalDestination)
                    .and(IcmpErrorForwarded),
            ),
    ]
}

fn not_ours() -> Vec<Case> {
    let (syn, syn_6) = (
        tcp(CLIENT, 40_000, HTTP, SYN),
        tcp(CLIENT_6, 40_000, HTTP, SYN),
    );
    let known = |name| case(name).frames([syn.begins_at(A), syn_6.begins_at(A)]);
    let error = |about: &Packet, quoted| icmp_error(ROUTER, about, 3, 4, quoted);
    let error_6 = |about: &Packet, quoted| icmp_error(ROUTER_6, about, 2, 0, quoted);
    /// Where the quoted packet begins.
    const QUOTE: usize = 14 + 20 + 8;
    let with = |at: usize, byte: u8| {
        about(&syn)
            .edited(move |bytes| bytes[QUOTE + at] = byte)
            .passes(Icmp)
    };
    vec![
        known("ICMP that is no error about a packet is the host's").frames([
            icmp_error(ROUTER, &answer_to(&syn), 5, 1, 576).passes(Icmp),
            icmp_error(ROUTER, &answer_to(&syn), 8, 0, 576).passes(Icmp),
            icmp_error(ROUTER, &answer_to(&syn), 0, 0, 576).passes(Icmp),
            icmp_error(ROUTER, &answer_to(&syn), 13, 0, 576).passes(Icmp),
            icmp_error(ROUTER_6, &answer_to(&syn_6), 128, 0, 576).passes(Icmp),
            icmp_error(ROUTER_6, &answer_to(&syn_6), 135, 0, 576).passes(Icmp),
        ]),
        known("an error about a flow that is no connection is the host's").frames([
            about(&tcp(CLIENT, 40_001, HTTP, SYN)).passes(Icmp),
            about(&udp(CLIENT, 40_000, HTTP)).passes(Icmp),
            about(&tcp(CLIENT_6, 40_001, HTTP, SYN)).passes(Icmp),
            // The client's own packet, not the server's.
            error(&syn.clone().payload(40), LEAST).to(VIP).passes(Icmp),
        ]),
        known("an error that quotes less than the ports is the host's").frames([
            error(&answer_to(&syn), 0).passes(Icmp),
            error(&answer_to(&syn), 19).passes(Icmp),
            error(&answer_to(&syn), 23).passes(Icmp),
            error_6(&answer_to(&syn_6), 39).passes(Icmp),
            error_6(&answer_to(&syn_6), 43).passes(Icmp),
        ]),
        // Four bytes of transport header are the ports.
        known("an error that quotes the ports and no more is ours").frames([
            error(&answer_to(&syn), 24).follows_to(A),
            error_6(&answer_to(&syn_6), 44).follows_to(A),
        ]),
        known("what the packet does not hold is not read as its quote").frames([
            // The IP length ends before the quoted ports; they stand in what follows in the frame.
            about(&syn)
                .edited(|bytes| bytes[17] = 20 + 8 + 20)
                .passes(Icmp),
            about(&syn_6)
                .edited(|bytes| bytes[18..20].copy_from_slice(&[0, 8 + 40]))
                .passes(Icmp),
        ]),
        known("a quoted header that lies is the host's to read").frames([
            with(0, 0x65),
            with(0, 0x44),
            with(0, 0x4f),
            with(9, 1),
            with(9, 17),
            // A later piece of the server's packet.
            with(7, 1),
        ]),
        known("an error about a later piece of a packet is the host's").frame(
            icmp_error(ROUTER_6, &answer_to(&syn_6).fragment(3, true), 2, 0, 600).passes(Icmp),
        ),
        known("an error about something else than TCP and UDP is the host's").frame({
            let echo = packet(VIP, 0, CLIENT, 0, Transport::Other(1)).payload(40);
            error(&echo, 48).passes(Icmp)
        }),
        known("an error to another address is the host's")
            .frame(about(&syn).to(FOREIGN).passes(NotAVirtualAddress)),
        known("an error in pieces is the host's").frames([
            about(&syn).fragment(0, true).passes(Icmp),
            about(&syn).fragment(4, false).passes(Fragment),
        ]),
        known("an ICMPv6 error in IPv4, and an ICMP error in IPv6, are nobody's").frames([
            Packet {
                transport: Transport::Other(58),
                ..about(&syn)
            }
            .passes(Icmp),
            Packet {
                transport: Transport::Other(1),
                ..about(&syn_6)
            }
            .passes(Icmp),
        ]),
    ]
}

fn ends() -> Vec<Case> {
    let syn = tcp(CLIENT, 40_000, HTTP, SYN);
    vec![
        case("an error keeps no connection alive")
            .frame(syn.begins_at(A))
            .then(Change::Age(58))
            .frame(about(&syn).follows_to(A))
            .then(Change::Age(4))
            .frame(about(&syn).passes(Icmp))
            .frame(tcp(CLIENT, 40_000, HTTP, ACK).passes(NoConnection)),
        case("an error for a deleted server is dropped in silence")
            .frame(syn.begins_at(A))
            .then(Change::Link(A, DestinationLink::Gone))
            .frame(
                about(&syn)
                    .is_dropped(DestinationGone)
                    .and(IcmpErrorForwarded),
            ),
        // RFC 1122 §3.2.2.
        case("an error at its last hop is never answered with another")
            .frame(syn.begins_at(A))
            .frame(
                about(&syn)
                    .ttl(1)
                    .is_dropped(TimeExceeded)
                    .and(IcmpErrorForwarded),
            ),
    ]
}
