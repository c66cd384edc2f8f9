//! Real servers that are taken out of service, and what is waited for.
//!
//! ```text
//! drain ─► order in the state ─► weight 0, templates turned away ─► count ─► none ─► removed, if ordered
//!                                                                     └ deadline: let go
//! ```
//!
//! The waiting is done here and the order is in the state file, so it goes on when whoever ordered it
//! is gone, and after a restart.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::{
    EventKind, Maintenance, MaintenanceDone, MaintenanceOrder, Occurrence, Refusal, RefusalCode,
    ServerName, ServiceKey,
};
use control::{Event, Maintain, Order};
use tracing::error;

use super::{Actor, now_s};
use crate::events;
use crate::host::Host;
use crate::limits;
use crate::plane::Plane;

impl<P: Plane, H: Host> Actor<P, H> {
    /// Does what is ordered, as far as it can be done at once.
    pub(super) fn maintain(&mut self, order: MaintenanceOrder) -> Result<MaintenanceDone, Refusal> {
        let (server, service) = (self.address_of(order.server())?, order.service());
        let mut let_go = 0;
        match order {
            MaintenanceOrder::Enable { .. } => {
                let is_meant = |order: &Order| {
                    order.server == server && (service.is_none() || order.service == service)
                };
                let was_awaited = {
                    let mut orders = self.state.maintenance.orders();
                    orders.any(|order| is_meant(order) && order.awaited)
                };
                self.apply(Event::Maintain(Maintain::End { server, service }))?;
                if was_awaited {
                    tell(EventKind::DrainEnded, server, service, None);
                }
                tell(EventKind::ServerEnabled, server, service, None);
            }
            MaintenanceOrder::Disable { .. } => {
                self.hold(server, service, None)?;
                tell(EventKind::ServerDisabled, server, service, None);
            }
            MaintenanceOrder::Drain {
                deadline_s,
                remove,
                now,
                ..
            } => {
                let deadline_s = if now { Some(0) } else { deadline_s };
                self.hold(server, service, Some((deadline_s, remove)))?;
                tell(EventKind::DrainBegun, server, service, None);
                if now {
                    let_go = self.let_go(server, service);
                }
                self.look_after(server, service, let_go);
            }
        }
        let orders = self.maintenance().into_iter();
        Ok(MaintenanceDone {
            server,
            let_go,
            orders: orders.filter(|one| one.server == server).collect(),
        })
    }

    /// The address of a real server that somebody named.
    fn address_of(&self, server: &ServerName) -> Result<IpAddr, Refusal> {
        let name = match server {
            ServerName::Address(address) => return Ok(*address),
            ServerName::Name(name) => name,
        };
        let named = &self.reload.config.real_servers;
        named.get(&**name).copied().ok_or_else(|| {
            let some: Vec<&str> = named.keys().map(|name| &**name).collect();
            let known = match some.len() {
                0 => "no [[real_server]] has a name: use its address".to_owned(),
                all if all > limits::SERVERS_SHOWN => {
                    format!("there are {}, …", some[..limits::SERVERS_SHOWN].join(", "))
                }
                _ => format!("there are {}", some.join(", ")),
            };
            Refusal {
                code: RefusalCode::NoSuchDestination,
                message: format!("no [[real_server]] is called {name:?}: {known}"),
            }
        })
    }

    /// Holds a real server; with `drain` its last connection is waited for, so long, and it may be removed then.
    fn hold(
        &mut self,
        server: IpAddr,
        service: Option<ServiceKey>,
        drain: Option<(Option<u64>, bool)>,
    ) -> Result<(), Refusal> {
        self.check_known(server, service)?;
        let since_s = now_s();
        let (deadline_s, remove) = drain.unwrap_or((None, false));
        let order = Order {
            server,
            service,
            since_s,
            awaited: drain.is_some(),
            until_s: deadline_s.map(|deadline_s| since_s.saturating_add(deadline_s)),
            remove,
            removed: false,
        };
        self.apply(Event::Maintain(Maintain::Hold(order)))?;
        self.turn_templates(server, service);
        Ok(())
    }

    /// A mistyped address would hold nobody, and nobody would notice.
    fn check_known(&self, server: IpAddr, service: Option<ServiceKey>) -> Result<(), Refusal> {
        if let Some(key) = service
            && !self.state.services.contains_key(&key)
        {
            return Err(Refusal {
                code: RefusalCode::NoSuchService,
                message: format!("there is no service {key}: `dirigo services` lists them"),
            });
        }
        let mut ids = self.state.ids_at(server, service);
        let is_listed = |id: u32| self.state.destinations.contains_key(&id);
        if ids.any(is_listed) || self.is_named(server, service) {
            return Ok(());
        }
        let servers = self.state.links.keys().map(ToString::to_string);
        let some: Vec<String> = servers.take(limits::SERVERS_SHOWN).collect();
        let known = match (some.len(), self.state.links.len()) {
            (0, _) => "there are none".to_owned(),
            (shown, all) if shown < all => format!("there are {}, …", some.join(", ")),
            _ => format!("there are {}", some.join(", ")),
        };
        let whose = service.map_or_else(|| "no service".to_owned(), |key| format!("service {key}"));
        let has = if service.is_some() { "has no" } else { "has a" };
        Err(Refusal {
            code: RefusalCode::NoSuchDestination,
            message: format!("{whose} {has} real server {server}: {known}"),
        })
    }

    /// Whether the configuration has it as a destination, in the table now or not.
    fn is_named(&self, server: IpAddr, service: Option<ServiceKey>) -> bool {
        let holds = self.state.applied.is_some();
        let mut applied = self.state.named.values().filter(|_| holds);
        let is_meant = |key: &ServiceKey| service.is_none_or(|service| service == *key);
        applied.any(|one| {
            let mut destinations = one.destinations.iter();
            is_meant(&one.key) && destinations.any(|(address, _)| address.ip() == server)
        }) || self
            .health
            .destinations()
            .any(|(key, address)| is_meant(&key) && address == server)
    }

    /// Looks after all orders.
    pub(super) fn look_after_maintenance(&mut self) {
        let orders = self.state.maintenance.orders();
        let pending: Vec<(IpAddr, Option<ServiceKey>, bool)> = orders
            .map(|order| {
                // A processor that had looked before the weight was 0 may have made one more.
                let is_young = now_s() <= order.since_s + limits::TEMPLATES_TURNED_S;
                (order.server, order.service, is_young)
            })
            .collect();
        for (server, service, is_young) in pending {
            if is_young {
                self.turn_templates(server, service);
            }
            self.look_after(server, service, 0);
        }
    }

    /// Finishes an order whose last connection has gone; lets go when its deadline is over.
    fn look_after(&mut self, server: IpAddr, service: Option<ServiceKey>, mut let_go: u64) {
        let is_it = |order: &&Order| (order.server, order.service) == (server, service);
        let order = self.state.maintenance.orders().find(is_it);
        let Some(order) = order.filter(|order| order.awaited) else {
            return;
        };
        let (remove, until_s) = (order.remove, order.until_s);
        if self.count(server, service) > 0 && until_s.is_some_and(|until| until <= now_s()) {
            let_go += self.let_go(server, service);
        }
        if self.count(server, service) > 0 {
            return;
        }
        let is_named = self.is_named(server, service);
        let finish = Maintain::Finish {
            server,
            service,
            is_named,
        };
        if let Err(refusal) = self.apply(Event::Maintain(finish)) {
            error!(%server, %refusal, "a drain cannot be finished and is tried again");
            return;
        }
        let left = match let_go {
            0 => "it has no connection any more".to_owned(),
            count => format!("{count} connections were let go"),
        };
        let removed = if remove { ", and it is removed" } else { "" };
        let why = format!("{left}{removed}");
        tell(EventKind::Drained, server, service, Some(&why));
    }

    fn count(&self, server: IpAddr, service: Option<ServiceKey>) -> u64 {
        let (active, inactive) = self.gauges(server, service);
        active + inactive
    }

    fn gauges(&self, server: IpAddr, service: Option<ServiceKey>) -> (u64, u64) {
        let ids = self.state.ids_at(server, service);
        let gauges = ids.map(|id| self.rooms.plane.gauges(id));
        gauges.fold((0, 0), |sum, (active, inactive)| {
            (sum.0 + u64::from(active), sum.1 + u64::from(inactive))
        })
    }

    fn let_go(&mut self, server: IpAddr, service: Option<ServiceKey>) -> u64 {
        let ids: BTreeSet<u32> = self.state.ids_at(server, service).collect();
        self.rooms.plane.let_go(&ids)
    }

    /// Only where there can be templates: it is to walk the table.
    fn turn_templates(&mut self, server: IpAddr, service: Option<ServiceKey>) {
        let is_persistent = |id: &u32| {
            let destination = self.state.destinations.get(id);
            let service = destination.and_then(|one| self.state.services.get(&one.service));
            service.is_none_or(|service| service.settings.persistence.is_some())
        };
        let ids = self.state.ids_at(server, service);
        let ids: BTreeSet<u32> = ids.filter(is_persistent).collect();
        if !ids.is_empty() {
            self.rooms.plane.turn_templates(&ids);
        }
    }

    /// All orders, as the API shows them.
    pub(super) fn maintenance(&self) -> Vec<Maintenance> {
        let now_s = now_s();
        let orders = self.state.maintenance.orders();
        orders
            .map(|order| {
                let ids = self.state.ids_at(order.server, order.service);
                let listed = ids.filter_map(|id| self.state.destinations.get(&id));
                let services: BTreeSet<ServiceKey> = listed.map(|one| one.service).collect();
                let (active, inactive) = self.gauges(order.server, order.service);
                Maintenance {
                    server: order.server,
                    service: order.service,
                    for_s: now_s.saturating_sub(order.since_s),
                    deadline_s: order.until_s.map(|until| until.saturating_sub(now_s)),
                    remove: order.remove,
                    removed: order.removed,
                    services: services.into_iter().collect(),
                    active,
                    inactive,
                }
            })
            .collect()
    }
}

fn tell(kind: EventKind, server: IpAddr, service: Option<ServiceKey>, why: Option<&str>) {
    let mut what = Occurrence::of(kind).server(server);
    what.service = service;
    events::emit(match why {
        Some(why) => what.because(why),
        None => what,
    });
}
