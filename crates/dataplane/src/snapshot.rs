//! The live tables as one packet would find them, to be written to without consequence.
//!
//! ```text
//! director::forward ─► Snapshot ─ first touch ─► copy of the live word(s)
//!                          └───── every other ─► the copy
//! ```
//!
//! Only what a packet touches is copied, so that a table of a million connections costs a few lines of cache.
//! Allowances of ICMP errors start empty: the packet that is asked about has its share.
//!
//! It also keeps what the packet found: that is the answer of [`crate::explain`].

use std::cell::{Cell, RefCell};
use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use elsa::FrozenMap;

use director::connection::{Bucket, Slot};
use director::limits::LOCALITY_MEMBERS;
use director::tables::{
    Egress, Link, Locality, MarkRule, Segment, Service, ServiceKey, Settings, Standing, Tables,
    Tuple, Weight,
};
use director::{Counter, Instant};

use crate::Dataplane;
use crate::map::Words;

/// Copies of elements, made when they are touched first.
type Copies<V> = FrozenMap<u32, Box<V>>;

/// What a packet found on its way.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Its service.
    pub(crate) service: Cell<Option<(ServiceKey, Service)>>,
    /// The last slot of a rotation, table or list that was looked at.
    pub(crate) slot: Cell<u32>,
    /// Whose it was, 0 for nobody's.
    pub(crate) slot_of: Cell<u32>,
    /// How many were looked at.
    pub(crate) slots: Cell<u32>,
    /// Where the service's counter of picks stood.
    pub(crate) picks: Cell<u64>,
    /// The destination that it was counted for, and whether it made a connection.
    pub(crate) account: Cell<Option<(u32, bool)>>,
    /// Counters that moved.
    pub(crate) counters: RefCell<Vec<u32>>,
}

impl Seen {
    /// Whether a counter moved.
    pub(crate) fn has(&self, counter: Counter) -> bool {
        self.counters.borrow().contains(&counter.counter())
    }
}

/// The tables of one packet.
pub(crate) struct Snapshot<'d> {
    live: &'d Dataplane,
    settings: Option<Settings>,
    now: Instant,
    /// A destination that is taken for dead.
    dead: Option<u32>,
    pub(crate) seen: Seen,
    seed: Cell<u32>,
    buckets: Copies<Bucket<AtomicU64>>,
    tuples: RefCell<std::collections::HashMap<u32, Tuple>>,
    attached: Copies<AtomicU64>,
    populations: Copies<AtomicU64>,
    picks: Copies<AtomicU64>,
    gauges: Copies<AtomicU64>,
    standings: Copies<Standing<AtomicU64>>,
    localities: Copies<Locality<AtomicU64>>,
    fragments: Copies<Slot<AtomicU64>>,
    allowances: Copies<AtomicU64>,
}

impl<'d> Snapshot<'d> {
    /// The tables as they are; one destination may be taken for dead.
    pub(crate) fn new(live: &'d Dataplane, dead: Option<u32>) -> Self {
        let now = crate::connections::now();
        Self {
            live,
            settings: live.settings(),
            now,
            dead,
            seen: Seen::default(),
            seed: Cell::new(now.ns as u32 | 1),
            buckets: Copies::new(),
            tuples: RefCell::default(),
            attached: Copies::new(),
            populations: Copies::new(),
            picks: Copies::new(),
            gauges: Copies::new(),
            standings: Copies::new(),
            localities: Copies::new(),
            fragments: Copies::new(),
            allowances: Copies::new(),
        }
    }
}

/// The copy of an element; `None` beyond the table's end.
fn copied<K: Eq + Hash + Copy + Into<u64>, V>(
    copies: &FrozenMap<K, Box<V>>,
    key: K,
    len: usize,
    copy: impl FnOnce(usize) -> V,
) -> Option<&V> {
    let index = usize::try_from(key.into()).ok().filter(|at| *at < len)?;
    Some(match copies.get(&key) {
        Some(value) => value,
        None => copies.insert(key, Box::new(copy(index))),
    })
}

/// The copy of a table's words.
fn word<'c>(copies: &'c Copies<AtomicU64>, words: &Words, index: u32) -> Option<&'c AtomicU64> {
    copied(copies, index, words.len(), |at| {
        AtomicU64::new(words.load(at))
    })
}

/// The element, if there is one.
fn element<T: zerocopy::FromBytes + zerocopy::IntoBytes>(words: &Words, index: u32) -> Option<T> {
    let index = index as usize;
    (index < words.len()).then(|| words.read(index)).flatten()
}

impl Tables for Snapshot<'_> {
    type Word = AtomicU64;

    fn now(&self) -> Instant {
        self.now
    }
    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }
    fn vip_word(&self, index: u32) -> u64 {
        element(&self.live.vips, index).unwrap_or(0)
    }
    fn bucket(&self, index: u32) -> Option<&Bucket<AtomicU64>> {
        let words = &self.live.connections.buckets;
        copied(&self.buckets, index, words.len(), |at| {
            let word = |part| AtomicU64::new(load(words, at, part));
            let mut bucket = Bucket::default();
            for (number, slot) in bucket.slots.iter_mut().enumerate() {
                slot.tag = word(2 * number);
                slot.entry = word(2 * number + 1);
            }
            bucket
        })
    }
    fn record(&self, slot: u32, tuple: &Tuple) {
        self.tuples.borrow_mut().insert(slot, *tuple);
    }
    fn tuple(&self, slot: u32) -> Option<Tuple> {
        let own = self.tuples.borrow().get(&slot).copied();
        own.or_else(|| element(&self.live.connections.tuples, slot))
    }
    fn attached(&self, slot: u32) -> Option<&AtomicU64> {
        let words = &self.live.connections.tuples;
        copied(&self.attached, slot, words.len(), |at| {
            AtomicU64::new(load(words, at, crate::connections::ATTACHED_WORD))
        })
    }
    fn population(&self, service: u32) -> Option<&AtomicU64> {
        word(
            &self.populations,
            &self.live.connections.populations,
            service,
        )
    }
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        let service = self.live.services.look_up(key);
        self.seen.service.set(service.map(|found| (*key, found)));
        service
    }
    fn picks(&self, service: u32) -> Option<&AtomicU64> {
        let live = &self.live.services.picks;
        self.seen.picks.set(element(live, service).unwrap_or(0));
        word(&self.picks, live, service)
    }
    fn segment(&self, index: u32) -> Option<Segment> {
        element(&self.live.services.segments, index)
    }
    fn rotation_slot(&self, index: u32) -> u32 {
        self.seen.slot.set(index);
        self.seen.slots.set(self.seen.slots.get() + 1);
        // Two in a word.
        let pair: u64 = element(&self.live.services.slots, index / 2).unwrap_or(0);
        let destination = (pair >> (index % 2 * 32)) as u32;
        self.seen.slot_of.set(destination);
        destination
    }
    fn standing(&self, destination: u32) -> Option<&Standing<AtomicU64>> {
        let words = &self.live.standings;
        copied(&self.standings, destination, words.len(), |at| {
            let mut weight = load(words, at, 0);
            // A rotation asks for nothing else: those that are out of it are made to be passed by.
            if self.dead == Some(destination) {
                weight |= Weight::OVERLOAD;
            }
            Standing {
                weight: AtomicU64::new(weight),
                thresholds: AtomicU64::new(load(words, at, 1)),
            }
        })
    }
    fn locality(&self, index: u32) -> Option<&Locality<AtomicU64>> {
        let words = &self.live.services.localities;
        copied(&self.localities, index, words.len(), |at| {
            let word = |part| AtomicU64::new(load(words, at, part));
            Locality {
                tag: word(0),
                ticks: word(1),
                size: word(2),
                members: std::array::from_fn::<_, LOCALITY_MEMBERS, _>(|member| word(3 + member)),
            }
        })
    }
    fn mark_rule(&self, index: u32) -> Option<MarkRule> {
        element(&self.live.marks.words, index)
    }
    fn random(&self) -> u32 {
        // Xorshift: all that is wanted is that not every answer is the same.
        let mut next = self.seed.get();
        next ^= next << 13;
        next ^= next >> 17;
        next ^= next << 5;
        self.seed.set(next);
        next
    }
    fn link(&self, destination: u32) -> Link {
        if self.dead == Some(destination) {
            return Link::UNRESOLVED;
        }
        Link(element(&self.live.links, destination).unwrap_or(0))
    }
    fn gauge(&self, destination: u32) -> Option<&AtomicU64> {
        word(&self.gauges, &self.live.gauges, destination)
    }
    fn account(&self, destination: u32, connections: u64, _bytes: u64) {
        self.seen.account.set(Some((destination, connections != 0)));
    }
    fn egress(&self, slot: u32) -> Option<Egress> {
        element(&self.live.egress, slot)
    }
    fn fragment(&self, index: u32) -> Option<&Slot<AtomicU64>> {
        let words = &self.live.fragments;
        copied(&self.fragments, index, words.len(), |at| Slot {
            tag: AtomicU64::new(load(words, at, 0)),
            entry: AtomicU64::new(load(words, at, 1)),
        })
    }
    fn reply_allowance(&self, bucket: u32) -> Option<&AtomicU64> {
        let len = director::limits::REPLY_BUCKETS as usize;
        copied(&self.allowances, bucket, len, |_| AtomicU64::new(0))
    }
    fn count(&self, counter: u32) {
        self.seen.counters.borrow_mut().push(counter);
    }
}

fn load(words: &Words, entry: usize, part: usize) -> u64 {
    words
        .word_at(entry, part)
        .load(std::sync::atomic::Ordering::Acquire)
}
