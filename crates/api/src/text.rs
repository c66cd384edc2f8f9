//! The text forms of keys: `tcp:192.0.2.100:80`, `udp:[2001:db8::100]:53`, `fwm:7`, `fwm6:8`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Family, Protocol, ServiceKey};

/// A text that is not a service key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not a service: write tcp:ADDRESS:PORT, udp:ADDRESS:PORT or sctp:ADDRESS:PORT, IPv6 \
     addresses in brackets, or for a firewall mark fwm:MARK or fwm6:MARK"
)]
pub struct ParseError {
    /// The text.
    pub found: String,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, address } => write!(f, "{protocol}:{address}"),
            Self::Mark { mark, family } => write!(f, "{}:{mark}", prefix(*family)),
        }
    }
}

impl FromStr for ServiceKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        read(text).ok_or_else(|| ParseError {
            found: text.to_owned(),
        })
    }
}

fn read(text: &str) -> Option<ServiceKey> {
    let (kind, rest) = text.split_once(':')?;
    let family = [Family::V4, Family::V6]
        .into_iter()
        .find(|family| prefix(*family) == kind);
    if let Some(family) = family {
        let mark = rest.parse().ok()?;
        return Some(ServiceKey::Mark { mark, family });
    }
    Some(ServiceKey::Address {
        protocol: Protocol::ALL.into_iter().find(|one| one.name() == kind)?,
        address: rest.parse().ok()?,
    })
}

fn prefix(family: Family) -> &'static str {
    match family {
        Family::V4 => "fwm",
        Family::V6 => "fwm6",
    }
}

impl Serialize for ServiceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServiceKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, SocketAddr};
    use std::num::NonZeroU32;

    fn any_key() -> impl Strategy<Value = ServiceKey> {
        let protocol = proptest::sample::select(Protocol::ALL.to_vec());
        let address = (protocol, any::<IpAddr>(), any::<u16>()).prop_map(|(protocol, ip, port)| {
            let address = SocketAddr::new(ip, port);
            ServiceKey::Address { protocol, address }
        });
        let mark = (1..=u32::MAX, any::<bool>()).prop_map(|(mark, ipv6)| ServiceKey::Mark {
            mark: NonZeroU32::new(mark).unwrap(),
            family: if ipv6 { Family::V6 } else { Family::V4 },
        });
        prop_oneof![address, mark]
    }

    #[test]
    fn services_order_by_mark_then_family_then_protocol_then_address_then_port() {
        let sorted = [
            "tcp:192.0.2.9:443",
            "tcp:192.0.2.100:80",
            "tcp:192.0.2.100:443",
            "udp:192.0.2.1:53",
            "sctp:192.0.2.1:53",
            "tcp:[2001:db8::100]:80",
            "udp:[2001:db8::1]:53",
            "fwm:7",
            "fwm6:7",
            "fwm:8",
        ];
        let mut keys: Vec<ServiceKey> = sorted.iter().map(|text| text.parse().unwrap()).collect();
        keys.reverse();
        keys.sort();
        let printed: Vec<String> = keys.iter().map(ToString::to_string).collect();
        assert_eq!(printed, sorted);
    }

    #[test]
    fn a_text_that_is_not_a_service_is_refused_with_the_forms_that_are() {
        for text in [
            "",
            "tcp",
            "192.0.2.1:80",
            "dccp:192.0.2.1:80",
            "tcp:2001:db8::1:80",
            "tcp:192.0.2.1",
            "fwm:0",
            "fwm:",
            "fwm4:1",
            "fwm:4294967296",
        ] {
            let error = text.parse::<ServiceKey>().unwrap_err();
            assert!(error.to_string().contains("tcp:ADDRESS:PORT"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_service_key_survives_text_and_json(key in any_key()) {
            prop_assert_eq!(key.to_string().parse::<ServiceKey>().unwrap(), key);
            let json = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(serde_json::from_str::<ServiceKey>(&json).unwrap(), key);
        }

        #[test]
        fn the_order_of_keys_tells_all_of_them_apart(a in any_key(), b in any_key()) {
            prop_assert_eq!(a.cmp(&b) == std::cmp::Ordering::Equal, a == b);
        }
    }
}
