//! The packet path of Dirigo: one frame in, one [`Verdict`] out.
//!
//! What it is for: deciding, for every frame that reaches the director, whether it belongs to a
//! virtual service, which real server gets it, and readdressing it by direct routing.
//!
//! ```text
//! fast        known connections, foreign frames: decided; all others go on, untouched
//! packet      read headers             else Drop(Malformed…) or Pass(Icmp, UnsupportedProtocol, …)
//! vip         one of our addresses?    else Pass(NotAVirtualAddress): ssh, ARP, routing live on
//! fragment    a later fragment?        goes where its first one went
//! icmp        about a connection?      goes where the connection goes
//! connection  known flow?              its destination, next state, new deadline
//! mark        a firewall mark?         its service, before any other
//! service     a virtual service?       else Pass(NotAService | NoConnection)
//! persistence known client network?    the template's destination
//! scheduler   new                      a destination, or Reply(PortUnreachable)
//! rewrite     direct routing           MACs and TTL change; addresses, ports, payload do not
//! verdict     one verdict, one counter
//! ```
//!
//! What you may rely on: the same source is compiled into the XDP program and into tests,
//! fuzzers and `explain`; given equal tables and time, both give equal verdicts and bytes.
//!
//! What it never does: allocate, panic, read a clock, use `unsafe`, or touch a frame that it passes
//! to the host.

#![cfg_attr(not(any(test, feature = "memory")), no_std)]
#![forbid(unsafe_code)]

pub mod address;
pub mod arrival;
pub mod connection;
pub mod ethernet;
pub mod fragment;
pub mod frame;
pub mod headers;
pub mod icmp;
pub mod limits;
pub mod mark;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod packet;
pub mod persistence;
pub mod reply;
pub mod rewrite;
pub mod scheduler;
pub mod state;
pub mod tables;
pub mod time;
pub mod trace;
pub mod verdict;

mod fast;
mod forward;

pub use fast::{fast, fast_v6};
pub use forward::{Next, answer, begin, forward, go_on, whole};
pub use frame::Frame;
pub use tables::Tables;
pub use time::Instant;
pub use verdict::{Counter, DropReason, PassReason, ReplyReason, Verdict};
