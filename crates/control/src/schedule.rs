//! What the data plane is given to choose by, for each of IPVS's schedulers.
//!
//! ```text
//! rr wrr        Rotation   segments of positions, and the position of the next pick
//! dh sh mh      Table      slots, one of which an address hashes to
//! the others    List       the destinations, newest first; all are looked at
//! none          Rotation   an empty one: nobody is chosen
//! ```
//!
//! In a rotation is who can be chosen now; tables and lists hold everybody, and the data plane looks at
//! weight, overload and reachability at the moment of choice. So what changes when (`depends_on`):
//! a rotation with every weight and link, the tables of `sh` and `mh` with every weight, the rest only with the
//! list.

use std::fmt;

use config::Scheduler;
use serde::{Deserialize, Serialize};

use crate::hashing;
use crate::rotation::{Candidate, Place, Rotation};

/// What to choose by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "schedule", rename_all = "kebab-case")]
pub enum Schedule {
    /// In turn.
    Rotation(Rotation),
    /// By the hash of an address.
    Table {
        /// Of which.
        hash: Hash,
        /// Destination ids; 0 is nobody.
        slots: Vec<u32>,
        /// Whether the client's port is hashed as well.
        with_port: bool,
        /// Whether others are asked when the one in the slot cannot be chosen.
        fallback: bool,
    },
    /// By what the destinations have at the moment.
    List {
        /// How.
        scheduler: Dynamic,
        /// Destination ids in list order: newest first.
        destinations: Vec<u32>,
    },
}

/// What a table is indexed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hash {
    /// `sh`: the client's address.
    Source,
    /// `dh`: the virtual address.
    Destination,
    /// `mh`: the client's address, by SipHash.
    Maglev,
}

/// A scheduler that looks at all destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are IPVS's")]
pub enum Dynamic {
    Lc,
    Wlc,
    Sed,
    Nq,
    Fo,
    Ovf,
    Lblc,
    Lblcr,
    Twos,
}

/// What may change in a service without its list changing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A destination's weight or thresholds.
    Weight,
    /// Whether a destination can be reached.
    Link,
}

/// Whether the schedule of a scheduler must be made anew for `cause`.
pub(crate) fn depends_on(scheduler: Scheduler, cause: Cause) -> bool {
    match scheduler {
        Scheduler::Rr | Scheduler::Wrr => true,
        Scheduler::Sh | Scheduler::Mh => cause == Cause::Weight,
        _ => false,
    }
}

impl Schedule {
    /// Of a scheduler with its place and flags, for the destinations in list order.
    pub(crate) fn of(settings: &api::ServiceSettings, place: &Place, list: &[Candidate]) -> Self {
        let scheduler = Scheduler::named(&settings.scheduler).unwrap_or(Scheduler::None);
        let table = |hash, slots| Self::Table {
            hash,
            slots,
            with_port: hash != Hash::Destination && settings.flags.is_port(),
            fallback: hash != Hash::Destination && settings.flags.is_fallback(),
        };
        match (scheduler, dynamic(scheduler)) {
            (_, Some(scheduler)) => Self::List {
                scheduler,
                destinations: list.iter().map(|one| one.id).collect(),
            },
            (Scheduler::Dh, _) => table(Hash::Destination, hashing::destination_table(list)),
            (Scheduler::Sh, _) => table(Hash::Source, hashing::source_table(list)),
            (Scheduler::Mh, _) => table(Hash::Maglev, hashing::maglev_table(list)),
            _ => Self::Rotation(place.rotation(list)),
        }
    }

    /// The same table, asked for another slot when the one in a slot cannot be chosen. `dh` has no such way.
    pub(crate) fn falling_back(mut self) -> Self {
        if let Self::Table { hash, fallback, .. } = &mut self {
            *fallback = *hash != Hash::Destination;
        }
        self
    }

    /// The rotation, if it is one.
    #[must_use]
    pub fn rotation(&self) -> Option<&Rotation> {
        match self {
            Self::Rotation(rotation) => Some(rotation),
            _ => None,
        }
    }
}

fn dynamic(scheduler: Scheduler) -> Option<Dynamic> {
    match scheduler {
        Scheduler::Lc => Some(Dynamic::Lc),
        Scheduler::Wlc => Some(Dynamic::Wlc),
        Scheduler::Lblc => Some(Dynamic::Lblc),
        Scheduler::Lblcr => Some(Dynamic::Lblcr),
        Scheduler::Sed => Some(Dynamic::Sed),
        Scheduler::Nq => Some(Dynamic::Nq),
        Scheduler::Fo => Some(Dynamic::Fo),
        Scheduler::Ovf => Some(Dynamic::Ovf),
        Scheduler::Twos => Some(Dynamic::Twos),
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Dh
        | Scheduler::Sh
        | Scheduler::Mh
        | Scheduler::None => None,
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotation(rotation) => rotation.fmt(f),
            Self::Table {
                hash,
                slots,
                with_port,
                fallback,
            } => {
                write!(f, "{} slots by {hash:?}", slots.len())?;
                f.write_str(if *with_port { ", with port" } else { "" })?;
                f.write_str(if *fallback { ", with fallback" } else { "" })
            }
            Self::List {
                scheduler,
                destinations,
            } => write!(f, "{scheduler:?} of {destinations:?}"),
        }
    }
}
