//! Logging in at the page: passwords, keys, and an OpenID provider that speaks the real protocol.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use fastagency::auth::session::{CookieKey, LoginProof, LoginSession, SealPurpose};
use fastagency::broker::Bucket;
use fastagency::config::{AuthConfig, AuthMode, JwtAlgorithm, JwtKey, OidcConfig, TrustedHeaderConfig, UsersAndGroups};
use fastagency::ids::Name;
use fastagency::protocol::caller_token::CallerToken;
use fastagency::run::caller_token;
use fastagency::run::directory::{self, WorkflowCard};
use fastagency::ui;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::access::{basic, claims, ed25519, eddsa, hs256, jwt, now, people};
use super::player::{Player, text_input};
use super::ui::Front;
use crate::support::client::{hear_json, run_id, say};
use crate::support::system::{System, sealer};
use fastagency::ui::PageBrand;

const KEY: &str = "a key of cookies, long enough to be one";

/// A page where nobody logs in.
pub fn nobody() -> ui::LoginSettings {
    ui::LoginSettings {
        key: KEY.to_owned().into(),
        lifetime: Duration::from_secs(3600),
        public_url: None,
        oidc: None,
        keeps_access_tokens: false,
        previous_keys: vec![],
        trusted_header: None,
    }
}

/// A browser, as far as it matters here: it keeps cookies and follows no redirect by itself.
#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    pub base: String,
    pub cookies: Arc<Mutex<HashMap<String, String>>>,
    /// What the page was told by `/auth/me`.
    pub csrf: Arc<Mutex<Option<String>>>,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub set_cookies: Vec<String>,
}

impl Answer {
    fn location(&self) -> String {
        self.headers["location"].to_str().unwrap().to_owned()
    }
}

impl Browser {
    pub fn at(base: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, base: base.to_owned(), cookies: Arc::default(), csrf: Arc::default() }
    }

    pub fn cookie_header(&self) -> String {
        let cookies = self.cookies.lock().unwrap();
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut call = self.http.request(method.parse().unwrap(), url);
        let cookies = self.cookie_header();
        if !cookies.is_empty() && !path.starts_with("http") {
            call = call.header("cookie", cookies);
        }
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        // As a page does: reading needs none.
        let is_read = method == "GET" || path.starts_with("http");
        if let Some(token) = self.csrf.lock().unwrap().as_ref().filter(|_| !is_read) {
            call = call.header("x-csrf-token", token);
        }
        if let Some(body) = body {
            call = call.json(&body);
        }
        let answer = call.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let set_cookies: Vec<String> =
            headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        for cookie in &set_cookies {
            let (name, rest) = cookie.split_once('=').unwrap();
            let (value, attributes) = rest.split_once(';').unwrap();
            let mut kept = self.cookies.lock().unwrap();
            if attributes.contains("Max-Age=0;") {
                kept.remove(name);
            } else {
                kept.insert(name.to_owned(), value.to_owned());
            }
        }
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if path == "/auth/me" {
            *self.csrf.lock().unwrap() = body["csrf"].as_str().map(str::to_owned);
        }
        Answer { status, headers, body, set_cookies }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &[("origin", &self.base)], Some(body)).await
    }
}

/// A gateway that asks for passwords, a page before it, and the key of a program.
async fn with_passwords(auth: impl FnOnce(AuthConfig) -> AuthConfig) -> (System, Front, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = people(&folder);
    let auth = auth(basic(file));
    let deployment = System::played_with(|_| {}, |settings| settings.auth = auth.clone()).await;
    let front = Front::of(&deployment.url, nobody(), PageBrand::default(), auth).await;
    (deployment, front, key, folder)
}

#[tokio::test]
async fn a_password_becomes_a_session_that_scripts_cannot_read() {
    let (deployment, front, _, _folder) = with_passwords(|auth| auth).await;
    let browser = Browser::at(&front.url);
    let me = browser.get("/auth/me").await;
    assert_eq!((me.status, &me.body), (200, &json!({"mode": "basic", "user": null, "login": "form"})));
    let refused = browser.get("/api/runs").await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.headers["www-authenticate"], "Bearer", "the browser puts no window of its own before the page");

    let wrong = browser.post("/auth/login", json!({"user": "alice", "password": "wrong"})).await;
    assert_eq!((wrong.status, &wrong.body["error"]["code"]), (401, &json!("unauthorized")));
    assert!(wrong.set_cookies.is_empty());
    let odd = browser.post("/auth/login", json!({"user": "alice"})).await;
    assert_eq!((odd.status, &odd.body["error"]["code"]), (422, &json!("invalid_body")));

    let login = browser.post("/auth/login", json!({"user": "alice", "password": "alice's password"})).await;
    assert_eq!(login.status, 204, "{}", login.body);
    let cookie = &login.set_cookies[0];
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"), "{cookie}");
    assert!(!cookie.contains("Secure"), "on this machine there is no TLS: {cookie}");
    let me = browser.get("/auth/me").await.body;
    assert_eq!(me["user"], json!({"name": "alice", "groups": ["teachers"], "admin": false, "answers_others": false}));

    // REST, events and a socket, all without a word of who one is but the cookie.
    let started = browser.post("/api/runs", json!({"workflow": "echo"})).await;
    assert_eq!((started.status, &started.body["user"]), (201, &json!("alice")), "{}", started.body);
    let run = crate::support::client::run_id(&started.body);
    let mut player = Player::take(&deployment, run).await;
    player.ask(text_input("well?", false)).await;
    let events = browser.get(&format!("/api/runs/{run}/events?follow=false")).await;
    assert!(events.body.as_str().unwrap().contains("well?"));
    let mut request = format!("{}/fastagency/ws", front.url.replace("http", "ws")).into_client_request().unwrap();
    request.headers_mut().insert("cookie", browser.cookie_header().parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a socket");
    say(&mut socket, json!({"workflow_uuid": run, "name": "echo", "params": {}}).to_string()).await;
    assert_eq!(hear_json(&mut socket).await["type"], "workflow_started");

    // Who says himself who he is, is that one.
    let bob = format!("Basic {}", BASE64_STANDARD.encode("bob:bob's password"));
    let bobs = browser.call("GET", &format!("/api/runs/{run}"), &[("authorization", &bob)], None).await;
    assert_eq!(bobs.status, 404);

    let stolen = browser.cookie_header();
    let logout = browser.post("/auth/logout", Value::Null).await;
    assert_eq!((logout.status, browser.cookie_header().as_str()), (204, ""));
    let thief = browser.call("GET", "/api/runs", &[("cookie", &stolen)], None).await;
    assert_eq!(thief.status, 401, "a session that was ended counts nowhere");
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn a_password_that_no_token_is_given_for_and_a_key_log_in_too() {
    let (deployment, front, key, _folder) =
        with_passwords(|auth| AuthConfig { mode: AuthMode::Basic { token: None }, ..auth }).await;
    let browser = Browser::at(&front.url);
    assert_eq!(browser.post("/auth/login", json!({"user": "bob", "password": "bob's password"})).await.status, 204);
    assert_eq!(browser.get("/auth/me").await.body["user"]["name"], "bob");
    let colon = json!({"user": "dora", "password": "with:colon"});
    assert_eq!(Browser::at(&front.url).post("/auth/login", colon).await.status, 204);
    let program = Browser::at(&front.url);
    assert_eq!(program.post("/auth/login", json!({"key": key})).await.status, 204);
    assert_eq!(program.get("/auth/me").await.body["user"]["name"], "billing");
    for wrong in [
        json!({"key": "fak_wrong"}),
        json!({"key": ""}),
        json!({"key": "a\nb"}),
        json!({"user": "bob:bob's password", "password": ""}),
        json!({"user": "dora:with", "password": "colon"}),
    ] {
        assert_eq!(Browser::at(&front.url).post("/auth/login", wrong.clone()).await.status, 401, "{wrong}");
    }
    front.end().await;
    deployment.end().await;

    let (deployment, front, key, _folder) = with_passwords(|auth| AuthConfig { mode: AuthMode::ApiKey, ..auth }).await;
    let browser = Browser::at(&front.url);
    assert_eq!(browser.get("/auth/me").await.body, json!({"mode": "api_key", "user": null, "login": "key"}));
    assert_eq!(browser.post("/auth/login", json!({"key": key})).await.status, 204);
    assert_eq!(browser.get("/api/runs").await.status, 200);
    front.end().await;
    deployment.end().await;

    let open = System::played().await;
    let front = Front::before(&open.url).await;
    let browser = Browser::at(&front.url);
    assert_eq!(browser.get("/auth/me").await.body, json!({"mode": "none", "user": null, "login": null}));
    assert_eq!(browser.post("/auth/login", json!({"key": "x"})).await.status, 409);
    assert_eq!(browser.get("/auth/oidc").await.status, 404);
    front.end().await;
    open.end().await;
}

#[tokio::test]
async fn cookies_that_were_changed_replayed_or_made_elsewhere_open_nothing() {
    let (deployment, front, _, _folder) = with_passwords(|auth| auth).await;
    let alice = format!("Basic {}", BASE64_STANDARD.encode("alice:alice's password"));
    let sealed = |key: &str, purpose: SealPurpose, lifetime: u64| {
        let session = LoginSession::begin(LoginProof::Authorization(alice.clone()), Duration::from_secs(lifetime));
        format!("fastagency=1.{}", CookieKey::new(&key.to_owned().into()).seal(purpose, &session))
    };
    let good = sealed(KEY, SealPurpose::Session, 60);
    let status =
        async |cookie: &str| Browser::at(&front.url).call("GET", "/api/runs", &[("cookie", cookie)], None).await.status;
    assert_eq!(status(&good).await, 200);
    for (what, cookie) in [
        ("over", sealed(KEY, SealPurpose::Session, 0)),
        ("sealed with another key", sealed("another key of cookies, as long as it", SealPurpose::Session, 60)),
        ("made for something else", sealed(KEY, SealPurpose::Login, 60)),
        ("changed", format!("{}A", &good[..good.len() - 1])),
        ("cut", good[..good.len() - 10].to_owned()),
        ("in pieces that are not there", good.replace("=1.", "=2.")),
        ("in more pieces than there may be", good.replace("=1.", "=99999999.")),
        ("without a count", good.replace("=1.", "=")),
        ("under the name of another", good.replace("fastagency=", "fastagency_login=")),
        ("empty", "fastagency=".to_owned()),
        ("no base64", "fastagency=1.~~~".to_owned()),
    ] {
        let cookie = if cookie == good { cookie.replace("=1.", "=1.B") } else { cookie };
        assert_eq!(status(&cookie).await, 401, "a cookie that is {what}");
    }
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_log_anybody_in_or_out_or_use_a_session() {
    let (deployment, front, _, _folder) = with_passwords(|auth| auth).await;
    let browser = Browser::at(&front.url);
    let login = json!({"user": "alice", "password": "alice's password"});
    let evil = [("origin", "https://evil.example")];
    assert_eq!(browser.call("POST", "/auth/login", &evil, Some(login.clone())).await.status, 403);
    assert_eq!(browser.post("/auth/login", login).await.status, 204);
    browser.get("/auth/me").await;
    assert_eq!(browser.call("POST", "/auth/logout", &evil, None).await.status, 403);
    // As far as SameSite lets a cookie come at all: a neighbour under the same name.
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let started = browser.call("POST", "/api/runs", &[("origin", origin)], Some(json!({"workflow": "echo"}))).await;
        assert_eq!(started.status, 403, "{origin}");
        let mut request = format!("{}/fastagency/ws", front.url.replace("http", "ws")).into_client_request().unwrap();
        request.headers_mut().insert("cookie", browser.cookie_header().parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let refused = tokio_tungstenite::connect_async(request).await;
        assert!(matches!(refused, Err(tokio_tungstenite::tungstenite::Error::Http(answer)) if answer.status() == 403));
    }
    let by_form = browser.call("POST", "/auth/login", &[("content-type", "text/plain")], None).await;
    assert_eq!(by_form.status, 422, "a form cannot send JSON");
    assert_eq!(browser.get("/auth/me").await.body["user"]["name"], "alice");
    front.end().await;
    deployment.end().await;
}

/// An OpenID provider: discovery, authorization, token and keys, as the specifications have them.
struct Provider {
    issuer: String,
    key: Ed25519KeyPair,
    /// How long an ID token counts, in seconds.
    lifetime: AtomicU64,
    /// Codes and what they were asked for with.
    codes: Mutex<HashMap<String, HashMap<String, String>>>,
    refresh_tokens: Mutex<Vec<String>>,
    renewals: AtomicUsize,
    other_nonce: AtomicBool,
    other_audience: AtomicBool,
    other_subject: AtomicBool,
    unverified: AtomicBool,
    fat: AtomicBool,
    /// It takes a refresh token more than once.
    renews_again: AtomicBool,
    closed: AtomicBool,
}

const CLIENT: &str = "the page";
/// What carol shows APIs.
const ACCESS_TOKEN: &str = "access-0815-of-carol";
const CLIENT_SECRET: &str = "secret: with a colon & more";

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(Self {
            issuer: format!("http://{}/realm", listener.local_addr().unwrap()),
            key: ed25519(),
            lifetime: AtomicU64::new(300),
            codes: Mutex::default(),
            refresh_tokens: Mutex::default(),
            renewals: AtomicUsize::new(0),
            other_nonce: AtomicBool::new(false),
            other_audience: AtomicBool::new(false),
            other_subject: AtomicBool::new(false),
            unverified: AtomicBool::new(false),
            fat: AtomicBool::new(false),
            renews_again: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let app = Router::new()
            .route("/realm/.well-known/openid-configuration", get(discovery))
            .route("/realm/authorize", get(authorize))
            .route("/realm/token", post(token))
            .route("/realm/keys", get(keys))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        provider
    }

    fn id_token(&self, nonce: Option<&str>) -> String {
        let audience = if self.other_audience.load(Ordering::Relaxed) { "another program" } else { CLIENT };
        let subject = if self.other_subject.load(Ordering::Relaxed) { "mallory-1" } else { "carol-1" };
        let mut claims = json!({"iss": self.issuer, "aud": audience, "sub": subject, "email": "carol@example.org",
            "email_verified": !self.unverified.load(Ordering::Relaxed),
            "exp": now() + self.lifetime.load(Ordering::Relaxed), "iat": now(), "roles": ["teachers"]});
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        if self.fat.load(Ordering::Relaxed) {
            claims["more"] = json!("x".repeat(7000));
        }
        eddsa(&self.key, &json!({"alg": "EdDSA", "kid": "k", "typ": "JWT"}), &claims)
    }
}

async fn discovery(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let at = |path: &str| format!("{}/{path}", provider.issuer);
    Json(json!({"issuer": provider.issuer, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "jwks_uri": at("keys"), "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"], "code_challenge_methods_supported": ["S256"]}))
}

/// Whoever comes here is carol, and agrees.
async fn authorize(State(provider): State<Arc<Provider>>, Query(query): Query<HashMap<String, String>>) -> Response {
    assert_eq!((query["response_type"].as_str(), query["client_id"].as_str()), ("code", CLIENT));
    assert_eq!(query["code_challenge_method"], "S256");
    assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
    let code = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
    let back = format!("{}?code={code}&state={}", query["redirect_uri"], query["state"]);
    provider.codes.lock().unwrap().insert(code, query);
    Redirect::to(&back).into_response()
}

async fn token(State(provider): State<Arc<Provider>>, headers: HeaderMap, form: String) -> Response {
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    let form: HashMap<String, String> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    if provider.closed.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let written = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let expected = BASE64_STANDARD.encode(format!("{}:{}", written(CLIENT), written(CLIENT_SECRET)));
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&format!("Basic {expected}")) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    let nonce = match form["grant_type"].as_str() {
        "authorization_code" => {
            // A code counts once.
            let Some(asked) = provider.codes.lock().unwrap().remove(&form["code"]) else {
                return refuse("invalid_grant");
            };
            let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
            if challenge != asked["code_challenge"] || form["redirect_uri"] != asked["redirect_uri"] {
                return refuse("invalid_grant");
            }
            let other = provider.other_nonce.load(Ordering::Relaxed);
            Some(if other { "of another login".to_owned() } else { asked["nonce"].clone() })
        }
        "refresh_token" => {
            provider.renewals.fetch_add(1, Ordering::Relaxed);
            // So does what renews, as careful providers have it.
            let mut known = provider.refresh_tokens.lock().unwrap();
            let Some(at) = known.iter().position(|token| *token == form["refresh_token"]) else {
                return refuse("invalid_grant");
            };
            if !provider.renews_again.load(Ordering::Relaxed) {
                known.remove(at);
            }
            None
        }
        _ => return refuse("unsupported_grant_type"),
    };
    let refresh = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
    provider.refresh_tokens.lock().unwrap().push(refresh.clone());
    Json(json!({"access_token": ACCESS_TOKEN, "expires_in": 200, "token_type": "Bearer", "id_token": provider.id_token(nonce.as_deref()),
        "refresh_token": refresh}))
    .into_response()
}

async fn keys(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let x = BASE64_URL_SAFE_NO_PAD.encode(provider.key.public_key());
    Json(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k", "x": x}]}))
}

/// How a gateway and a page are configured for the provider.
fn at_provider(provider: &Provider) -> (AuthConfig, OidcConfig) {
    let oidc = OidcConfig {
        issuer: provider.issuer.clone(),
        client_id: CLIENT.to_owned(),
        client_secret: Some(CLIENT_SECRET.to_owned().into()),
        scopes: vec!["openid".into(), "email".into()],
        user_claim: "email".into(),
        groups_claim: "roles".into(),
        accept_unverified_email: false,
    };
    let auth = AuthConfig {
        mode: AuthMode::Oidc(Box::new(oidc.clone())),
        admins: UsersAndGroups { users: vec![], groups: vec!["teachers".into()] },
        ..AuthConfig::default()
    };
    (auth, oidc)
}

async fn with_provider() -> (Arc<Provider>, System, Front) {
    let provider = Provider::start().await;
    let (auth, oidc) = at_provider(&provider);
    let deployment = System::played_with(|_| {}, |settings| settings.auth = auth).await;
    let front = Front::with(&deployment.url, ui::LoginSettings { oidc: Some(oidc), ..nobody() }).await;
    (provider, deployment, front)
}

/// Logs in as a browser does: to the provider, back with a code, and on to where it began.
async fn log_in(browser: &Browser, back_to: &str) -> Answer {
    let begun = browser.get(&format!("/auth/oidc?return={back_to}")).await;
    assert_eq!(begun.status, 303, "{}", begun.body);
    let agreed = browser.get(&begun.location()).await;
    assert_eq!(agreed.status, 303, "{}", agreed.body);
    let location = agreed.location();
    browser.get(location.strip_prefix(&browser.base).expect("it comes back here")).await
}

#[tokio::test]
async fn whoever_logs_in_at_the_provider_is_known_here() {
    let (provider, deployment, front) = with_provider().await;
    let browser = Browser::at(&front.url);
    assert_eq!(browser.get("/auth/me").await.body, json!({"mode": "oidc", "user": null, "login": "oidc"}));
    let back = log_in(&browser, "%2Fruns%2F0b9d%3Fa%3Db").await;
    assert_eq!((back.status, back.location().as_str()), (303, "../runs/0b9d?a=b"), "{}", back.body);
    assert_eq!(browser.cookies.lock().unwrap().keys().collect::<Vec<_>>(), ["fastagency"], "the login's own is gone");
    let me = browser.get("/auth/me").await.body;
    assert_eq!(
        me["user"],
        json!({"name": "carol@example.org", "groups": ["teachers"], "admin": true, "answers_others": true})
    );
    assert_eq!(browser.post("/api/runs", json!({"workflow": "echo"})).await.body["user"], "carol@example.org");
    // A program brings an ID token by itself.
    let token = format!("Bearer {}", provider.id_token(None));
    let direct = Browser::at(&deployment.url).call("GET", "/api/runs", &[("authorization", &token)], None).await;
    assert_eq!(direct.status, 200);
    // Only to this page does a login return.
    for elsewhere in ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "%2F%5Cevil.example", "%2F%0d%0aSet-Cookie:x"]
    {
        assert_eq!(log_in(&browser, elsewhere).await.location(), "../", "{elsewhere}");
    }
    // A token that takes more than one cookie.
    provider.fat.store(true, Ordering::Relaxed);
    assert_eq!(log_in(&browser, "%2F").await.status, 303);
    assert!(browser.cookies.lock().unwrap().len() > 2);
    assert_eq!(browser.get("/api/runs").await.status, 200);
    provider.fat.store(false, Ordering::Relaxed);
    assert_eq!(log_in(&browser, "%2F").await.status, 303);
    assert_eq!(browser.get("/api/runs").await.status, 200, "pieces of the longer one do not matter");
    front.end().await;
    deployment.end().await;
}

/// A run that somebody starts here, and the access token that it was given.
async fn token_of_run(deployment: &System, browser: &Browser, headers: &[(&str, &str)]) -> Option<CallerToken> {
    let started = browser.call("POST", "/api/runs", headers, Some(json!({"workflow": "desk"}))).await;
    assert_eq!(started.status, 201, "{}", started.body);
    caller_token::read(&deployment.broker, &sealer(), run_id(&started.body)).await.unwrap()
}

#[tokio::test]
async fn a_run_gets_the_access_token_of_a_login_and_never_an_id_token() {
    let provider = Provider::start().await;
    let (auth, oidc) = at_provider(&provider);
    let settings = |settings: &mut fastagency::gateway::Settings| {
        settings.auth = auth;
        settings.sealer = Some(sealer());
        settings.passes_caller_tokens = true;
    };
    let deployment = System::played_with(|_| {}, settings).await;
    let card = WorkflowCard {
        name: Name::parse("desk").unwrap(),
        title: None,
        description: None,
        params: None,
        definition: "hash-of-desk".to_owned(),
        uses_caller_token: true,
        signed: None,
    };
    directory::announce(&deployment.broker, &card, b"{}".to_vec(), None).await.unwrap();
    for keeps_access_tokens in [true, false] {
        let login = ui::LoginSettings { oidc: Some(oidc.clone()), keeps_access_tokens, ..nobody() };
        let front = Front::with(&deployment.url, login).await;
        let browser = Browser::at(&front.url);
        assert_eq!(log_in(&browser, "%2F").await.status, 303);
        browser.get("/auth/me").await;
        assert!(!browser.cookie_header().contains(ACCESS_TOKEN), "the cookie is sealed");
        // What a script of the page says is not the session's.
        let made_up = [("origin", browser.base.as_str()), ("x-fastagency-access-token", "4102444800 made-up-0815")];
        for headers in [&made_up[..1], &made_up] {
            let token = token_of_run(&deployment, &browser, headers).await;
            let shown = token.as_ref().map(|token| (token.user.as_str(), token.token.as_str()));
            assert_eq!(shown, keeps_access_tokens.then_some(("carol@example.org", ACCESS_TOKEN)));
            assert!(token.is_none_or(|token| token.until.as_second() <= now() as i64 + 200));
        }
        front.end().await;
    }
    // A program shows both.
    let direct = Browser::at(&deployment.url);
    let id_token = format!("Bearer {}", provider.id_token(None));
    let both = [("authorization", id_token.as_str()), ("x-fastagency-access-token", "4102444800 access-0816")];
    assert_eq!(token_of_run(&deployment, &direct, &both[..1]).await, None);
    let shown = token_of_run(&deployment, &direct, &both).await.unwrap();
    assert_eq!(shown.token, "access-0816");
    assert!(shown.until.as_second() <= now() as i64 + 24 * 3600, "a day at most: {}", shown.until);
    deployment.end().await;
}

#[tokio::test]
async fn below_a_path_a_login_at_the_provider_comes_back_to_that_path() {
    let provider = Provider::start().await;
    let (auth, oidc) = at_provider(&provider);
    let deployment = System::played_with(|_| {}, |settings| settings.auth = auth).await;
    let public_url = Some("https://page.example/agents".to_owned());
    let login = ui::LoginSettings { oidc: Some(oidc), public_url, ..nobody() };
    let front = Front::with(&deployment.url, login).await;
    let browser = Browser::at(&front.url);
    // Whether a proxy leaves the path or removes it.
    for before in ["/agents", ""] {
        for (wanted, led_to) in [
            ("%2Fruns%2F0b9d%3Fa%3Db", "../runs/0b9d?a=b"),
            ("%2F..%2Fother", "../"),
            ("%2Fruns%2F..%2F..%2F%2Fevil.example", "../"),
            ("%2F%252e%252E%2Fother", "../"),
            ("%2F%2Fevil.example", "../"),
        ] {
            let begun = browser.get(&format!("{before}/auth/oidc?return={wanted}")).await;
            let agreed = browser.get(&begun.location()).await.location();
            let callback = agreed.strip_prefix("https://page.example/agents").expect("the provider leads to the path");
            let back = browser.get(&format!("{before}{callback}")).await;
            assert_eq!((back.status, back.location().as_str()), (303, led_to), "{wanted}: {}", back.body);
        }
    }
    let names: Vec<String> = browser.cookies.lock().unwrap().keys().cloned().collect();
    assert!(names.len() == 1 && names[0].starts_with("__Host-fastagency-"), "{names:?}");
    let failed = browser.get("/agents/auth/callback?error=x").await;
    let page = failed.body.as_str().unwrap();
    assert!(page.contains("href=\"../assets/style.css\"") && page.contains("href=\"oidc?return="), "{page}");
    assert!(!page.contains("\"/"), "nothing names the root: {page}");
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn two_systems_below_one_host_keep_their_sessions_apart() {
    let folder = tempfile::tempdir().unwrap();
    let auth = basic(people(&folder).0);
    let deployment = System::played_with(|_| {}, |settings| settings.auth = auth.clone()).await;
    for scheme in ["http", "https"] {
        let jar = Browser::at("");
        let mut pages = Vec::new();
        for (path, key) in [("/agents", KEY), ("/help", "another key of cookies, as long as it must be"), ("", KEY)] {
            let public_url = Some(format!("{scheme}://page.example{path}"));
            let login = ui::LoginSettings { public_url, key: key.to_owned().into(), ..nobody() };
            let front = Front::of(&deployment.url, login, PageBrand::default(), auth.clone()).await;
            let browser = Browser { base: front.url.clone(), csrf: Arc::default(), ..jar.clone() };
            let answer = browser.post("/auth/login", json!({"user": "alice", "password": "alice's password"})).await;
            let folder = if scheme == "https" { "/".to_owned() } else { format!("{path}/") };
            let cookie = &answer.set_cookies[0];
            assert!(cookie.contains(&format!("; Path={folder};")), "{cookie}");
            assert_eq!(cookie.starts_with("__Host-"), scheme == "https", "{cookie}");
            pages.push((front, browser));
        }
        assert_eq!(jar.cookies.lock().unwrap().len(), 3, "each has a name of its own");
        for (_, browser) in &pages {
            assert_eq!(browser.get("/auth/me").await.body["user"]["name"], "alice");
        }
        for (signed_out, (_, browser)) in pages.iter().enumerate() {
            assert_eq!(browser.post("/auth/logout", Value::Null).await.status, 204);
            for (number, (_, other)) in pages.iter().enumerate() {
                assert_eq!(other.get("/api/runs").await.status, if number > signed_out { 200 } else { 401 });
            }
        }
        for (front, _) in pages {
            front.end().await;
        }
    }
    deployment.end().await;
}

#[tokio::test]
async fn a_login_counts_only_for_the_browser_that_began_it() {
    let (provider, deployment, front) = with_provider().await;
    let browser = Browser::at(&front.url);
    let begin = async || {
        let begun = browser.get("/auth/oidc?return=%2F").await.location();
        let agreed = browser.get(&begun).await.location();
        agreed.strip_prefix(&browser.base).unwrap().to_owned()
    };
    let callback = begin().await;
    // Somebody else's browser is led there with a code (login CSRF), or the state is another.
    let victim = Browser::at(&front.url);
    assert_eq!(victim.get(&callback).await.status, 403);
    let other_state = callback.replace("state=", "state=x");
    assert_eq!(browser.get(&other_state).await.status, 403);
    assert_eq!(browser.get("/auth/callback?error=access_denied&state=x").await.status, 403);
    // The right one, once.
    assert_eq!(browser.get(&callback).await.status, 303);
    assert_eq!(browser.get(&callback).await.status, 403, "a second time");
    // From another server (mix-up), by its own word.
    let callback = begin().await;
    assert_eq!(browser.get(&format!("{callback}&iss=https%3A%2F%2Fevil.example")).await.status, 403);
    // ID tokens of another login, for another program.
    provider.other_nonce.store(true, Ordering::Relaxed);
    assert_eq!(browser.get(&begin().await).await.status, 403);
    provider.other_nonce.store(false, Ordering::Relaxed);
    provider.other_audience.store(true, Ordering::Relaxed);
    assert_eq!(browser.get(&begin().await).await.status, 403);
    provider.other_audience.store(false, Ordering::Relaxed);
    let nasty = "/auth/callback?error=x&error_description=%3Cscript%3E&state=";
    let began = browser.get("/auth/oidc").await.location();
    let state = began.split("&state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let said = browser.get(&format!("{nasty}{state}")).await;
    let page = said.body.as_str().unwrap();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn a_login_is_renewed_once_however_many_requests_want_it_and_ends_with_the_providers_no() {
    let (provider, deployment, front) = with_provider().await;
    let browser = Browser::at(&front.url);
    // An ID token that is as good as over, so that the next request renews it.
    provider.lifetime.store(20, Ordering::Relaxed);
    assert_eq!(log_in(&browser, "%2F").await.status, 303);
    provider.lifetime.store(300, Ordering::Relaxed);
    let old = browser.cookie_header();
    let at_once = futures_util::future::join_all((0..8).map(|_| browser.get("/api/runs"))).await;
    assert!(at_once.iter().all(|answer| answer.status == 200 && answer.set_cookies.len() == 1));
    assert_eq!(provider.renewals.load(Ordering::Relaxed), 1);
    let late = Browser::at(&front.url).call("GET", "/api/runs", &[("cookie", &old)], None).await;
    assert_eq!((late.status, provider.renewals.load(Ordering::Relaxed)), (200, 1), "one that was under way");
    assert_eq!(browser.get("/api/runs").await.set_cookies.len(), 0, "fresh again");

    // Away: what still counts counts on, and nobody is logged out.
    let stale = LoginSession::begin(
        LoginProof::Oidc {
            id_token: "x.y.z".into(),
            fresh_until: 0,
            refresh_token: Some("made up".into()),
            access_token: None,
        },
        Duration::from_secs(60),
    );
    let cookie = format!("fastagency=1.{}", CookieKey::new(&KEY.to_owned().into()).seal(SealPurpose::Session, &stale));
    provider.closed.store(true, Ordering::Relaxed);
    let away = Browser::at(&front.url).call("GET", "/api/runs", &[("cookie", &cookie)], None).await;
    assert_eq!((away.status, &away.body["error"]["code"]), (503, &json!("auth_unavailable")));
    provider.closed.store(false, Ordering::Relaxed);
    // What is renewed is about somebody else: over.
    let old = provider.id_token(None);
    assert_eq!(log_in(&Browser::at(&front.url), "%2F").await.status, 303);
    let refresh_token = provider.refresh_tokens.lock().unwrap().last().cloned();
    provider.other_subject.store(true, Ordering::Relaxed);
    let swapped = LoginSession::begin(
        LoginProof::Oidc { id_token: old, fresh_until: 0, refresh_token, access_token: None },
        Duration::from_secs(60),
    );
    let swapped =
        format!("fastagency=1.{}", CookieKey::new(&KEY.to_owned().into()).seal(SealPurpose::Session, &swapped));
    assert_eq!(Browser::at(&front.url).call("GET", "/api/runs", &[("cookie", &swapped)], None).await.status, 401);
    provider.other_subject.store(false, Ordering::Relaxed);
    // The provider does not know it: over, and the cookie goes.
    let over = Browser::at(&front.url).call("GET", "/api/runs", &[("cookie", &cookie)], None).await;
    assert_eq!(over.status, 401);
    assert!(over.set_cookies[0].contains("Max-Age=0"), "{:?}", over.set_cookies);
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn behind_tls_a_cookie_is_for_tls_and_for_this_host_alone() {
    let (deployment, front, _, _folder) = with_passwords(behind_a_proxy).await;
    let browser = Browser::at(&front.url);
    let headers = [("x-forwarded-host", "chat.example.com"), ("origin", "https://chat.example.com")];
    let login = json!({"user": "alice", "password": "alice's password"});
    let answer = browser.call("POST", "/auth/login", &headers, Some(login)).await;
    assert_eq!(answer.status, 204);
    assert!(answer.set_cookies[0].starts_with("__Host-fastagency=1."), "{:?}", answer.set_cookies);
    assert!(answer.set_cookies[0].ends_with("; Secure") && !answer.set_cookies[0].contains("Domain"));
    assert_eq!(browser.call("GET", "/api/runs", &headers, None).await.status, 200);
    front.end().await;
    deployment.end().await;

    // The same words from a browser, with no proxy in between that was named: another origin's page, and no TLS.
    let (deployment, front, _, _folder) = with_passwords(|auth| AuthConfig { proxies: Vec::new(), ..auth }).await;
    let browser = Browser::at(&front.url);
    let login = json!({"user": "alice", "password": "alice's password"});
    assert_eq!(browser.call("POST", "/auth/login", &headers, Some(login.clone())).await.status, 403);
    let answer = browser.call("POST", "/auth/login", &headers[..1], Some(login)).await;
    assert!(answer.set_cookies[0].starts_with("fastagency=1."), "{:?}", answer.set_cookies);
    front.end().await;
    deployment.end().await;
}

/// With a proxy on this machine.
fn behind_a_proxy(auth: AuthConfig) -> AuthConfig {
    AuthConfig { proxies: vec!["127.0.0.0/8".parse().unwrap()], ..auth }
}

#[tokio::test]
async fn a_session_does_nothing_without_the_token_of_its_page() {
    let (deployment, front, _, _folder) = with_passwords(|auth| auth).await;
    let login = |user: &str| json!({"user": user, "password": format!("{user}'s password")});
    let browser = Browser::at(&front.url);
    assert!(browser.get("/auth/me").await.body.get("csrf").is_none(), "a stranger needs none");
    assert_eq!(browser.post("/auth/login", login("alice")).await.status, 204);
    let token = browser.get("/auth/me").await.body["csrf"].as_str().unwrap().to_owned();
    let started = browser.post("/api/runs", json!({"workflow": "echo"})).await;
    assert_eq!(started.status, 201, "{}", started.body);
    let run = crate::support::client::run_id(&started.body);
    let mut player = Player::take(&deployment, run).await;
    let question = player.ask(text_input("well?", false)).await.uuid;
    let other = Browser::at(&front.url);
    assert_eq!(other.post("/auth/login", login("bob")).await.status, 204);
    let others = other.get("/auth/me").await.body["csrf"].as_str().unwrap().to_owned();
    assert_ne!(others, token);

    // Everything that a session can do, as a page of this very origin sends it, but without the right token.
    let at = |rest: &str| format!("/api/runs/{run}{rest}");
    let tried = [
        ("POST", "/api/runs".to_owned(), json!({"workflow": "echo"})),
        ("POST", at(&format!("/answers/{question}")), json!({"value": "x"})),
        ("POST", at("/cancel"), Value::Null),
        ("PATCH", at(""), json!({"title": "mine"})),
        ("DELETE", at(""), Value::Null),
        ("POST", "/api/audit/erase".to_owned(), json!({"user": "alice"})),
        (
            "POST",
            "/fastagency/initiate_workflow".to_owned(),
            json!({"workflow_uuid": run, "name": "echo", "params": {}}),
        ),
        ("POST", "/auth/logout".to_owned(), Value::Null),
    ];
    *browser.csrf.lock().unwrap() = None;
    let almost = format!("{}{}", if token.starts_with('0') { '1' } else { '0' }, &token[1..]);
    for wrong in [None, Some(others), Some("x".to_owned()), Some(almost)] {
        for (method, path, body) in &tried {
            let mut headers = vec![("origin", browser.base.as_str()), ("sec-fetch-site", "same-origin")];
            headers.extend(wrong.as_deref().map(|wrong| ("x-csrf-token", wrong)));
            let refused = browser.call(method, path, &headers, Some(body.clone())).await;
            assert_eq!(
                (refused.status, &refused.body["error"]["code"]),
                (403, &json!("csrf_token")),
                "{method} {path}"
            );
        }
    }
    let state = browser.get(&at("")).await;
    assert_eq!((state.status, &state.body["state"]), (200, &json!("waiting")), "{}", state.body);
    // With it, all is as it was; who says who calls, needs none.
    *browser.csrf.lock().unwrap() = Some(token);
    let answered = browser.post(&at(&format!("/answers/{question}")), json!({"value": "x"})).await;
    assert_eq!(answered.status, 202, "{}", answered.body);
    let bob = format!("Basic {}", BASE64_STANDARD.encode("bob:bob's password"));
    let started = Browser::at(&front.url)
        .call("POST", "/api/runs", &[("authorization", &bob)], Some(json!({"workflow": "echo"})))
        .await;
    assert_eq!(started.status, 201);
    assert_eq!(browser.post("/auth/logout", Value::Null).await.status, 204);
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn a_session_that_was_ended_stays_dead_at_every_page_and_gateway_and_after_a_restart() {
    let password = json!({"user": "alice", "password": "alice's password"});
    let by_post = async |browser: &Browser, proof: &Value| {
        assert_eq!(browser.post("/auth/login", proof.clone()).await.status, 204, "{proof}");
    };
    for tokens in [true, false] {
        let without = |auth: AuthConfig| AuthConfig { mode: AuthMode::Basic { token: None }, ..auth };
        let (deployment, front, _, folder) = with_passwords(|auth| if tokens { auth } else { without(auth) }).await;
        let auth = basic(folder.path().join("access.yaml"));
        let auth = if tokens { auth } else { without(auth) };
        ended_session_stays_dead(deployment, front, auth, nobody(), async |browser| by_post(browser, &password).await)
            .await;
    }
    let by_key = |auth: AuthConfig| AuthConfig { mode: AuthMode::ApiKey, ..auth };
    let (deployment, front, key, folder) = with_passwords(by_key).await;
    let auth = by_key(basic(folder.path().join("access.yaml")));
    let key = json!({"key": key});
    ended_session_stays_dead(deployment, front, auth, nobody(), async |browser| by_post(browser, &key).await).await;

    const SECRET: &str = "a secret of the issuer that nobody else knows";
    let auth = jwt(JwtAlgorithm::Hs256, JwtKey::Secret(SECRET.to_owned().into()));
    let deployment = super::access::deployment(auth.clone()).await;
    let front = Front::of(&deployment.url, nobody(), PageBrand::default(), auth.clone()).await;
    let token = json!({"key": hs256(&claims(), SECRET.as_bytes())});
    ended_session_stays_dead(deployment, front, auth, nobody(), async |browser| by_post(browser, &token).await).await;

    // The provider renews a login as often as it is asked, and what was stolen is to be renewed at once.
    let (provider, deployment, front) = with_provider().await;
    provider.renews_again.store(true, Ordering::Relaxed);
    provider.lifetime.store(20, Ordering::Relaxed);
    let (auth, oidc) = at_provider(&provider);
    let login = ui::LoginSettings { oidc: Some(oidc), ..nobody() };
    ended_session_stays_dead(deployment, front, auth, login, async |browser| {
        assert_eq!(log_in(browser, "%2F").await.status, 303);
    })
    .await;
    // The browser itself, the thief with the cookie from before the logout, and both again after it.
    assert!(provider.renewals.load(Ordering::Relaxed) >= 4, "{:?}", provider.renewals);
}

/// A thief has a session's cookie, which is ended in front of `deployment`; other pages have `login`, other gateways `auth`.
async fn ended_session_stays_dead(
    deployment: System,
    front: Front,
    auth: AuthConfig,
    login: ui::LoginSettings,
    log_in: impl AsyncFn(&Browser),
) {
    let browser = Browser::at(&front.url);
    log_in(&browser).await;
    let stolen = browser.cookie_header();
    assert_eq!(browser.get("/auth/me").await.status, 200);
    let started = browser.post("/api/runs", json!({"workflow": "echo"})).await;
    let run = crate::support::client::run_id(&started.body);
    let mut player = Player::take(&deployment, run).await;
    player.ask(text_input("well?", false)).await;
    // What the thief has open already, through another page and another gateway.
    let other = deployment.another(|settings| settings.auth = auth.clone()).await;
    let others_page = Front::with(&other.url, login.clone()).await;
    let thief = Browser::at(&others_page.url);
    let as_thief = async |path: &str| thief.call("GET", path, &[("cookie", &stolen)], None).await;
    assert_eq!(as_thief("/api/runs").await.status, 200);
    // A browser keeps what was renewed, and the thief would begin to send both.
    let renewed = thief.cookie_header();
    thief.cookies.lock().unwrap().clear();
    let mut request = format!("{}/fastagency/ws", others_page.url.replace("http", "ws")).into_client_request().unwrap();
    request.headers_mut().insert("cookie", stolen.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a socket");
    say(&mut socket, json!({"workflow_uuid": run, "name": "echo", "params": {}}).to_string()).await;
    assert_eq!(hear_json(&mut socket).await["type"], "workflow_started");
    let events = thief.http.get(format!("{}/api/runs/{run}/events", others_page.url)).header("cookie", &stolen);
    let events = events.send().await.unwrap();
    assert_eq!(events.status(), 200);

    assert_eq!(browser.post("/auth/logout", Value::Null).await.status, 204);
    let ended = tokio::time::timeout(crate::support::eventually::PATIENCE, events.text()).await;
    ended.expect("the stream of events ends").unwrap();
    while !matches!(crate::support::client::hear(&mut socket).await, crate::support::client::Heard::Closed(1008)) {}
    super::access::until_refused("a stolen cookie", async || {
        let answer = as_thief("/api/runs").await;
        thief.cookies.lock().unwrap().clear();
        answer.status
    })
    .await;
    others_page.end().await;
    other.end().await;
    // A page and a gateway that have just begun.
    let restarted = deployment.another(|settings| settings.auth = auth.clone()).await;
    let page = Front::with(&restarted.url, login).await;
    for cookie in [&stolen, &renewed] {
        let late = Browser::at(&page.url).call("GET", "/api/runs", &[("cookie", cookie)], None).await;
        assert_eq!(late.status, 401);
    }
    page.end().await;
    restarted.end().await;
    // The same person logs in again.
    log_in(&browser).await;
    assert_eq!(browser.get("/api/runs").await.status, 200);
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn what_is_taken_from_the_list_of_ended_sessions_revives_none_where_it_was_seen() {
    let (deployment, front, _, folder) = with_passwords(|auth| auth).await;
    let other = deployment.another(|settings| settings.auth = basic(folder.path().join("access.yaml"))).await;
    let others_page = Front::before(&other.url).await;
    let thief = Browser::at(&others_page.url);
    let end_one = async || {
        let browser = Browser::at(&front.url);
        let login = json!({"user": "alice", "password": "alice's password"});
        assert_eq!(browser.post("/auth/login", login).await.status, 204);
        assert_eq!(browser.get("/auth/me").await.status, 200);
        let cookie = browser.cookie_header();
        assert_eq!(thief.call("GET", "/api/runs", &[("cookie", &cookie)], None).await.status, 200);
        assert_eq!(browser.post("/auth/logout", Value::Null).await.status, 204);
        super::access::until_refused("an ended session", async || {
            thief.call("GET", "/api/runs", &[("cookie", &cookie)], None).await.status
        })
        .await;
        cookie
    };
    let first = end_one().await;
    // What a thief of the gateway's login at the broker can do: remove the mark, or put one that is over.
    let marks = deployment.broker.catalogue.list(Bucket::Gateways, Some("ended")).await.unwrap();
    assert!(!marks.is_empty());
    for last in [false, true] {
        let catalogue = &deployment.broker.catalogue;
        for mark in &marks {
            match last {
                false => catalogue.put(Bucket::Gateways, &mark.key, r#"{"until":1}"#.into(), None).await.unwrap(),
                true => catalogue.delete(Bucket::Gateways, &mark.key).await.unwrap(),
            }
        }
        // The other gateway knows of this one, so it has read the list since.
        end_one().await;
        for (page, whose) in [(&front, "the gateway that ended it"), (&others_page, "another gateway")] {
            let seen = Browser::at(&page.url).call("GET", "/api/runs", &[("cookie", &first)], None).await;
            assert_eq!(seen.status, 401, "{whose}");
        }
    }
    others_page.end().await;
    other.end().await;
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn a_logout_that_the_gateway_cannot_be_told_says_so_and_empties_the_browser() {
    let (deployment, front, _, _folder) = with_passwords(|auth| auth).await;
    let browser = Browser::at(&front.url);
    let login = json!({"user": "alice", "password": "alice's password"});
    assert_eq!(browser.post("/auth/login", login).await.status, 204);
    assert_eq!(browser.get("/auth/me").await.status, 200);
    deployment.end().await;
    let told = browser.post("/auth/logout", Value::Null).await;
    assert_eq!((told.status, browser.cookie_header().as_str()), (503, ""));
    assert!(told.body["error"]["message"].as_str().unwrap().contains("signed out of this browser"), "{}", told.body);
    front.end().await;
}

#[tokio::test]
async fn a_session_ends_with_the_password_and_with_the_user_with_or_without_tokens() {
    for tokens in [true, false] {
        let without = |auth: AuthConfig| AuthConfig { mode: AuthMode::Basic { token: None }, ..auth };
        let (deployment, front, _, folder) = with_passwords(|auth| if tokens { auth } else { without(auth) }).await;
        let file = folder.path().join("access.yaml");
        let browser = Browser::at(&front.url);
        let login = json!({"user": "alice", "password": "alice's password"});
        assert_eq!(browser.post("/auth/login", login.clone()).await.status, 204);
        let stolen = browser.cookie_header();
        assert_eq!(browser.get("/api/runs").await.status, 200);
        // Removed, and added again with the very same password.
        let mut people = fastagency::auth::UserDirectory::read(&file).unwrap();
        people.users.get_mut("alice").unwrap().password = fastagency::auth::hash_password("alice's password");
        people.write(&file).unwrap();
        let thief = Browser::at(&front.url);
        super::access::until_refused("a session of an earlier alice", async || {
            thief.call("GET", "/api/runs", &[("cookie", &stolen)], None).await.status
        })
        .await;
        assert_eq!(browser.post("/auth/login", login).await.status, 204);
        assert_eq!(browser.get("/api/runs").await.status, 200);
        front.end().await;
        deployment.end().await;
    }
}

#[tokio::test]
async fn cookies_of_the_key_before_count_until_they_end() {
    let (deployment, front, _, _folder) = with_passwords(|auth| auth).await;
    let browser = Browser::at(&front.url);
    let login = json!({"user": "alice", "password": "alice's password"});
    assert_eq!(browser.post("/auth/login", login).await.status, 204);
    let cookie = browser.cookie_header();
    front.end().await;
    let new = "another key of cookies, as long as it must be".to_owned();
    for (previous, status) in [(vec!["older".into(), KEY.to_owned().into()], 200), (vec![], 401)] {
        let login = ui::LoginSettings { key: new.clone().into(), previous_keys: previous, ..nobody() };
        let rotated = Front::with(&deployment.url, login).await;
        let seen = Browser::at(&rotated.url).call("GET", "/api/runs", &[("cookie", &cookie)], None).await;
        assert_eq!(seen.status, status);
        rotated.end().await;
    }
    deployment.end().await;
}

#[tokio::test]
async fn whoever_has_not_verified_an_address_is_told_so_at_the_page() {
    let (provider, deployment, front) = with_provider().await;
    let browser = Browser::at(&front.url);
    provider.unverified.store(true, Ordering::Relaxed);
    let refused = log_in(&browser, "%2F").await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.as_str().unwrap().contains("your e-mail address is not verified"), "{}", refused.body);
    assert!(browser.cookie_header().is_empty(), "{}", browser.cookie_header());
    let token = format!("Bearer {}", provider.id_token(None));
    let direct = Browser::at(&deployment.url).call("GET", "/api/runs", &[("authorization", &token)], None).await;
    assert_eq!(direct.status, 401);
    assert!(direct.body["error"]["message"].as_str().unwrap().contains("not verified"), "{}", direct.body);
    provider.unverified.store(false, Ordering::Relaxed);
    assert_eq!(log_in(&browser, "%2F").await.status, 303);
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn a_header_that_says_who_calls_does_not_come_through_the_page_from_just_anybody() {
    let trusted = |from: &str| TrustedHeaderConfig {
        user: "x-remote-user".into(),
        groups: Some("x-remote-groups".into()),
        from: vec![from.parse().unwrap()],
    };
    let auth = |from: &str, proxies: &[&str]| AuthConfig {
        mode: AuthMode::TrustedHeader(trusted(from)),
        proxies: proxies.iter().map(|network| network.parse().unwrap()).collect(),
        ..AuthConfig::default()
    };
    let said = [("x-remote-user", "root"), ("x-remote-groups", "operators")];
    let me = async |page: &Front, more: &[(&str, &str)]| {
        Browser::at(&page.url).call("GET", "/api/runs", &[&said[..], more].concat(), None).await.status
    };
    // The gateway trusts the page's own address, and the page knows of nothing (it has another configuration).
    let deployment = System::played_with(|_| {}, |settings| settings.auth = auth("127.0.0.0/8", &[])).await;
    let unaware = Front::before(&deployment.url).await;
    assert_eq!(me(&unaware, &[]).await, 401, "whoever reaches the page would be root");
    assert_eq!(me(&unaware, &[("x-fastagency-ui", "0"), ("connection", "x-fastagency-ui")]).await, 401);
    let direct = Browser::at(&deployment.url).call("GET", "/api/runs", &said, None).await;
    assert_eq!(direct.status, 200, "a proxy that calls the gateway itself");
    unaware.end().await;
    deployment.end().await;
    // The safe form: the proxy before the page is named, and the page as one that says where it was called from.
    let deployment =
        System::played_with(|_| {}, |settings| settings.auth = auth("127.0.0.2/32", &["127.0.0.1/32"])).await;
    let login = ui::LoginSettings { trusted_header: Some(trusted("127.0.0.2/32")), ..nobody() };
    let page =
        Front::of(&deployment.url, login, ui::PageBrand::default(), auth("127.0.0.2/32", &["127.0.0.1/32"])).await;
    assert_eq!(me(&page, &[]).await, 401);
    assert_eq!(me(&page, &[("x-forwarded-for", "127.0.0.2")]).await, 401, "what it says of itself is not believed");
    let proxy = reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from([127, 0, 0, 2])).build();
    let through = async |headers: &[(&str, &str)]| {
        let mut call = proxy.as_ref().unwrap().get(format!("{}/api/runs", page.url));
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        call.header("x-forwarded-for", "203.0.113.9").send().await.unwrap().status().as_u16()
    };
    assert_eq!(through(&said).await, 200);
    assert_eq!(through(&[("x-remote-user", "alice"), ("x-remote-user", "root")]).await, 401, "one is the caller's own");
    page.end().await;
    deployment.end().await;
}
