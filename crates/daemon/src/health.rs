//! What the checks know, and what the table shall be because of it.
//!
//! ```text
//! configuration ──┐
//! News of checks ─┴─► each service as its destinations' health allows ─► Event::Services
//! ```
//!
//! The configuration stays what it is; a destination that is not well is left out of it, or has
//! weight 0, until it is. What is believed is kept in a file, so that the next daemon does not
//! begin with servers of which it knows nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use anyhow::Context;
use api::{Protocol, ServiceKey};
use control::{Desired, DesiredService, Event, LinkReport, Maintenance, State};
use health::probe::Standing;
use health::reason::Reason;
use health::runner::{self, Handle, Link};
use health::service::Effect;
use health::state::{News, ProbeKey, Standings, Transport, Wanted, probe_key};
use tracing::{info, warn};

use crate::limits;
use crate::message::Message;
use crate::suspicion::Suspect;

mod log;
mod measures;
mod next;
mod view;

/// What an earlier daemon knew: which destinations were well, and which not.
pub(crate) type Believed = Vec<(ServiceKey, IpAddr, bool)>;

/// The health of all services that have checks.
#[derive(Debug, Default)]
pub(crate) struct Health {
    wanted: Wanted,
    /// Services with checks, as the configuration has them.
    desired: BTreeMap<ServiceKey, Arc<DesiredService>>,
    keys: BTreeMap<health::state::ServiceKey, ServiceKey>,
    effects: BTreeMap<ServiceKey, Arc<BTreeMap<IpAddr, Effect>>>,
    /// What each service with checks was made from.
    sources: BTreeMap<ServiceKey, Arc<config::Service>>,
    without_quorum: BTreeSet<ServiceKey>,
    sorry: BTreeMap<ServiceKey, IpAddr>,
    probes: BTreeMap<ProbeKey, Probed>,
    /// What the resolver said last of each real server.
    links: BTreeMap<IpAddr, LinkReport>,
    /// Real servers that answered nobody, since when, and why it is thought.
    suspected: BTreeMap<(ServiceKey, IpAddr), (Instant, String)>,
    /// Who is held: checked as before, and not counted for a quorum.
    maintenance: Arc<Maintenance>,
    runner: Option<Handle>,
}

#[derive(Debug)]
struct Probed {
    standing: Standing,
    since: Instant,
    reason: Option<Reason>,
}

impl Health {
    /// Starts to check, in the calling thread's network namespace.
    pub(crate) fn start(&mut self, outbox: &SyncSender<Message>) -> anyhow::Result<()> {
        if self.wanted.services.is_empty() {
            return Ok(());
        }
        self.spawn(outbox)?;
        self.ask();
        Ok(())
    }

    /// Has a thread for what is to be checked next, if it needs one.
    pub(crate) fn prepare(
        &mut self,
        outbox: &SyncSender<Message>,
        next: &Self,
    ) -> anyhow::Result<()> {
        match self.runner.is_some() || next.wanted.services.is_empty() {
            true => Ok(()),
            false => self.spawn(outbox),
        }
    }

    /// Tells the thread what is wanted.
    pub(crate) fn ask(&self) {
        let Some(runner) = &self.runner else { return };
        runner.links(self.known_links());
        runner.want(self.wanted.clone());
        info!(
            services = self.wanted.services.len(),
            checks = self.wanted.checks.len(),
            "health checks begin"
        );
    }

    fn spawn(&mut self, outbox: &SyncSender<Message>) -> anyhow::Result<()> {
        allow_descriptors();
        let outbox = outbox.clone();
        let runner = runner::spawn(move |news| outbox.send(Message::Health(news)).is_ok());
        self.runner = Some(runner.context("starting health checks")?);
        Ok(())
    }

    /// Other real servers are held for maintenance than before.
    pub(crate) fn maintain(&mut self, maintenance: &Arc<Maintenance>) {
        if Arc::ptr_eq(&self.maintenance, maintenance) {
            return;
        }
        self.maintenance = Arc::clone(maintenance);
        let mut is_other = false;
        for (key, service) in &mut self.wanted.services {
            let Some(own) = self.keys.get(key) else {
                continue;
            };
            let rests = |server: &IpAddr| maintenance.holds(own, *server);
            let mut destinations = service.destinations.iter();
            if destinations.all(|(server, one)| one.resting == rests(server)) {
                continue;
            }
            is_other = true;
            for (server, one) in &mut Arc::make_mut(service).destinations {
                one.resting = rests(server);
            }
        }
        if is_other && let Some(runner) = &self.runner {
            runner.want(self.wanted.clone());
        }
    }

    /// How many destinations have checks.
    pub(crate) fn len(&self) -> usize {
        let services = self.wanted.services.values();
        services.map(|service| service.destinations.len()).sum()
    }

    /// Real servers whose MACs are needed, whether they are in the table or not.
    pub(crate) fn servers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.wanted.services.values().flat_map(|service| {
            let all = service.destinations.keys().copied();
            all.chain(service.rules.sorry_server)
        })
    }

    /// Destinations of services with checks, whether they are in the table or not.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = (ServiceKey, IpAddr)> + '_ {
        self.wanted.services.iter().flat_map(|(key, service)| {
            let key = self.keys.get(key).copied();
            let servers = service.destinations.keys();
            servers.filter_map(move |server| Some((key?, *server)))
        })
    }

    /// Services with checks.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceKey> + '_ {
        self.desired.keys()
    }

    /// Whether a destination has checks of its own: the sorry server has none.
    pub(crate) fn is_checked(&self, service: &ServiceKey, server: IpAddr) -> bool {
        let effects = self.effects.get(service);
        effects.is_some_and(|effects| effects.contains_key(&server))
    }

    /// The resolver has told something.
    pub(crate) fn heard(&mut self, links: &[(IpAddr, LinkReport)]) {
        self.links.extend(links.iter().cloned());
        if let Some(runner) = &self.runner {
            runner.links(self.known_links());
        }
    }

    /// Forgets what was said of real servers that nobody looks after any more.
    pub(crate) fn forget_links(&mut self, is_wanted: impl Fn(&IpAddr) -> bool) {
        self.links.retain(|server, _| is_wanted(server));
    }

    /// What the resolver said last of a real server.
    pub(crate) fn link(&self, server: IpAddr) -> Option<&LinkReport> {
        self.links.get(&server)
    }

    /// How real servers are reached that an event may bring into the table.
    pub(crate) fn reports(&self, event: &Event, state: &State) -> BTreeMap<IpAddr, LinkReport> {
        let services = match event {
            Event::Apply { desired, .. } => &desired.services,
            Event::Services(services) => services,
            _ => return BTreeMap::new(),
        };
        let services = services.iter();
        let services = services.filter(|service| !state.is_as_named(service));
        let named = services.flat_map(|service| &service.destinations);
        let new = named.map(|(address, _)| address.ip());
        let new = new.filter(|server| !state.links.contains_key(server));
        new.filter_map(|server| Some((server, self.link(server)?.clone())))
            .collect()
    }

    /// Services with a destination that waits for its first check.
    pub(crate) fn unchecked(&self) -> impl Iterator<Item = &ServiceKey> + '_ {
        let waits = |effects: &Arc<BTreeMap<IpAddr, Effect>>| {
            let mut effects = effects.values();
            effects.any(|effect| matches!(effect, Effect::Unchecked))
        };
        let services = self.effects.iter();
        services.filter_map(move |(key, effects)| waits(effects).then_some(key))
    }

    fn known_links(&self) -> BTreeMap<IpAddr, Link> {
        let links = self.links.iter().map(|(server, report)| {
            let link = match report {
                LinkReport::Unresolved { reason } => Link::Unresolved(reason.clone()),
                LinkReport::Local => Link::Local,
                LinkReport::Via { mac, interface } => Link::Via {
                    mac: *mac,
                    interface: *interface,
                },
            };
            (*server, link)
        });
        links.collect()
    }

    /// Takes news in; says which services are to be different in the table.
    pub(crate) fn take(&mut self, news: &[News]) -> BTreeSet<ServiceKey> {
        let mut different = BTreeSet::new();
        for one in news {
            let touched = match one {
                News::Probe { key, change } => {
                    let probed = Probed {
                        standing: change.standing,
                        since: match self.probes.get(key) {
                            Some(old) if change.was == change.standing => old.since,
                            _ => Instant::now(),
                        },
                        reason: change.reason.clone(),
                    };
                    self.probes.insert(key.clone(), probed);
                    None
                }
                News::Destination {
                    service,
                    server,
                    effect,
                } => self.take_effect(*service, *server, effect.clone()),
                News::Quorum { service, quorum } => {
                    let key = self.keys.get(service).copied();
                    if let Some(key) = key {
                        match quorum.held {
                            true => self.without_quorum.remove(&key),
                            false => self.without_quorum.insert(key),
                        };
                    }
                    None
                }
                News::Sorry {
                    service,
                    server,
                    serves,
                } => {
                    let key = self.keys.get(service).copied();
                    if let Some(key) = key {
                        match serves {
                            true => self.sorry.insert(key, *server),
                            false => self.sorry.remove(&key),
                        };
                    }
                    key
                }
                News::Configured { services, gone } => {
                    for key in gone {
                        self.probes.remove(key);
                    }
                    different.extend(services.iter().filter_map(|one| self.replace(one)));
                    None
                }
                News::Ended { .. } => None,
            };
            different.extend(touched);
        }
        different
    }

    /// All that is known of a service, whatever was thought of it before; the service, if its place in the table
    /// changes.
    fn replace(&mut self, known: &Standings) -> Option<ServiceKey> {
        let key = *self.keys.get(&known.service)?;
        match known.held {
            true => self.without_quorum.remove(&key),
            false => self.without_quorum.insert(key),
        };
        let sorry = match known.sorry {
            Some(server) => self.sorry.insert(key, server),
            None => self.sorry.remove(&key),
        };
        let effects = self.effects.insert(key, Arc::new(known.effects.clone()));
        let weights = |effects: &BTreeMap<IpAddr, Effect>| -> Vec<_> {
            let weights = effects.iter();
            weights
                .map(|(server, one)| (*server, one.weight()))
                .collect()
        };
        let is_same = sorry == known.sorry
            && weights(&effects.unwrap_or_default()) == weights(&known.effects);
        (!is_same).then_some(key)
    }

    /// The service, if its place in the table changes: a better reason changes nothing there.
    fn take_effect(
        &mut self,
        service: health::state::ServiceKey,
        server: IpAddr,
        effect: Option<Effect>,
    ) -> Option<ServiceKey> {
        let key = *self.keys.get(&service)?;
        let effects = Arc::make_mut(self.effects.entry(key).or_default());
        let weight = effect.as_ref().and_then(Effect::weight);
        let old = match effect {
            Some(effect) => effects.insert(server, effect),
            None => effects.remove(&server),
        };
        let old = old.as_ref().and_then(Effect::weight);
        if weight.is_none_or(|weight| weight == 0) {
            self.suspected.remove(&(key, server));
        }
        (old != weight).then_some(key)
    }

    /// Makes the configuration what health allows now.
    pub(crate) fn filter(&self, desired: &mut Desired) {
        for service in &mut desired.services {
            if let Some(allowed) = self.allowed(&service.key) {
                *service = allowed;
            }
        }
    }

    /// A service as health allows it now; none if it has no checks.
    pub(crate) fn allowed(&self, key: &ServiceKey) -> Option<DesiredService> {
        let mut service = DesiredService::clone(self.desired.get(key)?);
        let effects = self.effects.get(key);
        // Mostly the configuration has them in the order of their addresses too: each next is the one that is wanted.
        let mut in_order = effects.into_iter().flat_map(|effects| effects.iter());
        service.destinations.retain_mut(|(address, settings)| {
            let server = address.ip();
            let effect = match in_order.next() {
                Some((next, effect)) if *next == server => Some(effect),
                _ => effects.and_then(|effects| effects.get(&server)),
            };
            match effect.map(Effect::weight) {
                None => true,
                Some(None) => false,
                Some(Some(weight)) => {
                    settings.weight = weight;
                    true
                }
            }
        });
        if let Some(sorry) = self.sorry.get(key) {
            // In a service by mark the port names the destination and means nothing to packets.
            let port = key.address().map_or(0, |address| address.port());
            let sorry = SocketAddr::new(*sorry, port);
            let settings = api::DestinationSettings::of(1);
            service.destinations.push((sorry, settings));
        }
        Some(service)
    }

    /// Has a real server that answers nobody checked at once.
    pub(crate) fn suspect(&mut self, suspect: Suspect) {
        let Suspect {
            service,
            server,
            reason,
        } = suspect;
        let own = self.keys.iter().find(|(_, key)| **key == service);
        let Some((own, wanted)) =
            own.and_then(|(own, _)| Some((own, self.wanted.services.get(own)?)))
        else {
            return;
        };
        let checks = wanted.destinations.get(&server).into_iter();
        let named = checks.flat_map(|destination| &destination.checks);
        let probes = named.filter_map(|name| {
            let check = self.wanted.checks.get(name)?;
            Some(probe_key(*own, server, name, check))
        });
        if let Some(runner) = &self.runner {
            runner.hurry(probes.collect());
        }
        self.suspected
            .insert((service, server), (Instant::now(), reason));
    }

    /// Why a real server is suspected, while that is not settled.
    fn suspicion(&self, service: ServiceKey, server: IpAddr) -> Option<&str> {
        let (since, reason) = self.suspected.get(&(service, server))?;
        (since.elapsed() < limits::SUSPECT_SHOWN).then_some(reason)
    }

    /// What the next daemon shall begin with.
    pub(crate) fn believed(&self) -> Believed {
        let all = self.effects.iter().flat_map(|(service, effects)| {
            effects.iter().filter_map(|(server, effect)| {
                let up = match effect {
                    Effect::Weight(_) | Effect::Standby => true,
                    Effect::Removed(_) | Effect::Inhibited(_) => false,
                    Effect::Unchecked => return None,
                };
                Some((*service, *server, up))
            })
        });
        all.collect()
    }

    /// Checks end in an orderly way.
    pub(crate) fn stop(&mut self) {
        if self.runner.take().is_none() {
            return;
        }
        let omega = self.wanted.services.iter();
        for (service, _) in omega.filter(|(_, service)| service.rules.omega) {
            self.tell(&[News::Ended { service: *service }]);
        }
    }
}

/// Each attempt takes two descriptors, and the usual limit of 1,024 is for programs that `select`.
fn allow_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let limit = Resource::RLIMIT_NOFILE;
    let raised = getrlimit(limit).and_then(|(_, most)| setrlimit(limit, most, most));
    if let Err(error) = raised {
        warn!(%error, "the limit of open files stays as it is");
    }
}

/// The service, as the checks know it. One by firewall mark is asked where its rules say.
fn key_of(key: &ServiceKey, asked: SocketAddr) -> health::state::ServiceKey {
    let protocol = match key {
        ServiceKey::Address { protocol, .. } => match protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
            Protocol::Sctp => Transport::Sctp,
        },
        ServiceKey::Mark { mark, .. } => Transport::Mark(mark.get()),
    };
    health::state::ServiceKey {
        protocol,
        address: asked,
    }
}
