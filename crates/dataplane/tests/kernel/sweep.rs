//! Expiry as the rules of `director::connection` have it, over tables in memory: what the daemon's sweep must
//! come to. Written apart from it, so that one mistake cannot hide on both sides.

use std::sync::atomic::Ordering::SeqCst;

use director::Tables;
use director::connection::{Entry, FREE, Slot};
use director::limits::BUCKET_SLOTS;
use director::memory::MemoryTables;
use director::persistence::RENEWAL;
use director::tables::Gauge;

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

fn forget(
    tables: &MemoryTables,
    index: usize,
    slot: &Slot<std::sync::atomic::AtomicU64>,
    entry: Entry,
) {
    let tuple = tables.tuple(index as u32).unwrap();
    let gauge = &tables.gauges[entry.destination() as usize];
    gauge.fetch_sub(Gauge::of(entry.state()), SeqCst);
    tables.populations[tuple.service as usize].fetch_sub(1, SeqCst);
    if !entry.state().is_template() && tuple.life != 0 {
        tables.attached[tuple.life as usize - 1].fetch_sub(1, SeqCst);
    }
    slot.entry.store(0, SeqCst);
    slot.tag.store(FREE, SeqCst);
}
