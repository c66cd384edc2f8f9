//! Real servers in maintenance.

use api::MaintenanceOrder;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::IntoResponse;

use super::{Answer, Desk, Refused, Routes, parse};
use crate::message::Message;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/v1/maintenance", list)
        .post("/v1/maintenance", order)
}

async fn list(State(desk): State<Desk>) -> Answer {
    Ok(axum::Json(desk.ask(Message::MaintenanceView).await?).into_response())
}

async fn order(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer {
    let order: MaintenanceOrder = parse(body)?;
    let done = desk.ask(|reply| Message::Maintain(order, reply)).await?;
    Ok(axum::Json(done.map_err(Refused)?).into_response())
}
