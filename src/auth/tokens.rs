//! Tokens that say who somebody is (JWT, RFC 7519): those that another server signs, and those that this program gives out
//! for a password. The algorithms are pinned by the configuration: what a token says of itself only chooses among them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::jwks::{Jwks, Source};
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
}

enum Keys {
    One(DecodingKey),
    Fetched(Jwks),
}

impl Tokens {
    pub fn new(config: &config::Jwt) -> Result<Self, Error> {
        let algorithms: Vec<Algorithm> = config.algorithms.iter().map(|algorithm| algorithm_of(*algorithm)).collect();
        let keys = match &config.key {
            config::JwtKey::Secret(secret) => Keys::One(DecodingKey::from_secret(secret.expose_secret().as_bytes())),
            config::JwtKey::File(path) => Keys::One(public_key(path, &algorithms)?),
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
        Ok(Self { keys, validation, user_claim, groups_claim })
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
            Keys::One(key) => self.decoded(token, key),
            Keys::Fetched(jwks) => {
                let key = jwks.key(header.kid.as_deref(), header.alg).await?;
                self.decoded(token, &key)
            }
        };
        claims.map_err(|error| wrong(format!("the token is not valid: {error}")))
    }

    fn caller(&self, claims: &Map<String, Value>) -> Result<Caller, Denied> {
        let user = match claims.get(&self.user_claim) {
            Some(Value::String(user)) => UserId::new(user.as_str()),
            _ => None,
        };
        let user = user.ok_or_else(|| Denied::Wrong { why: format!("the token has no {:?}", self.user_claim) })?;
        let groups = match claims.get(&self.groups_claim) {
            Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
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

/// Gives out tokens for passwords (`POST /token`), and knows them again.
pub(super) struct Issuer {
    key: EncodingKey,
    known: Tokens,
    lifetime: Duration,
}

/// Who gives out our tokens, and to whom: nothing else that is signed with the same secret counts.
const OURS: &str = "fastagency";

impl Issuer {
    pub fn new(secret: &SecretString, lifetime: Duration) -> Result<Self, Error> {
        let known = Tokens::new(&config::Jwt {
            algorithms: vec![config::JwtAlgorithm::Hs256],
            key: config::JwtKey::Secret(secret.clone()),
            issuer: Some(OURS.to_owned()),
            audience: Some(OURS.to_owned()),
            leeway: Duration::ZERO,
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
        })?;
        Ok(Self { key: EncodingKey::from_secret(secret.expose_secret().as_bytes()), known, lifetime })
    }

    /// A token for a user.
    pub fn issue(&self, user: &str, groups: &[String]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let until = (now + self.lifetime).as_secs();
        let claims =
            json!({"iss": OURS, "aud": OURS, "sub": user, "groups": groups, "iat": now.as_secs(), "exp": until});
        encode(&Header::new(Algorithm::HS256), &claims, &self.key).expect("a secret signs everything")
    }

    pub async fn check(&self, token: &str) -> Result<Caller, Denied> {
        self.known.check(token).await
    }

    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }
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
