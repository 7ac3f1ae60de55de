//! Each tier with a login of its own at the NATS server, as `nats-server.tiers.conf` has them: everything works, and a signature
//! says who did it. What a stolen login can do is in `logins`.

use std::time::Duration;

use fastagency::auth::{PasswordUser, UserDirectory, hash_password};
use fastagency::broker::{Broker, Bucket, InboxSlot, nats};
use fastagency::config::NatsConfig;
use fastagency::ids::{MessageId, Name, RunId, UserId};
use fastagency::protocol::signable::Signable;
use fastagency::run::answer::{AnswerPayload, SubmittedAnswer, answer, cancel};
use fastagency::run::record::RunOrigin;
use fastagency::run::start::{RunStart, start};
use fastagency::signing::StatementSigner;
use serde_json::json;
use tempfile::TempDir;

use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;
use crate::support::tier::Tier;

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const ALICE: &str = "alice's password";

const WORKFLOW: &str = r#"
version: 1
name: who
steps:
  - id: said
    text_input: { prompt: "What shall I say?" }
  - return: "{{ user.name }} of {{ user.groups | join(', ') }} says {{ steps.said }}"
"#;

/// Starts the other as a run of its own.
const PARENT: &str = r#"
version: 1
name: parent
steps:
  - id: child
    workflow: { name: who, wait: false }
  - return: "{{ steps.child }}"
"#;

/// Asks for a password.
const SECRET: &str = r#"
version: 1
name: secret
steps:
  - id: said
    text_input: { prompt: "The password?", password: true }
  - return: "the password has {{ steps.said | length }} letters"
"#;

/// Everybody who may log in, as the example files have them.
pub const LOGINS: [&str; 7] = ["operator", "cleaner", "worker", "gateway", "python", "worker-python", "gateway-python"];

/// The server of the example file, but for its passwords, with the streams that the operator makes.
pub fn server(test: &str) -> Option<(NatsServer, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.conf");
    std::fs::write(&path, configuration()).unwrap();
    let server = NatsServer::start_with(test, &["-c", path.to_str().unwrap()])?;
    let created = set_up(&folder, &server.url(), "");
    assert!(created.contains("FA_RUNS: created") && created.contains("FastAgency: created"), "{created}");
    Some((server, folder))
}

/// The example file, but for its passwords; the test's server has a store of its own.
pub fn configuration() -> String {
    let text = std::fs::read_to_string("nats-server.tiers.conf").unwrap();
    let text = text.replace("  store_dir: \"./data/nats\"\n", "");
    // The longer names first: some begin with others.
    let mut logins = LOGINS;
    logins.sort_unstable_by_key(|login| std::cmp::Reverse(login.len()));
    logins.iter().fold(text, |text, login| {
        let variable = login.to_uppercase().replace('-', "_");
        text.replace(&format!("password: $FASTAGENCY_NATS_{variable}"), &format!("password: \"{}\"", password(login)))
    })
}

/// What `fastagency nats setup` says with the operator's login.
pub fn set_up(folder: &TempDir, url: &str, more: &str) -> String {
    let python = format!("python: {{ user: python, password: \"{}\" }}", password("python"));
    let operator = password("operator");
    let config =
        format!("version: 1\nnats: {{ url: \"{url}\", user: operator, password: \"{operator}\", {python}{more} }}\n");
    std::fs::write(folder.path().join("operator.yaml"), config).unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_fastagency"))
        .args(["nats", "setup", "-c", "operator.yaml"])
        .current_dir(folder.path())
        .env_remove("NATS_URL")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

pub fn password(name: &str) -> String {
    format!("the password of {}", name.to_lowercase())
}

/// A tier's configuration, with its own login, and that in the account of Python's tiers.
pub fn project(folder: &TempDir, nats: &str, tier: &str, more: &str) {
    project_with(folder, nats, tier, tier, "", more);
}

/// The same in a file of another name, and with more about NATS.
pub fn project_with(folder: &TempDir, nats: &str, tier: &str, file: &str, login: &str, more: &str) {
    let python = format!("python: {{ user: {tier}-python, password: \"{}\" }}", password(&format!("{tier}-python")));
    project_alone(folder, nats, tier, file, &format!(", {python}{login}"), more);
}

/// The same without a login in the account of Python's tiers.
fn project_alone(folder: &TempDir, nats: &str, tier: &str, file: &str, login: &str, more: &str) {
    let config = format!(
        "version: 1\nname: tiers\nnats: {{ url: \"{nats}\", user: {tier}, password: \"{}\"{login} }}\n\
         auth: {{ mode: basic, file: access.yaml, admins: {{ users: [alice] }} }}\n{more}",
        password(tier)
    );
    std::fs::write(folder.path().join(format!("{file}.yaml")), config).unwrap();
}

/// What a worker that cleans has beside its own login.
pub fn cleaner() -> String {
    format!(", cleaner: {{ user: cleaner, password: \"{}\" }}", password("cleaner"))
}

/// The workflow, and alice.
pub fn furnish(folder: &TempDir) {
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/who.yaml"), WORKFLOW).unwrap();
    std::fs::write(folder.path().join("workflows/parent.yaml"), PARENT).unwrap();
    std::fs::write(folder.path().join("workflows/secret.yaml"), SECRET).unwrap();
    let groups = vec!["teachers".into(), "readers".into()];
    let alice = PasswordUser { password: hash_password(ALICE), groups, account: None };
    UserDirectory { users: [("alice".to_owned(), alice)].into(), ..UserDirectory::default() }
        .write(&folder.path().join("access.yaml"))
        .unwrap();
}

#[tokio::test]
async fn everything_works_with_a_user_for_each_tier() {
    let Some((server, folder)) = server("permissions::everything_works_with_a_user_for_each_tier") else { return };
    furnish(&folder);
    let seal = "seal_key: a key that seals what nobody is to read\n";
    project_with(&folder, &server.url(), "worker", "worker", &cleaner(), seal);
    project(&folder, &server.url(), "gateway", seal);
    let mut worker = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    worker.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let alice = Alice { http: crate::support::client::client(), url: gateway.url("gateway") };
    let get = async |path: &str| alice.call(reqwest::Method::GET, path, json!(null)).await;

    // Started, answered, listed, with a password whose key goes with the end.
    let run = alice.begin("secret").await;
    let id = run["id"].as_str().unwrap().to_owned();
    let path = format!("/api/runs/{id}/answers/{}", question(&run));
    alice.call(reqwest::Method::POST, &path, json!({"value": "opensesame"})).await;
    let events = alice.events(&id).await;
    assert!(events.contains("the password has 10 letters"), "{events}");
    eventually("the run is listed", async || get("/api/runs").await.to_string().contains(&id)).await;
    let broker = stolen(&server.url(), "worker").await;
    let of_run = RunId::parse(&id).unwrap();
    eventually("the key is gone", async || broker.inbox.get(of_run, InboxSlot::Key).await.unwrap().is_none()).await;
    // What the operator sees.
    let overview = get("/api/overview").await;
    assert!(overview["queue"].as_array().is_some_and(|queue| !queue.is_empty()), "{overview}");
    assert_eq!(overview["cleaner"], true, "{overview}");
    assert_eq!(get("/api/workers").await["workers"].as_array().map(Vec::len), Some(1));

    // Removed, and erased: unknown at once, and gone a moment later. The gateway has not the login for it.
    alice.call(reqwest::Method::DELETE, &format!("/api/runs/{id}"), json!(null)).await;
    assert!(get(&format!("/api/runs/{id}")).await.is_null());
    let is_alone = async |run: RunId| broker.log.read(run, 0).await.unwrap().len() == 1;
    eventually("what came before the tombstone is gone", async || is_alone(of_run).await).await;
    let (run, asked) = alice.start().await;
    alice.call(reqwest::Method::POST, &format!("/api/runs/{run}/answers/{asked}"), json!({"value": "forgetme"})).await;
    alice.events(&run.to_string()).await;
    let erasing = json!({"user": "alice", "reason": "she asked"});
    let erased = alice.call(reqwest::Method::POST, "/api/audit/erase", erasing).await;
    assert_eq!(erased["erased"], json!([run]), "{erased}");
    assert_eq!(erased["cleaned_within_secs"], 60, "{erased}");
    eventually("what was erased is gone", async || is_alone(run).await).await;
    assert!(broker.inbox.get(run, InboxSlot::Answer(asked)).await.unwrap().is_none());
    for tier in ["worker.yaml", "gateway.yaml"] {
        let well = doctor(&folder, tier);
        assert!(!well.contains("not served"), "{well}");
    }

    assert!(worker.terminate().success() && gateway.terminate().success());
    for tier in [&mut worker, &mut gateway] {
        let heard = tier.heard().concat();
        assert!(!heard.to_lowercase().contains("permission"), "{heard}");
    }
}

#[tokio::test]
async fn without_a_login_beside_pythons_tiers_everything_else_works() {
    const TEST: &str = "permissions::without_a_login_beside_pythons_tiers_everything_else_works";
    let Some((server, folder)) = server(TEST) else { return };
    furnish(&folder);
    project_alone(&folder, &server.url(), "worker", "worker", &cleaner(), "");
    project_alone(&folder, &server.url(), "gateway", "gateway", "", "");
    let mut worker = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    worker.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let alice = Alice { http: crate::support::client::client(), url: gateway.url("gateway") };
    let (run, asked) = alice.start().await;
    alice.call(reqwest::Method::POST, &format!("/api/runs/{run}/answers/{asked}"), json!({"value": "hello"})).await;
    let events = alice.events(&run.to_string()).await;
    assert!(events.contains("says hello"), "{events}");
    alice.call(reqwest::Method::DELETE, &format!("/api/runs/{run}"), json!(null)).await;
    let broker = stolen(&server.url(), "worker").await;
    eventually("the run is gone", async || broker.log.read(run, 0).await.unwrap().len() == 1).await;
    let well = doctor(&folder, "worker.yaml");
    assert!(well.contains("note     nats    FastAgency's Python tiers are not served"), "{well}");
    assert!(worker.terminate().success() && gateway.terminate().success());
    let heard = worker.heard().concat();
    assert!(heard.contains("FastAgency's Python tiers are not served"), "{heard}");
}

/// What `fastagency doctor` says about a tier, which is nothing of an error.
fn doctor(folder: &TempDir, config: &str) -> String {
    let said = doctor_says(folder, config);
    assert!(!said.contains("ERROR"), "{config}: {said}");
    said
}

/// What `fastagency doctor` says about a tier.
pub fn doctor_says(folder: &TempDir, config: &str) -> String {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_fastagency"))
        .args(["doctor", "-c", config])
        .current_dir(folder.path())
        .env_remove("NATS_URL")
        .output()
        .unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[tokio::test]
async fn what_nobody_could_clean_is_cleaned_by_the_first_who_may_and_old_runs_too() {
    const TEST: &str = "permissions::what_nobody_could_clean_is_cleaned_by_the_first_who_may_and_old_runs_too";
    let Some((server, folder)) = server(TEST) else { return };
    furnish(&folder);
    let redact = "audit: { redact: { patterns: ['number [0-9]+'] } }\n";
    let worker = "worker: { lease: 1s }\n";
    project(&folder, &server.url(), "worker", &format!("{worker}{redact}"));
    project(&folder, &server.url(), "gateway", redact);
    let mut worker_without = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    worker_without.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let alice = Alice { http: crate::support::client::client(), url: gateway.url("gateway") };
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (run, asked) = alice.start().await;
        let path = format!("/api/runs/{run}/answers/{asked}");
        alice.call(reqwest::Method::POST, &path, json!({"value": "number 4711"})).await;
        alice.events(&run.to_string()).await;
        runs.push(run);
    }
    let [removed, redacted] = runs[..] else { unreachable!() };
    let broker = stolen(&server.url(), "worker").await;
    let words = async |run: RunId| {
        let stored = broker.log.read(run, 0).await.unwrap();
        (stored.len(), stored.iter().any(|one| String::from_utf8_lossy(&one.payload).contains("4711")))
    };
    alice.call(reqwest::Method::DELETE, &format!("/api/runs/{removed}"), json!(null)).await;
    // Nobody cleans: nobody sees it any more, and it is there.
    assert!(alice.call(reqwest::Method::GET, &format!("/api/runs/{removed}"), json!(null)).await.is_null());
    assert!(words(removed).await.1 && words(redacted).await.1);
    let overview = alice.call(reqwest::Method::GET, "/api/overview", json!(null)).await;
    assert_eq!(overview["cleaner"], false, "{overview}");
    worker_without.says("wait to be cleaned");
    // Until somebody may, whom nobody has called: on the tour.
    project_with(&folder, &server.url(), "worker", "cleaner", &cleaner(), &format!("{worker}{redact}keep_ended: 1h\n"));
    let mut cleaner = Tier::start(folder.path(), &["worker", "-c", "cleaner.yaml"]);
    for run in [removed, redacted] {
        eventually("only what is left is left", async || words(run).await == (1, false)).await;
    }
    assert!(
        alice.call(reqwest::Method::GET, &format!("/api/runs/{redacted}"), json!(null)).await["outcome"] == "completed"
    );
    assert!(cleaner.terminate().success());
    // What is older than it is to be kept is removed by whoever goes round.
    let short = format!("{worker}{redact}keep_ended: 1s\n");
    project_with(&folder, &server.url(), "worker", "short", &self::cleaner(), &short);
    let mut cleaner = Tier::start(folder.path(), &["worker", "-c", "short.yaml"]);
    let gone = async || alice.call(reqwest::Method::GET, &format!("/api/runs/{redacted}"), json!(null)).await.is_null();
    eventually("the old run is gone", gone).await;
    assert!(worker_without.terminate().success() && cleaner.terminate().success() && gateway.terminate().success());
}

#[tokio::test]
async fn a_workflow_that_nobody_trusted_has_signed_is_neither_started_nor_executed() {
    const TEST: &str = "permissions::a_workflow_that_nobody_trusted_has_signed_is_neither_started_nor_executed";
    let Some((server, folder)) = server(TEST) else { return };
    furnish(&folder);
    let secret = "a secret of the workers that nobody else knows";
    let public = StatementSigner::new(&secret.to_owned().into()).public();
    let trusts = format!("trusted_definition_keys: [{public}]");
    project(&folder, &server.url(), "worker", &format!("worker: {{ definition_key: {secret}, {trusts} }}\n"));
    project(&folder, &server.url(), "gateway", &format!("gateway: {{ {trusts} }}\n"));
    let mut worker = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    worker.says(&public.to_string());
    worker.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let alice = Alice { http: crate::support::client::client(), url: gateway.url("gateway") };
    // What was signed is started, and what it starts itself is executed, too.
    let run = alice.begin("parent").await;
    assert_eq!(run["outcome"], "completed", "{run}");

    // A thief with a worker's login announces a workflow of his, and changes one that is there.
    let thief = stolen(&server.url(), "worker").await;
    let folder_of_thief = tempfile::tempdir().unwrap();
    let theirs = WORKFLOW.replace("name: who", "name: theirs").replace("says", "is robbed of");
    std::fs::write(folder_of_thief.path().join("theirs.yaml"), theirs).unwrap();
    let theirs = fastagency::workflow::load_folder(folder_of_thief.path()).unwrap().swap_remove(0);
    let card = |name: &str, hash: String| fastagency::run::directory::WorkflowCard {
        name: Name::parse(name).unwrap(),
        title: None,
        description: None,
        params: None,
        definition: hash,
        uses_caller_token: false,
        signed: None,
    };
    let bytes = theirs.definition.to_bytes();
    let hash = theirs.definition.hash();
    for name in ["theirs", "who"] {
        let signer = StatementSigner::new(&"another secret of somebody else".to_owned().into());
        let card = card(name, hash.clone());
        fastagency::run::directory::announce(&thief, &card, bytes.clone(), Some(&signer)).await.unwrap();
    }
    gateway.says("an announcement is ignored");
    gateway.says("an announcement is ignored");
    let listed = alice.call(reqwest::Method::GET, "/api/workflows", json!(null)).await.to_string();
    assert!(!listed.contains("theirs"), "{listed}");
    // And starts it with a record of his own.
    let run = RunId::random();
    let wanted = RunStart {
        run,
        workflow: Name::parse("who").unwrap(),
        definition: Some(hash.clone()),
        params: serde_json::Map::new(),
        user: UserId::new("alice"),
        groups: Box::default(),
        origin: RunOrigin::Gateway,
    };
    start(&thief, wanted, None).await.unwrap();
    worker.says("no key in trusted_definition_keys has signed it");
    // A definition is written once.
    let put = thief.catalogue.put(Bucket::Definitions, &hash, "{}".into(), None).await;
    assert!(put.is_err(), "a definition is changed");
    assert!(worker.terminate().success() && gateway.terminate().success());
}

#[tokio::test]
async fn runs_of_the_definition_key_before_go_on_as_long_as_its_public_key_is_trusted() {
    const TEST: &str = "permissions::runs_of_the_definition_key_before_go_on_as_long_as_its_public_key_is_trusted";
    let Some((server, folder)) = server(TEST) else { return };
    furnish(&folder);
    let [old, new] = ["the secret of the workers before the change", "the secret of the workers since the change"];
    let public = |secret: &str| StatementSigner::new(&secret.to_owned().into()).public().to_string();
    let worker = |file: &str, key: &str, trusted: &[&str]| {
        let trusted: Vec<String> = trusted.iter().map(|secret| public(secret)).collect();
        let trusts = format!("trusted_definition_keys: [{}]", trusted.join(", "));
        project_with(
            &folder,
            &server.url(),
            "worker",
            file,
            "",
            &format!("worker: {{ definition_key: {key}, {trusts} }}\n"),
        );
        let mut worker = Tier::start(folder.path(), &["worker", "-c", &format!("{file}.yaml")]);
        worker.says("worker ready");
        worker
    };
    let trusts = format!("gateway: {{ trusted_definition_keys: [{}, {}] }}\n", public(old), public(new));
    project(&folder, &server.url(), "gateway", &trusts);
    let mut before = worker("before", old, &[old]);
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let alice = Alice { http: crate::support::client::client(), url: gateway.url("gateway") };
    let (waits, waits_too) = (alice.start().await, alice.start().await);
    assert!(before.terminate().success());

    // Another key, and another definition: nothing that is new has signed the one that the runs are pinned to.
    std::fs::write(folder.path().join("workflows/who.yaml"), WORKFLOW.replace("says", "sings")).unwrap();
    let answer = async |(run, question): (RunId, MessageId)| {
        let path = format!("/api/runs/{run}/answers/{question}");
        alice.call(reqwest::Method::POST, &path, json!({"value": "la"})).await;
    };
    let mut during = worker("during", new, &[new, old]);
    answer(waits).await;
    let events = alice.events(&waits.0.to_string()).await;
    assert!(events.contains("says la"), "{events}");
    // The gateway learns of the new definition a moment after the worker is ready.
    let sings = async {
        loop {
            let started = alice.start().await;
            answer(started).await;
            if alice.events(&started.0.to_string()).await.contains("sings la") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, sings).await.expect("what is new is signed by the new key");
    assert!(during.terminate().success());
    // Who takes the old one away too early stops what still waits, and says so.
    let mut after = worker("after", new, &[new]);
    answer(waits_too).await;
    after.says("no key in trusted_definition_keys has signed it");
    assert!(after.terminate().success() && gateway.terminate().success());
}

/// The gateway at an address, as alice calls it.
pub struct Alice {
    pub http: reqwest::Client,
    pub url: String,
}

impl Alice {
    pub async fn call(&self, method: reqwest::Method, path: &str, body: serde_json::Value) -> serde_json::Value {
        let request = self.http.request(method, format!("{}{path}", self.url)).basic_auth("alice", Some(ALICE));
        let answer = request.timeout(PATIENCE).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        if status == 404 {
            return serde_json::Value::Null;
        }
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
    }

    /// Starts the workflow, and waits for its question.
    pub async fn start(&self) -> (RunId, MessageId) {
        let run = self.begin("who").await;
        (RunId::parse(run["id"].as_str().unwrap()).unwrap(), question(&run))
    }

    /// Starts a workflow, and waits until it asks or has ended.
    pub async fn begin(&self, workflow: &str) -> serde_json::Value {
        eventually("the gateway has heard of the workflow", async || {
            let run = self.call(reqwest::Method::POST, "/api/runs?wait=20", json!({"workflow": workflow})).await;
            (!run.is_null()).then_some(run)
        })
        .await
    }

    /// What happened in a run that has ended.
    pub async fn events(&self, run: &str) -> String {
        self.call(reqwest::Method::GET, &format!("/api/runs/{run}/events"), json!(null)).await.to_string()
    }
}

pub fn question(run: &serde_json::Value) -> MessageId {
    MessageId::parse(run["question"]["id"].as_str().unwrap_or_else(|| panic!("it asks: {run}"))).unwrap()
}

/// The broker in the hands of somebody who has stolen a tier's login.
pub async fn stolen(url: &str, tier: &str) -> Broker {
    let settings = NatsConfig {
        url: url.to_owned(),
        user: Some(tier.to_owned()),
        password: Some(password(tier).into()),
        ..NatsConfig::default()
    };
    nats::connect(&settings, "thief").await.unwrap()
}

#[tokio::test]
async fn with_a_stolen_login_of_a_worker_nothing_is_done_in_anybodys_name() {
    const TEST: &str = "permissions::with_a_stolen_login_of_a_worker_nothing_is_done_in_anybodys_name";
    let Some((server, folder)) = server(TEST) else { return };
    furnish(&folder);
    let secret = "a secret of the gateway that nobody else knows";
    let public = StatementSigner::new(&secret.to_owned().into()).public();
    project(&folder, &server.url(), "worker", &format!("worker: {{ trusted_gateways: [{public}] }}\n"));
    project(&folder, &server.url(), "gateway", &format!("gateway: {{ signing_key: {secret} }}\n"));
    let mut worker = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    worker.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let url = gateway.url("gateway");
    let alice = Alice { http: crate::support::client::client(), url };
    let (run, first) = alice.start().await;

    // The thief answers in her name, and the question is asked again; what she says herself counts.
    let thief = stolen(&server.url(), "worker").await;
    let (who, name) = (UserId::new("alice"), Name::parse("who").unwrap());
    let forged = SubmittedAnswer::new(AnswerPayload::Value(json!("forged")), who.clone());
    // Signed, but by nobody whom the worker was told of.
    let another = StatementSigner::new(&"another".to_owned().into());
    let forged = forged.signed(&another, fastagency::signing::SignedStatement::Answer(run, first));
    answer(&thief, &name, run, first, &forged).await.unwrap();
    let again = eventually("the question is asked again", async || {
        let shown = alice.call(reqwest::Method::GET, &format!("/api/runs/{run}"), json!(null)).await;
        (shown["state"] == "waiting" && question(&shown) != first).then(|| question(&shown)).ok_or(shown)
    })
    .await;
    let path = format!("/api/runs/{run}/answers/{again}");
    alice.call(reqwest::Method::POST, &path, json!({"value": "hers"})).await;
    let events = alice.events(&run.to_string()).await;
    assert!(events.contains("no trusted gateway has signed the answer"), "{events}");
    assert!(events.contains("alice of teachers, readers says hers"), "{events}");
    assert!(!events.contains("says forged"), "{events}");

    // A cancel in her name ends the run, as any worker could, but it is not said that she did it.
    let (run, asked) = alice.start().await;
    assert!(thief.inbox.get(run, InboxSlot::Answer(asked)).await.unwrap().is_none());
    cancel(&thief, &name, run, who.clone(), None).await.unwrap();
    let events = alice.events(&run.to_string()).await;
    assert!(events.contains("The run was stopped.") && !events.contains("stopped by"), "{events}");

    // What the thief starts in her name is done by nobody.
    let begun = fastagency::run::read(&thief, run, 0).await.unwrap();
    let fastagency::run::record::RecordBody::Created(created) = begun[0].record.body.clone() else { panic!("a start") };
    assert!(created.signature.is_some());
    let forged = RunStart {
        run: RunId::random(),
        workflow: created.workflow,
        definition: created.definition,
        params: created.params,
        user: who,
        groups: created.groups,
        origin: RunOrigin::Gateway,
    };
    let id = forged.run;
    start(&thief, forged, None).await.unwrap();
    let line = worker.says("has signed its start");
    assert!(line.contains(&id.to_string()), "{line}");
    let records = fastagency::run::read(&thief, id, 0).await.unwrap();
    assert_eq!(records.len(), 1, "it was never claimed");
    assert!(worker.terminate().success() && gateway.terminate().success());
}

#[tokio::test]
async fn what_a_workflow_starts_is_signed_by_its_worker_or_is_not_done() {
    const TEST: &str = "permissions::what_a_workflow_starts_is_signed_by_its_worker_or_is_not_done";
    let Some((server, folder)) = server(TEST) else { return };
    furnish(&folder);
    let [gateways, workers] =
        ["a secret of the gateways that nobody else knows", "a secret of the workers that is as long as it"];
    let public = |secret: &str| StatementSigner::new(&secret.to_owned().into()).public();
    project(&folder, &server.url(), "gateway", &format!("gateway: {{ signing_key: {gateways} }}\n"));
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let url = gateway.url("gateway");
    let alice = Alice { http: crate::support::client::client(), url };
    let worker = |more: &str| {
        let believed = public(gateways);
        project(
            &folder,
            &server.url(),
            "worker",
            &format!("worker: {{ {} }}\n", more.replace("GATEWAYS", &believed.to_string())),
        );
        let mut worker = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
        worker.says("worker ready");
        worker
    };

    // A worker without a key of its own cannot start anything in her name.
    let mut mute = worker("trusted_gateways: [GATEWAYS]");
    let run = alice.begin("parent").await;
    let events = alice.events(run["id"].as_str().unwrap()).await;
    assert!(events.contains("nothing would sign the new run") && run["outcome"] == "failed", "{run} {events}");
    assert!(mute.terminate().success());

    // One whose key nobody believes starts what nobody does.
    let mut unknown = worker(&format!("trusted_gateways: [GATEWAYS], signing_key: {workers}"));
    let run = alice.begin("parent").await;
    assert_eq!(run["outcome"], "completed", "{run}");
    unknown.says("has signed its start");
    assert!(unknown.terminate().success());

    // One whose key is believed: the child is hers, and does what she says.
    let mut known = worker(&format!("trusted_gateways: [GATEWAYS, {}], signing_key: {workers}", public(workers)));
    let run = alice.begin("parent").await;
    let events = alice.events(run["id"].as_str().unwrap()).await;
    let child = regex::Regex::new("result[^0-9a-f]+([0-9a-f]{32})").unwrap().captures(&events);
    let child = child.unwrap_or_else(|| panic!("the child's id is the result: {events}"))[1].to_owned();
    let asked = eventually("the child asks", async || {
        let shown = alice.call(reqwest::Method::GET, &format!("/api/runs/{child}"), json!(null)).await;
        (shown["state"] == "waiting").then(|| question(&shown)).ok_or(shown)
    })
    .await;
    let path = format!("/api/runs/{child}/answers/{asked}");
    alice.call(reqwest::Method::POST, &path, json!({"value": "hello"})).await;
    let events = alice.events(&child).await;
    assert!(events.contains("alice of teachers, readers says hello"), "{events}");
    assert!(known.terminate().success() && gateway.terminate().success());
}
