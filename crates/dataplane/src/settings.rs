//! The settings' element: written once when the maps are made, edited in single words after that.

use std::io::Read;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use director::connection::State;
use director::memory::default_timeouts;
use director::tables::{LAYOUT, Settings};
use director::time::ticks_from_seconds;

use crate::map::Words;

/// Writes fresh settings: random keys, IPVS's timeouts. The layout goes last: it says that the rest is there.
pub(crate) fn initialise(words: &Words, buckets: usize) {
    let mut hash_keys = random_keys();
    for key in &mut hash_keys[4..] {
        *key |= 1;
    }
    let bucket_mask = buckets as u32 - 1;
    let mut settings = Settings {
        hash_keys,
        bucket_mask,
        layout: 0,
        timeouts: default_timeouts(),
    };
    words.write(0, &settings);
    settings.layout = LAYOUT;
    words.write(0, &settings);
}

/// Sixty-four bytes of the kernel's randomness. An attacker who knew the keys could fill one bucket.
fn random_keys() -> [u64; 8] {
    let mut bytes = [0; 64];
    if let Ok(mut source) = std::fs::File::open("/dev/urandom") {
        // A failed read leaves zeros, which work; they are only guessable.
        let _ = source.read_exact(&mut bytes);
    }
    let mut keys = [0; 8];
    for (key, chunk) in keys.iter_mut().zip(bytes.chunks(8)) {
        *key = chunk
            .iter()
            .fold(0, |key, byte| key << 8 | u64::from(*byte));
    }
    keys
}

/// Writes the three timeouts that can be set.
pub(crate) fn write_timeouts(words: &Words, tcp_s: u32, tcpfin_s: u32, udp_s: u32) {
    let changes = [
        (State::ESTABLISHED, tcp_s),
        (State::FIN_WAIT, tcpfin_s),
        (State::UDP, udp_s),
    ];
    for (state, seconds) in changes {
        let byte = offset_of!(Settings, timeouts) + usize::from(state.0) * 4;
        let word = words.word_at(0, byte / 8);
        let shift = byte % 8 * 8;
        let value = u64::from(ticks_from_seconds(seconds)) << shift;
        let mask = 0xffff_ffffu64 << shift;
        word.store(
            word.load(Ordering::Acquire) & !mask | value,
            Ordering::Release,
        );
    }
}
