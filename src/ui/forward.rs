//! Forwarding to the gateway: requests and answers as streams, and a WebSocket as the two byte streams that it is, so that
//! whatever the two ends agree upon (extensions, close codes) is left to them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::auth::origin;
use crate::auth::session::{self, LoginSession, SealPurpose};
use crate::config::TrustedHeaderConfig;
use crate::lifecycle::Shutdown;
use crate::metrics::{Tier, metrics};
use crate::serving;
use crate::traces;
use crate::ui::base_path::leads_elsewhere;
use crate::ui::login::{self, GatewayReply};
use crate::ui::sessions::{SessionState as Login, without_ours};
use crate::ui::{Error, UiState, error, page_token, stream_end};

/// How long a connection to the gateway may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the gateway may take to say whether it is ready.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long the gateway may take to say who somebody is: it may have to ask others, and to check a password.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a connection to the gateway is kept that nobody uses.
const IDLE_KEPT: Duration = Duration::from_secs(50);

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers that concern one connection, not the request (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// The gateway.
pub struct GatewayForwarder {
    /// Its address, without a slash at the end.
    base: String,
    client: reqwest::Client,
    shutdown: Shutdown,
    trusted: Option<TrustedHeaderConfig>,
}

impl GatewayForwarder {
    /// The gateway at an address; nothing is contacted yet.
    pub fn new(url: &str, shutdown: Shutdown) -> Result<Self, Error> {
        let refuse = |reason: String| Error::GatewayUrl { url: url.to_owned(), reason };
        let parsed = reqwest::Url::parse(url).map_err(|error| refuse(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return Err(refuse("it must begin with http:// or https:// and name a host".to_owned()));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(refuse("it must end with its path".to_owned()));
        }
        // Whoever else needs TLS in this process may have chosen already; then that choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .http1_only()
            // Only the gateway is ever contacted, whatever it or the environment says.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            // Sooner than the gateway closes it, so that no request meets a connection that just went.
            .pool_idle_timeout(IDLE_KEPT)
            .build()
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Self { base: parsed.as_str().trim_end_matches('/').to_owned(), client, shutdown, trusted: None })
    }

    /// Passes on who calls, as a proxy before the page says it in these headers, from that proxy only.
    pub fn trusting(self, trusted: Option<TrustedHeaderConfig>) -> Self {
        Self { trusted, ..self }
    }

    /// Takes out of a request what only this tier, or a proxy before it, may say, and says it.
    fn speak(&self, headers: &mut HeaderMap, peer: Option<IpAddr>, session: Option<&LoginSession>) {
        headers.remove(session::HEADER);
        headers.insert(origin::THROUGH_UI, HeaderValue::from_static("1"));
        if let Some(trusted) = &self.trusted {
            let is_proxy = |peer: IpAddr| trusted.from.iter().any(|network| network.contains(&peer.to_canonical()));
            if !peer.is_some_and(is_proxy) {
                headers.remove(&trusted.user);
                trusted.groups.as_ref().map(|groups| headers.remove(groups));
            }
        }
        if let Some(session) = session {
            headers.insert(header::AUTHORIZATION, authorization(&session.authorization()));
            headers.remove(session::ACCESS_TOKEN_HEADER);
            if let Some(token) = session.access_token() {
                headers.insert(session::ACCESS_TOKEN_HEADER, authorization(&token.text()));
            }
            if let Ok(named) = HeaderValue::from_str(&session.named().text()) {
                headers.insert(session::HEADER, named);
            }
        }
    }

    /// Whether the gateway says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = self.client.get(format!("{}/readyz", self.base)).timeout(READY_WITHIN).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Whether a request says itself who sends it. Then that counts, and no session.
    pub fn has_own(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key")
    }

    /// Asks the gateway who it is that sends this request, with this proof.
    pub async fn who_calls(
        &self,
        from: &HeaderMap,
        peer: IpAddr,
        proof: Option<&LoginSession>,
    ) -> Result<GatewayReply, Response> {
        let mut headers = without_body(from, peer);
        self.speak(&mut headers, Some(peer), proof);
        self.asked(self.client.get(format!("{}/api/me", self.base)).headers(headers)).await
    }

    /// Tells the gateway that a session is over. False: it could not be told.
    pub async fn end(&self, from: &HeaderMap, peer: IpAddr, session: &LoginSession) -> bool {
        let mut headers = without_body(from, peer);
        self.speak(&mut headers, Some(peer), Some(session));
        let lifetime = session.until.saturating_sub(session::now());
        let call = self.client.post(format!("{}/api/session/end", self.base)).headers(headers);
        match self.asked(call.json(&json!({"lifetime": lifetime}))).await {
            // What the gateway does not take any more is over there.
            Ok(answer) if [StatusCode::NO_CONTENT, StatusCode::UNAUTHORIZED].contains(&answer.status) => true,
            // A gateway from before an upgrade knows of no ends.
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => true,
            Ok(answer) => {
                tracing::warn!("the gateway did not end a session: {} {}", answer.status, answer.body);
                false
            }
            Err(_) => false,
        }
    }

    /// Gets a token for a password, and how long it counts, if the gateway gives any.
    pub async fn token(
        &self,
        from: &HeaderMap,
        peer: IpAddr,
        user: &str,
        password: &str,
    ) -> Result<Option<(String, Duration)>, Response> {
        let mut headers = HeaderMap::new();
        for name in [header::HOST, FORWARDED_HOST, FORWARDED_FOR] {
            headers.extend(from.get_all(&name).iter().map(|value| (Some(name.clone()), value.clone())));
        }
        tell_where_from(&mut headers, Some(peer));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", "password"), ("username", user), ("password", password)])
            .finish();
        let answer = self.asked(self.client.post(format!("{}/token", self.base)).headers(headers).body(form)).await?;
        match answer.status {
            StatusCode::OK => {
                let seconds = answer.body["expires_in"].as_u64().unwrap_or_default();
                let token = answer.body["access_token"].as_str().unwrap_or_default().to_owned();
                Ok(Some((token, Duration::from_secs(seconds))))
            }
            // It gives none.
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED => Err(login::wrong()),
            _ => Err(answer.into_response()),
        }
    }

    async fn asked(&self, call: reqwest::RequestBuilder) -> Result<GatewayReply, Response> {
        match call.timeout(ANSWER_WITHIN).send().await {
            Ok(answer) => {
                let (status, headers) = (answer.status(), answer.headers().clone());
                let body = answer.bytes().await.map_err(|problem| unreachable(&problem))?;
                let body = crate::bounds::parse(&body).unwrap_or(Value::Null);
                Ok(GatewayReply { status, headers, body })
            }
            Err(problem) => Err(unreachable(&problem)),
        }
    }
}

/// The headers for a call of our own that a browser's request leads to.
fn without_body(from: &HeaderMap, peer: IpAddr) -> HeaderMap {
    let mut headers = end_to_end(from);
    without_ours(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::CONTENT_TYPE);
    headers.remove(&page_token::HEADER);
    // It was checked here that a page of ours sends it: the gateway knows us by another name and could not tell.
    headers.remove(header::ORIGIN);
    headers.remove(&FETCH_SITE);
    tell_where_from(&mut headers, Some(peer));
    headers
}

fn unreachable(problem: &reqwest::Error) -> Response {
    tracing::warn!("the gateway cannot be reached: {problem}");
    let words = "the gateway cannot be reached; try again in a moment";
    error(StatusCode::BAD_GATEWAY, "gateway_unavailable", words)
}

fn authorization(value: &str) -> HeaderValue {
    // What a session holds was sent as a header before, or is a token, which is base64 and dots.
    let mut value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

/// Any request that is not for the page.
pub async fn forward(State(ui): State<Arc<UiState>>, request: Request) -> Response {
    let gateway = &ui.gateway;
    let (mut parts, body) = request.into_parts();
    let request_from = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|from| from.0.ip());
    if let Some(place) = parts.extensions.remove::<Arc<serving::ConnectionSlot>>() {
        place.passes_on();
    }
    let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| wants_websocket(&parts.headers));
    // Only the path and what follows: a request may name another host.
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if leads_elsewhere(parts.uri.path()) {
        return error(StatusCode::NOT_FOUND, "unknown_path", "there is nothing here");
    }
    let after = resumed_after(&parts.headers, parts.uri.query());
    let login = if gateway.has_own(&parts.headers) { Login::None } else { ui.sessions.of(&parts.headers).await };
    let mut headers = end_to_end(&parts.headers);
    without_ours(&mut headers);
    headers.remove(&page_token::HEADER);
    let is_ours = !origin::reads_for_another(&parts.headers, &[]);
    if is_ours && origin::check(&parts.method, &parts.headers, &[]).is_ok() {
        // A page of ours sends it: the gateway knows us by another name and could not tell.
        headers.remove(header::ORIGIN);
        headers.remove(&FETCH_SITE);
    }
    tell_where_from(&mut headers, request_from);
    let mut cookies = Vec::new();
    match &login {
        Login::None => {}
        Login::Over => cookies = ui.sessions.remove(&parts.headers, SealPurpose::Session),
        Login::Unavailable(why) => return login::unavailable(why),
        Login::Alive { session, changed } => {
            if let Some(refused) = ui.page_tokens.refuse(session, &parts.method, &parts.headers) {
                return refused;
            }
            if *changed {
                cookies = ui.sessions.cookies(&parts.headers, session);
            }
        }
    }
    let session = match &login {
        Login::Alive { session, .. } => Some(&**session),
        _ => None,
    };
    gateway.speak(&mut headers, request_from, session);
    if upgrade.is_some() {
        upgrading(&mut headers);
    }
    // What the gateway does belongs under this request, not beside it.
    if let Some(place) = traces::current().and_then(|place| HeaderValue::from_str(&place).ok()) {
        headers.insert(HeaderName::from_static(traces::HEADER), place);
    }
    let mut call = gateway.client.request(parts.method, format!("{}{path}", gateway.base)).headers(headers);
    if has_body(&parts.headers) {
        call = call.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let answer = match call.send().await {
        Ok(answer) => answer,
        Err(problem) => return unreachable(&problem),
    };
    let status = answer.status();
    let mut headers = end_to_end(answer.headers());
    if status == StatusCode::UNAUTHORIZED && !gateway.has_own(&parts.headers) {
        // The page asks for a password itself, where a browser would put a window of its own before it.
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        if matches!(login, Login::Alive { .. }) {
            cookies = ui.sessions.remove(&parts.headers, SealPurpose::Session);
        }
    }
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    match upgrade {
        Some(upgrade) if status == StatusCode::SWITCHING_PROTOCOLS => {
            upgrading(&mut headers);
            let shutdown = gateway.shutdown.clone();
            let open = metrics().socket(Tier::ui);
            gateway.shutdown.run(async move {
                let _open = open;
                tunnel(upgrade, answer, shutdown).await;
            });
            (status, headers).into_response()
        }
        _ => {
            let body = match is_events(&headers) {
                true => Body::from_stream(stream_end::events(answer.bytes_stream(), after, gateway.shutdown.clone())),
                false => Body::from_stream(answer.bytes_stream()),
            };
            let mut response = Response::new(body);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
    }
}

/// Tells the gateway which name the browser knows us by, and who is behind this request: it judges by both.
fn tell_where_from(headers: &mut HeaderMap, peer: Option<IpAddr>) {
    // Behind what a proxy before us says: the gateway hears every name that a request came by.
    if let Some(host) = headers.remove(header::HOST) {
        let said = headers.get_all(&FORWARDED_HOST).iter().chain([&host]).map(HeaderValue::as_bytes);
        let hosts = said.collect::<Vec<_>>().join(b", ".as_slice());
        if let Ok(hosts) = HeaderValue::from_bytes(&hosts) {
            headers.insert(FORWARDED_HOST, hosts);
        }
    }
    if let Some(peer) = peer.and_then(|peer| HeaderValue::from_str(&peer.to_canonical().to_string()).ok()) {
        headers.append(FORWARDED_FOR, peer);
    }
}

/// Brings the two ends of a socket together.
async fn tunnel(browser: OnUpgrade, gateway: reqwest::Response, shutdown: Shutdown) {
    match tokio::join!(browser, gateway.upgrade()) {
        (Ok(browser), Ok(gateway)) => stream_end::tunnel(TokioIo::new(browser), gateway, shutdown).await,
        (browser, gateway) => {
            tracing::debug!(browser = browser.is_ok(), gateway = gateway.is_ok(), "a socket did not come about");
        }
    }
}

/// Whether an answer is a stream of events.
fn is_events(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Where a client wants a stream of events to go on from: the header goes before the query, as at the gateway.
fn resumed_after(headers: &HeaderMap, query: Option<&str>) -> u64 {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let asked = || {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        { pairs }.find_map(|(name, value)| (name == "after").then(|| value.parse().ok())?)
    };
    header.or_else(asked).unwrap_or(0)
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn upgrading(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// The headers without those of the connection, and without those that the connection header names.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let mut kept = headers.clone();
    for name in HOP_BY_HOP.iter().chain(&named) {
        kept.remove(name);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-mine"),
            ("keep-alive", "5"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("last-event-id", "41"),
            ("accept", "text/event-stream"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut kept: Vec<String> = end_to_end(&headers).keys().map(ToString::to_string).collect();
        kept.sort();
        assert_eq!(kept, ["accept", "last-event-id"]);
        assert!(has_body(&headers) && !has_body(&HeaderMap::new()) && !wants_websocket(&headers));
    }

    #[test]
    fn only_an_address_of_a_gateway_is_taken() {
        let take = |url: &str| GatewayForwarder::new(url, Shutdown::default()).map(|gateway| gateway.base);
        assert_eq!(take("http://127.0.0.1:8008/").unwrap(), "http://127.0.0.1:8008");
        assert_eq!(take("https://example.org/agents/").unwrap(), "https://example.org/agents");
        for url in ["127.0.0.1:8008", "ftp://x", "http://", "http://x/?a", ""] {
            assert!(take(url).is_err(), "{url}");
        }
    }
}
