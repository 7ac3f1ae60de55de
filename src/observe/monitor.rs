//! A tier's listener for operators: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever probes. It is apart from
//! the tier's own port, so that no proxy in front of that one opens it to the world. Beyond this machine `/metrics` asks for
//! a token, in front of which stands the configuration's check.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::lifecycle::Shutdown;
use crate::metrics;
use crate::serving::{self, ConnectionLimits};

/// How long it may take to find out what a scrape or a probe asks; both commonly give up after some seconds.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(3);

/// Scrapers and probes at once; of more, those go that ask nothing.
const MOST_CONNECTIONS: u32 = 200;

/// Asks the broker for metrics that nobody counts, just before they are shown.
pub type MetricsRefresh = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;
/// Whether the tier can work, or why not.
pub type ReadinessCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What is shown to whom.
#[derive(Clone)]
pub struct MonitorState {
    /// What a scrape must show as `Authorization: Bearer …`; none: it need not.
    pub token: Option<SecretString>,
    /// Called before metrics are shown.
    pub refresh: Option<MetricsRefresh>,
    /// Whether the tier can work.
    pub ready: ReadinessCheck,
}

/// Serves until the end begins.
pub async fn serve(listener: TcpListener, monitor: MonitorState, shutdown: Shutdown) -> std::io::Result<()> {
    let app = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(async || axum::Json(json!({"status": "alive"}))))
        .route("/readyz", get(ready))
        .with_state((monitor, shutdown.clone()));
    let connections = ConnectionLimits { most: Some(MOST_CONNECTIONS), ..ConnectionLimits::default() };
    serving::serve(listener, app, connections, shutdown).await;
    Ok(())
}

async fn metrics_page(State((monitor, _)): State<(MonitorState, Shutdown)>, headers: HeaderMap) -> Response {
    // Without a token they are for this machine: a name that leads here may be that of a page elsewhere (DNS rebinding).
    if monitor.token.is_none() && !is_this_machine(&headers) {
        let message = "without metrics.token these metrics are for this machine: ask at localhost or an address";
        let error = json!({"error": {"code": "forbidden", "message": message}});
        return (StatusCode::FORBIDDEN, axum::Json(error)).into_response();
    }
    if let Some(token) = &monitor.token
        && !shows(&headers, token)
    {
        let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
        let error = json!({"error": {"code": "unauthorized", "message": "show the token of metrics.token"}});
        return (StatusCode::UNAUTHORIZED, challenge, axum::Json(error)).into_response();
    }
    if let Some(refresh) = &monitor.refresh {
        // What the broker does not say in time is shown as it was.
        let _ = tokio::time::timeout(SCRAPE_TIMEOUT, refresh()).await;
    }
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text()).into_response()
}

/// Whether they are asked for at an address, or at the name that is every machine's own.
fn is_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().unwrap_or("?").to_ascii_lowercase();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.ends_with(".localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Whether the headers show the token. Digests are compared, so that the time taken says nothing of it.
fn shows(headers: &HeaderMap, token: &SecretString) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(shown) = shown.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
    Sha256::digest(shown) == Sha256::digest(token.expose_secret())
}

async fn ready(State((monitor, shutdown)): State<(MonitorState, Shutdown)>) -> Response {
    let not_ready = |why: String| {
        let error = json!({"error": {"code": "not_ready", "message": why}});
        (StatusCode::SERVICE_UNAVAILABLE, axum::Json(error)).into_response()
    };
    if shutdown.has_begun() {
        return not_ready("it is going down".to_owned());
    }
    match tokio::time::timeout(SCRAPE_TIMEOUT, (monitor.ready)()).await {
        Ok(Ok(())) => axum::Json(json!({"status": "ready"})).into_response(),
        Ok(Err(why)) => not_ready(why),
        Err(_) => not_ready(format!("the broker did not answer within {SCRAPE_TIMEOUT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_without_a_token_are_shown_under_no_foreign_name() {
        let asked_at = |host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            is_this_machine(&headers)
        };
        for host in ["localhost", "localhost:9464", "127.0.0.1:9464", "[::1]:9464", "10.0.0.7:9464"] {
            assert!(asked_at(host), "{host}");
        }
        for host in ["evil.example", "evil.example:9464", "localhost.evil.example:9464", "127.0.0.1.evil.example"] {
            assert!(!asked_at(host), "{host}");
        }
    }
}
