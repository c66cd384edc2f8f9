//! What a table is made of.

use std::net::SocketAddr;

use api::{DestinationSettings, Origin, ServiceKey, ServiceSettings, Stats};
use config::Scheduler;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::rotation::Place;
use crate::schedule::{Cause, depends_on};
use crate::state::State;

/// Idle timeouts that were set at runtime (`--set`), in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutsSet {
    /// Established TCP.
    pub tcp: Option<u32>,
    /// TCP after the client's FIN.
    pub tcpfin: Option<u32>,
    /// UDP.
    pub udp: Option<u32>,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its number in the data plane.
    pub id: u32,
    /// Told apart from an earlier service of the same key.
    pub incarnation: u64,
    /// Which publication is the current one.
    pub publication: u64,
    /// Its settings.
    pub settings: ServiceSettings,
    /// Where it came from.
    pub origin: Origin,
    /// Destination ids, newest first.
    pub list: Vec<u32>,
    /// The scheduler's memory, as it was when the current rotation was published.
    pub place: Place,
    /// What the data plane's count of picks was then.
    pub picks: u64,
    /// Told apart from what its scheduler remembered under an earlier number: `lblc` and `lblcr` begin with nothing.
    #[serde(default)]
    pub memory: u64,
    /// Counters of deleted destinations that have left the trash.
    pub retired: Stats,
}

/// A real server's place in one virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The service.
    pub service: ServiceKey,
    /// Which of the services that had this key.
    pub incarnation: u64,
    /// Real address and port.
    pub address: SocketAddr,
    /// Its settings.
    pub settings: DestinationSettings,
    /// Its last weight that was not set to 0 by an edit: `mh` keeps a drained one's slots.
    pub last_weight: u32,
    /// Where it came from.
    pub origin: Origin,
    /// Counters at its zero point.
    pub base: Stats,
    /// How often it was given an upper threshold that lets it have more, or none: each time it is no more overloaded.
    #[serde(default)]
    pub reopenings: u64,
}

impl Destination {
    /// Takes over what `settings` says of thresholds. Of two edits in one step the first one counts too
    /// (`__ip_vs_update_dest` in `net/netfilter/ipvs/ip_vs_ctl.c`).
    pub(crate) fn reopen(&mut self, settings: &DestinationSettings) {
        let upper = settings.upper_threshold;
        if upper == 0 || upper > self.settings.upper_threshold {
            self.reopenings += 1;
        }
    }
}

/// A deleted destination. It comes back with its connections when it is added again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trashed {
    /// As it was.
    pub destination: Destination,
    /// Since when it has had no connection, in seconds.
    pub idle_since_s: Option<u64>,
}

/// How a real server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "link", rename_all = "kebab-case")]
pub enum Link {
    /// Not now.
    Unresolved {
        /// For people.
        reason: String,
    },
    /// It is this host.
    Local,
    /// By this MAC through this slot.
    Via {
        /// The real server's MAC.
        mac: [u8; 6],
        /// Egress slot.
        slot: u8,
    },
}

/// What the data plane knows of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reach", rename_all = "kebab-case")]
pub enum Reach {
    /// Its MAC is unknown.
    Unresolved,
    /// Deleted: packets of its connections are dropped.
    Gone,
    /// Packets go to the host.
    Local,
    /// Frames leave with this MAC through this slot.
    Via {
        /// The real server's MAC.
        mac: [u8; 6],
        /// Egress slot.
        slot: u8,
    },
}

/// An interface that frames leave through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// Its number in the kernel.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC: the source of forwarded frames.
    pub mac: [u8; 6],
}

/// A virtual address on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// The interface it is on.
    pub interface: String,
    /// Whether we put it there; only then we take it away.
    pub ours: bool,
}

/// What is written to disk before a plan is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// [`Saved::VERSION`] of the writer.
    pub version: u32,
    /// The state after the plan.
    pub state: State,
    /// The plan, to be carried out again when the writer did not live to do so.
    pub pending: Plan,
}

impl Saved {
    /// Changes when an older daemon could not read what a newer one writes.
    pub const VERSION: u32 = 2;
}

impl Link {
    /// Whether a frame can reach it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !matches!(self, Self::Unresolved { .. })
    }

    /// Nothing is known yet.
    #[must_use]
    pub fn unknown() -> Self {
        Self::Unresolved {
            reason: "no answer yet".to_owned(),
        }
    }
}

impl TimeoutsSet {
    /// These, and `others` where there is none.
    #[must_use]
    pub fn over(&self, others: api::Timeouts) -> api::Timeouts {
        api::Timeouts {
            tcp: self.tcp.unwrap_or(others.tcp),
            tcpfin: self.tcpfin.unwrap_or(others.tcpfin),
            udp: self.udp.unwrap_or(others.udp),
        }
    }
}

impl Service {
    /// Its scheduler.
    #[must_use]
    pub fn scheduler(&self) -> Scheduler {
        Scheduler::named(&self.settings.scheduler).unwrap_or(Scheduler::None)
    }

    pub(crate) fn depends_on(&self, cause: Cause) -> bool {
        depends_on(self.scheduler(), cause)
    }
}
