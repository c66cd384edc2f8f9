//! The actor over models: failures, crashes, waiting, release.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use api::Change;
use control::{Desired, LinkReport};
use tokio::sync::oneshot;

use super::*;
use crate::announce::Announcements;
use crate::model::{Budget, ModelHost, ModelPlane};
use crate::resolver::Notice;
use crate::resolver::tests::idle;

fn reload(folder: &std::path::Path) -> Reload {
    let (outbox, _) = std::sync::mpsc::sync_channel(1);
    let config = "[director]\ninterface = \"eth0\"\n";
    let config = config::Config::parse(config, "model").unwrap();
    let about = crate::generations::Kept::new(1, api::GenerationOrigin::Start, None, &[]);
    let kept = crate::generations::Generations::within(folder.join("generations"));
    Reload::new("/model".into(), config.into(), (kept, about), outbox)
}

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
        settings: api::ServiceSettings::of("wrr"),
    })
}

fn add(port: u16, n: u8) -> Event {
    Event::Change(Change::AddDestination {
        service: key(port),
        destination: SocketAddr::new(server(n), port),
        settings: api::DestinationSettings {
            tunnel: None,
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
        let interface = Rc::new(Cell::new(Some(2)));
        let plane = ModelPlane {
            budget: Budget::clone(&budget),
            attached: [2].into(),
            interface: Rc::clone(&interface),
            ..ModelPlane::default()
        };
        let host = ModelHost {
            budget: Budget::clone(&budget),
            interface,
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
                metrics: config::Metrics::default(),
            },
            wanted: Wanted::default(),
            is_wanted_new: false,
            waiting: Vec::new(),
            ticks: 0,
            is_behind: false,
            attach_failure: None,
            file: File::Current,
            written: None,
            health: crate::health::Health::default(),
            is_unhealthy: false,
            suspicion: Suspicion::default(),
            estimates: Estimates::default(),
            traces: None,
            reload: reload(folder.path()),
            changes: crate::metrics::Changes::default(),
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
            .iter()
            .map(|(key, one)| (*key, one.id, one.settings.clone(), one.list.clone()))
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

/// Has every event of a life fail at each of its actions, and looks at what is there then.
fn fail_everywhere(heals: bool, mut recover: impl FnMut(&mut World)) {
    for (index, event) in life().into_iter().enumerate() {
        for actions in 0..20 {
            let mut world = World::new();
            for earlier in life().into_iter().take(index) {
                world.actor.apply(earlier).unwrap();
            }
            let (before, held) = (world.table(), world.holds());
            world.budget.set(Some(actions), heals);
            let done = world.actor.apply(event.clone());
            if done.is_ok() {
                break;
            }
            recover(&mut world);
            assert_eq!(done.unwrap_err().code, RefusalCode::Internal);
            assert_eq!(world.table(), before, "event {index}, action {actions}");
            assert_eq!(world.holds(), held, "event {index}, action {actions}");
        }
    }
}

#[test]
fn a_failure_at_any_action_leaves_everything_as_before() {
    fail_everywhere(true, |_| {});
}

#[test]
fn a_failure_on_the_way_back_too_is_made_up_for_by_the_next_daemon() {
    fail_everywhere(false, |world| {
        world.budget.set(None, false);
        world.restart();
    });
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
            let questions = world.actor.state.questions(&event);
            let addresses = world.actor.addresses().unwrap();
            let observed = world.actor.answers(questions, addresses);
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

    world.actor.stop(true, Author::Signal).unwrap();

    assert!(world.actor.rooms.host.vips.is_empty());
    assert!(world.actor.rooms.plane.released);
    assert!(world.actor.files.load().unwrap().is_none());
}

#[test]
fn a_daemon_that_cannot_stop_goes_on_as_before() {
    let mut world = World::new();
    for event in life().into_iter().take(5) {
        world.actor.apply(event).unwrap();
    }
    let before = world.actor.state.clone();
    world.actor.files = Files::within(&world._folder.path().join("missing"), "model");

    assert!(world.actor.stop(false, Author::Signal).is_err());

    assert_eq!(world.actor.state, before);
    assert!(before.applied.is_some());
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
    world.actor.change(change, Author::Api, reply);
    assert!(answer.try_recv().is_err(), "nothing is known of the server");

    let Event::Links(links) = resolve(1) else {
        panic!("it is a link");
    };
    world.actor.notice(Notice::Links(links));

    assert_eq!(answer.try_recv().unwrap(), Ok(()));
}

/// As much time as passes until the actor looks around.
fn pass(actor: &mut Actor<ModelPlane, ModelHost>) {
    (0..limits::LOOK_TICKS).for_each(|_| actor.tick());
}

#[test]
fn an_interface_that_went_and_came_back_unseen_has_program_and_addresses_again() {
    let mut world = World::new();
    for event in life().into_iter().take(5) {
        world.actor.apply(event).unwrap();
    }
    let vips = world.actor.rooms.host.vips.clone();
    assert!(!vips.is_empty());

    world.actor.rooms.host.interface.set(None);
    world.actor.rooms.host.vips.clear();
    pass(&mut world.actor);
    assert!(world.actor.rooms.plane.attached.is_empty());
    assert!(world.actor.state.egress.is_empty());
    assert!(!world.actor.state.links[&server(1)].is_usable());

    world.actor.rooms.host.interface.set(Some(7));
    pass(&mut world.actor);
    assert_eq!(world.actor.rooms.plane.attached, [7].into());
    assert_eq!(world.actor.state.egress[&0].index, 7);
    assert_eq!(world.actor.rooms.host.vips, vips);
}

#[test]
fn what_the_network_told_and_could_not_be_followed_is_asked_for_again() {
    let mut world = World::new();
    for event in life().into_iter().take(4) {
        world.actor.apply(event).unwrap();
    }
    let (resolver, orders) = idle();
    world.actor.resolver = Some(resolver);
    let Event::Links(links) = resolve(1) else {
        panic!("it is a link");
    };

    world.budget.set(Some(0), true);
    world.actor.notice(Notice::Links(links));
    assert!(!world.actor.state.links[&server(1)].is_usable());
    pass(&mut world.actor);
    assert!(orders.take().is_some_and(|(_, again)| again));

    pass(&mut world.actor);
    assert!(orders.take().is_none(), "once is enough");
}

#[test]
fn links_are_written_to_the_file_by_the_next_tick_and_again_when_that_fails() {
    let mut world = World::new();
    for event in life().into_iter().take(4) {
        world.actor.apply(event).unwrap();
    }
    let files = world.actor.files.clone();
    let written = || files.load().unwrap().unwrap().state.links[&server(1)].is_usable();

    world.actor.files = Files::within(&world._folder.path().join("missing"), "model");
    world.actor.apply(resolve(1)).unwrap();
    world.actor.tick();
    assert_eq!(world.actor.file, File::Failed);
    assert!(!written());

    world.actor.files = files.clone();
    pass(&mut world.actor);
    assert!(written());

    world
        .actor
        .apply(Event::InterfaceGone { index: 2 })
        .unwrap();
    assert!(!written(), "a change of more than links is written at once");
}

#[test]
fn a_deleted_destination_keeps_its_id_while_a_template_names_it() {
    let mut world = World::new();
    let actor = &mut world.actor;
    let deleted = Event::Change(Change::DeleteDestination {
        service: key(80),
        destination: SocketAddr::new(server(1), 80),
    });
    for event in [add_service(80), add(80, 1), deleted] {
        actor.apply(event).unwrap();
    }
    let id = *actor.state.trash.keys().next().unwrap();
    actor.rooms.plane.is_idle = true;

    actor.rooms.plane.templates.insert(id, 1);
    actor.read_trash();
    assert_eq!(actor.state.trash[&id].idle_since_s, None);

    actor.rooms.plane.templates.clear();
    actor.read_trash();
    assert!(actor.state.trash[&id].idle_since_s.is_some());
}
