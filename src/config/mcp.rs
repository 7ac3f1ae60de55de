//! `mcp:`: servers of the Model Context Protocol whose tools workflows may call. A worker starts the programs that stand here and
//! no others: workflows, which other workers may have announced, only name them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::fields::path;
use super::secrets::{self, OAuthConfig};
use super::shapes::MCP_SERVER;
use crate::ids::Name;
use crate::yaml::{FieldReader, MapReader};

/// How long a server may take without a sign of life unless it is said.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long a call may take in all unless it is said.
const TOTAL: Duration = Duration::from_secs(10 * 60);

/// Headers that the connection and the protocol set themselves.
const SET_BY_US: [&str; 12] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
    "upgrade",
];

/// One of `mcp:`.
#[derive(Debug, Clone)]
pub struct McpServerConfig {
    /// How it is reached.
    pub reach: McpReach,
    /// How long it may take without a sign of life (default 60 s).
    pub timeout: Duration,
    /// How long a call may take in all (default 10 min).
    pub total: Duration,
    /// The tools that workflows may call, by the server's names; none: all.
    pub only: Vec<String>,
    /// The revision of the protocol; none: the newest that both speak, found out by asking.
    pub protocol: Option<McpRevision>,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum McpReach {
    /// It is a program, which the worker starts.
    Command(McpCommand),
    /// It is at an address.
    Address(McpAddress),
}

/// A server that the worker starts.
#[derive(Debug, Clone)]
pub struct McpCommand {
    /// The program, by its name on `PATH` or its path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What its environment holds besides `PATH`, `HOME`, `LANG` and `TMPDIR`.
    pub environment: BTreeMap<String, SecretString>,
    /// Where it is started.
    pub folder: PathBuf,
}

/// A server at an address.
#[derive(Debug, Clone)]
pub struct McpAddress {
    /// Where it is. Its query may hold a secret.
    pub url: SecretString,
    /// The headers of each request.
    pub headers: BTreeMap<String, SecretString>,
    /// The token of each request.
    pub credential: Option<McpCredential>,
}

/// Where the token comes from that a server is shown.
#[derive(Debug, Clone)]
pub enum McpCredential {
    /// It is one of `secrets:`.
    Secret(String),
    /// A server gives it.
    OAuth(Box<OAuthConfig>),
}

impl McpAddress {
    /// How a token is asked for, if it is.
    pub fn oauth(&self) -> Option<&OAuthConfig> {
        match &self.credential {
            Some(McpCredential::OAuth(oauth)) => Some(oauth),
            _ => None,
        }
    }
}

/// A revision of the protocol, of those that differ in how a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpRevision {
    /// 2026-07-28: no session, a question is the result of a call.
    Stateless,
    /// 2025-11-25 and older: a session, in which the server asks, too.
    Session,
}

impl McpRevision {
    /// Both by their names.
    pub const ALL: [(&'static str, Self); 2] = [("2026-07-28", Self::Stateless), ("2025-11-25", Self::Session)];
}

/// Servers by name. Relative paths are relative to the folder.
pub(super) fn servers(field: &FieldReader<'_>, folder: &Path) -> Option<BTreeMap<Name, McpServerConfig>> {
    let read = |(name, _, field): (Name, _, FieldReader<'_>)| Some((name, server(&field, folder)?));
    Some(field.named_entries()?.into_iter().filter_map(read).collect())
}

fn server(field: &FieldReader<'_>, folder: &Path) -> Option<McpServerConfig> {
    let fields = field.fields(&MCP_SERVER)?;
    let command = fields.read("command", texts);
    let url = fields.read("url", address);
    let environment = fields.read("env", environment).unwrap_or_default();
    let headers = fields.read("headers", headers).unwrap_or_default();
    let secret = fields.read("auth", |field| Some(McpCredential::Secret(field.text()?.to_owned())));
    let oauth = fields.read("oauth", |field| secrets::oauth(field, "authorization_code"));
    let start = path(&fields, "folder", folder).unwrap_or_else(|| folder.to_owned());
    let (timeout, total) = (fields.read("timeout", time), fields.read("total", time));
    let only = fields.read("only", texts).unwrap_or_default();
    let protocol = fields.read("protocol", |field| field.one_of(&McpRevision::ALL));
    if !belongs_together(&fields) {
        return None;
    }
    let reach = match (command, url) {
        (Some(words), _) => {
            let mut words = words.into_iter();
            let program = words.next()?;
            let arguments = words.collect();
            McpReach::Command(McpCommand { program, arguments, environment, folder: start })
        }
        (None, url) => {
            let url = url?;
            let oauth =
                oauth.map(|oauth| McpCredential::OAuth(Box::new(OAuthConfig { resource: resource(&url), ..oauth })));
            McpReach::Address(McpAddress { url, headers, credential: secret.or(oauth) })
        }
    };
    Some(McpServerConfig { reach, timeout: timeout.unwrap_or(TIMEOUT), total: total.unwrap_or(TOTAL), only, protocol })
}

/// Whether the keys say one way to reach the server; what is wrong with them is noted.
fn belongs_together(fields: &MapReader<'_>) -> bool {
    let has = |key| fields.get(key).is_some();
    match (has("command"), has("url")) {
        (false, false) => {
            let hint = "write `command: [npx, some-server]` or `url: https://mcp.example.com/mcp`";
            fields.field.note_with_hint("a server has a `command` or a `url`", hint);
            return false;
        }
        (true, true) => {
            let message = "a server has a `command` or a `url`, and not both";
            fields.field.review.add(fields.problem_at_key("url", message));
            return false;
        }
        _ => {}
    }
    let (kind, others): (_, &[&'static str]) =
        if has("url") { ("url", &["env", "folder"]) } else { ("command", &["headers", "auth", "oauth"]) };
    for key in others.iter().copied().filter(|key| has(key)) {
        let message = format!("{key:?} says nothing of a server with a `{kind}`");
        fields.field.review.add(fields.problem_at_key(key, message));
    }
    let of_header =
        fields.get("headers").filter(FieldReader::is_map).and_then(|field| field.entries()).into_iter().flatten();
    let names_token = of_header.into_iter().any(|(entry, _)| entry.key.eq_ignore_ascii_case("authorization"));
    let given = [("headers", names_token), ("auth", has("auth")), ("oauth", has("oauth"))];
    let mut given = given.into_iter().filter(|(_, is_given)| *is_given);
    if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
        let message = format!("`{first}` says already what the server is shown");
        fields.field.review.add(fields.problem_at_key(second, message));
    }
    true
}

/// What a token for a server is for: its address without what it asks (RFC 8707).
fn resource(url: &SecretString) -> Option<Url> {
    let mut url = Url::parse(url.expose_secret()).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

/// A list of texts with something in it.
fn texts(field: &FieldReader<'_>) -> Option<Vec<String>> {
    let items = field.items()?;
    let texts: Option<Vec<_>> = items.iter().map(|field| field.text().map(str::to_owned)).collect();
    match texts {
        Some(texts) if texts.first().is_none_or(String::is_empty) => field.is_not("a list with something in it"),
        texts => texts,
    }
}

fn time(field: &FieldReader<'_>) -> Option<Duration> {
    let time = field.duration()?;
    if time.is_zero() { field.is_not("a time longer than zero") } else { Some(time) }
}

fn address(field: &FieldReader<'_>) -> Option<SecretString> {
    let text = field.text()?;
    match Url::parse(text) {
        Ok(url) if url.username().is_empty() && url.password().is_none() && url.has_host() => match url.scheme() {
            "http" | "https" => Some(url.to_string().into()),
            _ => field.is_not("an address that begins with https:// or http://"),
        },
        Ok(url) if url.has_host() => {
            let hint = "write a header: headers: { Authorization: \"Bearer ${TOKEN}\" }";
            field.note_with_hint("an address holds no user and no password", hint);
            None
        }
        _ => field.is_not("the address of a server, like https://mcp.example.com/mcp"),
    }
}

fn environment(field: &FieldReader<'_>) -> Option<BTreeMap<String, SecretString>> {
    let mut variables = BTreeMap::new();
    for (entry, value) in field.entries()? {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            value.note(format!("{:?} is no name of a variable", entry.key));
            continue;
        }
        variables.extend(value.text().map(|text| (entry.key.clone(), text.to_owned().into())));
    }
    Some(variables)
}

fn headers(field: &FieldReader<'_>) -> Option<BTreeMap<String, SecretString>> {
    let mut headers = BTreeMap::new();
    for (entry, value) in field.entries()? {
        let key = entry.key.to_ascii_lowercase();
        if HeaderName::try_from(key.as_str()).is_err() {
            value.note(format!("{:?} is no name of a header", entry.key));
        } else if SET_BY_US.contains(&key.as_str()) || key.starts_with("mcp-param-") {
            value.note(format!("the header {} is set by the connection itself", entry.key));
        } else if let Some(text) = value.text() {
            if HeaderValue::from_str(text.trim()).is_err() {
                value.note(format!("the header {} would hold a character that no header holds", entry.key));
            }
            headers.insert(entry.key.clone(), text.trim().to_owned().into());
        }
    }
    Some(headers)
}
