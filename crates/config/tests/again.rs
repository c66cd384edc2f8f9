//! Whoever reads a configuration again with the one before at hand finds what anybody else would find.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::sync::Arc;

use dirigo_config::{Config, File};
use proptest::prelude::*;

/// A file with services of three destinations.
fn text(services: u8) -> String {
    let mut text =
        "[director]\ninterface = \"eth0\"\n\n[[check]]\nname = \"web\"\ntype = \"tcp\"\n\n\
                    [defaults.service]\nscheduler = \"wlc\"\n"
            .to_owned();
    for n in 1..=services {
        write!(text, "\n# {n}\n{}", service(n)).unwrap();
    }
    text + "\n[timeouts]\ntcp = 700\n"
}

fn service(n: u8) -> String {
    let mut text = format!(
        "[[service]]\naddress = \"192.0.2.{n}:80\"\nprotocol = \"tcp\"\nchecks = [\"web\"]\n"
    );
    for server in 1..=3 {
        write!(
            text,
            "  [[service.destination]]\n  address = \"198.51.100.{server}\"\n  weight = {n}\n"
        )
        .unwrap();
    }
    text
}

fn files(texts: &[&str]) -> Vec<File> {
    let names = ["dirigo.toml", "conf.d/a.toml", "conf.d/b.toml"];
    let files = names.iter().zip(texts);
    files
        .map(|(name, text)| File {
            name: (*name).to_owned(),
            bytes: text.as_bytes().to_vec(),
        })
        .collect()
}

/// The same from both ways, right or wrong; how many services were not read again.
fn both(before: &[&str], now: &[&str]) -> usize {
    let (before, now) = (files(before), files(now));
    let known = Config::of_files(&before).unwrap();
    let again = known.of_files_again(&before, &now);
    let whole = Config::of_files(&now);
    assert_eq!(
        again.as_ref().map_err(ToString::to_string),
        whole.as_ref().map_err(ToString::to_string)
    );
    let shared = |one: &Arc<_>| known.services.iter().any(|known| Arc::ptr_eq(known, one));
    again.map_or(0, |again| {
        again.services.iter().filter(|one| shared(one)).count()
    })
}

#[test]
fn one_line_of_one_service_leaves_the_others_unread() {
    let before = text(5);
    let now = before.replacen("weight = 3", "weight = 9", 1);
    assert_eq!(both(&[&before], &[&now]), 4);
}

#[test]
fn services_come_go_and_change_places() {
    let five = text(5);
    assert_eq!(both(&[&five], &[&five]), 5);
    // The word before the next service belongs to the one before it.
    assert_eq!(both(&[&five], &[&text(4)]), 3);
    assert_eq!(both(&[&text(4)], &[&five]), 3);
    let (two, three) = (service(2), service(3));
    let turned = five
        .replace(&two, "§")
        .replace(&three, &two)
        .replace('§', &three);
    assert_eq!(both(&[&five], &[&turned]), 3);
    assert_eq!(both(&[&five, &service(7)], &[&five, &service(8)]), 5);
}

#[test]
fn what_concerns_all_services_has_all_of_them_read() {
    let before = text(3);
    for (old, new) in [
        ("tcp = 700", "tcp = 800"),
        ("\"wlc\"", "\"rr\""),
        ("type = \"tcp\"", "type = \"icmp\""),
    ] {
        assert_eq!(both(&[&before], &[&before.replace(old, new)]), 0, "{new}");
    }
}

#[test]
fn a_mistake_is_found_where_it_stands_also_one_between_two_services() {
    let before = text(3);
    for (old, new) in [
        ("weight = 2", "wieght = 2"),
        ("192.0.2.2:80", "192.0.2.1:80"),
        ("192.0.2.2:80", "198.51.100.3:80"),
        ("checks = [\"web\"]\n", "checks = [\n"),
        ("checks = [\"web\"]\n", "checks = [\"\"\"\n"),
        (
            "[[service]]\naddress = \"192.0.2.2:80\"",
            "[service]\naddress = \"192.0.2.2:80\"",
        ),
        (
            "[[service]]\naddress = \"192.0.2.2:80\"",
            "[[check]]\naddress = \"192.0.2.2:80\"",
        ),
    ] {
        both(&[&before], &[&before.replacen(old, new, 1)]);
    }
}

proptest! {
    #[test]
    fn any_lines_may_come_and_go(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
    ) {
        let before = text(4);
        let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
        for (at, what) in edits {
            let at = at.index(lines.len());
            match what {
                0 | 1 => { lines.remove(at); }
                2 => { let line = lines[at].clone(); lines.insert(at, line); }
                3 => lines.insert(at, "[[service]]".to_owned()),
                4 => lines.insert(at, "weight = 7".to_owned()),
                5 => lines.insert(at, service(9)),
                6 => lines[at] = lines[at].replace('2', "3"),
                _ => lines.insert(at, "name = '''".to_owned()),
            }
        }
        both(&[&before], &[&lines.join("\n")]);
    }
}
