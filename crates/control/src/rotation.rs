//! `rr` and `wrr` as data: what the data plane picks, in which order, from where.
//!
//! The data plane counts a service's picks from its publication on; pick *p* takes position
//! `(first + p) mod cycle`. A [`Segment`] covers a range of positions and repeats its
//! destinations over it, so weights of any size need no array of that size:
//!
//! ```text
//! wrr, weights A=4 B=3 C=2     level   4    3 . . 2 . . . . 1 . .
//!                              picks   A    A B   A B C     A B C
//!                           segments  [A]1 [A B]3 [A     B     C]9     cycle = 9
//! ```
//!
//! What IPVS remembers between two picks (the last destination, and for `wrr` the current
//! weight) is a [`Place`]. The number of picks since publication and the place at publication
//! give the place now ([`Place::after`]), so that a change goes on where the data plane stands.
//!
//! A packet that finds no eligible destination leaves the place alone.

use std::net::SocketAddr;

use config::Scheduler;
use serde::{Deserialize, Serialize};

mod rr;
mod wrr;

pub use rr::RoundRobin;
pub use wrr::WeightedRoundRobin;

/// A destination as a scheduler sees it. Always in list order: newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Destination id.
    pub id: u32,
    /// Its weight; counts for levels even while it is not usable.
    pub weight: u32,
    /// Its last weight that was not set to 0 by an edit.
    pub last_weight: u32,
    /// Real address and port.
    pub address: SocketAddr,
    /// Whether a frame can reach it now.
    pub usable: bool,
}

impl Candidate {
    fn is_eligible(&self) -> bool {
        self.usable && self.weight > 0
    }
}

/// Positions `[previous end, end)`: position `q` is `destinations[(q - previous end) % len]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// One past the last position.
    pub end: u64,
    /// Destination ids.
    pub destinations: Vec<u32>,
}

/// What the data plane needs to pick as IPVS would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Empty when nothing is eligible.
    pub segments: Vec<Segment>,
    /// Position of the next pick.
    pub first: u64,
}

impl Rotation {
    /// Number of positions before the picks repeat.
    #[must_use]
    pub fn cycle(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end)
    }

    /// Which destination the `pick`-th pick (from 0) takes.
    #[must_use]
    pub fn pick(&self, pick: u64) -> Option<u32> {
        let (start, segment) = self.segment_at(self.position(pick)?)?;
        let length = segment.destinations.len() as u64;
        let offset = (self.position(pick)? - start) % length;
        segment.destinations.get(offset as usize).copied()
    }

    fn position(&self, pick: u64) -> Option<u64> {
        let cycle = self.cycle();
        (cycle > 0)
            .then(|| ((u128::from(self.first) + u128::from(pick)) % u128::from(cycle)) as u64)
    }

    /// The segment that covers a position, and where it starts.
    fn segment_at(&self, position: u64) -> Option<(u64, &Segment)> {
        let index = self
            .segments
            .partition_point(|segment| segment.end <= position);
        let start = match index.checked_sub(1) {
            Some(before) => self.segments[before].end,
            None => 0,
        };
        Some((start, self.segments.get(index)?))
    }
}

/// What a scheduler remembers between two picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scheduler")]
pub enum Place {
    /// `rr`
    #[serde(rename = "rr")]
    RoundRobin(RoundRobin),
    /// `wrr`
    #[serde(rename = "wrr")]
    Weighted(WeightedRoundRobin),
    /// The others: they choose by what is there.
    #[serde(rename = "other")]
    Memoryless,
}

impl Place {
    /// Where `scheduler` starts on a list.
    #[must_use]
    pub fn start(scheduler: Scheduler, list: &[Candidate]) -> Self {
        match scheduler {
            Scheduler::Rr => Self::RoundRobin(RoundRobin::start()),
            Scheduler::Wrr => Self::Weighted(WeightedRoundRobin::start(list)),
            _ => Self::Memoryless,
        }
    }

    /// What to publish.
    #[must_use]
    pub fn rotation(&self, list: &[Candidate]) -> Rotation {
        match self {
            Self::RoundRobin(place) => place.rotation(list),
            Self::Weighted(place) => place.rotation(list),
            Self::Memoryless => Rotation::default(),
        }
    }

    /// The place after `picks` picks from the rotation of this place and `list`.
    #[must_use]
    pub fn after(&self, list: &[Candidate], picks: u64) -> Self {
        if picks == 0 {
            return *self;
        }
        match self {
            Self::RoundRobin(place) => Self::RoundRobin(place.after(list, picks)),
            Self::Weighted(place) => Self::Weighted(place.after(list, picks)),
            Self::Memoryless => Self::Memoryless,
        }
    }

    /// A destination was added to the list or edited; `list` is the new list.
    pub fn changed(&mut self, list: &[Candidate]) {
        match self {
            Self::RoundRobin(_) | Self::Memoryless => {}
            Self::Weighted(place) => place.changed(list),
        }
    }

    /// Destination `id` is being deleted; `list` is the list with it.
    pub fn deleted(&mut self, id: u32, list: &[Candidate]) {
        match self {
            Self::RoundRobin(place) => place.deleted(id, list),
            Self::Memoryless => {}
            Self::Weighted(place) => {
                let rest: Vec<_> = list.iter().copied().filter(|one| one.id != id).collect();
                place.changed(&rest);
            }
        }
    }
}

/// Index of the place's last destination in the list; `None` is the head, before the first.
fn index_of(last: Option<u32>, list: &[Candidate]) -> Option<usize> {
    let last = last?;
    list.iter().position(|one| one.id == last)
}
