//! From one configuration to another, as a transaction.
//!
//! ```text
//! configuration ─► real servers that are new: heard of? ─► interfaces that are new: attached
//!    ─► table: one step, one plan ─► checks ─► interfaces that are gone: let go
//!                │ refused, or failed
//!                └─► interfaces that were new: let go; nothing has changed
//! ```
//!
//! Nothing is begun before what it needs is there: a real server that nobody has heard of yet would get
//! clients that it cannot be reached for.

use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use api::{Applied, EventKind, GenerationOrigin, Occurrence, Refusal, RefusalCode};
use config::Config;
use control::{Desired, Event};
use health::probe::Standing;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::Actor;
use crate::events;
use crate::generations::{Generations, Kept};
use crate::health::Health;
use crate::host::Host;
use crate::limits;
use crate::message::Message;
use crate::outside::Renewal;
use crate::plane::Plane;

/// What the daemon follows, and what it is about to follow.
pub(crate) struct Reload {
    /// The daemon's own file.
    pub(crate) file: PathBuf,
    /// What was applied last.
    pub(crate) config: Arc<Config>,
    /// The present generation, and all that are kept.
    pub(crate) about: Kept,
    pub(crate) generations: Generations,
    /// Why the file was not followed when it was read last.
    pub(crate) failure: Option<String>,
    /// Services and settings that were changed at runtime, if they have been counted since.
    pub(crate) drift: Cell<Option<u64>>,
    /// Whether what is believed of real servers is newer than what is written.
    pub(crate) is_health_unsaved: bool,
    /// What is read anew with every apply; none while the daemon starts.
    pub(crate) renewal: Option<Renewal>,
    /// Where other threads send what they have to say.
    pub(crate) outbox: SyncSender<Message>,
    /// What waits to be applied; the first may wait for real servers to be heard of.
    pub(crate) queue: VecDeque<Job>,
}

/// A configuration to be applied.
pub(crate) struct Job {
    pub(crate) config: Arc<Config>,
    pub(crate) file: PathBuf,
    /// What it was read from, to be kept.
    pub(crate) files: Vec<config::File>,
    pub(crate) origin: GenerationOrigin,
    /// The generation that is gone back to.
    pub(crate) of: Option<u64>,
    /// The daemon's own file that is gone back from.
    pub(crate) passed_over: Option<String>,
    /// Nobody waits for what a signal asked for.
    pub(crate) reply: Option<oneshot::Sender<Result<Applied, Refusal>>>,
    /// Until when real servers that are new are waited for; none before that has begun.
    pub(crate) until: Option<Instant>,
    /// Until when their first checks are waited for.
    pub(crate) checked_until: Option<Instant>,
}

impl Reload {
    pub(crate) fn new(
        file: PathBuf,
        config: Arc<Config>,
        (generations, about): (Generations, Kept),
        outbox: SyncSender<Message>,
    ) -> Self {
        Self {
            file,
            config,
            about,
            generations,
            failure: None,
            drift: Cell::new(None),
            is_health_unsaved: false,
            renewal: None,
            outbox,
            queue: VecDeque::new(),
        }
    }

    /// Real servers of what waits to be applied, but those of services that are followed already.
    pub(crate) fn servers(&self) -> HashSet<IpAddr> {
        let begun = self.queue.front().filter(|job| job.until.is_some());
        begun.map_or_else(HashSet::new, |job| apart(&job.config, &self.config))
    }
}

impl<P: Plane, H: Host> Actor<P, H> {
    pub(super) fn apply_soon(&mut self, job: Job) {
        self.reload.queue.push_back(job);
        self.go_on_applying();
    }

    /// The file could not be read, or is wrong.
    pub(super) fn not_applied(&mut self, reason: String) {
        tell_failure(&reason);
        self.reload.failure = Some(reason);
    }

    /// Applies what waits, as far as its real servers were heard of.
    pub(super) fn go_on_applying(&mut self) {
        while let Some(job) = self.reload.queue.front_mut() {
            let until = match job.until {
                Some(until) => until,
                None => {
                    let until = Instant::now() + limits::RESOLVE_WAIT;
                    job.until = Some(until);
                    if self.is_unheard() || self.is_unfollowed() {
                        self.tell_resolver();
                    }
                    until
                }
            };
            let is_unheard = self.is_unheard();
            if is_unheard && self.resolver.is_some() && Instant::now() < until {
                return;
            }
            let Some(next) = self.next_if_checked() else {
                return;
            };
            let Some(job) = self.reload.queue.pop_front() else {
                return;
            };
            let before = Arc::clone(&self.reload.config);
            let done = self.perform(&job, next);
            let done = done.map(|applied| self.renew(applied, &job));
            if done.is_err() && job.checked_until.is_some() {
                self.health.ask();
            }
            if done.is_err() || apart(&before, &job.config) != apart(&job.config, &before) {
                self.tell_resolver();
            }
            self.conclude(job, done);
        }
    }

    /// Files that the configuration names say something else although it does not: a certificate that was renewed.
    fn renew(&self, mut applied: Applied, job: &Job) -> Applied {
        let renewal = self.reload.renewal.as_ref();
        let wrong = renewal.map(|renewal| renewal.renew(&job.config));
        applied.notes.extend(wrong.unwrap_or_default());
        applied
    }

    fn conclude(&mut self, job: Job, done: Result<Applied, Refusal>) {
        match &done {
            Ok(applied) => {
                if applied.changed {
                    tell_success(&job, applied);
                }
                for note in &applied.notes {
                    warn!(note, "configuration");
                }
                self.reload.failure = None;
            }
            Err(refusal) if job.origin == GenerationOrigin::Signal => {
                self.not_applied(refusal.message.clone());
            }
            Err(refusal) => tell_failure(&refusal.message),
        }
        if let Some(reply) = job.reply {
            let _gone = reply.send(done);
        }
    }

    /// Steps to a configuration, or leaves everything as it was.
    fn perform(
        &mut self,
        job: &Job,
        (next, allowed): (Health, Desired),
    ) -> Result<Applied, Refusal> {
        let config = &job.config;
        let different = control::differences(&self.state, &allowed).len();
        let is_same = *self.reload.config == **config
            && different == 0
            && self.state.timeouts == allowed.timeouts;
        let notes = self.notes(config);
        let applied = |generation, services: usize| Applied {
            generation,
            file: job.file.clone(),
            changed: !is_same,
            services: services as u64,
            notes,
        };
        if is_same {
            return Ok(applied(self.state.generation, 0));
        }
        let attached = self.attach_new(config)?;
        let generation = self.state.generation + 1;
        self.health
            .prepare(&self.reload.outbox, &next)
            .map_err(|error| super::internal(&error))?;
        let about = Kept {
            passed_over: job.passed_over.clone(),
            ..Kept::new(generation, job.origin, job.of, &job.files)
        };
        let about = about.from(&job.file);
        let kept = self.reload.generations.keep(&about, &job.files);
        if let Err(error) = kept {
            self.unattach(&attached);
            return Err(super::internal(&error));
        }
        let event = Event::Apply {
            desired: allowed,
            generation,
        };
        if let Err(refusal) = self.apply(event) {
            self.unattach(&attached);
            self.reload.generations.forget(generation);
            return Err(refusal);
        }
        let old = std::mem::replace(&mut self.health, next);
        self.health.succeed(old);
        self.detach_old(config);
        self.about.require_native = config.require_native;
        self.about.release_on_stop = config.on_stop == config::OnStop::Release;
        self.about.metrics = config.metrics;
        crate::claims::listen_on(config.interfaces.iter().map(ToString::to_string).collect());
        self.reload.config = Arc::clone(config);
        self.reload.about = about;
        self.reload.generations.prune(generation);
        self.save_health();
        Ok(applied(generation, different))
    }

    /// The health of a configuration, and the table that it allows.
    pub(super) fn next_health(&self, config: &Config) -> (Health, Desired) {
        let mut desired = Desired::from(config);
        let next = self.health.next(config, &desired, |service, server| {
            self.is_served(service, server).then_some(Standing::Up)
        });
        next.filter(&mut desired);
        (next, desired)
    }

    /// Whether nobody has heard yet of a real server of the first configuration that waits.
    fn is_unheard(&self) -> bool {
        let mut servers = self.reload.servers().into_iter();
        servers.any(|server| self.health.link(server).is_none())
    }

    /// Whether the resolver does not follow a real server of the first configuration that waits. What it said of one
    /// that left a moment ago is still known, but would be forgotten while the checks are waited for.
    fn is_unfollowed(&self) -> bool {
        let mut servers = self.reload.servers().into_iter();
        servers.any(|server| !self.wanted.servers.contains_key(&server))
    }

    /// The health of the first configuration that waits, and the table that it allows. Not yet when it would leave a
    /// service to servers that nobody has checked yet, and so to nobody, while others serve it now: then the new
    /// ones are checked first.
    fn next_if_checked(&mut self) -> Option<(Health, Desired)> {
        let job = self.reload.queue.front()?;
        let until = job.checked_until;
        let (next, allowed) = self.next_health(&job.config);
        let is_late = until.is_some_and(|until| Instant::now() >= until);
        if is_late || !self.would_be_emptied(&job.config, &allowed) {
            return Some((next, allowed));
        }
        if until.is_some() {
            return None;
        }
        if let Err(error) = self.health.prepare(&self.reload.outbox, &next) {
            error!(
                error = crate::chain(&error),
                "new real servers cannot be checked first"
            );
            return Some((next, allowed));
        }
        self.health.check_too(&next);
        if let Some(job) = self.reload.queue.front_mut() {
            job.checked_until = Some(Instant::now() + limits::CHECK_WAIT);
        }
        None
    }

    fn would_be_emptied(&self, config: &Config, allowed: &Desired) -> bool {
        let wanted = config.services.iter().map(|service| {
            let mut weights = service.destinations.iter().map(|one| u32::from(one.weight));
            weights.any(|weight| weight > 0)
        });
        allowed
            .services
            .iter()
            .zip(wanted)
            .any(|(service, wanted)| {
                let has_some = service.destinations.iter().any(|(_, one)| one.weight > 0);
                wanted && !has_some && self.state.serves(&service.key)
            })
    }

    /// Whether a destination gets clients now: it is believed to be well when checks begin.
    fn is_served(&self, service: &api::ServiceKey, server: IpAddr) -> bool {
        let service = self.state.services.get(service);
        let mut listed = service.into_iter().flat_map(|service| &service.list);
        listed.any(|id| {
            let destination = self.state.destinations.get(id);
            destination.is_some_and(|one| one.address.ip() == server)
        })
    }

    /// What cannot be changed while connections are remembered.
    pub(super) fn notes(&self, config: &Config) -> Vec<String> {
        let (_, size) = self.rooms.plane.size();
        let wanted = config.connections_max.map(|max| u64::from(u32::from(max)));
        let other = wanted.filter(|wanted| *wanted != size);
        let note = other.map(|wanted| {
            format!(
                "connections.max is {wanted}, but the connection table has room for {size} and stays so: \
                 another size needs a new table, which forgets every connection. When that is right, \
                 run `dirigo down --release --instance {}` and start the daemon again",
                self.about.instance
            )
        });
        let place = |config: &Config| {
            let listen = config.api.listen.as_ref();
            let listen =
                listen.map(|listen| (listen.address, listen.tls.is_some(), listen.console));
            (config.api.everyone_reads, listen)
        };
        let api = (place(&self.reload.config) != place(config)).then(|| {
            "[api] is otherwise: where the daemon listens, whether with TLS and a console, and `everyone_reads` count from its next \
             start on".to_owned()
        });
        note.into_iter().chain(api).collect()
    }

    /// Attaches to interfaces that are new; says which, and lets go of them again if one cannot be.
    fn attach_new(&mut self, config: &Config) -> Result<Vec<u32>, Refusal> {
        let there = self.rooms.host.interfaces();
        let there = there.map_err(|error| super::internal(&error))?;
        let mut attached = Vec::new();
        for name in config.interfaces.iter().map(ToString::to_string) {
            let found = there.iter().find(|one| one.name == name);
            let done = match found {
                Some(interface) => self.attach_one(config, interface.clone()),
                None => Err(wrong(format!(
                    "there is no interface {name}: `ip link` shows those that there are"
                ))),
            };
            match done {
                Ok(new) => attached.extend(new),
                Err(refusal) => {
                    self.unattach(&attached);
                    return Err(refusal);
                }
            }
        }
        Ok(attached)
    }

    /// The interface's number, if it was not attached before.
    fn attach_one(
        &mut self,
        config: &Config,
        interface: crate::host::Interface,
    ) -> Result<Option<u32>, Refusal> {
        let crate::host::Interface { index, name, mac } = interface;
        let attached = self.rooms.plane.attached();
        if let Some((_, _, mode)) = attached.iter().find(|(_, one, _)| *one == index) {
            return match config.require_native && *mode != "native" {
                false => Ok(None),
                true => Err(wrong(format!(
                    "interface {name} is served in {mode} mode, but require_native is true: leave it false, or \
                     use a driver with native XDP"
                ))),
            };
        }
        let mode = self.rooms.plane.attach(&name, config.require_native);
        let mode =
            mode.map_err(|error| wrong(format!("attaching to {name}: {}", crate::chain(&error))))?;
        info!(interface = name, mode, "attached");
        match self.apply(Event::Interface { index, name, mac }) {
            Ok(()) => Ok(Some(index)),
            Err(refusal) => {
                self.unattach(&[index]);
                Err(refusal)
            }
        }
    }

    /// Detaches from interfaces again, as if they had never been attached.
    fn unattach(&mut self, interfaces: &[u32]) {
        for index in interfaces.iter().copied() {
            self.detach(index);
            if let Err(refusal) = self.apply(Event::InterfaceGone { index }) {
                error!(%refusal, "an interface could not be let go");
            }
        }
    }

    fn detach_old(&mut self, config: &Config) {
        for (name, index, _) in self.rooms.plane.attached() {
            if config
                .interfaces
                .iter()
                .all(|wanted| wanted.as_str() != name)
            {
                self.detach(index);
                info!(
                    interface = name,
                    "detached: the configuration names it no more"
                );
            }
        }
    }

    /// The configuration, for `dirigo status`.
    pub(super) fn configuration(&self) -> api::Configuration {
        api::Configuration {
            file: self.reload.file.clone(),
            generation: self.state.generation,
            origin: self.reload.about.generation.origin,
            age_s: self.reload.about.shown().age_s,
            drift: self.drift(),
            failure: self.reload.failure.clone(),
        }
    }

    /// Services and settings that were changed at runtime. Counted when it is asked for, once after each step.
    fn drift(&self) -> u64 {
        if let Some(known) = self.reload.drift.get() {
            return known;
        }
        let drift = self.drifted();
        let drift = (drift.services.len() + drift.settings.len()) as u64;
        self.reload.drift.set(Some(drift));
        drift
    }
}

/// Real servers of the services of one configuration that another does not share.
fn apart(one: &Config, other: &Config) -> HashSet<IpAddr> {
    let shared: HashSet<*const config::Service> = other.services.iter().map(Arc::as_ptr).collect();
    let services = one.services.iter();
    let services = services.filter(|service| !shared.contains(&Arc::as_ptr(service)));
    let servers = services.flat_map(|service| {
        let sorry = service.health.as_ref();
        let sorry = sorry.and_then(|health| health.rules.sorry_server);
        let destinations = service.destinations.iter();
        destinations.map(|one| one.address.ip()).chain(sorry)
    });
    servers.collect()
}

fn tell_success(job: &Job, applied: &Applied) {
    let kind = match job.of {
        Some(_) => EventKind::GenerationRolledBack,
        None => EventKind::GenerationApplied,
    };
    let what = Occurrence::of(kind).because(match job.of {
        Some(of) => format!("{} to generation {of}", job.origin),
        None => format!("{} of {}", job.origin, job.file.display()),
    });
    let (number, services) = (applied.generation, applied.services);
    events::emit(what.new(format!("generation {number}, services changed: {services}")));
}

fn tell_failure(reason: &str) {
    let what = Occurrence::of(EventKind::ApplyFailed);
    events::emit(what.because(format!("{reason}. All stays as it is")));
}

fn wrong(message: String) -> Refusal {
    Refusal {
        code: RefusalCode::BadConfig,
        message,
    }
}
