//! Frames whose lengths and versions lie: dropped, each with its reason.

use director::DropReason::{
    MalformedEthernet, MalformedIpv4, MalformedIpv6, MalformedTcp, MalformedUdp,
};
use director::PassReason::NotAVirtualAddress;

use crate::case::{Case, Exchange, Raw, case};
use crate::packet::{ACK, CLIENT, CLIENT_6, FOREIGN, Packet, SYN, tcp, udp};
use crate::world::{A, DNS, HTTP};

/// Where fields are, from the start of the frame.
const IP: usize = 14;
const TOTAL_LENGTH: usize = IP + 2;
const PAYLOAD_LENGTH: usize = IP + 4;
const TRANSPORT_4: usize = IP + 20;
const TRANSPORT_6: usize = IP + 40;
const DATA_OFFSET: usize = 12;
const UDP_LENGTH: usize = 4;

pub fn cases() -> Vec<Case> {
    [ethernet(), ipv4(), ipv6(), segments(), datagrams()]
        .into_iter()
        .flatten()
        .collect()
}

fn syn() -> Packet {
    tcp(CLIENT, 40_000, HTTP, SYN)
}

fn syn_6() -> Packet {
    tcp(CLIENT_6, 40_000, HTTP, SYN)
}

fn cut(packet: &Packet, len: usize) -> Raw {
    packet.edited(|bytes| bytes.truncate(len))
}

fn with_byte(packet: &Packet, at: usize, value: u8) -> Raw {
    packet.edited(|bytes| bytes[at] = value)
}

fn with_word(packet: &Packet, at: usize, value: usize) -> Raw {
    packet.edited(|bytes| bytes[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes()))
}

fn ethernet() -> Vec<Case> {
    vec![
        // The kernel runs no program on less than 14 bytes.
        case("a frame without a whole Ethernet header is dropped")
            .native_only()
            .frames([0, 1, 13].map(|len| cut(&syn(), len).is_dropped(MalformedEthernet))),
    ]
}

fn ipv4() -> Vec<Case> {
    let lies = |packet: &Packet| {
        let length = packet.ip_packet().len();
        [
            with_word(packet, TOTAL_LENGTH, length + 1),
            with_word(packet, TOTAL_LENGTH, 0xffff),
            with_word(packet, TOTAL_LENGTH, 19),
            with_word(packet, TOTAL_LENGTH, 0),
        ]
        .map(|raw| raw.is_dropped(MalformedIpv4))
    };
    let versions = |version: u8| with_byte(&syn(), IP, version << 4 | 5).is_dropped(MalformedIpv4);
    vec![
        case("an IPv4 header that is not all there is dropped")
            .frames([14, 15, 33].map(|len| cut(&syn(), len).is_dropped(MalformedIpv4))),
        case("a header of another version is no IPv4 header").frames([0, 5, 6, 15].map(versions)),
        case("an IPv4 header below five words is dropped").frames(
            [0, 1, 4].map(|ihl| with_byte(&syn(), IP, 0x40 | ihl).is_dropped(MalformedIpv4)),
        ),
        case("an IPv4 header longer than its packet is dropped")
            .frame(with_byte(&syn(), IP, 0x4f).is_dropped(MalformedIpv4)),
        case("an IPv4 length beyond the frame, or within the header, is dropped")
            .frames(lies(&syn())),
        case("a malformed IPv4 packet is dropped whoever it is for")
            .frames(lies(&syn().to(FOREIGN)))
            .frame(syn().to(FOREIGN).passes(NotAVirtualAddress)),
        case("options that the frame does not hold are dropped").frame(
            // The length says 60 and so does the header, but the frame ends after 40.
            syn()
                .edited(|bytes| {
                    bytes[IP] = 0x4f;
                    bytes[TOTAL_LENGTH + 1] = 60;
                })
                .is_dropped(MalformedIpv4),
        ),
        case("a transport header that is not in the packet is dropped, also behind options")
            .frames([
                // All 40 bytes are header: the segment is options now, and nothing follows.
                with_byte(&syn(), IP, 0x4a).is_dropped(MalformedTcp),
                with_byte(&udp(CLIENT, 40_000, DNS).payload(12), IP, 0x4a).is_dropped(MalformedUdp),
            ]),
    ]
}

fn ipv6() -> Vec<Case> {
    let lies =
        |length: usize| with_word(&syn_6(), PAYLOAD_LENGTH, length).is_dropped(MalformedIpv6);
    let versions = |byte: u8| with_byte(&syn_6(), IP, byte).is_dropped(MalformedIpv6);
    vec![
        case("an IPv6 header that is not all there is dropped")
            .frames([14, 20, 53].map(|len| cut(&syn_6(), len).is_dropped(MalformedIpv6))),
        case("a header of another version is no IPv6 header")
            .frames([0x00, 0x45, 0x70].map(versions)),
        case("an IPv6 length beyond the frame is dropped").frames([21, 1_000, 0xffff].map(lies)),
        // A jumbogram says 0 (RFC 2675); no Ethernet carries one.
        case("an IPv6 packet that says it has no payload has no segment either").frames([
            with_word(&syn_6(), PAYLOAD_LENGTH, 0).is_dropped(MalformedTcp),
            with_word(&udp(CLIENT_6, 40_000, DNS), PAYLOAD_LENGTH, 0).is_dropped(MalformedUdp),
        ]),
    ]
}

fn segments() -> Vec<Case> {
    let offsets = |packet: Packet, at: usize| {
        [0x00, 0x10, 0x40, 0x60, 0xf0]
            .map(|offset| with_byte(&packet, at + DATA_OFFSET, offset).is_dropped(MalformedTcp))
    };
    // The IP packet ends within the TCP header; what follows it in the frame is not the packet's.
    let short = |payload: usize| -> Exchange {
        with_word(&syn().payload(20), TOTAL_LENGTH, 20 + payload).is_dropped(MalformedTcp)
    };
    let short_6 = |payload: usize| -> Exchange {
        with_word(&syn_6(), PAYLOAD_LENGTH, payload).is_dropped(MalformedTcp)
    };
    vec![
        case("a TCP header below five words or beyond its packet is dropped")
            .frames(offsets(syn(), TRANSPORT_4))
            .frames(offsets(syn_6(), TRANSPORT_6))
            .remembers(&[]),
        case("a packet that ends within its TCP header is dropped")
            .frames([0, 1, 13, 14, 19].map(short))
            .frames([1, 13, 14, 19].map(short_6)),
        case("a malformed segment of a connection is dropped and does not renew it")
            .frame(syn().begins_at(A))
            .frame(
                with_byte(
                    &tcp(CLIENT, 40_000, HTTP, ACK),
                    TRANSPORT_4 + DATA_OFFSET,
                    0x40,
                )
                .is_dropped(MalformedTcp),
            )
            .remembers(&[(40_000, A, "SYN_RECV")]),
    ]
}

fn datagrams() -> Vec<Case> {
    let (four, six) = (udp(CLIENT, 40_000, DNS), udp(CLIENT_6, 40_000, DNS));
    let lies = |length| {
        [
            with_word(&four, TRANSPORT_4 + UDP_LENGTH, length).is_dropped(MalformedUdp),
            with_word(&six, TRANSPORT_6 + UDP_LENGTH, length).is_dropped(MalformedUdp),
        ]
    };
    let short = |payload| {
        [
            with_word(&four, TOTAL_LENGTH, 20 + payload).is_dropped(MalformedUdp),
            with_word(&six, PAYLOAD_LENGTH, payload).is_dropped(MalformedUdp),
        ]
    };
    // Eight bytes and nine of payload.
    vec![
        case("a UDP length below eight or beyond the packet is dropped")
            .frames([0, 7, 18, 0xffff].into_iter().flat_map(lies))
            .remembers(&[]),
        case("a packet that ends within its UDP header is dropped")
            .frames([0, 1, 7, 16].into_iter().flat_map(short)),
    ]
}
