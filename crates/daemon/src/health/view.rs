//! The health of real servers as the API shows it.

use std::net::IpAddr;
use std::sync::Arc;

use api::{CheckState, DestinationHealth, HealthState, ServiceHealth, ServiceKey};
use health::probe::Standing;
use health::service::Effect;
use health::state::{WantedDestination, probe_key};

use super::Health;

impl Health {
    /// As the API shows it.
    pub(crate) fn view(&self) -> Vec<ServiceHealth> {
        let services = self.wanted.services.iter();
        services
            .filter_map(|(key, service)| {
                let own = self.keys.get(key)?;
                let destinations = service.destinations.iter();
                Some(ServiceHealth {
                    service: *own,
                    quorum: !self.without_quorum.contains(own),
                    sorry_server: self.sorry.get(own).copied(),
                    destinations: destinations
                        .map(|(server, wanted)| self.destination(*key, *own, *server, wanted))
                        .collect(),
                })
            })
            .collect()
    }

    fn destination(
        &self,
        key: health::state::ServiceKey,
        own: ServiceKey,
        server: IpAddr,
        wanted: &WantedDestination,
    ) -> DestinationHealth {
        let effects = self.effects.get(&own);
        let effect = effects.and_then(|effects| effects.get(&server));
        let (health, reason) = match effect {
            None | Some(Effect::Unchecked) => (HealthState::Unchecked, None),
            Some(Effect::Weight(_)) => (HealthState::Up, None),
            Some(Effect::Standby) => (HealthState::Standby, None),
            Some(Effect::Removed(reason) | Effect::Inhibited(reason)) => {
                (HealthState::Down, Some(reason.to_string()))
            }
        };
        let checks = wanted.checks.iter();
        DestinationHealth {
            server,
            weight: effect.and_then(Effect::weight),
            health,
            reason,
            suspected: self.suspicion(own, server).map(str::to_owned),
            checks: checks
                .filter_map(|name| self.check((key, server), name, wanted.believed))
                .collect(),
        }
    }

    fn check(
        &self,
        (service, server): (health::state::ServiceKey, IpAddr),
        name: &Arc<str>,
        believed: Standing,
    ) -> Option<CheckState> {
        let check = self.wanted.checks.get(name)?;
        let key = probe_key(service, server, name, check);
        let probed = self.probes.get(&key);
        Some(CheckState {
            check: name.to_string(),
            kind: check.kind.name().to_owned(),
            to: key.to,
            // One that has told nothing yet has seen nothing else than what was believed.
            health: match probed.map_or(believed, |probed| probed.standing) {
                Standing::Unchecked => HealthState::Unchecked,
                Standing::Up => HealthState::Up,
                Standing::Down => HealthState::Down,
            },
            for_s: probed.map_or(0, |probed| probed.since.elapsed().as_secs()),
            reason: probed.and_then(|probed| Some(probed.reason.as_ref()?.to_string())),
        })
    }
}
