//! The settings' element: written once when the maps are made, edited in single words after that.

use std::io::Read;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use director::connection::State;
use director::memory::{LOCALITY_EXPIRATION_S, default_timeouts};
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
        marks: 0,
        lblc_expiration: ticks_from_seconds(LOCALITY_EXPIRATION_S),
        lblcr_expiration: ticks_from_seconds(LOCALITY_EXPIRATION_S),
        reserved: 0,
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
        write_half(words, byte, ticks_from_seconds(seconds));
    }
}

/// Writes which rules of firewall marks count: one word, so that all change at once.
pub(crate) fn write_marks(words: &Words, first: u32, count: u32) {
    write_half(words, offset_of!(Settings, marks), first << 16 | count);
}

/// Writes 32 bits at a byte of the settings.
fn write_half(words: &Words, byte: usize, value: u32) {
    let word = words.word_at(0, byte / 8);
    let shift = byte % 8 * 8;
    let mask = 0xffff_ffffu64 << shift;
    let kept = word.load(Ordering::Acquire) & !mask;
    word.store(kept | u64::from(value) << shift, Ordering::Release);
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
    /// SCTP associations begin with any packet but ABORT.
    pub sloppy_sctp: bool,
    /// 0 keeps the destination when a client begins anew on the same ports, 1 chooses again in TIME_WAIT
    /// and CLOSE, 2 in FIN_WAIT as well.
    pub conn_reuse_mode: u32,
    /// How long `lblc` remembers an address that nobody uses, in seconds.
    pub lblc_expiration_s: u32,
    /// The same for `lblcr`, and how long an unchanged set keeps its most loaded member.
    pub lblcr_expiration_s: u32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            sloppy_tcp: false,
            sloppy_sctp: false,
            conn_reuse_mode: 1,
            lblc_expiration_s: LOCALITY_EXPIRATION_S,
            lblcr_expiration_s: LOCALITY_EXPIRATION_S,
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
        | flag(behaviour.sloppy_tcp, setting::SLOPPY_TCP)
        | flag(behaviour.sloppy_sctp, setting::SLOPPY_SCTP);
    let word = u64::from(behaviour.conn_reuse_mode) << 32 | u64::from(flags);
    let part = offset_of!(Settings, flags) / 8;
    words.word_at(0, part).store(word, Ordering::Release);
    let expirations = [
        (
            offset_of!(Settings, lblc_expiration),
            behaviour.lblc_expiration_s,
        ),
        (
            offset_of!(Settings, lblcr_expiration),
            behaviour.lblcr_expiration_s,
        ),
    ];
    for (byte, seconds) in expirations {
        write_half(words, byte, ticks_from_seconds(seconds));
    }
}
