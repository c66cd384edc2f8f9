//! `dirigo lab run|up|down|exec`: the classic experiment in network namespaces.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use lab::experiment::{self, Settings};
use lab::page::{self, Kind};
use lab::{Error, Family, Host, Interrupt, Lab, Options, Report, State, limits, say};

use crate::exit;

/// Name of the lab that `up` builds.
const STANDING: &str = "lab";

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// The whole experiment, start to finish; exit 0 only if every step showed what it should
    Run(RunArgs),
    /// Build the lab and leave it standing
    Up(UpArgs),
    /// Take standing labs away, and what crashed ones left
    Down(DownArgs),
    /// Run a command on a host: client, director, rs1, rs2 or switch
    Exec(ExecArgs),
    /// Become a program inside a namespace
    #[command(hide = true)]
    Inside(InsideArgs),
    /// Keep a program that passes everything on an interface
    #[command(hide = true)]
    Flush(FlushArgs),
    /// Serve one line on port 80
    #[command(hide = true)]
    Page(PageArgs),
}

#[derive(clap::Args)]
struct RunArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    /// Leave the lab standing; `dirigo lab down` takes it away
    #[arg(long)]
    keep: bool,
    /// Write the captures into this directory, one pcap file per capture point
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Requests of each spread
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::REQUESTS_MAX)))]
    requests: u32,
}

#[derive(clap::Args)]
struct UpArgs {
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(clap::Args)]
struct CommonArgs {
    /// The experiment in IPv6
    #[arg(long)]
    ipv6: bool,
    /// Name of the lab; labs of different names stand side by side
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(clap::Args)]
struct DownArgs {
    /// Only this one, even if its owner still runs
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(clap::Args)]
struct ExecArgs {
    /// Which lab, if several stand
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// client, director, rs1, rs2 or switch
    #[arg(value_name = "HOST")]
    host: String,
    /// Program and arguments
    #[arg(
        value_name = "CMD",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

#[derive(clap::Args)]
struct InsideArgs {
    #[arg(long)]
    netns: String,
    #[arg(long)]
    tether: Option<u32>,
    #[arg(required = true, last = true)]
    words: Vec<OsString>,
}

#[derive(clap::Args)]
struct FlushArgs {
    interface: String,
}

#[derive(clap::Args)]
struct PageArgs {
    #[arg(long)]
    text: String,
    #[arg(long)]
    ipv6: bool,
}

/// Runs it.
pub fn main(args: Args) -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        return as_root();
    }
    let done = match args.verb {
        Verb::Run(args) => run(&args),
        Verb::Up(args) => up(&args),
        Verb::Down(args) => down(&args),
        Verb::Exec(args) => exec(args),
        Verb::Inside(args) => Err(lab::process::become_inside(
            &args.netns,
            args.tether,
            &args.words,
            &[],
        )),
        Verb::Flush(args) => lab::flush::hold(&args.interface).map(|never| match never {}),
        Verb::Page(args) => page::serve(family(args.ipv6), &args.text).map(|never| match never {}),
    };
    done.unwrap_or_else(|error| {
        match &error {
            Error::Interrupted => say("interrupted; everything is taken away"),
            error => say(&error.to_string()),
        }
        let code = if error.is_not_permitted() {
            exit::NOT_PERMITTED
        } else if error.is_usage() {
            exit::USAGE
        } else {
            exit::FAILED
        };
        ExitCode::from(code)
    })
}

/// Namespaces need root: the same command again, through sudo.
fn as_root() -> ExitCode {
    say("network namespaces take root; running it again through sudo");
    let program = std::env::current_exe().unwrap_or_else(|_| "dirigo".into());
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let error = Command::new("sudo")
        .arg("--")
        .arg(&program)
        .args(&words)
        .exec();
    let typed: Vec<String> = words
        .iter()
        .map(|word| word.display().to_string())
        .collect();
    say(&format!(
        "running sudo: {error}. As root, run: {} {}",
        program.display(),
        typed.join(" ")
    ));
    ExitCode::from(exit::NOT_PERMITTED)
}

fn run(args: &RunArgs) -> Result<ExitCode, Error> {
    sweep();
    let own_name = || format!("run-{}", std::process::id());
    let options = options(&args.common, own_name, args.keep)?;
    let settings = Settings {
        requests: args.requests,
        pages: Kind::available(),
    };
    let (report, lab) = experiment::run(&options, &settings, &mut say)?;
    if args.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| failed("writing the report", error.into()))?;
        print(&text)?;
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print(lab::text::write(&report, colour).trim_end())?;
    }
    if let Some(mut lab) = lab {
        after(args, &options, &report, &mut lab)?;
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::FAILED)
    })
}

/// Captures, evidence, and whether the lab stays.
fn after(args: &RunArgs, options: &Options, report: &Report, lab: &mut Lab) -> Result<(), Error> {
    if let Some(directory) = &args.pcap {
        lab.capture.write(directory)?;
        say(&format!("captures are in {}", directory.display()));
    }
    if !report.ok
        && let Some(place) = lab.keep_evidence_and_say(&mut say)
    {
        let file = place.join("report.json");
        let text = serde_json::to_vec_pretty(report);
        text.map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&file, text))
            .map_err(|error| failed("writing the report", error))?;
    }
    if args.keep {
        lab.leave_standing()?;
        say(&hints(&options.name, options.family));
    }
    Ok(())
}

fn up(args: &UpArgs) -> Result<ExitCode, Error> {
    sweep();
    let options = options(&args.common, || STANDING.to_owned(), true)?;
    let mut lab = Lab::up(&options, Kind::available(), &mut say)?;
    lab.leave_standing()?;
    print(&hints(&options.name, options.family))?;
    Ok(ExitCode::SUCCESS)
}

fn hints(name: &str, family: Family) -> String {
    let service = family.service();
    format!(
        "the lab {name} stands. Try:\n  \
         dirigo lab exec --name {name} client curl -s http://{service}/\n  \
         dirigo lab exec --name {name} director dirigo ipvsadm -ln\n  \
         dirigo lab down --name {name}"
    )
}

fn down(args: &DownArgs) -> Result<ExitCode, Error> {
    let (labs, swept) = match &args.name {
        Some(name) => (vec![standing(Some(name))?], Vec::new()),
        None => {
            let swept = lab::sweep();
            (State::all(), swept)
        }
    };
    for name in swept {
        print(&format!("{name}: left by a crash, taken away"))?;
    }
    let mut code = ExitCode::SUCCESS;
    for state in labs {
        if args.name.is_none() && !state.standing {
            say(&format!(
                "{}: still runs in process {}, left alone",
                state.name, state.owner
            ));
            continue;
        }
        let troubles = state.clean();
        for trouble in &troubles {
            say(trouble);
            code = ExitCode::from(exit::FAILED);
        }
        if troubles.is_empty() {
            print(&format!("{}: taken away", state.name))?;
        }
    }
    Ok(code)
}

fn exec(args: ExecArgs) -> Result<ExitCode, Error> {
    let host = match args.host.as_str() {
        "switch" => None,
        host => Some(host.parse::<Host>()?),
    };
    let state = standing(args.name.as_deref())?;
    let namespace = host.map_or_else(|| state.switch(), |host| state.namespace(host));
    // So that `dirigo` and its default instance are those of the lab.
    let mut path = state
        .dirigo
        .parent()
        .map(|place| place.as_os_str().to_owned())
        .unwrap_or_default();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let environment = [
        ("DIRIGO_INSTANCE", state.instance()),
        ("PATH", path.to_string_lossy().into_owned()),
    ];
    Err(lab::process::become_inside(
        &namespace,
        None,
        &args.words,
        &environment,
    ))
}

/// The lab of this name; without one, the one `up` builds, or the only one.
fn standing(name: Option<&str>) -> Result<State, Error> {
    let all = State::all();
    let names = || all.iter().map(|state| state.name.clone()).collect();
    if let Some(name) = name {
        return State::load(name)?.ok_or_else(|| Error::NoLab {
            name: name.to_owned(),
            standing: names(),
        });
    }
    let usual = all.iter().find(|state| state.name == STANDING);
    let only = (all.len() == 1).then(|| all.first()).flatten();
    let chosen = usual.or(only).cloned();
    chosen.ok_or_else(|| Error::WhichLab { standing: names() })
}

fn options(
    common: &CommonArgs,
    usual_name: impl FnOnce() -> String,
    standing: bool,
) -> Result<Options, Error> {
    let dirigo = std::env::current_exe();
    Ok(Options {
        name: common.name.clone().unwrap_or_else(usual_name),
        family: family(common.ipv6),
        dirigo: dirigo.map_err(|error| failed("finding the own binary", error))?,
        standing,
        interrupt: Interrupt::on_signals()?,
    })
}

fn family(ipv6: bool) -> Family {
    if ipv6 { Family::Ipv6 } else { Family::Ipv4 }
}

fn sweep() {
    for name in lab::sweep() {
        say(&format!("the lab {name} was left by a crash; taken away"));
    }
}

/// Data goes to stdout; a reader that has gone away is no reason to panic.
fn print(text: &str) -> Result<(), Error> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| failed("writing to stdout", error))
}

fn failed(doing: &str, source: std::io::Error) -> Error {
    Error::Io {
        doing: doing.to_owned(),
        source,
    }
}
