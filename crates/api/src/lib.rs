//! What the daemon offers, as types: one vocabulary for the socket, the command line and tests.
//!
//! ```text
//! cli ── client (HTTP + JSON over /run/dirigo/<instance>.sock) ──► daemon's routes
//! ```
//!
//! | route | body → answer |
//! | --- | --- |
//! | `GET /v1/status` | → [`Status`] |
//! | `GET /v1/services` | → [`Vec<Service>`] |
//! | `GET /v1/connections` | [`ConnectionQuery`] after a `?` → one [`Connection`] a line (newline-delimited JSON, streamed) |
//! | `POST /v1/changes` | [`Change`] → nothing, or [`Refusal`] |
//! | `POST /v1/stop` | [`Stop`] → nothing |
//!
//! Errors come as [`Refusal`] with a status of 4xx or 5xx.
//!
//! This room never opens a map or a netlink socket, and decides nothing.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

mod client;
mod lines;
mod persistence;
mod prefix;
mod query;
mod text;
mod tunnel;

pub use client::{Client, ClientError};
pub use persistence::{Netmask, Persistence};
pub use prefix::{Prefix, PrefixError};
pub use query::{ConnectionQuery, Endpoint, EndpointError};
pub use text::ParseError;
pub use tunnel::{Tunnel, TunnelChecksum};

/// The instance that is meant when none is named.
pub const DEFAULT_INSTANCE: &str = "default";

/// Where an instance's daemon listens.
#[must_use]
pub fn socket_path(instance: &str) -> std::path::PathBuf {
    format!("/run/dirigo/{instance}.sock").into()
}

/// Transport protocol of a virtual service. Written `tcp`, `udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293, IP protocol 6.
    Tcp,
    /// RFC 768, IP protocol 17.
    Udp,
}

/// Identity of a virtual service. Orders by family, protocol, address, port; `ipvsadm -L` does so
/// too, but for addresses far apart.
///
/// In JSON it is one string, `tcp:192.0.2.100:80` or `udp:[2001:db8::100]:53`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The virtual address and port.
    pub address: SocketAddr,
}

/// How a frame reaches a destination. Only direct routing forwards today; the others are
/// named so that they can be refused by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingMethod {
    /// `-g`: the frame leaves with the real server's MAC.
    DirectRouting,
    /// `-i`: IP in IP, GUE or GRE.
    Tunnelling,
    /// `-m`: network address translation.
    Masquerading,
}

/// Settings of one virtual service, without its destinations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// Scheduler, named as in IPVS: `rr`, `wrr`.
    pub scheduler: String,
    /// Whether clients stay with a destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// `-o`: every datagram is scheduled anew and not remembered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_packet: bool,
}

/// Settings of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationSettings {
    /// How frames reach it.
    pub forwarding: ForwardingMethod,
    /// Share of new connections, 0 to 2147483647; 0 is drained.
    pub weight: u32,
    /// `-x`: no new connections at or above this many; 0 is no limit.
    pub upper_threshold: u32,
    /// `-y`: open again below this many; 0 is three quarters of the upper.
    pub lower_threshold: u32,
}

/// One change of the table, with IPVS's meaning of each (`-E` and `-e` replace everything).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// `-A`
    AddService {
        /// The new service.
        service: ServiceKey,
        /// Its settings.
        settings: ServiceSettings,
    },
    /// `-E`
    EditService {
        /// An existing service.
        service: ServiceKey,
        /// Its settings from now on, all of them.
        settings: ServiceSettings,
    },
    /// `-D`
    DeleteService {
        /// An existing service; its destinations go with it.
        service: ServiceKey,
    },
    /// `-C`
    Clear,
    /// `--set`
    SetTimeouts {
        /// In seconds; 0 leaves one as it is.
        timeouts: Timeouts,
    },
    /// `-a`
    AddDestination {
        /// An existing service.
        service: ServiceKey,
        /// The new destination's real address and port.
        destination: SocketAddr,
        /// Its settings.
        settings: DestinationSettings,
    },
    /// `-e`
    EditDestination {
        /// An existing service.
        service: ServiceKey,
        /// One of its destinations.
        destination: SocketAddr,
        /// Its settings from now on, all of them.
        settings: DestinationSettings,
    },
    /// `-d`
    DeleteDestination {
        /// An existing service.
        service: ServiceKey,
        /// One of its destinations.
        destination: SocketAddr,
    },
}

/// Why the daemon did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: what was found, what would be right, what to do.
    pub message: String,
}

/// Kinds of refusal. Those that IPVS knows carry the meaning of its errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// EEXIST on `-A`.
    ServiceExists,
    /// ESRCH on `-E`, `-D`, `-a`, `-e`, `-d`.
    NoSuchService,
    /// EEXIST on `-a`.
    DestinationExists,
    /// ENOENT on `-e`, `-d`.
    NoSuchDestination,
    /// ENOENT on `-A`, `-E`.
    NoSuchScheduler,
    /// ERANGE: weight or thresholds.
    OutOfRange,
    /// EINVAL: the address cannot be a destination.
    BadAddress,
    /// A scheduler, method or option that IPVS has and Dirigo has not yet.
    NotSupported,
    /// A limit of the tables is reached (`limits.rs`).
    Full,
    /// The peer may read but not change.
    NotPermitted,
    /// The request could not be read.
    BadRequest,
    /// The kernel refused; the message says what.
    Internal,
}

/// How to stop the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Also stop forwarding: detach the program, remove pins and VIPs.
    pub release: bool,
}

/// Packets and bytes since the counters were zeroed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients accepted for forwarding.
    pub packets: u64,
    /// Their bytes, counted as IP packet length.
    pub bytes: u64,
}

/// A virtual service as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Identity.
    pub service: ServiceKey,
    /// Settings.
    pub settings: ServiceSettings,
    /// Counters, those of deleted destinations included.
    pub stats: Stats,
    /// `config` or `runtime` (ipvsadm, API).
    pub origin: Origin,
    /// Newest first, as the kernel keeps them (`--nosort`).
    pub destinations: Vec<Destination>,
}

/// Where a service or destination came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The configuration file.
    Config,
    /// `ipvsadm` or the API.
    Runtime,
}

/// A destination as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Real address and port.
    pub destination: SocketAddr,
    /// Settings.
    pub settings: DestinationSettings,
    /// Where it came from.
    pub origin: Origin,
    /// `ActiveConn`.
    pub active: u32,
    /// `InActConn`.
    pub inactive: u32,
    /// `PersistConn`: persistence templates.
    #[serde(default)]
    pub templates: u32,
    /// Counters.
    pub stats: Stats,
    /// How frames reach it now, or why they cannot.
    pub link: LinkState,
}

/// What the kernel's neighbour table says of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum LinkState {
    /// Its MAC is known.
    Resolved {
        /// `02:00:00:00:00:07`
        mac: String,
        /// Egress interface.
        interface: String,
    },
    /// It is not eligible until this clears.
    Unresolved {
        /// For people, for example `no answer to ARP on eth0`.
        reason: String,
    },
    /// The director itself: frames go to the host.
    Local,
}

/// One remembered connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Client address and port.
    pub client: SocketAddr,
    /// Virtual address and port.
    pub virtual_address: SocketAddr,
    /// Real address and port.
    pub destination: SocketAddr,
    /// As IPVS writes it: `ESTABLISHED`, `SYN_RECV`, `UDP`.
    pub state: String,
    /// Seconds until it is forgotten.
    pub expires_s: u64,
}

/// One attached interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC.
    pub mac: String,
    /// `native` or `generic`.
    pub mode: String,
}

/// The daemon and its data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Instance name.
    pub instance: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Whether it found a data plane of an earlier run and took it over.
    pub adopted: bool,
    /// Interfaces with the program attached.
    pub interfaces: Vec<Interface>,
    /// Addresses it holds on them, as `address/prefix`.
    pub vips: Vec<String>,
    /// Connections remembered now.
    pub connections: u64,
    /// Connections that fit.
    pub connections_max: u64,
    /// Memory of the maps, in bytes.
    pub map_bytes: u64,
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// Connection behaviour.
    #[serde(default)]
    pub settings: Settings,
    /// Verdict counters by reason name.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// `ipvsadm -L --timeout`, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Established TCP.
    pub tcp: u32,
    /// TCP after the client's FIN.
    pub tcpfin: u32,
    /// UDP.
    pub udp: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: 900,
            tcpfin: 120,
            udp: 300,
        }
    }
}

/// Connection behaviour, named and by default as IPVS's settings of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// A connection of a deleted destination ends with its next packet, which may begin another.
    pub expire_nodest_conn: bool,
    /// A client of a drained destination gets another one.
    pub expire_quiescent_template: bool,
    /// TCP connections begin with any segment but RST.
    pub sloppy_tcp: bool,
    /// When a client begins anew on the same ports: 0 keeps its destination, 1 chooses again after
    /// the connection's end, 2 also while it ends.
    pub conn_reuse_mode: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            sloppy_tcp: false,
            conn_reuse_mode: 1,
        }
    }
}

/// Listing order of the families: v4 before v6.
#[must_use]
pub fn family_rank(address: &IpAddr) -> u8 {
    u8::from(address.is_ipv6())
}
