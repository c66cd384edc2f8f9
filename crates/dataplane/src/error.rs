//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why the data plane did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel did not take the program.
    #[error("the kernel refused the XDP program: {0}")]
    Program(#[from] aya::programs::ProgramError),
    /// The object could not be loaded.
    #[error("loading the BPF object: {0}")]
    Object(#[from] aya::EbpfError),
    /// A map operation failed.
    #[error("map {name}: {source}")]
    Map {
        /// The map.
        name: String,
        /// What the kernel said.
        source: aya::maps::MapError,
    },
    /// The embedded object lacks something: the build is broken.
    #[error("the embedded BPF object has no {0}; rebuild it with: cargo xtask bpf")]
    Missing(String),
    /// Pins of another version.
    #[error(
        "the maps pinned in {} have layout {found}, this version has {expected}. They are left alone; \
         to begin anew (connections are lost): dirigo down --release", directory.display()
    )]
    Layout {
        /// Where.
        directory: PathBuf,
        /// Their layout.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A name that cannot be a folder.
    #[error("{name:?} cannot name an instance: use 1 to 64 letters, digits, '-' and '_'")]
    InstanceName {
        /// The name.
        name: String,
    },
    /// A packet that no client sends.
    #[error("this packet cannot be explained: {0}")]
    Unexplained(&'static str),
    /// No such interface here.
    #[error("there is no interface {name:?} in this network namespace; see: ip link")]
    NoInterface {
        /// The name.
        name: String,
    },
    /// Native mode was required.
    #[error(
        "{interface} cannot run XDP in native mode ({reason}), and require_native is set. Use a driver \
         with XDP support, or set require_native = false to accept the slower generic mode"
    )]
    NotNative {
        /// The interface.
        interface: String,
        /// What the kernel said.
        reason: String,
    },
    /// Somebody else's program.
    #[error(
        "{interface} has another XDP program attached; see: ip link show {interface}. Detach it first: ip link set {interface} xdp off"
    )]
    Busy {
        /// The interface.
        interface: String,
    },
    /// A table is full.
    #[error("no room for {what}: {limit} at most")]
    Full {
        /// What did not fit.
        what: &'static str,
        /// How many fit.
        limit: u64,
    },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            doing: doing.into(),
            source,
        }
    }

    pub(crate) fn map(name: &str, source: aya::maps::MapError) -> Self {
        Self::Map {
            name: name.to_owned(),
            source,
        }
    }
}
