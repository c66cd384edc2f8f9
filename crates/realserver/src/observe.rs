//! What is there, as data. Everything decided in this room is decided on [`Facts`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink::{Link, Netlink};
use serde::Serialize;

use crate::sysctl::{ALL, Effective, LO};
use crate::{Error, Key, Setting};

/// Kinds of interface whose ports hand every frame to their master before ARP sees it.
const SWALLOWING: [&str; 4] = ["bridge", "bond", "team", "openvswitch"];

/// The facts of one host, that is of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// `lo` is switched on; without it no address on it is local.
    pub lo_up: bool,
    /// The host forwards packets that are not for it.
    pub forwards: bool,
    /// The other interfaces, in the kernel's order, without those that cannot receive ARP.
    pub interfaces: Vec<Interface>,
    /// Every address of every interface.
    pub addresses: Vec<Held>,
    /// The settings of `all`, `lo` and the interfaces.
    pub settings: BTreeMap<Key, i32>,
}

/// An interface on which ARP requests may arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// It is switched on.
    pub up: bool,
}

/// An address where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The interface's name.
    pub interface: String,
    /// What kind of place that is.
    pub place: Place,
    /// The address.
    pub address: IpAddr,
    /// Its prefix.
    pub prefix: u8,
    /// It was added with `scope host`.
    pub host_scope: bool,
    /// IPv6: detection of duplicates has not finished.
    pub tentative: bool,
    /// IPv6: another host has it.
    pub dad_failed: bool,
    /// It is never chosen as source of new connections.
    pub deprecated: bool,
}

/// Kinds of place for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// `lo`
    Loopback,
    /// An interface without ARP and neighbour discovery: dummies, most tunnels.
    Silent,
    /// An interface on which requests for the address are answered.
    Real,
}

impl Facts {
    /// A setting of one interface or of `all`; 0, the kernel's default, if it is not known.
    #[must_use]
    pub fn setting(&self, interface: &str, setting: Setting) -> i32 {
        let key = Key::new(interface, setting);
        self.settings.get(&key).copied().unwrap_or(0)
    }

    /// A setting as it counts on an interface.
    #[must_use]
    pub fn effective(&self, interface: &str, setting: Setting) -> Effective {
        Effective::new(self.setting(ALL, setting), self.setting(interface, setting))
    }

    /// Where this address stands.
    pub fn holders(&self, address: IpAddr) -> impl Iterator<Item = &Held> {
        self.addresses
            .iter()
            .filter(move |held| held.address == address)
    }
}

/// Gathers the facts of the calling thread's namespace, of these interfaces or of all.
pub fn observe(only: &[String]) -> Result<Facts, Error> {
    let netlink = Netlink::open()?;
    let links = netlink.links()?;
    let interfaces = interfaces(&links, only)?;
    let lo_up = links.iter().any(|link| link.loopback && link.up);
    let held = netlink.addresses(None)?;
    let addresses = held
        .into_iter()
        .filter_map(|address| held_on(&links, &address))
        .collect();
    let mut settings = BTreeMap::new();
    // Of every interface, also of those not asked for: `down` may have something to restore there.
    let names = links.iter().map(|link| link.name.as_str());
    for name in [ALL, LO].into_iter().chain(names) {
        for setting in [Setting::ArpIgnore, Setting::ArpAnnounce, Setting::RpFilter] {
            let key = Key::new(name, setting);
            if let Some(value) = key.read()? {
                settings.insert(key, value);
            }
        }
    }
    let forwards = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
    Ok(Facts {
        lo_up,
        forwards: forwards.is_ok_and(|text| text.trim() == "1"),
        interfaces,
        addresses,
        settings,
    })
}

fn interfaces(links: &[Link], only: &[String]) -> Result<Vec<Interface>, Error> {
    let receives = |link: &&Link| !link.loopback && !link.no_arp && !is_port(link, links);
    let found: Vec<Interface> = links
        .iter()
        .filter(receives)
        .map(|link| Interface {
            name: link.name.clone(),
            up: link.up,
        })
        .collect();
    for name in only {
        if !found.iter().any(|interface| interface.name == *name) {
            let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
            return Err(Error::NoSuchInterface {
                name: name.clone(),
                there: names.join(", "),
            });
        }
    }
    let wanted = |interface: &Interface| only.is_empty() || only.contains(&interface.name);
    Ok(found.into_iter().filter(wanted).collect())
}

fn is_port(link: &Link, links: &[Link]) -> bool {
    let master = links.iter().find(|other| Some(other.index) == link.master);
    master.is_some_and(|master| SWALLOWING.contains(&master.kind.as_str()))
}

/// `None` if the interface went away between the two readings.
fn held_on(links: &[Link], address: &netlink::Address) -> Option<Held> {
    const SCOPE_HOST: u8 = 254;
    let link = links.iter().find(|link| link.index == address.index)?;
    let place = if link.loopback {
        Place::Loopback
    } else if link.no_arp {
        Place::Silent
    } else {
        Place::Real
    };
    Some(Held {
        interface: link.name.clone(),
        place,
        address: address.address,
        prefix: address.prefix,
        host_scope: address.scope == SCOPE_HOST,
        tentative: address.tentative,
        dad_failed: address.dad_failed,
        deprecated: address.deprecated,
    })
}
