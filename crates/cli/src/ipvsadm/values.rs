//! Values of options, each with its range and its sentence, and what tunnel options demand of
//! each other.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::address::number;
use super::failure::Misuse;
use super::grammar::{Given, Name, Rule};
use super::line::Tunnel;

/// Longest timeout: 31 days, as in the kernel.
const TIMEOUT_MAX_S: i64 = 2_678_400;
/// Weights and thresholds are C's `int`.
const INT: RangeInclusive<i64> = 0..=i32::MAX as i64;

/// The matrix of tunnel types and tunnel options.
pub fn check_tunnel(given: Given, tunnels: bool, tunnel: Tunnel) -> Result<(), Misuse> {
    let options = [
        Name::TunType,
        Name::TunPort,
        Name::TunNocsum,
        Name::TunCsum,
        Name::TunRemcsum,
    ];
    if !tunnels {
        let none = !given.has_any(&options);
        return none.then_some(()).ok_or(Misuse::TunnelOptions);
    }
    let name = tunnel.name();
    let mut exclusive = None;
    for option in options {
        match (tunnel_rule(tunnel, option), given.has(option)) {
            (Rule::Needed, false) => {
                return Err(Misuse::TunnelNeeded {
                    option,
                    tunnel: name,
                });
            }
            (Rule::Illegal, true) => {
                return Err(Misuse::TunnelIllegal {
                    option,
                    tunnel: name,
                });
            }
            (Rule::Exclusive, true) => {
                if let Some(earlier) = exclusive.replace(option) {
                    return Err(Misuse::TunnelConflict {
                        later: option,
                        earlier,
                        tunnel: name,
                    });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn tunnel_rule(tunnel: Tunnel, option: Name) -> Rule {
    match (tunnel, option) {
        (_, Name::TunType) => Rule::Allowed,
        (Tunnel::Gue, Name::TunPort) => Rule::Needed,
        (Tunnel::Gue, _) => Rule::Exclusive,
        (Tunnel::Gre, Name::TunNocsum | Name::TunCsum) => Rule::Exclusive,
        _ => Rule::Illegal,
    }
}

/// A tunnel type by its name.
pub fn tunnel(text: &str) -> Result<Tunnel, Misuse> {
    [Tunnel::Ipip, Tunnel::Gue, Tunnel::Gre]
        .into_iter()
        .find(|tunnel| tunnel.name() == text)
        .ok_or(Misuse::TunnelType)
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

/// Checks a number that nothing uses yet.
pub fn in_range(what: &'static str, text: &str, range: RangeInclusive<i64>) -> Result<(), Misuse> {
    number(text, range)
        .map(drop)
        .ok_or(Misuse::IllegalValue(what))
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
