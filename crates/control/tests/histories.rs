//! Over random histories, what is published chooses as IPVS's model does.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use api::{DestinationSettings, SchedulerFlags};
use common::play::{Both, question};
use common::web;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Add(u8, u32),
    Edit(u8, u32),
    Delete(u8),
    Link(u8, bool),
    Scheduler(&'static str, bool, bool),
    Restart,
    Picks(u8, u16),
}

const WITH_TABLES: [&str; 5] = ["rr", "wrr", "dh", "sh", "mh"];

/// Weights that share divisors now and then, that jump, and that are zero.
fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0_u32..8,
        3 => (1_u32..6).prop_map(|n| n * 10),
        1 => Just(100),
    ]
}

fn step(schedulers: &'static [&'static str]) -> impl Strategy<Value = Step> {
    let name = 0_u8..6;
    let scheduler = prop::sample::select(schedulers);
    prop_oneof![
        4 => (name.clone(), weight()).prop_map(|(name, weight)| Step::Add(name, weight)),
        3 => (name.clone(), weight()).prop_map(|(name, weight)| Step::Edit(name, weight)),
        2 => name.clone().prop_map(Step::Delete),
        5 => (name, prop::bool::weighted(0.7)).prop_map(|(name, usable)| Step::Link(name, usable)),
        1 => (scheduler, any::<bool>(), any::<bool>())
            .prop_map(|(name, fallback, port)| Step::Scheduler(name, fallback, port)),
        1 => Just(Step::Restart),
        6 => (0_u8..40, any::<u16>()).prop_map(|(count, seed)| Step::Picks(count, seed)),
    ]
}

fn flags(fallback: bool, port: bool) -> SchedulerFlags {
    let flag = |on, flag| if on { flag } else { SchedulerFlags::NONE };
    flag(fallback, SchedulerFlags::FLAG_1).with(flag(port, SchedulerFlags::FLAG_2))
}

fn server(n: u8) -> SocketAddr {
    SocketAddr::new(common::server(n), 80)
}

fn client(seed: u16, n: u8) -> SocketAddr {
    let bits = u32::from(seed)
        .wrapping_mul(2_654_435_761)
        .wrapping_add(n.into());
    SocketAddr::new(Ipv4Addr::from_bits(bits).into(), 1024 + u16::from(n))
}

fn replay(steps: &[Step], first: &str) -> Result<(), TestCaseError> {
    let mut both = Both::new(web(), first, SchedulerFlags::NONE);
    let vip: IpAddr = web().address().unwrap().ip();
    // What a daemon would have written: a state, and what each step changed.
    both.world.written = Some(both.world.state.clone());
    for step in steps {
        match *step {
            Step::Add(n, weight) if !both.has(server(n)) => {
                both.add(server(n), DestinationSettings::of(weight));
            }
            Step::Edit(n, weight) if both.has(server(n)) => {
                both.edit(server(n), DestinationSettings::of(weight));
            }
            Step::Delete(n) if both.has(server(n)) => both.delete(server(n)),
            Step::Link(n, usable) => both.link(server(n), usable),
            Step::Scheduler(name, fallback, port) => {
                both.set_scheduler(name, flags(fallback, port));
            }
            Step::Restart => {
                let text = serde_json::to_string(&both.world.state).unwrap();
                both.world.state = serde_json::from_str(&text).unwrap();
                both.world.run(dirigo_control::Event::Resume);
            }
            Step::Picks(count, seed) => {
                for n in 0..count {
                    let question = question(client(seed, n), vip);
                    let expected = both.expected(&question);
                    if both.published_list().is_none() {
                        prop_assert_eq!(both.chosen(&question), expected);
                    }
                }
            }
            _ => {}
        }
        // What lists choose by is what the model chooses by: the order, and who is in it.
        if let Some((_, published)) = both.published_list() {
            let listed: Vec<SocketAddr> = both.model.list().iter().map(|one| one.address).collect();
            prop_assert_eq!(published, listed);
        }
        prop_assert_eq!(both.world.written.as_ref(), Some(&both.world.state));
        for one in both.model.list() {
            let id = both.world.id(web(), one.address.ip());
            prop_assert_eq!(both.world.maps.weights[&id], one.weight);
        }
    }
    Ok(())
}

const ALL: [&str; 14] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rr_picks_as_a_walk_of_the_list_over_any_history(
        steps in prop::collection::vec(step(&["rr", "wrr"]), 1..60)
    ) {
        replay(&steps, "rr")?;
    }

    #[test]
    fn wrr_picks_as_a_walk_of_the_list_over_any_history(
        steps in prop::collection::vec(step(&["rr", "wrr"]), 1..60)
    ) {
        replay(&steps, "wrr")?;
    }

    #[test]
    fn tables_are_those_of_the_model_over_any_history(
        steps in prop::collection::vec(step(&WITH_TABLES), 1..40),
        first in prop::sample::select(&WITH_TABLES[..]),
    ) {
        replay(&steps, first)?;
    }

    #[test]
    fn lists_and_weights_are_those_of_the_model_over_any_history(
        steps in prop::collection::vec(step(&ALL), 1..40),
        first in prop::sample::select(&ALL[..]),
    ) {
        replay(&steps, first)?;
    }
}
