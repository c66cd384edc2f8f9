//! What an attempt found.

use std::net::IpAddr;
use std::time::Duration;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The real server did what was asked.
    Passed {
        /// How long it took.
        took: Duration,
        /// The share of its weight that it asks for itself (agent).
        share: Option<Share>,
    },
    /// It did not.
    Failed(Reason),
}

impl Outcome {
    /// Whether it says anything of the real server: nothing if this machine could not ask.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        !matches!(self, Self::Failed(Reason::Local(_)))
    }

    /// Whether the real server did what was asked.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Passed { .. })
    }
}

/// The weight that a real server gives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// This weight.
    Weight(u32),
    /// So many hundredths of the configured weight, at most 100.
    Percent(u8),
}

impl Share {
    /// The weight it makes of the configured one. Zero only if it asked for zero.
    #[must_use]
    pub fn of(self, configured: u32) -> u32 {
        match self {
            Self::Weight(weight) => weight,
            Self::Percent(0) => 0,
            Self::Percent(percent) => {
                let share = u64::from(configured) * u64::from(percent.min(100)) / 100;
                u32::try_from(share)
                    .unwrap_or(u32::MAX)
                    .max(configured.min(1))
            }
        }
    }
}

/// Why an attempt failed, for people: what was found, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing came in time.
    #[error("no answer within {} ms while {stage}", .after.as_millis())]
    Timeout {
        /// What was going on.
        stage: &'static str,
        /// The check's timeout.
        after: Duration,
    },
    /// A reset, or "port unreachable".
    #[error("refused: nothing listens on port {port}")]
    Refused {
        /// The port asked for.
        port: u16,
    },
    /// The connection broke.
    #[error("connection closed by the real server while {stage}")]
    Closed {
        /// What was going on.
        stage: &'static str,
    },
    /// The packet was not for the real server, which tried to send it on.
    #[error(
        "{vip} is not an address of the real server: it tried to forward the packet; run `dirigo \
         realserver check` there"
    )]
    Forwarded {
        /// The virtual address.
        vip: IpAddr,
    },
    /// It answers ARP for the virtual address.
    #[error(
        "answers {} for {vip}, so clients may bypass the director: set arp_ignore; `dirigo \
         realserver check` there says where", question(.vip)
    )]
    Answers {
        /// The virtual address.
        vip: IpAddr,
    },
    /// It asks in the virtual address's name.
    #[error(
        "announces {vip} by {} of its own, so clients may bypass the director: set arp_announce; \
         `dirigo realserver check` there says where", question(.vip)
    )]
    Announces {
        /// The virtual address.
        vip: IpAddr,
    },
    /// Its MAC is not known.
    #[error("not checked: {0}")]
    NoWay(String),
    /// This machine could not ask.
    #[error("cannot check: {0}")]
    Local(String),
    /// The kernel says so.
    #[error("{stage}: {what}")]
    System {
        /// What was going on.
        stage: &'static str,
        /// The system's words.
        what: String,
    },
    /// A status that is not among those wanted.
    #[error("HTTP status {found}, expected {wanted}")]
    Status {
        /// What came.
        found: u16,
        /// What was expected.
        wanted: String,
    },
    /// The body has not what it should have.
    #[error("the body ({bytes} bytes) does not match /{pattern}/")]
    Body {
        /// What was expected in it.
        pattern: String,
        /// Its length.
        bytes: usize,
    },
    /// The body's MD5 differs.
    #[error("the body's digest is {found}, expected {wanted}")]
    Digest {
        /// In hexadecimal.
        found: String,
        /// In hexadecimal.
        wanted: String,
    },
    /// TLS could not be agreed on, or the certificate is not good.
    #[error("TLS: {0}")]
    Tls(String),
    /// The certificate ends too soon.
    #[error("TLS: the certificate expires within {days} days")]
    ExpiresSoon {
        /// How many days it must last.
        days: u32,
    },
    /// An answer that is none in its protocol, or says no.
    #[error("{protocol}: {found}, expected {wanted}")]
    Answer {
        /// Which protocol.
        protocol: &'static str,
        /// What came.
        found: String,
        /// What was expected.
        wanted: String,
    },
    /// A script ended otherwise than with 0.
    #[error("script: {how}{}", said(.output))]
    Script {
        /// Exit code or signal.
        how: String,
        /// The beginning of what it wrote.
        output: String,
    },
    /// The check to the virtual address fails, the one to the server's own address does not.
    #[error(
        "{reason}; it answers on {own}, but not on {vip}: is {vip} missing on its lo? Run `dirigo \
         realserver check --vip {vip}` there"
    )]
    OnlyOwnAddress {
        /// Why the check to the virtual address failed.
        reason: Box<Reason>,
        /// The real server's address.
        own: IpAddr,
        /// The virtual address.
        vip: IpAddr,
    },
}

fn question(vip: &IpAddr) -> &'static str {
    if vip.is_ipv4() {
        "ARP"
    } else {
        "neighbour solicitations"
    }
}

fn said(output: &str) -> String {
    if output.is_empty() {
        String::new()
    } else {
        format!(": {output}")
    }
}

impl Reason {
    /// Whether this says more of the same failure.
    #[must_use]
    pub fn explains(&self, other: &Self) -> bool {
        matches!(self, Self::OnlyOwnAddress { reason, .. } if **reason == *other)
    }
}

#[cfg(feature = "run")]
impl Reason {
    /// What a failed system call means.
    pub(crate) fn of(error: &std::io::Error, stage: &'static str, port: u16) -> Self {
        use std::io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected,
            UnexpectedEof,
        };
        match error.kind() {
            ConnectionRefused => Self::Refused { port },
            ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof | NotConnected => {
                Self::Closed { stage }
            }
            _ => Self::System {
                stage,
                what: error.to_string(),
            },
        }
    }
}
