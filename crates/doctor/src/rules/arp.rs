//! Settings of ARP and of reverse path filtering, as the kernel combines them.
//! Those that hide the VIP on a real server are in [`super::server`].

use std::net::IpAddr;

use super::hosts;
use crate::facts::{Facts, Link, Role};
use crate::finding::{Code, Finding};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for link in facts.host.segment_links().filter(|link| link.up) {
        if facts.role == Role::Director {
            findings.extend(director_silent(facts, link));
        }
        if facts.role == Role::Realserver {
            findings.extend(server_silent(facts, link));
        }
        findings.extend(arp_filter(facts, link));
        findings.extend(proxy_arp(facts, link));
        findings.extend(rp_filter(facts, link));
    }
    findings.extend(arp_off(facts));
    findings.extend(down(facts));
    findings
}

/// Commands that set a setting to `value` on `all` and on the interface, where it is not yet.
fn set(facts: &Facts, interface: &str, name: &str, value: i64) -> Vec<String> {
    let mut commands = Vec::new();
    for conf in ["all", interface] {
        if facts.host.sysctl(&format!("net/ipv4/conf/{conf}/{name}")) != value {
            // Slashes, because an interface's name may have dots.
            commands.push(format!("sysctl -w net/ipv4/conf/{conf}/{name}={value}"));
        }
    }
    commands
}

fn has_ipv4_vip(facts: &Facts, link: &Link) -> bool {
    let held = facts.host.addresses.iter();
    held.filter(|held| held.interface == link.name && held.address.is_ipv4())
        .any(|held| facts.is_vip(held.address))
}

/// 2 answers askers of the address's own network only, and a /32 has none; 8 answers nobody.
/// Source: `arp_ignore()` in Linux `net/ipv4/arp.c`.
fn director_silent(facts: &Facts, link: &Link) -> Option<Finding> {
    let value = facts.host.effective(&link.name, "arp_ignore");
    if !matches!(value, 2 | 8) || !has_ipv4_vip(facts, link) {
        return None;
    }
    let mut finding = Finding::problem(
        Code::DirectorSilent,
        hosts::here(facts),
        format!("effective arp_ignore is {value} on {}", link.name),
        "the director must answer ARP for the VIP. 2 answers only those in the address's own network, \
         which a /32 does not have; 8 answers nobody",
    );
    finding.fix = set(facts, &link.name, "arp_ignore", 0);
    Some(finding.on(&link.name))
}

/// 8 hides the VIP, and the server's own address with it.
fn server_silent(facts: &Facts, link: &Link) -> Option<Finding> {
    if facts.host.effective(&link.name, "arp_ignore") != 8 {
        return None;
    }
    let mut finding = Finding::problem(
        Code::ArpIgnore,
        hosts::here(facts),
        format!("effective arp_ignore is 8 on {}", link.name),
        "this host answers ARP for no address at all, not even its own: the director cannot learn its MAC. \
         1 hides the VIP alone",
    );
    finding.fix = set(facts, &link.name, "arp_ignore", 1);
    Some(finding.on(&link.name))
}

/// Whether a host on `link` would be answered by another interface.
fn answered_elsewhere<'a>(facts: &'a Facts, link: &Link) -> Option<(IpAddr, &'a str)> {
    let neighbours = facts.host.neighbours.iter();
    let mut behind =
        neighbours.filter(|entry| entry.interface == link.name && entry.address.is_ipv4());
    behind.find_map(|entry| {
        let route = facts.host.routes.get(&entry.address)?.as_ref()?;
        (!route.local && route.interface != link.name)
            .then_some((entry.address, route.interface.as_str()))
    })
}

/// Whether clients beyond the segment, which come by the director on `link`, are answered by another
/// interface.
fn anywhere<'a>(facts: &'a Facts, link: &Link) -> Option<(IpAddr, &'a str)> {
    let heard =
        |claim: &&crate::facts::Claim| claim.interface == link.name && facts.is_vip(claim.address);
    facts.claims.iter().find(heard)?;
    let mut ways = facts.host.routes.iter();
    ways.find_map(|(address, route)| {
        let route = route.as_ref()?;
        let leaves = address.is_ipv4() && route.gateway.is_some() && route.interface != link.name;
        leaves.then_some((*address, route.interface.as_str()))
    })
}

fn arp_filter(facts: &Facts, link: &Link) -> Option<Finding> {
    if facts.host.effective(&link.name, "arp_filter") == 0 {
        return None;
    }
    let elsewhere = answered_elsewhere(facts, link);
    let here = hosts::here(facts);
    let seen = format!("arp_filter is on for {}", link.name);
    let why = match elsewhere {
        Some((address, other)) => format!(
            "this host answers ARP only where its reply would leave, and {address}, which asks on {}, \
             would be answered by {other}: it gets no answer at all",
            link.name
        ),
        None => {
            "this host answers ARP only where its reply would leave. With a second interface, or \
                 another route, clients that ask here get no answer"
                .to_owned()
        }
    };
    let mut finding = Finding::problem(Code::ArpFilter, here, seen, why);
    finding.fix = set(facts, &link.name, "arp_filter", 0);
    let finding = finding.on(&link.name);
    Some(if elsewhere.is_some() {
        finding
    } else {
        finding.risk()
    })
}

fn proxy_arp(facts: &Facts, link: &Link) -> Option<Finding> {
    if facts.host.effective(&link.name, "proxy_arp") == 0 {
        return None;
    }
    let mut finding = Finding::problem(
        Code::ProxyArp,
        hosts::here(facts),
        format!("proxy_arp is on for {}", link.name),
        "this host answers ARP for every address it has a route to by another interface; when that is the \
         VIP's or a real server's, packets for it come here",
    )
    .risk();
    finding.fix = set(facts, &link.name, "proxy_arp", 0);
    Some(finding.on(&link.name))
}

/// Strict filtering on an interface by which clients' packets come and replies do not leave.
fn rp_filter(facts: &Facts, link: &Link) -> Option<Finding> {
    if facts.role != Role::Realserver || facts.host.effective(&link.name, "rp_filter") != 1 {
        return None;
    }
    let (address, other) = answered_elsewhere(facts, link).or_else(|| anywhere(facts, link))?;
    Some(
        Finding::problem(
            Code::RpFilterStrict,
            hosts::here(facts),
            format!("rp_filter is strict on {}, and the way to {address} is {other}", link.name),
            "a client's packet arrives from the director on this interface, its reply would leave by the \
             other: strict filtering drops it. Loose (2) accepts it",
        )
        .fix(format!("sysctl -w net/ipv4/conf/{}/rp_filter=2", link.name))
        .on(&link.name),
    )
}

/// An interface with addresses of a segment that does not do ARP.
fn arp_off(facts: &Facts) -> Vec<Finding> {
    let plain = |kind: &str| matches!(kind, "" | "veth" | "vlan" | "bridge" | "bond" | "macvlan");
    let links = facts.host.links.iter();
    // Point-to-point links have no MAC and need no ARP.
    let off = links.filter(|link| link.no_arp && link.mac != [0; 6] && plain(&link.kind));
    let found = off.map(|link| {
        Finding::problem(
            Code::ArpOff,
            hosts::here(facts),
            format!("{} does no ARP", link.name),
            "nobody learns this host's MAC on this interface, and it learns nobody's",
        )
        .fix(format!("ip link set dev {} arp on", link.name))
        .on(&link.name)
    });
    found.collect()
}

/// Whether the director serves on it.
fn serves(facts: &Facts, link: &Link) -> bool {
    let daemon = facts.segment.daemon.as_ref();
    let daemon = daemon.filter(|daemon| daemon.here && facts.role == Role::Director);
    daemon.is_some_and(|daemon| {
        daemon
            .interfaces
            .iter()
            .any(|(name, ..)| *name == link.name)
    })
}

/// Whether a real server's address is on it; if none is known, whether it could be a wire's end with
/// an address of its own.
fn holds_server(facts: &Facts, link: &Link) -> bool {
    let servers = facts.servers();
    let mut held = facts
        .host
        .addresses
        .iter()
        .filter(|held| held.interface == link.name);
    if servers.is_empty() {
        let wired = matches!(link.kind.as_str(), "" | "veth" | "vlan" | "bond");
        return wired && held.any(|held| held.address.is_ipv4() && !facts.is_vip(held.address));
    }
    held.any(|held| servers.contains(&held.address))
}

/// An interface that matters, off or without its wire.
fn down(facts: &Facts) -> Vec<Finding> {
    let matters = |link: &&Link| serves(facts, link) || holds_server(facts, link);
    let links = facts.host.segment_links().filter(matters);
    let found = links.filter(|link| !link.up || !link.carrier).map(|link| {
        let (seen, why) = if link.up {
            (
                format!("{} has no wire", link.name),
                "the other end is off or unplugged",
            )
        } else {
            (
                format!("{} is off", link.name),
                "nothing comes in or goes out by it",
            )
        };
        Finding::problem(Code::InterfaceDown, hosts::here(facts), seen, why)
            .fix(format!("ip link set dev {} up", link.name))
            .on(&link.name)
    });
    found.collect()
}
