//! A frame that was decided, in the table's words.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use api::{ChosenBy, ServiceKey, TraceFrame, TraceHop, TraceQuery, Verdict};
use dataplane::{Guide, Known, Taken};
use director::verdict::{Counter, ReplyReason, counter_names};
use trace::{Flow, Frame};

use super::clock_offset_ns;

/// What numbers are called at a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Services by number.
    pub(crate) services: BTreeMap<u32, ServiceKey>,
    /// Destinations by id: their service and real address, also of those that were deleted.
    pub(crate) destinations: HashMap<u32, (ServiceKey, SocketAddr)>,
    /// Interfaces by number.
    pub(crate) interfaces: HashMap<u32, String>,
}

/// Tells of frames.
pub(super) struct Teller {
    query: TraceQuery,
    guide: Guide,
    names: Names,
    /// Counters by number.
    counters: HashMap<u32, &'static str>,
    clock_offset_ns: u64,
}

impl Teller {
    pub(super) fn new(query: TraceQuery, guide: Guide, names: Names) -> Self {
        let mut teller = Self {
            query,
            guide,
            names: Names::default(),
            counters: counter_names().collect(),
            clock_offset_ns: 0,
        };
        teller.learn(names);
        teller
    }

    /// Takes new names, and the time by the clock that people read.
    pub(super) fn learn(&mut self, names: Names) {
        self.names = names;
        self.clock_offset_ns = clock_offset_ns();
    }

    /// Tells of a frame; `None` when it is not wanted after all.
    pub(super) fn tell(&self, taken: &Taken) -> Option<TraceFrame> {
        let record = &taken.record;
        let before = Frame::read(&taken.before)?;
        let counter =
            (0..64).find(|number| record.counters >> number & 1 != 0 && *number < FIRST_EVENT);
        let counter = counter?;
        let events = FIRST_EVENT..64;
        let events: Vec<&str> = events
            .filter(|number| record.counters >> number & 1 != 0)
            .filter_map(|number| self.counters.get(&number).copied())
            .collect();
        let verdict = verdict(record.action, counter);
        let leaves = verdict != Verdict::Pass && verdict != Verdict::Drop;
        let after = Frame::read(&taken.after).filter(|_| leaves);
        let flow = before.flow();
        let known = flow.and_then(|flow| self.known(&flow));
        // What was counted for nobody is its connection's, if it has one: dropped, for instance.
        let counted = Some(record.destination).filter(|id| *id != 0);
        let destination = counted.or(known.map(|known| known.destination));
        let named = destination.and_then(|id| self.names.destinations.get(&id));
        let service = (named.map(|(service, _)| *service))
            .or_else(|| flow.and_then(|flow| self.service_at(&flow)));
        let frame = TraceFrame {
            time_ns: record.time_ns.wrapping_add(self.clock_offset_ns),
            cpu: record.cpu,
            sequence: record.sequence,
            verdict,
            counter: self
                .counters
                .get(&counter)
                .copied()
                .unwrap_or_default()
                .to_owned(),
            chosen_by: chosen_by(record.counters, destination.is_some()),
            events: events.into_iter().map(str::to_owned).collect(),
            interface: self.interface(record.interface),
            egress: match verdict {
                Verdict::Redirect => Some(self.interface(record.egress)),
                Verdict::Transmit | Verdict::Reply => Some(self.interface(record.interface)),
                Verdict::Pass | Verdict::Drop => None,
            },
            destination: named.map(|(_, address)| {
                // One of a service of every port has the port of the packet.
                let port = match (address.port(), flow) {
                    (0, Some(flow)) => flow.service.port(),
                    (port, _) => port,
                };
                SocketAddr::new(address.ip(), port)
            }),
            service,
            state: known.map(|known| known.state.to_owned()),
            what: before.what.clone(),
            before: self.hop(&before, record.before_len, &taken.before),
            after: after.map(|frame| self.hop(&frame, record.after_len, &taken.after)),
        };
        self.is_wanted(&frame, flow.as_ref()).then_some(frame)
    }

    fn known(&self, flow: &Flow) -> Option<Known> {
        self.guide
            .connection(flow.protocol, flow.client, flow.service)
    }

    /// The service at a packet's address.
    fn service_at(&self, flow: &Flow) -> Option<ServiceKey> {
        let mut services = self.names.services.values();
        services.find(|service| has(service, flow)).copied()
    }

    fn interface(&self, number: u32) -> String {
        let name = self.names.interfaces.get(&number);
        name.map_or_else(|| format!("number {number}"), String::clone)
    }

    fn hop(&self, frame: &Frame, len: u32, bytes: &[u8]) -> TraceHop {
        let kept = self
            .query
            .snap
            .map_or(0, |snap| snap as usize)
            .min(bytes.len());
        let shown = bytes.get(..kept).unwrap_or_default();
        let hex = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        frame.hop(len, hex)
    }

    /// What the kernel's half could not tell.
    fn is_wanted(&self, frame: &TraceFrame, flow: Option<&Flow>) -> bool {
        let query = &self.query;
        let client = flow.map_or(frame.before.src, |flow| Some(flow.client));
        query.protocol.is_none_or(|protocol| flow.is_some_and(|flow| flow.protocol == protocol.number()))
            && query.client.is_none_or(|network| client.is_some_and(|one| network.contains(one.ip())))
            // A later fragment has no port, and goes where its first one went.
            && query.client_port.is_none_or(|port| client.is_some_and(|one| one.port() == port || one.port() == 0))
            && query.destination.is_none_or(|one| frame.destination.is_some_and(|server| one.matches(server)))
            && query.service.is_none_or(|service| {
                frame.service == Some(service) || flow.is_some_and(|flow| has(&service, flow))
            })
    }
}

/// Counters below this are verdicts, those from it on happen beside.
const FIRST_EVENT: u32 = Counter::ConnectionNew.counter();

fn verdict(action: u32, counter: u32) -> Verdict {
    let is_reply = ReplyReason::ALL
        .iter()
        .any(|reason| reason.counter() == counter);
    match action {
        2 => Verdict::Pass,
        3 if is_reply => Verdict::Reply,
        3 => Verdict::Transmit,
        4 => Verdict::Redirect,
        _ => Verdict::Drop,
    }
}

/// What chose the destination, by what happened beside the verdict.
fn chosen_by(counters: u64, has_destination: bool) -> Option<ChosenBy> {
    let moved = |counter: Counter| counters >> counter.counter() & 1 != 0;
    if !has_destination {
        return None;
    }
    Some(if moved(Counter::FragmentFollowed) {
        ChosenBy::Fragment
    } else if moved(Counter::TemplateHit) {
        ChosenBy::Template
    } else if moved(Counter::ConnectionNew) {
        ChosenBy::Scheduler
    } else {
        ChosenBy::Connection
    })
}

/// Whether a packet is at a service's address.
fn has(service: &ServiceKey, flow: &Flow) -> bool {
    match service {
        ServiceKey::Address { protocol, address } => {
            protocol.number() == flow.protocol
                && address.ip() == flow.service.ip()
                && [0, flow.service.port()].contains(&address.port())
        }
        ServiceKey::Mark { .. } => false,
    }
}
