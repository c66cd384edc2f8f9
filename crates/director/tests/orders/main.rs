//! Two CPUs at one bucket, in every order that two changes of turn can make, with every value that their
//! memory may still show them: the protocol of `director::connection`, tried out whole.
//!
//! ```text
//! loom ─► order of steps ─► CPU 1: frames through `forward` ─┐
//!                           CPU 2: frames, or the sweep      ┴─► one bucket ─► whole?
//! ```
//!
//! What is proved: no slot stays claimed, none is a mixture of two flows, no flow has two, gauges and
//! populations count what is there, and no frame follows another flow's entry. `races.rs` beside this one has more
//! cases and fewer orders.
//!
//! A word is what it is on x86-64 (see `director-xdp/src/word.rs`): loads acquire, stores release, and the
//! atomic instructions are barriers.
#![allow(clippy::unwrap_used)]

extern crate dirigo_director as director;

use std::sync::atomic::Ordering::Relaxed;

use director::Verdict;
use director::connection::{CLAIMED, Entry, FREE};
use director::limits::BUCKET_SLOTS;
use director::tables::{Gauge, Tables, Word};
use loom::sync::Arc;
use loom::thread::{Builder, JoinHandle};
use shared::{BEGIN, PORTS, Shared};
use world::{ACK, FIN, Packet, RST, SYN, destination};

mod shared;
#[path = "../world/mod.rs"]
mod world;

/// Changes of turn that are tried out, on top of those that a thread's end makes. Three take half a minute and
/// find no more.
const TURNS: usize = 2;
/// Stack of a thread: an unoptimised packet path needs more than loom gives.
const STACK_WORDS: usize = 1 << 14;
/// Place of the service that is persistent.
const PERSISTENT: usize = 2;
/// Four connections that may give way.
const HALF_OPEN: Segments = &[(1, 0, SYN), (2, 1, SYN), (3, 0, SYN), (4, 1, SYN)];
/// Ticks after which they have run out, and established ones have not.
const LONG: u64 = 300;

/// A client's segment to one of the services: client port, service, flags.
type Segments = &'static [(u16, usize, u8)];

/// The same as frames. Made beforehand: loom's threads have little room on their stacks.
type Frames = std::sync::Arc<Vec<(usize, Vec<u8>)>>;

fn frames(segments: Segments) -> Frames {
    let frame = |(client_port, service, flags): &(u16, usize, u8)| {
        let packet = Packet {
            client_port: *client_port,
            port: PORTS[*service],
            ..world::some_flow().packet(*flags)
        };
        (*service, packet.bytes())
    };
    std::sync::Arc::new(segments.iter().map(frame).collect())
}

/// Sends a frame. Wherever it goes, it is its own service's destination.
fn send(shared: &Shared, (service, frame): &(usize, Vec<u8>)) -> Verdict {
    let (out, verdict) = world::forward(shared, frame.clone());
    if verdict == Verdict::Transmit {
        let server = destination(&out).unwrap();
        assert_eq!(server as usize, service + 1, "another flow's destination");
    }
    verdict
}

/// What a CPU does.
type Work = std::sync::Arc<dyn Fn(&Shared) -> Vec<Verdict> + Send + Sync>;

/// Sends frames one after another.
fn sending(segments: Segments) -> Work {
    let frames = frames(segments);
    std::sync::Arc::new(move |shared| frames.iter().map(|frame| send(shared, frame)).collect())
}

/// Looks for what has run out in the first slots, as the daemon does (`dataplane/src/connections.rs`).
fn sweeping(slots: usize) -> Work {
    std::sync::Arc::new(move |shared| {
        (0..slots).for_each(|number| expire(shared, number));
        vec![]
    })
}

fn expire(shared: &Shared, number: usize) {
    let slot = &shared.bucket.slots[number];
    let (tag, entry) = (slot.tag.load(), Entry(slot.entry.load()));
    let tick = shared.now().tick();
    if tag == FREE || tag == CLAIMED || !entry.is_expired(&shared.settings, tick) {
        return;
    }
    if !slot.tag.swap_if(tag, CLAIMED) {
        return;
    }
    let is_taken = slot.entry.swap_if(entry.0, 0);
    if is_taken && entry.destination() != 0 {
        let tuple = shared.tuple(number as u32).unwrap();
        let step = Gauge::of(entry.state()).wrapping_neg();
        shared.gauges[entry.destination() as usize].add(step);
        shared.populations[tuple.service as usize].add(1u64.wrapping_neg());
    }
    slot.tag.store(if is_taken { FREE } else { tag });
}

fn on_a_cpu(shared: &Arc<Shared>, work: &Work) -> JoinHandle<Vec<Verdict>> {
    let (shared, work) = (shared.clone(), work.clone());
    let all = move || work(&shared);
    Builder::new().stack_size(STACK_WORDS).spawn(all).unwrap()
}

/// Frames that make the table what it is; then two CPUs' work, in every order; then what must be true. How many
/// orders there were.
fn race(
    before: Segments,
    idle_ticks: u64,
    one: &Work,
    other: &Work,
    check: impl Fn(&Shared, &[Verdict], &[Verdict]) + Sync + Send + 'static,
) {
    let orders = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = orders.clone();
    let (before, one, other) = (sending(before), one.clone(), other.clone());
    explore(move || {
        counted.fetch_add(1, Relaxed);
        let shared = Arc::new(Shared::default());
        let verdicts = on_a_cpu(&shared, &before).join().unwrap();
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Transmit));
        shared.tick.store(BEGIN + idle_ticks, Relaxed);
        let (one, other) = (on_a_cpu(&shared, &one), on_a_cpu(&shared, &other));
        let (ours, theirs) = (one.join().unwrap(), other.join().unwrap());
        assert_whole(&shared);
        check(&shared, &ours, &theirs);
    });
    let orders = orders.load(Relaxed);
    eprintln!("{orders} orders");
    // Fewer would mean that the CPUs do not meet.
    assert!(orders > 100, "{orders} orders");
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(TURNS);
    builder.max_branches = 100_000;
    builder.check(model);
}

/// What a used slot says.
struct Used {
    tag: u64,
    entry: Entry,
    /// Client and ports.
    flow: u64,
    service: usize,
    /// Of a connection the slot of its template and one more.
    template: u64,
}

fn used(shared: &Shared) -> Vec<Used> {
    let slots = shared.bucket.slots.iter().zip(&shared.tuples);
    let all = slots.map(|(slot, [flow, service])| {
        let service = service.load();
        Used {
            tag: slot.tag.load(),
            entry: Entry(slot.entry.load()),
            flow: flow.load(),
            service: service as u32 as usize,
            template: service >> 32,
        }
    });
    all.filter(|slot| slot.tag != FREE).collect()
}

fn assert_whole(shared: &Shared) {
    let used = used(shared);
    let mut held = [(0, 0); 4];
    let mut populations = [0; 4];
    for slot in &used {
        assert_ne!(slot.tag, CLAIMED, "a slot stays claimed");
        let twins = used.iter().filter(|other| other.tag == slot.tag).count();
        assert_eq!(twins, 1, "a flow has two slots");
        assert_one_flow(slot);
        populations[slot.service] += 1;
        if slot.entry.state().is_template() {
            continue;
        }
        let gauge = &mut held[slot.entry.destination() as usize];
        if slot.entry.state().is_active() {
            gauge.0 += 1;
        } else {
            gauge.1 += 1;
        }
    }
    for (number, want) in held.into_iter().enumerate() {
        let gauge = Gauge::split(shared.gauges[number].load());
        assert_eq!(gauge, want, "gauge {number}");
        let population = shared.populations[number].load();
        assert_eq!(population, populations[number], "population {number}");
    }
}

/// Tag, entry and tuple are of one flow.
fn assert_one_flow(slot: &Used) {
    let service = slot.service - 1;
    let client_port = (slot.flow >> 16) as u16;
    assert_eq!(
        slot.flow & 0xffff,
        PORTS[service].into(),
        "a tuple of two flows"
    );
    assert_eq!(
        slot.entry.destination() as usize,
        slot.service,
        "an entry of another flow"
    );
    let is_template = client_port == 0;
    assert_eq!(
        slot.entry.state().is_template(),
        is_template,
        "a state of another flow"
    );
    let hash = if is_template {
        template_hash()
    } else {
        hash_of(client_port, service)
    };
    assert_eq!(slot.tag, hash, "another flow's tag");
    if service != PERSISTENT {
        assert_eq!(slot.template, 0, "a template of nobody's");
    }
}

fn hash_of(client_port: u16, service: usize) -> u64 {
    use director::address::{V4, flow_hash};
    let ports = u32::from(client_port) << 16 | u32::from(PORTS[service]);
    let client = V4(u32::from_be_bytes([198, 51, 100, 1]));
    flow_hash(client, V4(world::VIP.to_bits()), ports, 6, &world::KEYS)
}

/// Of the only client's template.
fn template_hash() -> u64 {
    use director::address::{V4, flow_hash};
    let client = V4(u32::from_be_bytes([198, 51, 100, 1]));
    let port = PORTS[PERSISTENT].into();
    flow_hash(
        client,
        V4(world::VIP.to_bits()),
        port,
        6 ^ 0x40,
        &world::KEYS,
    )
}

fn holds(shared: &Shared, client_port: u16, service: usize) -> bool {
    let hash = hash_of(client_port, service);
    used(shared).iter().any(|slot| slot.tag == hash)
}

#[test]
fn a_flow_that_begins_on_two_cpus_has_one_slot() {
    let begin = sending(&[(1, 0, SYN)]);
    race(&[], 0, &begin, &begin, |shared, one, other| {
        assert!(holds(shared, 1, 0));
        assert!(one[0] == Verdict::Transmit || other[0] == Verdict::Transmit);
    });
}

#[test]
fn of_two_newcomers_one_gets_the_last_free_slot_and_none_pushes_out_the_established() {
    let established = &[
        (1, 0, SYN),
        (1, 0, ACK),
        (2, 1, SYN),
        (2, 1, ACK),
        (3, 0, SYN),
        (3, 0, ACK),
    ];
    let (four, five) = (sending(&[(4, 0, SYN)]), sending(&[(5, 1, SYN)]));
    race(established, 0, &four, &five, |shared, four, five| {
        // A half-open one may give way to the next.
        let is_there = [holds(shared, 4, 0), holds(shared, 5, 1)];
        assert!(is_there[0] != is_there[1], "{four:?} {five:?}");
        assert!(!is_there[0] || four[0] == Verdict::Transmit);
        assert!(!is_there[1] || five[0] == Verdict::Transmit);
        assert!(holds(shared, 1, 0) && holds(shared, 2, 1) && holds(shared, 3, 0));
    });
}

#[test]
fn a_victim_that_is_renewed_meanwhile_is_lost_or_kept_whole() {
    for renewal in [&[(1, 0, ACK)], &[(1, 0, FIN)], &[(1, 0, RST)]] {
        let (newcomer, renewal) = (sending(&[(5, 1, SYN)]), sending(renewal));
        race(HALF_OPEN, 1, &newcomer, &renewal, |_, _, _| {});
    }
}

#[test]
fn a_connection_that_has_run_out_is_freed_once_whoever_finds_it() {
    let begin = sending(&[(1, 0, SYN)]);
    for other in [&[(1, 0, SYN)], &[(1, 0, ACK)]] {
        race(&[(1, 0, SYN)], LONG, &begin, &sending(other), |_, _, _| {});
    }
    race(
        HALF_OPEN,
        LONG,
        &begin,
        &sending(&[(5, 1, SYN)]),
        |_, _, _| {},
    );
}

#[test]
fn what_has_run_out_is_swept_or_renewed_or_begun_anew() {
    for other in [&[(1, 0, SYN)], &[(1, 0, ACK)]] {
        race(
            &[(1, 0, SYN)],
            LONG,
            &sweeping(BUCKET_SLOTS),
            &sending(other),
            |_, _, _| {},
        );
    }
    let newcomer = sending(&[(5, 1, SYN)]);
    race(
        HALF_OPEN,
        LONG,
        &sweeping(1),
        &newcomer,
        |shared, _, newcomer| {
            assert!(newcomer[0] != Verdict::Transmit || holds(shared, 5, 1));
        },
    );
}

#[test]
fn whoever_withdraws_a_twin_takes_nobody_else_away() {
    let (one, two) = (
        sending(&[(1, 0, SYN)]),
        sending(&[(1, 0, SYN), (2, 1, SYN)]),
    );
    race(&[], 0, &one, &two, |shared, _, two| {
        assert!(
            two[1] != Verdict::Transmit || holds(shared, 2, 1),
            "the newcomer is gone"
        );
    });
}

#[test]
fn whoever_frees_what_has_run_out_takes_nobody_else_away() {
    let full = &[
        (1, 0, SYN),
        (2, 0, SYN),
        (2, 0, ACK),
        (3, 0, SYN),
        (3, 0, ACK),
        (4, 0, SYN),
        (4, 0, ACK),
    ];
    let (late, newcomer) = (
        sending(&[(1, 0, ACK)]),
        sending(&[(5, 1, SYN), (5, 1, ACK)]),
    );
    race(full, LONG, &late, &newcomer, |shared, _, newcomer| {
        assert!(
            newcomer[0] != Verdict::Transmit || holds(shared, 5, 1),
            "the newcomer is gone"
        );
    });
}

#[test]
fn a_template_whose_slot_another_flow_takes_counts_nothing_there() {
    // The template and its closing connection are the first that give way.
    let full = &[
        (1, PERSISTENT, SYN),
        (1, PERSISTENT, FIN),
        (2, 0, SYN),
        (2, 0, ACK),
        (3, 0, SYN),
        (3, 0, ACK),
    ];
    let (again, newcomer) = (sending(&[(4, PERSISTENT, SYN)]), sending(&[(5, 1, SYN)]));
    race(full, 1, &again, &newcomer, |shared, _, _| {
        assert!(holds(shared, 2, 0) && holds(shared, 3, 0));
    });
}
