//! What each rung found, and the last line.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::tools;

/// How a rung ended; the text says what was seen.
pub enum Outcome {
    /// It holds.
    Passed(String),
    /// It does not.
    Failed(String),
    /// It could not be tried here; the text says how it could.
    Skipped(String),
}

/// Counts of one or many `cargo test` results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run.
    pub ignored: u64,
}

/// Everything found so far.
#[derive(Default)]
pub struct Report {
    checks: Vec<(&'static str, Outcome, Duration)>,
    /// Tests counted by `cargo test`.
    pub tests: Tally,
    /// Names of failed tests.
    pub failed_tests: Vec<String>,
}

impl Report {
    /// Runs one rung under its heading.
    pub fn check(
        &mut self,
        heading: &'static str,
        check: impl FnOnce(&mut Self) -> Result<Outcome>,
    ) {
        println!("\n== {heading} ==");
        let started = Instant::now();
        let outcome = check(self).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let outcome = match outcome {
            Outcome::Skipped(why) if tools::is_ci() => {
                Outcome::Failed(format!("{why} (nothing may be skipped where CI=true)"))
            }
            other => other,
        };
        println!("{}", line(heading, &outcome));
        self.checks.push((heading, outcome, started.elapsed()));
    }

    /// Failed tests and failed checks together.
    pub fn failed(&self) -> u64 {
        self.tests.failed + self.count(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// Prints the summary; the last line is `N passed, N failed`.
    pub fn print(&self) {
        println!("\n== summary ==");
        for (heading, outcome, took) in &self.checks {
            println!("{:>5} s  {}", took.as_secs(), line(heading, outcome));
        }
        for name in &self.failed_tests {
            println!("failed test: {name}");
        }
        let checks = self.count(|outcome| matches!(outcome, Outcome::Passed(_)));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        println!(
            "{} tests and {checks} checks passed; {} tests ignored, {skipped} checks skipped",
            self.tests.passed, self.tests.ignored
        );
        println!(
            "{} passed, {} failed",
            self.tests.passed + checks,
            self.failed()
        );
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> u64 {
        self.checks
            .iter()
            .filter(|(_, outcome, _)| is(outcome))
            .count() as u64
    }
}

fn line(heading: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed(what) => format!("passed   {heading}: {what}"),
        Outcome::Failed(what) => format!("FAILED   {heading}: {what}"),
        Outcome::Skipped(why) => format!("SKIPPED  {heading}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_checks_and_failed_tests_are_counted_together() {
        let mut report = Report {
            tests: Tally {
                passed: 7,
                failed: 2,
                ignored: 1,
            },
            ..Report::default()
        };
        report.check("one", |_| Ok(Outcome::Passed(String::new())));
        report.check("two", |_| Ok(Outcome::Failed(String::new())));
        report.check("three", |_| anyhow::bail!("could not even start"));

        assert_eq!(report.failed(), 4);
    }
}
