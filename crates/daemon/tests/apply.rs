//! One configuration after another, with real frames: what changes, what does not, what is undone.
#![allow(clippy::unwrap_used)]

mod common;

use api::{Change, ClientError, GenerationOrigin, HealthState, RefusalCode, ServiceKey};
use common::{CHILD, FILES, World, root, server, until, vip};
use dirigo_daemon as daemon;
use nix::sys::signal::Signal;

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

fn web() -> ServiceKey {
    format!("tcp:{}:80", vip()).parse().unwrap()
}

/// The service with these real servers only.
fn with(world: &World, servers: &[u8], keys: &str) -> String {
    let classic = world.classic("rr");
    let head = classic.split("[[service.destination]]").next().unwrap();
    let destinations = servers
        .iter()
        .map(|n| format!("[[service.destination]]\naddress = \"{}\"\n", server(*n)));
    format!("{head}{keys}{}", destinations.collect::<String>())
}

/// The service with one real server that is checked.
fn checked(world: &World, server: u8) -> String {
    let check = "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"2s\"\ntimeout = \"1s\"\n";
    with(world, &[server], "checks = [\"port\"]\n") + check
}

#[test]
fn a_configuration_is_applied_and_what_did_not_change_is_not_touched() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&with(&world, &[1, 2], ""));
    assert_eq!(world.ask(1), [2]);
    let mut open = world.connect().unwrap();
    assert_eq!(open.server, 1);

    let nothing = world.api().apply(&api::Apply::default()).unwrap();
    assert!(!nothing.changed);
    assert_eq!(world.ask(1), [2], "the rotation goes on");

    let more = with(&world, &[1, 2], "") + "[timeouts]\ntcp = 77\n";
    let applied = world.apply(&more).unwrap();
    assert!(applied.changed);
    assert_eq!((applied.services, applied.generation), (0, 2));
    assert_eq!(world.api().status().unwrap().timeouts.tcp, 77);
    assert_eq!(world.ask(2), [1, 2], "the rotation goes on");

    world.apply(&with(&world, &[2], "")).unwrap();
    assert_eq!(world.ask(3), [2, 2, 2]);
    world.apply(&with(&world, &[1], "")).unwrap();
    assert_eq!(world.ask(3), [1, 1, 1]);
    assert!(open.echoes(), "added again, it has its connection back");
    assert_eq!(world.api().status().unwrap().timeouts.tcp, 900);
}

#[test]
fn a_wrong_configuration_changes_nothing_and_all_its_mistakes_are_told() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&with(&world, &[1], ""));
    let wrong = with(&world, &[1, 2], "").replace("\"rr\"", "\"rrr\"") + "[nonsense]\n";
    let Err(ClientError::Refused(refusal)) = world.apply(&wrong) else {
        panic!("it was applied");
    };
    assert_eq!(refusal.code, RefusalCode::BadConfig);
    assert!(refusal.message.contains("rrr"), "{refusal}");
    assert!(refusal.message.contains("nonsense"), "{refusal}");
    assert_eq!(world.ask(2), [1, 1]);

    world.signal(Signal::SIGHUP);
    until("the failure is told", || {
        let failure = world.api().status().unwrap().configuration.failure;
        failure.is_some_and(|failure| failure.contains("rrr") && failure.contains("nonsense"))
    });
    assert!(world.log().contains("All stays as it is"));

    world.write(&with(&world, &[2], ""));
    world.signal(Signal::SIGHUP);
    until("it is followed", || {
        let configuration = world.api().status().unwrap().configuration;
        configuration.failure.is_none() && configuration.origin == GenerationOrigin::Signal
    });
    assert_eq!(world.ask(2), [2, 2]);
}

#[test]
fn an_interface_that_is_not_there_undoes_the_whole_change() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&with(&world, &[1], ""));
    let two = with(&world, &[2], "").replace(
        "interface = \"eth0\"",
        "interfaces = [\"eth0\", \"nonsense0\"]",
    );
    let Err(ClientError::Refused(refusal)) = world.apply(&two) else {
        panic!("it was applied");
    };
    assert_eq!(refusal.code, RefusalCode::BadConfig);
    assert!(refusal.message.contains("nonsense0"), "{refusal}");
    assert_eq!(world.ask(2), [1, 1]);
    let status = world.api().status().unwrap();
    assert_eq!(status.interfaces.len(), 1);
    assert_eq!(status.configuration.generation, 1);
}

#[test]
fn what_was_changed_at_runtime_is_drift_until_the_file_is_applied() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&with(&world, &[1, 2], ""));
    let drift = || world.api().status().unwrap().configuration.drift;
    assert_eq!(drift(), 0);
    let destination = std::net::SocketAddr::new(server(1), 80);
    let delete = Change::DeleteDestination {
        service: web(),
        destination,
    };
    world.api().change(&delete).unwrap();
    let settings = api::ServiceSettings::of("rr");
    let service = format!("tcp:{}:81", vip()).parse().unwrap();
    let add = Change::AddService { service, settings };
    world.api().change(&add).unwrap();
    assert_eq!(drift(), 2);

    let applied = world.api().apply(&api::Apply::default()).unwrap();
    assert_eq!((applied.changed, applied.services), (true, 2));
    assert_eq!(drift(), 0);
    let services = world.api().services().unwrap();
    assert_eq!(services.len(), 1);
    assert_eq!(services[0].destinations.len(), 2);
}

#[test]
fn checks_that_begin_or_change_take_no_server_away_that_is_well() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&with(&world, &[1, 2], ""));
    assert_eq!(world.ask(2), [2, 1]);
    let check = |kind: &str| {
        format!("[[check]]\nname = \"port\"\n{kind}\ninterval = \"500ms\"\ntimeout = \"400ms\"\n")
    };
    let checked = with(&world, &[1, 2], "checks = [\"port\"]\n");
    world
        .apply(&(checked.clone() + &check("type = \"tcp\"")))
        .unwrap();
    assert_eq!(world.ask(4), [2, 1, 2, 1]);
    until("both are up", || {
        let services = world.api().health().unwrap();
        let mut all = services.iter().flat_map(|service| &service.destinations);
        all.all(|one| {
            one.health == HealthState::Up
                && one.checks.iter().all(|one| one.health == HealthState::Up)
        })
    });
    // One that fails: nobody listens there.
    world
        .apply(&(checked + &check("type = \"tcp\"\nport = 9")))
        .unwrap();
    until("both are down", || {
        let services = world.api().health().unwrap();
        let mut all = services.iter().flat_map(|service| &service.destinations);
        all.all(|one| one.health == HealthState::Down)
    });
    // Without checks both are served again.
    world.apply(&with(&world, &[1, 2], "")).unwrap();
    assert!(world.api().health().unwrap().is_empty());
    let mut answered = world.ask(2);
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
}

#[test]
fn a_service_that_goes_over_to_other_servers_with_checks_is_served_all_the_time() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&checked(&world, 1));
    until("it is up", || world.connect().is_ok());
    for server in [2, 1, 2] {
        world.apply(&checked(&world, server)).unwrap();
        assert_eq!(world.ask(2), [server, server], "at once");
    }
}

#[test]
fn a_server_that_comes_back_at_once_is_found_before_it_takes_the_service_over() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&checked(&world, 1));
    until("it is up", || world.connect().is_ok());
    for server in [2, 1] {
        world.apply(&checked(&world, server)).unwrap();
    }
    let log = world.log();
    let lines: Vec<&str> = log.lines().collect();
    // Found, not found to be where it was.
    let last = |event: &str, of: &str| {
        let is_it = |line: &&str| [event, of].iter().all(|word| line.contains(word));
        lines
            .iter()
            .rposition(|line| is_it(line) && !line.contains(" old="))
    };
    let resolved = last("server-resolved", &format!("server={}", server(1)));
    let applied = last("generation-applied", "generation 3");
    assert!(resolved.unwrap() < applied.unwrap(), "{log}");
}

#[test]
fn the_way_back_leads_to_the_generation_before_and_survives_a_crash() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&with(&world, &[1], ""));
    world
        .apply(&(with(&world, &[2], "") + "[timeouts]\ntcp = 77\n"))
        .unwrap();
    assert_eq!(world.ask(2), [2, 2]);

    let back = world.api().rollback(&api::Rollback::default()).unwrap();
    assert_eq!((back.generation, back.changed), (3, true));
    assert_eq!(world.ask(2), [1, 1]);
    let status = world.api().status().unwrap();
    assert_eq!(status.timeouts.tcp, 900);
    assert_eq!(status.configuration.origin, GenerationOrigin::Rollback);
    assert_eq!(status.configuration.drift, 0);
    let all = world.api().generations().unwrap();
    let all: Vec<_> = all.iter().map(|one| (one.number, one.of)).collect();
    assert_eq!(all, [(1, None), (2, None), (3, Some(1))]);
    let Err(ClientError::Refused(refusal)) = world.api().rollback(&api::Rollback::default()) else {
        panic!("there is nothing before the first");
    };
    assert!(refusal.message.contains("dirigo generations"), "{refusal}");

    // The file still has what was gone back from: a crash is no reason to follow it.
    let file = std::fs::read_to_string(world.file()).unwrap();
    world.kill();
    world.start(&file);
    assert_eq!(world.ask(2), [1, 1]);
    assert_eq!(world.api().status().unwrap().configuration.generation, 3);
    // Whoever says so follows it.
    world.api().apply(&api::Apply::default()).unwrap();
    assert_eq!(world.ask(2), [2, 2]);
    world
        .api()
        .rollback(&api::Rollback { to: Some(3) })
        .unwrap();
    assert_eq!(world.ask(2), [1, 1]);
    // And after an orderly stop the file counts.
    world.terminate();
    world.start(&file);
    assert_eq!(world.ask(2), [2, 2]);
}
