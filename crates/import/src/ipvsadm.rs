//! What `ipvsadm-save` prints, and the commands of scripts: one `ipvsadm` command each line.
//!
//! ```text
//! -A -t 192.0.2.100:80 -s wrr            a service
//! -a -t 192.0.2.100:80 -r 192.0.2.11 -g  a destination of it
//! ```

use crate::Wrong;
use crate::draft::{Destination, Draft, Offer, Service};
use crate::report::Report;
use crate::words::{self, number};

/// Reads all lines.
pub(crate) fn read(text: &str, report: &mut Report) -> Result<Draft, Wrong> {
    let mut draft = Draft::default();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let words: Vec<String> = line
            .split_whitespace()
            .filter(|word| *word != "ipvsadm" && !word.ends_with("/ipvsadm"))
            .map(str::to_owned)
            .collect();
        if words.is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if line.starts_with("IP Virtual Server") {
            let problem = "this is a listing (`ipvsadm -L`), which leaves things out: give what `ipvsadm-save -n` prints";
            return Err((line_number, problem.to_owned()));
        }
        command(&words, line_number, &mut draft, report)
            .map_err(|problem| (line_number, problem))?;
    }
    Ok(draft)
}

/// What a command is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    AddService,
    EditService,
    DeleteService,
    AddDestination,
    EditDestination,
    DeleteDestination,
    Clear,
    Set,
    /// Nothing that a configuration says.
    Other,
}

/// The options of a command.
#[derive(Default)]
struct Options {
    offer: Option<(Kind, String)>,
    is_ipv6: bool,
    scheduler: Option<String>,
    persistence: Option<Option<String>>,
    netmask: Option<String>,
    one_packet: bool,
    flags: Option<String>,
    engine: Option<String>,
    real: Option<String>,
    method: Option<&'static str>,
    weight: Option<String>,
    upper: Option<String>,
    lower: Option<String>,
    rest: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    Sctp,
    Mark,
}

/// Carries out one command on the draft.
pub(crate) fn command(
    words: &[String],
    line: usize,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<(), String> {
    let (verb, options) = parse(words)?;
    match verb {
        Verb::Other => {
            let said = format!(
                "`ipvsadm {}` says nothing about services: left out",
                words.join(" ")
            );
            report.say(line, said);
            Ok(())
        }
        Verb::Clear => {
            draft.services.clear();
            Ok(())
        }
        Verb::Set => set(&options.rest, draft),
        Verb::AddService | Verb::EditService => add_service(&options, verb, line, draft, report),
        Verb::DeleteService => {
            let offer = offer(&options)?;
            draft.services.retain(|service| service.offer != offer);
            Ok(())
        }
        Verb::AddDestination | Verb::EditDestination | Verb::DeleteDestination => {
            destination(&options, verb, line, draft, report)
        }
    }
}

fn parse(words: &[String]) -> Result<(Verb, Options), String> {
    let mut verb = None;
    let mut options = Options::default();
    let mut words = expanded(words).into_iter().peekable();
    while let Some(word) = words.next() {
        let mut value = |what: &str| {
            let value = words.next();
            value.ok_or_else(|| format!("`{what}` has no value behind it"))
        };
        match word.as_str() {
            "-A" | "--add-service" => verb = Some(Verb::AddService),
            "-E" | "--edit-service" => verb = Some(Verb::EditService),
            "-D" | "--delete-service" => verb = Some(Verb::DeleteService),
            "-a" | "--add-server" => verb = Some(Verb::AddDestination),
            "-e" | "--edit-server" => verb = Some(Verb::EditDestination),
            "-d" | "--delete-server" => verb = Some(Verb::DeleteDestination),
            "-C" | "--clear" => verb = Some(Verb::Clear),
            "--set" => {
                verb = Some(Verb::Set);
                options.rest.extend(words.by_ref());
            }
            "-L" | "-l" | "--list" | "-Z" | "--zero" | "-S" | "--save" | "-R" | "--restore"
            | "--start-daemon" | "--stop-daemon" | "-h" | "--help" | "-v" | "--version" => {
                return Ok((Verb::Other, options));
            }
            "-t" | "--tcp-service" => options.offer = Some((Kind::Tcp, value(&word)?)),
            "-u" | "--udp-service" => options.offer = Some((Kind::Udp, value(&word)?)),
            "--sctp-service" => options.offer = Some((Kind::Sctp, value(&word)?)),
            "-f" | "--fwmark-service" => options.offer = Some((Kind::Mark, value(&word)?)),
            "-6" | "--ipv6" => options.is_ipv6 = true,
            "-s" | "--scheduler" => options.scheduler = Some(value(&word)?),
            "-p" | "--persistent" => {
                let seconds = words.next_if(|next| !next.starts_with('-'));
                options.persistence = Some(seconds);
            }
            "-M" | "--netmask" => options.netmask = Some(value(&word)?),
            "-o" | "--ops" => options.one_packet = true,
            "-b" | "--sched-flags" => options.flags = Some(value(&word)?),
            "--pe" => options.engine = Some(value(&word)?),
            "-r" | "--real-server" => options.real = Some(value(&word)?),
            "-g" | "--gatewaying" => options.method = None,
            "-i" | "--ipip" => options.method = Some("tunnelling"),
            "-m" | "--masquerading" => options.method = Some("masquerading"),
            "-w" | "--weight" => options.weight = Some(value(&word)?),
            "-x" | "--u-threshold" => options.upper = Some(value(&word)?),
            "-y" | "--l-threshold" => options.lower = Some(value(&word)?),
            "--tun-type" | "--tun-port" => {
                value(&word)?;
            }
            "--tun-nocsum" | "--tun-csum" | "--tun-remcsum" | "-n" | "--numeric" | "--exact" => {}
            other => return Err(format!("`{other}` is no option of ipvsadm's")),
        }
    }
    let verb = verb.ok_or("no command of ipvsadm's: a line begins with -A or -a, for example")?;
    Ok((verb, options))
}

/// `--option=value` and `-t192.0.2.1:80` as two words.
fn expanded(words: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for word in words {
        let long = word
            .strip_prefix("--")
            .and_then(|rest| rest.split_once('='));
        let mut letters = word.chars();
        let is_short = letters.next() == Some('-')
            && letters.next().is_some_and(|c| "tufsprMbwxy".contains(c))
            && letters.next().is_some();
        match long {
            Some((option, value)) => {
                all.push(format!("--{option}"));
                all.push(value.to_owned());
            }
            None if is_short && word.is_ascii() => {
                all.push(word[..2].to_owned());
                all.push(word[2..].to_owned());
            }
            None => all.push(word.clone()),
        }
    }
    all
}

fn offer(options: &Options) -> Result<Offer, String> {
    let (kind, text) = options
        .offer
        .as_ref()
        .ok_or("no service is named: add -t, -u, --sctp-service or -f")?;
    let protocol = match kind {
        Kind::Mark => {
            let mark = number("-f", text, 1, u32::MAX)?;
            let is_ipv6 = options.is_ipv6;
            return Ok(Offer::Mark { mark, is_ipv6 });
        }
        Kind::Tcp => "tcp",
        Kind::Udp => "udp",
        Kind::Sctp => "sctp",
    };
    let (address, port) = words::address_and_port(text)?;
    Ok(Offer::Address(protocol, address, port.unwrap_or(0)))
}

fn add_service(
    options: &Options,
    verb: Verb,
    line: usize,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<(), String> {
    let offer = offer(options)?;
    let scheduler = options.scheduler.as_deref().unwrap_or("wlc");
    let mut service = Service::new(line, offer, "wlc");
    if words::SCHEDULERS.contains(&scheduler) {
        service.scheduler = scheduler.to_owned();
    } else {
        report.say(
            line,
            format!("there is no scheduler `{scheduler}` here: wlc is taken"),
        );
    }
    service.persistence = match &options.persistence {
        None => None,
        Some(None) => Some(360),
        Some(Some(seconds)) => Some(number("-p", seconds, 1, u32::MAX)?),
    };
    service.netmask = options
        .netmask
        .clone()
        .filter(|mask| *mask != "255.255.255.255");
    service.one_packet = options.one_packet;
    if let Some(flags) = &options.flags {
        service.flags = flags.split(',').map(str::to_owned).collect();
        keep_known_flags(&mut service, report);
    }
    if let Some(engine) = &options.engine {
        let said = format!(
            "persistence engine {engine} is not supported: clients are told apart by their addresses"
        );
        report.say(line, said);
    }
    let known = draft
        .services
        .iter_mut()
        .find(|known| known.offer == service.offer);
    match known {
        Some(known) if verb == Verb::EditService => {
            service.destinations = std::mem::take(&mut known.destinations);
            *known = service;
        }
        // A second one is told of when all have been read.
        _ => draft.services.push(service),
    }
    Ok(())
}

/// Flags that the scheduler has; others are told of.
pub(crate) fn keep_known_flags(service: &mut Service, report: &mut Report) {
    let (line, scheduler) = (service.line, service.scheduler.clone());
    service.flags.retain(|flag| {
        let of = flag.split_once('-').map_or("", |(of, _)| of);
        let is_known = match flag.as_str() {
            "sh-fallback" | "sh-port" | "mh-fallback" | "mh-port" => of == scheduler,
            "flag-1" | "flag-2" | "flag-3" => true,
            _ => false,
        };
        if !is_known {
            report.say(
                line,
                format!("scheduler {scheduler} has no flag `{flag}`: left out"),
            );
        }
        is_known
    });
}

fn destination(
    options: &Options,
    verb: Verb,
    line: usize,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<(), String> {
    let offer = offer(options)?;
    let real = options
        .real
        .as_ref()
        .ok_or("no real server is named: add -r")?;
    let (address, port) = words::address_and_port(real)?;
    let mut services = draft.services.iter_mut();
    // The last one: of a double, which is left out, too.
    let service = services.rfind(|service| service.offer == offer);
    let service = service.ok_or("its service is not defined above: add its -A line")?;
    if verb != Verb::AddDestination {
        service.destinations.retain(|one| one.address != address);
    }
    if verb == Verb::DeleteDestination {
        return Ok(());
    }
    let mut one = Destination::new(line, address, port);
    let number = |what, text: &Option<String>, default| {
        let text = text.as_deref();
        text.map_or(Ok(default), |text| number(what, text, 0, i32::MAX as u32))
    };
    one.weight = number("-w", &options.weight, 1)?;
    one.upper = number("-x", &options.upper, 0)?;
    one.lower = number("-y", &options.lower, 0)?;
    if let Some(method) = options.method {
        report.say(
            line,
            words::other_method(&format!("real server {address}"), method),
        );
    }
    service.destinations.push(one);
    Ok(())
}

/// `--set tcp tcpfin udp`; 0 leaves a timeout as it is.
fn set(numbers: &[String], draft: &mut Draft) -> Result<(), String> {
    let [_, _, _] = numbers else {
        return Err("`--set` takes three numbers: tcp, tcpfin, udp".to_owned());
    };
    for (timeout, text) in draft.timeouts.iter_mut().zip(numbers) {
        let seconds = number("--set", text, 0, 2_678_400)?;
        *timeout = (seconds > 0).then_some(seconds).or(*timeout);
    }
    Ok(())
}
