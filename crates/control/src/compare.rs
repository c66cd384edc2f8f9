//! What the table would be made otherwise by a configuration: what `apply` would do, without doing it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use api::{DestinationDifference, DestinationSettings, ServiceDifference, ServiceKey};

use crate::event::{Desired, DesiredService};
use crate::state::{Service, State};

/// The services that `desired` has otherwise than the table, in listing order.
#[must_use]
pub fn differences(state: &State, desired: &Desired) -> Vec<ServiceDifference> {
    let services = desired.services.iter().map(|one| (one.key, one));
    compared(state, &services.collect())
}

/// The services that the configuration which was applied last has otherwise than the table: they were changed
/// at runtime.
#[must_use]
pub fn drift(state: &State) -> Vec<ServiceDifference> {
    if state.applied.is_none() {
        return Vec::new();
    }
    let services = state.named.iter().map(|(key, one)| (*key, &**one));
    compared(state, &services.collect())
}

fn compared(
    state: &State,
    desired: &BTreeMap<ServiceKey, &DesiredService>,
) -> Vec<ServiceDifference> {
    let gone = state.services.iter();
    let gone = gone.filter(|(key, _)| !desired.contains_key(key));
    let mut all: BTreeMap<ServiceKey, ServiceDifference> = gone
        .map(|(key, service)| (*key, removed(state, *key, service)))
        .collect();
    for service in desired.values() {
        if state.is_as_named(service) {
            continue;
        }
        if let Some(difference) = difference(state, service) {
            all.insert(service.key, difference);
        }
    }
    all.into_values().collect()
}

fn removed(state: &State, key: ServiceKey, service: &Service) -> ServiceDifference {
    let destinations = listed(state, service).map(|(destination, was)| DestinationDifference {
        destination,
        was: Some(was.clone()),
        becomes: None,
    });
    ServiceDifference {
        service: key,
        was: Some(service.settings.clone()),
        becomes: None,
        destinations: destinations.collect(),
    }
}

/// Nothing if the table has it so already.
fn difference(state: &State, desired: &DesiredService) -> Option<ServiceDifference> {
    let existing = state.services.get(&desired.key);
    let mut before: HashMap<SocketAddr, &DestinationSettings> = existing
        .into_iter()
        .flat_map(|service| listed(state, service))
        .collect();
    let mut destinations = Vec::new();
    for (destination, settings) in &desired.destinations {
        let was = before.remove(destination);
        let is_out = was.is_none()
            && state
                .maintenance
                .has_removed(&desired.key, destination.ip());
        if was != Some(settings) && !is_out {
            destinations.push(DestinationDifference {
                destination: *destination,
                was: was.cloned(),
                becomes: Some(settings.clone()),
            });
        }
    }
    destinations.extend(
        before
            .into_iter()
            .map(|(destination, was)| DestinationDifference {
                destination,
                was: Some(was.clone()),
                becomes: None,
            }),
    );
    destinations.sort_by_key(|one| one.destination);
    let was = existing.map(|service| &service.settings);
    let is_same = destinations.is_empty() && was == Some(&desired.settings);
    (!is_same).then(|| ServiceDifference {
        service: desired.key,
        was: was.cloned(),
        becomes: Some(desired.settings.clone()),
        destinations,
    })
}

fn listed<'s>(
    state: &'s State,
    service: &'s Service,
) -> impl Iterator<Item = (SocketAddr, &'s DestinationSettings)> {
    let listed = service.list.iter();
    let listed = listed.filter_map(|id| state.destinations.get(id));
    listed.map(|one| (one.address, &one.settings))
}
