//! Health checks of real servers.
//!
//! ```text
//! check    what can be asked                     path      to the virtual address, by the MAC
//! attempt  asks once: Outcome  ◄───────────────────┘
//! probe    one check over time: interval, rise, fall
//! service  weights, quorum, sorry server, slow start
//! state    all of them, pure: News               runner    the thread: clock, sockets, dice
//! ```
//!
//! By default a check takes the **true path**: to the virtual address, in frames for one real
//! server's MAC. It proves what a client needs: the address is there, the service listens on it,
//! the reply finds back, and the server is silent when the segment asks who has the address.
//!
//! What you may rely on: decisions are pure (`probe`, `service`, `state`: time and randomness are
//! arguments, changes are data), everything is bounded (`limits`), and every failure has a reason
//! that says what was found and what was expected.
//!
//! What never happens here: nothing of the host is changed (no route, rule, sysctl or address), no
//! table of the director is read or written, nothing is kept on disk.

#[cfg(feature = "run")]
pub mod attempt;
pub mod check;
pub mod limits;
#[cfg(feature = "run")]
pub mod path;
pub mod probe;
pub mod reason;
#[cfg(feature = "run")]
pub mod runner;
pub mod service;
pub mod state;
#[cfg(feature = "run")]
pub mod tally;
