//! The tables around a frame, as the changes that make them: the same list makes the native tables and
//! the kernel's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;

use director::Verdict;
use director::tables::{Locality, TUPLE_BYTES};
use dirigo_dataplane::{
    Behaviour, DestinationLink, MarkRule, Rules, Schedule, Segment, ServiceKey, Standing, Stats,
};

use crate::packet::{DIRECTOR, DIRECTOR_2, Mac, VIP, VIP_6};

/// A change of the tables.
#[derive(Clone, Debug)]
pub enum Change {
    /// Which addresses are virtual.
    Vips(Vec<IpAddr>),
    /// Slot, index and MAC of an interface.
    Interface(u8, u32, Mac),
    /// Makes a service or replaces its rotation; `first` is the position of the next pick.
    Publish {
        key: ServiceKey,
        id: u32,
        segments: Vec<Segment>,
        first: u64,
    },
    /// Makes a service with any scheduler and rules.
    Schedule {
        key: ServiceKey,
        id: u32,
        rules: Rules,
        schedule: Schedule,
    },
    /// How a destination is reached and what it may be given.
    Standing(u32, DestinationLink, Standing),
    /// Rules of firewall marks.
    Marks(Vec<MarkRule>),
    /// The same, of a service that does more than schedule.
    PublishWith {
        key: ServiceKey,
        id: u32,
        rules: Rules,
        segments: Vec<Segment>,
        first: u64,
    },
    /// Removes a service.
    Withdraw(ServiceKey),
    /// How a destination is reached.
    Link(u32, DestinationLink),
    /// The same, of one whose weight is 0.
    Drained(u32, DestinationLink),
    /// IPVS's settings.
    Behave(Behaviour),
    /// Established, after FIN, UDP: idle timeouts in seconds.
    Timeouts(u32, u32, u32),
    /// Lets seconds pass: time itself cannot be moved in the kernel, so all that is remembered gets older.
    Age(u32),
    /// Forgets what has run out, in the whole table.
    Sweep,
}

/// Index of the interface that frames arrive on: the loopback, which is always there.
pub const INGRESS: u32 = 1;
/// Index of an interface that frames only leave by. None has it, and a test run sends nothing.
pub const ELSEWHERE: u32 = 7_777;

/// Highest destination and service number that tests use.
pub const IDS: u32 = 32;

/// Real servers of the golden cases.
pub const A: u32 = 1;
pub const B: u32 = 2;
pub const C: u32 = 3;
/// Behind the director's other interface.
pub const FAR: u32 = 4;
pub const UNRESOLVED: u32 = 5;
pub const GONE: u32 = 6;
pub const LOCAL: u32 = 7;
/// Behind an interface slot that cannot be.
pub const NOWHERE: u32 = 8;

/// Services of the golden cases, by port.
pub const HTTP: u16 = 80;
pub const WRR: u16 = 82;
pub const EMPTY: u16 = 83;
pub const DNS: u16 = 53;
pub const PORT_OF_FAR: u16 = 90;
pub const PORT_OF_UNRESOLVED: u16 = 91;
pub const PORT_OF_GONE: u16 = 92;
pub const PORT_OF_LOCAL: u16 = 93;
pub const PORT_OF_NOWHERE: u16 = 94;
/// A port of the virtual address that no service has.
pub const NO_SERVICE: u16 = 22;

/// MAC of a real server.
pub fn mac(id: u32) -> Mac {
    [2, 0, 0, 1, 0, id as u8]
}

pub fn via(id: u32, slot: u8) -> DestinationLink {
    DestinationLink::Via { mac: mac(id), slot }
}

pub fn key(protocol: u8, address: IpAddr, port: u16) -> ServiceKey {
    ServiceKey::new(address, port, protocol)
}

/// A rotation of one segment.
pub fn round(destinations: &[u32]) -> Vec<Segment> {
    segments(&[(destinations.len() as u64, destinations)])
}

pub fn segments(list: &[(u64, &[u32])]) -> Vec<Segment> {
    let segment = |(end, destinations): &(u64, &[u32])| Segment {
        end: *end,
        destinations: destinations.to_vec(),
    };
    list.iter().map(segment).collect()
}

pub fn publish(id: u32, protocol: u8, address: IpAddr, port: u16, rotation: &[u32]) -> Change {
    let segments = if rotation.is_empty() {
        Vec::new()
    } else {
        round(rotation)
    };
    Change::Publish {
        key: key(protocol, address, port),
        id,
        segments,
        first: 0,
    }
}

/// The tables that golden cases start from.
pub fn classic() -> Vec<Change> {
    let mut changes = vec![
        Change::Vips(vec![VIP, VIP_6]),
        Change::Interface(0, INGRESS, DIRECTOR),
        Change::Interface(1, ELSEWHERE, DIRECTOR_2),
        Change::Link(A, via(A, 0)),
        Change::Link(B, via(B, 0)),
        Change::Link(C, via(C, 0)),
        Change::Link(FAR, via(FAR, 1)),
        Change::Link(UNRESOLVED, DestinationLink::Unresolved),
        Change::Link(GONE, DestinationLink::Gone),
        Change::Link(LOCAL, DestinationLink::Local),
        Change::Link(NOWHERE, via(NOWHERE, 200)),
    ];
    for (base, vip) in [(0, VIP), (10, VIP_6)] {
        changes.extend([
            publish(base + 1, 6, vip, HTTP, &[A, B]),
            publish(base + 2, 17, vip, DNS, &[A, B]),
            publish(base + 3, 6, vip, EMPTY, &[]),
            publish(base + 4, 17, vip, EMPTY, &[]),
            publish(base + 5, 6, vip, PORT_OF_FAR, &[FAR]),
            publish(base + 6, 6, vip, PORT_OF_UNRESOLVED, &[UNRESOLVED]),
            publish(base + 7, 6, vip, PORT_OF_GONE, &[GONE]),
            publish(base + 8, 6, vip, PORT_OF_LOCAL, &[LOCAL]),
            publish(base + 9, 6, vip, PORT_OF_NOWHERE, &[NOWHERE]),
        ]);
    }
    // Weights 4, 3, 2 of A, B, C: positions of the same eligible set are one segment.
    changes.push(Change::Publish {
        key: key(6, VIP, WRR),
        id: 20,
        segments: segments(&[(1, &[A]), (3, &[A, B]), (9, &[A, B, C])]),
        first: 0,
    });
    changes
}

/// What is remembered of an address, in words.
pub type LocalityWords = [u64; size_of::<Locality<AtomicU64>>() / 8];

/// A tuple in words.
pub type Words = [u64; TUPLE_BYTES / 8];

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The XDP action: 1 drop, 2 pass, 3 transmit, 4 redirect.
    pub action: u32,
    pub frame: Vec<u8>,
}

/// The action that a verdict becomes.
pub fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Drop(_) => 1,
        Verdict::Pass(_) => 2,
        Verdict::Transmit | Verdict::Reply(_) => 3,
        Verdict::Redirect { .. } => 4,
    }
}

/// A remembered connection, without its time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    pub protocol: u8,
    pub client: SocketAddr,
    pub virtual_address: SocketAddr,
    pub destination: u32,
    pub state: &'static str,
}

/// All that frames leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    pub connections: Vec<Known>,
    /// Slots that hold something: number, tag, entry.
    pub slots: Vec<(u32, u64, u64)>,
    /// Whom they belong to, in full, and what templates have.
    pub tuples: Vec<Words>,
    /// Connections that each service has in the table.
    pub populations: Vec<u64>,
    /// Active and inactive connections, and what was sent, by destination.
    pub destinations: BTreeMap<u32, ((u32, u32), Stats)>,
    /// Position of the next pick, by service.
    pub positions: BTreeMap<u32, Option<u64>>,
    pub counters: BTreeMap<&'static str, u64>,
    /// Allowances of ICMP errors that were touched.
    pub allowances: BTreeMap<u32, u64>,
    /// Slots of the fragment table that were touched: tag, entry.
    pub fragments: BTreeMap<u32, [u64; 2]>,
    /// What is remembered of addresses, where something was touched, in words.
    pub localities: BTreeMap<u32, LocalityWords>,
}

/// Numbers of what frames have touched, in tables that are too large to be compared whole.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    pub localities: BTreeSet<u32>,
    pub allowances: BTreeSet<u32>,
    pub fragments: BTreeSet<u32>,
}
