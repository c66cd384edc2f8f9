//! `[[check]]`: what can be asked of real servers.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use health::check::{Check, Dns, Http, Kind, Pace, Script, Smtp, Statuses, Tls, To, Trust, Udp};
use regex::bytes::Regex;

use crate::mistake::Reason;
use crate::notes::Notes;
use crate::schema::{self, Key, Table};
use crate::section::{At, Section};
use crate::{OutOfRange, limits, read, service};

mod fault;

pub use fault::CheckFault;

/// Checks by name, each with where it stands.
pub(crate) type Checks = BTreeMap<Arc<str>, At<Check>>;

const TCP: &str = "tcp";
const HTTP: &str = "http";
const HTTPS: &str = "https";
const DNS: &str = "dns";
const UDP: &str = "udp";
const SMTP: &str = "smtp";
const ICMP: &str = "icmp";
const SCRIPT: &str = "script";
const AGENT: &str = "agent";

/// Types of checks, as the file names them.
pub const KINDS: [&str; 9] = [TCP, HTTP, HTTPS, DNS, UDP, SMTP, ICMP, SCRIPT, AGENT];

/// Keys that only some types have.
const OF_KINDS: [(&Key, &[&str]); 16] = [
    (&schema::CHECK_METHOD, &[HTTP, HTTPS]),
    (&schema::CHECK_PATH, &[HTTP, HTTPS]),
    (&schema::CHECK_HOST, &[HTTP, HTTPS]),
    (&schema::CHECK_STATUS, &[HTTP, HTTPS]),
    (&schema::CHECK_BODY, &[HTTP, HTTPS]),
    (&schema::CHECK_DIGEST, &[HTTP, HTTPS]),
    (&schema::CHECK_SNI, &[HTTPS]),
    (&schema::CHECK_TRUST, &[HTTPS]),
    (&schema::CHECK_DAYS_LEFT, &[HTTPS]),
    (&schema::CHECK_QUERY, &[DNS]),
    (&schema::CHECK_RECORD, &[DNS]),
    (&schema::CHECK_PAYLOAD, &[UDP]),
    (&schema::CHECK_REPLY, &[UDP]),
    (&schema::CHECK_HELO, &[SMTP]),
    (&schema::CHECK_COMMAND, &[SCRIPT]),
    (&schema::CHECK_USER, &[SCRIPT]),
];

/// Record types of DNS with their numbers (RFC 1035 §3.2.2, RFC 3596).
const RECORDS: [(&str, u16); 7] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
];

/// Whether checks of this type have the key.
#[must_use]
pub fn takes(kind: &str, key: &str) -> bool {
    let mut special = OF_KINDS.iter();
    special
        .find(|(of, _)| of.name == key)
        .is_none_or(|(_, kinds)| kinds.contains(&kind))
}

/// All checks of the file.
pub(crate) fn all(root: &Section<'_>, notes: &mut Notes<'_>) -> Checks {
    let (sections, beyond) = root.many(&schema::CHECK, Table::Check, limits::CHECKS, notes);
    if let Some(at) = beyond {
        let number = limits::CHECKS + 1;
        notes.add(at, Reason::Check(CheckFault::TooMany { number }));
    }
    let defaults = defaults(root, notes);
    let mut checks = Checks::new();
    for mut section in sections {
        if let Some(defaults) = &defaults {
            section.over(defaults);
        }
        let section = &section;
        let name = name(section, &checks, notes);
        let check = one(section, notes);
        if let (Some(name), Some(check)) = (name, check) {
            let at = section.at();
            checks.insert(name, At { at, value: check });
        }
    }
    checks
}

/// `[defaults.check]`, and what is wrong with it.
fn defaults<'t>(root: &Section<'t>, notes: &mut Notes<'_>) -> Option<Rc<Section<'t>>> {
    let defaults = root.one(&schema::DEFAULTS, Table::Defaults, notes)?;
    let table = Table::DefaultsOfChecks;
    let defaults = defaults.one(&schema::DEFAULTS_CHECK, table, notes)?;
    pace(&defaults, notes);
    to(&defaults, notes);
    defaults.flag(&schema::CHECK_SUPPRESSION, notes);
    Some(Rc::new(defaults))
}

fn name(section: &Section<'_>, known: &Checks, notes: &mut Notes<'_>) -> Option<Arc<str>> {
    section.require(&schema::CHECK_NAME, notes);
    let name = section.string(&schema::CHECK_NAME, notes)?;
    if name.value.is_empty() {
        notes.add(name.at, Reason::Check(CheckFault::NoName));
        return None;
    }
    if let Some(first) = known.get(name.value) {
        let fault = CheckFault::Twice {
            name: name.value.into(),
            first: notes.place(first.at, name.at),
        };
        notes.add(name.at, Reason::Check(fault));
        return None;
    }
    Some(name.value.into())
}

fn one(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<Check> {
    section.require(&schema::CHECK_TYPE, notes);
    let kind = kind_name(section, notes);
    if let Some(kind) = kind {
        note_other_kinds(section, kind, notes);
    }
    let pace = pace(section, notes);
    let to = to(section, notes).unwrap_or_default();
    let port = section.number(&schema::CHECK_PORT, service::port, notes);
    let suppression = section.flag(&schema::CHECK_SUPPRESSION, notes);
    let kind = match kind? {
        TCP => Kind::Tcp,
        HTTP => Kind::Http(http(section, None, notes)),
        HTTPS => Kind::Http(http(section, Some(tls(section, notes)), notes)),
        DNS => Kind::Dns(dns(section, notes)),
        UDP => Kind::Udp(udp(section, notes)),
        SMTP => Kind::Smtp(smtp(section, notes)),
        ICMP => Kind::Icmp,
        SCRIPT => Kind::Script(script(section, notes)?),
        _ => Kind::Agent,
    };
    Some(Check {
        kind,
        to,
        port: port.map(|port| port.value),
        pace,
        suppression: suppression.unwrap_or(true),
    })
}

fn kind_name(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<&'static str> {
    let word = section.string(&schema::CHECK_TYPE, notes)?;
    let found = KINDS.into_iter().find(|kind| *kind == word.value);
    if found.is_none() {
        let reason = read::unknown_value(&schema::CHECK_TYPE, word.value, &KINDS);
        notes.add(word.at, reason);
    }
    found
}

fn note_other_kinds(section: &Section<'_>, kind: &'static str, notes: &mut Notes<'_>) {
    for (key, kinds) in OF_KINDS {
        if let Some(at) = section.position(key)
            && !kinds.contains(&kind)
        {
            let fault = CheckFault::OtherKind {
                key: key.name,
                kind,
                kinds: kinds.join(", "),
            };
            notes.add(at, Reason::Check(fault));
        }
    }
}

fn to(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<To> {
    let word = section.string(&schema::CHECK_TO, notes)?;
    match word.value {
        "vip" => Some(To::Vip),
        "own" => Some(To::Own),
        other => {
            let reason = read::unknown_value(&schema::CHECK_TO, other, &["vip", "own"]);
            notes.add(word.at, reason);
            None
        }
    }
}

fn pace(section: &Section<'_>, notes: &mut Notes<'_>) -> Pace {
    let default = Pace::default();
    let interval = interval(section, &schema::CHECK_INTERVAL, notes);
    let interval = interval.map_or(default.interval, |interval| interval.value);
    let fast = self::interval(section, &schema::CHECK_FAST_INTERVAL, notes);
    let timeout = time(
        section,
        &schema::CHECK_TIMEOUT,
        limits::CHECK_TIMEOUT,
        notes,
    );
    if let Some(timeout) = &timeout
        && timeout.value > interval
    {
        let fault = CheckFault::TimeoutTooLong {
            timeout: timeout.value.as_millis(),
            interval: interval.as_millis(),
        };
        notes.add(timeout.at, Reason::Check(fault));
    }
    let mut agreeing = |key| {
        section
            .number(key, agreeing, notes)
            .map(|found| found.value)
    };
    let rise = agreeing(&schema::CHECK_RISE).unwrap_or(default.rise);
    let fall = agreeing(&schema::CHECK_FALL).unwrap_or(default.fall);
    let jitter = section.number(&schema::CHECK_JITTER, percent, notes);
    Pace {
        interval,
        fast_interval: fast.map(|fast| fast.value),
        jitter_percent: jitter.map_or(default.jitter_percent, |jitter| jitter.value),
        timeout: timeout.map_or(default.timeout.min(interval), |timeout| timeout.value),
        rise,
        fall,
    }
}

fn interval(section: &Section<'_>, key: &Key, notes: &mut Notes<'_>) -> Option<At<Duration>> {
    time(section, key, limits::CHECK_INTERVAL, notes)
}

/// A time as people write it: `500ms`, `2s`, `1m`.
pub(crate) fn time(
    section: &Section<'_>,
    key: &Key,
    (min, max): (&'static str, &'static str),
    notes: &mut Notes<'_>,
) -> Option<At<Duration>> {
    let text = section.string(key, notes)?;
    let range = duration(min).zip(duration(max));
    let found = duration(text.value);
    let good = found.filter(|found| range.is_some_and(|(min, max)| (min..=max).contains(found)));
    if good.is_none() {
        let fault = CheckFault::Time {
            key: key.name,
            found: text.value.into(),
            min,
            max,
            example: key.example,
        };
        notes.add(text.at, Reason::Check(fault));
    }
    good.map(|value| At { at: text.at, value })
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

fn http(section: &Section<'_>, tls: Option<Tls>, notes: &mut Notes<'_>) -> Http {
    let default = Http::default();
    let method = word_of_http(section, &schema::CHECK_METHOD, notes, |c| {
        c.is_ascii_alphanumeric()
    });
    let host = word_of_http(section, &schema::CHECK_HOST, notes, |c| {
        c.is_ascii_graphic()
    });
    Http {
        tls,
        method: method.unwrap_or(default.method),
        path: path(section, notes).unwrap_or(default.path),
        host,
        statuses: statuses(section, notes).unwrap_or(default.statuses),
        body: pattern(section, &schema::CHECK_BODY, notes),
        digest: digest(section, notes),
    }
}

fn word_of_http(
    section: &Section<'_>,
    key: &Key,
    notes: &mut Notes<'_>,
    fits: impl Fn(char) -> bool,
) -> Option<String> {
    let word = section.string(key, notes)?;
    if !word.value.is_empty() && word.value.chars().all(fits) {
        return Some(word.value.to_owned());
    }
    let fault = CheckFault::NotHttp {
        key: key.name,
        found: word.value.into(),
    };
    notes.add(word.at, Reason::Check(fault));
    None
}

fn path(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<String> {
    let text = section.string(&schema::CHECK_PATH, notes)?;
    let found = || text.value.into();
    let fault = if !text.value.starts_with('/') {
        CheckFault::Path { found: found() }
    } else if !text.value.chars().all(|c| c.is_ascii_graphic()) {
        CheckFault::NotHttp {
            key: schema::CHECK_PATH.name,
            found: found(),
        }
    } else {
        return Some(text.value.to_owned());
    };
    notes.add(text.at, Reason::Check(fault));
    None
}

fn statuses(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<Statuses> {
    let list = section.strings(&schema::CHECK_STATUS, notes)?;
    let mut ranges = Vec::new();
    for text in list.value {
        match status(text.value) {
            Some(range) => ranges.push(range),
            None => {
                let found = text.value.into();
                notes.add(text.at, Reason::Check(CheckFault::Status { found }));
            }
        }
    }
    (!ranges.is_empty()).then_some(Statuses(ranges))
}

fn status(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let number = |text: &str| {
        let number: u16 = text.trim().parse().ok()?;
        (100..=599).contains(&number).then_some(number)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

fn pattern(section: &Section<'_>, key: &Key, notes: &mut Notes<'_>) -> Option<Regex> {
    let text = section.string(key, notes)?;
    let made = regex::bytes::RegexBuilder::new(text.value)
        .size_limit(limits::PATTERN_BYTES)
        .build();
    made.inspect_err(|error| {
        let said = error.to_string();
        let fault = CheckFault::Pattern {
            key: key.name,
            pattern: text.value.into(),
            problem: said
                .lines()
                .last()
                .map_or("", |line| line.trim_start_matches("error: "))
                .to_owned(),
        };
        notes.add(text.at, Reason::Check(fault));
    })
    .ok()
}

fn digest(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<[u8; 16]> {
    let text = section.string(&schema::CHECK_DIGEST, notes)?;
    let is_whole = text.value.len() == 32 && text.value.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u128::from_str_radix(text.value, 16).ok();
    let digest = number.filter(|_| is_whole).map(u128::to_be_bytes);
    if digest.is_none() {
        let found = text.value.into();
        notes.add(text.at, Reason::Check(CheckFault::Digest { found }));
    }
    digest
}

fn tls(section: &Section<'_>, notes: &mut Notes<'_>) -> Tls {
    let sni = word_of_http(section, &schema::CHECK_SNI, notes, |c| c.is_ascii_graphic());
    let trust = section
        .string(&schema::CHECK_TRUST, notes)
        .and_then(|word| match word.value {
            "system" => Some(Trust::System),
            "anybody" => Some(Trust::Anybody),
            file if file.starts_with('/') => Some(Trust::File(file.into())),
            other => {
                let words = ["system", "anybody", "/path/of/authorities.pem"];
                let reason = read::unknown_value(&schema::CHECK_TRUST, other, &words);
                notes.add(word.at, reason);
                None
            }
        });
    let days_left = section.number(&schema::CHECK_DAYS_LEFT, days, notes);
    Tls {
        sni,
        trust: trust.unwrap_or_default(),
        days_left: days_left.map(|days| days.value),
    }
}

fn dns(section: &Section<'_>, notes: &mut Notes<'_>) -> Dns {
    let default = Dns::default();
    let query = section.string(&schema::CHECK_QUERY, notes);
    let record = section
        .string(&schema::CHECK_RECORD, notes)
        .and_then(|word| {
            let found = RECORDS.into_iter().find(|(name, _)| *name == word.value);
            if found.is_none() {
                let names = RECORDS.map(|(name, _)| name);
                let reason = read::unknown_value(&schema::CHECK_RECORD, word.value, &names);
                notes.add(word.at, reason);
            }
            found
        });
    Dns {
        name: query.map_or(default.name, |query| query.value.to_owned()),
        record: record.map_or(default.record, |(_, number)| number),
    }
}

fn udp(section: &Section<'_>, notes: &mut Notes<'_>) -> Udp {
    let payload = section.string(&schema::CHECK_PAYLOAD, notes);
    Udp {
        payload: payload.map_or_else(Vec::new, |payload| payload.value.as_bytes().to_vec()),
        reply: pattern(section, &schema::CHECK_REPLY, notes),
    }
}

fn smtp(section: &Section<'_>, notes: &mut Notes<'_>) -> Smtp {
    let helo = word_of_http(section, &schema::CHECK_HELO, notes, |c| {
        c.is_ascii_graphic()
    });
    helo.map_or_else(Smtp::default, |helo| Smtp { helo })
}

fn script(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<Script> {
    section.require(&schema::CHECK_COMMAND, notes);
    let user = section.string(&schema::CHECK_USER, notes);
    if let Some(user) = &user
        && matches!(user.value, "root" | "0" | "")
    {
        notes.add(user.at, Reason::Check(CheckFault::Root));
    }
    let command = section.strings(&schema::CHECK_COMMAND, notes)?;
    if command
        .value
        .first()
        .is_none_or(|program| program.value.is_empty())
    {
        notes.add(command.at, Reason::Check(CheckFault::NoCommand));
        return None;
    }
    let words = command.value.iter().map(|word| word.value.to_owned());
    Some(Script {
        command: words.collect(),
        user: user.map_or("nobody", |user| user.value).to_owned(),
    })
}

fn in_range(value: i64, min: i64, max: i64) -> Result<u32, OutOfRange> {
    let good = u32::try_from(value).ok();
    good.filter(|_| (min..=max).contains(&value))
        .ok_or(OutOfRange { value, min, max })
}

fn agreeing(value: i64) -> Result<u32, OutOfRange> {
    in_range(value, 1, i64::from(health::limits::AGREEING_MAX))
}

fn percent(value: i64) -> Result<u8, OutOfRange> {
    in_range(value, 0, 100).map(|percent| percent as u8)
}

fn days(value: i64) -> Result<u32, OutOfRange> {
    in_range(value, 1, 3650)
}
