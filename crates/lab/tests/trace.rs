//! What a trace tells, against tcpdump and tshark; and the ladder of one request over all hosts.
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dirigo_lab::page::Kind;
use dirigo_lab::{Family, Host, Lab, http};
use netlink::{Namespace, mac_text};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_trace_agrees_with_tcpdump_and_tshark_and_the_ladder_shows_the_three_hops() {
    if !common::have_root() || !have_tools() {
        return;
    }
    let lab = Lab::up(
        &common::options(Family::Ipv4),
        Kind::available(),
        &mut |_| {},
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let points = [
        ("client", lab.net.namespace(Host::Client), "eth0"),
        ("switch", lab.net.switch(), Host::Director.name()),
        ("rs1", lab.net.namespace(Host::Rs1), "eth0"),
        ("rs2", lab.net.namespace(Host::Rs2), "eth0"),
    ];
    let captures: Vec<(PathBuf, Child)> = points
        .iter()
        .map(|(name, namespace, interface)| {
            let file = at(&format!("{name}.pcap"));
            let child = tcpdump(namespace, interface, &file);
            (file, child)
        })
        .collect();
    let director = lab.net.namespace(Host::Director);
    let instance = lab.net.state().instance();
    let trace = |words: &[&str], out: &str| {
        let mut command = Command::new(common::dirigo());
        command.args(["trace", "--instance", &instance]).args(words);
        command.stdout(std::fs::File::create(at(out)).unwrap());
        director.spawn(&mut command).unwrap()
    };
    let pcapng = at("trace.pcapng");
    let mut json = trace(
        &["--json", "--service", "tcp:192.168.188.120:80"],
        "trace.json",
    );
    let mut file = trace(&["-w", pcapng.to_str().unwrap()], "none");
    until("both traces run", || {
        lines(&at("trace.json")) > 0 && pcapng.metadata().is_ok_and(|file| file.len() > 0)
    });

    let service = Family::Ipv4.service();
    let answer = http::get(&lab.net, Host::Client, service).unwrap();
    let server = answer.server().unwrap();
    let client = answer.from;
    until("the end of the connection is told of", || {
        let frames = frames(&at("trace.json"), client);
        frames
            .iter()
            .filter(|frame| frame["what"].as_str().unwrap().contains("FIN"))
            .count()
            > 0
            && frames.len() as u64 == seen_by_client(&captures[0].0, client)
    });
    std::thread::sleep(Duration::from_millis(1_500));
    for child in [&mut json, &mut file] {
        stop(child);
    }
    let captures: Vec<PathBuf> = captures
        .into_iter()
        .map(|(file, mut child)| {
            stop(&mut child);
            file
        })
        .collect();

    // Each frame as it came and as it left: what tcpdump saw at the director's port.
    let told = frames(&at("trace.json"), client);
    let mut hops: Vec<String> = told
        .iter()
        .flat_map(|frame| ["before", "after"].map(|side| hop(&frame[side])))
        .collect();
    let filter = format!("ip.src=={} and tcp.srcport=={}", client.ip(), client.port());
    let fields = [
        "eth.src",
        "eth.dst",
        "ip.src",
        "tcp.srcport",
        "ip.dst",
        "tcp.dstport",
        "ip.ttl",
        "frame.len",
    ];
    let mut witnessed = tshark(&captures[1], &filter, &fields);
    hops.sort();
    witnessed.sort();
    assert_eq!(hops, witnessed);
    for frame in &told {
        assert_eq!(
            frame["destination"],
            format!("{}:80", server.address(Family::Ipv4))
        );
    }
    assert_eq!(told[0]["chosen_by"], "scheduler");

    // The same from the file, with direction, verdict and the decision.
    let fields = [
        "frame.packet_flags_direction",
        "eth.dst",
        "frame.verdict.ebpf_xdp",
        "frame.comment",
    ];
    let packets = tshark(&pcapng, &filter, &fields);
    assert_eq!(packets.len(), hops.len(), "{packets:?}");
    let macs = [Host::Director, server].map(|host| mac_text(&host.mac()));
    assert_eq!(packets[0], format!("0x00000001\t{}\t3\t", macs[0]));
    let begin = format!(
        "0x00000002\t{}\t3\tsent to {}:80 by scheduler",
        macs[1],
        server.address(Family::Ipv4)
    );
    assert!(packets[1].starts_with(&begin), "{}", packets[1]);
    assert!(
        packets[1].contains("transmitted, connection_new"),
        "{}",
        packets[1]
    );

    // The ladder, of the hosts' captures and of the trace's own.
    let mut files = captures.clone();
    files.push(pcapng);
    let connection = format!("{client},{service}");
    let ladder: Value =
        serde_json::from_slice(&merge(&files, &["--connection", &connection, "--json"]).stdout)
            .unwrap();
    let lane =
        |role: &str, host: Host| serde_json::json!({"role": role, "mac": mac_text(&host.mac())});
    let lanes = [
        lane("client", Host::Client),
        lane("director", Host::Director),
        lane("real server", server),
    ];
    assert_eq!(ladder["lanes"], Value::from(lanes.to_vec()));
    assert_eq!(ladder["notes"], serde_json::json!([]));
    let first: Vec<[i64; 3]> = ladder["hops"].as_array().unwrap()[..3]
        .iter()
        .map(|hop| ["from", "to", "ttl"].map(|key| hop[key].as_i64().unwrap()))
        .collect();
    assert_eq!(first, [[0, 1, 64], [1, 2, 63], [2, 0, 64]]);
    let seen = |hop: usize| {
        let seen = ladder["hops"][hop]["seen"].as_array().unwrap().iter();
        seen.map(|one| one["capture"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(0), ["client", "switch", "trace"]);
    assert_eq!(seen(1), ["switch", server.name(), "trace"]);
    assert_eq!(seen(2), ["client", server.name()]);
    let text = String::from_utf8(merge(&files, &["--connection", &connection]).stdout).unwrap();
    println!("{text}");
    assert!(text.contains("|--- TCP SYN"), "{text}");

    // Junk is said to be junk.
    std::fs::write(at("junk.pcap"), "no capture").unwrap();
    let refused = merge(&[at("junk.pcap")], &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("neither pcap nor pcapng"), "{said}");
}

fn have_tools() -> bool {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if has("tcpdump") && has("tshark") {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must have tcpdump and tshark"
    );
    println!("skipped: needs tcpdump and tshark");
    false
}

fn tcpdump(namespace: &Namespace, interface: &str, file: &Path) -> Child {
    let mut command = Command::new("tcpdump");
    command
        .args(["-i", interface, "-U", "--immediate-mode", "-w"])
        .arg(file);
    command.args(["tcp", "port", "80"]).stderr(Stdio::null());
    let child = namespace.spawn(&mut command).unwrap();
    until("tcpdump captures", || {
        file.metadata().is_ok_and(|file| file.len() >= 24)
    });
    child
}

fn stop(child: &mut Child) {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGINT).unwrap();
    child.wait().unwrap();
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// The frames of a client that were told of.
fn frames(file: &Path, client: std::net::SocketAddr) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    let all = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let frames = all.filter_map(|line| line.get("frame").cloned());
    frames
        .filter(|frame| frame["before"]["src"] == client.to_string())
        .collect()
}

fn seen_by_client(capture: &Path, client: std::net::SocketAddr) -> u64 {
    let filter = format!("ip.src=={} and tcp.srcport=={}", client.ip(), client.port());
    tshark(capture, &filter, &["frame.number"]).len() as u64
}

fn hop(hop: &Value) -> String {
    let text = |key: &str| hop[key].as_str().unwrap().replace(':', "\t");
    let mac = |key: &str| hop[key].as_str().unwrap().to_owned();
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}",
        mac("src_mac"),
        mac("dst_mac"),
        text("src"),
        text("dst"),
        hop["ttl"],
        hop["len"]
    )
}

fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(file)
        .args(["-Y", filter, "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn merge(files: &[PathBuf], words: &[&str]) -> Output {
    let mut command = Command::new(common::dirigo());
    command
        .args(["trace"])
        .args(words)
        .arg("--merge")
        .args(files);
    command.output().unwrap()
}
