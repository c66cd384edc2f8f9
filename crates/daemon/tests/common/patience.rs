//! How long a test waits for what takes milliseconds when nobody is in its way.
//!
//! Time in which somebody waits for a processor counts a tenth: then everything takes longer, and nothing is wrong.
//! A machine whose kernel does not tell (`/proc/pressure/cpu`) has every second counted.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What such a second counts.
const STALLED: u32 = 10;

/// Begins when it is made.
pub struct Patience {
    most: Duration,
    begun: Instant,
    stalled: Duration,
}

impl Patience {
    /// Of so long.
    pub fn of(most: Duration) -> Self {
        Self {
            most,
            begun: Instant::now(),
            stalled: stalled(),
        }
    }

    /// Whether it is at its end.
    pub fn is_over(&self) -> bool {
        let passed = self.begun.elapsed();
        let stalled = stalled().saturating_sub(self.stalled).min(passed);
        passed - stalled + stalled / STALLED > self.most
    }

    /// What comes next, if something does before it is at its end.
    pub fn receive<T>(most: Duration, from: &Receiver<T>) -> Result<T, RecvTimeoutError> {
        let patience = Self::of(most);
        loop {
            match from.recv_timeout(Duration::from_millis(100)) {
                Err(RecvTimeoutError::Timeout) if !patience.is_over() => {}
                found => return found,
            }
        }
    }
}

/// For how long somebody has waited for a processor since this machine was started.
fn stalled() -> Duration {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let some = text.lines().find(|line| line.starts_with("some "));
    let total = some.and_then(|line| line.rsplit_once("total="));
    let total = total.and_then(|(_, number)| number.trim().parse().ok());
    Duration::from_micros(total.unwrap_or(0))
}
