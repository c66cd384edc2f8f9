//! A table in memory that takes and refuses changes as IPVS does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;

use api::{
    Change, ClientError, Connection, Destination, DestinationSettings, LinkState, Origin, Rates,
    Refusal, RefusalCode, Service, ServiceKey, ServiceSettings, Stats, Timeouts,
};

use crate::ipvsadm::kernel::{Kernel, Totals};

/// Services in the order of their making, destinations newest first.
#[derive(Debug, Default)]
pub struct Table {
    pub services: Vec<Service>,
    pub connections: Vec<Connection>,
    pub timeouts: Timeouts,
    pub totals: Totals,
}

const SCHEDULERS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
    "none",
];

type Changed = Result<(), RefusalCode>;

impl Table {
    fn apply(&mut self, change: &Change) -> Changed {
        match change {
            Change::Clear => {
                self.services.clear();
                Ok(())
            }
            Change::SetTimeouts { timeouts } => {
                let keep = |new: u32, old: u32| if new == 0 { old } else { new };
                let old = self.timeouts;
                self.timeouts = Timeouts {
                    tcp: keep(timeouts.tcp, old.tcp),
                    tcpfin: keep(timeouts.tcpfin, old.tcpfin),
                    udp: keep(timeouts.udp, old.udp),
                };
                Ok(())
            }
            Change::Zero { service } => {
                if let Some(service) = service {
                    self.place(*service)?;
                }
                let meant = |one: &&mut Service| service.is_none_or(|key| key == one.service);
                self.services.iter_mut().filter(meant).for_each(zero);
                Ok(())
            }
            Change::AddService { service, settings } => self.add(*service, settings),
            Change::EditService { service, settings } => {
                let place = self.place(*service)?;
                self.check_scheduler(settings)?;
                self.services[place].settings = settings.clone();
                Ok(())
            }
            Change::DeleteService { service } => {
                let place = self.place(*service)?;
                self.services.remove(place);
                Ok(())
            }
            Change::AddDestination {
                service,
                destination,
                settings,
            } => {
                let place = self.place(*service)?;
                self.services[place].add(*destination, settings)
            }
            Change::EditDestination {
                service,
                destination,
                settings,
            } => {
                let place = self.place(*service)?;
                check_thresholds(settings)?;
                let service = &mut self.services[place];
                let place = service.place(*destination)?;
                service.destinations[place].settings = settings.clone();
                Ok(())
            }
            Change::DeleteDestination {
                service,
                destination,
            } => {
                let place = self.place(*service)?;
                let service = &mut self.services[place];
                let place = service.place(*destination)?;
                service.destinations.remove(place);
                Ok(())
            }
        }
    }

    fn add(&mut self, service: ServiceKey, settings: &ServiceSettings) -> Changed {
        if self.place(service).is_ok() {
            return Err(RefusalCode::ServiceExists);
        }
        self.check_scheduler(settings)?;
        self.services.push(Service {
            service,
            settings: settings.clone(),
            stats: Stats::default(),
            rates: Rates::default(),
            origin: Origin::Runtime,
            destinations: Vec::new(),
        });
        Ok(())
    }

    fn place(&self, service: ServiceKey) -> Result<usize, RefusalCode> {
        self.services
            .iter()
            .position(|known| known.service == service)
            .ok_or(RefusalCode::NoSuchService)
    }

    fn check_scheduler(&self, settings: &ServiceSettings) -> Changed {
        let name = settings.scheduler.as_str();
        let engine = settings.engine.as_deref().unwrap_or("sip");
        match SCHEDULERS.contains(&name) && engine == "sip" {
            true => Ok(()),
            false => Err(RefusalCode::NoSuchScheduler),
        }
    }
}

fn zero(service: &mut Service) {
    (service.stats, service.rates) = (Stats::default(), Rates::default());
    for destination in &mut service.destinations {
        (destination.stats, destination.rates) = (Stats::default(), Rates::default());
    }
}

trait Members {
    fn add(&mut self, destination: SocketAddr, settings: &DestinationSettings) -> Changed;
    fn place(&self, destination: SocketAddr) -> Result<usize, RefusalCode>;
}

impl Members for Service {
    fn add(&mut self, destination: SocketAddr, settings: &DestinationSettings) -> Changed {
        check_thresholds(settings)?;
        if self.place(destination).is_ok() {
            return Err(RefusalCode::DestinationExists);
        }
        if !is_unicast(destination.ip()) {
            return Err(RefusalCode::BadAddress);
        }
        let new = Destination {
            destination,
            settings: settings.clone(),
            origin: Origin::Runtime,
            active: 0,
            inactive: 0,
            templates: 0,
            overloaded: false,
            held_weight: None,
            rates: Rates::default(),
            stats: Stats::default(),
            link: LinkState::Local,
        };
        self.destinations.insert(0, new);
        Ok(())
    }

    fn place(&self, destination: SocketAddr) -> Result<usize, RefusalCode> {
        self.destinations
            .iter()
            .position(|known| known.destination == destination)
            .ok_or(RefusalCode::NoSuchDestination)
    }
}

fn check_thresholds(settings: &DestinationSettings) -> Changed {
    match settings.lower_threshold > settings.upper_threshold {
        true => Err(RefusalCode::OutOfRange),
        false => Ok(()),
    }
}

/// The recording machine was 192.0.2.2/24, so the broadcast address of that is one too.
fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !v4.is_unspecified()
                && !v4.is_multicast()
                && !v4.is_broadcast()
                && v4 != Ipv4Addr::new(192, 0, 2, 255)
        }
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}

fn refusal(code: RefusalCode) -> Refusal {
    Refusal {
        code,
        message: "a sentence of the daemon's".to_owned(),
    }
}

impl Kernel for Table {
    fn reach(&mut self) -> Result<(), ClientError> {
        Ok(())
    }

    fn services(&mut self) -> Result<Vec<Service>, ClientError> {
        Ok(self.services.clone())
    }

    fn timeouts(&mut self) -> Result<Timeouts, ClientError> {
        Ok(self.timeouts)
    }

    fn connections(
        &mut self,
        visit: &mut dyn FnMut(Connection) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let _ = self.connections.iter().cloned().try_for_each(visit);
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), ClientError> {
        self.apply(change)
            .map_err(refusal)
            .map_err(ClientError::Refused)
    }

    fn changes(&mut self, changes: &[Change]) -> Result<Vec<Option<Refusal>>, ClientError> {
        let apply = |change| self.apply(change).map_err(refusal).err();
        Ok(changes.iter().map(apply).collect())
    }

    fn totals(&mut self) -> Result<Totals, ClientError> {
        Ok(self.totals)
    }
}
