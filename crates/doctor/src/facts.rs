//! What is there, as data. Every rule decides on [`Facts`] alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use netlink::Mac;
use serde::{Serialize, Serializer};

use crate::netfilter::Ruleset;

/// Where the doctor stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// On the director.
    #[default]
    Director,
    /// On a real server.
    Realserver,
    /// On any other host of the segment: a client, a router.
    Witness,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Director => "director",
            Self::Realserver => "real server",
            Self::Witness => "witness",
        }
    }
}

/// Everything an examination knows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// Where it was made.
    pub role: Role,
    /// This host.
    pub host: Host,
    /// What was known beforehand of the segment.
    pub segment: Segment,
    /// Who answered for, or announced, which address.
    pub claims: Vec<Claim>,
    /// Who had to be asked: addresses with no entry in `claims` were answered by nobody.
    pub asked: Vec<IpAddr>,
    /// What became of one packet for each service and server.
    pub paths: Vec<Path>,
    /// What became of a small and a large echo request.
    pub echoes: Vec<Echo>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// This host, that is this network namespace.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// `6.12.1`
    pub kernel: String,
    /// Its interfaces.
    pub links: Vec<Link>,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Settings by their path under `/proc/sys`, for example `net/ipv4/conf/all/arp_ignore`.
    pub sysctls: BTreeMap<String, i64>,
    /// Its neighbour table.
    pub neighbours: Vec<Neighbour>,
    /// How it would reach the addresses that matter.
    pub routes: BTreeMap<IpAddr, Option<Route>>,
    /// VIPs of this host from which some of these addresses cannot be answered.
    pub unanswered: Vec<Unanswered>,
    /// The firewall's rules.
    pub ruleset: Ruleset,
    /// Connection tracking: entries and their limit.
    pub conntrack: Option<(u64, u64)>,
    /// Sockets that take connections or datagrams.
    pub listeners: Vec<Listener>,
    /// Services of the kernel's own balancer.
    pub ipvs: Vec<SocketAddr>,
    /// The BPF file system is where it belongs.
    pub bpffs: bool,
    /// `tsc`, `kvm-clock`, `hpet`.
    pub clocksource: Option<String>,
    /// Clock sources that could be chosen.
    pub clocksources: Vec<String>,
    /// Memory available and in all, in KiB.
    pub memory_kib: Option<(u64, u64)>,
    /// Processors.
    pub processors: u32,
    /// The real server's half, as its own room sees it.
    pub realserver: realserver::Facts,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC.
    #[serde(serialize_with = "mac")]
    pub mac: Mac,
    /// Largest IP packet.
    pub mtu: u32,
    /// Switched on.
    pub up: bool,
    /// The wire is there.
    pub carrier: bool,
    /// It is `lo`.
    pub loopback: bool,
    /// It does no ARP.
    pub no_arp: bool,
    /// It is a port of a bridge or bond, which receives in its place.
    pub port: bool,
    /// `veth`, `vlan`; empty for hardware.
    pub kind: String,
    /// Its driver.
    pub driver: Option<String>,
    /// The XDP program on it.
    pub xdp: Option<Xdp>,
    /// Receive queues: in use, at most, combined.
    pub queues: Option<(u32, u32, bool)>,
    /// Queues that RSS spreads over.
    pub rss: Option<Vec<u32>>,
    /// Receive ring: as set, at most.
    pub rx_ring: Option<(u32, u32)>,
    /// It leaves checksums to the device.
    pub tx_checksum: bool,
    /// It merges received segments for good.
    pub lro: bool,
    /// The stack merges received segments.
    pub gro: bool,
}

/// An XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Xdp {
    /// `native`, `generic`, `offloaded`.
    pub mode: String,
    /// The kernel's number.
    pub program: u32,
    /// Its name, if it may be asked.
    pub name: Option<String>,
    /// The process that holds it there, if one does.
    pub holder: Option<u32>,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// Its interface's name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Its prefix.
    pub prefix: u8,
    /// IPv6: detection of duplicates is not done.
    pub tentative: bool,
    /// IPv6: another host has it.
    pub dad_failed: bool,
    /// Not chosen as a source.
    pub deprecated: bool,
}

/// A neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Its interface's name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Its MAC.
    #[serde(serialize_with = "some_mac")]
    pub mac: Option<Mac>,
    /// `reachable`, `failed`.
    pub state: String,
    /// The kernel would use it.
    pub usable: bool,
    /// How often its MAC changed while it was watched.
    pub changes: u32,
}

/// A way to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The interface it leaves by.
    pub interface: String,
    /// The router.
    pub gateway: Option<IpAddr>,
    /// It is this host's own.
    pub local: bool,
}

/// An address of this host from which no packet leaves, although others to the same destination do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// The VIP.
    pub vip: IpAddr,
    /// Where packets would go.
    pub destination: IpAddr,
    /// The first rule of policy routing that is about the VIP, as `ip rule` takes it.
    pub rule: Option<String>,
}

/// A socket that takes connections or datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: api::Protocol,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What is known of the segment without looking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The virtual addresses.
    pub vips: Vec<IpAddr>,
    /// The virtual services.
    pub services: Vec<Service>,
    /// The daemon's own words, if it answers.
    pub daemon: Option<Daemon>,
    /// Why it does not.
    pub daemon_silent: Option<String>,
    /// The command that starts it.
    pub daemon_start: String,
    /// Real servers that were named, beside those of the services.
    pub servers: Vec<IpAddr>,
    /// Addresses of the director, if known.
    pub directors: Vec<IpAddr>,
}

/// Identity of a virtual service that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Transport protocol.
    pub protocol: api::Protocol,
    /// The virtual address and port; port 0 is every port.
    pub address: SocketAddr,
    /// The service's firewall mark, if that is what it goes by; the address is then one that has it.
    pub mark: Option<NonZeroU32>,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its identity.
    pub key: Key,
    /// Its real servers.
    pub destinations: Vec<Destination>,
}

/// A real server in a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// Real address and port.
    pub address: SocketAddr,
    /// Its weight; 0 is drained.
    pub weight: u32,
    /// It is the director itself.
    pub local: bool,
    /// Its MAC, as the daemon knows it.
    pub mac: Option<String>,
    /// Why the daemon cannot reach it.
    pub unresolved: Option<String>,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Daemon {
    /// Its instance.
    pub instance: String,
    /// Its process.
    pub pid: u32,
    /// How it was started, word by word, if that can be read.
    pub command: Vec<String>,
    /// Its systemd unit, if it has one.
    pub unit: Option<String>,
    /// Its interfaces: name, MAC, mode.
    pub interfaces: Vec<(String, String, String)>,
    /// The memory limit of its control group and what is used, in bytes.
    pub memory: Option<(u64, u64)>,
    /// It runs in this network namespace.
    pub here: bool,
}

/// Somebody says that an address is at a MAC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// The interface it was heard on.
    pub interface: String,
    /// The MAC.
    #[serde(serialize_with = "mac")]
    pub mac: Mac,
    /// Answers to our questions.
    pub answers: u32,
    /// Announcements and questions of its own that carry the address as sender.
    pub announcements: u32,
}

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// The service.
    pub service: Key,
    /// The real server; `None` for the way a client's packet takes, through the director.
    pub server: Option<IpAddr>,
    /// Where the frame was sent.
    #[serde(serialize_with = "mac")]
    pub mac: Mac,
    /// The answer to a packet for the VIP.
    pub answer: Answer,
    /// The answer to the same packet for the real address, asked only if the first was none.
    pub at_real_address: Option<Answer>,
    /// The server answers an echo request for the VIP; asked only if the first answer was none.
    pub vip_echo: Option<bool>,
}

/// An answer to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The connection was accepted, with this maximum segment size, and reset by us.
    Accepted {
        /// Of the SYN's answer.
        mss: Option<u16>,
    },
    /// Nothing listens there.
    Refused,
    /// A firewall said so.
    Prohibited,
    /// Nothing came.
    Silent,
}

/// Echo requests to one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Echo {
    /// The address.
    pub address: IpAddr,
    /// The MAC.
    #[serde(serialize_with = "mac")]
    pub mac: Mac,
    /// The interface it was sent by.
    pub interface: String,
    /// A small one was answered.
    pub small: bool,
    /// Bytes of the large one, the interface's MTU.
    pub large_bytes: u32,
    /// It was answered.
    pub large: bool,
}

impl Key {
    /// Of a service by address: it. Of one by firewall mark: each single address that has the mark by these rules.
    /// A rule for several ports, or for all protocols, does not say what listens there: its port is 0.
    #[must_use]
    pub fn all_of(key: &api::ServiceKey, marks: &[api::MarkRule]) -> Vec<Self> {
        if let (Some(protocol), Some(address)) = (key.protocol(), key.address()) {
            return vec![Self {
                protocol,
                address,
                mark: None,
            }];
        }
        let is_its = |rule: &&api::MarkRule| {
            let address = rule.addresses.address();
            let width = if address.is_ipv6() { 128 } else { 32 };
            Some(rule.mark) == key.mark()
                && address.is_ipv6() == key.is_ipv6()
                && rule.addresses.bits() == width
        };
        let keys = marks.iter().filter(is_its).map(|rule| {
            let (first, last) = rule.ports;
            let port = match rule.protocol {
                Some(_) if first == last => first,
                _ => 0,
            };
            Self {
                protocol: rule.protocol.unwrap_or(api::Protocol::Tcp),
                address: SocketAddr::new(rule.addresses.address(), port),
                mark: key.mark(),
            }
        });
        let mut keys: Vec<Self> = keys.collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// `tcp:192.0.2.100:80`
impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.protocol.name(), self.address)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Host {
    /// A setting; 0, the kernel's default for all that are asked for here, if it is not known.
    #[must_use]
    pub fn sysctl(&self, path: &str) -> i64 {
        self.sysctls.get(path).copied().unwrap_or(0)
    }

    /// A setting of IPv4 as it counts on an interface: the larger of `all` and its own.
    #[must_use]
    pub fn effective(&self, interface: &str, name: &str) -> i64 {
        let own = self.sysctl(&format!("net/ipv4/conf/{interface}/{name}"));
        own.max(self.sysctl(&format!("net/ipv4/conf/all/{name}")))
    }

    /// An interface by its name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Interfaces that are on a segment: those with ARP, which are no other's port.
    pub fn segment_links(&self) -> impl Iterator<Item = &Link> {
        let on_segment = |link: &&Link| !link.loopback && !link.no_arp && !link.port;
        self.links.iter().filter(on_segment)
    }

    /// The holders of an address.
    pub fn holders(&self, address: IpAddr) -> impl Iterator<Item = &Address> {
        let is = move |held: &&Address| held.address == address;
        self.addresses.iter().filter(is)
    }
}

impl Facts {
    /// The MACs that answered for an address, each with its claim.
    pub fn answers(&self, address: IpAddr) -> impl Iterator<Item = &Claim> {
        let is = move |claim: &&Claim| claim.address == address && claim.answers > 0;
        self.claims.iter().filter(is)
    }

    /// The real servers, each once.
    #[must_use]
    pub fn servers(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = self
            .segment
            .services
            .iter()
            .flat_map(|service| &service.destinations)
            .filter(|destination| !destination.local)
            .map(|destination| destination.address.ip())
            .chain(self.segment.servers.iter().copied())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether an address is a virtual one.
    #[must_use]
    pub fn is_vip(&self, address: IpAddr) -> bool {
        self.segment.vips.contains(&address)
    }
}

fn mac<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&netlink::mac_text(mac))
}

// The shape is serde's.
#[allow(clippy::ref_option)]
fn some_mac<S: Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
    mac.map(|mac| netlink::mac_text(&mac)).serialize(serializer)
}
