//! As much of an IP packet as tells whose it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Protocol;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const IPV6_BYTES: usize = 40;
const TCP_RESET: u8 = 0x04;

/// One end of a packet, as the checks name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) from: End,
    pub(super) to: End,
    /// It resets its connection.
    pub(super) reset: bool,
}

/// A packet heard on a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It goes from one end to another.
    Answer(Packet),
    /// It is an error about this packet, whose lifetime it says is over, or not.
    Error { about: Packet, expired: bool },
}

/// Reads a packet that a check sends; `None` if none does.
pub(super) fn sent(packet: &[u8]) -> Option<Packet> {
    let (header, payload) = ip(packet)?;
    header.ends(payload)
}

/// Reads a packet that may answer one.
pub(super) fn heard(packet: &[u8]) -> Option<Heard> {
    let (header, payload) = ip(packet)?;
    if matches!(header.protocol, ICMP | ICMPV6)
        && let Some(expired) = is_error(header.protocol, *payload.first()?)
    {
        let about = sent(payload.get(8..)?)?;
        return Some(Heard::Error { about, expired });
    }
    Some(Heard::Answer(header.ends(payload)?))
}

struct Header {
    protocol: u8,
    from: IpAddr,
    to: IpAddr,
}

fn ip(packet: &[u8]) -> Option<(Header, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
            let header = Header {
                protocol: *packet.get(9)?,
                from: address::<4>(packet, 12).map(Ipv4Addr::from)?.into(),
                to: address::<4>(packet, 16).map(Ipv4Addr::from)?.into(),
            };
            Some((header, packet.get(header_bytes..)?))
        }
        6 => {
            let header = Header {
                protocol: *packet.get(6)?,
                from: address::<16>(packet, 8).map(Ipv6Addr::from)?.into(),
                to: address::<16>(packet, 24).map(Ipv6Addr::from)?.into(),
            };
            Some((header, packet.get(IPV6_BYTES..)?))
        }
        _ => None,
    }
}

impl Header {
    fn ends(&self, payload: &[u8]) -> Option<Packet> {
        let (protocol, from, to) = match self.protocol {
            TCP => (Protocol::Tcp, number(payload, 0)?, number(payload, 2)?),
            UDP => (Protocol::Udp, number(payload, 0)?, number(payload, 2)?),
            ICMP if matches!(payload.first()?, 0 | 8) => echo(payload)?,
            ICMPV6 if matches!(payload.first()?, 128 | 129) => echo(payload)?,
            _ => return None,
        };
        let end = |address, port| End {
            protocol,
            address,
            port,
        };
        let reset =
            self.protocol == TCP && payload.get(13).is_some_and(|flags| flags & TCP_RESET != 0);
        Some(Packet {
            from: end(self.from, from),
            to: end(self.to, to),
            reset,
        })
    }
}

fn echo(payload: &[u8]) -> Option<(Protocol, u16, u16)> {
    let identifier = number(payload, 4)?;
    Some((Protocol::Echo, identifier, identifier))
}

/// Whether an ICMP message is an error, and if so, whether it says that a lifetime is over.
fn is_error(protocol: u8, kind: u8) -> Option<bool> {
    match (protocol, kind) {
        (ICMP, 11) | (ICMPV6, 3) => Some(true),
        (ICMP, 3 | 12) | (ICMPV6, 1 | 2 | 4) => Some(false),
        _ => None,
    }
}

fn address<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

fn number(payload: &[u8], at: usize) -> Option<u16> {
    address::<2>(payload, at).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    const HERE: [u8; 4] = [10, 0, 0, 1];
    const VIP: [u8; 4] = [10, 0, 0, 100];

    fn end(protocol: Protocol, port: u16) -> End {
        End {
            protocol,
            address: IpAddr::from(HERE),
            port,
        }
    }

    fn answered(packet: &[u8]) -> Option<End> {
        match heard(packet)? {
            Heard::Answer(packet) => Some(packet.to),
            Heard::Error { .. } => None,
        }
    }

    #[test]
    fn an_answer_is_for_the_port_it_goes_to() {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4(VIP, HERE, 64)
            .tcp(80, 28_672, 1, 1)
            .rst();
        builder.write(&mut bytes, b"").unwrap();
        assert_eq!(answered(&bytes), Some(end(Protocol::Tcp, 28_672)));
        let packet = sent(&bytes).unwrap();
        assert!(packet.reset);
        assert_eq!(packet.from.port, 80);
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4(VIP, HERE, 64).icmpv4_echo_reply(30_000, 1);
        builder.write(&mut bytes, b"x").unwrap();
        assert_eq!(answered(&bytes), Some(end(Protocol::Echo, 30_000)));
    }

    #[test]
    fn an_error_is_about_the_packet_that_it_quotes() {
        let mut ours = Vec::new();
        let builder = PacketBuilder::ipv4(HERE, VIP, 1).udp(28_673, 53);
        builder.write(&mut ours, b"question").unwrap();
        for (expired, kind) in [
            (
                true,
                etherparse::Icmpv4Type::TimeExceeded(
                    etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit,
                ),
            ),
            (
                false,
                etherparse::Icmpv4Type::DestinationUnreachable(
                    etherparse::icmpv4::DestUnreachableHeader::Port,
                ),
            ),
        ] {
            let mut bytes = Vec::new();
            let builder = PacketBuilder::ipv4([10, 0, 0, 2], HERE, 64).icmpv4(kind);
            builder.write(&mut bytes, &ours[..28]).unwrap();
            let about = sent(&ours).unwrap();
            assert_eq!(about.from, end(Protocol::Udp, 28_673));
            assert_eq!(heard(&bytes), Some(Heard::Error { about, expired }));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _some = (sent(&bytes), heard(&bytes));
        }

        #[test]
        fn ports_and_addresses_of_ipv6_are_read_as_another_library_writes_them(
            from in any::<[u8; 16]>(), to in any::<[u8; 16]>(), ports in any::<(u16, u16)>(),
        ) {
            let mut bytes = Vec::new();
            PacketBuilder::ipv6(from, to, 1).udp(ports.0, ports.1).write(&mut bytes, b"x").unwrap();
            let packet = sent(&bytes).unwrap();
            prop_assert_eq!((packet.from.address, packet.from.port), (IpAddr::from(from), ports.0));
            prop_assert_eq!((packet.to.address, packet.to.port), (IpAddr::from(to), ports.1));
            prop_assert!(!packet.reset);
        }
    }
}
