//! What happens to a director: packets, commands, time; random, and the same for everybody who plays it.
//!
//! Nothing here knows the packet path: clients, services and destinations are numbers, which each player makes
//! frames and tables of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const SCTP: u8 = 132;
pub const FTP: u16 = 21;

/// Virtual service number `n`: protocol, whether IPv4, port.
pub const SERVICES: [(u8, bool, u16); 8] = [
    (TCP, true, 80),
    (UDP, true, 53),
    (TCP, false, 80),
    (UDP, false, 53),
    (SCTP, true, 2_905),
    (TCP, true, FTP),
    (TCP, true, 0),
    (UDP, false, 0),
];
/// Of these the first are always there in the beginning.
const PLAIN_SERVICES: usize = 5;
/// Destinations of each service.
pub const SERVERS: u32 = 3;

/// Number of a destination, from 1 on.
pub fn destination_id(service: usize, server: u32) -> u32 {
    1 + service as u32 * SERVERS + server
}

/// Where it all goes.
pub fn virtual_address(is_v4: bool) -> IpAddr {
    if is_v4 {
        Ipv4Addr::new(192, 0, 2, 100).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100).into()
    }
}

/// The first three clients are of one network.
pub fn client_address(client: u8, is_v4: bool) -> IpAddr {
    let (network, host) = (client / 3, client % 3 + 1);
    if is_v4 {
        Ipv4Addr::new(198, 51, 100 + network, host).into()
    } else {
        let network = 0xc0 + u16::from(network);
        Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host.into()).into()
    }
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    pub protocol: u8,
    pub is_v4: bool,
    pub client: u8,
    pub client_port: u16,
    pub port: u16,
}

/// What an SCTP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// Type of the first chunk.
    pub first: u8,
    /// Whether an ABORT follows it.
    pub then_aborts: bool,
}

impl Chunks {
    /// Those that a step's flags mean: INIT where TCP has SYN, and then every type, and one that does not exist.
    pub fn of(flags: u8) -> Self {
        const ORDINARY: u8 = 16;
        let first = match flags {
            SYN => 1,
            ACK => 10,
            _ => flags.wrapping_sub(1) % ORDINARY,
        };
        Self {
            first,
            then_aborts: flags & PSH != 0,
        }
    }

    /// The packet from its ports on.
    pub fn bytes(self, ports: [u16; 2]) -> Vec<u8> {
        // Ports, verification tag, checksum, which nobody on the way looks at; then chunks: type, flags, length.
        let mut bytes = ports.map(u16::to_be_bytes).concat();
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        bytes.extend([self.first, 0, 0, 6, 1, 2, 0, 0]);
        if self.then_aborts {
            bytes.extend([6, 0, 0, 4]);
        }
        bytes
    }
}

/// Rules of a service: `-p`, `-M`, `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub persistence_s: u32,
    /// Templates are for networks (/24, /64), not for hosts.
    pub is_for_networks: bool,
    pub is_one_packet: bool,
}

/// `net.ipv4.vs.*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctls {
    pub conn_reuse_mode: u32,
    pub expire_nodest_conn: bool,
    pub expire_quiescent_template: bool,
    pub sloppy_tcp: bool,
    pub sloppy_sctp: bool,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// A packet of this one of the story's flows, with these flags: TCP's, or [`Chunks`] of SCTP.
    Packet(usize, u8),
    /// A router's complaint about an answer on this flow.
    Complaint(usize),
    /// `-A`, with all destinations of before in their places.
    CreateService(usize, Rules),
    /// `-E`
    EditService(usize, Rules),
    /// `-D`
    DeleteService(usize),
    /// `-a`
    Add(usize, u32),
    /// `-d`
    Delete(usize, u32),
    /// `-e -w`: whether it is 0.
    Drain(usize, u32, bool),
    /// The destination is the director itself, or no longer.
    Local(usize, u32, bool),
    /// `--set`
    Timeouts([u32; 3]),
    Sysctls(Sysctls),
    /// Seconds pass, and what has run out is swept in each.
    Wait(u32),
    /// Seconds pass with nobody there to sweep.
    Away(u32),
}

/// Flows of a story: few, so that packets meet.
pub const FLOWS: usize = 6;

/// A beginning and what happens then.
#[derive(Clone, Debug)]
pub struct Story {
    pub flows: [Flow; FLOWS],
    pub rules: [Option<Rules>; SERVICES.len()],
    pub sysctls: Sysctls,
    pub steps: Vec<Step>,
}

pub fn any_story(steps: usize) -> impl Strategy<Value = Story> {
    let plain: [_; PLAIN_SERVICES] = std::array::from_fn(|n| any_rules(n).prop_map(Some).boxed());
    let more: [_; SERVICES.len() - PLAIN_SERVICES] =
        std::array::from_fn(|n| prop::option::of(any_rules(PLAIN_SERVICES + n)).boxed());
    let rules: Vec<_> = plain.into_iter().chain(more).collect();
    let steps = vec(any_step(), 1..steps);
    let flows = prop::array::uniform6(any_flow());
    (flows, rules, any_sysctls(), steps).prop_map(|(flows, rules, sysctls, steps)| Story {
        flows,
        rules: std::array::from_fn(|n| rules[n]),
        sysctls,
        steps,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => (0..FLOWS, any_flags()).prop_map(|(flow, flags)| Step::Packet(flow, flags)),
        3 => (0..FLOWS).prop_map(Step::Complaint),
        1 => any_service_and_rules().prop_map(|(n, rules)| Step::CreateService(n, rules)),
        2 => any_service_and_rules().prop_map(|(n, rules)| Step::EditService(n, rules)),
        1 => any_service().prop_map(Step::DeleteService),
        4 => any_server().prop_map(|(n, server)| Step::Add(n, server)),
        4 => any_server().prop_map(|(n, server)| Step::Delete(n, server)),
        4 => (any_server(), any::<bool>()).prop_map(|((n, s), is_on)| Step::Drain(n, s, is_on)),
        1 => (any_server(), any::<bool>()).prop_map(|((n, s), is_on)| Step::Local(n, s, is_on)),
        1 => any_timeouts().prop_map(Step::Timeouts),
        1 => any_sysctls().prop_map(Step::Sysctls),
        8 => any_span().prop_map(Step::Wait),
        2 => any_span().prop_map(Step::Away),
    ]
}

/// Ports that no service has, and FTP's, are among them.
fn any_flow() -> impl Strategy<Value = Flow> {
    let port = |protocol: u8, is_v4: bool| match (protocol, is_v4) {
        (TCP, true) => prop_oneof![
            12 => Just(80u16),
            3 => Just(FTP),
            2 => Just(20u16),
            3 => Just(2_000u16),
            2 => Just(99u16),
        ]
        .boxed(),
        (SCTP, _) => prop_oneof![9 => Just(2_905u16), 1 => Just(99u16)].boxed(),
        (TCP, false) => prop_oneof![9 => Just(80u16), 1 => Just(99u16)].boxed(),
        _ => prop_oneof![8 => Just(53u16), 2 => Just(7_000u16)].boxed(),
    };
    let kind = prop_oneof![
        Just((TCP, true)),
        Just((TCP, false)),
        Just((UDP, true)),
        Just((UDP, false)),
        Just((SCTP, true)),
    ];
    let client_port = prop_oneof![20 => 40_000u16..40_002, 1 => Just(20u16)];
    (kind, 0u8..4, client_port)
        .prop_flat_map(move |(kind, client, client_port)| {
            (
                Just(kind),
                Just(client),
                Just(client_port),
                port(kind.0, kind.1),
            )
        })
        .prop_map(|((protocol, is_v4), client, client_port, port)| Flow {
            protocol,
            is_v4,
            client,
            client_port,
            port,
        })
}

fn any_flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => Just(SYN),
        8 => Just(ACK),
        2 => Just(ACK | PSH),
        3 => Just(FIN | ACK),
        2 => Just(RST),
        1 => Just(SYN | ACK),
        1 => Just(0u8),
        1 => 0u8..32,
    ]
}

fn any_service() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0..PLAIN_SERVICES, 1 => PLAIN_SERVICES..SERVICES.len()]
}

fn any_server() -> impl Strategy<Value = (usize, u32)> {
    (any_service(), 0..SERVERS)
}

fn any_service_and_rules() -> impl Strategy<Value = (usize, Rules)> {
    any_service().prop_flat_map(|n| (Just(n), any_rules(n)))
}

fn any_rules(service: usize) -> impl Strategy<Value = Rules> {
    let (protocol, _, port) = SERVICES[service];
    let life = prop_oneof![Just(5u32), Just(60u32), Just(130u32), Just(300u32)];
    // A service on port 0 must be persistent.
    let rarely = if port == 0 { 0 } else { 6 };
    let life = prop_oneof![4 => life, rarely => Just(0u32)];
    let one_packet = prop::bool::weighted(0.2).prop_map(move |it| it && protocol == UDP);
    (life, any::<bool>(), one_packet).prop_map(|(persistence_s, is_for_networks, is_one_packet)| {
        Rules {
            persistence_s,
            is_for_networks,
            is_one_packet,
        }
    })
}

fn any_timeouts() -> impl Strategy<Value = [u32; 3]> {
    let seconds = || prop_oneof![Just(2u32), Just(30u32), Just(120u32), Just(900u32)];
    (seconds(), seconds(), seconds()).prop_map(|(tcp, fin, udp)| [tcp, fin, udp])
}

fn any_sysctls() -> impl Strategy<Value = Sysctls> {
    let mode = prop_oneof![1 => Just(0u32), 4 => Just(1u32), 2 => Just(2u32), 1 => Just(3u32)];
    let rarely = || prop::bool::weighted(0.25);
    let flags = (rarely(), rarely(), rarely());
    (mode, flags).prop_map(|(mode, (nodest, quiescent, sloppy))| Sysctls {
        conn_reuse_mode: mode,
        expire_nodest_conn: nodest,
        expire_quiescent_template: quiescent,
        sloppy_tcp: sloppy,
        sloppy_sctp: sloppy,
    })
}

/// Around each timeout, and across all of them.
fn any_span() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => 1u32..15,
        4 => 15u32..70,
        2 => 70u32..140,
        1 => Just(320u32),
        1 => Just(950u32),
    ]
}
