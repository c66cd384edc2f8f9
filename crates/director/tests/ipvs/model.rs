//! What IPVS does with packets, commands and time, by the reference (ipvs §3): the behaviour alone, in maps of
//! its own, slowly.
//!
//! Where Dirigo means to differ, the line says so: timers end with the second after their last, because time
//! is counted in ticks; `--set` is felt at once; a template whose destination is gone is sent elsewhere in
//! its place, and keeps its connections.

use std::collections::{BTreeMap, HashMap};

use crate::machine::{Machine, NONE, State, event, is_abort};
use crate::steps::{
    Chunks, FTP, Flow, RST, Rules, SCTP, SERVERS, SERVICES, SYN, Step, Story, Sysctls, TCP, UDP,
    destination_id,
};

/// What IPVS does and the packet path does not yet: to be made true with it.
mod is_done {
    /// A connection that begins ESTABLISHED, as `sloppy_tcp` lets it, assures its template at once.
    pub const ASSURED_FROM_THE_BEGINNING: bool = true;
    /// A template that gets another destination gets the service's life again, not the minute that it was
    /// renewed by.
    pub const LIFE_WITH_THE_DESTINATION: bool = false;
    /// A SYN on a closed connection is scheduled, also when its destination is gone (§3.1: reuse is asked about
    /// first).
    pub const REUSE_OF_THE_GONE: bool = true;
}

/// What a client or a router sees of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went to this destination.
    Sent(u32),
    /// It went to the director's own stack.
    Host(Why),
    /// It was dropped, and nobody told.
    Silence,
    /// Nobody serves it: its sender is told, if not too often.
    Refused,
}

/// Why a packet is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    NotVirtual,
    NoService,
    NoConnection,
    FtpData,
    Local,
    NotOurComplaint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    pub service: usize,
    pub destination: u32,
    pub state: State,
    pub seen_s: u64,
    pub template: Option<TemplateKey>,
}

/// Client network, service's protocol and family, template's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateKey {
    pub protocol: u8,
    pub is_v4: bool,
    /// A client, or with `is_network` the first client of a network.
    pub client: u8,
    pub is_network: bool,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    pub service: usize,
    pub destination: u32,
    pub is_assured: bool,
    pub life_s: u32,
    pub seen_s: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub connections: u64,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Default)]
struct Destination {
    is_there: bool,
    weight: u32,
    is_local: bool,
}

struct Service {
    rules: Rules,
    /// Place in the round of those that have a weight.
    turn: usize,
}

pub struct Model {
    now_s: u64,
    sysctls: Sysctls,
    /// Established, after FIN, UDP.
    timeouts_s: [u32; 3],
    services: BTreeMap<usize, Service>,
    destinations: BTreeMap<u32, Destination>,
    pub connections: HashMap<Flow, Connection>,
    pub templates: HashMap<TemplateKey, Template>,
    pub sent: BTreeMap<u32, Sent>,
}

impl Model {
    pub fn begin(story: &Story) -> Self {
        let mut model = Self {
            now_s: 0,
            sysctls: story.sysctls,
            timeouts_s: [900, 120, 300],
            services: BTreeMap::new(),
            destinations: BTreeMap::new(),
            connections: HashMap::new(),
            templates: HashMap::new(),
            sent: BTreeMap::new(),
        };
        for (number, rules) in story.rules.iter().enumerate() {
            if let Some(rules) = rules {
                model.change(&Step::CreateService(number, *rules));
                (0..SERVERS).for_each(|server| model.change(&Step::Add(number, server)));
            }
        }
        model
    }

    /// A command.
    pub fn change(&mut self, step: &Step) {
        match step {
            Step::CreateService(n, rules) | Step::EditService(n, rules) => {
                let service = Service {
                    rules: *rules,
                    turn: 0,
                };
                self.services.insert(*n, service);
            }
            Step::DeleteService(n) => {
                self.services.remove(n);
            }
            Step::Add(n, s) => {
                let fresh = Destination {
                    is_there: true,
                    weight: 1,
                    is_local: false,
                };
                self.destinations.insert(destination_id(*n, *s), fresh);
                self.begin_round(*n);
            }
            Step::Delete(n, s) => self.edit(*n, *s, |it| it.is_there = false),
            Step::Drain(n, s, is_drained) => {
                self.edit(*n, *s, |it| it.weight = u32::from(!is_drained));
            }
            Step::Local(n, s, is_local) => self.edit(*n, *s, |it| it.is_local = *is_local),
            Step::Timeouts(timeouts) => self.timeouts_s = *timeouts,
            Step::Sysctls(sysctls) => self.sysctls = *sysctls,
            other => panic!("{other:?} is no command"),
        }
    }

    fn edit(&mut self, service: usize, server: u32, edit: impl Fn(&mut Destination)) {
        edit(
            self.destinations
                .entry(destination_id(service, server))
                .or_default(),
        );
        self.begin_round(service);
    }

    fn begin_round(&mut self, service: usize) {
        if let Some(service) = self.services.get_mut(&service) {
            service.turn = 0;
        }
    }

    /// Time passes, and nobody looks.
    pub fn pass(&mut self, seconds: u32) {
        self.now_s += u64::from(seconds);
    }

    /// What has run out ends: connections, and then templates without any.
    pub fn sweep(&mut self) {
        let ended: Vec<Flow> = self
            .connections
            .keys()
            .filter(|f| self.is_over(f))
            .copied()
            .collect();
        ended.iter().for_each(|flow| self.end(flow));
        let keys: Vec<TemplateKey> = self.templates.keys().copied().collect();
        for key in keys {
            let is_in_use = self.attached(key) > 0;
            let (now_s, template) = (self.now_s, self.templates.get_mut(&key).unwrap());
            if now_s - template.seen_s <= template.life_s.into() {
                continue;
            }
            if is_in_use {
                // Renewed by a minute, from now on.
                (template.seen_s, template.life_s) = (now_s, 60);
            } else {
                self.templates.remove(&key);
            }
        }
    }

    /// Connections of a template.
    pub fn attached(&self, key: TemplateKey) -> usize {
        self.connections
            .values()
            .filter(|it| it.template == Some(key))
            .count()
    }

    fn end(&mut self, flow: &Flow) {
        self.connections.remove(flow);
    }

    fn is_over(&self, flow: &Flow) -> bool {
        let connection = &self.connections[flow];
        let machine = Machine::of(flow.protocol);
        let timeout_s = match (flow.protocol, machine.name(connection.state)) {
            (TCP, "ESTABLISHED") => self.timeouts_s[0],
            (TCP, "FIN_WAIT") => self.timeouts_s[1],
            (UDP, "UDP") => self.timeouts_s[2],
            _ => machine.timeout_s(connection.state),
        };
        self.now_s - connection.seen_s > timeout_s.into()
    }

    /// A destination that takes part in its service.
    fn available(&self, id: u32) -> Option<&Destination> {
        let service = ((id - 1) / SERVERS) as usize;
        self.services.get(&service)?;
        self.destinations.get(&id).filter(|it| it.is_there)
    }

    fn is_drained(&self, id: u32) -> bool {
        self.destinations.get(&id).is_some_and(|it| it.weight == 0)
    }

    /// A client's packet of `bytes`, by IP's reckoning.
    pub fn packet(&mut self, flow: Flow, flags: u8, bytes: u64) -> Outcome {
        if self.services.is_empty() {
            return Outcome::Host(Why::NotVirtual);
        }
        if self.connections.contains_key(&flow) {
            let is_gone = self
                .available(self.connections[&flow].destination)
                .is_none();
            let begins = begins(&flow, flags);
            let may_begin = begins && (is_done::REUSE_OF_THE_GONE || !is_gone);
            if self.is_over(&flow) || (may_begin && self.is_begun_anew(&flow)) {
                self.end(&flow);
            } else if is_gone {
                if !self.sysctls.expire_nodest_conn {
                    return Outcome::Silence;
                }
                self.end(&flow);
            }
        }
        if !self.connections.contains_key(&flow) {
            return self.begin_connection(flow, flags, bytes);
        }
        self.move_on(&flow, flags);
        self.deliver(self.connections[&flow].destination, false, bytes)
    }

    /// Whether a SYN on a known connection is scheduled again.
    fn is_begun_anew(&self, flow: &Flow) -> bool {
        let connection = &self.connections[flow];
        let is_left = self.sysctls.expire_nodest_conn && self.is_drained(connection.destination);
        let closing: &[&str] = match self.sysctls.conn_reuse_mode {
            0 => &[],
            1 => &["TIME_WAIT", "CLOSE", "CLOSED"],
            _ => &["TIME_WAIT", "CLOSE", "CLOSED", "FIN_WAIT"],
        };
        let is_closing = Machine::of(flow.protocol).is(connection.state, closing);
        is_left || (is_closing && connection.template.is_none())
    }

    fn move_on(&mut self, flow: &Flow, flags: u8) {
        let machine = Machine::of(flow.protocol);
        let connection = self.connections.get_mut(flow).unwrap();
        let before = connection.state;
        connection.state = machine.after(connection.state, event(flow.protocol, flags));
        connection.seen_s = self.now_s;
        // UDP has no such state, so that it assures no template.
        if before != connection.state
            && machine.is(connection.state, &["ESTABLISHED"])
            && let Some(key) = connection.template
            && let Some(template) = self.templates.get_mut(&key)
        {
            template.is_assured = true;
        }
    }

    fn begin_connection(&mut self, flow: Flow, flags: u8, bytes: u64) -> Outcome {
        let Some(number) = self.service_of(&flow) else {
            return Outcome::Host(Why::NoService);
        };
        let sloppily = match flow.protocol {
            // An ABORT behind a cookie is one here, too.
            SCTP => self.sysctls.sloppy_sctp && !is_abort(Chunks::of(flags)),
            _ => self.sysctls.sloppy_tcp && flags & RST == 0,
        };
        if flow.protocol != UDP && !sloppily && !begins(&flow, flags) {
            return Outcome::Host(Why::NoConnection);
        }
        if flow.client_port == 20 {
            return Outcome::Host(Why::FtpData);
        }
        let rules = self.services[&number].rules;
        let steered = if rules.persistence_s > 0 {
            self.steer(number, &flow).map(|(id, key)| (id, Some(key)))
        } else {
            self.pick(number).map(|id| (id, None))
        };
        let Some((destination, template)) = steered else {
            return Outcome::Refused;
        };
        if !(rules.is_one_packet && flow.protocol == UDP) {
            let fresh = Connection {
                service: number,
                destination,
                state: NONE,
                seen_s: self.now_s,
                template,
            };
            self.connections.insert(flow, fresh);
            let assured = template.map(|key| self.templates[&key].is_assured);
            self.move_on(&flow, flags);
            if let (Some(key), Some(assured)) = (template, assured)
                && !is_done::ASSURED_FROM_THE_BEGINNING
            {
                self.templates.get_mut(&key).unwrap().is_assured = assured;
            }
        }
        self.deliver(destination, true, bytes)
    }

    fn service_of(&self, flow: &Flow) -> Option<usize> {
        let by_port = |port| {
            let is_it = |n: &usize| SERVICES[*n] == (flow.protocol, flow.is_v4, port);
            self.services.keys().copied().find(is_it)
        };
        let ftp = || {
            let is_data = flow.protocol == TCP && (flow.port == 20 || flow.port >= 1024);
            let persistent = |n: &usize| self.services[n].rules.persistence_s > 0;
            by_port(FTP).filter(|n| is_data && persistent(n))
        };
        by_port(flow.port).or_else(ftp).or_else(|| by_port(0))
    }

    /// Round robin.
    fn pick(&mut self, number: usize) -> Option<u32> {
        let ids = (0..SERVERS).map(|server| destination_id(number, server));
        let round: Vec<u32> = ids
            .filter(|id| self.available(*id).is_some_and(|it| it.weight > 0))
            .collect();
        let service = self.services.get_mut(&number)?;
        let picked = *round.get(service.turn % round.len().max(1))?;
        service.turn += 1;
        Some(picked)
    }

    /// The template's destination, which no scheduler, weight or threshold is asked about.
    fn steer(&mut self, number: usize, flow: &Flow) -> Option<(u32, TemplateKey)> {
        let rules = self.services[&number].rules;
        let is_for_all = matches!(SERVICES[number].2, 0 | FTP);
        let key = TemplateKey {
            protocol: flow.protocol,
            is_v4: flow.is_v4,
            client: if rules.is_for_networks {
                flow.client / 3 * 3
            } else {
                flow.client
            },
            is_network: rules.is_for_networks,
            port: if is_for_all { 0 } else { flow.port },
        };
        let known = self.templates.get(&key).copied();
        let ignores_drained = self.sysctls.expire_quiescent_template;
        let valid = known.filter(|it| {
            let is_left = ignores_drained && self.is_drained(it.destination);
            self.available(it.destination).is_some() && !is_left
        });
        let template = match valid {
            Some(template) => Template {
                seen_s: self.now_s,
                ..template
            },
            None => Template {
                service: known.map_or(number, |it| it.service),
                destination: self.pick(number)?,
                is_assured: false,
                life_s: match known {
                    Some(known) if !is_done::LIFE_WITH_THE_DESTINATION => known.life_s,
                    _ => rules.persistence_s,
                },
                seen_s: self.now_s,
            },
        };
        self.templates.insert(key, template);
        Some((template.destination, key))
    }

    /// A router's complaint: to whom the connection goes, whose timer does not notice.
    pub fn complaint(&mut self, flow: Flow, bytes: u64) -> Outcome {
        if self.services.is_empty() {
            return Outcome::Host(Why::NotVirtual);
        }
        if !self.connections.contains_key(&flow) || self.is_over(&flow) {
            return Outcome::Host(Why::NotOurComplaint);
        }
        let destination = self.connections[&flow].destination;
        if self.available(destination).is_none() {
            return Outcome::Silence;
        }
        self.deliver(destination, false, bytes)
    }

    fn deliver(&mut self, id: u32, is_new: bool, bytes: u64) -> Outcome {
        let sent = self.sent.entry(id).or_default();
        sent.connections += u64::from(is_new);
        sent.packets += 1;
        sent.bytes += bytes;
        if self.destinations[&id].is_local {
            Outcome::Host(Why::Local)
        } else {
            Outcome::Sent(id)
        }
    }
}

/// Type of SCTP's chunk that begins.
const INIT: u8 = 1;

/// Whether it asks for a new connection.
fn begins(flow: &Flow, flags: u8) -> bool {
    match flow.protocol {
        TCP => flags & SYN != 0 && flags & RST == 0,
        SCTP => Chunks::of(flags).first == INIT,
        _ => false,
    }
}
