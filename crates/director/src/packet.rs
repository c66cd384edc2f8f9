//! Reading headers: from a frame to a [`Packet`] of one family, or the verdict that ends it.
//!
//! Lengths are believed only after comparing them with each other and with the frame.

use crate::address::{Address, V4, V6, vip_bit};
use crate::frame::Frame;
use crate::headers::{
    ETHERNET_BYTES, IPV4_BYTES, IPV6_BYTES, Ipv4View, Ipv6View, TCP_BYTES, Tcp, UDP_BYTES, Udp,
    protocol, tcp_flag,
};
use crate::tables::Tables;
use crate::verdict::{DropReason, PassReason, Verdict};

/// A packet to one of our addresses, as far as balancing it needs.
#[derive(Clone, Copy, Debug)]
pub struct Packet<N: Network> {
    /// Who sent it.
    pub client: N::Address,
    /// The virtual address it is for.
    pub virtual_address: N::Address,
    /// Source port in the high, destination port in the low 16 bits.
    pub ports: u32,
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// What it means to a connection.
    pub event: Event,
    /// Bytes of the IP packet, its header included.
    pub length: usize,
    /// The lifetime field as it came.
    pub lifetime: N::Lifetime,
}

impl<N: Network> Packet<N> {
    /// The client's port.
    #[must_use]
    #[inline(always)]
    pub fn client_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// The virtual port.
    #[must_use]
    #[inline(always)]
    pub fn virtual_port(&self) -> u16 {
        self.ports as u16
    }
}

/// What a packet means to its connection, by flag priority RST > SYN > FIN > ACK (ipvs: "a segment
/// with none of them sends the connection to CLOSE").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// TCP SYN.
    Syn,
    /// TCP FIN.
    Fin,
    /// TCP ACK.
    Ack,
    /// TCP RST.
    Rst,
    /// A TCP segment without any of these.
    Bare,
    /// A UDP datagram.
    Datagram,
}

impl Event {
    #[inline(always)]
    fn of_tcp(flags: u8) -> Self {
        if flags & tcp_flag::RST != 0 {
            Self::Rst
        } else if flags & tcp_flag::SYN != 0 {
            Self::Syn
        } else if flags & tcp_flag::FIN != 0 {
            Self::Fin
        } else if flags & tcp_flag::ACK != 0 {
            Self::Ack
        } else {
            Self::Bare
        }
    }
}

/// A network protocol: how its header is read, and what of it forwarding changes.
pub trait Network: Copy {
    /// Its addresses.
    type Address: Address;
    /// The field that counts hops, with what must change along with it.
    type Lifetime: Copy;

    /// Reads the packet, once its address is known to be virtual.
    fn parse(frame: &impl Frame, tables: &impl Tables) -> Result<Packet<Self>, Verdict>;

    /// Hops the packet may still make.
    fn hops(lifetime: Self::Lifetime) -> u8;

    /// Writes the lifetime of one hop less.
    fn forwarded(frame: &mut impl Frame, lifetime: Self::Lifetime) -> Option<()>;
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct NetworkV4;

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct NetworkV6;

const MALFORMED_V4: Verdict = Verdict::Drop(DropReason::MalformedIpv4);
const MALFORMED_V6: Verdict = Verdict::Drop(DropReason::MalformedIpv6);
const FOREIGN: Verdict = Verdict::Pass(PassReason::NotAVirtualAddress);

impl Network for NetworkV4 {
    type Address = V4;
    type Lifetime = u32;

    #[inline(always)]
    fn parse(frame: &impl Frame, tables: &impl Tables) -> Result<Packet<Self>, Verdict> {
        let header = Ipv4View(frame.window(ETHERNET_BYTES).ok_or(MALFORMED_V4)?);
        let header_len = usize::from(header.version_ihl() & 0xf) * 4;
        let length = usize::from(header.total_length());
        let present = frame.len() - ETHERNET_BYTES;
        if header.version_ihl() >> 4 != 4
            || header_len < IPV4_BYTES
            || length < header_len
            || length > present
        {
            return Err(MALFORMED_V4);
        }
        let virtual_address = V4(header.destination());
        if !is_virtual(virtual_address, tables) {
            return Err(FOREIGN);
        }
        // More-fragments flag or an offset: only the first piece has ports, and no piece is whole.
        if header.fragment() & 0x3fff != 0 {
            return Err(Verdict::Pass(PassReason::Fragment));
        }
        let payload = length - header_len;
        // Without options, which is nearly always, the offset is a constant to the compiler.
        let transport = if header_len == IPV4_BYTES {
            Transport::parse(
                frame,
                ETHERNET_BYTES + IPV4_BYTES,
                header.protocol(),
                payload,
            )?
        } else {
            Transport::parse(
                frame,
                ETHERNET_BYTES + header_len,
                header.protocol(),
                payload,
            )?
        };
        Ok(Packet {
            client: V4(header.source()),
            virtual_address,
            ports: transport.ports,
            protocol: header.protocol(),
            event: transport.event,
            length,
            lifetime: header.lifetime(),
        })
    }

    #[inline(always)]
    fn hops(lifetime: u32) -> u8 {
        (lifetime >> 24) as u8
    }

    #[inline(always)]
    fn forwarded(frame: &mut impl Frame, lifetime: u32) -> Option<()> {
        crate::rewrite::write_ttl(frame, lifetime)
    }
}

impl Network for NetworkV6 {
    type Address = V6;
    type Lifetime = u8;

    #[inline(always)]
    fn parse(frame: &impl Frame, tables: &impl Tables) -> Result<Packet<Self>, Verdict> {
        let header = Ipv6View(frame.window(ETHERNET_BYTES).ok_or(MALFORMED_V6)?);
        let payload = usize::from(header.payload_length());
        let length = IPV6_BYTES + payload;
        if header.version() != 6 || length > frame.len() - ETHERNET_BYTES {
            return Err(MALFORMED_V6);
        }
        let virtual_address = V6(header.destination());
        if !is_virtual(virtual_address, tables) {
            return Err(FOREIGN);
        }
        if header.next_header() == protocol::IPV6_FRAGMENT {
            return Err(Verdict::Pass(PassReason::Fragment));
        }
        let at = ETHERNET_BYTES + IPV6_BYTES;
        let transport = Transport::parse(frame, at, header.next_header(), payload)?;
        Ok(Packet {
            client: V6(header.source()),
            virtual_address,
            ports: transport.ports,
            protocol: header.next_header(),
            event: transport.event,
            length,
            lifetime: header.hop_limit(),
        })
    }

    #[inline(always)]
    fn hops(lifetime: u8) -> u8 {
        lifetime
    }

    #[inline(always)]
    fn forwarded(frame: &mut impl Frame, lifetime: u8) -> Option<()> {
        crate::rewrite::write_hop_limit(frame, lifetime)
    }
}

#[inline(always)]
fn is_virtual(address: impl Address, tables: &impl Tables) -> bool {
    let (word, bit) = vip_bit(address);
    tables.vip_word(word) >> bit & 1 != 0
}

/// What balancing needs of a transport header.
struct Transport {
    ports: u32,
    event: Event,
}

impl Transport {
    /// Reads TCP or UDP at `offset`, of a packet with `payload` bytes after its IP header.
    #[inline(always)]
    fn parse(frame: &impl Frame, offset: usize, kind: u8, payload: usize) -> Result<Self, Verdict> {
        match kind {
            protocol::TCP => Self::parse_tcp(frame, offset, payload),
            protocol::UDP => Self::parse_udp(frame, offset, payload),
            protocol::ICMP | protocol::ICMPV6 => Err(Verdict::Pass(PassReason::Icmp)),
            _ => Err(Verdict::Pass(PassReason::UnsupportedProtocol)),
        }
    }

    #[inline(always)]
    fn parse_tcp(frame: &impl Frame, offset: usize, payload: usize) -> Result<Self, Verdict> {
        let malformed = Verdict::Drop(DropReason::MalformedTcp);
        let header = Tcp::read(frame, offset).ok_or(malformed)?;
        let header_len = usize::from(header.data_offset >> 4) * 4;
        if header_len < TCP_BYTES || header_len > payload {
            return Err(malformed);
        }
        Ok(Self {
            ports: header.ports,
            event: Event::of_tcp(header.flags),
        })
    }

    #[inline(always)]
    fn parse_udp(frame: &impl Frame, offset: usize, payload: usize) -> Result<Self, Verdict> {
        let malformed = Verdict::Drop(DropReason::MalformedUdp);
        let header = Udp::read(frame, offset).ok_or(malformed)?;
        let length = usize::from(header.length);
        if length < UDP_BYTES || length > payload {
            return Err(malformed);
        }
        Ok(Self {
            ports: header.ports,
            event: Event::Datagram,
        })
    }
}
