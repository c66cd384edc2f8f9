//! Virtual services in the kernel: new rotation beside the old, then one element switched.

use std::collections::HashMap as Memory;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use aya::maps::{HashMap, Map, MapData};
use zerocopy::FromBytes;

use director::headers::protocol;
use director::limits::{ROTATION_SLOTS, SEGMENTS, SERVICES};
use director::memory::{service_key, unmapped};
use director::tables::{self, Service, service_flag};
use director::time::ticks_from_seconds;

use crate::arena::Arena;
use crate::bytes_of;
use crate::error::Error;
use crate::map::Words;
use crate::object::Maps;

const KEY_BYTES: usize = size_of::<tables::ServiceKey>();
const VALUE_BYTES: usize = size_of::<Service>();

/// Identity of a virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    /// Virtual address.
    pub address: IpAddr,
    /// Virtual port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

impl ServiceKey {
    fn bytes(&self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes.copy_from_slice(bytes_of(&service_key(
            self.address,
            self.port,
            self.protocol,
        )));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = tables::ServiceKey::read_from_bytes(bytes).ok()?;
        Some(Self {
            address: unmapped(key.address),
            port: key.port.try_into().ok()?,
            protocol: key.protocol.try_into().ok()?,
        })
    }
}

/// What a virtual service does beside scheduling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Life of persistence templates in seconds (`-p`); 0 when the service is not persistent.
    pub persistence_s: u32,
    /// Bits of a client's address that a template is for (`-M`): IPv4 a mask in host order, IPv6 a prefix
    /// length.
    pub client_mask: u32,
    /// Each datagram is scheduled anew (`-o`).
    pub one_packet: bool,
    /// Connections the service may have before newcomers must take the place of its own.
    pub share: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            persistence_s: 0,
            client_mask: u32::MAX,
            one_packet: false,
            share: u32::MAX,
        }
    }
}

impl Rules {
    fn flags(&self, key: &ServiceKey) -> u32 {
        let is_for_all = key.port == 0 || (key.port == FTP_PORT && key.protocol == protocol::TCP);
        let one_packet = u32::from(self.one_packet) * service_flag::ONE_PACKET;
        one_packet | (u32::from(is_for_all) * service_flag::ALL_PORTS)
    }

    fn persistence_ticks(&self) -> u32 {
        ticks_from_seconds(self.persistence_s)
    }
}

const FTP_PORT: u16 = 21;

/// A run of a rotation: positions up to `end` go round and round `destinations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First position after it; the last one's is the cycle.
    pub end: u64,
    /// Destination ids, not empty.
    pub destinations: Vec<u32>,
}

/// The service table, and the room its rotations take.
pub(crate) struct Services {
    map: HashMap<MapData, [u8; KEY_BYTES], [u8; VALUE_BYTES]>,
    picks: Words,
    segments: Words,
    slots: Words,
    segment_room: Arena,
    slot_room: Arena,
    published: Memory<ServiceKey, Service>,
}

impl Services {
    /// The table as it stands in the kernel.
    pub(crate) fn new(maps: &Maps) -> Result<Self, Error> {
        let name = "SERVICES";
        let map = HashMap::try_from(Map::HashMap(maps.duplicate(name)?));
        let map: HashMap<MapData, [u8; KEY_BYTES], [u8; VALUE_BYTES]> =
            map.map_err(|source| Error::map(name, source))?;
        let mut published = Memory::new();
        for element in map.iter() {
            let (key, value) = element.map_err(|source| Error::map(name, source))?;
            if let (Some(key), Ok(value)) = (
                ServiceKey::from_bytes(&key),
                Service::read_from_bytes(&value),
            ) {
                published.insert(key, value);
            }
        }
        let segments = maps.words("SEGMENTS")?;
        let runs: Vec<_> = published
            .values()
            .map(|s| (s.segments_base, s.segments))
            .collect();
        let slot_runs: Vec<_> = published.values().map(|s| slot_run(&segments, s)).collect();
        Ok(Self {
            map,
            picks: maps.words("PICKS")?,
            segments,
            slots: maps.words("SLOTS")?,
            segment_room: Arena::new(SEGMENTS, &runs),
            slot_room: Arena::new(ROTATION_SLOTS, &slot_runs),
            published,
        })
    }

    /// Makes or replaces a service.
    pub(crate) fn publish(
        &mut self,
        key: &ServiceKey,
        id: u32,
        rules: &Rules,
        rotation: &[Segment],
        first: u64,
    ) -> Result<(), Error> {
        if id >= SERVICES {
            return Err(Error::Full {
                what: "virtual services",
                limit: SERVICES.into(),
            });
        }
        let count = rotation.len() as u32;
        let slot_count = rotation
            .iter()
            .map(|segment| segment.destinations.len() as u32)
            .sum();
        let full = || Error::Full {
            what: "rotation segments",
            limit: SEGMENTS.into(),
        };
        let segments_base = take(&mut self.segment_room, count).ok_or_else(full)?;
        let slots_base = take(&mut self.slot_room, slot_count);
        let now = Instant::now();
        let Some(slots_base) = slots_base else {
            self.segment_room.give(segments_base, count, now);
            return Err(Error::Full {
                what: "rotation slots",
                limit: ROTATION_SLOTS.into(),
            });
        };
        self.write_rotation(rotation, segments_base, slots_base);
        let cycle = rotation.last().map_or(0, |segment| segment.end);
        let service = Service {
            first: self.first_for(id, first, cycle),
            cycle,
            id,
            segments_base,
            segments: count,
            flags: rules.flags(key),
            persistence: rules.persistence_ticks(),
            client_mask: rules.client_mask,
            share: rules.share,
            reserved: 0,
        };
        if let Err(error) = self.switch(key, &service) {
            self.segment_room.give(segments_base, count, now);
            self.slot_room.give(slots_base, slot_count, now);
            return Err(error);
        }
        if let Some(old) = self.published.insert(*key, service) {
            self.give_back(&old, now);
        }
        Ok(())
    }

    /// Removes a service.
    pub(crate) fn withdraw(&mut self, key: &ServiceKey) -> Result<(), Error> {
        if let Some(old) = self.published.remove(key) {
            self.map
                .remove(&key.bytes())
                .map_err(|source| Error::map("SERVICES", source))?;
            self.give_back(&old, Instant::now());
        }
        Ok(())
    }

    /// Position that the next pick of a service takes.
    pub(crate) fn position(&self, id: u32) -> Option<u64> {
        let service = self.published.values().find(|service| service.id == id)?;
        let picks = self.picks.load(id as usize);
        service.first.wrapping_add(picks).checked_rem(service.cycle)
    }

    /// Picks that a service number has ever made.
    pub(crate) fn picks(&self, id: u32) -> u64 {
        self.picks.load(id as usize)
    }

    /// Key and number of every service.
    pub(crate) fn published(&self) -> Vec<(ServiceKey, u32)> {
        self.published
            .iter()
            .map(|(key, service)| (*key, service.id))
            .collect()
    }

    /// The shared pick counter never goes back, so the position of pick 0 is what is chosen.
    fn first_for(&self, id: u32, position: u64, cycle: u64) -> u64 {
        let picks = self.picks.load(id as usize);
        match picks.checked_rem(cycle) {
            Some(turn) => (position % cycle + cycle - turn) % cycle,
            None => 0,
        }
    }

    fn write_rotation(&self, rotation: &[Segment], segments_base: u32, slots_base: u32) {
        let mut at = slots_base;
        for (index, segment) in rotation.iter().enumerate() {
            let slots = segment.destinations.len() as u32;
            let value = tables::Segment {
                end: segment.end,
                slots_base: at,
                slots,
            };
            self.segments.write(segments_base as usize + index, &value);
            for destination in &segment.destinations {
                self.slots
                    .word(at as usize)
                    .store(u64::from(*destination), Ordering::Release);
                at += 1;
            }
        }
    }

    /// The one visible step: the kernel replaces a hash element whole.
    fn switch(&mut self, key: &ServiceKey, service: &Service) -> Result<(), Error> {
        let mut value = [0; VALUE_BYTES];
        value.copy_from_slice(bytes_of(service));
        self.map
            .insert(key.bytes(), value, 0)
            .map_err(|source| Error::map("SERVICES", source))
    }

    fn give_back(&mut self, old: &Service, now: Instant) {
        let (slots_base, slots) = slot_run(&self.segments, old);
        self.segment_room.give(old.segments_base, old.segments, now);
        self.slot_room.give(slots_base, slots, now);
    }
}

/// Takes room, and waits for what rests when there is none awake: whoever adds a thousand servers one by
/// one publishes half a million slots, and is slowed down instead of refused.
fn take(room: &mut Arena, count: u32) -> Option<u32> {
    loop {
        let now = Instant::now();
        if let Some(start) = room.take(count, now) {
            return Some(start);
        }
        std::thread::sleep(room.wakes_in(now)?);
    }
}

/// The slots that a service's segments take: they are written in one run.
fn slot_run(segments: &Words, service: &Service) -> (u32, u32) {
    let read =
        |index: u32| segments.read::<tables::Segment>((service.segments_base + index) as usize);
    let Some(last) = service.segments.checked_sub(1) else {
        return (0, 0);
    };
    match (read(0), read(last)) {
        (Some(first), Some(last)) => (
            first.slots_base,
            last.slots_base + last.slots - first.slots_base,
        ),
        _ => (0, 0),
    }
}
