//! Packets in pieces, in VLANs, and behind extension headers: balanced as if they were plain.

use director::Counter::{FragmentFirst, FragmentFollowed};
use director::DropReason::{
    DestinationGone, DestinationUnresolved, MalformedIpv4, MalformedIpv6, MalformedTcp,
    TimeExceeded,
};
use director::PassReason::{Fragment, Icmp, NotAService, NotAVirtualAddress, UnsupportedProtocol};
use director::limits::EXTENSION_HEADERS;
use dirigo_dataplane::DestinationLink;

use crate::case::{Case, case};
use crate::packet::{ACK, CLIENT, CLIENT_6, FOREIGN_6, Packet, SYN, Transport, tcp, udp};
use crate::world::{A, B, Change, DNS, EMPTY, FAR, HTTP, NO_SERVICE, PORT_OF_FAR};

pub fn cases() -> Vec<Case> {
    [
        tagged(),
        extended(),
        malformed(),
        fragments(),
        strays(),
        ends(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn tagged() -> Vec<Case> {
    let syn = |client| tcp(client, 40_000, HTTP, SYN);
    vec![
        case("a packet in a VLAN is balanced, and stays in its VLAN").frames([
            syn(CLIENT).tags(&[42]).begins_at(A),
            tcp(CLIENT, 40_000, HTTP, ACK)
                .tags(&[42])
                .payload(700)
                .goes_to(A),
            syn(CLIENT_6).tags(&[1]).begins_at(A),
            udp(CLIENT, 40_000, DNS)
                .tags(&[4_095])
                .padding(3)
                .begins_at(A),
            udp(CLIENT_6, 40_000, DNS).tags(&[0]).begins_at(A),
        ]),
        case("the same with a provider's tag before it").frames([
            syn(CLIENT).tags(&[100, 42]).options(&[1; 8]).begins_at(A),
            syn(CLIENT_6).tags(&[100, 42]).begins_at(A),
        ]),
        // As IPVS: a connection is addresses, ports and protocol.
        case("a connection is the same in every VLAN")
            .frame(syn(CLIENT).tags(&[1]).begins_at(A))
            .frame(tcp(CLIENT, 40_000, HTTP, ACK).tags(&[2, 3]).goes_to(A))
            .frame(tcp(CLIENT, 40_000, HTTP, ACK).goes_to(A))
            .sent(A, 1, 3, 120),
        case("what is answered is answered in its VLAN").frames([
            udp(CLIENT, 40_000, EMPTY)
                .tags(&[42])
                .is_answered_port_unreachable(),
            udp(CLIENT, 40_000, EMPTY)
                .tags(&[100, 42])
                .payload(701)
                .padding(9)
                .is_answered_port_unreachable(),
            udp(CLIENT_6, 40_000, EMPTY)
                .tags(&[42])
                .payload(1_301)
                .is_answered_port_unreachable(),
            syn(CLIENT_6)
                .tags(&[100, 42])
                .ttl(1)
                .is_answered_time_exceeded()
                .makes_a_connection(),
        ]),
        case("a malformed packet in a VLAN is as malformed").frames([
            syn(CLIENT)
                .tags(&[42])
                .edited(|bytes| bytes[18] = 0x44)
                .is_dropped(MalformedIpv4),
            syn(CLIENT)
                .tags(&[42])
                .edited(|bytes| bytes.truncate(50))
                .is_dropped(MalformedIpv4),
            syn(CLIENT)
                .tags(&[1, 2])
                .edited(|bytes| bytes[54] = 0x40)
                .is_dropped(MalformedTcp),
        ]),
    ]
}

fn extended() -> Vec<Case> {
    let syn = || tcp(CLIENT_6, 40_000, HTTP, SYN);
    let with = |count: usize| (0..count).fold(syn(), |packet, _| packet.options_header(60, 8));
    vec![
        case("options and routing headers are read over")
            .frames([
                syn().options_header(0, 8).begins_at(A),
                tcp(CLIENT_6, 40_000, HTTP, ACK)
                    .options_header(43, 24)
                    .payload(9)
                    .goes_to(A),
                udp(CLIENT_6, 40_000, DNS)
                    .options_header(0, 16)
                    .options_header(60, 64)
                    .begins_at(A),
                tcp(CLIENT_6, 40_000, HTTP, ACK)
                    .options_header(60, 8)
                    .tags(&[7])
                    .goes_to(A),
            ])
            // Of the packet's length the extension headers are a part.
            .sent(A, 2, 4, 68 + 93 + 137 + 68),
        case("as many extension headers as we say, and no more").frames([
            with(EXTENSION_HEADERS).begins_at(A),
            with(EXTENSION_HEADERS + 1).passes(UnsupportedProtocol),
        ]),
        case("extension headers as long as they may be").frames([
            syn().options_header(60, 1_024).begins_at(A),
            syn().options_header(60, 1_976).goes_to(A),
            // The transport header is beyond what is looked at: no byte of the options is a port.
            syn()
                .options_header(60, 2_048)
                .payload(40)
                .passes(UnsupportedProtocol),
            syn()
                .options_header(0, 1_024)
                .options_header(60, 1_024)
                .payload(40)
                .passes(UnsupportedProtocol),
        ]),
        case("extended traffic to others is the host's").frame(
            syn()
                .to(FOREIGN_6)
                .options_header(0, 8)
                .passes(NotAVirtualAddress),
        ),
        case("ICMPv6 behind options is the host's").frame({
            let packet = udp(CLIENT_6, 0, 0).options_header(0, 8).payload(24);
            Packet {
                transport: Transport::Other(58),
                ..packet
            }
            .passes(Icmp)
        }),
        case("an extended packet that is answered is quoted with its headers").frames([
            udp(CLIENT_6, 40_000, EMPTY)
                .options_header(60, 24)
                .is_answered_port_unreachable(),
            syn()
                .options_header(0, 8)
                .ttl(1)
                .is_answered_time_exceeded()
                .makes_a_connection(),
        ]),
    ]
}

fn malformed() -> Vec<Case> {
    /// Length byte of the first extension header.
    const LENGTH: usize = 14 + 40 + 1;
    let packet = tcp(CLIENT_6, 40_000, HTTP, SYN).options_header(0, 8);
    let with_payload = |len: u8| {
        let edit = move |bytes: &mut Vec<u8>| bytes[19] = len;
        packet.edited(edit).is_dropped(MalformedIpv6)
    };
    let long = |len: u8| packet.edited(move |bytes| bytes[LENGTH] = len);
    vec![
        case("an extension header that is longer than its packet is dropped").frames([
            long(4).is_dropped(MalformedIpv6),
            long(0xff).is_dropped(MalformedIpv6),
            // All 28 bytes are options: no segment is left.
            long(2).is_dropped(MalformedTcp),
        ]),
        case("a packet that ends within its extension header is dropped")
            .frames([0, 1, 7].map(with_payload))
            .frame(
                packet
                    .edited(|bytes| bytes.truncate(55))
                    .is_dropped(MalformedIpv6),
            ),
        case("a packet that ends within its fragment header is dropped").frame({
            let packet = udp(CLIENT_6, 40_000, DNS).fragment(0, true);
            packet
                .edited(|bytes| bytes[19] = 7)
                .is_dropped(MalformedIpv6)
        }),
    ]
}

/// The pieces of a datagram: the first has the ports.
fn pieces(packet: &Packet) -> [Packet; 3] {
    let rest = Packet {
        transport: Transport::Other(17),
        ..packet.clone()
    };
    [
        packet.clone().payload(72).fragment(0, true),
        rest.clone().payload(80).fragment(10, true),
        rest.payload(5).fragment(20, false),
    ]
}

fn fragments() -> Vec<Case> {
    let follow = |name, client| {
        let [first, middle, last] = pieces(&udp(client, 40_000, DNS));
        case(name)
            .frame(first.begins_at(A).and(FragmentFirst))
            .frame(middle.goes_to(A).and(FragmentFollowed))
            .frame(last.goes_to(A).and(FragmentFollowed))
            .remembers(&[(40_000, A, "UDP")])
    };
    let [first, middle, last] = pieces(&udp(CLIENT, 40_000, DNS));
    vec![
        follow("the pieces of a packet go where its first one went", CLIENT).sent(
            A,
            1,
            3,
            100 + 100 + 25,
        ),
        follow(
            "the pieces of an IPv6 packet go where its first one went",
            CLIENT_6,
        )
        .sent(A, 1, 3, 128 + 128 + 53),
        case("pieces in a VLAN and with options follow as well").frames([
            first.clone().tags(&[42]).begins_at(A).and(FragmentFirst),
            middle
                .clone()
                .tags(&[42])
                .options(&[1; 4])
                .goes_to(A)
                .and(FragmentFollowed),
        ]),
        case("the length of a datagram in pieces is beyond its first piece").frame({
            let longer =
                |bytes: &mut Vec<u8>| bytes[14 + 20 + 4..][..2].copy_from_slice(&[5, 0x73]);
            let mut out = first.forwarded(crate::world::mac(A), crate::packet::DIRECTOR);
            longer(&mut out);
            let sent = first
                .edited(longer)
                .becomes(director::Verdict::Transmit, out);
            sent.makes_a_connection().and(FragmentFirst)
        }),
        case("a first piece belongs to its connection as a whole packet does")
            .frame(udp(CLIENT, 40_000, DNS).begins_at(A))
            .frame(udp(CLIENT, 40_001, DNS).begins_at(B))
            .frame(first.goes_to(A).and(FragmentFirst))
            .frame(last.goes_to(A).and(FragmentFollowed)),
        case("pieces of two packets of one client are told apart by their identification").frames(
            [
                first.begins_at(A).and(FragmentFirst),
                pieces(&udp(CLIENT, 40_001, DNS).identification(7))[0]
                    .begins_at(B)
                    .and(FragmentFirst),
                middle.goes_to(A).and(FragmentFollowed),
                pieces(&udp(CLIENT, 40_001, DNS).identification(7))[1]
                    .goes_to(B)
                    .and(FragmentFollowed),
            ],
        ),
        case("an IPv6 packet that says it is in pieces, but is whole, is balanced").frame(
            tcp(CLIENT_6, 40_000, HTTP, SYN)
                .fragment(0, false)
                .begins_at(A)
                .and(FragmentFirst),
        ),
        case("pieces of a segment go by another interface as a whole one does")
            .frame(
                tcp(CLIENT, 40_000, PORT_OF_FAR, SYN)
                    .fragment(0, true)
                    .is_redirected_to(FAR)
                    .makes_a_connection()
                    .and(FragmentFirst),
            )
            .frame({
                let packet = tcp(CLIENT, 40_000, PORT_OF_FAR, SYN)
                    .fragment(5, false)
                    .payload(8);
                let rest = Packet {
                    transport: Transport::Other(6),
                    ..packet
                };
                rest.is_redirected_to(FAR).and(FragmentFollowed)
            }),
    ]
}

fn strays() -> Vec<Case> {
    let [first, middle, last] = pieces(&udp(CLIENT, 40_000, DNS));
    let [_, other_id, _] = pieces(&udp(CLIENT, 40_000, DNS).identification(9));
    let [_, six, _] = pieces(&udp(CLIENT_6, 40_000, DNS));
    let other_protocol = Packet {
        transport: Transport::Other(6),
        ..middle.clone()
    };
    let other_client = {
        let someone = std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 77));
        let [_, middle, _] = pieces(&udp(someone, 40_000, DNS));
        middle
    };
    vec![
        case("a piece without its first one is the host's").frames([
            middle.passes(Fragment),
            last.passes(Fragment),
            six.passes(Fragment),
        ]),
        case("a piece of another packet, client, protocol or family does not follow")
            .frame(first.begins_at(A).and(FragmentFirst))
            .frames([&other_id, &other_protocol, &other_client, &six].map(|p| p.passes(Fragment)))
            .frame(middle.goes_to(A).and(FragmentFollowed)),
        case("a first piece that is the host's takes the others along").frames([
            udp(CLIENT, 40_000, NO_SERVICE)
                .payload(72)
                .fragment(0, true)
                .passes(NotAService),
            middle.passes(Fragment),
        ]),
        case("what nobody serves is answered for the first piece only").frames([
            udp(CLIENT, 40_000, EMPTY)
                .payload(72)
                .fragment(0, true)
                .is_answered_port_unreachable(),
            middle.passes(Fragment),
        ]),
        // RFC 1858: whoever cuts there hides something.
        case("a first piece without a whole TCP header is dropped").frame({
            let packet = tcp(CLIENT, 40_000, HTTP, SYN).fragment(0, true);
            packet
                .edited(|bytes| bytes[17] = 36)
                .is_dropped(MalformedTcp)
        }),
        case("ICMP in pieces is the host's").frames({
            let packet = udp(CLIENT, 0, 0).payload(40);
            let echo = Packet {
                transport: Transport::Other(1),
                ..packet
            };
            [
                echo.clone().fragment(0, true).passes(Icmp),
                echo.fragment(5, false).passes(Fragment),
            ]
        }),
    ]
}

fn ends() -> Vec<Case> {
    let [first, middle, last] = pieces(&udp(CLIENT, 40_000, DNS));
    vec![
        case("a piece that follows after five seconds is too late")
            .frame(first.begins_at(A).and(FragmentFirst))
            .then(Change::Age(4))
            .frame(middle.goes_to(A).and(FragmentFollowed))
            .then(Change::Age(3))
            .frame(last.passes(Fragment)),
        case("a piece follows to a server as it is now: moved, unknown or gone")
            .frame(first.begins_at(A).and(FragmentFirst))
            .then(Change::Link(A, DestinationLink::Unresolved))
            .frame(
                middle
                    .is_dropped(DestinationUnresolved)
                    .and(FragmentFollowed),
            )
            .then(Change::Link(A, DestinationLink::Gone))
            .frame(middle.is_dropped(DestinationGone).and(FragmentFollowed)),
        case("a first piece at its last hop is answered").frame(
            first
                .clone()
                .ttl(1)
                .is_answered_time_exceeded()
                .makes_a_connection()
                .and(FragmentFirst),
        ),
        // RFC 1122 §3.2.2: no ICMP error about a fragment that is not the first.
        case("a later piece at its last hop is dropped in silence")
            .frame(first.begins_at(A).and(FragmentFirst))
            .frame(
                middle
                    .clone()
                    .ttl(1)
                    .is_dropped(TimeExceeded)
                    .and(FragmentFollowed),
            ),
    ]
}
