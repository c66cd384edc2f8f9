//! Any text as a configuration, in several files where form feeds part it: a `Config`, or mistakes that can be printed; never a panic.
#![no_main]

use config::{Config, Source};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let sources: Vec<Source<'_>> = text
        .split('\u{c}')
        .map(|text| Source::new("fuzz.toml", text))
        .collect();
    match Config::parse_all(&sources) {
        Ok(config) => assert!(config.changes().count() >= config.services.len()),
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
});
