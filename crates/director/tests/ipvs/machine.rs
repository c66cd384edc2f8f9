//! Connection states as the reference prints them (ipvs §3.2, §3.3; `ip_vs_proto_tcp.c`,
//! `ip_vs_proto_sctp.c`): the input-only half, which is all that direct routing sees.

use crate::steps::{ACK, Chunks, FIN, RST, SCTP, SYN, TCP, UDP};

/// States of a protocol and what an event makes of each.
pub struct Machine {
    /// Name, short name in the rows, default timeout in seconds, whether active.
    states: &'static [(&'static str, &'static str, u32, bool)],
    /// For each event the next states, in the order of `states`.
    rows: &'static [&'static str],
}

/// A state: its place in its machine.
pub type State = usize;
/// An event: its row.
pub type Event = usize;

/// All begin here.
pub const NONE: State = 0;

static TCP_MACHINE: Machine = Machine {
    states: &[
        ("NONE", "NO", 2, false),
        ("ESTABLISHED", "ES", 900, true),
        ("SYN_SENT", "SS", 120, true),
        ("SYN_RECV", "SR", 60, true),
        ("FIN_WAIT", "FW", 120, false),
        ("TIME_WAIT", "TW", 120, false),
        ("CLOSE", "CL", 10, false),
        ("CLOSE_WAIT", "CW", 60, false),
        ("LAST_ACK", "LA", 30, false),
        ("LISTEN", "LI", 120, false),
        ("SYNACK", "SA", 120, true),
    ],
    rows: &[
        "SR ES ES SR SR SR SR SR SR SR SR",
        "CL FW SS TW FW TW CL CW LA LI TW",
        "ES ES SS ES FW TW CL CW CL LI ES",
        "CL CL CL SR CL CL CL CL LA LI CL",
        "CL CL CL CL CL CL CL CL CL CL CL",
    ],
};

static UDP_MACHINE: Machine = Machine {
    states: &[("NONE", "NO", 2, false), ("UDP", "UD", 300, false)],
    rows: &["UD UD"],
};

static SCTP_MACHINE: Machine = Machine {
    states: &[
        ("NONE", "NO", 2, false),
        ("INIT1", "I1", 4, false),
        ("INIT", "IN", 61, false),
        ("C-SENT", "CS", 61, false),
        ("C-REPLIED", "CR", 61, false),
        ("C-WAIT", "CW", 61, false),
        ("COOKIE", "CO", 61, false),
        ("C-ECHOED", "CE", 61, false),
        ("ESTABLISHED", "ES", 900, true),
        ("S-SENT", "SS", 61, false),
        ("S-RECEIVED", "SR", 61, false),
        ("S-ACK-SENT", "SA", 61, false),
        ("REJECTED", "RJ", 4, false),
        ("CLOSED", "CL", 61, false),
    ],
    // DATA and its like, INIT, INIT-ACK, COOKIE-ECHO, COOKIE-ACK, SHUTDOWN, its ACK, its COMPLETE, ERROR, ABORT.
    rows: &[
        "ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL",
        "I1 IN IN IN IN IN CO CE ES SS SR SA IN IN",
        "CE CE CE CE CE CE CO CE ES SS SR SA RJ CL",
        "ES ES ES ES ES ES CO CE ES SS SR SA RJ CL",
        "ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL",
        "SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL",
        "CL IN IN CS CR CW CO CE CL CL SR CL RJ CL",
        "CL CL CL CL CL CW CO CE ES SS CL CL RJ CL",
        "CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL",
        "CL CL CL CL CL RJ CL CL CL CL CL CL CL CL",
    ],
};

impl Machine {
    pub fn of(protocol: u8) -> &'static Self {
        match protocol {
            TCP => &TCP_MACHINE,
            UDP => &UDP_MACHINE,
            SCTP => &SCTP_MACHINE,
            other => panic!("protocol {other} has no states"),
        }
    }

    pub fn after(&self, state: State, event: Event) -> State {
        let next = self.rows[event].split(' ').nth(state).unwrap();
        self.states
            .iter()
            .position(|(_, short, ..)| *short == next)
            .unwrap()
    }

    pub fn name(&self, state: State) -> &'static str {
        self.states[state].0
    }

    pub fn timeout_s(&self, state: State) -> u32 {
        self.states[state].2
    }

    pub fn is_active(&self, state: State) -> bool {
        self.states[state].3
    }

    pub fn is(&self, state: State, names: &[&str]) -> bool {
        names.contains(&self.name(state))
    }
}

/// The event that a packet is.
pub fn event(protocol: u8, flags: u8) -> Event {
    match protocol {
        TCP => of_flags(flags),
        SCTP => of_chunks(Chunks::of(flags)),
        _ => 0,
    }
}

/// By priority: RST, SYN, FIN, ACK, none of them.
fn of_flags(flags: u8) -> Event {
    let by_priority = [(RST, 3), (SYN, 0), (FIN, 1), (ACK, 2)];
    let first = by_priority.into_iter().find(|(flag, _)| flags & flag != 0);
    first.map_or(4, |(_, row)| row)
}

/// By the first chunk's type (RFC 9260 §3.2); an ABORT counts that comes behind a cookie.
fn of_chunks(chunks: Chunks) -> Event {
    match chunks.first {
        _ if is_abort(chunks) => 9,
        1 => 1,
        2 => 2,
        10 => 3,
        11 => 4,
        7 => 5,
        8 => 6,
        14 => 7,
        9 => 8,
        _ => 0,
    }
}

/// Whether they end it all.
pub fn is_abort(chunks: Chunks) -> bool {
    chunks.first == 6 || (matches!(chunks.first, 10 | 11) && chunks.then_aborts)
}
