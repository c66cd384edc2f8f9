//! SipHash-1-3 of four bytes, as `hsiphash` of 64-bit Linux has it (`lib/siphash.c`): the low 32 bits.
//!
//! Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).

/// Hash of `value` in little-endian order, with the 128-bit key that is `key` twice.
#[must_use]
#[inline(always)]
pub(super) fn hash(value: u32, key: u64) -> u32 {
    let mut state = State([
        key ^ 0x736f_6d65_7073_6575,
        key ^ 0x646f_7261_6e64_6f6d,
        key ^ 0x6c79_6765_6e65_7261,
        key ^ 0x7465_6462_7974_6573,
    ]);
    // One block: the value, and its length in the highest byte.
    let block = 4 << 56 | u64::from(value);
    state.0[3] ^= block;
    state.round();
    state.0[0] ^= block;
    state.0[2] ^= 0xff;
    state.round();
    state.round();
    state.round();
    let [a, b, c, d] = state.0;
    (a ^ b ^ c ^ d) as u32
}

struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_kernels_for_the_reference_vector() {
        // 203.0.113.7, port 0, first key (`ipvs.md` 2.2).
        assert_eq!(hash(0xcb00_7107, 2_654_435_761), 0xa86e_2c15);
    }
}
