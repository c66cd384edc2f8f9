//! Everything bounded, with the reason.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Local ports of checks on the true path, for each of the director's addresses.
///
/// Below Linux's own range for outgoing connections (32,768 to 60,999), so that no connection of
/// the host is ever given one. Each is an attempt under way, or one that has just ended.
pub const PORTS: RangeInclusive<u16> = 28_672..=30_719;

/// How long a port rests after a connection that was not reset: its last packets still pass.
pub const PORT_REST: Duration = Duration::from_secs(2);

/// Addresses of this host that checks are sent from: one for each segment and family.
pub const SOURCES: usize = 64;

/// How long an address of the checks' namespace may take to become usable: a work queue of the
/// kernel that others keep busy, too.
pub const SOURCE_READY: Duration = Duration::from_secs(2);

/// Pairs of a real server and a virtual address that are watched for answers to ARP.
pub const WATCHED: usize = 262_144;

/// How long a real server that announced a virtual address by ARP is held to do so: it asks for us
/// only when its own entry has grown old, which takes Linux half a minute.
pub const ANNOUNCED_HOLDS: Duration = Duration::from_secs(60);

/// Orders for sockets that wait for the thread that makes them. One attempt waits for one.
pub const ORDERS: usize = 4096;

/// How long a check waits for the first word of where its real server is, before it looks again.
pub const UNHEARD_WAIT: Duration = Duration::from_millis(100);

/// How soon a suspected real server is asked again while it fails, if its check has no fast interval: often
/// enough that a usual `fall` is decided in seconds.
pub const HURRY_INTERVAL: Duration = Duration::from_secs(1);

/// Probes of one director: ten times the largest set that is measured.
pub const PROBES: usize = 20_000;

/// Attempts under way at a time; the rest wait for one to end. Each holds two descriptors and at
/// most [`BODY_BYTES`] of memory.
pub const ATTEMPTS: usize = 1024;

/// Scripts running at a time: each is a process.
pub const SCRIPTS: usize = 32;

/// Longest body of an answer that is read, for its digest or a pattern in it.
pub const BODY_BYTES: usize = 1 << 20;

/// Longest line of SMTP and agents (RFC 5321 §4.5.3.1.5 has 512 bytes for SMTP).
pub const LINE_BYTES: usize = 1024;

/// Lines of one SMTP answer.
pub const LINES: usize = 64;

/// What is kept of a script's output, for the reason.
pub const OUTPUT_BYTES: usize = 256;

/// How often a service's slow start raises a weight: each step is a new rotation.
pub const SLOW_START_STEPS: u32 = 20;

/// Shortest interval between two checks of a probe.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Longest interval between two checks of a probe.
pub const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// Most checks that must agree.
pub const AGREEING_MAX: u32 = 100;

/// Heaviest weight, as in `ipvsadm -w`.
pub const WEIGHT_MAX: u32 = i32::MAX as u32;
