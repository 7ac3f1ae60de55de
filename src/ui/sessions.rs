//! Who has logged in at this page: the cookies that say it, what the gateway is shown for them, and their end.
//!
//! A browser holds its session, sealed; a script of the page cannot read it, and the gateway never sees it. Kept here is only
//! what cannot be elsewhere: which sessions were ended before their time, and which ID tokens are being renewed.
//!
//! Cookies are read and written here, without the crate `cookie`: ours have one form, of one line, with values in base64, and what
//! is more than a line (sealing, and cutting a large value into pieces) it does not do. Ended sessions are in a map of our own and
//! not in a cache: a cache forgets what is asked for rarely, and an ended session would live again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::auth::oidc::{LoginError, OidcProvider, id_token_end};
use crate::auth::session::{CookieKey, LoginProof, LoginSession, SealPurpose, now};
use crate::auth::{self, origin};
use crate::config;
use crate::lifecycle::Shutdown;
use crate::ui::base_path::BasePath;

/// What a browser surely keeps in one cookie, its name and attributes left aside (RFC 6265, 6.1: 4096 bytes with them).
const LARGEST_COOKIE: usize = 3800;
/// The most pieces of one value: some providers put hundreds of groups into a token.
const MOST_PIECES: usize = 8;
/// How long before its end an ID token is renewed, so that it does not end on its way.
const AHEAD: u64 = 30;
/// How long a renewed token is known by the one before it: requests that were under way still bring that one.
const RENEWED_KNOWN_FOR: Duration = Duration::from_secs(60);
/// Sessions that were ended before their time, at most; of more than that those that would end soonest are forgotten.
const MOST_ENDED: usize = 100_000;

/// How people log in at the page.
#[derive(Debug, Clone)]
pub struct LoginSettings {
    /// What cookies are sealed with.
    pub key: SecretString,
    /// How long a login lasts.
    pub lifetime: Duration,
    /// Where browsers find the page; none: where they say that they found it.
    pub public_url: Option<String>,
    /// The provider where people log in, if there is one.
    pub oidc: Option<config::OidcConfig>,
    /// Whether sessions keep the access tokens of people who log in at the provider, for the gateway to pass on.
    pub keeps_access_tokens: bool,
    /// What cookies were sealed with before: they count until they end.
    pub previous_keys: Vec<SecretString>,
    /// The headers in which a proxy before the page says who calls, and which proxy that is; from elsewhere they are not
    /// passed on.
    pub trusted_header: Option<config::TrustedHeaderConfig>,
}

/// The sessions of this page.
pub struct PageSessions {
    key: CookieKey,
    pub lifetime: Duration,
    public_url: Option<String>,
    base: BasePath,
    pub provider: Option<Arc<OidcProvider>>,
    ended: Mutex<HashMap<[u8; 16], u64>>,
    renewals: Mutex<HashMap<[u8; 32], TokenRenewal>>,
    shutdown: Shutdown,
}

/// What is known of the renewal of one token, by whoever holds the lock.
#[derive(Clone)]
struct TokenRenewal {
    since: Instant,
    outcome: Arc<tokio::sync::Mutex<Option<Result<LoginProof, LoginError>>>>,
}

/// A browser's session at one request.
pub enum SessionState {
    /// It has none.
    None,
    /// It has one; the cookies are to be set anew if it has changed.
    Alive { session: Box<LoginSession>, changed: bool },
    /// It had one, whose cookies are to be removed.
    Over,
    /// It has one that cannot be renewed now.
    Unavailable(String),
}

impl PageSessions {
    /// None yet.
    pub fn new(login: &LoginSettings, shutdown: Shutdown) -> Result<Self, auth::Error> {
        let provider = login.oidc.as_ref().map(OidcProvider::new).transpose()?;
        let provider = provider.map(|provider| Arc::new(provider.keeping_access_tokens(login.keeps_access_tokens)));
        Ok(Self {
            key: CookieKey::new(&login.key).with_previous(&login.previous_keys),
            lifetime: login.lifetime,
            public_url: login.public_url.clone(),
            base: BasePath::of(login.public_url.as_deref()),
            provider,
            ended: Mutex::default(),
            renewals: Mutex::default(),
            shutdown,
        })
    }

    /// Where this browser finds the page, without a slash at the end.
    pub fn address(&self, headers: &HeaderMap) -> String {
        self.public_url.clone().unwrap_or_else(|| {
            let host = origin::host(headers);
            let scheme = if origin::is_loopback(&host) { "http" } else { "https" };
            format!("{scheme}://{host}")
        })
    }

    /// The session of a request, renewed if its time has come.
    pub async fn of(&self, headers: &HeaderMap) -> SessionState {
        let Some(value) = read(headers, &self.name(headers, SealPurpose::Session)) else { return SessionState::None };
        let Some(session) = value.and_then(|value| self.key.open::<LoginSession>(SealPurpose::Session, &value)) else {
            return SessionState::Over;
        };
        if session.is_over() || self.was_ended(&session) {
            return SessionState::Over;
        }
        let LoginProof::Oidc { id_token, fresh_until, refresh_token, .. } = &session.proof else {
            return SessionState::Alive { session: Box::new(session), changed: false };
        };
        let left = fresh_until.saturating_sub(now());
        if left > AHEAD {
            return SessionState::Alive { session: Box::new(session), changed: false };
        }
        let renewed = match (&self.provider, refresh_token) {
            (Some(provider), Some(refresh_token)) => self.renew(provider, refresh_token, id_token).await,
            _ => Err(LoginError::Refused("there is nothing to renew it with".to_owned())),
        };
        match renewed {
            Ok(proof) => SessionState::Alive { session: Box::new(LoginSession { proof, ..session }), changed: true },
            // It still counts for a moment.
            Err(_) if left > 0 => SessionState::Alive { session: Box::new(session), changed: false },
            // Only the access token beside it is over.
            Err(LoginError::Unavailable(_)) if id_token_end(id_token) > now() => {
                SessionState::Alive { session: Box::new(session), changed: false }
            }
            Err(LoginError::Refused(why)) => {
                tracing::info!("a login is over: {why}");
                SessionState::Over
            }
            Err(LoginError::Unavailable(why)) => SessionState::Unavailable(why),
        }
    }

    /// Renews an ID token once, however many requests want it: a provider may take a second use of a token for a theft.
    async fn renew(
        &self,
        provider: &Arc<OidcProvider>,
        refresh_token: &str,
        id_token: &str,
    ) -> Result<LoginProof, LoginError> {
        let renewal = {
            let mut renewals = self.renewals.lock();
            renewals.retain(|_, renewal| renewal.since.elapsed() < RENEWED_KNOWN_FOR);
            let new = || TokenRenewal { since: Instant::now(), outcome: Arc::default() };
            renewals.entry(Sha256::digest(refresh_token).into()).or_insert_with(new).clone()
        };
        let (provider, refresh_token, old) = (provider.clone(), refresh_token.to_owned(), id_token.to_owned());
        // On its own: a browser that goes away must not lose what the provider gives only once.
        let renewing = self.shutdown.run(async move {
            let mut outcome = renewal.outcome.lock().await;
            if let Some(known) = &*outcome {
                return known.clone();
            }
            let renewed = provider.renew(&refresh_token, &old).await.map(LoginProof::from);
            // Who cannot be asked now may be asked again.
            if !matches!(renewed, Err(LoginError::Unavailable(_))) {
                *outcome = Some(renewed.clone());
            }
            renewed
        });
        renewing
            .await
            .unwrap_or_else(|_| Err(LoginError::Unavailable("the renewal did not come to its end".to_owned())))
    }

    /// Ends a request's session before its time: its cookies count no more, wherever they are.
    pub fn end(&self, headers: &HeaderMap) {
        let value = read(headers, &self.name(headers, SealPurpose::Session)).flatten();
        let Some(session) = value.and_then(|value| self.key.open::<LoginSession>(SealPurpose::Session, &value)) else {
            return;
        };
        let mut ended = self.ended.lock();
        if ended.len() >= MOST_ENDED {
            let now = now();
            ended.retain(|_, until| *until > now);
        }
        if ended.len() >= MOST_ENDED {
            // All at once and rarely, not one by one and always.
            let mut ends: Vec<u64> = ended.values().copied().collect();
            let middle = ends.len() / 2;
            let (_, &mut median, _) = ends.select_nth_unstable(middle);
            ended.retain(|_, until| *until > median);
        }
        ended.insert(session.id, session.until);
    }

    fn was_ended(&self, session: &LoginSession) -> bool {
        self.ended.lock().contains_key(&session.id)
    }

    /// The cookies of a session.
    pub fn cookies(&self, headers: &HeaderMap, session: &LoginSession) -> Vec<HeaderValue> {
        self.set(headers, SealPurpose::Session, session, session.until.saturating_sub(now()))
    }

    /// The cookies of something sealed, for so many seconds. Where it is too large, there are none.
    pub fn set(
        &self,
        headers: &HeaderMap,
        purpose: SealPurpose,
        content: &impl Serialize,
        seconds: u64,
    ) -> Vec<HeaderValue> {
        let name = self.name(headers, purpose);
        let sealed = self.key.seal(purpose, content);
        let pieces: Vec<&str> = sealed
            .as_bytes()
            .chunks(LARGEST_COOKIE)
            .map(|piece| std::str::from_utf8(piece).expect("base64 is ASCII"))
            .collect();
        if pieces.len() > MOST_PIECES {
            tracing::error!("a login is too large for cookies ({} bytes): ask for fewer scopes", sealed.len());
            return Vec::new();
        }
        let count = pieces.len();
        let value = |number: usize, piece: &&str| {
            if number == 0 { format!("{count}.{piece}") } else { (*piece).to_owned() }
        };
        let each = pieces.iter().enumerate();
        each.map(|(number, piece)| self.cookie(headers, &piece_name(&name, number), &value(number, piece), seconds))
            .collect()
    }

    /// What a request's cookies of this kind hold.
    pub fn get<T: DeserializeOwned>(&self, headers: &HeaderMap, purpose: SealPurpose) -> Option<T> {
        self.key.open(purpose, &read(headers, &self.name(headers, purpose))??)
    }

    /// Removes the cookies of this kind that a request brings.
    pub fn remove(&self, headers: &HeaderMap, purpose: SealPurpose) -> Vec<HeaderValue> {
        let name = self.name(headers, purpose);
        let there = |number: &usize| find(headers, &piece_name(&name, *number)).is_some();
        let numbers = (0..MOST_PIECES).filter(there);
        numbers.map(|number| self.cookie(headers, &piece_name(&name, number), "", 0)).collect()
    }

    fn cookie(&self, headers: &HeaderMap, name: &str, value: &str, seconds: u64) -> HeaderValue {
        // The prefix of the name demands the path `/`.
        let (path, secure) =
            if self.is_secure(headers) { ("/".to_owned(), "; Secure") } else { (self.base.folder(), "") };
        let text = format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut value = HeaderValue::from_str(&text).expect("base64 is visible ASCII");
        value.set_sensitive(true);
        value
    }

    /// The prefix makes browsers take a cookie only over TLS, and only from this very host (RFC 6265bis, 4.1.3.2). It demands the path
    /// `/`, so the name alone keeps the sessions of two systems below one host apart.
    fn name(&self, headers: &HeaderMap, purpose: SealPurpose) -> String {
        let prefix = if self.is_secure(headers) { "__Host-" } else { "" };
        let name = match purpose {
            SealPurpose::Session => "fastagency",
            SealPurpose::Login => "fastagency_login",
        };
        format!("{prefix}{name}{}", self.base.cookie_suffix())
    }

    /// Whether the page is reached over TLS; only on this machine, or where the configuration says so, it is not.
    fn is_secure(&self, headers: &HeaderMap) -> bool {
        self.address(headers).starts_with("https:")
    }
}

/// A request's headers without our cookies, which are for nobody else.
pub fn without_ours(headers: &mut HeaderMap) {
    let is_ours = |pair: &str| pair.trim_start().trim_start_matches("__Host-").starts_with("fastagency");
    let cookies: Vec<String> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter(|pair| !is_ours(pair))
        .map(|pair| pair.trim().to_owned())
        .collect();
    headers.remove(header::COOKIE);
    if !cookies.is_empty()
        && let Ok(kept) = HeaderValue::from_str(&cookies.join("; "))
    {
        headers.insert(header::COOKIE, kept);
    }
}

fn piece_name(name: &str, number: usize) -> String {
    if number == 0 { name.to_owned() } else { format!("{name}.{number}") }
}

/// A value out of its pieces; `None`: there is none, `Some(None)`: it is not whole.
fn read(headers: &HeaderMap, name: &str) -> Option<Option<String>> {
    let first = find(headers, name)?;
    let whole = || {
        let (count, first) = first.split_once('.')?;
        let count: usize = count.parse().ok().filter(|count| (1..=MOST_PIECES).contains(count))?;
        let mut value = first.to_owned();
        for number in 1..count {
            value.push_str(find(headers, &piece_name(name, number))?);
        }
        Some(value)
    };
    Some(whole())
}

/// The value of a request's cookie.
pub fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}
