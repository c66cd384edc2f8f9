//! The four hosts: names, addresses, MACs. They are the experiment's, in both families.
//!
//! | host | IPv4 | IPv6 | MAC |
//! | --- | --- | --- | --- |
//! | client | 192.168.188.111 | 2001:db8:188::111 | 02:00:00:00:01:11 |
//! | director | 192.168.188.108 | 2001:db8:188::108 | 02:00:00:00:01:08 |
//! | rs1 | 192.168.188.107 | 2001:db8:188::107 | 02:00:00:00:01:07 |
//! | rs2 | 192.168.188.110 | 2001:db8:188::110 | 02:00:00:00:01:10 |
//! | the VIP | 192.168.188.120 | 2001:db8:188::120 | the director's |
//!
//! The last digits are the same everywhere, so a MAC in a table reads as its host. MACs are
//! locally administered; each lab has a segment of its own, so labs do not collide.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use netlink::Mac;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Port of the service and of the pages.
pub const PORT: u16 = 80;

/// Name of every host's interface.
pub const INTERFACE: &str = "eth0";

/// Address family of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4 and ARP.
    Ipv4,
    /// IPv6 and neighbour discovery.
    Ipv6,
}

/// One of the four hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// Asks.
    Client,
    /// Holds the VIP on its interface and forwards.
    Director,
    /// Real server 1: holds the VIP on `lo`.
    Rs1,
    /// Real server 2: the same.
    Rs2,
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Client, Self::Director, Self::Rs1, Self::Rs2];
    /// Those that serve.
    pub const SERVERS: [Self; 2] = [Self::Rs1, Self::Rs2];

    /// The word for it in commands, files and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Director => "director",
            Self::Rs1 => "rs1",
            Self::Rs2 => "rs2",
        }
    }

    /// The words for it in prose.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Director => "director",
            Self::Rs1 => "real server 1",
            Self::Rs2 => "real server 2",
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(self, family: Family) -> IpAddr {
        match self {
            Self::Client => family.host(111, 0x111),
            Self::Director => family.host(108, 0x108),
            Self::Rs1 => family.host(107, 0x107),
            Self::Rs2 => family.host(110, 0x110),
        }
    }

    /// The MAC it starts with.
    #[must_use]
    pub const fn mac(self) -> Mac {
        match self {
            Self::Client => [2, 0, 0, 0, 0x01, 0x11],
            Self::Director => [2, 0, 0, 0, 0x01, 0x08],
            Self::Rs1 => [2, 0, 0, 0, 0x01, 0x07],
            Self::Rs2 => [2, 0, 0, 0, 0x01, 0x10],
        }
    }

    /// Whose MAC it is.
    #[must_use]
    pub fn of_mac(mac: &Mac) -> Option<Self> {
        Self::ALL.into_iter().find(|host| host.mac() == *mac)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|host| host.name() == word);
        known.ok_or_else(|| Error::NoHost {
            found: word.to_owned(),
        })
    }
}

impl Family {
    fn host(self, low: u8, low6: u16) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::new(192, 168, 188, low).into(),
            Self::Ipv6 => Ipv6Addr::new(0x2001, 0xdb8, 0x188, 0, 0, 0, 0, low6).into(),
        }
    }

    /// The virtual address.
    #[must_use]
    pub fn vip(self) -> IpAddr {
        self.host(120, 0x120)
    }

    /// The virtual service.
    #[must_use]
    pub fn service(self) -> SocketAddr {
        (self.vip(), PORT).into()
    }

    /// Prefix of the segment.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        match self {
            Self::Ipv4 => 24,
            Self::Ipv6 => 64,
        }
    }

    /// How neighbours find each other: `ARP` or `neighbour discovery`.
    #[must_use]
    pub const fn resolution(self) -> &'static str {
        match self {
            Self::Ipv4 => "ARP",
            Self::Ipv6 => "neighbour discovery",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_have_exactly_the_addresses_of_the_experiment() {
        let addresses = Host::ALL.map(|host| host.address(Family::Ipv4).to_string());
        assert_eq!(
            addresses,
            [
                "192.168.188.111",
                "192.168.188.108",
                "192.168.188.107",
                "192.168.188.110"
            ]
        );
        assert_eq!(Family::Ipv4.service().to_string(), "192.168.188.120:80");
        assert_eq!(Family::Ipv6.service().to_string(), "[2001:db8:188::120]:80");
    }

    #[test]
    fn a_host_is_found_by_its_name_and_its_mac() {
        for host in Host::ALL {
            assert_eq!(host.name().parse::<Host>().unwrap(), host);
            assert_eq!(Host::of_mac(&host.mac()), Some(host));
        }
        assert!("rs3".parse::<Host>().is_err());
    }
}
