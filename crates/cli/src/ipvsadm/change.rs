//! The commands that change the table: what the API can express is asked of the daemon, the rest
//! is refused by name, without a change.

use api::{
    Change, ClientError, DestinationSettings, Refusal, RefusalCode, ServiceKey, ServiceSettings,
};

use super::failure::{Doing, Failure, from_client};
use super::line::{ServerLine, Service, ServiceLine, Tunnel};
use super::{Ipvsadm, list};

impl Ipvsadm<'_> {
    pub(super) fn set_service(&mut self, line: ServiceLine, add: bool) -> Result<(), Failure> {
        let service = match list::key(line.service) {
            Some(service) => service,
            None if add => return Err(no_such_kind(line.service)),
            None => return Err(refused(RefusalCode::NoSuchService, Doing::Service)),
        };
        if let Some(what) = missing_feature(&line) {
            return Err(unsupported(what));
        }
        let settings = ServiceSettings {
            scheduler: line.scheduler.clone(),
            persistence: line.persistence,
            one_packet: line.one_packet,
            ..ServiceSettings::of("")
        };
        let change = if add {
            Change::AddService { service, settings }
        } else {
            Change::EditService { service, settings }
        };
        self.kernel.change(&change).map_err(|error| match error {
            ClientError::Refused(refusal)
                if refusal.code == RefusalCode::NotSupported && !line.scheduler_given =>
            {
                let scheduler = &line.scheduler;
                Failure::Refused(format!(
                    "{} (without -s it is {scheduler})",
                    refusal.message
                ))
            }
            error => from_client(error, Doing::Service),
        })
    }

    pub(super) fn set_server(&mut self, line: ServerLine, add: bool) -> Result<(), Failure> {
        let service = existing(line.service, Doing::Destination)?;
        if line.tunnel != Tunnel::Ipip {
            return Err(unsupported("tunnels of this type (--tun-type) are"));
        }
        let destination = line.destination;
        let settings = DestinationSettings {
            forwarding: line.forwarding,
            weight: line.weight,
            upper_threshold: line.upper_threshold,
            lower_threshold: line.lower_threshold,
            tunnel: None,
        };
        let change = if add {
            Change::AddDestination {
                service,
                destination,
                settings,
            }
        } else {
            Change::EditDestination {
                service,
                destination,
                settings,
            }
        };
        self.change(&change, Doing::Destination)
    }

    pub(super) fn change(&mut self, change: &Change, doing: Doing) -> Result<(), Failure> {
        self.kernel
            .change(change)
            .map_err(|error| from_client(error, doing))
    }

    pub(super) fn zero(&mut self, service: Option<Service>) -> Result<(), Failure> {
        if let Some(service) = service {
            let key = existing(service, Doing::Service)?;
            let services = self.services(true)?;
            if !services.iter().any(|service| service.service == key) {
                return Err(refused(RefusalCode::NoSuchService, Doing::Service));
            }
        }
        Err(unsupported("zeroing counters (-Z) is"))
    }
}

/// The service in the API's words. Kinds that cannot have been added do not exist.
pub(super) fn existing(service: Service, doing: Doing) -> Result<ServiceKey, Failure> {
    list::key(service).ok_or_else(|| refused(RefusalCode::NoSuchService, doing))
}

fn refused(code: RefusalCode, doing: Doing) -> Failure {
    let message = String::new();
    from_client(ClientError::Refused(Refusal { code, message }), doing)
}

fn no_such_kind(service: Service) -> Failure {
    match service {
        Service::Mark { .. } => unsupported("services by firewall mark (-f) are"),
        Service::Address { .. } => unsupported("SCTP services (--sctp-service) are"),
    }
}

fn missing_feature(line: &ServiceLine) -> Option<&'static str> {
    [
        (line.engine, "persistence engines (--pe) are"),
        (line.flags, "scheduler flags (-b) are"),
    ]
    .into_iter()
    .find_map(|(given, what)| given.then_some(what))
}

pub(super) fn unsupported(what: &'static str) -> Failure {
    Failure::Unsupported { what }
}
