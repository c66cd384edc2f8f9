//! What holds for every text.

use dirigo_config::{Config, Source, schema};
use proptest::prelude::*;

const GOOD: &str = r#"[director]
interface = "eth0"
require_native = false
on_stop = "keep"
[connections]
max = 1048576
[timeouts]
tcp = 900
[vips]
manage = true
[defaults.service]
share = 50
[template.web]
scheduler = "wrr"
[[real_server]]
name = "rs1"
address = "192.168.188.111"
[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
template = "web"
real_servers = ["rs1"]
[[service.destination]]
address = "192.168.188.107"
weight = 1
[[service.destination]]
address = "192.168.188.110"
port = 80
"#;

/// Any text is read to the end, and every mistake is at a place that the text has.
fn check(text: &str) -> Result<(), TestCaseError> {
    let Err(mistakes) = Config::parse(text, "director.toml") else {
        return Ok(());
    };
    prop_assert!(!mistakes.list.is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    for mistake in &mistakes.list {
        let line = lines.get(mistake.line.wrapping_sub(1));
        let Some(line) = line else {
            return Err(TestCaseError::fail(format!("no such line: {mistake:?}")));
        };
        let columns = 1..=line.chars().count() + 1;
        prop_assert!(columns.contains(&mistake.column), "{:?}", mistake);
    }
    let places: Vec<_> = mistakes.list.iter().map(|m| (m.line, m.column)).collect();
    prop_assert!(places.is_sorted(), "{:?}", places);
    let printed = mistakes.to_string();
    prop_assert_eq!(printed.matches("director.toml:").count(), places.len());
    Ok(())
}

/// One piece of a file, of those that mean something or nearly.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<String> = GOOD
        .split_whitespace()
        .map(str::to_owned)
        .chain(schema::KEYS.map(|key| key.name.to_owned()))
        .chain(
            [
                "[",
                "]",
                "{",
                "}",
                "=",
                "\n",
                "\n",
                "\n",
                "\n[service]",
                ".",
                ",",
                "\"",
                "'''",
                "-1",
                "0",
                "1e9",
                "[]",
                "{}",
                "\"::1\"",
                "\"[fe80::1%3]:0\"",
                "#",
                "\\",
                "ß",
                "\r\n",
                "nan",
                "0xff",
                "99999999999999999999",
                "07:32:00",
            ]
            .map(str::to_owned),
        )
        .collect();
    proptest::sample::select(words)
}

/// Every mistake of several texts is at a place of the text that it names.
fn check_all(texts: &[String]) -> Result<(), TestCaseError> {
    let names: Vec<String> = (0..texts.len()).map(|number| format!("{number}")).collect();
    let sources: Vec<Source<'_>> = names
        .iter()
        .zip(texts)
        .map(|(name, text)| Source::new(name, text))
        .collect();
    let Err(mistakes) = Config::parse_all(&sources) else {
        return Ok(());
    };
    for mistake in &mistakes.list {
        let file: usize = mistake.file.parse().expect("one of the names");
        let line = texts[file].split('\n').nth(mistake.line - 1);
        let columns = line.map(|line| 1..=line.chars().count() + 1);
        prop_assert!(columns.is_some_and(|columns| columns.contains(&mistake.column)));
    }
    let files: Vec<_> = mistakes.list.iter().map(|mistake| &mistake.file).collect();
    prop_assert!(files.is_sorted(), "{:?}", files);
    Ok(())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_mistake_is_inside_the_file(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn no_heap_of_fragments_makes_it_panic(
        pieces in proptest::collection::vec(piece(), 0..60),
        separator in proptest::sample::select(vec![" ", "\n", ""]),
    ) {
        check(&pieces.join(separator))?;
    }

    #[test]
    fn no_edit_of_a_good_file_makes_it_panic(
        edits in proptest::collection::vec((0..GOOD.len(), 0usize..12, piece()), 1..6),
    ) {
        let mut text = GOOD.to_owned();
        for (at, length, piece) in edits {
            let from = text.floor_char_boundary(at);
            let to = text.floor_char_boundary((from + length).max(from));
            text.replace_range(from..to.max(from), &piece);
        }
        check(&text)?;
    }

    #[test]
    fn no_heap_of_files_makes_it_panic_and_every_mistake_names_its_own(
        files in proptest::collection::vec(proptest::collection::vec(piece(), 0..30), 1..5),
        separator in proptest::sample::select(vec![" ", "\n"]),
        with_good in any::<bool>(),
    ) {
        let mut texts: Vec<String> = files.iter().map(|pieces| pieces.join(separator)).collect();
        if with_good {
            texts.insert(texts.len() / 2, GOOD.to_owned());
        }
        check_all(&texts)?;
    }

    #[test]
    fn an_interface_name_that_is_taken_is_one_the_kernel_takes(name in "\\PC{0,20}") {
        if let Ok(name) = name.parse::<dirigo_config::InterfaceName>() {
            let name = name.as_str();
            prop_assert!((1..=15).contains(&name.len()));
            prop_assert!(!name.contains(['/', ':']) && !name.contains(char::is_whitespace));
        }
    }

    #[test]
    fn a_weight_is_taken_exactly_from_nought_to_two_to_the_thirty_one(value in any::<i64>()) {
        let taken = dirigo_config::Weight::try_from(value).ok().map(u32::from);
        prop_assert_eq!(taken, u32::try_from(value).ok().filter(|w| *w <= i32::MAX as u32));
    }
}
