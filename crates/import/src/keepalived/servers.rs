//! `virtual_server`, `virtual_server_group` and `real_server`.

use std::collections::HashMap;
use std::net::IpAddr;

use super::checkers::{self, Inherited};
use super::tree::Block;
use crate::Wrong;
use crate::draft::{Destination, Draft, Offer, Service};
use crate::report::Report;
use crate::words::{self, number};

/// Most addresses in one range of a group.
const RANGE: u32 = 256;

/// Most members of a group: as many services as a director may have.
const MEMBERS: usize = 16_384;

/// One `virtual_server`, which a group makes several.
pub(super) fn read(
    block: &Block,
    groups: &HashMap<&str, &Block>,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<(), Wrong> {
    let protocol = protocol(block, report)?;
    let members = match block.value()? {
        "group" => {
            let name = block.word(2).ok_or((block.line, super::no_name(block)))?;
            let group = groups.get(name);
            let problem = || format!("there is no virtual_server_group `{name}`");
            let group = group.ok_or_else(|| (block.line, problem()))?;
            let mut members = Vec::new();
            for item in &group.items {
                members.extend(member(&item.words, item.line, protocol, report)?);
                if members.len() > MEMBERS {
                    return Err((
                        item.line,
                        format!("more than {MEMBERS} services in one group"),
                    ));
                }
            }
            members
        }
        _ => member(&block.words[1..], block.line, protocol, report)?,
    };
    let Some(offer) = members.first() else {
        return Ok(());
    };
    let mut service = Service::new(block.line, offer.clone(), "wlc");
    let inherited = settings(block, &mut service, report)?;
    for item in block
        .items
        .iter()
        .filter(|item| item.name() == "real_server")
    {
        let destination = real_server(item, &service, &inherited, draft, report)?;
        service.destinations.extend(destination);
    }
    for offer in members {
        let mut one = service.clone();
        // Checks of a real server ask the port of the service that they were made for.
        if let Offer::Address(_, _, 0) = offer {
            one.persistence.get_or_insert(360);
        }
        one.offer = offer;
        draft.services.push(one);
    }
    Ok(())
}

/// TCP, UDP or SCTP; without a word keepalived takes UDP.
fn protocol(block: &Block, report: &mut Report) -> Result<&'static str, Wrong> {
    let item = block.items.iter().find(|item| item.name() == "protocol");
    let Some(item) = item else {
        if block.word(1) != Some("fwmark") {
            report.say(
                block.line,
                "no protocol is named, which keepalived takes for UDP: so it is here",
            );
        }
        return Ok("udp");
    };
    match item.value()?.to_lowercase().as_str() {
        "tcp" => Ok("tcp"),
        "udp" => Ok("udp"),
        "sctp" => Ok("sctp"),
        other => Err((
            item.line,
            format!("there is no protocol `{other}`: write TCP, UDP or SCTP"),
        )),
    }
}

/// `ADDRESS[-LAST|/MASK] [PORT]`, or `fwmark N`.
fn member(
    words: &[String],
    line: usize,
    protocol: &'static str,
    report: &mut Report,
) -> Result<Vec<Offer>, Wrong> {
    let wrong = |problem| (line, problem);
    let [first, rest @ ..] = words else {
        return Ok(Vec::new());
    };
    if first == "fwmark" {
        let text = rest.first().map_or("", String::as_str);
        let mark = number("fwmark", text, 1, u32::MAX).map_err(wrong)?;
        let is_ipv6 = rest.iter().any(|word| word == "inet6");
        return Ok(vec![Offer::Mark { mark, is_ipv6 }]);
    }
    let port = match rest.first() {
        None => 0,
        Some(port) => words::port(port).map_err(wrong)?,
    };
    if first.contains('/') {
        report.say(
            line,
            format!(
                "{first} is a network: a [[mark]] with it and a [[service]] by that mark serve it"
            ),
        );
        return Ok(Vec::new());
    }
    let addresses = range(first).map_err(wrong)?;
    let offer = |address| Offer::Address(protocol, address, port);
    Ok(addresses.into_iter().map(offer).collect())
}

/// `192.0.2.3-10`: the last part runs to the number behind the dash. For IPv6 both are hexadecimal.
fn range(text: &str) -> Result<Vec<IpAddr>, String> {
    let Some((first, last)) = text.split_once('-') else {
        return Ok(vec![words::address(text)?]);
    };
    let wrong = || format!("`{text}` is no range of 1 to {RANGE} addresses");
    let first = words::address(first)?;
    let (base, radix) = match first {
        IpAddr::V4(v4) => (u128::from(v4.to_bits() & 0xff), 10),
        IpAddr::V6(v6) => (v6.to_bits() & 0xffff, 16),
    };
    let last = u128::from_str_radix(last, radix).map_err(|_| wrong())?;
    let limit = if first.is_ipv4() { 0xff } else { 0xffff };
    if last < base || last > limit || last - base >= u128::from(RANGE) {
        return Err(wrong());
    }
    let address = |offset: u128| match first {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() + offset as u32).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() + offset).into()),
    };
    Ok((0..=last - base).map(address).collect())
}

/// Everything that a virtual server says but its real servers; what they inherit is returned.
fn settings(block: &Block, service: &mut Service, report: &mut Report) -> Result<Inherited, Wrong> {
    let mut inherited = Inherited::default();
    let mut method = None;
    for item in &block.items {
        let wrong = |problem| (item.line, problem);
        match item.name() {
            "real_server" | "protocol" | "ip_family" => {}
            "lb_algo" | "lvs_sched" => {
                let name = item.value()?;
                if words::SCHEDULERS.contains(&name) {
                    service.scheduler = name.to_owned();
                } else {
                    report.say(
                        item.line,
                        format!("there is no scheduler `{name}` here: wlc is taken"),
                    );
                }
            }
            "lb_kind" | "lvs_method" => method = Some((item.line, item.value()?.to_uppercase())),
            "persistence_timeout" => {
                let seconds = item
                    .word(1)
                    .map_or(Ok(360), |text| number(item.name(), text, 1, u32::MAX));
                service.persistence = Some(seconds.map_err(wrong)?);
            }
            "persistence_granularity" => netmask(item, service, report)?,
            "persistence_engine" => report.say(
                item.line,
                "persistence_engine is not supported: clients are told apart by their addresses",
            ),
            "ops" => service.one_packet = true,
            flag @ ("sh-port" | "sh-fallback" | "mh-port" | "mh-fallback" | "flag-1" | "flag-2"
            | "flag-3") => {
                service.flags.push(flag.to_owned());
            }
            "alpha" => service.rules.alpha = is_on(item),
            "omega" => service.rules.omega = is_on(item),
            "quorum" => {
                service.rules.quorum =
                    Some(number("quorum", item.value()?, 1, u32::MAX).map_err(wrong)?)
            }
            "hysteresis" => {
                service.rules.hysteresis =
                    Some(number("hysteresis", item.value()?, 0, u32::MAX).map_err(wrong)?);
            }
            "inhibit_on_failure" => service.rules.inhibit_on_failure = is_on(item),
            "weight" => {
                inherited.weight = number("weight", item.value()?, 0, 65_535).map_err(wrong)?
            }
            "virtualhost" => inherited.host = Some(item.value()?.to_owned()),
            "sorry_server" => sorry_server(item, service, report)?,
            _ if inherited.take_timing(item, report)? => {}
            name => say_what_instead(name, item.line, report)?,
        }
    }
    crate::ipvsadm::keep_known_flags(service, report);
    let (line, method) = method.unwrap_or((block.line, "NAT".to_owned()));
    let named = match method.as_str() {
        "DR" => return Ok(inherited),
        "NAT" => "masquerading",
        "TUN" => "tunnelling",
        other => {
            return Err((
                line,
                format!("there is no lb_kind `{other}`: write NAT, DR or TUN"),
            ));
        }
    };
    report.say(line, words::other_method("this service", named));
    Ok(inherited)
}

/// Keys without a counterpart; an unknown one is an error.
fn say_what_instead(name: &str, line: usize, report: &mut Report) -> Result<(), Wrong> {
    let instead = match name {
        "quorum_up" | "quorum_down" | "notify_up" | "notify_down" => {
            "dirigo tells every change of state as an event"
        }
        "smtp_alert" => "dirigo sends no mail; it tells every change of state as an event",
        "ha_suspend" => {
            "checks run on master and backup, so that the backup knows when it takes over"
        }
        "sorry_server_inhibit" => "the sorry server is in the table only while it is needed",
        "sorry_server_lvs_method" | "lvs_method" | "lb_kind" => "there is direct routing only",
        "alpha" | "omega" => "it is said once for a service, not for a real server",
        "snmp_name" => "names of services are their addresses",
        _ => return Err((line, format!("keepalived has no `{name}` here"))),
    };
    report.say(line, format!("{name} is not carried over: {instead}"));
    Ok(())
}

/// A word alone means yes.
fn is_on(item: &Block) -> bool {
    !matches!(item.word(1), Some("no" | "off" | "false" | "0"))
}

fn netmask(item: &Block, service: &mut Service, report: &mut Report) -> Result<(), Wrong> {
    let text = item.value()?;
    let is_ipv6 = service.offer.is_ipv6();
    let is_good = match is_ipv6 {
        false => text.parse::<std::net::Ipv4Addr>().is_ok(),
        true => text
            .parse::<u8>()
            .is_ok_and(|bits| (1..=128).contains(&bits)),
    };
    if !is_good {
        report.say(
            item.line,
            format!("persistence_granularity {text} is no mask of this family: left out"),
        );
    } else if text != "255.255.255.255" && text != "128" {
        service.netmask = Some(text.to_owned());
    }
    Ok(())
}

fn sorry_server(item: &Block, service: &mut Service, report: &mut Report) -> Result<(), Wrong> {
    let wrong = |problem| (item.line, problem);
    let address = words::address(item.value()?).map_err(wrong)?;
    let port = item.word(2).map(words::port).transpose().map_err(wrong)?;
    if let (Offer::Address(_, _, wanted), Some(port)) = (&service.offer, port)
        && port != *wanted
        && port != 0
    {
        report.say(
            item.line,
            format!("sorry server {address} listens on port {port}, but direct routing keeps the service's port: let it listen on {wanted}"),
        );
    }
    service.rules.sorry = Some((address, item.line));
    Ok(())
}

fn real_server(
    block: &Block,
    service: &Service,
    of_service: &Inherited,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<Option<Destination>, Wrong> {
    let wrong = |problem| (block.line, problem);
    let address = words::address(block.value()?).map_err(wrong)?;
    let port = block.word(2).map(words::port).transpose().map_err(wrong)?;
    let mut one = Destination::new(block.line, address, port.filter(|port| *port != 0));
    one.weight = of_service.weight;
    let mut inherited = of_service.clone();
    let mut checkers = Vec::new();
    for item in &block.items {
        let wrong = |problem| (item.line, problem);
        let limit = i32::MAX as u32;
        match item.name() {
            "weight" => one.weight = number("weight", item.value()?, 0, 65_535).map_err(wrong)?,
            "uthreshold" => {
                one.upper = number("uthreshold", item.value()?, 0, limit).map_err(wrong)?
            }
            "lthreshold" => {
                one.lower = number("lthreshold", item.value()?, 0, limit).map_err(wrong)?
            }
            "virtualhost" => inherited.host = Some(item.value()?.to_owned()),
            "inhibit_on_failure" => {
                if is_on(item) && !service.rules.inhibit_on_failure {
                    report.say(
                        item.line,
                        "inhibit_on_failure of one real server is not carried over: set it for the service",
                    );
                }
            }
            name if checkers::is_checker(name) => checkers.push(item),
            _ if inherited.take_timing(item, report)? => {}
            name => say_what_instead(name, item.line, report)?,
        }
    }
    for checker in checkers {
        let checks = checkers::read(checker, &one, service, &inherited, report)?;
        for check in checks {
            let position = draft.check(check);
            if !one.checks.contains(&position) {
                one.checks.push(position);
            }
        }
    }
    Ok(Some(one))
}
