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
    if service.cycle == 0 {
        return None;
    }
    let picks = tables.picks(service.id)?.add(1);
    let position = service.first.wrapping_add(picks) % service.cycle;
    at(service, position, tables)
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
        let middle = low + (high - low) / 2;
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
