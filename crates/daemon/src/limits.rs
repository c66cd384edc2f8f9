//! Every bound of the process, each with its reason.

use std::time::Duration;

/// How often the actor looks after what nobody asks for: expiry, announcements, the trash.
pub const TICK: Duration = Duration::from_millis(100);

/// Ticks in which expiry goes once through the connection table: a connection that has run out
/// is listed at most 5 s longer, and a tick touches a fiftieth of the table.
pub const SWEEP_TICKS: usize = 50;

/// Ticks between two readings of the gauges of deleted destinations. Their ids rest 120 s; ten
/// seconds more or less do not matter.
pub const TRASH_TICKS: u64 = 100;

/// Ticks between two looks at what may have been missed or could not be done: interfaces,
/// virtual addresses, changes of the network. A second: what is wrong so long is seen by people.
pub const LOOK_TICKS: u64 = 10;

/// How long after a real server was drained templates are looked for again that a processor made at that
/// very moment, in seconds.
pub const TEMPLATES_TURNED_S: u64 = 3;

/// Real servers that a refusal names: enough to see a slip of the finger.
pub const SERVERS_SHOWN: usize = 8;

/// New connections in that time from which on a destination is judged. With fewer, chance would.
pub const SUSPECT_CONNECTIONS: u64 = 3;

/// How long one that was suspected is left alone: its checks have answered long before.
pub const SUSPECT_AGAIN: Duration = Duration::from_secs(30);

/// How long `dirigo health` shows it, if its checks pass all the same.
pub const SUSPECT_SHOWN: Duration = Duration::from_secs(60);

/// Ticks in which every counter is looked at once: IPVS's 2 s.
pub const ESTIMATE_TICKS: u32 = 20;

/// Counters of destinations that are looked at in one tick, when they are not so many that the 2 s would
/// not do: about a millisecond of system calls.
pub const ESTIMATES_PER_TICK: usize = 1024;

/// Bytes of changes behind a written state before it is written anew, if it is not longer itself: some
/// thousand changes, which are read again in milliseconds.
pub const STATE_TAIL_BYTES: u64 = 1 << 20;

/// Longest name of an instance: a file name with room for its endings.
pub const INSTANCE_NAME_BYTES: usize = 64;

/// Messages that wait for the actor. An API request that finds more waiting is refused: the
/// actor needs some milliseconds for each, and a client waits ten seconds.
pub const MESSAGES: usize = 1024;

/// Longest request: a change is some hundred bytes.
pub const REQUEST_BYTES: usize = 64 * 1024;

/// Longest batch: as many changes as [`api::BATCH_MAX`], and twice the bytes that a long one takes.
pub const BATCH_BYTES: usize = api::BATCH_MAX * 1024;

/// Longest configuration that is sent to be planned: 1,000 services of 100 destinations are 6 MB.
pub const PLAN_BYTES: usize = 16 << 20;

/// Plans that are made at once; others wait. Each holds a copy of the table.
pub const PLANS: usize = 2;

/// Bytes of connections listed in one piece of an answer.
pub const LISTING_CHUNK_BYTES: usize = 64 * 1024;

/// Longest line of a listing: six fields, of which three are IPv6 addresses with ports.
pub const LISTING_LINE_BYTES: usize = 384;

/// Pieces of a listing that wait for a slow reader; it then holds up only its own thread.
pub const LISTING_CHUNKS: usize = 4;

/// Open connections to the API; more wait. Commands ask once and go; a handful of programs watch.
pub const CONNECTIONS: usize = 64;

/// Length of a token: what nobody guesses, and what fits into a header beside others.
pub const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=512;

/// How long a TLS handshake may take: a few round trips around the world.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a connection from the network may be silent in both directions; streams say something every
/// [`EVENT_SILENCE`].
pub const SILENCE: Duration = Duration::from_secs(60);

/// Listings at once. Each walks the whole table in a thread of its own.
pub const LISTINGS: usize = 4;

/// Scrapes of metrics at once: two Prometheus servers, and a person who looks.
pub const SCRAPES: usize = 3;

/// How old a count of the connection table by state may be when metrics show it. The largest table is a
/// quarter of a gibibyte to read; people scrape every 15 s.
pub const COUNT_AGE: Duration = Duration::from_secs(10);

/// Events that are remembered: hours of a quiet director, a minute of a bad one; half a megabyte.
pub const EVENTS: usize = 1024;

/// Events in one piece of a stream.
pub const EVENTS_AT_ONCE: usize = 64;

/// Pieces of a stream that wait for a slow reader; what follows waits in the ring.
pub const EVENT_CHUNKS: usize = 2;

/// Longest silence of a stream: half of what a client takes for the end.
pub const EVENT_SILENCE: Duration = Duration::from_secs(5);

/// When a browser that lost its stream comes back.
pub const EVENT_RETRY: Duration = Duration::from_secs(1);

/// Streams of events at once: half of the connections, so that commands find a place.
pub const FOLLOWERS: usize = CONNECTIONS / 2;

/// How often rates and connections are read for those who draw them, while somebody does.
pub const STATISTICS: Duration = Duration::from_secs(1);

/// Readings take the actor one part in so many at most: with very many services they are less frequent.
pub const STATISTICS_SHARE: u32 = 20;

/// When a webhook that failed is tried again: a restart, a moment, and a while; events wait behind it.
pub const NOTIFY_AGAIN: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(25),
];

/// What is kept of a program's complaint.
pub const NOTIFY_OUTPUT_BYTES: u64 = 4096;

/// How long a stopping daemon waits for open requests.
pub const STOP_WAIT: Duration = Duration::from_secs(2);

/// How long adding a destination waits for its first answer. IPVS would queue the first packets
/// in the kernel meanwhile; we would refuse them. A live neighbour answers within milliseconds.
pub const RESOLVE_WAIT: Duration = Duration::from_millis(500);

/// Destinations with checks up to which what is believed is written after every change; with more, once in a
/// while.
pub const BELIEVED_AT_ONCE: usize = 2_000;

/// Clients that are tried to say how many a change would move, when that cannot be computed: two decimals of a
/// percent are not meant, but its order is.
pub const FORECAST_CLIENTS: u32 = 4_096;

/// Configurations that are kept to go back to: some weeks of changes, some megabytes at most.
pub const GENERATIONS: usize = 20;

/// How long a configuration waits for the first checks of real servers that are to take a service over: an
/// attempt begins within a second and ends with its time.
pub const CHECK_WAIT: Duration = Duration::from_secs(5);

/// How long a fresh start waits for all real servers before it takes traffic; as above, with
/// room for many.
pub const START_WAIT: Duration = Duration::from_secs(1);

/// How often a real server is asked. Two unanswered questions and one answer fit into the
/// second within which a changed MAC is followed.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(300);

/// How often one that is lost is asked, by broadcast: the whole segment hears each.
pub const LOST_INTERVAL: Duration = Duration::from_millis(500);

/// Questions a second by broadcast, for all lost servers together; with more than 250 the
/// interval grows. Each is heard by every host of the segment.
pub const BROADCASTS_PER_SECOND: u32 = 500;

/// Questions a second, to all real servers together; with more than 600 the interval grows.
pub const PROBES_PER_SECOND: u32 = 2000;

/// Least time between two questions to one real server, whatever happens: hints may come from
/// anybody on the segment.
pub const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Unanswered questions after which a real server is lost: 3 s, as long as the kernel asks
/// before it gives a neighbour up (`ucast_solicit` or `mcast_solicit` 3, `retrans_time` 1 s).
pub const LOST_AFTER: u32 = 10;

/// How long after a question an answer counts. An answer to nothing we asked is not believed.
pub const ANSWER_WINDOW: Duration = Duration::from_secs(1);

/// Announcements of a virtual address at once, and again later: what keepalived sends
/// (`garp_master_repeat` 5, `garp_master_delay` 5 s).
pub const ANNOUNCEMENTS: u32 = 5;

/// Time between two of them, so that one full queue does not lose all.
pub const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_millis(100);

/// Time from the first to the second round.
pub const ANNOUNCEMENT_DELAY: Duration = Duration::from_secs(5);

/// How long routes and addresses must be quiet before they are looked up again.
pub const ROUTE_QUIET: Duration = Duration::from_millis(50);

/// How often they are looked up without a reason.
pub const ROUTE_REFRESH: Duration = Duration::from_secs(30);

/// How long a lock that another process holds is waited for: the kernel needs some tenths of a
/// second to end a killed daemon and give its maps back, and a stopping one waits [`STOP_WAIT`].
pub const LOCK_WAIT: Duration = Duration::from_secs(3);

/// How long `down` waits for the daemon to go.
pub const DOWN_WAIT: Duration = Duration::from_secs(10);

/// How far up those that started us are looked at: shells, sudo, service managers and their
/// wrappers are a handful.
pub const ANCESTORS: usize = 32;

/// How often other hosts are asked whether they have one of our virtual addresses.
pub const CLAIM_QUESTION: Duration = Duration::from_secs(30);

/// How often our own addresses and interfaces are read for that.
pub const CLAIM_REFRESH: Duration = Duration::from_secs(2);

/// How long the listener waits for a frame before it looks at the clock.
pub const CLAIM_WAIT: Duration = Duration::from_millis(500);

/// Frames read from one interface before another's turn.
pub const CLAIM_FRAMES: u32 = 1_000;

/// Silence after which a claim has ended: it was not repeated after two questions.
pub const CLAIM_ENDED: Duration = Duration::from_secs(75);

/// Virtual addresses of one interface that are asked for: as many frames in half a minute as an ARP
/// storm has in a millisecond.
pub const CLAIM_ADDRESSES: usize = 4_096;

/// Claims that go on at once and are told; anybody on the segment can make them.
pub const CLAIMS_MAX: usize = 1_024;

/// Frames that wait for a trace's reader, whole ones 6 MB; those beyond are counted.
pub const TRACE_FRAMES: usize = 2048;

/// Frames in a second that a CPU may tell a trace of, unless the client says otherwise: as many lines as people
/// and files can take, and too few to cost a busy director much.
pub const TRACE_RATE: u32 = 10_000;

/// Bytes of a frame that a trace reads at least: two VLAN tags, IPv6, ICMPv6, and the quoted packet's headers.
pub const TRACE_HEAD_BYTES: u32 = 192;

/// How often a trace says how many frames there were, and learns new names.
pub const TRACE_TALLY: Duration = Duration::from_secs(1);

/// How long a trace waits for a frame before it looks whether its client is still there, in milliseconds.
pub const TRACE_WAIT_MS: u16 = 200;
