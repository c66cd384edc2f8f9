//! `check`: every deviation, with what was seen, why it matters and the command that fixes it.

mod address;
mod arp;

use std::net::IpAddr;

use serde::Serialize;

use crate::observe::{Facts, Interface};
use crate::sysctl::Effective;
use crate::{Setting, Vip};

/// The result of an examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// No finding is a problem.
    pub ok: bool,
    /// The VIPs asked about.
    pub vips: Vec<IpAddr>,
    /// What counts on each interface that is up. Empty if no VIP is IPv4.
    pub interfaces: Vec<InterfaceReport>,
    /// Every deviation.
    pub findings: Vec<Finding>,
}

/// The settings as they count on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Which ARP requests it answers.
    pub arp_ignore: Effective,
    /// Which address its ARP requests carry.
    pub arp_announce: Effective,
}

/// One deviation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// For programs.
    pub code: Code,
    /// Whether it breaks direct routing.
    pub severity: Severity,
    /// The VIP it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    /// The interfaces it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// The commands that fix it, in order.
    pub fix: Vec<String>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Direct routing does not work, or not reliably.
    Problem,
    /// Worth knowing.
    Note,
}

/// Kinds of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// `lo` is off.
    LoDown,
    /// The VIP is nowhere on this host.
    VipMissing,
    /// The VIP is on `lo` with the prefix of a whole network.
    VipPrefix,
    /// The VIP is on an interface that answers for it.
    VipOnRealInterface,
    /// The VIP is on an interface without ARP, such as a dummy, instead of `lo`.
    VipOnSilentInterface,
    /// IPv6: the VIP is not in use yet.
    VipTentative,
    /// IPv6: the VIP is not in use, because another host has it.
    VipDadFailed,
    /// IPv6: the VIP may be chosen as source of the host's own connections.
    VipPreferred,
    /// The script of old that writes `all/arp_announce` twice and `all/arp_ignore` never.
    AllArpIgnoreForgotten,
    /// `arp_ignore` was set on `lo` alone.
    ArpIgnoreOnLoOnly,
    /// An interface answers ARP for the VIP.
    ArpIgnore,
    /// `arp_announce` was set on `lo` alone.
    ArpAnnounceOnLoOnly,
    /// ARP requests of an interface may carry the VIP.
    ArpAnnounce,
    /// Strict reverse path filtering on a host with several interfaces.
    RpFilterStrict,
}

/// Every deviation of these facts from those of a real server for these VIPs.
#[must_use]
pub fn examine(facts: &Facts, vips: &[Vip]) -> Report {
    let mut findings = Vec::new();
    if !facts.lo_up {
        findings.push(address::lo_down());
    }
    for vip in vips {
        findings.extend(address::of_vip(facts, *vip));
    }
    let mut interfaces = Vec::new();
    if vips.iter().any(|vip| vip.address().is_ipv4()) {
        interfaces = facts
            .interfaces
            .iter()
            .filter(|found| found.up)
            .map(|found| report(facts, found))
            .collect();
        findings.extend(arp::of_arp_ignore(facts, vips, &interfaces));
        findings.extend(arp::of_arp_announce(facts, &interfaces));
        findings.extend(arp::of_rp_filter(facts, &interfaces));
    }
    Report {
        ok: findings
            .iter()
            .all(|finding| finding.severity == Severity::Note),
        vips: vips.iter().map(|vip| vip.address()).collect(),
        interfaces,
        findings,
    }
}

fn report(facts: &Facts, interface: &Interface) -> InterfaceReport {
    InterfaceReport {
        name: interface.name.clone(),
        arp_ignore: facts.effective(&interface.name, Setting::ArpIgnore),
        arp_announce: facts.effective(&interface.name, Setting::ArpAnnounce),
    }
}

fn problem(code: Code, seen: String, why: &str, fix: Vec<String>) -> Finding {
    Finding {
        code,
        severity: Severity::Problem,
        vip: None,
        interfaces: Vec::new(),
        seen,
        why: why.to_owned(),
        fix,
    }
}

impl Finding {
    fn note(mut self) -> Self {
        self.severity = Severity::Note;
        self
    }

    fn about(mut self, vip: Vip) -> Self {
        self.vip = Some(vip.address());
        self
    }

    fn on<'a>(mut self, interfaces: impl IntoIterator<Item = &'a str>) -> Self {
        self.interfaces = interfaces.into_iter().map(str::to_owned).collect();
        self
    }
}
