//! `[[notify]]`: whom events are told, by a script or over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use api::{EventKind, EventLevel};

use crate::check::time;
use crate::limits;
use crate::mistake::{Place, Quoted, Reason};
use crate::notes::Notes;
use crate::read::unknown_value;
use crate::schema::{self, Key, Table};
use crate::section::{At, Section};

/// How long one attempt may take, if nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who is told of which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// How.
    pub to: NotifyTo,
    /// Only these kinds; all, if there are none.
    pub kinds: Vec<EventKind>,
    /// At least this level.
    pub level: EventLevel,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyTo {
    /// A program gets the event on its standard input.
    Script {
        /// Program and arguments.
        command: Vec<String>,
        /// The user it runs as.
        user: String,
    },
    /// A server gets the event by POST.
    Webhook {
        /// Where.
        url: String,
        /// A file with the token to send.
        token_file: Option<PathBuf>,
        /// A file of authorities; without it, those of the host.
        trust: Option<PathBuf>,
    },
}

/// What can be wrong with `[[notify]]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence beside each variant says it")]
pub enum NotifyFault {
    #[error(
        "this is [[notify]] number {number}, but there is room for {}: let one program tell several",
        limits::NOTIFY
    )]
    TooMany { number: usize },
    #[error(
        "[[notify]] says nobody who is told: add command = [\"/usr/local/bin/page\"], or url = \"https://hooks.example.com/lvs\""
    )]
    Nobody,
    #[error("both `command` and `url` are set: write a [[notify]] for each")]
    Both,
    #[error("`{key}` means nothing beside `{beside}`: leave it out")]
    Other {
        key: &'static str,
        beside: &'static str,
    },
    #[error("{found}")]
    Kind { found: String },
    #[error("a program that is told does not run as root: name another user")]
    Root,
    #[error(
        "the command is empty: write the program and its arguments, for example command = [\"/usr/local/bin/page\"]"
    )]
    NoCommand,
    #[error(
        "\"{found}\" is no address of a webhook: write for example url = \"https://hooks.example.com/lvs\""
    )]
    Url { found: Quoted },
    #[error("\"{found}\" is no absolute path: begin it with a slash, as the daemon works in /")]
    Path { found: Quoted },
    #[error(
        "{address} is the service in {service}, and a director cannot be a client of its own services: its requests stay on the host. Name a real server's own address"
    )]
    IsService { address: SocketAddr, service: Place },
}

/// Everybody who is told, and the addresses that webhooks name.
pub(crate) fn all(root: &Section<'_>, notes: &mut Notes<'_>) -> (Vec<Notify>, Vec<At<SocketAddr>>) {
    let (sections, beyond) = root.many(&schema::NOTIFY, Table::Notify, limits::NOTIFY, notes);
    if let Some(at) = beyond {
        let number = limits::NOTIFY + 1;
        note(at, NotifyFault::TooMany { number }, notes);
    }
    let (mut all, mut hooks) = (Vec::new(), Vec::new());
    for section in &sections {
        let Some(one) = one(section, notes) else {
            continue;
        };
        if let NotifyTo::Webhook { url, .. } = &one.to
            && let Some(at) = section.position(&schema::NOTIFY_URL)
            && let Some(value) = address_of(url)
        {
            hooks.push(At { at, value });
        }
        all.push(one);
    }
    (all, hooks)
}

/// The address and port that a URL names in figures.
fn address_of(url: &str) -> Option<SocketAddr> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let host = host.rsplit('@').next()?;
    let port = if scheme == "https" { 443 } else { 80 };
    let alone = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let alone = alone.map(|address| SocketAddr::new(address, port));
    host.parse().ok().or(alone.ok())
}

fn one(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<Notify> {
    let command = section.position(&schema::NOTIFY_COMMAND);
    let url = section.position(&schema::NOTIFY_URL);
    let to = match (command, url) {
        (None, None) => {
            note(section.at(), NotifyFault::Nobody, notes);
            None
        }
        (Some(one), Some(other)) => {
            note(one.max(other), NotifyFault::Both, notes);
            None
        }
        (Some(_), None) => script(section, notes),
        (None, Some(_)) => webhook(section, notes),
    };
    let kinds = kinds(section, notes);
    let level = level(section, notes);
    let timeout = time(section, &schema::NOTIFY_TIMEOUT, ("100ms", "5m"), notes);
    Some(Notify {
        to: to?,
        kinds,
        level,
        timeout: timeout.map_or(TIMEOUT, |timeout| timeout.value),
    })
}

fn script(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<NotifyTo> {
    for key in [&schema::NOTIFY_TOKEN_FILE, &schema::NOTIFY_TRUST] {
        not_beside(section, key, "command", notes);
    }
    let user = section.string(&schema::NOTIFY_USER, notes);
    if let Some(user) = &user
        && matches!(user.value, "root" | "0" | "")
    {
        note(user.at, NotifyFault::Root, notes);
    }
    let command = section.strings(&schema::NOTIFY_COMMAND, notes)?;
    let program = command.value.first();
    if program.is_none_or(|program| program.value.is_empty()) {
        note(command.at, NotifyFault::NoCommand, notes);
        return None;
    }
    let words = command.value.iter().map(|word| word.value.to_owned());
    Some(NotifyTo::Script {
        command: words.collect(),
        user: user.map_or("nobody", |user| user.value).to_owned(),
    })
}

fn webhook(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<NotifyTo> {
    not_beside(section, &schema::NOTIFY_USER, "url", notes);
    let token_file = path(section, &schema::NOTIFY_TOKEN_FILE, notes);
    let trust = path(section, &schema::NOTIFY_TRUST, notes);
    let url = section.string(&schema::NOTIFY_URL, notes)?;
    if api::Remote::is_url(url.value) {
        return Some(NotifyTo::Webhook {
            url: url.value.to_owned(),
            token_file,
            trust,
        });
    }
    let found = url.value.into();
    note(url.at, NotifyFault::Url { found }, notes);
    None
}

fn kinds(section: &Section<'_>, notes: &mut Notes<'_>) -> Vec<EventKind> {
    let names = section.strings(&schema::NOTIFY_EVENTS, notes);
    let mut kinds = Vec::new();
    for name in names.map_or_else(Vec::new, |names| names.value) {
        match name.value.parse::<EventKind>() {
            Ok(kind) => kinds.push(kind),
            Err(error) => {
                let found = error.to_string();
                note(name.at, NotifyFault::Kind { found }, notes);
            }
        }
    }
    kinds
}

fn level(section: &Section<'_>, notes: &mut Notes<'_>) -> EventLevel {
    let Some(word) = section.string(&schema::NOTIFY_LEVEL, notes) else {
        return EventLevel::Info;
    };
    match word.value {
        "info" => EventLevel::Info,
        "warning" => EventLevel::Warning,
        _ => {
            let words = ["info", "warning"];
            let reason = unknown_value(&schema::NOTIFY_LEVEL, word.value, &words);
            notes.add(word.at, reason);
            EventLevel::Info
        }
    }
}

fn not_beside(section: &Section<'_>, key: &Key, beside: &'static str, notes: &mut Notes<'_>) {
    if let Some(at) = section.position(key) {
        let key = key.name;
        note(at, NotifyFault::Other { key, beside }, notes);
    }
}

fn path(section: &Section<'_>, key: &Key, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let text = section.string(key, notes)?;
    if text.value.starts_with('/') {
        return Some(text.value.into());
    }
    let found = text.value.into();
    note(text.at, NotifyFault::Path { found }, notes);
    None
}

fn note(at: usize, fault: NotifyFault, notes: &mut Notes<'_>) {
    notes.add(at, Reason::Notify(fault));
}
