//! The table as it stands: everything a restarted daemon must know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use api::{DestinationSettings, Origin, ServiceKey, ServiceSettings, Stats};
use serde::{Deserialize, Serialize};

use crate::event::{Desired, Observed};
use crate::limits;
use crate::plan::Plan;
use crate::rotation::{Candidate, Place, Rotation};

/// Virtual services, their destinations, and how those are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Virtual services.
    pub services: BTreeMap<ServiceKey, Service>,
    /// Destinations of services, by id.
    pub destinations: BTreeMap<u32, Destination>,
    /// Deleted destinations that are remembered, by id.
    pub trash: BTreeMap<u32, Trashed>,
    /// How real servers are reached. One entry for each that is a listed destination.
    pub links: BTreeMap<IpAddr, Link>,
    /// Interfaces that frames leave through, by slot.
    pub egress: BTreeMap<u8, Egress>,
    /// Virtual addresses that this host should have.
    pub vips: BTreeMap<IpAddr, Vip>,
    /// Idle timeouts.
    pub timeouts: api::Timeouts,
    /// Those of them that were set at runtime.
    #[serde(default)]
    pub timeouts_set: TimeoutsSet,
    /// Connection behaviour.
    #[serde(default)]
    pub settings: api::Settings,
    /// Interfaces of the configuration.
    pub interfaces: Vec<String>,
    /// Whether virtual addresses are ours to add and remove.
    pub manage_vips: bool,
    /// The configuration that was applied last; forgotten at an orderly stop, so that the next
    /// start follows the file in everything it names.
    pub applied: Option<Desired>,
    /// Identity of the network namespace that interfaces and links are of.
    pub network: u64,
    /// Counts service incarnations and publications; each gets a number of its own.
    pub sequence: u64,
    /// Where the search for a free destination id goes on: an id rests as long as possible.
    pub last_id: u32,
}

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
    /// Where it came from.
    pub origin: Origin,
    /// Counters at its zero point.
    pub base: Stats,
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
    pub const VERSION: u32 = 1;
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

impl State {
    /// The destinations of a service, as its scheduler sees them.
    #[must_use]
    pub fn candidates(&self, service: &Service) -> Vec<Candidate> {
        let listed = service.list.iter();
        listed
            .filter_map(|id| {
                let destination = self.destinations.get(id)?;
                let link = self.links.get(&destination.address.ip());
                Some(Candidate {
                    id: *id,
                    weight: destination.settings.weight,
                    usable: link.is_some_and(Link::is_usable),
                })
            })
            .collect()
    }

    /// What the data plane must pick for a service.
    #[must_use]
    pub fn rotation(&self, service: &Service) -> Rotation {
        service.place.rotation(&self.candidates(service))
    }

    /// What the data plane must know of each destination, by id.
    #[must_use]
    pub fn reaches(&self) -> BTreeMap<u32, Reach> {
        let listed = self.destinations.iter();
        let gone = self.trash.keys().map(|id| (*id, Reach::Gone));
        listed
            .map(|(id, destination)| (*id, self.reach(destination)))
            .chain(gone)
            .collect()
    }

    /// Whether this is a destination of weight 0.
    #[must_use]
    pub fn is_drained(&self, id: u32) -> bool {
        let destination = self.destinations.get(&id);
        destination.is_some_and(|destination| destination.settings.weight == 0)
    }

    fn reach(&self, destination: &Destination) -> Reach {
        match self.links.get(&destination.address.ip()) {
            Some(Link::Via { mac, slot }) => Reach::Via {
                mac: *mac,
                slot: *slot,
            },
            Some(Link::Local) => Reach::Local,
            Some(Link::Unresolved { .. }) | None => Reach::Unresolved,
        }
    }

    /// Addresses whose traffic the data plane looks at: those of services, and those of deleted
    /// services whose connections live. Without any service everything goes to the host
    /// (`ipvs.md` 3.1).
    #[must_use]
    pub fn served_addresses(&self) -> Vec<IpAddr> {
        if self.services.is_empty() {
            return Vec::new();
        }
        let of_services = self.services.keys();
        let of_trash = self.trash.values().map(|gone| &gone.destination.service);
        let keys = of_services.chain(of_trash);
        let all: BTreeSet<IpAddr> = keys
            .filter_map(|key| key.address())
            .map(|address| address.ip())
            .collect();
        all.into_iter().collect()
    }

    /// Real servers whose links must be known.
    #[must_use]
    pub fn real_servers(&self) -> BTreeSet<IpAddr> {
        self.links.keys().copied().collect()
    }

    /// The id of a destination in a service's list.
    #[must_use]
    pub fn listed(&self, service: &Service, address: SocketAddr) -> Option<u32> {
        let mut ids = service.list.iter().copied();
        ids.find(|id| {
            self.destinations
                .get(id)
                .is_some_and(|destination| destination.address == address)
        })
    }

    /// This state as the aim of the way back from `failed`, a later one that was carried out in
    /// part: what it published otherwise is published anew, from where the data plane stands.
    #[must_use]
    pub fn restored(&self, failed: &Self, observed: &Observed) -> Self {
        let mut restored = self.clone();
        // Numbers that the failed step gave stay given: its publications must not look like ours.
        restored.sequence = failed.sequence;
        let is_other = |(key, service): (&ServiceKey, &Service)| {
            failed
                .services
                .get(key)
                .is_none_or(|other| other.publication != service.publication)
                .then_some(*key)
        };
        let others: Vec<ServiceKey> = self.services.iter().filter_map(is_other).collect();
        for key in others {
            restored.rework(&key, observed, |_, _| {});
        }
        restored
    }

    pub(crate) fn settle_all(&mut self, observed: &Observed) {
        let keys: Vec<ServiceKey> = self.services.keys().copied().collect();
        for key in keys {
            self.rework(&key, observed, |_, _| {});
        }
    }

    /// Changes a service: brings its place up to date, lets `change` edit it, and has it
    /// published anew. Does nothing when there is no such service.
    pub(crate) fn rework(
        &mut self,
        key: &ServiceKey,
        observed: &Observed,
        change: impl FnOnce(&mut Self, &mut Service),
    ) {
        let Some(mut service) = self.services.remove(key) else {
            return;
        };
        if let Some(picks) = observed.picks.get(&service.id) {
            let since = picks.saturating_sub(service.picks);
            service.place = service.place.after(&self.candidates(&service), since);
            service.picks = *picks;
        }
        service.publication = self.number();
        change(self, &mut service);
        self.services.insert(*key, service);
    }

    /// Service numbers that are free, lowest first.
    pub(crate) fn free_service_ids(&self) -> impl Iterator<Item = u32> + use<> {
        let used: BTreeSet<u32> = self.services.values().map(|service| service.id).collect();
        (0..limits::SERVICES).filter(move |id| !used.contains(id))
    }

    /// A number never given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}
