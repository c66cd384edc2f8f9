//! The one writer: owns the table, the data plane and the host's virtual addresses.
//!
//! ```text
//! API ──────┐                    ┌── observe ──► control::step ──► plan
//! network ──┼─► Message ─► actor ┤── save state and plan (temp + rename)
//! signals ──┘    ▲ tick 100 ms   └── carry out; on failure the way back
//!                └ expiry, announcements, trash
//! ```
//!
//! Because the plan is on disk before its first action, a daemon that dies anywhere leaves a
//! state from which the next one reaches the whole: `start`.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use api::{Change, Refusal, RefusalCode};
use control::{Event, Link, Observed, Plan, State, TrashReading};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::execute::Rooms;
use crate::files::Files;
use crate::host::Host;
use crate::limits;
use crate::message::{Connections, Message};
use crate::plane::Plane;
use crate::resolver::{Handle, Notice, Wanted};
use crate::view;

/// The actor.
pub(crate) struct Actor<P, H> {
    pub(crate) state: State,
    pub(crate) rooms: Rooms<P, H>,
    pub(crate) files: Files,
    pub(crate) resolver: Option<Handle>,
    pub(crate) about: About,
    pub(crate) wanted: Wanted,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) ticks: u64,
}

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) instance: String,
    pub(crate) adopted: bool,
    pub(crate) started: Instant,
    pub(crate) require_native: bool,
    pub(crate) release_on_stop: bool,
}

/// A reply that waits for a real server's first answer.
pub(crate) struct Waiting {
    address: IpAddr,
    until: Instant,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

type Reply = oneshot::Sender<Result<(), Refusal>>;

impl<P: Plane, H: Host> Actor<P, H> {
    /// Works until told to stop.
    pub(crate) fn run(&mut self, inbox: &Receiver<Message>) {
        let mut tick = Instant::now() + limits::TICK;
        loop {
            let left = tick.saturating_duration_since(Instant::now());
            match inbox.recv_timeout(left) {
                Ok(Message::Stop(stop, reply)) => {
                    let done = self.stop(stop.release);
                    let failed = done.is_err();
                    let _gone = reply.send(done);
                    if !failed {
                        return;
                    }
                }
                Ok(Message::Terminate) => {
                    let _logged = self.stop(self.about.release_on_stop);
                    return;
                }
                Ok(message) => self.receive(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= tick {
                self.tick();
                tick = Instant::now() + limits::TICK;
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
                let _gone = reply.send(view::services(&self.state, &self.rooms.plane));
            }
            Message::Connections(reply) => {
                let _gone = reply.send(self.connections());
            }
            Message::Change(change, reply) => self.change(change, reply),
            Message::Network(notice) => self.notice(notice),
            // Handled by `run`.
            Message::Stop(..) | Message::Terminate => {}
        }
    }

    /// Applies an event: step, save, carry out. On failure everything is as before.
    pub(crate) fn apply(&mut self, event: Event) -> Result<(), Refusal> {
        let observed = self.observe(&event)?;
        let before = self.state.clone();
        let plan = control::step(&mut self.state, event, &observed)?;
        if plan.is_empty() && self.state == before {
            return Ok(());
        }
        let done = self
            .files
            .save(&self.state, &plan)
            .and_then(|()| self.rooms.carry_out(&plan));
        if let Err(error) = done {
            let settled = before.settled(&observed);
            self.go_back(settled);
            return Err(internal(&error));
        }
        self.tell_resolver();
        Ok(())
    }

    fn go_back(&mut self, before: State) {
        let back = Plan::between(&self.state, &before);
        self.state = before;
        if let Err(error) = self.files.save(&self.state, &back) {
            error!(error = crate::chain(&error), "state not saved");
        }
        self.rooms.carry_out_what_works(&back);
    }

    fn observe(&self, event: &Event) -> Result<Observed, Refusal> {
        let questions = self.state.questions(event);
        let plane = &self.rooms.plane;
        Ok(Observed {
            picks: questions
                .picks
                .into_iter()
                .map(|id| (id, plane.picks(id)))
                .collect(),
            stats: questions
                .stats
                .into_iter()
                .map(|id| (id, plane.stats(id)))
                .collect(),
            addresses: match event {
                Event::Change(_) | Event::Config(_) => self
                    .rooms
                    .host
                    .addresses()
                    .map_err(|error| internal(&error))?,
                _ => Vec::new(),
            },
        })
    }

    fn change(&mut self, change: Change, reply: Reply) {
        let text = describe(&change);
        let awaited = match &change {
            Change::AddDestination { destination, .. } => Some(destination.ip()),
            _ => None,
        };
        match self.apply(Event::Change(change)) {
            Ok(()) => {
                info!(change = text, "table changed");
                self.answer_when_asked(awaited, reply);
            }
            Err(refusal) => {
                info!(change = text, %refusal, "change refused");
                let _gone = reply.send(Err(refusal));
            }
        }
    }

    /// Answers at once, or when the real server was heard of for the first time.
    fn answer_when_asked(&mut self, awaited: Option<IpAddr>, reply: Reply) {
        match awaited.filter(|address| self.is_unknown(*address)) {
            None => {
                let _gone = reply.send(Ok(()));
            }
            Some(address) => self.waiting.push(Waiting {
                address,
                until: Instant::now() + limits::RESOLVE_WAIT,
                reply,
            }),
        }
    }

    fn is_unknown(&self, address: IpAddr) -> bool {
        self.state.links.get(&address) == Some(&Link::unknown())
    }

    fn answer_waiting(&mut self) {
        let now = Instant::now();
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.until <= now || !self.is_unknown(waiting.address) {
                let _gone = waiting.reply.send(Ok(()));
            } else {
                self.waiting.push(waiting);
            }
        }
    }

    fn notice(&mut self, notice: Notice) {
        let event = match notice {
            Notice::Links(links) => {
                for (address, link) in &links {
                    self.log_link(*address, link);
                }
                Event::Links(links)
            }
            Notice::Interface { index, name, mac } => {
                self.attach_if_new(index, &name);
                Event::Interface { index, name, mac }
            }
            Notice::InterfaceGone { index } => Event::InterfaceGone { index },
            Notice::AddressGone { address } => return self.restore_vip(address),
        };
        if let Err(refusal) = self.apply(event) {
            error!(%refusal, "the network changed and could not be followed");
        }
        self.answer_waiting();
    }

    fn log_link(&self, address: IpAddr, link: &control::LinkReport) {
        match link {
            control::LinkReport::Unresolved { reason } => {
                warn!(real_server = %address, reason, "real server unresolved");
            }
            control::LinkReport::Local => info!(real_server = %address, "real server is this host"),
            control::LinkReport::Via { mac, interface } => {
                let mut egress = self.state.egress.values();
                let interface = egress
                    .find(|egress| egress.index == *interface)
                    .map(|egress| egress.name.as_str());
                let mac = netlink::mac_text(mac);
                info!(real_server = %address, mac, interface, "real server resolved");
            }
        }
    }

    /// An interface of the configuration came back, as another one: it needs the program too.
    fn attach_if_new(&mut self, index: u32, name: &str) {
        let plane = &mut self.rooms.plane;
        let is_wanted = self.state.interfaces.iter().any(|wanted| wanted == name);
        if !is_wanted
            || plane
                .attached()
                .iter()
                .any(|(_, attached, _)| *attached == index)
        {
            return;
        }
        match plane.attach(name, self.about.require_native) {
            Ok(mode) => info!(interface = name, mode, "attached again"),
            Err(error) => error!(interface = name, %error, "cannot be attached again"),
        }
    }

    /// Somebody removed an address: one of ours is put back (a link that goes down loses its
    /// IPv6 addresses).
    fn restore_vip(&mut self, address: IpAddr) {
        let Some(vip) = self.state.vips.get(&address).filter(|vip| vip.ours) else {
            return;
        };
        let there = self.rooms.host.addresses().unwrap_or_default();
        if there.iter().any(|own| own.address == address) {
            return;
        }
        warn!(%address, interface = vip.interface, "virtual address was removed; put back");
        let interface = vip.interface.clone();
        let plan = Plan {
            actions: vec![control::Action::AddVip { address, interface }],
        };
        self.rooms.carry_out_what_works(&plan);
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.rooms.plane.sweep(limits::SWEEP_TICKS);
        self.rooms.announce(Instant::now());
        self.answer_waiting();
        if self.ticks.is_multiple_of(limits::TRASH_TICKS) && !self.state.trash.is_empty() {
            self.read_trash();
        }
    }

    fn read_trash(&mut self) {
        let plane = &self.rooms.plane;
        let readings = self.state.trash.keys().map(|id| {
            let reading = TrashReading {
                busy: plane.gauges(*id) != (0, 0),
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
        let wanted = wanted(&self.state);
        let same = wanted.servers.keys().eq(self.wanted.servers.keys())
            && (&wanted.vips, &wanted.interfaces) == (&self.wanted.vips, &self.wanted.interfaces);
        if same {
            return;
        }
        self.wanted = wanted.clone();
        if let Some(resolver) = &mut self.resolver {
            resolver.want(wanted);
        }
    }

    fn status(&self) -> api::Status {
        let plane = &self.rooms.plane;
        let (map_bytes, connections_max) = plane.size();
        let interfaces = plane.attached().into_iter().map(|(name, index, mode)| {
            let egress = self.state.egress.values().find(|one| one.index == index);
            api::Interface {
                name,
                mac: egress.map_or_else(String::new, |one| netlink::mac_text(&one.mac)),
                mode: mode.to_owned(),
            }
        });
        let vips = self.state.vips.keys();
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.about.instance.clone(),
            pid: std::process::id(),
            uptime_s: self.about.started.elapsed().as_secs(),
            adopted: self.about.adopted,
            interfaces: interfaces.collect(),
            vips: vips
                .map(|vip| format!("{vip}/{}", netlink::host_prefix(vip)))
                .collect(),
            connections: view::connections(&self.state, plane),
            connections_max,
            map_bytes,
            timeouts: self.state.timeouts,
            counters: plane
                .counters()
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
        }
    }

    fn connections(&self) -> Connections {
        let listed = self.state.destinations.iter();
        let gone = self.state.trash.iter();
        let gone = gone.map(|(id, gone)| (id, &gone.destination));
        Connections {
            addresses: listed
                .chain(gone)
                .map(|(id, one)| (*id, one.address))
                .collect(),
            listing: self.rooms.plane.listing(),
        }
    }

    /// An orderly end: forwarding stays, unless it is released.
    fn stop(&mut self, release: bool) -> Result<(), Refusal> {
        for waiting in std::mem::take(&mut self.waiting) {
            let _gone = waiting.reply.send(Ok(()));
        }
        let done = if release {
            self.release()
        } else {
            // The next start follows the file in everything it names.
            self.state.applied = None;
            self.files.save(&self.state, &Plan::default())
        };
        match done {
            Ok(()) => {
                info!(release, "stopped");
                Ok(())
            }
            Err(error) => {
                error!(
                    release,
                    error = crate::chain(&error),
                    "not stopped in order"
                );
                Err(internal(&error))
            }
        }
    }

    /// Virtual addresses first: from then on nothing arrives.
    fn release(&mut self) -> anyhow::Result<()> {
        let ours = self.state.vips.iter().filter(|(_, vip)| vip.ours);
        let plan = Plan {
            actions: ours
                .map(|(address, vip)| control::Action::RemoveVip {
                    address: *address,
                    interface: vip.interface.clone(),
                })
                .collect(),
        };
        self.rooms.carry_out_what_works(&plan);
        self.rooms.plane.release()?;
        self.files.forget()
    }
}

/// What the resolver must look after for a state.
pub(crate) fn wanted(state: &State) -> Wanted {
    let servers = state.links.iter().map(|(address, link)| {
        let believed = match link {
            Link::Via { mac, .. } => Some(*mac),
            Link::Unresolved { .. } | Link::Local => None,
        };
        (*address, believed)
    });
    let services = state.services.keys();
    Wanted {
        servers: servers.collect(),
        vips: services.map(|key| key.address.ip()).collect(),
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

/// One line for the log.
fn describe(change: &Change) -> String {
    match change {
        Change::AddService { service, settings } => {
            format!("add service {service} {}", settings.scheduler)
        }
        Change::EditService { service, settings } => {
            format!("edit service {service} {}", settings.scheduler)
        }
        Change::DeleteService { service } => format!("delete service {service}"),
        Change::Clear => "clear".to_owned(),
        Change::AddDestination {
            service,
            destination,
            settings,
        } => format!("add {destination} to {service} weight {}", settings.weight),
        Change::EditDestination {
            service,
            destination,
            settings,
        } => format!("edit {destination} of {service} weight {}", settings.weight),
        Change::DeleteDestination {
            service,
            destination,
        } => format!("delete {destination} from {service}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use control::{Desired, LinkReport};

    use super::*;
    use crate::announce::Announcements;
    use crate::model::{Budget, ModelHost, ModelPlane};

    /// An actor over models, with its files in a folder that goes with it.
    struct World {
        actor: Actor<ModelPlane, ModelHost>,
        budget: Budget,
        _folder: tempfile::TempDir,
    }

    fn key(port: u16) -> api::ServiceKey {
        format!("tcp:192.0.2.100:{port}").parse().unwrap()
    }

    fn server(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, 10 + n])
    }

    fn add_service(port: u16) -> Event {
        Event::Change(Change::AddService {
            service: key(port),
            settings: api::ServiceSettings {
                scheduler: "wrr".to_owned(),
            },
        })
    }

    fn add(port: u16, n: u8) -> Event {
        Event::Change(Change::AddDestination {
            service: key(port),
            destination: SocketAddr::new(server(n), port),
            settings: api::DestinationSettings {
                forwarding: api::ForwardingMethod::DirectRouting,
                weight: 1,
                upper_threshold: 0,
                lower_threshold: 0,
            },
        })
    }

    fn resolve(n: u8) -> Event {
        let link = LinkReport::Via {
            mac: [2, 0, 0, 0, 0, n],
            interface: 2,
        };
        Event::Links(vec![(server(n), link)])
    }

    /// A life: every kind of event, two services that come and go.
    fn life() -> Vec<Event> {
        vec![
            Event::Interface {
                index: 2,
                name: "eth0".to_owned(),
                mac: [2; 6],
            },
            Event::Config(Desired {
                interfaces: vec!["eth0".to_owned()],
                manage_vips: true,
                ..Desired::default()
            }),
            add_service(80),
            add(80, 1),
            resolve(1),
            add(80, 2),
            resolve(2),
            add_service(443),
            add(443, 1),
            Event::Change(Change::DeleteDestination {
                service: key(80),
                destination: SocketAddr::new(server(1), 80),
            }),
            Event::Change(Change::DeleteService { service: key(80) }),
            Event::InterfaceGone { index: 2 },
            Event::Change(Change::Clear),
        ]
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let budget = Budget::default();
            let plane = ModelPlane {
                budget: Budget::clone(&budget),
                ..ModelPlane::default()
            };
            let host = ModelHost {
                budget: Budget::clone(&budget),
                ..ModelHost::default()
            };
            let actor = Actor {
                state: State::default(),
                rooms: Rooms {
                    plane,
                    host,
                    announcements: Announcements::default(),
                },
                files: Files::within(folder.path(), "model"),
                resolver: None,
                about: About {
                    instance: "model".to_owned(),
                    adopted: false,
                    started: Instant::now(),
                    require_native: false,
                    release_on_stop: false,
                },
                wanted: Wanted::default(),
                waiting: Vec::new(),
                ticks: 0,
            };
            Self {
                actor,
                budget,
                _folder: folder,
            }
        }

        /// What plane and host hold, without the choice of the next position.
        fn holds(&self) -> impl PartialEq + std::fmt::Debug + use<> {
            let plane = &self.actor.rooms.plane;
            let reach: Vec<_> = plane
                .reach
                .iter()
                .filter(|(_, reach)| **reach != control::Reach::Gone)
                .map(|(id, reach)| (*id, *reach))
                .collect();
            (
                plane.published.clone(),
                reach,
                plane.looked_at.clone(),
                self.actor.rooms.host.vips.clone(),
            )
        }

        /// The table, without the numbers of publications.
        fn table(&self) -> impl PartialEq + std::fmt::Debug + use<> {
            let state = self.actor.state.clone();
            let services: Vec<_> = state
                .services
                .into_iter()
                .map(|(key, service)| (key, service.id, service.settings, service.list))
                .collect();
            (
                services,
                state.destinations,
                state.trash,
                state.links,
                state.vips,
            )
        }

        /// What a daemon that starts now would do.
        fn restart(&mut self) {
            let saved = self.actor.files.load().unwrap().unwrap();
            let published = self.actor.rooms.plane.published();
            let plan = Plan::resumed(&saved.state, &saved.pending, &saved.state, &published);
            self.actor.rooms.carry_out(&plan).unwrap();
            self.actor.state = saved.state;
        }
    }

    #[test]
    fn a_failure_at_any_action_leaves_everything_as_before() {
        for (index, event) in life().into_iter().enumerate() {
            for actions in 0..20 {
                let mut world = World::new();
                for earlier in life().into_iter().take(index) {
                    world.actor.apply(earlier).unwrap();
                }
                let (before, held) = (world.table(), world.holds());
                world.budget.set(Some(actions));
                let done = world.actor.apply(event.clone());
                if done.is_ok() {
                    break;
                }
                // The way back failed as well, while nothing worked; now it works again.
                world.budget.set(None);
                world.restart();
                assert_eq!(done.unwrap_err().code, RefusalCode::Internal);
                assert_eq!(world.table(), before, "event {index}, action {actions}");
                assert_eq!(world.holds(), held, "event {index}, action {actions}");
            }
        }
    }

    #[test]
    fn a_daemon_killed_after_any_action_is_finished_by_the_next() {
        for (index, event) in life().into_iter().enumerate() {
            let mut whole = World::new();
            for earlier in life().into_iter().take(index + 1) {
                whole.actor.apply(earlier).unwrap();
            }
            for actions in 0..20 {
                let mut world = World::new();
                for earlier in life().into_iter().take(index) {
                    world.actor.apply(earlier).unwrap();
                }
                // As `apply`, but the process dies after some actions.
                let observed = world.actor.observe(&event).unwrap();
                let plan = control::step(&mut world.actor.state, event.clone(), &observed).unwrap();
                world.actor.files.save(&world.actor.state, &plan).unwrap();
                for action in plan.actions.iter().take(actions) {
                    let one = Plan {
                        actions: vec![action.clone()],
                    };
                    world.actor.rooms.carry_out(&one).unwrap();
                }

                world.restart();

                assert_eq!(
                    world.holds(),
                    whole.holds(),
                    "event {index}, action {actions}"
                );
                if actions >= plan.actions.len() {
                    break;
                }
            }
        }
    }

    #[test]
    fn releasing_takes_away_addresses_and_data_plane_and_forgets_the_files() {
        let mut world = World::new();
        for event in life().into_iter().take(5) {
            world.actor.apply(event).unwrap();
        }
        assert!(!world.actor.rooms.host.vips.is_empty());

        world.actor.stop(true).unwrap();

        assert!(world.actor.rooms.host.vips.is_empty());
        assert!(world.actor.rooms.plane.released);
        assert!(world.actor.files.load().unwrap().is_none());
    }

    #[test]
    fn adding_a_destination_is_answered_when_its_server_was_heard_of() {
        let mut world = World::new();
        for event in life().into_iter().take(3) {
            world.actor.apply(event).unwrap();
        }
        let Event::Change(change) = add(80, 1) else {
            panic!("it is a change");
        };
        let (reply, mut answer) = oneshot::channel();
        world.actor.change(change, reply);
        assert!(answer.try_recv().is_err(), "nothing is known of the server");

        let Event::Links(links) = resolve(1) else {
            panic!("it is a link");
        };
        world.actor.notice(Notice::Links(links));

        assert_eq!(answer.try_recv().unwrap(), Ok(()));
    }
}
