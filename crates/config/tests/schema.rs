//! `docs/dirigo.schema.json`, which editors read, says what the code does.
//!
//! It is made here: keys from `schema::KEYS`, ranges from `limits`, sentences from `docs/config.md`. After a
//! change of any of them: `DIRIGO_WRITE_SCHEMA=1 cargo test -p dirigo-config --test schema`.
//!
//! An independent validator (python3-jsonschema) then says which files it takes.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dirigo_config::schema::{self, Key, Table};
use dirigo_config::{CHECK_TYPES, Config, Scheduler, limits};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/config.md");

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The schema as it should be.
fn made() -> Value {
    let mut definitions = serde_json::Map::new();
    for table in tables() {
        definitions.insert(name(table), object(table));
    }
    let Value::Object(mut root) = object(Table::Root) else {
        unreachable!("a table is an object");
    };
    root.insert(
        "$schema".to_owned(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    root.insert(
        "title".to_owned(),
        json!("Dirigo, the LVS director: dirigo.toml and conf.d/*.toml"),
    );
    root.insert("definitions".to_owned(), definitions.into());
    Value::Object(root)
}

/// Every table but the file itself.
fn tables() -> Vec<Table> {
    let mut tables = vec![
        Table::Template,
        Table::DefaultsOfServices,
        Table::DefaultsOfChecks,
    ];
    for key in schema::KEYS {
        if key.table != Table::Root && !tables.contains(&key.table) {
            tables.push(key.table);
        }
    }
    tables
}

fn name(table: Table) -> String {
    let header = table.to_string();
    header.trim_matches(['[', ']']).to_lowercase()
}

fn reference(table: Table) -> Value {
    json!({ "$ref": format!("#/definitions/{}", name(table)) })
}

/// A table with the keys that it has, and those that it must have.
fn object(table: Table) -> Value {
    let source = match table {
        Table::Template | Table::DefaultsOfServices => Table::Service,
        Table::DefaultsOfChecks => Table::Check,
        table => table,
    };
    let mut properties = serde_json::Map::new();
    for word in schema::keys_of(table) {
        let mut keys = schema::KEYS.iter();
        let key = keys
            .find(|key| key.table == source && key.name == word)
            .unwrap();
        let mut property = value(key);
        if let Some(meaning) = meaning(key)
            && let Value::Object(property) = &mut property
        {
            property.insert("description".to_owned(), json!(meaning));
        }
        properties.insert(word.to_owned(), property);
    }
    let mut object = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    let either = |a: &str, b: &str| json!([{ "required": [a] }, { "required": [b] }]);
    match table {
        Table::Director => object["oneOf"] = either("interface", "interfaces"),
        Table::Service => object["oneOf"] = either("address", "mark"),
        Table::Destination => object["oneOf"] = either("address", "real_server"),
        Table::RealServer => object["required"] = json!(["name", "address"]),
        Table::Check => object["required"] = json!(["name", "type"]),
        Table::Mark => object["required"] = json!(["mark", "addresses"]),
        _ => {}
    }
    object
}

/// What a key takes: by its example, and more narrowly where more is known.
fn value(key: &Key) -> Value {
    let number = |range: &RangeInclusive<i64>| json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
    let words = |words: &[&str]| json!({ "enum": words });
    let time = json!({ "type": "string", "pattern": "^[0-9]+ *(ms|s|m)$" });
    let header = |table: &Table| table.to_string() == key.example;
    match (key.table, key.name) {
        (Table::Root, "template") => {
            return json!({ "type": "object", "additionalProperties": reference(Table::Template) });
        }
        (Table::Root, "defaults") => return reference(Table::Defaults),
        (_, "scheduler") => return words(&Scheduler::ALL.map(Scheduler::name)),
        (Table::Check, "type") => return words(&CHECK_TYPES),
        (_, "protocol") => return words(&["tcp", "udp", "sctp"]),
        (_, "family") => return words(&["ipv4", "ipv6"]),
        (_, "on_stop") => return words(&["keep", "release"]),
        (_, "forwarding") => return words(&["direct-routing"]),
        (Table::Check, "to") => return words(&["vip", "own"]),
        (_, "record") => return words(&["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"]),
        (Table::Connections, "max") => return number(&limits::CONNECTIONS),
        (Table::Timeouts, _) | (_, "persistence" | "lblc_expiration" | "lblcr_expiration") => {
            return number(&limits::TIMEOUT_S);
        }
        (_, "conn_reuse_mode") => return number(&limits::CONN_REUSE_MODE),
        (_, "weight" | "upper_threshold" | "lower_threshold") => return number(&limits::WEIGHT),
        (_, "share") => return number(&limits::SHARE),
        (_, "mark") if key.example.parse::<i64>().is_ok() => return number(&limits::MARK),
        (_, "port") => return number(&(1..=65_535)),
        (_, "quorum" | "hysteresis") => return number(&(0..=i64::from(u32::MAX))),
        (Table::Check, "jitter") => return number(&(0..=100)),
        (Table::Check, "rise" | "fall") => return number(&(1..=100)),
        (Table::Check, "days_left") => return number(&(1..=3650)),
        (Table::Check, "interval" | "fast_interval" | "timeout") | (_, "slow_start") => {
            return time;
        }
        (_, "digest") => return json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{32}$" }),
        _ => {}
    }
    match tables().into_iter().find(header) {
        Some(table) if key.example.starts_with("[[") => {
            return json!({ "type": "array", "items": reference(table) });
        }
        Some(table) => return reference(table),
        None => {}
    }
    let example: toml::Table = format!("example = {}", key.example).parse().unwrap();
    match &example["example"] {
        toml::Value::Boolean(_) => json!({ "type": "boolean" }),
        toml::Value::Integer(_) => json!({ "type": "integer" }),
        toml::Value::Array(_) => json!({ "type": "array", "items": { "type": "string" } }),
        _ => json!({ "type": "string" }),
    }
}

/// The last column of the key's row on the page, without its markup.
fn meaning(key: &Key) -> Option<String> {
    let header = format!("### `{}`", key.table);
    let (_, section) = PAGE.split_once(&header)?;
    let section = section.split("\n### ").next()?;
    let row = section
        .lines()
        .find(|line| line.starts_with(&format!("| `{}` |", key.name)))?;
    let meaning = row.trim_end_matches('|').rsplit(" | ").next()?.trim();
    let links = regex::Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
    let text = links.replace_all(meaning, "$1").replace('`', "");
    (!text.is_empty()).then_some(text)
}

#[test]
fn the_schema_is_what_the_keys_say() {
    let path = docs().join("dirigo.schema.json");
    let wanted = format!("{}\n", serde_json::to_string_pretty(&made()).unwrap());
    if std::env::var_os("DIRIGO_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/dirigo.schema.json is not what the keys say: run DIRIGO_WRITE_SCHEMA=1 cargo test -p dirigo-config --test schema"
    );
}

#[test]
fn every_key_is_in_the_schema_at_its_place() {
    let schema = made();
    for key in schema::KEYS {
        let object = match key.table {
            Table::Root => &schema,
            table => &schema["definitions"][name(table)],
        };
        assert!(object["properties"][key.name].is_object(), "{key:?}");
    }
}

/// All files of the folder and those below, by name.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            all.insert(
                path.display().to_string(),
                std::fs::read_to_string(&path).unwrap(),
            );
        }
    }
    all
}

/// The TOML blocks of `docs/config.md` that are whole files.
fn blocks() -> BTreeMap<String, String> {
    let blocks = PAGE.split("```toml\n").skip(1).enumerate();
    let text = |(number, rest): (usize, &str)| {
        let text = rest.split("```").next().unwrap();
        (format!("config.md, block {}", number + 1), text.to_owned())
    };
    blocks.map(text).collect()
}

/// Wrong files of `tests/wrong` that an editor can know to be wrong.
const WRONG: [&str; 13] = [
    "a_forwarding_method_other_than_direct_routing",
    "an_unknown_protocol",
    "an_unknown_scheduler",
    "interface_and_interfaces",
    "keys_in_the_wrong_table",
    "keys_misspelt",
    "keys_unknown",
    "mistakes_of_every_kind_at_once",
    "numbers_out_of_range",
    "scalars_where_tables_are_due",
    "single_brackets_where_two_are_due",
    "two_brackets_where_single_ones_are_due",
    "values_of_the_wrong_type",
];

/// Reads `{schema, files}`, prints for each file its name and whether the schema takes it.
const VALIDATOR: &str = r#"
import json, sys, jsonschema
given = json.load(sys.stdin)
jsonschema.Draft7Validator.check_schema(given["schema"])
validator = jsonschema.Draft7Validator(given["schema"])
print(json.dumps({name: [error.message for error in validator.iter_errors(file)] for name, file in given["files"].items()}))
"#;

/// What the validator says about each file; `None` where it is not installed.
fn complaints(files: &BTreeMap<String, Value>) -> Option<BTreeMap<String, Vec<String>>> {
    let probe = Command::new("python3")
        .args(["-c", "import jsonschema"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "python3-jsonschema is missing: install it"
        );
        eprintln!("skipped: needs python3-jsonschema");
        return None;
    }
    let mut child = Command::new("python3")
        .args(["-c", VALIDATOR])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let given = json!({ "schema": made(), "files": files });
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(given.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the validator failed");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn as_json(name: &str, text: &str) -> Value {
    let table: toml::Table = text
        .parse()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::to_value(table).unwrap()
}

#[test]
fn every_example_is_right_and_an_editor_takes_the_examples_and_not_the_wrong_ones() {
    let examples = files(&docs().join("examples"));
    assert!(examples.len() >= 6, "{:?}", examples.keys());
    for name in examples.keys().filter(|name| !name.contains("conf.d")) {
        if let Err(error) = Config::load(Path::new(name)) {
            panic!("{error}");
        }
    }
    let mut given = BTreeMap::new();
    for (name, text) in examples.iter().chain(&blocks()) {
        given.insert(name.clone(), as_json(name, text));
    }
    for name in WRONG {
        let path = format!("{}/tests/wrong/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        given.insert(name.to_owned(), as_json(name, &text));
    }
    let Some(complaints) = complaints(&given) else {
        return;
    };
    for (name, said) in &complaints {
        // The page shows one file that is wrong, on purpose.
        let text = blocks().get(name).cloned().unwrap_or_default();
        let is_wrong = WRONG.contains(&name.as_str())
            || Config::parse(&text, name).is_err() && name.starts_with("config.md");
        assert_eq!(!said.is_empty(), is_wrong, "{name}: {said:?}");
    }
}

#[test]
fn the_edges_of_the_ranges_in_the_schema_are_those_of_the_parser() {
    let schema = made();
    let cases = [
        ("connections", "max", "[connections]\nmax = {}\n"),
        ("timeouts", "tcp", "[timeouts]\ntcp = {}\n"),
        (
            "settings",
            "conn_reuse_mode",
            "[settings]\nconn_reuse_mode = {}\n",
        ),
        (
            "service",
            "persistence",
            "[[service]]\nmark = 1\npersistence = {}\n",
        ),
        ("service", "share", "[[service]]\nmark = 1\nshare = {}\n"),
        ("service", "mark", "[[service]]\nmark = {}\n"),
        (
            "real_server",
            "weight",
            "[[real_server]]\nname = \"a\"\naddress = \"192.0.2.1\"\nweight = {}\n",
        ),
        (
            "check",
            "jitter",
            "[[check]]\nname = \"a\"\ntype = \"tcp\"\njitter = {}\n",
        ),
        (
            "check",
            "rise",
            "[[check]]\nname = \"a\"\ntype = \"tcp\"\nrise = {}\n",
        ),
        (
            "check",
            "port",
            "[[check]]\nname = \"a\"\ntype = \"tcp\"\nport = {}\n",
        ),
        (
            "check",
            "days_left",
            "[[check]]\nname = \"a\"\ntype = \"https\"\ndays_left = {}\n",
        ),
    ];
    for (table, key, text) in cases {
        let property = &schema["definitions"][table]["properties"][key];
        let (min, max) = (
            property["minimum"].as_i64().unwrap(),
            property["maximum"].as_i64().unwrap(),
        );
        for (value, is_right) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
            let text = format!(
                "[director]\ninterface = \"eth0\"\n{}",
                text.replace("{}", &value.to_string())
            );
            assert_eq!(
                Config::parse(&text, "edge").is_ok(),
                is_right,
                "{table}.{key} = {value}"
            );
        }
    }
}
