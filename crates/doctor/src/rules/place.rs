//! Where the VIP stands: on the director's interface with its own prefix, on no witness.
//! The real server's half is in [`super::server`].

use std::net::IpAddr;

use super::hosts;
use crate::facts::{Address, Facts, Role};
use crate::finding::{Code, Finding};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let vips = facts.segment.vips.iter().copied();
    match facts.role {
        Role::Director => vips.flat_map(|vip| on_director(facts, vip)).collect(),
        Role::Witness => vips.flat_map(|vip| on_witness(facts, vip)).collect(),
        Role::Realserver => Vec::new(),
    }
}

/// The interfaces on which the director serves.
fn interfaces(facts: &Facts) -> Vec<String> {
    let daemon = facts.segment.daemon.as_ref();
    let named: Vec<String> = daemon
        .map(|daemon| {
            daemon
                .interfaces
                .iter()
                .map(|(name, ..)| name.clone())
                .collect()
        })
        .unwrap_or_default();
    if !named.is_empty() {
        return named;
    }
    facts
        .host
        .segment_links()
        .map(|link| link.name.clone())
        .collect()
}

fn on_director(facts: &Facts, vip: IpAddr) -> Vec<Finding> {
    let interfaces = interfaces(facts);
    let mut findings = Vec::new();
    let mut is_there = false;
    for held in facts.host.holders(vip) {
        if interfaces.contains(&held.interface) {
            is_there = true;
            findings.extend(as_it_stands(facts, held));
        } else if facts
            .host
            .segment_links()
            .any(|link| link.name == held.interface)
        {
            findings.push(elsewhere(facts, held));
        }
    }
    if !is_there {
        findings.push(missing(facts, vip, &interfaces));
    }
    findings
}

fn missing(facts: &Facts, vip: IpAddr, interfaces: &[String]) -> Finding {
    let place = interfaces.first().map_or("eth0", String::as_str);
    let mut finding = Finding::problem(
        Code::VipMissing,
        hosts::here(facts),
        format!("{vip} is not on {}", interfaces.join(" or ")),
        "nobody answers for the address, so clients find no director; those that still know its MAC \
         are served until they ask again",
    );
    let ipv6_off = format!("net/ipv6/conf/{place}/disable_ipv6");
    if vip.is_ipv6() && facts.host.sysctl(&ipv6_off) != 0 {
        finding = finding.fix(format!("sysctl -w net/ipv6/conf/{place}/disable_ipv6=0"));
    }
    finding
        .fix(hosts::hold_on_interface(vip, place))
        .about(vip)
        .on(place)
}

fn as_it_stands(facts: &Facts, held: &Address) -> Option<Finding> {
    let (vip, interface) = (held.address, &held.interface);
    let host = hosts::here(facts);
    let again = format!("ip address del {vip}/{} dev {interface}", held.prefix);
    let whole = netlink::host_prefix(&vip);
    let finding = if held.prefix != whole {
        let finding = Finding::problem(
            Code::VipPrefix,
            host,
            format!(
                "{vip} is on {interface} as /{}, not as /{whole}",
                held.prefix
            ),
            "the host takes the VIP for an address of its network: it may choose it as its own source \
             towards real servers, which hold the same address and answer themselves",
        );
        let right = hosts::hold_on_interface(vip, interface);
        // IPv6 has an address once, whatever its prefix; IPv4 need not be without it for a moment.
        if vip.is_ipv6() {
            finding.fix(again).fix(right)
        } else {
            finding.fix(right).fix(again)
        }
    } else if held.dad_failed {
        Finding::problem(
            Code::VipDadFailed,
            host,
            format!("{vip} on {interface} failed duplicate address detection"),
            "the kernel does not use an address that another host answered for; find that host \
             (another finding names it if it still answers), then take the address into use again",
        )
        .fix(again)
        .fix(hosts::hold_on_interface(vip, interface))
    } else if held.tentative {
        Finding::problem(
            Code::VipTentative,
            host,
            format!("{vip} on {interface} is tentative"),
            "the kernel answers nobody for the address before duplicate address detection has ended",
        )
        .fix(again)
        .fix(hosts::hold_on_interface(vip, interface))
    } else {
        return None;
    };
    Some(finding.about(vip).on(interface))
}

fn elsewhere(facts: &Facts, held: &Address) -> Finding {
    let Address {
        interface,
        prefix,
        address: vip,
        ..
    } = held;
    Finding::problem(
        Code::VipOnRealInterface,
        hosts::here(facts),
        format!("{vip} is on {interface} as /{prefix}, where no program of the director is"),
        "clients that learn the address there send to this host's own stack, which does not balance",
    )
    .fix(format!("ip address del {vip}/{prefix} dev {interface}"))
    .about(*vip)
    .on(interface)
}

fn on_witness(facts: &Facts, vip: IpAddr) -> Vec<Finding> {
    let holders = facts.host.holders(vip);
    let found = holders.map(|held| {
        let Address { interface, prefix, .. } = held;
        Finding::problem(
            Code::VipOnWitness,
            hosts::here(facts),
            format!("{vip} is on {interface} of this host, which is neither director nor real server"),
            "the host answers itself when it means the service, and answers others' questions for the \
             address, too. If it is a real server, examine it with --role realserver",
        )
        .fix(format!("ip address del {vip}/{prefix} dev {interface}"))
        .about(vip)
        .on(interface)
    });
    found.collect()
}
