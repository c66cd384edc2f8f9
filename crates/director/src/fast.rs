//! What nearly every frame is: foreign, or of a connection that goes on as it was.
//!
//! This is a program of its own in the kernel, small enough to stay in the processor's caches. It decides
//! such frames whole, and leaves all others, untouched, to [`crate::whole`].

use crate::address::flow_hash;
use crate::connection::{Entry, find_primary, renew};
use crate::ethernet::is_tag;
use crate::forward::ingress;
use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_BYTES, Ethernet, Mac, MacPair,
    protocol,
};
use crate::packet::{Event, Network, NetworkV4, NetworkV6, Packet};
use crate::rewrite::direct_routing;
use crate::tables::{Tables, Word};
use crate::verdict::{PassReason, Verdict};

/// Decides a frame, or leaves it as it is: `None`.
#[inline(always)]
pub fn fast(frame: &mut impl Frame, tables: &impl Tables) -> Option<Verdict> {
    let ethernet = Ethernet::read(frame)?;
    match ethernet.ether_type {
        ETHER_TYPE_IPV4 => known::<NetworkV4>(frame, tables, ethernet.addresses),
        ETHER_TYPE_IPV6 => known::<NetworkV6>(frame, tables, ethernet.addresses),
        ETHER_TYPE_ARP => Some(Verdict::Pass(PassReason::Arp)),
        ether_type if is_tag(ether_type) => None,
        _ => Some(Verdict::Pass(PassReason::NotIp)),
    }
}

/// One bucket, one link, and out: a known connection never looks its service up.
#[inline(always)]
fn known<N: Network>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    addresses: MacPair,
) -> Option<Verdict> {
    let header = match N::parse_plain(frame, ETHERNET_BYTES, tables)? {
        Ok(header) => header,
        Err(reason) => return Some(Verdict::Pass(reason)),
    };
    if header.protocol != protocol::TCP && header.protocol != protocol::UDP {
        return None;
    }
    let packet = Packet::parse(frame, header).ok()?;
    let ingress = ingress(frame.ingress(), tables)?;
    if addresses.destination() != Mac::from_word(ingress.mac) {
        return None;
    }
    let settings = tables.settings()?;
    let (client, vip) = (header.client, header.virtual_address);
    let hash = flow_hash(
        client,
        vip,
        packet.ports,
        header.protocol,
        &settings.hash_keys,
    );
    let slot = find_primary(tables, settings, hash)?;
    let entry = Entry(slot.entry.load());
    let link = tables.link(entry.destination());
    let tick = tables.now().tick();
    if !link.is_via() || N::hops(header.lifetime) <= 1 {
        return None;
    }
    // Seen in this tick it cannot have run out, which nearly always saves looking.
    if entry.tick() != tick && entry.is_over(settings, packet.event, tick)
        || packet.event == Event::Syn
    {
        return None;
    }
    let egress = tables.egress(link.egress())?;
    renew(tables, slot, entry, packet.event, tick);
    tables.account(entry.destination(), 0, header.length as u64);
    direct_routing(frame, &header, link.mac(), Mac::from_word(egress.mac))?;
    if egress.interface == ingress.interface {
        Some(Verdict::Transmit)
    } else {
        Some(Verdict::Redirect {
            interface: egress.interface,
        })
    }
}
