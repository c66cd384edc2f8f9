//! Another version of the daemon with other BPF programs takes over while packets flow.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/program.rs"]
mod program;
#[path = "common/traffic.rs"]
mod traffic;

use std::net::IpAddr;
use std::process::Command;

use common::{CHILD, FILES, World, root, server, six, vip};
use dirigo_daemon as daemon;
use netlink::{Namespace, Netlink};
use traffic::Traffic;

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

#[test]
fn an_upgrade_replaces_the_programs_on_two_interfaces_and_no_packet_is_lost() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let far = host_behind_a_second_interface(&world);
    for (number, server) in world.servers.iter().enumerate() {
        traffic::serve(server, number as u8 + 1);
    }
    let config = config();
    let builds = [
        world.program.clone(),
        program::another_build(world.folder.path()),
    ];
    world.start(&config);
    let before = programs(&world);
    let mut open: Vec<_> = (0..4).map(|_| world.connect().unwrap()).collect();
    let hosts = [
        (&world.client, vip()),
        (&world.client, six(100)),
        (&far, vip()),
    ];
    let traffic = hosts.map(|(host, address)| Traffic::begin(host, address));

    let mut seen = vec![before.clone()];
    for round in 1..=3 {
        // An orderly stop, as of a package's upgrade, and a crash.
        if round == 2 {
            world.kill();
        } else {
            world.terminate();
        }
        world.program.clone_from(&builds[round % 2]);
        world.start(&config);
        assert!(world.api().status().unwrap().adopted);
        seen.push(programs(&world));
    }

    for traffic in traffic {
        let told = traffic.end();
        println!("{told:?}");
        assert!(told.known > 100 && told.new > 10, "{told:?}");
        assert_eq!((told.lost, told.moved), (0, 0), "{told:?}");
    }
    assert!(open.iter_mut().all(common::Conversation::echoes));
    assert_eq!(world.api().status().unwrap().counters["pass_not_ready"], 0);
    for (round, now) in seen.iter().enumerate().skip(1) {
        for interface in 0..2 {
            assert_ne!(
                now[interface].0,
                seen[round - 1][interface].0,
                "the same id"
            );
            assert_ne!(
                now[interface].1,
                seen[round - 1][interface].1,
                "the same code"
            );
            assert_eq!(
                now[interface].1,
                seen[round % 2][interface].1,
                "another build"
            );
        }
    }
    assert_eq!(pinned_stages(&world), 1);
}

#[test]
fn two_instances_on_two_interfaces_of_one_host_forward_and_end_each_for_itself() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let far = host_behind_a_second_interface(&world);
    for (number, server) in world.servers.iter().enumerate() {
        traffic::serve(server, number as u8 + 1);
    }
    let first = world.classic("rr");
    world.start(&first);
    let second = format!("{}-second", world.instance);
    let own = "[director]\ninterface = \"eth1\"\n[vips]\nmanage = false\n".to_owned();
    let config = own
        + &service(
            "udp",
            &format!("{}:{}", vip(), traffic::PORT),
            [server(1), server(2)],
        );

    // An interface has one program.
    let taken = config.replace("eth1", "eth0");
    let refused = world.start_another(&second, &taken).wait().unwrap();
    assert!(!refused.success());
    assert!(
        world.log().contains("another XDP program"),
        "{}",
        world.log()
    );

    let mut daemon = world.start_another(&second, &config);
    common::until("the second daemon answers", || {
        api::Client::new(&second).status().is_ok()
    });
    let traffic = Traffic::begin(&far, vip());
    assert_eq!(world.ask(2), [2, 1]);
    let told = traffic.end();
    assert_eq!((told.lost, told.moved), (0, 0), "{told:?}");

    let down = world.director.run(|| daemon::down(&second, true)).unwrap();
    assert!(matches!(down, Ok(daemon::Down::Stopped)), "{down:?}");
    assert!(daemon.wait().unwrap().success());
    assert_eq!(world.ask(2), [2, 1]);
    assert!(
        !std::path::Path::new(dataplane::PIN_ROOT)
            .join(&second)
            .exists()
    );
}

/// UDP for both families besides the classic service, on both interfaces.
fn config() -> String {
    let four = [server(1), server(2)];
    let (four_vip, six_vip) = (vip(), six(100));
    [
        "[director]\ninterfaces = [\"eth0\", \"eth1\"]\n".to_owned(),
        service("tcp", &format!("{four_vip}:80"), four),
        service("udp", &format!("{four_vip}:{}", traffic::PORT), four),
        service(
            "udp",
            &format!("[{six_vip}]:{}", traffic::PORT),
            [six(11), six(12)],
        ),
    ]
    .concat()
}

fn service(protocol: &str, address: &str, [one, other]: [IpAddr; 2]) -> String {
    format!(
        "[[service]]\naddress = \"{address}\"\nprotocol = \"{protocol}\"\nscheduler = \"rr\"\n\
         [[service.destination]]\naddress = \"{one}\"\n[[service.destination]]\naddress = \"{other}\"\n"
    )
}

/// A client whose packets reach the director by its `eth1`. Answers reach it by the segment.
fn host_behind_a_second_interface(world: &World) -> Namespace {
    let far = world.add_host("far", 5);
    let add = || {
        Netlink::open()
            .unwrap()
            .add_veth("eth1", "eth1", Some(far.fd()))
    };
    world.director.run(add).unwrap().unwrap();
    shell(
        &world.director,
        "ip address add 10.7.0.2/24 dev eth1 && ip link set eth1 up",
    );
    shell(
        &far,
        "ip address add 10.7.0.1/24 dev eth1 && ip link set eth1 up && \
         ip route add 10.9.0.100/32 via 10.7.0.2 dev eth1 src 10.9.0.5 && \
         for i in all eth0 eth1; do echo 0 >/proc/sys/net/ipv4/conf/$i/rp_filter; done",
    );
    far.run(|| netlink::ethtool::set_tx_checksum("eth1", false).unwrap())
        .unwrap();
    far
}

fn shell(host: &Namespace, script: &str) {
    let mut command = Command::new("sh");
    let done = host.spawn(command.args(["-ec", script])).unwrap().wait();
    assert!(done.unwrap().success(), "{script}");
}

/// Id and tag of the program on each interface, as the kernel tells `ip`.
fn programs(world: &World) -> [(u64, String); 2] {
    ["eth0", "eth1"].map(|name| {
        let ip = || {
            Command::new("ip")
                .args(["-j", "link", "show", "dev", name])
                .output()
        };
        let output = world.director.run(ip).unwrap().unwrap();
        let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let program = &links[0]["xdp"]["prog"];
        let tag = program["tag"].as_str();
        let id = program["id"].as_u64().unwrap_or_else(|| panic!("{links}"));
        (id, tag.unwrap_or_else(|| panic!("{links}")).to_owned())
    })
}

fn pinned_stages(world: &World) -> usize {
    let folder = std::path::Path::new(dataplane::PIN_ROOT).join(&world.instance);
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("STAGES"))
        .count()
}
