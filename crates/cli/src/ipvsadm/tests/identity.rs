//! Save, clear, restore: the table is the same.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};

use api::{DestinationSettings, ServiceKey, ServiceSettings};
use proptest::prelude::*;

use super::*;
use crate::ipvsadm::Wrapper;

/// What a table says, without order and counters.
type Content = BTreeMap<ServiceKey, (ServiceSettings, BTreeMap<SocketAddr, DestinationSettings>)>;

fn content(table: &Table) -> Content {
    let services = table.services.iter().map(|service| {
        let destinations = service.destinations.iter();
        let destinations = destinations.map(|one| (one.destination, one.settings.clone()));
        let settings = service.settings.clone();
        (service.service, (settings, destinations.collect()))
    });
    services.collect()
}

/// A service's words, and whether it is IPv6.
fn service() -> impl Strategy<Value = (String, bool)> {
    let port = prop_oneof![1 => Just(0u16), 9 => 1u16..];
    let switch = proptest::sample::select(vec!["-t", "-u", "--sctp-service"]);
    prop_oneof![
        4 => (switch.clone(), any::<Ipv4Addr>(), port.clone())
            .prop_map(|(switch, address, port)| (format!("{switch} {address}:{port}"), false)),
        2 => (switch, any::<Ipv6Addr>(), port)
            .prop_map(|(switch, address, port)| (format!("{switch} [{address}]:{port}"), true)),
        // Marks from 2^31 up are saved as negative numbers, which -R then refuses.
        1 => (1u32..=0x7fff_ffff).prop_map(|mark| (format!("-f {mark}"), false)),
        1 => (1u32..=0x7fff_ffff).prop_map(|mark| (format!("-f {mark} -6"), true)),
    ]
}

/// What can follow a service of a family in `-A`.
fn settings(is_ipv6: bool) -> impl Strategy<Value = String> {
    let scheduler = proptest::sample::select(vec![
        "",
        " -s rr",
        " -s wrr",
        " -s lblcr",
        " -s twos",
        " -s sh",
        " -s mh -b mh-port",
        " -s sh -b sh-fallback,sh-port",
        " -s rr -b flag-1,flag-3",
        " -b flag-2",
    ]);
    let mask = match is_ipv6 {
        true => (1u8..=128).prop_map(|bits| format!(" -M {bits}")).boxed(),
        false => any::<Ipv4Addr>()
            .prop_map(|mask| format!(" -M {mask}"))
            .boxed(),
    };
    let persistence = prop_oneof![
        2 => Just(" -p".to_owned()),
        2 => (1u32..=2_678_400).prop_map(|time| format!(" -p {time}")),
        2 => (1u32..=2_678_400, mask).prop_map(|(time, mask)| format!(" -p {time}{mask}")),
        4 => Just(String::new()),
    ];
    let rest = proptest::sample::select(vec!["", "", " -o", " --pe sip"]);
    (scheduler, persistence, rest)
        .prop_map(|(scheduler, persistence, rest)| format!("{scheduler}{persistence}{rest}"))
}

/// What can follow a service of a family in `-a`.
fn server(is_ipv6: bool) -> impl Strategy<Value = String> {
    let v4 = (1u32..=0xdfff_ffff, any::<u16>())
        .prop_map(|(address, port)| format!("{}:{port}", Ipv4Addr::from(address)));
    let v6 = (1u16.., any::<u16>()).prop_map(|(host, port)| format!("[2001:db8::{host:x}]:{port}"));
    let own = if is_ipv6 {
        v6.clone().boxed()
    } else {
        v4.clone().boxed()
    };
    let checksum = |switches: &[&str]| {
        let switches = switches
            .iter()
            .map(|one| (*one).to_owned())
            .collect::<Vec<_>>();
        proptest::sample::select(switches)
    };
    let tunnel = prop_oneof![
        Just(String::new()),
        (
            1u16..,
            checksum(&["", " --tun-nocsum", " --tun-csum", " --tun-remcsum"])
        )
            .prop_map(|(port, checksum)| format!(" --tun-type gue --tun-port {port}{checksum}")),
        checksum(&["", " --tun-nocsum", " --tun-csum"])
            .prop_map(|checksum| format!(" --tun-type gre{checksum}")),
    ];
    let weight = prop_oneof![
        Just(String::new()),
        (0u32..=2_147_483_647).prop_map(|w| format!(" -w {w}"))
    ];
    let same = (own, proptest::sample::select(vec!["", " -g", " -m"]))
        .prop_map(|(address, method)| format!("{address}{method}"));
    let tunnelled =
        (prop_oneof![v4, v6], tunnel).prop_map(|(address, tunnel)| format!("{address} -i{tunnel}"));
    (prop_oneof![3 => same, 1 => tunnelled], weight)
        .prop_map(|(server, weight)| format!(" -r {server}{weight}"))
}

/// The lines of a table. Some are refused (a port 0 without -p, an address twice): as in life.
fn table() -> impl Strategy<Value = Vec<String>> {
    let one = service().prop_flat_map(|(name, is_ipv6)| {
        let servers = proptest::collection::vec(server(is_ipv6), 0..5);
        (Just(name), settings(is_ipv6), servers).prop_map(|(name, settings, servers)| {
            let servers = servers
                .into_iter()
                .map(|server| format!("-a {name}{server}"));
            std::iter::once(format!("-A {name}{settings}"))
                .chain(servers)
                .collect::<Vec<_>>()
        })
    });
    proptest::collection::vec(one, 0..6).prop_map(|services| services.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_table_that_is_saved_cleared_and_restored_is_the_same(lines in table()) {
        let mut table = Table::default();
        for line in &lines {
            let words: Vec<&str> = line.split(' ').collect();
            run(&mut table, &words, "");
        }
        let before = content(&table);
        let saved = run(&mut table, &["-Sn"], "").out;

        prop_assert_eq!(run(&mut table, &["-C"], "").code, 0);
        let restored = run(&mut table, &["-R"], &saved);

        prop_assert_eq!(restored.err, "", "{}", &saved);
        prop_assert_eq!(content(&table), before, "{}", &saved);
    }
}

#[test]
fn ipvsadm_restore_drops_comments_and_empties_the_table_first() {
    let mut table = one_service();
    let rules = b"# all of it\n-A -u 192.0.2.100:53 -s rr\n# and no more";
    let restored = with_ipvsadm(&mut table, rules, |ipvsadm| {
        ipvsadm.wrap(Wrapper::Restore, &[])
    });
    assert_eq!(
        (restored.code, restored.out, restored.err),
        (0, String::new(), String::new())
    );
    let saved = with_ipvsadm(&mut table, b"", |ipvsadm| {
        ipvsadm.wrap(Wrapper::Save, &["-n".to_owned()])
    });
    assert_eq!(
        (saved.code, saved.out.as_str()),
        (0, "-A -u 192.0.2.100:53 -s rr\n")
    );
}

#[test]
fn ipvsadm_save_explains_itself_when_it_is_asked_for_more() {
    let asked = with_ipvsadm(&mut one_service(), b"", |ipvsadm| {
        ipvsadm.wrap(Wrapper::Save, &["--nosuch".to_owned()])
    });
    assert_eq!((asked.code, asked.out.as_str()), (1, ""));
    assert!(
        asked.err.starts_with("ipvsadm-save: Script to save"),
        "{}",
        asked.err
    );
}
