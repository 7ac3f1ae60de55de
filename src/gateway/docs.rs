//! `/docs`: a page of our own that shows `/openapi.json`.

use axum::Json;
use serde_json::Value;

use crate::gateway::openapi;

/// `GET /openapi.json`.
pub async fn openapi() -> Json<Value> {
    Json(openapi::document())
}

/// `GET /docs`.
pub async fn page() -> &'static str {
    ""
}
