//! Tokens that say who somebody is (JWT, RFC 7519): those that another server signs, and those that this program gives out
//! for a password. The algorithms are pinned by the configuration: what a token says of itself only chooses among them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::jwks::{JwksCache, JwksSource};
use super::session::{SessionId, read_id};
use super::{AuthDenial, Caller, Error, ShownToken};
use crate::config;
use crate::ids::UserId;

/// A token longer than this is nobody's.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Checks tokens of one issuer.
pub(super) struct TokenVerifier {
    keys: TokenKeys,
    validation: Validation,
    user_claim: String,
    groups_claim: String,
    accept_unverified_email: bool,
    /// The client that ID tokens must have been given to; none: access tokens count, which are for an audience.
    client: Option<String>,
    leeway: u64,
}

enum TokenKeys {
    /// The first one is the newest.
    Given(Vec<DecodingKey>),
    Fetched(JwksCache),
}

impl TokenVerifier {
    pub fn new(config: &config::JwtConfig) -> Result<Self, Error> {
        let algorithms: Vec<Algorithm> = config.algorithms.iter().map(|algorithm| algorithm_of(*algorithm)).collect();
        let keys = match &config.key {
            config::JwtKey::Secret(secret) => TokenKeys::Given(vec![shared(secret)]),
            config::JwtKey::File(path) => TokenKeys::Given(vec![public_key(path, &algorithms)?]),
            config::JwtKey::Jwks(url) => TokenKeys::Fetched(JwksCache::new(JwksSource::Address(url.clone()))?),
            config::JwtKey::Issuer(issuer) => TokenKeys::Fetched(JwksCache::new(JwksSource::Issuer(issuer.clone()))?),
        };
        let mut validation = Validation::new(algorithms[0]);
        validation.algorithms = algorithms;
        // Both are checked here ([`in_time`]): they need not be whole seconds.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.required_spec_claims.clear();
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
        let leeway = config.leeway.as_secs();
        Ok(Self { keys, validation, user_claim, groups_claim, accept_unverified_email, client: None, leeway })
    }

    /// Takes ID tokens only, and of those only what the provider gave to this client (OpenID Connect Core 1.0, 3.1.3.7).
    pub fn given_to(self, client: &str) -> Self {
        Self { client: Some(client.to_owned()), ..self }
    }

    /// Who a token says that it is about.
    pub async fn check(&self, token: &str) -> Result<Caller, AuthDenial> {
        let claims = self.claims(token).await?;
        let caller = self.caller(&claims)?;
        // An ID token is for the client that it was given to, and for no API.
        let until = claims.get("exp").and_then(Value::as_f64).filter(|_| self.client.is_none());
        let access_token = until.map(|until| ShownToken { token: token.into(), until: until as u64 });
        Ok(Caller { access_token, ..caller })
    }

    /// What a token says, if it is one that counts.
    pub async fn claims(&self, token: &str) -> Result<Map<String, Value>, AuthDenial> {
        let wrong = |why: String| AuthDenial::Wrong { why };
        if token.len() > LONGEST_TOKEN {
            return Err(wrong("the token is too long".to_owned()));
        }
        let header = decode_header(token).map_err(|error| wrong(format!("the token cannot be read: {error}")))?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(wrong(format!("the token is signed with {:?}, which is not accepted here", header.alg)));
        }
        let kind = header.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        // A logout token is signed by the same server and names a user, too (OpenID Connect Back-Channel Logout 1.0, 2.4).
        if kind == "logout+jwt" || (kind == "at+jwt" && self.client.is_some()) {
            return Err(wrong(format!("the token is of another kind ({kind})")));
        }
        // A header may name keys itself (jwk, jku, x5u): only ours are ever looked at.
        let claims = match &self.keys {
            TokenKeys::Given(keys) => {
                let mut tried = keys.iter().map(|key| self.decoded(token, key));
                let first = tried.next().expect("there is a key");
                // What is wrong with it is what the newest key says.
                first.or_else(|error| tried.find_map(Result::ok).ok_or(error))
            }
            TokenKeys::Fetched(jwks) => {
                let key = jwks.key(header.kid.as_deref(), header.alg).await?;
                self.decoded(token, &key)
            }
        };
        let claims = claims.map_err(|error| wrong(format!("the token is not valid: {error}")))?;
        match self.client.as_deref().and_then(|client| of_another(&claims, client)) {
            Some(why) => Err(wrong(why.to_owned())),
            None => Ok(claims),
        }
    }

    /// Who these claims are about.
    pub fn caller(&self, claims: &Map<String, Value>) -> Result<Caller, AuthDenial> {
        if self.user_claim == EMAIL && !self.accept_unverified_email && !is_verified(claims) {
            let words = "your e-mail address is not verified where you log in (the token does not say email_verified: true); \
                         verify it there and log in again";
            return Err(AuthDenial::Unfit { words: words.to_owned() });
        }
        let user = match claim(claims, &self.user_claim) {
            // Providers write one address in several ways; it stays one person.
            Some(Value::String(address)) if self.user_claim == EMAIL => UserId::of_address(address),
            Some(Value::String(user)) => UserId::new(user.as_str()),
            _ => None,
        };
        let user = user.ok_or_else(|| AuthDenial::Wrong { why: format!("the token has no {:?}", self.user_claim) })?;
        let groups = match claim(claims, &self.groups_claim) {
            // A scope is a list of words (RFC 8693, 4.2). Anything else is one group, whatever blanks its name has: some
            // providers write a list of one as a text, and a group may be called after two others.
            Some(Value::String(text)) if ["scope", "scp"].contains(&self.groups_claim.as_str()) => {
                text.split_whitespace().map(str::to_owned).collect()
            }
            Some(Value::String(group)) => vec![group.clone()],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let until = claims.get("exp").and_then(Value::as_f64).map(|end| end as u64 + self.leeway);
        Ok(Caller { until, ..Caller::new(user, groups) })
    }

    fn decoded(&self, token: &str, key: &DecodingKey) -> Result<Map<String, Value>, jsonwebtoken::errors::Error> {
        let mut validation = self.validation.clone();
        // Only the algorithms that the key is for; the others are of another family, which the library takes for a mistake.
        validation.algorithms.retain(|algorithm| algorithm.family() == key.family());
        let claims = decode::<Map<String, Value>>(token, key, &validation)?.claims;
        in_time(&claims, self.leeway).map(|()| claims)
    }
}

/// A claim by its name, or by its path: `realm_access.roles` is `roles` in `realm_access`, as Keycloak writes it.
fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let inside = |(at, _): (usize, &str)| claim(claims.get(&name[..at])?.as_object()?, &name[at + 1..]);
    // A name may be an address, with dots of its own.
    claims.get(name).or_else(|| name.match_indices('.').find_map(inside))
}

/// Checks when a token counts, in seconds since 1970 and their fractions (RFC 7519, 2); it must say until when.
fn in_time(claims: &Map<String, Value>, leeway: u64) -> Result<(), jsonwebtoken::errors::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let seconds = |claim: &str| match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64().filter(|seconds| seconds.is_finite()) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(ErrorKind::InvalidClaimFormat(claim.to_owned())),
        },
    };
    let until = seconds("exp")?.ok_or_else(|| ErrorKind::MissingRequiredClaim("exp".to_owned()))?;
    if until < now - leeway as f64 {
        return Err(ErrorKind::ExpiredSignature.into());
    }
    match seconds("nbf")? {
        Some(from) if from > now + leeway as f64 => Err(ErrorKind::ImmatureSignature.into()),
        _ => Ok(()),
    }
}

/// Why an ID token is not for this client although it is for its audience.
fn of_another(claims: &Map<String, Value>, client: &str) -> Option<&'static str> {
    // A token for several must say which of them it was given to (Core 1.0, 3.1.3.7).
    let given_to = claims.get("azp").and_then(Value::as_str);
    let for_several = claims.get("aud").and_then(Value::as_array).is_some_and(|several| several.len() > 1);
    if given_to.map_or(for_several, |given_to| given_to != client) {
        return Some("the ID token was given to another program");
    }
    // Keycloak says it in a claim.
    let is_other =
        matches!(claims.get("typ").and_then(Value::as_str), Some("Bearer" | "Refresh" | "Offline" | "Logout"));
    is_other.then_some("the token is no ID token")
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
pub(super) struct IssuedToken {
    pub user: UserId,
    /// Its own id; older ones have none.
    pub id: Option<SessionId>,
    /// The [`super::PasswordUser::version`] that it was given to; older ones have none.
    pub version: Option<String>,
    /// When it ends, in seconds since 1970.
    pub until: Option<u64>,
}

/// How long tokens count that say no version: those that were given out before an upgrade.
const WITHOUT_VERSION: Duration = Duration::from_secs(24 * 3600);

/// Gives out tokens for passwords (`POST /token`), and knows them again.
pub(super) struct TokenIssuer {
    key: EncodingKey,
    known: TokenVerifier,
    lifetime: Duration,
}

/// Who gives out our tokens, and to whom: nothing else that is signed with the same secret counts.
const OURS: &str = "fastagency";

impl TokenIssuer {
    pub fn new(config: &config::TokenIssueConfig) -> Result<Self, Error> {
        let (secret, lifetime) = (&config.secret, config.lifetime);
        let mut known = TokenVerifier::new(&config::JwtConfig {
            algorithms: vec![config::JwtAlgorithm::Hs256],
            key: config::JwtKey::Secret(secret.clone()),
            issuer: Some(OURS.to_owned()),
            audience: Some(OURS.to_owned()),
            leeway: Duration::ZERO,
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            accept_unverified_email: false,
        })?;
        known.keys = TokenKeys::Given(std::iter::once(secret).chain(&config.previous_secrets).map(shared).collect());
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

    pub async fn check(&self, token: &str) -> Result<IssuedToken, AuthDenial> {
        let claims = self.known.claims(token).await?;
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        let wrong = |why: &str| AuthDenial::Wrong { why: why.to_owned() };
        let user = text("sub").and_then(UserId::new).ok_or_else(|| wrong("the token is about nobody"))?;
        let version = text("ver").map(str::to_owned);
        let given = Duration::from_secs(claims.get("iat").and_then(Value::as_u64).unwrap_or_default());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if version.is_none() && now.saturating_sub(given) > WITHOUT_VERSION {
            return Err(wrong("the token is from before an upgrade"));
        }
        let until = claims.get("exp").and_then(Value::as_u64);
        Ok(IssuedToken { user, id: text("jti").and_then(read_id), version, until })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(user_claim: &str, groups_claim: &str) -> TokenVerifier {
        super::super::crypto::install();
        TokenVerifier::new(&config::JwtConfig {
            algorithms: vec![config::JwtAlgorithm::Hs256],
            key: config::JwtKey::Secret("a secret of the test, long enough to be one".to_owned().into()),
            issuer: None,
            audience: None,
            leeway: Duration::ZERO,
            user_claim: user_claim.to_owned(),
            groups_claim: groups_claim.to_owned(),
            accept_unverified_email: false,
        })
        .unwrap()
    }

    fn caller(verifier: &TokenVerifier, claims: Value) -> Caller {
        let Value::Object(claims) = claims else { panic!("no claims") };
        verifier.caller(&claims).unwrap()
    }

    #[test]
    fn groups_may_lie_in_other_claims() {
        let roles = json!(["support", "leads"]);
        let claims = json!({
            "sub": "ann", "realm_access": {"roles": roles}, "resource_access": {"chat.example": {"roles": roles}},
            "https://example.com/claims": {"groups": "support"}, "a.b": ["flat"], "a": {"b": ["deep"]},
        });
        for (name, groups) in [
            ("realm_access.roles", &["support", "leads"][..]),
            ("resource_access.chat.example.roles", &["support", "leads"]),
            ("https://example.com/claims.groups", &["support"]),
            ("a.b", &["flat"]),
            ("realm_access", &[]),
            ("realm_access.role", &[]),
            ("sub.roles", &[]),
        ] {
            assert_eq!(caller(&verifier("sub", name), claims.clone()).groups, groups, "{name}");
        }
    }

    #[tokio::test]
    async fn a_token_counts_in_its_time_to_the_fraction_of_a_second() {
        let verifier = verifier("sub", "groups");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        for (claims, error) in [
            (json!({"exp": now + 60.5}), None),
            (json!({"exp": (now + 60.0) as u64, "nbf": now - 0.25, "iat": now}), None),
            (json!({"exp": now + 60.0, "nbf": null}), None),
            (json!({"exp": now - 0.75}), Some("ExpiredSignature")),
            (json!({"exp": now + 60.0, "nbf": now + 30.5}), Some("ImmatureSignature")),
            (json!({}), Some("Missing required claim: exp")),
            (json!({"exp": null}), Some("Missing required claim: exp")),
            (json!({"exp": "2100-01-01"}), Some("exp")),
            (json!({"exp": now + 60.0, "nbf": []}), Some("nbf")),
        ] {
            let mut all = json!({"sub": "ann"});
            all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
            let key = EncodingKey::from_secret(b"a secret of the test, long enough to be one");
            let token = encode(&Header::new(Algorithm::HS256), &all, &key).unwrap();
            match (verifier.check(&token).await, error) {
                (Ok(caller), None) => assert_eq!(caller.user.unwrap().as_str(), "ann"),
                (Err(AuthDenial::Wrong { why }), Some(error)) => assert!(why.contains(error), "{claims}: {why}"),
                (found, _) => panic!("{claims}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_address_is_one_user_however_it_is_written() {
        let members = |users: &[&str]| config::UsersAndGroups {
            users: users.iter().map(|&user| user.to_owned()).collect(),
            groups: Vec::new(),
        };
        for written in ["ann@example.com", "Ann@Example.com", " ANN@example.com"] {
            let caller = caller(&verifier("email", "groups"), json!({"email": written, "email_verified": true}));
            assert_eq!(caller.user.as_ref().unwrap().as_str(), "ann@example.com");
            assert!(caller.is_among(&members(&["Ann@example.com"])) && caller.is_among(&members(&["ann@example.com"])));
            assert!(!caller.is_among(&members(&["Ann", "bob@example.com"])));
        }
        // Any other name is what it is, letter by letter.
        let named = caller(&verifier("sub", "groups"), json!({"sub": "Ann@Example.com"}));
        assert_eq!(named.user.as_ref().unwrap().as_str(), "Ann@Example.com");
        assert!(!named.is_among(&members(&["ann@example.com"])) && named.is_among(&members(&["Ann@Example.com"])));
    }

    #[tokio::test]
    async fn an_id_token_counts_only_for_the_client_that_it_was_given_to() {
        super::super::crypto::install();
        const SECRET: &str = "a secret of the test, long enough to be one";
        let tokens = || {
            TokenVerifier::new(&config::JwtConfig {
                algorithms: vec![config::JwtAlgorithm::Hs256],
                key: config::JwtKey::Secret(SECRET.to_owned().into()),
                issuer: None,
                audience: Some("chat".to_owned()),
                leeway: Duration::ZERO,
                user_claim: "sub".to_owned(),
                groups_claim: "groups".to_owned(),
                accept_unverified_email: false,
            })
            .unwrap()
        };
        let (id_tokens, any) = (tokens().given_to("chat"), tokens());
        let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60;
        let token = |kind: &str, more: Value| {
            let mut claims = json!({"aud": "chat", "sub": "alice", "exp": until});
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let header = Header { typ: Some(kind.to_owned()), ..Header::new(Algorithm::HS256) };
            encode(&header, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
        };
        for (kind, more, of_client, of_audience) in [
            ("JWT", json!({}), true, true),
            ("JWT", json!({"azp": "chat", "aud": ["chat", "shop"]}), true, true),
            ("JWT", json!({"azp": "shop", "aud": ["chat", "shop"]}), false, true),
            ("JWT", json!({"aud": ["chat", "shop"]}), false, true),
            ("JWT", json!({"azp": "shop"}), false, true),
            ("JWT", json!({"typ": "Bearer"}), false, true),
            ("at+jwt", json!({}), false, true),
            ("application/AT+JWT", json!({}), false, true),
            ("logout+jwt", json!({}), false, false),
        ] {
            let token = token(kind, more.clone());
            let counts = (id_tokens.check(&token).await.is_ok(), any.check(&token).await.is_ok());
            assert_eq!(counts, (of_client, of_audience), "{kind} {more}");
        }
    }
}
