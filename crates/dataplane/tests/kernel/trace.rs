//! What a trace keeps of a frame, against what the kernel was seen to do with it.

use std::collections::BTreeMap;

use director::verdict;
use dirigo_dataplane::{Filter, Taken, Watch};

use crate::dice::Dice;
use crate::kernel::Kernel;
use crate::packet::{SYN, Transport, VIP, packet};
use crate::pair::hex;
use crate::support::is_root;
use crate::world::{DNS, HTTP, INGRESS, classic};

const EVERYTHING: Filter = Filter {
    client: None,
    client_port: 0,
    virtual_address: None,
    virtual_port: 0,
    protocol: 0,
    verdicts: u64::MAX,
    one_in: 1,
    rate: u32::MAX,
    snap: 1_536,
};

/// Frames of random worlds: all verdicts that the dice reach.
const WORLDS: u64 = 40;
const FRAMES: usize = 50;

#[test]
fn a_trace_tells_of_every_frame_how_it_came_how_it_left_and_which_counters_moved() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::new("trace", 64);
    let mut trace = begin_to_watch(&mut kernel);
    trace.set(0, Some(EVERYTHING)).unwrap();
    let mut met = BTreeMap::<&str, u32>::new();
    for world in 0..WORLDS {
        let mut dice = Dice::new(10, world);
        for change in dice.world() {
            kernel.apply(&change);
        }
        for _ in 0..FRAMES {
            let frame = dice.frame();
            let before = kernel.counters();
            let received = kernel.receive(&frame);
            let moved = difference(&kernel.counters(), &before);
            let taken = trace
                .take()
                .unwrap_or_else(|| panic!("nothing of {}", hex(&frame)));
            assert_eq!(trace.take(), None);
            let kept = frame.len().min(1_536);
            assert_eq!(taken.before, frame[..kept], "{}", hex(&frame));
            let kept = received.frame.len().min(1_536);
            assert_eq!(taken.after, received.frame[..kept], "{}", hex(&frame));
            let record = taken.record;
            assert_eq!(record.before_len as usize, frame.len());
            assert_eq!(record.after_len as usize, received.frame.len());
            assert_eq!(record.action, received.action);
            assert_eq!(record.interface, INGRESS);
            let is_sent = matches!(received.action, 3 | 4)
                && !moved.keys().any(|name| name.starts_with("reply"));
            assert!(!is_sent || record.destination != 0, "{}", hex(&frame));
            assert_eq!(record.egress != 0, received.action == 4);
            let named = names(record.counters);
            assert_eq!(
                named,
                moved.keys().copied().collect::<Vec<_>>(),
                "{}",
                hex(&frame)
            );
            for name in named {
                *met.entry(name).or_default() += 1;
            }
        }
    }
    eprintln!("{met:?}");
    for kind in [
        "pass_",
        "drop_",
        "reply_",
        "transmitted",
        "redirected",
        "template_hit",
    ] {
        assert!(
            met.keys().any(|name| name.starts_with(kind)),
            "{kind}: {met:?}"
        );
    }
    let tally = trace.tally(0);
    let all = WORLDS * FRAMES as u64;
    assert_eq!((tally.seen, tally.kept, tally.no_room), (all, all, 0));
}

#[test]
fn what_is_not_wanted_is_not_kept_and_what_cannot_be_kept_is_counted() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("trace-filter", 1_024, &classic());
    pin_to_one_cpu();
    let client = |last: u8| std::net::IpAddr::from([10, 0, 0, last]);
    let datagram = |last| packet(client(last), 9, VIP, DNS, Transport::Udp).bytes();
    let mut trace = begin_to_watch(&mut kernel);
    let mut ask = |filter: Filter, frames: &[Vec<u8>]| {
        trace.set(2, Some(filter)).unwrap();
        for frame in frames {
            kernel.receive(frame);
        }
        let kept: Vec<Taken> = std::iter::from_fn(|| trace.take()).collect();
        assert!(kept.iter().all(|one| one.record.wanted_by == 1 << 2));
        (kept, trace.tally(2))
    };
    let frames = [syn(1, 1_000), syn(1, 1_001), syn(9, 1_000), datagram(1)];
    let of_client = |prefix| Filter {
        client: Some((client(1), prefix)),
        ..EVERYTHING
    };
    assert_eq!(ask(EVERYTHING, &frames).0.len(), 4);
    assert_eq!(ask(of_client(32), &frames).0.len(), 3);
    assert_eq!(ask(of_client(29), &frames).0.len(), 3);
    assert_eq!(ask(of_client(28), &frames).0.len(), 4);
    assert_eq!(ask(of_client(0), &frames).0.len(), 4);
    let of_port = |client_port, virtual_port, protocol| Filter {
        client_port,
        virtual_port,
        protocol,
        ..EVERYTHING
    };
    assert_eq!(ask(of_port(1_000, 0, 0), &frames).0.len(), 2);
    assert_eq!(ask(of_port(0, HTTP, 0), &frames).0.len(), 3);
    assert_eq!(ask(of_port(0, 0, 17), &frames).0.len(), 1);
    let of_vip = |address| Filter {
        virtual_address: Some(address),
        ..EVERYTHING
    };
    assert_eq!(ask(of_vip(VIP), &frames).0.len(), 4);
    assert_eq!(ask(of_vip(client(77)), &frames).0.len(), 0);
    let of_verdict = |name: &str| Filter {
        verdicts: 1
            << verdict::counter_names()
                .find(|(_, one)| *one == name)
                .unwrap()
                .0,
        ..EVERYTHING
    };
    assert_eq!(ask(of_verdict("drop_table_full"), &frames).0.len(), 0);
    assert_eq!(ask(of_verdict("transmitted"), &frames).0.len(), 4);

    let (kept, tally) = ask(
        Filter {
            one_in: 2,
            ..EVERYTHING
        },
        &frames,
    );
    assert_eq!((kept.len(), tally.unsampled), (2, 2));
    // The second may change between two of them.
    let (kept, tally) = ask(
        Filter {
            rate: 1,
            ..EVERYTHING
        },
        &frames,
    );
    assert!((1..4).contains(&kept.len()), "{tally:?}");
    assert_eq!(kept.len() as u64 + tally.over_rate, 4);
    let (kept, _) = ask(
        Filter {
            snap: 54,
            ..EVERYTHING
        },
        &frames[..1],
    );
    assert_eq!((kept[0].before.len(), kept[0].after.len()), (54, 54));
}

#[test]
fn a_reader_that_is_too_slow_holds_nothing_up_and_is_told_what_it_missed() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("trace-full", 1_024, &classic());
    let mut frame = syn(1, 9);
    frame.resize(1_500, 0);
    let mut watch = begin_to_watch(&mut kernel);
    watch.set(0, Some(EVERYTHING)).unwrap();
    let runs = 4_000;
    for _ in 0..runs {
        assert_eq!(kernel.receive(&frame).action, 3);
    }
    let tally = watch.tally(0);
    assert!(tally.no_room > 0, "{tally:?}");
    assert_eq!(tally.kept + tally.no_room, runs);
    assert_eq!(
        std::iter::from_fn(|| watch.take()).count() as u64,
        tally.kept
    );
}

#[test]
fn traces_are_each_by_itself_and_leave_the_programs_as_they_were() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("trace-swap", 1_024, &classic());
    let sizes = kernel.plane.program_sizes().unwrap();
    let of_port = |client_port| Filter {
        client_port,
        ..EVERYTHING
    };
    for _ in 0..2 {
        let mut watch = begin_to_watch(&mut kernel);
        assert_ne!(kernel.plane.program_sizes().unwrap(), sizes);
        kernel.receive(&syn(1, 7));
        assert_eq!(watch.take(), None);
        watch.set(0, Some(of_port(7))).unwrap();
        watch.set(1, Some(of_port(8))).unwrap();
        watch.set(3, Some(EVERYTHING)).unwrap();
        kernel.receive(&syn(1, 7));
        kernel.receive(&syn(1, 8));
        let wanted: Vec<u32> = std::iter::from_fn(|| watch.take())
            .map(|taken| taken.record.wanted_by)
            .collect();
        assert_eq!(wanted, [0b1001, 0b1010]);
        watch.set(3, None).unwrap();
        kernel.receive(&syn(1, 7));
        assert_eq!(watch.take().unwrap().record.wanted_by, 1);
        kernel.plane.end_to_watch().unwrap();
        assert_eq!(kernel.plane.program_sizes().unwrap(), sizes);
        kernel.receive(&syn(1, 7));
        assert_eq!(watch.take(), None);
    }
    assert_eq!(kernel.counters()["connection_new"], 2, "the tables are one");
    // Killed while it watches.
    let _watch = begin_to_watch(&mut kernel);
    let (mut kernel, _) = kernel.restart();
    assert_eq!(kernel.plane.program_sizes().unwrap(), sizes);
}

#[test]
fn the_watched_programs_are_within_the_verifiers_budget() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::new("trace-budget", 64);
    let _watch = begin_to_watch(&mut kernel);
    for (name, size) in kernel.plane.program_sizes().unwrap() {
        eprintln!("{name}: {size:?}");
        assert!(
            size.verified_instructions < crate::budgets::VERIFIED_INSTRUCTIONS,
            "{name}: {size:?}"
        );
    }
}

fn syn(last: u8, port: u16) -> Vec<u8> {
    let client = std::net::IpAddr::from([10, 0, 0, last]);
    packet(client, port, VIP, HTTP, Transport::Tcp(SYN)).bytes()
}

/// Test runs are on the CPU of their caller, and rates are for each CPU.
fn pin_to_one_cpu() {
    let this = nix::unistd::Pid::from_raw(0);
    let allowed = nix::sched::sched_getaffinity(this).unwrap();
    let first = (0..nix::sched::CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap());
    let mut one = nix::sched::CpuSet::new();
    one.set(first.unwrap()).unwrap();
    nix::sched::sched_setaffinity(this, &one).unwrap();
}

fn difference(
    after: &BTreeMap<&'static str, u64>,
    before: &BTreeMap<&'static str, u64>,
) -> BTreeMap<&'static str, u64> {
    let moved = after
        .iter()
        .map(|(name, count)| (*name, count - before.get(name).unwrap_or(&0)));
    moved.filter(|(_, count)| *count != 0).collect()
}

/// Names of counters, in the order of the alphabet.
fn names(bits: u64) -> Vec<&'static str> {
    let all = verdict::counter_names();
    let mut named: Vec<_> = all
        .filter(|(number, _)| bits >> number & 1 != 0)
        .map(|(_, name)| name)
        .collect();
    named.sort_unstable();
    named
}

/// Has the watched programs put in.
fn begin_to_watch(kernel: &mut Kernel) -> Watch {
    let watched = kernel.plane.watched_loader().load().unwrap();
    kernel.plane.begin_to_watch(watched).unwrap()
}
