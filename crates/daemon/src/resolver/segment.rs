//! Frames of one segment: questions out, what others say in.

use std::net::IpAddr;

use netlink::arp::{self, Arp};
use netlink::ndp::{self, Ndp};
use netlink::{FrameSocket, Mac, NeighbourState, Netlink};
use tracing::debug;

use super::probe::Question;

/// An interface that real servers are behind.
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: Mac,
    pub(super) socket: FrameSocket,
}

/// What a frame says of an address.
pub(super) struct Said {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
    pub(super) mac: Mac,
    /// It was sent to us, as an answer.
    pub(super) answers: bool,
}

/// Reads a frame; `own` is the MAC of the interface it arrived on.
pub(super) fn read(frame: &[u8], interface: u32, own: Mac) -> Option<Said> {
    let said = if let Some(arp) = Arp::parse(frame) {
        Said {
            interface,
            address: arp.sender.into(),
            mac: arp.sender_mac,
            answers: arp.operation == arp::Operation::Reply && arp.to == own,
        }
    } else {
        let ndp = Ndp::parse(frame)?;
        let ndp::Operation::Advertisement { solicited, .. } = ndp.operation else {
            return None;
        };
        Said {
            interface,
            address: ndp.target.into(),
            // An answer to a question sent to one host may leave its MAC out (RFC 4861 4.4).
            mac: ndp.mac.unwrap_or(ndp.from),
            answers: solicited && ndp.to == own,
        }
    };
    let is_unicast = said.mac[0] & 1 == 0 && said.mac != [0; 6];
    is_unicast.then_some(said)
}

/// Asks one host, or everybody, who has `address`.
pub(super) fn ask(address: IpAddr, interface: &Interface, source: IpAddr, question: Question) {
    let frame = match (address, source) {
        (IpAddr::V4(address), IpAddr::V4(source)) => {
            let mut arp = Arp::request(interface.mac, source, address);
            if let Question::At(mac) = question {
                arp.to = mac;
            }
            arp.emit()
        }
        (IpAddr::V6(address), IpAddr::V6(source)) => {
            let mut ndp = Ndp::solicitation(interface.mac, source, address);
            if let Question::At(mac) = question {
                ndp.to = mac;
                ndp.destination = address;
            }
            ndp.emit()
        }
        // A source is always of the address's family.
        _ => return,
    };
    if let Err(error) = interface.socket.send(&frame) {
        debug!(%address, %error, "asking");
    }
}

/// Tells the kernel's table what was confirmed; it asks nobody about frames that pass below it.
pub(super) fn confirm(interface: u32, address: IpAddr, mac: Mac) {
    let written = Netlink::open().and_then(|netlink| {
        netlink.set_neighbour(interface, address, mac, NeighbourState::Reachable)
    });
    if let Err(error) = written {
        debug!(%address, %error, "writing the neighbour table");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 8];
    const THEIRS: Mac = [2, 0, 0, 0, 0, 7];

    fn reply(to: Mac, sender_mac: Mac) -> Arp {
        Arp {
            to,
            from: sender_mac,
            operation: arp::Operation::Reply,
            sender_mac,
            sender: [192, 0, 2, 11].into(),
            target_mac: to,
            target: [192, 0, 2, 2].into(),
        }
    }

    fn advertisement(to: Mac, solicited: bool, mac: Option<Mac>) -> Ndp {
        Ndp {
            to,
            from: THEIRS,
            source: "2001:db8::11".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            operation: ndp::Operation::Advertisement {
                solicited,
                overriding: true,
            },
            target: "2001:db8::11".parse().unwrap(),
            mac,
        }
    }

    /// Who said it, and whether it answers.
    fn heard(frame: &[u8]) -> Option<(Mac, bool)> {
        read(frame, 2, OWN).map(|said| (said.mac, said.answers))
    }

    #[test]
    fn only_what_was_sent_to_us_as_an_answer_answers() {
        assert_eq!(heard(&reply(OWN, THEIRS).emit()), Some((THEIRS, true)));
        assert_eq!(
            heard(&reply(arp::BROADCAST, THEIRS).emit()),
            Some((THEIRS, false))
        );
        let gratuitous = netlink::announce::frame(THEIRS, IpAddr::from([192, 0, 2, 11]));
        assert_eq!(heard(&gratuitous), Some((THEIRS, false)));
        assert_eq!(
            heard(&advertisement(OWN, true, Some(THEIRS)).emit()),
            Some((THEIRS, true))
        );
        assert_eq!(
            heard(&advertisement(OWN, false, Some(THEIRS)).emit()),
            Some((THEIRS, false))
        );
    }

    #[test]
    fn an_advertisement_without_a_mac_speaks_of_its_sender() {
        let frame = advertisement(OWN, true, None).emit();
        assert_eq!(heard(&frame), Some((THEIRS, true)));
    }

    #[test]
    fn a_mac_that_no_host_can_have_is_not_heard() {
        for mac in [[0; 6], [0xff; 6], [3, 0, 0, 0, 0, 7]] {
            assert_eq!(heard(&reply(OWN, mac).emit()), None);
        }
    }

    #[test]
    fn other_frames_say_nothing() {
        assert_eq!(heard(&[]), None);
        assert_eq!(heard(&[0; 60]), None);
    }
}
