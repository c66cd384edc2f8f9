//! `cargo xtask soak`: the long runs of tests that CI plays a cut of.
//!
//! ```text
//! sequences   configurations one after another under constant traffic    tests/sequences.rs
//! kills       SIGKILL at random moments while one is applied             tests/sequences.rs
//! scale       1,000 services of 100 destinations with 2,000 probes       tests/large.rs, a release build
//! ```
//!
//! Their last figures are in `docs/soak.md`.

use anyhow::{Result, ensure};

use crate::tools;

/// Options of `cargo xtask soak`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    which: Which,
}

#[derive(clap::Subcommand)]
enum Which {
    /// Random configurations one after another: no request may fail
    Sequences {
        /// How many sequences, of three changes each
        #[arg(default_value_t = 500)]
        count: u32,
        /// The seed of an earlier run
        #[arg(long)]
        seed: Option<u64>,
    },
    /// SIGKILL while a configuration is applied: the old one or the new one, and no request may fail
    Kills {
        /// How many
        #[arg(default_value_t = 200)]
        count: u32,
        /// The seed of an earlier run
        #[arg(long)]
        seed: Option<u64>,
    },
    /// What a large table costs
    Scale {
        /// Virtual services
        #[arg(long, default_value_t = 1_000)]
        services: u32,
        /// Destinations of each
        #[arg(long, default_value_t = 100)]
        destinations: u32,
        /// Real servers, each with a probe of its own
        #[arg(long, default_value_t = 2_000)]
        probes: u32,
        /// Seconds for which it is watched at rest
        #[arg(long, default_value_t = 30)]
        seconds: u32,
    },
}

/// Runs one of them.
pub fn main(args: &Args) -> Result<()> {
    match &args.which {
        Which::Sequences { count, seed } => play(
            "sequences",
            "configurations_one_after_another_fail_no_request",
            &seeded("DIRIGO_SEQUENCES", *count, *seed),
            false,
        ),
        Which::Kills { count, seed } => play(
            "sequences",
            "a_daemon_that_is_killed_while_it_applies_ends_in_the_old_or_the_new_configuration",
            &seeded("DIRIGO_KILLS", *count, *seed),
            false,
        ),
        Which::Scale {
            services,
            destinations,
            probes,
            seconds,
        } => play(
            "large",
            "a_large_table_starts_is_checked_and_changes_by_one_line",
            &[
                ("DIRIGO_LARGE_SERVICES", services.to_string()),
                ("DIRIGO_LARGE_DESTINATIONS", destinations.to_string()),
                ("DIRIGO_LARGE_PROBES", probes.to_string()),
                ("DIRIGO_LARGE_SECONDS", seconds.to_string()),
            ],
            true,
        ),
    }
}

fn seeded(name: &'static str, count: u32, seed: Option<u64>) -> Vec<(&'static str, String)> {
    let seed = seed.map(|seed| ("DIRIGO_SEED", seed.to_string()));
    std::iter::once((name, count.to_string()))
        .chain(seed)
        .collect()
}

/// One test of the command line's room, with its numbers in the environment.
fn play(
    file: &str,
    test: &str,
    environment: &[(&'static str, String)],
    is_release: bool,
) -> Result<()> {
    ensure!(
        tools::is_root(),
        "soak needs root: it makes network namespaces"
    );
    let mut cargo = tools::cargo();
    cargo.args(["test", "--locked", "-p", "dirigo", "--test", file]);
    if is_release {
        cargo.arg("--release");
    }
    cargo.args(["--", "--exact", test, "--nocapture"]);
    cargo.envs(environment.iter().map(|(name, value)| (name, value)));
    let status = cargo.status()?;
    ensure!(status.success(), "{test} failed: its seed is above");
    Ok(())
}
