//! The table and the daemon as they stand.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{DestinationSettings, Protocol, ServiceKey, ServiceSettings, Settings, Timeouts};

/// Packets and bytes since the counters were zeroed. What a listing shows is up to 2 s old, as in IPVS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients accepted for forwarding.
    pub packets: u64,
    /// Their bytes, counted as IP packet length.
    pub bytes: u64,
    /// Packets back to clients that the director saw: in direct routing only ICMP errors of its own.
    pub out_packets: u64,
    /// Their bytes.
    pub out_bytes: u64,
}

/// Per second, over some seconds (`--rate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// `CPS`: connections.
    pub connections: u64,
    /// `InPPS`: packets from clients.
    pub packets: u64,
    /// `InBPS`: their bytes.
    pub bytes: u64,
    /// `OutPPS`: packets to clients.
    pub out_packets: u64,
    /// `OutBPS`: their bytes.
    pub out_bytes: u64,
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
    /// Rates.
    #[serde(default)]
    pub rates: Rates,
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
    /// Whether it has reached its upper threshold: new connections pass it by until it is below the lower
    /// one.
    #[serde(default)]
    pub overloaded: bool,
    /// Counters.
    pub stats: Stats,
    /// Rates.
    #[serde(default)]
    pub rates: Rates,
    /// How frames reach it now, or why they cannot.
    pub link: LinkState,
    /// While it is in maintenance: the weight that it has again afterwards. That of the settings is then 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_weight: Option<u32>,
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
    /// Transport protocol; the template of a firewall mark has none and is listed as `IP`, with its mark
    /// for a virtual address (`0.0.0.7:0`).
    pub protocol: Option<Protocol>,
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
    /// Memory of the maps, in bytes; the connection table is nearly all of it.
    pub map_bytes: u64,
    /// Virtual services.
    #[serde(default)]
    pub services: u64,
    /// Destinations of all services together.
    #[serde(default)]
    pub destinations: u64,
    /// Deleted destinations that are remembered, for their connections.
    #[serde(default)]
    pub deleted: u64,
    /// Counters of all services together (`/proc/net/ip_vs_stats`).
    #[serde(default)]
    pub stats: Stats,
    /// Their rates.
    #[serde(default)]
    pub rates: Rates,
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// Connection behaviour.
    #[serde(default)]
    pub settings: Settings,
    /// The configuration that the table follows.
    #[serde(default)]
    pub configuration: crate::Configuration,
    /// Verdict counters by reason name.
    pub counters: std::collections::BTreeMap<String, u64>,
}
