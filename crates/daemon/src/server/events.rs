//! Events as they come, or those that are remembered.
//!
//! ```text
//! ring ─► conditions ─► text ─► channel of 2 ─► socket
//!   ▲ bell, or 5 s without one: a comment, so that both ends know that the other lives
//! ```
//!
//! A slow reader holds up its own task only: what it did not read in time is gone from the ring, and it is
//! told how much.

use api::{EventQuery, RefusalCode};
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Answer, Desk, Refused, Routes, refused};
use crate::events::{Reading, bus};
use crate::limits;
use crate::listing::Chunks;

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/events", events)
}

async fn events(State(desk): State<Desk>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = EventQuery::from_text(query.as_deref().unwrap_or_default())
        .map_err(|error| refused(RefusalCode::BadRequest, error))?;
    let since = match last_event_id(&headers)? {
        Some(id) => Some(id),
        None => query.since,
    };
    if query.follow == Some(false) {
        let text = remembered(&query, since.unwrap_or(0));
        let head = [(header::CONTENT_TYPE, "application/x-ndjson")];
        return Ok((head, text).into_response());
    }
    let permit = desk.follow()?;
    let (sender, receiver) = mpsc::channel(limits::EVENT_CHUNKS);
    let after = since.unwrap_or_else(|| bus().last());
    tokio::spawn(tell(query, after, sender, permit));
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((head, Body::new(Chunks::of(receiver))).into_response())
}

/// What a browser says when it comes back.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| {
        refused(
            RefusalCode::BadRequest,
            format!("Last-Event-ID is {value:?}: it must be the id of an event"),
        )
    })
}

/// All that are remembered, one a line.
fn remembered(query: &EventQuery, since: u64) -> String {
    let reading = bus().read(since, usize::MAX);
    let mut text = String::new();
    if let Some(missed) = reading.missed {
        text += &serde_json::to_string(&missed).unwrap_or_default();
        text.push('\n');
    }
    for one in wanted(&reading, query) {
        text += &one.json;
        text.push('\n');
    }
    text
}

/// Writes events as they come until the reader or the daemon ends.
async fn tell(
    query: EventQuery,
    mut after: u64,
    sender: mpsc::Sender<Bytes>,
    permit: OwnedSemaphorePermit,
) {
    let mut bell = bus().bell();
    let mut text = format!("retry: {}\n\n", limits::EVENT_RETRY.as_millis());
    loop {
        bell.borrow_and_update();
        let reading = bus().read(after, limits::EVENTS_AT_ONCE);
        if let Some(missed) = reading.missed {
            let missed = serde_json::to_string(&missed).unwrap_or_default();
            text += &format!("event: missed\ndata: {missed}\n\n");
        }
        for one in wanted(&reading, &query) {
            text += &format!("id: {}\ndata: {}\n\n", one.event.id, one.json);
        }
        let last = reading.events.last();
        // A place of another daemon is left for good, even if there is nothing to read yet. Asking the bus for its last
        // event now would pass over one that came since.
        after = last.map_or(reading.last, |last| last.event.id);
        if !text.is_empty() && sender.send(std::mem::take(&mut text).into()).await.is_err() {
            break;
        }
        if last.is_some() {
            continue;
        }
        if reading.closed {
            break;
        }
        tokio::select! {
            _rung = bell.changed() => {}
            () = tokio::time::sleep(limits::EVENT_SILENCE) => text.push_str(":\n\n"),
            () = sender.closed() => break,
        }
    }
    drop(permit);
}

fn wanted<'a>(
    reading: &'a Reading,
    query: &'a EventQuery,
) -> impl Iterator<Item = &'a crate::events::Remembered> {
    let events = reading.events.iter().map(AsRef::as_ref);
    events.filter(|one| query.matches(&one.event.what))
}
