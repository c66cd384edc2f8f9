//! Interfaces other than the usual one: a real server behind another interface, a driver without XDP.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::IpAddr;

use common::{CHILD, FILES, World, root, until, vip};
use dirigo_daemon as daemon;
use netlink::{AddressFlags, Netlink};

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

/// The director's second interface and, behind it, real server 1's second.
const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 8, 0, 2));
const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 8, 0, 11));

#[test]
fn a_server_behind_another_interface_gets_its_frames_there_and_answers_the_client_directly() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let _pass = wire_directly(&world);
    let config = format!(
        "[director]\ninterface = \"eth0\"\n[[service]]\naddress = \"{}:80\"\nprotocol = \"tcp\"\n\
         scheduler = \"rr\"\n[[service.destination]]\naddress = \"{FAR}\"\n",
        vip()
    );
    world.start(&config);
    until("the server is resolved", || world.is_resolved(FAR));

    let mut open = world.connect().unwrap();

    assert_eq!(open.server, 1);
    assert!(open.echoes());
    let counters = world.api().status().unwrap().counters;
    assert!(counters["redirected"] >= 4, "{counters:?}");
    assert_eq!(counters["transmitted"], 0);
}

/// A veth between the director and real server 1, whose end lets redirected frames in.
fn wire_directly(world: &World) -> dataplane::PassProgram {
    let (director, server) = (&world.director, &world.servers[0]);
    director
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink.add_veth("eth1", "eth1", Some(server.fd())).unwrap();
            address(&netlink, NEAR);
        })
        .unwrap();
    server
        .run(|| {
            address(&Netlink::open().unwrap(), FAR);
            // The answer leaves by the client's segment, so what comes in here looks misplaced.
            for name in ["all", "eth1"] {
                let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
                std::fs::write(path, "0").unwrap();
            }
            dataplane::attach_pass("eth1").unwrap()
        })
        .unwrap()
}

fn address(netlink: &Netlink, address: IpAddr) {
    let index = netlink.link("eth1").unwrap().index;
    let flags = AddressFlags {
        no_dad: true,
        ..AddressFlags::default()
    };
    netlink.add_address(index, address, 24, flags).unwrap();
    netlink.set_up(index).unwrap();
}

/// The director's interface is one whose driver has no XDP: a bridge.
fn onto_a_bridge(world: &World) {
    world
        .director
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink.add_bridge("br1").unwrap();
            let (port, bridge) = (netlink.link("eth0").unwrap(), netlink.link("br1").unwrap());
            netlink.set_mac(bridge.index, port.mac).unwrap();
            netlink.set_master(port.index, Some(bridge.index)).unwrap();
            let address = IpAddr::from([10, 9, 0, 2]);
            netlink.delete_address(port.index, address, 24).unwrap();
            netlink
                .add_address(bridge.index, address, 24, AddressFlags::default())
                .unwrap();
            netlink.set_up(bridge.index).unwrap();
        })
        .unwrap();
}

#[test]
fn a_driver_without_xdp_forwards_in_generic_mode_and_status_says_so() {
    if !root() {
        return;
    }
    let mut world = World::new();
    onto_a_bridge(&world);
    let config = world.classic("rr").replace("\"eth0\"", "\"br1\"");

    world.start(&config);

    let status = world.api().status().unwrap();
    assert_eq!(status.interfaces[0].mode, "generic");
    assert!(world.log().contains("generic"), "{}", world.log());
    let mut answered = world.ask(4);
    answered.sort_unstable();
    assert_eq!(answered, [1, 1, 2, 2]);
}

#[test]
fn a_driver_without_xdp_is_refused_when_native_mode_is_required() {
    if !root() {
        return;
    }
    let mut world = World::new();
    onto_a_bridge(&world);
    let config = world
        .classic("rr")
        .replace("\"eth0\"", "\"br1\"\nrequire_native = true");

    world.spawn(&config);

    until("the daemon says why", || world.log().contains("native"));
    assert!(!world.leave_running().wait().unwrap().success());
    assert!(world.log().contains("require_native"), "{}", world.log());
}
