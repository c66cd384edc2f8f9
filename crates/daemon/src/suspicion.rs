//! Real servers that let connections begin and never answer them, noticed before their next check.
//!
//! ```text
//! every 2 s: new connections of each destination ─► enough, with a neighbour to compare? ─► a look at the
//! connection table: nearly all of its new ones unanswered, the neighbour's answered ─► suspected
//! ```
//!
//! A hint, nothing else: it brings the checks forward, and they decide. What it must not do is to cry
//! wolf, so it compares destinations of one service over the same two seconds:
//!
//! - who has few new connections is not judged: idle is not dead;
//! - a slow real server is not suspected: the kernel answers a SYN, however slow the program behind it is;
//! - a flood of SYNs from made-up sources leaves every destination's connections unanswered: nobody stands out;
//! - one client that cannot be reached makes nobody suspect: at least two must go unanswered.
//!
//! For the same reason the only destination of a service is never suspected. Only TCP shows an answer at all.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use api::ServiceKey;
use dataplane::Unanswered;

use crate::estimates::ById;
use crate::limits;

/// A destination's count of connections ever scheduled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) service: ServiceKey,
    pub(crate) server: IpAddr,
    pub(crate) id: u32,
    pub(crate) connections: u64,
}

/// A destination and how many connections it was given since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recent {
    pub(crate) service: ServiceKey,
    pub(crate) server: IpAddr,
    pub(crate) id: u32,
    new: u64,
}

/// One that stands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) service: ServiceKey,
    pub(crate) server: IpAddr,
    pub(crate) reason: String,
}

/// What was seen at the last look.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    last: ById<u64>,
    suspected: HashMap<u32, Instant>,
}

impl Suspicion {
    /// Destinations that can be judged: busy ones of services where another is busy, too. For all others nobody
    /// has to look at the connection table.
    pub(crate) fn look(&mut self, readings: &[Reading]) -> Vec<Recent> {
        let last = std::mem::take(&mut self.last);
        let mut busy: BTreeMap<ServiceKey, Vec<Recent>> = BTreeMap::new();
        for one in readings {
            self.last.insert(one.id, one.connections);
            let Some(before) = last.get(&one.id) else {
                continue;
            };
            let new = one.connections.saturating_sub(*before);
            if new >= limits::SUSPECT_CONNECTIONS {
                busy.entry(one.service).or_default().push(Recent {
                    service: one.service,
                    server: one.server,
                    id: one.id,
                    new,
                });
            }
        }
        let compared = busy.into_values().filter(|service| service.len() > 1);
        compared.flatten().collect()
    }

    /// Those that stand out, each again only after a while.
    pub(crate) fn judge(
        &mut self,
        recent: &[Recent],
        unanswered: &HashMap<u32, Unanswered>,
        now: Instant,
    ) -> Vec<Suspect> {
        let of = |one: &Recent| unanswered.get(&one.id).copied().unwrap_or_default();
        let answers = |one: &&Recent| u64::from(of(one).connections) * 2 <= one.new;
        self.suspected
            .retain(|_, since| now.duration_since(*since) < limits::SUSPECT_AGAIN);
        let mut suspects = Vec::new();
        for one in recent {
            let open = of(one);
            let is_silent = u64::from(open.connections) * 10 >= one.new * 9 && open.several_clients;
            let mut others = recent.iter().filter(|other| other.service == one.service);
            let Some(other) = others.find(answers).filter(|_| is_silent) else {
                continue;
            };
            if self.suspected.contains_key(&one.id) {
                continue;
            }
            self.suspected.insert(one.id, now);
            suspects.push(Suspect {
                service: one.service,
                server: one.server,
                reason: format!(
                    "of its {} newest connections hardly one went on after its SYN, while those of {} do; its \
                     checks are brought forward",
                    one.new, other.server
                ),
            });
        }
        suspects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    /// Two seconds in which each destination was given so many, of which so many are unanswered.
    fn seen(suspicion: &mut Suspicion, destinations: &[(u64, u32, bool)]) -> Vec<IpAddr> {
        let service = "tcp:192.0.2.100:80".parse().unwrap();
        let readings = |given: &dyn Fn(u64) -> u64| -> Vec<Reading> {
            let all = (1..).zip(destinations);
            all.map(|(id, (new, ..))| Reading {
                service,
                server: server(id),
                id: id.into(),
                connections: given(*new),
            })
            .collect()
        };
        suspicion.look(&readings(&|_| 1_000));
        let recent = suspicion.look(&readings(&|new| 1_000 + new));
        let unanswered = (1..).zip(destinations);
        let unanswered = unanswered.map(|(id, (_, connections, several_clients))| {
            let open = Unanswered {
                connections: *connections,
                several_clients: *several_clients,
            };
            (id, open)
        });
        let suspects = suspicion.judge(&recent, &unanswered.collect(), Instant::now());
        suspects.into_iter().map(|one| one.server).collect()
    }

    fn suspects(destinations: &[(u64, u32, bool)]) -> Vec<IpAddr> {
        seen(&mut Suspicion::default(), destinations)
    }

    #[test]
    fn one_that_answers_nobody_while_its_neighbour_does_is_suspected_once() {
        let mut suspicion = Suspicion::default();
        let silent = [(8, 8, true), (8, 0, false)];
        assert_eq!(seen(&mut suspicion, &silent), [server(1)]);
        assert_eq!(seen(&mut suspicion, &silent), [] as [IpAddr; 0]);
    }

    #[test]
    fn retransmitted_connections_of_earlier_seconds_count_as_well() {
        assert_eq!(suspects(&[(8, 40, true), (9, 1, true)]), [server(1)]);
    }

    #[test]
    fn an_idle_one_is_not_suspected() {
        assert_eq!(suspects(&[(2, 2, true), (8, 0, false)]), [] as [IpAddr; 0]);
        assert_eq!(suspects(&[(0, 0, false), (8, 0, false)]), [] as [IpAddr; 0]);
    }

    #[test]
    fn one_that_answers_most_is_not_suspected() {
        assert_eq!(
            suspects(&[(10, 8, true), (10, 0, false)]),
            [] as [IpAddr; 0]
        );
    }

    #[test]
    fn in_a_flood_nobody_stands_out() {
        let flooded = [(50_000, 900_000, true), (50_000, 900_000, true)];
        assert_eq!(suspects(&flooded), [] as [IpAddr; 0]);
    }

    #[test]
    fn a_single_client_that_cannot_be_reached_makes_nobody_suspect() {
        assert_eq!(suspects(&[(8, 8, false), (8, 0, false)]), [] as [IpAddr; 0]);
    }

    #[test]
    fn without_a_neighbour_nobody_is_suspected() {
        assert_eq!(suspects(&[(8, 8, true)]), [] as [IpAddr; 0]);
        assert_eq!(suspects(&[(8, 8, true), (0, 0, false)]), [] as [IpAddr; 0]);
    }
}
