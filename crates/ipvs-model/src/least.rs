//! Schedulers that look at all destinations: `lc wlc sed nq fo ovf twos`. `ipvs.md` 2.2.

use crate::Destination;

pub(crate) fn pick(scheduler: &str, list: &[Destination], draws: [u64; 2]) -> Option<u32> {
    let chosen = match scheduler {
        "lc" => least(list, |one| (one.overhead(), 1)),
        "wlc" => weighted_least(list),
        "sed" => shortest_delay(list),
        "nq" => {
            let mut eligible = list.iter().filter(|one| one.is_eligible());
            let idle = eligible.find(|one| one.active == 0);
            idle.or_else(|| shortest_delay(list))
        }
        "fo" => heaviest(list, |_| true),
        "ovf" => heaviest(list, |one| one.active <= one.weight),
        "twos" => better_of_two(list, draws),
        _ => None,
    };
    chosen.map(|one| one.name)
}

pub(crate) fn weighted_least(list: &[Destination]) -> Option<&Destination> {
    least(list, |one| (one.overhead(), one.weight.into()))
}

fn shortest_delay(list: &[Destination]) -> Option<&Destination> {
    least(list, |one| (u64::from(one.active) + 1, one.weight.into()))
}

/// The least load for its weight; the first of equals.
fn least(
    list: &[Destination],
    measure: impl Fn(&Destination) -> (u64, u64),
) -> Option<&Destination> {
    let mut eligible = list.iter().filter(|one| one.is_eligible());
    let mut best = eligible.next()?;
    for one in eligible {
        let ((best_load, best_weight), (load, weight)) = (measure(best), measure(one));
        if u128::from(best_load) * u128::from(weight) > u128::from(load) * u128::from(best_weight) {
            best = one;
        }
    }
    Some(best)
}

/// The highest weight of those that have room; the first of equals.
fn heaviest(list: &[Destination], has_room: impl Fn(&Destination) -> bool) -> Option<&Destination> {
    let mut best: Option<&Destination> = None;
    for one in list.iter().filter(|one| one.is_eligible() && has_room(one)) {
        if best.is_none_or(|best| one.weight > best.weight) {
            best = Some(one);
        }
    }
    best
}

fn better_of_two(list: &[Destination], draws: [u64; 2]) -> Option<&Destination> {
    let eligible = || list.iter().filter(|one| one.is_eligible());
    let sum: u64 = eligible().map(|one| u64::from(one.weight)).sum();
    let drawn = |draw: u64| {
        let mut left = (draw % (sum + 1)).cast_signed();
        eligible().find(|one| {
            left -= i64::from(one.weight);
            left <= 0
        })
    };
    let (first, second) = (drawn(draws[0])?, drawn(draws[1])?);
    let of = |weight: &Destination, load: &Destination| {
        u128::from(weight.weight) * u128::from(load.overhead())
    };
    if of(second, first) > of(first, second) {
        Some(second)
    } else {
        Some(first)
    }
}
