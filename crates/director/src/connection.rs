//! The connection table: which destination a flow has, in what state, since when.
//!
//! Buckets of four slots are one cache line; a slot is a tag (the flow's keyed hash) and an entry.
//! A flow may be in either of two buckets, both named by its hash; the first has it nearly always.
//!
//! ```text
//! bucket   tag │ entry │ tag │ entry │ tag │ entry │ tag │ entry      64 bytes
//!
//! entry    63             32 31     25 24   20 19             0
//!         +-----------------+---------+-------+----------------+
//!         |  tick last seen | service | state |  destination   |
//!         +-----------------+---------+-------+----------------+
//! tag      0 free · 1 claimed by a CPU or by user space that is changing it · else the hash
//! ```
//!
//! What several CPUs may rely on: a slot changes owner only through [`CLAIMED`], by compare-and-swap
//! of its tag; an entry changes only by compare-and-swap; whoever changes an entry moves the gauges.
//! User space follows the same rules through its mapping of the map.
//!
//! States, events and transitions are IPVS's input-only table (`ip_vs_proto_tcp.c`): in direct routing the
//! director sees the client's half only.

use crate::headers::protocol;
use crate::limits::{BUCKET_SLOTS, STATES};
use crate::packet::Event;
use crate::tables::{Gauge, Settings, Tables, Tuple, Word};
use crate::verdict::{Counter, DropReason};

/// A slot: the flow's hash and what is known of the flow.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Slot<W> {
    /// Free, claimed, or the hash.
    pub tag: W,
    /// An [`Entry`].
    pub entry: W,
}

/// Four slots, one cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Bucket<W> {
    /// The slots, in no order.
    pub slots: [Slot<W>; BUCKET_SLOTS],
}

/// Tag of a free slot.
pub const FREE: u64 = 0;
/// Tag of a slot that is being changed.
pub const CLAIMED: u64 = 1;

/// What a slot knows of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    const LOW: u64 = 0xfe0f_ffff;

    /// A flow of `service` on its way to `destination`, last seen in `tick`.
    #[must_use]
    #[inline(always)]
    pub fn new(destination: u32, service: u32, state: State, tick: u32) -> Self {
        let low = u64::from(service & 0x7f) << 25 | u64::from(destination & 0xf_ffff);
        Self(low).moved(state, tick)
    }

    /// The same flow in another state and tick.
    #[must_use]
    #[inline(always)]
    pub fn moved(self, state: State, tick: u32) -> Self {
        Self(u64::from(tick) << 32 | u64::from(state.0) << 20 | self.0 & Self::LOW)
    }

    /// The same flow on its way to another destination.
    #[must_use]
    #[inline(always)]
    pub fn redirected(self, destination: u32) -> Self {
        Self(self.0 & !0xf_ffff | u64::from(destination & 0xf_ffff))
    }

    /// Its destination, 0 while it is being made.
    #[must_use]
    #[inline(always)]
    pub fn destination(self) -> u32 {
        self.0 as u32 & 0xf_ffff
    }

    /// The low seven bits of its service's number: enough to tell a crowd from its neighbours.
    #[must_use]
    #[inline(always)]
    pub fn service_bits(self) -> u32 {
        self.0 as u32 >> 25
    }

    /// Its state.
    #[must_use]
    #[inline(always)]
    pub fn state(self) -> State {
        State((self.0 >> 20) as u8 & 31)
    }

    /// Tick of its last packet.
    #[must_use]
    #[inline(always)]
    pub fn tick(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Ticks since its last packet. A packet that another CPU stamped a tick ahead is no age at all.
    #[must_use]
    #[inline(always)]
    pub fn age(self, tick: u32) -> u32 {
        let age = tick.wrapping_sub(self.tick());
        if age > u32::MAX / 2 { 0 } else { age }
    }

    /// Whether it has outlived its state's timeout. Templates have a life of their own, see
    /// [`crate::persistence`].
    #[must_use]
    #[inline(always)]
    pub fn is_expired(self, settings: &Settings, tick: u32) -> bool {
        self.age(tick) > settings.timeouts[usize::from(self.state().0) & (STATES - 1)]
    }
}

/// State of a connection, numbered as in IPVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub u8);

impl State {
    /// No packet yet.
    pub const NONE: Self = Self(0);
    /// TCP, both ways as far as we see.
    pub const ESTABLISHED: Self = Self(1);
    /// TCP, half open.
    pub const SYN_RECV: Self = Self(3);
    /// TCP, the client is done sending.
    pub const FIN_WAIT: Self = Self(4);
    /// TCP, FIN while half open.
    pub const TIME_WAIT: Self = Self(5);
    /// TCP, reset or nonsense.
    pub const CLOSE: Self = Self(6);
    /// UDP has one state.
    pub const UDP: Self = Self(11);
    /// A persistence template, of which no connection was established yet.
    pub const TEMPLATE: Self = Self(12);
    /// A persistence template that a connection has proved.
    pub const ASSURED: Self = Self(13);

    /// SCTP, no packet yet. The other states of SCTP follow it in IPVS's order.
    pub const SCTP_NONE: Self = Self(14);
    /// SCTP, the client has begun.
    pub const SCTP_INIT1: Self = Self(15);
    /// SCTP, both ways as far as we see.
    pub const SCTP_ESTABLISHED: Self = Self(22);
    /// SCTP, at its end.
    pub const SCTP_CLOSED: Self = Self(27);

    /// Name, default timeout in seconds, and whether it counts as active, of every state.
    /// Source: `include/net/ip_vs.h`, `ip_vs_proto_tcp.c`, `ip_vs_proto_udp.c`, `ip_vs_proto_sctp.c`.
    pub const ALL: [(&'static str, u32, bool); 28] = [
        ("NONE", 2, false),
        ("ESTABLISHED", 900, true),
        ("SYN_SENT", 120, true),
        ("SYN_RECV", 60, true),
        ("FIN_WAIT", 120, false),
        ("TIME_WAIT", 120, false),
        ("CLOSE", 10, false),
        ("CLOSE_WAIT", 60, false),
        ("LAST_ACK", 30, false),
        ("LISTEN", 120, false),
        ("SYNACK", 120, true),
        ("UDP", 300, false),
        ("NONE", Self::NEVER_S, false),
        ("ASSURED", Self::NEVER_S, false),
        ("NONE", 2, false),
        ("INIT1", 4, false),
        ("INIT", 61, false),
        ("C-SENT", 61, false),
        ("C-REPLIED", 61, false),
        ("C-WAIT", 61, false),
        ("COOKIE", 61, false),
        ("C-ECHOED", 61, false),
        ("ESTABLISHED", 900, true),
        ("S-SENT", 61, false),
        ("S-RECEIVED", 61, false),
        ("S-ACK-SENT", 61, false),
        ("REJECTED", 4, false),
        ("CLOSED", 61, false),
    ];

    /// A year: the table of timeouts does not end templates.
    const NEVER_S: u32 = 31_536_000;

    /// As IPVS writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .get(usize::from(self.0))
            .map_or("?", |state| state.0)
    }

    /// Whether a connection in this state counts in ActiveConn.
    #[must_use]
    #[inline(always)]
    pub fn is_active(self) -> bool {
        const ACTIVE: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 10 | 1 << 22;
        ACTIVE >> self.0 & 1 != 0
    }

    /// Whether this is no connection but a template.
    #[must_use]
    #[inline(always)]
    pub fn is_template(self) -> bool {
        self.0 == Self::TEMPLATE.0 || self.0 == Self::ASSURED.0
    }

    /// Whether the connection is established, whatever its protocol.
    #[must_use]
    #[inline(always)]
    pub fn is_established(self) -> bool {
        self == Self::ESTABLISHED || self == Self::SCTP_ESTABLISHED
    }

    /// Whether a client that begins anew is given a new destination by `conn_reuse_mode` 1.
    #[must_use]
    #[inline(always)]
    pub fn is_over(self) -> bool {
        self == Self::TIME_WAIT || self == Self::CLOSE || self == Self::SCTP_CLOSED
    }

    /// The state of a connection that begins with this event.
    #[must_use]
    #[inline(always)]
    pub fn first(event: Event, protocol: u8) -> Self {
        if protocol == protocol::SCTP {
            Self::SCTP_NONE.after(event)
        } else {
            Self::NONE.after(event)
        }
    }

    /// The next state, by the input-only table.
    #[must_use]
    #[inline(always)]
    pub fn after(self, event: Event) -> Self {
        if self.0 >= Self::SCTP_NONE.0 {
            return self.after_chunk(event);
        }
        // One hexadecimal digit for each state, NONE lowest: a constant, where an array would be a
        // look-up in another map.
        let row: u64 = match event {
            Event::Syn => 0x333_3333_3113,
            Event::Fin => 0x598_7654_5246,
            Event::Ack => 0x196_7654_1211,
            Event::Rst => 0x698_6666_3666,
            Event::Bare => return Self::CLOSE,
            _ => return Self::UDP,
        };
        Self((row >> ((u32::from(self.0) * 4) & 63)) as u8 & 0xf)
    }

    /// The same for SCTP: one digit for each of its fourteen states.
    #[inline(always)]
    fn after_chunk(self, event: Event) -> Self {
        let row: u64 = match event {
            Event::Init => 0x22_ba98_7622_2221,
            Event::InitAck => 0xdc_ba98_7677_7777,
            Event::CookieEcho => 0xdc_ba98_7688_8888,
            Event::CookieAck => 0xdc_ba98_8858_8218,
            Event::Shutdown => 0xdc_ba9a_7654_321a,
            Event::ShutdownAck => 0xdc_dadd_7654_322d,
            Event::ShutdownComplete => 0xdc_dd98_765d_dddd,
            Event::Error => 0xdc_ba98_7654_321d,
            Event::Abort => 0xdd_dddd_ddcd_dddd,
            _ => 0xdc_ba98_7684_3218,
        };
        let number = u32::from(self.0 - Self::SCTP_NONE.0);
        Self((row >> ((number * 4) & 63)) as u8 & 0xf).sctp()
    }

    #[inline(always)]
    fn sctp(self) -> Self {
        Self(self.0 + Self::SCTP_NONE.0)
    }
}

/// A flow's slot, and its number in the table.
pub struct Found<'t, W> {
    /// The slot.
    pub slot: &'t Slot<W>,
    /// Its number.
    pub index: u32,
}

/// The slot of a flow, found by its hash.
#[inline(always)]
pub fn find<'t, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    hash: u64,
) -> Option<Found<'t, T::Word>> {
    let (primary, alternate) = bucket_indices(hash, settings.bucket_mask);
    match find_in(tables, primary, hash) {
        Some(found) => Some(found),
        None => find_in(tables, alternate, hash),
    }
}

/// The same in the first of its two buckets only, where it nearly always is.
#[inline(always)]
pub fn find_primary<'t, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    hash: u64,
) -> Option<&'t Slot<T::Word>> {
    let primary = bucket_indices(hash, settings.bucket_mask).0;
    find_in(tables, primary, hash).map(|found| found.slot)
}

/// The same in the second.
#[inline(always)]
pub fn find_alternate<'t, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    hash: u64,
) -> Option<&'t Slot<T::Word>> {
    let alternate = bucket_indices(hash, settings.bucket_mask).1;
    find_in(tables, alternate, hash).map(|found| found.slot)
}

/// The two buckets that a flow may be in.
#[must_use]
#[inline(always)]
pub fn bucket_indices(hash: u64, mask: u32) -> (u32, u32) {
    let primary = hash as u32 & mask;
    let alternate = (hash >> 32) as u32 & mask;
    // Two different ones, so that a small table has eight slots for a flow as well.
    (
        primary,
        if alternate == primary {
            alternate ^ (1 & mask)
        } else {
            alternate
        },
    )
}

#[inline(always)]
fn find_in<'t, T: Tables>(tables: &'t T, bucket: u32, hash: u64) -> Option<Found<'t, T::Word>> {
    let [a, b, c, d] = &tables.bucket(bucket)?.slots;
    // Written out: a loop with an index would make the verifier check each address again.
    let (slot, number) = if a.tag.load() == hash {
        (a, 0)
    } else if b.tag.load() == hash {
        (b, 1)
    } else if c.tag.load() == hash {
        (c, 2)
    } else if d.tag.load() == hash {
        (d, 3)
    } else {
        return None;
    };
    Some(Found {
        slot,
        index: slot_index(bucket, number),
    })
}

#[inline(always)]
fn slot_index(bucket: u32, number: u32) -> u32 {
    bucket.wrapping_mul(BUCKET_SLOTS as u32) + number
}

/// The slot with this number.
#[inline(always)]
pub fn slot_at<T: Tables>(tables: &T, index: u32) -> Option<Found<'_, T::Word>> {
    let bucket = tables.bucket(index / BUCKET_SLOTS as u32)?;
    Some(Found {
        slot: &bucket.slots[index as usize & (BUCKET_SLOTS - 1)],
        index,
    })
}

/// Moves a connection on, by a packet: its state by the event, its time to now. Written only when one
/// changes; the state that it is in now.
#[inline(always)]
pub fn renew<T: Tables>(
    tables: &T,
    slot: &Slot<T::Word>,
    entry: Entry,
    event: Event,
    tick: u32,
) -> State {
    let state = entry.state();
    let next = state.after(event);
    if next == state && entry.tick() == tick {
        return state;
    }
    // Losing to another CPU is fine: it renewed the same connection a moment ago.
    let is_ours = slot.entry.swap_if(entry.0, entry.moved(next, tick).0);
    if is_ours && next.is_active() != state.is_active() {
        let step = Gauge::of(next).wrapping_sub(Gauge::of(state));
        add_to(tables.gauge(entry.destination()), step);
    }
    next
}

/// Restarts a connection's timer, when its state stays as it is.
#[inline(always)]
pub fn touch<W: Word>(slot: &Slot<W>, entry: Entry, tick: u32) {
    if entry.tick() != tick {
        slot.entry
            .swap_if(entry.0, entry.moved(entry.state(), tick).0);
    }
}

#[inline(always)]
fn add_to(word: Option<&impl Word>, step: u64) {
    if let Some(word) = word {
        word.add(step);
    }
}

/// The entry of a flow that was found in a slot; `None` when the slot has another owner by now. Whoever changes the
/// entry later does so by compare-and-swap, so that what was read stays true or is left alone.
#[inline(always)]
pub fn read<W: Word>(slot: &Slot<W>, hash: u64) -> Option<Entry> {
    let entry = Entry(slot.entry.load());
    if slot.tag.load() == hash {
        Some(entry)
    } else {
        None
    }
}

/// Frees a flow's slot, if it is still the flow's and nobody else is at it.
#[inline(always)]
fn release<T: Tables>(tables: &T, found: &Found<'_, T::Word>, hash: u64) {
    if found.slot.tag.swap_if(hash, CLAIMED) {
        clear(tables, found);
        found.slot.tag.store(FREE);
    }
}

/// Frees a flow's slot whose entry was found to be over. One that has moved on since is another connection of the
/// same flow, or has just been renewed, and stays.
#[inline(always)]
pub fn release_if<T: Tables>(tables: &T, found: &Found<'_, T::Word>, hash: u64, entry: Entry) {
    if !found.slot.tag.swap_if(hash, CLAIMED) {
        return;
    }
    if found.slot.entry.load() == entry.0 {
        clear(tables, found);
        found.slot.tag.store(FREE);
    } else {
        found.slot.tag.store(hash);
    }
}

/// Takes the owner out of a claimed slot, and out of what counts it.
#[inline(always)]
fn clear<T: Tables>(tables: &T, found: &Found<'_, T::Word>) {
    // A CPU that looked the tag up before the claim may still renew the entry; it does so once.
    for _ in 0..3 {
        let entry = Entry(found.slot.entry.load());
        if entry.destination() == 0 {
            return;
        }
        if found.slot.entry.swap_if(entry.0, 0) {
            discount(tables, found.index, entry);
            return;
        }
    }
}

/// Counts a new connection; its destination may have enough now.
#[inline(always)]
fn bind<T: Tables>(tables: &T, entry: Entry) {
    let step = Gauge::of(entry.state());
    if let Some(gauge) = move_gauge(tables, entry, step)
        && let Some(standing) = tables.standing(entry.destination())
    {
        standing.bound(gauge);
    }
}

/// Moves a destination's gauge by a step that is not 0; what it is then.
#[inline(always)]
fn move_gauge<T: Tables>(tables: &T, entry: Entry, step: u64) -> Option<u64> {
    if step == 0 {
        return None;
    }
    let before = tables.gauge(entry.destination())?.add(step);
    Some(before.wrapping_add(step))
}

#[inline(always)]
fn discount<T: Tables>(tables: &T, index: u32, entry: Entry) {
    let step = Gauge::of(entry.state()).wrapping_neg();
    if let Some(gauge) = move_gauge(tables, entry, step)
        && let Some(standing) = tables.standing(entry.destination())
    {
        standing.unbound(gauge);
    }
    let Some(tuple) = tables.tuple(index) else {
        return;
    };
    add_to(tables.population(tuple.service), 1u64.wrapping_neg());
    if !entry.state().is_template() && tuple.life != 0 {
        add_to(tables.attached(tuple.life - 1), 1u64.wrapping_neg());
    }
}

/// A newcomer, ready to be remembered.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    /// Its hash.
    pub hash: u64,
    /// Its entry.
    pub entry: Entry,
    /// Connections its service may have, see [`crate::tables::Service::share`].
    pub share: u32,
}

/// Remembers a newcomer; the number of its slot.
///
/// # Errors
///
/// [`DropReason::ServiceShare`] when its service has its share of the table and none of its own to give up,
/// [`DropReason::TableFull`] when each slot it may take holds a connection worth more, and
/// [`DropReason::RaceLost`] when other CPUs took the slots first; the client will try again.
#[inline(always)]
pub fn insert<T: Tables>(
    tables: &T,
    newcomer: &Newcomer,
    tuple: &Tuple,
) -> Result<u32, DropReason> {
    let population = tables.population(tuple.service).map_or(0, Word::load);
    let is_crowd = population >= u64::from(newcomer.share);
    let index = match tables.claim(newcomer.hash, newcomer.entry.0, is_crowd) {
        FULL if is_crowd => return Err(DropReason::ServiceShare),
        FULL => return Err(DropReason::TableFull),
        RACE => return Err(DropReason::RaceLost),
        index => index as u32,
    };
    tables.record(index, tuple);
    add_to(tables.population(tuple.service), 1);
    tables.make_visible(newcomer.hash, index);
    Ok(index)
}

/// Has the memory of a newcomer's tuple, in whichever slot of its first bucket it will be, on its way while
/// service and destination are looked for. Seventy bytes that no cache has cost more than all of that.
#[inline(always)]
pub fn warm<T: Tables>(tables: &T, settings: &Settings, hash: u64) {
    let first = slot_index(bucket_indices(hash, settings.bucket_mask).0, 0);
    for number in 0..BUCKET_SLOTS as u32 {
        if let Some(word) = tables.attached(first + number) {
            word.load();
        }
    }
}

/// No slot that may be taken.
pub const FULL: u64 = 1 << 32;
/// Another CPU took the slot.
pub const RACE: u64 = FULL + 1;

/// Claims a slot for a newcomer and writes its entry; the slot's number, or [`FULL`], or [`RACE`].
///
/// In a shape that BPF can call: it is long, and it is wanted for connections and for templates, of both
/// families.
#[inline(always)]
pub fn claim<T: Tables>(tables: &T, hash: u64, entry: u64, is_crowd: bool) -> u64 {
    let Some(settings) = tables.settings() else {
        return FULL;
    };
    let entry = Entry(entry);
    let victim = choose(tables, settings, hash, entry, is_crowd);
    if victim.worth() > dearest_victim(entry.state()) {
        return FULL;
    }
    let (primary, alternate) = bucket_indices(hash, settings.bucket_mask);
    let bucket_index = if victim.is_in_alternate() {
        alternate
    } else {
        primary
    };
    let Some(bucket) = tables.bucket(bucket_index) else {
        return FULL;
    };
    let slot = &bucket.slots[victim.slot() as usize & (BUCKET_SLOTS - 1)];
    let found = Found {
        slot,
        index: slot_index(bucket_index, victim.slot()),
    };
    let tag = slot.tag.load();
    let is_changed = (victim.worth() == WORTH_FREE) != (tag == FREE);
    if tag == CLAIMED || is_changed || !slot.tag.swap_if(tag, CLAIMED) {
        return RACE;
    }
    // Since it was chosen its client may have gone on: what it is worth now counts.
    let present = Entry(slot.entry.load());
    if tag != FREE && worth_of(settings, present, entry.tick()) > victim.worth() {
        slot.tag.store(tag);
        return RACE;
    }
    clear(tables, &found);
    slot.entry.store(entry.0);
    bind(tables, entry);
    count_eviction(tables, victim.worth());
    found.index.into()
}

/// Makes a claimed slot visible. By swapping, not storing, so that what is looked at next is looked at after.
#[inline(always)]
pub fn publish<T: Tables>(tables: &T, hash: u64, index: u32) {
    let (Some(settings), Some(ours)) = (tables.settings(), slot_at(tables, index)) else {
        return;
    };
    ours.slot.tag.swap_if(CLAIMED, hash);
    withdraw_twin(
        tables,
        hash,
        &ours,
        bucket_indices(hash, settings.bucket_mask),
    );
}

/// Two CPUs may make the same connection at once. Each looks after it has published; the later one sees
/// both, and the one in the lower slot stays.
#[inline(always)]
fn withdraw_twin<T: Tables>(
    tables: &T,
    hash: u64,
    ours: &Found<'_, T::Word>,
    (primary, alternate): (u32, u32),
) {
    for index in [primary, alternate] {
        let Some(bucket) = tables.bucket(index) else {
            continue;
        };
        for (number, slot) in bucket.slots.iter().enumerate() {
            let other = slot_index(index, number as u32);
            if slot.tag.load() == hash && other != ours.index {
                let twin = Found { slot, index: other };
                release(tables, if other < ours.index { ours } else { &twin }, hash);
                return;
            }
        }
    }
}

/// What a newcomer may push out: a half-open connection must not cost anybody a UDP session.
#[inline(always)]
fn dearest_victim(newcomer: State) -> Worth {
    if newcomer == State::UDP {
        WORTH_UDP
    } else {
        WORTH_CLOSING
    }
}

/// How much it would cost to lose what is in a slot. Established TCP connections are never lost.
type Worth = u32;
const WORTH_FREE: Worth = 0;
const WORTH_EXPIRED: Worth = 1;
const WORTH_HALF_OPEN: Worth = 2;
const WORTH_CLOSING: Worth = 3;
const WORTH_UDP: Worth = 4;
const WORTH_ESTABLISHED: Worth = 5;

/// Worth of each state up to the templates, and of each state of SCTP: one hexadecimal digit for each, NONE
/// lowest.
const WORTH_OF_STATES: u64 = 0x53_4233_3333_2253;
const WORTH_OF_SCTP: u64 = 0x33_3335_2222_2223;

/// A slot that might be taken, as a number: the least is the best.
///
/// ```text
///  63    35 34        3  2          1  0
/// +--------+-----------+-----------+------+
/// |  worth | 2^32 - age| alternate | slot |
/// +--------+-----------+-----------+------+
/// ```
///
/// One number, because the verifier follows each combination of several.
#[derive(Clone, Copy)]
struct Victim(u64);

impl Victim {
    const NONE: Self = Self((WORTH_ESTABLISHED as u64 + 1) << 35);

    #[inline(always)]
    fn new(worth: Worth, age: u32, place: u64) -> Self {
        Self(u64::from(worth) << 35 | u64::from(!age) << 3 | place)
    }

    #[inline(always)]
    fn worth(self) -> Worth {
        (self.0 >> 35) as u32
    }

    #[inline(always)]
    fn is_in_alternate(self) -> bool {
        self.0 & 4 != 0
    }

    #[inline(always)]
    fn slot(self) -> u32 {
        self.0 as u32 & 3
    }
}

/// The slot that costs least: of the first bucket when it has a free one, else the least worth of both,
/// and among equals the oldest. A crowd finds only its own.
#[inline(always)]
fn choose<T: Tables>(
    tables: &T,
    settings: &Settings,
    hash: u64,
    newcomer: Entry,
    is_crowd: bool,
) -> Victim {
    let (primary, alternate) = bucket_indices(hash, settings.bucket_mask);
    if !is_crowd && let Some(free) = free_in(tables, primary) {
        return free;
    }
    let best = cheapest_in(
        tables,
        settings,
        (primary, 0),
        (hash, newcomer, is_crowd),
        Victim::NONE,
    );
    cheapest_in(
        tables,
        settings,
        (alternate, 4),
        (hash, newcomer, is_crowd),
        best,
    )
}

/// A free slot of a first bucket, which nearly all newcomers find.
#[inline(always)]
fn free_in<T: Tables>(tables: &T, bucket: u32) -> Option<Victim> {
    let [a, b, c, d] = &tables.bucket(bucket)?.slots;
    // Written out, as in `find_in`.
    let place = if a.tag.load() == FREE {
        0
    } else if b.tag.load() == FREE {
        1
    } else if c.tag.load() == FREE {
        2
    } else if d.tag.load() == FREE {
        3
    } else {
        return None;
    };
    Some(Victim::new(WORTH_FREE, 0, place))
}

#[inline(always)]
fn cheapest_in<T: Tables>(
    tables: &T,
    settings: &Settings,
    (index, place): (u32, u64),
    (hash, newcomer, is_crowd): (u64, Entry, bool),
    mut best: Victim,
) -> Victim {
    let Some(bucket) = tables.bucket(index) else {
        return best;
    };
    for (number, slot) in bucket.slots.iter().enumerate() {
        let place = place | number as u64;
        let victim = appraise(settings, slot, place, newcomer, is_crowd);
        if victim.0 < best.0 {
            best = victim;
        }
        best = Victim(tables.blur(best.0, hash));
    }
    best
}

#[inline(always)]
fn appraise<W: Word>(
    settings: &Settings,
    slot: &Slot<W>,
    place: u64,
    newcomer: Entry,
    is_crowd: bool,
) -> Victim {
    let tag = slot.tag.load();
    if tag == FREE {
        return if is_crowd {
            Victim::NONE
        } else {
            Victim::new(WORTH_FREE, 0, place)
        };
    }
    let entry = Entry(slot.entry.load());
    let is_foreign = is_crowd && entry.service_bits() != newcomer.service_bits();
    if tag == CLAIMED || entry.destination() == 0 || is_foreign {
        return Victim::NONE;
    }
    let tick = newcomer.tick();
    let worth = worth_of(settings, entry, tick);
    Victim::new(worth, entry.age(tick), place)
}

#[inline(always)]
fn worth_of(settings: &Settings, entry: Entry, tick: u32) -> Worth {
    if entry.is_expired(settings, tick) {
        WORTH_EXPIRED
    } else {
        entry.state().worth()
    }
}

impl State {
    /// What it would cost to lose a connection in this state.
    #[inline(always)]
    fn worth(self) -> Worth {
        let (digits, number) = if self.0 >= Self::SCTP_NONE.0 {
            (WORTH_OF_SCTP, self.0 - Self::SCTP_NONE.0)
        } else {
            (WORTH_OF_STATES, self.0)
        };
        (digits >> ((u32::from(number) * 4) & 63)) as Worth & 0xf
    }
}

#[inline(always)]
fn count_eviction<T: Tables>(tables: &T, worth: Worth) {
    match worth {
        WORTH_EXPIRED => tables.count_event(Counter::EvictedExpired),
        WORTH_HALF_OPEN => tables.count_event(Counter::EvictedHalfOpen),
        WORTH_CLOSING => tables.count_event(Counter::EvictedClosing),
        WORTH_UDP => tables.count_event(Counter::EvictedUdp),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The input-only table of `ip_vs_proto_tcp.c`, as the reference prints it (§3.2).
    const PRINTED: [(Event, [&str; 11]); 4] = [
        (
            Event::Syn,
            [
                "SR", "ES", "ES", "SR", "SR", "SR", "SR", "SR", "SR", "SR", "SR",
            ],
        ),
        (
            Event::Fin,
            [
                "CL", "FW", "SS", "TW", "FW", "TW", "CL", "CW", "LA", "LI", "TW",
            ],
        ),
        (
            Event::Ack,
            [
                "ES", "ES", "SS", "ES", "FW", "TW", "CL", "CW", "CL", "LI", "ES",
            ],
        ),
        (
            Event::Rst,
            [
                "CL", "CL", "CL", "SR", "CL", "CL", "CL", "CL", "LA", "LI", "CL",
            ],
        ),
    ];
    const SHORT: [&str; 11] = [
        "NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA",
    ];

    #[test]
    fn tcp_states_move_as_in_the_input_only_table() {
        for (event, row) in PRINTED {
            for (state, want) in row.iter().enumerate() {
                let next = State(state as u8).after(event);
                assert_eq!(
                    SHORT[usize::from(next.0)],
                    *want,
                    "{} {event:?}",
                    SHORT[state]
                );
            }
        }
    }

    /// The input-only table of `ip_vs_proto_sctp.c`.
    const PRINTED_SCTP: [(Event, [&str; 14]); 10] = [
        (
            Event::Data,
            [
                "ES", "I1", "IN", "CS", "CR", "ES", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::Init,
            [
                "I1", "IN", "IN", "IN", "IN", "IN", "CO", "CE", "ES", "SS", "SR", "SA", "IN", "IN",
            ],
        ),
        (
            Event::InitAck,
            [
                "CE", "CE", "CE", "CE", "CE", "CE", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::CookieEcho,
            [
                "ES", "ES", "ES", "ES", "ES", "ES", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::CookieAck,
            [
                "ES", "I1", "IN", "ES", "ES", "CW", "ES", "ES", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::Shutdown,
            [
                "SR", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "SR", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::ShutdownAck,
            [
                "CL", "IN", "IN", "CS", "CR", "CW", "CO", "CE", "CL", "CL", "SR", "CL", "RJ", "CL",
            ],
        ),
        (
            Event::ShutdownComplete,
            [
                "CL", "CL", "CL", "CL", "CL", "CW", "CO", "CE", "ES", "SS", "CL", "CL", "RJ", "CL",
            ],
        ),
        (
            Event::Error,
            [
                "CL", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::Abort,
            [
                "CL", "CL", "CL", "CL", "CL", "RJ", "CL", "CL", "CL", "CL", "CL", "CL", "CL", "CL",
            ],
        ),
    ];
    const SHORT_SCTP: [&str; 14] = [
        "NO", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
    ];

    #[test]
    fn sctp_states_move_as_in_the_input_only_table() {
        let number = |state: State| usize::from(state.0 - State::SCTP_NONE.0);
        for (event, row) in PRINTED_SCTP {
            for (state, want) in row.iter().enumerate() {
                let next = State(state as u8).sctp().after(event);
                let from = SHORT_SCTP[state];
                assert_eq!(SHORT_SCTP[number(next)], *want, "{from} {event:?}");
            }
        }
    }

    #[test]
    fn a_segment_without_flags_closes_and_a_datagram_is_udp() {
        assert_eq!(State::ESTABLISHED.after(Event::Bare), State::CLOSE);
        assert_eq!(State::NONE.after(Event::Datagram), State::UDP);
    }

    #[test]
    fn active_states_are_those_that_ipvs_counts() {
        for (number, (name, _, active)) in State::ALL.iter().enumerate() {
            assert_eq!(State(number as u8).is_active(), *active, "{name}");
        }
    }

    #[test]
    fn established_connections_are_worth_most_and_half_open_ones_least() {
        for (number, (name, _, is_active)) in State::ALL.iter().enumerate() {
            let worth = State(number as u8).worth();
            let want = match *name {
                "ESTABLISHED" | "ASSURED" => WORTH_ESTABLISHED,
                "UDP" => WORTH_UDP,
                "INIT1" | "INIT" | "C-SENT" | "C-REPLIED" | "C-WAIT" | "COOKIE" | "C-ECHOED" => {
                    WORTH_HALF_OPEN
                }
                _ if *is_active => WORTH_HALF_OPEN,
                _ => WORTH_CLOSING,
            };
            assert_eq!(worth, want, "{name}");
        }
    }

    #[test]
    fn an_entry_keeps_what_it_is_given() {
        let entry = Entry::new(131_071, 130, State::UDP, u32::MAX);
        assert_eq!(entry.destination(), 131_071);
        assert_eq!(entry.service_bits(), 2);
        assert_eq!(
            entry.moved(State::CLOSE, 7).redirected(9),
            Entry::new(9, 130, State::CLOSE, 7)
        );
        assert_eq!(entry.state(), State::UDP);
        assert_eq!(entry.tick(), u32::MAX);
        assert_eq!(entry.age(1), 2);
        assert_eq!(entry.age(u32::MAX - 1), 0);
    }

    #[test]
    fn a_flow_has_two_different_buckets_unless_there_is_only_one() {
        for hash in [2, 0x1_0000_0001, u64::MAX] {
            let (a, b) = bucket_indices(hash, 7);
            assert_ne!(a, b);
            assert_eq!(bucket_indices(hash, 0), (0, 0));
        }
    }
}
