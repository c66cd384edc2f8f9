//! `wrr`: levels of weight from the highest down; at each, the list from its head.
//!
//! With `di` the greatest common divisor of all positive weights, level `k` (from `max / di`
//! down to 1) asks for a weight of at least `(k - 1) · di + 1`, IPVS's current weight `cw`: that
//! is a share `weight / di` of at least `k`. So each destination is picked `share` times a
//! cycle, and levels between two neighbouring shares pick the same destinations: one segment.
//!
//! Source: `ipvs.md` 2.2 (Linux `net/netfilter/ipvs/ip_vs_wrr.c`).

use serde::{Deserialize, Serialize};

use super::{Candidate, Rotation, Segment, index_of};

/// The destination chosen last (`None` is the list's head) and IPVS's `cw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedRoundRobin {
    last: Option<u32>,
    current_weight: u32,
}

impl WeightedRoundRobin {
    /// At the head of the list and the highest level.
    #[must_use]
    pub fn start(list: &[Candidate]) -> Self {
        Self {
            last: None,
            current_weight: Levels::of(list).highest_weight(),
        }
    }

    /// One segment per run of levels that pick the same destinations.
    #[must_use]
    pub fn rotation(&self, list: &[Candidate]) -> Rotation {
        let runs = runs(list);
        let Some(cycle) = runs.last().map(|run| run.segment.end) else {
            return Rotation::default();
        };
        Rotation {
            first: self.position(list, &runs) % cycle,
            segments: runs.into_iter().map(|run| run.segment).collect(),
        }
    }

    /// After `picks` picks; at least one.
    #[must_use]
    pub fn after(&self, list: &[Candidate], picks: u64) -> Self {
        let Some(position) = self.rotation(list).position(picks - 1) else {
            return *self;
        };
        let Some(run) = runs(list)
            .into_iter()
            .find(|run| position < run.segment.end)
        else {
            return *self;
        };
        let length = run.segment.destinations.len() as u64;
        let offset = position - run.start;
        Self {
            last: run
                .segment
                .destinations
                .get((offset % length) as usize)
                .copied(),
            current_weight: Levels::of(list).weight_at(run.share - offset / length),
        }
    }

    /// After any change of the list: from its head, at the level that was current if it still
    /// exists, rounded to the new steps.
    pub fn changed(&mut self, list: &[Candidate]) {
        let levels = Levels::of(list);
        self.last = None;
        if self.current_weight > levels.highest_weight() || self.current_weight == 0 {
            self.current_weight = levels.highest_weight();
        } else if levels.step > 1 {
            self.current_weight = self.current_weight / levels.step * levels.step + 1;
        }
    }

    /// The position after the last destination at the current level; may be one past the end.
    fn position(&self, list: &[Candidate], runs: &[Run]) -> u64 {
        let levels = Levels::of(list);
        let level = levels.at_weight(self.current_weight);
        let Some(run) = runs.iter().find(|run| run.below < level) else {
            return 0;
        };
        if level > run.share {
            // Nobody eligible is as heavy as the current level: the walk goes down to this run.
            return run.start;
        }
        let passed = index_of(self.last, list).map_or(0, |index| index + 1);
        let taken = list[..passed]
            .iter()
            .filter(|one| one.is_eligible() && levels.share(one) >= level)
            .count() as u64;
        run.start + (run.share - level) * run.segment.destinations.len() as u64 + taken
    }
}

/// Levels `(below, share]`: they pick the same destinations, so they are one segment.
struct Run {
    share: u64,
    below: u64,
    /// Position of the first pick of level `share`.
    start: u64,
    segment: Segment,
}

/// The steps between levels, and the highest one.
#[derive(Clone, Copy)]
struct Levels {
    /// IPVS's `di`: greatest common divisor of all positive weights, 1 if there is none.
    step: u32,
    highest: u32,
}

impl Levels {
    fn of(list: &[Candidate]) -> Self {
        let step = list.iter().fold(0, |step, one| divisor(step, one.weight));
        let highest = list.iter().map(|one| one.weight).max().unwrap_or(0);
        Self {
            step: step.max(1),
            highest,
        }
    }

    /// IPVS's `mw`; 0 when no weight is positive.
    fn highest_weight(self) -> u32 {
        self.highest.saturating_sub(self.step - 1)
    }

    fn share(self, one: &Candidate) -> u64 {
        u64::from(one.weight / self.step)
    }

    /// The least weight that level `level` (from 1) asks for.
    fn weight_at(self, level: u64) -> u32 {
        (level.saturating_sub(1) * u64::from(self.step) + 1) as u32
    }

    fn at_weight(self, weight: u32) -> u64 {
        u64::from(weight.saturating_sub(1) / self.step) + 1
    }
}

fn runs(list: &[Candidate]) -> Vec<Run> {
    let levels = Levels::of(list);
    let eligible: Vec<_> = list.iter().filter(|one| one.is_eligible()).collect();
    let mut shares: Vec<u64> = eligible.iter().map(|one| levels.share(one)).collect();
    shares.sort_unstable_by(|a, b| b.cmp(a));
    shares.dedup();
    let mut start = 0;
    let mut runs = Vec::with_capacity(shares.len());
    for (index, &share) in shares.iter().enumerate() {
        let below = shares.get(index + 1).copied().unwrap_or(0);
        let destinations: Vec<u32> = eligible
            .iter()
            .filter(|one| levels.share(one) >= share)
            .map(|one| one.id)
            .collect();
        let end = start + (share - below) * destinations.len() as u64;
        runs.push(Run {
            share,
            below,
            start,
            segment: Segment { end, destinations },
        });
        start = end;
    }
    runs
}

fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}
