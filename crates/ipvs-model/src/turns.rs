//! `rr` and `wrr`: a pointer into the list. `ipvs.md` 2.2.

use crate::Destination;

/// The last choice; `None` is the head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rr {
    last: Option<u32>,
}

impl Rr {
    pub(crate) fn pick(&mut self, list: &[Destination]) -> Option<u32> {
        let from = match place(self.last, list) {
            Some(at) => at + 1,
            None => 0,
        };
        for step in 0..list.len() {
            let one = &list[(from + step) % list.len()];
            if one.is_eligible() {
                self.last = Some(one.name);
                return self.last;
            }
        }
        None
    }

    /// `list` still has it.
    pub(crate) fn delete(&mut self, name: u32, list: &[Destination]) {
        if self.last == Some(name) {
            let at = place(self.last, list).unwrap_or(0);
            self.last = (at > 0).then(|| list[at - 1].name);
        }
    }
}

/// The last choice, the current weight, the highest one and the step.
#[derive(Clone, Debug)]
pub(crate) struct Wrr {
    cl: Option<u32>,
    cw: i64,
    mw: i64,
    di: i64,
}

impl Wrr {
    pub(crate) fn start(list: &[Destination]) -> Self {
        let (mw, di) = measure(list);
        Self {
            cl: None,
            cw: mw,
            mw,
            di,
        }
    }

    pub(crate) fn changed(&mut self, list: &[Destination]) {
        (self.mw, self.di) = measure(list);
        self.cl = None;
        if self.cw > self.mw || self.cw == 0 {
            self.cw = self.mw;
        } else if self.di > 1 {
            self.cw = self.cw / self.di * self.di + 1;
        }
    }

    /// A walk that finds nobody ends in one of two ways: back at the last choice, after a whole pass at the lowest
    /// weight, or at the head with the highest weight.
    pub(crate) fn pick(&mut self, list: &[Destination]) -> Option<u32> {
        let can_be_reached = |one: &Destination| one.usable && one.weight > 0;
        if self.mw == 0 || !list.iter().any(can_be_reached) {
            return None;
        }
        let last = place(self.cl, list);
        let mut stop = None;
        let (mut is_last_pass, mut has_restarted) = (false, false);
        let mut next = last.map_or(0, |at| at + 1);
        loop {
            for (at, one) in list.iter().enumerate().skip(next) {
                if !one.is_passed_over() && i64::from(one.weight) >= self.cw {
                    self.cl = Some(one.name);
                    return self.cl;
                }
                if stop == Some(at) {
                    self.cl = Some(one.name);
                    return None;
                }
            }
            next = 0;
            self.cw -= self.di;
            if self.cw <= 0 {
                self.cw = self.mw;
                if is_last_pass || last.is_none() {
                    self.cl = None;
                    return None;
                }
                has_restarted = true;
            }
            is_last_pass = self.cw <= self.di;
            if is_last_pass && has_restarted {
                stop = last;
            }
        }
    }
}

/// `mw` and `di`.
fn measure(list: &[Destination]) -> (i64, i64) {
    let weights = || list.iter().map(|one| i64::from(one.weight));
    let di = match weights().fold(0, gcd) {
        0 => 1,
        di => di,
    };
    (weights().max().unwrap_or(0) - (di - 1), di)
}

pub(crate) fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn place(name: Option<u32>, list: &[Destination]) -> Option<usize> {
    list.iter().position(|one| Some(one.name) == name)
}
