//! A client of the gateway's `/api` (`docs/reference/api.md`): the one way in which this program's own commands talk to a gateway, be
//! it here or far away. It knows HTTP and the words of the interface, and no broker.
//!
//! Calls are made once; [`patiently`] repeats those that may be. Only [`follow::RunFollower`] connects again by itself.

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::ids::{MessageId, RunId};
use crate::problem::chain;
use crate::protocol::api::{
    AnswerQuestion, ApiErrorBody, ApiErrorView, AuditHistory, AuditRunList, AuditRunQuery, AuditRunView, CallerView,
    EraseUser, Erased, ListRunsQuery, RunEventsQuery, RunList, RunVerification, RunView, StartRun, Verification,
    WorkflowList, WorkflowView, query_pairs,
};

pub mod event;
pub mod follow;
#[cfg(test)]
pub(crate) mod testing;

/// How long a connection may take to stand.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The longest silence within an answer. A stream of events says something every 15 s; after three of those it is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// Unused connections kept: a burst of conversations must not make a connection for each call.
const IDLE_CONNECTIONS: usize = 1024;
/// What an answer that is no error of `/api` shows of itself in an error message, in characters.
const LONGEST_SHOWN: usize = 200;

/// A client of one gateway. Clones share their connections.
#[derive(Clone)]
pub struct GatewayClient {
    http: reqwest::Client,
    base: Url,
    authorization: Option<HeaderValue>,
}

/// Why a call did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the gateway is none.
    #[error("{url:?} is not the address of a gateway (like http://localhost:8008): {reason}")]
    Address {
        /// What was given.
        url: String,
        /// Why it is none.
        reason: String,
    },
    /// Nobody answers there, or the connection broke.
    #[error("the gateway at {url} cannot be reached: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why, in words.
        why: String,
    },
    /// The gateway says no.
    #[error("{0}")]
    Refused(Box<GatewayRefusal>),
    /// The answer is not one of a gateway.
    #[error("what answers at {url} is no gateway: {what}")]
    Strange {
        /// Where.
        url: String,
        /// What it answered.
        what: String,
    },
}

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a gateway says when it says no.
#[derive(Debug, Clone, Default)]
pub struct GatewayRefusal {
    /// The HTTP status; 0 if it came within a stream of events.
    pub status: u16,
    /// What it says.
    pub error: ApiErrorView,
}

impl fmt::Display for GatewayRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)?;
        if let Some(hint) = &self.error.hint {
            write!(f, " ({hint})")?;
        }
        if let Some(id) = &self.error.id {
            write!(f, " [{id}]")?;
        }
        Ok(())
    }
}

impl Error {
    /// The name of the gateway's refusal, if it is one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Refused(refusal) => Some(&refusal.error.code),
            _ => None,
        }
    }

    /// Whether the same call may work a moment later.
    pub fn will_pass(&self) -> bool {
        match self {
            Error::Unreachable { .. } => true,
            // 502 and 504 are a proxy's words about a gateway that restarts.
            Error::Refused(refusal) => matches!(refusal.status, 502..=504),
            Error::Address { .. } | Error::Strange { .. } => false,
        }
    }
}

/// How long the runs of a person may take to be erased.
const ERASED_WITHIN: Duration = Duration::from_secs(600);

impl GatewayClient {
    /// A client of the gateway at `url`, for a gateway that asks nobody who he is. Nothing is connected yet.
    pub fn new(url: &str) -> Result<Self> {
        Self::with_key(url, None)
    }

    /// A client that shows this key or token with every call.
    pub fn with_key(url: &str, key: Option<&SecretString>) -> Result<Self> {
        let wrong = |reason: String| Error::Address { url: url.to_owned(), reason };
        let mut base: Url = url.parse().map_err(|error| wrong(format!("{error}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong("it must begin with http:// or https://".to_owned()));
        }
        base.set_query(None);
        base.set_fragment(None);
        // Paths are put after it; without the slash the last part of it would be replaced.
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let authorization = key.map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
                .map_err(|_| wrong("the key for it has characters that no key has".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let authorization = authorization.transpose()?;
        Ok(Self { http: http(&base, url, authorization.clone())?, base, authorization })
    }

    /// What is shown with every call, for a connection that is made without this client.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The gateway's address, for people.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The workflows that can be started.
    pub async fn workflows(&self) -> Result<Vec<WorkflowView>> {
        let listed: WorkflowList = self.json(self.request(Method::GET, "api/workflows")).await?;
        Ok(listed.workflows)
    }

    /// Starts a run. Called again with the same `key`, it gives the run that the first call made.
    pub async fn start(&self, workflow: &str, params: &Map<String, Value>, key: &str) -> Result<RunView> {
        let request = self.request(Method::POST, "api/runs").header("idempotency-key", key);
        self.json(request.json(&StartRun { workflow: workflow.to_owned(), params: Some(params.clone()) })).await
    }

    /// The runs that fit, those that wait for a person first, then the newest first.
    pub async fn list(&self, filter: &ListRunsQuery) -> Result<Vec<RunView>> {
        let listed: RunList = self.json(self.http.get(self.with_query("api/runs", filter))).await?;
        Ok(listed.runs)
    }

    /// A run.
    pub async fn get(&self, run: RunId) -> Result<RunView> {
        self.json(self.request(Method::GET, &format!("api/runs/{run}"))).await
    }

    /// Answers a question.
    pub async fn answer(&self, run: RunId, question: MessageId, value: &Value) -> Result<()> {
        let request = self.request(Method::POST, &format!("api/runs/{run}/answers/{question}"));
        // The body is read, so that the connection can be used again.
        self.send(request.json(&AnswerQuestion { value: value.clone() }))
            .await?
            .bytes()
            .await
            .map(drop)
            .map_err(|error| self.lost(error))
    }

    /// Who calls, as the gateway knows them; none: an anonymous caller.
    pub async fn user(&self) -> Result<Option<String>> {
        let caller: CallerView = self.json(self.request(Method::GET, "api/me")).await?;
        Ok(caller.user.map(|user| user.name))
    }

    /// Ends a run. One that has ended already is no error.
    pub async fn cancel(&self, run: RunId) -> Result<()> {
        match self.send(self.request(Method::POST, &format!("api/runs/{run}/cancel"))).await {
            Ok(response) => response.bytes().await.map(drop).map_err(|error| self.lost(error)),
            Err(error) if error.code() == Some("run_ended") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Follows a run from after sequence `after` (0: from its start).
    pub fn follow(&self, run: RunId, after: u64) -> follow::RunFollower {
        follow::RunFollower::new(self.clone(), run, after)
    }

    /// Everything that happened in a run, as auditors are shown it; with `prompts`, each request to a model whole.
    pub async fn history(&self, run: RunId, prompts: bool) -> Result<AuditHistory> {
        let query = AuditRunQuery { prompts: prompts.then_some(true) };
        self.json(self.http.get(self.with_query(&format!("api/audit/runs/{run}"), &query))).await
    }

    /// Whether the log of a run is what was written.
    pub async fn verify(&self, run: RunId) -> Result<RunVerification> {
        self.json(self.request(Method::GET, &format!("api/audit/runs/{run}/verify"))).await
    }

    /// Whether the logs of all runs are what was written.
    pub async fn verify_all(&self) -> Result<Verification> {
        self.json(self.request(Method::GET, "api/audit/verify")).await
    }

    /// Everybody's runs, as auditors are shown them, the newest first. A gateway that looks for a text says in between where it goes
    /// on.
    pub async fn audited(&self, query: &[(String, String)], limit: usize) -> Result<Vec<AuditRunView>> {
        let (mut runs, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut url = self.at("api/audit/runs");
            let wanted = (limit - runs.len()).to_string();
            url.query_pairs_mut().extend_pairs(query).append_pair("limit", &wanted);
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let listed: AuditRunList = self.json(self.http.get(url)).await?;
            runs.extend(listed.runs);
            cursor = listed.next.filter(|_| runs.len() < limit);
            if cursor.is_none() {
                return Ok(runs);
            }
        }
    }

    /// Takes everything that was said out of a person's runs.
    pub async fn erase(&self, user: &str, reason: &str) -> Result<Erased> {
        let request = self.request(Method::POST, "api/audit/erase").timeout(ERASED_WITHIN);
        self.json(request.json(&EraseUser { user: user.to_owned(), reason: reason.to_owned() })).await
    }

    /// Opens an export of the audit.
    pub async fn export(&self, query: &[(String, String)]) -> Result<AuditExport> {
        let mut url = self.at("api/audit/export");
        url.query_pairs_mut().extend_pairs(query);
        Ok(AuditExport { response: self.send(self.http.get(url)).await?, client: self.clone() })
    }

    /// Opens the stream of a run's events.
    async fn events(&self, run: RunId, after: u64) -> Result<Response> {
        let query = RunEventsQuery { after: Some(after), follow: None };
        let request = self.http.get(self.with_query(&format!("api/runs/{run}/events"), &query));
        self.send(request.header("accept", "text/event-stream")).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.at(path))
    }

    fn at(&self, path: &str) -> Url {
        // The base ends with a slash and ids are hexadecimal: the path always joins.
        self.base.join(path).unwrap_or_else(|_| self.base.clone())
    }

    fn with_query(&self, path: &str, query: &impl Serialize) -> Url {
        let mut url = self.at(path);
        let pairs = query_pairs(query);
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        url
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request).await?;
        let body = response.bytes().await.map_err(|error| self.lost(error))?;
        crate::bounds::parse(&body)
            .map_err(|error| Error::Strange { url: self.url().to_owned(), what: format!("{error}: {}", shown(&body)) })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.lost(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(self.refused(status, &body))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        match crate::bounds::parse::<ApiErrorBody>(body) {
            Ok(ApiErrorBody { error }) => Error::Refused(Box::new(GatewayRefusal { status: status.as_u16(), error })),
            // A proxy's own words about a gateway that is away.
            Err(_) if matches!(status.as_u16(), 502..=504) => {
                Error::Unreachable { url: self.url().to_owned(), why: format!("a proxy answers {status}") }
            }
            Err(_) => Error::Strange { url: self.url().to_owned(), what: format!("{status} {}", shown(body)) },
        }
    }

    fn lost(&self, error: reqwest::Error) -> Error {
        Error::Unreachable { url: self.url().to_owned(), why: in_words(error) }
    }
}

/// An export of the audit, piece by piece.
pub struct AuditExport {
    response: Response,
    client: GatewayClient,
}

impl AuditExport {
    /// The next piece; none: that was all.
    pub async fn next(&mut self) -> Result<Option<bytes::Bytes>> {
        self.response.chunk().await.map_err(|error| self.client.lost(error))
    }
}

fn http(base: &Url, url: &str, authorization: Option<HeaderValue>) -> Result<reqwest::Client> {
    // Another part of the process may have installed it: ring either way.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("accept"), HeaderValue::from_static("application/json"));
    headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("fastagency/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers.clone())
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(SILENCE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            // A repeated answer would be refused as one that came too late: who may be repeated is decided above.
            .retry(reqwest::retry::never());
        // A gateway on this machine is never behind a proxy.
        if is_here(base) { builder.no_proxy() } else { builder }
    };
    builder()
        .build()
        // A container without certificates is no reason to refuse a gateway without TLS.
        .or_else(|error| if base.scheme() == "http" { builder().tls_certs_only([]).build() } else { Err(error) })
        .map_err(|error| Error::Address { url: url.to_owned(), reason: in_words(error) })
}

fn is_here(base: &Url) -> bool {
    match base.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(LONGEST_SHOWN).collect()
}

/// An error of the HTTP client in words, without the address, which the caller says.
fn in_words(error: reqwest::Error) -> String {
    chain(&error.without_url())
}

/// The pause before the `attempt`th new try (from 1): it doubles up to some seconds, and no two clients come at once.
pub(crate) fn pause(attempt: u32) -> Duration {
    let most = 100u64.saturating_mul(1 << attempt.min(6)).min(5_000);
    Duration::from_millis(rand::rng().random_range(most / 2..=most))
}

/// Repeats a call that failed for a reason that will pass, for at most `within`. For calls that may be repeated.
pub async fn patiently<T>(within: Duration, mut call: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut attempt = 0;
    loop {
        match call().await {
            Err(error) if error.will_pass() && start.elapsed() < within => {
                attempt += 1;
                tokio::time::sleep(pause(attempt)).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::api::RunState;

    #[test]
    fn an_address_is_taken_with_and_without_a_path_and_refused_with_a_reason() {
        for (given, wanted) in [
            ("http://localhost:8008", "http://localhost:8008/api/workflows"),
            ("http://localhost:8008/", "http://localhost:8008/api/workflows"),
            ("https://a.example/agency", "https://a.example/agency/api/workflows"),
        ] {
            let client = GatewayClient::new(given).unwrap();
            let request = client.request(Method::GET, "api/workflows").build().unwrap();
            assert_eq!(request.url().as_str(), wanted);
        }
        for bad in ["localhost:8008", "", "nats://localhost", "http://"] {
            assert!(matches!(GatewayClient::new(bad), Err(Error::Address { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_refusal_is_the_gateways_sentence() {
        let client = GatewayClient::new("http://localhost:8008").unwrap();
        let body = r#"{"error": {"code": "unknown_workflow", "message": "there is no workflow named \"lessons\"",
                       "hint": "did you mean \"lesson\"?"}}"#;
        let error = client.refused(StatusCode::NOT_FOUND, body.as_bytes());
        assert_eq!(error.to_string(), "there is no workflow named \"lessons\" (did you mean \"lesson\"?)");
        assert_eq!(error.code(), Some("unknown_workflow"));
        assert!(!error.will_pass());
        assert!(client.refused(StatusCode::BAD_GATEWAY, b"<html>").will_pass());
        let strange = client.refused(StatusCode::NOT_FOUND, b"<html>\x1b[2Jnot\nhere");
        assert_eq!(
            strange.to_string(),
            "what answers at http://localhost:8008 is no gateway: 404 Not Found <html>[2Jnothere"
        );
    }

    #[test]
    fn a_list_is_asked_for_by_its_filters() {
        let client = GatewayClient::new("http://h:1").unwrap();
        let filter = ListRunsQuery {
            state: Some(RunState::Waiting),
            workflow: Some("a b&c".to_owned()),
            ..ListRunsQuery::default()
        };
        assert_eq!(
            client.with_query("api/runs", &filter).as_str(),
            "http://h:1/api/runs?state=waiting&workflow=a+b%26c"
        );
    }
}
