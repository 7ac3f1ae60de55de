//! A server that records what it is sent: an API with every way to show a credential, its specification, and the tokens for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fastagency::config::SecretConfig;
use fastagency::openapi::OpenApiDeclaration;
use fastagency::outside::OutsideServices;
use fastagency::outside::addresses::AddressRules;
use fastagency::outside::http::HttpSender;
use fastagency::outside::openapi::OpenApiToolset;
use fastagency::outside::secrets::Secrets;
use fastagency::outside::toolset::{Toolset, ToolsetAnswer, ToolsetCall, ToolsetError};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A request as the server got it.
#[derive(Debug, Clone)]
pub struct SentRequest {
    pub method: String,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl SentRequest {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Default)]
pub struct ServerState {
    pub sent: Mutex<Vec<SentRequest>>,
    pub specification: Mutex<Value>,
    /// What the specification's tag is; it is sent with it.
    pub tag: Mutex<String>,
    /// Other documents, by their path; a text is where to look instead.
    pub documents: Mutex<BTreeMap<String, Value>>,
    /// The specification is not given.
    pub is_away: AtomicBool,
    /// Tokens that were given.
    pub tokens: AtomicUsize,
    /// No token is given.
    pub gives_none: AtomicBool,
    /// Where `/moved` redirects to; none: to where nobody listens.
    pub moves_to: Mutex<Option<String>>,
    /// How long a token lasts, in seconds.
    pub lifetime: Mutex<Option<u64>>,
    /// Bearers that are refused.
    pub refused: Mutex<Vec<String>>,
    /// While it is set, a token takes a permit.
    pub gate: Mutex<Option<Arc<Semaphore>>>,
}

pub struct ApiServer {
    pub url: String,
    pub state: Arc<ServerState>,
    _server: JoinSet<()>,
}

impl ApiServer {
    pub async fn start() -> Self {
        let state = Arc::new(ServerState::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        *state.specification.lock() = specification(&url);
        *state.lifetime.lock() = Some(3600);
        let routes = Router::new().fallback(answer).with_state(state.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, state, _server: server }
    }

    /// The requests below a path.
    pub fn sent(&self, path: &str) -> Vec<SentRequest> {
        self.state.sent.lock().iter().filter(|sent| sent.uri.starts_with(path)).cloned().collect()
    }

    pub fn declaration(&self) -> OpenApiDeclaration {
        OpenApiDeclaration { source: format!("{}/openapi.json", self.url), ..OpenApiDeclaration::default() }
    }

    /// The set of all tools, with these secrets.
    pub fn set(&self, secrets: &[(&str, SecretConfig)]) -> OpenApiToolset {
        services(secrets, Path::new("")).openapi(self.declaration())
    }
}

pub fn services(secrets: &[(&str, SecretConfig)], folder: &Path) -> OutsideServices {
    let rules = AddressRules::new(&["127.0.0.1".to_owned()]);
    let secrets: BTreeMap<String, SecretConfig> =
        secrets.iter().map(|(name, secret)| ((*name).to_owned(), secret.clone())).collect();
    OutsideServices::of_parts(Arc::new(HttpSender::new(rules, None)), Secrets::new(secrets), folder)
}

pub async fn call(set: &OpenApiToolset, tool: &str, arguments: Value) -> Result<Value, ToolsetError> {
    let call = ToolsetCall {
        tool,
        arguments: arguments.as_object().unwrap(),
        secrets: &[],
        caller: None,
        key: "0123456789abcdef0123456789abcdef",
        run: "run",
        within: Duration::from_secs(20),
        max_result: 1000,
        resumed: None,
    };
    match set.call(call).await? {
        ToolsetAnswer::Value(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

fn specification(url: &str) -> Value {
    let operation = |security: Value| json!({"get": {"security": security}});
    let parameters = json!([
        {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}},
        {"name": "tags", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
        {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}},
    ]);
    let body = json!({"required": true, "content": {"application/json": {"schema": {
        "type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}, "note": {"type": "string"}},
    }}}});
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Recorder", "version": "1"},
        "servers": [{"url": url}],
        "security": [{"headerKey": []}],
        "components": {"securitySchemes": {
            "headerKey": {"type": "apiKey", "in": "header", "name": "X-Key"},
            "queryKey": {"type": "apiKey", "in": "query", "name": "api_key"},
            "cookieKey": {"type": "apiKey", "in": "cookie", "name": "session"},
            "basic": {"type": "http", "scheme": "basic"},
            "bearer": {"type": "http", "scheme": "bearer"},
            "digest": {"type": "http", "scheme": "digest"},
            "oidc": {"type": "openIdConnect", "openIdConnectUrl": "https://id.example"},
            "oauth": {"type": "oauth2", "flows": {"clientCredentials": {
                "tokenUrl": format!("{url}/token"), "scopes": {"read": "", "write": ""},
            }}},
        }},
        "paths": {
            "/header": operation(json!([{"headerKey": []}])),
            "/query": operation(json!([{"queryKey": []}])),
            "/cookie": operation(json!([{"cookieKey": []}])),
            "/basic": operation(json!([{"basic": []}])),
            "/bearer": operation(json!([{"bearer": []}])),
            "/oidc": operation(json!([{"oidc": []}])),
            "/oauth": operation(json!([{"oauth": ["read"]}])),
            "/digest": operation(json!([{"digest": []}])),
            "/both": operation(json!([{"queryKey": [], "bearer": []}])),
            "/either": operation(json!([{"bearer": []}, {"queryKey": []}])),
            "/optional": operation(json!([{}, {"bearer": []}])),
            "/open": operation(json!([])),
            "/inherits": {"get": {}},
            "/moved": operation(json!([{"headerKey": []}])),
            "/empty": operation(json!([])),
            "/long": operation(json!([])),
            "/digits": operation(json!([])),
            "/teapot": operation(json!([{"headerKey": []}])),
            "/payments": {"post": {"operationId": "pay", "tags": ["money"], "security": [], "requestBody": body}},
            "/invoices/{id}": {
                "put": {"operationId": "putInvoice", "tags": ["money"], "security": [], "parameters": parameters},
            },
        },
    })
}

async fn answer(State(state): State<Arc<ServerState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let sent = SentRequest {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    state.sent.lock().push(sent.clone());
    let document = state.documents.lock().get(parts.uri.path()).cloned();
    match document {
        Some(Value::String(elsewhere)) => return (StatusCode::FOUND, [(header::LOCATION, elsewhere)]).into_response(),
        Some(document) => return axum::Json(document).into_response(),
        None => {}
    }
    match parts.uri.path() {
        "/openapi.json" => given_specification(&state, &sent),
        "/token" => token(&state).await,
        "/moved" => {
            let target = state.moves_to.lock().clone().unwrap_or_else(|| "http://127.0.0.2:9/elsewhere".to_owned());
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response()
        }
        "/empty" => StatusCode::NO_CONTENT.into_response(),
        "/long" => "x".repeat(3000).into_response(),
        "/digits" => ([(header::CONTENT_TYPE, "application/json")], r#"{"total": 19.90, "id": 12345678901234567890}"#)
            .into_response(),
        "/teapot" => (StatusCode::IM_A_TEAPOT, format!("no coffee for {}", sent.header("x-key"))).into_response(),
        _ if state.refused.lock().iter().any(|bearer| sent.header("authorization") == format!("Bearer {bearer}")) => {
            (StatusCode::UNAUTHORIZED, "this token is not taken any more").into_response()
        }
        _ => axum::Json(json!({
            "method": sent.method, "uri": sent.uri, "body": sent.body, "key": sent.header("x-key"),
            "authorization": sent.header("authorization"), "cookie": sent.header("cookie"),
        }))
        .into_response(),
    }
}

fn given_specification(state: &ServerState, sent: &SentRequest) -> Response {
    if state.is_away.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let tag = format!("\"{}\"", state.tag.lock());
    if sent.header("if-none-match") == tag {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([(header::ETAG, tag)], axum::Json(state.specification.lock().clone())).into_response()
}

async fn token(state: &ServerState) -> Response {
    let gate = state.gate.lock().clone();
    if let Some(gate) = gate {
        gate.acquire().await.unwrap().forget();
    }
    if state.gives_none.load(Ordering::SeqCst) {
        let error = json!({"error": "invalid_client", "error_description": "not client-secret-1"});
        return (StatusCode::UNAUTHORIZED, axum::Json(error)).into_response();
    }
    let number = state.tokens.fetch_add(1, Ordering::SeqCst);
    axum::Json(json!({
        "access_token": format!("access-token-{number}"), "token_type": "Bearer",
        "refresh_token": format!("refresh-token-{number}"), "expires_in": *state.lifetime.lock(),
    }))
    .into_response()
}
