//! `[[service]]` and `[[service.destination]]`, and what direct routing asks of them.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use api::{Family, Protocol, ServiceKey};

use crate::address::{self, not_unicast};
use crate::mistake::{Advice, Reason};
use crate::notes::Notes;
use crate::schema::{self, Table};
use crate::section::{At, Section};
use crate::shared::{self, Server, Shared, SharedFault};
use crate::{
    ApiFault, Destination, NotifyFault, OutOfRange, Service, Weight, limits, mark, options, read,
    rules,
};

/// All services of the file.
pub(crate) fn all<'t>(
    root: &Section<'t>,
    shared: &Shared<'t>,
    itself: &Itself,
    notes: &mut Notes<'_>,
) -> Vec<Service> {
    let (sections, beyond) = root.many(&schema::SERVICE, Table::Service, limits::SERVICES, notes);
    if let Some(at) = beyond {
        let number = limits::SERVICES + 1;
        notes.add(at, Reason::TooManyServices { number });
    }
    let mut seen = Seen {
        virtual_addresses: shared.mark_addresses.clone(),
        ..Seen::default()
    };
    let mut services = Vec::new();
    for section in sections {
        let section = shared.laid_over(section, notes);
        notes.read_for(Some(section.at()));
        services.extend(one(&section, shared, &mut seen, notes));
    }
    notes.read_for(None);
    let named = shared.servers.values();
    let named = named.filter_map(|server| server.address.as_ref());
    seen.servers.extend(named.map(|address| At {
        at: address.at,
        value: address.value,
    }));
    seen.note_loops(notes);
    seen.note_off_link(&itself.subnets, notes);
    seen.note_itself(itself, notes);
    services
}

/// What the file says of the director as a host.
pub(crate) struct Itself {
    /// Its networks, if they are named.
    pub subnets: Vec<(IpAddr, u8)>,
    /// Where its API listens.
    pub listens: Option<At<SocketAddr>>,
    /// Where its webhooks are.
    pub hooks: Vec<At<SocketAddr>>,
}

/// What has been read of all services so far, and where.
#[derive(Default)]
struct Seen {
    services: HashMap<ServiceKey, usize>,
    virtual_addresses: HashMap<IpAddr, usize>,
    /// Addresses of real servers, each where it is written.
    servers: Vec<At<IpAddr>>,
    destinations_read: usize,
}

impl Seen {
    /// A destination that is anybody's virtual address would get its frames back at once.
    fn note_loops(&self, notes: &mut Notes<'_>) {
        for destination in &self.servers {
            if let Some(&service) = self.virtual_addresses.get(&destination.value) {
                let reason = Reason::DestinationIsVirtual {
                    destination: destination.value,
                    service: notes.place(service, destination.at),
                };
                notes.add(destination.at, reason);
            }
        }
    }

    /// Of a service the director itself is neither a server nor a client: what arrives for it is sent on, and what
    /// the director sends to it never arrives.
    fn note_itself(&self, itself: &Itself, notes: &mut Notes<'_>) {
        let place = |address: SocketAddr| {
            [address.port(), 0].into_iter().find_map(|port| {
                let (protocol, address) = (Protocol::Tcp, SocketAddr::new(address.ip(), port));
                self.services
                    .get(&ServiceKey::Address { protocol, address })
                    .copied()
            })
        };
        if let Some(At { at, value: address }) = &itself.listens
            && let Some(service) = place(*address)
        {
            let (address, service) = (*address, notes.place(service, *at));
            notes.add(*at, Reason::Api(ApiFault::IsService { address, service }));
        }
        for At { at, value: address } in &itself.hooks {
            if let Some(service) = place(*address) {
                let (address, service) = (*address, notes.place(service, *at));
                notes.add(
                    *at,
                    Reason::Notify(NotifyFault::IsService { address, service }),
                );
            }
        }
    }

    /// Direct routing changes MAC addresses alone, so a server must be on a link of the director's: in
    /// one of its networks of that family, if the file names any.
    fn note_off_link(&self, subnets: &[(IpAddr, u8)], notes: &mut Notes<'_>) {
        for server in &self.servers {
            let address = server.value;
            let mut of_family = subnets
                .iter()
                .filter(|(subnet, _)| subnet.is_ipv4() == address.is_ipv4())
                .peekable();
            if of_family.peek().is_some() && !of_family.any(|subnet| mark::has(*subnet, address)) {
                notes.add(server.at, Reason::Shared(SharedFault::OffLink { address }));
            }
        }
    }
}

fn one<'t>(
    section: &Section<'t>,
    shared: &Shared<'t>,
    seen: &mut Seen,
    notes: &mut Notes<'_>,
) -> Option<Service> {
    let offer = offer(section, notes);
    let scheduler = options::scheduler(section, notes).unwrap_or_default();
    let flags = options::flags(section, scheduler, notes);
    let virtual_address = offer.virtual_address();
    if let Some(address) = virtual_address {
        let at = section.position(&schema::SERVICE_ADDRESS);
        let place = seen.virtual_addresses.entry(address.ip());
        place.or_insert(at.unwrap_or(section.at()));
    }
    let persistence = options::persistence(section, offer.called(), notes);
    note_every_port(section, &offer, persistence.is_some(), notes);
    let one_packet = options::one_packet(section, offer.protocol(), notes);
    let share = options::share(section, notes);
    let mut exceptions = BTreeMap::new();
    let destinations = destinations(
        (section, shared),
        &offer,
        &mut |section, server, notes| {
            let names = rules::names(section, &schema::DESTINATION_CHECKS, &shared.checks, notes);
            exceptions.extend(names.map(|names| (server, names)));
        },
        seen,
        notes,
    );
    let limit = match scheduler.is_dynamic() {
        true => limits::DYNAMIC_DESTINATIONS,
        false => limits::STATIC_DESTINATIONS,
    };
    if destinations.len() > limit {
        let reason = Reason::TooManyForScheduler {
            found: destinations.len(),
            scheduler,
            limit,
        };
        let at = section.position(&schema::SCHEDULER);
        notes.add(at.unwrap_or(section.at()), reason);
    }
    let health = rules::of_service(
        section,
        (virtual_address, offer.mark()),
        shared,
        (&destinations, exceptions),
        notes,
    );
    if let Some(sorry) = health.as_ref().and_then(|health| health.rules.sorry_server)
        && !shared.servers.values().any(|server| {
            let address = server.address.as_ref();
            address.is_some_and(|address| address.value == sorry)
        })
        && let Some(at) = section.position(&schema::SORRY_SERVER)
    {
        seen.servers.push(At { at, value: sorry });
    }
    let key = offer.key()?;
    match seen.services.get(&key) {
        Some(&first) => {
            let first = notes.place(first, section.at());
            let reason = Reason::ServiceTwice {
                service: key,
                first,
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
        flags,
        persistence,
        one_packet,
        share,
        destinations,
        health,
    })
}

/// What a service offers, as far as it could be read.
enum Offer {
    /// An address and a protocol.
    Address(Option<SocketAddr>, Option<Protocol>),
    /// A firewall mark of one family.
    Mark(Option<NonZeroU32>, Family),
}

impl Offer {
    fn key(&self) -> Option<ServiceKey> {
        match *self {
            Self::Address(address, protocol) => Some(ServiceKey::Address {
                protocol: protocol?,
                address: address?,
            }),
            Self::Mark(mark, family) => Some(ServiceKey::Mark {
                mark: mark?,
                family,
            }),
        }
    }

    /// The firewall mark and its family, if it is one.
    fn mark(&self) -> Option<(std::num::NonZeroU32, api::Family)> {
        match self {
            Self::Mark(mark, family) => Some(((*mark)?, *family)),
            _ => None,
        }
    }

    fn virtual_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address, _) => *address,
            Self::Mark(..) => None,
        }
    }

    fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Address(_, protocol) => *protocol,
            Self::Mark(..) => None,
        }
    }

    /// Its family, and what messages call it.
    fn called(&self) -> Option<(Family, String)> {
        match self {
            Self::Address(address, _) => {
                let ip = (*address)?.ip();
                Some((Family::of(ip), ip.to_string()))
            }
            Self::Mark(mark, family) => Some((*family, format!("firewall mark {}", (*mark)?))),
        }
    }
}

/// `address` and `protocol`, or `mark` and perhaps `family`.
fn offer(section: &Section<'_>, notes: &mut Notes<'_>) -> Offer {
    let Some(at) = section.position(&schema::SERVICE_MARK) else {
        if let Some(at) = section.position(&schema::FAMILY) {
            notes.add(at, Reason::FamilyWithoutMark);
        }
        section.require(&schema::SERVICE_ADDRESS, notes);
        section.require(&schema::PROTOCOL, notes);
        let address = virtual_address(section, notes);
        return Offer::Address(address, protocol(section, &schema::PROTOCOL, notes));
    };
    for key in [&schema::SERVICE_ADDRESS, &schema::PROTOCOL] {
        if section.own_position(key).is_some() {
            notes.add(at, Reason::MarkAnd { key: key.name });
        }
    }
    let word = section.string(&schema::FAMILY, notes);
    let family = match word.as_ref().map_or("ipv4", |word| word.value) {
        "ipv4" => Family::V4,
        "ipv6" => Family::V6,
        other => {
            let reason = read::unknown_value(&schema::FAMILY, other, &["ipv4", "ipv6"]);
            notes.add(word.map_or(at, |word| word.at), reason);
            Family::V4
        }
    };
    Offer::Mark(mark::number(section, &schema::SERVICE_MARK, notes), family)
}

/// Port 0 takes every port of a client, which only persistence keeps together.
fn note_every_port(
    section: &Section<'_>,
    offer: &Offer,
    is_persistent: bool,
    notes: &mut Notes<'_>,
) {
    let is_every_port = offer
        .virtual_address()
        .is_some_and(|address| address.port() == 0);
    if is_every_port
        && !is_persistent
        && let Some(at) = section.position(&schema::SERVICE_ADDRESS)
    {
        notes.add(at, Reason::EveryPortWithoutPersistence);
    }
}

fn virtual_address(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<SocketAddr> {
    let text = section.string(&schema::SERVICE_ADDRESS, notes)?;
    match address::with_port(text.value, schema::SERVICE_ADDRESS.example) {
        Ok(value) => {
            if let Some(kind) = not_unicast(&value.ip()) {
                let address = value.ip();
                notes.add(text.at, Reason::VirtualAddressNotUnicast { address, kind });
            }
            Some(value)
        }
        Err(fault) => {
            notes.add(text.at, Reason::Address(fault));
            None
        }
    }
}

/// The word of `key`.
pub(crate) fn protocol(
    section: &Section<'_>,
    key: &schema::Key,
    notes: &mut Notes<'_>,
) -> Option<Protocol> {
    let word = section.string(key, notes)?;
    let mut all = Protocol::ALL.into_iter();
    let found = all.find(|one| one.name() == word.value);
    if found.is_none() {
        let names = Protocol::ALL.map(Protocol::name);
        notes.add(word.at, read::unknown_value(key, word.value, &names));
    }
    found
}

fn destinations<'t>(
    (service, shared): (&Section<'t>, &Shared<'t>),
    offer: &Offer,
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
    // Those of the list, as if each were a table of its own.
    let mut listed = shared::names_of_servers(service, shared, notes);
    if let Some(&(at, _)) = listed.get(room - sections.len()) {
        let number = limits::DESTINATIONS + 1;
        notes.add(at, Reason::TooManyDestinations { number });
        listed.truncate(room - sections.len());
    }
    seen.destinations_read += sections.len() + listed.len();
    let listed = listed.into_iter().map(|(at, server)| {
        let mut section = Section::empty(Table::Destination, at);
        section.over(&server.section);
        (section, Some((at, server)))
    });
    let tables = sections.into_iter().map(|mut section| {
        let named = section.string(&schema::DESTINATION_SERVER, notes);
        let named = named.and_then(|name| Some((name.at, shared.server(&name, notes)?)));
        if section.position(&schema::DESTINATION_SERVER).is_some()
            && let Some(at) = section.position(&schema::ADDRESS)
        {
            notes.add(at, Reason::Shared(SharedFault::AddressAndServer));
        }
        if let Some((_, server)) = named {
            section.over(&server.section);
        }
        (section, named)
    });
    let all: Vec<_> = listed.chain(tables).collect();
    let mut first_places: HashMap<IpAddr, usize> = HashMap::new();
    let mut destinations = Vec::new();
    for (section, named) in &all {
        let weight = weight(section, notes);
        let (upper_threshold, lower_threshold) = options::thresholds(section, notes);
        note_forwarding(section, notes);
        let Some((address, own_port)) = real_address(section, *named, offer, notes) else {
            continue;
        };
        if let Some(&first) = first_places.get(&address.value) {
            let reason = Reason::DestinationTwice {
                destination: address.value,
                first: notes.place(first, address.at),
            };
            notes.add(address.at, reason);
            continue;
        }
        first_places.insert(address.value, address.at);
        with(section, address.value, notes);
        let port = offer
            .virtual_address()
            .map_or(own_port, |service| service.port());
        destinations.push(Destination {
            address: SocketAddr::new(address.value, port),
            weight,
            upper_threshold,
            lower_threshold,
        });
        if named.is_none() {
            seen.servers.push(address);
        }
    }
    destinations
}

pub(crate) fn weight(section: &Section<'_>, notes: &mut Notes<'_>) -> Weight {
    section
        .number(&schema::WEIGHT, Weight::try_from, notes)
        .map_or_else(Weight::default, |weight| weight.value)
}

/// The real server's address and port, after a word about everything in it that direct routing cannot
/// do. The port counts for firewall marks only, where it names the destination.
fn real_address(
    section: &Section<'_>,
    named: Option<(usize, &Server<'_>)>,
    offer: &Offer,
    notes: &mut Notes<'_>,
) -> Option<(At<IpAddr>, u16)> {
    let port_key = section.number(&schema::PORT, port, notes);
    let (text, port_in_address) = match named {
        Some((at, server)) => {
            let value = server.address.as_ref()?.value;
            (At { at, value }, None)
        }
        None => own_address(section, notes)?,
    };
    let real = text.value;
    if let (Some(key), Some(port)) = (&port_key, port_in_address) {
        let destination = real;
        notes.add(key.at, Reason::PortGivenTwice { destination, port });
    }
    let own_port = port_in_address.or(port_key.as_ref().map(|key| key.value));
    if let Offer::Mark(Some(mark), family) = offer
        && Family::of(real) != *family
    {
        let reason = Reason::FamilyOfMark {
            destination: real,
            mark: mark.get(),
        };
        notes.add(text.at, reason);
    }
    if let Some(service) = offer.virtual_address() {
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
    let address = At {
        at: text.at,
        value: real,
    };
    Some((address, own_port.unwrap_or(0)))
}

/// The address that the destination itself has, with its port.
fn own_address(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<(At<IpAddr>, Option<u16>)> {
    if section.position(&schema::DESTINATION_SERVER).is_none() {
        section.require(&schema::ADDRESS, notes);
    }
    let text = section.string(&schema::ADDRESS, notes)?;
    let at = text.at;
    match address::with_optional_port(text.value, schema::ADDRESS.example) {
        Ok((value, port)) => {
            if let Some(kind) = not_unicast(&value) {
                let address = value;
                notes.add(at, Reason::DestinationNotUnicast { address, kind });
            }
            Some((At { at, value }, port))
        }
        Err(fault) => {
            notes.add(at, Reason::Address(fault));
            None
        }
    }
}

fn note_family(text: &At<IpAddr>, real: IpAddr, virtual_address: IpAddr, notes: &mut Notes<'_>) {
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
