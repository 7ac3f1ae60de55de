//! `ui:`: the page.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::fields::{base_url, host, long_secret, none_of_zero, path, port, secrets};
use super::gateway::CallerLimits;
use super::shapes::{LINK, UI, UI_LIMITS};
use crate::yaml::FieldReader;

/// Where paths of the page begin. Below one of these it could not be told whether a proxy has removed the path that the page is below.
pub const PATHS_OF_THE_PAGE: [&str; 10] =
    ["admin", "api", "assets", "auth", "docs", "healthz", "inbox", "openapi.json", "readyz", "runs"];

/// `ui:`.
#[derive(Debug, Clone)]
pub struct UiConfig {
    /// The address it listens on (default 127.0.0.1).
    pub host: IpAddr,
    /// Its port (default 8888).
    pub port: u16,
    /// Whether the configuration says where it listens.
    pub is_placed: bool,
    /// The page's title (default: the project's name).
    pub title: String,
    /// A picture beside the title.
    pub logo: Option<PathBuf>,
    /// A style sheet that is applied after the page's own.
    pub css: Option<PathBuf>,
    /// A sentence below everything.
    pub footer: Option<String>,
    /// Links below everything: their words and addresses.
    pub links: Vec<(String, String)>,
    /// The origins of the sites that may show the page in a frame.
    pub embed_in: Vec<String>,
    /// Where the gateway is (default: `http://127.0.0.1:8008`).
    pub gateway_url: String,
    /// Where browsers find the page, with the path that it is below, and without a slash at the end (default: what a request says).
    pub public_url: Option<String>,
    /// What the cookies of logins are sealed with; none: a key of this machine's own.
    pub session_key: Option<SecretString>,
    /// What they were sealed with before: those cookies count until they end.
    pub previous_session_keys: Vec<SecretString>,
    /// How long a login lasts (default 12 h).
    pub session_lifetime: Duration,
    /// How many connections it takes.
    pub limits: UiLimits,
}

/// `ui.limits:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UiLimits {
    /// Connections at once, in all.
    pub connections: Option<u32>,
    /// Connections of one address at once, believed proxies left aside.
    pub connections_per_address: Option<u32>,
}

impl Default for UiLimits {
    fn default() -> Self {
        let CallerLimits { connections, connections_per_address, .. } = CallerLimits::ONLY_CONNECTIONS;
        Self { connections, connections_per_address }
    }
}

pub(super) fn ui(field: &FieldReader<'_>, folder: &Path, name: &str, gateway_port: u16) -> Option<UiConfig> {
    let fields = field.fields(&UI)?;
    let default = default_ui(name, gateway_port);
    let (host, port) = (fields.read("host", host), fields.read("port", port));
    Some(UiConfig {
        host: host.unwrap_or(default.host),
        port: port.unwrap_or(default.port),
        is_placed: host.is_some() || port.is_some(),
        title: fields.read("title", FieldReader::text).map_or(default.title, str::to_owned),
        logo: path(&fields, "logo", folder),
        css: path(&fields, "css", folder),
        footer: fields.read("footer", FieldReader::text).map(str::to_owned),
        links: fields.read("links", |field| Some(field.items()?.iter().filter_map(link).collect())).unwrap_or_default(),
        embed_in: fields
            .read("embed_in", |field| Some(field.items()?.iter().filter_map(origin).collect()))
            .unwrap_or_default(),
        gateway_url: fields.read("gateway_url", base_url).unwrap_or(default.gateway_url),
        public_url: fields.read("public_url", public_url),
        session_key: long_secret(&fields, "session_key"),
        previous_session_keys: secrets(&fields, "previous_session_keys"),
        session_lifetime: fields.read("session_lifetime", FieldReader::duration).unwrap_or(default.session_lifetime),
        limits: fields.read("limits", ui_limits).unwrap_or_default(),
    })
}
/// The page where nothing is configured.
pub(super) fn default_ui(name: &str, gateway_port: u16) -> UiConfig {
    UiConfig {
        host: Ipv4Addr::LOCALHOST.into(),
        port: 8888,
        is_placed: false,
        title: name.to_owned(),
        logo: None,
        css: None,
        footer: None,
        links: Vec::new(),
        embed_in: Vec::new(),
        gateway_url: format!("http://127.0.0.1:{gateway_port}"),
        public_url: None,
        session_key: None,
        previous_session_keys: Vec::new(),
        session_lifetime: Duration::from_secs(12 * 3600),
        limits: UiLimits::default(),
    }
}

fn ui_limits(field: &FieldReader<'_>) -> Option<UiLimits> {
    let fields = field.fields(&UI_LIMITS)?;
    let usual = UiLimits::default();
    let per_address = fields.read("connections_per_address", |field| field.whole(0));
    Some(UiLimits {
        connections: fields.read("connections", |field| field.whole(1)).or(usual.connections),
        connections_per_address: per_address.map_or(usual.connections_per_address, none_of_zero),
    })
}

/// A link of the page. What runs something (`javascript:`) is none.
fn link(field: &FieldReader<'_>) -> Option<(String, String)> {
    let fields = field.fields(&LINK)?;
    let title = fields.read("title", FieldReader::text)?.to_owned();
    let url = fields.read("url", |field| {
        let url = field.text()?;
        let fits = ["https://", "http://", "mailto:", "/"].iter().any(|start| url.starts_with(start));
        if fits { Some(url.to_owned()) } else { field.is_not("an address that begins with https://, mailto: or /") }
    })?;
    Some((title, url))
}

/// A site, as a content security policy names it: nothing in it may end the directive that it becomes part of.
fn origin(field: &FieldReader<'_>) -> Option<String> {
    let text = field.text()?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = host.is_some_and(|host| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '*'))
    });
    if fits {
        Some(text.to_owned())
    } else {
        field.is_not("a site such as https://intranet.example.org, without a path")
    }
}

/// The page's own address: an origin, and the path that the page is below, if there is one. Browsers take hosts without their case.
fn public_url(field: &FieldReader<'_>) -> Option<String> {
    let url = base_url(field)?;
    let (scheme, rest) = url.split_once("://")?;
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let is_segment = |segment: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(fits)
    };
    if host.is_empty() || host.contains(['?', '#', '@']) || !path.split('/').skip(1).all(is_segment) {
        return field.is_not("an address like https://chat.example.com or https://example.com/agents");
    }
    let first = path.split('/').nth(1).unwrap_or_default();
    if PATHS_OF_THE_PAGE.contains(&first) {
        field.note(format!("the page has a path /{first} of its own; put it below another one"));
        return None;
    }
    Some(format!("{scheme}://{}{path}", host.to_ascii_lowercase()))
}
