//! What a step made different in the table, as events.

use std::collections::BTreeSet;

use api::{Author, Change, DestinationSettings, EventKind, Occurrence, ServiceKey};
use control::{Destination, State};

/// Services and destinations that the last step added, edited or removed. What stayed as it was is not told,
/// however often it was written; the destinations of a removed service are not told one by one.
pub(crate) fn of(state: &State, by: Author) -> Vec<Occurrence> {
    let mut told = Vec::new();
    let mut removed = BTreeSet::new();
    for key in state.services.touched() {
        let what = |kind| Occurrence::of(kind).service(*key).by(by);
        match (state.services.was(key), state.services.get(key)) {
            (None, Some(new)) => {
                told.push(what(EventKind::ServiceAdded).new(&new.settings));
            }
            (Some(old), None) => {
                removed.insert(*key);
                let count = old.list.len();
                let old = format!("{} with {count} destinations", old.settings);
                told.push(what(EventKind::ServiceRemoved).old(old));
            }
            (Some(old), Some(new)) if old.settings != new.settings => {
                let what = what(EventKind::ServiceEdited);
                told.push(what.old(&old.settings).new(&new.settings));
            }
            _ => {}
        }
    }
    let ids = state.destinations.touched();
    told.extend(ids.filter_map(|id| {
        let (old, new) = (state.destinations.was(id), state.destinations.get(id));
        of_destination(old, new, by, &removed)
    }));
    told
}

fn of_destination(
    old: Option<&Destination>,
    new: Option<&Destination>,
    by: Author,
    removed: &BTreeSet<ServiceKey>,
) -> Option<Occurrence> {
    let kind = match (old, new) {
        (None, Some(_)) => EventKind::DestinationAdded,
        (Some(old), None) if removed.contains(&old.service) => return None,
        (Some(_), None) => EventKind::DestinationRemoved,
        (Some(old), Some(new)) if old.settings != new.settings => EventKind::DestinationEdited,
        _ => return None,
    };
    let one = new.or(old)?;
    let mut what = Occurrence::of(kind).service(one.service);
    what = what.destination(one.address).by(by);
    what.old = old.map(|old| text(&old.settings));
    what.new = new.map(|new| text(&new.settings));
    Some(what)
}

/// Changes of which the table's entries say nothing, or too much.
pub(super) fn of_change(change: &Change, by: Author) -> Option<Occurrence> {
    let what = match change {
        Change::Clear => Occurrence::of(EventKind::TableCleared),
        Change::Zero { service } => {
            let mut what = Occurrence::of(EventKind::CountersZeroed);
            what.service = *service;
            what
        }
        Change::SetTimeouts { timeouts } => Occurrence::of(EventKind::TimeoutsSet).new(format!(
            "tcp {} s, tcp_fin {} s, udp {} s (0 leaves one as it is)",
            timeouts.tcp, timeouts.tcpfin, timeouts.udp
        )),
        _ => return None,
    };
    Some(what.by(by))
}

fn text(settings: &DestinationSettings) -> String {
    let mut text = format!("weight {}", settings.weight);
    if settings.upper_threshold > 0 {
        text += &format!(", upper threshold {}", settings.upper_threshold);
    }
    if settings.lower_threshold > 0 {
        text += &format!(", lower threshold {}", settings.lower_threshold);
    }
    text
}
