//! What a virtual service is known by.
//!
//! Its text forms (`tcp:192.0.2.100:80`, `fwm:7`) are in [`crate::text`].

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// Transport protocol of a virtual service. Written `tcp`, `udp`, `sctp`; ordered by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293, IP protocol 6.
    Tcp,
    /// RFC 768, IP protocol 17.
    Udp,
    /// RFC 9260, IP protocol 132.
    Sctp,
}

/// Which addresses a service's clients have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Identity of a virtual service.
///
/// Ordered by mark (services by address have none and come first), family, protocol, address, port;
/// `ipvsadm -L` does so too, but for addresses far apart.
///
/// In JSON it is one string: `tcp:192.0.2.100:80`, `udp:[2001:db8::100]:53`, `fwm:7`, `fwm6:8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKey {
    /// Packets of one protocol to one virtual address and port; port 0 is every port that no other
    /// service has.
    Address {
        /// Transport protocol.
        protocol: Protocol,
        /// The virtual address and port.
        address: SocketAddr,
    },
    /// Packets with one firewall mark, whatever their address and protocol.
    Mark {
        /// The mark.
        mark: NonZeroU32,
        /// Of the packets.
        family: Family,
    },
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its number in IP headers.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol of this number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }

    /// As it is written: `tcp`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl ServiceKey {
    /// The virtual address and port; a service by mark has none.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address { address, .. } => Some(*address),
            Self::Mark { .. } => None,
        }
    }

    /// The transport protocol; a service by mark has none.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Address { protocol, .. } => Some(*protocol),
            Self::Mark { .. } => None,
        }
    }

    /// The firewall mark, if it is one by mark.
    #[must_use]
    pub fn mark(&self) -> Option<NonZeroU32> {
        match self {
            Self::Address { .. } => None,
            Self::Mark { mark, .. } => Some(*mark),
        }
    }

    /// Which addresses its clients have.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Address { address, .. } => Family::of(address.ip()),
            Self::Mark { family, .. } => *family,
        }
    }

    /// Whether its clients have IPv6 addresses.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.family() == Family::V6
    }

    /// The virtual port; 0 is every port, as a service by mark has it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address().map_or(0, |address| address.port())
    }
}

impl Ord for ServiceKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |key: &Self| {
            (
                key.mark().map_or(0, NonZeroU32::get),
                key.family(),
                key.protocol(),
                key.address().map(|address| (address.ip(), address.port())),
            )
        };
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for ServiceKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
