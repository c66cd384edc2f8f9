//! Real servers that answer nobody are checked at once.

use std::collections::BTreeSet;
use std::time::Instant;

use api::{EventKind, Occurrence, Protocol};

use super::Actor;
use crate::events;
use crate::host::Host;
use crate::plane::Plane;
use crate::suspicion::Reading;

impl<P: Plane, H: Host> Actor<P, H> {
    /// Compares what the destinations with checks were given since the last look, and what became of it.
    pub(super) fn suspect(&mut self) {
        let (state, plane) = (&self.state, &self.rooms.plane);
        let checked = self.health.destinations();
        let checked = checked.filter(|(key, _)| key.protocol() == Some(Protocol::Tcp));
        let readings: Vec<Reading> = checked
            .filter_map(|(service, server)| {
                let mut ids = state.ids_at(server, Some(service));
                let id = ids.find(|id| state.destinations.contains_key(id))?;
                Some(Reading {
                    service,
                    server,
                    id,
                    connections: plane.stats(id).connections,
                })
            })
            .collect();
        let recent = self.suspicion.look(&readings);
        if recent.is_empty() {
            return;
        }
        let ids: BTreeSet<u32> = recent.iter().map(|one| one.id).collect();
        let unanswered = self.rooms.plane.unanswered(&ids);
        for suspect in self.suspicion.judge(&recent, &unanswered, Instant::now()) {
            let what = Occurrence::of(EventKind::ServerSuspected).service(suspect.service);
            events::emit(what.server(suspect.server).because(&suspect.reason));
            self.health.suspect(suspect);
        }
    }
}
