//! What a change must satisfy, in the order in which IPVS asks (`ipvs.md` 1.5).

use std::net::{IpAddr, SocketAddr};

use api::{
    DestinationSettings, ForwardingMethod, Netmask, Protocol, Refusal, RefusalCode, ServiceKey,
    ServiceSettings,
};

use config::Scheduler;

use crate::event::Observed;
use crate::limits;

pub(crate) fn refusal(code: RefusalCode, message: String) -> Refusal {
    Refusal { code, message }
}

/// A scheduler and a persistence engine that there are.
pub(crate) fn scheduler(settings: &ServiceSettings) -> Result<Scheduler, Refusal> {
    let scheduler = Scheduler::named(&settings.scheduler).ok_or_else(|| {
        let names: Vec<&str> = Scheduler::ALL.into_iter().map(Scheduler::name).collect();
        refusal(
            RefusalCode::NoSuchScheduler,
            format!(
                "there is no scheduler {:?}: use one of {}",
                settings.scheduler,
                names.join(" ")
            ),
        )
    })?;
    match settings.engine.as_deref() {
        None => Ok(scheduler),
        Some("sip") => Err(refusal(
            RefusalCode::NotSupported,
            "persistence engine sip (--pe) is not supported yet: leave it out, and clients are told \
             apart by their addresses"
                .to_owned(),
        )),
        Some(engine) => Err(refusal(
            RefusalCode::NoSuchScheduler,
            format!("there is no persistence engine {engine:?}: leave it out"),
        )),
    }
}

/// As many destinations as a scheduler can choose from.
pub(crate) fn room(
    key: &ServiceKey,
    scheduler: Scheduler,
    destinations: usize,
) -> Result<(), Refusal> {
    let (limit, cost) = match scheduler.is_dynamic() {
        true => (
            limits::DYNAMIC_DESTINATIONS,
            "looks at each of them for every new connection",
        ),
        false => (limits::STATIC_DESTINATIONS, "has a table of them"),
    };
    if destinations <= limit {
        return Ok(());
    }
    Err(refusal(
        RefusalCode::Full,
        format!(
            "service {key} would have {destinations} destinations, but scheduler {scheduler} {cost}: \
             at most {limit}"
        ),
    ))
}

/// A service's own address: one form of each, and every port only with persistence. And what it
/// does beside scheduling.
pub(crate) fn service(key: &ServiceKey, settings: &ServiceSettings) -> Result<(), Refusal> {
    if let Some(share) = settings.share.filter(|share| !(1..=100).contains(share)) {
        return Err(refusal(
            RefusalCode::OutOfRange,
            format!("a share of {share} % of the connection table is none: give 1 to 100"),
        ));
    }
    // The data plane writes IPv4 addresses in this form: the two services would be one there.
    if let Some(IpAddr::V6(v6)) = key.address().map(|address| address.ip())
        && let Some(meant) = v6.to_ipv4_mapped()
    {
        return Err(refusal(
            RefusalCode::BadAddress,
            format!("service {key} has an IPv4 address in IPv6 form: write {meant}"),
        ));
    }
    let is_every_port = key.address().is_some_and(|address| address.port() == 0);
    if is_every_port && settings.persistence.is_none() {
        return Err(refusal(
            RefusalCode::BadRequest,
            format!("service {key} has port 0, which needs persistence (-p): give a port"),
        ));
    }
    if settings.one_packet && !matches!(key.protocol(), Some(Protocol::Udp) | None) {
        return Err(refusal(
            RefusalCode::BadRequest,
            format!("service {key} cannot have one-packet scheduling: that is for UDP"),
        ));
    }
    settings.persistence.as_ref().map_or(Ok(()), |persistence| {
        if persistence.timeout_s == 0 {
            return Err(refusal(
                RefusalCode::OutOfRange,
                "persistence of 0 s is none: give 1 s or more".to_owned(),
            ));
        }
        timeout(persistence.timeout_s)?;
        persistence
            .netmask
            .map_or(Ok(()), |mask| netmask(key, mask))
    })
}

/// A mask of the service's own family.
fn netmask(key: &ServiceKey, mask: Netmask) -> Result<(), Refusal> {
    let wanted = match (key.is_ipv6(), mask) {
        (false, Netmask::V4(_)) | (true, Netmask::V6(1..=128)) => return Ok(()),
        (false, _) => "a mask, for example 255.255.255.0",
        (true, _) => "the length of a prefix, 1 to 128",
    };
    Err(refusal(
        RefusalCode::BadAddress,
        format!("netmask {mask} does not fit service {key}: give {wanted}"),
    ))
}

/// Idle timeouts, as `--set` takes them.
pub(crate) fn timeouts(timeouts: api::Timeouts) -> Result<(), Refusal> {
    for seconds in [timeouts.tcp, timeouts.tcpfin, timeouts.udp] {
        timeout(seconds)?;
    }
    Ok(())
}

fn timeout(seconds: u32) -> Result<(), Refusal> {
    if seconds <= limits::TIMEOUT_S_MAX {
        return Ok(());
    }
    Err(refusal(
        RefusalCode::OutOfRange,
        format!(
            "a timeout of {seconds} s is too long: at most {}",
            limits::TIMEOUT_S_MAX
        ),
    ))
}

/// Weight and thresholds.
pub(crate) fn ranges(settings: &DestinationSettings) -> Result<(), Refusal> {
    let numbers = [
        ("weight", settings.weight),
        ("upper threshold", settings.upper_threshold),
        ("lower threshold", settings.lower_threshold),
    ];
    for (name, number) in numbers {
        if number > limits::WEIGHT_MAX {
            return Err(refusal(
                RefusalCode::OutOfRange,
                format!(
                    "{name} {number} is too large: at most {}",
                    limits::WEIGHT_MAX
                ),
            ));
        }
    }
    if settings.lower_threshold > settings.upper_threshold {
        return Err(refusal(
            RefusalCode::OutOfRange,
            format!(
                "lower threshold {} is above the upper one, {}: give a lower one",
                settings.lower_threshold, settings.upper_threshold
            ),
        ));
    }
    Ok(())
}

/// Direct routing needs both addresses in one family; a tunnel does not.
pub(crate) fn family(
    key: &ServiceKey,
    destination: SocketAddr,
    forwarding: ForwardingMethod,
) -> Result<(), Refusal> {
    let is_tunnelled = forwarding == ForwardingMethod::Tunnelling;
    if is_tunnelled || key.is_ipv6() == destination.is_ipv6() {
        return Ok(());
    }
    Err(refusal(
        RefusalCode::BadAddress,
        format!(
            "destination {} and service {key} are of different families: direct routing cannot \
             translate between IPv4 and IPv6",
            destination.ip()
        ),
    ))
}

/// An address that can be a destination: unicast, or one of this host.
pub(crate) fn address(destination: IpAddr, observed: &Observed) -> Result<(), Refusal> {
    let is_mapped = matches!(destination, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if observed.is_local(destination) && !is_mapped {
        return Ok(());
    }
    let wrong = match destination {
        IpAddr::V4(v4) if v4.is_unspecified() => Some("no address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.is_multicast() => Some("a multicast address"),
        IpAddr::V4(_) => observed
            .addresses
            .iter()
            .any(|own| own.has_broadcast(destination))
            .then_some("the broadcast address of a subnet of this host"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("no address"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("a multicast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Some("a link-local address, which names no link")
        }
        IpAddr::V6(_) if is_mapped => Some("an IPv4 address in IPv6 form"),
        IpAddr::V6(_) => None,
    };
    match wrong {
        None => Ok(()),
        Some(what) => Err(refusal(
            RefusalCode::BadAddress,
            format!("{destination} is {what}: give the unicast address of a real server"),
        )),
    }
}

/// What IPVS can do and we cannot yet.
pub(crate) fn supported(settings: &DestinationSettings) -> Result<(), Refusal> {
    let (method, missing) = match settings.forwarding {
        ForwardingMethod::DirectRouting => return Ok(()),
        ForwardingMethod::Tunnelling => ("tunnelling (-i)", "a header is put around packets"),
        ForwardingMethod::Masquerading => ("masquerading (-m)", "replies come back through here"),
    };
    Err(refusal(
        RefusalCode::NotSupported,
        format!("{method}, where {missing}, is not supported yet: use direct routing (-g)"),
    ))
}
