//! Everything that can go wrong, with ipvsadm's sentence and exit code for each.
//!
//! Scripts compare these texts, so they are the original's, to the letter; only what the original
//! cannot meet (no daemon, not supported yet) speaks for itself.

use api::{ClientError, Refusal, RefusalCode};

use super::grammar::{Command, Name};
use super::words::Problem;

/// Bad use of options: exit code 2, and the end of a restore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentences say what each is")]
pub enum Misuse {
    #[error("You need to supply the '{option}' option for the '{command}' command")]
    Needed { option: Name, command: Command },
    #[error("Illegal '{option}' option with the '{command}' command")]
    Illegal { option: Name, command: Command },
    #[error(
        "The option '{later}' conflicts with the '{earlier}' option in the '{command}' command"
    )]
    Conflict {
        later: Name,
        earlier: Name,
        command: Command,
    },
    #[error("multiple '{0}' options specified")]
    Repeated(Name),
    #[error("options conflicts in the list command")]
    ListConflict,
    #[error("invalid option `{0}'")]
    SecondCommand(String),
    #[error("unexpected argument {0}")]
    LeftOver(String),
    #[error("illegal virtual server address[:port] specified")]
    ServiceAddress,
    #[error("illegal real server address[:port] specified")]
    ServerAddress,
    #[error("invalid fwmark value `{0}' specified")]
    Mark(String),
    #[error("-6 must follow -f\n")]
    Ipv6WithoutMark,
    #[error("invalid timeout value `{0}' specified")]
    Timeout(String),
    #[error("illegal virtual server persistent mask specified")]
    Netmask,
    #[error("illegal ipv6 netmask specified")]
    Netmask6,
    /// Name as the sentence has it; not every option's is its own.
    #[error("illegal {0} specified")]
    IllegalValue(&'static str),
    #[error("invalid IPv4 mcast-group `{0}'")]
    McastGroup(String),
    #[error("invalid IPv6 mcast-group `{0}'")]
    McastGroup6(String),
    #[error("--set option requires 3 timeout values")]
    SetValues,
    #[error("Zero port specified for non-persistent service")]
    ZeroPort,
    #[error("One-Packet Scheduling is only for UDP virtual services")]
    OpsNotUdp,
    #[error("incompatible scheduler flag `{0}'")]
    ForeignFlag(String),
    #[error("invalid scheduler flag `{0}'")]
    UnknownFlag(String),
    #[error("Different address family is allowed only for tunneling servers")]
    MixedFamilies,
    #[error("Tunnel options conflict with forward method")]
    TunnelOptions,
    #[error("illegal tunnel type specified")]
    TunnelType,
    #[error("You need to supply the '{option}' option for the '{tunnel}' tunnel type")]
    TunnelNeeded { option: Name, tunnel: &'static str },
    #[error("Illegal '{option}' option with the '{tunnel}' tunnel type")]
    TunnelIllegal { option: Name, tunnel: &'static str },
    #[error(
        "The option '{later}' conflicts with the '{earlier}' option in the '{tunnel}' tunnel type"
    )]
    TunnelConflict {
        later: Name,
        earlier: Name,
        tunnel: &'static str,
    },
}

/// Why an invocation did not do what it says.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No command, or none that exists.
    #[error("Try `{program} -h' or '{program} --help' for more information.")]
    NoCommand {
        /// As it was called.
        program: String,
    },
    /// A word after the command cannot be read.
    #[error("{word}: {problem}")]
    Word {
        /// The whole word.
        word: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Bad use of options.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// The table does not have, or will not take, what was named.
    #[error("{0}")]
    Refused(String),
    /// A listing of a service that does not exist.
    #[error("No such service")]
    NothingToList,
    /// ipvsadm can, Dirigo cannot yet.
    #[error("{what} not supported by Dirigo yet")]
    Unsupported {
        /// Subject and verb.
        what: &'static str,
    },
    /// No file of `/proc/net` that we have.
    #[error("{found:?} is no file that dirigo ipvsadm proc shows: there are {files}")]
    ProcFile {
        /// As it was asked for.
        found: String,
        /// Those there are.
        files: &'static str,
    },
    /// Nobody could be asked.
    #[error("Can't initialize ipvs: {0}")]
    NotReady(String),
    /// The answer cannot be read.
    #[error("{0}")]
    Daemon(String),
    /// The output has nowhere to go.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// The input cannot be read.
    #[error("cannot read standard input: {0}")]
    Input(#[source] std::io::Error),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::NothingToList | Self::Output(_) => 1,
            Self::Misuse(_) | Self::NotReady(_) | Self::Input(_) | Self::ProcFile { .. } => 2,
            _ => 255,
        }
    }

    /// Whether the reader of our output has gone.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// Whether the lines after this one are left alone in a restore.
    #[must_use]
    pub fn ends_restore(&self) -> bool {
        !matches!(
            self,
            Self::Word { .. } | Self::Refused(_) | Self::Unsupported { .. } | Self::Daemon(_)
        )
    }
}

/// What was being done when the daemon said no: one errno has several sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// A service: `-A -E -D -Z`.
    Service,
    /// A destination: `-a -e -d`.
    Destination,
    /// Anything else.
    Other,
}

/// The sentence for what the client met.
#[must_use]
pub fn from_client(error: ClientError, doing: Doing) -> Failure {
    match error {
        ClientError::Unreachable { path, source } => Failure::NotReady(format!(
            "no daemon answers on {} ({source})\n\
             Is the director running? Start it with: dirigo run -c /etc/dirigo/dirigo.toml",
            path.display()
        )),
        ClientError::NotPermitted { .. } => not_permitted(),
        ClientError::Refused(refusal) => refused(refusal, doing),
        error => Failure::Daemon(error.to_string()),
    }
}

/// The sentence for what the daemon would not do.
#[must_use]
pub fn refused(refusal: Refusal, doing: Doing) -> Failure {
    match refusal.code {
        RefusalCode::NotPermitted => not_permitted(),
        code => Failure::Refused(match sentence(code, doing) {
            Some(sentence) => sentence.to_owned(),
            None => refusal.message,
        }),
    }
}

/// Both lines are the original's: who asks without the right meets them on its first call.
fn not_permitted() -> Failure {
    Failure::NotReady(
        "Permission denied (you must be root)\n\
         Are you sure that IP Virtual Server is built in the kernel or as module?"
            .to_owned(),
    )
}

fn sentence(code: RefusalCode, doing: Doing) -> Option<&'static str> {
    Some(match code {
        RefusalCode::ServiceExists => "Service already exists",
        RefusalCode::NoSuchService if doing == Doing::Destination => "Service not defined",
        RefusalCode::NoSuchService => "No such service",
        RefusalCode::DestinationExists => "Destination already exists",
        RefusalCode::NoSuchDestination => "No such destination",
        RefusalCode::NoSuchScheduler => "Scheduler or persistence engine not found",
        RefusalCode::OutOfRange => "Numerical result out of range",
        RefusalCode::BadAddress => {
            "Invalid operation.  Possibly wrong module version, address not unicast, ..."
        }
        _ => return None,
    })
}
