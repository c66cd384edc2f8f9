//! Neighbour discovery frames: the ARP of IPv6.

use std::net::Ipv6Addr;

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Mac;

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// EtherType of IPv6.
const ETHERTYPE: u16 = 0x86dd;
/// ICMPv6 in an IPv6 header.
const ICMPV6: u8 = 58;
/// Neighbour discovery is never forwarded, which this hop limit proves (RFC 4861 §7.1).
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;

/// Ethernet, IPv6 and ICMPv6 of a solicitation or advertisement, before its option.
///
/// ```text
/// +--------+--------+------+   0..14  to, from, 86dd
/// | version, class, flow   |  14..18
/// | payload | next | hops  |  18..22
/// | source          (16)   |  22..38
/// | destination     (16)   |  38..54
/// | type | code | checksum |  54..58
/// | flags | reserved       |  58..62
/// | target          (16)   |  62..78
/// +------------------------+
/// | option | length | MAC  |  78..86
/// +------------------------+
/// ```
///
/// Source: RFC 8200 §3, RFC 4861 §4.3, §4.4, §4.6.1. All fields big endian.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Wire {
    to: Mac,
    from: Mac,
    ethertype: U16,
    version: u8,
    class_and_flow: [u8; 3],
    payload_bytes: U16,
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
    kind: u8,
    code: u8,
    checksum: U16,
    flags: u8,
    reserved: [u8; 3],
    target: [u8; 16],
}
const _: () = assert!(size_of::<Wire>() == 78);

/// A link-layer address option.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MacOption {
    kind: u8,
    /// In units of eight bytes.
    length: u8,
    mac: Mac,
}
const _: () = assert!(size_of::<MacOption>() == 8);

/// What a neighbour discovery frame does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Who has the target?
    Solicitation,
    /// The sender has it.
    Advertisement {
        /// It answers a solicitation.
        solicited: bool,
        /// Receivers shall replace what they knew.
        overriding: bool,
    },
}

/// What a neighbour discovery frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ndp {
    /// Ethernet destination.
    pub to: Mac,
    /// Ethernet source.
    pub from: Mac,
    /// IPv6 source.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// Solicitation or advertisement.
    pub operation: Operation,
    /// The address asked for or announced.
    pub target: Ipv6Addr,
    /// The sender's MAC, if an option carries it.
    pub mac: Option<Mac>,
}

/// The Ethernet address of an IPv6 multicast group (RFC 2464 §7).
#[must_use]
pub fn multicast_mac(group: &Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The group on which an address is asked for (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node(address: &Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

impl Ndp {
    /// Asks the segment who has `target`. A `source` of `::` is a duplicate address probe, which
    /// carries no MAC (RFC 4861 §4.3).
    #[must_use]
    pub fn solicitation(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Self {
        let destination = solicited_node(&target);
        Self {
            to: multicast_mac(&destination),
            from: mac,
            source,
            destination,
            operation: Operation::Solicitation,
            target,
            mac: (!source.is_unspecified()).then_some(mac),
        }
    }

    /// Reads a frame; `None` if it is not a well-formed solicitation or advertisement.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (wire, rest) = Wire::read_from_prefix(frame).ok()?;
        let options_bytes = usize::from(wire.payload_bytes.get()).checked_sub(24)?;
        let options = rest.get(..options_bytes)?;
        let fits = wire.ethertype.get() == ETHERTYPE
            && wire.version >> 4 == 6
            && wire.next_header == ICMPV6
            && wire.hop_limit == HOP_LIMIT
            && wire.code == 0
            && checksum(&wire, options) == 0;
        if !fits {
            return None;
        }
        let (operation, option) = match wire.kind {
            SOLICITATION => (Operation::Solicitation, OPTION_SOURCE),
            ADVERTISEMENT => (
                Operation::Advertisement {
                    solicited: wire.flags & FLAG_SOLICITED != 0,
                    overriding: wire.flags & FLAG_OVERRIDE != 0,
                },
                OPTION_TARGET,
            ),
            _ => return None,
        };
        Some(Self {
            to: wire.to,
            from: wire.from,
            source: wire.source.into(),
            destination: wire.destination.into(),
            operation,
            target: wire.target.into(),
            mac: mac_option(options, option),
        })
    }

    /// Writes the frame.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let (kind, flags, option) = match self.operation {
            Operation::Solicitation => (SOLICITATION, 0, OPTION_SOURCE),
            Operation::Advertisement {
                solicited,
                overriding,
            } => {
                let solicited = if solicited { FLAG_SOLICITED } else { 0 };
                let overriding = if overriding { FLAG_OVERRIDE } else { 0 };
                (ADVERTISEMENT, solicited | overriding, OPTION_TARGET)
            }
        };
        let option = self.mac.map(|mac| MacOption {
            kind: option,
            length: 1,
            mac,
        });
        let options = option.as_ref().map_or(&[][..], IntoBytes::as_bytes);
        let mut wire = Wire {
            to: self.to,
            from: self.from,
            ethertype: ETHERTYPE.into(),
            version: 6 << 4,
            class_and_flow: [0; 3],
            payload_bytes: if option.is_some() { 32 } else { 24 }.into(),
            next_header: ICMPV6,
            hop_limit: HOP_LIMIT,
            source: self.source.octets(),
            destination: self.destination.octets(),
            kind,
            code: 0,
            checksum: 0.into(),
            flags,
            reserved: [0; 3],
            target: self.target.octets(),
        };
        wire.checksum = checksum(&wire, options).into();
        [wire.as_bytes(), options].concat()
    }
}

fn mac_option(mut options: &[u8], kind: u8) -> Option<Mac> {
    // Each round drops at least eight bytes, so a frame bounds the loop.
    while let Ok((option, _)) = MacOption::read_from_prefix(options) {
        if option.kind == kind && option.length == 1 {
            return Some(option.mac);
        }
        options = match usize::from(option.length) {
            0 => return None,
            length => options.get(length * 8..)?,
        };
    }
    None
}

/// ICMPv6's checksum over pseudo-header and message; 0 when the one in place is right.
///
/// Source: RFC 8200 §8.1, RFC 1071.
fn checksum(wire: &Wire, options: &[u8]) -> u16 {
    let message = wire.as_bytes().get(54..).unwrap_or_default();
    let parts = [&wire.source[..], &wire.destination[..], message, options];
    let mut sum = u32::from(wire.payload_bytes.get()) + u32::from(ICMPV6);
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
