//! The login of a connection, read anew each time that one is made: files with credentials, seeds and passwords may change while
//! the program runs. A `.creds` file says until when its login holds; before that ends, the connection is made again with the
//! next one ([`LoginRenewal`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Auth, AuthError, Client};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::monitor::ConnectionMonitor;
use crate::config::{NatsConfig, NatsSecret};

/// How often a file of credentials is looked at that ends soon: so many times in what it has left.
const LOOKS: u32 = 10;
const SHORTEST_LOOK: Duration = Duration::from_millis(500);
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// How long what has been asked may take to be answered, and the connection to be made again.
const RENEWAL_WAIT: Duration = Duration::from_secs(5);

/// A connection as it is opened.
pub(super) struct OpenConnection {
    /// async-nats' handle.
    pub(super) client: Client,
    /// Hears what happens to it.
    pub(super) monitor: Arc<ConnectionMonitor>,
    /// Who connected.
    pub(super) login: Arc<ConnectionLogin>,
}

/// Who connects, as the configuration says it.
pub(super) struct ConnectionLogin {
    settings: NatsConfig,
    /// What the address says, where nothing else does.
    in_address: Option<AddressLogin>,
    /// The credentials that were used last.
    used: Mutex<Option<NatsCredentials>>,
}

/// What an address says about who connects.
#[derive(Clone)]
pub(super) enum AddressLogin {
    /// `user:password@`.
    User(String, SecretString),
    /// `token@`.
    Token(SecretString),
}

/// What a `.creds` file holds.
#[derive(Clone)]
struct NatsCredentials {
    /// The signed claims of the user.
    jwt: String,
    seed: SecretString,
    /// Until when they hold, in seconds since 1970; none: for ever.
    expiry: Option<i64>,
}

/// The only claim that we read.
#[derive(Deserialize)]
struct ExpiryClaim {
    #[serde(default)]
    exp: Option<i64>,
}

impl ConnectionLogin {
    /// For these settings.
    pub(super) fn new(settings: &NatsConfig, in_address: Option<AddressLogin>) -> Self {
        Self { settings: settings.clone(), in_address, used: Mutex::new(None) }
    }

    /// Whether there is anything to log in with.
    pub(super) fn is_given(&self) -> bool {
        let NatsConfig { user, token, nkey_seed_file, credentials_file, .. } = &self.settings;
        let is_set = user.is_some() || token.is_some() || nkey_seed_file.is_some() || credentials_file.is_some();
        is_set || self.in_address.is_some()
    }

    /// What the server is told, for its `nonce`. The error is a sentence without secrets.
    pub(super) fn auth(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        if let Some(user) = &self.settings.user {
            auth.username = Some(user.clone());
            auth.password = Some(self.settings.password.as_ref().map(current).unwrap_or_default());
        } else {
            match &self.in_address {
                Some(AddressLogin::User(user, password)) => {
                    auth.username = Some(user.clone());
                    auth.password = Some(password.expose_secret().to_owned());
                }
                Some(AddressLogin::Token(token)) => auth.token = Some(token.expose_secret().to_owned()),
                None => {}
            }
        }
        if let Some(token) = &self.settings.token {
            auth.token = Some(current(token));
        }
        if let Some(file) = &self.settings.nkey_seed_file {
            let seed = SecretString::from(read(file)?);
            let (public, signature) = signed(seed.expose_secret().trim(), nonce, file)?;
            (auth.nkey, auth.signature) = (Some(public), Some(signature));
        }
        if let Some(file) = &self.settings.credentials_file {
            let credentials = NatsCredentials::parse(&read(file)?, file)?;
            let (_, signature) = signed(credentials.seed.expose_secret(), nonce, file)?;
            (auth.jwt, auth.signature) = (Some(credentials.jwt.clone()), Some(signature));
            *self.used.lock() = Some(credentials);
        }
        Ok(auth)
    }

    /// What the server is told; files are read on a thread that may wait.
    pub(super) async fn answer(self: Arc<Self>, nonce: Vec<u8>) -> Result<Auth, AuthError> {
        let auth = tokio::task::spawn_blocking(move || self.auth(&nonce));
        auth.await.map_err(AuthError::new)?.map_err(AuthError::new)
    }

    /// Whether the files can be read and hold what they should; else the file, and why not.
    pub(super) fn check(&self) -> Result<(), (PathBuf, io::Error)> {
        let settings = &self.settings;
        for file in [&settings.nkey_seed_file, &settings.credentials_file].into_iter().flatten() {
            let unusable = |error| (file.clone(), error);
            std::fs::read_to_string(file).map_err(unusable)?;
            self.auth(b"").map_err(|why| unusable(io::Error::new(io::ErrorKind::InvalidData, why)))?;
        }
        Ok(())
    }

    /// How long the present login holds; none: for ever.
    fn left(&self) -> Option<Duration> {
        let expiry = self.used.lock().as_ref()?.expiry?;
        Some(Duration::from_secs(u64::try_from(expiry - jiff::Timestamp::now().as_second()).unwrap_or(0)))
    }

    /// Whether the file holds credentials that hold longer than those in use.
    fn has_next(&self) -> bool {
        let Some(file) = &self.settings.credentials_file else { return false };
        let Ok(next) = read(file).and_then(|text| NatsCredentials::parse(&text, file)) else { return false };
        let used = self.used.lock();
        used.as_ref().is_some_and(|used| match (used.expiry, next.expiry) {
            (Some(used), Some(next)) => next > used,
            (Some(_), None) => true,
            (None, _) => false,
        })
    }
}

/// Makes the connection again as soon as the file holds credentials that hold longer. Nothing that is asked fails by it: what
/// has been asked is answered first, and what comes meanwhile waits.
pub(super) struct LoginRenewal {
    pub(super) client: Client,
    pub(super) monitor: Arc<ConnectionMonitor>,
    pub(super) login: Arc<ConnectionLogin>,
    /// Held by all that waits for an answer.
    pub(super) gate: Arc<tokio::sync::RwLock<()>>,
}

impl LoginRenewal {
    /// Never ends.
    pub(super) async fn run(self) {
        loop {
            let look = self.login.left().map_or(LONGEST_LOOK, |left| (left / LOOKS).clamp(SHORTEST_LOOK, LONGEST_LOOK));
            tokio::time::sleep(look).await;
            let login = self.login.clone();
            let has_next = tokio::task::spawn_blocking(move || login.left().is_some() && login.has_next());
            if has_next.await.unwrap_or(false) {
                self.renew().await;
            }
        }
    }

    async fn renew(&self) {
        let mut connections = self.monitor.connections.subscribe();
        connections.borrow_and_update();
        let Ok(_closed) = tokio::time::timeout(RENEWAL_WAIT, self.gate.write()).await else { return };
        tracing::info!("the NATS login ends soon; the connection is made again with the next one");
        self.monitor.expect_loss();
        if self.client.force_reconnect().await.is_ok() {
            // If it takes longer, what waits says so.
            let _ = tokio::time::timeout(RENEWAL_WAIT, connections.changed()).await;
        }
    }
}

/// A secret as it is now: what its file holds, or, if that cannot be read just now, what it held at the start.
fn current(secret: &NatsSecret) -> String {
    let Some(file) = &secret.file else { return secret.value.expose_secret().to_owned() };
    match std::fs::read_to_string(file) {
        Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
        Err(_) => secret.value.expose_secret().to_owned(),
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

/// The public key of a seed, and what it signs.
fn signed(seed: &str, nonce: &[u8], file: &Path) -> Result<(String, Vec<u8>), String> {
    // The library's own words may repeat what it was given.
    let unusable = || format!("{} holds no nkey seed (it begins with SU)", file.display());
    let pair = nkeys::KeyPair::from_seed(seed).map_err(|_| unusable())?;
    let signature = pair.sign(nonce).map_err(|_| unusable())?;
    Ok((pair.public_key(), signature))
}

impl NatsCredentials {
    /// Reads a `.creds` file as NATS's tools write it: the user's JWT and the seed, each between two lines of dashes.
    fn parse(text: &str, file: &Path) -> Result<Self, String> {
        let block = |name: &str| {
            let mut lines = text.lines().map(str::trim);
            lines.find(|line| line.starts_with("-----BEGIN") && line.contains(name))?;
            lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with("---"))
        };
        let (Some(jwt), Some(seed)) = (block("NATS USER JWT"), block("USER NKEY SEED")) else {
            return Err(format!(
                "{} is no file of NATS credentials: it lacks a NATS USER JWT or a USER NKEY SEED",
                file.display()
            ));
        };
        Ok(Self { jwt: jwt.to_owned(), seed: seed.to_owned().into(), expiry: expiry(jwt) })
    }
}

/// When a token ends. What cannot be read is left to the server, which says what is wrong with it.
fn expiry(jwt: &str) -> Option<i64> {
    let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    crate::bounds::parse::<ExpiryClaim>(&claims).ok()?.exp.filter(|exp| *exp > 0)
}
