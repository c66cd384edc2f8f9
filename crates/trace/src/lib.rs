//! Frames as people read them.
//!
//! ```text
//! bytes ─► Frame                     who to whom, by which hop, and what it is
//! api::TraceFrame ─► line, pcapng    what the director decided
//! captures ─► Ladder                 one connection over all hosts that were captured on
//! ```
//!
//! What you may rely on: bytes of any kind become a [`Frame`] or nothing, never a panic; a capture that cannot be
//! read says where it cannot.
//!
//! What it never does: open a socket, or decide anything about a packet.

mod captures;
mod frame;
mod ladder;
mod line;
mod pcapng;

pub use captures::{Capture, CaptureError, Sighting};
pub use frame::{Flow, Frame, Segment};
pub use ladder::{Hop, Ladder, LadderError, Lane};
pub use line::{HEADER, line};
pub use pcapng::Writer;

/// A MAC as text, `02:00:00:00:00:01`.
#[must_use]
pub fn mac_text(mac: &[u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
