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
use director::scheduler::{Kind, is_renewed, picks_made};
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
pub enum ServiceKey {
    /// An address, a port and a protocol.
    Address {
        /// Virtual address.
        address: IpAddr,
        /// Virtual port.
        port: u16,
        /// IP protocol number.
        protocol: u8,
    },
    /// What has a firewall mark.
    Mark {
        /// The mark, not 0.
        mark: u32,
        /// IPv6 instead of IPv4.
        is_ipv6: bool,
    },
}

impl ServiceKey {
    /// Of an address, a port and a protocol's number.
    #[must_use]
    pub fn new(address: IpAddr, port: u16, protocol: u8) -> Self {
        Self::Address {
            address,
            port,
            protocol,
        }
    }

    /// As the data path has it.
    #[must_use]
    pub fn element(&self) -> tables::ServiceKey {
        match *self {
            Self::Address {
                address,
                port,
                protocol,
            } => service_key(address, port, protocol),
            Self::Mark { mark, is_ipv6 } => {
                tables::ServiceKey::of_mark(mark, if is_ipv6 { 6 } else { 4 })
            }
        }
    }

    fn bytes(&self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes.copy_from_slice(bytes_of(&self.element()));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::of_element(&tables::ServiceKey::read_from_bytes(bytes).ok()?)
    }

    /// From how the data path has it.
    pub(crate) fn of_element(key: &tables::ServiceKey) -> Option<Self> {
        if key.protocol == 0 {
            return Some(Self::Mark {
                mark: key.address[1].try_into().ok()?,
                is_ipv6: key.port == 6,
            });
        }
        Some(Self::Address {
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
    /// Which memory of addresses its scheduler has, `lblc` or `lblcr`: with another number it begins with none.
    pub memory: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            persistence_s: 0,
            client_mask: u32::MAX,
            one_packet: false,
            share: u32::MAX,
            memory: 0,
        }
    }
}

impl Rules {
    /// Its flags in the data path, see [`service_flag`].
    #[must_use]
    pub fn flags(&self, key: &ServiceKey) -> u32 {
        let flag = |is_on: bool, flag: u32| if is_on { flag } else { 0 };
        let (is_for_all, is_mark) = match *key {
            ServiceKey::Address { port, protocol, .. } => (
                port == 0 || (port == FTP_PORT && protocol == protocol::TCP),
                false,
            ),
            ServiceKey::Mark { .. } => (true, true),
        };
        flag(self.one_packet, service_flag::ONE_PACKET)
            | flag(is_for_all, service_flag::ALL_PORTS)
            | flag(is_mark, service_flag::MARK)
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

/// What a service picks, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// `rr`, `wrr`: positions in turn.
    Rotation {
        /// The cycle; none: no eligible destination.
        segments: Vec<Segment>,
        /// Position of the next pick.
        first: u64,
    },
    /// `dh`, `sh`, `mh`: by hash.
    Table {
        /// Of what.
        hash: Hash,
        /// Destination ids, 0 for an empty slot: 256, or for Maglev as many as its prime number says.
        slots: Vec<u32>,
        /// Whether the client's port counts (`sh-port`, `mh-port`).
        with_port: bool,
        /// Whether another slot is asked when the first one's destination is not eligible.
        fallback: bool,
    },
    /// The others: the best of all.
    List {
        /// How they are compared.
        scheduler: Dynamic,
        /// Destination ids, newest first.
        destinations: Vec<u32>,
    },
}

/// What is hashed to find a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// `sh`: the client's address.
    Source,
    /// `dh`: the virtual address.
    Destination,
    /// `mh`: the client's address, by SipHash.
    Maglev,
}

/// Schedulers that look at all destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// `lc`
    Lc,
    /// `wlc`
    Wlc,
    /// `sed`
    Sed,
    /// `nq`
    Nq,
    /// `fo`
    Fo,
    /// `ovf`
    Ovf,
    /// `twos`
    Twos,
    /// `lblc`
    Lblc,
    /// `lblcr`
    Lblcr,
}

impl Schedule {
    /// The number by which the data path knows the scheduler.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Rotation { .. } => Kind::ROTATION,
            Self::Table { hash, .. } => match hash {
                Hash::Source => Kind::SH,
                Hash::Destination => Kind::DH,
                Hash::Maglev => Kind::MH,
            },
            Self::List { scheduler, .. } => match scheduler {
                Dynamic::Lc => Kind::LC,
                Dynamic::Wlc => Kind::WLC,
                Dynamic::Sed => Kind::SED,
                Dynamic::Nq => Kind::NQ,
                Dynamic::Fo => Kind::FO,
                Dynamic::Ovf => Kind::OVF,
                Dynamic::Twos => Kind::TWOS,
                Dynamic::Lblc => Kind::LBLC,
                Dynamic::Lblcr => Kind::LBLCR,
            },
        }
    }

    /// The flags that go with it, see [`service_flag`].
    #[must_use]
    pub fn flags(&self) -> u32 {
        match self {
            Self::Table {
                with_port,
                fallback,
                ..
            } => {
                (u32::from(*with_port) * service_flag::WITH_PORT)
                    | (u32::from(*fallback) * service_flag::FALLBACK)
            }
            _ => 0,
        }
    }

    /// The rotation, and where it goes on.
    fn rotation(&self) -> (&[Segment], u64) {
        match self {
            Self::Rotation { segments, first } => (segments, *first),
            _ => (&[], 0),
        }
    }

    /// The slots of a table or a list.
    fn slots(&self) -> &[u32] {
        match self {
            Self::Rotation { .. } => &[],
            Self::Table { slots, .. } => slots,
            Self::List { destinations, .. } => destinations,
        }
    }
}

/// The service table, and the room its rotations take.
pub(crate) struct Services {
    map: HashMap<MapData, [u8; KEY_BYTES], [u8; VALUE_BYTES]>,
    pub(crate) picks: Words,
    pub(crate) segments: Words,
    pub(crate) slots: Words,
    segment_room: Arena,
    slot_room: Arena,
    pub(crate) localities: Words,
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
        let runs: Vec<_> = published.values().map(segment_run).collect();
        let slot_runs: Vec<_> = published.values().map(|s| slot_run(&segments, s)).collect();
        Ok(Self {
            map,
            picks: maps.words("PICKS")?,
            segments,
            slots: maps.words("SLOTS")?,
            localities: maps.words("LOCALITIES")?,
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
        schedule: &Schedule,
    ) -> Result<(), Error> {
        if id >= SERVICES {
            return Err(Error::Full {
                what: "virtual services",
                limit: SERVICES.into(),
            });
        }
        let (rotation, first) = schedule.rotation();
        let segments = rotation.len() as u32;
        let in_rotation = rotation.iter().map(|segment| segment.destinations.len());
        let slots = (in_rotation.sum::<usize>() + schedule.slots().len()) as u32;
        let full = || Error::Full {
            what: "rotation segments",
            limit: SEGMENTS.into(),
        };
        let segments_base = take(&mut self.segment_room, segments).ok_or_else(full)?;
        let slots_base = take(&mut self.slot_room, slots);
        let now = Instant::now();
        let Some(slots_base) = slots_base else {
            self.segment_room.give(segments_base, segments, now);
            return Err(Error::Full {
                what: "rotation slots",
                limit: ROTATION_SLOTS.into(),
            });
        };
        self.write_rotation(rotation, segments_base, slots_base);
        self.write_slots(schedule.slots(), slots_base);
        let cycle = rotation.last().map_or(0, |segment| segment.end);
        let kind = schedule.kind();
        let (base, count) = if kind == Kind::ROTATION {
            (segments_base, segments)
        } else {
            (slots_base, slots)
        };
        let first = match kind {
            Kind::ROTATION => self.first_for(id, first, cycle),
            Kind::LBLC | Kind::LBLCR => rules.memory,
            _ => 0,
        };
        let service = Service {
            first,
            cycle,
            id,
            base,
            count,
            flags: rules.flags(key) | schedule.flags(),
            persistence: rules.persistence_ticks(),
            client_mask: rules.client_mask,
            share: rules.share,
            scheduler: kind.0,
        };
        if let Err(error) = self.switch(key, &service) {
            self.segment_room.give(segments_base, segments, now);
            self.slot_room.give(slots_base, slots, now);
            return Err(error);
        }
        let old = self.published.insert(*key, service);
        if let Some(old) = old {
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
        let position = service.first.wrapping_add(self.picks(id));
        position.checked_rem(service.cycle)
    }

    /// Picks that a service number has ever made.
    pub(crate) fn picks(&self, id: u32) -> u64 {
        picks_made(self.picks.load(id as usize))
    }

    /// Whether a refusal has renewed its cycle, and nothing was picked since.
    pub(crate) fn is_renewed(&self, id: u32) -> bool {
        is_renewed(self.picks.load(id as usize))
    }

    /// The service with this key, as the kernel has it.
    pub(crate) fn look_up(&self, key: &tables::ServiceKey) -> Option<Service> {
        let mut bytes = [0; KEY_BYTES];
        bytes.copy_from_slice(bytes_of(key));
        Service::read_from_bytes(&self.map.get(&bytes, 0).ok()?).ok()
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
        match self.picks(id).checked_rem(cycle) {
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
            self.write_slots(&segment.destinations, at);
            at += slots;
        }
    }

    fn write_slots(&self, destinations: &[u32], base: u32) {
        for (destination, index) in destinations.iter().zip(base..) {
            // Two in a word, of which the other may be another service's: nobody else writes them.
            let pair = self.slots.word(index as usize / 2);
            let shift = index % 2 * 32;
            let other = pair.load(Ordering::Acquire) & !(0xffff_ffff << shift);
            pair.store(other | u64::from(*destination) << shift, Ordering::Release);
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
        let (segments_base, segments) = segment_run(old);
        let (slots_base, slots) = slot_run(&self.segments, old);
        self.segment_room.give(segments_base, segments, now);
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

/// The segments that a service takes.
fn segment_run(service: &Service) -> (u32, u32) {
    if service.scheduler == Kind::ROTATION.0 {
        (service.base, service.count)
    } else {
        (0, 0)
    }
}

/// The slots that a service takes; those of segments are written in one run.
fn slot_run(segments: &Words, service: &Service) -> (u32, u32) {
    if service.scheduler != Kind::ROTATION.0 {
        return (service.base, service.count);
    }
    let read = |index: u32| segments.read::<tables::Segment>((service.base + index) as usize);
    let Some(last) = service.count.checked_sub(1) else {
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
