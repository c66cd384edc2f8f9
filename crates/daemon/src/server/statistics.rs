//! Rates and connections as they change.

use api::{RefusalCode, StatisticsQuery};
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::IntoResponse;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Answer, Desk, Routes, refused};
use crate::limits;
use crate::listing::Chunks;
use crate::statistics::Listener;

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/statistics", statistics)
}

async fn statistics(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Answer {
    let query = StatisticsQuery::from_text(query.as_deref().unwrap_or_default())
        .map_err(|error| refused(RefusalCode::BadRequest, error))?;
    let permit = desk.follow()?;
    let listener = desk.statistics.listen(query.service, &desk);
    let (sender, receiver) = mpsc::channel(limits::EVENT_CHUNKS);
    tokio::spawn(tell(query.every.unwrap_or(1), listener, sender, permit));
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((head, Body::new(Chunks::of(receiver))).into_response())
}

/// Writes samples until the reader or the daemon ends. What a reader is too slow for it never gets: the next
/// one that it takes says all that is different since.
async fn tell(
    every: u32,
    mut listener: Listener,
    sender: mpsc::Sender<Bytes>,
    permit: OwnedSemaphorePermit,
) {
    let mut text = format!("retry: {}\n\n", limits::EVENT_RETRY.as_millis());
    loop {
        let different = tokio::select! {
            different = listener.next() => different,
            () = sender.closed() => break,
        };
        let Some(different) = different else { break };
        let json = serde_json::to_string(&different).unwrap_or_default();
        text += &format!("data: {json}\n\n");
        if sender.send(std::mem::take(&mut text).into()).await.is_err() {
            break;
        }
        // One less: the next sample is a second away anyway.
        for _ in 1..every {
            tokio::select! {
                () = tokio::time::sleep(limits::STATISTICS) => {}
                () = sender.closed() => break,
            }
            if sender.send(Bytes::from_static(b":\n\n")).await.is_err() {
                break;
            }
        }
    }
    drop(permit);
}
