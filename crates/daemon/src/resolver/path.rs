//! Which way a real server is: on a segment we can reach, this host itself, or nowhere.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use netlink::{Address, Link, Netlink};

/// The way to one real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// It is an address of this host.
    Local,
    /// It cannot be reached by direct routing; for people.
    Unreachable(String),
    /// It is a neighbour.
    OnLink {
        /// The interface towards it.
        interface: u32,
        /// The address we ask from.
        source: IpAddr,
    },
}

/// What the ways are looked up in.
pub(crate) struct Map {
    netlink: Netlink,
    links: Vec<Link>,
    addresses: Vec<Address>,
    vips: BTreeSet<IpAddr>,
}

impl Map {
    /// Reads links and addresses; `vips` are never asked from.
    pub(crate) fn read(vips: &BTreeSet<IpAddr>) -> Result<Self, netlink::Error> {
        let netlink = Netlink::open()?;
        Ok(Self {
            links: netlink.links()?,
            addresses: netlink.addresses(None)?,
            netlink,
            vips: vips.clone(),
        })
    }

    /// The interface with this number.
    pub(crate) fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The way to `address`.
    pub(crate) fn path(&self, address: IpAddr) -> Path {
        let route = match self.netlink.route_to(address) {
            Ok(Some(route)) => route,
            Ok(None) => return Path::Unreachable(format!("no route to {address}")),
            Err(error) => return Path::Unreachable(error.to_string()),
        };
        if route.local {
            return Path::Local;
        }
        if let Some(gateway) = route.gateway {
            // IPVS would send it to the router, which would send the virtual address back.
            return Path::Unreachable(format!(
                "{address} is behind router {gateway}: direct routing needs it on a segment of \
                 the director"
            ));
        }
        let Some(link) = self.link(route.interface) else {
            return Path::Unreachable(format!("interface {} is gone", route.interface));
        };
        if link.loopback || link.no_arp {
            return Path::Unreachable(format!(
                "{} has no MAC addresses: direct routing needs an Ethernet segment",
                link.name
            ));
        }
        let interface = link.index;
        match self.source(interface, address, route.source) {
            Some(source) => Path::OnLink { interface, source },
            None => Path::Unreachable(format!(
                "{} has no IPv6 address to ask from but virtual ones: give it one, or bring its \
                 link-local address back",
                link.name
            )),
        }
    }

    /// An address to ask from: the real server learns it with our MAC, so it must not be a
    /// virtual one, which the real server has itself.
    fn source(&self, interface: u32, address: IpAddr, routed: Option<IpAddr>) -> Option<IpAddr> {
        let own = || {
            self.addresses.iter().filter(|own| {
                own.index == interface
                    && own.address.is_ipv4() == address.is_ipv4()
                    && !own.tentative
                    && !self.vips.contains(&own.address)
            })
        };
        let covering = own().find(|own| covers(own, address));
        let routed = routed.filter(|source| own().any(|own| own.address == *source));
        let link_local = own().find(|own| match own.address {
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        });
        covering
            .map(|own| own.address)
            .or(routed)
            .or(link_local.map(|own| own.address))
            // Nobody learns anything from this one, and it is answered all the same (RFC 5227).
            .or(address.is_ipv4().then_some(Ipv4Addr::UNSPECIFIED.into()))
    }
}

fn covers(own: &Address, address: IpAddr) -> bool {
    let subnet = control::HostAddress {
        interface: String::new(),
        address: own.address,
        prefix: own.prefix,
    };
    own.prefix < netlink::host_prefix(&own.address) && subnet.covers(address)
}
