//! Packets of the true path, and what their answers say.

use std::net::IpAddr;

use etherparse::{
    LaxPacketHeaders, LaxPayloadSlice, PacketBuilder, TcpOptionElement, TransportHeader,
};
use netlink::Mac;

/// Lifetime of our packets: they go to a neighbour.
const TTL: u8 = 64;
const WINDOW: u16 = 64_240;
/// What we could take if the connection went on.
const MSS: u16 = 1_460;

/// From whom to whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) from_mac: Mac,
    pub(super) to_mac: Mac,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// SYN and ACK: what the server expects next, and what it takes at once.
    Accepted { acknowledged: u32, mss: Option<u16> },
    /// RST.
    Reset,
    /// An ICMP error about our packet: the port is closed, or something else.
    Error { port_unreachable: bool },
    /// An echo.
    Echo,
}

/// A reply with what tells whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Who sent it; of an error, whom our packet was for.
    pub(super) from: IpAddr,
    /// Our port, or our echo's number.
    pub(super) number: u16,
    pub(super) reply: Reply,
}

macro_rules! begin {
    ($ends:expr) => {{
        let ends = $ends;
        let ethernet = PacketBuilder::ethernet2(ends.from_mac, ends.to_mac);
        match (ends.from, ends.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), TTL),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), TTL),
            // The caller takes an address of the other's family.
            _ => return Vec::new(),
        }
    }};
}

pub(super) fn syn(ends: &Ends, from_port: u16, to_port: u16, sequence: u32) -> Vec<u8> {
    let packet = begin!(ends).tcp(from_port, to_port, sequence, WINDOW).syn();
    let Ok(packet) = packet.options(&[TcpOptionElement::MaximumSegmentSize(MSS)]) else {
        return Vec::new();
    };
    let mut bytes = Vec::with_capacity(packet.size(0));
    match packet.write(&mut bytes, &[]) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Ends what [`syn`] began.
pub(super) fn reset(ends: &Ends, from_port: u16, to_port: u16, sequence: u32) -> Vec<u8> {
    let packet = begin!(ends).tcp(from_port, to_port, sequence, 0).rst();
    let mut bytes = Vec::with_capacity(packet.size(0));
    match packet.write(&mut bytes, &[]) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// An empty datagram.
pub(super) fn datagram(ends: &Ends, from_port: u16, to_port: u16) -> Vec<u8> {
    let packet = begin!(ends).udp(from_port, to_port);
    let mut bytes = Vec::with_capacity(packet.size(0));
    match packet.write(&mut bytes, &[]) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// An echo request that fills an IP packet of `packet_bytes`.
pub(super) fn echo(ends: &Ends, number: u16, packet_bytes: usize) -> Vec<u8> {
    let packet = begin!(ends);
    // Both families' ICMP header of an echo is eight bytes long.
    let headers = if ends.from.is_ipv4() { 28 } else { 48 };
    let data = vec![0x64; packet_bytes.saturating_sub(headers)];
    let mut bytes = Vec::with_capacity(packet_bytes + 14);
    let written = match ends.from {
        IpAddr::V4(_) => packet
            .icmpv4_echo_request(number, 1)
            .write(&mut bytes, &data),
        IpAddr::V6(_) => packet
            .icmpv6_echo_request(number, 1)
            .write(&mut bytes, &data),
    };
    match written {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Reads an answer; `None` if the frame is none.
pub(super) fn read(frame: &[u8]) -> Option<Heard> {
    let headers = LaxPacketHeaders::from_ethernet(frame).ok()?;
    let from = match headers.net.as_ref()? {
        etherparse::NetHeaders::Ipv4(ip, _) => IpAddr::V4(ip.source.into()),
        etherparse::NetHeaders::Ipv6(ip, _) => IpAddr::V6(ip.source.into()),
        etherparse::NetHeaders::Arp(_) => return None,
    };
    match headers.transport {
        Some(TransportHeader::Tcp(tcp)) => Some(Heard {
            from,
            number: tcp.destination_port,
            reply: tcp_reply(&tcp)?,
        }),
        Some(TransportHeader::Icmpv4(icmp)) => match icmp.icmp_type {
            etherparse::Icmpv4Type::EchoReply(echo) => Some(echoed(from, echo.id)),
            etherparse::Icmpv4Type::DestinationUnreachable(reason) => {
                let port = matches!(reason, etherparse::icmpv4::DestUnreachableHeader::Port);
                quoted(&headers.payload, port)
            }
            _ => None,
        },
        Some(TransportHeader::Icmpv6(icmp)) => match icmp.icmp_type {
            etherparse::Icmpv6Type::EchoReply(echo) => Some(echoed(from, echo.id)),
            etherparse::Icmpv6Type::DestinationUnreachable(reason) => {
                let port = matches!(reason, etherparse::icmpv6::DestUnreachableCode::Port);
                quoted(&headers.payload, port)
            }
            _ => None,
        },
        _ => first_fragment(from, &headers.payload),
    }
}

fn tcp_reply(tcp: &etherparse::TcpHeader) -> Option<Reply> {
    if tcp.rst {
        return Some(Reply::Reset);
    }
    if !(tcp.syn && tcp.ack) {
        return None;
    }
    let mss = tcp.options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
        _ => None,
    });
    Some(Reply::Accepted {
        acknowledged: tcp.acknowledgment_number,
        mss,
    })
}

fn echoed(from: IpAddr, number: u16) -> Heard {
    Heard {
        from,
        number,
        reply: Reply::Echo,
    }
}

/// A large echo may come back in pieces; the first has ICMP's header.
fn first_fragment(from: IpAddr, payload: &LaxPayloadSlice<'_>) -> Option<Heard> {
    let LaxPayloadSlice::Ip(ip) = payload else {
        return None;
    };
    let is_echo = ip.fragmented
        && ip.ip_number == etherparse::IpNumber::ICMP
        && ip.payload.first() == Some(&0);
    let number = u16::from_be_bytes([*ip.payload.get(4)?, *ip.payload.get(5)?]);
    is_echo.then(|| echoed(from, number))
}

/// The packet that an ICMP error is about: ours, if the port is.
fn quoted(payload: &LaxPayloadSlice<'_>, port_unreachable: bool) -> Option<Heard> {
    let bytes = match payload {
        LaxPayloadSlice::Icmpv4 { payload, .. } | LaxPayloadSlice::Icmpv6 { payload, .. } => {
            payload
        }
        _ => return None,
    };
    // IPv4 has its length in its first byte; IPv6 is 40 bytes, as we send it.
    let first = *bytes.first()?;
    let (to, header) = match first >> 4 {
        4 => {
            let to: [u8; 4] = bytes.get(16..20)?.try_into().ok()?;
            (IpAddr::from(to), usize::from(first & 0xf) * 4)
        }
        6 => {
            let to: [u8; 16] = bytes.get(24..40)?.try_into().ok()?;
            (IpAddr::from(to), 40)
        }
        _ => return None,
    };
    let port = bytes.get(header..header + 2)?;
    Some(Heard {
        from: to,
        number: u16::from_be_bytes([port[0], port[1]]),
        reply: Reply::Error { port_unreachable },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        Ends {
            from_mac: [2, 0, 0, 0, 0, 7],
            to_mac: [2, 0, 0, 0, 0, 8],
            from: [192, 0, 2, 7].into(),
            to: [192, 0, 2, 8].into(),
        }
    }

    /// A frame by hand: Ethernet, IPv4 of `protocol`, `rest`.
    fn frame(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let length = (20 + rest.len()) as u16;
        let mut bytes = vec![2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 7, 8, 0, 0x45, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, protocol, 0, 0, 192, 0, 2, 7, 192, 0, 2, 8]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn an_accepted_connection_tells_its_segment_size() {
        let tcp = [
            0, 80, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 10, 0x60, 0x12, 1, 0, 0, 0, 0, 0, 2, 4, 5, 0xb4,
        ];
        let heard = read(&frame(6, 0, &tcp)).unwrap();
        assert_eq!(heard.number, 40_000);
        let mss = Some(1_460);
        assert_eq!(
            heard.reply,
            Reply::Accepted {
                acknowledged: 10,
                mss
            }
        );
    }

    #[test]
    fn a_reset_is_told_from_a_segment_that_answers_nothing() {
        let mut tcp = [
            0, 80, 0x9c, 0x40, 0, 0, 0, 0, 0, 0, 0, 10, 0x50, 0x14, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(read(&frame(6, 0, &tcp)).unwrap().reply, Reply::Reset);
        tcp[13] = 0x10;
        assert_eq!(read(&frame(6, 0, &tcp)), None);
    }

    #[test]
    fn the_first_piece_of_a_large_echo_counts() {
        let icmp = [0, 0, 0, 0, 0x12, 0x34, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9];
        let whole = read(&frame(1, 0, &icmp)).unwrap();
        let first = read(&frame(1, 0x2000, &icmp)).unwrap();
        assert_eq!((whole.number, whole.reply), (0x1234, Reply::Echo));
        assert_eq!(first, whole);
    }

    #[test]
    fn an_error_is_about_the_packet_it_quotes() {
        let ours = syn(&ends(), 40_000, 80, 7);
        let icmp = [&[3, 3, 0, 0, 0, 0, 0, 0], &ours[14..42]].concat();
        let heard = read(&frame(1, 0, &icmp)).unwrap();
        assert_eq!((heard.from, heard.number), (ends().to, 40_000));
        let port_unreachable = true;
        assert_eq!(heard.reply, Reply::Error { port_unreachable });
    }

    #[test]
    fn an_echo_fills_the_packet_it_was_asked_to_fill() {
        assert_eq!(echo(&ends(), 1, 1_500).len(), 1_514);
        assert_eq!(echo(&ends(), 1, 64).len(), 78);
    }
}
