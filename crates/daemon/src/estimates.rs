//! Counters and rates as they are shown: every 2 s, each object is looked at once.
//!
//! ```text
//! data plane ─ read ─► Estimator: shown counters, Rate × 5 ─► listing, -Z
//!              2 s      destinations, services, all together
//! ```
//!
//! IPVS shows a copy of its counters that is refreshed together with the estimation, so a listing may
//! show what was up to 2 s ago, and `-Z` takes the copy for its new zero point. So do we.
//!
//! With many destinations the looks are spread over the 2 s: [`limits::ESTIMATES_PER_TICK`] at once.
//!
//! Source: `ipvs.md` 5 (Linux `net/netfilter/ipvs/ip_vs_est.c`).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use api::{Rates, ServiceKey, Stats};
use control::{State, minus, plus};

use crate::limits;
use crate::plane::Plane;

/// By a destination's id. Nobody from outside chooses ids, so nothing has to be kept from guessing their places: 100,000
/// of them are looked up every two seconds.
pub(crate) type ById<V> = HashMap<u32, V, BuildHasherDefault<Spread>>;

/// Spreads ids over the places of a map (Fibonacci hashing; Knuth, The Art of Computer Programming 3, 6.4).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        let mixed = self.0.rotate_left(5) ^ u64::from(id);
        self.0 = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What was seen of all objects.
#[derive(Debug, Default)]
pub(crate) struct Estimates {
    destinations: ById<Estimator>,
    /// By incarnation: a service made anew begins anew.
    services: HashMap<u64, Estimator>,
    total: Estimator,
    round: Round,
}

/// One turn over all services.
#[derive(Debug, Default)]
struct Round {
    /// Ticks since it began.
    ticks: u32,
    /// The service that was looked at last; `None` before the first.
    last: Option<ServiceKey>,
    is_over: bool,
    /// Counters of the services that were looked at.
    sum: Stats,
    /// Destinations and services that were seen: the others are gone.
    seen: (Vec<u32>, Vec<u64>),
}

/// One object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimator {
    shown: Stats,
    connections: Rate<COUNT_BITS>,
    packets: Rate<COUNT_BITS>,
    bytes: Rate<BYTE_BITS>,
    out_packets: Rate<COUNT_BITS>,
    out_bytes: Rate<BYTE_BITS>,
}

/// An average per second, in fixed point with `BITS` bits behind the point; a quarter of each new value
/// goes into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rate<const BITS: u32>(i64);

/// Precision of connections and packets per second.
const COUNT_BITS: u32 = 10;
/// Precision of bytes per second.
const BYTE_BITS: u32 = 5;

impl<const BITS: u32> Rate<BITS> {
    /// Takes what was counted in the last 2 s.
    fn tick(&mut self, counted: u64) {
        // One bit less than the precision: divided by the two seconds.
        let new = (counted << (BITS - 1)).cast_signed();
        self.0 += new.wrapping_sub(self.0) >> 2;
    }

    /// Rounded as IPVS rounds it: a half goes down.
    fn per_second(self) -> u64 {
        let half = (1 << (BITS - 1)) - 1;
        ((self.0 + half) >> BITS).cast_unsigned()
    }
}

impl Estimator {
    /// Looks at the object, whose counters are `now`. One that was never looked at had none.
    fn tick(&mut self, now: Stats) {
        let since = minus(now, self.shown);
        self.connections.tick(since.connections);
        self.packets.tick(since.packets);
        self.bytes.tick(since.bytes);
        self.out_packets.tick(since.out_packets);
        self.out_bytes.tick(since.out_bytes);
        self.shown = now;
    }

    fn rates(&self) -> Rates {
        Rates {
            connections: self.connections.per_second(),
            packets: self.packets.per_second(),
            bytes: self.bytes.per_second(),
            out_packets: self.out_packets.per_second(),
            out_bytes: self.out_bytes.per_second(),
        }
    }

    /// `-Z`: the rates begin anew; the counters have a zero point elsewhere.
    fn zero(&mut self) {
        *self = Self::starting_at(self.shown);
    }

    fn starting_at(shown: Stats) -> Self {
        Self {
            shown,
            ..Self::default()
        }
    }
}

impl Estimates {
    /// Begins with what the counters of a data plane that was taken over say: what came before is no rate.
    pub(crate) fn take_over(&mut self, state: &State, plane: &impl Plane) {
        let ids: Vec<u32> = state.ids().collect();
        for (id, stats) in ids.iter().zip(plane.stats_of(&ids)) {
            self.destinations.insert(*id, Estimator::starting_at(stats));
        }
        for (key, service) in &state.services {
            let shown = self.service_stats(state, key);
            self.services
                .insert(service.incarnation, Estimator::starting_at(shown));
        }
        let ids = state.ids().map(|id| self.shown(id));
        self.total = Estimator::starting_at(ids.fold(state.retired, plus));
    }

    /// Called every tenth of a second. Whether all objects have been looked at by this: once in 2 s.
    pub(crate) fn tick(&mut self, state: &State, plane: &impl Plane) -> bool {
        let was_over = self.round.is_over && self.round.ticks < limits::ESTIMATE_TICKS;
        if self.round.ticks == limits::ESTIMATE_TICKS {
            self.round = Round::default();
        }
        self.round.ticks += 1;
        let mut budget = limits::ESTIMATES_PER_TICK
            .max(state.destinations.len() / limits::ESTIMATE_TICKS as usize + 1);
        while budget > 0 && !self.round.is_over {
            let cost = self.look_at_next(state, plane);
            budget = budget.saturating_sub(cost);
        }
        self.round.is_over && !was_over
    }

    /// Looks at the next service and its destinations; how many they are.
    fn look_at_next(&mut self, state: &State, plane: &impl Plane) -> usize {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.round.last.map_or(Unbounded, Excluded);
        let Some((key, service)) = state.services.range((from, Unbounded)).next() else {
            self.finish(state, plane);
            return 1;
        };
        let ids: Vec<u32> = state.ids_of(key).collect();
        for (id, now) in ids.iter().zip(plane.stats_of(&ids)) {
            self.look_at(*id, now);
        }
        let sum = self.service_stats(state, key);
        let estimator = self.services.entry(service.incarnation).or_default();
        estimator.tick(sum);
        self.round.seen.1.push(service.incarnation);
        self.round.last = Some(*key);
        1 + ids.len()
    }

    fn look_at(&mut self, id: u32, now: Stats) {
        self.destinations.entry(id).or_default().tick(now);
        self.round.sum = plus(self.round.sum, now);
        self.round.seen.0.push(id);
    }

    /// All services were looked at: deleted destinations of no service, then all together.
    fn finish(&mut self, state: &State, plane: &impl Plane) {
        let is_of_none =
            |gone: &control::Trashed| !state.services.contains_key(&gone.destination.service);
        for (id, _) in state.trash.iter().filter(|(_, gone)| is_of_none(gone)) {
            self.look_at(*id, plane.stats(*id));
        }
        self.total.tick(plus(state.retired, self.round.sum));
        let (ids, incarnations) = std::mem::take(&mut self.round.seen);
        let ids: ById<()> = ids.into_iter().map(|id| (id, ())).collect();
        let incarnations: std::collections::HashSet<u64> = incarnations.into_iter().collect();
        self.destinations.retain(|id, _| ids.contains_key(id));
        self.services
            .retain(|incarnation, _| incarnations.contains(incarnation));
        self.round.is_over = true;
    }

    /// Counters of a service: its destinations, those in the trash, those forgotten. Destinations of an
    /// earlier service of the same key are not among them.
    pub(crate) fn service_stats(&self, state: &State, key: &ServiceKey) -> Stats {
        let Some(service) = state.services.get(key) else {
            return Stats::default();
        };
        let listed = service.list.iter();
        let listed = listed.filter_map(|id| Some((*id, state.destinations.get(id)?)));
        let gone = state.deleted_of(*key);
        let gone = gone.filter(|(_, one)| one.incarnation == service.incarnation);
        let all = listed.chain(gone);
        all.map(|(id, one)| minus(self.shown(id), one.base))
            .fold(service.retired, plus)
    }

    /// `-Z` of these services with their destinations, or with `None` of everything.
    pub(crate) fn zero(&mut self, state: &State, zeroed: &[Option<ServiceKey>]) {
        for key in zeroed {
            if key.is_none() {
                self.total.zero();
            }
            let services = state.services.iter();
            for (key, service) in services.filter(|(one, _)| key.is_none_or(|key| key == **one)) {
                for id in state.ids_of(key) {
                    self.destinations.entry(id).and_modify(Estimator::zero);
                }
                // Its counters have another zero point now.
                let shown = self.service_stats(state, key);
                self.services
                    .insert(service.incarnation, Estimator::starting_at(shown));
            }
        }
    }

    /// Counters of a destination at its last tick.
    pub(crate) fn shown(&self, id: u32) -> Stats {
        let one = self.destinations.get(&id);
        one.map_or_else(Stats::default, |one| one.shown)
    }

    /// Rates of a destination.
    pub(crate) fn rates(&self, id: u32) -> Rates {
        let one = self.destinations.get(&id);
        one.map_or_else(Rates::default, Estimator::rates)
    }

    /// Rates of a service.
    pub(crate) fn service_rates(&self, incarnation: u64) -> Rates {
        let one = self.services.get(&incarnation);
        one.map_or_else(Rates::default, Estimator::rates)
    }

    /// Counters of everything together at their last tick.
    pub(crate) fn shown_total(&self) -> Stats {
        self.total.shown
    }

    /// Rates of everything together.
    pub(crate) fn total_rates(&self) -> Rates {
        self.total.rates()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(counted: &[u64]) -> Vec<u64> {
        let mut rate = Rate::<COUNT_BITS>::default();
        let tick = |counted: &u64| {
            rate.tick(*counted);
            rate.per_second()
        };
        counted.iter().map(tick).collect()
    }

    /// Seen on a live kernel (`ipvs.md` 11), sent 100 packets a second.
    #[test]
    fn a_hundred_packets_a_second_are_shown_as_the_kernel_shows_them() {
        // The first tick came 1.7 s after the first packet.
        let seen = [21, 41, 56, 67, 75, 81];
        assert_eq!(after(&[170, 200, 200, 200, 200, 200]), seen);
    }

    #[test]
    fn a_step_is_answered_by_quarters_of_what_is_left() {
        assert_eq!(after(&[200; 6]), [25, 44, 58, 68, 76, 82]);
        let mut rate = Rate::<COUNT_BITS>::default();
        (0..100).for_each(|_| rate.tick(200));
        assert_eq!(rate.per_second(), 100);
        (0..100).for_each(|_| rate.tick(0));
        assert_eq!(rate.per_second(), 0);
    }

    #[test]
    fn what_is_small_is_rounded_as_the_kernel_rounds_it() {
        assert_eq!(after(&[1]), [0]);
        let mut rate = Rate::<BYTE_BITS>::default();
        rate.tick(1500);
        assert_eq!(rate.per_second(), 187);
    }

    #[test]
    fn zeroing_ends_the_rates_and_keeps_what_was_shown() {
        let now = Stats {
            packets: 200,
            ..Stats::default()
        };
        let mut estimator = Estimator::default();
        estimator.tick(now);
        assert_eq!(estimator.rates().packets, 25);
        estimator.zero();
        assert_eq!(estimator.rates(), Rates::default());
        assert_eq!(estimator.shown, now);
        estimator.tick(now);
        assert_eq!(estimator.rates(), Rates::default());
    }
}
