//! What leaves for a real server: two MAC addresses and one hop of lifetime are different, no more.

use director::DropReason::{DestinationGone, DestinationUnresolved, Internal};
use director::PassReason::NotAService;
use director::Verdict;

use crate::case::{Case, case};
use crate::packet::{ACK, CLIENT, CLIENT_6, DIRECTOR, FIN, Packet, SYN, VIP, tcp, udp};
use crate::world::{
    A, B, C, Change, DNS, FAR, GONE, HTTP, NOWHERE, PORT_OF_FAR, PORT_OF_GONE, PORT_OF_NOWHERE,
    PORT_OF_UNRESOLVED, UNRESOLVED, WRR, key, mac, publish, round, via,
};
use dirigo_dataplane::DestinationLink;

pub fn cases() -> Vec<Case> {
    [frames(), destinations(), rotations()]
        .into_iter()
        .flatten()
        .collect()
}

fn frames() -> Vec<Case> {
    let syn = |client| tcp(client, 40_000, HTTP, SYN);
    let ack = |client| tcp(client, 40_000, HTTP, ACK);
    vec![
        case("a SYN goes to a real server")
            .frame(syn(CLIENT).begins_at(A))
            .frame(syn(CLIENT_6).begins_at(A))
            .sent(A, 2, 2, 40 + 60),
        case("a datagram goes to a real server")
            .frame(udp(CLIENT, 40_000, DNS).begins_at(A))
            .frame(udp(CLIENT_6, 40_000, DNS).begins_at(A))
            .frame(udp(CLIENT, 40_000, DNS).payload(0).goes_to(A)),
        case("IPv4 options of any length go along").frames([
            syn(CLIENT).options(&[1, 1, 1, 0]).begins_at(A),
            ack(CLIENT).options(&[0x44; 40]).payload(100).goes_to(A),
            ack(CLIENT).options(&[0x94, 4, 0, 0, 1, 1, 1, 0]).goes_to(A),
        ]),
        case("TCP options, payload and service class go along").frames([
            syn(CLIENT)
                .tcp_options(&[2, 4, 5, 0xb4])
                .class(0xbb)
                .begins_at(A),
            ack(CLIENT)
                .tcp_options(&[1; 40])
                .payload(1_400)
                .class(0x03)
                .goes_to(A),
            syn(CLIENT_6).tcp_options(&[1; 12]).class(0xff).begins_at(A),
            ack(CLIENT_6).payload(1_399).class(0x03).goes_to(A),
        ]),
        case("what follows the packet in its frame stays there")
            .frames([
                syn(CLIENT).padding(6).begins_at(A),
                ack(CLIENT).padding(1).goes_to(A),
                syn(CLIENT_6).padding(46).begins_at(A),
                udp(CLIENT, 40_000, DNS).padding(18).begins_at(A),
            ])
            // Padding is no part of the packet, and not counted.
            .sent(A, 3, 4, 40 + 40 + 60 + 37),
        case("a datagram shorter than its packet goes as it came").frame({
            let packet = udp(CLIENT, 40_000, DNS);
            let shorten = |bytes: &mut Vec<u8>| bytes[14 + 20 + 5] = 8;
            let mut out = packet.forwarded(mac(A), DIRECTOR);
            shorten(&mut out);
            packet
                .edited(shorten)
                .becomes(Verdict::Transmit, out)
                .makes_a_connection()
        }),
        case("each packet uses one hop of its lifetime").frames(
            [(2, A), (3, B), (64, A), (128, B), (255, A)].map(|(ttl, to)| {
                tcp(CLIENT, 40_000 + u16::from(ttl), HTTP, SYN)
                    .ttl(ttl)
                    .begins_at(to)
            }),
        ),
        case("each IPv6 packet uses one hop of its limit").frames([(2, A), (255, B)].map(
            |(ttl, to)| {
                tcp(CLIENT_6, 40_000 + u16::from(ttl), HTTP, SYN)
                    .ttl(ttl)
                    .begins_at(to)
            },
        )),
        case("an IPv4 checksum that came wrong leaves wrong by as much")
            .frames([1, 0x00ff, 0x0100, 0x8000].map(|error| off_by(&syn(CLIENT), error))),
    ]
}

/// A packet whose header checksum is `error` too much; the first of its flow.
fn off_by(packet: &Packet, error: u16) -> crate::case::Exchange {
    const CHECKSUM: std::ops::Range<usize> = 24..26;
    let mut packet = packet.clone();
    packet.client.set_port(error | 1);
    let spoil = |bytes: &mut Vec<u8>| {
        let right = u16::from_be_bytes([bytes[24], bytes[25]]);
        let (sum, carry) = right.overflowing_add(error);
        let wrong = sum + u16::from(carry);
        bytes[CHECKSUM].copy_from_slice(&wrong.to_be_bytes());
    };
    // Each error is the first of its flow, and the rotation goes on.
    let to = if error == 1 || error == 0x0100 { A } else { B };
    let mut out = packet.forwarded(mac(to), DIRECTOR);
    spoil(&mut out);
    let sent = packet.edited(spoil).becomes(Verdict::Transmit, out);
    sent.makes_a_connection()
}

fn destinations() -> Vec<Case> {
    let of = |port, flags| tcp(CLIENT, 40_000, port, flags);
    vec![
        case("a server behind another interface gets its frames there")
            .frame(of(PORT_OF_FAR, SYN).is_redirected_to(FAR).makes_a_connection())
            .frame(of(PORT_OF_FAR, ACK).payload(3).is_redirected_to(FAR))
            .frame(tcp(CLIENT_6, 40_000, PORT_OF_FAR, SYN).is_redirected_to(FAR).makes_a_connection())
            .gauges(FAR, 2, 0),
        case("a server that moves to another MAC or interface is followed in the middle of a connection")
            .frame(of(HTTP, SYN).begins_at(A))
            .then(Change::Link(A, via(C, 0)))
            .frame({
                let packet = of(HTTP, ACK);
                let out = packet.forwarded(mac(C), DIRECTOR);
                packet.raw().becomes(Verdict::Transmit, out)
            })
            .then(Change::Link(A, via(A, 1)))
            .frame(of(HTTP, ACK).is_redirected_to(A)),
        case("frames for a server whose MAC is not known are dropped until it is")
            .frame(of(PORT_OF_UNRESOLVED, SYN).is_dropped(DestinationUnresolved).makes_a_connection())
            .frame(of(PORT_OF_UNRESOLVED, SYN).is_dropped(DestinationUnresolved))
            .remembers(&[(40_000, UNRESOLVED, "SYN_RECV")])
            .then(Change::Link(UNRESOLVED, via(UNRESOLVED, 0)))
            .frame(of(PORT_OF_UNRESOLVED, SYN).goes_to(UNRESOLVED)),
        // As IPVS does it: counted before it is sent, whatever becomes of it on the wire.
        case("what is scheduled to a server is counted as its traffic, also while its MAC is not known")
            .frame(of(PORT_OF_UNRESOLVED, SYN).is_dropped(DestinationUnresolved).makes_a_connection())
            .sent(UNRESOLVED, 1, 1, 40),
        case("frames of a deleted server's connections are dropped in silence and not counted for it")
            .frame(of(HTTP, SYN).begins_at(A))
            .then(Change::Link(A, DestinationLink::Gone))
            .frame(of(HTTP, ACK).is_dropped(DestinationGone))
            .frame(of(HTTP, FIN).is_dropped(DestinationGone))
            .remembers(&[(40_000, A, "SYN_RECV")])
            .sent(A, 1, 1, 40),
        case("a connection that is made just as its server goes is dropped, too")
            .frame(of(PORT_OF_GONE, SYN).is_dropped(DestinationGone).makes_a_connection())
            .remembers(&[(40_000, GONE, "SYN_RECV")]),
        case("a deleted server's connection that has run out is made anew elsewhere")
            .frame(of(HTTP, SYN).begins_at(A))
            .then(Change::Link(A, DestinationLink::Gone))
            .then(publish(1, 6, VIP, HTTP, &[B]))
            .then(Change::Age(61))
            .frame(of(HTTP, SYN).begins_at(B))
            .gauges(A, 0, 0)
            .gauges(B, 1, 0),
        case("a server behind an interface that is not written is a fault, and counted as one")
            .frame(of(PORT_OF_NOWHERE, SYN).is_dropped(Internal).makes_a_connection())
            .remembers(&[(40_000, NOWHERE, "SYN_RECV")]),
    ]
}

fn rotations() -> Vec<Case> {
    let from = |port: u16| tcp(CLIENT, port, HTTP, SYN);
    let takes = |ports: std::ops::Range<u16>, service, order: &[u32]| {
        let picks = ports.zip(order.iter().copied().cycle());
        let sent = picks.map(move |(port, to)| tcp(CLIENT, port, service, SYN).begins_at(to));
        sent.collect::<Vec<_>>()
    };
    vec![
        case("round robin takes the servers in turn, one turn for each connection")
            .frames(takes(1_000..1_005, HTTP, &[A, B]))
            .frame(tcp(CLIENT, 1_000, HTTP, ACK).goes_to(A))
            .frame(from(2_000).begins_at(B))
            .gauges(A, 3, 0)
            .gauges(B, 3, 0),
        case("weighted round robin with 4, 3, 2 goes A A B A B C A B C and begins again")
            .frames(takes(1_000..1_020, WRR, &[A, A, B, A, B, C, A, B, C])),
        case("both families and protocols have rotations of their own").frames([
            from(1_000).begins_at(A),
            tcp(CLIENT_6, 1_000, HTTP, SYN).begins_at(A),
            udp(CLIENT, 1_000, DNS).begins_at(A),
            udp(CLIENT_6, 1_000, DNS).begins_at(A),
            from(1_001).begins_at(B),
        ]),
        case("a connection keeps its server when the rotation is published without it")
            .frames([from(1_000).begins_at(A), from(1_001).begins_at(B)])
            .then(publish(1, 6, VIP, HTTP, &[C]))
            .frames([
                tcp(CLIENT, 1_000, HTTP, ACK).goes_to(A),
                tcp(CLIENT, 1_001, HTTP, ACK).goes_to(B),
                from(1_002).begins_at(C),
            ]),
        case("a connection outlives its service, and new ones are the host's")
            .frame(from(1_000).begins_at(A))
            .then(Change::Withdraw(key(6, VIP, HTTP)))
            .frame(tcp(CLIENT, 1_000, HTTP, ACK).goes_to(A))
            .frame(from(1_001).passes(NotAService)),
        case("a rotation goes on where it is told to")
            .frames(takes(1_000..1_003, HTTP, &[A, B]))
            .then(Change::Publish {
                key: key(6, VIP, HTTP),
                id: 1,
                segments: round(&[A, B, C]),
                first: 2,
            })
            .frames(takes(1_010..1_014, HTTP, &[C, A, B])),
        case("a service that gets servers again serves again")
            .then(publish(1, 6, VIP, HTTP, &[]))
            .frame(from(1_000).is_answered_port_unreachable())
            .then(publish(1, 6, VIP, HTTP, &[B]))
            .frame(from(1_000).begins_at(B)),
    ]
}
