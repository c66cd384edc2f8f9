//! `GET /metrics`: for Prometheus, in the form that it asks for.

use api::RefusalCode;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;

use super::{Answer, Desk, Routes, refused};
use crate::limits;
use crate::message::Message;
use crate::metrics::Format;

pub(super) fn routes() -> Routes {
    Routes::default().get("/metrics", metrics)
}

async fn metrics(State(desk): State<Desk>, headers: HeaderMap) -> Answer {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let accepted: Vec<&str> = accepted.filter_map(|one| one.to_str().ok()).collect();
    let format = Format::asked_for(&accepted.join(","));
    let permit = desk.scrapes.permit().ok_or_else(|| {
        refused(
            RefusalCode::Full,
            format!("{} scrapes run already: try again", limits::SCRAPES),
        )
    })?;
    let snapshot = desk.ask(Message::Metrics).await?;
    let text = desk.scrapes.start(snapshot, format, permit);
    let head = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, "accept"),
    ];
    Ok((head, Body::new(text)).into_response())
}
