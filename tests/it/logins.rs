//! What a stolen login of each tier can do at the NATS server: the table of docs/explanation/security.md, each cell tried at a server with
//! the shipped configuration, one server and three.

use std::time::Duration;

use fastagency::broker::{Error, nats};
use fastagency::config::NatsConfig;
use fastagency::ids::{Name, RunId};
use fastagency::protocol::queue_name::QueueName;
use fastagency::run::directory;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::permissions::{
    ALICE, Alice, PATIENCE, configuration, doctor_says, furnish, password, project, project_with, server, set_up,
    stolen,
};
use crate::support::eventually::{eventually, eventually_within};
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::system::System;
use crate::support::tier::Tier;

/// Something that can be done by publishing, the subjects that do it, and whose login may.
type Doing = (&'static str, Vec<String>, &'static [&'static str]);
/// The same of hearing.
type Hearing = (&'static str, &'static [&'static str], &'static [&'static str]);

/// What can be done in our account.
fn publishing() -> Vec<Doing> {
    let run = RunId::random();
    let api = |calls: &[&str]| calls.iter().map(|call| format!("$JS.API.{call}")).collect::<Vec<_>>();
    let of = |subjects: &[&str]| subjects.iter().map(|subject| subject.replace("RUN", &run.to_string())).collect();
    vec![
        (
            "read logs and inboxes",
            api(&["DIRECT.GET.FA_RUNS", "DIRECT.GET.FA_RUNS.fa.run.RUN.did", "STREAM.MSG.GET.FA_RUNS"]),
            &["operator", "worker", "gateway"],
        ),
        ("walk over all runs", api(&["CONSUMER.CREATE.FA_RUNS.x"]), &["operator", "worker", "gateway"]),
        (
            "read definitions",
            api(&["DIRECT.GET.KV_fa_definitions", "DIRECT.GET.KV_fa_definitions.$KV.fa_definitions.x"]),
            &["operator", "worker"],
        ),
        ("read jobs", api(&["STREAM.MSG.GET.FA_QUEUE"]), &["operator"]),
        ("append what people see", of(&["fa.run.RUN.said"]), &["worker", "gateway"]),
        ("append what happened, start and remove runs", of(&["fa.run.RUN.did"]), &["worker", "gateway"]),
        ("answer and cancel", of(&["fa.inbox.RUN.cancel"]), &["worker", "gateway"]),
        (
            "take jobs",
            api(&["CONSUMER.MSG.NEXT.FA_QUEUE.work_who", "CONSUMER.CREATE.FA_QUEUE.mine.fa.queue.who"]),
            &["operator", "worker"],
        ),
        (
            "hold new runs back, by their consumer",
            api(&["CONSUMER.MSG.NEXT.FA_RUNS.new_who", "CONSUMER.DELETE.FA_RUNS.new_who"]),
            &["operator", "worker", "gateway"],
        ),
        (
            "settle jobs and new runs",
            ["FA_QUEUE.work_who", "FA_RUNS.new_who"].map(|of| format!("$JS.ACK.{of}.1.1.1.1.1")).to_vec(),
            &["worker"],
        ),
        (
            "count jobs and new runs",
            api(&["CONSUMER.INFO.FA_QUEUE.work_who", "CONSUMER.INFO.FA_RUNS.new_who"]),
            &["operator", "worker", "gateway"],
        ),
        (
            "take workers' consumers away",
            api(&["CONSUMER.DELETE.FA_QUEUE.work_who", "CONSUMER.PAUSE.FA_QUEUE.work_who"]),
            &["operator"],
        ),
        ("queue jobs and notices", of(&["fa.queue.who", "fa.queue.~webhook-who"]), &["worker", "gateway"]),
        ("set timers", of(&["fa.timer.RUN"]), &["worker"]),
        ("show what a model is writing", of(&["fa.live.run.7.RUN.delta"]), &["worker"]),
        ("show records that nobody has stored", of(&["fa.live.run.7.RUN.said", "fa.live.shelf.workflows.x"]), &[]),
        ("have a lease", of(&["$KV.fa_workers.x"]), &["worker"]),
        ("announce workflows", of(&["$KV.fa_workflows.x"]), &["worker"]),
        ("add definitions", of(&["$KV.fa_definitions.x"]), &["worker"]),
        ("write lists", of(&["$KV.fa_runs.x"]), &["worker", "gateway"]),
        ("overwrite lines of the lists", api(&["STREAM.MSG.DELETE.KV_fa_runs"]), &["operator", "worker", "gateway"]),
        (
            "read the secret of Idempotency-Keys, and which sessions were ended",
            api(&[
                "DIRECT.GET.KV_fa_gateways",
                "DIRECT.GET.KV_fa_gateways.$KV.fa_gateways.idempotency",
                "STREAM.MSG.GET.KV_fa_gateways",
                "CONSUMER.CREATE.KV_fa_gateways.x",
                "CONSUMER.MSG.NEXT.KV_fa_gateways.x",
            ]),
            &["operator", "gateway"],
        ),
        (
            "end sessions, and revive them where they are not known to be over; change that secret",
            of(&["$KV.fa_gateways.ended.x", "$KV.fa_gateways.idempotency"]),
            &["gateway"],
        ),
        (
            "take the bucket of ended sessions away",
            api(&["STREAM.PURGE.KV_fa_gateways", "STREAM.DELETE.KV_fa_gateways", "STREAM.MSG.DELETE.KV_fa_gateways"]),
            &["operator"],
        ),
        (
            "read the sealed tokens of servers outside",
            api(&[
                "DIRECT.GET.KV_fa_tokens",
                "DIRECT.GET.KV_fa_tokens.$KV.fa_tokens.x",
                "STREAM.MSG.GET.KV_fa_tokens",
                "CONSUMER.CREATE.KV_fa_tokens.x",
                "CONSUMER.MSG.NEXT.KV_fa_tokens.x",
            ]),
            &["operator", "worker"],
        ),
        ("replace and remove them", of(&["$KV.fa_tokens.x"]), &["worker"]),
        (
            "take the bucket of tokens away",
            api(&["STREAM.PURGE.KV_fa_tokens", "STREAM.DELETE.KV_fa_tokens", "STREAM.MSG.DELETE.KV_fa_tokens"]),
            &["operator"],
        ),
        ("tell a run a password that is stored nowhere", of(&["fa.live.inbox.7.RUN.x"]), &["worker", "gateway"]),
        ("call the cleaner, who looks at the log", of(&["fa.live.clean.RUN"]), &["worker", "gateway"]),
        (
            "make, change and remove streams; sources and republish are among their settings",
            api(&[
                "STREAM.CREATE.MINE",
                "STREAM.UPDATE.FA_RUNS",
                "STREAM.DELETE.FA_RUNS",
                "STREAM.UPDATE.FA_QUEUE",
                "STREAM.UPDATE.KV_fa_workflows",
                "STREAM.UPDATE.KV_fa_definitions",
                "STREAM.DELETE.KV_fa_definitions",
            ]),
            &["operator"],
        ),
        ("purge runs and timers", api(&["STREAM.PURGE.FA_RUNS", "STREAM.PURGE.FA_QUEUE"]), &["operator", "cleaner"]),
        (
            "purge what exists",
            api(&["STREAM.PURGE.KV_fa_runs", "STREAM.PURGE.KV_fa_definitions", "STREAM.PURGE.KV_fa_workflows"]),
            &["operator"],
        ),
        ("remove one record", api(&["STREAM.MSG.DELETE.FA_RUNS"]), &["operator", "cleaner"]),
        (
            "remove one job or entry",
            api(&[
                "STREAM.MSG.DELETE.FA_QUEUE",
                "STREAM.MSG.DELETE.KV_fa_workers",
                "STREAM.MSG.DELETE.KV_fa_workflows",
                "STREAM.MSG.DELETE.KV_fa_definitions",
            ]),
            &["operator"],
        ),
        ("copy and restore streams", api(&["STREAM.SNAPSHOT.FA_RUNS", "STREAM.RESTORE.FA_RUNS"]), &["operator"]),
        (
            "move streams between servers",
            api(&["STREAM.LEADER.STEPDOWN.FA_RUNS", "STREAM.PEER.REMOVE.FA_RUNS"]),
            &["operator"],
        ),
        ("list streams", api(&["STREAM.NAMES", "STREAM.LIST"]), &["operator"]),
        ("ask the server", of(&["$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.FASTAGENCY.CONNZ"]), &[]),
        ("answer in the server's place", of(&["_INBOX.gateway.x", "_INBOX.worker.x"]), &[]),
    ]
}

/// The same for hearing.
const HEARING: [Hearing; 10] = [
    ("hear runs live", &["fa.live.run.*.*.*", "fa.live.shelf.workflows.>"], &["worker", "gateway"]),
    ("hear passwords that are stored nowhere", &["fa.live.inbox.*.*.*", "fa.live.>"], &["worker"]),
    ("hear which server leads a stream", &["$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*"], &["worker", "gateway"]),
    ("hear what else JetStream says", &["$JS.EVENT.>"], &[]),
    ("hear calls for the cleaner", &["fa.live.clean.*"], &["worker"]),
    ("hear what is published before it is stored", &["fa.run.>", "fa.inbox.>", "fa.queue.>", "$KV.>"], &[]),
    ("hear the answers to everybody", &["_INBOX.>", ">"], &[]),
    ("hear the answers to a gateway", &["_INBOX.gateway.>"], &["gateway"]),
    ("hear the answers to a worker", &["_INBOX.worker.>"], &["worker"]),
    ("hear the server", &["$SYS.>"], &[]),
];

/// The logins in our account: those of the other one are kept from ours by the account, whatever they may there.
const OURS: [&str; 4] = ["operator", "cleaner", "worker", "gateway"];

/// Our logins in the account of Python's tiers. Python's own may do everything there.
const BESIDE_PYTHON: [&str; 2] = ["worker-python", "gateway-python"];

/// What can be done in the account of Python's tiers.
fn publishing_beside_python() -> Vec<Doing> {
    let api = |calls: &[&str]| calls.iter().map(|call| format!("$JS.API.{call}")).collect::<Vec<_>>();
    let of = |subjects: &[&str]| subjects.iter().map(|subject| (*subject).to_owned()).collect();
    vec![
        (
            "read conversations and names",
            api(&["STREAM.MSG.GET.FastAgency", "STREAM.MSG.GET.KV_discovery", "CONSUMER.CREATE.FastAgency.x"]),
            &["worker-python", "gateway-python"],
        ),
        ("start runs", of(&["chat.server.initiate_chat"]), &["gateway-python"]),
        ("answer", of(&["chat.server.messages.alice.x"]), &["gateway-python"]),
        ("speak and ask as a worker", of(&["chat.client.messages.alice.x"]), &["worker-python"]),
        ("announce workflows", of(&["$KV.discovery.x"]), &["worker-python"]),
        ("take starts and answers", of(&["$JS.ACK.FastAgency.x.1.1.1.1.1"]), &["worker-python"]),
        ("look at consumers", api(&["CONSUMER.INFO.FastAgency.initiate_workers"]), &["worker-python"]),
        ("make the two streams", api(&["STREAM.CREATE.FastAgency", "STREAM.CREATE.KV_discovery"]), &["worker-python"]),
        ("remove conversations", api(&["STREAM.PURGE.FastAgency", "STREAM.MSG.DELETE.FastAgency"]), &["worker-python"]),
        (
            "make other streams; change and remove the two",
            api(&[
                "STREAM.CREATE.MINE",
                "STREAM.UPDATE.FastAgency",
                "STREAM.DELETE.FastAgency",
                "STREAM.UPDATE.KV_discovery",
                "STREAM.DELETE.KV_discovery",
                "STREAM.PURGE.KV_discovery",
            ]),
            &[],
        ),
        (
            "take consumers away",
            api(&["CONSUMER.DELETE.FastAgency.initiate_workers", "CONSUMER.PAUSE.FastAgency.initiate_workers"]),
            &[],
        ),
        (
            "make consumers in the ways before",
            api(&["CONSUMER.DURABLE.CREATE.FastAgency.x", "CONSUMER.CREATE.FastAgency"]),
            &[],
        ),
        ("copy and restore streams", api(&["STREAM.SNAPSHOT.FastAgency", "STREAM.RESTORE.FastAgency"]), &[]),
        ("list streams", api(&["STREAM.NAMES", "STREAM.LIST"]), &[]),
        ("ask the server", of(&["$SYS.REQ.SERVER.PING"]), &[]),
        ("answer in the server's place", of(&["_INBOX.x", "_INBOX.gateway-python.x", "_INBOX.worker-python.x"]), &[]),
    ]
}

/// The same for hearing.
const HEARING_BESIDE_PYTHON: [Hearing; 5] = [
    ("hear what is published", &["chat.>", "chat.server.messages.*.*", "chat.client.messages.*.*", "$KV.>"], &[]),
    ("hear the answers to everybody", &["_INBOX.>", "_INBOX.*", ">"], &[]),
    ("hear the answers to a worker", &["_INBOX.worker-python.>"], &["worker-python"]),
    ("hear the answers to a gateway", &["_INBOX.gateway-python.>"], &["gateway-python"]),
    ("hear the server", &["$SYS.>"], &[]),
];

/// A connection, and what the server refuses on it.
struct Thief {
    client: async_nats::Client,
    refused: mpsc::UnboundedReceiver<String>,
}

impl Thief {
    async fn with(url: &str, login: &str) -> Self {
        let (told, refused) = mpsc::unbounded_channel();
        let client = async_nats::ConnectOptions::with_user_and_password(login.to_owned(), password(login))
            .custom_inbox_prefix(format!("_INBOX.{login}"))
            .event_callback(move |event| {
                let told = told.clone();
                async move { drop(told.send(event.to_string())) }
            })
            .connect(url)
            .await
            .expect("the login is right");
        Self { client, refused }
    }

    /// What was refused since this was asked last. Nobody may do what ends the list, and the server answers in order.
    async fn refused(&mut self) -> Vec<String> {
        let end = format!("refused.{}", RunId::random());
        self.client.publish(end.clone(), "".into()).await.unwrap();
        self.client.flush().await.unwrap();
        let mut refused = Vec::new();
        loop {
            let event = tokio::time::timeout(PATIENCE, self.refused.recv()).await.expect("an event").expect("an event");
            if event.contains(&end) {
                return refused;
            }
            if event.to_lowercase().contains("permissions violation") {
                refused.push(event);
            }
        }
    }
}

/// Tries every cell of the tables at a server, or at one of several.
async fn try_every_cell(url: &str) {
    try_cells(url, &OURS, &publishing(), &HEARING).await;
    try_cells(url, &BESIDE_PYTHON, &publishing_beside_python(), &HEARING_BESIDE_PYTHON).await;
    // A worker joins those who share the starts, wherever a Python worker has asked for them.
    for (login, group, may) in [
        ("worker-python", "initiate_workers", true),
        ("worker-python", "others", false),
        ("gateway-python", "initiate_workers", false),
    ] {
        let mut thief = Thief::with(url, login).await;
        let _heard = thief.client.queue_subscribe("_INBOX.x", group.to_owned()).await.unwrap();
        assert_eq!(thief.refused().await.is_empty(), may, "{login}: {group}");
    }
}

async fn try_cells(url: &str, logins: &[&str], publishing: &[Doing], hearing: &[Hearing]) {
    for login in logins {
        let mut thief = Thief::with(url, login).await;
        for (what, subjects, may) in publishing {
            for subject in subjects {
                // What the server would do for this is nothing: it can read no such request.
                thief.client.publish(subject.clone(), "x".into()).await.unwrap();
                let refused =
                    thief.refused().await.iter().any(|event| event.contains(&format!("Publish to {subject:?}")));
                assert_eq!(refused, !may.contains(login), "{login}: {what} ({subject})");
            }
        }
        for (what, subjects, may) in hearing {
            for subject in *subjects {
                let subscriber = thief.client.subscribe(*subject).await.unwrap();
                let told = format!("Subscription to {subject:?}");
                let refused = thief.refused().await.iter().any(|event| event.contains(&told));
                assert_eq!(refused, !may.contains(login), "{login}: {what} ({subject})");
                drop(subscriber);
            }
        }
    }
}

/// Asks JetStream's API.
async fn ask(client: &async_nats::Client, call: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let asked = client.request(format!("$JS.API.{call}"), body.into());
    let answer = tokio::time::timeout(PATIENCE, asked).await.expect("in time").expect("an answer");
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test]
async fn a_stolen_login_does_no_more_than_its_tier() {
    let Some((server, _folder)) = server("logins::a_stolen_login_does_no_more_than_its_tier") else { return };
    try_every_cell(&server.url()).await;
    answers_reach_nobody_else(&server.url()).await;
}

/// What the server answers to a login comes into that login's account, wherever it has the answer sent.
async fn answers_reach_nobody_else(url: &str) {
    let operator = Thief::with(url, "operator").await.client;
    let streams = ["FA_RUNS", "FA_QUEUE"].map(str::to_owned);
    let buckets =
        ["runs", "workers", "workflows", "definitions", "gateways", "tokens"].map(|name| format!("KV_fa_{name}"));
    let stored = async || {
        let mut stored = Vec::new();
        for stream in streams.iter().chain(&buckets) {
            let info = ask(&operator, &format!("STREAM.INFO.{stream}"), &json!(null)).await;
            stored.push((stream.clone(), info["state"]["last_seq"].as_u64().expect("a sequence")));
        }
        stored
    };
    let before = stored().await;
    for login in OURS.into_iter().filter(|login| *login != "operator") {
        let thief = Thief::with(url, login).await;
        for (what, subjects, may) in publishing() {
            if may.contains(&login) {
                continue;
            }
            for subject in subjects {
                let asked =
                    thief.client.publish_with_reply("$JS.API.INFO".to_owned(), subject.clone(), "".into()).await;
                asked.unwrap_or_else(|error| panic!("{login}: {what}: {error}"));
            }
        }
        // The server has worked off what was asked before.
        ask(&thief.client, "INFO", &json!(null)).await;
        assert_eq!(stored().await, before, "{login}");
    }
}

#[tokio::test]
async fn what_nobody_stores_is_heard_by_the_tiers_that_need_it() {
    let Some((server, _folder)) = server("logins::what_nobody_stores_is_heard_by_the_tiers_that_need_it") else {
        return;
    };
    let (speaking, hearing) = (Thief::with(&server.url(), "worker").await, Thief::with(&server.url(), "gateway").await);
    let another = Thief::with(&server.url(), "worker").await;
    let run = RunId::random();
    for (from, to, subject) in [
        (&speaking, &hearing, format!("fa.live.run.7.{run}.delta")),
        (&hearing, &speaking, format!("fa.live.clean.{run}")),
        (&another, &speaking, format!("fa.live.clean.{run}")),
        (&hearing, &speaking, format!("fa.live.inbox.7.{run}.x")),
        (&another, &speaking, format!("fa.live.inbox.7.{run}.x")),
    ] {
        let mut heard = to.client.subscribe(subject.clone()).await.unwrap();
        // What was asked before an answer comes is done.
        ask(&to.client, "INFO", &json!(null)).await;
        from.client.publish(subject.clone(), "once".into()).await.unwrap();
        from.client.publish(subject.clone(), "end".into()).await.unwrap();
        for expected in ["once", "end"] {
            let message = tokio::time::timeout(PATIENCE, heard.next()).await.expect("in time").expect("a message");
            assert_eq!(message.payload, expected, "{subject}");
        }
    }
}

#[test]
fn each_tiers_account_imports_what_its_login_may_publish_and_no_more() {
    let text = std::fs::read_to_string("nats-server.tiers.conf").unwrap();
    let quoted = |text: &str| -> Vec<String> {
        let words = text
            .lines()
            .filter(|line| !line.trim().starts_with('#'))
            .flat_map(|line| line.split('"').skip(1).step_by(2));
        words.map(str::to_owned).collect()
    };
    for account in ["CLEANER", "WORKER", "GATEWAY"] {
        let of_account = text.split_once(&format!("\n  {account} {{")).expect("the account").1;
        let of_account = of_account.split_once("\n  }\n").expect("its end").0;
        let (users, rest) = of_account.split_once("imports = [").expect("its imports");
        let (imports, exports) = rest.split_once("\n    ]").expect("their end");
        let published =
            users.split_once("publish:").and_then(|(_, rest)| rest.split_once("subscribe:")).expect("a login").0;
        let services: Vec<&str> = imports.lines().filter(|line| line.contains("service:")).collect();
        // What nobody stores goes to the tiers that hear it.
        let (mut may, mut can) = (quoted(published), quoted(&services.join("\n")));
        can.extend(quoted(exports));
        if account == "WORKER" {
            can.extend(["fa.live.clean.*", "fa.live.inbox.*.*.*"].map(str::to_owned));
        }
        may.sort_unstable();
        can.sort_unstable();
        assert_eq!(may, can, "{account}");
    }
}

#[tokio::test]
async fn pythons_logins_reach_nothing_of_ours_whatever_they_ask_for() {
    let Some((server, _folder)) = server("logins::pythons_logins_reach_nothing_of_ours_whatever_they_ask_for") else {
        return;
    };
    let operator = Thief::with(&server.url(), "operator").await.client;
    let held = async || ask(&operator, "STREAM.INFO.FA_RUNS", &json!(null)).await["state"]["messages"].clone();
    let worker = crate::permissions::stolen(&server.url(), "worker").await;
    let (run, lane) = (RunId::random(), fastagency::broker::RecordLane::Did);
    worker.log.append(run, lane, "private".into(), 0).await.unwrap();
    let mut live = worker.log.follow(run).await.unwrap();
    let before = held().await;
    let python = Thief::with(&server.url(), "python").await.client;
    // Python's worker makes its two at each start; there is room for no others.
    let settings = |more: Value| {
        let mut settings = json!({ "name": "FastAgency", "discard": "old",
            "subjects": ["chat.server.initiate_chat", "chat.client.messages.*.*", "chat.server.messages.*.*", "discovery"] });
        settings.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        settings
    };
    for call in ["STREAM.CREATE.FastAgency", "STREAM.UPDATE.FastAgency"] {
        let made = ask(&python, call, &settings(json!({}))).await;
        assert_eq!(made["config"]["name"], "FastAgency", "{made}");
    }
    let another = ask(&python, "STREAM.CREATE.MINE", &json!({ "name": "MINE", "subjects": ["fa.>"] })).await;
    assert!(another["error"].is_object(), "{another}");
    // In its account there is nothing of ours to take or to fill.
    for stream in ["FA_RUNS", "FA_QUEUE", "KV_fa_workflows"] {
        let found = ask(&python, &format!("STREAM.INFO.{stream}"), &json!(null)).await;
        assert_eq!(found["error"]["code"], 404, "{found}");
    }
    let settings = settings(json!({
        "sources": [{ "name": "FA_RUNS" }],
        "republish": { "src": "chat.client.messages.*.*", "dest": "fa.inbox.{{wildcard(1)}}.{{wildcard(2)}}" },
    }));
    ask(&python, "STREAM.UPDATE.FastAgency", &settings).await;
    for subject in
        [format!("chat.client.messages.{run}.cancel"), format!("fa.run.{run}.did"), format!("fa.live.run.7.{run}.did")]
    {
        python.publish(subject, "forged".into()).await.unwrap();
    }
    python.flush().await.unwrap();
    // Whatever came of it has come before this.
    let last =
        worker.log.append(run, lane, "ours".into(), worker.log.last(run).await.unwrap().unwrap().seq).await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, live.next()).await.expect("in time");
    assert!(
        matches!(heard, Some(fastagency::broker::RunUpdate::Record { stored, .. }) if stored.seq == last),
        "forged"
    );
    assert_eq!(held().await.as_u64(), before.as_u64().map(|count| count + 1));
    let theirs = ask(&python, "STREAM.INFO.FastAgency", &json!(null)).await;
    assert!(theirs["state"]["messages"].as_u64().is_some_and(|count| count <= 1), "{theirs}");
}

#[tokio::test]
async fn what_pythons_login_may_fill_is_its_own_share() {
    const TEST: &str = "logins::what_pythons_login_may_fill_is_its_own_share";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.conf");
    // As much is reached sooner.
    let small = configuration().replace("max_file: 2G", "max_file: 1M");
    assert!(small != configuration(), "the account has a limit");
    std::fs::write(&path, small).unwrap();
    let Some(server) = NatsServer::start_with(TEST, &["-c", path.to_str().unwrap()]) else { return };
    set_up(&folder, &server.url(), "");
    let python = Thief::with(&server.url(), "python").await.client;
    let store = async || {
        let stored = python.request("chat.client.messages.alice.x", vec![b'x'; 100_000].into()).await.unwrap();
        serde_json::from_slice::<Value>(&stored.payload).unwrap()
    };
    let mut stored = 0;
    let refused = loop {
        let answer = store().await;
        if answer["error"].is_object() {
            break answer;
        }
        stored += 1;
        assert!(stored < 20, "it is never full");
    };
    assert!(refused["error"]["description"].as_str().unwrap().contains("exceeded"), "{refused}");
    // Ours goes on.
    let worker = crate::permissions::stolen(&server.url(), "worker").await;
    let large = vec![b'x'; 500_000];
    let mut last = 0;
    let run = RunId::random();
    for _ in 0..4 {
        last = worker.log.append(run, fastagency::broker::RecordLane::Did, large.clone().into(), last).await.unwrap();
    }
    worker.log.ready().await.unwrap();
}

#[tokio::test]
async fn no_message_empties_a_bucket_or_the_logs() {
    use fastagency::broker::Bucket;
    const TEST: &str = "logins::no_message_empties_a_bucket_or_the_logs";
    let Some((server, _folder)) = server(TEST) else { return };
    let worker = crate::permissions::stolen(&server.url(), "worker").await;
    let gateway = stolen(&server.url(), "gateway").await;
    let run = RunId::random();
    worker.log.append(run, fastagency::broker::RecordLane::Did, "words".into(), 0).await.unwrap();
    for bucket in [Bucket::Workers, Bucket::Workflows, Bucket::Definitions, Bucket::Runs, Bucket::Tokens] {
        worker.catalogue.put(bucket, "kept", "{}".into(), None).await.unwrap();
    }
    gateway.catalogue.put(Bucket::Gateways, "kept", "{}".into(), None).await.unwrap();
    let rolled_up = async |login: &str, subject: &str| {
        let client = Thief::with(&server.url(), login).await.client;
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Rollup", "all");
        let answer = client.request_with_headers(subject.to_owned(), headers, "x".into()).await.unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()
    };
    for (login, subject) in [
        ("worker", format!("fa.run.{run}.said")),
        ("gateway", format!("fa.run.{run}.said")),
        ("worker", format!("fa.inbox.{run}.cancel")),
        ("worker", "$KV.fa_workflows.x".to_owned()),
        ("worker", "$KV.fa_definitions.x".to_owned()),
        ("worker", "$KV.fa_runs.x".to_owned()),
        ("gateway", "$KV.fa_runs.x".to_owned()),
        ("worker", "$KV.fa_tokens.x".to_owned()),
        ("gateway", "$KV.fa_gateways.x".to_owned()),
    ] {
        let answer = rolled_up(login, &subject).await;
        let said = answer["error"]["description"].as_str().unwrap_or_default();
        assert!(said.contains("rollup not permitted"), "{login} {subject}: {answer}");
    }
    assert_eq!(worker.log.read(run, 0).await.unwrap().len(), 1);
    for bucket in [Bucket::Workflows, Bucket::Definitions, Bucket::Runs, Bucket::Tokens] {
        assert!(worker.catalogue.get(bucket, "kept").await.unwrap().is_some(), "{bucket:?}");
    }
    assert!(gateway.catalogue.get(Bucket::Gateways, "kept").await.unwrap().is_some());
    // What is made anew by itself can be emptied: leases, jobs and timers.
    assert!(rolled_up("worker", "$KV.fa_workers.x").await["error"].is_null());
    assert!(worker.catalogue.get(Bucket::Workers, "kept").await.unwrap().is_none());
    assert!(rolled_up("gateway", "fa.queue.x").await["error"].is_null());
}

#[tokio::test]
async fn a_tier_that_may_not_set_streams_up_says_so_at_once() {
    const TEST: &str = "logins::a_tier_that_may_not_set_streams_up_says_so_at_once";
    let Some((server, folder)) = server(TEST) else { return };
    furnish(&folder);
    assert!(!set_up(&folder, &server.url(), "").contains("created"), "the second time nothing is made");
    // Somebody has changed one stream and removed another.
    let operator = Thief::with(&server.url(), "operator").await.client;
    let mut queue = ask(&operator, "STREAM.INFO.FA_QUEUE", &json!(null)).await["config"].clone();
    queue["description"] = json!("another");
    ask(&operator, "STREAM.UPDATE.FA_QUEUE", &queue).await;
    project(&folder, &server.url(), "worker", "");
    let said = |arguments: &[&str]| {
        let begun = std::time::Instant::now();
        let mut tier = Tier::start(folder.path(), arguments);
        let status = tier.end();
        assert!(begun.elapsed() < Duration::from_secs(4), "it waits for an answer that nobody gives");
        (status.code(), tier.heard().concat())
    };
    let (code, text) = said(&["worker", "-c", "worker.yaml"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("the stream FA_QUEUE has other settings than ours, and this NATS login may not set it up"),
        "{text}"
    );
    assert!(text.contains("run `fastagency nats setup` with the operator's login"), "{text}");
    assert!(set_up(&folder, &server.url(), "").contains("FA_QUEUE: updated"));
    ask(&operator, "STREAM.DELETE.FA_RUNS", &json!(null)).await;
    let (code, text) = said(&["worker", "-c", "worker.yaml"]);
    assert!(code == Some(3) && text.contains("the stream FA_RUNS is missing"), "{text}");
    assert!(set_up(&folder, &server.url(), "").contains("FA_RUNS: created"));

    // Whatever else a login may not is refused at once, and by its name.
    let settings = NatsConfig {
        url: server.url(),
        user: Some("worker".to_owned()),
        password: Some(password("worker").into()),
        cleaner: Some(fastagency::config::NatsLogin {
            user: Some("gateway".to_owned()),
            password: Some(password("gateway").into()),
            ..Default::default()
        }),
        ..NatsConfig::default()
    };
    let refused = nats::connect(&settings, "a test").await.err().expect("the gateway's login cleans nothing");
    assert!(format!("{refused:?}").contains("may not purge"), "{refused:?}");
    let gateway = stolen(&server.url(), "gateway").await;
    let begun = std::time::Instant::now();
    let denied = gateway.catalogue.put(fastagency::broker::Bucket::Workflows, "x", "{}".into(), None).await;
    assert!(matches!(&denied, Err(Error::Denied { what, .. }) if what.contains("$KV.fa_workflows.x")), "{denied:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "it is not waited for");
}

/// The example file as it was when every run was started by a job.
fn configuration_before_new_runs() -> String {
    const COUNTED: &str = "\"$JS.API.CONSUMER.INFO.FA_RUNS.*\"";
    let was_there = |line: &&str| !line.contains("$JS.ACK.FA_RUNS.>") && !line.contains(&format!("subject: {COUNTED}"));
    let lines: Vec<_> = configuration().lines().filter(was_there).map(str::to_owned).collect();
    lines.join("\n").replace(&format!(", {COUNTED}"), "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_logins_of_an_earlier_version_new_runs_are_taken_as_jobs() {
    const TEST: &str = "logins::with_the_logins_of_an_earlier_version_new_runs_are_taken_as_jobs";
    const TALK: &str = "version: 1\nname: talk\nsteps:\n  - text_input: { prompt: What? }\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.conf");
    std::fs::write(&path, configuration_before_new_runs()).unwrap();
    let Some(server) = NatsServer::start_with(TEST, &["-c", path.to_str().unwrap()]) else { return };
    set_up(&folder, &server.url(), "");
    let (worker, gateway) = (stolen(&server.url(), "worker").await, stolen(&server.url(), "gateway").await);
    let gateway = System::over(gateway).gateway(|_| {}).start().await;
    let worker = System::over(worker).worker(TALK).start().await;
    let cards = eventually("the worker is there", async || {
        let cards = directory::workers(&gateway.broker).await.unwrap();
        if cards.is_empty() { None } else { Some(cards) }
    })
    .await;
    assert!(!cards[0].takes_created);
    let run = gateway.started("talk").await;
    gateway.follow(run).await.question("What?").await;
    let log = gateway.broker.log.read(run, 0).await.unwrap();
    assert!(log.len() > 1, "{log:?}");
    let queue = QueueName::Workflow(Name::parse("talk").unwrap());
    assert_eq!(gateway.broker.queue.depth(&queue).await.unwrap().waiting, 0);
    worker.close().await;
    gateway.close().await;
}

#[tokio::test]
async fn streams_of_an_earlier_version_are_brought_up_to_date() {
    const TEST: &str = "logins::streams_of_an_earlier_version_are_brought_up_to_date";
    let Some(server) = NatsServer::start(TEST) else { return };
    let client = async_nats::connect(server.url()).await.unwrap();
    let minute = 60_000_000_000_u64;
    let earlier = json!({
        "name": "KV_fa_definitions", "subjects": ["$KV.fa_definitions.>"], "retention": "limits", "discard": "new",
        "storage": "file", "max_msgs_per_subject": 1, "allow_direct": true, "allow_rollup_hdrs": true,
        "deny_delete": true, "allow_msg_ttl": true, "subject_delete_marker_ttl": minute, "num_replicas": 1,
        "republish": { "src": "$KV.fa_definitions.>", "dest": "fa.live.shelf.definitions.>", "headers_only": true },
        "metadata": { "fastagency_format": "1" },
    });
    let made = ask(&client, "STREAM.CREATE.KV_fa_definitions", &earlier).await;
    assert!(made["error"].is_null(), "{made}");
    let broker = server.broker().await;
    let config = ask(&client, "STREAM.INFO.KV_fa_definitions", &json!(null)).await["config"].clone();
    assert_eq!(
        (&config["discard_new_per_subject"], &config["allow_rollup_hdrs"]),
        (&json!(true), &json!(false)),
        "{config}"
    );
    let bucket = fastagency::broker::Bucket::Definitions;
    broker.catalogue.put(bucket, "hash", "{}".into(), None).await.unwrap();
    let again = broker.catalogue.put(bucket, "hash", "another".into(), None).await;
    assert!(matches!(again, Err(Error::Conflict { .. })), "{again:?}");
    assert!(broker.log.ready().await.is_ok(), "that something is there already makes no store full");
}

/// Three servers of the cluster's example file.
fn three(test: &str, folder: &tempfile::TempDir) -> Option<Vec<NatsServer>> {
    let text = std::fs::read_to_string("nats-server.cluster.conf").unwrap();
    std::fs::write(folder.path().join("nats-server.tiers.conf"), configuration()).unwrap();
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let all: Vec<String> = routes.iter().map(|port| format!("\"nats-route://route:r@127.0.0.1:{port}\"")).collect();
    let mut servers = Vec::new();
    for (number, port) in routes.iter().enumerate() {
        let text = text
            .replace("$FASTAGENCY_NATS_NAME", &format!("n{number}"))
            .replace("$FASTAGENCY_NATS_ROUTE_PASSWORD", "r")
            .replace("routes: $FASTAGENCY_NATS_ROUTES", &format!("routes: [{}]", all.join(", ")))
            .replace("listen: 127.0.0.1:6222", &format!("listen: 127.0.0.1:{port}"));
        let path = folder.path().join(format!("n{number}.conf"));
        std::fs::write(&path, text).unwrap();
        servers.push(NatsServer::start_with(test, &["-c", path.to_str().unwrap()])?);
    }
    Some(servers)
}

/// The servers of a cluster have to find each other, and choose who leads.
async fn until_somebody_leads(url: &str) {
    eventually("there is a leader", async || {
        let operator = Thief::with(url, "operator").await.client;
        let asked = tokio::time::timeout(Duration::from_secs(2), operator.request("$JS.API.INFO", "".into())).await;
        asked.is_ok_and(|asked| {
            asked.is_ok_and(|answer| !String::from_utf8_lossy(&answer.payload).contains("\"error\""))
        })
    })
    .await;
}

#[tokio::test]
async fn a_stolen_login_does_no_more_in_a_cluster_of_three() {
    let folder = tempfile::tempdir().unwrap();
    let Some(servers) = three("logins::a_stolen_login_does_no_more_in_a_cluster_of_three", &folder) else { return };
    until_somebody_leads(&servers[0].url()).await;
    let urls: Vec<String> = servers.iter().map(NatsServer::url).collect();
    let made = set_up(&folder, &urls.join(","), ", replicas: 3");
    assert!(made.contains("FA_RUNS: created"), "{made}");
    try_every_cell(&servers[1].url()).await;
    answers_reach_nobody_else(&servers[1].url()).await;
    // And a run can be stored, removed and cleaned there.
    let settings = NatsConfig {
        url: urls.join(","),
        user: Some("worker".to_owned()),
        password: Some(password("worker").into()),
        replicas: 3,
        cleaner: Some(fastagency::config::NatsLogin {
            user: Some("cleaner".to_owned()),
            password: Some(password("cleaner").into()),
            ..Default::default()
        }),
        ..NatsConfig::default()
    };
    let broker = nats::connect(&settings, "a test").await.unwrap();
    let run = RunId::random();
    broker.log.append(run, fastagency::broker::RecordLane::Did, "words".into(), 0).await.unwrap();
    let left = broker.log.append_tombstone(run, "tombstone".into(), fastagency::broker::TOMBSTONE_KEPT).await.unwrap();
    let how = fastagency::broker::RemovalMethod::Overwrite;
    broker.cleaner.as_ref().unwrap().forget(run, left, how).await.unwrap();
    assert_eq!(broker.log.last(run).await.unwrap().unwrap().seq, left);
    // And a conversation is held.
    furnish(&folder);
    project_with(&folder, &urls.join(","), "worker", "worker", ", replicas: 3", "");
    project_with(&folder, &urls.join(","), "gateway", "gateway", ", replicas: 3", "");
    let mut worker = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    worker.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let alice = Alice { http: crate::support::client::client(), url: gateway.url("gateway") };
    let (run, asked) = alice.start().await;
    let path = format!("/api/runs/{run}/answers/{asked}");
    alice.call(reqwest::Method::POST, &path, json!({"value": "hello"})).await;
    let events = alice.events(&run.to_string()).await;
    assert!(events.contains("says hello"), "{events}");
    assert!(worker.terminate().success() && gateway.terminate().success());
}

#[tokio::test]
async fn our_own_workflows_go_on_while_the_server_with_fastagencys_stream_is_away() {
    const TEST: &str = "logins::our_own_workflows_go_on_while_the_server_with_fastagencys_stream_is_away";
    let folder = tempfile::tempdir().unwrap();
    let Some(mut servers) = three(TEST, &folder) else { return };
    until_somebody_leads(&servers[0].url()).await;
    let urls: Vec<String> = servers.iter().map(NatsServer::url).collect();
    set_up(&folder, &urls.join(","), ", replicas: 3");
    furnish(&folder);
    project_with(&folder, &urls.join(","), "worker", "worker", ", replicas: 3", "");
    project_with(&folder, &urls.join(","), "gateway", "gateway", ", replicas: 3", "");
    let mut worker = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    worker.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway", "-c", "gateway.yaml", "--port", "0"]);
    let alice = Alice { http: crate::support::client::client(), url: gateway.url("gateway") };
    alice.start().await;
    let ready = async || {
        let asked = alice.http.get(format!("{}/readyz", alice.url)).timeout(Duration::from_secs(8)).send().await?;
        Ok::<_, reqwest::Error>((asked.status().as_u16(), asked.text().await?))
    };
    let says = |fastagency: &str| (200, json!({"status": "ready", "fastagency": fastagency}).to_string());
    let tells = async |fastagency: &str| {
        eventually_within(2 * PATIENCE, "/readyz tells of FastAgency's stream alone", async || {
            let said = ready().await.map_err(|error| error.to_string())?;
            if said == says(fastagency) { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await;
    };
    tells("ready").await;
    // A copy may be behind for a moment.
    let finds = async |words: &[&str], nothing_of: &str| {
        eventually_within(2 * PATIENCE, "doctor tells of the streams", async || {
            let said = doctor_says(&folder, "worker.yaml");
            let is_said = words.iter().all(|words| said.contains(words)) && !said.contains(nothing_of);
            if is_said { Ok(()) } else { Err(said) }
        })
        .await;
    };
    let single = "the stream FastAgency has one copy, as FastAgency's Python worker makes it";
    finds(&[single, "in 3 copies"], "behind or away").await;
    let python = Thief::with(&urls[0], "python").await.client;
    let holds = ask(&python, "STREAM.INFO.FastAgency", &json!(null)).await["cluster"]["leader"].clone();
    let number: usize = holds.as_str().expect("a leader")[1..].parse().unwrap();
    drop(servers.remove(number));
    // The other two have to choose anew who leads; after that nothing waits for what is away.
    let goes_on = async || {
        let begun = std::time::Instant::now();
        let start = alice.http.post(format!("{}/api/runs", alice.url)).basic_auth("alice", Some(ALICE));
        let start = start.json(&json!({"workflow": "who"})).send();
        let Ok(Ok(started)) = tokio::time::timeout(Duration::from_secs(8), start).await else { return false };
        let listed = alice.http.get(format!("{}/api/workflows", alice.url)).basic_auth("alice", Some(ALICE)).send();
        let Ok(Ok(listed)) = tokio::time::timeout(Duration::from_secs(8), listed).await else { return false };
        started.status().is_success() && listed.status() == 200 && begun.elapsed() < Duration::from_secs(2)
    };
    // Each stream whose leader is away chooses another when it is asked; after that none of ten in a row waits.
    let ten = async || {
        for _ in 0..10 {
            if !goes_on().await {
                return false;
            }
        }
        true
    };
    eventually_within(2 * PATIENCE, "starts and lists do not wait for FastAgency's stream", &ten).await;
    let (run, asked) = alice.start().await;
    alice.call(reqwest::Method::POST, &format!("/api/runs/{run}/answers/{asked}"), json!({"value": "hello"})).await;
    assert!(alice.events(&run.to_string()).await.contains("says hello"));
    // What is away is said, and that the rest is there.
    tells("unavailable").await;
    let away = "the server that holds the stream FastAgency is away";
    finds(&[away, "one copy of the stream FA_RUNS is behind or away"], single).await;
    // Nor does a worker that is started meanwhile wait for it.
    let mut later = Tier::start(folder.path(), &["worker", "-c", "worker.yaml"]);
    later.says("worker ready");
    for tier in [&mut gateway, &mut worker, &mut later] {
        let ended = tier.terminate();
        assert!(ended.success(), "{ended}: {}", tier.heard().concat());
    }
}
