//! The classic LVS direct routing experiment, on one machine.
//!
//! ```text
//!            client .111 ──┐             ┌── rs1 .107   VIP on lo, quiet
//!                          ├── switch ───┤
//!  VIP .120, director .108 ┘             └── rs2 .110   VIP on lo, quiet
//! ```
//!
//! | part | is |
//! | --- | --- |
//! | [`Net`] | the segment: namespaces, links, commands and sockets on each host |
//! | [`Lab`] | a segment with real servers, pages, a real director and captures |
//! | [`experiment`] | the six steps and the [`Report`] they fill |
//! | [`State`] | what stands on the machine, and how it goes away |
//!
//! What you may rely on: labs do not disturb each other or the machine; what a report says was seen
//! in captured frames and in the kernel's tables, not computed; everything goes away when a lab is
//! dropped, in failure and panic too.
//!
//! What never happens here: no forwarding, no balancing. The director is the binary, and the lab
//! reads frames with a parser of its own. Of the data plane it uses one thing: the program that
//! passes everything ([`flush`]).

pub mod experiment;
pub mod flush;
pub mod frame;
pub mod http;
pub mod interrupt;
pub mod limits;
pub mod page;
pub mod process;
pub mod realserver;
pub mod report;
pub mod text;
pub mod topology;

mod capture;
mod director;
mod error;
mod lab;
mod net;
mod state;

pub use capture::{Capture, Mark, Point, Seen};
pub use director::Director;
pub use error::Error;
pub use interrupt::Interrupt;
pub use lab::{Lab, owner};
pub use net::{Net, Options};
pub use report::Report;
pub use state::{State, sweep};
pub use topology::{Family, Host};

/// Says a line on stderr. If nobody listens any more, that is no reason to stop, still less to
/// panic while cleaning up, as `eprintln!` would.
pub fn say(line: &str) {
    use std::io::Write as _;
    let _heard = writeln!(std::io::stderr(), "lab: {line}");
}
