//! Signing: a gateway asks people who they are, and signs what it starts, answers and cancels for them. A worker that was told
//! the gateways' public keys does nothing in anybody's name that none of them has signed. So whoever can write to the broker (a
//! stolen login, another worker) is nobody's user yet. In the same way a worker signs the workflows that it announces, for
//! gateways and other workers that were told its public key.
//!
//! Ed25519. A signature covers what is done, to which run and question, and every word of it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::ids::{MessageId, RunId};

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedStatement {
    /// That a run is started.
    Start(RunId),
    /// That a question of a run is answered.
    Answer(RunId, MessageId),
    /// That a run is cancelled.
    Cancel(RunId),
    /// That a workflow is announced.
    Announcement,
    /// That a definition may be executed.
    Definition,
}

/// What signs statements: the private key of a gateway or a worker.
#[derive(Clone)]
pub struct StatementSigner(Arc<Ed25519KeyPair>);

/// The public key of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl StatementSigner {
    /// Takes a secret: any text.
    pub fn new(secret: &SecretString) -> Self {
        let seed = Sha256::new()
            .chain_update(b"fastagency vouch v1\0")
            .chain_update(secret.expose_secret().as_bytes())
            .finalize();
        Self(Arc::new(Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed has 32 bytes")))
    }

    /// The key that workers are told.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().try_into().expect("a public key has 32 bytes"))
    }

    /// Signs what somebody states: its words, as they are stored.
    pub fn sign(&self, statement: SignedStatement, words: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(&signed_text(statement, words)))
    }
}

impl PublicKey {
    /// Reads it from its text.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Whether the holder of one of the keys has signed these words.
pub fn is_signed(keys: &[PublicKey], statement: SignedStatement, words: &[u8], signature: &str) -> bool {
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
    let signed = signed_text(statement, words);
    keys.iter().any(|key| UnparsedPublicKey::new(&ED25519, key.0).verify(&signed, &signature).is_ok())
}

/// What is signed: what it is about, and its words.
fn signed_text(statement: SignedStatement, words: &[u8]) -> Vec<u8> {
    let about = match statement {
        SignedStatement::Start(run) => format!("start {run}"),
        SignedStatement::Answer(run, question) => format!("answer {run} {question}"),
        SignedStatement::Cancel(run) => format!("cancel {run}"),
        SignedStatement::Announcement => "announcement".to_owned(),
        SignedStatement::Definition => "definition".to_owned(),
    };
    let mut text = format!("fastagency vouch v1\0{about}\0").into_bytes();
    text.extend_from_slice(words);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_counts_for_its_words_and_its_place_and_by_its_key_only() {
        let (run, question) = (RunId::random(), MessageId::random());
        let ours = StatementSigner::new(&"ours".to_owned().into());
        let theirs = StatementSigner::new(&"theirs".to_owned().into()).public();
        let (key, answer) = (ours.public(), SignedStatement::Answer(run, question));
        let signature = ours.sign(answer, b"yes");
        assert!(is_signed(&[theirs, key], answer, b"yes", &signature));
        assert!(!is_signed(&[theirs], answer, b"yes", &signature));
        assert!(!is_signed(&[], answer, b"yes", &signature));
        for other in [
            SignedStatement::Answer(RunId::random(), question),
            SignedStatement::Answer(run, MessageId::random()),
            SignedStatement::Start(run),
            SignedStatement::Cancel(run),
        ] {
            assert!(!is_signed(&[key], other, b"yes", &signature), "{other:?}");
        }
        assert!(!is_signed(&[key], answer, b"no", &signature));
        for signature in ["", "~"] {
            assert!(!is_signed(&[key], answer, b"yes", signature));
        }
        assert_eq!(PublicKey::parse(&key.to_string()), Some(key));
        assert_eq!(PublicKey::parse("short"), None);
    }
}
