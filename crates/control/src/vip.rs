//! Virtual addresses on this host follow the services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::ServiceKey;

use crate::event::Observed;
use crate::state::{State, Vip};

/// Adds the addresses that services need and drops those that none needs any more. An address
/// that the host has already is somebody else's: it is used and never removed. When addresses are
/// no longer ours to manage, those we added go: whoever moves them now puts them where they belong.
pub(crate) fn follow_services(state: &mut State, observed: &Observed) {
    if !state.manage_vips {
        state.vips.clear();
        return;
    }
    let wanted: BTreeSet<IpAddr> = state
        .services
        .keys()
        .filter_map(ServiceKey::address)
        .map(|address| address.ip())
        .filter(is_ownable)
        .collect();
    let before = state.vips.clone();
    let interfaces = &state.interfaces;
    state.vips.retain(|address, vip| {
        // One of ours on an interface that the configuration names no more is placed anew.
        wanted.contains(address) && (!vip.ours || interfaces.contains(&vip.interface))
    });
    for address in wanted {
        if state.vips.contains_key(&address) {
            continue;
        }
        if let Some(vip) = place(state, &before, address, observed) {
            state.vips.insert(address, vip);
        }
    }
}

/// IPVS takes any service address; a host cannot have every one (`ipvs.md` 1.4).
fn is_ownable(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

/// Where the address is, or the interface it belongs on: the one whose subnet covers it, else
/// the first.
fn place(
    state: &State,
    before: &BTreeMap<IpAddr, Vip>,
    address: IpAddr,
    observed: &Observed,
) -> Option<Vip> {
    let was_ours = before.get(&address).filter(|vip| vip.ours);
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
