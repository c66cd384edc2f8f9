//! What is wanted of the checks, and what they tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::check::{Check, To};
use crate::probe::{Change, Standing};
use crate::service::{Effect, Quorum, Rules};

/// Which virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Transport protocol.
    pub protocol: Transport,
    /// Virtual address and port.
    pub address: SocketAddr,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
            Transport::Mark(mark) => return write!(f, "mark {mark} at {}", self.address),
        };
        write!(f, "{protocol} {}", self.address)
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
    /// No protocol of its own, but a firewall mark.
    Mark(u32),
}

/// Which probe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeKey {
    /// The real server.
    pub server: IpAddr,
    /// Where its packets go: a virtual address or the own one, and the port.
    pub to: SocketAddr,
    /// The check's name.
    pub check: Arc<str>,
}

/// What shall be checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Checks by name.
    pub checks: BTreeMap<Arc<str>, Check>,
    /// Services that have checks.
    pub services: BTreeMap<ServiceKey, Arc<WantedService>>,
}

/// A service and its checks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WantedService {
    /// What its health means.
    pub rules: Rules,
    /// Its destinations.
    pub destinations: BTreeMap<IpAddr, WantedDestination>,
}

impl WantedService {
    /// Whether a destination is checked by one of `checks`.
    pub(crate) fn uses_any(&self, checks: &BTreeSet<Arc<str>>) -> bool {
        let mut used = self.destinations.values().flat_map(|one| &one.checks);
        !checks.is_empty() && used.any(|name| checks.contains(name))
    }
}

/// A destination and its checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedDestination {
    /// Its configured weight.
    pub weight: u32,
    /// Names of its checks, all of which must pass. Without any it is always well.
    pub checks: Vec<Arc<str>>,
    /// What an earlier daemon knew: the restart of a daemon is no reason to begin anew.
    pub believed: Standing,
    /// Whether it is held for maintenance: checked as before, but not counted among those that serve.
    pub resting: bool,
}

/// Something that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A probe has changed its mind, or its reason.
    Probe {
        /// Which.
        key: ProbeKey,
        /// How.
        change: Change,
    },
    /// A destination shall be something else in the table.
    Destination {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        server: IpAddr,
        /// What it shall be; none if it is not this room's business any more.
        effect: Option<Effect>,
    },
    /// A service has gained or lost its quorum.
    Quorum {
        /// Which.
        service: ServiceKey,
        /// How.
        quorum: Quorum,
    },
    /// A sorry server begins or ends to serve.
    Sorry {
        /// Of which service.
        service: ServiceKey,
        /// Which real server.
        server: IpAddr,
        /// Whether it serves.
        serves: bool,
    },
    /// What is wanted has changed: all that is known of the services that changed with it, whoever knew what
    /// of them before.
    Configured {
        /// Services that are new, or others than before.
        services: Vec<Standings>,
        /// Probes that nobody wants any more.
        gone: Vec<ProbeKey>,
    },
    /// Checks have ended, for a service with omega.
    Ended {
        /// Of which service.
        service: ServiceKey,
    },
}

/// All that is known of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standings {
    /// Which.
    pub service: ServiceKey,
    /// What each of its destinations shall be.
    pub effects: BTreeMap<IpAddr, Effect>,
    /// Whether it has its quorum.
    pub held: bool,
    /// The sorry server, while it serves.
    pub sorry: Option<IpAddr>,
}

/// The probe by which a service checks a real server.
#[must_use]
pub fn probe_key(service: ServiceKey, server: IpAddr, name: &Arc<str>, check: &Check) -> ProbeKey {
    let address = match check.to {
        To::Vip => service.address.ip(),
        To::Own => server,
    };
    ProbeKey {
        server,
        to: SocketAddr::new(address, check.port.unwrap_or(service.address.port())),
        check: Arc::clone(name),
    }
}
