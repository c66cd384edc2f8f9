//! The API over the Unix socket: each handler asks the actor and waits.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use api::{Change, ConnectionQuery, ExplainQuery, Refusal, RefusalCode, Stop};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, oneshot};

use crate::limits;
use crate::listing;
use crate::message::Message;

mod maintenance;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Desk {
    actor: SyncSender<Message>,
    listings: Arc<Semaphore>,
}

/// A refusal as an HTTP answer.
struct Refused(Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (status_of(self.0.code), axum::Json(self.0)).into_response()
    }
}

/// The routes of `crates/api`.
pub(crate) fn routes(actor: SyncSender<Message>) -> Router {
    let desk = Desk {
        actor,
        listings: Arc::new(Semaphore::new(limits::LISTINGS)),
    };
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/services", get(services))
        .route("/v1/health", get(health))
        .route("/v1/explain", get(explain))
        .route("/v1/connections", get(connections))
        .route("/v1/changes", post(change))
        .route(
            "/v1/batches",
            post(batch).layer(DefaultBodyLimit::max(limits::BATCH_BYTES)),
        )
        .route("/v1/stop", post(stop))
        .merge(maintenance::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(limits::REQUEST_BYTES))
        .with_state(desk)
}

async fn status(State(desk): State<Desk>) -> Result<Response, Refused> {
    Ok(axum::Json(desk.ask(Message::Status).await?).into_response())
}

async fn services(State(desk): State<Desk>) -> Result<Response, Refused> {
    Ok(axum::Json(desk.ask(Message::Services).await?).into_response())
}

async fn health(State(desk): State<Desk>) -> Result<Response, Refused> {
    Ok(axum::Json(desk.ask(Message::HealthView).await?).into_response())
}

async fn change(
    State(desk): State<Desk>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let change: Change = parse(body)?;
    desk.ask(|reply| Message::Change(change, reply))
        .await?
        .map_err(Refused)?;
    Ok(axum::Json(()).into_response())
}

async fn batch(
    State(desk): State<Desk>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let changes: Vec<Change> = parse(body)?;
    if changes.len() > api::BATCH_MAX {
        return Err(refused(
            RefusalCode::Full,
            format!(
                "{} changes are too many for one batch: send at most {}",
                changes.len(),
                api::BATCH_MAX
            ),
        ));
    }
    let refusals = desk.ask(|reply| Message::Batch(changes, reply)).await?;
    Ok(axum::Json(refusals).into_response())
}

async fn stop(
    State(desk): State<Desk>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let stop: Stop = parse(body)?;
    desk.ask(|reply| Message::Stop(stop, reply))
        .await?
        .map_err(Refused)?;
    Ok(axum::Json(()).into_response())
}

async fn connections(
    State(desk): State<Desk>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
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

async fn explain(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let query = ExplainQuery::from_text(query.as_deref().unwrap_or_default())
        .map_err(|error| refused(RefusalCode::BadRequest, error))?;
    let explanation = desk.ask(|reply| Message::Explain(query, reply)).await?;
    Ok(axum::Json(explanation.map_err(Refused)?).into_response())
}

async fn unknown() -> Refused {
    refused(
        RefusalCode::BadRequest,
        "there is no such route: GET /v1/status, /v1/services, /v1/health, /v1/explain, /v1/connections, \
         /v1/maintenance; POST /v1/changes, /v1/batches, /v1/maintenance, /v1/stop"
            .to_owned(),
    )
}

impl Desk {
    /// Sends a message that carries its own reply channel, and waits for the reply.
    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.actor
            .try_send(message(reply))
            .map_err(|error| match error {
                TrySendError::Full(_) => refused(
                    RefusalCode::Full,
                    format!("{} requests wait already: try again", limits::MESSAGES),
                ),
                TrySendError::Disconnected(_) => stopping(),
            })?;
        answer.await.map_err(|_| stopping())
    }
}

fn parse<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refused> {
    let body = body.map_err(|error| {
        refused(
            RefusalCode::BadRequest,
            format!(
                "{error}; at most {} bytes, or {} of a batch",
                limits::REQUEST_BYTES,
                limits::BATCH_BYTES
            ),
        )
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        refused(
            RefusalCode::BadRequest,
            format!("the request cannot be read: {error}"),
        )
    })
}

fn refused(code: RefusalCode, message: String) -> Refused {
    Refused(Refusal { code, message })
}

fn stopping() -> Refused {
    refused(RefusalCode::Internal, "the daemon is stopping".to_owned())
}

fn status_of(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::ServiceExists | RefusalCode::DestinationExists => StatusCode::CONFLICT,
        RefusalCode::NoSuchService
        | RefusalCode::NoSuchDestination
        | RefusalCode::NoSuchScheduler => StatusCode::NOT_FOUND,
        RefusalCode::OutOfRange | RefusalCode::BadAddress | RefusalCode::NotSupported => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        RefusalCode::Full => StatusCode::INSUFFICIENT_STORAGE,
        RefusalCode::NotPermitted => StatusCode::FORBIDDEN,
        RefusalCode::BadRequest => StatusCode::BAD_REQUEST,
        RefusalCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
