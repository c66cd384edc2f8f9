//! `cargo xtask test`: the ladder, from the cheapest check to the whole experiment.
//!
//! ```text
//! tools ► format ► lints ► docs ► licences ► BPF object ► tests ► lab v4 ► lab v6 ► package ► leftovers
//! ```
//!
//! Each rung is a [`Check`]. A rung that cannot be climbed here (a tool is missing) is skipped
//! with the way to get the tool; where CI=true, a skip is a failure. Nothing judges times.
//!
//! Compiling is done as the caller, running what needs root through sudo, so that a user's
//! target folder stays theirs.

use anyhow::{Result, bail};

use crate::tools;
use report::{Outcome, Report};

mod checks;
pub mod lab;
mod leftovers;
mod package;
mod report;
mod suite;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Format, lints and tests only
    #[arg(long)]
    quick: bool,
    /// Only the rung of this heading, such as `package` or `lab, IPv4`
    #[arg(long, value_name = "HEADING", conflicts_with = "quick")]
    only: Option<String>,
}

/// One rung: its heading, whether `--quick` keeps it, and what it does.
type Check = (&'static str, bool, fn(&mut Report) -> Result<Outcome>);

const LADDER: [Check; 10] = [
    ("tools", true, checks::tools),
    ("format", true, checks::format),
    ("lints", true, checks::lints),
    ("docs", false, checks::docs),
    ("licences", false, checks::licences),
    ("BPF object", false, checks::bpf_object),
    ("tests", true, suite::run),
    ("lab, IPv4", false, |_| lab::run(&[])),
    ("lab, IPv6", false, |_| lab::run(&["--ipv6"])),
    ("package", false, package::run),
];

/// Climbs the ladder; an error when anything failed.
pub fn main(args: &Args) -> Result<()> {
    let is_wanted = |heading: &str| args.only.as_deref().is_none_or(|only| only == heading);
    if !LADDER.iter().any(|(heading, ..)| is_wanted(heading)) {
        let headings: Vec<_> = LADDER.iter().map(|(heading, ..)| *heading).collect();
        bail!(
            "no rung has this heading; there are: {}",
            headings.join("; ")
        );
    }
    ask_for_root()?;
    leftovers::sweep();
    let before = leftovers::Snapshot::take()?;
    let mut report = Report::default();
    for (heading, quick, check) in LADDER {
        if (quick || !args.quick) && is_wanted(heading) {
            report.check(heading, check);
        }
    }
    report.check("leftovers", |_| leftovers::compare(&before));
    report.print();
    if report.failed() > 0 {
        // The last line is the report's; the exit code says the rest.
        std::process::exit(1);
    }
    Ok(())
}

/// Without root the tests that need it would skip themselves in silence.
fn ask_for_root() -> Result<()> {
    if tools::is_root() {
        return Ok(());
    }
    if tools::find("sudo").is_none() {
        bail!(
            "the tests make network namespaces and load BPF programs: run as root, or install \
             sudo. Without root, `cargo test` runs everything that does not need it"
        );
    }
    eprintln!("xtask: the tests need root; sudo may ask for your password");
    tools::run(std::process::Command::new("sudo").arg("-v"))
}
