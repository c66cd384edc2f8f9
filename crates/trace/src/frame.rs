//! What a frame says: addresses of both layers, hops, and what kind of packet it is.

use std::net::{IpAddr, SocketAddr};

use api::TraceHop;
use etherparse::{LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice, TransportSlice};

use crate::mac_text;

/// A frame, read. One that was cut off says what its head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Ethernet source.
    pub src_mac: [u8; 6],
    /// Ethernet destination.
    pub dst_mac: [u8; 6],
    /// IP source; port 0 where there is none.
    pub src: Option<SocketAddr>,
    /// IP destination, likewise.
    pub dst: Option<SocketAddr>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// IPv4's identification; 0 for IPv6.
    pub identification: u16,
    /// Whether it is a later piece of a packet, without ports.
    pub is_later_fragment: bool,
    /// TCP's numbers.
    pub segment: Option<Segment>,
    /// The flow that an ICMP error is about, as its client sent it.
    pub quoted: Option<Flow>,
    /// What it is: `TCP SYN`, `UDP`, `ICMP time exceeded`.
    pub what: String,
}

/// TCP's numbers, which tell packets of a connection apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledged up to.
    pub acknowledged: u32,
    /// The flags' byte.
    pub flags: u8,
    /// Bytes of payload, by the IP header.
    pub payload: u32,
}

/// A flow, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// IP protocol number.
    pub protocol: u8,
    /// Client address and port.
    pub client: SocketAddr,
    /// Virtual address and port.
    pub service: SocketAddr,
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

impl Frame {
    /// Reads a frame; `None` when it is shorter than an Ethernet header.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let sliced = LaxSlicedPacket::from_ethernet(bytes).ok()?;
        let Some(LinkSlice::Ethernet2(ethernet)) = &sliced.link else {
            return None;
        };
        let mut frame = Self {
            src_mac: ethernet.source(),
            dst_mac: ethernet.destination(),
            src: None,
            dst: None,
            ttl: None,
            protocol: None,
            identification: 0,
            is_later_fragment: false,
            segment: None,
            quoted: None,
            what: match ethernet.ether_type().0 {
                0x0806 => "ARP".to_owned(),
                other => format!("ether type {other:#06x}"),
            },
        };
        if let Some(net) = &sliced.net {
            frame.read_net(net, sliced.transport.as_ref());
        }
        Some(frame)
    }

    fn read_net(&mut self, net: &LaxNetSlice<'_>, transport: Option<&TransportSlice<'_>>) {
        let (addresses, payload, total) = match net {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                self.ttl = Some(header.ttl());
                self.identification = header.identification();
                self.is_later_fragment = header.fragments_offset().value() != 0;
                let total = usize::from(header.total_len()).saturating_sub(header.slice().len());
                let addresses: (IpAddr, IpAddr) = (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                );
                (addresses, ip.payload(), total)
            }
            LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                self.ttl = Some(header.hop_limit());
                let extensions = ip.extensions().slice().len();
                let total = usize::from(header.payload_length()).saturating_sub(extensions);
                let addresses: (IpAddr, IpAddr) = (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                );
                (addresses, ip.payload(), total)
            }
            LaxNetSlice::Arp(_) => {
                "ARP".clone_into(&mut self.what);
                return;
            }
        };
        let protocol = payload.ip_number.0;
        let ports = match self.is_later_fragment {
            true => None,
            false => ports(protocol, payload.payload),
        };
        let (from, to) = ports.unwrap_or((0, 0));
        self.protocol = Some(protocol);
        self.src = Some(SocketAddr::new(addresses.0, from));
        self.dst = Some(SocketAddr::new(addresses.1, to));
        if let Some(TransportSlice::Tcp(tcp)) = transport {
            self.segment = Some(segment(tcp, total));
        }
        if !self.is_later_fragment {
            self.quoted = quoted(protocol, payload.payload);
        }
        self.what = self.named(protocol, payload.payload);
    }

    fn named(&self, protocol: u8, payload: &[u8]) -> String {
        if self.is_later_fragment {
            return format!("{}, a later fragment", protocol_name(protocol));
        }
        match (protocol, self.segment, payload.first()) {
            (TCP, Some(segment), _) => {
                let bytes = match segment.payload {
                    0 => String::new(),
                    bytes => format!(", {bytes} bytes"),
                };
                format!("TCP {}{bytes}", flag_names(segment.flags))
            }
            (ICMP, _, Some(kind)) => format!("ICMP {}", icmp_name(*kind)),
            (ICMPV6, _, Some(kind)) => format!("ICMPv6 {}", icmpv6_name(*kind)),
            _ => protocol_name(protocol),
        }
    }

    /// This hop as the API tells it; `hex` are the bytes that are wanted with it.
    #[must_use]
    pub fn hop(&self, len: u32, hex: String) -> TraceHop {
        TraceHop {
            src_mac: mac_text(&self.src_mac),
            dst_mac: mac_text(&self.dst_mac),
            src: self.src,
            dst: self.dst,
            ttl: self.ttl,
            len,
            hex,
        }
    }

    /// The flow that the frame belongs to or is about, if its packet goes from the client to the service.
    #[must_use]
    pub fn flow(&self) -> Option<Flow> {
        if let Some(quoted) = self.quoted {
            return Some(quoted);
        }
        let (client, service) = (self.src?, self.dst?);
        let protocol = self.protocol?;
        matches!(protocol, TCP | UDP | SCTP).then_some(Flow {
            protocol,
            client,
            service,
        })
    }
}

fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    if !matches!(protocol, TCP | UDP | SCTP) {
        return None;
    }
    let [a, b, c, d] = *payload.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn segment(tcp: &TcpSlice<'_>, total: usize) -> Segment {
    let header = tcp.header_slice().len();
    Segment {
        sequence: tcp.sequence_number(),
        acknowledged: tcp.acknowledgment_number(),
        flags: tcp.header_slice().get(13).copied().unwrap_or(0),
        payload: total.saturating_sub(header) as u32,
    }
}

/// The flow of the packet that an ICMP error quotes; that packet went the other way (RFC 792, RFC 4443).
fn quoted(protocol: u8, payload: &[u8]) -> Option<Flow> {
    const HEAD: usize = 8;
    let is_error = match protocol {
        ICMP => matches!(payload.first()?, 3 | 4 | 11 | 12),
        ICMPV6 => *payload.first()? < 128,
        _ => false,
    };
    let inner = payload.get(HEAD..).filter(|_| is_error)?;
    let (src, dst, kind, rest): (IpAddr, IpAddr, u8, &[u8]) = match inner.first()? >> 4 {
        4 => {
            let words = usize::from(inner.first()? & 0xf) * 4;
            let source: [u8; 4] = *inner.get(12..)?.first_chunk()?;
            let destination: [u8; 4] = *inner.get(16..)?.first_chunk()?;
            (
                source.into(),
                destination.into(),
                *inner.get(9)?,
                inner.get(words..)?,
            )
        }
        6 => {
            let source: [u8; 16] = *inner.get(8..)?.first_chunk()?;
            let destination: [u8; 16] = *inner.get(24..)?.first_chunk()?;
            (
                source.into(),
                destination.into(),
                *inner.get(6)?,
                inner.get(40..)?,
            )
        }
        _ => return None,
    };
    let (from, to) = ports(kind, rest)?;
    Some(Flow {
        protocol: kind,
        client: SocketAddr::new(dst, to),
        service: SocketAddr::new(src, from),
    })
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        ICMP => "ICMP".to_owned(),
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        ICMPV6 => "ICMPv6".to_owned(),
        SCTP => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    }
}

fn flag_names(flags: u8) -> String {
    const NAMES: [(u8, &str); 6] = [
        (0x02, "SYN"),
        (0x01, "FIN"),
        (0x04, "RST"),
        (0x08, "PSH"),
        (0x10, "ACK"),
        (0x20, "URG"),
    ];
    let set = NAMES.iter().filter(|(bit, _)| flags & bit != 0);
    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
    match names.is_empty() {
        true => "without flags".to_owned(),
        false => names.join(" "),
    }
}

fn icmp_name(kind: u8) -> String {
    match kind {
        0 => "echo reply".to_owned(),
        3 => "unreachable".to_owned(),
        8 => "echo request".to_owned(),
        11 => "time exceeded".to_owned(),
        other => format!("type {other}"),
    }
}

fn icmpv6_name(kind: u8) -> String {
    match kind {
        1 => "unreachable".to_owned(),
        2 => "packet too big".to_owned(),
        3 => "time exceeded".to_owned(),
        128 => "echo request".to_owned(),
        129 => "echo reply".to_owned(),
        135 => "neighbour solicitation".to_owned(),
        136 => "neighbour advertisement".to_owned(),
        other => format!("type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn syn() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(A, B).ipv4([192, 0, 2, 1], [192, 0, 2, 100], 63);
        let mut bytes = Vec::new();
        let tcp = builder.tcp(40_000, 80, 7, 1_024).syn();
        tcp.write(&mut bytes, b"abc").unwrap();
        bytes
    }

    #[test]
    fn a_segment_says_who_to_whom_by_which_hop() {
        let frame = Frame::read(&syn()).unwrap();
        assert_eq!((frame.src_mac, frame.dst_mac), (A, B));
        assert_eq!(frame.src, Some("192.0.2.1:40000".parse().unwrap()));
        assert_eq!(frame.dst, Some("192.0.2.100:80".parse().unwrap()));
        assert_eq!(
            (frame.ttl, frame.what.as_str()),
            (Some(63), "TCP SYN, 3 bytes")
        );
        assert_eq!(frame.segment.unwrap().payload, 3);
    }

    #[test]
    fn one_that_was_cut_off_says_the_same() {
        let whole = syn();
        let frame = Frame::read(&whole[..54]).unwrap();
        assert_eq!(frame, Frame::read(&whole).unwrap());
    }

    #[test]
    fn an_error_belongs_to_the_flow_that_it_quotes() {
        let reply = PacketBuilder::ipv4([192, 0, 2, 100], [192, 0, 2, 1], 60).udp(53, 9);
        let mut quoted = Vec::new();
        reply.write(&mut quoted, b"answer").unwrap();
        let builder = PacketBuilder::ethernet2(A, B).ipv4([198, 51, 100, 9], [192, 0, 2, 100], 60);
        let mut bytes = Vec::new();
        let error = builder.icmpv4_raw(11, 0, [0; 4]);
        error.write(&mut bytes, &quoted).unwrap();
        let frame = Frame::read(&bytes).unwrap();
        assert_eq!(frame.what, "ICMP time exceeded");
        let flow = frame.flow().unwrap();
        assert_eq!(flow.protocol, UDP);
        assert_eq!(flow.client, "192.0.2.1:9".parse().unwrap());
        assert_eq!(flow.service, "192.0.2.100:53".parse().unwrap());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0usize..4) {
            if let Some(place) = bytes.get_mut(12..14) {
                place.copy_from_slice(&[[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]][kind]);
            }
            if let Some(frame) = Frame::read(&bytes) {
                let _flow = frame.flow();
            }
        }
    }
}
