//! Every test of the workspace: built by one cargo, run two binaries at a time, results counted.
//!
//! ```text
//! cargo test --no-run ─► binaries ─► queue ─► as many at once as there are processors, two at least
//! ```
//!
//! Most tests wait for a kernel, a timer or a server: one after another they leave the machine idle. What a binary
//! prints is shown when it has ended, in one piece.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::report::{Outcome, Report, Tally};
use crate::tools;

/// Binaries at once on a machine with fewer processors.
const AT_ONCE: usize = 2;

/// A binary with tests.
#[derive(Debug, PartialEq, Eq)]
struct Binary {
    /// As cargo would announce it: `dirigo-daemon tests/drain.rs`.
    name: String,
    executable: PathBuf,
    /// Where its package is: tests run there.
    folder: PathBuf,
    /// Whether it is a file of `tests/`: those take longest.
    is_integration: bool,
}

/// What became of one.
struct Done {
    name: String,
    output: Output,
    took: Duration,
}

/// Builds and runs every test; those that need root get it.
pub fn run(report: &mut Report) -> Result<Outcome> {
    let begun = Instant::now();
    let mut binaries = build()?;
    println!(
        "{} test binaries, built in {:.0?}",
        binaries.len(),
        begun.elapsed()
    );
    // The last ones taken should be short, so that no processor waits for the end; the labs' are the longest.
    let is_lab = |binary: &Binary| binary.folder.ends_with("crates/lab");
    binaries.sort_by_key(|binary| (!binary.is_integration, !is_lab(binary)));
    let mut failed = Vec::new();
    let mut slowest = Vec::new();
    for done in run_all(binaries) {
        let done = done?;
        let text = String::from_utf8_lossy(&done.output.stdout);
        text.lines().for_each(|line| count(line, report));
        if !done.output.status.success() {
            failed.push(format!("{} ended with {}", done.name, done.output.status));
        }
        slowest.push((done.took, done.name));
    }
    tools::run(tools::cargo().args(["test", "--locked", "--workspace", "--doc", "--quiet"]))?;
    slowest.sort_by(|one, other| other.cmp(one));
    for (took, name) in slowest.iter().take(10) {
        println!("{took:>8.1?}  {name}");
    }
    let Tally {
        passed,
        failed: tests,
        ..
    } = report.tests;
    let seen = format!("{passed} passed, {tests} failed");
    Ok(match (failed.is_empty(), passed) {
        (true, 1..) => Outcome::Passed(seen),
        (true, 0) => Outcome::Failed("no test was run".into()),
        (false, _) => Outcome::Failed(format!("{seen}; {}", failed.join(", "))),
    })
}

/// Builds all and says what there is to run.
fn build() -> Result<Vec<Binary>> {
    let mut cargo = tools::cargo();
    cargo
        .args(["test", "--locked", "--workspace", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let done = cargo.output().context("starting cargo test")?;
    if !done.status.success() {
        bail!("the tests do not compile: cargo ended with {}", done.status);
    }
    let text = String::from_utf8(done.stdout).context("cargo's messages are no text")?;
    text.lines()
        .filter_map(|line| binary(line).transpose())
        .collect()
}

/// The binary that one of cargo's messages is about, if it is one with tests.
fn binary(line: &str) -> Result<Option<Binary>> {
    let message: Value =
        serde_json::from_str(line).with_context(|| format!("cargo wrote no JSON: {line}"))?;
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let (true, Some(executable)) = (is_test, message["executable"].as_str()) else {
        return Ok(None);
    };
    let manifest = message["manifest_path"].as_str().unwrap_or_default();
    let folder = PathBuf::from(manifest).parent().map(PathBuf::from);
    let folder = folder.with_context(|| format!("cargo names no manifest: {line}"))?;
    let package = folder.file_name().unwrap_or_default().to_string_lossy();
    let source = PathBuf::from(message["target"]["src_path"].as_str().unwrap_or_default());
    let source = source.strip_prefix(&folder).unwrap_or(&source);
    Ok(Some(Binary {
        name: format!("{package} {}", source.display()),
        executable: executable.into(),
        is_integration: message["target"]["kind"] == serde_json::json!(["test"]),
        folder,
    }))
}

/// Runs them, some at once, in their order.
fn run_all(binaries: Vec<Binary>) -> Vec<Result<Done>> {
    let workers = std::thread::available_parallelism().map_or(AT_ONCE, std::num::NonZero::get);
    let queue = Mutex::new(binaries.into_iter());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers.max(AT_ONCE) {
            scope.spawn(|| {
                while let Some(binary) = take(&queue) {
                    let done = run_one(&binary);
                    if let Ok(mut results) = results.lock() {
                        results.push(done);
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_default()
}

fn take(queue: &Mutex<std::vec::IntoIter<Binary>>) -> Option<Binary> {
    queue.lock().ok()?.next()
}

fn run_one(binary: &Binary) -> Result<Done> {
    let begun = Instant::now();
    let mut command = tools::as_root(&binary.executable);
    command
        .current_dir(&binary.folder)
        .env("CARGO_MANIFEST_DIR", &binary.folder)
        // The tests of the lab take this one instead of building one more.
        .env("DIRIGO_BIN", tools::target_dir().join("debug/dirigo"))
        .stdin(Stdio::null());
    let output = command.output();
    let output = output.with_context(|| format!("starting the tests of {}", binary.name))?;
    let took = begun.elapsed();
    // One piece: another binary's lines may come at the same time.
    println!(
        "\n     Running {} ({took:.1?})\n{}{}",
        binary.name,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(Done {
        name: binary.name.clone(),
        output,
        took,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_cargos_messages_the_binaries_with_tests_count() {
        let message = |test: bool, kind: &str| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/work/crates/daemon/Cargo.toml",
                "target": {"kind": [kind], "src_path": "/work/crates/daemon/tests/drain.rs"},
                "profile": {"test": test}, "executable": "/work/target/debug/deps/drain-0123",
            })
            .to_string()
        };
        let found = binary(&message(true, "test")).unwrap().unwrap();
        assert_eq!(found.name, "daemon tests/drain.rs");
        assert_eq!(found.folder, PathBuf::from("/work/crates/daemon"));
        assert!(found.is_integration);
        assert!(
            !binary(&message(true, "lib"))
                .unwrap()
                .unwrap()
                .is_integration
        );
        assert_eq!(binary(&message(false, "bin")).unwrap(), None);
        assert_eq!(
            binary(r#"{"reason":"build-finished","success":true}"#).unwrap(),
            None
        );
        assert!(binary("warning: x").is_err());
    }

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
