//! XDP: which program is on an interface, in which mode, and why not in the driver.

use super::hosts;
use crate::facts::{Daemon, Facts, Link, Role, Xdp};
use crate::finding::{Code, Finding, quoted};

/// The director's first program, as the kernel calls it.
const OURS: &str = "director";
/// Above this MTU many drivers' frames do not fit into one page with what XDP needs around them.
const ONE_PAGE: u32 = 3_498;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let daemon = facts.segment.daemon.as_ref();
    let mut findings = Vec::new();
    for link in facts.host.segment_links() {
        let serves = daemon.filter(|daemon| {
            let mut named = daemon.interfaces.iter();
            daemon.here
                && facts.role == Role::Director
                && named.any(|(name, ..)| *name == link.name)
        });
        match (&link.xdp, serves) {
            (None, Some(daemon)) => findings.push(missing(facts, link, daemon)),
            (Some(xdp), _) if !is_ours(xdp) => findings.push(foreign(facts, link, xdp)),
            (Some(xdp), Some(daemon)) if xdp.mode == "generic" => {
                findings.push(generic(facts, link, daemon));
            }
            _ => {}
        }
    }
    findings
}

/// Without a name (not root) a program on the director's interface gets the benefit of the doubt.
fn is_ours(xdp: &Xdp) -> bool {
    xdp.name.as_deref().is_none_or(|name| name == OURS)
}

/// Ends forwarding and begins again: only a fresh attachment chooses the mode anew.
fn again(daemon: &Daemon) -> Vec<String> {
    let down = format!("dirigo down --release --instance {}", daemon.instance);
    let start = match &daemon.unit {
        Some(unit) => format!("systemctl restart {unit}"),
        None => {
            let words: Vec<String> = daemon.command.iter().map(|word| quoted(word)).collect();
            format!("setsid {} >/dev/null 2>&1 </dev/null &", words.join(" "))
        }
    };
    vec![down, start]
}

fn missing(facts: &Facts, link: &Link, daemon: &Daemon) -> Finding {
    let mut finding = Finding::problem(
        Code::XdpMissing,
        hosts::here(facts),
        format!(
            "no XDP program is on {}, where the director serves",
            link.name
        ),
        "somebody took it off: clients' packets reach this host's own stack, which does not balance",
    );
    finding.fix = again(daemon);
    finding.on(&link.name)
}

fn generic(facts: &Facts, link: &Link, daemon: &Daemon) -> Finding {
    let (reason, cause) = why_generic(link);
    let mut finding = Finding::problem(
        Code::XdpGeneric,
        hosts::here(facts),
        format!("XDP runs in generic mode on {}", link.name),
        format!(
            "the stack makes a socket buffer of every frame first, which costs several times what the \
             director does. {reason}"
        ),
    )
    .risk();
    finding.fix.extend(cause);
    finding.fix.extend(again(daemon));
    finding.on(&link.name)
}

/// Why not native, and the command that takes the cause away.
fn why_generic(link: &Link) -> (String, Option<String>) {
    let name = &link.name;
    let driver = link.driver.as_deref().unwrap_or("unknown");
    if link.lro {
        return (
            format!("The driver {driver} refuses native XDP while LRO is on"),
            Some(format!("ethtool -K {name} lro off")),
        );
    }
    if link.mtu > ONE_PAGE {
        return (
            format!(
                "An MTU of {} leaves no room for native XDP in a page",
                link.mtu
            ),
            Some(format!("ip link set dev {name} mtu 1500")),
        );
    }
    match link.kind.as_str() {
        "veth" => (
            "A veth takes native XDP unless the MTU of its other end is larger than a page: look there"
                .to_owned(),
            None,
        ),
        "" if driver == "virtio_net" => (
            "virtio_net needs a queue of its own for each processor, and no LRO or checksum offload on \
             the host's side: give the machine more queues"
                .to_owned(),
            None,
        ),
        "" => (
            format!("If the driver {driver} has native XDP, a fresh attachment takes it"),
            None,
        ),
        kind => (
            format!("Interfaces of kind {kind} have no native XDP: name the one below it"),
            None,
        ),
    }
}

fn foreign(facts: &Facts, link: &Link, xdp: &Xdp) -> Finding {
    let name = xdp.name.as_deref().unwrap_or("without a name");
    let why = match facts.role {
        Role::Director => {
            "an interface has one XDP program: while another is there the director's cannot be attached"
        }
        _ => "it sees every frame before this host's stack, and may drop or redirect the VIP's",
    };
    let off = match xdp.holder {
        Some(process) => format!("kill {process}"),
        None => remove(link, xdp),
    };
    let finding = Finding::problem(
        Code::XdpForeign,
        hosts::here(facts),
        format!(
            "the XDP program {name} (id {}, {}) is on {}",
            xdp.program, xdp.mode, link.name
        ),
        why,
    )
    .fix(off)
    .on(&link.name);
    if facts.role == Role::Director {
        finding
    } else {
        finding.risk()
    }
}

fn remove(link: &Link, xdp: &Xdp) -> String {
    let word = if xdp.mode == "generic" {
        "xdpgeneric"
    } else {
        "xdp"
    };
    format!("ip link set dev {} {word} off", link.name)
}
