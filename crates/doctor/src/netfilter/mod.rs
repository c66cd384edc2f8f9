//! The firewall's rules, and what they do to one packet.
//!
//! ```text
//! nft -j list ruleset ─► nft ───────┐
//!                                   ├─► Ruleset ─► walk (one packet, its hooks in order) ─► Fate
//! iptables-save ───────► iptables ──┘
//! ```
//!
//! A rule is a list of tests and a verdict. A test that this room cannot judge (a mark, a limit, a
//! client's address) makes the rule a "maybe": what it would drop is told apart from what is
//! dropped for certain, and what it would accept makes everything after it uncertain.
//!
//! What never happens here: no rule is run, no counter read, nothing changed.

mod iptables;
mod nft;
mod walk;

use std::net::IpAddr;

use serde::Serialize;

pub(crate) use walk::{Culprit, Direction, Packet, fate, is_within};

/// The rules of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ruleset {
    /// Chains with their rules.
    pub chains: Vec<Chain>,
}

/// Who wrote a chain, and so which program changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// `nft`
    Nft,
    /// `iptables`
    Iptables,
    /// `ip6tables`
    Ip6tables,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Who wrote it.
    pub origin: Origin,
    /// `ip`, `ip6`, `inet`, `netdev`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where packets enter it; `None` for those that are jumped to.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// What makes a chain a base chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Base {
    /// `ingress`, `prerouting`, `input`, `output`, `postrouting`, `egress`, `forward`.
    pub hook: String,
    /// Lower comes first.
    pub priority: i64,
    /// What reaches its end is dropped.
    pub drops: bool,
    /// Its interfaces, where it has some (`netdev`).
    pub devices: Vec<String>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// As its program writes it.
    pub text: String,
    /// All must hold.
    pub tests: Vec<Test>,
    /// What happens then.
    pub verdict: Verdict,
}

/// What a rule does with a packet that it matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing that matters here: it counts, logs, marks.
    Nothing,
    /// The chain is over.
    Accept,
    /// The packet is gone, with or without a word to its sender.
    Drop,
    /// Back to the caller.
    Return,
    /// Into another chain, and back.
    Jump(String),
    /// Into another chain, for good.
    Goto(String),
    /// The connection is not tracked.
    Untracked,
}

/// A condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// A field has one of these values, or none of them.
    Field {
        /// Which.
        field: Field,
        /// Any of these.
        is: Vec<Value>,
        /// Turned round.
        not: bool,
    },
    /// TCP flags under a mask.
    Flags {
        /// The bits looked at.
        mask: u8,
        /// What they must be; `None` for any of them.
        are: Option<u8>,
        /// Turned round.
        not: bool,
    },
    /// Something this room cannot judge.
    Unknown,
    /// A rate, which ordinary traffic stays below.
    Limit,
}

/// What a test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// Transport protocol.
    Protocol,
    /// Source port.
    SourcePort,
    /// Destination port.
    DestinationPort,
    /// Interface it came by.
    Input,
    /// Interface it leaves by.
    Output,
    /// 4 or 6.
    Family,
    /// State of connection tracking.
    State,
    /// Of ARP: `request`, `reply`.
    Operation,
    /// `local`: the destination is this host's.
    DestinationType,
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// A range of numbers.
    Numbers(u64, u64),
    /// A network.
    Network(IpAddr, u8),
    /// A range of addresses.
    Addresses(IpAddr, IpAddr),
    /// A word; one that ends in `*` stands for its beginning.
    Word(String),
    /// Something that cannot be read.
    Unknown,
}

impl Ruleset {
    /// Reads what `nft -j list ruleset` and `nft -a list ruleset` print.
    pub fn add_nft(&mut self, json: &str, text: &str) -> Result<(), String> {
        self.chains.extend(nft::read(json, text)?);
        Ok(())
    }

    /// Reads what `iptables-save` or `ip6tables-save` prints. Chains that `nft` showed, too, are
    /// replaced: `nft` cannot read every test of theirs.
    pub fn add_iptables(&mut self, text: &str, origin: Origin) {
        let found = iptables::read(text, origin);
        self.chains.retain(|old| {
            let same = |new: &Chain| {
                (&new.family, &new.table, &new.name) == (&old.family, &old.table, &old.name)
            };
            !found.iter().any(same)
        });
        self.chains.extend(found);
    }
}

/// IP protocol numbers by the names that firewalls use.
fn protocol_number(name: &str) -> Option<u64> {
    match name {
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        "ipv6-icmp" | "icmpv6" => Some(58),
        "sctp" => Some(132),
        "udplite" => Some(136),
        number => number.parse().ok(),
    }
}

/// Bits of TCP flags by their names.
fn flag_bits(name: &str) -> u8 {
    match name.to_ascii_lowercase().as_str() {
        "fin" => 0x01,
        "syn" => 0x02,
        "rst" => 0x04,
        "psh" => 0x08,
        "ack" => 0x10,
        "urg" => 0x20,
        "all" => 0x3f,
        _ => 0,
    }
}

/// `192.0.2.0/24`, `2001:db8::1`, `192.0.2.0/255.255.255.0`.
fn network(text: &str) -> Value {
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Value::Unknown;
    };
    let whole = netlink::host_prefix(&address);
    let prefix = match mask {
        None => Some(whole),
        Some(mask) => mask.parse().ok().or_else(|| {
            let mask: std::net::Ipv4Addr = mask.parse().ok()?;
            Some(mask.to_bits().leading_ones() as u8)
        }),
    };
    match prefix {
        Some(prefix) if prefix <= whole => Value::Network(address, prefix),
        _ => Value::Unknown,
    }
}
