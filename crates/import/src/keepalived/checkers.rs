//! The checkers of a real server as checks of ours.

use super::tree::Block;
use crate::Wrong;
use crate::draft::{Check, Destination, Offer, Service};
use crate::report::Report;
use crate::words::{self, Pace, list, number, quoted, seconds_ms};

const CHECKERS: [&str; 10] = [
    "TCP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "SMTP_CHECK",
    "DNS_CHECK",
    "UDP_CHECK",
    "PING_CHECK",
    "MISC_CHECK",
    "FILE_CHECK",
    "BFD_CHECK",
];

pub(super) fn is_checker(name: &str) -> bool {
    CHECKERS.contains(&name)
}

/// What a virtual server says for its real servers, and they for their checkers.
#[derive(Clone, Debug)]
pub(super) struct Inherited {
    pub weight: u32,
    pub host: Option<String>,
    delay_loop_ms: u32,
    retry: Option<u32>,
    delay_before_retry_ms: Option<u32>,
    connect_timeout_ms: u32,
}

impl Default for Inherited {
    /// keepalived's own defaults.
    fn default() -> Self {
        Self {
            weight: 1,
            host: None,
            delay_loop_ms: 60_000,
            retry: None,
            delay_before_retry_ms: None,
            connect_timeout_ms: 5_000,
        }
    }
}

impl Inherited {
    /// Whether the line is about time; then it is taken.
    pub fn take_timing(&mut self, item: &Block, report: &mut Report) -> Result<bool, Wrong> {
        let wrong = |problem| (item.line, problem);
        let name = item.name();
        let ms = |item: &Block| seconds_ms(name, item.value()?).map_err(wrong);
        match name {
            "delay_loop" => self.delay_loop_ms = ms(item)?,
            "delay_before_retry" => self.delay_before_retry_ms = Some(ms(item)?),
            "connect_timeout" => self.connect_timeout_ms = ms(item)?,
            "retry" | "nb_get_retry" => {
                self.retry = Some(number(name, item.value()?, 0, 1_000).map_err(wrong)?)
            }
            "warmup" => report.say(
                item.line,
                "warmup is not carried over: first attempts are spread over an interval anyway",
            ),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn pace(&self, kind: &str) -> Pace {
        let retry = self.retry.unwrap_or(match kind {
            "DNS_CHECK" => 3,
            "MISC_CHECK" => 0,
            _ => 1,
        });
        let fast = self.delay_before_retry_ms.or(match kind {
            "HTTP_GET" | "SSL_GET" => Some(3_000),
            "DNS_CHECK" => None,
            _ => Some(1_000),
        });
        Pace {
            interval_ms: self.delay_loop_ms,
            fast_interval_ms: fast.filter(|_| retry > 0),
            timeout_ms: self.connect_timeout_ms,
            fall: retry + 1,
        }
    }
}

/// The checks of one checker: one, or one for each `url`.
pub(super) fn read(
    block: &Block,
    one: &Destination,
    service: &Service,
    of_server: &Inherited,
    report: &mut Report,
) -> Result<Vec<Check>, Wrong> {
    let mut timing = of_server.clone();
    let mut port = default_port(one, service);
    let mut own: Vec<&Block> = Vec::new();
    for item in &block.items {
        match item.name() {
            "connect_port" => {
                port = Some(words::port(item.value()?).map_err(|problem| (item.line, problem))?);
            }
            "connect_ip" => note_other_address(item, one, report)?,
            "host" => host(item, one, &mut port, report)?,
            "bindto" | "bind_if" | "bind_port" | "fwmark" => {
                let said = format!(
                    "{} is not carried over: the routing table chooses",
                    item.name()
                );
                report.say(item.line, said);
            }
            "alpha" | "log_all_failures" | "fast_recovery" | "http_protocol" | "tls_compliant" => {
                report.say(item.line, format!("{} is not carried over", item.name()));
            }
            _ if timing.take_timing(item, report)? => {}
            _ => own.push(item),
        }
    }
    let kinds: Vec<(&'static str, Vec<(&'static str, String)>)> = match block.name() {
        "TCP_CHECK" => vec![("tcp", nothing(&own)?)],
        "PING_CHECK" => vec![("icmp", nothing(&own)?)],
        "SMTP_CHECK" => vec![("smtp", smtp(&own, report)?)],
        "DNS_CHECK" => vec![("dns", dns(&own)?)],
        "UDP_CHECK" => vec![("udp", udp(&own, report)?)],
        "HTTP_GET" => http(&own, "http", &timing, report)?,
        "SSL_GET" => http(&own, "https", &timing, report)?,
        "MISC_CHECK" => match misc(&own, &mut timing, report)? {
            Some(keys) => vec![("script", keys)],
            None => Vec::new(),
        },
        name => {
            report.say(
                block.line,
                format!("{name} has no counterpart, and is left out: a `script` check could ask the same"),
            );
            return Ok(Vec::new());
        }
    };
    let pace = timing.pace(block.name());
    let keys = pace.keys(&mut |said| report.say(block.line, said));
    let of_service = match service.offer {
        Offer::Address(_, _, port) => port,
        Offer::Mark { .. } => 0,
    };
    let port = port.filter(|port| *port != of_service && *port != 0);
    let check = |(kind, own): (&'static str, Vec<_>)| {
        let mut keys = keys.clone();
        if let Some(port) = port.filter(|_| kind != "icmp" && kind != "script") {
            keys.insert(1, ("port", port.to_string()));
        }
        keys.extend(own);
        Check { kind, keys }
    };
    Ok(kinds.into_iter().map(check).collect())
}

/// keepalived asks the real server's port; that of a service with an address is the same here.
fn default_port(one: &Destination, service: &Service) -> Option<u16> {
    match service.offer {
        Offer::Address(_, _, port) if port != 0 => None,
        _ => one.port,
    }
}

fn note_other_address(item: &Block, one: &Destination, report: &mut Report) -> Result<(), Wrong> {
    let address = words::address(item.value()?).map_err(|problem| (item.line, problem))?;
    if address != one.address {
        report.say(
            item.line,
            format!(
                "a check asks the real server that it is of, {}: connect_ip {address} is left out",
                one.address
            ),
        );
    }
    Ok(())
}

/// SMTP's `host { … }`: more addresses of the same server.
fn host(
    block: &Block,
    one: &Destination,
    port: &mut Option<u16>,
    report: &mut Report,
) -> Result<(), Wrong> {
    let find = |name: &str| block.items.iter().find(|item| item.name() == name);
    let address = find("connect_ip");
    let is_own = match address {
        Some(item) => {
            note_other_address(item, one, report)?;
            words::address(item.value()?).ok() == Some(one.address)
        }
        None => true,
    };
    if let Some(item) = find("connect_port").filter(|_| is_own) {
        *port = Some(words::port(item.value()?).map_err(|problem| (item.line, problem))?);
    }
    if let Some(item) = find("bindto") {
        report.say(
            item.line,
            "bindto is not carried over: the routing table chooses",
        );
    }
    Ok(())
}

type Keys = Vec<(&'static str, String)>;

fn unknown(item: &Block) -> Wrong {
    let problem = format!("keepalived's checker has no `{}`", item.name());
    (item.line, problem)
}

fn nothing(own: &[&Block]) -> Result<Keys, Wrong> {
    own.first()
        .map_or(Ok(Vec::new()), |item| Err(unknown(item)))
}

fn graphic(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

fn smtp(own: &[&Block], report: &mut Report) -> Result<Keys, Wrong> {
    let mut keys = Vec::new();
    for item in own {
        match item.name() {
            "helo_name" if graphic(item.value()?) => keys.push(("helo", quoted(item.value()?))),
            "helo_name" => report.say(item.line, "this helo_name is no name: left out"),
            _ => return Err(unknown(item)),
        }
    }
    Ok(keys)
}

fn dns(own: &[&Block]) -> Result<Keys, Wrong> {
    let mut keys = Vec::new();
    for item in own {
        match item.name() {
            "name" => keys.push(("query", quoted(item.value()?))),
            "type" => {
                let record = item.value()?.to_uppercase();
                if !["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"].contains(&record.as_str()) {
                    return Err((
                        item.line,
                        format!("keepalived asks for no record of type `{record}`"),
                    ));
                }
                keys.push(("record", quoted(&record)));
            }
            _ => return Err(unknown(item)),
        }
    }
    Ok(keys)
}

fn udp(own: &[&Block], report: &mut Report) -> Result<Keys, Wrong> {
    let mut keys = Vec::new();
    for item in own {
        match item.name() {
            "payload" => {
                let bytes = hexadecimal(&item.rest());
                match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                    Some(text) => keys.push(("payload", quoted(&text))),
                    None => report.say(
                        item.line,
                        "this payload is no text, which `payload` is here: an empty datagram is sent; a `script` \
                         check could send it",
                    ),
                }
            }
            "require_reply" => match wildcards(&item.rest()) {
                Some(pattern) => keys.push(("reply", quoted(&pattern))),
                None => {
                    let problem = format!(
                        "`require_reply {}`: write pairs of hexadecimal digits, or XX",
                        item.rest()
                    );
                    return Err((item.line, problem));
                }
            },
            "min_reply_length" | "max_reply_length" => {
                report.say(
                    item.line,
                    format!("{} is not carried over: `reply` says it", item.name()),
                );
            }
            _ => return Err(unknown(item)),
        }
    }
    Ok(keys)
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
    digits
        .chunks(2)
        .map(|pair| (pair.len() == 2).then(|| byte(pair))?)
        .collect()
}

/// `30XX` as a pattern of bytes; without digits any answer is good.
fn wildcards(text: &str) -> Option<String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut pattern = String::from("(?s-u)^");
    for pair in digits.chunks(2) {
        let [high, low] = pair else { return None };
        match (high, low) {
            ('X' | 'x', 'X' | 'x') => pattern.push('.'),
            ('X' | 'x', _) | (_, 'X' | 'x') => {
                let fits = |number: u32| {
                    let text = format!("{number:02x}");
                    let mut letters = text.chars().zip([high, low]);
                    letters.all(|(letter, wanted)| {
                        wanted.eq_ignore_ascii_case(&'x') || wanted.eq_ignore_ascii_case(&letter)
                    })
                };
                pattern.push('[');
                for number in (0..=255).filter(|number| fits(*number)) {
                    pattern.push_str(&format!("\\x{number:02x}"));
                }
                pattern.push(']');
            }
            _ => pattern.push_str(&format!(
                "\\x{:02x}",
                hexadecimal(&format!("{high}{low}"))?.first()?
            )),
        }
    }
    regex::bytes::Regex::new(&pattern)
        .is_ok()
        .then_some(pattern)
}

/// Each `url` is a check of its own; all of them must pass, as with keepalived.
fn http(
    own: &[&Block],
    kind: &'static str,
    inherited: &Inherited,
    report: &mut Report,
) -> Result<Vec<(&'static str, Keys)>, Wrong> {
    let mut host = inherited.host.clone();
    let (mut sni, mut has_sni) = (None, false);
    let mut urls = Vec::new();
    for item in own {
        match item.name() {
            "url" => urls.push(*item),
            "virtualhost" => host = Some(item.value()?.to_owned()),
            "enable_sni" => has_sni = true,
            "sni_name" => sni = Some(item.value()?.to_owned()),
            _ => return Err(unknown(item)),
        }
    }
    let mut checks = Vec::new();
    for url in urls {
        let mut keys = self::url(url, host.as_deref(), report)?;
        if kind == "https" {
            let name = sni.clone().or_else(|| host.clone().filter(|_| has_sni));
            if let Some(name) = name.filter(|name| graphic(name)) {
                keys.push(("sni", quoted(&name)));
            }
            keys.push(("trust", quoted("anybody")));
        }
        checks.push((kind, keys));
    }
    if checks.is_empty() {
        checks.push((kind, Vec::new()));
    }
    Ok(checks)
}

fn url(block: &Block, host: Option<&str>, report: &mut Report) -> Result<Keys, Wrong> {
    let mut host = host.map(str::to_owned);
    let (mut path, mut status, mut digest, mut pattern) = (None, None, None, None);
    for item in &block.items {
        let said = match item.name() {
            "path" if item.value()?.starts_with('/') && graphic(item.value()?) => {
                path = Some(quoted(item.value()?));
                continue;
            }
            "virtualhost" => {
                host = Some(item.value()?.to_owned());
                continue;
            }
            "digest" => {
                let text = item.value()?;
                if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    digest = Some(quoted(text));
                    continue;
                }
                "this digest is none of 32 hexadecimal digits: left out".to_owned()
            }
            "status_code" => {
                status = Some(statuses(item)?);
                continue;
            }
            "regex" => match regex::bytes::Regex::new(&item.rest()) {
                Ok(_) => {
                    pattern = Some(quoted(&item.rest()));
                    continue;
                }
                Err(_) => format!(
                    "pattern `{}` is one of PCRE's only, and is left out: any page is good",
                    item.rest()
                ),
            },
            "path" => format!(
                "path `{}` cannot stand in a request: \"/\" is asked for",
                item.rest()
            ),
            "regex_no_match" => {
                "a pattern that must not be found has no counterpart: left out".to_owned()
            }
            "regex_options" | "regex_stack" | "regex_min_offset" | "regex_max_offset"
            | "tls_compliant" => {
                format!(
                    "{} is not carried over: (?i), for example, can stand in the pattern itself",
                    item.name()
                )
            }
            _ => return Err(unknown(item)),
        };
        report.say(item.line, said);
    }
    let mut keys: Keys = Vec::new();
    keys.extend(path.map(|path| ("path", path)));
    keys.extend(
        host.filter(|host| graphic(host))
            .map(|host| ("host", quoted(&host))),
    );
    keys.extend(status.map(|status| ("status", status)));
    keys.extend(pattern.map(|pattern| ("body", pattern)));
    keys.extend(digest.map(|digest| ("digest", digest)));
    Ok(keys)
}

/// `200-299 401`, as a list.
fn statuses(item: &Block) -> Result<String, Wrong> {
    let wrong = |word: &str| {
        (
            item.line,
            format!("`status_code {word}`: write statuses from 100 to 599"),
        )
    };
    let words = item.words.get(1..).unwrap_or_default();
    for word in words {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let number = |text: &str| number("status_code", text, 100, 599).map_err(|_| wrong(word));
        if number(first)? > number(last)? {
            return Err(wrong(word));
        }
    }
    match words {
        [] => Err(wrong("")),
        words => Ok(list(words)),
    }
}

/// `misc_path "PROGRAM ARGUMENTS"`, `misc_timeout`, `user`.
fn misc(
    own: &[&Block],
    timing: &mut Inherited,
    report: &mut Report,
) -> Result<Option<Keys>, Wrong> {
    let (mut command, mut user) = (None, None);
    for item in own {
        match item.name() {
            "misc_path" => {
                let words = words::split(&item.rest());
                if words.first().is_none_or(|program| !program.starts_with('/')) {
                    report.say(item.line, format!("`{}` is no program with a path from / on: the check is left out", item.rest()));
                    return Ok(None);
                }
                command = Some(list(words));
            }
            "misc_timeout" => {
                timing.connect_timeout_ms = seconds_ms("misc_timeout", item.value()?).map_err(|problem| (item.line, problem))?;
            }
            "misc_dynamic" => report.say(
                item.line,
                "misc_dynamic is not carried over: exit code 0 is good and others are not; a check of type \"agent\" sets weights",
            ),
            "user" if matches!(item.value()?, "root" | "0" | "") => {
                report.say(item.line, "scripts never run as root here: the user nobody is taken");
            }
            "user" => user = Some(quoted(item.value()?)),
            _ => return Err(unknown(item)),
        }
    }
    let Some(command) = command else {
        let line = own.first().map_or(1, |item| item.line);
        report.say(
            line,
            "a MISC_CHECK without misc_path asks nothing: left out",
        );
        return Ok(None);
    };
    let mut keys = vec![("command", command)];
    keys.extend(user.map(|user| ("user", user)));
    Ok(Some(keys))
}
