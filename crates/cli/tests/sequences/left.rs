//! What a killed daemon leaves: the state that the next one goes on from, read without its help.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::common::World;

/// Services, each with its scheduler and the weights of its destinations.
pub type Table = BTreeMap<api::ServiceKey, (String, BTreeMap<SocketAddr, u32>)>;

/// The state file, as far as it was written to its end.
pub struct Left {
    /// Which generation of the configuration it is.
    pub generation: u64,
    /// The services of that configuration, as checks allowed them.
    pub configuration: Table,
    /// The table.
    pub table: Table,
}

impl Left {
    pub fn read(world: &World) -> Self {
        let text = std::fs::read_to_string(path(world)).unwrap();
        let mut lines = text.split_inclusive('\n');
        let saved: control::Saved = serde_json::from_str(lines.next().unwrap()).unwrap();
        let mut state = saved.state;
        let whole = lines.filter(|line| line.ends_with('\n'));
        state.follow(whole.map(|line| serde_json::from_str::<control::Delta>(line).unwrap()));
        let applied = state.applied_last().unwrap();
        let configuration = applied.services.into_iter().map(|service| {
            let destinations = service.destinations.into_iter();
            let weights = destinations.map(|(address, one)| (address, one.weight));
            (service.key, (service.settings.scheduler, weights.collect()))
        });
        let table = state.services.iter().map(|(key, service)| {
            let listed = service.list.iter().map(|id| &state.destinations[id]);
            let weights = listed.map(|one| (one.address, one.settings.weight));
            (
                *key,
                (service.settings.scheduler.clone(), weights.collect()),
            )
        });
        Self {
            generation: state.generation,
            configuration: configuration.collect(),
            table: table.collect(),
        }
    }
}

/// How long the state file is: it grows, or is written anew, when a step is about to be carried out.
pub fn bytes(world: &World) -> u64 {
    std::fs::metadata(path(world)).map_or(0, |found| found.len())
}

fn path(world: &World) -> std::path::PathBuf {
    api::socket_path(&world.instance).with_extension("state.json")
}
