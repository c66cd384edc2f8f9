//! What would become of a packet.

use api::{EXPLAIN_FRAME_BYTES, ExplainFrame, ExplainQuery, RefusalCode, ServerQuery};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::response::IntoResponse;

use super::{Answer, Desk, Refused, Routes, parse, refused, stopping};
use crate::explain::Question;
use crate::message::Message;

/// Two hexadecimal digits a byte, and what stands around them.
const BODY_BYTES: usize = 2 * EXPLAIN_FRAME_BYTES + 1024;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/v1/explain", explain)
        .ask("/v1/explain", BODY_BYTES, explain_frame)
        .get("/v1/explain/server", explain_server)
}

async fn explain(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Answer {
    let query = ExplainQuery::from_text(query.as_deref().unwrap_or_default())
        .map_err(|error| refused(RefusalCode::BadRequest, error))?;
    answer(&desk, Question::Flow(query)).await
}

/// The state is read by the actor; what follows from it is computed beside it.
async fn explain_server(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Answer {
    let query = ServerQuery::from_text(query.as_deref().unwrap_or_default())
        .map_err(|error| refused(RefusalCode::BadRequest, error))?;
    let ask = |reply| Message::ExplainServer(query.server, reply);
    let taken = desk.ask(ask).await?;
    let told = tokio::task::spawn_blocking(move || taken.explain()).await;
    Ok(axum::Json(told.map_err(|_| stopping())?).into_response())
}

async fn explain_frame(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer {
    let asked: ExplainFrame = parse(body)?;
    let question = Question::of_frame(&asked).map_err(Refused)?;
    answer(&desk, question).await
}

async fn answer(desk: &Desk, question: Question) -> Answer {
    let explanation = desk.ask(|reply| Message::Explain(question, reply)).await?;
    Ok(axum::Json(explanation.map_err(Refused)?).into_response())
}
