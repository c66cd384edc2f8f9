//! Health checks as the API shows them.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::ServiceKey;

/// The health of a service that has checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHealth {
    /// Which.
    pub service: ServiceKey,
    /// Whether its quorum is held.
    pub quorum: bool,
    /// The sorry server, if it serves.
    #[serde(default)]
    pub sorry_server: Option<IpAddr>,
    /// Its destinations by address, those among them that are not in the table now.
    pub destinations: Vec<DestinationHealth>,
}

/// The health of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationHealth {
    /// The real server.
    pub server: IpAddr,
    /// Its weight in the table, if it is there.
    pub weight: Option<u32>,
    /// What is believed of it.
    pub health: HealthState,
    /// Why it is down.
    #[serde(default)]
    pub reason: Option<String>,
    /// Why it is suspected, while its checks have not settled it.
    #[serde(default)]
    pub suspected: Option<String>,
    /// Its checks.
    pub checks: Vec<CheckState>,
}

/// What one check says of a real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckState {
    /// The check's name.
    pub check: String,
    /// Its type.
    pub kind: String,
    /// The address and port that are asked: virtual or own.
    pub to: SocketAddr,
    /// What is believed.
    pub health: HealthState,
    /// For how long, in seconds.
    pub for_s: u64,
    /// Why it fails.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is believed of a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// No answer yet.
    Unchecked,
    /// It is well.
    Up,
    /// It is not.
    Down,
    /// It is well, but the quorum is lost and the sorry server serves.
    Standby,
}

impl HealthState {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Up => "up",
            Self::Down => "down",
            Self::Standby => "standby",
        }
    }
}
