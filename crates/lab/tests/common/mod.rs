//! What the lab's tests share: root or not, the binary, a lab of one's own.
#![allow(dead_code)]
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod feeder;
pub mod service;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use dirigo_lab::{Family, Interrupt, Options};

/// Whether to go on: labs take root. In CI the lack of it is a failure.
pub fn have_root() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must run this as root");
    println!("skipped: needs root");
    false
}

/// Whether there is a load generator.
pub fn have_wrk() -> bool {
    if Command::new("wrk").arg("-v").output().is_ok() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have wrk");
    println!("skipped: needs wrk");
    false
}

/// Options of a lab that no other test has.
pub fn options(family: Family) -> Options {
    static LABS: AtomicU32 = AtomicU32::new(0);
    let number = LABS.fetch_add(1, Ordering::Relaxed);
    Options {
        name: format!("test-{}-{number}", std::process::id()),
        family,
        dirigo: dirigo().to_owned(),
        standing: false,
        interrupt: Interrupt::default(),
    }
}

/// The binary under test: `DIRIGO_BIN`, or this workspace's, built as it is now.
pub fn dirigo() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("DIRIGO_BIN") {
        Some(path) => path.into(),
        None => built(),
    })
}

fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    // target/PROFILE/deps/TEST
    let profile = test.parent().and_then(Path::parent);
    let profile = profile.expect("cargo puts tests into target/PROFILE/deps");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "dirigo", "--target-dir"]);
    cargo.arg(profile.parent().unwrap_or(Path::new(".")));
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    let done = cargo.status().is_ok_and(|status| status.success());
    assert!(done, "building dirigo failed");
    profile.join("dirigo")
}
