//! What the API says, put together as lines of the screen: services, and the real servers of one.

use std::net::{IpAddr, SocketAddr};

use api::{
    Destination, DestinationHealth, HealthState, LinkState, Rates, Service, ServiceHealth,
    ServiceKey,
};

use super::feed::Look;
use super::theme::Grade;

/// A virtual service.
#[derive(Clone, Debug)]
pub(super) struct ServiceLine {
    pub(super) key: ServiceKey,
    pub(super) scheduler: String,
    pub(super) active: u64,
    pub(super) inactive: u64,
    pub(super) rates: Rates,
    pub(super) grade: Grade,
    /// What is wrong, if anything is.
    pub(super) words: String,
}

/// A destination of a service, in the table or held back by its checks.
#[derive(Clone, Debug)]
pub(super) struct ServerLine {
    pub(super) address: SocketAddr,
    /// None if it is not in the table.
    pub(super) weight: Option<u32>,
    pub(super) active: u64,
    pub(super) inactive: u64,
    pub(super) rates: Rates,
    pub(super) grade: Grade,
    pub(super) words: String,
}

/// All services.
pub(super) fn services(look: &Look) -> impl Iterator<Item = ServiceLine> + '_ {
    let health = |key: &ServiceKey| look.health.iter().find(move |one| one.service == *key);
    look.services
        .iter()
        .map(move |service| service_line(service, health(&service.service)))
}

fn service_line(service: &Service, health: Option<&ServiceHealth>) -> ServiceLine {
    let servers = servers_of(service, health);
    let eligible = servers
        .iter()
        .filter(|one| one.grade == Grade::Good)
        .count();
    let sum = |of: fn(&Destination) -> u32| -> u64 {
        service.destinations.iter().map(of).map(u64::from).sum()
    };
    let quorum_lost = health.is_some_and(|health| !health.quorum);
    let sorry = health.and_then(|health| health.sorry_server);
    let (grade, words) = match (eligible, sorry) {
        (_, Some(sorry)) => (Grade::Bad, format!("sorry server {sorry} serves")),
        (0, None) => (Grade::Bad, "nobody serves".to_owned()),
        _ if quorum_lost => (Grade::Bad, "quorum lost".to_owned()),
        _ if eligible < servers.len() => {
            let count = servers.len() - eligible;
            (Grade::Warning, format!("{count} of {} out", servers.len()))
        }
        _ => (Grade::Good, "ok".to_owned()),
    };
    ServiceLine {
        key: service.service,
        scheduler: service.settings.scheduler.clone(),
        active: sum(|one| one.active),
        inactive: sum(|one| one.inactive),
        rates: service.rates,
        grade,
        words,
    }
}

/// The real servers of one service; `None` if there is no such service.
pub(super) fn servers(look: &Look, key: &ServiceKey) -> Option<Vec<ServerLine>> {
    let service = look.services.iter().find(|one| one.service == *key)?;
    let health = look.health.iter().find(|one| one.service == *key);
    Some(servers_of(service, health))
}

fn servers_of(service: &Service, health: Option<&ServiceHealth>) -> Vec<ServerLine> {
    let of = |server: IpAddr| {
        let mut all = health.into_iter().flat_map(|health| &health.destinations);
        all.find(|one| one.server == server)
    };
    let listed = service.destinations.iter();
    let mut lines: Vec<ServerLine> = listed
        .map(|one| {
            let (grade, words) = state(one, of(one.destination.ip()));
            ServerLine {
                address: one.destination,
                weight: Some(one.settings.weight),
                active: one.active.into(),
                inactive: one.inactive.into(),
                rates: one.rates,
                grade,
                words,
            }
        })
        .collect();
    let withheld = health.into_iter().flat_map(|health| &health.destinations);
    let withheld = withheld.filter(|one| {
        let mut listed = service.destinations.iter();
        !listed.any(|listed| listed.destination.ip() == one.server)
    });
    let port = service
        .service
        .address()
        .map_or(0, |address| address.port());
    let withheld: Vec<ServerLine> = withheld
        .map(|one| ServerLine {
            address: SocketAddr::new(one.server, port),
            weight: None,
            active: 0,
            inactive: 0,
            rates: Rates::default(),
            grade: Grade::Bad,
            words: health_words(one),
        })
        .collect();
    lines.extend(withheld);
    lines
}

/// What is to be known of a destination: the worst first.
fn state(one: &Destination, health: Option<&DestinationHealth>) -> (Grade, String) {
    if let Some(health) = health.filter(|health| health.health == HealthState::Down) {
        return (Grade::Bad, health_words(health));
    }
    if let LinkState::Unresolved { reason } = &one.link {
        return (Grade::Bad, reason.clone());
    }
    if one.held_weight.is_some() {
        return (Grade::Warning, "maintenance".to_owned());
    }
    if one.settings.weight == 0 {
        return (Grade::Warning, "weight 0".to_owned());
    }
    if one.overloaded {
        return (Grade::Warning, "at its threshold".to_owned());
    }
    match (health, &one.link) {
        (Some(health), _) => (Grade::Good, health.health.name().to_owned()),
        (None, LinkState::Local) => (Grade::Good, "this host".to_owned()),
        (None, _) => (Grade::Good, "no checks".to_owned()),
    }
}

fn health_words(health: &DestinationHealth) -> String {
    match &health.reason {
        Some(reason) => format!("{}: {reason}", health.health.name()),
        None => health.health.name().to_owned(),
    }
}

/// A number in at most five places: `12345` is `12.3k`.
pub(super) fn short(number: u64) -> String {
    let scaled = |unit: f64, sign: char| {
        let value = number as f64 / unit;
        match value < 99.95 {
            true => format!("{value:.1}{sign}"),
            false => format!("{value:.0}{sign}"),
        }
    };
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => scaled(1e3, 'k'),
        1_000_000..1_000_000_000 => scaled(1e6, 'M'),
        1_000_000_000..1_000_000_000_000 => scaled(1e9, 'G'),
        _ => scaled(1e12, 'T'),
    }
}
