//! Records that cannot be read, on both brokers: each reader goes on beside them and names them, and whose runs they are can be
//! removed and erased. And what a door takes, every reader reads.

use std::time::Duration;

use bytes::Bytes;
use fastagency::audit::keep::{self, RewriteOutcome};
use fastagency::audit::verify::LogVerifier;
use fastagency::audit::{CsvColumns, ExportFormat, PromptHistory, RunSelection, erase, event, every_run, history};
use fastagency::bounds::{self, MADE, OUTSIDE, STORED};
use fastagency::broker::{Broker, LogUpdate, RecordLane, embedded};
use fastagency::chain::anchors::AnchorWriter;
use fastagency::chain::{ChainKey, chained};
use fastagency::clock::{self, Clock, SystemClock, Timestamp};
use fastagency::config::AuthConfig;
use fastagency::ids::{MessageId, Name, RunId, UserId, WorkerId};
use fastagency::message::{Message, MessageContent};
use fastagency::model::ModelRegistry;
use fastagency::protocol::answer::{AnswerOutcome, AnswerRecord};
use fastagency::protocol::api::AuditEventBodyView;
use fastagency::protocol::dialogue::ChatMessage;
use fastagency::redact::Redactor;
use fastagency::run::attach::{FollowedEvent, attach};
use fastagency::run::claim::{ClaimOutcome, claim};
use fastagency::run::directory::{self, WorkerCard};
use fastagency::run::lease::Lease;
use fastagency::run::record::{
    EffectOutcome, FinishedEffect, LoggedRequest, Record, RecordBody, RunCreation, RunEnd, RunErasure, RunOrigin,
    RunOutcome, RunUsage, completed_message, started_message,
};
use fastagency::run::start::{RunStart, start};
use fastagency::run::summary::{self, RunState, RunSummary};
use fastagency::run::sweeper::RunSweeper;
use fastagency::run::writer::RunWriter;
use fastagency::run::{self, redaction};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use crate::gateway::access::{as_user, basic, people};
use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;
use crate::support::system::System;
use crate::talks::scripted;

const HOUR: Duration = Duration::from_secs(3600);

/// The kept logs, and the runs that they are of.
const LOGS: [(&str, &str, RunState); 4] = [
    ("waiting", include_str!("../poisoned/waiting.jsonl"), RunState::Waiting),
    ("ended", include_str!("../poisoned/ended.jsonl"), RunState::Ended),
    ("reserved", include_str!("../poisoned/reserved.jsonl"), RunState::Waiting),
    ("broken", include_str!("../poisoned/broken.jsonl"), RunState::Running),
];

struct AnHourOn;

impl Clock for AnHourOn {
    fn now(&self) -> Timestamp {
        clock::after(SystemClock.now(), HOUR)
    }
}

fn user(name: &str) -> Option<UserId> {
    UserId::new(name)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Stores a log as it was stored, and the line that its worker wrote into the lists.
async fn store(broker: &Broker, log: &str, state: RunState) -> RunId {
    let run = RunId::random();
    let mut last = 0;
    for record in log.lines() {
        let lane = if record.contains("\"kind\":\"said\"") || record.contains("\"kind\":\"ended\"") {
            RecordLane::Said
        } else {
            RecordLane::Did
        };
        last = broker.log.append(run, lane, Bytes::copy_from_slice(record.as_bytes()), last).await.unwrap();
    }
    let line = RunSummary {
        workflow: Some(name("form")),
        user: user("mallory"),
        origin: Some(RunOrigin::Gateway),
        state,
        seq: last,
        created_at: SystemClock.now(),
        updated_at: SystemClock.now(),
        ..RunSummary::new(run)
    };
    line.publish_summary(broker).await.unwrap();
    run
}

/// All of the kept logs, in their order.
async fn store_all(broker: &Broker) -> [RunId; 4] {
    let mut runs = [RunId::random(); 4];
    for (run, (_, log, state)) in runs.iter_mut().zip(LOGS) {
        *run = store(broker, log, state).await;
    }
    runs
}

fn created(user: &str, params: Map<String, Value>) -> RunCreation {
    RunCreation {
        workflow: name("echo"),
        definition: Some("hash".into()),
        params,
        user: UserId::new(user),
        groups: Box::default(),
        origin: RunOrigin::Gateway,
        trace: None,
        signature: None,
    }
}

fn ended_with(run: RunId, result: Value) -> RecordBody {
    let message = completed_message(run, result.clone());
    RecordBody::Ended(RunEnd {
        outcome: RunOutcome::Completed,
        reason: None,
        result,
        usage: RunUsage::default(),
        message,
    })
}

/// A run with which nothing is wrong.
async fn sound(broker: &Broker, user: &str) -> RunId {
    let run = RunId::random();
    let mut last = 0;
    for body in [RecordBody::Created(created(user, Map::new())), ended_with(run, json!("well"))] {
        let record = Record::new(body);
        last = broker.log.append(run, record.lane(), record.payload(), last).await.unwrap();
    }
    RunSummary::of(run, &run::read(broker, run, 0).await.unwrap()).publish_summary(broker).await.unwrap();
    run
}

/// Runs `with` on both brokers.
async fn on_both(test: &str, with: impl AsyncFn(Broker)) {
    let folder = tempfile::tempdir().unwrap();
    with(embedded::open(folder.path()).unwrap()).await;
    let Some(server) = NatsServer::start(test) else { return };
    with(server.broker().await).await;
}

const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

fn erasure() -> RunErasure {
    RunErasure { by: None, reason: "asked".into(), at: SystemClock.now() }
}

async fn lease(broker: &Broker, clock: std::sync::Arc<dyn Clock>) -> Lease {
    let card = WorkerCard {
        id: WorkerId::random(),
        workflows: vec![name("form"), name("give"), name("echo")],
        started_at: SystemClock.now(),
        version: "test".into(),
        runs: 0,
        max_runs: 1,
        cleans: false,
        takes_created: false,
    };
    let sent = Lease::moment(&*clock);
    directory::renew(broker, &card, HOUR).await.unwrap();
    Lease::new(card.id, HOUR * 2, clock, sent)
}

#[tokio::test]
async fn lists_exports_and_verification_go_on_beside_records_that_cannot_be_read() {
    on_both("poisoned::lists_exports_and_verification", async |broker| {
        let before = sound(&broker, "ann").await;
        let poisoned = store_all(&broker).await;
        let after = sound(&broker, "ann").await;
        for run in poisoned {
            assert!(run::read(&broker, run, 0).await.is_err(), "who must know all of it is told that it is not so");
        }

        let all = every_run(&broker).await.unwrap();
        assert_eq!(all.len(), 6);
        let of_mallory = RunSelection { user: Some("mallory".into()), ..RunSelection::default() }.of(all.clone());
        assert_eq!(of_mallory.len(), 4, "{of_mallory:?}");
        let redactor = Redactor::default();
        let mut skipped = 0;
        for run in &all {
            let told = history(&broker, run.id, &redactor).await.unwrap().told(&redactor);
            let mut lines = String::new();
            told.iter().for_each(|event| CsvColumns::of(run).write(ExportFormat::Jsonl, event, &mut lines));
            lines.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).expect("every line can be read")));
            let unreadable =
                told.iter().filter(|event| matches!(event.body, AuditEventBodyView::Unreadable { .. })).count();
            assert_eq!(unreadable > 0, poisoned.contains(&run.id), "{lines}");
            skipped += unreadable;
        }
        assert_eq!(skipped, 1 + 2 + 1 + 3);
        // What is too deep is left out, and the rest is told.
        let looked = run::look(&broker, poisoned[1], 0).await.unwrap();
        assert_eq!(looked.created().unwrap().user, user("mallory"));
        assert!(looked.unreadable[0].why.to_string().contains("nested deeper than 100 levels"));
        let last = history(&broker, poisoned[1], &redactor).await.unwrap().told(&redactor).pop().unwrap();
        let last = json!(last);
        assert_eq!((&last["kind"], &last["outcome"]), (&json!("ended"), &json!("completed")));
        assert!(last["result"].to_string().contains("(nested "), "{last}");

        // Who follows sees the rest, too.
        let mut attached = attach(&broker, poisoned[0], 0).await.unwrap();
        let mut seen = Vec::new();
        while let Some(FollowedEvent::Record(placed)) = attached.next().await.unwrap() {
            seen.push(placed.record.body);
        }
        assert!(matches!(
            seen[..],
            [RecordBody::Created(_), RecordBody::Claimed { .. }, RecordBody::Said { .. }, RecordBody::Parked { .. }]
        ));

        let folder = tempfile::tempdir().unwrap();
        let key = || ChainKey::new(&"a key of the test".into());
        let report = LogVerifier::new(key(), folder.path().to_owned()).all(&broker, &|_, _| {}).await.unwrap();
        assert!(!report.is_clean() && report.is_as_written(), "{report:?}");
        let mut named: Vec<RunId> = report.unreadable.iter().map(|(run, _)| *run).collect();
        let mut expected = poisoned;
        named.sort();
        expected.sort();
        assert_eq!(named, expected);
        assert!(![before, after].iter().any(|run| named.contains(run)));
    })
    .await;
}

#[tokio::test]
async fn the_scan_removes_what_is_old_beside_records_that_cannot_be_read() {
    on_both("poisoned::the_tour", async |broker| {
        let poisoned = store_all(&broker).await;
        let sound = sound(&broker, "ann").await;
        let lease = lease(&broker, std::sync::Arc::new(AnHourOn)).await;
        let mut sweeper = RunSweeper::new(broker.clone(), HOUR / 2, KEPT);
        for tour in 0..2 {
            let swept = sweeper.sweep(&lease, true).await.unwrap();
            assert_eq!(swept.removed, if tour == 0 { 2 } else { 0 }, "{swept:?}");
        }
        let is_removed = async |run| {
            let looked = run::look(&broker, run, 0).await.unwrap();
            matches!(looked.records.first().map(|first| &first.record.body), Some(RecordBody::Removed(_)))
        };
        assert!(is_removed(sound).await && is_removed(poisoned[1]).await);
        assert!(!is_removed(poisoned[0]).await && !is_removed(poisoned[3]).await);
    })
    .await;
}

#[tokio::test]
async fn a_person_is_erased_beside_and_together_with_records_that_cannot_be_read() {
    on_both("poisoned::a_person_is_erased", async |broker| {
        let poisoned = store_all(&broker).await;
        let (carols, anns) = (sound(&broker, "carol").await, sound(&broker, "ann").await);
        let erased = erase::erase(&broker, &user("carol").unwrap(), &erasure(), KEPT).await.unwrap();
        assert_eq!((erased.erased, erased.not_ended), (vec![carols], vec![]));
        let mut named = erased.unreadable;
        let mut expected = poisoned.to_vec();
        named.sort();
        expected.sort();
        assert_eq!(named, expected, "whether carol has answered there nobody can tell");

        let erased = erase::erase(&broker, &user("mallory").unwrap(), &erasure(), KEPT).await.unwrap();
        let mut gone = erased.erased;
        gone.sort();
        assert_eq!((gone, erased.not_ended, erased.unreadable), (expected, vec![], vec![]));
        for run in poisoned {
            let left: String = broker
                .log
                .read(run, 0)
                .await
                .unwrap()
                .iter()
                .map(|one| String::from_utf8_lossy(&one.payload).into_owned())
                .collect();
            assert!(!left.contains("[[") && !left.contains("mallory") && left.contains("asked"), "{left}");
            assert!(run::read(&broker, run, 0).await.is_ok());
        }
        assert!(summary::list(&broker, user("mallory").as_ref()).await.unwrap().is_empty());
        assert_eq!(run::read(&broker, anns, 0).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_not_kept_in_clear_when_a_log_is_redacted() {
    on_both("poisoned::redacted", async |broker| {
        let secret = LOGS[1]
            .1
            .replace("\"user\":\"mallory\"", "\"user\":\"mallory\",\"groups\":[\"x\"]")
            .replace("[[[]]]", "[[[\"4711\"]]]");
        let log = format!(
            "{}{}\n{}\n",
            &secret[..secret.find("\n").unwrap() + 1],
            "{\"pin\": \"4711\"",
            secret.lines().skip(1).collect::<Vec<_>>().join("\n")
        );
        let run = store(&broker, &log, RunState::Ended).await;
        let redactor = Redactor::new(&[], vec![regex::Regex::new("4711").unwrap()]);
        assert_eq!(keep::redact(&broker, run, &redactor).await.unwrap(), RewriteOutcome::Anew);
        let left: String = broker
            .log
            .read(run, 0)
            .await
            .unwrap()
            .iter()
            .map(|one| String::from_utf8_lossy(&one.payload).into_owned())
            .collect();
        assert!(!left.contains("4711"), "{left}");
        let records = run::read(&broker, run, 0).await.unwrap();
        assert!(matches!(records.last().unwrap().record.body, RecordBody::Ended(_)), "it can be read now");
    })
    .await;
}

#[tokio::test]
async fn a_worker_ends_a_run_that_it_cannot_read() {
    on_both("poisoned::a_worker_ends", async |broker| {
        let run = store(&broker, LOGS[0].1, RunState::Waiting).await;
        let lease = lease(&broker, clock::system()).await;
        // Its worker is gone.
        let never = |_: RunCreation| {
            std::future::ready(Err::<run::claim::PreparedRun<()>, _>("it is not to be executed".to_owned()))
        };
        assert!(matches!(claim(&broker, &lease, run, None, never).await.unwrap(), ClaimOutcome::Nothing));
        let looked = run::look(&broker, run, 0).await.unwrap();
        let RecordBody::Ended(ended) = &looked.records.last().unwrap().record.body else { panic!("{looked:?}") };
        assert_eq!(ended.outcome, RunOutcome::Failed);
        assert!(ended.reason.as_deref().unwrap().contains("cannot be read whole"), "{ended:?}");
        let line = run::lists::line_of(&broker, run).await.unwrap().unwrap();
        assert_eq!((line.state, line.user), (RunState::Ended, user("mallory")));
        assert!(matches!(claim(&broker, &lease, run, None, never).await.unwrap(), ClaimOutcome::Nothing));

        // One of a newer program is left to that.
        let newer =
            store(&broker, &LOGS[0].1.replace("{\"v\":1,\"id\":\"c", "{\"v\":9,\"id\":\"c"), RunState::Waiting).await;
        assert!(
            claim(&broker, &lease, newer, None, never).await.is_err() || run::read(&broker, newer, 0).await.is_err()
        );
    })
    .await;
}

#[tokio::test]
async fn the_interface_shows_removes_and_exports_beside_records_that_cannot_be_read() {
    let Some(server) = NatsServer::start("poisoned::the_interface") else { return };
    for nats in [None, Some(server.broker().await)] {
        let folder = tempfile::tempdir().unwrap();
        let auth = AuthConfig { ..basic(people(&folder).0) };
        let deployment = System::played_with(
            |broker| {
                if let Some(nats) = nats {
                    *broker = nats
                }
            },
            |settings| settings.auth = auth,
        )
        .await;
        let broker = deployment.broker.clone();
        let as_bobs = |log: &str| log.replace("mallory", "bob");
        let mut runs = Vec::new();
        for (_, log, state) in LOGS {
            let run = store(&broker, &as_bobs(log), state).await;
            // The line is bob's, too.
            let line = run::lists::line_of(&broker, run).await.unwrap().unwrap();
            summary::remove_summary(&broker, line.user.as_ref(), run).await.unwrap();
            RunSummary { user: user("bob"), ..line }.publish_summary(&broker).await.unwrap();
            runs.push(run);
        }
        let sound = sound(&broker, "alice").await;
        let call = async |who: &str, method: &str, path: &str, body: Option<Value>| {
            let answer = as_user(&deployment, who, method, path, body).await;
            (answer.status, answer.body)
        };
        let (status, all) = call("root", "GET", "/api/runs?everybody=true", None).await;
        assert_eq!((status, all["runs"].as_array().unwrap().len()), (200, 5), "{all}");
        assert_eq!(call("root", "GET", "/api/overview", None).await.0, 200);
        for run in &runs {
            let path = format!("/api/runs/{run}");
            let (status, shown) = call("bob", "GET", &path, None).await;
            assert_eq!(status, 200, "{shown}");
            assert!(shown["unreadable"][0].as_str().unwrap().contains("cannot be read"), "{shown}");
            assert_eq!(call("alice", "GET", &path, None).await.0, 404);
            assert_eq!(call("alice", "DELETE", &path, None).await.0, 404);
            // Whose a run is its events must say by themselves.
            let events = if *run == runs[3] { 404 } else { 200 };
            assert_eq!(call("bob", "GET", &format!("{path}/events?follow=false"), None).await.0, events);
            let (status, told) = call("root", "GET", &format!("/api/audit/runs/{run}"), None).await;
            assert_eq!(status, 200, "{told}");
            let kinds: Vec<&str> =
                told["events"].as_array().unwrap().iter().filter_map(|event| event["kind"].as_str()).collect();
            assert!(kinds.contains(&"unreadable"), "{told}");
        }
        for format in ["jsonl", "csv"] {
            let (status, export) = call("root", "GET", &format!("/api/audit/export?format={format}"), None).await;
            let text = export.as_str().expect("lines");
            assert_eq!(status, 200);
            assert!(runs.iter().chain([&sound]).all(|run| text.contains(&run.to_string())), "{text}");
            assert_eq!(text.lines().filter(|line| line.contains("unreadable")).count(), 7, "{text}");
        }
        let erasing = json!({"user": "alice", "reason": "asked"});
        let (status, erased) = call("root", "POST", "/api/audit/erase", Some(erasing)).await;
        assert_eq!((status, &erased["erased"]), (200, &json!([sound])), "{erased}");
        assert_eq!(erased["unreadable"].as_array().unwrap().len(), 4, "{erased}");
        // Their user may remove them, ended or not, and so may an admin.
        for (run, who) in runs.iter().zip(["bob", "bob", "root", "bob"]) {
            let path = format!("/api/runs/{run}");
            assert_eq!(call(who, "DELETE", &path, None).await.0, 204, "{run}");
            assert_eq!(call("bob", "GET", &path, None).await.0, 404);
        }
        assert_eq!(call("bob", "GET", "/api/runs", None).await.1["runs"], json!([]));
        // Of one of which nothing is known an admin may.
        let lost = RunId::random();
        broker.log.append(lost, RecordLane::Did, Bytes::from_static(b"{"), 0).await.unwrap();
        assert_eq!(call("bob", "DELETE", &format!("/api/runs/{lost}"), None).await.0, 404);
        assert_eq!(call("root", "DELETE", &format!("/api/runs/{lost}"), None).await.0, 204);
        deployment.end().await;
    }
}

#[tokio::test]
async fn a_live_tail_goes_on_after_a_record_that_cannot_be_read() {
    on_both("poisoned::a_live_tail", async |broker| {
        let mut heard = broker.log.subscribe_all().await.unwrap();
        let run = store(&broker, LOGS[3].1, RunState::Running).await;
        let mut told = 0;
        while told < 3 {
            if let Some(LogUpdate::Record { run: of, stored }) = heard.next().await {
                assert_eq!(of, run);
                let taken = run::assembler::RecordAssembler::default().look(of, &stored);
                told += usize::from(!taken.unreadable.is_empty());
            }
        }
    })
    .await;
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"k": inner}) })
}

fn nested_text(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test]
async fn what_is_too_deep_or_too_much_is_refused_at_every_door() {
    let deployment = System::played().await;
    let reserved = r#"{"\u0024serde_json::private::RawValue": "[[1]]"}"#;
    let wide = format!("[{}1]", "1,".repeat(100_000));
    let doors = [
        (nested_text(124), "params.x[0][0][0][0]…: nested deeper than 64 levels"),
        (nested_text(64), "params.x[0][0][0][0]…: nested deeper than 64 levels"),
        (reserved.to_owned(), "a field may not begin with"),
        (wide, "more than 100000 elements and fields in all"),
        (format!(r#"{{"{}": 1}}"#, "k".repeat(1025)), "the name of a field is longer than 1024 bytes"),
    ];
    let send = async |path: &str, body: String| {
        let call = deployment
            .http
            .post(format!("{}{path}", deployment.url))
            .header("content-type", "application/json")
            .body(body);
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (x, why) in &doors {
        let (status, told) = send("/api/runs", format!(r#"{{"workflow": "params", "params": {{"x": {x}}}}}"#)).await;
        assert!(status == 422 && told.contains(why), "{status} {told}");
        let fastagencys =
            format!(r#"{{"workflow_name": "params", "workflow_uuid": "u", "user_id": null, "params": {{"x": {x}}}}}"#);
        let (status, told) = send("/fastagency/initiate_workflow", fastagencys).await;
        assert!(status == 422 && told.contains(why), "{status} {told}");
        let mut socket = deployment.socket().await;
        let frame = format!(r#"{{"workflow_uuid": "{}", "name": "params", "params": {{"x": {x}}}}}"#, RunId::random());
        crate::support::client::say(&mut socket, frame).await;
        let error = crate::support::client::hear_json(&mut socket).await;
        assert!(error["type"] == "error" && error.to_string().contains(why), "{error}");
        let run = deployment.started("echo").await;
        let answers = format!("/api/runs/{run}/answers/{}", MessageId::random());
        let (status, told) = send(&answers, format!(r#"{{"value": {x}}}"#)).await;
        assert!(status == 422 && !told.contains("unknown_question"), "{status} {told}");
    }
    // What is within bounds comes in.
    let body = format!(r#"{{"workflow": "params", "params": {{"x": {}}}}}"#, nested_text(62));
    assert_eq!(send("/api/runs", body).await.0, 201);
    let form = MessageContent::Form(fastagency::bounds::from_value(json!({"schema": {"type": "object"}})).unwrap());
    let refused =
        fastagency::message::check_text_answer(&form, &format!(r#"{{"x": {}}}"#, nested_text(64))).unwrap_err();
    assert!(refused.contains("x[0][0][0][0][0]…: nested deeper than 64 levels"), "{refused}");
    deployment.end().await;
}

const DEEPER: &str = r#"
version: 1
name: deeper
vars: { x: 1 }
steps:
  - loop:
      max: 1000
      do: [ { set: { x: ["{{ vars.x }}"] } } ]
  - return: "{{ vars.x }}"
"#;

const WIDER: &str = r#"
version: 1
name: wider
vars: { x: [1] }
steps:
  - loop:
      max: 1000
      do: [ { set: { x: ["{{ vars.x }}", "{{ vars.x }}"] } } ]
  - return: "{{ vars.x }}"
"#;

const LONGER: &str = r#"
version: 1
name: longer
vars: { x: "0123456789" }
steps:
  - loop:
      max: 1000
      do: [ { set: { x: "{{ vars.x ~ vars.x }}" } } ]
  - return: "{{ vars.x }}"
"#;

#[tokio::test]
async fn a_workflow_that_makes_ever_more_of_a_value_fails_in_words() {
    for (source, why) in [
        (DEEPER, "nested deeper than 80 levels"),
        (WIDER, "nested deeper than 80 levels"),
        (LONGER, "a text is longer than 4194304 bytes"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let deployment = System::at(folder.path()).worker(source).start().await;
        let run = RunId::random();
        deployment.start(run).await;
        let mut follower = deployment.follow(run).await;
        let reason = follower
            .until("its end", |body| match body {
                RecordBody::Ended(ended) => Some((ended.outcome, ended.reason.clone().unwrap_or_default())),
                _ => None,
            })
            .await;
        let wider = source == WIDER && reason.1.contains("elements and fields");
        assert!(reason.0 == RunOutcome::Failed && (reason.1.contains(why) || wider), "{reason:?}");
        deployment.close().await;
    }
}

const CALLING: &str = r#"
version: 1
name: calling
tools:
  keep:
    description: Keeps anything
    params: { type: object, properties: { x: {} } }
    do: [ { return: "{{ args.x }}" } ]
agents:
  clerk: { system_message: You call., tools: [keep] }
steps:
  - id: said
    agent: { agent: clerk, message: "Go on" }
  - return: "{{ steps.said }}"
"#;

#[tokio::test]
async fn a_model_that_nests_arguments_too_deep_is_told_so_and_its_run_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let deep = format!(r#"{{\"x\": {}}}"#, nested_text(124));
    let script = format!("- {{ tool_calls: [ {{ id: c1, name: keep, arguments: \"{deep}\" }} ] }}\n- I see.\n");
    let models: ModelRegistry = scripted(folder.path(), &script);
    let deployment = System::at(folder.path()).worker(CALLING).models(models).start().await;
    let run = RunId::random();
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let ended = follower.ended().await;
    assert_eq!(ended, (RunOutcome::Completed, json!("I see.")), "{:#?}", follower.seen);
    assert!(format!("{:?}", follower.seen).contains("nested deeper than 64 levels"), "{:#?}", follower.seen);
    drop(follower);
    deployment.close().await;
    let broker = embedded::open(folder.path()).unwrap();
    run::read(&broker, run, 0).await.unwrap();
}

/// A value around each of the limits, as a text that somebody sends.
fn sent(random: &mut StdRng) -> String {
    let text = |random: &mut StdRng| {
        let pieces = ["a", "\\n", "\\\"", "ü", "\\u2028", "[", "{", "\\\\", "😀", "\\ud83d\\ude00"];
        let count = [0, 1, 7, 300][random.random_range(0..4)];
        (0..count).map(|_| pieces[random.random_range(0..pieces.len())]).collect::<String>()
    };
    let mut value = match random.random_range(0..6) {
        0 => ["1e308", "-0.0", "18446744073709551615", "-9223372036854775808", "1.5e-300"][random.random_range(0..5)]
            .to_owned(),
        1 => "null".to_owned(),
        2 => format!("[{}1]", "1, ".repeat([0, 10, 99_900, 99_999, 100_001][random.random_range(0..5)])),
        3 => format!(
            r#"{{"{}": 1, "{}": [2]}}"#,
            "k".repeat([1, 1000, 1024, 1025][random.random_range(0..4)]),
            text(random)
        ),
        4 => format!(r#"{{"$serde_json::private::{}": "[[]]"}}"#, ["RawValue", "Number"][random.random_range(0..2)]),
        _ => format!("\"{}\"", text(random)),
    };
    let depth = [0, 1, 30, 55, 60, 61, 62, 63, 64, 65, 100, 126, 127, 128][random.random_range(0..14)];
    for _ in 0..depth {
        value = match random.random_range(0..3) {
            0 => format!("[{value}]"),
            1 => format!(r#"[0, {value}]"#),
            _ => format!(r#"{{"k": {value}}}"#),
        };
    }
    format!(r#"{{"x": {value}}}"#)
}

fn said(says: MessageContent) -> Message {
    Message {
        uuid: MessageId::random(),
        sender: Some("A".into()),
        recipient: Some("B".into()),
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says,
    }
}

/// Every kind of record that holds a value from outside.
fn bodies(run: RunId, params: &Map<String, Value>, made: &Value) -> Vec<Record> {
    let value = || Value::Object(params.clone());
    let outcome = AnswerOutcome::Given(value().into());
    let answered = AnswerRecord { question: MessageId::random(), by: None, outcome };
    let asked = || LoggedRequest {
        llm: "default".into(),
        took_ms: 1,
        after: None,
        common: 0,
        messages: vec![std::sync::Arc::new(
            fastagency::bounds::from_value::<ChatMessage>(json!({"role": "user", "content": value()})).unwrap(),
        )],
        tools: Some(vec![json!({"type": "function", "function": {"name": "f", "parameters": made}})]),
        response_format: Some(json!({"type": "json_schema", "json_schema": {"schema": made}})),
        parameters: params.clone(),
    };
    let approval = json!({"type": "approval", "function_name": "f", "arguments": params, "prompt": "May it?"});
    let call = MessageContent::SuggestedFunctionCall {
        function_name: Some("f".into()),
        call_id: None,
        arguments: params.clone(),
    };
    let outcome = |value| RecordBody::Did { key: "d".into(), outcome: EffectOutcome::Value(value) };
    vec![
        Record::new(RecordBody::Claimed {
            worker: WorkerId::random(),
            epoch: 1,
            message: Some(started_message(run, &created("ann", params.clone()), None)),
        }),
        Record::new(RecordBody::Did { key: "a".into(), outcome: EffectOutcome::Answer(answered) }),
        Record { asked: Some(Box::new(asked())), ..Record::new(outcome(made.clone())) },
        Record::new(RecordBody::Said {
            key: "s".into(),
            message: said(MessageContent::SystemMessage { message: Map::from_iter([("m".to_owned(), made.clone())]) }),
        }),
        Record::new(RecordBody::Said { key: "c".into(), message: said(call) }),
        Record::new(RecordBody::Said {
            key: "p".into(),
            message: said(fastagency::bounds::from_value(approval).unwrap()),
        }),
        Record::new(RecordBody::Said {
            key: "o".into(),
            message: said(MessageContent::Other { kind: "x".into(), content: made.clone() }),
        }),
        Record::carrying(
            FinishedEffect {
                key: "e".into(),
                outcome: EffectOutcome::Value(made.clone()),
                asked: Some(Box::new(asked())),
            },
            ended_with(run, made.clone()),
        ),
    ]
}

/// What a door takes, every reader reads: seeds of values around each limit go through the door, become records of every kind,
/// and are read by each reader.
#[tokio::test]
async fn what_a_door_takes_every_reader_reads() {
    let folder = tempfile::tempdir().unwrap();
    let key = || ChainKey::new(&"a key of the test".into());
    let anchors = folder.path().join("audit");
    let broker = chained(
        embedded::open(folder.path()).unwrap(),
        key(),
        AnchorWriter::open(&anchors, &key()).unwrap(),
        clock::system(),
    );
    let redactor = Redactor::new(&["k".to_owned()], vec![regex::Regex::new("ü+").unwrap()]);
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let text = sent(&mut random);
        let Ok(params) = bounds::read::<Map<String, Value>>(text.as_bytes(), &OUTSIDE) else {
            refused += 1;
            continue;
        };
        taken += 1;
        let context = format!("seed {seed}: {}", text.chars().take(200).collect::<String>());
        let run = RunId::random();
        let RunCreation { workflow, definition, user, groups, origin, .. } = created("ann", Map::new());
        let wanted = RunStart { run, workflow, definition, params: params.clone(), user, groups, origin };
        let begun = start(&broker, wanted, None).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        let run::start::StartOutcome::New { seq } = begun else { panic!("{context}") };
        // As deep as a workflow may make it, where that is deeper.
        let mut made = Value::Object(params.clone());
        for _ in 0..random.random_range(0..20) {
            let deeper = json!([made]);
            if bounds::check_value(&deeper, &MADE).is_err() {
                break;
            }
            made = deeper;
        }
        let mut writer = RunWriter::new(broker.clone(), run, WorkerId::random(), seq);
        let records = bodies(run, &params, &made);
        let steps: usize = records.iter().map(|record| record.clone().steps().count()).sum();
        for record in records {
            let kind = format!("{context}: {:?}", std::mem::discriminant(&record.body));
            drop(writer.append(record, SystemClock.now()).await.unwrap_or_else(|error| panic!("{kind}: {error}")));
        }
        let mut prompts = PromptHistory::default();
        for history in ["as it was written", "redacted"] {
            let read = run::read(&broker, run, 0).await.unwrap_or_else(|error| panic!("{context}, {history}: {error}"));
            assert_eq!(read.len(), steps + 1, "{context}");
            let summary = RunSummary::of(run, &read);
            assert_eq!(summary.state, RunState::Ended);
            serde_json::from_str::<RunSummary>(&serde_json::to_string(&summary).unwrap()).unwrap();
            for placed in &read {
                let placed = redaction::placed(&redactor, placed);
                for shown in [json!(event(run, &placed, &redactor)), json!(prompts.of(&placed))] {
                    serde_json::from_str::<Value>(&json!({"events": [shown]}).to_string()).expect(&context);
                }
                if let Some(message) = placed.record.message() {
                    let frame = fastagency::fastagency::envelope::envelope(run, message).to_string();
                    serde_json::from_str::<Value>(&frame).expect(&context);
                }
            }
            let stands =
                keep::redact(&broker, run, &redactor).await.unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(matches!(stands, RewriteOutcome::Anew | RewriteOutcome::Already));
        }
        let verdict = LogVerifier::new(key(), anchors.clone()).one(&broker, run).await.unwrap();
        assert!(verdict.is_clean(), "{context}: {verdict:?}");
    }
    assert!(taken > 50 && refused > 50, "{taken} were taken, {refused} refused");
    const { assert!(MADE.depth < STORED.depth && STORED.depth < 127, "less than readers take") };
}

/// A workflow that takes what comes through each door, and says, gives back and stores it.
const DOORS: &str = r#"
version: 1
name: doors
params: { type: object, properties: { x: {} } }
tools:
  keep:
    description: Keeps anything.
    approve: always
    params: { type: object, properties: { x: {} } }
    do: [ { return: "{{ args.x }}" } ]
steps:
  - id: form
    form: { prompt: "Form?", schema: { type: object } }
  - id: kept
    call: { tool: keep, args: { x: "{{ params.x }}" } }
  - message: { type: system, data: { x: "{{ steps.form }}" } }
  - return: { params: "{{ params.x }}", form: "{{ steps.form }}", kept: "{{ steps.kept }}" }
"#;

/// Sends a text through the doors of REST: as parameters, as an answer, as a change of a call. What is refused is left out.
async fn through_rest(deployment: &System, worker: &System, text: &str) -> (RunId, usize) {
    let mut taken = 0;
    let mut send = async |path: &str, body: &str, otherwise: &str| {
        for body in [body, otherwise] {
            let call =
                deployment.http.post(format!("{}{path}", deployment.url)).header("content-type", "application/json");
            let answer = call.body(body.to_owned()).send().await.unwrap();
            let (status, told) = (answer.status().as_u16(), answer.text().await.unwrap());
            if status < 300 {
                taken += usize::from(body != otherwise);
                return told;
            }
            assert!(matches!(status, 400 | 422), "{status} {told}");
        }
        panic!("{path}: {otherwise} is refused");
    };
    let start = |params: &str| format!(r#"{{"workflow":"doors","params":{params}}}"#);
    let begun = send("/api/runs", &start(text), &start(r#"{"x":null}"#)).await;
    let run = crate::support::client::run_id(&serde_json::from_str(&begun).unwrap());
    let mut follower = worker.follow(run).await;
    let form = follower.question("Form?").await;
    let answers = format!("/api/runs/{run}/answers");
    send(&format!("{answers}/{form}"), &format!(r#"{{"value":{text}}}"#), r#"{"value":{}}"#).await;
    let (question, digest) = follower
        .until("an approval", |body| match body {
            RecordBody::Said { message, .. } => match &message.says {
                MessageContent::Approval(asked) => Some((message.uuid, asked.digest.clone().unwrap())),
                _ => None,
            },
            _ => None,
        })
        .await;
    let once =
        |changes: Value| json!({"value": {"decision": "once", "digest": digest, "changes": changes}}).to_string();
    let changes = json!([{"path": "/x", "json": text}]);
    send(&format!("{answers}/{question}"), &once(changes), &once(json!([]))).await;
    assert_eq!(follower.ended().await.0, RunOutcome::Completed, "{:?}", follower.seen.last());
    (run, taken)
}

/// The same over FastAgency's socket.
async fn through_a_socket(deployment: &System, text: &str) -> RunId {
    use crate::support::client::{Heard, hear, say};
    for params in [text, r#"{"x":null}"#] {
        let run = RunId::random();
        let mut socket = deployment.socket().await;
        let init = format!(r#"{{"user_id":"None","workflow_uuid":"{run}","name":"doors","params":{params}}}"#);
        say(&mut socket, init).await;
        let mut said = [false; 2];
        let mut is_begun = false;
        while let Heard::Json(frame) = hear(&mut socket).await {
            let kind = frame["type"].as_str().unwrap_or_default();
            is_begun |= kind == "workflow_started";
            let asked = match kind {
                "text_input" => 0,
                "multiple_choice" => 1,
                _ => continue,
            };
            let hostile = match asked {
                0 => text.to_owned(),
                _ => json!({"decision": "once", "changes": [{"path": "/x", "json": text}]}).to_string(),
            };
            let harmless = ["{}", "Allow once"][asked];
            let is_again = std::mem::replace(&mut said[asked], true);
            say(&mut socket, if is_again { harmless.to_owned() } else { hostile }).await;
        }
        if is_begun {
            return run;
        }
    }
    panic!("it was never begun");
}

/// Asks everything that reads a run.
async fn read_by_everything(deployment: &System, run: RunId, redactor: &Redactor, context: &str) {
    let broker = &deployment.broker;
    let read = run::read(broker, run, 0).await.unwrap_or_else(|error| panic!("{context}: {error}"));
    let line = RunSummary::of(run, &read);
    assert_eq!(line.state, RunState::Ended, "{context}");
    let told = history(broker, run, redactor).await.unwrap().told(redactor);
    for format in [ExportFormat::Jsonl, ExportFormat::Csv] {
        let mut lines = String::new();
        told.iter().for_each(|event| CsvColumns::of(&line).write(format, event, &mut lines));
        assert!(!lines.contains("\"unreadable\""), "{context}");
    }
    let mut prompts = PromptHistory::default();
    for placed in &read {
        let shown = (event(run, &redaction::placed(redactor, placed), redactor), prompts.of(placed));
        serde_json::from_str::<Value>(&json!(shown).to_string()).expect(context);
    }
    let mut attached = attach(broker, run, 0).await.unwrap();
    let mut seen = 0;
    while let Some(next) = attached.next().await.unwrap() {
        seen += usize::from(matches!(next, FollowedEvent::Record(_)));
    }
    assert!(seen > 5, "{context}");
    let events = deployment.events(run, "?follow=false").await;
    let records = events.iter().filter(|event| event.name == "record");
    for event in records {
        fastagency::client::event::ClientRecord::parse(event.data.to_string()).expect(context);
    }
    for path in [format!("/api/runs/{run}"), format!("/api/audit/runs/{run}")] {
        let (status, told) = deployment.get(&path).await;
        assert!(status == 200 && !told.to_string().contains("unreadable"), "{context}: {path}");
    }
}

/// What the doors take of seeds around each limit, every reader reads, on both brokers.
#[tokio::test]
async fn what_the_doors_of_a_deployment_take_every_reader_reads() {
    let server = NatsServer::start("poisoned::what_the_doors_of_a_house_take");
    let nats = match &server {
        Some(server) => Some(server.broker().await),
        None => None,
    };
    let redactor = Redactor::new(&["k".to_owned()], vec![regex::Regex::new("ü+").unwrap()]);
    for nats in std::iter::once(None).chain(nats.map(Some)) {
        let seeds = if nats.is_none() { 0..60 } else { 60..80 };
        let folder = tempfile::tempdir().unwrap();
        let key = || ChainKey::new(&"a key of the test".into());
        let anchors = folder.path().join("audit");
        let place = |broker: &mut Broker| {
            let under = nats.unwrap_or_else(|| broker.clone());
            *broker = chained(under, key(), AnchorWriter::open(&anchors, &key()).unwrap(), clock::system());
        };
        let settled = redactor.clone();
        let deployment = System::played_with(place, |settings| settings.redactor = settled).await;
        let worker = System::over(deployment.broker.clone()).worker(DOORS).start().await;
        // A worker announces what it serves a moment after it has begun.
        eventually("the gateway knows the workflow", async || {
            let (_, listed) = deployment.get("/api/workflows").await;
            listed["workflows"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "doors"))
        })
        .await;
        let (mut all, mut taken) = (Vec::new(), 0);
        for seed in seeds {
            let mut random = StdRng::seed_from_u64(seed);
            let text = sent(&mut random);
            let context = format!("seed {seed}: {}", text.chars().take(200).collect::<String>());
            let run = if seed % 5 == 0 {
                let run = through_a_socket(&deployment, &text).await;
                let mut follower = worker.follow(run).await;
                let ended = follower.ended().await.0;
                assert_eq!(ended, RunOutcome::Completed, "{context}: {:?}", follower.seen.last());
                run
            } else {
                let (run, doors) = through_rest(&deployment, &worker, &text).await;
                taken += doors;
                run
            };
            read_by_everything(&deployment, run, &redactor, &context).await;
            all.push(run);
        }
        assert!(taken > all.len() / 2, "{taken} were taken");
        let broker = &deployment.broker;
        for format in ["jsonl", "csv"] {
            let (status, export) = deployment.get(&format!("/api/audit/export?format={format}")).await;
            assert!(status == 200 && !export.to_string().contains("unreadable"), "{format}");
        }
        let erased = erase::erase(broker, &user("carol").unwrap(), &erasure(), KEPT).await.unwrap();
        assert_eq!((erased.erased, erased.unreadable), (vec![], vec![]));
        let report = LogVerifier::new(key(), anchors.clone()).all(broker, &|_, _| {}).await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        for run in &all {
            assert!(matches!(
                keep::redact(broker, *run, &redactor).await.unwrap(),
                RewriteOutcome::Anew | RewriteOutcome::Already
            ));
            run::read(broker, *run, 0).await.unwrap();
        }
        worker.close().await;
        let lease = lease(broker, std::sync::Arc::new(AnHourOn)).await;
        let swept = RunSweeper::new(broker.clone(), HOUR / 2, KEPT).sweep(&lease, true).await.unwrap();
        assert_eq!(swept.removed, all.len(), "{swept:?}");
        deployment.end().await;
    }
}

#[test]
fn a_record_that_nobody_could_read_again_is_not_stored() {
    let deep = Record::new(RecordBody::Did { key: "d".into(), outcome: EffectOutcome::Value(nested(101)) });
    assert!(deep.payloads().unwrap_err().to_string().contains("nested deeper than 100 levels"));
    let reserved = json!({"$serde_json::private::RawValue": "x"});
    let reserved = Record::new(RecordBody::Did { key: "d".into(), outcome: EffectOutcome::Value(reserved) });
    assert!(reserved.payloads().is_err());
}
