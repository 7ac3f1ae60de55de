//! Connecting to NATS: patient with a server that is not up yet, clear about everything else that can be wrong.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use serde_json::Value;
use tokio::time::Instant;

use super::cleaner::{self, NatsCleaner};
use super::contract::{self, NatsContract};
use super::inbox::NatsInbox;
use super::live::LiveUpdates;
use super::log::NatsLog;
use super::login::{AddressLogin, ConnectionLogin, OpenConnection};
use super::monitor::ConnectionMonitor;
use super::queue::NatsQueue;
use super::server::{NO_JETSTREAM, NatsConnection, patiently};
use super::services::NatsServices;
use super::streams::StreamSetup;
use super::{follow, streams};
use crate::broker::contract::FastAgencyContract;
use crate::broker::run_lists::WholeRunLists;
use crate::broker::{self, Broker, Cleaner};
use crate::config::NatsConfig;
use crate::problem::chain;

/// The oldest server that has what we use: scheduled messages came with it.
const OLDEST: (u64, u64) = (2, 12);
/// How often a server that cannot be reached is tried, and how often that is said.
const TRY_EVERY: Duration = Duration::from_millis(500);
const SAY_EVERY: Duration = Duration::from_secs(5);
/// A dead connection is noticed after two of these. The default of a minute is long for somebody who waits for an answer.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Why there is no connection. URLs are without the password that may have been in them.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("no NATS server can be reached at {url}{}", tried_for(*waited))]
    Unreachable {
        /// Where.
        url: String,
        /// For how long.
        waited: Duration,
        /// What the last try met.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server does not let us in.
    #[error(
        "the NATS server at {url} does not let {who} in: check nats.user and nats.password (or token, nkey_seed_file, credentials_file)"
    )]
    Unauthorized {
        /// Where.
        url: String,
        /// As whom.
        who: String,
    },
    /// The server has no JetStream, or not for this account.
    #[error(
        "the NATS server at {url} has no JetStream for this account ({reason}): start it with -js, or enable it in its configuration"
    )]
    NoJetStream {
        /// Where.
        url: String,
        /// What it said.
        reason: String,
    },
    /// The server is older than what we need.
    #[error("the NATS server at {url} has version {found}, and {}.{} or newer is needed", needed.0, needed.1)]
    TooOld {
        /// Where.
        url: String,
        /// What it is.
        found: String,
        /// What it should be.
        needed: (u64, u64),
    },
    /// The encrypted connection cannot be made.
    #[error("no encrypted connection to the NATS server at {url}: check the certificates and the authority's file")]
    Tls {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: async_nats::ConnectError,
    },
    /// A file with credentials, a seed, a key or a certificate cannot be read.
    #[error("cannot use {}", file.display())]
    Credentials {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The URL is none.
    #[error("{url:?} is not the address of a NATS server (like nats://localhost:4222): {reason}")]
    Url {
        /// What was given.
        url: String,
        /// Why it is none.
        reason: String,
    },
    /// The connection is there, but not what we need on it.
    #[error("the NATS server at {url} cannot be used")]
    Setup {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: broker::Error,
    },
}

fn tried_for(waited: Duration) -> String {
    if waited.is_zero() { String::new() } else { format!(" (tried for {} s)", waited.as_secs()) }
}

/// Connects, waiting for the server for [`NatsConfig::connect_wait`], and makes the streams that are missing, or says that they are,
/// if this login may not. From then on a lost connection is made again for ever. `name`: how this process calls itself in the
/// server's lists.
pub async fn connect(settings: &NatsConfig, name: &str) -> Result<Broker, ConnectError> {
    let setup = |source| ConnectError::Setup { url: shown(&settings.url), source };
    let mut server = usable(settings, name).await?;
    let streams = streams::ensure_all(&server, settings.replicas.max(1)).await.map_err(setup)?;
    server.replicated = streams.first().is_some_and(|runs| runs.replicas > 1);
    let hand = match &settings.cleaner {
        None => None,
        Some(login) => {
            let hand = usable(&settings.with(login), &format!("{name}, cleaner")).await?;
            if !patiently(|| Box::pin(cleaner::may_clean(&hand))).await.map_err(setup)? {
                let reason =
                    "the login of nats.cleaner may not purge: see docs/explanation/broker.md, Permissions".to_owned();
                return Err(setup(broker::Error::Refused { doing: "clean".to_owned(), reason }));
            }
            Some(Arc::new(hand))
        }
    };
    if server.replicated {
        server.hear_elections().await.map_err(setup)?;
    }
    server.may_clean = hand.is_some() || patiently(|| Box::pin(cleaner::may_clean(&server))).await.map_err(setup)?;
    let server = Arc::new(server);
    let cleaner = server.may_clean.then(|| -> Arc<dyn Cleaner> {
        Arc::new(NatsCleaner::new(hand.unwrap_or_else(|| server.clone()), server.clone()))
    });
    let beside_python = match &settings.python {
        // Where each tier has its own login, ours reaches nothing of FastAgency's: then there is none to work beside.
        None => match contract::may_use(&server).await {
            // The stream has one copy, and its server may be away: that is found out later.
            Ok(true) | Err(broker::Error::Unavailable { .. }) => Some(server.clone()),
            Ok(false) => {
                tracing::info!(
                    "FastAgency's Python tiers are not served: this NATS login may not use their stream, and there is no nats.python"
                );
                None
            }
            Err(error) => return Err(setup(error)),
        },
        Some(login) => Some(Arc::new(usable(&settings.with(login), &format!("{name}, Python")).await?)),
    };
    let live = Arc::new(LiveUpdates::new());
    Ok(Broker {
        log: Arc::new(NatsLog { server: server.clone(), live: live.clone() }),
        inbox: Arc::new(NatsInbox { server: server.clone(), live }),
        queue: Arc::new(NatsQueue::new(server.clone())),
        lists: Arc::new(WholeRunLists::new(server.clone())),
        catalogue: server,
        cleaner,
        services: Some(Arc::new(services(settings, name))),
        contract: beside_python.map(|server| -> Arc<dyn FastAgencyContract> { Arc::new(NatsContract::new(server)) }),
    })
}

/// What asks services, with a connection of its own and the login for that.
fn services(settings: &NatsConfig, name: &str) -> NatsServices {
    let settings = match &settings.tools {
        Some(login) => settings.with(login),
        None => settings.clone(),
    };
    let name = format!("{name}, tools");
    NatsServices::new(Box::new(move || {
        let (settings, name) = (settings.clone(), name.clone());
        Box::pin(async move { open(&settings, &name).await.map(NatsConnection::new).map_err(|error| chain(&error)) })
    }))
}

/// Makes every stream that is missing and updates every one that is not as it should be: ours, and those of FastAgency as its
/// Python worker makes them.
pub async fn set_up(settings: &NatsConfig, name: &str) -> Result<Vec<StreamSetup>, ConnectError> {
    let setup = |source| ConnectError::Setup { url: shown(&settings.url), source };
    let server = usable(settings, name).await?;
    let mut done = streams::ensure_all(&server, settings.replicas.max(1)).await.map_err(setup)?;
    let python = match &settings.python {
        None => server,
        Some(login) => usable(&settings.with(login), name).await?,
    };
    done.extend(contract::ensure_all(&python).await.map_err(setup)?);
    Ok(done)
}

/// A connection to a server that has what we need.
async fn usable(settings: &NatsConfig, name: &str) -> Result<NatsConnection, ConnectError> {
    let opened = open(settings, name).await?;
    let url = shown(&settings.url);
    check_version(&opened.client, &url)?;
    let server = NatsConnection::new(opened);
    check_jetstream(&server, &url).await?;
    Ok(server)
}

/// Opens the connection, trying again while nobody answers.
pub(super) async fn open(settings: &NatsConfig, name: &str) -> Result<OpenConnection, ConnectError> {
    // Another part of the program may have chosen it already; it chooses the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = shown(&settings.url);
    let addresses = addresses(&settings.url)?;
    let start = Instant::now();
    let mut said: Option<Instant> = None;
    let login = Arc::new(ConnectionLogin::new(settings, login_in(&addresses)));
    loop {
        let monitor = ConnectionMonitor::new();
        let source = match options(settings, name, &monitor, &login).await?.connect(addresses.clone()).await {
            Ok(client) => {
                monitor.watch(&client);
                return Ok(OpenConnection { client, monitor, login });
            }
            Err(source) => source,
        };
        match source.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                return Err(ConnectError::Unauthorized { url, who: who(settings) });
            }
            ConnectErrorKind::ServerParse => return Err(ConnectError::Url { url, reason: source.to_string() }),
            _ if is_about_tls(&source) => return Err(ConnectError::Tls { url, source }),
            _ if start.elapsed() + TRY_EVERY >= settings.connect_wait => {
                return Err(ConnectError::Unreachable { url, waited: settings.connect_wait, source });
            }
            _ => {}
        }
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            tracing::warn!(%url, error = %source, "no NATS server can be reached yet; still trying");
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

async fn options(
    settings: &NatsConfig,
    name: &str,
    monitor: &Arc<ConnectionMonitor>,
    login: &Arc<ConnectionLogin>,
) -> Result<ConnectOptions, ConnectError> {
    let events = monitor.clone();
    // What cannot be used is found out now, and is an error of its file; later the server says what it refuses.
    let file_error = |(file, source)| ConnectError::Credentials { file, source };
    login.check().map_err(file_error)?;
    let mut options = match login.is_given() {
        false => ConnectOptions::new(),
        true => {
            let login = login.clone();
            ConnectOptions::with_auth_callback(move |nonce| {
                let login = login.clone();
                async move { login.answer(nonce).await }
            })
        }
    };
    options = options
        .name(name)
        .ping_interval(PING_EVERY)
        .subscription_capacity(follow::CAPACITY)
        .max_reconnects(None)
        .require_tls(settings.tls.required)
        .event_callback(move |event| {
            let events = events.clone();
            async move { events.heard(&event) }
        });
    if let Some(prefix) = inbox_prefix(settings) {
        options = options.custom_inbox_prefix(prefix);
    }
    let tls = &settings.tls;
    for file in [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten() {
        // async-nats reads them with each connection; that they can be read is found out now.
        read(file).await?;
    }
    if let Some(file) = &tls.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    Ok(options)
}

/// Where the answers to a user come: a place of its own within `_INBOX.>`, so that each tier's login can be kept from hearing
/// the answers to others.
fn inbox_prefix(settings: &NatsConfig) -> Option<String> {
    let user = settings.user.as_ref()?;
    let fits = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    fits.then(|| format!("_INBOX.{user}"))
}

/// The login in the first address that has one, as NATS's own tools read it: a name alone is a token. async-nats takes an
/// address's host and port only.
fn login_in(addresses: &[ServerAddr]) -> Option<AddressLogin> {
    let plain = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    addresses.iter().find_map(|address| {
        let user = address.username().filter(|user| !user.is_empty())?;
        Some(match address.password() {
            Some(password) => AddressLogin::User(plain(user), plain(password).into()),
            None => AddressLogin::Token(plain(user).into()),
        })
    })
}

async fn read(file: &PathBuf) -> Result<String, ConnectError> {
    tokio::fs::read_to_string(file).await.map_err(|source| ConnectError::Credentials { file: file.clone(), source })
}

fn addresses(urls: &str) -> Result<Vec<ServerAddr>, ConnectError> {
    let parse = |url: &str| -> Result<ServerAddr, ConnectError> {
        let wrong = |reason: String| ConnectError::Url { url: shown(url), reason };
        let address: ServerAddr = url.parse().map_err(|source: std::io::Error| wrong(source.to_string()))?;
        if address.is_websocket() {
            return Err(wrong("WebSocket addresses are not supported".to_owned()));
        }
        if address.host().is_empty() {
            return Err(wrong("it names no host".to_owned()));
        }
        Ok(address)
    };
    urls.split(',').map(str::trim).map(parse).collect()
}

/// The URL as it may be shown: without a user and a password.
pub(super) fn shown(urls: &str) -> String {
    let one = |url: &str| match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &url[..scheme + 3], &url[at + 1..]),
        (None, Some(at)) => url[at + 1..].to_owned(),
        _ => url.to_owned(),
    };
    urls.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
}

fn who(settings: &NatsConfig) -> String {
    match &settings.user {
        Some(user) => format!("the user {user:?}"),
        None if settings.token.is_some() => "this token".to_owned(),
        None if settings.url.contains('@') => "the user in the URL".to_owned(),
        None if settings.nkey_seed_file.is_some() => "this nkey".to_owned(),
        None if settings.credentials_file.is_some() => "these credentials".to_owned(),
        None => "us".to_owned(),
    }
}

/// Whether the failure is one of the handshake. async-nats passes some of them on as plain I/O.
fn is_about_tls(error: &async_nats::ConnectError) -> bool {
    if error.kind() == ConnectErrorKind::Tls {
        return true;
    }
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(super) fn check_version(client: &Client, url: &str) -> Result<(), ConnectError> {
    let found = client.server_info().version;
    if version(&found).is_some_and(|version| version >= OLDEST) {
        return Ok(());
    }
    Err(ConnectError::TooOld { url: url.to_owned(), found, needed: OLDEST })
}

fn version(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(super) async fn check_jetstream(server: &NatsConnection, url: &str) -> Result<(), ConnectError> {
    let doing = "ask for JetStream";
    // Asked by hand: here "nobody answers" means something else than later.
    const INFO: &str = "$JS.API.INFO";
    let asked = server.answered(doing, INFO, server.client.request(INFO, Default::default()));
    let none = |reason: String| ConnectError::NoJetStream { url: url.to_owned(), reason };
    let setup = |source| ConnectError::Setup { url: url.to_owned(), source };
    match asked.await {
        Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
            return Err(none("nothing answers".to_owned()));
        }
        Ok(Err(error)) => return Err(setup(super::server::unavailable(doing, error))),
        Err(error @ broker::Error::Denied { .. }) => return Err(setup(error)),
        Ok(Ok(_)) | Err(_) => {}
    }
    match patiently(|| Box::pin(server.api::<Value>(doing, "INFO".to_owned(), &Value::Null))).await.map_err(setup)? {
        Ok(_) => Ok(()),
        Err(error) if NO_JETSTREAM.contains(&error.err_code) => Err(none(error.description)),
        Err(error) => Err(setup(error.into_broker(doing))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_password() {
        assert_eq!(shown("nats://u:p@h:4222"), "nats://h:4222");
        assert_eq!(shown("u:p@h, tls://t@k"), "h,tls://k");
        assert_eq!(shown("nats://h:4222"), "nats://h:4222");
    }

    #[test]
    fn odd_urls_are_refused_with_a_reason() {
        for bad in ["http://h", "ws://h", "nats://", "", "nats://h,ftp://k"] {
            assert!(matches!(addresses(bad), Err(ConnectError::Url { .. })), "{bad:?}");
        }
        assert_eq!(addresses("h, nats://k:1").map(|found| found.len()).unwrap_or(0), 2);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(version("2.12.0") >= Some(OLDEST));
        assert!(version("2.100.0-dev") >= Some(OLDEST));
        assert!(version("2.9.10") < Some(OLDEST));
        assert_eq!(version("new"), None);
    }
}
