//! Step 3: how requests spread, exactly.
//!
//! Weighted round robin is a cycle: of every `sum of weights` connections in a row, each real
//! server gets exactly its weight, wherever in the cycle counting begins. What is left over after
//! the last whole cycle may fall either way.

use std::collections::BTreeMap;

use super::Settings;
use super::observe::{self, counts};
use crate::report::{Check, Spread};
use crate::{Error, Host, Lab, Report};

pub(super) fn run(
    lab: &mut Lab,
    settings: &Settings,
    report: &mut Report,
) -> Result<Vec<Check>, Error> {
    let mut checks = Vec::new();
    for weights in [[1, 1], [3, 1]] {
        if weights != [1, 1] {
            set(lab, weights)?;
        }
        let sequence = observe::request(lab, settings.requests)?;
        let spread = judge(weights, sequence);
        checks.push(Check::that(
            format!(
                "{} requests at {}:{}: {}",
                settings.requests,
                weights[0],
                weights[1],
                ranges(&spread)
            ),
            is_exact(&spread),
            counts(&spread.requests),
        ));
        report.spread.push(spread);
    }
    set(lab, [1, 1])?;
    Ok(checks)
}

fn set(lab: &Lab, weights: [u32; 2]) -> Result<(), Error> {
    for (server, weight) in Host::SERVERS.into_iter().zip(weights) {
        lab.set_weight(server, weight)?;
    }
    Ok(())
}

fn judge(weights: [u32; 2], sequence: Vec<Host>) -> Spread {
    let total = u32::try_from(sequence.len()).unwrap_or(u32::MAX);
    let cycle: u32 = weights.iter().sum();
    let (cycles, left) = (total / cycle, total % cycle);
    let weights: BTreeMap<Host, u32> = Host::SERVERS.into_iter().zip(weights).collect();
    let expected = weights.iter().map(|(server, weight)| {
        let others = cycle - weight;
        let least = cycles * weight + left.saturating_sub(others);
        (*server, [least, cycles * weight + left.min(*weight)])
    });
    Spread {
        scheduler: "wrr",
        expected: expected.collect(),
        requests: observe::tally(&sequence),
        weights,
        sequence,
    }
}

fn is_exact(spread: &Spread) -> bool {
    spread.expected.iter().all(|(server, [least, most])| {
        let got = spread.requests.get(server).unwrap_or(&0);
        (least..=most).contains(&got)
    })
}

/// `rs1 15, rs2 5`, or `rs1 15 to 16, rs2 5 to 6`
fn ranges(spread: &Spread) -> String {
    let each = spread.expected.iter().map(|(server, [least, most])| {
        if least == most {
            format!("{server} {least}")
        } else {
            format!("{server} {least} to {most}")
        }
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(rs1: usize, rs2: usize) -> Vec<Host> {
        [vec![Host::Rs1; rs1], vec![Host::Rs2; rs2]].concat()
    }

    #[test]
    fn whole_cycles_must_spread_exactly_as_the_weights() {
        assert!(is_exact(&judge([3, 1], sequence(15, 5))));
        assert!(!is_exact(&judge([3, 1], sequence(14, 6))));
        assert!(is_exact(&judge([1, 1], sequence(10, 10))));
        assert!(!is_exact(&judge([1, 1], sequence(11, 9))));
    }

    #[test]
    fn a_begun_cycle_may_fall_either_way_but_no_further() {
        for (rs1, rs2, exact) in [(5, 1, true), (4, 2, true), (3, 3, false), (6, 0, false)] {
            assert_eq!(
                is_exact(&judge([3, 1], sequence(rs1, rs2))),
                exact,
                "{rs1}:{rs2}"
            );
        }
        assert_eq!(
            ranges(&judge([3, 1], sequence(5, 1))),
            "rs1 4 to 5, rs2 1 to 2"
        );
    }
}
