//! `cargo test` over the workspace, its lines shown and its results counted.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::report::{Outcome, Report, Tally};
use crate::tools;

/// Builds and runs every test; those that need root get it.
pub fn run(report: &mut Report) -> Result<Outcome> {
    let mut cargo = tools::cargo();
    cargo
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped());
    if !tools::is_root() {
        cargo.env(runner_variable()?, runner()?);
    }
    let mut child = cargo.spawn().context("starting cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading cargo test's output")?;
        println!("{line}");
        count(&line, report);
    }
    let status = child.wait().context("waiting for cargo test")?;
    let Tally { passed, failed, .. } = report.tests;
    let seen = format!("{passed} passed, {failed} failed");
    Ok(match (status.success(), passed) {
        (true, 1..) => Outcome::Passed(seen),
        (true, 0) => Outcome::Failed("cargo test ran no test".into()),
        (false, _) => Outcome::Failed(format!("{seen}; cargo test ended with {status}")),
    })
}

fn count(line: &str, report: &mut Report) {
    if let Some(result) = tally(line) {
        report.tests.passed += result.passed;
        report.tests.failed += result.failed;
        report.tests.ignored += result.ignored;
    }
    if let Some(name) = line
        .strip_prefix("test ")
        .and_then(|rest| rest.strip_suffix(" ... FAILED"))
    {
        report.failed_tests.push(name.to_owned());
    }
}

/// Reads `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
fn tally(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |what: &str| {
        counts
            .split("; ")
            .find_map(|part| part.strip_suffix(what)?.trim_end().parse().ok())
    };
    Some(Tally {
        passed: number("passed")?,
        failed: number("failed")?,
        ignored: number("ignored")?,
    })
}

/// `CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER` on such a machine.
fn runner_variable() -> Result<String> {
    let version = tools::output(Command::new("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV names no host")?;
    Ok(format!(
        "CARGO_TARGET_{}_RUNNER",
        host.to_uppercase().replace('-', "_")
    ))
}

/// What cargo puts before each test binary: sudo, with our PATH.
fn runner() -> Result<String> {
    let path = std::env::var("PATH").context("PATH is not text")?;
    // cargo splits the runner at blanks, so folders with blanks cannot be passed on.
    let folders: Vec<_> = path
        .split(':')
        .filter(|folder| !folder.contains(' '))
        .collect();
    Ok(format!("sudo -E env PATH={}", folders.join(":")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.01s";
        let counts = Tally {
            passed: 12,
            failed: 3,
            ignored: 1,
        };
        assert_eq!(tally(line), Some(counts));
        assert_eq!(tally("test packet::a_result ... ok"), None);
    }

    #[test]
    fn a_failed_test_is_named() {
        let mut report = Report::default();
        count("test packet::is_read ... FAILED", &mut report);
        count("test packet::is_written ... ok", &mut report);
        assert_eq!(report.failed_tests, ["packet::is_read"]);
    }
}
