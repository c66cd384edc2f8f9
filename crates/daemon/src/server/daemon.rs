//! The daemon itself: what it is, and its end.

use api::Stop;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::IntoResponse;

use super::{Answer, Desk, Refused, Routes, parse};
use crate::message::Message;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/v1/status", status)
        .post("/v1/stop", stop)
}

async fn status(State(desk): State<Desk>) -> Answer {
    Ok(axum::Json(desk.ask(Message::Status).await?).into_response())
}

async fn stop(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer {
    let stop: Stop = parse(body)?;
    desk.ask(|reply| Message::Stop(stop, reply))
        .await?
        .map_err(Refused)?;
    Ok(axum::Json(()).into_response())
}
