//! The room against the kernel: real ARP on a real wire, in namespaces that end with their test.
//! Needs root.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use dirigo_realserver as realserver;
use netlink::arp::{Arp, Operation};
use netlink::ndp::{self, Ndp};
use netlink::{AddressFlags, FrameSocket, Mac, Namespace, Netlink};
use realserver::{Code, Error, Options, Persist, Report, Vip};

/// How long an answer is waited for before the question is asked again: a wire that has just been made loses frames on
/// a busy machine.
const WAIT: Option<Duration> = Some(Duration::from_secs(1));

/// How often.
const QUESTIONS: usize = 60;
const CLIENT_MAC: Mac = [2, 0, 0, 0, 0, 0xc1];
const SERVER_MAC: Mac = [2, 0, 0, 0, 0, 0x51];
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 188, 111);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 188, 107);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 188, 120);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x111);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x107);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x120);

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

/// A client and a server on one wire, each on its `eth0`, and a place for the server's state.
struct World {
    client: Namespace,
    server: Namespace,
    state: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            client: Namespace::create().unwrap(),
            server: Namespace::create().unwrap(),
            state: tempfile::tempdir().unwrap(),
        };
        let there = world.server.fd();
        let make = || {
            Netlink::open()
                .unwrap()
                .add_veth("eth0", "eth0", Some(there))
                .unwrap()
        };
        world.client.run(make).unwrap();
        host(&world.client, CLIENT_MAC, CLIENT, CLIENT6);
        host(&world.server, SERVER_MAC, SERVER, SERVER6);
        world
    }

    fn options(&self, vips: &[IpAddr]) -> Options {
        let vips = vips.iter().map(|vip| Vip::try_from(*vip).unwrap());
        let mut options = Options::new(vips.collect());
        options.state_dir = self.state.path().to_owned();
        options
    }

    fn on_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.server.run(work).unwrap()
    }

    fn up(&self, vips: &[IpAddr]) -> realserver::Outcome {
        let options = self.options(vips);
        self.on_server(|| realserver::up(&options)).unwrap()
    }

    fn down(&self, vips: &[IpAddr]) -> realserver::Outcome {
        let options = self.options(vips);
        self.on_server(|| realserver::down(&options)).unwrap()
    }

    fn check(&self, vips: &[IpAddr]) -> Report {
        let options = self.options(vips);
        self.on_server(|| realserver::check(&options)).unwrap()
    }

    fn set(&self, key: &str, value: i32) {
        let path = format!("/proc/sys/net/ipv4/conf/{key}");
        self.on_server(|| std::fs::write(path, value.to_string()))
            .unwrap();
    }

    /// Every ARP setting of every interface, and every address of `lo`.
    fn snapshot(&self) -> (BTreeMap<String, String>, Vec<netlink::Address>) {
        self.on_server(|| {
            let mut settings = BTreeMap::new();
            for entry in std::fs::read_dir("/proc/sys/net/ipv4/conf").unwrap() {
                for name in ["arp_ignore", "arp_announce"] {
                    let path = entry.as_ref().unwrap().path().join(name);
                    let value = std::fs::read_to_string(&path).unwrap();
                    settings.insert(path.display().to_string(), value);
                }
            }
            let netlink = Netlink::open().unwrap();
            let lo = netlink.link("lo").unwrap().index;
            (settings, netlink.addresses(Some(lo)).unwrap())
        })
    }

    /// Who says on the wire that it has `address`. The server's own address is asked for after it
    /// on the same wire, so silence is proven by that answer's arrival, not by waiting.
    fn asked_for(&self, address: IpAddr) -> Option<Mac> {
        let mut wire = self.client_socket();
        let own: IpAddr = match address {
            IpAddr::V4(_) => SERVER.into(),
            IpAddr::V6(_) => SERVER6.into(),
        };
        for _ in 0..QUESTIONS {
            for asked in [address, own] {
                let frame = match asked {
                    IpAddr::V4(asked) => Arp::request(CLIENT_MAC, CLIENT, asked).emit(),
                    IpAddr::V6(asked) => Ndp::solicitation(CLIENT_MAC, CLIENT6, asked).emit(),
                };
                wire.send(&frame).unwrap();
            }
            while let Some(frame) = wire.recv(WAIT).unwrap() {
                match answer(&frame.bytes) {
                    Some((target, mac)) if target == address => return Some(mac),
                    Some((target, _)) if target == own => return None,
                    _ => {}
                }
            }
        }
        panic!("the server does not answer for itself")
    }

    /// The sender in the ARP request with which the server looks for the client, when a packet
    /// from the VIP waits for the answer.
    fn sender_of_own_request(&self) -> Ipv4Addr {
        let mut wire = self.client_socket();
        for _ in 0..QUESTIONS {
            self.on_server(|| {
                let netlink = Netlink::open().unwrap();
                let index = netlink.link("eth0").unwrap().index;
                let _unknown = netlink.delete_neighbour(index, CLIENT.into());
                let socket = UdpSocket::bind((VIP, 0)).unwrap();
                socket.send_to(b"a reply", (CLIENT, 9)).unwrap();
            });
            while let Some(frame) = wire.recv(WAIT).unwrap() {
                match Arp::parse(&frame.bytes) {
                    Some(arp) if arp.operation == Operation::Request && arp.target == CLIENT => {
                        return arp.sender;
                    }
                    _ => {}
                }
            }
        }
        panic!("the server does not ask for the client")
    }

    fn client_socket(&self) -> FrameSocket {
        let open = || {
            let index = Netlink::open().unwrap().link("eth0").unwrap().index;
            FrameSocket::open(index).unwrap()
        };
        self.client.run(open).unwrap()
    }
}

fn answer(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    if let Some(arp) = Arp::parse(frame) {
        return (arp.operation == Operation::Reply).then(|| (arp.sender.into(), arp.sender_mac));
    }
    let ndp = Ndp::parse(frame)?;
    let is_answer = matches!(ndp.operation, ndp::Operation::Advertisement { .. });
    is_answer.then(|| Some((ndp.target.into(), ndp.mac?)))?
}

fn host(namespace: &Namespace, mac: Mac, address: Ipv4Addr, address6: Ipv6Addr) {
    let work = || {
        let netlink = Netlink::open().unwrap();
        let index = netlink.link("eth0").unwrap().index;
        let flags = AddressFlags {
            no_dad: true,
            ..AddressFlags::default()
        };
        netlink.set_mac(index, mac).unwrap();
        netlink
            .add_address(index, address.into(), 24, flags)
            .unwrap();
        netlink
            .add_address(index, address6.into(), 64, flags)
            .unwrap();
        netlink.set_up(netlink.link("lo").unwrap().index).unwrap();
        netlink.set_up(index).unwrap();
    };
    namespace.run(work).unwrap();
}

fn add_to(world: &World, interface: &str, address: IpAddr, prefix: u8) {
    world.on_server(|| {
        let netlink = Netlink::open().unwrap();
        let index = netlink.link(interface).unwrap().index;
        let flags = AddressFlags {
            no_dad: true,
            ..AddressFlags::default()
        };
        netlink.add_address(index, address, prefix, flags).unwrap();
    });
}

fn codes(report: &Report) -> Vec<Code> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn after_up_nobody_answers_for_the_vip_and_before_it_somebody_does() {
    if !root() {
        return;
    }
    let world = World::new();
    add_to(&world, "lo", VIP.into(), 32);
    assert_eq!(world.asked_for(VIP.into()), Some(SERVER_MAC));
    assert_eq!(
        codes(&world.check(&[VIP.into()])),
        [Code::ArpIgnore, Code::ArpAnnounce]
    );
    world.up(&[VIP.into()]);
    assert_eq!(world.asked_for(VIP.into()), None);
    assert_eq!(codes(&world.check(&[VIP.into()])), []);
    world.set("all/arp_ignore", 0);
    assert_eq!(world.asked_for(VIP.into()), Some(SERVER_MAC));
}

#[test]
fn after_up_the_servers_own_requests_no_longer_carry_the_vip() {
    if !root() {
        return;
    }
    let world = World::new();
    world.up(&[VIP.into()]);
    assert_eq!(world.sender_of_own_request(), SERVER);
    for loose in [0, 1, 3] {
        world.set("all/arp_announce", loose);
        assert_eq!(world.sender_of_own_request(), VIP, "arp_announce {loose}");
        assert!(!world.check(&[VIP.into()]).ok, "arp_announce {loose}");
    }
}

#[test]
fn the_values_of_arp_ignore_that_hide_the_vip_are_those_the_kernel_hides_it_with() {
    if !root() {
        return;
    }
    let world = World::new();
    world.up(&[VIP.into()]);
    // Not 8: then the server does not answer for itself either.
    for value in [0, 1, 2, 3, 4, 5, 7, 9] {
        world.set("eth0/arp_ignore", value);
        let quiet = world.asked_for(VIP.into()).is_none();
        let report = world.check(&[VIP.into()]);
        assert_eq!(report.ok, quiet, "arp_ignore {value}: {report:?}");
    }
}

#[test]
fn up_hides_the_vip_even_where_the_interfaces_own_value_would_win() {
    if !root() {
        return;
    }
    let world = World::new();
    world.set("eth0/arp_ignore", 3);
    let before = world.snapshot();
    world.up(&[VIP.into()]);
    assert_eq!(world.asked_for(VIP.into()), None);
    world.down(&[VIP.into()]);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn down_restores_all_that_up_changed_and_forgets() {
    if !root() {
        return;
    }
    let world = World::new();
    world.set("all/arp_announce", 1);
    world.set("lo/arp_ignore", 3);
    let before = world.snapshot();
    let vips = [VIP.into(), VIP6.into()];
    world.up(&vips);
    assert_ne!(world.snapshot(), before);
    world.down(&[]);
    assert_eq!(world.snapshot(), before);
    assert!(!world.state.path().join("realserver.json").exists());
    let again = world.down(&vips);
    assert_eq!(again.steps, []);
}

#[test]
fn up_twice_is_up_once() {
    if !root() {
        return;
    }
    let world = World::new();
    let before = world.snapshot();
    world.up(&[VIP.into(), VIP6.into()]);
    let once = world.snapshot();
    let again = world.up(&[VIP.into(), VIP6.into()]);
    assert_eq!(again.steps, []);
    assert_eq!(world.snapshot(), once);
    world.down(&[]);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn the_settings_stay_until_the_last_vip_goes() {
    if !root() {
        return;
    }
    let world = World::new();
    let before = world.snapshot();
    let other = IpAddr::from([192, 168, 188, 121]);
    world.up(&[VIP.into()]);
    world.up(&[other]);
    world.down(&[VIP.into()]);
    assert_eq!(world.asked_for(other), None);
    assert_eq!(codes(&world.check(&[other])), []);
    world.down(&[other]);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn the_usual_wrong_script_is_caught_exactly_while_the_server_does_answer() {
    if !root() {
        return;
    }
    let world = World::new();
    add_to(&world, "lo", VIP.into(), 32);
    world.set("lo/arp_ignore", 1);
    world.set("lo/arp_announce", 2);
    world.set("all/arp_announce", 1);
    world.set("all/arp_announce", 2);
    assert_eq!(world.asked_for(VIP.into()), Some(SERVER_MAC));
    let report = world.check(&[VIP.into()]);
    assert_eq!(codes(&report), [Code::AllArpIgnoreForgotten]);
    assert_eq!(
        report.findings[0].fix,
        ["sysctl -w net.ipv4.conf.all.arp_ignore=1"]
    );
    world.set("all/arp_ignore", 1);
    assert_eq!(world.asked_for(VIP.into()), None);
    assert!(world.check(&[VIP.into()]).ok);
}

#[test]
fn an_ipv6_vip_on_lo_is_in_use_at_once_and_stays_silent() {
    if !root() {
        return;
    }
    let world = World::new();
    add_to(&world, "eth0", VIP6.into(), 64);
    assert_eq!(world.asked_for(VIP6.into()), Some(SERVER_MAC));
    assert!(codes(&world.check(&[VIP6.into()])).contains(&Code::VipOnRealInterface));
    let options = world.options(&[VIP6.into()]);
    let refused = world.on_server(|| realserver::up(&options)).unwrap_err();
    assert!(
        matches!(refused, Error::OnRealInterface { .. }),
        "{refused}"
    );
    world.on_server(|| {
        let netlink = Netlink::open().unwrap();
        let index = netlink.link("eth0").unwrap().index;
        netlink.delete_address(index, VIP6.into(), 64).unwrap();
    });
    world.up(&[VIP6.into()]);
    assert_eq!(world.asked_for(VIP6.into()), None);
    assert_eq!(codes(&world.check(&[VIP6.into()])), []);
    let (_, on_lo) = world.snapshot();
    let held = on_lo
        .iter()
        .find(|held| held.address == IpAddr::V6(VIP6))
        .unwrap();
    assert_eq!(
        (held.prefix, held.tentative, held.deprecated),
        (128, false, true)
    );
    world.on_server(|| UdpSocket::bind((VIP6, 0))).unwrap();
}

#[test]
fn a_network_on_lo_is_made_the_vip_alone_and_put_back() {
    if !root() {
        return;
    }
    let world = World::new();
    add_to(&world, "lo", VIP.into(), 24);
    let before = world.snapshot();
    assert!(codes(&world.check(&[VIP.into()])).contains(&Code::VipPrefix));
    world.up(&[VIP.into()]);
    assert_eq!(codes(&world.check(&[VIP.into()])), []);
    world.down(&[VIP.into()]);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn a_failure_on_the_way_undoes_what_was_done() {
    if !root() {
        return;
    }
    let world = World::new();
    let before = world.snapshot();
    world
        .on_server(|| std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1"))
        .unwrap();
    let options = world.options(&[VIP.into(), VIP6.into()]);
    let error = world.on_server(|| realserver::up(&options)).unwrap_err();
    assert!(
        error.to_string().contains("adding fd00::120/128"),
        "{error}"
    );
    let (settings, addresses) = world.snapshot();
    assert_eq!(settings, before.0);
    assert!(!addresses.iter().any(|held| held.address == IpAddr::V4(VIP)));
    assert!(!world.state.path().join("realserver.json").exists());
}

#[test]
fn a_dry_run_plans_everything_and_touches_nothing() {
    if !root() {
        return;
    }
    let world = World::new();
    let before = world.snapshot();
    let mut options = world.options(&[VIP.into()]);
    options.dry_run = true;
    let outcome = world.on_server(|| realserver::up(&options)).unwrap();
    assert_eq!(outcome.steps.len(), 6, "{:?}", outcome.steps);
    assert_eq!(world.snapshot(), before);
    assert_eq!(std::fs::read_dir(world.state.path()).unwrap().count(), 0);
}

#[test]
fn a_loopback_that_is_down_is_switched_on() {
    if !root() {
        return;
    }
    let world = World::new();
    world.on_server(|| {
        let netlink = Netlink::open().unwrap();
        netlink.set_down(netlink.link("lo").unwrap().index).unwrap();
    });
    assert!(codes(&world.check(&[VIP.into()])).contains(&Code::LoDown));
    world.up(&[VIP.into(), VIP6.into()]);
    assert_eq!(codes(&world.check(&[VIP.into(), VIP6.into()])), []);
    world.on_server(|| UdpSocket::bind((VIP, 0))).unwrap();
}

#[test]
fn the_state_of_another_namespace_is_not_taken_for_ours() {
    if !root() {
        return;
    }
    let world = World::new();
    world.up(&[VIP.into()]);
    let options = world.options(&[VIP.into()]);
    let error = world
        .client
        .run(|| realserver::up(&options))
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, Error::OtherNamespace { .. }), "{error}");
}

#[test]
fn an_unknown_interface_is_refused_with_those_there_are() {
    if !root() {
        return;
    }
    let world = World::new();
    let mut options = world.options(&[VIP.into()]);
    options.interfaces = vec!["eth7".to_owned()];
    let error = world.on_server(|| realserver::check(&options)).unwrap_err();
    assert!(error.to_string().ends_with("there are: eth0"), "{error}");
}

#[test]
fn the_next_boot_knows_the_vips_and_what_was_found_before_the_first() {
    if !root() {
        return;
    }
    let world = World::new();
    let root = tempfile::tempdir().unwrap();
    let persist = Some(Persist {
        root: root.path().to_owned(),
        binary: "/usr/bin/dirigo".into(),
    });
    let before = world.snapshot();
    let with = |vips: &[IpAddr]| Options {
        persist: persist.clone(),
        ..world.options(vips)
    };
    let (one, both) = (with(&[VIP.into()]), with(&[VIP.into(), VIP6.into()]));
    let first = world.on_server(|| realserver::up(&one)).unwrap();
    assert!(!first.notes.is_empty());
    world
        .on_server(|| realserver::up(&with(&[VIP6.into()])))
        .unwrap();

    let unit_path = root
        .path()
        .join("etc/systemd/system/dirigo-realserver.service");
    let unit = std::fs::read_to_string(&unit_path).unwrap();
    let command = format!("\"/usr/bin/dirigo\" realserver up --persist --vip {VIP} --vip {VIP6}");
    assert!(unit.contains(&command), "{unit}");
    let wants = root
        .path()
        .join("etc/systemd/system/multi-user.target.wants/dirigo-realserver.service");
    assert_eq!(std::fs::read_to_string(&wants).unwrap(), unit);
    let fragment_path = root.path().join("etc/sysctl.d/90-dirigo-realserver.conf");
    let fragment = std::fs::read_to_string(&fragment_path).unwrap();
    for line in [
        "net.ipv4.conf.all.arp_ignore = 1",
        "net.ipv4.conf.all.arp_announce = 2",
    ] {
        assert!(fragment.lines().any(|found| found == line), "{fragment}");
    }

    // The boot: /run is empty, the addresses are gone, the fragment has been applied.
    world.down(&[]);
    for (key, value) in [
        ("all/arp_ignore", 1),
        ("all/arp_announce", 2),
        ("lo/arp_ignore", 1),
        ("lo/arp_announce", 2),
    ] {
        world.set(key, value);
    }
    let booted = world.on_server(|| realserver::up(&both)).unwrap();
    assert_eq!(
        booted.steps.len(),
        3,
        "the state and two addresses: {:?}",
        booted.steps
    );
    assert_eq!(booted.notes, Vec::<String>::new());

    world.on_server(|| realserver::down(&both)).unwrap();
    assert_eq!(world.snapshot(), before);
    for path in [unit_path, wants, fragment_path] {
        assert!(
            std::fs::symlink_metadata(&path).is_err(),
            "{} is left",
            path.display()
        );
    }
}
