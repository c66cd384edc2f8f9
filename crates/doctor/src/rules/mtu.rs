//! Hosts that carry smaller packets than others of their segment.

use std::net::IpAddr;

use super::hosts;
use crate::facts::{Answer, Echo, Facts, Role};
use crate::finding::{Code, Finding};

/// What Ethernet carries, and most clients send.
const ETHERNET: u32 = 1_500;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = by_echo(facts);
    findings.extend(by_segment_size(facts, &findings));
    findings
}

/// A small echo is answered, one of this interface's MTU is not.
fn by_echo(facts: &Facts) -> Vec<Finding> {
    let known: Vec<&Echo> = facts.echoes.iter().filter(|echo| echo.small).collect();
    let lost: Vec<&&Echo> = known.iter().filter(|echo| !echo.large).collect();
    // If nobody takes it, we are the odd one.
    if let Some(first) = lost.first()
        && lost.len() == known.len()
        && lost.len() > 1
        && first.large_bytes > ETHERNET
    {
        return vec![of_here(facts, first)];
    }
    lost.iter().map(|echo| of_other(facts, echo)).collect()
}

fn of_here(facts: &Facts, echo: &Echo) -> Finding {
    let (interface, bytes) = (&echo.interface, echo.large_bytes);
    Finding::problem(
        Code::MtuMismatch,
        hosts::here(facts),
        format!("{interface} has an MTU of {bytes}, and no other host takes a packet of that size"),
        "what this host sends larger than the segment carries is lost without a word",
    )
    .fix(format!("ip link set dev {interface} mtu {ETHERNET}"))
    .on(interface)
}

fn of_other(facts: &Facts, echo: &Echo) -> Finding {
    let bytes = echo.large_bytes;
    let host = hosts::at(facts, echo.mac);
    Finding::problem(
        Code::MtuMismatch,
        host.clone(),
        format!(
            "{host} answers an echo request of 64 bytes, but none of {bytes}, the MTU of {} here",
            echo.interface
        ),
        "its interface has a smaller MTU, or a switch between has: large packets of clients are lost \
         without a word, so connections open and then hang",
    )
    .fix(set(echo.address, bytes))
}

fn set(address: IpAddr, bytes: u32) -> String {
    format!(
        "ip link set dev {} mtu {bytes}",
        hosts::interface_of(address)
    )
}

/// A server's answer to a SYN names the largest segment it takes, that is its MTU.
fn by_segment_size(facts: &Facts, known: &[Finding]) -> Vec<Finding> {
    if facts.role != Role::Director {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = Vec::new();
    for path in &facts.paths {
        let (Answer::Accepted { mss: Some(mss) }, Some(server)) = (path.answer, path.server) else {
            continue;
        };
        let headers = if server.is_ipv4() { 40 } else { 60 };
        let theirs = u32::from(mss) + headers;
        let claim = facts.answers(server).find(|claim| claim.mac == path.mac);
        let Some(link) = claim.and_then(|claim| facts.host.link(&claim.interface)) else {
            continue;
        };
        let is_known = known.iter().any(|one| one.host.address == Some(server));
        let finding = if theirs > link.mtu {
            let finding = Finding::problem(
                Code::MtuMismatch,
                hosts::here(facts),
                format!("{} has an MTU of {}, real server {server} one of {theirs}", link.name, link.mtu),
                "client and server agree on segments by the server's MTU; the director must carry them. \
                 Larger ones are lost here without a word, so connections open and then hang",
            )
            .fix(format!("ip link set dev {} mtu {theirs}", link.name))
            .on(&link.name);
            if link.mtu < ETHERNET {
                finding
            } else {
                finding.risk()
            }
        } else if theirs < link.mtu && !is_known {
            Finding::problem(
                Code::MtuMismatch,
                hosts::server(facts, server),
                format!(
                    "real server {server} takes packets of {theirs}, {} here those of {}",
                    link.name, link.mtu
                ),
                "TCP takes the smaller; large datagrams and fragments of others are lost there",
            )
            .risk()
            .fix(set(server, link.mtu))
        } else {
            continue;
        };
        if !findings
            .iter()
            .any(|one| one.host == finding.host && one.fix == finding.fix)
        {
            findings.push(finding);
        }
    }
    findings
}
