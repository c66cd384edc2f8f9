//! What of the world outside a daemon uses beside the data plane: who asks it over TCP, and whom it tells.
//!
//! ```text
//! start ─► files read, address bound ─► before anything else is done
//! apply ─► files read again ─┬─ all right: certificate, tokens and [[notify]] count from now on
//!                            └─ one is wrong: what was goes on, and the apply says why
//! ```

use std::sync::Arc;

use config::Config;
use tokio::sync::mpsc;
use tracing::info;

use crate::door::{self, Door, Keys};
use crate::notify::{self, Listener};

/// Prepared before the daemon does anything.
pub(crate) struct Outside {
    pub(crate) door: Option<Door>,
    pub(crate) listeners: Vec<Listener>,
}

/// What can be exchanged while it runs.
pub(crate) struct Renewal {
    /// Where it listens, and what is read for it.
    door: Option<(config::Listen, Keys)>,
    notify: mpsc::UnboundedSender<Vec<Listener>>,
}

impl Outside {
    pub(crate) fn prepare(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            listeners: notify::prepare(&config.notify)?,
            door: config.api.listen.as_ref().map(door::open).transpose()?,
        })
    }

    /// The other end says who is told from now on.
    pub(crate) fn renewal(
        &self,
        config: &Config,
    ) -> (Renewal, mpsc::UnboundedReceiver<Vec<Listener>>) {
        let (notify, told) = mpsc::unbounded_channel();
        let listen = config.api.listen.clone();
        let door = listen.zip(self.door.as_ref().map(Door::keys));
        (Renewal { door, notify }, told)
    }
}

impl Renewal {
    /// Reads all files anew; says what is wrong, and leaves that as it was.
    pub(crate) fn renew(&self, config: &Arc<Config>) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut note = |what: &str, error: &anyhow::Error| {
            let error = crate::chain(error);
            wrong.push(format!("{what} as before: {error}"));
        };
        // Of another place it counts from the next start on.
        if let Some((listen, keys)) = &self.door
            && let Some(wanted) = &config.api.listen
            && (wanted.address, wanted.tls.is_some()) == (listen.address, listen.tls.is_some())
        {
            match keys.renew(wanted) {
                Ok(()) => info!("the API's certificate and tokens were read"),
                Err(error) => note("the API's certificate and tokens stay", &error),
            }
        }
        match notify::prepare(&config.notify) {
            // Nobody hears any more only when the daemon ends.
            Ok(listeners) => drop(self.notify.send(listeners)),
            Err(error) => note("all [[notify]] stay", &error),
        }
        wrong
    }
}
