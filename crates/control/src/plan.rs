//! The difference between two states, as ordered actions.
//!
//! ```text
//! interfaces ─► destinations that become reachable ─► services ─► destinations that cease
//!            ─► interfaces that are gone ─► addresses looked at ─► addresses on the host
//!            ─► ids that rest
//! ```
//!
//! In this order nothing is published before what it points to, and nothing is taken away while
//! something published points to it. Every action may be repeated.

use std::fmt;
use std::net::IpAddr;

use api::{Persistence, ServiceKey};
use serde::{Deserialize, Serialize};

use crate::rotation::Rotation;
use crate::state::{Reach, State, Vip};

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
    /// Tell the data plane how a destination is reached.
    WriteDestination {
        /// Destination id.
        id: u32,
        /// How.
        reach: Reach,
        /// Whether its weight is 0.
        #[serde(default)]
        drained: bool,
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
        /// What to pick.
        rotation: Rotation,
        /// Whether clients stay with what was picked.
        #[serde(default)]
        persistence: Option<Persistence>,
        /// Whether every datagram is scheduled anew.
        #[serde(default)]
        one_packet: bool,
    },
    /// The addresses whose traffic the data plane looks at.
    WriteVips {
        /// All of them.
        addresses: Vec<IpAddr>,
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
        let mut actions = Vec::new();
        if before.timeouts != after.timeouts {
            actions.push(Action::WriteTimeouts(after.timeouts));
        }
        if before.settings != after.settings {
            actions.push(Action::WriteSettings(after.settings));
        }
        interfaces(before, after, &mut actions);
        destinations(before, after, &mut actions);
        services(before, after, &mut actions);
        let addresses = after.served_addresses();
        if before.served_addresses() != addresses {
            actions.push(Action::WriteVips { addresses });
        }
        vips(before, after, &mut actions);
        actions.sort_by_key(rank);
        Self { actions }
    }

    /// What makes a data plane hold exactly `state`, whatever of it is there already.
    #[must_use]
    pub fn whole(state: &State) -> Self {
        let mut plan = Self::between(&State::default(), state);
        let addresses = state.served_addresses();
        plan.actions.retain(|action| {
            !matches!(
                action,
                Action::WriteTimeouts(_) | Action::WriteSettings(_) | Action::WriteVips { .. }
            )
        });
        plan.actions.push(Action::WriteSettings(state.settings));
        plan.actions.push(Action::WriteTimeouts(state.timeouts));
        plan.actions.push(Action::WriteVips { addresses });
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

fn interfaces(before: &State, after: &State, actions: &mut Vec<Action>) {
    for (slot, egress) in &after.egress {
        let old = before.egress.get(slot);
        if old.is_none_or(|old| (old.index, old.mac) != (egress.index, egress.mac)) {
            actions.push(Action::WriteInterface {
                slot: *slot,
                index: egress.index,
                mac: egress.mac,
            });
        }
    }
    for slot in before.egress.keys() {
        if !after.egress.contains_key(slot) {
            actions.push(Action::ClearInterface { slot: *slot });
        }
    }
}

fn destinations(before: &State, after: &State, actions: &mut Vec<Action>) {
    let (reaches_before, reaches_after) = (before.reaches(), after.reaches());
    for (id, reach) in &reaches_after {
        let drained = after.is_drained(*id);
        if reaches_before.get(id) != Some(reach) || before.is_drained(*id) != drained {
            actions.push(Action::WriteDestination {
                id: *id,
                reach: *reach,
                drained,
            });
        }
    }
    let is_forgotten = |id: &&u32| !reaches_after.contains_key(id);
    for id in reaches_before.keys().filter(is_forgotten) {
        let id = *id;
        actions.push(Action::WriteDestination {
            id,
            reach: Reach::Gone,
            drained: false,
        });
        actions.push(Action::ResetDestination { id });
    }
}

fn services(before: &State, after: &State, actions: &mut Vec<Action>) {
    for (key, service) in &after.services {
        let old = before.services.get(key);
        if old.is_none_or(|old| old.publication != service.publication || old.id != service.id) {
            actions.push(Action::PublishService {
                key: *key,
                service: service.id,
                rotation: after.rotation(service),
                persistence: service.settings.persistence,
                one_packet: service.settings.one_packet,
            });
        }
    }
    for key in before.services.keys() {
        if !after.services.contains_key(key) {
            actions.push(Action::WithdrawService { key: *key });
        }
    }
}

fn vips(before: &State, after: &State, actions: &mut Vec<Action>) {
    for (address, vip) in &after.vips {
        if before.vips.get(address) != Some(vip) {
            actions.push(put(*address, vip));
        }
    }
    for (address, vip) in &before.vips {
        let is_there = |after: &Vip| after.interface == vip.interface;
        if vip.ours && !after.vips.get(address).is_some_and(is_there) {
            actions.push(Action::RemoveVip {
                address: *address,
                interface: vip.interface.clone(),
            });
        }
    }
}

fn put(address: IpAddr, vip: &Vip) -> Action {
    let interface = vip.interface.clone();
    if vip.ours {
        Action::AddVip { address, interface }
    } else {
        Action::AnnounceVip { address, interface }
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
        Action::WriteTimeouts(_) | Action::WriteSettings(_) | Action::WriteInterface { .. } => 0,
        Action::WriteDestination { reach, .. } => match reach {
            Reach::Local | Reach::Via { .. } => 1,
            Reach::Unresolved | Reach::Gone => 4,
        },
        Action::WithdrawService { .. } => 2,
        Action::PublishService { .. } => 3,
        Action::ClearInterface { .. } => 5,
        Action::WriteVips { .. } => 6,
        Action::AddVip { .. } | Action::AnnounceVip { .. } | Action::RemoveVip { .. } => 7,
        Action::ResetDestination { .. } => 8,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actions
            .iter()
            .try_for_each(|action| writeln!(f, "{action}"))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteTimeouts(timeouts) => write!(
                f,
                "timeouts {} {} {} s",
                timeouts.tcp, timeouts.tcpfin, timeouts.udp
            ),
            Self::WriteSettings(settings) => write!(f, "{settings:?}"),
            Self::WriteInterface { slot, index, mac } => {
                write!(f, "interface slot {slot}: index {index}, MAC {}", Mac(mac))
            }
            Self::ClearInterface { slot } => write!(f, "interface slot {slot}: none"),
            Self::WriteDestination { id, reach, drained } => {
                let drained = if *drained { ", drained" } else { "" };
                write!(f, "destination {id}: {reach}{drained}")
            }
            Self::WithdrawService { key } => write!(f, "withdraw {key}"),
            Self::PublishService {
                key,
                service,
                rotation,
                persistence,
                one_packet,
            } => {
                write!(f, "publish {key} as {service}: {rotation}")?;
                if let Some(persistence) = persistence {
                    write!(f, ", persistent {} s", persistence.timeout_s)?;
                }
                f.write_str(if *one_packet { ", one packet" } else { "" })
            }
            Self::WriteVips { addresses } => write!(f, "look at {addresses:?}"),
            Self::AddVip { address, interface } => write!(f, "add {address} to {interface}"),
            Self::AnnounceVip { address, interface } => {
                write!(f, "announce {address} on {interface}")
            }
            Self::RemoveVip { address, interface } => {
                write!(f, "remove {address} from {interface}")
            }
            Self::ResetDestination { id } => write!(f, "reset destination {id}"),
        }
    }
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("nothing eligible");
        }
        for segment in &self.segments {
            write!(f, "{:?} to {}, ", segment.destinations, segment.end)?;
        }
        write!(f, "from {}", self.first)
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved => f.write_str("unresolved"),
            Self::Gone => f.write_str("gone"),
            Self::Local => f.write_str("local"),
            Self::Via { mac, slot } => write!(f, "{} through slot {slot}", Mac(mac)),
        }
    }
}

struct Mac<'a>(&'a [u8; 6]);

impl fmt::Display for Mac<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
