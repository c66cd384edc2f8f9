//! One packet through the chains of its hooks.

use std::net::IpAddr;

use super::{Chain, Field, Origin, Rule, Ruleset, Test, Value, Verdict};
use crate::limits::{JUMPS_MAX, RULES_MAX};

/// Which way a packet passes this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

impl Direction {
    fn hooks(self) -> &'static [&'static str] {
        match self {
            Self::In => &["ingress", "prerouting", "input"],
            Self::Out => &["output", "postrouting", "egress"],
        }
    }
}

/// What is known of a packet. `None` is "any".
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) direction: Direction,
    pub(crate) source: Option<IpAddr>,
    pub(crate) destination: Option<IpAddr>,
    pub(crate) protocol: u8,
    pub(crate) source_port: Option<u16>,
    pub(crate) destination_port: Option<u16>,
    pub(crate) interface: Option<String>,
    /// State of connection tracking; of ARP, the operation.
    pub(crate) state: &'static str,
    pub(crate) flags: u8,
    /// It is ARP, which has tables of its own.
    pub(crate) arp: bool,
}

/// A rule or policy that drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Culprit {
    pub(crate) origin: Origin,
    pub(crate) family: String,
    pub(crate) table: String,
    /// The base chain by which the packet came there.
    pub(crate) base: String,
    /// The chain.
    pub(crate) chain: String,
    /// The rule; `None` for the policy.
    pub(crate) rule: Option<String>,
    /// Not if, but when.
    pub(crate) certain: bool,
}

/// Who drops the packet: the first for certain, else those that may.
pub(crate) fn fate(rules: &Ruleset, packet: &Packet) -> Vec<Culprit> {
    let mut walk = Walk {
        rules,
        packet: packet.clone(),
        base: None,
        doubtful: false,
        maybe: Vec::new(),
        steps: 0,
    };
    for hook in packet.direction.hooks() {
        let mut chains: Vec<&Chain> = rules
            .chains
            .iter()
            .filter(|one| walk.enters(one, hook))
            .collect();
        chains.sort_by_key(|chain| chain.base.as_ref().map(|base| base.priority));
        for chain in chains {
            if let Some(culprit) = walk.base(chain) {
                return vec![culprit];
            }
        }
    }
    walk.maybe
}

struct Walk<'a> {
    rules: &'a Ruleset,
    packet: Packet,
    base: Option<&'a Chain>,
    /// A rule that may match may have ended the chain before.
    doubtful: bool,
    maybe: Vec<Culprit>,
    steps: usize,
}

enum Flow {
    /// Off its end, or a return.
    Through,
    /// The base chain is over and the packet lives, for all that is known.
    Over,
    Dropped(Culprit),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    No,
    Maybe,
    Yes,
}

impl<'a> Walk<'a> {
    fn enters(&self, chain: &Chain, hook: &str) -> bool {
        let Some(base) = &chain.base else {
            return false;
        };
        let family = match chain.family.as_str() {
            "arp" => self.packet.arp,
            _ if self.packet.arp => false,
            "ip" => !self.is_v6(),
            "ip6" => self.is_v6(),
            "inet" | "netdev" => true,
            _ => false,
        };
        let device = base.devices.is_empty()
            || self
                .packet
                .interface
                .as_ref()
                .is_some_and(|name| base.devices.contains(name));
        family && device && base.hook == hook
    }

    fn is_v6(&self) -> bool {
        let known = self.packet.destination.or(self.packet.source);
        known.is_some_and(|address| address.is_ipv6())
    }

    fn base(&mut self, chain: &'a Chain) -> Option<Culprit> {
        self.base = Some(chain);
        self.doubtful = false;
        match self.chain(chain, 0) {
            Flow::Dropped(culprit) => Some(culprit),
            Flow::Over => None,
            Flow::Through => {
                let drops = chain.base.as_ref().is_some_and(|base| base.drops);
                (drops && !self.doubtful).then(|| self.culprit(chain, None, true))
            }
        }
    }

    fn chain(&mut self, chain: &'a Chain, depth: usize) -> Flow {
        for rule in &chain.rules {
            self.steps += 1;
            if self.steps > RULES_MAX || depth > JUMPS_MAX {
                return Flow::Over;
            }
            let matches = self.matches(rule);
            if matches == Match::No {
                continue;
            }
            let certain = matches == Match::Yes && !self.doubtful;
            match &rule.verdict {
                Verdict::Nothing => {}
                Verdict::Untracked if certain => self.packet.state = "untracked",
                Verdict::Untracked => {}
                Verdict::Drop if certain => {
                    return Flow::Dropped(self.culprit(chain, Some(rule), true));
                }
                Verdict::Drop => {
                    if self.selects(rule) && !rule.tests.contains(&Test::Limit) {
                        let culprit = self.culprit(chain, Some(rule), false);
                        self.maybe.push(culprit);
                    }
                    if matches == Match::Yes {
                        return Flow::Over;
                    }
                }
                Verdict::Accept | Verdict::Return if matches == Match::Maybe => {
                    self.doubtful = true;
                }
                Verdict::Accept => return Flow::Over,
                Verdict::Return => return Flow::Through,
                Verdict::Jump(name) | Verdict::Goto(name) => {
                    let for_good = matches!(rule.verdict, Verdict::Goto(_));
                    if let Some(flow) = self.into(chain, name, matches, for_good, depth) {
                        return flow;
                    }
                }
            }
        }
        Flow::Through
    }

    /// `None` if the caller goes on.
    fn into(
        &mut self,
        from: &Chain,
        name: &str,
        matches: Match,
        for_good: bool,
        depth: usize,
    ) -> Option<Flow> {
        let rules = self.rules;
        let target = rules.chains.iter().find(|chain| {
            (&chain.family, &chain.table, chain.name.as_str()) == (&from.family, &from.table, name)
        })?;
        if matches == Match::Maybe {
            self.doubtful = true;
            let _uncertain = self.chain(target, depth + 1);
            return None;
        }
        match self.chain(target, depth + 1) {
            Flow::Through if !for_good => None,
            flow => Some(flow),
        }
    }

    fn culprit(&self, chain: &Chain, rule: Option<&Rule>, certain: bool) -> Culprit {
        Culprit {
            origin: chain.origin,
            family: chain.family.clone(),
            table: chain.table.clone(),
            base: self.base.map_or_else(String::new, |base| base.name.clone()),
            chain: chain.name.clone(),
            rule: rule.map(|rule| rule.text.clone()),
            certain,
        }
    }

    /// Whether a rule is about this service, and not about traffic at large.
    fn selects(&self, rule: &Rule) -> bool {
        let ours = match self.packet.direction {
            Direction::In => [Field::Destination, Field::DestinationPort],
            Direction::Out => [Field::Source, Field::SourcePort],
        };
        rule.tests.iter().any(|test| match test {
            Test::Field { field, not, .. } => ours.contains(field) && !not,
            _ => false,
        })
    }

    fn matches(&self, rule: &Rule) -> Match {
        let mut all = Match::Yes;
        for test in &rule.tests {
            match self.test(test) {
                Match::No => return Match::No,
                Match::Maybe => all = Match::Maybe,
                Match::Yes => {}
            }
        }
        all
    }

    fn test(&self, test: &Test) -> Match {
        let (found, not) = match test {
            Test::Unknown | Test::Limit => return Match::Maybe,
            Test::Flags { .. } if self.packet.protocol != 6 => return Match::No,
            Test::Flags { mask, are, not } => {
                let bits = self.packet.flags & mask;
                (are.map_or(bits != 0, |are| bits == are).into(), *not)
            }
            Test::Field { field, is, not } => (self.field(*field, is), *not),
        };
        match (found, not) {
            (Match::Yes, true) => Match::No,
            (Match::No, true) => Match::Yes,
            (found, _) => found,
        }
    }

    fn field(&self, field: Field, is: &[Value]) -> Match {
        let packet = &self.packet;
        let number = |number: u64| any(is, |value| numbers(value, number));
        let port = |port: Option<u16>| match (matches!(packet.protocol, 6 | 17), port) {
            (false, _) => Match::No,
            (true, Some(port)) => number(port.into()),
            (true, None) => Match::Maybe,
        };
        let address = |address: Option<IpAddr>| match address {
            Some(address) => any(is, |value| addresses(value, address)),
            None => Match::Maybe,
        };
        let word = |word: Option<&str>| match word {
            Some(word) => any(is, |value| words(value, word)),
            None => Match::No,
        };
        let interface = packet.interface.as_deref();
        match field {
            Field::Source => address(packet.source),
            Field::Destination => address(packet.destination),
            Field::Protocol => number(packet.protocol.into()),
            Field::SourcePort => port(packet.source_port),
            Field::DestinationPort => port(packet.destination_port),
            Field::Family => number(if self.is_v6() { 6 } else { 4 }),
            Field::State => word(Some(packet.state).filter(|_| !packet.arp)),
            Field::Operation => word(Some(packet.state).filter(|_| packet.arp)),
            Field::Input => word(interface.filter(|_| packet.direction == Direction::In)),
            Field::Output => word(interface.filter(|_| packet.direction == Direction::Out)),
            Field::DestinationType => match packet.direction {
                Direction::In => word(Some("local")),
                Direction::Out => Match::Maybe,
            },
        }
    }
}

impl From<bool> for Match {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

fn any(values: &[Value], test: impl Fn(&Value) -> Match) -> Match {
    let mut best = Match::No;
    for value in values {
        match test(value) {
            Match::Yes => return Match::Yes,
            Match::Maybe => best = Match::Maybe,
            Match::No => {}
        }
    }
    best
}

fn numbers(value: &Value, number: u64) -> Match {
    match value {
        Value::Numbers(low, high) => (*low <= number && number <= *high).into(),
        _ => Match::Maybe,
    }
}

fn addresses(value: &Value, address: IpAddr) -> Match {
    match value {
        Value::Network(network, prefix) => is_within(address, *network, *prefix).into(),
        Value::Addresses(low, high) => (*low <= address && address <= *high).into(),
        _ => Match::Maybe,
    }
}

fn words(value: &Value, word: &str) -> Match {
    match value {
        Value::Word(text) => match text.strip_suffix('*') {
            Some(beginning) => word.starts_with(beginning).into(),
            None => (text == word).into(),
        },
        _ => Match::Maybe,
    }
}

pub(crate) fn is_within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(four) => (u128::from(four.to_bits()) << 96, 4),
        IpAddr::V6(six) => (six.to_bits(), 6),
    };
    let (one, other) = (bits(address), bits(network));
    let mask = match prefix {
        0 => 0,
        prefix => u128::MAX << (128 - u32::from(prefix.min(128))),
    };
    one.1 == other.1 && one.0 & mask == other.0 & mask
}
