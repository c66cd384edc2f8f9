//! What the program may cost. A jump needs a sentence.

use crate::support::{Instance, is_root};

/// Instructions that the verifier looks at before it gives up, on every kernel we promise.
const VERIFIER_LIMIT: u32 = 1_000_000;
/// What it may look at for one program: half of the limit would be too much, for the oldest of these
/// kernels look at more than the newest.
pub const VERIFIED_INSTRUCTIONS: u32 = 400_000;
/// Instructions of all programs after the kernel's rewriting: 25,343 and a tenth. Six tenths of them begin
/// connections: two programs, each with all schedulers behind it, of which a connection runs one. A tenth takes over
/// the slot of an ended connection, so that it counts until its successor was chosen, as in IPVS.
const INSTRUCTIONS: u32 = 27_900;
/// Machine code of the attached program, which nearly every frame runs: 7,072 bytes and a tenth, a
/// quarter of a first-level instruction cache.
const FAST_BYTES: u32 = 7_700;
/// Maps for a million connections, without what is there for each CPU: 107,000,000 bytes and a tenth. Half of
/// it are tuples; one cache line for each four connections is the hot part; a seventh are the schedulers' slots.
const MAP_BYTES: u64 = 118_000_000;
/// Statistics of 131,072 destinations and the counters, on one CPU: 3,150,000 bytes and a tenth.
const MAP_BYTES_PER_CPU: u64 = 3_465_000;

#[test]
fn the_programs_are_within_their_budgets() {
    if !is_root() {
        return;
    }
    let instance = Instance::new("budget", 1_024);
    let (mut plane, _) = instance.open();
    let sizes = plane.program_sizes().unwrap();
    eprintln!("{sizes:#?}");
    const { assert!(VERIFIED_INSTRUCTIONS * 2 < VERIFIER_LIMIT) };
    for (name, size) in &sizes {
        assert!(
            size.verified_instructions < VERIFIED_INSTRUCTIONS,
            "{name}: {size:?}"
        );
    }
    let instructions: u32 = sizes.iter().map(|(_, size)| size.instructions).sum();
    assert!(instructions < INSTRUCTIONS, "{instructions}: {sizes:?}");
    let (name, fast) = &sizes[0];
    assert!(fast.jited_bytes < FAST_BYTES, "{name}: {fast:?}");
}

#[test]
fn the_default_table_is_within_its_memory_budget() {
    if !is_root() {
        return;
    }
    let instance = Instance::new("memory", director::limits::CONNECTIONS_DEFAULT);
    let (plane, _) = instance.open();
    let bytes = plane.memory_bytes();
    eprintln!("{bytes} bytes");
    assert_eq!(plane.connections_max(), 1 << 20);
    let cpus = aya::util::nr_cpus().unwrap() as u64;
    let budget = MAP_BYTES + MAP_BYTES_PER_CPU * cpus;
    assert!(bytes < budget, "{bytes} bytes, budget {budget}");
}
