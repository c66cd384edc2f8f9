//! The tables the packet path looks things up in, and the shape of their values.
//!
//! The shapes are those of the kernel maps: `repr(C)`, no padding, widths chosen so that none is
//! needed. Words that several CPUs write are behind [`Word`].
//!
//! ```text
//! settings ── one value
//! vips ────── bitmap of hash(address)          marks ── rules: address, port → firewall mark
//! buckets ─── 4 × (tag, entry)                 tuples ─ what each slot's owner is, in full
//! services ── key → scheduler, and where in:   segments ─ run of rotation → slots
//!                                              slots ──── destination ids
//! links ───── destination id → MAC, egress       egress ── interface, its MAC
//! gauges ──── destination id → active, inactive  statistics ─ destination id → counters, per CPU
//! standings ─ destination id → weight, thresholds
//! localities  what lblc and lblcr remember of an address
//! ```

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::arrival::{Arrival, Outcome, Visit};
use crate::connection::{Bucket, Slot, State};
use crate::headers::Mac;
use crate::limits::{LOCALITY_MEMBERS, STATES};
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
    /// A destination id in a rotation, a table or a list, 0 when there is none.
    fn rotation_slot(&self, index: u32) -> u32;
    /// Weight and thresholds of a destination.
    fn standing(&self, destination: u32) -> Option<&Standing<Self::Word>>;
    /// What is remembered of an address by the schedulers that go by locality.
    fn locality(&self, index: u32) -> Option<&Locality<Self::Word>>;
    /// A rule that gives packets a firewall mark.
    fn mark_rule(&self, index: u32) -> Option<MarkRule>;
    /// A number that nobody can foresee.
    fn random(&self) -> u32;
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

    /// Does a piece of work turn by turn, `turns` at most. In the kernel this is `bpf_loop`: a verifier looks
    /// at one turn, however many there are.
    #[inline(always)]
    fn repeat<W: Work>(&self, turns: u32, work: &mut W)
    where
        Self: Sized,
    {
        for index in 0..turns {
            if !work.turn(self, index) {
                return;
            }
        }
    }

    /// Makes a connection, see [`crate::arrival::connect`].
    #[inline(always)]
    fn connect(&self, arrival: Arrival) -> Outcome
    where
        Self: Sized,
    {
        let mut visit = Visit {
            arrival,
            ..Visit::new_zeroed()
        };
        crate::arrival::connect(self, &mut visit)
    }

    /// See [`crate::arrival::enter`]. The kernel's half has it in a function of its own, which a verifier looks at
    /// once, whoever calls it.
    #[inline(always)]
    fn enter(&self, visit: &mut Visit) -> u64
    where
        Self: Sized,
    {
        crate::arrival::enter(self, visit)
    }

    /// Asks a service's scheduler, see [`crate::scheduler::choose`]; likewise.
    #[inline(always)]
    fn choose(&self, visit: &Visit) -> u32
    where
        Self: Sized,
    {
        crate::scheduler::choose(&visit.service, &visit.arrival, self)
    }

    /// See [`crate::arrival::settle`]; likewise.
    #[inline(always)]
    fn settle(&self, visit: &Visit, destination: u32) -> u64
    where
        Self: Sized,
    {
        crate::arrival::settle(self, visit, destination)
    }

    /// The weights in a list together, see [`crate::scheduler::weigh`]; likewise.
    #[inline(always)]
    fn weigh(&self, base: u32, count: u32) -> u64
    where
        Self: Sized,
    {
        crate::scheduler::weigh(base, count, self)
    }

    /// Claims a slot, see [`crate::connection::claim`]; likewise.
    #[inline(always)]
    fn claim(&self, hash: u64, entry: u64, is_crowd: bool) -> u64
    where
        Self: Sized,
    {
        crate::connection::claim(self, hash, entry, is_crowd)
    }

    /// Makes a claimed slot visible, see [`crate::connection::publish`]; likewise.
    #[inline(always)]
    fn make_visible(&self, hash: u64, slot: u32)
    where
        Self: Sized,
    {
        crate::connection::publish(self, hash, slot);
    }

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

/// Work that is done turn by turn, see [`Tables::repeat`].
pub trait Work {
    /// Does turn `index`; whether there is more to do.
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool;
}

/// Version of the shapes in this file and in [`crate::connection`]. Raised with each change of them.
pub const LAYOUT: u32 = 5;

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
    /// First rule of firewall marks in the high, their number in the low 16 bits: one word, so that all rules
    /// change at once.
    pub marks: u32,
    /// How long `lblc` remembers an address that nobody uses, in ticks.
    pub lblc_expiration: u32,
    /// The same for `lblcr`, and how long an unchanged set keeps its most loaded member.
    pub lblcr_expiration: u32,
    /// Zero.
    pub reserved: u32,
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
    /// SCTP associations begin with any packet but ABORT.
    pub const SLOPPY_SCTP: u32 = 1 << 3;
}

/// Identity of a virtual service. IPv4 addresses are mapped (::ffff:a.b.c.d). A service of a firewall mark
/// has [`ServiceKey::of_mark`].
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

impl ServiceKey {
    /// The key of a firewall mark's service of one family, whose `version` is 4 or 6: no address, no
    /// protocol.
    #[must_use]
    #[inline(always)]
    pub fn of_mark(mark: u32, version: u32) -> Self {
        Self {
            address: [0, mark as u64],
            port: version,
            protocol: 0,
        }
    }
}

/// A virtual service: its scheduler and what that reads (see [`crate::scheduler`]), and its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Service {
    /// Position of the pick number 0; for `lblc` and `lblcr` the number of its memory, with another one of which
    /// nothing is remembered.
    pub first: u64,
    /// Picks until the rotation begins again; 0 when no destination is eligible.
    pub cycle: u64,
    /// Number of the service, index of its pick counter.
    pub id: u32,
    /// Its first segment, or its first slot when its scheduler has a table or a list.
    pub base: u32,
    /// How many segments or slots.
    pub count: u32,
    /// See [`service_flag`].
    pub flags: u32,
    /// Life of its persistence templates, in ticks; 0 when it is not persistent.
    pub persistence: u32,
    /// Which bits of the client's address a template is for: IPv4 a mask (host order), IPv6 a prefix
    /// length.
    pub client_mask: u32,
    /// Connections it may have before newcomers must take the place of its own.
    pub share: u32,
    /// A [`crate::scheduler::Kind`].
    pub scheduler: u32,
}
const _: () = assert!(size_of::<Service>() == 48);

/// Flags in [`Service::flags`].
pub mod service_flag {
    /// Each datagram is scheduled anew and nothing is remembered (`-o`). UDP only.
    pub const ONE_PACKET: u32 = 1 << 0;
    /// Its templates are for all ports of the client: its port is 0 or FTP's, or it has a mark.
    pub const ALL_PORTS: u32 = 1 << 1;
    /// Its table is asked again when the first answer is not eligible (`sh-fallback`, `mh-fallback`).
    pub const FALLBACK: u32 = 1 << 2;
    /// Its table is asked with the client's port (`sh-port`, `mh-port`).
    pub const WITH_PORT: u32 = 1 << 3;
    /// It is for a firewall mark.
    pub const MARK: u32 = 1 << 4;
}

/// What a destination may be given. Two words, each changed in one piece.
///
/// ```text
///            63        48 47        32 31 30           0
///           +---+--------+------------+--+--------------+
/// weight    | 0 |        |  service   |  |    weight    |   bit 63: OVERLOAD
///           +---+--------+------------+--+--------------+
/// threshold |       upper             |     lower       |
///           +-------------------------+-----------------+
/// ```
#[derive(Debug, Default)]
#[repr(C)]
pub struct Standing<W> {
    /// Weight, number of the service, and whether it is overloaded: see [`Weight`].
    pub weight: W,
    /// Upper and lower threshold; 0 is none.
    pub thresholds: W,
}

/// What is in [`Standing::weight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight(pub u64);

impl Weight {
    /// IPVS's flag `OVERLOAD`: no new connections until enough old ones are gone.
    pub const OVERLOAD: u64 = 1 << 63;

    /// Of a destination of `service` that is not overloaded.
    #[must_use]
    pub fn new(weight: u32, service: u32) -> Self {
        Self(u64::from(service & 0xffff) << 32 | u64::from(weight))
    }

    /// The weight.
    #[must_use]
    #[inline(always)]
    pub fn get(self) -> u32 {
        self.0 as u32
    }

    /// The number of the service.
    #[must_use]
    #[inline(always)]
    pub fn service(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }

    /// Whether it is overloaded.
    #[must_use]
    #[inline(always)]
    pub fn is_overloaded(self) -> bool {
        self.0 & Self::OVERLOAD != 0
    }
}

impl<W: Word> Standing<W> {
    /// After a connection more: overloaded when the upper threshold is reached. `gauge` is what the gauge is
    /// now. `ip_vs_bind_dest` in `net/netfilter/ipvs/ip_vs_conn.c`.
    #[inline(always)]
    pub fn bound(&self, gauge: u64) {
        let upper = self.thresholds.load() >> 32;
        if upper != 0 && Gauge::total(gauge) >= upper {
            self.mark(true);
        }
    }

    /// After a connection less: no more overloaded below the lower threshold, or below three quarters of the
    /// upper one. `ip_vs_unbind_dest`, at the same place.
    #[inline(always)]
    pub fn unbound(&self, gauge: u64) {
        if !Weight(self.weight.load()).is_overloaded() {
            return;
        }
        if is_relieved(gauge, self.thresholds.load()) {
            self.mark(false);
        }
    }

    /// Sets or clears the flag. Twice more when another CPU or an edit came between; losing thrice means that
    /// others see to it at this moment.
    #[inline(always)]
    fn mark(&self, is_overloaded: bool) {
        for _ in 0..3 {
            let before = self.weight.load();
            let after = if is_overloaded {
                before | Weight::OVERLOAD
            } else {
                before & !Weight::OVERLOAD
            };
            if before == after || self.weight.swap_if(before, after) {
                return;
            }
        }
    }
}

/// Whether a destination with this gauge is no more overloaded, by its word of thresholds.
#[must_use]
#[inline(always)]
pub fn is_relieved(gauge: u64, thresholds: u64) -> bool {
    let (upper, lower) = (thresholds >> 32, thresholds & 0xffff_ffff);
    let total = Gauge::total(gauge);
    if lower != 0 {
        total < lower
    } else {
        upper == 0 || total * 4 < upper * 3
    }
}

/// What `lblc` and `lblcr` remember of one address of one service: who was given its connections, newest
/// last. [`crate::scheduler`] has the rules.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Locality<W> {
    /// Free, claimed, or a hash of service and address: as in the connection table.
    pub tag: W,
    /// Tick of the last change in the high, of the last use in the low 32 bits.
    pub ticks: W,
    /// How many members.
    pub size: W,
    /// Destination ids, oldest first.
    pub members: [W; LOCALITY_MEMBERS],
}

/// A rule that gives packets a firewall mark. Prefixes are those of mapped addresses, so that one comparison
/// serves both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MarkRule {
    /// Virtual address, in wire order; bits outside of the mask are 0.
    pub address: [u64; 2],
    /// Which bits of it count, in wire order.
    pub mask: [u64; 2],
    /// Lowest and highest virtual port.
    pub ports: [u16; 2],
    /// IP protocol number, 0 for any.
    pub protocol: u32,
    /// The mark.
    pub mark: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<MarkRule>() == 48);

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
    /// Of a template its life, in ticks. Of a connection the slot of its template and one more; 0 for none.
    pub life: u32,
    /// Connections of a template: a word of [`Tables::attached`]. Of a connection it says nothing: one whose
    /// template gave way may still be counted off there, whoever has the slot now.
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

    /// All connections in a word.
    #[must_use]
    #[inline(always)]
    pub fn total(word: u64) -> u64 {
        (word >> 32) + (word & 0xffff_ffff)
    }

    /// Active and inactive connections in a word.
    #[must_use]
    #[inline(always)]
    pub fn split(word: u64) -> (u32, u32) {
        ((word >> 32) as u32, word as u32)
    }
}
