//! `lblc` and `lblcr`: connections to one virtual address go where such connections went before, as long as
//! that is not busy while others are idle. Meant for caches behind many addresses, that is for firewall marks.
//!
//! ```text
//! service, address ─► hash ─► eight places ─► tag │ changed, used │ size │ members, oldest first
//! ```
//!
//! `lblc` has one member for an address. `lblcr` has a set: the least loaded member is taken; when all are
//! busy, the best of all destinations joins; a set that has not changed for `lblcr_expiration` loses its
//! most loaded member. `ip_vs_lblc.c`, `ip_vs_lblcr.c`.
//!
//! Here and not there: all services share [`LOCALITIES`] places, an address has eight it may take, and when these
//! are taken the one that was unused longest gives way. Of two CPUs that change one set at the same moment one
//! leaves it as it is.

use super::{Candidate, Kind, list};
use crate::arrival::Arrival;
use crate::connection::{CLAIMED, FREE};
use crate::limits::{LISTED_DESTINATIONS, LOCALITIES, LOCALITY_MEMBERS, LOCALITY_PLACES};
use crate::tables::{Gauge, Locality, Service, Tables, Weight, Word, Work};

/// No place.
const NOWHERE: u32 = u32::MAX;
/// Bit of [`Locality::size`] while somebody changes the members.
const LOCKED: u64 = 1 << 63;

/// The destination for a connection to this address, 0 when none is eligible.
#[inline(never)]
pub(super) fn pick(service: &Service, kind: Kind, arrival: &Arrival, tables: &impl Tables) -> u32 {
    let Some(settings) = tables.settings() else {
        return 0;
    };
    let life = if kind == Kind::LBLC {
        settings.lblc_expiration
    } else {
        settings.lblcr_expiration
    };
    let (known, place) = places(service, arrival, life, tables);
    if known != NOWHERE {
        let remembered = recall(service, known, arrival.tick, life, tables);
        if remembered != 0 {
            return remembered;
        }
    }
    let best = list::pick(service, Kind::WLC, tables);
    if best != 0 {
        if known == NOWHERE {
            settle(service, arrival, place, best, tables);
        } else {
            join(known, best, kind, arrival.tick, tables);
        }
    }
    best
}

/// Where an address is remembered, and where it would be.
#[inline(always)]
fn places(service: &Service, arrival: &Arrival, life: u32, tables: &impl Tables) -> (u32, u32) {
    let word = places_as_number(service, arrival, life, tables);
    ((word >> 32) as u32, word as u32)
}

/// A function of its own: what it needs is then not on the stack while members are compared. The oldest kernels
/// round each function's up to 32 bytes.
#[inline(never)]
fn places_as_number(service: &Service, arrival: &Arrival, life: u32, tables: &impl Tables) -> u64 {
    let Some(hash) = hash(service, arrival, tables) else {
        return u64::MAX;
    };
    let mut look = Look::at(hash, arrival.tick, life);
    tables.repeat(LOCALITY_PLACES, &mut look);
    u64::from(look.known) << 32 | u64::from(look.place)
}

/// Hash of a service and an address; never one of the tags that mean something else.
#[inline(always)]
fn hash(service: &Service, arrival: &Arrival, tables: &impl Tables) -> Option<u64> {
    let keys = &tables.settings()?.hash_keys;
    let [high, low] = arrival.virtual_address;
    let mut hash = (high ^ keys[0]).wrapping_mul(keys[6]);
    hash = (hash ^ hash >> 32 ^ low).wrapping_mul(keys[7]);
    hash = (hash ^ hash >> 29 ^ u64::from(service.id) ^ keys[1]).wrapping_mul(keys[6]);
    // Which memory of the service it is: with another one all is forgotten.
    hash = (hash ^ hash >> 31 ^ service.first ^ keys[2]).wrapping_mul(keys[7]);
    Some((hash ^ hash >> 32) | 2)
}

/// The search for an address among its places.
struct Look {
    hash: u64,
    first: u32,
    tick: u32,
    life: u32,
    known: u32,
    /// Where a new one would go: a free place, or the one that was unused longest.
    place: u32,
    place_age: u64,
}

impl Look {
    #[inline(always)]
    fn at(hash: u64, tick: u32, life: u32) -> Self {
        Self {
            hash,
            first: (hash >> 32) as u32 % (LOCALITIES / LOCALITY_PLACES) * LOCALITY_PLACES,
            tick,
            life,
            known: NOWHERE,
            place: NOWHERE,
            place_age: 0,
        }
    }
}

impl Work for Look {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool {
        let place = self.first + index;
        let Some(locality) = tables.locality(place) else {
            return false;
        };
        let tag = locality.tag.load();
        let unused = self.tick.wrapping_sub(locality.ticks.load() as u32);
        if tag == self.hash && unused <= self.life {
            self.known = place;
            return false;
        }
        let age = match tag {
            FREE => u64::MAX,
            CLAIMED => 0,
            _ => u64::from(unused) + 1,
        };
        if age > self.place_age {
            self.place = place;
            self.place_age = age;
        }
        true
    }
}

/// Who had this address before and can take more of it, 0 when nobody.
#[inline(never)]
fn recall(service: &Service, place: u32, tick: u32, life: u32, tables: &impl Tables) -> u32 {
    let kind = Kind(service.scheduler);
    let Some(locality) = tables.locality(place) else {
        return 0;
    };
    let ticks = locality.ticks.load();
    locality.ticks.store(ticks & !0xffff_ffff | u64::from(tick));
    let size = (locality.size.load() & !LOCKED) as u32;
    let mut members = Members {
        place,
        size,
        service: service.id,
        is_set: u32::from(kind == Kind::LBLCR),
        least: 0,
        most: 0,
        loads: [0; 2],
        weights: [0; 2],
    };
    tables.repeat(size.min(LOCALITY_MEMBERS as u32), &mut members);
    let is_stale = tick.wrapping_sub((ticks >> 32) as u32) > life;
    if kind == Kind::LBLCR && size > 1 && is_stale && members.most != 0 {
        leave(place, members.most, tick, tables);
    }
    if members.least == 0 || is_busy(service, members.least, tables) {
        return 0;
    }
    members.least
}

/// A scan of a set, newest first: the least loaded member that may be taken, and the most loaded one.
struct Members {
    place: u32,
    size: u32,
    service: u32,
    is_set: u32,
    least: u32,
    most: u32,
    /// Of the least and of the most loaded one.
    loads: [u64; 2],
    weights: [u64; 2],
}

impl Work for Members {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool {
        let Some(locality) = tables.locality(self.place) else {
            return false;
        };
        let position = self.size.wrapping_sub(1).wrapping_sub(index) as usize;
        let member = locality.members[position & (LOCALITY_MEMBERS - 1)].load() as u32;
        let (Some(standing), Some(gauge)) = (tables.standing(member), tables.gauge(member)) else {
            return true;
        };
        let (standing, link) = (Weight(standing.weight.load()), tables.link(member));
        if standing.get() == 0 || standing.service() != self.service & 0xffff {
            return true;
        }
        let (active, inactive) = Gauge::split(gauge.load());
        let candidate = Candidate {
            weight: standing.get().into(),
            active: active.into(),
            inactive: inactive.into(),
        };
        let (load, weight) = (candidate.overhead(), candidate.weight);
        // A single member is taken whether it is overloaded or not.
        let is_open = self.is_set == 0 || !standing.is_overloaded();
        let is_available = (link.is_via() || link.is_local()) && is_open;
        let is_less = self.least == 0 || self.loads[0] * weight > load * self.weights[0];
        if is_available && is_less {
            self.least = member;
            self.loads[0] = load;
            self.weights[0] = weight;
        }
        if self.most == 0 || self.loads[1] * weight < load * self.weights[1] {
            self.most = member;
            self.loads[1] = load;
            self.weights[1] = weight;
        }
        true
    }
}

/// Whether a destination has more active connections than its weight, while another has less than half of its
/// own.
#[inline(never)]
fn is_busy(service: &Service, destination: u32, tables: &impl Tables) -> bool {
    let (Some(standing), Some(gauge)) = (tables.standing(destination), tables.gauge(destination))
    else {
        return false;
    };
    let weight = Weight(standing.weight.load()).get();
    if Gauge::split(gauge.load()).0 <= weight {
        return false;
    }
    let mut idle = Idle {
        base: service.base,
        is_there: 0,
    };
    tables.repeat(service.count.min(LISTED_DESTINATIONS), &mut idle);
    idle.is_there != 0
}

/// The search for a destination that is half idle.
struct Idle {
    base: u32,
    is_there: u32,
}

impl Work for Idle {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool {
        let id = tables.rotation_slot(self.base.wrapping_add(index));
        let (Some(standing), Some(gauge)) = (tables.standing(id), tables.gauge(id)) else {
            return true;
        };
        let link = tables.link(id);
        let is_reachable = link.is_via() || link.is_local();
        let weight = u64::from(Weight(standing.weight.load()).get());
        let active = u64::from(Gauge::split(gauge.load()).0);
        if is_reachable && active * 2 < weight {
            self.is_there = 1;
        }
        self.is_there == 0
    }
}

/// Remembers an address for the first time.
#[inline(never)]
fn settle(
    service: &Service,
    arrival: &Arrival,
    place: u32,
    destination: u32,
    tables: &impl Tables,
) {
    let (Some(hash), Some(locality)) = (hash(service, arrival, tables), tables.locality(place))
    else {
        return;
    };
    let tag = locality.tag.load();
    if tag == CLAIMED || !locality.tag.swap_if(tag, CLAIMED) {
        return;
    }
    let tick = u64::from(arrival.tick);
    locality.ticks.store(tick << 32 | tick);
    locality.members[0].store(destination.into());
    locality.size.store(1);
    locality.tag.store(hash);
}

/// Puts a destination into a set as its newest member, or, for `lblc`, in its member's place.
#[inline(never)]
fn join(place: u32, destination: u32, kind: Kind, tick: u32, tables: &impl Tables) {
    let Some(locality) = tables.locality(place) else {
        return;
    };
    let Some(size) = lock(locality) else {
        return;
    };
    let tick = u64::from(tick);
    if kind == Kind::LBLC {
        locality.members[0].store(destination.into());
        locality.ticks.store(tick << 32 | tick);
        locality.size.store(1);
        return;
    }
    // A full set first loses its oldest.
    let is_full = size >= LOCALITY_MEMBERS as u64;
    let mut search = Removal {
        place,
        size: size as u32,
        member: destination,
        is_found: u32::from(is_full),
        is_removing: u32::from(is_full),
    };
    tables.repeat(LOCALITY_MEMBERS as u32, &mut search);
    let is_member = !is_full && search.is_found != 0;
    if is_member {
        locality.size.store(size);
        return;
    }
    let kept = if is_full { size - 1 } else { size };
    locality.members[kept as usize & (LOCALITY_MEMBERS - 1)].store(destination.into());
    locality.ticks.store(tick << 32 | tick);
    locality.size.store(kept + 1);
}

/// Takes a member out of a set.
#[inline(never)]
fn leave(place: u32, member: u32, tick: u32, tables: &impl Tables) {
    let Some(locality) = tables.locality(place) else {
        return;
    };
    let Some(size) = lock(locality) else {
        return;
    };
    let mut removal = Removal {
        place,
        size: size as u32,
        member,
        is_found: 0,
        is_removing: 1,
    };
    tables.repeat(LOCALITY_MEMBERS as u32, &mut removal);
    let tick = u64::from(tick);
    locality.ticks.store(tick << 32 | tick);
    locality.size.store(size - u64::from(removal.is_found));
}

/// The set's size, now ours to change.
#[inline(always)]
fn lock<W: Word>(locality: &Locality<W>) -> Option<u64> {
    let size = locality.size.load();
    let is_ours = size & LOCKED == 0 && locality.size.swap_if(size, size | LOCKED);
    if is_ours { Some(size) } else { None }
}

/// Looks for a member; those behind it move up by one when it is to be removed.
struct Removal {
    place: u32,
    size: u32,
    member: u32,
    is_found: u32,
    is_removing: u32,
}

impl Work for Removal {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool {
        let Some(locality) = tables.locality(self.place) else {
            return false;
        };
        if index >= self.size {
            return false;
        }
        let at = index as usize & (LOCALITY_MEMBERS - 1);
        if locality.members[at].load() == u64::from(self.member) {
            self.is_found = 1;
        }
        if self.is_found != 0 && self.is_removing != 0 {
            let next = locality.members[(at + 1) & (LOCALITY_MEMBERS - 1)].load();
            locality.members[at].store(next);
        }
        true
    }
}
