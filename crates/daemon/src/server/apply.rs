//! The configuration is applied.

use api::{Apply, GenerationOrigin, RefusalCode};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::IntoResponse;
use tokio::sync::oneshot;

use super::{Answer, Desk, Refused, Routes, parse, refused, stopping};
use crate::message::Message;
use crate::reread;

pub(super) fn routes() -> Routes {
    Routes::default().post("/v1/apply", apply)
}

async fn apply(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer {
    let asked: Apply = parse(body)?;
    let file = asked.file.unwrap_or_else(|| desk.file.to_path_buf());
    if !file.is_absolute() {
        return Err(refused(
            RefusalCode::BadRequest,
            format!(
                "{} is no whole path: name the file from / on",
                file.display()
            ),
        ));
    }
    let (reply, answer) = oneshot::channel();
    let read = move || reread::job(&file, GenerationOrigin::Apply, Some(reply));
    let job = tokio::task::spawn_blocking(read).await;
    let job = job.map_err(|_| stopping())?.map_err(Refused)?;
    desk.send(Message::Apply(job))?;
    let applied = answer.await.map_err(|_| stopping())?.map_err(Refused)?;
    Ok(axum::Json(applied).into_response())
}
