//! A hundred thousand random frames in random worlds: what the native twin does, the kernel does.
//!
//! ```text
//! seed ─► worlds ─► each: a table size, tables, then frames and changes in turn ─► Pair ─► equal?
//! ```
//!
//! Frames are mostly right and often of a known connection, so that they get far; a third is spoilt. A
//! failure names seed and world; `DIRIGO_SEED=… DIRIGO_WORLD=… cargo test -p dirigo-dataplane random`
//! shows it again, alone.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use director::{Verdict, verdict};

use crate::dice::Dice;
use crate::pair::{Pair, Trouble, hex};
use crate::support::is_root;
use crate::world::Received;

/// Frames in all.
const FRAMES: usize = 100_000;
/// Frames in one world. Few, because a world in which the clock disturbed a frame is played again.
const FRAMES_IN_A_WORLD: usize = 50;
/// Tables: one and two buckets, where everything is pushed out, and two with ever more room.
const ROOMS: [u32; 4] = [4, 8, 64, 1_024];
/// How often a world is played again before the machine is too busy to say anything.
const TRIES: usize = 100;

#[test]
fn a_hundred_thousand_random_frames_become_the_same_natively_and_in_the_kernel() {
    if !is_root() {
        return;
    }
    let seed = from_environment("DIRIGO_SEED").unwrap_or_else(seed_of_this_moment);
    let keys = Dice::new(seed, u64::MAX).hash_keys();
    let mut pairs = ROOMS.map(|room| Pair::with_keys(&format!("random-{room}"), room, keys));
    let worlds = FRAMES.div_ceil(FRAMES_IN_A_WORLD) as u64;
    let chosen = match from_environment("DIRIGO_WORLD") {
        Some(world) => world..world + 1,
        None => 0..worlds,
    };
    let mut seen = Seen::default();
    for world in chosen.clone() {
        let dice = Dice::new(seed, world);
        let pair = &mut pairs[world as usize % ROOMS.len()];
        if let Err(text) = play_until_undisturbed(pair, &dice, &mut seen) {
            panic!("DIRIGO_SEED={seed} DIRIGO_WORLD={world}: {text}");
        }
    }
    if chosen.end - chosen.start == worlds {
        seen.assert_variety(seed);
    }
}

/// How often each counter moved, to know that the dice reach everything.
#[derive(Default)]
struct Seen(BTreeMap<&'static str, u64>);

impl Seen {
    fn add(&mut self, counters: BTreeMap<&'static str, u64>) {
        for (name, count) in counters {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// Rare or common, all is met; what is not says that the dice are loaded.
    fn assert_variety(&self, seed: u64) {
        /// Settings are always there, frames are never shorter, and CPUs do not race here.
        const NEVER: [&str; 3] = [
            "pass_not_ready",
            "drop_malformed_ethernet",
            "drop_race_lost",
        ];
        let names = verdict::counter_names().map(|(_, name)| name);
        let missed: Vec<_> = names.filter(|name| !self.0.contains_key(name)).collect();
        eprintln!("DIRIGO_SEED={seed}: {:?}", self.0);
        assert!(
            missed.iter().all(|name| NEVER.contains(name)),
            "DIRIGO_SEED={seed}: never met: {missed:?}"
        );
    }
}

fn play_until_undisturbed(pair: &mut Pair, dice: &Dice, seen: &mut Seen) -> Result<(), String> {
    for _ in 0..TRIES {
        match play(pair, &mut dice.clone(), seen) {
            Ok(()) => return Ok(()),
            Err(Trouble::ClockMoved) => pair.recover(),
            Err(Trouble::Differ(text)) => return Err(text),
        }
    }
    Err(format!("the clock disturbed a frame {TRIES} times"))
}

/// One world, its frames and its changes.
fn play(pair: &mut Pair, dice: &mut Dice, seen: &mut Seen) -> Result<(), Trouble> {
    pair.clear();
    for change in dice.world() {
        pair.apply(&change);
    }
    for number in 0..FRAMES_IN_A_WORLD {
        if dice.one_in(12) {
            let change = dice.change();
            pair.apply(&change);
        }
        let frame = dice.frame();
        let (verdict, received) = exchange(pair, &frame).map_err(|trouble| match trouble {
            Trouble::Differ(text) => {
                Trouble::Differ(format!("frame {number}, {}{text}", hex(&frame)))
            }
            moved => moved,
        })?;
        assert_untouched_unless_sent(verdict, &frame, &received);
    }
    pair.compare()?;
    seen.add(pair.native.counters());
    Ok(())
}

/// Gives both the frame; the kernel must have moved the counter of the native verdict.
fn exchange(pair: &mut Pair, frame: &[u8]) -> Result<(Verdict, Received), Trouble> {
    let native = pair.native.tables.counters.borrow().clone();
    let (verdict, received) = pair.receive(frame)?;
    let number = verdict.counter();
    let counted = pair.kernel.moved(number);
    if counted == native[number as usize] + 1 {
        return Ok((verdict, received));
    }
    let text = format!("{verdict:?} natively; the kernel counted another verdict");
    Err(Trouble::Differ(text))
}

fn assert_untouched_unless_sent(verdict: Verdict, frame: &[u8], received: &Received) {
    if matches!(verdict, Verdict::Pass(_) | Verdict::Drop(_)) {
        assert_eq!(received.frame, frame, "{verdict:?} changed its frame");
    }
}

pub fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}

pub fn seed_of_this_moment() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_micros() as u64
}
