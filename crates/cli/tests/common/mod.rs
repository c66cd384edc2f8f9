//! A daemon in a network namespace of its own, and its ipvsadm.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use netlink::{AddressFlags, Namespace, Netlink};

#[path = "../../../daemon/tests/common/patience.rs"]
mod patience;

use patience::Patience;

/// The binary under test: `DIRIGO_BIN` for measurements with another build, else this one.
pub fn dirigo() -> String {
    std::env::var("DIRIGO_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_dirigo").to_owned())
}

/// False, with a word about it, where these tests cannot run; CI must not be such a place.
pub fn is_root() -> bool {
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
pub struct Director {
    pub instance: String,
    daemon: Child,
    _namespace: Namespace,
    servers: Namespace,
    _folder: tempfile::TempDir,
}

/// What a command left behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Director {
    pub fn start() -> Self {
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
        let mut command = Command::new(dirigo());
        command.arg("run").arg("-c").arg(&config);
        command
            .args(["--instance", &instance])
            .stderr(Stdio::null());
        let daemon = namespace.spawn(&mut command).unwrap();
        let director = Self {
            instance,
            daemon,
            _namespace: namespace,
            servers,
            _folder: folder,
        };
        let patience = Patience::of(Duration::from_secs(20));
        while director.run(&["-L", "--timeout"], "").code != 0 {
            assert!(!patience.is_over(), "the daemon does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        director
    }

    /// Processor time that the daemon has had.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon.id())).unwrap();
        // Fields 14 and 15 (proc(5)), counted from after the name, which may hold blanks; in ticks of
        // a hundredth of a second.
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|one| one.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Begins a TCP connection from the segment to a service at the director's own address; nobody answers.
    pub fn begin(&self, port: u16) {
        let service = std::net::SocketAddr::from(([192, 0, 2, 2], port));
        let begin = || std::net::TcpStream::connect_timeout(&service, Duration::from_millis(100));
        let answer = self.servers.run(begin).unwrap();
        assert!(answer.is_err(), "somebody answers on {service}");
    }

    /// The binary as `ipvsadm`.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(dirigo());
        command
            .arg0("ipvsadm")
            .args(words)
            .env("DIRIGO_INSTANCE", &self.instance)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, words: &[&str], input: &str) -> Outcome {
        let mut child = self.command(words).spawn().unwrap();
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
        let _released = Command::new(dirigo())
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
