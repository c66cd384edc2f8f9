//! Firewall marks: which packets have which, as `[[mark]]` says and iptables would.

use std::net::IpAddr;
use std::num::NonZeroU32;

use api::{Family, Protocol, ServiceKey};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::state::State;

/// Packets to these addresses and ports have this mark. Of several rules the first one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRule {
    /// The mark.
    pub mark: NonZeroU32,
    /// Of which packets; `None` for all that have ports.
    pub protocol: Option<Protocol>,
    /// Virtual addresses: the first bits of this one,
    pub address: IpAddr,
    /// and how many of them count.
    pub prefix: u8,
    /// First virtual port.
    pub first_port: u16,
    /// Last virtual port.
    pub last_port: u16,
}

impl From<&config::Mark> for MarkRule {
    fn from(mark: &config::Mark) -> Self {
        Self {
            mark: mark.mark,
            protocol: mark.protocol,
            address: mark.address,
            prefix: mark.prefix,
            first_port: mark.ports.0,
            last_port: mark.ports.1,
        }
    }
}

impl MarkRule {
    /// The service that its packets go to, if there is one.
    #[must_use]
    pub fn service(&self) -> ServiceKey {
        ServiceKey::Mark {
            mark: self.mark,
            family: Family::of(self.address),
        }
    }

    /// How many bits of an address do not count.
    fn host_bits(&self) -> u32 {
        let bits: u32 = if self.address.is_ipv4() { 32 } else { 128 };
        bits.saturating_sub(self.prefix.into())
    }

    /// Its addresses; `None` when they are too many to be looked at one by one.
    fn addresses(&self) -> Option<Vec<IpAddr>> {
        let count = 1_u32
            .checked_shl(self.host_bits())
            .filter(|count| *count > 0 && *count <= limits::MARK_ADDRESSES)?;
        let address = |n: u32| match self.address {
            IpAddr::V4(v4) => IpAddr::from((v4.to_bits() & !(count - 1) | n).to_be_bytes()),
            IpAddr::V6(v6) => {
                let first = v6.to_bits() & !u128::from(count - 1);
                IpAddr::from((first | u128::from(n)).to_be_bytes())
            }
        };
        Some((0..count).map(address).collect())
    }
}

/// Addresses that rules of served marks are about, and whether everything must be looked at instead.
pub(crate) fn looked_at(state: &State) -> (Vec<IpAddr>, bool) {
    let is_served = |rule: &&MarkRule| {
        let key = rule.service();
        state.services.contains_key(&key) || state.index.deleted_of(key).next().is_some()
    };
    let mut all = Vec::new();
    let mut everything = false;
    for rule in state.marks.iter().filter(is_served) {
        match rule.addresses() {
            Some(addresses) if all.len() + addresses.len() <= limits::MARKED_ADDRESSES => {
                all.extend(addresses);
            }
            _ => everything = true,
        }
    }
    (all, everything)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(address: &str, prefix: u8) -> MarkRule {
        MarkRule {
            mark: NonZeroU32::MIN,
            protocol: None,
            address: address.parse().unwrap(),
            prefix,
            first_port: 0,
            last_port: u16::MAX,
        }
    }

    #[test]
    fn small_networks_are_their_addresses_and_wide_ones_are_everything() {
        let count = |address, prefix| rule(address, prefix).addresses().map(|all| all.len());
        assert_eq!(count("192.0.2.1", 32), Some(1));
        assert_eq!(count("192.0.2.9", 24), Some(256));
        assert_eq!(count("192.0.2.9", 23), None);
        assert_eq!(count("0.0.0.0", 0), None);
        assert_eq!(count("2001:db8::", 128), Some(1));
        assert_eq!(count("2001:db8::", 64), None);
        assert_eq!(count("::", 0), None);
        let four = rule("192.0.2.9", 30).addresses().unwrap();
        assert_eq!(four[0], IpAddr::from([192, 0, 2, 8]));
        assert_eq!(four[3], IpAddr::from([192, 0, 2, 11]));
    }
}
