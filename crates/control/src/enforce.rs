//! The table becomes what the configuration says, whatever it was before.
//!
//! Unlike at a start, where what was made at runtime stays (`reconcile`): here somebody asks for the file
//! to count. What is as the file says already is not touched, and keeps its place in its rotation.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use api::{DestinationSettings, Origin, Refusal, ServiceKey};

use crate::change;
use crate::event::{Desired, DesiredService, Observed};
use crate::parts::TimeoutsSet;
use crate::reconcile::follow_director;
use crate::state::State;

pub(crate) fn apply(
    state: &mut State,
    desired: Desired,
    generation: u64,
    observed: &Observed,
) -> Result<(), Refusal> {
    follow_director(state, &desired);
    state.generation = generation;
    state.timeouts_set = TimeoutsSet::default();
    state.timeouts = desired.timeouts;
    let named: BTreeSet<ServiceKey> = desired.services.iter().map(|one| one.key).collect();
    let unnamed = state.services.keys().filter(|key| !named.contains(key));
    let unnamed: Vec<ServiceKey> = unnamed.copied().collect();
    for key in &unnamed {
        change::delete_service(state, key)?;
    }
    for service in &desired.services {
        if state.is_as_named(service) {
            continue;
        }
        follow(state, service, observed)?;
        if state.maintenance.orders().next().is_none() {
            state.index.as_named.insert(service.key);
        }
    }
    state.set_applied(desired);
    Ok(())
}

fn follow(state: &mut State, service: &DesiredService, observed: &Observed) -> Result<(), Refusal> {
    let key = service.key;
    match state.services.get(&key) {
        None => {
            let settings = service.settings.clone();
            change::add_service(state, key, settings, Origin::Config, observed)?;
        }
        Some(existing) => {
            let (is_own, is_same) = (
                existing.origin == Origin::Config,
                existing.settings == service.settings,
            );
            if !is_own && let Some(existing) = state.services.get_mut(&key) {
                existing.origin = Origin::Config;
            }
            if !is_same {
                change::replace_service(state, key, service.settings.clone(), observed)?;
            }
        }
    }
    let listed = listed(state, &key);
    let named: HashMap<SocketAddr, &DestinationSettings> = service
        .destinations
        .iter()
        .map(|(address, settings)| (*address, settings))
        .collect();
    for address in listed.keys().filter(|address| !named.contains_key(address)) {
        change::delete_destination(state, &key, *address, observed)?;
    }
    for (address, settings) in &service.destinations {
        match listed.get(address) {
            // Taken out for maintenance: it comes back when that ends.
            None if state.maintenance.has_removed(&key, address.ip()) => {}
            None => {
                let (origin, settings) = (Origin::Config, settings.clone());
                change::add_unlisted(state, &key, *address, settings, origin, observed)?;
            }
            Some(id) => follow_destination(state, &key, (*id, *address), settings, observed)?,
        }
    }
    Ok(())
}

/// Destinations of a service and their ids.
pub(crate) fn listed(state: &State, key: &ServiceKey) -> HashMap<SocketAddr, u32> {
    let service = state.services.get(key);
    let ids = service.into_iter().flat_map(|service| &service.list);
    ids.filter_map(|id| Some((state.destinations.get(id)?.address, *id)))
        .collect()
}

fn follow_destination(
    state: &mut State,
    key: &ServiceKey,
    (id, address): (u32, SocketAddr),
    settings: &DestinationSettings,
    observed: &Observed,
) -> Result<(), Refusal> {
    let Some(destination) = state.destinations.get(&id) else {
        return Ok(());
    };
    let is_same = destination.settings == *settings;
    if destination.origin != Origin::Config
        && let Some(destination) = state.destinations.get_mut(&id)
    {
        destination.origin = Origin::Config;
    }
    if is_same {
        return Ok(());
    }
    change::edit_destination(state, key, address, settings.clone(), observed)
}
