//! A real server that answers nobody is noticed by its connections, before its next check. With real frames.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::{DestinationHealth, HealthState};
use common::{CHILD, FILES, World, root, server, until, vip};
use dirigo_daemon as daemon;
use netlink::{AddressFlags, Namespace, Netlink};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

fn health(world: &World, server: IpAddr) -> DestinationHealth {
    let services = world.api().health().unwrap();
    let mut all = services.into_iter().flat_map(|one| one.destinations);
    all.find(|one| one.server == server).unwrap()
}

fn is(world: &World, n: u8, state: HealthState) -> bool {
    health(world, server(n)).health == state
}

/// A second client address.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 21);

fn add_client(client: &Namespace) {
    client
        .run(|| {
            let netlink = Netlink::open().unwrap();
            let index = netlink.link("eth0").unwrap().index;
            let flags = AddressFlags::default();
            netlink.add_address(index, OTHER.into(), 24, flags).unwrap();
        })
        .unwrap();
}

/// Begins a connection from this address, and does not wait for an answer.
fn begin(from: Ipv4Addr) -> OwnedFd {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    let [a, b, c, d] = from.octets();
    bind(stream.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).unwrap();
    let IpAddr::V4(vip) = vip() else {
        panic!("the virtual address is IPv4");
    };
    let [a, b, c, d] = vip.octets();
    let _in_progress = connect(stream.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 80));
    stream
}

fn drop_new_connections(server: &Namespace) {
    for rule in [
        "add table inet t",
        "add chain inet t in { type filter hook input priority 0; }",
        "add rule inet t in tcp flags & (syn|ack) == syn drop",
    ] {
        let mut nft = Command::new("nft");
        let mut nft = server.spawn(nft.arg(rule)).unwrap();
        assert!(nft.wait().unwrap().success(), "{rule}");
    }
}

#[test]
fn a_server_that_drops_syns_is_suspected_and_found_down_long_before_its_next_check() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let checked = "protocol = \"tcp\"\nchecks = [\"port\"]\n";
    let config = world.classic("rr").replace("protocol = \"tcp\"\n", checked)
        + "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"30m\"\ntimeout = \"500ms\"\nfall = 2\n";
    world.start(&config);
    add_client(&world.client);
    until("both are up", || {
        is(&world, 1, HealthState::Up) && is(&world, 2, HealthState::Up)
    });
    let mut established = loop {
        let open = world.connect().unwrap();
        if open.server == 2 {
            break open;
        }
    };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = &world.client;
        scope.spawn(|| {
            client
                .run(|| {
                    let mut open = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        open.push(begin(Ipv4Addr::new(10, 9, 0, 1)));
                        open.push(begin(Ipv4Addr::new(10, 9, 0, 1)));
                        open.push(begin(OTHER));
                        open.push(begin(OTHER));
                        std::thread::sleep(Duration::from_millis(100));
                    }
                })
                .unwrap();
        });
        let services = || world.api().services().unwrap();
        let busy = |least: u32| {
            let destinations = services().remove(0).destinations;
            destinations.iter().all(|one| one.active >= least)
        };
        until("two seconds of connections are there", || busy(50));
        assert!(
            !world.log().contains("real server suspected"),
            "{}",
            world.log()
        );
        drop_new_connections(&world.servers[0]);
        until("it is down", || is(&world, 1, HealthState::Down));
        is_over.store(true, Ordering::Relaxed);
    });
    let log = world.log();
    assert_eq!(log.matches("real server suspected").count(), 1, "{log}");
    assert!(log.contains("hardly one went on after its SYN"), "{log}");
    assert!(is(&world, 2, HealthState::Up));
    assert!(established.echoes());
}
