//! Two CPUs hammer the same few buckets with frames of wave after wave of flows, while a third thread sweeps them: what
//! then is there is whole.
//!
//! Each service has one server of its own, so that a frame that follows another flow's entry is seen at once. The
//! orders that this meets by chance, `director/tests/orders` tries one by one.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use director::address::{V4, V6, flow_hash};
use director::connection::{CLAIMED, Entry, FREE};
use director::memory::unmapped;
use director::tables::Tuple;
use dirigo_dataplane::Dataplane;
use zerocopy::{FromBytes, IntoBytes};

use crate::dice::Dice;
use crate::kernel::Kernel;
use crate::native::slots_of;
use crate::packet::{ACK, CLIENT, CLIENT_6, FIN, RST, SYN, VIP, VIP_6, tcp, udp};
use crate::support::is_root;
use crate::world::{Change, IDS, INGRESS, Words, classic, publish};

/// How long. Several ticks, so that timeouts of nothing run out.
const WHILE: Duration = Duration::from_millis(2_500);
/// How long the same flows are busy; then they run out, while others take their place.
const WAVE: Duration = Duration::from_millis(400);
/// Flows of each service in a wave.
const FLOWS: usize = 16;
/// Slots: two waves are more than there is room for.
const ROOM: u32 = 64;
/// Protocol, virtual address and port of the services; server and service have one number.
const SERVICES: [(u8, IpAddr, u16); 4] =
    [(6, VIP, 80), (6, VIP, 81), (6, VIP_6, 80), (17, VIP, 53)];

#[test]
fn two_cpus_at_the_same_buckets_leave_no_torn_and_no_duplicate_entry() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("hammer", ROOM, &classic());
    for (server, (protocol, vip, port)) in (1..).zip(SERVICES) {
        kernel.apply(&Change::Link(server, crate::world::via(server, 0)));
        kernel.apply(&publish(server, protocol, vip, port, &[server]));
    }
    kernel.apply(&Change::Timeouts(0, 0, 0));
    let mut cpus = [kernel.instance.open().0, kernel.instance.open().0];
    let sweeper = kernel.instance.open().0;
    let (is_over, swept) = (AtomicBool::new(false), AtomicU64::new(0));

    let frames: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(&mut cpus)
            .map(|(number, plane)| {
                let is_over = &is_over;
                scope.spawn(move || hammer(plane, Dice::new(7, number), is_over))
            })
            .collect();
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                swept.fetch_add(sweeper.sweep(1).expired, SeqCst);
                std::thread::yield_now();
            }
        });
        std::thread::sleep(WHILE);
        is_over.store(true, SeqCst);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });

    let held = held(&kernel);
    assert_whole(&kernel, &held);
    eprintln!(
        "{frames} frames, {} slots in use, {swept:?} swept",
        held.len()
    );
    assert!(frames > 1_000 && !held.is_empty());
}

/// Sends frames; how many. Where one goes, its own service's server is.
fn hammer(plane: &mut Dataplane, mut dice: Dice, is_over: &AtomicBool) -> u64 {
    let (begun, mut frames) = (Instant::now(), 0);
    while !is_over.load(SeqCst) {
        let wave = (begun.elapsed().as_millis() / WAVE.as_millis()) as u16;
        let (server, frame) = one_of_few(&mut dice, wave);
        let out = plane.test_run(INGRESS, &frame).unwrap();
        if out.action == 3 {
            assert_eq!(
                out.frame[5], server,
                "after {frames} frames: another flow's server"
            );
        }
        frames += 1;
    }
    frames
}

fn one_of_few(dice: &mut Dice, wave: u16) -> (u8, Vec<u8>) {
    let number = dice.below(SERVICES.len());
    let (protocol, vip, port) = SERVICES[number];
    let client = if vip.is_ipv4() { CLIENT } else { CLIENT_6 };
    let client_port = 1 + wave * FLOWS as u16 + dice.below(FLOWS) as u16;
    let flags = dice.pick(&[SYN, SYN, ACK, ACK, FIN, RST]);
    // Both go to the virtual address of the client's family.
    let packet = if protocol == 6 {
        tcp(client, client_port, port, flags)
    } else {
        udp(client, client_port, port)
    };
    (number as u8 + 1, packet.bytes())
}

/// Tag, entry and tuple of every slot in use.
fn held(kernel: &Kernel) -> Vec<(u64, Entry, Tuple)> {
    let buckets = kernel.instance.array::<8>("BUCKETS");
    let tuples = kernel
        .instance
        .array::<{ size_of::<Words>() / 8 }>("TUPLES");
    let all = (0..buckets.len()).flat_map(|number| slots_of(buckets.get(&number, 0).unwrap()));
    let used = (0..).zip(all).filter(|(_, (tag, _))| *tag != FREE);
    used.map(|(slot, (tag, entry))| {
        let words = tuples.get(&slot, 0).unwrap();
        let tuple = Tuple::read_from_bytes(words.as_bytes()).unwrap();
        (tag, Entry(entry), tuple)
    })
    .collect()
}

fn assert_whole(kernel: &Kernel, held: &[(u64, Entry, Tuple)]) {
    let keys = kernel.settings().hash_keys;
    let (mut gauges, mut tags) = (BTreeMap::<u32, (u32, u32)>::new(), HashSet::new());
    for (tag, entry, tuple) in held {
        assert_ne!(*tag, CLAIMED, "a slot stays claimed");
        assert!(tags.insert(tag), "a flow has two slots: {tuple:?}");
        assert_eq!(*tag, hash_of(tuple, &keys), "another flow's tag: {tuple:?}");
        assert_eq!(
            entry.destination(),
            tuple.service,
            "another flow's entry: {tuple:?}"
        );
        let gauge = gauges.entry(entry.destination()).or_default();
        if entry.state().is_active() {
            gauge.0 += 1;
        } else {
            gauge.1 += 1;
        }
    }
    let populations = kernel.instance.array::<1>("POPULATIONS");
    for id in 1..IDS {
        let want = gauges.get(&id).copied().unwrap_or_default();
        assert_eq!(kernel.plane.gauges(id), want, "gauge {id}");
        let population = populations.get(&id, 0).unwrap()[0];
        assert_eq!(population, u64::from(want.0 + want.1), "population {id}");
    }
}

fn hash_of(tuple: &Tuple, keys: &[u64; 8]) -> u64 {
    let protocol = tuple.protocol as u8;
    match (unmapped(tuple.client), unmapped(tuple.virtual_address)) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => flow_hash(
            V4(client.to_bits()),
            V4(vip.to_bits()),
            tuple.ports,
            protocol,
            keys,
        ),
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            let words = |bits: u128| V6([96, 64, 32, 0].map(|shift| (bits >> shift) as u32));
            flow_hash(
                words(client.to_bits()),
                words(vip.to_bits()),
                tuple.ports,
                protocol,
                keys,
            )
        }
        mixed => panic!("a tuple of two families: {mixed:?}"),
    }
}
