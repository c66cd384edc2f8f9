//! Many services through a real daemon: restored in batches, listed, scraped, saved. Needs root.
//!
//! What it costs is printed, not asserted: a busy machine is slower. The measurement that counts is
//! `DIRIGO_SERVICES=10000 DIRIGO_BIN=target/release/dirigo cargo test -p dirigo --test scale -- --nocapture`.

#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write;
use std::process::Command;
use std::time::Instant;

use common::{Director, Outcome, is_root};

/// How many services, with one destination each.
fn services() -> u32 {
    let count = std::env::var("DIRIGO_SERVICES").ok();
    count.and_then(|word| word.parse().ok()).unwrap_or(1_000)
}

/// What `-S` prints of them, in its order.
fn rules(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        let (third, port) = (number / 250, 1_000 + number % 250);
        let service = format!("-t 198.18.{third}.1:{port}");
        let server = 11 + number % 3;
        writeln!(text, "-A {service} -s wrr").unwrap();
        writeln!(
            text,
            "-a {service} -r 192.0.2.{server}:{port} -g -w {}",
            1 + number % 7
        )
        .unwrap();
    }
    text
}

/// Runs a command; says how long it took, and how much of a processor's time the daemon had.
fn timed(director: &Director, what: &str, words: &[&str], input: &str) -> Outcome {
    let (begun, before) = (Instant::now(), director.cpu());
    let outcome = director.run(words, input);
    let (took, spent) = (begun.elapsed(), director.cpu() - before);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{what}");
    println!(
        "{what}: {:.3} s, of which the daemon worked {:.2} s",
        took.as_secs_f64(),
        spent.as_secs_f64()
    );
    outcome
}

/// Scrapes the metrics twice: the first one finds nothing prepared.
fn scrape(director: &Director, count: u32) {
    for format in [&[][..], &["--openmetrics"]] {
        let (begun, before) = (Instant::now(), director.cpu());
        let output = Command::new(common::dirigo())
            .args(["metrics", "--instance", &director.instance])
            .args(format)
            .output()
            .unwrap();
        let (took, spent) = (begun.elapsed(), director.cpu() - before);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let of = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        let services = of("dirigo_service_packets_total{");
        assert_eq!(services, count as usize, "each service has its series");
        let dropped = text
            .lines()
            .filter(|line| line.starts_with("dirigo_metrics_series_dropped{"));
        assert!(
            dropped.clone().count() > 0 && dropped.clone().all(|line| line.ends_with(" 0")),
            "{:?}",
            dropped.collect::<Vec<_>>()
        );
        println!(
            "scrape {format:?}: {:.3} s, of which the daemon worked {:.2} s; {} series, {} KiB",
            took.as_secs_f64(),
            spent.as_secs_f64(),
            text.lines().filter(|line| !line.starts_with('#')).count(),
            text.len() / 1024
        );
    }
}

#[test]
fn many_services_are_restored_listed_saved_cleared_and_restored_again() {
    if !is_root() {
        return;
    }
    let director = Director::start();
    let count = services();
    println!("{count} services, one destination each");
    let rules = rules(count);
    timed(&director, "restore", &["-R"], &rules);
    let listed = timed(&director, "list", &["-Ln"], "");
    assert_eq!(listed.out.lines().count(), 3 + 2 * count as usize);
    timed(&director, "list --stats", &["-Ln", "--stats"], "");
    scrape(&director, count);
    let saved = timed(&director, "save", &["-Sn"], "");
    assert!(saved.out == rules, "what was restored is saved");
    timed(&director, "clear", &["-C"], "");
    assert_eq!(director.run(&["-Sn"], "").out, "");
    timed(&director, "restore what was saved", &["-R"], &saved.out);
    let again = timed(&director, "save", &["-Sn"], "");
    assert!(again.out == saved.out, "the table is the same");
}
