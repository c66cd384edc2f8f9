//! From text to [`Config`], or to all its mistakes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::mistake::{Advice, Mistakes, Reason};
use crate::notes::Notes;
use crate::schema::{self, Table};
use crate::section::{At, Section};
use crate::shared::Shared;
use crate::{
    Config, ConnReuseMode, ConnectionsMax, InterfaceName, OnStop, Seconds, Source, Timeouts, check,
    limits, mark, metrics, service, suggest,
};

/// Reads the main file and the pieces as one.
pub(crate) fn config(sources: &[Source<'_>]) -> Result<Config, Mistakes> {
    let mut notes = Notes::new(sources);
    let parsed: Vec<_> = sources
        .iter()
        .map(|source| DeTable::parse_recoverable(source.text))
        .collect();
    let mut readable = true;
    for (number, (source, (root, problems))) in sources.iter().zip(&parsed).enumerate() {
        let base = notes.base(number);
        readable &= match source.foreign {
            None => note_problems(root.get_ref(), problems, base, &mut notes),
            Some(byte) => {
                notes.add(base + source.text.len(), Reason::NotUtf8 { byte });
                false
            }
        };
    }
    let config = readable.then(|| {
        let roots = parsed.iter().map(|(root, _)| root.get_ref());
        let root = root(roots, &mut notes);
        tables(&root, &mut notes)
    });
    let list = notes.into_sorted();
    match config {
        Some(config) if list.is_empty() => Ok(config),
        _ => Err(Mistakes { list }),
    }
}

/// The keys of all files as those of one. What is said once for the whole director stands in the main
/// file: a piece is about some services, and whoever reads it should not have to look for more.
fn root<'t>(roots: impl Iterator<Item = &'t DeTable<'t>>, notes: &mut Notes<'_>) -> Section<'t> {
    let mut whole = Section::empty(Table::Root, 0);
    for (number, root) in roots.enumerate() {
        let base = notes.base(number);
        let mut piece = Section::new(Table::Root, root, (base, base), notes);
        if number > 0 {
            for key in schema::of_the_main_file() {
                if let Some(at) = piece.take(&key) {
                    let (header, main_file) = (key.example, notes.main_file());
                    notes.add(at, Reason::MainFileOnly { header, main_file });
                }
            }
        }
        whole.append(piece);
    }
    whole
}

/// Notes what the TOML parser found, and tells whether the tree still means what the file
/// says. It does after a repeated key (the first one stays); behind a broken line every
/// further message would be a guess.
fn note_problems(
    root: &DeTable<'_>,
    problems: &[toml::de::Error],
    base: usize,
    notes: &mut Notes<'_>,
) -> bool {
    let mut readable = true;
    let mut broken_lines = HashSet::new();
    for problem in problems.iter().take(limits::MISTAKES + 1) {
        let span = problem.span().unwrap_or(0..0);
        let at = base + span.start;
        let key = notes.source(at..base + span.end);
        if problem.message() == "duplicate key" {
            // Of two equal headers the tree keeps the second, so the text is asked for the first.
            let first = earlier_key(root, key, span.start)
                .map(|first| base + first)
                .or_else(|| notes.header_before(key, at))
                .unwrap_or(at);
            let reason = Reason::KeyTwice {
                key: key.into(),
                first: notes.place(first, at),
            };
            notes.add(at, reason);
            continue;
        }
        readable = false;
        // A broken line upsets the parser more than once; its first complaint is the useful one.
        if broken_lines.insert(notes.line(at)) {
            let reason = Reason::Syntax {
                problem: problem.message().to_owned(),
            };
            notes.add(at, reason);
        }
    }
    readable
}

/// Where the key of this name stands that is nearest before byte `before`.
fn earlier_key(table: &DeTable<'_>, name: &str, before: usize) -> Option<usize> {
    let mut nearest = None;
    for (key, value) in table {
        let here = (key.get_ref() == name).then_some(key.span().start);
        let below = match value.get_ref() {
            DeValue::Table(table) => earlier_key(table, name, before),
            DeValue::Array(list) => list
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .filter_map(|table| earlier_key(table, name, before))
                .max(),
            _ => None,
        };
        let found = [here, below]
            .into_iter()
            .flatten()
            .filter(|&at| at < before);
        nearest = nearest.max(found.max());
    }
    nearest
}

fn tables(root: &Section<'_>, notes: &mut Notes<'_>) -> Config {
    let director = root.one(&schema::DIRECTOR, Table::Director, notes);
    let connections = root.one(&schema::CONNECTIONS, Table::Connections, notes);
    let timeouts = root.one(&schema::TIMEOUTS, Table::Timeouts, notes);
    let settings = root.one(&schema::SETTINGS, Table::Settings, notes);
    let vips = root.one(&schema::VIPS, Table::Vips, notes);
    let api = root.one(&schema::API, Table::Api, notes);
    let checks = check::all(root, notes);
    let mut shared = Shared::read(root, checks, notes);
    (shared.marks, shared.mark_addresses) = mark::all(root, notes);
    let subnets = director
        .as_ref()
        .filter(|section| section.position(&schema::SUBNETS).is_some())
        .map(|section| mark::networks(section, &schema::SUBNETS, notes));
    let director = director.as_ref();
    let api = api.map(|section| crate::doors::api(&section, notes));
    let (api, listens) = api.unwrap_or_default();
    let (notify, hooks) = crate::notify::all(root, notes);
    let itself = service::Itself {
        subnets: subnets.unwrap_or_default(),
        listens,
        hooks,
    };
    if root.position(&schema::DIRECTOR).is_none() {
        notes.add(0, Reason::NoInterface);
    }
    Config {
        interfaces: director.map_or_else(Vec::new, |section| interfaces(section, notes)),
        require_native: director
            .and_then(|section| section.flag(&schema::REQUIRE_NATIVE, notes))
            .unwrap_or(false),
        on_stop: director
            .and_then(|section| on_stop(section, notes))
            .unwrap_or_default(),
        connections_max: connections
            .and_then(|section| section.number(&schema::MAX, ConnectionsMax::rounded_up, notes))
            .map(|max| max.value),
        timeouts: timeouts.map_or_else(Timeouts::default, |section| idle(&section, notes)),
        settings: settings
            .map_or_else(api::Settings::default, |section| behaviour(&section, notes)),
        manage_vips: vips
            .and_then(|section| section.flag(&schema::MANAGE, notes))
            .unwrap_or(true),
        api,
        metrics: metrics::read(root, notes),
        notify,
        marks: shared.marks.clone(),
        services: service::all(root, &shared, &itself, notes)
            .into_iter()
            .map(Arc::new)
            .collect(),
        real_servers: shared
            .servers
            .iter()
            .filter_map(|(name, server)| Some((Arc::clone(name), server.address.as_ref()?.value)))
            .collect(),
        checks: shared
            .checks
            .into_iter()
            .map(|(name, check)| (name, check.value))
            .collect(),
    }
}

/// `interface = "eth0"` or `interfaces = ["eth0", "eth1"]`.
fn interfaces(section: &Section<'_>, notes: &mut Notes<'_>) -> Vec<InterfaceName> {
    let one = section.string(&schema::INTERFACE, notes);
    let many = section.strings(&schema::INTERFACES, notes);
    let (at_one, at_many) = (
        section.position(&schema::INTERFACE),
        section.position(&schema::INTERFACES),
    );
    match (at_one, at_many) {
        (None, None) => notes.add(section.at(), Reason::NoInterface),
        (Some(a), Some(b)) => notes.add(a.max(b), Reason::InterfaceAndInterfaces),
        _ => {}
    }
    if let Some(many) = &many {
        note_count(many, notes);
    }
    let all = one
        .into_iter()
        .chain(many.map_or_else(Vec::new, |many| many.value));
    good_names(all, notes)
}

/// Names that can be interfaces, each once.
fn good_names<'t>(
    all: impl Iterator<Item = At<&'t str>>,
    notes: &mut Notes<'_>,
) -> Vec<InterfaceName> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::new();
    for name in all {
        match name.value.parse::<InterfaceName>() {
            Ok(_) if seen.contains_key(name.value) => {
                let reason = Reason::InterfaceTwice {
                    name: name.value.into(),
                    first: notes.place(seen[name.value], name.at),
                };
                notes.add(name.at, reason);
            }
            Ok(good) => {
                seen.insert(name.value, name.at);
                names.push(good);
            }
            Err(problem) => {
                let reason = Reason::BadInterface {
                    name: name.value.into(),
                    problem,
                };
                notes.add(name.at, reason);
            }
        }
    }
    names
}

fn note_count(list: &At<Vec<At<&str>>>, notes: &mut Notes<'_>) {
    let found = list.value.len();
    if found == 0 {
        notes.add(list.at, Reason::EmptyInterfaces);
    }
    if found > limits::INTERFACES {
        let limit = limits::INTERFACES;
        notes.add(list.at, Reason::TooManyInterfaces { found, limit });
    }
}

fn on_stop(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<OnStop> {
    let word = section.string(&schema::ON_STOP, notes)?;
    match word.value {
        "keep" => Some(OnStop::Keep),
        "release" => Some(OnStop::Release),
        _ => {
            let reason = unknown_value(&schema::ON_STOP, word.value, &["keep", "release"]);
            notes.add(word.at, reason);
            None
        }
    }
}

/// The complaint about a word that is none of `words`.
pub(crate) fn unknown_value(key: &schema::Key, value: &str, words: &[&'static str]) -> Reason {
    let advice = suggest::closest(value, words.iter().copied())
        .map_or_else(|| Advice::OneOf(words.to_vec()), Advice::DidYouMean);
    Reason::UnknownValue {
        key: key.name,
        value: value.into(),
        advice,
    }
}

fn behaviour(section: &Section<'_>, notes: &mut Notes<'_>) -> api::Settings {
    let default = api::Settings::default();
    let mut flag = |key| section.flag(key, notes).unwrap_or(false);
    let flags = api::Settings {
        expire_nodest_conn: flag(&schema::EXPIRE_NODEST_CONN),
        expire_quiescent_template: flag(&schema::EXPIRE_QUIESCENT_TEMPLATE),
        sloppy_tcp: flag(&schema::SLOPPY_TCP),
        sloppy_sctp: flag(&schema::SLOPPY_SCTP),
        ..default
    };
    let mut seconds = |key, default| {
        let found = section.number(key, Seconds::try_from, notes);
        found.map_or(default, |found| found.value.into())
    };
    api::Settings {
        lblc_expiration: seconds(&schema::LBLC_EXPIRATION, default.lblc_expiration),
        lblcr_expiration: seconds(&schema::LBLCR_EXPIRATION, default.lblcr_expiration),
        conn_reuse_mode: section
            .number(&schema::CONN_REUSE_MODE, ConnReuseMode::try_from, notes)
            .map_or(default.conn_reuse_mode, |mode| mode.value.into()),
        ..flags
    }
}

fn idle(section: &Section<'_>, notes: &mut Notes<'_>) -> Timeouts {
    let default = Timeouts::default();
    let mut seconds = |key, default| {
        section
            .number(key, Seconds::try_from, notes)
            .map_or(default, |found| found.value)
    };
    Timeouts {
        tcp: seconds(&schema::TCP, default.tcp),
        tcp_fin: seconds(&schema::TCP_FIN, default.tcp_fin),
        udp: seconds(&schema::UDP, default.udp),
    }
}
