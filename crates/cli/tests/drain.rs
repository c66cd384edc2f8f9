//! `dirigo drain` as people use it: what it prints, and what is left when it is interrupted. Needs root.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use common::{Director, is_root};

fn dirigo(director: &Director, words: &str) -> Command {
    let mut command = Command::new(common::dirigo());
    command
        .args(words.split(' '))
        .args(["--instance", &director.instance])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(director: &Director, words: &str) -> Output {
    dirigo(director, words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn with_a_service() -> Director {
    let director = Director::start();
    for line in [
        "-A -t 192.0.2.100:80 -s wrr",
        "-a -t 192.0.2.100:80 -r 192.0.2.11:80 -g -w 3",
        "-a -t 192.0.2.100:80 -r 192.0.2.12:80 -g -w 1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(director.run(&words, "").err, "", "{line}");
    }
    director
}

#[test]
fn a_server_without_connections_is_drained_at_once_and_enabled_again() {
    if !is_root() {
        return;
    }
    let director = with_a_service();
    let drained = run(&director, "drain 192.0.2.11");
    assert!(drained.status.success(), "{drained:?}");
    let text = said(&drained);
    assert!(text.contains("no connection is left"), "{text}");
    let listed = director.run(&["-ln"], "").out;
    assert!(
        listed.contains("-> 192.0.2.11:80                Route   0 "),
        "{listed}"
    );
    for (words, part) in [
        ("services", "; in maintenance, weight 3 when enabled"),
        ("status", "maintenance: 192.0.2.11, 0 connections, for "),
        ("health", "maintenance: 192.0.2.11, 0 connections, for "),
    ] {
        let text = said(&run(&director, words));
        assert!(text.contains(part), "{words}: {text}");
    }
    let enabled = said(&run(&director, "enable 192.0.2.11"));
    assert_eq!(enabled, "192.0.2.11 has weight 3 in tcp:192.0.2.100:80\n");
    let disabled = said(&run(&director, "disable 192.0.2.11"));
    assert!(disabled.contains("has 0 connections"), "{disabled}");
    let removed = run(&director, "drain 192.0.2.11 --remove --json");
    assert_eq!(said(&removed), "null\n", "nothing of it is left");
    assert!(!director.run(&["-ln"], "").out.contains("192.0.2.11"));
    let again = run(&director, "drain 192.0.2.11");
    assert_eq!(again.status.code(), Some(1));
    let why = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(why.contains("there are 192.0.2.12"), "{why}");
}

#[test]
fn ctrl_c_ends_the_watching_and_not_the_drain() {
    if !is_root() {
        return;
    }
    let director = with_a_service();
    for line in [
        "-A -t 192.0.2.2:81 -s rr",
        "-a -t 192.0.2.2:81 -r 192.0.2.13:81 -g",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(director.run(&words, "").err, "", "{line}");
    }
    let server = "192.0.2.13";
    director.begin(81);
    let mut watching = dirigo(&director, &format!("drain {server}"))
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert_eq!(first, "192.0.2.13: 1 active, 0 inactive");
    interrupt(&watching);
    let mut talk = String::new();
    let mut stderr = watching.stderr.take().unwrap();
    stderr.read_to_string(&mut talk).unwrap();
    assert!(talk.contains("goes on without this command"), "{talk}");
    assert!(watching.wait().unwrap().success());
    let status = said(&run(&director, "status"));
    assert!(
        status.contains(&format!("maintenance: {server}, 1 connection,")),
        "{status}"
    );
}

fn interrupt(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}
