//! The data plane as the kernel runs it, and as this process runs it: the two must agree.
//!
//! ```text
//! cases/   the golden table ─┬─► Native (director over memory)     verdict, frame, counters, tables
//!                            └─► Pair ─┬─► Kernel (test run) ──┐
//! random   frames and changes ──►      └─► Native ─────────────┴─► equal?
//! stories  connection rules ─────►
//! schedulers  histories ► control ►    and whom IPVS's model would choose
//!
//! restart, concurrency, hammer, expiry, explain, agree, trace, room, share, budgets    the loaded instance alone
//! ```
//!
//! What you may rely on: frames that come and frames that are expected are built by etherparse, so that
//! one mistake cannot hide on both sides; tables are compared slot by slot, because both halves use
//! the same hash keys. Every instance has pins of its own, which go with the test.
//!
//! What it never does: attach to an interface. No frame leaves.
#![allow(clippy::unwrap_used)]

mod agree;
mod budgets;
mod case;
mod cases;
mod concurrency;
#[path = "../../../director/tests/ipvs/control.rs"]
mod control;
mod dice;
mod expiry;
mod explain;
mod golden;
mod hammer;
mod history;
mod kernel;
mod native;
mod packet;
mod pair;
mod plan;
mod random;
mod restart;
mod room;
mod schedulers;
mod share;
#[path = "../../../director/tests/ipvs/steps.rs"]
mod steps;
mod stories;
mod support;
mod sweep;
mod trace;
mod world;
