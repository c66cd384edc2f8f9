//! A history of one service, told to the control plane, to both halves of the data path and to IPVS's model.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

use ::control::{Desired, Event, LinkReport, MarkRule, Observed, State};
use api::{DestinationSettings, Family, Protocol, SchedulerFlags, ServiceKey, ServiceSettings};
use director::Verdict;
use director::time::ticks_from_seconds;
use ipvs_model::{Question, Service as Model};

use crate::packet::{ACK, DIRECTOR, FIN, RST, SYN, Transport, packet};
use crate::pair::{Pair, Trouble};
use crate::schedulers::{History, Seen, Step, virtual_address};
use crate::world::{Change, HTTP, INGRESS, mac};

pub use ipvs_model::Terms;

/// The mark, when the service has one.
const MARK: NonZeroU32 = NonZeroU32::new(7).unwrap();
/// Clients' ports begin here; each connection has one of its own.
const FIRST_PORT: u16 = 1_024;

/// A connection as IPVS's rules have it.
struct Flow {
    client: SocketAddr,
    virtual_address: IpAddr,
    /// Its server's number.
    server: u8,
    state: Phase,
    /// Ticks since its last packet.
    age: u32,
}

/// The states that histories come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    SynReceived,
    Established,
    FinWait,
    Closed,
}

impl Phase {
    fn is_active(self) -> bool {
        matches!(self, Self::SynReceived | Self::Established)
    }

    /// IPVS's defaults: `ipvs.md` 3.2.
    fn timeout_s(self) -> u32 {
        match self {
            Self::SynReceived => 60,
            Self::Established => 900,
            Self::FinWait => 120,
            Self::Closed => 10,
        }
    }
}

/// A history that is being played.
pub struct Play<'a> {
    pair: &'a mut Pair,
    state: State,
    model: Model,
    key: ServiceKey,
    is_v6: bool,
    is_marked: bool,
    flows: Vec<Flow>,
    next_port: u16,
    pub seen: Seen,
}

impl<'a> Play<'a> {
    /// A service without destinations.
    pub fn begin(pair: &'a mut Pair, history: &History) -> Self {
        pair.clear();
        let mut flags = SchedulerFlags::NONE;
        if history.fallback {
            flags = flags.with(SchedulerFlags::FLAG_1);
        }
        if history.port {
            flags = flags.with(SchedulerFlags::FLAG_2);
        }
        let address = virtual_address(history.is_v6, 0);
        let key = match history.is_marked {
            true => ServiceKey::Mark {
                mark: MARK,
                family: Family::of(address),
            },
            false => ServiceKey::Address {
                protocol: Protocol::Tcp,
                address: SocketAddr::new(address, HTTP),
            },
        };
        let mut play = Self {
            pair,
            state: State::default(),
            model: Model::new(history.scheduler, history.fallback, history.port),
            key,
            is_v6: history.is_v6,
            is_marked: history.is_marked,
            flows: Vec::new(),
            next_port: FIRST_PORT,
            seen: Seen::default(),
        };
        play.run(Event::Interface {
            index: INGRESS,
            name: "lo".to_owned(),
            mac: DIRECTOR,
        });
        play.run(Event::Config(Desired {
            marks: vec![mark_rule(address)],
            ..Desired::default()
        }));
        play.change(api::Change::AddService {
            service: key,
            settings: ServiceSettings {
                flags,
                ..ServiceSettings::of(history.scheduler)
            },
        });
        play
    }

    /// One step; what cannot be at this moment is passed over.
    pub fn step(&mut self, step: &Step) -> Result<(), Trouble> {
        match *step {
            Step::Add(n, terms, is_known) => self.add(n, terms, is_known),
            Step::Edit(n, terms) => self.edit(n, terms),
            Step::Delete(n) => self.delete(n),
            Step::Link(n, is_known) => self.link(n, is_known),
            Step::Connect { count, client, vip } => {
                for _ in 0..count {
                    self.connect(client, vip)?;
                }
            }
            Step::Acknowledge(n) => self.go_on(n, Phase::SynReceived, ACK, Phase::Established)?,
            Step::Finish(n) => self.go_on(n, Phase::Established, FIN | ACK, Phase::FinWait)?,
            Step::Abort(n) => self.go_on(n, Phase::Established, RST, Phase::Closed)?,
            Step::Wait(seconds) => self.wait(seconds)?,
        }
        Ok(())
    }

    fn run(&mut self, event: Event) {
        let picks = self.state.questions(&event).picks;
        let renewed = picks.clone().into_iter();
        let renewed = renewed.filter(|service| self.pair.kernel.plane.is_renewed(*service));
        let picks = picks.into_iter();
        let observed = Observed {
            renewed: renewed.collect(),
            picks: picks
                .map(|service| (service, self.pair.kernel.plane.picks(service)))
                .collect(),
            ..Observed::default()
        };
        let plan = ::control::step(&mut self.state, event, &observed).unwrap();
        for change in plan.actions.iter().filter_map(crate::plan::change) {
            self.pair.apply(&change);
        }
    }

    fn change(&mut self, change: api::Change) {
        self.run(Event::Change(change));
    }

    fn id(&self, n: u8) -> Option<u32> {
        let service = &self.state.services[&self.key];
        self.state.listed(service, self.server(n))
    }

    fn server(&self, n: u8) -> SocketAddr {
        let ip = match self.is_v6 {
            false => Ipv4Addr::new(192, 0, 2, 10 + n).into(),
            true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10 + u16::from(n)).into(),
        };
        SocketAddr::new(ip, self.key.port())
    }

    fn add(&mut self, n: u8, terms: Terms, is_known: bool) {
        if self.id(n).is_some() {
            return;
        }
        let destination = self.server(n);
        // With its last listing its link is forgotten, so that nobody has one yet.
        self.model.add(u32::from(n) + 1, destination, terms, false);
        self.change(api::Change::AddDestination {
            service: self.key,
            destination,
            settings: settings(terms),
        });
        if is_known {
            self.link(n, true);
        }
    }

    fn edit(&mut self, n: u8, terms: Terms) {
        if self.id(n).is_none() {
            return;
        }
        self.model.edit(u32::from(n) + 1, terms);
        self.change(api::Change::EditDestination {
            service: self.key,
            destination: self.server(n),
            settings: settings(terms),
        });
    }

    fn delete(&mut self, n: u8) {
        if self.id(n).is_none() {
            return;
        }
        self.model.delete(u32::from(n) + 1);
        self.change(api::Change::DeleteDestination {
            service: self.key,
            destination: self.server(n),
        });
    }

    fn link(&mut self, n: u8, is_known: bool) {
        if self.id(n).is_none() {
            return;
        }
        self.model.set_usable(u32::from(n) + 1, is_known);
        let report = match is_known {
            true => LinkReport::Via {
                mac: mac(n.into()),
                interface: INGRESS,
            },
            false => LinkReport::Unresolved {
                reason: "no answer".to_owned(),
            },
        };
        self.run(Event::Links(vec![(self.server(n).ip(), report)]));
    }

    /// A SYN from a port that nobody had: all must give it to the same destination.
    fn connect(&mut self, client: u8, vip: u8) -> Result<(), Trouble> {
        let client = SocketAddr::new(self.client(client), self.next_port);
        let vip = if self.is_marked { vip } else { 0 };
        let virtual_address = virtual_address(self.is_v6, vip);
        let is_overloaded = self.model.list().iter().any(|one| one.overloaded);
        self.seen.overloaded += usize::from(is_overloaded);
        let expected = self.model.pick(&Question {
            client,
            virtual_address,
            now_s: 0,
            draws: [0, 0],
        });
        let expected = expected.map(|name| name as u8 - 1);
        self.next_port += 1;
        let chosen = self.send(client, virtual_address, SYN)?;
        if chosen != expected {
            return Err(Trouble::Differ(format!(
                "{client} to {virtual_address}: server {chosen:?}, the model says {expected:?} of {:#?}",
                self.model.list()
            )));
        }
        let Some(server) = chosen else {
            self.seen.refused += 1;
            return Ok(());
        };
        self.seen.chosen += 1;
        self.model.bind(u32::from(server) + 1);
        self.model.activate(u32::from(server) + 1);
        self.flows.push(Flow {
            client,
            virtual_address,
            server,
            state: Phase::SynReceived,
            age: 0,
        });
        Ok(())
    }

    fn client(&self, n: u8) -> IpAddr {
        match self.is_v6 {
            false => Ipv4Addr::new(198, 51, 100, n).into(),
            true => Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, n.into()).into(),
        }
    }

    /// The server that a segment goes to, by the MAC on it; `None` when it goes to none.
    fn send(
        &mut self,
        client: SocketAddr,
        virtual_address: IpAddr,
        flags: u8,
    ) -> Result<Option<u8>, Trouble> {
        let kind = Transport::Tcp(flags);
        let packet = packet(client.ip(), client.port(), virtual_address, HTTP, kind);
        let (verdict, received) = self.pair.receive(&packet.bytes())?;
        let server = received.frame[5];
        Ok(match verdict {
            Verdict::Transmit => {
                assert_eq!(received.frame[..6], mac(server.into()));
                Some(server)
            }
            _ => None,
        })
    }

    /// A connection that is in a state and whose server can be reached goes on to another.
    fn go_on(&mut self, n: usize, from: Phase, flags: u8, to: Phase) -> Result<(), Trouble> {
        let is_open = |flow: &Flow| {
            let mut list = self.model.list().iter();
            flow.state == from
                && list.any(|one| one.name == u32::from(flow.server) + 1 && one.usable)
        };
        let open: Vec<usize> = (0..self.flows.len())
            .filter(|index| is_open(&self.flows[*index]))
            .collect();
        let Some(index) = n.checked_rem(open.len()).map(|n| open[n]) else {
            return Ok(());
        };
        let flow = &mut self.flows[index];
        (flow.state, flow.age) = (to, 0);
        let (client, virtual_address, server) = (flow.client, flow.virtual_address, flow.server);
        if from.is_active() && !to.is_active() {
            self.model.deactivate(u32::from(server) + 1);
        }
        let sent = self.send(client, virtual_address, flags)?;
        if sent == Some(server) {
            return Ok(());
        }
        let text = format!("{client}, flags {flags:#x}: to {sent:?}, not to its server {server}");
        Err(Trouble::Differ(text))
    }

    fn wait(&mut self, seconds: u32) -> Result<(), Trouble> {
        self.pair.apply(&Change::Age(seconds));
        self.pair.sweep()?;
        let before = self.flows.len();
        let model = &mut self.model;
        self.flows.retain_mut(|flow| {
            flow.age += ticks_from_seconds(seconds);
            let is_over = flow.age > ticks_from_seconds(flow.state.timeout_s());
            if is_over {
                model.unbind(u32::from(flow.server) + 1, flow.state.is_active());
            }
            !is_over
        });
        self.seen.forgotten += before - self.flows.len();
        Ok(())
    }

    /// Whether both halves have left the same, and the gauges are the model's.
    pub fn compare(&mut self) -> Result<(), Trouble> {
        self.pair.compare()?;
        let ids: BTreeMap<u32, SocketAddr> = (0..)
            .map_while(|n: u8| (n < 6).then(|| (n, self.id(n))))
            .filter_map(|(n, id)| Some((id?, self.server(n))))
            .collect();
        for (id, address) in ids {
            let mut list = self.model.list().iter();
            let one = list.find(|one| one.address == address).unwrap();
            let gauges = self.pair.kernel.plane.gauges(id);
            let flag = self.pair.kernel.plane.is_overloaded(id);
            if (gauges, flag) != ((one.active, one.inactive), one.overloaded) {
                return Err(Trouble::Differ(format!(
                    "{gauges:?}, overloaded {flag}; the model says {one:#?}"
                )));
            }
        }
        Ok(())
    }
}

/// All ports of four addresses.
fn mark_rule(address: IpAddr) -> MarkRule {
    MarkRule {
        mark: MARK,
        protocol: None,
        address,
        prefix: if address.is_ipv4() { 30 } else { 126 },
        first_port: 0,
        last_port: u16::MAX,
    }
}

fn settings(terms: Terms) -> DestinationSettings {
    DestinationSettings {
        upper_threshold: terms.upper,
        lower_threshold: terms.lower,
        ..DestinationSettings::of(terms.weight)
    }
}
