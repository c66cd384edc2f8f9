//! Two programs over one set of maps, as two CPUs are: one thread sends, the other changes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use dirigo_dataplane::{DestinationLink, Opened};

use crate::case::ROOMY;
use crate::dice::Dice;
use crate::kernel::Kernel;
use crate::packet::{ACK, CLIENT, FIN, RST, SYN, VIP, tcp, udp};
use crate::support::is_root;
use crate::world::{A, Change, DNS, HTTP, INGRESS, classic, key, publish, round};

/// Publications while the other thread sends.
const GENERATIONS: u32 = 2_000;
/// Servers of each generation, none of which is another's.
const SERVERS: u32 = 3;

#[test]
fn a_connection_made_while_rotations_change_gets_a_server_of_the_old_or_the_new_one() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("swap", ROOMY, &classic());
    let first_id = 100;
    for id in first_id..first_id + (GENERATIONS + 1) * SERVERS {
        let mac = [
            2,
            1,
            (id >> 24) as u8,
            (id >> 16) as u8,
            (id >> 8) as u8,
            id as u8,
        ];
        kernel.apply(&Change::Link(id, DestinationLink::Via { mac, slot: 0 }));
    }
    let generation = |number: u32| {
        let from = first_id + number * SERVERS;
        round(&[from, from + 1, from + 2])
    };
    let key = key(6, VIP, HTTP);
    kernel
        .plane
        .publish_service(&key, 1, &generation(0), 0)
        .unwrap();
    let (begun, done, is_over) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let (mut sender, opened) = kernel.instance.open();
    assert_eq!(opened, Opened::Adopted);

    let frames = std::thread::scope(|scope| {
        let frames = scope.spawn(|| {
            let mut count = 0u32;
            while !is_over.load(SeqCst) {
                count += 1;
                let syn = tcp(CLIENT, count as u16 | 0x8000, HTTP, SYN);
                let oldest = done.load(SeqCst);
                let out = sender.test_run(INGRESS, &syn.bytes()).unwrap();
                let newest = begun.load(SeqCst);
                if out.action != 3 {
                    panic!("action {} between {oldest} and {newest}", out.action);
                }
                // A port that came round again is a connection, with the server it had.
                if count < 0x8000 {
                    let id = u32::from_be_bytes([2, 3, 4, 5].map(|at: usize| out.frame[at]));
                    let number = (id - first_id) / SERVERS;
                    assert!(
                        (oldest..=newest).contains(&number),
                        "{oldest} {number} {newest}"
                    );
                }
            }
            count
        });
        for number in 1..=GENERATIONS {
            begun.store(number, SeqCst);
            kernel
                .plane
                .publish_service(&key, 1, &generation(number), 0)
                .unwrap();
            done.store(number, SeqCst);
            // As many frames as publications, whatever the machine does.
            std::thread::yield_now();
        }
        is_over.store(true, SeqCst);
        frames.join().unwrap()
    });
    assert!(frames > 10, "only {frames} frames were sent meanwhile");
}

#[test]
fn gauges_are_what_the_table_holds_when_frames_and_sweeps_are_over() {
    /// Several ticks: with timeouts of nothing all that is older than one has run out.
    const WHILE: Duration = Duration::from_millis(1_500);

    if !is_root() {
        return;
    }
    // Little room, so that all push each other out while a third sweeps.
    let mut kernel = Kernel::with("gauges", 64, &classic());
    kernel.apply(&publish(1, 6, VIP, HTTP, &[A]));
    kernel.apply(&publish(2, 17, VIP, DNS, &[A]));
    kernel.apply(&Change::Timeouts(0, 0, 0));
    let mut others = [kernel.instance.open().0, kernel.instance.open().0];
    let sweeper = kernel.instance.open().0;
    let (is_over, expired) = (AtomicBool::new(false), AtomicU64::new(0));

    std::thread::scope(|scope| {
        for (number, other) in others.iter_mut().enumerate() {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut dice = Dice::new(1, number as u64);
                while !is_over.load(SeqCst) {
                    other.test_run(INGRESS, &one_of_few(&mut dice)).unwrap();
                }
            });
        }
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                expired.fetch_add(sweeper.sweep(16).expired, SeqCst);
            }
        });
        std::thread::sleep(WHILE);
        is_over.store(true, SeqCst);
    });

    // What has run out and is not swept is not listed, but still counted.
    kernel.apply(&Change::Timeouts(900, 120, 300));
    let mut listed = (0, 0);
    kernel
        .plane
        .connections(&mut |connection| match connection.state {
            "ESTABLISHED" | "SYN_RECV" => listed.0 += 1,
            _ => listed.1 += 1,
        });
    assert_eq!(kernel.plane.gauges(A), listed);
    assert!(expired.load(SeqCst) > 0, "nothing was swept");
}

/// A packet of one of a hundred flows, which is more than there is room for.
fn one_of_few(dice: &mut Dice) -> Vec<u8> {
    let port = 1 + dice.below(100) as u16;
    let flags = [SYN, SYN, ACK, ACK, FIN, RST];
    if dice.one_in(4) {
        udp(CLIENT, port, DNS).bytes()
    } else {
        tcp(CLIENT, port, HTTP, dice.pick(&flags)).bytes()
    }
}
