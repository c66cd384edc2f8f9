//! What would become of a packet, and why: the packet path itself, run over a [`Snapshot`].
//!
//! ```text
//! flow ─► the frame that begins it ─┐
//! a captured frame ────────────────┴► director::forward over a copy ─► what it found on its way
//! ```
//!
//! Nothing here decides: the same source decides in the kernel. The live tables are only read.

use std::net::SocketAddr;

use director::connection::{self, Entry};
use director::ethernet::LinkHeader;
use director::headers::{ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, Mac};
use director::limits::{INTERFACES, STATES};
use director::memory::MemoryFrame;
use director::packet::{Network, NetworkV4, NetworkV6, Packet};
use director::scheduler::{Kind, picks_made};
use director::tables::{Egress, Service, Tables};
use director::time::seconds_from_ticks;
use director::{Counter, ReplyReason, Verdict};
use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep};

use crate::snapshot::Snapshot;
use crate::{Dataplane, Error, ServiceKey};

/// A client's packet that begins a connection: TCP SYN, SCTP INIT, or a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// IP protocol number: 6, 17 or 132.
    pub protocol: u8,
    /// Client address and port.
    pub client: SocketAddr,
    /// Virtual address and port, of the same family.
    pub virtual_address: SocketAddr,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The verdict.
    pub verdict: Verdict,
    /// Its counter.
    pub counter: &'static str,
    /// The service that it belongs to; a known connection is not asked for its service.
    pub service: Option<ServiceKey>,
    /// The destination that it is for, whether or not it reaches it.
    pub destination: Option<u32>,
    /// What decided that.
    pub decision: Decision,
    /// Where its frame goes.
    pub mac: Option<[u8; 6]>,
    /// By which interface.
    pub interface: Option<u32>,
}

/// What decided on a destination, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it did not come to that.
    None,
    /// It belongs to a connection.
    Connection {
        /// Its state, as IPVS writes it.
        state: &'static str,
        /// Seconds until it would be forgotten.
        expires_s: u32,
    },
    /// A persistence template.
    Template,
    /// The turn in a rotation.
    Rotation {
        /// The position.
        position: u64,
        /// Positions until it begins again.
        cycle: u64,
    },
    /// A slot of a hash table.
    Table {
        /// The slot.
        slot: u32,
        /// How many there are.
        slots: u32,
        /// How many were looked at: more than one by `sh-fallback` or `mh-fallback`.
        tried: u32,
        /// Whose the slot is, whether or not it may be given the packet; 0 for nobody's.
        destination: u32,
    },
    /// The best of all.
    List {
        /// How many there are.
        destinations: u32,
        /// Whether it was drawn: another packet may draw another.
        is_drawn: bool,
    },
}

impl Dataplane {
    /// What would become of the first packet of a flow, arriving now; `dead` is a destination that is taken to
    /// have no answer to ARP or neighbour discovery.
    ///
    /// # Errors
    ///
    /// When the addresses are of two families, the protocol is another, or no interface is there to arrive on.
    pub fn explain(&self, flow: &Flow, dead: Option<u32>) -> Result<Explanation, Error> {
        let tables = Snapshot::new(self, dead);
        let ingress = ingress(&tables, |_| false)?;
        let bytes = frame(flow, &ingress)?;
        Ok(run(bytes, &ingress, &tables))
    }

    /// What would become of any frame, arriving now, whole: by the interface whose MAC it is for, else by the
    /// first.
    ///
    /// # Errors
    ///
    /// When no interface is there to arrive on.
    pub fn explain_frame(&self, bytes: &[u8], dead: Option<u32>) -> Result<Explanation, Error> {
        let tables = Snapshot::new(self, dead);
        let to = bytes.first_chunk::<6>();
        let ingress = ingress(&tables, |one| to == Some(&Mac::from_word(one.mac).bytes()))?;
        Ok(run(bytes.to_vec(), &ingress, &tables))
    }

    /// The MACs of the interfaces that frames arrive on, in the order of their slots.
    #[must_use]
    pub fn ingress_macs(&self) -> Vec<[u8; 6]> {
        let tables = Snapshot::new(self, None);
        let attached = (0..INTERFACES).filter_map(|slot| tables.egress(slot));
        let attached = attached.filter(|one| one.interface != 0);
        attached
            .map(|one| Mac::from_word(one.mac).bytes())
            .collect()
    }
}

/// The attached interface that is wanted, else the first.
fn ingress(tables: &Snapshot<'_>, is_wanted: impl Fn(&Egress) -> bool) -> Result<Egress, Error> {
    let attached = (0..INTERFACES).filter_map(|slot| tables.egress(slot));
    let attached: Vec<Egress> = attached.filter(|one| one.interface != 0).collect();
    let wanted = attached.iter().find(|one| is_wanted(one));
    let found = wanted.or(attached.first()).copied();
    found.ok_or(Error::Unexplained("no interface is attached"))
}

fn run(bytes: Vec<u8>, ingress: &Egress, tables: &Snapshot<'_>) -> Explanation {
    let mut frame = MemoryFrame {
        bytes,
        ingress: ingress.interface,
    };
    let known = match LinkHeader::read(&frame).map(|link| link.ether_type) {
        Some(ETHER_TYPE_IPV4) => known::<NetworkV4>(&frame, tables),
        Some(ETHER_TYPE_IPV6) => known::<NetworkV6>(&frame, tables),
        _ => None,
    };
    let verdict = director::forward(&mut frame, tables);
    read(verdict, &frame, tables, known)
}

/// The frame, as the client's router sends it.
fn frame(flow: &Flow, ingress: &Egress) -> Result<Vec<u8>, Error> {
    const FAMILIES: Error = Error::Unexplained("client and virtual address are of two families");
    let mac = Mac::from_word(ingress.mac).bytes();
    // A locally administered address that no interface has.
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], mac);
    match (flow.client, flow.virtual_address) {
        (SocketAddr::V4(client), SocketAddr::V4(vip)) => transport(
            builder.ipv4(client.ip().octets(), vip.ip().octets(), HOPS),
            flow,
        ),
        (SocketAddr::V6(client), SocketAddr::V6(vip)) => transport(
            builder.ipv6(client.ip().octets(), vip.ip().octets(), HOPS),
            flow,
        ),
        _ => Err(FAMILIES),
    }
}

/// Hops that the packet may make: what Linux begins with.
const HOPS: u8 = 64;

fn transport(
    builder: PacketBuilderStep<etherparse::IpHeaders>,
    flow: &Flow,
) -> Result<Vec<u8>, Error> {
    use director::headers::protocol::{SCTP, TCP, UDP};
    let (from, to) = (flow.client.port(), flow.virtual_address.port());
    let mut bytes = Vec::new();
    let written = match flow.protocol {
        TCP => builder
            .tcp(from, to, 0, u16::MAX)
            .syn()
            .write(&mut bytes, &[]),
        UDP => builder.udp(from, to).write(&mut bytes, &[]),
        SCTP => builder.write(&mut bytes, IpNumber(SCTP), &sctp_init(from, to)),
        _ => return Err(Error::Unexplained("the protocol is not TCP, UDP or SCTP")),
    };
    match written {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::Unexplained("the packet cannot be written")),
    }
}

/// An SCTP packet with an INIT chunk (RFC 9260 §3.3.2); its checksum is the real server's matter.
fn sctp_init(from: u16, to: u16) -> Vec<u8> {
    const CHUNK_BYTES: u16 = 20;
    let mut packet = Vec::new();
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([1, 0]);
    packet.extend(CHUNK_BYTES.to_be_bytes());
    packet.extend([0; CHUNK_BYTES as usize - 4]);
    packet
}

/// The connection that a packet belongs to, as it stands before the packet.
fn known<N: Network>(frame: &MemoryFrame, tables: &Snapshot<'_>) -> Option<Decision> {
    let settings = tables.settings()?;
    let link = LinkHeader::read(frame)?;
    let header = N::parse(frame, link.at, tables).ok()?;
    let hash = Packet::parse(frame, header).ok()?.hash(settings);
    let found = connection::find(tables, settings, hash)?;
    let entry: Entry = connection::read(found.slot, hash)?;
    let timeout = settings.timeouts[usize::from(entry.state().0) & (STATES - 1)];
    let left = timeout.saturating_sub(entry.age(tables.now().tick()));
    Some(Decision::Connection {
        state: entry.state().name(),
        expires_s: seconds_from_ticks(left),
    })
}

/// What a packet found on its way.
fn read(
    verdict: Verdict,
    frame: &MemoryFrame,
    tables: &Snapshot<'_>,
    known: Option<Decision>,
) -> Explanation {
    let seen = &tables.seen;
    let service = seen.service.get();
    let account = seen.account.get();
    let decision = match (account, service) {
        (Some((_, false)), _) => known.unwrap_or(Decision::None),
        (Some(_), _) if seen.has(Counter::TemplateHit) => Decision::Template,
        (Some(_), Some((_, service))) => scheduled(&service, tables),
        (None, Some((_, service))) if is_refused(verdict) => match scheduled(&service, tables) {
            table @ Decision::Table { tried: 1.., .. } => table,
            _ => Decision::None,
        },
        _ => Decision::None,
    };
    let interface = match verdict {
        Verdict::Transmit => Some(frame.ingress),
        Verdict::Redirect { interface } => Some(interface),
        _ => None,
    };
    let mac = frame.bytes.first_chunk().copied();
    let mut names = director::verdict::counter_names();
    Explanation {
        verdict,
        counter: names
            .find(|(number, _)| *number == verdict.counter())
            .map_or("", |(_, name)| name),
        service: service.and_then(|(key, _)| ServiceKey::of_element(&key)),
        destination: account.map(|(destination, _)| destination),
        decision,
        mac: mac.filter(|_| interface.is_some()),
        interface,
    }
}

/// Whether no destination was eligible.
fn is_refused(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Reply(ReplyReason::PortUnreachable))
}

/// How a service's scheduler came to its choice.
fn scheduled(service: &Service, tables: &Snapshot<'_>) -> Decision {
    let seen = &tables.seen;
    let kind = Kind(service.scheduler);
    if kind == Kind::ROTATION {
        let position = service.first.wrapping_add(picks_made(seen.picks.get()));
        Decision::Rotation {
            position: position.checked_rem(service.cycle).unwrap_or(0),
            cycle: service.cycle,
        }
    } else if kind.0 <= Kind::MH.0 {
        Decision::Table {
            slot: seen.slot.get().wrapping_sub(service.base),
            slots: service.count,
            tried: seen.slots.get(),
            destination: seen.slot_of.get(),
        }
    } else {
        Decision::List {
            destinations: service.count,
            is_drawn: kind == Kind::TWOS,
        }
    }
}
