//! Who listens: seats at the data plane's one watch, and the thread that hands each its frames.
//!
//! ```text
//!  actor ── join, leave ──► Hub ◄── thread: ring ─► seat 0..3, by the record's own word ─► sessions
//! ```
//!
//! The actor alone gives seats and takes them, so that the programs are exchanged for the first and the last only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dataplane::{Filter, Taken, Watch};
use director::trace::Tally;
use nix::poll::{PollFd, PollFlags, poll};
use tracing::warn;

use crate::limits;
use crate::message::Message;

/// The seats.
#[derive(Clone)]
pub(crate) struct Hub {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    watch: Watch,
    seats: [Option<Chair>; Watch::TRACES],
    is_over: bool,
}

/// A seat from the hub's side.
struct Chair {
    frames: SyncSender<Taken>,
    missed: Arc<AtomicU64>,
}

/// A seat; it is left when this is dropped.
pub(crate) struct Seat {
    hub: Hub,
    number: usize,
    /// Its frames.
    pub(crate) frames: Receiver<Taken>,
    missed: Arc<AtomicU64>,
    actor: SyncSender<Message>,
}

impl Hub {
    /// Begins to hand out frames.
    pub(crate) fn start(watch: Watch) -> anyhow::Result<Self> {
        let ring = watch.waiting_room()?;
        let hub = Self {
            inner: Arc::new(Mutex::new(Inner {
                watch,
                seats: Default::default(),
                is_over: false,
            })),
        };
        let own = hub.clone();
        let work = move || {
            use std::os::fd::AsFd;
            loop {
                let mut room = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
                match poll(&mut room, limits::TRACE_WAIT_MS) {
                    Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                    Err(error) => {
                        warn!(%error, "traces break off");
                        own.end();
                    }
                }
                if !own.hand_out() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("trace".to_owned())
            .spawn(work)?;
        Ok(hub)
    }

    /// Gives a seat; `None` when all are taken.
    pub(crate) fn join(
        &self,
        filter: Filter,
        actor: SyncSender<Message>,
    ) -> anyhow::Result<Option<Seat>> {
        let mut inner = self.lock();
        let Some(number) = inner.seats.iter().position(Option::is_none) else {
            return Ok(None);
        };
        inner.watch.set(number, Some(filter))?;
        let (sender, frames) = sync_channel(limits::TRACE_FRAMES);
        let missed = Arc::<AtomicU64>::default();
        let chair = Chair {
            frames: sender,
            missed: Arc::clone(&missed),
        };
        if let Some(place) = inner.seats.get_mut(number) {
            *place = Some(chair);
        }
        drop(inner);
        Ok(Some(Seat {
            hub: self.clone(),
            number,
            frames,
            missed,
            actor,
        }))
    }

    /// Takes a seat back; whether all are free.
    pub(crate) fn leave(&self, number: usize) -> bool {
        let mut inner = self.lock();
        if let Some(place) = inner.seats.get_mut(number) {
            *place = None;
        }
        if let Err(error) = inner.watch.set(number, None) {
            warn!(%error, "a trace's conditions stay");
        }
        inner.seats.iter().all(Option::is_none)
    }

    /// Ends the thread, and all seats' frames.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.is_over = true;
        inner.seats = Default::default();
    }

    /// Hands out what there is; `false` when it is over.
    fn hand_out(&self) -> bool {
        let mut inner = self.lock();
        // So many, that whoever joins or leaves need not wait long.
        for _ in 0..limits::TRACE_FRAMES {
            let Some(taken) = inner.watch.take() else {
                break;
            };
            for (number, seat) in inner.seats.iter().enumerate() {
                let Some(chair) = seat else { continue };
                if taken.record.wanted_by >> number & 1 == 0 {
                    continue;
                }
                // A session that has gone is about to leave.
                if let Err(TrySendError::Full(_)) = chair.frames.try_send(taken.clone()) {
                    chair.missed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        !inner.is_over
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked has changed a seat or not: both are whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// What became of all frames since the seat was taken; those that found no room here are in it.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.hub.lock().watch.tally(self.number);
        tally.no_room += self.missed.load(Ordering::Relaxed);
        tally
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let left = Message::TraceLeft(self.number);
        // The actor may be the one that drops it, and cannot wait for itself.
        if let Err(TrySendError::Full(left)) = self.actor.try_send(left) {
            let actor = self.actor.clone();
            let told = std::thread::Builder::new().spawn(move || {
                let _ended = actor.send(left);
            });
            if let Err(error) = told {
                warn!(%error, "a trace could not be ended; it ends with the daemon");
            }
        }
    }
}
