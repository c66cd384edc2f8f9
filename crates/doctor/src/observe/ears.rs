//! Who has an address: asking the segment, and hearing everyone who says so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlink::arp::{self, Arp};
use netlink::ndp::{self, Ndp};
use netlink::{FrameSocket, Mac};

use crate::facts::{Claim, Host, Link};
use crate::limits::{CLAIMS_MAX, ROUND};

/// A socket on each interface, open from the first question to the last packet.
#[derive(Default)]
pub(crate) struct Ears {
    sockets: BTreeMap<u32, (FrameSocket, Mac)>,
    heard: BTreeMap<(u32, IpAddr, Mac), (u32, u32)>,
}

/// What a frame says: this address is at this MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    address: IpAddr,
    mac: Mac,
    answers: bool,
}

impl Ears {
    /// Listens on these interfaces and no others. Those that are open already stay so.
    pub(crate) fn open(&mut self, links: &[Link]) -> Result<(), netlink::Error> {
        let wanted = |index: &u32| links.iter().any(|link| link.index == *index);
        self.sockets.retain(|index, _| wanted(index));
        for link in links {
            if let Some((_, mac)) = self.sockets.get_mut(&link.index) {
                *mac = link.mac;
                continue;
            }
            let socket = FrameSocket::open_discovery(link.index)?;
            self.sockets.insert(link.index, (socket, link.mac));
        }
        Ok(())
    }

    /// Asks for every address on every interface, once, and listens for a while.
    ///
    /// Odd rounds ask without naming ourselves (0.0.0.0, RFC 5227), which teaches nobody anything;
    /// even ones with our own address, for hosts that answer only their own network.
    pub(crate) fn ask(&mut self, links: &[Link], host: &Host, addresses: &[IpAddr], round: u32) {
        for link in links {
            let Some((socket, mac)) = self.sockets.get(&link.index) else {
                continue;
            };
            for address in addresses {
                if let Some(frame) = question(host, link, *mac, *address, round) {
                    // An interface that went down says so to whoever looks at it.
                    let _sent = socket.send(&frame);
                }
            }
        }
        self.listen(ROUND);
    }

    /// Hears what is said until `time` has passed.
    pub(crate) fn listen(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while !self.sockets.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let mut heard = Vec::new();
            // One waits, the others are emptied; with several, none waits long.
            let each = left.min(Duration::from_millis(20)) / self.sockets.len() as u32;
            for (index, (socket, own)) in &mut self.sockets {
                let mut wait = each;
                while let Ok(Some(frame)) = socket.recv(Some(wait)) {
                    wait = Duration::ZERO;
                    if !frame.outgoing {
                        heard.extend(read(&frame.bytes, *own).map(|said| (*index, said)));
                    }
                }
            }
            for (index, said) in heard {
                self.keep(index, said);
            }
            if left.is_zero() {
                return;
            }
        }
    }

    /// What was heard since the last time it was taken away by [`Ears::forget`].
    pub(crate) fn claims(&mut self, host: &Host) -> Vec<Claim> {
        self.listen(Duration::ZERO);
        let claims = self
            .heard
            .iter()
            .filter_map(|((index, address, mac), counts)| {
                let link = host.links.iter().find(|link| link.index == *index)?;
                Some(Claim {
                    address: *address,
                    interface: link.name.clone(),
                    mac: *mac,
                    answers: counts.0,
                    announcements: counts.1,
                })
            });
        claims.collect()
    }

    /// Begins anew.
    pub(crate) fn forget(&mut self) {
        self.heard.clear();
    }

    fn keep(&mut self, index: u32, said: Said) {
        let key = (index, said.address, said.mac);
        if self.heard.len() >= CLAIMS_MAX && !self.heard.contains_key(&key) {
            return;
        }
        let counts = self.heard.entry(key).or_default();
        let count = if said.answers {
            &mut counts.0
        } else {
            &mut counts.1
        };
        *count = count.saturating_add(1);
    }
}

fn question(host: &Host, link: &Link, mac: Mac, target: IpAddr, round: u32) -> Option<Vec<u8>> {
    match (target, own_address(host, link, target)) {
        (IpAddr::V4(target), own) => {
            let own = own.filter(|own| round % 2 == 1 && *own != IpAddr::V4(target));
            let sender = match own {
                Some(IpAddr::V4(own)) => own,
                _ => std::net::Ipv4Addr::UNSPECIFIED,
            };
            Some(Arp::request(mac, sender, target).emit())
        }
        // A question from `::` would be a duplicate address probe, which may cost its owner the
        // address.
        (IpAddr::V6(target), Some(IpAddr::V6(own))) if own != target => {
            Some(Ndp::solicitation(mac, own, target).emit())
        }
        _ => None,
    }
}

/// An address of our own on a link, to be answered at; never a VIP, which others hold, too.
pub(super) fn own_address(host: &Host, link: &Link, towards: IpAddr) -> Option<IpAddr> {
    let usable = |held: &&crate::facts::Address| {
        held.interface == link.name
            && held.address.is_ipv4() == towards.is_ipv4()
            && held.address != towards
            && !held.tentative
            && !held.dad_failed
            && held.prefix < netlink::host_prefix(&held.address)
    };
    let mut found: Vec<_> = host.addresses.iter().filter(usable).collect();
    // The network of the one asked for first, link-local last.
    found.sort_by_key(|held| {
        let near = crate::netfilter::is_within(towards, held.address, held.prefix);
        (!near, held.deprecated)
    });
    found.first().map(|held| held.address)
}

fn read(frame: &[u8], own: Mac) -> Option<Said> {
    let said = if let Some(arp) = Arp::parse(frame) {
        Said {
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
            address: ndp.target.into(),
            mac: ndp.mac.unwrap_or(ndp.from),
            answers: solicited && ndp.to == own,
        }
    };
    let is_host = said.mac[0] & 1 == 0 && said.mac != [0; 6] && !said.address.is_unspecified();
    is_host.then_some(said)
}
