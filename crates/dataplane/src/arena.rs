//! Room in an array map for runs of elements that are written beside the old and then switched to.
//!
//! What is given back is not used again at once: a CPU in the middle of a frame may still read it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a run rests after it was given back. A frame takes microseconds; a softirq may be held up
/// for tens of milliseconds on a preemptible kernel.
const REST: Duration = Duration::from_secs(1);

/// Free and resting runs of an array of elements.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Start → length, never touching each other.
    free: BTreeMap<u32, u32>,
    resting: VecDeque<(Instant, u32, u32)>,
}

impl Arena {
    /// An array of `len` elements of which `used` runs (start, length) are taken.
    pub(crate) fn new(len: u32, used: &[(u32, u32)]) -> Self {
        let mut arena = Self {
            free: BTreeMap::from([(0, len)]),
            resting: VecDeque::new(),
        };
        for &(start, count) in used {
            arena.cut(start, count);
        }
        arena
    }

    /// Takes a run of `count` elements, the first that fits.
    pub(crate) fn take(&mut self, count: u32, now: Instant) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        self.wake(now);
        let (&start, &len) = self.free.iter().find(|(_, len)| **len >= count)?;
        self.free.remove(&start);
        if len > count {
            self.free.insert(start + count, len - count);
        }
        Some(start)
    }

    /// Gives a run back; it rests first.
    pub(crate) fn give(&mut self, start: u32, count: u32, now: Instant) {
        if count > 0 {
            self.resting.push_back((now, start, count));
        }
    }

    /// How long until more room wakes; `None` when all that is free is awake.
    pub(crate) fn wakes_in(&self, now: Instant) -> Option<Duration> {
        let (since, _, _) = self.resting.front()?;
        Some(REST.saturating_sub(now.duration_since(*since)))
    }

    fn wake(&mut self, now: Instant) {
        while let Some(&(since, start, count)) = self.resting.front() {
            if now.duration_since(since) < REST {
                return;
            }
            self.resting.pop_front();
            self.join(start, count);
        }
    }

    /// Frees a run, joining it with its neighbours.
    fn join(&mut self, mut start: u32, mut count: u32) {
        if let Some(next) = self.free.remove(&(start + count)) {
            count += next;
        }
        if let Some((&before, &len)) = self.free.range(..start).next_back()
            && before + len == start
        {
            self.free.remove(&before);
            (start, count) = (before, len + count);
        }
        self.free.insert(start, count);
    }

    /// Takes out a run that somebody uses already.
    fn cut(&mut self, start: u32, count: u32) {
        let Some((&from, &len)) = self.free.range(..=start).next_back() else {
            return;
        };
        let end = from + len;
        if count == 0 || start + count > end {
            return;
        }
        self.free.remove(&from);
        if start > from {
            self.free.insert(from, start - from);
        }
        if end > start + count {
            self.free.insert(start + count, end - start - count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_given_back_rests_before_it_is_taken_again() {
        let now = Instant::now();
        let mut arena = Arena::new(4, &[]);
        let run = arena.take(4, now).unwrap();
        arena.give(run, 4, now);
        assert_eq!(arena.take(1, now), None);
        assert_eq!(arena.take(4, now + REST), Some(0));
    }

    #[test]
    fn who_finds_no_room_knows_when_there_will_be_some() {
        let now = Instant::now();
        let mut arena = Arena::new(4, &[(0, 1)]);
        let run = arena.take(3, now).unwrap();
        assert_eq!((arena.take(1, now), arena.wakes_in(now)), (None, None));
        arena.give(run, 3, now);
        let half = REST / 2;
        assert_eq!(arena.wakes_in(now + half), Some(REST - half));
        assert_eq!(arena.take(3, now + REST), Some(run));
    }

    #[test]
    fn runs_that_were_in_use_before_are_left_alone() {
        let now = Instant::now();
        let mut arena = Arena::new(10, &[(2, 3), (7, 1)]);
        assert_eq!(arena.take(3, now), None);
        assert_eq!(arena.take(2, now), Some(0));
        assert_eq!(arena.take(2, now), Some(5));
        assert_eq!(arena.take(2, now), Some(8));
    }

    proptest! {
        #[test]
        fn no_element_is_in_two_runs_and_none_is_lost(steps in prop::collection::vec((1u32..9, any::<bool>()), 0..80)) {
            let mut now = Instant::now();
            let mut arena = Arena::new(64, &[]);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for (count, gives) in steps {
                now += REST;
                if gives && !taken.is_empty() {
                    let (start, count) = taken.remove(0);
                    arena.give(start, count, now);
                } else if let Some(start) = arena.take(count, now) {
                    for &(other, len) in &taken {
                        prop_assert!(start + count <= other || other + len <= start);
                    }
                    taken.push((start, count));
                }
            }
            arena.wake(now + REST);
            let used: u32 = taken.iter().map(|run| run.1).sum();
            prop_assert_eq!(arena.free.values().sum::<u32>() + used, 64);
        }
    }
}
