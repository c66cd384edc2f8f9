//! The whole room in a lab with real nginx: every fault is found in time, by the right check, with
//! its reason, and so is its end. Needs root.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{Authority, Host, Process, Segment, VIP4, have_nginx, nginx, page, root};
use dirigo_health as health;
use health::check::{Check, Http, Kind, Pace, Tls, Trust};
use health::probe::Standing;
use health::reason::Reason;
use health::runner::{self, Handle, Link};
use health::service::{Effect, Rules};
use health::state::{News, ServiceKey, Wanted, WantedDestination, WantedService};

const PACE: Pace = Pace {
    interval: Duration::from_millis(800),
    fast_interval: None,
    jitter_percent: 20,
    timeout: Duration::from_millis(700),
    rise: 2,
    fall: 2,
};
/// What the machine may add when all tests run at once; not part of the promise.
const SLACK: Duration = Duration::from_secs(4);

/// A director that checks one service on both servers.
struct Watch {
    handle: Handle,
    news: Receiver<(Instant, News)>,
}

impl Watch {
    fn new(segment: &Segment, port: u16, mut check: Check) -> Self {
        check.pace = PACE;
        let (tell, news) = channel();
        let handle = segment.director.run(|| {
            runner::spawn(move |news| {
                let now = Instant::now();
                news.into_iter().all(|one| tell.send((now, one)).is_ok())
            })
            .unwrap()
        });
        let name: Arc<str> = "web".into();
        let destination = WantedDestination {
            weight: 1,
            checks: vec![name.clone()],
            believed: Standing::Unchecked,
            resting: false,
        };
        let servers = &segment.servers;
        let service = WantedService {
            rules: Rules::default(),
            destinations: servers
                .iter()
                .map(|server| (server.v4(), destination.clone()))
                .collect(),
        };
        let key = ServiceKey {
            protocol: health::state::Transport::Tcp,
            address: SocketAddr::new(VIP4, port),
        };
        handle.links(links(segment));
        handle.want(Wanted {
            checks: BTreeMap::from([(name, check)]),
            services: BTreeMap::from([(key, service.into())]),
        });
        Self { handle, news }
    }

    /// Waits until a server is in or out; when that was, and why.
    fn until(&self, server: IpAddr, up: bool) -> (Instant, Option<Reason>) {
        loop {
            let (when, news) = self.news.recv_timeout(Duration::from_secs(10)).unwrap();
            let News::Destination {
                server: who,
                effect: Some(effect),
                ..
            } = news
            else {
                continue;
            };
            match effect {
                Effect::Weight(1) if up && who == server => return (when, None),
                Effect::Removed(reason) if !up && who == server => return (when, Some(reason)),
                Effect::Removed(reason) if who != server => panic!("{who} is out: {reason}"),
                _ => {}
            }
        }
    }

    /// A better reason, which comes after the first.
    fn explained(&self) -> Reason {
        loop {
            let (_, news) = self.news.recv_timeout(Duration::from_secs(10)).unwrap();
            if let News::Destination {
                effect: Some(Effect::Removed(reason)),
                ..
            } = news
            {
                return reason;
            }
        }
    }
}

fn links(segment: &Segment) -> BTreeMap<IpAddr, Link> {
    let interface = segment.director.run(|| {
        netlink::Netlink::open()
            .unwrap()
            .link("eth0")
            .unwrap()
            .index
    });
    let via = |host: &Host| Link::Via {
        mac: host.mac(),
        interface,
    };
    let servers = segment.servers.iter();
    servers.map(|server| (server.v4(), via(server))).collect()
}

/// Breaks a server and mends it; says the reason, having looked at the clock.
fn story(watch: &Watch, server: IpAddr, fault: impl FnOnce(), cure: impl FnOnce()) -> Reason {
    watch.until(server, true);
    let began = Instant::now();
    fault();
    let (when, reason) = watch.until(server, false);
    assert_in_time(began, when);
    cure();
    watch.until(server, true);
    reason.unwrap()
}

/// The promise: `fall` × `interval` + `timeout`.
fn assert_in_time(began: Instant, found: Instant) {
    let (limit, took) = (
        PACE.interval * PACE.fall + PACE.timeout + SLACK,
        found.saturating_duration_since(began),
    );
    assert!(took <= limit, "after {took:?}, limit {limit:?}");
}

#[test]
fn killed_hung_and_unbound_servers_go_and_come_back_and_the_other_one_stays() {
    use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    segment.promote();
    let (first, second) = (&segment.servers[0], &segment.servers[1]);
    let _other = nginx(second, "well", None);
    let mut running: Option<(Process, tempfile::TempDir)> = Some(nginx(first, "well", None));
    let watch = Watch::new(&segment, 80, page("well"));

    let process = &running.as_ref().unwrap().0;
    let reason = story(
        &watch,
        first.v4(),
        || process.signal(SIGSTOP),
        || process.signal(SIGCONT),
    );
    let stage = "waiting for the answer to the request";
    let after = PACE.timeout;
    assert_eq!(reason, Reason::Timeout { stage, after }, "hung");

    // Said up once already, by the end of the story before.
    let began = Instant::now();
    drop(running.take());
    let (when, reason) = watch.until(first.v4(), false);
    assert_in_time(began, when);
    assert!(
        matches!(
            reason,
            Some(Reason::Refused { port: 80 } | Reason::Closed { .. })
        ),
        "killed, refusing: {reason:?}"
    );
    running = Some(nginx(first, "well", None));
    watch.until(first.v4(), true);

    let began = Instant::now();
    first.remove(VIP4, "lo");
    let (when, reason) = watch.until(first.v4(), false);
    assert_in_time(began, when);
    assert!(
        matches!(
            reason,
            Some(Reason::Timeout {
                stage: "connecting",
                ..
            })
        ),
        "{reason:?}"
    );
    let better = watch.explained();
    assert!(
        matches!(&better, Reason::OnlyOwnAddress { own, vip, .. } if *own == first.v4() && *vip == VIP4),
        "{better:?}"
    );
    first.add(VIP4, "lo");
    watch.until(first.v4(), true);
    drop(running);
    drop(watch.handle);
}

#[test]
fn a_server_that_begins_to_answer_arp_for_the_virtual_address_goes_and_comes_back() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let first = &segment.servers[0];
    let _servers = [
        nginx(first, "well", None),
        nginx(&segment.servers[1], "well", None),
    ];
    let watch = Watch::new(&segment, 80, page("well"));
    let reason = story(
        &watch,
        first.v4(),
        || first.sysctl("ipv4/conf/all/arp_ignore", "0"),
        || first.sysctl("ipv4/conf/all/arp_ignore", "1"),
    );
    assert_eq!(reason, Reason::Answers { vip: VIP4 });
}

#[test]
fn a_server_whose_certificate_has_expired_is_found_by_https_and_comes_back_with_a_new_one() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let first = &segment.servers[0];
    let authority = Authority::new();
    let good = authority.sign("www.example", (2090, 1, 1));
    let _other = nginx(&segment.servers[1], "well", Some(&good));
    let mut running = Some(nginx(first, "well", Some(&good)));
    let check = common::check(Kind::Http(Http {
        tls: Some(Tls {
            sni: Some("www.example".to_owned()),
            trust: Trust::File(authority.file.clone()),
            days_left: None,
        }),
        ..Http::default()
    }));
    let watch = Watch::new(&segment, 443, check);
    watch.until(first.v4(), true);
    drop(running.take());
    running = Some(nginx(
        first,
        "well",
        Some(&authority.sign("www.example", (2021, 1, 1))),
    ));
    let began = Instant::now();
    let (when, seen) = watch.until(first.v4(), false);
    assert_in_time(began, when);
    let mut seen = seen.unwrap();
    // It may have been noticed between its two lives.
    while !matches!(seen, Reason::Tls(_)) {
        seen = watch.explained();
    }
    assert!(seen.to_string().contains("expired"), "{seen}");
    drop(running.take());
    running = Some(nginx(first, "well", Some(&good)));
    watch.until(first.v4(), true);
    drop(running);
}

#[test]
fn a_server_whose_mac_is_lost_fails_with_the_resolvers_reason() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let first = segment.servers[0].v4();
    let _servers = [
        nginx(&segment.servers[0], "well", None),
        nginx(&segment.servers[1], "well", None),
    ];
    let watch = Watch::new(&segment, 80, page("well"));
    watch.until(first, true);
    let mut lost = links(&segment);
    lost.insert(
        first,
        Link::Unresolved("no answer to ARP on eth0".to_owned()),
    );
    watch.handle.links(lost);
    let (_, reason) = watch.until(first, false);
    assert_eq!(
        reason.unwrap().to_string(),
        "not checked: no answer to ARP on eth0"
    );
    watch.handle.links(links(&segment));
    watch.until(first, true);
}

#[test]
fn the_director_checks_a_service_of_its_own() {
    if !root() {
        return;
    }
    let segment = Segment::new();
    segment.promote();
    let own = segment.director.v4();
    let listener = segment
        .director
        .run(|| std::net::TcpListener::bind((VIP4, 80)).unwrap());
    let (tell, news) = channel();
    let handle = segment.director.run(|| {
        runner::spawn(move |news| {
            let now = Instant::now();
            news.into_iter().all(|one| tell.send((now, one)).is_ok())
        })
        .unwrap()
    });
    let watch = Watch { handle, news };
    let name: Arc<str> = "port".into();
    let destination = WantedDestination {
        weight: 1,
        checks: vec![name.clone()],
        believed: Standing::Unchecked,
        resting: false,
    };
    let service = WantedService {
        rules: Rules::default(),
        destinations: BTreeMap::from([(own, destination)]),
    };
    let key = ServiceKey {
        protocol: health::state::Transport::Tcp,
        address: SocketAddr::new(VIP4, 80),
    };
    let mut check = common::check(Kind::Tcp);
    check.pace = PACE;
    watch.handle.want(Wanted {
        checks: BTreeMap::from([(name, check)]),
        services: BTreeMap::from([(key, service.into())]),
    });
    watch.handle.links(BTreeMap::from([(own, Link::Local)]));
    watch.until(own, true);
    drop(listener);
    let (_, reason) = watch.until(own, false);
    assert_eq!(reason, Some(Reason::Refused { port: 80 }));
}
