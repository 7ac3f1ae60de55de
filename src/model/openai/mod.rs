//! OpenAI's chat completions, over HTTP, as OpenAI and every server that is compatible with it speak them.

mod answer;
mod body;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use self::answer::{ErrorWords, Heard};
use super::content::shortened;
use super::retry::{Advice, Backoff, may_pass};
use super::waits::Waits;
use super::{ChatModel, Error, Progress, Reply, Request, http};
use crate::clock::{Clock, SystemClock};
use crate::config::{Llm, Provider};
use crate::ids::Name;

/// The most bytes that are read of the body of an error.
const LONGEST_ERROR: usize = 64 << 10;
/// The most characters of a server's words that are kept.
const LONGEST_MESSAGE: usize = 500;
/// How long the connection gets to end after the answer has: most servers end it at once, and then it can be used again.
const LAST_BYTES_WITHIN: Duration = Duration::from_millis(50);

/// A model behind chat completions.
pub(super) struct OpenAi {
    name: String,
    llm: Llm,
    endpoint: Result<Url, String>,
    /// The server's address as it may be shown.
    address: String,
    key: Option<SecretString>,
    client: Result<Client, String>,
    backoff: Backoff,
}

/// A failed attempt, and what the server says about another one.
struct Failure {
    error: Error,
    advice: Advice,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, advice: Advice::default() }
    }
}

impl OpenAi {
    /// Describes it; nothing is sent yet.
    pub(super) fn new(name: &Name, llm: &Llm, client: Result<Client, String>) -> Self {
        let endpoint = endpoint(&llm.base_url);
        Self {
            name: name.to_string(),
            llm: llm.clone(),
            address: endpoint.as_ref().map_or_else(|_| "its base_url".to_owned(), shown),
            endpoint,
            key: usable(name, llm.api_key.as_ref()),
            client,
            backoff: Backoff::default(),
        }
    }

    /// One request, from its first byte to the last of its answer.
    async fn attempt(
        &self,
        (body, streamed): (&Bytes, bool),
        headers: &HeaderMap,
        progress: &mut (dyn for<'a> FnMut(Progress<'a>) + Send),
    ) -> Result<Reply, Failure> {
        let (endpoint, client) = match (&self.endpoint, &self.client) {
            (Ok(endpoint), Ok(client)) => (endpoint.clone(), client),
            (Err(reason), _) | (_, Err(reason)) => return Err(self.unreachable(reason.clone()).into()),
        };
        let mut waits = Waits::begin(&self.name, self.llm.timeout, streamed);
        let sent = client.post(endpoint).headers(headers.clone()).body(body.clone()).send();
        let mut response = waits.for_next(sent).await?.map_err(|error| self.unreachable(http::in_words(error)))?;
        if !response.status().is_success() {
            return Err(self.refused(response, &waits).await);
        }

        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut reader = answer::Reader::new(&self.name, content_type.contains("event-stream"));
        let mut show = |text: &str| {
            if streamed {
                progress(Progress::Text(text));
            }
        };
        loop {
            match waits.for_next(response.chunk()).await? {
                Ok(Some(bytes)) => match reader.feed(&bytes, &mut show)? {
                    Heard::Nothing => waits.heard_something(),
                    Heard::Part => waits.heard_of_the_answer(),
                    Heard::End => {
                        // Whatever comes now, the answer is here.
                        let _ = tokio::time::timeout(LAST_BYTES_WITHIN, response.chunk()).await;
                        break;
                    }
                },
                Ok(None) => break,
                Err(_) if reader.is_complete() => break,
                Err(error) => return Err(self.unreachable(http::in_words(error)).into()),
            }
        }
        Ok(reader.end(&mut show)?)
    }

    /// Reads the error that the server answered with.
    async fn refused(&self, mut response: Response, waits: &Waits<'_>) -> Failure {
        let status = response.status();
        let advice = Advice::of(response.headers(), SystemClock.now());
        let elsewhere = response.headers().get(LOCATION).filter(|_| status.is_redirection());
        let elsewhere = elsewhere.and_then(|location| response.url().join(location.to_str().ok()?).ok());
        let mut body = Vec::new();
        while body.len() < LONGEST_ERROR
            && let Ok(Ok(Some(bytes))) = waits.for_next(response.chunk()).await
        {
            body.extend_from_slice(&bytes);
        }
        let text = String::from_utf8_lossy(&body);
        let ErrorWords { message, code } = match serde_json::from_str::<Value>(&text) {
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
            Err(_) => ErrorWords { message: text.into_owned(), code: None },
        };
        let error = Error::Status { model: self.name.clone(), status: status.as_u16(), message, code };
        Failure { error, advice }
    }

    fn headers(&self, request: &Request) -> Result<HeaderMap, Error> {
        let traces = request.headers.iter();
        let mut headers: HeaderMap = traces
            .filter_map(|(name, value)| Some((HeaderName::try_from(*name).ok()?, HeaderValue::try_from(value).ok()?)))
            .collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match &self.key {
            Some(key) => {
                if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", key.expose_secret())) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
            }
            None if self.llm.provider == Provider::OpenAi => {
                let variable = self.llm.api_key_variable.clone();
                let variable = variable.unwrap_or_else(|| format!("llms.{}.api_key", self.name));
                return Err(Error::NoKey { model: self.name.clone(), variable });
            }
            None => {}
        }
        Ok(headers)
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { model: self.name.clone(), address: self.address.clone(), reason }
    }

    /// The error as it may be shown: with the address, short, and without the key, which some servers repeat.
    fn presentable(&self, error: Error) -> Error {
        let clean = |text: String| match &self.key {
            // First the key, then the cut: a part of a key would not be found.
            Some(key) => shortened(&text.replace(key.expose_secret(), "***"), LONGEST_MESSAGE),
            None => shortened(&text, LONGEST_MESSAGE),
        };
        match error {
            Error::Status { model, status, message, code } => {
                Error::Status { model, status, message: clean(message), code: code.map(clean) }
            }
            Error::Unreachable { reason, .. } => self.unreachable(clean(reason)),
            Error::Malformed { model, reason } => Error::Malformed { model, reason: clean(reason) },
            other => other,
        }
    }
}

#[async_trait]
impl ChatModel for OpenAi {
    async fn complete(
        &self,
        request: &Request,
        progress: &mut (dyn for<'a> FnMut(Progress<'a>) + Send),
    ) -> Result<Reply, Error> {
        let headers = self.headers(request)?;
        let (body, streamed) = body::body(&self.llm, request);
        let body = Bytes::from(body.to_string());
        let mut attempt = 0;
        loop {
            attempt += 1;
            progress(Progress::Attempt(attempt));
            let Failure { error, advice } = match self.attempt((&body, streamed), &headers, progress).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let error = self.presentable(error);
            if attempt > self.llm.max_retries || !advice.again.unwrap_or_else(|| may_pass(&error)) {
                return Err(error);
            }
            let wait = advice.after.unwrap_or_else(|| self.backoff.wait(attempt, rand::random()));
            tracing::info!(llm.name = self.name, attempt, wait_ms = wait.as_millis() as u64, %error, "asking a model again");
            tokio::time::sleep(wait).await;
        }
    }
}

/// Where chat completions are, under the base. A query stays (some servers want their version there).
fn endpoint(base_url: &str) -> Result<Url, String> {
    let refused = || format!("{:?} is no address of a server", shortened(&without_user(base_url), 100));
    let mut url = Url::parse(base_url.trim()).map_err(|_| refused())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused());
    }
    url.path_segments_mut().map_err(|()| refused())?.pop_if_empty().extend(["chat", "completions"]);
    Ok(url)
}

/// An address without what may be secret in it: user, password, query.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for addresses without a host, which have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// What is left of a text that is no address, without what looks like a user and a password.
fn without_user(text: &str) -> String {
    text.rsplit('@').next().unwrap_or_default().to_owned()
}

/// The key, if it can be sent; an empty one is none.
fn usable(name: &Name, key: Option<&SecretString>) -> Option<SecretString> {
    let key = key?.expose_secret().trim();
    if key.is_empty() {
        return None;
    }
    if HeaderValue::try_from(key).is_err() {
        tracing::warn!(llm.name = %name, "the API key holds characters that no key has, and is not used");
        return None;
    }
    Some(key.into())
}

#[cfg(test)]
mod tests;
