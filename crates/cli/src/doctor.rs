//! `dirigo doctor`: words in, the room's findings out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::doctor::{
    Destination, Error, Finding, Interface, Key, News, Options, Report, Role, Service, limits,
};
use realserver::Vip;

use crate::exit;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Where this host stands
    #[arg(long, value_enum, default_value_t = Place::Director)]
    role: Place,
    /// A virtual address; may be repeated. Default: those of the daemon or of the configuration
    #[arg(long = "vip", value_name = "ADDR")]
    vips: Vec<Vip>,
    /// A virtual service, as tcp:192.0.2.100:80; may be repeated
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<api::ServiceKey>,
    /// A real server's own address, so that it is known by name; may be repeated
    #[arg(long = "server", value_name = "ADDR")]
    servers: Vec<IpAddr>,
    /// The director's own address, so that it is known by name; may be repeated
    #[arg(long = "director", value_name = "ADDR")]
    directors: Vec<IpAddr>,
    /// A director's configuration: its services and real servers
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask on these interfaces only; default: all that do ARP
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
    /// Rounds of questions to the segment
    #[arg(long, value_name = "N", default_value_t = limits::ROUNDS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::ROUNDS_MAX)))]
    rounds: u32,
    /// Look at this host only: ask nobody, send nothing; needs no root
    #[arg(long)]
    no_probe: bool,
    /// Look again and again; say what comes and what goes
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: Option<u64>,
    /// Stop after so many looks
    #[arg(long, value_name = "N", requires = "watch")]
    looks: Option<u64>,
    /// Data instead of sentences; with --watch, one object a line
    #[arg(long)]
    json: bool,
    /// Print what was observed, as JSON, and judge nothing
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    facts: bool,
    /// Name of the instance whose daemon is asked
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Place {
    /// On the director
    Director,
    /// On a real server
    Realserver,
    /// On any other host of the segment
    Witness,
}

/// Runs it.
pub fn main(args: Args) -> ExitCode {
    let options = match options(&args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let done = if args.facts {
        ::doctor::observe(&options).map(|facts| {
            print_json(&facts, true);
            ExitCode::SUCCESS
        })
    } else if args.watch {
        watch(&args, &options)
    } else {
        ::doctor::check(&options).map(|report| {
            if args.json {
                print_json(&report, true);
            } else {
                print_report(&report);
            }
            verdict(&report)
        })
    };
    done.unwrap_or_else(|error| fail(&error))
}

fn options(args: &Args) -> Result<Options, ExitCode> {
    let mut options = Options::new(match args.role {
        Place::Director => Role::Director,
        Place::Realserver => Role::Realserver,
        Place::Witness => Role::Witness,
    });
    options.vips = args.vips.iter().map(|vip| vip.address()).collect();
    options.servers.clone_from(&args.servers);
    options.directors.clone_from(&args.directors);
    options.interfaces.clone_from(&args.interfaces);
    options.config.clone_from(&args.config);
    options.instance = crate::instance(args.instance.as_deref());
    options.rounds = args.rounds;
    options.probe = !args.no_probe;
    let mut services: BTreeMap<Key, Vec<Destination>> = BTreeMap::new();
    if let Some(path) = &args.config {
        let config = config::Config::load(path).map_err(|error| {
            talk!("{error}");
            ExitCode::from(exit::BAD_CONFIG)
        })?;
        let marks: Vec<api::MarkRule> = config.marks.iter().filter_map(mark_rule).collect();
        for service in &config.services {
            let all = service.destinations.iter().map(|one| Destination {
                address: one.address,
                weight: one.weight.into(),
                local: false,
                mac: None,
                unresolved: None,
            });
            let all: Vec<Destination> = all.collect();
            for key in Key::all_of(&service.key, &marks) {
                services.insert(key, all.clone());
            }
        }
    }
    for named in &args.services {
        let keys = Key::all_of(named, &[]);
        if keys.is_empty() {
            talk!(
                "dirigo: --service {named}: a firewall mark is no address to look at; name what has it \
                 (tcp:ADDR:PORT), or the configuration with -c FILE"
            );
            return Err(ExitCode::from(exit::USAGE));
        }
        for key in keys {
            services.entry(key).or_default();
        }
    }
    let services = services.into_iter();
    options.services = services
        .map(|(key, destinations)| Service { key, destinations })
        .collect();
    Ok(options)
}

fn mark_rule(rule: &config::Mark) -> Option<api::MarkRule> {
    Some(api::MarkRule {
        mark: rule.mark,
        protocol: rule.protocol,
        addresses: api::Prefix::new(rule.address, rule.prefix)?,
        ports: rule.ports,
    })
}

fn verdict(report: &Report) -> ExitCode {
    match report.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::FAILED),
    }
}

fn watch(args: &Args, options: &Options) -> Result<ExitCode, Error> {
    let pause = args.interval.map_or(limits::WATCH, Duration::from_secs);
    let mut looks = 0;
    let mut code = ExitCode::SUCCESS;
    ::doctor::watch(options, pause, &mut |news| {
        if args.json {
            print_json(&line_of(&news), false);
        } else {
            print_news(&news, looks == 0);
        }
        looks += 1;
        code = verdict(&news.report);
        match args.looks {
            Some(most) if looks >= most => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    })?;
    Ok(code)
}

fn line_of(news: &News) -> serde_json::Value {
    serde_json::json!({
        "ok": news.report.ok,
        "findings": news.report.findings.len(),
        "new": news.new,
        "gone": news.gone,
    })
}

fn print_news(news: &News, first: bool) {
    for finding in &news.new {
        print_finding(finding);
    }
    for finding in &news.gone {
        data!(
            "gone: {} on {}: {}",
            finding.code.text(),
            finding.host,
            finding.seen
        );
    }
    if news.report.ok && (first || !news.gone.is_empty()) {
        print_ok(&news.report);
    }
}

fn print_report(report: &Report) {
    report.interfaces.iter().for_each(print_interface);
    report.findings.iter().for_each(print_finding);
    for unseen in &report.unseen {
        talk!("not looked at: {unseen}");
    }
    if report.ok {
        print_ok(report);
    }
}

fn print_interface(interface: &Interface) {
    let settings = interface.settings.iter().map(|(name, value)| {
        let (all, own) = (value.all, value.interface);
        format!("{name} {} (all {all}, own {own})", value.effective)
    });
    let settings: Vec<String> = settings.collect();
    let xdp = match &interface.xdp {
        Some(mode) => format!(", XDP {mode}"),
        None => String::new(),
    };
    data!(
        "{}: MTU {}{xdp}, {}",
        interface.name,
        interface.mtu,
        settings.join(", ")
    );
}

fn print_finding(finding: &Finding) {
    let here = if finding.host.here { ", here" } else { "" };
    data!(
        "{}: {} [{}, {}{here}]",
        finding.severity.word(),
        finding.seen,
        finding.code.text(),
        finding.host,
    );
    data!("    why: {}", finding.why);
    let elsewhere = finding.fix_on.as_ref().unwrap_or(&finding.host);
    let place = match elsewhere.here {
        true => String::new(),
        false => format!(" (on {elsewhere})"),
    };
    for command in &finding.fix {
        data!("    fix{place}: {command}");
    }
}

fn print_ok(report: &Report) {
    let vips: Vec<String> = report.vips.iter().map(ToString::to_string).collect();
    let of = match vips.is_empty() {
        true => String::new(),
        false => format!(" for {}", vips.join(", ")),
    };
    data!("ok: nothing is wrong here as a {}{of}", report.role.name());
}

fn print_json(value: &impl serde::Serialize, pretty: bool) {
    let text = match pretty {
        true => serde_json::to_string_pretty(value),
        false => serde_json::to_string(value),
    };
    match text {
        Ok(text) => data!("{text}"),
        Err(error) => talk!("dirigo: cannot write JSON: {error}"),
    }
}

fn fail(error: &Error) -> ExitCode {
    talk!("dirigo doctor: {error}");
    if error.is_not_permitted() {
        talk!("dirigo doctor: asking the segment needs root: run it with sudo, or with --no-probe");
        return ExitCode::from(exit::NOT_PERMITTED);
    }
    if matches!(error, Error::NoVip | Error::NoSuchInterface { .. }) {
        return ExitCode::from(exit::USAGE);
    }
    ExitCode::from(exit::FAILED)
}
