//! Step 5, first half: a real server that answers for the VIP.
//!
//! IPv4: `arp_ignore` off on real server 1. A host answers ARP for every address it holds, on
//! whatever interface, so now two answer. The client keeps the first answer (Linux ignores others
//! for a second): a race, run until the wrong one wins.
//!
//! IPv6 has no such switch and needs none: a solicitation is answered only for addresses of the
//! interface it came in on, so a VIP on `lo` is silent by itself. The same mistake there is a VIP
//! on `eth0` of a real server (without duplicate address detection, which would catch it). Of two
//! answers the client keeps the last, since both carry the Override flag (RFC 4861 §7.2.5). Should
//! the director's always be last, the server announces the address as Linux does when it is
//! configured with `ndisc_notify=1`: one unsolicited advertisement, and the client's entry is taken.

use netlink::AddressFlags;

use super::Settings;
use super::observe::{self, Asked, names};
use crate::limits::{RACES_MAX, RACES_MAX_IPV6};
use crate::report::{Check, Flux};
use crate::topology::INTERFACE;
use crate::{Error, Family, Host, Lab, Net, Report, owner, realserver};

/// The server that is let loose.
const SERVER: Host = Host::Rs1;
/// Requests while it goes wrong, and after.
const REQUESTS: u32 = 4;

pub(super) fn run(
    lab: &mut Lab,
    _settings: &Settings,
    report: &mut Report,
) -> Result<Vec<Check>, Error> {
    let before = observe::client_entry(lab)?;
    answer_for_vip(&lab.net, SERVER)?;
    let (race, bypass) =
        observe::undisturbed(lab, |lab| Ok((race(lab)?, observe::bypass(lab, REQUESTS)?)))?;
    let (content, said) = realserver::check(&lab.net, SERVER)?;
    be_silent(&lab.net, SERVER)?;
    let afterwards = observe::mend(lab, REQUESTS)?;

    let mut checks = vec![
        Check::that(
            format!("{} answers for the VIP beside the director", SERVER.title()),
            race.asked.answered_by.contains(&SERVER)
                && race.asked.answered_by.contains(&Host::Director),
            names(&race.asked.answered_by),
        ),
        Check::equal(
            "the client's entry for the VIP becomes the MAC of",
            &SERVER.mac(),
            &race.asked.entry,
            owner,
        ),
    ];
    checks.extend(bypass.checks(SERVER));
    checks.push(Check::that(
        "`dirigo realserver check` there explains it",
        !content,
        if content { "it is content" } else { "it does" },
    ));
    checks.extend(afterwards.checks());
    report.arp_flux = Some(Flux {
        suppressed: false,
        server: SERVER,
        answered_by: race.asked.answered_by,
        client_entry_before: netlink::mac_text(&before),
        client_entry_after: netlink::mac_text(&race.asked.entry),
        races: race.races,
        taken_by: race.taken_by,
        requests: bypass.requests,
        answered_requests: bypass.answered,
        requests_seen_by_director: bypass.seen_by_director,
        check: said,
        afterwards,
    });
    Ok(checks)
}

struct Race {
    asked: Asked,
    races: u32,
    taken_by: &'static str,
}

/// Has the client ask until it believes the real server, or gives up.
fn race(lab: &Lab) -> Result<Race, Error> {
    let most = match lab.family() {
        Family::Ipv4 => RACES_MAX,
        Family::Ipv6 => RACES_MAX_IPV6,
    };
    let mut races = 0;
    loop {
        races += 1;
        let asked = observe::ask(lab)?;
        if asked.entry == SERVER.mac() || races >= most {
            let race = Race {
                asked,
                races,
                taken_by: "answer",
            };
            return announced(lab, race);
        }
    }
}

/// IPv6, if no race was won: the server's kernel announces the address.
fn announced(lab: &Lab, race: Race) -> Result<Race, Error> {
    if lab.family() == Family::Ipv4 || race.asked.entry == SERVER.mac() {
        return Ok(race);
    }
    lab.net
        .set_sysctl(SERVER, &format!("ipv6/conf/{INTERFACE}/ndisc_notify"), "1")?;
    let vip = lab.family().vip();
    move_address(&lab.net, SERVER, INTERFACE, None)?;
    // Not marked "no DAD": then the kernel would not announce it. `accept_dad` is 0 in the lab.
    move_address(
        &lab.net,
        SERVER,
        "",
        Some((INTERFACE, AddressFlags::default())),
    )?;
    let taken = lab.net.interrupt().poll(crate::limits::HTTP_MAX, || {
        let entry = lab.net.neighbour(Host::Client, vip)?;
        Ok(entry.filter(|mac| *mac == SERVER.mac()))
    })?;
    let entry = taken.unwrap_or(race.asked.entry);
    Ok(Race {
        asked: Asked {
            entry,
            ..race.asked
        },
        taken_by: "unsolicited advertisement",
        ..race
    })
}

/// The mistake.
pub(super) fn answer_for_vip(net: &Net, server: Host) -> Result<(), Error> {
    match net.family() {
        Family::Ipv4 => set_all(net, server, "arp_ignore", "0"),
        Family::Ipv6 => hold_on_interface(net, server),
    }
}

/// The mistake undone, as far as `dirigo realserver up` does not do it.
pub(super) fn be_silent(net: &Net, server: Host) -> Result<(), Error> {
    match net.family() {
        Family::Ipv4 => Ok(()),
        Family::Ipv6 => {
            net.set_sysctl(server, &format!("ipv6/conf/{INTERFACE}/ndisc_notify"), "0")?;
            move_address(net, server, INTERFACE, None)
        }
    }
}

/// IPv6: the VIP on eth0 instead of `lo`.
pub(super) fn hold_on_interface(net: &Net, server: Host) -> Result<(), Error> {
    let flags = AddressFlags {
        no_dad: true,
        ..AddressFlags::default()
    };
    move_address(net, server, "lo", Some((INTERFACE, flags)))
}

/// A sysctl of ARP on every interface: the kernel takes the largest of `all` and the interface's.
pub(super) fn set_all(net: &Net, server: Host, key: &str, value: &str) -> Result<(), Error> {
    for conf in ["all", "lo", INTERFACE] {
        net.set_sysctl(server, &format!("ipv4/conf/{conf}/{key}"), value)?;
    }
    Ok(())
}

/// Takes the VIP from one interface, if it is there, and puts it on another.
fn move_address(
    net: &Net,
    server: Host,
    from: &str,
    to: Option<(&str, AddressFlags)>,
) -> Result<(), Error> {
    let vip = net.family().vip();
    let prefix = netlink::host_prefix(&vip);
    let netlink = net.netlink(server)?;
    let moved = (|| {
        if !from.is_empty() {
            match netlink.delete_address(netlink.link(from)?.index, vip, prefix) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        match to {
            Some((to, flags)) => netlink.add_address(netlink.link(to)?.index, vip, prefix, flags),
            None => Ok(()),
        }
    })();
    moved.map_err(Error::netlink(format!("moving the VIP of {server}")))
}
