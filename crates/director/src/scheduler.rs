//! Picking a destination for a new connection.
//!
//! A service says by its [`Kind`] how, and where what its scheduler reads begins:
//!
//! ```text
//! rotation   rr wrr                        segments of positions, and a shared count of picks
//! table      dh sh mh                      256 or 4,093 slots, chosen by a hash of an address
//! list       lc wlc sed nq fo ovf twos     destinations, newest first; the best of all is taken
//! locality   lblc lblcr                    a list, and what was chosen for this address before
//! ```
//!
//! What you may rely on: with one CPU, the choices are IPVS's for the same history. With several, a
//! rotation never gives one position twice; two CPUs that look at a list at the same moment may see the same
//! gauges and choose the same destination, and each may let one connection more into a destination that is about to
//! reach its threshold: at most one less than there are CPUs. (IPVS is the same in both.)
//!
//! A destination is *eligible* when frames can reach it, its weight is not 0 and it is not overloaded.
//!
//! Source of the rules: `net/netfilter/ipvs/ip_vs_{rr,wrr,lc,wlc,…}.c`.

use crate::arrival::Arrival;
use crate::tables::{Gauge, Service, Tables, Word};

mod list;
mod locality;
mod rotation;
mod siphash;
mod table;

pub use list::weigh;
pub use rotation::{at, is_renewed, picks_made};
pub use table::{MAGLEV_KEYS, bucket_of, maglev_hash};

/// How a service picks, as a number in [`Service::scheduler`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u32);

impl Kind {
    /// `rr` and `wrr`.
    pub const ROTATION: Self = Self(0);
    /// `dh`: by the virtual address.
    pub const DH: Self = Self(1);
    /// `sh`: by the client's address.
    pub const SH: Self = Self(2);
    /// `mh`: by the client's address, in a Maglev table.
    pub const MH: Self = Self(3);
    /// `lc`: the least connections.
    pub const LC: Self = Self(4);
    /// `wlc`: the least connections for its weight.
    pub const WLC: Self = Self(5);
    /// `sed`: the shortest expected delay.
    pub const SED: Self = Self(6);
    /// `nq`: one without connections, else as `sed`.
    pub const NQ: Self = Self(7);
    /// `fo`: the highest weight.
    pub const FO: Self = Self(8);
    /// `ovf`: the highest weight that has room.
    pub const OVF: Self = Self(9);
    /// `twos`: the better of two drawn by weight.
    pub const TWOS: Self = Self(10);
    /// `lblc`: the one this address had before.
    pub const LBLC: Self = Self(11);
    /// `lblcr`: the best of those this address had before.
    pub const LBLCR: Self = Self(12);
}

/// The destination for a new connection, 0 when none is eligible.
#[inline(always)]
pub fn choose(service: &Service, arrival: &Arrival, tables: &impl Tables) -> u32 {
    let kind = Kind(service.scheduler);
    if kind == Kind::ROTATION {
        rotation::pick(service, tables)
    } else if kind.0 <= Kind::MH.0 {
        table::pick(service, kind, arrival, tables)
    } else if kind == Kind::TWOS {
        list::pick_of_two(service, tables)
    } else if kind.0 < Kind::LBLC.0 {
        list::pick(service, kind, tables)
    } else {
        locality::pick(service, kind, arrival, tables)
    }
}

/// A destination that may be chosen.
#[derive(Clone, Copy)]
struct Candidate {
    /// Not 0.
    weight: u64,
    active: u64,
    inactive: u64,
}

impl Candidate {
    /// Destination `id`, if it is eligible.
    #[inline(always)]
    fn eligible(tables: &impl Tables, id: u32) -> Option<Self> {
        let link = tables.link(id);
        let standing = tables.standing(id)?;
        let weight = crate::tables::Weight(standing.weight.load());
        let is_reachable = link.is_via() || link.is_local();
        if id == 0 || !is_reachable || weight.is_overloaded() || weight.get() == 0 {
            return None;
        }
        let (active, inactive) = Gauge::split(tables.gauge(id)?.load());
        Some(Self {
            weight: weight.get().into(),
            active: active.into(),
            inactive: inactive.into(),
        })
    }

    /// IPVS's measure of load: an active connection counts for 257 inactive ones.
    #[inline(always)]
    fn overhead(self) -> u64 {
        self.active * 257 + self.inactive
    }
}

/// Whether a destination can take a connection now.
#[inline(always)]
fn is_eligible(tables: &impl Tables, id: u32) -> bool {
    let link = tables.link(id);
    let is_reachable = link.is_via() || link.is_local();
    id != 0
        && is_reachable
        && tables.standing(id).is_some_and(|standing| {
            let weight = crate::tables::Weight(standing.weight.load());
            !weight.is_overloaded() && weight.get() != 0
        })
}
