//! Which connections are asked for.
//!
//! ```text
//! ?protocol=tcp&client=203.0.113.0/24&service=tcp:192.0.2.100:80&destination=192.0.2.11&state=ESTABLISHED&limit=10
//! ```
//!
//! All that is given must hold. It is decided where the table is, so that what nobody wants is neither
//! written nor read.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::conditions;
use crate::{Prefix, Protocol, ServiceKey};

/// Conditions for connections; without any, all are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionQuery {
    /// Transport protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The client's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Prefix>,
    /// The virtual service that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKey>,
    /// The real server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Endpoint>,
    /// As IPVS writes it, in any case: `ESTABLISHED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// No more than this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl ConnectionQuery {
    /// What follows the route: nothing, or a `?` and the conditions.
    #[must_use]
    pub fn to_text(&self) -> String {
        conditions::to_text(self)
    }

    /// Reads what follows the `?`.
    ///
    /// # Errors
    ///
    /// A sentence for people.
    pub fn from_text(text: &str) -> Result<Self, String> {
        conditions::from_text(text)
    }
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no address: write ADDRESS or ADDRESS:PORT, IPv6 addresses with a port in brackets"
)]
pub struct EndpointError {
    /// The text.
    pub found: String,
}

/// An address, with one port or with any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// `None` for any.
    pub port: Option<u16>,
}

impl Endpoint {
    /// Whether this is meant.
    #[must_use]
    pub fn matches(&self, address: SocketAddr) -> bool {
        self.address == address.ip() && self.port.is_none_or(|port| port == address.port())
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Ok(address) = text.parse() {
            return Ok(Self {
                address,
                port: None,
            });
        }
        let whole: SocketAddr = text.parse().map_err(|_| EndpointError {
            found: text.to_owned(),
        })?;
        Ok(Self {
            address: whole.ip(),
            port: Some(whole.port()),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

/// JSON and queries have the text forms.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Prefix, Endpoint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_condition_is_no_text() {
        assert_eq!(ConnectionQuery::default().to_text(), "");
    }

    #[test]
    fn a_query_survives_its_text() {
        for destination in [
            "192.0.2.11",
            "192.0.2.11:80",
            "2001:db8::11",
            "[2001:db8::11]:80",
        ] {
            let query = ConnectionQuery {
                protocol: Some(Protocol::Tcp),
                client: Some("2001:db8::/32".parse().unwrap()),
                service: Some("udp:[2001:db8::100]:53".parse().unwrap()),
                destination: Some(destination.parse().unwrap()),
                state: Some("SYN_RECV".to_owned()),
                limit: Some(7),
            };
            let text = query.to_text();
            assert!(
                text.starts_with('?') && text.is_ascii() && !text.contains('['),
                "{text}"
            );
            assert_eq!(ConnectionQuery::from_text(&text[1..]).unwrap(), query);
        }
    }

    #[test]
    fn a_query_that_cannot_be_read_is_refused_and_not_ignored() {
        for text in [
            "client=nobody",
            "limit=-1",
            "protocol=icmp",
            "colour=red",
            "destination=[::1]",
        ] {
            assert!(ConnectionQuery::from_text(text).is_err(), "{text}");
        }
    }
}
