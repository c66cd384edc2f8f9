//! What is remembered of a frame that was decided, for `dirigo trace`: shapes that the kernel's half and user space
//! share.
//!
//! ```text
//! record   │ Record, 64 bytes │ the frame as it came, `before_kept` bytes │ as it left, `after_kept` bytes │
//! ```
//!
//! The packet path knows nothing of this: it is the adapters of the kernel that, in a set of programs of its own,
//! keep each frame as it comes and as it leaves (`director-xdp/src/trace.rs`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a frame that are kept at most: a whole one of Ethernet's, with two VLAN tags.
pub const FRAME_BYTES: u32 = 1_536;
/// What lengths are masked by, so that a verifier sees their limit: a power of two less one.
pub const FRAME_MASK: u32 = 2_047;
const _: () = assert!(FRAME_BYTES <= FRAME_MASK);

/// Traces at once.
pub const TRACES: usize = 4;

/// What heads a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Record {
    /// When it was decided: the kernel's monotonic clock, nanoseconds.
    pub time_ns: u64,
    /// Counters that moved, a bit for each number: one verdict, and what happened beside it.
    pub counters: u64,
    /// Frames that this CPU has decided while it was watched.
    pub sequence: u64,
    /// The XDP action: 1 drop, 2 pass, 3 transmit, 4 redirect.
    pub action: u32,
    /// Interface that it came in by.
    pub interface: u32,
    /// Interface that it is redirected to, 0 when it is not.
    pub egress: u32,
    /// Destination that it was counted for, 0 for none.
    pub destination: u32,
    /// Bytes of the frame as it came.
    pub before_len: u32,
    /// Bytes of the frame as it left.
    pub after_len: u32,
    /// How many of the former follow.
    pub before_kept: u32,
    /// How many of the latter follow these.
    pub after_kept: u32,
    /// The CPU.
    pub cpu: u32,
    /// Traces that want it, a bit for each.
    pub wanted_by: u32,
}
const _: () = assert!(size_of::<Record>() == 64);

/// What all traces want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Control {
    /// Bytes of each frame to keep, [`FRAME_BYTES`] at most.
    pub snap: u32,
    /// Zero.
    pub reserved: u32,
    /// Each one's conditions.
    pub wanted: [Wanted; TRACES],
}

/// Which frames a trace wants, as far as the kernel's half can tell. Zeroes want none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Wanted {
    /// Verdicts, a bit for each counter's number.
    pub verdicts: u64,
    /// The client's network, IPv4 mapped; a packet is wanted when its address agrees in all bits of the mask.
    pub client: [u64; 2],
    /// Bits of the client's address that count.
    pub client_mask: [u64; 2],
    /// The virtual address, likewise.
    pub virtual_address: [u64; 2],
    /// All bits or none.
    pub virtual_mask: [u64; 2],
    /// The client's port, 0 for any.
    pub client_port: u32,
    /// The virtual port, 0 for any.
    pub virtual_port: u32,
    /// IP protocol number, 0 for any.
    pub protocol: u32,
    /// Every so manieth frame that is wanted; 0 and 1 for each.
    pub one_in: u32,
    /// Records that each CPU may make in a second.
    pub rate: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Wanted>() == 96);

/// What became of the frames that were decided, on one CPU, for one trace.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Tally {
    /// Decided while it watched.
    pub seen: u64,
    /// Of these, wanted.
    pub wanted: u64,
    /// Of these, kept.
    pub kept: u64,
    /// Left out by sampling.
    pub unsampled: u64,
    /// Left out because there were too many in this second.
    pub over_rate: u64,
    /// Left out because nobody had read what was kept.
    pub no_room: u64,
    /// The second that `in_second` counts.
    pub second: u64,
    /// Let through in this second.
    pub in_second: u64,
}
