//! How a real server is reached from here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink::{Mac, Netlink};

/// What stands in a check's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface towards the real server.
    pub interface: u32,
    /// That interface's MAC.
    pub own_mac: Mac,
    /// The real server's MAC.
    pub mac: Mac,
    /// The director's address, to which the real server replies.
    pub source: IpAddr,
}

impl Way {
    /// Finds the rest of the way to `server`, whose MAC and interface are known, in the calling
    /// thread's namespace. `vips` are never a source: the real server has them itself.
    pub fn find(
        server: IpAddr,
        mac: Mac,
        interface: u32,
        vips: &BTreeSet<IpAddr>,
    ) -> Result<Self, NoWay> {
        let netlink = Netlink::open()?;
        let link = netlink.link_by_index(interface)?;
        let all = netlink.addresses(Some(interface))?;
        let usable = |address: &IpAddr| {
            address.is_ipv4() == server.is_ipv4()
                && !is_link_local(address)
                && !vips.contains(address)
        };
        let near = all
            .iter()
            .filter(|own| !own.tentative && usable(&own.address))
            .max_by_key(|own| common_bits(own.address, server).min(own.prefix));
        let routed = || netlink.route_to(server).ok().flatten()?.source;
        let source = near
            .map(|own| own.address)
            .or_else(|| routed().filter(usable))
            .ok_or_else(|| NoWay::NoSource {
                interface: link.name.clone(),
                family: if server.is_ipv4() { "IPv4" } else { "IPv6" },
            })?;
        Ok(Self {
            interface,
            own_mac: link.mac,
            mac,
            source,
        })
    }
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// Nothing to send from.
    #[error(
        "{interface} has no {family} address to check from but virtual and link-local ones: give \
         it one of its own"
    )]
    NoSource {
        /// Towards the real server.
        interface: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// The kernel did not say.
    #[error(transparent)]
    Kernel(#[from] netlink::Error),
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn common_bits(one: IpAddr, other: IpAddr) -> u8 {
    let bits = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    };
    bits as u8
}
