//! What the actor gives to a scrape: names and numbers, no counters.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use api::{Origin, ServiceKey, Stats};
use control::LinkReport;
use dataplane::StateCount;

/// Counters and gauges, read by another thread than the actor's.
pub(crate) trait Readings: Send {
    /// What a destination was sent.
    fn stats(&self, id: u32) -> Stats;
    /// Active and inactive connections of a destination.
    fn gauges(&self, id: u32) -> (u32, u32);
    /// Whether a destination is passed by because of its threshold.
    fn is_overloaded(&self, id: u32) -> bool;
    /// Entries of the table that a service's number has.
    fn population(&self, service: u32) -> u64;
    /// Every counter by name.
    fn counters(&self) -> Vec<(&'static str, u64)>;
    /// The connection table by state: a walk over all of it.
    fn states(&self) -> Vec<StateCount>;
}

/// The daemon at one moment.
pub(crate) struct Snapshot {
    pub(crate) instance: String,
    pub(crate) uptime: Duration,
    pub(crate) adopted: bool,
    /// Of the configuration that is in effect.
    pub(crate) generation: u64,
    pub(crate) is_file_behind: bool,
    pub(crate) limits: config::Metrics,
    /// Name and mode of attached interfaces.
    pub(crate) interfaces: Vec<(String, &'static str)>,
    pub(crate) vips: usize,
    pub(crate) map_bytes: u64,
    pub(crate) slots: u64,
    pub(crate) services: Vec<ServiceRow>,
    /// Those of one service together.
    pub(crate) destinations: Vec<DestinationRow>,
    pub(crate) trash: Vec<TrashRow>,
    pub(crate) servers: Vec<ServerRow>,
    pub(crate) changes: Changes,
    pub(crate) health: Vec<HealthRow>,
    pub(crate) tally: Option<health::tally::Tally>,
    /// Counters of destinations that nobody remembers.
    pub(crate) retired: Stats,
    /// The zero point of all services together.
    pub(crate) base: Stats,
    pub(crate) readings: Box<dyn Readings>,
    /// How long the actor was busy with this.
    pub(crate) took: Duration,
}

/// A service.
pub(crate) struct ServiceRow {
    pub(crate) key: ServiceKey,
    pub(crate) number: u32,
    pub(crate) scheduler: String,
    pub(crate) origin: Origin,
    /// Counters of its destinations that nobody remembers.
    pub(crate) retired: Stats,
    /// Its destinations among all.
    pub(crate) destinations: Range<usize>,
}

/// A destination.
pub(crate) struct DestinationRow {
    pub(crate) id: u32,
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    /// Its counters' zero point.
    pub(crate) base: Stats,
    /// Whether its link is usable.
    pub(crate) is_reached: bool,
}

/// A deleted destination.
pub(crate) struct TrashRow {
    pub(crate) id: u32,
    /// Its service among all, if that is still there.
    pub(crate) service: Option<usize>,
    pub(crate) base: Stats,
}

/// A real server.
pub(crate) struct ServerRow {
    pub(crate) address: IpAddr,
    /// `resolved`, `unresolved` or `local`.
    pub(crate) link: &'static str,
    /// Changes of how it is reached.
    pub(crate) changes: u64,
}

/// The health of a service that has checks.
pub(crate) struct HealthRow {
    pub(crate) service: ServiceKey,
    pub(crate) quorum: bool,
    pub(crate) sorry: bool,
    /// Its real servers, and whether they are well, if that is known.
    pub(crate) servers: Vec<(IpAddr, Option<bool>)>,
}

/// Changes of how real servers are reached, counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// By real server; of those that are no more, none.
    pub(crate) of: BTreeMap<IpAddr, u64>,
    /// By what it was changed to.
    pub(crate) to: BTreeMap<&'static str, u64>,
}

impl Changes {
    /// Counts what the resolver told.
    pub(crate) fn count(&mut self, links: &[(IpAddr, LinkReport)]) {
        for (server, link) in links {
            *self.of.entry(*server).or_default() += 1;
            let to = match link {
                LinkReport::Via { .. } => "resolved",
                LinkReport::Unresolved { .. } => "unresolved",
                LinkReport::Local => "local",
            };
            *self.to.entry(to).or_default() += 1;
        }
    }
}
