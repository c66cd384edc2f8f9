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
//!         |  tick last seen |    0    | state |  destination   |
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
    /// A flow on its way to `destination`, last seen in `tick`.
    #[must_use]
    #[inline(always)]
    pub fn new(destination: u32, state: State, tick: u32) -> Self {
        Self(u64::from(tick) << 32 | u64::from(state.0) << 20 | u64::from(destination & 0xf_ffff))
    }

    /// Its destination, 0 while it is being made.
    #[must_use]
    #[inline(always)]
    pub fn destination(self) -> u32 {
        self.0 as u32 & 0xf_ffff
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

    /// Whether it has outlived its state's timeout.
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

    /// Name, default timeout in seconds, and whether it counts as active, of every state.
    /// Source: `include/net/ip_vs.h`, `ip_vs_proto_tcp.c`, `ip_vs_proto_udp.c`.
    pub const ALL: [(&'static str, u32, bool); 12] = [
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
    ];

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
        const ACTIVE: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 10;
        ACTIVE >> self.0 & 1 != 0
    }

    /// The next state, by the input-only table.
    #[must_use]
    #[inline(always)]
    pub fn after(self, event: Event) -> Self {
        // One hexadecimal digit for each state, NONE lowest: a constant, where an array would be a
        // look-up in another map.
        let row: u64 = match event {
            Event::Syn => 0x333_3333_3113,
            Event::Fin => 0x598_7654_5246,
            Event::Ack => 0x196_7654_1211,
            Event::Rst => 0x698_6666_3666,
            Event::Bare => return Self::CLOSE,
            Event::Datagram => return Self::UDP,
        };
        Self((row >> (u32::from(self.0) * 4 & 63)) as u8 & 0xf)
    }
}

/// The slot of a flow, found by its hash.
#[inline(always)]
pub fn find<'t, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    hash: u64,
) -> Option<&'t Slot<T::Word>> {
    let (primary, alternate) = bucket_indices(hash, settings.bucket_mask);
    match find_in(tables, primary, hash) {
        Some(slot) => Some(slot),
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
    find_in(tables, bucket_indices(hash, settings.bucket_mask).0, hash)
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
fn find_in<'t, T: Tables>(tables: &'t T, bucket: u32, hash: u64) -> Option<&'t Slot<T::Word>> {
    let [a, b, c, d] = &tables.bucket(bucket)?.slots;
    // Written out: a loop with an index would make the verifier check each address again.
    if a.tag.load() == hash {
        Some(a)
    } else if b.tag.load() == hash {
        Some(b)
    } else if c.tag.load() == hash {
        Some(c)
    } else if d.tag.load() == hash {
        Some(d)
    } else {
        None
    }
}

impl Entry {
    /// Whether a packet ends this connection instead of belonging to it: it had run out, or the client
    /// begins anew on the same ports.
    #[must_use]
    #[inline(always)]
    pub fn is_over(self, settings: &Settings, event: Event, tick: u32) -> bool {
        self.is_expired(settings, tick) || begins_anew(self.state(), event)
    }
}

/// Moves a connection on, by a packet: its state by the event, its time to now. Written only when one changes.
#[inline(always)]
pub fn renew<T: Tables>(tables: &T, slot: &Slot<T::Word>, entry: Entry, event: Event, tick: u32) {
    let state = entry.state();
    let next = state.after(event);
    if next == state && entry.tick() == tick {
        return;
    }
    let renewed = Entry::new(entry.destination(), next, tick);
    // Losing to another CPU is fine: it renewed the same connection a moment ago.
    if slot.entry.swap_if(entry.0, renewed.0) && next.is_active() != state.is_active() {
        move_gauge(tables, entry.destination(), state, next);
    }
}

/// A SYN on a connection that is over makes a new one (`conn_reuse_mode` 1).
#[inline(always)]
fn begins_anew(state: State, event: Event) -> bool {
    event == Event::Syn && (state == State::TIME_WAIT || state == State::CLOSE)
}

#[inline(always)]
fn move_gauge<T: Tables>(tables: &T, destination: u32, from: State, to: State) {
    if let Some(gauge) = tables.gauge(destination) {
        let step = Gauge::of(to.is_active()).wrapping_sub(Gauge::of(from.is_active()));
        gauge.add(step);
    }
}

/// Frees a slot, if nobody else is at it.
#[inline(always)]
pub fn release<T: Tables>(tables: &T, slot: &Slot<T::Word>) {
    let tag = slot.tag.load();
    if tag != FREE && tag != CLAIMED && slot.tag.swap_if(tag, CLAIMED) {
        clear_entry(tables, slot);
        slot.tag.store(FREE);
    }
}

/// Takes the entry out of a claimed slot, and out of its destination's gauges.
#[inline(always)]
fn clear_entry<T: Tables>(tables: &T, slot: &Slot<T::Word>) {
    // A CPU that looked the tag up before the claim may still renew the entry; it does so once.
    for _ in 0..3 {
        let entry = Entry(slot.entry.load());
        if entry.destination() == 0 {
            return;
        }
        if slot.entry.swap_if(entry.0, 0) {
            if let Some(gauge) = tables.gauge(entry.destination()) {
                gauge.add(Gauge::of(entry.state().is_active()).wrapping_neg());
            }
            return;
        }
    }
}

/// Remembers a new connection.
///
/// # Errors
///
/// [`DropReason::TableFull`] when each slot it may take holds a connection worth more, and
/// [`DropReason::RaceLost`] when other CPUs took the slots first; the client will try again.
#[inline(always)]
pub fn insert<T: Tables>(
    tables: &T,
    settings: &Settings,
    hash: u64,
    entry: Entry,
    tuple: &Tuple,
) -> Result<(), DropReason> {
    let victim = choose(tables, settings, hash, entry.tick());
    if victim.worth() > dearest_victim(entry.state()) {
        return Err(DropReason::TableFull);
    }
    let (primary, alternate) = bucket_indices(hash, settings.bucket_mask);
    let index = if victim.is_in_alternate() {
        alternate
    } else {
        primary
    };
    let bucket = tables.bucket(index).ok_or(DropReason::Internal)?;
    let slot = &bucket.slots[victim.slot() as usize & (BUCKET_SLOTS - 1)];
    let tag = slot.tag.load();
    let is_changed = (victim.worth() == WORTH_FREE) != (tag == FREE);
    if tag == CLAIMED || is_changed || !slot.tag.swap_if(tag, CLAIMED) {
        return Err(DropReason::RaceLost);
    }
    clear_entry(tables, slot);
    slot.entry.store(entry.0);
    if let Some(gauge) = tables.gauge(entry.destination()) {
        gauge.add(Gauge::of(entry.state().is_active()));
    }
    tables.record(
        index.wrapping_mul(BUCKET_SLOTS as u32) + victim.slot(),
        tuple,
    );
    // Publish last: until now no other CPU can find the slot.
    slot.tag.store(hash);
    count_eviction(tables, victim.worth());
    Ok(())
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

/// Worth of each state, one hexadecimal digit for each, NONE lowest.
const WORTH_OF_STATES: u64 = 0x4233_3333_2253;

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
/// and among equals the oldest.
#[inline(always)]
fn choose<T: Tables>(tables: &T, settings: &Settings, hash: u64, tick: u32) -> Victim {
    let (primary, alternate) = bucket_indices(hash, settings.bucket_mask);
    let best = cheapest_in(tables, settings, primary, 0, (hash, tick), Victim::NONE);
    if best.worth() == WORTH_FREE {
        return best;
    }
    cheapest_in(tables, settings, alternate, 4, (hash, tick), best)
}

#[inline(always)]
fn cheapest_in<T: Tables>(
    tables: &T,
    settings: &Settings,
    index: u32,
    place: u64,
    (hash, tick): (u64, u32),
    mut best: Victim,
) -> Victim {
    let Some(bucket) = tables.bucket(index) else {
        return best;
    };
    for (number, slot) in bucket.slots.iter().enumerate() {
        let victim = appraise(settings, slot, place | number as u64, tick);
        let victim = Victim(tables.blur(victim.0, hash));
        if victim.0 < best.0 {
            best = victim;
        }
    }
    best
}

#[inline(always)]
fn appraise<W: Word>(settings: &Settings, slot: &Slot<W>, place: u64, tick: u32) -> Victim {
    let tag = slot.tag.load();
    if tag == FREE {
        return Victim::new(WORTH_FREE, 0, place);
    }
    let entry = Entry(slot.entry.load());
    if tag == CLAIMED || entry.destination() == 0 {
        return Victim::NONE;
    }
    let worth = if entry.is_expired(settings, tick) {
        WORTH_EXPIRED
    } else {
        (WORTH_OF_STATES >> (u32::from(entry.state().0) * 4 & 63)) as Worth & 0xf
    };
    Victim::new(worth, entry.age(tick), place)
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
            let worth = (WORTH_OF_STATES >> (number * 4)) as Worth & 0xf;
            let want = match *name {
                "ESTABLISHED" => WORTH_ESTABLISHED,
                "UDP" => WORTH_UDP,
                _ if *is_active => WORTH_HALF_OPEN,
                _ => WORTH_CLOSING,
            };
            assert_eq!(worth, want, "{name}");
        }
    }

    #[test]
    fn an_entry_keeps_what_it_is_given() {
        let entry = Entry::new(131_071, State::UDP, u32::MAX);
        assert_eq!(entry.destination(), 131_071);
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
