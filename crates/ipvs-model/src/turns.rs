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

    pub(crate) fn pick(&mut self, list: &[Destination]) -> Option<u32> {
        if self.mw == 0 || !list.iter().any(Destination::is_eligible) {
            return None;
        }
        let mut next = match place(self.cl, list) {
            Some(at) => at + 1,
            None => 0,
        };
        loop {
            while let Some(one) = list.get(next) {
                if !one.is_passed_over() && i64::from(one.weight) >= self.cw {
                    self.cl = Some(one.name);
                    return self.cl;
                }
                next += 1;
            }
            next = 0;
            self.cw -= self.di;
            if self.cw <= 0 {
                self.cw = self.mw;
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
