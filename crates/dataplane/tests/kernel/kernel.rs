//! The packet path as the kernel runs it, and its tables through their pins.

use std::collections::BTreeMap;
use std::mem::offset_of;

use aya::maps::{Array, MapData, PerCpuArray};
use director::tables::Settings;
use dirigo_dataplane::{Behaviour, Dataplane, Destination, Opened, Schedule};

use crate::native::{numbered, older_allowance, older_entry, slots_of};
use crate::support::Instance;
use crate::world::{Change, IDS, INGRESS, Known, LocalityWords, Received, Tables, Touched, Words};

/// Bytes of the settings' element, in words.
pub const SETTINGS_WORDS: usize = size_of::<Settings>() / 8;

/// Of a place where no address is remembered.
const NO_LOCALITY: LocalityWords = [0; size_of::<LocalityWords>() / 8];

/// An instance, loaded.
pub struct Kernel {
    pub plane: Dataplane,
    buckets: Array<MapData, [u64; 8]>,
    tuples: Array<MapData, Words>,
    populations: Array<MapData, [u64; 1]>,
    allowances: Array<MapData, [u64; 1]>,
    fragments: Array<MapData, [u64; 2]>,
    localities: Array<MapData, LocalityWords>,
    verdicts: PerCpuArray<MapData, u64>,
    /// What frames have touched since `clear`.
    touched: Touched,
    /// Counters as `clear` found them.
    counted: BTreeMap<&'static str, u64>,
    /// Last, so that the pins go after everything that uses them.
    pub instance: Instance,
}

impl Kernel {
    /// Loads an empty one.
    pub fn new(test: &str, connections_max: u32) -> Self {
        Self::open(Instance::new(test, connections_max)).0
    }

    /// The same with tables.
    pub fn with(test: &str, connections_max: u32, world: &[Change]) -> Self {
        let mut kernel = Self::new(test, connections_max);
        world.iter().for_each(|change| kernel.apply(change));
        kernel
    }

    /// Ends as a process does that is killed, and starts again.
    pub fn restart(self) -> (Self, Opened) {
        let Self {
            plane, instance, ..
        } = self;
        drop(plane);
        Self::open(instance)
    }

    /// Loads the instance over the pins that it may have.
    pub fn open(instance: Instance) -> (Self, Opened) {
        let (plane, opened) = instance.open();
        let kernel = Self {
            plane,
            buckets: instance.array("BUCKETS"),
            tuples: instance.array("TUPLES"),
            populations: instance.array("POPULATIONS"),
            allowances: instance.array("ALLOWANCES"),
            fragments: instance.array("FRAGMENTS"),
            localities: instance.array("LOCALITIES"),
            verdicts: instance.per_cpu("VERDICTS"),
            touched: Touched::default(),
            counted: BTreeMap::new(),
            instance,
        };
        (kernel, opened)
    }

    pub fn settings(&self) -> Settings {
        self.plane.settings().unwrap()
    }

    /// Replaces the random keys; nothing may be remembered yet.
    pub fn write_hash_keys(&mut self, hash_keys: [u64; 8]) {
        let mut settings = self.instance.array::<SETTINGS_WORDS>("SETTINGS");
        let mut words = settings.get(&0, 0).unwrap();
        let at = offset_of!(Settings, hash_keys) / 8;
        words[at..at + 8].copy_from_slice(&hash_keys);
        settings.set(0, words, 0).unwrap();
    }

    /// Makes the tables empty again; loading anew would take half a second.
    pub fn clear(&mut self) {
        for (key, _) in self.plane.services() {
            self.plane.withdraw_service(&key).unwrap();
        }
        self.plane.write_vips(&[]);
        self.plane.write_marks(&[]).unwrap();
        self.plane.write_timeouts(900, 120, 300);
        self.plane.write_behaviour(&Behaviour::default());
        for slot in 0..16 {
            self.plane.write_interface(slot, 0, [0; 6]);
        }
        for id in 1..IDS {
            let unresolved = dirigo_dataplane::DestinationLink::Unresolved;
            self.plane.write_destination(id, unresolved);
            self.plane.reset_destination(id).unwrap();
        }
        for id in 0..IDS {
            self.populations.set(id, [0], 0).unwrap();
        }
        for number in 0..self.buckets.len() {
            if self.buckets.get(&number, 0).unwrap() != [0; 8] {
                self.buckets.set(number, [0; 8], 0).unwrap();
            }
        }
        let touched = std::mem::take(&mut self.touched);
        for number in touched.allowances {
            self.allowances.set(number, [0], 0).unwrap();
        }
        for number in touched.fragments {
            self.fragments.set(number, [0; 2], 0).unwrap();
        }
        for number in touched.localities {
            self.localities.set(number, NO_LOCALITY, 0).unwrap();
        }
        self.counted = self.plane.counters().into_iter().collect();
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Vips(vips) => self.plane.write_vips(vips),
            Change::Interface(slot, index, mac) => {
                self.plane.write_interface(*slot, *index, *mac);
            }
            Change::Publish {
                key,
                id,
                segments,
                first,
            } => self
                .plane
                .publish_service(key, *id, segments, *first)
                .unwrap(),
            Change::PublishWith {
                key,
                id,
                rules,
                segments,
                first,
            } => {
                let schedule = Schedule::Rotation {
                    segments: segments.clone(),
                    first: *first,
                };
                self.plane.publish(key, *id, rules, &schedule).unwrap();
            }
            Change::Withdraw(key) => self.plane.withdraw_service(key).unwrap(),
            Change::Schedule {
                key,
                id,
                rules,
                schedule,
            } => self.plane.publish(key, *id, rules, schedule).unwrap(),
            Change::Standing(id, link, standing) => {
                let destination = Destination {
                    link: *link,
                    standing: *standing,
                };
                self.plane.write_destination(*id, destination);
            }
            Change::Marks(rules) => self.plane.write_marks(rules).unwrap(),
            Change::Link(id, link) => self.plane.write_destination(*id, *link),
            Change::Drained(id, link) => {
                let mut destination = Destination::from(*link);
                destination.standing.weight = 0;
                self.plane.write_destination(*id, destination);
            }
            Change::Behave(behaviour) => self.plane.write_behaviour(behaviour),
            Change::Timeouts(tcp, fin, udp) => self.plane.write_timeouts(*tcp, *fin, *udp),
            Change::Age(seconds) => self.age(*seconds),
            Change::Sweep => {
                self.plane.sweep(self.buckets.len() as usize);
            }
        }
    }

    fn age(&mut self, seconds: u32) {
        self.edit_slots(|tag, entry| (tag, older_entry(entry, seconds)));
        for number in &self.touched.allowances {
            let [word] = self.allowances.get(number, 0).unwrap();
            let word = older_allowance(word, seconds);
            self.allowances.set(*number, [word], 0).unwrap();
        }
        for number in &self.touched.fragments {
            let [tag, entry] = self.fragments.get(number, 0).unwrap();
            let slot = [tag, older_entry(entry, seconds)];
            self.fragments.set(*number, slot, 0).unwrap();
        }
    }

    /// Changes tag and entry of every slot that is not empty.
    pub fn edit_slots(&mut self, edit: impl Fn(u64, u64) -> (u64, u64)) {
        for number in 0..self.buckets.len() {
            let bucket = self.buckets.get(&number, 0).unwrap();
            if bucket == [0; 8] {
                continue;
            }
            let mut edited = bucket;
            for slot in edited.chunks_exact_mut(2) {
                if slot[0] != 0 {
                    (slot[0], slot[1]) = edit(slot[0], slot[1]);
                }
            }
            self.buckets.set(number, edited, 0).unwrap();
        }
    }

    pub fn receive(&mut self, frame: &[u8]) -> Received {
        let outcome = self.plane.test_run(INGRESS, frame);
        let outcome = outcome.unwrap_or_else(|error| panic!("{} bytes: {error}", frame.len()));
        Received {
            action: outcome.action,
            frame: outcome.frame,
        }
    }

    /// How far a counter has moved since `clear`.
    pub fn moved(&self, number: u32) -> u64 {
        let count: u64 = self.verdicts.get(&number, 0).unwrap().iter().sum();
        let mut names = director::verdict::counter_names();
        let name = names.find(|(other, _)| *other == number).unwrap().1;
        count - self.before(name)
    }

    fn before(&self, name: &str) -> u64 {
        self.counted.get(name).copied().unwrap_or(0)
    }

    /// Counters that have moved since `clear`.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        let now = self.plane.counters().into_iter();
        let moved = now.map(|(name, count)| (name, count - self.before(name)));
        moved.filter(|(_, count)| *count != 0).collect()
    }

    /// What frames have left behind; of the large tables only what the native twin touched.
    pub fn snapshot(&mut self, touched: &Touched) -> Tables {
        self.touch(touched);
        let mut connections = Vec::new();
        self.plane.connections(&mut |c| {
            connections.push(Known {
                protocol: c.protocol,
                client: c.client,
                virtual_address: c.virtual_address,
                destination: c.destination,
                state: c.state,
            });
        });
        connections.sort();
        let buckets = (0..self.buckets.len()).map(|n| self.buckets.get(&n, 0).unwrap());
        let slots = numbered(buckets.flat_map(slots_of));
        let plane = &self.plane;
        Tables {
            connections,
            tuples: slots
                .iter()
                .map(|slot| self.tuples.get(&slot.0, 0).unwrap())
                .collect(),
            slots,
            populations: (0..IDS)
                .map(|id| self.populations.get(&id, 0).unwrap()[0])
                .collect(),
            destinations: (1..IDS)
                .map(|id| (id, (plane.gauges(id), plane.destination_stats(id))))
                .collect(),
            positions: (1..IDS).map(|id| (id, plane.position(id))).collect(),
            counters: self.counters(),
            allowances: touched
                .allowances
                .iter()
                .map(|n| (*n, self.allowances.get(n, 0).unwrap()[0]))
                .filter(|(_, word)| *word != 0)
                .collect(),
            fragments: touched
                .fragments
                .iter()
                .map(|n| (*n, self.fragments.get(n, 0).unwrap()))
                .collect(),
            localities: touched
                .localities
                .iter()
                .map(|n| (*n, self.localities.get(n, 0).unwrap()))
                .collect(),
        }
    }

    /// Forgets every allowance, every fragment and every locality, whoever touched it.
    pub fn wipe(&mut self) {
        for number in 0..self.allowances.len() {
            self.allowances.set(number, [0], 0).unwrap();
        }
        for number in 0..self.fragments.len() {
            self.fragments.set(number, [0; 2], 0).unwrap();
        }
        for number in 0..self.localities.len() {
            self.localities.set(number, NO_LOCALITY, 0).unwrap();
        }
    }

    /// Remembers that frames may have touched these.
    pub fn touch(&mut self, touched: &Touched) {
        self.touched.allowances.extend(&touched.allowances);
        self.touched.fragments.extend(&touched.fragments);
        self.touched.localities.extend(&touched.localities);
    }
}
