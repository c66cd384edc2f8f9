//! The room against the kernel, in namespaces that end with their test. Needs root.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use dirigo_netlink as netlink;
use netlink::arp::{Arp, Operation};
use netlink::{
    AddressFlags, Error, Event, FrameSocket, Mac, Monitor, Namespace, Neighbour, NeighbourState,
    Netlink, ethtool,
};

const WAIT: Option<Duration> = Some(Duration::from_secs(10));
const MAC_A: Mac = [2, 0, 0, 0, 0, 0xa];
const MAC_B: Mac = [2, 0, 0, 0, 0, 0xb];

/// Whether this test may run; says so if not. In CI it must.
fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(
        root || std::env::var("CI").as_deref() != Ok("true"),
        "this test needs root, and CI must give it"
    );
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Two hosts on one wire: `a` has 10.0.0.1 and fd00::1, `b` has .2 and ::2, both on `eth0`.
struct Wire {
    a: Namespace,
    b: Namespace,
}

impl Wire {
    fn new() -> Self {
        let wire = Self {
            a: Namespace::create().unwrap(),
            b: Namespace::create().unwrap(),
        };
        wire.a
            .run(|| {
                let netlink = Netlink::open().unwrap();
                netlink.add_veth("eth0", "eth0", Some(wire.b.fd())).unwrap();
            })
            .unwrap();
        for (namespace, mac, last) in [(&wire.a, MAC_A, 1_u8), (&wire.b, MAC_B, 2)] {
            namespace
                .run(|| {
                    let netlink = Netlink::open().unwrap();
                    let index = netlink.link("eth0").unwrap().index;
                    netlink.set_mac(index, mac).unwrap();
                    let flags = AddressFlags {
                        no_dad: true,
                        ..AddressFlags::default()
                    };
                    netlink
                        .add_address(index, IpAddr::from([10, 0, 0, last]), 24, flags)
                        .unwrap();
                    netlink.add_address(index, six(last), 64, flags).unwrap();
                    netlink.set_up(netlink.link("lo").unwrap().index).unwrap();
                    netlink.set_up(index).unwrap();
                })
                .unwrap();
        }
        wire
    }

    fn in_a<T: Send>(&self, work: impl FnOnce(&Netlink, u32) -> T + Send) -> T {
        inside(&self.a, work)
    }

    fn in_b<T: Send>(&self, work: impl FnOnce(&Netlink, u32) -> T + Send) -> T {
        inside(&self.b, work)
    }
}

fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce(&Netlink, u32) -> T + Send) -> T {
    namespace
        .run(|| {
            let netlink = Netlink::open().unwrap();
            let index = netlink.link("eth0").unwrap().index;
            work(&netlink, index)
        })
        .unwrap()
}

fn six(last: u8) -> IpAddr {
    IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

#[test]
fn a_veth_pair_appears_in_both_namespaces_with_its_facts() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    wire.in_a(|netlink, index| {
        netlink.set_mtu(index, 1400).unwrap();
        let link = netlink.link_by_index(index).unwrap();
        assert_eq!(
            (link.name.as_str(), link.mac, link.mtu),
            ("eth0", MAC_A, 1400)
        );
        assert!(link.up && link.carrier && !link.loopback);
        assert_eq!(link.kind, "veth");
        let names: Vec<String> = netlink
            .links()
            .unwrap()
            .into_iter()
            .map(|link| link.name)
            .collect();
        assert_eq!(names, ["lo", "eth0"]);
        assert!(netlink.link("lo").unwrap().loopback);
        netlink.set_down(index).unwrap();
        assert!(!netlink.link("eth0").unwrap().up);
    });
    wire.in_b(|netlink, index| {
        let link = netlink.link_by_index(index).unwrap();
        assert_eq!(link.mac, MAC_B);
        assert!(link.up && !link.carrier, "the other end is down: {link:?}");
    });
}

#[test]
fn a_bridge_takes_ports_and_lets_them_go() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    wire.in_a(|netlink, index| {
        netlink.add_bridge("br0").unwrap();
        let bridge = netlink.link("br0").unwrap();
        assert_eq!(bridge.kind, "bridge");
        netlink.set_master(index, Some(bridge.index)).unwrap();
        assert_eq!(netlink.link("eth0").unwrap().master, Some(bridge.index));
        netlink.set_master(index, None).unwrap();
        assert_eq!(netlink.link("eth0").unwrap().master, None);
        netlink.delete_link("br0").unwrap();
        assert!(matches!(netlink.link("br0"), Err(Error::NoSuchLink { .. })));
    });
}

#[test]
fn a_moved_and_renamed_interface_is_found_in_its_new_namespace() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    let third = Namespace::create().unwrap();
    wire.in_b(|netlink, index| netlink.set_namespace(index, third.as_fd()).unwrap());
    third
        .run(|| {
            let netlink = Netlink::open().unwrap();
            let link = netlink.link("eth0").unwrap();
            netlink.set_name(link.index, "uplink").unwrap();
            assert_eq!(netlink.link("uplink").unwrap().mac, MAC_B);
        })
        .unwrap();
}

#[test]
fn an_address_is_listed_with_its_flags_and_can_be_added_and_removed_once() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    wire.in_a(|netlink, _| {
        let lo = netlink.link("lo").unwrap().index;
        let flags = AddressFlags {
            no_dad: true,
            preferred_zero: true,
        };
        let vip = six(0x78);
        netlink.add_address(lo, vip, 128, flags).unwrap();
        let again = netlink.add_address(lo, vip, 128, flags).unwrap_err();
        assert!(again.is_exists(), "{again}");
        let found = netlink.addresses(Some(lo)).unwrap();
        let found = found.iter().find(|address| address.address == vip).unwrap();
        assert_eq!(found.prefix, 128);
        assert!(found.deprecated && !found.tentative && !found.dad_failed);
        netlink.delete_address(lo, vip, 128).unwrap();
        let again = netlink.delete_address(lo, vip, 128).unwrap_err();
        assert!(again.is_not_found(), "{again}");
    });
}

#[test]
fn a_table_longer_than_one_answer_is_read_whole() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    // Addresses, because the kernel collects the garbage of all namespaces' neighbours together.
    wire.in_a(|netlink, index| {
        for number in 0..2_000_u16 {
            let [high, low] = number.to_be_bytes();
            let address = IpAddr::from([10, 9, high, low]);
            netlink
                .add_address(index, address, 32, AddressFlags::default())
                .unwrap();
        }
        let found = netlink.addresses(Some(index)).unwrap();
        let ours = |address: &&netlink::Address| address.prefix == 32;
        assert_eq!(found.iter().filter(ours).count(), 2_000);
    });
}

#[test]
fn the_kernel_resolves_a_solicited_neighbour_and_the_monitor_says_so() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    for address in [IpAddr::from([10, 0, 0, 2]), six(2)] {
        wire.in_a(|netlink, index| {
            let mut monitor = Monitor::open().unwrap();
            netlink.solicit(index, address).unwrap();
            let neighbour = wait_for(&mut monitor, |neighbour| {
                neighbour.address == address && neighbour.state == NeighbourState::Reachable
            });
            assert_eq!((neighbour.mac, neighbour.index), (Some(MAC_B), index));
            let table = netlink.neighbours(Some(index)).unwrap();
            assert!(
                table
                    .iter()
                    .any(|entry| entry.address == address && entry.mac == Some(MAC_B))
            );
            netlink.delete_neighbour(index, address).unwrap();
        });
    }
}

fn wait_for(monitor: &mut Monitor, wanted: impl Fn(&Neighbour) -> bool) -> Neighbour {
    loop {
        match monitor.next(WAIT).unwrap().expect("no such event came") {
            Event::Neighbour { neighbour, .. } if wanted(&neighbour) => return neighbour,
            _ => {}
        }
    }
}

#[test]
fn the_monitor_reports_links_addresses_and_routes_and_then_falls_silent() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    wire.in_a(|netlink, index| {
        let mut monitor = Monitor::open().unwrap();
        let address = IpAddr::from([10, 1, 0, 1]);
        netlink
            .add_address(index, address, 24, AddressFlags::default())
            .unwrap();
        netlink.delete_address(index, address, 24).unwrap();
        netlink.set_mtu(index, 1300).unwrap();
        let (mut added, mut removed, mut route, mut mtu) = (false, false, false, false);
        while !(added && removed && route && mtu) {
            match monitor.next(WAIT).unwrap().expect("an event is missing") {
                Event::Address {
                    address: found,
                    deleted,
                } if found.address == address => {
                    added |= !deleted;
                    removed |= deleted;
                }
                Event::Link {
                    link,
                    deleted: false,
                } => mtu |= link.index == index && link.mtu == 1300,
                Event::Route => route = true,
                _ => {}
            }
        }
        while monitor.next(Some(Duration::ZERO)).unwrap().is_some() {}
        netlink.delete_link("eth0").unwrap();
        loop {
            if let Event::Link {
                link,
                deleted: true,
            } = monitor.next(WAIT).unwrap().unwrap()
            {
                assert_eq!(link.index, index);
                break;
            }
        }
    });
}

#[test]
fn leaving_a_bridge_is_not_reported_as_the_end_of_the_interface() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    wire.in_a(|netlink, index| {
        netlink.add_bridge("br0").unwrap();
        let bridge = netlink.link("br0").unwrap().index;
        let mut monitor = Monitor::open().unwrap();
        netlink.set_master(index, Some(bridge)).unwrap();
        netlink.set_master(index, None).unwrap();
        netlink.set_mtu(index, 1234).unwrap();
        loop {
            match monitor.next(WAIT).unwrap().unwrap() {
                Event::Link { link, deleted } if link.index == index => {
                    assert!(!deleted);
                    if link.mtu == 1234 {
                        break;
                    }
                }
                _ => {}
            }
        }
    });
}

#[test]
fn a_flooded_monitor_reports_an_overrun_and_goes_on() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    wire.in_a(|netlink, index| {
        let mut monitor = Monitor::open().unwrap();
        let small = 4096;
        nix::sys::socket::setsockopt(&monitor, nix::sys::socket::sockopt::RcvBuf, &small).unwrap();
        for mtu in 1000..1200 {
            netlink.set_mtu(index, mtu).unwrap();
        }
        let mut overrun = false;
        while let Some(event) = monitor.next(Some(Duration::ZERO)).unwrap() {
            overrun |= event == Event::Overrun;
        }
        assert!(overrun);
        netlink.set_mtu(index, 1300).unwrap();
        assert!(monitor.next(WAIT).unwrap().is_some());
    });
}

#[test]
fn the_route_names_interface_gateway_and_source_or_is_absent() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    for (near, far, own, bits) in [
        (
            IpAddr::from([10, 0, 0, 2]),
            IpAddr::from([203, 0, 113, 0]),
            IpAddr::from([10, 0, 0, 1]),
            24,
        ),
        (six(2), "2001:db8::".parse().unwrap(), six(1), 64),
    ] {
        wire.in_a(|netlink, index| {
            let route = netlink.route_to(near).unwrap().unwrap();
            assert_eq!(
                (route.interface, route.gateway, route.local),
                (index, None, false)
            );
            assert_eq!(route.source, Some(own));
            assert_eq!(netlink.route_to(far).unwrap(), None);
            netlink.add_route(far, bits, Some(near), None).unwrap();
            let route = netlink.route_to(far).unwrap().unwrap();
            assert_eq!((route.interface, route.gateway), (index, Some(near)));
            assert!(netlink.route_to(own).unwrap().unwrap().local);
        });
    }
}

#[test]
fn a_frame_sent_on_one_end_arrives_on_the_other_and_is_outgoing_only_at_home() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    let mut at_b = wire.in_b(|_, index| FrameSocket::open(index).unwrap());
    let mut at_a = wire.in_a(|_, index| FrameSocket::open(index).unwrap());
    let question = Arp::request(MAC_A, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    at_a.send(&question.emit()).unwrap();
    let answer = next_arp(&mut at_a, Operation::Reply);
    assert_eq!((answer.0.sender_mac, answer.1), (MAC_B, false));
    let heard = next_arp(&mut at_b, Operation::Request);
    assert_eq!((heard.0, heard.1), (question, false));
    let said = next_arp(&mut at_b, Operation::Reply);
    assert_eq!((said.0.from, said.1), (MAC_B, true));
    assert_eq!(at_a.lost().unwrap(), 0);
}

fn next_arp(socket: &mut FrameSocket, operation: Operation) -> (Arp, bool) {
    loop {
        let frame = socket.recv(WAIT).unwrap().expect("no such frame came");
        match Arp::parse(&frame.bytes) {
            Some(arp) if arp.operation == operation => return (arp, frame.outgoing),
            _ => {}
        }
    }
}

#[test]
fn a_discovery_socket_receives_arp_and_advertisements_and_nothing_else() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    let mut at_a = wire.in_a(|_, index| FrameSocket::open_discovery(index).unwrap());
    let at_b = wire.in_b(|_, index| FrameSocket::open(index).unwrap());
    let mut other = [0_u8; 80];
    other[..12].copy_from_slice(&[MAC_A, MAC_B].concat());
    other[12..14].copy_from_slice(&[0x08, 0x00]);
    let (IpAddr::V6(mine), IpAddr::V6(asked)) = (six(2), six(1)) else {
        unreachable!("both are IPv6");
    };
    let advertisement = netlink::announce::frame(MAC_B, mine.into());
    let arp = netlink::announce::frame(MAC_B, [10, 0, 0, 2].into());
    let solicitation = netlink::ndp::Ndp::solicitation(MAC_B, mine, asked).emit();

    for frame in [&other[..], &solicitation, &advertisement, &other, &arp] {
        at_b.send(frame).unwrap();
    }

    let mut heard = Vec::new();
    while heard.len() < 2 {
        let frame = at_a.recv(WAIT).unwrap().expect("a frame is missing");
        // The kernel of `a` answers the solicitation; that is not what arrived.
        if !frame.outgoing {
            heard.push(frame.bytes);
        }
    }
    assert_eq!(heard, [advertisement, arp]);
}

#[test]
fn the_announcement_changes_what_the_neighbour_knows() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    let moved: Mac = [2, 0, 0, 0, 0, 0xcc];
    for vip in [IpAddr::from([10, 0, 0, 120]), six(120)] {
        wire.in_b(|netlink, index| {
            netlink
                .set_neighbour(index, vip, MAC_A, NeighbourState::Stale)
                .unwrap();
            let mut monitor = Monitor::open().unwrap();
            let socket = wire.in_a(|_, index| FrameSocket::open(index).unwrap());
            socket.send(&netlink::announce::frame(moved, vip)).unwrap();
            wait_for(&mut monitor, |entry| {
                entry.address == vip && entry.mac == Some(moved)
            });
        });
    }
}

#[test]
fn the_tx_checksum_offload_is_switched_in_the_callers_namespace() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    wire.in_a(|_, _| {
        assert_eq!(ethtool::driver("eth0").unwrap(), "veth");
        assert!(ethtool::tx_checksum("eth0").unwrap());
        ethtool::set_tx_checksum("eth0", false).unwrap();
        assert!(!ethtool::tx_checksum("eth0").unwrap());
    });
    wire.in_b(|_, _| assert!(ethtool::tx_checksum("eth0").unwrap()));
    let missing = wire.in_a(|_, _| ethtool::driver("no-such-if").unwrap_err());
    assert!(missing.is_not_found(), "{missing}");
}

#[test]
fn a_child_starts_in_the_namespace_and_the_caller_stays() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let mut command = Command::new("readlink");
    command.arg("/proc/self/ns/net").stdout(Stdio::piped());
    let output = wire
        .a
        .spawn(&mut command)
        .unwrap()
        .wait_with_output()
        .unwrap();
    let theirs = wire.in_a(|_, _| std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        theirs.to_string_lossy()
    );
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), own);
}

#[test]
fn a_named_namespace_is_there_for_others_until_it_is_deleted() {
    if !root() {
        return;
    }
    /// Takes the name away even if an assertion fails.
    struct Named(String);
    impl Drop for Named {
        fn drop(&mut self) {
            let _gone = Namespace::delete(&self.0);
        }
    }
    let name = format!("dirigo-test-{}", std::process::id());
    let _named = Named(name.clone());
    let made = Namespace::create_named(&name).unwrap();
    let twice = Namespace::create_named(&name).unwrap_err();
    assert!(twice.is_exists(), "{twice}");
    let inode = |namespace: &Namespace| {
        namespace
            .run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap())
            .unwrap()
    };
    let opened = Namespace::open(&name).unwrap();
    assert_eq!(inode(&made), inode(&opened));
    assert!(Namespace::names().contains(&name));
    Namespace::delete(&name).unwrap();
    assert!(Namespace::open(&name).unwrap_err().is_not_found());
    assert!(Namespace::delete(&name).unwrap_err().is_not_found());
}

#[test]
fn a_refusal_says_what_was_attempted_and_quotes_the_kernel() {
    if !root() {
        return;
    }
    let wire = Wire::new();
    let error = wire.in_a(|netlink, _| netlink.add_veth("eth0", "peer", None).unwrap_err());
    assert!(error.is_exists());
    assert!(
        error
            .to_string()
            .starts_with("making the veth pair eth0 and peer: File exists"),
        "{error}"
    );
    let error = wire.in_a(|netlink, index| netlink.set_mtu(index, 10).unwrap_err());
    let text = error.to_string();
    assert!(
        text.contains("kernel: mtu less than device minimum"),
        "{text}"
    );
}

#[test]
fn a_name_that_leaves_its_directory_is_refused() {
    for name in ["", ".", "..", "a/b", "../x"] {
        let error = Namespace::open(name).unwrap_err();
        assert_eq!(error.errno(), Some(22), "{name:?}: {error}");
    }
}
