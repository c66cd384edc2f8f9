//! The order of picks, against the text of `ipvs.md` 2.2 and against what the kernel did.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::IpAddr;

use proptest::prelude::*;

use common::{World, server, web};

/// A model written from the text alone: a list, walked.
mod walk {
    /// A destination: who, weight, and whether it is flagged (skipped in place).
    #[derive(Clone)]
    pub struct Entry {
        pub name: u8,
        pub weight: i64,
        pub overloaded: bool,
    }

    /// Newest first. `cl` is the last choice; `None` is the head.
    pub struct Rr {
        pub list: Vec<Entry>,
        pub cl: Option<u8>,
    }

    impl Rr {
        pub fn pick(&mut self) -> Option<u8> {
            let n = self.list.len();
            let from = match self.cl {
                Some(cl) => self.list.iter().position(|e| e.name == cl).unwrap() + 1,
                None => 0,
            };
            for step in 0..n {
                let entry = &self.list[(from + step) % n];
                if entry.weight > 0 && !entry.overloaded {
                    self.cl = Some(entry.name);
                    return self.cl;
                }
            }
            None
        }

        pub fn delete(&mut self, name: u8) {
            let at = self.list.iter().position(|e| e.name == name).unwrap();
            if self.cl == Some(name) {
                self.cl = (at > 0).then(|| self.list[at - 1].name);
            }
            self.list.remove(at);
        }
    }

    pub struct Wrr {
        pub list: Vec<Entry>,
        pub cl: Option<u8>,
        pub cw: i64,
        pub mw: i64,
        pub di: i64,
    }

    fn gcd(a: i64, b: i64) -> i64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }

    impl Wrr {
        pub fn start(list: Vec<Entry>) -> Self {
            let mut wrr = Self {
                list,
                cl: None,
                cw: 0,
                mw: 0,
                di: 1,
            };
            wrr.measure();
            wrr.cw = wrr.mw;
            wrr
        }

        fn measure(&mut self) {
            let weights = || self.list.iter().map(|e| e.weight).filter(|w| *w > 0);
            let di = weights().fold(0, gcd);
            let mw = weights().max().unwrap_or(0);
            self.di = if di == 0 { 1 } else { di };
            self.mw = mw - (self.di - 1);
        }

        pub fn changed(&mut self) {
            self.measure();
            self.cl = None;
            if self.cw > self.mw || self.cw == 0 {
                self.cw = self.mw;
            } else if self.di > 1 {
                self.cw = self.cw / self.di * self.di + 1;
            }
        }

        pub fn pick(&mut self) -> Option<u8> {
            if self.mw == 0 || !self.list.iter().any(|e| e.weight > 0 && !e.overloaded) {
                return None;
            }
            let mut next = match self.cl {
                Some(cl) => self.list.iter().position(|e| e.name == cl).unwrap() + 1,
                None => 0,
            };
            loop {
                while next < self.list.len() {
                    let entry = &self.list[next];
                    if entry.weight >= self.cw && !entry.overloaded {
                        self.cl = Some(entry.name);
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
}

enum Model {
    Rr(walk::Rr),
    Wrr(walk::Wrr),
}

impl Model {
    fn list(&mut self) -> &mut Vec<walk::Entry> {
        match self {
            Self::Rr(rr) => &mut rr.list,
            Self::Wrr(wrr) => &mut wrr.list,
        }
    }

    fn has(&mut self, name: u8) -> bool {
        self.list().iter().any(|entry| entry.name == name)
    }

    fn add(&mut self, name: u8, weight: u32, overloaded: bool) {
        let entry = walk::Entry {
            name,
            weight: weight.into(),
            overloaded,
        };
        self.list().insert(0, entry);
        self.changed();
    }

    fn edit(&mut self, name: u8, weight: u32) {
        for entry in self.list() {
            if entry.name == name {
                entry.weight = weight.into();
            }
        }
        self.changed();
    }

    fn delete(&mut self, name: u8) {
        match self {
            Self::Rr(rr) => rr.delete(name),
            Self::Wrr(wrr) => {
                wrr.list.retain(|entry| entry.name != name);
                wrr.changed();
            }
        }
    }

    fn flag(&mut self, name: u8, overloaded: bool) {
        for entry in self.list() {
            if entry.name == name {
                entry.overloaded = overloaded;
            }
        }
    }

    fn switch(&mut self, wrr: bool) {
        let list = self.list().clone();
        match (wrr, &self) {
            (true, Self::Rr(_)) => *self = Self::Wrr(walk::Wrr::start(list)),
            (false, Self::Wrr(_)) => *self = Self::Rr(walk::Rr { list, cl: None }),
            _ => {}
        }
    }

    fn changed(&mut self) {
        if let Self::Wrr(wrr) = self {
            wrr.changed();
        }
    }

    fn pick(&mut self) -> Option<u8> {
        match self {
            Self::Rr(rr) => rr.pick(),
            Self::Wrr(wrr) => wrr.pick(),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8, u32),
    Edit(u8, u32),
    Delete(u8),
    Resolve(u8),
    Lose(u8),
    Scheduler(bool),
    Restart,
    Picks(u8),
}

/// Weights that share divisors now and then, that jump, and that are zero.
fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0_u32..8,
        3 => (1_u32..6).prop_map(|n| n * 10),
        1 => Just(100),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0_u8..6;
    prop_oneof![
        4 => (name.clone(), weight()).prop_map(|(name, weight)| Step::Add(name, weight)),
        3 => (name.clone(), weight()).prop_map(|(name, weight)| Step::Edit(name, weight)),
        2 => name.clone().prop_map(Step::Delete),
        4 => name.clone().prop_map(Step::Resolve),
        2 => name.prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Scheduler),
        1 => Just(Step::Restart),
        6 => (0_u8..40).prop_map(Step::Picks),
    ]
}

fn replay(steps: &[Step], start_with_wrr: bool) -> Result<(), TestCaseError> {
    let mut world = World::new();
    world.add_service(web(), if start_with_wrr { "wrr" } else { "rr" });
    let mut model = if start_with_wrr {
        Model::Wrr(walk::Wrr::start(Vec::new()))
    } else {
        Model::Rr(walk::Rr {
            list: Vec::new(),
            cl: None,
        })
    };
    for step in steps {
        match *step {
            Step::Add(name, weight) if !model.has(name) => {
                world.add(web(), server(name), weight);
                model.add(name, weight, true);
            }
            Step::Edit(name, weight) if model.has(name) => {
                world.edit(web(), server(name), weight);
                model.edit(name, weight);
            }
            Step::Delete(name) if model.has(name) => {
                world.delete(web(), server(name));
                model.delete(name);
            }
            Step::Resolve(name) => {
                world.resolve(server(name));
                model.flag(name, false);
            }
            Step::Lose(name) => {
                world.lose(server(name));
                model.flag(name, true);
            }
            Step::Scheduler(wrr) => {
                world
                    .change(api::Change::EditService {
                        service: web(),
                        settings: common::scheduler(if wrr { "wrr" } else { "rr" }),
                    })
                    .unwrap();
                model.switch(wrr);
            }
            Step::Restart => {
                let text = serde_json::to_string(&world.state).unwrap();
                world.state = serde_json::from_str(&text).unwrap();
                world.run(dirigo_control::Event::Resume);
            }
            Step::Picks(count) => {
                for _ in 0..count {
                    let expected = model.pick().map(server);
                    prop_assert_eq!(world.pick(web()), expected);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn rr_picks_as_a_walk_of_the_list_over_any_history(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        replay(&steps, false)?;
    }

    #[test]
    fn wrr_picks_as_a_walk_of_the_list_over_any_history(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        replay(&steps, true)?;
    }
}

/// A service whose destinations A, B, C … (in list order) have these weights, made at once:
/// the scheduler is set last, so that `wrr` starts at its highest weight.
fn made_at_once(weights: &[u32]) -> World {
    let mut world = World::new();
    world.add_service(web(), "rr");
    for (index, weight) in weights.iter().enumerate().rev() {
        world.add_resolved(web(), server(index as u8), *weight);
    }
    world
        .change(api::Change::EditService {
            service: web(),
            settings: common::scheduler("wrr"),
        })
        .unwrap();
    world
}

fn letters(picks: &[IpAddr]) -> String {
    let letter = |address: &IpAddr| {
        let index = (0..26).find(|n| server(*n) == *address).unwrap();
        char::from(b'A' + index)
    };
    picks.iter().map(letter).collect()
}

#[test]
fn wrr_makes_the_cycles_of_the_table_twice_over() {
    let table: [(&[u32], &str); 6] = [
        (&[4, 3, 2], "AABABCABC"),
        (&[1, 1, 1], "ABC"),
        (&[5, 1, 1], "AAAAABC"),
        (&[2, 0, 1], "AAC"),
        (&[6, 4, 2], "AABABC"),
        (&[10, 20, 30], "CBCABC"),
    ];
    for (weights, cycle) in table {
        let mut world = made_at_once(weights);
        let picks = world.picks(web(), cycle.len() * 2);
        assert_eq!(letters(&picks), cycle.repeat(2), "weights {weights:?}");
    }
}

#[test]
fn a_weight_edited_within_a_wrr_cycle_goes_on_at_the_same_level() {
    let mut world = made_at_once(&[4, 3, 2]);
    assert_eq!(letters(&world.picks(web(), 4)), "AABA");

    world.edit(web(), server(2), 6);

    assert_eq!(letters(&world.picks(web(), 12)), "ABCABCCCACAB");
}

#[test]
fn a_weight_edited_after_a_whole_wrr_cycle_goes_on_at_the_lowest_level() {
    let mut world = made_at_once(&[4, 3, 2]);
    world.picks(web(), 9);

    world.edit(web(), server(2), 6);

    assert_eq!(letters(&world.picks(web(), 6)), "ABCCCA");
}

#[test]
fn a_weight_edited_before_any_pick_leaves_wrr_at_its_first_level() {
    let mut world = made_at_once(&[4, 3, 2]);

    world.edit(web(), server(2), 6);

    assert_eq!(letters(&world.picks(web(), 6)), "ACABCA");
}

#[test]
fn a_wrr_service_filled_by_successive_adds_starts_at_its_lowest_level() {
    let mut world = World::new();
    world.add_service(web(), "wrr");
    for (index, weight) in [(2, 2), (1, 3), (0, 4)] {
        world.add_resolved(web(), server(index), weight);
    }

    assert_eq!(letters(&world.picks(web(), 12)), "ABCAABABCABC");
}

#[test]
fn the_largest_weights_need_few_segments_and_keep_their_order() {
    let mut world = made_at_once(&[2_147_483_647, 2_147_483_646, 1]);
    let rotation = &world.maps.published[&web()].rotation;
    assert!(rotation.segments.len() <= 3);
    assert_eq!(rotation.cycle(), 2_147_483_647 + 2_147_483_646 + 1);

    assert_eq!(letters(&world.picks(web(), 5)), "AABAB");
    // Two billion picks later: the lowest level, then the cycle again.
    let service = world.state.services[&web()].id;
    let published = world.maps.published[&web()].since;
    world
        .maps
        .picks
        .insert(service, published + 4_294_967_294 - 3);
    assert_eq!(letters(&world.picks(web(), 6)), "ABCAAB");
}

#[test]
fn deleting_the_destination_that_rr_chose_last_goes_on_after_its_predecessor() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    for index in [2, 1, 0] {
        world.add_resolved(web(), server(index), 1);
    }
    assert_eq!(letters(&world.picks(web(), 2)), "AB");

    world.delete(web(), server(1));

    assert_eq!(letters(&world.picks(web(), 3)), "CAC");
}

#[test]
fn without_an_eligible_destination_nothing_is_picked_and_the_place_is_kept() {
    let mut world = made_at_once(&[4, 3, 2]);
    world.picks(web(), 2);
    for index in 0..3 {
        world.lose(server(index));
    }

    assert_eq!(world.pick(web()), None);

    for index in 0..3 {
        world.resolve(server(index));
    }
    assert_eq!(letters(&world.picks(web(), 3)), "BAB");
}

/// One recording: the commands that made the table, then who got each connection.
fn replay_recording(name: &str, text: &str) {
    let mut world = World::new();
    let (mut service, mut picks) = (None, 0);
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("# ipvsadm ") {
            let words: Vec<&str> = command.split_whitespace().collect();
            let key = common::key(&format!("udp:{}", words[2]));
            if words[0] == "-A" {
                world.add_service(key, words[4]);
                service = Some(key);
            } else {
                let address: std::net::SocketAddr = words[4].parse().unwrap();
                world.add_resolved(key, address.ip(), words[7].parse().unwrap());
            }
            continue;
        }
        let (_, server) = line.split_once('\t').unwrap();
        let picked = world.pick(service.unwrap()).unwrap();
        assert_eq!(
            picked,
            server.parse::<IpAddr>().unwrap(),
            "{name}, pick {picks}"
        );
        picks += 1;
    }
    assert!(picks >= 64, "{name} holds {picks} picks only");
}

#[test]
fn the_choices_recorded_from_the_kernel_are_ours() {
    for (name, text) in [
        ("rr.1-1-1", include_str!("data/rr.1-1-1.tsv")),
        ("rr.1-2-3", include_str!("data/rr.1-2-3.tsv")),
        ("rr.100-50-25", include_str!("data/rr.100-50-25.tsv")),
        ("rr.6-4-2", include_str!("data/rr.6-4-2.tsv")),
        ("wrr.1-1-1", include_str!("data/wrr.1-1-1.tsv")),
        ("wrr.1-2-3", include_str!("data/wrr.1-2-3.tsv")),
        ("wrr.100-50-25", include_str!("data/wrr.100-50-25.tsv")),
        ("wrr.4-3-2-1-0", include_str!("data/wrr.4-3-2-1-0.tsv")),
    ] {
        replay_recording(name, text);
    }
}
