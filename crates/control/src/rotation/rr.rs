//! `rr`: the next eligible destination after the last one, weights ignored except 0.
//!
//! Source: `ipvs.md` 2.2 (Linux `net/netfilter/ipvs/ip_vs_rr.c`).

use serde::{Deserialize, Serialize};

use super::{Candidate, Rotation, Segment, index_of};

/// The destination chosen last; `None` is the list's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundRobin {
    last: Option<u32>,
}

impl RoundRobin {
    /// At the head of the list.
    #[must_use]
    pub fn start() -> Self {
        Self { last: None }
    }

    /// One segment: the eligible destinations in list order.
    #[must_use]
    pub fn rotation(&self, list: &[Candidate]) -> Rotation {
        let destinations: Vec<u32> = eligible(list).map(|one| one.id).collect();
        let end = destinations.len() as u64;
        if end == 0 {
            return Rotation::default();
        }
        let passed = match index_of(self.last, list) {
            Some(last) => eligible(&list[..=last]).count() as u64,
            None => 0,
        };
        Rotation {
            segments: vec![Segment { end, destinations }],
            first: passed % end,
        }
    }

    /// After `picks` picks; at least one.
    #[must_use]
    pub fn after(&self, list: &[Candidate], picks: u64) -> Self {
        match self.rotation(list).pick(picks - 1) {
            Some(last) => Self { last: Some(last) },
            None => *self,
        }
    }

    /// Deleting the remembered destination steps back to its predecessor.
    pub fn deleted(&mut self, id: u32, list: &[Candidate]) {
        if self.last != Some(id) {
            return;
        }
        self.last = match index_of(self.last, list) {
            Some(index) if index > 0 => Some(list[index - 1].id),
            _ => None,
        };
    }
}

fn eligible(list: &[Candidate]) -> impl Iterator<Item = &Candidate> {
    list.iter().filter(|one| one.is_eligible())
}
