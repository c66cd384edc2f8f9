//! How real servers are reached: links and the interfaces towards them.
//!
//! A link that becomes usable or ceases to be changes which destinations are eligible, but not
//! where a scheduler stands: IPVS skips an overloaded destination in place, and so do we.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::{Refusal, RefusalCode};

use crate::check::refusal;
use crate::event::{LinkReport, Observed};
use crate::limits;
use crate::schedule::Cause;
use crate::state::{Egress, Link, State};

/// A real server's link was seen. Ignored for addresses that are no listed destination.
pub(crate) fn report(state: &mut State, address: IpAddr, report: LinkReport, observed: &Observed) {
    let link = reported(state, report);
    set(state, address, link, observed);
}

/// The link of a real server that is new to the table.
pub(crate) fn first(state: &State, address: IpAddr, observed: &Observed) -> Link {
    match observed.links.get(&address) {
        Some(report) => reported(state, report.clone()),
        None => Link::unknown(),
    }
}

fn reported(state: &State, report: LinkReport) -> Link {
    match report {
        LinkReport::Unresolved { reason } => Link::Unresolved { reason },
        LinkReport::Local => Link::Local,
        LinkReport::Via { mac, interface } => match slot_of(state, interface) {
            Some(slot) => Link::Via { mac, slot },
            None => Link::Unresolved {
                reason: format!("interface {interface} towards it has no egress slot"),
            },
        },
    }
}

/// An interface appeared or changed: it keeps its slot or gets one.
pub(crate) fn interface(
    state: &mut State,
    index: u32,
    name: String,
    mac: [u8; 6],
) -> Result<(), Refusal> {
    let slot = match slot_of(state, index) {
        Some(slot) => slot,
        None => free_slot(state)?,
    };
    state.egress.insert(slot, Egress { index, name, mac });
    Ok(())
}

/// An interface went away, and with it every link through it.
pub(crate) fn interface_gone(state: &mut State, index: u32, observed: &Observed) {
    let Some(slot) = slot_of(state, index) else {
        return;
    };
    let Some(egress) = state.egress.remove(&slot) else {
        return;
    };
    let through: Vec<IpAddr> = state
        .links
        .iter()
        .filter(|(_, link)| matches!(link, Link::Via { slot: of, .. } if *of == slot))
        .map(|(address, _)| *address)
        .collect();
    for address in through {
        let reason = format!("interface {} is gone", egress.name);
        set(state, address, Link::Unresolved { reason }, observed);
    }
}

/// Forgets the links of real servers that are no destination any more.
pub(crate) fn forget_unused(state: &mut State) {
    let touched = state.destinations.touched();
    let left = touched.filter_map(|id| Some(state.destinations.was(id)?.address.ip()));
    // One that came and went in this step was no destination when it began.
    let met = state.links.touched().copied();
    let is_used = |address: &IpAddr| state.index.by_server.contains_key(address);
    let unused: BTreeSet<IpAddr> = left
        .chain(met)
        .filter(|address| !is_used(address))
        .collect();
    for address in unused {
        state.links.remove(&address);
    }
}

fn set(state: &mut State, address: IpAddr, link: Link, observed: &Observed) {
    let Some(old) = state.links.get(&address) else {
        return;
    };
    if old.is_usable() != link.is_usable() {
        // Places are brought up to date with the old eligibility, before it changes.
        for key in services_with(state, address) {
            state.rework_for(&key, Cause::Link, observed, |_, _| {});
        }
    }
    state.links.insert(address, link);
}

fn services_with(state: &State, address: IpAddr) -> BTreeSet<api::ServiceKey> {
    let ids = state.index.by_server.get(&address).into_iter().flatten();
    ids.filter_map(|id| Some(state.destinations.get(id)?.service))
        .collect()
}

fn slot_of(state: &State, index: u32) -> Option<u8> {
    let mut slots = state.egress.iter();
    slots
        .find(|(_, egress)| egress.index == index)
        .map(|(slot, _)| *slot)
}

fn free_slot(state: &State) -> Result<u8, Refusal> {
    (0..limits::EGRESS_SLOTS)
        .find(|slot| !state.egress.contains_key(slot))
        .ok_or_else(|| {
            refusal(
                RefusalCode::Full,
                format!(
                    "real servers are behind more than {} interfaces: reach some of them through \
                     the others",
                    limits::EGRESS_SLOTS
                ),
            )
        })
}
