//! `lc`, `wlc`, `sed`, `nq`, `fo`, `ovf`, `twos`: all destinations are looked at, newest first, and the best is
//! taken.
//!
//! All but `twos` compare one fraction, so they are one scan. The first of equals wins.
//!
//! ```text
//! lc    overhead / 1               nq   as sed, but one without active connections wins at once
//! wlc   overhead / weight          fo   1 / weight
//! sed   (active + 1) / weight      ovf  1 / weight, if active ≤ weight
//! ```

use super::{Candidate, Kind};
use crate::limits::LISTED_DESTINATIONS;
use crate::tables::{Service, Tables, Work};

/// The best destination, 0 when none is eligible.
#[inline(never)]
pub(super) fn pick(service: &Service, kind: Kind, tables: &impl Tables) -> u32 {
    let mut scan = Scan {
        base: service.base,
        kind: kind.0,
        best: 0,
        load: 0,
        weight: 0,
    };
    tables.repeat(service.count.min(LISTED_DESTINATIONS), &mut scan);
    scan.best
}

/// The search for the least `load / weight`.
pub(super) struct Scan {
    base: u32,
    kind: u32,
    best: u32,
    load: u64,
    weight: u64,
}

impl Work for Scan {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool {
        let id = tables.rotation_slot(self.base.wrapping_add(index));
        let Some(candidate) = Candidate::eligible(tables, id) else {
            return true;
        };
        let kind = Kind(self.kind);
        let is_full = candidate.active > candidate.weight;
        if kind == Kind::OVF && is_full {
            return true;
        }
        let load = if kind == Kind::FO || kind == Kind::OVF {
            1
        } else if kind == Kind::SED || kind == Kind::NQ {
            candidate.active + 1
        } else {
            candidate.overhead()
        };
        let weight = if kind == Kind::LC {
            1
        } else {
            candidate.weight
        };
        let is_idle = kind == Kind::NQ && candidate.active == 0;
        if is_idle || self.best == 0 || self.load * weight > load * self.weight {
            self.best = id;
            self.load = load;
            self.weight = weight;
        }
        !is_idle
    }
}

/// Draws two by weight, and takes the less loaded. `ip_vs_twos.c`.
#[inline(never)]
pub(super) fn pick_of_two(service: &Service, tables: &impl Tables) -> u32 {
    let total = tables.weigh(service.base, service.count);
    if total == 0 {
        return 0;
    }
    let mut duel = Duel {
        base: service.base,
        one: 0,
        other: 0,
        left_of_one: draw(total, tables),
        left_of_other: draw(total, tables),
    };
    tables.repeat(service.count.min(LISTED_DESTINATIONS), &mut duel);
    let (one, other) = (duel.one, duel.other);
    match (
        Candidate::eligible(tables, one),
        Candidate::eligible(tables, other),
    ) {
        (Some(a), Some(b)) if b.weight * a.overhead() > a.weight * b.overhead() => other,
        (None, _) => other,
        _ => one,
    }
}

/// A number from 0 to `total`, inclusive as in IPVS.
#[inline(always)]
fn draw(total: u64, tables: &impl Tables) -> u64 {
    let random = u64::from(tables.random()) << 32 | u64::from(tables.random());
    random.checked_rem(total.wrapping_add(1)).unwrap_or(0)
}

/// The sum of the weights of the eligible destinations in a list.
#[inline(always)]
pub fn weigh(base: u32, count: u32, tables: &impl Tables) -> u64 {
    let mut sum = Sum { base, total: 0 };
    tables.repeat(count.min(LISTED_DESTINATIONS), &mut sum);
    sum.total
}

struct Sum {
    base: u32,
    total: u64,
}

impl Work for Sum {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool {
        let id = tables.rotation_slot(self.base.wrapping_add(index));
        if let Some(candidate) = Candidate::eligible(tables, id) {
            self.total = tables.blur(self.total + candidate.weight, candidate.inactive);
        }
        true
    }
}

/// The search for the two destinations at which the weights before them and their own reach the numbers drawn.
/// One scan for both: a verifier that follows a third one in a row gives up.
struct Duel {
    base: u32,
    one: u32,
    other: u32,
    left_of_one: u64,
    left_of_other: u64,
}

impl Work for Duel {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool {
        let id = tables.rotation_slot(self.base.wrapping_add(index));
        let Some(candidate) = Candidate::eligible(tables, id) else {
            return true;
        };
        let weight = candidate.weight;
        let reaches = |chosen: u32, left: u64| chosen == 0 && left <= weight;
        if reaches(self.one, self.left_of_one) {
            self.one = id;
        }
        if reaches(self.other, self.left_of_other) {
            self.other = id;
        }
        let noise = candidate.inactive;
        self.one = tables.blur(self.one.into(), noise) as u32;
        self.other = tables.blur(self.other.into(), noise) as u32;
        self.left_of_one = tables.blur(self.left_of_one.wrapping_sub(weight), noise);
        self.left_of_other = tables.blur(self.left_of_other.wrapping_sub(weight), noise);
        self.one == 0 || self.other == 0
    }
}
