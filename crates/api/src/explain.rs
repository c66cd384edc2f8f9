//! What would become of a packet, and why.
//!
//! ```text
//! GET  /v1/explain?protocol=tcp&client=203.0.113.7:40000&virtual_address=192.0.2.100:80
//! POST /v1/explain  ExplainFrame
//! ```

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::conditions;
use crate::{Protocol, ServiceKey, TraceHop};

/// The packet that is asked about: the one that begins a connection (TCP SYN, SCTP INIT, a datagram).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Client address and port.
    pub client: SocketAddr,
    /// Virtual address and port.
    pub virtual_address: SocketAddr,
}

impl ExplainQuery {
    /// What follows the route: a `?` and the packet.
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

/// A frame of a capture that is asked about: `POST /v1/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainFrame {
    /// Its bytes from the Ethernet header on, in hexadecimal: as many as the capture kept.
    pub hex: String,
    /// Bytes that it had on the wire; what the capture did not keep counts as zeros.
    pub length: u32,
    /// Whether it is taken to be addressed to the director's MAC, whatever it was addressed to.
    #[serde(default)]
    pub to_director: bool,
}

/// Longest frame that can be asked about, in bytes.
pub const EXPLAIN_FRAME_BYTES: usize = 16 * 1024;

/// A frame in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedFrame {
    /// What it is: `TCP SYN`, `UDP`, `ICMP time exceeded`.
    pub what: String,
    /// As it arrives.
    pub hop: TraceHop,
    /// Whether it is addressed to an interface of the director. Other frames are not balanced.
    pub is_to_director: bool,
    /// Bytes that the capture did not keep.
    pub missing: u32,
}

/// What would become of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The packet; nothing where a frame was given that is neither TCP, UDP nor SCTP.
    #[serde(flatten)]
    pub query: Option<ExplainQuery>,
    /// The frame that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<ExplainedFrame>,
    /// The generation of the configuration that it was decided under.
    #[serde(default)]
    pub generation: u64,
    /// The service that schedules it; a known connection is not asked for its service.
    #[serde(default)]
    pub service: Option<ServiceKey>,
    /// Its scheduler.
    #[serde(default)]
    pub scheduler: Option<String>,
    /// What decided on the destination, or that there is none.
    pub decision: Decision,
    /// What becomes of it.
    pub fate: Fate,
    /// The same if that destination did not answer any more to ARP or neighbour discovery; nothing where there
    /// is no destination.
    #[serde(default)]
    pub otherwise: Option<Fate>,
}

/// The real server that is asked about: `GET /v1/explain/server?server=192.0.2.11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerQuery {
    /// Its address.
    pub server: IpAddr,
}

impl ServerQuery {
    /// What follows the route: a `?` and the server.
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

/// Whose packets go to a real server, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerExplanation {
    /// Its address.
    pub server: IpAddr,
    /// The generation of the configuration.
    pub generation: u64,
    /// Services that it is a destination of, in listing order; none if it is nobody's.
    pub services: Vec<ServerShare>,
}

/// What a real server gets of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerShare {
    /// The service.
    pub service: ServiceKey,
    /// Its scheduler.
    pub scheduler: String,
    /// Whether clients come back to their server.
    pub is_persistent: bool,
    /// Which part of its new clients would go there, in hundredths of a percent; nothing where that cannot be
    /// computed.
    pub share: Option<u32>,
    /// Clients that were tried for it, one after another by the packet path's own code, each of them staying;
    /// 0 where the part is exact.
    pub sample: u32,
    /// What it is there, and what it has.
    #[serde(flatten)]
    pub destination: crate::Destination,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// What happens to the frame.
    pub verdict: Verdict,
    /// The counter that moves (`dirigo status`).
    pub counter: String,
    /// The real server that it is for, whether or not it gets there.
    #[serde(default)]
    pub destination: Option<SocketAddr>,
    /// Where the frame goes.
    #[serde(default)]
    pub mac: Option<String>,
    /// By which interface.
    #[serde(default)]
    pub interface: Option<String>,
}

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is the host's.
    Pass,
    /// It goes nowhere.
    Drop,
    /// It leaves by the interface it came in by.
    Transmit,
    /// It leaves by another interface.
    Redirect,
    /// Its sender gets an ICMP error.
    Reply,
}

/// What decided on a destination, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Decision {
    /// Nothing: it did not come to that.
    None,
    /// It belongs to a connection.
    Connection {
        /// Its state, as IPVS writes it.
        state: String,
        /// Seconds until it would be forgotten.
        expires_s: u64,
    },
    /// A persistence template.
    Template,
    /// The turn in a rotation (`rr`, `wrr`).
    Rotation {
        /// The position.
        position: u64,
        /// Positions until it begins again.
        cycle: u64,
    },
    /// A slot of a hash table (`sh`, `dh`, `mh`).
    Table {
        /// The slot.
        slot: u32,
        /// How many there are.
        slots: u32,
        /// How many were looked at: more than one by `sh-fallback` or `mh-fallback`.
        tried: u32,
        /// Whose the slot is, whether or not it may be given the packet.
        #[serde(default)]
        destination: Option<SocketAddr>,
    },
    /// The best of all destinations, at this moment.
    List {
        /// How many there are.
        destinations: u32,
        /// Whether it was drawn (`twos`): another packet may draw another.
        is_drawn: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_survives_its_text() {
        for (client, virtual_address) in [
            ("203.0.113.7:40000", "192.0.2.100:80"),
            ("[2001:db8::7]:1", "[2001:db8::100]:53"),
        ] {
            let query = ExplainQuery {
                protocol: Protocol::Udp,
                client: client.parse().unwrap(),
                virtual_address: virtual_address.parse().unwrap(),
            };
            let text = query.to_text();
            assert_eq!(ExplainQuery::from_text(&text[1..]).unwrap(), query);
        }
        assert!(ExplainQuery::from_text("protocol=tcp").is_err());
    }
}
