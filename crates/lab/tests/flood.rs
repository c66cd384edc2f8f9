//! A flood of SYNs from spoofed sources, during a load of established connections.
//!
//! The flood runs through the director's own program over the running instance's tables, at the
//! speed of `BPF_PROG_TEST_RUN`: no network of the lab is as fast. The load takes the wire, so the
//! program runs on two CPUs at once.
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use common::feeder::Feeder;
use common::service;
use dirigo_lab::http::Connection;
use dirigo_lab::{Family, Host, Lab};

/// Connections that wrk keeps open.
const WRK_CONNECTIONS: u32 = 16;
/// Connections that are silent during the flood.
const SILENT_CONNECTIONS: u32 = 16;
/// Spoofed sources: all of 10.0.0.0/8.
const SOURCES: u32 = 1 << 24;
/// SYNs between two looks at the clock, a tenth of a second. Before each burst the kernel waits for all CPUs to leave
/// the old program (`bpf_prog_change_xdp`), so that small ones would be mostly waiting.
const BURST: u32 = 1 << 18;

/// How long the flood runs, unless `DIRIGO_FLOOD_SECONDS` says otherwise.
fn flood_seconds() -> u64 {
    let seconds = std::env::var("DIRIGO_FLOOD_SECONDS").ok();
    seconds.and_then(|word| word.parse().ok()).unwrap_or(10)
}

#[test]
fn a_syn_flood_from_spoofed_sources_breaks_no_established_connection() {
    if !common::have_root() || !common::have_wrk() {
        return;
    }
    let mut lab = service::up(Family::Ipv4);
    lab.capture.stop();
    let mut flood = Flood::prepare(&lab);
    let mut silent: Vec<(Connection, Option<Host>)> = (0..SILENT_CONNECTIONS)
        .map(|_| open_and_ask(&lab))
        .collect();
    let seconds = flood_seconds();
    let wrk = start_wrk(&lab, seconds + 3);
    let all = (WRK_CONNECTIONS + SILENT_CONNECTIONS) as usize;
    let ready = lab.net.interrupt().poll(Duration::from_secs(20), || {
        let found = flood.established();
        Ok((found.len() == all).then_some(found))
    });
    let established = ready.unwrap().expect("wrk opened its connections");
    let before = counters(&lab);

    let sent = flood.run(&lab, Duration::from_secs(seconds));

    let after = counters(&lab);
    let remain = flood.established();
    let kept = established.intersection(&remain).count();
    report(&sent, &before, &after, kept, all);
    let said = wrk.join().unwrap();
    for (connection, server) in &mut silent {
        assert_eq!(connection.get().unwrap().server(), *server);
    }
    assert_eq!(remain, established, "established connections");
    // wrk writes these lines only if there is something to say.
    assert!(!said.contains("Socket errors"), "{said}");
    assert!(!said.contains("Non-2xx"), "{said}");
    assert!(said.contains("requests in"), "{said}");
    // Else the table was never full, and nothing was proved.
    let evicted = grown("evicted_half_open", &before, &after);
    assert!(evicted > 0, "{after:?}");
}

/// What went into the program.
struct Sent {
    syns: u64,
    took: Duration,
}

/// The feeder, with SYNs.
struct Flood(Feeder);

impl Flood {
    fn prepare(lab: &Lab) -> Self {
        Self(Feeder::new(lab, 65_536, syn(), SOURCES))
    }

    /// Every SYN has another source, until all had their turn.
    fn run(&mut self, lab: &Lab, length: Duration) -> Sent {
        let begun = Instant::now();
        let mut syns = 0;
        let director = lab.net.on(Host::Director, || {
            go_first();
            while begun.elapsed() < length {
                let _each = self.0.burst(BURST);
                syns += u64::from(BURST);
            }
        });
        director.unwrap();
        let took = begun.elapsed();
        Sent { syns, took }
    }

    /// Client and destination of every established connection.
    fn established(&self) -> BTreeSet<(SocketAddr, u32)> {
        let mut found = BTreeSet::new();
        self.0.plane.connections(&mut |connection| {
            if connection.state == "ESTABLISHED" {
                found.insert((connection.client, connection.destination));
            }
        });
        found
    }
}

/// A flood does not wait until wrk, the pages and other tests leave it a CPU. Where `chrt` is missing it is slower.
fn go_first() {
    let thread = nix::unistd::gettid().to_string();
    let mut chrt = Command::new("chrt");
    let _slower = chrt.args(["--rr", "--pid", "1", &thread]).output();
}

/// A SYN to the service, with room for the words that the feeder puts back.
fn syn() -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(Host::Client.mac(), Host::Director.mac())
        .ipv4([10, 0, 0, 0], [192, 168, 188, 120], 64)
        .tcp(40_000, dirigo_lab::topology::PORT, 1, 64_240)
        .syn()
        .write(&mut frame, &[0; 32])
        .unwrap();
    frame
}

fn open_and_ask(lab: &Lab) -> (Connection, Option<Host>) {
    let service = lab.family().service();
    let mut connection = Connection::open(&lab.net, Host::Client, service).unwrap();
    let server = connection.get().unwrap().server();
    assert!(server.is_some());
    (connection, server)
}

/// What wrk says in the end.
fn start_wrk(lab: &Lab, seconds: u64) -> std::thread::JoinHandle<String> {
    let client = lab.net.namespace(Host::Client).try_clone().unwrap();
    let service = lab.family().service();
    std::thread::spawn(move || {
        let mut wrk = Command::new("wrk");
        let connections = format!("-c{WRK_CONNECTIONS}");
        wrk.args(["-t1", &connections, &format!("-d{seconds}s")]);
        wrk.args(["--timeout", "10s", &format!("http://{service}/")]);
        let output = client.run(|| wrk.output()).unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        said
    })
}

fn counters(lab: &Lab) -> Counters {
    lab.director.as_ref().unwrap().status().unwrap().counters
}

type Counters = BTreeMap<String, u64>;

fn grown(name: &str, before: &Counters, after: &Counters) -> u64 {
    after[name] - before[name]
}

/// The report that this test is about.
fn report(sent: &Sent, before: &Counters, after: &Counters, kept: usize, of: usize) {
    let Sent { syns, took } = sent;
    let seconds = took.as_secs_f64();
    let rate = *syns as f64 / seconds / 1e6;
    // None has a second turn before all had one.
    let sources = (*syns).min(SOURCES.into());
    let names = [
        "connection_new",
        "evicted_expired",
        "evicted_half_open",
        "evicted_closing",
        "evicted_udp",
        "drop_table_full",
        "drop_service_share",
        "drop_race_lost",
    ];
    let moved = names.map(|name| format!("{name} {}", grown(name, before, after)));
    // Not captured: the report is to be seen when the test passes, too.
    dirigo_lab::say(&format!(
        "flood report: {syns} SYNs of {sources} spoofed sources in {seconds:.1} s ({rate:.2} M/s); {}; \
         {kept} of {of} established connections kept",
        moved.join(", ")
    ));
}
