//! `dh`, `sh`, `mh`: tables that are filled when the list changes. `ipvs.md` 2.2.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::turns::gcd;
use crate::{Destination, Question};

/// Slots of `dh` and `sh`.
const BUCKETS: usize = 256;
/// Slots of `mh`.
const PRIME: u32 = 4093;
/// Words that make the two keys of `mh`.
const KEYS: [u64; 2] = [2_654_435_761, 2_654_446_892];

/// An address as one number: IPv6 is its four words XORed.
#[must_use]
pub fn fold(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => u32::from_be_bytes(v4.octets()),
        IpAddr::V6(v6) => v6
            .octets()
            .chunks(4)
            .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
            .fold(0, |sum, word| sum ^ word),
    }
}

/// The slot of `dh` and `sh`.
#[must_use]
pub fn bucket_of(key: u32) -> usize {
    (key.wrapping_mul(0x61C8_8647) >> 24) as usize
}

/// The hash of `mh`: SipHash-1-3 of four bytes under a key of one word twice, its low half.
#[must_use]
pub fn maglev_hash(value: u32, word: u64) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(word, word);
    hasher.write(&value.to_le_bytes());
    hasher.finish() as u32
}

/// Round and round, whatever the weights.
#[must_use]
pub fn dh_table(list: &[Destination]) -> Vec<u32> {
    (0..BUCKETS)
        .map(|slot| match list.len() {
            0 => 0,
            count => list[slot % count].name,
        })
        .collect()
}

/// Round and round, each as often as its weight says; 0 counts as 1.
#[must_use]
pub fn sh_table(list: &[Destination]) -> Vec<u32> {
    let mut table = vec![0; BUCKETS];
    let mut slot = 0;
    while !list.is_empty() && slot < BUCKETS {
        for one in list {
            for _ in 0..one.weight.max(1) {
                if slot < BUCKETS {
                    table[slot] = one.name;
                    slot += 1;
                }
                if slot == BUCKETS {
                    break;
                }
            }
        }
    }
    table
}

/// Maglev: in turn, each goes on with its own permutation to the next free slots.
#[must_use]
pub fn mh_table(list: &[Destination]) -> Vec<u32> {
    let mut table = vec![0; PRIME as usize];
    let weights = || list.iter().map(|one| i64::from(one.last_weight));
    let divisor = weights().fold(0, gcd);
    if divisor == 0 {
        return table;
    }
    let highest = weights().max().unwrap_or(0) / divisor;
    let bits = i64::BITS - highest.leading_zeros();
    let shift = bits.saturating_sub(6);
    let mut places: Vec<(u32, u32)> = list.iter().map(permutation).collect();
    let mut free = PRIME;
    loop {
        for (one, (at, skip)) in list.iter().zip(&mut places) {
            let share = i64::from(one.last_weight) / divisor;
            let turns = match share >> shift {
                0 => i64::from(share != 0),
                turns => turns,
            };
            for _ in 0..turns {
                while table[*at as usize] != 0 {
                    *at = (*at + *skip) % PRIME;
                }
                table[*at as usize] = one.name;
                free -= 1;
                if free == 0 {
                    return table;
                }
            }
        }
    }
}

/// Where a destination begins, and how far it steps.
fn permutation(one: &Destination) -> (u32, u32) {
    let value = fold(one.address.ip()).wrapping_add(one.address.port().into());
    let offset = maglev_hash(value, KEYS[0]) % PRIME;
    let skip = maglev_hash(value, KEYS[1]) % (PRIME - 1) + 1;
    (offset, skip)
}

pub(crate) fn pick(
    name: &str,
    table: &[u32],
    list: &[Destination],
    question: &Question,
    (fallback, port): (bool, bool),
) -> Option<u32> {
    let eligible = |slot: usize| {
        let found = list.iter().find(|one| one.name == table[slot])?;
        found.is_eligible().then_some(found.name)
    };
    let source = fold(question.client.ip());
    let port = if port { question.client.port() } else { 0 };
    let value = source.wrapping_add(port.into());
    match name {
        "dh" => eligible(bucket_of(fold(question.virtual_address))),
        "sh" => {
            let first = bucket_of(value);
            let others = (0..BUCKETS).map(|off| (first + (off + first) % BUCKETS) % BUCKETS);
            eligible(first).or_else(|| {
                let mut others = others.filter(|_| fallback);
                others.find_map(eligible)
            })
        }
        _ => {
            let slot = |offset: u32| maglev_hash(value.wrapping_add(offset), KEYS[0]) % PRIME;
            let first = slot(0);
            let others = (0..PRIME).map(|n| slot((first + n) % PRIME) as usize);
            eligible(first as usize).or_else(|| {
                let mut others = others.filter(|_| fallback);
                others.find_map(eligible)
            })
        }
    }
}
