//! Numbers and names with a meaning. Each can be built only from a good value.

use std::fmt;

use crate::limits;

/// A number outside the range of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is not in {min} to {max}")]
pub struct OutOfRange {
    /// The number.
    pub value: i64,
    /// Smallest good one.
    pub min: i64,
    /// Largest good one.
    pub max: i64,
}

/// Builds a newtype over `u32` from a number inside `range`.
macro_rules! bounded {
    ($name:ident, $range:expr) => {
        impl TryFrom<i64> for $name {
            type Error = OutOfRange;

            fn try_from(value: i64) -> Result<Self, OutOfRange> {
                let (min, max) = ($range.start(), $range.end());
                u32::try_from(value)
                    .ok()
                    .filter(|_| $range.contains(&value))
                    .map(Self)
                    .ok_or(OutOfRange {
                        value,
                        min: *min,
                        max: *max,
                    })
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> u32 {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// Share of new connections a destination takes, relative to its siblings.
///
/// Range 0 to 2,147,483,647; 0 means drained: no new connections, existing ones stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

bounded!(Weight, limits::WEIGHT);

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

/// Connections at which a destination gets no new ones, or again some: 0 to 2,147,483,647.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Threshold(u32);

bounded!(Threshold, limits::WEIGHT);

/// A part of the connection table in percent, 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Share(u32);

bounded!(Share, limits::SHARE);

/// The number of a firewall mark, 1 to 4,294,967,295.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MarkNumber(u32);

bounded!(MarkNumber, limits::MARK);

/// An idle timeout in seconds, 1 to 2,678,400 (31 days).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u32);

bounded!(Seconds, limits::TIMEOUT_S);

/// What happens when a client begins anew on the ports of a connection, 0 to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnReuseMode(u32);

bounded!(ConnReuseMode, limits::CONN_REUSE_MODE);

/// How many connections are remembered: a power of two from 1,024 to 16,777,216.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionsMax(u32);

impl ConnectionsMax {
    /// The wish, rounded up to a power of two: the table is indexed by a mask.
    ///
    /// # Errors
    ///
    /// A number outside [`limits::CONNECTIONS`].
    pub fn rounded_up(wish: i64) -> Result<Self, OutOfRange> {
        let wish = Wish::try_from(wish)?;
        Ok(Self(u32::from(wish).next_power_of_two()))
    }
}

impl ConnectionsMax {
    /// As many as a hundredth of the memory has room for, as a power of two; never less than
    /// [`limits::CONNECTIONS_DEFAULT`].
    #[must_use]
    pub fn suiting(memory_bytes: u64) -> Self {
        let room = memory_bytes / limits::MEMORY_SHARE / limits::CONNECTION_BYTES;
        let room = room.min(limits::CONNECTIONS.end().unsigned_abs());
        let power = room.checked_ilog2().map_or(0, |bits| 1 << bits);
        Self(limits::CONNECTIONS_DEFAULT.max(power))
    }
}

impl From<ConnectionsMax> for u32 {
    fn from(value: ConnectionsMax) -> u32 {
        value.0
    }
}

/// A number of connections as written, before rounding.
struct Wish(u32);

bounded!(Wish, limits::CONNECTIONS);

/// The idle timeouts (`ipvsadm --set`). The defaults are IPVS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP.
    pub tcp: Seconds,
    /// TCP after the client's FIN.
    pub tcp_fin: Seconds,
    /// UDP.
    pub udp: Seconds,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: Seconds(900),
            tcp_fin: Seconds(120),
            udp: Seconds(300),
        }
    }
}

impl From<Timeouts> for api::Timeouts {
    fn from(timeouts: Timeouts) -> Self {
        Self {
            tcp: timeouts.tcp.into(),
            tcpfin: timeouts.tcp_fin.into(),
            udp: timeouts.udp.into(),
        }
    }
}

/// Name of a network interface: 1 to 15 bytes, no `/`, `:` or blank, not `.` or `..`.
///
/// Source: `dev_valid_name()` in Linux `net/core/dev.c`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

/// Why a text is not an interface name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInterfaceName {
    /// No character at all.
    #[error("is empty")]
    Empty,
    /// More bytes than the kernel stores.
    #[error("has {bytes} bytes, but the kernel's names have at most 15")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// `/`, `:` or a blank.
    #[error("contains {0:?}, which no interface name can")]
    Character(char),
    /// `.` or `..`.
    #[error("is a directory, not an interface")]
    Dots,
}

impl InterfaceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for InterfaceName {
    type Err = BadInterfaceName;

    fn from_str(name: &str) -> Result<Self, BadInterfaceName> {
        if name.is_empty() {
            return Err(BadInterfaceName::Empty);
        }
        if let Some(bad) = name.chars().find(|&c| is_foreign_to_interface_names(c)) {
            return Err(BadInterfaceName::Character(bad));
        }
        if name == "." || name == ".." {
            return Err(BadInterfaceName::Dots);
        }
        if name.len() > limits::INTERFACE_NAME_BYTES {
            return Err(BadInterfaceName::TooLong { bytes: name.len() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kernel refuses `/`, `:` and white space; control characters it would take, but nobody
/// means them.
fn is_foreign_to_interface_names(c: char) -> bool {
    matches!(c, '/' | ':') || c.is_whitespace() || c.is_control()
}

/// Picks a destination for a new connection. Named as in IPVS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    #[default]
    Wrr,
    /// Least connections.
    Lc,
    /// Least connections for the weight.
    Wlc,
    /// Where connections to this virtual address went before.
    Lblc,
    /// One of where connections to this virtual address went before.
    Lblcr,
    /// By the virtual address.
    Dh,
    /// By the client's address.
    Sh,
    /// Shortest expected delay.
    Sed,
    /// An idle one, else shortest expected delay.
    Nq,
    /// The highest weight.
    Fo,
    /// The highest weight that has room.
    Ovf,
    /// By the client's address, in a Maglev table.
    Mh,
    /// The better of two drawn by weight.
    Twos,
    /// None: nobody gets a new connection.
    None,
}

impl Scheduler {
    /// All of IPVS's.
    pub const ALL: [Self; 15] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Lblc,
        Self::Lblcr,
        Self::Dh,
        Self::Sh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
        Self::Mh,
        Self::Twos,
        Self::None,
    ];

    /// Whether it compares what its destinations have at the moment of choice, so that a new connection
    /// costs more with each of them.
    #[must_use]
    pub fn is_dynamic(self) -> bool {
        !matches!(
            self,
            Self::Rr | Self::Wrr | Self::Dh | Self::Sh | Self::Mh | Self::None
        )
    }

    /// IPVS's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Mh => "mh",
            Self::Twos => "twos",
            Self::None => "none",
        }
    }

    /// The scheduler of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What SIGTERM does to forwarding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnStop {
    /// Packets keep flowing without the daemon.
    #[default]
    Keep,
    /// Program, pins and virtual addresses are taken away.
    Release,
}
