//! Reads `auth:`.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::{
    AccessRight, AccessRule, AuthConfig, AuthMode, JwtAlgorithm, JwtConfig, JwtKey, OidcConfig, TokenIssueConfig,
    TrustedHeaderConfig, UsersAndGroups,
};
use crate::config::fields::{long_secret, secret, secrets};
use crate::config::shapes::{ACCESS, AUTH, JWT, MEMBERS, OIDC, TOKEN, TRUSTED_HEADER};
use crate::yaml::{FieldReader, MapReader};

/// How long tokens count that are given for a password.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// Makes a path of a field.
type PathReader<'p> = &'p dyn Fn(&MapReader<'_>, &'static str) -> Option<PathBuf>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum WrittenAuthMode {
    None,
    Basic,
    ApiKey,
    Jwt,
    Oidc,
    TrustedHeader,
}

/// Reads the section.
pub(in crate::config) fn read(field: &FieldReader<'_>, path: PathReader<'_>) -> Option<AuthConfig> {
    let fields = field.fields(&AUTH)?;
    let mode = fields.read("mode", |field| {
        field.one_of(&[
            ("none", WrittenAuthMode::None),
            ("basic", WrittenAuthMode::Basic),
            ("api_key", WrittenAuthMode::ApiKey),
            ("jwt", WrittenAuthMode::Jwt),
            ("oidc", WrittenAuthMode::Oidc),
            ("trusted_header", WrittenAuthMode::TrustedHeader),
        ])
    });
    let open = fields.read("open", FieldReader::bool).unwrap_or_default();
    let token = fields.read("token", token);
    let jwt = fields.read("jwt", |field| jwt(field, path));
    let oidc = fields.read("oidc", oidc);
    let trusted_header = fields.read("trusted_header", trusted_header);
    let auth = AuthConfig {
        mode: AuthMode::None,
        open,
        file: path(&fields, "file"),
        admins: fields.read("admins", |field| Some(members(&field.fields(&MEMBERS)?))).unwrap_or_default(),
        auditors: fields.read("auditors", |field| Some(members(&field.fields(&MEMBERS)?))).unwrap_or_default(),
        access: fields.read("access", |field| list(field, access)).unwrap_or_default(),
        origins: fields.read("origins", |field| list(field, origin)).unwrap_or_default(),
        proxies: fields.read("proxies", |field| list(field, network)).unwrap_or_else(this_machine),
    };
    let mode = mode?;
    let own = [
        ("open", WrittenAuthMode::None),
        ("token", WrittenAuthMode::Basic),
        ("jwt", WrittenAuthMode::Jwt),
        ("oidc", WrittenAuthMode::Oidc),
        ("trusted_header", WrittenAuthMode::TrustedHeader),
    ];
    for (key, wanted) in own {
        if mode != wanted && fields.get(key).is_some() {
            field.review.add(fields.problem_at_key(key, format!("{key:?} means nothing in this mode")));
        }
    }
    let needs = |key: &str, example: &str| {
        // What is there and wrong has been said already.
        if !fields.entries().iter().any(|entry| entry.key == key) {
            let hint = format!("write {example} (docs/how-to/control-access.md)");
            field.note_with_hint(format!("{key:?} is missing: this mode needs it"), hint);
        }
    };
    let mode = match mode {
        WrittenAuthMode::None => AuthMode::None,
        WrittenAuthMode::Basic | WrittenAuthMode::ApiKey if auth.file.is_none() => {
            let example = match mode {
                WrittenAuthMode::Basic => {
                    "`file: access.yaml`, and add people: `fastagency user add NAME`; the command makes the file"
                }
                _ => "`file: access.yaml`, and add keys: `fastagency key add NAME`; the command makes the file",
            };
            needs("file", example);
            return None;
        }
        WrittenAuthMode::Basic => AuthMode::Basic { token },
        WrittenAuthMode::ApiKey => AuthMode::ApiKey,
        WrittenAuthMode::Jwt => match jwt {
            Some(jwt) => AuthMode::Jwt(Box::new(jwt)),
            None => {
                needs(
                    "jwt",
                    "`jwt: { algorithms: [RS256], jwks_url: \"https://id.example.com/keys\", issuer: \"https://id.example.com\", audience: fastagency }`",
                );
                return None;
            }
        },
        WrittenAuthMode::Oidc => match oidc {
            Some(oidc) => AuthMode::Oidc(Box::new(oidc)),
            None => {
                needs("oidc", "`oidc: { issuer: \"https://id.example.com\", client_id: fastagency }`");
                return None;
            }
        },
        WrittenAuthMode::TrustedHeader => match trusted_header {
            Some(header) => AuthMode::TrustedHeader(header),
            None => {
                needs("trusted_header", "`trusted_header: { user: X-Remote-User, from: [10.0.0.5] }`");
                return None;
            }
        },
    };
    let mut auth = AuthConfig { mode, ..auth };
    if matches!(auth.mode, AuthMode::TrustedHeader(_)) && fields.get("proxies").is_none() {
        // Here much hangs on an address: who may forward for others is said, not assumed.
        auth.proxies = Vec::new();
    }
    Some(auth)
}

/// Who is believed about a caller's address where nobody is named: this machine, where the page's own tier and most proxies
/// are, as uvicorn has it.
pub(in crate::config) fn this_machine() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128"].map(|network| network.parse().expect("a network")).to_vec()
}

fn token(field: &FieldReader<'_>) -> Option<TokenIssueConfig> {
    let fields = field.fields(&TOKEN)?;
    let lifetime = fields.read("lifetime", FieldReader::duration).unwrap_or(LIFETIME);
    let previous_secrets = secrets(&fields, "previous_secrets");
    Some(TokenIssueConfig { secret: long_secret(&fields, "secret")?, previous_secrets, lifetime })
}

fn jwt(field: &FieldReader<'_>, path: PathReader<'_>) -> Option<JwtConfig> {
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
        ["secret"] => long_secret(&fields, "secret").map(JwtKey::Secret),
        ["public_key_file"] => path(&fields, "public_key_file").map(JwtKey::File),
        ["jwks_url"] => fields.read("jwks_url", address).map(JwtKey::Jwks),
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
    let text = |key| fields.read(key, FieldReader::text).filter(|text| !text.is_empty()).map(str::to_owned);
    Some(JwtConfig {
        algorithms,
        key,
        issuer: text("issuer"),
        audience: text("audience"),
        leeway: fields.read("leeway", FieldReader::duration).unwrap_or(LEEWAY),
        user_claim: text("user_claim").unwrap_or_else(|| "sub".to_owned()),
        groups_claim: text("groups_claim").unwrap_or_else(|| "groups".to_owned()),
        accept_unverified_email: fields.read("accept_unverified_email", FieldReader::bool).unwrap_or(false),
    })
}

fn oidc(field: &FieldReader<'_>) -> Option<OidcConfig> {
    let fields = field.fields(&OIDC)?;
    let text = |key| fields.read(key, FieldReader::text).filter(|text| !text.is_empty()).map(str::to_owned);
    // As it is written: a slash at its end is part of an issuer's name.
    let issuer = fields.read("issuer", address);
    let client_id = text("client_id");
    let scope = |field: &FieldReader<'_>| {
        let scope = field.text()?;
        let fits = !scope.is_empty() && !scope.contains([' ', '"', '\\']);
        if fits { Some(scope.to_owned()) } else { field.is_not("a scope like email") }
    };
    let mut scopes = fields.read("scopes", |field| list(field, scope));
    if let Some(scopes) = &mut scopes
        && !scopes.iter().any(|scope| scope == "openid")
    {
        scopes.insert(0, "openid".to_owned());
    }
    if fields.get("client_id").is_some_and(|field| field.text() == Some("")) {
        fields.get("client_id")?.note("the program's name at the provider is missing");
    }
    Some(OidcConfig {
        // What lacks a variable is said by the section that uses it.
        issuer: issuer.unwrap_or_default(),
        client_id: client_id.unwrap_or_default(),
        client_secret: secret(&fields, "client_secret"),
        scopes: scopes.unwrap_or_else(|| ["openid", "profile", "email"].map(str::to_owned).to_vec()),
        user_claim: text("user_claim").unwrap_or_else(|| "sub".to_owned()),
        groups_claim: text("groups_claim").unwrap_or_else(|| "groups".to_owned()),
        accept_unverified_email: fields.read("accept_unverified_email", FieldReader::bool).unwrap_or(false),
    })
}

fn address(field: &FieldReader<'_>) -> Option<String> {
    let url = field.text()?;
    let fits = url.starts_with("https://") || url.starts_with("http://");
    if fits { Some(url.to_owned()) } else { field.is_not("an address like https://…") }
}

fn trusted_header(field: &FieldReader<'_>) -> Option<TrustedHeaderConfig> {
    let fields = field.fields(&TRUSTED_HEADER)?;
    let header = |field: &FieldReader<'_>| {
        let name = field.text()?;
        let fits = axum::http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        if fits { Some(name.to_ascii_lowercase()) } else { field.is_not("the name of a header") }
    };
    let (user, groups) = (fields.read("user", header), fields.read("groups", header));
    let some = |field: &FieldReader<'_>| match network(field)? {
        everybody if everybody.prefix_len() == 0 => field.is_not("some proxies: this is the whole world"),
        network => Some(network),
    };
    let from = fields.read("from", |field| list(field, some));
    Some(TrustedHeaderConfig { user: user?, groups, from: from.filter(|from| !from.is_empty())? })
}

fn members(fields: &MapReader<'_>) -> UsersAndGroups {
    let texts =
        |key| fields.read(key, |field| list(field, |field| field.text().map(str::to_owned))).unwrap_or_default();
    UsersAndGroups { users: texts("users"), groups: texts("groups") }
}

fn access(field: &FieldReader<'_>) -> Option<AccessRule> {
    let fields = field.fields(&ACCESS)?;
    let workflows = fields.read("workflows", |field| list(field, |field| field.text().map(str::to_owned)));
    let may = fields.read("may", |field| {
        let may = list(field, |field| field.one_of(&AccessRight::ALL))?;
        if may.is_empty() { field.is_not("a list with something in it") } else { Some(may) }
    });
    Some(AccessRule {
        workflows: workflows?,
        members: members(&fields),
        may: may.unwrap_or_else(|| vec![AccessRight::Start]),
    })
}

fn origin(field: &FieldReader<'_>) -> Option<String> {
    let text = field.text()?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ']));
    if fits { Some(text.to_ascii_lowercase()) } else { field.is_not("an origin like https://chat.example.com") }
}

fn network(field: &FieldReader<'_>) -> Option<IpNet> {
    let text = field.text()?;
    let read = text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    read.or_else(|| field.is_not("an address like 10.0.0.1, or a network like 10.0.0.0/8"))
}

fn list<T>(field: &FieldReader<'_>, one: impl Fn(&FieldReader<'_>) -> Option<T>) -> Option<Vec<T>> {
    // Each is read, so that every mistake is noted.
    let read: Vec<Option<T>> = field.items()?.iter().map(one).collect();
    read.into_iter().collect()
}
