//! `[[service]]` and `[[service.destination]]`, and what direct routing asks of them.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use api::{Netmask, Persistence, Protocol, ServiceKey};

use crate::address::{self, not_unicast};
use crate::check::Checks;
use crate::mistake::{Advice, Reason};
use crate::schema::{self, Table};
use crate::section::{At, Notes, Section};
use crate::{Destination, OutOfRange, Scheduler, Seconds, Service, Weight, limits, read, rules};

/// All services of the file.
pub(crate) fn all(root: &Section<'_>, checks: &Checks, notes: &mut Notes<'_>) -> Vec<Service> {
    let (sections, beyond) = root.many(&schema::SERVICE, Table::Service, limits::SERVICES, notes);
    if let Some(at) = beyond {
        let number = limits::SERVICES + 1;
        notes.add(at, Reason::TooManyServices { number });
    }
    let mut seen = Seen::default();
    let mut services = Vec::new();
    for section in &sections {
        services.extend(one(section, checks, &mut seen, notes));
    }
    seen.note_loops(notes);
    services
}

/// What has been read of all services so far, and where.
#[derive(Default)]
struct Seen {
    services: HashMap<ServiceKey, usize>,
    virtual_addresses: HashMap<IpAddr, usize>,
    destinations: Vec<At<IpAddr>>,
    destinations_read: usize,
}

impl Seen {
    /// A destination that is anybody's virtual address would get its frames back at once.
    fn note_loops(&self, notes: &mut Notes<'_>) {
        for destination in &self.destinations {
            if let Some(&service) = self.virtual_addresses.get(&destination.value) {
                let reason = Reason::DestinationIsVirtual {
                    destination: destination.value,
                    service_line: notes.line(service),
                };
                notes.add(destination.at, reason);
            }
        }
    }
}

fn one(
    section: &Section<'_>,
    checks: &Checks,
    seen: &mut Seen,
    notes: &mut Notes<'_>,
) -> Option<Service> {
    section.require(&schema::SERVICE_ADDRESS, notes);
    section.require(&schema::PROTOCOL, notes);
    let address = virtual_address(section, notes);
    let protocol = protocol(section, notes);
    let scheduler = scheduler(section, notes).unwrap_or_default();
    if let Some(address) = &address {
        seen.virtual_addresses
            .entry(address.value.ip())
            .or_insert(address.at);
    }
    let persistence = persistence(section, address.as_ref().map(|one| one.value.ip()), notes);
    let one_packet = one_packet(section, protocol, notes);
    let virtual_address = address.as_ref().map(|address| address.value);
    let mut exceptions = BTreeMap::new();
    let destinations = destinations(
        section,
        virtual_address,
        &mut |section, server, notes| {
            let names = rules::names(section, &schema::DESTINATION_CHECKS, checks, notes);
            exceptions.extend(names.map(|names| (server, names)));
        },
        seen,
        notes,
    );
    let health = rules::of_service(
        section,
        virtual_address,
        checks,
        (&destinations, exceptions),
        notes,
    );
    let (address, protocol) = (address?, protocol?);
    let key = ServiceKey::Address {
        protocol,
        address: address.value,
    };
    match seen.services.get(&key) {
        Some(&first) => {
            let first_line = notes.line(first);
            let reason = Reason::ServiceTwice {
                service: key,
                first_line,
            };
            notes.add(section.at(), reason);
        }
        None => {
            seen.services.insert(key, section.at());
        }
    }
    Some(Service {
        key,
        scheduler,
        persistence,
        one_packet,
        destinations,
        health,
    })
}

fn virtual_address(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<At<SocketAddr>> {
    let text = section.string(&schema::SERVICE_ADDRESS, notes)?;
    match address::with_port(text.value, schema::SERVICE_ADDRESS.example) {
        Ok(value) => {
            if let Some(kind) = not_unicast(&value.ip()) {
                let address = value.ip();
                notes.add(text.at, Reason::VirtualAddressNotUnicast { address, kind });
            }
            Some(At { at: text.at, value })
        }
        Err(fault) => {
            notes.add(text.at, Reason::Address(fault));
            None
        }
    }
}

fn protocol(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<Protocol> {
    let word = section.string(&schema::PROTOCOL, notes)?;
    let reason = match word.value {
        "tcp" => return Some(Protocol::Tcp),
        "udp" => return Some(Protocol::Udp),
        "sctp" => Reason::SctpNotYet,
        other => read::unknown_value(&schema::PROTOCOL, other, &["tcp", "udp"]),
    };
    notes.add(word.at, reason);
    None
}

fn scheduler(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<Scheduler> {
    let word = section.string(&schema::SCHEDULER, notes)?;
    let reason = match Scheduler::named(word.value) {
        Some(scheduler) if scheduler.is_available() => return Some(scheduler),
        Some(scheduler) => Reason::SchedulerNotYet {
            name: scheduler.name(),
        },
        None => {
            let names: Vec<_> = Scheduler::available().map(Scheduler::name).collect();
            read::unknown_value(&schema::SCHEDULER, word.value, &names)
        }
    };
    notes.add(word.at, reason);
    None
}

fn persistence(
    section: &Section<'_>,
    virtual_address: Option<IpAddr>,
    notes: &mut Notes<'_>,
) -> Option<Persistence> {
    let timeout = section.number(&schema::PERSISTENCE, Seconds::try_from, notes);
    let text = section.string(&schema::NETMASK, notes);
    if let Some(at) = section.position(&schema::NETMASK)
        && section.position(&schema::PERSISTENCE).is_none()
    {
        notes.add(at, Reason::NetmaskWithoutPersistence);
    }
    let netmask = text.zip(virtual_address);
    let netmask =
        netmask.and_then(|(text, virtual_address)| netmask_of(&text, virtual_address, notes));
    Some(Persistence {
        timeout_s: timeout?.value.into(),
        netmask,
    })
}

/// An IPv4 mask or the length of an IPv6 prefix, as `-M` takes them.
fn netmask_of(text: &At<&str>, virtual_address: IpAddr, notes: &mut Notes<'_>) -> Option<Netmask> {
    let (netmask, advice) = match virtual_address {
        IpAddr::V4(_) => (
            text.value.parse().ok().map(Netmask::V4),
            "an IPv4 mask, for example \"255.255.255.0\"",
        ),
        IpAddr::V6(_) => {
            let prefix: Option<u8> = text.value.parse().ok();
            let good = prefix.filter(|prefix| (1..=128).contains(prefix));
            (
                good.map(Netmask::V6),
                "the length of an IPv6 prefix, for example \"64\"",
            )
        }
    };
    if netmask.is_none() {
        let reason = Reason::BadNetmask {
            netmask: text.value.into(),
            virtual_address,
            advice,
        };
        notes.add(text.at, reason);
    }
    netmask
}

fn one_packet(section: &Section<'_>, protocol: Option<Protocol>, notes: &mut Notes<'_>) -> bool {
    let one_packet = section.flag(&schema::ONE_PACKET, notes).unwrap_or(false);
    if one_packet
        && protocol == Some(Protocol::Tcp)
        && let Some(at) = section.position(&schema::ONE_PACKET)
    {
        notes.add(at, Reason::OnePacketNotUdp);
    }
    one_packet
}

fn destinations(
    service: &Section<'_>,
    virtual_address: Option<SocketAddr>,
    with: &mut dyn FnMut(&Section<'_>, IpAddr, &mut Notes<'_>),
    seen: &mut Seen,
    notes: &mut Notes<'_>,
) -> Vec<Destination> {
    let room = limits::DESTINATIONS - seen.destinations_read;
    let (sections, beyond) = service.many(&schema::DESTINATION, Table::Destination, room, notes);
    if let Some(at) = beyond {
        let number = limits::DESTINATIONS + 1;
        notes.add(at, Reason::TooManyDestinations { number });
    }
    seen.destinations_read += sections.len();
    let mut first_places: HashMap<IpAddr, usize> = HashMap::new();
    let mut destinations = Vec::new();
    for section in &sections {
        let weight = weight(section, notes);
        note_forwarding(section, notes);
        let Some(address) = real_address(section, virtual_address, notes) else {
            continue;
        };
        if let Some(&first) = first_places.get(&address.value) {
            let reason = Reason::DestinationTwice {
                destination: address.value,
                first_line: notes.line(first),
            };
            notes.add(address.at, reason);
            continue;
        }
        first_places.insert(address.value, address.at);
        with(section, address.value, notes);
        let port = virtual_address.map_or(0, |service| service.port());
        destinations.push(Destination {
            address: SocketAddr::new(address.value, port),
            weight,
        });
        seen.destinations.push(address);
    }
    destinations
}

fn weight(section: &Section<'_>, notes: &mut Notes<'_>) -> Weight {
    section
        .number(&schema::WEIGHT, Weight::try_from, notes)
        .map_or_else(Weight::default, |weight| weight.value)
}

/// The real server's address, after a word about everything in it that direct routing cannot do.
fn real_address(
    section: &Section<'_>,
    virtual_address: Option<SocketAddr>,
    notes: &mut Notes<'_>,
) -> Option<At<IpAddr>> {
    section.require(&schema::ADDRESS, notes);
    let port_key = section.number(&schema::PORT, port, notes);
    let text = section.string(&schema::ADDRESS, notes)?;
    let (real, port_in_address) =
        match address::with_optional_port(text.value, schema::ADDRESS.example) {
            Ok(parts) => parts,
            Err(fault) => {
                notes.add(text.at, Reason::Address(fault));
                return None;
            }
        };
    if let Some(kind) = not_unicast(&real) {
        let address = real;
        notes.add(text.at, Reason::DestinationNotUnicast { address, kind });
    }
    if let (Some(key), Some(port)) = (&port_key, port_in_address) {
        let destination = real;
        notes.add(key.at, Reason::PortGivenTwice { destination, port });
    }
    if let Some(service) = virtual_address {
        let in_address = port_in_address.map(|port| At {
            at: text.at,
            value: port,
        });
        note_family(&text, real, service.ip(), notes);
        note_port(
            in_address,
            real,
            service,
            format!("write \"{real}\""),
            notes,
        );
        let advice = format!("set port = {}", service.port());
        note_port(port_key, real, service, advice, notes);
    }
    Some(At {
        at: text.at,
        value: real,
    })
}

fn note_family(text: &At<&str>, real: IpAddr, virtual_address: IpAddr, notes: &mut Notes<'_>) {
    if real.is_ipv4() != virtual_address.is_ipv4() {
        let reason = Reason::FamiliesDiffer {
            destination: real,
            virtual_address,
        };
        notes.add(text.at, reason);
    }
}

fn note_port(
    port: Option<At<u16>>,
    real: IpAddr,
    service: SocketAddr,
    advice: String,
    notes: &mut Notes<'_>,
) {
    if let Some(port) = port
        && port.value != service.port()
    {
        let reason = Reason::PortDiffers {
            destination: SocketAddr::new(real, port.value).to_string(),
            port: port.value,
            service_port: service.port(),
            advice,
        };
        notes.add(port.at, reason);
    }
}

fn note_forwarding(section: &Section<'_>, notes: &mut Notes<'_>) {
    let Some(word) = section.string(&schema::FORWARDING, notes) else {
        return;
    };
    if word.value == "direct-routing" {
        return;
    }
    let reason = match word.value.to_ascii_lowercase().as_str() {
        "tunnelling" | "tunneling" | "tunnel" | "tun" | "ipip" | "gue" | "gre" => {
            Reason::ForwardingNotYet {
                method: "tunnelling",
            }
        }
        "masquerading" | "masquerade" | "masq" | "nat" => Reason::ForwardingNotYet {
            method: "masquerading",
        },
        // ipvsadm prints "Route" and calls the option gatewaying.
        "dr" | "route" | "gatewaying" => Reason::UnknownValue {
            key: schema::FORWARDING.name,
            value: word.value.into(),
            advice: Advice::DidYouMean("direct-routing"),
        },
        _ => read::unknown_value(&schema::FORWARDING, word.value, &["direct-routing"]),
    };
    notes.add(word.at, reason);
}

/// A port as a number of TOML, 1 to 65535.
pub(crate) fn port(value: i64) -> Result<u16, OutOfRange> {
    u16::try_from(value)
        .ok()
        .filter(|&port| port != 0)
        .ok_or(OutOfRange {
            value,
            min: 1,
            max: i64::from(u16::MAX),
        })
}
