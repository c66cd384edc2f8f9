//! `docs/config.md` says what the code does.

use dirigo_config::{Config, schema};

const PAGE: &str = include_str!("../../../docs/config.md");

/// The first fenced block of this language behind `mark`.
fn block(mark: &str, language: &str) -> &'static str {
    let (_, behind) = PAGE.split_once(mark).expect("the mark is on the page");
    let fence = format!("```{language}\n");
    let (_, inside) = behind.split_once(&fence).expect("a block follows the mark");
    inside.split_once("```").expect("the block ends").0
}

#[test]
fn every_key_is_documented() {
    for key in schema::KEYS {
        let as_key = format!("| `{}` |", key.name);
        let as_header = format!("### `{}`", key.example);
        assert!(
            PAGE.contains(&as_key) || PAGE.contains(&as_header),
            "{key:?}"
        );
    }
    for scheduler in dirigo_config::Scheduler::ALL {
        assert!(PAGE.contains(&format!("`\"{scheduler}\"`")), "{scheduler}");
    }
}

#[test]
fn the_examples_of_the_page_are_right_and_the_long_one_states_the_defaults() {
    let smallest = Config::parse(block("The smallest file", "toml"), "config.md").unwrap();
    let classic = Config::parse(block("The classic experiment", "toml"), "config.md").unwrap();
    assert_eq!(classic.services.len(), 1);
    let without_services = Config {
        services: Vec::new(),
        ..classic
    };
    assert_eq!(without_services, smallest);
}

#[test]
fn the_example_of_what_is_said_once_is_right() {
    let text = block("## Said once, used often", "toml");
    let config = Config::parse(text, "config.md").unwrap();
    let weights = config.services.iter().map(|service| {
        let destinations = service.destinations.iter();
        destinations.map(|one| one.weight.into()).collect()
    });
    let weights: Vec<Vec<u32>> = weights.collect();
    assert_eq!(weights, [[2, 1], [2, 1], [2, 5]]);
}

#[test]
fn the_mistakes_on_the_page_are_the_ones_that_are_printed() {
    let mistakes = Config::parse(block("<!-- mistakes:in -->", "toml"), "director.toml");
    let printed = mistakes.expect_err("the example is wrong").to_string();
    assert_eq!(printed, block("<!-- mistakes:out -->", "text").trim_end());
}

/// A check of each type with all its keys; that of type `http` has the name of the examples.
fn checks_of_examples() -> String {
    let mut text = String::new();
    for kind in dirigo_config::CHECK_TYPES {
        let name = if kind == "http" { "web" } else { kind };
        text += &format!("[[check]]\nname = \"{name}\"\ntype = \"{kind}\"\n");
        let keys = schema::KEYS.iter().filter(|key| {
            key.table == schema::Table::Check && !matches!(key.name, "name" | "type")
        });
        for key in keys.filter(|key| dirigo_config::check_takes(kind, key.name)) {
            // The services by mark have no rule with a single address, so nothing else can be asked.
            let is_to = key.name == "to";
            let value = if is_to { "\"own\"" } else { key.example };
            text += &format!("{} = {value}\n", key.name);
        }
    }
    text
}

/// Keys of which a service, or a destination, can have only one.
fn is_of_the_second_service(key: &schema::Key) -> bool {
    let of_service = key.table == schema::Table::Service;
    of_service && matches!(key.name, "mark" | "family" | "real_servers")
}

/// One who is told by a program, and one over HTTP.
fn notify_of_examples() -> String {
    let mut text = String::new();
    for others in [&["url", "token_file", "trust"][..], &["command", "user"]] {
        text += "[[notify]]\n";
        let keys = schema::KEYS.iter();
        for key in keys.filter(|key| key.table == schema::Table::Notify) {
            if !others.contains(&key.name) {
                text += &format!("{} = {}\n", key.name, key.example);
            }
        }
    }
    text
}

/// Tables that make the names in the examples known, and those whose keys are another's.
const REST: &str = r#"
[template.web]
scheduler = "wrr"

[defaults.service]
scheduler = "wrr"

[defaults.check]
interval = "2s"
"#;

/// A file of all the examples, but without the key `left_out`.
fn file_of_examples(left_out: &schema::Key) -> String {
    let mut text = String::new();
    let mut table = schema::Table::Root;
    for key in schema::KEYS {
        let is_for_later = matches!(
            key.table,
            schema::Table::Root
                | schema::Table::Check
                | schema::Table::Defaults
                | schema::Table::Notify
        );
        let is_either = key.table == schema::Table::Destination && key.name == "real_server";
        if is_for_later
            || is_either
            || key.name == "destination"
            || is_of_the_second_service(&key)
            || key == *left_out
        {
            continue;
        }
        if key.table != table {
            table = key.table;
            text += &format!("{table}\n");
        }
        // The same server, once by its address and once by its name, would be a mistake.
        let other = (table == schema::Table::RealServer && key.name == "address")
            .then_some("\"192.168.188.108\"");
        text += &format!("{} = {}\n", key.name, other.unwrap_or(key.example));
    }
    text += "[[service]]\n";
    for key in schema::KEYS
        .iter()
        .filter(|key| is_of_the_second_service(key))
    {
        text += &format!("{} = {}\n", key.name, key.example);
    }
    text + "[[service]]\nmark = 8\n[[service.destination]]\nreal_server = \"rs1\"\n"
        + REST
        + &checks_of_examples()
        + &notify_of_examples()
}

#[test]
fn the_examples_in_messages_are_right() {
    for name in ["interface", "interfaces"] {
        let one_of_two = schema::KEYS.iter().find(|key| key.name == name).unwrap();
        let text = file_of_examples(one_of_two);
        assert!(Config::parse(&text, "examples.toml").is_ok(), "{text}");
    }
}
