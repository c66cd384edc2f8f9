//! Rules as `nft` tells them in JSON (libnftables-json(5)).

use std::collections::HashMap;

use serde_json::Value as Json;

use super::{Base, Chain, Field, Origin, Rule, Test, Value, Verdict, flag_bits, network};
use crate::netfilter::protocol_number;

type Texts = HashMap<(String, String, String, u64), String>;

pub(super) fn read(json: &str, text: &str) -> Result<Vec<Chain>, String> {
    let root: Json = serde_json::from_str(json)
        .map_err(|error| format!("nft's JSON cannot be read: {error}"))?;
    let objects = root["nftables"].as_array().cloned().unwrap_or_default();
    let named = named_sets(&objects);
    let texts = texts(text);
    let mut chains: Vec<Chain> = objects
        .iter()
        .filter_map(|object| object.get("chain"))
        .map(chain)
        .collect();
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        let (family, table, name) = (
            word(rule, "family"),
            word(rule, "table"),
            word(rule, "chain"),
        );
        let handle = rule["handle"].as_u64().unwrap_or(0);
        let key = (family.clone(), table.clone(), name.clone(), handle);
        let text = texts.get(&key).cloned();
        let text = text.unwrap_or_else(|| format!("the rule with handle {handle}"));
        let place = chains
            .iter_mut()
            .find(|chain| (&chain.family, &chain.table, &chain.name) == (&family, &table, &name));
        if let Some(chain) = place {
            let sets = Sets {
                named: &named,
                family: &family,
                table: &table,
            };
            chain.rules.extend(rules(rule, &text, &sets));
        }
    }
    Ok(chains)
}

fn chain(found: &Json) -> Chain {
    let base = found["hook"].as_str().map(|hook| Base {
        hook: hook.to_owned(),
        priority: found["prio"].as_i64().unwrap_or(0),
        drops: found["policy"] == "drop",
        devices: words(&found["dev"]),
    });
    Chain {
        origin: Origin::Nft,
        family: word(found, "family"),
        table: word(found, "table"),
        name: word(found, "name"),
        base,
        rules: Vec::new(),
    }
}

/// A rule's expressions; a verdict map makes one rule of each of its entries.
fn rules(rule: &Json, text: &str, sets: &Sets<'_>) -> Vec<Rule> {
    let mut tests = Vec::new();
    let mut all = Vec::new();
    let mut last = Verdict::Nothing;
    for expression in rule["expr"].as_array().into_iter().flatten() {
        let Some((name, body)) = expression
            .as_object()
            .and_then(|object| object.iter().next())
        else {
            continue;
        };
        match name.as_str() {
            "match" => tests.push(test(body, sets)),
            "limit" => tests.push(Test::Limit),
            "counter" | "log" | "mangle" | "comment" | "meta" | "ct count" => {}
            "notrack" => last = Verdict::Untracked,
            "vmap" => all.extend(map_rules(body, &tests, text, sets)),
            // Rewriting an address for the service's own host is how some real servers take the
            // VIP; the packet goes on.
            "redirect" | "dnat" | "snat" | "masquerade" => last = Verdict::Accept,
            _ => match verdict(name, body) {
                Some(found) => last = found,
                None => tests.push(Test::Unknown),
            },
        }
    }
    all.push(Rule {
        text: text.to_owned(),
        tests,
        verdict: last,
    });
    all
}

fn verdict(name: &str, body: &Json) -> Option<Verdict> {
    Some(match name {
        "accept" => Verdict::Accept,
        "drop" | "reject" => Verdict::Drop,
        "return" => Verdict::Return,
        "continue" => Verdict::Nothing,
        "jump" => Verdict::Jump(word(body, "target")),
        "goto" => Verdict::Goto(word(body, "target")),
        _ => return None,
    })
}

fn map_rules(body: &Json, tests: &[Test], text: &str, sets: &Sets<'_>) -> Vec<Rule> {
    let entries = match &body["data"] {
        Json::String(name) => sets.elements(name),
        inline => inline["set"].as_array().cloned().unwrap_or_default(),
    };
    let rules = entries.iter().filter_map(|entry| {
        let verdict_of = entry.get(1)?.as_object()?.iter().next()?;
        let verdict = verdict(verdict_of.0, verdict_of.1)?;
        let mut tests = tests.to_vec();
        tests.push(compare(&body["key"], "==", entry.get(0)?, sets));
        Some(Rule {
            text: text.to_owned(),
            tests,
            verdict,
        })
    });
    rules.collect()
}

fn test(body: &Json, sets: &Sets<'_>) -> Test {
    let op = body["op"].as_str().unwrap_or("==");
    compare(&body["left"], op, &body["right"], sets)
}

fn compare(left: &Json, op: &str, right: &Json, sets: &Sets<'_>) -> Test {
    if let Some(masked) = left["&"].as_array()
        && is_flags(&masked[0])
    {
        let mask = masked.get(1).map_or(0, flags);
        let are = Some(flags(right));
        return Test::Flags {
            mask,
            are,
            not: op == "!=",
        };
    }
    if is_flags(left) {
        let bits = flags(right);
        let are = (op != "in").then_some(bits);
        let mask = if op == "in" { bits } else { 0x3f };
        return Test::Flags {
            mask,
            are,
            not: op == "!=",
        };
    }
    let Some(field) = field(left) else {
        return Test::Unknown;
    };
    if !matches!(op, "==" | "in" | "!=") {
        return order(field, op, right);
    }
    Test::Field {
        field,
        is: values(field, right, sets),
        not: op == "!=",
    }
}

fn order(field: Field, op: &str, right: &Json) -> Test {
    let Some(number) = right.as_u64() else {
        return Test::Unknown;
    };
    let (low, high) = match op {
        "<" if number > 0 => (0, number - 1),
        "<=" => (0, number),
        ">" => (number.saturating_add(1), u64::MAX),
        ">=" => (number, u64::MAX),
        _ => return Test::Unknown,
    };
    Test::Field {
        field,
        is: vec![Value::Numbers(low, high)],
        not: false,
    }
}

fn is_flags(left: &Json) -> bool {
    left["payload"]["protocol"] == "tcp" && left["payload"]["field"] == "flags"
}

fn flags(from: &Json) -> u8 {
    match from {
        Json::String(name) => flag_bits(name),
        Json::Number(number) => number.as_u64().unwrap_or(0) as u8,
        Json::Array(list) => list.iter().map(flags).fold(0, |all, one| all | one),
        Json::Object(object) => object.values().map(flags).fold(0, |all, one| all | one),
        _ => 0,
    }
}

fn field(left: &Json) -> Option<Field> {
    if let Some(payload) = left.get("payload") {
        return match (payload["protocol"].as_str()?, payload["field"].as_str()?) {
            ("arp", "saddr ip") => Some(Field::Source),
            ("arp", "daddr ip") => Some(Field::Destination),
            ("arp", "operation") => Some(Field::Operation),
            ("ip" | "ip6", "saddr") => Some(Field::Source),
            ("ip" | "ip6", "daddr") => Some(Field::Destination),
            ("ip", "protocol") | ("ip6", "nexthdr") => Some(Field::Protocol),
            ("tcp" | "udp" | "th", "dport") => Some(Field::DestinationPort),
            ("tcp" | "udp" | "th", "sport") => Some(Field::SourcePort),
            _ => None,
        };
    }
    if let Some(meta) = left.get("meta") {
        return match meta["key"].as_str()? {
            "l4proto" => Some(Field::Protocol),
            "nfproto" | "protocol" => Some(Field::Family),
            "iifname" | "iif" => Some(Field::Input),
            "oifname" | "oif" => Some(Field::Output),
            _ => None,
        };
    }
    if left["ct"]["key"] == "state" {
        return Some(Field::State);
    }
    let fib = left.get("fib")?;
    let by_destination = fib["flags"] == "daddr" || fib["flags"] == serde_json::json!(["daddr"]);
    (fib["result"] == "type" && by_destination).then_some(Field::DestinationType)
}

fn values(field: Field, right: &Json, sets: &Sets<'_>) -> Vec<Value> {
    match right {
        Json::String(name) if name.starts_with('@') => {
            let elements = sets.elements(name);
            elements
                .iter()
                .flat_map(|element| values(field, element, sets))
                .collect()
        }
        Json::String(text) => vec![value(field, text)],
        Json::Number(number) => {
            let number = number.as_u64().unwrap_or(0);
            vec![Value::Numbers(number, number)]
        }
        Json::Array(list) => list
            .iter()
            .flat_map(|one| values(field, one, sets))
            .collect(),
        Json::Object(object) => match object.iter().next() {
            Some((name, list)) if name == "set" => values(field, list, sets),
            Some((name, prefix)) if name == "prefix" => {
                let address = prefix["addr"].as_str().unwrap_or_default();
                vec![network(&format!("{address}/{}", prefix["len"]))]
            }
            Some((name, range)) if name == "range" => vec![span(&range[0], &range[1])],
            // An element with a timeout or a comment.
            Some((name, element)) if name == "elem" => values(field, &element["val"], sets),
            _ => vec![Value::Unknown],
        },
        _ => vec![Value::Unknown],
    }
}

fn span(low: &Json, high: &Json) -> Value {
    if let (Some(low), Some(high)) = (low.as_u64(), high.as_u64()) {
        return Value::Numbers(low, high);
    }
    let address = |json: &Json| json.as_str().and_then(|text| text.parse().ok());
    match (address(low), address(high)) {
        (Some(low), Some(high)) => Value::Addresses(low, high),
        _ => Value::Unknown,
    }
}

fn value(field: Field, text: &str) -> Value {
    match field {
        Field::Source | Field::Destination => network(text),
        Field::Protocol => match protocol_number(text) {
            Some(number) => Value::Numbers(number, number),
            None => Value::Unknown,
        },
        Field::Family => match text {
            "ipv4" | "ip" => Value::Numbers(4, 4),
            "ipv6" | "ip6" => Value::Numbers(6, 6),
            _ => Value::Unknown,
        },
        Field::SourcePort | Field::DestinationPort => match text.parse() {
            Ok(number) => Value::Numbers(number, number),
            Err(_) => Value::Unknown,
        },
        _ => Value::Word(text.to_owned()),
    }
}

/// Named sets and maps, by family, table and name.
struct Sets<'a> {
    named: &'a HashMap<(String, String, String), Vec<Json>>,
    family: &'a str,
    table: &'a str,
}

impl Sets<'_> {
    fn elements(&self, name: &str) -> Vec<Json> {
        let name = name.trim_start_matches('@').to_owned();
        let key = (self.family.to_owned(), self.table.to_owned(), name);
        self.named.get(&key).cloned().unwrap_or_default()
    }
}

fn named_sets(objects: &[Json]) -> HashMap<(String, String, String), Vec<Json>> {
    let found = objects
        .iter()
        .filter_map(|object| object.get("set").or_else(|| object.get("map")));
    found
        .map(|set| {
            let key = (word(set, "family"), word(set, "table"), word(set, "name"));
            (key, set["elem"].as_array().cloned().unwrap_or_default())
        })
        .collect()
}

/// The rules as people write them, by their handles, from `nft -a list ruleset`.
fn texts(text: &str) -> Texts {
    let (mut family, mut table, mut chain) = (String::new(), String::new(), String::new());
    let mut all = Texts::new();
    for line in text.lines() {
        let (said, handle) = match line.rsplit_once("# handle ") {
            Some((said, handle)) => (said.trim(), handle.trim().parse().ok()),
            None => (line.trim(), None),
        };
        let words: Vec<&str> = said.split_whitespace().collect();
        match words.as_slice() {
            ["table", of, name, "{"] => {
                (*of).clone_into(&mut family);
                (*name).clone_into(&mut table);
            }
            ["chain", name, "{"] => (*name).clone_into(&mut chain),
            _ => {
                if let Some(handle) = handle {
                    let key = (family.clone(), table.clone(), chain.clone(), handle);
                    all.insert(key, said.to_owned());
                }
            }
        }
    }
    all
}

fn word(object: &Json, name: &str) -> String {
    object[name].as_str().unwrap_or_default().to_owned()
}

fn words(json: &Json) -> Vec<String> {
    match json {
        Json::String(one) => vec![one.clone()],
        Json::Array(list) => list
            .iter()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}
