//! The virtual service table, as a pure step: state + event + what was observed → plan.
//!
//! ```text
//!   Event ───────────────►┐
//!   (change, file, link)  │   next = state + event      Plan::between(state, next)
//!   Observed ────────────►├─► step ───────────────► Plan: ordered actions, as data
//!   (picks, addresses)    │
//!   State ───────────────►┘
//! ```
//!
//! Every change means what IPVS means by it: new destinations come first in the list, deleted
//! ones wait in the trash while their connections live and come back with them, `rr` and `wrr`
//! go on from where they stand ([`rotation`]).
//!
//! You may rely on it: a refused event leaves the state untouched; a plan is the difference of
//! two states, so running it twice, or running the plan of a whole state, changes nothing more;
//! nothing becomes reachable before all it needs is written.
//!
//! It opens no socket, reads no clock, draws no random number and calls no kernel.

mod change;
mod check;
mod event;
pub mod limits;
mod link;
mod plan;
mod reconcile;
pub mod rotation;
mod state;
mod trash;
mod vip;

pub use event::{
    Desired, DesiredService, Event, HostAddress, LinkReport, Observed, Questions, TrashReading,
};
pub use plan::{Action, Plan};
pub use state::{
    Destination, Egress, Link, Reach, Saved, Service, State, TimeoutsSet, Trashed, Vip,
};
pub use trash::{minus, plus};

use api::Refusal;

/// Applies one event: the new state and the plan that makes the host and the data plane follow.
///
/// # Errors
///
/// A refusal with IPVS's meaning; the state is then what it was.
pub fn step(state: &mut State, event: Event, observed: &Observed) -> Result<Plan, Refusal> {
    let mut next = state.clone();
    apply(&mut next, event, observed)?;
    link::forget_unused(&mut next);
    vip::follow_services(&mut next, observed);
    let plan = Plan::between(state, &next);
    *state = next;
    Ok(plan)
}

/// Applies many changes in order, as one step: each is done or refused by itself. The answers are those
/// that a step for each would give; what lies between the first and the last state is never carried out.
pub fn step_all(
    state: &mut State,
    changes: Vec<api::Change>,
    observed: &Observed,
) -> (Vec<Option<Refusal>>, Plan) {
    let mut next = state.clone();
    let origin = api::Origin::Runtime;
    // A change that is refused has changed nothing: all is checked before anything is touched.
    let answers = changes
        .into_iter()
        .map(|change| change::apply(&mut next, change, origin, observed).err())
        .collect();
    link::forget_unused(&mut next);
    vip::follow_services(&mut next, observed);
    let plan = Plan::between(state, &next);
    *state = next;
    (answers, plan)
}

fn apply(state: &mut State, event: Event, observed: &Observed) -> Result<(), Refusal> {
    match event {
        Event::Change(change) => change::apply(state, change, api::Origin::Runtime, observed),
        Event::Config(desired) => reconcile::apply(state, desired, observed),
        Event::Services(services) => reconcile::apply_some(state, services, observed),
        Event::Links(reports) => {
            for (address, report) in reports {
                link::report(state, address, report, observed);
            }
            Ok(())
        }
        Event::Interface { index, name, mac } => link::interface(state, index, name, mac),
        Event::InterfaceGone { index } => {
            link::interface_gone(state, index, observed);
            Ok(())
        }
        Event::Trash { now_s, readings } => {
            trash::reclaim(state, now_s, &readings);
            Ok(())
        }
        Event::Resume => {
            state.settle_all(observed);
            Ok(())
        }
    }
}
