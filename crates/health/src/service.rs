//! What the health of its destinations means for one virtual service.
//!
//! ```text
//! destinations' health ─► weights ─► sum ─► quorum ─► all as they are
//!                          │                   └ lost, with a sorry server: it alone
//!                          └ slow start after a recovery
//! ```
//!
//! Quorum as in keepalived: held until the sum is 0 or below quorum − hysteresis, regained when it
//! reaches quorum + hysteresis. Who is held for maintenance gets no new clients, so it does not count, as one of
//! weight 0 does not; and it keeps its place and its connections when a sorry server takes over. A pure step: time is
//! an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits;
use crate::reason::{Reason, Share};

/// What a service does about the health of its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Sum of weights that makes the service good.
    pub quorum: u32,
    /// How far beyond the quorum the sum must go to change it.
    pub hysteresis: u32,
    /// A failed destination keeps its place and its connections, with weight 0.
    pub inhibit_on_failure: bool,
    /// How long a recovered destination's weight grows.
    pub slow_start: Duration,
    /// A destination gets nothing until it has passed; else it is believed until it fails.
    pub alpha: bool,
    /// When checks end, destinations are told as down.
    pub omega: bool,
    /// Serves while the quorum is lost.
    pub sorry_server: Option<IpAddr>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            quorum: 1,
            hysteresis: 0,
            inhibit_on_failure: false,
            slow_start: Duration::ZERO,
            alpha: true,
            omega: false,
            sorry_server: None,
        }
    }
}

/// Whether a destination may have new connections, as far as its checks go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nobody knows yet.
    #[default]
    Unchecked,
    /// All checks pass; the weight that it asks for.
    Up(Option<Share>),
    /// The first check that fails.
    Down(Reason),
}

/// What a destination shall be in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is there, with this weight.
    Weight(u32),
    /// It is there, with weight 0, because it is not well.
    Inhibited(Reason),
    /// It is not there, because it is not well.
    Removed(Reason),
    /// It is not there until its first check.
    Unchecked,
    /// It is well, but the quorum is lost and the sorry server serves.
    Standby,
}

impl Effect {
    /// The weight it means: none if the destination shall not be there.
    #[must_use]
    pub fn weight(&self) -> Option<u32> {
        match self {
            Self::Weight(weight) => Some(*weight),
            Self::Inhibited(_) => Some(0),
            Self::Removed(_) | Self::Unchecked | Self::Standby => None,
        }
    }
}

/// The quorum of a service has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Whether it is held now.
    pub held: bool,
    /// The sum of weights of those that are well.
    pub sum: u64,
    /// What was needed for the change.
    pub needed: u64,
}

/// A virtual service and its destinations.
#[derive(Clone, Debug)]
pub struct Service {
    rules: Rules,
    members: BTreeMap<IpAddr, Member>,
    /// Those that are held for maintenance.
    resting: BTreeSet<IpAddr>,
    held: bool,
}

#[derive(Clone, Debug)]
struct Member {
    weight: u32,
    health: Health,
    /// When it recovered, while its weight still grows.
    recovered: Option<Instant>,
}

impl Service {
    /// A service whose destinations have not been checked.
    #[must_use]
    pub fn new(rules: Rules, weights: impl IntoIterator<Item = (IpAddr, u32)>) -> Self {
        let mut service = Self {
            rules,
            members: BTreeMap::new(),
            resting: BTreeSet::new(),
            held: false,
        };
        service.replace_members(weights);
        service.held = service.sum() >= service.gain();
        service
    }

    /// The same, with those that are held for maintenance from its beginning.
    #[must_use]
    pub fn resting(mut self, servers: BTreeSet<IpAddr>) -> Self {
        self.resting = servers;
        self.held = self.sum() >= self.gain();
        self
    }

    /// Other rules or destinations, or others that are held for maintenance; those that stay keep what is known of
    /// them.
    pub fn change(
        &mut self,
        rules: Rules,
        weights: impl IntoIterator<Item = (IpAddr, u32)>,
        resting: BTreeSet<IpAddr>,
    ) -> Option<Quorum> {
        self.rules = rules;
        self.resting = resting;
        self.replace_members(weights);
        self.decide()
    }

    fn replace_members(&mut self, weights: impl IntoIterator<Item = (IpAddr, u32)>) {
        let mut old = std::mem::take(&mut self.members);
        for (address, weight) in weights {
            let member = match old.remove(&address) {
                Some(known) => Member { weight, ..known },
                None => Member {
                    weight,
                    health: Health::Unchecked,
                    recovered: None,
                },
            };
            self.members.insert(address, member);
        }
    }

    /// A destination's health is as told.
    pub fn set_health(&mut self, server: IpAddr, health: Health, now: Instant) -> Option<Quorum> {
        let grows = !self.rules.slow_start.is_zero();
        let member = self.members.get_mut(&server)?;
        match (&member.health, &health) {
            (Health::Down(_), Health::Up(_)) => member.recovered = grows.then_some(now),
            (Health::Up(_), Health::Up(_)) => {}
            _ => member.recovered = None,
        }
        member.health = health;
        self.decide()
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether the quorum is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// What each destination shall be.
    pub fn effects(&self, now: Instant) -> impl Iterator<Item = (IpAddr, Effect)> + '_ {
        let members = self.members.iter();
        members.map(move |(address, member)| (*address, self.effect(*address, member, now)))
    }

    /// What one destination shall be.
    #[must_use]
    pub fn effect_of(&self, server: IpAddr, now: Instant) -> Option<Effect> {
        let member = self.members.get(&server)?;
        Some(self.effect(server, member, now))
    }

    /// Whether the sorry server serves.
    #[must_use]
    pub fn is_sorry(&self) -> bool {
        !self.held && self.rules.sorry_server.is_some()
    }

    /// When an effect changes although nothing is told: the next step of a slow start.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Instant> {
        if self.rules.slow_start.is_zero() {
            return None;
        }
        let step = self.rules.slow_start / limits::SLOW_START_STEPS;
        let growing = self.members.values().filter_map(|member| member.recovered);
        growing
            .filter(|since| *since + self.rules.slow_start > now)
            .map(|since| {
                let steps = now.duration_since(since).as_nanos() / step.as_nanos().max(1);
                since + step * (steps as u32 + 1)
            })
            .min()
    }

    fn effect(&self, address: IpAddr, member: &Member, now: Instant) -> Effect {
        match &member.health {
            Health::Down(reason) if self.rules.inhibit_on_failure && !self.is_sorry() => {
                Effect::Inhibited(reason.clone())
            }
            Health::Down(reason) => Effect::Removed(reason.clone()),
            Health::Unchecked if self.rules.alpha => Effect::Unchecked,
            Health::Unchecked | Health::Up(_)
                if self.is_sorry() && !self.resting.contains(&address) =>
            {
                Effect::Standby
            }
            Health::Unchecked => Effect::Weight(member.weight),
            Health::Up(_) => Effect::Weight(self.grown(member, now)),
        }
    }

    /// The weight, less what slow start withholds. A destination that is to have any has at least 1.
    fn grown(&self, member: &Member, now: Instant) -> u32 {
        let full = member.full();
        let Some(since) = member.recovered else {
            return full;
        };
        let whole = self.rules.slow_start.as_nanos().max(1);
        let age = now.saturating_duration_since(since).as_nanos();
        if age >= whole {
            return full;
        }
        let step = age * u128::from(limits::SLOW_START_STEPS) / whole;
        let part = u128::from(full) * step / u128::from(limits::SLOW_START_STEPS);
        u32::try_from(part).unwrap_or(full).max(full.min(1))
    }

    /// The weights of those that are well and get new clients.
    fn sum(&self) -> u64 {
        let working = self.members.iter();
        let working = working.filter(|(address, _)| !self.resting.contains(address));
        let well = working.filter(|(_, member)| match member.health {
            Health::Up(_) => true,
            Health::Unchecked => !self.rules.alpha,
            Health::Down(_) => false,
        });
        well.map(|(_, member)| u64::from(member.full())).sum()
    }

    fn gain(&self) -> u64 {
        u64::from(self.rules.quorum) + u64::from(self.rules.hysteresis)
    }

    fn decide(&mut self) -> Option<Quorum> {
        let sum = self.sum();
        let keep = u64::from(self.rules.quorum.saturating_sub(self.rules.hysteresis));
        let (held, needed) = if self.held {
            (sum > 0 && sum >= keep, keep.max(1))
        } else {
            (sum >= self.gain(), self.gain())
        };
        let changed = held != self.held;
        self.held = held;
        changed.then_some(Quorum { held, sum, needed })
    }
}

impl Member {
    /// The configured weight, or what the real server makes of it.
    fn full(&self) -> u32 {
        match self.health {
            // A drained destination stays drained, whatever it asks for.
            Health::Up(Some(share)) if self.weight > 0 => share.of(self.weight),
            _ => self.weight,
        }
    }
}
