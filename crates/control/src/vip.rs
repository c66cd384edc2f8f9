//! Virtual addresses on this host follow the services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::event::Observed;
use crate::state::{State, Vip};

/// Adds the addresses that services need and drops those that none needs any more. An address
/// that the host has already is somebody else's: it is used and never removed.
pub(crate) fn follow_services(state: &mut State, observed: &Observed) {
    if !state.manage_vips {
        return;
    }
    let wanted: BTreeSet<IpAddr> = state
        .services
        .keys()
        .map(|key| key.address.ip())
        .filter(is_ownable)
        .collect();
    state.vips.retain(|address, _| wanted.contains(address));
    for address in wanted {
        if state.vips.contains_key(&address) {
            continue;
        }
        if let Some(vip) = place(state, address, observed) {
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
fn place(state: &State, address: IpAddr, observed: &Observed) -> Option<Vip> {
    if let Some(own) = observed.addresses.iter().find(|own| own.address == address) {
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
