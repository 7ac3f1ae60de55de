//! An authorization server that says yes, and an API behind it: PKCE is checked, refresh tokens are used once, and what it was sent is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

pub type Form = BTreeMap<String, String>;

/// What the server does, and what it knows.
#[derive(Default)]
pub struct LoginState {
    url: String,
    /// The forms that came to the token endpoint.
    pub asked: Mutex<Vec<Form>>,
    /// The addresses that browsers were sent to.
    pub opened: Mutex<Vec<Form>>,
    /// Tokens that were taken back.
    pub revoked: Mutex<Vec<String>>,
    /// What was registered.
    pub registered: Mutex<Vec<Value>>,
    /// Refresh tokens that came a second time.
    pub reused: Mutex<Vec<String>>,
    /// What the browser is sent back with in place of a code.
    pub refuses: Mutex<Option<&'static str>>,
    /// The name that it gives itself when it sends the browser back; none: its own.
    pub issuer: Mutex<Option<String>>,
    /// What the device flow answers, one after the other; then it says yes.
    pub device: Mutex<Vec<&'static str>>,
    /// How long a token lasts, in seconds.
    pub lifetime: AtomicUsize,
    /// What its document does not have.
    pub without: Mutex<Vec<&'static str>>,
    codes: Mutex<BTreeMap<String, Form>>,
    valid: Mutex<Option<String>>,
    used: Mutex<Vec<String>>,
    access: Mutex<Vec<String>>,
    given: AtomicUsize,
}

pub struct LoginServer {
    pub url: String,
    pub state: Arc<LoginState>,
    _server: JoinSet<()>,
}

impl LoginServer {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = LoginState { url: url.clone(), lifetime: AtomicUsize::new(3600), ..LoginState::default() };
        let state = Arc::new(state);
        let routes = Router::new()
            .route("/.well-known/oauth-authorization-server", get(document))
            .route("/openapi.json", get(specification))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/device", post(device))
            .route("/revoke", post(revoke))
            .route("/register", post(register))
            .route("/whoami", get(whoami))
            .with_state(state.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, state, _server: server }
    }

    /// The grants that tokens were asked for with.
    pub fn grants(&self) -> Vec<String> {
        self.state.asked.lock().iter().map(|form| form["grant_type"].clone()).collect()
    }
}

async fn document(State(state): State<Arc<LoginState>>) -> axum::Json<Value> {
    let url = &state.url;
    let mut document = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "device_authorization_endpoint": format!("{url}/device"),
        "revocation_endpoint": format!("{url}/revoke"),
        "registration_endpoint": format!("{url}/register"),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    for key in state.without.lock().iter() {
        document.as_object_mut().unwrap().remove(*key);
    }
    axum::Json(document)
}

async fn specification(State(state): State<Arc<LoginState>>) -> axum::Json<Value> {
    let url = &state.url;
    axum::Json(json!({
        "openapi": "3.1.0",
        "info": {"title": "Who", "version": "1"},
        "servers": [{"url": url}],
        "components": {"securitySchemes": {"crm": {
            "type": "openIdConnect", "openIdConnectUrl": format!("{url}/.well-known/oauth-authorization-server"),
        }}},
        "paths": {"/whoami": {"get": {"operationId": "whoami", "security": [{"crm": []}]}}},
    }))
}

async fn authorize(State(state): State<Arc<LoginState>>, Query(query): Query<Form>) -> Response {
    state.opened.lock().push(query.clone());
    let issuer = state.issuer.lock().clone().unwrap_or_else(|| state.url.clone());
    let answer = match *state.refuses.lock() {
        Some(error) => ("error", error.to_owned()),
        None => {
            let code = format!("code-{}", state.given.fetch_add(1, Ordering::SeqCst));
            state.codes.lock().insert(code.clone(), query.clone());
            ("code", code)
        }
    };
    let mut back = reqwest::Url::parse(&query["redirect_uri"]).unwrap();
    let pairs = [answer, ("state", query["state"].clone()), ("iss", issuer)];
    back.query_pairs_mut().extend_pairs(pairs);
    (StatusCode::FOUND, [(header::LOCATION, back.to_string())]).into_response()
}

fn form(body: &Bytes) -> Form {
    form_urlencoded::parse(body).into_owned().collect()
}

fn refused(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, axum::Json(json!({"error": error}))).into_response()
}

async fn token(State(state): State<Arc<LoginState>>, body: Bytes) -> Response {
    let form = form(&body);
    state.asked.lock().push(form.clone());
    match form["grant_type"].as_str() {
        "authorization_code" => {
            let Some(begun) = state.codes.lock().remove(&form["code"]) else { return refused("invalid_grant") };
            let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
            let fits = begun["code_challenge"] == challenge
                && begun["redirect_uri"] == form["redirect_uri"]
                && begun["client_id"] == form["client_id"];
            if !fits {
                return refused("invalid_grant");
            }
        }
        "refresh_token" => {
            let shown = form["refresh_token"].clone();
            if state.used.lock().contains(&shown) {
                state.reused.lock().push(shown);
                return refused("invalid_grant");
            }
            if state.valid.lock().as_ref() != Some(&shown) {
                return refused("invalid_grant");
            }
            state.used.lock().push(shown);
        }
        _ => {
            let mut answers = state.device.lock();
            if !answers.is_empty() {
                return refused(answers.remove(0));
            }
        }
    }
    let number = state.given.fetch_add(1, Ordering::SeqCst);
    let (access, refresh) = (format!("access-token-{number}"), format!("refresh-token-{number}"));
    state.access.lock().push(access.clone());
    *state.valid.lock() = Some(refresh.clone());
    axum::Json(json!({
        "access_token": access, "token_type": "Bearer", "refresh_token": refresh,
        "expires_in": state.lifetime.load(Ordering::SeqCst),
    }))
    .into_response()
}

async fn device(State(state): State<Arc<LoginState>>) -> axum::Json<Value> {
    axum::Json(json!({
        "device_code": "device-code-1", "user_code": "ABCD-EFGH", "verification_uri": format!("{}/activate", state.url),
        "expires_in": 600, "interval": 0,
    }))
}

async fn revoke(State(state): State<Arc<LoginState>>, body: Bytes) -> StatusCode {
    let token = form(&body)["token"].clone();
    state.access.lock().retain(|known| *known != token);
    state.revoked.lock().push(token);
    StatusCode::OK
}

async fn register(State(state): State<Arc<LoginState>>, axum::Json(about): axum::Json<Value>) -> axum::Json<Value> {
    state.registered.lock().push(about);
    axum::Json(json!({"client_id": "registered-1"}))
}

async fn whoami(State(state): State<Arc<LoginState>>, request: Request) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
    let token = shown.strip_prefix("Bearer ").unwrap_or_default().to_owned();
    match state.access.lock().contains(&token) {
        true => axum::Json(json!({"user": "ann", "token": token})).into_response(),
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

impl LoginState {
    /// Takes no access token any more.
    pub fn forget_access(&self) {
        self.access.lock().clear();
    }
}
