//! The Debian package is upgraded while packets flow. Needs root, the package, and a Debian to install it in: that is
//! what `cargo xtask test --only package` gives.
//!
//! ```text
//! client ── director's namespace: chroot of a new Debian ── real servers
//!             dpkg --install ─► maintainer scripts ─► deb-systemd-invoke ─► systemctl (ours) ─► daemon
//! ```
//!
//! All is the package's own but `systemctl`, which does what systemd would: it ends a daemon with SIGTERM, and begins
//! one with the unit's command.
#![allow(clippy::unwrap_used)]

#[path = "../../daemon/tests/common/mod.rs"]
#[allow(clippy::duplicate_mod)]
mod common;
#[path = "../../daemon/tests/common/program.rs"]
mod program;
#[path = "../../daemon/tests/common/traffic.rs"]
mod traffic;

extern crate daemon as dirigo_daemon;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{World, root, server, six, vip};
use traffic::Traffic;

/// The package, and the Debian that it is installed in.
const PACKAGE: &str = "DIRIGO_PACKAGE";
const DEBIAN: &str = "DIRIGO_DEBIAN";

/// systemd's part, as far as the package's scripts ask for it.
const SYSTEMCTL: &str = r#"#!/bin/sh
words=
for word; do
    case $word in
    -*) ;;
    *) words="$words $word" ;;
    esac
done
set -- $words
action=$1
shift
lives() { readlink "/proc/$1/exe" >/dev/null; }
case $action in
is-enabled) echo enabled ;;
list-units)
    for file in /run/units/*; do
        [ ! -e "$file" ] || echo "dirigo@${file##*/}.service loaded active running"
    done
    ;;
start | stop | restart)
    for unit; do
        name=${unit#dirigo@}
        name=${name%.service}
        pids=/run/units/$name
        [ -e "/etc/dirigo/$name.toml" ] || continue
        if [ "$action" != start ]; then
            pid=$(cat "$pids")
            kill -TERM "$pid"
            while lives "$pid"; do sleep 0.02; done
            rm "$pids"
        fi
        if [ "$action" != stop ]; then
            command=$(sed -n 's/^ExecStart=//p' '/usr/lib/systemd/system/dirigo@.service' | sed "s/%i/$name/g")
            setsid $command </dev/null >>/run/log 2>&1 &
            pid=$!
            echo "$pid" >"$pids"
            until dirigo status --instance "$name" >/dev/null 2>&1; do
                lives "$pid" || exit 1
                sleep 0.02
            done
        fi
    done
    ;;
esac
"#;

/// A Debian in the director's namespace.
struct Debian<'a> {
    world: &'a World,
    root: PathBuf,
}

impl<'a> Debian<'a> {
    fn new(world: &'a World, root: PathBuf) -> Self {
        for folder in ["run/systemd/system", "run/units"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let systemctl = root.join("usr/bin/systemctl");
        std::fs::write(&systemctl, SYSTEMCTL).unwrap();
        std::fs::set_permissions(&systemctl, Permissions::from_mode(0o755)).unwrap();
        Self { world, root }
    }

    /// Runs a command in it: with the host's devices and BPF file system, and a `/run` of its own.
    fn run(&self, words: &[&str]) -> String {
        const ENTER: &str = r#"
            root=$1
            shift
            mount --rbind /sys "$root/sys"
            mount --rbind /dev "$root/dev"
            mount --bind /proc "$root/proc"
            exec chroot "$root" "$@""#;
        let said = self.root.join("run/said");
        let out = std::fs::File::create(&said).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private"])
            .args(["sh", "-ec", ENTER, "sh"])
            .arg(&self.root)
            .args(words)
            .stdin(Stdio::null())
            // A file: the daemon that it leaves behind would keep a pipe open.
            .stderr(out.try_clone().unwrap())
            .stdout(out);
        let ended = self.world.director.spawn(&mut command).unwrap().wait();
        let said = std::fs::read_to_string(said).unwrap();
        let log = std::fs::read_to_string(self.root.join("run/log")).unwrap_or_default();
        assert!(ended.unwrap().success(), "{words:?}:\n{said}\n{log}");
        said
    }

    /// Installs a package, and says which program is then on `eth0`: its tag is that of its code.
    fn install(&self, package: &Path) -> String {
        std::fs::copy(package, self.root.join("dirigo.deb")).unwrap();
        self.run(&["dpkg", "--install", "/dirigo.deb"]);
        self.run(&["dpkg-query", "-W", "-f", "${Version}", "dirigo"])
    }

    fn status(&self) -> serde_json::Value {
        let said = self.run(&["dirigo", "status", "--json", "--instance", self.instance()]);
        serde_json::from_str(&said).unwrap()
    }

    fn instance(&self) -> &str {
        &self.world.instance
    }

    fn unit(&self) -> String {
        format!("dirigo@{}.service", self.instance())
    }
}

impl Drop for Debian<'_> {
    fn drop(&mut self) {
        // Nothing of it may live on, whatever failed.
        let pids = self.root.join("run/units").join(self.instance());
        let pid = std::fs::read_to_string(pids).ok();
        if let Some(pid) = pid.and_then(|pid| pid.trim().parse().ok()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// The same package with a later version, and with other code in each of its BPF programs.
fn next_version(package: &Path, folder: &Path) -> PathBuf {
    let tree = folder.join("tree");
    let made = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    made(Command::new("dpkg-deb").arg("-R").arg(package).arg(&tree));
    let control = tree.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control).unwrap();
    let version = text.lines().find(|line| line.starts_with("Version: "));
    let version = version.unwrap();
    let later = text.replace(version, &format!("{version}+next1"));
    std::fs::write(&control, later).unwrap();
    let binary = tree.join("usr/sbin/dirigo");
    let other = program::another_build_of(&binary, folder);
    std::fs::copy(other, &binary).unwrap();
    let next = folder.join("next.deb");
    let mut build = Command::new("dpkg-deb");
    made(
        build
            .args(["--root-owner-group", "-Zgzip", "-z1", "--build"])
            .arg(&tree)
            .arg(&next),
    );
    next
}

/// The tag of the program on the director's interface.
fn program(world: &World) -> String {
    let ip = || {
        Command::new("ip")
            .args(["-j", "link", "show", "dev", "eth0"])
            .output()
    };
    let output = world.director.run(ip).unwrap().unwrap();
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let tag = links[0]["xdp"]["prog"]["tag"].as_str();
    tag.unwrap_or_else(|| panic!("{links}")).to_owned()
}

fn config(world: &World) -> String {
    let datagrams = format!(
        "[[service]]\naddress = \"{}:{}\"\nprotocol = \"udp\"\nscheduler = \"rr\"\n\
         [[service.destination]]\naddress = \"{}\"\n[[service.destination]]\naddress = \"{}\"\n",
        vip(),
        traffic::PORT,
        server(1),
        server(2)
    );
    world.classic("rr") + &datagrams
}

#[test]
fn an_upgrade_of_the_package_loses_no_packet_and_no_connection() {
    let (Ok(package), Ok(debian)) = (std::env::var(PACKAGE), std::env::var(DEBIAN)) else {
        return println!("skipped: `cargo xtask test --only package` runs it");
    };
    if !root() {
        return;
    }
    let world = World::new();
    for (number, server) in world.servers.iter().enumerate() {
        traffic::serve(server, number as u8 + 1);
    }
    let package = PathBuf::from(package);
    let next = next_version(&package, world.folder.path());
    let debian = Debian::new(&world, debian.into());
    let version = debian.install(&package);
    let file = format!("etc/dirigo/{}.toml", debian.instance());
    std::fs::write(debian.root.join(file), config(&world)).unwrap();
    debian.run(&["systemctl", "start", &debian.unit()]);
    let first = program(&world);
    let mut open: Vec<_> = (0..4).map(|_| world.connect().unwrap()).collect();
    let traffic = Traffic::begin(&world.client, vip());

    for round in 0..3 {
        let (package, is_next) = match round % 2 {
            0 => (&next, true),
            _ => (&package, false),
        };
        let pid = debian.status()["pid"].clone();
        let now = debian.install(package);
        assert_eq!(now == version, !is_next, "{now}");
        let status = debian.status();
        assert_ne!(status["pid"], pid, "it was not restarted");
        assert_eq!(status["adopted"], true);
        assert_eq!(program(&world) == first, !is_next, "the programs of {now}");
    }

    let told = traffic.end();
    println!("three times another version installed: {told:?}");
    assert!(told.known > 100 && told.new > 10, "{told:?}");
    assert_eq!((told.lost, told.moved), (0, 0), "{told:?}");
    assert!(open.iter_mut().all(common::Conversation::echoes));

    // With the package goes what it did.
    debian.run(&["dpkg", "--purge", "dirigo"]);
    assert!(world.connect().is_err(), "forwarding outlived the package");
}
