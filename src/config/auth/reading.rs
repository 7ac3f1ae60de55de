//! Reads `auth:`.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::ExposeSecret;

use super::{Access, Auth, AuthMode, Jwt, JwtAlgorithm, JwtKey, Members, TokenIssue, TrustedHeader};
use crate::config::reading::secret;
use crate::config::shapes::{ACCESS, AUTH, JWT, MEMBERS, TOKEN, TRUSTED_HEADER};
use crate::yaml::{Field, Fields};

/// How long tokens count that are given for a password.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// The shortest secret that is not soon guessed: as long as the digest of the weakest algorithm (RFC 7518, 3.2).
const SHORTEST_SECRET: usize = 32;

/// Makes a path of a field.
type Path<'p> = &'p dyn Fn(&Fields<'_>, &'static str) -> Option<PathBuf>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    None,
    Basic,
    ApiKey,
    Jwt,
    TrustedHeader,
}

/// Reads the section.
pub(in crate::config) fn read(field: &Field<'_>, path: Path<'_>) -> Option<Auth> {
    let fields = field.fields(&AUTH)?;
    let mode = fields.read("mode", |field| {
        field.one_of(&[
            ("none", Mode::None),
            ("basic", Mode::Basic),
            ("api_key", Mode::ApiKey),
            ("jwt", Mode::Jwt),
            ("trusted_header", Mode::TrustedHeader),
        ])
    });
    let token = fields.read("token", token);
    let jwt = fields.read("jwt", |field| jwt(field, path));
    let trusted_header = fields.read("trusted_header", trusted_header);
    let auth = Auth {
        mode: AuthMode::None,
        file: path(&fields, "file"),
        admins: fields.read("admins", |field| Some(members(&field.fields(&MEMBERS)?))).unwrap_or_default(),
        auditors: fields.read("auditors", |field| Some(members(&field.fields(&MEMBERS)?))).unwrap_or_default(),
        access: fields.read("access", |field| list(field, access)).unwrap_or_default(),
        origins: fields.read("origins", |field| list(field, origin)).unwrap_or_default(),
        proxies: fields.read("proxies", |field| list(field, network)).unwrap_or_default(),
    };
    let mode = mode?;
    for (key, wanted) in [("token", Mode::Basic), ("jwt", Mode::Jwt), ("trusted_header", Mode::TrustedHeader)] {
        if mode != wanted && fields.get(key).is_some() {
            field.review.add(fields.problem_at_key(key, format!("{key:?} means nothing in this mode")));
        }
    }
    let needs = |key: &str| {
        // What is there and wrong has been said already.
        if !fields.entries().iter().any(|entry| entry.key == key) {
            field.note(format!("{key:?} is missing: this mode needs it"));
        }
    };
    let mode = match mode {
        Mode::None => AuthMode::None,
        Mode::Basic | Mode::ApiKey if auth.file.is_none() => {
            needs("file");
            return None;
        }
        Mode::Basic => AuthMode::Basic { token },
        Mode::ApiKey => AuthMode::ApiKey,
        Mode::Jwt => match jwt {
            Some(jwt) => AuthMode::Jwt(Box::new(jwt)),
            None => {
                needs("jwt");
                return None;
            }
        },
        Mode::TrustedHeader => match trusted_header {
            Some(header) => AuthMode::TrustedHeader(header),
            None => {
                needs("trusted_header");
                return None;
            }
        },
    };
    Some(Auth { mode, ..auth })
}

fn token(field: &Field<'_>) -> Option<TokenIssue> {
    let fields = field.fields(&TOKEN)?;
    let lifetime = fields.read("lifetime", Field::duration).unwrap_or(LIFETIME);
    Some(TokenIssue { secret: long_secret(&fields)?, lifetime })
}

fn jwt(field: &Field<'_>, path: Path<'_>) -> Option<Jwt> {
    let fields = field.fields(&JWT)?;
    let algorithms = fields.read("algorithms", |field| {
        let algorithms = list(field, |field| field.one_of(&JwtAlgorithm::ALL))?;
        if algorithms.is_empty() {
            return field.is_not("a list with something in it");
        }
        Some(algorithms)
    });
    let given: Vec<&'static str> =
        ["secret", "public_key_file", "jwks_url"].into_iter().filter(|key| fields.get(key).is_some()).collect();
    let key = match given.as_slice() {
        ["secret"] => long_secret(&fields).map(JwtKey::Secret),
        ["public_key_file"] => path(&fields, "public_key_file").map(JwtKey::File),
        ["jwks_url"] => fields.read("jwks_url", |field| {
            let url = field.text()?;
            let fits = url.starts_with("https://") || url.starts_with("http://");
            if fits { Some(JwtKey::Jwks(url.to_owned())) } else { field.is_not("an address like https://…") }
        }),
        [] => {
            field.note("there is nothing to check tokens with: give secret, public_key_file or jwks_url");
            None
        }
        _ => {
            field.note("one of secret, public_key_file and jwks_url is enough");
            None
        }
    };
    let (algorithms, key) = (algorithms?, key?);
    // A public key must never be taken for a secret: everybody knows it.
    let shared = matches!(key, JwtKey::Secret(_));
    if let Some(wrong) = algorithms.iter().find(|algorithm| algorithm.is_shared() != shared) {
        let name = JwtAlgorithm::ALL.iter().find(|(_, known)| known == wrong).map_or("", |(name, _)| name);
        let needs = if shared { "needs a public key, not a secret" } else { "needs a secret, not a public key" };
        fields.get("algorithms")?.note(format!("{name} {needs}"));
        return None;
    }
    let text = |key| fields.read(key, Field::text).filter(|text| !text.is_empty()).map(str::to_owned);
    Some(Jwt {
        algorithms,
        key,
        issuer: text("issuer"),
        audience: text("audience"),
        leeway: fields.read("leeway", Field::duration).unwrap_or(LEEWAY),
        user_claim: text("user_claim").unwrap_or_else(|| "sub".to_owned()),
        groups_claim: text("groups_claim").unwrap_or_else(|| "groups".to_owned()),
    })
}

fn trusted_header(field: &Field<'_>) -> Option<TrustedHeader> {
    let fields = field.fields(&TRUSTED_HEADER)?;
    let header = |field: &Field<'_>| {
        let name = field.text()?;
        let fits = axum::http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        if fits { Some(name.to_ascii_lowercase()) } else { field.is_not("the name of a header") }
    };
    let (user, groups) = (fields.read("user", header), fields.read("groups", header));
    let from = fields.read("from", |field| list(field, network));
    Some(TrustedHeader { user: user?, groups, from: from.filter(|from| !from.is_empty())? })
}

fn long_secret(fields: &Fields<'_>) -> Option<secrecy::SecretString> {
    let found = secret(fields, "secret")?;
    if found.expose_secret().len() < SHORTEST_SECRET {
        // Not shown, and neither is its length.
        fields.get("secret")?.note(format!("the secret is too short: at least {SHORTEST_SECRET} characters"));
        return None;
    }
    Some(found)
}

fn members(fields: &Fields<'_>) -> Members {
    let texts =
        |key| fields.read(key, |field| list(field, |field| field.text().map(str::to_owned))).unwrap_or_default();
    Members { users: texts("users"), groups: texts("groups") }
}

fn access(field: &Field<'_>) -> Option<Access> {
    let fields = field.fields(&ACCESS)?;
    let workflows = fields.read("workflows", |field| list(field, |field| field.text().map(str::to_owned)));
    Some(Access { workflows: workflows?, members: members(&fields) })
}

fn origin(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ']));
    if fits { Some(text.to_ascii_lowercase()) } else { field.is_not("an origin like https://chat.example.com") }
}

fn network(field: &Field<'_>) -> Option<IpNet> {
    let text = field.text()?;
    let read = text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    read.or_else(|| field.is_not("an address like 10.0.0.1, or a network like 10.0.0.0/8"))
}

fn list<T>(field: &Field<'_>, one: impl Fn(&Field<'_>) -> Option<T>) -> Option<Vec<T>> {
    // Each is read, so that every mistake is noted.
    let read: Vec<Option<T>> = field.items()?.iter().map(one).collect();
    read.into_iter().collect()
}
