//! What a virtual service does beside scheduling.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::ServiceSettings;

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
            persistence: None,
            one_packet: false,
        }
    }
}

/// As `ipvsadm -L` has it: `rr persistent 300 mask 255.255.255.0 ops`.
impl fmt::Display for ServiceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheduler)?;
        if let Some(persistence) = &self.persistence {
            write!(f, " persistent {}", persistence.timeout_s)?;
            if let Some(mask) = persistence.joining_mask() {
                write!(f, " mask {mask}")?;
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
    fn settings_written_before_there_was_persistence_are_read() {
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
