//! The segment: four hosts and a switch, each in a network namespace of its own.
//!
//! ```text
//!  client       director      rs1          rs2         one namespace each, eth0 and lo
//!    eth0         eth0         eth0         eth0
//!     │            │            │            │         veth pairs, TX checksum offload off
//!   client      director       rs1          rs2        ports, named after the host
//!     └────────────┴─── switch ─┴────────────┘         a bridge in a fifth namespace
//! ```
//!
//! What you may rely on: nothing of it is visible in, or changes, the namespace of the caller;
//! every sysctl that matters is set, whatever the machine's own are; dropping a [`Net`] takes it
//! away.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use netlink::{AddressFlags, Link, Mac, Namespace, Neighbour, Netlink, ethtool};

use crate::limits::{COMMAND_MAX, RESOLVE_MAX};
use crate::process::{self, Process, Start};
use crate::state::State;
use crate::topology::INTERFACE;
use crate::{Capture, Error, Family, Host, Interrupt};

/// First port of the client's connections; there are enough for the longest experiment.
const FIRST_PORT: u16 = 10_000;

/// Name of the bridge.
const BRIDGE: &str = "switch";

/// What a lab is built from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name; part of everything it leaves on the machine.
    pub name: String,
    /// Its family.
    pub family: Family,
    /// The `dirigo` binary.
    pub dirigo: PathBuf,
    /// Whether it is to outlive the process that builds it; see [`Net::leave_standing`].
    pub standing: bool,
    /// Who may interrupt it.
    pub interrupt: Interrupt,
}

/// Four hosts on one segment.
#[derive(Debug)]
pub struct Net {
    state: State,
    interrupt: Interrupt,
    untethered: bool,
    standing: bool,
    ports: AtomicU16,
    switch: Namespace,
    hosts: [Namespace; 4],
}

impl Net {
    /// Builds it: namespaces, links, addresses, sysctls. No VIP yet, nothing runs.
    pub fn build(options: &Options) -> Result<Self, Error> {
        let state = State::claim(&options.name, options.family, &options.dirigo)?;
        match Self::assemble(&state, options) {
            Ok(net) => Ok(net),
            Err(error) => {
                state.clean();
                Err(error)
            }
        }
    }

    fn assemble(state: &State, options: &Options) -> Result<Self, Error> {
        let switch = named(&state.switch())?;
        let [client, director, rs1, rs2] = Host::ALL.map(|host| named(&state.namespace(host)));
        let net = Self {
            state: state.clone(),
            interrupt: options.interrupt.clone(),
            untethered: options.standing,
            standing: false,
            ports: AtomicU16::new(FIRST_PORT),
            switch,
            hosts: [client?, director?, rs1?, rs2?],
        };
        net.sysctls()?;
        let bridge = net.add_bridge()?;
        // A bridge floods to its newest port first. Real server 1 comes last, so that in the
        // counter-experiment, where it races the director's answer, it is asked first.
        for host in [Host::Client, Host::Director, Host::Rs2, Host::Rs1] {
            net.plug(host, bridge)?;
        }
        Ok(net)
    }

    /// Lets it outlive this process. From now on only `lab down` takes it away.
    pub fn leave_standing(&mut self) -> Result<(), Error> {
        self.state.standing = true;
        self.state.save()?;
        self.standing = true;
        Ok(())
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.state.family
    }

    /// What it left on the machine.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Who may interrupt it.
    #[must_use]
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// A host's namespace.
    #[must_use]
    pub fn namespace(&self, host: Host) -> &Namespace {
        &self.hosts[host as usize]
    }

    /// The bridge's namespace. Its links are named after the hosts plugged in.
    #[must_use]
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// Runs a closure as if on this host: its sockets are the host's.
    pub fn on<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        self.namespace(host)
            .run(work)
            .map_err(Error::netlink(format!("entering {host}")))
    }

    /// Runs a command on a host to its end and returns its output, whatever its exit status.
    pub fn exec(&self, host: Host, command: &mut Command) -> Result<Output, Error> {
        self.exec_within(host, command, COMMAND_MAX)
    }

    /// Like [`Net::exec`], with a time limit of your own.
    pub fn exec_within(
        &self,
        host: Host,
        command: &mut Command,
        limit: Duration,
    ) -> Result<Output, Error> {
        process::run(self.namespace(host), command, limit, &self.interrupt)
    }

    /// Runs a command on a host that must succeed; returns what it wrote to standard output.
    pub fn exec_ok(&self, host: Host, command: &mut Command) -> Result<String, Error> {
        let output = self.exec(host, command)?;
        process::succeeded(command, output)
    }

    /// Starts a process on a host that lives as long as the lab. It logs to `LOG.log`.
    pub fn spawn(&self, host: Host, log: &str, words: Vec<OsString>) -> Result<Process, Error> {
        self.spawn_in(&self.state.namespace(host), log, words)
    }

    /// The same, in the bridge's namespace.
    pub fn spawn_at_switch(&self, log: &str, words: Vec<OsString>) -> Result<Process, Error> {
        self.spawn_in(&self.state.switch(), log, words)
    }

    fn spawn_in(&self, namespace: &str, log: &str, words: Vec<OsString>) -> Result<Process, Error> {
        Process::start(Start {
            dirigo: self.dirigo(),
            namespace,
            stays: self.untethered,
            log: self.state.directory().join(format!("{log}.log")),
            words,
        })
    }

    /// The `dirigo` binary.
    #[must_use]
    pub fn dirigo(&self) -> &Path {
        &self.state.dirigo
    }

    /// A client port that was not handed out before, as long as there are any.
    pub(crate) fn fresh_port(&self) -> u16 {
        let next = |port: u16| Some(port.checked_add(1).unwrap_or(FIRST_PORT));
        let order = Ordering::Relaxed;
        let taken = self.ports.fetch_update(order, order, next);
        taken.unwrap_or(FIRST_PORT)
    }

    /// Captures everywhere from now on.
    pub fn capture(&self) -> Result<Capture, Error> {
        Capture::start(self)
    }

    /// A host's netlink handle.
    pub fn netlink(&self, host: Host) -> Result<Netlink, Error> {
        self.on(host, Netlink::open)?
            .map_err(Error::netlink(format!("opening netlink on {host}")))
    }

    /// A host's interface.
    pub fn link(&self, host: Host) -> Result<Link, Error> {
        self.netlink(host)?
            .link(INTERFACE)
            .map_err(Error::netlink(format!("looking at {host}")))
    }

    /// The switch's port of a host, with the kernel's frame counters. `rx` is what the host sent.
    pub fn port(&self, host: Host) -> Result<Link, Error> {
        let doing = || format!("looking at the switch's port of {host}");
        let netlink = self.switch.run(Netlink::open);
        let netlink = netlink
            .and_then(|netlink| netlink)
            .map_err(Error::netlink(doing()))?;
        netlink.link(host.name()).map_err(Error::netlink(doing()))
    }

    /// Writes a sysctl of a host, for example `ipv4/conf/all/arp_ignore`.
    pub fn set_sysctl(&self, host: Host, key: &str, value: &str) -> Result<(), Error> {
        write_sysctl(self.namespace(host), key, value)
    }

    /// What a host believes to be the MAC of an address now, if anything.
    pub fn neighbour(&self, host: Host, address: IpAddr) -> Result<Option<Mac>, Error> {
        let netlink = self.netlink(host)?;
        let doing = || format!("reading the neighbours of {host}");
        let found = netlink.neighbours(None).map_err(Error::netlink(doing()))?;
        let known = |entry: &Neighbour| entry.address == address && entry.state.is_usable();
        Ok(found.into_iter().find(known).and_then(|entry| entry.mac))
    }

    /// Makes a host forget the MAC of an address.
    pub fn forget(&self, host: Host, address: IpAddr) -> Result<(), Error> {
        let index = self.link(host)?.index;
        match self.netlink(host)?.delete_neighbour(index, address) {
            Err(error) if !error.is_not_found() => {
                Err(Error::netlink(format!("making {host} forget"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Has a host's kernel ask who has an address, and returns the MAC it then believes in.
    pub fn resolve(&self, host: Host, address: IpAddr) -> Result<Mac, Error> {
        let index = self.link(host)?.index;
        let doing = || format!("making {host} resolve {address}");
        self.netlink(host)?
            .solicit(index, address)
            .map_err(Error::netlink(doing()))?;
        let seen = self
            .interrupt
            .poll(RESOLVE_MAX, || self.neighbour(host, address))?;
        seen.ok_or_else(|| Error::Timeout {
            what: format!("an answer to {host}, who asked for the MAC of {address}"),
            seconds: RESOLVE_MAX.as_secs(),
            said: String::new(),
        })
    }

    /// Gives a host's interface another MAC, as a changed network card would.
    pub fn set_mac(&self, host: Host, mac: Mac) -> Result<(), Error> {
        let index = self.link(host)?.index;
        self.netlink(host)?
            .set_mac(index, mac)
            .map_err(Error::netlink(format!("changing the MAC of {host}")))
    }

    fn add_bridge(&self) -> Result<u32, Error> {
        let made = self.switch.run(|| {
            let netlink = Netlink::open()?;
            netlink.add_bridge(BRIDGE)?;
            let index = netlink.link(BRIDGE)?.index;
            netlink.set_up(index)?;
            Ok(index)
        });
        made.and_then(|made| made)
            .map_err(missing("bridge", "CONFIG_BRIDGE"))
    }

    /// One cable: veth pair, addresses, both ends up, the near end in the bridge.
    fn plug(&self, host: Host, bridge: u32) -> Result<(), Error> {
        let name = host.name();
        let there = self.namespace(host).fd();
        let port = self.switch.run(|| {
            let netlink = Netlink::open()?;
            netlink.add_veth(name, INTERFACE, Some(there))?;
            Ok(netlink.link(name)?.index)
        });
        let port = port
            .and_then(|port| port)
            .map_err(missing("veth pair", "CONFIG_VETH"))?;
        let doing = || format!("setting up {host}");
        self.on(host, || set_up_host(host, self.family()))?
            .map_err(Error::netlink(doing()))?;
        let plugged = self.switch.run(|| {
            ethtool::set_tx_checksum(name, false)?;
            let netlink = Netlink::open()?;
            netlink.set_master(port, Some(bridge))?;
            netlink.set_up(port)
        });
        plugged
            .and_then(|plugged| plugged)
            .map_err(Error::netlink(doing()))
    }

    /// Before any link exists, so that each is born with them.
    fn sysctls(&self) -> Result<(), Error> {
        let no_ipv6 = [("disable_ipv6", "1")];
        for conf in ["all", "default"] {
            set_ipv6(&self.switch, conf, &no_ipv6, Family::Ipv4)?;
            for namespace in &self.hosts {
                for (key, value) in IPV4_SYSCTLS {
                    write_sysctl(namespace, &format!("ipv4/conf/{conf}/{key}"), value)?;
                }
                let ipv6: &[_] = match self.family() {
                    Family::Ipv4 => &no_ipv6,
                    Family::Ipv6 => &IPV6_SYSCTLS,
                };
                set_ipv6(namespace, conf, ipv6, self.family())?;
            }
        }
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if !self.standing {
            for trouble in self.state.clean() {
                crate::say(&trouble);
            }
        }
    }
}

/// The kernel's own defaults; a new namespace copies the machine's, which may be anything.
const IPV4_SYSCTLS: [(&str, &str); 5] = [
    ("rp_filter", "0"),
    ("arp_ignore", "0"),
    ("arp_announce", "0"),
    ("arp_filter", "0"),
    ("forwarding", "0"),
];

/// Duplicate address detection takes a second per address, and router discovery litters captures.
const IPV6_SYSCTLS: [(&str, &str); 5] = [
    ("disable_ipv6", "0"),
    ("accept_dad", "0"),
    ("accept_ra", "0"),
    ("router_solicitations", "0"),
    ("forwarding", "0"),
];

fn named(name: &str) -> Result<Namespace, Error> {
    Namespace::create_named(name).map_err(missing("network namespace", "CONFIG_NET_NS and root"))
}

fn missing(feature: &'static str, option: &'static str) -> impl Fn(netlink::Error) -> Error {
    move |source| {
        let unsupported = [nix::libc::EOPNOTSUPP, nix::libc::ENOSYS, nix::libc::EINVAL];
        match source.errno() {
            Some(errno) if unsupported.contains(&errno) => Error::Missing {
                feature,
                option,
                source,
            },
            _ => Error::Netlink {
                doing: format!("making a {feature}"),
                source,
            },
        }
    }
}

fn set_up_host(host: Host, family: Family) -> Result<(), netlink::Error> {
    let netlink = Netlink::open()?;
    ethtool::set_tx_checksum(INTERFACE, false)?;
    let eth0 = netlink.link(INTERFACE)?.index;
    netlink.set_mac(eth0, host.mac())?;
    netlink.set_up(netlink.link("lo")?.index)?;
    netlink.set_up(eth0)?;
    let flags = AddressFlags {
        no_dad: true,
        ..AddressFlags::default()
    };
    netlink.add_address(eth0, host.address(family), family.prefix(), flags)
}

fn set_ipv6(
    namespace: &Namespace,
    conf: &str,
    sysctls: &[(&str, &str)],
    family: Family,
) -> Result<(), Error> {
    for (key, value) in sysctls {
        let key = format!("ipv6/conf/{conf}/{key}");
        match write_sysctl(namespace, &key, value) {
            // A kernel without IPv6 has nothing to switch off.
            Err(Error::Sysctl { source, .. })
                if family == Family::Ipv4 && source.kind() == std::io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

fn write_sysctl(namespace: &Namespace, key: &str, value: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys/net").join(key);
    let written = namespace
        .run(|| std::fs::write(&path, value))
        .map_err(Error::netlink(format!("setting {key}")))?;
    written.map_err(|source| Error::Sysctl {
        path: path.clone(),
        value: value.to_owned(),
        source,
    })
}
