//! Persistence: a client network keeps its destination for a while, by a template.
//!
//! A template is an entry of the connection table whose flow has no client port, and where the client's
//! address is masked:
//!
//! ```text
//! service        template's flow
//! address:port   client & mask : 0  →  address : port
//! port 0, FTP    client & mask : 0  →  address : 0        all ports of the client, one destination
//! mark           client & mask : 0  →  mark : 0           all that has the mark
//! ```
//!
//! As in IPVS a valid template bypasses scheduler, weight and thresholds; its timer is restarted by each
//! new connection; while it has connections it does not end, but lives on by [`RENEWAL_S`] at a time.
//! `ip_vs_sched_persist` in `net/netfilter/ipvs/ip_vs_core.c`.

use crate::address::{Address, V4, V6, flow_hash};
use crate::arrival::{Arrival, Outcome};
use crate::connection::{self, Entry, Found, Newcomer, State, find, insert, slot_at};
use crate::tables::{Service, Settings, Tables, Tuple, Word, service_flag, setting};
use crate::time::ticks_from_seconds;
use crate::verdict::{Counter, DropReason};

/// Marks the protocol in a template's hash, so that it is never a flow's.
const TEMPLATE_MARK: u8 = 0x40;

/// The protocol of templates of firewall marks: they are for all.
const PROTOCOL_IP: u32 = 0;

/// What a template with connections lives on when its time is over. It replaces the service's own life.
pub const RENEWAL_S: u32 = 60;

/// A destination, and the template that leads there.
#[derive(Clone, Copy, Debug)]
pub struct Steered {
    /// The destination; 0 when it is to be chosen.
    pub destination: u32,
    /// Slot of the template, and one more; 0 for none.
    pub template: u32,
}

impl Steered {
    /// By no template to no destination.
    pub const NOWHERE: Self = Self {
        destination: 0,
        template: 0,
    };

    /// Takes a connection that came to nothing off its template.
    #[inline(always)]
    pub fn detach(self, tables: &impl Tables) {
        if self.template != 0
            && let Some(attached) = tables.attached(self.template - 1)
        {
            attached.add(1u64.wrapping_neg());
        }
    }
}

/// Looks for the template of a packet's client. It leads somewhere unless its destination is gone, or drained
/// when that counts.
#[inline(always)]
pub fn look(tables: &impl Tables, service: &Service, arrival: &Arrival, mark: u32) -> Steered {
    let word = look_as_number(service, arrival, mark, tables);
    Steered {
        destination: word as u32,
        template: (word >> 32) as u32,
    }
}

/// A function of its own: what it needs is then not on the stack while a scheduler runs.
#[inline(never)]
fn look_as_number(service: &Service, arrival: &Arrival, mark: u32, tables: &impl Tables) -> u64 {
    let Some(settings) = tables.settings() else {
        return 0;
    };
    let hash = Flow::of(settings, service, arrival, mark).hash;
    let Some(found) = find(tables, settings, hash) else {
        return 0;
    };
    // By its number again: one way to go on from here, not one for each of eight slots.
    let index = tables.blur(found.index.into(), hash) as u32;
    let Some(found) = slot_at(tables, index) else {
        return 0;
    };
    let Some(entry) = connection::read(found.slot, hash) else {
        return 0;
    };
    if entry.destination() == 0 || !is_alive(tables, &found, entry, arrival.tick) {
        connection::release_if(tables, &found, hash, entry);
        return 0;
    }
    let link = tables.link(entry.destination());
    let is_left = link.is_drained() && settings.flags & setting::EXPIRE_QUIESCENT_TEMPLATE != 0;
    let template = (u64::from(index) + 1) << 32;
    if link.is_gone() || is_left {
        template
    } else {
        template | u64::from(entry.destination())
    }
}

/// Renews a template by a new connection to `destination`, which was just chosen anew or is where it leads.
///
/// Losing to another CPU means that it renewed the template, or chose anew, a moment ago.
#[inline(always)]
pub fn renew(
    tables: &impl Tables,
    template: u32,
    destination: u32,
    is_chosen: bool,
    tick: u32,
) -> Steered {
    let index = template.wrapping_sub(1);
    if let Some(found) = slot_at(tables, index) {
        let entry = Entry(found.slot.entry.load());
        // Since it was found another flow may have taken the slot: the connection goes without a template.
        if !entry.state().is_template() {
            return Steered {
                destination,
                template: 0,
            };
        }
        let renewed = if is_chosen {
            entry.redirected(destination).moved(State::TEMPLATE, tick)
        } else {
            tables.count_event(Counter::TemplateHit);
            entry.moved(entry.state(), tick)
        };
        found.slot.entry.swap_if(entry.0, renewed.0);
        if let Some(attached) = tables.attached(index) {
            attached.add(1);
        }
    }
    Steered {
        destination,
        template,
    }
}

/// Makes a template with one connection; its slot and one more as [`Outcome::Connected`], or the outcome of a
/// refusal, as a number.
#[inline(never)]
pub fn make(
    service: &Service,
    arrival: &Arrival,
    mark: u32,
    destination: u32,
    tables: &impl Tables,
) -> u64 {
    let Some(settings) = tables.settings() else {
        return Outcome::Dropped(DropReason::Internal).into();
    };
    let flow = Flow::of(settings, service, arrival, mark);
    let tuple = Tuple {
        client: flow.client,
        virtual_address: flow.virtual_address,
        ports: flow.port,
        protocol: flow.protocol,
        service: service.id,
        life: service.persistence,
        template: 1,
    };
    let newcomer = Newcomer {
        hash: flow.hash,
        entry: Entry::new(destination, service.id, State::TEMPLATE, arrival.tick),
        share: service.share,
    };
    match insert(tables, &newcomer, &tuple) {
        Ok(index) => {
            tables.count_event(Counter::TemplateNew);
            Outcome::Connected(index + 1).into()
        }
        Err(reason) => Outcome::Dropped(reason).into(),
    }
}

/// A template's flow.
struct Flow {
    client: [u64; 2],
    virtual_address: [u64; 2],
    port: u32,
    protocol: u32,
    hash: u64,
}

impl Flow {
    #[inline(always)]
    fn of(settings: &Settings, service: &Service, arrival: &Arrival, mark: u32) -> Self {
        if arrival.version == 4 {
            Self::of_family::<V4>(settings, service, arrival, mark)
        } else {
            Self::of_family::<V6>(settings, service, arrival, mark)
        }
    }

    #[inline(always)]
    fn of_family<A: Address>(
        settings: &Settings,
        service: &Service,
        arrival: &Arrival,
        mark: u32,
    ) -> Self {
        let client = A::from_mapped(arrival.client).masked(service.client_mask);
        let is_mark = service.flags & service_flag::MARK != 0;
        let (virtual_address, protocol) = if is_mark {
            (A::of_mark(mark), PROTOCOL_IP)
        } else {
            (A::from_mapped(arrival.virtual_address), arrival.protocol)
        };
        let is_for_all = service.flags & service_flag::ALL_PORTS != 0;
        let port = if is_for_all {
            0
        } else {
            arrival.virtual_port()
        };
        let kind = protocol as u8 ^ TEMPLATE_MARK;
        Self {
            client: client.mapped(),
            virtual_address: virtual_address.mapped(),
            port,
            protocol,
            hash: flow_hash(client, virtual_address, port, kind, &settings.hash_keys),
        }
    }
}

/// Notes that a connection of this template reached ESTABLISHED.
#[inline(always)]
pub fn assure<T: Tables>(tables: &T, template: u64) {
    let Some(index) = (template as u32).checked_sub(1) else {
        return;
    };
    let Some(Found { slot, .. }) = slot_at(tables, index) else {
        return;
    };
    let entry = Entry(slot.entry.load());
    if entry.state() == State::TEMPLATE {
        slot.entry
            .swap_if(entry.0, entry.moved(State::ASSURED, entry.tick()).0);
    }
}

/// Whether a template's time is not over, or it has connections.
#[inline(always)]
fn is_alive<T: Tables>(tables: &T, found: &Found<'_, T::Word>, entry: Entry, tick: u32) -> bool {
    let Some(tuple) = tables.tuple(found.index) else {
        return false;
    };
    // The count is one word of the tuple; for a moment it may be less than nothing.
    let attached = tuple.template as i64;
    entry.age(tick) <= tuple.life || attached > 0
}

/// [`RENEWAL_S`] in ticks.
pub const RENEWAL: u32 = ticks_from_seconds(RENEWAL_S);
