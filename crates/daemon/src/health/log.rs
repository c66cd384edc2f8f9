//! What is told of health.

use std::net::IpAddr;

use api::{EventKind, Occurrence, ServiceKey};
use health::check::To;
use health::probe::{Change, Standing};
use health::service::Effect;
use health::state::{News, ProbeKey};

use super::Health;
use crate::events;

impl Health {
    /// An event for each change; to be called before they are taken in.
    pub(crate) fn tell(&self, news: &[News]) {
        for one in news {
            if let Some(what) = self.what(one) {
                events::emit(what);
            }
        }
    }

    fn what(&self, news: &News) -> Option<Occurrence> {
        let of = |service, kind| {
            let mut what = Occurrence::of(kind);
            what.service = self.keys.get(service).copied();
            what
        };
        Some(match news {
            News::Probe { key, change } => self.probed(key, change)?,
            News::Destination {
                service,
                server,
                effect,
            } => self.effected(*self.keys.get(service)?, *server, effect.as_ref()?)?,
            News::Quorum { service, quorum } => {
                let kind = match quorum.held {
                    true => EventKind::QuorumGained,
                    false => EventKind::QuorumLost,
                };
                let (sum, needed) = (quorum.sum, quorum.needed);
                of(service, kind).because(format!("sum of weights {sum}, needed {needed}"))
            }
            News::Sorry {
                service,
                server,
                serves,
            } => {
                let kind = match serves {
                    true => EventKind::SorryServerIn,
                    false => EventKind::SorryServerOut,
                };
                of(service, kind).server(*server)
            }
            News::Configured { .. } => return None,
            News::Ended { service } => of(service, EventKind::ChecksEnded),
        })
    }

    fn probed(&self, key: &ProbeKey, change: &Change) -> Option<Occurrence> {
        let (check, to) = (&*key.check, key.to);
        let is_new = change.was != change.standing;
        let kind = match (&change.reason, change.standing) {
            (Some(_), Standing::Down) if is_new => EventKind::CheckFailed,
            (Some(_), Standing::Down) => EventKind::CheckExplained,
            (Some(_), _) => EventKind::CheckImpossible,
            (None, Standing::Up) if is_new => EventKind::CheckPassed,
            _ => return None,
        };
        let to = match self.wanted.checks.get(check).map(|check| check.to) {
            Some(To::Vip) => format!("asked at the virtual address {to}"),
            _ => format!("asked at its own address {to}"),
        };
        let why = match &change.reason {
            Some(reason) => format!("{reason} ({to})"),
            None => to,
        };
        let mut what = Occurrence::of(kind).server(key.server).check(check);
        if is_new {
            what = what.old(word(change.was)).new(word(change.standing));
        }
        Some(what.because(why))
    }

    /// A destination that begins or ends to get new connections; a weight that grows or shrinks is none.
    fn effected(&self, service: ServiceKey, server: IpAddr, effect: &Effect) -> Option<Occurrence> {
        let old = self.effects.get(&service)?.get(&server);
        let old = old.map_or("unchecked", place);
        let new = place(effect);
        if old == new {
            return None;
        }
        let kind = match effect {
            Effect::Weight(_) => EventKind::DestinationUp,
            _ => EventKind::DestinationDown,
        };
        let mut what = Occurrence::of(kind).service(service).server(server);
        what.reason = match effect {
            Effect::Inhibited(reason) | Effect::Removed(reason) => Some(reason.to_string()),
            Effect::Standby => Some("the quorum is lost and the sorry server serves".to_owned()),
            Effect::Weight(_) | Effect::Unchecked => None,
        };
        Some(what.old(old).new(new))
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Unchecked => "unchecked",
        Standing::Up => "up",
        Standing::Down => "down",
    }
}

fn place(effect: &Effect) -> &'static str {
    match effect {
        Effect::Weight(_) => "up",
        Effect::Inhibited(_) => "down, with weight 0",
        Effect::Removed(_) => "down",
        Effect::Unchecked => "unchecked",
        Effect::Standby => "standby",
    }
}
