//! Why a real server was not set up, taken down or examined.

use std::io;
use std::path::PathBuf;

use crate::{Key, Vip};

/// What went wrong, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error(transparent)]
    Network(#[from] netlink::Error),
    /// No VIP was named.
    #[error("no VIP is named: give at least one with --vip ADDRESS")]
    NoVip,
    /// An interface asked for is not here.
    #[error("there is no interface {name} in this network namespace; there are: {there}")]
    NoSuchInterface {
        /// The name.
        name: String,
        /// Those that could be meant.
        there: String,
    },
    /// The VIP is where the director has it.
    #[error(
        "{vip} is on {interface}, where this host answers ARP for it. If this host is the director, it is \
         not a real server; if it is a real server, take it away there first: \
         ip address del {vip}/{prefix} dev {interface}"
    )]
    OnRealInterface {
        /// The VIP.
        vip: Vip,
        /// Where it is.
        interface: String,
        /// With which prefix.
        prefix: u8,
    },
    /// A setting could not be read or written.
    #[error("{verb} {key} ({}): {source}", path.display())]
    Sysctl {
        /// `reading`, `setting … to 1`.
        verb: String,
        /// The setting.
        key: Key,
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A setting does not hold a number.
    #[error("{} holds {found:?}, which is not a number", path.display())]
    SysctlValue {
        /// Its file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// A file could not be read, written or removed.
    #[error("{verb} {}: {source}", path.display())]
    File {
        /// What was attempted.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state file is not one.
    #[error(
        "{} is not a state of `dirigo realserver`: {source}. If nothing of it is needed, remove it; \
         what was found before `up` is then forgotten",
        path.display()
    )]
    StateUnreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The state file is that of another host on the same file system.
    #[error(
        "{} belongs to another network namespace ({theirs}, this one is {ours}): give this one a \
         directory of its own with --state DIR, or remove the file if that namespace is gone",
        path.display()
    )]
    OtherNamespace {
        /// The file.
        path: PathBuf,
        /// Inode of the namespace in the file.
        theirs: u64,
        /// Inode of the caller's.
        ours: u64,
    },
    /// A step failed, and so did undoing those before it.
    #[error("{cause}; and undoing what was done failed too, left as it is: {}", left.join("; "))]
    NotUndone {
        /// The first failure.
        cause: Box<Error>,
        /// What could not be undone, and why.
        left: Vec<String>,
    },
}

impl Error {
    pub(crate) fn file(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { verb, path, source }
    }

    /// The caller lacks the privilege, rather than something being wrong.
    #[must_use]
    pub fn is_not_permitted(&self) -> bool {
        let denied = match self {
            Self::Network(error) => error.is_not_permitted(),
            Self::Sysctl { source, .. } | Self::File { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            Self::NotUndone { cause, .. } => cause.is_not_permitted(),
            _ => false,
        };
        // For root, "permission denied" has another reason than missing root.
        denied && !nix::unistd::geteuid().is_root()
    }
}
