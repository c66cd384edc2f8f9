//! Every bound of this room, each with its reason.

/// Virtual services: the data plane numbers them in 14 bits.
pub const SERVICES: u32 = 16_384;

/// Destinations of all services together, deleted ones whose connections live included: the
/// connection table keeps 17 bits for each; number 0 is never used.
pub const DESTINATION_IDS: u32 = 131_072;

/// Orders of maintenance: people give them, and each step that changes one copies them.
pub const ORDERS: usize = 4_096;

/// Destinations of one service whose scheduler chooses by a rotation or a table: `wrr` may need half a million
/// slots for as many with different weights, an eighth of what the data plane has.
pub const STATIC_DESTINATIONS: usize = config::limits::STATIC_DESTINATIONS;

/// Destinations of one service whose scheduler looks at all of them for each new connection.
pub const DYNAMIC_DESTINATIONS: usize = config::limits::DYNAMIC_DESTINATIONS;

/// Interfaces that frames leave through: a destination names its slot in 4 bits.
pub const EGRESS_SLOTS: u8 = 16;

/// Rules of firewall marks: each packet of no known connection is compared with all of them in turn.
pub const MARK_RULES: usize = config::limits::MARK_RULES;

/// Addresses of one such rule that the data plane looks at one by one: a /24. For more it looks at
/// every packet.
pub const MARK_ADDRESSES: u32 = 256;

/// Addresses of all such rules together: as many as services may have.
pub const MARKED_ADDRESSES: usize = SERVICES as usize;

/// Share of the connection table that a service may take when there are others, in percent: one that is
/// flooded leaves a quarter to them.
pub const SHARE_DEFAULT: u8 = 75;

/// Largest weight and threshold: IPVS keeps a C `int`, and ipvsadm refuses more.
pub const WEIGHT_MAX: u32 = i32::MAX as u32;

/// How long a deleted destination waits in the trash after its last connection is gone, in
/// seconds: IPVS keeps it as long, so that adding it back finds its statistics.
pub const TRASH_IDLE_S: u64 = 120;

/// Longest timeout in seconds: 31 days, as in IPVS.
pub const TIMEOUT_S_MAX: u32 = 2_678_400;
