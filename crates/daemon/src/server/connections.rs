//! Remembered connections, as they are read.

use std::sync::Arc;

use api::{ConnectionQuery, RefusalCode};
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::IntoResponse;

use super::{Answer, Desk, Refused, Routes, refused};
use crate::message::Message;
use crate::{limits, listing};

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/connections", connections)
}

async fn connections(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Answer {
    let query = ConnectionQuery::from_text(query.as_deref().unwrap_or_default())
        .map_err(|error| refused(RefusalCode::BadRequest, error))?;
    let permit = Arc::clone(&desk.listings)
        .try_acquire_owned()
        .map_err(|_| {
            refused(
                RefusalCode::Full,
                format!("{} listings run already: try again", limits::LISTINGS),
            )
        })?;
    let connections = desk.ask(Message::Connections).await?;
    let chunks = listing::start(&query, connections, permit).map_err(Refused)?;
    let head = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((head, Body::new(chunks)).into_response())
}
