//! Real servers that get no new connections, whatever file, checks and `ipvsadm` say of their weight.
//!
//! ```text
//! file, checks, ipvsadm ─► settings.weight ─┐
//!                                           ├─► the weight that counts: 0 while an order holds it
//! drain, disable ─► Order ──────────────────┘
//! ```
//!
//! An order lies over the table and changes no setting, so whoever edits a weight meanwhile edits what
//! counts again after `enable`. It names a real server, not a destination: one that its check takes out and puts
//! back, or that somebody adds, is held as well.
//!
//! What is drained is passed by, as IPVS passes by weight 0, with one difference: `sh` and `mh` look for
//! another slot while one of their destinations is held, and `dh` leaves it out. IPVS refuses such clients.

use std::net::IpAddr;
use std::sync::Arc;

use api::{Origin, Refusal, RefusalCode, ServiceKey};
use serde::{Deserialize, Serialize};

use crate::change;
use crate::check::refusal;
use crate::event::Observed;
use crate::limits;
use crate::schedule::Cause;
use crate::state::{Destination, State};

/// All orders, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Maintenance {
    orders: Vec<Order>,
}

/// A real server that is held, in one service or in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The real server.
    pub server: IpAddr,
    /// The service; all, also those that come, without one.
    pub service: Option<ServiceKey>,
    /// Since when, by a clock that goes on while the host sleeps and daemons come and go.
    pub since_s: u64,
    /// Whether its last connection is waited for.
    #[serde(default)]
    pub awaited: bool,
    /// When what is left of its connections is let go, by the same clock.
    pub until_s: Option<u64>,
    /// Whether it is removed when it has no connection any more.
    pub remove: bool,
    /// Whether that was done. What the file says of it does not count until the order ends.
    pub removed: bool,
}

/// What can happen to orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maintain {
    /// A real server is held from now on. A newer order takes the place of one for the same.
    Hold(Order),
    /// It is held no more.
    End {
        /// The real server.
        server: IpAddr,
        /// The order's service; all of the server's orders without one.
        service: Option<ServiceKey>,
    },
    /// It has no connection any more: nothing is waited for, and it is removed if that was ordered.
    Finish {
        /// The real server.
        server: IpAddr,
        /// The order's service.
        service: Option<ServiceKey>,
        /// Whether the configuration names it: then it stays removed until the order ends. Else nothing would
        /// bring it back, and there is nothing left to hold.
        is_named: bool,
    },
}

impl Order {
    /// Whether it is about this real server in this service.
    #[must_use]
    pub fn is_about(&self, key: &ServiceKey, server: IpAddr) -> bool {
        self.server == server && self.service.is_none_or(|service| service == *key)
    }
}

impl Maintenance {
    /// All orders.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.orders.iter()
    }

    /// Whether a real server gets no new connections of a service.
    #[must_use]
    pub fn holds(&self, key: &ServiceKey, server: IpAddr) -> bool {
        self.orders.iter().any(|order| order.is_about(key, server))
    }

    /// Whether it was removed from a service, and stays removed.
    #[must_use]
    pub fn has_removed(&self, key: &ServiceKey, server: IpAddr) -> bool {
        let mut about = self
            .orders
            .iter()
            .filter(|order| order.is_about(key, server));
        about.any(|order| order.removed)
    }

    /// The weight of a destination that counts.
    #[must_use]
    pub fn weight(&self, destination: &Destination) -> u32 {
        let is_held = self.holds(&destination.service, destination.address.ip());
        if is_held {
            0
        } else {
            destination.settings.weight
        }
    }

    fn position(&self, server: IpAddr, service: Option<ServiceKey>) -> Option<usize> {
        let mut orders = self.orders.iter();
        orders.position(|order| (order.server, order.service) == (server, service))
    }
}

pub(crate) fn apply(
    state: &mut State,
    maintain: Maintain,
    observed: &Observed,
) -> Result<(), Refusal> {
    match maintain {
        Maintain::Hold(order) => hold(state, order, observed),
        Maintain::End { server, service } => end(state, server, service, observed),
        Maintain::Finish {
            server,
            service,
            is_named,
        } => finish(state, server, service, is_named, observed),
    }
}

fn hold(state: &mut State, order: Order, observed: &Observed) -> Result<(), Refusal> {
    let (server, service) = (order.server, order.service);
    let position = state.maintenance.position(server, service);
    let orders = &mut Arc::make_mut(&mut state.maintenance).orders;
    if let Some(position) = position {
        let old = &mut orders[position];
        // Removed once, it is removed; and it is held since it was.
        *old = Order {
            since_s: old.since_s,
            removed: old.removed,
            ..order
        };
    } else if orders.len() < limits::ORDERS {
        orders.push(order);
    } else {
        return Err(refusal(
            RefusalCode::Full,
            format!(
                "{} orders of maintenance stand already, as many as fit: end some with `dirigo enable`",
                limits::ORDERS
            ),
        ));
    }
    weigh(state, server, observed);
    Ok(())
}

fn end(
    state: &mut State,
    server: IpAddr,
    service: Option<ServiceKey>,
    observed: &Observed,
) -> Result<(), Refusal> {
    let is_ended =
        |order: &Order| order.server == server && (service.is_none() || order.service == service);
    if !state.maintenance.orders.iter().any(is_ended) {
        return Err(not_held(state, server, service));
    }
    Arc::make_mut(&mut state.maintenance)
        .orders
        .retain(|order| !is_ended(order));
    put_back(state, server, observed)?;
    weigh(state, server, observed);
    Ok(())
}

fn not_held(state: &State, server: IpAddr, service: Option<ServiceKey>) -> Refusal {
    let message = match service {
        Some(key) if state.maintenance.holds(&key, server) => format!(
            "{server} is in maintenance in all services: `dirigo enable {server}` ends it everywhere; then \
             drain it where it shall stay so"
        ),
        Some(key) => format!("{server} is not in maintenance in service {key}"),
        None => format!("{server} is not in maintenance: nothing to end"),
    };
    refusal(RefusalCode::NoSuchDestination, message)
}

/// What was removed from services of the configuration is there again.
fn put_back(state: &mut State, server: IpAddr, observed: &Observed) -> Result<(), Refusal> {
    if state.applied.is_none() {
        return Ok(());
    }
    for (key, address, settings) in named(state, server) {
        let is_missing = state
            .services
            .get(&key)
            .is_some_and(|service| state.listed(service, address).is_none());
        if is_missing && !state.maintenance.has_removed(&key, server) {
            change::add_destination(state, &key, address, settings, Origin::Config, observed)?;
        }
    }
    Ok(())
}

fn named(
    state: &State,
    server: IpAddr,
) -> Vec<(ServiceKey, std::net::SocketAddr, api::DestinationSettings)> {
    let all = state.named.values().flat_map(|service| {
        let destinations = service.destinations.iter();
        let its = destinations.filter(move |(address, _)| address.ip() == server);
        its.map(|(address, settings)| (service.key, *address, settings.clone()))
    });
    all.collect()
}

fn finish(
    state: &mut State,
    server: IpAddr,
    service: Option<ServiceKey>,
    is_named: bool,
    observed: &Observed,
) -> Result<(), Refusal> {
    let Some(position) = state.maintenance.position(server, service) else {
        return Ok(());
    };
    let order = &mut Arc::make_mut(&mut state.maintenance).orders[position];
    order.until_s = None;
    order.awaited = false;
    if !std::mem::take(&mut order.remove) {
        return Ok(());
    }
    order.removed = true;
    let order = order.clone();
    let listed = state.index.by_server.get(&server).into_iter().flatten();
    let listed = listed.filter_map(|id| state.destinations.get(id));
    let its: Vec<_> = listed
        .filter(|one| order.is_about(&one.service, server))
        .map(|one| (one.service, one.address))
        .collect();
    for (key, address) in its {
        change::delete_destination(state, &key, address, observed)?;
    }
    if !is_named {
        Arc::make_mut(&mut state.maintenance)
            .orders
            .remove(position);
    }
    Ok(())
}

/// Has the services of a real server follow the weight that counts now.
fn weigh(state: &mut State, server: IpAddr, observed: &Observed) {
    let ids = state.index.by_server.get(&server);
    let ids: Vec<u32> = ids.into_iter().flatten().copied().collect();
    let mut keys = Vec::new();
    for id in ids {
        // Touched, so that the plan looks at it.
        if let Some(destination) = state.destinations.get_mut(&id) {
            keys.push(destination.service);
        }
    }
    keys.sort();
    keys.dedup();
    for key in keys {
        let changed = |state: &mut State, service: &mut crate::state::Service| {
            service.place.changed(&state.candidates(service));
        };
        let is_dh = |service: &crate::state::Service| service.scheduler() == config::Scheduler::Dh;
        match state.services.get(&key).is_some_and(is_dh) {
            // Its table is without those that are held.
            true => state.rework(&key, observed, changed),
            false => state.rework_for(&key, Cause::Weight, observed, changed),
        }
    }
}

impl State {
    /// Destinations of a real server in one service or in all, deleted ones that are remembered included.
    pub fn ids_at(
        &self,
        server: IpAddr,
        service: Option<ServiceKey>,
    ) -> impl Iterator<Item = u32> + '_ {
        let listed = self.index.by_server.get(&server).into_iter().flatten();
        let listed = listed.filter(move |id| {
            let destination = self.destinations.get(id);
            destination.is_some_and(|one| service.is_none_or(|key| key == one.service))
        });
        let deleted = self.index.deleted.iter();
        let deleted = deleted.filter(move |((key, address), _)| {
            address.ip() == server && service.is_none_or(|service| service == *key)
        });
        listed.copied().chain(deleted.map(|(_, id)| *id))
    }
}
