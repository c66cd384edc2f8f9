//! The real server's half of direct routing: it holds the VIP on `lo` and keeps quiet about it.
//!
//! ```text
//! client ── ARP: who has VIP? ──► director   answers: it owns the VIP on its interface
//!                            └──► server     must not answer        (arp_ignore)
//! server ── ARP: who has client? ──►         must not say it is VIP (arp_announce)
//! ```
//!
//! | function | reads | does |
//! | --- | --- | --- |
//! | [`up`] | facts, state | suppression first, then the VIP as /32 or /128 on `lo` |
//! | [`down`] | facts, state | takes away what `up` added, restores what it found |
//! | [`check`] | facts | explains every deviation |
//!
//! Each works in the network namespace of the calling thread: netlink and `/proc/sys/net` both
//! follow it. [`observe`] gathers facts, [`plan`] and [`finding`] decide on them as data, and only
//! `execute` acts. What you may rely on: `up` twice is `up` once; a failure on the way undoes what
//! was done; a stricter setting than ours is never loosened; nothing is restored that somebody
//! else has changed since.
//!
//! What never happens here: no other interface's address is touched, `lo` is never switched off,
//! no packet is sent.

mod error;
mod execute;
mod persist;
mod state;
mod sysctl;
mod vip;

pub mod finding;
pub mod observe;
pub mod plan;

use std::path::PathBuf;

pub use error::Error;
pub use finding::{Code, Finding, InterfaceReport, Report, Severity};
pub use observe::Facts;
pub use persist::Persist;
pub use plan::{Outcome, Step};
pub use state::State;
pub use sysctl::{Key, Setting};
pub use vip::{Vip, VipError};

/// Where `up` remembers what it found.
pub const STATE_DIR: &str = "/run/dirigo";

/// What to do, to which addresses, and where to remember it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The VIPs. [`down`] takes none to mean all it knows.
    pub vips: Vec<Vip>,
    /// Only these interfaces are examined; none means all that could receive ARP.
    pub interfaces: Vec<String>,
    /// The directory of the state file. Hosts that share a file system (network namespaces of
    /// one machine) need one each.
    pub state_dir: PathBuf,
    /// Also for the next boot.
    pub persist: Option<Persist>,
    /// Plan, but do nothing.
    pub dry_run: bool,
}

impl Options {
    /// The usual options for these VIPs.
    #[must_use]
    pub fn new(vips: Vec<Vip>) -> Self {
        Self {
            vips,
            interfaces: Vec::new(),
            state_dir: PathBuf::from(STATE_DIR),
            persist: None,
            dry_run: false,
        }
    }
}

/// Makes this host a real server for the VIPs.
pub fn up(options: &Options) -> Result<Outcome, Error> {
    with_state(options, |facts, state| plan::up(facts, state, options))
}

/// Takes the VIPs away; with the last of a family, its settings go back to what was found.
pub fn down(options: &Options) -> Result<Outcome, Error> {
    with_state(options, |facts, state| plan::down(facts, state, options))
}

/// Examines this host as a real server for the VIPs. Needs no privilege and changes nothing.
pub fn check(options: &Options) -> Result<Report, Error> {
    let facts = observe::observe(&options.interfaces)?;
    Ok(finding::examine(&facts, &options.vips))
}

fn with_state(
    options: &Options,
    decide: impl FnOnce(&Facts, Option<State>) -> Result<Outcome, Error>,
) -> Result<Outcome, Error> {
    // A dry run must be possible where nothing may be written; it reads without the lock.
    let _lock = if options.dry_run {
        None
    } else {
        Some(state::lock(&options.state_dir)?)
    };
    let state = state::read(&options.state_dir)?;
    let facts = observe::observe(&options.interfaces)?;
    let outcome = decide(&facts, state)?;
    if !options.dry_run {
        execute::run(&outcome.steps)?;
    }
    Ok(outcome)
}
