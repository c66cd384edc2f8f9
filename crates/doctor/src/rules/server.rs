//! The real server's half: what its own room finds, in the doctor's words.

use std::net::IpAddr;

use realserver::Vip;

use super::hosts;
use crate::facts::{Facts, Unanswered};
use crate::finding::{Code, Finding, Severity};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let vips: Vec<Vip> = held_here(facts)
        .into_iter()
        .filter_map(|vip| Vip::try_from(vip).ok())
        .collect();
    let report = realserver::finding::examine(&facts.host.realserver, &vips);
    let four = || held_here(facts).into_iter().filter(IpAddr::is_ipv4);
    let hidden = four().all(|vip| super::firewall::hides_from_arp(facts, vip));
    let unsent = four().all(|vip| super::firewall::is_no_sender(facts, vip));
    let is_done_otherwise = |found: &realserver::Finding| {
        use realserver::Code as Theirs;
        match found.code {
            Theirs::AllArpIgnoreForgotten | Theirs::ArpIgnoreOnLoOnly | Theirs::ArpIgnore => hidden,
            Theirs::ArpAnnounceOnLoOnly | Theirs::ArpAnnounce => unsent,
            _ => false,
        }
    };
    let mut findings: Vec<Finding> = report
        .findings
        .into_iter()
        .filter(|found| !is_local_otherwise(facts, found) && !is_done_otherwise(found))
        .filter_map(|found| translate(facts, found))
        .collect();
    findings.extend(reply_through_director(facts));
    findings.extend(no_way_back(facts));
    findings.extend(no_way_from_vip(facts));
    findings
}

/// The VIPs this server is to hold: those of the services it serves; all, if it serves none that is
/// known.
pub(super) fn held_here(facts: &Facts) -> Vec<IpAddr> {
    let services = facts.segment.services.iter();
    let mine = services.filter(|service| super::service::is_mine(facts, service));
    let mut vips: Vec<IpAddr> = mine.map(|service| service.key.address.ip()).collect();
    let of_services: Vec<IpAddr> = facts
        .segment
        .services
        .iter()
        .map(|service| service.key.address.ip())
        .collect();
    let bare = facts
        .segment
        .vips
        .iter()
        .filter(|vip| !of_services.contains(vip));
    vips.extend(bare);
    if vips.is_empty() {
        vips.clone_from(&facts.segment.vips);
    }
    vips.sort();
    vips.dedup();
    vips
}

/// A route `local VIP dev lo` delivers the VIP without an address.
fn is_local_otherwise(facts: &Facts, found: &realserver::Finding) -> bool {
    let route = found
        .vip
        .and_then(|vip| facts.host.routes.get(&vip))
        .and_then(Option::as_ref);
    found.code == realserver::Code::VipMissing && route.is_some_and(|route| route.local)
}

fn translate(facts: &Facts, found: realserver::Finding) -> Option<Finding> {
    use realserver::Code as Theirs;
    let code = match found.code {
        Theirs::LoDown => Code::LoDown,
        Theirs::VipMissing => Code::VipMissing,
        Theirs::VipPrefix => Code::VipPrefix,
        Theirs::VipOnRealInterface => Code::VipOnRealInterface,
        Theirs::VipOnSilentInterface => Code::VipOnSilentInterface,
        Theirs::VipTentative => Code::VipTentative,
        Theirs::VipDadFailed => Code::VipDadFailed,
        Theirs::VipPreferred => Code::VipPreferred,
        Theirs::AllArpIgnoreForgotten => Code::AllArpIgnoreForgotten,
        Theirs::ArpIgnoreOnLoOnly => Code::ArpIgnoreOnLoOnly,
        Theirs::ArpIgnore => Code::ArpIgnore,
        Theirs::ArpAnnounceOnLoOnly => Code::ArpAnnounceOnLoOnly,
        Theirs::ArpAnnounce => Code::ArpAnnounce,
        Theirs::RpFilterStrict => Code::RpFilterStrict,
    };
    let mut fix = found.fix;
    // An interface without IPv6 takes no IPv6 address.
    if code == Code::VipMissing
        && found.vip.is_some_and(|vip| vip.is_ipv6())
        && facts.host.sysctl("net/ipv6/conf/lo/disable_ipv6") != 0
    {
        fix.insert(0, "sysctl -w net.ipv6.conf.lo.disable_ipv6=0".to_owned());
    }
    let severity = match (found.severity, fix.is_empty()) {
        (realserver::Severity::Problem, _) => Severity::Problem,
        (realserver::Severity::Note, false) => Severity::Risk,
        (realserver::Severity::Note, true) => Severity::Note,
    };
    Some(Finding {
        code,
        severity,
        host: hosts::here(facts),
        vip: found.vip,
        interfaces: found.interfaces,
        seen: found.seen,
        why: found.why,
        fix,
        fix_on: None,
    })
}

/// The director as default router: it drops replies whose source is its own address.
fn reply_through_director(facts: &Facts) -> Option<Finding> {
    let directors = hosts::director_macs(facts);
    let routes = facts.host.routes.values().flatten();
    let gateway = routes.filter_map(|route| route.gateway).find(|gateway| {
        let by_address = facts.segment.directors.contains(gateway);
        by_address
            || facts
                .answers(*gateway)
                .any(|claim| directors.contains(&claim.mac))
    })?;
    Some(
        Finding::problem(
            Code::ReplyThroughDirector,
            hosts::here(facts),
            format!("the router of this host is {gateway}, the director"),
            "replies carry the VIP as source, which is the director's own address: its kernel drops them as \
             forged, unless accept_local is on there, and if it is, they take its share of work. Give this \
             host the network's own router instead",
        )
        .fix(format!("ip route del default via {gateway}")),
    )
}

/// Neither to the director nor to anywhere: replies have no way.
fn no_way_back(facts: &Facts) -> Option<Finding> {
    let vips = held_here(facts);
    let four = vips.iter().any(IpAddr::is_ipv4);
    let usable = facts.host.routes.iter().any(|(address, route)| {
        address.is_ipv4() == four && route.as_ref().is_some_and(|route| !route.local)
    });
    if usable || facts.host.routes.is_empty() {
        return None;
    }
    Some(
        Finding::problem(
            Code::NoRouteBack,
            hosts::here(facts),
            "this host has no route to anybody",
            "it takes clients' packets and cannot answer them",
        )
        .fix(format!("ip link set dev {} up", first_link(facts))),
    )
}

/// There are ways out, and none for packets whose source is a VIP: replies never leave.
fn no_way_from_vip(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for found in &facts.host.unanswered {
        let Unanswered {
            vip, destination, ..
        } = found;
        // One of many destinations tells.
        if findings.iter().any(|one| one.vip == Some(*vip)) {
            continue;
        }
        let family = if vip.is_ipv6() { "-6 " } else { "" };
        let finding = Finding::problem(
            Code::NoRouteBack,
            hosts::here(facts),
            format!(
                "this host reaches {destination}, but not with {vip} as source: a rule of policy routing refuses that"
            ),
            "replies to clients carry the VIP as source. Such packets are sent into a table that refuses or \
             swallows them, and every client of this server waits in vain",
        );
        // Which else it may be is for a person to see: a route made up here might cut the host off.
        let command = match &found.rule {
            Some(rule) => format!("ip {family}rule del {rule}"),
            None => format!("ip {family}rule list"),
        };
        let finding = finding.fix(command);
        findings.push(finding.about(*vip));
    }
    findings
}

fn first_link(facts: &Facts) -> String {
    facts
        .host
        .segment_links()
        .next()
        .map_or_else(|| "eth0".to_owned(), |link| link.name.clone())
}
