//! Tokens of servers that sign with RSA and elliptic curves, by keys in files and at addresses, and keys that change.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::routing::get;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use fastagency::config::{JwtAlgorithm, JwtKey};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::access::{but, claims, deployment, ed25519, eddsa, hs256, jwt, part, with_token};
use super::player::later;

/// An RSA key of the tests, with its public half beside it.
const RSA: &str = include_str!("../../keys/rsa.pem");
const RSA_PUBLIC: &str = "tests/keys/rsa-public.pem";

fn rsa() -> RsaKeyPair {
    let base64: String = RSA.lines().filter(|line| !line.starts_with("--")).collect();
    RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(base64).unwrap()).unwrap()
}

fn rs256(key: &RsaKeyPair, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn ecdsa() -> EcdsaKeyPair {
    let (kind, random) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    EcdsaKeyPair::from_pkcs8(kind, EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap().as_ref(), &random).unwrap()
}

fn es256(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// The public key in the form that certificates have (SPKI): what goes before a point of P-256, and the point.
fn es256_pem(key: &EcdsaKeyPair) -> String {
    const BEFORE: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let base64 = BASE64_STANDARD.encode([&BEFORE[..], key.public_key().as_ref()].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &base64[..64], &base64[64..])
}

#[tokio::test]
async fn public_keys_in_files_check_what_their_owners_sign_and_sign_nothing_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let curve = folder.path().join("curve.pem");
    let (rsa, ecdsa) = (rsa(), ecdsa());
    std::fs::write(&curve, es256_pem(&ecdsa)).unwrap();
    let header = |algorithm: &str| json!({"alg": algorithm, "typ": "JWT"});
    for (algorithm, name, path) in
        [(JwtAlgorithm::Rs256, "RS256", PathBuf::from(RSA_PUBLIC)), (JwtAlgorithm::Es256, "ES256", curve)]
    {
        let sign = |header: &Value, claims: &Value| match algorithm {
            JwtAlgorithm::Rs256 => rs256(&rsa, header, claims),
            _ => es256(&ecdsa, header, claims),
        };
        let public = std::fs::read(&path).unwrap();
        let deployment = deployment(jwt(algorithm, JwtKey::File(path))).await;
        assert_eq!(with_token(&deployment, &sign(&header(name), &claims())).await, 200, "{name}");
        let other = match algorithm {
            JwtAlgorithm::Rs256 => es256(&ecdsa, &header("ES256"), &claims()),
            _ => rs256(&rsa, &header("RS256"), &claims()),
        };
        let good = sign(&header(name), &claims());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        for (what, token) in [
            ("whose secret is the public key's file", hs256(&claims(), &public)),
            ("whose secret is the file without its last line break", hs256(&claims(), public.trim_ascii_end())),
            ("that says another algorithm", sign(&header("HS256"), &claims())),
            ("that says none", sign(&header("none"), &claims())),
            ("of another key", other),
            ("that is over", sign(&header(name), &but(json!({"exp": 1})))),
            ("with an empty signature", format!("{signed}.")),
            ("with half a signature", format!("{signed}.{}", &signature[..signature.len() / 2])),
            ("with a signature of zeros", format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode([0; 64]))),
        ] {
            assert_eq!(with_token(&deployment, &token).await, 401, "{name}: a token {what}");
        }
        deployment.end().await;
    }
}

#[tokio::test]
async fn a_published_key_that_changes_is_known_with_the_first_token_that_it_signs() {
    let curves = Arc::new([ecdsa(), ecdsa()]);
    let published = Arc::new(AtomicUsize::new(0));
    let (keys, at, fetches) = (curves.clone(), published.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = fetches.clone();
    let jwks = async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let which = at.load(Ordering::Relaxed);
        let (x, y) = keys[which].public_key().as_ref()[1..].split_at(32);
        let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Json(json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": format!("k{which}"),
            "x": number(x), "y": number(y)}]}))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let serving =
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/jwks", get(jwks))).await });
    let deployment = deployment(jwt(JwtAlgorithm::Es256, JwtKey::Jwks(url))).await;
    let token = |which: usize| {
        es256(&curves[which], &json!({"alg": "ES256", "typ": "JWT", "kid": format!("k{which}")}), &claims())
    };
    assert_eq!(with_token(&deployment, &token(0)).await, 200);
    assert_eq!(
        (with_token(&deployment, &token(1)).await, fetches.load(Ordering::Relaxed)),
        (401, 1),
        "too soon to ask again"
    );
    published.store(1, Ordering::Relaxed);
    later(Duration::from_secs(11)).await;
    assert_eq!((with_token(&deployment, &token(1)).await, fetches.load(Ordering::Relaxed)), (200, 2));
    assert_eq!(
        (with_token(&deployment, &token(0)).await, fetches.load(Ordering::Relaxed)),
        (401, 2),
        "it was taken back"
    );
    // Of another family, with the name of a key that is there.
    let odd = eddsa(&ed25519(), &json!({"alg": "EdDSA", "typ": "JWT", "kid": "k1"}), &claims());
    assert_eq!(with_token(&deployment, &odd).await, 401);
    // Whoever signs is away: his keys count on.
    serving.abort();
    later(Duration::from_secs(3600)).await;
    assert_eq!(with_token(&deployment, &token(1)).await, 200);
    deployment.end().await;
}
