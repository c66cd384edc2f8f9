//! Every limit of the data path, with its reason. Map sizes and loop bounds come from here.

/// Virtual services at once. Sizes a preallocated kernel hash of about 100 bytes an entry.
pub const SERVICES: u32 = 16_384;

/// Destination ids, 0 excluded. Ids are never reused while a connection names them, so this is
/// above the 100,000 destinations we promise.
pub const DESTINATIONS: u32 = 131_072;

/// Rotation segments of all services together: one for `rr`, one for each distinct weight in `wrr`.
pub const SEGMENTS: u32 = 131_072;

/// Destination numbers in all segments together (4 MiB).
pub const ROTATION_SLOTS: u32 = 1 << 20;

/// Steps of the binary search for a segment: 2^17 segments and one more.
pub const SEGMENT_SEARCH_STEPS: u32 = 18;

/// Interfaces a frame can arrive on or leave by. Scanned for each new connection.
pub const INTERFACES: u32 = 16;

/// Words of the bitmap of virtual addresses, 64 bits each. 65,536 bits: with 1,000 virtual
/// addresses 1.5 % of foreign frames pay for a look-up.
pub const VIP_WORDS: u32 = 1_024;

/// Buckets of the limit on ICMP errors; clients that share one share its allowance.
pub const REPLY_BUCKETS: u32 = 4_096;

/// Connections remembered in one bucket: four slots of 16 bytes are one cache line.
pub const BUCKET_SLOTS: usize = 4;

/// Connections remembered unless the configuration says otherwise.
pub const CONNECTIONS_DEFAULT: u32 = 1 << 20;

/// States a connection can have; TCP uses 0 to 10, UDP 11, the rest is free.
pub const STATES: usize = 32;

/// VLAN tags before a network header: QinQ has two.
pub const VLAN_TAGS: usize = 2;

/// IPv6 extension headers before a transport header. RFC 8200 names seven kinds; a packet with more than
/// a few is somebody's experiment.
pub const EXTENSION_HEADERS: usize = 6;

/// Where a transport header may begin in a frame, at most: what the kernel's half can tell apart (see
/// [`crate::Frame::blur`]). Only extension headers longer than any in use get there.
pub const TRANSPORT_OFFSET_MAX: usize = 2_047;

/// Fragmented packets whose pieces are still on their way (128 KiB). More at once, and some go to the host.
pub const FRAGMENTS: u32 = 8_192;

/// How long later fragments may follow their first. They leave the sender together; 5 s is generous.
pub const FRAGMENT_LIFE_S: u32 = 5;

/// Bytes of an ICMPv4 error, its IP header included. Linux `net/ipv4/icmp.c`, RFC 1812 §4.3.2.3.
pub const ICMPV4_ERROR_BYTES: usize = 576;

/// Bytes of an ICMPv6 error, its IP header included: the minimum IPv6 MTU. RFC 4443 §2.4(c).
pub const ICMPV6_ERROR_BYTES: usize = 1_280;
