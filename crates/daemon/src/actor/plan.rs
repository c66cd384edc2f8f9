//! What an apply would do. The actor says what is known; the rest is computed by whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use api::{Drift, PlannedService, Refusal, ServiceDifference, ServiceKey, SettingDifference};
use config::Config;
use control::{Desired, Event, LinkReport, Observed, State};
use health::probe::Standing;

use super::Actor;
use crate::forecast::{self, Gauges};
use crate::host::Host;
use crate::plane::Plane;

mod settings;

/// All that is needed to say what an apply would do.
pub(crate) struct Basis {
    state: State,
    event: Event,
    observed: Observed,
    gauges: Gauges,
    differences: Vec<ServiceDifference>,
    drifted: BTreeSet<ServiceKey>,
    settings: Vec<SettingDifference>,
    notes: Vec<String>,
}

impl<P: Plane, H: Host> Actor<P, H> {
    /// Reads what is needed. New real servers are taken for reachable and well: that is what an apply waits for.
    pub(super) fn basis(&self, config: &Config) -> Result<Basis, Refusal> {
        let mut desired = Desired::from(config);
        let next = self
            .health
            .next(config, &desired, |_, _| Some(Standing::Up));
        next.filter(&mut desired);
        let differences = control::differences(&self.state, &desired);
        let drifted = control::drift(&self.state);
        let named = differences.iter();
        let named = named.filter_map(|one| self.state.services.get(&one.service));
        let ids = named.flat_map(|service| &service.list);
        let gauges = ids.map(|id| (*id, self.rooms.plane.gauges(*id))).collect();
        let event = Event::Apply {
            desired,
            generation: self.state.generation + 1,
        };
        let mut observed = self.answers(self.state.questions(&event), self.addresses()?);
        observed.links = self.health.reports(&event, &self.state);
        self.assume_links(&event, &mut observed.links);
        Ok(Basis {
            event,
            observed,
            gauges,
            differences,
            drifted: drifted.iter().map(|one| one.service).collect(),
            settings: settings::of(&self.reload.config, config, &self.state),
            notes: self.notes(config),
            state: self.state.clone(),
        })
    }

    /// What was changed at runtime. What checks and maintenance do is not.
    pub(super) fn drifted(&self) -> Drift {
        let services = control::drift(&self.state).into_iter();
        Drift {
            generation: self.state.generation,
            services: services.map(ServiceDifference::reversed).collect(),
            settings: settings::drift(&self.state),
        }
    }

    /// A real server that is new to the table is thought to be behind the first interface.
    fn assume_links(&self, event: &Event, links: &mut BTreeMap<IpAddr, LinkReport>) {
        let (Event::Apply { desired, .. }, Some(egress)) =
            (event, self.state.egress.values().next())
        else {
            return;
        };
        let named = desired
            .services
            .iter()
            .flat_map(|service| &service.destinations);
        let new = named.map(|(address, _)| address.ip());
        for server in new.filter(|server| !self.state.links.contains_key(server)) {
            links.entry(server).or_insert(LinkReport::Via {
                mac: [2, 0, 0, 0, 0, 1],
                interface: egress.index,
            });
        }
    }
}

impl Basis {
    /// What an apply would do: a step that is thought and not made.
    pub(crate) fn plan(self, file: PathBuf) -> Result<api::Plan, Refusal> {
        let mut after = self.state.clone();
        control::step(&mut after, self.event, &self.observed)?;
        let services = self
            .differences
            .into_iter()
            .map(|difference| PlannedService {
                drifted: self.drifted.contains(&difference.service),
                moves: forecast::moves(&self.state, &after, &self.gauges, &difference),
                difference,
            });
        Ok(api::Plan {
            file,
            generation: self.state.generation,
            services: services.collect(),
            settings: self.settings,
            notes: self.notes,
        })
    }
}
