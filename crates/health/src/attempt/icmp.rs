//! An echo.

use super::socket::Ends;
use crate::path::Protocol;
use crate::reason::Reason;

/// Echo request, code 0; the kernel writes checksum and identifier. Source: RFC 792, RFC 4443 §4.1.
const REQUEST: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];
const REQUEST_V6: [u8; 8] = [128, 0, 0, 0, 0, 0, 0, 1];
const PAYLOAD: &[u8] = b"dirigo health check";

pub(super) async fn ask(ends: &Ends<'_>) -> Result<(), Reason> {
    let socket = ends.datagrams(Protocol::Echo).await?;
    let header = if ends.to().is_ipv4() {
        REQUEST
    } else {
        REQUEST_V6
    };
    let request = [&header, PAYLOAD].concat();
    let sent = socket.send(&request).await;
    sent.map_err(|error| ends.failed(&error))?;
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).await;
    let length = length.map_err(|error| ends.failed(&error))?;
    let answered = buffer.get(header.len()..length);
    if answered == Some(PAYLOAD) {
        return Ok(());
    }
    Err(Reason::Answer {
        protocol: "ICMP",
        found: format!("an echo of {length} bytes with another content"),
        wanted: "what was sent".to_owned(),
    })
}
