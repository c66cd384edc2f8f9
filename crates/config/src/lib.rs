//! Text becomes [`Config`] once, at the door, or every mistake in it is reported at once.
//!
//! ```text
//! dirigo.toml ───┬─► toml (trees with positions) ─► read: sections, services ─► Config
//! conf.d/*.toml ─┘             │                          │
//!                              └────── Mistakes ◄─────────┘   file:line:column, sorted
//! ```
//!
//! You may rely on it: a [`Config`] fits the data plane's tables, names no service and no
//! destination twice, and asks nothing that direct routing cannot do. Each number has a type
//! that can hold only good values.
//!
//! It never looks names up, opens no socket, and does not ask whether an interface exists:
//! `dirigo check` runs anywhere.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod address;
mod again;
mod check;
mod doors;
mod folder;
pub mod limits;
mod lines;
mod mark;
mod metrics;
mod mistake;
mod notes;
mod notify;
mod options;
mod read;
mod rules;
pub mod schema;
mod section;
mod service;
mod shared;
mod suggest;
mod values;

pub use address::AddressFault;
pub use check::{CheckFault, KINDS as CHECK_TYPES, takes as check_takes};
pub use doors::{Api, ApiFault, Listen, TlsFiles};
pub use folder::{File, PIECES, read as read_files};
pub use mark::Mark;
pub use metrics::Metrics;
pub use mistake::{Advice, Mistake, Mistakes, Place, Quoted, Reason};
pub use notify::{Notify, NotifyFault, NotifyTo};
pub use rules::Health;
pub use shared::SharedFault;
pub use values::{
    BadInterfaceName, ConnReuseMode, ConnectionsMax, InterfaceName, OnStop, OutOfRange, Scheduler,
    Seconds, Timeouts, Weight,
};

/// Where the configuration is when no other file is named.
pub const DEFAULT_PATH: &str = "/etc/dirigo/dirigo.toml";

/// One director, as its operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where client traffic arrives; one to [`limits::INTERFACES`], none twice.
    pub interfaces: Vec<InterfaceName>,
    /// Refuse generic XDP instead of falling back to it.
    pub require_native: bool,
    /// What SIGTERM does to forwarding.
    pub on_stop: OnStop,
    /// How many connections are remembered; `None` for as many as suit the machine.
    pub connections_max: Option<ConnectionsMax>,
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// Connection behaviour.
    pub settings: api::Settings,
    /// Whether the daemon adds, announces and removes the virtual addresses.
    pub manage_vips: bool,
    /// Who may ask the daemon.
    pub api: Api,
    /// Who is told of events.
    pub notify: Vec<Notify>,
    /// What a scrape of `/metrics` shows.
    pub metrics: Metrics,
    /// Which packets have which firewall mark; of several rules the first one counts.
    pub marks: Vec<Mark>,
    /// Virtual services in the order of the file.
    pub services: Vec<Arc<Service>>,
    /// Real servers that have a name, by it.
    pub real_servers: BTreeMap<Arc<str>, IpAddr>,
    /// Health checks by name.
    pub checks: BTreeMap<Arc<str>, health::check::Check>,
}

/// A virtual service with its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Identity; unique in a [`Config`].
    pub key: api::ServiceKey,
    /// Picks a destination for a new connection.
    pub scheduler: Scheduler,
    /// What it is asked to do differently.
    pub flags: api::SchedulerFlags,
    /// Whether clients stay with a destination.
    pub persistence: Option<api::Persistence>,
    /// Every datagram is scheduled anew; only UDP.
    pub one_packet: bool,
    /// The part of the connection table that it may take, in percent.
    pub share: Option<u8>,
    /// Destinations in the order of the file.
    pub destinations: Vec<Destination>,
    /// Their checks, if they have any.
    pub health: Option<Health>,
}

/// A real server's place in one virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Real address, and the service's port: direct routing keeps it.
    pub address: SocketAddr,
    /// Share of new connections.
    pub weight: Weight,
    /// Connections at which it gets no new ones; 0 is no limit.
    pub upper_threshold: u32,
    /// Connections below which it gets new ones again; 0 is three quarters of the upper.
    pub lower_threshold: u32,
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("the configuration {} cannot be read: {source}. Write it, or name another with -c FILE", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file is longer than any configuration can be.
    #[error("{} is longer than {} bytes, alone or with the files before it, and surely no configuration: name another with -c FILE", path.display(), limits::FILE_BYTES)]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// There are more pieces than anybody can mean.
    #[error("{} has more than {} pieces of configuration: join some", folder.display(), limits::PIECES)]
    TooManyPieces {
        /// Their folder.
        folder: PathBuf,
    },
    /// The files were read and are wrong.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

/// A text that is read, and the name by which messages call it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file, as it was named.
    pub name: &'a str,
    /// What it says, up to the first byte that is no text.
    pub text: &'a str,
    /// That byte.
    foreign: Option<u8>,
}

impl<'a> Source<'a> {
    /// A text.
    #[must_use]
    pub fn new(name: &'a str, text: &'a str) -> Self {
        Self {
            name,
            text,
            foreign: None,
        }
    }

    /// A file's bytes, which need not be text.
    #[must_use]
    pub fn of_bytes(name: &'a str, bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::new(name, text),
            Err(error) => {
                let (text, rest) = bytes.split_at(error.valid_up_to());
                Self {
                    name,
                    text: std::str::from_utf8(text).unwrap_or_default(),
                    foreign: rest.first().copied(),
                }
            }
        }
    }
}

impl Config {
    /// Reads the configuration file at `path`, and the pieces in [`PIECES`] beside it.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or all mistakes of all files.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Ok(Self::of_files(&folder::read(path)?)?)
    }

    /// Reads a configuration from files that [`read_files`] has brought.
    ///
    /// # Errors
    ///
    /// All mistakes of all files.
    pub fn of_files(files: &[File]) -> Result<Self, Mistakes> {
        let sources: Vec<Source<'_>> = files
            .iter()
            .map(|file| Source::of_bytes(&file.name, &file.bytes))
            .collect();
        read::config(&sources)
    }

    /// The same as [`Config::of_files`], when this is the configuration of the files `before`: what is the same in both is
    /// not read again, and is shared.
    ///
    /// # Errors
    ///
    /// All mistakes of all files.
    pub fn of_files_again(&self, before: &[File], files: &[File]) -> Result<Self, Mistakes> {
        again::config(self, before, files).map_or_else(|| Self::of_files(files), Ok)
    }

    /// Reads a configuration from text; `file_name` is what the mistakes are prefixed with.
    ///
    /// # Errors
    ///
    /// All mistakes of the text, in its order.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Mistakes> {
        read::config(&[Source::new(file_name, text)])
    }

    /// Reads a configuration from several texts: the main file, then the pieces.
    ///
    /// # Errors
    ///
    /// All mistakes of all texts, in their order.
    pub fn parse_all(sources: &[Source<'_>]) -> Result<Self, Mistakes> {
        read::config(sources)
    }

    /// The services and destinations as the changes that make them, in the order of the file:
    /// what `ipvsadm -R` would do if the file were its input.
    pub fn changes(&self) -> impl Iterator<Item = api::Change> + '_ {
        self.services.iter().flat_map(|service| {
            let added = api::Change::AddService {
                service: service.key,
                settings: service.settings(),
            };
            let destinations =
                service
                    .destinations
                    .iter()
                    .map(|destination| api::Change::AddDestination {
                        service: service.key,
                        destination: destination.address,
                        settings: destination.settings(),
                    });
            std::iter::once(added).chain(destinations)
        })
    }
}

impl Service {
    /// The service without its destinations, as the API says it.
    #[must_use]
    pub fn settings(&self) -> api::ServiceSettings {
        api::ServiceSettings {
            flags: self.flags,
            share: self.share,
            persistence: self.persistence,
            one_packet: self.one_packet,
            ..api::ServiceSettings::of(self.scheduler.name())
        }
    }
}

impl Destination {
    /// The destination without its address, as the API says it.
    #[must_use]
    pub fn settings(&self) -> api::DestinationSettings {
        api::DestinationSettings {
            upper_threshold: self.upper_threshold,
            lower_threshold: self.lower_threshold,
            ..api::DestinationSettings::of(self.weight.into())
        }
    }
}
