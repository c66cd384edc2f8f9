//! Time as the data path sees it: nanoseconds of the coarse monotonic clock, counted in ticks.
//!
//! Ticks are powers of two of nanoseconds, so that no division is needed; user space reads the same
//! clock (`CLOCK_MONOTONIC_COARSE`) and the same ticks.

/// A moment of the coarse monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    /// Nanoseconds since the clock's start.
    pub ns: u64,
}

/// Nanoseconds in a tick, as a power of two: 0.268 s. A busy connection's slot is written once in a
/// tick; timeouts are exact to a tick; 32 bits of ticks last 36 years.
pub const TICK_SHIFT: u32 = 28;

/// Nanoseconds in a fine tick of the reply limit, as a power of two: 1.05 ms.
const FINE_SHIFT: u32 = 20;

impl Instant {
    /// Ticks since the clock's start.
    #[must_use]
    #[inline(always)]
    pub fn tick(self) -> u32 {
        (self.ns >> TICK_SHIFT) as u32
    }

    /// Fine ticks since the clock's start.
    #[must_use]
    #[inline(always)]
    pub fn fine_tick(self) -> u32 {
        (self.ns >> FINE_SHIFT) as u32
    }
}

/// Seconds as ticks, rounded up, so that nothing is forgotten early.
#[must_use]
pub const fn ticks_from_seconds(seconds: u32) -> u32 {
    let ns = seconds as u64 * 1_000_000_000;
    ns.div_ceil(1 << TICK_SHIFT) as u32
}

/// Ticks as whole seconds, rounded down.
#[must_use]
pub const fn seconds_from_ticks(ticks: u32) -> u32 {
    (((ticks as u64) << TICK_SHIFT) / 1_000_000_000) as u32
}

/// One second in fine ticks.
pub const SECOND_FINE_TICKS: u32 = (1_000_000_000u64 >> FINE_SHIFT) as u32;
