//! What traces need of the one writer: seats, the exchange of programs for the first and the last, and names.

use std::sync::mpsc::SyncSender;

use api::{Refusal, RefusalCode};
use dataplane::{Watch, Watched};
use tracing::{error, info};

use super::{Actor, internal};
use crate::host::Host;
use crate::message::Message;
use crate::plane::Plane;
use crate::trace::{Asked, Begun, Entry, Hub, Names};

impl<P: Plane, H: Host> Actor<P, H> {
    /// Begins a trace; the first one has the watched programs put in, once they are loaded.
    pub(crate) fn trace(
        &mut self,
        asked: Asked,
        actor: SyncSender<Message>,
    ) -> Result<Entry, Refusal> {
        let failed = |error: anyhow::Error| internal(&error);
        let hub = match (&self.traces, asked.watched) {
            // Two that began at once have both loaded them.
            (Some(hub), _not_needed) => hub.clone(),
            (None, Some(watched)) => self.begin_to_watch(watched).map_err(failed)?,
            (None, None) => {
                let loader = self.rooms.plane.watched_loader().map_err(failed)?;
                return Ok(Entry::First(loader));
            }
        };
        let seat = hub.join(asked.filter, actor).map_err(failed)?;
        let seat = seat.ok_or_else(|| Refusal {
            code: RefusalCode::Full,
            message: format!("{} traces run already: end one first", Watch::TRACES),
        })?;
        Ok(Entry::Begun(Box::new(Begun {
            seat,
            guide: self.rooms.plane.guide().map_err(failed)?,
            names: self.names(),
        })))
    }

    fn begin_to_watch(&mut self, watched: Watched) -> anyhow::Result<Hub> {
        let watch = self.rooms.plane.begin_to_watch(watched)?;
        let started = Hub::start(watch);
        if started.is_err() {
            self.rooms.plane.end_to_watch()?;
        }
        let hub = started?;
        self.traces = Some(hub.clone());
        info!("the programs that are watched are in place");
        Ok(hub)
    }

    /// Ends a trace; with the last one the plain programs are put back.
    pub(crate) fn trace_left(&mut self, seat: usize) {
        let is_last = self.traces.as_ref().is_some_and(|hub| hub.leave(seat));
        if is_last {
            self.end_traces();
        }
    }

    /// Ends all traces.
    pub(crate) fn end_traces(&mut self) {
        let Some(hub) = self.traces.take() else {
            return;
        };
        hub.end();
        match self.rooms.plane.end_to_watch() {
            Ok(()) => info!("the plain programs are back"),
            // They forward all the same.
            Err(error) => error!(
                error = crate::chain(&error),
                "the programs that were watched stay until the next start"
            ),
        }
    }

    /// What numbers are called now.
    pub(crate) fn names(&self) -> Names {
        let gone = self.state.trash.iter();
        let gone = gone.map(|(id, gone)| (id, &gone.destination));
        let destinations = self.state.destinations.iter().chain(gone);
        let egress = self.state.egress.values();
        let attached = self.rooms.plane.attached().into_iter();
        let services = self.state.services.iter();
        Names {
            services: services.map(|(key, one)| (one.id, *key)).collect(),
            destinations: destinations
                .map(|(id, one)| (*id, (one.service, one.address)))
                .collect(),
            interfaces: egress
                .map(|one| (one.index, one.name.clone()))
                .chain(attached.map(|(name, index, _)| (index, name)))
                .collect(),
        }
    }
}
