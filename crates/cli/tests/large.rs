//! Many services with many destinations and their checks, through the real binary. Needs root.
//!
//! ```text
//! director's namespace: dirigo run ── veth ── one namespace that is every real server
//! ```
//!
//! The checks ask real servers at their own addresses, so that services share them: 2,000 for 100,000 destinations.
//!
//! What it costs is printed, not asserted: a busy machine is slower. CI plays a cut; the measurement that
//! counts is `cargo xtask soak scale`, with a release build.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netlink::{AddressFlags, Namespace, Netlink};

/// How much of it.
#[derive(Clone, Copy)]
struct Size {
    services: u32,
    destinations: u32,
    servers: u32,
    watched: Duration,
}

impl Size {
    fn of_environment() -> Self {
        let number = |name: &str, default| {
            let word = std::env::var(name).ok();
            word.and_then(|word| word.parse().ok()).unwrap_or(default)
        };
        Self {
            services: number("DIRIGO_LARGE_SERVICES", 60),
            destinations: number("DIRIGO_LARGE_DESTINATIONS", 20),
            servers: number("DIRIGO_LARGE_PROBES", 120),
            watched: Duration::from_secs(number("DIRIGO_LARGE_SECONDS", 3).into()),
        }
    }

    /// The file: destinations of a service are neighbours in the list of all real servers.
    fn text(self, weight: u32) -> String {
        let mut text = "[director]\ninterface = \"eth0\"\n[vips]\nmanage = false\n\
                        [[check]]\nname = \"port\"\ntype = \"tcp\"\nto = \"own\"\nport = 80\n\
                        interval = \"2s\"\ntimeout = \"1500ms\"\nfall = 5\n"
            .to_owned();
        for service in 0..self.services {
            let vip = Ipv4Addr::from(0xc612_0000 + service);
            write!(
                text,
                "[[service]]\naddress = \"{vip}:80\"\nprotocol = \"tcp\"\nscheduler = \"wrr\"\n\
                 checks = [\"port\"]\n"
            )
            .unwrap();
            for at in 0..self.destinations {
                let number = (service * self.destinations + at) % self.servers;
                let weight = if (service, at) == (0, 0) { weight } else { 1 };
                write!(
                    text,
                    "[[service.destination]]\naddress = \"{}\"\nweight = {weight}\n",
                    server(number)
                )
                .unwrap();
            }
        }
        text
    }
}

/// In the director's subnet, 10.80.0.0/16.
fn server(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a50_0100 + number)
}

/// The kernel's limits of neighbours, which are one for all namespaces; put back in the end.
struct Neighbours(Vec<(&'static str, String)>);

impl Neighbours {
    /// Room for so many, if there is less.
    fn room_for(count: u32) -> Self {
        let wanted = 2 * count + 1_024;
        let mut before = Vec::new();
        for name in [
            "/proc/sys/net/ipv4/neigh/default/gc_thresh3",
            "/proc/sys/net/ipv4/neigh/default/gc_thresh2",
        ] {
            let found = std::fs::read_to_string(name).unwrap_or_default();
            if found.trim().parse().is_ok_and(|found: u32| found < wanted)
                && std::fs::write(name, wanted.to_string()).is_ok()
            {
                before.push((name, found));
            }
        }
        Self(before)
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for (name, before) in &self.0 {
            let _stays = std::fs::write(name, before);
        }
    }
}

struct Rig {
    instance: String,
    _neighbours: Neighbours,
    folder: tempfile::TempDir,
    director: Namespace,
    _servers: Namespace,
    daemon: Option<Child>,
}

fn dirigo() -> String {
    std::env::var("DIRIGO_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_dirigo").to_owned())
}

impl Rig {
    fn new(size: Size) -> Self {
        let neighbours = Neighbours::room_for(size.servers);
        let director = Namespace::create().unwrap();
        let servers = Namespace::create().unwrap();
        let wire = |netlink: &Netlink, name: &str, last: u8| {
            let index = netlink.link(name).unwrap().index;
            let flags = AddressFlags::default();
            let own = IpAddr::from([10, 80, 0, last]);
            netlink.add_address(index, own, 16, flags).unwrap();
            netlink.set_up(index).unwrap();
            netlink.set_up(netlink.link("lo").unwrap().index).unwrap();
            index
        };
        director
            .run(|| {
                let netlink = Netlink::open().unwrap();
                let peer = Some(servers.fd());
                netlink.add_veth("eth0", "eth0", peer).unwrap();
                wire(&netlink, "eth0", 1);
            })
            .unwrap();
        let listener = servers
            .run(|| {
                let netlink = Netlink::open().unwrap();
                let index = wire(&netlink, "eth0", 2);
                for number in 0..size.servers {
                    let flags = AddressFlags::default();
                    let address = IpAddr::V4(server(number));
                    netlink.add_address(index, address, 32, flags).unwrap();
                }
                TcpListener::bind("0.0.0.0:80").unwrap()
            })
            .unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                drop(stream);
            }
        });
        Self {
            instance: format!("large-test-{}", std::process::id()),
            _neighbours: neighbours,
            folder: tempfile::tempdir().unwrap(),
            director,
            _servers: servers,
            daemon: None,
        }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("dirigo.toml"), text).unwrap();
    }

    fn start(&mut self) {
        let mut command = Command::new(dirigo());
        command
            .arg("run")
            .arg("-c")
            .arg(self.folder.path().join("dirigo.toml"))
            .args(["--instance", &self.instance])
            .process_group(0)
            .stderr(Stdio::null());
        self.daemon = Some(self.director.spawn(&mut command).unwrap());
    }

    fn api(&self) -> api::Client {
        api::Client::new(&self.instance)
    }

    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(dirigo())
            .args(words)
            .env("DIRIGO_INSTANCE", &self.instance)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let _shown = std::io::stderr().write_all(&output.stderr);
        (output.status.code(), text)
    }

    /// Processor time of the daemon so far.
    fn cpu(&self) -> Duration {
        let pid = self.daemon.as_ref().unwrap().id();
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = text.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// How many destinations checks have found to be well.
    fn well(&self) -> usize {
        let services = self.api().services().unwrap();
        services.iter().map(|one| one.destinations.len()).sum()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let down = ["down", "--release", "--instance", &self.instance];
        let mut command = Command::new(dirigo());
        let ended = self
            .director
            .spawn(command.args(down).stderr(Stdio::null()));
        let _waited = ended.unwrap().wait();
        if let Some(mut daemon) = self.daemon.take() {
            let _ended = daemon.kill();
            let _ended = daemon.wait();
        }
    }
}

#[test]
fn a_large_table_starts_is_checked_and_changes_by_one_line() {
    if !nix::unistd::geteuid().is_root() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI must run as root"
        );
        return println!("skipped: needs root");
    }
    let size = Size::of_environment();
    let all = (size.services * size.destinations) as usize;
    let mut rig = Rig::new(size);
    rig.write(&size.text(1));
    let begun = Instant::now();
    rig.start();
    let patience = Duration::from_secs(120);
    while rig.api().status().is_err() {
        assert!(begun.elapsed() < patience, "it does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (answers, worked) = (begun.elapsed(), rig.cpu());
    while rig.well() < all {
        assert!(
            begun.elapsed() < patience,
            "{} of {all} are well",
            rig.well()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    println!(
        "{} services of {} destinations, {} probes: answers after {:.2} s ({:.2} s of processor), \
         all checked and serving after {:.2} s ({:.2} s of processor)",
        size.services,
        size.destinations,
        size.servers,
        answers.as_secs_f64(),
        worked.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        rig.cpu().as_secs_f64()
    );
    std::thread::sleep(Duration::from_secs(1));
    let (before, since) = (rig.cpu(), Instant::now());
    std::thread::sleep(size.watched);
    let share = (rig.cpu() - before).as_secs_f64() / since.elapsed().as_secs_f64();
    println!("at rest: {:.1} % of one processor", share * 100.0);

    for weight in [5, 7, 9] {
        rig.write(&size.text(weight));
        let (begun, before) = (Instant::now(), rig.cpu());
        let (code, text) = rig.run(&["apply"]);
        println!(
            "a line changed and applied: {:.0} ms, of which the daemon worked {:.0} ms",
            begun.elapsed().as_secs_f64() * 1000.0,
            (rig.cpu() - before).as_secs_f64() * 1000.0
        );
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("1 service changed"), "{text}");
        let services = rig.api().services().unwrap();
        let first = services.iter().flat_map(|one| &one.destinations);
        let heavy = first.filter(|one| one.settings.weight == weight).count();
        assert_eq!(heavy, 1);
    }
    assert_eq!(rig.well(), all, "nobody was lost");
    rig.write(&size.text(11));
    let begun = Instant::now();
    let (code, text) = rig.run(&["plan"]);
    println!(
        "planned in {:.0} ms",
        begun.elapsed().as_secs_f64() * 1000.0
    );
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("weight 9 -> weight 11"), "{text}");
}
