//! `dh`, `sh` and `mh`: the hash of an address names a slot of a table that the control plane has filled.
//!
//! ```text
//! dh  virtual address                          ─► × 0x61C88647, upper 8 bits  ─► 256 slots
//! sh  client's address (+ port)                ─► likewise
//! mh  client's address (+ port) ─► SipHash-1-3 ─► mod 4,093                   ─► 4,093 slots
//! ```
//!
//! A slot whose destination is not eligible refuses the client, unless the service has the flag `FALLBACK`: then
//! other slots are asked in an order that the hash gives. `ip_vs_dh.c`, `ip_vs_sh.c`, `ip_vs_mh.c`.

use super::{Kind, is_eligible, siphash};
use crate::arrival::Arrival;
use crate::tables::{Service, Tables, Work, service_flag};

/// The keys of the two hashes of `mh`; the second is for filling only.
pub const MAGLEV_KEYS: [u64; 2] = [2_654_435_761, 2_654_446_892];

/// Slots of `dh` and `sh`.
const BUCKETS: u32 = 256;

/// The destination that the table has for a arrival, 0 when it may not be chosen.
#[inline(never)]
pub(super) fn pick(service: &Service, kind: Kind, arrival: &Arrival, tables: &impl Tables) -> u32 {
    let port = if service.flags & service_flag::WITH_PORT == 0 {
        0
    } else {
        arrival.client_port()
    };
    let key = if kind == Kind::DH {
        arrival.destination
    } else {
        arrival.source.wrapping_add(port)
    };
    if service.count == 0 {
        return 0;
    }
    let first = if kind == Kind::MH {
        maglev_hash(key, MAGLEV_KEYS[0]) % service.count
    } else {
        bucket_of(key)
    };
    let destination = tables.rotation_slot(service.base.wrapping_add(first));
    if is_eligible(tables, destination) {
        return destination;
    }
    if service.flags & service_flag::FALLBACK == 0 || destination == 0 {
        return 0;
    }
    let mut search = Search {
        base: service.base,
        count: service.count,
        key,
        first,
        is_maglev: u32::from(kind == Kind::MH),
        found: 0,
    };
    tables.repeat(service.count, &mut search);
    search.found
}

/// Slot of an address in a table of 256: the kernel's `hash_32` to 8 bits.
#[must_use]
#[inline(always)]
pub fn bucket_of(key: u32) -> u32 {
    key.wrapping_mul(0x61c8_8647) >> 24
}

/// Hash of a number for `mh`.
#[must_use]
#[inline(always)]
pub fn maglev_hash(value: u32, key: u64) -> u32 {
    siphash::hash(value, key)
}

/// The search for a slot whose destination is eligible. An empty slot ends it, as in IPVS.
struct Search {
    base: u32,
    count: u32,
    key: u32,
    first: u32,
    is_maglev: u32,
    found: u32,
}

impl Work for Search {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool {
        if self.count == 0 {
            return false;
        }
        let slot = if self.is_maglev != 0 {
            let offset = (self.first + index) % self.count;
            maglev_hash(self.key.wrapping_add(offset), MAGLEV_KEYS[0]) % self.count
        } else {
            // IPVS adds the first slot twice.
            (2 * self.first + index) % BUCKETS
        };
        let destination = tables.rotation_slot(self.base.wrapping_add(slot));
        if is_eligible(tables, destination) {
            self.found = destination;
        }
        self.found == 0 && destination != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_reference() {
        // `ipvs.md` 2.2: 203.0.113.7, .8, 198.51.100.1, 2001:db8::7; with port 40000.
        let vectors = [
            (0xcb00_7107, 124, 32),
            (0xcb00_7108, 222, 130),
            (0xc633_6401, 96, 4),
        ];
        for (address, plain, with_port) in vectors {
            assert_eq!(bucket_of(address), plain, "{address:#x}");
            assert_eq!(bucket_of(address + 40_000), with_port, "{address:#x}");
        }
        assert_eq!(bucket_of(0x2001_0db8 ^ 7), 137);
    }

    #[test]
    fn maglev_slots_are_those_of_the_reference() {
        let slot = |key| maglev_hash(key, MAGLEV_KEYS[0]) % 4_093;
        assert_eq!(slot(0xcb00_7107), 1_705);
        assert_eq!(slot(0xcb00_7107 + 40_000), 2_964);
        assert_eq!(slot(0xcb00_7108), 2_723);
        assert_eq!(slot(0xc633_6401), 2_374);
    }
}
