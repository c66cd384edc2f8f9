//! The API: each handler asks the actor and waits.
//!
//! A topic's routes are a file of their own, which says what it serves by `routes()`. They are known by
//! name ([`Routes::known`]), so that what is offered can be listed and compared with its description.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use api::{Refusal, RefusalCode};
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::BytesRejection;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::access::{self, Guard, Shared, Tokens};
use crate::generations::Generations;
use crate::limits;
use crate::message::Message;
use crate::metrics::Scrapes;
use crate::statistics::Hub;

mod apply;
mod connections;
mod console;
mod daemon;
mod document;
mod events;
mod explain;
mod health;
mod maintenance;
mod metrics;
mod segment;
mod statistics;
mod table;
mod trace;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Desk {
    actor: SyncSender<Message>,
    listings: Arc<Semaphore>,
    plans: Arc<Semaphore>,
    /// The daemon's own configuration.
    file: Arc<Path>,
    generations: Arc<Generations>,
    scrapes: Arc<Scrapes>,
    followers: Arc<Semaphore>,
    statistics: Arc<Hub>,
}

/// A refusal as an HTTP answer.
pub(crate) struct Refused(pub(crate) Refusal);

/// What a handler answers.
pub(crate) type Answer = Result<Response, Refused>;

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (status_of(self.0.code), axum::Json(self.0)).into_response()
    }
}

/// All that is offered, topic by topic.
fn all() -> Routes {
    [
        daemon::routes(),
        document::routes(),
        table::routes(),
        events::routes(),
        health::routes(),
        segment::routes(),
        statistics::routes(),
        maintenance::routes(),
        explain::routes(),
        connections::routes(),
        trace::routes(),
        apply::routes(),
        metrics::routes(),
    ]
    .into_iter()
    .fold(Routes::default(), Routes::with)
}

/// The routes of `crates/api`, and the web console's where it is wanted.
pub(crate) fn routes(
    actor: SyncSender<Message>,
    tokens: Shared<Tokens>,
    console: bool,
    (file, generations): (PathBuf, Generations),
) -> Router {
    let desk = Desk {
        actor,
        listings: Arc::new(Semaphore::new(limits::LISTINGS)),
        plans: Arc::new(Semaphore::new(limits::PLANS)),
        file: file.into(),
        generations: generations.into(),
        scrapes: Arc::default(),
        followers: Arc::new(Semaphore::new(limits::FOLLOWERS)),
        statistics: Arc::default(),
    };
    let Routes {
        router,
        known,
        harmless,
    } = all();
    let guard = Arc::new(Guard {
        group: crate::socket::group(),
        own: nix::unistd::geteuid().as_raw(),
        tokens,
        harmless,
    });
    let unknown = move || std::future::ready(unknown(&known));
    let pages = match console {
        true => console::router(Arc::clone(&guard)),
        false => Router::new(),
    };
    router
        .fallback(unknown.clone())
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(limits::REQUEST_BYTES))
        .layer(middleware::from_fn_with_state(guard, access::guard))
        .with_state(desk)
        .merge(pages)
        .layer(middleware::map_response(access::for_ourselves))
}

/// Routes that know their names.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router<Desk>,
    known: Vec<Route>,
    harmless: HashSet<&'static str>,
}

/// One route: a method and a path.
pub(crate) type Route = (&'static str, &'static str);

impl Routes {
    /// A route that changes nothing.
    pub(crate) fn get<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Desk>,
        T: 'static,
    {
        self.router = self.router.route(path, get(handler));
        self.known.push(("GET", path));
        self
    }

    /// A route that changes something.
    pub(crate) fn post<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Desk>,
        T: 'static,
    {
        self.post_long(path, limits::REQUEST_BYTES, handler)
    }

    /// A route that changes nothing though it takes a body: who may read may use it.
    pub(crate) fn ask<H, T>(mut self, path: &'static str, bytes: usize, handler: H) -> Self
    where
        H: Handler<T, Desk>,
        T: 'static,
    {
        self.harmless.insert(path);
        self.post_long(path, bytes, handler)
    }

    /// The same, with bodies longer than others.
    pub(crate) fn post_long<H, T>(mut self, path: &'static str, bytes: usize, handler: H) -> Self
    where
        H: Handler<T, Desk>,
        T: 'static,
    {
        let handler = post(handler).layer(DefaultBodyLimit::max(bytes));
        self.router = self.router.route(path, handler);
        self.known.push(("POST", path));
        self
    }

    fn with(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.known.extend(other.known);
        self.harmless.extend(other.harmless);
        self
    }
}

fn unknown(known: &[Route]) -> Refused {
    let paths = |method: &str| {
        let mut paths: Vec<&str> = known
            .iter()
            .filter(|route| route.0 == method)
            .map(|route| route.1)
            .collect();
        paths.sort_unstable();
        paths.join(", ")
    };
    refused(
        RefusalCode::BadRequest,
        format!(
            "there is no such route: GET {}; POST {}",
            paths("GET"),
            paths("POST")
        ),
    )
}

impl Desk {
    /// A place for a stream that stays open.
    pub(crate) fn follow(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let place = Arc::clone(&self.followers).try_acquire_owned();
        place.map_err(|_| {
            refused(
                RefusalCode::Full,
                format!("{} streams are open already: close one", limits::FOLLOWERS),
            )
        })
    }

    /// Sends a message that carries its own reply channel, and waits for the reply.
    pub(crate) async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply))?;
        answer.await.map_err(|_| stopping())
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: Message) -> Result<(), Refused> {
        self.actor.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => refused(
                RefusalCode::Full,
                format!("{} requests wait already: try again", limits::MESSAGES),
            ),
            TrySendError::Disconnected(_) => stopping(),
        })
    }
}

/// Reads a body.
pub(crate) fn parse<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Refused> {
    let body = body.map_err(|error| {
        refused(
            RefusalCode::BadRequest,
            format!(
                "{error}; at most {} bytes, {} of a batch, {} of a configuration",
                limits::REQUEST_BYTES,
                limits::BATCH_BYTES,
                limits::PLAN_BYTES
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

/// A refusal with its reason.
pub(crate) fn refused(code: RefusalCode, message: String) -> Refused {
    Refused(Refusal { code, message })
}

/// A refusal of a daemon that ends.
pub(crate) fn stopping() -> Refused {
    refused(RefusalCode::Internal, "the daemon is stopping".to_owned())
}

fn status_of(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::ServiceExists | RefusalCode::DestinationExists => StatusCode::CONFLICT,
        RefusalCode::NoSuchService
        | RefusalCode::NoSuchDestination
        | RefusalCode::NoSuchScheduler => StatusCode::NOT_FOUND,
        RefusalCode::OutOfRange
        | RefusalCode::BadAddress
        | RefusalCode::NotSupported
        | RefusalCode::BadConfig => StatusCode::UNPROCESSABLE_ENTITY,
        RefusalCode::Full => StatusCode::INSUFFICIENT_STORAGE,
        RefusalCode::NotPermitted => StatusCode::FORBIDDEN,
        RefusalCode::BadRequest => StatusCode::BAD_REQUEST,
        RefusalCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_the_document_has_no_other() {
        let document: serde_json::Value = serde_json::from_str(document::OPENAPI).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(|method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let known = all().known.into_iter();
        let offered: BTreeSet<(String, String)> = known
            .map(|(method, path)| (method.to_owned(), path.to_owned()))
            .collect();
        assert_eq!(offered, documented, "docs/openapi.json");
    }
}
