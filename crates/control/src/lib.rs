//! The virtual service table, as a pure step: state + event + what was observed → plan.
//!
//! ```text
//!   Event ───────────────►┐
//!   (change, file, link)  │   state becomes what follows      Plan::of_step(state)
//!   Observed ────────────►├─► step ─────────────────────► Plan: ordered actions, as data
//!   (picks, addresses)    │
//!   State ───────────────►┘   (it knows what it was, for as long as a step)
//! ```
//!
//! Every change means what IPVS means by it: new destinations come first in the list, deleted
//! ones wait in the trash while their connections live and come back with them, `rr` and `wrr`
//! go on from where they stand ([`rotation`]), the tables of `dh`, `sh` and `mh` are the kernel's
//! ([`hashing`]).
//!
//! You may rely on it: a refused event leaves the state untouched; a plan is the difference of
//! two states, so running it twice, or running the plan of a whole state, changes nothing more;
//! nothing becomes reachable before all it needs is written; a step costs what it touches, however
//! large the table is.
//!
//! It opens no socket, reads no clock, draws no random number and calls no kernel.

mod change;
mod check;
mod compare;
mod delta;
mod enforce;
mod event;
pub mod hashing;
mod index;
mod ledger;
pub mod limits;
mod link;
mod maintenance;
mod mark;
mod parts;
mod plan;
mod reconcile;
pub mod rotation;
mod schedule;
mod state;
mod trash;
mod vip;

pub use compare::{differences, drift};
pub use delta::Delta;
pub use event::{
    Desired, DesiredService, Event, HostAddress, LinkReport, Observed, Questions, TrashReading,
};
pub use ledger::Ledger;
pub use maintenance::{Maintain, Maintenance, Order};
pub use mark::MarkRule;
pub use plan::{Action, Plan};
pub use schedule::{Dynamic, Hash, Schedule};
pub use state::{
    Destination, Egress, Link, Reach, Rest, Saved, Service, State, TimeoutsSet, Trashed, Vip,
};
pub use trash::{minus, plus};

use api::Refusal;

/// Applies one event: the new state and the plan that makes the host and the data plane follow.
///
/// # Errors
///
/// A refusal with IPVS's meaning; the state is then what it was.
pub fn step(state: &mut State, event: Event, observed: &Observed) -> Result<Plan, Refusal> {
    state.begin();
    match apply(state, event, observed) {
        Ok(()) => Ok(finish(state, observed)),
        Err(refusal) => {
            state.refuse();
            Err(refusal)
        }
    }
}

/// Applies changes one after another; those after a refused one are done all the same. One plan is for
/// all of them.
pub fn step_all(
    state: &mut State,
    changes: Vec<api::Change>,
    observed: &Observed,
) -> (Vec<Option<Refusal>>, Plan) {
    state.begin();
    state.index.as_named.clear();
    // A change asks everything before it does anything, so a refused one has left no trace.
    let apply = |change| change::apply(state, change, api::Origin::Runtime, observed).err();
    let refusals = changes.into_iter().map(apply).collect();
    (refusals, finish(state, observed))
}

/// What follows from what changed, and the plan of it all.
fn finish(state: &mut State, observed: &Observed) -> Plan {
    link::forget_unused(state);
    vip::follow_services(state, observed);
    Plan::of_step(state)
}

fn apply(state: &mut State, event: Event, observed: &Observed) -> Result<(), Refusal> {
    if let Event::Change(_) | Event::Config(_) | Event::Maintain(_) = event {
        state.index.as_named.clear();
    }
    match event {
        Event::Change(change) => change::apply(state, change, api::Origin::Runtime, observed),
        Event::Config(desired) => reconcile::apply(state, desired, observed),
        Event::Apply {
            desired,
            generation,
        } => enforce::apply(state, desired, generation, observed),
        Event::Services(services) => reconcile::apply_some(state, services, observed),
        Event::Maintain(maintain) => maintenance::apply(state, maintain, observed),
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
