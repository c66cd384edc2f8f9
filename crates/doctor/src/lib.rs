//! What is wrong with a direct routing set-up, and the command that mends it.
//!
//! ```text
//! observe ──► Facts ──► rules ──► Report
//!  │ kernel: links, addresses, settings, neighbours, firewall, sockets, clock, memory
//!  │ daemon: services, real servers, interfaces
//!  │ segment: who answers for an address (several rounds), who announces one
//!  └ path: one packet for each service and server, in a frame for that server's MAC
//! ```
//!
//! Three places to stand: the director, a real server, any other host of the segment. What each
//! sees is different, so is what each can tell; [`Role`] says where.
//!
//! What you may rely on: nothing is changed, here or elsewhere; every packet sent is one a host may
//! get at any time (an ARP request, an echo request, a SYN that is reset at once), and their number
//! is bounded; every rule is a function of [`Facts`] alone; a finding names the host at fault and
//! the commands that mend it there.
//!
//! What never happens here: no connection of a client is touched, no frame carries an address that
//! is not this host's own, nothing is repaired.

mod facts;
mod finding;
mod netfilter;
mod observe;
mod rules;
mod watch;

pub mod limits;

use std::net::IpAddr;

pub use facts::{Destination, Facts, Key, Role, Service};
pub use finding::{Code, Finding, HostName, Interface, Report, Setting, Severity};
pub use observe::{Error, observe};
pub use rules::examine;
pub use watch::{News, watch};

/// Where to stand and what is known beforehand.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where.
    pub role: Role,
    /// VIPs, beside those of the services.
    pub vips: Vec<IpAddr>,
    /// Virtual services, beside the daemon's.
    pub services: Vec<Service>,
    /// Real servers' own addresses, beside those of the services.
    pub servers: Vec<IpAddr>,
    /// The director's own addresses.
    pub directors: Vec<IpAddr>,
    /// Only these interfaces are asked on; none means all that do ARP.
    pub interfaces: Vec<String>,
    /// The director's configuration that the services are of, if they are of one.
    pub config: Option<std::path::PathBuf>,
    /// The instance whose daemon is asked.
    pub instance: String,
    /// Rounds of questions.
    pub rounds: u32,
    /// Whether anything is sent.
    pub probe: bool,
}

impl Options {
    /// The usual options for a place.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            instance: api::DEFAULT_INSTANCE.to_owned(),
            rounds: limits::ROUNDS,
            probe: true,
            ..Self::default()
        }
    }
}

/// Looks, once.
pub fn check(options: &Options) -> Result<Report, Error> {
    Ok(examine(&observe(options)?))
}
