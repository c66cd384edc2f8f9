//! This host, by netlink and `/proc`: links, addresses, settings, neighbours, routes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use netlink::{NeighbourState, Netlink, XdpMode, ethtool};

use super::Error;
use crate::facts::{Address, Host, Link, Neighbour, Route, Segment, Unanswered, Xdp};
use crate::limits::{FDS_MAX, ROUTES_MAX};

/// Kinds of interface whose ports hand every frame to their master before ARP sees it.
const SWALLOWING: [&str; 4] = ["bridge", "bond", "team", "openvswitch"];
/// Settings of each interface and of `all`.
const IPV4: [&str; 7] = [
    "arp_ignore",
    "arp_announce",
    "arp_filter",
    "rp_filter",
    "accept_local",
    "proxy_arp",
    "forwarding",
];
const IPV6: [&str; 3] = ["disable_ipv6", "accept_dad", "forwarding"];
/// Settings of the whole host.
const WHOLE: [&str; 4] = [
    "net/ipv4/ip_forward",
    "net/ipv4/icmp_echo_ignore_all",
    "net/core/bpf_jit_enable",
    "net/netfilter/nf_conntrack_max",
];
/// Addresses that no host has (RFC 5737, RFC 3849): the way to them is the way to clients anywhere.
const ANYWHERE: [&str; 2] = ["203.0.113.1", "2001:db8:ffff:ffff::1"];

pub(super) fn observe(unseen: &mut Vec<String>) -> Result<Host, Error> {
    let netlink = Netlink::open()?;
    let found = netlink.links()?;
    let names = programs(&found, unseen);
    let links: Vec<Link> = found
        .iter()
        .map(|link| describe(link, &found, &names))
        .collect();
    let name = |index: u32| {
        let link = links.iter().find(|link| link.index == index);
        link.map(|link| link.name.clone())
    };
    let addresses = netlink.addresses(None)?.into_iter().filter_map(|held| {
        Some(Address {
            interface: name(held.index)?,
            address: held.address,
            prefix: held.prefix,
            tentative: held.tentative,
            dad_failed: held.dad_failed,
            deprecated: held.deprecated,
        })
    });
    let neighbours = netlink.neighbours(None)?.into_iter().filter_map(|entry| {
        let kept = !matches!(entry.state, NeighbourState::Noarp | NeighbourState::None);
        Some(Neighbour {
            interface: name(entry.index)?,
            address: entry.address,
            mac: entry.mac,
            state: entry.state.to_string(),
            usable: entry.state.is_usable(),
            changes: 0,
        })
        .filter(|_| kept)
    });
    Ok(Host {
        name: hostname(),
        kernel: kernel(),
        addresses: addresses.collect(),
        neighbours: neighbours.collect(),
        sysctls: sysctls(&links),
        realserver: realserver::observe::observe(&[])?,
        links,
        ..Host::default()
    })
}

/// The ways to the addresses that matter, and to anywhere.
pub(super) fn routes(
    host: &Host,
    segment: &Segment,
) -> Result<BTreeMap<IpAddr, Option<Route>>, Error> {
    let netlink = Netlink::open()?;
    let known = segment.vips.iter().chain(&segment.directors).copied();
    let servers = segment
        .services
        .iter()
        .flat_map(|service| &service.destinations);
    let servers = servers.map(|destination| destination.address.ip());
    let neighbours = host.neighbours.iter().filter(|entry| entry.usable);
    let neighbours = neighbours
        .map(|entry| entry.address)
        .filter(|address| !is_link_local(*address));
    let anywhere = ANYWHERE.iter().filter_map(|text| text.parse().ok());
    let all = known
        .chain(servers)
        .chain(anywhere)
        .chain(neighbours)
        .take(ROUTES_MAX);
    let mut routes = BTreeMap::new();
    for address in all {
        let found = netlink.route_to(address)?;
        let route = found.and_then(|route| {
            let link = host
                .links
                .iter()
                .find(|link| link.index == route.interface)?;
            Some(Route {
                interface: link.name.clone(),
                gateway: route.gateway,
                local: route.local,
            })
        });
        routes.insert(address, route);
    }
    Ok(routes)
}

/// VIPs that this host has and from which it cannot answer: policy routing refuses what has them for a source.
pub(super) fn unanswered(host: &Host, segment: &Segment) -> Result<Vec<Unanswered>, Error> {
    let netlink = Netlink::open()?;
    let has = |vip: &&IpAddr| host.addresses.iter().any(|held| held.address == **vip);
    let mut all = Vec::new();
    for vip in segment.vips.iter().filter(has) {
        let usable = host.routes.iter().filter(|(address, route)| {
            address.is_ipv4() == vip.is_ipv4() && route.as_ref().is_some_and(|route| !route.local)
        });
        for (destination, _) in usable {
            if netlink.route_from(*vip, *destination)?.is_some() {
                continue;
            }
            let rules = netlink.source_rules(vip.is_ipv6())?;
            let rule = rules.iter().find(|rule| rule.is_about(*vip));
            all.push(Unanswered {
                vip: *vip,
                destination: *destination,
                rule: rule.map(|rule| {
                    format!(
                        "pref {} from {}/{}",
                        rule.priority, rule.source, rule.prefix
                    )
                }),
            });
        }
    }
    Ok(all)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

fn describe(link: &netlink::Link, all: &[netlink::Link], names: &BTreeMap<u32, String>) -> Link {
    let master = all.iter().find(|other| Some(other.index) == link.master);
    let name = &link.name;
    let offloads = ethtool::offloads(name);
    let channels = ethtool::channels(name).ok();
    Link {
        index: link.index,
        name: name.clone(),
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        carrier: link.carrier,
        loopback: link.loopback,
        no_arp: link.no_arp,
        port: master.is_some_and(|master| SWALLOWING.contains(&master.kind.as_str())),
        kind: link.kind.clone(),
        driver: ethtool::driver(name).ok(),
        xdp: link.xdp.map(|xdp| Xdp {
            mode: mode(xdp.mode).to_owned(),
            program: xdp.program,
            name: names.get(&xdp.program).cloned(),
            holder: holder(xdp.program),
        }),
        queues: channels.map(|found| (found.rx, found.rx_max, found.combined)),
        rss: ethtool::rss_queues(name).ok(),
        rx_ring: ethtool::rings(name)
            .ok()
            .map(|found| (found.rx, found.rx_max)),
        tx_checksum: offloads.tx_checksum,
        lro: offloads.lro,
        gro: offloads.gro,
    }
}

fn mode(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
        XdpMode::Other => "offloaded",
    }
}

/// Names of the programs on interfaces. The kernel tells them to root only.
fn programs(links: &[netlink::Link], unseen: &mut Vec<String>) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    if links.iter().all(|link| link.xdp.is_none()) {
        return names;
    }
    for program in aya::programs::loaded_programs() {
        match program {
            Ok(program) => {
                let name = program.name_as_str().unwrap_or_default().to_owned();
                names.insert(program.id(), name);
            }
            Err(error) => {
                unseen.push(format!("names of XDP programs: {error}"));
                break;
            }
        }
    }
    names
}

/// The process with a descriptor of the link that holds a program on an interface: such a program
/// stays until that process ends, whatever `ip link` is told.
fn holder(program: u32) -> Option<u32> {
    let wanted = program.to_string();
    let is_held = |info: &str| {
        let value = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        value("link_type:") == Some("xdp") && value("prog_id:") == Some(wanted.as_str())
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
        let mut infos = infos.into_iter().flatten().flatten().take(FDS_MAX);
        infos.any(|info| std::fs::read_to_string(info.path()).is_ok_and(|text| is_held(&text)))
    })
}

fn sysctls(links: &[Link]) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    let mut read = |path: String| {
        let text = std::fs::read_to_string(Path::new("/proc/sys").join(&path));
        if let Some(value) = text.ok().and_then(|text| text.trim().parse().ok()) {
            all.insert(path, value);
        }
    };
    let names = links.iter().map(|link| link.name.as_str());
    for name in names.chain(["all"]) {
        IPV4.iter()
            .for_each(|key| read(format!("net/ipv4/conf/{name}/{key}")));
        IPV6.iter()
            .for_each(|key| read(format!("net/ipv6/conf/{name}/{key}")));
    }
    WHOLE.iter().for_each(|key| read((*key).to_owned()));
    all
}

fn hostname() -> String {
    let name = nix::unistd::gethostname().ok();
    name.and_then(|name| name.into_string().ok())
        .unwrap_or_default()
}

fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}
