//! Rules of firewalls: read, walked, judged.

use super::{codes, only, real_server};
use crate::examine;
use crate::finding::{Code, Severity};
use crate::netfilter::Origin;

/// A table `inet f` with an input chain of this policy and these rules.
fn input(policy: &str, rules: &[&str]) -> String {
    let rules: Vec<String> = rules
        .iter()
        .enumerate()
        .map(|(at, expr)| {
            format!(
                r#",{{"rule":{{"family":"inet","table":"f","chain":"input","handle":{at},"expr":[{expr}]}}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"nftables":[{{"chain":{{"family":"inet","table":"f","name":"input","hook":"input","prio":0,"policy":"{policy}"}}}},
        {{"set":{{"family":"inet","table":"f","name":"web","elem":[80,{{"range":[8000,8099]}}]}}}}{}]}}"#,
        rules.concat()
    )
}

fn dport(right: &str) -> String {
    format!(
        r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{right}}}}}"#
    )
}

fn state(right: &str) -> String {
    format!(r#"{{"match":{{"op":"in","left":{{"ct":{{"key":"state"}}}},"right":{right}}}}}"#)
}

const DROP: &str = r#"{"drop":null}"#;
const ACCEPT: &str = r#"{"accept":null}"#;

#[test]
fn rules_and_policies_that_drop_the_service_are_found_and_others_are_not() {
    let of = |policy: &str, rules: &[&str]| codes(&real_server(&input(policy, rules)));
    let web = dport("80");
    let set = dport(r#""@web""#);
    let ssh = dport("22");
    let known = state(r#"["established","related"]"#);
    let odd = state(r#""invalid""#);
    let dropped = [Code::FirewallDrops];
    assert_eq!(of("accept", &[&format!("{web},{DROP}")]), dropped);
    assert_eq!(of("accept", &[&format!("{set},{DROP}")]), dropped);
    assert_eq!(of("accept", &[&format!("{ssh},{DROP}")]), []);
    assert_eq!(of("accept", &[&format!("{odd},{DROP}")]), []);
    let allow_known = format!("{known},{ACCEPT}");
    let allow_web = format!("{web},{ACCEPT}");
    assert_eq!(of("drop", &[&allow_known]), dropped);
    assert_eq!(of("drop", &[&allow_known, &allow_web]), []);
    // An established connection is dropped although a new one is let in.
    let new = format!("{},{web},{ACCEPT}", state(r#""new""#));
    assert_eq!(of("drop", &[&new]), dropped);
    // By a map of verdicts.
    let map = r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["established",{"accept":null}],["new",{"drop":null}]]}}}"#;
    assert_eq!(of("accept", &[map]), dropped);
}

#[test]
fn what_cannot_be_judged_is_a_risk_only_if_it_is_about_the_service() {
    let of = |rules: &[&str]| {
        let report = examine(&real_server(&input("accept", rules)));
        let found = report.findings.iter().map(|one| (one.code, one.severity));
        found.collect::<Vec<_>>()
    };
    let client = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"10.0.0.0","len":8}}}}"#;
    let web = dport("80");
    assert_eq!(of(&[&format!("{client},{DROP}")]), []);
    let risk = [(Code::FirewallMayDrop, Severity::Risk)];
    let found = of(&[&format!("{client},{web},{DROP}")]);
    assert_eq!(found[..1], risk, "{found:?}");
    let limit = r#"{"limit":{"rate":10,"per":"second","inv":true}}"#;
    assert_eq!(of(&[&format!("{web},{limit},{DROP}")]), []);
}

#[test]
fn the_fix_of_a_firewall_lets_the_service_in_before_the_rule() {
    let web = dport("80");
    let finding = only(
        real_server(&input("accept", &[&format!("{web},{DROP}")])),
        |_| {},
    );
    assert_eq!(
        finding.fix,
        ["nft insert rule inet f input ip daddr 192.0.2.120 tcp dport 80 counter accept"]
    );
}

#[test]
fn rules_of_iptables_are_walked_through_their_chains() {
    let of = |rules: &str| {
        let mut facts = real_server("");
        let text = format!("*filter\n:INPUT ACCEPT [0:0]\n:web - [0:0]\n{rules}\nCOMMIT\n");
        facts.host.ruleset.add_iptables(&text, Origin::Iptables);
        codes(&facts)
    };
    let dropped = [Code::FirewallDrops];
    assert_eq!(of("-A INPUT -p tcp -m tcp --dport 80 -j DROP"), dropped);
    assert_eq!(of("-A INPUT -p udp -m udp --dport 80 -j DROP"), []);
    assert_eq!(of("-A INPUT ! -i eth0 -j DROP"), []);
    assert_eq!(
        of("-A INPUT -i eth+ -j web\n-A web -d 192.0.2.0/24 -j REJECT"),
        dropped
    );
    assert_eq!(of("-A INPUT -j web\n-A web -j RETURN\n-A web -j DROP"), []);
    assert_eq!(
        of("-A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT\n-A INPUT -j DROP"),
        []
    );
    assert_eq!(
        of(
            "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m comment --comment \"no -j ACCEPT\" -j DROP"
        ),
        dropped
    );
    assert_eq!(
        of("-A INPUT -p tcp --dport 80 -m limit --limit 5/sec -j DROP"),
        []
    );
}
