//! Any text as a service key: what is read is printed and read again as the same.
#![no_main]

use api::ServiceKey;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = text.parse::<ServiceKey>() {
        let again: ServiceKey = key.to_string().parse().expect("a printed key is a key");
        assert_eq!(again, key);
    }
});
