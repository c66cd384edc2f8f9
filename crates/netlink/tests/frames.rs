//! ARP and neighbour discovery frames, checked by an independent library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dirigo_netlink as netlink;
use etherparse::{Icmpv6Type, LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice};
use netlink::arp::{Arp, BROADCAST, Operation};
use netlink::ndp::{self, Ndp};
use netlink::{Mac, announce};
use proptest::prelude::*;

const MAC: Mac = [2, 0, 0, 0, 0, 7];
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 188, 120);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);

#[test]
fn a_gratuitous_arp_is_a_broadcast_request_in_which_sender_and_target_are_the_vip() {
    let frame = announce::frame(MAC, IpAddr::V4(VIP));
    let packet = SlicedPacket::from_ethernet(&frame).unwrap();
    let ethernet = packet
        .link
        .unwrap()
        .to_header()
        .unwrap()
        .ethernet2()
        .unwrap();
    assert_eq!(ethernet.destination, BROADCAST);
    assert_eq!(ethernet.source, MAC);
    let Some(NetSlice::Arp(arp)) = packet.net else {
        panic!("not ARP: {frame:02x?}");
    };
    assert_eq!(arp.operation(), etherparse::ArpOperation::REQUEST);
    assert_eq!(arp.sender_hw_addr(), MAC);
    assert_eq!(arp.sender_protocol_addr(), VIP.octets());
    assert_eq!(arp.target_hw_addr(), BROADCAST);
    assert_eq!(arp.target_protocol_addr(), VIP.octets());
}

#[test]
fn an_unsolicited_advertisement_overrides_and_carries_the_mac_and_a_right_checksum() {
    let frame = announce::frame(MAC, IpAddr::V6(VIP6));
    let packet = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(NetSlice::Ipv6(ip)) = &packet.net else {
        panic!("not IPv6: {frame:02x?}");
    };
    assert_eq!(ip.header().destination_addr(), ndp::ALL_NODES);
    assert_eq!(ip.header().hop_limit(), 255);
    let Some(TransportSlice::Icmpv6(icmp)) = &packet.transport else {
        panic!("not ICMPv6: {frame:02x?}");
    };
    let (source, destination) = (ip.header().source(), ip.header().destination());
    assert!(icmp.is_checksum_valid(source, destination));
    let Icmpv6Type::NeighborAdvertisement(advertisement) = icmp.header().icmp_type else {
        panic!("not an advertisement: {icmp:?}");
    };
    assert!(advertisement.r#override);
    assert!(!advertisement.solicited && !advertisement.router);
    assert_eq!(&frame[62..78], VIP6.octets());
    assert_eq!(&frame[78..], [2, 1, 2, 0, 0, 0, 0, 7]);
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
}

#[test]
fn a_solicitation_goes_to_the_solicited_node_group() {
    let asked = Ndp::solicitation(MAC, "fe80::7".parse().unwrap(), VIP6);
    assert_eq!(
        asked.destination,
        "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap()
    );
    assert_eq!(asked.to, [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    let frame = asked.emit();
    let packet = LaxSlicedPacket::from_ethernet(&frame).unwrap();
    assert!(packet.transport.is_some());
}

#[test]
fn a_probe_teaches_nobody_anything() {
    let probe = Arp::request(MAC, Ipv4Addr::UNSPECIFIED, VIP);
    assert!(probe.sender.is_unspecified());
    let probe = Ndp::solicitation(MAC, Ipv6Addr::UNSPECIFIED, VIP6);
    assert_eq!(probe.mac, None);
    assert_eq!(probe.emit().len(), 78);
}

#[test]
fn a_solicitation_with_a_wrong_checksum_is_not_read() {
    let mut frame = Ndp::solicitation(MAC, "fe80::7".parse().unwrap(), VIP6).emit();
    assert!(Ndp::parse(&frame).is_some());
    frame[77] ^= 1;
    assert_eq!(Ndp::parse(&frame), None);
}

proptest! {
    #[test]
    fn parsing_what_was_emitted_gives_the_same_arp(
        to: [u8; 6], from: [u8; 6], reply: bool, sender_mac: [u8; 6], sender: [u8; 4],
        target_mac: [u8; 6], target: [u8; 4], padding in 0_usize..20,
    ) {
        let arp = Arp {
            to,
            from,
            operation: if reply { Operation::Reply } else { Operation::Request },
            sender_mac,
            sender: sender.into(),
            target_mac,
            target: target.into(),
        };
        let mut frame = arp.emit();
        frame.extend(std::iter::repeat_n(0, padding));
        prop_assert_eq!(Arp::parse(&frame), Some(arp));
    }

    #[test]
    fn parsing_what_was_emitted_gives_the_same_advertisement(
        from: [u8; 6], source: [u8; 16], target: [u8; 16], solicited: bool, overriding: bool,
        mac: Option<[u8; 6]>, padding in 0_usize..20,
    ) {
        let ndp = Ndp {
            from,
            source: source.into(),
            target: target.into(),
            operation: ndp::Operation::Advertisement { solicited, overriding },
            mac,
            ..announce::unsolicited_advertisement(MAC, VIP6)
        };
        let mut frame = ndp.emit();
        frame.extend(std::iter::repeat_n(0xa5, padding));
        prop_assert_eq!(Ndp::parse(&frame), Some(ndp));
    }

    #[test]
    fn no_frame_makes_a_parser_panic(
        mut frame in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..3,
    ) {
        // Two thirds are made to look right at first, so that the later checks are reached.
        for (at, value) in [&[][..], &[(12, 8), (13, 6)], &[(12, 0x86), (13, 0xdd), (14, 0x60)]][kind as usize] {
            if let Some(byte) = frame.get_mut(*at) {
                *byte = *value;
            }
        }
        let _arp = Arp::parse(&frame);
        let _ndp = Ndp::parse(&frame);
    }
}
