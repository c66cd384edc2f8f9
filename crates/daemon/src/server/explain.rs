//! What would become of a packet.

use api::{ExplainQuery, RefusalCode};
use axum::extract::{RawQuery, State};
use axum::response::IntoResponse;

use super::{Answer, Desk, Refused, Routes, refused};
use crate::message::Message;

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/explain", explain)
}

async fn explain(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Answer {
    let query = ExplainQuery::from_text(query.as_deref().unwrap_or_default())
        .map_err(|error| refused(RefusalCode::BadRequest, error))?;
    let explanation = desk.ask(|reply| Message::Explain(query, reply)).await?;
    Ok(axum::Json(explanation.map_err(Refused)?).into_response())
}
