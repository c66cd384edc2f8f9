//! One bucket and what counts it, in words whose every access is a step.

use std::sync::atomic::AtomicU64 as StdWord;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use director::Instant;
use director::connection::{Bucket, Slot};
use director::limits::BUCKET_SLOTS;
use director::memory::{default_timeouts, plain_service};
use director::tables::{
    Egress, LAYOUT, Link, Locality, MarkRule, Segment, Service, ServiceKey, Settings, Standing,
    Tables, Tuple, Word,
};
use director::time::TICK_SHIFT;
use loom::sync::atomic::{AtomicU64, fence};

use crate::world;

/// The tick in which a table is made.
pub const BEGIN: u64 = 1_000;
/// Ports of the services; each has one destination, of the same number as the service. The last is persistent.
pub const PORTS: [u16; 3] = [80, 81, 82];
/// Life of its templates in ticks: they do not run out here.
pub const LIFE: u32 = 10_000;

/// A word whose every access is a step.
#[derive(Debug, Default)]
pub struct Stepped(AtomicU64);

impl Word for Stepped {
    fn load(&self) -> u64 {
        self.0.load(Acquire)
    }
    fn store(&self, value: u64) {
        self.0.store(value, Release);
    }
    fn add(&self, value: u64) -> u64 {
        fence(SeqCst);
        let before = self.0.fetch_add(value, AcqRel);
        fence(SeqCst);
        before
    }
    fn swap_if(&self, current: u64, new: u64) -> bool {
        fence(SeqCst);
        let is_swapped = self
            .0
            .compare_exchange(current, new, AcqRel, Acquire)
            .is_ok();
        fence(SeqCst);
        is_swapped
    }
}

/// One bucket, and what counts it.
pub struct Shared {
    pub settings: Settings,
    /// Moves while nobody else is there.
    pub tick: StdWord,
    pub bucket: Bucket<Stepped>,
    /// Of each slot's tuple what tells it from another's: client and ports, service and life.
    pub tuples: [[Stepped; 2]; BUCKET_SLOTS],
    pub attached: [Stepped; BUCKET_SLOTS],
    pub populations: [Stepped; 4],
    pub gauges: [Stepped; 4],
    pub picks: Stepped,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            settings: Settings {
                hash_keys: world::KEYS,
                bucket_mask: 0,
                layout: LAYOUT,
                flags: 0,
                conn_reuse_mode: 1,
                marks: 0,
                lblc_expiration: 0,
                lblcr_expiration: 0,
                reserved: 0,
                timeouts: default_timeouts(),
            },
            tick: StdWord::new(BEGIN),
            bucket: Bucket::default(),
            tuples: Default::default(),
            attached: Default::default(),
            populations: Default::default(),
            gauges: Default::default(),
            picks: Stepped::default(),
        }
    }
}

impl Tables for Shared {
    type Word = Stepped;

    fn now(&self) -> Instant {
        Instant {
            ns: self.tick.load(Relaxed) << TICK_SHIFT,
        }
    }
    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }
    fn vip_word(&self, _index: u32) -> u64 {
        u64::MAX
    }
    fn bucket(&self, index: u32) -> Option<&Bucket<Stepped>> {
        (index == 0).then_some(&self.bucket)
    }
    fn record(&self, slot: u32, tuple: &Tuple) {
        let [flow, service] = &self.tuples[slot as usize];
        flow.store(identity(tuple));
        service.store(u64::from(tuple.life) << 32 | u64::from(tuple.service));
        self.attached[slot as usize].store(tuple.template);
    }
    fn tuple(&self, slot: u32) -> Option<Tuple> {
        let [flow, service] = &self.tuples[slot as usize];
        let (flow, service) = (flow.load(), service.load());
        Some(Tuple {
            client: [0, flow >> 32],
            virtual_address: [0; 2],
            ports: flow as u32,
            protocol: 6,
            service: service as u32,
            life: (service >> 32) as u32,
            template: self.attached[slot as usize].load(),
        })
    }
    fn attached(&self, slot: u32) -> Option<&Stepped> {
        self.attached.get(slot as usize)
    }
    fn population(&self, service: u32) -> Option<&Stepped> {
        self.populations.get(service as usize)
    }
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        let number = PORTS.iter().position(|port| u32::from(*port) == key.port)? as u32;
        let service = plain_service(0, 1, number + 1, number, 1);
        Some(Service {
            persistence: if number == 2 { LIFE } else { 0 },
            client_mask: u32::MAX,
            ..service
        })
    }
    fn picks(&self, _service: u32) -> Option<&Stepped> {
        Some(&self.picks)
    }
    fn segment(&self, index: u32) -> Option<Segment> {
        Some(Segment {
            end: 1,
            slots_base: index,
            slots: 1,
        })
    }
    fn rotation_slot(&self, index: u32) -> u32 {
        index + 1
    }
    fn standing(&self, _destination: u32) -> Option<&Standing<Stepped>> {
        None
    }
    fn locality(&self, _index: u32) -> Option<&Locality<Stepped>> {
        None
    }
    fn mark_rule(&self, _index: u32) -> Option<MarkRule> {
        None
    }
    fn random(&self) -> u32 {
        0
    }
    fn link(&self, destination: u32) -> Link {
        let mac = [2, 0, 0, 1, 0, destination as u8];
        Link::via(director::headers::Mac::from_bytes(mac), 0)
    }
    fn gauge(&self, destination: u32) -> Option<&Stepped> {
        self.gauges.get(destination as usize)
    }
    fn account(&self, _destination: u32, _connections: u64, _bytes: u64) {}
    fn egress(&self, slot: u32) -> Option<Egress> {
        (slot == 0).then_some(Egress {
            mac: director::headers::Mac::from_bytes(world::DIRECTOR).word(),
            interface: 1,
            reserved: 0,
        })
    }
    fn fragment(&self, _index: u32) -> Option<&Slot<Stepped>> {
        None
    }
    fn reply_allowance(&self, _bucket: u32) -> Option<&Stepped> {
        None
    }
    fn count(&self, _counter: u32) {}
}

/// What tells a flow's tuple from another's.
fn identity(tuple: &Tuple) -> u64 {
    tuple.client[1] >> 32 << 32 | u64::from(tuple.ports)
}
