//! The table as the API shows it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use api::{
    Destination, DestinationFigures, LinkState, MarkRule, Prefix, RealServer, Segment, Service,
    ServiceFigures, ServiceKey, TotalFigures, VirtualAddress,
};
use control::{Link, State, minus};

use crate::estimates::Estimates;
use crate::plane::Plane;
use crate::statistics::Sample;

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
        link: link(state, destination.address.ip()),
    }
}

/// Interfaces with the program attached.
pub(crate) fn interfaces(state: &State, plane: &impl Plane) -> Vec<api::Interface> {
    let attached = plane.attached().into_iter();
    attached
        .map(|(name, index, mode)| {
            let egress = state.egress.values().find(|one| one.index == index);
            api::Interface {
                name,
                mac: egress.map_or_else(String::new, |one| netlink::mac_text(&one.mac)),
                mode: mode.to_owned(),
            }
        })
        .collect()
}

/// The segment, as far as the table knows: who has and claims virtual addresses is asked elsewhere.
pub(crate) fn segment(state: &State, plane: &impl Plane) -> Segment {
    let mut vips: BTreeMap<IpAddr, u64> = state.vips.keys().map(|vip| (*vip, 0)).collect();
    for address in state.services.keys().filter_map(ServiceKey::address) {
        *vips.entry(address.ip()).or_default() += 1;
    }
    let vips = vips.into_iter().map(|(address, services)| VirtualAddress {
        address,
        on: Vec::new(),
        services,
        claims: Vec::new(),
    });
    let mut servers: BTreeMap<IpAddr, RealServer> = BTreeMap::new();
    for (id, destination) in state.destinations.iter() {
        let address = destination.address.ip();
        let server = servers.entry(address).or_insert_with(|| RealServer {
            address,
            link: link(state, address),
            services: 0,
            serving: 0,
            held: false,
            active: 0,
            inactive: 0,
        });
        let (active, inactive) = plane.gauges(*id);
        let is_held = state.maintenance.holds(&destination.service, address);
        server.services += 1;
        server.serving += u64::from(!is_held && destination.settings.weight > 0);
        server.held |= is_held;
        server.active += u64::from(active);
        server.inactive += u64::from(inactive);
    }
    Segment {
        interfaces: interfaces(state, plane),
        vips: vips.collect(),
        servers: servers.into_values().collect(),
    }
}

/// Rates and connections of all services, and of the destinations of those that are wanted.
pub(crate) fn statistics(
    state: &State,
    plane: &impl Plane,
    estimates: &Estimates,
    wanted: &[ServiceKey],
) -> Sample {
    let begun = Instant::now();
    let wanted: BTreeSet<&ServiceKey> = wanted.iter().collect();
    let mut destinations: BTreeMap<ServiceKey, BTreeMap<_, _>> = BTreeMap::new();
    let mut services = BTreeMap::new();
    for (key, service) in &state.services {
        let rates = estimates.service_rates(service.incarnation);
        let mut figures = ServiceFigures(rates.connections, rates.packets, rates.bytes, 0, 0, 0, 0);
        let mut listed = wanted.contains(key).then(BTreeMap::new);
        for id in &service.list {
            let Some(one) = state.destinations.get(id) else {
                continue;
            };
            let (active, inactive) = plane.gauges(*id);
            let (active, inactive) = (u64::from(active), u64::from(inactive));
            let server = one.address.ip();
            let weight = match state.maintenance.holds(key, server) {
                true => 0,
                false => u64::from(one.settings.weight),
            };
            let is_usable = state.links.get(&server).is_some_and(Link::is_usable);
            figures.3 += active;
            figures.4 += inactive;
            figures.5 += u64::from(weight > 0 && is_usable && !plane.is_overloaded(*id));
            figures.6 += 1;
            if let Some(listed) = &mut listed {
                let rates = estimates.rates(*id);
                let (connections, packets, bytes) = (rates.connections, rates.packets, rates.bytes);
                let figures =
                    DestinationFigures(connections, packets, bytes, active, inactive, weight);
                listed.insert(one.address, figures);
            }
        }
        destinations.extend(listed.map(|listed| (*key, listed)));
        services.insert(*key, figures);
    }
    Sample {
        total: TotalFigures::of(estimates.total_rates(), connections(state, plane)),
        services,
        destinations,
        took: begun.elapsed(),
        ..Sample::default()
    }
}

fn link(state: &State, server: IpAddr) -> LinkState {
    match state.links.get(&server) {
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
