//! ARP frames: asking who has an IPv4 address, and reading who says so.

use std::net::Ipv4Addr;

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Mac;

/// To everybody on the segment.
pub const BROADCAST: Mac = [0xff; 6];
/// EtherType of ARP.
const ETHERTYPE: u16 = 0x0806;

/// An ARP frame for IPv4 over Ethernet.
///
/// ```text
///  0                6                12      14
/// +----------------+----------------+-------+
/// | to             | from           | 0806  |
/// +-------+-------+---+---+----------+-------+
/// | hw: 1 | 0800  | 6 | 4 | operation|         14..22
/// +-------+-------+---+---+----------+
/// | sender MAC     | sender IP |                22..32
/// +----------------+-----------+
/// | target MAC     | target IP |                32..42
/// +----------------+-----------+
/// ```
///
/// Source: RFC 826. All fields big endian.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Wire {
    to: Mac,
    from: Mac,
    ethertype: U16,
    hardware: U16,
    protocol: U16,
    hardware_bytes: u8,
    protocol_bytes: u8,
    operation: U16,
    sender_mac: Mac,
    sender: [u8; 4],
    target_mac: Mac,
    target: [u8; 4],
}
const _: () = assert!(size_of::<Wire>() == 42);

/// What an ARP frame does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Who has the target?
    Request,
    /// The sender has it.
    Reply,
}

/// What an ARP frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arp {
    /// Ethernet destination.
    pub to: Mac,
    /// Ethernet source.
    pub from: Mac,
    /// Request or reply.
    pub operation: Operation,
    /// The sender's MAC, as ARP has it.
    pub sender_mac: Mac,
    /// The sender's address; receivers learn it.
    pub sender: Ipv4Addr,
    /// The target's MAC; zeros in a request.
    pub target_mac: Mac,
    /// The address asked for.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Asks the segment who has `target`. A `sender` of 0.0.0.0 is a probe that teaches nobody
    /// anything (RFC 5227 §2.1.1).
    #[must_use]
    pub fn request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            to: BROADCAST,
            from: mac,
            operation: Operation::Request,
            sender_mac: mac,
            sender,
            target_mac: [0; 6],
            target,
        }
    }

    /// Reads a frame; `None` if it is not ARP for IPv4 over Ethernet.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (wire, _padding) = Wire::read_from_prefix(frame).ok()?;
        let fits = wire.ethertype.get() == ETHERTYPE
            && wire.hardware.get() == 1
            && wire.protocol.get() == 0x0800
            && (wire.hardware_bytes, wire.protocol_bytes) == (6, 4);
        if !fits {
            return None;
        }
        Some(Self {
            to: wire.to,
            from: wire.from,
            operation: match wire.operation.get() {
                1 => Operation::Request,
                2 => Operation::Reply,
                _ => return None,
            },
            sender_mac: wire.sender_mac,
            sender: wire.sender.into(),
            target_mac: wire.target_mac,
            target: wire.target.into(),
        })
    }

    /// Writes the frame.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let wire = Wire {
            to: self.to,
            from: self.from,
            ethertype: ETHERTYPE.into(),
            hardware: 1.into(),
            protocol: 0x0800.into(),
            hardware_bytes: 6,
            protocol_bytes: 4,
            operation: match self.operation {
                Operation::Request => 1.into(),
                Operation::Reply => 2.into(),
            },
            sender_mac: self.sender_mac,
            sender: self.sender.octets(),
            target_mac: self.target_mac,
            target: self.target.octets(),
        };
        wire.as_bytes().to_vec()
    }
}
