//! What can be found out from the tables, kept so that nobody has to walk them for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use api::ServiceKey;

use crate::limits;
use crate::state::Destination;

/// Never written: made anew from what is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// Listed destinations of each real server.
    pub(crate) by_server: BTreeMap<IpAddr, BTreeSet<u32>>,
    /// Deleted destinations by service and address.
    pub(crate) deleted: BTreeMap<(ServiceKey, SocketAddr), u32>,
    /// Service numbers that nobody has, of those below the first that nobody ever had.
    free_services: BTreeSet<u32>,
    /// The first service number that nobody ever had.
    unused_service: u32,
    /// How many services have a virtual address.
    pub(crate) offered: BTreeMap<IpAddr, usize>,
    /// How many services and deleted destinations have a virtual address.
    served: BTreeMap<IpAddr, usize>,
    /// Services that are known to be in the table exactly as the configuration names them. A service may be so and not
    /// be here.
    pub(crate) as_named: BTreeSet<ServiceKey>,
    /// Whether the set of served addresses may have changed in this step.
    pub(crate) is_served_changed: bool,
}

/// It says nothing beside what it is made of.
impl PartialEq for Index {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Index {}

impl Index {
    pub(crate) fn add_service(&mut self, key: &ServiceKey, id: u32) {
        if id >= self.unused_service {
            self.free_services.extend(self.unused_service..id);
            self.unused_service = id + 1;
        }
        self.free_services.remove(&id);
        if let Some(address) = key.address() {
            *self.offered.entry(address.ip()).or_default() += 1;
            self.serve(address.ip());
        }
    }

    pub(crate) fn remove_service(&mut self, key: &ServiceKey, id: u32) {
        self.as_named.remove(key);
        self.free_services.insert(id);
        if let Some(address) = key.address() {
            take(&mut self.offered, address.ip());
            self.cease(address.ip());
        }
    }

    pub(crate) fn add_listed(&mut self, id: u32, one: &Destination) {
        let server = one.address.ip();
        self.by_server.entry(server).or_default().insert(id);
    }

    pub(crate) fn remove_listed(&mut self, id: u32, one: &Destination) {
        let server = one.address.ip();
        if let Some(ids) = self.by_server.get_mut(&server) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_server.remove(&server);
            }
        }
    }

    pub(crate) fn add_deleted(&mut self, id: u32, one: &Destination) {
        self.deleted.insert((one.service, one.address), id);
        if let Some(address) = one.service.address() {
            self.serve(address.ip());
        }
    }

    pub(crate) fn remove_deleted(&mut self, one: &Destination) {
        self.deleted.remove(&(one.service, one.address));
        if let Some(address) = one.service.address() {
            self.cease(address.ip());
        }
    }

    /// Service numbers that nobody has, lowest first.
    pub(crate) fn free_services(&self) -> impl Iterator<Item = u32> + '_ {
        let unused = self.unused_service..limits::SERVICES;
        self.free_services.iter().copied().chain(unused)
    }

    /// Deleted destinations of a service.
    pub(crate) fn deleted_of(&self, key: ServiceKey) -> impl Iterator<Item = u32> + '_ {
        let least = SocketAddr::from(([0, 0, 0, 0], 0));
        let from = self.deleted.range((key, least)..);
        from.take_while(move |((of, _), _)| *of == key)
            .map(|(_, id)| *id)
    }

    /// Addresses of services and of deleted destinations.
    pub(crate) fn served(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.served.keys().copied()
    }

    fn serve(&mut self, address: IpAddr) {
        let count = self.served.entry(address).or_default();
        *count += 1;
        self.is_served_changed |= *count == 1;
    }

    fn cease(&mut self, address: IpAddr) {
        self.is_served_changed |= take(&mut self.served, address);
    }
}

/// Whether it was the last one.
fn take(counts: &mut BTreeMap<IpAddr, usize>, address: IpAddr) -> bool {
    let Some(count) = counts.get_mut(&address) else {
        return false;
    };
    *count -= 1;
    if *count > 0 {
        return false;
    }
    counts.remove(&address);
    true
}
