//! The tables the packet path looks things up in, and the shape of their values.
//!
//! The shapes are those of the kernel maps: `repr(C)`, no padding, widths chosen so that none is
//! needed. Words that several CPUs write are behind [`Word`].
//!
//! ```text
//! settings ─ one value
//! vips ───── bitmap of hash(address)
//! buckets ── 4 × (tag, entry)          tuples ── what each slot's owner is, in full
//! services ─ key → segments            segments ─ run of rotation → slots ─ destination ids
//! links ──── destination id → MAC, egress       egress ─ interface, its MAC
//! gauges ─── destination id → active, inactive  statistics ─ destination id → counters, per CPU
//! ```

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::connection::{Bucket, Slot, State};
use crate::headers::Mac;
use crate::limits::STATES;
use crate::time::Instant;
use crate::verdict::{Counter, Verdict};

/// A 64-bit word that several CPUs and user space share.
///
/// Its kernel twin is volatile loads and stores and BPF's atomic instructions; its native twin is
/// `AtomicU64`. On the BPF target `AtomicU64` has no read-modify-write operations (rustc 1.95).
pub trait Word {
    /// Reads it.
    fn load(&self) -> u64;
    /// Writes it.
    fn store(&self, value: u64);
    /// Adds, wrapping, and returns what was there before.
    fn add(&self, value: u64) -> u64;
    /// Writes `new` if it holds `current`; whether it did.
    fn swap_if(&self, current: u64, new: u64) -> bool;
}

/// What the packet path needs of its surroundings: tables, counters and the time.
pub trait Tables {
    /// A shared word.
    type Word: Word;

    /// The coarse monotonic clock. Asked at most once for a frame, and never for foreign traffic.
    fn now(&self) -> Instant;
    /// The settings, `None` before the control plane wrote them.
    fn settings(&self) -> Option<&Settings>;
    /// Word `index` of the bitmap of virtual addresses.
    fn vip_word(&self, index: u32) -> u64;
    /// A bucket of the connection table.
    fn bucket(&self, index: u32) -> Option<&Bucket<Self::Word>>;
    /// Writes what a claimed slot's owner is.
    fn record(&self, slot: u32, tuple: &Tuple);
    /// Reads what a slot's owner is.
    fn tuple(&self, slot: u32) -> Option<Tuple>;
    /// The last word of a slot's tuple: the connections that a template has.
    fn attached(&self, slot: u32) -> Option<&Self::Word>;
    /// Connections that a service has made and that are remembered.
    fn population(&self, service: u32) -> Option<&Self::Word>;
    /// The virtual service with this key.
    fn service(&self, key: &ServiceKey) -> Option<Service>;
    /// The picks that the service has made.
    fn picks(&self, service: u32) -> Option<&Self::Word>;
    /// A segment of a rotation.
    fn segment(&self, index: u32) -> Option<Segment>;
    /// A destination id in a rotation, 0 when there is none.
    fn rotation_slot(&self, index: u32) -> u32;
    /// How a destination is reached.
    fn link(&self, destination: u32) -> Link;
    /// Active and inactive connections of a destination, see [`Gauge`].
    fn gauge(&self, destination: u32) -> Option<&Self::Word>;
    /// Adds to a destination's statistics.
    fn account(&self, destination: u32, connections: u64, bytes: u64);
    /// An egress interface; a free slot has the interface 0.
    fn egress(&self, slot: u32) -> Option<Egress>;
    /// A slot of the fragment table: tag and entry as in the connection table.
    fn fragment(&self, index: u32) -> Option<&Slot<Self::Word>>;
    /// The allowance of ICMP errors in a bucket of clients.
    fn reply_allowance(&self, bucket: u32) -> Option<&Self::Word>;
    /// Moves a counter by one.
    fn count(&self, counter: u32);

    /// The same value. A verifier forgets here which one it followed, and goes on once for all instead of
    /// once for each; `noise` is anything that it does not know.
    #[inline(always)]
    fn blur(&self, value: u64, _noise: u64) -> u64 {
        value
    }

    /// Moves the counter of something beside the verdict.
    #[inline(always)]
    fn count_event(&self, counter: Counter) {
        self.count(counter.counter());
    }
    /// Moves the verdict's counter.
    #[inline(always)]
    fn count_verdict(&self, verdict: Verdict) {
        self.count(verdict.counter());
    }
}

/// Version of the shapes in this file and in [`crate::connection`]. Raised with each change of them.
pub const LAYOUT: u32 = 3;

/// The data path's settings.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Settings {
    /// Keys of the flow hash, random for each table. The last four are odd.
    pub hash_keys: [u64; 8],
    /// Buckets of the connection table, less one; a power of two less one.
    pub bucket_mask: u32,
    /// [`LAYOUT`]: what these maps are; others are refused, never misread.
    pub layout: u32,
    /// See [`setting`].
    pub flags: u32,
    /// IPVS's `conn_reuse_mode`: 0 keeps a connection's destination when its client begins anew, 1
    /// chooses again in TIME_WAIT and CLOSE, 2 in FIN_WAIT as well.
    pub conn_reuse_mode: u32,
    /// Idle timeout of each state, in ticks.
    pub timeouts: [u32; STATES],
}

/// Flags in [`Settings::flags`], named as IPVS's settings. All are off by default.
pub mod setting {
    /// A packet of a connection whose destination was deleted ends it, and may begin another.
    pub const EXPIRE_NODEST_CONN: u32 = 1 << 0;
    /// A persistence template of a drained destination is not honoured.
    pub const EXPIRE_QUIESCENT_TEMPLATE: u32 = 1 << 1;
    /// TCP connections begin with any segment but RST.
    pub const SLOPPY_TCP: u32 = 1 << 2;
}

/// Identity of a virtual service. IPv4 addresses are mapped (::ffff:a.b.c.d).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ServiceKey {
    /// Virtual address, in wire order.
    pub address: [u64; 2],
    /// Port.
    pub port: u32,
    /// IP protocol number.
    pub protocol: u32,
}
const _: () = assert!(size_of::<ServiceKey>() == 24);

/// A virtual service: its rotation, as [`crate::scheduler`] reads it, and its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Service {
    /// Position of the pick number 0.
    pub first: u64,
    /// Picks until the rotation begins again; 0 when no destination is eligible.
    pub cycle: u64,
    /// Number of the service, index of its pick counter.
    pub id: u32,
    /// Its first segment.
    pub segments_base: u32,
    /// How many segments.
    pub segments: u32,
    /// See [`service_flag`].
    pub flags: u32,
    /// Life of its persistence templates, in ticks; 0 when it is not persistent.
    pub persistence: u32,
    /// Which bits of the client's address a template is for: IPv4 a mask (host order), IPv6 a prefix
    /// length.
    pub client_mask: u32,
    /// Connections it may have before newcomers must take the place of its own.
    pub share: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Service>() == 48);

/// Flags in [`Service::flags`].
pub mod service_flag {
    /// Each datagram is scheduled anew and nothing is remembered (`-o`). UDP only.
    pub const ONE_PACKET: u32 = 1 << 0;
    /// Its templates are for all ports of the client: its port is 0 or FTP's.
    pub const ALL_PORTS: u32 = 1 << 1;
}

/// A run of a rotation: positions from the previous segment's end to this one's go round and round
/// its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Segment {
    /// First position after it.
    pub end: u64,
    /// Its first rotation slot.
    pub slots_base: u32,
    /// How many slots, not 0.
    pub slots: u32,
}
const _: () = assert!(size_of::<Segment>() == 16);

/// What a slot's owner is, in full: for listings, and for what only new connections need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Tuple {
    /// Client address in wire order, IPv4 mapped.
    pub client: [u64; 2],
    /// Virtual address in wire order, IPv4 mapped.
    pub virtual_address: [u64; 2],
    /// Client port in the high, virtual port in the low 16 bits.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// Number of the virtual service that made it.
    pub service: u32,
    /// A template's life, in ticks.
    pub life: u32,
    /// For a connection, the slot of its persistence template and one more; 0 for none. For a
    /// template, the connections that it has: a word of [`Tables::attached`].
    pub template: u64,
}
const _: () = assert!(size_of::<Tuple>() == TUPLE_BYTES);

/// Bytes of a [`Tuple`].
pub const TUPLE_BYTES: usize = 56;

/// An interface that frames leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Egress {
    /// Its MAC in the low 48 bits.
    pub mac: u64,
    /// Its index, 0 when the slot is free.
    pub interface: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Egress>() == 16);

/// Statistics of a destination, on one CPU.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Statistics {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets accepted for forwarding.
    pub packets: u64,
    /// Their bytes, as IP packet length.
    pub bytes: u64,
}
const _: () = assert!(size_of::<Statistics>() == 24);

/// How a destination is reached: one word, so that it changes in one piece.
///
/// ```text
///  63        62     56 55     48 47                       0
/// +---------+---------+---------+--------------------------+
/// | drained |  kind   | egress  |   MAC, first byte lowest |
/// +---------+---------+---------+--------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub u64);

impl Link {
    /// Its MAC is not known.
    pub const UNRESOLVED: Self = Self(0);
    /// The director itself.
    pub const LOCAL: Self = Self(Self::KIND_LOCAL << 56);
    /// Deleted while connections name it.
    pub const GONE: Self = Self(Self::KIND_GONE << 56);

    const KIND_VIA: u64 = 1;
    const KIND_LOCAL: u64 = 2;
    const KIND_GONE: u64 = 3;
    /// In the kind's byte: drained, its weight is 0.
    const DRAINED: u64 = 1 << 63;

    /// Reached at `mac` by egress interface `slot`.
    #[must_use]
    pub fn via(mac: Mac, slot: u8) -> Self {
        Self(Self::KIND_VIA << 56 | u64::from(slot) << 48 | mac.word())
    }

    /// The same, of a destination whose weight is 0.
    #[must_use]
    pub fn drained(self) -> Self {
        Self(self.0 | Self::DRAINED)
    }

    /// Whether its weight is 0.
    #[must_use]
    #[inline(always)]
    pub fn is_drained(self) -> bool {
        self.0 & Self::DRAINED != 0
    }

    /// Whether frames can be sent to it.
    #[must_use]
    #[inline(always)]
    pub fn is_via(self) -> bool {
        self.0 >> 56 & 0x7f == Self::KIND_VIA
    }

    /// Whether it is the director itself.
    #[must_use]
    #[inline(always)]
    pub fn is_local(self) -> bool {
        self.0 >> 56 & 0x7f == Self::KIND_LOCAL
    }

    /// Whether it was deleted.
    #[must_use]
    #[inline(always)]
    pub fn is_gone(self) -> bool {
        self.0 >> 56 & 0x7f == Self::KIND_GONE
    }

    /// Its MAC.
    #[must_use]
    #[inline(always)]
    pub fn mac(self) -> Mac {
        Mac::from_word(self.0)
    }

    /// Its egress interface.
    #[must_use]
    #[inline(always)]
    pub fn egress(self) -> u32 {
        (self.0 >> 48) as u32 & 0xff
    }
}

/// Active connections in the high, inactive ones in the low 32 bits, moved by one addition so that
/// a change of state never shows in only one of them.
pub struct Gauge;

impl Gauge {
    /// One more active connection.
    pub const ACTIVE: u64 = 1 << 32;
    /// One more inactive connection.
    pub const INACTIVE: u64 = 1;

    /// What one connection in this state adds; a template is none.
    #[must_use]
    #[inline(always)]
    pub fn of(state: State) -> u64 {
        if state.is_template() {
            0
        } else if state.is_active() {
            Self::ACTIVE
        } else {
            Self::INACTIVE
        }
    }

    /// Active and inactive connections in a word.
    #[must_use]
    pub fn split(word: u64) -> (u32, u32) {
        ((word >> 32) as u32, word as u32)
    }
}
