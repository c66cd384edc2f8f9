//! From facts to findings. Every function here is pure.

mod answers;
mod arp;
mod device;
mod firewall;
mod hosts;
mod kernel;
mod mtu;
mod neighbour;
mod path;
mod place;
mod server;
mod service;
mod xdp;

#[cfg(test)]
mod tests;

use crate::facts::{Facts, Role};
use crate::finding::{Code, Finding, Report};

/// Every deviation that these facts show.
#[must_use]
pub fn examine(facts: &Facts) -> Report {
    let mut findings = daemon(facts);
    findings.extend(place::findings(facts));
    findings.extend(answers::findings(facts));
    findings.extend(neighbour::findings(facts));
    findings.extend(arp::findings(facts));
    findings.extend(mtu::findings(facts));
    findings.extend(xdp::findings(facts));
    findings.extend(device::findings(facts));
    findings.extend(kernel::findings(facts));
    findings.extend(firewall::findings(facts));
    findings.extend(path::findings(facts));
    if facts.role == Role::Realserver {
        findings.extend(server::findings(facts));
        findings.extend(service::findings(facts));
    }
    Report::new(
        facts.role,
        facts.segment.vips.clone(),
        findings,
        facts.unseen.clone(),
    )
}

fn daemon(facts: &Facts) -> Vec<Finding> {
    let Some(reason) = &facts.segment.daemon_silent else {
        return Vec::new();
    };
    let finding = Finding::problem(
        Code::DaemonUnreachable,
        hosts::here(facts),
        reason,
        "what an earlier daemon attached goes on forwarding, but nobody follows real servers that \
         come, go or change their MAC, and nobody holds the VIP",
    );
    vec![finding.fix(&facts.segment.daemon_start)]
}
