//! `lblc` and `lblcr`: who had this virtual address before. `ipvs.md` 2.2.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::least::weighted_least;
use crate::{Destination, Question};

/// Entries that are fine; more are thinned out.
const SOFT_LIMIT: usize = 16_384;
/// How long an entry is kept unused, and a set unchanged.
const EXPIRATION_S: u64 = 86_400;
/// How long an entry is kept unused when there are too many.
const SHORT_EXPIRATION_S: u64 = 360;
/// Sweeps from one that looks at everything to the next.
const FULL_SWEEP: u32 = 30;

/// What is known of each address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Localities {
    known: BTreeMap<IpAddr, Locality>,
    /// Sweeps with nothing to do since the last full one.
    quiet: u32,
}

#[derive(Clone, Debug)]
struct Locality {
    used_s: u64,
    changed_s: u64,
    /// Newest first; `lblc` has one.
    members: Vec<u32>,
}

impl Localities {
    pub(crate) fn pick(
        &mut self,
        is_set: bool,
        list: &[Destination],
        trash: &[Destination],
        question: &Question,
    ) -> Option<u32> {
        let now_s = question.now_s;
        if let Some(locality) = self.known.get_mut(&question.virtual_address) {
            locality.used_s = now_s;
            let remembered = match is_set {
                true => locality.least_loaded(list, trash, now_s),
                false => locality.only(list),
            };
            if let Some(one) = remembered
                && !is_busy(one, list)
            {
                return Some(one.name);
            }
        }
        let best = weighted_least(list)?.name;
        let locality = self
            .known
            .entry(question.virtual_address)
            .or_insert_with(|| Locality {
                used_s: now_s,
                changed_s: now_s,
                members: Vec::new(),
            });
        if !is_set {
            locality.members.clear();
        }
        if !locality.members.contains(&best) {
            locality.members.insert(0, best);
            locality.changed_s = now_s;
        }
        Some(best)
    }

    pub(crate) fn sweep(&mut self, now_s: u64) {
        let excess = self.known.len().saturating_sub(SOFT_LIMIT);
        if self.quiet + 1 == FULL_SWEEP {
            self.known
                .retain(|_, one| now_s.saturating_sub(one.used_s) < EXPIRATION_S);
            self.quiet = 0;
            return;
        }
        if excess == 0 {
            self.quiet += 1;
            return;
        }
        let mut goal = (excess * 4 / 3).min(SOFT_LIMIT / 2);
        self.known.retain(|_, one| {
            let is_old = now_s.saturating_sub(one.used_s) >= SHORT_EXPIRATION_S;
            let goes = is_old && goal > 0;
            goal -= usize::from(goes);
            !goes
        });
    }
}

impl Locality {
    /// The member of an `lblc` entry: OVERLOAD does not matter to it.
    fn only<'a>(&self, list: &'a [Destination]) -> Option<&'a Destination> {
        let name = self.members.first()?;
        let member = list.iter().find(|one| one.name == *name)?;
        (member.weight > 0 && member.usable).then_some(member)
    }

    /// The least loaded member of an `lblcr` set. A set that has not changed for long loses its most
    /// loaded one after that.
    fn least_loaded<'a>(
        &mut self,
        list: &'a [Destination],
        trash: &[Destination],
        now_s: u64,
    ) -> Option<&'a Destination> {
        let least = weighted_least(&self.members_of(list)).map(|one| one.name);
        let is_old = now_s > self.changed_s + EXPIRATION_S;
        if self.members.len() > 1
            && is_old
            && let Some(most) = most_loaded(&self.members_of(&[list, trash].concat()))
        {
            self.members.retain(|name| *name != most);
            self.changed_s = now_s;
        }
        list.iter().find(|one| Some(one.name) == least)
    }

    /// Those of a list that are members, in the order of the set.
    fn members_of(&self, list: &[Destination]) -> Vec<Destination> {
        let find = |name: &u32| list.iter().find(|one| one.name == *name);
        self.members.iter().filter_map(find).cloned().collect()
    }
}

fn most_loaded(members: &[Destination]) -> Option<u32> {
    let mut heavy = members.iter().filter(|one| one.weight > 0);
    let mut most = heavy.next()?;
    for one in heavy {
        let of = |load: &Destination, weight: &Destination| {
            u128::from(load.overhead()) * u128::from(weight.weight)
        };
        if of(most, one) < of(one, most) {
            most = one;
        }
    }
    Some(most.name)
}

/// More active connections than its weight, while somebody is less than half as busy as it could be. One
/// that cannot be reached relieves nobody.
fn is_busy(one: &Destination, list: &[Destination]) -> bool {
    let is_half_idle = |one: &Destination| u64::from(one.active) * 2 < u64::from(one.weight);
    let mut others = list.iter().filter(|one| one.usable);
    one.active > one.weight && others.any(is_half_idle)
}
