//! TCP connections whose SYN nobody has answered, as far as the client's half shows it.
//!
//! In direct routing the reply is not seen. What is seen is whether the client goes on: with the first packet after
//! its SYN a connection leaves SYN_RECV, which is a round trip after an answer and never without one.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use director::connection::{CLAIMED, Entry, FREE, State};
use director::tables::{Settings, Tuple};

use crate::Dataplane;
use crate::connections::{Table, now};

/// What of a destination's connections is unanswered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unanswered {
    /// Connections in SYN_RECV.
    pub connections: u32,
    /// Whether they are of more than one client address.
    pub several_clients: bool,
}

impl Dataplane {
    /// Unanswered connections of these destinations; those without any are left out. It is to walk the table.
    #[must_use]
    pub fn unanswered(&self, ids: &BTreeSet<u32>) -> HashMap<u32, Unanswered> {
        let settings = self.settings.read::<Settings>(0);
        settings.map_or_else(HashMap::new, |settings| {
            self.connections.unanswered(&settings, ids)
        })
    }
}

impl Table {
    fn unanswered(&self, settings: &Settings, ids: &BTreeSet<u32>) -> HashMap<u32, Unanswered> {
        let tick = now().tick();
        let mut found: HashMap<u32, (Unanswered, [u64; 2])> = HashMap::new();
        for slot in 0..self.slots() {
            let tag = self.tag(slot).load(Ordering::Acquire);
            if tag == FREE || tag == CLAIMED {
                continue;
            }
            let entry = Entry(self.entry(slot).load(Ordering::Acquire));
            let is_meant = entry.state() == State::SYN_RECV && ids.contains(&entry.destination());
            if !is_meant || entry.is_expired(settings, tick) {
                continue;
            }
            let known = found.get(&entry.destination());
            // Once there are several nobody asks who.
            let client = match known {
                Some((known, client)) if known.several_clients => *client,
                _ => self
                    .tuples
                    .read::<Tuple>(slot)
                    .map_or([0; 2], |tuple| tuple.client),
            };
            let (sum, first) = found
                .entry(entry.destination())
                .or_insert((Unanswered::default(), client));
            sum.connections += 1;
            sum.several_clients |= *first != client;
        }
        found.into_iter().map(|(id, (sum, _))| (id, sum)).collect()
    }
}
