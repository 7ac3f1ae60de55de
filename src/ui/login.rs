//! Logging in at the page, and out again: `/auth/…`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::SocketAddr;

use crate::auth::oidc::{LoginAttempt, LoginError};
use crate::auth::origin;
use crate::auth::session::{LoginProof, LoginSession, SealPurpose, VERSION_HEADER};
use crate::ui::base_path::leads_elsewhere;
use crate::ui::sessions::SessionState as Login;
use crate::ui::{UiState, error};

/// How long somebody may take to log in at the provider, in seconds.
const LOGIN_WITHIN: u64 = 600;
/// The longest path that a login returns to.
const LONGEST_RETURN: usize = 512;

/// What a login says.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum LoginInput {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A key, or a token.
    Key {
        /// The key.
        key: String,
    },
}

/// A login at the provider that has begun.
#[derive(Serialize, Deserialize)]
struct PendingLogin {
    begun: LoginAttempt,
    back_to: String,
}

/// `GET /auth/me`: who has logged in, and how one can.
pub async fn me(
    State(ui): State<Arc<UiState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let login = if ui.gateway.has_own(&headers) { Login::None } else { ui.sessions.of(&headers).await };
    let csrf = match &login {
        Login::Alive { session, .. } => Some(ui.page_tokens.of(session)),
        _ => None,
    };
    let (shown, mut cookies) = match &login {
        Login::None => (None, Vec::new()),
        Login::Over => (None, ui.sessions.remove(&headers, SealPurpose::Session)),
        Login::Unavailable(why) => return unavailable(why),
        Login::Alive { session, changed } => {
            let cookies = if *changed { ui.sessions.cookies(&headers, session) } else { Vec::new() };
            (Some(&**session), cookies)
        }
    };
    let mut answer = match ui.gateway.who_calls(&headers, peer.ip(), shown).await {
        Ok(answer) => answer,
        Err(refused) => return refused,
    };
    if answer.status == StatusCode::UNAUTHORIZED && shown.is_some() {
        // The gateway takes it no more: the user is gone, or the keys are others.
        cookies = ui.sessions.remove(&headers, SealPurpose::Session);
        answer = match ui.gateway.who_calls(&headers, peer.ip(), None).await {
            Ok(answer) => answer,
            Err(refused) => return refused,
        };
    }
    if answer.status != StatusCode::OK {
        return answer.into_response();
    }
    let mode = answer.body["mode"].as_str().unwrap_or_default();
    let way = match mode {
        "basic" => Some("form"),
        "api_key" | "jwt" => Some("key"),
        "oidc" if ui.sessions.provider.is_some() => Some("oidc"),
        _ => None,
    };
    let mut body = json!({"mode": mode, "user": answer.body["user"], "login": way});
    if let Some(csrf) = csrf.filter(|_| !answer.body["user"].is_null()) {
        body["csrf"] = json!(csrf);
    }
    with_cookies(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response(), cookies)
}

/// `POST /auth/login`: a session for a password or a key.
pub async fn login(
    State(ui): State<Arc<UiState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    said: Result<Json<LoginInput>, JsonRejection>,
) -> Response {
    if let Some(refused) = from_elsewhere(&headers) {
        return refused;
    }
    let Ok(Json(said)) = said else {
        let words = "a login is JSON: {\"user\": …, \"password\": …} or {\"key\": …}";
        return error(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", words);
    };
    let authorization = match &said {
        LoginInput::Password { user, password } => {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        }
        LoginInput::Key { key } => format!("Bearer {}", key.trim()),
    };
    // A name with a colon would be another's with another password.
    let odd = matches!(&said, LoginInput::Password { user, .. } if user.contains(':'));
    if odd || HeaderValue::from_str(&authorization).is_err() {
        return wrong();
    }
    let proof = match &said {
        LoginInput::Password { user, password } => ui.gateway.token(&headers, peer.ip(), user, password).await,
        LoginInput::Key { .. } => Ok(None),
    };
    let (authorization, lifetime) = match proof {
        Ok(Some((token, lifetime))) => (format!("Bearer {token}"), ui.sessions.lifetime.min(lifetime)),
        Ok(None) => (authorization, ui.sessions.lifetime),
        Err(refused) => return refused,
    };
    let mut session = LoginSession::begin(LoginProof::Authorization(authorization), lifetime);
    match ui.gateway.who_calls(&headers, peer.ip(), Some(&session)).await {
        Err(refused) => refused,
        Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => wrong(),
        Ok(answer) if answer.status != StatusCode::OK => answer.into_response(),
        Ok(answer) if answer.body["user"].is_null() => {
            error(StatusCode::CONFLICT, "no_login", "nobody needs to log in here")
        }
        Ok(answer) => {
            session.version =
                answer.headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
            with_cookies(StatusCode::NO_CONTENT.into_response(), ui.sessions.cookies(&headers, &session))
        }
    }
}

/// `POST /auth/logout`: the session ends here and at every gateway.
pub async fn logout(
    State(ui): State<Arc<UiState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = from_elsewhere(&headers) {
        return refused;
    }
    let login = ui.sessions.of(&headers).await;
    if let Login::Alive { session, .. } = &login
        && let Some(refused) = ui.page_tokens.refuse(session, &Method::POST, &headers)
    {
        return refused;
    }
    ui.sessions.end(&headers);
    let is_over = match &login {
        Login::None | Login::Over => true,
        Login::Alive { session, .. } => ui.gateway.end(&headers, peer.ip(), session).await,
        Login::Unavailable(_) => false,
    };
    let answer = match is_over {
        true => StatusCode::NO_CONTENT.into_response(),
        false => {
            let words = "you are signed out of this browser, but the gateway could not be told: a copy of this session may \
                         still count until it runs out";
            error(StatusCode::SERVICE_UNAVAILABLE, "gateway_unavailable", words)
        }
    };
    with_cookies(answer, ui.sessions.remove(&headers, SealPurpose::Session))
}

/// `GET /auth/oidc?return=/path`: on to the provider.
pub async fn to_provider(
    State(ui): State<Arc<UiState>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let Some(provider) = &ui.sessions.provider else {
        return error(StatusCode::NOT_FOUND, "unknown_path", "there is no login at another server here");
    };
    let back_to = query.iter().find(|(name, _)| name == "return").map_or("/", |(_, path)| path);
    let back_to = if is_local(back_to) { back_to } else { "/" }.to_owned();
    match provider.begin(format!("{}/auth/callback", ui.sessions.address(&headers))).await {
        Ok((begun, address)) => {
            let cookies = ui.sessions.set(&headers, SealPurpose::Login, &PendingLogin { begun, back_to }, LOGIN_WITHIN);
            with_cookies(elsewhere(&address), cookies)
        }
        Err(problem) => failed(&problem, "/"),
    }
}

/// `GET /auth/callback`: back from the provider.
pub async fn from_provider(
    State(ui): State<Arc<UiState>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let Some(provider) = ui.sessions.provider.clone() else {
        return error(StatusCode::NOT_FOUND, "unknown_path", "there is no login at another server here");
    };
    let given = |wanted: &str| query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let Some(pending) = ui.sessions.get::<PendingLogin>(&headers, SealPurpose::Login) else {
        return failed(&LoginError::Refused("this login began elsewhere, or too long ago".to_owned()), "/");
    };
    if given("state") != Some(&pending.begun.state) {
        return failed(&LoginError::Refused("this is the answer to another login".to_owned()), &pending.back_to);
    }
    let mut cookies = ui.sessions.remove(&headers, SealPurpose::Login);
    let outcome = match given("code") {
        Some(code) => {
            let (code, issuer) = (code.to_owned(), given("iss").map(str::to_owned));
            provider.finish(&pending.begun, &code, issuer.as_deref()).await
        }
        None => {
            let what = given("error_description").or(given("error")).unwrap_or("there is no code");
            Err(LoginError::Refused(format!("the login's server says: {what}")))
        }
    };
    match outcome {
        Ok(given) => {
            let set = ui.sessions.cookies(&headers, &LoginSession::begin(given.into(), ui.sessions.lifetime));
            if set.is_empty() {
                let words = "what the login's server says about you is too much for cookies".to_owned();
                return failed(&LoginError::Refused(words), &pending.back_to);
            }
            cookies.extend(set);
            // Relative to this very address: a proxy may have removed a path before it.
            with_cookies(elsewhere(&format!("..{}", pending.back_to)), cookies)
        }
        Err(problem) => with_cookies(failed(&problem, &pending.back_to), cookies),
    }
}

/// Whether a path leads to this page and nowhere else, whatever a browser makes of it: not to another host, and not out of the path
/// that the page is below.
fn is_local(path: &str) -> bool {
    let way = path.split(['?', '#']).next().unwrap_or_default();
    let begins = path.starts_with('/') && !path.starts_with("//") && !leads_elsewhere(way);
    begins && path.len() <= LONGEST_RETURN && !path.contains('\\') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Refuses what a page of another origin sends: nobody is to be logged in, or out, by somebody else.
fn from_elsewhere(headers: &HeaderMap) -> Option<Response> {
    let origin = origin::check(&Method::POST, headers, &[]).err()?;
    Some(error(StatusCode::FORBIDDEN, "forbidden", &format!("the page at {origin} may not call")))
}

/// The answer to a wrong password or key.
pub fn wrong() -> Response {
    error(StatusCode::UNAUTHORIZED, "unauthorized", "authentication failed: check the user name, password or key")
}

/// The answer when who somebody is cannot be found out now.
pub fn unavailable(why: &str) -> Response {
    tracing::error!("a login cannot be renewed: {why}");
    error(StatusCode::SERVICE_UNAVAILABLE, "auth_unavailable", "authentication is not available now; try again")
}

/// Adds cookies to an answer.
pub fn with_cookies(mut response: Response, cookies: Vec<HeaderValue>) -> Response {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn elsewhere(address: &str) -> Response {
    match HeaderValue::from_str(address) {
        Ok(_) => ([(header::CACHE_CONTROL, "no-store")], Redirect::to(address)).into_response(),
        Err(_) => error(StatusCode::BAD_GATEWAY, "auth_unavailable", "the login's server names an odd address"),
    }
}

/// A page that says why somebody was not logged in, and lets him try again.
fn failed(problem: &LoginError, back_to: &str) -> Response {
    let status = match problem {
        LoginError::Refused(_) => StatusCode::FORBIDDEN,
        LoginError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    tracing::warn!("somebody was not logged in: {problem}");
    let again: String = form_urlencoded::byte_serialize(back_to.as_bytes()).collect();
    let words = escaped(&problem.to_string());
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Not logged in</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"../assets/style.css\"></head>\
         <body class=\"alone\"><main class=\"start\"><h1>You are not logged in</h1><p class=\"lead\">{words}.</p>\
         <p class=\"form-actions\"><a class=\"primary-button\" href=\"oidc?return={again}\">Try again</a></p>\
         </main></body></html>"
    );
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, page).into_response()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars().take(500) {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

/// What the gateway answered to a question of ours.
pub struct GatewayReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl IntoResponse for GatewayReply {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(wait) = self.headers.get(header::RETRY_AFTER) {
            response.headers_mut().insert(header::RETRY_AFTER, wait.clone());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_returns_to_this_page_only() {
        for path in ["/", "/runs/0b9d?x=/../1#y", "/a//b"] {
            assert!(is_local(path), "{path}");
        }
        let long = format!("/{}", "x".repeat(600));
        for path in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "runs",
            "/a\r\nb",
            "/a b",
            "/\t/evil",
            "/../other",
            "/runs/..//evil.example",
            "/%2E%2e/other",
            &long,
        ] {
            assert!(!is_local(path), "{path}");
        }
        assert_eq!(escaped("<script>'\"&\n"), "&lt;script&gt;&#39;&quot;&amp; ");
    }
}
