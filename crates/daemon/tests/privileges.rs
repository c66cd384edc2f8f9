//! What the running daemon may do: little, and enough; and what it tells systemd.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use api::HealthState;
use common::{CHILD, FILES, World, root, server, six, until, vip};
use dirigo_daemon as daemon;

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

/// The bits of NET_ADMIN, NET_RAW, SYS_ADMIN, PERFMON, BPF; SETUID, SETGID, KILL, NET_BIND_SERVICE, CHOWN.
const KEPT: u64 =
    1 << 12 | 1 << 13 | 1 << 21 | 1 << 38 | 1 << 39 | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 10 | 1;

#[test]
fn every_thread_keeps_only_what_is_needed_and_everything_still_works() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = config(&world);
    world.start(&config);
    until("both real servers pass both checks", || both_are_up(&world));

    let threads = statuses(world.pid());
    assert!(threads.len() >= 6, "{threads:?}");
    for status in &threads {
        assert_eq!(number(status, "CapEff:"), KEPT, "{status}");
        assert_eq!(number(status, "CapPrm:"), KEPT, "{status}");
        assert_eq!(number(status, "CapBnd:"), KEPT, "{status}");
        assert_eq!(number(status, "CapInh:"), 0, "{status}");
        assert_eq!(number(status, "CapAmb:"), 0, "{status}");
        assert_eq!(number(status, "NoNewPrivs:"), 1, "{status}");
    }

    // The script ran as another user, who has nothing.
    let told = std::fs::read_to_string(world.folder.path().join("told/status")).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    assert_eq!(id(&told), nobody.uid.as_raw(), "{told}");
    assert_eq!(number(&told, "CapEff:"), 0, "{told}");
    assert_eq!(number(&told, "CapPrm:"), 0, "{told}");

    // Another card is attached to, and the address added again.
    world.replace_directors_interface();
    until("the virtual address is back", || world.director_has(vip()));
    until("the real servers are found again", || both_are_up(&world));
    assert_eq!(
        world.ask(6).into_iter().collect::<BTreeSet<_>>(),
        [1, 2].into()
    );

    // A service that was not there brings its address with it.
    let service = api::ServiceKey::Address {
        protocol: api::Protocol::Tcp,
        address: (six(101), 80).into(),
    };
    let settings = api::ServiceSettings::of("rr");
    let add = api::Change::AddService { service, settings };
    world.api().change(&add).unwrap();
    until("its address is there", || world.director_has(six(101)));
}

fn config(world: &World) -> String {
    let folder = world.folder.path().join("told");
    std::fs::create_dir(&folder).unwrap();
    for (path, mode) in [(world.folder.path(), 0o755), (folder.as_path(), 0o777)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).unwrap();
    }
    let script = format!("cat /proc/self/status >{}/status", folder.display());
    let classic = world.classic("rr");
    let service = "protocol = \"tcp\"\nchecks = [\"port\", \"script\"]\n";
    classic.replace("protocol = \"tcp\"\n", service)
        + "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\n"
        + &format!(
            "[[check]]\nname = \"script\"\ntype = \"script\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"
        )
}

fn both_are_up(world: &World) -> bool {
    let services = world.api().health().unwrap();
    let all = services.iter().flat_map(|service| &service.destinations);
    let up: BTreeSet<_> = all
        .filter(|one| one.health == HealthState::Up)
        .map(|one| one.server)
        .collect();
    up == [server(1), server(2)].into()
}

/// What the kernel tells of every thread but the first: here it is the test harness's, which has started the daemon's.
fn statuses(pid: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_daemon = threads
        .map(Result::unwrap)
        .filter(|thread| *thread.file_name() != *pid.to_string());
    let paths = of_daemon.map(|thread| thread.path().join("status"));
    paths
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    u64::from_str_radix(
        line.unwrap_or_else(|| panic!("{name} in {status}")).trim(),
        16,
    )
    .unwrap()
}

fn id(status: &str) -> u32 {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn systemd_is_told_of_the_start_of_the_work_and_of_the_end() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let path = world.folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    world.child_environment = vec![
        ("NOTIFY_SOCKET", path.display().to_string()),
        ("WATCHDOG_USEC", "800000".to_owned()),
    ];
    let config = world.classic("rr");
    world.start(&config);

    assert_eq!(hear(&systemd), "READY=1");
    for _ in 0..3 {
        assert_eq!(hear(&systemd), "WATCHDOG=1");
    }
    world.terminate();
    let mut last = hear(&systemd);
    while last == "WATCHDOG=1" {
        last = hear(&systemd);
    }
    assert_eq!(last, "STOPPING=1");
}

fn hear(systemd: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let len = systemd
        .recv(&mut message)
        .expect("the daemon tells systemd");
    String::from_utf8_lossy(&message[..len]).trim().to_owned()
}
