//! Findings about what the kernel says in ARP.

use std::net::IpAddr;

use super::{Code, Finding, InterfaceReport, problem};
use crate::observe::Facts;
use crate::plan::wanted;
use crate::sysctl::{ALL, Effective, LO, hides_vip, keeps_vip_out};
use crate::{Key, Setting, Vip};

pub(super) fn of_arp_ignore(
    facts: &Facts,
    vips: &[Vip],
    interfaces: &[InterfaceReport],
) -> Option<Finding> {
    let answering: Vec<&InterfaceReport> = interfaces
        .iter()
        .filter(|found| !hides_vip(found.arp_ignore.effective, all_host_scope(facts, vips)))
        .collect();
    if answering.is_empty() {
        return None;
    }
    let names = answering.iter().map(|found| found.name.as_str());
    let lo = facts.setting(LO, Setting::ArpIgnore);
    let all = facts.setting(ALL, Setting::ArpIgnore);
    let all_announce = facts.setting(ALL, Setting::ArpAnnounce);
    let fix = fixes(facts, Setting::ArpIgnore, &answering);
    let listed = list(names.clone());
    let finding = if all == 0 && all_announce > 0 {
        let on_lo = match lo {
            0 => String::new(),
            lo => format!(" and lo/arp_ignore is {lo}"),
        };
        problem(
            Code::AllArpIgnoreForgotten,
            format!("all/arp_ignore is 0, while all/arp_announce is {all_announce}{on_lo}"),
            &format!(
                "this is the usual hand-written script: where all/arp_ignore belongs, it writes \
                 all/arp_announce a second time. lo's own value does not count for requests that \
                 arrive elsewhere (the kernel takes the larger of all and the receiving interface), so \
                 this host answers ARP for the VIP on {listed}"
            ),
            fix,
        )
    } else if all == 0 && lo > 0 {
        problem(
            Code::ArpIgnoreOnLoOnly,
            format!("arp_ignore is {lo} on lo, but 0 on all"),
            &format!(
                "the kernel takes the larger of all and the interface the request arrives on, which is \
                 never lo: this host answers ARP for the VIP on {listed}"
            ),
            fix,
        )
    } else {
        let seen = seen(
            Setting::ArpIgnore,
            answering
                .iter()
                .map(|found| (found.name.as_str(), found.arp_ignore)),
        );
        let why = format!(
            "this host answers ARP for the VIP on {listed}: clients bypass the director. Values 1, 2 and 8 \
             hide an address of lo; 0 and the others do not, 3 only one with scope host"
        );
        problem(Code::ArpIgnore, seen, &why, fix)
    };
    Some(finding.on(names))
}

pub(super) fn of_arp_announce(facts: &Facts, interfaces: &[InterfaceReport]) -> Option<Finding> {
    let leaking: Vec<&InterfaceReport> = interfaces
        .iter()
        .filter(|found| !keeps_vip_out(found.arp_announce.effective))
        .collect();
    if leaking.is_empty() {
        return None;
    }
    let names = leaking.iter().map(|found| found.name.as_str());
    let listed = list(names.clone());
    let lo = facts.setting(LO, Setting::ArpAnnounce);
    let fix = fixes(facts, Setting::ArpAnnounce, &leaking);
    let consequence = format!(
        "ARP requests sent on {listed} while a reply of the VIP waits carry the VIP as sender; whoever \
         hears one learns this host's MAC for the VIP and bypasses the director"
    );
    let finding = if lo == 2
        && leaking
            .iter()
            .all(|found| found.arp_announce.effective == 0)
    {
        problem(
            Code::ArpAnnounceOnLoOnly,
            "arp_announce is 2 on lo, but 0 on all".to_owned(),
            &format!(
                "the kernel takes the larger of all and the interface the request leaves by, which is \
                 never lo: {consequence}"
            ),
            fix,
        )
    } else {
        let seen = seen(
            Setting::ArpAnnounce,
            leaking
                .iter()
                .map(|found| (found.name.as_str(), found.arp_announce)),
        );
        let why = format!(
            "{consequence}. Only 2 prevents it: 1 does not when the client is in the VIP's own subnet, \
             and the kernel treats larger values as 0"
        );
        problem(Code::ArpAnnounce, seen, &why, fix)
    };
    Some(finding.on(names))
}

pub(super) fn of_rp_filter(facts: &Facts, interfaces: &[InterfaceReport]) -> Option<Finding> {
    let strict: Vec<(&str, Effective)> = interfaces
        .iter()
        .map(|found| {
            (
                found.name.as_str(),
                facts.effective(&found.name, Setting::RpFilter),
            )
        })
        .filter(|(_, filter)| filter.effective == 1)
        .collect();
    if interfaces.len() < 2 || strict.is_empty() {
        return None;
    }
    let names = strict.iter().map(|(name, _)| *name);
    let fix = strict
        .iter()
        .map(|(name, _)| Key::new(name, Setting::RpFilter).command(2));
    Some(
        problem(
            Code::RpFilterStrict,
            seen(Setting::RpFilter, strict.iter().copied()),
            "this host has several interfaces. Strict filtering drops a client's packet that the director \
             sends to one while the reply would leave by another; 2 (loose) accepts it",
            fix.collect(),
        )
        .note()
        .on(names),
    )
}

/// Whether value 3 would hide every VIP.
fn all_host_scope(facts: &Facts, vips: &[Vip]) -> bool {
    let four = vips.iter().map(|vip| vip.address()).filter(IpAddr::is_ipv4);
    let mut held = four.flat_map(|address| facts.holders(address));
    held.all(|held| held.host_scope)
}

/// Sets `all` if that helps, and each interface whose own larger value would still win.
fn fixes(facts: &Facts, setting: Setting, wrong: &[&InterfaceReport]) -> Vec<String> {
    let (all, value) = (facts.setting(ALL, setting), wanted(setting));
    let does = |value| match setting {
        Setting::ArpIgnore => hides_vip(value, false),
        _ => keeps_vip_out(value),
    };
    let mut commands = Vec::new();
    if !does(all) {
        commands.push(Key::new(ALL, setting).command(value));
    }
    let all = if does(all) { all } else { value };
    for found in wrong {
        if !does(all.max(facts.setting(&found.name, setting))) {
            commands.push(Key::new(&found.name, setting).command(value));
        }
    }
    commands
}

/// `effective arp_ignore is 0 on eth0 (all 0, eth0 0)`, naming which of the two decides.
fn seen<'a>(setting: Setting, found: impl Iterator<Item = (&'a str, Effective)>) -> String {
    let parts: Vec<String> = found
        .map(|(name, value)| {
            let Effective {
                all,
                interface,
                effective,
            } = value;
            let decides = match all.cmp(&interface) {
                std::cmp::Ordering::Less => format!("; {name}'s own decides"),
                std::cmp::Ordering::Greater => "; all decides".to_owned(),
                std::cmp::Ordering::Equal => String::new(),
            };
            format!("{effective} on {name} (all {all}, {name} {interface}{decides})")
        })
        .collect();
    format!("effective {} is {}", setting.name(), parts.join(", "))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
