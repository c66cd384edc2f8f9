//! The configuration and the table: what is applied, and where the two differ.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{DestinationSettings, ServiceKey, ServiceSettings};

/// What shall be applied: the daemon reads the file, which may be of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apply {
    /// The file, with its whole path; without one, the daemon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// What was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The generation that the table is now.
    pub generation: u64,
    /// The file that was read.
    pub file: PathBuf,
    /// Whether anything was otherwise; if not, the generation is the one before.
    pub changed: bool,
    /// Services that were made otherwise.
    pub services: u64,
    /// What of the file does not count yet, and what to do for it.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The configuration that the table follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// The daemon's own file.
    pub file: PathBuf,
    /// The generation in force.
    pub generation: u64,
    /// How it came to be.
    pub origin: GenerationOrigin,
    /// Seconds since then.
    pub age_s: u64,
    /// Services and settings that are otherwise in the table than in that generation: changed at runtime.
    pub drift: u64,
    /// Why the file was not followed when it was read last, on SIGHUP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A configuration that was followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; the highest one is in force.
    pub number: u64,
    /// How it came to be.
    pub origin: GenerationOrigin,
    /// The generation that it is again, after a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// The file that was read.
    pub file: PathBuf,
    /// Seconds since it came to be.
    pub age_s: u64,
}

/// The way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// To which generation; without one, to that before the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// How a generation came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GenerationOrigin {
    /// The daemon started.
    #[default]
    Start,
    /// `dirigo apply`
    Apply,
    /// SIGHUP
    Signal,
    /// `dirigo rollback`
    Rollback,
}

impl std::fmt::Display for GenerationOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Apply => "apply",
            Self::Signal => "SIGHUP",
            Self::Rollback => "rollback",
        })
    }
}

/// A configuration that is not on the director's host, or not in its place yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigTexts {
    /// The main file first, then the pieces of `conf.d`.
    pub files: Vec<ConfigText>,
}

/// A file of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// What mistakes in it are prefixed with.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// What was changed at runtime. In each difference, `was` is what the configuration has that was applied last,
/// and `becomes` what there is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The generation that it is compared with.
    pub generation: u64,
    /// Services, in listing order.
    pub services: Vec<ServiceDifference>,
    /// Everything else: the timeouts.
    pub settings: Vec<SettingDifference>,
}

impl Drift {
    /// Whether all is as it was applied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.settings.is_empty()
    }
}

/// What an apply would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The file that was read.
    pub file: PathBuf,
    /// The generation that is in force.
    pub generation: u64,
    /// Services that would be made otherwise, in listing order.
    pub services: Vec<PlannedService>,
    /// Everything else that would be.
    pub settings: Vec<SettingDifference>,
    /// What of the file would not count yet, and what to do for it.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.settings.is_empty()
    }
}

/// A service that would be made otherwise, and for whom that would matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedService {
    /// What would be otherwise.
    #[serde(flatten)]
    pub difference: ServiceDifference,
    /// Whether it was changed at runtime, so that it is not as it was applied either.
    pub drifted: bool,
    /// For whom.
    pub moves: Moves,
}

/// Whom a change would move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// Connections of the service now. None of them would go to another real server: a connection stays.
    pub connections: u64,
    /// Those whose destination would be taken away: their packets would be dropped.
    pub lost: u64,
    /// New clients; none for a service that is new, or had nobody to serve them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientMoves>,
}

/// New clients that a change would move, in hundredths of a percent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientMoves {
    /// Served by another real server than without the change.
    pub moved: u32,
    /// Served by nobody.
    pub refused: u32,
    /// Clients that were tried; 0 when the numbers are exact.
    pub sample: u32,
}

/// A setting that would be otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingDifference {
    /// Which.
    pub name: String,
    /// What it is.
    pub was: String,
    /// What it would be.
    pub becomes: String,
}

/// A service that would be made otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDifference {
    /// Which.
    pub service: ServiceKey,
    /// Its settings; none if it would be added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<ServiceSettings>,
    /// What they would be; none if it would be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub becomes: Option<ServiceSettings>,
    /// Its destinations that would be made otherwise.
    pub destinations: Vec<DestinationDifference>,
}

impl ServiceDifference {
    /// The same, looked at from the other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        let destinations = self.destinations.into_iter();
        Self {
            service: self.service,
            was: self.becomes,
            becomes: self.was,
            destinations: destinations
                .map(|one| DestinationDifference {
                    destination: one.destination,
                    was: one.becomes,
                    becomes: one.was,
                })
                .collect(),
        }
    }
}

/// A destination that would be made otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationDifference {
    /// Which.
    pub destination: SocketAddr,
    /// Its settings; none if it would be added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<DestinationSettings>,
    /// What they would be; none if it would be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub becomes: Option<DestinationSettings>,
}
