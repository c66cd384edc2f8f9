//! `dirigo`: one binary for the daemon, the command line, the ipvsadm replacement, the real
//! server's set-up and the lab.
//!
//! Each subcommand is a module with `Args` and `main`; this file only chooses.
//!
//! Data goes to stdout, talk to stderr. Exit codes are in [`exit`].

use std::ffi::OsString;
use std::path::Path;

use clap::{Parser, Subcommand};

#[macro_use]
mod talk;

mod apply;
mod check;
mod connections;
mod doctor;
mod drain;
mod events;
mod exit;
mod explain;
mod generations;
mod health;
mod import;
mod ipvsadm;
mod lab;
mod metrics;
mod pages;
mod plan;
mod realserver;
mod remote;
mod run;
mod save;
mod schema;
mod show;
mod top;
mod trace;

use ipvsadm::{Called, Wrapper};

/// The LVS director: direct routing on XDP.
#[derive(Parser)]
#[command(name = "dirigo", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    remote: remote::Args,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The daemon, in the foreground
    Run(run::Args),
    /// Stop the daemon; with --release, forwarding too
    Down(run::DownArgs),
    /// Validate a configuration; needs no root and no daemon
    Check(check::Args),
    /// What an apply would change, and whom it would move; exits with 2 if anything would
    Plan(plan::Args),
    /// What was changed at runtime, and is not as it was applied; exits with 2 if anything is
    Drift(plan::DriftArgs),
    /// The JSON Schema of the configuration, for editors
    Schema,
    /// The configuration of keepalived, ldirectord, ipvsadm or scripts as ours, and what has no counterpart
    Import(import::Args),
    /// Have the daemon read its configuration again and step to it, or leave everything as it is
    Apply(apply::Args),
    /// Write what was changed at runtime into the files, comments and all
    Save(save::Args),
    /// The configurations that were followed, newest last
    Generations(generations::Args),
    /// Step back to an earlier configuration
    Rollback(generations::RollbackArgs),
    /// The daemon and its data plane
    Status(show::StatusArgs),
    /// Virtual services and their destinations
    Services(show::ServicesArgs),
    /// Health checks: every real server, and why those that fail do
    Health(health::Args),
    /// Remembered connections
    Connections(connections::Args),
    /// What is counted, as text for Prometheus; once
    Metrics(metrics::Args),
    /// The director as it works, in the terminal: services, servers, connections, events
    Top(top::Args),
    /// What became different, when, and why
    Events(events::Args),
    /// Which real server a client's packet would go to, and why; touches nothing
    Explain(explain::Args),
    /// What the director decides, frame by frame, while it happens; the ladder of a connection
    Trace(trace::Args),
    /// No new connections for a real server; shows what is left until it is empty
    Drain(drain::DrainArgs),
    /// No new connections for a real server, until it is enabled; waits for nothing
    Disable(drain::Args),
    /// Ends what drain or disable began
    Enable(drain::Args),
    /// ipvsadm's own grammar and output
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Ipvsadm(ipvsadm::Args),
    /// The real server's half: VIP on lo, ARP suppression
    Realserver(realserver::Args),
    /// What is wrong, why it matters, and the command that mends it; changes nothing
    Doctor(doctor::Args),
    /// The classic LVS-DR experiment in network namespaces
    Lab(lab::Args),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man(pages::ManArgs),
    /// Write a shell's completions to stdout
    #[command(hide = true)]
    Completions(pages::CompletionsArgs),
}

fn main() -> std::process::ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some((called, words)) = as_ipvsadm(&words) {
        if let Err(error) = remote::choose(None) {
            return bad_remote(&error);
        }
        return ipvsadm::main(&called, ipvsadm::Args { words });
    }
    let cli = Cli::parse();
    if let Err(error) = remote::choose(Some(&cli.remote)) {
        return bad_remote(&error);
    }
    match cli.command {
        Command::Run(args) => run::main(args),
        Command::Down(args) => run::down(args),
        Command::Check(args) => check::main(args),
        Command::Plan(args) => plan::main(args),
        Command::Drift(args) => plan::drift(&args),
        Command::Schema => schema::main(),
        Command::Import(args) => import::main(&args),
        Command::Apply(args) => apply::main(args),
        Command::Save(args) => save::main(args),
        Command::Generations(args) => generations::main(&args),
        Command::Rollback(args) => generations::rollback(&args),
        Command::Status(args) => show::status(&args),
        Command::Services(args) => show::services(&args),
        Command::Health(args) => health::main(&args),
        Command::Connections(args) => connections::main(&args),
        Command::Metrics(args) => metrics::main(&args),
        Command::Top(args) => top::main(&args),
        Command::Events(args) => events::main(&args),
        Command::Explain(args) => explain::main(&args),
        Command::Trace(args) => trace::main(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Disable(args) => drain::disable(&args),
        Command::Enable(args) => drain::enable(&args),
        Command::Ipvsadm(args) => ipvsadm::main(&Called::Ipvsadm("dirigo ipvsadm"), args),
        Command::Realserver(args) => realserver::main(args),
        Command::Doctor(args) => doctor::main(args),
        Command::Lab(args) => lab::main(args),
        Command::Man(args) => pages::man(&args),
        Command::Completions(args) => pages::completions(&args),
    }
}

fn bad_remote(error: &api::RemoteError) -> std::process::ExitCode {
    talk!("dirigo: {error}");
    std::process::ExitCode::from(run::USAGE)
}

/// When this is `ipvsadm …`, one of its scripts, or `dirigo ipvsadm …`: how it was called, and the
/// words after that.
///
/// Taken from clap's hands early, because clap would keep a `--` for itself.
fn as_ipvsadm(words: &[OsString]) -> Option<(Called<'_>, Vec<OsString>)> {
    let (called, words) = words.split_first()?;
    let name = Path::new(called).file_name()?.to_str()?;
    if name == "ipvsadm" {
        return Some((Called::Ipvsadm(called.to_str()?), words.to_vec()));
    }
    if let Some(wrapper) = Wrapper::named(name) {
        return Some((Called::Wrapper(wrapper), words.to_vec()));
    }
    let (_, words) = words
        .split_first()
        .filter(|(first, _)| *first == "ipvsadm")?;
    match words.split_first() {
        Some((proc, files)) if proc == "proc" => Some((Called::Proc, files.to_vec())),
        _ => Some((Called::Ipvsadm("dirigo ipvsadm"), words.to_vec())),
    }
}

/// The instance that is meant: as given, or `DIRIGO_INSTANCE`, or the default.
fn instance(given: Option<&str>) -> String {
    given
        .map(str::to_owned)
        .or_else(|| std::env::var("DIRIGO_INSTANCE").ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| api::DEFAULT_INSTANCE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn an_instance_that_is_given_wins() {
        assert_eq!(instance(Some("edge")), "edge");
    }
}
