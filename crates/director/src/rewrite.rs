//! Direct routing: what leaves is what came, but for the two MAC addresses and one hop of lifetime.

use crate::frame::Frame;
use crate::headers::{IPV4_TTL_OFFSET, IPV6_HOP_LIMIT_OFFSET, Ipv4Ttl, Mac, MacPair};
use crate::packet::{Network, Packet};

/// Readdresses the frame from `source`, the egress interface, to `destination`, the real server.
#[inline(always)]
pub fn direct_routing<N: Network>(
    frame: &mut impl Frame,
    packet: &Packet<N>,
    destination: Mac,
    source: Mac,
) -> Option<()> {
    frame.write(0, &MacPair::new(destination, source))?;
    N::forwarded(frame, packet.lifetime)
}

/// Writes an IPv4 lifetime of one hop less, and the checksum that goes with it.
#[inline(always)]
pub(crate) fn write_ttl(frame: &mut impl Frame, ttl: Ipv4Ttl) -> Option<()> {
    frame.write(IPV4_TTL_OFFSET, &one_hop_less(ttl))
}

/// Writes an IPv6 hop limit of one hop less.
#[inline(always)]
pub(crate) fn write_hop_limit(frame: &mut impl Frame, hop_limit: u8) -> Option<()> {
    frame.write(IPV6_HOP_LIMIT_OFFSET, &hop_limit.wrapping_sub(1))
}

/// The checksum is changed, not computed: a header that came damaged leaves damaged, and the real
/// server sees it. RFC 1624 eqn. 3 for a field that shrinks by 0x0100, as `ip_decrease_ttl` does it.
#[inline(always)]
fn one_hop_less(ttl: Ipv4Ttl) -> Ipv4Ttl {
    let sum = u32::from(ttl.checksum.get()) + 0x0100;
    let checksum = (sum + u32::from(sum >= 0xffff)) as u16;
    Ipv4Ttl {
        ttl: ttl.ttl.wrapping_sub(1),
        protocol: ttl.protocol,
        checksum: checksum.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

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
                let before = Ipv4Ttl {
                    ttl,
                    protocol: 6,
                    checksum: checksum.into(),
                };
                let after = one_hop_less(before);
                header[..4].copy_from_slice(after.as_bytes());
                assert_eq!(sum(&header), 0xffff, "ttl {ttl} other {other:#x}");
                assert_eq!(after.ttl, ttl - 1);
            }
        }
    }
}
