//! What is published, chosen from by the data path's own code: over random histories with connections that
//! begin and end, the destination is the one that IPVS's model names. All schedulers; thresholds of all but
//! `rr` and `wrr`.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::SeqCst;

use api::{DestinationSettings, SchedulerFlags};
use common::play::{Both, question};
use common::web;
use director::arrival::Arrival;
use director::memory::{MemoryTables, mapped, service_key};
use director::scheduler::{Kind, choose, is_renewed};
use director::tables::{Link, Service, Weight, service_flag};
use dirigo_control::{Dynamic, Hash, Schedule};
use proptest::prelude::*;

const ALL: [&str; 14] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
];

#[derive(Clone, Debug)]
enum Step {
    Add(u8, u32, u32),
    Edit(u8, u32, u32),
    Delete(u8),
    Link(u8, bool),
    /// So many connections from a client to one of some virtual addresses.
    Connect(u8, u8, u16),
    /// The n-th living connection becomes active, inactive, or ends.
    Move(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0_u8..5;
    let terms = || (0_u32..6, prop_oneof![3 => Just(0_u32), 2 => 1_u32..6]);
    prop_oneof![
        4 => (name.clone(), terms()).prop_map(|(n, (weight, upper))| Step::Add(n, weight, upper)),
        2 => (name.clone(), terms()).prop_map(|(n, (weight, upper))| Step::Edit(n, weight, upper)),
        1 => name.clone().prop_map(Step::Delete),
        4 => (name, prop::bool::weighted(0.8)).prop_map(|(n, usable)| Step::Link(n, usable)),
        6 => (1_u8..8, 0_u8..3, any::<u16>()).prop_map(|(count, vip, seed)| Step::Connect(count, vip, seed)),
        6 => any::<usize>().prop_map(Step::Move),
    ]
}

fn settings(weight: u32, upper: u32) -> DestinationSettings {
    DestinationSettings {
        upper_threshold: upper,
        lower_threshold: upper / 2,
        ..DestinationSettings::of(weight)
    }
}

fn server(n: u8) -> SocketAddr {
    SocketAddr::new(common::server(n), 80)
}

/// A connection: whose, and whether it is active.
struct Living {
    name: u32,
    is_active: bool,
}

struct Play {
    both: Both,
    tables: MemoryTables,
    living: Vec<Living>,
}

impl Play {
    fn new(scheduler: &str, flags: SchedulerFlags) -> Self {
        Self {
            both: Both::new(web(), scheduler, flags),
            tables: MemoryTables::new(1 << 10, [3, 5, 7, 9, 11, 13, 15, 17]),
            living: Vec::new(),
        }
    }

    /// Writes what control says and what the model counts.
    fn write(&mut self) -> Service {
        let world = &self.both.world;
        let published = &world.maps.published[&web()];
        for one in self.both.model.list() {
            let id = world.id(web(), one.address.ip());
            let is_reachable = !matches!(world.maps.reach[&id], dirigo_control::Reach::Unresolved);
            let mac = director::headers::Mac::from_bytes([2, 0, 0, 0, 0, 9]);
            let link = if is_reachable {
                Link::via(mac, 0)
            } else {
                Link::UNRESOLVED
            };
            self.tables.links.insert(id, link.0);
            let flag = if one.overloaded { Weight::OVERLOAD } else { 0 };
            let weight = Weight::new(world.maps.weights[&id], published.service).0 | flag;
            let standing = &self.tables.standings[id as usize];
            standing.weight.store(weight, SeqCst);
            let thresholds = u64::from(one.upper) << 32 | u64::from(one.lower);
            standing.thresholds.store(thresholds, SeqCst);
            let gauge = u64::from(one.active) << 32 | u64::from(one.inactive);
            self.tables.gauges[id as usize].store(gauge, SeqCst);
        }
        for id in world.state.trash.keys() {
            self.tables.links.insert(*id, Link::GONE.0);
        }
        self.publish()
    }

    fn publish(&mut self) -> Service {
        let published = self.both.world.maps.published[&web()].clone();
        let address = web().address().unwrap();
        let key = service_key(address.ip(), address.port(), 6);
        self.tables.segments.clear();
        self.tables.rotation_slots.clear();
        let id = published.service;
        let picks = self.both.world.maps.picks[&id];
        self.tables.picks[id as usize].store(picks, SeqCst);
        match &published.schedule {
            Schedule::Rotation(rotation) => {
                let cycle = rotation.cycle().max(1);
                let first = (rotation.first + cycle - published.since % cycle) % cycle;
                let segments = rotation.segments.iter();
                let segments: Vec<_> = segments
                    .map(|one| (one.end, one.destinations.clone()))
                    .collect();
                self.tables.publish(key, id, first, &segments);
            }
            Schedule::Table { hash, slots, .. } => {
                let kind = match hash {
                    Hash::Destination => Kind::DH,
                    Hash::Source => Kind::SH,
                    Hash::Maglev => Kind::MH,
                };
                self.tables.publish_list(key, id, kind, slots);
            }
            Schedule::List {
                scheduler,
                destinations,
            } => self
                .tables
                .publish_list(key, id, kind(*scheduler), destinations),
        }
        let service = self.tables.services.get_mut(&key).unwrap();
        if let Schedule::Table {
            with_port,
            fallback,
            ..
        } = published.schedule
        {
            service.flags = (u32::from(with_port) * service_flag::WITH_PORT)
                | (u32::from(fallback) * service_flag::FALLBACK);
        }
        *service
    }

    /// A new connection: whom the data path's code chooses, and whom the model.
    fn connect(&mut self, client: SocketAddr, vip: IpAddr) -> Result<(), TestCaseError> {
        let service = self.write();
        let mut asked = question(client, vip);
        asked.draws = draws(self.tables.seed.get());
        let expected = self.both.expected(&asked);
        let arrival = Arrival {
            client: mapped(client.ip()),
            virtual_address: mapped(vip),
            hash: 0,
            ports: u32::from(client.port()) << 16 | 80,
            source: ipvs_model::fold(client.ip()),
            destination: ipvs_model::fold(vip),
            tick: 1000,
            protocol: 6,
            version: 4,
            state: 0,
            may_begin: 1,
        };
        let id = choose(&service, &arrival, &self.tables);
        let world = &mut self.both.world;
        let picks = self.tables.picks[service.id as usize].load(SeqCst);
        // A walk that finds nobody may move the turn as well, as in IPVS.
        world.maps.picks.insert(service.id, picks);
        let chosen = world.state.destinations.get(&id).map(|one| one.address);
        prop_assert_eq!(chosen, expected);
        if let Some(address) = expected {
            let name = self.both.name_of(address);
            self.both.model.bind(name);
            self.living.push(Living {
                name,
                is_active: false,
            });
        }
        Ok(())
    }

    fn move_on(&mut self, n: usize) {
        let Some(index) = n.checked_rem(self.living.len()) else {
            return;
        };
        let (model, one) = (&mut self.both.model, &mut self.living[index]);
        match (n / 7 % 3, one.is_active) {
            (0, false) => model.activate(one.name),
            (0, true) => model.deactivate(one.name),
            _ => {
                let one = self.living.remove(index);
                return self.both.model.unbind(one.name, one.is_active);
            }
        }
        one.is_active = !one.is_active;
    }

    /// One step; what cannot be at this moment is passed over.
    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Add(n, weight, upper) if !self.both.has(server(n)) => {
                self.both.add(server(n), settings(weight, upper));
            }
            Step::Edit(n, weight, upper) if self.both.has(server(n)) => {
                self.both.edit(server(n), settings(weight, upper));
            }
            Step::Delete(n) if self.both.has(server(n)) => self.both.delete(server(n)),
            Step::Link(n, usable) => self.both.link(server(n), usable),
            Step::Connect(count, vip, seed) => {
                for n in 0..count {
                    let [high, low] = seed.to_be_bytes();
                    let client = SocketAddr::from(([10, high, low, n], 1024 + u16::from(n)));
                    self.connect(client, IpAddr::from([192, 0, 2, 100 + vip]))?;
                }
            }
            Step::Move(n) => self.move_on(n),
            _ => {}
        }
        Ok(())
    }
}

fn kind(scheduler: Dynamic) -> Kind {
    match scheduler {
        Dynamic::Lc => Kind::LC,
        Dynamic::Wlc => Kind::WLC,
        Dynamic::Sed => Kind::SED,
        Dynamic::Nq => Kind::NQ,
        Dynamic::Fo => Kind::FO,
        Dynamic::Ovf => Kind::OVF,
        Dynamic::Lblc => Kind::LBLC,
        Dynamic::Lblcr => Kind::LBLCR,
        Dynamic::Twos => Kind::TWOS,
    }
}

/// The two numbers that tables in memory will draw for `twos`.
fn draws(seed: u64) -> [u64; 2] {
    let mut seed = seed;
    let mut half = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        seed >> 32
    };
    [(); 2].map(|()| half() << 32 | half())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_data_paths_code_chooses_whom_the_model_names(
        scheduler in prop::sample::select(&ALL[..]),
        fallback: bool,
        port: bool,
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let flag = |on: bool, flag| if on { flag } else { SchedulerFlags::NONE };
        let flags = flag(fallback, SchedulerFlags::FLAG_1).with(flag(port, SchedulerFlags::FLAG_2));
        let mut play = Play::new(scheduler, flags);
        for step in steps {
            play.take(step)?;
        }
    }
}

/// In a history of chance everybody is overloaded too seldom, and the list changed at once after it.
#[test]
fn wrr_begins_a_cycle_anew_when_all_were_overloaded_and_the_list_changes_before_the_next_pick() {
    let mut play = Play::new("wrr", SchedulerFlags::NONE);
    let mut take = |steps: &[Step]| {
        for step in steps {
            play.take(step.clone()).unwrap();
        }
        play.both.world.maps.picks.values().sum::<u64>()
    };
    // One that nobody reaches keeps the levels apart; the third connection is refused.
    let refused = take(&[
        Step::Add(0, 1, 0),
        Step::Add(1, 3, 2),
        Step::Link(1, true),
        Step::Connect(3, 0, 1),
    ]);
    assert!(is_renewed(refused));
    let end_one = Step::Move(14);
    take(&[
        Step::Add(2, 4, 0),
        Step::Link(2, true),
        end_one.clone(),
        end_one,
        Step::Connect(6, 0, 2),
    ]);
}
