//! Decisions as they happen.

use api::TraceQuery;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use axum::response::IntoResponse;

use super::{Answer, Desk, Refused, Routes, parse};
use crate::message::Message;
use crate::trace;

pub(super) fn routes() -> Routes {
    Routes::default().post("/v1/trace", begin)
}

async fn begin(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer {
    let query: TraceQuery = parse(body)?;
    let filter = trace::filter(&query).map_err(Refused)?;
    let actor = desk.actor.clone();
    let begun = desk.ask(|reply| Message::Trace(filter, actor, reply));
    let begun = begun.await?.map_err(Refused)?;
    let chunks = trace::start(query, begun, desk.actor.clone());
    let head = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((head, Body::new(chunks)).into_response())
}
