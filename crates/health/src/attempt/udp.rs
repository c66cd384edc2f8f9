//! A datagram. Without a reply to look for, silence passes: only an ICMP error fails.

use std::time::{Duration, Instant};

use super::left;
use super::socket::Ends;
use crate::check::Udp;
use crate::limits;
use crate::path::Protocol;
use crate::reason::Reason;

/// Silence is believed a little before the attempt's time is over.
const MARGIN: Duration = Duration::from_millis(20);

pub(super) async fn ask(udp: &Udp, ends: &Ends<'_>, timeout: Duration) -> Result<(), Reason> {
    let started = Instant::now();
    let socket = ends.datagrams(Protocol::Udp).await?;
    let sent = socket.send(&udp.payload).await;
    sent.map_err(|error| ends.failed(&error))?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let heard = socket.recv(&mut buffer);
    let Some(wanted) = &udp.reply else {
        let patience = left(timeout.saturating_sub(MARGIN), started);
        return match tokio::time::timeout(patience, heard).await {
            Ok(Err(error)) => Err(ends.failed(&error)),
            Ok(Ok(_)) | Err(_) => Ok(()),
        };
    };
    let length = heard.await.map_err(|error| ends.failed(&error))?;
    let reply = buffer.get(..length).unwrap_or_default();
    if wanted.is_match(reply) {
        return Ok(());
    }
    let shown = reply.get(..limits::OUTPUT_BYTES.min(length));
    Err(Reason::Answer {
        protocol: "UDP",
        found: format!("{:?}", String::from_utf8_lossy(shown.unwrap_or_default())),
        wanted: format!("/{wanted}/"),
    })
}
