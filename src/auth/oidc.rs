//! Logging in at an OpenID provider: the code flow with PKCE (OpenID Connect Core 1.0, RFC 7636), and renewing what came of
//! it. Where the provider's endpoints are is discovered at its issuer. What the provider signs is checked as every other
//! token is (`super::tokens`).
//!
//! This is not the crate `openidconnect`: it brings 34 crates more, `rsa`, `p256` and `p384` among them, which do again what `ring`
//! does here for TLS and for every other token. What it would save is the forms of three requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use form_urlencoded::Serializer;
use reqwest::Client;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::discovery::ProviderEndpoints;
use super::fetch::FetchError;
use super::session::{self, LoginProof, SessionAccessToken};
use super::tokens::TokenVerifier;
use super::{AuthDenial, Error, fetch};
use crate::bounds::{self, OUTSIDE};
use crate::config;

/// How long what was discovered counts.
const ENDPOINTS_FRESH_FOR: Duration = Duration::from_secs(10 * 60);

/// A login that has begun: what must come back with it, and what must not be known to whoever brings it back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoginAttempt {
    /// Comes back in the address.
    pub state: String,
    /// Comes back in the ID token.
    nonce: String,
    /// Shown when the code is exchanged (PKCE).
    verifier: String,
    /// Where the provider sends the browser back to.
    redirect_uri: String,
}

/// What a provider gives for a code, or instead of what it gave before.
#[derive(Debug, Clone)]
pub struct ProviderTokens {
    /// Says who logged in.
    pub id_token: String,
    /// When the ID token ends, in seconds since 1970.
    pub fresh_until: u64,
    /// Gets the next ID token, if the provider gives any.
    pub refresh_token: Option<String>,
    /// What came with it for APIs, if it is to be kept.
    pub access_token: Option<SessionAccessToken>,
}

impl From<ProviderTokens> for LoginProof {
    fn from(given: ProviderTokens) -> Self {
        let ProviderTokens { id_token, fresh_until, refresh_token, access_token } = given;
        Self::Oidc { id_token, fresh_until, refresh_token, access_token }
    }
}

/// Why a login, or its renewal, came to nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// The provider does not want it (any more), or what it gave does not count.
    #[error("{0}")]
    Refused(String),
    /// The provider cannot be asked now.
    #[error("the login's server cannot be asked now: {0}")]
    Unavailable(String),
}

/// The provider, from the side of who logs in.
pub struct OidcProvider {
    config: config::OidcConfig,
    client: Client,
    tokens: TokenVerifier,
    discovered: Mutex<Option<(Instant, Arc<ProviderEndpoints>)>>,
    /// Whether access tokens are kept.
    keeps_access_tokens: bool,
}

#[derive(Deserialize)]
struct TokenResponse {
    id_token: Option<String>,
    refresh_token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl OidcProvider {
    /// The provider of a configuration; nothing is asked yet.
    pub fn new(config: &config::OidcConfig) -> Result<Self, Error> {
        super::crypto::install();
        let client =
            fetch::client(&config.issuer).map_err(|reason| Error::Jwks { url: config.issuer.clone(), reason })?;
        let tokens = TokenVerifier::new(&config.tokens())?.given_to(&config.client_id);
        Ok(Self { config: config.clone(), client, tokens, discovered: Mutex::default(), keeps_access_tokens: false })
    }

    /// The same, which keeps access tokens, too, if that is wanted.
    pub fn keeping_access_tokens(self, keeps_access_tokens: bool) -> Self {
        Self { keeps_access_tokens, ..self }
    }

    async fn discovered(&self) -> Result<Arc<ProviderEndpoints>, LoginError> {
        let mut kept = self.discovered.lock().await;
        if let Some((when, found)) = &*kept
            && when.elapsed() < ENDPOINTS_FRESH_FOR
        {
            return Ok(found.clone());
        }
        match ProviderEndpoints::fetch(&self.client, &self.config.issuer).await {
            Ok(found) => Ok(kept.insert((Instant::now(), Arc::new(found))).1.clone()),
            // Endpoints seldom move; one that has says so itself.
            Err(error) => match &*kept {
                Some((_, found)) => {
                    tracing::warn!("the provider of identities is taken as it was: {error}");
                    Ok(found.clone())
                }
                None => Err(LoginError::Unavailable(error.to_string())),
            },
        }
    }

    /// Begins a login: what to remember, and where to send the browser.
    pub async fn begin(&self, redirect_uri: String) -> Result<(LoginAttempt, String), LoginError> {
        let provider = self.discovered().await?;
        let secret = || BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let begun = LoginAttempt { state: secret(), nonce: secret(), verifier: secret(), redirect_uri };
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(begun.verifier.as_bytes()));
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &begun.redirect_uri)
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", &begun.state)
            .append_pair("nonce", &begun.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        let endpoint = &provider.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        Ok((begun, format!("{endpoint}{joint}{query}")))
    }

    /// Gets what a code stands for. `issuer`: who the browser says it comes from (RFC 9207), if it does.
    pub async fn finish(
        &self,
        begun: &LoginAttempt,
        code: &str,
        issuer: Option<&str>,
    ) -> Result<ProviderTokens, LoginError> {
        if issuer.is_some_and(|issuer| issuer != self.config.issuer) {
            return Err(LoginError::Refused("the login comes from another server".to_owned()));
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &begun.redirect_uri),
            ("code_verifier", &begun.verifier),
        ];
        let mut answer = self.ask(&form).await?;
        let id_token =
            answer.id_token.take().ok_or_else(|| LoginError::Refused("the login gave no ID token".to_owned()))?;
        let claims = self.claims(&id_token).await?;
        if claims.get("nonce").and_then(Value::as_str) != Some(&begun.nonce) {
            return Err(LoginError::Refused("the ID token belongs to another login".to_owned()));
        }
        self.accept(&claims)?;
        Ok(self.given(id_token, &claims, answer))
    }

    /// Gets an ID token in the place of an old one, about the same person.
    pub async fn renew(&self, refresh_token: &str, old: &str) -> Result<ProviderTokens, LoginError> {
        let mut answer = self.ask(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await?;
        let id_token = match answer.id_token.take() {
            Some(id_token) => id_token,
            // A provider need not give one (OpenID Connect Core, 12.2): then the access token alone is renewed.
            None if id_token_end(old) > session::now() => old.to_owned(),
            None => return Err(LoginError::Refused("there is no new ID token".to_owned())),
        };
        let claims = self.claims(&id_token).await?;
        if subject(old).is_some_and(|subject| claims.get("sub") != Some(&subject)) {
            return Err(LoginError::Refused("the new ID token is about somebody else".to_owned()));
        }
        self.accept(&claims)?;
        // A provider that gives no new one lets the old one stand (RFC 6749, 6).
        answer.refresh_token.get_or_insert_with(|| refresh_token.to_owned());
        Ok(self.given(id_token, &claims, answer))
    }

    /// What is kept of an answer.
    fn given(&self, id_token: String, claims: &Map<String, Value>, answer: TokenResponse) -> ProviderTokens {
        let end = ends(claims);
        let kept = answer.access_token.filter(|_| self.keeps_access_tokens);
        let until = answer.expires_in.map_or(end, |seconds| session::now().saturating_add(seconds));
        let access_token = kept.map(|token| SessionAccessToken { token, until });
        // Both are renewed when the first of them ends; what cannot be renewed lasts as long as the ID token.
        let fresh_until = match (&access_token, &answer.refresh_token) {
            (Some(token), Some(_)) => token.until.min(end),
            _ => end,
        };
        ProviderTokens { id_token, fresh_until, refresh_token: answer.refresh_token, access_token }
    }

    /// Refuses here, in words, what the gateway would refuse.
    fn accept(&self, claims: &Map<String, Value>) -> Result<(), LoginError> {
        match self.tokens.caller(claims) {
            Ok(_) => Ok(()),
            Err(AuthDenial::Wrong { why: words } | AuthDenial::Unfit { words }) => Err(LoginError::Refused(words)),
            Err(_) => Err(LoginError::Refused("the ID token does not count".to_owned())),
        }
    }

    async fn ask(&self, form: &[(&str, &str)]) -> Result<TokenResponse, LoginError> {
        let provider = self.discovered().await?;
        let mut form = form.to_vec();
        let mut request = self.client.post(&provider.token_endpoint);
        let id = &self.config.client_id;
        match &self.config.client_secret {
            None => {
                form.push(("client_id", id));
            }
            Some(secret) if provider.takes_only_post() => {
                form.extend([("client_id", id.as_str()), ("client_secret", secret.expose_secret())]);
            }
            Some(secret) => {
                // Both are written as in a form first (RFC 6749, 2.3.1).
                let written = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let both = format!("{}:{}", written(id), written(secret.expose_secret()));
                let mut value =
                    reqwest::header::HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(both)))
                        .expect("base64 is visible ASCII");
                value.set_sensitive(true);
                request = request.header(reqwest::header::AUTHORIZATION, value);
            }
        }
        let request = request
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(reqwest::header::ACCEPT, "application/json")
            .body(Serializer::new(String::new()).extend_pairs(form).finish());
        fetch::json(request).await.map_err(|error| match error {
            FetchError::Refused { .. } => LoginError::Refused(format!("the login's server does not take it: {error}")),
            FetchError::Unavailable(why) => LoginError::Unavailable(why),
        })
    }

    async fn claims(&self, id_token: &str) -> Result<Map<String, Value>, LoginError> {
        self.tokens.claims(id_token).await.map_err(|denied| match denied {
            AuthDenial::Wrong { why } => LoginError::Refused(why),
            AuthDenial::Unavailable { why } => LoginError::Unavailable(why),
            AuthDenial::Unfit { words } => LoginError::Refused(words),
            AuthDenial::Unknown | AuthDenial::TooOften { .. } => {
                LoginError::Refused("the ID token does not count".to_owned())
            }
        })
    }
}

/// Whom an ID token is about that was checked before.
fn subject(id_token: &str) -> Option<Value> {
    known_claims(id_token)?.get("sub").cloned()
}

/// When an ID token ends that was checked before, in seconds since 1970.
pub fn id_token_end(id_token: &str) -> u64 {
    known_claims(id_token).as_ref().map_or(0, ends)
}

fn known_claims(id_token: &str) -> Option<Map<String, Value>> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(id_token.split('.').nth(1)?).ok()?;
    bounds::read(&claims, &OUTSIDE).ok()
}

fn ends(claims: &Map<String, Value>) -> u64 {
    claims.get("exp").and_then(Value::as_f64).map_or(0, |seconds| seconds as u64)
}
