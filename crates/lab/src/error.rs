//! Why a lab could not be built or an experiment not be carried out.

use std::path::PathBuf;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something on the way.
    #[error("{doing}: {source}")]
    Netlink {
        /// What was being done.
        doing: String,
        /// The kernel's refusal.
        source: netlink::Error,
    },
    /// A file, socket or process failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel lacks what the lab is made of.
    #[error("this kernel cannot make a {feature}: {source}. The lab needs {option}")]
    Missing {
        /// For people: `veth pair`.
        feature: &'static str,
        /// The kernel's build option.
        option: &'static str,
        /// The kernel's refusal.
        source: netlink::Error,
    },
    /// No XDP on veth.
    #[error(
        "this kernel does not attach XDP programs to veth (Linux 4.19 and later with \
         CONFIG_BPF_SYSCALL and CONFIG_VETH do):\n{}", said.trim()
    )]
    NoXdp {
        /// What was said.
        said: String,
    },
    /// A sysctl cannot be written.
    #[error(
        "writing {value} to {}: {source}. The lab sets sysctls in namespaces of its own; \
         in a container /proc/sys must be writable", path.display()
    )]
    Sysctl {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A command ended badly.
    #[error("`{command}` {how}{}", quoted(.said))]
    Command {
        /// The words.
        command: String,
        /// `ended with exit status: 1`, `did not end within 30 s`.
        how: String,
        /// Its standard error.
        said: String,
    },
    /// Something did not happen in time.
    #[error("waited {seconds} s for {what}{}", quoted(.said))]
    Timeout {
        /// What was awaited.
        what: String,
        /// How long.
        seconds: u64,
        /// What is known: the end of a log, the last error.
        said: String,
    },
    /// Ctrl-C or a termination signal.
    #[error("interrupted")]
    Interrupted,
    /// A name that cannot be a lab's.
    #[error(
        "{found:?} cannot name a lab: use up to {} of the characters a-z, 0-9 and -",
        crate::limits::NAME_MAX
    )]
    Name {
        /// The name.
        found: String,
    },
    /// The name is in use.
    #[error(
        "a lab named {name} stands already: `dirigo lab down --name {name}` removes it, \
         `--name OTHER` builds another beside it"
    )]
    Exists {
        /// The name.
        name: String,
    },
    /// No lab of this name.
    #[error(
        "there is no lab {name}{}: `dirigo lab up` builds one",
        others(.standing)
    )]
    NoLab {
        /// The name asked for.
        name: String,
        /// Those there are.
        standing: Vec<String>,
    },
    /// None was named, and there is not exactly one.
    #[error(
        "no lab is named{}: say --name NAME, or build one with `dirigo lab up`",
        others(.standing)
    )]
    WhichLab {
        /// Those there are.
        standing: Vec<String>,
    },
    /// Not one of the hosts.
    #[error("there is no host {found:?}: the lab has client, director, rs1, rs2 and switch")]
    NoHost {
        /// The word.
        found: String,
    },
    /// A web server's answer cannot be read.
    #[error("the answer of {from} cannot be read: {detail}")]
    Answer {
        /// The address asked.
        from: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A capture file cannot be written.
    #[error("writing {}: {detail}", path.display())]
    Pcap {
        /// The file.
        path: PathBuf,
        /// What was said.
        detail: String,
    },
}

fn quoted(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!(":\n{said}"),
    }
}

fn others(standing: &[String]) -> String {
    match standing {
        [] => " (none stands)".to_owned(),
        names => format!(" (there is {})", names.join(", ")),
    }
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io {
            doing: doing.into(),
            source: source.into(),
        }
    }

    pub(crate) fn netlink(doing: impl Into<String>) -> impl FnOnce(netlink::Error) -> Self {
        let doing = doing.into();
        |source| Self::Netlink { doing, source }
    }

    /// What was asked for cannot be: other words are needed, no other machine.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Name { .. } | Self::WhichLab { .. } | Self::NoHost { .. }
        )
    }

    /// The caller may not do this: it takes root.
    #[must_use]
    pub fn is_not_permitted(&self) -> bool {
        match self {
            Self::Netlink { source, .. } | Self::Missing { source, .. } => {
                source.is_not_permitted()
            }
            Self::Io { source, .. } | Self::Sysctl { source, .. } => {
                source.kind() == std::io::ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }
}
