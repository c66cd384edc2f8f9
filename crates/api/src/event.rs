//! Events: what became different, when, and why.
//!
//! ```text
//! Occurrence::of(kind).service(..).reason(..) ─► the daemon gives it an id and a time ─► Event
//! ```
//!
//! An event is told after what it says is done. Ids rise, also from one daemon to the next, so that a
//! reader can go on where it was.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::ServiceKey;

/// An event as it is remembered and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises with every event.
    pub id: u64,
    /// When, in UTC (RFC 3339): `2026-11-28T22:18:03.125Z`.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub what: Occurrence,
}

/// What happened, to what, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// Of what kind it is.
    pub kind: EventKind,
    /// Whether somebody should look.
    pub level: EventLevel,
    /// The virtual service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKey>,
    /// The destination in it, where its port counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<SocketAddr>,
    /// The real server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<IpAddr>,
    /// The check's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// The interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The virtual address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    /// The MAC that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Whose doing it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Author>,
    /// As it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// As it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whose doing a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// A program that uses the API.
    Api,
    /// `dirigo ipvsadm`, under any of its names.
    Ipvsadm,
    /// The configuration.
    File,
    /// A health check.
    Check,
    /// A signal.
    Signal,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventLevel {
    /// Good to know.
    Info,
    /// Something is worse than it should be.
    Warning,
}

/// Kinds with their names, their levels and their words; in one list, so that none lacks one.
macro_rules! kinds {
    ($($kind:ident $name:literal $level:ident $words:literal)*) => {
        /// What can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $(#[doc = $words] #[serde(rename = $name)] $kind,)*
        }

        impl EventKind {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name, as in JSON and in filters.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// How much it matters.
            #[must_use]
            pub fn level(self) -> EventLevel {
                match self { $(Self::$kind => EventLevel::$level),* }
            }

            /// What it says, for people.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Self::$kind => $words),* }
            }
        }
    };
}

kinds! {
    DaemonStarted "daemon-started" Info "daemon started"
    DaemonStopped "daemon-stopped" Info "daemon stopped"

    ServiceAdded "service-added" Info "virtual service added"
    ServiceEdited "service-edited" Info "virtual service edited"
    ServiceRemoved "service-removed" Info "virtual service removed"
    DestinationAdded "destination-added" Info "destination added"
    DestinationEdited "destination-edited" Info "destination edited"
    DestinationRemoved "destination-removed" Info "destination removed"
    TableCleared "table-cleared" Info "table cleared"
    TimeoutsSet "timeouts-set" Info "timeouts set"
    CountersZeroed "counters-zeroed" Info "counters zeroed"

    GenerationApplied "generation-applied" Info "configuration applied"
    GenerationRolledBack "generation-rolled-back" Info "earlier configuration applied"
    ApplyFailed "apply-failed" Warning "configuration not applied"

    DrainBegun "drain-begun" Info "drain begun"
    Drained "drained" Info "drained"
    DrainEnded "drain-ended" Info "drain ended"
    ServerEnabled "server-enabled" Info "real server enabled"
    ServerDisabled "server-disabled" Info "real server disabled"
    ServerSuspected "server-suspected" Warning "real server suspected"

    CheckPassed "check-passed" Info "health: up"
    CheckFailed "check-failed" Warning "health: down"
    CheckExplained "check-explained" Info "health: still down"
    CheckImpossible "check-impossible" Warning "health: cannot be checked"
    ChecksEnded "checks-ended" Info "health: checks end"
    DestinationUp "destination-up" Info "destination gets new connections"
    DestinationDown "destination-down" Warning "destination gets no new connections"
    QuorumGained "quorum-gained" Info "health: quorum gained"
    QuorumLost "quorum-lost" Warning "health: quorum lost"
    SorryServerIn "sorry-server-in" Warning "health: the sorry server serves"
    SorryServerOut "sorry-server-out" Info "health: the sorry server rests"

    ServerResolved "server-resolved" Info "real server resolved"
    ServerUnresolved "server-unresolved" Warning "real server unresolved"
    ServerLocal "server-local" Info "real server is this host"

    InterfaceAttached "interface-attached" Info "program attached"
    InterfaceDetached "interface-detached" Info "program detached"
    InterfaceFailed "interface-failed" Warning "program cannot be attached"
    InterfaceGone "interface-gone" Warning "interface gone"
    InterfaceChanged "interface-changed" Info "interface changed"

    VipAdded "vip-added" Info "virtual address added"
    VipRemoved "vip-removed" Info "virtual address removed"
    VipRestored "vip-restored" Warning "virtual address was removed and is put back"
    VipClaimed "vip-claimed" Warning "another host claims a virtual address: clients bypass the director; `dirigo doctor` tells more"
    VipClaimEnded "vip-claim-ended" Info "the other host no longer claims the virtual address"
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Author {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Ipvsadm => "ipvsadm",
            Self::File => "file",
            Self::Check => "check",
            Self::Signal => "signal",
        }
    }
}

impl EventLevel {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
        }
    }
}

impl Occurrence {
    /// Of a kind, with the level that kind usually has.
    #[must_use]
    pub fn of(kind: EventKind) -> Self {
        Self {
            kind,
            level: kind.level(),
            service: None,
            destination: None,
            server: None,
            check: None,
            interface: None,
            vip: None,
            mac: None,
            by: None,
            old: None,
            new: None,
            reason: None,
        }
    }

    /// About a virtual service.
    #[must_use]
    pub fn service(self, service: ServiceKey) -> Self {
        let service = Some(service);
        Self { service, ..self }
    }

    /// About a destination, and so about its real server.
    #[must_use]
    pub fn destination(self, destination: SocketAddr) -> Self {
        Self {
            destination: Some(destination),
            server: Some(destination.ip()),
            ..self
        }
    }

    /// About a real server.
    #[must_use]
    pub fn server(self, server: IpAddr) -> Self {
        let server = Some(server);
        Self { server, ..self }
    }

    /// About a check.
    #[must_use]
    pub fn check(self, check: impl Into<String>) -> Self {
        let check = Some(check.into());
        Self { check, ..self }
    }

    /// About an interface.
    #[must_use]
    pub fn interface(self, interface: impl Into<String>) -> Self {
        let interface = Some(interface.into());
        Self { interface, ..self }
    }

    /// About a virtual address.
    #[must_use]
    pub fn vip(self, vip: IpAddr) -> Self {
        let vip = Some(vip);
        Self { vip, ..self }
    }

    /// With the MAC that was seen.
    #[must_use]
    pub fn mac(self, mac: impl Into<String>) -> Self {
        let mac = Some(mac.into());
        Self { mac, ..self }
    }

    /// Whose doing it is.
    #[must_use]
    pub fn by(self, author: Author) -> Self {
        let by = Some(author);
        Self { by, ..self }
    }

    /// As it was.
    #[must_use]
    pub fn old(self, old: impl fmt::Display) -> Self {
        let old = Some(old.to_string());
        Self { old, ..self }
    }

    /// As it is.
    #[must_use]
    pub fn new(self, new: impl fmt::Display) -> Self {
        let new = Some(new.to_string());
        Self { new, ..self }
    }

    /// Why, for people.
    #[must_use]
    pub fn because(self, reason: impl fmt::Display) -> Self {
        let reason = Some(reason.to_string());
        Self { reason, ..self }
    }

    /// With another level than usual.
    #[must_use]
    pub fn level(self, level: EventLevel) -> Self {
        Self { level, ..self }
    }
}

/// For people: what it is about, what it was and is, and why.
impl fmt::Display for Occurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.words())?;
        if let Some(service) = self.service {
            write!(f, " {service}")?;
        }
        match (self.destination, self.server) {
            (Some(destination), _) => write!(f, " {destination}")?,
            (None, Some(server)) => write!(f, " {server}")?,
            (None, None) => {}
        }
        if let Some(vip) = self.vip {
            write!(f, " {vip}")?;
        }
        let named = [
            ("check", &self.check),
            ("interface", &self.interface),
            ("MAC", &self.mac),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                write!(f, " {name} {value}")?;
            }
        }
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, ": {old} → {new}")?,
            (None, Some(only)) | (Some(only), None) => write!(f, ": {only}")?,
            (None, None) => {}
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(by) = self.by {
            write!(f, " (by {})", by.name())?;
        }
        Ok(())
    }
}

/// What a reader is told instead of events that it was too slow for, or too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// How many; none if they were an earlier daemon's, whose number nobody knows.
    pub missed: Option<u64>,
}

/// What a reader of events gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    /// An event.
    Event(Box<Event>),
    /// Some are missing here.
    Missed(Missed),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object_without_what_does_not_apply() {
        let what = Occurrence::of(EventKind::DestinationRemoved)
            .service("tcp:192.0.2.100:80".parse().unwrap())
            .destination("192.0.2.11:80".parse().unwrap())
            .by(Author::Ipvsadm)
            .old("weight 1");
        let event = Event {
            id: 7,
            time: "2026-11-28T22:18:03.125Z".to_owned(),
            what,
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"id":7,"time":"2026-11-28T22:18:03.125Z","kind":"destination-removed","level":"info","service":"tcp:192.0.2.100:80","destination":"192.0.2.11:80","server":"192.0.2.11","by":"ipvsadm","old":"weight 1"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        assert_eq!(
            event.what.to_string(),
            "destination removed tcp:192.0.2.100:80 192.0.2.11:80: weight 1 (by ipvsadm)"
        );
    }

    #[test]
    fn the_documentation_lists_every_kind_with_its_level_and_no_other() {
        let page = include_str!("../../../docs/events.md");
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let told: Vec<String> = rows
            .filter_map(|row| row.split('|').nth(2).zip(row.split('|').nth(1)))
            .filter(|(level, _)| ["info", "warning"].contains(&level.trim()))
            .map(|(level, name)| format!("{} {}", name.trim().trim_matches('`'), level.trim()))
            .collect();
        let all = EventKind::ALL.iter();
        let all: Vec<String> = all
            .map(|kind| format!("{kind} {}", kind.level().name()))
            .collect();
        assert_eq!(told, all);
    }

    #[test]
    fn names_are_told_apart_and_are_those_of_json() {
        let mut names: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
        for kind in EventKind::ALL {
            assert_eq!(serde_json::json!(kind), serde_json::json!(kind.name()));
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), EventKind::ALL.len());
    }
}
