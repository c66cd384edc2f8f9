//! What is offered, as an OpenAPI document.

use axum::http::header;
use axum::response::IntoResponse;

use super::Routes;

/// The document, as it is shipped.
pub(super) const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/openapi.json", openapi)
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}
