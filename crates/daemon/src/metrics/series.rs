//! How many series a scrape may have, and who gets them.
//!
//! What is always there comes first, then services, real servers, checks, health and destinations. Each is
//! shown with all its series or left out whole, and who is left out stays so from scrape to scrape.

use std::collections::BTreeMap;

/// Series of one service.
pub(crate) const SERVICE: usize = 9;
/// What a service with checks has more.
pub(crate) const SERVICE_HEALTH: usize = 2;
/// Series of one real server.
pub(crate) const SERVER: usize = 2;
/// Series of one probe.
pub(crate) const PROBE: usize = 6;
/// Series of one check's histogram.
pub(crate) const DURATIONS: usize = health::tally::BUCKETS_MS.len() + 3;
/// Series of one destination's health.
pub(crate) const HEALTH: usize = 1;
/// Series of one destination.
pub(crate) const DESTINATION: usize = 7;

/// What is left, and what was left out.
pub(crate) struct Budget {
    left: usize,
    dropped: BTreeMap<&'static str, usize>,
}

impl Budget {
    /// Of so many, `used` are taken already.
    pub(crate) fn new(max: u32, used: usize) -> Self {
        Self {
            left: (max as usize).saturating_sub(used),
            dropped: BTreeMap::new(),
        }
    }

    /// How many of `count` things with `series` each may be shown.
    pub(crate) fn take(&mut self, of: &'static str, count: usize, series: usize) -> usize {
        let shown = count.min(self.left / series);
        self.left -= shown * series;
        *self.dropped.entry(of).or_default() += (count - shown) * series;
        shown
    }

    /// Series that were left out, by what they are of.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        self.dropped.iter().map(|(of, count)| (*of, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_whole_and_counted() {
        let mut budget = Budget::new(100, 20);
        assert_eq!(budget.take("service", 4, 9), 4);
        assert_eq!(budget.take("destination", 10, 7), 6);
        assert_eq!(budget.take("destination", 1, 7), 0);
        let dropped: Vec<_> = budget.dropped().collect();
        assert_eq!(dropped, [("destination", 35), ("service", 0)]);
    }

    #[test]
    fn a_limit_below_what_is_always_there_leaves_nothing_for_others() {
        assert_eq!(Budget::new(10, 20).take("service", 1, 9), 0);
    }
}
