//! What is said of a packet, against what the kernel does with it; and that saying leaves nothing behind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use director::Verdict;
use dirigo_dataplane::{Decision, Dynamic, Explanation, Flow, Hash, MarkRule, Rules, Schedule};

use crate::kernel::Kernel;
use crate::packet::{SYN, Transport, VIP, VIP_6, packet};
use crate::support::is_root;
use crate::world::{
    A, B, C, Change, DNS, EMPTY, HTTP, NO_SERVICE, PORT_OF_FAR, PORT_OF_GONE, PORT_OF_LOCAL,
    PORT_OF_NOWHERE, PORT_OF_UNRESOLVED, Touched, WRR, action, classic, key, mac, publish,
};

const MARKED: u16 = 1_000;
const HASHED: u16 = 1_001;
const LEAST: u16 = 1_002;
const STICKY: u16 = 1_003;
const PORTS: [u16; 13] = [
    HTTP,
    WRR,
    DNS,
    EMPTY,
    PORT_OF_FAR,
    PORT_OF_UNRESOLVED,
    PORT_OF_GONE,
    PORT_OF_LOCAL,
    PORT_OF_NOWHERE,
    NO_SERVICE,
    MARKED,
    HASHED,
    LEAST,
];

/// Clients of each port: first new ones, then the same again, who find their connections.
const CLIENTS: u32 = 40;

#[test]
fn what_is_said_of_a_packet_is_what_the_kernel_does_with_it() {
    if !is_root() {
        return;
    }
    let mut kernel = world("explain");
    for round in 0..2 {
        let mut connections = 0;
        for n in 0..CLIENTS * PORTS.len() as u32 {
            let flow = flow(n, PORTS[n as usize % PORTS.len()]);
            let said = kernel.plane.explain(&flow, None).unwrap();
            connections += u32::from(matches!(said.decision, Decision::Connection { .. }));
            happens(&mut kernel, &flow, &said);
        }
        // The first time nobody is known, the second time all that got a connection.
        assert_eq!(connections == 0, round == 0, "{connections}");
    }
}

#[test]
fn templates_marks_and_schedulers_are_named() {
    if !is_root() {
        return;
    }
    let mut kernel = world("explain-why");
    let ask = |kernel: &Kernel, port| kernel.plane.explain(&flow(0, port), None).unwrap();
    let found = ask(&kernel, STICKY);
    assert_eq!(
        found.decision,
        Decision::Rotation {
            position: 0,
            cycle: 3
        }
    );
    happens(&mut kernel, &flow(0, STICKY), &found);
    let found = kernel.plane.explain(&neighbour(STICKY), None).unwrap();
    assert_eq!(found.decision, Decision::Template);
    assert_eq!(found.destination, Some(A));

    let found = ask(&kernel, MARKED);
    let mark = |is_ipv6| dirigo_dataplane::ServiceKey::Mark { mark: 7, is_ipv6 };
    assert_eq!(found.service, Some(mark(false)));
    let found = ask(&kernel, LEAST);
    assert!(matches!(
        found.decision,
        Decision::List {
            destinations: 3,
            is_drawn: false
        }
    ));
    assert_eq!(found.mac, Some(mac(found.destination.unwrap())));
    let found = ask(&kernel, HASHED);
    assert!(matches!(
        found.decision,
        Decision::Table {
            slots: 256,
            tried: 1,
            ..
        }
    ));

    let sctp = Flow {
        protocol: 132,
        ..flow(0, HTTP)
    };
    kernel.apply(&publish(31, 132, VIP, HTTP, &[C]));
    let found = kernel.plane.explain(&sctp, None).unwrap();
    assert_eq!(
        (found.destination, found.verdict),
        (Some(C), Verdict::Transmit)
    );
}

#[test]
fn asking_leaves_every_table_as_it_was() {
    if !is_root() {
        return;
    }
    let mut kernel = world("explain-reads");
    for n in 0..50 {
        let flow = flow(n, PORTS[n as usize % PORTS.len()]);
        kernel.receive(&frame(&flow));
    }
    let everything = Touched {
        localities: (0..director::limits::LOCALITIES).collect(),
        allowances: (0..director::limits::REPLY_BUCKETS).collect(),
        fragments: (0..director::limits::FRAGMENTS).collect(),
    };
    let before = kernel.snapshot(&everything);
    for n in 0..400 {
        for port in PORTS {
            for dead in [None, Some(A)] {
                kernel.plane.explain(&flow(n, port), dead).unwrap();
            }
        }
    }
    assert_eq!(kernel.snapshot(&everything), before);
}

#[test]
fn a_dead_destination_is_passed_by_or_named_as_its_scheduler_does() {
    if !is_root() {
        return;
    }
    let kernel = world("explain-dead");
    let ask = |port, dead| kernel.plane.explain(&flow(0, port), dead).unwrap();
    for port in [HTTP, WRR, LEAST] {
        let chosen = ask(port, None).destination.unwrap();
        let instead = ask(port, Some(chosen));
        assert_eq!(instead.verdict, Verdict::Transmit, "{port}");
        assert_ne!(instead.destination, Some(chosen), "{port}");
    }
    // The slot stays, and nobody else is asked.
    let found = ask(HASHED, None);
    let instead = ask(HASHED, found.destination);
    assert_eq!(instead.counter, "reply_port_unreachable");
    assert_eq!(
        (instead.decision, instead.destination),
        (found.decision, None)
    );
}

/// The classic tables, and a service for each way of choosing that they lack.
fn world(test: &str) -> Kernel {
    let mut kernel = Kernel::with(test, 8_192, &classic());
    let schedule = |port, id, schedule| Change::Schedule {
        key: key(6, VIP, port),
        id,
        rules: Rules::default(),
        schedule,
    };
    kernel.apply(&schedule(
        HASHED,
        21,
        Schedule::Table {
            hash: Hash::Source,
            slots: [A, B, C, A].repeat(64),
            with_port: true,
            fallback: false,
        },
    ));
    kernel.apply(&schedule(
        LEAST,
        22,
        Schedule::List {
            scheduler: Dynamic::Wlc,
            destinations: vec![A, B, C],
        },
    ));
    kernel.apply(&Change::Marks(vec![MarkRule {
        mark: 7,
        protocol: None,
        prefix: (VIP, 32),
        ports: MARKED..=MARKED,
    }]));
    let marked = dirigo_dataplane::ServiceKey::Mark {
        mark: 7,
        is_ipv6: false,
    };
    for (key, id, persistence_s) in [(marked, 23, 0), (key(6, VIP, STICKY), 24, 300)] {
        kernel.apply(&Change::PublishWith {
            key,
            id,
            rules: Rules {
                persistence_s,
                client_mask: 0xffff_ff00,
                ..Rules::default()
            },
            segments: crate::world::round(&[A, B, C]),
            first: 0,
        });
    }
    kernel
}

/// Client number `n`: of either family and protocol in turn.
fn flow(n: u32, port: u16) -> Flow {
    let is_ipv6 = n % 3 == 2;
    let address = n.wrapping_mul(0x9e37_79b1);
    let (client, vip) = if is_ipv6 {
        let bits = 0x2001_0db8 << 96 | u128::from(address);
        (IpAddr::V6(Ipv6Addr::from_bits(bits)), VIP_6)
    } else {
        (Ipv4Addr::from_bits(0x0a00_0000 | address >> 8).into(), VIP)
    };
    Flow {
        protocol: if port == DNS || n % 7 == 6 { 17 } else { 6 },
        client: SocketAddr::new(client, 1_024 + (n % 5_000) as u16),
        virtual_address: SocketAddr::new(vip, port),
    }
}

/// Another client of client 0's network.
fn neighbour(port: u16) -> Flow {
    Flow {
        client: SocketAddr::new(Ipv4Addr::new(10, 0, 0, 200).into(), 9),
        ..flow(0, port)
    }
}

fn frame(flow: &Flow) -> Vec<u8> {
    let (client, to) = (flow.client, flow.virtual_address);
    let kind = match flow.protocol {
        17 => Transport::Udp,
        _ => Transport::Tcp(SYN),
    };
    packet(client.ip(), client.port(), to.ip(), to.port(), kind).bytes()
}

/// Gives the kernel the packet, and compares.
fn happens(kernel: &mut Kernel, flow: &Flow, said: &Explanation) {
    let before = kernel.counters();
    let received = kernel.receive(&frame(flow));
    assert_eq!(received.action, action(said.verdict), "{flow:?}: {said:?}");
    let moved = |counter: &str| {
        kernel.counters().get(counter).unwrap_or(&0) - before.get(counter).unwrap_or(&0)
    };
    assert_eq!(moved(said.counter), 1, "{flow:?}: {said:?}");
    if let Some(mac) = said.mac {
        assert_eq!(received.frame[..6], mac, "{flow:?}: {said:?}");
        assert_eq!(Some(mac), said.destination.map(crate::world::mac));
    }
}
