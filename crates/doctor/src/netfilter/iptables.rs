//! Rules as `iptables-save` prints them.

use super::{Base, Chain, Field, Origin, Rule, Test, Value, Verdict, flag_bits, network};
use crate::netfilter::protocol_number;

pub(super) fn read(text: &str, origin: Origin) -> Vec<Chain> {
    let family = match origin {
        Origin::Ip6tables => "ip6",
        _ => "ip",
    };
    let mut table = String::new();
    let mut chains: Vec<Chain> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim().to_owned();
        } else if let Some(head) = line.strip_prefix(':') {
            let mut words = head.split_whitespace();
            let (Some(name), policy) = (words.next(), words.next()) else {
                continue;
            };
            chains.push(Chain {
                origin,
                family: family.to_owned(),
                table: table.clone(),
                name: name.to_owned(),
                base: base(&table, name, policy == Some("DROP")),
                rules: Vec::new(),
            });
        } else if line.starts_with("-A ") {
            let words = split(line);
            let chain = chains
                .iter_mut()
                .find(|chain| chain.table == table && Some(&chain.name) == words.get(1));
            if let Some(chain) = chain {
                chain
                    .rules
                    .push(rule(line, words.get(2..).unwrap_or_default()));
            }
        }
    }
    chains
}

/// The hook of a built-in chain. Priorities: Linux `netfilter_ipv4.h`.
fn base(table: &str, name: &str, drops: bool) -> Option<Base> {
    let hook = match name {
        "PREROUTING" | "INPUT" | "FORWARD" | "OUTPUT" | "POSTROUTING" => name.to_ascii_lowercase(),
        _ => return None,
    };
    let priority = match (table, hook.as_str()) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", "prerouting" | "output") => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    };
    Some(Base {
        hook,
        priority,
        drops,
        devices: Vec::new(),
    })
}

fn rule(line: &str, words: &[String]) -> Rule {
    let mut tests = Vec::new();
    let mut verdict = Verdict::Nothing;
    let mut not = false;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let argument = words.get(at + 1).map_or("", String::as_str);
        at += 2;
        let field = |field, is| Test::Field { field, is, not };
        match word.as_str() {
            "!" => {
                not = true;
                at -= 1;
                continue;
            }
            "-s" => tests.push(field(Field::Source, list(argument, network))),
            "-d" => tests.push(field(Field::Destination, list(argument, network))),
            "-p" => tests.push(field(Field::Protocol, list(argument, protocol))),
            "-i" => tests.push(field(Field::Input, vec![interface(argument)])),
            "-o" => tests.push(field(Field::Output, vec![interface(argument)])),
            "--dport" | "--dports" => {
                tests.push(field(Field::DestinationPort, list(argument, ports)));
            }
            "--sport" | "--sports" => tests.push(field(Field::SourcePort, list(argument, ports))),
            "--ctstate" | "--state" => {
                let lower = argument.to_ascii_lowercase();
                tests.push(field(
                    Field::State,
                    list(&lower, |one| Value::Word(one.to_owned())),
                ));
            }
            "--dst-type" => {
                let word = Value::Word(argument.to_ascii_lowercase());
                tests.push(field(Field::DestinationType, vec![word]));
            }
            "--tcp-flags" => {
                let are = words.get(at).map_or(0, |names| bits(names));
                at += 1;
                let mask = bits(argument);
                tests.push(Test::Flags {
                    mask,
                    are: Some(are),
                    not,
                });
            }
            "--syn" => {
                at -= 1;
                let (mask, are) = (bits("FIN,SYN,RST,ACK"), Some(bits("SYN")));
                tests.push(Test::Flags { mask, are, not });
            }
            "-m" if is_plain(argument) => {}
            "-m" if matches!(argument, "limit" | "hashlimit" | "recent" | "connlimit") => {
                tests.push(Test::Limit);
            }
            "-m" => tests.push(Test::Unknown),
            "-j" => verdict = target(argument),
            "-g" => verdict = Verdict::Goto(argument.to_owned()),
            // An option of a match or target that is told apart by its own name above.
            option if option.starts_with('-') => {
                if argument.starts_with('-') || argument == "!" {
                    at -= 1;
                }
            }
            _ => at -= 1,
        }
        not = false;
    }
    Rule {
        text: line.to_owned(),
        tests,
        verdict,
    }
}

/// Matches whose options are all read here, or say nothing.
fn is_plain(name: &str) -> bool {
    matches!(
        name,
        "tcp" | "udp" | "conntrack" | "state" | "multiport" | "comment" | "addrtype"
    )
}

fn target(name: &str) -> Verdict {
    match name {
        "ACCEPT" | "REDIRECT" | "DNAT" | "SNAT" | "MASQUERADE" => Verdict::Accept,
        "DROP" | "REJECT" | "TARPIT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        "NOTRACK" => Verdict::Untracked,
        "CT" | "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS" | "TOS" | "DSCP" | "TTL"
        | "CHECKSUM" | "AUDIT" | "TRACE" | "CLASSIFY" | "SET" => Verdict::Nothing,
        chain => Verdict::Jump(chain.to_owned()),
    }
}

fn list(text: &str, read: impl Fn(&str) -> Value) -> Vec<Value> {
    text.split(',').map(read).collect()
}

fn protocol(name: &str) -> Value {
    match (name, protocol_number(name)) {
        ("all", _) => Value::Numbers(0, 255),
        (_, Some(number)) => Value::Numbers(number, number),
        (_, None) => Value::Unknown,
    }
}

fn ports(text: &str) -> Value {
    let (low, high) = text.split_once(':').unwrap_or((text, text));
    match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) => Value::Numbers(low, high),
        _ => Value::Unknown,
    }
}

fn interface(name: &str) -> Value {
    match name.strip_suffix('+') {
        Some(beginning) => Value::Word(format!("{beginning}*")),
        None => Value::Word(name.to_owned()),
    }
}

fn bits(names: &str) -> u8 {
    names
        .split(',')
        .map(flag_bits)
        .fold(0, |all, one| all | one)
}

/// Words of a line, those in quotes as one.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut started, mut escaped) = (false, false, false);
    for letter in line.chars() {
        match letter {
            _ if escaped => {
                word.push(letter);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => (quoted, started) = (!quoted, true),
            ' ' if !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            _ => {
                word.push(letter);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}
