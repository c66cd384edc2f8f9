//! Values of options, each with its range and its sentence, and what tunnel options demand of
//! each other.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use api::{SchedulerFlags, Tunnel, TunnelChecksum, TunnelKind};

use super::address::number;
use super::failure::Misuse;
use super::grammar::{Given, Name, Rule};

/// Longest timeout: 31 days, as in the kernel.
const TIMEOUT_MAX_S: i64 = 2_678_400;
/// Weights and thresholds are C's `int`.
const INT: RangeInclusive<i64> = 0..=i32::MAX as i64;

/// The tunnel of the options given, by the matrix of tunnel types and tunnel options.
pub fn tunnel(
    given: Given,
    tunnels: bool,
    kind: TunnelKind,
    port: u16,
) -> Result<Option<Tunnel>, Misuse> {
    let options = [
        Name::TunType,
        Name::TunPort,
        Name::TunNocsum,
        Name::TunCsum,
        Name::TunRemcsum,
    ];
    if !tunnels {
        let none = !given.has_any(&options);
        return none.then_some(None).ok_or(Misuse::TunnelOptions);
    }
    let tunnel = kind_name(kind);
    let mut exclusive = None;
    for option in options {
        match (tunnel_rule(kind, option), given.has(option)) {
            (Rule::Needed, false) => return Err(Misuse::TunnelNeeded { option, tunnel }),
            (Rule::Illegal, true) => return Err(Misuse::TunnelIllegal { option, tunnel }),
            (Rule::Exclusive, true) => {
                if let Some(earlier) = exclusive.replace(option) {
                    return Err(Misuse::TunnelConflict {
                        later: option,
                        earlier,
                        tunnel,
                    });
                }
            }
            _ => {}
        }
    }
    let checksum = match exclusive {
        Some(Name::TunCsum) => TunnelChecksum::Full,
        Some(Name::TunRemcsum) => TunnelChecksum::Remote,
        _ => TunnelChecksum::None,
    };
    let is_plain = kind == TunnelKind::Ipip;
    Ok((!is_plain).then_some(Tunnel {
        kind,
        port,
        checksum,
    }))
}

/// A tunnel type by its name.
pub fn tunnel_kind(text: &str) -> Result<TunnelKind, Misuse> {
    let mut all = [TunnelKind::Ipip, TunnelKind::Gue, TunnelKind::Gre].into_iter();
    all.find(|kind| kind_name(*kind) == text)
        .ok_or(Misuse::TunnelType)
}

/// As written after `--tun-type`.
#[must_use]
pub fn kind_name(kind: TunnelKind) -> &'static str {
    match kind {
        TunnelKind::Ipip => "ipip",
        TunnelKind::Gue => "gue",
        TunnelKind::Gre => "gre",
    }
}

/// The flags of a comma list, each by its own name or by one of the scheduler.
pub fn flags(text: &str, scheduler: &str) -> Result<SchedulerFlags, Misuse> {
    let mut flags = SchedulerFlags::NONE;
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let is_anybodys = |owner: &&str| SchedulerFlags::named(name, owner).is_some();
        let flag = SchedulerFlags::named(name, scheduler).ok_or_else(|| {
            match ["sh", "mh"].iter().any(is_anybodys) {
                true => Misuse::ForeignFlag(name.to_owned()),
                false => Misuse::UnknownFlag(name.to_owned()),
            }
        })?;
        flags = flags.with(flag);
    }
    Ok(flags)
}

fn tunnel_rule(kind: TunnelKind, option: Name) -> Rule {
    match (kind, option) {
        (_, Name::TunType) => Rule::Allowed,
        (TunnelKind::Gue, Name::TunPort) => Rule::Needed,
        (TunnelKind::Gue, _) => Rule::Exclusive,
        (TunnelKind::Gre, Name::TunNocsum | Name::TunCsum) => Rule::Exclusive,
        _ => Rule::Illegal,
    }
}

/// A timeout of at least `least` seconds.
pub fn timeout(text: &str, least: i64) -> Result<u32, Misuse> {
    number(text, least..=TIMEOUT_MAX_S)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| Misuse::Timeout(text.to_owned()))
}

/// A weight or threshold.
pub fn int(what: &'static str, text: &str) -> Result<u32, Misuse> {
    number(text, INT)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or(Misuse::IllegalValue(what))
}

/// A number of `range`; `what` is it called when it is none.
pub fn in_range(what: &'static str, text: &str, range: RangeInclusive<i64>) -> Result<i64, Misuse> {
    number(text, range).ok_or(Misuse::IllegalValue(what))
}

/// Checks a multicast address.
pub fn check_group(text: &str) -> Result<(), Misuse> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        let fits = address.is_multicast();
        return fits
            .then_some(())
            .ok_or_else(|| Misuse::McastGroup6(text.to_owned()));
    }
    match text.parse::<Ipv4Addr>() {
        Ok(address) if address.is_multicast() => Ok(()),
        _ => Err(Misuse::McastGroup(text.to_owned())),
    }
}

/// The first `bytes` of `text`, or a few less where a character would be cut.
pub fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}
