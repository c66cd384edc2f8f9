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

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use api::{Persistence, ServiceKey};
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use crate::limits;
use crate::mark::MarkRule;
use crate::rotation::Rotation;
use crate::schedule::Schedule;
use crate::state::{Destination, Egress, Link, Reach, Rest, Service, State, Vip};

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
        let mut plan = Self::difference(&Side::of(before), &Side::of(after), &touched);
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
        let mut plan = Self::difference(&Side::was(state), &Side::of(state), &touched);
        if state.is_served_changed() {
            let (addresses, everything) = state.served_addresses();
            plan.add(Action::WriteVips {
                addresses,
                everything,
            });
        }
        plan
    }

    fn difference(before: &Side<'_>, after: &Side<'_>, touched: &Touched) -> Self {
        let mut actions = Vec::new();
        if before.rest.timeouts != after.rest.timeouts {
            actions.push(Action::WriteTimeouts(after.rest.timeouts));
        }
        if before.rest.settings != after.rest.settings {
            actions.push(Action::WriteSettings(after.rest.settings));
        }
        if before.rest.marks != after.rest.marks {
            let rules = after.rest.marks.to_vec();
            actions.push(Action::WriteMarks { rules });
        }
        interfaces(before, after, touched, &mut actions);
        destinations(before, after, touched, &mut actions);
        services(before, after, touched, &mut actions);
        vips(before, after, touched, &mut actions);
        actions.sort_by_key(rank);
        Self { actions }
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

/// Keys whose entries may be others on the two sides.
struct Touched {
    services: BTreeSet<ServiceKey>,
    destinations: BTreeSet<u32>,
    slots: BTreeSet<u8>,
    vips: BTreeSet<IpAddr>,
}

impl Touched {
    fn between(before: &State, after: &State) -> Self {
        let both = [before, after];
        Self {
            services: both
                .iter()
                .flat_map(|one| one.services.keys())
                .copied()
                .collect(),
            destinations: both.iter().flat_map(|one| one.ids()).collect(),
            slots: both
                .iter()
                .flat_map(|one| one.egress.keys())
                .copied()
                .collect(),
            vips: both
                .iter()
                .flat_map(|one| one.vips.keys())
                .copied()
                .collect(),
        }
    }

    fn in_step(state: &State) -> Self {
        let listed = state.destinations.touched().chain(state.trash.touched());
        let servers = state.links.touched();
        let behind =
            servers.flat_map(|server| state.index.by_server.get(server).into_iter().flatten());
        // With a second service the first one's share becomes another, and back.
        let mut services: BTreeSet<ServiceKey> = state.services.touched().copied().collect();
        if !services.is_empty() && state.services.len() <= 2 {
            services.extend(state.services.keys());
        }
        Self {
            services,
            destinations: listed.chain(behind).copied().collect(),
            slots: state.egress.touched().copied().collect(),
            vips: state.vips.touched().copied().collect(),
        }
    }
}

/// One of two states that are compared: a state as it is, or as it was when its step began.
struct Side<'a> {
    state: &'a State,
    rest: &'a Rest,
    is_past: bool,
    /// Services, counted when they are asked for: in a past state that is to look at all that changed.
    count: OnceCell<usize>,
}

/// What the data plane must know of a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Standing {
    reach: Reach,
    service: u32,
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
}

impl<'a> Side<'a> {
    fn of(state: &'a State) -> Self {
        Self {
            state,
            rest: state,
            is_past: false,
            count: OnceCell::new(),
        }
    }

    fn was(state: &'a State) -> Self {
        Self {
            state,
            rest: state.was(),
            is_past: true,
            count: OnceCell::new(),
        }
    }

    fn entry<K: Ord + Copy, V: Clone>(&self, ledger: &'a Ledger<K, V>, key: &K) -> Option<&'a V> {
        match self.is_past {
            true => ledger.was(key),
            false => ledger.get(key),
        }
    }

    fn service(&self, key: &ServiceKey) -> Option<&'a Service> {
        self.entry(&self.state.services, key)
    }

    /// How many services there are.
    fn count(&self) -> usize {
        let services = &self.state.services;
        if !self.is_past {
            return services.len();
        }
        let touched = || services.touched();
        let now = touched().filter(|key| services.contains_key(key)).count();
        let then = touched().filter(|key| services.was(key).is_some()).count();
        services.len() - now + then
    }

    fn share(&self, service: &Service) -> u8 {
        service
            .settings
            .share
            .unwrap_or(if *self.count.get_or_init(|| self.count()) < 2 {
                100
            } else {
                limits::SHARE_DEFAULT
            })
    }

    /// `None` when the data plane need not know it.
    fn standing(&self, id: u32) -> Option<Standing> {
        let listed = self.entry(&self.state.destinations, &id);
        let gone = || {
            self.entry(&self.state.trash, &id)
                .map(|gone| &gone.destination)
        };
        let (destination, reach) = match listed {
            Some(destination) => (destination, self.reach(destination)),
            None => (gone()?, Reach::Gone),
        };
        let service = listed.and_then(|one| self.service(&one.service));
        let settings = &destination.settings;
        Some(Standing {
            reach,
            service: service.map_or(0, |service| service.id),
            weight: settings.weight,
            upper_threshold: settings.upper_threshold,
            lower_threshold: settings.lower_threshold,
        })
    }

    fn reach(&self, destination: &Destination) -> Reach {
        match self.entry(&self.state.links, &destination.address.ip()) {
            Some(Link::Via { mac, slot }) => Reach::Via {
                mac: *mac,
                slot: *slot,
            },
            Some(Link::Local) => Reach::Local,
            Some(Link::Unresolved { .. }) | None => Reach::Unresolved,
        }
    }
}

fn interfaces(before: &Side<'_>, after: &Side<'_>, touched: &Touched, actions: &mut Vec<Action>) {
    for slot in &touched.slots {
        let identity = |egress: &Egress| (egress.index, egress.mac);
        let old = before.entry(&before.state.egress, slot).map(identity);
        let new = after.entry(&after.state.egress, slot).map(identity);
        let slot = *slot;
        match new {
            Some((index, mac)) if old != new => {
                actions.push(Action::WriteInterface { slot, index, mac });
            }
            None if old.is_some() => actions.push(Action::ClearInterface { slot }),
            _ => {}
        }
    }
}

fn destinations(before: &Side<'_>, after: &Side<'_>, touched: &Touched, actions: &mut Vec<Action>) {
    for id in &touched.destinations {
        let (old, new) = (before.standing(*id), after.standing(*id));
        if old == new {
            continue;
        }
        let standing = new.unwrap_or(Standing {
            reach: Reach::Gone,
            service: 0,
            weight: 0,
            upper_threshold: 0,
            lower_threshold: 0,
        });
        actions.push(Action::WriteDestination {
            id: *id,
            reach: standing.reach,
            service: standing.service,
            weight: standing.weight,
            upper_threshold: standing.upper_threshold,
            lower_threshold: standing.lower_threshold,
        });
        if new.is_none() {
            actions.push(Action::ResetDestination { id: *id });
        }
    }
}

fn services(before: &Side<'_>, after: &Side<'_>, touched: &Touched, actions: &mut Vec<Action>) {
    let identity =
        |side: &Side<'_>, service: &Service| (service.publication, service.id, side.share(service));
    for key in &touched.services {
        let old = before.service(key);
        match after.service(key) {
            Some(service) => {
                let is_same = |old| identity(before, old) == identity(after, service);
                if !old.is_some_and(is_same) {
                    actions.push(publish(key, service, after));
                }
            }
            None if old.is_some() => actions.push(Action::WithdrawService { key: *key }),
            None => {}
        }
    }
}

fn publish(key: &ServiceKey, service: &Service, side: &Side<'_>) -> Action {
    Action::PublishService {
        key: *key,
        service: service.id,
        schedule: side.state.schedule(service),
        persistence: service.settings.persistence,
        one_packet: service.settings.one_packet,
        share: side.share(service),
    }
}

fn vips(before: &Side<'_>, after: &Side<'_>, touched: &Touched, actions: &mut Vec<Action>) {
    for address in &touched.vips {
        let old = before.entry(&before.state.vips, address);
        let new = after.entry(&after.state.vips, address);
        if let Some(vip) = new
            && old != new
        {
            actions.push(put(*address, vip));
        }
        let is_there = |old: &&Vip| new.is_some_and(|new| new.interface == old.interface);
        if let Some(vip) = old.filter(|old| old.ours && !is_there(old)) {
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
        Action::WriteTimeouts(_)
        | Action::WriteSettings(_)
        | Action::WriteMarks { .. }
        | Action::WriteInterface { .. } => 0,
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
            Self::WriteDestination {
                id,
                reach,
                service,
                weight,
                upper_threshold,
                lower_threshold,
            } => {
                write!(f, "destination {id} of {service}: {reach}, weight {weight}")?;
                match (upper_threshold, lower_threshold) {
                    (0, _) => Ok(()),
                    (upper, lower) => write!(f, ", thresholds {upper} and {lower}"),
                }
            }
            Self::WithdrawService { key } => write!(f, "withdraw {key}"),
            Self::PublishService {
                key,
                service,
                schedule,
                persistence,
                one_packet,
                share,
            } => {
                write!(f, "publish {key} as {service}: {schedule}, up to {share} %")?;
                if let Some(persistence) = persistence {
                    write!(f, ", persistent {} s", persistence.timeout_s)?;
                }
                f.write_str(if *one_packet { ", one packet" } else { "" })
            }
            Self::WriteMarks { rules } => write!(f, "{} rules of marks", rules.len()),
            Self::WriteVips {
                addresses,
                everything,
            } => match everything {
                true => f.write_str("look at everything"),
                false => write!(f, "look at {addresses:?}"),
            },
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
