//! Decisions as they happen.
//!
//! ```text
//! POST /v1/trace  TraceQuery  ─►  {"frame": …}  {"frame": …}  {"tally": …}  …    until the client leaves
//! ```
//!
//! A tally comes every second, also when nothing happens, so that a client knows that its daemon lives, and the
//! daemon that its client does.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Endpoint, Prefix, Protocol, ServiceKey, Verdict};

/// Which frames are told of; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceQuery {
    /// Transport protocol.
    pub protocol: Option<Protocol>,
    /// The client's network.
    pub client: Option<Prefix>,
    /// The client's port; with one client and one service this is one connection.
    pub client_port: Option<u16>,
    /// The virtual service.
    pub service: Option<ServiceKey>,
    /// The real server.
    pub destination: Option<Endpoint>,
    /// Counters of the verdicts that are wanted, as `dirigo status` names them; empty for all that have to do with
    /// virtual services.
    pub verdicts: Vec<String>,
    /// Every verdict: also of ARP and of what is for this host or for nobody here.
    pub everything: bool,
    /// Every so manieth frame; nothing and 1 for each.
    pub one_in: Option<u32>,
    /// Frames in a second that each CPU may tell of; those beyond are counted.
    pub rate: Option<u32>,
    /// The frames themselves, as far as this many bytes.
    pub snap: Option<u32>,
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceLine {
    /// A frame was decided.
    Frame(Box<TraceFrame>),
    /// How many were.
    Tally(TraceTally),
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceFrame {
    /// When it was decided, nanoseconds since 1970.
    pub time_ns: u64,
    /// The CPU that did.
    pub cpu: u32,
    /// Its place among all frames of this CPU since the trace began.
    pub sequence: u64,
    /// What happened to it.
    pub verdict: Verdict,
    /// The counter that moved.
    pub counter: String,
    /// Other counters that moved: `connection_new`, `template_hit`, `evicted_expired` and such.
    #[serde(default)]
    pub events: Vec<String>,
    /// Interface that it came in by.
    pub interface: String,
    /// Interface that it left by.
    #[serde(default)]
    pub egress: Option<String>,
    /// Its service, where that is known.
    #[serde(default)]
    pub service: Option<ServiceKey>,
    /// Its real server.
    #[serde(default)]
    pub destination: Option<SocketAddr>,
    /// What chose the real server.
    #[serde(default)]
    pub chosen_by: Option<ChosenBy>,
    /// State of its connection, as IPVS writes it.
    #[serde(default)]
    pub state: Option<String>,
    /// What the packet is: `TCP SYN`, `UDP`, `ICMP time exceeded`.
    pub what: String,
    /// As it came.
    pub before: TraceHop,
    /// As it left, where it did.
    #[serde(default)]
    pub after: Option<TraceHop>,
}

/// A frame on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHop {
    /// Ethernet source.
    pub src_mac: String,
    /// Ethernet destination.
    pub dst_mac: String,
    /// IP source, with the port where there is one; port 0 where there is none.
    #[serde(default)]
    pub src: Option<SocketAddr>,
    /// IP destination, likewise.
    #[serde(default)]
    pub dst: Option<SocketAddr>,
    /// TTL or hop limit.
    #[serde(default)]
    pub ttl: Option<u8>,
    /// Bytes, Ethernet header included.
    pub len: u32,
    /// Its first bytes in hexadecimal, if they were asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hex: String,
}

/// What chose a frame's real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChosenBy {
    /// Its connection, or that of the packet that it is about.
    Connection,
    /// A persistence template of its client.
    Template,
    /// The service's scheduler.
    Scheduler,
    /// The first fragment of its packet.
    Fragment,
}

impl ChosenBy {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Template => "template",
            Self::Scheduler => "scheduler",
            Self::Fragment => "fragment",
        }
    }
}

/// Frames since the trace began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceTally {
    /// Decided by this data plane.
    pub seen: u64,
    /// Of these, wanted, as far as the kernel could tell.
    pub wanted: u64,
    /// Told of.
    pub told: u64,
    /// Left out by sampling.
    pub unsampled: u64,
    /// Left out because there were more than the rate allows.
    pub over_rate: u64,
    /// Left out because the reader was too slow.
    pub no_room: u64,
}

impl TraceTally {
    /// Wanted frames that were not told of though they should have been.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.over_rate + self.no_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_query_asks_for_all_and_an_unknown_key_for_nothing() {
        let query: TraceQuery = serde_json::from_str("{}").unwrap();
        assert_eq!(query, TraceQuery::default());
        assert!(serde_json::from_str::<TraceQuery>(r#"{"clients": 1}"#).is_err());
    }

    #[test]
    fn a_tally_is_a_line_by_its_name() {
        let line = TraceLine::Tally(TraceTally::default());
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.starts_with(r#"{"tally":{"seen":0"#), "{text}");
        assert_eq!(serde_json::from_str::<TraceLine>(&text).unwrap(), line);
    }
}
