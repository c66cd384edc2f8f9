//! What `-i` wraps around a packet.

use serde::{Deserialize, Serialize};

/// `--tun-type` and what belongs to it.
///
/// In JSON `{"type":"gue","port":6080,"checksum":"none"}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Tunnel {
    /// IP in IP.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue {
        /// Where the real server listens, 1 to 65,535.
        port: u16,
        /// What the outer header checks.
        checksum: TunnelChecksum,
    },
    /// Generic routing encapsulation.
    Gre {
        /// What the outer header checks; never [`TunnelChecksum::Remote`].
        checksum: TunnelChecksum,
    },
}

/// The checksum of a tunnel's own header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelChecksum {
    /// `--tun-nocsum`
    #[default]
    None,
    /// `--tun-csum`
    Full,
    /// `--tun-remcsum`: remote checksum offload.
    Remote,
}

impl Tunnel {
    /// As written after `--tun-type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue { .. } => "gue",
            Self::Gre { .. } => "gre",
        }
    }

    /// Whether it is what `-i` alone means.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
