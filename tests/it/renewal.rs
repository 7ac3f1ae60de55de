//! Logins at NATS that end, and secrets that change in their files, while everything goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastagency::broker::nats;
use fastagency::config::{NatsConfig, NatsSecret};
use serde_json::{Value, json};

use crate::support::eventually::{eventually, eventually_within};
use crate::support::nats_operator::NatsOperator;
use crate::support::nats_server::NatsServer;
use crate::support::system::System;

const WORKFLOW: &str = r#"
version: 1
name: asks
steps:
  - id: said
    text_input: { prompt: "What?" }
  - return: "{{ steps.said }}"
"#;

/// A setting of the long run (`scripts/renewal.sh`), or what it is in the short one.
fn setting(name: &str, short: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(short)
}

/// Starts a run, answers its question, and sees its result; every request must be served.
async fn conversation(system: &System, number: usize) -> Result<(), String> {
    let refused = |what: &str, answer: (u16, Value)| Err(format!("{what}: {} {}", answer.0, answer.1));
    let started = system.post("/api/runs?wait=20", json!({"workflow": "asks"})).await;
    let (Some(run), Some(question)) = (started.1["id"].as_str(), started.1["question"]["id"].as_str()) else {
        return refused("start", started);
    };
    let value = format!("answer {number}");
    let taken = system.post(&format!("/api/runs/{run}/answers/{question}"), json!({"value": value})).await;
    if taken.0 != 202 {
        return refused("answer", taken);
    }
    let view = eventually_within(Duration::from_secs(20), "the run ends", async || {
        let view = system.get(&format!("/api/runs/{run}")).await;
        // A request that is refused is not made again: none may be.
        if view.0 != 200 || view.1["state"] == "ended" { Ok(view) } else { Err(view) }
    })
    .await;
    if view.1["outcome"] == "completed" { Ok(()) } else { refused("end", view) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_ends_is_followed_by_the_next_and_no_request_fails() {
    const NAME: &str = "renewal::a_login_that_ends_is_followed_by_the_next_and_no_request_fails";
    let Some((operator, server)) = NatsOperator::start(NAME) else { return };
    let lasts = Duration::from_secs(setting("RENEWAL_LOGIN_SECONDS", 4));
    let length = Duration::from_secs(setting("RENEWAL_SECONDS", 14));
    let lanes = usize::try_from(setting("RENEWAL_CONVERSATIONS", 8)).unwrap();
    operator.renew(lasts);
    let settings =
        NatsConfig { url: server.url(), credentials_file: Some(operator.credentials()), ..NatsConfig::default() };
    let broker = nats::connect(&settings, "a test").await.expect("a broker");
    let system = Arc::new(System::over(broker).gateway(|_| {}).worker(WORKFLOW).start().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let renewed = {
        let is_over = is_over.clone();
        tokio::spawn(async move {
            let mut times = 0;
            while !is_over.load(Ordering::Relaxed) {
                tokio::time::sleep(lasts / 2).await;
                operator.renew(lasts);
                times += 1;
            }
            times
        })
    };
    let begun = Instant::now();
    let lanes: Vec<_> = (0..lanes)
        .map(|_| {
            let (system, done) = (system.clone(), done.clone());
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while begun.elapsed() < length {
                    let number = done.fetch_add(1, Ordering::Relaxed);
                    failed.extend(conversation(&system, number).await.err());
                }
                failed
            })
        })
        .collect();
    let mut failed = Vec::new();
    for lane in lanes {
        failed.extend(lane.await.unwrap());
    }
    is_over.store(true, Ordering::Relaxed);
    let renewed = renewed.await.unwrap();
    let done = done.load(Ordering::Relaxed);
    if std::env::var_os("RENEWAL_SECONDS").is_some() {
        eprintln!("{done} conversations, {} failed, {renewed} logins of {lasts:?} in {length:?}", failed.len());
    }
    assert!(failed.is_empty(), "{} of {done} failed, the first: {}", failed.len(), failed[0]);
    assert!(renewed >= 4 && done > 20, "{renewed} logins, {done} conversations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_renewed_too_late_is_used_and_until_then_the_error_says_why() {
    const NAME: &str = "renewal::a_login_that_was_renewed_too_late_is_used_and_until_then_the_error_says_why";
    let Some((operator, server)) = NatsOperator::start(NAME) else { return };
    operator.renew(Duration::from_secs(2));
    let settings =
        NatsConfig { url: server.url(), credentials_file: Some(operator.credentials()), ..NatsConfig::default() };
    let broker = nats::connect(&settings, "a test").await.expect("a broker");
    let said = eventually("the login has ended", async || {
        let error = broker.catalogue.list(fastagency::broker::Bucket::Workflows, None).await.err()?;
        let said = fastagency::problem::chain(&error);
        said.to_lowercase().contains("auth").then_some(said)
    })
    .await;
    assert!(said.contains("no connection to NATS (") || said.contains("was lost ("), "{said}");
    operator.renew(Duration::from_secs(3600));
    eventually_within(Duration::from_secs(30), "the next login is used", async || {
        broker.catalogue.list(fastagency::broker::Bucket::Workflows, None).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_file_is_read_again_for_each_connection() {
    const NAME: &str = "renewal::a_password_in_a_file_is_read_again_for_each_connection";
    let folder = tempfile::tempdir().unwrap();
    let (conf, secret) = (folder.path().join("nats.conf"), folder.path().join("password"));
    let set = |password: &str| {
        std::fs::write(&conf, format!("jetstream {{}}\nauthorization {{ user: app, password: \"{password}\" }}\n"))
            .unwrap();
    };
    set("the first password");
    std::fs::write(&secret, "the first password\n").unwrap();
    let Some(mut server) = NatsServer::start_with(NAME, &["-c", conf.to_str().unwrap()]) else { return };
    let password = NatsSecret { value: "the first password".into(), file: Some(secret.clone()) };
    let settings = NatsConfig {
        url: server.url(),
        user: Some("app".to_owned()),
        password: Some(password),
        ..NatsConfig::default()
    };
    let broker = nats::connect(&settings, "a test").await.expect("a broker");
    set("the next password");
    server.kill();
    server.start_again();
    std::fs::write(&secret, "the next password\n").unwrap();
    eventually_within(Duration::from_secs(30), "the next password is used", async || {
        broker.catalogue.list(fastagency::broker::Bucket::Workflows, None).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_of_an_nkey_logs_in_and_is_read_again_for_each_connection() {
    const NAME: &str = "renewal::a_seed_of_an_nkey_logs_in_and_is_read_again_for_each_connection";
    let folder = tempfile::tempdir().unwrap();
    let (conf, seed) = (folder.path().join("nats.conf"), folder.path().join("user.nk"));
    let set = |user: &nkeys::KeyPair| {
        let text = format!("jetstream {{}}\nauthorization {{ users: [ {{ nkey: {} }} ] }}\n", user.public_key());
        std::fs::write(&conf, text).unwrap();
        std::fs::write(&seed, format!("{}\n", user.seed().unwrap())).unwrap();
    };
    set(&nkeys::KeyPair::new_user());
    let Some(mut server) = NatsServer::start_with(NAME, &["-c", conf.to_str().unwrap()]) else { return };
    let settings = NatsConfig { url: server.url(), nkey_seed_file: Some(seed.clone()), ..NatsConfig::default() };
    let broker = nats::connect(&settings, "a test").await.expect("a broker");
    set(&nkeys::KeyPair::new_user());
    server.kill();
    server.start_again();
    eventually_within(Duration::from_secs(30), "the next seed is used", async || {
        broker.catalogue.list(fastagency::broker::Bucket::Workflows, None).await.is_ok()
    })
    .await;
    std::fs::write(&seed, "no seed").unwrap();
    let error = nats::connect(&settings, "a test").await.err().map(|error| fastagency::problem::chain(&error)).unwrap();
    assert!(
        error.contains("user.nk holds no nkey seed") && !error.contains("no seed (it begins with SU): "),
        "{error}"
    );
}
