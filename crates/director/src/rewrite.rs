//! Direct routing: what leaves is what came, but for the two MAC addresses and one hop of lifetime.

use crate::frame::Frame;
use crate::headers::{IPV4_LIFETIME_OFFSET, IPV6_HOP_LIMIT_OFFSET, Mac, MacPair};
use crate::packet::{Header, Network};

/// Readdresses the frame from `source`, the egress interface, to `destination`, the real server.
#[inline(always)]
pub fn direct_routing<N: Network>(
    frame: &mut impl Frame,
    header: &Header<N>,
    destination: Mac,
    source: Mac,
) -> Option<()> {
    MacPair::new(destination, source).write(frame)?;
    N::forwarded(frame, header.at, header.lifetime)
}

/// Writes an IPv4 lifetime of one hop less, and the checksum that goes with it.
#[inline(always)]
pub(crate) fn write_ttl(frame: &mut impl Frame, at: usize, lifetime: u32) -> Option<()> {
    frame.put_u32(at + IPV4_LIFETIME_OFFSET, one_hop_less(lifetime))
}

/// Writes an IPv6 hop limit of one hop less.
#[inline(always)]
pub(crate) fn write_hop_limit(frame: &mut impl Frame, at: usize, hop_limit: u8) -> Option<()> {
    frame.put_u8(at + IPV6_HOP_LIMIT_OFFSET, hop_limit.wrapping_sub(1))
}

/// Time to live, protocol and checksum of one hop less.
///
/// The checksum is changed, not computed: a header that came damaged leaves damaged, and the real
/// server sees it. RFC 1624 eqn. 3 for a field that shrinks by 0x0100, as `ip_decrease_ttl` does it.
#[inline(always)]
fn one_hop_less(lifetime: u32) -> u32 {
    let sum = (lifetime & 0xffff) + 0x0100;
    let checksum = (sum + u32::from(sum >= 0xffff)) & 0xffff;
    (lifetime & 0xffff_0000).wrapping_sub(0x0100_0000) | checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(header: &[u8]) -> u16 {
        let mut sum: u32 = header
            .chunks(2)
            .map(|c| u32::from(u16::from_be_bytes([c[0], c[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_checksum_stays_right_for_every_sum() {
        for ttl in [1, 2, 63, 64, 127, 128, 254, 255u8] {
            for other in 0..=u16::MAX {
                let mut header = [ttl, 6, 0, 0, 0, 0];
                header[4..].copy_from_slice(&other.to_be_bytes());
                let checksum = !sum(&header);
                let before = u32::from_be_bytes([ttl, 6, (checksum >> 8) as u8, checksum as u8]);
                let after = one_hop_less(before).to_be_bytes();
                header[..4].copy_from_slice(&after);
                assert_eq!(sum(&header), 0xffff, "ttl {ttl} other {other:#x}");
                assert_eq!(after[..2], [ttl - 1, 6]);
            }
        }
    }
}
