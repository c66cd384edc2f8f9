//! Every bound of the lab, with its reason.

use std::time::Duration;

/// Frames kept per capture point. The experiment sees some thousands; a load test many more, and
/// then the first ones are the ones that explain.
pub const FRAMES_MAX: usize = 200_000;

/// How long a capture waits for the next frame before it looks whether it should end. Also the
/// silence after which everything sent so far counts as seen.
pub const CAPTURE_IDLE: Duration = Duration::from_millis(15);

/// How long the captures may take to become silent; a busy segment never does.
pub const SETTLE_MAX: Duration = Duration::from_millis(500);

/// After the first answer to "who has the VIP", how long further answers are awaited. Everything
/// happens in one machine, so an answer takes microseconds.
pub const FURTHER_ANSWERS: Duration = Duration::from_millis(120);

/// How long a neighbour may take to be resolved. The kernel asks three times, a second apart.
pub const RESOLVE_MAX: Duration = Duration::from_secs(4);

/// How long the daemon may take until its API answers: loading the program takes most of it, and
/// an emulated machine is a hundred times slower than a real one.
pub const DAEMON_READY_MAX: Duration = Duration::from_secs(60);

/// How long the director may take to learn the real servers' MACs. It asks as it starts.
pub const SERVERS_READY_MAX: Duration = Duration::from_secs(20);

/// How long a web server may take until it accepts.
pub const PAGE_READY_MAX: Duration = Duration::from_secs(20);

/// How long the program at the director's port may take to be attached.
pub const FLUSH_READY_MAX: Duration = Duration::from_secs(30);

/// How long one command (ipvsadm, realserver) may take.
pub const COMMAND_MAX: Duration = Duration::from_secs(30);

/// How long a killed process may take to be gone.
pub const GONE_MAX: Duration = Duration::from_secs(5);

/// One attempt to connect or to read an answer. TCP repeats a lost SYN after one second.
pub const HTTP_MAX: Duration = Duration::from_secs(4);

/// Longest HTTP head and body of the lab's own pages.
pub const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// Pause between two looks at something that is awaited.
pub const POLL: Duration = Duration::from_millis(5);

/// Requests of one `lab run --requests`: two spreads of them fit into [`FRAMES_MAX`].
pub const REQUESTS_MAX: u32 = 5_000;

/// How often two hosts that both answer ARP for the VIP are raced until the wrong one wins.
pub const RACES_MAX: u32 = 10;

/// The same for neighbour discovery, where the winner hardly ever changes and there is another way
/// to lose.
pub const RACES_MAX_IPV6: u32 = 2;

/// How often an observation is made again because the director announced the VIP meanwhile. A
/// director announces in short rounds (some hundred milliseconds), seconds apart.
pub const UNDISTURBED_TRIES: u32 = 4;

/// Pause before such a repetition: longer than a round.
pub const ANNOUNCING: Duration = Duration::from_millis(700);

/// Longest name of a lab. It is part of namespace and file names.
pub const NAME_MAX: usize = 32;

/// Bytes of a log that are quoted in an error.
pub const LOG_TAIL_BYTES: usize = 2_000;
