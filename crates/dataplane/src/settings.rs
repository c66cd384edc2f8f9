//! The settings' element: written once when the maps are made, edited in single words after that.

use std::io::Read;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use director::connection::State;
use director::memory::default_timeouts;
use director::tables::{LAYOUT, Settings, setting};
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
        flags: 0,
        conn_reuse_mode: Behaviour::default().conn_reuse_mode,
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

/// Connection behaviour, named and by default as IPVS's settings of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// A packet of a connection whose destination was deleted ends it, and may begin another.
    pub expire_nodest_conn: bool,
    /// A persistence template of a drained destination is not honoured.
    pub expire_quiescent_template: bool,
    /// TCP connections begin with any segment but RST.
    pub sloppy_tcp: bool,
    /// 0 keeps the destination when a client begins anew on the same ports, 1 chooses again in TIME_WAIT
    /// and CLOSE, 2 in FIN_WAIT as well.
    pub conn_reuse_mode: u32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            sloppy_tcp: false,
            conn_reuse_mode: 1,
        }
    }
}

/// Writes flags and mode, which are one word: the program sees both or neither.
pub(crate) fn write_behaviour(words: &Words, behaviour: &Behaviour) {
    const _: () = assert!(offset_of!(Settings, flags) % 8 == 0);
    const _: () = assert!(offset_of!(Settings, conn_reuse_mode) == offset_of!(Settings, flags) + 4);
    let flag = |is_on: bool, flag: u32| if is_on { flag } else { 0 };
    let flags = flag(behaviour.expire_nodest_conn, setting::EXPIRE_NODEST_CONN)
        | flag(
            behaviour.expire_quiescent_template,
            setting::EXPIRE_QUIESCENT_TEMPLATE,
        )
        | flag(behaviour.sloppy_tcp, setting::SLOPPY_TCP);
    let word = u64::from(behaviour.conn_reuse_mode) << 32 | u64::from(flags);
    let part = offset_of!(Settings, flags) / 8;
    words.word_at(0, part).store(word, Ordering::Release);
}
