//! What a `[[service]]` says about the health of its destinations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use api::Family;
use health::check::{Kind, To};
use health::service::Rules;

use crate::address::{self, AddressFault};
use crate::check::{self, CheckFault, Checks};
use crate::mistake::{Quoted, Reason};
use crate::notes::Notes;
use crate::schema::{self, Key};
use crate::section::{At, Section};
use crate::shared::Shared;
use crate::{Destination, Mark, OutOfRange, limits, suggest};

/// The checks of a service's destinations, and what is done about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What the health of its destinations means.
    pub rules: Rules,
    /// Names of the checks of each destination, all of which must pass.
    pub checks: Vec<Arc<str>>,
    /// Destinations that have others.
    pub exceptions: BTreeMap<IpAddr, Vec<Arc<str>>>,
    /// Where the checks ask: the virtual address and port. Of a firewall mark those of its first rule with a
    /// single address; no address, or port 0, when it has none.
    pub asked: SocketAddr,
}

/// Keys that mean nothing without checks.
const RULES: [&Key; 7] = [
    &schema::QUORUM,
    &schema::HYSTERESIS,
    &schema::INHIBIT_ON_FAILURE,
    &schema::SLOW_START,
    &schema::ALPHA,
    &schema::OMEGA,
    &schema::SORRY_SERVER,
];

/// What a service says, its destinations and those with other checks already read.
pub(crate) fn of_service(
    section: &Section<'_>,
    (virtual_address, mark): (Option<SocketAddr>, Option<(NonZeroU32, Family)>),
    shared: &Shared<'_>,
    (destinations, exceptions): (&[Destination], BTreeMap<IpAddr, Vec<Arc<str>>>),
    notes: &mut Notes<'_>,
) -> Option<Health> {
    let names = names(section, &schema::SERVICE_CHECKS, &shared.checks, notes);
    let rules = rules(section, virtual_address, destinations, shared, notes);
    if names.is_none() && exceptions.is_empty() {
        for key in RULES {
            if let Some(at) = section.own_position(key) {
                let fault = CheckFault::NothingToDo { key: key.name };
                notes.add(at, Reason::Check(fault));
            }
        }
        return None;
    }
    let of_mark = mark.map(|(mark, family)| asked(&shared.marks, mark, family));
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let health = Health {
        rules,
        checks: names.unwrap_or_default(),
        exceptions,
        asked: virtual_address.or(of_mark).unwrap_or(nowhere),
    };
    if let Some((mark, _)) = mark {
        note_unaskable(section, mark, &health, &shared.checks, notes);
    }
    Some(health)
}

/// Where a service by firewall mark can be asked: packets to there have the mark, and as clients send them.
fn asked(marks: &[Mark], mark: NonZeroU32, family: Family) -> SocketAddr {
    let is_ipv6 = family == Family::V6;
    let mut rules = marks.iter().filter(|rule| {
        let width = if is_ipv6 { 128 } else { 32 };
        rule.mark == mark && rule.address.is_ipv6() == is_ipv6 && rule.prefix == width
    });
    let port = |rule: &Mark| match rule.ports {
        (first, last) if first == last => first,
        _ => 0,
    };
    match rules.next() {
        Some(rule) => SocketAddr::new(rule.address, port(rule)),
        None if is_ipv6 => SocketAddr::from(([0u16; 8], 0)),
        None => SocketAddr::from(([0u8; 4], 0)),
    }
}

/// A mark is no address: what a check needs and the mark's rules do not say must be in the check.
fn note_unaskable(
    section: &Section<'_>,
    mark: NonZeroU32,
    health: &Health,
    checks: &Checks,
    notes: &mut Notes<'_>,
) {
    let at = section.position(&schema::SERVICE_CHECKS);
    let at = at.unwrap_or(section.at());
    let exceptions = health.exceptions.values().flatten();
    let names: BTreeSet<&Arc<str>> = health.checks.iter().chain(exceptions).collect();
    for name in names {
        let Some(check) = checks.get(name).map(|check| &check.value) else {
            continue;
        };
        let is_script = matches!(check.kind, Kind::Script(_));
        let needs_port = !is_script && !matches!(check.kind, Kind::Icmp);
        let asks_vip = !is_script && check.to == To::Vip;
        let (name, mark) = (Quoted::from(&**name), mark.get());
        if asks_vip && health.asked.ip().is_unspecified() {
            notes.add(
                at,
                Reason::Check(CheckFault::MarkWithoutAddress { name, mark }),
            );
        } else if needs_port && check.port.is_none() && health.asked.port() == 0 {
            notes.add(
                at,
                Reason::Check(CheckFault::MarkWithoutPort { name, mark }),
            );
        }
    }
}

/// A list of names of checks.
pub(crate) fn names(
    section: &Section<'_>,
    key: &Key,
    checks: &Checks,
    notes: &mut Notes<'_>,
) -> Option<Vec<Arc<str>>> {
    let list = section.strings(key, notes)?;
    let mut names: Vec<Arc<str>> = Vec::new();
    for text in list.value {
        match checks.get_key_value(text.value) {
            Some((name, _)) => names.push(Arc::clone(name)),
            None => notes.add(text.at, unknown(&text, checks)),
        }
    }
    Some(names)
}

fn unknown(text: &At<&str>, checks: &Checks) -> Reason {
    let known = checks.keys().map(|name| &**name);
    Reason::Check(CheckFault::Unknown {
        name: text.value.into(),
        advice: suggest::among(text.value, known, "define it as [[check]] with this name"),
    })
}

/// What the keys that need checks say.
pub(crate) fn rules(
    section: &Section<'_>,
    virtual_address: Option<SocketAddr>,
    destinations: &[Destination],
    shared: &Shared<'_>,
    notes: &mut Notes<'_>,
) -> Rules {
    let default = Rules::default();
    let number = |key, notes: &mut Notes<'_>| section.number(key, sum_of_weights, notes);
    let quorum =
        number(&schema::QUORUM, notes).map_or(default.quorum, |quorum| quorum.value.max(1));
    let hysteresis = number(&schema::HYSTERESIS, notes);
    if let Some(hysteresis) = &hysteresis
        && hysteresis.value >= quorum
    {
        let fault = CheckFault::Hysteresis {
            hysteresis: hysteresis.value,
            quorum,
        };
        notes.add(hysteresis.at, Reason::Check(fault));
    }
    let mut flag = |key, default| section.flag(key, notes).unwrap_or(default);
    let inhibit_on_failure = flag(&schema::INHIBIT_ON_FAILURE, default.inhibit_on_failure);
    let alpha = flag(&schema::ALPHA, default.alpha);
    let omega = flag(&schema::OMEGA, default.omega);
    let slow_start = check::time(section, &schema::SLOW_START, limits::SLOW_START, notes);
    Rules {
        quorum,
        hysteresis: hysteresis.map_or(0, |hysteresis| hysteresis.value),
        inhibit_on_failure,
        slow_start: slow_start.map_or(Duration::ZERO, |slow| slow.value),
        alpha,
        omega,
        sorry_server: sorry_server(section, virtual_address, destinations, shared, notes),
    }
}

fn sorry_server(
    section: &Section<'_>,
    virtual_address: Option<SocketAddr>,
    destinations: &[Destination],
    shared: &Shared<'_>,
    notes: &mut Notes<'_>,
) -> Option<IpAddr> {
    let text = section.string(&schema::SORRY_SERVER, notes)?;
    let by_name = shared.servers.get(text.value);
    let parsed = by_name
        .and_then(|server| server.address.as_ref())
        .map_or_else(
            || address::with_optional_port(text.value, schema::SORRY_SERVER.example),
            |address| Ok((address.value, None)),
        );
    let sorry = match parsed {
        Ok((sorry, None)) => sorry,
        Ok((_, Some(_))) => {
            let reason = Reason::UnknownValue {
                key: schema::SORRY_SERVER.name,
                value: text.value.into(),
                advice: crate::Advice::Write(
                    "an address without a port: direct routing keeps the service's",
                ),
            };
            notes.add(text.at, reason);
            return None;
        }
        Err(AddressFault::NotAnAddress { .. }) if !shared.servers.is_empty() => {
            shared.server(&text, notes);
            return None;
        }
        Err(fault) => {
            notes.add(text.at, Reason::Address(fault));
            return None;
        }
    };
    if let Some(virtual_address) = virtual_address.map(|address| address.ip())
        && sorry.is_ipv4() != virtual_address.is_ipv4()
    {
        let destination = sorry;
        let reason = Reason::FamiliesDiffer {
            destination,
            virtual_address,
        };
        notes.add(text.at, reason);
    }
    if destinations.iter().any(|one| one.address.ip() == sorry) {
        notes.add(text.at, Reason::Check(CheckFault::SorryIsDestination));
    }
    Some(sorry)
}

fn sum_of_weights(value: i64) -> Result<u32, OutOfRange> {
    let (min, max) = (0, i64::from(u32::MAX));
    u32::try_from(value).map_err(|_| OutOfRange { value, min, max })
}
