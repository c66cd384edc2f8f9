//! The connection rules of IPVS (ipvs §3) as a model, and the packet path beside it: whatever the packets,
//! commands and pauses, both do the same.
//!
//! ```text
//! proptest ─► Story ─► steps ─┬─► Model    what becomes of a packet, what is remembered
//!                             └─► Control ─► acts ─► Native     the same?
//! ```
//!
//! What you may rely on: the model is written from the reference, not from the packet path, and shares nothing
//! with it; verdicts, destinations, states, timers, templates, gauges and statistics are compared after each
//! step. A failure prints the shortest story that proptest finds, and keeps its seed; `PROPTEST_CASES` plays more
//! of them.
//!
//! The kernel plays stories of the same kind beside the native path, in `dataplane/tests/kernel/stories.rs`.
#![allow(clippy::unwrap_used)]

extern crate dirigo_director as director;

mod control;
mod machine;
mod model;
mod native;
mod steps;
#[path = "../world/mod.rs"]
mod world;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use control::{Act, Control};
use director::time::ticks_from_seconds;
use machine::Machine;
use model::{Model, Sent, TemplateKey};
use native::{Native, Slot};
use proptest::prelude::*;
use steps::{Step, Story, any_story, client_address, virtual_address};

/// Steps of a story at most.
const STEPS: usize = 150;

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 50_000, ..ProptestConfig::default() })]

    #[test]
    fn packets_commands_and_time_do_what_they_do_in_ipvs(story in any_story(STEPS)) {
        play(&story)?;
    }
}

fn play(story: &Story) -> Result<(), TestCaseError> {
    let (mut model, mut native) = (Model::begin(story), Native::new());
    let (mut control, acts) = Control::begin(story);
    for act in acts {
        native.act(&act);
    }
    for (number, step) in story.steps.iter().enumerate() {
        if !control.can(step) {
            continue;
        }
        // Connections that nobody ended keep their templates; that is a matter of who sweeps when.
        let step = match step {
            Step::Away(seconds) if !model.templates.is_empty() => &Step::Wait(*seconds),
            step => step,
        };
        let acts = control.plan(step);
        if !is_of_its_own(&acts) {
            model.change(step);
        }
        for act in &acts {
            let got = native.act(act);
            let want = match act {
                Act::Packet(flow, flags) => {
                    Some(model.packet(*flow, *flags, native::ip_bytes(act)))
                }
                Act::Complaint(flow) => Some(model.complaint(*flow, native::ip_bytes(act))),
                Act::Pass(seconds) => {
                    model.pass(*seconds);
                    None
                }
                Act::Sweep => {
                    model.sweep();
                    None
                }
                _ => None,
            };
            prop_assert_eq!(got, want, "step {}, {:?}", number, step);
        }
        compare(&model, &native).map_err(|error| {
            TestCaseError::fail(format!("after step {number}, {step:?}: {error}"))
        })?;
    }
    Ok(())
}

/// Whether these are packets or time, which the model meets one by one.
fn is_of_its_own(acts: &[Act]) -> bool {
    let of_its_own = |act: &Act| {
        matches!(
            act,
            Act::Packet(..) | Act::Complaint(_) | Act::Pass(_) | Act::Sweep
        )
    };
    acts.iter().all(of_its_own)
}

/// All that is remembered and counted.
fn compare(model: &Model, native: &Native) -> Result<(), TestCaseError> {
    prop_assert_eq!(slots(model), native.slots(), "remembered, model and native");
    prop_assert_eq!(gauges(model), native.gauges(), "gauges, model and native");
    prop_assert_eq!(
        populations(model),
        native.populations(),
        "populations, model and native"
    );
    let sent: BTreeMap<u32, Sent> = (native.tables.statistics.borrow().iter())
        .map(|(id, it)| {
            let (connections, packets, bytes) = (it.connections, it.packets, it.bytes);
            (
                *id,
                Sent {
                    connections,
                    packets,
                    bytes,
                },
            )
        })
        .collect();
    prop_assert_eq!(&model.sent, &sent, "statistics, model and native");
    Ok(())
}

fn slots(model: &Model) -> Vec<Slot> {
    let connections = model.connections.iter().map(|(flow, it)| Slot {
        protocol: flow.protocol.into(),
        client: client_address(flow.client, flow.is_v4),
        client_port: flow.client_port,
        virtual_address: virtual_address(flow.is_v4),
        port: flow.port,
        destination: it.destination,
        state: Machine::of(flow.protocol).name(it.state),
        is_template: false,
        tick: Native::tick_of(it.seen_s),
        service: it.service as u32 + 1,
        life: 0,
        attached: u64::from(it.template.is_some()),
    });
    let templates = model.templates.iter().map(|(key, it)| Slot {
        protocol: key.protocol.into(),
        client: network(key),
        client_port: 0,
        virtual_address: virtual_address(key.is_v4),
        port: key.port,
        destination: it.destination,
        state: if it.is_assured { "ASSURED" } else { "NONE" },
        is_template: true,
        tick: Native::tick_of(it.seen_s),
        service: it.service as u32 + 1,
        life: ticks_from_seconds(it.life_s),
        attached: model.attached(*key) as u64,
    });
    let mut slots: Vec<Slot> = connections.chain(templates).collect();
    slots.sort();
    slots
}

fn network(key: &TemplateKey) -> IpAddr {
    match client_address(key.client, key.is_v4) {
        client if !key.is_network => client,
        IpAddr::V4(client) => Ipv4Addr::from_bits(client.to_bits() & !0xff).into(),
        IpAddr::V6(client) => Ipv6Addr::from_bits(client.to_bits() >> 64 << 64).into(),
    }
}

fn gauges(model: &Model) -> BTreeMap<u32, (u32, u32)> {
    let mut gauges: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    for (flow, it) in &model.connections {
        let gauge = gauges.entry(it.destination).or_default();
        if Machine::of(flow.protocol).is_active(it.state) {
            gauge.0 += 1;
        } else {
            gauge.1 += 1;
        }
    }
    gauges
}

fn populations(model: &Model) -> HashMap<u32, u64> {
    let mut populations = HashMap::new();
    let of_connections = model.connections.values().map(|it| it.service);
    let of_templates = model.templates.values().map(|it| it.service);
    for service in of_connections.chain(of_templates) {
        *populations.entry(service as u32 + 1).or_default() += 1;
    }
    populations
}
