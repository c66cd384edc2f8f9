//! IPv4 and IPv6 addresses as the packet path handles them: hashed, mapped, recognised.

use crate::limits::VIP_WORDS;

/// An address of one family. Both families run the same path, compiled once for each.
pub trait Address: Copy + PartialEq + core::fmt::Debug {
    /// Sixteen bytes in wire order, as two words; IPv4 as ::ffff:a.b.c.d.
    fn mapped(self) -> [u64; 2];

    /// The address that [`Address::mapped`] gave.
    fn from_mapped(words: [u64; 2]) -> Self;

    /// All its bits folded into 32.
    fn folded(self) -> u32;

    /// Its words, exclusive-ored: what IPVS's schedulers hash.
    fn xored(self) -> u32;

    /// The two addresses of a flow as one word, keyed.
    fn pair(client: Self, virtual_address: Self, keys: &[u64; 8]) -> u64;

    /// The bits of it that a persistence template is for: IPv4 by a mask, IPv6 by a prefix length.
    fn masked(self, mask: u32) -> Self;

    /// A firewall mark in the form of an address, as IPVS writes it into templates.
    fn of_mark(mark: u32) -> Self;

    /// Whether an ICMP error may be sent to it: a unicast address that is somebody.
    fn is_answerable(self) -> bool;

    /// Whether it is a group of hosts.
    fn is_multicast(self) -> bool;
}

/// An IPv4 address, host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4(pub u32);

/// An IPv6 address as four words, host order, first word first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6(pub [u32; 4]);

impl Address for V4 {
    #[inline(always)]
    fn mapped(self) -> [u64; 2] {
        [0, (0xffff << 32 | u64::from(self.0)).to_be()]
    }

    #[inline(always)]
    fn from_mapped([_, low]: [u64; 2]) -> Self {
        Self(u64::from_be(low) as u32)
    }

    #[inline(always)]
    fn folded(self) -> u32 {
        self.0
    }

    #[inline(always)]
    fn xored(self) -> u32 {
        self.0
    }

    #[inline(always)]
    fn pair(client: Self, virtual_address: Self, _keys: &[u64; 8]) -> u64 {
        u64::from(client.0) << 32 | u64::from(virtual_address.0)
    }

    #[inline(always)]
    fn masked(self, mask: u32) -> Self {
        Self(self.0 & mask)
    }

    #[inline(always)]
    fn of_mark(mark: u32) -> Self {
        Self(mark)
    }

    #[inline(always)]
    fn is_answerable(self) -> bool {
        let first = self.0 >> 24;
        first != 0 && first != 127 && first < 224
    }

    #[inline(always)]
    fn is_multicast(self) -> bool {
        self.0 >> 28 == 14
    }
}

impl Address for V6 {
    #[inline(always)]
    fn mapped(self) -> [u64; 2] {
        let [a, b, c, d] = self.0.map(u64::from);
        [(a << 32 | b).to_be(), (c << 32 | d).to_be()]
    }

    #[inline(always)]
    fn from_mapped(words: [u64; 2]) -> Self {
        let [high, low] = words.map(u64::from_be);
        Self([
            (high >> 32) as u32,
            high as u32,
            (low >> 32) as u32,
            low as u32,
        ])
    }

    #[inline(always)]
    fn folded(self) -> u32 {
        let [a, b, c, d] = self.0;
        a ^ b.rotate_left(8) ^ c.rotate_left(16) ^ d
    }

    #[inline(always)]
    fn xored(self) -> u32 {
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }

    /// NH (UMAC, RFC 4418 §5.2.2): for keys that are not known, two pairs collide with probability
    /// 2^-32, whoever chooses them. Sixteen multiplications would buy more than a fingerprint needs.
    #[inline(always)]
    fn pair(client: Self, virtual_address: Self, keys: &[u64; 8]) -> u64 {
        let [a, b, c, d] = client.0;
        let [e, f, g, h] = virtual_address.0;
        nh(a, b, keys[2])
            .wrapping_add(nh(c, d, keys[3]))
            .wrapping_add(nh(e, f, keys[4]))
            .wrapping_add(nh(g, h, keys[5]))
    }

    #[inline(always)]
    fn masked(self, prefix: u32) -> Self {
        let [a, b, c, d] = self.0;
        Self([
            a & word_mask(prefix),
            b & word_mask(prefix.saturating_sub(32)),
            c & word_mask(prefix.saturating_sub(64)),
            d & word_mask(prefix.saturating_sub(96)),
        ])
    }

    #[inline(always)]
    fn of_mark(mark: u32) -> Self {
        Self([mark, 0, 0, 0])
    }

    #[inline(always)]
    fn is_answerable(self) -> bool {
        let [a, b, c, d] = self.0;
        !self.is_multicast() && (a | b | c) | (d & !1) != 0
    }

    #[inline(always)]
    fn is_multicast(self) -> bool {
        self.0[0] >> 24 == 0xff
    }
}

/// The mask of a word of which `bits`, 32 at most, are in the prefix.
#[inline(always)]
fn word_mask(bits: u32) -> u32 {
    if bits >= 32 {
        u32::MAX
    } else {
        !(u32::MAX >> bits)
    }
}

#[inline(always)]
fn nh(left: u32, right: u32, key: u64) -> u64 {
    let left = left.wrapping_add(key as u32);
    let right = right.wrapping_add((key >> 32) as u32);
    u64::from(left).wrapping_mul(u64::from(right))
}

/// Where the virtual addresses' bitmap keeps an address: word and bit.
#[must_use]
#[inline(always)]
pub fn vip_bit(address: impl Address) -> (u32, u32) {
    // Fibonacci hashing: neighbouring addresses, as VIPs are, spread over the words.
    let hash = address.folded().wrapping_mul(0x9e37_79b1);
    (hash >> 22 & (VIP_WORDS - 1), hash >> 16 & 63)
}

/// Hash of a flow: which bucket it is in, and its tag there. Never 0 or 1, which mean free and claimed.
#[must_use]
#[inline(always)]
pub fn flow_hash<A: Address>(
    client: A,
    virtual_address: A,
    ports: u32,
    protocol: u8,
    keys: &[u64; 8],
) -> u64 {
    let pair = A::pair(client, virtual_address, keys);
    let rest = u64::from(ports) | u64::from(protocol) << 32;
    let mut hash = (pair ^ keys[0]).wrapping_mul(keys[6]);
    hash ^= hash >> 32;
    hash = (hash ^ rest ^ keys[1]).wrapping_mul(keys[7]);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(keys[6]);
    hash ^= hash >> 32;
    hash | u64::from(hash < 2) << 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const KEYS: [u64; 8] = [
        0xa076_1d64_78bd_642f,
        0xe703_7ed1_a0b4_28db,
        0x8ebc_6af0_9c88_c6e3,
        0x5899_65cc_7537_4cc3,
        0x1d8e_4e27_c47d_124f,
        0xeb44_acca_b455_d165,
        0x9e37_79b9_7f4a_7c15,
        0xd6e8_feb8_6659_fd93,
    ];

    #[test]
    fn flows_that_differ_in_one_bit_get_different_hashes() {
        let mut seen = HashSet::new();
        for bit in 0..32 {
            for (client, ports) in [(V4(1 << bit), 5), (V4(77), 1 << bit)] {
                assert!(seen.insert(flow_hash(client, V4(9), ports, 6, &KEYS)));
            }
            for word in 0..4 {
                let mut client = [7; 4];
                client[word] ^= 1 << bit;
                assert!(seen.insert(flow_hash(V6(client), V6([1; 4]), 5, 6, &KEYS)));
            }
        }
    }

    #[test]
    fn sequential_clients_fill_the_buckets_evenly() {
        let mut load = vec![0u32; 1 << 12];
        for client in 0..1u32 << 14 {
            let hash = flow_hash(
                V4(0x0a00_0000 + client),
                V4(0xc0a8_bc78),
                0x9c40_0050,
                6,
                &KEYS,
            );
            load[(hash & 0xfff) as usize] += 1;
        }
        // 4 on average; Poisson puts the largest of 4,096 near 14.
        assert!(load.iter().all(|&n| n < 20), "{:?}", load.iter().max());
    }

    #[test]
    fn addresses_are_mapped_in_wire_order() {
        let bytes = |words: [u64; 2]| words.map(u64::to_ne_bytes).concat();
        assert_eq!(
            bytes(V4(0xc0a8_bc78).mapped())[10..],
            [0xff, 0xff, 192, 168, 188, 120]
        );
        assert_eq!(V4::from_mapped(V4(0xc0a8_bc78).mapped()), V4(0xc0a8_bc78));
        let six: std::net::Ipv6Addr = "2001:db8::1:2".parse().unwrap();
        let bits = six.to_bits();
        let words = [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
        assert_eq!(bytes(V6(words).mapped()), six.octets());
        assert_eq!(V6::from_mapped(V6(words).mapped()), V6(words));
    }

    #[test]
    fn a_prefix_keeps_its_bits_and_no_others() {
        let all = V6([u32::MAX; 4]);
        assert_eq!(all.masked(128), all);
        assert_eq!(all.masked(0), V6([0; 4]));
        assert_eq!(all.masked(64), V6([u32::MAX, u32::MAX, 0, 0]));
        assert_eq!(all.masked(33), V6([u32::MAX, 1 << 31, 0, 0]));
        assert_eq!(all.masked(127), V6([u32::MAX, u32::MAX, u32::MAX, !1]));
    }

    #[test]
    fn nobody_answers_to_multicast_loopback_or_the_unspecified_address() {
        for address in [0, 0x0000_0001, 0x7f00_0001, 0xe000_0001, 0xffff_ffff] {
            assert!(!V4(address).is_answerable(), "{address:#x}");
        }
        assert!(V4(0x0a00_0001).is_answerable());
        for address in [[0; 4], [0, 0, 0, 1], [0xff02_0000, 0, 0, 1]] {
            assert!(!V6(address).is_answerable(), "{address:?}");
        }
        assert!(V6([0x2001_0db8, 0, 0, 1]).is_answerable());
    }
}
