//! What another table would mean for those who are served: computed by the packet path's own choice, over
//! the table as it is and as it would be. Nothing is written.
//!
//! ```text
//! rr wrr      the same for whoever comes: how much of a cycle goes to whom        exact
//! sh mh       each slot is one share of all clients: whose is it before, after?   exact
//! the others  clients one after another, each counted as a connection             sampled
//! ```
//!
//! With thresholds all are sampled: who is full depends on who came before. So are tables with fallback in which
//! somebody cannot be chosen.
//!
//! Where a client is not bound to a real server (all but the hashing schedulers), what moves is the part of
//! all new clients that another one serves: nobody can say which of them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use api::{ClientMoves, Moves, ServiceDifference, ServiceKey};
use control::rotation::Rotation;
use control::{Dynamic, Hash, Link, Schedule, Service, State};
use director::arrival::Arrival;
use director::memory::{MemoryTables, mapped, service_key};
use director::scheduler::{Kind, choose};
use director::tables::{Link as LinkWord, Service as Published, Tables as _, service_flag};

use crate::limits;

/// Active and inactive connections by destination id.
pub(crate) type Gauges = HashMap<u32, (u32, u32)>;

/// What a change of one service would move.
pub(crate) fn moves(
    before: &State,
    after: &State,
    gauges: &Gauges,
    difference: &ServiceDifference,
) -> Moves {
    let key = &difference.service;
    let (connections, lost) = connections(before, gauges, difference);
    Moves {
        connections,
        lost,
        clients: clients(key, before, after, gauges),
    }
}

/// Living connections, and those whose destination would be taken away.
fn connections(before: &State, gauges: &Gauges, difference: &ServiceDifference) -> (u64, u64) {
    let Some(service) = before.services.get(&difference.service) else {
        return (0, 0);
    };
    let count = |id: &u32| {
        let (active, inactive) = gauges.get(id).copied().unwrap_or_default();
        u64::from(active) + u64::from(inactive)
    };
    let gone = difference.destinations.iter();
    let gone = gone.filter(|one| one.becomes.is_none());
    let gone = gone.filter_map(|one| before.listed(service, one.destination));
    (
        service.list.iter().map(count).sum(),
        gone.map(|id| count(&id)).sum(),
    )
}

/// Which part of a service's new clients an address gets, in hundredths of a percent, and how many clients were
/// tried to find that out: none where it is exact.
pub(crate) fn share(
    key: &ServiceKey,
    state: &State,
    gauges: &Gauges,
    address: SocketAddr,
) -> Option<(u32, u32)> {
    let service = state.services.get(key)?;
    let schedule = state.schedule(service);
    let is_exact = !has_thresholds(state, service);
    if is_exact && let Some(all) = slots(state, &schedule) {
        let its = all.iter().filter(|one| **one == Some(address)).count();
        return Some((part(its as f64 / all.len().max(1) as f64), 0));
    }
    let shares = Shares::of(key, (state, service), (&schedule, is_exact), gauges)?;
    let share = shares.of.get(&address).copied().unwrap_or_default();
    Some((part(share), shares.sample))
}

/// New clients; nothing when there were none to be moved.
fn clients(
    key: &ServiceKey,
    before: &State,
    after: &State,
    gauges: &Gauges,
) -> Option<ClientMoves> {
    let old = before.services.get(key)?;
    let Some(new) = after.services.get(key) else {
        return Some(ClientMoves {
            moved: 0,
            refused: 10_000,
            sample: 0,
        });
    };
    let (then, now) = (before.schedule(old), after.schedule(new));
    let is_exact = !has_thresholds(before, old) && !has_thresholds(after, new);
    if is_exact
        && let (Some(one), Some(other)) = (slots(before, &then), slots(after, &now))
        && one.len() == other.len()
    {
        return Some(by_slot(&one, &other));
    }
    let (one, other) = (
        Shares::of(key, (before, old), (&then, is_exact), gauges)?,
        Shares::of(key, (after, new), (&now, is_exact), gauges)?,
    );
    Some(one.to(&other))
}

fn has_thresholds(state: &State, service: &Service) -> bool {
    let listed = service.list.iter();
    let mut listed = listed.filter_map(|id| state.destinations.get(id));
    listed.any(|one| one.settings.upper_threshold > 0)
}

/// Who gets the clients of each slot of a table that is asked without detours.
fn slots(state: &State, schedule: &Schedule) -> Option<Vec<Option<SocketAddr>>> {
    let Schedule::Table {
        hash: Hash::Source | Hash::Maglev,
        slots,
        fallback,
        ..
    } = schedule
    else {
        return None;
    };
    let eligible = |id: &u32| eligible(state, *id);
    let all: Vec<_> = slots.iter().map(eligible).collect();
    (!fallback || all.iter().all(Option::is_some)).then_some(all)
}

/// The address of a destination that may be given new connections.
fn eligible(state: &State, id: u32) -> Option<SocketAddr> {
    let destination = state.destinations.get(&id)?;
    let link = state.links.get(&destination.address.ip());
    let weight = state.maintenance.weight(destination);
    let may = weight > 0 && link.is_some_and(Link::is_usable);
    may.then_some(destination.address)
}

fn by_slot(one: &[Option<SocketAddr>], other: &[Option<SocketAddr>]) -> ClientMoves {
    let served = one.iter().zip(other).filter(|(then, _)| then.is_some());
    let (mut moved, mut refused) = (0, 0);
    for (then, now) in served {
        refused += usize::from(now.is_none());
        moved += usize::from(now.is_some() && then != now);
    }
    ClientMoves {
        moved: part(moved as f64 / one.len().max(1) as f64),
        refused: part(refused as f64 / one.len().max(1) as f64),
        sample: 0,
    }
}

/// Which part of new clients goes to whom.
struct Shares {
    of: HashMap<SocketAddr, f64>,
    /// Clients that were tried; 0 when the parts are exact.
    sample: u32,
}

impl Shares {
    fn of(
        key: &ServiceKey,
        (state, service): (&State, &Service),
        (schedule, is_exact): (&Schedule, bool),
        gauges: &Gauges,
    ) -> Option<Self> {
        match schedule {
            Schedule::Rotation(rotation) if is_exact => Some(Self::of_rotation(state, rotation)),
            _ => Self::tried(key, state, service, schedule, gauges),
        }
    }

    fn of_rotation(state: &State, rotation: &Rotation) -> Self {
        let (mut of, mut begin) = (HashMap::new(), 0);
        let cycle = rotation.cycle().max(1) as f64;
        for segment in &rotation.segments {
            let each = (segment.end - begin) as f64 / segment.destinations.len().max(1) as f64;
            begin = segment.end;
            for id in &segment.destinations {
                if let Some(address) = eligible(state, *id) {
                    *of.entry(address).or_default() += each / cycle;
                }
            }
        }
        Self { of, sample: 0 }
    }

    /// Lets clients choose by the packet path's own code, one after another.
    fn tried(
        key: &ServiceKey,
        state: &State,
        service: &Service,
        schedule: &Schedule,
        gauges: &Gauges,
    ) -> Option<Self> {
        let tables = Written::new(key, state, service, schedule, gauges)?;
        let mut counts: HashMap<SocketAddr, u32> = HashMap::new();
        for number in 0..limits::FORECAST_CLIENTS {
            if let Some(address) = tables.connect(number) {
                *counts.entry(address).or_default() += 1;
            }
        }
        let all = f64::from(limits::FORECAST_CLIENTS);
        let of = counts.into_iter();
        Some(Self {
            of: of
                .map(|(address, count)| (address, f64::from(count) / all))
                .collect(),
            sample: limits::FORECAST_CLIENTS,
        })
    }

    fn to(&self, after: &Self) -> ClientMoves {
        let sum = |shares: &Self| shares.of.values().sum::<f64>();
        let lost = self.of.iter().map(|(address, share)| {
            let then = after.of.get(address).copied().unwrap_or_default();
            (share - then).max(0.0)
        });
        let refused = (sum(self) - sum(after)).max(0.0);
        ClientMoves {
            moved: part(lost.sum::<f64>() - refused),
            refused: part(refused),
            sample: self.sample.max(after.sample),
        }
    }
}

/// In hundredths of a percent.
fn part(share: f64) -> u32 {
    (share * 10_000.0).round().clamp(0.0, 10_000.0) as u32
}

/// One service in tables in memory, as the data plane would have it.
struct Written {
    tables: MemoryTables,
    service: Published,
    virtual_address: SocketAddr,
    addresses: Vec<SocketAddr>,
}

impl Written {
    /// None if it does not fit.
    fn new(
        key: &ServiceKey,
        state: &State,
        service: &Service,
        schedule: &Schedule,
        gauges: &Gauges,
    ) -> Option<Self> {
        let mut tables = MemoryTables::new(1, [3, 5, 7, 9, 11, 13, 15, 17]);
        let room = service.list.len() + 1;
        tables.standings.resize_with(room, Default::default);
        tables.gauges.resize_with(room, Default::default);
        // Small numbers of its own for each destination.
        let (mut own, mut addresses) = (HashMap::new(), Vec::new());
        for id in &service.list {
            let number = own.len() as u32 + 1;
            own.insert(*id, number);
            let destination = state.destinations.get(id)?;
            addresses.push(destination.address);
            let settings = &destination.settings;
            let thresholds = (settings.upper_threshold, settings.lower_threshold);
            let weight = state.maintenance.weight(destination);
            tables.set_standing(number, weight, 1, thresholds);
            if eligible(state, *id).is_some() {
                let mac = director::headers::Mac::from_bytes([2, 0, 0, 0, 0, 1]);
                tables.links.insert(number, LinkWord::via(mac, 0).0);
            }
            let (active, inactive) = gauges.get(id).copied().unwrap_or_default();
            let gauge = u64::from(active) << 32 | u64::from(inactive);
            tables
                .gauges
                .get(number as usize)?
                .store(gauge, Ordering::SeqCst);
            tables.standings.get(number as usize)?.bound(gauge);
        }
        let virtual_address = key.address().unwrap_or_else(|| any(key));
        let published = service_key(virtual_address.ip(), virtual_address.port(), 6);
        let numbers = |ids: &[u32]| -> Vec<u32> {
            let all = ids.iter();
            all.map(|id| own.get(id).copied().unwrap_or_default())
                .collect()
        };
        let mut flags = 0;
        match schedule {
            Schedule::Rotation(rotation) => {
                let segments = rotation.segments.iter();
                let segments: Vec<_> = segments
                    .map(|one| (one.end, numbers(&one.destinations)))
                    .collect();
                tables.publish(published, 1, rotation.first, &segments);
            }
            Schedule::Table {
                hash,
                slots,
                with_port,
                fallback,
            } => {
                flags = (u32::from(*with_port) * service_flag::WITH_PORT)
                    | (u32::from(*fallback) * service_flag::FALLBACK);
                tables.publish_list(published, 1, kind_of_table(*hash), &numbers(slots));
            }
            Schedule::List {
                scheduler,
                destinations,
            } => tables.publish_list(published, 1, kind(*scheduler), &numbers(destinations)),
        }
        let mut service = tables.service(&published)?;
        service.flags |= flags;
        Some(Self {
            tables,
            service,
            virtual_address,
            addresses,
        })
    }

    /// Who gets a client, which stays connected.
    fn connect(&self, number: u32) -> Option<SocketAddr> {
        // Spread as clients of the Internet are, the same ones each time.
        let spread = number.wrapping_mul(0x9e37_79b1);
        let client = match self.virtual_address.is_ipv4() {
            true => IpAddr::from(spread.to_be_bytes()),
            false => IpAddr::from(
                u128::from(spread)
                    .wrapping_mul(0x2001_0db8_0000_0001_0000_0000)
                    .to_be_bytes(),
            ),
        };
        let vip = self.virtual_address;
        let port = 1024 + number % 64_000;
        let arrival = Arrival {
            client: mapped(client),
            virtual_address: mapped(vip.ip()),
            hash: u64::from(spread),
            ports: port << 16 | u32::from(vip.port()),
            source: fold(client),
            destination: fold(vip.ip()),
            tick: 1000,
            protocol: 6,
            version: if vip.is_ipv4() { 4 } else { 6 },
            state: 0,
            may_begin: 1,
        };
        let chosen = choose(&self.service, &arrival, &self.tables);
        let address = self.addresses.get((chosen as usize).checked_sub(1)?)?;
        let gauge = self.tables.gauges.get(chosen as usize)?;
        let before = gauge.fetch_add(1 << 32, Ordering::SeqCst);
        let standing = self.tables.standings.get(chosen as usize)?;
        standing.bound(before + (1 << 32));
        Some(*address)
    }
}

/// Some address of a firewall mark's family.
fn any(key: &ServiceKey) -> SocketAddr {
    match key.is_ipv6() {
        true => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 80)),
        false => SocketAddr::from(([192, 0, 2, 1], 80)),
    }
}

/// As IPVS's schedulers fold an address into 32 bits.
fn fold(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (0..4).fold(0, |folded, word| folded ^ (bits >> (32 * word)) as u32)
        }
    }
}

fn kind_of_table(hash: Hash) -> Kind {
    match hash {
        Hash::Destination => Kind::DH,
        Hash::Source => Kind::SH,
        Hash::Maglev => Kind::MH,
    }
}

fn kind(scheduler: Dynamic) -> Kind {
    match scheduler {
        Dynamic::Lc => Kind::LC,
        Dynamic::Wlc => Kind::WLC,
        Dynamic::Sed => Kind::SED,
        Dynamic::Nq => Kind::NQ,
        Dynamic::Fo => Kind::FO,
        Dynamic::Ovf => Kind::OVF,
        Dynamic::Lblc => Kind::LBLC,
        Dynamic::Lblcr => Kind::LBLCR,
        Dynamic::Twos => Kind::TWOS,
    }
}

#[cfg(test)]
mod tests {
    use api::{Change, DestinationSettings, ServiceSettings};
    use control::{Event, LinkReport, Observed, differences};

    use super::*;

    fn key() -> ServiceKey {
        "tcp:192.0.2.100:80".parse().unwrap()
    }

    fn server(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 10 + n], 80))
    }

    /// A table with one service and these weights of servers 1, 2, …
    fn table(scheduler: &str, weights: &[u32]) -> State {
        let mut state = State::default();
        let mut events = vec![
            Event::Interface {
                index: 2,
                name: "eth0".to_owned(),
                mac: [2; 6],
            },
            Event::Change(Change::AddService {
                service: key(),
                settings: ServiceSettings::of(scheduler),
            }),
        ];
        for (n, weight) in (1..).zip(weights) {
            events.push(Event::Change(Change::AddDestination {
                service: key(),
                destination: server(n),
                settings: DestinationSettings::of(*weight),
            }));
            let link = LinkReport::Via {
                mac: [2, 0, 0, 0, 0, n],
                interface: 2,
            };
            events.push(Event::Links(vec![(server(n).ip(), link)]));
        }
        for event in events {
            control::step(&mut state, event, &Observed::default()).unwrap();
        }
        state
    }

    fn forecast(before: &State, after: &State, gauges: &Gauges) -> Moves {
        let service = &after.services[&key()];
        let destinations = service.list.iter().rev().map(|id| {
            let destination = &after.destinations[id];
            (destination.address, destination.settings.clone())
        });
        let desired = control::Desired {
            services: vec![control::DesiredService {
                key: key(),
                settings: service.settings.clone(),
                destinations: destinations.collect(),
            }],
            ..control::Desired::default()
        };
        let all = differences(before, &desired);
        moves(before, after, gauges, &all[0])
    }

    fn clients(moves: &Moves) -> (u32, u32) {
        let clients = moves.clients.as_ref().unwrap();
        (clients.moved, clients.refused)
    }

    #[test]
    fn of_a_rotation_what_another_server_takes_is_exact() {
        let found = forecast(
            &table("rr", &[1, 1]),
            &table("rr", &[1, 1, 1, 1]),
            &Gauges::new(),
        );
        assert_eq!(
            clients(&found),
            (5_000, 0),
            "half of all, for the two new ones"
        );
        let found = forecast(
            &table("wrr", &[1, 3]),
            &table("wrr", &[1, 1]),
            &Gauges::new(),
        );
        assert_eq!(clients(&found), (2_500, 0));
        let found = forecast(&table("rr", &[1, 1]), &table("rr", &[0, 0]), &Gauges::new());
        assert_eq!(clients(&found), (0, 10_000));
    }

    #[test]
    fn of_a_hash_each_client_is_looked_at() {
        let found = forecast(
            &table("mh", &[1, 1, 1]),
            &table("mh", &[1, 1, 1, 1]),
            &Gauges::new(),
        );
        let (moved, refused) = clients(&found);
        assert_eq!((refused, found.clients.unwrap().sample), (0, 0));
        // A quarter goes to the new one, and little else moves: that is what Maglev is for.
        assert!((2_400..3_300).contains(&moved), "{moved}");
        let found = forecast(
            &table("sh", &[1, 1]),
            &table("sh", &[1, 1, 1]),
            &Gauges::new(),
        );
        let (moved, _) = clients(&found);
        assert!(
            (6_000..7_000).contains(&moved),
            "sh moves two thirds: {moved}"
        );
    }

    #[test]
    fn of_least_connections_clients_are_tried_from_what_is_connected_now() {
        let before = table("lc", &[1, 1]);
        let gauges = Gauges::from([(1, (3_000, 0)), (2, (0, 7))]);
        let found = forecast(&before, &table("lc", &[1, 1, 1]), &gauges);
        assert_eq!((found.connections, found.lost), (3_007, 0));
        let sampled = found.clients.clone().unwrap();
        assert!(sampled.sample >= 1_000);
        // All went to the second, and half of them go to the third.
        assert!((4_900..5_100).contains(&sampled.moved), "{sampled:?}");
    }

    /// The shares that the formulas give are those that the packet path deals out.
    #[test]
    fn what_is_said_to_be_exact_is_what_the_packet_path_does() {
        for (scheduler, before, after) in [
            ("rr", &[1, 1, 1][..], &[1, 1, 1, 1, 1][..]),
            ("wrr", &[5, 1, 2], &[3, 3, 0, 9]),
            ("sh", &[1, 2, 1], &[1, 0, 1, 4]),
            ("mh", &[1, 1, 1], &[2, 1]),
        ] {
            let states = [table(scheduler, before), table(scheduler, after)];
            let found = forecast(&states[0], &states[1], &Gauges::new());
            let tries: Vec<Vec<Option<SocketAddr>>> = states
                .iter()
                .map(|state| {
                    let service = &state.services[&key()];
                    let schedule = state.schedule(service);
                    let written =
                        Written::new(&key(), state, service, &schedule, &Gauges::new()).unwrap();
                    (0..20_000).map(|n| written.connect(n)).collect()
                })
                .collect();
            let count = |to: Option<SocketAddr>, tries: &[Option<SocketAddr>]| {
                tries.iter().filter(|one| **one == to).count() as f64
            };
            let moved = match scheduler {
                "sh" | "mh" => tries[0]
                    .iter()
                    .zip(&tries[1])
                    .filter(|(then, now)| then.is_some() && now.is_some() && then != now)
                    .count() as f64,
                _ => (1..=5)
                    .map(|n| Some(server(n)))
                    .map(|to| (count(to, &tries[0]) - count(to, &tries[1])).max(0.0))
                    .sum(),
            };
            let (exact, _) = clients(&found);
            let (seen, slack) = (moved / 20_000.0 * 10_000.0, 100.0);
            assert!(
                (f64::from(exact) - seen).abs() < slack,
                "{scheduler}: {exact} said, {seen} seen"
            );
        }
    }

    #[test]
    fn with_thresholds_clients_are_tried_and_the_full_get_none() {
        let mut state = table("rr", &[1, 1]);
        let full = DestinationSettings {
            upper_threshold: 10,
            ..DestinationSettings::of(1)
        };
        let limited = |settings: &DestinationSettings| {
            Event::Change(Change::EditDestination {
                service: key(),
                destination: server(1),
                settings: settings.clone(),
            })
        };
        control::step(&mut state, limited(&full), &Observed::default()).unwrap();
        let before = state.clone();
        control::step(
            &mut state,
            limited(&DestinationSettings::of(1)),
            &Observed::default(),
        )
        .unwrap();
        // The first is full: all go to the second, until the limit is lifted.
        let gauges = Gauges::from([(1, (10, 0))]);
        let found = forecast(&before, &state, &gauges);
        let moved = found.clients.unwrap();
        assert_eq!((moved.moved, moved.refused), (5_000, 0));
        assert!(moved.sample > 0);
    }

    #[test]
    fn connections_of_a_destination_that_goes_are_lost() {
        let gauges = Gauges::from([(1, (30, 10)), (2, (60, 0))]);
        let found = forecast(&table("rr", &[1, 1]), &table("rr", &[1]), &gauges);
        assert_eq!((found.connections, found.lost), (100, 60));
    }
}
