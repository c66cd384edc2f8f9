//! The daemon itself: what it is, and its end.

use api::{Access, Stop};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::IntoResponse;

use super::{Answer, Desk, Refused, Routes, parse};
use crate::message::Message;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/v1/status", status)
        .get("/v1/access", may)
        .post("/v1/stop", stop)
}

async fn status(State(desk): State<Desk>) -> Answer {
    Ok(axum::Json(desk.ask(Message::Status).await?).into_response())
}

/// What the caller may do: the guard has found out.
async fn may(Extension(access): Extension<Access>) -> axum::Json<Access> {
    axum::Json(access)
}

async fn stop(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer {
    let stop: Stop = parse(body)?;
    desk.ask(|reply| Message::Stop(stop, reply))
        .await?
        .map_err(Refused)?;
    Ok(axum::Json(()).into_response())
}
