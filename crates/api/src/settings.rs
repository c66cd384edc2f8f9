//! What a virtual service and its destinations are told to do.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::SchedulerFlags;

/// Settings of one virtual service, without its destinations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// Scheduler, named as in IPVS: `rr`, `wrr`.
    pub scheduler: String,
    /// `-b`: flags of the scheduler.
    #[serde(default, skip_serializing_if = "SchedulerFlags::is_empty")]
    pub flags: SchedulerFlags,
    /// Whether clients stay with a destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// `--pe`: what tells clients apart instead of their addresses. IPVS has `sip`; Dirigo has none, and
    /// refuses it by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// `-o`: every datagram is scheduled anew and not remembered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_packet: bool,
    /// The part of the connection table that it may take, in percent; `None` keeps it, or is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
}

/// Settings of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationSettings {
    /// How frames reach it.
    pub forwarding: ForwardingMethod,
    /// Only of tunnelling, and `None` there for IP in IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// Share of new connections, 0 to 2147483647; 0 is drained.
    pub weight: u32,
    /// `-x`: no new connections at or above this many; 0 is no limit.
    #[serde(default)]
    pub upper_threshold: u32,
    /// `-y`: open again below this many; 0 is three quarters of the upper.
    #[serde(default)]
    pub lower_threshold: u32,
}

/// How a frame reaches a destination. Only direct routing forwards today; the others are
/// named so that they can be refused by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingMethod {
    /// `-g`: the frame leaves with the real server's MAC.
    DirectRouting,
    /// `-i`: IP in IP, GUE or GRE.
    Tunnelling,
    /// `-m`: network address translation.
    Masquerading,
}

/// `--tun-type` and what belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tunnel {
    /// What is around the packet.
    pub kind: TunnelKind,
    /// UDP port of GUE; 0 otherwise.
    #[serde(default)]
    pub port: u16,
    /// Of the outer header.
    #[serde(default)]
    pub checksum: TunnelChecksum,
}

/// `--tun-type`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    /// IP in IP.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue,
    /// Generic routing encapsulation.
    Gre,
}

/// `--tun-nocsum`, `--tun-csum`, `--tun-remcsum`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelChecksum {
    /// None.
    #[default]
    None,
    /// Of the outer header's own.
    Full,
    /// Remote checksum offload; only GUE.
    Remote,
}

/// `-p`, `-M`: a client's new connections go where its earlier ones went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persistence {
    /// How long a client is remembered after its last new connection, in seconds.
    pub timeout_s: u32,
    /// Which clients are taken for one; without it every address is a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netmask: Option<Netmask>,
}

/// The bits of a client's address that count. In JSON `"255.255.255.0"` or `64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Netmask {
    /// Any mask: IPVS takes those with holes as well.
    V4(Ipv4Addr),
    /// Length of a prefix, 1 to 128.
    V6(u8),
}

impl Netmask {
    /// Whether every bit counts, as without a mask.
    #[must_use]
    pub fn is_whole(self) -> bool {
        match self {
            Self::V4(mask) => mask == Ipv4Addr::BROADCAST,
            Self::V6(prefix) => prefix >= 128,
        }
    }
}

impl Persistence {
    /// The mask, if it joins clients.
    #[must_use]
    pub fn joining_mask(&self) -> Option<Netmask> {
        self.netmask.filter(|mask| !mask.is_whole())
    }
}

impl ServiceSettings {
    /// A scheduler, and nothing beside it.
    #[must_use]
    pub fn of(scheduler: &str) -> Self {
        Self {
            scheduler: scheduler.to_owned(),
            flags: SchedulerFlags::NONE,
            persistence: None,
            engine: None,
            one_packet: false,
            share: None,
        }
    }
}

impl DestinationSettings {
    /// Direct routing with a weight, and nothing beside it.
    #[must_use]
    pub fn of(weight: u32) -> Self {
        Self {
            forwarding: ForwardingMethod::DirectRouting,
            tunnel: None,
            weight,
            upper_threshold: 0,
            lower_threshold: 0,
        }
    }
}

/// As `ipvsadm -L` has it: `sh (sh-port) persistent 300 mask 255.255.255.0 ops`.
impl fmt::Display for ServiceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheduler)?;
        // Of a flag without a name the parentheses are left, as in the original.
        if !self.flags.is_empty() {
            write!(f, " ({})", self.flags.names(&self.scheduler).join(","))?;
        }
        if let Some(persistence) = &self.persistence {
            write!(f, " persistent {}", persistence.timeout_s)?;
            if let Some(mask) = persistence.joining_mask() {
                write!(f, " mask {mask}")?;
            }
            if let Some(engine) = &self.engine {
                write!(f, " pe {engine}")?;
            }
        }
        match self.one_packet {
            true => f.write_str(" ops"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Netmask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(mask) => mask.fmt(f),
            Self::V6(prefix) => prefix.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_written_before_there_was_more_are_read() {
        let old: ServiceSettings = serde_json::from_str(r#"{"scheduler":"rr"}"#).unwrap();
        assert_eq!(old, ServiceSettings::of("rr"));
        assert_eq!(
            serde_json::to_string(&old).unwrap(),
            r#"{"scheduler":"rr"}"#
        );
    }

    #[test]
    fn settings_survive_json_and_are_shown_as_ipvsadm_shows_them() {
        let mask = |netmask| ServiceSettings {
            persistence: Some(Persistence {
                timeout_s: 300,
                netmask,
            }),
            ..ServiceSettings::of("rr")
        };
        let cases = [
            (mask(None), "rr persistent 300"),
            (mask(Some(Netmask::V6(128))), "rr persistent 300"),
            (mask(Some(Netmask::V6(64))), "rr persistent 300 mask 64"),
            (
                mask(Some(Netmask::V4([255, 0, 0, 255].into()))),
                "rr persistent 300 mask 255.0.0.255",
            ),
        ];
        let everything = ServiceSettings {
            scheduler: "sh".to_owned(),
            flags: SchedulerFlags::FLAG_1.with(SchedulerFlags::FLAG_2),
            engine: Some("sip".to_owned()),
            one_packet: true,
            ..mask(None)
        };
        let cases = cases.into_iter().chain([(
            everything,
            "sh (sh-fallback,sh-port) persistent 300 pe sip ops",
        )]);
        for (settings, text) in cases {
            assert_eq!(settings.to_string(), text);
            let json = serde_json::to_string(&settings).unwrap();
            assert_eq!(
                serde_json::from_str::<ServiceSettings>(&json).unwrap(),
                settings
            );
        }
    }
}
