//! What a captured frame says, for tables and proofs.
//!
//! ```text
//! Ethernet ─► ARP                       (netlink::arp)
//!          ─► IPv4/IPv6 ─► TCP, UDP     Segment
//!          ─► IPv6 ─► neighbour solicitation, advertisement   (netlink::ndp)
//! ```
//!
//! Written apart from the director's own parser, so that one mistake cannot hide in both.
//! Never fails: what it does not know is [`Content::Other`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink::Mac;
use netlink::arp::Arp;
use netlink::ndp::Ndp;

/// A frame, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Ethernet destination.
    pub to: Mac,
    /// Ethernet source.
    pub from: Mac,
    /// What it carries.
    pub content: Content,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Address resolution of IPv4.
    Arp(Arp),
    /// Neighbour discovery of IPv6.
    Ndp(Ndp),
    /// A TCP segment or UDP datagram.
    Segment(Segment),
    /// Anything else.
    Other,
}

/// A TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// 6 or 17.
    pub protocol: u8,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP's SYN without ACK.
    pub opens: bool,
    /// Bytes after the transport header.
    pub payload_bytes: usize,
}

const TCP: u8 = 6;
const UDP: u8 = 17;

impl Frame {
    /// Reads a frame; `None` if it is shorter than an Ethernet header.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (to, rest) = bytes.split_first_chunk::<6>()?;
        let (from, rest) = rest.split_first_chunk::<6>()?;
        let (ethertype, packet) = rest.split_first_chunk::<2>()?;
        let content = match u16::from_be_bytes(*ethertype) {
            0x0806 => Arp::parse(bytes).map(Content::Arp),
            0x0800 => ipv4(packet).map(Content::Segment),
            0x86dd => ipv6(packet)
                .map(Content::Segment)
                .or_else(|| Ndp::parse(bytes).map(Content::Ndp)),
            _ => None,
        };
        Some(Self {
            to: *to,
            from: *from,
            content: content.unwrap_or(Content::Other),
        })
    }

    /// Its TCP segment or UDP datagram.
    #[must_use]
    pub fn segment(&self) -> Option<&Segment> {
        match &self.content {
            Content::Segment(segment) => Some(segment),
            _ => None,
        }
    }
}

fn ipv4(packet: &[u8]) -> Option<Segment> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let total_bytes = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
    let source: [u8; 4] = *packet.get(12..)?.first_chunk()?;
    let destination: [u8; 4] = *packet.get(16..)?.first_chunk()?;
    let addresses = (
        Ipv4Addr::from(source).into(),
        Ipv4Addr::from(destination).into(),
    );
    let transport = packet.get(header_bytes..total_bytes)?;
    segment(*packet.get(9)?, *packet.get(8)?, addresses, transport)
}

fn ipv6(packet: &[u8]) -> Option<Segment> {
    let payload_bytes = usize::from(u16::from_be_bytes(*packet.get(4..)?.first_chunk()?));
    let source: [u8; 16] = *packet.get(8..)?.first_chunk()?;
    let destination: [u8; 16] = *packet.get(24..)?.first_chunk()?;
    let addresses = (
        Ipv6Addr::from(source).into(),
        Ipv6Addr::from(destination).into(),
    );
    let transport = packet.get(40..40 + payload_bytes)?;
    segment(*packet.get(6)?, *packet.get(7)?, addresses, transport)
}

fn segment(
    protocol: u8,
    ttl: u8,
    (source, destination): (IpAddr, IpAddr),
    transport: &[u8],
) -> Option<Segment> {
    let port = |at: usize| Some(u16::from_be_bytes(*transport.get(at..)?.first_chunk()?));
    let (header_bytes, flags) = match protocol {
        TCP => (
            usize::from(transport.get(12)? >> 4) * 4,
            *transport.get(13)?,
        ),
        UDP => (8, 0),
        _ => return None,
    };
    Some(Segment {
        protocol,
        source: (source, port(0)?).into(),
        destination: (destination, port(2)?).into(),
        ttl,
        opens: flags & 0x12 == 0x02,
        payload_bytes: transport.len().checked_sub(header_bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];

    fn built(builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>) -> Vec<u8> {
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"GET /").unwrap();
        // Ethernet pads short frames; padding is not payload.
        bytes.resize(bytes.len().max(60) + 4, 0);
        bytes
    }

    #[test]
    fn a_tcp_segment_over_ipv4_is_read_with_its_true_payload_length() {
        let bytes = built(
            PacketBuilder::ethernet2(A, B)
                .ipv4([192, 168, 188, 111], [192, 168, 188, 120], 63)
                .tcp(50_000, 80, 1, 1024),
        );
        let frame = Frame::read(&bytes).unwrap();
        assert_eq!((frame.from, frame.to), (A, B));
        assert_eq!(
            *frame.segment().unwrap(),
            Segment {
                protocol: 6,
                source: "192.168.188.111:50000".parse().unwrap(),
                destination: "192.168.188.120:80".parse().unwrap(),
                ttl: 63,
                opens: false,
                payload_bytes: 5,
            }
        );
    }

    #[test]
    fn a_tcp_segment_over_ipv6_is_read_and_a_syn_opens() {
        let bytes = built(
            PacketBuilder::ethernet2(A, B)
                .ipv6([0x20; 16], [0x30; 16], 64)
                .tcp(50_000, 80, 1, 1024)
                .syn(),
        );
        let segment = *Frame::read(&bytes).unwrap().segment().unwrap();
        assert!(segment.opens);
        assert_eq!((segment.ttl, segment.payload_bytes), (64, 5));
    }

    #[test]
    fn a_syn_with_ack_does_not_open() {
        let bytes = built(
            PacketBuilder::ethernet2(A, B)
                .ipv4([1; 4], [2; 4], 64)
                .tcp(80, 50_000, 1, 1024)
                .syn()
                .ack(2),
        );
        assert!(!Frame::read(&bytes).unwrap().segment().unwrap().opens);
    }

    #[test]
    fn arp_and_neighbour_discovery_are_read() {
        let asked = Arp::request(A, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let frame = Frame::read(&asked.emit()).unwrap();
        assert_eq!(frame.content, Content::Arp(asked));

        let asked = Ndp::solicitation(
            A,
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        );
        let frame = Frame::read(&asked.emit()).unwrap();
        assert_eq!(frame.content, Content::Ndp(asked));
    }

    #[test]
    fn every_cut_of_a_frame_is_read_without_a_panic() {
        let bytes = built(
            PacketBuilder::ethernet2(A, B)
                .ipv4([1; 4], [2; 4], 64)
                .tcp(80, 50_000, 1, 1024),
        );
        for length in 0..bytes.len() {
            let whole = Frame::read(&bytes[..length]).is_some();
            assert_eq!(whole, length >= 14);
        }
    }
}
