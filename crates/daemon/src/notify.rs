//! Events that are told to somebody outside: by a program of the administrator's, or over HTTP.
//!
//! ```text
//! ring ─► one task for each [[notify]], at its own place ─► conditions ─► program or POST ─► again, or given up
//! ```
//!
//! With every apply all are read anew: who is as before goes on at its place, with what its files say now; who is no
//! more hears what it is being told to its end.
//!
//! Each is told one event after the other, in order, so that "lost" never overtakes "gained". Whoever is
//! slow holds up itself alone; what it did not hear in time is gone, and the journal says how much. It
//! decides nothing, and what it fails at changes nothing but the journal: there are no events about events.

use std::time::Duration;

use anyhow::Context as _;
use api::{Event, Remote};
use config::{Notify, NotifyTo};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::access::Shared;
use crate::events::bus;
use crate::limits;

mod script;

use script::Script;

/// Somebody who is told.
pub(crate) struct Listener {
    notify: Notify,
    to: Shared<To>,
}

/// All who are told, while the daemon runs.
#[derive(Default)]
pub(crate) struct Listeners {
    all: Vec<Running>,
}

struct Running {
    notify: Notify,
    to: Shared<To>,
    /// Dropped, it ends the task.
    _stays: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

enum To {
    Script(Script),
    Webhook(Box<Remote>),
}

/// Looks up users and reads files, so that what is wrong is said at the start.
pub(crate) fn prepare(all: &[Notify]) -> anyhow::Result<Vec<Listener>> {
    all.iter().map(Listener::new).collect()
}

impl Listeners {
    /// Begins to tell. Call it inside a runtime. The tasks end when the bus is closed and all is told.
    pub(crate) fn start(listeners: Vec<Listener>) -> Self {
        let after = bus().begin();
        let all = listeners.into_iter().map(|one| Running::start(one, after));
        Self { all: all.collect() }
    }

    /// Others are to be told, from the next event on.
    pub(crate) fn exchange(&mut self, listeners: Vec<Listener>) {
        let mut old = std::mem::take(&mut self.all);
        for listener in listeners {
            let same = old.iter().position(|one| one.notify == listener.notify);
            let running = match same.map(|at| old.swap_remove(at)) {
                Some(running) => {
                    running.to.put(&listener.to);
                    running
                }
                None => Running::start(listener, bus().last()),
            };
            self.all.push(running);
        }
    }

    /// Waits for the last words, but not for ever.
    pub(crate) async fn finish(self, most: Duration) {
        let all = async {
            for running in self.all {
                let _ended = running.task.await;
            }
        };
        if tokio::time::timeout(most, all).await.is_err() {
            warn!("not everybody was told the last events in time");
        }
    }
}

impl Running {
    fn start(listener: Listener, after: u64) -> Self {
        let (stays, gone) = oneshot::channel();
        Self {
            notify: listener.notify.clone(),
            to: listener.to.clone(),
            _stays: stays,
            task: tokio::spawn(listener.listen(after, gone)),
        }
    }
}

impl Listener {
    fn new(notify: &Notify) -> anyhow::Result<Self> {
        let to = match &notify.to {
            NotifyTo::Script { command, user } => {
                To::Script(Script::new(command, user).context("preparing a [[notify]]")?)
            }
            NotifyTo::Webhook {
                url,
                token_file,
                trust,
            } => {
                let remote = Remote::webhook(url, token_file.as_deref(), trust.as_deref());
                To::Webhook(Box::new(remote.context("preparing a [[notify]]")?))
            }
        };
        let (notify, to) = (notify.clone(), Shared::new(to));
        Ok(Self { notify, to })
    }

    async fn listen(self, mut after: u64, mut gone: oneshot::Receiver<()>) {
        let mut bell = bus().bell();
        loop {
            bell.borrow_and_update();
            let reading = bus().read(after, 1);
            if let Some(missed) = reading.missed {
                let missed = missed.missed;
                warn!(
                    to = self.name(),
                    missed, "was not told of some events: it is too slow"
                );
            }
            let Some(one) = reading.events.first() else {
                if reading.closed {
                    return;
                }
                tokio::select! {
                    _ = &mut gone => return,
                    changed = bell.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                }
            };
            if matches!(gone.try_recv(), Err(oneshot::error::TryRecvError::Closed)) {
                return;
            }
            after = one.event.id;
            if self.is_meant(&one.event) {
                self.tell(&one.event, &one.json).await;
            }
        }
    }

    fn is_meant(&self, event: &Event) -> bool {
        let kinds = &self.notify.kinds;
        event.what.level >= self.notify.level
            && (kinds.is_empty() || kinds.contains(&event.what.kind))
    }

    /// Until it has worked, or was tried often enough.
    async fn tell(&self, event: &Event, json: &str) {
        let mut waits = limits::NOTIFY_AGAIN.iter();
        loop {
            let tried = tokio::time::timeout(self.notify.timeout, self.attempt(event, json)).await;
            let problem = match tried {
                Ok(Ok(())) => return debug!(to = self.name(), id = event.id, "told"),
                Ok(Err(problem)) => problem,
                Err(_) => format!("not done within {} ms", self.notify.timeout.as_millis()),
            };
            // Whether a program did half of its work nobody knows: it is not run again.
            let again = match &*self.to.get() {
                To::Webhook(_) => waits.next().filter(|_| !bus().is_closed()),
                To::Script(_) => None,
            };
            let Some(wait) = again else {
                let kind = event.what.kind.name();
                return warn!(
                    to = self.name(),
                    id = event.id,
                    event = kind,
                    problem,
                    "not told"
                );
            };
            tokio::time::sleep(*wait).await;
        }
    }

    async fn attempt(&self, event: &Event, json: &str) -> Result<(), String> {
        match &*self.to.get() {
            To::Script(script) => script.run(event, json).await,
            To::Webhook(remote) => {
                let posted = remote.post(json.to_owned().into()).await;
                let status = posted.map_err(|error| error.to_string())?;
                match status.is_success() {
                    true => Ok(()),
                    false => Err(format!("answered with {status}")),
                }
            }
        }
    }

    fn name(&self) -> &str {
        match &self.notify.to {
            NotifyTo::Script { command, .. } => command.first().map_or("", String::as_str),
            NotifyTo::Webhook { url, .. } => url,
        }
    }
}
