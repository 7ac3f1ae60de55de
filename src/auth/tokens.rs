//! Tokens that say who somebody is (JWT, RFC 7519): those that another server signs, and those that this program gives out
//! for a password. The algorithms are pinned by the configuration: what a token says of itself only chooses among them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::jwks::{Jwks, Source};
use super::session::{SessionId, read_id};
use super::{Caller, Denied, Error};
use crate::config;
use crate::ids::UserId;

/// A token longer than this is nobody's.
const LONGEST: usize = 16 * 1024;

/// Checks tokens of one issuer.
pub(super) struct Tokens {
    keys: Keys,
    validation: Validation,
    user_claim: String,
    groups_claim: String,
    accept_unverified_email: bool,
}

enum Keys {
    /// The first one is the newest.
    Given(Vec<DecodingKey>),
    Fetched(Jwks),
}

impl Tokens {
    pub fn new(config: &config::Jwt) -> Result<Self, Error> {
        let algorithms: Vec<Algorithm> = config.algorithms.iter().map(|algorithm| algorithm_of(*algorithm)).collect();
        let keys = match &config.key {
            config::JwtKey::Secret(secret) => Keys::Given(vec![shared(secret)]),
            config::JwtKey::File(path) => Keys::Given(vec![public_key(path, &algorithms)?]),
            config::JwtKey::Jwks(url) => Keys::Fetched(Jwks::new(Source::Address(url.clone()))?),
            config::JwtKey::Issuer(issuer) => Keys::Fetched(Jwks::new(Source::Issuer(issuer.clone()))?),
        };
        let mut validation = Validation::new(algorithms[0]);
        validation.algorithms = algorithms;
        validation.leeway = config.leeway.as_secs();
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp"]);
        match &config.issuer {
            Some(issuer) => {
                validation.set_issuer(&[issuer]);
                validation.required_spec_claims.insert("iss".to_owned());
            }
            None => validation.iss = None,
        }
        match &config.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        let (user_claim, groups_claim) = (config.user_claim.clone(), config.groups_claim.clone());
        let accept_unverified_email = config.accept_unverified_email;
        Ok(Self { keys, validation, user_claim, groups_claim, accept_unverified_email })
    }

    /// Who a token says that it is about.
    pub async fn check(&self, token: &str) -> Result<Caller, Denied> {
        self.caller(&self.claims(token).await?)
    }

    /// What a token says, if it is one that counts.
    pub async fn claims(&self, token: &str) -> Result<Map<String, Value>, Denied> {
        let wrong = |why: String| Denied::Wrong { why };
        if token.len() > LONGEST {
            return Err(wrong("the token is too long".to_owned()));
        }
        let header = decode_header(token).map_err(|error| wrong(format!("the token cannot be read: {error}")))?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(wrong(format!("the token is signed with {:?}, which is not accepted here", header.alg)));
        }
        // A header may name keys itself (jwk, jku, x5u): only ours are ever looked at.
        let claims = match &self.keys {
            Keys::Given(keys) => {
                let mut tried = keys.iter().map(|key| self.decoded(token, key));
                let first = tried.next().expect("there is a key");
                // What is wrong with it is what the newest key says.
                first.or_else(|error| tried.find_map(Result::ok).ok_or(error))
            }
            Keys::Fetched(jwks) => {
                let key = jwks.key(header.kid.as_deref(), header.alg).await?;
                self.decoded(token, &key)
            }
        };
        claims.map_err(|error| wrong(format!("the token is not valid: {error}")))
    }

    /// Who these claims are about.
    pub fn caller(&self, claims: &Map<String, Value>) -> Result<Caller, Denied> {
        if self.user_claim == EMAIL && !self.accept_unverified_email && !is_verified(claims) {
            let words = "your e-mail address is not verified where you log in (the token does not say email_verified: true); \
                         verify it there and log in again";
            return Err(Denied::Unfit { words: words.to_owned() });
        }
        let user = match claims.get(&self.user_claim) {
            Some(Value::String(user)) => UserId::new(user.as_str()),
            _ => None,
        };
        let user = user.ok_or_else(|| Denied::Wrong { why: format!("the token has no {:?}", self.user_claim) })?;
        let groups = match claims.get(&self.groups_claim) {
            // A scope is a list of words (RFC 8693, 4.2). Anything else is one group, whatever blanks its name has: some
            // providers write a list of one as a text, and a group may be called after two others.
            Some(Value::String(text)) if ["scope", "scp"].contains(&self.groups_claim.as_str()) => {
                text.split_whitespace().map(str::to_owned).collect()
            }
            Some(Value::String(group)) => vec![group.clone()],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Ok(Caller::new(user, groups))
    }

    fn decoded(&self, token: &str, key: &DecodingKey) -> Result<Map<String, Value>, jsonwebtoken::errors::Error> {
        let mut validation = self.validation.clone();
        // Only the algorithms that the key is for; the others are of another family, which the library takes for a mistake.
        validation.algorithms.retain(|algorithm| algorithm.family() == key.family());
        decode::<Map<String, Value>>(token, key, &validation).map(|token| token.claims)
    }
}

/// The claim that most providers let people write themselves, and say beside it whether they have checked it.
const EMAIL: &str = "email";

/// Whether the provider says that the address is the user's (OpenID Connect Core 1.0, 5.1); some write a text.
fn is_verified(claims: &Map<String, Value>) -> bool {
    match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(text)) => text == "true",
        _ => false,
    }
}

/// What one of our tokens says.
pub(super) struct Issued {
    pub user: UserId,
    /// Its own id; older ones have none.
    pub id: Option<SessionId>,
    /// The [`super::User::version`] that it was given to; older ones have none.
    pub version: Option<String>,
}

/// How long tokens count that say no version: those that were given out before an upgrade.
const WITHOUT_VERSION: Duration = Duration::from_secs(24 * 3600);

/// Gives out tokens for passwords (`POST /token`), and knows them again.
pub(super) struct Issuer {
    key: EncodingKey,
    known: Tokens,
    lifetime: Duration,
}

/// Who gives out our tokens, and to whom: nothing else that is signed with the same secret counts.
const OURS: &str = "fastagency";

impl Issuer {
    pub fn new(config: &config::TokenIssue) -> Result<Self, Error> {
        let (secret, lifetime) = (&config.secret, config.lifetime);
        let mut known = Tokens::new(&config::Jwt {
            algorithms: vec![config::JwtAlgorithm::Hs256],
            key: config::JwtKey::Secret(secret.clone()),
            issuer: Some(OURS.to_owned()),
            audience: Some(OURS.to_owned()),
            leeway: Duration::ZERO,
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            accept_unverified_email: false,
        })?;
        known.keys = Keys::Given(std::iter::once(secret).chain(&config.previous_secrets).map(shared).collect());
        Ok(Self { key: EncodingKey::from_secret(secret.expose_secret().as_bytes()), known, lifetime })
    }

    /// A token for a user.
    pub fn issue(&self, user: &str, caller: &Caller) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let until = (now + self.lifetime).as_secs();
        let id = crate::ids::hex(&rand::random::<SessionId>());
        let claims = json!({"iss": OURS, "aud": OURS, "sub": user, "groups": caller.groups, "iat": now.as_secs(),
            "exp": until, "jti": id, "ver": caller.version});
        encode(&Header::new(Algorithm::HS256), &claims, &self.key).expect("a secret signs everything")
    }

    pub async fn check(&self, token: &str) -> Result<Issued, Denied> {
        let claims = self.known.claims(token).await?;
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        let wrong = |why: &str| Denied::Wrong { why: why.to_owned() };
        let user = text("sub").and_then(UserId::new).ok_or_else(|| wrong("the token is about nobody"))?;
        let version = text("ver").map(str::to_owned);
        let given = Duration::from_secs(claims.get("iat").and_then(Value::as_u64).unwrap_or_default());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if version.is_none() && now.saturating_sub(given) > WITHOUT_VERSION {
            return Err(wrong("the token is from before an upgrade"));
        }
        Ok(Issued { user, id: text("jti").and_then(read_id), version })
    }

    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

fn shared(secret: &SecretString) -> DecodingKey {
    DecodingKey::from_secret(secret.expose_secret().as_bytes())
}

fn algorithm_of(algorithm: config::JwtAlgorithm) -> Algorithm {
    use config::JwtAlgorithm as Ours;
    match algorithm {
        Ours::Hs256 => Algorithm::HS256,
        Ours::Hs384 => Algorithm::HS384,
        Ours::Hs512 => Algorithm::HS512,
        Ours::Rs256 => Algorithm::RS256,
        Ours::Rs384 => Algorithm::RS384,
        Ours::Rs512 => Algorithm::RS512,
        Ours::Ps256 => Algorithm::PS256,
        Ours::Ps384 => Algorithm::PS384,
        Ours::Ps512 => Algorithm::PS512,
        Ours::Es256 => Algorithm::ES256,
        Ours::Es384 => Algorithm::ES384,
        Ours::EdDsa => Algorithm::EdDSA,
    }
}

fn public_key(path: &std::path::Path, algorithms: &[Algorithm]) -> Result<DecodingKey, Error> {
    let unusable = |reason: String| Error::Key { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let key = match algorithms[0].family() {
        jsonwebtoken::AlgorithmFamily::Ec => DecodingKey::from_ec_pem(&pem),
        jsonwebtoken::AlgorithmFamily::Ed => DecodingKey::from_ed_pem(&pem),
        _ => DecodingKey::from_rsa_pem(&pem),
    };
    key.map_err(|error| unusable(format!("it is no public key in PEM for these algorithms: {error}")))
}
