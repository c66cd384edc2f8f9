//! Rates and connections as they change, for whoever draws them.
//!
//! ```text
//! GET /v1/statistics?every=2&service=tcp:192.0.2.100:80
//! data: {"time_ms":…,"total":[c,p,b,n],"services":{"tcp:192.0.2.100:80":[c,p,b,a,i,e,d]},"destinations":{…}}
//! ```
//!
//! The first has everything, each later one only what is different, so that a thousand services at rest cost
//! one short line. Figures are arrays for the same reason.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Rates, ServiceKey, conditions};

/// What is told, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticsQuery {
    /// The destinations of this service, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKey>,
    /// Seconds between two; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u32>,
}

/// Most seconds between two.
pub const EVERY_MAX: u32 = 60;

impl StatisticsQuery {
    /// What follows the route: nothing, or a `?` and the conditions.
    #[must_use]
    pub fn to_text(&self) -> String {
        conditions::to_text(self)
    }

    /// Reads what follows the `?`.
    ///
    /// # Errors
    ///
    /// A sentence for people.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let query: Self = conditions::from_text(text)?;
        match query.every {
            Some(every) if !(1..=EVERY_MAX).contains(&every) => {
                Err(format!("every is {every}: it must be 1 to {EVERY_MAX} s"))
            }
            _ => Ok(query),
        }
    }
}

/// What was different at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// All services together.
    pub total: TotalFigures,
    /// Services of which something is different; `None`: it is there no more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<ServiceKey, Option<ServiceFigures>>,
    /// The same of the destinations of the service that was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub destinations: BTreeMap<SocketAddr, Option<DestinationFigures>>,
}

/// `[connections/s, packets/s, bytes/s, connections remembered]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalFigures(pub u64, pub u64, pub u64, pub u64);

/// `[connections/s, packets/s, bytes/s, active, inactive, eligible, destinations]`: of the destinations, as many
/// may get new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFigures(
    pub u64,
    pub u64,
    pub u64,
    pub u64,
    pub u64,
    pub u64,
    pub u64,
);

/// `[connections/s, packets/s, bytes/s, active, inactive, weight]`: the weight that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationFigures(pub u64, pub u64, pub u64, pub u64, pub u64, pub u64);

impl TotalFigures {
    /// Rates, and connections remembered.
    #[must_use]
    pub fn of(rates: Rates, connections: u64) -> Self {
        Self(rates.connections, rates.packets, rates.bytes, connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_arrays_and_what_is_the_same_is_left_out() {
        let key: ServiceKey = "tcp:192.0.2.100:80".parse().unwrap();
        let mut statistics = Statistics {
            time_ms: 7,
            total: TotalFigures(1, 2, 3, 4),
            ..Statistics::default()
        };
        let text = serde_json::to_string(&statistics).unwrap();
        assert_eq!(text, r#"{"time_ms":7,"total":[1,2,3,4]}"#);
        let figures = ServiceFigures(1, 2, 3, 4, 5, 6, 7);
        statistics.services.insert(key, Some(figures));
        let text = serde_json::to_string(&statistics).unwrap();
        assert!(
            text.ends_with(r#""services":{"tcp:192.0.2.100:80":[1,2,3,4,5,6,7]}}"#),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<Statistics>(&text).unwrap(),
            statistics
        );
    }

    #[test]
    fn an_interval_that_nobody_can_want_is_refused() {
        for (text, is_good) in [
            ("", true),
            ("every=60&service=fwm:7", true),
            ("every=0", false),
            ("every=61", false),
            ("each=1", false),
        ] {
            assert_eq!(StatisticsQuery::from_text(text).is_ok(), is_good, "{text}");
        }
    }
}
