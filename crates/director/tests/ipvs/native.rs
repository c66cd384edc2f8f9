//! The packet path over tables in memory, and what is to be seen of it: as the model has it.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering::SeqCst;

use director::connection::{CLAIMED, Entry, FREE, State};
use director::headers::Mac;
use director::limits::BUCKET_SLOTS;
use director::memory::{MemoryTables, service_key, unmapped};
use director::persistence::RENEWAL;
use director::tables::{Gauge, Link, ServiceKey, Tuple, service_flag, setting};
use director::time::{TICK_SHIFT, ticks_from_seconds};
use director::{DropReason, PassReason, ReplyReason, Tables, Verdict};
use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber, PacketBuilder, icmpv4};

use crate::control::{Act, Reach};
use crate::model::{Outcome, Why};
use crate::steps::{
    Chunks, FTP, Flow, Rules, SCTP, SERVICES, Sysctls, TCP, UDP, client_address, virtual_address,
};
use crate::world;

/// Slots of the table: so many that no flow of a story pushes another out.
const SLOTS: usize = 1 << 8;
/// The clock when a story begins.
const BEGIN_NS: u64 = 1 << 40;

pub struct Native {
    pub tables: MemoryTables,
}

/// A connection or template as the table has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub protocol: u32,
    pub client: IpAddr,
    pub client_port: u16,
    pub virtual_address: IpAddr,
    pub port: u16,
    pub destination: u32,
    pub state: &'static str,
    pub is_template: bool,
    pub tick: u32,
    /// Number of its service.
    pub service: u32,
    /// A template's life in ticks, else 0.
    pub life: u32,
    /// Connections of a template; whether a connection has one.
    pub attached: u64,
}

impl Native {
    pub fn new() -> Self {
        let mut tables = MemoryTables::new(SLOTS, world::KEYS);
        tables.set_egress(0, 1, world::DIRECTOR);
        tables.now_ns.set(BEGIN_NS);
        Self { tables }
    }

    /// The tick of a second of the story.
    pub fn tick_of(second: u64) -> u32 {
        ((BEGIN_NS + second * 1_000_000_000) >> TICK_SHIFT) as u32
    }

    /// Changes the tables, or sends a packet and says what became of it.
    pub fn act(&mut self, act: &Act) -> Option<Outcome> {
        match act {
            Act::Packet(flow, flags) => return Some(self.send(packet(*flow, *flags))),
            Act::Complaint(flow) => return Some(self.send(complaint(*flow))),
            Act::Vips(families) => {
                self.tables.vips.fill(0);
                families
                    .iter()
                    .for_each(|v4| self.tables.add_vip(virtual_address(*v4)));
            }
            Act::Publish {
                service,
                rules,
                rotation,
            } => self.publish(*service, rules, rotation),
            Act::Withdraw(service) => {
                self.tables.services.remove(&key_of(*service));
            }
            Act::Link(id, reach) => {
                self.tables.links.insert(*id, link(*id, *reach).0);
            }
            Act::Timeouts(seconds) => {
                let settings = self.tables.settings.as_mut().unwrap();
                for (state, seconds) in [State::ESTABLISHED, State::FIN_WAIT, State::UDP]
                    .into_iter()
                    .zip(seconds)
                {
                    settings.timeouts[usize::from(state.0)] = ticks_from_seconds(*seconds);
                }
            }
            Act::Sysctls(sysctls) => self.set(sysctls),
            Act::Pass(seconds) => {
                let now = self.tables.now_ns.get();
                self.tables
                    .now_ns
                    .set(now + u64::from(*seconds) * 1_000_000_000);
            }
            Act::Sweep => self.sweep(),
        }
        None
    }

    fn publish(&mut self, service: usize, rules: &Rules, rotation: &[u32]) {
        let (key, id) = (key_of(service), service as u32 + 1);
        let cycle = rotation.len() as u64;
        let turn = self.tables.picks[id as usize]
            .load(SeqCst)
            .checked_rem(cycle);
        let first = turn.map_or(0, |turn| (cycle - turn) % cycle);
        let all = [(cycle, rotation.to_vec())];
        let segments = if rotation.is_empty() { &[] } else { &all[..] };
        self.tables.publish(key, id, first, segments);
        let (protocol, is_v4, port) = SERVICES[service];
        let is_for_all = port == 0 || (port == FTP && protocol == TCP);
        let published = self.tables.services.get_mut(&key).unwrap();
        published.persistence = ticks_from_seconds(rules.persistence_s);
        published.client_mask = match (is_v4, rules.is_for_networks) {
            (true, true) => 0xffff_ff00,
            (true, false) => u32::MAX,
            (false, true) => 64,
            (false, false) => 128,
        };
        published.flags = if is_for_all {
            service_flag::ALL_PORTS
        } else {
            0
        } | if rules.is_one_packet {
            service_flag::ONE_PACKET
        } else {
            0
        };
    }

    fn set(&mut self, sysctls: &Sysctls) {
        let settings = self.tables.settings.as_mut().unwrap();
        settings.conn_reuse_mode = sysctls.conn_reuse_mode;
        let flags = [
            (sysctls.expire_nodest_conn, setting::EXPIRE_NODEST_CONN),
            (
                sysctls.expire_quiescent_template,
                setting::EXPIRE_QUIESCENT_TEMPLATE,
            ),
            (sysctls.sloppy_tcp, setting::SLOPPY_TCP),
            (sysctls.sloppy_sctp, setting::SLOPPY_SCTP),
        ];
        settings.flags = flags
            .iter()
            .filter(|(is_on, _)| *is_on)
            .map(|(_, flag)| flag)
            .sum();
    }

    fn send(&mut self, frame: Vec<u8>) -> Outcome {
        let (out, verdict) = world::forward(&self.tables, frame);
        match verdict {
            Verdict::Transmit => Outcome::Sent(world::destination(&out).unwrap()),
            Verdict::Drop(DropReason::DestinationGone) => Outcome::Silence,
            Verdict::Drop(DropReason::NoDestination)
            | Verdict::Reply(ReplyReason::PortUnreachable) => Outcome::Refused,
            Verdict::Pass(reason) => Outcome::Host(why(reason)),
            other => panic!("{other:?}"),
        }
    }

    /// Forgets what has run out: connections, then templates. What the daemon does in slices and in one go, by
    /// the same rules (`director::connection`).
    fn sweep(&self) {
        let settings = self.tables.settings.unwrap();
        let tick = self.tables.now().tick();
        for (slot, entry, _) in self
            .used()
            .into_iter()
            .filter(|(_, it, _)| !it.state().is_template())
        {
            if entry.is_expired(&settings, tick) {
                self.free(slot, entry);
            }
        }
        for (slot, entry, tuple) in self
            .used()
            .into_iter()
            .filter(|(_, it, _)| it.state().is_template())
        {
            if entry.age(tick) <= tuple.life {
            } else if tuple.template == 0 {
                self.free(slot, entry);
            } else {
                let life = RENEWAL;
                self.tables.tuples.borrow_mut()[slot].life = life;
                self.entry_of(slot)
                    .store(entry.moved(entry.state(), tick).0, SeqCst);
            }
        }
    }

    fn free(&self, slot: usize, entry: Entry) {
        let tuple = self.tables.tuple(slot as u32).unwrap();
        let minus_one = 1u64.wrapping_neg();
        self.tables.gauges[entry.destination() as usize]
            .fetch_sub(Gauge::of(entry.state()), SeqCst);
        self.tables.populations[tuple.service as usize].fetch_add(minus_one, SeqCst);
        if !entry.state().is_template() && tuple.life != 0 {
            self.tables.attached[tuple.life as usize - 1].fetch_add(minus_one, SeqCst);
        }
        self.entry_of(slot).store(0, SeqCst);
        self.slot_of(slot).tag.store(FREE, SeqCst);
    }

    fn slot_of(&self, slot: usize) -> &director::connection::Slot<std::sync::atomic::AtomicU64> {
        &self.tables.buckets[slot / BUCKET_SLOTS].slots[slot % BUCKET_SLOTS]
    }

    fn entry_of(&self, slot: usize) -> &std::sync::atomic::AtomicU64 {
        &self.slot_of(slot).entry
    }

    fn used(&self) -> Vec<(usize, Entry, Tuple)> {
        let all = (0..self.tables.buckets.len() * BUCKET_SLOTS).map(|n| (n, self.slot_of(n)));
        let used = all.filter(|(_, slot)| slot.tag.load(SeqCst) != FREE);
        used.map(|(number, slot)| {
            assert_ne!(slot.tag.load(SeqCst), CLAIMED);
            let tuple = self.tables.tuple(number as u32).unwrap();
            (number, Entry(slot.entry.load(SeqCst)), tuple)
        })
        .collect()
    }

    /// All that is remembered, in order.
    pub fn slots(&self) -> Vec<Slot> {
        let used = self.used().into_iter();
        let mut slots: Vec<Slot> = used
            .map(|(_, entry, tuple)| {
                let is_template = entry.state().is_template();
                Slot {
                    protocol: tuple.protocol,
                    client: unmapped(tuple.client),
                    client_port: (tuple.ports >> 16) as u16,
                    virtual_address: unmapped(tuple.virtual_address),
                    port: tuple.ports as u16,
                    destination: entry.destination(),
                    state: entry.state().name(),
                    is_template,
                    tick: entry.tick(),
                    service: tuple.service,
                    life: if is_template { tuple.life } else { 0 },
                    attached: if is_template {
                        tuple.template
                    } else {
                        u64::from(tuple.life != 0)
                    },
                }
            })
            .collect();
        slots.sort();
        slots
    }

    /// Active and inactive connections of each destination that has any.
    pub fn gauges(&self) -> BTreeMap<u32, (u32, u32)> {
        let all = (0..).zip(&self.tables.gauges);
        let split = all.map(|(id, gauge)| (id, Gauge::split(gauge.load(SeqCst))));
        split.filter(|(_, gauge)| *gauge != (0, 0)).collect()
    }

    /// What each service has in the table.
    pub fn populations(&self) -> HashMap<u32, u64> {
        let all = (0..).zip(&self.tables.populations);
        let counts = all.map(|(id, population)| (id, population.load(SeqCst)));
        counts.filter(|(_, count)| *count != 0).collect()
    }
}

fn why(reason: PassReason) -> Why {
    match reason {
        PassReason::NotAVirtualAddress => Why::NotVirtual,
        PassReason::NotAService => Why::NoService,
        PassReason::NoConnection => Why::NoConnection,
        PassReason::FtpData => Why::FtpData,
        PassReason::LocalDestination => Why::Local,
        PassReason::Icmp => Why::NotOurComplaint,
        other => panic!("passed because of {other:?}"),
    }
}

fn link(id: u32, reach: Reach) -> Link {
    let mac = Mac::from_bytes([2, 0, 0, 1, 0, id as u8]);
    let link = match reach {
        Reach { is_gone: true, .. } => return Link::GONE,
        Reach { is_local: true, .. } => Link::LOCAL,
        _ => Link::via(mac, 0),
    };
    if reach.is_drained {
        link.drained()
    } else {
        link
    }
}

fn key_of(service: usize) -> ServiceKey {
    let (protocol, is_v4, port) = SERVICES[service];
    service_key(virtual_address(is_v4), port, protocol)
}

/// Bytes of a packet's IP.
pub fn ip_bytes(act: &Act) -> u64 {
    let frame = match act {
        Act::Packet(flow, flags) => packet(*flow, *flags),
        Act::Complaint(flow) => complaint(*flow),
        other => panic!("{other:?} has no bytes"),
    };
    frame.len() as u64 - 14
}

fn packet(flow: Flow, flags: u8) -> Vec<u8> {
    let client = (client_address(flow.client, flow.is_v4), flow.client_port);
    let service = (virtual_address(flow.is_v4), flow.port);
    segment(flow.protocol, client, service, flags)
}

fn segment(protocol: u8, from: (IpAddr, u16), to: (IpAddr, u16), flags: u8) -> Vec<u8> {
    if protocol == SCTP {
        return association(from, to, flags);
    }
    world::Packet {
        client: from.0,
        client_port: from.1,
        to: to.0,
        port: to.1,
        flags: (protocol != UDP).then_some(flags),
        ttl: 64,
        payload: vec![7; 8 + usize::from(from.1) % 11],
        padding: 0,
    }
    .bytes()
}

fn association(from: (IpAddr, u16), to: (IpAddr, u16), flags: u8) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.0, to.0) else {
        panic!("SCTP is played over IPv4 only");
    };
    let link = PacketBuilder::ethernet2(world::GATEWAY, world::DIRECTOR);
    let ip = link.ipv4(source.octets(), destination.octets(), 64);
    let payload = Chunks::of(flags).bytes([from.1, to.1]);
    let mut bytes = Vec::new();
    ip.write(&mut bytes, IpNumber::SCTP, &payload).unwrap();
    bytes
}

/// Of the answer that the real server sent on this flow, a router says that it is too big.
fn complaint(flow: Flow) -> Vec<u8> {
    let client = (client_address(flow.client, flow.is_v4), flow.client_port);
    let vip = virtual_address(flow.is_v4);
    let answer = segment(flow.protocol, (vip, flow.port), client, world::ACK);
    // As routers of IPv4 quote: the header and eight bytes.
    let quoted = &answer[14..][..if flow.is_v4 { 28 } else { 48 }];
    let link = PacketBuilder::ethernet2(world::GATEWAY, world::DIRECTOR);
    let mut bytes = Vec::new();
    match vip {
        IpAddr::V4(vip) => {
            let router = Ipv4Addr::new(203, 0, 113, 1);
            let header = icmpv4::DestUnreachableHeader::FragmentationNeeded {
                next_hop_mtu: 1_400,
            };
            let icmp = link.ipv4(router.octets(), vip.octets(), 60);
            let icmp = icmp.icmpv4(Icmpv4Type::DestinationUnreachable(header));
            icmp.write(&mut bytes, quoted).unwrap();
        }
        IpAddr::V6(vip) => {
            let router: std::net::Ipv6Addr = "2001:db8:ffff::1".parse().unwrap();
            let icmp = link.ipv6(router.octets(), vip.octets(), 60);
            let icmp = icmp.icmpv6(Icmpv6Type::PacketTooBig { mtu: 1_400 });
            icmp.write(&mut bytes, quoted).unwrap();
        }
    }
    bytes
}
