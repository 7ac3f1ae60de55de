//! Each tier with a user of its own at the NATS server, as `nats-server.tiers.conf` has them: everything works, and a stolen
//! login does no more than its tier does.

use std::time::Duration;

use fastagency::auth::{People, User, hash_password};
use fastagency::broker::{Broker, Slot, nats};
use fastagency::config::Nats;
use fastagency::ids::{MessageId, Name, RunId, UserId};
use fastagency::run::answer::{Answer, Given, answer, cancel};
use fastagency::run::record::Origin;
use fastagency::run::start::{Start, start};
use fastagency::vouch::Voucher;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::nats_server::NatsServer;
use crate::support::tier::Tier;

const PATIENCE: Duration = Duration::from_secs(30);
const ALICE: &str = "alice's password";

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

/// The server of the example file, but for its passwords.
fn server(test: &str) -> Option<(NatsServer, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string("nats-server.tiers.conf").unwrap();
    let text = ["WORKER", "GATEWAY", "PYTHON"].iter().fold(text, |text, name| {
        text.replace(&format!("$FASTAGENCY_NATS_{name}\n"), &format!("\"{}\"\n", password(name)))
    });
    // The test's server has a store of its own.
    let text = text.replace("  store_dir: \"./data/nats\"\n", "");
    let path = folder.path().join("nats.conf");
    std::fs::write(&path, text).unwrap();
    let server = NatsServer::start_with(test, &["-c", path.to_str().unwrap()])?;
    Some((server, folder))
}

fn password(name: &str) -> String {
    format!("the password of {}", name.to_lowercase())
}

fn project(folder: &TempDir, nats: &str, tier: &str, more: &str) {
    let config = format!(
        "version: 1\nname: tiers\nnats: {{ url: \"{nats}\", user: {tier}, password: \"{}\" }}\n\
         auth: {{ mode: basic, file: access.yaml }}\n{more}",
        password(tier)
    );
    std::fs::write(folder.path().join(format!("{tier}.yaml")), config).unwrap();
}

/// The workflow, and alice.
fn furnish(folder: &TempDir) {
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/who.yaml"), WORKFLOW).unwrap();
    std::fs::write(folder.path().join("workflows/parent.yaml"), PARENT).unwrap();
    let alice = User { password: hash_password(ALICE), groups: vec!["teachers".into(), "readers".into()] };
    People { users: [("alice".to_owned(), alice)].into(), ..People::default() }
        .write(&folder.path().join("access.yaml"))
        .unwrap();
}

#[tokio::test]
async fn everything_works_with_a_user_for_each_tier() {
    let Some((server, folder)) = server("permissions::everything_works_with_a_user_for_each_tier") else { return };
    furnish(&folder);
    for tier in ["worker", "gateway"] {
        project(&folder, &server.url(), tier, "");
    }
    let mut worker = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    worker.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let url = gateway.url("gateway");

    // With a password, as the page's own tier would send it.
    let http = crate::gateway::house::client();
    let call = |method: reqwest::Method, path: &str| {
        http.request(method, format!("{url}{path}")).basic_auth("alice", Some(ALICE)).timeout(PATIENCE)
    };
    let run = loop {
        let answer =
            call(reqwest::Method::POST, "/api/runs?wait=20").json(&json!({"workflow": "who"})).send().await.unwrap();
        let status = answer.status();
        let run: serde_json::Value = answer.json().await.unwrap();
        match status.as_u16() {
            201 => break run,
            // No gateway has heard of the workflow yet.
            404 => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => panic!("{status}: {run}"),
        }
    };
    let (id, question) = (run["id"].as_str().unwrap(), run["question"]["id"].as_str().unwrap());
    let answered =
        call(reqwest::Method::POST, &format!("/api/runs/{id}/answers/{question}")).json(&json!({"value": "hello"}));
    assert_eq!(answered.send().await.unwrap().status(), 202);
    let events =
        call(reqwest::Method::GET, &format!("/api/runs/{id}/events")).send().await.unwrap().text().await.unwrap();
    assert!(events.contains("alice of teachers, readers says hello"), "{events}");
    // Lists follow their runs after a moment.
    let listed = async {
        while !call(reqwest::Method::GET, "/api/runs").send().await.unwrap().text().await.unwrap().contains(id) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listed).await.expect("the run is listed");
    assert_eq!(call(reqwest::Method::DELETE, &format!("/api/runs/{id}")).send().await.unwrap().status(), 204);
    assert!(worker.terminate().success() && gateway.terminate().success());
    for tier in [&mut worker, &mut gateway] {
        let heard = tier.heard().concat();
        assert!(!heard.to_lowercase().contains("permission"), "{heard}");
    }
}

/// Whether the server refuses that this user publishes on this subject.
async fn is_refused(url: &str, user: &str, subject: &str) -> bool {
    let (told, mut heard) = mpsc::unbounded_channel();
    let client = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password(user))
        .event_callback(move |event| {
            let told = told.clone();
            async move { drop(told.send(event.to_string())) }
        })
        .connect(url)
        .await
        .expect("the user may connect");
    client.publish(subject.to_owned(), "{}".into()).await.unwrap();
    // Everybody may ask this; the answer comes after whatever the server says about what came before.
    let answer = client.request("$JS.API.INFO", "".into());
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer").expect("an answer");
    let mut refused = false;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(300), heard.recv()).await {
        refused |= event.to_lowercase().contains("permissions violation");
        if refused {
            break;
        }
    }
    refused
}

#[tokio::test]
async fn a_stolen_login_does_no_more_than_its_tier() {
    let Some((server, _folder)) = server("permissions::a_stolen_login_does_no_more_than_its_tier") else { return };
    let url = server.url();
    let run = "0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d";
    let refused: [(&str, Vec<String>); 3] = [
        // A worker starts and answers nothing as a user of a Python tier, and removes no stream.
        (
            "worker",
            vec![
                "chat.server.initiate_chat".into(),
                format!("chat.server.messages.alice.{run}"),
                "$JS.API.STREAM.DELETE.FA_RUNS".into(),
            ],
        ),
        // A gateway takes no job, says nothing as a worker, has no lease, and changes no workflow.
        (
            "gateway",
            vec![
                "$JS.API.CONSUMER.MSG.NEXT.FA_QUEUE.work_who".into(),
                "$JS.API.CONSUMER.CREATE.FA_QUEUE.mine.fa.queue.who".into(),
                "$JS.API.CONSUMER.CREATE.FA_QUEUE".into(),
                "$JS.API.STREAM.DELETE.FA_RUNS".into(),
                "$JS.ACK.FA_QUEUE.work_who.1.1.1.1.1".into(),
                "$KV.fa_workers.somebody".into(),
                "$KV.fa_workflows.who".into(),
                "$KV.fa_definitions.hash".into(),
                format!("fa.live.run.{run}.delta"),
                format!("fa.timer.{run}"),
                format!("chat.client.messages.alice.{run}"),
                "$KV.discovery.who".into(),
            ],
        ),
        // Python's tiers touch nothing of ours.
        (
            "python",
            vec![
                format!("fa.run.{run}.did"),
                format!("fa.inbox.{run}.cancel"),
                "fa.queue.who".into(),
                "$KV.fa_runs.alice".into(),
                "$JS.API.STREAM.PURGE.FA_RUNS".into(),
                "$JS.API.DIRECT.GET.FA_RUNS".into(),
                "$JS.API.STREAM.MSG.GET.FA_RUNS".into(),
                "$JS.API.CONSUMER.CREATE.FA_RUNS.x".into(),
                "$JS.API.STREAM.CREATE.MINE".into(),
            ],
        ),
    ];
    for (user, subjects) in refused {
        for subject in subjects {
            assert!(is_refused(&url, user, &subject).await, "{user} may publish on {subject}");
        }
    }
    for (user, subject) in [
        ("worker", format!("fa.run.{run}.did")),
        ("gateway", format!("fa.inbox.{run}.cancel")),
        ("python", "chat.server.initiate_chat".to_owned()),
    ] {
        assert!(!is_refused(&url, user, &subject).await, "{user} may not publish on {subject}");
    }
}

/// The gateway at an address, as alice calls it.
struct Alice {
    http: reqwest::Client,
    url: String,
}

impl Alice {
    async fn call(&self, method: reqwest::Method, path: &str, body: serde_json::Value) -> serde_json::Value {
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
    async fn start(&self) -> (RunId, MessageId) {
        let run = self.begin("who").await;
        (RunId::parse(run["id"].as_str().unwrap()).unwrap(), question(&run))
    }

    /// Starts a workflow, and waits until it asks or has ended.
    async fn begin(&self, workflow: &str) -> serde_json::Value {
        loop {
            let run = self.call(reqwest::Method::POST, "/api/runs?wait=20", json!({"workflow": workflow})).await;
            if !run.is_null() {
                return run;
            }
            // No gateway has heard of the workflow yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What happened in a run that has ended.
    async fn events(&self, run: &str) -> String {
        self.call(reqwest::Method::GET, &format!("/api/runs/{run}/events"), json!(null)).await.to_string()
    }
}

fn question(run: &serde_json::Value) -> MessageId {
    MessageId::parse(run["question"]["id"].as_str().unwrap_or_else(|| panic!("it asks: {run}"))).unwrap()
}

/// The broker in the hands of somebody who has stolen a tier's login.
async fn stolen(url: &str, tier: &str) -> Broker {
    let settings = Nats {
        url: url.to_owned(),
        user: Some(tier.to_owned()),
        password: Some(password(tier).into()),
        ..Nats::default()
    };
    nats::connect(&settings, "thief").await.unwrap()
}

#[tokio::test]
async fn with_a_stolen_login_of_a_worker_nothing_is_done_in_anybodys_name() {
    const TEST: &str = "permissions::with_a_stolen_login_of_a_worker_nothing_is_done_in_anybodys_name";
    let Some((server, folder)) = server(TEST) else { return };
    furnish(&folder);
    let secret = "a secret of the gateway that nobody else knows";
    let public = Voucher::new(&secret.to_owned().into()).public();
    project(&folder, &server.url(), "worker", &format!("worker: {{ believes: [{public}] }}\n"));
    project(&folder, &server.url(), "gateway", &format!("gateway: {{ vouch_key: {secret} }}\n"));
    let mut worker = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    worker.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let url = gateway.url("gateway");
    let alice = Alice { http: crate::gateway::house::client(), url };
    let (run, first) = alice.start().await;

    // The thief answers in her name, and the question is asked again; what she says herself counts.
    let thief = stolen(&server.url(), "worker").await;
    let (who, name) = (UserId::new("alice"), Name::parse("who").unwrap());
    let forged = Given::new(Answer::Value(json!("forged")), who.clone());
    // Signed, but by nobody whom the worker was told of.
    let forged =
        Voucher::new(&"another".to_owned().into()).vouch(fastagency::vouch::Matter::Answer(run, first), forged);
    answer(&thief, &name, run, first, &forged).await.unwrap();
    let asked_again = async {
        loop {
            let shown = alice.call(reqwest::Method::GET, &format!("/api/runs/{run}"), json!(null)).await;
            if shown["state"] == "waiting" && question(&shown) != first {
                return question(&shown);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let again = tokio::time::timeout(PATIENCE, asked_again).await.expect("the question is asked again");
    let path = format!("/api/runs/{run}/answers/{again}");
    alice.call(reqwest::Method::POST, &path, json!({"value": "hers"})).await;
    let events = alice.events(&run.to_string()).await;
    assert!(events.contains("no gateway vouches for the answer"), "{events}");
    assert!(events.contains("alice of teachers, readers says hers"), "{events}");
    assert!(!events.contains("says forged"), "{events}");

    // A cancel in her name ends the run, as any worker could, but it is not said that she did it.
    let (run, asked) = alice.start().await;
    assert!(thief.inbox.get(run, Slot::Answer(asked)).await.unwrap().is_none());
    cancel(&thief, &name, run, who.clone(), None).await.unwrap();
    let events = alice.events(&run.to_string()).await;
    assert!(events.contains("The run was stopped.") && !events.contains("stopped by"), "{events}");

    // What the thief starts in her name is done by nobody.
    let begun = fastagency::run::read(&thief, run, 0).await.unwrap();
    let fastagency::run::record::Body::Created(created) = begun[0].record.body.clone() else { panic!("a start") };
    assert!(created.vouched.is_some());
    let forged = Start {
        run: RunId::random(),
        workflow: created.workflow,
        definition: created.definition,
        params: created.params,
        user: who,
        groups: created.groups,
        origin: Origin::Gateway,
    };
    let id = forged.run;
    start(&thief, forged, None).await.unwrap();
    let line = worker.says("vouches for its start");
    assert!(line.contains(&id.to_string()), "{line}");
    let records = fastagency::run::read(&thief, id, 0).await.unwrap();
    assert_eq!(records.len(), 1, "it was never claimed");
    assert!(worker.terminate().success() && gateway.terminate().success());
}

#[tokio::test]
async fn what_a_workflow_starts_is_vouched_for_by_its_worker_or_is_not_done() {
    const TEST: &str = "permissions::what_a_workflow_starts_is_vouched_for_by_its_worker_or_is_not_done";
    let Some((server, folder)) = server(TEST) else { return };
    furnish(&folder);
    let [gateways, workers] =
        ["a secret of the gateways that nobody else knows", "a secret of the workers that is as long as it"];
    let public = |secret: &str| Voucher::new(&secret.to_owned().into()).public();
    project(&folder, &server.url(), "gateway", &format!("gateway: {{ vouch_key: {gateways} }}\n"));
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let url = gateway.url("gateway");
    let alice = Alice { http: crate::gateway::house::client(), url };
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
    let mut mute = worker("believes: [GATEWAYS]");
    let run = alice.begin("parent").await;
    let events = alice.events(run["id"].as_str().unwrap()).await;
    assert!(events.contains("nobody would vouch for the new run") && run["outcome"] == "failed", "{run} {events}");
    assert!(mute.terminate().success());

    // One whose key nobody believes starts what nobody does.
    let mut unknown = worker(&format!("believes: [GATEWAYS], vouch_key: {workers}"));
    let run = alice.begin("parent").await;
    assert_eq!(run["outcome"], "completed", "{run}");
    unknown.says("vouches for its start");
    assert!(unknown.terminate().success());

    // One whose key is believed: the child is hers, and does what she says.
    let mut known = worker(&format!("believes: [GATEWAYS, {}], vouch_key: {workers}", public(workers)));
    let run = alice.begin("parent").await;
    let events = alice.events(run["id"].as_str().unwrap()).await;
    let child = regex::Regex::new("result[^0-9a-f]+([0-9a-f]{32})").unwrap().captures(&events);
    let child = child.unwrap_or_else(|| panic!("the child's id is the result: {events}"))[1].to_owned();
    let asked = async {
        loop {
            let shown = alice.call(reqwest::Method::GET, &format!("/api/runs/{child}"), json!(null)).await;
            if shown["state"] == "waiting" {
                return question(&shown);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, asked).await.expect("it asks");
    let path = format!("/api/runs/{child}/answers/{asked}");
    alice.call(reqwest::Method::POST, &path, json!({"value": "hello"})).await;
    let events = alice.events(&child).await;
    assert!(events.contains("alice of teachers, readers says hello"), "{events}");
    assert!(known.terminate().success() && gateway.terminate().success());
}
