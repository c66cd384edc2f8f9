//! The table as it stands: everything a restarted daemon must know.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use api::{ServiceKey, Stats};
use config::Scheduler;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Desired, DesiredService, Observed, Questions};
use crate::index::Index;
use crate::ledger::Ledger;
use crate::limits;
use crate::maintenance::Maintenance;
use crate::mark::{self, MarkRule};
pub use crate::parts::{
    Destination, Egress, Link, Reach, Saved, Service, TimeoutsSet, Trashed, Vip,
};
use crate::plan::Plan;
use crate::rotation::{Candidate, Place};
use crate::schedule::{Cause, Schedule};

/// Virtual services, their destinations, and how those are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct State {
    /// Virtual services.
    pub services: Ledger<ServiceKey, Service>,
    /// Destinations of services, by id.
    pub destinations: Ledger<u32, Destination>,
    /// Deleted destinations that are remembered, by id.
    pub trash: Ledger<u32, Trashed>,
    /// How real servers are reached. One entry for each that is a listed destination.
    pub links: Ledger<IpAddr, Link>,
    /// Interfaces that frames leave through, by slot.
    pub egress: Ledger<u8, Egress>,
    /// Virtual addresses that this host should have.
    pub vips: Ledger<IpAddr, Vip>,
    /// The services of the configuration that was applied last, as far as [`Rest::applied`] holds.
    #[serde(default)]
    pub named: Ledger<ServiceKey, Arc<DesiredService>>,
    rest: Rest,
    #[serde(skip)]
    pub(crate) index: Index,
    #[serde(skip)]
    was: Was,
}

/// What is small enough to be copied at each step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// Which packets have which firewall mark.
    #[serde(default)]
    pub marks: Arc<Vec<MarkRule>>,
    /// Real servers that get no new connections.
    #[serde(default)]
    pub maintenance: Arc<Maintenance>,
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
    /// The configuration that was applied last, without its services, which are [`State::named`]; forgotten at an
    /// orderly stop, so that the next start follows the file in everything it names.
    pub applied: Option<Arc<Desired>>,
    /// Which generation of the configuration that is.
    #[serde(default)]
    pub generation: u64,
    /// Identity of the network namespace that interfaces and links are of.
    pub network: u64,
    /// Counts service incarnations and publications; each gets a number of its own.
    pub sequence: u64,
    /// Where the search for a free destination id goes on: an id rests as long as possible.
    pub last_id: u32,
    /// Counters of all services together, of destinations that have left the trash.
    #[serde(default)]
    pub retired: Stats,
    /// Counters of all services together, at their zero point.
    #[serde(default)]
    pub base: Stats,
}

/// The rest as it was when the step began. Says nothing about a state, so all are equal.
#[derive(Clone, Debug, Default)]
struct Was {
    rest: Rest,
    has_services: bool,
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
                    weight: self.maintenance.weight(destination),
                    last_weight: destination.last_weight,
                    address: destination.address,
                    usable: link.is_some_and(Link::is_usable),
                })
            })
            .collect()
    }

    /// What the data plane must choose by for a service.
    #[must_use]
    pub fn schedule(&self, service: &Service) -> Schedule {
        let list = self.candidates(service);
        let is_held = |one: &Candidate| {
            let destination = self.destinations.get(&one.id);
            destination.is_some_and(|one| self.maintenance.holds(&one.service, one.address.ip()))
        };
        if !list.iter().any(is_held) {
            return Schedule::of(&service.settings, &service.place, &list);
        }
        let list: Vec<Candidate> = match service.scheduler() {
            Scheduler::Dh => list.into_iter().filter(|one| !is_held(one)).collect(),
            // Who has which slot stays as it is, so that only clients of the held ones move.
            Scheduler::Sh | Scheduler::Mh => list.into_iter().map(|one| self.unheld(one)).collect(),
            _ => list,
        };
        Schedule::of(&service.settings, &service.place, &list).falling_back()
    }

    /// A candidate with the weight that it has without maintenance.
    fn unheld(&self, one: Candidate) -> Candidate {
        let destination = self.destinations.get(&one.id);
        Candidate {
            weight: destination.map_or(one.weight, |destination| destination.settings.weight),
            ..one
        }
    }

    /// The part of the connection table that a service may take, in percent.
    #[must_use]
    pub fn share(&self, service: &Service) -> u8 {
        let alone = self.services.len() < 2;
        let default = if alone { 100 } else { limits::SHARE_DEFAULT };
        service.settings.share.unwrap_or(default)
    }

    /// Addresses whose traffic the data plane looks at: those of services, those of deleted services whose
    /// connections live, those of marks; and whether it looks at all. Without any service everything goes
    /// to the host (`ipvs.md` 3.1).
    #[must_use]
    pub fn served_addresses(&self) -> (Vec<IpAddr>, bool) {
        if self.services.is_empty() {
            return (Vec::new(), false);
        }
        let (marked, everything) = mark::looked_at(self);
        let all: BTreeSet<IpAddr> = self.index.served().chain(marked).collect();
        (all.into_iter().collect(), everything)
    }

    /// Real servers whose links must be known.
    #[must_use]
    pub fn real_servers(&self) -> BTreeSet<IpAddr> {
        self.links.keys().copied().collect()
    }

    /// Deleted destinations of a service, by id.
    pub fn deleted_of(&self, key: ServiceKey) -> impl Iterator<Item = (u32, &Destination)> {
        let ids = self.index.deleted_of(key);
        ids.filter_map(|id| Some((id, &self.trash.get(&id)?.destination)))
    }

    /// Whether a service has a destination that gets clients.
    #[must_use]
    pub fn serves(&self, key: &ServiceKey) -> bool {
        let service = self.services.get(key);
        let mut listed = service.into_iter().flat_map(|service| &service.list);
        listed.any(|id| {
            let destination = self.destinations.get(id);
            destination.is_some_and(|one| {
                let link = self.links.get(&one.address.ip());
                one.settings.weight > 0 && link.is_some_and(Link::is_usable)
            })
        })
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

    /// Goes back to what was before the last step, which was carried out in part: what it published
    /// otherwise is published anew, from where the data plane stands. The way back is the plan.
    pub fn go_back(&mut self, observe: impl FnOnce(Questions) -> Observed) -> Plan {
        let failed = self.sequence;
        self.undo();
        // Numbers that the failed step gave stay given: its publications must not look like ours.
        self.sequence = failed;
        let is_other = |key: &&ServiceKey| {
            let publication = |service: &Service| service.publication;
            self.services.was(key).map(publication) != self.services.get(key).map(publication)
        };
        let others: Vec<ServiceKey> = self.services.touched().filter(is_other).copied().collect();
        let ids = others.iter().filter_map(|key| self.services.get(key));
        let observed = observe(Questions {
            picks: ids.map(|service| service.id).collect(),
            ..Questions::default()
        });
        for key in others {
            self.rework(&key, &observed, |_, _| {});
        }
        Plan::of_step(self)
    }

    /// Whether it is another state than when the last step began.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.rest != self.was.rest
            || self.services.has_changed()
            || self.destinations.has_changed()
            || self.trash.has_changed()
            || self.links.has_changed()
            || self.egress.has_changed()
            || self.vips.has_changed()
            || self.named.has_changed()
    }

    /// Whether there are other real servers, services or interfaces than when the last step began.
    #[must_use]
    pub fn has_other_names(&self) -> bool {
        self.links.has_other_keys()
            || self.services.has_other_keys()
            || self.was.rest.interfaces != self.rest.interfaces
    }

    /// The configuration that was applied last, with its services.
    #[must_use]
    pub fn applied_last(&self) -> Option<Desired> {
        let applied = self.applied.as_deref()?;
        Some(Desired {
            services: self
                .named
                .values()
                .map(|one| DesiredService::clone(one))
                .collect(),
            ..applied.clone()
        })
    }

    /// Remembers a configuration as the one that was applied. What is the same is not touched.
    pub(crate) fn set_applied(&mut self, mut desired: Desired) {
        let services = std::mem::take(&mut desired.services);
        let keys: BTreeSet<ServiceKey> = services.iter().map(|one| one.key).collect();
        let gone = self.named.keys().filter(|key| !keys.contains(key));
        for key in gone.copied().collect::<Vec<_>>() {
            self.named.remove(&key);
        }
        for service in services {
            if self
                .named
                .get(&service.key)
                .is_none_or(|old| **old != service)
            {
                self.named.insert(service.key, Arc::new(service));
            }
        }
        self.rest.applied = Some(Arc::new(desired));
    }

    /// Whether a service is known to be in the table as it is wanted: the same was named before, and nobody has changed
    /// it since.
    #[must_use]
    pub fn is_as_named(&self, service: &DesiredService) -> bool {
        let named = self.named.get(&service.key);
        self.index.as_named.contains(&service.key) && named.is_some_and(|named| **named == *service)
    }

    /// A state that an earlier version wrote has the services in the configuration.
    pub(crate) fn split_applied(&mut self) {
        let applied = self.rest.applied.as_deref();
        let whole = applied.filter(|applied| !applied.services.is_empty());
        if let Some(desired) = whole.cloned() {
            self.set_applied(desired);
        }
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
            if service.place != Place::Memoryless && since != 0 {
                let list = self.candidates(&service);
                service.place = match observed.renewed.contains(&service.id) {
                    true => Place::start(service.scheduler(), &list),
                    false => service.place.after(&list, since),
                };
            }
            service.picks = *picks;
        }
        service.publication = self.number();
        change(self, &mut service);
        self.services.insert(*key, service);
    }

    /// The same, when what changes may be nothing to the scheduler: then nothing is published.
    pub(crate) fn rework_for(
        &mut self,
        key: &ServiceKey,
        cause: Cause,
        observed: &Observed,
        change: impl FnOnce(&mut Self, &mut Service),
    ) {
        if self
            .services
            .get(key)
            .is_some_and(|service| service.depends_on(cause))
        {
            return self.rework(key, observed, change);
        }
        if let Some(mut service) = self.services.remove(key) {
            change(self, &mut service);
            self.services.insert(*key, service);
        }
    }

    pub(crate) fn add_service(&mut self, key: ServiceKey, service: Service) {
        self.index.add_service(&key, service.id);
        self.services.insert(key, service);
    }

    pub(crate) fn remove_service(&mut self, key: &ServiceKey) -> Option<Service> {
        let service = self.services.remove(key)?;
        self.index.remove_service(key, service.id);
        Some(service)
    }

    pub(crate) fn add_destination(&mut self, id: u32, destination: Destination) {
        self.index.add_listed(id, &destination);
        self.destinations.insert(id, destination);
    }

    pub(crate) fn remove_destination(&mut self, id: u32) -> Option<Destination> {
        let destination = self.destinations.remove(&id)?;
        self.index.remove_listed(id, &destination);
        Some(destination)
    }

    pub(crate) fn add_deleted(&mut self, id: u32, gone: Trashed) {
        self.index.add_deleted(id, &gone.destination);
        self.trash.insert(id, gone);
    }

    pub(crate) fn remove_deleted(&mut self, id: u32) -> Option<Trashed> {
        let gone = self.trash.remove(&id)?;
        self.index.remove_deleted(&gone.destination);
        Some(gone)
    }

    /// A number never given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Begins a step: what is now is what was.
    pub(crate) fn begin(&mut self) {
        self.services.begin();
        self.destinations.begin();
        self.trash.begin();
        self.links.begin();
        self.egress.begin();
        self.vips.begin();
        self.named.begin();
        self.was = Was {
            rest: self.rest.clone(),
            has_services: !self.services.is_empty(),
        };
        self.index.is_served_changed = false;
    }

    /// Makes nothing of a step that was refused.
    pub(crate) fn refuse(&mut self) {
        let is_touched = self.services.touched().next().is_some()
            || self.destinations.touched().next().is_some()
            || self.trash.touched().next().is_some()
            || self.links.touched().next().is_some()
            || self.egress.touched().next().is_some()
            || self.vips.touched().next().is_some()
            || self.named.touched().next().is_some();
        // Most refusals come before anything is touched, and cost nothing.
        if is_touched {
            self.undo();
        } else {
            self.rest = self.was.rest.clone();
        }
        self.begin();
    }

    /// Makes everything what it was, and what was what is.
    pub(crate) fn undo(&mut self) {
        let has_services = !self.services.is_empty();
        self.services.undo();
        self.destinations.undo();
        self.trash.undo();
        self.links.undo();
        self.egress.undo();
        self.vips.undo();
        self.named.undo();
        std::mem::swap(&mut self.was.rest, &mut self.rest);
        self.was.has_services = has_services;
        self.reindex();
        self.index.is_served_changed = true;
    }

    /// The rest as it was when the step began.
    pub(crate) fn was(&self) -> &Rest {
        &self.was.rest
    }

    /// Whether the addresses that are looked at may be others than when the step began.
    pub(crate) fn is_served_changed(&self) -> bool {
        let is_mark = |key: &&ServiceKey| key.mark().is_some();
        self.index.is_served_changed
            || self.was.has_services == self.services.is_empty()
            || self.was.rest.marks != self.rest.marks
            || self.services.touched().any(|key| is_mark(&key))
    }

    pub(crate) fn reindex(&mut self) {
        let mut index = Index::default();
        for (key, service) in &self.services {
            index.add_service(key, service.id);
        }
        for (id, destination) in &self.destinations {
            index.add_listed(*id, destination);
        }
        for (id, gone) in &self.trash {
            index.add_deleted(*id, &gone.destination);
        }
        index.is_served_changed = false;
        self.index = index;
    }
}

impl Deref for State {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        &self.rest
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut Rest {
        &mut self.rest
    }
}

impl PartialEq for Was {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Was {}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        State::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut state = State::deserialize(deserializer)?;
        state.split_applied();
        state.named.begin();
        state.reindex();
        Ok(state)
    }
}
