//! Any text as a configuration: a `Config`, or mistakes that can be printed; never a panic.
#![no_main]

use config::Config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Config::parse(text, "fuzz.toml") {
        Ok(config) => assert!(config.changes().count() >= config.services.len()),
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
});
