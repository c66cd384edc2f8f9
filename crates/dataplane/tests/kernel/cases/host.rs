//! What is the host's business: passed on, untouched.

use std::net::{IpAddr, Ipv4Addr};

use director::PassReason::{
    Arp, FtpData, Icmp, LocalDestination, NoConnection, NotAService, NotAVirtualAddress,
    NotForThisHost, NotIp, NotReady, UnsupportedProtocol,
};
use director::memory::vip_bit_of;
use etherparse::{ArpEthIpv4Packet, ArpOperation, ArpPacket, EtherType, PacketBuilder, VlanId};

use crate::case::{Case, Raw, case};
use crate::packet::{
    ACK, CLIENT, CLIENT_6, DIRECTOR, FIN, FOREIGN, FOREIGN_6, GATEWAY, PSH, Packet, RST, SYN,
    Transport, VIP, VIP_6, ethernet, tcp, udp,
};
use crate::world::{Change, DNS, HTTP, INGRESS, LOCAL, NO_SERVICE, PORT_OF_LOCAL};

pub fn cases() -> Vec<Case> {
    [link_layer(), addresses(), protocols(), transport()]
        .into_iter()
        .flatten()
        .collect()
}

fn link_layer() -> Vec<Case> {
    vec![
        case("an ARP request for the virtual address is the host's to answer")
            .frame(arp_request().passes(Arp)),
        case("a frame that is neither IP nor ARP is the host's").frames([
            bare(EtherType(0x88cc), 40).passes(NotIp),
            // 802.3: not a type but a length.
            bare(EtherType(0x0026), 38).passes(NotIp),
            // Nothing but a header.
            bare(EtherType(0x88b5), 0).passes(NotIp),
        ]),
        case("the same in a VLAN").frames([
            tagged_arp_request().passes(Arp),
            tcp(CLIENT, 40_000, HTTP, SYN)
                .to(FOREIGN)
                .tags(&[42])
                .passes(NotAVirtualAddress),
            bare(EtherType(0x8100), 0).passes(NotIp),
            bare(EtherType(0x8100), 3).passes(NotIp),
            // Four bytes of tag, and nothing of the kind that it names.
            bare(EtherType(0x8100), 4).passes(NotIp),
        ]),
        case("three tags are more than anybody uses").frame(
            tcp(CLIENT, 40_000, HTTP, SYN)
                .tags(&[1, 2, 3])
                .passes(NotIp),
        ),
    ]
}

fn addresses() -> Vec<Case> {
    let mut sixteen_slots = vec![Change::Interface(15, INGRESS, DIRECTOR)];
    sixteen_slots
        .extend((0..15).map(|slot| Change::Interface(slot, 100 + u32::from(slot), GATEWAY)));
    vec![
        case("traffic to other addresses is the host's, whatever it is").frames([
            tcp(CLIENT, 40_000, HTTP, SYN)
                .to(FOREIGN)
                .passes(NotAVirtualAddress),
            tcp(CLIENT, 40_000, HTTP, ACK)
                .to(FOREIGN)
                .ttl(1)
                .passes(NotAVirtualAddress),
            udp(CLIENT, 40_000, DNS)
                .to(FOREIGN)
                .passes(NotAVirtualAddress),
            udp(CLIENT, 40_000, DNS)
                .to(FOREIGN)
                .fragment(10, true)
                .passes(NotAVirtualAddress),
            tcp(CLIENT_6, 40_000, HTTP, SYN)
                .to(FOREIGN_6)
                .passes(NotAVirtualAddress),
            udp(CLIENT_6, 40_000, DNS)
                .to(FOREIGN_6)
                .passes(NotAVirtualAddress),
        ]),
        case("an address that shares a virtual address's bit has no service all the same").frames(
            [
                tcp(CLIENT, 40_000, HTTP, SYN)
                    .to(namesake())
                    .passes(NotAService),
                udp(CLIENT, 40_000, DNS).to(namesake()).passes(NotAService),
            ],
        ),
        case("an address that is virtual no more is the host's")
            .frame(tcp(CLIENT, 40_000, HTTP, SYN).begins_at(1))
            .then(Change::Vips(vec![]))
            .frame(tcp(CLIENT, 40_000, HTTP, ACK).passes(NotAVirtualAddress)),
        case("a frame to another host's MAC is only flooded here").frames([
            tcp(CLIENT, 40_000, HTTP, SYN)
                .for_mac(GATEWAY)
                .passes(NotForThisHost),
            udp(CLIENT, 40_000, DNS)
                .for_mac([0xff; 6])
                .passes(NotForThisHost),
            tcp(CLIENT_6, 40_000, HTTP, SYN)
                .for_mac([0x33, 0x33, 0, 0, 1, 0])
                .passes(NotForThisHost),
            // One bit of the last and of the first byte.
            tcp(CLIENT, 40_000, HTTP, SYN)
                .for_mac([2, 0, 0, 0, 0, 0x11])
                .passes(NotForThisHost),
            tcp(CLIENT, 40_000, HTTP, SYN)
                .for_mac([3, 0, 0, 0, 0, 0x10])
                .passes(NotForThisHost),
        ]),
        case("a frame from an interface that is not the director's is not for it")
            .given([Change::Interface(0, 4_242, DIRECTOR)])
            .frame(tcp(CLIENT, 40_000, HTTP, SYN).passes(NotForThisHost)),
        case("the interface a frame came by is found in the last slot, too")
            .given(sixteen_slots)
            .frame(tcp(CLIENT, 40_000, NO_SERVICE, SYN).passes(NotAService)),
        case("without settings everything for the virtual addresses is the host's")
            .without_settings()
            .frame(tcp(CLIENT, 40_000, HTTP, SYN).passes(NotReady))
            .frame(
                tcp(CLIENT, 40_000, HTTP, SYN)
                    .to(FOREIGN)
                    .passes(NotAVirtualAddress),
            ),
    ]
}

fn protocols() -> Vec<Case> {
    let other = |client, number| {
        let packet = udp(client, 0, 0);
        Packet {
            transport: Transport::Other(number),
            ..packet
        }
        .payload(24)
    };
    vec![
        case("ICMP to the virtual address is the host's to answer").frames([
            Raw(echo_request()).passes(Icmp),
            Raw(echo_request_6()).passes(Icmp),
            // ICMPv6 in IPv4 and ICMP in IPv6 make no sense, and none to the director either.
            other(CLIENT, 58).passes(Icmp),
            other(CLIENT_6, 1).passes(Icmp),
        ]),
        case("other protocols are the host's").frames(
            [2, 4, 41, 47, 50, 136, 255].map(|n| other(CLIENT, n).passes(UnsupportedProtocol)),
        ),
        // Fragments' headers, options and routing are read over; these are not.
        case("what no router reads over is not read over here").frames(
            [4, 50, 51, 59, 89, 135, 255].map(|n| other(CLIENT_6, n).passes(UnsupportedProtocol)),
        ),
    ]
}

fn transport() -> Vec<Case> {
    let ends = |flags| tcp(CLIENT, 40_000, HTTP, flags);
    vec![
        case("a port of the virtual address without a service is the host's").frames([
            tcp(CLIENT, 40_000, NO_SERVICE, SYN).passes(NotAService),
            tcp(CLIENT, 40_000, NO_SERVICE, ACK).passes(NotAService),
            udp(CLIENT, 40_000, NO_SERVICE).passes(NotAService),
            tcp(CLIENT_6, 40_000, NO_SERVICE, SYN).passes(NotAService),
            udp(CLIENT_6, 40_000, NO_SERVICE).ttl(1).passes(NotAService),
        ]),
        case("a service is for its own protocol only").frames([
            udp(CLIENT, 40_000, HTTP).passes(NotAService),
            tcp(CLIENT, 40_000, DNS, SYN).passes(NotAService),
        ]),
        case("a segment without a connection that opens none is the host's to reset")
            .frames([
                ends(ACK).passes(NoConnection),
                ends(ACK | PSH).payload(5).passes(NoConnection),
                ends(FIN | ACK).passes(NoConnection),
                ends(RST).passes(NoConnection),
                ends(RST | ACK).passes(NoConnection),
                // Reset wins over synchronise.
                ends(RST | SYN).passes(NoConnection),
                ends(0).passes(NoConnection),
                ends(PSH).passes(NoConnection),
                tcp(CLIENT_6, 40_000, HTTP, ACK).ttl(1).passes(NoConnection),
            ])
            .remembers(&[]),
        case("FTP's data port opens no connection")
            .frames([
                tcp(CLIENT, 20, HTTP, SYN).passes(FtpData),
                udp(CLIENT, 20, DNS).passes(FtpData),
                tcp(CLIENT_6, 20, HTTP, SYN).passes(FtpData),
                tcp(CLIENT, 20, HTTP, ACK).passes(NoConnection),
            ])
            .remembers(&[]),
        case("a destination that is the director itself gets its packets by the host")
            .frame(
                tcp(CLIENT, 40_000, PORT_OF_LOCAL, SYN)
                    .passes(LocalDestination)
                    .makes_a_connection(),
            )
            // The host is the last hop: no hop of lifetime is used.
            .frame(
                tcp(CLIENT, 40_000, PORT_OF_LOCAL, ACK)
                    .ttl(1)
                    .passes(LocalDestination),
            )
            .remembers(&[(40_000, LOCAL, "ESTABLISHED")])
            .gauges(LOCAL, 1, 0)
            .sent(LOCAL, 1, 2, 80),
    ]
}

fn arp_request() -> Raw {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(GATEWAY, [0xff; 6])
        .arp(question())
        .write(&mut bytes)
        .unwrap();
    Raw(bytes)
}

fn tagged_arp_request() -> Raw {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(GATEWAY, [0xff; 6])
        .single_vlan(VlanId::try_new(42).unwrap())
        .arp(question())
        .write(&mut bytes)
        .unwrap();
    Raw(bytes)
}

/// Who has the virtual address?
fn question() -> ArpPacket {
    ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: GATEWAY,
        sender_ipv4: [192, 0, 2, 1],
        target_mac: [0; 6],
        target_ipv4: [192, 0, 2, 100],
    }
    .into()
}

fn bare(ether_type: EtherType, len: usize) -> Raw {
    let mut bytes = ethernet(DIRECTOR, GATEWAY, ether_type);
    bytes.extend(vec![0x55; len]);
    Raw(bytes)
}

fn echo_request() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(GATEWAY, DIRECTOR)
        .ipv4([198, 51, 100, 1], [192, 0, 2, 100], 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut bytes, b"dirigo")
        .unwrap();
    bytes
}

fn echo_request_6() -> Vec<u8> {
    let (IpAddr::V6(client), IpAddr::V6(vip)) = (CLIENT_6, VIP_6) else {
        panic!("not IPv6");
    };
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(GATEWAY, DIRECTOR)
        .ipv6(client.octets(), vip.octets(), 64)
        .icmpv6_echo_request(7, 1)
        .write(&mut bytes, b"dirigo")
        .unwrap();
    bytes
}

/// Another address whose bit in the bitmap of virtual addresses is that of [`VIP`].
fn namesake() -> IpAddr {
    (0x0a00_0000..u32::MAX)
        .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        .find(|address| *address != VIP && vip_bit_of(*address) == vip_bit_of(VIP))
        .unwrap()
}
