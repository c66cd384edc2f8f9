//! A million connections are listed while packets flow, by a process that holds none of them.
//!
//! What it costs is printed, not asserted: a busy machine is slower. `DIRIGO_CONNECTIONS=1048576` is
//! the full measurement, `cargo test --release` the one that counts.
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::feeder::Feeder;
use common::service;
use dirigo_lab::process::Process;
use dirigo_lab::{Family, Host, Lab};

/// The UDP service's port.
const PORT: u16 = 53;
/// Frames between two looks at the clock.
const BURST: u32 = 1 << 14;
/// What listing may take of memory, however many there are.
const MEMORY_MAX_KB: u64 = 200 << 10;

/// How many connections: a power of two.
fn connections() -> u32 {
    let count = std::env::var("DIRIGO_CONNECTIONS").ok();
    count
        .and_then(|word| word.parse().ok())
        .unwrap_or(1_u32 << 15)
        .next_power_of_two()
}

/// What one listing was like.
struct Listing {
    took: Duration,
    lines: usize,
    bytes: usize,
    memory_kb: u64,
}

#[test]
fn connections_are_listed_in_bounded_memory_while_packets_flow() {
    if !common::have_root() {
        return;
    }
    let count = connections();
    let mut lab = service::up(Family::Ipv4);
    lab.capture.stop();
    let daemon = with_room(&mut lab, count * 2);
    let address = offer(&lab);
    let mut feeder = Feeder::new(&lab, count * 2, datagram(address), count);
    lab.net
        .on(Host::Director, || fill(&mut feeder, count))
        .unwrap();
    // Some find both of their buckets full, and take another one's place.
    let least = count as usize / 100 * 98;

    let begun = Instant::now();
    let for_a_while = || begun.elapsed() > Duration::from_millis(500);
    let quiet = lab
        .net
        .on(Host::Director, || pace(&mut feeder, for_a_while));
    for words in [
        &["connections"][..],
        &["connections", "--json"],
        &["connections", "--sort", "client", "--limit", "10"],
        &["connections", "--sort", "expires", "--reverse"],
        &["connections", "--client", "10.0.0.0/24"],
        &["ipvsadm", "-Lnc"],
    ] {
        let is_listed = AtomicBool::new(false);
        let (listing, busy) = std::thread::scope(|scope| {
            let listing = scope.spawn(|| {
                let listing = list(&lab, words);
                is_listed.store(true, Ordering::Relaxed);
                listing
            });
            let is_over = || is_listed.load(Ordering::Relaxed);
            let busy = lab.net.on(Host::Director, || pace(&mut feeder, is_over));
            (listing.join().unwrap(), busy.unwrap())
        });
        report(words, &listing, quiet.as_ref().unwrap(), &busy);
        match words {
            [.., "--limit", _] => assert_eq!(listing.lines, 11),
            [.., "--client", _] => assert!((250..=257).contains(&listing.lines)),
            _ => assert!(listing.lines >= least, "{words:?}: {}", listing.lines),
        }
        assert!(listing.memory_kb < MEMORY_MAX_KB, "{words:?}");
    }
    conditions(&lab, address, least);
    let memory = peak_kb(daemon.id()).unwrap();
    dirigo_lab::say(&format!("the daemon's peak: {} MB", memory >> 10));
}

/// Each condition alone chooses what it says.
fn conditions(lab: &Lab, service: SocketAddr, least: usize) {
    let service = format!("udp:{service}");
    let server = Host::Rs1.address(lab.family()).to_string();
    let lines = |words: &[&str]| {
        let all = [&["connections", "--json"], words].concat();
        list(lab, &all).lines
    };
    assert_eq!(lines(&["--protocol", "tcp"]), 0);
    assert_eq!(lines(&["--state", "established"]), 0);
    assert_eq!(lines(&["--state", "udp", "--limit", "3"]), 3);
    assert_eq!(lines(&["--service", &service, "--limit", "5"]), 5);
    assert!(lines(&["--service", &service]) >= least);
    let half = lines(&["--destination", &server]);
    assert!(
        (least / 2 - least / 50..least / 2 + least / 25).contains(&half),
        "{half}"
    );
    assert_eq!(
        lines(&["--destination", &format!("{server}:{}", PORT + 1)]),
        0
    );
    assert_eq!(lines(&["--limit", "0"]), 0);

    let unknown = Command::new(lab.net.dirigo())
        .args(["connections", "--service", "tcp:192.0.2.1:9"])
        .env("DIRIGO_INSTANCE", lab.net.state().instance())
        .output()
        .unwrap();
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!(unknown.status.code(), Some(1), "{said}");
    assert!(
        said.contains("there is no virtual service tcp:192.0.2.1:9"),
        "{said}"
    );
}

/// Every source sends once.
fn fill(feeder: &mut Feeder, count: u32) {
    for _ in 0..count / BURST {
        let _each = feeder.burst(BURST);
    }
}

/// Another director in the place of the lab's, whose table is small.
fn with_room(lab: &mut Lab, connections_max: u32) -> Process {
    lab.kill_director();
    let instance = lab.net.state().instance();
    let mut release = Command::new(lab.net.dirigo());
    release.args(["down", "--release", "--instance", &instance]);
    lab.net.exec_ok(Host::Director, &mut release).unwrap();
    let file = lab.net.state().directory().join("roomy.toml");
    let config =
        format!("[director]\ninterface = \"eth0\"\n[connections]\nmax = {connections_max}\n");
    std::fs::write(&file, config).unwrap();
    let dirigo = lab.net.dirigo().display().to_string();
    let words = [
        &dirigo,
        "run",
        "-c",
        file.to_str().unwrap(),
        "--instance",
        &instance,
    ];
    let words = words.map(Into::into).to_vec();
    let process = lab.net.spawn(Host::Director, "roomy", words).unwrap();
    let answers = lab.net.interrupt().poll(Duration::from_secs(20), || {
        Ok(lab.ipvsadm(&["-L", "--timeout"]).ok())
    });
    answers.unwrap().expect("the roomy director answers");
    process
}

fn offer(lab: &Lab) -> SocketAddr {
    let address = SocketAddr::new(lab.family().vip(), PORT);
    let name = address.to_string();
    lab.ipvsadm(&["-A", "-u", &name, "-s", "rr"]).unwrap();
    for server in Host::SERVERS {
        let server = server.address(lab.family()).to_string();
        lab.ipvsadm(&["-a", "-u", &name, "-r", &server]).unwrap();
    }
    address
}

fn datagram(service: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(service) = service else {
        unreachable!("the lab is IPv4");
    };
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(Host::Client.mac(), Host::Director.mac())
        .ipv4([10, 0, 0, 0], service.ip().octets(), 64)
        .udp(40_000, service.port())
        .write(&mut frame, &[0; 64])
        .unwrap();
    frame
}

/// Nanoseconds for a frame of a known flow, on average over a burst: the median, and the longest.
struct Pace {
    median: u64,
    longest: u64,
    bursts: usize,
}

/// Sends known flows until told that it is over.
fn pace(feeder: &mut Feeder, is_over: impl Fn() -> bool) -> Pace {
    let mut times = Vec::new();
    while times.is_empty() || !is_over() {
        times.push(feeder.burst(BURST).as_nanos() as u64);
    }
    times.sort_unstable();
    Pace {
        median: times[times.len() / 2],
        longest: times[times.len() - 1],
        bursts: times.len(),
    }
}

fn list(lab: &Lab, words: &[&str]) -> Listing {
    let begun = Instant::now();
    let mut child = Command::new(lab.net.dirigo())
        .args(words)
        .env("DIRIGO_INSTANCE", lab.net.state().instance())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let id = child.id();
    let (lines, bytes, memory_kb) = std::thread::scope(|scope| {
        let memory = scope.spawn(move || watch(id));
        let (lines, bytes) = count_lines(&mut output);
        (lines, bytes, memory.join().unwrap())
    });
    let took = begun.elapsed();
    assert!(child.wait().unwrap().success(), "{words:?}");
    Listing {
        took,
        lines,
        bytes,
        memory_kb,
    }
}

fn count_lines(output: &mut impl Read) -> (usize, usize) {
    let (mut lines, mut bytes) = (0, 0);
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = output.read(&mut piece).unwrap();
        if read == 0 {
            return (lines, bytes);
        }
        bytes += read;
        let piece = &piece[..read];
        lines += piece.iter().filter(|byte| **byte == b'\n').count();
    }
}

/// A process's peak, looked at until it has ended: then it has no memory any more.
fn watch(process: u32) -> u64 {
    let mut most = 0;
    while let Some(now) = peak_kb(process) {
        most = now;
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}

/// The most memory that a process ever had.
fn peak_kb(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn report(words: &[&str], listing: &Listing, quiet: &Pace, busy: &Pace) {
    dirigo_lab::say(&format!(
        "dirigo {}: {} lines, {} MB in {:.2} s, {} MB of memory; a frame meanwhile {} ns (longest burst {}, \
         {} bursts), before {} ns (longest {})",
        words.join(" "),
        listing.lines,
        listing.bytes >> 20,
        listing.took.as_secs_f64(),
        listing.memory_kb >> 10,
        busy.median,
        busy.longest,
        busy.bursts,
        quiet.median,
        quiet.longest,
    ));
}
