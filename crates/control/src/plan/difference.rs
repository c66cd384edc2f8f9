//! What is other in one state than in another, looked for only where something was touched.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use api::ServiceKey;

use super::{Action, Plan, rank};
use crate::ledger::Ledger;
use crate::limits;
use crate::state::{Destination, Egress, Link, Reach, Rest, Service, State, Vip};

/// What makes the data plane and the host go from one side to the other, in the order of a plan.
pub(super) fn difference(before: &Side<'_>, after: &Side<'_>, touched: &Touched) -> Plan {
    let mut actions = Vec::new();
    if before.rest.timeouts != after.rest.timeouts {
        actions.push(Action::WriteTimeouts(after.rest.timeouts));
    }
    if before.rest.settings != after.rest.settings {
        actions.push(Action::WriteSettings(after.rest.settings));
    }
    if before.rest.marks != after.rest.marks {
        let rules = after.rest.marks.to_vec();
        actions.push(Action::WriteMarks { rules });
    }
    interfaces(before, after, touched, &mut actions);
    destinations(before, after, touched, &mut actions);
    services(before, after, touched, &mut actions);
    vips(before, after, touched, &mut actions);
    actions.sort_by_key(rank);
    Plan { actions }
}

/// Keys whose entries may be others on the two sides.
pub(super) struct Touched {
    services: BTreeSet<ServiceKey>,
    destinations: BTreeSet<u32>,
    slots: BTreeSet<u8>,
    vips: BTreeSet<IpAddr>,
}

impl Touched {
    pub(super) fn between(before: &State, after: &State) -> Self {
        let both = [before, after];
        Self {
            services: both
                .iter()
                .flat_map(|one| one.services.keys())
                .copied()
                .collect(),
            destinations: both.iter().flat_map(|one| one.ids()).collect(),
            slots: both
                .iter()
                .flat_map(|one| one.egress.keys())
                .copied()
                .collect(),
            vips: both
                .iter()
                .flat_map(|one| one.vips.keys())
                .copied()
                .collect(),
        }
    }

    pub(super) fn in_step(state: &State) -> Self {
        let listed = state.destinations.touched().chain(state.trash.touched());
        let servers = state.links.touched();
        let behind =
            servers.flat_map(|server| state.index.by_server.get(server).into_iter().flatten());
        // With a second service the first one's share becomes another, and back.
        let mut services: BTreeSet<ServiceKey> = state.services.touched().copied().collect();
        if !services.is_empty() && state.services.len() <= 2 {
            services.extend(state.services.keys());
        }
        Self {
            services,
            destinations: listed.chain(behind).copied().collect(),
            slots: state.egress.touched().copied().collect(),
            vips: state.vips.touched().copied().collect(),
        }
    }
}

/// One of two states that are compared: a state as it is, or as it was when its step began.
pub(super) struct Side<'a> {
    state: &'a State,
    rest: &'a Rest,
    is_past: bool,
    /// Services, counted when they are asked for: in a past state that is to look at all that changed.
    count: OnceCell<usize>,
}

/// What the data plane must know of a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Standing {
    reach: Reach,
    service: u32,
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
    reopenings: u64,
}

impl<'a> Side<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        Self {
            state,
            rest: state,
            is_past: false,
            count: OnceCell::new(),
        }
    }

    pub(super) fn was(state: &'a State) -> Self {
        Self {
            state,
            rest: state.was(),
            is_past: true,
            count: OnceCell::new(),
        }
    }

    fn entry<K: Ord + Copy, V: Clone>(&self, ledger: &'a Ledger<K, V>, key: &K) -> Option<&'a V> {
        match self.is_past {
            true => ledger.was(key),
            false => ledger.get(key),
        }
    }

    fn service(&self, key: &ServiceKey) -> Option<&'a Service> {
        self.entry(&self.state.services, key)
    }

    /// How many services there are.
    fn count(&self) -> usize {
        let services = &self.state.services;
        if !self.is_past {
            return services.len();
        }
        let touched = || services.touched();
        let now = touched().filter(|key| services.contains_key(key)).count();
        let then = touched().filter(|key| services.was(key).is_some()).count();
        services.len() - now + then
    }

    fn share(&self, service: &Service) -> u8 {
        service
            .settings
            .share
            .unwrap_or(if *self.count.get_or_init(|| self.count()) < 2 {
                100
            } else {
                limits::SHARE_DEFAULT
            })
    }

    /// `None` when the data plane need not know it.
    fn standing(&self, id: u32) -> Option<Standing> {
        let listed = self.entry(&self.state.destinations, &id);
        let gone = || {
            self.entry(&self.state.trash, &id)
                .map(|gone| &gone.destination)
        };
        let (destination, reach) = match listed {
            Some(destination) => (destination, self.reach(destination)),
            None => (gone()?, Reach::Gone),
        };
        let service = listed.and_then(|one| self.service(&one.service));
        let settings = &destination.settings;
        Some(Standing {
            reach,
            service: service.map_or(0, |service| service.id),
            weight: self.rest.maintenance.weight(destination),
            upper_threshold: settings.upper_threshold,
            lower_threshold: settings.lower_threshold,
            reopenings: destination.reopenings,
        })
    }

    fn reach(&self, destination: &Destination) -> Reach {
        match self.entry(&self.state.links, &destination.address.ip()) {
            Some(Link::Via { mac, slot }) => Reach::Via {
                mac: *mac,
                slot: *slot,
            },
            Some(Link::Local) => Reach::Local,
            Some(Link::Unresolved { .. }) | None => Reach::Unresolved,
        }
    }
}

fn interfaces(before: &Side<'_>, after: &Side<'_>, touched: &Touched, actions: &mut Vec<Action>) {
    for slot in &touched.slots {
        let identity = |egress: &Egress| (egress.index, egress.mac);
        let old = before.entry(&before.state.egress, slot).map(identity);
        let new = after.entry(&after.state.egress, slot).map(identity);
        let slot = *slot;
        match new {
            Some((index, mac)) if old != new => {
                actions.push(Action::WriteInterface { slot, index, mac });
            }
            None if old.is_some() => actions.push(Action::ClearInterface { slot }),
            _ => {}
        }
    }
}

fn destinations(before: &Side<'_>, after: &Side<'_>, touched: &Touched, actions: &mut Vec<Action>) {
    for id in &touched.destinations {
        let (old, new) = (before.standing(*id), after.standing(*id));
        if old == new {
            continue;
        }
        let standing = new.unwrap_or(Standing {
            reach: Reach::Gone,
            service: 0,
            weight: 0,
            upper_threshold: 0,
            lower_threshold: 0,
            reopenings: 0,
        });
        actions.push(Action::WriteDestination {
            id: *id,
            reach: standing.reach,
            service: standing.service,
            weight: standing.weight,
            upper_threshold: standing.upper_threshold,
            lower_threshold: standing.lower_threshold,
            is_reopened: old.is_some_and(|old| old.reopenings < standing.reopenings),
        });
        if new.is_none() {
            actions.push(Action::ResetDestination { id: *id });
        }
    }
}

fn services(before: &Side<'_>, after: &Side<'_>, touched: &Touched, actions: &mut Vec<Action>) {
    let identity =
        |side: &Side<'_>, service: &Service| (service.publication, service.id, side.share(service));
    for key in &touched.services {
        let old = before.service(key);
        match after.service(key) {
            Some(service) => {
                let is_same = |old| identity(before, old) == identity(after, service);
                if !old.is_some_and(is_same) {
                    actions.push(publish(key, service, after));
                }
            }
            None if old.is_some() => actions.push(Action::WithdrawService { key: *key }),
            None => {}
        }
    }
}

fn publish(key: &ServiceKey, service: &Service, side: &Side<'_>) -> Action {
    Action::PublishService {
        key: *key,
        service: service.id,
        schedule: side.state.schedule(service),
        persistence: service.settings.persistence,
        one_packet: service.settings.one_packet,
        share: side.share(service),
        memory: service.memory,
    }
}

fn vips(before: &Side<'_>, after: &Side<'_>, touched: &Touched, actions: &mut Vec<Action>) {
    for address in &touched.vips {
        let old = before.entry(&before.state.vips, address);
        let new = after.entry(&after.state.vips, address);
        if let Some(vip) = new
            && old != new
        {
            actions.push(put(*address, vip));
        }
        let is_there = |old: &&Vip| new.is_some_and(|new| new.interface == old.interface);
        if let Some(vip) = old.filter(|old| old.ours && !is_there(old)) {
            actions.push(Action::RemoveVip {
                address: *address,
                interface: vip.interface.clone(),
            });
        }
    }
}

fn put(address: IpAddr, vip: &Vip) -> Action {
    let interface = vip.interface.clone();
    if vip.ours {
        Action::AddVip { address, interface }
    } else {
        Action::AnnounceVip { address, interface }
    }
}
