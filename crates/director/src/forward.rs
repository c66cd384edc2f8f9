//! The whole data path, in order.

use crate::address::{Address, flow_hash};
use crate::connection::{self, Entry, Known, State};
use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, Ethernet, Mac, MacPair, protocol,
};
use crate::limits::INTERFACES;
use crate::packet::{Event, NetworkV4, NetworkV6, Packet};
use crate::reply::{Reply, reply};
use crate::rewrite::direct_routing;
use crate::scheduler;
use crate::tables::{Egress, ServiceKey, Settings, Tables, Tuple};
use crate::time::Instant;
use crate::verdict::{Counter, DropReason, PassReason, ReplyReason, Verdict};

/// Decides one frame and, if it is ours, readdresses it.
#[inline(always)]
pub fn forward(frame: &mut impl Frame, tables: &impl Tables) -> Verdict {
    let verdict = decide(frame, tables);
    tables.count_verdict(verdict);
    verdict
}

#[inline(always)]
fn decide(frame: &mut impl Frame, tables: &impl Tables) -> Verdict {
    let Some(ethernet) = Ethernet::read(frame) else {
        return Verdict::Drop(DropReason::MalformedEthernet);
    };
    match ethernet.ether_type {
        ETHER_TYPE_IPV4 => balance::<NetworkV4>(frame, tables, ethernet.addresses),
        ETHER_TYPE_IPV6 => balance::<NetworkV6>(frame, tables, ethernet.addresses),
        ETHER_TYPE_ARP => Verdict::Pass(PassReason::Arp),
        _ => Verdict::Pass(PassReason::NotIp),
    }
}

/// A known connection never looks its service up: one bucket, one link, and out.
#[inline(always)]
fn balance<N: Reply>(frame: &mut impl Frame, tables: &impl Tables, addresses: MacPair) -> Verdict {
    let packet = match N::parse(frame, tables) {
        Ok(packet) => packet,
        Err(verdict) => return verdict,
    };
    let Some(ingress) = ingress(frame.ingress(), tables) else {
        return Verdict::Pass(PassReason::NotForThisHost);
    };
    if addresses.destination() != Mac::from_word(ingress.mac) {
        return Verdict::Pass(PassReason::NotForThisHost);
    }
    let Some(settings) = tables.settings() else {
        return Verdict::Pass(PassReason::NotReady);
    };
    let now = tables.now();
    let keys = &settings.hash_keys;
    let hash = flow_hash(
        packet.client,
        packet.virtual_address,
        packet.ports,
        packet.protocol,
        keys,
    );
    let known = connection::find(tables, settings, hash, packet.event, now.tick());
    let (destination, is_new) = match known {
        Known::Destination(destination) => (Ok(destination), false),
        Known::Gone => (Err(Verdict::Drop(DropReason::DestinationGone)), false),
        Known::Unknown => (begin(tables, settings, &packet, hash, now), true),
    };
    let verdict = match destination {
        Ok(destination) => send(
            frame,
            tables,
            &packet,
            Route {
                ingress,
                destination,
                is_new,
            },
        ),
        Err(verdict) => verdict,
    };
    let Verdict::Reply(reason) = verdict else {
        return verdict;
    };
    // So far only meant: here it is written, in one place, for it is long.
    match reply(frame, tables, &packet, addresses, reason, now) {
        Some(()) => verdict,
        None => Verdict::Drop(reason.otherwise()),
    }
}

/// Where a packet came from and where it goes.
struct Route {
    ingress: Egress,
    destination: u32,
    is_new: bool,
}

/// Sends the packet of a connection on its way.
#[inline(always)]
fn send<N: Reply>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    packet: &Packet<N>,
    route: Route,
) -> Verdict {
    let link = tables.link(route.destination);
    if !link.is_via() {
        return if link.is_local() {
            tables.account(
                route.destination,
                u64::from(route.is_new),
                packet.length as u64,
            );
            Verdict::Pass(PassReason::LocalDestination)
        } else if link.is_gone() {
            Verdict::Drop(DropReason::DestinationGone)
        } else {
            Verdict::Drop(DropReason::DestinationUnresolved)
        };
    }
    // Counted before it is sent: what the wire does to it is not the service's matter (ipvs §5).
    tables.account(
        route.destination,
        u64::from(route.is_new),
        packet.length as u64,
    );
    if N::hops(packet.lifetime) <= 1 {
        return Verdict::Reply(ReplyReason::TimeExceeded);
    }
    let Some(egress) = tables.egress(link.egress()) else {
        return Verdict::Drop(DropReason::Internal);
    };
    let Some(()) = direct_routing(frame, packet, link.mac(), Mac::from_word(egress.mac)) else {
        return Verdict::Drop(DropReason::Internal);
    };
    if egress.interface == route.ingress.interface {
        Verdict::Transmit
    } else {
        Verdict::Redirect {
            interface: egress.interface,
        }
    }
}

/// Makes a connection, if the packet may and somebody will serve it.
#[inline(always)]
fn begin<N: Reply>(
    tables: &impl Tables,
    settings: &Settings,
    packet: &Packet<N>,
    hash: u64,
    now: Instant,
) -> Result<u32, Verdict> {
    let virtual_address = packet.virtual_address.mapped();
    let virtual_port = packet.virtual_port().to_be_bytes();
    let key = ServiceKey {
        address: virtual_address,
        port: virtual_port,
        protocol: packet.protocol,
        reserved: 0,
    };
    let service = tables
        .service(&key)
        .ok_or(Verdict::Pass(PassReason::NotAService))?;
    if packet.protocol == protocol::TCP && packet.event != Event::Syn {
        return Err(Verdict::Pass(PassReason::NoConnection));
    }
    if packet.client_port() == FTP_DATA_PORT {
        return Err(Verdict::Pass(PassReason::FtpData));
    }
    let destination =
        scheduler::pick(&service, tables).ok_or(Verdict::Reply(ReplyReason::PortUnreachable))?;
    let state = State::NONE.after(packet.event);
    let entry = Entry::new(destination, state, now.tick());
    let tuple = Tuple {
        client: packet.client.mapped(),
        virtual_address,
        client_port: packet.client_port().to_be_bytes(),
        virtual_port,
        protocol: packet.protocol,
        reserved: [0; 3],
        service: service.id,
        created: now.tick(),
    };
    connection::insert(tables, settings, hash, entry, &tuple).map_err(Verdict::Drop)?;
    tables.count_event(Counter::ConnectionNew);
    Ok(destination)
}

/// FTP's data port: such packets come from servers, whichever way they face (`ip_vs_core.c`).
const FTP_DATA_PORT: u16 = 20;

/// The interface a frame came in by. Nearly always the first.
#[inline(always)]
fn ingress(interface: u32, tables: &impl Tables) -> Option<Egress> {
    for slot in 0..INTERFACES {
        let egress = tables.egress(slot)?;
        if egress.interface == interface {
            return Some(egress);
        }
    }
    None
}
