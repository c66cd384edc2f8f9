//! Exit codes of every subcommand but `ipvsadm`, which keeps ipvsadm's own.

/// Failed, or findings.
pub const FAILED: u8 = 1;
/// Bad usage.
pub const USAGE: u8 = 2;
/// The daemon cannot be reached.
pub const UNREACHABLE: u8 = 3;
/// Not permitted.
pub const NOT_PERMITTED: u8 = 4;
/// Bad configuration.
pub const BAD_CONFIG: u8 = 78;
