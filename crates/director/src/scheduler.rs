//! Picking a destination for a new connection.
//!
//! The static schedulers (`rr`, `wrr`) are data: a *rotation* that the control plane computes and
//! swaps whole. A shared counter says how many picks the service has made; a pick takes the next
//! position of the cycle.
//!
//! ```text
//! wrr 4,3,2 (A newest):   A A B A B C A B C
//! segments:               [0,1) of {A}   [1,3) of {A B}   [3,9) of {A B C}
//! by level:               weight ≥ 4     weight ≥ 3       weight ≥ 2, then ≥ 1
//! ```
//!
//! A segment covers all levels with the same set of destinations, so that weights of 2^31 need no
//! more room than weights of 1. Source of the order: `net/netfilter/ipvs/ip_vs_rr.c`, `ip_vs_wrr.c`.

use crate::limits::SEGMENT_SEARCH_STEPS;
use crate::tables::{Service, Tables, Word};

/// Picks a destination, or `None` when none is eligible.
#[inline(always)]
pub fn pick(service: &Service, tables: &impl Tables) -> Option<u32> {
    match pick_as_number(service, tables) {
        0 => None,
        destination => Some(destination),
    }
}

/// [`pick`], once for all that want it and in a shape that BPF can call.
#[inline(never)]
fn pick_as_number(service: &Service, tables: &impl Tables) -> u32 {
    if service.cycle == 0 {
        return 0;
    }
    let Some(picks) = tables.picks(service.id) else {
        return 0;
    };
    let position = service.first.wrapping_add(picks.add(1)) % service.cycle;
    at(service, position, tables).unwrap_or(0)
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
    let (mut low, mut high) = (0, service.segments.checked_sub(1)?);
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
        let end = tables
            .segment(service.segments_base.wrapping_add(middle))?
            .end;
        if position < end {
            high = middle;
        } else {
            low = middle + 1;
            start = end;
        }
    }
    Some((service.segments_base.wrapping_add(low), start))
}
