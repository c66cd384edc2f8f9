//! A configuration that differs from one that is known in some of its services: only those are read.
//!
//! ```text
//! text before ─► [[service]] │ [[service]] │ other tables │ …     each with the tables below it
//! text now    ─►   same           other         same
//!                                   └─► read with the other tables, put in its place
//! ```
//!
//! What comes out is what the whole text would give, or nothing: then the whole has to be read. That is so whenever
//! anything but services is otherwise, when there is a mistake, and when the text is too clever to be cut by its lines.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::{Config, File, Service, Source, limits, read};

/// The text of one service or of other tables, from a header on.
struct Block<'t> {
    file: usize,
    is_service: bool,
    text: &'t str,
}

/// The configuration of `now`, if little of it is otherwise than in `before`, whose configuration is `known`.
pub(crate) fn config(known: &Config, before: &[File], now: &[File]) -> Option<Config> {
    let names = |files: &'_ [File]| {
        files
            .iter()
            .map(|file| file.name.clone())
            .collect::<Vec<_>>()
    };
    if names(before) != names(now) {
        return None;
    }
    let (old, new) = (blocks(before)?, blocks(now)?);
    let others = |blocks: &[Block<'_>]| -> Vec<(usize, String)> {
        let others = blocks.iter().filter(|block| !block.is_service);
        let others = others.filter(|block| !block.text.is_empty());
        others
            .map(|block| (block.file, block.text.to_owned()))
            .collect()
    };
    let others = (others(&old), others(&new));
    if others.0 != others.1 {
        return None;
    }
    let (old, new) = (only_services(&old), only_services(&new));
    if old.len() != known.services.len() || new.len() > limits::SERVICES {
        return None;
    }
    let changed = changed(&old, &new);
    let few = read_few(&others.1, &new[changed.now.clone()], now)?;
    if few.services.len() != changed.now.len() {
        return None;
    }
    let first = &known.services[..changed.before.start];
    let last = &known.services[changed.before.end..];
    fits(&few, first.iter().chain(last)).then(|| Config {
        services: [first, &few.services[..], last].concat(),
        ..few
    })
}

fn only_services<'a, 't>(blocks: &'a [Block<'t>]) -> Vec<&'a Block<'t>> {
    blocks.iter().filter(|block| block.is_service).collect()
}

/// Cuts texts at their headers. None that could hide a header in a string.
fn blocks(files: &[File]) -> Option<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    for (file, bytes) in files.iter().map(|file| &file.bytes).enumerate() {
        let text = std::str::from_utf8(bytes).ok()?;
        let has = |quotes: &str| memchr::memmem::find(bytes, quotes.as_bytes()).is_some();
        if has("\"\"\"") || has("'''") {
            return None;
        }
        let mut begun = Block {
            file,
            is_service: false,
            text: "",
        };
        let mut from = 0;
        // Most lines have no bracket at all.
        for bracket in memchr::memchr_iter(b'[', bytes) {
            let Some(at) = begin_of_header(text, bracket) else {
                continue;
            };
            match header(&text[bracket..]) {
                Header::BelowService if begun.is_service => {}
                Header::BelowService => return None,
                kind => {
                    begun.text = &text[from..at];
                    let is_service = kind == Header::Service;
                    let next = Block {
                        file,
                        is_service,
                        text: "",
                    };
                    blocks.push(std::mem::replace(&mut begun, next));
                    from = at;
                }
            }
        }
        begun.text = &text[from..];
        blocks.push(begun);
    }
    Some(blocks)
}

/// Where the line begins whose first word is at a bracket; none if something else comes before.
fn begin_of_header(text: &str, bracket: usize) -> Option<usize> {
    let before = text[..bracket].trim_end_matches([' ', '\t']);
    (before.is_empty() || before.ends_with('\n')).then_some(before.len())
}

#[derive(PartialEq, Eq)]
enum Header {
    Service,
    BelowService,
    Other,
}

/// What begins with a bracket that is the first of its line.
fn header(text: &str) -> Header {
    if let Some(rest) = text.strip_prefix("[[service]]") {
        let rest = rest.trim_start_matches([' ', '\t', '\r']);
        if rest.is_empty() || rest.starts_with(['\n', '#']) {
            return Header::Service;
        }
    }
    if text.starts_with("[[service.") || text.starts_with("[service.") {
        Header::BelowService
    } else {
        Header::Other
    }
}

/// Which services are not the same before and now: all between those that are at both ends.
struct Changed {
    before: Range<usize>,
    now: Range<usize>,
}

fn changed(before: &[&Block<'_>], now: &[&Block<'_>]) -> Changed {
    let is_same = |(one, other): &(&&Block<'_>, &&Block<'_>)| {
        (one.file, one.text) == (other.file, other.text)
    };
    let first = before.iter().zip(now).take_while(is_same).count();
    let ends = before[first..].iter().rev().zip(now[first..].iter().rev());
    let last = ends.take_while(is_same).count();
    Changed {
        before: first..before.len() - last,
        now: first..now.len() - last,
    }
}

/// Reads some services as if there were no others.
fn read_few(others: &[(usize, String)], few: &[&Block<'_>], files: &[File]) -> Option<Config> {
    let texts = (0..files.len()).map(|file| {
        let others = others.iter().filter(|(of, _)| *of == file);
        let others = others.map(|(_, text)| &**text);
        let few = few.iter().filter(|block| block.file == file);
        let mut text = String::new();
        for block in others.chain(few.map(|block| block.text)) {
            text.push_str(block);
            text.push('\n');
        }
        text
    });
    let texts: Vec<String> = texts.collect();
    let named = files.iter().zip(&texts);
    let sources: Vec<Source<'_>> = named
        .map(|(file, text)| Source::new(&file.name, text))
        .collect();
    read::config(&sources).ok()
}

/// Whether some services go with the others: what is asked of all services together.
fn fits<'a>(few: &Config, others: impl Iterator<Item = &'a Arc<Service>> + Clone) -> bool {
    let keys: HashSet<_> = few.services.iter().map(|service| service.key).collect();
    let (vips, servers) = (vips(few.services.iter()), servers(few.services.iter()));
    let mut destinations = few
        .services
        .iter()
        .map(|one| one.destinations.len())
        .sum::<usize>();
    for service in others.clone() {
        destinations += service.destinations.len();
        let is_looped = |address: &IpAddr| vips.contains(address);
        let own = service.key.address().map(|address| address.ip());
        let sorry = service
            .health
            .as_ref()
            .and_then(|health| health.rules.sorry_server);
        if keys.contains(&service.key)
            || own.is_some_and(|vip| servers.contains(&vip))
            || sorry.is_some_and(|sorry| is_looped(&sorry))
            || service
                .destinations
                .iter()
                .any(|one| is_looped(&one.address.ip()))
        {
            return false;
        }
    }
    destinations <= limits::DESTINATIONS
}

fn vips<'a>(services: impl Iterator<Item = &'a Arc<Service>>) -> HashSet<IpAddr> {
    let addresses = services.filter_map(|service| service.key.address());
    addresses.map(|address| address.ip()).collect()
}

fn servers<'a>(services: impl Iterator<Item = &'a Arc<Service>>) -> HashSet<IpAddr> {
    let all = services.flat_map(|service| {
        let health = service.health.as_ref();
        let sorry = health.and_then(|health| health.rules.sorry_server);
        let destinations = service.destinations.iter();
        destinations.map(|one| one.address.ip()).chain(sorry)
    });
    all.collect()
}
