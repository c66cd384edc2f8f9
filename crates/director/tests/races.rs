//! Two CPUs at one table: the second does all its work at any of the moments at which the first looks at
//! a table.
//!
//! ```text
//! CPU 1   look │ look │ look │ … one frame
//! CPU 2        └ a whole frame, at the n-th look, for every n
//! ```
//!
//! What may come of it: either order, or a newcomer that lost a race. What may not: a slot that stays
//! claimed, a gauge that counts what is not there.
#![allow(clippy::unwrap_used)]

extern crate dirigo_director as director;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use director::connection::{Bucket, CLAIMED, Entry, FREE, Slot};
use director::memory::MemoryTables;
use director::tables::{
    Egress, Gauge, Link, Locality, MarkRule, Segment, Service, ServiceKey, Settings, Standing,
    Tuple,
};
use director::{DropReason, Instant, Tables, Verdict};
use world::{ACK, FIN, RST, SYN, some_flow, tables};

mod world;

/// What the other CPU does.
type Work<'a> = Box<dyn FnOnce(&MemoryTables) + 'a>;

/// Tables that let another CPU work at the `at`-th look.
struct Shared<'a> {
    tables: &'a MemoryTables,
    looks: Cell<usize>,
    at: usize,
    other: RefCell<Option<Work<'a>>>,
}

impl<'a> Shared<'a> {
    fn new(tables: &'a MemoryTables, at: usize, other: impl FnOnce(&MemoryTables) + 'a) -> Self {
        Self {
            tables,
            looks: Cell::new(0),
            at,
            other: RefCell::new(Some(Box::new(other))),
        }
    }

    fn look(&self) -> &MemoryTables {
        let number = self.looks.replace(self.looks.get() + 1);
        if number == self.at
            && let Some(other) = self.other.take()
        {
            other(self.tables);
        }
        self.tables
    }
}

impl Tables for Shared<'_> {
    type Word = AtomicU64;

    fn now(&self) -> Instant {
        self.look().now()
    }
    fn settings(&self) -> Option<&Settings> {
        self.tables.settings()
    }
    fn vip_word(&self, index: u32) -> u64 {
        self.tables.vip_word(index)
    }
    fn bucket(&self, index: u32) -> Option<&Bucket<AtomicU64>> {
        self.look().bucket(index)
    }
    fn record(&self, slot: u32, tuple: &Tuple) {
        self.look().record(slot, tuple);
    }
    fn tuple(&self, slot: u32) -> Option<Tuple> {
        self.look().tuple(slot)
    }
    fn attached(&self, slot: u32) -> Option<&AtomicU64> {
        self.look().attached(slot)
    }
    fn population(&self, service: u32) -> Option<&AtomicU64> {
        self.look().population(service)
    }
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.look().service(key)
    }
    fn picks(&self, service: u32) -> Option<&AtomicU64> {
        self.look().picks(service)
    }
    fn segment(&self, index: u32) -> Option<Segment> {
        self.look().segment(index)
    }
    fn rotation_slot(&self, index: u32) -> u32 {
        self.look().rotation_slot(index)
    }
    fn standing(&self, destination: u32) -> Option<&Standing<AtomicU64>> {
        self.look().standing(destination)
    }
    fn locality(&self, index: u32) -> Option<&Locality<AtomicU64>> {
        self.look().locality(index)
    }
    fn mark_rule(&self, index: u32) -> Option<MarkRule> {
        self.look().mark_rule(index)
    }
    fn random(&self) -> u32 {
        self.tables.random()
    }
    fn link(&self, destination: u32) -> Link {
        self.look().link(destination)
    }
    fn gauge(&self, destination: u32) -> Option<&AtomicU64> {
        self.look().gauge(destination)
    }
    fn account(&self, destination: u32, connections: u64, bytes: u64) {
        self.look().account(destination, connections, bytes);
    }
    fn egress(&self, slot: u32) -> Option<Egress> {
        self.look().egress(slot)
    }
    fn fragment(&self, index: u32) -> Option<&Slot<AtomicU64>> {
        self.look().fragment(index)
    }
    fn reply_allowance(&self, bucket: u32) -> Option<&AtomicU64> {
        self.look().reply_allowance(bucket)
    }
    fn count(&self, counter: u32) {
        self.tables.count(counter);
    }
}

/// Flags of the packets of flow 0 and flow 1 that made the table what it is.
struct Race {
    before: Vec<(u16, u8)>,
    /// Seconds that passed since.
    idle_s: u64,
    one: (u16, u8),
    other: (u16, u8),
}

fn frame((flow, flags): (u16, u8)) -> Vec<u8> {
    let mut packet = some_flow().packet(flags);
    packet.client_port += flow;
    packet.bytes()
}

/// Runs the race with the other CPU at every look; the verdicts of the one.
fn run(race: &Race, connections: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for at in 0.. {
        let tables = tables(connections);
        for packet in &race.before {
            let _ = world::forward(&tables, frame(*packet));
        }
        let now = tables.now_ns.get();
        tables.now_ns.set(now + race.idle_s * 1_000_000_000);
        let shared = Shared::new(&tables, at, |tables| {
            let _ = world::forward(tables, frame(race.other));
        });
        let (_, verdict) = world::forward(&shared, frame(race.one));
        if shared.other.borrow().is_some() {
            // There are fewer looks than that.
            assert!(at > 3, "the one looked {at} times only");
            break;
        }
        assert_consistent(&tables, &format!("at look {at}, {verdict:?}"));
        seen.insert(format!("{verdict:?}"));
    }
    seen
}

/// No slot is claimed, and each gauge counts what the table holds.
fn assert_consistent(tables: &MemoryTables, context: &str) {
    let mut held: HashMap<u32, (u32, u32)> = HashMap::new();
    for slot in tables.buckets.iter().flat_map(|bucket| &bucket.slots) {
        let (tag, entry) = (slot.tag.load(SeqCst), Entry(slot.entry.load(SeqCst)));
        assert_ne!(tag, CLAIMED, "{context}");
        if tag == FREE {
            assert_eq!(entry.0, 0, "{context}: a free slot holds something");
            continue;
        }
        let counts = held.entry(entry.destination()).or_default();
        if entry.state().is_active() {
            counts.0 += 1;
        } else {
            counts.1 += 1;
        }
    }
    for (id, gauge) in tables.gauges.iter().enumerate() {
        let want = held.get(&(id as u32)).copied().unwrap_or_default();
        assert_eq!(
            Gauge::split(gauge.load(SeqCst)),
            want,
            "{context}: gauge {id}"
        );
    }
}

const TRANSMIT: &str = "Transmit";

fn lost() -> String {
    format!("{:?}", Verdict::Drop(DropReason::RaceLost))
}

#[test]
fn of_two_newcomers_that_want_one_free_slot_one_loses_and_may_try_again() {
    // One bucket with one slot left.
    let race = Race {
        before: vec![(1, SYN), (2, SYN), (3, SYN)],
        idle_s: 0,
        one: (4, SYN),
        other: (5, SYN),
    };
    let seen = run(&race, 4);
    assert!(
        seen.contains(TRANSMIT) && seen.contains(&lost()),
        "{seen:?}"
    );
}

#[test]
fn of_two_newcomers_that_push_out_one_victim_none_is_counted_twice() {
    for state in [SYN, ACK, FIN, RST] {
        let before = (1..=4)
            .flat_map(|flow| [(flow, SYN), (flow, state)])
            .collect();
        let race = Race {
            before,
            idle_s: 0,
            one: (5, SYN),
            other: (6, SYN),
        };
        run(&race, 4);
    }
}

#[test]
fn one_flow_on_two_cpus_at_once_leaves_the_gauges_right() {
    for one in [SYN, ACK, FIN, RST, 0] {
        for other in [SYN, ACK, FIN, RST, 0] {
            for made in [
                vec![],
                vec![(1, SYN)],
                vec![(1, SYN), (1, ACK)],
                vec![(1, SYN), (1, FIN)],
            ] {
                let race = Race {
                    before: made,
                    idle_s: 0,
                    one: (1, one),
                    other: (1, other),
                };
                run(&race, 8);
            }
        }
    }
}

#[test]
fn a_connection_that_runs_out_on_two_cpus_at_once_is_freed_once() {
    for (one, other) in [(SYN, SYN), (ACK, SYN), (SYN, ACK), (ACK, ACK)] {
        let race = Race {
            before: vec![(1, SYN), (2, SYN), (3, SYN), (4, SYN)],
            idle_s: 100,
            one: (1, one),
            other: (1, other),
        };
        run(&race, 4);
        let race = Race {
            other: (2, other),
            ..race
        };
        run(&race, 4);
    }
}

#[test]
fn a_victim_that_is_renewed_meanwhile_is_lost_or_kept_but_never_half() {
    for renewal in [SYN, ACK, FIN, RST] {
        let race = Race {
            before: (1..=4).map(|flow| (flow, SYN)).collect(),
            idle_s: 1,
            one: (5, SYN),
            other: (1, renewal),
        };
        let seen = run(&race, 4);
        assert!(seen.contains(TRANSMIT), "{seen:?}");
    }
}
