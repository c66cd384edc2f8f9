//! A blocking client for the daemon's socket.

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers on {}: {source}. Start one with: dirigo run -c FILE", path.display())]
    Unreachable {
        /// The socket.
        path: std::path::PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The daemon answered with a refusal.
    #[error(transparent)]
    Refused(#[from] crate::Refusal),
    /// The answer was not what the protocol promises.
    #[error("the daemon's answer cannot be read: {0}")]
    Protocol(String),
}

/// One connection to one daemon; each call is one request.
#[derive(Debug)]
pub struct Client {
    path: std::path::PathBuf,
}

impl Client {
    /// A client for the daemon of `instance`.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self {
            path: crate::socket_path(instance),
        }
    }

    /// Where this client looks for the daemon.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}
