//! ICMP errors about a connection: they go to its real server, or path-MTU discovery breaks.
//!
//! The quoted packet is one that the real server sent; read in reverse it names the flow.
//!
//! ```text
//! IP router → VIP │ ICMP error │ IP VIP → client │ ports … (8 bytes are enough)
//! ```
//!
//! RFC 792, RFC 4443, RFC 5927; `ip_vs_in_icmp` in `net/netfilter/ipvs/ip_vs_core.c`. Types of IPv4: 3, 4,
//! 11 and 12; of IPv6: all errors, which are those below 128. IPVS leaves type 12 to the host; it is an error
//! about the connection like the others.

use crate::address::{V4, V6, flow_hash};
use crate::frame::{Frame, Window};
use crate::headers::{ICMP_BYTES, IPV4_BYTES, IPV6_BYTES, Ipv4View, Ipv6View, protocol};
use crate::packet::{Header, Network, NetworkV4, NetworkV6};
use crate::tables::Settings;

/// Errors about a quoted packet.
pub trait Errors: Network {
    /// The protocol number of its ICMP.
    const ICMP: u8;

    /// Hash of the flow that the error in this packet is about; `None` when it is no error, or quotes no
    /// packet of a flow.
    fn quoted_flow(frame: &impl Frame, header: &Header<Self>, settings: &Settings) -> Option<u64>;
}

impl Errors for NetworkV4 {
    const ICMP: u8 = protocol::ICMP;

    #[inline(always)]
    fn quoted_flow(frame: &impl Frame, header: &Header<Self>, settings: &Settings) -> Option<u64> {
        let kind = frame.window::<ICMP_BYTES>(header.transport)?.u8::<0>();
        if !matches!(kind, 3 | 4 | 11 | 12) {
            return None;
        }
        let at = header.transport + ICMP_BYTES;
        let quoted = Ipv4View(frame.window::<IPV4_BYTES>(at)?);
        let header_len = usize::from(quoted.version_ihl() & 0xf) * 4;
        // A later fragment has no ports, only payload.
        let is_later = quoted.fragment() & 0x1fff != 0;
        if quoted.version_ihl() >> 4 != 4 || header_len < IPV4_BYTES || is_later {
            return None;
        }
        let end = header.transport + header.payload;
        let ports = reversed_ports(frame, at + header_len, end, quoted.protocol())?;
        let (client, virtual_address) = (V4(quoted.destination()), V4(quoted.source()));
        Some(flow_hash(
            client,
            virtual_address,
            ports,
            quoted.protocol(),
            &settings.hash_keys,
        ))
    }
}

impl Errors for NetworkV6 {
    const ICMP: u8 = protocol::ICMPV6;

    #[inline(always)]
    fn quoted_flow(frame: &impl Frame, header: &Header<Self>, settings: &Settings) -> Option<u64> {
        let kind = frame.window::<ICMP_BYTES>(header.transport)?.u8::<0>();
        if kind >= 128 {
            return None;
        }
        let at = header.transport + ICMP_BYTES;
        let quoted = Ipv6View(frame.window::<IPV6_BYTES>(at)?);
        if quoted.version() != 6 {
            return None;
        }
        let (kind, at) = first_transport(frame, quoted.next_header(), at + IPV6_BYTES)?;
        let end = header.transport + header.payload;
        let ports = reversed_ports(frame, at, end, kind)?;
        let (client, virtual_address) = (V6(quoted.destination()), V6(quoted.source()));
        Some(flow_hash(
            client,
            virtual_address,
            ports,
            kind,
            &settings.hash_keys,
        ))
    }
}

/// The transport header of a quoted IPv6 packet, behind the fragment header that a real server puts
/// there when it was told of a small MTU.
#[inline(always)]
fn first_transport(frame: &impl Frame, next: u8, at: usize) -> Option<(u8, usize)> {
    if next != protocol::IPV6_FRAGMENT {
        return Some((next, at));
    }
    let window = frame.window::<8>(at)?;
    let is_first = window.u16::<2>() >> 3 == 0;
    if is_first {
        Some((window.u8::<0>(), at + 8))
    } else {
        None
    }
}

/// The ports of the quoted transport header as the client's packets have them, if they are before the
/// packet's `end`: what follows it in the frame is nobody's word.
#[inline(always)]
fn reversed_ports(frame: &impl Frame, at: usize, end: usize, kind: u8) -> Option<u32> {
    if !matches!(kind, protocol::TCP | protocol::UDP | protocol::SCTP) || at + 4 > end {
        return None;
    }
    Some(frame.window::<4>(at)?.u32::<0>().rotate_left(16))
}
