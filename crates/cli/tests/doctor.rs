//! `dirigo doctor` as a user meets it: words, exit codes, JSON. That it finds what it should is
//! proven in the lab (`crates/lab/tests/doctor.rs`).

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

fn doctor(words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dirigo"));
    // Of an instance that nobody has.
    command
        .arg("doctor")
        .args(words)
        .env("DIRIGO_INSTANCE", "nobodys");
    told(&command.output().unwrap())
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
fn a_witness_that_knows_no_vip_is_bad_usage_that_says_what_to_name() {
    let (code, data, talk) = doctor(&["--role", "witness", "--no-probe"]);
    assert_eq!((code, data.as_str()), (2, ""), "{talk}");
    assert!(talk.contains("name one with --vip"), "{talk}");
}

#[test]
fn words_that_make_no_sense_are_bad_usage() {
    for words in [
        &["--role", "client"][..],
        &["--vip", "0.0.0.0"],
        &["--service", "tcp:web"],
        &["--rounds", "0"],
        &["--interval", "5"],
        &["--facts", "--watch"],
    ] {
        let (code, data, _) = doctor(words);
        assert_eq!((code, data.as_str()), (2, ""), "{words:?}");
    }
}

#[test]
fn a_configuration_that_is_wrong_is_told_before_anything_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dirigo.toml");
    std::fs::write(&file, "[director]\n").unwrap();
    let (code, _, talk) = doctor(&["-c", file.to_str().unwrap()]);
    assert_eq!(code, 78, "{talk}");
}

#[test]
fn an_interface_that_is_not_there_is_bad_usage() {
    if !root() {
        return;
    }
    let words = [
        "--role",
        "witness",
        "--vip",
        "192.0.2.120",
        "--interface",
        "eth9",
    ];
    let (code, _, talk) = apart(|| doctor(&words));
    assert_eq!(code, 2, "{talk}");
    assert!(talk.contains("there is no interface eth9"), "{talk}");
}

#[test]
fn where_nothing_is_the_doctor_says_what_is_missing_and_ends_with_1() {
    if !root() {
        return;
    }
    apart(|| {
        let server = ["--role", "realserver", "--vip", "192.0.2.120", "--json"];
        let (code, data, talk) = doctor(&server);
        let report: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!((code, &report["ok"]), (1, &false.into()), "{talk}");
        let codes: Vec<_> = report["findings"].as_array().unwrap().iter().collect();
        let missing = codes
            .iter()
            .find(|one| one["code"] == "vip-missing")
            .unwrap();
        assert_eq!(missing["fix"][0], "ip address add 192.0.2.120/32 dev lo");
        assert_eq!(missing["host"]["role"], "real server");

        let (code, data, _) = doctor(&["--vip", "192.0.2.120"]);
        assert_eq!(code, 1);
        assert!(data.contains("[daemon-unreachable, director"), "{data}");
        assert!(
            data.contains("    fix: setsid dirigo run --instance nobodys"),
            "{data}"
        );
    });
}

#[test]
fn without_root_the_segment_is_not_asked_but_the_host_is_looked_at() {
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).unwrap();
    // Where nobody may read: the build's directory may be closed to others.
    let binary = dir.path().join("dirigo");
    std::fs::copy(env!("CARGO_BIN_EXE_dirigo"), &binary).unwrap();
    let as_nobody = |more: &[&str]| {
        let mut command = Command::new(&binary);
        command
            .args(["doctor", "--role", "realserver", "--vip", "192.0.2.120"])
            .args(more)
            .env("DIRIGO_INSTANCE", "nobodys")
            .uid(65534)
            .gid(65534);
        told(&command.output().unwrap())
    };
    apart(|| {
        let made = Command::new("ip")
            .args(["link", "add", "eth0", "type", "veth"])
            .status();
        assert!(made.unwrap().success());
        let up = Command::new("ip")
            .args(["link", "set", "eth0", "up"])
            .status();
        assert!(up.unwrap().success());
        let (code, data, talk) = as_nobody(&[]);
        assert_eq!((code, data.as_str()), (4, ""), "{talk}");
        assert!(talk.contains("needs root"), "{talk}");
        let (code, data, talk) = as_nobody(&["--no-probe"]);
        assert_eq!(code, 1, "{talk}");
        assert!(data.contains("192.0.2.120 is not on lo"), "{data}");
        assert!(talk.contains("not looked at: the segment"), "{talk}");
    });
}
