//! A scrape from top to bottom: what is always there, then services, real servers, checks, destinations.
//!
//! How much of the rest is shown is decided in [`super::series`], before it is written. A metric's samples
//! stand together, as both forms want it: so the counters of all destinations are read first, and written
//! metric by metric.

use std::fmt::{Display, Error, Write};

use api::Stats;
use control::{minus, plus};
use health::probe::Standing;
use health::tally::{BUCKETS_MS, Counts, ProbeCount};

use super::catalogue::{self as the, Family};
use super::series::{self, Budget};
use super::snapshot::{DestinationRow, ServiceRow, Snapshot};
use super::text::{Format, Labels, Page};
use super::{Counted, process};

type Done = Result<(), Error>;

/// Writes everything; `out` again, and how many series were left out.
pub(crate) fn all<W: Write>(
    snapshot: &Snapshot,
    counted: &Counted,
    format: Format,
    out: W,
) -> Result<(W, usize), Error> {
    let mut page = Page::new(out, format);
    let read = Read::new(snapshot);
    daemon(&mut page, snapshot)?;
    network(&mut page, snapshot)?;
    data_path(&mut page, snapshot)?;
    table(&mut page, snapshot, counted)?;
    totals(&mut page, snapshot, &read)?;
    process(&mut page)?;
    // Those that say what was left out come last and are always there, too.
    let mut budget = Budget::new(snapshot.limits.max_series, page.series() + 8);
    services(&mut page, snapshot, &read, &mut budget)?;
    service_health(&mut page, snapshot, &mut budget)?;
    servers(&mut page, snapshot, &mut budget)?;
    if let Some(tally) = &snapshot.tally {
        checks(&mut page, &tally.counts(), &mut budget)?;
    }
    if snapshot.limits.per_destination {
        health(&mut page, snapshot, &mut budget)?;
        destinations(&mut page, snapshot, &read, &mut budget)?;
    }
    page.family(&the::DROPPED)?;
    for (of, count) in budget.dropped() {
        page.sample(&the::DROPPED, &[("of", &of)], count)?;
    }
    let dropped = budget.dropped().map(|(_, count)| count).sum();
    Ok((page.end()?, dropped))
}

/// Counters and gauges of all destinations.
struct Read {
    /// By place in the snapshot.
    destinations: Vec<Row>,
    /// Of deleted destinations, by their service's place.
    deleted: std::collections::HashMap<usize, Stats>,
    /// Of all, since the data plane is there.
    total: Stats,
}

#[derive(Clone, Copy)]
struct Row {
    stats: Stats,
    active: u32,
    inactive: u32,
    is_eligible: bool,
}

impl Read {
    fn new(snapshot: &Snapshot) -> Self {
        let readings = &snapshot.readings;
        let mut total = snapshot.retired;
        let mut row = |destination: &DestinationRow| {
            let stats = readings.stats(destination.id);
            total = plus(total, stats);
            let (active, inactive) = readings.gauges(destination.id);
            Row {
                stats: minus(stats, destination.base),
                active,
                inactive,
                is_eligible: destination.weight > 0
                    && destination.is_reached
                    && !readings.is_overloaded(destination.id),
            }
        };
        let destinations = snapshot.destinations.iter().map(&mut row).collect();
        let mut deleted = std::collections::HashMap::<usize, Stats>::new();
        for gone in &snapshot.trash {
            let stats = readings.stats(gone.id);
            total = plus(total, stats);
            if let Some(service) = gone.service {
                let sum = deleted.entry(service).or_default();
                *sum = plus(*sum, minus(stats, gone.base));
            }
        }
        Self {
            destinations,
            deleted,
            total,
        }
    }

    fn of<'a>(&'a self, service: &ServiceRow) -> &'a [Row] {
        let rows = self.destinations.get(service.destinations.clone());
        rows.unwrap_or_default()
    }
}

fn daemon(page: &mut Page<impl Write>, snapshot: &Snapshot) -> Done {
    page.family(&the::BUILD)?;
    let version = env!("CARGO_PKG_VERSION");
    let labels: Labels<'_> = &[("version", &version), ("name", &snapshot.instance)];
    page.sample(&the::BUILD, labels, 1)?;
    page.one(&the::UPTIME, snapshot.uptime.as_secs_f64())?;
    page.one(&the::ADOPTED, u8::from(snapshot.adopted))?;
    page.one(&the::GENERATION, snapshot.generation)?;
    page.one(&the::STATE_BEHIND, u8::from(snapshot.is_file_behind))?;
    let bus = crate::events::bus();
    page.one(&the::TOLD, bus.count())?;
    page.one(&the::MISSED, bus.missed())?;
    page.one(&the::ACTOR, snapshot.took.as_secs_f64())
}

fn network(page: &mut Page<impl Write>, snapshot: &Snapshot) -> Done {
    page.family(&the::INTERFACE)?;
    for (name, mode) in &snapshot.interfaces {
        let labels: Labels<'_> = &[("interface", name), ("mode", mode)];
        page.sample(&the::INTERFACE, labels, u8::from(*mode == "native"))?;
    }
    page.one(&the::VIPS, snapshot.vips)?;
    page.one(&the::CLAIMS, crate::claims::count())?;
    page.one(&the::CLAIMS_NOW, crate::claims::going_on())?;
    page.family(&the::REAL_SERVERS)?;
    for link in ["resolved", "unresolved", "local"] {
        let all = snapshot.servers.iter();
        let count = all.filter(|server| server.link == link).count();
        page.sample(&the::REAL_SERVERS, &[("link", &link)], count)?;
    }
    page.family(&the::NEIGHBOUR_CHANGES)?;
    for to in ["resolved", "unresolved", "local"] {
        let count = snapshot.changes.to.get(to).copied().unwrap_or(0);
        page.sample(&the::NEIGHBOUR_CHANGES, &[("to", &to)], count)?;
    }
    Ok(())
}

fn data_path(page: &mut Page<impl Write>, snapshot: &Snapshot) -> Done {
    let counters = snapshot.readings.counters();
    let (frames, others): (Vec<_>, Vec<_>) = counters
        .into_iter()
        .partition(|(name, _)| verdict(name).is_some());
    page.family(&the::FRAMES)?;
    for (name, count) in frames {
        let (verdict, reason) = verdict(name).unwrap_or((name, ""));
        let labels: Labels<'_> = &[("verdict", &verdict), ("reason", &reason)];
        page.sample(&the::FRAMES, labels, count)?;
    }
    let evicted = |name: &'static str| name.strip_prefix("evicted_");
    page.family(&the::EVICTIONS)?;
    for (name, count) in &others {
        if let Some(state) = evicted(name) {
            page.sample(&the::EVICTIONS, &[("state", &state)], count)?;
        }
    }
    page.family(&the::EVENTS)?;
    for (event, count) in others.iter().filter(|(name, _)| evicted(name).is_none()) {
        page.sample(&the::EVENTS, &[("event", event)], count)?;
    }
    Ok(())
}

/// A counter's verdict and reason; none of one that counts something else.
fn verdict(counter: &'static str) -> Option<(&'static str, &'static str)> {
    if matches!(counter, "transmitted" | "redirected") {
        return Some((counter, "forwarded"));
    }
    let (verdict, reason) = counter.split_once('_')?;
    matches!(verdict, "pass" | "drop" | "reply").then_some((verdict, reason))
}

fn table(page: &mut Page<impl Write>, snapshot: &Snapshot, counted: &Counted) -> Done {
    page.family(&the::ENTRIES)?;
    for state in &counted.states {
        let labels: Labels<'_> = &[("kind", &state.kind), ("state", &state.state)];
        page.sample(&the::ENTRIES, labels, state.entries)?;
    }
    page.one(&the::SLOTS, snapshot.slots)?;
    page.one(&the::COUNT_AGE, counted.at.elapsed().as_secs_f64())?;
    page.one(&the::COUNT_TOOK, counted.took.as_secs_f64())?;
    page.one(&the::MAPS, snapshot.map_bytes)
}

fn totals(page: &mut Page<impl Write>, snapshot: &Snapshot, read: &Read) -> Done {
    page.one(&the::SERVICES, snapshot.services.len())?;
    page.one(&the::DESTINATIONS, snapshot.destinations.len())?;
    page.one(&the::DELETED, snapshot.trash.len())?;
    let total = minus(read.total, snapshot.base);
    page.one(&the::CONNECTIONS, total.connections)?;
    page.one(&the::PACKETS, total.packets)?;
    page.one(&the::BYTES, total.bytes)
}

fn process(page: &mut Page<impl Write>) -> Done {
    let process = process::read();
    some(page, &the::PROCESS_START, process.started)?;
    some(page, &the::PROCESS_CPU, process.cpu)?;
    some(page, &the::PROCESS_MEMORY, process.resident_bytes)?;
    some(page, &the::PROCESS_FDS, process.open_files)?;
    some(page, &the::PROCESS_MAX_FDS, process.max_files)
}

fn some(page: &mut Page<impl Write>, family: &Family, value: Option<impl Display>) -> Done {
    value.map_or(Ok(()), |value| page.one(family, value))
}

fn services(
    page: &mut Page<impl Write>,
    snapshot: &Snapshot,
    read: &Read,
    budget: &mut Budget,
) -> Done {
    let shown = budget.take("service", snapshot.services.len(), series::SERVICE);
    let services = &snapshot.services[..shown];
    let keys: Vec<String> = services
        .iter()
        .map(|service| service.key.to_string())
        .collect();
    page.family(&the::SERVICE)?;
    for (service, key) in services.iter().zip(&keys) {
        let origin = match service.origin {
            api::Origin::Config => "config",
            api::Origin::Runtime => "runtime",
        };
        let scheduler = &service.scheduler;
        let labels: Labels<'_> = &[
            ("service", key),
            ("scheduler", scheduler),
            ("origin", &origin),
        ];
        page.sample(&the::SERVICE, labels, 1)?;
    }
    let stats = services.iter().enumerate().map(|(place, service)| {
        let deleted = read.deleted.get(&place).copied().unwrap_or_default();
        let listed = read.of(service).iter().map(|row| row.stats);
        listed.fold(plus(service.retired, deleted), plus)
    });
    let stats: Vec<Stats> = stats.collect();
    let mut each = |family: &Family, value: &dyn Fn(usize, &ServiceRow) -> u64| {
        page.family(family)?;
        let all = services.iter().zip(&keys).enumerate();
        for (place, (service, key)) in all {
            page.sample(family, &[("service", key)], value(place, service))?;
        }
        Ok::<(), Error>(())
    };
    let sum = |service: &ServiceRow, of: &dyn Fn(&Row) -> u64| -> u64 {
        read.of(service).iter().map(of).sum()
    };
    each(&the::SERVICE_CONNECTIONS, &|place, _| {
        stats[place].connections
    })?;
    each(&the::SERVICE_PACKETS, &|place, _| stats[place].packets)?;
    each(&the::SERVICE_BYTES, &|place, _| stats[place].bytes)?;
    each(&the::SERVICE_ACTIVE, &|_, service| {
        sum(service, &|row| row.active.into())
    })?;
    each(&the::SERVICE_INACTIVE, &|_, service| {
        sum(service, &|row| row.inactive.into())
    })?;
    each(&the::SERVICE_ENTRIES, &|_, service| {
        snapshot.readings.population(service.number)
    })?;
    each(&the::SERVICE_DESTINATIONS, &|_, service| {
        service.destinations.len() as u64
    })?;
    each(&the::SERVICE_ELIGIBLE, &|_, service| {
        sum(service, &|row| row.is_eligible.into())
    })
}

fn service_health(page: &mut Page<impl Write>, snapshot: &Snapshot, budget: &mut Budget) -> Done {
    let shown = budget.take("service", snapshot.health.len(), series::SERVICE_HEALTH);
    let rows = &snapshot.health[..shown];
    page.family(&the::SERVICE_QUORUM)?;
    for row in rows {
        let labels: Labels<'_> = &[("service", &row.service)];
        page.sample(&the::SERVICE_QUORUM, labels, u8::from(row.quorum))?;
    }
    page.family(&the::SERVICE_SORRY)?;
    for row in rows {
        let labels: Labels<'_> = &[("service", &row.service)];
        page.sample(&the::SERVICE_SORRY, labels, u8::from(row.sorry))?;
    }
    Ok(())
}

fn servers(page: &mut Page<impl Write>, snapshot: &Snapshot, budget: &mut Budget) -> Done {
    let shown = budget.take("real server", snapshot.servers.len(), series::SERVER);
    let servers = &snapshot.servers[..shown];
    page.family(&the::RESOLVED)?;
    for server in servers {
        let is_reached = u8::from(server.link != "unresolved");
        page.sample(&the::RESOLVED, &[("server", &server.address)], is_reached)?;
    }
    page.family(&the::SERVER_CHANGES)?;
    for server in servers {
        let labels: Labels<'_> = &[("server", &server.address)];
        page.sample(&the::SERVER_CHANGES, labels, server.changes)?;
    }
    Ok(())
}

fn checks(page: &mut Page<impl Write>, counts: &Counts, budget: &mut Budget) -> Done {
    let histograms = budget.take("check", counts.durations.len(), series::DURATIONS);
    page.family(&the::CHECK_DURATION)?;
    for (check, durations) in counts.durations.iter().take(histograms) {
        let bounds = BUCKETS_MS.iter().map(|ms| *ms as f64 / 1000.0);
        let buckets = bounds.zip(durations.buckets);
        let all = (durations.count, durations.sum.as_secs_f64());
        page.histogram(&the::CHECK_DURATION, ("check", check), buckets, all)?;
    }
    let shown = budget.take("check", counts.probes.len(), series::PROBE);
    let mut each = |family: &Family, values: &dyn Fn(&ProbeCount) -> Values| {
        page.family(family)?;
        for (key, count) in counts.probes.iter().take(shown) {
            let (check, server, to) = (&key.check, &key.server, &key.to);
            for (result, value) in values(count) {
                let labels: [(&str, &dyn Display); 4] = [
                    ("check", check),
                    ("server", server),
                    ("to", to),
                    ("result", &result.unwrap_or_default()),
                ];
                let used = if result.is_some() { 4 } else { 3 };
                page.sample(family, &labels[..used], value)?;
            }
        }
        Ok::<(), Error>(())
    };
    each(&the::CHECK_UP, &|count| {
        let is_up = match count.standing {
            Standing::Up => Some(1),
            Standing::Down => Some(0),
            Standing::Unchecked => None,
        };
        is_up.map(|value| (None, value)).into_iter().collect()
    })?;
    each(&the::CHECK_ATTEMPTS, &|count| {
        vec![
            (Some("passed"), count.passed),
            (Some("failed"), count.failed),
            (Some("not_made"), count.not_made),
        ]
    })?;
    each(&the::CHECK_RISES, &|count| vec![(None, count.rises)])?;
    each(&the::CHECK_FALLS, &|count| vec![(None, count.falls)])
}

/// Samples of one probe, each with a `result` or without.
type Values = Vec<(Option<&'static str>, u64)>;

fn health(page: &mut Page<impl Write>, snapshot: &Snapshot, budget: &mut Budget) -> Done {
    let rows = snapshot.health.iter().flat_map(|row| {
        let known = row.servers.iter();
        known.filter_map(|(server, is_up)| Some((&row.service, server, (*is_up)?)))
    });
    let rows: Vec<_> = rows.collect();
    let shown = budget.take("destination", rows.len(), series::HEALTH);
    page.family(&the::HEALTH)?;
    for (service, server, is_up) in &rows[..shown] {
        let labels: Labels<'_> = &[("service", service), ("server", server)];
        page.sample(&the::HEALTH, labels, u8::from(*is_up))?;
    }
    Ok(())
}

fn destinations(
    page: &mut Page<impl Write>,
    snapshot: &Snapshot,
    read: &Read,
    budget: &mut Budget,
) -> Done {
    let all = snapshot.destinations.len();
    let shown = budget.take("destination", all, series::DESTINATION);
    let mut each = |family: &Family, value: &dyn Fn(&DestinationRow, &Row) -> u64| {
        page.family(family)?;
        for service in &snapshot.services {
            let key = service.key.to_string();
            for place in service
                .destinations
                .clone()
                .take_while(|place| *place < shown)
            {
                let (row, read) = (&snapshot.destinations[place], &read.destinations[place]);
                let labels: Labels<'_> = &[("service", &key), ("destination", &row.address)];
                page.sample(family, labels, value(row, read))?;
            }
        }
        Ok::<(), Error>(())
    };
    each(&the::DESTINATION_CONNECTIONS, &|_, read| {
        read.stats.connections
    })?;
    each(&the::DESTINATION_PACKETS, &|_, read| read.stats.packets)?;
    each(&the::DESTINATION_BYTES, &|_, read| read.stats.bytes)?;
    each(&the::DESTINATION_ACTIVE, &|_, read| read.active.into())?;
    each(&the::DESTINATION_INACTIVE, &|_, read| read.inactive.into())?;
    each(&the::DESTINATION_WEIGHT, &|row, _| row.weight.into())?;
    each(&the::DESTINATION_ELIGIBLE, &|_, read| {
        read.is_eligible.into()
    })
}
