//! Requests to the endpoints of an authorization server, and what its answers say (RFC 6749, 7009, 7591).

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::clock::{self, Timestamp};
use crate::outside::encoding::encoded_query;
use crate::outside::hidden::{HiddenTexts, basic_login};
use crate::outside::http::{HttpAnswer, HttpAnswerBody, HttpSender, OutgoingRequest};

/// How long a server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// What is read of its answer, in bytes.
const MOST_ANSWER: u64 = 256 << 10;
/// A token is renewed so long before it expires, or a fifth of its time before, if that is less.
const RENEW_BEFORE: u64 = 60;
/// What a server says of a longer time is not believed.
const LONGEST_LIFETIME: u64 = 30 * 24 * 3600;
/// What is shown of a server's words, in characters.
const MOST_WORDS: usize = 300;

/// What a client is known as to a server.
#[derive(Debug, Clone, Default)]
pub struct ClientIdentity {
    /// Its name there.
    pub id: Option<String>,
    /// Its secret there; none: it is a public client.
    pub secret: Option<SecretString>,
    /// Whether both are sent in the body, in place of the header `Authorization`.
    pub in_body: bool,
}

/// Sends requests to authorization servers.
#[derive(Debug, Clone, Copy)]
pub struct OAuthRequester<'a> {
    /// What sends them.
    pub http: &'a HttpSender,
    /// What no words may show; secrets that come with answers are added.
    pub hidden: &'a HiddenTexts,
    /// The name that these stand under.
    pub name: &'a str,
}

/// Why a request came to nothing; in words without secrets.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OAuthError {
    /// The server said no, by one of the codes of the standard (`invalid_grant`); an empty one is none.
    #[error("{words}")]
    Refused {
        /// The code.
        code: String,
        /// What the server said.
        words: String,
    },
    /// There is no answer that could be used.
    #[error("{0}")]
    Failed(String),
}

/// What a server gives at its token endpoint.
#[derive(Debug, Clone)]
pub struct TokenAnswer {
    /// What requests show.
    pub access: SecretString,
    /// What the next one is given for.
    pub refresh: Option<SecretString>,
    /// When it is too old to be used; none: the server does not say it.
    pub renew_at: Option<Timestamp>,
    /// What it allows, if the server says it.
    pub scopes: Option<Vec<String>>,
}

impl OAuthRequester<'_> {
    /// Asks for a token.
    pub async fn token(
        &self,
        url: &Url,
        client: &ClientIdentity,
        pairs: Vec<(&str, String)>,
    ) -> Result<TokenAnswer, OAuthError> {
        let answer = self.post(url, client, pairs).await?;
        let server = answer.server.clone();
        let fields = self.fields(answer)?;
        let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(access) = text("access_token") else {
            return Err(self.failed(&format!("the answer of {server} has no access_token")));
        };
        if let Some(kind) = text("token_type").filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(
                self.failed(&format!("{server} gave one of the type {kind:?}, and only bearers are known here"))
            );
        }
        let refresh = text("refresh_token");
        for secret in [Some(access), refresh].into_iter().flatten() {
            self.hidden.learn(self.name, secret);
        }
        let renew_at = lifetime(&fields).map(|seconds| {
            let seconds = seconds.min(LONGEST_LIFETIME);
            let used = seconds - RENEW_BEFORE.min(seconds.div_ceil(5));
            clock::after(clock::system().now(), Duration::from_secs(used))
        });
        let scopes = text("scope").map(|scopes| scopes.split_whitespace().map(str::to_owned).collect());
        Ok(TokenAnswer { access: access.into(), refresh: refresh.map(Into::into), renew_at, scopes })
    }

    /// Asks a server to take a token back (RFC 7009).
    pub async fn revoke(
        &self,
        url: &Url,
        client: &ClientIdentity,
        token: &SecretString,
        kind: &str,
    ) -> Result<(), OAuthError> {
        let pairs = vec![("token", token.expose_secret().to_owned()), ("token_type_hint", kind.to_owned())];
        let answer = self.post(url, client, pairs).await?;
        match answer.status {
            200..300 => Ok(()),
            _ => self.fields(answer).map(drop),
        }
    }

    /// Posts a form as a client.
    pub async fn post(
        &self,
        url: &Url,
        client: &ClientIdentity,
        mut pairs: Vec<(&str, String)>,
    ) -> Result<HttpAnswer, OAuthError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        match (&client.id, &client.secret) {
            (Some(id), Some(secret)) if !client.in_body => {
                let login = basic_login(&encoded_query(id), &encoded_query(secret.expose_secret()));
                self.hidden.learn(self.name, &login);
                let mut value = HeaderValue::try_from(format!("Basic {login}")).expect("base64 is ASCII");
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            (id, secret) => {
                pairs.extend(id.iter().map(|id| ("client_id", id.clone())));
                pairs.extend(secret.iter().map(|secret| ("client_secret", secret.expose_secret().to_owned())));
            }
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.send(Method::POST, url, headers, Some(body)).await
    }

    /// Posts JSON and reads the object that comes.
    pub async fn post_json(&self, url: &Url, value: &Value) -> Result<Map<String, Value>, OAuthError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.send(Method::POST, url, headers, Some(value.to_string())).await?;
        self.fields(answer)
    }

    /// Gets a document; none: the server has none there.
    pub async fn document(&self, url: &Url) -> Result<Option<Map<String, Value>>, OAuthError> {
        let answer = self.send(Method::GET, url, HeaderMap::new(), None).await?;
        match (answer.status, answer.body) {
            (200..300, HttpAnswerBody::Json(Value::Object(fields))) => Ok(Some(fields)),
            // Some servers answer every path with a page.
            (200..500, _) => Ok(None),
            (..) => Err(self.failed(&format!("{} answered {}", answer.server, answer.status_line))),
        }
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Option<String>,
    ) -> Result<HttpAnswer, OAuthError> {
        let host = url.host_str().unwrap_or_default();
        if url.scheme() == "http" && !self.http.is_named(host) {
            let hint = "write https, or name the host in outgoing.allow_private";
            return Err(self.failed(&format!("it would be asked for at {host} unencrypted: {hint}")));
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let request =
            OutgoingRequest { method, url: url.clone(), headers, body: body.map(Into::into), within: ANSWER_WITHIN };
        let answer = self.http.send(request, MOST_ANSWER, self.hidden).await;
        answer.map_err(|error| self.failed(&error.to_string()))
    }

    /// The fields of an answer that is well.
    pub fn fields(&self, answer: HttpAnswer) -> Result<Map<String, Value>, OAuthError> {
        let server = &answer.server;
        let HttpAnswerBody::Json(Value::Object(fields)) = answer.body else {
            let words = self.hidden.hidden(&format!("{server} answered {} without JSON", answer.status_line));
            return Err(match answer.status {
                400 | 401 => OAuthError::Refused { code: String::new(), words },
                _ => OAuthError::Failed(words),
            });
        };
        // Some servers say no with 200.
        let is_well = answer.status < 300 && !fields.contains_key("error");
        if is_well {
            return Ok(fields);
        }
        let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let words: Vec<&str> = [text("error"), text("error_description")].into_iter().flatten().collect();
        // Hidden before the cut: a part of a secret would be found by nobody.
        let words: String = self.hidden.hidden(&words.join(": ")).chars().take(MOST_WORDS).collect();
        let separator = if words.is_empty() { "" } else { ": " };
        let words = self.hidden.hidden(&format!("{server} answered {}{separator}{words}", answer.status_line));
        Err(match text("error") {
            Some(code) => OAuthError::Refused { code: code.to_owned(), words },
            None if matches!(answer.status, 400 | 401) => OAuthError::Refused { code: String::new(), words },
            None => OAuthError::Failed(words),
        })
    }

    fn failed(&self, words: &str) -> OAuthError {
        OAuthError::Failed(self.hidden.hidden(words))
    }
}

impl OAuthError {
    /// Whether the server said no by this code.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, OAuthError::Refused { code, .. } if code == wanted)
    }
}

/// How long a token lasts, in seconds: some servers write a text.
fn lifetime(fields: &Map<String, Value>) -> Option<u64> {
    match fields.get("expires_in") {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Number(number)) => number.as_f64().map(|seconds| seconds.max(0.0) as u64),
        _ => None,
    }
}
