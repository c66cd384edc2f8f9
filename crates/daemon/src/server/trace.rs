//! Decisions as they happen.

use api::{RefusalCode, TraceQuery};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use axum::response::IntoResponse;
use dataplane::{Filter, Watched};

use super::{Answer, Desk, Refused, Routes, parse, refused, stopping};
use crate::message::Message;
use crate::trace::{self, Asked, Entry};

pub(super) fn routes() -> Routes {
    Routes::default().post("/v1/trace", begin)
}

async fn enter(desk: &Desk, filter: Filter, watched: Option<Watched>) -> Result<Entry, Refused> {
    let actor = desk.actor.clone();
    let asked = Asked { filter, watched };
    let entry = desk.ask(|reply| Message::Trace(asked, actor, reply));
    entry.await?.map_err(Refused)
}

async fn begin(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer {
    let query: TraceQuery = parse(body)?;
    let filter = trace::filter(&query).map_err(Refused)?;
    let begun = match enter(&desk, filter.clone(), None).await? {
        Entry::Begun(begun) => begun,
        Entry::First(loader) => {
            let loaded = tokio::task::spawn_blocking(move || loader.load()).await;
            let loaded = loaded.map_err(|_| stopping())?;
            let watched =
                loaded.map_err(|error| refused(RefusalCode::Internal, error.to_string()))?;
            match enter(&desk, filter, Some(watched)).await? {
                Entry::Begun(begun) => begun,
                // It has the programs.
                Entry::First(_) => return Err(stopping()),
            }
        }
    };
    let chunks = trace::start(query, *begun, desk.actor.clone());
    let head = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((head, Body::new(chunks)).into_response())
}
