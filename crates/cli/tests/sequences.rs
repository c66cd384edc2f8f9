//! Configurations one after another under constant traffic, with real frames and the real binary's listing.
//!
//! ```text
//! client: new connections ─┐                        ┌─ real servers 1 to 4
//!         open connections ┴─► director ────────────┘
//! test:   another file ─► apply, SIGHUP, or SIGKILL in between ─► do all agree?
//! ```
//!
//! A request may fail only when its real server was taken away beneath it, which no step here does: a
//! server is drained a step before it is removed, as one does. CI plays a cut; longer runs are
//! given by `DIRIGO_SEQUENCES` and `DIRIGO_KILLS`.
#![allow(clippy::unwrap_used)]

#[path = "../../daemon/tests/common/mod.rs"]
mod common;

extern crate daemon as dirigo_daemon;

#[path = "sequences/plan.rs"]
mod plan;
#[path = "sequences/traffic.rs"]
mod traffic;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{CHILD, FILES, World, root, until};
use nix::sys::signal::Signal;
use plan::{Dice, Plan};
use traffic::Traffic;

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

/// How many rounds are played, and from which number on; both can be given.
fn rounds(variable: &str, default: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|word| word.parse().ok());
    let seed = number("DIRIGO_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_nanos() as u64
    });
    println!("DIRIGO_SEED={seed}");
    (number(variable).unwrap_or(default), seed)
}

/// `ipvsadm -ln` of the real binary, without what counts.
fn listed(world: &World) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_dirigo"))
        .args(["ipvsadm", "-Sn"])
        .env("DIRIGO_INSTANCE", &world.instance)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// File, daemon, maps and listing say the same.
fn assert_all_agree(world: &World, plan: &Plan) {
    let expected = plan.listed();
    let agree = || {
        let found = listed(world);
        (found == expected).then_some(()).ok_or(found)
    };
    let end = Instant::now() + Duration::from_secs(20);
    while let Err(found) = agree() {
        assert!(
            Instant::now() < end,
            "expected {expected:#?}, found {found:#?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = world.api().status().unwrap();
    assert_eq!(status.configuration.drift, 0);
    assert_eq!(status.timeouts.tcp, plan.timeout);
    // What the maps hold, by the packet path itself: each new client goes to a server that may be given one.
    for (service, servers) in plan.eligible() {
        for port in 0..8 {
            let query = api::ExplainQuery {
                protocol: api::Protocol::Tcp,
                client: std::net::SocketAddr::new([10, 9, 0, 200].into(), 50_000 + port),
                virtual_address: service,
            };
            let found = world.api().explain(&query).unwrap();
            let to = found.fate.destination.map(|one| one.ip());
            assert!(
                to.is_some_and(|to| servers.contains(&to)),
                "{found:?}, of {servers:?}"
            );
        }
    }
}

#[test]
fn configurations_one_after_another_fail_no_request() {
    if !root() {
        return;
    }
    let (count, seed) = rounds("DIRIGO_SEQUENCES", 8);
    let mut dice = Dice::new(seed);
    let mut world = World::with_servers(4);
    let mut plan = Plan::first();
    world.start(&plan.text());
    let traffic = Traffic::begin(&world, &plan);
    let mut worst = Duration::ZERO;
    for round in 0..count {
        for _ in 0..3 {
            let before = plan.clone();
            plan.mutate(&mut dice);
            // Those that are about to be removed are let go by their clients first: they were drained before.
            traffic.leave(before.without(&plan));
            let begun = Instant::now();
            step(&world, &plan, &mut dice);
            worst = worst.max(begun.elapsed());
            traffic.expect(&plan);
            assert_all_agree(&world, &plan);
            traffic.assert_none_failed(&format!("round {round}: {before:?} to {plan:?}"));
        }
    }
    let requests = traffic.end();
    println!(
        "{count} sequences of 3 changes: {requests} requests, none failed; the slowest change took {worst:?}"
    );
    assert!(requests > count * 10);
    world.terminate();
}

/// One of the ways from one configuration to another.
fn step(world: &World, plan: &Plan, dice: &mut Dice) {
    match dice.below(6) {
        0 => {
            world.write(&plan.text());
            world.signal(Signal::SIGHUP);
            until("SIGHUP is followed", || {
                let status = world.api().status().unwrap();
                assert_eq!(status.configuration.failure, None);
                status.timeouts.tcp == plan.timeout && listed(world) == plan.listed()
            });
        }
        1 => {
            // Somebody changes the table at runtime: the next configuration repairs that.
            let service = plan.services()[0];
            let settings = api::ServiceSettings::of("wlc");
            let change = api::Change::EditService { service, settings };
            world.api().change(&change).unwrap();
            world.apply(&plan.text()).unwrap();
        }
        2 => {
            // A wrong file changes nothing.
            let wrong = plan.text().replace("[[service]]", "[[servise]]");
            assert!(world.apply(&wrong).is_err());
            world.apply(&plan.text()).unwrap();
        }
        _ => {
            world.apply(&plan.text()).unwrap();
        }
    }
}

#[test]
fn a_daemon_that_is_killed_while_it_applies_ends_in_the_old_or_the_new_configuration() {
    if !root() {
        return;
    }
    let (count, seed) = rounds("DIRIGO_KILLS", 4);
    let mut dice = Dice::new(seed);
    let mut world = World::with_servers(4);
    let mut plan = Plan::first();
    world.start(&plan.text());
    let traffic = Traffic::begin(&world, &plan);
    let (mut before_step, mut after_step) = (0, 0);
    for round in 0..count {
        let old = plan.clone();
        let mut new = old.clone();
        new.mutate(&mut dice);
        // A start gives a server nothing until it was checked, whatever the file before said.
        new.leave_checks();
        traffic.leave(old.without(&new));
        let old_listed = listed(&world);
        world.write(&new.text());
        let api = world.api();
        let applying = std::thread::spawn(move || api.apply(&api::Apply::default()));
        std::thread::sleep(Duration::from_micros(dice.below(25_000)));
        world.kill();
        let _cut_off = applying.join().unwrap();
        // What the next daemon finds is one of the two, and forwards all the time.
        traffic.assert_none_failed(&format!(
            "round {round}: killed between {old:?} and {new:?}"
        ));
        // The file may be taken back. Servers that only the new one had may have clients by then, so that
        // they are drained, as in every other step.
        let goes_back = dice.below(2) == 0;
        plan = match goes_back {
            true => old.with_drained(&new),
            false => new,
        };
        traffic.expect(&plan);
        world.start(&plan.text());
        assert_all_agree(&world, &plan);
        match listed(&world) == old_listed {
            true => before_step += 1,
            false => after_step += 1,
        }
        traffic.assert_none_failed(&format!("round {round}: started again with {plan:?}"));
    }
    let requests = traffic.end();
    println!(
        "{count} kills: {requests} requests, none failed; {before_step} ended in the old table, \
         {after_step} in the new one"
    );
    world.terminate();
}
