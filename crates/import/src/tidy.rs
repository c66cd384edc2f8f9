//! What our file refuses leaves the draft here, each time with a word: a service that is there twice, a
//! destination that direct routing cannot reach, rules without checks.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::draft::{Check, Draft, Mark, Offer, Service};
use crate::report::Report;

/// Longest persistence, in seconds: 31 days, as ipvsadm takes it.
const PERSISTENCE_S: u32 = 2_678_400;

/// Services, destinations, checks and rules of firewall marks that our file may have.
const SERVICES: usize = 16_384;
const DESTINATIONS: usize = 131_071;
const CHECKS: usize = 1_024;
const MARKS: usize = 1_024;

/// Makes the draft one that our file can say.
pub(crate) fn tidy(draft: &mut Draft, report: &mut Report) {
    if draft.interfaces.is_empty() {
        report.say(
            1,
            "no interface is named here: set `interface` in [director] to the one where clients' packets arrive",
        );
    }
    note_room(draft, report);
    note_doubles(draft, report);
    let virtual_addresses: HashSet<IpAddr> = draft
        .services
        .iter()
        .filter_map(|service| match service.offer {
            Offer::Address(_, address, _) => Some(address),
            Offer::Mark { .. } => None,
        })
        .collect();
    for service in &mut draft.services {
        note_persistence(service, report);
        note_destinations(service, &virtual_addresses, report);
        note_sorry_server(service, &virtual_addresses, report);
        note_portless_checks(service, &draft.checks, &draft.marks, report);
        note_rules(service, report);
    }
    for service in &draft.services {
        let Offer::Mark { mark, .. } = service.offer else {
            continue;
        };
        if !draft.marks.iter().any(|rule| rule.mark == mark) {
            report.say(
                service.line,
                format!(
                    "which packets have firewall mark {mark} is said by iptables or nftables, which XDP is \
                     before: add a [[mark]] with mark = {mark} and the addresses and ports of that rule"
                ),
            );
        }
    }
}

/// As many as the data plane and the file have room for.
fn note_room(draft: &mut Draft, report: &mut Report) {
    if let Some(first) = draft.services.get(SERVICES) {
        let said = format!(
            "there is room for {SERVICES} services: this one and those behind it are left out"
        );
        report.say(first.line, said);
        draft.services.truncate(SERVICES);
    }
    let mut room = DESTINATIONS;
    for service in &mut draft.services {
        if service.destinations.len() > room {
            report.say(
                service.line,
                format!("there is room for {DESTINATIONS} destinations: those of this service that are more are left out"),
            );
            service.destinations.truncate(room);
        }
        room -= service.destinations.len();
        for one in &mut service.destinations {
            if one.checks.iter().any(|check| *check >= CHECKS) {
                report.say(
                    one.line,
                    format!("there is room for {CHECKS} checks: this one is left out"),
                );
                one.checks.retain(|check| *check < CHECKS);
            }
        }
    }
    draft.checks.truncate(CHECKS);
    if draft.marks.len() > MARKS {
        report.say(
            1,
            format!("there is room for {MARKS} rules of firewall marks: the others are left out"),
        );
        draft.marks.truncate(MARKS);
    }
}

fn note_doubles(draft: &mut Draft, report: &mut Report) {
    let mut seen: HashMap<Offer, usize> = HashMap::new();
    draft.services.retain(|service| {
        if let Offer::Address(_, address, _) = service.offer
            && let Some(kind) = not_unicast(address)
        {
            report.say(
                service.line,
                format!("virtual address {address} is {kind}, which no service can have: left out"),
            );
            return false;
        }
        if let Some(first) = seen.get(&service.offer) {
            report.say(
                service.line,
                format!("the same service is already defined in line {first}: left out"),
            );
            return false;
        }
        seen.insert(service.offer.clone(), service.line);
        true
    });
}

fn note_persistence(service: &mut Service, report: &mut Report) {
    let line = service.line;
    if let Some(persistence) = service.persistence {
        let good = persistence.clamp(1, PERSISTENCE_S);
        if good != persistence {
            report.say(
                line,
                format!("persistence of {persistence} s is taken as {good} s"),
            );
            service.persistence = Some(good);
        }
    }
    if let Offer::Address(_, _, 0) = service.offer
        && service.persistence.is_none()
    {
        report.say(
            line,
            "a service of every port needs persistence: 360 s is taken",
        );
        service.persistence = Some(360);
    }
    if service.persistence.is_none() {
        service.netmask = None;
    }
    let is_ipv6 = service.offer.is_ipv6();
    let is_mask = |mask: &String| match is_ipv6 {
        false => mask.parse::<std::net::Ipv4Addr>().is_ok(),
        true => mask
            .parse::<u8>()
            .is_ok_and(|bits| (1..=128).contains(&bits)),
    };
    if let Some(mask) = service.netmask.take_if(|mask| !is_mask(mask)) {
        report.say(
            line,
            format!("netmask {mask} is none of this service's family: left out"),
        );
    }
    if service.one_packet
        && matches!(service.offer, Offer::Address(protocol, ..) if protocol != "udp")
    {
        report.say(line, "one-packet scheduling is for UDP: left out");
        service.one_packet = false;
    }
}

fn note_destinations(
    service: &mut Service,
    virtual_addresses: &HashSet<IpAddr>,
    report: &mut Report,
) {
    let mut seen: HashSet<IpAddr> = HashSet::new();
    let offer = service.offer.clone();
    service.destinations.retain_mut(|one| {
        if let Some(problem) = cannot_serve(one.address, &offer, virtual_addresses) {
            report.say(one.line, format!("real server {} {problem}: left out", one.address));
            return false;
        }
        if !seen.insert(one.address) {
            report.say(
                one.line,
                format!(
                    "real server {} is in this service already, on another port perhaps, which direct routing \
                     cannot tell apart: left out",
                    one.address
                ),
            );
            return false;
        }
        if let (Offer::Address(_, _, wanted), Some(port)) = (&offer, one.port)
            && port != *wanted
            && port != 0
        {
            report.say(
                one.line,
                format!(
                    "real server {} listens on port {port}, but direct routing keeps the service's port: let \
                     it listen on {wanted}",
                    one.address
                ),
            );
        }
        if one.lower > one.upper {
            report.say(
                one.line,
                format!("lower threshold {} is above the upper one: left out", one.lower),
            );
            one.lower = 0;
        }
        true
    });
}

fn note_sorry_server(
    service: &mut Service,
    virtual_addresses: &HashSet<IpAddr>,
    report: &mut Report,
) {
    let Some((sorry, line)) = service.rules.sorry else {
        return;
    };
    let is_destination = service.destinations.iter().any(|one| one.address == sorry);
    let problem = match cannot_serve(sorry, &service.offer, virtual_addresses) {
        Some(problem) => problem,
        None if is_destination => "is a real server of this service as well".to_owned(),
        None => return,
    };
    report.say(
        line,
        format!(
            "sorry server {sorry} {problem}: left out. Name a host of the director's link that has the virtual \
             address on lo"
        ),
    );
    service.rules.sorry = None;
}

/// A firewall mark has no port of its own: a check that names none must be told one.
fn note_portless_checks(
    service: &mut Service,
    checks: &[Check],
    marks: &[Mark],
    report: &mut Report,
) {
    let Offer::Mark { mark, .. } = service.offer else {
        return;
    };
    let is_port = |ports: &String| ports.trim_matches('"').parse::<u16>().is_ok();
    let mut rules = marks.iter().filter(|rule| rule.mark == mark);
    if rules.any(|rule| rule.ports.as_ref().is_some_and(is_port)) {
        return;
    }
    let names_port = |check: &Check| {
        matches!(check.kind, "icmp" | "script") || check.keys.iter().any(|(key, _)| *key == "port")
    };
    for one in &mut service.destinations {
        let before = one.checks.len();
        one.checks
            .retain(|check| checks.get(*check).is_none_or(names_port));
        if one.checks.len() < before {
            report.say(
                one.line,
                format!(
                    "the check of {} names no port, and firewall mark {mark} has none: left out. Write it as a \
                     [[check]] with its port",
                    one.address
                ),
            );
        }
    }
}

fn note_rules(service: &mut Service, report: &mut Report) {
    let rules = &mut service.rules;
    let quorum = rules.quorum.unwrap_or(1).max(1);
    rules.quorum = rules.quorum.map(|_| quorum);
    if let Some(hysteresis) = rules.hysteresis
        && hysteresis >= quorum
    {
        report.say(
            service.line,
            format!("a hysteresis of {hysteresis} with a quorum of {quorum} would never lose it: left out"),
        );
        rules.hysteresis = None;
    }
    let is_checked = service
        .destinations
        .iter()
        .any(|one| !one.checks.is_empty());
    if !is_checked && (rules.sorry.is_some() || rules.quorum.is_some()) {
        report.say(
            service.line,
            "no destination of this service is checked, so its quorum is never lost: quorum and sorry server \
             are left out",
        );
    }
}

/// Why nobody can be a destination of the service at this address, if so.
fn cannot_serve(
    address: IpAddr,
    offer: &Offer,
    virtual_addresses: &HashSet<IpAddr>,
) -> Option<String> {
    if let Some(kind) = not_unicast(address) {
        return Some(format!("is {kind}, which no real server has for itself"));
    }
    if address.is_ipv6() != offer.is_ipv6() {
        return Some(
            "is of the other family than the service, and direct routing keeps packets as they are"
                .to_owned(),
        );
    }
    virtual_addresses
        .contains(&address)
        .then(|| "is a virtual address, so frames would come back to the director".to_owned())
}

/// What an address is that nobody can offer or serve at.
fn not_unicast(address: IpAddr) -> Option<&'static str> {
    let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    match address {
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_unspecified() => Some("no address"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(_) if is_mapped => Some("an IPv4 address in IPv6 form"),
        _ => None,
    }
}
