//! A model behind HTTP, whoever serves it: connections, attempts, waits, and what is done about failures. What is said to it
//! is known to its [`ProviderWire`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{self, AnswerPiece};
use super::breaker::{CircuitBreaker, FIRST_REST, OpenCircuit, speaks_against_the_endpoint};
use super::call_ids::with_fitting_ids;
use super::content::shortened;
use super::credential::RenewedToken;
use super::key::{is_secret, usable};
use super::provider_error::ErrorWords;
use super::proxy::proxy_for;
use super::refusal::Adaptation;
use super::request_time_limits::RequestTimeLimits;
use super::retry::{RetryAdvice, RetryBackoff, asked_in, may_pass};
use super::unpack::{AnswerBody, BodyError};
use super::usage::with_estimates;
use super::wire::ProviderWire;
use super::{ChatModel, Error, ModelProgress, http, thoughts};
use crate::bounds::{self, OUTSIDE};
use crate::clock::{Clock, SystemClock};
use crate::config::LlmConfig;
use crate::ids::Name;
use crate::protocol::dialogue::{ModelReply, ModelRequest};
use crate::rate::{RateGate, RateLimit, WorkerCount};

/// The most bytes that are read of the body of an error.
const LONGEST_ERROR: usize = 64 << 10;
/// The most characters of a server's words that are kept.
const LONGEST_MESSAGE: usize = 500;
/// How long the connection gets to end after the answer has: most servers end it at once, and then it can be used again.
const LAST_BYTES_WITHIN: Duration = Duration::from_millis(50);
/// How long after its last word an answer may go on, for its counts: some servers neither say that it is over nor end the connection.
const COUNTS_WITHIN: Duration = Duration::from_secs(10);
/// How often one request is asked in another way because the server refused something in it.
const MOST_ADAPTATIONS: u32 = 8;
/// About how many bytes of a request are one token.
const BYTES_PER_TOKEN: u64 = 4;
/// What the rates of models are counted over.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// A model behind HTTP.
pub(super) struct RemoteModel {
    name: String,
    llm: LlmConfig,
    /// The same, and what the server has refused by now is left out.
    suited: Mutex<Arc<LlmConfig>>,
    /// Why its key or token cannot be sent.
    odd_key: Option<String>,
    wire: &'static dyn ProviderWire,
    endpoints: Result<ModelEndpoints, String>,
    /// The server's address as it may be shown.
    address: String,
    secrets: Vec<SecretString>,
    credential: Option<RenewedToken>,
    client: Result<Client, String>,
    backoff: RetryBackoff,
    /// How long after its last word an answer may go on, for its counts.
    counts_within: Duration,
    breaker: CircuitBreaker,
    gate: RateGate,
}

/// Where requests go.
struct ModelEndpoints {
    /// For an answer that comes at once.
    whole: Url,
    /// For a streamed one.
    streamed: Url,
}

/// A failed attempt, and what the server says about another one.
struct AttemptFailure {
    error: Error,
    advice: RetryAdvice,
    /// Where the request went, if that may be the reason.
    place: Option<String>,
    /// How to ask instead, if the server refused the way it was asked.
    instead: Option<Adaptation>,
}

impl From<Error> for AttemptFailure {
    fn from(error: Error) -> Self {
        Self { error, advice: RetryAdvice::default(), place: None, instead: None }
    }
}

/// A request as it is sent.
struct SentRequest<'r> {
    request: &'r ModelRequest,
    llm: Arc<LlmConfig>,
    body: Bytes,
    streamed: bool,
}

impl RemoteModel {
    /// Describes it; nothing is sent yet.
    pub(super) fn new(
        name: &Name,
        llm: &LlmConfig,
        wire: &'static dyn ProviderWire,
        client: Result<Client, String>,
        workers: WorkerCount,
    ) -> Self {
        let endpoints = endpoints(llm, wire);
        let mut llm = llm.clone();
        let mut odd_key = None;
        for (kind, secret) in [("API key", &mut llm.api_key), ("token", &mut llm.token)] {
            *secret = usable(secret.as_ref()).unwrap_or_else(|why| {
                odd_key = Some(format!("its {kind} cannot be right: {why}"));
                None
            });
        }
        Self {
            name: name.to_string(),
            suited: Mutex::new(Arc::new(llm.clone())),
            odd_key,
            wire,
            address: endpoints.as_ref().map_or_else(|_| "its base_url".to_owned(), |endpoints| shown(&endpoints.whole)),
            endpoints,
            secrets: llm.api_key.iter().chain(&llm.token).filter(|key| is_secret(key)).cloned().collect(),
            credential: llm.token_source.clone().map(RenewedToken::new),
            client,
            backoff: RetryBackoff::default(),
            counts_within: COUNTS_WITHIN,
            breaker: CircuitBreaker::new(FIRST_REST),
            gate: RateGate::new(
                RateLimit {
                    requests: llm.rate.requests_per_minute,
                    tokens: llm.rate.tokens_per_minute,
                    window: RATE_WINDOW,
                },
                workers,
            ),
            llm,
        }
    }

    /// The request as the server takes it, as far as that is known.
    fn sent<'r>(&self, llm: Arc<LlmConfig>, request: &'r ModelRequest) -> SentRequest<'r> {
        let (body, streamed) = match with_fitting_ids(&request.messages, self.wire.call_ids(&llm)) {
            Cow::Borrowed(_) => self.wire.body(&llm, request),
            Cow::Owned(messages) => self.wire.body(&llm, &ModelRequest { messages, ..request.clone() }),
        };
        SentRequest { request, llm, body: Bytes::from(body), streamed }
    }

    fn suited(&self) -> Arc<LlmConfig> {
        self.suited.lock().clone()
    }

    /// What to ask with instead. What holds for the model is remembered for later requests.
    fn adapt(&self, llm: &LlmConfig, instead: &Adaptation) -> Arc<LlmConfig> {
        let setting = instead.as_setting();
        if instead.is_remembered() {
            let mut suited = self.suited.lock();
            instead.apply(Arc::make_mut(&mut suited));
            tracing::warn!(
                llm.name = self.name,
                setting,
                "the server refuses how it was asked; until this process ends it is asked as if llms.{} had this setting",
                self.name,
            );
        } else {
            tracing::info!(
                llm.name = self.name,
                setting,
                "the server refuses this request; it is asked once with this setting"
            );
        }
        let mut llm = llm.clone();
        instead.apply(&mut llm);
        Arc::new(llm)
    }

    /// One attempt, if the breaker and the rate leave room for it.
    async fn attempt(
        &self,
        sent: &SentRequest<'_>,
        headers: &HeaderMap,
        progress: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
    ) -> Result<ModelReply, AttemptFailure> {
        let mut leave = self.breaker.enter().map_err(|resting| self.down(resting))?;
        let expected = sent.body.len() as u64 / BYTES_PER_TOKEN;
        let longest = self.llm.timeout.total;
        let Some(pass) = self.gate.pass(expected, longest).await else {
            let (model, rate) = (self.name.clone(), self.llm.rate.to_string());
            return Err(Error::Crowded { model, rate, after: longest }.into());
        };
        let mut outcome = self.exchange(sent, headers, progress, &mut || leave.it_lives()).await;
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        // A rate, too, counts what the server does not.
        outcome = outcome.map(|reply| with_estimates(reply, sent.request));
        if let Ok(reply) = &mut outcome {
            thoughts::sign(reply, &self.llm.model);
        }
        let outcome = outcome.map_err(|failure| AttemptFailure {
            instead: Adaptation::after(&failure.error, &sent.llm, sent.request),
            error: self.presentable(failure.error, bearer, failure.place.as_deref()),
            ..failure
        });
        match &outcome {
            Ok(reply) => {
                self.gate.used(pass, reply.usage.tokens());
                leave.it_lives();
            }
            Err(failure) if speaks_against_the_endpoint(&failure.error) => leave.it_failed(&failure.error),
            Err(_) => leave.it_lives(),
        }
        outcome
    }

    /// One request, from its first byte to the last of its answer. `begun` hears that the answer has begun.
    async fn exchange(
        &self,
        SentRequest { body, streamed, .. }: &SentRequest<'_>,
        headers: &HeaderMap,
        progress: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
        begun: &mut (dyn FnMut() + Send),
    ) -> Result<ModelReply, AttemptFailure> {
        let (endpoints, client) = match (&self.endpoints, &self.client) {
            (Ok(endpoints), Ok(client)) => (endpoints, client),
            (Err(reason), _) | (_, Err(reason)) => return Err(self.unreachable(reason.clone()).into()),
        };
        let streamed = *streamed;
        let endpoint = if streamed { &endpoints.streamed } else { &endpoints.whole };
        let mut waits = RequestTimeLimits::begin(&self.name, self.llm.provider.api(), self.llm.timeout, streamed);
        let sent = client.post(endpoint.clone()).headers(headers.clone()).body(body.clone()).send();
        let response = waits.for_next(sent).await?.map_err(|error| self.unreachable(http::in_words(error)))?;
        if !response.status().is_success() {
            return Err(self.refused(response, &waits).await);
        }

        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut reader = answer::AnswerReader::new(&self.name, self.wire, content_type.contains("event-stream"));
        let mut body = AnswerBody::of(response);
        let mut show = |text: &str| {
            if streamed {
                progress(ModelProgress::Text(text));
            }
        };
        let mut over_by: Option<Instant> = None;
        loop {
            let heard = if reader.is_complete() {
                let by = *over_by.get_or_insert_with(|| Instant::now() + self.counts_within);
                match tokio::time::timeout_at(by, waits.for_next(body.chunk())).await {
                    Ok(Ok(heard)) => heard,
                    Ok(Err(_)) | Err(_) => break,
                }
            } else {
                over_by = None;
                waits.for_next(body.chunk()).await?
            };
            match heard {
                Ok(Some(bytes)) => match reader.feed(&bytes, &mut show)? {
                    AnswerPiece::Nothing => waits.heard_something(),
                    AnswerPiece::Part => {
                        begun();
                        waits.heard_of_the_answer();
                    }
                    AnswerPiece::End => {
                        // Whatever comes now, the answer is here.
                        let _ = tokio::time::timeout(LAST_BYTES_WITHIN, body.chunk()).await;
                        break;
                    }
                },
                Ok(None) => break,
                Err(_) if reader.is_complete() => break,
                Err(BodyError::Broken(reason)) => return Err(self.broken_off(reason).into()),
                Err(BodyError::Unreadable(reason)) => {
                    return Err(Error::Malformed { model: self.name.clone(), reason }.into());
                }
            }
        }
        Ok(reader.end(&mut show)?)
    }

    /// Reads the error that the server answered with.
    async fn refused(&self, response: Response, waits: &RequestTimeLimits<'_>) -> AttemptFailure {
        let status = response.status();
        let advice = RetryAdvice::of(response.headers(), SystemClock.now());
        let asked = response.url().clone();
        let elsewhere = response.headers().get(LOCATION).filter(|_| status.is_redirection());
        let elsewhere = elsewhere.and_then(|location| asked.join(location.to_str().ok()?).ok());
        let mut body = Vec::new();
        let mut unread = AnswerBody::of(response);
        while body.len() < LONGEST_ERROR
            && let Ok(Ok(Some(bytes))) = waits.for_next(unread.chunk()).await
        {
            body.extend_from_slice(&bytes);
        }
        let text = String::from_utf8_lossy(&body);
        let parsed = bounds::read::<Value>(text.as_bytes(), &OUTSIDE);
        let advice = RetryAdvice { after: advice.after.or_else(|| asked_in(parsed.as_ref().ok()?)), ..advice };
        let ErrorWords { message, code } = match parsed {
            _ if let Some(elsewhere) = elsewhere => ErrorWords {
                message: format!(
                    "the server sends us on to {}; if that is right, make it the base_url",
                    shown(&elsewhere)
                ),
                code: None,
            },
            Ok(body) => ErrorWords::of(&body),
            Err(_) if text.trim().is_empty() => {
                ErrorWords { message: status.canonical_reason().unwrap_or("no message").to_owned(), code: None }
            }
            Err(_) => ErrorWords::of_text(&text),
        };
        let place = match status.as_u16() {
            404 | 405 => Some(format!("asked at {}", shown(&asked))),
            407 | 502..=504 => proxy_for(&asked).map(|proxy| format!("through {proxy}")),
            _ => None,
        };
        let error =
            Error::Status { model: self.name.clone(), status: status.as_u16(), in_answer: false, message, code };
        AttemptFailure { error, advice, place, instead: None }
    }

    async fn headers(&self, request: &ModelRequest) -> Result<HeaderMap, Error> {
        let traces = request.headers.iter();
        let mut headers: HeaderMap = traces
            .filter_map(|(name, value)| Some((HeaderName::try_from(*name).ok()?, HeaderValue::try_from(value).ok()?)))
            .collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.wire.headers(&self.llm) {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let token = match &self.credential {
            Some(credential) => Some(credential.token().await.map_err(|reason| self.no_token(reason))?),
            None => self.llm.token.clone(),
        };
        let secret = match (&token, &self.llm.api_key) {
            (Some(token), _) => Some(("authorization", format!("Bearer {}", token.expose_secret()).into())),
            (None, Some(key)) => Some(self.wire.key_header(&self.llm, key)),
            (None, None) => None,
        };
        match secret {
            Some((name, secret)) => {
                if let Ok(mut value) = HeaderValue::try_from(secret.expose_secret()) {
                    value.set_sensitive(true);
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
            None if let Some(reason) = &self.odd_key => {
                return Err(Error::OddKey { model: self.name.clone(), reason: reason.clone() });
            }
            None if self.llm.needs_key() => {
                let variable = self.llm.api_key_variable.clone();
                let variable = variable.unwrap_or_else(|| format!("llms.{}.api_key", self.name));
                return Err(Error::NoKey { model: self.name.clone(), variable });
            }
            None => {}
        }
        Ok(headers)
    }

    fn no_token(&self, reason: String) -> Error {
        Error::NoToken { model: self.name.clone(), reason }
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { model: self.name.clone(), address: self.way(), reason }
    }

    fn broken_off(&self, reason: String) -> Error {
        Error::BrokenOff { model: self.name.clone(), address: self.way(), reason }
    }

    /// Where it is, and the proxy through which it is asked.
    fn way(&self) -> String {
        let proxy = self.endpoints.as_ref().ok().and_then(|endpoints| proxy_for(&endpoints.whole));
        let through = proxy.map(|proxy| format!(" through {proxy}")).unwrap_or_default();
        format!("{}{through}", self.address)
    }

    /// The breaker lets nobody ask. Where another model stands in, that is told at once; else the next attempt waits for the
    /// breaker.
    fn down(&self, resting: OpenCircuit) -> AttemptFailure {
        let OpenCircuit { failures, again_in, last } = resting;
        AttemptFailure {
            error: Error::Down { model: self.name.clone(), failures, again_in, last },
            advice: RetryAdvice { again: Some(self.llm.fallback.is_empty()), after: Some(again_in) },
            place: None,
            instead: None,
        }
    }

    /// The error as it may be shown: with the address, short, and without the key, which some servers repeat.
    fn presentable(&self, error: Error, bearer: Option<&str>, place: Option<&str>) -> Error {
        let bearer = bearer.filter(|token| is_secret(&(*token).into()));
        let clean = |mut text: String| {
            // First the secrets, then the cut: a part of one would not be found.
            for secret in self.secrets.iter().map(ExposeSecret::expose_secret).chain(bearer) {
                text = text.replace(secret, "***");
            }
            shortened(&text, LONGEST_MESSAGE)
        };
        match error {
            Error::Status { model, status, in_answer, message, code } => {
                let mut message = clean(message);
                message.extend(place.map(|place| format!(" ({place})")));
                Error::Status { model, status, in_answer, message, code: code.map(clean) }
            }
            Error::Unreachable { reason, .. } => self.unreachable(clean(reason)),
            Error::BrokenOff { reason, .. } => self.broken_off(clean(reason)),
            Error::Malformed { model, reason } => Error::Malformed { model, reason: clean(reason) },
            other => other,
        }
    }
}

#[async_trait]
impl ChatModel for RemoteModel {
    async fn complete(
        &self,
        request: &ModelRequest,
        progress: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
    ) -> Result<ModelReply, Error> {
        let mut headers = self.headers(request).await?;
        let mut has_fresh_token = false;
        let mut sent = self.sent(self.suited(), request);
        let mut attempt = 0;
        let mut adaptations = 0;
        loop {
            attempt += 1;
            progress(ModelProgress::Attempt(attempt));
            let failure = match self.attempt(&sent, &headers, progress).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let AttemptFailure { error, advice, instead, .. } = failure;
            if let Some(instead) = instead.filter(|_| adaptations < MOST_ADAPTATIONS) {
                adaptations += 1;
                sent = self.sent(self.adapt(&sent.llm, &instead), request);
                continue;
            }
            if let (Some(credential), Error::Status { status: 401, .. }, false) =
                (&self.credential, &error, has_fresh_token)
            {
                // The token has expired, or somebody has taken it back.
                credential.forget().await;
                headers = self.headers(request).await?;
                has_fresh_token = true;
                continue;
            }
            let failed = attempt - adaptations;
            if failed > self.llm.max_retries || !advice.again.unwrap_or_else(|| may_pass(&error)) {
                return Err(error);
            }
            let wait = advice.after.unwrap_or_else(|| self.backoff.wait(failed, rand::random()));
            let wait_ms = wait.as_millis() as u64;
            tracing::info!(llm.name = self.name, attempt, wait_ms, error = error.in_log(), "asking a model again");
            tokio::time::sleep(wait).await;
        }
    }
}

/// Where a whole reply is asked for.
pub(super) fn whole_url(llm: &LlmConfig, wire: &dyn ProviderWire) -> Result<Url, String> {
    endpoints(llm, wire).map(|endpoints| endpoints.whole)
}

/// Where requests go, under the base. A query of the base stays (some servers want their version there).
fn endpoints(llm: &LlmConfig, wire: &dyn ProviderWire) -> Result<ModelEndpoints, String> {
    let refused = || format!("{:?} is no address of a server", shortened(&without_user(&llm.base_url), 100));
    let base = Url::parse(llm.base_url.trim()).map_err(|_| refused())?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err(refused());
    }
    let complete = |streamed| {
        let mut url = base.clone();
        wire.complete_url(llm, streamed, &mut url);
        url
    };
    Ok(ModelEndpoints { whole: complete(false), streamed: complete(true) })
}

/// An address without what may be secret in it: user, password, and the query but for the version.
fn shown(url: &Url) -> String {
    let version = url.query_pairs().find(|(name, _)| name == "api-version").map(|(_, version)| version.into_owned());
    let mut url = url.clone();
    // Both fail only for addresses without a host, which have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    if let Some(version) = version {
        url.query_pairs_mut().append_pair("api-version", &version);
    }
    url.to_string()
}

/// What is left of a text that is no address, without what looks like a user and a password.
fn without_user(text: &str) -> String {
    text.rsplit('@').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
