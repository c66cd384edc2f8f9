//! The web console's files: for everybody who reaches the address, as they hold no secret.

use std::sync::Arc;

use api::{Refusal, RefusalCode};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use console::Answer;

use crate::access::{self, Guard};

pub(super) fn router(guard: Arc<Guard>) -> Router {
    Router::new()
        .route("/", any(file))
        .route("/console/{*path}", any(file))
        .layer(middleware::from_fn_with_state(guard, access::guard_pages))
}

async fn file(request: Request) -> Response {
    let known = request.headers().get(header::IF_NONE_MATCH);
    let known = known.and_then(|known| known.to_str().ok());
    match console::answer(request.uri().path(), known) {
        Answer::File(file, tag) => {
            let kind = [(header::CONTENT_TYPE, file.kind)];
            (kind, headers(tag), file.bytes).into_response()
        }
        Answer::Unchanged(tag) => (StatusCode::NOT_MODIFIED, headers(tag)).into_response(),
        Answer::None => {
            let code = RefusalCode::BadRequest;
            let message = "the console has no such file; it begins at /".to_owned();
            let refusal = axum::Json(Refusal { code, message });
            (StatusCode::NOT_FOUND, refusal).into_response()
        }
    }
}

fn headers(tag: &'static str) -> HeaderMap {
    let all = console::HEADERS.into_iter().chain([("etag", tag)]);
    all.map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    })
    .collect()
}
