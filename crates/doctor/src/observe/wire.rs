//! Packets of the true path, and what their answers say.

use std::net::IpAddr;

use etherparse::{
    IpNumber, LaxPacketHeaders, LaxPayloadSlice, PacketBuilder, TcpOptionElement, TransportHeader,
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
    Error { unreachable: Unreachable },
    /// SCTP's INIT ACK. Its sender remembers nothing of it (RFC 9260 §5.1), so that there is nothing to end.
    Associated,
    /// SCTP's ABORT.
    Aborted,
    /// An echo.
    Echo,
}

/// What an ICMP error says cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// Nothing listens on the port.
    Port,
    /// The host does not speak the protocol.
    Protocol,
    /// Something else: a firewall, or a route.
    Other,
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

/// An INIT chunk (RFC 9260 §3.3.2) in a packet of its own, with our tag.
pub(super) fn init(ends: &Ends, from_port: u16, to_port: u16, tag: u32) -> Vec<u8> {
    const CHUNK_BYTES: u16 = 20;
    let mut packet = Vec::new();
    packet.extend(from_port.to_be_bytes());
    packet.extend(to_port.to_be_bytes());
    // The other side's tag is not known yet, and the checksum comes last.
    packet.extend([0; 8]);
    packet.extend([SCTP_INIT, 0]);
    packet.extend(CHUNK_BYTES.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend(u32::from(WINDOW).to_be_bytes());
    // One stream each way, and the first number.
    packet.extend([0, 1, 0, 1]);
    packet.extend(tag.to_be_bytes());
    // RFC 9260 appendix A: CRC32c, least significant byte first.
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&packet);
    if let Some(place) = packet.get_mut(8..12) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    let frame = begin!(ends);
    let mut bytes = Vec::with_capacity(frame.size(packet.len()));
    match frame.write(&mut bytes, IpNumber::SCTP, &packet) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

const SCTP_INIT: u8 = 1;
const SCTP_INIT_ACK: u8 = 2;
const SCTP_ABORT: u8 = 6;

/// An answer to our INIT: its first chunk says what it is.
fn sctp(from: IpAddr, packet: &[u8]) -> Option<Heard> {
    let number = u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]);
    let reply = match *packet.get(12)? {
        SCTP_INIT_ACK => Reply::Associated,
        SCTP_ABORT => Reply::Aborted,
        _ => return None,
    };
    Some(Heard {
        from,
        number,
        reply,
    })
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
                use etherparse::icmpv4::DestUnreachableHeader as Reason;
                let unreachable = match reason {
                    Reason::Port => Unreachable::Port,
                    Reason::Protocol => Unreachable::Protocol,
                    _ => Unreachable::Other,
                };
                quoted(&headers.payload, unreachable)
            }
            _ => None,
        },
        Some(TransportHeader::Icmpv6(icmp)) => match icmp.icmp_type {
            etherparse::Icmpv6Type::EchoReply(echo) => Some(echoed(from, echo.id)),
            etherparse::Icmpv6Type::DestinationUnreachable(reason) => {
                let unreachable = match reason {
                    etherparse::icmpv6::DestUnreachableCode::Port => Unreachable::Port,
                    _ => Unreachable::Other,
                };
                quoted(&headers.payload, unreachable)
            }
            // RFC 4443 §3.4, code 1: what IPv6 says for a protocol that is not spoken.
            etherparse::Icmpv6Type::ParameterProblem(problem)
                if problem.code
                    == etherparse::icmpv6::ParameterProblemCode::UnrecognizedNextHeader =>
            {
                quoted(&headers.payload, Unreachable::Protocol)
            }
            _ => None,
        },
        _ => match &headers.payload {
            LaxPayloadSlice::Ip(ip) if ip.ip_number == IpNumber::SCTP => sctp(from, ip.payload),
            payload => first_fragment(from, payload),
        },
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

/// The packet that an ICMP error is about: ours, if its port is.
fn quoted(payload: &LaxPayloadSlice<'_>, unreachable: Unreachable) -> Option<Heard> {
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
        reply: Reply::Error { unreachable },
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
        let unreachable = Unreachable::Port;
        assert_eq!(heard.reply, Reply::Error { unreachable });
        let ours = init(&ends(), 40_001, 80, 7);
        let icmp = [&[3, 2, 0, 0, 0, 0, 0, 0], &ours[14..42]].concat();
        let heard = read(&frame(1, 0, &icmp)).unwrap();
        let unreachable = Unreachable::Protocol;
        assert_eq!(
            (heard.number, heard.reply),
            (40_001, Reply::Error { unreachable })
        );
    }

    #[test]
    fn an_association_is_asked_for_with_a_right_checksum_and_its_answers_are_told_apart() {
        let ours = init(&ends(), 40_000, 80, 0x0102_0304);
        let packet = &ours[34..];
        assert_eq!(packet.len(), 32);
        // RFC 9260 appendix A, bit by bit: another way than the library's.
        let mut crc = u32::MAX;
        for byte in [&packet[..8], &[0; 4], &packet[12..]].concat() {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            }
        }
        assert_eq!(packet[8..12], (!crc).to_le_bytes());
        let answer = |chunk: u8| {
            let mut packet = vec![0, 80, 0x9c, 0x40];
            packet.extend([0; 8]);
            packet.extend([chunk, 0, 0, 4]);
            read(&frame(132, 0, &packet)).map(|heard| (heard.number, heard.reply))
        };
        assert_eq!(answer(2), Some((40_000, Reply::Associated)));
        assert_eq!(answer(6), Some((40_000, Reply::Aborted)));
        assert_eq!(answer(4), None, "a heartbeat answers nothing");
    }

    #[test]
    fn an_echo_fills_the_packet_it_was_asked_to_fill() {
        assert_eq!(echo(&ends(), 1, 1_500).len(), 1_514);
        assert_eq!(echo(&ends(), 1, 64).len(), 78);
    }
}
