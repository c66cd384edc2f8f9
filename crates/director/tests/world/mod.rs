//! A small world of tables in memory, and random frames for it, built by etherparse.
#![allow(dead_code, reason = "each test file uses its half")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::SeqCst;

use director::memory::{MemoryFrame, MemoryTables, service_key};
use director::tables::{Link, ServiceKey};
use director::{Next, Tables, Verdict};
use etherparse::{IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, PacketBuilderStep};
use proptest::prelude::*;

pub const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
pub const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 0xee];
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
pub const VIP_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);

pub const HTTP: u16 = 80;
/// A service without destinations.
pub const EMPTY: u16 = 83;
/// Destinations are 1 to this.
pub const DESTINATIONS: u32 = 5;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

pub const KEYS: [u64; 8] = [
    0x9ae1_6a3b_2f90_404f,
    0xc949_d7c7_509e_6557,
    0xff51_afd7_ed55_8ccd,
    0xc4ce_b9fe_1a85_ec53,
    0x8ebc_6af0_9c88_c6e3,
    0x5899_65cc_7537_4cc3,
    0x1d8e_4e27_c47d_124f,
    0xeb44_acca_b455_d165,
];

/// Services on HTTP and EMPTY, TCP and UDP, of both families.
pub fn tables(connections: usize) -> MemoryTables {
    let mut tables = MemoryTables::new(connections, KEYS);
    tables.add_vip(VIP.into());
    tables.add_vip(VIP_6.into());
    tables.set_egress(0, 1, DIRECTOR);
    link_all(&mut tables);
    publish(&mut tables, &[1, 2, 3], 0);
    for (number, vip) in [IpAddr::from(VIP), VIP_6.into()].into_iter().enumerate() {
        let id = 8 + 2 * number as u32;
        tables.publish(service_key(vip, EMPTY, 6), id, 0, &[]);
        tables.publish(service_key(vip, EMPTY, 17), id + 1, 0, &[]);
    }
    tables
}

pub fn link_all(tables: &mut MemoryTables) {
    for id in 1..=DESTINATIONS {
        let mac = director::headers::Mac::from_bytes([2, 0, 0, 1, 0, id as u8]);
        tables.links.insert(id, Link::via(mac, 0).0);
    }
}

/// Gives all four services on HTTP this rotation.
pub fn publish(tables: &mut MemoryTables, rotation: &[u32], first: u64) {
    let cycle = rotation.len() as u64;
    let segments = [(cycle, rotation.to_vec())];
    let segments = if cycle == 0 { &[] } else { &segments[..] };
    for (number, protocol) in [6, 17].into_iter().enumerate() {
        for (family, vip) in [IpAddr::from(VIP), VIP_6.into()].into_iter().enumerate() {
            let id = 1 + 2 * number as u32 + family as u32;
            let first = first.checked_rem(cycle).unwrap_or(0);
            tables.publish(service_key(vip, HTTP, protocol), id, first, segments);
        }
    }
}

pub fn key(port: u16, is_udp: bool) -> ServiceKey {
    service_key(VIP.into(), port, if is_udp { 17 } else { 6 })
}

/// What becomes of a frame.
pub fn forward(tables: &impl Tables, bytes: Vec<u8>) -> (Vec<u8>, Verdict) {
    let mut frame = MemoryFrame { bytes, ingress: 1 };
    let verdict = director::forward(&mut frame, tables);
    (frame.bytes, verdict)
}

/// The same without the fast path.
pub fn whole(tables: &impl Tables, bytes: Vec<u8>) -> (Vec<u8>, Verdict) {
    let mut frame = MemoryFrame { bytes, ingress: 1 };
    let verdict = director::go_on(&mut frame, tables, Next::Whole);
    (frame.bytes, verdict)
}

/// The real server that a frame is addressed to.
pub fn destination(frame: &[u8]) -> Option<u32> {
    match frame.get(..6)? {
        [2, 0, 0, 1, 0, id] => Some(u32::from(*id)),
        _ => None,
    }
}

/// Tags and entries of the connection table, and the gauges.
pub fn words(tables: &MemoryTables) -> Vec<u64> {
    let slots = tables.buckets.iter().flat_map(|bucket| &bucket.slots);
    let slots = slots.flat_map(|slot| [slot.tag.load(SeqCst), slot.entry.load(SeqCst)]);
    let gauges = tables.gauges.iter().map(|gauge| gauge.load(SeqCst));
    slots.chain(gauges.take(16)).collect()
}

/// A client's packet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub client: IpAddr,
    pub client_port: u16,
    pub to: IpAddr,
    pub port: u16,
    /// Flags of a segment; `None` for a datagram.
    pub flags: Option<u8>,
    pub ttl: u8,
    pub payload: Vec<u8>,
    pub padding: usize,
}

impl Packet {
    pub fn is_v4(&self) -> bool {
        self.to.is_ipv4()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(GATEWAY, DIRECTOR);
        let ip = match (self.client, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let ip = Ipv4Header::new(0, self.ttl, IpNumber::TCP, from.octets(), to.octets());
                link.ip(etherparse::IpHeaders::Ipv4(ip.unwrap(), Default::default()))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let ip = Ipv6Header {
                    hop_limit: self.ttl,
                    source: from.octets(),
                    destination: to.octets(),
                    ..Default::default()
                };
                link.ip(etherparse::IpHeaders::Ipv6(ip, Default::default()))
            }
            mixed => panic!("a packet of two families: {mixed:?}"),
        };
        let mut bytes = self.transport(ip);
        bytes.extend(vec![0xa5; self.padding]);
        bytes
    }

    fn transport(&self, ip: PacketBuilderStep<etherparse::IpHeaders>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(flags) = self.flags else {
            let udp = ip.udp(self.client_port, self.port);
            udp.write(&mut bytes, &self.payload).unwrap();
            return bytes;
        };
        let mut tcp = etherparse::TcpHeader::new(self.client_port, self.port, 1, 1_024);
        tcp.fin = flags & FIN != 0;
        tcp.syn = flags & SYN != 0;
        tcp.rst = flags & RST != 0;
        tcp.psh = flags & PSH != 0;
        tcp.ack = flags & ACK != 0;
        ip.tcp_header(tcp).write(&mut bytes, &self.payload).unwrap();
        bytes
    }

    /// Bytes of the IP packet.
    pub fn ip_len(&self) -> usize {
        self.bytes().len() - 14 - self.padding
    }
}

/// A client, a port and a protocol: few of each, so that sequences meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    client: u8,
    port: u16,
    is_v4: bool,
    is_udp: bool,
}

impl Flow {
    pub fn packet(&self, flags: u8) -> Packet {
        let client = if self.is_v4 {
            Ipv4Addr::new(198, 51, 100, self.client).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, self.client.into()).into()
        };
        Packet {
            client,
            client_port: self.port,
            to: if self.is_v4 { VIP.into() } else { VIP_6.into() },
            port: HTTP,
            flags: (!self.is_udp).then_some(flags),
            ttl: 64,
            payload: vec![7; 5],
            padding: 0,
        }
    }
}

pub fn some_flow() -> Flow {
    Flow {
        client: 1,
        port: 40_000,
        is_v4: true,
        is_udp: false,
    }
}

pub fn any_flow() -> impl Strategy<Value = Flow> {
    (1u8..4, 40_000u16..40_003, any::<bool>(), any::<bool>()).prop_map(
        |(client, port, is_v4, is_udp)| Flow {
            client,
            port,
            is_v4,
            is_udp,
        },
    )
}

/// The first packet of a flow to a service.
pub fn any_packet(port: u16, ttl: RangeInclusive<u8>) -> impl Strategy<Value = Packet> {
    let payload = proptest::collection::vec(any::<u8>(), 0..1_460);
    (any_flow(), ttl, payload, 0usize..40).prop_map(move |(flow, ttl, payload, padding)| Packet {
        port,
        ttl,
        payload,
        padding,
        ..flow.packet(SYN)
    })
}

/// A packet to any address.
pub fn packet_to(address: IpAddr) -> Packet {
    let flow = Flow {
        is_v4: address.is_ipv4(),
        ..some_flow()
    };
    Packet {
        to: address,
        ..flow.packet(SYN)
    }
}

/// An Ethernet header to the director.
pub fn ethernet(ether_type: u16) -> Vec<u8> {
    let mut bytes = [DIRECTOR, GATEWAY].concat();
    bytes.extend(ether_type.to_be_bytes());
    bytes
}

/// A frame of one of few flows, to one of few ports, and now and then with a byte or its end wrong.
pub fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop_oneof![
        Just(SYN),
        Just(ACK),
        Just(FIN | ACK),
        Just(RST),
        any::<u8>()
    ];
    let ports = prop_oneof![8 => Just(HTTP), 2 => Just(EMPTY), 1 => Just(22u16)];
    let ttl = prop_oneof![6 => Just(64u8), 1 => 0u8..3];
    let payload = proptest::collection::vec(any::<u8>(), 0..80);
    let spoilt = proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    let cut = proptest::option::weighted(0.1, any::<prop::sample::Index>());
    let packet = (any_flow(), flags, ports, ttl, payload);
    (packet, spoilt, cut).prop_map(|((flow, flags, port, ttl, payload), spoilt, cut)| {
        let packet = Packet {
            port,
            ttl,
            payload,
            ..flow.packet(flags)
        };
        let mut bytes = packet.bytes();
        if let Some((at, value)) = spoilt {
            // Headers, where it matters.
            let at = at.index(bytes.len().min(78));
            bytes[at] = value;
        }
        if let Some(at) = cut {
            bytes.truncate(at.index(bytes.len()));
        }
        bytes
    })
}
