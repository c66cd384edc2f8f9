//! Every scheduler in the packet path: over random histories the destination of each new connection is the one
//! that IPVS's model names, natively and in the kernel, refusals and gauges included.
//!
//! ```text
//! seed ─► History ─► steps ─┬─► control ─► plan ─► changes ─┬─► Pair: kernel = native
//!                           ├─► frames ─────────────────────┘          ‖ whom, and the gauges
//!                           └─► ipvs-model ────────────────────────────┘
//! ```
//!
//! A failure prints the shortest history and the seed; `DIRIGO_SEED=…` begins with it.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use director::Verdict;
use dirigo_dataplane::{DestinationLink, Dynamic, Rules, Schedule, Standing};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::history::{Play, Terms};
use crate::kernel::Kernel;
use crate::native::{HASH_KEYS, Native};
use crate::packet::{CLIENT, DIRECTOR, SYN, VIP, tcp};
use crate::pair::{Pair, Trouble};
use crate::random::{from_environment, seed_of_this_moment};
use crate::support::is_root;
use crate::world::{Change, HTTP, INGRESS, key, via};

/// Histories in a run, of each scheduler.
const HISTORIES: u32 = 64;
/// Steps of one at most.
const STEPS: usize = 60;
/// Slots: so many that nobody is pushed out.
const ROOM: u32 = 2_048;
/// How often a history is played again before the machine is too busy to say anything.
const TRIES: usize = 100;

/// All that choose by what was, and so have one right answer; `twos` draws.
const SCHEDULERS: [&str; 13] = [
    "rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "dh", "sh", "mh", "lblc", "lblcr",
];

/// A service and what happens to it.
#[derive(Clone, Debug)]
pub struct History {
    pub scheduler: &'static str,
    /// `sh-fallback`, `mh-fallback`.
    pub fallback: bool,
    /// `sh-port`, `mh-port`.
    pub port: bool,
    pub is_v6: bool,
    /// Whether it has a firewall mark, which four virtual addresses have; else it has one address.
    pub is_marked: bool,
    pub steps: Vec<Step>,
}

/// What happens next.
#[derive(Clone, Debug)]
pub enum Step {
    /// A destination more, or one back from the trash; whether its MAC is known at once.
    Add(u8, Terms, bool),
    Edit(u8, Terms),
    Delete(u8),
    /// Whether its MAC is known.
    Link(u8, bool),
    /// New connections of one client, from ports that nobody had.
    Connect {
        count: u8,
        client: u8,
        vip: u8,
    },
    /// The n-th connection goes on: ACK, FIN, RST.
    Acknowledge(usize),
    Finish(usize),
    Abort(usize),
    /// Seconds pass, and what has run out is forgotten.
    Wait(u32),
}

fn terms() -> impl Strategy<Value = Terms> {
    let weight = prop_oneof![1 => Just(0_u32), 5 => 1_u32..6, 1 => Just(40)];
    let upper = prop_oneof![3 => Just(0_u32), 2 => 1_u32..7];
    (weight, upper, 0_u32..4).prop_map(|(weight, upper, lower)| Terms {
        weight,
        upper,
        lower: lower.min(upper),
    })
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0_u8..6;
    prop_oneof![
        5 => (name.clone(), terms(), prop::bool::weighted(0.9))
            .prop_map(|(name, terms, known)| Step::Add(name, terms, known)),
        3 => (name.clone(), terms()).prop_map(|(name, terms)| Step::Edit(name, terms)),
        1 => name.clone().prop_map(Step::Delete),
        2 => (name, prop::bool::weighted(0.7)).prop_map(|(name, known)| Step::Link(name, known)),
        8 => (1_u8..7, any::<u8>(), 0_u8..4)
            .prop_map(|(count, client, vip)| Step::Connect { count, client, vip }),
        6 => any::<usize>().prop_map(Step::Acknowledge),
        4 => any::<usize>().prop_map(Step::Finish),
        3 => any::<usize>().prop_map(Step::Abort),
        2 => prop::sample::select(vec![11_u32, 66, 130]).prop_map(Step::Wait),
    ]
}

fn history(scheduler: &'static str) -> impl Strategy<Value = History> {
    let steps = prop::collection::vec(step(), 1..STEPS);
    (any::<[bool; 4]>(), steps).prop_map(move |([fallback, port, is_v6, is_marked], steps)| {
        History {
            scheduler,
            fallback,
            port,
            is_v6,
            is_marked,
            steps,
        }
    })
}

#[test]
fn every_scheduler_chooses_as_ipvs_does_natively_and_in_the_kernel() {
    if !is_root() {
        return;
    }
    let seed = from_environment("DIRIGO_SEED").unwrap_or_else(seed_of_this_moment);
    eprintln!("DIRIGO_SEED={seed}");
    let pair = RefCell::new(Pair::new("schedulers", ROOM));
    for scheduler in SCHEDULERS {
        let seen = RefCell::new(Seen::default());
        let result = runner(seed).run(&history(scheduler), |history| {
            let play = || play_until_undisturbed(&mut pair.borrow_mut(), &history);
            let one = play().map_err(TestCaseError::fail)?;
            seen.borrow_mut().add(&one);
            Ok(())
        });
        if let Err(failure) = result {
            panic!("DIRIGO_SEED={seed}: {failure}");
        }
        // Else the histories met nothing.
        let seen = seen.into_inner();
        eprintln!("{scheduler}: {seen:?}");
        assert!(
            seen.chosen > 100 && seen.refused > 10,
            "DIRIGO_SEED={seed}: {scheduler}: {seen:?}"
        );
        assert!(
            seen.overloaded > 0 && seen.forgotten > 0,
            "DIRIGO_SEED={seed}: {scheduler}: {seen:?}"
        );
    }
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: HISTORIES,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// What histories met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub chosen: usize,
    pub refused: usize,
    /// New connections while somebody was overloaded.
    pub overloaded: usize,
    pub forgotten: usize,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.refused += other.refused;
        self.overloaded += other.overloaded;
        self.forgotten += other.forgotten;
    }
}

fn play_until_undisturbed(pair: &mut Pair, history: &History) -> Result<Seen, String> {
    for _ in 0..TRIES {
        match play(pair, history) {
            Ok(seen) => return Ok(seen),
            Err(Trouble::ClockMoved) => pair.recover(),
            Err(Trouble::Differ(text)) => return Err(text),
        }
    }
    Err(format!("the clock disturbed the history {TRIES} times"))
}

fn play(pair: &mut Pair, history: &History) -> Result<Seen, Trouble> {
    let mut play = Play::begin(pair, history);
    for (number, step) in history.steps.iter().enumerate() {
        play.step(step).map_err(|trouble| match trouble {
            Trouble::Differ(text) => Trouble::Differ(format!("step {number}, {step:?}: {text}")),
            moved => moved,
        })?;
    }
    play.compare()?;
    Ok(play.seen)
}

/// Virtual addresses: four that one prefix of a mark covers.
pub fn virtual_address(is_v6: bool, number: u8) -> IpAddr {
    match is_v6 {
        false => Ipv4Addr::new(192, 0, 2, 100 + number).into(),
        true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100 + u16::from(number)).into(),
    }
}

/// Weights of `twos`: more than the one of weight 0, which nobody may get.
const WEIGHTS: [u32; 4] = [1, 2, 5, 0];

/// Connections that `twos` gives to each destination, natively and by a fixed seed.
fn drawn_natively(seed: u64, connections: u16) -> [u32; 4] {
    let mut native = Native::new(16_384, HASH_KEYS);
    native.tables.seed.set(seed);
    twos(&WEIGHTS)
        .iter()
        .for_each(|change| native.apply(change));
    let mut counts = [0; 4];
    for port in 0..connections {
        let (verdict, received) = native.receive(&tcp(CLIENT, 1_024 + port, HTTP, SYN).bytes());
        assert_eq!(verdict, Verdict::Transmit);
        counts[usize::from(received.frame[5]) - 1] += 1;
    }
    counts
}

/// A service with `twos` over destinations 1, 2, … of these weights.
fn twos(weights: &[u32]) -> Vec<Change> {
    let ids = 1..=weights.len() as u32;
    let standing = |(id, weight): (u32, &u32)| {
        let standing = Standing {
            service: 1,
            weight: *weight,
            ..Standing::default()
        };
        Change::Standing(id, via(id, 0), standing)
    };
    let mut changes = vec![
        Change::Vips(vec![VIP]),
        Change::Interface(0, INGRESS, DIRECTOR),
    ];
    changes.extend(ids.clone().zip(weights).map(standing));
    changes.push(Change::Schedule {
        key: key(6, VIP, HTTP),
        id: 1,
        rules: Rules::default(),
        schedule: Schedule::List {
            scheduler: Dynamic::Twos,
            destinations: ids.collect(),
        },
    });
    changes
}

#[test]
fn twos_gives_connections_by_weight() {
    const CONNECTIONS: u16 = 8_000;
    for seed in 1..=4 {
        let counts = drawn_natively(seed, CONNECTIONS);
        let sum: u32 = WEIGHTS.iter().sum();
        for (count, weight) in counts.iter().zip(WEIGHTS) {
            let share = f64::from(CONNECTIONS) * f64::from(weight) / f64::from(sum);
            let off = (f64::from(*count) - share).abs();
            assert!(off <= share * 0.1, "seed {seed}: {counts:?}");
        }
    }
}

#[test]
fn twos_in_the_kernel_gives_connections_to_those_that_can_take_them() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("twos", 4_096, &twos(&[1, 2, 5, 0, 3, 3]));
    kernel.apply(&Change::Link(5, DestinationLink::Unresolved));
    let limited = Standing {
        service: 1,
        weight: 3,
        upper_threshold: 4,
        lower_threshold: 2,
        ..Standing::default()
    };
    kernel.apply(&Change::Standing(6, via(6, 0), limited));
    let mut counts = [0; 7];
    for port in 0..400 {
        let received = kernel.receive(&tcp(CLIENT, 1_024 + port, HTTP, SYN).bytes());
        assert_eq!(received.action, 3, "connection {port}, {counts:?}");
        counts[usize::from(received.frame[5])] += 1;
    }
    // Weight 0, no MAC, and the threshold.
    assert_eq!((counts[4], counts[5], counts[6]), (0, 0, 4), "{counts:?}");
    // The rest goes by weights 1, 2, 5 of 396: none starves.
    assert!(
        counts[1] > 25 && counts[2] > 60 && counts[3] > 180,
        "{counts:?}"
    );
}

#[test]
fn a_destination_that_is_reopened_is_no_more_overloaded_and_one_that_is_edited_is() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("reopened", 4_096, &twos(&[1, 1]));
    let limited = |upper_threshold, is_reopened| {
        let standing = Standing {
            service: 1,
            upper_threshold,
            lower_threshold: 1,
            is_reopened,
            ..Standing::default()
        };
        Change::Standing(1, via(1, 0), standing)
    };
    kernel.apply(&limited(2, false));
    for port in 0..60 {
        kernel.receive(&tcp(CLIENT, 1_024 + port, HTTP, SYN).bytes());
    }
    assert!(kernel.plane.is_overloaded(1));
    kernel.apply(&limited(1, false));
    assert!(kernel.plane.is_overloaded(1), "a lower one");
    kernel.apply(&limited(1, true));
    assert!(!kernel.plane.is_overloaded(1));
}
