//! What the checks did, counted: for metrics.
//!
//! The thread that checks adds to it once for each attempt; whoever holds a copy of the handle reads. Both
//! hold the lock for as long as a count takes, or a copy of the counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::probe::Standing;
use crate::reason::Outcome;
use crate::state::{News, ProbeKey};

/// Upper bounds of the duration's buckets, in milliseconds: from a real server on the same segment to the
/// longest timeouts that people set.
pub const BUCKETS_MS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000];

/// The counts, shared.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Counts>>);

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// By probe.
    pub probes: BTreeMap<ProbeKey, ProbeCount>,
    /// How long attempts took, by the check's name.
    pub durations: BTreeMap<Arc<str>, Durations>,
}

/// One probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCount {
    /// Attempts that passed.
    pub passed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that this host could not make: they say nothing of the real server.
    pub not_made: u64,
    /// Times it came to be believed well, from being down or unknown.
    pub rises: u64,
    /// Times it came to be believed down.
    pub falls: u64,
    /// What is believed now.
    pub standing: Standing,
}

/// A histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// Attempts that took no longer than the bound in [`BUCKETS_MS`], each counted in its first bucket only.
    pub buckets: [u64; BUCKETS_MS.len()],
    /// All attempts.
    pub count: u64,
    /// How long they took together.
    pub sum: Duration,
}

impl Durations {
    fn add(&mut self, took: Duration) {
        let fits = |bound: &u64| took <= Duration::from_millis(*bound);
        if let Some(bucket) = BUCKETS_MS.iter().position(fits) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += took;
    }
}

impl Tally {
    /// The counts as they are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts an attempt, after which the probe stands so.
    pub(crate) fn attempt(
        &self,
        key: &ProbeKey,
        outcome: &Outcome,
        took: Duration,
        standing: Standing,
    ) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let probe = counts.probes.entry(key.clone()).or_default();
        // What an earlier daemon knew is no news and is heard of here only.
        probe.standing = standing;
        match outcome {
            Outcome::Passed { .. } => probe.passed += 1,
            Outcome::Failed(_) if outcome.is_answer() => probe.failed += 1,
            Outcome::Failed(_) => probe.not_made += 1,
        }
        if outcome.is_answer() {
            let check = Arc::clone(&key.check);
            counts.durations.entry(check).or_default().add(took);
        }
    }

    /// Counts what changed.
    pub(crate) fn news(&self, news: &[News]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in news {
            let News::Probe { key, change } = one else {
                continue;
            };
            let probe = counts.probes.entry(key.clone()).or_default();
            probe.standing = change.standing;
            match change.standing {
                Standing::Up if change.was != Standing::Up => probe.rises += 1,
                Standing::Down if change.was != Standing::Down => probe.falls += 1,
                _ => {}
            }
        }
    }

    /// Forgets probes that are wanted no more.
    pub(crate) fn keep(&self, is_wanted: impl Fn(&ProbeKey) -> bool) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.probes.retain(|key, _| is_wanted(key));
        let names: Vec<Arc<str>> = counts
            .probes
            .keys()
            .map(|key| Arc::clone(&key.check))
            .collect();
        counts.durations.retain(|name, _| names.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Change;
    use crate::reason::Reason;

    fn key() -> ProbeKey {
        ProbeKey {
            server: [192, 0, 2, 11].into(),
            to: ([192, 0, 2, 100], 80).into(),
            check: "web".into(),
        }
    }

    fn change(was: Standing, standing: Standing) -> News {
        let change = Change {
            was,
            standing,
            reason: None,
            share: None,
        };
        News::Probe { key: key(), change }
    }

    #[test]
    fn an_attempt_that_could_not_be_made_is_no_failure_and_has_no_duration() {
        let tally = Tally::default();
        let here = Outcome::Failed(Reason::Local("no descriptors".to_owned()));
        tally.attempt(&key(), &here, Duration::from_millis(3), Standing::Up);
        let timeout = Outcome::Failed(Reason::Refused { port: 80 });
        tally.attempt(&key(), &timeout, Duration::from_millis(3), Standing::Up);
        let counts = tally.counts();
        let probe = counts.probes[&key()];
        assert_eq!((probe.failed, probe.not_made), (1, 1));
        assert_eq!(counts.durations["web"].count, 1);
    }

    #[test]
    fn a_better_reason_is_neither_a_rise_nor_a_fall() {
        let tally = Tally::default();
        tally.news(&[
            change(Standing::Unchecked, Standing::Up),
            change(Standing::Up, Standing::Down),
            change(Standing::Down, Standing::Down),
        ]);
        let probe = tally.counts().probes[&key()];
        assert_eq!((probe.rises, probe.falls), (1, 1));
        assert_eq!(probe.standing, Standing::Down);
    }

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it_or_in_none() {
        let mut durations = Durations::default();
        for ms in [1, 3, 5_001] {
            durations.add(Duration::from_millis(ms));
        }
        assert_eq!(durations.buckets, [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(durations.count, 3);
    }

    #[test]
    fn a_probe_that_is_wanted_no_more_is_forgotten_with_its_durations() {
        let tally = Tally::default();
        let passed = Outcome::Failed(Reason::Refused { port: 80 });
        tally.attempt(&key(), &passed, Duration::ZERO, Standing::Up);
        tally.keep(|_| false);
        let counts = tally.counts();
        assert!(counts.probes.is_empty() && counts.durations.is_empty());
    }
}
