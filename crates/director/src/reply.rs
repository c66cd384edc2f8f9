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

use crate::address::{Address, V4, V6};
use crate::ethernet::LinkHeader;
use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_BYTES, ICMP_BYTES, IPV4_BYTES, IPV6_BYTES, Icmp,
    Ipv4, Ipv6, MacPair, protocol,
};
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
        frame.write(offset, &tag)?;
        offset += 4;
    }
    frame.write(offset, &N::ETHER_TYPE.to_be())?;
    N::write_head(frame, header, reason, quoted, sum)
}

/// VLAN tag `number` of a frame whose network header is at `at`, as it stands there.
#[inline(always)]
fn tag(frame: &impl Frame, number: usize, at: usize) -> Option<u32> {
    let offset = ETHERNET_BYTES - 2 + number * 4;
    if offset + 4 < at {
        frame.read(offset)
    } else {
        None
    }
}

/// What differs between ICMP and ICMPv6.
pub trait Reply: Network {
    /// EtherType of the reply.
    const ETHER_TYPE: u16;
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
    const ETHER_TYPE: u16 = ETHER_TYPE_IPV4;
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
        let total = (Self::HEAD_BYTES + quoted) as u16;
        // Never fragmented, so it needs no identification (RFC 6864 §4.1).
        let mut ip = Ipv4 {
            version_ihl: 0x45,
            tos: 0xc0,
            total_length: total.into(),
            identification: 0.into(),
            fragment: 0x4000.into(),
            ttl: 64,
            protocol: protocol::ICMP,
            checksum: 0.into(),
            source: source.0.into(),
            destination: destination.0.into(),
        };
        let words = [0x45c0, total, 0x4000, 0x4000 | u16::from(protocol::ICMP)];
        let header_sum =
            words.iter().map(|&w| u64::from(w)).sum::<u64>() + pair_sum(source, destination);
        ip.checksum = (!fold(header_sum)).into();
        frame.write(header.at, &ip)?;
        frame.write(header.at + IPV4_BYTES, &icmp(kind, code, sum))
    }
}

impl Reply for NetworkV6 {
    const ETHER_TYPE: u16 = ETHER_TYPE_IPV6;
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
        let payload = (ICMP_BYTES + quoted) as u16;
        let ip = Ipv6 {
            version_class_flow: (6 << 28).into(),
            payload_length: payload.into(),
            next_header: protocol::ICMPV6,
            hop_limit: 64,
            source: source.to_wire(),
            destination: destination.to_wire(),
        };
        // The pseudo header, RFC 8200 §8.1.
        let pseudo = words_sum(source)
            + words_sum(destination)
            + u64::from(payload)
            + u64::from(protocol::ICMPV6);
        frame.write(header.at, &ip)?;
        frame.write(header.at + IPV6_BYTES, &icmp(kind, code, sum + pseudo))
    }
}

#[inline(always)]
fn icmp(kind: u8, code: u8, sum: u64) -> Icmp {
    let first = u64::from(kind) << 8 | u64::from(code);
    Icmp {
        kind,
        code,
        checksum: (!fold(sum + first)).into(),
        unused: 0.into(),
    }
}

#[inline(always)]
fn pair_sum(a: V4, b: V4) -> u64 {
    u64::from(a.0) + u64::from(b.0)
}

#[inline(always)]
fn words_sum(address: V6) -> u64 {
    let [a, b, c, d] = address.0;
    u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d)
}

/// Words that are summed at a stride: one comparison with the packet's end for each, and the verifier
/// walks the loop a sixteenth as often.
const STRIDE_WORDS: usize = 16;

/// One's complement sum of the first `quoted` bytes of the IP packet, not yet folded. RFC 1071.
#[inline(always)]
fn sum_of<N: Reply>(frame: &impl Frame, at: usize, quoted: usize) -> Option<u64> {
    let end = at + quoted;
    let mut sum = 0u64;
    let mut offset = at;
    for _ in 0..N::QUOTE_BYTES / (4 * STRIDE_WORDS) {
        if offset + 4 * STRIDE_WORDS > end {
            break;
        }
        for word in frame.read::<[u32; STRIDE_WORDS]>(offset)? {
            sum += u64::from(u32::from_be(word));
        }
        offset += 4 * STRIDE_WORDS;
    }
    offset = frame.blur(offset);
    for _ in 0..STRIDE_WORDS {
        if offset + 4 > end {
            break;
        }
        sum += u64::from(u32::from_be(frame.read::<u32>(offset)?));
        offset += 4;
    }
    offset = frame.blur(offset);
    let mut shift = 24;
    for _ in 0..3 {
        if offset >= end {
            break;
        }
        sum += u64::from(frame.read::<u8>(offset)?) << shift;
        shift -= 8;
        offset += 1;
    }
    Some(sum)
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
