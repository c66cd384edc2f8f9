//! The control plane in short: what a step means for tables.
//!
//! ```text
//! Step ──► Model (what IPVS would do)
//!      └─► Control ──► Act, in order ──► the tables under test
//! ```

use crate::steps::{FLOWS, Flow, Rules, SERVERS, SERVICES, Step, Story, Sysctls, destination_id};

/// One change of the tables, or one thing that happens to them.
#[derive(Clone, Debug)]
pub enum Act {
    /// Addresses that are looked at: is IPv4.
    Vips(Vec<bool>),
    /// Makes a service or replaces it; picks begin with the first of the rotation.
    Publish {
        service: usize,
        rules: Rules,
        rotation: Vec<u32>,
    },
    Withdraw(usize),
    Link(u32, Reach),
    Timeouts([u32; 3]),
    Sysctls(Sysctls),
    Pass(u32),
    Sweep,
    Packet(Flow, u8),
    Complaint(Flow),
}

/// How a destination is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    pub is_gone: bool,
    pub is_local: bool,
    pub is_drained: bool,
}

/// Which services and destinations there are.
pub struct Control {
    flows: [Flow; FLOWS],
    rules: [Option<Rules>; SERVICES.len()],
    servers: [[Server; SERVERS as usize]; SERVICES.len()],
}

#[derive(Clone, Copy, Default)]
struct Server {
    is_there: bool,
    is_drained: bool,
    is_local: bool,
}

impl Control {
    /// What makes the tables of a story's beginning.
    pub fn begin(story: &Story) -> (Self, Vec<Act>) {
        let mut control = Self {
            flows: story.flows,
            rules: [None; SERVICES.len()],
            servers: Default::default(),
        };
        let mut acts = vec![Act::Timeouts([900, 120, 300]), Act::Sysctls(story.sysctls)];
        for (service, rules) in story.rules.iter().enumerate() {
            if let Some(rules) = rules {
                for server in 0..SERVERS {
                    control.servers[service][server as usize].is_there = true;
                }
                acts.extend(control.plan(&Step::CreateService(service, *rules)));
            }
        }
        (control, acts)
    }

    /// Whether a step can be taken; the others change nothing.
    pub fn can(&self, step: &Step) -> bool {
        let server = |n: &usize, s: &u32| self.servers[*n][*s as usize];
        match step {
            Step::CreateService(n, _) => self.rules[*n].is_none(),
            Step::EditService(n, _) | Step::DeleteService(n) => self.rules[*n].is_some(),
            Step::Add(n, s) => self.rules[*n].is_some() && !server(n, s).is_there,
            Step::Delete(n, s) | Step::Drain(n, s, _) | Step::Local(n, s, _) => {
                self.rules[*n].is_some() && server(n, s).is_there
            }
            _ => true,
        }
    }

    /// The acts that a step means.
    pub fn plan(&mut self, step: &Step) -> Vec<Act> {
        match step {
            Step::Packet(flow, flags) => vec![Act::Packet(self.flows[*flow], *flags)],
            Step::Complaint(flow) => vec![Act::Complaint(self.flows[*flow])],
            Step::Timeouts(timeouts) => vec![Act::Timeouts(*timeouts)],
            Step::Sysctls(sysctls) => vec![Act::Sysctls(*sysctls)],
            Step::Wait(seconds) => (0..*seconds)
                .flat_map(|_| [Act::Pass(1), Act::Sweep])
                .collect(),
            Step::Away(seconds) => vec![Act::Pass(*seconds)],
            Step::CreateService(n, rules) | Step::EditService(n, rules) => {
                self.rules[*n] = Some(*rules);
                self.show(*n)
            }
            Step::DeleteService(n) => {
                self.rules[*n] = None;
                self.show(*n)
            }
            Step::Add(n, s) => {
                self.servers[*n][*s as usize] = Server {
                    is_there: true,
                    ..Server::default()
                };
                self.show(*n)
            }
            Step::Delete(n, s) => {
                self.servers[*n][*s as usize].is_there = false;
                self.show(*n)
            }
            Step::Drain(n, s, is_drained) => {
                self.servers[*n][*s as usize].is_drained = *is_drained;
                self.show(*n)
            }
            Step::Local(n, s, is_local) => {
                self.servers[*n][*s as usize].is_local = *is_local;
                self.show(*n)
            }
        }
    }

    fn show(&self, service: usize) -> Vec<Act> {
        // While there is any service, all addresses are looked at: somebody's connections may be there.
        let is_any = self.rules.iter().any(Option::is_some);
        let vips = if is_any { vec![true, false] } else { vec![] };
        let mut acts = vec![Act::Vips(vips)];
        let servers = &self.servers[service];
        for (server, number) in servers.iter().zip(0..) {
            let reach = Reach {
                is_gone: !server.is_there || self.rules[service].is_none(),
                is_local: server.is_local,
                is_drained: server.is_drained,
            };
            acts.push(Act::Link(destination_id(service, number), reach));
        }
        acts.push(match self.rules[service] {
            None => Act::Withdraw(service),
            Some(rules) => Act::Publish {
                service,
                rules,
                rotation: (0..SERVERS)
                    .filter(|s| servers[*s as usize].is_there && !servers[*s as usize].is_drained)
                    .map(|s| destination_id(service, s))
                    .collect(),
            },
        });
        acts
    }
}
