//! A table with one data plane: plans are carried out on a model of what the maps hold.
#![allow(dead_code, clippy::unwrap_used)]

pub mod play;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use api::{Change, DestinationSettings, Refusal, ServiceKey, ServiceSettings, Stats};
use director::scheduler::{is_renewed, picks_made};
use dirigo_control::{Action, Event, LinkReport, Observed, Plan, Reach, Schedule, State};

pub fn key(text: &str) -> ServiceKey {
    text.parse().unwrap()
}

pub fn web() -> ServiceKey {
    key("tcp:192.0.2.100:80")
}

/// Real server number `n`.
pub fn server(n: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 10 + n).into()
}

pub fn settings(weight: u32) -> DestinationSettings {
    DestinationSettings::of(weight)
}

pub fn scheduler(name: &str) -> ServiceSettings {
    ServiceSettings::of(name)
}

/// A service in the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub service: u32,
    pub schedule: Schedule,
    pub share: u8,
    /// The count of picks when it was published.
    pub since: u64,
}

/// What the maps of a data plane hold, and a counter for each service.
#[derive(Default)]
pub struct Maps {
    pub published: BTreeMap<ServiceKey, Published>,
    /// By service number; never goes back.
    pub picks: BTreeMap<u32, u64>,
    pub reach: BTreeMap<u32, Reach>,
    pub weights: BTreeMap<u32, u32>,
    pub looked_at: Vec<IpAddr>,
    pub looks_at_everything: bool,
}

impl Maps {
    pub fn carry_out(&mut self, plan: &Plan) {
        for action in &plan.actions {
            match action {
                Action::PublishService {
                    key,
                    service,
                    schedule,
                    share,
                    ..
                } => {
                    let published = Published {
                        service: *service,
                        schedule: schedule.clone(),
                        share: *share,
                        since: picks_made(*self.picks.entry(*service).or_insert(0)),
                    };
                    self.published.insert(*key, published);
                }
                Action::WithdrawService { key } => {
                    self.published.remove(key);
                }
                Action::WriteDestination {
                    id, reach, weight, ..
                } => {
                    self.reach.insert(*id, *reach);
                    self.weights.insert(*id, *weight);
                }
                Action::WriteVips {
                    addresses,
                    everything,
                } => {
                    self.looked_at.clone_from(addresses);
                    self.looks_at_everything = *everything;
                }
                _ => {}
            }
        }
    }

    /// One new connection to a service.
    pub fn pick(&mut self, key: &ServiceKey) -> Option<u32> {
        let published = self.published.get(key)?;
        let picks = self.picks.get_mut(&published.service)?;
        let rotation = published.schedule.rotation()?;
        let id = rotation.pick(picks_made(*picks) - published.since)?;
        *picks += 1;
        Some(id)
    }
}

/// State, maps, and the answers that control asks for.
pub struct World {
    pub state: State,
    pub maps: Maps,
    pub observed: Observed,
    pub stats: BTreeMap<u32, Stats>,
    /// Made to follow each step by what it changed, if wanted.
    pub written: Option<State>,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            state: State::default(),
            maps: Maps::default(),
            observed: Observed::default(),
            stats: BTreeMap::new(),
            written: None,
        };
        world.run(Event::Interface {
            index: 2,
            name: "eth0".to_owned(),
            mac: [2, 0, 0, 0, 0, 8],
        });
        world
    }

    pub fn try_run(&mut self, event: Event) -> Result<Plan, Refusal> {
        let questions = self.state.questions(&event);
        let mut observed = self.observed.clone();
        for service in questions.picks {
            let picks = self.maps.picks.get(&service).copied().unwrap_or(0);
            observed.picks.insert(service, picks_made(picks));
            if is_renewed(picks) {
                observed.renewed.insert(service);
            }
        }
        for id in questions.stats.into_iter().chain(questions.shown) {
            observed
                .stats
                .insert(id, self.stats.get(&id).copied().unwrap_or_default());
        }
        let plan = dirigo_control::step(&mut self.state, event, &observed)?;
        self.maps.carry_out(&plan);
        if let Some(written) = &mut self.written {
            let delta = serde_json::to_string(&self.state.delta(&plan)).unwrap();
            let delta: dirigo_control::Delta = serde_json::from_str(&delta).unwrap();
            written.follow([delta]);
        }
        Ok(plan)
    }

    pub fn run(&mut self, event: Event) -> Plan {
        self.try_run(event).unwrap()
    }

    pub fn change(&mut self, change: Change) -> Result<Plan, Refusal> {
        self.try_run(Event::Change(change))
    }

    pub fn add_service(&mut self, key: ServiceKey, name: &str) {
        self.change(Change::AddService {
            service: key,
            settings: scheduler(name),
        })
        .unwrap();
    }

    pub fn add(&mut self, key: ServiceKey, address: IpAddr, weight: u32) {
        self.change(Change::AddDestination {
            service: key,
            destination: SocketAddr::new(address, key.port()),
            settings: settings(weight),
        })
        .unwrap();
    }

    pub fn edit(&mut self, key: ServiceKey, address: IpAddr, weight: u32) {
        self.change(Change::EditDestination {
            service: key,
            destination: SocketAddr::new(address, key.port()),
            settings: settings(weight),
        })
        .unwrap();
    }

    pub fn delete(&mut self, key: ServiceKey, address: IpAddr) {
        self.change(Change::DeleteDestination {
            service: key,
            destination: SocketAddr::new(address, key.port()),
        })
        .unwrap();
    }

    pub fn resolve(&mut self, address: IpAddr) {
        let last = match address {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(v6) => v6.octets()[15],
        };
        let link = LinkReport::Via {
            mac: [2, 0, 0, 0, 0, last],
            interface: 2,
        };
        self.run(Event::Links(vec![(address, link)]));
    }

    pub fn lose(&mut self, address: IpAddr) {
        let link = LinkReport::Unresolved {
            reason: "no answer to ARP on eth0".to_owned(),
        };
        self.run(Event::Links(vec![(address, link)]));
    }

    /// Adds a destination whose MAC is known at once.
    pub fn add_resolved(&mut self, key: ServiceKey, address: IpAddr, weight: u32) {
        self.add(key, address, weight);
        self.resolve(address);
    }

    /// One new connection: the real server that gets it.
    pub fn pick(&mut self, key: ServiceKey) -> Option<IpAddr> {
        let id = self.maps.pick(&key)?;
        Some(self.state.destinations[&id].address.ip())
    }

    pub fn picks(&mut self, key: ServiceKey, count: usize) -> Vec<IpAddr> {
        (0..count).map(|_| self.pick(key).unwrap()).collect()
    }

    pub fn id(&self, key: ServiceKey, address: IpAddr) -> u32 {
        let service = &self.state.services[&key];
        let address = SocketAddr::new(address, key.port());
        self.state.listed(service, address).unwrap()
    }
}
