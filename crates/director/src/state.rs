//! States of a connection, and how packets move them.
//!
//! ```text
//! TCP    0 NONE ─SYN─► 3 SYN_RECV ─ACK─► 1 ESTABLISHED ─FIN─► 4 FIN_WAIT      RST ─► 6 CLOSE
//! UDP   11
//! SCTP  14 NONE ─INIT─► 15 INIT1 ─COOKIE ECHO─► 22 ESTABLISHED ─SHUTDOWN─► 24 S-RECEIVED     ABORT ─► 27
//! ```
//!
//! States, events and transitions are IPVS's input-only tables (`ip_vs_proto_tcp.c`, `ip_vs_proto_sctp.c`): in direct
//! routing the director sees the client's half only.

use crate::headers::protocol;
use crate::packet::Event;

/// State of a connection, numbered as in IPVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub u8);

impl State {
    /// No packet yet.
    pub const NONE: Self = Self(0);
    /// TCP, both ways as far as we see.
    pub const ESTABLISHED: Self = Self(1);
    /// TCP, half open.
    pub const SYN_RECV: Self = Self(3);
    /// TCP, the client is done sending.
    pub const FIN_WAIT: Self = Self(4);
    /// TCP, FIN while half open.
    pub const TIME_WAIT: Self = Self(5);
    /// TCP, reset or nonsense.
    pub const CLOSE: Self = Self(6);
    /// UDP has one state.
    pub const UDP: Self = Self(11);
    /// A persistence template, of which no connection was established yet.
    pub const TEMPLATE: Self = Self(12);
    /// A persistence template that a connection has proved.
    pub const ASSURED: Self = Self(13);

    /// SCTP, no packet yet. The other states of SCTP follow it in IPVS's order.
    pub const SCTP_NONE: Self = Self(14);
    /// SCTP, the client has begun.
    pub const SCTP_INIT1: Self = Self(15);
    /// SCTP, both ways as far as we see.
    pub const SCTP_ESTABLISHED: Self = Self(22);
    /// SCTP, at its end.
    pub const SCTP_CLOSED: Self = Self(27);

    /// Name, default timeout in seconds, and whether it counts as active, of every state.
    /// Source: `include/net/ip_vs.h`, `ip_vs_proto_tcp.c`, `ip_vs_proto_udp.c`, `ip_vs_proto_sctp.c`.
    pub const ALL: [(&'static str, u32, bool); 28] = [
        ("NONE", 2, false),
        ("ESTABLISHED", 900, true),
        ("SYN_SENT", 120, true),
        ("SYN_RECV", 60, true),
        ("FIN_WAIT", 120, false),
        ("TIME_WAIT", 120, false),
        ("CLOSE", 10, false),
        ("CLOSE_WAIT", 60, false),
        ("LAST_ACK", 30, false),
        ("LISTEN", 120, false),
        ("SYNACK", 120, true),
        ("UDP", 300, false),
        ("NONE", Self::NEVER_S, false),
        ("ASSURED", Self::NEVER_S, false),
        ("NONE", 2, false),
        ("INIT1", 4, false),
        ("INIT", 61, false),
        ("C-SENT", 61, false),
        ("C-REPLIED", 61, false),
        ("C-WAIT", 61, false),
        ("COOKIE", 61, false),
        ("C-ECHOED", 61, false),
        ("ESTABLISHED", 900, true),
        ("S-SENT", 61, false),
        ("S-RECEIVED", 61, false),
        ("S-ACK-SENT", 61, false),
        ("REJECTED", 4, false),
        ("CLOSED", 61, false),
    ];

    /// A year: the table of timeouts does not end templates.
    const NEVER_S: u32 = 31_536_000;

    /// As IPVS writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .get(usize::from(self.0))
            .map_or("?", |state| state.0)
    }

    /// Whether a connection in this state counts in ActiveConn.
    #[must_use]
    #[inline(always)]
    pub fn is_active(self) -> bool {
        const ACTIVE: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 10 | 1 << 22;
        ACTIVE >> self.0 & 1 != 0
    }

    /// Whether this is no connection but a template.
    #[must_use]
    #[inline(always)]
    pub fn is_template(self) -> bool {
        self.0 == Self::TEMPLATE.0 || self.0 == Self::ASSURED.0
    }

    /// Whether the connection is established, whatever its protocol.
    #[must_use]
    #[inline(always)]
    pub fn is_established(self) -> bool {
        self == Self::ESTABLISHED || self == Self::SCTP_ESTABLISHED
    }

    /// Whether a client that begins anew is given a new destination by `conn_reuse_mode` 1.
    #[must_use]
    #[inline(always)]
    pub fn is_over(self) -> bool {
        self == Self::TIME_WAIT || self == Self::CLOSE || self == Self::SCTP_CLOSED
    }

    /// The state of a connection that begins with this event.
    #[must_use]
    #[inline(always)]
    pub fn first(event: Event, protocol: u8) -> Self {
        if protocol == protocol::SCTP {
            Self::SCTP_NONE.after(event)
        } else {
            Self::NONE.after(event)
        }
    }

    /// The next state, by the input-only table.
    #[must_use]
    #[inline(always)]
    pub fn after(self, event: Event) -> Self {
        if self.0 >= Self::SCTP_NONE.0 {
            return self.after_chunk(event);
        }
        // One hexadecimal digit for each state, NONE lowest: a constant, where an array would be a
        // look-up in another map.
        let row: u64 = match event {
            Event::Syn => 0x333_3333_3113,
            Event::Fin => 0x598_7654_5246,
            Event::Ack => 0x196_7654_1211,
            Event::Rst => 0x698_6666_3666,
            Event::Bare => return Self::CLOSE,
            _ => return Self::UDP,
        };
        Self((row >> ((u32::from(self.0) * 4) & 63)) as u8 & 0xf)
    }

    /// The same for SCTP: one digit for each of its fourteen states.
    #[inline(always)]
    fn after_chunk(self, event: Event) -> Self {
        let row: u64 = match event {
            Event::Init => 0x22_ba98_7622_2221,
            Event::InitAck => 0xdc_ba98_7677_7777,
            Event::CookieEcho => 0xdc_ba98_7688_8888,
            Event::CookieAck => 0xdc_ba98_8858_8218,
            Event::Shutdown => 0xdc_ba9a_7654_321a,
            Event::ShutdownAck => 0xdc_dadd_7654_322d,
            Event::ShutdownComplete => 0xdc_dd98_765d_dddd,
            Event::Error => 0xdc_ba98_7654_321d,
            Event::Abort => 0xdd_dddd_ddcd_dddd,
            _ => 0xdc_ba98_7684_3218,
        };
        let number = u32::from(self.0 - Self::SCTP_NONE.0);
        Self((row >> ((number * 4) & 63)) as u8 & 0xf).sctp()
    }

    #[inline(always)]
    fn sctp(self) -> Self {
        Self(self.0 + Self::SCTP_NONE.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The input-only table of `ip_vs_proto_tcp.c`, as the reference prints it (§3.2).
    const PRINTED: [(Event, [&str; 11]); 4] = [
        (
            Event::Syn,
            [
                "SR", "ES", "ES", "SR", "SR", "SR", "SR", "SR", "SR", "SR", "SR",
            ],
        ),
        (
            Event::Fin,
            [
                "CL", "FW", "SS", "TW", "FW", "TW", "CL", "CW", "LA", "LI", "TW",
            ],
        ),
        (
            Event::Ack,
            [
                "ES", "ES", "SS", "ES", "FW", "TW", "CL", "CW", "CL", "LI", "ES",
            ],
        ),
        (
            Event::Rst,
            [
                "CL", "CL", "CL", "SR", "CL", "CL", "CL", "CL", "LA", "LI", "CL",
            ],
        ),
    ];
    const SHORT: [&str; 11] = [
        "NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA",
    ];

    #[test]
    fn tcp_states_move_as_in_the_input_only_table() {
        for (event, row) in PRINTED {
            for (state, want) in row.iter().enumerate() {
                let next = State(state as u8).after(event);
                assert_eq!(
                    SHORT[usize::from(next.0)],
                    *want,
                    "{} {event:?}",
                    SHORT[state]
                );
            }
        }
    }

    /// The input-only table of `ip_vs_proto_sctp.c`.
    const PRINTED_SCTP: [(Event, [&str; 14]); 10] = [
        (
            Event::Data,
            [
                "ES", "I1", "IN", "CS", "CR", "ES", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::Init,
            [
                "I1", "IN", "IN", "IN", "IN", "IN", "CO", "CE", "ES", "SS", "SR", "SA", "IN", "IN",
            ],
        ),
        (
            Event::InitAck,
            [
                "CE", "CE", "CE", "CE", "CE", "CE", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::CookieEcho,
            [
                "ES", "ES", "ES", "ES", "ES", "ES", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::CookieAck,
            [
                "ES", "I1", "IN", "ES", "ES", "CW", "ES", "ES", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::Shutdown,
            [
                "SR", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "SR", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::ShutdownAck,
            [
                "CL", "IN", "IN", "CS", "CR", "CW", "CO", "CE", "CL", "CL", "SR", "CL", "RJ", "CL",
            ],
        ),
        (
            Event::ShutdownComplete,
            [
                "CL", "CL", "CL", "CL", "CL", "CW", "CO", "CE", "ES", "SS", "CL", "CL", "RJ", "CL",
            ],
        ),
        (
            Event::Error,
            [
                "CL", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
            ],
        ),
        (
            Event::Abort,
            [
                "CL", "CL", "CL", "CL", "CL", "RJ", "CL", "CL", "CL", "CL", "CL", "CL", "CL", "CL",
            ],
        ),
    ];
    const SHORT_SCTP: [&str; 14] = [
        "NO", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL",
    ];

    #[test]
    fn sctp_states_move_as_in_the_input_only_table() {
        let number = |state: State| usize::from(state.0 - State::SCTP_NONE.0);
        for (event, row) in PRINTED_SCTP {
            for (state, want) in row.iter().enumerate() {
                let next = State(state as u8).sctp().after(event);
                let from = SHORT_SCTP[state];
                assert_eq!(SHORT_SCTP[number(next)], *want, "{from} {event:?}");
            }
        }
    }

    #[test]
    fn a_segment_without_flags_closes_and_a_datagram_is_udp() {
        assert_eq!(State::ESTABLISHED.after(Event::Bare), State::CLOSE);
        assert_eq!(State::NONE.after(Event::Datagram), State::UDP);
    }

    #[test]
    fn active_states_are_those_that_ipvs_counts() {
        for (number, (name, _, active)) in State::ALL.iter().enumerate() {
            assert_eq!(State(number as u8).is_active(), *active, "{name}");
        }
    }
}
