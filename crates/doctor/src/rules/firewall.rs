//! Firewall rules that swallow a service's packets on this host.

use std::net::IpAddr;

use api::Protocol;

use super::hosts;
use crate::facts::{Facts, Key, Link, Role};
use crate::finding::{Code, Finding};
use crate::netfilter::{Culprit, Direction, Origin, Packet, fate};

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = match facts.role {
        Role::Director => arp(facts),
        _ => Vec::new(),
    };
    for key in services(facts) {
        for (what, packet) in packets(facts, &key) {
            for culprit in fate(&facts.host.ruleset, &packet) {
                let finding = found(facts, &key, what, &packet, &culprit);
                // One rule stops several packets of a connection; the first tells.
                let known = |one: &Finding| (one.code, &one.fix) == (finding.code, &finding.fix);
                if !findings.iter().any(known) {
                    findings.push(finding);
                }
            }
        }
    }
    findings
}

/// Questions for the VIP and their answers on the director, which ARP's own tables may drop.
fn arp(facts: &Facts) -> Vec<Finding> {
    let links: Vec<_> = facts.host.segment_links().filter(|link| link.up).collect();
    let four = facts.segment.vips.iter().filter(|vip| vip.is_ipv4());
    let mut findings: Vec<Finding> = Vec::new();
    for (vip, link) in four.flat_map(|vip| links.iter().map(move |link| (*vip, link))) {
        let way = |direction, state| arp_packet(vip, &link.name, direction, state);
        let question = (way(Direction::In, "request"), "ARP requests for", "daddr");
        let answer = (way(Direction::Out, "reply"), "ARP replies of", "saddr");
        for (packet, what, side) in [question, answer] {
            let culprits = fate(&facts.host.ruleset, &packet).into_iter();
            for culprit in culprits.filter(|culprit| culprit.certain) {
                let rule = match &culprit.rule {
                    Some(rule) => format!("the rule `{rule}`"),
                    None => "the policy".to_owned(),
                };
                let Culprit {
                    table, base, chain, ..
                } = &culprit;
                let finding = Finding::problem(
                    Code::FirewallDrops,
                    hosts::here(facts),
                    format!("{rule} in arp {table} {chain} drops {what} {vip}"),
                    "the director must answer for the VIP: clients that do not know its MAC find nobody",
                )
                .fix(format!("nft insert rule arp {table} {base} arp {side} ip {vip} accept"))
                .about(vip);
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            }
        }
    }
    findings
}

/// A question for the VIP that comes in, or what goes out with the VIP as sender.
fn arp_packet(vip: IpAddr, interface: &str, direction: Direction, state: &'static str) -> Packet {
    Packet {
        direction,
        source: Some(vip).filter(|_| direction == Direction::Out),
        destination: Some(vip).filter(|_| direction == Direction::In),
        protocol: 0,
        source_port: None,
        destination_port: None,
        interface: Some(interface.to_owned()),
        state,
        flags: 0,
        arp: true,
    }
}

/// Whether ARP's own tables do what `arp_ignore` is for, as `arptables` did before: no question for the VIP is heard.
pub(super) fn hides_from_arp(facts: &Facts, vip: IpAddr) -> bool {
    let links: Vec<_> = facts.host.segment_links().filter(|link| link.up).collect();
    let is_hidden_on = |link: &&Link| {
        let question = arp_packet(vip, &link.name, Direction::In, "request");
        let culprits = fate(&facts.host.ruleset, &question);
        culprits.iter().any(|culprit| culprit.certain)
    };
    !links.is_empty() && links.iter().all(is_hidden_on)
}

/// Whether they do what `arp_announce` is for: a rule drops, or writes anew, what has the VIP as sender.
pub(super) fn is_no_sender(facts: &Facts, vip: IpAddr) -> bool {
    let chains = facts.host.ruleset.chains.iter();
    let mut rules = chains
        .filter(|chain| chain.family == "arp")
        .filter(|chain| {
            chain
                .base
                .as_ref()
                .is_some_and(|base| base.hook == "output")
        })
        .flat_map(|chain| &chain.rules);
    let words = vip.to_string();
    rules.any(|rule| {
        let mut parts = rule.text.split(' ');
        let mut acts = rule.text.split(' ');
        parts.any(|part| part == words) && acts.any(|part| part == "drop" || part == "set")
    })
}

/// Services whose packets pass this host's own stack. VIPs without a known service count with any
/// port.
fn services(facts: &Facts) -> Vec<Key> {
    let mine = facts
        .segment
        .services
        .iter()
        .filter(|service| match facts.role {
            Role::Director => service.destinations.iter().any(|one| one.local),
            Role::Realserver => super::service::is_mine(facts, service),
            Role::Witness => true,
        });
    let mut keys: Vec<Key> = mine.map(|service| service.key).collect();
    if facts.role == Role::Director {
        return keys;
    }
    for vip in &facts.segment.vips {
        let known = facts
            .segment
            .services
            .iter()
            .any(|service| service.key.address.ip() == *vip);
        if !known {
            keys.push(Key {
                protocol: Protocol::Tcp,
                address: (*vip, 0).into(),
                mark: None,
            });
        }
    }
    keys
}

/// The packets of one connection that matter: the first, a later one, and the answer.
fn packets(facts: &Facts, key: &Key) -> Vec<(&'static str, Packet)> {
    let links: Vec<String> = facts
        .host
        .segment_links()
        .filter(|link| link.up)
        .map(|link| link.name.clone())
        .collect();
    let serves = facts.role != Role::Witness;
    let mut packets = Vec::new();
    for interface in links {
        let to_vip = |state, flags| {
            let direction = if serves {
                Direction::In
            } else {
                Direction::Out
            };
            packet(key, direction, true, &interface, state, flags)
        };
        let from_vip = |state, flags| {
            let direction = if serves {
                Direction::Out
            } else {
                Direction::In
            };
            packet(key, direction, false, &interface, state, flags)
        };
        packets.push(("a new connection to", to_vip("new", SYN)));
        packets.push(("an established connection to", to_vip("established", ACK)));
        packets.push(("a reply from", from_vip("established", SYN_ACK)));
    }
    packets
}

fn packet(
    key: &Key,
    direction: Direction,
    to_vip: bool,
    interface: &str,
    state: &'static str,
    flags: u8,
) -> Packet {
    let (vip, port) = (
        Some(key.address.ip()),
        Some(key.address.port()).filter(|port| *port != 0),
    );
    let (source, destination, source_port, destination_port) = if to_vip {
        (None, vip, None, port)
    } else {
        (vip, None, port, None)
    };
    Packet {
        direction,
        source,
        destination,
        protocol: key.protocol.number(),
        source_port,
        destination_port,
        interface: Some(interface.to_owned()),
        state,
        flags,
        arp: false,
    }
}

fn found(facts: &Facts, key: &Key, what: &str, packet: &Packet, culprit: &Culprit) -> Finding {
    let vip = key.address.ip();
    let place = match culprit.origin {
        Origin::Nft => format!("{} {} {}", culprit.family, culprit.table, culprit.chain),
        _ => format!("{} of iptables' table {}", culprit.chain, culprit.table),
    };
    let rule = match &culprit.rule {
        Some(rule) => format!("the rule `{rule}` in {place}"),
        None => format!("the policy of {place}"),
    };
    let (code, verb, why) = if culprit.certain {
        (
            Code::FirewallDrops,
            "drops",
            "the director's frames carry clients' addresses, and direct routing sends them straight here: \
             this host's firewall must let the service through itself",
        )
    } else {
        (
            Code::FirewallMayDrop,
            "may drop",
            "the rule is about this service's packets and has a condition that cannot be judged from here: \
             the clients it means wait in vain",
        )
    };
    let service = match key.address.port() {
        0 => vip.to_string(),
        _ => key.address.to_string(),
    };
    let finding = Finding::problem(
        code,
        hosts::here(facts),
        format!("{rule} {verb} {what} {service}"),
        why,
    )
    .fix(accept(key, vip, packet, culprit))
    .about(vip);
    if culprit.certain {
        finding
    } else {
        finding.risk()
    }
}

/// Lets the service through, before the rule: taking the rule away might open more.
fn accept(key: &Key, vip: IpAddr, packet: &Packet, culprit: &Culprit) -> String {
    let protocol = key.protocol.name();
    let to_vip = packet.destination.is_some();
    let port = key.address.port();
    let Culprit {
        family,
        table,
        base,
        ..
    } = culprit;
    match culprit.origin {
        Origin::Nft => {
            let ip = if vip.is_ipv4() { "ip" } else { "ip6" };
            let (address, side) = if to_vip {
                ("daddr", "dport")
            } else {
                ("saddr", "sport")
            };
            let port = match port {
                0 => String::new(),
                port => format!(" {protocol} {side} {port}"),
            };
            format!(
                "nft insert rule {family} {table} {base} {ip} {address} {vip}{port} counter accept"
            )
        }
        Origin::Iptables | Origin::Ip6tables => {
            let program = if culprit.origin == Origin::Iptables {
                "iptables"
            } else {
                "ip6tables"
            };
            let (address, side) = if to_vip {
                ("-d", "--dport")
            } else {
                ("-s", "--sport")
            };
            let port = match port {
                0 => String::new(),
                port => format!(" -p {protocol} {side} {port}"),
            };
            format!("{program} -t {table} -I {base} {address} {vip}{port} -j ACCEPT")
        }
    }
}
