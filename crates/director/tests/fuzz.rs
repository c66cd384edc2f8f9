//! What the fuzzer of the packet path found, and what it started from, replayed.
//!
//! A crash becomes a file in `fuzz/regressions/packet/` with a name that says what it was.
#![allow(clippy::unwrap_used)]

extern crate dirigo_director as director;

#[path = "../../../fuzz/src/packet.rs"]
mod packet;

#[test]
fn every_input_that_was_worth_keeping_holds_the_laws() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut replayed = 0;
    for folder in ["seeds/packet", "regressions/packet"] {
        for entry in std::fs::read_dir(fuzz.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            eprintln!("{}", path.display());
            packet::run(&std::fs::read(path).unwrap());
            replayed += 1;
        }
    }
    assert!(replayed > 0, "no input in {}", fuzz.display());
}
