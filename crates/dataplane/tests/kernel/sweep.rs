//! Expiry as the rules of `director::connection` have it, over tables in memory: what the daemon's sweep must
//! come to. Written apart from it, so that one mistake cannot hide on both sides.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use director::Tables;
use director::connection::{Entry, FREE, Slot};
use director::limits::BUCKET_SLOTS;
use director::memory::MemoryTables;
use director::persistence::RENEWAL;
use director::tables::{Gauge, Standing, Weight};

/// Forgets what has run out, slot by slot: a template sees the connections that are still there.
pub fn whole(tables: &MemoryTables) {
    let settings = tables.settings.unwrap();
    let tick = tables.now().tick();
    for index in 0..tables.buckets.len() * BUCKET_SLOTS {
        let slot = &tables.buckets[index / BUCKET_SLOTS].slots[index % BUCKET_SLOTS];
        if slot.tag.load(SeqCst) == FREE {
            continue;
        }
        let entry = Entry(slot.entry.load(SeqCst));
        let tuple = tables.tuple(index as u32).unwrap();
        let is_over = if entry.state().is_template() {
            entry.age(tick) > tuple.life
        } else {
            entry.is_expired(&settings, tick)
        };
        if !is_over {
            continue;
        }
        if entry.state().is_template() && tuple.template as i64 > 0 {
            // It has connections: a minute more, and never again more than a minute.
            tables.tuples.borrow_mut()[index].life = RENEWAL;
            let renewed = entry.moved(entry.state(), tick);
            slot.entry.store(renewed.0, SeqCst);
        } else {
            forget(tables, index, slot, entry);
        }
    }
}

fn forget(tables: &MemoryTables, index: usize, slot: &Slot<AtomicU64>, entry: Entry) {
    let tuple = tables.tuple(index as u32).unwrap();
    let gauge = &tables.gauges[entry.destination() as usize];
    let moved = Gauge::of(entry.state());
    let left = gauge.fetch_sub(moved, SeqCst).wrapping_sub(moved);
    if moved != 0 {
        open(&tables.standings[entry.destination() as usize], left);
    }
    tables.populations[tuple.service as usize].fetch_sub(1, SeqCst);
    if !entry.state().is_template() && tuple.life != 0 {
        tables.attached[tuple.life as usize - 1].fetch_sub(1, SeqCst);
    }
    slot.entry.store(0, SeqCst);
    slot.tag.store(FREE, SeqCst);
}

/// Takes a destination's flag OVERLOAD away when so few connections are left: `ipvs.md` 2.1.
fn open(standing: &Standing<AtomicU64>, gauge: u64) {
    let thresholds = standing.thresholds.load(SeqCst);
    let (upper, lower) = (thresholds >> 32, thresholds & 0xffff_ffff);
    let (active, inactive) = Gauge::split(gauge);
    let total = u64::from(active) + u64::from(inactive);
    let has_room = match (upper, lower) {
        (0, _) => true,
        (upper, 0) => total * 4 < upper * 3,
        (_, lower) => total < lower,
    };
    if has_room {
        standing.weight.fetch_and(!Weight::OVERLOAD, SeqCst);
    }
}
