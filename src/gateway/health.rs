//! Whether the gateway lives, and whether it can work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::gateway::GatewayState;
use crate::gateway::error::{ApiError, Result};
use crate::protocol::api::{PeerStatus, Readiness};

/// How long the broker may take to say that it is well; whoever probes commonly gives up after some seconds.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
/// How long FastAgency's stream may take: our own runs do not need it.
const PEER_TIMEOUT: Duration = Duration::from_secs(1);

/// `GET /healthz`.
pub async fn alive() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// `GET /readyz`.
pub async fn ready(State(gateway): State<Arc<GatewayState>>) -> Result<Json<Readiness>> {
    let not_ready = |reason: String| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason);
    if gateway.shutdown.has_begun() {
        return Err(not_ready("the gateway is going down".to_owned()));
    }
    let broker = &gateway.broker;
    let own = async { broker.log.ready().await.and(broker.queue.ready().await) };
    let foreign = async {
        let Some(contract) = &broker.contract else { return PeerStatus::NotServed };
        match tokio::time::timeout(PEER_TIMEOUT, contract.ready()).await {
            Ok(Ok(())) => PeerStatus::Ready,
            Ok(Err(_)) | Err(_) => PeerStatus::Unavailable,
        }
    };
    let (own, fastagency) = tokio::join!(tokio::time::timeout(HEALTH_TIMEOUT, own), foreign);
    match own {
        Ok(Ok(())) => Ok(Json(Readiness { status: "ready".to_owned(), fastagency })),
        Ok(Err(error)) => Err(not_ready(error.to_string())),
        Err(_) => Err(not_ready(format!("the broker did not answer within {HEALTH_TIMEOUT:?}"))),
    }
}
