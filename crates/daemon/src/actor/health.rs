//! What the checks tell, and what follows from it.

use std::net::IpAddr;

use control::{Event, Link, LinkReport};
use health::state::News;
use tracing::error;

use super::Actor;
use crate::host::Host;
use crate::limits;
use crate::plane::Plane;

impl<P: Plane, H: Host> Actor<P, H> {
    /// Checks have found something new.
    pub(super) fn health_news(&mut self, news: &[News]) {
        self.health.tell(news);
        let different = self.health.take(news);
        if different.is_empty() {
            self.go_on_applying();
            return;
        }
        let services = different.iter();
        let services = services
            .filter_map(|key| self.health.allowed(key))
            .collect();
        if let Err(refusal) = self.apply(Event::Services(services)) {
            // As with the network: what is tried again and again is the whole, not this step.
            error!(%refusal, "the health of real servers changed and could not be followed");
            self.is_unhealthy = true;
        }
        self.save_health();
        self.go_on_applying();
    }

    /// What could not be followed is tried again: all services as their health allows.
    pub(super) fn catch_up_with_health(&mut self) {
        if !std::mem::take(&mut self.is_unhealthy) {
            return;
        }
        let keys: Vec<api::ServiceKey> = self.state.services.keys().copied().collect();
        let services = keys.iter().filter_map(|key| self.health.allowed(key));
        if let Err(refusal) = self.apply(Event::Services(services.collect())) {
            error!(%refusal, "the health of real servers still cannot be followed");
            self.is_unhealthy = true;
        }
    }

    /// Writes what is believed: at once, or with so much of it when it is due.
    pub(super) fn save_health(&mut self) {
        if self.health.len() > limits::BELIEVED_AT_ONCE {
            self.reload.is_health_unsaved = true;
            return;
        }
        self.write_health();
    }

    pub(super) fn save_health_if_behind(&mut self) {
        if self.reload.is_health_unsaved {
            self.write_health();
        }
    }

    fn write_health(&mut self) {
        self.reload.is_health_unsaved = false;
        if let Err(error) = self.files.save_health(&self.health.believed()) {
            error!(error = crate::chain(&error), "health not saved");
        }
    }

    /// A destination that is put back is new to the table, but not to the resolver, which tells
    /// only what is new to it.
    pub(super) fn repeat_links(&mut self) {
        let unknown = self.state.links.iter();
        let unknown = unknown.filter(|(_, link)| **link == Link::unknown());
        let known: Vec<(IpAddr, LinkReport)> = unknown
            .filter_map(|(server, _)| Some((*server, self.health.link(*server)?.clone())))
            .collect();
        if !known.is_empty()
            && let Err(refusal) = self.apply(Event::Links(known))
        {
            error!(%refusal, "what is known of real servers could not be used");
        }
    }
}
