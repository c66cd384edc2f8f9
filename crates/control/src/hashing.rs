//! The tables of `dh`, `sh` and `mh`: who has which slot. The data plane hashes an address to a slot.
//!
//! ```text
//! list A B C             dh   A B C A B C A B …                 256 slots, weights do not count
//! weights 2 1 0          sh   A A B C A A B C …                 256 slots, 0 counts as 1
//!                        mh   each goes through the slots in an order of its own, and in its turn
//!                             takes the next free ones: 2 for A, 1 for B, none for C; 4,093 slots
//! ```
//!
//! A table holds everybody whom IPVS puts into it, also those who get no new connection now: the data
//! plane looks at weight, overload and reachability at the moment of choice, as IPVS does.
//!
//! Source: `ipvs.md` 2.2 (Linux `net/netfilter/ipvs/ip_vs_dh.c`, `ip_vs_sh.c`, `ip_vs_mh.c`).

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use crate::rotation::Candidate;

/// Slots of `dh` and `sh`: IPVS's build option of the same value in every distribution.
pub const BUCKETS: usize = 256;

/// Slots of `mh`: the prime of IPVS's default build option.
pub const MAGLEV_SLOTS: u32 = 4093;

/// Words that make the keys of `mh`: of the first slot and of the step, the same on all directors.
const MAGLEV_KEYS: [u64; 2] = [2_654_435_761, 2_654_446_892];

/// Bits of a share of turns that `mh` keeps: half of the build option of 12 by which IPVS chooses its prime.
const TURN_BITS: u32 = 6;

/// `dh`: in list order, round and round.
#[must_use]
pub fn destination_table(list: &[Candidate]) -> Vec<u32> {
    let ids = list.iter().map(|one| one.id);
    filled(ids.cycle().take(BUCKETS), BUCKETS)
}

/// `sh`: in list order, each as many slots in a row as its weight, round and round.
#[must_use]
pub fn source_table(list: &[Candidate]) -> Vec<u32> {
    let runs = list.iter().cycle().flat_map(|one| {
        let run = (one.weight.max(1) as usize).min(BUCKETS);
        std::iter::repeat_n(one.id, run)
    });
    filled(runs.take(BUCKETS), BUCKETS)
}

/// `mh`: a destination that was never given a weight has no slot; without any the table is empty.
#[must_use]
pub fn maglev_table(list: &[Candidate]) -> Vec<u32> {
    let mut table = vec![0; MAGLEV_SLOTS as usize];
    let mut walks = walks(list);
    let mut free = if walks.is_empty() { 0 } else { MAGLEV_SLOTS };
    while free > 0 {
        for walk in &mut walks {
            for _ in 0..walk.turns.min(free) {
                let slot = walk.next_free(&table);
                table[slot] = walk.id;
                free -= 1;
            }
        }
    }
    table
}

/// A destination's way through the slots of `mh`.
struct Walk {
    id: u32,
    /// Slots it takes in its turn.
    turns: u32,
    at: u32,
    step: u32,
}

impl Walk {
    fn next_free(&mut self, table: &[u32]) -> usize {
        while table[self.at as usize] != 0 {
            self.at = (self.at + self.step) % MAGLEV_SLOTS;
        }
        self.at as usize
    }
}

/// Of those with a share, in list order.
fn walks(list: &[Candidate]) -> Vec<Walk> {
    let divisor = list
        .iter()
        .fold(0, |sum, one| divisor(sum, one.last_weight));
    let highest = list.iter().map(|one| one.last_weight).max().unwrap_or(0);
    let Some(highest_share) = highest.checked_div(divisor) else {
        return Vec::new();
    };
    let bits = u32::BITS - highest_share.leading_zeros();
    let shift = bits.saturating_sub(TURN_BITS);
    let sharing = list.iter().filter(|one| one.last_weight > 0);
    sharing
        .map(|one| {
            let (at, step) = permutation(one.address);
            Walk {
                id: one.id,
                turns: ((one.last_weight / divisor) >> shift).max(1),
                at,
                step,
            }
        })
        .collect()
}

/// Where a destination begins, and how far it steps.
fn permutation(address: SocketAddr) -> (u32, u32) {
    let value = folded(address.ip()).wrapping_add(address.port().into());
    let [first, second] = MAGLEV_KEYS.map(|key| maglev_hash(value, key));
    (first % MAGLEV_SLOTS, second % (MAGLEV_SLOTS - 1) + 1)
}

/// SipHash-1-3 of four bytes, least significant first, under a key of one word twice; its low half.
fn maglev_hash(value: u32, key: u64) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(key, key);
    hasher.write(&value.to_le_bytes());
    hasher.finish() as u32
}

/// An address as one number: IPv6 is its four words, XORed.
fn folded(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            (bits >> 96 ^ bits >> 64 ^ bits >> 32 ^ bits) as u32
        }
    }
}

fn filled(ids: impl Iterator<Item = u32>, length: usize) -> Vec<u32> {
    let mut table: Vec<u32> = ids.collect();
    table.resize(length, 0);
    table
}

fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: u32, last: u8, weight: u32) -> Candidate {
        Candidate {
            id,
            weight,
            last_weight: weight,
            address: SocketAddr::from(([192, 168, 10, last], 80)),
            usable: true,
        }
    }

    fn slots_of(table: &[u32]) -> [usize; 3] {
        [11, 12, 13].map(|id| table.iter().filter(|slot| **slot == id).count())
    }

    /// The vectors of `ipvs.md` 2.2.
    #[test]
    fn a_destination_walks_the_maglev_slots_as_in_the_reference() {
        let walk = |last| permutation(SocketAddr::from(([192, 168, 10, last], 80)));
        assert_eq!(walk(11), (3834, 1607));
        assert_eq!(walk(12), (3560, 3568));
        assert_eq!(walk(13), (1740, 3242));
        let client = folded([203, 0, 113, 7].into());
        assert_eq!(maglev_hash(client, MAGLEV_KEYS[0]), 0xa86e_2c15);
    }

    #[test]
    fn maglev_tables_are_those_of_the_reference() {
        let table = maglev_table(&[candidate(12, 12, 1), candidate(11, 11, 1)]);
        assert_eq!(slots_of(&table), [2046, 2047, 0]);
        for (slot, id) in [(1705, 12), (2964, 11), (2723, 11), (2374, 12)] {
            assert_eq!(table[slot], id, "slot {slot}");
        }
        let weighted = [
            candidate(13, 13, 1),
            candidate(12, 12, 2),
            candidate(11, 11, 1),
        ];
        let table = maglev_table(&weighted);
        assert_eq!(slots_of(&table), [1023, 2046, 1024]);
        assert_eq!((table[1705], table[2374]), (13, 12));
    }

    #[test]
    fn weights_of_any_size_fill_every_table() {
        for weights in [[1, 1, 1], [0, 5, 2_147_483_647], [2_147_483_647, 3, 7]] {
            let list: Vec<_> = (11..14)
                .zip(weights)
                .map(|(last, weight)| candidate(last.into(), last, weight))
                .collect();
            assert!(!maglev_table(&list).contains(&0));
            assert!(!source_table(&list).contains(&0));
            assert!(!destination_table(&list).contains(&0));
        }
    }

    #[test]
    fn without_destinations_tables_are_empty() {
        for table in [
            maglev_table(&[]),
            source_table(&[]),
            destination_table(&[]),
            maglev_table(&[candidate(11, 11, 0)]),
        ] {
            assert!(table.iter().all(|slot| *slot == 0));
        }
    }
}
