//! The frames that are fed, built by a library that is not ours.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;

/// The virtual address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The virtual address, IPv6.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);
/// The virtual port.
pub const PORT: u16 = 80;
/// MAC of the director.
pub const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 2];

const CLIENT: [u8; 4] = [10, 0, 0, 0];
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT_PORT: u16 = 40_000;

/// A kind of frame, and what becomes of it.
#[derive(Clone, Copy)]
pub enum Kind {
    /// For the floor program.
    Floor,
    /// To an address that is not virtual.
    Foreign,
    /// ACK of a TCP connection.
    Tcp,
    /// Datagram of a UDP connection.
    Udp,
    /// ACK of a TCP connection over IPv6.
    Tcp6,
    /// SYN of a flow never seen.
    New,
}

/// What the feeder is given.
pub struct Fed {
    /// The frame.
    pub frame: Vec<u8>,
    /// Whether it goes to the floor program.
    pub to_floor: bool,
    /// Offset of the four bytes that number the flow.
    pub flow_offset: u32,
    /// Number of the first flow.
    pub base: u32,
}

impl Kind {
    /// The XDP action it ends with.
    pub fn action(self) -> u32 {
        match self {
            Self::Foreign => 2,
            _ => 3,
        }
    }

    /// The frame that is timed.
    pub fn frame(self) -> Fed {
        match self {
            Self::Floor => Fed {
                to_floor: true,
                ..fed(tcp(VIP.octets(), false), CLIENT)
            },
            Self::Foreign => fed(tcp([203, 0, 113, 9], false), CLIENT),
            Self::Tcp => fed(tcp(VIP.octets(), false), CLIENT),
            Self::New => fed(tcp(VIP.octets(), true), [11, 0, 0, 0]),
            Self::Udp => fed(udp(), CLIENT),
            Self::Tcp6 => fed6(false),
        }
    }

    /// The frame that begins the flow.
    pub fn opening(self) -> Fed {
        match self {
            Self::Tcp => fed(tcp(VIP.octets(), true), CLIENT),
            Self::Tcp6 => fed6(true),
            other => other.frame(),
        }
    }
}

/// SYNs of flows never seen, to another port.
pub fn opening_at(port: u16) -> Fed {
    fed(segment(VIP.octets(), port, true), [11, 0, 0, 0])
}

fn fed(frame: Vec<u8>, base: [u8; 4]) -> Fed {
    Fed {
        frame,
        to_floor: false,
        flow_offset: 26,
        base: u32::from_be_bytes(base),
    }
}

fn fed6(is_syn: bool) -> Fed {
    let builder = PacketBuilder::ethernet2(CLIENT_MAC, DIRECTOR)
        .ipv6(CLIENT6.octets(), VIP6.octets(), 64)
        .tcp(CLIENT_PORT, PORT, 1, 64_240);
    let frame = if is_syn {
        build(builder.syn())
    } else {
        build(builder.ack(1))
    };
    // The last four bytes of the source address.
    Fed {
        frame,
        to_floor: false,
        flow_offset: 34,
        base: 0,
    }
}

fn tcp(to: [u8; 4], is_syn: bool) -> Vec<u8> {
    segment(to, PORT, is_syn)
}

fn segment(to: [u8; 4], port: u16, is_syn: bool) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(CLIENT_MAC, DIRECTOR)
        .ipv4(CLIENT, to, 64)
        .tcp(CLIENT_PORT, port, 1, 64_240);
    if is_syn {
        build(builder.syn())
    } else {
        build(builder.ack(1))
    }
}

fn udp() -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(CLIENT_MAC, DIRECTOR)
        .ipv4(CLIENT, VIP.octets(), 64)
        .udp(CLIENT_PORT, PORT);
    // Writing to a vector does not fail.
    let _ = builder.write(&mut frame, &[0; PAYLOAD]);
    frame
}

/// So many bytes that the head which the feeder puts back is inside every frame.
const PAYLOAD: usize = 32;

fn build(builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>) -> Vec<u8> {
    let mut frame = Vec::new();
    // Writing to a vector does not fail.
    let _ = builder.write(&mut frame, &[0; PAYLOAD]);
    frame
}
