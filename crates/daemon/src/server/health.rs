//! What the checks say.

use axum::extract::State;
use axum::response::IntoResponse;

use super::{Answer, Desk, Routes};
use crate::message::Message;

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/health", health)
}

async fn health(State(desk): State<Desk>) -> Answer {
    Ok(axum::Json(desk.ask(Message::HealthView).await?).into_response())
}
