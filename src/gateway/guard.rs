//! Who comes in: every request is asked who sends it, and whether the page that sends it may, before any handler sees it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::body::HttpBody;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::json;

use crate::auth::session::VERSION_HEADER;
use crate::auth::{AuthDenial, Caller, origin};
use crate::config::{AccessRight, AuthConfig, AuthMode};
use crate::gateway::error::ApiError;
use crate::gateway::{GatewayState, body, fastagency, sessions};
use crate::metrics::metrics;
use crate::protocol::api::{
    AdminToken, AuthModeView, CallerView, CallingUserView, RedeemAdminLink, TokenType, TokenView,
};

/// What anybody may ask for: whether the gateway lives, what it can do, and a token.
pub const OPEN_PATHS: [&str; 5] = ["/healthz", "/readyz", "/openapi.json", "/docs", "/token"];
/// Where somebody who does not say who he is learns how he could.
const ME: &str = "/api/me";
/// What helps somebody who was not let in.
const HOW: &str = "send an API key or token as `Authorization: Bearer …`; for the `fastagency` command, set FASTAGENCY_KEY to it (`fastagency key add` makes a key)";
/// Pages of other origins load nothing private as a picture or a script either.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// The largest form that is read.
const LARGEST_FORM: usize = 16 * 1024;

/// Lets a request in, or answers it. What is not for everyone stays in no cache: neither a browser's nor one in between.
pub async fn let_in(
    State(gateway): State<Arc<GatewayState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let is_private = !is_open(&gateway, request.uri().path());
    let mut response = answer(&gateway, peer, request, next).await;
    if is_private {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    }
    response
}

async fn answer(gateway: &Arc<GatewayState>, peer: SocketAddr, mut request: Request, next: Next) -> Response {
    let admitted = gateway.filter.check_request(request.headers_mut(), peer.ip());
    let headers = request.headers();
    if let Err(why) = admitted.and_then(|()| comes_from_here(gateway, request.method(), headers)) {
        tracing::warn!(path = %request.uri().path(), "a request was refused: {why}");
        return refusal(gateway, &request, StatusCode::FORBIDDEN, &why);
    }
    if is_open(gateway, request.uri().path()) {
        return next.run(request).await;
    }
    if origin::reads_for_another(headers, &gateway.settings.auth.origins) {
        let why = "a page of another origin may not have this read; if it is yours, add it to auth.origins";
        return refusal(gateway, &request, StatusCode::FORBIDDEN, why);
    }
    let address = address(&gateway.settings.auth, headers, peer.ip());
    if let Err(denied) = header_may_count(gateway, headers, peer.ip()) {
        return deny(gateway, &request, address, &denied);
    }
    let mut authenticated = gateway.auth.authenticate(headers, address).await;
    if let Ok(caller) = &mut authenticated
        && let Err(denied) = sessions::check(gateway, headers, caller).await
    {
        authenticated = Err(denied);
    }
    match authenticated {
        Ok(mut caller) => {
            if !gateway.auth.asks() && is_admin_shown(gateway, headers) {
                (caller.is_admin, caller.is_auditor) = (true, true);
            }
            if let Err(refused) = gateway.limits.request(&caller) {
                return ApiError::from(refused).into_response();
            }
            let body = request.body().size_hint();
            let _uploading = match gateway.limits.body(&caller, body) {
                Ok(reserved) => reserved,
                Err(refused) => return ApiError::from(refused).into_response(),
            };
            // Only what goes on for long can outlive what let it begin.
            let goes_on = request.uri().path().ends_with("/events");
            let over = goes_on.then(|| sessions::over(gateway, &caller)).flatten();
            request.extensions_mut().insert(caller);
            let response = next.run(request).await;
            match over {
                Some(over) if is_events(&response) => {
                    response.map(|body| axum::body::Body::from_stream(body.into_data_stream().take_until(over)))
                }
                _ => response,
            }
        }
        Err(AuthDenial::Unknown) if request.uri().path() == ME => {
            request.extensions_mut().insert(Caller::default());
            next.run(request).await
        }
        Err(denied) => deny(gateway, &request, address, &denied),
    }
}

fn is_open(gateway: &GatewayState, path: &str) -> bool {
    let is_ours = |prefix: &str| path.trim_start_matches('/').starts_with(prefix);
    // A front end must be there before anybody can say in it who he is.
    let is_front_end = gateway.settings.static_dir.is_some() && !is_ours("api/") && !is_ours("fastagency/");
    OPEN_PATHS.contains(&path) || is_front_end
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Missing only where a route is open by mistake: then nobody comes in at all.
        parts.extensions.remove::<Caller>().ok_or_else(|| ApiError::forbidden("nobody was asked who calls"))
    }
}

fn is_admin_shown(gateway: &GatewayState, headers: &HeaderMap) -> bool {
    gateway.settings.admin_link.as_ref().is_some_and(|link| link.is_shown(headers))
}

/// Refuses callers that may not read the audit. Where no one is asked who calls, only the process's own admin link opens it,
/// wherever a request comes from.
pub fn may_audit(gateway: &GatewayState, caller: &Caller) -> Result<(), ApiError> {
    match caller.is_auditor {
        true => Ok(()),
        false if !gateway.auth.asks() => Err(admin_link_required()),
        false => Err(ApiError::forbidden("only auditors and admins may read the audit (auth.auditors, auth.admins)")),
    }
}

fn admin_link_required() -> ApiError {
    let message = "the audit needs the admin link, because auth.mode is none";
    let hint = "open the link that the gateway printed when it started (admin: …), or use `fastagency audit` on its data folder";
    ApiError::new(StatusCode::FORBIDDEN, "admin_link_required", message).hint(Some(hint.to_owned()))
}

/// Refuses whoever may not change what the audit shows.
pub fn may_erase(gateway: &GatewayState, caller: &Caller) -> Result<(), ApiError> {
    match caller.is_admin {
        true => Ok(()),
        false if !gateway.auth.asks() => Err(admin_link_required()),
        false => Err(ApiError::forbidden("only admins may erase data (auth.admins)")),
    }
}

fn deny(gateway: &GatewayState, request: &Request, address: IpAddr, denied: &AuthDenial) -> Response {
    metrics().refused(match denied {
        AuthDenial::Unknown => "unknown",
        AuthDenial::Wrong { .. } | AuthDenial::Unfit { .. } => "wrong",
        AuthDenial::TooOften { .. } => "too_often",
        AuthDenial::Unavailable { .. } => "unavailable",
    });
    let (status, what) = match denied {
        AuthDenial::Unknown => (StatusCode::UNAUTHORIZED, "authentication required"),
        AuthDenial::Wrong { why } => {
            tracing::warn!(%address, "a caller was refused: {why}");
            (StatusCode::UNAUTHORIZED, "authentication failed: check the user name, password, key or token")
        }
        AuthDenial::Unfit { words } => {
            tracing::warn!(%address, "a caller was refused: {words}");
            (StatusCode::UNAUTHORIZED, words.as_str())
        }
        AuthDenial::TooOften { .. } => (StatusCode::TOO_MANY_REQUESTS, "too many wrong attempts; wait a while"),
        AuthDenial::Unavailable { why } => {
            tracing::error!("no caller can be authenticated: {why}");
            (StatusCode::SERVICE_UNAVAILABLE, "authentication is not available now; try again")
        }
    };
    let mut response = refusal(gateway, request, status, what);
    if let AuthDenial::TooOften { wait } = denied {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    }
    response
}

/// A refusal in the shape that the path promises; a socket is refused before it is one, as FastAgency's gateway does it.
pub fn refusal(gateway: &GatewayState, request: &Request, status: StatusCode, what: &str) -> Response {
    let wants_socket = request.headers().contains_key(header::UPGRADE);
    let mut response = if wants_socket {
        status.into_response()
    } else if request.uri().path().trim_start_matches('/').starts_with("fastagency/") {
        let words = if status == StatusCode::UNAUTHORIZED { "Not authenticated" } else { what };
        fastagency::detail(status, json!(words))
    } else {
        let code = match status {
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
            StatusCode::SERVICE_UNAVAILABLE => "auth_unavailable",
            _ => "forbidden",
        };
        let hint = (status == StatusCode::UNAUTHORIZED).then(|| HOW.to_owned());
        ApiError::new(status, code, what).hint(hint).into_response()
    };
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static(gateway.auth.challenge());
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn is_events(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Refuses a proxy's word about who calls (`auth.trusted_header`) that came through the `ui`, unless that one is named: it
/// forwards for everybody who reaches it, so what counts is where it was called from.
fn header_may_count(gateway: &GatewayState, headers: &HeaderMap, peer: IpAddr) -> Result<(), AuthDenial> {
    let Some(name) = gateway.auth.trusted_header() else { return Ok(()) };
    let believed = |address: &IpAddr| gateway.settings.auth.proxies.iter().any(|network| network.contains(address));
    if headers.contains_key(name) && headers.contains_key(origin::THROUGH_UI) && !believed(&peer.to_canonical()) {
        let why = format!(
            "{name} came through the ui at {peer}: name the ui in auth.proxies, and the proxy before it in \
                           auth.trusted_header.from"
        );
        return Err(AuthDenial::Wrong { why });
    }
    Ok(())
}

/// The caller's address: the connection's, or what a believed proxy says.
fn address(auth: &AuthConfig, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let mut address = peer.to_canonical();
    let hops = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    // Each proxy adds whom it saw at the end: from there back, as far as proxies are believed.
    let hops: Vec<&str> = hops.flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in hops.iter().rev() {
        if !auth.proxies.iter().any(|network| network.contains(&address)) {
            break;
        }
        match hop.parse::<IpAddr>() {
            Ok(named) => address = named.to_canonical(),
            Err(_) => break,
        }
    }
    address
}

/// Whether a request may come from the page that sends it: one of our own, or one that is named in the configuration.
fn comes_from_here(gateway: &GatewayState, method: &Method, headers: &HeaderMap) -> Result<(), String> {
    origin::check(method, headers, &gateway.settings.auth.origins)
        .map_err(|origin| format!("the page at {origin} may not call; if it is yours, add it to auth.origins"))
}

/// `GET /api/me`: who calls, as this gateway knows him, and how callers prove who they are.
pub async fn me(State(gateway): State<Arc<GatewayState>>, caller: Caller) -> Response {
    let user = caller.user.as_ref().map(|user| CallingUserView {
        name: user.as_str().to_owned(),
        groups: caller.groups.clone(),
        admin: caller.is_admin,
        answers_others: gateway.auth.may_with_others(&caller, AccessRight::Answer),
    });
    let mut response = Json(CallerView { mode: mode(&gateway.settings.auth.mode), user }).into_response();
    if let Some(version) = caller.version.as_deref().and_then(|version| HeaderValue::from_str(version).ok()) {
        // For the `ui`: what it begins now ends when this changes.
        response.headers_mut().insert(VERSION_HEADER, version);
    }
    response
}

fn mode(mode: &AuthMode) -> AuthModeView {
    match mode {
        AuthMode::None => AuthModeView::None,
        AuthMode::Basic { .. } => AuthModeView::Basic,
        AuthMode::ApiKey => AuthModeView::ApiKey,
        AuthMode::Jwt(_) => AuthModeView::Jwt,
        AuthMode::Oidc(_) => AuthModeView::Oidc,
        AuthMode::TrustedHeader(_) => AuthModeView::TrustedHeader,
    }
}

/// `POST /api/admin-link`: the token of this process for the code of its admin link, once.
pub async fn admin_link(
    State(gateway): State<Arc<GatewayState>>,
    body::JsonBody(RedeemAdminLink { code }): body::JsonBody<RedeemAdminLink>,
) -> Result<Json<AdminToken>, ApiError> {
    let link = gateway.settings.admin_link.as_ref().filter(|_| !gateway.auth.asks());
    let Some(link) = link else {
        let words = "there is no admin link here: sign in as an admin or auditor";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_admin_link", words));
    };
    match link.redeem(&code) {
        Some(token) => {
            tracing::info!("the admin link was opened");
            Ok(Json(AdminToken { token: token.to_owned() }))
        }
        None => {
            let words = "this admin link was opened before, or the gateway that printed it has ended";
            let hint = "start the gateway again for a new link, or use `fastagency audit` on its data folder";
            Err(ApiError::new(StatusCode::FORBIDDEN, "admin_link_used", words).hint(Some(hint.to_owned())))
        }
    }
}

/// `POST /token`: FastAPI's OAuth2 password flow. A form with a user and a password, answered with a token.
pub async fn token(
    State(gateway): State<Arc<GatewayState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let address = address(&gateway.settings.auth, request.headers(), peer.ip());
    let (parts, content) = request.into_parts();
    let bytes = match body::read(content, LARGEST_FORM).await {
        Ok(bytes) => bytes,
        Err(error) => return fastagency::detail(error.status(), json!(error.message())),
    };
    let field = |wanted: &str| {
        let found = form_urlencoded::parse(&bytes).find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.into_owned())
    };
    let (Some(user), Some(password)) = (field("username"), field("password")) else {
        let missing =
            |name: &str| json!({"type": "missing", "loc": ["body", name], "msg": "Field required", "input": null});
        let missing: Vec<_> =
            ["username", "password"].into_iter().filter(|name| field(name).is_none()).map(missing).collect();
        return fastagency::detail(StatusCode::UNPROCESSABLE_ENTITY, json!(missing));
    };
    match gateway.auth.token(&user, &password, address).await {
        None => fastagency::detail(StatusCode::NOT_FOUND, json!("Not Found")),
        Some(Ok((token, lifetime))) => {
            let answer =
                TokenView { access_token: token, token_type: TokenType::Bearer, expires_in: lifetime.as_secs() };
            // A token is for whoever asked, not for a cache between (RFC 6749, 5.1).
            ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        Some(Err(denied)) => {
            let mut response = deny(&gateway, &Request::from_parts(parts, axum::body::Body::empty()), address, &denied);
            if response.status() == StatusCode::UNAUTHORIZED {
                response = fastagency::detail(StatusCode::UNAUTHORIZED, json!("Incorrect username or password"));
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}
