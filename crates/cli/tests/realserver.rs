//! `dirigo realserver` as a user meets it: words, exit codes, JSON. What it does to the kernel is
//! proven in the room's own tests.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// Whether this test may run; says so if not. In CI it must.
fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(
        root || std::env::var("CI").as_deref() != Ok("true"),
        "this test needs root, and CI must give it"
    );
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Runs `work` in a network of its own, in which `lo` is down and nothing else is there.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        inside.join().unwrap()
    })
}

fn realserver(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dirigo"));
    command.arg("realserver").args(words);
    command
}

fn run(words: &[&str]) -> (i32, String, String) {
    told(&realserver(words).output().unwrap())
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn an_address_that_cannot_be_a_vip_is_bad_usage_with_the_reason() {
    for (vip, reason) in [
        ("0.0.0.0", "it is all zeros, which stands for no address"),
        ("224.0.0.18", "it is a multicast group"),
        ("127.0.0.1", "it is a loopback address"),
        ("::1", "it is a loopback address"),
        ("192.168.188.120/24", "without a prefix"),
    ] {
        for verb in ["up", "down", "check"] {
            let (code, data, talk) = run(&[verb, "--vip", vip]);
            assert_eq!((code, data.as_str()), (2, ""), "{verb} {vip}");
            assert!(talk.contains(reason), "{verb} {vip}: {talk}");
        }
    }
}

#[test]
fn up_check_and_down_say_what_they_did_and_end_with_the_right_code() {
    if !root() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    let vip = ["--vip", "192.168.188.120"];
    apart(|| {
        let (code, data, _) = run(&["check", vip[0], vip[1]]);
        assert_eq!(code, 1, "{data}");
        assert!(
            data.contains("fix: ip address add 192.168.188.120/32 dev lo"),
            "{data}"
        );

        let (code, data, talk) = run(&["up", vip[0], vip[1], "--state", state, "--dry-run"]);
        assert_eq!(code, 0, "{talk}");
        assert!(
            data.contains("net.ipv4.conf.all.arp_ignore: 0 -> 1"),
            "{data}"
        );
        assert!(talk.contains("dry run: nothing was done"), "{talk}");

        let (code, same, talk) = run(&["up", vip[0], vip[1], "--state", state]);
        assert_eq!((code, same), (0, data), "{talk}");
        let (code, again, _) = run(&["up", vip[0], vip[1], "--state", state]);
        assert_eq!((code, again.as_str()), (0, "nothing to do: already up\n"));
        let (code, data, _) = run(&["check", vip[0], vip[1], "--json"]);
        let report: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(
            (code, &report["ok"], &report["findings"]),
            (0, &true.into(), &serde_json::json!([]))
        );

        let (code, data, _) = run(&["down", "--state", state, "--json"]);
        let outcome: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(code, 0);
        assert_eq!(outcome["steps"][0]["step"], "remove-address");
        let (code, data, _) = run(&["check", vip[0], vip[1], "--json"]);
        let report: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(
            (code, &report["findings"][0]["code"]),
            (1, &"vip-missing".into())
        );
    });
}

#[test]
fn without_root_it_says_so_and_ends_with_4_but_check_works() {
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).unwrap();
    // Where nobody may read: the build's directory may be closed to others.
    let binary = dir.path().join("dirigo");
    // By a process of its own: a child of another test would hold the file open for writing.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_dirigo"))
        .arg(&binary)
        .status();
    assert!(copied.unwrap().success());
    let state = dir.path().join("state");
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new(&binary);
        command.arg("realserver").args(words).uid(65534).gid(65534);
        told(&command.output().unwrap())
    };
    apart(|| {
        let vip = "192.168.188.120";
        let (code, data, talk) =
            as_nobody(&["up", "--vip", vip, "--state", state.to_str().unwrap()]);
        assert_eq!((code, data.as_str()), (4, ""), "{talk}");
        assert!(
            talk.contains("this needs root: run it again with sudo"),
            "{talk}"
        );
        assert!(!state.join("realserver.json").exists());
        let (code, data, _) = as_nobody(&["check", "--vip", vip]);
        assert_eq!(code, 1);
        assert!(data.contains("is not on lo"), "{data}");
    });
}
