//! The keys of a server that signs tokens, from the address where it publishes them (JWKS, RFC 7517). They are fetched when
//! first needed, again after a while, and at once (but not too often) for a token whose key is not known: so a key that is
//! changed over there is known here with the first token that it signs.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Client;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::discovery::ProviderEndpoints;
use super::{AuthDenial, Error, fetch};

/// How long keys count without being fetched again.
const KEYS_FRESH_FOR: Duration = Duration::from_secs(10 * 60);
/// How soon they are fetched again for a key that is not known: tokens with made-up keys must not become requests over there.
const REFETCH_PAUSE: Duration = Duration::from_secs(10);

/// Where keys are published.
pub(super) enum JwksSource {
    /// Here.
    Address(String),
    /// Where this OpenID provider says.
    Issuer(String),
}

impl JwksSource {
    fn name(&self) -> &str {
        let (Self::Address(name) | Self::Issuer(name)) = self;
        name
    }
}

/// The keys of one source.
pub(super) struct JwksCache {
    source: JwksSource,
    client: Client,
    state: Mutex<JwksState>,
}

#[derive(Default)]
struct JwksState {
    keys: Option<Arc<JwkSet>>,
    /// When they were fetched, or it was tried in vain.
    tried: Option<Instant>,
    fetched: Option<Instant>,
}

impl JwksCache {
    pub fn new(source: JwksSource) -> Result<Self, Error> {
        let client =
            fetch::client(source.name()).map_err(|reason| Error::Jwks { url: source.name().to_owned(), reason })?;
        Ok(Self { source, client, state: Mutex::default() })
    }

    /// The key that a token names (or the only one there is), if it is for this algorithm.
    pub async fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, AuthDenial> {
        // One fetches, the others wait for what he gets.
        let mut state = self.state.lock().await;
        let stale = state.fetched.is_none_or(|fetched| fetched.elapsed() > KEYS_FRESH_FOR);
        let may_try = state.tried.is_none_or(|tried| tried.elapsed() > REFETCH_PAUSE);
        let known = state.keys.as_deref().and_then(|keys| find(keys, kid, algorithm));
        if (stale || known.is_none()) && may_try {
            state.tried = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => {
                    state.keys = Some(Arc::new(keys));
                    state.fetched = Some(Instant::now());
                }
                Err(reason) => {
                    tracing::error!(url = %self.source.name(), "the keys of tokens cannot be fetched: {reason}")
                }
            }
        }
        match state.keys.as_deref() {
            None => Err(AuthDenial::Unavailable { why: "the keys that sign tokens cannot be fetched now".to_owned() }),
            // Keys that cannot be fetched again still count: whoever signs is away, not replaced.
            Some(keys) => find(keys, kid, algorithm).ok_or_else(|| AuthDenial::Wrong {
                why: "the token is signed with a key that is not known".to_owned(),
            }),
        }
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let url = match &self.source {
            JwksSource::Address(url) => url.clone(),
            JwksSource::Issuer(issuer) => {
                ProviderEndpoints::fetch(&self.client, issuer).await.map_err(|error| error.to_string())?.jwks_uri
            }
        };
        fetch::json(self.client.get(url)).await.map_err(|error| error.to_string())
    }
}

fn find(keys: &JwkSet, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let fits = |jwk: &&jsonwebtoken::jwk::Jwk| {
        let named = kid.is_none_or(|kid| jwk.common.key_id.as_deref() == Some(kid));
        let signs = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let stated = jwk.common.key_algorithm;
        named && signs && stated.is_none_or(|stated| stated.to_string() == format!("{algorithm:?}"))
    };
    let mut found = keys.keys.iter().filter(fits).filter_map(|jwk| DecodingKey::from_jwk(jwk).ok());
    let mut found = found.by_ref().filter(|key| key.family() == algorithm.family());
    let first = found.next()?;
    // A token that names no key is checked only where there is one.
    (kid.is_some() || found.next().is_none()).then_some(first)
}
