//! Forgetting: what runs out is swept, and its gauges with it.

use std::time::Duration;

use dirigo_dataplane::Swept;

use crate::case::ROOMY;
use crate::kernel::Kernel;
use crate::packet::{ACK, CLIENT, FIN, SYN, tcp, udp};
use crate::support::is_root;
use crate::world::{A, Change, DNS, HTTP, IDS, Touched, classic, publish};

#[test]
fn a_sweep_forgets_what_has_run_out_and_nothing_else() {
    if !is_root() {
        return;
    }
    let mut kernel = only_a("sweep");
    for port in 0..20 {
        kernel.receive(&tcp(CLIENT, 1_000 + port, HTTP, SYN).bytes());
    }
    kernel.apply(&Change::Age(61));
    for port in 0..5 {
        kernel.receive(&tcp(CLIENT, 2_000 + port, HTTP, SYN).bytes());
    }
    assert_eq!(kernel.plane.gauges(A), (25, 0));

    let swept = sweep_all(&kernel);

    assert_eq!(
        swept,
        Swept {
            expired: 20,
            live: 5
        }
    );
    assert_eq!(kernel.plane.gauges(A), (5, 0));
    let left = kernel.snapshot(&Touched::default()).connections;
    assert!(left.iter().all(|known| known.client.port() >= 2_000) && left.len() == 5);
}

#[test]
fn a_sweep_goes_on_where_the_last_one_ended() {
    if !is_root() {
        return;
    }
    let mut kernel = only_a("slices");
    for port in 0..60 {
        kernel.receive(&udp(CLIENT, 1_000 + port, DNS).bytes());
    }
    kernel.apply(&Change::Age(301));
    let slice = |kernel: &Kernel| kernel.plane.sweep(16).expired;
    // 256 buckets are sixteen slices.
    let found: Vec<u64> = (0..16).map(|_| slice(&kernel)).collect();

    assert_eq!(found.iter().sum::<u64>(), 60);
    // Sixty flows of 256 buckets are not all in two slices.
    assert!(
        found.iter().filter(|count| **count > 0).count() > 2,
        "{found:?}"
    );
    assert_eq!((kernel.plane.gauges(A), slice(&kernel)), ((0, 0), 0));
}

#[test]
fn each_state_runs_out_in_its_own_time() {
    if !is_root() {
        return;
    }
    let mut kernel = only_a("states");
    let handshake = [SYN, ACK];
    for flags in handshake.into_iter().chain([FIN]) {
        kernel.receive(&tcp(CLIENT, 1, HTTP, flags).bytes());
    }
    for flags in handshake {
        kernel.receive(&tcp(CLIENT, 2, HTTP, flags).bytes());
    }
    kernel.receive(&udp(CLIENT, 3, DNS).bytes());
    assert_eq!(kernel.plane.gauges(A), (1, 2));

    for (seconds, gauges) in [(119, (1, 2)), (3, (1, 1)), (180, (1, 0)), (600, (0, 0))] {
        kernel.apply(&Change::Age(seconds));
        sweep_all(&kernel);
        assert_eq!(kernel.plane.gauges(A), gauges, "after {seconds} s more");
    }
}

#[test]
fn what_ran_out_while_no_daemon_was_there_is_no_connection_and_is_swept_by_the_next() {
    if !is_root() {
        return;
    }
    let mut kernel = only_a("away");
    for port in 0..40 {
        kernel.receive(&udp(CLIENT, 1_000 + port, DNS).bytes());
    }
    for flags in [SYN, ACK] {
        kernel.receive(&tcp(CLIENT, 99, HTTP, flags).bytes());
    }
    kernel.apply(&Change::Age(400));

    let (mut kernel, _) = kernel.restart();

    // Packets of before are no guide: what has run out begins anew, and is counted once.
    kernel.receive(&udp(CLIENT, 1_000, DNS).bytes());
    assert_eq!(kernel.snapshot(&Touched::default()).connections.len(), 2);
    assert_eq!(kernel.plane.gauges(A), (1, 40));
    let expired: u64 = (0..16).map(|_| kernel.plane.sweep(16).expired).sum();
    assert_eq!((expired, kernel.plane.gauges(A)), (39, (1, 1)));
}

/// The one test that waits: the other ones make what is remembered older instead.
#[test]
fn timeouts_run_in_real_time() {
    if !is_root() {
        return;
    }
    let mut kernel = only_a("real-time");
    kernel.apply(&Change::Timeouts(1, 1, 1));
    kernel.receive(&udp(CLIENT, 1, DNS).bytes());
    kernel.receive(&tcp(CLIENT, 2, HTTP, SYN).bytes());
    let listed = |kernel: &mut Kernel| kernel.snapshot(&Touched::default()).connections.len();
    assert_eq!(listed(&mut kernel), 2);

    // A second, the tick it is rounded up to, and the tick that has begun.
    std::thread::sleep(Duration::from_millis(1_700));

    // Not listed although no sweep has been: what has run out is no connection.
    assert_eq!(listed(&mut kernel), 1);
    assert_eq!(
        sweep_all(&kernel),
        Swept {
            expired: 1,
            live: 1
        }
    );
    let connections = kernel.plane.connections_handle();
    let mut left = Vec::new();
    let shown = std::thread::spawn(move || {
        connections.list(&mut |connection| left.push(connection));
        left
    });
    let left = shown.join().unwrap();
    assert_eq!((left.len(), left[0].state), (1, "SYN_RECV"));
    assert!((50..=60).contains(&left[0].expires_s), "{left:?}");
}

#[test]
fn a_destination_that_is_reset_has_sent_nothing() {
    if !is_root() {
        return;
    }
    let mut kernel = only_a("reset");
    kernel.receive(&tcp(CLIENT, 1, HTTP, SYN).bytes());
    assert_eq!(kernel.plane.destination_stats(A).packets, 1);
    for id in 1..IDS {
        kernel.plane.reset_destination(id).unwrap();
    }
    assert_eq!(kernel.plane.gauges(A), (0, 0));
    assert_eq!(kernel.plane.destination_stats(A), Default::default());
}

/// All services go to one server.
fn only_a(test: &str) -> Kernel {
    let mut kernel = Kernel::with(test, ROOMY, &classic());
    let vip = crate::packet::VIP;
    kernel.apply(&publish(1, 6, vip, HTTP, &[A]));
    kernel.apply(&publish(2, 17, vip, DNS, &[A]));
    kernel
}

/// A whole round.
fn sweep_all(kernel: &Kernel) -> Swept {
    kernel
        .plane
        .sweep(usize::try_from(kernel.plane.connections_max()).unwrap())
}

#[test]
fn counters_of_many_are_those_of_each() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("many-counters", 1_024, &classic());
    for port in 1_000..1_040 {
        kernel.receive(&tcp(CLIENT, port, HTTP, SYN).bytes());
    }
    let last = director::limits::DESTINATIONS - 1;
    // Near and far, in no order, twice, over the bounds of a batch, and the last there is.
    let mut ids: Vec<u32> = (0..2_500).rev().collect();
    ids.extend([A, last, 5_000, 5_009, 5_008, A, last - 1]);
    let all = kernel.plane.stats_of(&ids);
    let each: Vec<_> = ids
        .iter()
        .map(|id| kernel.plane.destination_stats(*id))
        .collect();
    assert_eq!(all, each);
    let sent: u64 = all[..2_500].iter().map(|one| one.packets).sum();
    assert_eq!(sent, 40);
    assert!(kernel.plane.stats_of(&[]).is_empty());
}
