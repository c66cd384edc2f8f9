//! A hundred thousand random tuples, each asked about and then sent: what is said is what the kernel does.
//!
//! ```text
//! every scheduler × both families, with and without persistence
//! tuple ─► explain ─► the kernel, with the same packet ─► same action, same MAC, same interface
//! ```
//!
//! Half of the tuples are of connections or clients that were there before. The table is small, so that it is full
//! most of the time. `DIRIGO_SEED=… cargo test -p dirigo-dataplane agree` shows a failure again.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use director::verdict::{DropReason, ReplyReason};
use director::{PassReason, Verdict};
use dirigo_dataplane::{Decision, Dynamic, Explanation, Flow, Hash, Rules, Schedule, Standing};

use crate::dice::Dice;
use crate::kernel::Kernel;
use crate::packet::{SYN, Transport, VIP, VIP_6, packet};
use crate::support::is_root;
use crate::world::{
    A, B, C, Change, FAR, GONE, LOCAL, NO_SERVICE, UNRESOLVED, action, classic, key, mac, round,
    segments, via,
};

const TUPLES: usize = 100_000;
/// Connections that fit: far fewer than tuples.
const ROOM: u32 = 8_192;
/// First port of the services; persistent ones are so many further.
const FIRST: u16 = 2_000;
const PERSISTENT: u16 = 100;
/// Clients of each family: few enough that templates are found again.
const CLIENTS: usize = 4_000;
/// Tuples between two looks at all counters, which are 64 system calls.
const COUNTED: usize = 97;

#[test]
fn explain_and_the_kernel_agree_on_a_hundred_thousand_tuples_with_every_scheduler() {
    if !is_root() {
        return;
    }
    let seed = std::env::var("DIRIGO_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) << 20 ^ now.as_secs()
    });
    let mut dice = Dice::new(seed, 0);
    let mut kernel = Kernel::with("agree", ROOM, &world());
    let ports = ports();
    let mut before = Vec::new();
    let mut said_of = BTreeMap::new();
    for number in 0..TUPLES {
        if dice.one_in(500) {
            kernel.apply(&change(&mut dice));
        }
        let flow = match before.is_empty() || dice.one_in(2) {
            true => flow(&mut dice, &ports),
            false => dice.pick(&before),
        };
        if before.len() < 2_000 {
            before.push(flow);
        } else {
            let place = dice.below(before.len());
            before[place] = flow;
        }
        let is_counted = number % COUNTED == 0;
        let counted = is_counted.then(|| kernel.counters());
        let said = kernel.plane.explain(&flow, None).unwrap();
        let received = kernel.receive(&frame(&flow));
        let what = || format!("DIRIGO_SEED={seed}, tuple {number}, {flow:?}: {said:?}");
        let did = received.action;
        // Each client has an allowance of ICMP errors, which the question leaves alone.
        let is_refused = matches!(said.verdict, Verdict::Reply(_));
        let is_drawn = matches!(said.decision, Decision::List { is_drawn: true, .. });
        // Who is drawn may be behind another interface.
        let is_sent = |action| matches!(action, 3 | 4);
        assert!(
            did == action(said.verdict)
                || is_refused && did == 1
                || is_drawn && is_sent(did) && is_sent(action(said.verdict)),
            "{did}, {}",
            what()
        );
        if let Some(sent_to) = said.mac.filter(|_| !is_drawn) {
            assert_eq!(received.frame[..6], sent_to, "{}", what());
            assert_eq!(Some(sent_to), said.destination.map(mac), "{}", what());
        }
        if let Some(counted) = counted.filter(|_| !is_refused && !is_drawn) {
            let moved = kernel.counters()[said.counter] - counted.get(said.counter).unwrap_or(&0);
            assert_eq!(moved, 1, "{}", what());
        }
        *said_of.entry(kind(&said)).or_insert(0u32) += 1;
    }
    eprintln!("DIRIGO_SEED={seed}: {said_of:?}");
    for kind in [
        "connection",
        "template",
        "rotation",
        "table",
        "list",
        "drawn",
        "refused",
        "passed",
        "dropped",
    ] {
        assert!(
            said_of.get(kind).is_some_and(|count| *count > 100),
            "{kind}: {said_of:?}"
        );
    }
}

fn kind(said: &Explanation) -> &'static str {
    match (said.decision, said.verdict) {
        (_, Verdict::Reply(ReplyReason::PortUnreachable | ReplyReason::TimeExceeded)) => "refused",
        (_, Verdict::Pass(PassReason::NotAService)) => "passed",
        (_, Verdict::Drop(DropReason::Internal)) => panic!("{said:?}"),
        (_, Verdict::Drop(_)) => "dropped",
        (Decision::Connection { .. }, _) => "connection",
        (Decision::Template, _) => "template",
        (Decision::Rotation { .. }, _) => "rotation",
        (Decision::Table { .. }, _) => "table",
        (Decision::List { is_drawn: true, .. }, _) => "drawn",
        (Decision::List { .. }, _) => "list",
        (Decision::None, _) => "none",
    }
}

fn schedules() -> Vec<Schedule> {
    let all = [A, B, C, FAR];
    let table = |hash, with_port, fallback| Schedule::Table {
        hash,
        slots: [A, B, C, FAR, UNRESOLVED].repeat(50),
        with_port,
        fallback,
    };
    let rotation = |segments| Schedule::Rotation { segments, first: 0 };
    let dynamic = [
        Dynamic::Lc,
        Dynamic::Wlc,
        Dynamic::Sed,
        Dynamic::Nq,
        Dynamic::Fo,
        Dynamic::Ovf,
        Dynamic::Lblc,
        Dynamic::Lblcr,
        Dynamic::Twos,
    ];
    let lists = dynamic.map(|scheduler| Schedule::List {
        scheduler,
        destinations: all.to_vec(),
    });
    let mut schedules = vec![
        rotation(round(&all)),
        rotation(segments(&[(1, &[A]), (3, &[A, B]), (9, &[A, B, C])])),
        rotation(Vec::new()),
        rotation(round(&[GONE, LOCAL])),
        table(Hash::Source, false, false),
        table(Hash::Source, true, true),
        table(Hash::Destination, false, false),
        table(Hash::Maglev, true, false),
        table(Hash::Maglev, false, true),
    ];
    schedules.extend(lists);
    schedules
}

fn ports() -> Vec<u16> {
    let count = schedules().len() as u16;
    let each = (0..count).flat_map(|number| [FIRST + number, FIRST + PERSISTENT + number]);
    each.chain([NO_SERVICE]).collect()
}

fn world() -> Vec<Change> {
    let mut changes = classic();
    let mut id = 40;
    for (number, schedule) in schedules().into_iter().enumerate() {
        for (vip, protocol) in [(VIP, 6), (VIP, 17), (VIP_6, 6), (VIP_6, 17)] {
            for (base, persistence_s) in [(FIRST, 0), (FIRST + PERSISTENT, 300)] {
                id += 1;
                let client_mask = if vip == VIP { 0xffff_fff0 } else { 124 };
                changes.push(Change::Schedule {
                    key: key(protocol, vip, base + number as u16),
                    id,
                    rules: Rules {
                        persistence_s,
                        client_mask,
                        ..Rules::default()
                    },
                    schedule: schedule.clone(),
                });
            }
        }
    }
    changes
}

/// Weights and thresholds of a real server change now and then.
fn change(dice: &mut Dice) -> Change {
    let id = dice.pick(&[A, B, C]);
    let standing = Standing {
        weight: dice.pick(&[0, 1, 1, 2, 5]),
        upper_threshold: dice.pick(&[0, 0, 500, 2_000]),
        ..Standing::default()
    };
    Change::Standing(id, via(id, 0), standing)
}

fn flow(dice: &mut Dice, ports: &[u16]) -> Flow {
    let host = dice.below(CLIENTS) as u32;
    let (client, vip): (IpAddr, _) = match dice.one_in(2) {
        true => (Ipv4Addr::from_bits(0x0a00_0000 | host).into(), VIP),
        false => {
            let bits = 0x2001_0db8 << 96 | u128::from(host);
            (Ipv6Addr::from_bits(bits).into(), VIP_6)
        }
    };
    Flow {
        protocol: dice.pick(&[6, 17]),
        client: SocketAddr::new(client, 1_024 + dice.below(60_000) as u16),
        virtual_address: SocketAddr::new(vip, dice.pick(ports)),
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
