//! A ladder as text.
//!
//! ```text
//! client               director             real server
//! 02:00:00:00:01:6f    02:00:00:00:01:6c    02:00:00:00:01:6b
//!    |--- TCP SYN ------->|                    |     0.000000  TTL 64  client, director-port
//!    |                    |--- TCP SYN ------->|     0.000021  TTL 63  rs1
//!    |<------------------------- TCP SYN ACK --|     0.000140  TTL 64  rs1, client
//! ```

use std::fmt;

use super::{Hop, Ladder, Lane};

/// Columns of a lane: a MAC and four more, or what the longest packet needs.
const LANE: usize = 24;
/// Where in its columns a lane's line stands.
const LINE: usize = 3;

impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            132 => "sctp".to_owned(),
            other => format!("protocol {other}"),
        };
        writeln!(f, "{protocol} {} > {}", self.client, self.service)?;
        writeln!(f)?;
        let longest = self
            .hops
            .iter()
            .map(|hop| hop.what.len())
            .max()
            .unwrap_or(0);
        let lane = LANE.max(longest + 10);
        let texts: [fn(&Lane) -> &str; 2] = [|lane| lane.role, |lane| &lane.mac];
        for text in texts {
            let cells: String = self
                .lanes
                .iter()
                .map(|one| format!("{:<lane$}", text(one)))
                .collect();
            writeln!(f, "{}", cells.trim_end())?;
        }
        let begun = self.hops.iter().map(|hop| hop.time_ns).min().unwrap_or(0);
        for hop in &self.hops {
            let after = hop.time_ns - begun;
            let mut seen: Vec<&str> = hop.seen.iter().map(|one| one.capture.as_str()).collect();
            seen.dedup();
            writeln!(
                f,
                "{}  {:>3}.{:06}  TTL {:<3}  {}",
                rung(hop, self.lanes.len(), lane),
                after / 1_000_000_000,
                after % 1_000_000_000 / 1_000,
                hop.ttl,
                seen.join(", ")
            )?;
        }
        for note in &self.notes {
            writeln!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}

/// The lanes' lines with an arrow between two of them.
fn rung(hop: &Hop, lanes: usize, lane: usize) -> String {
    let mut cells = vec![b' '; lanes.saturating_sub(1) * lane + LINE + 1];
    let at = |number: usize| number * lane + LINE;
    for number in 0..lanes {
        if let Some(cell) = cells.get_mut(at(number)) {
            *cell = b'|';
        }
    }
    let (left, right) = (at(hop.from.min(hop.to)) + 1, at(hop.from.max(hop.to)));
    if let Some(arrow) = cells.get_mut(left..right) {
        arrow.fill(b'-');
        let is_right = hop.from < hop.to;
        let head = if is_right {
            arrow.len().saturating_sub(1)
        } else {
            0
        };
        if let Some(cell) = arrow.get_mut(head) {
            *cell = if is_right { b'>' } else { b'<' };
        }
        let label = format!(" {} ", hop.what);
        let place = match is_right {
            true => LINE,
            false => arrow.len().saturating_sub(label.len() + 2),
        };
        if let Some(place) = arrow.get_mut(place..place + label.len()) {
            place.copy_from_slice(label.as_bytes());
        }
    }
    String::from_utf8_lossy(&cells).into_owned()
}
