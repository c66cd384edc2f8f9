//! Connection states as the reference prints them (ipvs §3.2, §3.3; `ip_vs_proto_tcp.c`,
//! `ip_vs_proto_sctp.c`): the input-only half, which is all that direct routing sees.

use crate::steps::{ACK, FIN, RST, SYN, TCP, UDP};

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

impl Machine {
    pub fn of(protocol: u8) -> &'static Self {
        match protocol {
            TCP => &TCP_MACHINE,
            UDP => &UDP_MACHINE,
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

/// Events of TCP by priority: RST, SYN, FIN, ACK, none of them.
pub fn event(protocol: u8, flags: u8) -> Event {
    if protocol != TCP {
        return 0;
    }
    let by_priority = [(RST, 3), (SYN, 0), (FIN, 1), (ACK, 2)];
    let first = by_priority.into_iter().find(|(flag, _)| flags & flag != 0);
    first.map_or(4, |(_, row)| row)
}
