//! A NATS server in operator mode, whose logins end: the operator's, the accounts' and the users' tokens are made here, as `nsc`
//! makes them.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::nats_server::NatsServer;

/// Who may let others in.
pub struct NatsOperator {
    account: KeyPair,
    folder: TempDir,
}

impl NatsOperator {
    /// A server that believes it, or none where there is no nats-server.
    pub fn start(test: &str) -> Option<(Self, NatsServer)> {
        let (operator, account, system) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let of_operator =
            token(&operator, &operator.public_key(), "test", None, json!({"type": "operator", "version": 2}));
        let of_account = |pair: &KeyPair, name: &str, limits: Value| {
            let nats = json!({"type": "account", "version": 2, "limits": limits});
            token(&operator, &pair.public_key(), name, None, nats)
        };
        let unlimited = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        });
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!(
            "operator: {of_operator}\nresolver: MEMORY\nsystem_account: {system_key}\njetstream {{}}\n\
             resolver_preload: {{\n  {account_key}: {of_app}\n  {system_key}: {of_system}\n}}\n",
            account_key = account.public_key(),
            system_key = system.public_key(),
            of_app = of_account(&account, "app", limits),
            of_system = of_account(&system, "sys", unlimited),
        );
        let path = folder.path().join("nats.conf");
        std::fs::write(&path, configuration).unwrap();
        let server = NatsServer::start_with(test, &["-c", path.to_str().unwrap()])?;
        Some((Self { account, folder }, server))
    }

    /// Where the credentials lie.
    pub fn credentials(&self) -> std::path::PathBuf {
        self.folder.path().join("user.creds")
    }

    /// Writes a login that ends after so long, as a whole: whoever reads meanwhile has the one before it.
    pub fn renew(&self, lasts: Duration) {
        self.write(&self.credentials(), lasts);
    }

    fn write(&self, path: &Path, lasts: Duration) {
        let user = KeyPair::new_user();
        let ends = jiff::Timestamp::now().as_second() + i64::try_from(lasts.as_secs()).unwrap();
        let nats = json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
        let jwt = token(&self.account, &user.public_key(), "fastagency", Some(ends), nats);
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let next = path.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, path).unwrap();
    }
}

/// A token as NATS has them: signed claims, by an nkey.
fn token(signer: &KeyPair, subject: &str, name: &str, ends: Option<i64>, nats: Value) -> String {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let mut claims = json!({
        "jti": uuid::Uuid::new_v4().simple().to_string(), "iat": jiff::Timestamp::now().as_second(),
        "iss": signer.public_key(), "name": name, "sub": subject, "nats": nats,
    });
    if let Some(ends) = ends {
        claims["exp"] = ends.into();
    }
    let said = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = signer.sign(said.as_bytes()).unwrap();
    format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature))
}
