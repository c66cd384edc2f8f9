//! What answers mean: probes, services and shared checks, on a clock of the tests' own.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dirigo_health as health;
use health::check::{Check, Kind, Pace, To};
use health::limits;
use health::probe::{Probe, Standing};
use health::reason::{Outcome, Reason, Share};
use health::service::{Effect, Health, Rules, Service};
use health::state::{News, ServiceKey, State, Wanted, WantedDestination, WantedService};
use proptest::prelude::*;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const SORRY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

fn passed() -> Outcome {
    with_share(None)
}

fn with_share(share: Option<Share>) -> Outcome {
    Outcome::Passed {
        took: Duration::from_millis(1),
        share,
    }
}

fn refused() -> Reason {
    Reason::Refused { port: 80 }
}

fn failed() -> Outcome {
    Outcome::Failed(refused())
}

fn pace(rise: u32, fall: u32) -> Pace {
    Pace {
        interval: Duration::from_secs(2),
        fast_interval: Some(Duration::from_millis(500)),
        jitter_percent: 20,
        timeout: Duration::from_secs(1),
        rise,
        fall,
    }
}

/// Plays outcomes, each a moment after its attempt began, and says what was believed after each.
fn play(probe: &mut Probe, outcomes: &[Outcome]) -> Vec<Standing> {
    let mut standings = Vec::new();
    for outcome in outcomes {
        let now = probe.due().unwrap();
        probe.start(now);
        probe.finish(outcome, now + Duration::from_millis(1), 7);
        standings.push(probe.standing());
    }
    standings
}

#[test]
fn the_first_answer_decides_then_fall_and_rise_do() {
    use Standing::{Down, Up};
    let mut probe = Probe::new(pace(2, 3), Standing::Unchecked, Instant::now(), 0);
    let story = [
        passed(),
        failed(),
        failed(),
        passed(),
        failed(),
        failed(),
        failed(),
        passed(),
        failed(),
        passed(),
        passed(),
    ];
    let expected = [Up, Up, Up, Up, Up, Up, Down, Down, Down, Down, Up];
    assert_eq!(play(&mut probe, &story), expected);
    let mut probe = Probe::new(pace(2, 3), Standing::Unchecked, Instant::now(), 0);
    assert_eq!(play(&mut probe, &[failed()]), [Down]);
}

#[test]
fn a_suspected_server_is_asked_at_once_and_quickly_while_it_fails() {
    let slow = Pace {
        interval: Duration::from_secs(600),
        fast_interval: None,
        jitter_percent: 0,
        ..pace(1, 3)
    };
    let mut probe = Probe::new(slow, Standing::Up, Instant::now(), 0);
    play(&mut probe, &[passed()]);
    let now = probe.due().unwrap() - Duration::from_secs(500);
    probe.hurry(now);
    assert_eq!(probe.due(), Some(now));
    assert_eq!(
        play(&mut probe, &[failed(), failed(), failed()]),
        [Standing::Up, Standing::Up, Standing::Down]
    );
    assert!(
        probe.due().unwrap() >= now + Duration::from_secs(600),
        "decided: as usual again"
    );
    let decided = now + 2 * limits::HURRY_INTERVAL;
    assert!(
        probe.since() < decided + Duration::from_millis(10),
        "within seconds"
    );

    let mut probe = Probe::new(slow, Standing::Up, Instant::now(), 0);
    play(&mut probe, &[passed()]);
    let now = probe.due().unwrap() - Duration::from_secs(500);
    probe.hurry(now);
    play(&mut probe, &[passed()]);
    assert_eq!(
        probe.due(),
        Some(now + Duration::from_secs(600)),
        "a pass ends the hurry"
    );
}

#[test]
fn what_is_the_directors_own_fault_changes_nothing_but_is_told() {
    use Standing::{Down, Unchecked, Up};
    let own = || Outcome::Failed(Reason::Local("no user".to_owned()));
    for (believed, then) in [(Unchecked, failed()), (Up, passed()), (Down, failed())] {
        let mut probe = Probe::new(pace(1, 1), believed, Instant::now(), 0);
        assert_eq!(play(&mut probe, &[own(), own(), own()]), [believed; 3]);
        assert_eq!(probe.reason(), Some(&Reason::Local("no user".to_owned())));
        let standing = if believed == Up { Up } else { Down };
        assert_eq!(play(&mut probe, &[then]), [standing]);
    }
}

#[test]
fn an_explanation_stays_while_the_failure_is_the_same() {
    let mut probe = Probe::new(pace(1, 1), Standing::Up, Instant::now(), 0);
    play(&mut probe, &[failed()]);
    let explained = Reason::OnlyOwnAddress {
        reason: Box::new(refused()),
        own: A,
        vip: B,
    };
    assert!(probe.explain(explained.clone()).is_some());
    play(&mut probe, &[failed(), failed()]);
    assert_eq!(probe.reason(), Some(&explained));
    let other = Reason::NoWay("gone".to_owned());
    play(&mut probe, &[Outcome::Failed(other.clone())]);
    assert_eq!(probe.reason(), Some(&other));
}

#[test]
fn what_an_earlier_daemon_believed_takes_fall_failures_to_change() {
    let mut probe = Probe::new(pace(1, 2), Standing::Up, Instant::now(), 0);
    let expected = [Standing::Up, Standing::Down];
    assert_eq!(play(&mut probe, &[failed(), failed()]), expected);
}

#[test]
fn while_answers_disagree_the_fast_interval_counts() {
    let mut probe = Probe::new(pace(2, 3), Standing::Up, Instant::now(), 0);
    let started = probe.due().unwrap();
    probe.start(started);
    assert_eq!(probe.due(), None, "one attempt at a time");
    probe.finish(&failed(), started, 0);
    assert_eq!(probe.due(), Some(started + Duration::from_millis(500)));
    probe.start(started + Duration::from_millis(500));
    probe.finish(&passed(), started + Duration::from_millis(501), 0);
    assert_eq!(probe.due(), Some(started + Duration::from_millis(2500)));
}

proptest! {
    /// Whatever happened before, whichever way jitter falls: a server that dies is down in time.
    #[test]
    fn a_server_that_stops_answering_is_down_within_fall_intervals_and_a_timeout(
        before in prop::collection::vec(any::<bool>(), 0..20),
        fall in 1_u32..6,
        rise in 1_u32..6,
        fast in prop::option::of(100_u64..2000),
        jitter in 0_u8..=100,
        dice in any::<[u64; 32]>(),
        dies_after_ms in 0_u64..2000,
    ) {
        let pace = Pace {
            interval: Duration::from_secs(2),
            fast_interval: fast.map(Duration::from_millis),
            jitter_percent: jitter,
            timeout: Duration::from_secs(1),
            rise,
            fall,
        };
        let mut throws = dice.iter().cycle();
        let mut throw = || *throws.next().unwrap();
        let mut probe = Probe::new(pace, Standing::Unchecked, Instant::now(), throw());
        let mut now = probe.due().unwrap();
        // It is well at the end, and has just passed.
        for well in before.into_iter().chain(std::iter::repeat_n(true, 6)) {
            now = probe.due().unwrap();
            probe.start(now);
            probe.finish(&if well { passed() } else { failed() }, now, throw());
        }
        prop_assert_eq!(probe.standing(), Standing::Up);
        let died = now + Duration::from_millis(dies_after_ms).min(probe.due().unwrap() - now);
        while probe.standing() != Standing::Down {
            let started = probe.due().unwrap();
            prop_assert!(started >= now, "attempts overlap");
            probe.start(started);
            now = started + pace.timeout;
            probe.finish(&failed(), now, throw());
        }
        let limit = pace.interval * fall + pace.timeout;
        prop_assert!(now - died <= limit, "{:?} > {limit:?}", now - died);
    }

    /// A change is told if and only if something is different.
    #[test]
    fn changes_are_told_once_each(outcomes in prop::collection::vec(0_u8..5, 1..60)) {
        let mut probe = Probe::new(pace(2, 2), Standing::Unchecked, Instant::now(), 0);
        let mut seen = (Standing::Unchecked, None, None);
        for outcome in outcomes {
            let outcome = match outcome {
                0 => passed(),
                1 => failed(),
                2 => Outcome::Failed(Reason::NoWay("gone".to_owned())),
                3 => Outcome::Failed(Reason::Local("no port".to_owned())),
                _ => with_share(Some(Share::Percent(50))),
            };
            let now = probe.due().unwrap();
            probe.start(now);
            let change = probe.finish(&outcome, now, 1);
            let down = probe.standing() == Standing::Down;
            let reason = probe.reason().cloned();
            let reason = reason.filter(|reason| down || matches!(reason, Reason::Local(_)));
            let is = (probe.standing(), reason, probe.share());
            match change {
                Some(change) => {
                    prop_assert_ne!(&is, &seen);
                    prop_assert_eq!((change.standing, change.reason, change.share), is.clone());
                }
                None => prop_assert_eq!(&is, &seen),
            }
            seen = is;
        }
    }
}

fn weights(service: &Service, now: Instant) -> Vec<Option<u32>> {
    service
        .effects(now)
        .map(|(_, effect)| effect.weight())
        .collect()
}

#[test]
fn unchecked_destinations_get_nothing_until_they_pass_unless_alpha_is_off() {
    let now = Instant::now();
    let mut service = Service::new(Rules::default(), [(A, 3), (B, 1)]);
    assert_eq!(weights(&service, now), [None, None]);
    service.set_health(A, Health::Up(None), now);
    assert_eq!(weights(&service, now), [Some(3), None]);
    let rules = Rules {
        alpha: false,
        ..Rules::default()
    };
    let service = Service::new(rules, [(A, 3), (B, 1)]);
    assert_eq!(weights(&service, now), [Some(3), Some(1)]);
}

#[test]
fn a_failed_destination_is_removed_or_inhibited() {
    let now = Instant::now();
    for (inhibit_on_failure, expected) in [
        (false, Effect::Removed(refused())),
        (true, Effect::Inhibited(refused())),
    ] {
        let rules = Rules {
            inhibit_on_failure,
            ..Rules::default()
        };
        let mut service = Service::new(rules, [(A, 3), (B, 1)]);
        service.set_health(B, Health::Up(None), now);
        service.set_health(A, Health::Down(refused()), now);
        let effects: Vec<_> = service.effects(now).collect();
        assert_eq!(effects, [(A, expected), (B, Effect::Weight(1))]);
    }
}

#[test]
fn a_weight_grows_in_steps_after_a_recovery_but_not_after_the_first_check() {
    let start = Instant::now();
    let rules = Rules {
        slow_start: Duration::from_secs(20),
        ..Rules::default()
    };
    let mut service = Service::new(rules, [(A, 100)]);
    service.set_health(A, Health::Up(None), start);
    assert_eq!(weights(&service, start), [Some(100)]);
    service.set_health(A, Health::Down(refused()), start);
    service.set_health(A, Health::Up(None), start);
    let mut now = start;
    let mut seen = Vec::new();
    while let Some(next) = service.next(now) {
        seen.push(weights(&service, now)[0].unwrap());
        assert!(next > now, "time goes on");
        now = next;
    }
    assert_eq!(now, start + Duration::from_secs(20));
    assert_eq!(seen.len(), limits::SLOW_START_STEPS as usize);
    assert_eq!(seen[..4], [1, 5, 10, 15]);
    assert!(seen.is_sorted());
    assert_eq!(weights(&service, now), [Some(100)]);
}

#[test]
fn the_weight_that_a_server_asks_for_counts_but_not_for_a_drained_one() {
    let now = Instant::now();
    let mut service = Service::new(Rules::default(), [(A, 10), (B, 0)]);
    service.set_health(A, Health::Up(Some(Share::Percent(25))), now);
    service.set_health(B, Health::Up(Some(Share::Weight(7))), now);
    assert_eq!(weights(&service, now), [Some(2), Some(0)]);
    service.set_health(A, Health::Up(Some(Share::Percent(0))), now);
    assert_eq!(weights(&service, now), [Some(0), Some(0)]);
}

#[test]
fn without_its_quorum_the_sorry_server_alone_serves_and_hysteresis_keeps_it_from_flapping() {
    let now = Instant::now();
    let rules = Rules {
        quorum: 5,
        hysteresis: 2,
        sorry_server: Some(SORRY),
        ..Rules::default()
    };
    let mut service = Service::new(rules, [(A, 4), (B, 3)]);
    assert!(service.is_sorry(), "nobody is well yet");
    assert_eq!(service.set_health(A, Health::Up(None), now), None);
    assert_eq!(weights(&service, now), [None, None], "4 < 5 + 2");
    let gained = service.set_health(B, Health::Up(None), now).unwrap();
    assert_eq!((gained.held, gained.sum, gained.needed), (true, 7, 7));
    assert_eq!(weights(&service, now), [Some(4), Some(3)]);
    assert_eq!(
        service.set_health(A, Health::Down(refused()), now),
        None,
        "3 >= 5 - 2"
    );
    assert!(!service.is_sorry());
    let lost = service.set_health(B, Health::Down(refused()), now).unwrap();
    assert_eq!((lost.held, lost.sum), (false, 0));
    assert!(service.is_sorry());
}

#[test]
fn who_is_held_for_maintenance_does_not_count_and_keeps_its_connections_beside_the_sorry_server() {
    let now = Instant::now();
    let rules = Rules {
        sorry_server: Some(SORRY),
        ..Rules::default()
    };
    let all = [(A, 4), (B, 3)];
    let mut service = Service::new(rules.clone(), all);
    service.set_health(A, Health::Up(None), now);
    service.set_health(B, Health::Up(None), now);
    let resting = |all: &[IpAddr]| all.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(service.change(rules.clone(), all, resting(&[A])), None);
    assert!(service.is_held(), "3 of B are left");
    let lost = service
        .change(rules.clone(), all, resting(&[A, B]))
        .unwrap();
    assert_eq!((lost.held, lost.sum), (false, 0));
    assert!(service.is_sorry());
    // They are not taken away: what is connected to them stays.
    assert_eq!(weights(&service, now), [Some(4), Some(3)]);
    let gained = service.change(rules.clone(), all, resting(&[A])).unwrap();
    assert_eq!((gained.held, gained.sum), (true, 3));

    let from_the_beginning = Service::new(
        Rules {
            alpha: false,
            ..rules
        },
        all,
    );
    assert!(from_the_beginning.is_held());
    assert!(!from_the_beginning.resting(resting(&[A, B])).is_held());
}

proptest! {
    /// keepalived's rule, by its own words: see reference 7.3.
    #[test]
    fn a_quorum_follows_its_two_thresholds(
        quorum in 1_u32..20,
        hysteresis in 0_u32..20,
        story in prop::collection::vec((0_usize..4, any::<bool>()), 1..60),
    ) {
        let now = Instant::now();
        let rules = Rules { quorum, hysteresis, ..Rules::default() };
        let all: Vec<(IpAddr, u32)> = (1..=4).map(|n| (IpAddr::from([10, 0, 0, n]), u32::from(n) * 3)).collect();
        let mut service = Service::new(rules, all.clone());
        let mut well = BTreeSet::new();
        let mut held = false;
        for (who, up) in story {
            let server = all[who].0;
            let health = if up { Health::Up(None) } else { Health::Down(refused()) };
            if up { well.insert(who); } else { well.remove(&who); }
            let told = service.set_health(server, health, now);
            let sum: u32 = well.iter().map(|who| all[*who].1).sum();
            let next = if held {
                !(sum == 0 || i64::from(sum) < i64::from(quorum) - i64::from(hysteresis))
            } else {
                sum >= quorum + hysteresis
            };
            prop_assert_eq!(service.is_held(), next);
            prop_assert_eq!(told.is_some(), next != held);
            held = next;
        }
    }
}

fn tcp(to: To) -> Check {
    Check {
        kind: Kind::Tcp,
        to,
        port: None,
        pace: pace(1, 1),
        suppression: true,
    }
}

fn service(last: u8, port: u16) -> ServiceKey {
    ServiceKey {
        protocol: health::state::Transport::Tcp,
        address: std::net::SocketAddr::from(([192, 0, 2, last], port)),
    }
}

fn wanted(checks: &[(&str, Check)], services: &[(ServiceKey, &[&str])]) -> Wanted {
    let destination = |names: &[&str]| WantedDestination {
        weight: 1,
        checks: names.iter().map(|name| Arc::from(*name)).collect(),
        believed: Standing::Unchecked,
        resting: false,
    };
    let all = services.iter().map(|(key, names)| {
        let destinations = BTreeMap::from([(A, destination(names)), (B, destination(names))]);
        let wanted = WantedService {
            rules: Rules::default(),
            destinations,
        };
        (*key, Arc::new(wanted))
    });
    Wanted {
        checks: checks
            .iter()
            .map(|(name, check)| (Arc::from(*name), check.clone()))
            .collect(),
        services: all.collect(),
    }
}

/// Lets every probe that is due ask, and be answered so.
fn round(
    state: &mut State,
    now: Instant,
    mut answer: impl FnMut(IpAddr, &str) -> Outcome,
) -> Vec<News> {
    let mut begun = Vec::new();
    while let Some((key, _)) = state.start(now) {
        begun.push(key);
    }
    let ended = begun
        .iter()
        .flat_map(|key| state.finished(key, &answer(key.server, &key.check), now, 0));
    ended.collect()
}

#[test]
fn services_share_the_probe_of_a_server_at_its_own_address_or_at_one_virtual_address() {
    let now = Instant::now();
    let (web, secure, other) = (service(1, 80), service(1, 443), service(2, 80));
    let on_80 = |to| Check {
        port: Some(80),
        ..tcp(to)
    };
    for (to, probes) in [(To::Own, 2), (To::Vip, 4)] {
        let mut state = State::default();
        let all: &[(ServiceKey, &[&str])] = &[(web, &["c"]), (secure, &["c"]), (other, &["c"])];
        state.configure(&wanted(&[("c", on_80(to))], all), now, || 0);
        assert_eq!(state.len(), probes, "{to:?}");
        let later = now + Duration::from_secs(1);
        let news = round(&mut state, later, |server, _| {
            if server == A { passed() } else { failed() }
        });
        let up: BTreeSet<_> = news
            .iter()
            .filter_map(|news| match news {
                News::Destination {
                    service,
                    server,
                    effect: Some(Effect::Weight(1)),
                } => Some((*service, *server)),
                _ => None,
            })
            .collect();
        assert_eq!(
            up,
            BTreeSet::from([(web, A), (secure, A), (other, A)]),
            "{to:?}"
        );
    }
}

#[test]
fn all_checks_of_a_destination_must_pass_and_the_failed_one_is_named() {
    let start = Instant::now();
    let mut state = State::default();
    let checks = [("one", tcp(To::Own)), ("two", tcp(To::Vip))];
    state.configure(
        &wanted(&checks, &[(service(1, 80), &["one", "two"])]),
        start,
        || 0,
    );
    let mut now = start + Duration::from_secs(1);
    let news = round(&mut state, now, |_, check| {
        if check == "two" { failed() } else { passed() }
    });
    let last = news.iter().rev().find_map(|news| match news {
        News::Destination { server, effect, .. } if *server == A => effect.clone(),
        _ => None,
    });
    assert_eq!(last, Some(Effect::Removed(refused())));
    now += Duration::from_secs(2);
    let news = round(&mut state, now, |_, _| passed());
    assert!(news.contains(&News::Destination {
        service: service(1, 80),
        server: A,
        effect: Some(Effect::Weight(1))
    }));
}

#[test]
fn a_new_configuration_keeps_what_is_known_and_tells_only_what_is_different() {
    let start = Instant::now();
    let mut state = State::default();
    let (web, other) = (service(1, 80), service(2, 80));
    let before = wanted(&[("c", tcp(To::Own))], &[(web, &["c"])]);
    state.configure(&before, start, || 0);
    let now = start + Duration::from_secs(1);
    round(&mut state, now, |_, _| passed());
    assert_eq!(state.configure(&before, now, || 0), []);
    // A second service with the same check: known at once, without another attempt.
    let mut slower = tcp(To::Own);
    slower.pace.interval = Duration::from_secs(60);
    let after = wanted(&[("c", slower)], &[(web, &["c"]), (other, &["c"])]);
    let news = state.configure(&after, now, || 0);
    assert_eq!(news.len(), 4, "{news:?}");
    let News::Configured { services, gone } = &news[3] else {
        panic!("{news:?}");
    };
    let changed: Vec<_> = services.iter().map(|one| (one.service, one.held)).collect();
    assert_eq!(
        changed,
        [(web, true), (other, true)],
        "the check is another"
    );
    assert!(gone.is_empty());
    // The same again is nothing.
    assert_eq!(state.configure(&after, now, || 0), []);
    assert!(matches!(news[0], News::Quorum { service, quorum } if service == other && quorum.held));
    for (told, server) in news[1..3].iter().zip([A, B]) {
        let expected = News::Destination {
            service: other,
            server,
            effect: Some(Effect::Weight(1)),
        };
        assert_eq!(*told, expected);
    }
    // And what is gone is let go.
    let news = state.configure(&Wanted::default(), now, || 0);
    assert_eq!(news.len(), 5);
    assert!(matches!(&news[4], News::Configured { gone, .. } if gone.len() == 2));
    assert!(
        news[..4]
            .iter()
            .all(|news| matches!(news, News::Destination { effect: None, .. }))
    );
    assert!(state.is_empty());
    assert_eq!(state.next(now), None);
}

proptest! {
    /// However answers fall and configurations change: what was told adds up to what is.
    #[test]
    fn the_news_add_up_to_the_state(
        story in prop::collection::vec((0_u8..6, any::<u8>()), 1..80),
    ) {
        let mut now = Instant::now();
        let mut state = State::default();
        let mut told: BTreeMap<(ServiceKey, IpAddr), Effect> = BTreeMap::new();
        let (web, other) = (service(1, 80), service(2, 80));
        let checks = [("own", tcp(To::Own)), ("vip", tcp(To::Vip))];
        let mut current = Wanted::default();
        for (what, dice) in story {
            now += Duration::from_millis(700);
            let news = match what {
                0 => { current = wanted(&checks, &[(web, &["own", "vip"]), (other, &["own"])]); state.configure(&current, now, || 0) }
                1 => { current = wanted(&checks, &[(other, &["vip"])]); state.configure(&current, now, || 0) }
                _ => {
                    let mut bits = dice;
                    round(&mut state, now, |_, _| { bits = bits.rotate_left(1); if bits & 1 == 0 { passed() } else { failed() } })
                }
            };
            for one in news {
                if let News::Configured { services, .. } = &one {
                    for standings in services {
                        let mine = told.iter().filter(|((service, _), _)| *service == standings.service);
                        let mine: BTreeMap<IpAddr, Effect> = mine.map(|((_, server), effect)| (*server, effect.clone())).collect();
                        prop_assert_eq!(&mine, &standings.effects);
                    }
                }
                if let News::Destination { service, server, effect } = one {
                    match effect {
                        Some(effect) => prop_assert_ne!(told.insert((service, server), effect.clone()), Some(effect)),
                        None => { prop_assert!(told.remove(&(service, server)).is_some()); }
                    }
                }
            }
            // What is told is what the probes say.
            for (key, service) in &current.services {
                for (server, destination) in &service.destinations {
                    let mine: Vec<_> = state.probes().filter(|(probe, check, _)| {
                        probe.server == *server && destination.checks.contains(&probe.check)
                            && (check.to == To::Own || probe.to.ip() == key.address.ip())
                    }).map(|(_, _, probe)| probe.standing()).collect();
                    prop_assert_eq!(mine.len(), destination.checks.len());
                    let all_up = mine.iter().all(|standing| *standing == Standing::Up);
                    let expected = all_up.then_some(1);
                    prop_assert_eq!(told[&(*key, *server)].weight(), expected);
                }
            }
            prop_assert_eq!(told.len(), current.services.len() * 2);
        }
    }
}

#[test]
fn an_attempt_that_could_not_be_made_says_nothing_of_the_real_server() {
    let now = Instant::now();
    let mut state = State::default();
    state.configure(
        &wanted(&[("c", tcp(To::Own))], &[(service(1, 80), &["c"])]),
        now,
        || 0,
    );
    let later = now + Duration::from_secs(1);
    let (key, _) = state.start(later).unwrap();
    state.postpone(&key, later + Duration::from_millis(100));
    let mut probes = state.probes();
    assert!(probes.all(|(_, _, probe)| probe.standing() == Standing::Unchecked));
    drop(probes);
    let again = round(&mut state, later + Duration::from_millis(100), |_, _| {
        passed()
    });
    let up = again.iter().filter(|news| {
        matches!(
            news,
            News::Destination {
                effect: Some(Effect::Weight(1)),
                ..
            }
        )
    });
    assert_eq!(up.count(), 2);
}
