//! A server that does what a test says: of 2026-07-28, or of 2025-11-25 where it does not know `server/discover`.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::*;

/// What it answers: the result for a method and its params, or a status.
type Behaviour = dyn Fn(&str, &Value, &HeaderMap) -> Result<Value, StatusCode> + Send + Sync;

/// The server.
pub struct FakeServer {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Desk {
    behaviour: Arc<Behaviour>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    pub async fn start(
        behaviour: impl Fn(&str, &Value, &HeaderMap) -> Result<Value, StatusCode> + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let desk = Desk { behaviour: Arc::new(behaviour), asked: asked.clone() };
        let mut server = JoinSet::new();
        let app = Router::new().fallback(answer).with_state(desk);
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked, _server: server }
    }

    /// The methods that it was asked, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    pub fn config(&self) -> McpServerConfig {
        address(&self.url)
    }
}

async fn answer(State(desk): State<Desk>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // It says nothing by itself, and sessions end by themselves.
    if parts.method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or_default();
    desk.asked.lock().push(method.to_owned());
    let result = match (method, (desk.behaviour)(method, &message["params"], &parts.headers)) {
        (_, Err(status)) => return status.into_response(),
        ("server/discover", Ok(Value::Null)) => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "ttlMs": 1000, "cacheScope": "private",
        }),
        ("initialize", Ok(Value::Null)) => {
            let server = json!({"name": "fake", "version": "1"});
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": server});
            let answer = axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
            return ([("mcp-session-id", "a-session")], answer).into_response();
        }
        (method, Ok(_)) if method.starts_with("notifications/") => return StatusCode::ACCEPTED.into_response(),
        (_, Ok(mut result)) if result["jsonrpc_error"].is_object() => {
            let error = result["jsonrpc_error"].take();
            return axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "error": error})).into_response();
        }
        (_, Ok(result)) => result,
    };
    axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).into_response()
}

pub fn authorization(headers: &HeaderMap) -> &str {
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
