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

use crate::facts::{Facts, Link, Role};
use crate::finding::{Code, Finding, Interface, Report, Setting};

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
        facts
            .host
            .segment_links()
            .map(|link| interface(facts, link))
            .collect(),
        findings,
        facts.unseen.clone(),
    )
}

/// Linux combines `all` and the interface's own by the larger for most (`IN_DEV_MAXCONF`), and by either
/// for `accept_local`, `arp_filter` and `proxy_arp` (`IN_DEV_ORCONF`), which for 0 and 1 is the same.
fn interface(facts: &Facts, link: &Link) -> Interface {
    const NAMES: [&str; 5] = [
        "arp_ignore",
        "arp_announce",
        "arp_filter",
        "rp_filter",
        "accept_local",
    ];
    let settings = NAMES.map(|name| {
        let of = |conf: &str| facts.host.sysctl(&format!("net/ipv4/conf/{conf}/{name}"));
        let setting = Setting {
            all: of("all"),
            interface: of(&link.name),
            effective: facts.host.effective(&link.name, name),
        };
        (name, setting)
    });
    Interface {
        name: link.name.clone(),
        mtu: link.mtu,
        xdp: link.xdp.as_ref().map(|xdp| xdp.mode.clone()),
        settings: settings.into_iter().collect(),
    }
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
