//! The changes of ipvsadm, with the kernel's meaning of each.

use std::net::SocketAddr;

use api::{
    Change, DestinationSettings, Origin, Refusal, RefusalCode, ServiceKey, ServiceSettings, Stats,
};

use crate::check::{self, refusal};
use crate::event::Observed;
use crate::limits;
use crate::rotation::Place;
use crate::state::{Destination, Link, Service, State, Trashed};

pub(crate) fn apply(
    state: &mut State,
    change: Change,
    origin: Origin,
    observed: &Observed,
) -> Result<(), Refusal> {
    match change {
        Change::AddService { service, settings } => {
            add_service(state, service, settings, origin, observed)
        }
        Change::EditService { service, settings } => {
            edit_service(state, service, settings, observed)
        }
        Change::DeleteService { service } => delete_service(state, &service),
        Change::Clear => {
            clear(state);
            Ok(())
        }
        Change::SetTimeouts { timeouts } => set_timeouts(state, timeouts),
        Change::Zero { .. } => Err(refusal(
            RefusalCode::NotSupported,
            "zeroing counters (-Z) is not supported yet".to_owned(),
        )),
        Change::AddDestination {
            service,
            destination,
            settings,
        } => add_destination(state, &service, destination, settings, origin, observed),
        Change::EditDestination {
            service,
            destination,
            settings,
        } => edit_destination(state, &service, destination, settings, observed),
        Change::DeleteDestination {
            service,
            destination,
        } => delete_destination(state, &service, destination, observed),
    }
}

pub(crate) fn add_service(
    state: &mut State,
    key: ServiceKey,
    settings: ServiceSettings,
    origin: Origin,
    observed: &Observed,
) -> Result<(), Refusal> {
    if state.services.contains_key(&key) {
        return Err(refusal(
            RefusalCode::ServiceExists,
            format!("service {key} exists already: edit it instead"),
        ));
    }
    check::scheduler(&settings.scheduler)?;
    check::service(&key, &settings)?;
    let id = state.free_service_ids().next().ok_or_else(|| {
        refusal(
            RefusalCode::Full,
            format!(
                "there are {} services, as many as fit: delete one",
                limits::SERVICES
            ),
        )
    })?;
    let place = start(&settings, &[])?;
    let service = Service {
        id,
        incarnation: state.number(),
        publication: state.number(),
        settings,
        origin,
        list: Vec::new(),
        place,
        picks: observed.picks.get(&id).copied().unwrap_or(0),
        retired: Stats::default(),
    };
    state.services.insert(key, service);
    Ok(())
}

/// Another scheduler starts afresh on the list; the same one is not disturbed.
pub(crate) fn edit_service(
    state: &mut State,
    key: ServiceKey,
    settings: ServiceSettings,
    observed: &Observed,
) -> Result<(), Refusal> {
    let service = state.services.get(&key).ok_or_else(|| no_service(&key))?;
    check::scheduler(&settings.scheduler)?;
    if service.settings == settings {
        return Ok(());
    }
    check::service(&key, &settings)?;
    let place = match service.settings.scheduler == settings.scheduler {
        true => None,
        false => Some(start(&settings, &state.candidates(service))?),
    };
    state.rework(&key, observed, |_, service| {
        if let Some(place) = place {
            service.place = place;
        }
        service.settings = settings;
    });
    Ok(())
}

pub(crate) fn delete_service(state: &mut State, key: &ServiceKey) -> Result<(), Refusal> {
    let service = state.services.remove(key).ok_or_else(|| no_service(key))?;
    for id in service.list {
        discard(state, id);
    }
    Ok(())
}

fn clear(state: &mut State) {
    let services = std::mem::take(&mut state.services);
    for id in services.into_values().flat_map(|service| service.list) {
        discard(state, id);
    }
}

/// What is set here holds until the file says something new of it.
fn set_timeouts(state: &mut State, timeouts: api::Timeouts) -> Result<(), Refusal> {
    check::timeouts(timeouts)?;
    let wish = |seconds: u32| (seconds != 0).then_some(seconds);
    let set = &mut state.timeouts_set;
    set.tcp = wish(timeouts.tcp).or(set.tcp);
    set.tcpfin = wish(timeouts.tcpfin).or(set.tcpfin);
    set.udp = wish(timeouts.udp).or(set.udp);
    state.timeouts = set.over(state.timeouts);
    Ok(())
}

pub(crate) fn add_destination(
    state: &mut State,
    key: &ServiceKey,
    address: SocketAddr,
    settings: DestinationSettings,
    origin: Origin,
    observed: &Observed,
) -> Result<(), Refusal> {
    let service = state.services.get(key).ok_or_else(|| no_service(key))?;
    let address = with_port_of(key, address);
    check::ranges(&settings)?;
    check::family(key, address, settings.forwarding)?;
    if state.listed(service, address).is_some() {
        return Err(refusal(
            RefusalCode::DestinationExists,
            format!("service {key} has destination {address} already: edit it instead"),
        ));
    }
    check::address(address.ip(), observed)?;
    check::supported(&settings)?;
    let incarnation = service.incarnation;
    let id = match trashed(state, key, address) {
        Some(id) => id,
        None => free_destination_id(state)?,
    };
    let base = base(state, id, incarnation, observed);
    let destination = Destination {
        service: *key,
        incarnation,
        address,
        settings,
        origin,
        base,
    };
    state.rework(key, observed, |state, service| {
        state.trash.remove(&id);
        state.destinations.insert(id, destination);
        state
            .links
            .entry(address.ip())
            .or_insert_with(Link::unknown);
        service.list.insert(0, id);
        service.place.changed(&state.candidates(service));
    });
    Ok(())
}

pub(crate) fn edit_destination(
    state: &mut State,
    key: &ServiceKey,
    address: SocketAddr,
    settings: DestinationSettings,
    observed: &Observed,
) -> Result<(), Refusal> {
    let service = state.services.get(key).ok_or_else(|| no_service(key))?;
    let address = with_port_of(key, address);
    check::ranges(&settings)?;
    check::family(key, address, settings.forwarding)?;
    let id = state
        .listed(service, address)
        .ok_or_else(|| no_destination(key, address))?;
    check::supported(&settings)?;
    state.rework(key, observed, |state, service| {
        if let Some(destination) = state.destinations.get_mut(&id) {
            destination.settings = settings;
        }
        service.place.changed(&state.candidates(service));
    });
    Ok(())
}

/// Unlike the others, deletion compares the port as given (`ipvs.md` 1.4).
pub(crate) fn delete_destination(
    state: &mut State,
    key: &ServiceKey,
    address: SocketAddr,
    observed: &Observed,
) -> Result<(), Refusal> {
    let service = state.services.get(key).ok_or_else(|| no_service(key))?;
    let id = state
        .listed(service, address)
        .ok_or_else(|| no_destination(key, address))?;
    state.rework(key, observed, |state, service| {
        service.place.deleted(id, &state.candidates(service));
        service.list.retain(|listed| *listed != id);
        discard(state, id);
    });
    Ok(())
}

/// Puts a destination in the trash.
fn discard(state: &mut State, id: u32) {
    if let Some(destination) = state.destinations.remove(&id) {
        let gone = Trashed {
            destination,
            idle_since_s: None,
        };
        state.trash.insert(id, gone);
    }
}

/// A revived destination keeps its counters while its service is the same one; under a service
/// made anew they start at zero (`ipvs.md` 5).
fn base(state: &State, id: u32, incarnation: u64, observed: &Observed) -> Stats {
    match state.trash.get(&id).map(|gone| &gone.destination) {
        Some(old) if old.incarnation == incarnation => old.base,
        Some(_) => observed.stats.get(&id).copied().unwrap_or_default(),
        None => Stats::default(),
    }
}

fn trashed(state: &State, key: &ServiceKey, address: SocketAddr) -> Option<u32> {
    let mut trash = state.trash.iter();
    trash
        .find(|(_, gone)| gone.destination.service == *key && gone.destination.address == address)
        .map(|(id, _)| *id)
}

fn start(
    settings: &ServiceSettings,
    list: &[crate::rotation::Candidate],
) -> Result<Place, Refusal> {
    Place::start(&settings.scheduler, list).ok_or_else(|| {
        refusal(
            RefusalCode::NoSuchScheduler,
            format!(
                "there is no scheduler {:?}: use rr or wrr",
                settings.scheduler
            ),
        )
    })
}

/// Direct routing keeps the packet's port, so a destination's port can only be the service's.
fn with_port_of(key: &ServiceKey, destination: SocketAddr) -> SocketAddr {
    SocketAddr::new(destination.ip(), key.port())
}

/// The free id that has rested longest.
fn free_destination_id(state: &mut State) -> Result<u32, Refusal> {
    let largest = limits::DESTINATION_IDS - 1;
    let free = (0..largest)
        .map(|step| (state.last_id + step) % largest + 1)
        .find(|id| !state.destinations.contains_key(id) && !state.trash.contains_key(id))
        .ok_or_else(|| {
            refusal(
                RefusalCode::Full,
                format!(
                    "there are {largest} destinations, deleted ones with living connections \
                     included, as many as fit: delete some and wait for their connections"
                ),
            )
        })?;
    state.last_id = free;
    Ok(free)
}

fn no_service(key: &ServiceKey) -> Refusal {
    refusal(
        RefusalCode::NoSuchService,
        format!("there is no service {key}: add it first"),
    )
}

fn no_destination(key: &ServiceKey, address: SocketAddr) -> Refusal {
    refusal(
        RefusalCode::NoSuchDestination,
        format!("service {key} has no destination {address}: add it first"),
    )
}
