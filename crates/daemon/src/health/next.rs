//! The health of a configuration, made from what is known so far.
//!
//! ```text
//! configuration ─┬─ services as they were ─► what is known of them
//!                └─ new or other ones     ─► what follows from what is known of their destinations
//! ```
//!
//! What is decided here is decided again by the thread that checks, and told: the table is right from the
//! first moment on, and exact milliseconds later. A configuration that is not used in the end leaves no
//! trace.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use control::{Desired, Maintenance};
use health::probe::Standing;
use health::service::Effect;
use health::state::{ServiceKey as HealthKey, State, Wanted, WantedDestination, WantedService};

use super::{Believed, Health, key_of};

impl Health {
    /// Of a configuration, with what an earlier daemon believed.
    pub(crate) fn new(
        config: &config::Config,
        desired: &Desired,
        believed: &Believed,
        maintenance: &Arc<Maintenance>,
    ) -> Self {
        let known: BTreeMap<_, _> = believed
            .iter()
            .map(|(service, server, up)| ((*service, *server), standing(*up)))
            .collect();
        let begun = Self {
            maintenance: Arc::clone(maintenance),
            ..Self::default()
        };
        begun.next(config, desired, |service, server| {
            known.get(&(*service, server)).copied()
        })
    }

    /// Of the next configuration. What has not changed keeps what is known of it; `serves` says what is
    /// believed of a destination that had no checks. Nothing is checked by it until it has succeeded this one.
    pub(crate) fn next(
        &self,
        config: &config::Config,
        desired: &Desired,
        serves: impl Fn(&api::ServiceKey, IpAddr) -> Option<Standing>,
    ) -> Self {
        let mut next = Self {
            maintenance: Arc::clone(&self.maintenance),
            ..Self::default()
        };
        next.wanted.checks.clone_from(&config.checks);
        next.links.clone_from(&self.links);
        let same_checks = self.wanted.checks == config.checks;
        let mut changed = Wanted {
            checks: config.checks.clone(),
            services: BTreeMap::new(),
        };
        for (service, base) in config.services.iter().zip(&desired.services) {
            let Some(own) = &service.health else {
                continue;
            };
            let key = key_of(&service.key, own.asked);
            next.keys.insert(key, service.key);
            next.sources.insert(service.key, Arc::clone(service));
            let old = self.wanted.services.get(&key);
            // The very same: nothing of it need be looked at.
            let source = self.sources.get(&service.key);
            let is_same_source = source.is_some_and(|source| Arc::ptr_eq(source, service));
            if let (Some(old), Some(base), true) = (
                old,
                self.desired.get(&service.key),
                is_same_source && same_checks,
            ) {
                next.desired.insert(service.key, Arc::clone(base));
                next.wanted.services.insert(key, Arc::clone(old));
                next.keep(self, &service.key);
                continue;
            }
            next.desired.insert(service.key, Arc::new(base.clone()));
            let wanted = self.wanted_of(service, key, &serves);
            match old.filter(|old| is_same(old, &wanted)) {
                Some(old) if same_checks || self.has_same_checks(old, config) => {
                    next.wanted.services.insert(key, Arc::clone(old));
                    next.keep(self, &service.key);
                }
                _ => {
                    let wanted = Arc::new(wanted);
                    changed.services.insert(key, Arc::clone(&wanted));
                    next.wanted.services.insert(key, wanted);
                }
            }
        }
        next.decide(&changed);
        next.keep_slow_starts(self, &changed);
        next
    }

    /// Has the destinations of the next configuration checked beside the present ones, before they are named.
    pub(crate) fn check_too(&mut self, next: &Self) {
        let mut both = self.wanted.clone();
        for (name, check) in &next.wanted.checks {
            both.checks
                .entry(Arc::clone(name))
                .or_insert_with(|| check.clone());
        }
        for (key, service) in &next.wanted.services {
            let Some(own) = next.keys.get(key) else {
                continue;
            };
            self.keys.insert(*key, *own);
            let joined = both
                .services
                .entry(*key)
                .or_insert_with(|| Arc::clone(service));
            let joined = Arc::make_mut(joined);
            for (server, destination) in &service.destinations {
                let known = joined.destinations.entry(*server);
                known.or_insert_with(|| destination.clone());
            }
        }
        if let Some(runner) = &self.runner {
            runner.links(self.known_links());
            runner.want(both);
        }
    }

    /// Takes the place of another, whose thread and knowledge of probes it goes on with.
    pub(crate) fn succeed(&mut self, mut old: Self) {
        self.runner = old.runner.take();
        self.probes = std::mem::take(&mut old.probes);
        self.suspected = std::mem::take(&mut old.suspected);
        self.ask();
    }

    fn wanted_of(
        &self,
        service: &config::Service,
        key: HealthKey,
        serves: &impl Fn(&api::ServiceKey, IpAddr) -> Option<Standing>,
    ) -> WantedService {
        let Some(own) = &service.health else {
            return WantedService::default();
        };
        let old = self.wanted.services.get(&key);
        let effects = self.effects.get(&service.key);
        let destinations = service.destinations.iter().map(|destination| {
            let server = destination.address.ip();
            let checks = own.exceptions.get(&server).unwrap_or(&own.checks);
            let was_checked = old.is_some_and(|old| old.destinations.contains_key(&server));
            // Known too of those that are checked before they are named.
            let known = effects.and_then(|effects| believed(effects.get(&server)?));
            let believed = match was_checked {
                true => known,
                false => known.or_else(|| serves(&service.key, server)),
            };
            let wanted = WantedDestination {
                weight: destination.weight.into(),
                checks: checks.clone(),
                believed: believed.unwrap_or_default(),
                resting: self.maintenance.holds(&service.key, server),
            };
            (server, wanted)
        });
        WantedService {
            rules: own.rules.clone(),
            destinations: destinations.collect(),
        }
    }

    /// Whether the checks that a service uses are what they were.
    fn has_same_checks(&self, service: &WantedService, config: &config::Config) -> bool {
        let mut names = service.destinations.values().flat_map(|one| &one.checks);
        names.all(|name| self.wanted.checks.get(name) == config.checks.get(name))
    }

    /// Keeps what is known of a service.
    fn keep(&mut self, old: &Self, key: &api::ServiceKey) {
        if let Some(effects) = old.effects.get(key) {
            self.effects.insert(*key, Arc::clone(effects));
        }
        if old.without_quorum.contains(key) {
            self.without_quorum.insert(*key);
        }
        if let Some(sorry) = old.sorry.get(key) {
            self.sorry.insert(*key, *sorry);
        }
    }

    /// What follows from what is believed: decided here, as the thread will decide it.
    fn decide(&mut self, changed: &Wanted) {
        for key in changed.services.keys() {
            self.without_quorum.extend(self.keys.get(key));
        }
        let news = State::default().configure(changed, Instant::now(), || 0);
        self.take(&news);
    }

    /// A weight that grows goes on to grow from where it is.
    fn keep_slow_starts(&mut self, old: &Self, changed: &Wanted) {
        for (key, service) in &changed.services {
            let (Some(own), Some(before)) = (self.keys.get(key), old.wanted.services.get(key))
            else {
                continue;
            };
            let (Some(known), Some(effects)) = (old.effects.get(own), self.effects.get_mut(own))
            else {
                continue;
            };
            for (server, effect) in Arc::make_mut(effects) {
                let is_same = service.destinations.get(server).map(|one| one.weight)
                    == before.destinations.get(server).map(|one| one.weight);
                if is_same
                    && let (Effect::Weight(weight), Some(Effect::Weight(was))) =
                        (effect, known.get(server))
                {
                    *weight = *was;
                }
            }
        }
    }
}

fn standing(is_up: bool) -> Standing {
    if is_up { Standing::Up } else { Standing::Down }
}

/// What an effect says of the real server.
fn believed(effect: &Effect) -> Option<Standing> {
    match effect {
        Effect::Weight(_) | Effect::Standby => Some(Standing::Up),
        Effect::Removed(_) | Effect::Inhibited(_) => Some(Standing::Down),
        Effect::Unchecked => None,
    }
}

/// Whether two services are the same, whatever was believed when they were read.
fn is_same(one: &WantedService, other: &WantedService) -> bool {
    let destinations = |service: &WantedService| service.destinations.len();
    one.rules == other.rules
        && destinations(one) == destinations(other)
        && one.destinations.iter().all(|(server, mine)| {
            let theirs = other.destinations.get(server);
            theirs.is_some_and(|theirs| {
                (mine.weight, &mine.checks, mine.resting)
                    == (theirs.weight, &theirs.checks, theirs.resting)
            })
        })
}
