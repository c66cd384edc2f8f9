//! The health of real servers as metrics show it.

use health::service::Effect;
use health::tally::Tally;

use super::Health;
use crate::metrics::HealthRow;

impl Health {
    /// Services that have checks, with what is believed of their real servers.
    pub(crate) fn rows(&self) -> Vec<HealthRow> {
        let services = self.wanted.services.iter();
        services
            .filter_map(|(key, service)| {
                let own = *self.keys.get(key)?;
                let effects = self.effects.get(&own);
                let is_up = |effect: &Effect| match effect {
                    Effect::Weight(_) | Effect::Standby => Some(true),
                    Effect::Removed(_) | Effect::Inhibited(_) => Some(false),
                    Effect::Unchecked => None,
                };
                let servers = service.destinations.keys().map(|server| {
                    let effect = effects.and_then(|effects| effects.get(server));
                    (*server, effect.and_then(is_up))
                });
                Some(HealthRow {
                    service: own,
                    quorum: !self.without_quorum.contains(&own),
                    sorry: self.sorry.contains_key(&own),
                    servers: servers.collect(),
                })
            })
            .collect()
    }

    /// What the checks did, counted, if there are any.
    pub(crate) fn tally(&self) -> Option<Tally> {
        self.runner.as_ref().map(health::runner::Handle::tally)
    }
}
