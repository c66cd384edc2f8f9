//! Who is meant: from a MAC or an address to a host's name.

use std::net::IpAddr;

use netlink::{Mac, mac_text};

use crate::facts::{Facts, Role};
use crate::finding::HostName;

/// The host that was examined.
pub(super) fn here(facts: &Facts) -> HostName {
    let link = facts.host.segment_links().find(|link| {
        let daemon = facts.segment.daemon.as_ref().filter(|daemon| daemon.here);
        daemon.is_none_or(|daemon| {
            daemon
                .interfaces
                .iter()
                .any(|(name, ..)| *name == link.name)
        })
    });
    let any = || {
        facts
            .host
            .links
            .iter()
            .find(|link| !link.loopback && !link.port)
    };
    let link = link
        .or_else(|| facts.host.segment_links().next())
        .or_else(any);
    let held = link.and_then(|link| {
        let mut own = facts.host.addresses.iter().filter(|held| {
            held.interface == link.name
                && !facts.is_vip(held.address)
                && !is_link_local(held.address)
        });
        own.next()
    });
    HostName {
        role: facts.role.name().to_owned(),
        address: held.map(|held| held.address),
        mac: link.map(|link| mac_text(&link.mac)),
        here: true,
    }
}

/// The host at a MAC.
pub(super) fn at(facts: &Facts, mac: Mac) -> HostName {
    if facts
        .host
        .links
        .iter()
        .any(|link| !link.loopback && link.mac == mac)
    {
        return here(facts);
    }
    let role = if is_director(facts, mac) {
        "director"
    } else if server_at(facts, mac).is_some() {
        "real server"
    } else {
        "host"
    };
    HostName {
        role: role.to_owned(),
        address: server_at(facts, mac).or_else(|| address_at(facts, mac)),
        mac: Some(mac_text(&mac)),
        here: false,
    }
}

/// A real server.
pub(super) fn server(facts: &Facts, address: IpAddr) -> HostName {
    let mac = facts
        .answers(address)
        .next()
        .map(|claim| mac_text(&claim.mac));
    let known = facts
        .segment
        .services
        .iter()
        .flat_map(|service| &service.destinations);
    let mut known = known.filter(|one| one.address.ip() == address);
    HostName {
        role: "real server".to_owned(),
        address: Some(address),
        mac: mac.or_else(|| known.find_map(|one| one.mac.clone())),
        here: facts.host.holders(address).next().is_some(),
    }
}

/// The director, as far as it is known here.
pub(super) fn director(facts: &Facts) -> HostName {
    if facts.role == Role::Director {
        return here(facts);
    }
    let mac = director_macs(facts).first().copied();
    HostName {
        role: "director".to_owned(),
        address: facts
            .segment
            .directors
            .first()
            .copied()
            .or_else(|| address_at(facts, mac?)),
        mac: mac.map(|mac| mac_text(&mac)),
        here: false,
    }
}

/// The director's MACs: of the daemon, of the addresses it was said to have, or of the only host
/// that answers for a VIP and is no real server.
pub(super) fn director_macs(facts: &Facts) -> Vec<Mac> {
    let mut macs: Vec<Mac> = Vec::new();
    if let Some(daemon) = &facts.segment.daemon {
        macs.extend(
            daemon
                .interfaces
                .iter()
                .filter_map(|(_, mac, _)| parse(mac)),
        );
    }
    for address in &facts.segment.directors {
        macs.extend(facts.answers(*address).map(|claim| claim.mac));
    }
    if macs.is_empty() && facts.role == Role::Director {
        macs.extend(facts.host.segment_links().map(|link| link.mac));
    }
    if macs.is_empty() {
        let mut answering: Vec<Mac> = facts
            .segment
            .vips
            .iter()
            .flat_map(|vip| facts.answers(*vip))
            .map(|claim| claim.mac)
            .filter(|mac| server_at(facts, *mac).is_none() && !is_own(facts, *mac))
            .collect();
        answering.sort_unstable();
        answering.dedup();
        if answering.len() == 1 {
            macs = answering;
        }
    }
    macs
}

pub(super) fn is_director(facts: &Facts, mac: Mac) -> bool {
    director_macs(facts).contains(&mac)
}

pub(super) fn is_own(facts: &Facts, mac: Mac) -> bool {
    facts
        .host
        .links
        .iter()
        .any(|link| !link.loopback && link.mac == mac)
}

/// The real server at a MAC, if one answered for its own address there.
pub(super) fn server_at(facts: &Facts, mac: Mac) -> Option<IpAddr> {
    let servers = facts.servers();
    let mut all = facts
        .claims
        .iter()
        .filter(|claim| claim.mac == mac && claim.answers > 0);
    let heard =
        all.find(|claim| servers.contains(&claim.address) && !is_double(facts, claim.address));
    let known = facts
        .segment
        .services
        .iter()
        .flat_map(|service| &service.destinations);
    let mut known = known.filter(|one| one.mac.as_deref() == Some(&mac_text(&mac)));
    heard
        .map(|claim| claim.address)
        .or_else(|| known.next().map(|one| one.address.ip()))
}

/// Several hosts answer for an address, so it tells nothing of them.
fn is_double(facts: &Facts, address: IpAddr) -> bool {
    facts.answers(address).count() > 1
}

/// An address, not a virtual one, that is known to be at a MAC.
fn address_at(facts: &Facts, mac: Mac) -> Option<IpAddr> {
    let fits = |address: IpAddr| {
        let is_ours = facts.host.holders(address).next().is_some();
        !facts.is_vip(address) && !is_link_local(address) && !is_ours && !is_double(facts, address)
    };
    let mut claims = facts
        .claims
        .iter()
        .filter(|claim| claim.mac == mac && fits(claim.address));
    let mut entries = facts.host.neighbours.iter();
    claims.next().map(|claim| claim.address).or_else(|| {
        let entry = entries.find(|entry| entry.mac == Some(mac) && fits(entry.address));
        entry.map(|entry| entry.address)
    })
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

fn parse(text: &str) -> Option<Mac> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

/// The words that name the interface of an address on another host, for its shell.
pub(super) fn interface_of(address: IpAddr) -> String {
    let prefix = netlink::host_prefix(&address);
    format!("\"$(ip -o address show to {address}/{prefix} | awk '{{print $2; exit}}')\"")
}

/// Has a host hold its own address, on the interface it is on or the first there is, and answer.
pub(super) fn bring_up(address: IpAddr, prefix: u8) -> String {
    let whole = netlink::host_prefix(&address);
    format!(
        "dev=$(ip -o address show to {address}/{whole} | awk '{{print $2; exit}}'); \
         dev=${{dev:-$(ip -o link | awk -F': ' '$3 !~ /LOOPBACK/ {{sub(/@.*/, \"\", $2); print $2; exit}}')}}; \
         ip link set dev $dev up arp on; ip address replace {address}/{prefix} dev $dev"
    )
}

/// Takes an address from every interface but `lo`, whichever it is on and with whatever prefix.
pub(super) fn remove_everywhere(address: IpAddr) -> String {
    let prefix = netlink::host_prefix(&address);
    format!(
        "ip -o address show to {address}/{prefix} | awk '$2 != \"lo\" {{print $4, \"dev\", $2}}' | \
         xargs -rL1 ip address del"
    )
}

/// Takes away entries by which a host answers for an address of somebody else, on whatever interface.
pub(super) fn remove_proxies(address: IpAddr) -> String {
    let family = if address.is_ipv6() { "-6" } else { "-4" };
    format!(
        "ip {family} neighbour show proxy | awk '$1 == \"{address}\" {{print $1, \"dev\", $3}}' | \
         xargs -rL1 ip {family} neighbour del proxy"
    )
}

/// Makes a host a silent holder of a VIP, whatever it is now.
pub(super) fn silence(vip: IpAddr) -> Vec<String> {
    let mut commands = vec![remove_everywhere(vip), remove_proxies(vip)];
    if vip.is_ipv4() {
        commands.push("sysctl -w net.ipv4.conf.all.arp_ignore=1".to_owned());
        commands.push("sysctl -w net.ipv4.conf.all.arp_announce=2".to_owned());
    }
    commands.push(hold_on_lo(vip));
    commands
}

/// Puts a VIP on `lo`; nothing happens if it is there.
pub(super) fn hold_on_lo(vip: IpAddr) -> String {
    match vip {
        IpAddr::V4(_) => format!("ip address replace {vip}/32 dev lo"),
        IpAddr::V6(_) => format!("ip address replace {vip}/128 dev lo nodad preferred_lft 0"),
    }
}

/// Puts a VIP on an interface of the director.
pub(super) fn hold_on_interface(vip: IpAddr, interface: &str) -> String {
    match vip {
        IpAddr::V4(_) => format!("ip address replace {vip}/32 dev {interface}"),
        IpAddr::V6(_) => {
            format!("ip address replace {vip}/128 dev {interface} nodad preferred_lft 0")
        }
    }
}
