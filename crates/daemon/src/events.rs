//! Events: told once, from here to the journal, to whoever listens, and to whoever asks later.
//!
//! ```text
//! emit ─► id, time ─┬─► one line of the journal
//!                   └─► ring of the last 1,024 ◄── each reader at its own place
//! ```
//!
//! You may rely on it: to emit never waits for a reader. A reader has no queue; it has a place in the
//! ring, and when that is gone it is told how many it missed. Ids rise, from one daemon to the next too.
//!
//! There is one bus for the process, as there is one journal.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use api::{Event, EventLevel, Missed, Occurrence};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tracing::field;
use tracing::{info, warn};

use crate::limits;

static BUS: LazyLock<Bus> = LazyLock::new(|| Bus::beginning(SystemTime::now()));

/// Tells what happened: the one way to do so, from any thread.
pub(crate) fn emit(what: Occurrence) {
    let told = BUS.add(what, SystemTime::now());
    journal(&told.event);
}

/// The process's bus.
pub(crate) fn bus() -> &'static Bus {
    &BUS
}

/// The last events, and a bell.
pub(crate) struct Bus {
    ring: Mutex<Ring>,
    bell: watch::Sender<u64>,
    missed: AtomicU64,
}

struct Ring {
    kept: VecDeque<Arc<Remembered>>,
    /// The id before this daemon's first event.
    before: u64,
    /// The id of the last event.
    last: u64,
    closed: bool,
}

/// An event and its JSON, which is written once for all readers.
pub(crate) struct Remembered {
    pub(crate) event: Event,
    pub(crate) json: String,
}

/// What a reader gets at its place.
pub(crate) struct Reading {
    /// What is gone before `events`.
    pub(crate) missed: Option<Missed>,
    /// The id of the last event when this was read: where a reader stands for whom there was nothing.
    pub(crate) last: u64,
    /// What follows, not all of it if it is much.
    pub(crate) events: Vec<Arc<Remembered>>,
    /// Whether nothing comes after what is remembered now.
    pub(crate) closed: bool,
}

impl Bus {
    /// Of a daemon that starts now: its ids begin with the second, so that they follow those of the one
    /// before it, which had a million for each second of its life.
    fn beginning(now: SystemTime) -> Self {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
        let before = since_1970.map_or(0, |time| time.as_secs()) << 20;
        Self {
            ring: Mutex::new(Ring {
                kept: VecDeque::with_capacity(limits::EVENTS),
                before,
                last: before,
                closed: false,
            }),
            bell: watch::Sender::new(before),
            missed: AtomicU64::new(0),
        }
    }

    fn add(&self, what: Occurrence, now: SystemTime) -> Arc<Remembered> {
        let mut ring = self.ring();
        ring.last += 1;
        let event = Event {
            id: ring.last,
            time: time_text(now),
            what,
        };
        // Every part has a JSON form: this cannot fail.
        let json = serde_json::to_string(&event).unwrap_or_default();
        let told = Arc::new(Remembered { event, json });
        if ring.kept.len() == limits::EVENTS {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::clone(&told));
        self.bell.send_replace(ring.last);
        told
    }

    /// Nothing more is told: readers end when they have read what is there.
    pub(crate) fn close(&self) {
        let mut ring = self.ring();
        ring.closed = true;
        self.bell.send_replace(ring.last);
    }

    /// Rings at each event.
    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Events of this daemon so far.
    pub(crate) fn count(&self) -> u64 {
        let ring = self.ring();
        ring.last - ring.before
    }

    /// Events that were gone from the ring when a reader came to them.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// The id before this daemon's first event.
    pub(crate) fn begin(&self) -> u64 {
        self.ring().before
    }

    /// Whether nothing more is told.
    pub(crate) fn is_closed(&self) -> bool {
        self.ring().closed
    }

    /// The id of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.ring().last
    }

    /// What follows an event, `most` at once; after 0, all that are remembered.
    pub(crate) fn read(&self, after: u64, most: usize) -> Reading {
        let ring = self.ring();
        let oldest = ring.last + 1 - ring.kept.len() as u64;
        // Of another daemon, or of this one with another clock.
        let is_foreign = after < ring.before || after > ring.last;
        let missed = match after {
            0 => None,
            _ if is_foreign => Some(Missed { missed: None }),
            _ if after + 1 < oldest => Some(Missed {
                missed: Some(oldest - after - 1),
            }),
            _ => None,
        };
        if let Some(Missed {
            missed: Some(count),
        }) = missed
        {
            self.missed.fetch_add(count, Ordering::Relaxed);
        }
        let skipped = match is_foreign {
            true => 0,
            false => (after + 1).saturating_sub(oldest),
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        Reading {
            missed,
            last: ring.last,
            events: ring.kept.iter().skip(skipped).take(most).cloned().collect(),
            closed: ring.closed,
        }
    }

    /// What a panic left is whole: each event is added in one piece.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds are as much as the order of events needs beside their ids.
fn time_text(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let millisecond = time.nanosecond() / 1_000_000 * 1_000_000;
    let time = time.replace_nanosecond(millisecond).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}

/// One line, with what applies as fields.
fn journal(event: &Event) {
    let what = &event.what;
    macro_rules! line {
        ($level:ident) => {
            $level!(
                event = what.kind.name(),
                id = event.id,
                service = what.service.map(field::display),
                destination = what.destination.map(field::display),
                server = what.server.map(field::display),
                check = what.check,
                interface = what.interface,
                vip = what.vip.map(field::display),
                mac = what.mac,
                old = what.old,
                new = what.new,
                reason = what.reason,
                by = what.by.map(|by| by.name()),
                "{}",
                what.kind.words()
            )
        };
    }
    match what.level {
        EventLevel::Warning => line!(warn),
        EventLevel::Info => line!(info),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use api::EventKind;

    use super::*;

    const START: u64 = 1_700_000_000;

    fn bus() -> Bus {
        Bus::beginning(SystemTime::UNIX_EPOCH + Duration::from_secs(START))
    }

    fn tell(bus: &Bus, count: usize) {
        for _ in 0..count {
            let what = Occurrence::of(EventKind::VipAdded);
            bus.add(what, SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
        }
    }

    fn ids(reading: &Reading) -> Vec<u64> {
        let events = reading.events.iter();
        events.map(|one| one.event.id - (START << 20)).collect()
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_never_twice() {
        let bus = bus();
        tell(&bus, 3);
        let first = bus.read(0, 2);
        assert_eq!((ids(&first), first.missed), (vec![1, 2], None));
        let next = bus.read(first.events[1].event.id, 2);
        assert_eq!((ids(&next), next.missed), (vec![3], None));
        let last = bus.read(bus.last(), 2);
        assert!(last.events.is_empty() && last.missed.is_none() && !last.closed);
        assert_eq!(last.last, next.events[0].event.id);
        bus.close();
        assert!(bus.read(bus.last(), 2).closed);
    }

    #[test]
    fn the_ring_is_bounded_and_says_exactly_how_many_are_gone() {
        let bus = bus();
        tell(&bus, 1);
        let place = bus.last();
        tell(&bus, limits::EVENTS + 7);
        let late = bus.read(place, 1);
        assert_eq!(late.missed, Some(Missed { missed: Some(7) }));
        assert_eq!(ids(&late), [9]);
        let all = bus.read(0, usize::MAX);
        assert_eq!((all.events.len(), all.missed), (limits::EVENTS, None));
        let just = bus.read(place + 7, 1);
        assert_eq!((ids(&just), just.missed), (vec![9], None));
    }

    #[test]
    fn a_place_of_another_daemon_is_answered_with_all_there_is_and_an_unknown_number() {
        let bus = bus();
        tell(&bus, 2);
        for place in [7, u64::MAX] {
            let reading = bus.read(place, 9);
            assert_eq!(reading.missed, Some(Missed { missed: None }));
            assert_eq!(ids(&reading), [1, 2]);
        }
    }

    #[test]
    fn ids_are_exact_in_javascript_and_times_are_utc() {
        let bus = bus();
        tell(&bus, 1);
        let reading = bus.read(0, 1);
        assert!(reading.events[0].event.id < 1 << 53);
        assert_eq!(reading.events[0].event.time, "1970-01-01T00:00:01.5Z");
    }
}
