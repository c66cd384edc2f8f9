//! Counters and gauges for another thread: what a scrape of metrics reads while the actor works.
//!
//! It shares the maps with [`crate::Dataplane`], not that object: nobody waits for a reader, and a reader
//! waits for nobody. It writes nothing.

use std::sync::Arc;

use aya::maps::{MapData, PerCpuArray};
use director::limits::STATES;
use director::state::State;
use director::tables::Gauge;
use director::verdict;

use crate::connections::Table;
use crate::error::Error;
use crate::map::Words;
use crate::object::Maps;
use crate::{Stats, destinations};

/// Reads counters and gauges from another thread.
#[derive(Clone)]
pub struct Readings {
    per_cpu: Arc<PerCpu>,
    gauges: Words,
    standings: Words,
    table: Table,
}

struct PerCpu {
    statistics: PerCpuArray<MapData, [u64; 3]>,
    verdicts: PerCpuArray<MapData, u64>,
}

/// How many entries of the connection table are in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateCount {
    /// `tcp`, `udp`, `sctp`, or `template` for persistence templates.
    pub kind: &'static str,
    /// As IPVS writes it: `ESTABLISHED`.
    pub state: &'static str,
    /// Entries, with those that have run out and are not swept yet.
    pub entries: u64,
}

impl Readings {
    pub(crate) fn new(maps: &Maps, table: Table) -> Result<Self, Error> {
        Ok(Self {
            per_cpu: Arc::new(PerCpu {
                statistics: maps.per_cpu("STATISTICS")?,
                verdicts: maps.per_cpu("VERDICTS")?,
            }),
            gauges: maps.words("GAUGES")?,
            standings: maps.words("STANDINGS")?,
            table,
        })
    }

    /// What a destination was sent, over all CPUs.
    #[must_use]
    pub fn destination_stats(&self, id: u32) -> Stats {
        destinations::sum(&self.per_cpu.statistics, id)
    }

    /// Active and inactive connections of a destination.
    #[must_use]
    pub fn gauges(&self, id: u32) -> (u32, u32) {
        Gauge::split(self.gauges.load(id as usize))
    }

    /// Whether a destination has reached its upper threshold and not yet come below its lower one.
    #[must_use]
    pub fn is_overloaded(&self, id: u32) -> bool {
        self.standings.standing(id as usize).is_overloaded()
    }

    /// Entries of the connection table that a service number has, templates among them.
    #[must_use]
    pub fn population(&self, service: u32) -> u64 {
        self.table.populations.load(service as usize)
    }

    /// Every counter by name, over all CPUs.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let total = |number| {
            let values = self.per_cpu.verdicts.get(&number, 0);
            values.map_or(0, |values| values.iter().sum())
        };
        verdict::counter_names()
            .map(|(number, name)| (name, total(number)))
            .collect()
    }

    /// Walks the whole connection table and counts its entries by state: every state that there is, in the
    /// order of their numbers. It reads 16 bytes for each connection that fits; do not ask often.
    #[must_use]
    pub fn states(&self) -> Vec<StateCount> {
        let counts: [u64; STATES] = self.table.count_states();
        let all = State::ALL.iter().enumerate().zip(counts);
        all.filter_map(|((number, (state, ..)), entries)| {
            let kind = kind(State(u8::try_from(number).ok()?));
            Some(StateCount {
                kind,
                state,
                entries,
            })
        })
        .collect()
    }
}

/// Whose state it is: they are numbered by protocol.
fn kind(state: State) -> &'static str {
    match state {
        _ if state.is_template() => "template",
        State::UDP => "udp",
        State(number) if number >= State::SCTP_NONE.0 => "sctp",
        State(_) => "tcp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_kind_and_with_it_a_name_of_its_own() {
        let all = (0..State::ALL.len() as u8).map(State);
        let names: std::collections::BTreeSet<_> =
            all.map(|state| (kind(state), state.name())).collect();
        assert_eq!(names.len(), State::ALL.len());
        assert_eq!(kind(State::ESTABLISHED), "tcp");
        assert_eq!(kind(State::SCTP_ESTABLISHED), "sctp");
        assert_eq!(kind(State::ASSURED), "template");
        assert_eq!(kind(State::UDP), "udp");
    }
}
