//! What it costs the daemon to look at every entry of a full table: a sweep for expiry, and a listing.
//!
//! ```text
//! UDP flows fill the table ─► sweep, none over ─► list ─► all run out ─► sweep, all over
//! ```
//!
//! Times are of this thread's CPU, in slices as the daemon takes them.

use std::time::Duration;

use anyhow::Result;
use dataplane::Dataplane;

use super::frames::Kind;
use super::rig::Rig;
use super::{Args, Plane, spread, thread_time};

/// Entries that the mark is for, and the table's room.
const ENTRIES: u32 = 1 << 20;
/// More flows than room: what is left free is next to nothing.
const FLOWS: u32 = ENTRIES * 2;
/// Slices of a whole round.
const SLICES: usize = 50;
/// A sweep should cost less.
const MARK_MS: f64 = 50.0;
/// Timeout that all run out by.
const SHORT_S: u32 = 1;
/// The same, in which a slice finds nothing to do.
const LONG_S: u32 = 900;

/// Times it, and prints; the names of marks missed.
pub fn report(args: &Args) -> Result<Vec<&'static str>> {
    let room = Args {
        connections: ENTRIES,
        ..args.clone()
    };
    let mut plane = Plane::open(&room)?;
    let dataplane = &mut plane.dataplane;
    let (mut idle, mut listing, mut expiring) = (Vec::new(), Vec::new(), Vec::new());
    let (mut entries, mut listed) = (0, 0);
    println!();
    for _ in 0..args.rounds.div_ceil(3) {
        dataplane.write_timeouts(LONG_S, LONG_S, LONG_S);
        Rig::new(Kind::Udp.frame(), FLOWS, 1, dataplane)?.run(FLOWS)?;
        let (spent, _) = sweep(dataplane);
        idle.push(spent);
        let before = thread_time();
        listed = 0;
        dataplane.connections(&mut |_| listed += 1);
        listing.push(milliseconds(thread_time() - before));
        dataplane.write_timeouts(SHORT_S, SHORT_S, SHORT_S);
        // And the tick that has begun.
        std::thread::sleep(Duration::from_millis(1_600));
        let (spent, expired) = sweep(dataplane);
        expiring.push(spent);
        entries = expired;
    }
    let mut missed = Vec::new();
    for (name, times, mark) in [
        ("sweep, none has run out", &idle, Some(MARK_MS)),
        ("sweep, all have run out", &expiring, Some(MARK_MS)),
        ("list", &listing, None),
    ] {
        let (min, median, max) = spread(times);
        let mark = mark.inspect(|mark| {
            if median >= *mark {
                missed.push(name);
            }
        });
        let mark = mark.map_or_else(String::new, |mark| format!("  < {mark:.0}"));
        println!("{name:<30} ms of CPU: {min:>7.1} {median:>7.1} {max:>7.1}{mark}");
    }
    println!("of {entries} entries in a table of {ENTRIES}; {listed} listed");
    Ok(missed)
}

/// A whole round in slices: milliseconds, and how many were forgotten.
fn sweep(dataplane: &Dataplane) -> (f64, u64) {
    let buckets = (ENTRIES / 4) as usize;
    let before = thread_time();
    let expired = (0..SLICES)
        .map(|_| dataplane.sweep(buckets.div_ceil(SLICES)).expired)
        .sum();
    (milliseconds(thread_time() - before), expired)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
