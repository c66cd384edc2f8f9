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

#[path = "sequences/left.rs"]
mod left;
#[path = "sequences/plan.rs"]
mod plan;
#[path = "sequences/traffic.rs"]
mod traffic;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{CHILD, FILES, Patience, World, root, until};
use left::Left;
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
    let program = std::env::var("DIRIGO_BIN");
    let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_dirigo").to_owned());
    let output = Command::new(program)
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
    let patience = Patience::of(common::PATIENCE);
    while let Err(found) = agree() {
        assert!(
            !patience.is_over(),
            "expected {expected:#?}, found {found:#?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = world.api().status().unwrap();
    assert_eq!(status.configuration.drift, 0);
    assert_eq!(status.timeouts.tcp, plan.timeout);
    // What the maps hold, by the packet path itself: each new client goes to a server that may be given one, and
    // what is no service any more is none there either.
    for (service, servers) in plan.eligible() {
        for port in 0..8 {
            let client = match service.is_ipv4() {
                true => IpAddr::from([10, 9, 0, 200]),
                false => common::six(200),
            };
            let query = api::ExplainQuery {
                protocol: api::Protocol::Tcp,
                client: SocketAddr::new(client, 50_000 + port),
                virtual_address: service,
            };
            let found = world.api().explain(&query).unwrap();
            let to = found.fate.destination.map(|one| one.ip());
            let is_right = match to {
                Some(to) => servers.contains(&to),
                None => servers.is_empty(),
            };
            assert!(is_right, "{found:?}, of {servers:?}");
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
    let mut tally = Tally::default();
    for round in 0..count {
        let old = plan.clone();
        let mut new = old.clone();
        while new == old {
            new.mutate(&mut dice);
        }
        traffic.leave(old.without(&new));
        let before = Left::read(&world);
        world.write(&new.text());
        let is_answered = kill_while_it_applies(&mut world, &mut dice);
        let when = format!("round {round}: killed between {old:?} and {new:?}");
        traffic.assert_none_failed(&when);

        // What it left is the old one as it was, or the new one whole.
        let left = Left::read(&world);
        let is_new = left.generation != before.generation;
        if is_new {
            assert_eq!(left.generation, before.generation + 1, "{when}");
            assert_is_whole(&left, &new, &when);
        } else {
            assert_eq!(left.configuration, before.configuration, "{when}");
            assert_is_whole(&left, &old, &when);
            assert!(!is_answered, "{when}: it had said that it is done");
        }
        tally.count(is_new, is_answered);

        // With the file of what it left, the next daemon changes nothing: what is there then was there before.
        let of_what_it_left = if is_new { new.text() } else { old.text() };
        plan = match (is_new, dice.below(4)) {
            (true, 1..) => new,
            (false, 1..) => old,
            // Now and then with the other's. What only the one left has may have clients, and is drained.
            (true, 0) => old.with_drained(&new),
            (false, 0) => new,
        };
        traffic.expect(&plan);
        world.start(&plan.text());
        if plan.text() == of_what_it_left {
            let status = world.api().status().unwrap();
            assert_eq!(status.configuration.generation, left.generation, "{when}");
            if plan.is_unchecked() {
                assert_eq!(listed(&world), plan.listed(), "{when}, at once");
            }
        }
        assert_all_agree(&world, &plan);
        traffic.assert_none_failed(&format!("{when}, started again with {plan:?}"));
    }
    let requests = traffic.end();
    println!("{count} kills: {requests} requests, none failed; {tally}");
    world.terminate();
}

/// SIGKILL at a random moment of an apply: half of them soon after the new state began to be written. Whether the
/// daemon had answered by then.
fn kill_while_it_applies(world: &mut World, dice: &mut Dice) -> bool {
    let bytes = left::bytes(world);
    let api = world.api();
    let applying = std::thread::spawn(move || api.apply(&api::Apply::default()));
    match dice.below(2) {
        0 => {
            let end = Instant::now() + Duration::from_secs(2);
            while left::bytes(world) == bytes && Instant::now() < end {
                std::hint::spin_loop();
            }
            std::thread::sleep(Duration::from_micros(dice.below(1_000)));
        }
        _ => std::thread::sleep(Duration::from_micros(dice.below(25_000))),
    }
    world.kill();
    applying.join().unwrap().is_ok()
}

/// What was left is this configuration, and its table is that of the configuration.
fn assert_is_whole(left: &Left, plan: &Plan, when: &str) {
    assert_eq!(left.table, left.configuration, "{when}");
    if plan.is_unchecked() {
        return assert_eq!(left.table, plan.table(), "{when}");
    }
    // A real server that checks have not passed yet is left out.
    let whole = plan.table();
    for (key, (scheduler, weights)) in &left.table {
        let (named, all) = &whole[key];
        assert_eq!(scheduler, named, "{when}");
        assert!(
            weights
                .iter()
                .all(|(to, weight)| all.get(to) == Some(weight)),
            "{when}"
        );
    }
    assert!(left.table.keys().eq(whole.keys()), "{when}");
}

/// Where the kills came.
#[derive(Default)]
struct Tally {
    before_it_was_written: u32,
    before_it_was_answered: u32,
    after: u32,
}

impl Tally {
    fn count(&mut self, is_new: bool, is_answered: bool) {
        match (is_new, is_answered) {
            (false, _) => self.before_it_was_written += 1,
            (true, false) => self.before_it_was_answered += 1,
            (true, true) => self.after += 1,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "killed before the new state was on disk: {}, on the way from there to the answer: {}, after it: {}",
            self.before_it_was_written, self.before_it_was_answered, self.after
        )
    }
}
