//! The experiment as its users run it: through the binary.
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use dirigo_lab::State;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A name of its own for each lab of these tests.
fn name(of: &str) -> String {
    format!("{of}-{}", std::process::id())
}

fn lab(words: &[&str]) -> Command {
    let mut command = Command::new(common::dirigo());
    command.arg("lab").args(words).env("NO_COLOR", "1");
    command
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}\n{err}")
}

fn nothing_is_left_of(name: &str) {
    assert_eq!(State::load(name).unwrap(), None);
    let left = netlink::Namespace::names();
    assert!(!left.iter().any(|left| left.contains(name)), "{left:?}");
    let instance = format!("lab-{name}");
    for place in ["/run/dirigo", "/run/dirigo/lab", "/sys/fs/bpf/dirigo"] {
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        let ours = |entry: &&std::ffi::OsString| {
            let entry = entry.to_string_lossy();
            entry.starts_with(name) || entry.starts_with(&instance)
        };
        assert_eq!(names.iter().find(ours), None, "in {place}");
    }
}

/// Runs the whole experiment and returns its report.
fn experiment(name: &str, pcap: &Path, more: &[&str]) -> Value {
    let pcap = pcap.to_str().unwrap();
    let mut words = vec!["run", "--json", "--name", name, "--pcap", pcap];
    words.extend(more);
    let output = lab(&words).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    nothing_is_left_of(name);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn pcap_place(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("dirigo-{name}"))
}

#[test]
fn the_experiment_shows_what_it_should_in_ipv4_and_its_json_has_the_promised_keys() {
    if !common::have_root() {
        return;
    }
    let name = name("whole4");
    let pcap = pcap_place(&name);
    let report = experiment(&name, &pcap, &[]);

    assert_eq!(report["ok"], true);
    assert_eq!(report["mode"], "native");
    assert_eq!(
        report["arp"]["vip_answered_by"],
        serde_json::json!(["director"])
    );
    assert_eq!(
        report["spread"][0]["requests"],
        serde_json::json!({"rs1": 10, "rs2": 10})
    );
    assert_eq!(
        report["spread"][1]["weights"],
        serde_json::json!({"rs1": 3, "rs2": 1})
    );
    assert_eq!(
        report["spread"][1]["requests"],
        serde_json::json!({"rs1": 15, "rs2": 5})
    );
    assert_eq!(report["spread"][1]["scheduler"], "wrr");
    assert_eq!(report["reply_frames_via_director"], 0);
    the_three_hops_are_those_of_direct_routing(&report);
    let flux = &report["arp_flux"];
    assert_eq!(flux["suppressed"], false);
    assert_eq!(flux["requests_seen_by_director"], 0);
    assert!(
        flux["answered_by"]
            .as_array()
            .unwrap()
            .contains(&"rs1".into()),
        "{flux}"
    );
    let announce = &report["arp_announce"];
    assert_eq!(announce["client_entry_before"], "02:00:00:00:01:08");
    assert_eq!(announce["client_entry_after"], "02:00:00:00:01:10");
    for point in ["client", "director", "rs1", "rs2", "director-port"] {
        let file = pcap.join(format!("{point}.pcap"));
        assert!(
            file.metadata().unwrap().len() > 24,
            "{point} captured nothing"
        );
    }
    std::fs::remove_dir_all(&pcap).unwrap();
}

fn the_three_hops_are_those_of_direct_routing(report: &Value) {
    let hops = report["hops"].as_array().unwrap();
    let server = hops[1]["to"].as_str().unwrap();
    let mac = |host: &Value| {
        let row = report["hosts"].as_array().unwrap().iter();
        row.clone().find(|row| row["host"] == *host).unwrap()["mac"].clone()
    };
    let ends: Vec<_> = hops
        .iter()
        .map(|hop| (hop["from"].clone(), hop["to"].clone()))
        .collect();
    let expected = [
        ("client", "director"),
        ("director", server),
        (server, "client"),
    ];
    let expected = expected.map(|(from, to)| (Value::from(from), Value::from(to)));
    assert_eq!(ends, expected);
    for hop in hops {
        assert_eq!(hop["src_mac"], mac(&hop["from"]), "{hop}");
        assert_eq!(hop["dst_mac"], mac(&hop["to"]), "{hop}");
    }
    let (client, vip) = (&report["hosts"][0]["address"], &report["vip"]);
    for (hop, source, destination) in [(0, client, vip), (1, client, vip), (2, vip, client)] {
        assert_eq!(&hops[hop]["src_ip"], source);
        assert_eq!(&hops[hop]["dst_ip"], destination);
    }
}

#[test]
fn the_experiment_shows_what_it_should_in_ipv6() {
    if !common::have_root() {
        return;
    }
    let name = name("whole6");
    let pcap = pcap_place(&name);
    let report = experiment(&name, &pcap, &["--ipv6"]);
    assert_eq!(report["ok"], true);
    assert_eq!(report["family"], "ipv6");
    the_three_hops_are_those_of_direct_routing(&report);
    assert_eq!(report["arp_flux"]["requests_seen_by_director"], 0);
    assert_eq!(
        report["arp_announce"]["client_entry_after"],
        "02:00:00:00:01:10"
    );
    std::fs::remove_dir_all(&pcap).unwrap();
}

/// A lab that stands belongs to nobody's process, so no sweep finds it.
fn take_down_those_of_killed_tests() {
    let labs = std::fs::read_dir("/run/dirigo/lab").into_iter().flatten();
    for lab in labs.flatten() {
        let file = lab.file_name().to_string_lossy().into_owned();
        let Some(pid) = file.strip_prefix("stands-") else {
            continue;
        };
        if pid.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(pid).exists() {
            drop(TakenDown(file));
        }
    }
}

/// Takes a standing lab away, also when a test fails.
struct TakenDown(String);

impl Drop for TakenDown {
    fn drop(&mut self) {
        let _gone_already = lab(&["down", "--name", &self.0]).output();
    }
}

#[test]
fn a_lab_stands_until_it_is_taken_down_and_its_hosts_run_commands() {
    if !common::have_root() {
        return;
    }
    take_down_those_of_killed_tests();
    let name = name("stands");
    let _guard = TakenDown(name.clone());
    let up = lab(&["up", "--name", &name]).output().unwrap();
    assert!(up.status.success(), "{}", said(&up));

    // Twice: the keeper of the director's port and the daemon must outlive the builder.
    for _ in 0..2 {
        let words = [
            "exec", "--name", &name, "director", "dirigo", "ipvsadm", "-ln",
        ];
        let table = lab(&words).output().unwrap();
        assert!(
            said(&table).contains("192.168.188.107:80"),
            "{}",
            said(&table)
        );
    }
    if dirigo_on_path("curl") {
        let words = [
            "exec",
            "--name",
            &name,
            "client",
            "curl",
            "-sS",
            "http://192.168.188.120/",
        ];
        let page = lab(&words).output().unwrap();
        assert!(said(&page).contains("serves this page"), "{}", said(&page));
    }
    let again = lab(&["up", "--name", &name]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));

    let down = lab(&["down", "--name", &name]).output().unwrap();
    assert!(down.status.success(), "{}", said(&down));
    nothing_is_left_of(&name);
}

fn dirigo_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|place| place.join(program).is_file())
}

/// Starts a run that takes long and waits until it sends requests.
fn busy_run(name: &str) -> Child {
    let words = ["run", "--name", name, "--requests", "5000"];
    let mut child = lab(&words)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut heard = Vec::new();
    let started = lines.map_while(Result::ok).any(|line| {
        let started = line.contains("step 3");
        heard.push(line);
        started
    });
    if !started {
        let ended = child.wait();
        panic!("the run ended before step 3: {ended:?} {heard:#?}");
    }
    child
}

#[test]
fn ctrl_c_takes_the_lab_away() {
    if !common::have_root() {
        return;
    }
    let name = name("interrupted");
    let mut child = busy_run(&name);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    nothing_is_left_of(&name);
}

#[test]
fn what_a_killed_run_leaves_is_found_and_taken_away_by_the_next() {
    if !common::have_root() {
        return;
    }
    let name = name("killed");
    let mut child = busy_run(&name);
    child.kill().unwrap();
    child.wait().unwrap();
    let left = State::load(&name).unwrap().unwrap();
    assert!(!left.is_alive());

    dirigo_lab::sweep();

    nothing_is_left_of(&name);
}

#[test]
fn a_lab_or_host_that_is_not_there_is_said_plainly() {
    if !common::have_root() {
        return;
    }
    for (words, code, expected) in [
        (
            ["exec", "--name", "no-such-lab", "client", "true"],
            1,
            "no lab no-such-lab",
        ),
        (
            ["exec", "--name", "No Lab", "client", "true"],
            2,
            "cannot name a lab",
        ),
        (
            ["exec", "--name", "no-such-lab", "rs9", "true"],
            2,
            "no host \"rs9\"",
        ),
        (
            ["run", "--json", "--ipv6", "--name", "No Lab"],
            2,
            "cannot name a lab",
        ),
    ] {
        let output = lab(&words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
}

#[test]
fn without_root_and_without_sudo_it_says_what_to_run() {
    if !common::have_root() {
        return;
    }
    // The build directory may be closed to others.
    let place = std::env::temp_dir().join(name("unprivileged"));
    std::fs::create_dir(&place).unwrap();
    let program = place.join("dirigo");
    std::fs::copy(common::dirigo(), &program).unwrap();
    let output = Command::new(&program)
        .args(["lab", "run", "--ipv6"])
        .env("PATH", &place)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = said(&output);
    assert!(said.contains("take root"), "{said}");
    assert!(said.contains("dirigo lab run --ipv6"), "{said}");
}

#[test]
fn the_experiment_does_without_nginx_and_says_so() {
    if !common::have_root() {
        return;
    }
    let name = name("builtin");
    let output = lab(&["run", "--name", &name])
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("built-in responder"), "{said}");
    assert!(
        said.contains("7 of 7 parts showed what they should"),
        "{said}"
    );
    assert!(!said.contains('\x1b'), "{said}");
    nothing_is_left_of(&name);
}
