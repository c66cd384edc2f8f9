//! The packet path as this process runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use director::Verdict;
use director::connection::{CLAIMED, Entry, FREE, State};
use director::limits::BUCKET_SLOTS;
use director::memory::{MemoryFrame, MemoryTables, default_timeouts, unmapped};
use director::scheduler::{Kind, picks_made};
use director::tables::{Gauge, Link, Locality, Tuple, Weight, setting};
use director::time::{SECOND_FINE_TICKS, ticks_from_seconds};
use dirigo_dataplane::{
    Behaviour, DestinationLink, MarkRule, Rules, Schedule, Segment, ServiceKey, Standing, Stats,
};
use zerocopy::IntoBytes;

use crate::sweep;
use crate::world::{Change, IDS, INGRESS, Known, LocalityWords, Received, Tables, Touched, Words};

/// Tables in memory.
pub struct Native {
    pub tables: MemoryTables,
    connections_max: usize,
    hash_keys: [u64; 8],
}

/// Keys when there is no kernel to take them from: odd ones last.
pub const HASH_KEYS: [u64; 8] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
    0xbe54_66cf_34e9_0c6d,
    0xc0ac_29b7_c97c_50dd,
    0x3f84_d5b5_b547_0917,
];

impl Native {
    pub fn new(connections_max: usize, hash_keys: [u64; 8]) -> Self {
        Self {
            tables: MemoryTables::new(connections_max, hash_keys),
            connections_max,
            hash_keys,
        }
    }

    /// Empty tables.
    pub fn clear(&mut self) {
        self.tables = MemoryTables::new(self.connections_max, self.hash_keys);
    }

    pub fn apply(&mut self, change: &Change) {
        let tables = &mut self.tables;
        match change {
            Change::Vips(vips) => {
                tables.vips.fill(0);
                vips.iter().for_each(|vip| tables.add_vip(*vip));
            }
            Change::Interface(slot, index, mac) => tables.set_egress(*slot, *index, *mac),
            Change::Publish {
                key,
                id,
                segments,
                first,
            } => self.publish(key, *id, &Rules::default(), segments, *first),
            Change::PublishWith {
                key,
                id,
                rules,
                segments,
                first,
            } => self.publish(key, *id, rules, segments, *first),
            Change::Withdraw(key) => {
                tables.services.remove(&key.element());
            }
            Change::Schedule {
                key,
                id,
                rules,
                schedule,
            } => {
                let kind = schedule.kind();
                tables.publish_list(key.element(), *id, kind, slots(schedule));
                let service = tables.services.get_mut(&key.element()).unwrap();
                service.flags = rules.flags(key) | schedule.flags();
                service.persistence = ticks_from_seconds(rules.persistence_s);
                service.client_mask = rules.client_mask;
                service.share = rules.share;
                if matches!(kind, Kind::LBLC | Kind::LBLCR) {
                    service.first = rules.memory;
                }
            }
            Change::Link(id, link) => self.stand(*id, *link, Standing::default()),
            Change::Standing(id, link, standing) => self.stand(*id, *link, *standing),
            Change::Marks(rules) => {
                tables.mark_rules = rules.iter().map(MarkRule::element).collect();
                tables.settings.as_mut().unwrap().marks = rules.len() as u32;
            }
            Change::Drained(id, link) => {
                let standing = Standing {
                    weight: 0,
                    ..Standing::default()
                };
                self.stand(*id, *link, standing);
            }
            Change::Behave(behaviour) => {
                let settings = tables.settings.as_mut().unwrap();
                settings.conn_reuse_mode = behaviour.conn_reuse_mode;
                settings.flags = flags_of(behaviour);
            }
            Change::Timeouts(tcp, fin, udp) => {
                let settings = tables.settings.as_mut().unwrap();
                settings.timeouts = default_timeouts();
                let changed = [
                    (State::ESTABLISHED, tcp),
                    (State::FIN_WAIT, fin),
                    (State::UDP, udp),
                ];
                for (state, seconds) in changed {
                    settings.timeouts[usize::from(state.0)] = ticks_from_seconds(*seconds);
                }
            }
            Change::Age(seconds) => self.age(*seconds),
            Change::Sweep => sweep::whole(tables),
        }
    }

    /// A new destination, or an edited one.
    fn stand(&mut self, id: u32, link: DestinationLink, standing: Standing) {
        let word = match standing.weight {
            0 => link_of(link).drained(),
            _ => link_of(link),
        };
        let present = &self.tables.standings[id as usize];
        let upper_before = present.thresholds.load(SeqCst) >> 32;
        let overloaded = present.weight.load(SeqCst) & Weight::OVERLOAD;
        let thresholds = (standing.upper_threshold, standing.lower_threshold);
        self.tables
            .set_standing(id, standing.weight, standing.service, thresholds);
        // As `ipvs.md` 2.1 has it: an edit opens, and closes nothing.
        let is_opened = thresholds.0 == 0 || u64::from(thresholds.0) > upper_before;
        if !is_opened {
            let weight = &self.tables.standings[id as usize].weight;
            weight.fetch_or(overloaded, SeqCst);
        }
        self.tables.links.insert(id, word.0);
    }

    fn publish(
        &mut self,
        key: &ServiceKey,
        id: u32,
        rules: &Rules,
        segments: &[Segment],
        first: u64,
    ) {
        let tables = &mut self.tables;
        let cycle = segments.last().map_or(0, |segment| segment.end);
        let picks = picks_made(tables.picks[id as usize].load(SeqCst));
        let turn = picks.checked_rem(cycle).unwrap_or(0);
        let first = (first + cycle - turn).checked_rem(cycle).unwrap_or(0);
        let list = segments.iter().map(|s| (s.end, s.destinations.clone()));
        let element = key.element();
        tables.publish(element, id, first, &list.collect::<Vec<_>>());
        let service = tables.services.get_mut(&element).unwrap();
        service.flags = rules.flags(key);
        service.persistence = ticks_from_seconds(rules.persistence_s);
        service.client_mask = rules.client_mask;
        service.share = rules.share;
    }

    fn age(&self, seconds: u32) {
        for slot in self.tables.buckets.iter().flat_map(|bucket| &bucket.slots) {
            let entry = slot.entry.load(SeqCst);
            slot.entry.store(older_entry(entry, seconds), SeqCst);
        }
        for fragment in &self.tables.fragments {
            let entry = fragment.entry.load(SeqCst);
            fragment.entry.store(older_entry(entry, seconds), SeqCst);
        }
        for allowance in &self.tables.reply_allowances {
            let word = allowance.load(SeqCst);
            allowance.store(older_allowance(word, seconds), SeqCst);
        }
    }

    pub fn receive(&mut self, bytes: &[u8]) -> (Verdict, Received) {
        let mut frame = MemoryFrame {
            bytes: bytes.to_vec(),
            ingress: INGRESS,
        };
        let verdict = director::forward(&mut frame, &self.tables);
        let received = Received {
            action: crate::world::action(verdict),
            frame: frame.bytes,
        };
        (verdict, received)
    }

    /// What frames have touched of the tables that are too large to be compared whole.
    pub fn touched(&self) -> Touched {
        let allowances = self.tables.reply_allowances.iter();
        let fragments = self.tables.fragments.iter();
        let localities = self.tables.localities.iter();
        Touched {
            localities: not_zero(localities.map(|place| place.tag.load(SeqCst))),
            allowances: not_zero(allowances.map(|word| word.load(SeqCst))),
            fragments: not_zero(fragments.map(|slot| slot.tag.load(SeqCst))),
        }
    }

    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.tables.counters_moved().into_iter().collect()
    }

    pub fn snapshot(&self) -> Tables {
        let slots = self.tables.buckets.iter().flat_map(|bucket| &bucket.slots);
        let words = slots.map(|slot| (slot.tag.load(SeqCst), slot.entry.load(SeqCst)));
        let slots: Vec<_> = numbered(words);
        let mut connections: Vec<Known> = slots
            .iter()
            .filter(|slot| !self.is_expired(slot.2))
            .map(|slot| self.known(*slot))
            .collect();
        connections.sort();
        let tuple_of = |slot: u32| director::Tables::tuple(&self.tables, slot).unwrap();
        let (statistics, touched) = (self.tables.statistics.borrow(), self.touched());
        let destination = |id: u32| {
            let sent = statistics.get(&id).copied().unwrap_or_default();
            let stats = Stats {
                connections: sent.connections,
                packets: sent.packets,
                bytes: sent.bytes,
            };
            (id, (Gauge::split(self.gauge(id).load(SeqCst)), stats))
        };
        Tables {
            connections,
            tuples: slots
                .iter()
                .map(|slot| words_of(&tuple_of(slot.0)))
                .collect(),
            slots,
            populations: (0..IDS)
                .map(|id| self.tables.populations[id as usize].load(SeqCst))
                .collect(),
            destinations: (1..IDS).map(destination).collect(),
            positions: (1..IDS).map(|id| (id, self.position(id))).collect(),
            counters: self.counters(),
            allowances: touched
                .allowances
                .into_iter()
                .map(|n| (n, self.tables.reply_allowances[n as usize].load(SeqCst)))
                .collect(),
            fragments: touched
                .fragments
                .into_iter()
                .map(|n| (n, &self.tables.fragments[n as usize]))
                .map(|(n, slot)| (n, [slot.tag.load(SeqCst), slot.entry.load(SeqCst)]))
                .collect(),
            localities: touched
                .localities
                .into_iter()
                .map(|n| (n, locality_words(&self.tables.localities[n as usize])))
                .collect(),
        }
    }

    fn is_expired(&self, entry: u64) -> bool {
        let tick = director::Tables::now(&self.tables).tick();
        let settings = self.tables.settings.as_ref();
        settings.is_some_and(|settings| Entry(entry).is_expired(settings, tick))
    }

    fn gauge(&self, id: u32) -> &AtomicU64 {
        &self.tables.gauges[id as usize]
    }

    fn position(&self, id: u32) -> Option<u64> {
        let service = self.tables.services.values().find(|s| s.id == id)?;
        let picks = picks_made(self.tables.picks[id as usize].load(SeqCst));
        (service.first + picks).checked_rem(service.cycle)
    }

    fn known(&self, (slot, _, entry): (u32, u64, u64)) -> Known {
        let tuple = self.tables.tuples.borrow()[slot as usize];
        let address = |words, port| SocketAddr::new(unmapped(words), port as u16);
        Known {
            protocol: tuple.protocol as u8,
            client: address(tuple.client, tuple.ports >> 16),
            virtual_address: address(tuple.virtual_address, tuple.ports),
            destination: Entry(entry).destination(),
            state: Entry(entry).state().name(),
        }
    }
}

/// Numbers of the words that are not 0.
fn not_zero(words: impl Iterator<Item = u64>) -> BTreeSet<u32> {
    let all = words.enumerate().filter(|(_, word)| *word != 0);
    all.map(|(number, _)| number as u32).collect()
}

/// Slots that hold a connection, with their numbers.
pub fn numbered(words: impl Iterator<Item = (u64, u64)>) -> Vec<(u32, u64, u64)> {
    let all = words.enumerate();
    let used = all.filter(|(_, (tag, _))| *tag != FREE && *tag != CLAIMED);
    used.map(|(number, (tag, entry))| (number as u32, tag, entry))
        .collect()
}

/// Slots of a bucket as the kernel has it.
pub fn slots_of(bucket: [u64; 2 * BUCKET_SLOTS]) -> [(u64, u64); BUCKET_SLOTS] {
    std::array::from_fn(|slot| (bucket[2 * slot], bucket[2 * slot + 1]))
}

fn slots(schedule: &Schedule) -> &[u32] {
    match schedule {
        Schedule::Rotation { .. } => &[],
        Schedule::Table { slots, .. } => slots,
        Schedule::List { destinations, .. } => destinations,
    }
}

fn locality_words(place: &Locality<AtomicU64>) -> LocalityWords {
    let head = [&place.tag, &place.ticks, &place.size];
    let mut words = head.into_iter().chain(&place.members);
    std::array::from_fn(|_| words.next().unwrap().load(SeqCst))
}

fn words_of(tuple: &Tuple) -> Words {
    let mut words = tuple.as_bytes().chunks_exact(8);
    std::array::from_fn(|_| u64::from_ne_bytes(words.next().unwrap().try_into().unwrap()))
}

fn flags_of(behaviour: &Behaviour) -> u32 {
    let flags = [
        (behaviour.expire_nodest_conn, setting::EXPIRE_NODEST_CONN),
        (
            behaviour.expire_quiescent_template,
            setting::EXPIRE_QUIESCENT_TEMPLATE,
        ),
        (behaviour.sloppy_tcp, setting::SLOPPY_TCP),
        (behaviour.sloppy_sctp, setting::SLOPPY_SCTP),
    ];
    let on = flags.into_iter().filter(|(is_on, _)| *is_on);
    on.map(|(_, flag)| flag).sum()
}

fn link_of(link: DestinationLink) -> Link {
    match link {
        DestinationLink::Unresolved => Link::UNRESOLVED,
        DestinationLink::Gone => Link::GONE,
        DestinationLink::Local => Link::LOCAL,
        DestinationLink::Via { mac, slot } => {
            Link::via(director::headers::Mac::from_bytes(mac), slot)
        }
    }
}

/// An entry whose last packet is `seconds` longer ago.
pub fn older_entry(entry: u64, seconds: u32) -> u64 {
    if entry == 0 {
        return 0;
    }
    let entry = Entry(entry);
    let tick = entry.tick().wrapping_sub(ticks_from_seconds(seconds));
    entry.moved(entry.state(), tick).0
}

/// An allowance that was looked at `seconds` longer ago.
pub fn older_allowance(word: u64, seconds: u32) -> u64 {
    if word == 0 {
        return 0;
    }
    word.wrapping_sub(u64::from(seconds * SECOND_FINE_TICKS) << 32)
}
