//! What checking costs: 2,000 distinct probes at 2 s, by HTTP on the true path. That is long; run it by
//! `cargo test --release -p dirigo-health --test load -- --ignored --nocapture`. A tenth of it runs always, for
//! what has to be true at any size: all are up, and none goes down.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::{Segment, VIP4, have_nginx, nginx, page, root};
use dirigo_health as health;
use health::check::Pace;
use health::probe::Standing;
use health::runner::{self, Link};
use health::service::Rules;
use health::state::{News, ServiceKey, Transport, Wanted, WantedDestination, WantedService};

/// How many checks each of the two servers has, and how long they are watched.
#[derive(Clone, Copy)]
struct Load {
    checks: usize,
    watched: Duration,
}

/// Processor time of this process: the probes and the kernel's work for them.
fn processor_time() -> Duration {
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let of = |time: nix::sys::time::TimeVal| {
        Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000)
    };
    of(used.user_time()) + of(used.system_time())
}

#[test]
#[ignore = "takes half a minute and a processor to itself"]
fn two_thousand_probes_at_two_seconds_keep_their_servers_up() {
    keep_up(Load {
        checks: 1000,
        watched: Duration::from_secs(20),
    });
}

#[test]
fn two_hundred_probes_at_two_seconds_keep_their_servers_up() {
    keep_up(Load {
        checks: 100,
        watched: Duration::from_secs(4),
    });
}

fn keep_up(Load { checks, watched }: Load) {
    if !root() || !have_nginx() {
        return;
    }
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, most) = nix::sys::resource::getrlimit(limit).unwrap();
    nix::sys::resource::setrlimit(limit, most, most).unwrap();
    let segment = Segment::new();
    segment.promote();
    let servers = &segment.servers;
    let _running = [
        nginx(&servers[0], "well", None),
        nginx(&servers[1], "well", None),
    ];
    let names: Vec<Arc<str>> = (0..checks).map(|n| format!("web{n}").into()).collect();
    let mut check = page("well");
    check.pace = Pace::default();
    let destination = WantedDestination {
        weight: 1,
        checks: names.clone(),
        believed: Standing::Unchecked,
    };
    let service = WantedService {
        rules: Rules::default(),
        destinations: servers
            .iter()
            .map(|server| (server.v4(), destination.clone()))
            .collect(),
    };
    let key = ServiceKey {
        protocol: Transport::Tcp,
        address: SocketAddr::new(VIP4, 80),
    };
    let (tell, news) = channel();
    let handle = segment.director.run(|| {
        let handle = runner::spawn(move |news| tell.send(news).is_ok()).unwrap();
        let interface = netlink::Netlink::open()
            .unwrap()
            .link("eth0")
            .unwrap()
            .index;
        let via = |server: &common::Host| Link::Via {
            mac: server.mac(),
            interface,
        };
        let links = servers.iter().map(|server| (server.v4(), via(server)));
        handle.links(links.collect());
        handle
    });
    let begun = Instant::now();
    handle.want(Wanted {
        checks: names
            .iter()
            .map(|name| (name.clone(), check.clone()))
            .collect(),
        services: BTreeMap::from([(key, service.into())]),
    });
    let mut up = BTreeSet::new();
    while up.len() < 2 * checks {
        for one in news.recv_timeout(Duration::from_secs(10)).unwrap() {
            if let News::Probe { key, change } = one {
                assert_eq!(change.standing, Standing::Up, "{key:?}: {change:?}");
                up.insert(key);
            }
        }
    }
    println!(
        "{} probes are up after {:.1} s",
        2 * checks,
        begun.elapsed().as_secs_f64()
    );
    let before = processor_time();
    std::thread::sleep(watched);
    let used = processor_time() - before;
    let share = used.as_secs_f64() / watched.as_secs_f64() * 100.0;
    println!("{checks} HTTP checks a second take {share:.1} % of one core");
    let down: Vec<_> = news.try_iter().flatten().collect();
    assert!(down.is_empty(), "{down:?}");
}
