//! Who may answer: a question that is for certain people is answered by nobody else, on no way to it, and by nobody who was not
//! asked because a gateway said so alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fastagency::auth::{ApiKey, PasswordUser, UserDirectory, hash_password, new_key};
use fastagency::broker::InboxSlot;
use fastagency::config::{
    AccessRight, AccessRule, AuthConfig, AuthMode, UsersAndGroups, WebhookConfig, WebhookTrigger,
};
use fastagency::ids::{MessageId, Name, RunId, UserId};
use fastagency::message::{ApprovalQuestion, MessageContent};
use fastagency::protocol::signable::Signable;
use fastagency::run;
use fastagency::run::answer::{AnswerPayload, SubmittedAnswer, answer};
use fastagency::run::record::{EffectOutcome, LogEntry, RecordBody, RunOutcome};
use fastagency::signing::{SignedStatement, StatementSigner};
use fastagency::ui::PageBrand;
use fastagency::workflow::{Workflow, WorkflowDefinition, from_definition};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::gateway::login::nobody;
use crate::gateway::player::Player;
use crate::gateway::ui::Front;
use crate::support::client::{Socket, hear_json, run_id, say};
use crate::support::eventually::eventually;
use crate::support::system::{System, count};

/// The customer's workflow: the refund is its own tool.
pub const TRIAGE: &str = r#"
version: 1
name: triage
params: { type: object, properties: { number: { type: string, default: INV-1001 } } }
tools:
  refund:
    description: Refund an invoice
    approve: APPROVE
    params:
      type: object
      properties: { number: { type: string }, amount: { type: number, maximum: 500 } }
      required: [number, amount]
    do: [ { return: "refunded {{ args.amount }} of {{ args.number }}" } ]
steps:
  - id: done
    call: { tool: refund, args: { number: "{{ params.number }}", amount: 120 } }
  - return: "{{ steps.done }}"
"#;

/// The same, by a workflow that the customer's calls.
const DESK: &str = r#"
version: 1
name: desk
steps:
  - id: done
    workflow: { name: triage, wait: WAIT }
  - return: "{{ steps.done }}"
"#;

pub const SUPPORT: &str = "{ by: { groups: [support] }, not_by_starter: true }";

/// Workflows that know each other; the first is served, too.
pub fn workflows(sources: &[&str]) -> Vec<Workflow> {
    let name = |source: &str| {
        Name::parse(source.lines().find_map(|line| line.strip_prefix("name: ")).expect("a name")).unwrap()
    };
    let all: BTreeMap<Name, String> = sources.iter().map(|source| (name(source), (*source).to_owned())).collect();
    let made = |source: &&str| {
        let definition = WorkflowDefinition { name: name(source), sources: all.clone() };
        from_definition(&definition).unwrap_or_else(|problems| panic!("{problems}"))
    };
    sources.iter().map(made).collect()
}

/// ann is a customer; sue and sol are support; lea leads; bob only looks after things; root is the admin.
pub fn auth(folder: &Path) -> AuthConfig {
    let path = folder.join("access.yaml");
    let user = |name: &str, groups: &[&str]| {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        (
            name.to_owned(),
            PasswordUser { password: hash_password(&format!("{name}'s password")), groups, account: None },
        )
    };
    let users = [
        user("ann", &["customers"]),
        user("sue", &["support"]),
        user("sol", &["support"]),
        user("lea", &["leads"]),
        user("bob", &["janitors"]),
        user("root", &["operators"]),
    ];
    UserDirectory { users: users.into(), keys: BTreeMap::new() }.write(&path).unwrap();
    let groups = |groups: &[&str]| UsersAndGroups {
        users: Vec::new(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
    };
    let all = || vec!["*".to_owned()];
    AuthConfig {
        mode: AuthMode::Basic { token: None },
        file: Some(path),
        admins: groups(&["operators"]),
        access: vec![
            AccessRule { workflows: all(), members: UsersAndGroups::default(), may: vec![AccessRight::Start] },
            AccessRule {
                workflows: all(),
                members: groups(&["support", "leads", "janitors"]),
                may: vec![AccessRight::See, AccessRight::Answer],
            },
        ],
        ..AuthConfig::default()
    }
}

pub async fn house(folder: &Path, sources: &[&str]) -> System {
    let served = workflows(sources);
    let first = served[0].clone();
    let auth = auth(folder);
    System::at(folder)
        .gateway(|settings| settings.auth = auth)
        .worker_of(first)
        .parts(|parts| parts.workflows = served)
        .start()
        .await
}

fn password_of(user: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{user}'s password")))
}

pub async fn call(house: &System, user: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = house.http.request(method.parse().unwrap(), format!("{}{path}", house.url));
    let request = request.header("authorization", password_of(user));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub async fn start(house: &System, user: &str, workflow: &str) -> RunId {
    eventually("the workflow is known", async || {
        let (status, run) = call(house, user, "POST", "/api/runs", Some(json!({"workflow": workflow}))).await;
        if status == 201 { Ok(run_id(&run)) } else { Err(run) }
    })
    .await
}

/// The approval that a run asks for, and its digest.
pub async fn asked(house: &System, run: RunId) -> (MessageId, String) {
    let mut follower = house.follow(run).await;
    follower
        .until("an approval", |body| match body {
            RecordBody::Said { message, .. } => match &message.says {
                MessageContent::Approval(asked) => Some((message.uuid, asked.digest.clone().unwrap_or_default())),
                _ => None,
            },
            _ => None,
        })
        .await
}

pub async fn decide(house: &System, user: &str, run: RunId, question: MessageId, value: Value) -> (u16, Value) {
    let path = format!("/api/runs/{run}/answers/{question}");
    call(house, user, "POST", &path, Some(json!({"value": value}))).await
}

pub async fn ended(house: &System, run: RunId) -> (RunOutcome, Value) {
    house.follow(run).await.ended().await
}

pub const FOR_SUPPORT: &str = "you don't have permission to answer this question: it is for the group \"support\", but not the user who started the run";

#[tokio::test]
async fn a_customer_never_approves_the_own_refund_with_whatever_arguments_or_by_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), &[&TRIAGE.replace("APPROVE", SUPPORT)]).await;
    let (run, other) = (start(&house, "ann", "triage").await, start(&house, "ann", "triage").await);
    let (question, digest) = asked(&house, run).await;
    asked(&house, other).await;
    let once = json!({"decision": "once", "digest": digest});
    let others_invoice =
        json!({"decision": "once", "arguments": {"number": "INV-1002", "amount": 500}, "digest": digest});
    let changes =
        json!({"decision": "once", "digest": digest, "changes": [{"path": "/number", "json": "\"INV-1002\""}]});
    for value in [
        once.clone(),
        others_invoice,
        changes,
        json!({"decision": "always", "digest": digest}),
        json!({"decision": "deny"}),
    ] {
        let (status, told) = decide(&house, "ann", run, question, value).await;
        assert_eq!((status, &told["error"]["code"]), (403, &json!("forbidden")), "{told}");
        assert_eq!(told["error"]["message"], FOR_SUPPORT);
    }
    let (status, told) = decide(&house, "ann", other, question, once.clone()).await;
    assert_eq!((status, &told["error"]["code"]), (404, &json!("unknown_question")), "by another run's id: {told}");
    // Neither who may answer in the run and is not named, nor an admin.
    for user in ["bob", "root"] {
        assert_eq!(decide(&house, user, run, question, once.clone()).await.0, 403, "{user}");
    }
    // Each is shown what is theirs.
    let shown = async |user: &str| call(&house, user, "GET", "/api/questions?everybody=true", None).await.1;
    eventually("support finds both", async || shown("sue").await["questions"].as_array().map(Vec::len) == Some(2))
        .await;
    assert_eq!(shown("bob").await, json!({"questions": []}));
    assert_eq!(shown("root").await, json!({"questions": []}));
    let (_, own) = call(&house, "ann", "GET", "/api/questions", None).await;
    let for_support = "the group \"support\"";
    assert_eq!(own["questions"][0]["waits_for"], for_support);
    let (_, seen) = call(&house, "ann", "GET", &format!("/api/runs/{run}"), None).await;
    assert_eq!(seen["question"]["waits_for"], for_support);
    assert_eq!(seen["may"], json!(["answer", "cancel", "rename", "remove"]));
    let (_, seen) = call(&house, "sue", "GET", &format!("/api/runs/{run}"), None).await;
    assert_eq!((&seen["question"]["waits_for"], &seen["may"]), (&Value::Null, &json!(["answer"])));
    let events = async |user: &str| {
        call(&house, user, "GET", &format!("/api/runs/{run}/events?follow=false"), None).await.1.to_string()
    };
    assert!(events("ann").await.contains("waits_for") && !events("sue").await.contains("waits_for"));

    assert_eq!(decide(&house, "sue", run, question, once).await, (202, Value::String(String::new())));
    assert_eq!(ended(&house, run).await, (RunOutcome::Completed, json!("refunded 120 of INV-1001")));
    let (_, told) = decide(&house, "ann", run, question, json!({"decision": "deny"})).await;
    assert_eq!(told["error"]["message"], FOR_SUPPORT, "also once it was answered");
    house.close().await;
}

#[tokio::test]
async fn a_starter_in_the_group_answers_unless_it_is_said_otherwise() {
    for (rule, status) in [("{ by: { groups: [support] } }", 202), (SUPPORT, 403), ("{ not_by_starter: true }", 403)] {
        let folder = tempfile::tempdir().unwrap();
        let house = house(folder.path(), &[&TRIAGE.replace("APPROVE", rule)]).await;
        let run = start(&house, "sol", "triage").await;
        let (question, digest) = asked(&house, run).await;
        let once = json!({"decision": "once", "digest": digest});
        assert_eq!(decide(&house, "sol", run, question, once.clone()).await.0, status, "{rule}");
        if status == 403 {
            assert_eq!(decide(&house, "sue", run, question, once).await.0, 202, "{rule}");
        }
        assert_eq!(ended(&house, run).await.0, RunOutcome::Completed);
        house.close().await;
    }
}

#[tokio::test]
async fn a_called_workflow_asks_whom_it_names_within_the_run_and_as_one_of_its_own() {
    for wait in ["true", "false"] {
        let folder = tempfile::tempdir().unwrap();
        let house = house(folder.path(), &[&DESK.replace("WAIT", wait), &TRIAGE.replace("APPROVE", SUPPORT)]).await;
        let outer = start(&house, "ann", "desk").await;
        let run = if wait == "true" {
            outer
        } else {
            let (_, child) = ended(&house, outer).await;
            RunId::parse(child.as_str().unwrap()).unwrap()
        };
        let (question, digest) = asked(&house, run).await;
        let once = json!({"decision": "once", "digest": digest});
        let (status, told) = decide(&house, "ann", run, question, once.clone()).await;
        assert_eq!((status, told["error"]["message"].as_str()), (403, Some(FOR_SUPPORT)), "wait: {wait}");
        assert_eq!(decide(&house, "sue", run, question, once).await.0, 202);
        assert_eq!(ended(&house, run).await, (RunOutcome::Completed, json!("refunded 120 of INV-1001")));
        house.close().await;
    }
}

pub async fn socket_of(house: &System, user: &str) -> Socket {
    socket_at(&house.url, user).await
}

/// A socket of a user at the gateway, or at a page before it.
async fn socket_at(url: &str, user: &str) -> Socket {
    let mut request = format!("{}/fastagency/ws", url.replace("http://", "ws://")).into_client_request().unwrap();
    request.headers_mut().insert("authorization", HeaderValue::from_str(&password_of(user)).unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// Asks the customer first, then others, in all the ways there are.
const WAYS: &str = r#"
version: 1
name: ways
agents:
  colleague: { llm: false, human_input_mode: ALWAYS, by: { users: [sue] } }
  clerk: { llm: false, human_input_mode: NEVER, default_auto_reply: Yes? }
steps:
  - { id: own, text_input: { prompt: Yours? } }
  - { id: text, text_input: { prompt: A text?, by: { groups: [support] } } }
  - { id: choice, multiple_choice: { prompt: Which?, choices: [a, b], by: { groups: [support] } } }
  - { id: form, form: { prompt: Fill in., schema: { type: object, properties: { x: { type: string } } }, not_by_starter: true } }
  - { id: chat, chat: { sender: clerk, recipient: colleague, message: Hello., max_turns: 1 } }
  - return: ["{{ steps.own }}", "{{ steps.text }}", "{{ steps.choice }}", "{{ steps.form.x }}", "{{ steps.chat.summary }}"]
"#;

#[tokio::test]
async fn a_socket_shows_what_is_for_others_and_asks_it_of_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), &[WAYS]).await;
    let run = RunId::random();
    let mut socket = eventually("the workflow is known", async || {
        let mut socket = socket_of(&house, "ann").await;
        let init = json!({"name": "ways", "workflow_uuid": run.dashed(), "user_id": null, "params": {}});
        say(&mut socket, init.to_string()).await;
        let first = hear_json(&mut socket).await;
        (first["type"] == "workflow_started").then_some(socket)
    })
    .await;
    let next = async |socket: &mut Socket, kind: &str| {
        loop {
            let frame = hear_json(socket).await;
            if frame["type"] == kind {
                return frame;
            }
            assert_ne!(frame["type"], "text_input", "asked of somebody who may not answer: {frame}");
        }
    };
    assert_eq!(next(&mut socket, "text_input").await["content"]["prompt"], "Yours?");
    say(&mut socket, "mine").await;
    let shown = next(&mut socket, "text_message").await;
    assert_eq!(shown["content"]["body"], "A text?\n\n(This waits for the group \"support\".)");
    // What is said now answers nothing: it waits for a question of ann's own.
    say(&mut socket, "not mine").await;
    let mut follower = house.follow(run).await;
    let question = follower.question("A text?").await;
    assert_eq!(decide(&house, "ann", run, question, json!("x")).await.0, 403);
    assert_eq!(decide(&house, "sue", run, question, json!("a text")).await.0, 202);
    let question = follower.question("Which?").await;
    assert_eq!(decide(&house, "ann", run, question, json!("a")).await.0, 403);
    assert_eq!(decide(&house, "sol", run, question, json!("b")).await.0, 202);
    let question = follower.question("Fill in.").await;
    let (status, told) = decide(&house, "ann", run, question, json!({"x": "y"})).await;
    assert_eq!(status, 403);
    assert!(told["error"]["message"].as_str().unwrap().contains("but not the user who started the run"), "{told}");
    assert_eq!(decide(&house, "bob", run, question, json!({"x": "y"})).await.0, 202);
    let question = follower
        .until("the colleague is asked", |body| match body {
            RecordBody::Said { message, .. }
                if message.sender.as_deref() == Some("colleague") && message.says.asks() =>
            {
                Some(message.uuid)
            }
            _ => None,
        })
        .await;
    assert_eq!(decide(&house, "sol", run, question, json!("no")).await.0, 403, "only the user who is named");
    assert_eq!(decide(&house, "sue", run, question, json!("words of sue")).await.0, 202);
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!(["mine", "a text", "b", "y", "words of sue"])));
    let by: Vec<Option<String>> = answers(&follower.seen).into_iter().map(|(by, _)| by).collect();
    let names = ["ann", "sue", "sol", "bob", "sue"].map(|name| Some(name.to_owned()));
    assert_eq!(by, names, "each answer is that of the person who gave it");
    house.close().await;
}

#[tokio::test]
async fn a_socket_that_the_page_passes_on_answers_nothing_that_is_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), &[WAYS]).await;
    let front = Front::of(&house.url, nobody(), PageBrand::default(), auth(folder.path())).await;
    let run = RunId::random();
    let init = json!({"name": "ways", "workflow_uuid": run.dashed(), "user_id": "sue", "params": {}}).to_string();
    let mut socket = eventually("the workflow is known", async || {
        let mut socket = socket_at(&front.url, "ann").await;
        say(&mut socket, init.clone()).await;
        (hear_json(&mut socket).await["type"] == "workflow_started").then_some(socket)
    })
    .await;
    assert_eq!(hear_json(&mut socket).await["content"]["prompt"], "Yours?");
    say(&mut socket, "mine").await;
    let shown = hear_json(&mut socket).await;
    assert_eq!(shown["type"], "text_message", "it is shown and not asked: {shown}");
    assert_eq!(shown["content"]["body"], "A text?\n\n(This waits for the group \"support\".)");
    say(&mut socket, "not mine").await;
    // Nor is another person let in by the word of the first frame.
    let mut of_bob = socket_at(&front.url, "bob").await;
    say(&mut of_bob, init).await;
    assert_eq!(hear_json(&mut of_bob).await["type"], "error");
    let question = house.follow(run).await.question("A text?").await;
    assert!(house.broker.inbox.get(run, InboxSlot::Answer(question)).await.unwrap().is_none(), "nobody has answered");
    assert_eq!(decide(&house, "sue", run, question, json!("by sue")).await.0, 202);
    let shown = hear_json(&mut socket).await;
    assert_eq!(shown["content"]["body"], "Which?\n\n(This waits for the group \"support\".)", "{shown}");
    front.end().await;
    house.close().await;
}

/// Who gave the answers of a run, and why they were refused.
fn answers(seen: &[LogEntry]) -> Vec<(Option<String>, Option<String>)> {
    let answered = |placed: &LogEntry| match &placed.record.body {
        RecordBody::Did { outcome: EffectOutcome::Answer(answered), .. } => {
            Some((answered.by.as_ref().map(ToString::to_string), answered.refused().map(str::to_owned)))
        }
        _ => None,
    };
    seen.iter().filter_map(answered).collect()
}

#[tokio::test]
async fn a_worker_takes_no_answer_of_somebody_else_even_with_a_gateways_signature() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) =
        (StatementSigner::new(&"ours".to_owned().into()), StatementSigner::new(&"theirs".to_owned().into()));
    let served = workflows(&[&TRIAGE.replace("APPROVE", SUPPORT)]);
    let (auth, signer, trusted) = (auth(folder.path()), ours.clone(), ours.public());
    let house = System::at(folder.path())
        .gateway(|settings| (settings.auth, settings.gateway_signer) = (auth, Some(signer)))
        .worker_of(served[0].clone())
        .parts(|parts| parts.settings.trusted_gateways = vec![trusted])
        .start()
        .await;
    let run = start(&house, "ann", "triage").await;
    let user = |name: &str| UserId::new(name);
    let given = |name: &str, groups: &[&str], digest: &str| SubmittedAnswer {
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        ..SubmittedAnswer::new(AnswerPayload::Value(json!({"decision": "once", "digest": digest})), user(name))
    };
    let mut follower = house.follow(run).await;
    let next = async |follower: &mut crate::support::system::Follower| {
        follower
            .until("an approval", |body| match body {
                RecordBody::Said { message, .. } => match &message.says {
                    MessageContent::Approval(asked) => {
                        Some((message.uuid, asked.digest.clone().unwrap(), asked.prompt.clone().unwrap()))
                    }
                    _ => None,
                },
                _ => None,
            })
            .await
    };
    let (mut question, mut digest, _) = next(&mut follower).await;
    let put = async |question, given: SubmittedAnswer| {
        answer(&house.broker, &Name::parse("triage").unwrap(), run, question, &given).await.unwrap();
    };
    // Signed by the gateway, as if its own check had failed; then changed on its way; then signed by somebody else.
    let signed = |question, given: SubmittedAnswer, signer: &StatementSigner| {
        given.signed(signer, SignedStatement::Answer(run, question))
    };
    type Attack<'a> = Box<dyn Fn(MessageId, &str) -> SubmittedAnswer + 'a>;
    let attacks: Vec<(&str, Attack<'_>)> = vec![
        ("ann, signed", Box::new(|question, digest| signed(question, given("ann", &["customers"], digest), &ours))),
        (
            "ann in the group, signed",
            Box::new(|question, digest| signed(question, given("ann", &["support"], digest), &ours)),
        ),
        ("bob, signed", Box::new(|question, digest| signed(question, given("bob", &["janitors"], digest), &ours))),
        (
            "bob with a group put in",
            Box::new(|question, digest| SubmittedAnswer {
                groups: Box::new(["support".to_owned()]),
                ..signed(question, given("bob", &["janitors"], digest), &ours)
            }),
        ),
        ("sue, unsigned", Box::new(|_, digest| given("sue", &["support"], digest))),
        (
            "sue, signed by another",
            Box::new(|question, digest| signed(question, given("sue", &["support"], digest), &theirs)),
        ),
    ];
    for (what, attack) in attacks {
        put(question, attack(question, &digest)).await;
        let prompt;
        (question, digest, prompt) = next(&mut follower).await;
        assert!(
            prompt.contains("not used: this question is for the group \"support\"")
                || prompt.contains("no trusted gateway has signed"),
            "{what}: {prompt}"
        );
    }
    assert_eq!(decide(&house, "sue", run, question, json!({"decision": "once", "digest": digest})).await.0, 202);
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("refunded 120 of INV-1001")));
    assert_eq!(count(&follower.seen, |body| matches!(body, RecordBody::Calling { .. })), 1);
    house.close().await;
}

const PATIENT: &str = r#"
version: 1
name: patient
steps:
  - id: said
    text_input:
      prompt: Well?
      by: { users: [sue] }
      not_by_starter: true
      remind: [0.3, 0.6]
      escalate: { after: 5, to: { groups: [leads] } }
  - return: "{{ steps.said }}"
"#;

fn reminders(log: &[LogEntry]) -> Vec<Option<String>> {
    let told = |placed: &LogEntry| match &placed.record.body {
        RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. } => {
            Some(reminder.escalated_to.as_ref().map(ToString::to_string))
        }
        _ => None,
    };
    log.iter().filter_map(told).collect()
}

#[tokio::test]
async fn nobody_who_acts_is_told_again_and_others_may_answer_then_also_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let gateway_auth = auth(folder.path());
    let gateway = System::at(folder.path()).gateway(|settings| settings.auth = gateway_auth).start().await;
    let worker = async || {
        System::over(gateway.broker.clone())
            .worker_of(workflows(&[PATIENT])[0].clone())
            .park_after(Duration::from_millis(50))
            .start()
            .await
    };
    let mut here = worker().await;
    let run = start(&gateway, "ann", "patient").await;
    let mut follower = here.follow(run).await;
    let question = follower.question("Well?").await;
    let log = async || run::read(&gateway.broker, run, 0).await.unwrap();
    let mut restarts = 0;
    for expected in 1..=3 {
        eventually("it is told again", async || {
            let log = log().await;
            if reminders(&log).len() >= expected { Ok(()) } else { Err(log) }
        })
        .await;
        if expected < 3 {
            assert_eq!(decide(&gateway, "lea", run, question, json!("too early")).await.0, 403);
        }
        // A worker goes, and another one comes.
        here.end().await;
        here = worker().await;
        restarts += 1;
    }
    let told = reminders(&log().await);
    assert_eq!(told, [None, None, Some("the group \"leads\"".to_owned())], "each once, in {restarts} lives");
    let asked_at =
        |log: &[LogEntry]| log.iter().find(|placed| matches!(placed.record.body, RecordBody::Said { .. })).unwrap().at;
    let records = log().await;
    let last = records.iter().rev().find(|placed| reminders(std::slice::from_ref(placed)).len() == 1).unwrap();
    let after = last.at.duration_since(asked_at(&records));
    assert!(after.as_millis() >= 4990, "not before its time: {after:?}");
    assert_eq!(decide(&gateway, "ann", run, question, json!("mine")).await.0, 403, "still not the starter");
    assert_eq!(decide(&gateway, "bob", run, question, json!("x")).await.0, 403);
    let (_, listed) = call(&gateway, "lea", "GET", "/api/questions?everybody=true", None).await;
    assert_eq!(listed["questions"][0]["escalated"], 1, "{listed}");
    assert_eq!(decide(&gateway, "lea", run, question, json!("by lea")).await.0, 202);
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("by lea")));
    here.close().await;
    gateway.close().await;
}

#[tokio::test]
async fn an_approval_that_nobody_decides_is_told_again_and_others_may_decide_then() {
    let patient = "{ by: { users: [sue] }, not_by_starter: true, remind: 0.2, escalate: { after: 0.5, to: { groups: [leads] } } }";
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), &[&TRIAGE.replace("APPROVE", patient)]).await;
    let run = start(&house, "ann", "triage").await;
    let (question, digest) = asked(&house, run).await;
    let once = json!({"decision": "once", "digest": digest});
    let told = || async { reminders(&run::read(&house.broker, run, 0).await.unwrap()) };
    let leads = Some("the group \"leads\"".to_owned());
    eventually("it is escalated", async || told().await == [None, leads.clone()]).await;
    for user in ["ann", "bob", "root"] {
        assert_eq!(decide(&house, user, run, question, once.clone()).await.0, 403, "{user}");
    }
    assert_eq!(decide(&house, "lea", run, question, once).await.0, 202);
    assert_eq!(ended(&house, run).await, (RunOutcome::Completed, json!("refunded 120 of INV-1001")));
    house.close().await;
}

#[tokio::test]
async fn webhooks_hear_once_that_nobody_has_answered_and_once_who_may_now() {
    type Notices = Arc<Mutex<Vec<Value>>>;
    let notices = Notices::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let receive = async |State(notices): State<Notices>, Json(notice): Json<Value>| notices.lock().push(notice);
    let app = Router::new().route("/hook", post(receive)).with_state(notices.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let on = vec![WebhookTrigger::Reminded, WebhookTrigger::Escalated, WebhookTrigger::Ended];
    let webhook = WebhookConfig { url, secret: "whsec_c2VjcmV0".into(), on, redact: true };
    let folder = tempfile::tempdir().unwrap();
    let (auth, served) =
        (auth(folder.path()), workflows(&[&PATIENT.replace("[0.3, 0.6]", "0.2").replace("after: 5", "after: 0.4")]));
    let house = System::at(folder.path())
        .gateway(|settings| settings.auth = auth)
        .worker_of(served[0].clone())
        .parts(|parts| parts.webhooks = [(Name::parse("desk").unwrap(), webhook)].into())
        .start()
        .await;
    let run = start(&house, "ann", "patient").await;
    let question = house.follow(run).await.question("Well?").await;
    let heard = async |count: usize| {
        eventually("the notices come", async || {
            let notices = notices.lock().clone();
            if notices.len() >= count { Ok(notices) } else { Err(notices) }
        })
        .await
    };
    heard(2).await;
    assert_eq!(decide(&house, "lea", run, question, json!("by lea")).await.0, 202);
    let mut heard = heard(3).await;
    // They come in no order.
    heard.sort_by_key(|notice| notice["type"].to_string());
    let kinds: Vec<&str> = heard.iter().filter_map(|notice| notice["type"].as_str()).collect();
    assert_eq!(kinds, ["run.ended", "run.escalated", "run.reminded"], "each once");
    for notice in &heard[1..] {
        let asked = &notice["data"]["question"];
        assert_eq!((&asked["id"], &asked["prompt"]), (&json!(question), &json!("Well?")), "{notice}");
        assert_eq!(asked["answerers"]["by"], json!({"users": ["sue"]}), "{notice}");
        assert_eq!((&notice["data"]["run"]["id"], &notice["data"]["run"]["user"]), (&json!(run), &json!("ann")));
    }
    let now_for = |notice: &Value| notice["data"]["question"]["escalated_to"].clone();
    assert_eq!((now_for(&heard[1]), now_for(&heard[2])), (json!({"groups": ["leads"]}), Value::Null));
    house.close().await;
}

/// A person of the support chooses who speaks next.
const PANEL: &str = r#"
version: 1
name: panel
agents:
  a: { llm: false, human_input_mode: NEVER, default_auto_reply: from a }
  b: { llm: false, human_input_mode: NEVER, default_auto_reply: from b }
  c: { llm: false, human_input_mode: NEVER, default_auto_reply: from c }
steps:
  - id: talk
    group_chat:
      agents: [a, b, c]
      message: Choose.
      speaker_selection_method: manual
      max_round: 2
      manager: { llm: false, by: { groups: [support] }, not_by_starter: true }
  - return: "{{ steps.talk.last }}"
"#;

#[tokio::test]
async fn who_speaks_next_is_chosen_by_those_whom_the_groups_manager_names() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), &[PANEL]).await;
    let run = start(&house, "ann", "panel").await;
    let mut follower = house.follow(run).await;
    let who = "Enter the number of the next speaker (enter nothing or `q` to use auto selection): ";
    let question = follower.question(who).await;
    let (status, told) = decide(&house, "ann", run, question, json!("3")).await;
    assert_eq!((status, told["error"]["message"].as_str()), (403, Some(FOR_SUPPORT)));
    assert_eq!(decide(&house, "sue", run, question, json!("2")).await.0, 202);
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("from b")));
    house.close().await;
}

/// A question that only the customer can answer.
const OWN: &str = r#"
version: 1
name: own
steps:
  - { id: what, text_input: { prompt: How can we help you?, by: { starter: true } } }
  - return: "{{ steps.what }}"
"#;

#[tokio::test]
async fn a_question_for_who_started_the_run_is_in_nobody_elses_inbox_and_answered_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), &[OWN, PATIENT]).await;
    let run = start(&house, "ann", "own").await;
    start(&house, "ann", "patient").await;
    let inbox = async |user: &str, query: &str| {
        let (_, listed) = call(&house, user, "GET", &format!("/api/questions{query}"), None).await;
        let found = listed["questions"].as_array().cloned().unwrap_or_default();
        found.into_iter().map(|question| question["run"]["workflow"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("ann is asked", async || inbox("ann", "").await.contains(&"own".to_owned())).await;
    eventually("sue is asked", async || !inbox("sue", "?everybody=true").await.is_empty()).await;
    assert_eq!(inbox("sue", "?everybody=true").await, ["patient"]);
    let (_, seen) = call(&house, "sue", "GET", &format!("/api/runs/{run}"), None).await;
    assert_eq!(seen["question"]["waits_for"], "the user who started the run");
    let question = seen["question"]["id"].as_str().unwrap();
    let answer = async |user: &str| {
        let path = format!("/api/runs/{run}/answers/{question}");
        call(&house, user, "POST", &path, Some(json!({"value": "by myself"}))).await
    };
    for user in ["sue", "root"] {
        let (status, told) = answer(user).await;
        assert_eq!(
            (status, &told["error"]["message"]),
            (403, &json!("you don't have permission to answer this question: it is for the user who started the run"))
        );
    }
    assert_eq!(answer("ann").await.0, 202);
    assert_eq!(ended(&house, run).await, (RunOutcome::Completed, json!("by myself")));
    house.close().await;
}

#[tokio::test]
async fn the_inbox_is_filtered_by_workflow_starter_words_and_age() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), &[PATIENT, &TRIAGE.replace("APPROVE", "always")]).await;
    start(&house, "ann", "patient").await;
    start(&house, "ann", "triage").await;
    start(&house, "bob", "patient").await;
    let found = async |query: &str| {
        let (status, listed) = call(&house, "sue", "GET", &format!("/api/questions?everybody=true{query}"), None).await;
        assert_eq!(status, 200, "{listed}");
        let line = |question: &Value| {
            format!(
                "{} of {}",
                question["run"]["workflow"].as_str().unwrap(),
                question["run"]["user"].as_str().unwrap()
            )
        };
        let mut lines: Vec<String> = listed["questions"].as_array().unwrap().iter().map(line).collect();
        lines.sort();
        lines
    };
    eventually("all are there", async || found("").await.len() == 3).await;
    assert_eq!(found("&workflow=patient").await, ["patient of ann", "patient of bob"]);
    assert_eq!(found("&user=ann").await, ["patient of ann", "triage of ann"]);
    assert_eq!(found("&search=REFUND").await, ["triage of ann"], "the words of the question");
    assert_eq!(found("&search=bob").await, ["patient of bob"]);
    assert_eq!(found("&user=ann&workflow=triage&search=nothing").await, [""; 0]);
    assert_eq!(found("&asked_before=2020-01-01T00:00:00Z").await, [""; 0]);
    assert_eq!(found("&asked_before=2999-01-01T00:00:00Z").await.len(), 3);
    let (status, told) = call(&house, "sue", "GET", "/api/questions?asked_before=yesterday", None).await;
    assert_eq!((status, &told["error"]["code"]), (422, &json!("invalid_query")), "{told}");
    let (status, me) = call(&house, "sue", "GET", "/api/me", None).await;
    assert_eq!((status, &me["user"]["answers_others"]), (200, &json!(true)));
    assert_eq!(call(&house, "ann", "GET", "/api/me", None).await.1["user"]["answers_others"], false);
    assert_eq!(call(&house, "ann", "GET", "/api/questions?everybody=true", None).await.0, 403);
    // What sue may do with the run of another, and what not, in true words.
    let run = start(&house, "ann", "triage").await;
    let (status, told) = call(&house, "sue", "POST", &format!("/api/runs/{run}/cancel"), None).await;
    assert_eq!((status, told["error"]["message"].as_str()), (403, Some("you don't have permission to stop this run")));
    house.close().await;
}

#[test]
fn a_question_for_others_is_left_open_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    let auth = "auth: { mode: basic, file: access.yaml }\n";
    std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\nname: cli\n{auth}")).unwrap();
    std::fs::write(folder.path().join("access.yaml"), "users: {}\n").unwrap();
    std::fs::write(folder.path().join("workflows/triage.yaml"), TRIAGE.replace("APPROVE", SUPPORT)).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fastagency"));
        let output = command.args(arguments).current_dir(folder.path()).env_remove("NATS_URL").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, err) = run(&["run", "triage", "-a", "May I call=Allow once"]);
    assert_eq!(code, Some(5), "{out}{err}");
    assert!(out.contains(FOR_SUPPORT), "{out}{err}");
    assert!(!out.contains("refunded"), "{out}");
    let id = err.split("--run ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned();
    let (code, out, _) = run(&["run", "--run", &id, "-a", "once"]);
    assert_eq!((code, out.contains(FOR_SUPPORT)), (Some(5), true), "{out}");
}

#[test]
fn check_says_who_can_approve_and_who_cannot_answer() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    let _ = auth(folder.path());
    let check = |auth: &str, approve: &str| {
        std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\nname: c\n{auth}")).unwrap();
        std::fs::write(folder.path().join("workflows/triage.yaml"), TRIAGE.replace("APPROVE", approve)).unwrap();
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fastagency"));
        let output = command.args(["check"]).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let basic = "auth: { mode: basic, file: access.yaml, access: [ { workflows: [triage], groups: [support], may: [see, answer] } ] }\n";
    let (code, err) = check(basic, "always");
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("warning: workflows/triage.yaml:8:")
            && err.contains("the user who starts a run can approve the tool \"refund\""),
        "{err}"
    );
    assert!(err.contains("write: approve: { ask: always, by: { groups: [support] }, not_by_starter: true }"), "{err}");
    let (code, err) = check(basic, SUPPORT);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(check(basic, "{ not_by_starter: false }").1, "");
    let (code, err) = check(basic, "{ by: { users: [sua], groups: [suport] } }");
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("there is no user \"sua\" in auth.file") && err.contains("did you mean \"sue\"?"), "{err}");
    assert!(err.contains("there is no member of the group \"suport\""), "{err}");
    assert!(err.contains("the group \"suport\" may not see and answer the runs of \"triage\""), "{err}");
    let (code, err) = check("", SUPPORT);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("nobody could answer this: auth.mode is none"), "{err}");
    let (code, err) = check(basic, "{ by: [support] }");
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("write: { groups: [support] }"), "{err}");
    // The manager of a group is looked at, too.
    std::fs::write(folder.path().join("workflows/panel.yaml"), PANEL).unwrap();
    let (code, err) = check("", "{ not_by_starter: false }");
    assert!(code == Some(2) && err.contains("panel.yaml") && err.contains("nobody could answer this"), "{err}");
    std::fs::remove_file(folder.path().join("workflows/panel.yaml")).unwrap();
    let (code, err) = check(basic, "{ by: {} }");
    assert!(code == Some(2) && err.contains("this names nobody"), "{err}");
    let (code, err) = check(basic, "{ by: { starter: true }, not_by_starter: true }");
    assert!(code == Some(2) && err.contains("cannot be asked (`starter: true`) and kept from answering"), "{err}");
}

#[test]
fn check_looks_at_the_approvals_of_sets_of_tools_as_at_those_of_tools() {
    const REFUNDS: &str = r#"
version: 1
name: triage
tools:
  inv: { openapi: inv.json, approve: APPROVE }
  refund: { python: "tools.py:refund", approve: APPROVED }
agents:
  clerk: { system_message: Refund., tools: [TOOL, refund] }
steps:
  - { id: done, agent: { agent: clerk, message: Go. } }
"#;
    const SPECIFICATION: &str = r#"{"openapi": "3.1.0", "info": {"title": "i", "version": "1"}, "servers": [{"url": "https://i.example"}],
        "paths": {"/refunds": {"post": {"operationId": "createRefund", "responses": {"200": {"description": "ok"}}}}}}"#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("inv.json"), SPECIFICATION).unwrap();
    std::fs::write(folder.path().join("tools.py"), "def refund(number: str) -> str:\n    return number\n").unwrap();
    let _ = auth(folder.path());
    let models = "llms: { default: { provider: scripted, script: [ok] } }\n";
    let check = |auth: &str, approve: &str, tool: &str| {
        std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\nname: c\n{models}{auth}")).unwrap();
        let workflow = REFUNDS.replace("APPROVED", SUPPORT).replace("APPROVE", approve).replace("TOOL", tool);
        std::fs::write(folder.path().join("workflows/triage.yaml"), workflow).unwrap();
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fastagency"));
        let output = command.args(["check"]).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let basic = "auth: { mode: basic, file: access.yaml, access: [ { workflows: [triage], groups: [support], may: [see, answer] } ] }\n";
    assert_eq!(check(basic, SUPPORT, "inv"), (Some(0), String::new()));
    let (code, err) = check(basic, "always", "inv");
    assert!(code == Some(0) && err.contains("the user who starts a run can approve the tools of \"inv\""), "{err}");
    let (code, err) = check(basic, "{ by: { groups: [suport] } }", "inv");
    assert!(code == Some(0) && err.contains("there is no member of the group \"suport\""), "{err}");
    let (code, err) = check("", SUPPORT, "inv");
    assert!(code == Some(2) && err.matches("nobody could answer this: auth.mode is none").count() == 2, "{err}");
    let (code, err) = check(basic, "{ tools: [creatRefund], by: { groups: [support] } }", "inv");
    assert!(code == Some(2) && err.contains("no tool of inv is called \"creatRefund\""), "{err}");
    assert!(err.contains("did you mean \"createRefund\"?"), "{err}");
    let (code, err) = check(basic, SUPPORT, "inv.createRefnd");
    assert!(code == Some(2) && err.contains("an agent has the tool \"inv.createRefnd\", and there is none"), "{err}");
    assert!(err.contains("did you mean \"createRefund\"?"), "{err}");
}

/// What the program writes in a terminal, until it has ended; and that it has written these words.
fn listen(
    mut child: std::process::Child,
    words: &'static str,
) -> (tokio::sync::oneshot::Receiver<()>, tokio::task::JoinHandle<String>) {
    use std::io::BufRead;
    let (tell, told) = tokio::sync::oneshot::channel();
    let heard = tokio::task::spawn_blocking(move || {
        let (mut all, mut tell) = (String::new(), Some(tell));
        for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
            all += &format!("{}\n", line.unwrap());
            if all.contains(words) {
                tell.take().map(|tell| tell.send(()));
            }
        }
        child.wait().unwrap();
        all
    });
    (told, heard)
}

#[tokio::test]
async fn an_answer_that_came_too_late_in_the_terminal_says_who_was_first_and_keeps_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let auth = auth(folder.path());
    let path = auth.file.clone().unwrap();
    let mut people = UserDirectory::read(&path).unwrap();
    let (key, sha256) = new_key();
    let groups = vec!["support".to_owned()];
    people.keys.insert(
        "sue-key".to_owned(),
        ApiKey { sha256, user: "sue".to_owned(), groups, scopes: Vec::new(), account: None },
    );
    people.write(&path).unwrap();
    let house = System::played_with(|_| {}, |settings| settings.auth = auth).await;
    let run = start(&house, "ann", "echo").await;
    let mut player = Player::take(&house, run).await;
    let approval = ApprovalQuestion {
        prompt: Some("May I pay?".to_owned()),
        function_name: "pay".to_owned(),
        ..ApprovalQuestion::default()
    };
    let asked = player.ask(MessageContent::Approval(Box::new(approval))).await;
    assert_eq!(decide(&house, "ann", run, asked.uuid, json!({"decision": "once"})).await.0, 202);
    let terminal = |answers: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fastagency"));
        command.args(["run", "--gateway-url", &house.url, "--run", &run.to_string()]).args(answers);
        command.env("FASTAGENCY_KEY", &key).current_dir(folder.path()).env_remove("NATS_URL");
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let (sent, heard) = listen(terminal(&["-a", "deny: not this one"]), "> deny: not this one");
    sent.await.expect("sue denies it");
    // The worker reads ann's answer only now.
    player.answered(&asked).await;
    let mine = player.ask(MessageContent::TextInput(Default::default())).await;
    assert_eq!(decide(&house, "sue", run, mine.uuid, json!("by sue")).await.0, 202);
    player.answered(&mine).await;
    player.end(json!("done")).await;
    let heard = heard.await.unwrap();
    assert!(heard.contains("ann allowed this before you; your denial was not used"), "{heard}");
    assert!(heard.contains("your reason: not this one"), "{heard}");
    // In what was said before, the reader is without a name and others are not.
    let (_, heard) = listen(terminal(&[]), "completed");
    let heard = heard.await.unwrap();
    assert!(heard.contains("ann> Allowed once\n") && heard.contains("\n> by sue\n"), "{heard}");
    house.end().await;
}
