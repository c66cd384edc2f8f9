//! Routes of maintenance.

use api::MaintenanceOrder;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Desk, Refused, parse};
use crate::message::Message;

/// What this file answers.
pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/v1/maintenance", get(list).post(order))
}

async fn list(State(desk): State<Desk>) -> Result<Response, Refused> {
    Ok(axum::Json(desk.ask(Message::MaintenanceView).await?).into_response())
}

async fn order(
    State(desk): State<Desk>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let order: MaintenanceOrder = parse(body)?;
    let done = desk.ask(|reply| Message::Maintain(order, reply)).await?;
    Ok(axum::Json(done.map_err(Refused)?).into_response())
}
