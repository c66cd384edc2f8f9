//! Deleted destinations: remembered while their connections live, and a while longer.
//!
//! ```text
//! listed ──delete──► trash, busy ──last connection gone──► trash, idle ──120 s──► forgotten
//!    ▲                    │                                     │                 counters to
//!    └────── added again ─┴─────────────────────────────────────┘                 the service
//! ```
//!
//! Source: `ipvs.md` 3.6.

use std::collections::BTreeMap;

use crate::event::TrashReading;
use crate::limits;
use crate::state::{State, Trashed};

/// Forgets what has been idle long enough; notes since when the others are.
pub(crate) fn reclaim(state: &mut State, now_s: u64, readings: &BTreeMap<u32, TrashReading>) {
    for (id, reading) in readings {
        let Some(gone) = state.trash.get_mut(id) else {
            continue;
        };
        if reading.busy {
            gone.idle_since_s = None;
            continue;
        }
        // A clock that went back means another boot: begin again.
        let idle_since_s = gone.idle_since_s.filter(|since| *since <= now_s);
        let since_s = idle_since_s.unwrap_or(now_s);
        gone.idle_since_s = Some(since_s);
        if now_s - since_s >= limits::TRASH_IDLE_S {
            forget(state, *id, reading.stats);
        }
    }
}

/// Its counters stay in the service's sum, if the service is still the same one.
fn forget(state: &mut State, id: u32, stats: api::Stats) {
    let Some(Trashed {
        destination: gone, ..
    }) = state.remove_deleted(id)
    else {
        return;
    };
    state.retired = plus(state.retired, stats);
    if let Some(service) = state.services.get_mut(&gone.service)
        && service.incarnation == gone.incarnation
    {
        service.retired = plus(service.retired, minus(stats, gone.base));
    }
}

/// Sum of two readings.
#[must_use]
pub fn plus(a: api::Stats, b: api::Stats) -> api::Stats {
    api::Stats {
        connections: a.connections.saturating_add(b.connections),
        packets: a.packets.saturating_add(b.packets),
        bytes: a.bytes.saturating_add(b.bytes),
        out_packets: a.out_packets.saturating_add(b.out_packets),
        out_bytes: a.out_bytes.saturating_add(b.out_bytes),
    }
}

/// A reading from its zero point on.
#[must_use]
pub fn minus(a: api::Stats, b: api::Stats) -> api::Stats {
    api::Stats {
        connections: a.connections.saturating_sub(b.connections),
        packets: a.packets.saturating_sub(b.packets),
        bytes: a.bytes.saturating_sub(b.bytes),
        out_packets: a.out_packets.saturating_sub(b.out_packets),
        out_bytes: a.out_bytes.saturating_sub(b.out_bytes),
    }
}
