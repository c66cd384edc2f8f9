//! The difference between two states, as ordered actions.
//!
//! ```text
//! interfaces ─► destinations that may be chosen ─► services ─► destinations that may not
//!            ─► interfaces that are gone ─► addresses looked at ─► addresses on the host
//!            ─► ids that rest
//! ```
//!
//! In this order nothing is published before what it points to, and nothing is taken away while
//! something published points to it. Every action may be repeated.

use std::net::IpAddr;

use api::{Persistence, ServiceKey};
use serde::{Deserialize, Serialize};

use crate::mark::MarkRule;
use crate::schedule::Schedule;
use crate::state::{Reach, State};

mod difference;
mod text;

use difference::{Side, Touched, difference};

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Set the idle timeouts.
    WriteTimeouts(api::Timeouts),
    /// Set the connection behaviour.
    WriteSettings(api::Settings),
    /// Tell the data plane of an interface that frames leave through.
    WriteInterface {
        /// Egress slot.
        slot: u8,
        /// The interface's number in the kernel.
        index: u32,
        /// Its MAC.
        mac: [u8; 6],
    },
    /// Nothing leaves through this slot any more.
    ClearInterface {
        /// Egress slot.
        slot: u8,
    },
    /// Tell the data plane how a destination is reached, and what it may be given. The data plane keeps
    /// IPVS's flag OVERLOAD by itself: it clears it when there is no upper threshold or a higher one than
    /// before, and never sets it here.
    WriteDestination {
        /// Destination id.
        id: u32,
        /// How.
        reach: Reach,
        /// Number of its service; 0 also when there is none any more.
        service: u32,
        /// Its weight.
        weight: u32,
        /// `-x`; 0 is none.
        upper_threshold: u32,
        /// `-y`; 0 is three quarters of the upper.
        lower_threshold: u32,
        /// Whether it is no more overloaded, whatever the upper threshold was before.
        #[serde(default)]
        is_reopened: bool,
    },
    /// Take a service out of the data plane.
    WithdrawService {
        /// Which.
        key: ServiceKey,
    },
    /// Put a service into the data plane, replacing what was there at once.
    PublishService {
        /// Which.
        key: ServiceKey,
        /// Its number.
        service: u32,
        /// What to choose by.
        schedule: Schedule,
        /// Whether clients stay with what was picked.
        #[serde(default)]
        persistence: Option<Persistence>,
        /// Whether every datagram is scheduled anew.
        #[serde(default)]
        one_packet: bool,
        /// The part of the connection table that it may take, in percent.
        share: u8,
        /// Which memory its scheduler has, see [`crate::state::Service::memory`].
        #[serde(default)]
        memory: u64,
    },
    /// Which packets have which firewall mark: all rules, in order.
    WriteMarks {
        /// The rules.
        rules: Vec<MarkRule>,
    },
    /// The addresses whose traffic the data plane looks at.
    WriteVips {
        /// All of them.
        addresses: Vec<IpAddr>,
        /// Whether other addresses count as well.
        everything: bool,
    },
    /// Put a virtual address on the host, and announce it.
    AddVip {
        /// The address.
        address: IpAddr,
        /// The interface it belongs on.
        interface: String,
    },
    /// Announce a virtual address that is on the host already.
    AnnounceVip {
        /// The address.
        address: IpAddr,
        /// The interface it is on.
        interface: String,
    },
    /// Take a virtual address that we added off the host.
    RemoveVip {
        /// The address.
        address: IpAddr,
        /// The interface it is on.
        interface: String,
    },
    /// Zero a destination's counters: its id is free.
    ResetDestination {
        /// Destination id.
        id: u32,
    },
}

/// Actions in the order in which they are carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan {
    /// The actions.
    pub actions: Vec<Action>,
}

impl Plan {
    /// What leads from one state to another.
    #[must_use]
    pub fn between(before: &State, after: &State) -> Self {
        let touched = Touched::between(before, after);
        let mut plan = difference(&Side::of(before), &Side::of(after), &touched);
        let (addresses, everything) = after.served_addresses();
        if before.served_addresses() != (addresses.clone(), everything) {
            plan.add(Action::WriteVips {
                addresses,
                everything,
            });
        }
        plan
    }

    /// What leads from where `state` stood when its last step began to where it stands.
    #[must_use]
    pub(crate) fn of_step(state: &State) -> Self {
        let touched = Touched::in_step(state);
        let mut plan = difference(&Side::was(state), &Side::of(state), &touched);
        if state.is_served_changed() {
            let (addresses, everything) = state.served_addresses();
            plan.add(Action::WriteVips {
                addresses,
                everything,
            });
        }
        plan
    }

    fn add(&mut self, action: Action) {
        self.actions.push(action);
        self.actions.sort_by_key(rank);
    }

    /// Those of its actions that take something away: what a daemon that did not live to carry it out
    /// leaves to the next one, which makes everything else anew.
    #[must_use]
    pub fn removals(&self) -> Self {
        let removes = |action: &&Action| {
            matches!(
                action,
                Action::ClearInterface { .. }
                    | Action::WithdrawService { .. }
                    | Action::RemoveVip { .. }
                    | Action::ResetDestination { .. }
                    | Action::WriteDestination {
                        reach: Reach::Gone,
                        ..
                    }
            )
        };
        Self {
            actions: self.actions.iter().filter(removes).cloned().collect(),
        }
    }

    /// What makes a data plane hold exactly `state`, whatever of it is there already.
    #[must_use]
    pub fn whole(state: &State) -> Self {
        let mut plan = Self::between(&State::default(), state);
        let (addresses, everything) = state.served_addresses();
        plan.actions.retain(|action| {
            !matches!(
                action,
                Action::WriteTimeouts(_)
                    | Action::WriteSettings(_)
                    | Action::WriteMarks { .. }
                    | Action::WriteVips { .. }
            )
        });
        plan.actions.push(Action::WriteSettings(state.settings));
        plan.actions.push(Action::WriteTimeouts(state.timeouts));
        plan.actions.push(Action::WriteMarks {
            rules: state.marks.to_vec(),
        });
        plan.actions.push(Action::WriteVips {
            addresses,
            everything,
        });
        plan.actions.sort_by_key(rank);
        plan
    }

    /// What a new daemon does with what an earlier one left: everything of `after`, and what
    /// `pending` and the way from `before` take away, without a gap for what stays.
    ///
    /// `published` are the services that the data plane holds, wanted or not.
    #[must_use]
    pub fn resumed(
        before: &State,
        pending: &Self,
        after: &State,
        published: &[ServiceKey],
    ) -> Self {
        let mut plan = Self::whole(after);
        let way = Self::between(before, after);
        let withdrawn = published
            .iter()
            .map(|key| Action::WithdrawService { key: *key });
        let removals = pending
            .actions
            .iter()
            .cloned()
            .chain(way.actions)
            .chain(withdrawn);
        for action in removals {
            if takes_away(&action, after) && !plan.actions.contains(&action) {
                plan.actions.push(action);
            }
        }
        plan.actions.sort_by_key(rank);
        plan
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// Whether an action removes something that `after` does not have.
fn takes_away(action: &Action, after: &State) -> bool {
    match action {
        Action::ClearInterface { slot } => !after.egress.contains_key(slot),
        Action::WithdrawService { key } => !after.services.contains_key(key),
        Action::RemoveVip { address, interface } => after
            .vips
            .get(address)
            .is_none_or(|vip| vip.interface != *interface),
        Action::ResetDestination { id }
        | Action::WriteDestination {
            id,
            reach: Reach::Gone,
            ..
        } => !after.destinations.contains_key(id) && !after.trash.contains_key(id),
        _ => false,
    }
}

/// The stage of an action; see the drawing above.
fn rank(action: &Action) -> u8 {
    match action {
        Action::WriteTimeouts(_)
        | Action::WriteSettings(_)
        | Action::WriteMarks { .. }
        | Action::WriteInterface { .. } => 0,
        Action::WriteDestination { reach, weight, .. } => match reach {
            Reach::Local | Reach::Via { .. } if *weight > 0 => 1,
            // Schedulers that look at weights must not find nobody before they find the new list.
            _ => 4,
        },
        Action::WithdrawService { .. } => 2,
        Action::PublishService { .. } => 3,
        Action::ClearInterface { .. } => 5,
        Action::WriteVips { .. } => 6,
        Action::AddVip { .. } | Action::AnnounceVip { .. } | Action::RemoveVip { .. } => 7,
        Action::ResetDestination { .. } => 8,
    }
}
