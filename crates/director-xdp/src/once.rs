//! Functions that the verifier looks at once, whoever calls them, because they are global: it takes their
//! arguments for any numbers, and so must they.

use director::arrival::{self, Visit};
use director::scheduler;

use crate::tables::{KernelTables, VISIT};

/// See [`director::Tables::enter`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn enter() -> u64 {
    match visit() {
        Some(visit) => arrival::enter(&KernelTables, visit),
        None => 0,
    }
}

/// See [`director::Tables::choose`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn choose() -> u32 {
    match visit() {
        Some(visit) => scheduler::choose(&visit.service, &visit.arrival, &KernelTables),
        None => 0,
    }
}

/// See [`director::Tables::settle`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn settle(destination: u32) -> u64 {
    match visit() {
        Some(visit) => arrival::settle(&KernelTables, visit, destination),
        None => 0,
    }
}

#[inline(always)]
fn visit() -> Option<&'static mut Visit> {
    // SAFETY: the element is this CPU's own, and this run's until it ends; whoever called does not use it
    // meanwhile.
    unsafe { VISIT.get_ptr_mut(0)?.as_mut() }
}

/// See [`director::Tables::weigh`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn weigh(base: u32, count: u32) -> u64 {
    scheduler::weigh(base, count, &KernelTables)
}

/// See [`director::Tables::claim`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn claim(hash: u64, entry: u64, is_crowd: u64) -> u64 {
    director::connection::claim(&KernelTables, hash, entry, is_crowd != 0)
}

/// See [`director::Tables::make_visible`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn make_visible(hash: u64, slot: u32) -> u32 {
    director::connection::publish(&KernelTables, hash, slot);
    slot
}
