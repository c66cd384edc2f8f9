//! Whose slot a newcomer may take: a free one, else what costs least to lose.
//!
//! ```text
//! free < expired < half-open < closing < UDP < established          among equals the oldest
//! ```
//!
//! Established TCP connections are never lost, and a UDP flow only to another. A service that has its share of the
//! table takes from its own.

use super::{CLAIMED, Entry, FREE, Slot, bucket_indices};
use crate::state::State;
use crate::tables::{Settings, Tables, Word};
use crate::verdict::Counter;

/// What a newcomer may push out: a half-open connection must not cost anybody a UDP session.
#[inline(always)]
pub(super) fn dearest_victim(newcomer: State) -> Worth {
    if newcomer == State::UDP {
        WORTH_UDP
    } else {
        WORTH_CLOSING
    }
}

/// How much it would cost to lose what is in a slot. Established TCP connections are never lost.
pub(super) type Worth = u32;
pub(super) const WORTH_FREE: Worth = 0;
const WORTH_EXPIRED: Worth = 1;
const WORTH_HALF_OPEN: Worth = 2;
const WORTH_CLOSING: Worth = 3;
const WORTH_UDP: Worth = 4;
const WORTH_ESTABLISHED: Worth = 5;

/// Worth of each state up to the templates, and of each state of SCTP: one hexadecimal digit for each, NONE
/// lowest.
const WORTH_OF_STATES: u64 = 0x53_4233_3333_2253;
const WORTH_OF_SCTP: u64 = 0x33_3335_2222_2223;

/// A slot that might be taken, as a number: the least is the best.
///
/// ```text
///  63    35 34        3  2          1  0
/// +--------+-----------+-----------+------+
/// |  worth | 2^32 - age| alternate | slot |
/// +--------+-----------+-----------+------+
/// ```
///
/// One number, because the verifier follows each combination of several.
#[derive(Clone, Copy)]
pub(super) struct Victim(u64);

impl Victim {
    const NONE: Self = Self((WORTH_ESTABLISHED as u64 + 1) << 35);

    #[inline(always)]
    fn new(worth: Worth, age: u32, place: u64) -> Self {
        Self(u64::from(worth) << 35 | u64::from(!age) << 3 | place)
    }

    #[inline(always)]
    pub(super) fn worth(self) -> Worth {
        (self.0 >> 35) as u32
    }

    #[inline(always)]
    pub(super) fn is_in_alternate(self) -> bool {
        self.0 & 4 != 0
    }

    #[inline(always)]
    pub(super) fn slot(self) -> u32 {
        self.0 as u32 & 3
    }
}

/// The slot that costs least: of the first bucket when it has a free one, else the least worth of both,
/// and among equals the oldest. A crowd finds only its own.
#[inline(always)]
pub(super) fn choose<T: Tables>(
    tables: &T,
    settings: &Settings,
    hash: u64,
    newcomer: Entry,
    is_crowd: bool,
) -> Victim {
    let (primary, alternate) = bucket_indices(hash, settings.bucket_mask);
    if !is_crowd && let Some(free) = free_in(tables, primary) {
        return free;
    }
    let best = cheapest_in(
        tables,
        settings,
        (primary, 0),
        (hash, newcomer, is_crowd),
        Victim::NONE,
    );
    cheapest_in(
        tables,
        settings,
        (alternate, 4),
        (hash, newcomer, is_crowd),
        best,
    )
}

/// A free slot of a first bucket, which nearly all newcomers find.
#[inline(always)]
fn free_in<T: Tables>(tables: &T, bucket: u32) -> Option<Victim> {
    let [a, b, c, d] = &tables.bucket(bucket)?.slots;
    // Written out, as in `find_in`.
    let place = if a.tag.load() == FREE {
        0
    } else if b.tag.load() == FREE {
        1
    } else if c.tag.load() == FREE {
        2
    } else if d.tag.load() == FREE {
        3
    } else {
        return None;
    };
    Some(Victim::new(WORTH_FREE, 0, place))
}

#[inline(always)]
fn cheapest_in<T: Tables>(
    tables: &T,
    settings: &Settings,
    (index, place): (u32, u64),
    (hash, newcomer, is_crowd): (u64, Entry, bool),
    mut best: Victim,
) -> Victim {
    let Some(bucket) = tables.bucket(index) else {
        return best;
    };
    for (number, slot) in bucket.slots.iter().enumerate() {
        let place = place | number as u64;
        let victim = appraise(settings, slot, place, newcomer, is_crowd);
        if victim.0 < best.0 {
            best = victim;
        }
        best = Victim(tables.blur(best.0, hash));
    }
    best
}

#[inline(always)]
fn appraise<W: Word>(
    settings: &Settings,
    slot: &Slot<W>,
    place: u64,
    newcomer: Entry,
    is_crowd: bool,
) -> Victim {
    let tag = slot.tag.load();
    if tag == FREE {
        return if is_crowd {
            Victim::NONE
        } else {
            Victim::new(WORTH_FREE, 0, place)
        };
    }
    let entry = Entry(slot.entry.load());
    let is_foreign = is_crowd && entry.service_bits() != newcomer.service_bits();
    if tag == CLAIMED || entry.destination() == 0 || is_foreign {
        return Victim::NONE;
    }
    let tick = newcomer.tick();
    let worth = worth_of(settings, entry, tick);
    Victim::new(worth, entry.age(tick), place)
}

#[inline(always)]
pub(super) fn worth_of(settings: &Settings, entry: Entry, tick: u32) -> Worth {
    if entry.is_expired(settings, tick) {
        WORTH_EXPIRED
    } else {
        entry.state().worth()
    }
}

impl State {
    /// What it would cost to lose a connection in this state.
    #[inline(always)]
    fn worth(self) -> Worth {
        let (digits, number) = if self.0 >= Self::SCTP_NONE.0 {
            (WORTH_OF_SCTP, self.0 - Self::SCTP_NONE.0)
        } else {
            (WORTH_OF_STATES, self.0)
        };
        (digits >> ((u32::from(number) * 4) & 63)) as Worth & 0xf
    }
}

#[inline(always)]
pub(super) fn count_eviction<T: Tables>(tables: &T, worth: Worth) {
    match worth {
        WORTH_EXPIRED => tables.count_event(Counter::EvictedExpired),
        WORTH_HALF_OPEN => tables.count_event(Counter::EvictedHalfOpen),
        WORTH_CLOSING => tables.count_event(Counter::EvictedClosing),
        WORTH_UDP => tables.count_event(Counter::EvictedUdp),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn established_connections_are_worth_most_and_half_open_ones_least() {
        for (number, (name, _, is_active)) in State::ALL.iter().enumerate() {
            let worth = State(number as u8).worth();
            let want = match *name {
                "ESTABLISHED" | "ASSURED" => WORTH_ESTABLISHED,
                "UDP" => WORTH_UDP,
                "INIT1" | "INIT" | "C-SENT" | "C-REPLIED" | "C-WAIT" | "COOKIE" | "C-ECHOED" => {
                    WORTH_HALF_OPEN
                }
                _ if *is_active => WORTH_HALF_OPEN,
                _ => WORTH_CLOSING,
            };
            assert_eq!(worth, want, "{name}");
        }
    }
}
