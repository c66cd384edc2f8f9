//! One check of one real server over time: when to ask, and what the answers mean.
//!
//! ```text
//!                 first pass                 fall failures in a row
//!  Unchecked ──────────────────────► Up ──────────────────────────────► Down
//!      │                              ▲                                  │ ▲
//!      │                              └──────── rise passes in a row ────┘ │
//!      └──────────────────────────── first failure ────────────────────────┘
//! ```
//!
//! A pure step: time and randomness are arguments. What you may rely on: a real server that stops
//! passing is down at most `fall × interval + timeout` later, because jitter only shortens
//! intervals; no two attempts of a probe overlap; nothing changes without `finish`; what is this
//! machine's fault (no port, no authorities, no such user) says nothing of the real server.

use std::time::{Duration, Instant};

use crate::check::Pace;
use crate::limits;
use crate::reason::{Outcome, Reason, Share};

/// What is believed of a real server, as far as one check goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// No attempt has ended yet.
    #[default]
    Unchecked,
    /// It does what is asked.
    Up,
    /// It does not.
    Down,
}

/// A check of a real server.
#[derive(Clone, Debug)]
pub struct Probe {
    pace: Pace,
    standing: Standing,
    since: Instant,
    /// Outcomes in a row that speak against the standing.
    against: u32,
    due: Instant,
    /// When the attempt under way began.
    started: Option<Instant>,
    reason: Option<Reason>,
    share: Option<Share>,
    took: Option<Duration>,
    /// Whether somebody suspects it: while it fails, it is asked quickly.
    hurried: bool,
}

/// What an outcome changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was believed before.
    pub was: Standing,
    /// What is believed now.
    pub standing: Standing,
    /// Why it is down, or why it could not be asked.
    pub reason: Option<Reason>,
    /// The weight that it asks for.
    pub share: Option<Share>,
}

/// What is said of the last failure: that of a real server that is not down is no news, but that it
/// could not be asked is.
fn told(standing: Standing, reason: Option<Reason>) -> Option<Reason> {
    reason.filter(|reason| standing == Standing::Down || matches!(reason, Reason::Local(_)))
}

impl Probe {
    /// A probe that has not asked yet, of a real server of which so much is believed. First
    /// attempts are spread by `dice`.
    #[must_use]
    pub fn new(pace: Pace, believed: Standing, now: Instant, dice: u64) -> Self {
        let spread = pace.interval.min(Duration::from_secs(1));
        Self {
            pace,
            standing: believed,
            since: now,
            against: 0,
            due: now + part(spread, dice, 100),
            started: None,
            reason: None,
            share: None,
            took: None,
            hurried: false,
        }
    }

    /// When the next attempt is due; `None` while one is under way.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.started.is_none().then_some(self.due)
    }

    /// What is believed.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why the last attempt failed, if it did.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// The weight that the real server asks for.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        self.share
    }

    /// How long the last passed attempt took.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.took
    }

    /// Another pace, from the next attempt on.
    pub fn set_pace(&mut self, pace: Pace, now: Instant) {
        self.due = self.due.min(now + pace.interval);
        self.pace = pace;
    }

    /// Somebody suspects the real server: the next attempt is due now, and quick ones follow while they fail. One
    /// that is under way is the next.
    pub fn hurry(&mut self, now: Instant) {
        self.hurried = true;
        self.due = self.due.min(now);
    }

    /// An attempt begins.
    pub fn start(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// The attempt could not be made yet, which says nothing about the real server.
    pub fn postpone(&mut self, until: Instant) {
        self.started = None;
        self.due = until;
    }

    /// The attempt has ended. Without one under way nothing happens.
    pub fn finish(&mut self, outcome: &Outcome, now: Instant, dice: u64) -> Option<Change> {
        let started = self.started.take()?;
        let was = self.standing;
        let (reason, share) = (self.reason.take(), self.share);
        match outcome {
            Outcome::Passed { share, took } => {
                self.share = *share;
                self.took = Some(*took);
                self.count(Standing::Up, self.pace.rise, now);
                if self.standing == Standing::Down {
                    self.reason.clone_from(&reason);
                }
            }
            Outcome::Failed(why) => {
                if outcome.is_answer() {
                    self.count(Standing::Down, self.pace.fall, now);
                }
                let explained = reason.clone().filter(|known| known.explains(why));
                self.reason = Some(explained.unwrap_or_else(|| why.clone()));
            }
        }
        self.hurried &= self.against > 0;
        self.due = (started + self.interval(dice)).max(now);
        let told = told(was, reason);
        let is = self.change(was);
        let news = is.standing != was || is.share != share || is.reason != told;
        news.then_some(is)
    }

    /// What is said of a probe that is down becomes better known. False if it is down no more.
    pub fn explain(&mut self, reason: Reason) -> Option<Change> {
        if self.standing != Standing::Down {
            return None;
        }
        self.reason = Some(reason);
        Some(self.change(Standing::Down))
    }

    fn change(&self, was: Standing) -> Change {
        Change {
            was,
            standing: self.standing,
            reason: told(self.standing, self.reason.clone()),
            share: self.share,
        }
    }

    /// One outcome for `side`, of which `enough` in a row decide.
    fn count(&mut self, side: Standing, enough: u32, now: Instant) {
        if self.standing == side {
            self.against = 0;
            return;
        }
        self.against += 1;
        if self.standing == Standing::Unchecked || self.against >= enough {
            self.standing = side;
            self.since = now;
            self.against = 0;
        }
    }

    fn interval(&self, dice: u64) -> Duration {
        let interval = match self.pace.fast_interval {
            Some(fast) if self.against > 0 => fast,
            None if self.hurried => self.pace.interval.min(limits::HURRY_INTERVAL),
            _ => self.pace.interval,
        };
        interval.saturating_sub(part(interval, dice, u32::from(self.pace.jitter_percent)))
    }
}

impl Pace {
    /// The same with every number in its range, as the state machine needs it.
    #[must_use]
    pub fn bounded(self) -> Self {
        let (low, high) = (limits::INTERVAL_MIN, limits::INTERVAL_MAX);
        Self {
            interval: self.interval.clamp(low, high),
            fast_interval: self.fast_interval.map(|fast| fast.clamp(low, high)),
            jitter_percent: self.jitter_percent.min(100),
            timeout: self.timeout.clamp(Duration::from_millis(1), high),
            rise: self.rise.clamp(1, limits::AGREEING_MAX),
            fall: self.fall.clamp(1, limits::AGREEING_MAX),
        }
    }
}

/// A random part of at most `percent` hundredths.
fn part(whole: Duration, dice: u64, percent: u32) -> Duration {
    let share = (dice >> 32) as f64 / f64::from(u32::MAX);
    whole.mul_f64(share * f64::from(percent) / 100.0)
}
