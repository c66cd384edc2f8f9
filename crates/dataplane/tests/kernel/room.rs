//! Rotations beside rotations: room is used again, and when there is none nothing is lost.

use director::limits::{DESTINATIONS, ROTATION_SLOTS, SERVICES};
use dirigo_dataplane::{Error, Segment};

use crate::case::ROOMY;
use crate::kernel::Kernel;
use crate::packet::{CLIENT, SYN, VIP, tcp};
use crate::support::is_root;
use crate::world::{A, B, C, Change, HTTP, classic, key, publish, round};

#[test]
fn a_service_that_grows_server_by_server_uses_the_same_room_again_and_is_never_refused() {
    /// Added one by one, these are twice as many slots as there are.
    const SERVERS: u32 = 4_100;

    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("grow", ROOMY, &classic());
    let key = key(6, VIP, HTTP);
    let mut rotation = Vec::new();
    for number in 0..SERVERS {
        rotation.push([A, B][number as usize % 2]);
        let segments = round(&rotation);
        kernel.plane.publish_service(&key, 1, &segments, 0).unwrap();
    }
    assert!((1..=SERVERS).sum::<u32>() > 2 * ROTATION_SLOTS);

    // The last server of the rotation, then the first.
    let first = u64::from(SERVERS) - 1;
    let segments = round(&rotation);
    kernel
        .plane
        .publish_service(&key, 1, &segments, first)
        .unwrap();
    for (port, server) in [(1, B), (2, A)] {
        let received = kernel.receive(&tcp(CLIENT, port, HTTP, SYN).bytes());
        assert_eq!((received.action, received.frame[5]), (3, server as u8));
    }
}

#[test]
fn a_rotation_that_has_no_room_changes_nothing() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("no-room", ROOMY, &classic());
    let key = key(6, VIP, HTTP);
    let most = ROTATION_SLOTS as usize * 2 / 3;
    kernel
        .plane
        .publish_service(&key, 1, &round(&vec![B; most]), 0)
        .unwrap();

    let result = kernel
        .plane
        .publish_service(&key, 1, &round(&vec![C; most]), 0);

    let Err(Error::Full { what, limit }) = result else {
        panic!("{result:?}");
    };
    assert_eq!((what, limit), ("rotation slots", ROTATION_SLOTS.into()));
    let received = kernel.receive(&tcp(CLIENT, 1, HTTP, SYN).bytes());
    assert_eq!((received.action, received.frame[5]), (3, B as u8));
    // Nor is any room lost by it: the rest still takes a small one.
    kernel.apply(&publish(1, 6, VIP, HTTP, &[A]));
}

#[test]
fn the_last_service_number_is_a_service_and_the_next_is_none() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("numbers", ROOMY, &classic());
    let (last, port) = (SERVICES - 1, 8_080);
    kernel
        .plane
        .publish_service(&key(6, VIP, port), last, &round(&[C]), 0)
        .unwrap();
    let received = kernel.receive(&tcp(CLIENT, 1, port, SYN).bytes());
    assert_eq!((received.action, received.frame[5]), (3, C as u8));

    let refused = kernel
        .plane
        .publish_service(&key(6, VIP, 81), SERVICES, &round(&[C]), 0);
    assert!(
        matches!(
            refused,
            Err(Error::Full {
                what: "virtual services",
                ..
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn the_last_destination_number_is_a_destination_as_any() {
    if !is_root() {
        return;
    }
    let last = DESTINATIONS - 1;
    let mut kernel = Kernel::with("last", ROOMY, &classic());
    kernel.apply(&Change::Link(last, crate::world::via(C, 0)));
    kernel.apply(&publish(1, 6, VIP, HTTP, &[last]));
    kernel.receive(&tcp(CLIENT, 1, HTTP, SYN).bytes());
    assert_eq!(kernel.plane.gauges(last), (1, 0));
    assert_eq!(kernel.plane.destination_stats(last).packets, 1);
}

#[test]
fn weights_as_large_as_ipvsadm_takes_are_two_segments() {
    const LARGE: u64 = 2_147_483_647;

    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("large", ROOMY, &classic());
    // A with the largest weight, B with 1: B's turn comes at the end of the cycle.
    let segments = [
        Segment {
            end: LARGE - 1,
            destinations: vec![A],
        },
        Segment {
            end: LARGE + 1,
            destinations: vec![A, B],
        },
    ];
    let key = key(6, VIP, HTTP);
    kernel
        .plane
        .publish_service(&key, 1, &segments, LARGE - 2)
        .unwrap();
    let mut pick = |port| kernel.receive(&tcp(CLIENT, port, HTTP, SYN).bytes()).frame[5];
    assert_eq!([1, 2, 3, 4].map(|port| u32::from(pick(port))), [A, A, B, A]);
}
