//! Vouching: a gateway asks people who they are, and signs what it starts, answers and cancels for them. A worker that was told
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
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::ids::{MessageId, RunId};

/// How often a thing is written and read until it stays the same; nearly everything does at once.
const MOST_ROUNDS: usize = 16;

/// What is vouched for.
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

/// What can be vouched for: JSON with a place for the signature.
pub trait Signable: Clone + Serialize + DeserializeOwned {
    /// The place.
    fn signature(&mut self) -> &mut Option<String>;
}

/// What a gateway vouches with.
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

    /// Signs a thing.
    pub fn vouch<T: Signable>(&self, matter: SignedStatement, mut thing: T) -> T {
        *thing.signature() = None;
        let (mut thing, words) = settled(thing);
        *thing.signature() = Some(URL_SAFE_NO_PAD.encode(self.0.sign(&statement(matter, &words))));
        thing
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

/// Whether one of the keys' holders vouches for a thing.
pub fn is_vouched<T: Signable>(keys: &[PublicKey], matter: SignedStatement, thing: &T) -> bool {
    let mut thing = thing.clone();
    let Some(signature) = thing.signature().take().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()) else {
        return false;
    };
    let statement = statement(matter, &words(&thing));
    keys.iter().any(|key| UnparsedPublicKey::new(&ED25519, key.0).verify(&statement, &signature).is_ok())
}

/// What is signed.
fn statement(matter: SignedStatement, words: &str) -> Vec<u8> {
    let about = match matter {
        SignedStatement::Start(run) => format!("start {run}"),
        SignedStatement::Answer(run, question) => format!("answer {run} {question}"),
        SignedStatement::Cancel(run) => format!("cancel {run}"),
        SignedStatement::Announcement => "announcement".to_owned(),
        SignedStatement::Definition => "definition".to_owned(),
    };
    format!("fastagency vouch v1\0{about}\0{words}").into_bytes()
}

/// A thing as whoever reads it will have it, and its text. The last digit of a long number may be another one after it was
/// read; what is signed must be what is read.
fn settled<T: Signable>(mut thing: T) -> (T, String) {
    let mut text = words(&thing);
    for _ in 0..MOST_ROUNDS {
        thing = serde_json::from_str(&text).expect("what was written can be read");
        let again = words(&thing);
        if again == text {
            break;
        }
        text = again;
    }
    (thing, text)
}

fn words<T: Serialize>(thing: &T) -> String {
    serde_json::to_string(thing).expect("it is JSON")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Thing {
        said: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vouched: Option<String>,
    }

    impl Signable for Thing {
        fn signature(&mut self) -> &mut Option<String> {
            &mut self.vouched
        }
    }

    #[test]
    fn a_signature_counts_for_its_words_and_its_place_and_by_its_key_only() {
        let (run, question) = (RunId::random(), MessageId::random());
        let ours = StatementSigner::new(&"ours".to_owned().into());
        let theirs = StatementSigner::new(&"theirs".to_owned().into()).public();
        let matter = SignedStatement::Answer(run, question);
        let thing = ours.vouch(matter, Thing { said: json!("yes"), vouched: None });
        assert!(is_vouched(&[theirs, ours.public()], matter, &thing));
        assert!(!is_vouched(&[theirs], matter, &thing));
        assert!(!is_vouched(&[], matter, &thing));
        for other in [
            SignedStatement::Answer(RunId::random(), question),
            SignedStatement::Answer(run, MessageId::random()),
            SignedStatement::Start(run),
            SignedStatement::Cancel(run),
        ] {
            assert!(!is_vouched(&[ours.public()], other, &thing), "{other:?}");
        }
        let changed = Thing { said: json!("no"), ..thing.clone() };
        assert!(!is_vouched(&[ours.public()], matter, &changed));
        for vouched in [None, Some(String::new()), Some("~".to_owned())] {
            assert!(!is_vouched(&[ours.public()], matter, &Thing { vouched, ..thing.clone() }));
        }
        assert_eq!(PublicKey::parse(&ours.public().to_string()), Some(ours.public()));
        assert_eq!(PublicKey::parse("short"), None);
    }

    #[test]
    fn numbers_of_many_digits_are_vouched_for_as_they_are_read() {
        let (run, ours) = (RunId::random(), StatementSigner::new(&"ours".to_owned().into()));
        for seed in 0..20_000_u64 {
            // Spread over all exponents.
            let number = f64::from_bits(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if !number.is_finite() {
                continue;
            }
            let thing =
                ours.vouch(SignedStatement::Start(run), Thing { said: json!([number, -0.0, u64::MAX]), vouched: None });
            let read: Thing = serde_json::from_str(&words(&thing)).unwrap();
            assert!(is_vouched(&[ours.public()], SignedStatement::Start(run), &read), "{number:e}");
        }
    }
}
