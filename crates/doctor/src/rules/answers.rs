//! Who answers for, or announces, which address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink::{Mac, mac_text};

use super::hosts;
use crate::facts::{Claim, Facts, Role};
use crate::finding::{Code, Finding};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in &facts.asked {
        if facts.is_vip(*address) {
            findings.extend(of_vip(facts, *address));
        } else {
            findings.extend(conflict(facts, *address));
        }
    }
    findings.extend(shared_macs(facts));
    findings.extend(silent_servers(facts));
    findings
}

fn protocol(address: IpAddr) -> &'static str {
    if address.is_ipv4() {
        "ARP"
    } else {
        "neighbour solicitations"
    }
}

fn of_vip(facts: &Facts, vip: IpAddr) -> Vec<Finding> {
    let foreign = |claim: &&Claim| !hosts::is_own(facts, claim.mac);
    let answers: Vec<&Claim> = facts.answers(vip).filter(foreign).collect();
    if answers.is_empty() && facts.role != Role::Director {
        return vec![unanswered(facts, vip)];
    }
    let directors = hosts::director_macs(facts);
    let mut findings = Vec::new();
    let wrong: Vec<&&Claim> = answers
        .iter()
        .filter(|claim| !directors.contains(&claim.mac))
        .collect();
    let strangers = wrong
        .iter()
        .filter(|claim| hosts::server_at(facts, claim.mac).is_none());
    if directors.is_empty() && strangers.count() > 1 {
        findings.push(several(facts, vip, &answers));
    } else {
        findings.extend(wrong.iter().map(|claim| wrong_answer(facts, vip, claim)));
    }
    let announced = facts.claims.iter().filter(|claim| {
        let is_new = claim.address == vip && claim.announcements > 0 && claim.answers == 0;
        is_new && !directors.contains(&claim.mac) && !hosts::is_own(facts, claim.mac)
    });
    // Without knowing the director, its own announcement cannot be told from another's.
    if !directors.is_empty() {
        findings.extend(announced.map(|claim| announcement(facts, vip, claim)));
    }
    findings
}

fn unanswered(facts: &Facts, vip: IpAddr) -> Finding {
    let director = hosts::director(facts);
    let fix = match director.address {
        Some(address) => hosts::hold_on_interface(vip, &hosts::interface_of(address)),
        None => format!("dirigo doctor --vip {vip}"),
    };
    Finding::problem(
        Code::VipUnanswered,
        director,
        format!("nobody answers {} for {vip}", protocol(vip)),
        "clients that do not know the director's MAC yet cannot reach the service. The director must \
         hold the address on its interface, and be up; its own doctor tells more",
    )
    .fix(fix)
    .about(vip)
}

fn several(facts: &Facts, vip: IpAddr, answers: &[&Claim]) -> Finding {
    let macs: Vec<String> = answers
        .iter()
        .map(|claim| hosts::at(facts, claim.mac).to_string())
        .collect();
    let mut finding = Finding::problem(
        Code::VipAnsweredBySeveral,
        answers
            .first()
            .map_or_else(|| hosts::here(facts), |claim| hosts::at(facts, claim.mac)),
        format!(
            "{} hosts answer {} for {vip}: {}",
            macs.len(),
            protocol(vip),
            macs.join(", ")
        ),
        "which of them a client believes is chance. Name the director with --director ADDR, and this \
         finding names those that are not",
    );
    finding.fix = vec![hosts::remove_everywhere(vip)];
    finding.about(vip)
}

fn wrong_answer(facts: &Facts, vip: IpAddr, claim: &Claim) -> Finding {
    let host = hosts::at(facts, claim.mac);
    let server = hosts::server_at(facts, claim.mac).is_some();
    let seen = format!(
        "{host} answers {} for {vip} ({} answers on {})",
        protocol(vip),
        claim.answers,
        claim.interface
    );
    let finding = if server {
        let why = "clients that believe it bypass the director: all their connections go to this one \
                   server. Either the address is on its interface, or it answers for it as a proxy, or \
                   arp_ignore is off";
        let mut finding = Finding::problem(Code::VipAnsweredByServer, host, seen, why);
        finding.fix = hosts::silence(vip);
        finding
    } else {
        let why = "clients that believe it never reach the director. It may be a second director, a \
                   machine that was replaced and is on again, or one with the same address by mistake";
        let finding = Finding::problem(Code::VipAnsweredByOther, host, seen, why);
        finding
            .fix(hosts::remove_everywhere(vip))
            .fix(hosts::remove_proxies(vip))
    };
    finding.about(vip)
}

fn announcement(facts: &Facts, vip: IpAddr, claim: &Claim) -> Finding {
    let host = hosts::at(facts, claim.mac);
    let mut finding = Finding::problem(
        Code::VipAnnounced,
        host.clone(),
        format!(
            "{host} announces {vip} as its own ({} frames on {})",
            claim.announcements, claim.interface
        ),
        "whoever hears it and knows the address learns the wrong MAC and bypasses the director, until it \
         asks again. A real server does so when arp_announce is off, or when something sends \
         gratuitous ARP there",
    );
    finding.fix = hosts::silence(vip);
    if hosts::server_at(facts, claim.mac).is_none() {
        finding.fix = vec![hosts::remove_everywhere(vip)];
    }
    finding.about(vip)
}

/// Two hosts with one address, or another host with one of ours.
fn conflict(facts: &Facts, address: IpAddr) -> Vec<Finding> {
    let answers: Vec<&Claim> = facts.answers(address).collect();
    let is_ours = facts.host.holders(address).next().is_some();
    if answers.len() + usize::from(is_ours) < 2 {
        return Vec::new();
    }
    let mut macs: Vec<Mac> = answers.iter().map(|claim| claim.mac).collect();
    macs.sort_unstable();
    macs.dedup();
    // With our own MAC it is another fault: see `shared_macs`.
    let others: Vec<Mac> = macs
        .into_iter()
        .filter(|mac| !hosts::is_own(facts, *mac))
        .collect();
    if others.len() + usize::from(is_ours) < 2 {
        return Vec::new();
    }
    let culprits: Vec<Mac> = others
        .iter()
        .copied()
        .filter(|mac| is_intruder(facts, address, *mac, is_ours))
        .collect();
    let named = if culprits.is_empty() {
        others.clone()
    } else {
        culprits
    };
    let listed: Vec<String> = others.iter().map(mac_text).collect();
    let and_we = if is_ours { " and by this host" } else { "" };
    let found = named.iter().map(|mac| {
        let host = hosts::at(facts, *mac);
        Finding::problem(
            Code::AddressConflict,
            host,
            format!("{address} is answered for by {}{and_we}", listed.join(" and by ")),
            "two hosts with one address take each other's packets: connections break by chance, and the \
             director sends to whichever answered last",
        )
        .fix(hosts::remove_everywhere(address))
    });
    found.collect()
}

/// Not the one the address belongs to: the daemon knows another MAC for it, or the host at this MAC
/// is known by another address.
fn is_intruder(facts: &Facts, address: IpAddr, mac: Mac, is_ours: bool) -> bool {
    let other = |claim: &&Claim| claim.mac == mac && claim.address != address && claim.answers > 0;
    let known_otherwise = facts
        .claims
        .iter()
        .filter(other)
        .any(|claim| !facts.is_vip(claim.address));
    let neighbour = facts.host.neighbours.iter().any(|entry| {
        entry.mac == Some(mac)
            && entry.address != address
            && entry.usable
            && !facts.is_vip(entry.address)
    });
    is_ours || known_otherwise || neighbour
}

/// Two addresses at one MAC: two machines cloned from one image, or one that is listed twice.
fn shared_macs(facts: &Facts) -> Vec<Finding> {
    let servers = facts.servers();
    let mut at: BTreeMap<Mac, Vec<IpAddr>> = BTreeMap::new();
    for claim in facts.claims.iter().filter(|claim| claim.answers > 0) {
        if servers.contains(&claim.address) && facts.answers(claim.address).count() == 1 {
            at.entry(claim.mac).or_default().push(claim.address);
        }
    }
    // This host's own interfaces count as one more address at their MAC.
    for link in facts.host.segment_links() {
        if let Some(list) = at.get_mut(&link.mac) {
            list.extend(
                facts
                    .host
                    .addresses
                    .iter()
                    .filter(|held| held.interface == link.name && !facts.is_vip(held.address))
                    .map(|held| held.address)
                    .take(1),
            );
        }
    }
    let mut findings = Vec::new();
    for (mac, addresses) in at {
        let mut addresses: Vec<IpAddr> = addresses
            .into_iter()
            .filter(|one| one.is_ipv4() == addresses_family(facts))
            .collect();
        addresses.sort();
        addresses.dedup();
        let [.., first, second] = addresses.as_slice() else {
            continue;
        };
        let mut host = hosts::server(facts, *second);
        host.mac = Some(mac_text(&mac));
        findings.push(
            Finding::problem(
                Code::MacShared,
                host,
                format!("{first} and {second} are both at {}", mac_text(&mac)),
                "a switch sends a MAC's frames to the port it last heard it on: connections of both hosts \
                 break by chance, and every connection of one may end at the other. (If it is one host \
                 with two addresses, list it once.)",
            )
            .fix(format!(
                "ip link set dev {} address {}",
                hosts::interface_of(*second),
                fresh_mac(*second)
            )),
        );
    }
    findings
}

/// Servers of both families are compared within their own: one host has both addresses.
fn addresses_family(facts: &Facts) -> bool {
    facts.servers().first().is_none_or(|first| first.is_ipv4())
}

/// A locally administered MAC that no other host of the segment makes: of the address's last bytes.
fn fresh_mac(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets()[12..].to_vec(),
    };
    let mut mac: Mac = [0x06, 0xd1, 0, 0, 0, 0];
    for (slot, byte) in mac.iter_mut().skip(2).zip(bytes) {
        *slot = byte;
    }
    mac_text(&mac)
}

fn silent_servers(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Who has no link that does ARP is no witness of who answers.
    if !facts.host.segment_links().any(|link| link.up) {
        return findings;
    }
    for server in facts.servers() {
        let asked = facts.asked.contains(&server);
        let is_ours = facts.host.holders(server).next().is_some();
        let heard = facts.answers(server).next().is_some();
        let destinations = facts
            .segment
            .services
            .iter()
            .flat_map(|service| &service.destinations);
        let mut mine = destinations.filter(|one| one.address.ip() == server);
        if !asked || is_ours || heard || mine.all(|one| one.weight == 0) {
            continue;
        }
        if has_gateway(facts, server) {
            continue;
        }
        findings.push(
            Finding::problem(
                Code::ServerSilent,
                hosts::server(facts, server),
                format!("nobody answers {} for {server}", protocol(server)),
                "direct routing needs the server's MAC. It is down, without its wire, without its address, \
                 or does not do ARP; its connections time out and it gets no new ones",
            )
            .fix(hosts::bring_up(server, prefix_of(facts, server)))
            .fix("sysctl -w net.ipv4.conf.all.arp_ignore=1"),
        );
    }
    findings
}

/// The prefix of the segment that an address is on, as this host has it.
fn prefix_of(facts: &Facts, address: IpAddr) -> u8 {
    let whole = netlink::host_prefix(&address);
    let near = facts.host.addresses.iter().filter(|held| {
        held.prefix < whole && crate::netfilter::is_within(address, held.address, held.prefix)
    });
    near.map(|held| held.prefix).max().unwrap_or(whole)
}

fn has_gateway(facts: &Facts, address: IpAddr) -> bool {
    let route = facts.host.routes.get(&address).and_then(Option::as_ref);
    route.is_some_and(|route| route.gateway.is_some())
}
