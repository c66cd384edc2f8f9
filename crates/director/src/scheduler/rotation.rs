//! `rr` and `wrr`: a *rotation* that the control plane computes and swaps whole. A shared counter says how
//! many picks the service has made; a pick takes the next position of the cycle.
//!
//! ```text
//! wrr 4,3,2 (A newest):   A A B A B C A B C
//! segments:               [0,1) of {A}   [1,3) of {A B}   [3,9) of {A B C}
//! by level:               weight ≥ 4     weight ≥ 3       weight ≥ 2, then ≥ 1
//! ```
//!
//! A segment covers all levels with the same set of destinations, so that weights of 2^31 need no
//! more room than weights of 1. Positions of overloaded destinations are passed over, and the counter with
//! them. `ip_vs_rr.c`, `ip_vs_wrr.c`.

use super::is_eligible;
use crate::limits::{SCHEDULER_TURNS, SEGMENT_SEARCH_STEPS};
use crate::tables::{Segment, Service, Tables, Weight, Word, Work};

/// The destination of the next position, 0 when there is none.
#[inline(never)]
pub(super) fn pick(service: &Service, tables: &impl Tables) -> u32 {
    if service.cycle == 0 {
        return 0;
    }
    let Some(picks) = tables.picks(service.id) else {
        return 0;
    };
    let before = picks.add(1);
    let position = service.first.wrapping_add(picks_made(before)) % service.cycle;
    let destination = at(service, position, tables).unwrap_or(0);
    let is_overloaded = tables
        .standing(destination)
        .is_some_and(|standing| Weight(standing.weight.load()).is_overloaded());
    if !is_overloaded {
        if is_renewed(before) {
            note(picks, false);
        }
        return destination;
    }
    let mut walk = Walk::from(service, position);
    tables.repeat(SCHEDULER_TURNS, &mut walk);
    let passed = walk.passed(service);
    // One position was taken already.
    picks.add(passed.wrapping_sub(1));
    if walk.found != 0 || passed != 0 {
        note(picks, walk.found == 0);
    }
    walk.found
}

/// Bit of a count of picks: a walk that found nobody has renewed the cycle, and nobody was picked since. The
/// position is that behind the cycle's last pick; what IPVS remembers is not the same.
const RENEWED: u64 = 1 << 63;

/// Positions that a count of picks stands for.
#[must_use]
#[inline(always)]
pub fn picks_made(count: u64) -> u64 {
    count & !RENEWED
}

/// Whether the cycle stands at its beginning because nobody could be found, and not because it is through.
#[must_use]
#[inline(always)]
pub fn is_renewed(count: u64) -> bool {
    count & RENEWED != 0
}

/// Sets or clears [`RENEWED`]. Losing thrice to other CPUs means that they pick at this moment.
#[inline(always)]
fn note(picks: &impl Word, is_renewed: bool) {
    for _ in 0..3 {
        let before = picks.load();
        let after = if is_renewed {
            before | RENEWED
        } else {
            before & !RENEWED
        };
        if before == after || picks.swap_if(before, after) {
            return;
        }
    }
}

/// The destination at a position of the cycle.
#[inline(always)]
pub fn at(service: &Service, position: u64, tables: &impl Tables) -> Option<u32> {
    let (index, start) = find_segment(service, position, tables)?;
    let segment = tables.segment(index)?;
    if segment.slots == 0 {
        return None;
    }
    let turn = (position - start) % u64::from(segment.slots);
    match tables.rotation_slot(segment.slots_base.wrapping_add(turn as u32)) {
        0 => None,
        destination => Some(destination),
    }
}

/// The segment that covers `position`, and the position it starts at.
#[inline(always)]
fn find_segment(service: &Service, position: u64, tables: &impl Tables) -> Option<(u32, u64)> {
    let (mut low, mut high) = (0, service.count.checked_sub(1)?);
    let mut start = 0;
    for _ in 0..SEGMENT_SEARCH_STEPS {
        if low >= high {
            break;
        }
        // Eighteen steps are a quarter of a million ways to a verifier that remembers each.
        low = tables.blur(low.into(), position) as u32;
        high = tables.blur(high.into(), position) as u32;
        start = tables.blur(start, position);
        let middle = low + high.wrapping_sub(low) / 2;
        let end = tables.segment(service.base.wrapping_add(middle))?.end;
        if position < end {
            high = middle;
        } else {
            low = middle + 1;
            start = end;
        }
    }
    Some((service.base.wrapping_add(low), start))
}

/// A walk through the cycle for a destination that is not overloaded.
///
/// A turn looks at one position. After as many as a segment has destinations the rest of the segment is no
/// better, and is passed over.
struct Walk {
    base: u32,
    segments: u32,
    cycle: u64,
    /// Where it began, and where it is: less than two cycles.
    from: u64,
    position: u64,
    /// The present segment, and where it starts; the segment of the beginning is looked for first.
    segment: u32,
    start: u64,
    /// Positions of this segment that were looked at.
    looked_at: u32,
    found: u32,
}

impl Walk {
    #[inline(always)]
    fn from(service: &Service, position: u64) -> Self {
        Self {
            base: service.base,
            segments: service.count,
            cycle: service.cycle,
            from: position,
            position: 0,
            segment: 0,
            start: 0,
            looked_at: 0,
            found: 0,
        }
    }

    /// By how many positions the counter goes on. As in IPVS: past the destination that was found; when there is
    /// none, to the cycle's beginning, or nowhere for a walk that began inside of the last level, where all are
    /// asked.
    #[inline(always)]
    fn passed(&self, service: &Service) -> u64 {
        if self.found != 0 {
            return self.position + 1 - self.from;
        }
        let is_in_last_level = service.cycle - self.from < u64::from(self.looked_at);
        if is_in_last_level || self.from == 0 {
            0
        } else {
            service.cycle - self.from
        }
    }

    #[inline(always)]
    fn enter(&mut self, segment: u32, start: u64) {
        self.segment = segment;
        self.start = start;
        self.looked_at = 0;
    }
}

impl Work for Walk {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, _index: u32) -> bool {
        let Some(Segment {
            end,
            slots_base,
            slots,
        }) = tables.segment(self.base.wrapping_add(self.segment))
        else {
            return false;
        };
        if slots == 0 {
            return false;
        }
        // Where it stands, as a verifier that has forgotten how it got there.
        self.position = tables.blur(self.position, self.cycle);
        self.segment = tables.blur(self.segment.into(), self.cycle) as u32;
        self.start = tables.blur(self.start, self.cycle);
        self.looked_at = tables.blur(self.looked_at.into(), self.cycle) as u32;
        let lap = if self.position >= self.cycle {
            self.cycle
        } else {
            0
        };
        let within = self.position.wrapping_sub(lap);
        if self.position < self.from && end <= self.from {
            // Still on the way to where it began.
            self.position = end;
            self.enter(self.segment + 1, end);
            return true;
        }
        if self.position < self.from {
            self.position = self.from;
            return true;
        }
        if within >= end || self.looked_at >= slots {
            // The next segment; behind the last one comes the first again, once.
            let is_last = self.segment + 1 >= self.segments;
            if is_last && lap != 0 {
                return false;
            }
            self.position = lap + end;
            if is_last {
                self.enter(0, 0);
            } else {
                self.enter(self.segment + 1, end);
            }
            return true;
        }
        let turn = within.wrapping_sub(self.start) % u64::from(slots);
        let destination = tables.rotation_slot(slots_base.wrapping_add(turn as u32));
        if is_eligible(tables, destination) {
            self.found = destination;
            return false;
        }
        self.position += 1;
        self.looked_at += 1;
        if self.position == self.cycle {
            self.enter(0, 0);
        }
        true
    }
}
