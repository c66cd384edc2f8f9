//! What a step changed, to be written behind what was written before.
//!
//! A table of 100,000 destinations is tens of megabytes as text; a change of one is some hundred bytes.

use std::net::IpAddr;
use std::sync::Arc;

use api::ServiceKey;
use serde::{Deserialize, Serialize};

use crate::event::DesiredService;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::state::{Destination, Egress, Link, Rest, Service, State, Trashed, Vip};

/// Entries as they are after a step; `None` for those that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delta {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<(ServiceKey, Option<Service>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    destinations: Vec<(u32, Option<Destination>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trash: Vec<(u32, Option<Trashed>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<(IpAddr, Option<Link>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    egress: Vec<(u8, Option<Egress>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vips: Vec<(IpAddr, Option<Vip>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    named: Vec<(ServiceKey, Option<Arc<DesiredService>>)>,
    /// Only when more of it changed than the two numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<Rest>,
    sequence: u64,
    last_id: u32,
    /// The plan that is about to be carried out, as far as it takes something away.
    #[serde(skip_serializing_if = "Plan::is_empty")]
    pub pending: Plan,
}

impl State {
    /// What the last step changed; with the plan that follows from it.
    #[must_use]
    pub fn delta(&self, plan: &Plan) -> Delta {
        Delta {
            services: touched(&self.services),
            destinations: touched(&self.destinations),
            trash: touched(&self.trash),
            links: touched(&self.links),
            egress: touched(&self.egress),
            vips: touched(&self.vips),
            named: touched(&self.named),
            rest: self.is_rest_changed().then(|| Rest::clone(self)),
            sequence: self.sequence,
            last_id: self.last_id,
            pending: plan.removals(),
        }
    }

    /// Makes this state what it was after the steps of these deltas. The pending plans are the caller's.
    pub fn follow(&mut self, deltas: impl IntoIterator<Item = Delta>) {
        for delta in deltas {
            self.follow_one(delta);
        }
        self.reindex();
        self.begin();
    }

    fn follow_one(&mut self, delta: Delta) {
        if let Some(rest) = delta.rest {
            **self = rest;
        }
        self.sequence = delta.sequence;
        self.last_id = delta.last_id;
        set(&mut self.services, delta.services);
        set(&mut self.destinations, delta.destinations);
        set(&mut self.trash, delta.trash);
        set(&mut self.links, delta.links);
        set(&mut self.egress, delta.egress);
        set(&mut self.vips, delta.vips);
        set(&mut self.named, delta.named);
        self.split_applied();
    }

    /// Whether the rest is another than when the step began, the counting numbers aside.
    fn is_rest_changed(&self) -> bool {
        let was = Rest {
            sequence: self.sequence,
            last_id: self.last_id,
            ..self.was().clone()
        };
        was != **self
    }
}

fn touched<K: Ord + Copy, V: Clone>(ledger: &Ledger<K, V>) -> Vec<(K, Option<V>)> {
    let keys = ledger.touched();
    keys.map(|key| (*key, ledger.get(key).cloned())).collect()
}

fn set<K: Ord + Copy, V: Clone>(ledger: &mut Ledger<K, V>, entries: Vec<(K, Option<V>)>) {
    for (key, value) in entries {
        match value {
            Some(value) => ledger.insert(key, value),
            None => {
                ledger.remove(&key);
            }
        }
    }
}
