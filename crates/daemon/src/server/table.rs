//! The table: virtual services with their destinations, and changes of them.

use api::{Author, Change, RefusalCode};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;

use super::{Answer, Desk, Refused, Routes, parse, refused};
use crate::limits;
use crate::message::Message;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/v1/services", services)
        .get("/v1/marks", marks)
        .post("/v1/changes", change)
        .post_long("/v1/batches", limits::BATCH_BYTES, batch)
}

async fn services(State(desk): State<Desk>) -> Answer {
    Ok(axum::Json(desk.ask(Message::Services).await?).into_response())
}

async fn marks(State(desk): State<Desk>) -> Answer {
    Ok(axum::Json(desk.ask(Message::Marks).await?).into_response())
}

async fn change(
    State(desk): State<Desk>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let by = author(&headers);
    let change: Change = parse(body)?;
    desk.ask(|reply| Message::Change(change, by, reply))
        .await?
        .map_err(Refused)?;
    Ok(axum::Json(()).into_response())
}

async fn batch(
    State(desk): State<Desk>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let by = author(&headers);
    let changes: Vec<Change> = parse(body)?;
    if changes.len() > api::BATCH_MAX {
        return Err(refused(
            RefusalCode::Full,
            format!(
                "{} changes are too many for one batch: send at most {}",
                changes.len(),
                api::BATCH_MAX
            ),
        ));
    }
    let refusals = desk.ask(|reply| Message::Batch(changes, by, reply)).await?;
    Ok(axum::Json(refusals).into_response())
}

/// Who asks, as far as it says so: the client of `crates/api` does.
fn author(headers: &HeaderMap) -> Author {
    let agent = headers.get(header::USER_AGENT);
    match agent.is_some_and(|agent| agent.as_bytes().starts_with(b"ipvsadm")) {
        true => Author::Ipvsadm,
        false => Author::Api,
    }
}
