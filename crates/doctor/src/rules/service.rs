//! What listens on a real server.

use super::hosts;
use super::neighbour::service_words;
use crate::facts::{Facts, Key, Listener, Service};
use crate::finding::{Code, Finding};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mine = facts.segment.services.iter().filter(|service| {
        let listed = service.key.protocol != api::Protocol::Sctp && service.key.address.port() != 0;
        listed && is_mine(facts, service) && !is_drained(facts, service)
    });
    mine.filter_map(|service| listening(facts, service.key))
        .collect()
}

/// Whether this host is one of the service's real servers.
pub(super) fn is_mine(facts: &Facts, service: &Service) -> bool {
    let holds = |address| facts.host.holders(address).next().is_some();
    // One that was only named, without its servers, is everybody's.
    service.destinations.is_empty()
        || service
            .destinations
            .iter()
            .any(|one| holds(one.address.ip()))
}

fn is_drained(facts: &Facts, service: &Service) -> bool {
    let holds = |address| facts.host.holders(address).next().is_some();
    let mut mine = service
        .destinations
        .iter()
        .filter(|one| holds(one.address.ip()));
    !service.destinations.is_empty() && mine.all(|one| one.weight == 0)
}

fn listening(facts: &Facts, key: Key) -> Option<Finding> {
    let (vip, port) = (key.address.ip(), key.address.port());
    let on_port = |one: &&Listener| one.protocol == key.protocol && one.address.port() == port;
    let found: Vec<&Listener> = facts.host.listeners.iter().filter(on_port).collect();
    let takes_vip = |one: &&Listener| {
        let ip = one.address.ip();
        let any = ip.is_unspecified() && (vip.is_ipv4() || ip.is_ipv6());
        any || ip == vip || ip.to_canonical() == vip
    };
    if found.iter().copied().any(|one| takes_vip(&one)) || is_redirected(facts, key) {
        return None;
    }
    let here = hosts::here(facts);
    let family = |one: &&&Listener| {
        one.address.is_ipv4() == vip.is_ipv4() && !one.address.ip().is_loopback()
    };
    if let Some(one) = found.iter().find(family) {
        let mut finding = Finding::problem(
            Code::ServiceOnRealAddressOnly,
            here,
            format!(
                "a program listens on {}, none on {}",
                one.address, key.address
            ),
            "direct routing delivers packets for the VIP: let it listen on the VIP or on all addresses. \
             Until then this server may redirect them",
        );
        finding.fix = redirect(key);
        return Some(finding.about(vip));
    }
    let real = facts
        .segment
        .services
        .iter()
        .filter(|service| service.key == key)
        .flat_map(|service| &service.destinations)
        .find(|one| facts.host.holders(one.address.ip()).next().is_some());
    let mut finding = Finding::problem(
        Code::ServiceClosed,
        here,
        format!("nothing listens on port {port} for {vip}"),
        "clients that the scheduler sends here are refused. Start the program; until then, let this \
         server have no new connections",
    );
    if let Some(real) = real {
        let command = format!(
            "dirigo ipvsadm -e {} -r {} -g -w 0",
            service_words(key),
            real.address
        );
        finding = finding.fix(command).fix_at(hosts::director(facts));
    }
    Some(finding.about(vip))
}

/// Packets for the VIP are rewritten to this host's own address.
fn is_redirected(facts: &Facts, key: Key) -> bool {
    let table = if key.address.is_ipv4() { "ip" } else { "ip6" };
    let chains = facts.host.ruleset.chains.iter();
    let mut rules = chains
        .filter(|chain| matches!(chain.family.as_str(), "inet") || chain.family == table)
        .flat_map(|chain| &chain.rules);
    let words = key.address.ip().to_string();
    rules.any(|rule| {
        let rewrites = ["redirect", "dnat", "REDIRECT", "DNAT"];
        rule.text.contains(&words) && rewrites.iter().any(|word| rule.text.contains(word))
    })
}

/// Has a server hand the VIP's packets to its own address.
pub(super) fn redirect(key: Key) -> Vec<String> {
    let family = if key.address.is_ipv4() { "ip" } else { "ip6" };
    let protocol = key.protocol.name();
    let (vip, port) = (key.address.ip(), key.address.port());
    vec![
        format!("nft add table {family} dirigo"),
        format!(
            "nft 'add chain {family} dirigo prerouting {{ type nat hook prerouting priority dstnat; }}'"
        ),
        format!(
            "nft add rule {family} dirigo prerouting {family} daddr {vip} {protocol} dport {port} redirect"
        ),
    ]
}
