//! Tokens of OAuth 2.0 (RFC 6749), asked for with the secrets of `secrets:`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::token_store::{StoredToken, TokenFetch};
use crate::clock;
use crate::config::{OAuthConfig, OAuthGrant};
use crate::outside::encoding::encoded_query;
use crate::outside::hidden::{HiddenTexts, basic_login};
use crate::outside::http::{HttpAnswer, HttpAnswerBody, HttpSender, OutgoingRequest};

/// How long a server may take to give a token.
const TOKEN_WITHIN: Duration = Duration::from_secs(30);
/// What is read of its answer, in bytes.
const MOST_ANSWER: u64 = 256 << 10;
/// A token is renewed so long before it expires, or a fifth of its time before, if that is less.
const RENEW_BEFORE: u64 = 60;
/// What a server says of a longer time is not believed.
const LONGEST_LIFETIME: u64 = 30 * 24 * 3600;
/// What is shown of a server's words, in characters.
const MOST_WORDS: usize = 300;

/// Asks for a token.
pub(super) struct OAuthFetch {
    /// The secret's name.
    pub(super) name: String,
    pub(super) config: OAuthConfig,
    pub(super) token_url: Url,
    pub(super) scopes: Vec<String>,
    pub(super) http: Arc<HttpSender>,
    pub(super) hidden: Arc<HiddenTexts>,
}

impl OAuthFetch {
    /// What its token is kept under: the same for the same request.
    pub(super) fn key(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        };
        add(self.token_url.as_str());
        add(self.config.client_id.as_deref().unwrap_or_default());
        let person = match &self.config.grant {
            OAuthGrant::ClientCredentials => "",
            OAuthGrant::Password { username, .. } => username,
            OAuthGrant::RefreshToken(_) => "-",
        };
        add(person);
        self.scopes.iter().for_each(|scope| add(scope));
        for (name, value) in &self.config.parameters {
            add(name);
            add(value);
        }
        let digits: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        format!("{}.{digits}", self.name)
    }

    fn failed(&self, why: &str) -> String {
        format!("no token for the secret {:?}: {}", self.name, self.hidden.hidden(why))
    }

    fn unset(&self, what: &str) -> String {
        self.failed(&format!("the variable that its {what} comes from is not set"))
    }

    /// What is sent, but for the client.
    fn parameters(&self, refresh: Option<&SecretString>) -> Result<Vec<(&str, String)>, String> {
        let mut pairs = match &self.config.grant {
            OAuthGrant::ClientCredentials => vec![("grant_type", "client_credentials".to_owned())],
            OAuthGrant::Password { username, password } => {
                let password = password.as_ref().ok_or_else(|| self.unset("password"))?;
                vec![
                    ("grant_type", "password".to_owned()),
                    ("username", username.clone()),
                    ("password", password.expose_secret().to_owned()),
                ]
            }
            OAuthGrant::RefreshToken(_) => {
                let token = refresh.ok_or_else(|| self.unset("refresh_token"))?;
                vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", token.expose_secret().to_owned())]
            }
        };
        if !self.scopes.is_empty() {
            pairs.push(("scope", self.scopes.join(" ")));
        }
        pairs.extend(self.config.parameters.iter().map(|(name, value)| (name.as_str(), value.clone())));
        Ok(pairs)
    }

    fn request(&self, refresh: Option<&SecretString>) -> Result<OutgoingRequest, String> {
        let mut pairs = self.parameters(refresh)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let needs_secret = matches!(self.config.grant, OAuthGrant::ClientCredentials);
        match (&self.config.client_id, &self.config.client_secret) {
            (_, None) if needs_secret => return Err(self.unset("client_secret")),
            (Some(id), Some(secret)) if !self.config.client_in_body => {
                let login = basic_login(&encoded_query(id), &encoded_query(secret.expose_secret()));
                self.hidden.add(&self.name, &login);
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
        let (method, url) = (Method::POST, self.token_url.clone());
        Ok(OutgoingRequest { method, url, headers, body: Some(body.into()), within: TOKEN_WITHIN })
    }

    async fn ask(&self, refresh: Option<&SecretString>) -> Result<StoredToken, TokenFailure> {
        let request = self.request(refresh).map_err(TokenFailure::Other)?;
        let host = self.token_url.host_str().unwrap_or_default();
        if self.token_url.scheme() == "http" && !self.http.is_named(host) {
            let words = format!(
                "it would be asked for at {host} unencrypted: write https, or name the host in outgoing.allow_private"
            );
            return Err(TokenFailure::Other(self.failed(&words)));
        }
        let answer = self.http.send(request, MOST_ANSWER, &self.hidden).await;
        let answer = answer.map_err(|error| TokenFailure::Other(self.failed(&error.to_string())))?;
        self.token(answer)
    }

    fn token(&self, answer: HttpAnswer) -> Result<StoredToken, TokenFailure> {
        let server = answer.server;
        let refused = matches!(answer.status, 400 | 401);
        let HttpAnswerBody::Json(fields) = answer.body else {
            let words = self.failed(&format!("{server} answered {} without JSON", answer.status_line));
            return Err(TokenFailure::new(refused, words));
        };
        let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if answer.status >= 300 {
            let words: Vec<&str> = [text("error"), text("error_description")].into_iter().flatten().collect();
            let words: String = words.join(": ").chars().take(MOST_WORDS).collect();
            let separator = if words.is_empty() { "" } else { ": " };
            let words = self.failed(&format!("{server} answered {}{separator}{words}", answer.status_line));
            return Err(TokenFailure::new(refused, words));
        }
        let Some(access) = text("access_token") else {
            return Err(TokenFailure::Other(self.failed(&format!("the answer of {server} has no access_token"))));
        };
        if let Some(kind) = text("token_type").filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            let words = format!("{server} gave one of the type {kind:?}, and only bearers are known here");
            return Err(TokenFailure::Other(self.failed(&words)));
        }
        let refresh = text("refresh_token");
        for secret in [Some(access), refresh].into_iter().flatten() {
            self.hidden.learn(&self.name, secret);
        }
        let lifetime = match fields.get("expires_in") {
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(Value::Number(number)) => number.as_f64().map(|seconds| seconds.max(0.0) as u64),
            _ => None,
        };
        let renew_at = lifetime.map(|seconds: u64| {
            let seconds = seconds.min(LONGEST_LIFETIME);
            let used = seconds - RENEW_BEFORE.min(seconds.div_ceil(5));
            clock::after(clock::system().now(), Duration::from_secs(used))
        });
        Ok(StoredToken { access: access.into(), refresh: refresh.map(Into::into), renew_at })
    }
}

/// Why there is no token.
enum TokenFailure {
    /// The server refuses what it was shown.
    Refused(String),
    /// Anything else.
    Other(String),
}

impl TokenFailure {
    fn new(refused: bool, words: String) -> Self {
        if refused { TokenFailure::Refused(words) } else { TokenFailure::Other(words) }
    }
}

#[async_trait]
impl TokenFetch for OAuthFetch {
    async fn fetch(&self, last: Option<StoredToken>) -> Result<StoredToken, String> {
        let OAuthGrant::RefreshToken(configured) = &self.config.grant else {
            return self.ask(None).await.map_err(words);
        };
        // Many servers give another one each time, and take the one before it no more.
        let given = last.and_then(|last| last.refresh);
        let mut fetched = self.ask(given.as_ref().or(configured.as_ref())).await;
        if given.is_some() && matches!(fetched, Err(TokenFailure::Refused(_))) {
            fetched = self.ask(configured.as_ref()).await;
        }
        let mut token = fetched.map_err(words)?;
        token.refresh = token.refresh.or(given);
        Ok(token)
    }
}

fn words(failure: TokenFailure) -> String {
    let (TokenFailure::Refused(words) | TokenFailure::Other(words)) = failure;
    words
}
