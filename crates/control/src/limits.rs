//! Every bound of this room, each with its reason.

/// Virtual services: the data plane numbers them in 14 bits.
pub const SERVICES: u32 = 16_384;

/// Destinations of all services together, deleted ones whose connections live included: the
/// connection table keeps 17 bits for each; number 0 is never used.
pub const DESTINATION_IDS: u32 = 131_072;

/// Interfaces that frames leave through: a destination names its slot in 4 bits.
pub const EGRESS_SLOTS: u8 = 16;

/// Largest weight and threshold: IPVS keeps a C `int`, and ipvsadm refuses more.
pub const WEIGHT_MAX: u32 = i32::MAX as u32;

/// How long a deleted destination waits in the trash after its last connection is gone, in
/// seconds: IPVS keeps it as long, so that adding it back finds its statistics.
pub const TRASH_IDLE_S: u64 = 120;

/// Longest timeout in seconds: 31 days, as in IPVS.
pub const TIMEOUT_S_MAX: u32 = 2_678_400;
