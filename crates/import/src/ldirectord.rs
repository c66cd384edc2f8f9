//! `ldirectord.cf`.
//!
//! ```text
//! checkinterval=10                     for all
//! virtual=192.0.2.100:80               a service; what is indented below is about it
//!         real=192.0.2.11:80 gate 2
//!         service=http
//! ```

use std::net::IpAddr;

use crate::Wrong;
use crate::draft::{Destination, Draft, Offer, Service};
use crate::report::Report;
use crate::words::{self, number};

mod checks;

/// `key = value`, and where it stands.
#[derive(Clone, Debug)]
struct Pair {
    line: usize,
    key: String,
    value: String,
}

/// Reads the file.
pub(crate) fn read(text: &str, report: &mut Report) -> Result<Draft, Wrong> {
    let mut globals: Vec<Pair> = Vec::new();
    let mut sections: Vec<(Pair, Vec<Pair>)> = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        let is_indented = text.starts_with([' ', '\t']);
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let Some((key, value)) = text.split_once('=') else {
            let problem =
                format!("`{text}` is no line of ldirectord.cf: they are written key = value");
            return Err((line, problem));
        };
        let pair = Pair {
            line,
            key: key.trim().to_lowercase(),
            value: value.trim().to_owned(),
        };
        match sections.last_mut() {
            _ if pair.key == "virtual" || pair.key == "virtual6" => {
                sections.push((pair, Vec::new()));
            }
            Some((_, pairs)) if is_indented => pairs.push(pair),
            _ => globals.push(pair),
        }
    }
    for pair in &globals {
        note_global(pair, report)?;
    }
    let mut draft = Draft::default();
    for (header, pairs) in &sections {
        let settings = Settings {
            globals: &globals,
            pairs,
        };
        if let Some(service) = service(header, &settings, &mut draft, report)? {
            draft.services.push(service);
        }
    }
    Ok(draft)
}

/// What a service says, and what all say.
struct Settings<'a> {
    globals: &'a [Pair],
    pairs: &'a [Pair],
}

impl<'a> Settings<'a> {
    /// The last value of the key in the section, or in the file.
    fn find(&self, key: &str) -> Option<&'a Pair> {
        let of = |pairs: &'a [Pair]| pairs.iter().rfind(|pair| pair.key == key);
        of(self.pairs).or_else(|| of(self.globals))
    }

    /// The same, without quotes.
    fn text(&self, key: &str) -> Option<&'a str> {
        self.find(key).map(|pair| unquoted(&pair.value))
    }

    fn seconds(&self, key: &str) -> Result<Option<u32>, Wrong> {
        let Some(pair) = self.find(key) else {
            return Ok(None);
        };
        let seconds = number(key, unquoted(&pair.value), 0, 1_000_000);
        seconds.map(Some).map_err(|problem| (pair.line, problem))
    }
}

fn unquoted(text: &str) -> &str {
    text.trim_matches('"')
}

/// Keys of the whole file that become nothing of ours, and what to do instead.
fn note_global(pair: &Pair, report: &mut Report) -> Result<(), Wrong> {
    let instead = match pair.key.as_str() {
        "checktimeout" | "negotiatetimeout" | "checkinterval" | "failurecount" | "checkcount"
        | "quiescent" | "fallback" | "fallback6" => return Ok(()),
        key => nothing_of_ours(key),
    };
    match instead {
        Some(instead) => {
            report.say(
                pair.line,
                format!("{} is not carried over: {instead}", pair.key),
            );
            Ok(())
        }
        None => {
            let problem = format!("ldirectord has no `{}`", pair.key);
            Err((pair.line, problem))
        }
    }
}

fn nothing_of_ours(key: &str) -> Option<&'static str> {
    Some(match key {
        "autoreload" => "a changed file is taken over when you say so",
        "callback" | "execute" => "distribute the file by the means that you distribute files by",
        "fallbackcommand" => "dirigo tells lost and regained quorums as events",
        "emailalert" | "emailalertfreq" | "emailalertfrom" | "emailalertstatus" | "smtp" => {
            "dirigo sends no mail; it tells every change of state as an event"
        }
        "logfile" => "dirigo writes to its standard error, which systemd keeps",
        "supervised" => "`dirigo run` always stays in the foreground",
        "fork" => "one thread asks all servers at the same time",
        "readdquiescent" => "what is not in the table is put back by the next change",
        "cleanstop" => {
            "it is `on_stop` in [director]: \"keep\", the default, goes on forwarding, \"release\" ends it"
        }
        "maintenancedir" => "a server under maintenance is drained by command",
        _ => return None,
    })
}

fn service(
    header: &Pair,
    settings: &Settings<'_>,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<Option<Service>, Wrong> {
    let line = header.line;
    let wrong = |problem| (line, problem);
    let protocol = settings.text("protocol").map(str::to_lowercase);
    let offer = match header.value.parse::<u32>() {
        Ok(mark) if mark > 0 => Offer::Mark {
            mark,
            is_ipv6: header.key == "virtual6",
        },
        _ => {
            let (address, port) = match words::address_and_port(&header.value) {
                Ok(parts) => parts,
                Err(problem) => {
                    report.say(line, format!("this service is left out: {problem}"));
                    return Ok(None);
                }
            };
            let port = port.ok_or_else(|| wrong(format!("`{}` has no port", header.value)))?;
            let protocol = match protocol.as_deref() {
                None if port == 53 => "udp",
                None | Some("tcp") => "tcp",
                Some("udp") => "udp",
                Some(other) => {
                    let problem =
                        format!("protocol `{other}` does not go with an address: write tcp or udp");
                    return Err(wrong(problem));
                }
            };
            Offer::Address(protocol, address, port)
        }
    };
    let mut service = Service::new(line, offer, "wrr");
    plain_keys(&mut service, settings, report)?;
    let quiescent = settings.text("quiescent").unwrap_or("yes");
    service.rules.inhibit_on_failure = quiescent.eq_ignore_ascii_case("yes");
    // A destination of ldirectord's is down until its first check has passed.
    service.rules.alpha = true;
    reals(&mut service, settings, draft, report)?;
    sorry_server(&mut service, settings, report);
    Ok(Some(service))
}

fn plain_keys(
    service: &mut Service,
    settings: &Settings<'_>,
    report: &mut Report,
) -> Result<(), Wrong> {
    for pair in settings.pairs {
        let value = unquoted(&pair.value);
        let wrong = |problem| (pair.line, problem);
        match pair.key.as_str() {
            "scheduler" if words::SCHEDULERS.contains(&value) => {
                service.scheduler = value.to_owned();
            }
            "scheduler" => {
                let said = format!("there is no scheduler `{value}` here: wrr is taken");
                report.say(pair.line, said);
            }
            "persistent" => {
                let seconds = number("persistent", value, 1, u32::MAX).map_err(wrong)?;
                service.persistence = Some(seconds);
            }
            "netmask" => service.netmask = (value != "255.255.255.255").then(|| value.to_owned()),
            "schedflags" => service.flags = value.split(',').map(str::to_owned).collect(),
            "ops" => service.one_packet = value == "yes",
            "servicename" => service.comment = Some(value.to_owned()),
            "comment" if service.comment.is_none() => service.comment = Some(value.to_owned()),
            "real" | "real6" | "fallback" | "fallback6" | "comment" | "protocol" | "service"
            | "checktype" | "checkport" | "checkcommand" | "request" | "receive"
            | "virtualhost" | "httpmethod" | "checktimeout" | "connecttimeout" | "negotiatetimeout" | "checkinterval"
            | "checkcount" | "failurecount" | "quiescent" => {}
            key @ ("login" | "passwd" | "database" | "secret" | "load") => report.say(
                pair.line,
                format!("{key} is not carried over: no check of dirigo's logs in; a `script` check could"),
            ),
            "monitorfile" => report.say(
                pair.line,
                "monitorfile is not carried over: dirigo tells every change of state as an event",
            ),
            key => match nothing_of_ours(key) {
                Some(instead) => {
                    report.say(pair.line, format!("{key} is not carried over: {instead}"));
                }
                None => {
                    return Err(wrong(format!(
                        "ldirectord has no `{key}` in a virtual service"
                    )));
                }
            },
        }
    }
    crate::ipvsadm::keep_known_flags(service, report);
    Ok(())
}

/// `real = ADDRESS[->ADDRESS][:PORT] gate|masq|ipip [WEIGHT] ["REQUEST", "RECEIVE"] [<l:N>] [<u:N>]`.
fn reals(
    service: &mut Service,
    settings: &Settings<'_>,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<(), Wrong> {
    let reals = settings.pairs.iter();
    for pair in reals.filter(|pair| pair.key == "real" || pair.key == "real6") {
        let wrong = |problem| (pair.line, problem);
        let (words, quoted) = words_and_quoted(&pair.value);
        let (server, rest) = words
            .split_first()
            .ok_or_else(|| wrong("`real =` names no real server".to_owned()))?;
        let (addresses, port) = match range(server) {
            Ok(found) => found,
            Err(problem) => {
                report.say(
                    pair.line,
                    format!("this real server is left out: {problem}"),
                );
                continue;
            }
        };
        let mut one = Destination::new(pair.line, addresses[0], port);
        for word in rest {
            let threshold = |letter: &str| {
                let inner = word.strip_prefix(&format!("<{letter}:"))?;
                inner.strip_suffix('>')
            };
            match word.as_str() {
                "gate" => {}
                "masq" | "ipip" => {
                    let method = if word == "masq" {
                        "masquerading"
                    } else {
                        "tunnelling"
                    };
                    report.say(
                        pair.line,
                        words::other_method(&format!("real server {server}"), method),
                    );
                }
                text if let Some(lower) = threshold("l") => {
                    one.lower = number(text, lower, 0, i32::MAX as u32).map_err(wrong)?;
                }
                text if let Some(upper) = threshold("u") => {
                    one.upper = number(text, upper, 0, i32::MAX as u32).map_err(wrong)?;
                }
                weight => {
                    one.weight = number("weight", weight, 0, i32::MAX as u32).map_err(wrong)?;
                }
            }
        }
        let own = match quoted.as_slice() {
            [request, receive, ..] => Some((request.as_str(), receive.as_str())),
            _ => None,
        };
        for address in addresses {
            let mut one = one.clone();
            one.address = address;
            one.checks = checks::of(service, &mut one, own, settings, draft, report)?;
            service.destinations.push(one);
        }
    }
    Ok(())
}

/// Words outside quotes, and what quotes hold.
fn words_and_quoted(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut words, mut quoted) = (Vec::new(), Vec::new());
    for (index, piece) in text.split('"').enumerate() {
        match index % 2 {
            1 => quoted.push(piece.to_owned()),
            _ => words.extend(
                piece
                    .split(|c: char| c.is_whitespace() || c == ',')
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned),
            ),
        }
    }
    (words, quoted)
}

/// Most real servers in one range: as many as a service may have.
const RANGE: u32 = 1024;

/// One address, or all from the first to the last.
fn range(text: &str) -> Result<(Vec<IpAddr>, Option<u16>), String> {
    let Some((first, last)) = text.split_once("->") else {
        let (address, port) = words::address_and_port(text)?;
        return Ok((vec![address], port));
    };
    let (last, port) = words::address_and_port(last)?;
    match (words::address(first)?, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            if first > last || last - first >= RANGE {
                return Err(format!("`{text}` is no range of 1 to {RANGE} addresses"));
            }
            let all = (first..=last).map(|bits| IpAddr::V4(bits.into()));
            Ok((all.collect(), port))
        }
        _ => Err(format!("`{text}`: ranges are of IPv4 addresses")),
    }
}

fn sorry_server(service: &mut Service, settings: &Settings<'_>, report: &mut Report) {
    let is_ipv6 = service.offer.is_ipv6();
    let six = settings.find("fallback6").filter(|_| is_ipv6);
    let Some(pair) = six.or_else(|| settings.find("fallback")) else {
        return;
    };
    let mut words = pair.value.split_whitespace();
    let server = words.next().unwrap_or_default();
    match words::address_and_port(server) {
        Ok((address, _)) => service.rules.sorry = Some((address, pair.line)),
        Err(problem) => report.say(pair.line, format!("the fallback is left out: {problem}")),
    }
    if let Some(method @ ("masq" | "ipip")) = words.next() {
        report.say(
            pair.line,
            words::other_method(&format!("fallback {server}"), method),
        );
    }
}
