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
//! What a packet makes of a state is in [`crate::state`], whose slot a newcomer may take in `victim`.

use crate::limits::{BUCKET_SLOTS, STATES};
use crate::packet::Event;
use crate::tables::{Gauge, Settings, Tables, Tuple, Word};
use crate::verdict::DropReason;

mod victim;

pub use crate::state::State;

use victim::{WORTH_FREE, choose, count_eviction, dearest_victim, worth_of};

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

/// Ends a connection whose successor is at the door: [`claim`] gives that its slot.
#[inline(always)]
pub fn end<T: Tables>(tables: &T, slot: &Slot<T::Word>, entry: Entry) {
    let state = entry.state();
    if state.is_over() {
        return;
    }
    let ended = entry.moved(State::CLOSE, entry.tick());
    if slot.entry.swap_if(entry.0, ended.0) && state.is_active() {
        let step = Gauge::of(State::CLOSE).wrapping_sub(Gauge::of(state));
        add_to(tables.gauge(entry.destination()), step);
    }
}

/// Frees the slot of a flow's ended connection, when no successor came of it.
#[inline(always)]
pub fn release_ended<T: Tables>(tables: &T, settings: &Settings, hash: u64) {
    if let Some(found) = find(tables, settings, hash)
        && let Some(entry) = read(found.slot, hash)
        && entry.state().is_over()
    {
        release_if(tables, &found, hash, entry);
    }
}

/// Takes over the slot of an ended connection of the same flow, as [`claim`] does with any other. The old one counts
/// until the new one does; so an upper threshold sees both.
#[inline(always)]
fn succeed<T: Tables>(tables: &T, found: &Found<'_, T::Word>, hash: u64, entry: Entry) -> bool {
    if !found.slot.tag.swap_if(hash, CLAIMED) {
        return false;
    }
    if !Entry(found.slot.entry.load()).state().is_over() {
        found.slot.tag.store(hash);
        return false;
    }
    bind(tables, entry);
    clear(tables, found);
    found.slot.entry.store(entry.0);
    true
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

/// Counts a connection that begins and ends with one packet: what its destination may be given is looked at twice,
/// as if it were there, and as if it were gone again.
#[inline(always)]
pub fn pass_through<T: Tables>(tables: &T, destination: u32, state: State) {
    if let Some(gauge) = tables.gauge(destination).map(Word::load)
        && let Some(standing) = tables.standing(destination)
    {
        standing.bound(gauge.wrapping_add(Gauge::of(state)));
        standing.unbound(gauge);
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
    if let Some(found) = find(tables, settings, hash)
        && succeed(tables, &found, hash, entry)
    {
        return found.index.into();
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
