//! Logins at NATS that end, and secrets that change in their files, while everything goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastagency::broker::nats;
use fastagency::config::{NatsConfig, NatsSecret};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::client;
use crate::support::eventually::{PATIENCE, eventually, eventually_within};
use crate::support::nats_operator::NatsOperator;
use crate::support::nats_server::NatsServer;
use crate::support::system::System;
use crate::support::tier::Tier;

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

/// Calls a gateway.
#[derive(Clone)]
struct Caller {
    http: reqwest::Client,
    url: String,
}

impl Caller {
    async fn call(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        match request.timeout(PATIENCE).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.json().await.unwrap_or_default()),
            Err(error) => (0, json!(error.to_string())),
        }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(self.http.get(format!("{}{path}", self.url))).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(self.http.post(format!("{}{path}", self.url)).json(&body)).await
    }

    /// Starts a run, answers its question, and sees its result; every request must be served.
    async fn conversation(&self, number: usize) -> Result<(), String> {
        let refused = |what: &str, answer: (u16, Value)| Err(format!("{what}: {} {}", answer.0, answer.1));
        let started = self.post("/api/runs?wait=20", json!({"workflow": "asks"})).await;
        let (Some(run), Some(question)) = (started.1["id"].as_str(), started.1["question"]["id"].as_str()) else {
            return refused("start", started);
        };
        let value = format!("answer {number}");
        let taken = self.post(&format!("/api/runs/{run}/answers/{question}"), json!({"value": value})).await;
        if taken.0 != 202 {
            return refused("answer", taken);
        }
        let view = eventually_within(Duration::from_secs(20), "the run ends", async || {
            let view = self.get(&format!("/api/runs/{run}")).await;
            // A request that is refused is not made again: none may be.
            if view.0 != 200 || view.1["state"] == "ended" { Ok(view) } else { Err(view) }
        })
        .await;
        if view.1["outcome"] == "completed" { Ok(()) } else { refused("end", view) }
    }

    /// Holds conversations for so long, and returns how many, and what failed.
    async fn converse(&self, lanes: usize, length: Duration) -> (usize, Vec<String>) {
        let (begun, done) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let lane = || {
            let (caller, done) = (self.clone(), done.clone());
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while begun.elapsed() < length {
                    let number = done.fetch_add(1, Ordering::Relaxed);
                    failed.extend(caller.conversation(number).await.err());
                }
                failed
            })
        };
        let mut failed = Vec::new();
        for lane in (0..lanes).map(|_| lane()).collect::<Vec<_>>() {
            failed.extend(lane.await.unwrap());
        }
        (done.load(Ordering::Relaxed), failed)
    }
}

/// Renews something again and again while something goes on, and returns how often.
async fn renewing<T>(every: Duration, renew: impl Fn(usize), meanwhile: impl Future<Output = T>) -> (usize, T) {
    let mut meanwhile = std::pin::pin!(meanwhile);
    let mut times = 0;
    loop {
        match tokio::time::timeout(every, &mut meanwhile).await {
            Ok(ended) => return (times, ended),
            Err(_) => {
                times += 1;
                renew(times);
            }
        }
    }
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
    let system = System::over(broker).gateway(|_| {}).worker(WORKFLOW).start().await;
    let caller = Caller { http: system.http.clone(), url: system.url.clone() };
    let (renewed, (done, failed)) =
        renewing(lasts / 2, |_| operator.renew(lasts), caller.converse(lanes, length)).await;
    if std::env::var_os("RENEWAL_SECONDS").is_some() {
        eprintln!("{done} conversations, {} failed, {renewed} logins of {lasts:?} in {length:?}", failed.len());
    }
    assert!(failed.is_empty(), "{} of {done} failed, the first: {}", failed.len(), failed[0]);
    assert!(renewed >= 4 && done > 20, "{renewed} logins, {done} conversations");
}

/// A worker and a gateway as processes of their own, with this configuration of NATS.
struct SeparateTiers {
    caller: Caller,
    tiers: [Tier; 2],
    _folder: TempDir,
}

impl SeparateTiers {
    async fn start(nats: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("workflows")).unwrap();
        std::fs::write(folder.path().join("workflows/asks.yaml"), WORKFLOW).unwrap();
        let config = format!("version: 1\nname: renewal\nnats: {nats}\n");
        std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
        let mut worker = Tier::start(folder.path(), &["worker"]);
        worker.says("worker ready");
        let mut gateway = Tier::start(folder.path(), &["gateway", "--port", "0"]);
        let caller = Caller { http: client(), url: gateway.url("gateway") };
        eventually("the workflow is known", async || caller.conversation(0).await).await;
        Self { caller, tiers: [worker, gateway], _folder: folder }
    }

    fn end(mut self) {
        for tier in &mut self.tiers {
            let ended = tier.terminate();
            assert!(ended.success(), "{ended}: {}", tier.heard().concat());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_gateway_apart_go_on_through_the_ends_of_the_logins_in_their_file() {
    const NAME: &str = "renewal::a_worker_and_a_gateway_apart_go_on_through_the_ends_of_the_logins_in_their_file";
    let Some((operator, server)) = NatsOperator::start(NAME) else { return };
    let lasts = Duration::from_secs(3);
    let renew = || operator.renew(lasts);
    renew();
    let file = operator.credentials();
    let nats = format!("{{ url: \"{}\", credentials_file: \"{}\" }}", server.url(), file.display());
    // Apart, because the starts of the tiers are waited for without pause.
    let conversations = tokio::spawn(async move {
        let tiers = SeparateTiers::start(&nats).await;
        let outcome = tiers.caller.converse(4, 3 * lasts).await;
        tiers.end();
        outcome
    });
    let (renewed, ended) = renewing(lasts / 2, |_| renew(), conversations).await;
    let (done, failed) = ended.unwrap();
    assert!(failed.is_empty(), "{} of {done} failed, the first: {}", failed.len(), failed[0]);
    assert!(renewed >= 5 && done > 20, "{renewed} logins, {done} conversations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_gateway_apart_go_on_when_the_file_has_another_password() {
    const NAME: &str = "renewal::a_worker_and_a_gateway_apart_go_on_when_the_file_has_another_password";
    let folder = tempfile::tempdir().unwrap();
    let (conf, secret) = (folder.path().join("nats.conf"), folder.path().join("password"));
    let set = |number: usize| {
        let password = format!("password number {number}");
        let conf_text = format!("jetstream {{}}\nauthorization {{ user: app, password: \"{password}\" }}\n");
        std::fs::write(&secret, format!("{password}\n")).unwrap();
        std::fs::write(&conf, conf_text).unwrap();
    };
    set(0);
    let Some(server) = NatsServer::start_with(NAME, &["-c", conf.to_str().unwrap()]) else { return };
    let nats = format!("{{ url: \"{}\", user: app, password: \"${{file:{}}}\" }}", server.url(), secret.display());
    let tiers = SeparateTiers::start(&nats).await;
    for number in 1..4 {
        set(number);
        server.signal("HUP");
        // It knows the next password, and has let go of those who came with the one before.
        eventually("the server knows the next password", async || {
            let password = std::fs::read_to_string(&secret).unwrap().trim().to_owned();
            async_nats::ConnectOptions::with_user_and_password("app".to_owned(), password).connect(server.url()).await
        })
        .await;
        eventually("conversations go on", async || tiers.caller.conversation(number).await).await;
    }
    tiers.end();
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
