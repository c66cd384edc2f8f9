//! Values of options, each with its range and its sentence, and what tunnel options demand of
//! each other.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use api::{Tunnel, TunnelChecksum};

use super::address::number;
use super::failure::Misuse;
use super::grammar::{Given, Name, Rule};

/// Longest timeout: 31 days, as in the kernel.
const TIMEOUT_MAX_S: i64 = 2_678_400;
/// Weights and thresholds are C's `int`.
const INT: RangeInclusive<i64> = 0..=i32::MAX as i64;

/// The tunnel of the options given, by the matrix of tunnel types and tunnel options.
pub fn tunnel(given: Given, tunnels: bool, kind: Kind, port: u16) -> Result<Tunnel, Misuse> {
    let options = [
        Name::TunType,
        Name::TunPort,
        Name::TunNocsum,
        Name::TunCsum,
        Name::TunRemcsum,
    ];
    if !tunnels {
        let none = !given.has_any(&options);
        return none
            .then_some(Tunnel::default())
            .ok_or(Misuse::TunnelOptions);
    }
    let tunnel = kind.name();
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
    Ok(match kind {
        Kind::Ipip => Tunnel::Ipip,
        Kind::Gue => Tunnel::Gue { port, checksum },
        Kind::Gre => Tunnel::Gre { checksum },
    })
}

/// What `--tun-type` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// What it is when it is not given.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue,
    /// Generic routing encapsulation.
    Gre,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Ipip, Self::Gue, Self::Gre];

    fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Gre => "gre",
        }
    }

    /// A tunnel type by its name.
    pub fn named(text: &str) -> Result<Self, Misuse> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name() == text)
            .ok_or(Misuse::TunnelType)
    }
}

fn tunnel_rule(kind: Kind, option: Name) -> Rule {
    match (kind, option) {
        (_, Name::TunType) => Rule::Allowed,
        (Kind::Gue, Name::TunPort) => Rule::Needed,
        (Kind::Gue, _) => Rule::Exclusive,
        (Kind::Gre, Name::TunNocsum | Name::TunCsum) => Rule::Exclusive,
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
