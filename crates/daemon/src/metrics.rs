//! `GET /metrics`: what is counted, for Prometheus.
//!
//! ```text
//! actor ── Snapshot: names, ids, weights (milliseconds) ──┐
//! maps  ── Readings: counters, gauges, states ────────────┼─► write ─► 64 KiB piece ─► channel of 4 ─► socket
//! checks ─ Tally ─────────────────────────────────────────┘   in a thread of its own
//! ```
//!
//! Everything is read when it is asked for. The actor gives names and numbers and goes on; the counters are
//! read from the maps by the scrape's own thread, and a slow reader holds up that thread only. The one thing
//! that is kept is the count of the connection table by state, because to count is to walk it all:
//! [`limits::COUNT_AGE`], and its age is a metric.
//!
//! It changes nothing. What it may show is bounded by the configuration: see [`mod@write`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use dataplane::StateCount;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::warn;

use crate::limits;
use crate::listing::Chunks;

mod catalogue;
mod process;
mod series;
mod snapshot;
mod text;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use snapshot::{
    Changes, DestinationRow, HealthRow, Readings, ServerRow, ServiceRow, Snapshot, TrashRow,
};
pub(crate) use text::Format;

/// What scrapes share.
pub(crate) struct Scrapes {
    permits: Arc<Semaphore>,
    counted: Mutex<Option<Counted>>,
    has_dropped: AtomicBool,
}

/// The connection table, counted.
#[derive(Clone)]
struct Counted {
    at: Instant,
    took: Duration,
    states: Vec<StateCount>,
}

impl Default for Scrapes {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits::SCRAPES)),
            counted: Mutex::new(None),
            has_dropped: AtomicBool::new(false),
        }
    }
}

impl Scrapes {
    /// Leave to scrape, if not too many do.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Begins to write.
    pub(crate) fn start(
        self: &Arc<Self>,
        snapshot: Snapshot,
        format: Format,
        permit: OwnedSemaphorePermit,
    ) -> Chunks {
        let (sender, receiver) = mpsc::channel(limits::LISTING_CHUNKS);
        let scrapes = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            scrapes.write(&snapshot, format, sender);
            drop(permit);
        });
        Chunks::of(receiver)
    }

    fn write(&self, snapshot: &Snapshot, format: Format, sender: mpsc::Sender<Bytes>) {
        let counted = self.counted(&*snapshot.readings);
        let pieces = Pieces {
            sender,
            piece: String::with_capacity(limits::LISTING_CHUNK_BYTES),
        };
        // It fails only when the reader has gone.
        let written = write::all(snapshot, &counted, format, pieces);
        let Ok((pieces, dropped)) = written else {
            return;
        };
        pieces.finish();
        if dropped == 0 {
            self.has_dropped.store(false, Ordering::Relaxed);
        } else if !self.has_dropped.swap(true, Ordering::Relaxed) {
            warn!(
                dropped,
                max_series = snapshot.limits.max_series,
                "a scrape of metrics left series out; raise max_series or set per_destination = false in [metrics]"
            );
        }
    }

    /// The table by state, counted now or a while ago. Two scrapes do not count it at once.
    fn counted(&self, readings: &dyn Readings) -> Counted {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |counted: &Counted| counted.at.elapsed() < limits::COUNT_AGE;
        if let Some(counted) = counted.as_ref().filter(|counted| is_fresh(counted)) {
            return counted.clone();
        }
        let at = Instant::now();
        let states = readings.states();
        let new = Counted {
            at,
            took: at.elapsed(),
            states,
        };
        *counted = Some(new.clone());
        new
    }
}

/// Text on its way to the reader.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    piece: String,
}

impl Pieces {
    fn send(&mut self) -> std::fmt::Result {
        let room = String::with_capacity(limits::LISTING_CHUNK_BYTES);
        let full = std::mem::replace(&mut self.piece, room);
        let sent = self.sender.blocking_send(full.into());
        sent.map_err(|_| std::fmt::Error)
    }

    fn finish(mut self) {
        let _gone = self.send();
    }
}

impl std::fmt::Write for Pieces {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.piece.len() + text.len() > limits::LISTING_CHUNK_BYTES {
            self.send()?;
        }
        self.piece.push_str(text);
        Ok(())
    }
}
