//! A virtual address that can be one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address a virtual service can have: one host's, and not this host's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip(IpAddr);

/// An address that cannot be a VIP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VipError {
    /// Not an address at all.
    #[error(
        "{found:?} is not an address: write it as 192.0.2.100 or 2001:db8::100, without a prefix"
    )]
    NotAnAddress {
        /// The text.
        found: String,
    },
    /// An address of a kind that no client can be sent to.
    #[error("{found} cannot be a VIP: it is {kind}; take a free address of the clients' network")]
    Kind {
        /// The address.
        found: IpAddr,
        /// What it is instead.
        kind: &'static str,
    },
}

impl Vip {
    /// The address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0
    }

    /// The prefix under which it stands on `lo`: itself alone.
    #[must_use]
    pub fn prefix(self) -> u8 {
        netlink::host_prefix(&self.0)
    }
}

impl TryFrom<IpAddr> for Vip {
    type Error = VipError;

    fn try_from(found: IpAddr) -> Result<Self, VipError> {
        let kind = match found {
            _ if found.is_unspecified() => "all zeros, which stands for no address",
            _ if found.is_multicast() => "a multicast group, which many hosts hold at once",
            _ if found.is_loopback() => "a loopback address, which never leaves its host",
            IpAddr::V4(four) if four.octets()[0] == 0 => "of the network 0, which is no host",
            IpAddr::V4(four) if four.is_broadcast() => "the broadcast address",
            IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => "an IPv4 address in IPv6 clothes",
            IpAddr::V6(six) if six.is_unicast_link_local() => {
                "link-local, which means nothing without an interface"
            }
            _ => return Ok(Self(found)),
        };
        Err(VipError::Kind { found, kind })
    }
}

impl FromStr for Vip {
    type Err = VipError;

    fn from_str(text: &str) -> Result<Self, VipError> {
        let address: IpAddr = text.parse().map_err(|_| VipError::NotAnAddress {
            found: text.to_owned(),
        })?;
        address.try_into()
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_a_vip_are_refused_with_the_reason() {
        for (text, reason) in [
            ("0.0.0.0", "all zeros"),
            ("::", "all zeros"),
            ("0.1.2.3", "network 0"),
            ("224.0.0.18", "multicast"),
            ("ff02::1", "multicast"),
            ("127.0.0.1", "loopback"),
            ("127.9.9.9", "loopback"),
            ("::1", "loopback"),
            ("255.255.255.255", "broadcast"),
            ("::ffff:192.0.2.1", "IPv4 address in IPv6"),
            ("fe80::1", "link-local"),
            ("192.0.2.1/32", "without a prefix"),
            ("web.example", "not an address"),
            ("", "not an address"),
        ] {
            let error = text.parse::<Vip>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_hosts_address_is_accepted_with_its_familys_longest_prefix() {
        assert_eq!("192.168.188.120".parse::<Vip>().unwrap().prefix(), 32);
        assert_eq!("2001:db8::120".parse::<Vip>().unwrap().prefix(), 128);
        assert_eq!("fd00::120".parse::<Vip>().unwrap().prefix(), 128);
    }
}
