//! The page's own tier: it serves the chat page from inside the binary and forwards everything else to one gateway, so that
//! a browser needs one origin. People log in here, and the gateway is shown what they logged in with. It knows no broker and
//! keeps no state of a run.

use std::any::Any;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::auth::{RequestFilter, UnprotectedListener};
use crate::config;
use crate::lifecycle::Shutdown;
use crate::metrics::Tier;
use crate::observe::{self, ObservedTier};
use crate::serving;

mod base_path;
mod brand;
mod forward;
mod lean;
mod login;
mod page;
mod page_token;
mod sessions;
mod stream_end;

pub use brand::PageBrand;
pub use sessions::LoginSettings;

/// How long the body of a login may take, and how large it may be.
const LOGIN_WITHIN: Duration = Duration::from_secs(20);
const LARGEST_LOGIN: usize = 16 * 1024;

/// What the ui must be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the page is made one's own.
    pub brand: PageBrand,
    /// The one gateway that is ever contacted, e.g. `http://127.0.0.1:8008`.
    pub gateway_url: String,
    /// The version that the page shows.
    pub version: String,
    /// How people log in.
    pub login: LoginSettings,
    /// How the gateway asks who calls, as far as it is configured here: which proxies are believed, and whether other
    /// machines may come where no one is asked.
    pub auth: config::AuthConfig,
    /// What connections may take.
    pub connections: serving::ConnectionLimits,
}

/// Why the ui cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener failed.
    #[error("could not serve HTTP")]
    Serve(#[from] std::io::Error),
    /// The gateway's address cannot be used.
    #[error("the gateway's address {url:?} cannot be used: {reason}")]
    GatewayUrl {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// No one is asked who calls, and other machines can.
    #[error("{0}; if the gateway asks who calls, configure the same `auth` for the ui")]
    Open(#[from] UnprotectedListener),
    /// Nobody can log in.
    #[error("auth: {0}")]
    Auth(#[from] crate::auth::Error),
    /// A file of the brand is not there, or cannot be used.
    #[error("could not read {}", path.display())]
    BrandFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What every handler is given.
struct UiState {
    brand: brand::LoadedBrand,
    gateway: forward::GatewayForwarder,
    sessions: sessions::PageSessions,
    page_tokens: page_token::PageTokens,
    filter: RequestFilter,
}

/// Serves until the end begins; then takes no more and returns when what is under way has finished.
pub async fn serve(listener: TcpListener, settings: Settings, shutdown: Shutdown) -> Result<(), Error> {
    let gateway = forward::GatewayForwarder::new(&settings.gateway_url, shutdown.clone())?
        .trusting(settings.login.trusted_header.clone());
    let brand = brand::LoadedBrand::read(&settings.brand, &settings.version).await?;
    let sessions = sessions::PageSessions::new(&settings.login, shutdown.clone())?;
    let page_tokens = page_token::PageTokens::new(&settings.login.key);
    let base = base_path::BasePath::of(settings.login.public_url.as_deref());
    let filter = RequestFilter::new(&settings.auth, settings.login.public_url.as_deref());
    let address = listener.local_addr()?;
    filter.check_listener(address)?;
    if filter.is_open_at(address) {
        tracing::warn!(
            "auth.open is true and auth.mode is none: everyone who reaches {address} can use this page and its gateway"
        );
    }
    let is_reached = !address.ip().is_loopback() && !matches!(settings.auth.mode, config::AuthMode::None);
    if is_reached && settings.login.public_url.is_none() {
        tracing::warn!(
            "browsers of other machines keep a sign-in at {address} only over https: put a proxy with TLS before it, or, in a \
             network that you trust, set ui.public_url to the address that people open, like http://{address}"
        );
    }
    let mut app = app(Arc::new(UiState { brand, gateway, sessions, page_tokens, filter }));
    if !base.is_root() {
        // Before the routes, which are those of a page at the root.
        app = Router::new()
            .fallback_service(app)
            .layer(axum::middleware::from_fn_with_state(base, base_path::serve_below));
    }
    serving::serve(listener, app, settings.connections, shutdown).await;
    Ok(())
}

/// What is somebody's: the beginnings of its paths.
const PRIVATE: [&str; 3] = ["api/", "auth/", "fastagency/"];
/// A page of another origin that opened ours has no hold on its window.
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// What the page never needs, so that nothing in it can ask for it.
const PERMISSIONS: &str =
    "camera=(), microphone=(), geolocation=(), display-capture=(), payment=(), usb=(), serial=(), hid=(), midi=()";

/// The routes that requests are counted by: those of [`app`], which a test compares.
const ROUTES: [&str; 20] = [
    "/admin",
    "/",
    "/runs/{id}",
    "/inbox",
    "/assets/{*path}",
    "/ui/config.json",
    "/ui/logo",
    "/ui/brand.css",
    "/healthz",
    "/readyz",
    "/api/{*rest}",
    "/fastagency/{*rest}",
    "/openapi.json",
    "//fastagency/discovery",
    "/docs",
    "/auth/me",
    "/auth/login",
    "/auth/logout",
    "/auth/oidc",
    "/auth/callback",
];

fn app(ui: Arc<UiState>) -> Router {
    // What is forwarded has the headers that the gateway gave it; these stand where it gave none.
    let fixed = |name: HeaderName, value: HeaderValue| SetResponseHeaderLayer::if_not_present(name, value);
    let csp = ui.brand.csp.clone();
    let policy = move |response: &Response| may_be_opened(response).then(|| csp.clone());
    let referrer = |response: &Response| may_be_opened(response).then(|| HeaderValue::from_static("no-referrer"));
    let own_window = |response: &Response| may_be_opened(response).then(|| HeaderValue::from_static("same-origin"));
    let permissions = |response: &Response| may_be_opened(response).then(|| HeaderValue::from_static(PERMISSIONS));
    Router::new()
        .route("/", get(page::index))
        .route("/runs/{id}", get(page::run))
        .route("/inbox", get(page::index))
        .route("/admin", get(page::admin))
        .route("/assets/{*path}", get(page::asset))
        .route("/ui/config.json", get(config))
        .route("/ui/logo", get(brand::logo))
        .route("/ui/brand.css", get(brand::css))
        .route("/auth/me", get(login::me))
        .route("/auth/login", post(login::login).layer(axum::middleware::from_fn(short_body)))
        .route("/auth/logout", post(login::logout))
        .route("/auth/oidc", get(login::to_provider))
        .route("/auth/callback", get(login::from_provider))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/api/{*rest}", any(forward::forward))
        .route("/fastagency/{*rest}", any(forward::forward))
        .route("//fastagency/discovery", any(forward::forward))
        .route("/openapi.json", any(forward::forward))
        .route("/docs", any(forward::forward))
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(axum::middleware::from_fn_with_state(ui.clone(), admit))
        .layer(axum::middleware::from_fn_with_state(ObservedTier::new(Tier::ui, ROUTES), observe::request))
        .layer(SetResponseHeaderLayer::if_not_present(header::CONTENT_SECURITY_POLICY, policy))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(SetResponseHeaderLayer::if_not_present(header::REFERRER_POLICY, referrer))
        .layer(SetResponseHeaderLayer::if_not_present(OPENER_POLICY, own_window))
        .layer(SetResponseHeaderLayer::if_not_present(PERMISSIONS_POLICY, permissions))
        .with_state(ui)
}

/// Keeps an answer out of every frame, whichever sites may show the chat: the operator's page, and signing in.
fn frame_nowhere(ui: &UiState, headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, ui.brand.csp_unframed.clone());
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
}

/// Refuses what may not come in, believes what only proxies may say from proxies only, and keeps what is private out of every
/// cache and out of the pages of others.
async fn admit(
    State(ui): State<Arc<UiState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let is_private = PRIVATE.iter().any(|prefix| path.starts_with(prefix));
    let is_sign_in = path.starts_with("auth/");
    let mut response = match ui.filter.check_request(request.headers_mut(), peer.ip()) {
        Ok(()) => next.run(request).await,
        Err(why) => {
            tracing::warn!(path = %request.uri().path(), "a request was refused: {why}");
            error(StatusCode::FORBIDDEN, "forbidden", &why)
        }
    };
    if is_sign_in {
        frame_nowhere(&ui, response.headers_mut());
    }
    if is_private {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    }
    response
}

/// Reads the body of a login, which is short and comes at once.
async fn short_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(LOGIN_WITHIN, axum::body::to_bytes(body, LARGEST_LOGIN)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Ok(Err(_)) => error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a login has at most 16 KiB"),
        Err(_) => error(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the login did not come within 20 s"),
    }
}

/// Whether a browser can make a document of it, which policies are for. A module or a style sheet obeys those of the page
/// that asks for it, and there are forty of them.
fn may_be_opened(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    !content_type.starts_with(b"text/javascript") && !content_type.starts_with(b"text/css")
}

/// An error in the shape of the gateway's own.
fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, axum::Json(json!({"error": {"code": code, "message": message}}))).into_response()
}

async fn config(State(ui): State<Arc<UiState>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-cache")], axum::Json(ui.brand.config.clone()))
}

async fn alive() -> axum::Json<Value> {
    axum::Json(json!({"status": "alive"}))
}

async fn ready(State(ui): State<Arc<UiState>>) -> Response {
    if ui.gateway.is_ready().await {
        axum::Json(json!({"status": "ready"})).into_response()
    } else {
        error(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "the gateway cannot be reached, or is not ready itself")
    }
}

async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "unknown_path", "there is nothing here")
}

fn after_panic(_: Box<dyn Any + Send + 'static>) -> Response {
    // Where and why was logged when it happened.
    tracing::error!("a request panicked");
    error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong in the ui; its log has more")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_counted_by_its_own_name() {
        let source = include_str!("mod.rs");
        let routed: BTreeSet<&str> =
            source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(super::ROUTES.into_iter().collect::<BTreeSet<&str>>(), routed);
    }
}
