//! Stories of the connection rules (`director/tests/ipvs`), which the native path plays beside a model of IPVS:
//! what it does, the kernel does.
//!
//! ```text
//! seed ─► Story ─► steps ─► Control ─► acts ─► changes and frames ─► Pair ─► equal?
//! ```
//!
//! Time cannot be moved in the kernel: what is remembered is made older instead, through the mapped tables and
//! alike on both sides. A failure prints the shortest story and the seed; `DIRIGO_SEED=…` begins with it.

use std::cell::RefCell;

use dirigo_dataplane::{Behaviour, DestinationLink, Rules};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::control::{Act, Control, Reach};
use crate::packet::{Packet, Transport, icmp_error, packet};
use crate::pair::{Pair, Trouble};
use crate::random::{from_environment, seed_of_this_moment};
use crate::steps::{
    self, Chunks, Flow, SCTP, SERVICES, Step, Story, Sysctls, TCP, any_story, client_address,
    virtual_address,
};
use crate::support::is_root;
use crate::world::{Change, INGRESS, key, round, via};

/// Stories in a run.
const STORIES: u32 = 200;
/// Steps of one at most. Few, because a story that the clock disturbed is played again.
const STEPS: usize = 80;
/// Slots: so many that nobody is pushed out.
const ROOM: u32 = 256;
/// How often a story is played again before the machine is too busy to say anything.
const TRIES: usize = 100;

#[test]
fn stories_of_the_connection_rules_go_the_same_way_natively_and_in_the_kernel() {
    if !is_root() {
        return;
    }
    let seed = from_environment("DIRIGO_SEED").unwrap_or_else(seed_of_this_moment);
    eprintln!("DIRIGO_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let pair = RefCell::new(Pair::new("stories", ROOM));
    let config = Config {
        cases: STORIES,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&any_story(STEPS), |story| {
        play_until_undisturbed(&mut pair.borrow_mut(), &story).map_err(TestCaseError::fail)
    });
    if let Err(failure) = result {
        panic!("DIRIGO_SEED={seed}: {failure}");
    }
    // Else the stories met nothing.
    let plane = &pair.borrow().kernel.plane;
    for name in [
        "template_new",
        "template_hit",
        "drop_destination_gone",
        "pass_local_destination",
    ] {
        let count = plane
            .counters()
            .iter()
            .find(|(it, _)| *it == name)
            .unwrap()
            .1;
        assert!(count > 0, "DIRIGO_SEED={seed}: {name} never moved");
    }
}

fn play_until_undisturbed(pair: &mut Pair, story: &Story) -> Result<(), String> {
    for _ in 0..TRIES {
        match play(pair, story) {
            Ok(()) => return Ok(()),
            Err(Trouble::ClockMoved) => pair.recover(),
            Err(Trouble::Differ(text)) => return Err(text),
        }
    }
    Err(format!("the clock disturbed the story {TRIES} times"))
}

fn play(pair: &mut Pair, story: &Story) -> Result<(), Trouble> {
    pair.clear();
    pair.apply(&Change::Interface(0, INGRESS, crate::packet::DIRECTOR));
    let (mut control, acts) = Control::begin(story);
    for act in acts {
        take(pair, &act)?;
    }
    for (number, step) in story.steps.iter().enumerate() {
        if !control.can(step) {
            continue;
        }
        play_step(pair, &mut control, step).map_err(|trouble| match trouble {
            Trouble::Differ(text) => Trouble::Differ(format!("step {number}, {step:?}: {text}")),
            moved => moved,
        })?;
    }
    Ok(())
}

fn play_step(pair: &mut Pair, control: &mut Control, step: &Step) -> Result<(), Trouble> {
    match step {
        // Not second by second: a template is renewed in between all the same.
        Step::Wait(seconds) => {
            let half = seconds / 2;
            for part in [half, seconds - half].into_iter().filter(|part| *part > 0) {
                take(pair, &Act::Pass(part))?;
                take(pair, &Act::Sweep)?;
            }
        }
        step => {
            for act in control.plan(step) {
                take(pair, &act)?;
            }
        }
    }
    pair.compare()
}

fn take(pair: &mut Pair, act: &Act) -> Result<(), Trouble> {
    match act {
        Act::Packet(flow, flags) => drop(pair.receive(&frame(*flow, *flags))?),
        Act::Complaint(flow) => drop(pair.receive(&complaint(*flow))?),
        Act::Sweep => pair.sweep()?,
        act => pair.apply(&change(act)),
    }
    Ok(())
}

fn change(act: &Act) -> Change {
    match act {
        Act::Vips(families) => Change::Vips(
            families
                .iter()
                .map(|is_v4| virtual_address(*is_v4))
                .collect(),
        ),
        Act::Publish {
            service,
            rules,
            rotation,
        } => published(*service, rules, rotation),
        Act::Withdraw(service) => Change::Withdraw(key_of(*service)),
        Act::Link(id, reach) => link(*id, *reach),
        Act::Timeouts([tcp, fin, udp]) => Change::Timeouts(*tcp, *fin, *udp),
        Act::Sysctls(sysctls) => Change::Behave(behaviour(sysctls)),
        Act::Pass(seconds) => Change::Age(*seconds),
        Act::Sweep | Act::Packet(..) | Act::Complaint(_) => unreachable!("{act:?} is no change"),
    }
}

fn published(service: usize, rules: &steps::Rules, rotation: &[u32]) -> Change {
    let client_mask = match (SERVICES[service].1, rules.is_for_networks) {
        (true, true) => 0xffff_ff00,
        (true, false) => u32::MAX,
        (false, true) => 64,
        (false, false) => 128,
    };
    Change::PublishWith {
        key: key_of(service),
        id: service as u32 + 1,
        rules: Rules {
            persistence_s: rules.persistence_s,
            client_mask,
            one_packet: rules.is_one_packet,
            ..Rules::default()
        },
        segments: if rotation.is_empty() {
            vec![]
        } else {
            round(rotation)
        },
        first: 0,
    }
}

fn link(id: u32, reach: Reach) -> Change {
    let link = match reach {
        Reach { is_gone: true, .. } => return Change::Link(id, DestinationLink::Gone),
        Reach { is_local: true, .. } => DestinationLink::Local,
        _ => via(id, 0),
    };
    if reach.is_drained {
        Change::Drained(id, link)
    } else {
        Change::Link(id, link)
    }
}

fn behaviour(sysctls: &Sysctls) -> Behaviour {
    Behaviour {
        expire_nodest_conn: sysctls.expire_nodest_conn,
        expire_quiescent_template: sysctls.expire_quiescent_template,
        sloppy_tcp: sysctls.sloppy_tcp,
        sloppy_sctp: sysctls.sloppy_sctp,
        conn_reuse_mode: sysctls.conn_reuse_mode,
        ..Behaviour::default()
    }
}

fn key_of(service: usize) -> dirigo_dataplane::ServiceKey {
    let (protocol, is_v4, port) = SERVICES[service];
    key(protocol, virtual_address(is_v4), port)
}

fn segment(flow: Flow, flags: u8) -> Packet {
    let transport = match flow.protocol {
        TCP => Transport::Tcp(flags),
        SCTP => Transport::Other(SCTP),
        _ => Transport::Udp,
    };
    let client = client_address(flow.client, flow.is_v4);
    let vip = virtual_address(flow.is_v4);
    let mut packet = packet(client, flow.client_port, vip, flow.port, transport);
    if flow.protocol == SCTP {
        packet.payload = Chunks::of(flags).bytes([flow.client_port, flow.port]);
    }
    packet
}

fn frame(flow: Flow, flags: u8) -> Vec<u8> {
    segment(flow, flags).bytes()
}

fn complaint(flow: Flow) -> Vec<u8> {
    let (kind, code) = if flow.is_v4 { (3, 4) } else { (2, 0) };
    let mut answer = segment(flow, steps::ACK).reversed();
    answer.payload = match flow.protocol {
        SCTP => Chunks::of(steps::ACK).bytes([flow.port, flow.client_port]),
        _ => vec![0; 20],
    };
    let client = client_address(flow.client, flow.is_v4);
    icmp_error(client, &answer, kind, code, 48).bytes()
}
