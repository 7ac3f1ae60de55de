//! What is signed among the things that are stored: JSON with a place for the signature. A signature covers the JSON text
//! without it; numbers are read as they were written (`float_roundtrip`), so a reader comes to the same text.

use serde::Serialize;

use crate::signing::{PublicKey, SignedStatement, StatementSigner, is_signed};

/// What can be signed.
pub trait Signable: Clone + Serialize {
    /// The place of the signature.
    fn signature(&mut self) -> &mut Option<String>;

    /// Signs it.
    fn signed(mut self, signer: &StatementSigner, statement: SignedStatement) -> Self {
        *self.signature() = None;
        let signature = signer.sign(statement, &text(&self));
        *self.signature() = Some(signature);
        self
    }

    /// Whether the holder of one of the keys has signed it.
    fn is_signed(&self, keys: &[PublicKey], statement: SignedStatement) -> bool {
        let mut bare = self.clone();
        let Some(signature) = bare.signature().take() else { return false };
        is_signed(keys, statement, &text(&bare), &signature)
    }
}

fn text<T: Serialize>(bare: &T) -> Vec<u8> {
    serde_json::to_vec(bare).expect("it is JSON")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::ids::RunId;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct TestStatement {
        said: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    }

    impl Signable for TestStatement {
        fn signature(&mut self) -> &mut Option<String> {
            &mut self.signature
        }
    }

    #[test]
    fn a_signature_covers_all_but_itself() {
        let signer = StatementSigner::new(&"ours".to_owned().into());
        let (keys, start) = ([signer.public()], SignedStatement::Start(RunId::random()));
        let plain = TestStatement { said: json!("yes"), signature: None };
        let thing = plain.clone().signed(&signer, start);
        assert!(thing.is_signed(&keys, start));
        assert_eq!(thing.clone().signed(&signer, start), thing);
        assert!(!plain.is_signed(&keys, start));
        assert!(!TestStatement { said: json!("no"), ..thing }.is_signed(&keys, start));
    }

    #[test]
    fn numbers_of_many_digits_are_signed_as_they_are_read() {
        let (run, signer) = (RunId::random(), StatementSigner::new(&"ours".to_owned().into()));
        for seed in 0..20_000_u64 {
            // Spread over all exponents.
            let number = f64::from_bits(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if !number.is_finite() {
                continue;
            }
            let thing = TestStatement { said: json!([number, -0.0, u64::MAX]), signature: None };
            let stored = text(&thing.signed(&signer, SignedStatement::Start(run)));
            let read: TestStatement = serde_json::from_slice(&stored).unwrap();
            assert!(read.is_signed(&[signer.public()], SignedStatement::Start(run)), "{number:e}");
        }
    }
}
