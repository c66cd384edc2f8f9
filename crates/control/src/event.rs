//! What can happen, and what must be known of the world to answer it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::maintenance::Maintain;
use crate::mark::MarkRule;
use crate::state::State;

/// Something that may change the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Somebody asked for a change: `ipvsadm`, the API. For many at once there is [`crate::step_all`].
    Change(api::Change),
    /// The configuration was read.
    Config(Desired),
    /// The configuration was read, and shall count in everything: what was made or changed at runtime gives
    /// way to it.
    Apply {
        /// What it says.
        desired: Desired,
        /// The number that this state of the table shall have.
        generation: u64,
    },
    /// What the configuration says of some of its services, as the health of their destinations
    /// allows now.
    Services(Vec<DesiredService>),
    /// A real server is taken out of service for maintenance, or comes back.
    Maintain(Maintain),
    /// How real servers can be reached has changed: each with how it is reached now.
    Links(Vec<(IpAddr, LinkReport)>),
    /// An interface that frames may leave through, as it is now.
    Interface {
        /// Its number in the kernel.
        index: u32,
        /// Its name.
        name: String,
        /// Its MAC.
        mac: [u8; 6],
    },
    /// An interface is gone.
    InterfaceGone {
        /// Its number in the kernel.
        index: u32,
    },
    /// What the connections of deleted destinations do.
    Trash {
        /// Any clock that goes forward, in seconds.
        now_s: u64,
        /// By destination id.
        readings: BTreeMap<u32, TrashReading>,
    },
    /// A daemon takes over what an earlier one left.
    Resume,
}

/// The configuration, as far as the table goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Interfaces that client traffic arrives on; virtual addresses are put on one of them.
    pub interfaces: Vec<String>,
    /// Whether virtual addresses are ours to add, announce and remove.
    pub manage_vips: bool,
    /// Idle timeouts.
    pub timeouts: api::Timeouts,
    /// Connection behaviour.
    #[serde(default)]
    pub settings: api::Settings,
    /// Which packets have which firewall mark; of several rules the first one counts.
    #[serde(default)]
    pub marks: Vec<MarkRule>,
    /// Virtual services in file order.
    pub services: Vec<DesiredService>,
}

/// A virtual service of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredService {
    /// Which.
    pub key: api::ServiceKey,
    /// Its settings.
    pub settings: api::ServiceSettings,
    /// Its destinations in file order: the last one is the newest.
    pub destinations: Vec<(SocketAddr, api::DestinationSettings)>,
}

/// How a real server can be reached, as the network shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "link", rename_all = "kebab-case")]
pub enum LinkReport {
    /// Not now.
    Unresolved {
        /// For people.
        reason: String,
    },
    /// It is an address of this host.
    Local,
    /// Directly, by this MAC.
    Via {
        /// The real server's MAC.
        mac: [u8; 6],
        /// Number of the interface towards it.
        interface: u32,
    },
}

/// What a deleted destination's gauges and counters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashReading {
    /// Whether it has connections, active or inactive, or templates.
    pub busy: bool,
    /// Its counters.
    pub stats: api::Stats,
}

/// What must be read before an event is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Services, by number: how many picks were ever made?
    pub picks: Vec<u32>,
    /// Destinations, by id: what do the counters say?
    pub stats: Vec<u32>,
    /// Destinations, by id, and all together: what did the counters say when they were last shown?
    pub shown: Vec<u32>,
}

/// The answers, and the addresses of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Picks ever made, by service number; this count never goes back, not even when a number
    /// is used for another service.
    pub picks: BTreeMap<u32, u64>,
    /// Services, by number, whose last connection was refused because all destinations were overloaded, which renewed
    /// the cycle.
    #[serde(default)]
    pub renewed: BTreeSet<u32>,
    /// Counters by destination id; to be zeroed, as they were last shown.
    pub stats: BTreeMap<u32, api::Stats>,
    /// Counters of all together, as they were last shown.
    #[serde(default)]
    pub total: api::Stats,
    /// Addresses of this host.
    pub addresses: Vec<HostAddress>,
    /// How real servers are reached that may be new to the table.
    #[serde(default)]
    pub links: BTreeMap<IpAddr, LinkReport>,
}

/// An address of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAddress {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Length of its subnet's prefix.
    pub prefix: u8,
}

impl Observed {
    /// Whether the host owns `address`.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }
}

impl HostAddress {
    /// Whether `address` is in the subnet of this one.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix.min(32)))
                    .unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix.min(128)))
                    .unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Whether `address` is the broadcast address of this one's subnet. Subnets of one or two
    /// addresses have none (RFC 3021).
    #[must_use]
    pub fn has_broadcast(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else {
            return false;
        };
        let host = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        self.prefix < 31 && self.covers(address.into()) && address.to_bits() & host == host
    }
}

impl From<&config::Config> for Desired {
    fn from(config: &config::Config) -> Self {
        let services = config.services.iter().map(|service| DesiredService {
            key: service.key,
            settings: service.settings(),
            destinations: service
                .destinations
                .iter()
                .map(|destination| (destination.address, destination.settings()))
                .collect(),
        });
        Self {
            interfaces: config.interfaces.iter().map(ToString::to_string).collect(),
            manage_vips: config.manage_vips,
            timeouts: config.timeouts.into(),
            settings: config.settings,
            marks: config.marks.iter().map(MarkRule::from).collect(),
            services: services.collect(),
        }
    }
}

impl State {
    /// What must be observed before `event` is applied to this state.
    #[must_use]
    pub fn questions(&self, event: &Event) -> Questions {
        match event {
            Event::Change(change) => self.questions_of_changes(std::slice::from_ref(change)),
            Event::Links(reports) => {
                let servers = reports.iter().map(|(server, _)| *server);
                let services: BTreeSet<u32> = servers
                    .flat_map(|server| self.index.by_server.get(&server).into_iter().flatten())
                    .filter_map(|id| self.services.get(&self.destinations.get(id)?.service))
                    .map(|service| service.id)
                    .collect();
                Questions {
                    picks: services.into_iter().collect(),
                    ..Questions::default()
                }
            }
            Event::Config(desired) | Event::Apply { desired, .. } => {
                self.questions_of_all(desired.services.len())
            }
            Event::Services(services) => {
                let known = services
                    .iter()
                    .filter_map(|one| self.services.get(&one.key));
                Questions {
                    picks: known.map(|service| service.id).collect(),
                    stats: self.trash.keys().copied().collect(),
                    ..Questions::default()
                }
            }
            Event::Maintain(_) | Event::InterfaceGone { .. } | Event::Resume => {
                self.questions_of_all(0)
            }
            Event::Interface { .. } | Event::Trash { .. } => Questions::default(),
        }
    }

    /// What must be observed before many changes are applied, one after another.
    #[must_use]
    pub fn questions_of_changes(&self, changes: &[api::Change]) -> Questions {
        let is_added = |change: &&api::Change| matches!(change, api::Change::AddService { .. });
        let added = changes.iter().filter(is_added).count();
        if changes.contains(&api::Change::Clear) {
            let all = self.questions_of_all(added);
            return Questions {
                stats: self.ids().collect(),
                ..all
            };
        }
        let mut picks: BTreeSet<u32> = self.free_services(added).collect();
        let (mut stats, mut shown) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            match change {
                api::Change::Zero { service: None } => shown.extend(self.ids()),
                api::Change::Zero { service: Some(key) } => shown.extend(self.ids_of(key)),
                _ => {}
            }
            let Some(key) = key_of(change) else { continue };
            if let Some(service) = self.services.get(key) {
                picks.insert(service.id);
            }
            match change {
                // What is deleted may be added again by a later one.
                api::Change::DeleteService { .. } | api::Change::DeleteDestination { .. }
                    if changes.len() > 1 =>
                {
                    stats.extend(self.ids_of(key));
                }
                api::Change::AddDestination { .. } => stats.extend(self.index.deleted_of(*key)),
                _ => {}
            }
        }
        Questions {
            picks: picks.into_iter().collect(),
            stats: stats.into_iter().collect(),
            shown: shown.into_iter().collect(),
        }
    }

    /// Everything, and the next `new` free service numbers: their counts go on from where an
    /// earlier service left them.
    fn questions_of_all(&self, new: usize) -> Questions {
        let used = self.services.values().map(|service| service.id);
        Questions {
            picks: used.chain(self.free_services(new)).collect(),
            stats: self.trash.keys().copied().collect(),
            shown: Vec::new(),
        }
    }

    fn free_services(&self, count: usize) -> impl Iterator<Item = u32> + '_ {
        self.index.free_services().take(count)
    }

    /// All destinations, deleted ones included.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.destinations.keys().chain(self.trash.keys()).copied()
    }

    /// Destinations of a service, deleted ones included.
    pub fn ids_of(&self, key: &api::ServiceKey) -> impl Iterator<Item = u32> + '_ {
        let service = self.services.get(key);
        let listed = service.into_iter().flat_map(|service| &service.list);
        listed.copied().chain(self.index.deleted_of(*key))
    }
}

fn key_of(change: &api::Change) -> Option<&api::ServiceKey> {
    use api::Change::{
        AddDestination, AddService, Clear, DeleteDestination, DeleteService, EditDestination,
        EditService, SetTimeouts, Zero,
    };
    match change {
        AddService { service, .. }
        | EditService { service, .. }
        | DeleteService { service }
        | AddDestination { service, .. }
        | EditDestination { service, .. }
        | DeleteDestination { service, .. } => Some(service),
        Zero { service } => service.as_ref(),
        Clear | SetTimeouts { .. } => None,
    }
}
