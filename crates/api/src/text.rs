//! The text forms of keys: `tcp:192.0.2.100:80`, `udp:[2001:db8::100]:53`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Protocol, ServiceKey};

/// A text that is not a service key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not a service: write tcp:ADDRESS:PORT or udp:ADDRESS:PORT, IPv6 addresses in brackets"
)]
pub struct ParseError {
    /// The text.
    pub found: String,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol, self.address)
    }
}

impl FromStr for ServiceKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError {
            found: text.to_owned(),
        };
        let (protocol, address) = text.split_once(':').ok_or_else(wrong)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(wrong()),
        };
        Ok(Self {
            protocol,
            address: address.parse().map_err(|_| wrong())?,
        })
    }
}

impl Ord for ServiceKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |key: &Self| {
            (
                key.address.is_ipv6(),
                key.protocol,
                key.address.ip(),
                key.address.port(),
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
    use std::net::SocketAddr;

    fn key(protocol: bool, address: std::net::IpAddr, port: u16) -> ServiceKey {
        ServiceKey {
            protocol: if protocol {
                Protocol::Tcp
            } else {
                Protocol::Udp
            },
            address: SocketAddr::new(address, port),
        }
    }

    #[test]
    fn services_order_by_family_then_protocol_then_address_then_port() {
        let sorted = [
            "tcp:192.0.2.9:443",
            "tcp:192.0.2.100:80",
            "tcp:192.0.2.100:443",
            "udp:192.0.2.1:53",
            "tcp:[2001:db8::100]:80",
            "udp:[2001:db8::1]:53",
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
            "sctp:192.0.2.1:80",
            "tcp:2001:db8::1:80",
            "tcp:192.0.2.1",
        ] {
            let error = text.parse::<ServiceKey>().unwrap_err();
            assert!(error.to_string().contains("tcp:ADDRESS:PORT"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_service_key_survives_text_and_json(tcp: bool, address: std::net::IpAddr, port: u16) {
            let key = key(tcp, address, port);
            prop_assert_eq!(key.to_string().parse::<ServiceKey>().unwrap(), key);
            let json = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(serde_json::from_str::<ServiceKey>(&json).unwrap(), key);
        }
    }
}
