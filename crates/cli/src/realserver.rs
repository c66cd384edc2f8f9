//! `dirigo realserver up|down|check`: words in, the room's outcome out.

use std::path::PathBuf;
use std::process::ExitCode;

use realserver::{Error, Options, Outcome, Persist, Report, Severity, Vip};

use crate::exit;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Hold the VIPs on lo and keep quiet about them
    Up(UpArgs),
    /// Let go of the VIPs and restore what was found
    Down(DownArgs),
    /// Explain every deviation; exits 1 if there is one that matters
    Check(CheckArgs),
}

#[derive(clap::Args)]
struct UpArgs {
    /// A virtual address; may be repeated
    #[arg(long = "vip", value_name = "ADDR", required = true)]
    vips: Vec<Vip>,
    /// Also for the next boot: a systemd unit and a sysctl.d fragment
    #[arg(long)]
    persist: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(clap::Args)]
struct DownArgs {
    /// A virtual address; may be repeated. Without it, all that `up` added
    #[arg(long = "vip", value_name = "ADDR")]
    vips: Vec<Vip>,
    /// Also remove what `up --persist` wrote
    #[arg(long)]
    persist: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(clap::Args)]
struct CheckArgs {
    /// A virtual address; may be repeated
    #[arg(long = "vip", value_name = "ADDR", required = true)]
    vips: Vec<Vip>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(clap::Args)]
struct ChangeArgs {
    /// Print what would be done and stop
    #[arg(long)]
    dry_run: bool,
    /// Where to remember what was found
    #[arg(long, value_name = "DIR", default_value = realserver::STATE_DIR)]
    state: PathBuf,
    /// In front of the files that --persist writes
    #[arg(long, value_name = "DIR", default_value = "/", requires = "persist")]
    root: PathBuf,
}

#[derive(clap::Args)]
struct CommonArgs {
    /// Look at these interfaces only; default: all that can receive ARP
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
    /// Data instead of sentences
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: Args) -> ExitCode {
    let done = match args.verb {
        Verb::Up(args) => {
            let options = changing(args.vips, args.persist, args.change, &args.common);
            act("up", &options, args.common.json, realserver::up).and_then(|()| verify(&options))
        }
        Verb::Down(args) => {
            let options = changing(args.vips, args.persist, args.change, &args.common);
            act("down", &options, args.common.json, realserver::down).map(|()| ExitCode::SUCCESS)
        }
        Verb::Check(args) => {
            let mut options = Options::new(args.vips);
            options.interfaces = args.common.interfaces;
            check(&options, args.common.json)
        }
    };
    done.unwrap_or_else(|error| fail(&error))
}

fn changing(vips: Vec<Vip>, persist: bool, change: ChangeArgs, common: &CommonArgs) -> Options {
    let root = change.root;
    Options {
        vips,
        interfaces: common.interfaces.clone(),
        state_dir: change.state,
        persist: persist.then(|| Persist {
            root,
            ..Persist::default()
        }),
        dry_run: change.dry_run,
    }
}

fn act(
    verb: &str,
    options: &Options,
    json: bool,
    work: impl FnOnce(&Options) -> Result<Outcome, Error>,
) -> Result<(), Error> {
    let outcome = work(options)?;
    if json {
        print_json(&outcome);
    } else {
        for step in &outcome.steps {
            data!("{step}");
        }
        if outcome.steps.is_empty() {
            data!("nothing to do: already {verb}");
        }
    }
    for note in &outcome.notes {
        talk!("note: {note}");
    }
    if options.dry_run {
        talk!("dry run: nothing was done");
    }
    Ok(())
}

/// What `up` cannot mend, or should not decide, is told at once and not only to those who `check`.
fn verify(options: &Options) -> Result<ExitCode, Error> {
    if options.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let report = realserver::check(options)?;
    for finding in &report.findings {
        talk!("{}: {}", word(finding.severity), finding.seen);
    }
    if !report.findings.is_empty() {
        talk!("dirigo realserver check explains, with the same --vip");
    }
    Ok(verdict(&report))
}

fn check(options: &Options, json: bool) -> Result<ExitCode, Error> {
    let report = realserver::check(options)?;
    if json {
        print_json(&report);
    } else {
        print_report(&report);
    }
    Ok(verdict(&report))
}

fn verdict(report: &Report) -> ExitCode {
    match report.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::FAILED),
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Problem => "problem",
        Severity::Note => "note",
    }
}

fn print_report(report: &Report) {
    for interface in &report.interfaces {
        let (ignore, announce) = (interface.arp_ignore, interface.arp_announce);
        data!(
            "{}: arp_ignore {} (all {}, own {}), arp_announce {} (all {}, own {})",
            interface.name,
            ignore.effective,
            ignore.all,
            ignore.interface,
            announce.effective,
            announce.all,
            announce.interface,
        );
    }
    for finding in &report.findings {
        data!("{}: {}", word(finding.severity), finding.seen);
        data!("    why: {}", finding.why);
        for command in &finding.fix {
            data!("    fix: {command}");
        }
    }
    if report.ok {
        let vips: Vec<String> = report.vips.iter().map(ToString::to_string).collect();
        data!(
            "ok: this host serves {} and is silent about it",
            vips.join(", ")
        );
    }
}

fn print_json(data: &impl serde::Serialize) {
    match serde_json::to_string_pretty(data) {
        Ok(text) => data!("{text}"),
        Err(error) => talk!("dirigo: cannot write JSON: {error}"),
    }
}

fn fail(error: &Error) -> ExitCode {
    talk!("dirigo: {error}");
    if error.is_not_permitted() {
        talk!("dirigo: this needs root: run it again with sudo");
        return ExitCode::from(exit::NOT_PERMITTED);
    }
    if matches!(error, Error::NoVip) {
        return ExitCode::from(exit::USAGE);
    }
    ExitCode::from(exit::FAILED)
}
