//! Tells systemd that the actor works. One that is stuck says nothing, and systemd restarts the daemon: forwarding goes
//! on meanwhile.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How often is told in the time after which systemd acts.
const TIMES: u32 = 4;

/// What systemd asked for in the environment.
pub(crate) struct Watchdog {
    every: Option<Duration>,
    told: Instant,
}

impl Watchdog {
    /// As systemd has asked for; silent otherwise.
    pub(crate) fn asked_for() -> Self {
        Self {
            every: sd_notify::watchdog_enabled().map(|within| within / TIMES),
            told: Instant::now(),
        }
    }

    /// To be called in every turn of the one that is watched.
    pub(crate) fn works(&mut self) {
        if self.every.is_some_and(|every| self.told.elapsed() >= every) {
            self.told = Instant::now();
            crate::notify(&[NotifyState::Watchdog]);
        }
    }
}
