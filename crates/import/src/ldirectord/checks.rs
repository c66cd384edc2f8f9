//! `checktype`, `service` and what belongs to them, as a check of ours.

use super::Settings;
use crate::Wrong;
use crate::draft::{Check, Destination, Draft, Offer, Service};
use crate::report::Report;
use crate::words::{self, Pace, list, number, quoted};

/// The checks of one real server; `own` is the request and the answer of its `real` line.
pub(super) fn of(
    service: &Service,
    one: &mut Destination,
    own: Option<(&str, &str)>,
    settings: &Settings<'_>,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<Vec<usize>, Wrong> {
    let checktype = settings.find("checktype");
    let line = checktype.map_or(service.line, |pair| pair.line);
    let word = checktype.map_or("negotiate", |pair| super::unquoted(&pair.value));
    let is_udp = matches!(service.offer, Offer::Address("udp", ..));
    let mut check = match word {
        "on" => return Ok(Vec::new()),
        "off" => {
            report.say(
                line,
                "checktype=off keeps real servers out for good: weight = 0 is set, and they are not checked",
            );
            one.weight = 0;
            return Ok(Vec::new());
        }
        "connect" if is_udp => plain("icmp"),
        "connect" => plain("tcp"),
        "ping" => plain("icmp"),
        "external" | "external-perl" => match external(service, one, settings, report, line) {
            Some(check) => check,
            None => return Ok(Vec::new()),
        },
        other => {
            if other != "negotiate" {
                number("checktype", other, 1, 100_000).map_err(|problem| (line, problem))?;
                report.say(
                    line,
                    format!("checktype={other} asks in full only every {other} times: here every attempt does"),
                );
            }
            match negotiate(service, one, own, settings, report)? {
                Some(check) => check,
                None => return Ok(Vec::new()),
            }
        }
    };
    let mut keys = pace(settings, word, report, line)?;
    let has_port = check.kind != "icmp" && check.kind != "script";
    if let Some(port) = port(service, one, settings)?.filter(|_| has_port) {
        keys.insert(1, ("port", port.to_string()));
    }
    keys.append(&mut check.keys);
    check.keys = keys;
    Ok(vec![draft.check(check)])
}

fn plain(kind: &'static str) -> Check {
    Check {
        kind,
        keys: Vec::new(),
    }
}

fn pace(
    settings: &Settings<'_>,
    checktype: &str,
    report: &mut Report,
    line: usize,
) -> Result<Vec<(&'static str, String)>, Wrong> {
    let (check, negotiate) = (
        settings.seconds("checktimeout")?,
        settings.seconds("negotiatetimeout")?,
    );
    let timeout = match checktype {
        "connect" | "ping" | "external" | "external-perl" => check.or(negotiate).unwrap_or(5),
        _ => negotiate.or(check).unwrap_or(30),
    };
    let interval = settings.seconds("checkinterval")?.unwrap_or(10);
    let failures = match settings.seconds("failurecount")? {
        Some(failures) => failures,
        None => settings.seconds("checkcount")?.unwrap_or(1),
    };
    let pace = Pace {
        interval_ms: interval.saturating_mul(1000),
        fast_interval_ms: None,
        timeout_ms: timeout.saturating_mul(1000),
        fall: failures,
    };
    Ok(pace.keys(&mut |said| report.say(line, said)))
}

/// The port to ask, if it is not the service's.
fn port(
    service: &Service,
    one: &Destination,
    settings: &Settings<'_>,
) -> Result<Option<u16>, Wrong> {
    let of_service = match service.offer {
        Offer::Address(_, _, port) => port,
        Offer::Mark { .. } => 0,
    };
    let asked = match settings.find("checkport") {
        Some(pair) => Some(
            words::port(super::unquoted(&pair.value)).map_err(|problem| (pair.line, problem))?,
        ),
        None if of_service == 0 => one.port,
        None => None,
    };
    Ok(asked.filter(|port| *port != of_service && *port != 0))
}

/// What is negotiated by default, by the service's port.
fn service_of_port(port: u16) -> &'static str {
    match port {
        21 => "ftp",
        25 => "smtp",
        53 => "dns",
        80 => "http",
        110 => "pop",
        119 => "nntp",
        143 => "imap",
        389 => "ldap",
        443 => "https",
        587 => "submission",
        636 => "ldaps",
        993 => "imaps",
        995 => "pops",
        1521 => "oracle",
        1812 => "radius",
        3128 => "http_proxy",
        3306 => "mysql",
        5432 => "pgsql",
        5060 => "sip",
        _ => "none",
    }
}

fn negotiate(
    service: &Service,
    one: &Destination,
    own: Option<(&str, &str)>,
    settings: &Settings<'_>,
    report: &mut Report,
) -> Result<Option<Check>, Wrong> {
    let port = match service.offer {
        Offer::Address(_, _, port) => port,
        Offer::Mark { .. } => one.port.unwrap_or(0),
    };
    let named = settings.find("service");
    let line = named.map_or(service.line, |pair| pair.line);
    let name = named.map_or(service_of_port(port), |pair| super::unquoted(&pair.value));
    let request = own.map(|own| own.0).or(settings.text("request"));
    let receive = own.map(|own| own.1).or(settings.text("receive"));
    Ok(Some(match name {
        "none" => return Ok(None),
        "http" | "https" => http(name, request, receive, settings, report, one.line),
        "dns" => {
            let mut check = plain("dns");
            if let Some(name) = request {
                check.keys.push(("query", quoted(name)));
                check.keys.push(("record", quoted("A")));
            }
            if receive.is_some() {
                report.say(
                    line,
                    "what a DNS answer says is not compared: any answer without error is good",
                );
            }
            check
        }
        "smtp" | "submission" => plain("smtp"),
        "sip" | "radius" => {
            report.say(
                line,
                format!("a check of {name} has no counterpart: whether the host answers pings is asked instead; a `script` check could ask more"),
            );
            plain("icmp")
        }
        "ftp" | "http_proxy" | "imap" | "imaps" | "ldap" | "ldaps" | "mysql" | "nntp"
        | "oracle" | "pgsql" | "pop" | "pops" | "simpletcp" => {
            report.say(
                line,
                format!("a check of {name} has no counterpart: whether the port takes connections is asked instead; a `script` check could ask more"),
            );
            plain("tcp")
        }
        other => {
            let problem = format!("ldirectord has no service `{other}` to negotiate with");
            return Err((line, problem));
        }
    }))
}

fn http(
    name: &str,
    request: Option<&str>,
    receive: Option<&str>,
    settings: &Settings<'_>,
    report: &mut Report,
    line: usize,
) -> Check {
    let mut check = plain(if name == "https" { "https" } else { "http" });
    if settings
        .text("httpmethod")
        .is_some_and(|method| method.eq_ignore_ascii_case("HEAD"))
    {
        check.keys.push(("method", quoted("HEAD")));
    }
    let request = request.unwrap_or_default();
    let path = match request.split_once("://") {
        Some((_, rest)) => {
            report.say(
                line,
                format!("request \"{request}\" names a host of its own: the real server is asked for its path"),
            );
            rest.split_once('/').map_or("", |(_, path)| path)
        }
        None => request,
    };
    let path = format!("/{}", path.trim_start_matches('/'));
    if path.chars().all(|c| c.is_ascii_graphic()) {
        check.keys.push(("path", quoted(&path)));
    } else {
        report.say(
            line,
            format!("path \"{path}\" cannot stand in a request: \"/\" is asked for"),
        );
    }
    let host = settings.text("virtualhost");
    if let Some(host) =
        host.filter(|host| !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic()))
    {
        check.keys.push(("host", quoted(host)));
    }
    if let Some(pattern) = receive.filter(|pattern| !pattern.is_empty()) {
        match regex::bytes::Regex::new(pattern) {
            Ok(_) => check.keys.push(("body", quoted(pattern))),
            Err(_) => report.say(
                line,
                format!(
                    "pattern \"{pattern}\" is one of Perl's only, and is left out: any page is good"
                ),
            ),
        }
    }
    if name == "https" {
        check.keys.push(("trust", quoted("anybody")));
    }
    check
}

fn external(
    service: &Service,
    one: &Destination,
    settings: &Settings<'_>,
    report: &mut Report,
    line: usize,
) -> Option<Check> {
    let command = settings.text("checkcommand").unwrap_or("/bin/true");
    if !command.starts_with('/') || settings.text("checktype") == Some("external-perl") {
        report.say(
            line,
            format!(
                "`{command}` is no program with a path from / on: its real servers are not checked"
            ),
        );
        return None;
    }
    let (address, port) = match &service.offer {
        Offer::Address(_, address, port) => (address.to_string(), *port),
        Offer::Mark { mark, .. } => (mark.to_string(), 0),
    };
    let server = one.address.to_string();
    let real_port = one.port.unwrap_or(port);
    let arguments = [address, port.to_string(), server, real_port.to_string()];
    let words = words::split(command).into_iter().chain(arguments);
    report.say(
        line,
        "checkcommand runs as nobody, without a shell and without root's rights: see `user` of [[check]]",
    );
    let mut check = plain("script");
    check.keys.push(("command", list(words)));
    Some(check)
}
