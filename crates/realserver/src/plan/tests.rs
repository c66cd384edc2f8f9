//! Plans over given facts; no kernel is asked.

use super::*;
use crate::observe::Interface;

const VIP: &str = "192.168.188.120";

fn options(vips: &[&str]) -> Options {
    let vips = vips.iter().map(|vip| vip.parse().unwrap());
    Options::new(vips.collect())
}

fn facts(settings: &[(&str, i32)]) -> Facts {
    let parse = |(key, value): &(&str, i32)| (key.parse().unwrap(), *value);
    Facts {
        lo_up: true,
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            up: true,
        }],
        settings: settings.iter().map(parse).collect(),
        ..Facts::default()
    }
}

fn on_lo(address: &str, prefix: u8) -> Held {
    Held {
        interface: "lo".to_owned(),
        place: Place::Loopback,
        address: address.parse().unwrap(),
        prefix,
        host_scope: false,
        tentative: false,
        dad_failed: false,
        deprecated: true,
    }
}

/// The sentences of the steps, without the state file's.
fn sentences(outcome: &Outcome) -> Vec<String> {
    let told = outcome
        .steps
        .iter()
        .filter(|step| !matches!(step, Step::File { .. }));
    told.map(Step::to_string).collect()
}

fn plan_up(facts: &Facts, vips: &[&str]) -> Vec<String> {
    sentences(&up(facts, Some(State::for_test()), &options(vips)).unwrap())
}

#[test]
fn suppression_comes_before_the_address_and_remembering_before_both() {
    let outcome = up(&facts(&[]), Some(State::for_test()), &options(&[VIP])).unwrap();
    assert!(matches!(outcome.steps[0], Step::File { .. }));
    assert_eq!(
        sentences(&outcome),
        [
            "net.ipv4.conf.all.arp_ignore: 0 -> 1",
            "net.ipv4.conf.lo.arp_ignore: 0 -> 1",
            "net.ipv4.conf.all.arp_announce: 0 -> 2",
            "net.ipv4.conf.lo.arp_announce: 0 -> 2",
            "add 192.168.188.120/32 to lo",
        ]
    );
}

#[test]
fn a_stricter_value_is_never_loosened() {
    for strict in [2, 8] {
        let facts = facts(&[
            ("all/arp_ignore", strict),
            ("lo/arp_ignore", strict),
            ("all/arp_announce", 2),
            ("lo/arp_announce", 2),
        ]);
        assert_eq!(plan_up(&facts, &[VIP]), ["add 192.168.188.120/32 to lo"]);
    }
}

#[test]
fn a_larger_value_that_hides_nothing_is_replaced_wherever_it_would_win() {
    let facts = facts(&[
        ("all/arp_ignore", 1),
        ("eth0/arp_ignore", 3),
        ("eth0/arp_announce", 5),
    ]);
    let steps = plan_up(&facts, &[VIP]);
    assert!(
        steps.contains(&"net.ipv4.conf.eth0.arp_ignore: 3 -> 1".to_owned()),
        "{steps:?}"
    );
    assert!(
        steps.contains(&"net.ipv4.conf.eth0.arp_announce: 5 -> 2".to_owned()),
        "{steps:?}"
    );
    assert!(
        !steps.iter().any(|step| step.contains("all.arp_ignore")),
        "{steps:?}"
    );
}

#[test]
fn ipv6_alone_needs_no_suppression() {
    assert_eq!(
        plan_up(&facts(&[]), &["2001:db8::120"]),
        ["add 2001:db8::120/128 to lo"]
    );
}

#[test]
fn a_network_on_lo_is_replaced_by_the_vip_alone_and_comes_back_with_down() {
    let mut facts = facts(&[("all/arp_ignore", 1), ("lo/arp_ignore", 1)]);
    facts
        .settings
        .insert("all/arp_announce".parse().unwrap(), 2);
    facts.settings.insert("lo/arp_announce".parse().unwrap(), 2);
    facts.addresses = vec![on_lo(VIP, 24)];
    assert_eq!(
        plan_up(&facts, &[VIP]),
        [
            "add 192.168.188.120/32 to lo",
            "remove 192.168.188.120/24 from lo"
        ]
    );
    let mut state = State::for_test();
    state.vips.insert(VIP.parse().unwrap(), vec![24]);
    facts.addresses = vec![on_lo(VIP, 32)];
    let outcome = down(&facts, Some(state), &options(&[])).unwrap();
    assert_eq!(
        sentences(&outcome),
        [
            "add 192.168.188.120/24 to lo",
            "remove 192.168.188.120/32 from lo"
        ]
    );
}

#[test]
fn a_vip_on_a_real_interface_is_refused_with_the_way_out() {
    let mut facts = facts(&[]);
    let mut real = on_lo(VIP, 24);
    real.interface = "eth0".to_owned();
    real.place = Place::Real;
    facts.addresses = vec![real];
    let error = up(&facts, Some(State::for_test()), &options(&[VIP])).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("ip address del 192.168.188.120/24 dev eth0"),
        "{error}"
    );
}

#[test]
fn a_failed_or_tentative_vip_is_added_anew() {
    for (tentative, dad_failed) in [(true, false), (false, true)] {
        let mut facts = facts(&[]);
        let mut held = on_lo("2001:db8::120", 128);
        (held.tentative, held.dad_failed) = (tentative, dad_failed);
        facts.addresses = vec![held];
        assert_eq!(
            plan_up(&facts, &["2001:db8::120"]),
            [
                "remove 2001:db8::120/128 from lo",
                "add 2001:db8::120/128 to lo"
            ]
        );
    }
}

#[test]
fn settings_go_back_only_with_the_last_ipv4_vip() {
    let settings = [("all/arp_ignore", 1)];
    let mut state = State::for_test();
    let saved = Saved { found: 0, set: 1 };
    state
        .settings
        .insert("all/arp_ignore".parse().unwrap(), saved);
    for vip in [VIP, "192.168.188.121", "2001:db8::120"] {
        state.vips.insert(vip.parse().unwrap(), Vec::new());
    }
    let mut facts = facts(&settings);
    facts.addresses = vec![on_lo(VIP, 32), on_lo("192.168.188.121", 32)];
    let first = down(&facts, Some(state.clone()), &options(&[VIP])).unwrap();
    assert_eq!(sentences(&first), ["remove 192.168.188.120/32 from lo"]);
    state.vips.remove(&VIP.parse().unwrap());
    let second = down(&facts, Some(state), &options(&["192.168.188.121"])).unwrap();
    assert_eq!(
        sentences(&second),
        [
            "remove 192.168.188.121/32 from lo",
            "net.ipv4.conf.all.arp_ignore: 1 -> 0"
        ]
    );
}

#[test]
fn a_setting_that_somebody_changed_since_stays_and_is_mentioned() {
    let mut state = State::for_test();
    state.vips.insert(VIP.parse().unwrap(), Vec::new());
    let saved = Saved { found: 0, set: 1 };
    state
        .settings
        .insert("all/arp_ignore".parse().unwrap(), saved);
    let outcome = down(&facts(&[("all/arp_ignore", 2)]), Some(state), &options(&[])).unwrap();
    assert_eq!(sentences(&outcome), Vec::<String>::new());
    assert!(
        outcome.notes[0].starts_with("all/arp_ignore is 2 now"),
        "{:?}",
        outcome.notes
    );
}

#[test]
fn a_second_up_keeps_what_the_first_one_found() {
    let mut state = State::for_test();
    let key: Key = "all/arp_ignore".parse().unwrap();
    state.vips.insert(VIP.parse().unwrap(), Vec::new());
    state
        .settings
        .insert(key.clone(), Saved { found: 0, set: 1 });
    // Somebody switched it off again in between.
    let outcome = up(&facts(&[]), Some(state), &options(&[VIP])).unwrap();
    let Some(Step::File { to: Some(text), .. }) = outcome.steps.first() else {
        panic!("no state is written: {outcome:?}");
    };
    let state: State = serde_json::from_str(text).unwrap();
    assert_eq!(state.settings[&key], Saved { found: 0, set: 1 });
}

#[test]
fn a_vip_that_up_did_not_add_stays_and_its_removal_is_told() {
    let mut facts = facts(&[]);
    facts.addresses = vec![on_lo(VIP, 32)];
    let outcome = down(&facts, None, &options(&[VIP])).unwrap();
    assert_eq!(outcome.steps, []);
    assert!(outcome.notes[0].ends_with("ip address del 192.168.188.120/32 dev lo"));
}

#[test]
fn the_reverse_of_a_reverse_is_the_step() {
    let outcome = up(&facts(&[]), Some(State::for_test()), &options(&[VIP])).unwrap();
    for step in outcome.steps {
        assert_eq!(step.reverse().and_then(|back| back.reverse()), Some(step));
    }
}
