//! ICMP errors that the director sends in its own name: the frame is turned round where it is.
//!
//! ```text
//! came    Ethernet │ IP client → VIP │ TCP or UDP …
//! leaves  Ethernet │ IP VIP → client │ ICMP │ the packet that came, as much as fits
//! ```
//!
//! VLAN tags stay.
//!
//! As in IPVS the source is the virtual address, TCP is answered as well, and each client has an
//! allowance: six at once, then one a second (`icmp_ratelimit`, `net/ipv4/inetpeer.c`). RFC 792,
//! RFC 1122 §3.2.2, RFC 4443 §2.4.

use crate::address::{Address, V6};
use crate::ethernet::LinkHeader;
use crate::frame::{Frame, Window};
use crate::headers::{ETHERNET_BYTES, ICMP_BYTES, IPV4_BYTES, IPV6_BYTES, MacPair, protocol};
use crate::limits::{ICMPV4_ERROR_BYTES, ICMPV6_ERROR_BYTES, REPLY_BUCKETS};
use crate::packet::{Header, Network, NetworkV4, NetworkV6};
use crate::tables::{Tables, Word};
use crate::time::{Instant, SECOND_FINE_TICKS};
use crate::verdict::ReplyReason;

/// Errors at once to one client, Linux `XRLIM_BURST_FACTOR`.
const BURST: u32 = 6;

/// Turns the frame into an ICMP error to its sender. `None`, and nothing is changed that would leave,
/// when the sender may not be answered or had its share.
#[inline(always)]
pub fn reply<N: Reply>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    link: LinkHeader,
    reason: ReplyReason,
) -> Option<()> {
    // Read before, and found good: this is a program of its own that was handed only the frame.
    let header = &N::parse(frame, link.at, tables).ok()?;
    let client = header.client;
    if !client.is_answerable()
        || client == header.virtual_address
        || !is_allowed(tables, client, tables.now())
    {
        return None;
    }
    let quoted = header.length.min(N::QUOTE_BYTES);
    let sum = sum_of::<N>(frame, header.at, quoted)?;
    let tags = [tag(frame, 0, header.at), tag(frame, 1, header.at)];
    frame.truncate(header.at + quoted)?;
    frame.grow_head(N::HEAD_BYTES)?;
    let addresses = link.addresses;
    MacPair::new(addresses.source(), addresses.destination()).write(frame)?;
    let mut offset = ETHERNET_BYTES - 2;
    for tag in tags.into_iter().flatten() {
        frame.put_u32(offset, tag)?;
        offset += 4;
    }
    frame.put_u16(offset, N::ETHER_TYPE)?;
    N::write_head(frame, header, reason, quoted, sum)
}

/// VLAN tag `number` of a frame whose network header is at `at`, as it stands there.
#[inline(always)]
fn tag(frame: &impl Frame, number: usize, at: usize) -> Option<u32> {
    let offset = ETHERNET_BYTES - 2 + number * 4;
    if offset + 4 < at {
        Some(frame.window::<4>(offset)?.u32::<0>())
    } else {
        None
    }
}

/// What differs between ICMP and ICMPv6.
pub trait Reply: Network {
    /// Bytes that the reply has before the quoted packet, Ethernet not counted.
    const HEAD_BYTES: usize;
    /// Bytes of the packet that are quoted at most.
    const QUOTE_BYTES: usize;

    /// Writes the IP and ICMP headers; `sum` is that of the quoted bytes.
    fn write_head(
        frame: &mut impl Frame,
        header: &Header<Self>,
        reason: ReplyReason,
        quoted: usize,
        sum: u64,
    ) -> Option<()>;
}

impl Reply for NetworkV4 {
    const HEAD_BYTES: usize = IPV4_BYTES + ICMP_BYTES;
    const QUOTE_BYTES: usize = ICMPV4_ERROR_BYTES - Self::HEAD_BYTES;

    #[inline(always)]
    fn write_head(
        frame: &mut impl Frame,
        header: &Header<Self>,
        reason: ReplyReason,
        quoted: usize,
        sum: u64,
    ) -> Option<()> {
        let (kind, code) = match reason {
            ReplyReason::PortUnreachable => (3, 3),
            ReplyReason::TimeExceeded => (11, 0),
        };
        let (source, destination) = (header.virtual_address, header.client);
        let total = (Self::HEAD_BYTES + quoted) as u32;
        // Version 4, five words; the precedence that routers give to ICMP; never fragmented, so that it
        // needs no identification (RFC 6864 §4.1); 64 hops.
        let words = [
            0x45c0_0000 | total,
            0x4000,
            0x4000_0000 | u32::from(protocol::ICMP) << 16,
        ];
        let sum_of_words = words.iter().map(|word| u64::from(*word)).sum::<u64>();
        let addresses = u64::from(source.0) + u64::from(destination.0);
        let checksum = u32::from(!fold(sum_of_words + addresses));
        frame.put_u32(header.at, words[0])?;
        frame.put_u32(header.at + 4, words[1])?;
        frame.put_u32(header.at + 8, words[2] | checksum)?;
        frame.put_u32(header.at + 12, source.0)?;
        frame.put_u32(header.at + 16, destination.0)?;
        write_icmp(frame, header.at + IPV4_BYTES, kind, code, sum)
    }
}

impl Reply for NetworkV6 {
    const HEAD_BYTES: usize = IPV6_BYTES + ICMP_BYTES;
    const QUOTE_BYTES: usize = ICMPV6_ERROR_BYTES - Self::HEAD_BYTES;

    #[inline(always)]
    fn write_head(
        frame: &mut impl Frame,
        header: &Header<Self>,
        reason: ReplyReason,
        quoted: usize,
        sum: u64,
    ) -> Option<()> {
        let (kind, code) = match reason {
            ReplyReason::PortUnreachable => (1, 4),
            ReplyReason::TimeExceeded => (3, 0),
        };
        let (source, destination) = (header.virtual_address, header.client);
        let payload = (ICMP_BYTES + quoted) as u32;
        // Version 6; payload length, next header, 64 hops.
        frame.put_u32(header.at, 6 << 28)?;
        frame.put_u32(
            header.at + 4,
            payload << 16 | u32::from(protocol::ICMPV6) << 8 | 64,
        )?;
        write_address(frame, header.at + 8, source)?;
        write_address(frame, header.at + 24, destination)?;
        // The pseudo header, RFC 8200 §8.1.
        let lengths = u64::from(payload) + u64::from(protocol::ICMPV6);
        let pseudo = words_sum(source) + words_sum(destination) + lengths;
        write_icmp(frame, header.at + IPV6_BYTES, kind, code, sum + pseudo)
    }
}

#[inline(always)]
fn write_address(frame: &mut impl Frame, at: usize, address: V6) -> Option<()> {
    let [a, b, c, d] = address.0;
    frame.put_u32(at, a)?;
    frame.put_u32(at + 4, b)?;
    frame.put_u32(at + 8, c)?;
    frame.put_u32(at + 12, d)
}

/// Writes an ICMP error's header; `sum` is that of what its checksum covers beside it.
#[inline(always)]
fn write_icmp(frame: &mut impl Frame, at: usize, kind: u8, code: u8, sum: u64) -> Option<()> {
    let first = u32::from(kind) << 24 | u32::from(code) << 16;
    let checksum = u32::from(!fold(sum + u64::from(first)));
    frame.put_u32(at, first | checksum)?;
    frame.put_u32(at + 4, 0)
}

#[inline(always)]
fn words_sum(address: V6) -> u64 {
    let [a, b, c, d] = address.0;
    u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d)
}

/// Bytes that are summed at a stride: one comparison with the packet's end for each, and the verifier
/// walks the loop a sixteenth as often.
const STRIDE_BYTES: usize = 64;

/// One's complement sum of the first `quoted` bytes of the IP packet, not yet folded. RFC 1071.
#[inline(always)]
fn sum_of<N: Reply>(frame: &impl Frame, at: usize, quoted: usize) -> Option<u64> {
    let end = at + quoted;
    let mut sum = 0u64;
    let mut offset = at;
    for _ in 0..N::QUOTE_BYTES / STRIDE_BYTES {
        if offset + STRIDE_BYTES > end {
            break;
        }
        let window = frame.window::<STRIDE_BYTES>(offset)?;
        sum += halves(window.u64::<0>()) + halves(window.u64::<8>());
        sum += halves(window.u64::<16>()) + halves(window.u64::<24>());
        sum += halves(window.u64::<32>()) + halves(window.u64::<40>());
        sum += halves(window.u64::<48>()) + halves(window.u64::<56>());
        offset += STRIDE_BYTES;
    }
    offset = frame.blur(offset);
    for _ in 0..STRIDE_BYTES / 4 {
        if offset + 4 > end {
            break;
        }
        sum += u64::from(frame.window::<4>(offset)?.u32::<0>());
        offset += 4;
    }
    offset = frame.blur(offset);
    let mut shift = 24;
    for _ in 0..3 {
        if offset >= end {
            break;
        }
        sum += u64::from(frame.window::<1>(offset)?.u8::<0>()) << shift;
        shift -= 8;
        offset += 1;
    }
    Some(sum)
}

/// The sum of a word's two halves.
#[inline(always)]
fn halves(word: u64) -> u64 {
    (word >> 32) + (word & 0xffff_ffff)
}

/// Folds a sum of words of up to 32 bits into 16, with the carries.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// Takes one error out of the client's allowance, if there is one left.
///
/// The allowance is a word: moment of the last look in the high, saved time in the low half, both in
/// fine ticks. Each error costs a second of saved time.
#[inline(always)]
fn is_allowed(tables: &impl Tables, client: impl Address, now: Instant) -> bool {
    let bucket = client.folded().wrapping_mul(0x9e37_79b1) >> 20 & (REPLY_BUCKETS - 1);
    let Some(allowance) = tables.reply_allowance(bucket) else {
        return false;
    };
    let before = allowance.load();
    let now = now.fine_tick();
    let full = BURST * SECOND_FINE_TICKS;
    let saved = if before == 0 {
        full
    } else {
        let elapsed = now.wrapping_sub((before >> 32) as u32);
        // A CPU that looked at the clock a tick later may have been here first: no time at all has passed.
        let elapsed = if elapsed > u32::MAX / 2 { 0 } else { elapsed };
        (before as u32).saturating_add(elapsed).min(full)
    };
    let is_enough = saved >= SECOND_FINE_TICKS;
    let left = if is_enough {
        saved - SECOND_FINE_TICKS
    } else {
        saved
    };
    // Losing to another CPU costs this client one error.
    allowance.swap_if(before, u64::from(now) << 32 | u64::from(left)) && is_enough
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::V4;
    use crate::memory::MemoryTables;

    const CLIENT: V4 = V4(0xc633_6401);

    #[test]
    fn a_clock_that_is_a_tick_behind_another_cpus_gives_no_client_a_new_allowance() {
        let tables = MemoryTables::new(4, [1; 8]);
        let later = Instant { ns: 1 << 40 };
        let sooner = Instant {
            ns: later.ns - (1 << 24),
        };
        for _ in 0..BURST {
            assert!(is_allowed(&tables, CLIENT, later));
        }

        let allowed = (0..100).filter(|_| is_allowed(&tables, CLIENT, sooner));

        assert_eq!(allowed.count(), 0);
    }

    #[test]
    fn a_sum_is_folded_to_what_adding_with_carries_gives() {
        let by_carries = |sum: u64| {
            let mut sum = sum;
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            sum as u16
        };
        // As large as 320 words of 32 bits can make it, and where carries carry.
        let largest = 320 * u64::from(u32::MAX);
        let sums = [
            0,
            1,
            0xffff,
            0x1_0000,
            0x1_ffff,
            0xffff_ffff,
            0x1_0000_ffff,
            largest,
        ];
        for sum in sums
            .into_iter()
            .flat_map(|sum| [sum, sum ^ 0x5a5a, sum / 3])
        {
            assert_eq!(fold(sum), by_carries(sum), "{sum:#x}");
        }
    }
}
