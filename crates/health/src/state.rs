//! All checks of a director: which there are, when they are due, and what they mean for services.
//!
//! ```text
//! Wanted ─► configure ─┐
//! clock  ─► due, tick ─┼─► State ─► News: what changed, in order
//! attempt ─► finished ─┘
//! ```
//!
//! A probe is one check of one real server at one address and port, whoever uses it: services that
//! share it share its answers. Pure: no socket, no clock, no randomness of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::check::Check;
use crate::limits;
use crate::probe::{Change, Probe, Standing};
use crate::reason::{Outcome, Reason};
use crate::service::{Effect, Health, Service};

mod words;

pub use words::{
    News, ProbeKey, ServiceKey, Standings, Transport, Wanted, WantedDestination, WantedService,
    probe_key,
};

/// All probes and services.
#[derive(Debug, Default)]
pub struct State {
    probes: BTreeMap<u32, Entry>,
    numbers: BTreeMap<ProbeKey, u32>,
    last_number: u32,
    /// Probes that no attempt is under way for, by time.
    queue: BTreeSet<(Instant, u32)>,
    services: BTreeMap<ServiceKey, Checked>,
    /// Those with a weight that grows, and perhaps others.
    growing: BTreeSet<ServiceKey>,
    checks: BTreeMap<Arc<str>, Arc<Check>>,
    /// Probes that somebody has left, to be dropped if nobody else has come.
    unused: BTreeSet<u32>,
}

#[derive(Debug)]
struct Entry {
    key: ProbeKey,
    check: Arc<Check>,
    probe: Probe,
    /// Destinations whose health depends on it.
    users: BTreeSet<(ServiceKey, IpAddr)>,
}

#[derive(Debug)]
struct Checked {
    wanted: Arc<WantedService>,
    service: Service,
    probes: BTreeMap<IpAddr, Vec<u32>>,
    told: BTreeMap<IpAddr, Effect>,
    sorry: Option<IpAddr>,
}

impl State {
    /// Makes the checks what is wanted. What stays keeps what is known of it; what is the same is not
    /// looked at, so that a change of one service costs little beside a thousand others.
    pub fn configure(
        &mut self,
        wanted: &Wanted,
        now: Instant,
        mut dice: impl FnMut() -> u64,
    ) -> Vec<News> {
        let changed = self.take_checks(wanted);
        let mut news = self.drop_unwanted(wanted);
        let mut services = Vec::new();
        for (key, service) in &wanted.services {
            let is_same = self.services.get(key).is_some_and(|old| {
                (Arc::ptr_eq(&old.wanted, service) || old.wanted == *service)
                    && !service.uses_any(&changed)
            });
            if is_same {
                continue;
            }
            let probes = self.probes_of(*key, service, now, &mut dice);
            news.extend(self.set_service(*key, service, probes, now));
            services.extend(self.standings(*key));
        }
        let gone = self.drop_unused_probes();
        if !services.is_empty() || !gone.is_empty() {
            news.push(News::Configured { services, gone });
        }
        news
    }

    /// Takes the checks over; says which are others than before.
    fn take_checks(&mut self, wanted: &Wanted) -> BTreeSet<Arc<str>> {
        let mut changed = BTreeSet::new();
        let mut old = std::mem::take(&mut self.checks);
        for (name, check) in &wanted.checks {
            let mut check = check.clone();
            check.pace = check.pace.bounded();
            let known = old.remove(name);
            if known.as_deref() != Some(&check) {
                changed.insert(Arc::clone(name));
            }
            let check = known
                .filter(|known| **known == check)
                .unwrap_or_else(|| Arc::new(check));
            self.checks.insert(Arc::clone(name), check);
        }
        changed.extend(old.into_keys());
        changed
    }

    /// The probes of a service, those that are new made, and the service entered as their user.
    fn probes_of(
        &mut self,
        key: ServiceKey,
        service: &WantedService,
        now: Instant,
        dice: &mut impl FnMut() -> u64,
    ) -> BTreeMap<IpAddr, Vec<u32>> {
        self.leave_probes(key);
        let mut probes = BTreeMap::new();
        for (server, destination) in &service.destinations {
            let mut numbers = Vec::with_capacity(destination.checks.len());
            for name in &destination.checks {
                let Some(check) = self.checks.get(name).map(Arc::clone) else {
                    continue;
                };
                let probe = probe_key(key, *server, name, &check);
                numbers.extend(self.probe(probe, &check, destination.believed, now, dice));
            }
            for number in &numbers {
                if let Some(entry) = self.probes.get_mut(number) {
                    entry.users.insert((key, *server));
                }
            }
            probes.insert(*server, numbers);
        }
        probes
    }

    /// A service uses its probes no more.
    fn leave_probes(&mut self, key: ServiceKey) {
        let Some(checked) = self.services.get(&key) else {
            return;
        };
        for (server, numbers) in &checked.probes {
            for number in numbers {
                if let Some(entry) = self.probes.get_mut(number) {
                    entry.users.remove(&(key, *server));
                    if entry.users.is_empty() {
                        self.unused.insert(*number);
                    }
                }
            }
        }
    }

    /// All that is known of a service.
    fn standings(&self, service: ServiceKey) -> Option<Standings> {
        let checked = self.services.get(&service)?;
        Some(Standings {
            service,
            effects: checked.told.clone(),
            held: checked.service.is_held(),
            sorry: checked.sorry,
        })
    }

    /// Services and destinations that are wanted no more.
    fn drop_unwanted(&mut self, wanted: &Wanted) -> Vec<News> {
        let mut news = Vec::new();
        for (key, checked) in &mut self.services {
            let stays = wanted.services.get(key);
            let gone = checked.told.extract_if(.., |server, _| {
                stays.is_none_or(|service| !service.destinations.contains_key(server))
            });
            news.extend(gone.map(|(server, _)| News::Destination {
                service: *key,
                server,
                effect: None,
            }));
        }
        let gone = self.services.keys();
        let gone: Vec<ServiceKey> = gone
            .filter(|key| !wanted.services.contains_key(key))
            .copied()
            .collect();
        for key in gone {
            self.leave_probes(key);
            self.services.remove(&key);
        }
        news
    }

    /// The number of a probe, which is made if it is new; none if there are too many.
    fn probe(
        &mut self,
        key: ProbeKey,
        check: &Arc<Check>,
        believed: Standing,
        now: Instant,
        dice: &mut impl FnMut() -> u64,
    ) -> Option<u32> {
        if let Some(number) = self.numbers.get(&key) {
            let entry = self.probes.get_mut(number)?;
            if entry.check != *check {
                entry.check = Arc::clone(check);
                if let Some(due) = entry.probe.due() {
                    self.queue.remove(&(due, *number));
                }
                entry.probe.set_pace(check.pace, now);
                self.queue
                    .extend(entry.probe.due().map(|due| (due, *number)));
            }
            return Some(*number);
        }
        if self.probes.len() >= limits::PROBES {
            return None;
        }
        self.last_number = self.last_number.wrapping_add(1);
        let number = self.last_number;
        let probe = Probe::new(check.pace, believed, now, dice());
        self.queue.extend(probe.due().map(|due| (due, number)));
        self.numbers.insert(key.clone(), number);
        let entry = Entry {
            key,
            check: Arc::clone(check),
            probe,
            users: BTreeSet::new(),
        };
        self.probes.insert(number, entry);
        Some(number)
    }

    fn set_service(
        &mut self,
        key: ServiceKey,
        wanted: &Arc<WantedService>,
        probes: BTreeMap<IpAddr, Vec<u32>>,
        now: Instant,
    ) -> Vec<News> {
        let weights = wanted
            .destinations
            .iter()
            .map(|(server, destination)| (*server, destination.weight));
        let resting = wanted.destinations.iter();
        let resting = resting.filter(|(_, destination)| destination.resting);
        let resting: BTreeSet<IpAddr> = resting.map(|(server, _)| *server).collect();
        let mut news = Vec::new();
        let checked = match self.services.entry(key) {
            std::collections::btree_map::Entry::Occupied(old) => {
                let checked = old.into_mut();
                let quorum = checked
                    .service
                    .change(wanted.rules.clone(), weights, resting);
                news.extend(quorum.map(|quorum| News::Quorum {
                    service: key,
                    quorum,
                }));
                checked.probes = probes;
                checked.wanted = Arc::clone(wanted);
                checked
            }
            std::collections::btree_map::Entry::Vacant(new) => new.insert(Checked {
                wanted: Arc::clone(wanted),
                service: Service::new(wanted.rules.clone(), weights).resting(resting),
                probes,
                told: BTreeMap::new(),
                sorry: None,
            }),
        };
        let servers: Vec<IpAddr> = checked.probes.keys().copied().collect();
        for server in servers {
            news.extend(self.judge(key, server, now));
        }
        news.extend(self.tell(key, now));
        news
    }

    fn drop_unused_probes(&mut self) -> Vec<ProbeKey> {
        let mut gone = Vec::new();
        for number in std::mem::take(&mut self.unused) {
            let is_unused = |entry: &Entry| entry.users.is_empty();
            if !self.probes.get(&number).is_some_and(is_unused) {
                continue;
            }
            if let Some(entry) = self.probes.remove(&number) {
                if let Some(due) = entry.probe.due() {
                    self.queue.remove(&(due, number));
                }
                self.numbers.remove(&entry.key);
                gone.push(entry.key);
            }
        }
        gone
    }

    /// Puts a destination's probes together, and says if the quorum changes.
    fn judge(&mut self, service: ServiceKey, server: IpAddr, now: Instant) -> Option<News> {
        let checked = self.services.get_mut(&service)?;
        let numbers = checked.probes.get(&server)?;
        let entries = numbers.iter().filter_map(|number| self.probes.get(number));
        let health = together(entries.map(|entry| &entry.probe));
        let quorum = checked.service.set_health(server, health, now);
        if checked.service.next(now).is_some() {
            self.growing.insert(service);
        }
        let quorum = quorum?;
        Some(News::Quorum { service, quorum })
    }

    /// What is different from what was told of a service.
    fn tell(&mut self, key: ServiceKey, now: Instant) -> Vec<News> {
        let Some(checked) = self.services.get_mut(&key) else {
            return Vec::new();
        };
        let mut news = Vec::new();
        let effects: Vec<(IpAddr, Effect)> = checked.service.effects(now).collect();
        for (server, effect) in effects {
            if checked.told.get(&server) != Some(&effect) {
                checked.told.insert(server, effect.clone());
                news.push(News::Destination {
                    service: key,
                    server,
                    effect: Some(effect),
                });
            }
        }
        let sorry = checked.service.rules().sorry_server;
        let serves = sorry.filter(|_| checked.service.is_sorry());
        if serves != checked.sorry {
            let turn = |server: Option<IpAddr>, serves| {
                server.map(|server| News::Sorry {
                    service: key,
                    server,
                    serves,
                })
            };
            // The new one first: there is always one of them.
            news.splice(0..0, turn(serves, true));
            news.extend(turn(checked.sorry, false));
            checked.sorry = serves;
        }
        news
    }

    /// The same of one destination: with the quorum as it was, the others are as they were.
    fn tell_one(&mut self, key: ServiceKey, server: IpAddr, now: Instant) -> Option<News> {
        let checked = self.services.get_mut(&key)?;
        let effect = checked.service.effect_of(server, now)?;
        if checked.told.get(&server) == Some(&effect) {
            return None;
        }
        checked.told.insert(server, effect.clone());
        Some(News::Destination {
            service: key,
            server,
            effect: Some(effect),
        })
    }

    /// The next probe that is due, whose attempt begins now.
    pub fn start(&mut self, now: Instant) -> Option<(ProbeKey, Arc<Check>)> {
        let first = *self.queue.first()?;
        if first.0 > now {
            return None;
        }
        self.queue.remove(&first);
        let entry = self.probes.get_mut(&first.1)?;
        entry.probe.start(now);
        Some((entry.key.clone(), Arc::clone(&entry.check)))
    }

    /// When something is due: an attempt, or a step of a slow start.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let growing = self.growing.iter();
        let growing = growing.filter_map(|key| self.services.get(key));
        let steps = growing.filter_map(|checked| checked.service.next(now));
        let attempt = self.queue.first().map(|(due, _)| *due);
        steps.chain(attempt).min()
    }

    /// Slow starts go on.
    pub fn tick(&mut self, now: Instant) -> Vec<News> {
        let keys: Vec<ServiceKey> = self.growing.iter().copied().collect();
        let news = keys.into_iter().flat_map(|key| self.tell(key, now));
        let news = news.collect();
        let services = &self.services;
        let grows = |key: &ServiceKey| services.get(key)?.service.next(now);
        self.growing.retain(|key| grows(key).is_some());
        news
    }

    /// An attempt has ended.
    pub fn finished(
        &mut self,
        key: &ProbeKey,
        outcome: &Outcome,
        now: Instant,
        dice: u64,
    ) -> Vec<News> {
        let Some((number, entry)) = self.entry(key) else {
            return Vec::new();
        };
        let change = entry.probe.finish(outcome, now, dice);
        let due = entry.probe.due();
        self.queue.extend(due.map(|due| (due, number)));
        self.spread(number, change, now)
    }

    /// Somebody suspects real servers: these probes are due now.
    pub fn hurry(&mut self, keys: &[ProbeKey], now: Instant) {
        for key in keys {
            let Some((number, entry)) = self.entry(key) else {
                continue;
            };
            let before = entry.probe.due();
            entry.probe.hurry(now);
            let due = entry.probe.due();
            if let Some(before) = before {
                self.queue.remove(&(before, number));
            }
            self.queue.extend(due.map(|due| (due, number)));
        }
    }

    /// An attempt could not be made yet.
    pub fn postpone(&mut self, key: &ProbeKey, until: Instant) {
        if let Some((number, entry)) = self.entry(key) {
            entry.probe.postpone(until);
            self.queue.insert((until, number));
        }
    }

    /// More is known of why a probe is down.
    pub fn explain(&mut self, key: &ProbeKey, reason: Reason, now: Instant) -> Vec<News> {
        let Some((number, entry)) = self.entry(key) else {
            return Vec::new();
        };
        let change = entry.probe.explain(reason);
        self.spread(number, change, now)
    }

    /// What is believed of a probe; `None` if there is no such one.
    #[must_use]
    pub fn standing(&self, key: &ProbeKey) -> Option<Standing> {
        let number = self.numbers.get(key)?;
        Some(self.probes.get(number)?.probe.standing())
    }

    fn entry(&mut self, key: &ProbeKey) -> Option<(u32, &mut Entry)> {
        let number = *self.numbers.get(key)?;
        Some((number, self.probes.get_mut(&number)?))
    }

    /// What a probe's change means for those who use it.
    fn spread(&mut self, number: u32, change: Option<Change>, now: Instant) -> Vec<News> {
        let (Some(change), Some(entry)) = (change, self.probes.get(&number)) else {
            return Vec::new();
        };
        let (key, users) = (entry.key.clone(), entry.users.clone());
        let mut news = vec![News::Probe { key, change }];
        for (service, server) in users {
            match self.judge(service, server, now) {
                None => news.extend(self.tell_one(service, server, now)),
                Some(quorum) => {
                    news.push(quorum);
                    news.extend(self.tell(service, now));
                }
            }
        }
        news
    }

    /// Checks end in an orderly way.
    #[must_use]
    pub fn ended(&self) -> Vec<News> {
        let omega = self.services.iter();
        let omega = omega.filter(|(_, checked)| checked.service.rules().omega);
        omega
            .map(|(service, _)| News::Ended { service: *service })
            .collect()
    }

    /// How many probes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.probes.len()
    }

    /// Whether there is nothing to check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.probes.is_empty()
    }

    /// Every probe, its check, and what is known.
    pub fn probes(&self) -> impl Iterator<Item = (&ProbeKey, &Check, &Probe)> {
        let entries = self.probes.values();
        entries.map(|entry| (&entry.key, &*entry.check, &entry.probe))
    }
}

/// All must pass; the smallest weight that one asks for counts.
fn together<'a>(probes: impl Iterator<Item = &'a Probe>) -> Health {
    let mut unchecked = false;
    let mut share = None;
    for probe in probes {
        match probe.standing() {
            Standing::Down => {
                let unknown = || Reason::NoWay("an earlier daemon saw it fail".to_owned());
                return Health::Down(probe.reason().cloned().unwrap_or_else(unknown));
            }
            Standing::Unchecked => unchecked = true,
            Standing::Up => share = probe.share().or(share),
        }
    }
    if unchecked {
        Health::Unchecked
    } else {
        Health::Up(share)
    }
}
