//! FastAgency's WebSocket: recorded conversations frame by frame, coming back, and everything that may be wrong.

use std::path::Path;
use std::time::Duration;

use fastagency::fastagency::envelope::from_envelope;
use fastagency::ids::RunId;
use fastagency::message::{AnswerDeadline, ApprovalQuestion, FormQuestion, MessageContent};
use fastagency::run::answer::AnswerPayload;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use super::player::{Player, later, text_input};
use crate::support::client::{Heard, hear, hear_json, say};
use crate::support::system::System;

/// A recorded conversation: what the client sent and what it was sent, in order.
fn recording(name: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/wire/{name}.jsonl"));
    let text = std::fs::read_to_string(path).expect("a recording");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter_map(|line| Some((line["dir"].as_str()?.to_owned(), line["text"].as_str()?.to_owned()))).collect()
}

/// A frame without what is new in each conversation.
fn same(frame: &Value) -> Value {
    let mut frame = frame.clone();
    for key in ["uuid", "workflow_uuid"] {
        assert!(frame[key].is_string(), "{frame}");
        frame[key] = Value::Null;
    }
    frame
}

fn init(run: RunId, workflow: &str) -> String {
    json!({"user_id": "None", "workflow_uuid": run.dashed(), "name": workflow, "params": {}}).to_string()
}

/// Plays a recorded conversation against the gateway: the worker says what was recorded, the client answers what was
/// recorded, and must be sent exactly what was recorded.
async fn plays(name: &str) {
    let deployment = System::played().await;
    let frames = recording(name);
    let mut socket = deployment.socket().await;
    let first: Value = serde_json::from_str(&frames[0].1).unwrap();
    let run = RunId::parse(first["workflow_uuid"].as_str().unwrap()).unwrap();
    say(&mut socket, frames[0].1.clone()).await;
    let sent: Vec<Value> = frames
        .iter()
        .filter(|(direction, _)| direction == "S>C")
        .map(|(_, text)| serde_json::from_str(text).unwrap())
        .collect();
    let said = sent.clone();
    let mut player = Player::take(&deployment, run).await;
    let worker = tokio::spawn(async move {
        for frame in &said {
            let message = from_envelope(frame).expect("a message");
            match &message.says {
                MessageContent::WorkflowStarted { .. } => {}
                MessageContent::WorkflowCompleted { result } => {
                    player.end(result.clone()).await;
                    return;
                }
                says if says.asks() => {
                    player.say(message.clone()).await;
                    player.answered(&message).await;
                }
                _ => {
                    player.say(message).await;
                }
            }
        }
    });
    let mut answers = frames.iter().skip(1).filter(|(direction, _)| direction == "C>S");
    for wanted in &sent {
        let frame = hear_json(&mut socket).await;
        assert_eq!(same(&frame), same(wanted));
        assert_eq!(frame["workflow_uuid"], run.to_string());
        if matches!(frame["type"].as_str(), Some("text_input" | "multiple_choice")) {
            say(&mut socket, answers.next().expect("a recorded answer").1.clone()).await;
        }
    }
    worker.await.unwrap();
    assert_eq!(hear(&mut socket).await, Heard::Closed(1000), "after a while the socket is closed");
    deployment.end().await;
}

#[tokio::test]
async fn echo_is_played_as_recorded() {
    plays("echo").await;
}

#[tokio::test]
async fn boom_is_played_as_recorded() {
    plays("boom").await;
}

#[tokio::test]
async fn params_are_played_as_recorded() {
    plays("params").await;
}

#[tokio::test]
async fn every_type_of_message_is_played_as_recorded() {
    plays("everything").await;
}

#[tokio::test]
async fn an_unknown_workflow_is_told_in_fastagencys_words() {
    let deployment = System::played().await;
    let frames = recording("unknown_workflow");
    let mut socket = deployment.socket().await;
    say(&mut socket, frames[0].1.clone()).await;
    let wanted: Value = serde_json::from_str(&frames[1].1).unwrap();
    let mut heard = hear_json(&mut socket).await;
    assert!(heard["content"]["long"].as_str().unwrap().contains("does_not_exist"));
    // Python's traceback is not ours.
    heard["content"]["long"] = wanted["content"]["long"].clone();
    assert_eq!(same(&heard), same(&wanted));
    assert_eq!(hear(&mut socket).await, Heard::Closed(1000));
    deployment.end().await;
}

#[tokio::test]
async fn whoever_comes_back_sees_the_past_and_goes_on() {
    let deployment = System::played().await;
    let run = RunId::random();
    let mut socket = deployment.socket().await;
    say(&mut socket, init(run, "echo")).await;
    let mut player = Player::take(&deployment, run).await;
    let name = player.ask(text_input("name?", false)).await;
    let secret = text_input("secret?", true);
    assert_eq!(hear_json(&mut socket).await["type"], "workflow_started");
    assert_eq!(hear_json(&mut socket).await["content"]["prompt"], "name?");
    // The second answer comes before its question; it waits for it.
    say(&mut socket, "Ann").await;
    say(&mut socket, "hunter2").await;
    assert_eq!(player.answered(&name).await.answer, AnswerPayload::Text("Ann".into()));
    let secret = player.ask(secret).await;
    assert_eq!(hear_json(&mut socket).await["content"]["password"], true);
    assert!(matches!(player.answered(&secret).await.answer, AnswerPayload::Text(_)));
    let last = player.ask(text_input("last?", false)).await;
    assert_eq!(hear_json(&mut socket).await["content"]["prompt"], "last?");
    drop(socket);

    let mut socket = deployment.socket().await;
    say(&mut socket, init(run, "echo")).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        let frame = hear_json(&mut socket).await;
        let content = &frame["content"];
        let words = content.get("body").or_else(|| content.get("prompt")).or_else(|| content.get("name"));
        seen.push((frame["type"].clone(), frame["sender"].clone(), words.cloned().unwrap()));
    }
    let text = |kind: &str, sender: &str, words: &str| (json!(kind), json!(sender), json!(words));
    assert_eq!(
        seen,
        [
            text("workflow_started", "Workflow", "echo"),
            text("text_message", "Workflow", "name?"),
            text("text_message", "User", "Ann"),
            text("text_message", "Workflow", "secret?"),
            text("text_message", "User", "•••"),
            text("text_input", "Workflow", "last?"),
        ]
    );
    say(&mut socket, "done").await;
    assert_eq!(player.answered(&last).await.answer, AnswerPayload::Text("done".into()));
    player.end(json!("bye")).await;
    assert_eq!(hear_json(&mut socket).await["content"]["result"], "bye");
    deployment.end().await;
}

#[tokio::test]
async fn half_a_letter_in_a_frame_is_no_mistake() {
    let deployment = System::played().await;
    let run = RunId::random();
    let mut socket = deployment.socket().await;
    let first = init(run, "params").replace(r#""params":{}"#, r#""params":{"said":"a \ud83d"}"#);
    say(&mut socket, first).await;
    let mut player = Player::take(&deployment, run).await;
    assert_eq!(hear_json(&mut socket).await["content"]["params"], json!({"said": "a \u{fffd}"}));
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    let form = FormQuestion {
        prompt: Some("Who?".into()),
        schema,
        can_decline: false,
        deadline: AnswerDeadline::default(),
        answerers: Default::default(),
    };
    let question = player.ask(MessageContent::Form(form)).await;
    assert_eq!(hear_json(&mut socket).await["type"], "text_input");
    say(&mut socket, r#"{"name": "Ann \ud83d\ude00 \ude00"}"#).await;
    player.answered(&question).await;
    player.end(Value::Null).await;
    let events = deployment.events(run, "").await;
    let answered = events.iter().find(|event| event.data["kind"] == "answered").expect("it was answered");
    assert_eq!(answered.data["value"], json!({"name": "Ann 😀 \u{fffd}"}));
    deployment.end().await;
}

#[tokio::test]
async fn a_question_answered_elsewhere_still_counts_as_one() {
    let deployment = System::played().await;
    let run = RunId::random();
    let mut socket = deployment.socket().await;
    say(&mut socket, init(run, "echo")).await;
    let mut player = Player::take(&deployment, run).await;
    let first = player.ask(text_input("first?", false)).await;
    hear_json(&mut socket).await;
    hear_json(&mut socket).await;
    let answers = format!("/api/runs/{run}/answers/{}", first.uuid);
    assert_eq!(deployment.post(&answers, json!({"value": "from the page"})).await.0, 202);
    player.answered(&first).await;
    let second = player.ask(text_input("second?", false)).await;
    assert_eq!(hear_json(&mut socket).await["content"]["prompt"], "second?");
    // The client was asked twice and answers twice: only the second answer is still wanted, and the first is given back.
    say(&mut socket, "one").await;
    let told = hear_json(&mut socket).await;
    assert_eq!(told["type"], "error");
    assert_eq!(
        told["content"]["long"],
        "somebody answered this before you; your answer was not used\nwhat you sent: one"
    );
    say(&mut socket, "two").await;
    assert_eq!(player.answered(&second).await.answer, AnswerPayload::Text("two".into()));
    deployment.end().await;
}

#[tokio::test]
async fn a_bad_frame_is_answered_in_words_and_the_socket_closed() {
    let deployment = System::played().await;
    let taken = deployment.started("echo").await;
    let uuid = RunId::random();
    for (frame, words, code) in [
        ("{".to_owned(), "not JSON", 1003),
        ("[]".to_owned(), "object", 1008),
        (json!({"workflow_uuid": "x", "name": "echo"}).to_string(), "UUID", 1008),
        (json!({"workflow_uuid": uuid}).to_string(), "name", 1008),
        (json!({"workflow_uuid": uuid, "name": "echo", "params": 1}).to_string(), "params", 1008),
        (json!({"workflow_uuid": uuid, "name": "lesson", "params": {}}).to_string(), "topic", 1008),
        (
            json!({"workflow_uuid": uuid, "name": "lesson", "params": {"topic": "x", "levle": "hard"}}).to_string(),
            "there is no parameter \"levle\" (did you mean \"level\"?)",
            1008,
        ),
        (init(taken, "boom"), "another conversation", 1008),
        (
            json!({"workflow_uuid": uuid, "name": "params", "params": {"x": "x".repeat(2_000_000)}}).to_string(),
            "larger",
            1008,
        ),
    ] {
        let mut socket = deployment.socket().await;
        let shown: String = frame.chars().take(100).collect();
        say(&mut socket, frame).await;
        let heard = hear_json(&mut socket).await;
        assert_eq!(heard["type"], "error", "{shown}");
        assert!(heard["content"]["long"].as_str().unwrap().contains(words), "{shown}: {heard}");
        assert_eq!(hear(&mut socket).await, Heard::Closed(code), "{shown}");
    }
    let mut socket = deployment.socket().await;
    socket.send(tungstenite::Message::Binary(vec![1, 2, 3].into())).await.unwrap();
    assert_eq!(hear_json(&mut socket).await["type"], "error");
    assert_eq!(hear(&mut socket).await, Heard::Closed(1003));
    // A good conversation works as ever.
    let mut socket = deployment.socket().await;
    say(&mut socket, init(taken, "echo")).await;
    Player::take(&deployment, taken).await;
    assert_eq!(hear_json(&mut socket).await["type"], "workflow_started");
    deployment.end().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_and_too_many_frames_are_refused() {
    let deployment = System::played().await;
    let mut socket = deployment.socket().await;
    let large = "x".repeat(3 * 1024 * 1024);
    // The server stops reading it, so the sending may fail: what matters is what is heard.
    let _ = tokio::time::timeout(Duration::from_secs(2), socket.send(tungstenite::Message::Text(large.into()))).await;
    assert_eq!(hear(&mut socket).await, Heard::Closed(1009));

    let mut socket = deployment.socket().await;
    say(&mut socket, init(RunId::random(), "echo")).await;
    for _ in 0..17 {
        say(&mut socket, "early").await;
    }
    assert_eq!(hear_json(&mut socket).await["type"], "error");
    assert_eq!(hear(&mut socket).await, Heard::Closed(1008));
    deployment.end().await;
}

#[tokio::test]
async fn a_gateway_that_goes_down_says_so() {
    let deployment = System::played().await;
    let mut idle = deployment.socket().await;
    let mut busy = deployment.socket().await;
    let run = RunId::random();
    say(&mut busy, init(run, "echo")).await;
    Player::take(&deployment, run).await;
    assert_eq!(hear_json(&mut busy).await["type"], "workflow_started");
    deployment.shutdown.begin();
    assert_eq!(hear(&mut busy).await, Heard::Closed(1012));
    assert_eq!(hear(&mut idle).await, Heard::Closed(1012));
    drop((busy, idle));
    assert_eq!(deployment.end().await, fastagency::lifecycle::LifecycleEnd::Clean);
}

#[tokio::test]
async fn many_conversations_at_once_are_never_crossed() {
    const CONVERSATIONS: usize = 50;
    let deployment = System::played().await;
    let mut all = Vec::new();
    for number in 0..CONVERSATIONS {
        let mut socket = deployment.socket().await;
        let run = RunId::random();
        say(&mut socket, init(run, "echo")).await;
        let mut player = Player::take(&deployment, run).await;
        all.push(tokio::spawn(async move {
            let question = player.ask(text_input(&format!("question {number}"), false)).await;
            assert_eq!(hear_json(&mut socket).await["workflow_uuid"], run.to_string());
            assert_eq!(hear_json(&mut socket).await["content"]["prompt"], format!("question {number}"));
            say(&mut socket, format!("secret {number}")).await;
            let given = player.answered(&question).await;
            assert_eq!(given.answer, AnswerPayload::Text(format!("secret {number}")));
            player.end(json!(format!("echo: secret {number}"))).await;
            assert_eq!(hear_json(&mut socket).await["content"]["result"], format!("echo: secret {number}"));
        }));
    }
    for one in all {
        one.await.unwrap();
    }
    deployment.end().await;
}

#[tokio::test]
async fn what_was_sent_before_an_approval_was_asked_allows_nothing() {
    let deployment = System::played().await;
    let run = RunId::random();
    let mut socket = deployment.socket().await;
    say(&mut socket, init(run, "echo")).await;
    let mut player = Player::take(&deployment, run).await;
    assert_eq!(hear_json(&mut socket).await["type"], "workflow_started");
    let question = player.ask(text_input("Shall I look for it?", false)).await;
    assert_eq!(hear_json(&mut socket).await["type"], "text_input");
    // A double click.
    say(&mut socket, "yes").await;
    say(&mut socket, "yes").await;
    player.answered(&question).await;
    let call = player
        .ask(MessageContent::Approval(Box::new(ApprovalQuestion {
            prompt: Some("May I call `pay`?".into()),
            function_name: "pay".into(),
            arguments: serde_json::Map::from_iter([("amount".to_owned(), json!(9))]),
            ..ApprovalQuestion::default()
        })))
        .await;
    let asked = hear_json(&mut socket).await;
    assert!(asked.to_string().contains("pay"), "{asked}");
    let refused = hear_json(&mut socket).await;
    assert_eq!(refused["type"], "error");
    assert!(refused.to_string().contains("came before this was asked"), "{refused}");
    assert_eq!(hear_json(&mut socket).await["content"], asked["content"], "it is asked again");
    let slot = fastagency::broker::InboxSlot::Answer(call.uuid);
    assert!(deployment.broker.inbox.get(run, slot).await.unwrap().is_none(), "nobody has allowed it");
    say(&mut socket, "yes").await;
    assert_eq!(player.answered(&call).await.answer, AnswerPayload::Text("yes".into()));
    // What was typed ahead still answers a question.
    say(&mut socket, "typed ahead").await;
    let question = player.ask(text_input("And then?", false)).await;
    assert_eq!(player.answered(&question).await.answer, AnswerPayload::Text("typed ahead".into()));
    deployment.end().await;
}

#[tokio::test]
async fn a_socket_that_says_nothing_at_first_is_closed() {
    let deployment = System::played().await;
    let mut socket = deployment.socket().await;
    assert_eq!(deployment.get("/healthz").await.0, 200);
    later(Duration::from_secs(61)).await;
    // Pings ask in between whether it lives.
    let said = hear_json(&mut socket).await;
    assert!(said.to_string().contains("did not come within 60 s"), "{said}");
    assert_eq!(hear(&mut socket).await, Heard::Closed(1008));
    deployment.end().await;
}
