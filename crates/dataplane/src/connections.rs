//! The connection table through its mapping: listing and expiry, without system calls.
//!
//! Expiry follows the rules of [`director::connection`]: a slot is claimed by its tag, its entry taken
//! by compare-and-swap, and whoever takes it moves the gauges.

use std::collections::HashMap;
use std::mem::offset_of;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use director::Instant;
use director::connection::{CLAIMED, Entry, FREE};
use director::limits::{BUCKET_SLOTS, STATES};
use director::memory::unmapped;
use director::persistence::RENEWAL;
use director::tables::{Gauge, Settings, Tuple};
use director::time::seconds_from_ticks;

use crate::error::Error;
use crate::map::Words;
use crate::object::Maps;

/// A remembered connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// IP protocol number.
    pub protocol: u8,
    /// Client address and port.
    pub client: SocketAddr,
    /// Virtual address and port.
    pub virtual_address: SocketAddr,
    /// Destination id.
    pub destination: u32,
    /// Number of the service that made it.
    pub service: u32,
    /// State, as IPVS writes it.
    pub state: &'static str,
    /// Seconds until it is forgotten.
    pub expires_s: u64,
}

/// What a slice of expiry found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Connections forgotten in this slice.
    pub expired: u64,
    /// Connections remembered, as of the last whole round.
    pub live: u64,
}

/// Where a tuple keeps a template's life and its number of connections.
const LIFE_WORD: usize = offset_of!(Tuple, life) / 8;
const LIFE_SHIFT: usize = offset_of!(Tuple, life) % 8 * 8;
pub(crate) const ATTACHED_WORD: usize = offset_of!(Tuple, template) / 8;

/// How long a claim may last before it is taken for one of a process that died: the kernel holds one
/// for nanoseconds.
const CLAIM_PATIENCE: Duration = Duration::from_millis(50);

/// The table.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) buckets: Words,
    pub(crate) tuples: Words,
    gauges: Words,
    standings: Words,
    pub(crate) populations: Words,
    cursor: Arc<Cursor>,
}

/// Where expiry goes on, and what it has counted in this round.
#[derive(Default)]
struct Cursor {
    next: AtomicUsize,
    counted: AtomicUsize,
    live: AtomicUsize,
}

impl Table {
    pub(crate) fn new(maps: &Maps) -> Result<Self, Error> {
        Ok(Self {
            buckets: maps.words("BUCKETS")?,
            tuples: maps.words("TUPLES")?,
            gauges: maps.words("GAUGES")?,
            standings: maps.words("STANDINGS")?,
            populations: maps.words("POPULATIONS")?,
            cursor: Arc::default(),
        })
    }

    /// How many buckets.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// How many connections fit.
    pub(crate) fn slots(&self) -> usize {
        self.buckets.len() * BUCKET_SLOTS
    }

    /// Frees slots that a killed process left claimed, and takes what it left there out of the gauges.
    pub(crate) fn recover_claims(&self) {
        let claimed = |slot: &usize| self.tag(*slot).load(Ordering::Acquire) == CLAIMED;
        let suspects: Vec<usize> = (0..self.slots()).filter(claimed).collect();
        if suspects.is_empty() {
            return;
        }
        std::thread::sleep(CLAIM_PATIENCE);
        for slot in suspects.into_iter().filter(claimed) {
            let entry = Entry(self.entry(slot).swap(0, Ordering::AcqRel));
            if entry.destination() != 0 {
                self.discount(slot, entry);
            }
            self.tag(slot).store(FREE, Ordering::Release);
        }
    }

    /// Shows every connection that has not run out, until `visit` breaks.
    pub(crate) fn list(
        &self,
        settings: &Words,
        visit: &mut dyn FnMut(Connection) -> ControlFlow<()>,
    ) {
        let Some(settings) = settings.read::<Settings>(0) else {
            return;
        };
        let tick = now().tick();
        for slot in 0..self.slots() {
            if let Some(connection) = self.connection(slot, &settings, tick)
                && visit(connection).is_break()
            {
                return;
            }
        }
    }

    /// Forgets what has run out in the next `count` buckets.
    pub(crate) fn sweep(&self, settings: &Words, count: usize) -> Swept {
        let mut swept = Swept::default();
        let Some(settings) = settings.read::<Settings>(0) else {
            return swept;
        };
        let tick = now().tick();
        let start = self.cursor.next.load(Ordering::Relaxed);
        let end = (start + count).min(self.buckets());
        let mut live = 0;
        for slot in start * BUCKET_SLOTS..end * BUCKET_SLOTS {
            match self.expire(slot, &settings, tick) {
                Some(true) => swept.expired += 1,
                Some(false) => live += 1,
                None => {}
            }
        }
        let counted = self.cursor.counted.fetch_add(live, Ordering::Relaxed) + live;
        if end == self.buckets() {
            self.cursor.live.store(counted, Ordering::Relaxed);
            self.cursor.counted.store(0, Ordering::Relaxed);
        }
        self.cursor
            .next
            .store(end % self.buckets(), Ordering::Relaxed);
        swept.live = self.cursor.live.load(Ordering::Relaxed) as u64;
        swept
    }

    /// Whether the owner of a slot was forgotten; `None` for an empty slot.
    fn expire(&self, slot: usize, settings: &Settings, tick: u32) -> Option<bool> {
        let tag = self.tag(slot).load(Ordering::Acquire);
        if tag == FREE || tag == CLAIMED {
            return None;
        }
        let entry = Entry(self.entry(slot).load(Ordering::Acquire));
        let is_over = if entry.state().is_template() {
            self.is_template_over(slot, entry, tick)
        } else {
            entry.is_expired(settings, tick)
        };
        if !is_over {
            return Some(false);
        }
        Some(self.take(slot, tag, entry))
    }

    /// Takes the owner out of a slot, if it is still this one and its entry still this; whether it was.
    pub(crate) fn take(&self, slot: usize, tag: u64, entry: Entry) -> bool {
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        if self
            .tag(slot)
            .compare_exchange(tag, CLAIMED, order.0, order.1)
            .is_err()
        {
            return false;
        }
        // Between the look and the claim a packet may have renewed it: then it stays.
        let taken = self
            .entry(slot)
            .compare_exchange(entry.0, 0, order.0, order.1);
        let is_taken = taken.is_ok();
        if is_taken && entry.destination() != 0 {
            self.discount(slot, entry);
        }
        self.tag(slot)
            .store(if is_taken { FREE } else { tag }, Ordering::Release);
        is_taken
    }

    /// A template whose time is over but that has connections lives on by a minute, from then on.
    fn is_template_over(&self, slot: usize, entry: Entry, tick: u32) -> bool {
        let Some(tuple) = self.tuples.read::<Tuple>(slot) else {
            return false;
        };
        if entry.age(tick) <= tuple.life {
            return false;
        }
        if (tuple.template as i64) <= 0 {
            return true;
        }
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let life = self.tuples.word_at(slot, LIFE_WORD);
        let word = life.load(Ordering::Acquire);
        let renewed = word & !(0xffff_ffff << LIFE_SHIFT) | u64::from(RENEWAL) << LIFE_SHIFT;
        life.store(renewed, Ordering::Release);
        let moved = entry.moved(entry.state(), tick);
        let _ = self
            .entry(slot)
            .compare_exchange(entry.0, moved.0, order.0, order.1);
        false
    }

    /// Takes what was forgotten out of what counts it.
    fn discount(&self, slot: usize, entry: Entry) {
        let step = Gauge::of(entry.state()).wrapping_neg();
        let destination = entry.destination() as usize;
        if step != 0 && destination < self.gauges.len() {
            let before = self
                .gauges
                .word(destination)
                .fetch_add(step, Ordering::AcqRel);
            self.standings
                .standing(destination)
                .unbound(before.wrapping_add(step));
        }
        // Service and life are one word; a million times the whole tuple would be half of a sweep.
        const _: () = assert!(offset_of!(Tuple, service) / 8 == LIFE_WORD);
        let word = self.tuples.word_at(slot, LIFE_WORD).load(Ordering::Acquire);
        let life = (word >> LIFE_SHIFT) as u32;
        let service = (word >> (offset_of!(Tuple, service) % 8 * 8)) as u32;
        self.populations
            .word(service as usize)
            .fetch_sub(1, Ordering::AcqRel);
        if !entry.state().is_template() && life != 0 {
            let attached = self.tuples.word_at(life as usize - 1, ATTACHED_WORD);
            attached.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Templates of each destination.
    pub(crate) fn templates(&self) -> HashMap<u32, u32> {
        let mut templates = HashMap::new();
        for slot in 0..self.slots() {
            let tag = self.tag(slot).load(Ordering::Acquire);
            let entry = Entry(self.entry(slot).load(Ordering::Acquire));
            if tag != FREE && tag != CLAIMED && entry.state().is_template() {
                *templates.entry(entry.destination()).or_default() += 1;
            }
        }
        templates
    }

    /// How many entries are in each state; two words of each slot are read.
    pub(crate) fn count_states(&self) -> [u64; STATES] {
        let mut counts = [0; STATES];
        for slot in 0..self.slots() {
            let tag = self.tag(slot).load(Ordering::Acquire);
            if tag != FREE && tag != CLAIMED {
                let entry = Entry(self.entry(slot).load(Ordering::Acquire));
                counts[usize::from(entry.state().0) & (STATES - 1)] += 1;
            }
        }
        counts
    }

    /// The connection in a slot, read between two equal looks at its tag.
    fn connection(&self, slot: usize, settings: &Settings, tick: u32) -> Option<Connection> {
        let tag = self.tag(slot).load(Ordering::Acquire);
        if tag == FREE || tag == CLAIMED {
            return None;
        }
        let entry = Entry(self.entry(slot).load(Ordering::Acquire));
        let tuple: Tuple = self.tuples.read(slot)?;
        if self.tag(slot).load(Ordering::Acquire) != tag || entry.is_expired(settings, tick) {
            return None;
        }
        let timeout = if entry.state().is_template() {
            tuple.life
        } else {
            settings.timeouts[usize::from(entry.state().0) & (STATES - 1)]
        };
        let left = timeout.saturating_sub(entry.age(tick));
        Some(Connection {
            protocol: tuple.protocol as u8,
            client: socket_address(tuple.client, tuple.ports >> 16),
            virtual_address: socket_address(tuple.virtual_address, tuple.ports),
            destination: entry.destination(),
            service: tuple.service,
            state: entry.state().name(),
            expires_s: seconds_from_ticks(left).into(),
        })
    }

    pub(crate) fn tag(&self, slot: usize) -> &std::sync::atomic::AtomicU64 {
        self.buckets
            .word_at(slot / BUCKET_SLOTS, slot % BUCKET_SLOTS * 2)
    }

    pub(crate) fn entry(&self, slot: usize) -> &std::sync::atomic::AtomicU64 {
        self.buckets
            .word_at(slot / BUCKET_SLOTS, slot % BUCKET_SLOTS * 2 + 1)
    }
}

fn socket_address(address: [u64; 2], port: u32) -> SocketAddr {
    SocketAddr::new(unmapped(address), port as u16)
}

/// The clock of the data path.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from);
    Instant {
        ns: time.map_or(0, |time| time.as_nanos() as u64),
    }
}
