//! The order of picks of `rr` and `wrr`, against the worked examples of `ipvs.md` 2.2.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::IpAddr;

use common::{World, server, web};

/// A service whose destinations A, B, C … (in list order) have these weights, made at once:
/// the scheduler is set last, so that `wrr` starts at its highest weight.
fn made_at_once(weights: &[u32]) -> World {
    let mut world = World::new();
    world.add_service(web(), "rr");
    for (index, weight) in weights.iter().enumerate().rev() {
        world.add_resolved(web(), server(index as u8), *weight);
    }
    world
        .change(api::Change::EditService {
            service: web(),
            settings: common::scheduler("wrr"),
        })
        .unwrap();
    world
}

fn letters(picks: &[IpAddr]) -> String {
    let letter = |address: &IpAddr| {
        let index = (0..26).find(|n| server(*n) == *address).unwrap();
        char::from(b'A' + index)
    };
    picks.iter().map(letter).collect()
}

#[test]
fn wrr_makes_the_cycles_of_the_table_twice_over() {
    let table: [(&[u32], &str); 6] = [
        (&[4, 3, 2], "AABABCABC"),
        (&[1, 1, 1], "ABC"),
        (&[5, 1, 1], "AAAAABC"),
        (&[2, 0, 1], "AAC"),
        (&[6, 4, 2], "AABABC"),
        (&[10, 20, 30], "CBCABC"),
    ];
    for (weights, cycle) in table {
        let mut world = made_at_once(weights);
        let picks = world.picks(web(), cycle.len() * 2);
        assert_eq!(letters(&picks), cycle.repeat(2), "weights {weights:?}");
    }
}

#[test]
fn a_weight_edited_within_a_wrr_cycle_goes_on_at_the_same_level() {
    let mut world = made_at_once(&[4, 3, 2]);
    assert_eq!(letters(&world.picks(web(), 4)), "AABA");

    world.edit(web(), server(2), 6);

    assert_eq!(letters(&world.picks(web(), 12)), "ABCABCCCACAB");
}

#[test]
fn a_weight_edited_after_a_whole_wrr_cycle_goes_on_at_the_lowest_level() {
    let mut world = made_at_once(&[4, 3, 2]);
    world.picks(web(), 9);

    world.edit(web(), server(2), 6);

    assert_eq!(letters(&world.picks(web(), 6)), "ABCCCA");
}

#[test]
fn a_weight_edited_before_any_pick_leaves_wrr_at_its_first_level() {
    let mut world = made_at_once(&[4, 3, 2]);

    world.edit(web(), server(2), 6);

    assert_eq!(letters(&world.picks(web(), 6)), "ACABCA");
}

#[test]
fn a_wrr_service_filled_by_successive_adds_starts_at_its_lowest_level() {
    let mut world = World::new();
    world.add_service(web(), "wrr");
    for (index, weight) in [(2, 2), (1, 3), (0, 4)] {
        world.add_resolved(web(), server(index), weight);
    }

    assert_eq!(letters(&world.picks(web(), 12)), "ABCAABABCABC");
}

#[test]
fn the_largest_weights_need_few_segments_and_keep_their_order() {
    let mut world = made_at_once(&[2_147_483_647, 2_147_483_646, 1]);
    let rotation = world.maps.published[&web()].schedule.rotation().unwrap();
    assert!(rotation.segments.len() <= 3);
    assert_eq!(rotation.cycle(), 2_147_483_647 + 2_147_483_646 + 1);

    assert_eq!(letters(&world.picks(web(), 5)), "AABAB");
    // Two billion picks later: the lowest level, then the cycle again.
    let service = world.state.services[&web()].id;
    let published = world.maps.published[&web()].since;
    world
        .maps
        .picks
        .insert(service, published + 4_294_967_294 - 3);
    assert_eq!(letters(&world.picks(web(), 6)), "ABCAAB");
}

#[test]
fn deleting_the_destination_that_rr_chose_last_goes_on_after_its_predecessor() {
    let mut world = World::new();
    world.add_service(web(), "rr");
    for index in [2, 1, 0] {
        world.add_resolved(web(), server(index), 1);
    }
    assert_eq!(letters(&world.picks(web(), 2)), "AB");

    world.delete(web(), server(1));

    assert_eq!(letters(&world.picks(web(), 3)), "CAC");
}

#[test]
fn without_an_eligible_destination_nothing_is_picked_and_the_place_is_kept() {
    let mut world = made_at_once(&[4, 3, 2]);
    world.picks(web(), 2);
    for index in 0..3 {
        world.lose(server(index));
    }

    assert_eq!(world.pick(web()), None);

    for index in 0..3 {
        world.resolve(server(index));
    }
    assert_eq!(letters(&world.picks(web(), 3)), "BAB");
}
