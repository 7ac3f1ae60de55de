//! Runs of FastAgency's own workers, over a played contract: they look like any other run, whichever gateway copies them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fastagency::broker::contract::{ConversationMessage, DiscoveredWorkflow, FastAgencyContract, SettleableMessage};
use fastagency::broker::{Broker, Result};
use fastagency::gateway;
use fastagency::ids::{MessageId, Name, RunId};
use fastagency::lifecycle::{Lifecycle, LifecycleEnd};
use fastagency::run;
use fastagency::run::answer::{AnswerPayload, SubmittedAnswer};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use super::player::shared;
use crate::support::client::{Heard, hear, hear_json, say};
use crate::support::eventually::eventually;
use crate::support::system::System;

/// FastAgency's subjects, played.
struct Played {
    /// Everything on `chat.client.messages`.
    messages: Mutex<Vec<ConversationMessage>>,
    news: broadcast::Sender<ConversationMessage>,
    initiated: Mutex<Vec<Value>>,
    answers: Mutex<Vec<(String, RunId, Value)>>,
    /// What gateways ask for, and what of it was settled.
    starts: Mutex<Vec<String>>,
    /// What Python's gateways answer, by subject.
    given: broadcast::Sender<(String, Value)>,
    settled: Arc<Mutex<Vec<u64>>>,
}

/// Where the sequences of answers begin, in one count with those of starts.
const FIRST_ANSWER: u64 = 1000;

/// A start, until it is settled.
struct Asked {
    seq: u64,
    body: Bytes,
    subject: String,
    settled: Arc<Mutex<Vec<u64>>>,
}

#[async_trait]
impl SettleableMessage for Asked {
    fn body(&self) -> &Bytes {
        &self.body
    }
    fn subject(&self) -> &str {
        &self.subject
    }
    fn seq(&self) -> u64 {
        self.seq
    }
    async fn ack(self: Box<Self>) -> Result<()> {
        self.settled.lock().unwrap().push(self.seq);
        Ok(())
    }
    async fn retry_after(self: Box<Self>, _delay: Duration) -> Result<()> {
        Ok(())
    }
    fn attempt(&self) -> u64 {
        1
    }
}

impl Played {
    fn new() -> Self {
        Played {
            messages: Mutex::default(),
            news: broadcast::channel(1000).0,
            initiated: Mutex::default(),
            answers: Mutex::default(),
            starts: Mutex::default(),
            given: broadcast::channel(100).0,
            settled: Arc::default(),
        }
    }

    /// A Python worker says something, on the subject of `subject`.
    fn says(&self, subject: RunId, body: Value) {
        self.says_as(subject, body, None);
    }

    /// The same, marked as a copy of a record of ours.
    fn says_as(&self, subject: RunId, body: Value, copy_of: Option<u64>) {
        self.says_text(subject, body.to_string(), copy_of);
    }

    fn says_text(&self, subject: RunId, body: String, copy_of: Option<u64>) {
        let mut messages = self.messages.lock().unwrap();
        let seq = messages.len() as u64 + 1;
        let carried = ConversationMessage { seq, user: "None".into(), run: subject, body: body.into(), copy_of };
        messages.push(carried.clone());
        let _ = self.news.send(carried);
    }
}

#[async_trait]
impl FastAgencyContract for Played {
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }
    async fn announce(&self, _name: &str, _description: &str) -> Result<()> {
        Ok(())
    }
    async fn discovered(&self) -> Result<Vec<DiscoveredWorkflow>> {
        let found = |name: &str| DiscoveredWorkflow { name: name.into(), description: format!("{name} of Python") };
        Ok(vec![found("echo"), found("team/python.echo")])
    }
    async fn watch_discovery(&self) -> Result<BoxStream<'static, ()>> {
        Ok(stream::pending().boxed())
    }
    async fn initiations(&self) -> Result<BoxStream<'static, Result<Box<dyn SettleableMessage>>>> {
        let settled = self.settled.clone();
        let asked = (1..).zip(self.starts.lock().unwrap().clone()).map(move |(seq, body)| {
            let asked: Box<dyn SettleableMessage> = Box::new(Asked {
                seq,
                body: body.into(),
                subject: "chat.server.initiate_chat.played".into(),
                settled: settled.clone(),
            });
            Ok(asked)
        });
        Ok(stream::iter(asked.collect::<Vec<_>>()).chain(stream::pending()).boxed())
    }
    async fn answers(&self) -> Result<BoxStream<'static, Result<Box<dyn SettleableMessage>>>> {
        let (given, settled) = (self.given.subscribe(), self.settled.clone());
        let answers = stream::unfold((given, settled, FIRST_ANSWER), |(mut given, settled, seq)| async move {
            let (subject, body) = given.recv().await.ok()?;
            let asked: Box<dyn SettleableMessage> =
                Box::new(Asked { seq, body: body.to_string().into(), subject, settled: settled.clone() });
            Some((Ok(asked), (given, settled, seq + 1)))
        });
        Ok(answers.boxed())
    }
    async fn worker_messages(&self) -> Result<BoxStream<'static, ConversationMessage>> {
        let messages = self.messages.lock().unwrap();
        let news = self.news.subscribe();
        let live = stream::unfold(news, |mut news| async move { Some((news.recv().await.ok()?, news)) });
        Ok(stream::iter(messages.clone()).chain(live).boxed())
    }
    async fn last_copy(&self, _user: &str, _run: RunId) -> Result<Option<ConversationMessage>> {
        Ok(None)
    }
    async fn copy(&self, _: &str, _: RunId, _: MessageId, _: u64, _: u64, _: Bytes) -> Result<u64> {
        Ok(1)
    }
    async fn initiate(&self, _run: RunId, body: Bytes) -> Result<()> {
        self.initiated.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        Ok(())
    }
    async fn answer(&self, user: &str, run: RunId, _question: MessageId, body: Bytes) -> Result<()> {
        self.answers.lock().unwrap().push((user.to_owned(), run, serde_json::from_slice(&body).unwrap()));
        Ok(())
    }
    async fn last_answer(&self, _user: &str, run: RunId) -> Result<Option<ConversationMessage>> {
        let answers = self.answers.lock().unwrap();
        let last = answers.iter().rev().find(|(_, about, _)| *about == run);
        Ok(last.map(|(user, run, body)| ConversationMessage {
            seq: 1,
            user: user.clone(),
            run: *run,
            body: body.to_string().into(),
            copy_of: None,
        }))
    }
    async fn erase(&self, _seq: u64) -> Result<()> {
        Ok(())
    }
    async fn purge(&self, _user: &str, _run: RunId) -> Result<()> {
        Ok(())
    }
}

fn envelope(run: RunId, kind: &str, content: Value) -> Value {
    json!({"workflow_uuid": run, "sender": "Workflow", "recipient": "User", "auto_reply": false,
        "uuid": MessageId::random(), "content": content, "type": kind})
}

/// Another gateway on the same broker.
async fn second_gateway(broker: Broker) -> (fastagency::lifecycle::Shutdown, tokio::task::JoinHandle<LifecycleEnd>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let shutdown = lifecycle.shutdown();
    shutdown.spawn("gateway", gateway::serve(listener, broker, gateway::Settings::default(), shutdown.clone()));
    (shutdown, tokio::spawn(lifecycle.run()))
}

#[tokio::test]
async fn a_python_workers_run_is_like_any_other() {
    let played = shared(Played::new());
    let contract = played.clone();
    let deployment = System::played_with(|broker| broker.contract = Some(contract), |_| {}).await;
    let (other, other_life) = second_gateway(deployment.broker.clone()).await;

    let (_, names) = deployment.get("/fastagency/discovery").await;
    let names: Vec<&str> = names.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["boom", "echo", "everything", "lesson", "params", "team/python.echo"],
        "ours first, and each once"
    );

    let run = RunId::random();
    let mut socket = deployment.socket().await;
    let init =
        json!({"user_id": "None", "workflow_uuid": run.dashed(), "name": "team/python.echo", "params": {"name": 1}});
    say(&mut socket, init.to_string()).await;
    eventually("the worker is asked", async || !played.initiated.lock().unwrap().is_empty()).await;
    assert_eq!(played.initiated.lock().unwrap()[0], init, "the body is FastAgency's");

    // Python publishes under the subject of whichever run it started last.
    let elsewhere = RunId::random();
    let started =
        envelope(run, "workflow_started", json!({"name": "team/python.echo", "description": null, "params": {}}));
    let question = envelope(run, "text_input", json!({"prompt": "well?", "suggestions": [], "password": false}));
    played.says(run, started.clone());
    played.says(elsewhere, question.clone());
    played.says(run, json!({"type": "text", "content": {"content": "nobody's"}}));
    assert_eq!(hear_json(&mut socket).await, started);
    assert_eq!(hear_json(&mut socket).await, question);
    let (_, found) = deployment.get(&format!("/api/runs/{run}")).await;
    assert_eq!((&found["state"], &found["question"]["id"]), (&json!("waiting"), &question["uuid"]));

    say(&mut socket, "hi").await;
    eventually("the worker is told", async || !played.answers.lock().unwrap().is_empty()).await;
    let asked = MessageId::parse(question["uuid"].as_str().unwrap()).unwrap();
    assert_eq!(
        played.answers.lock().unwrap()[0],
        ("None".to_owned(), run, json!({"msg": "hi", "question_uuid": asked.dashed(), "error": false}))
    );
    let answers = format!("/api/runs/{run}/answers/{asked}");
    assert_eq!(deployment.post(&answers, json!({"value": "late"})).await.0, 409);
    let completed = envelope(run, "workflow_completed", json!({"result": "echo: hi"}));
    played.says(run, completed.clone());
    assert_eq!(hear_json(&mut socket).await, completed);
    assert_eq!(hear(&mut socket).await, Heard::Closed(1000));

    let kinds: Vec<Value> = deployment
        .events(run, "")
        .await
        .into_iter()
        .filter(|event| event.name == "record")
        .map(|event| event.data["kind"].clone())
        .collect();
    assert_eq!(kinds, ["created", "said", "said", "answered", "ended"], "each once, although two gateways copy");
    assert_eq!(played.answers.lock().unwrap().len(), 1);

    // A gateway that begins now reads all of it again, and changes nothing.
    let before = deployment.broker.log.last(run).await.unwrap().unwrap().seq;
    let (third, third_life) = second_gateway(deployment.broker.clone()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(deployment.broker.log.last(run).await.unwrap().unwrap().seq, before);
    let (_, list) = deployment.get("/api/runs?search=python").await;
    assert_eq!(list["runs"][0]["state"], "ended");
    for (shutdown, life) in [(other, other_life), (third, third_life)] {
        shutdown.begin();
        assert_eq!(life.await.unwrap(), LifecycleEnd::Clean);
    }
    assert_eq!(deployment.end().await, LifecycleEnd::Clean);
}

#[tokio::test]
async fn a_python_worker_hides_nothing_by_marking_it_as_a_copy_of_ours() {
    let played = shared(Played::new());
    let contract = played.clone();
    let deployment = System::played_with(|broker| broker.contract = Some(contract), |_| {}).await;
    let (ours, theirs) = (deployment.started("echo").await, deployment.started("team/python.echo").await);
    let copy = |run: RunId| envelope(run, "text_message", json!({"body": "said"}));
    // What is a copy of ours is no news, and what only says so is.
    played.says_as(ours, copy(ours), Some(1));
    played.says_as(theirs, copy(theirs), Some(1));
    let said = async |run: RunId| -> Vec<Value> {
        let events = deployment.events(run, "?follow=false").await;
        events.into_iter().map(|event| event.data["kind"].clone()).filter(|kind| *kind == "said").collect()
    };
    eventually("it is in the log", async || said(theirs).await == ["said"]).await;
    assert!(said(ours).await.is_empty());
    assert_eq!(deployment.end().await, LifecycleEnd::Clean);
}

#[tokio::test]
async fn a_python_workers_run_can_be_cancelled_and_may_fail() {
    let played = shared(Played::new());
    let contract = played.clone();
    let deployment = System::played_with(|broker| broker.contract = Some(contract), |_| {}).await;
    let cancelled = deployment.started("team/python.echo").await;
    assert_eq!(deployment.call("POST", &format!("/api/runs/{cancelled}/cancel"), None).await.0, 202);
    let (_, found) = deployment.get(&format!("/api/runs/{cancelled}")).await;
    assert_eq!((&found["state"], &found["outcome"]), (&json!("ended"), &json!("cancelled")));

    let failed = deployment.started("team/python.echo").await;
    let mut error =
        envelope(failed, "error", json!({"short": "Unexpected error: 'team/python.echo'", "long": "Traceback"}));
    error["sender"] = json!("NatsAdapter");
    played.says(failed, error);
    eventually("it ends", async || deployment.get(&format!("/api/runs/{failed}")).await.1["outcome"] == "failed").await;
    assert_eq!(deployment.end().await, LifecycleEnd::Clean);
}

#[tokio::test]
async fn an_answer_is_passed_on_when_the_gateway_that_took_it_has_died() {
    let played = shared(Played::new());
    let contract = played.clone();
    let deployment = System::played_with(|broker| broker.contract = Some(contract), |_| {}).await;
    let name = Name::foreign("team/python.echo").unwrap();
    let ask = async |password: bool| {
        let run = deployment.started(name.as_str()).await;
        let question = envelope(run, "text_input", json!({"prompt": "?", "suggestions": [], "password": password}));
        played.says(run, question.clone());
        eventually("it waits", async || deployment.get(&format!("/api/runs/{run}")).await.1["state"] == "waiting")
            .await;
        (run, MessageId::parse(question["uuid"].as_str().unwrap()).unwrap())
    };
    let told = |run: RunId| -> Vec<Value> {
        let answers = played.answers.lock().unwrap();
        answers.iter().filter(|(_, about, _)| *about == run).map(|(_, _, body)| body["msg"].clone()).collect()
    };
    // The inbox has them, and then the gateway was no more.
    let take = async |run, question, answer| {
        let given = SubmittedAnswer::new(answer, None);
        run::answer::answer(&deployment.broker, &name, run, question, &given).await.unwrap();
    };
    let (plain, question) = ask(false).await;
    take(plain, question, AnswerPayload::Text("hi".into())).await;
    let (secret, password) = ask(true).await;
    take(secret, password, AnswerPayload::NotStored).await;
    let answers = format!("/api/runs/{secret}/answers/{password}");
    eventually("the worker is told, once", async || told(plain) == ["hi"]).await;
    let answered = async || deployment.get(&format!("/api/runs/{plain}")).await.1["state"] == "running";
    eventually("the log has it", answered).await;
    // What nobody knows any more is asked for again.
    eventually("it can be answered", async || deployment.post(&answers, json!({"value": "hunter2"})).await.0 == 202)
        .await;
    assert_eq!(told(secret), ["hunter2"]);
    let (_, found) = deployment.get(&format!("/api/runs/{secret}")).await;
    assert_eq!(found["state"], "running", "{found}");
    assert_eq!(told(plain), ["hi"], "and not again");
    assert_eq!(deployment.end().await, LifecycleEnd::Clean);
}

/// Values that are more than may come in, and the limit that is named.
fn too_much() -> [(String, &'static str); 4] {
    [
        (format!("[{}1]", "1,".repeat(100_000)), "more than 100000 elements and fields in all"),
        (format!("{{\"{}\": 1}}", "k".repeat(1025)), "the name of a field is longer than 1024 bytes"),
        ("{\"\\u0024serde_json::private::RawValue\": \"[[1]]\"}".to_owned(), "a field may not begin with"),
        (format!("\"{}\"", "x".repeat((4 << 20) + 1)), "a text is longer than 4194304 bytes"),
    ]
}

#[tokio::test]
async fn what_a_python_worker_says_is_bounded_and_its_run_still_ends() {
    let played = shared(Played::new());
    let contract = played.clone();
    let deployment = System::played_with(|broker| broker.contract = Some(contract), |_| {}).await;
    let says = |run: RunId, kind: &str, value: &str| {
        let body = envelope(run, kind, json!({"body": "VALUE", "result": "VALUE"})).to_string();
        played.says_text(run, body.replace("\"VALUE\"", value), None);
    };
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    for (value, why) in too_much().into_iter().chain([(deep, "nested deeper than 64 levels")]) {
        let run = deployment.started("team/python.echo").await;
        says(run, "system_message", &value);
        says(run, "workflow_completed", &value);
        let ended = async || deployment.get(&format!("/api/runs/{run}")).await.1["outcome"] == "completed";
        eventually("it ends", ended).await;
        let records = run::read(&deployment.broker, run, 0).await.unwrap();
        let log = serde_json::to_string(&records.iter().map(|placed| &placed.record).collect::<Vec<_>>()).unwrap();
        assert_eq!((records.len(), log.matches(why).count() >= 2), (3, true), "{log}");
    }
    assert_eq!(deployment.end().await, LifecycleEnd::Clean);
}

#[tokio::test]
async fn a_start_of_a_python_gateway_is_bounded() {
    const ANY: &str = "version: 1\nname: any\nparams: { properties: { x: {} } }\nsteps:\n  - return: done\n";
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let values: Vec<String> = too_much().into_iter().map(|(value, _)| value).chain([deep, "[1]".to_owned()]).collect();
    let runs: Vec<RunId> = values.iter().map(|_| RunId::random()).collect();
    let played = Played::new();
    *played.starts.lock().unwrap() = std::iter::zip(&runs, &values)
        .map(|(run, value)| {
            format!(r#"{{"user_id":"None","workflow_uuid":"{run}","name":"any","params":{{"x":{value}}}}}"#)
        })
        .collect();
    let played = shared(played);
    let folder = tempfile::tempdir().unwrap();
    let mut broker = fastagency::broker::embedded::open(folder.path()).unwrap();
    broker.contract = Some(played.clone());
    let worker = System::over(broker.clone()).worker(ANY).start().await;
    eventually("all are settled", async || played.settled.lock().unwrap().len() == runs.len()).await;
    for run in &runs {
        let is_there = broker.log.last(*run).await.unwrap().is_some();
        assert_eq!(is_there, Some(run) == runs.last(), "only what is within bounds is started");
    }
    worker.close().await;
}

#[tokio::test]
async fn an_answer_that_a_python_gateway_claims_counts_for_no_question_of_certain_people() {
    const ASKS: &str = "version: 1
name: asks
steps:
  - { id: own, text_input: { prompt: Yours? } }
  - { id: others, text_input: { prompt: Theirs?, by: { users: [sue], groups: [support] } } }
  - { id: third, text_input: { prompt: Of somebody else?, not_by_starter: true } }
  - return: [\"{{ steps.own }}\", \"{{ steps.others }}\", \"{{ steps.third }}\"]
";
    let run = RunId::random();
    let played = Played::new();
    // It says itself who its user is.
    *played.starts.lock().unwrap() =
        vec![format!(r#"{{"user_id":"sue","workflow_uuid":"{run}","name":"asks","params":{{}}}}"#)];
    let played = shared(played);
    let folder = tempfile::tempdir().unwrap();
    let mut broker = fastagency::broker::embedded::open(folder.path()).unwrap();
    broker.contract = Some(played.clone());
    let worker = System::over(broker.clone()).worker(ASKS).start().await;
    eventually("the run is started", async || broker.log.last(run).await.unwrap().is_some()).await;
    let mut follower = worker.follow(run).await;
    let user = fastagency::ids::user_token(fastagency::ids::UserId::new("sue").as_ref());
    let says = |question: MessageId, words: &str| {
        let body = json!({"msg": words, "question_uuid": question.dashed(), "error": false});
        played.given.send((format!("chat.server.messages.{user}.{run}"), body)).unwrap();
    };
    let settled = async |count: usize| {
        eventually("the answer was looked at", async || {
            played.settled.lock().unwrap().iter().filter(|seq| **seq >= FIRST_ANSWER).count() >= count
        })
        .await;
    };
    says(follower.question("Yours?").await, "ours");
    settled(1).await;
    let question = follower.question("Theirs?").await;
    says(question, "not theirs to give");
    settled(2).await;
    let none = broker.inbox.get(run, fastagency::broker::InboxSlot::Answer(question)).await.unwrap();
    assert!(none.is_none(), "nothing came into the inbox");
    // Over our gateway sue answers as sue; here the word of a gateway that was believed.
    let given = SubmittedAnswer::new(AnswerPayload::Value(json!("theirs")), fastagency::ids::UserId::new("sue"));
    run::answer::answer(&broker, &Name::parse("asks").unwrap(), run, question, &given).await.unwrap();
    let question = follower.question("Of somebody else?").await;
    says(question, "not theirs to give either");
    settled(3).await;
    let none = broker.inbox.get(run, fastagency::broker::InboxSlot::Answer(question)).await.unwrap();
    assert!(none.is_none(), "nothing came into the inbox");
    let given = SubmittedAnswer::new(AnswerPayload::Value(json!("lea's")), fastagency::ids::UserId::new("lea"));
    run::answer::answer(&broker, &Name::parse("asks").unwrap(), run, question, &given).await.unwrap();
    assert_eq!(follower.ended().await.1, json!(["ours", "theirs", "lea's"]));
    worker.close().await;
}

#[tokio::test]
async fn an_approval_that_a_python_gateway_claims_allows_no_call_that_is_for_certain_people() {
    const PAYS: &str = "version: 1
name: pays
tools:
  pay: { description: Pay, approve: APPROVE, params: { type: object, properties: {} }, do: [ { return: paid } ] }
steps:
  - { id: done, call: { tool: pay, args: {} } }
  - return: \"{{ steps.done }}\"
";
    for (rule, is_open) in
        [("{ by: { users: [sue, lea] } }", false), ("{ not_by_starter: true }", false), ("always", true)]
    {
        let run = RunId::random();
        let played = Played::new();
        *played.starts.lock().unwrap() =
            vec![format!(r#"{{"user_id":"sue","workflow_uuid":"{run}","name":"pays","params":{{}}}}"#)];
        let played = shared(played);
        let folder = tempfile::tempdir().unwrap();
        let mut broker = fastagency::broker::embedded::open(folder.path()).unwrap();
        broker.contract = Some(played.clone());
        let worker = System::over(broker.clone()).worker(&PAYS.replace("APPROVE", rule)).start().await;
        eventually("the run is started", async || broker.log.last(run).await.unwrap().is_some()).await;
        let (question, digest) = crate::answerers::asked(&worker, run).await;
        let user = fastagency::ids::user_token(fastagency::ids::UserId::new("sue").as_ref());
        let body = json!({"msg": "yes", "question_uuid": question.dashed(), "error": false});
        played.given.send((format!("chat.server.messages.{user}.{run}"), body)).unwrap();
        eventually("the answer was looked at", async || played.settled.lock().unwrap().contains(&FIRST_ANSWER)).await;
        if !is_open {
            let none = broker.inbox.get(run, fastagency::broker::InboxSlot::Answer(question)).await.unwrap();
            assert!(none.is_none(), "{rule}: nothing came into the inbox");
            let once = AnswerPayload::Value(json!({"decision": "once", "digest": digest}));
            let given = SubmittedAnswer::new(once, fastagency::ids::UserId::new("lea"));
            run::answer::answer(&broker, &Name::parse("pays").unwrap(), run, question, &given).await.unwrap();
        }
        assert_eq!(worker.follow(run).await.ended().await.1, json!("paid"), "{rule}");
        worker.close().await;
    }
}
