//! The changes of ipvsadm, with the kernel's meaning of each.

use std::net::SocketAddr;

use api::{
    Change, DestinationSettings, Origin, Refusal, RefusalCode, ServiceKey, ServiceSettings, Stats,
};

use crate::check::{self, refusal};
use crate::event::Observed;
use crate::limits;
use crate::link;
use crate::rotation::Place;
use crate::schedule::Cause;
use crate::state::{Destination, Rest, Service, State, Trashed};

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
        Change::Zero { service } => zero(state, service, observed),
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
    let scheduler = check::scheduler(&settings)?;
    check::service(&key, &settings)?;
    let id = state.index.free_services().next().ok_or_else(|| {
        refusal(
            RefusalCode::Full,
            format!(
                "there are {} services, as many as fit: delete one",
                limits::SERVICES
            ),
        )
    })?;
    let service = Service {
        id,
        incarnation: state.number(),
        publication: state.number(),
        settings,
        origin,
        list: Vec::new(),
        place: Place::start(scheduler, &[]),
        picks: observed.picks.get(&id).copied().unwrap_or(0),
        memory: state.number(),
        retired: Stats::default(),
    };
    state.add_service(key, service);
    Ok(())
}

/// Another scheduler starts afresh on the list; the same one is not disturbed. A share that is not
/// named stays: ipvsadm does not know of it.
pub(crate) fn edit_service(
    state: &mut State,
    key: ServiceKey,
    mut settings: ServiceSettings,
    observed: &Observed,
) -> Result<(), Refusal> {
    let service = state.services.get(&key).ok_or_else(|| no_service(&key))?;
    settings.share = settings.share.or(service.settings.share);
    replace_service(state, key, settings, observed)
}

/// As an edit, but what is not said is not kept.
pub(crate) fn replace_service(
    state: &mut State,
    key: ServiceKey,
    settings: ServiceSettings,
    observed: &Observed,
) -> Result<(), Refusal> {
    let service = state.services.get(&key).ok_or_else(|| no_service(&key))?;
    let scheduler = check::scheduler(&settings)?;
    if service.settings == settings {
        return Ok(());
    }
    check::service(&key, &settings)?;
    check::room(&key, scheduler, service.list.len())?;
    let place = match service.settings.scheduler == settings.scheduler {
        true => None,
        false => Some(Place::start(scheduler, &state.candidates(service))),
    };
    state.rework(&key, observed, |state, service| {
        if let Some(place) = place {
            service.place = place;
            service.memory = state.number();
        }
        service.settings = settings;
    });
    Ok(())
}

pub(crate) fn delete_service(state: &mut State, key: &ServiceKey) -> Result<(), Refusal> {
    let service = state.remove_service(key).ok_or_else(|| no_service(key))?;
    for id in service.list {
        discard(state, id);
    }
    Ok(())
}

fn clear(state: &mut State) {
    let keys: Vec<ServiceKey> = state.services.keys().copied().collect();
    for key in keys {
        let list = state.remove_service(&key).map(|service| service.list);
        for id in list.unwrap_or_default() {
            discard(state, id);
        }
    }
}

/// What was shown last becomes the new zero point (`ipvs.md` 5).
fn zero(
    state: &mut State,
    service: Option<ServiceKey>,
    observed: &Observed,
) -> Result<(), Refusal> {
    let keys: Vec<ServiceKey> = match service {
        Some(key) if !state.services.contains_key(&key) => return Err(no_service(&key)),
        Some(key) => vec![key],
        None => state.services.keys().copied().collect(),
    };
    if service.is_none() {
        state.base = observed.total;
    }
    for key in keys {
        zero_service(state, key, observed);
    }
    Ok(())
}

fn zero_service(state: &mut State, key: ServiceKey, observed: &Observed) {
    let Some(service) = state.services.get_mut(&key) else {
        return;
    };
    service.retired = Stats::default();
    let list = service.list.clone();
    let deleted: Vec<u32> = state.index.deleted_of(key).collect();
    let reading = |id: u32| observed.stats.get(&id).copied().unwrap_or_default();
    for id in list {
        if let Some(destination) = state.destinations.get_mut(&id) {
            destination.base = reading(id);
        }
    }
    for id in deleted {
        if let Some(gone) = state.trash.get_mut(&id) {
            gone.destination.base = reading(id);
        }
    }
}

/// What is set here holds until the file says something new of it.
fn set_timeouts(state: &mut State, timeouts: api::Timeouts) -> Result<(), Refusal> {
    check::timeouts(timeouts)?;
    let wish = |seconds: u32| (seconds != 0).then_some(seconds);
    let rest: &mut Rest = state;
    let set = &mut rest.timeouts_set;
    set.tcp = wish(timeouts.tcp).or(set.tcp);
    set.tcpfin = wish(timeouts.tcpfin).or(set.tcpfin);
    set.udp = wish(timeouts.udp).or(set.udp);
    rest.timeouts = set.over(rest.timeouts);
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
    add_unlisted(state, key, address, settings, origin, observed)
}

/// The same, when it is known not to be there: to look is to walk the list.
pub(crate) fn add_unlisted(
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
    check::address(address.ip(), observed)?;
    check::supported(&settings)?;
    check::room(key, service.scheduler(), service.list.len() + 1)?;
    let incarnation = service.incarnation;
    let id = match state.index.deleted.get(&(*key, address)) {
        Some(id) => *id,
        None => free_destination_id(state)?,
    };
    let base = base(state, id, incarnation, observed);
    let mut destination = Destination {
        service: *key,
        incarnation,
        address,
        last_weight: settings.weight,
        settings,
        origin,
        base,
        reopenings: 0,
    };
    if let Some(old) = state.trash.get(&id) {
        let mut old = old.destination.clone();
        old.reopen(&destination.settings);
        destination.reopenings = old.reopenings;
    }
    state.rework(key, observed, |state, service| {
        state.remove_deleted(id);
        state.add_destination(id, destination);
        if !state.links.contains_key(&address.ip()) {
            let link = link::first(state, address.ip(), observed);
            state.links.insert(address.ip(), link);
        }
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
    state.rework_for(key, Cause::Weight, observed, |state, service| {
        if let Some(destination) = state.destinations.get_mut(&id) {
            if settings.weight != 0 {
                destination.last_weight = settings.weight;
            }
            destination.reopen(&settings);
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
    if let Some(destination) = state.remove_destination(id) {
        let gone = Trashed {
            destination,
            idle_since_s: None,
        };
        state.add_deleted(id, gone);
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

/// Direct routing keeps the packet's port, so a destination's port can only be the service's. That of a
/// firewall mark's has no meaning to packets, but names it (`ipvs.md` 1.4).
fn with_port_of(key: &ServiceKey, destination: SocketAddr) -> SocketAddr {
    match key.address() {
        Some(address) => SocketAddr::new(destination.ip(), address.port()),
        None => destination,
    }
}

/// The free id that has rested longest.
fn free_destination_id(state: &mut State) -> Result<u32, Refusal> {
    // The last one is nobody: templates of drained destinations are turned there.
    let largest = limits::DESTINATION_IDS - 2;
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
