//! What the kernel chose, recorded: `crates/control/tests/data` holds one table each (`#` lines), and
//! then who got each new connection, or nobody for clients that are missing.
//!
//! All of them by the model; those of `rr wrr dh sh mh` also by what control publishes. What lists (`lc` and the
//! others) choose is the data plane's matter: here the list itself is compared.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use api::{DestinationSettings, SchedulerFlags, ServiceKey};
use common::play::{Both, question};

/// One recording.
struct Recording {
    name: String,
    both: Both,
    answers: BTreeMap<SocketAddr, std::net::IpAddr>,
    /// In the order sent, for those that are not about many clients.
    order: Vec<SocketAddr>,
}

fn all() -> Vec<Recording> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            read(name, &std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn read(name: String, text: &str) -> Recording {
    let mut both = None;
    let mut answers = BTreeMap::new();
    let mut order = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("# ipvsadm ") {
            let words: Vec<&str> = command.split_whitespace().collect();
            run(&words, &mut both);
            continue;
        }
        let (client, server) = line.split_once('\t').unwrap();
        let client: SocketAddr = client.parse().unwrap();
        let server = server.trim_start_matches('[').trim_end_matches(']');
        answers.insert(client, server.parse().unwrap());
        order.push(client);
    }
    Recording {
        name,
        both: both.unwrap(),
        answers,
        order,
    }
}

fn run(words: &[&str], both: &mut Option<Both>) {
    let after = |option: &str| {
        let at = words.iter().position(|word| *word == option)?;
        words.get(at + 1).copied()
    };
    let key: ServiceKey = format!("udp:{}", after("-u").unwrap()).parse().unwrap();
    if words[0] == "-A" {
        let scheduler = after("-s").unwrap();
        let flags = after("-b").into_iter().flat_map(|names| names.split(','));
        let flags = flags
            .map(|name| SchedulerFlags::named(name, scheduler).unwrap())
            .fold(SchedulerFlags::NONE, SchedulerFlags::with);
        *both = Some(Both::new(key, scheduler, flags));
        return;
    }
    let both = both.as_mut().unwrap();
    let destination: SocketAddr = after("-r").unwrap().parse().unwrap();
    let number = |option| after(option).map_or(0, |word: &str| word.parse().unwrap());
    let settings = DestinationSettings {
        upper_threshold: number("-x"),
        lower_threshold: number("-y"),
        ..DestinationSettings::of(number("-w"))
    };
    match words[0] {
        "-a" => {
            both.add(destination, settings);
            both.link(destination, true);
        }
        "-e" => both.edit(destination, settings),
        "-d" => both.delete(destination),
        other => panic!("{other} is not in the recordings that this was written for"),
    }
}

/// The clients that were asked about: those that got an answer, and for the hashes all 256.
fn clients(recording: &Recording) -> Vec<SocketAddr> {
    let is_about_clients = !recording.name.contains("port")
        && (recording.name.starts_with("sh") || recording.name.starts_with("mh"));
    if !is_about_clients {
        return recording.order.clone();
    }
    // The same 256 clients were asked in all recordings of a family.
    let is_ipv6 = recording.both.key.is_ipv6();
    let same = all().into_iter().filter(|one| {
        one.both.key.is_ipv6() == is_ipv6
            && (one.name.starts_with("sh") || one.name.starts_with("mh"))
            && !one.name.contains("port")
    });
    let mut clients: Vec<SocketAddr> = same.flat_map(|one| one.order).collect();
    clients.sort();
    clients.dedup();
    assert_eq!(clients.len(), 256);
    clients
}

#[test]
fn the_kernels_choices_are_the_models() {
    let mut choices = 0;
    for mut recording in all() {
        let vip = recording.both.key.address().unwrap().ip();
        for client in clients(&recording) {
            let expected = recording.answers.get(&client);
            let got = recording.both.expected(&question(client, vip));
            let got = got.map(|address| address.ip());
            assert_eq!(got.as_ref(), expected, "{} {client}", recording.name);
            if let Some(server) = got {
                let address = SocketAddr::new(server, recording.both.key.port());
                let name = recording.both.name_of(address);
                recording.both.model.bind(name);
            }
            choices += 1;
        }
    }
    assert!(choices > 8_000, "{choices}");
}

#[test]
fn the_kernels_choices_are_those_of_what_is_published() {
    let mut choices = 0;
    for mut recording in all() {
        let vip = recording.both.key.address().unwrap().ip();
        if recording.both.published_list().is_some() || recording.name.contains("threshold") {
            continue;
        }
        for client in clients(&recording) {
            let expected = recording.answers.get(&client);
            let got = recording.both.chosen(&question(client, vip));
            let got = got.map(|address| address.ip());
            assert_eq!(got.as_ref(), expected, "{} {client}", recording.name);
            choices += 1;
        }
    }
    assert!(choices > 5_000, "{choices}");
}

#[test]
fn a_list_is_published_newest_first() {
    let mut lists = 0;
    for recording in all() {
        let Some((_, published)) = recording.both.published_list() else {
            continue;
        };
        let model = recording.both.model.list().iter();
        let expected: Vec<SocketAddr> = model.map(|one| one.address).collect();
        assert_eq!(published, expected, "{}", recording.name);
        lists += 1;
    }
    assert!(lists > 20, "{lists}");
}
