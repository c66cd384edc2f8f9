//! What the actor gives to a scrape of metrics: names and numbers. The counters are read by others.

use std::collections::HashMap;
use std::time::Instant;

use api::ServiceKey;
use control::Link;

use super::{Actor, File};
use crate::host::Host;
use crate::metrics::{DestinationRow, ServerRow, ServiceRow, Snapshot, TrashRow};
use crate::plane::Plane;

impl<P: Plane, H: Host> Actor<P, H> {
    pub(super) fn metrics(&mut self) -> Snapshot {
        let begun = Instant::now();
        let state = &self.state;
        // Those of real servers that are gone would grow for ever.
        self.changes
            .of
            .retain(|server, _| state.links.contains_key(server));
        let mut destinations = Vec::with_capacity(state.destinations.len());
        let mut services = Vec::with_capacity(state.services.len());
        for (key, service) in &state.services {
            let first = destinations.len();
            let listed = service.list.iter();
            destinations.extend(listed.filter_map(|id| {
                let destination = state.destinations.get(id)?;
                let link = state.links.get(&destination.address.ip());
                Some(DestinationRow {
                    id: *id,
                    address: destination.address,
                    weight: destination.settings.weight,
                    base: destination.base,
                    is_reached: link.is_some_and(Link::is_usable),
                })
            }));
            services.push(ServiceRow {
                key: *key,
                number: service.id,
                scheduler: service.settings.scheduler.clone(),
                origin: service.origin,
                retired: service.retired,
                destinations: first..destinations.len(),
            });
        }
        let (map_bytes, slots) = self.rooms.plane.size();
        let attached = self.rooms.plane.attached().into_iter();
        Snapshot {
            instance: self.about.instance.clone(),
            uptime: self.about.started.elapsed(),
            adopted: self.about.adopted,
            generation: state.generation,
            is_file_behind: self.file != File::Current,
            limits: self.about.metrics,
            interfaces: attached.map(|(name, _, mode)| (name, mode)).collect(),
            vips: state.vips.len(),
            map_bytes,
            slots,
            services,
            destinations,
            trash: self.trash_rows(),
            servers: self.server_rows(),
            changes: self.changes.clone(),
            health: self.health.rows(),
            tally: self.health.tally(),
            retired: state.retired,
            base: state.base,
            readings: self.rooms.plane.readings(),
            took: begun.elapsed(),
        }
    }

    fn trash_rows(&self) -> Vec<TrashRow> {
        let state = &self.state;
        if state.trash.is_empty() {
            return Vec::new();
        }
        let places: HashMap<ServiceKey, usize> = state.services.keys().copied().zip(0..).collect();
        let rows = state.trash.iter().map(|(id, gone)| {
            let gone = &gone.destination;
            // Not of an earlier service of the same key.
            let service = state.services.get(&gone.service);
            let service = service.filter(|service| service.incarnation == gone.incarnation);
            TrashRow {
                id: *id,
                service: service.and(places.get(&gone.service)).copied(),
                base: gone.base,
            }
        });
        rows.collect()
    }

    fn server_rows(&self) -> Vec<ServerRow> {
        let links = self.state.links.iter();
        links
            .map(|(address, link)| ServerRow {
                address: *address,
                link: match link {
                    Link::Via { .. } => "resolved",
                    Link::Unresolved { .. } => "unresolved",
                    Link::Local => "local",
                },
                changes: self.changes.of.get(address).copied().unwrap_or(0),
            })
            .collect()
    }
}
