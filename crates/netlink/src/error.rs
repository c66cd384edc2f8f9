//! Why the kernel did not do what was asked.

use std::io;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the request.
    #[error("{attempt}: {source}{}", explanation(.extended))]
    Refused {
        /// What was attempted, with the objects named.
        attempt: String,
        /// The kernel's errno.
        source: io::Error,
        /// The kernel's extended acknowledgement, in its own words.
        extended: Option<String>,
    },
    /// A system call on the way failed.
    #[error("{attempt}: {source}")]
    System {
        /// What was attempted.
        attempt: String,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel's answer cannot be read.
    #[error("{attempt}: the kernel's answer cannot be read: {detail}")]
    Unreadable {
        /// What was attempted.
        attempt: String,
        /// Which part.
        detail: String,
    },
    /// The table changed during every attempt to read it.
    #[error("{attempt}: the table changed during each of {tries} readings; try again")]
    Restless {
        /// What was attempted.
        attempt: String,
        /// How often.
        tries: u32,
    },
    /// No such interface.
    #[error(
        "there is no interface {name} in this network namespace; `ip link` lists those there are"
    )]
    NoSuchLink {
        /// Its name, or `#7` for an index.
        name: String,
    },
}

fn explanation(extended: &Option<String>) -> String {
    match extended {
        Some(text) => format!(" (kernel: {text})"),
        None => String::new(),
    }
}

impl Error {
    pub(crate) fn system(attempt: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            attempt: attempt.into(),
            source: source.into(),
        }
    }

    /// The errno behind this error.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::System { source, .. } => source.raw_os_error(),
            Self::NoSuchLink { .. } => Some(libc::ENODEV),
            Self::Unreadable { .. } | Self::Restless { .. } => None,
        }
    }

    /// What was to be made is there already.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// What was to be changed or removed is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::ENXIO | libc::EADDRNOTAVAIL)
        )
    }

    /// The caller may not do this.
    #[must_use]
    pub fn is_not_permitted(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES))
    }
}
