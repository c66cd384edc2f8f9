//! The whole data path, in order.

use crate::address::{Address, flow_hash};
use crate::connection::{self, Entry, State};
use crate::ethernet::LinkHeader;
use crate::fragment;
use crate::frame::Frame;
use crate::headers::{ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, Mac, protocol};
use crate::icmp::Errors;
use crate::limits::INTERFACES;
use crate::packet::{Event, Fragment, Header, Network, NetworkV4, NetworkV6, Packet};
use crate::reply::reply;
use crate::rewrite::direct_routing;
use crate::scheduler;
use crate::tables::{Egress, ServiceKey, Settings, Tables, Tuple, Word};
use crate::time::Instant;
use crate::verdict::{Counter, DropReason, PassReason, ReplyReason, Verdict};

/// Decides one frame and, if it is ours, readdresses it.
///
/// In the kernel the three steps are programs that call each other's successor; the counter is moved by
/// the one that decides.
#[inline(always)]
pub fn forward(frame: &mut impl Frame, tables: &impl Tables) -> Verdict {
    let verdict = match crate::fast(frame, tables) {
        Some(verdict) => verdict,
        None => match whole(frame, tables) {
            Verdict::Reply(reason) => answer(frame, tables, reason),
            verdict => verdict,
        },
    };
    tables.count_verdict(verdict);
    verdict
}

/// Decides any frame: all that [`crate::fast`] leaves. [`Verdict::Reply`] is only meant so far: the
/// frame is as it was, and [`answer`] comes next.
#[inline(always)]
pub fn whole(frame: &mut impl Frame, tables: &impl Tables) -> Verdict {
    let Some(link) = LinkHeader::read(frame) else {
        return Verdict::Drop(DropReason::MalformedEthernet);
    };
    match link.ether_type {
        ETHER_TYPE_IPV4 => balance::<NetworkV4>(frame, tables, link),
        ETHER_TYPE_IPV6 => balance::<NetworkV6>(frame, tables, link),
        ETHER_TYPE_ARP => Verdict::Pass(PassReason::Arp),
        _ => Verdict::Pass(PassReason::NotIp),
    }
}

/// Answers a frame's sender, in the frame's place, if it may be answered.
#[inline(always)]
pub fn answer(frame: &mut impl Frame, tables: &impl Tables, reason: ReplyReason) -> Verdict {
    let Some(link) = LinkHeader::read(frame) else {
        return Verdict::Drop(DropReason::MalformedEthernet);
    };
    let answered = match link.ether_type {
        ETHER_TYPE_IPV4 => reply::<NetworkV4>(frame, tables, link, reason),
        ETHER_TYPE_IPV6 => reply::<NetworkV6>(frame, tables, link, reason),
        _ => None,
    };
    match answered {
        Some(()) => Verdict::Reply(reason),
        None => Verdict::Drop(reason.otherwise()),
    }
}

#[inline(always)]
fn balance<N: Errors>(frame: &mut impl Frame, tables: &impl Tables, link: LinkHeader) -> Verdict {
    let mut header = match N::parse(frame, link.at, tables) {
        Ok(header) => header,
        Err(verdict) => return verdict,
    };
    header.transport = frame.blur(header.transport);
    let Some(ingress) = ingress(frame.ingress(), tables) else {
        return Verdict::Pass(PassReason::NotForThisHost);
    };
    if link.addresses.destination() != Mac::from_word(ingress.mac) {
        return Verdict::Pass(PassReason::NotForThisHost);
    }
    let Some(settings) = tables.settings() else {
        return Verdict::Pass(PassReason::NotReady);
    };
    match choose(frame, tables, settings, header, tables.now()) {
        Ok(choice) => send(frame, tables, &header, ingress, choice),
        Err(verdict) => verdict,
    }
}

/// Where a packet goes, and why.
#[derive(Clone, Copy)]
struct Choice {
    destination: u32,
    /// It made a connection.
    is_new: bool,
    /// Nobody is told what becomes of it: an ICMP error, or a piece that is not the first (RFC 1122 §3.2.2).
    is_unanswerable: bool,
}

impl Choice {
    #[inline(always)]
    fn known(destination: u32) -> Self {
        Self {
            destination,
            is_new: false,
            is_unanswerable: false,
        }
    }
}

/// Chooses the destination: of the first fragment, of the quoted connection, of the known connection, or
/// a new one.
#[inline(always)]
fn choose<N: Errors>(
    frame: &impl Frame,
    tables: &impl Tables,
    settings: &Settings,
    header: Header<N>,
    now: Instant,
) -> Result<Choice, Verdict> {
    if let Fragment::Later(identification) = header.fragment {
        let first = fragment::follow(tables, settings, &header, identification, now.tick());
        let destination = first.ok_or(Verdict::Pass(PassReason::Fragment))?;
        tables.count_event(Counter::FragmentFollowed);
        return Ok(Choice {
            is_unanswerable: true,
            ..Choice::known(destination)
        });
    }
    if header.protocol == N::ICMP {
        return quoted(frame, tables, settings, &header, now);
    }
    let packet = Packet::parse(frame, header)?;
    let choice = connection(tables, settings, &packet, now)?;
    if let Fragment::First(identification) = header.fragment {
        tables.count_event(Counter::FragmentFirst);
        let tick = now.tick();
        fragment::remember(
            tables,
            settings,
            &header,
            identification,
            choice.destination,
            tick,
        );
    }
    Ok(choice)
}

/// The destination of the connection that an ICMP error is about; its timer is left alone.
#[inline(always)]
fn quoted<N: Errors>(
    frame: &impl Frame,
    tables: &impl Tables,
    settings: &Settings,
    header: &Header<N>,
    now: Instant,
) -> Result<Choice, Verdict> {
    const NOT_OURS: Verdict = Verdict::Pass(PassReason::Icmp);
    // Of a fragmented error the rest would go astray: the host gathers it, and has no use for it.
    if header.fragment != Fragment::Whole {
        return Err(NOT_OURS);
    }
    let hash = N::quoted_flow(frame, header, settings).ok_or(NOT_OURS)?;
    let slot = connection::find(tables, settings, hash).ok_or(NOT_OURS)?;
    let entry = Entry(slot.entry.load());
    if entry.destination() == 0 || entry.is_expired(settings, now.tick()) {
        return Err(NOT_OURS);
    }
    tables.count_event(Counter::IcmpErrorForwarded);
    Ok(Choice {
        destination: entry.destination(),
        is_new: false,
        is_unanswerable: true,
    })
}

/// The destination of a packet's connection, known or new.
#[inline(always)]
fn connection<N: Network>(
    tables: &impl Tables,
    settings: &Settings,
    packet: &Packet<N>,
    now: Instant,
) -> Result<Choice, Verdict> {
    let (client, vip) = (packet.header.client, packet.header.virtual_address);
    let kind = packet.header.protocol;
    let hash = flow_hash(client, vip, packet.ports, kind, &settings.hash_keys);
    let tick = now.tick();
    if let Some(slot) = connection::find(tables, settings, hash) {
        let entry = Entry(slot.entry.load());
        if entry.destination() != 0 && !entry.is_over(settings, packet.event, tick) {
            // Of a deleted destination the timer is not restarted, so that the connection ends.
            if tables.link(entry.destination()).is_gone() {
                return Err(Verdict::Drop(DropReason::DestinationGone));
            }
            connection::renew(tables, slot, entry, packet.event, tick);
            return Ok(Choice::known(entry.destination()));
        }
        connection::release(tables, slot);
    }
    begin(tables, settings, packet, hash, now)
}

/// Makes a connection, if the packet may and somebody will serve it.
#[inline(always)]
fn begin<N: Network>(
    tables: &impl Tables,
    settings: &Settings,
    packet: &Packet<N>,
    hash: u64,
    now: Instant,
) -> Result<Choice, Verdict> {
    let virtual_address = packet.header.virtual_address.mapped();
    let virtual_port = packet.virtual_port().to_be_bytes();
    let key = ServiceKey {
        address: virtual_address,
        port: virtual_port,
        protocol: packet.header.protocol,
        reserved: 0,
    };
    let service = tables
        .service(&key)
        .ok_or(Verdict::Pass(PassReason::NotAService))?;
    if packet.header.protocol == protocol::TCP && packet.event != Event::Syn {
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
        client: packet.header.client.mapped(),
        virtual_address,
        client_port: packet.client_port().to_be_bytes(),
        virtual_port,
        protocol: packet.header.protocol,
        reserved: [0; 3],
        service: service.id,
        created: now.tick(),
    };
    connection::insert(tables, settings, hash, entry, &tuple).map_err(Verdict::Drop)?;
    tables.count_event(Counter::ConnectionNew);
    Ok(Choice {
        destination,
        is_new: true,
        is_unanswerable: false,
    })
}

/// FTP's data port: such packets come from servers, whichever way they face (`ip_vs_core.c`).
const FTP_DATA_PORT: u16 = 20;

/// Sends a packet on its way.
#[inline(always)]
fn send<N: Network>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    header: &Header<N>,
    ingress: Egress,
    choice: Choice,
) -> Verdict {
    let link = tables.link(choice.destination);
    if link.is_gone() {
        return Verdict::Drop(DropReason::DestinationGone);
    }
    // Counted before it is sent: what the wire does to it is not the service's matter (ipvs §5).
    let connections = u64::from(choice.is_new);
    tables.account(choice.destination, connections, header.length as u64);
    if link.is_local() {
        return Verdict::Pass(PassReason::LocalDestination);
    }
    if !link.is_via() {
        return Verdict::Drop(DropReason::DestinationUnresolved);
    }
    if N::hops(header.lifetime) <= 1 {
        return if choice.is_unanswerable {
            Verdict::Drop(DropReason::TimeExceeded)
        } else {
            Verdict::Reply(ReplyReason::TimeExceeded)
        };
    }
    let Some(egress) = tables.egress(link.egress()) else {
        return Verdict::Drop(DropReason::Internal);
    };
    let source = Mac::from_word(egress.mac);
    let Some(()) = direct_routing(frame, header, link.mac(), source) else {
        return Verdict::Drop(DropReason::Internal);
    };
    if egress.interface == ingress.interface {
        Verdict::Transmit
    } else {
        Verdict::Redirect {
            interface: egress.interface,
        }
    }
}

/// The interface a frame came in by. Nearly always the first.
#[inline(always)]
pub(crate) fn ingress(interface: u32, tables: &impl Tables) -> Option<Egress> {
    for slot in 0..INTERFACES {
        let egress = tables.egress(slot)?;
        if egress.interface == interface {
            return Some(egress);
        }
    }
    None
}
