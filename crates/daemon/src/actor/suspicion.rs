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
    /// Compares what the destinations with checks were given since the last look, and what became of it. To be called when
    /// all counters were looked at anew: nobody reads 100,000 of them twice.
    pub(super) fn suspect(&mut self) {
        let (state, estimates) = (&self.state, &self.estimates);
        let checked = self.health.services();
        let checked = checked.filter(|key| key.protocol() == Some(Protocol::Tcp));
        let services = checked.filter_map(|key| Some((*key, state.services.get(key)?)));
        let readings = services.flat_map(|(service, listed)| {
            let ids = listed.list.iter();
            ids.filter_map(move |id| {
                Some(Reading {
                    service,
                    server: state.destinations.get(id)?.address.ip(),
                    id: *id,
                    connections: estimates.shown(*id).connections,
                })
            })
        });
        let readings: Vec<Reading> = readings.collect();
        let mut recent = self.suspicion.look(&readings);
        recent.retain(|one| self.health.is_checked(&one.service, one.server));
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
