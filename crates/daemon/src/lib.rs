//! The process: knows every room, and lets only one thread write.
//!
//! ```text
//!   main thread (tokio)            actor thread                 resolver thread
//!  ┌─────────────────────┐        ┌──────────────────────┐     ┌──────────────────┐
//!  │ Unix socket, routes │ ─────► │ control::State       │ ◄── │ netlink events   │
//!  │ signals             │ ◄───── │ data plane, host     │ ──► │ ARP, ND questions│
//!  └─────────────────────┘ replies│ state file           │     └──────────────────┘
//!                                 └──────────────────────┘ real servers to look after
//! ```
//!
//! You may rely on it: killed at any moment and started again, it reaches the state it was
//! heading for, and packets flow meanwhile, because maps, program and link are pinned and
//! nothing that is right is taken away. Stopped in order, it leaves forwarding in place unless
//! asked to release it.
//!
//! It never forks, never changes a real server, and never removes an address it did not add.

use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use sd_notify::NotifyState;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

mod access;
mod actor;
mod announce;
mod bpffs;
mod claims;
mod door;
mod estimates;
mod events;
mod execute;
mod explain;
mod files;
mod forecast;
mod generations;
mod health;
mod host;
mod limits;
mod listing;
mod message;
mod metrics;
#[cfg(test)]
mod model;
mod notify;
mod outside;
mod permission;
mod plane;
mod release;
mod reread;
mod resolver;
mod server;
mod socket;
mod start;
mod statistics;
mod suspicion;
mod trace;
mod view;
mod watchdog;

pub use release::{Down, down};

use files::Files;
use message::Message;
use outside::Outside;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the instance: its pins, its socket.
    pub instance: String,
    /// The file that it was read from: it is read again on SIGHUP.
    pub file: PathBuf,
    /// What was read: that file, and its pieces.
    pub texts: Vec<config::File>,
    /// What the operator wants.
    pub config: config::Config,
}

/// Why the daemon did not run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not do what it must.
    #[error("not permitted; missing: {}. Run as root", missing.join(", "))]
    NotPermitted {
        /// What is missing.
        missing: Vec<String>,
    },
    /// The name cannot be one of files.
    #[error(
        "{name:?} cannot name an instance: use 1 to {} letters, digits, '-' and '_'",
        limits::INSTANCE_NAME_BYTES
    )]
    InstanceName {
        /// The name.
        name: String,
    },
    /// The instance has a daemon.
    #[error(
        "a daemon of this instance runs already{}: stop it with `dirigo down`, or name another \
         instance with --instance",
        pid.map(|pid| format!(", pid {pid}")).unwrap_or_default()
    )]
    AlreadyRunning {
        /// Its process id.
        pid: Option<u32>,
    },
    /// The configuration asks for what this host cannot have.
    #[error("the configuration cannot be used on this host: {0}")]
    Config(api::Refusal),
    /// No daemon answers.
    #[error(transparent)]
    Unreachable(api::ClientError),
    /// Anything else; the chain says what was attempted.
    #[error("{}", chain(.0))]
    Other(#[from] anyhow::Error),
}

/// An error with its causes, each said once: libraries often repeat their source's words.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Runs the daemon in the foreground until it is told to stop.
///
/// # Errors
///
/// When it cannot start; what was there before is then as it was, or taken over as far as said.
pub fn run(options: &Options) -> Result<(), Error> {
    let missing = permission::missing();
    if !missing.is_empty() {
        return Err(Error::NotPermitted { missing });
    }
    let files = Files::of(&options.instance)?;
    let held = files.lock_soon()?;
    held.note_command()?;
    // What is wrong with it is said before anything is done.
    let done = match Outside::prepare(&options.config) {
        Ok(outside) => work(options, &files, outside),
        Err(error) => Err(error.into()),
    };
    files.discard_lock(held)?;
    done
}

/// What is done while the lock is held.
fn work(options: &Options, files: &Files, outside: Outside) -> Result<(), Error> {
    let options = &reread::after_rollback(options, files);
    let started = start::start(options, files)?;
    let done = serve(started, options, files, outside);
    files.remove_socket()?;
    Ok(done?)
}

fn serve(
    started: start::Started,
    options: &Options,
    files: &Files,
    outside: Outside,
) -> anyhow::Result<()> {
    let (renewal, mut told) = outside.renewal(&options.config);
    let Outside { door, listeners } = outside;
    let start::Started {
        mut actor,
        inbox,
        outbox,
    } = started;
    watch_signals(outbox.clone(), options.file.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    actor.reload.renewal = Some(renewal);
    let tokens = door.as_ref().map(|door| door.keys().tokens);
    let console = door.as_ref().is_some_and(|door| door.console);
    let (listener, network) = {
        let _inside = runtime.enter();
        let listener = socket::Listener::bind(files, options.config.api.everyone_reads)?;
        (listener, door.map(door::Door::serve).transpose()?)
    };
    let own = (options.file.clone(), files.generations());
    let routes = server::routes(outbox, tokens.unwrap_or_default(), console, own);
    let (finished, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("actor".to_owned())
        .spawn(move || {
            actor.run(&inbox);
            let _main_is_gone = finished.send(());
        })?;
    notify(&[NotifyState::Ready]);
    info!(socket = %files.socket().display(), "ready");
    runtime.block_on(async {
        let mut listeners = notify::Listeners::start(listeners);
        let answered = answer(listener, network, routes, ended);
        tokio::pin!(answered);
        let done = loop {
            tokio::select! {
                done = &mut answered => break done,
                Some(others) = told.recv() => listeners.exchange(others),
            }
        };
        listeners.finish(limits::STOP_WAIT).await;
        done
    })?;
    notify(&[NotifyState::Stopping]);
    // Listings that are still being written end with their readers.
    runtime.shutdown_background();
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the actor died; its last words are above"))
}

/// Serves the API until the actor has ended, and then what is open for a while.
async fn answer(
    listener: socket::Listener,
    network: Option<door::Listener>,
    routes: axum::Router,
    ended: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let (close, closing) = watch::channel(());
    let closed = |mut closing: watch::Receiver<()>| async move {
        let _dropped = closing.changed().await;
    };
    let routes = routes.into_make_service_with_connect_info::<access::Peer>();
    let network = network.map(|network| {
        let serving = axum::serve(network, routes.clone());
        tokio::spawn(
            serving
                .with_graceful_shutdown(closed(closing.clone()))
                .into_future(),
        )
    });
    let serving = axum::serve(listener, routes).with_graceful_shutdown(closed(closing));
    let mut serving = tokio::spawn(serving.into_future());
    tokio::select! {
        done = &mut serving => return done.unwrap_or_else(|error| Err(std::io::Error::other(error))),
        _ended = ended => {}
    }
    drop(close);
    let all = async {
        let _ended = serving.await;
        if let Some(network) = network {
            let _ended = network.await;
        }
    };
    if tokio::time::timeout(limits::STOP_WAIT, all).await.is_err() {
        warn!("requests were still open and are cut off");
    }
    Ok(())
}

fn watch_signals(actor: SyncSender<Message>, file: PathBuf) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGTERM, SIGINT])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                info!(signal, "signal");
                let message = match signal {
                    SIGHUP => reread::on_signal(&file),
                    _ => Message::Terminate,
                };
                if actor.send(message).is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}

/// Tells systemd; without one there is nobody to tell.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd could not be told");
    }
}
