//! FastAgency's own subjects, on a real server.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastagency::broker::contract::{FastAgencyContract, SettleableMessage};
use fastagency::broker::{Error, Result};
use fastagency::ids::{MessageId, RunId};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{bytes, connect, next, soon, text};
use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;
use crate::support::system::System;

async fn start(test: &str) -> Option<(NatsServer, Arc<dyn FastAgencyContract>)> {
    let server = NatsServer::start(&format!("broker::contract::{test}"))?;
    let contract = contract(&server).await;
    contract.prepare().await.unwrap();
    Some((server, contract))
}

async fn contract(server: &NatsServer) -> Arc<dyn FastAgencyContract> {
    connect(server).await.contract.expect("NATS has the contract")
}

type Messages = BoxStream<'static, Result<Box<dyn SettleableMessage>>>;

async fn next_message(messages: &mut Messages) -> Box<dyn SettleableMessage> {
    next(messages).await.unwrap()
}

/// What a plain NATS client sees and does, as a Python peer would.
async fn plain(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(server.url()).await.unwrap()
}

async fn api(client: &async_nats::Client, call: &str, body: &str) -> serde_json::Value {
    let reply = client.request(format!("$JS.API.{call}"), Bytes::from(body.to_owned())).await.unwrap();
    serde_json::from_slice(&reply.payload).unwrap()
}

#[tokio::test]
async fn stream_and_bucket_are_as_the_python_worker_makes_them() {
    let Some((server, contract)) = start("stream_and_bucket_are_as_the_python_worker_makes_them").await else { return };
    contract.prepare().await.unwrap();
    let client = plain(&server).await;
    // Word for word what its worker sends at its start: the server says no if there is any difference.
    let stream = r#"{"name": "FastAgency", "subjects": ["chat.server.initiate_chat", "chat.client.messages.*.*", "chat.server.messages.*.*", "discovery"], "discard": "old", "discard_new_per_subject": false, "max_msgs_per_subject": -1, "max_msg_size": -1, "no_ack": false, "duplicate_window": 0, "sealed": false, "deny_delete": false, "deny_purge": false, "allow_rollup_hdrs": false, "max_age": 0}"#;
    let bucket = r#"{"name": "KV_discovery", "subjects": ["$KV.discovery.>"], "max_consumers": -1, "max_msgs": -1, "discard": "new", "discard_new_per_subject": false, "max_msgs_per_subject": 1, "num_replicas": 1, "no_ack": false, "duplicate_window": 120000000000, "sealed": false, "deny_delete": true, "deny_purge": false, "allow_rollup_hdrs": true, "allow_msg_ttl": true, "max_age": 0}"#;
    for (name, config) in [("FastAgency", stream), ("KV_discovery", bucket)] {
        let answer = api(&client, &format!("STREAM.CREATE.{name}"), config).await;
        assert!(answer.get("error").is_none(), "{name}: {answer}");
    }
}

#[tokio::test]
async fn announced_workflows_are_discovered_and_watched() {
    let Some((server, contract)) = start("announced_workflows_are_discovered_and_watched").await else { return };
    let mut changes = contract.watch_discovery().await.unwrap();
    next(&mut changes).await;
    assert!(contract.discovered().await.unwrap().is_empty());
    for (name, description) in [("one", "first"), ("two", "zweite ü"), ("one", "again")] {
        contract.announce(name, description).await.unwrap();
    }
    next(&mut changes).await;
    let found = contract.discovered().await.unwrap();
    let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.description.as_str())).collect();
    assert_eq!(found, [("two", "zweite ü"), ("one", "again")]);
    assert!(matches!(contract.announce("a b", "x").await, Err(Error::Refused { .. })));
    // A Python worker's key.
    let client = plain(&server).await;
    client.publish("$KV.discovery.of/python", "theirs".into()).await.unwrap();
    soon(async {
        while contract.discovered().await.unwrap().len() < 3 {
            next(&mut changes).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_empty() {
    let test = "broker::contract::a_bucket_that_is_not_there_is_empty";
    let Some(server) = NatsServer::start(test) else { return };
    assert!(contract(&server).await.discovered().await.unwrap().is_empty());
}

#[tokio::test]
async fn each_start_reaches_one_of_the_workers_who_share_the_consumer() {
    const STARTS: usize = 40;
    let test = "each_start_reaches_one_of_the_workers_who_share_the_consumer";
    let Some((server, gateway)) = start(test).await else { return };
    let other = contract(&server).await;
    let mine = gateway.initiations().await.unwrap();
    let theirs = other.initiations().await.unwrap();
    // A third one joins as a Python worker does.
    let client = plain(&server).await;
    let info = api(&client, "CONSUMER.INFO.FastAgency.initiate_workers", "").await;
    assert_eq!(info["config"]["ack_policy"], "explicit");
    assert_eq!(info["config"]["max_ack_pending"], 1000);
    let subject = info["config"]["deliver_subject"].as_str().unwrap().to_owned();
    let python = client.queue_subscribe(subject, "initiate_workers".to_owned()).await.unwrap();
    // An answer on the same connection: the server knows the subscription.
    api(&client, "INFO", "").await;
    for start in 0..STARTS {
        gateway.initiate(RunId::random(), bytes(start.to_string())).await.unwrap();
    }
    let ours = futures_util::stream::select(mine, theirs).map(|message| {
        let message = message.unwrap();
        assert_eq!((message.subject(), message.attempt()), ("chat.server.initiate_chat", 1));
        (text(message.body()).to_owned(), Some(message))
    });
    let python = python.map(|message| (text(&message.payload).to_owned(), None));
    let mut all = futures_util::stream::select(ours, python);
    let mut started = HashSet::new();
    for _ in 0..STARTS {
        let (body, message) = soon(all.next()).await.unwrap();
        assert!(started.insert(body), "started twice");
        if let Some(message) = message {
            message.ack().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_start_given_back_reaches_somebody_again() {
    let Some((_server, gateway)) = start("a_start_given_back_reaches_somebody_again").await else { return };
    let mut starts = gateway.initiations().await.unwrap();
    let run = RunId::random();
    for _ in 0..2 {
        gateway.initiate(run, bytes("{}")).await.unwrap();
    }
    let message = next_message(&mut starts).await;
    message.retry_after(Duration::from_millis(50)).await.unwrap();
    let again = next_message(&mut starts).await;
    assert_eq!(again.attempt(), 2);
    again.ack().await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_was_made_anew_is_joined_again() {
    let Some((server, gateway)) = start("a_consumer_that_was_made_anew_is_joined_again").await else { return };
    let mut starts = gateway.initiations().await.unwrap();
    let client = plain(&server).await;
    api(&client, "CONSUMER.DELETE.FastAgency.initiate_workers", "").await;
    gateway.initiate(RunId::random(), bytes("{}")).await.unwrap();
    next_message(&mut starts).await.ack().await.unwrap();
}

#[tokio::test]
async fn copies_follow_each_other_or_conflict() {
    let Some((server, contract)) = start("copies_follow_each_other_or_conflict").await else { return };
    let (run, user) = (RunId::random(), "alice");
    let mut heard = contract.worker_messages().await.unwrap();
    assert!(contract.last_copy(user, run).await.unwrap().is_none());
    let message = MessageId::random();
    let first = contract.copy(user, run, message, 17, 0, bytes("{\"a\":1}")).await.unwrap();
    let late = contract.copy(user, run, MessageId::random(), 18, 0, bytes("{}")).await;
    assert!(matches!(late, Err(Error::Conflict { expected: 0 })), "{late:?}");
    let second = contract.copy(user, run, MessageId::random(), 18, first, bytes("{\"a\":2}")).await.unwrap();
    let last = contract.last_copy(user, run).await.unwrap().unwrap();
    assert_eq!((last.seq, last.copy_of, text(&last.body), last.run), (second, Some(18), "{\"a\":2}", run));
    let carried = next(&mut heard).await;
    assert_eq!((carried.seq, carried.user.as_str(), carried.copy_of), (first, user, Some(17)));
    assert_eq!(next(&mut heard).await.seq, second);
    // What Python sends has no such header; what is no conversation is passed over.
    let client = plain(&server).await;
    client.publish("chat.client.messages.None.nonsense", "{}".into()).await.unwrap();
    client.publish(format!("chat.client.messages.None.{run}"), "{}".into()).await.unwrap();
    let carried = next(&mut heard).await;
    assert_eq!((carried.user.as_str(), carried.copy_of), ("None", None));
    // The headers that its receivers decode by.
    let mut plain = client.subscribe("chat.client.messages.>").await.unwrap();
    // An answer on the same connection: the server knows the subscription.
    api(&client, "INFO", "").await;
    contract.copy(user, run, MessageId::random(), 19, second, bytes("{}")).await.unwrap();
    let headers = soon(plain.next()).await.unwrap().headers.unwrap();
    assert_eq!(headers.get("content-type").unwrap().as_str(), "application/json");
    assert_eq!(headers.get("correlation_id").unwrap().as_str().len(), 36);
    contract.purge(user, run).await.unwrap();
    assert!(contract.last_copy(user, run).await.unwrap().is_none());
}

#[tokio::test]
async fn answers_reach_one_worker_and_can_be_erased() {
    let Some((server, contract)) = start("answers_reach_one_worker_and_can_be_erased").await else { return };
    let run = RunId::random();
    let mut answers = contract.answers().await.unwrap();
    contract.answer("None", run, MessageId::random(), bytes("secret")).await.unwrap();
    let answer = next_message(&mut answers).await;
    assert_eq!(
        (answer.subject(), text(answer.body())),
        (format!("chat.server.messages.None.{run}").as_str(), "secret")
    );
    let seq = answer.seq();
    contract.erase(seq).await.unwrap();
    contract.erase(seq).await.unwrap();
    answer.ack().await.unwrap();
    let client = plain(&server).await;
    let gone = api(&client, "STREAM.MSG.GET.FastAgency", &format!("{{\"seq\":{seq}}}")).await;
    assert!(gone.get("error").is_some(), "{gone}");
}

#[tokio::test]
async fn worker_messages_go_on_in_order_over_a_restart() {
    let Some((mut server, contract)) = start("worker_messages_go_on_in_order_over_a_restart").await else { return };
    let run = RunId::random();
    let mut heard = contract.worker_messages().await.unwrap();
    let mut previous = 0;
    for seq in 1..=500 {
        previous = contract.copy("u", run, MessageId::random(), seq, previous, bytes("{}")).await.unwrap();
        if seq == 250 {
            for expected in 1..=200 {
                assert_eq!(next(&mut heard).await.copy_of, Some(expected));
            }
            // The consumer is in memory: it does not come back.
            server.kill();
            server.start_again();
            soon(async { while contract.last_copy("u", run).await.is_err() {} }).await;
        }
    }
    for expected in 201..=500 {
        assert_eq!(next(&mut heard).await.copy_of, Some(expected));
    }
}

#[tokio::test]
async fn a_start_whose_parameters_do_not_fit_is_refused_with_what_was_meant() {
    const INVOICE: &str = "version: 1
name: invoice
params:
  type: object
  required: [number]
  properties: { number: { type: string }, days: { type: integer, default: 30 } }
steps:
  - return: \"{{ params.number }} in {{ params.days }}\"
";
    let test = "broker::contract::a_start_whose_parameters_do_not_fit_is_refused_with_what_was_meant";
    let Some(server) = NatsServer::start(test) else { return };
    let broker = connect(&server).await;
    let worker = System::over(broker.clone()).worker(INVOICE).start().await;
    let gateway = contract(&server).await;
    let client = plain(&server).await;
    let cases = [
        (r#"{"numbr": "INV-1", "number": "INV-2"}"#, r#"there is no parameter "numbr" (did you mean "number"?)"#),
        (r#"{}"#, r#""number" is a required property"#),
        (r#"{"number": "INV-1", "days": "many"}"#, r#"days: "many" is not of type "integer""#),
    ];
    for (params, why) in cases {
        let run = RunId::random();
        let mut told = client.subscribe(format!("chat.client.messages.None.{run}")).await.unwrap();
        api(&client, "INFO", "").await;
        let start = format!(
            r#"{{"user_id": "None", "workflow_uuid": "{}", "name": "invoice", "params": {params}}}"#,
            run.dashed()
        );
        gateway.initiate(run, bytes(&start)).await.unwrap();
        let mut heard = Vec::new();
        for _ in 0..2 {
            let message = soon(told.next()).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!((&body["sender"], &body["recipient"]), (&"Workflow".into(), &"User".into()));
            heard.push((body["type"].clone(), body["content"].clone()));
        }
        let wanted = [
            ("error".into(), serde_json::json!({"short": "The workflow was not started.", "long": why})),
            (
                "workflow_completed".into(),
                serde_json::json!({"result": format!("The workflow was not started: {why}")}),
            ),
        ];
        assert_eq!(heard, wanted);
        // A client that comes back has the same start asked for again, and reads the old messages: none is added.
        let again = RunId::random();
        client.publish("chat.server.initiate_chat", start.into()).await.unwrap();
        let fits = format!(
            r#"{{"user_id": "None", "workflow_uuid": "{again}", "name": "invoice", "params": {{"number": "7"}}}}"#
        );
        gateway.initiate(again, bytes(&fits)).await.unwrap();
        eventually("the next start is taken", async || broker.log.last(again).await.unwrap().is_some()).await;
        assert_eq!(worker.follow(again).await.ended().await.1, serde_json::json!("7 in 30"));
        assert!(broker.log.last(run).await.unwrap().is_none(), "nothing was started");
        let last = gateway.last_copy("None", run).await.unwrap().unwrap();
        assert_eq!(last.copy_of, Some(2));
        let told = futures_util::FutureExt::now_or_never(told.next());
        assert!(told.is_none(), "told once: {told:?}");
    }
    // A run that was begun by other rules goes on: it is not told that it was not started.
    let begun = RunId::random();
    let start = |run: RunId, params: &str| {
        format!(r#"{{"user_id": "None", "workflow_uuid": "{run}", "name": "invoice", "params": {params}}}"#)
    };
    gateway.initiate(begun, bytes(start(begun, r#"{"number": "8"}"#))).await.unwrap();
    eventually("it is started", async || broker.log.last(begun).await.unwrap().is_some()).await;
    worker.follow(begun).await.ended().await;
    gateway.purge("None", begun).await.unwrap();
    client.publish("chat.server.initiate_chat", start(begun, r#"{"numbr": "8"}"#).into()).await.unwrap();
    let next = RunId::random();
    gateway.initiate(next, bytes(start(next, r#"{"number": "9"}"#))).await.unwrap();
    eventually("the next start is taken", async || broker.log.last(next).await.unwrap().is_some()).await;
    assert!(gateway.last_copy("None", begun).await.unwrap().is_none(), "nothing was told");
    worker.close().await;
}
