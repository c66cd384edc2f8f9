//! What nearly every frame is: foreign, or of a connection that goes on as it was.
//!
//! This is a program of its own in the kernel, small enough to stay in the processor's caches. It decides
//! such frames whole, and leaves all others, untouched, to [`crate::whole`].

use crate::connection::{find_alternate, find_primary, read, touch};
use crate::ethernet::is_tag;
use crate::forward::{Next, ingress};
use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_BYTES, Ethernet, Mac, MacPair,
    protocol,
};
use crate::packet::{Network, NetworkV4, NetworkV6, Packet};
use crate::rewrite::direct_routing;
use crate::tables::Tables;
use crate::verdict::{PassReason, Verdict};

/// Decides a frame, or leaves it as it is. What comes next goes through `out` where it is known, not where all ways
/// meet again: there a compiler has one value of many kinds to take apart.
#[inline(always)]
pub fn fast<R>(frame: &mut impl Frame, tables: &impl Tables, out: impl Fn(Next) -> R) -> R {
    let Some(ethernet) = Ethernet::read(frame) else {
        return out(Next::Whole);
    };
    match ethernet.ether_type {
        ETHER_TYPE_IPV4 => {
            let known = known::<NetworkV4, R>(frame, tables, ethernet.addresses, &out);
            known.unwrap_or_else(|| out(Next::Whole))
        }
        ETHER_TYPE_IPV6 => out(Next::FastV6),
        ETHER_TYPE_ARP => out(Next::Done(Verdict::Pass(PassReason::Arp))),
        ether_type if is_tag(ether_type) => out(Next::Whole),
        _ => out(Next::Done(Verdict::Pass(PassReason::NotIp))),
    }
}

/// The same for IPv6: four times the address in one program with IPv4 would cost both.
#[inline(always)]
pub fn fast_v6<R>(frame: &mut impl Frame, tables: &impl Tables, out: impl Fn(Next) -> R) -> R {
    let known = match Ethernet::read(frame) {
        Some(ethernet) => known::<NetworkV6, R>(frame, tables, ethernet.addresses, &out),
        None => None,
    };
    known.unwrap_or_else(|| out(Next::Whole))
}

/// One bucket, seldom two, one link, and out: a known connection never looks its service up. `None` for what is not
/// plain.
#[inline(always)]
fn known<N: Network, R>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    addresses: MacPair,
    out: &impl Fn(Next) -> R,
) -> Option<R> {
    let header = match N::parse_plain(frame, ETHERNET_BYTES, tables)? {
        Ok(header) => header,
        Err(reason) => return Some(out(Next::Done(Verdict::Pass(reason)))),
    };
    if header.protocol != protocol::TCP && header.protocol != protocol::UDP {
        return None;
    }
    let packet = Packet::parse_plain(frame, header)?;
    let (ingress_slot, ingress) = ingress(frame.ingress(), tables)?;
    if addresses.destination() != Mac::from_word(ingress.mac) {
        return None;
    }
    let settings = tables.settings()?;
    let hash = packet.hash(settings);
    let slot = match find_primary(tables, settings, hash) {
        Some(slot) => slot,
        None => match find_alternate(tables, settings, hash) {
            Some(slot) => slot,
            None => return Some(out(N::BEGIN)),
        },
    };
    let entry = read(slot, hash)?;
    let link = tables.link(entry.destination());
    let tick = tables.now().tick();
    if !link.is_via() || N::hops(header.lifetime) <= 1 {
        return None;
    }
    // A change of state is more than this program knows of; nearly no packet makes one.
    if packet.steady >> (entry.state().0 & 31) & 1 == 0 {
        return None;
    }
    // Seen in this tick it cannot have run out.
    if entry.tick() != tick && entry.is_expired(settings, tick) {
        return None;
    }
    // On one interface it is known already.
    let egress = if link.egress() == ingress_slot {
        ingress
    } else {
        tables.egress(link.egress())?
    };
    if egress.interface == 0 {
        return None;
    }
    touch(slot, entry, tick);
    tables.account(entry.destination(), 0, header.length as u64);
    direct_routing(frame, &header, link.mac(), Mac::from_word(egress.mac))?;
    Some(if egress.interface == ingress.interface {
        out(Next::Done(Verdict::Transmit))
    } else {
        out(Next::Done(Verdict::Redirect {
            interface: egress.interface,
        }))
    })
}
