//! What the data plane makes of a schedule, and the same history told to IPVS's model.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use api::{Change, DestinationSettings, SchedulerFlags, ServiceKey, ServiceSettings};
use dirigo_control::{Dynamic, Event, Hash, LinkReport, Reach, Schedule};
use ipvs_model::{Question, Service as Model, Terms};

use super::World;

/// A service in the world and in the model, changed alike.
pub struct Both {
    pub world: World,
    pub model: Model,
    pub key: ServiceKey,
    names: BTreeMap<SocketAddr, u32>,
}

pub fn settings(scheduler: &str, flags: SchedulerFlags) -> ServiceSettings {
    ServiceSettings {
        flags,
        ..ServiceSettings::of(scheduler)
    }
}

pub fn terms(settings: &DestinationSettings) -> Terms {
    Terms {
        weight: settings.weight,
        upper: settings.upper_threshold,
        lower: settings.lower_threshold,
    }
}

impl Both {
    pub fn new(key: ServiceKey, scheduler: &str, flags: SchedulerFlags) -> Self {
        let mut world = World::new();
        world
            .change(Change::AddService {
                service: key,
                settings: settings(scheduler, flags),
            })
            .unwrap();
        let model = Model::new(scheduler, flags.is_fallback(), flags.is_port());
        Self {
            world,
            model,
            key,
            names: BTreeMap::new(),
        }
    }

    pub fn has(&self, address: SocketAddr) -> bool {
        let service = &self.world.state.services[&self.key];
        self.world.state.listed(service, address).is_some()
    }

    pub fn add(&mut self, address: SocketAddr, settings: DestinationSettings) {
        let is_reachable = self.world.state.links.get(&address.ip());
        let usable = is_reachable.is_some_and(dirigo_control::Link::is_usable);
        let count = self.names.len() as u32;
        let name = *self.names.entry(address).or_insert(count + 1);
        self.model.add(name, address, terms(&settings), usable);
        self.world
            .change(Change::AddDestination {
                service: self.key,
                destination: address,
                settings,
            })
            .unwrap();
    }

    pub fn edit(&mut self, address: SocketAddr, settings: DestinationSettings) {
        self.model.edit(self.names[&address], terms(&settings));
        self.world
            .change(Change::EditDestination {
                service: self.key,
                destination: address,
                settings,
            })
            .unwrap();
    }

    pub fn delete(&mut self, address: SocketAddr) {
        self.model.delete(self.names[&address]);
        self.world
            .change(Change::DeleteDestination {
                service: self.key,
                destination: address,
            })
            .unwrap();
    }

    pub fn link(&mut self, address: SocketAddr, usable: bool) {
        let link = if usable {
            LinkReport::Via {
                mac: [2, 0, 0, 0, 0, 9],
                interface: 2,
            }
        } else {
            LinkReport::Unresolved {
                reason: "no answer".to_owned(),
            }
        };
        let ip = address.ip();
        self.world.run(Event::Links(vec![(ip, link)]));
        if self.has(address) {
            self.model.set_usable(self.names[&address], usable);
        }
    }

    pub fn set_scheduler(&mut self, scheduler: &str, flags: SchedulerFlags) {
        self.model
            .set_scheduler(scheduler, flags.is_fallback(), flags.is_port());
        self.world
            .change(Change::EditService {
                service: self.key,
                settings: settings(scheduler, flags),
            })
            .unwrap();
    }

    /// Whom the model chooses.
    pub fn expected(&mut self, question: &Question) -> Option<SocketAddr> {
        let name = self.model.pick(question)?;
        self.address_of(name)
    }

    pub fn address_of(&self, name: u32) -> Option<SocketAddr> {
        let mut names = self.names.iter();
        names
            .find(|(_, one)| **one == name)
            .map(|(address, _)| *address)
    }

    pub fn name_of(&self, address: SocketAddr) -> u32 {
        self.names[&address]
    }

    /// Whom the data plane chooses by what was published and written; a rotation does not look at overload
    /// here.
    pub fn chosen(&mut self, question: &Question) -> Option<SocketAddr> {
        let schedule = self.world.maps.published[&self.key].schedule.clone();
        let id = match schedule {
            Schedule::Rotation(_) => self.world.maps.pick(&self.key)?,
            Schedule::Table {
                hash,
                slots,
                with_port,
                fallback,
            } => self.look_up(hash, &slots, with_port, fallback, question)?,
            Schedule::List { .. } => return None,
        };
        Some(self.world.state.destinations[&id].address)
    }

    fn look_up(
        &self,
        hash: Hash,
        slots: &[u32],
        with_port: bool,
        fallback: bool,
        question: &Question,
    ) -> Option<u32> {
        let folded = match hash {
            Hash::Destination => ipvs_model::fold(question.virtual_address),
            Hash::Source | Hash::Maglev => ipvs_model::fold(question.client.ip()),
        };
        let port = if with_port { question.client.port() } else { 0 };
        let value = folded.wrapping_add(port.into());
        let length = slots.len() as u32;
        let slot = |offset: u32| match hash {
            Hash::Maglev => {
                ipvs_model::maglev_hash(value.wrapping_add(offset), 2_654_435_761) % length
            }
            _ => (ipvs_model::bucket_of(value) as u32 + offset) % length,
        };
        let eligible = |slot: u32| Some(slots[slot as usize]).filter(|id| self.is_eligible(*id));
        let first = slot(0);
        eligible(first).or_else(|| {
            let others = (0..length).map(|n| slot((first + n) % length));
            others.filter(|_| fallback).find_map(eligible)
        })
    }

    fn is_eligible(&self, id: u32) -> bool {
        let maps = &self.world.maps;
        let is_reachable = matches!(maps.reach.get(&id), Some(Reach::Local | Reach::Via { .. }));
        let model = self.world.state.destinations.get(&id);
        let name = model.map(|one| self.names[&one.address]);
        let mut list = self.model.list().iter();
        let is_overloaded = list.any(|one| Some(one.name) == name && one.overloaded);
        is_reachable && maps.weights.get(&id).is_some_and(|weight| *weight > 0) && !is_overloaded
    }

    /// The list that was published for a dynamic scheduler, as addresses.
    pub fn published_list(&self) -> Option<(Dynamic, Vec<SocketAddr>)> {
        match &self.world.maps.published[&self.key].schedule {
            Schedule::List {
                scheduler,
                destinations,
            } => {
                let address = |id: &u32| self.world.state.destinations[id].address;
                Some((*scheduler, destinations.iter().map(address).collect()))
            }
            _ => None,
        }
    }
}

pub fn question(client: SocketAddr, virtual_address: IpAddr) -> Question {
    Question {
        client,
        virtual_address,
        now_s: 0,
        draws: [0, 0],
    }
}
