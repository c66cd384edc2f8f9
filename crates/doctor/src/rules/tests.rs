//! Each rule on facts made by hand. That the facts are gathered rightly is the lab's to prove
//! (`crates/lab/tests/doctor.rs`).

mod firewall;

use std::net::IpAddr;

use super::examine;
use crate::facts::{
    Address, Answer, Claim, Daemon, Destination, Echo, Facts, Host, Key, Link, Listener, Neighbour,
    Path, Role, Route, Segment, Service, Xdp,
};
use crate::finding::{Code, Finding, Severity};

const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 8];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 7];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn vip() -> IpAddr {
    ip("192.0.2.120")
}

fn server() -> IpAddr {
    ip("192.0.2.107")
}

fn link() -> Link {
    Link {
        index: 2,
        name: "eth0".to_owned(),
        mac: DIRECTOR_MAC,
        mtu: 1_500,
        up: true,
        carrier: true,
        driver: Some("mlx5_core".to_owned()),
        xdp: Some(Xdp {
            mode: "native".to_owned(),
            program: 7,
            name: Some("director".to_owned()),
            holder: None,
        }),
        queues: Some((8, 8, true)),
        rss: Some((0..8).collect()),
        rx_ring: Some((1_024, 8_192)),
        ..Link::default()
    }
}

fn address(interface: &str, address: IpAddr, prefix: u8) -> Address {
    Address {
        interface: interface.to_owned(),
        address,
        prefix,
        tentative: false,
        dad_failed: false,
        deprecated: false,
    }
}

fn claim(address: IpAddr, mac: [u8; 6], answers: u32, announcements: u32) -> Claim {
    Claim {
        address,
        interface: "eth0".to_owned(),
        mac,
        answers,
        announcements,
    }
}

fn key() -> Key {
    Key {
        protocol: api::Protocol::Tcp,
        address: (vip(), 80).into(),
        mark: None,
    }
}

fn path(answer: Answer) -> Path {
    Path {
        service: key(),
        server: Some(server()),
        mac: SERVER_MAC,
        answer,
        at_real_address: None,
        vip_echo: None,
    }
}

/// A director with one service and one real server, where nothing is wrong.
fn director() -> Facts {
    Facts {
        role: Role::Director,
        host: Host {
            kernel: "6.12.1-amd64".to_owned(),
            links: vec![link()],
            addresses: vec![
                address("eth0", ip("192.0.2.8"), 24),
                address("eth0", vip(), 32),
            ],
            bpffs: true,
            clocksource: Some("tsc".to_owned()),
            clocksources: vec!["tsc".to_owned(), "hpet".to_owned()],
            processors: 8,
            memory_kib: Some((8 << 20, 16 << 20)),
            conntrack: Some((10, 262_144)),
            ..Host::default()
        },
        segment: Segment {
            vips: vec![vip()],
            services: vec![Service {
                key: key(),
                destinations: vec![Destination {
                    address: (server(), 80).into(),
                    weight: 1,
                    local: false,
                    mac: None,
                    unresolved: None,
                }],
            }],
            daemon: Some(Daemon {
                instance: "default".to_owned(),
                pid: 1,
                command: vec!["dirigo".to_owned(), "run".to_owned()],
                unit: None,
                interfaces: vec![(
                    "eth0".to_owned(),
                    netlink::mac_text(&DIRECTOR_MAC),
                    "native".to_owned(),
                )],
                memory: None,
                here: true,
            }),
            ..Segment::default()
        },
        claims: vec![claim(server(), SERVER_MAC, 3, 0)],
        asked: vec![vip(), server(), ip("192.0.2.8")],
        paths: vec![path(Answer::Accepted { mss: Some(1_460) })],
        echoes: vec![Echo {
            address: server(),
            mac: SERVER_MAC,
            interface: "eth0".to_owned(),
            small: true,
            large_bytes: 1_500,
            large: true,
        }],
        ..Facts::default()
    }
}

/// The same segment seen from a client.
fn witness() -> Facts {
    let mut facts = director();
    facts.role = Role::Witness;
    facts.segment.daemon = None;
    facts.segment.directors = vec![ip("192.0.2.8")];
    facts.host.links[0].mac = [2, 0, 0, 0, 1, 0x11];
    facts.host.links[0].xdp = None;
    facts.host.addresses = vec![address("eth0", ip("192.0.2.111"), 24)];
    facts.claims.push(claim(vip(), DIRECTOR_MAC, 3, 0));
    facts
        .claims
        .push(claim(ip("192.0.2.8"), DIRECTOR_MAC, 3, 0));
    facts.paths.clear();
    facts
}

fn codes(facts: &Facts) -> Vec<Code> {
    examine(facts)
        .findings
        .iter()
        .map(|finding| finding.code)
        .collect()
}

/// The only finding after a change.
fn only(mut facts: Facts, change: impl FnOnce(&mut Facts)) -> Finding {
    change(&mut facts);
    let report = examine(&facts);
    let [finding] = report.findings.as_slice() else {
        panic!("{:#?}", report.findings);
    };
    assert!(!finding.fix.is_empty(), "{finding:#?}");
    finding.clone()
}

fn of_link(change: impl FnOnce(&mut Link)) -> Finding {
    only(director(), |facts| change(&mut facts.host.links[0]))
}

#[test]
fn a_right_set_up_has_no_finding() {
    assert_eq!(codes(&director()), []);
    assert_eq!(codes(&witness()), []);
}

#[test]
fn a_program_that_was_taken_off_is_missing_and_a_fresh_start_attaches_it() {
    let finding = of_link(|link| link.xdp = None);
    assert_eq!(finding.code, Code::XdpMissing);
    assert_eq!(finding.fix[0], "dirigo down --release --instance default");
    assert_eq!(
        finding.fix[1],
        "setsid dirigo run >/dev/null 2>&1 </dev/null &"
    );
}

#[test]
fn generic_mode_names_its_cause() {
    let generic = |link: &mut Link| link.xdp.as_mut().unwrap().mode = "generic".to_owned();
    let plain = of_link(generic);
    assert_eq!(
        (plain.code, plain.severity),
        (Code::XdpGeneric, Severity::Risk)
    );
    let large = only(director(), |facts| {
        generic(&mut facts.host.links[0]);
        facts.host.links[0].mtu = 9_000;
        facts.paths[0].answer = Answer::Accepted { mss: Some(8_960) };
    });
    assert!(large.why.contains("An MTU of 9000"), "{}", large.why);
    assert_eq!(large.fix[0], "ip link set dev eth0 mtu 1500");
    let vlan = of_link(|link| {
        generic(link);
        link.kind = "vlan".to_owned();
    });
    assert!(vlan.why.contains("kind vlan"), "{}", vlan.why);
}

#[test]
fn another_program_in_the_directors_place_is_a_problem_elsewhere_a_risk() {
    let foreign = |link: &mut Link| link.xdp.as_mut().unwrap().name = Some("xdp_filter".to_owned());
    let here = of_link(foreign);
    assert_eq!(
        (here.code, here.severity),
        (Code::XdpForeign, Severity::Problem)
    );
    assert_eq!(here.fix, ["ip link set dev eth0 xdp off"]);
    let there = only(witness(), |facts| {
        let mut xdp = link().xdp;
        xdp.as_mut().unwrap().name = Some("xdp_filter".to_owned());
        xdp.as_mut().unwrap().holder = Some(4_711);
        facts.host.links[0].xdp = xdp;
    });
    assert_eq!(there.severity, Severity::Risk);
    assert_eq!(there.fix, ["kill 4711"]);
}

#[test]
fn what_a_card_does_is_judged_by_what_it_could() {
    assert_eq!(
        of_link(|link| link.lro = true).fix,
        ["ethtool -K eth0 lro off"]
    );
    let few = of_link(|link| {
        link.queues = Some((2, 16, true));
        link.rss = Some(vec![0, 1]);
    });
    assert_eq!(few.fix, ["ethtool -L eth0 combined 8"]);
    let uneven = of_link(|link| link.rss = Some(vec![0, 1, 2]));
    assert_eq!(
        (uneven.code, uneven.fix[0].as_str()),
        (Code::RssUneven, "ethtool -X eth0 equal 8")
    );
    let small = of_link(|link| link.rx_ring = Some((256, 4_096)));
    assert_eq!(small.fix, ["ethtool -G eth0 rx 1024"]);
    // A card that cannot do better is no finding, nor is a virtual link that has no card.
    let mut facts = director();
    facts.host.links[0].rx_ring = Some((256, 256));
    facts.host.links[0].queues = Some((1, 1, true));
    facts.host.links[0].rss = None;
    assert_eq!(codes(&facts), []);
}

#[test]
fn a_veths_checksum_offload_is_a_problem_for_clients() {
    let veth = |facts: &mut Facts| {
        facts.host.links[0].kind = "veth".to_owned();
        facts.host.links[0].tx_checksum = true;
    };
    assert_eq!(only(director(), veth).severity, Severity::Risk);
    assert_eq!(only(witness(), veth).severity, Severity::Problem);
}

#[test]
fn an_old_kernel_an_interpreter_and_a_slow_clock_are_risks() {
    let old = only(director(), |facts| facts.host.kernel = "5.10.0".to_owned());
    assert_eq!(old.code, Code::KernelOld);
    let jit = only(director(), |facts| {
        facts
            .host
            .sysctls
            .insert("net/core/bpf_jit_enable".to_owned(), 0);
    });
    assert_eq!(jit.code, Code::BpfJitOff);
    let clock = only(director(), |facts| {
        facts.host.clocksource = Some("hpet".to_owned())
    });
    assert!(clock.fix[0].starts_with("echo tsc > "), "{:?}", clock.fix);
    let bpffs = only(director(), |facts| facts.host.bpffs = false);
    assert_eq!(bpffs.fix, ["mount -t bpf bpf /sys/fs/bpf"]);
}

#[test]
fn a_full_connection_tracking_table_and_little_memory_are_found() {
    let full = only(director(), |facts| {
        facts.host.conntrack = Some((60_000, 65_536))
    });
    assert_eq!(
        full.fix,
        ["sysctl -w net.netfilter.nf_conntrack_max=262144"]
    );
    let memory = only(director(), |facts| {
        facts.host.memory_kib = Some((100, 16 << 20))
    });
    assert_eq!(memory.code, Code::MemoryLow);
    let group = only(director(), |facts| {
        facts.segment.daemon.as_mut().unwrap().memory = Some((1_000, 950));
    });
    assert_eq!(
        group.fix,
        ["systemctl set-property dirigo.service MemoryMax=infinity"]
    );
}

#[test]
fn ipvs_with_the_same_service_is_a_risk() {
    let finding = only(director(), |facts| {
        facts.host.ipvs.push("192.0.2.120:80".parse().unwrap())
    });
    assert_eq!(finding.fix, ["ipvsadm -D -t 192.0.2.120:80"]);
}

#[test]
fn a_wrong_answer_names_the_server_or_the_stranger() {
    let server_answers = only(director(), |facts| {
        facts.claims.push(claim(vip(), SERVER_MAC, 2, 0))
    });
    assert_eq!(server_answers.code, Code::VipAnsweredByServer);
    assert_eq!(server_answers.host.address, Some(server()));
    let stranger = only(witness(), |facts| {
        facts.claims.push(claim(vip(), OTHER_MAC, 1, 0))
    });
    assert_eq!(stranger.code, Code::VipAnsweredByOther);
    assert_eq!(stranger.host.mac.as_deref(), Some("02:00:00:00:09:09"));
    let announces = only(director(), |facts| {
        facts.claims.push(claim(vip(), SERVER_MAC, 0, 1))
    });
    assert_eq!(
        (announces.code, announces.host.address),
        (Code::VipAnnounced, Some(server()))
    );
}

#[test]
fn two_strangers_are_both_named_when_nobody_knows_the_director() {
    let finding = only(witness(), |facts| {
        facts.segment.directors.clear();
        facts.claims.push(claim(vip(), OTHER_MAC, 1, 0));
    });
    assert_eq!(finding.code, Code::VipAnsweredBySeveral);
    for mac in [DIRECTOR_MAC, OTHER_MAC] {
        assert!(
            finding.seen.contains(&netlink::mac_text(&mac)),
            "{}",
            finding.seen
        );
    }
}

#[test]
fn a_director_that_does_no_arp_blames_no_server_for_silence() {
    let mut deaf = director();
    deaf.claims.clear();
    deaf.paths.clear();
    deaf.echoes.clear();
    deaf.host.links[0].no_arp = true;
    let codes = codes(&deaf);
    assert!(codes.contains(&Code::ArpOff), "{codes:?}");
    assert!(!codes.contains(&Code::ServerSilent), "{codes:?}");
}

#[test]
fn a_server_that_nobody_hears_is_silent_unless_it_is_drained() {
    let silent = |facts: &mut Facts| {
        facts.claims.clear();
        facts.paths.clear();
        facts.echoes.clear();
    };
    assert_eq!(only(director(), silent).code, Code::ServerSilent);
    let mut drained = director();
    silent(&mut drained);
    drained.segment.services[0].destinations[0].weight = 0;
    assert_eq!(codes(&drained), []);
}

fn neighbour(address: IpAddr, mac: [u8; 6], state: &str) -> Neighbour {
    Neighbour {
        interface: "eth0".to_owned(),
        address,
        mac: Some(mac),
        state: state.to_owned(),
        usable: state != "failed",
        changes: 0,
    }
}

#[test]
fn a_neighbour_entry_is_wrong_failed_or_flapping() {
    let add = |entry: Neighbour| only(director(), |facts| facts.host.neighbours.push(entry));
    assert_eq!(
        add(neighbour(server(), OTHER_MAC, "permanent")).code,
        Code::NeighbourWrong
    );
    assert_eq!(
        add(neighbour(server(), SERVER_MAC, "failed")).code,
        Code::NeighbourFailed
    );
    let mut restless = neighbour(server(), SERVER_MAC, "reachable");
    restless.changes = 5;
    assert_eq!(add(restless).code, Code::NeighbourFlapping);
    // A stale entry with an old MAC is asked for again before it is used for long.
    let mut facts = director();
    facts
        .host
        .neighbours
        .push(neighbour(server(), OTHER_MAC, "stale"));
    assert_eq!(codes(&facts), []);
}

#[test]
fn a_client_misled_about_the_vip_names_the_server_and_mends_itself() {
    let finding = only(witness(), |facts| {
        facts
            .host
            .neighbours
            .push(neighbour(vip(), SERVER_MAC, "stale"));
    });
    assert_eq!(
        (finding.code, finding.host.address),
        (Code::NeighbourWrong, Some(server()))
    );
    assert!(finding.fix_on.is_some_and(|place| place.here));
}

#[test]
fn a_server_that_answers_but_is_not_used_says_why() {
    let finding = only(director(), |facts| {
        facts.segment.services[0].destinations[0].unresolved = Some("behind a router".to_owned());
        let route = Route {
            interface: "eth0".to_owned(),
            gateway: Some(ip("192.0.2.1")),
            local: false,
        };
        facts.host.routes.insert(server(), Some(route));
    });
    assert_eq!(finding.code, Code::ServerUnresolved);
    assert_eq!(
        finding.fix,
        ["dirigo ipvsadm -d -t 192.0.2.120:80 -r 192.0.2.107:80"]
    );
}

#[test]
fn segments_larger_than_the_director_carries_are_a_problem() {
    let finding = only(director(), |facts| {
        facts.host.links[0].mtu = 1_400;
        facts.echoes[0].large_bytes = 1_400;
    });
    assert_eq!((finding.code, finding.host.here), (Code::MtuMismatch, true));
    assert_eq!(finding.fix, ["ip link set dev eth0 mtu 1500"]);
    let theirs = only(director(), |facts| {
        facts.paths[0].answer = Answer::Accepted { mss: Some(1_360) };
    });
    assert_eq!(
        (theirs.severity, theirs.host.address),
        (Severity::Risk, Some(server()))
    );
}

#[test]
fn when_nobody_takes_a_jumbo_packet_the_one_who_sends_it_is_odd() {
    let finding = only(director(), |facts| {
        facts.host.links[0].mtu = 9_000;
        facts.paths[0].answer = Answer::Accepted { mss: None };
        facts.echoes[0].large_bytes = 9_000;
        facts.echoes[0].large = false;
        let mut other = facts.echoes[0].clone();
        other.mac = OTHER_MAC;
        facts.echoes.push(other);
    });
    assert_eq!((finding.code, finding.host.here), (Code::MtuMismatch, true));
}

#[test]
fn silence_is_told_apart_by_what_else_the_server_answers() {
    let silent = |vip_echo, at_real| {
        only(director(), |facts| {
            facts.paths[0].answer = Answer::Silent;
            facts.paths[0].vip_echo = Some(vip_echo);
            facts.paths[0].at_real_address = Some(at_real);
        })
        .code
    };
    let accepted = Answer::Accepted { mss: None };
    assert_eq!(silent(false, accepted), Code::VipMissingOnServer);
    assert_eq!(silent(true, accepted), Code::ServiceFiltered);
    assert_eq!(silent(true, Answer::Silent), Code::ServiceFiltered);
    let closed = |at_real| {
        only(director(), |facts| {
            facts.paths[0].answer = Answer::Refused;
            facts.paths[0].at_real_address = Some(at_real);
        })
        .code
    };
    assert_eq!(closed(accepted), Code::ServiceOnRealAddressOnly);
    assert_eq!(closed(Answer::Refused), Code::ServiceClosed);
}

/// A real server, with what its firewall says.
fn real_server(nft: &str) -> Facts {
    let mut facts = witness();
    facts.role = Role::Realserver;
    facts.host.links[0].mac = SERVER_MAC;
    facts.host.addresses = vec![address("eth0", server(), 24), address("lo", vip(), 32)];
    facts.claims.retain(|claim| claim.mac != SERVER_MAC);
    let held = realserver::observe::Held {
        interface: "lo".to_owned(),
        place: realserver::observe::Place::Loopback,
        address: vip(),
        prefix: 32,
        host_scope: false,
        tentative: false,
        dad_failed: false,
        deprecated: false,
    };
    facts.host.realserver.lo_up = true;
    facts.host.realserver.addresses = vec![held];
    facts.host.listeners = vec![Listener {
        protocol: api::Protocol::Tcp,
        address: "0.0.0.0:80".parse().unwrap(),
    }];
    if !nft.is_empty() {
        facts.host.ruleset.add_nft(nft, "").unwrap();
    }
    facts
}

#[test]
fn what_listens_is_compared_with_the_service() {
    assert_eq!(codes(&real_server("")), []);
    let mut facts = real_server("");
    facts.host.listeners[0].address = "[::]:80".parse().unwrap();
    assert_eq!(codes(&facts), []);
    facts.host.listeners[0].address = (server(), 80).into();
    assert_eq!(codes(&facts), [Code::ServiceOnRealAddressOnly]);
    facts.host.listeners.clear();
    assert_eq!(codes(&facts), [Code::ServiceClosed]);
}

#[test]
fn a_default_route_over_the_director_is_found() {
    let finding = only(real_server(""), |facts| {
        let route = Route {
            interface: "eth0".to_owned(),
            gateway: Some(ip("192.0.2.8")),
            local: false,
        };
        facts.host.routes.insert(ip("203.0.113.1"), Some(route));
    });
    assert_eq!(finding.code, Code::ReplyThroughDirector);
}

#[test]
fn every_code_is_explained_in_the_manual() {
    let manual = include_str!("../../../../docs/doctor.md");
    for code in Code::ALL {
        let entry = format!("`{}`", code.text());
        assert!(manual.contains(&entry), "docs/doctor.md has no {entry}");
    }
}
