//! Sealing: how a password is stored in the log, so that only a holder of the key can read it, and nobody once its run has
//! ended; and how tokens are stored that servers outside give.
//!
//! Each run has a random key of its own, which is stored sealed with the project's key (`run::secret` says where, and deletes
//! it when the run ends). XChaCha20-Poly1305 throughout; what is sealed is bound to its run and its question, so that it
//! cannot be moved to another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::ids::{MessageId, RunId};

const NONCE: usize = 24;
const KEY: usize = 32;

/// The project's key: it seals and opens the keys of runs.
#[derive(Debug, Clone)]
pub struct Sealer {
    key: SecretString,
    /// The keys from before: they only open.
    previous: Vec<SecretString>,
}

/// The key of one run: it seals and opens passwords.
pub struct RunKey {
    cipher: XChaCha20Poly1305,
}

impl Sealer {
    /// Takes the project's key: any text.
    pub fn new(key: SecretString) -> Self {
        Self { key, previous: Vec::new() }
    }

    /// Opens what was sealed with these keys, too.
    pub fn with_previous(self, keys: Vec<SecretString>) -> Self {
        Self { previous: keys, ..self }
    }

    /// A new random key for a run, sealed.
    pub fn new_run_key(&self, run: RunId) -> String {
        let key: [u8; KEY] = rand::random();
        seal(&cipher(&self.key), &run.to_string(), &key)
    }

    /// Opens the key of a run; `None` if it was sealed with another project's key, or for another run.
    pub fn run_key(&self, run: RunId, sealed: &str) -> Option<RunKey> {
        let mut keys = std::iter::once(&self.key).chain(&self.previous);
        let key = keys.find_map(|key| open(&cipher(key), &run.to_string(), sealed))?;
        Some(RunKey { cipher: XChaCha20Poly1305::new_from_slice(&key).ok()? })
    }

    /// Seals what is stored of tokens at this place.
    pub fn seal_tokens(&self, place: &str, text: &str) -> String {
        seal(&cipher(&self.key), &about_tokens(place), text.as_bytes())
    }

    /// Opens what is stored of tokens at this place; `None` if it was sealed with another key, or for another place.
    pub fn open_tokens(&self, place: &str, sealed: &str) -> Option<String> {
        let mut keys = std::iter::once(&self.key).chain(&self.previous);
        let text = keys.find_map(|key| open(&cipher(key), &about_tokens(place), sealed))?;
        String::from_utf8(text).ok()
    }
}

/// What no run is called: a run's key cannot stand in the place of tokens, nor they in its.
fn about_tokens(place: &str) -> String {
    format!("tokens {place}")
}

/// What no question is called: a password cannot stand in the place of a caller's token, nor the token in its.
const ABOUT_CALLER_TOKEN: &str = "caller's token";

impl RunKey {
    /// Seals an answer to a question.
    pub fn seal(&self, question: MessageId, secret: &str) -> String {
        seal(&self.cipher, &question.to_string(), secret.as_bytes())
    }

    /// Seals the access token of the person whose run it is.
    pub fn seal_caller_token(&self, text: &str) -> String {
        seal(&self.cipher, ABOUT_CALLER_TOKEN, text.as_bytes())
    }

    /// Opens the access token of the person whose run it is; `None` if it was sealed with another key, or is something else.
    pub fn open_caller_token(&self, sealed: &str) -> Option<String> {
        String::from_utf8(open(&self.cipher, ABOUT_CALLER_TOKEN, sealed)?).ok()
    }

    /// Opens an answer to a question; `None` if it was sealed with another key, or for another question.
    pub fn open(&self, question: MessageId, sealed: &str) -> Option<String> {
        String::from_utf8(open(&self.cipher, &question.to_string(), sealed)?).ok()
    }
}

fn cipher(key: &SecretString) -> XChaCha20Poly1305 {
    let mut hash = Sha256::new();
    hash.update(b"fastagency seal v2\0");
    hash.update(key.expose_secret().as_bytes());
    XChaCha20Poly1305::new(&hash.finalize())
}

fn seal(cipher: &XChaCha20Poly1305, about: &str, secret: &[u8]) -> String {
    let nonce: [u8; NONCE] = rand::random();
    let payload = Payload { msg: secret, aad: about.as_bytes() };
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).expect("a text of this size can be encrypted");
    STANDARD_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
}

fn open(cipher: &XChaCha20Poly1305, about: &str, sealed: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD_NO_PAD.decode(sealed).ok()?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: about.as_bytes() }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_answer_opens_only_with_its_key_and_in_its_place() {
        let (run, question) = (RunId::random(), MessageId::random());
        let sealer = Sealer::new("key".into());
        let stored = sealer.new_run_key(run);
        let key = sealer.run_key(run, &stored).unwrap();
        let sealed = key.seal(question, "hunter2");
        assert!(!sealed.contains("hunter2"));
        assert_ne!(sealed, key.seal(question, "hunter2"));
        assert_eq!(key.open(question, &sealed).as_deref(), Some("hunter2"));
        assert_eq!(key.open(MessageId::random(), &sealed), None);
        assert_eq!(key.open(question, "~"), None);
        // A caller's token is another thing, in a place of its own.
        let token = key.seal_caller_token("token");
        assert_eq!(key.open_caller_token(&token).as_deref(), Some("token"));
        assert_eq!((key.open(question, &token), key.open_caller_token(&sealed)), (None, None));
        let other = sealer.run_key(run, &sealer.new_run_key(run)).unwrap();
        assert_eq!(other.open_caller_token(&token), None);
        // Another key of the same run, and the project's key in another's hands or for another run.
        assert_eq!(sealer.run_key(run, &sealer.new_run_key(run)).unwrap().open(question, &sealed), None);
        assert!(Sealer::new("other".into()).run_key(run, &stored).is_none());
        assert!(sealer.run_key(RunId::random(), &stored).is_none());
        // Another key of the project, which knows the one before.
        let rotated = Sealer::new("new".into()).with_previous(vec!["other".into(), "key".into()]);
        assert_eq!(rotated.run_key(run, &stored).unwrap().open(question, &sealed).as_deref(), Some("hunter2"));
        assert!(sealer.run_key(run, &rotated.new_run_key(run)).is_none());
    }

    #[test]
    fn tokens_open_only_with_their_key_and_in_their_place() {
        let (sealer, run) = (Sealer::new("key".into()), RunId::random());
        let sealed = sealer.seal_tokens("a", "token");
        assert!(!sealed.contains("token"));
        assert_eq!(sealer.open_tokens("a", &sealed).as_deref(), Some("token"));
        assert_eq!(sealer.open_tokens("b", &sealed), None);
        assert_eq!(sealer.open_tokens(&run.to_string(), &sealer.new_run_key(run)), None);
        let rotated = Sealer::new("new".into()).with_previous(vec!["key".into()]);
        assert_eq!(rotated.open_tokens("a", &sealed).as_deref(), Some("token"));
        assert_eq!(sealer.open_tokens("a", &rotated.seal_tokens("a", "token")), None);
    }
}
