//! `secrets:`: what workflows show the servers outside, where it comes from, and which servers it is for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use super::fields::{path, secret};
use super::outgoing::host;
use super::shapes::{OAUTH, SECRET, SECRET_TOOLS};
use crate::problem::Problem;
use crate::yaml::{FieldReader, MapEntry, MapReader};

/// Shorter texts are not hidden: they would be taken out of words that only look like them.
pub const SHORTEST_HIDDEN: usize = 6;
/// How long what a command printed is used, unless it is said.
const COMMAND_REFRESH: Duration = Duration::from_secs(300);

/// One of `secrets:`.
#[derive(Debug, Clone)]
pub struct SecretConfig {
    /// Where it comes from.
    pub source: SecretSource,
    /// The hosts that it is for (`*.example.com` for all below): it is sent to no other, whatever a workflow says.
    pub hosts: Vec<String>,
    /// The tools that it may be an argument of.
    pub tools: SecretTools,
    /// Why it has no value: which variable is not set.
    pub missing: Option<String>,
}

/// The tools that a secret is for, by what they call: nothing else gets it, whatever a workflow says.
#[derive(Debug, Clone, Default)]
pub struct SecretTools {
    /// Programs, by their names in `commands:`.
    pub commands: Vec<String>,
    /// Python files of the project.
    pub python: Vec<String>,
    /// Servers, by their names in `mcp:`.
    pub mcp: Vec<String>,
    /// Subjects of NATS, which may have wildcards.
    pub nats: Vec<String>,
}

/// Where a secret comes from.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// A text; none: the variable that it comes from is not set.
    Value(Option<SecretString>),
    /// A file, which is read each time.
    File(PathBuf),
    /// A command that prints it.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// How long what it printed is used.
        refresh: Duration,
    },
    /// A user and a password.
    Login {
        /// The user.
        username: String,
        /// The password; none: the variable that it comes from is not set.
        password: Option<SecretString>,
    },
    /// A token that a server gives for other secrets.
    OAuth(Box<OAuthConfig>),
    /// The access token with which the person whose run it is came to the gateway. With the place where that is said, for messages.
    Caller(Box<Problem>),
    /// A certificate that this program shows when it connects.
    Certificate {
        /// The certificate and those between it and its authority, in PEM.
        certificate: PathBuf,
        /// Its key, in PEM.
        key: PathBuf,
    },
}

/// How a token is asked for (RFC 6749).
#[derive(Debug, Clone, Default)]
pub struct OAuthConfig {
    /// Where; none: where the server or the specification of the API says.
    pub token_url: Option<Url>,
    /// What else is known of the server.
    pub server: OAuthServerConfig,
    /// What the server knows this program as.
    pub client_id: Option<String>,
    /// The program's secret there.
    pub client_secret: Option<SecretString>,
    /// Whether client and secret are sent in the body, in place of the header `Authorization`.
    pub client_in_body: bool,
    /// What the token is to allow; empty: what is asked for at the time.
    pub scopes: Vec<String>,
    /// What the token is given for.
    pub grant: OAuthGrant,
    /// Parameters that the server wants beside: `audience`, `resource`.
    pub parameters: BTreeMap<String, String>,
    /// Where the browser comes back to after a person has signed in; none: to a free port of this machine.
    pub redirect_url: Option<Url>,
    /// What the token is for (RFC 8707), which also says who gives it; of an MCP server its address.
    pub resource: Option<Url>,
}

/// Where the endpoints of an authorization server are.
#[derive(Debug, Clone, Default)]
pub struct OAuthServerConfig {
    /// Its name, below which it describes itself (RFC 8414, OpenID Connect Discovery).
    pub issuer: Option<String>,
    /// Where people allow something.
    pub authorization_url: Option<Url>,
    /// Where a device asks for a code.
    pub device_url: Option<Url>,
    /// Where tokens are taken back.
    pub revocation_url: Option<Url>,
}

/// What a token is given for.
#[derive(Debug, Clone, Default)]
pub enum OAuthGrant {
    /// The program's own name and secret.
    #[default]
    ClientCredentials,
    /// A person signs in with `fastagency login`.
    AuthorizationCode,
    /// A person's name and password.
    Password {
        /// The name.
        username: String,
        /// The password; none: the variable that it comes from is not set.
        password: Option<SecretString>,
    },
    /// A token that was given before; none: the variable that it comes from is not set.
    RefreshToken(Option<SecretString>),
}

impl OAuthGrant {
    /// Whether the next token is given for one that came with the one before it.
    pub fn has_refresh_token(&self) -> bool {
        matches!(self, OAuthGrant::AuthorizationCode | OAuthGrant::RefreshToken(_))
    }
}

impl OAuthConfig {
    /// Whether a person signs in for it.
    pub fn is_login(&self) -> bool {
        matches!(self.grant, OAuthGrant::AuthorizationCode)
    }
}

impl SecretConfig {
    /// Whether it is the token of the person whose run it is.
    pub fn is_of_caller(&self) -> bool {
        matches!(self.source, SecretSource::Caller(_))
    }

    /// A text that nobody gets, so that it is only hidden.
    pub fn only_hidden(value: Option<SecretString>) -> Self {
        Self { source: SecretSource::Value(value), hosts: Vec::new(), tools: SecretTools::default(), missing: None }
    }

    /// A text for these hosts.
    pub fn value(text: &str, hosts: &[&str]) -> Self {
        Self {
            source: SecretSource::Value(Some(text.into())),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            tools: SecretTools::default(),
            missing: None,
        }
    }
}

/// Secrets by name. Paths are relative to the folder.
pub(super) fn named_secrets(field: &FieldReader<'_>, folder: &Path) -> Option<BTreeMap<String, SecretConfig>> {
    let mut secrets = BTreeMap::new();
    for (name, _, field) in field.named_entries()? {
        secrets.extend(named_secret(&field, folder).map(|secret| (name.to_string(), secret)));
    }
    Some(secrets)
}

fn named_secret(field: &FieldReader<'_>, folder: &Path) -> Option<SecretConfig> {
    if !field.is_map() {
        let hint = "say which servers it is for: { value: \"${NAME}\", hosts: [api.example.com] }";
        field.note_with_hint("a secret has a value and hosts", hint);
        return None;
    }
    let fields = field.fields(&SECRET)?;
    let source = source(&fields, folder);
    let hosts = fields.read("hosts", |field| {
        let hosts = field.items()?.iter().map(host).collect::<Option<Vec<_>>>()?;
        if hosts.is_empty() { field.is_not("a list of hosts; with none it is sent nowhere") } else { Some(hosts) }
    });
    let tools = fields.read("tools", secret_tools);
    if fields.get("hosts").is_none() && fields.get("tools").is_none() {
        let hint = "write `hosts: [api.example.com]`, or `tools: { command: [report] }`";
        field.note_with_hint("nothing may get this secret", hint);
    }
    let (hosts, tools, missing) = (hosts.unwrap_or_default(), tools.unwrap_or_default(), missing(field));
    Some(SecretConfig { source: source?, hosts, tools, missing })
}

/// Why a text below this field has no value.
fn missing(field: &FieldReader<'_>) -> Option<String> {
    if let Some(scalar) = field.scalar() {
        return scalar.missing.clone();
    }
    entries_of(field).iter().find_map(|(entry, field)| {
        // Other texts may be empty.
        let is_needed = matches!(entry.key.as_str(), "value" | "password");
        missing(field).or_else(|| empty(field).filter(|_| is_needed))
    })
}

/// Why a text is empty whose variables say nothing.
fn empty(field: &FieldReader<'_>) -> Option<String> {
    let scalar = field.scalar().filter(|scalar| scalar.text.is_empty() && !scalar.variables.is_empty())?;
    Some(format!("the environment variable {} is not set, or empty", scalar.variables.join(", ")))
}

/// The entries of a map; of anything else none.
pub(super) fn entries_of<'a>(field: &FieldReader<'a>) -> Vec<(&'a MapEntry, FieldReader<'a>)> {
    field.is_map().then(|| field.entries()).flatten().unwrap_or_default()
}

fn secret_tools(field: &FieldReader<'_>) -> Option<SecretTools> {
    let fields = field.fields(&SECRET_TOOLS)?;
    let names = |key: &'static str| fields.read(key, texts).unwrap_or_default();
    Some(SecretTools { commands: names("command"), python: names("python"), mcp: names("mcp"), nats: names("nats") })
}

/// The one place that a secret comes from.
fn source(fields: &MapReader<'_>, folder: &Path) -> Option<SecretSource> {
    const WAYS: [&str; 7] = ["value", "file", "command", "username", "oauth", "from", "certificate"];
    let given: Vec<&str> = WAYS.into_iter().filter(|way| fields.get(way).is_some()).collect();
    let [way] = given[..] else {
        match given.get(1) {
            Some(&second) => {
                fields.field.review.add(fields.problem_at_key(second, format!("there is a `{}` already", given[0])));
            }
            None => fields
                .field
                .note_with_hint("the secret comes from nowhere", format!("it has one of {}", WAYS.join(", "))),
        }
        return None;
    };
    for (key, owner) in [("refresh", "command"), ("password", "username"), ("key", "certificate")] {
        if way != owner && fields.get(key).is_some() {
            fields.field.review.add(fields.problem_at_key(key, format!("`{key}` belongs to a `{owner}`")));
        } else if way == owner && key != "refresh" && fields.get(key).is_none() {
            fields.field.note(format!("`{owner}` needs a `{key}` beside it"));
        }
    }
    match way {
        "value" => Some(SecretSource::Value(secret(fields, "value"))),
        "file" => path(fields, "file", folder).map(SecretSource::File),
        "command" => {
            let refresh = fields.read("refresh", FieldReader::duration).unwrap_or(COMMAND_REFRESH);
            Some(SecretSource::Command { command: fields.read("command", program)?, refresh })
        }
        "username" => {
            let username = fields.read("username", FieldReader::text)?.to_owned();
            if username.contains(':') {
                fields.field.note("a user name of HTTP has no colon in it (RFC 7617)");
            }
            Some(SecretSource::Login { username, password: secret(fields, "password") })
        }
        "oauth" => fields
            .read("oauth", |field| oauth(field, "client_credentials"))
            .map(|oauth| SecretSource::OAuth(Box::new(oauth))),
        "from" => {
            fields.read("from", |field| field.one_of(&[("caller", ())]))?;
            if fields.get("tools").is_some() {
                let message = "the caller's token goes to the servers of `hosts` only";
                fields.field.review.add(fields.problem_at_key("tools", message));
            }
            Some(SecretSource::Caller(Box::new(fields.problem_at_key("from", String::new()))))
        }
        _ => {
            let (certificate, key) = (path(fields, "certificate", folder), path(fields, "key", folder));
            Some(SecretSource::Certificate { certificate: certificate?, key: key? })
        }
    }
}

fn program(field: &FieldReader<'_>) -> Option<Vec<String>> {
    let words: Vec<String> = texts(field)?;
    if words.first().is_none_or(String::is_empty) {
        field.note("there is no program here");
        return None;
    }
    Some(words)
}

fn texts(field: &FieldReader<'_>) -> Option<Vec<String>> {
    field.items()?.iter().map(|item| item.text().map(str::to_owned)).collect()
}

fn endpoint(field: &FieldReader<'_>) -> Option<Url> {
    match Url::parse(field.text()?) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none() =>
        {
            Some(url)
        }
        _ => field.is_not("an address like https://id.example.com/oauth/token"),
    }
}

/// Where a browser comes back to: this machine, by an address that no other machine has (RFC 8252, 7.3).
fn loopback(field: &FieldReader<'_>) -> Option<Url> {
    let is_here = |url: &Url| match url.host_str() {
        Some("localhost" | "127.0.0.1" | "[::1]") => url.scheme() == "http" && url.query().is_none(),
        _ => false,
    };
    match Url::parse(field.text()?) {
        Ok(url) if is_here(&url) && url.username().is_empty() && url.fragment().is_none() => Some(url),
        _ => field.is_not("an address of this machine, like http://127.0.0.1:8400/callback"),
    }
}

/// `oauth:`, with the flow that it is unless it says one.
pub(super) fn oauth(field: &FieldReader<'_>, default_flow: &'static str) -> Option<OAuthConfig> {
    let fields = field.fields(&OAUTH)?;
    let token_url = fields.read("token_url", endpoint);
    let issuer = fields.read("issuer", |field| endpoint(field).and(field.text()).map(str::to_owned));
    let text = |key: &'static str| fields.read(key, FieldReader::text).map(str::to_owned);
    let flow = fields.read("flow", |field| {
        field
            .one_of(&["client_credentials", "authorization_code", "password", "refresh_token"].map(|word| (word, word)))
    });
    let flow = flow.unwrap_or(default_flow);
    let needed: &[&'static str] = match flow {
        "password" => &["username", "password"],
        "refresh_token" => &["refresh_token"],
        "authorization_code" => &[],
        _ => &["client_id", "client_secret"],
    };
    for key in needed.iter().filter(|key| fields.get(key).is_none()) {
        field.note(format!("the flow {flow} needs `{key}`"));
    }
    for (key, owner) in [
        ("username", "password"),
        ("password", "password"),
        ("refresh_token", "refresh_token"),
        ("authorization_url", "authorization_code"),
        ("device_url", "authorization_code"),
        ("revocation_url", "authorization_code"),
        ("redirect_url", "authorization_code"),
    ] {
        if flow != owner && fields.get(key).is_some() {
            field.review.add(fields.problem_at_key(key, format!("`{key}` belongs to the flow {owner}")));
        }
    }
    let grant = match flow {
        "password" => OAuthGrant::Password {
            username: text("username").unwrap_or_default(),
            password: secret(&fields, "password"),
        },
        "refresh_token" => OAuthGrant::RefreshToken(secret(&fields, "refresh_token")),
        "authorization_code" => OAuthGrant::AuthorizationCode,
        _ => OAuthGrant::ClientCredentials,
    };
    let parameters = fields.read("parameters", |field| {
        let pair = |(entry, field): (&crate::yaml::MapEntry, FieldReader<'_>)| {
            Some((entry.key.clone(), field.text()?.to_owned()))
        };
        field.entries()?.into_iter().map(pair).collect::<Option<BTreeMap<_, _>>>()
    });
    let url = |key: &'static str| fields.read(key, endpoint);
    let server = OAuthServerConfig {
        issuer,
        authorization_url: url("authorization_url"),
        device_url: url("device_url"),
        revocation_url: url("revocation_url"),
    };
    if server.authorization_url.is_some() && token_url.is_none() && server.issuer.is_none() {
        let message = "`authorization_url` needs a `token_url` beside it";
        field.review.add(fields.problem_at_key("authorization_url", message));
    }
    Some(OAuthConfig {
        token_url,
        server,
        redirect_url: fields.read("redirect_url", loopback),
        resource: None,
        client_id: text("client_id"),
        client_secret: secret(&fields, "client_secret"),
        client_in_body: fields
            .read("client_auth", |field| field.one_of(&[("header", false), ("body", true)]))
            .unwrap_or(false),
        scopes: fields.read("scopes", texts).unwrap_or_default(),
        grant,
        parameters: parameters.unwrap_or_default(),
    })
}
