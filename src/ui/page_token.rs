//! The token with which a page of ours proves that it is one. A browser sends the cookie of a session with whatever asks it
//! to; the token must be read from `GET /auth/me`, which only a page of this origin can.

use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::Response;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::auth::session::LoginSession;
use crate::ui::error;

/// Where a page sends it.
pub const HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// Makes the tokens of sessions: every ui with the same `session_key` makes the same.
pub struct PageTokens {
    key: hmac::Key,
}

impl PageTokens {
    /// Takes the key of the cookies.
    pub fn new(session_key: &SecretString) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"fastagency page token v1\0");
        hash.update(session_key.expose_secret().as_bytes());
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &hash.finalize()) }
    }

    /// The token of a session. A renewed session keeps it, another login has another.
    pub fn of(&self, session: &LoginSession) -> String {
        crate::ids::hex(hmac::sign(&self.key, &session.id).as_ref())
    }

    /// Refuses a request that a session's cookie would do something with, if it does not bring the session's token. Reading
    /// needs none, and neither does a socket, whose origin is checked; but one that is brought must fit: it says that a page reads
    /// for the person who opened it, and not for who has signed in since.
    pub fn refuse(&self, session: &LoginSession, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let only_reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if (only_reads && !headers.contains_key(&HEADER)) || self.fits(session, headers) {
            return None;
        }
        let words = if headers.contains_key(&HEADER) {
            "the page belongs to another session; load it again"
        } else {
            "a request with a session cookie needs the header X-CSRF-Token, with the \"csrf\" of GET /auth/me"
        };
        Some(error(StatusCode::FORBIDDEN, "csrf_token", words))
    }

    fn fits(&self, session: &LoginSession, headers: &HeaderMap) -> bool {
        let given = headers.get(&HEADER).and_then(|value| bytes_of(value.as_bytes()));
        given.is_some_and(|given| hmac::verify(&self.key, &session.id, &given).is_ok())
    }
}

/// What hexadecimal digits stand for.
fn bytes_of(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| Some((digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?) as u8);
    (digits.len() == 64).then(|| digits.chunks(2).map(pair).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::session::LoginProof;

    #[test]
    fn a_token_is_for_its_session_alone() {
        let tokens = PageTokens::new(&"key".into());
        let session = || LoginSession::begin(LoginProof::Authorization("x".into()), std::time::Duration::from_secs(9));
        let (one, other) = (session(), session());
        let refused = |method: Method, token: Option<String>| {
            let headers = token.map(|token| (HEADER, token.parse().unwrap()));
            tokens.refuse(&one, &method, &headers.into_iter().collect()).is_some()
        };
        assert!(!refused(Method::POST, Some(tokens.of(&one))));
        assert!(!refused(Method::GET, None) && !refused(Method::HEAD, None));
        let others_key = PageTokens::new(&"another".into()).of(&one);
        for token in [None, Some(tokens.of(&other)), Some(others_key), Some(String::new()), Some("g".repeat(64))] {
            for method in [Method::POST, Method::PATCH, Method::DELETE, Method::PUT] {
                assert!(refused(method, token.clone()), "{token:?}");
            }
            assert_eq!(refused(Method::GET, token.clone()), token.is_some(), "{token:?}");
        }
        let renewed = LoginSession { proof: LoginProof::Authorization("y".into()), ..one.clone() };
        assert_eq!(tokens.of(&renewed), tokens.of(&one));
    }
}
