//! Sessions of the page: who has logged in, in a cookie that only we can read and that nobody can change
//! (XChaCha20-Poly1305). No server keeps them, so any `ui` with the same key knows each of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const NONCE: usize = 24;
/// An access token longer than this is passed on to nobody.
const LONGEST_TOKEN: usize = 16 * 1024;

/// The header in which the `ui` tells the gateway which session a request belongs to. It can only make a request fail, so
/// nothing is gained by making one up.
pub const HEADER: &str = "x-fastagency-session";
/// The header in which the gateway says the version of the user or key that a caller has proved to be ([`super::Caller`]).
pub const VERSION_HEADER: &str = "x-fastagency-version";

/// The header in which the gateway is given an access token beside an ID token, which says who calls and is for no API: by the `ui`
/// that of a session.
pub const ACCESS_TOKEN_HEADER: &str = "x-fastagency-access-token";

/// The id of a session, or of a token.
pub type SessionId = [u8; 16];

/// What [`HEADER`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSession {
    /// The session.
    pub id: SessionId,
    /// The version of the user or key who logged in; none: not known.
    pub version: Option<String>,
}

impl NamedSession {
    /// Reads the header's text.
    pub fn read(text: &str) -> Option<Self> {
        let (id, version) = text.split_once('.').map_or((text, None), |(id, version)| (id, Some(version.to_owned())));
        Some(Self { id: read_id(id)?, version })
    }

    /// The header's text.
    pub fn text(&self) -> String {
        let id = crate::ids::hex(&self.id);
        self.version.as_ref().map_or(id.clone(), |version| format!("{id}.{version}"))
    }
}

/// An id from its hexadecimal digits.
pub fn read_id(text: &str) -> Option<SessionId> {
    Some(uuid::Uuid::try_parse(text).ok().filter(|_| text.len() == 32)?.into_bytes())
}

/// Somebody who has logged in.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoginSession {
    /// Its own; a renewed session keeps it.
    pub id: SessionId,
    /// When it is over, in seconds since 1970.
    pub until: u64,
    /// What the gateway is shown.
    pub proof: LoginProof,
    /// The version of the user or key who logged in, as the gateway said it; none: it said none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What the gateway is shown for somebody who has logged in.
#[derive(Clone, Serialize, Deserialize)]
pub enum LoginProof {
    /// This, as `Authorization`.
    Authorization(String),
    /// An ID token.
    Oidc {
        /// The token.
        id_token: String,
        /// When it ends, in seconds since 1970.
        fresh_until: u64,
        /// What gets the next one.
        refresh_token: Option<String>,
        /// The access token that came with it; none: nothing here passes one on, or the provider gave none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        access_token: Option<SessionAccessToken>,
    },
}

/// The access token of a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionAccessToken {
    /// The token.
    pub token: String,
    /// When it ends, in seconds since 1970.
    pub until: u64,
}

impl SessionAccessToken {
    /// Reads the text of [`ACCESS_TOKEN_HEADER`]: the end and the token.
    pub fn read(text: &str) -> Option<Self> {
        let (until, token) = text.split_once(' ')?;
        let is_token = (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        Some(Self { token: token.to_owned(), until: until.parse().ok()? }).filter(|_| is_token)
    }

    /// The header's text.
    pub fn text(&self) -> String {
        format!("{} {}", self.until, self.token)
    }
}

/// A token is a secret.
impl std::fmt::Debug for SessionAccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionAccessToken").field("until", &self.until).finish_non_exhaustive()
    }
}

/// A session is a secret whole.
impl std::fmt::Debug for LoginSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("until", &self.until).finish_non_exhaustive()
    }
}

impl LoginSession {
    /// One that begins now.
    pub fn begin(proof: LoginProof, lifetime: Duration) -> Self {
        Self { id: rand::random(), until: now().saturating_add(lifetime.as_secs()), proof, version: None }
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.until <= now()
    }

    /// What the gateway is told of it in [`HEADER`].
    pub fn named(&self) -> NamedSession {
        NamedSession { id: self.id, version: self.version.clone() }
    }

    /// Its access token, if it has one.
    pub fn access_token(&self) -> Option<&SessionAccessToken> {
        match &self.proof {
            LoginProof::Authorization(_) => None,
            LoginProof::Oidc { access_token, .. } => access_token.as_ref(),
        }
    }

    /// Its `Authorization`.
    pub fn authorization(&self) -> String {
        match &self.proof {
            LoginProof::Authorization(value) => value.clone(),
            LoginProof::Oidc { id_token, .. } => format!("Bearer {id_token}"),
        }
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a sealed text is for: one that was made for something else does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealPurpose {
    /// A session.
    Session,
    /// A login that has begun.
    Login,
}

/// Seals cookies, and opens them.
pub struct CookieKey {
    cipher: XChaCha20Poly1305,
    /// Of the keys from before: they only open.
    previous: Vec<XChaCha20Poly1305>,
}

impl CookieKey {
    /// Takes a key: any text.
    pub fn new(key: &SecretString) -> Self {
        Self { cipher: cipher(key), previous: Vec::new() }
    }

    /// Opens what was sealed with these keys, too.
    pub fn with_previous(self, keys: &[SecretString]) -> Self {
        Self { previous: keys.iter().map(cipher).collect(), ..self }
    }

    /// The value of a cookie.
    pub fn seal(&self, purpose: SealPurpose, content: &impl Serialize) -> String {
        let plain = serde_json::to_vec(content).expect("what cookies hold is JSON");
        let nonce: [u8; NONCE] = rand::random();
        let payload = Payload { msg: &plain, aad: about(purpose) };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("a text of this size can be encrypted");
        BASE64_URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    /// What a cookie holds; `None` if it was not sealed for this with this key.
    pub fn open<T: DeserializeOwned>(&self, purpose: SealPurpose, value: &str) -> Option<T> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(value).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let payload = || Payload { msg: sealed, aad: about(purpose) };
        let nonce = XNonce::from(*nonce);
        let mut ciphers = std::iter::once(&self.cipher).chain(&self.previous);
        let plain = ciphers.find_map(|cipher| cipher.decrypt(&nonce, payload()).ok())?;
        crate::bounds::parse(&plain).ok()
    }
}

fn cipher(key: &SecretString) -> XChaCha20Poly1305 {
    let mut hash = Sha256::new();
    hash.update(b"fastagency cookie v1\0");
    hash.update(key.expose_secret().as_bytes());
    XChaCha20Poly1305::new(&hash.finalize())
}

fn about(purpose: SealPurpose) -> &'static [u8] {
    match purpose {
        SealPurpose::Session => b"session",
        SealPurpose::Login => b"login",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_is_read_as_it_was_written_and_is_not_shown() {
        let token = SessionAccessToken { token: "access-1".to_owned(), until: 7 };
        assert_eq!(SessionAccessToken::read(&token.text()), Some(token.clone()));
        for odd in ["", "7", "7 ", "access-1", "x access-1", "7 a b"] {
            assert_eq!(SessionAccessToken::read(odd), None, "{odd}");
        }
        assert!(!format!("{token:?}").contains("access-1"));
    }

    #[test]
    fn a_cookie_opens_only_with_its_key_for_what_it_was_made_and_unchanged() {
        let key = CookieKey::new(&"key".into());
        let session = LoginSession::begin(LoginProof::Authorization("Basic secret".into()), Duration::from_secs(60));
        let value = key.seal(SealPurpose::Session, &session);
        let opened: LoginSession = key.open(SealPurpose::Session, &value).expect("it opens");
        assert_eq!((opened.id, opened.authorization().as_str()), (session.id, "Basic secret"));
        assert!(!opened.is_over() && !value.contains("secret") && !format!("{session:?}").contains("secret"));
        assert!(key.open::<LoginSession>(SealPurpose::Login, &value).is_none());
        assert!(CookieKey::new(&"other".into()).open::<LoginSession>(SealPurpose::Session, &value).is_none());
        for at in 0..value.len() {
            let mut changed = value.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(key.open::<LoginSession>(SealPurpose::Session, &changed).is_none(), "changed at {at}");
        }
        let rotated = CookieKey::new(&"new".into()).with_previous(&["other".into(), "key".into()]);
        assert_eq!(
            rotated.open::<LoginSession>(SealPurpose::Session, &value).map(|session| session.id),
            Some(session.id)
        );
        assert!(
            key.open::<LoginSession>(SealPurpose::Session, &rotated.seal(SealPurpose::Session, &session)).is_none()
        );
        for hostile in ["", "x", "====", &"A".repeat(40), &"A".repeat(100_000)] {
            assert!(key.open::<LoginSession>(SealPurpose::Session, hostile).is_none());
        }
    }
}
