//! The one-time link with which an operator proves, where `auth.mode` is none, to be the one who started the process. Its
//! code is exchanged once for a token, which counts as long as the process lives; only the process knows both.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

/// The link of one process.
pub struct AdminLink {
    code: String,
    token: String,
    used: AtomicBool,
}

impl AdminLink {
    /// A new one.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let made = || crate::ids::hex(&rand::random::<[u8; 32]>());
        Self { code: made(), token: made(), used: AtomicBool::new(false) }
    }

    /// What the link holds.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What its code is exchanged for.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The token for the code, once.
    pub fn redeem(&self, code: &str) -> Option<&str> {
        let is_first = is_same(code, &self.code) && !self.used.swap(true, Ordering::Relaxed);
        is_first.then_some(self.token.as_str())
    }

    /// Whether a request shows the token (`Authorization: Bearer …`).
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = value.and_then(|value| value.split_once(' ')).filter(|(way, _)| way.eq_ignore_ascii_case("bearer"));
        shown.is_some_and(|(_, token)| is_same(token.trim(), &self.token))
    }
}

/// Compares digests: how soon they differ says nothing about the texts.
fn is_same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_counts_once_and_its_token_as_long_as_the_process_lives() {
        let link = AdminLink::new();
        let bearer =
            |token: &str| HeaderMap::from_iter([(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
        assert_eq!(link.redeem("something else"), None);
        assert_eq!(link.redeem(&AdminLink::new().code), None, "another process's");
        let token = link.redeem(&link.code).expect("it is the first time").to_owned();
        assert_eq!(link.redeem(&link.code), None);
        assert!(link.is_shown(&bearer(&token)) && link.is_shown(&bearer(&token)));
        assert!(!link.is_shown(&bearer(link.code())) && !link.is_shown(&HeaderMap::new()));
    }
}
