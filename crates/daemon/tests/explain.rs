//! `dirigo explain` against what happens: frames through the attached program, as the real servers get them.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use api::{
    Change, Decision, DestinationSettings, ExplainFrame, ExplainQuery, Explanation, Netmask,
    Persistence, Protocol, SchedulerFlags, ServerExplanation, ServerQuery, ServiceKey,
    ServiceSettings, Verdict,
};
use common::{CHILD, FILES, World, root, server, until, vip};
use dirigo_daemon as daemon;
use etherparse::{NetHeaders, PacketBuilder, PacketHeaders};
use netlink::{FrameSocket, Netlink};

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

/// Clients for each way of choosing by hash.
const CLIENTS: u32 = 300;
/// Frames that are sent before the real servers' sockets are read: their backlog holds more.
const BURST: usize = 50;

const DIRECTOR: [u8; 6] = [2, 0, 0, 9, 0, 2];

/// Clients from all over, of which no two are alike.
fn clients(round: u32) -> Vec<SocketAddrV4> {
    let client = |n: u32| {
        // An odd factor: different numbers stay different.
        let spread = (round * CLIENTS + n).wrapping_mul(0x9e37_79b1);
        // 16.0.0.0 to 23.255.255.255: nobody's here.
        let address = Ipv4Addr::from_bits(0x1000_0000 | spread >> 5);
        SocketAddrV4::new(address, (spread >> 3) as u16 | 1024)
    };
    (0..CLIENTS).map(client).collect()
}

fn web() -> ServiceKey {
    format!("tcp:{}:80", vip()).parse().unwrap()
}

fn ask(world: &World, client: SocketAddrV4) -> Explanation {
    let query = ExplainQuery {
        protocol: Protocol::Tcp,
        client: client.into(),
        virtual_address: SocketAddr::new(vip(), 80),
    };
    world.api().explain(&query).unwrap()
}

/// Sockets that send as the client and listen on the real servers.
struct Wire {
    client: FrameSocket,
    servers: Vec<FrameSocket>,
}

impl Wire {
    fn new(world: &World) -> Self {
        let open = |host: &netlink::Namespace| {
            host.run(|| {
                let index = Netlink::open().unwrap().link("eth0").unwrap().index;
                FrameSocket::open(index).unwrap()
            })
            .unwrap()
        };
        Self {
            client: open(&world.client),
            servers: world.servers.iter().map(open).collect(),
        }
    }

    /// Which server, 1 or 2, gets each client's SYN.
    fn deliver(&mut self, clients: &[SocketAddrV4]) -> BTreeMap<SocketAddrV4, u8> {
        let std::net::IpAddr::V4(vip) = vip() else {
            panic!("an IPv4 test");
        };
        let mut delivered = BTreeMap::new();
        for burst in clients.chunks(BURST) {
            for client in burst {
                let mut frame = Vec::new();
                PacketBuilder::ethernet2([2, 0, 0, 9, 0, 1], DIRECTOR)
                    .ipv4(client.ip().octets(), vip.octets(), 64)
                    .tcp(client.port(), 80, 1, 1024)
                    .syn()
                    .write(&mut frame, &[])
                    .unwrap();
                self.client.send(&frame).unwrap();
            }
            self.collect(burst, &mut delivered);
        }
        delivered
    }

    fn collect(&mut self, burst: &[SocketAddrV4], into: &mut BTreeMap<SocketAddrV4, u8>) {
        let end = Instant::now() + Duration::from_secs(5);
        while !burst.iter().all(|client| into.contains_key(client)) {
            assert!(
                Instant::now() < end,
                "no real server got some SYNs: {into:?}"
            );
            for (index, server) in self.servers.iter_mut().enumerate() {
                while let Some(frame) = server.recv(Some(Duration::from_millis(5))).unwrap() {
                    let own = [2, 0, 0, 9, 0, 11 + index as u8];
                    if let Some(client) = syn_to(&frame.bytes, own) {
                        into.insert(client, index as u8 + 1);
                    }
                }
            }
        }
    }
}

/// Who sent a SYN that is for this MAC.
fn syn_to(bytes: &[u8], mac: [u8; 6]) -> Option<SocketAddrV4> {
    let headers = PacketHeaders::from_ethernet_slice(bytes).ok()?;
    let Some(NetHeaders::Ipv4(ip, _)) = headers.net else {
        return None;
    };
    let tcp = headers.transport?.tcp()?;
    let is_ours = tcp.syn && !tcp.ack && bytes[..6] == mac;
    is_ours.then(|| SocketAddrV4::new(ip.source.into(), tcp.source_port))
}

/// The server, 1 or 2, that an answer names: by address, and by MAC.
fn named(found: &Explanation) -> u8 {
    assert_eq!(found.fate.verdict, Verdict::Transmit, "{found:?}");
    assert_eq!(found.fate.counter, "transmitted");
    assert_eq!(found.fate.interface.as_deref(), Some("eth0"));
    let n = match found.fate.destination.unwrap().ip() {
        ip if ip == server(1) => 1,
        ip if ip == server(2) => 2,
        ip => panic!("{ip} is no real server"),
    };
    let mac = format!("02:00:00:09:00:{:02x}", 10 + n);
    assert_eq!(found.fate.mac, Some(mac));
    n
}

fn start(scheduler: &str, flags: SchedulerFlags) -> World {
    let mut world = World::new();
    let config = world.classic(scheduler);
    world.start(&config);
    until("both are resolved", || {
        world.is_resolved(server(1)) && world.is_resolved(server(2))
    });
    change_service(&world, |settings| settings.flags = flags);
    world
}

fn change_service(world: &World, change: impl FnOnce(&mut ServiceSettings)) {
    let mut settings = world.api().services().unwrap().remove(0).settings;
    change(&mut settings);
    let service = web();
    let edit = Change::EditService { service, settings };
    world.api().change(&edit).unwrap();
}

fn weigh(world: &World, n: u8, weight: u32) {
    let edit = Change::EditDestination {
        service: web(),
        destination: SocketAddr::new(server(n), 80),
        settings: DestinationSettings::of(weight),
    };
    world.api().change(&edit).unwrap();
}

#[test]
fn by_hash_hundreds_of_clients_go_where_it_was_said_they_would() {
    if !root() {
        return;
    }
    for (round, scheduler) in ["sh", "mh"].into_iter().enumerate() {
        let world = start(scheduler, SchedulerFlags::NONE);
        let mut wire = Wire::new(&world);
        let flags = [SchedulerFlags::NONE, SchedulerFlags::FLAG_2];
        for (turn, flags) in flags.into_iter().enumerate() {
            change_service(&world, |settings| settings.flags = flags);
            let clients = clients((round * 2 + turn) as u32);
            let said: BTreeMap<_, _> = clients
                .iter()
                .map(|client| {
                    let found = ask(&world, *client);
                    assert!(matches!(found.decision, Decision::Table { tried: 1, .. }));
                    assert_eq!(found.service, Some(web()));
                    assert_eq!(found.scheduler.as_deref(), Some(scheduler));
                    (*client, named(&found))
                })
                .collect();
            assert_eq!(said.len(), CLIENTS as usize);
            assert!(said.values().any(|n| *n == 1) && said.values().any(|n| *n == 2));
            assert_eq!(wire.deliver(&clients), said, "{scheduler} {flags:?}");
        }
    }
}

#[test]
fn in_turn_and_by_load_the_next_client_goes_where_it_was_said() {
    if !root() {
        return;
    }
    for (round, scheduler) in ["rr", "wrr", "wlc", "lblcr"].into_iter().enumerate() {
        let world = start(scheduler, SchedulerFlags::NONE);
        weigh(&world, 1, 3);
        let mut wire = Wire::new(&world);
        for client in &clients(10 + round as u32)[..25] {
            let found = ask(&world, *client);
            // Asking changes nothing: it may be asked again.
            assert_eq!(ask(&world, *client), found);
            let is_turn = matches!(found.decision, Decision::Rotation { .. });
            assert_eq!(is_turn, scheduler.ends_with("rr"), "{found:?}");
            let delivered = wire.deliver(&[*client]);
            assert_eq!(delivered[client], named(&found), "{scheduler}");
        }
    }
}

#[test]
fn a_connection_and_a_template_decide_before_the_scheduler() {
    if !root() {
        return;
    }
    let world = start("rr", SchedulerFlags::NONE);
    let mut wire = Wire::new(&world);
    let first = clients(20)[0];
    let went = wire.deliver(&[first])[&first];
    // The next turn would be the other's.
    for _ in 0..2 {
        let found = ask(&world, first);
        let Decision::Connection { state, expires_s } = &found.decision else {
            panic!("{found:?}");
        };
        assert_eq!(state, "SYN_RECV");
        assert!((50..=60).contains(expires_s), "{expires_s}");
        assert_eq!(named(&found), went);
        assert_eq!(wire.deliver(&[first])[&first], went);
    }

    change_service(&world, |settings| {
        settings.persistence = Some(Persistence {
            timeout_s: 300,
            netmask: Some(Netmask::V4(Ipv4Addr::from_bits(0xffff_ff00))),
        });
    });
    let begins = clients(21)[0];
    let went = wire.deliver(&[begins])[&begins];
    let [a, b, c, d] = begins.ip().octets();
    let neighbour = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d ^ 1), 7);
    let found = ask(&world, neighbour);
    assert_eq!(
        (&found.decision, named(&found)),
        (&Decision::Template, went)
    );
    assert_eq!(wire.deliver(&[neighbour])[&neighbour], went);
}

#[test]
fn what_was_said_of_a_servers_death_is_what_its_death_does() {
    if !root() {
        return;
    }
    for (scheduler, flags) in [
        ("sh", SchedulerFlags::FLAG_1),
        ("mh", SchedulerFlags::NONE),
        ("rr", SchedulerFlags::NONE),
    ] {
        let world = start(scheduler, flags);
        let client = *clients(30)
            .iter()
            .find(|client| named(&ask(&world, **client)) == 1 || scheduler == "rr")
            .unwrap();
        let before = ask(&world, client);
        let dies = named(&before);
        world.set_link(dies, false);
        until("its silence is noticed", || {
            !world.is_resolved(server(dies))
        });
        let after = ask(&world, client);
        assert_eq!(Some(&after.fate), before.otherwise.as_ref(), "{scheduler}");
        match (scheduler, flags) {
            ("mh", _) => assert_eq!(after.fate.counter, "reply_port_unreachable"),
            _ => assert_eq!(named(&after), 3 - dies),
        }
    }
}

#[test]
fn asking_leaves_no_trace_and_what_is_not_balanced_is_said_so() {
    if !root() {
        return;
    }
    let world = start("wlc", SchedulerFlags::NONE);
    let before = world.api().status().unwrap();
    let of_web = |counters: &BTreeMap<String, u64>| {
        let ours = ["transmitted", "connection_new", "pass_not_a_service"];
        ours.map(|name| counters.get(name).copied())
    };
    for client in clients(40) {
        ask(&world, client);
    }
    let mut query = ExplainQuery {
        protocol: Protocol::Tcp,
        client: "198.51.100.7:40000".parse().unwrap(),
        virtual_address: SocketAddr::new(vip(), 81),
    };
    let found = world.api().explain(&query).unwrap();
    assert_eq!(found.fate.counter, "pass_not_a_service");
    assert_eq!((found.decision, found.otherwise), (Decision::None, None));
    query.virtual_address = "10.9.0.99:80".parse().unwrap();
    let found = world.api().explain(&query).unwrap();
    assert_eq!(found.fate.counter, "pass_not_a_virtual_address");
    query.virtual_address = "[fd09::64]:80".parse().unwrap();
    let error = world.api().explain(&query).unwrap_err();
    assert!(error.to_string().contains("two families"), "{error}");

    let after = world.api().status().unwrap();
    assert_eq!(after.connections, before.connections);
    let (after, before) = (
        after.counters.into_iter().collect(),
        before.counters.into_iter().collect(),
    );
    assert_eq!(of_web(&after), of_web(&before));
}

#[test]
fn a_captured_frame_is_explained_whatever_it_is() {
    if !root() {
        return;
    }
    let world = start("rr", SchedulerFlags::NONE);
    let mut wire = Wire::new(&world);
    let client = clients(50)[0];
    let std::net::IpAddr::V4(vip) = vip() else {
        panic!("an IPv4 test");
    };
    let tcp = |to: [u8; 6], is_syn: bool| {
        let mut frame = Vec::new();
        let mut tcp = PacketBuilder::ethernet2([2, 0, 0, 9, 0, 1], to)
            .ipv4(client.ip().octets(), vip.octets(), 64)
            .tcp(client.port(), 80, 1, 1024);
        tcp = if is_syn { tcp.syn() } else { tcp.ack(1) };
        tcp.write(&mut frame, &[9; 200]).unwrap();
        frame
    };
    let ask = |frame: &[u8], kept: usize, to_director: bool| {
        let asked = ExplainFrame {
            hex: frame[..kept]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            length: frame.len() as u32,
            to_director,
        };
        world.api().explain_frame(&asked)
    };
    // The SYN of a capture that kept 96 bytes of each frame.
    let syn = tcp(DIRECTOR, true);
    let found = ask(&syn, 96, false).unwrap();
    let frame = found.frame.as_ref().unwrap();
    assert_eq!(frame.missing as usize, syn.len() - 96);
    assert_eq!((frame.is_to_director, frame.hop.ttl), (true, Some(64)));
    assert_eq!(frame.hop.src, Some(client.into()));
    assert_eq!(found.service, Some(web()));
    assert_eq!(
        found.generation,
        world.api().status().unwrap().configuration.generation
    );
    let went = wire.deliver(&[client])[&client];
    assert_eq!(named(&found), went);

    // What comes later on the connection belongs to it.
    let found = ask(&tcp(DIRECTOR, false), 54, false).unwrap();
    assert!(
        matches!(found.decision, Decision::Connection { .. }),
        "{found:?}"
    );
    assert_eq!(named(&found), went);

    // A frame to the real server's own MAC, captured there, is not the director's; but may be asked about.
    let theirs = tcp([2, 0, 0, 9, 0, 11], false);
    let found = ask(&theirs, theirs.len(), false).unwrap();
    assert_eq!(found.fate.counter, "pass_not_for_this_host");
    assert!(!found.frame.unwrap().is_to_director);
    assert_eq!(named(&ask(&theirs, theirs.len(), true).unwrap()), went);

    // An error about the connection goes where the connection goes.
    let mut error = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 9, 0, 1], DIRECTOR)
        .ipv4([192, 0, 2, 1], vip.octets(), 60)
        .icmpv4(etherparse::Icmpv4Type::TimeExceeded(
            etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit,
        ))
        .write(&mut error, &returned(vip, client))
        .unwrap();
    let found = ask(&error, error.len(), false).unwrap();
    assert_eq!(named(&found), went);
    let query = found.query.unwrap();
    assert_eq!(query.client, client.into());

    // ARP is neither; and what is no frame is refused with what would be right.
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 9, 0, 1, 8, 6]);
    arp.extend([0; 28]);
    let found = ask(&arp, arp.len(), false).unwrap();
    assert_eq!(
        (found.fate.counter.as_str(), found.query),
        ("pass_arp", None)
    );
    let refused = |asked: &ExplainFrame| world.api().explain_frame(asked).unwrap_err().to_string();
    let asked = |hex: &str, length| ExplainFrame {
        hex: hex.to_owned(),
        length,
        to_director: false,
    };
    let text = refused(&asked("0g", 14));
    assert!(text.contains("two hexadecimal digits"), "{text}");
    let text = refused(&asked("00", 14));
    assert!(text.contains("an Ethernet header has 14"), "{text}");
    let text = refused(&asked(&"00".repeat(60), 59));
    assert!(
        text.contains("at least as many bytes as hex has (60)"),
        "{text}"
    );
}

#[test]
fn of_a_server_it_is_said_which_part_of_the_clients_it_gets_and_that_is_what_comes() {
    if !root() {
        return;
    }
    let part = |found: &ServerExplanation| match &found.services[..] {
        [one] => (one.share.unwrap(), one.sample),
        other => panic!("{other:?}"),
    };
    let of = |world: &World, n| {
        let query = ServerQuery { server: server(n) };
        world.api().explain_server(&query).unwrap()
    };
    for (round, (scheduler, expected)) in [("wrr", 7_500), ("sh", 0), ("wlc", 7_500)]
        .into_iter()
        .enumerate()
    {
        let world = start(scheduler, SchedulerFlags::NONE);
        weigh(&world, 1, 3);
        let mut wire = Wire::new(&world);
        let parts = [1, 2].map(|n| part(&of(&world, n)));
        assert_eq!(
            parts[0].0 + parts[1].0,
            10_000,
            "{scheduler}: nobody else gets any"
        );
        assert_eq!(parts[0].1 == 0, scheduler != "wlc", "what is exact says so");
        if expected != 0 {
            assert!(parts[0].0.abs_diff(expected) <= 5, "{scheduler}: {parts:?}");
        }
        let clients = clients(60 + round as u32);
        let got = wire.deliver(&clients);
        let first = got.values().filter(|n| **n == 1).count() as u32;
        let told = parts[0].0 * CLIENTS / 10_000;
        // Which clients come to `sh` is chance; the others go in turn.
        let play = if scheduler == "sh" { 60 } else { 2 };
        assert!(
            first.abs_diff(told) <= play,
            "{scheduler}: {first} of {CLIENTS}, and {told} were told"
        );
        let now = of(&world, 1).services.remove(0).destination;
        assert_eq!(now.active + now.inactive, first);
    }
    let world = start("rr", SchedulerFlags::NONE);
    weigh(&world, 1, 0);
    assert_eq!(part(&of(&world, 1)), (0, 0));
    assert_eq!(part(&of(&world, 2)), (10_000, 0));
    assert!(of(&world, 9).services.is_empty());
}

/// The head of a packet from the VIP to a client, as a router quotes it.
fn returned(vip: Ipv4Addr, client: SocketAddrV4) -> Vec<u8> {
    let mut quoted = Vec::new();
    PacketBuilder::ipv4(vip.octets(), client.ip().octets(), 1)
        .tcp(80, client.port(), 1, 1024)
        .write(&mut quoted, &[])
        .unwrap();
    quoted.truncate(28);
    quoted
}
