//! The one writer: owns the table, the data plane and the host's virtual addresses.
//!
//! ```text
//! API ──────┐                    ┌── observe ──► control::step ──► plan
//! network ──┼─► Message ─► actor ┤── write what changed behind the state file
//! signals ──┘    ▲ tick 100 ms   └── carry out; on failure the way back
//!                └ expiry, announcements, trash, a look around, links to the file
//! ```
//!
//! Because the plan is on disk before its first action, a daemon that dies anywhere leaves a state from which the next one reaches the whole: `start`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use api::{Author, Refusal, RefusalCode};
use control::{Event, HostAddress, Link, Observed, Plan, Questions, State, TrashReading};
use tracing::error;

use crate::estimates::Estimates;
use crate::events;
use crate::execute::Rooms;
use crate::explain::Reverse;
use crate::files::{Files, Written};
use crate::health::Health;
use crate::host::Host;
use crate::limits;
use crate::message::{Connections, Message};
use crate::metrics::Changes;
use crate::plane::Plane;
use crate::resolver::{Handle, Wanted};
use crate::suspicion::Suspicion;
use crate::view;
use crate::watchdog::Watchdog;

mod apply;
mod change;
mod different;
mod health;
mod maintenance;
mod metrics;
mod network;
mod plan;
mod stop;
mod suspicion;
mod trace;

pub(crate) use apply::{Job, Reload};
pub(crate) use different::of as difference;
pub(crate) use network::tell_attached;
pub(crate) use plan::Basis;

/// The actor.
pub(crate) struct Actor<P, H> {
    pub(crate) state: State,
    pub(crate) rooms: Rooms<P, H>,
    pub(crate) files: Files,
    pub(crate) resolver: Option<Handle>,
    pub(crate) about: About,
    pub(crate) wanted: Wanted,
    /// Whether others are wanted than at the last tick.
    pub(crate) is_wanted_new: bool,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) ticks: u64,
    /// Whether something the network told could not be followed: it shall be told again.
    pub(crate) is_behind: bool,
    /// Why an interface could not be attached again: said once, tried again and again.
    pub(crate) attach_failure: Option<String>,
    pub(crate) file: File,
    /// What is in the file; `None` when it must be written anew.
    pub(crate) written: Option<Written>,
    pub(crate) health: Health,
    /// Whether what the checks told could not be followed.
    pub(crate) is_unhealthy: bool,
    pub(crate) estimates: Estimates,
    /// Who listens to what is decided, while somebody does.
    pub(crate) traces: Option<crate::trace::Hub>,
    pub(crate) reload: Reload,
    pub(crate) suspicion: Suspicion,
    /// What the resolver told, counted.
    pub(crate) changes: Changes,
}

/// How the file stands to the state. What the network tells may be written later when it cannot be at once:
/// the next daemon would be told again, and such plans take nothing away that the next one
/// would have to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum File {
    /// It is the same.
    Current,
    /// It is older.
    Behind,
    /// It is older and could not be written.
    Failed,
}

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) instance: String,
    pub(crate) adopted: bool,
    pub(crate) started: Instant,
    pub(crate) require_native: bool,
    pub(crate) release_on_stop: bool,
    pub(crate) metrics: config::Metrics,
}

/// A reply that waits for real servers' first answers.
pub(crate) struct Waiting {
    addresses: Vec<IpAddr>,
    until: Instant,
    reply: Reply,
}

/// Says that what was asked for is done.
type Reply = Box<dyn FnOnce() + Send>;

impl<P: Plane, H: Host> Actor<P, H> {
    /// Works until told to stop.
    pub(crate) fn run(&mut self, inbox: &Receiver<Message>) {
        let mut tick = Instant::now() + limits::TICK;
        let mut waiting = None;
        let mut watchdog = Watchdog::asked_for();
        loop {
            let left = tick.saturating_duration_since(Instant::now());
            let next = waiting.take().map_or_else(|| inbox.recv_timeout(left), Ok);
            match next {
                // Many probes change their minds at once when a switch dies: then one step is for all of them.
                Ok(Message::Health(mut news)) => {
                    for _ in 0..limits::MESSAGES {
                        match inbox.try_recv() {
                            Ok(Message::Health(more)) => news.extend(more),
                            Ok(other) => {
                                waiting = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.health_news(&news);
                }
                Ok(Message::Stop(stop, reply)) => {
                    let done = self.stop(stop.release, Author::Api);
                    let failed = done.is_err();
                    let _gone = reply.send(done);
                    if !failed {
                        return;
                    }
                }
                Ok(Message::Terminate) => {
                    let _logged = self.stop(self.about.release_on_stop, Author::Signal);
                    return;
                }
                Ok(message) => self.receive(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= tick {
                self.tick();
                watchdog.works();
                // Not from now on: rates are over two seconds of twenty ticks, however late each was.
                tick = (tick + limits::TICK).max(Instant::now());
            }
        }
    }

    fn receive(&mut self, message: Message) {
        // A requester that has gone away does not mind; what it asked for is done all the same.
        match message {
            Message::Status(reply) => {
                let _gone = reply.send(self.status());
            }
            Message::Services(reply) => {
                let view = view::services(&self.state, &self.rooms.plane, &self.estimates);
                let _gone = reply.send(view);
            }
            Message::Marks(reply) => {
                let _gone = reply.send(view::marks(&self.state));
            }
            Message::HealthView(reply) => {
                let _gone = reply.send(self.health.view());
            }
            Message::Segment(reply) => {
                let _gone = reply.send(view::segment(&self.state, &self.rooms.plane));
            }
            Message::Statistics(wanted, reply) => {
                let plane = &self.rooms.plane;
                let sample = view::statistics(&self.state, plane, &self.estimates, &wanted);
                let _gone = reply.send(sample);
            }
            Message::Metrics(reply) => {
                let _gone = reply.send(self.metrics());
            }
            Message::Health(news) => self.health_news(&news),
            Message::Explain(question, reply) => {
                let plane = &self.rooms.plane;
                let _gone = reply.send(crate::explain::explain(&self.state, plane, &question));
            }
            Message::ExplainServer(server, reply) => {
                let (plane, estimates) = (&self.rooms.plane, &self.estimates);
                let _gone = reply.send(Reverse::new(&self.state, plane, estimates, server));
            }
            Message::Connections(reply) => {
                let _gone = reply.send(self.connections());
            }
            Message::Trace(asked, actor, reply) => {
                let _gone = reply.send(self.trace(asked, actor));
            }
            Message::TraceLeft(seat) => self.trace_left(seat),
            Message::TraceNames(reply) => {
                let _gone = reply.send(self.names());
            }
            Message::Apply(job) => self.apply_soon(job),
            Message::Plan(config, reply) => {
                let _gone = reply.send(self.basis(&config));
            }
            Message::Drift(reply) => {
                let _gone = reply.send(self.drifted());
            }
            Message::NotApplied(reason) => self.not_applied(reason),
            Message::Change(change, by, reply) => self.change(change, by, reply),
            Message::Batch(changes, by, reply) => self.batch(changes, by, reply),
            Message::MaintenanceView(reply) => {
                let _gone = reply.send(self.maintenance());
            }
            Message::Maintain(order, reply) => {
                let _gone = reply.send(self.maintain(order));
            }
            Message::Network(notice) => self.notice(notice),
            // Handled by `run`.
            Message::Stop(..) | Message::Terminate => {}
        }
    }

    /// Applies an event: step, save, carry out. On failure everything is as before.
    pub(crate) fn apply(&mut self, event: Event) -> Result<(), Refusal> {
        let by = matches!(event, Event::Config(_) | Event::Apply { .. }).then_some(Author::File);
        self.apply_by(event, by)
    }

    /// The same, telling what is different in the table, and by whom.
    fn apply_by(&mut self, event: Event, by: Option<Author>) -> Result<(), Refusal> {
        let addresses = match event {
            Event::Change(_)
            | Event::Config(_)
            | Event::Apply { .. }
            | Event::Services(_)
            | Event::Maintain(_) => self.addresses()?,
            _ => Vec::new(),
        };
        let mut observed = self.answers(self.state.questions(&event), addresses);
        observed.links = self.health.reports(&event, &self.state);
        let can_wait = matches!(event, Event::Links(_));
        let is_clear = matches!(event, Event::Change(api::Change::Clear));
        let plan = control::step(&mut self.state, event, &observed)?;
        let different = by.filter(|_| !is_clear);
        let different = different.map(|by| different::of(&self.state, by));
        self.follow(&plan, can_wait)?;
        different.into_iter().flatten().for_each(events::emit);
        Ok(())
    }

    /// Makes the file and the rooms follow the state; on failure the state follows them.
    fn follow(&mut self, plan: &Plan, can_wait: bool) -> Result<(), Refusal> {
        if plan.is_empty() && !self.state.has_changed() {
            return Ok(());
        }
        self.reload.drift.set(None);
        let saved = match self.save(plan) {
            // The next daemon would be told again of links.
            Err(error) if can_wait => {
                self.file = File::Behind;
                error!(error = crate::chain(&error), "state not saved");
                Ok(())
            }
            saved => saved,
        };
        if let Err(error) = saved.and_then(|()| self.rooms.carry_out(plan)) {
            self.go_back();
            return Err(internal(&error));
        }
        self.health.maintain(&self.state.maintenance);
        if self.state.has_other_names() {
            self.tell_resolver();
        }
        if !can_wait {
            self.repeat_links();
        }
        Ok(())
    }

    /// Writes what the last step changed, or everything when that is due or the file is not known to be
    /// that of the step before.
    fn save(&mut self, pending: &Plan) -> anyhow::Result<()> {
        let Some(mut written) = self.written.take().filter(|written| !written.is_long()) else {
            return self.save_whole(pending);
        };
        self.files
            .append(&self.state.delta(pending), &mut written)?;
        self.written = Some(written);
        Ok(())
    }

    fn save_whole(&mut self, pending: &Plan) -> anyhow::Result<()> {
        self.written = None;
        self.written = Some(self.files.save(&self.state, pending)?);
        self.file = File::Current;
        Ok(())
    }

    /// Writes what could wait; after a failure less often.
    fn save_if_behind(&mut self) {
        let is_due = match self.file {
            File::Current => false,
            File::Behind => true,
            File::Failed => self.ticks.is_multiple_of(limits::LOOK_TICKS),
        };
        if is_due && let Err(error) = self.save_whole(&Plan::default()) {
            self.file = File::Failed;
            error!(error = crate::chain(&error), "state not saved");
        }
    }

    fn go_back(&mut self) {
        // Of what is read for it, nothing is asked of the host, which may be what fails.
        let plane = &self.rooms.plane;
        let back = self
            .state
            .go_back(|questions| answers(plane, questions, Vec::new()));
        if let Err(error) = self.save(&back) {
            error!(error = crate::chain(&error), "state not saved");
        }
        self.rooms.carry_out_what_works(&back);
    }

    fn addresses(&self) -> Result<Vec<HostAddress>, Refusal> {
        let addresses = self.rooms.host.addresses();
        addresses.map_err(|error| internal(&error))
    }

    fn answers(&self, mut questions: Questions, addresses: Vec<HostAddress>) -> Observed {
        let shown = std::mem::take(&mut questions.shown);
        let mut observed = answers(&self.rooms.plane, questions, addresses);
        for id in shown {
            observed.stats.insert(id, self.estimates.shown(id));
        }
        observed.total = self.estimates.shown_total();
        observed
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.rooms.plane.sweep(limits::SWEEP_TICKS);
        if self.estimates.tick(&self.state, &self.rooms.plane) {
            self.suspect();
        }
        self.rooms.announce(Instant::now());
        self.answer_waiting();
        self.go_on_applying();
        self.forget_links();
        self.save_if_behind();
        if self.ticks.is_multiple_of(limits::LOOK_TICKS) {
            self.look_around();
            self.catch_up_with_health();
            self.save_health_if_behind();
            self.look_after_maintenance();
        }
        if self.ticks.is_multiple_of(limits::TRASH_TICKS) && !self.state.trash.is_empty() {
            self.read_trash();
        }
    }

    fn read_trash(&mut self) {
        let plane = &self.rooms.plane;
        let has_connections = |id: &u32| plane.gauges(*id) != (0, 0);
        // To count templates is to walk the table: not for those that are busy anyway.
        let templates = match self.state.trash.keys().all(has_connections) {
            true => HashMap::new(),
            false => plane.templates(),
        };
        let readings = self.state.trash.keys().map(|id| {
            let reading = TrashReading {
                busy: has_connections(id) || templates.contains_key(id),
                stats: plane.stats(*id),
            };
            (*id, reading)
        });
        let event = Event::Trash {
            now_s: now_s(),
            readings: readings.collect(),
        };
        if let Err(refusal) = self.apply(event) {
            error!(%refusal, "deleted destinations could not be forgotten");
        }
    }

    /// Has the resolver look after the real servers of the state.
    pub(crate) fn tell_resolver(&mut self) {
        let mut wanted = wanted(&self.state, &self.health);
        for server in self.reload.servers() {
            wanted.servers.entry(server).or_default();
        }
        let same = wanted.servers.keys().eq(self.wanted.servers.keys())
            && (&wanted.vips, &wanted.interfaces) == (&self.wanted.vips, &self.wanted.interfaces);
        if same {
            return;
        }
        self.wanted = wanted.clone();
        self.is_wanted_new = true;
        if let Some(resolver) = &mut self.resolver {
            resolver.want(wanted, false);
        }
    }

    /// A tick after others are wanted the resolver knows it, and tells all of whoever comes again.
    fn forget_links(&mut self) {
        if std::mem::take(&mut self.is_wanted_new) {
            let wanted = &self.wanted.servers;
            self.health
                .forget_links(|server| wanted.contains_key(server));
        }
    }

    fn status(&self) -> api::Status {
        let plane = &self.rooms.plane;
        let (map_bytes, connections_max) = plane.size();
        let vips = self.state.vips.keys();
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.about.instance.clone(),
            pid: std::process::id(),
            uptime_s: self.about.started.elapsed().as_secs(),
            adopted: self.about.adopted,
            interfaces: view::interfaces(&self.state, plane),
            vips: vips
                .map(|vip| format!("{vip}/{}", netlink::host_prefix(vip)))
                .collect(),
            connections: view::connections(&self.state, plane),
            connections_max,
            map_bytes,
            services: self.state.services.len() as u64,
            destinations: self.state.destinations.len() as u64,
            deleted: self.state.trash.len() as u64,
            stats: control::minus(self.estimates.shown_total(), self.state.base),
            rates: self.estimates.total_rates(),
            timeouts: self.state.timeouts,
            settings: self.state.settings,
            configuration: self.configuration(),
            counters: plane
                .counters()
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .chain([("vip_claimed".to_owned(), crate::claims::count())])
                .collect(),
        }
    }

    fn connections(&self) -> Connections {
        let listed = self.state.destinations.iter();
        let gone = self.state.trash.iter();
        let gone = gone.map(|(id, gone)| (id, &gone.destination));
        let services = self.state.services.iter();
        Connections {
            services: services.map(|(key, service)| (service.id, *key)).collect(),
            addresses: listed
                .chain(gone)
                .map(|(id, one)| (*id, one.address))
                .collect(),
            listing: self.rooms.plane.listing(),
        }
    }
}

/// What the resolver must look after for a state.
pub(crate) fn wanted(state: &State, health: &Health) -> Wanted {
    let servers = state.links.iter().map(|(address, link)| {
        let believed = match link {
            Link::Via { mac, .. } => Some(*mac),
            Link::Unresolved { .. } | Link::Local => None,
        };
        (*address, believed)
    });
    // Those that are not in the table now are checked, and must be reached for that.
    let checked = health.servers().map(|server| (server, None));
    let servers = checked.chain(servers);
    let addresses = state.services.keys().filter_map(api::ServiceKey::address);
    Wanted {
        servers: servers.collect(),
        vips: addresses.map(|address| address.ip()).collect(),
        interfaces: state.interfaces.iter().cloned().collect(),
    }
}

/// A clock that goes on while the host sleeps and daemons come and go.
fn now_s() -> u64 {
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    nix::time::clock_gettime(clock).map_or(0, |time| time.tv_sec().unsigned_abs())
}

pub(crate) fn internal(error: &anyhow::Error) -> Refusal {
    Refusal {
        code: RefusalCode::Internal,
        message: crate::chain(error),
    }
}

/// What the data plane answers.
fn answers(plane: &impl Plane, questions: Questions, addresses: Vec<HostAddress>) -> Observed {
    let renewed = questions.picks.iter().copied();
    let renewed = renewed.filter(|id| plane.is_renewed(*id)).collect();
    let picks = questions.picks.into_iter();
    let stats = questions.stats.into_iter();
    Observed {
        renewed,
        picks: picks.map(|id| (id, plane.picks(id))).collect(),
        stats: stats.map(|id| (id, plane.stats(id))).collect(),
        addresses,
        ..Observed::default()
    }
}

#[cfg(test)]
mod tests;
