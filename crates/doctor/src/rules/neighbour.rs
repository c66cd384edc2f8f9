//! The neighbour table against what the segment says, and the daemon's view of its servers.

use netlink::mac_text;

use super::hosts;
use crate::facts::{Facts, Key, Neighbour, Role};
use crate::finding::{Code, Finding};

/// Changes of one entry while it was watched that are no accident.
const FLAPPING: u32 = 3;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts
        .host
        .neighbours
        .iter()
        .filter_map(|entry| of_entry(facts, entry))
        .collect();
    findings.extend(unresolved(facts));
    findings.extend(gateways(facts));
    findings.extend(without_way(facts));
    findings
}

/// A host that is beside this one, and to which nothing is sent all the same.
fn without_way(facts: &Facts) -> Vec<Finding> {
    let entries = facts.host.neighbours.iter().filter(|entry| entry.usable);
    let lost = entries.filter(|entry| matches!(facts.host.routes.get(&entry.address), Some(None)));
    let found = lost.map(|entry| {
        let Neighbour {
            address, interface, ..
        } = entry;
        Finding::problem(
            Code::NoRouteBack,
            hosts::here(facts),
            format!("{address} is on {interface}, but this host has no route to it"),
            "a route that refuses or swallows packets (blackhole, unreachable, prohibit) is more specific \
             than the interface's own; replies to that host never leave",
        )
        .fix(format!(
            "ip route flush to exact {address}/{}",
            netlink::host_prefix(address)
        ))
        .on(interface)
    });
    found.collect()
}

fn of_entry(facts: &Facts, entry: &Neighbour) -> Option<Finding> {
    let Neighbour {
        address, interface, ..
    } = entry;
    let flush = format!("ip neighbour del {address} dev {interface}");
    let here = hosts::here(facts);
    if entry.changes >= FLAPPING {
        return Some(
            Finding::problem(
                Code::NeighbourFlapping,
                here,
                format!(
                    "the entry for {address} on {interface} changed its MAC {} times",
                    entry.changes
                ),
                "several hosts answer for the address in turn; another finding names them",
            )
            .fix(flush)
            .on(interface),
        );
    }
    let answers: Vec<_> = facts.answers(*address).collect();
    if answers.is_empty() {
        return None;
    }
    if entry.state == "failed" {
        return Some(
            Finding::problem(
                Code::NeighbourFailed,
                here,
                format!("the entry for {address} on {interface} is failed, but the host answers"),
                "the host was away, or its answers were lost, when the kernel asked; packets for it were \
                 dropped then. If this comes back, look at the wire, the switch and its load",
            )
            .risk()
            .fix(flush)
            .on(interface),
        );
    }
    let mac = entry.mac?;
    let matters = entry.state == "permanent" || facts.is_vip(*address);
    if !entry.usable || !matters || answers.iter().any(|claim| claim.mac == mac) {
        return None;
    }
    let truth = mac_text(&answers.first()?.mac);
    let entry_mac = mac_text(&mac);
    // The VIP at a real server's MAC: the fault is there, the remedy here.
    let misled = facts.is_vip(*address) && hosts::server_at(facts, mac).is_some();
    let (host, why) = if misled {
        (
            hosts::at(facts, mac),
            "that host announced the VIP, or answered for it, some time ago: this host's connections \
             bypass the director until the entry is renewed. Look at arp_announce and arp_ignore there",
        )
    } else {
        (
            here.clone(),
            "what this host sends to the address goes to a MAC that is not its host's; a permanent entry \
             is never corrected by the kernel",
        )
    };
    let finding = Finding::problem(
        Code::NeighbourWrong,
        host,
        format!(
            "the entry for {address} on {interface} is {entry_mac} ({}), but {truth} answers",
            entry.state
        ),
        why,
    );
    Some(finding.fix(flush).fix_at(here).on(interface))
}

/// Servers that answer but that the daemon cannot use.
fn unresolved(facts: &Facts) -> Vec<Finding> {
    if facts.role != Role::Director {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let services = facts.segment.services.iter();
    let all =
        services.flat_map(|service| service.destinations.iter().map(move |one| (service, one)));
    for (service, destination) in all {
        let Some(reason) = &destination.unresolved else {
            continue;
        };
        let server = destination.address.ip();
        let answers = facts.answers(server).next().is_some();
        let route = facts.host.routes.get(&server).and_then(Option::as_ref);
        let gateway = route.and_then(|route| route.gateway);
        if (!answers && gateway.is_none()) || destination.weight == 0 {
            continue;
        }
        let interface = route.map_or("eth0", |route| route.interface.as_str());
        let (why, fix) = match gateway {
            Some(gateway) => (
                format!(
                    "the way to it leads over the router {gateway}; direct routing reaches servers on the \
                     director's own segments only"
                ),
                format!("dirigo ipvsadm -d {} -r {}", service_words(service.key), destination.address),
            ),
            None => (
                "it answers now, but the daemon has not taken it up: an entry of this host's neighbour \
                 table may be in the way"
                    .to_owned(),
                format!("ip neighbour flush to {server} dev {interface}"),
            ),
        };
        findings.push(
            Finding::problem(
                Code::ServerUnresolved,
                hosts::server(facts, server),
                format!("the daemon does not use {server}: {reason}"),
                why,
            )
            .fix(fix)
            .fix_at(hosts::here(facts)),
        );
    }
    findings.dedup();
    findings
}

/// `-t 192.0.2.100:80`, `-f 7`
pub(super) fn service_words(key: Key) -> String {
    if let Some(mark) = key.mark {
        let family = if key.address.is_ipv6() { " -6" } else { "" };
        return format!("-f {mark}{family}");
    }
    let letter = match key.protocol {
        api::Protocol::Tcp => "-t",
        api::Protocol::Udp => "-u",
        api::Protocol::Sctp => "--sctp-service",
    };
    format!("{letter} {}", key.address)
}

/// The router that replies take must be there.
fn gateways(facts: &Facts) -> Vec<Finding> {
    let mut routers: Vec<_> = facts
        .host
        .routes
        .values()
        .flatten()
        .filter_map(|route| Some((route.gateway?, route.interface.clone())))
        // Elsewhere (tunnels) nobody was asked.
        .filter(|(_, name)| {
            facts
                .host
                .segment_links()
                .any(|link| link.up && link.name == *name)
        })
        .collect();
    routers.sort();
    routers.dedup();
    let silent = routers.into_iter().filter(|(router, _)| {
        facts.asked.contains(router)
            && facts.answers(*router).next().is_none()
            && facts.host.holders(*router).next().is_none()
    });
    let found = silent.map(|(router, interface)| {
        Finding::problem(
            Code::NoRouteBack,
            hosts::here(facts),
            format!("the router {router} on {interface} does not answer"),
            "what this host sends to clients beyond the segment, a server's replies among it, is lost",
        )
        .fix(format!("ip route del default via {router} dev {interface}"))
        .on(&interface)
    });
    found.collect()
}
