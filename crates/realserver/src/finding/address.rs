//! Findings about where the VIP stands.

use std::net::IpAddr;

use super::{Code, Finding, problem};
use crate::Vip;
use crate::observe::{Facts, Held, Place};
use crate::sysctl::LO;

pub(super) fn lo_down() -> Finding {
    problem(
        Code::LoDown,
        "lo is down".to_owned(),
        "while lo is down, an address on it is not local: packets for the VIP are not delivered",
        vec!["ip link set lo up".to_owned()],
    )
    .on([LO])
}

pub(super) fn of_vip(facts: &Facts, vip: Vip) -> Vec<Finding> {
    let (mut on_lo, mut silent) = (false, Vec::new());
    let mut findings = Vec::new();
    for held in facts.holders(vip.address()) {
        match held.place {
            Place::Loopback => {
                on_lo = true;
                findings.extend(of_vip_on_lo(vip, held));
            }
            Place::Silent => silent.push(held),
            Place::Real => findings.push(on_real_interface(vip, held)),
        }
    }
    match (on_lo, silent.first()) {
        (true, _) => {}
        (false, Some(held)) => findings.push(on_silent_interface(vip, held)),
        (false, None) => findings.push(missing(facts, vip)),
    }
    findings
}

fn add_command(vip: Vip) -> String {
    match vip.address() {
        IpAddr::V4(_) => format!("ip address add {vip}/32 dev lo"),
        IpAddr::V6(_) => format!("ip address add {vip}/128 dev lo nodad preferred_lft 0"),
    }
}

fn delete_command(held: &Held) -> String {
    format!(
        "ip address del {}/{} dev {}",
        held.address, held.prefix, held.interface
    )
}

fn missing(facts: &Facts, vip: Vip) -> Finding {
    let why = if facts.forwards && vip.address().is_ipv4() {
        "the director's frames arrive with the VIP as destination. It is no address of this host and \
         ip_forward is on, so they are sent back towards the director: a loop until the TTL is used up"
    } else {
        "the director's frames arrive with the VIP as destination; a host that does not have the \
         address drops them, and its clients time out"
    };
    problem(
        Code::VipMissing,
        format!("{vip} is not on lo"),
        why,
        vec![add_command(vip)],
    )
    .about(vip)
    .on([LO])
}

fn of_vip_on_lo(vip: Vip, held: &Held) -> Option<Finding> {
    let again = || vec![delete_command(held), add_command(vip)];
    let finding = if held.prefix != vip.prefix() {
        problem(
            Code::VipPrefix,
            format!(
                "{vip} is on lo as /{}, not as /{}",
                held.prefix,
                vip.prefix()
            ),
            "the host takes the whole network behind that prefix for its own: it answers clients in it \
             over loopback, that is, never",
            // IPv6 has an address once, whatever its prefix; IPv4 need not be without it for a moment.
            match vip.address() {
                IpAddr::V4(_) => vec![add_command(vip), delete_command(held)],
                IpAddr::V6(_) => again(),
            },
        )
    } else if held.dad_failed {
        problem(
            Code::VipDadFailed,
            format!("{vip} on lo failed duplicate address detection"),
            "the kernel does not use an address that another host answered for; on a real server another \
             host always does, the director, so detection must be skipped (nodad)",
            again(),
        )
    } else if held.tentative {
        problem(
            Code::VipTentative,
            format!("{vip} on lo is tentative"),
            "the kernel does not use the address before duplicate address detection ends; on a real \
             server it must be skipped (nodad)",
            again(),
        )
    } else if vip.address().is_ipv6() && !held.deprecated {
        problem(
            Code::VipPreferred,
            format!("{vip} on lo may be chosen as source address"),
            "connections that this host opens itself may then come from the VIP, and their replies go to \
             the director; preferred_lft 0 prevents it",
            vec![format!("ip address change {vip}/128 dev lo preferred_lft 0")],
        )
        .note()
    } else {
        return None;
    };
    Some(finding.about(vip).on([LO]))
}

fn on_real_interface(vip: Vip, held: &Held) -> Finding {
    let protocol = if vip.address().is_ipv4() {
        "ARP"
    } else {
        "neighbour solicitations"
    };
    problem(
        Code::VipOnRealInterface,
        format!("{vip} is on {} as /{}", held.interface, held.prefix),
        &format!(
            "the address belongs to the interface, so the host answers {protocol} for it whatever the \
             settings say, and clients bypass the director"
        ),
        vec![delete_command(held)],
    )
    .about(vip)
    .on([held.interface.as_str()])
}

fn on_silent_interface(vip: Vip, held: &Held) -> Finding {
    problem(
        Code::VipOnSilentInterface,
        format!("{vip} is on {}, not on lo", held.interface),
        "that works as well: this interface takes no part in ARP, and the settings of the others hide it",
        Vec::new(),
    )
    .note()
    .about(vip)
    .on([held.interface.as_str()])
}
