//! Signatures of tokens by ring, which this program has anyway for TLS: jsonwebtoken reads and checks tokens, and asks here
//! for the arithmetic.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::{hmac, signature};

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

/// Makes ring the arithmetic of every token in this process.
pub(super) fn install() {
    // Installed already: by an earlier call.
    let _ = PROVIDER.install_default();
}

/// A secret, for the algorithms with one.
struct SharedSecret {
    algorithm: Algorithm,
    key: hmac::Key,
}

/// A public key.
struct VerifyingKey {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn shared(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    match shared(*algorithm) {
        Some(kind) if key.family() == AlgorithmFamily::Hmac => {
            Ok(Box::new(SharedSecret { algorithm: *algorithm, key: hmac::Key::new(kind, key.as_bytes()) }))
        }
        // This program signs with a secret only; with anything else it only checks.
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if let Some(kind) = shared(*algorithm) {
        // A public key is never taken for a secret, whatever a token says of itself.
        if key.family() != AlgorithmFamily::Hmac {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        return Ok(Box::new(SharedSecret {
            algorithm: *algorithm,
            key: hmac::Key::new(kind, key.try_get_as_bytes()?),
        }));
    }
    let family = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => AlgorithmFamily::Ec,
        Algorithm::EdDSA => AlgorithmFamily::Ed,
        _ => AlgorithmFamily::Rsa,
    };
    if key.family() != family {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(VerifyingKey { algorithm: *algorithm, key: key.clone() }))
}

impl Signer<Vec<u8>> for SharedSecret {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(hmac::sign(&self.key, message).as_ref().to_vec())
    }
}
impl JwtSigner for SharedSecret {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
impl Verifier<Vec<u8>> for SharedSecret {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        // Takes the same time whichever byte is wrong.
        hmac::verify(&self.key, message, signature).map_err(|_| SignatureError::new())
    }
}
impl JwtVerifier for SharedSecret {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for VerifyingKey {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> Result<(), SignatureError> {
        let wrong = |_| SignatureError::new();
        let rsa: &signature::RsaParameters = match self.algorithm {
            Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
            Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
            Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
            Algorithm::ES256 => return self.plainly(&signature::ECDSA_P256_SHA256_FIXED, message, given),
            Algorithm::ES384 => return self.plainly(&signature::ECDSA_P384_SHA384_FIXED, message, given),
            Algorithm::EdDSA => return self.plainly(&signature::ED25519, message, given),
            _ => return Err(SignatureError::new()),
        };
        match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                signature::RsaPublicKeyComponents { n, e }.verify(rsa, message, given).map_err(wrong)
            }
            DecodingKeyKind::SecretOrDer(der) => {
                signature::UnparsedPublicKey::new(rsa, der).verify(message, given).map_err(wrong)
            }
        }
    }
}
impl VerifyingKey {
    fn plainly(
        &self,
        algorithm: &'static dyn signature::VerificationAlgorithm,
        message: &[u8],
        given: &[u8],
    ) -> Result<(), SignatureError> {
        let key = self.key.try_get_as_bytes().map_err(|_| SignatureError::new())?;
        signature::UnparsedPublicKey::new(algorithm, key).verify(message, given).map_err(|_| SignatureError::new())
    }
}
impl JwtVerifier for VerifyingKey {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
