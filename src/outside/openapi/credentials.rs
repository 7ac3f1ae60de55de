//! Which secrets an operation is called with: the first way that its specification names and that the configuration can go.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::config::SecretSource;
use crate::openapi::{
    CredentialPlace, OAuthFlow, OAuthFlowKind, OpenApiRequest, RequiredScheme, SecurityAlternative, SecuritySchemeKind,
};
use crate::outside::http::ClientCertificate;
use crate::outside::secrets::{CallerTokenSource, CredentialRequest, Secrets};

/// Schemes of HTTP that answer what a server asks first: no secret can be written down for them.
const OF_CHALLENGES: [&str; 9] =
    ["digest", "negotiate", "ntlm", "hoba", "mutual", "scram-sha-1", "scram-sha-256", "dpop", "privatetoken"];

/// The secrets that a call is made with.
#[derive(Debug)]
pub(super) struct CredentialPlan<'t> {
    parts: Vec<PlannedCredential<'t>>,
}

#[derive(Debug)]
struct PlannedCredential<'t> {
    scheme: &'t RequiredScheme,
    secret: String,
    token_url: Option<Url>,
    discovery_url: Option<Url>,
}

/// Their values, at the time of the call.
#[derive(Debug, Default)]
pub(super) struct FetchedCredentials {
    /// By the place in the plan.
    values: Vec<Option<SecretString>>,
    pub(super) certificate: Option<ClientCertificate>,
}

/// Chooses the first alternative that can be satisfied at this host. That nothing is needed counts last: what is configured is used.
pub(super) fn plan<'t>(
    alternatives: &'t [SecurityAlternative],
    mapping: &BTreeMap<String, String>,
    secrets: &Secrets,
    host: &str,
) -> Result<CredentialPlan<'t>, String> {
    let mut refusals = Vec::new();
    let mut is_mapped_in_vain = false;
    for alternative in alternatives.iter().filter(|alternative| !alternative.schemes.is_empty()) {
        match plan_one(alternative, mapping, secrets, host) {
            Ok(plan) => return Ok(plan),
            Err(why) => refusals.push((alternative, why)),
        }
        is_mapped_in_vain |= alternative.schemes.iter().all(|scheme| mapping.contains_key(&scheme.name));
    }
    let may_go_without = alternatives.is_empty() || alternatives.iter().any(|one| one.schemes.is_empty());
    // A secret that somebody has named is not left out in silence.
    if may_go_without && !is_mapped_in_vain {
        return Ok(CredentialPlan { parts: Vec::new() });
    }
    Err(refusal(&refusals, mapping, secrets, host))
}

fn plan_one<'t>(
    alternative: &'t SecurityAlternative,
    mapping: &BTreeMap<String, String>,
    secrets: &Secrets,
    host: &str,
) -> Result<CredentialPlan<'t>, String> {
    let mut parts = Vec::new();
    let mut places: Vec<CredentialPlace> = Vec::new();
    for scheme in &alternative.schemes {
        let secret = secret_of(scheme, mapping).to_owned();
        check(scheme, &secret, secrets, host)?;
        if let Some(place) = scheme.kind.place() {
            if places.contains(&place) {
                return Err("two of its credentials would go into one place".to_owned());
            }
            places.push(place);
        }
        let (token_url, discovery_url) = (token_url(&scheme.kind), discovery_url(&scheme.kind));
        parts.push(PlannedCredential { scheme, secret, token_url, discovery_url });
    }
    Ok(CredentialPlan { parts })
}

fn secret_of<'m>(scheme: &'m RequiredScheme, mapping: &'m BTreeMap<String, String>) -> &'m str {
    mapping.get(&scheme.name).unwrap_or(&scheme.name)
}

/// Whether a secret is one for a scheme.
fn check(scheme: &RequiredScheme, secret: &str, secrets: &Secrets, host: &str) -> Result<(), String> {
    if let Some(why) = unsupported(&scheme.kind) {
        return Err(why);
    }
    if let Some(why) = secrets.refuses_host(secret, host) {
        return Err(why);
    }
    let is_certificate = matches!(secrets.source(secret), Some(SecretSource::Certificate { .. }));
    let is_login = matches!(secrets.source(secret), Some(SecretSource::Login { .. }));
    let is_token = matches!(secrets.source(secret), Some(SecretSource::OAuth(_) | SecretSource::Caller(_)));
    match &scheme.kind {
        SecuritySchemeKind::MutualTls if !is_certificate => {
            Err(format!("the secret {secret:?} is no certificate: it needs `certificate` and `key`"))
        }
        SecuritySchemeKind::MutualTls => Ok(()),
        _ if is_certificate => Err(format!("the secret {secret:?} is a certificate, and a text is needed")),
        SecuritySchemeKind::HttpBasic if is_token => {
            Err(format!("the secret {secret:?} is a token, and a user with a password is needed"))
        }
        SecuritySchemeKind::HttpBasic => Ok(()),
        _ if is_login => {
            Err(format!("the secret {secret:?} is a user with a password, and a key or a token is needed"))
        }
        _ => Ok(()),
    }
}

/// Why no secret can stand for a scheme; none: one can.
pub fn unsupported(kind: &SecuritySchemeKind) -> Option<String> {
    match kind {
        SecuritySchemeKind::Unknown { why } => Some(why.clone()),
        SecuritySchemeKind::HttpOther { scheme } if OF_CHALLENGES.contains(&scheme.to_ascii_lowercase().as_str()) => {
            Some(format!("the scheme {scheme} of HTTP is not supported"))
        }
        _ => None,
    }
}

/// What to do with an operation that no secret opens.
const OF_NO_SECRET: &str = "no secret makes it work: leave the operation out with `except`, or, if its server takes \
                            another login, write a tool with `http` and a header of your own";

/// What is so of an operation that can be called with no secret, whatever is configured; none: it can be called.
pub fn never_allowed(alternatives: &[SecurityAlternative]) -> Option<String> {
    let why = |one: &SecurityAlternative| one.schemes.iter().find_map(|scheme| unsupported(&scheme.kind));
    let refusals: Vec<String> = alternatives.iter().map(why).collect::<Option<_>>()?;
    let first = refusals.first()?;
    Some(format!("each call is refused: {first}, so {OF_NO_SECRET}"))
}

/// Where a token is given, as the specification says.
fn token_url(kind: &SecuritySchemeKind) -> Option<Url> {
    let SecuritySchemeKind::OAuth2(flows) = kind else { return None };
    let rank = |flow: &&OAuthFlow| match flow.kind {
        OAuthFlowKind::ClientCredentials => 0,
        OAuthFlowKind::Password => 1,
        _ => 2,
    };
    let with_url = flows.iter().filter(|flow| flow.token_url.is_some());
    let flow = with_url.min_by_key(rank)?;
    let url = Url::parse(flow.token_url.as_deref()?).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.username().is_empty()).then_some(url)
}

/// Where the document about the server is that gives tokens, as the specification says.
fn discovery_url(kind: &SecuritySchemeKind) -> Option<Url> {
    let SecuritySchemeKind::OpenIdConnect { url } = kind else { return None };
    let url = Url::parse(url).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.username().is_empty()).then_some(url)
}

/// Where people sign in, as a specification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecifiedLogin {
    /// Where the document about the server is.
    Document(Url),
    /// Where its endpoints are.
    Endpoints {
        /// Where people allow something.
        authorization: Url,
        /// Where tokens are given.
        token: Url,
    },
}

/// Where people sign in for a secret. What the document says of hosts that the secret is not for is not believed.
pub(super) fn login_server(
    alternatives: &[SecurityAlternative],
    mapping: &BTreeMap<String, String>,
    secrets: &Secrets,
    secret: &str,
) -> Option<SpecifiedLogin> {
    let read = |text: &str| {
        let url = Url::parse(text).ok()?;
        let is_plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty();
        (is_plain && secrets.refuses_host(secret, url.host_str()?).is_none()).then_some(url)
    };
    let schemes = alternatives.iter().flat_map(|alternative| &alternative.schemes);
    let mut own = schemes.filter(|scheme| secret_of(scheme, mapping) == secret);
    own.find_map(|scheme| match &scheme.kind {
        SecuritySchemeKind::OpenIdConnect { url } => read(url).map(SpecifiedLogin::Document),
        SecuritySchemeKind::OAuth2(flows) => flows.iter().find_map(|flow| {
            let (authorization, token) = (flow.authorization_url.as_deref()?, flow.token_url.as_deref()?);
            Some(SpecifiedLogin::Endpoints { authorization: read(authorization)?, token: read(token)? })
        }),
        _ => None,
    })
}

/// Why no alternative can be satisfied, and what to write.
fn refusal(
    refusals: &[(&SecurityAlternative, String)],
    mapping: &BTreeMap<String, String>,
    secrets: &Secrets,
    host: &str,
) -> String {
    let mut words = String::from("the operation needs a credential");
    for (number, (alternative, why)) in refusals.iter().enumerate() {
        let schemes: Vec<String> =
            alternative.schemes.iter().map(|scheme| format!("{} ({})", scheme.name, described(&scheme.kind))).collect();
        let separator = if number == 0 { ": " } else { "; or " };
        let _ = write!(words, "{separator}{}: {why}", schemes.join(" and "));
    }
    let is_possible = |one: &SecurityAlternative| one.schemes.iter().all(|scheme| unsupported(&scheme.kind).is_none());
    let possible = || refusals.iter().map(|(alternative, _)| alternative).filter(|one| is_possible(one));
    if possible().next().is_none() {
        let _ = write!(words, "; {OF_NO_SECRET}");
    }
    let missing = possible().find_map(|alternative| {
        alternative.schemes.iter().find(|scheme| secrets.source(secret_of(scheme, mapping)).is_none())
    });
    if let Some(scheme) = missing {
        let name = secret_of(scheme, mapping);
        let line = secret_line(scheme, name, &[host]);
        let _ = write!(
            words,
            ". Write in fastagency.yaml: secrets: {{ {name}: {line} }}; if it has another name there, in the workflow: security: {{ {}: NAME }}",
            scheme.name
        );
    }
    words
}

/// A scheme in words.
pub fn described(kind: &SecuritySchemeKind) -> String {
    match kind {
        SecuritySchemeKind::ApiKey(CredentialPlace::Header(name)) => format!("a key in the header {name}"),
        SecuritySchemeKind::ApiKey(CredentialPlace::Query(name)) => format!("a key in the query, as {name}"),
        SecuritySchemeKind::ApiKey(CredentialPlace::Cookie(name)) => format!("a key in the cookie {name}"),
        SecuritySchemeKind::HttpBasic => "a user and a password".to_owned(),
        SecuritySchemeKind::HttpBearer { format: Some(format) } => format!("a bearer token, {format}"),
        SecuritySchemeKind::HttpBearer { format: None } => "a bearer token".to_owned(),
        SecuritySchemeKind::HttpOther { scheme } => format!("the scheme {scheme} of HTTP"),
        SecuritySchemeKind::OAuth2(_) => "a token of OAuth 2.0".to_owned(),
        SecuritySchemeKind::OpenIdConnect { .. } => "a token of OpenID Connect".to_owned(),
        SecuritySchemeKind::MutualTls => "a certificate of the client".to_owned(),
        SecuritySchemeKind::Unknown { why } => why.clone(),
    }
}

/// The line of `secrets:` that a scheme with its scopes asks for.
pub fn secret_line(scheme: &RequiredScheme, name: &str, hosts: &[&str]) -> String {
    let kind = &scheme.kind;
    let variable: String =
        name.to_uppercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let hosts: Vec<String> = hosts.iter().map(|host| yaml_text(host)).collect();
    let hosts = format!("hosts: [{}]", hosts.join(", "));
    let has_flow = |wanted: OAuthFlowKind| match kind {
        SecuritySchemeKind::OAuth2(flows) => flows.iter().any(|flow| flow.kind == wanted),
        _ => false,
    };
    match kind {
        SecuritySchemeKind::HttpBasic => {
            format!("{{ username: \"${{{variable}_USER}}\", password: \"${{{variable}_PASSWORD}}\", {hosts} }}")
        }
        SecuritySchemeKind::MutualTls => {
            format!("{{ certificate: tls/{name}.pem, key: tls/{name}.key, {hosts} }}")
        }
        SecuritySchemeKind::OAuth2(_)
            if has_flow(OAuthFlowKind::ClientCredentials) || has_flow(OAuthFlowKind::Password) =>
        {
            let url =
                token_url(kind).map(|url| format!("token_url: {}, ", yaml_text(url.as_str()))).unwrap_or_default();
            let grant = match has_flow(OAuthFlowKind::ClientCredentials) {
                true => format!("client_id: \"${{{variable}_ID}}\", client_secret: \"${{{variable}_SECRET}}\""),
                false => format!(
                    "flow: password, username: \"${{{variable}_USER}}\", password: \"${{{variable}_PASSWORD}}\""
                ),
            };
            format!("{{ oauth: {{ {url}{grant} }}, {hosts} }}")
        }
        SecuritySchemeKind::OAuth2(flows) if needs_person(kind) => {
            let flow = flows.iter().find(|flow| flow.authorization_url.is_some());
            let url = |key: &str, url: Option<&String>| {
                let url = url.filter(|url| Url::parse(url).is_ok());
                url.map(|url| format!("{key}: {}, ", yaml_text(url))).unwrap_or_default()
            };
            let authorization = url("authorization_url", flow.and_then(|flow| flow.authorization_url.as_ref()));
            let token = url("token_url", flow.and_then(|flow| flow.token_url.as_ref()));
            let scopes: Vec<String> = scheme.scopes.iter().map(|scope| yaml_text(scope)).collect();
            let scopes = if scopes.is_empty() { String::new() } else { format!(", scopes: [{}]", scopes.join(", ")) };
            let client = format!("client_id: \"${{{variable}_ID}}\"{scopes}");
            format!("{{ oauth: {{ flow: authorization_code, {authorization}{token}{client} }}, {hosts} }}")
        }
        _ => format!("{{ value: \"${{{variable}}}\", {hosts} }}"),
    }
}

/// Whether its tokens are for people alone, who sign in with `fastagency login`.
pub fn needs_person(kind: &SecuritySchemeKind) -> bool {
    let SecuritySchemeKind::OAuth2(flows) = kind else { return false };
    let has = |wanted: &[OAuthFlowKind]| flows.iter().any(|flow| wanted.contains(&flow.kind));
    has(&[OAuthFlowKind::AuthorizationCode]) && !has(&[OAuthFlowKind::ClientCredentials, OAuthFlowKind::Password])
}

/// A text as YAML takes it between braces and brackets.
pub fn yaml_text(text: &str) -> String {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "null" | "on" | "off" | "y" | "n"
        );
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

impl CredentialPlan<'_> {
    /// Whether nothing is sent.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The values; `refused` are those that a server has refused.
    pub(super) async fn fetch(
        &self,
        secrets: &Secrets,
        refused: Option<&FetchedCredentials>,
        caller: Option<&dyn CallerTokenSource>,
    ) -> Result<FetchedCredentials, String> {
        let mut fetched = FetchedCredentials::default();
        for (number, part) in self.parts.iter().enumerate() {
            if matches!(part.scheme.kind, SecuritySchemeKind::MutualTls) {
                fetched.certificate = Some(secrets.certificate(&part.secret).await?);
                fetched.values.push(None);
                continue;
            }
            let refused = refused.and_then(|refused| refused.values.get(number)?.as_ref());
            let (scopes, token_url) = (&part.scheme.scopes[..], part.token_url.as_ref());
            let discovery_url = part.discovery_url.as_ref();
            let wanted = CredentialRequest { scopes, token_url, discovery_url, refused, caller };
            let value = secrets.value(&part.secret, wanted).await?;
            fetched.values.push(Some(value));
        }
        Ok(fetched)
    }

    /// Puts the values into their places.
    pub(super) fn put(
        &self,
        request: &mut OpenApiRequest,
        fetched: &FetchedCredentials,
        secrets: &Secrets,
    ) -> Result<(), String> {
        for (part, value) in self.parts.iter().zip(&fetched.values) {
            let (Some(value), Some(place)) = (value, part.scheme.kind.place()) else { continue };
            let value = value.expose_secret();
            let whole = match &part.scheme.kind {
                SecuritySchemeKind::ApiKey(_) => value.to_owned(),
                SecuritySchemeKind::HttpBasic => format!("Basic {}", login(part, value, secrets)?),
                SecuritySchemeKind::HttpOther { scheme } => format!("{scheme} {value}"),
                _ => format!("Bearer {value}"),
            };
            request.put_credential(&place, &whole).map_err(|why| secrets.hidden(&why.to_string()))?;
        }
        Ok(())
    }
}

/// A user and a password, in base64: as the secret has it, or made of a text with a colon.
fn login(part: &PlannedCredential<'_>, value: &str, secrets: &Secrets) -> Result<String, String> {
    if matches!(secrets.source(&part.secret), Some(SecretSource::Login { .. })) {
        return Ok(value.to_owned());
    }
    if !value.contains(':') {
        return Err(format!("the secret {:?} is no login: a user, a colon and a password are needed", part.secret));
    }
    let login = STANDARD.encode(value);
    secrets.hidden_texts().learn(&part.secret, &login);
    Ok(login)
}

impl FetchedCredentials {
    /// Whether others than these have come.
    pub(super) fn differs(&self, before: &FetchedCredentials) -> bool {
        let text = |value: &Option<SecretString>| value.as_ref().map(|value| value.expose_secret().to_owned());
        self.values.iter().map(text).ne(before.values.iter().map(text))
    }
}
