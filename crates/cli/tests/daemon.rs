//! ipvsadm through a real daemon, in a network namespace of its own. Needs root.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use netlink::{AddressFlags, Namespace, Netlink};

const DIRIGO: &str = env!("CARGO_BIN_EXE_dirigo");
const VIP: &str = "192.168.188.120:80";

/// False, with a word about it, where these tests cannot run; CI must not be such a place.
fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI must run as root"
        );
        println!("skipped: needs root");
    }
    root
}

/// A daemon on `eth0` of a namespace that nobody else has.
struct Director {
    instance: String,
    daemon: Child,
    _namespaces: [Namespace; 2],
    _folder: tempfile::TempDir,
}

/// What a command left behind.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Director {
    fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let instance = format!("cli-test-{}-{number}", std::process::id());
        let namespace = Namespace::create().unwrap();
        let servers = Namespace::create().unwrap();
        namespace.run(|| make_eth0(&servers)).unwrap();
        servers.run(be_real_servers).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("dirigo.toml");
        // The recorded lines have odd virtual addresses, so nothing is to hold them.
        std::fs::write(
            &config,
            "[director]\ninterface = \"eth0\"\n[vips]\nmanage = false\n",
        )
        .unwrap();
        let mut command = Command::new(DIRIGO);
        command.arg("run").arg("-c").arg(&config);
        command
            .args(["--instance", &instance])
            .stderr(Stdio::null());
        let daemon = namespace.spawn(&mut command).unwrap();
        let director = Self {
            instance,
            daemon,
            _namespaces: [namespace, servers],
            _folder: folder,
        };
        let started = Instant::now();
        while director.run(&["-L", "--timeout"], "").code != 0 {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "the daemon does not answer"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        director
    }

    /// Runs the binary as `ipvsadm`.
    fn run(&self, words: &[&str], input: &str) -> Outcome {
        let mut child = Command::new(DIRIGO)
            .arg0("ipvsadm")
            .args(words)
            .env("DIRIGO_INSTANCE", &self.instance)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Only -R reads; the others may be gone before the input is written.
        let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        let _gone = self.daemon.kill();
        let _gone = self.daemon.wait();
        let _released = Command::new(DIRIGO)
            .args(["down", "--release", "--instance", &self.instance])
            .stderr(Stdio::null())
            .status();
        for kind in ["lock", "state.json"] {
            let _absent = std::fs::remove_file(format!("/run/dirigo/{}.{kind}", self.instance));
        }
    }
}

fn make_eth0(servers: &Namespace) {
    let netlink = Netlink::open().unwrap();
    netlink
        .add_veth("eth0", "eth0", Some(servers.fd()))
        .unwrap();
    set_up(&netlink, "192.0.2.2");
}

/// The daemon waits a moment for a new destination's MAC, so those that the lines name answer.
fn be_real_servers() {
    let netlink = Netlink::open().unwrap();
    for address in ["192.0.2.11", "192.0.2.12", "192.0.2.13"] {
        set_up(&netlink, address);
    }
}

fn set_up(netlink: &Netlink, address: &str) {
    let eth0 = netlink.link("eth0").unwrap().index;
    let flags = AddressFlags::default();
    netlink
        .add_address(eth0, address.parse().unwrap(), 24, flags)
        .unwrap();
    netlink.set_up(eth0).unwrap();
}

#[test]
fn the_classic_script_works_word_for_word() {
    if !is_root() {
        return;
    }
    let director = Director::start();
    for line in [
        "-C",
        "-A -t 192.168.188.120:80 -s wrr",
        "-a -t 192.168.188.120:80 -r 192.168.188.107:80 -g -w 1",
        "-a -t 192.168.188.120:80 -r 192.168.188.110:80 -g -w 1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = director.run(&words, "");
        assert_eq!(outcome.err, "", "{line}");
        assert_eq!((outcome.code, outcome.out.as_str()), (0, ""), "{line}");
    }
    assert_eq!(
        director.run(&["-ln"], "").out,
        "IP Virtual Server version 1.2.1 (size=4096)\n\
         Prot LocalAddress:Port Scheduler Flags\n\
         \x20 -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
         TCP  192.168.188.120:80 wrr\n\
         \x20 -> 192.168.188.107:80           Route   1      0          0         \n\
         \x20 -> 192.168.188.110:80           Route   1      0          0         \n"
    );
    let services = Command::new(DIRIGO)
        .args(["services", "--json", "--instance", &director.instance])
        .output()
        .unwrap();
    let services: serde_json::Value = serde_json::from_slice(&services.stdout).unwrap();
    assert_eq!(services[0]["service"], format!("tcp:{VIP}"));
    assert_eq!(services[0]["origin"], "runtime");
}

#[derive(serde::Deserialize)]
struct Answer {
    words: Vec<String>,
    input: String,
    code: i32,
    out: String,
    err: String,
    after: String,
}

const TABLE: &str =
    "-C\n-A -t 192.0.2.100:80 -s wrr\n-a -t 192.0.2.100:80 -r 192.0.2.11:80 -g -w 3\n";

#[test]
fn the_daemon_answers_as_ipvs_did_or_says_not_supported_yet() {
    if !is_root() {
        return;
    }
    let director = Director::start();
    let answers: Vec<Answer> = serde_json::from_str(include_str!("golden/answers.json")).unwrap();
    let (mut compared, mut wrong) = (0, String::new());
    for answer in answers {
        let line = format!("{:?} {:?}", answer.words, answer.input);
        // Names that only the recording machine knew.
        if line.contains("example.test") || answer.out.contains("example.test") {
            continue;
        }
        // Refused, and the README says so: to the data plane it is the IPv4 address.
        if line.contains("::ffff:") {
            continue;
        }
        // A service without a scheduler serves nobody: not in our table.
        if line.contains("-s none") {
            continue;
        }
        assert_eq!(director.run(&["-R"], TABLE).err, "", "{line}");
        let words: Vec<&str> = answer.words.iter().map(String::as_str).collect();
        let ours = director.run(&words, &answer.input);
        if ours.err.contains("not supported") {
            // Not for a line whose words alone are wrong: those have their own sentence. Of a restore
            // the last line counts.
            if answer.words != ["-R"] {
                assert!([0, 255].contains(&answer.code), "{line}: {}", ours.err);
                assert_eq!(ours.code, 255, "{line}");
            }
            continue;
        }
        let theirs = Outcome {
            code: answer.code,
            out: answer.out,
            err: answer.err,
        };
        let after = director.run(&["-Sn"], "").out;
        if (&ours, &after) != (&theirs, &answer.after) {
            wrong += &format!(
                "{line}:\n  {ours:?} {after:?}\n  {theirs:?} {:?}\n",
                answer.after
            );
        }
        compared += 1;
    }
    assert!(
        wrong.is_empty(),
        "ours, then theirs, with the table after:\n{wrong}"
    );
    assert!(compared > 200, "only {compared} lines were compared");
}
