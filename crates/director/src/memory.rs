//! Tables and frames in ordinary memory, for tests, fuzzers and `explain`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use zerocopy::FromZeros;

use crate::address::{V4, V6, vip_bit};
use crate::connection::{Bucket, Slot, State};
use crate::frame::{Frame, Window};
use crate::headers::Mac;
use crate::limits::{self, BUCKET_SLOTS};
use crate::scheduler::Kind;
use crate::tables::{
    Egress, LAYOUT, Link, Locality, MarkRule, Segment, Service, ServiceKey, Settings, Standing,
    Statistics, Tables, Tuple, Weight, Word,
};
use crate::time::{Instant, ticks_from_seconds};
use crate::verdict::COUNTERS;

impl Word for AtomicU64 {
    fn load(&self) -> u64 {
        AtomicU64::load(self, SeqCst)
    }
    fn store(&self, value: u64) {
        AtomicU64::store(self, value, SeqCst);
    }
    fn add(&self, value: u64) -> u64 {
        self.fetch_add(value, SeqCst)
    }
    fn swap_if(&self, current: u64, new: u64) -> bool {
        self.compare_exchange(current, new, SeqCst, SeqCst).is_ok()
    }
}

/// A frame in a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFrame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Interface it arrived on.
    pub ingress: u32,
}

impl MemoryFrame {
    fn put(&mut self, offset: usize, value: &[u8]) -> Option<()> {
        let end = offset.checked_add(value.len())?;
        self.bytes.get_mut(offset..end)?.copy_from_slice(value);
        Some(())
    }
}

impl Frame for MemoryFrame {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    type Window<'a, const N: usize> = MemoryWindow<'a, N>;

    fn window<const N: usize>(&self, offset: usize) -> Option<MemoryWindow<'_, N>> {
        let bytes = self.bytes.get(offset..offset.checked_add(N)?)?;
        bytes.try_into().ok().map(MemoryWindow)
    }

    fn put_u8(&mut self, offset: usize, value: u8) -> Option<()> {
        self.put(offset, &value.to_be_bytes())
    }
    fn put_u16(&mut self, offset: usize, value: u16) -> Option<()> {
        self.put(offset, &value.to_be_bytes())
    }
    fn put_u32(&mut self, offset: usize, value: u32) -> Option<()> {
        self.put(offset, &value.to_be_bytes())
    }
    fn put_u64(&mut self, offset: usize, value: u64) -> Option<()> {
        self.put(offset, &value.to_be_bytes())
    }

    fn truncate(&mut self, len: usize) -> Option<()> {
        (len <= self.bytes.len()).then(|| self.bytes.truncate(len))
    }

    fn grow_head(&mut self, bytes: usize) -> Option<()> {
        self.bytes.splice(0..0, std::iter::repeat_n(0, bytes));
        Some(())
    }
}

/// Bytes of a [`MemoryFrame`].
pub struct MemoryWindow<'a, const N: usize>(&'a [u8; N]);

impl<const N: usize> MemoryWindow<'_, N> {
    fn bytes<const AT: usize, const LEN: usize>(&self) -> [u8; LEN] {
        const { assert!(AT + LEN <= N) };
        std::array::from_fn(|at| self.0[AT + at])
    }
}

impl<const N: usize> Window<N> for MemoryWindow<'_, N> {
    fn u8<const AT: usize>(&self) -> u8 {
        u8::from_be_bytes(self.bytes::<AT, 1>())
    }
    fn u16<const AT: usize>(&self) -> u16 {
        u16::from_be_bytes(self.bytes::<AT, 2>())
    }
    fn u32<const AT: usize>(&self) -> u32 {
        u32::from_be_bytes(self.bytes::<AT, 4>())
    }
    fn u64<const AT: usize>(&self) -> u64 {
        u64::from_be_bytes(self.bytes::<AT, 8>())
    }
}

/// All tables, in memory.
#[derive(Debug)]
pub struct MemoryTables {
    /// What [`Tables::now`] answers, in nanoseconds.
    pub now_ns: Cell<u64>,
    /// The settings.
    pub settings: Option<Settings>,
    /// The bitmap of virtual addresses.
    pub vips: Vec<u64>,
    /// The connection table.
    pub buckets: Vec<Bucket<AtomicU64>>,
    /// Tuples of its slots.
    pub tuples: RefCell<Vec<Tuple>>,
    /// The last word of each tuple.
    pub attached: Vec<AtomicU64>,
    /// Connections of each service.
    pub populations: Vec<AtomicU64>,
    /// Virtual services.
    pub services: HashMap<ServiceKey, Service>,
    /// Picks of each service.
    pub picks: Vec<AtomicU64>,
    /// Segments of all rotations.
    pub segments: Vec<Segment>,
    /// Slots of all rotations.
    pub rotation_slots: Vec<u32>,
    /// Links of the destinations, in words.
    pub links: HashMap<u32, u64>,
    /// Gauges of the destinations.
    pub gauges: Vec<AtomicU64>,
    /// Statistics of the destinations.
    pub statistics: RefCell<HashMap<u32, Statistics>>,
    /// Weights and thresholds of the destinations.
    pub standings: Vec<Standing<AtomicU64>>,
    /// What is remembered of addresses.
    pub localities: Vec<Locality<AtomicU64>>,
    /// Rules of firewall marks.
    pub mark_rules: Vec<MarkRule>,
    /// What [`Tables::random`] goes on from.
    pub seed: Cell<u64>,
    /// Interfaces.
    pub egress: Vec<Egress>,
    /// The fragment table.
    pub fragments: Vec<Slot<AtomicU64>>,
    /// Allowances of ICMP errors.
    pub reply_allowances: Vec<AtomicU64>,
    /// Counters by number.
    pub counters: RefCell<Vec<u64>>,
}

/// Destination ids that a table in memory has room for.
const DESTINATIONS: usize = 1_024;
/// Services that a table in memory has room for.
const SERVICES: usize = 1_024;

/// IPVS's `lblc_expiration` and `lblcr_expiration`: a day.
pub const LOCALITY_EXPIRATION_S: u32 = 86_400;

/// IPVS's timeouts, in ticks.
#[must_use]
pub fn default_timeouts() -> [u32; limits::STATES] {
    let mut timeouts = [0; limits::STATES];
    for (timeout, (_, seconds, _)) in timeouts.iter_mut().zip(State::ALL) {
        *timeout = ticks_from_seconds(seconds);
    }
    timeouts
}

impl MemoryTables {
    /// Empty tables with room for `connections`, rounded up to a power of two of buckets.
    #[must_use]
    pub fn new(connections: usize, hash_keys: [u64; 8]) -> Self {
        let buckets = connections.div_ceil(BUCKET_SLOTS).next_power_of_two();
        let words = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        Self {
            now_ns: Cell::new(1 << 40),
            settings: Some(Settings {
                hash_keys,
                bucket_mask: buckets as u32 - 1,
                layout: LAYOUT,
                flags: 0,
                conn_reuse_mode: 1,
                marks: 0,
                lblc_expiration: ticks_from_seconds(LOCALITY_EXPIRATION_S),
                lblcr_expiration: ticks_from_seconds(LOCALITY_EXPIRATION_S),
                reserved: 0,
                timeouts: default_timeouts(),
            }),
            vips: vec![0; limits::VIP_WORDS as usize],
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            tuples: RefCell::new(vec![Tuple::new_zeroed(); buckets * BUCKET_SLOTS]),
            attached: words(buckets * BUCKET_SLOTS),
            populations: words(SERVICES),
            services: HashMap::new(),
            picks: words(SERVICES),
            segments: Vec::new(),
            rotation_slots: Vec::new(),
            links: HashMap::new(),
            gauges: words(DESTINATIONS),
            statistics: RefCell::default(),
            standings: (0..DESTINATIONS).map(|_| Standing::default()).collect(),
            localities: (0..limits::LOCALITIES)
                .map(|_| Locality::default())
                .collect(),
            mark_rules: Vec::new(),
            seed: Cell::new(1),
            egress: vec![
                Egress {
                    mac: 0,
                    interface: 0,
                    reserved: 0
                };
                limits::INTERFACES as usize
            ],
            fragments: (0..limits::FRAGMENTS).map(|_| Slot::default()).collect(),
            reply_allowances: words(limits::REPLY_BUCKETS as usize),
            counters: RefCell::new(vec![0; COUNTERS as usize]),
        }
    }

    /// Adds a virtual address to the bitmap.
    pub fn add_vip(&mut self, address: IpAddr) {
        let (word, bit) = vip_bit_of(address);
        self.vips[word as usize] |= 1 << bit;
    }

    /// Publishes a service: its segments as (end, destinations).
    pub fn publish(&mut self, key: ServiceKey, id: u32, first: u64, segments: &[(u64, Vec<u32>)]) {
        let segments_base = self.segments.len() as u32;
        for (end, destinations) in segments {
            let slots_base = self.rotation_slots.len() as u32;
            self.segments.push(Segment {
                end: *end,
                slots_base,
                slots: destinations.len() as u32,
            });
            self.rotation_slots.extend(destinations);
        }
        let cycle = segments.last().map_or(0, |segment| segment.0);
        let count = segments.len() as u32;
        let service = plain_service(first, cycle, id, segments_base, count);
        self.services.insert(key, service);
    }

    /// Publishes a service with a table or a list.
    pub fn publish_list(&mut self, key: ServiceKey, id: u32, kind: Kind, slots: &[u32]) {
        let base = self.rotation_slots.len() as u32;
        self.rotation_slots.extend(slots);
        let service = Service {
            scheduler: kind.0,
            ..plain_service(0, 0, id, base, slots.len() as u32)
        };
        self.services.insert(key, service);
    }

    /// Writes a destination's weight, service and thresholds.
    pub fn set_standing(&mut self, id: u32, weight: u32, service: u32, thresholds: (u32, u32)) {
        let standing = &self.standings[id as usize];
        standing
            .weight
            .store(Weight::new(weight, service).0, SeqCst);
        let word = u64::from(thresholds.0) << 32 | u64::from(thresholds.1);
        standing.thresholds.store(word, SeqCst);
    }

    /// Writes an interface.
    pub fn set_egress(&mut self, slot: u8, interface: u32, mac: [u8; 6]) {
        let mac = Mac::from_bytes(mac).word();
        self.egress[usize::from(slot)] = Egress {
            mac,
            interface,
            reserved: 0,
        };
    }

    /// Counters that have moved, by name.
    #[must_use]
    pub fn counters_moved(&self) -> Vec<(&'static str, u64)> {
        let counters = self.counters.borrow();
        let named = crate::verdict::counter_names().map(|(n, name)| (name, counters[n as usize]));
        named.filter(|(_, count)| *count != 0).collect()
    }
}

/// A service without persistence or any other rule.
#[must_use]
pub fn plain_service(first: u64, cycle: u64, id: u32, base: u32, count: u32) -> Service {
    Service {
        first,
        cycle,
        id,
        base,
        count,
        flags: 0,
        persistence: 0,
        client_mask: 0,
        share: u32::MAX,
        scheduler: Kind::ROTATION.0,
    }
}

/// Key of a virtual service from its address.
#[must_use]
pub fn service_key(address: IpAddr, port: u16, protocol: u8) -> ServiceKey {
    ServiceKey {
        address: mapped(address),
        port: port.into(),
        protocol: protocol.into(),
    }
}

/// Sixteen bytes in wire order as two words, IPv4 mapped.
#[must_use]
pub fn mapped(address: IpAddr) -> [u64; 2] {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let bits = address.to_bits();
    [((bits >> 64) as u64).to_be(), (bits as u64).to_be()]
}

/// The address that [`mapped`] was given.
#[must_use]
pub fn unmapped(words: [u64; 2]) -> IpAddr {
    let [high, low] = words.map(|word| u128::from(u64::from_be(word)));
    std::net::Ipv6Addr::from_bits(high << 64 | low).to_canonical()
}

/// Word and bit of an address in the bitmap of virtual addresses.
#[must_use]
pub fn vip_bit_of(address: IpAddr) -> (u32, u32) {
    match address {
        IpAddr::V4(address) => vip_bit(V4(address.to_bits())),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            vip_bit(V6([
                (bits >> 96) as u32,
                (bits >> 64) as u32,
                (bits >> 32) as u32,
                bits as u32,
            ]))
        }
    }
}

impl Tables for MemoryTables {
    type Word = AtomicU64;

    fn now(&self) -> Instant {
        Instant {
            ns: self.now_ns.get(),
        }
    }
    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }
    fn vip_word(&self, index: u32) -> u64 {
        self.vips.get(index as usize).copied().unwrap_or(0)
    }
    fn bucket(&self, index: u32) -> Option<&Bucket<AtomicU64>> {
        self.buckets.get(index as usize)
    }
    fn record(&self, slot: u32, tuple: &Tuple) {
        let index = slot as usize;
        if let Some(place) = self.tuples.borrow_mut().get_mut(index) {
            *place = *tuple;
            self.attached[index].store(tuple.template, SeqCst);
        }
    }
    fn tuple(&self, slot: u32) -> Option<Tuple> {
        let tuple = self.tuples.borrow().get(slot as usize).copied()?;
        Some(Tuple {
            template: self.attached[slot as usize].load(SeqCst),
            ..tuple
        })
    }
    fn attached(&self, slot: u32) -> Option<&AtomicU64> {
        self.attached.get(slot as usize)
    }
    fn population(&self, service: u32) -> Option<&AtomicU64> {
        self.populations.get(service as usize)
    }
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }
    fn picks(&self, service: u32) -> Option<&AtomicU64> {
        self.picks.get(service as usize)
    }
    fn segment(&self, index: u32) -> Option<Segment> {
        self.segments.get(index as usize).copied()
    }
    fn rotation_slot(&self, index: u32) -> u32 {
        self.rotation_slots
            .get(index as usize)
            .copied()
            .unwrap_or(0)
    }
    fn standing(&self, destination: u32) -> Option<&Standing<AtomicU64>> {
        self.standings.get(destination as usize)
    }
    fn locality(&self, index: u32) -> Option<&Locality<AtomicU64>> {
        self.localities.get(index as usize)
    }
    fn mark_rule(&self, index: u32) -> Option<MarkRule> {
        self.mark_rules.get(index as usize).copied()
    }
    fn random(&self) -> u32 {
        // Knuth's MMIX generator; its upper half is random enough for tests.
        let next = self
            .seed
            .get()
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.seed.set(next);
        (next >> 32) as u32
    }
    fn link(&self, destination: u32) -> Link {
        Link(self.links.get(&destination).copied().unwrap_or(0))
    }
    fn gauge(&self, destination: u32) -> Option<&AtomicU64> {
        self.gauges.get(destination as usize)
    }
    fn account(&self, destination: u32, connections: u64, bytes: u64) {
        let mut all = self.statistics.borrow_mut();
        let statistics = all.entry(destination).or_default();
        statistics.connections += connections;
        statistics.packets += 1;
        statistics.bytes += bytes;
    }
    fn egress(&self, slot: u32) -> Option<Egress> {
        self.egress.get(slot as usize).copied()
    }
    fn fragment(&self, index: u32) -> Option<&Slot<AtomicU64>> {
        self.fragments.get(index as usize)
    }
    fn reply_allowance(&self, bucket: u32) -> Option<&AtomicU64> {
        self.reply_allowances.get(bucket as usize)
    }
    fn count(&self, counter: u32) {
        if let Some(count) = self.counters.borrow_mut().get_mut(counter as usize) {
            *count += 1;
        }
    }
}
