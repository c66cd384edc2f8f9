//! Words that CPUs share, by the instructions that BPF has for them.

use core::cell::UnsafeCell;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

use director::tables::Word;

/// A word in a map value.
///
/// `AtomicU64` has no read-modify-write operations on this target (rustc 1.95), and atomic loads and
/// stores do not select below ISA v4; aligned 64-bit loads and stores are single instructions, and
/// volatile keeps the compiler from merging or splitting them.
#[repr(transparent)]
pub struct KernelWord(UnsafeCell<u64>);

// SAFETY: all access goes through the four operations below, each of which is one instruction.
unsafe impl Sync for KernelWord {}

impl Word for KernelWord {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: the reference guarantees an aligned, live word.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        // SAFETY: the reference guarantees an aligned, live word.
        unsafe { self.0.get().write_volatile(value) }
    }

    #[inline(always)]
    fn add(&self, value: u64) -> u64 {
        // SAFETY: the reference guarantees an aligned, live word.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(self.0.get(), value) }
    }

    #[inline(always)]
    fn swap_if(&self, current: u64, new: u64) -> bool {
        const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
        // SAFETY: the reference guarantees an aligned, live word.
        unsafe { atomic_cxchg::<u64, ORDER, ORDER>(self.0.get(), current, new).1 }
    }
}
