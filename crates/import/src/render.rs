//! A draft as the text of our file, in the order in which people read it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::draft::{Check, Destination, Draft, Offer, Service};
use crate::words::{list, quoted};

/// The whole file.
pub(crate) fn toml(draft: &Draft, file: &str) -> String {
    let mut out = Text::default();
    let file: String = file.chars().filter(|c| !c.is_control()).collect();
    out.line(&format!("# From {file}, by `dirigo import`."));
    director(draft, &mut out);
    for mark in &draft.marks {
        out.table("[[mark]]");
        out.key("mark", &mark.mark.to_string());
        out.key("addresses", &list([&mark.address]));
        if let Some(protocol) = &mark.protocol {
            out.key("protocol", &quoted(protocol));
        }
        if let Some(ports) = &mark.ports {
            out.key("ports", &list([ports]));
        }
    }
    let names = names_of_checks(&draft.checks);
    if !names.is_empty() {
        out.line("");
        out.line("# Checks ask each real server's own address, as before. Without `to` they go to the virtual address");
        out.line("# by the true path, and so prove that the server has it, and keeps quiet about it, as well.");
    }
    for (check, name) in draft.checks.iter().zip(&names) {
        out.table("[[check]]");
        out.key("name", &quoted(name));
        out.key("type", &quoted(check.kind));
        for (key, value) in &check.keys {
            out.key(key, value);
        }
    }
    let servers = servers_of_several(&draft.services);
    for (address, name) in &servers.in_order {
        out.table("[[real_server]]");
        out.key("name", &quoted(name));
        out.key("address", &quoted(&address.to_string()));
    }
    for service in &draft.services {
        write_service(service, &names, &servers.names, &mut out);
    }
    out.0
}

fn director(draft: &Draft, out: &mut Text) {
    out.table("[director]");
    match draft.interfaces.as_slice() {
        [] => out.key("interface", &quoted("eth0")),
        [one] => out.key("interface", &quoted(one)),
        many => out.key("interfaces", &list(many)),
    }
    if draft.timeouts.iter().any(Option::is_some) {
        out.table("[timeouts]");
        for (key, value) in ["tcp", "tcp_fin", "udp"].into_iter().zip(draft.timeouts) {
            if let Some(value) = value {
                out.key(key, &value.to_string());
            }
        }
    }
    if !draft.settings.is_empty() {
        out.table("[settings]");
        for (key, value) in &draft.settings {
            out.key(key, value);
        }
    }
    if draft.vips_are_moved {
        out.table("[vips]");
        out.key("manage", "false");
    }
}

/// `tcp`, `tcp-2`, `http`, …
fn names_of_checks(checks: &[Check]) -> Vec<String> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::new();
    for check in checks {
        let number = seen.entry(check.kind).or_default();
        *number += 1;
        names.push(match number {
            1 => check.kind.to_owned(),
            number => format!("{}-{number}", check.kind),
        });
    }
    names
}

/// Real servers that serve in several services, with the names that they get.
struct Servers {
    in_order: Vec<(IpAddr, String)>,
    names: HashMap<IpAddr, String>,
}

fn servers_of_several(services: &[Service]) -> Servers {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    let all = || services.iter().flat_map(|service| &service.destinations);
    for destination in all() {
        *counts.entry(destination.address).or_default() += 1;
    }
    let mut servers = Servers {
        in_order: Vec::new(),
        names: HashMap::new(),
    };
    for destination in all() {
        let address = destination.address;
        if counts[&address] > 1 && !servers.names.contains_key(&address) {
            let name = format!("rs{}", servers.in_order.len() + 1);
            servers.names.insert(address, name.clone());
            servers.in_order.push((address, name));
        }
    }
    servers
}

fn write_service(
    service: &Service,
    checks: &[String],
    servers: &HashMap<IpAddr, String>,
    out: &mut Text,
) {
    out.table("[[service]]");
    if let Some(comment) = &service.comment {
        let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
        out.line(&format!("# {comment}"));
    }
    match service.offer {
        Offer::Address(protocol, address, port) => {
            let address = SocketAddr::new(address, port).to_string();
            out.key("address", &quoted(&address));
            out.key("protocol", &quoted(protocol));
        }
        Offer::Mark { mark, is_ipv6 } => {
            out.key("mark", &mark.to_string());
            if is_ipv6 {
                out.key("family", &quoted("ipv6"));
            }
        }
    }
    out.key("scheduler", &quoted(&service.scheduler));
    if !service.flags.is_empty() {
        out.key("flags", &list(&service.flags));
    }
    if let Some(persistence) = service.persistence {
        out.key("persistence", &persistence.to_string());
    }
    if let Some(netmask) = &service.netmask {
        out.key("netmask", &quoted(netmask));
    }
    if service.one_packet {
        out.key("one_packet", "true");
    }
    let first = service.destinations.first();
    let common = first.map_or(&[][..], |first| &first.checks);
    let is_checked = service
        .destinations
        .iter()
        .any(|one| !one.checks.is_empty());
    let of = |positions: &[usize]| list(positions.iter().map(|at| &checks[*at]));
    if is_checked {
        out.key("checks", &of(common));
        rules(service, out);
    }
    let is_plain = |one: &Destination| {
        let says_nothing = one.weight == 1 && one.upper == 0 && one.lower == 0;
        says_nothing && one.checks == common && servers.contains_key(&one.address)
    };
    let all = &service.destinations;
    if !all.is_empty() && all.iter().all(is_plain) {
        out.key(
            "real_servers",
            &list(all.iter().map(|one| &servers[&one.address])),
        );
        return;
    }
    for one in all {
        out.line("");
        out.line("  [[service.destination]]");
        match servers.get(&one.address) {
            Some(name) => out.inner("real_server", &quoted(name)),
            None => out.inner("address", &quoted(&one.address.to_string())),
        }
        out.inner("weight", &one.weight.to_string());
        if one.upper > 0 {
            out.inner("upper_threshold", &one.upper.to_string());
        }
        if one.lower > 0 {
            out.inner("lower_threshold", &one.lower.to_string());
        }
        if one.checks != common {
            out.inner("checks", &of(&one.checks));
        }
    }
}

fn rules(service: &Service, out: &mut Text) {
    let rules = &service.rules;
    if let Some(quorum) = rules.quorum {
        out.key("quorum", &quorum.to_string());
    }
    if let Some(hysteresis) = rules.hysteresis {
        out.key("hysteresis", &hysteresis.to_string());
    }
    if let Some((sorry, _)) = rules.sorry {
        out.key("sorry_server", &quoted(&sorry.to_string()));
    }
    if rules.inhibit_on_failure {
        out.key("inhibit_on_failure", "true");
    }
    if !rules.alpha {
        out.key("alpha", "false");
    }
    if rules.omega {
        out.key("omega", "true");
    }
}

/// Text that grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn table(&mut self, header: &str) {
        self.line("");
        self.line(header);
    }

    fn key(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn inner(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "  {key} = {value}");
    }
}
