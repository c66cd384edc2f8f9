//! Every bound of the configuration, each with its reason.
//!
//! A file that passes fits into the data plane's tables; nobody asks again behind this door.

use std::ops::RangeInclusive;

use director::limits as tables;

/// Bytes of a configuration, all its files together. 131,071 destinations at a generous 128 bytes are 16 MiB;
/// four times that is surely a mistaken path, and reading it would only cost memory.
pub const FILE_BYTES: u64 = 64 << 20;

/// Files in `conf.d`. One for each service of a large director, and some more.
pub const PIECES: usize = 4_096;

/// Interfaces with the program attached: egress slots of the data plane.
pub const INTERFACES: usize = tables::INTERFACES as usize;

/// Virtual services: the data plane numbers them 0 to 16,383.
pub const SERVICES: usize = tables::SERVICES as usize;

/// Destinations of all services together: the data plane numbers them 1 to 131,071, and 0
/// means none.
pub const DESTINATIONS: usize = tables::DESTINATIONS as usize - 1;

/// Bytes of an interface name: the kernel's `IFNAMSIZ` without its closing zero.
pub const INTERFACE_NAME_BYTES: usize = 15;

/// Destinations of one service whose scheduler chooses by a rotation or a table: `wrr` may need half a million
/// slots for as many with different weights, an eighth of what the data plane has.
pub const STATIC_DESTINATIONS: usize = 1_024;

/// Destinations of one service whose scheduler looks at all of them for each new connection.
pub const DYNAMIC_DESTINATIONS: usize = 256;

/// Remembered connections. Below a thousand the table's buckets fill unevenly; the largest
/// table takes about a gibibyte of memory that is never swapped out.
pub const CONNECTIONS: RangeInclusive<i64> = 1024..=16_777_216;

/// Connections remembered on small machines when the file does not say how many: 75 MB.
pub const CONNECTIONS_DEFAULT: u32 = tables::CONNECTIONS_DEFAULT;

/// Memory of a connection, in bytes.
pub const CONNECTION_BYTES: u64 = 72;

/// Which part of the memory goes to connections when the file does not say how many: a hundredth, 2 M
/// connections on a machine of 16 to 28 GiB. A machine that does nothing else can give more.
pub const MEMORY_SHARE: u64 = 100;

/// Seconds of an idle timeout: 31 days, as in `ipvsadm --set`. IPVS's 0 ("leave unchanged")
/// has no meaning in a file that states everything.
pub const TIMEOUT_S: RangeInclusive<i64> = 1..=2_678_400;

/// IPVS's `conn_reuse_mode`.
pub const CONN_REUSE_MODE: RangeInclusive<i64> = 0..=2;

/// Weight of a destination, as in `ipvsadm -w`.
pub const WEIGHT: RangeInclusive<i64> = 0..=2_147_483_647;

/// Checks. Services share them; a director with more has written them by a program that repeats itself.
pub const CHECKS: usize = 1_024;

/// Shortest and longest interval of a check; the room `health` bounds them in the same way.
pub const CHECK_INTERVAL: (&str, &str) = ("100ms", "60m");

/// Shortest and longest timeout of a check.
pub const CHECK_TIMEOUT: (&str, &str) = ("10ms", "60m");

/// Shortest and longest slow start.
pub const SLOW_START: (&str, &str) = ("0s", "60m");

/// Bytes of a compiled pattern: patterns with large repetitions are mistakes.
pub const PATTERN_BYTES: usize = 1 << 20;

/// Share of the connection table, in percent.
pub const SHARE: RangeInclusive<i64> = 1..=100;

/// A firewall mark; 0 is none.
pub const MARK: RangeInclusive<i64> = 1..=4_294_967_295;

/// Rules of firewall marks: the data plane compares each packet of no known connection with all of them.
pub const MARK_RULES: usize = 1_024;

/// Mistakes reported in one run. Nobody reads on behind these, and to place each costs a walk
/// through the file.
pub const MISTAKES: usize = 1_000;

/// Characters of a key or value that a message quotes before it cuts them short: a
/// message should stay readable when the file is not.
pub const QUOTED_CHARS: usize = 60;

/// Series of one scrape. Below a thousand not even those fit that are always there; five million are all that
/// the largest table has, and about 600 MB of text.
pub const MAX_SERIES: RangeInclusive<i64> = 1_000..=5_000_000;

/// Series of one scrape when the file does not say how many: what 1,000 services with 20,000 destinations have,
/// and what a small Prometheus takes without being asked.
pub const MAX_SERIES_DEFAULT: u32 = 200_000;

/// Those who are told of events: each has a task and may have a process.
pub const NOTIFY: usize = 32;
