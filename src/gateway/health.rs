//! Whether the gateway lives, and whether it can work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::gateway::GatewayState;
use crate::gateway::error::{ApiError, Result};

/// How long the broker may take to say that it is well; whoever probes commonly gives up after some seconds.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// `GET /healthz`.
pub async fn alive() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// `GET /readyz`.
pub async fn ready(State(gateway): State<Arc<GatewayState>>) -> Result<Json<Value>> {
    let not_ready = |reason: String| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason);
    if gateway.shutdown.has_begun() {
        return Err(not_ready("the gateway is going down".to_owned()));
    }
    match tokio::time::timeout(HEALTH_TIMEOUT, gateway.broker.log.ready()).await {
        Ok(Ok(())) => Ok(Json(json!({"status": "ready"}))),
        Ok(Err(error)) => Err(not_ready(error.to_string())),
        Err(_) => Err(not_ready(format!("the broker did not answer within {HEALTH_TIMEOUT:?}"))),
    }
}
