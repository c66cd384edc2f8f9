//! What `check` concludes from given facts; no kernel is asked.

#![allow(clippy::unwrap_used)]

use dirigo_realserver as realserver;
use realserver::observe::{Held, Interface, Place};
use realserver::{Code, Facts, Key, Report, Severity, Vip, finding};

const VIP: &str = "192.168.188.120";
const VIP6: &str = "2001:db8::120";

/// A real server as `up` leaves it, with `eth0` up, holding both VIPs.
fn host() -> Facts {
    let facts = Facts {
        lo_up: true,
        forwards: false,
        interfaces: vec![interface("eth0")],
        addresses: vec![held(VIP, 32, "lo"), held(VIP6, 128, "lo")],
        settings: [].into(),
    };
    let facts = set(facts, "all/arp_ignore", 1);
    set(facts, "all/arp_announce", 2)
}

fn interface(name: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        up: true,
    }
}

fn held(address: &str, prefix: u8, interface: &str) -> Held {
    Held {
        interface: interface.to_owned(),
        place: match interface {
            "lo" => Place::Loopback,
            "dummy0" => Place::Silent,
            _ => Place::Real,
        },
        address: address.parse().unwrap(),
        prefix,
        host_scope: false,
        tentative: false,
        dad_failed: false,
        deprecated: true,
    }
}

fn set(mut facts: Facts, key: &str, value: i32) -> Facts {
    facts.settings.insert(key.parse::<Key>().unwrap(), value);
    facts
}

fn examine(facts: &Facts) -> Report {
    finding::examine(facts, &[vip(VIP), vip(VIP6)])
}

fn vip(text: &str) -> Vip {
    text.parse().unwrap()
}

fn codes(report: &Report) -> Vec<Code> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[track_caller]
fn only(report: &Report, code: Code) -> &finding::Finding {
    assert_eq!(codes(report), [code]);
    &report.findings[0]
}

#[test]
fn a_host_as_up_leaves_it_has_no_finding() {
    let report = examine(&host());
    assert_eq!(codes(&report), []);
    assert!(report.ok);
    assert_eq!(report.interfaces[0].arp_ignore.effective, 1);
}

#[test]
fn the_usual_script_is_caught_exactly_with_the_one_missing_line() {
    let facts = set(host(), "all/arp_ignore", 0);
    let facts = set(set(facts, "lo/arp_ignore", 1), "lo/arp_announce", 2);
    let report = examine(&facts);
    let finding = only(&report, Code::AllArpIgnoreForgotten);
    assert_eq!(
        finding.seen,
        "all/arp_ignore is 0, while all/arp_announce is 2 and lo/arp_ignore is 1"
    );
    assert!(
        finding
            .why
            .contains("writes all/arp_announce a second time")
    );
    assert!(finding.why.contains("lo's own value does not count"));
    assert_eq!(finding.fix, ["sysctl -w net.ipv4.conf.all.arp_ignore=1"]);
    assert_eq!(finding.interfaces, ["eth0"]);
    assert!(!report.ok);
}

#[test]
fn the_forgotten_line_is_no_finding_where_the_interface_itself_is_quiet() {
    let facts = set(host(), "all/arp_ignore", 0);
    let facts = set(set(facts, "lo/arp_ignore", 1), "eth0/arp_ignore", 1);
    assert_eq!(codes(&examine(&facts)), []);
}

#[test]
fn settings_of_lo_alone_are_useless_and_said_to_be() {
    let mut facts = host();
    facts.settings.clear();
    let facts = set(set(facts, "lo/arp_ignore", 1), "lo/arp_announce", 2);
    let report = examine(&facts);
    assert_eq!(
        codes(&report),
        [Code::ArpIgnoreOnLoOnly, Code::ArpAnnounceOnLoOnly]
    );
    let fixes: Vec<&String> = report
        .findings
        .iter()
        .flat_map(|finding| &finding.fix)
        .collect();
    assert_eq!(
        fixes,
        [
            "sysctl -w net.ipv4.conf.all.arp_ignore=1",
            "sysctl -w net.ipv4.conf.all.arp_announce=2"
        ]
    );
}

#[test]
fn a_host_with_the_kernels_defaults_answers_and_announces_on_every_interface() {
    let mut facts = host();
    facts.settings.clear();
    facts.interfaces.push(interface("eth1"));
    let report = examine(&facts);
    assert_eq!(codes(&report), [Code::ArpIgnore, Code::ArpAnnounce]);
    assert_eq!(report.findings[0].interfaces, ["eth0", "eth1"]);
    assert!(report.findings[0].why.contains("on eth0 and eth1"));
}

#[test]
fn an_interfaces_own_larger_value_wins_and_is_named_and_lowered() {
    let facts = set(host(), "eth0/arp_ignore", 3);
    let report = examine(&facts);
    let finding = only(&report, Code::ArpIgnore);
    assert_eq!(
        finding.seen,
        "effective arp_ignore is 3 on eth0 (all 1, eth0 3; eth0's own decides)"
    );
    assert_eq!(finding.fix, ["sysctl -w net.ipv4.conf.eth0.arp_ignore=1"]);
}

#[test]
fn three_hides_a_vip_of_host_scope_and_nothing_else() {
    let mut facts = set(host(), "all/arp_ignore", 3);
    assert_eq!(codes(&examine(&facts)), [Code::ArpIgnore]);
    facts.addresses[0].host_scope = true;
    assert_eq!(codes(&examine(&facts)), []);
}

#[test]
fn stricter_values_are_as_good_as_ours() {
    for value in [1, 2, 8] {
        let facts = set(host(), "eth0/arp_ignore", value);
        assert_eq!(codes(&examine(&facts)), [], "{value}");
    }
}

#[test]
fn announcing_one_or_three_is_not_enough() {
    for value in [1, 3] {
        let facts = set(host(), "all/arp_announce", value);
        let report = examine(&facts);
        let finding = only(&report, Code::ArpAnnounce);
        assert_eq!(
            finding.fix,
            ["sysctl -w net.ipv4.conf.all.arp_announce=2"],
            "{value}"
        );
        assert!(finding.seen.contains("all decides"), "{}", finding.seen);
    }
}

#[test]
fn an_interface_that_is_down_answers_nobody() {
    let mut facts = set(host(), "eth0/arp_ignore", 3);
    facts.interfaces[0].up = false;
    assert_eq!(codes(&examine(&facts)), []);
}

#[test]
fn a_missing_vip_is_found_with_the_command_of_its_family() {
    let mut facts = host();
    facts.addresses.clear();
    let report = examine(&facts);
    assert_eq!(codes(&report), [Code::VipMissing, Code::VipMissing]);
    assert_eq!(
        report.findings[0].fix,
        [format!("ip address add {VIP}/32 dev lo")]
    );
    assert_eq!(
        report.findings[1].fix,
        [format!(
            "ip address add {VIP6}/128 dev lo nodad preferred_lft 0"
        )]
    );
    facts.forwards = true;
    assert!(examine(&facts).findings[0].why.contains("a loop"));
}

#[test]
fn a_whole_network_on_lo_is_a_wrong_prefix() {
    let mut facts = host();
    facts.addresses[0].prefix = 24;
    let report = examine(&facts);
    let finding = only(&report, Code::VipPrefix);
    assert_eq!(finding.seen, format!("{VIP} is on lo as /24, not as /32"));
    let expected = [
        format!("ip address add {VIP}/32 dev lo"),
        format!("ip address del {VIP}/24 dev lo"),
    ];
    assert_eq!(finding.fix, expected);
}

#[test]
fn a_vip_on_a_real_interface_answers_in_both_families() {
    for (address, prefix, protocol) in [(VIP, 24, "ARP"), (VIP6, 64, "neighbour solicitations")] {
        let mut facts = host();
        facts.addresses.push(held(address, prefix, "eth0"));
        let report = examine(&facts);
        let finding = only(&report, Code::VipOnRealInterface);
        assert!(finding.why.contains(protocol), "{}", finding.why);
        assert_eq!(
            finding.fix,
            [format!("ip address del {address}/{prefix} dev eth0")]
        );
        assert_eq!(finding.interfaces, ["eth0"]);
    }
}

#[test]
fn a_vip_on_a_dummy_interface_is_worth_a_note_and_no_more() {
    let mut facts = host();
    facts.addresses[0] = held(VIP, 32, "dummy0");
    let report = examine(&facts);
    only(&report, Code::VipOnSilentInterface);
    assert!(report.ok);
}

#[test]
fn an_ipv6_vip_that_is_not_in_use_is_a_problem_and_a_preferred_one_a_note() {
    let mut facts = host();
    facts.addresses[1].tentative = true;
    only(&examine(&facts), Code::VipTentative);
    facts.addresses[1].dad_failed = true;
    only(&examine(&facts), Code::VipDadFailed);
    let mut facts = host();
    facts.addresses[1].deprecated = false;
    let report = examine(&facts);
    assert_eq!(only(&report, Code::VipPreferred).severity, Severity::Note);
    assert!(report.ok);
}

#[test]
fn a_loopback_that_is_down_makes_no_address_local() {
    let mut facts = host();
    facts.lo_up = false;
    let report = examine(&facts);
    assert_eq!(only(&report, Code::LoDown).fix, ["ip link set lo up"]);
    assert!(!report.ok);
}

#[test]
fn strict_filtering_is_worth_a_note_on_a_host_with_several_interfaces() {
    let facts = set(host(), "all/rp_filter", 1);
    assert_eq!(codes(&examine(&facts)), []);
    let mut facts = set(facts, "eth1/rp_filter", 2);
    facts.interfaces.push(interface("eth1"));
    let report = examine(&facts);
    let finding = only(&report, Code::RpFilterStrict);
    assert_eq!(finding.interfaces, ["eth0"]);
    assert_eq!(finding.fix, ["sysctl -w net.ipv4.conf.eth0.rp_filter=2"]);
    assert!(report.ok);
}

#[test]
fn arp_does_not_concern_a_host_with_ipv6_vips_alone() {
    let mut facts = host();
    facts.settings.clear();
    let report = finding::examine(&facts, &[vip(VIP6)]);
    assert_eq!(codes(&report), []);
    assert!(report.interfaces.is_empty());
}

#[test]
fn the_findings_are_data_with_the_names_of_the_field() {
    let facts = set(set(host(), "all/arp_ignore", 0), "lo/arp_ignore", 1);
    let json = serde_json::to_value(examine(&facts)).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["findings"][0]["code"], "all-arp-ignore-forgotten");
    assert_eq!(json["findings"][0]["severity"], "problem");
    assert_eq!(json["interfaces"][0]["arp_ignore"]["effective"], 0);
}
