//! Pins outlive the process: what the next one finds, takes over, refuses or cleans away.

use std::collections::BTreeSet;
use std::mem::offset_of;

use aya::maps::{Map, MapData, ProgramArray};
use director::connection::CLAIMED;
use director::tables::{LAYOUT, Settings};
use dirigo_dataplane::{Dataplane, Error, Opened, Options};

use crate::case::ROOMY;
use crate::kernel::{Kernel, SETTINGS_WORDS};
use crate::packet::{ACK, CLIENT, Packet, SYN, VIP, tcp};
use crate::support::{Instance, is_root};
use crate::world::{A, B, C, Change, HTTP, Tables, Touched, WRR, classic, key, publish};

#[test]
fn a_data_plane_that_is_opened_again_is_taken_over_with_all_it_knows() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("adopt", ROOMY, &classic());
    for (port, server) in (1..).zip([A, A, B, A, B]) {
        assert_eq!(server_of(&mut kernel, &syn(WRR, port)), Some(server));
    }
    server_of(&mut kernel, &tcp(CLIENT, 2, WRR, ACK));
    let before = memory(&mut kernel);

    let (mut kernel, opened) = kernel.restart();

    assert_eq!(opened, Opened::Adopted);
    assert_eq!(memory(&mut kernel), before);
    assert_eq!(before.connections.len(), 5);
    assert_eq!(before.positions[&20], Some(5));
    for (port, server) in (1..).zip([A, A, B, A, B]) {
        let ack = tcp(CLIENT, port, WRR, ACK);
        assert_eq!(server_of(&mut kernel, &ack), Some(server));
    }
    // The sixth pick of A A B A B C A B C.
    assert_eq!(server_of(&mut kernel, &syn(WRR, 6)), Some(C));
}

#[test]
fn changes_after_taking_over_go_on_from_what_is_there() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("go-on", ROOMY, &classic());
    server_of(&mut kernel, &syn(HTTP, 1));
    let services = services(&kernel);
    let (mut kernel, _) = kernel.restart();
    assert_eq!(crate::restart::services(&kernel), services);

    kernel.apply(&publish(1, 6, VIP, HTTP, &[C, B]));

    assert_eq!(server_of(&mut kernel, &syn(HTTP, 2)), Some(C));
    assert_eq!(kernel.plane.position(1), Some(1));
    kernel.apply(&Change::Withdraw(key(6, VIP, HTTP)));
    let (mut kernel, _) = kernel.restart();
    assert_eq!(crate::restart::services(&kernel).len(), services.len() - 1);
    // A connection outlives its service, and both processes.
    assert_eq!(server_of(&mut kernel, &tcp(CLIENT, 1, HTTP, ACK)), Some(A));
    assert_eq!(server_of(&mut kernel, &syn(HTTP, 3)), None);
}

#[test]
fn there_is_as_much_room_as_the_first_start_made() {
    if !is_root() {
        return;
    }
    let mut instance = Instance::new("room", 100);
    let (plane, opened) = instance.open();
    assert_eq!((plane.connections_max(), opened), (128, Opened::Fresh));
    drop(plane);

    instance.options.connections_max = 4_096;
    let (plane, opened) = instance.open();

    assert_eq!((plane.connections_max(), opened), (128, Opened::Adopted));
}

#[test]
fn maps_of_another_layout_are_refused_and_left_alone() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("layout", ROOMY, &classic());
    server_of(&mut kernel, &syn(HTTP, 1));
    write_layout(&kernel.instance, LAYOUT + 1);

    let Err(error) = Dataplane::open(&kernel.instance.options) else {
        panic!("maps of another layout were taken over");
    };

    let text = error.to_string();
    let Error::Layout {
        found, expected, ..
    } = error
    else {
        panic!("{text}");
    };
    assert_eq!((found, expected), (LAYOUT + 1, LAYOUT));
    assert!(text.contains("dirigo down --release"), "{text}");
    write_layout(&kernel.instance, LAYOUT);
    let (mut kernel, opened) = kernel.restart();
    assert_eq!(opened, Opened::Adopted);
    assert_eq!(memory(&mut kernel).connections.len(), 1);
}

#[test]
fn maps_whose_settings_were_never_written_are_made_anew() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("unwritten", ROOMY, &classic());
    server_of(&mut kernel, &syn(HTTP, 1));
    write_layout(&kernel.instance, 0);

    let (mut kernel, opened) = kernel.restart();

    assert_eq!(opened, Opened::Fresh);
    assert_empty(&mut kernel);
    assert_eq!(kernel.settings().layout, LAYOUT);
}

#[test]
fn pins_of_a_start_that_was_killed_half_way_are_cleaned_away() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("half", ROOMY, &classic());
    server_of(&mut kernel, &syn(HTTP, 1));
    for name in ["VERDICTS", "SERVICES"] {
        std::fs::remove_file(kernel.instance.directory().join(name)).unwrap();
    }

    let (mut kernel, opened) = kernel.restart();

    assert_eq!(opened, Opened::Fresh);
    assert_empty(&mut kernel);
    assert_eq!(kernel.restart().1, Opened::Adopted);
}

#[test]
fn a_slot_that_a_killed_process_left_claimed_is_free_again_and_counted_for_nobody() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("claimed", ROOMY, &classic());
    server_of(&mut kernel, &syn(HTTP, 1));
    server_of(&mut kernel, &syn(HTTP, 2));
    server_of(&mut kernel, &tcp(CLIENT, 2, HTTP, ACK));
    // Killed between claiming the slot and taking its entry out of the gauges.
    kernel.edit_slots(|_, entry| (CLAIMED, entry));

    let (mut kernel, opened) = kernel.restart();

    assert_eq!(opened, Opened::Adopted);
    let memory = memory(&mut kernel);
    assert_eq!((memory.connections, memory.slots), (vec![], vec![]));
    assert_eq!(
        (kernel.plane.gauges(A), kernel.plane.gauges(B)),
        ((0, 0), (0, 0))
    );
}

#[test]
fn without_its_later_stages_the_program_leaves_what_it_cannot_decide_to_the_host() {
    if !is_root() {
        return;
    }
    let mut kernel = Kernel::with("stages", ROOMY, &classic());
    assert_eq!(server_of(&mut kernel, &syn(HTTP, 1)), Some(A));
    assert_eq!(server_of(&mut kernel, &tcp(CLIENT, 1, HTTP, ACK)), Some(A));
    let stages = Map::ProgramArray(kernel.instance.map("STAGES-1"));
    let mut stages: ProgramArray<MapData> = stages.try_into().unwrap();
    for stage in 0..4 {
        stages.clear_index(&stage).unwrap();
    }

    // Known connections and foreign frames go on; a new connection is passed, and counted as such.
    assert_eq!(server_of(&mut kernel, &tcp(CLIENT, 1, HTTP, ACK)), Some(A));
    let received = kernel.receive(&syn(HTTP, 2).bytes());
    assert_eq!((received.action, received.frame), (2, syn(HTTP, 2).bytes()));
    assert_eq!(kernel.counters()["pass_not_ready"], 1);

    let (mut kernel, _) = kernel.restart();
    assert_eq!(server_of(&mut kernel, &syn(HTTP, 2)), Some(B));
}

#[test]
fn two_instances_side_by_side_know_nothing_of_each_other() {
    if !is_root() {
        return;
    }
    let mut one = Kernel::with("side", ROOMY, &classic());
    let mut other = Kernel::with("side", ROOMY, &classic());
    other.apply(&publish(1, 6, VIP, HTTP, &[B]));

    assert_eq!(server_of(&mut one, &syn(HTTP, 1)), Some(A));
    assert_eq!(server_of(&mut other, &syn(HTTP, 1)), Some(B));
    assert_eq!(server_of(&mut other, &syn(HTTP, 2)), Some(B));

    assert_eq!(memory(&mut one).connections.len(), 1);
    assert_eq!(memory(&mut other).connections.len(), 2);
    assert_ne!(one.settings().hash_keys, other.settings().hash_keys);
    drop(other);
    assert_eq!(server_of(&mut one, &tcp(CLIENT, 1, HTTP, ACK)), Some(A));
    assert_eq!(one.restart().1, Opened::Adopted);
}

#[test]
fn instances_of_one_root_are_released_one_by_one_and_the_root_with_the_last() {
    if !is_root() {
        return;
    }
    let one = Instance::new("root", 64);
    let (plane, _) = one.open();
    let second = Options {
        instance: "second".to_owned(),
        ..one.options.clone()
    };
    drop(Dataplane::open(&second).map_err(|error| error.to_string()));
    let root = one.options.pin_root.clone();
    let release = |name| Dataplane::release(&root, name).unwrap();

    assert!(release(&second.instance));
    assert!(!release(&second.instance));
    assert!(one.directory().exists());
    drop(plane);
    assert!(release(&one.options.instance));
    assert!(!root.exists());
}

#[test]
fn what_is_no_name_is_refused_before_anything_is_made() {
    let long = "a".repeat(65);
    for name in ["", ".", "..", "a/b", "a b", "ä", "a\0", long.as_str()] {
        let options = Options {
            instance: name.to_owned(),
            connections_max: 64,
            pin_root: "/nowhere".into(),
        };
        let opened = Dataplane::open(&options).map(drop);
        assert!(
            matches!(opened, Err(Error::InstanceName { .. })),
            "{name:?}: {opened:?}"
        );
    }
}

#[test]
fn hash_keys_are_random_and_the_multipliers_odd() {
    if !is_root() {
        return;
    }
    let keys = Kernel::new("keys", 64).settings().hash_keys;
    assert!(keys[4..].iter().all(|key| key & 1 == 1), "{keys:x?}");
    let distinct: BTreeSet<_> = keys.into_iter().collect();
    assert_eq!(distinct.len(), 8, "{keys:x?}");
}

fn syn(port: u16, client_port: u16) -> Packet {
    tcp(CLIENT, client_port, port, SYN)
}

/// The real server that the kernel sends the packet to.
fn server_of(kernel: &mut Kernel, packet: &Packet) -> Option<u32> {
    let received = kernel.receive(&packet.bytes());
    (received.action == 3).then(|| u32::from(received.frame[5]))
}

/// All that the instance remembers.
fn memory(kernel: &mut Kernel) -> Tables {
    kernel.snapshot(&Touched::default())
}

fn services(kernel: &Kernel) -> BTreeSet<(String, u32)> {
    let services = kernel.plane.services().into_iter();
    services.map(|(key, id)| (format!("{key:?}"), id)).collect()
}

fn assert_empty(kernel: &mut Kernel) {
    assert_eq!(services(kernel), BTreeSet::new());
    let found = memory(kernel);
    assert_eq!((found.connections, found.slots), (vec![], vec![]));
    assert!(found.counters.is_empty(), "{:?}", found.counters);
    assert!(
        found
            .destinations
            .values()
            .all(|found| *found == Default::default())
    );
}

fn write_layout(instance: &Instance, layout: u32) {
    let mut settings = instance.array::<SETTINGS_WORDS>("SETTINGS");
    let mut words = settings.get(&0, 0).unwrap();
    let at = offset_of!(Settings, layout);
    let shift = at % 8 * 8;
    let word = &mut words[at / 8];
    *word = *word & !(0xffff_ffff << shift) | u64::from(layout) << shift;
    settings.set(0, words, 0).unwrap();
}
