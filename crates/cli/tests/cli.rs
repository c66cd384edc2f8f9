//! The binary from outside: what it is called, what it answers without a daemon.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// An instance that nobody runs.
const ABSENT: &str = "nobody-runs-this-one";

fn dirigo(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dirigo"))
        .args(words)
        .env("DIRIGO_INSTANCE", ABSENT)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn an_absent_daemon_is_exit_code_3_and_the_message_names_the_socket_of_the_instance() {
    for words in [
        ["status"].as_slice(),
        &["services", "--json"],
        &["connections"],
        &["explain", "tcp", "203.0.113.7:40000", "192.0.2.100:80"],
    ] {
        let output = dirigo(words);
        assert_eq!(output.status.code(), Some(3), "{words:?}");
        let complaint = text(&output.stderr);
        assert!(complaint.contains(ABSENT), "{words:?}: {complaint}");
        assert!(
            complaint.contains("dirigo run -c"),
            "{words:?}: {complaint}"
        );
        assert_eq!(text(&output.stdout), "", "{words:?}");
    }
    let named = dirigo(&["status", "--instance", "another-one"]);
    assert!(text(&named.stderr).contains("/run/dirigo/another-one.sock"));
}

#[test]
fn bad_usage_is_exit_code_2_and_help_is_0() {
    assert_eq!(dirigo(&["status", "--nosuch"]).status.code(), Some(2));
    assert_eq!(dirigo(&["--help"]).status.code(), Some(0));
}

#[test]
fn ipvsadm_is_a_subcommand_that_keeps_every_word_and_its_own_exit_codes() {
    let help = dirigo(&["ipvsadm", "-h"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("\n  dirigo ipvsadm -C\n"));
    let absent = dirigo(&["ipvsadm", "-ln"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(text(&absent.stderr).starts_with("Can't initialize ipvs: no daemon answers on "));
    let dashes = dirigo(&["ipvsadm", "--", "-L"]);
    assert_eq!(dashes.status.code(), Some(255));
    assert_eq!(
        text(&dashes.stderr),
        "Try `dirigo ipvsadm -h' or 'dirigo ipvsadm --help' for more information.\n"
    );
}

#[test]
fn called_as_ipvsadm_it_is_ipvsadm() {
    let run = |word: &str| {
        Command::new(env!("CARGO_BIN_EXE_dirigo"))
            .arg0("/sbin/ipvsadm")
            .arg(word)
            .env("DIRIGO_INSTANCE", ABSENT)
            .output()
            .unwrap()
    };
    let version = run("--version");
    let recorded = include_str!("golden/empty.version.out");
    assert_eq!(
        (version.status.code(), text(&version.stdout)),
        (Some(0), recorded)
    );
    assert_eq!(
        text(&run("status").stderr),
        "Try `/sbin/ipvsadm -h' or '/sbin/ipvsadm --help' for more information.\n"
    );
}

#[test]
fn called_as_one_of_ipvsadms_scripts_it_is_that_script() {
    let run = |name: &str, words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_dirigo"))
            .arg0(name)
            .args(words)
            .env("DIRIGO_INSTANCE", ABSENT)
            .output()
            .unwrap()
    };
    for (name, words) in [
        ("/usr/sbin/ipvsadm-save", &["-n"][..]),
        ("ipvsadm-restore", &[]),
        ("dirigo", &["ipvsadm", "proc", "/proc/net/ip_vs_stats"]),
    ] {
        let output = run(name, words);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let complaint = text(&output.stderr);
        assert!(complaint.contains("no daemon answers on"), "{complaint}");
    }
    let helped = run("ipvsadm-save", &["--help"]);
    assert_eq!(helped.status.code(), Some(1));
    assert!(text(&helped.stderr).starts_with("ipvsadm-save: "));
    // As ipvsadm it has no such word, like the original.
    assert_eq!(run("ipvsadm", &["proc", "ip_vs"]).status.code(), Some(255));
}

#[test]
fn every_subcommand_has_a_manual_page_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    let man = dirigo(&["man", folder.path().to_str().unwrap()]);
    assert_eq!(man.status.code(), Some(0), "{}", text(&man.stderr));
    for page in [
        "dirigo.8",
        "dirigo-run.8",
        "dirigo-ipvsadm.8",
        "dirigo-status.8",
    ] {
        let page = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(page.contains(".TH"), "{page}");
    }
    assert!(!folder.path().join("dirigo-man.8").exists(), "hidden");
    for shell in ["bash", "zsh", "fish"] {
        let completions = dirigo(&["completions", shell]);
        assert!(text(&completions.stdout).contains("connections"), "{shell}");
    }
    let absent = folder.path().join("absent");
    let man = dirigo(&["man", absent.to_str().unwrap()]);
    assert_eq!(man.status.code(), Some(1));
    assert!(text(&man.stderr).contains("absent"));
}
