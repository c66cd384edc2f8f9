//! Rates of the last looks, and their drawing in one line.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Looks that are remembered: the widest chart.
const KEPT: usize = 60;

/// Rates by what they are of.
#[derive(Clone, Debug)]
pub(super) struct Histories<K>(HashMap<K, VecDeque<u64>>);

impl<K> Default for Histories<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Histories<K> {
    /// Takes a look at everything; what is not in it is forgotten.
    pub(super) fn add(&mut self, now: impl Iterator<Item = (K, u64)>) {
        let mut kept = HashMap::new();
        for (key, rate) in now {
            let mut history = self.0.remove(&key).unwrap_or_default();
            history.push_back(rate);
            if history.len() > KEPT {
                history.pop_front();
            }
            kept.insert(key, history);
        }
        self.0 = kept;
    }

    /// The last rates as bars, newest at the right, as many as fit.
    pub(super) fn bars(&self, key: &K, width: usize, unicode: bool) -> String {
        let empty = VecDeque::new();
        let history = self.0.get(key).unwrap_or(&empty);
        let shown = history.iter().skip(history.len().saturating_sub(width));
        let highest = shown.clone().max().copied().unwrap_or(0).max(1);
        let bar = |rate: &u64| {
            let (signs, blank): (&[char], char) = match unicode {
                true => (&['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'], ' '),
                false => (&['.', ':', '-', '=', '+', '*', '#', '@'], ' '),
            };
            let steps = signs.len() as u128;
            let step = u128::from(*rate) * steps / u128::from(highest);
            match rate {
                0 => blank,
                _ => signs[(step.max(1) - 1).min(steps - 1) as usize],
            }
        };
        let bars: String = shown.map(bar).collect();
        format!("{bars:>width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(rates: &[u64], width: usize, unicode: bool) -> String {
        let mut histories = Histories::default();
        for rate in rates {
            histories.add([("a", *rate)].into_iter());
        }
        histories.bars(&"a", width, unicode)
    }

    #[test]
    fn the_highest_rate_in_sight_is_a_whole_bar_and_none_is_no_bar() {
        assert_eq!(bars(&[0, 1, 50, 100], 6, true), "   ▁▄█");
        assert_eq!(bars(&[0, 1, 50, 100], 6, false), "   .=@");
        // What is out of sight does not count.
        assert_eq!(bars(&[1000, 5, 10], 2, true), "▄█");
        assert_eq!(bars(&[u64::MAX, 0], 2, true), "█ ");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut histories = Histories::default();
        histories.add([("a", 1), ("b", 1)].into_iter());
        histories.add([("b", 1)].into_iter());
        assert_eq!(histories.bars(&"a", 2, true), "  ");
        assert_eq!(histories.bars(&"b", 2, true), "██");
    }
}
