//! Ctrl-C and termination, as a flag that every wait looks at.
//!
//! A signal handler that cleaned up by itself would race with the thread that is still building;
//! so the signal only asks, the waiting code returns [`Error::Interrupted`], and the usual
//! destructors take the lab down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::Error;
use crate::limits::POLL;

/// Whether to give up. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
}

impl Interrupt {
    /// Raised by SIGINT, SIGTERM and SIGHUP from now on.
    pub fn on_signals() -> Result<Self, Error> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.raised))
                .map_err(|source| Error::io("catching termination signals", source))?;
        }
        Ok(interrupt)
    }

    /// Raises it by hand.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    /// An error if it was raised.
    pub fn check(&self) -> Result<(), Error> {
        if self.raised.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// Sleeps, but not through an interruption.
    pub fn pause(&self, time: Duration) -> Result<(), Error> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Looks again and again until there is something to see, or `Ok(None)` after `limit`.
    pub fn poll<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let until = Instant::now() + limit;
        loop {
            if let Some(seen) = look()? {
                return Ok(Some(seen));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            self.pause(POLL)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_ends_a_wait_and_says_so() {
        let interrupt = Interrupt::default();
        interrupt.clone().raise();
        let waited = interrupt.poll(Duration::from_secs(3600), || Ok(None::<()>));
        assert!(matches!(waited, Err(Error::Interrupted)));
    }

    #[test]
    fn a_wait_returns_what_it_saw() {
        let mut looks = 0;
        let seen = Interrupt::default().poll(Duration::from_secs(3600), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(seen.unwrap(), Some(3));
    }
}
