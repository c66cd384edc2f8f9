//! What was read, in our words, before it is known to be right.

use std::net::IpAddr;

/// A director.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Where clients' packets arrive, if it is said.
    pub interfaces: Vec<String>,
    /// Somebody else moves the virtual addresses.
    pub vips_are_moved: bool,
    /// `tcp`, `tcp_fin`, `udp`.
    pub timeouts: [Option<u32>; 3],
    /// Keys of `[settings]` with their values as TOML.
    pub settings: Vec<(&'static str, String)>,
    pub marks: Vec<Mark>,
    pub checks: Vec<Check>,
    pub services: Vec<Service>,
}

/// A virtual service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Where it stands.
    pub line: usize,
    pub offer: Offer,
    /// What people called it.
    pub comment: Option<String>,
    pub scheduler: String,
    pub flags: Vec<String>,
    pub persistence: Option<u32>,
    pub netmask: Option<String>,
    pub one_packet: bool,
    pub rules: Rules,
    pub destinations: Vec<Destination>,
}

/// What it offers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Offer {
    Address(&'static str, IpAddr, u16),
    Mark { mark: u32, is_ipv6: bool },
}

impl Offer {
    pub fn is_ipv6(&self) -> bool {
        match self {
            Self::Address(_, address, _) => address.is_ipv6(),
            Self::Mark { is_ipv6, .. } => *is_ipv6,
        }
    }
}

/// What the health of its destinations means. Defaults are those of the source, not ours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub quorum: Option<u32>,
    pub hysteresis: Option<u32>,
    pub inhibit_on_failure: bool,
    pub alpha: bool,
    pub omega: bool,
    /// The sorry server and the line it stands in.
    pub sorry: Option<(IpAddr, usize)>,
}

/// A real server's place in it.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub line: usize,
    pub address: IpAddr,
    /// Its port, if it is said.
    pub port: Option<u16>,
    pub weight: u32,
    pub upper: u32,
    pub lower: u32,
    /// Positions in [`Draft::checks`].
    pub checks: Vec<usize>,
}

/// A check; equal ones are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub kind: &'static str,
    /// Other keys with their values as TOML, in our order.
    pub keys: Vec<(&'static str, String)>,
}

/// Which packets have a firewall mark.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub mark: u32,
    pub address: String,
    pub protocol: Option<String>,
    pub ports: Option<String>,
}

impl Draft {
    /// The position of this check, which is a new one if there is none like it.
    pub fn check(&mut self, mut check: Check) -> usize {
        // What is said twice there counts as it was said last.
        let mut seen = std::collections::HashSet::new();
        check.keys.reverse();
        check.keys.retain(|(key, _)| seen.insert(*key));
        check.keys.reverse();
        let known = self.checks.iter().position(|known| *known == check);
        known.unwrap_or_else(|| {
            self.checks.push(check);
            self.checks.len() - 1
        })
    }
}

impl Service {
    pub fn new(line: usize, offer: Offer, scheduler: &str) -> Self {
        Self {
            line,
            offer,
            comment: None,
            scheduler: scheduler.to_owned(),
            flags: Vec::new(),
            persistence: None,
            netmask: None,
            one_packet: false,
            rules: Rules::default(),
            destinations: Vec::new(),
        }
    }
}

impl Destination {
    pub fn new(line: usize, address: IpAddr, port: Option<u16>) -> Self {
        Self {
            line,
            address,
            port,
            weight: 1,
            upper: 0,
            lower: 0,
            checks: Vec::new(),
        }
    }
}
