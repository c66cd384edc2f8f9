//! Frames in a row through the packet path, in a world that the first byte chooses.
#![no_main]

#[path = "../src/packet.rs"]
mod packet;

libfuzzer_sys::fuzz_target!(|data: &[u8]| packet::run(data));
