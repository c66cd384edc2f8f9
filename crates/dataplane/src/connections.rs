//! The connection table through its mapping: listing and expiry, without system calls.
//!
//! Expiry follows the rules of [`director::connection`]: a slot is claimed by its tag, its entry taken
//! by compare-and-swap, and whoever takes it moves the gauges.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use director::Instant;
use director::connection::{CLAIMED, Entry, FREE};
use director::limits::{BUCKET_SLOTS, STATES};
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

/// How long a claim may last before it is taken for one of a process that died: the kernel holds one
/// for nanoseconds.
const CLAIM_PATIENCE: Duration = Duration::from_millis(50);

/// The table.
#[derive(Clone)]
pub(crate) struct Table {
    buckets: Words,
    tuples: Words,
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
        let (buckets, tuples) = (maps.words("BUCKETS")?, maps.words("TUPLES")?);
        Ok(Self {
            buckets,
            tuples,
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
    pub(crate) fn recover_claims(&self, gauges: &Words) {
        let claimed = |slot: &usize| self.tag(*slot).load(Ordering::Acquire) == CLAIMED;
        let suspects: Vec<usize> = (0..self.slots()).filter(claimed).collect();
        if suspects.is_empty() {
            return;
        }
        std::thread::sleep(CLAIM_PATIENCE);
        for slot in suspects.into_iter().filter(claimed) {
            uncount(gauges, Entry(self.entry(slot).swap(0, Ordering::AcqRel)));
            self.tag(slot).store(FREE, Ordering::Release);
        }
    }

    /// Shows every connection that has not run out.
    pub(crate) fn list(&self, settings: &Words, visit: &mut dyn FnMut(Connection)) {
        let Some(settings) = settings.read::<Settings>(0) else {
            return;
        };
        let tick = now().tick();
        for slot in 0..self.slots() {
            if let Some(connection) = self.connection(slot, &settings, tick) {
                visit(connection);
            }
        }
    }

    /// Forgets what has run out in the next `count` buckets.
    pub(crate) fn sweep(&self, settings: &Words, gauges: &Words, count: usize) -> Swept {
        let mut swept = Swept::default();
        let Some(settings) = settings.read::<Settings>(0) else {
            return swept;
        };
        let tick = now().tick();
        let start = self.cursor.next.load(Ordering::Relaxed);
        let end = (start + count).min(self.buckets());
        let mut live = 0;
        for slot in start * BUCKET_SLOTS..end * BUCKET_SLOTS {
            match self.expire(slot, &settings, gauges, tick) {
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

    /// Whether the connection in a slot was forgotten; `None` for an empty slot.
    fn expire(&self, slot: usize, settings: &Settings, gauges: &Words, tick: u32) -> Option<bool> {
        let tag = self.tag(slot).load(Ordering::Acquire);
        if tag == FREE || tag == CLAIMED {
            return None;
        }
        let entry = Entry(self.entry(slot).load(Ordering::Acquire));
        if !entry.is_expired(settings, tick) {
            return Some(false);
        }
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        if self
            .tag(slot)
            .compare_exchange(tag, CLAIMED, order.0, order.1)
            .is_err()
        {
            return Some(false);
        }
        // Between the look and the claim a packet may have renewed it: then it stays.
        let is_taken = self
            .entry(slot)
            .compare_exchange(entry.0, 0, order.0, order.1)
            .is_ok();
        if is_taken {
            uncount(gauges, entry);
        }
        self.tag(slot)
            .store(if is_taken { FREE } else { tag }, Ordering::Release);
        Some(is_taken)
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
        let timeout = settings.timeouts[usize::from(entry.state().0) & (STATES - 1)];
        let left = timeout.saturating_sub(entry.age(tick));
        Some(Connection {
            protocol: tuple.protocol,
            client: socket_address(tuple.client, tuple.client_port),
            virtual_address: socket_address(tuple.virtual_address, tuple.virtual_port),
            destination: entry.destination(),
            state: entry.state().name(),
            expires_s: seconds_from_ticks(left).into(),
        })
    }

    fn tag(&self, slot: usize) -> &std::sync::atomic::AtomicU64 {
        self.buckets
            .word_at(slot / BUCKET_SLOTS, slot % BUCKET_SLOTS * 2)
    }

    fn entry(&self, slot: usize) -> &std::sync::atomic::AtomicU64 {
        self.buckets
            .word_at(slot / BUCKET_SLOTS, slot % BUCKET_SLOTS * 2 + 1)
    }
}

/// Takes a connection that was forgotten out of its destination's gauges.
fn uncount(gauges: &Words, entry: Entry) {
    if entry.destination() != 0 {
        let step = Gauge::of(entry.state().is_active()).wrapping_neg();
        gauges
            .word(entry.destination() as usize)
            .fetch_add(step, Ordering::AcqRel);
    }
}

fn socket_address(address: [u8; 16], port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(
        Ipv6Addr::from(address).to_canonical(),
        u16::from_be_bytes(port),
    )
}

/// The clock of the data path.
fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from);
    Instant {
        ns: time.map_or(0, |time| time.as_nanos() as u64),
    }
}
