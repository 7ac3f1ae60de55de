//! Sealing: how a password is stored in the log, so that only a holder of the key can read it.
//!
//! XChaCha20-Poly1305 with a key of its own for each run, derived from the project's key; the run and the question are
//! authenticated with it, so that a sealed answer cannot be moved to another run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::ids::{MessageId, RunId};

const NONCE: usize = 24;

/// A key that seals and opens.
#[derive(Clone)]
pub struct Sealer {
    key: SecretString,
}

impl Sealer {
    /// Takes the project's key: any text.
    pub fn new(key: SecretString) -> Self {
        Self { key }
    }

    fn cipher(&self, run: RunId) -> XChaCha20Poly1305 {
        let mut hash = Sha256::new();
        hash.update(b"fastagency seal v1\0");
        hash.update(run.to_string().as_bytes());
        hash.update(self.key.expose_secret().as_bytes());
        XChaCha20Poly1305::new(&hash.finalize())
    }

    /// Seals an answer to a question.
    pub fn seal(&self, run: RunId, question: MessageId, secret: &str) -> String {
        let nonce: [u8; NONCE] = rand::random();
        let about = question.to_string();
        let payload = Payload { msg: secret.as_bytes(), aad: about.as_bytes() };
        let sealed =
            self.cipher(run).encrypt(&XNonce::from(nonce), payload).expect("a text of this size can be encrypted");
        STANDARD_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    /// Opens an answer to a question; `None` if it was sealed with another key, or for another question.
    pub fn open(&self, run: RunId, question: MessageId, sealed: &str) -> Option<String> {
        let bytes = STANDARD_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let about = question.to_string();
        let payload = Payload { msg: sealed, aad: about.as_bytes() };
        let secret = self.cipher(run).decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(secret).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_answer_opens_only_with_its_key_and_in_its_place() {
        let (run, question) = (RunId::random(), MessageId::random());
        let sealer = Sealer::new("key".into());
        let sealed = sealer.seal(run, question, "hunter2");
        assert!(!sealed.contains("hunter2"));
        assert_ne!(sealed, sealer.seal(run, question, "hunter2"));
        assert_eq!(sealer.open(run, question, &sealed).as_deref(), Some("hunter2"));
        assert_eq!(sealer.open(RunId::random(), question, &sealed), None);
        assert_eq!(sealer.open(run, MessageId::random(), &sealed), None);
        assert_eq!(Sealer::new("other".into()).open(run, question, &sealed), None);
        assert_eq!(sealer.open(run, question, "~"), None);
    }
}
