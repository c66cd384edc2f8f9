//! Reading headers: from a frame to a [`Header`] of one family, and on to a [`Packet`], or the verdict
//! that ends it.
//!
//! ```text
//! Ethernet │ tags │ IP, options or extension headers │ TCP, UDP …
//!          at ────┘                      transport ──┘
//! ```
//!
//! Lengths are believed only after comparing them with each other and with the frame. Payload is never
//! read as ports: a later fragment says only what it belongs to.

use crate::address::{Address, V4, V6, flow_hash, vip_bit};
use crate::connection::State;
use crate::forward::Next;
use crate::frame::{Frame, Window};
use crate::headers::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, IPV4_BYTES, IPV6_BYTES, Ipv4View, Ipv6View, SCTP_BYTES,
    SCTP_CHUNK_BYTES, Sctp, TCP_BYTES, Tcp, UDP_BYTES, Udp, protocol, sctp_chunk, tcp_flag,
};
use crate::limits::{EXTENSION_HEADERS, TRANSPORT_OFFSET_MAX};
use crate::tables::{Settings, Tables};
use crate::verdict::{DropReason, PassReason, Verdict};

/// A network header to one of our addresses.
#[derive(Clone, Copy, Debug)]
pub struct Header<N: Network> {
    /// Who sent it.
    pub client: N::Address,
    /// The virtual address it is for.
    pub virtual_address: N::Address,
    /// IP protocol number of the payload.
    pub protocol: u8,
    /// Whether it is a piece of a larger packet.
    pub fragment: Fragment,
    /// Where it is in the frame.
    pub at: usize,
    /// Where its payload is in the frame.
    pub transport: usize,
    /// Bytes of its payload.
    pub payload: usize,
    /// Bytes of the IP packet, its header included.
    pub length: usize,
    /// The lifetime field as it came.
    pub lifetime: N::Lifetime,
}

/// Whether a packet is a piece of a larger one; all pieces of one share an identification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole.
    Whole,
    /// The first piece, which has the transport header.
    First(u32),
    /// Another piece: payload only.
    Later(u32),
}

/// A TCP, UDP or SCTP packet to one of our addresses, as far as balancing it needs.
#[derive(Clone, Copy, Debug)]
pub struct Packet<N: Network> {
    /// Its network header.
    pub header: Header<N>,
    /// Source port in the high, destination port in the low 16 bits.
    pub ports: u32,
    /// What it means to a connection.
    pub event: Event,
    /// States that it leaves as they are, as bits: [`crate::fast`](fn@crate::fast) asks for no more.
    pub steady: u32,
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

    /// Hash of its flow.
    #[must_use]
    #[inline(always)]
    pub fn hash(&self, settings: &Settings) -> u64 {
        self.hash_as(self.header.protocol, settings)
    }

    /// The same, by its protocol as the caller has it.
    #[must_use]
    #[inline(always)]
    pub fn hash_as(&self, protocol: u8, settings: &Settings) -> u64 {
        let header = &self.header;
        let keys = &settings.hash_keys;
        flow_hash(
            header.client,
            header.virtual_address,
            self.ports,
            protocol,
            keys,
        )
    }

    /// Reads the transport header of a packet that is whole, or of a first fragment.
    #[inline(always)]
    pub fn parse(frame: &impl Frame, header: Header<N>) -> Result<Self, Verdict> {
        match header.protocol {
            protocol::TCP => Self::parse_tcp(frame, header),
            protocol::UDP => Self::parse_udp(frame, header),
            protocol::SCTP => Self::parse_sctp(frame, header),
            protocol::ICMP | protocol::ICMPV6 => Err(Verdict::Pass(PassReason::Icmp)),
            _ => Err(Verdict::Pass(PassReason::UnsupportedProtocol)),
        }
    }

    /// The same for a packet whose protocol is TCP or UDP and that is whole, and right.
    #[inline(always)]
    pub fn parse_plain(frame: &impl Frame, header: Header<N>) -> Option<Self> {
        if header.protocol == protocol::TCP {
            Self::parse_tcp(frame, header).ok()
        } else {
            Self::parse_udp(frame, header).ok()
        }
    }

    #[inline(always)]
    fn parse_tcp(frame: &impl Frame, header: Header<N>) -> Result<Self, Verdict> {
        let malformed = Verdict::Drop(DropReason::MalformedTcp);
        let tcp = Tcp::read(frame, header.transport).ok_or(malformed)?;
        let header_len = usize::from(tcp.data_offset >> 4) * 4;
        if header_len < TCP_BYTES || header_len > header.payload {
            return Err(malformed);
        }
        Ok(Self {
            header,
            ports: tcp.ports,
            event: Event::of_tcp(tcp.flags),
            steady: if tcp.flags & tcp_flag::EVENTS == tcp_flag::ACK {
                STEADY_ON_ACK
            } else {
                0
            },
        })
    }

    #[inline(always)]
    fn parse_udp(frame: &impl Frame, header: Header<N>) -> Result<Self, Verdict> {
        let malformed = Verdict::Drop(DropReason::MalformedUdp);
        let udp = Udp::read(frame, header.transport).ok_or(malformed)?;
        let length = usize::from(udp.length);
        // The length in a first fragment is that of the whole datagram.
        let is_whole = matches!(header.fragment, Fragment::Whole);
        if length < UDP_BYTES || (is_whole && length > header.payload) {
            return Err(malformed);
        }
        Ok(Self {
            header,
            ports: udp.ports,
            event: Event::Datagram,
            steady: 1 << State::UDP.0,
        })
    }

    #[inline(always)]
    fn parse_sctp(frame: &impl Frame, header: Header<N>) -> Result<Self, Verdict> {
        let malformed = Verdict::Drop(DropReason::MalformedSctp);
        let sctp = Sctp::read(frame, header.transport).ok_or(malformed)?;
        if header.payload < SCTP_BYTES + SCTP_CHUNK_BYTES {
            return Err(malformed);
        }
        let mut event = Event::of_chunk(sctp.chunk);
        // An ABORT bundled behind the cookie is what counts (`set_sctp_state`).
        if (event == Event::CookieEcho || event == Event::CookieAck)
            && second_chunk(frame, &header, sctp.chunk_length) == Some(sctp_chunk::ABORT)
        {
            event = Event::Abort;
        }
        Ok(Self {
            header,
            ports: sctp.ports,
            event,
            steady: 0,
        })
    }
}

/// The kind of the chunk that follows a first one of this length, if it is in the packet.
#[inline(always)]
fn second_chunk<N: Network>(frame: &impl Frame, header: &Header<N>, length: u16) -> Option<u8> {
    if usize::from(length) < SCTP_CHUNK_BYTES {
        return None;
    }
    let padded = (usize::from(length) + 3) & 0x1_fffc;
    let at = header.transport + SCTP_BYTES + padded;
    let is_there = SCTP_BYTES + padded + SCTP_CHUNK_BYTES <= header.payload;
    // Cookies are some hundred bytes; a longer one hides what follows it.
    if !is_there || at > TRANSPORT_OFFSET_MAX {
        return None;
    }
    Some(frame.window::<1>(frame.blur(at))?.u8::<0>())
}

/// TCP's states that an ACK leaves as they are: ESTABLISHED, SYN_SENT, FIN_WAIT, TIME_WAIT, CLOSE, CLOSE_WAIT, LISTEN.
const STEADY_ON_ACK: u32 = 0x2f6;

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
    /// SCTP with user data, or with what changes nothing: SACK, HEARTBEAT, ECN.
    Data,
    /// SCTP INIT.
    Init,
    /// SCTP INIT ACK.
    InitAck,
    /// SCTP COOKIE ECHO.
    CookieEcho,
    /// SCTP COOKIE ACK.
    CookieAck,
    /// SCTP SHUTDOWN.
    Shutdown,
    /// SCTP SHUTDOWN ACK.
    ShutdownAck,
    /// SCTP SHUTDOWN COMPLETE.
    ShutdownComplete,
    /// SCTP ERROR.
    Error,
    /// SCTP ABORT.
    Abort,
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

    #[inline(always)]
    fn of_chunk(kind: u8) -> Self {
        match kind {
            sctp_chunk::INIT => Self::Init,
            sctp_chunk::INIT_ACK => Self::InitAck,
            sctp_chunk::ABORT => Self::Abort,
            sctp_chunk::SHUTDOWN => Self::Shutdown,
            sctp_chunk::SHUTDOWN_ACK => Self::ShutdownAck,
            sctp_chunk::ERROR => Self::Error,
            sctp_chunk::COOKIE_ECHO => Self::CookieEcho,
            sctp_chunk::COOKIE_ACK => Self::CookieAck,
            sctp_chunk::SHUTDOWN_COMPLETE => Self::ShutdownComplete,
            _ => Self::Data,
        }
    }

    /// Whether it asks for a connection.
    #[must_use]
    #[inline(always)]
    pub fn is_beginning(self) -> bool {
        matches!(self, Self::Syn | Self::Init | Self::Datagram)
    }
}

/// A network protocol: how its header is read, and what of it forwarding changes.
pub trait Network: Copy + core::fmt::Debug {
    /// Its number.
    const VERSION: u32;
    /// What Ethernet calls it.
    const ETHER_TYPE: u16;
    /// The step for its packets that belong to no connection.
    const BEGIN: Next;
    /// Its addresses.
    type Address: Address;
    /// The field that counts hops, with what must change along with it.
    type Lifetime: Copy + core::fmt::Debug;

    /// Reads the header at `at`, once its address is known to be virtual.
    fn parse(frame: &impl Frame, at: usize, tables: &impl Tables) -> Result<Header<Self>, Verdict>;

    /// The same for the packets that nearly all are: without options, extension headers or
    /// fragmentation. `None` for all others.
    fn parse_plain(
        frame: &impl Frame,
        at: usize,
        tables: &impl Tables,
    ) -> Option<Result<Header<Self>, PassReason>>;

    /// Hops the packet may still make.
    fn hops(lifetime: Self::Lifetime) -> u8;

    /// Writes the lifetime of one hop less, for the header at `at`.
    fn forwarded(frame: &mut impl Frame, at: usize, lifetime: Self::Lifetime) -> Option<()>;
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct NetworkV4;

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct NetworkV6;

const MALFORMED_V4: Verdict = Verdict::Drop(DropReason::MalformedIpv4);
const MALFORMED_V6: Verdict = Verdict::Drop(DropReason::MalformedIpv6);
const FOREIGN: PassReason = PassReason::NotAVirtualAddress;

/// Version 4, five words of header.
const PLAIN_V4: u8 = 0x45;
/// More-fragments flag and offset.
const FRAGMENT_V4: u16 = 0x3fff;
/// The offset alone, in units of eight bytes.
const OFFSET_V4: u16 = 0x1fff;

impl NetworkV4 {
    #[inline(always)]
    fn header(
        view: &Ipv4View<impl Window<IPV4_BYTES>>,
        at: usize,
        header_len: usize,
    ) -> Header<Self> {
        let length = usize::from(view.total_length());
        Header {
            client: V4(view.source()),
            virtual_address: V4(view.destination()),
            protocol: view.protocol(),
            fragment: Fragment::Whole,
            at,
            transport: at + header_len,
            payload: length - header_len,
            length,
            lifetime: view.lifetime(),
        }
    }
}

impl Network for NetworkV4 {
    const VERSION: u32 = 4;
    const ETHER_TYPE: u16 = ETHER_TYPE_IPV4;
    const BEGIN: Next = Next::BeginV4;
    type Address = V4;
    type Lifetime = u32;

    #[inline(always)]
    fn parse(frame: &impl Frame, at: usize, tables: &impl Tables) -> Result<Header<Self>, Verdict> {
        let view = Ipv4View(frame.window(at).ok_or(MALFORMED_V4)?);
        let header_len = usize::from(view.version_ihl() & 0xf) * 4;
        let length = usize::from(view.total_length());
        if view.version_ihl() >> 4 != 4
            || header_len < IPV4_BYTES
            || length < header_len
            || length > frame.len() - at
        {
            return Err(MALFORMED_V4);
        }
        if !is_virtual(V4(view.destination()), tables) {
            return Err(Verdict::Pass(FOREIGN));
        }
        let mut header = Self::header(&view, at, header_len);
        if view.fragment() & FRAGMENT_V4 != 0 {
            let identification = view.identification().into();
            header.fragment = match view.fragment() & OFFSET_V4 {
                0 => Fragment::First(identification),
                _ => Fragment::Later(identification),
            };
        }
        Ok(header)
    }

    #[inline(always)]
    fn parse_plain(
        frame: &impl Frame,
        at: usize,
        tables: &impl Tables,
    ) -> Option<Result<Header<Self>, PassReason>> {
        let view = Ipv4View(frame.window(at)?);
        let length = usize::from(view.total_length());
        if view.version_ihl() != PLAIN_V4 || length < IPV4_BYTES || length > frame.len() - at {
            return None;
        }
        if !is_virtual(V4(view.destination()), tables) {
            return Some(Err(FOREIGN));
        }
        if view.fragment() & FRAGMENT_V4 != 0 {
            return None;
        }
        Some(Ok(Self::header(&view, at, IPV4_BYTES)))
    }

    #[inline(always)]
    fn hops(lifetime: u32) -> u8 {
        (lifetime >> 24) as u8
    }

    #[inline(always)]
    fn forwarded(frame: &mut impl Frame, at: usize, lifetime: u32) -> Option<()> {
        crate::rewrite::write_ttl(frame, at, lifetime)
    }
}

impl NetworkV6 {
    #[inline(always)]
    fn header(view: &Ipv6View<impl Window<IPV6_BYTES>>, at: usize) -> Header<Self> {
        let payload = usize::from(view.payload_length());
        Header {
            client: V6(view.source()),
            virtual_address: V6(view.destination()),
            protocol: view.next_header(),
            fragment: Fragment::Whole,
            at,
            transport: at + IPV6_BYTES,
            payload,
            length: IPV6_BYTES + payload,
            lifetime: view.hop_limit(),
        }
    }

    /// Walks the extension headers to the transport header, or to a fragment header that says there is
    /// none here. RFC 8200 §4.
    #[inline(always)]
    fn skip_extensions(frame: &impl Frame, header: &mut Header<Self>) -> Result<(), Verdict> {
        // Once more than there may be: to find what follows the last.
        for _ in 0..=EXTENSION_HEADERS {
            let bytes = match header.protocol {
                protocol::IPV6_FRAGMENT => {
                    let (next, offset, identification) =
                        Ipv6Fragment::read(frame, header.transport).ok_or(MALFORMED_V6)?;
                    header.protocol = next;
                    header.fragment = match offset {
                        0 => Fragment::First(identification),
                        1.. => Fragment::Later(identification),
                    };
                    IPV6_FRAGMENT_BYTES
                }
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                    let window = frame.window::<2>(header.transport).ok_or(MALFORMED_V6)?;
                    header.protocol = window.u8::<0>();
                    // Units of eight bytes, the first not counted.
                    (usize::from(window.u8::<1>()) + 1) * 8
                }
                _ => return Ok(()),
            };
            if bytes > header.payload {
                return Err(MALFORMED_V6);
            }
            header.transport += bytes;
            header.payload -= bytes;
            if header.transport > TRANSPORT_OFFSET_MAX {
                break;
            }
            if matches!(header.fragment, Fragment::Later(_)) {
                return Ok(());
            }
        }
        Err(Verdict::Pass(PassReason::UnsupportedProtocol))
    }
}

/// IPv6 fragment header: next header, offset in units of eight bytes with flags, identification.
struct Ipv6Fragment;

const IPV6_FRAGMENT_BYTES: usize = 8;

impl Ipv6Fragment {
    #[inline(always)]
    fn read(frame: &impl Frame, at: usize) -> Option<(u8, u16, u32)> {
        let window = frame.window::<IPV6_FRAGMENT_BYTES>(at)?;
        Some((window.u8::<0>(), window.u16::<2>() >> 3, window.u32::<4>()))
    }
}

impl Network for NetworkV6 {
    const VERSION: u32 = 6;
    const ETHER_TYPE: u16 = ETHER_TYPE_IPV6;
    const BEGIN: Next = Next::BeginV6;
    type Address = V6;
    type Lifetime = u8;

    #[inline(always)]
    fn parse(frame: &impl Frame, at: usize, tables: &impl Tables) -> Result<Header<Self>, Verdict> {
        let view = Ipv6View(frame.window(at).ok_or(MALFORMED_V6)?);
        let length = IPV6_BYTES + usize::from(view.payload_length());
        if view.version() != 6 || length > frame.len() - at {
            return Err(MALFORMED_V6);
        }
        if !is_virtual(V6(view.destination()), tables) {
            return Err(Verdict::Pass(FOREIGN));
        }
        let mut header = Self::header(&view, at);
        Self::skip_extensions(frame, &mut header)?;
        Ok(header)
    }

    #[inline(always)]
    fn parse_plain(
        frame: &impl Frame,
        at: usize,
        tables: &impl Tables,
    ) -> Option<Result<Header<Self>, PassReason>> {
        let view = Ipv6View(frame.window(at)?);
        let length = IPV6_BYTES + usize::from(view.payload_length());
        if view.version() != 6 || length > frame.len() - at {
            return None;
        }
        if !is_virtual(V6(view.destination()), tables) {
            return Some(Err(FOREIGN));
        }
        Some(Ok(Self::header(&view, at)))
    }

    #[inline(always)]
    fn hops(lifetime: u8) -> u8 {
        lifetime
    }

    #[inline(always)]
    fn forwarded(frame: &mut impl Frame, at: usize, lifetime: u8) -> Option<()> {
        crate::rewrite::write_hop_limit(frame, at, lifetime)
    }
}

#[inline(always)]
fn is_virtual(address: impl Address, tables: &impl Tables) -> bool {
    let (word, bit) = vip_bit(address);
    tables.vip_word(word) >> bit & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_steady_where_it_changes_nothing() {
        for number in 0..State::UDP.0 {
            let stays = State(number).after(Event::Ack) == State(number);
            assert_eq!(
                STEADY_ON_ACK >> number & 1 == 1,
                stays,
                "{}",
                State(number).name()
            );
        }
    }
}
