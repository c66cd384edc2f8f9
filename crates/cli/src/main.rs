//! `dirigo`: one binary for the daemon, the command line, the ipvsadm replacement, the real
//! server's set-up and the lab.
//!
//! Each subcommand is a module with `Args` and `main`; this file only chooses.
//!
//! Data goes to stdout, talk to stderr. Exit codes are in [`exit`].

use clap::{Parser, Subcommand};

mod check;
mod exit;
mod ipvsadm;
mod lab;
mod realserver;
mod run;
mod show;

/// The LVS director: direct routing on XDP.
#[derive(Parser)]
#[command(name = "dirigo", version, about, max_term_width = 100)]
struct Cli {
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
    /// The daemon and its data plane
    Status(show::StatusArgs),
    /// Virtual services and their destinations
    Services(show::ServicesArgs),
    /// Remembered connections
    Connections(show::ConnectionsArgs),
    /// ipvsadm's own grammar and output
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Ipvsadm(ipvsadm::Args),
    /// The real server's half: VIP on lo, ARP suppression
    Realserver(realserver::Args),
    /// The classic LVS-DR experiment in network namespaces
    Lab(lab::Args),
}

fn main() -> std::process::ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    if std::path::Path::new(&called)
        .file_name()
        .is_some_and(|name| name == "ipvsadm")
    {
        return ipvsadm::main(ipvsadm::Args {
            words: words.collect(),
        });
    }
    match Cli::parse().command {
        Command::Run(args) => run::main(args),
        Command::Down(args) => run::down(args),
        Command::Check(args) => check::main(args),
        Command::Status(args) => show::status(args),
        Command::Services(args) => show::services(args),
        Command::Connections(args) => show::connections(args),
        Command::Ipvsadm(args) => ipvsadm::main(args),
        Command::Realserver(args) => realserver::main(args),
        Command::Lab(args) => lab::main(args),
    }
}
