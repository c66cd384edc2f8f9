//! Making a connection, for a packet of either family: service, template, scheduler, slot.
//!
//! ```text
//! mark        a firewall mark?         its service, before any other
//! service     a virtual service?       else Passed(NotAService | NoConnection | FtpData)
//! persistence a known client network?  the template's destination
//! scheduler   new                      a destination, else Refused
//! connection  remember it              else Dropped(TableFull | ServiceShare | RaceLost)
//! ```
//!
//! All that this needs of a packet is in an [`Arrival`]: numbers only, with the addresses of both families in
//! one form. In the kernel [`enter`], [`crate::scheduler::choose`] and [`settle`] are functions that a verifier
//! looks at once, and not once for each way in which a packet can be read.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::connection::{self, Entry, Newcomer, State};
use crate::headers::protocol;
use crate::mark;
use crate::packet::{Event, Network, Packet};
use crate::persistence::{self, Steered};
use crate::tables::{Service, ServiceKey, Settings, Tables, Tuple, service_flag, setting};
use crate::time::Instant;
use crate::verdict::{Counter, DropReason, PassReason};

/// A packet that belongs to no connection.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Arrival {
    /// The client's address, mapped.
    pub client: [u64; 2],
    /// The virtual address, mapped.
    pub virtual_address: [u64; 2],
    /// Hash of the flow.
    pub hash: u64,
    /// Client port in the high, virtual port in the low 16 bits.
    pub ports: u32,
    /// The client's address, folded as IPVS's schedulers fold it.
    pub source: u32,
    /// The virtual address, likewise.
    pub destination: u32,
    /// Now.
    pub tick: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// 4 or 6.
    pub version: u32,
    /// The [`State`] that the connection would have.
    pub state: u32,
    /// 1 when such a packet makes a connection.
    pub may_begin: u32,
}

impl Arrival {
    /// What a packet is to its service.
    #[inline(always)]
    pub fn of<N: Network>(
        packet: &Packet<N>,
        tables: &impl Tables,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        let (client, virtual_address) = (packet.header.client, packet.header.virtual_address);
        let blurred = |value: u32| tables.blur(value.into(), now.ns) as u32;
        let protocol = blurred(packet.header.protocol.into());
        let state = State::first(packet.event, packet.header.protocol);
        Self {
            client: client.mapped(),
            virtual_address: virtual_address.mapped(),
            hash: packet.hash_as(protocol as u8, settings),
            ports: packet.ports,
            source: client.xored(),
            destination: virtual_address.xored(),
            tick: now.tick(),
            protocol,
            version: N::VERSION,
            state: blurred(state.0.into()),
            may_begin: blurred(may_begin(settings, packet).into()),
        }
    }

    /// The client's port.
    #[must_use]
    #[inline(always)]
    pub fn client_port(&self) -> u32 {
        self.ports >> 16
    }

    /// The virtual port.
    #[must_use]
    #[inline(always)]
    pub fn virtual_port(&self) -> u32 {
        self.ports & 0xffff
    }
}

/// Whether a packet without a connection begins one.
#[inline(always)]
fn may_begin<N: Network>(settings: &Settings, packet: &Packet<N>) -> bool {
    let sloppy = if packet.header.protocol == protocol::SCTP {
        setting::SLOPPY_SCTP
    } else {
        setting::SLOPPY_TCP
    };
    match packet.event {
        Event::Syn | Event::Init | Event::Datagram => true,
        Event::Rst | Event::Abort => false,
        _ => settings.flags & sloppy != 0,
    }
}

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its connection goes to this destination.
    Connected(u32),
    /// No destination is eligible.
    Refused,
    /// It is the host's.
    Passed(PassReason),
    /// It cannot be remembered.
    Dropped(DropReason),
}

/// An outcome as a number: the kind in the high, the destination or reason in the low 32 bits.
impl From<Outcome> for u64 {
    #[inline(always)]
    fn from(outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Connected(destination) => destination.into(),
            Outcome::Refused => 1 << 32,
            Outcome::Passed(reason) => 2 << 32 | u64::from(reason.counter()),
            Outcome::Dropped(reason) => 3 << 32 | u64::from(reason.counter()),
        }
    }
}

/// The other way; what is no outcome is an internal mistake.
impl From<u64> for Outcome {
    #[inline(always)]
    fn from(number: u64) -> Self {
        const NOT_A_SERVICE: u32 = PassReason::NotAService.counter();
        const NO_CONNECTION: u32 = PassReason::NoConnection.counter();
        const FTP_DATA: u32 = PassReason::FtpData.counter();
        const TABLE_FULL: u32 = DropReason::TableFull.counter();
        const RACE_LOST: u32 = DropReason::RaceLost.counter();
        const SERVICE_SHARE: u32 = DropReason::ServiceShare.counter();
        match (number >> 32, number as u32) {
            (0, destination @ 1..) => Self::Connected(destination),
            (1, _) => Self::Refused,
            (2, NOT_A_SERVICE) => Self::Passed(PassReason::NotAService),
            (2, NO_CONNECTION) => Self::Passed(PassReason::NoConnection),
            (2, FTP_DATA) => Self::Passed(PassReason::FtpData),
            (3, TABLE_FULL) => Self::Dropped(DropReason::TableFull),
            (3, RACE_LOST) => Self::Dropped(DropReason::RaceLost),
            (3, SERVICE_SHARE) => Self::Dropped(DropReason::ServiceShare),
            _ => Self::Dropped(DropReason::Internal),
        }
    }
}

/// An arrival, and what is found out about it. In the kernel it has a place of its own in memory: three functions
/// work on it one after another, and what one needs on the stack the next one may use again.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Visit {
    /// Who comes.
    pub arrival: Arrival,
    /// Its service.
    pub service: Service,
    /// Its firewall mark, 0 for none.
    pub mark: u32,
    /// Slot of its persistence template and one more; 0 when that is to be made, if the service has any.
    pub template: u32,
    /// Where the template leads; 0 when the destination is to be chosen.
    pub destination: u32,
    /// Zero.
    pub reserved: u32,
}

/// Makes a connection, if the packet may and somebody will serve it.
#[inline(always)]
pub fn connect(tables: &impl Tables, visit: &mut Visit) -> Outcome {
    let entered = tables.enter(visit);
    let destination = match Outcome::from(entered) {
        Outcome::Refused => tables.choose(visit),
        Outcome::Connected(destination) => destination,
        outcome => {
            if visit.arrival.may_begin != 0 {
                tables.settle(visit, 0);
            }
            return outcome;
        }
    };
    Outcome::from(tables.settle(visit, destination))
}

/// Finds service and template. An [`Outcome`] as a number: where the template leads, or `Refused` when nothing
/// leads anywhere yet.
#[inline(always)]
pub fn enter(tables: &impl Tables, visit: &mut Visit) -> u64 {
    let Some(settings) = tables.settings() else {
        return Outcome::Dropped(DropReason::Internal).into();
    };
    let arrival = &visit.arrival;
    let mark = mark::of(arrival, settings, tables);
    let Some(service) = service_of(tables, arrival, mark) else {
        return Outcome::Passed(PassReason::NotAService).into();
    };
    if arrival.may_begin == 0 {
        return Outcome::Passed(PassReason::NoConnection).into();
    }
    if arrival.client_port() == FTP_DATA_PORT {
        return Outcome::Passed(PassReason::FtpData).into();
    }
    let known = if service.persistence == 0 {
        Steered::NOWHERE
    } else {
        persistence::look(tables, &service, arrival, mark)
    };
    visit.service = service;
    visit.mark = mark;
    visit.template = known.template;
    visit.destination = known.destination;
    match known.destination {
        0 => Outcome::Refused.into(),
        destination => Outcome::Connected(destination).into(),
    }
}

/// Remembers the connection to its destination, and the template that leads there; to none, forgets the one that
/// had this flow before. An [`Outcome`] as a number.
#[inline(always)]
pub fn settle(tables: &impl Tables, visit: &Visit, destination: u32) -> u64 {
    if destination == 0 {
        if let Some(settings) = tables.settings() {
            connection::release_ended(tables, settings, visit.arrival.hash);
        }
        return Outcome::Refused.into();
    }
    let steered = match steer(tables, visit, destination) {
        Ok(steered) => steered,
        Err(outcome) => return outcome.into(),
    };
    let (arrival, service) = (&visit.arrival, &visit.service);
    let is_datagram = arrival.protocol == u32::from(protocol::UDP);
    if is_datagram && service.flags & service_flag::ONE_PACKET != 0 {
        steered.detach(tables);
        connection::pass_through(tables, destination, State(arrival.state as u8));
        return Outcome::Connected(destination).into();
    }
    match remember(visit, destination, steered.template, tables) {
        0 => {
            if State(arrival.state as u8).is_established() {
                persistence::assure(tables, steered.template.into());
            }
            tables.count_event(Counter::ConnectionNew);
            Outcome::Connected(destination).into()
        }
        refusal => {
            steered.detach(tables);
            refusal
        }
    }
}

/// Remembers a connection; 0, or the outcome of a refusal as a number.
#[inline(never)]
fn remember(visit: &Visit, destination: u32, template: u32, tables: &impl Tables) -> u64 {
    let (arrival, service) = (&visit.arrival, &visit.service);
    let state = State(arrival.state as u8);
    let newcomer = Newcomer {
        hash: arrival.hash,
        entry: Entry::new(destination, service.id, state, arrival.tick),
        share: service.share,
    };
    let tuple = Tuple {
        client: arrival.client,
        virtual_address: arrival.virtual_address,
        ports: arrival.ports,
        protocol: arrival.protocol,
        service: service.id,
        life: template,
        template: 0,
    };
    match connection::insert(tables, &newcomer, &tuple) {
        Ok(_) => 0,
        Err(reason) => Outcome::Dropped(reason).into(),
    }
}

/// The template by which a connection goes to its destination: the one that was found, or a new one.
#[inline(always)]
fn steer(tables: &impl Tables, visit: &Visit, destination: u32) -> Result<Steered, Outcome> {
    let (arrival, service) = (&visit.arrival, &visit.service);
    if service.persistence == 0 {
        return Ok(Steered {
            destination,
            template: 0,
        });
    }
    if visit.template != 0 {
        let is_chosen = visit.destination == 0;
        let tick = arrival.tick;
        return Ok(persistence::renew(
            tables,
            visit.template,
            destination,
            is_chosen,
            tick,
        ));
    }
    match Outcome::from(persistence::make(
        service,
        arrival,
        visit.mark,
        destination,
        tables,
    )) {
        Outcome::Connected(template) => Ok(Steered {
            destination,
            template,
        }),
        refusal => Err(refusal),
    }
}

/// The service of a packet: by its firewall mark; by its port; FTP's data connections by the port of FTP, if that is
/// persistent; by port 0.
#[inline(always)]
fn service_of(tables: &impl Tables, arrival: &Arrival, mark: u32) -> Option<Service> {
    if mark != 0
        && let Some(service) = tables.service(&ServiceKey::of_mark(mark, arrival.version))
    {
        return Some(service);
    }
    let port = arrival.virtual_port();
    let mut key = ServiceKey {
        address: arrival.virtual_address,
        port,
        protocol: arrival.protocol,
    };
    if let Some(service) = tables.service(&key) {
        return Some(service);
    }
    let is_tcp = arrival.protocol == u32::from(protocol::TCP);
    if is_tcp && (port == FTP_DATA_PORT || port >= 1024) {
        key.port = FTP_PORT;
        if let Some(service) = tables.service(&key)
            && service.persistence != 0
        {
            return Some(service);
        }
    }
    key.port = 0;
    tables.service(&key)
}

/// FTP's data port: such packets come from servers, whichever way they face (`ip_vs_core.c`).
const FTP_DATA_PORT: u32 = 20;
/// FTP's control port.
const FTP_PORT: u32 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_survives_being_a_number() {
        let outcomes = [
            Outcome::Connected(7),
            Outcome::Refused,
            Outcome::Passed(PassReason::NotAService),
            Outcome::Passed(PassReason::NoConnection),
            Outcome::Passed(PassReason::FtpData),
            Outcome::Dropped(DropReason::TableFull),
            Outcome::Dropped(DropReason::RaceLost),
            Outcome::Dropped(DropReason::ServiceShare),
            Outcome::Dropped(DropReason::Internal),
        ];
        for outcome in outcomes {
            assert_eq!(Outcome::from(u64::from(outcome)), outcome);
        }
        let no_destination = Outcome::from(0);
        assert_eq!(no_destination, Outcome::Dropped(DropReason::Internal));
    }
}
