//! A broker that is slow, full, or carries little; a cancel in the middle of a reply; notices to a receiver that fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastagency::message::MessageContent;
use fastagency::run::record::{LogEntry, RecordBody, RunOutcome};
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, claims, question};
use crate::support::eventually::{eventually, soon};
use crate::support::nats_server::NatsServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_for_a_while_costs_nothing_but_time() {
    let Some(nats) = NatsServer::start("hardship::slow") else { return };
    let deployment = Deployment::over(nats).pace(Duration::from_secs(1)).start().await;
    let (first, second) = (deployment.worker("first").await, deployment.worker("second").await);
    let run = deployment.answered().await;
    deployment.asked(1).await;
    deployment.nats.signal("STOP");
    tokio::time::sleep(Duration::from_secs(5)).await;
    deployment.nats.signal("CONT");
    let log = deployment.ended(&run).await;
    assert_eq!(claims(&log).len(), 1, "{log:#?}");
    assert_eq!(deployment.effects(), ["one#0", "two#0"]);
    drop((first, second));
}

/// Sets how much the runs' stream may hold; `None`: as much as it holds now.
async fn limit(deployment: &Deployment, bytes: Option<i64>) {
    let jetstream = async_nats::jetstream::new(async_nats::connect(deployment.nats.url()).await.unwrap());
    let stream = jetstream.get_stream("FA_RUNS").await.unwrap();
    let info = stream.get_info().await.unwrap();
    let max_bytes = bytes.unwrap_or(info.state.bytes as i64);
    jetstream.update_stream(async_nats::jetstream::stream::Config { max_bytes, ..info.config }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_refuses_starts_and_holds_what_runs_until_there_is_room() {
    let Some(nats) = NatsServer::start("hardship::full") else { return };
    let deployment = Deployment::over(nats).pace(Duration::from_secs(1)).start().await;
    let worker = deployment.worker("worker").await;
    let run = deployment.answered().await;
    deployment.asked(1).await;
    let gateways = deployment.gateways();
    let waiting = gateways.start("lesson", json!({}), "one that waits").await;
    let open = question(&gateways, &waiting).await;
    limit(&deployment, None).await;
    let ready = async || gateways.try_call(0, "GET", "/readyz", None, None).await.expect("an answer").0;
    let start = json!({"workflow": "lesson"});
    let (status, refused) = gateways.try_call(0, "POST", "/api/runs", None, Some(&start)).await.expect("an answer");
    assert_eq!((status, refused["error"]["code"].as_str()), (503, Some("broker_full")), "{refused}");
    let path = format!("/api/runs/{waiting}/answers/{open}");
    let (status, refused) =
        gateways.try_call(0, "POST", &path, None, Some(&json!({"value": "squares"}))).await.expect("an answer");
    assert_eq!((status, refused["error"]["code"].as_str()), (503, Some("broker_full")), "{refused}");
    assert_eq!(ready().await, 503);
    eventually("the worker notices", async || worker.log().contains("the log takes no more records")).await;
    limit(&deployment, Some(-1)).await;
    let log = deployment.ended(&run).await;
    assert_eq!(claims(&log).len(), 1);
    assert_eq!(deployment.effects(), ["one#0", "two#0"]);
    assert!(gateways.answer(&waiting, &open, "squares").await);
    deployment.ended(&waiting).await;
    eventually("the gateway is ready again", async || ready().await == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_larger_than_the_broker_carries_is_stored_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nats.conf");
    std::fs::write(&config, "max_payload: 65536").unwrap();
    let arguments = ["-js", "-c", config.to_str().unwrap()];
    let Some(nats) = NatsServer::start_with("hardship::small", &arguments) else { return };
    let long = r#"
version: 1
name: lesson
params: { properties: { x: { type: string } } }
agents:
  a: { system_message: You answer. }
steps:
  - agent: { agent: a, message: "{% for i in range(3000) %}an answer as long as a book, {% endfor %}" }
  - return: done
"#;
    let deployment = Deployment::over(nats).pace(Duration::from_millis(300)).workflow(long).start().await;
    let _worker = deployment.worker("worker").await;
    let gateways = deployment.gateways();
    let run = gateways.start("lesson", json!({}), "long").await;
    let log = deployment.ended(&run).await;
    let said: Vec<usize> = log.iter().filter_map(|placed| Some(text(placed)?.len())).collect();
    assert!(matches!(said.as_slice(), [length] if *length > 80_000), "{said:?}");
    let params = json!({"workflow": "lesson", "params": {"x": "y".repeat(70_000)}});
    let (status, refused) = gateways.try_call(0, "POST", "/api/runs", None, Some(&params)).await.expect("an answer");
    assert_eq!((status, refused["error"]["code"].as_str()), (413, Some("too_large")), "{refused}");
}

/// A run that is removed is removed wherever NATS keeps anything: of what was said in it no stream holds a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_run_is_in_no_stream_any_more() {
    let Some(nats) = NatsServer::start("hardship::removed") else { return };
    let deployment = Deployment::over(nats).pace(Duration::from_millis(100)).start().await;
    let _worker = deployment.worker("worker").await;
    let run = deployment.answered().await;
    deployment.ended(&run).await;
    // Its line in the list comes a moment after its end.
    eventually("the run is listed", async || found(&deployment, &[&run]).await.contains(&"KV_fa_runs".to_owned()))
        .await;
    assert!(found(&deployment, &["triangles"]).await.contains(&"FA_RUNS".to_owned()));
    let (status, _) = deployment.gateways().call("DELETE", &format!("/api/runs/{run}"), None, None).await;
    assert_eq!(status, 204);
    assert!(found(&deployment, &["triangles"]).await.is_empty());
    // What bears its name: the tombstone, and the audit's line. Its line in the list and its title are overwritten.
    let mut left = found(&deployment, &[&run]).await;
    left.sort_unstable();
    assert_eq!(left, ["FA_RUNS", "KV_fa_runs"]);
}

/// The streams in which one of these words is, in a message or in its subject: each as often as there are such messages.
async fn found(deployment: &Deployment, words: &[&str]) -> Vec<String> {
    let nats = async_nats::connect(deployment.nats.url()).await.unwrap();
    let ask = async |call: String, body: Value| -> Value {
        let answer = nats.request(format!("$JS.API.{call}"), body.to_string().into()).await.unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    };
    let names = ask("STREAM.NAMES".to_owned(), json!({})).await;
    let mut found = Vec::new();
    for name in names["streams"].as_array().expect("streams").iter().filter_map(Value::as_str) {
        let state = ask(format!("STREAM.INFO.{name}"), Value::Null).await["state"].clone();
        let sequence = |which: &str| state[which].as_u64().expect("a sequence");
        for seq in sequence("first_seq")..=sequence("last_seq") {
            let message = &ask(format!("STREAM.MSG.GET.{name}"), json!({ "seq": seq })).await["message"];
            let payload = STANDARD.decode(message["data"].as_str().unwrap_or_default()).expect("base64");
            let all = format!("{} {}", message["subject"], String::from_utf8_lossy(&payload));
            if words.iter().any(|word| all.contains(word)) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

/// The text that a record says, if it says one.
fn text(placed: &LogEntry) -> Option<&str> {
    match &placed.record.message()?.says {
        MessageContent::TextMessage { body, .. } => body.as_deref(),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_a_reply_and_keeps_what_was_written() {
    let Some(nats) = NatsServer::start("hardship::cancel") else { return };
    let deployment = Deployment::over(nats).pace(Duration::from_secs(20)).start().await;
    let gateways = deployment.gateways();
    let worker = deployment.worker("worker").await;
    let run = deployment.answered().await;
    let mut pieces = 0;
    soon(gateways.follow(0, &run, 0, |event| {
        pieces += usize::from(event.name == "delta");
        pieces == 0
    }))
    .await;
    let (status, _) = gateways.call("POST", &format!("/api/runs/{run}/cancel"), None, None).await;
    assert_eq!(status, 202);
    let log = cancelled(&deployment, &run).await;
    let stopped = log.iter().find_map(|placed| match &placed.record.message()?.says {
        MessageContent::TextMessage { body, stopped: true, .. } => body.clone(),
        _ => None,
    });
    assert!(stopped.is_some_and(|body| body.starts_with("you ")), "{log:#?}");
    drop(worker);

    // Before any worker has it, too.
    let run = gateways.start("lesson", json!({}), "at once").await;
    let (status, _) = gateways.call("POST", &format!("/api/runs/{run}/cancel"), None, None).await;
    assert_eq!(status, 202);
    let _worker = deployment.worker("another").await;
    cancelled(&deployment, &run).await;
}

async fn cancelled(deployment: &Deployment, run: &str) -> Vec<LogEntry> {
    eventually("the run is cancelled", async || {
        let log = deployment.log(run).await;
        if let Some(RecordBody::Ended(ended)) = log.last().map(|last| &last.record.body) {
            assert_eq!(ended.outcome, RunOutcome::Cancelled);
            return Ok(log);
        }
        Err(log)
    })
    .await
}

type Notices = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// Fails the first time, then takes what comes.
async fn receive(State(notices): State<Notices>, headers: HeaderMap, body: String) -> StatusCode {
    let mut notices = notices.lock().unwrap();
    notices.push((headers, serde_json::from_str(&body).unwrap()));
    if notices.len() == 1 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NO_CONTENT }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_outlives_its_worker_and_a_receiver_that_fails() {
    let Some(nats) = NatsServer::start("hardship::notices") else { return };
    let notices = Notices::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = Router::new().route("/hook", post(receive)).with_state(notices.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let more = format!("webhooks: {{ desk: {{ url: '{hook}', secret: whsec_c2VjcmV0 }} }}\n");
    let deployment = Deployment::over(nats).pace(Duration::from_millis(100)).settings(&more).start().await;
    let gateways = deployment.gateways();
    let mut first = deployment.worker("first").await;
    let run = gateways.start("lesson", json!({}), "noticed").await;
    let came = async |count: usize| {
        eventually("the notices come", async || notices.lock().unwrap().len() >= count).await;
    };
    came(1).await;
    first.kill();
    let _second = deployment.worker("second").await;
    came(2).await;
    let asked = question(&gateways, &run).await;
    let (status, listed) = gateways.call("GET", "/api/questions", None, None).await;
    assert_eq!((status, &listed["questions"][0]["id"]), (200, &json!(asked)), "{listed}");
    assert_eq!(listed["questions"][0]["run"]["id"], json!(run));
    gateways.answer(&run, &asked, "triangles").await;
    came(3).await;
    let notices = notices.lock().unwrap().clone();
    let id = |number: usize| notices[number].0["webhook-id"].to_str().unwrap().to_owned();
    assert_eq!(id(0), id(1), "the same notice, tried again");
    for (headers, _) in &notices {
        assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
        assert!(headers.contains_key("webhook-timestamp"));
    }
    let waiting = &notices[1].1;
    assert_eq!(
        (waiting["type"].as_str(), &waiting["data"]["question"]["prompt"]),
        (Some("run.waiting"), &json!("What?"))
    );
    assert_eq!(waiting["data"]["question"]["id"], json!(asked));
    let ended = &notices[2].1;
    assert_eq!((ended["type"].as_str(), &ended["data"]["run"]["outcome"]), (Some("run.ended"), &json!("completed")));
    // The list is a projection: it follows the log a moment later.
    eventually("nothing waits any more", async || {
        gateways.call("GET", "/api/questions", None, None).await.1 == json!({"questions": []})
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_and_definitions_are_all_that_a_restore_needs() {
    let Some(nats) = NatsServer::start("hardship::restore") else { return };
    let mut deployment = Deployment::over(nats).pace(Duration::from_millis(600)).start().await;
    let mut first = deployment.worker("first").await;
    let gateways = deployment.gateways();
    let waiting = gateways.start("lesson", json!({}), "waiting").await;
    let open = question(&gateways, &waiting).await;
    let busy = deployment.answered().await;
    deployment.asked(1).await;
    first.kill();
    deployment.gateway.kill();
    // What a backup has not: jobs, lists, who lives, what can be started.
    let jetstream = async_nats::jetstream::new(async_nats::connect(deployment.nats.url()).await.unwrap());
    for stream in ["FA_QUEUE", "KV_fa_runs", "KV_fa_workers", "KV_fa_workflows"] {
        jetstream.delete_stream(stream).await.unwrap();
    }
    deployment.gateway.start();
    let _second = deployment.worker("second").await;
    deployment.ended(&busy).await;
    // Listed again, and its question can be answered.
    let listed = eventually("the question is listed", async || {
        let (_, listed) = gateways.call("GET", "/api/questions", None, None).await;
        (!listed["questions"].as_array().unwrap().is_empty()).then_some(listed)
    })
    .await;
    assert_eq!(listed["questions"][0]["id"], json!(open));
    assert!(gateways.answer(&waiting, &open, "squares").await);
    deployment.ended(&waiting).await;
}
