//! Every bound of the doctor, with its reason.

use std::time::Duration;

/// Rounds of questions when none are asked for. A host that answers now and then (a firewall, a
/// race) shows itself in the second or third; more rounds find little more.
pub const ROUNDS: u32 = 3;

/// Rounds at most: a quarter of an hour of asking is a flood.
pub const ROUNDS_MAX: u32 = 1_000;

/// How long each round listens. A host answers ARP in microseconds, a sleeping one in some tens of
/// milliseconds; a listener hears latecomers in the next round.
pub const ROUND: Duration = Duration::from_millis(250);

/// Addresses asked for. Three rounds of this many frames are what one client's boot causes on a
/// large segment; a director with more gets the rest in `unseen`.
pub const ADDRESSES_MAX: usize = 512;

/// Ways looked up: all of the above, and the neighbours of a large segment.
pub const ROUTES_MAX: usize = 2_048;

/// Answers kept for one examination; three rounds of the above, answered twice each.
pub const CLAIMS_MAX: usize = 4_096;

/// Packets down the true path in one examination, one for each service and server.
pub const PATHS_MAX: usize = 512;

/// How long an answer to such a packet is awaited, in each try. A local server needs a millisecond.
pub const ANSWER: Duration = Duration::from_millis(300);

/// Tries of each packet: one may be lost, two are not by chance.
pub const TRIES: u32 = 2;

/// Smallest echo: what every segment carries.
pub const ECHO_BYTES: u16 = 64;

/// How long an external program (`nft`, `iptables-save`) may take.
pub const COMMAND: Duration = Duration::from_secs(10);

/// Longest output of such a program. 100,000 rules are some 30 MiB.
pub const OUTPUT_MAX_BYTES: u64 = 64 << 20;

/// Rules walked for one packet. A ruleset whose jumps multiply beyond that is given up.
pub const RULES_MAX: usize = 200_000;

/// Depth of jumps, as the kernel's own (`NFT_JUMP_STACK_SIZE`).
pub const JUMPS_MAX: usize = 16;

/// Neighbour changes kept by a watcher to tell flapping ones.
pub const CHANGES_MAX: usize = 4_096;

/// Pause between two examinations of `--watch`.
pub const WATCH: Duration = Duration::from_secs(5);

/// Listeners read from `/proc/net`; a busy host has some hundreds.
pub const LISTENERS_MAX: usize = 65_536;

/// A receive ring below this loses frames in a burst of a millisecond at 500,000 frames a second.
pub const RX_RING_MIN: u32 = 512;

/// Share of the connection tracking table, in percent, from which on it is as good as full: a burst
/// fills the rest.
pub const CONNTRACK_FULL_PERCENT: u64 = 90;

/// Available memory, in percent of all, below which the daemon may be the one that is ended.
pub const MEMORY_LOW_PERCENT: u64 = 3;

/// Descriptors of one process that are looked at; who attaches programs has few.
pub const FDS_MAX: usize = 4_096;
