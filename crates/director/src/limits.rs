//! Every limit of the data path, with its reason. Map sizes and loop bounds come from here.

/// Virtual services at once. Sizes a preallocated kernel hash of about 100 bytes an entry.
pub const SERVICES: u32 = 16_384;

/// Destination ids, 0 excluded. Ids are never reused while a connection names them, so this is
/// above the 100,000 destinations we promise.
pub const DESTINATIONS: u32 = 131_072;

/// Rotation segments of all services together: one for `rr`, one for each distinct weight in `wrr`.
pub const SEGMENTS: u32 = 131_072;

/// Destination numbers in all segments, tables and lists together (16 MiB): a service with `mh` takes 4,093,
/// one with `sh` or `dh` 256.
pub const ROTATION_SLOTS: u32 = 1 << 22;

/// Slots that are tried before a service whose destinations are overloaded is called full. Twice what `rr`
/// needs for the 1,024 destinations that we promise, and all that `mh` has.
pub const SCHEDULER_TURNS: u32 = 65_536;

/// Destinations of a service with a dynamic scheduler: each new connection looks at all of them.
pub const LISTED_DESTINATIONS: u32 = 1_024;

/// Addresses that `lblc` and `lblcr` remember, all services together (4.6 MiB). IPVS has 16,384 for each
/// service, and half as many again for a while.
pub const LOCALITIES: u32 = 16_384;

/// Places that an address may have among them.
pub const LOCALITY_PLACES: u32 = 8;

/// Members of a set of `lblcr`; one more takes the place of the oldest. A set grows by one each time that all
/// of its members are overloaded while another destination is half idle.
pub const LOCALITY_MEMBERS: usize = 32;

/// Rules of firewall marks, of which half are in use: the others are written beside them.
pub const MARK_RULES: u32 = 2_048;

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

/// States a connection can have; TCP uses 0 to 10, UDP 11, templates 12 and 13, SCTP 14 to 27.
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
