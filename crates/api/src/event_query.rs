//! Which events are asked for.
//!
//! ```text
//! ?follow=false&since=1857364885504000&kind=quorum-lost,quorum-gained&level=warning&service=tcp:192.0.2.100:80
//! ```
//!
//! All that is given must hold; of several kinds one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::conditions;
use crate::{EventKind, EventLevel, Occurrence, ServiceKey};

/// Conditions for events; without any, all that come from now on are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Whether to go on with those that come; `true` when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
    /// Only events after the one with this id; 0 is all that are remembered. Not given: those that come,
    /// or without `follow` all that are remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Of one of these kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kinds>,
    /// At least this level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<EventLevel>,
    /// About this virtual service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKey>,
    /// About this real server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<IpAddr>,
}

/// Kinds of events, written with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(pub Vec<EventKind>);

/// A name that no kind of event has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no kind of event {found:?}{}; there are: {}",
    meant(found),
    all()
)]
pub struct KindError {
    /// The name.
    pub found: String,
}

impl EventQuery {
    /// Whether an event is meant.
    #[must_use]
    pub fn matches(&self, what: &Occurrence) -> bool {
        let kinds = self.kind.as_ref();
        kinds.is_none_or(|kinds| kinds.0.contains(&what.kind))
            && self.level.is_none_or(|least| what.level >= least)
            && self.service.is_none_or(|one| what.service == Some(one))
            && self.server.is_none_or(|one| what.server == Some(one))
    }

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
        conditions::from_text(text)
    }
}

impl FromStr for EventKind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let mut all = Self::ALL.iter();
        let found = all.find(|kind| kind.name() == text);
        found.copied().ok_or_else(|| KindError {
            found: text.to_owned(),
        })
    }
}

/// A name that holds what was written, or the other way round: `quorum` for `quorum-lost`.
fn meant(found: &str) -> String {
    let mut all = EventKind::ALL.iter().map(|kind| kind.name());
    let near = all.find(|name| !found.is_empty() && (name.contains(found) || found.contains(name)));
    near.map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"))
}

fn all() -> String {
    let names: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}

impl FromStr for Kinds {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        text.split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|kind| kind.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl Serialize for Kinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Kinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_its_text() {
        let query = EventQuery {
            follow: Some(false),
            since: Some(7),
            kind: Some("quorum-lost,check-failed".parse().unwrap()),
            level: Some(EventLevel::Warning),
            service: Some("tcp:192.0.2.100:80".parse().unwrap()),
            server: Some("2001:db8::11".parse().unwrap()),
        };
        assert_eq!(EventQuery::from_text(&query.to_text()[1..]).unwrap(), query);
        assert_eq!(EventQuery::default().to_text(), "");
    }

    #[test]
    fn a_kind_that_does_not_exist_is_refused_with_those_that_do() {
        let error = EventQuery::from_text("kind=quorum").unwrap_err();
        assert!(error.contains("did you mean \"quorum-gained\"?"), "{error}");
        assert!(error.contains("vip-claimed"), "{error}");
        assert!(EventQuery::from_text("colour=red").is_err());
    }

    #[test]
    fn every_condition_must_hold_and_of_several_kinds_one() {
        let what =
            Occurrence::of(EventKind::QuorumLost).service("tcp:192.0.2.100:80".parse().unwrap());
        for (text, holds) in [
            ("", true),
            ("kind=quorum-lost,vip-added", true),
            ("kind=vip-added", false),
            ("level=warning", true),
            ("service=tcp:192.0.2.100:80&kind=quorum-lost", true),
            ("service=tcp:192.0.2.100:81&kind=quorum-lost", false),
            ("server=192.0.2.11", false),
        ] {
            let query = EventQuery::from_text(text).unwrap();
            assert_eq!(query.matches(&what), holds, "{text}");
        }
    }
}
