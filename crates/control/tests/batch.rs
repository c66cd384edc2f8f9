//! Many changes as one step are what they are one after another.

use std::collections::BTreeMap;

use api::{Change, DestinationSettings, RefusalCode, ServiceKey, ServiceSettings, Timeouts};
use dirigo_control::{Action, Desired, Event, Observed, State, step, step_all};
use proptest::prelude::*;

fn state() -> State {
    let mut state = State::default();
    let desired = Desired {
        interfaces: vec!["eth0".to_owned()],
        ..Desired::default()
    };
    let event = Event::Config(desired);
    step(&mut state, event, &Observed::default()).expect("an empty configuration is right");
    state
}

/// Few names, so that they meet.
fn service() -> impl Strategy<Value = ServiceKey> {
    let names = [
        "tcp:192.0.2.100:80",
        "tcp:192.0.2.100:443",
        "udp:192.0.2.101:53",
        "tcp:[2001:db8::100]:80",
    ];
    let keys = names.map(|name| name.parse().expect("a service"));
    proptest::sample::select(keys.to_vec())
}

fn change() -> impl Strategy<Value = Change> {
    let schedulers = proptest::sample::select(vec!["rr", "wrr", "nosuch"]);
    let settings = schedulers.prop_map(ServiceSettings::of);
    let destination = (1u8..5, any::<bool>()).prop_map(|(host, is_ipv6)| match is_ipv6 {
        false => std::net::SocketAddr::from(([192, 0, 2, 10 + host], 80)),
        true => std::net::SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()], 80)),
    });
    let weight = (0u32..4).prop_map(DestinationSettings::of);
    prop_oneof![
        4 => (service(), settings.clone())
            .prop_map(|(service, settings)| Change::AddService { service, settings }),
        1 => (service(), settings)
            .prop_map(|(service, settings)| Change::EditService { service, settings }),
        1 => service().prop_map(|service| Change::DeleteService { service }),
        6 => (service(), destination.clone(), weight.clone()).prop_map(
            |(service, destination, settings)| Change::AddDestination { service, destination, settings }
        ),
        2 => (service(), destination.clone(), weight).prop_map(
            |(service, destination, settings)| Change::EditDestination { service, destination, settings }
        ),
        2 => (service(), destination)
            .prop_map(|(service, destination)| Change::DeleteDestination { service, destination }),
        1 => Just(Change::Clear),
        1 => (0u32..3).prop_map(|tcp| Change::SetTimeouts {
            timeouts: Timeouts { tcp, tcpfin: 0, udp: 0 },
        }),
    ]
}

fn observed(state: &State, event: &Event) -> Observed {
    let questions = state.questions(event);
    Observed {
        picks: questions.picks.into_iter().map(|id| (id, 0)).collect(),
        stats: questions
            .stats
            .into_iter()
            .map(|id| (id, api::Stats::default()))
            .collect(),
        ..Observed::default()
    }
}

/// What is written of a destination, and which memory its scheduler gets, by one step of these changes.
fn written(state: &mut State, changes: Vec<Change>) -> (Vec<bool>, Vec<u64>) {
    let observed = Observed::default();
    let (refusals, plan) = step_all(state, changes, &observed);
    assert!(refusals.iter().all(Option::is_none), "{refusals:?}");
    let (mut reopened, mut memories) = (Vec::new(), Vec::new());
    for action in &plan.actions {
        match action {
            Action::WriteDestination { is_reopened, .. } => reopened.push(*is_reopened),
            Action::PublishService { memory, .. } => memories.push(*memory),
            _ => {}
        }
    }
    (reopened, memories)
}

#[test]
fn an_edit_between_two_others_counts_though_only_the_last_one_is_seen() {
    let service: ServiceKey = "tcp:192.0.2.100:80".parse().expect("a service");
    let destination = std::net::SocketAddr::from(([192, 0, 2, 11], 80));
    let upper = |upper_threshold| DestinationSettings {
        upper_threshold,
        ..DestinationSettings::of(1)
    };
    let edit = |upper_threshold| Change::EditDestination {
        service,
        destination,
        settings: upper(upper_threshold),
    };
    let schedule = |name| Change::EditService {
        service,
        settings: ServiceSettings::of(name),
    };
    let mut state = state();
    let settings = ServiceSettings::of("lblcr");
    let add = Change::AddDestination {
        service,
        destination,
        settings: upper(5),
    };
    let (_, made) = written(
        &mut state,
        vec![Change::AddService { service, settings }, add],
    );

    // Lower: what is overloaded stays so. By way of none, or of more, and lower: it is open again.
    assert_eq!(written(&mut state, vec![edit(4)]).0, [false]);
    assert_eq!(written(&mut state, vec![edit(0), edit(4)]).0, [true]);
    assert_eq!(written(&mut state, vec![edit(9), edit(4)]).0, [true]);

    // To another scheduler and back: what was remembered is forgotten.
    let (_, again) = written(&mut state, vec![schedule("wlc"), schedule("lblcr")]);
    assert_eq!((made.len(), again.len()), (1, 1));
    assert_ne!(made, again);
}

proptest! {
    #[test]
    fn many_changes_as_one_step_end_where_they_end_one_after_another(
        changes in proptest::collection::vec(change(), 0..30),
    ) {
        let mut one_by_one = state();
        let mut answers = Vec::new();
        for change in changes.clone() {
            let event = Event::Change(change);
            let observed = observed(&one_by_one, &event);
            answers.push(step(&mut one_by_one, event, &observed).err());
        }

        let mut at_once = state();
        let questions = at_once.questions_of_changes(&changes);
        let observed = Observed {
            picks: questions.picks.into_iter().map(|id| (id, 0)).collect(),
            stats: BTreeMap::new(),
            ..Observed::default()
        };
        let (refusals, _) = step_all(&mut at_once, changes, &observed);

        let codes = |all: &[Option<api::Refusal>]| -> Vec<Option<RefusalCode>> {
            all.iter().map(|one| one.as_ref().map(|refusal| refusal.code)).collect()
        };
        prop_assert_eq!(codes(&refusals), codes(&answers));
        prop_assert_eq!(at_once, one_by_one);
    }
}
