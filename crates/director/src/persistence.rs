//! Persistence: a client network keeps its destination for a while, by a template.
//!
//! A template is an entry of the connection table whose flow has no client port, and where the client's
//! address is masked:
//!
//! ```text
//! service        template's flow
//! address:port   client & mask : 0  →  address : port
//! port 0, FTP    client & mask : 0  →  address : 0        all ports of the client, one destination
//! ```
//!
//! As in IPVS a valid template bypasses scheduler, weight and thresholds; its timer is restarted by each
//! new connection; while it has connections it does not end, but lives on by [`RENEWAL_S`] at a time.
//! `ip_vs_sched_persist` in `net/netfilter/ipvs/ip_vs_core.c`.

use crate::address::{Address, flow_hash};
use crate::connection::{self, Entry, Found, Newcomer, State, find, insert, slot_at};
use crate::forward::Next;
use crate::packet::{Network, Packet};
use crate::scheduler;
use crate::tables::{Service, Settings, Tables, Tuple, Word, service_flag, setting};
use crate::time::ticks_from_seconds;
use crate::verdict::{Counter, ReplyReason, Verdict};

/// Marks the protocol in a template's hash, so that it is never a flow's.
const TEMPLATE_MARK: u8 = 0x40;

/// What a template with connections lives on when its time is over. It replaces the service's own life.
pub const RENEWAL_S: u32 = 60;

/// A destination that a template chose, and the template's slot.
#[derive(Clone, Copy, Debug)]
pub struct Steered {
    /// The destination.
    pub destination: u32,
    /// Slot of the template, and one more.
    pub template: u64,
}

/// Chooses the destination of a new connection by the client's template, or by the scheduler and makes
/// the template.
#[inline(always)]
pub fn steer<N: Network>(
    tables: &impl Tables,
    settings: &Settings,
    service: &Service,
    packet: &Packet<N>,
    protocol: u8,
    tick: u32,
) -> Result<Steered, Next> {
    let header = &packet.header;
    let client = header.client.masked(service.client_mask);
    let kind = protocol ^ TEMPLATE_MARK;
    let is_for_all = service.flags & service_flag::ALL_PORTS != 0;
    let template_port = if is_for_all { 0 } else { packet.virtual_port() };
    let port = u32::from(template_port);
    let hash = flow_hash(
        client,
        header.virtual_address,
        port,
        kind,
        &settings.hash_keys,
    );
    // By its number again: one way to go on from here, not one for each of eight slots.
    let known = find(tables, settings, hash).map(|found| found.index);
    if let Some(index) = known
        && let Some(found) = slot_at(tables, tables.blur(index.into(), hash) as u32)
    {
        let entry = Entry(found.slot.entry.load());
        if entry.destination() != 0 && is_alive(tables, &found, entry, tick) {
            return follow(tables, settings, service, &found, entry, tick);
        }
        connection::release(tables, &found);
    }
    let destination = pick(tables, service)?;
    let tuple = Tuple {
        client: client.mapped(),
        virtual_address: header.virtual_address.mapped(),
        ports: template_port.into(),
        protocol: protocol.into(),
        service: service.id,
        life: service.persistence,
        template: 1,
    };
    let entry = Entry::new(destination, service.id, State::TEMPLATE, tick);
    let newcomer = Newcomer {
        hash,
        entry,
        share: service.share,
    };
    let index = insert(tables, settings, &newcomer, &tuple)
        .map_err(|reason| Next::Done(Verdict::Drop(reason)))?;
    tables.count_event(Counter::TemplateNew);
    Ok(Steered {
        destination,
        template: u64::from(index) + 1,
    })
}

/// Takes a connection that came to nothing off its template.
#[inline(always)]
pub fn detach(tables: &impl Tables, steered: Steered) {
    if steered.template != 0
        && let Some(attached) = tables.attached(steered.template as u32 - 1)
    {
        attached.add(1u64.wrapping_neg());
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

#[inline(always)]
fn pick(tables: &impl Tables, service: &Service) -> Result<u32, Next> {
    scheduler::pick(service, tables).ok_or(Next::Answer(ReplyReason::PortUnreachable))
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

/// Goes where the template says. One whose destination is gone, or drained when that counts, gets another.
#[inline(always)]
fn follow<T: Tables>(
    tables: &T,
    settings: &Settings,
    service: &Service,
    found: &Found<'_, T::Word>,
    entry: Entry,
    tick: u32,
) -> Result<Steered, Next> {
    let link = tables.link(entry.destination());
    let is_left = link.is_drained() && settings.flags & setting::EXPIRE_QUIESCENT_TEMPLATE != 0;
    let renewed = if link.is_gone() || is_left {
        entry
            .redirected(pick(tables, service)?)
            .moved(State::TEMPLATE, tick)
    } else {
        tables.count_event(Counter::TemplateHit);
        entry.moved(entry.state(), tick)
    };
    // Losing to another CPU means that it renewed the template, or chose anew, a moment ago.
    found.slot.entry.swap_if(entry.0, renewed.0);
    if let Some(attached) = tables.attached(found.index) {
        attached.add(1);
    }
    Ok(Steered {
        destination: renewed.destination(),
        template: u64::from(found.index) + 1,
    })
}

/// [`RENEWAL_S`] in ticks.
pub const RENEWAL: u32 = ticks_from_seconds(RENEWAL_S);
