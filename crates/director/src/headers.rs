//! Headers on the wire. Byte order is in the types; sizes are asserted.

use crate::frame::{Frame, Window};

/// Ethernet header, IEEE 802.3.
///
/// ```text
///  0               6              12      14
/// +---------------+---------------+-------+
/// |  destination  |    source     | type  |
/// +---------------+---------------+-------+
/// ```
///
/// The type is big endian.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet {
    /// Destination, then source.
    pub addresses: MacPair,
    /// EtherType.
    pub ether_type: u16,
}

impl Ethernet {
    /// Reads it at the frame's start.
    #[inline(always)]
    pub fn read(frame: &impl Frame) -> Option<Self> {
        let window = frame.window::<ETHERNET_BYTES>(0)?;
        let addresses = MacPair {
            low: window.u64::<0>().swap_bytes(),
            high: window.u32::<8>().swap_bytes(),
        };
        Some(Self {
            addresses,
            ether_type: window.u16::<12>(),
        })
    }

    /// Writes it at the frame's start.
    #[inline(always)]
    pub fn write(self, frame: &mut impl Frame) -> Option<()> {
        self.addresses.write(frame)?;
        frame.put_u16(12, self.ether_type)
    }
}

/// Bytes of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;

/// EtherType of IPv4.
pub const ETHER_TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHER_TYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHER_TYPE_IPV6: u16 = 0x86dd;

/// A MAC address in the low 48 bits, first byte lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(u64);

impl Mac {
    const MASK: u64 = 0xffff_ffff_ffff;

    /// From the low 48 bits of a word.
    #[must_use]
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        Self(word & Self::MASK)
    }

    /// As the low 48 bits of a word.
    #[must_use]
    #[inline(always)]
    pub fn word(self) -> u64 {
        self.0
    }

    /// From the bytes in wire order.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// The bytes in wire order.
    #[must_use]
    pub fn bytes(self) -> [u8; 6] {
        let [a, b, c, d, e, f, _, _] = self.0.to_le_bytes();
        [a, b, c, d, e, f]
    }
}

/// Destination and source MAC, the twelve bytes at a frame's start, in two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacPair {
    low: u64,
    high: u32,
}

impl MacPair {
    /// The pair `destination`, `source`.
    #[must_use]
    #[inline(always)]
    pub fn new(destination: Mac, source: Mac) -> Self {
        Self {
            low: destination.word() | source.word() << 48,
            high: (source.word() >> 16) as u32,
        }
    }

    /// The destination.
    #[must_use]
    #[inline(always)]
    pub fn destination(self) -> Mac {
        Mac::from_word(self.low)
    }

    /// The source.
    #[must_use]
    #[inline(always)]
    pub fn source(self) -> Mac {
        Mac::from_word(self.low >> 48 | u64::from(self.high) << 16)
    }

    /// Writes it at the frame's start.
    #[inline(always)]
    pub fn write(self, frame: &mut impl Frame) -> Option<()> {
        frame.put_u64(0, self.low.swap_bytes())?;
        frame.put_u32(8, self.high.swap_bytes())
    }
}

/// IPv4 header without options. RFC 791 §3.1.
///
/// ```text
///  0       4       8              16     19                      31
/// +-------+-------+---------------+------------------------------+
/// |version|  IHL  | type of serv. |         total length         |
/// +-------+-------+---------------+------+-----------------------+
/// |         identification        |flags |    fragment offset    |
/// +---------------+---------------+------+-----------------------+
/// |  time to live |    protocol   |       header checksum        |
/// +---------------+---------------+------------------------------+
/// |                        source address                        |
/// +--------------------------------------------------------------+
/// |                      destination address                     |
/// +--------------------------------------------------------------+
/// ```
///
/// `total_length` counts header and data, in bytes; IHL counts 32-bit words.
///
/// Each field is read where it is asked for.
pub struct Ipv4View<W>(pub W);

impl<W: Window<IPV4_BYTES>> Ipv4View<W> {
    /// Version in the high, header length in words in the low four bits.
    #[inline(always)]
    pub fn version_ihl(&self) -> u8 {
        self.0.u8::<0>()
    }
    /// Bytes of header and data.
    #[inline(always)]
    pub fn total_length(&self) -> u16 {
        self.0.u16::<2>()
    }
    /// Identification, the same in all fragments.
    #[inline(always)]
    pub fn identification(&self) -> u16 {
        self.0.u16::<4>()
    }
    /// Flags in the high three bits, offset in units of 8 bytes.
    #[inline(always)]
    pub fn fragment(&self) -> u16 {
        self.0.u16::<6>()
    }
    /// Protocol of the payload.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.0.u8::<9>()
    }
    /// Time to live, protocol and checksum as one word: forwarding changes two of them together.
    #[inline(always)]
    pub fn lifetime(&self) -> u32 {
        self.0.u32::<8>()
    }
    /// Source address.
    #[inline(always)]
    pub fn source(&self) -> u32 {
        self.0.u32::<12>()
    }
    /// Destination address.
    #[inline(always)]
    pub fn destination(&self) -> u32 {
        self.0.u32::<16>()
    }
}

/// Bytes of an IPv4 header without options.
pub const IPV4_BYTES: usize = 20;

/// Where time to live, protocol and checksum are in an IPv4 header.
pub const IPV4_LIFETIME_OFFSET: usize = 8;

/// IPv6 header. RFC 8200 §3.
///
/// ```text
///  0       4            12                                      31
/// +-------+-------------+---------------------------------------+
/// |version|traffic class|              flow label               |
/// +-------+-------------+--------+---------------+--------------+
/// |        payload length        |  next header  |   hop limit  |
/// +------------------------------+---------------+--------------+
/// |                  source address, 16 bytes                   |
/// |               destination address, 16 bytes                 |
/// +-------------------------------------------------------------+
/// ```
///
/// `payload_length` does not count this header.
///
/// Each field is read where it is asked for.
pub struct Ipv6View<W>(pub W);

impl<W: Window<IPV6_BYTES>> Ipv6View<W> {
    /// The version alone.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        self.0.u8::<0>() >> 4
    }
    /// Bytes after this header.
    #[inline(always)]
    pub fn payload_length(&self) -> u16 {
        self.0.u16::<4>()
    }
    /// Protocol of what follows.
    #[inline(always)]
    pub fn next_header(&self) -> u8 {
        self.0.u8::<6>()
    }
    /// Lifetime, in hops.
    #[inline(always)]
    pub fn hop_limit(&self) -> u8 {
        self.0.u8::<7>()
    }
    /// Source address.
    #[inline(always)]
    pub fn source(&self) -> [u32; 4] {
        [
            self.0.u32::<8>(),
            self.0.u32::<12>(),
            self.0.u32::<16>(),
            self.0.u32::<20>(),
        ]
    }
    /// Destination address.
    #[inline(always)]
    pub fn destination(&self) -> [u32; 4] {
        [
            self.0.u32::<24>(),
            self.0.u32::<28>(),
            self.0.u32::<32>(),
            self.0.u32::<36>(),
        ]
    }
}

/// Bytes of an IPv6 header.
pub const IPV6_BYTES: usize = 40;

/// Where the hop limit is in an IPv6 header.
pub const IPV6_HOP_LIMIT_OFFSET: usize = 7;

/// IP protocol numbers (IANA).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const IPV6_FRAGMENT: u8 = 44;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// TCP header up to the flags. RFC 9293 §3.1.
///
/// ```text
///  0              4 5  7 8              16                      31
/// +------------------------------+------------------------------+
/// |         source port          |       destination port       |
/// +------------------------------+------------------------------+
/// |                       sequence number                       |
/// |                    acknowledgment number                    |
/// +---------------+--------------+------------------------------+
/// |data offs. rsvd|    flags     |                               
/// +---------------+--------------+
/// ```
///
/// The data offset counts 32-bit words; all fields are big endian.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// Source port in the high, destination port in the low half.
    pub ports: u32,
    /// Data offset in the high four bits.
    pub data_offset: u8,
    /// See [`tcp_flag`].
    pub flags: u8,
}

impl Tcp {
    /// Reads what balancing needs of it, at `offset`.
    #[inline(always)]
    pub fn read(frame: &impl Frame, offset: usize) -> Option<Self> {
        let window = frame.window::<14>(offset)?;
        let (ports, data_offset, flags) = (window.u32::<0>(), window.u8::<12>(), window.u8::<13>());
        Some(Self {
            ports,
            data_offset,
            flags,
        })
    }
}

/// Bytes of a TCP header without options.
pub const TCP_BYTES: usize = 20;

/// TCP flags. RFC 9293 §3.1.
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
    /// All that is an event to a connection.
    pub const EVENTS: u8 = FIN | SYN | RST | ACK;
}

/// UDP header. RFC 768.
///
/// ```text
///  0      7 8     15 16    23 24    31
/// +--------+--------+--------+--------+
/// |   source port   | destination port|
/// +--------+--------+--------+--------+
/// |     length      |    checksum     |
/// +--------+--------+--------+--------+
/// ```
///
/// `length` counts header and data, in bytes; all fields are big endian.
#[derive(Clone, Copy, Debug)]
pub struct Udp {
    /// Source port in the high, destination port in the low half.
    pub ports: u32,
    /// Bytes of header and data.
    pub length: u16,
}

impl Udp {
    /// Reads what balancing needs of it, at `offset`.
    #[inline(always)]
    pub fn read(frame: &impl Frame, offset: usize) -> Option<Self> {
        let window = frame.window::<UDP_BYTES>(offset)?;
        Some(Self {
            ports: window.u32::<0>(),
            length: window.u16::<4>(),
        })
    }
}

/// Bytes of a UDP header.
pub const UDP_BYTES: usize = 8;

/// SCTP header and the head of its first chunk. RFC 9260 §3.1, §3.2.
///
/// ```text
///  0              7 8            15 16                           31
/// +------------------------------+------------------------------+
/// |         source port          |       destination port       |
/// +------------------------------+------------------------------+
/// |                      verification tag                       |
/// |                          checksum                           |
/// +---------------+--------------+------------------------------+
/// |  chunk type   | chunk flags  |         chunk length         |
/// +---------------+--------------+------------------------------+
/// ```
///
/// The chunk's length counts its head and its data, without the padding to four bytes; all fields are big
/// endian.
#[derive(Clone, Copy, Debug)]
pub struct Sctp {
    /// Source port in the high, destination port in the low half.
    pub ports: u32,
    /// See [`sctp_chunk`].
    pub chunk: u8,
    /// Bytes of the first chunk.
    pub chunk_length: u16,
}

impl Sctp {
    /// Reads what balancing needs of it, at `offset`.
    #[inline(always)]
    pub fn read(frame: &impl Frame, offset: usize) -> Option<Self> {
        let window = frame.window::<{ SCTP_BYTES + SCTP_CHUNK_BYTES }>(offset)?;
        Some(Self {
            ports: window.u32::<0>(),
            chunk: window.u8::<12>(),
            chunk_length: window.u16::<14>(),
        })
    }
}

/// Bytes of an SCTP header.
pub const SCTP_BYTES: usize = 12;

/// Bytes of a chunk's head.
pub const SCTP_CHUNK_BYTES: usize = 4;

/// Kinds of SCTP chunks that mean something to a connection. RFC 9260 §3.2.
pub mod sctp_chunk {
    /// The client begins.
    pub const INIT: u8 = 1;
    /// Answers `INIT`.
    pub const INIT_ACK: u8 = 2;
    /// Ends at once.
    pub const ABORT: u8 = 6;
    /// Ends.
    pub const SHUTDOWN: u8 = 7;
    /// Answers `SHUTDOWN`.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Complains.
    pub const ERROR: u8 = 9;
    /// Gives the cookie back.
    pub const COOKIE_ECHO: u8 = 10;
    /// Answers `COOKIE_ECHO`.
    pub const COOKIE_ACK: u8 = 11;
    /// Answers `SHUTDOWN_ACK`.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// Bytes of an ICMP error's header, both versions: type, code, checksum, four bytes that are unused in
/// the errors we send. RFC 792, RFC 4443 §2.1.
pub const ICMP_BYTES: usize = 8;
