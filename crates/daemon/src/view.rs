//! The table as the API shows it.

use std::collections::HashMap;
use std::net::IpAddr;

use api::{Destination, LinkState, MarkRule, Prefix, Service, ServiceKey};
use control::{Link, State, minus};

use crate::estimates::Estimates;
use crate::plane::Plane;

/// All services, in listing order. Counters and rates are those of the last tick.
pub(crate) fn services(state: &State, plane: &impl Plane, estimates: &Estimates) -> Vec<Service> {
    let mut all = state.services.values();
    // To count templates is to walk the table.
    let templates = match all.any(|service| service.settings.persistence.is_some()) {
        true => plane.templates(),
        false => HashMap::new(),
    };
    let listed = |id: &u32| {
        let mut shown = destination(state, *id, state.destinations.get(id)?, plane, estimates);
        shown.templates = templates.get(id).copied().unwrap_or(0);
        Some(shown)
    };
    let services = state.services.iter();
    services
        .map(|(key, service)| Service {
            service: *key,
            settings: service.settings.clone(),
            stats: estimates.service_stats(state, key),
            rates: estimates.service_rates(service.incarnation),
            origin: service.origin,
            destinations: service.list.iter().filter_map(listed).collect(),
        })
        .collect()
}

/// What gives packets a firewall mark, in order.
pub(crate) fn marks(state: &State) -> Vec<MarkRule> {
    let shown = |rule: &control::MarkRule| {
        Some(MarkRule {
            mark: rule.mark,
            protocol: rule.protocol,
            addresses: Prefix::new(rule.address, rule.prefix)?,
            ports: (rule.first_port, rule.last_port),
        })
    };
    state.marks.iter().filter_map(shown).collect()
}

/// The services that a real server is a destination of, in listing order, and as what.
pub(crate) fn of_server(
    state: &State,
    plane: &impl Plane,
    estimates: &Estimates,
    server: IpAddr,
) -> Vec<(ServiceKey, Destination)> {
    let templates = plane.templates();
    let mut found = Vec::new();
    for (key, service) in &state.services {
        for id in &service.list {
            let of = state.destinations.get(id);
            if let Some(of) = of.filter(|one| one.address.ip() == server) {
                let mut shown = destination(state, *id, of, plane, estimates);
                shown.templates = templates.get(id).copied().unwrap_or(0);
                found.push((*key, shown));
            }
        }
    }
    found
}

/// Connections remembered for all destinations, deleted ones included.
pub(crate) fn connections(state: &State, plane: &impl Plane) -> u64 {
    let ids = state.destinations.keys().chain(state.trash.keys());
    let gauges = ids.map(|id| plane.gauges(*id));
    gauges
        .map(|(active, inactive)| u64::from(active) + u64::from(inactive))
        .sum()
}

fn destination(
    state: &State,
    id: u32,
    destination: &control::Destination,
    plane: &impl Plane,
    estimates: &Estimates,
) -> Destination {
    let (active, inactive) = plane.gauges(id);
    let mut settings = destination.settings.clone();
    let server = destination.address.ip();
    let is_held = state.maintenance.holds(&destination.service, server);
    let held_weight = is_held.then(|| std::mem::take(&mut settings.weight));
    Destination {
        destination: destination.address,
        settings,
        held_weight,
        origin: destination.origin,
        active,
        inactive,
        templates: 0,
        overloaded: plane.is_overloaded(id),
        rates: estimates.rates(id),
        stats: minus(estimates.shown(id), destination.base),
        link: link(state, destination),
    }
}

fn link(state: &State, destination: &control::Destination) -> LinkState {
    match state.links.get(&destination.address.ip()) {
        Some(Link::Local) => LinkState::Local,
        Some(Link::Via { mac, slot }) => LinkState::Resolved {
            mac: netlink::mac_text(mac),
            interface: state
                .egress
                .get(slot)
                .map_or_else(|| format!("slot {slot}"), |egress| egress.name.clone()),
        },
        Some(Link::Unresolved { reason }) => LinkState::Unresolved {
            reason: reason.clone(),
        },
        None => LinkState::Unresolved {
            reason: "no answer yet".to_owned(),
        },
    }
}
