//! The configuration meets the table.
//!
//! Services and destinations that the file names come from it; those that were made at runtime
//! stay. What an operator changed at runtime survives a crash of the daemon: then the file
//! counts only where it differs from the one applied before. After an orderly stop there is no
//! such memory, and the file counts in everything it names.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use api::{DestinationSettings, Origin, Refusal, ServiceKey};

use crate::change;
use crate::enforce::listed;
use crate::event::{Desired, DesiredService, Observed};
use crate::state::State;

pub(crate) fn apply(
    state: &mut State,
    desired: Desired,
    observed: &Observed,
) -> Result<(), Refusal> {
    follow_director(state, &desired);
    let applied = state.applied.take();
    let before = match applied {
        Some(_) => BTreeMap::clone(&state.named),
        None => BTreeMap::new(),
    };
    let applied = applied.unwrap_or_default();
    follow_timeouts(state, applied.timeouts, desired.timeouts);
    delete_unnamed_services(state, &desired)?;
    for service in &desired.services {
        let old = before.get(&service.key);
        follow(state, service, old.map(|old| &**old), observed)?;
        let existing = state.services.get(&service.key);
        let count = existing.map(|existing| existing.list.len());
        // With nothing named before, all that is named was followed; what is there beside it was made at runtime.
        if old.is_none()
            && count == Some(service.destinations.len())
            && existing.is_some_and(|existing| existing.settings == service.settings)
            && state.maintenance.orders().next().is_none()
        {
            state.index.as_named.insert(service.key);
        }
    }
    state.set_applied(desired);
    Ok(())
}

/// The configuration says something else of some of its services. A service that is not in the
/// table was deleted at runtime, and stays deleted.
pub(crate) fn apply_some(
    state: &mut State,
    services: Vec<DesiredService>,
    observed: &Observed,
) -> Result<(), Refusal> {
    if state.applied.is_none() {
        return Ok(());
    }
    for service in services {
        let Some(old) = state.named.get(&service.key).map(Arc::clone) else {
            continue;
        };
        if state.services.contains_key(&service.key) && *old != service {
            follow(state, &service, Some(&old), observed)?;
            // An edit keeps of a service's settings what only the file can say.
            if old.settings != service.settings {
                state.index.as_named.remove(&service.key);
            }
            state.named.insert(service.key, Arc::new(service));
        }
    }
    Ok(())
}

/// What the file says beside services and timeouts.
pub(crate) fn follow_director(state: &mut State, desired: &Desired) {
    state.interfaces.clone_from(&desired.interfaces);
    state.manage_vips = desired.manage_vips;
    state.settings = desired.settings;
    if *state.marks != desired.marks {
        state.marks = Arc::new(desired.marks.clone());
    }
}

/// What was set at runtime stays, where the file does not differ from the one before; after an
/// orderly stop, from the defaults.
fn follow_timeouts(state: &mut State, before: api::Timeouts, desired: api::Timeouts) {
    let set = &mut state.timeouts_set;
    set.tcp = set.tcp.filter(|_| before.tcp == desired.tcp);
    set.tcpfin = set.tcpfin.filter(|_| before.tcpfin == desired.tcpfin);
    set.udp = set.udp.filter(|_| before.udp == desired.udp);
    state.timeouts = set.over(desired);
}

fn delete_unnamed_services(state: &mut State, desired: &Desired) -> Result<(), Refusal> {
    let named: BTreeSet<ServiceKey> = desired.services.iter().map(|one| one.key).collect();
    let unnamed: Vec<ServiceKey> = state
        .services
        .iter()
        .filter(|(_, service)| service.origin == Origin::Config)
        .map(|(key, _)| *key)
        .filter(|key| !named.contains(key))
        .collect();
    unnamed
        .iter()
        .try_for_each(|key| change::delete_service(state, key))
}

fn follow(
    state: &mut State,
    service: &DesiredService,
    old: Option<&DesiredService>,
    observed: &Observed,
) -> Result<(), Refusal> {
    let key = service.key;
    let same_settings = old.is_some_and(|old| old.settings == service.settings);
    match state.services.get(&key).map(|existing| existing.origin) {
        None if same_settings => return follow_deleted(state, service, old, observed),
        None => {
            let settings = service.settings.clone();
            change::add_service(state, key, settings, Origin::Config, observed)?;
        }
        Some(origin) => {
            if origin != Origin::Config
                && let Some(existing) = state.services.get_mut(&key)
            {
                existing.origin = Origin::Config;
            }
            if !same_settings {
                change::edit_service(state, key, service.settings.clone(), observed)?;
            }
        }
    }
    delete_unnamed_destinations(state, service, observed)?;
    let listed = listed(state, &key);
    let before = old.into_iter().flat_map(|old| &old.destinations);
    let before: HashMap<SocketAddr, &DestinationSettings> = before
        .map(|(address, settings)| (*address, settings))
        .collect();
    for (address, settings) in &service.destinations {
        // Taken out for maintenance: it comes back when that ends.
        if state.maintenance.has_removed(&key, address.ip()) {
            continue;
        }
        // What the file said before of it is no news.
        if before.get(address) != Some(&settings) {
            let id = listed.get(address).copied();
            upsert(state, key, (*address, id), settings, observed)?;
        }
    }
    Ok(())
}

/// A service that was deleted at runtime stays deleted, until the file says something new of it.
fn follow_deleted(
    state: &mut State,
    service: &DesiredService,
    old: Option<&DesiredService>,
    observed: &Observed,
) -> Result<(), Refusal> {
    if old == Some(service) {
        return Ok(());
    }
    follow(state, service, None, observed)
}

fn delete_unnamed_destinations(
    state: &mut State,
    service: &DesiredService,
    observed: &Observed,
) -> Result<(), Refusal> {
    let Some(existing) = state.services.get(&service.key) else {
        return Ok(());
    };
    let named = service.destinations.iter();
    let named: HashSet<SocketAddr> = named.map(|(address, _)| *address).collect();
    let unnamed: Vec<SocketAddr> = existing
        .list
        .iter()
        .filter_map(|id| state.destinations.get(id))
        .filter(|one| one.origin == Origin::Config)
        .map(|one| one.address)
        .filter(|address| !named.contains(address))
        .collect();
    unnamed
        .into_iter()
        .try_for_each(|address| change::delete_destination(state, &service.key, address, observed))
}

fn upsert(
    state: &mut State,
    key: ServiceKey,
    (address, id): (SocketAddr, Option<u32>),
    settings: &DestinationSettings,
    observed: &Observed,
) -> Result<(), Refusal> {
    let Some(id) = id else {
        return change::add_unlisted(
            state,
            &key,
            address,
            settings.clone(),
            Origin::Config,
            observed,
        );
    };
    let Some(destination) = state.destinations.get_mut(&id) else {
        return Ok(());
    };
    destination.origin = Origin::Config;
    if destination.settings == *settings {
        return Ok(());
    }
    change::edit_destination(state, &key, address, settings.clone(), observed)
}
