//! What the daemon offers, as types: one vocabulary for the socket, the command line and tests.
//!
//! ```text
//! cli ── client (HTTP + JSON over /run/dirigo/<instance>.sock) ──► daemon's routes
//! ```
//!
//! | route | body → answer |
//! | --- | --- |
//! | `GET /v1/status` | → [`Status`] |
//! | `GET /v1/access` | → [`Access`]: what the caller may do |
//! | `GET /v1/services` | → [`Vec<Service>`] |
//! | `GET /v1/health` | → [`Vec<ServiceHealth>`](ServiceHealth), of services with checks |
//! | `GET /v1/segment` | → [`Segment`]: who answers for virtual addresses, how real servers are reached |
//! | `GET /v1/statistics` | [`StatisticsQuery`] after a `?` → [`Statistics`] every second (server-sent events) |
//! | `GET /v1/explain` | [`ExplainQuery`] after a `?` → [`Explanation`] |
//! | `POST /v1/trace` | [`TraceQuery`] → one [`TraceLine`] a line, until the client leaves |
//! | `GET /v1/connections` | [`ConnectionQuery`] after a `?` → one [`Connection`] a line (newline-delimited JSON, streamed) |
//! | `GET /metrics` | → Prometheus text or OpenMetrics ([`MetricsFormat`]) |
//! | `GET /v1/events` | [`EventQuery`] after a `?` → [`Event`]s as they come (server-sent events), or with `follow=false` the remembered ones, one a line |
//! | `GET /v1/openapi.json` | → all this as an OpenAPI document |
//! | `POST /v1/changes` | [`Change`] → nothing, or [`Refusal`] |
//! | `POST /v1/batches` | [`Vec<Change>`], at most [`BATCH_MAX`] → [`Vec<Option<Refusal>>`], one for each |
//! | `POST /v1/apply` | [`Apply`] → [`Applied`], or [`Refusal`] |
//! | `GET /v1/generations` | → [`Vec<Generation>`](Generation), oldest first |
//! | `GET /v1/plan` | → [`Plan`] of the daemon's own file |
//! | `POST /v1/plan` | [`ConfigTexts`] → [`Plan`] of these, or [`Refusal`]; changes nothing: who may read may ask |
//! | `GET /v1/drift` | → [`Drift`]: what was changed at runtime, and what it was |
//! | `POST /v1/rollback` | [`Rollback`] → [`Applied`], or [`Refusal`] |
//! | `GET /v1/maintenance` | → [`Vec<Maintenance>`](Maintenance), real servers that are held |
//! | `POST /v1/maintenance` | [`MaintenanceOrder`] → [`MaintenanceDone`], or [`Refusal`] |
//! | `POST /v1/stop` | [`Stop`] → nothing |
//!
//! Errors come as [`Refusal`] with a status of 4xx or 5xx.
//!
//! This room never opens a map or a netlink socket, and decides nothing.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

mod access;
mod apply;
mod behaviour;
mod client;
mod conditions;
mod event;
mod event_query;
mod explain;
mod flags;
mod health;
mod key;
mod lines;
mod maintenance;
mod mark;
mod metrics;
mod prefix;
mod query;
mod remote;
mod segment;
mod settings;
mod statistics;
mod text;
mod trace;
mod view;

pub use access::Access;
pub use apply::{
    Applied, Apply, ClientMoves, ConfigText, ConfigTexts, Configuration, DestinationDifference,
    Drift, Generation, GenerationOrigin, Moves, Plan, PlannedService, Rollback, ServiceDifference,
    SettingDifference,
};
pub use behaviour::{Settings, Timeouts};
pub use client::{Client, ClientError};
pub use event::{Author, Event, EventKind, EventLevel, Missed, Occurrence, Told};
pub use event_query::{EventQuery, KindError, Kinds};
pub use explain::{
    Decision, EXPLAIN_FRAME_BYTES, ExplainFrame, ExplainQuery, ExplainedFrame, Explanation, Fate,
    ServerExplanation, ServerQuery, ServerShare, Verdict,
};
pub use flags::SchedulerFlags;
pub use health::{CheckState, DestinationHealth, HealthState, ServiceHealth};
pub use key::{Family, Protocol, ServiceKey};
pub use maintenance::{Maintenance, MaintenanceDone, MaintenanceOrder, ServerName};
pub use mark::MarkRule;
pub use metrics::MetricsFormat;
pub use prefix::{Prefix, PrefixError};
pub use query::{ConnectionQuery, Endpoint, EndpointError};
pub use remote::{Remote, RemoteError};
pub use segment::{Claim, RealServer, Segment, VirtualAddress};
pub use settings::{
    DestinationSettings, ForwardingMethod, Netmask, Persistence, ServiceSettings, Tunnel,
    TunnelChecksum, TunnelKind,
};
pub use statistics::{
    DestinationFigures, EVERY_MAX, ServiceFigures, Statistics, StatisticsQuery, TotalFigures,
};
pub use text::ParseError;
pub use trace::{ChosenBy, TraceFrame, TraceHop, TraceLine, TraceQuery, TraceTally};
pub use view::{
    Connection, Destination, Interface, LinkState, Origin, Rates, Service, Stats, Status,
};

/// The instance that is meant when none is named.
pub const DEFAULT_INSTANCE: &str = "default";

/// Changes in one batch: enough that what a batch costs beside them (a file written, a round of the
/// socket) does not count, few enough that nobody waits long behind one.
pub const BATCH_MAX: usize = 4096;

/// Where an instance's daemon listens.
#[must_use]
pub fn socket_path(instance: &str) -> std::path::PathBuf {
    format!("/run/dirigo/{instance}.sock").into()
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
    /// `-Z`: counters and rates begin anew
    Zero {
        /// An existing service with its destinations; everything without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
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
    /// ESRCH on `-E`, `-D`, `-Z`, `-a`, `-e`, `-d`.
    NoSuchService,
    /// EEXIST on `-a`.
    DestinationExists,
    /// ENOENT on `-e`, `-d`.
    NoSuchDestination,
    /// ENOENT on `-A`, `-E`: a scheduler or a persistence engine that nobody has.
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
    /// The configuration is wrong, or asks for what this host cannot have.
    BadConfig,
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
