//! Virtual addresses on this host follow the services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::ServiceKey;

use crate::event::Observed;
use crate::state::{State, Vip};

/// Adds the addresses that services need and drops those that none needs any more. An address
/// that the host has already is somebody else's: it is used and never removed. When addresses are
/// no longer ours to manage, those we added go: whoever moves them now puts them where they belong.
pub(crate) fn follow_services(state: &mut State, observed: &Observed) {
    if !state.manage_vips {
        if !state.vips.is_empty() {
            state.vips.clear();
        }
        return;
    }
    for address in in_question(state) {
        let is_wanted = state.index.offered.contains_key(&address) && is_ownable(&address);
        let vip = state.vips.get(&address);
        // One of ours on an interface that the configuration names no more is placed anew.
        let is_placed =
            vip.is_some_and(|vip| !vip.ours || state.interfaces.contains(&vip.interface));
        if is_wanted && is_placed {
            continue;
        }
        let before = state.vips.remove(&address);
        if let Some(vip) = is_wanted
            .then(|| place(state, before.as_ref(), address, observed))
            .flatten()
        {
            state.vips.insert(address, vip);
        }
    }
}

/// Addresses that may have become a service's or nobody's in this step: all, when where they belong may
/// have changed.
fn in_question(state: &State) -> BTreeSet<IpAddr> {
    let was = state.was();
    let is_same = (was.manage_vips, &was.interfaces) == (state.manage_vips, &state.interfaces);
    if is_same {
        let touched = state.services.touched();
        return touched.filter_map(address_of).collect();
    }
    let offered = state.index.offered.keys();
    offered.chain(state.vips.keys()).copied().collect()
}

fn address_of(key: &ServiceKey) -> Option<IpAddr> {
    Some(key.address()?.ip())
}

/// IPVS takes any service address; a host cannot have every one (`ipvs.md` 1.4).
fn is_ownable(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

/// Where the address is, or the interface it belongs on: the one whose subnet covers it, else
/// the first.
fn place(state: &State, before: Option<&Vip>, address: IpAddr, observed: &Observed) -> Option<Vip> {
    let was_ours = before.filter(|vip| vip.ours);
    let mut own = observed
        .addresses
        .iter()
        .filter(|own| own.address == address);
    if let Some(own) = own.find(|own| was_ours.is_none_or(|vip| vip.interface != own.interface)) {
        return Some(Vip {
            interface: own.interface.clone(),
            ours: false,
        });
    }
    let covering = observed
        .addresses
        .iter()
        .find(|own| state.interfaces.contains(&own.interface) && own.covers(address));
    let interface = covering
        .map(|own| &own.interface)
        .or(state.interfaces.first())?;
    Some(Vip {
        interface: interface.clone(),
        ours: true,
    })
}
