//! Answers and stops that came too late, by REST and by socket: each says who was first, what was decided, and that it was not
//! used. What the terminal says of them is in `answerers`; the words are those of `message::late`.

use fastagency::ids::RunId;
use fastagency::message::{ApprovalQuestion, FormQuestion, MessageContent, MultipleChoice};
use serde_json::{Value, json};

use super::player::{Player, text_input};
use crate::answerers::{SUPPORT, TRIAGE, asked, auth, call, decide, ended, house, socket_of, start};
use crate::support::client::{Socket, hear_json, say};
use crate::support::system::System;

/// A question that sue answers before ann does.
struct LateCase {
    question: MessageContent,
    /// What sue says.
    first: Value,
    /// What ann says then, as JSON.
    value: Value,
    /// The same, as text.
    typed: &'static str,
    /// What ann is told.
    sentence: &'static str,
    /// What ann gets back of it by socket.
    kept: Option<&'static str>,
}

fn approval() -> MessageContent {
    let arguments = serde_json::Map::from_iter([("amount".to_owned(), json!(9))]);
    MessageContent::Approval(Box::new(ApprovalQuestion {
        prompt: Some("May I call `pay`?".into()),
        function_name: "pay".into(),
        arguments,
        ..ApprovalQuestion::default()
    }))
}

fn late_cases() -> Vec<LateCase> {
    let answered = "sue answered this before you; your answer was not used";
    let choice = MultipleChoice {
        prompt: Some("Which?".into()),
        choices: vec!["a".into(), "b".into()],
        single: true,
        ..MultipleChoice::default()
    };
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    let form = FormQuestion {
        prompt: Some("Who?".into()),
        schema,
        can_decline: false,
        deadline: Default::default(),
        answerers: None,
    };
    let (once, deny) = (json!({"decision": "once"}), json!({"decision": "deny", "reason": "not this one"}));
    vec![
        LateCase {
            question: text_input("What?", false),
            first: json!("hers"),
            value: json!("my\nwords"),
            typed: "my\nwords",
            sentence: answered,
            kept: Some("what you sent: my\nwords"),
        },
        LateCase {
            question: text_input("Your key?", true),
            first: json!("her secret"),
            value: json!("hunter2"),
            typed: "hunter2",
            sentence: answered,
            kept: None,
        },
        LateCase {
            question: MessageContent::MultipleChoice(choice),
            first: json!("a"),
            value: json!("b"),
            typed: "b",
            sentence: answered,
            kept: Some("what you sent: b"),
        },
        LateCase {
            question: MessageContent::Form(form),
            first: json!({"name": "Sue"}),
            value: json!({"name": "Ann"}),
            typed: r#"{"name": "Ann"}"#,
            sentence: answered,
            kept: Some(r#"what you sent: {"name": "Ann"}"#),
        },
        LateCase {
            question: approval(),
            first: once.clone(),
            value: deny.clone(),
            typed: "deny: not this one",
            sentence: "sue allowed this before you; your denial was not used",
            kept: Some("your reason: not this one"),
        },
        LateCase {
            question: approval(),
            first: deny,
            value: once.clone(),
            typed: "yes",
            sentence: "sue denied this before you; your approval was not used",
            kept: None,
        },
        LateCase {
            question: approval(),
            first: json!({"decision": "once", "arguments": {"amount": 8}}),
            value: json!({"decision": "once", "arguments": {"amount": 7}}),
            typed: r#"{"decision": "once", "arguments": {"amount": 7}}"#,
            sentence: "sue allowed this with other arguments before you; your approval with other arguments was not used",
            kept: Some(r#"what you sent: {"amount":7}"#),
        },
        LateCase {
            question: approval(),
            first: once,
            value: json!({"decision": "once", "changes": [{"path": "/amount", "json": "7"}]}),
            typed: "amount = 7",
            sentence: "sue allowed this before you; your approval with other arguments was not used",
            kept: Some("what you sent: amount = 7"),
        },
    ]
}

/// A gateway with users, and a worker that is played.
async fn played(folder: &std::path::Path) -> System {
    let auth = auth(folder);
    System::played_with(|_| {}, |settings| settings.auth = auth).await
}

#[tokio::test]
async fn a_late_answer_by_rest_says_who_was_first_and_what_was_decided() {
    let folder = tempfile::tempdir().unwrap();
    let house = played(folder.path()).await;
    let run = start(&house, "ann", "echo").await;
    let mut player = Player::take(&house, run).await;
    // Before the worker has read the first answer, and after.
    for is_read in [false, true] {
        for LateCase { question, first, value, sentence, .. } in late_cases() {
            let what = question.kind().to_owned();
            let question = player.ask(question).await;
            assert_eq!(decide(&house, "sue", run, question.uuid, first).await.0, 202, "{what}");
            if is_read {
                player.answered(&question).await;
            }
            let (status, told) = decide(&house, "ann", run, question.uuid, value).await;
            let error = &told["error"];
            assert_eq!((status, &error["code"]), (409, &json!("already_answered")), "{what}: {told}");
            assert_eq!((&error["message"], &error["by"]), (&json!(sentence), &json!("sue")), "{what}");
            if !is_read {
                player.answered(&question).await;
            }
        }
    }
    house.end().await;
}

/// Ann's socket, at a run of hers.
async fn socket_of_ann(house: &System, run: RunId) -> Socket {
    let mut socket = socket_of(house, "ann").await;
    let init = json!({"name": "echo", "workflow_uuid": run.dashed(), "user_id": "None", "params": {}});
    say(&mut socket, init.to_string()).await;
    socket
}

#[tokio::test]
async fn a_late_answer_by_socket_says_who_was_first_and_gives_back_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let house = played(folder.path()).await;
    let run = RunId::random();
    let mut socket = socket_of_ann(&house, run).await;
    let mut player = Player::take(&house, run).await;
    assert_eq!(hear_json(&mut socket).await["type"], "workflow_started");
    for is_read in [false, true] {
        for LateCase { question, first, typed, sentence, kept, .. } in late_cases() {
            // What is no decision is quoted as it is.
            let is_decision = typed != "amount = 7";
            let sentence = if is_decision { sentence } else { "sue allowed this before you; your answer was not used" };
            let question = player.ask(question).await;
            let shown = hear_json(&mut socket).await;
            assert!(["text_input", "multiple_choice"].map(Value::from).contains(&shown["type"]), "{shown}");
            assert_eq!(decide(&house, "sue", run, question.uuid, first).await.0, 202);
            if is_read {
                player.answered(&question).await;
                player.say_text("it goes on").await;
                assert_eq!(hear_json(&mut socket).await["content"]["body"], "it goes on");
            }
            say(&mut socket, typed).await;
            let told = hear_json(&mut socket).await;
            let whole = kept.map_or(sentence.to_owned(), |kept| format!("{sentence}\n{kept}"));
            assert_eq!((&told["type"], &told["sender"]), (&json!("error"), &json!("Gateway")), "{told}");
            assert_eq!(told["content"], json!({"short": sentence, "long": whole}));
            assert!(!told.to_string().contains("hunter2"), "a password is never quoted: {told}");
            if !is_read {
                player.answered(&question).await;
            }
        }
    }
    // The next answer is that to the next question.
    let question = player.ask(text_input("And now?", false)).await;
    assert_eq!(hear_json(&mut socket).await["content"]["prompt"], "And now?");
    say(&mut socket, "mine").await;
    assert_eq!(player.answered(&question).await.by.unwrap().as_str(), "ann");
    // A question that is open when the run ends.
    player.ask(text_input("Anything else?", false)).await;
    assert_eq!(hear_json(&mut socket).await["content"]["prompt"], "Anything else?");
    player.end(json!("bye")).await;
    assert_eq!(hear_json(&mut socket).await["content"]["result"], "bye");
    say(&mut socket, "too late").await;
    let sentence = "the run ended before you answered; your answer was not used";
    let told = hear_json(&mut socket).await;
    assert_eq!(told["content"], json!({"short": sentence, "long": format!("{sentence}\nwhat you sent: too late")}));
    house.end().await;
}

#[tokio::test]
async fn a_late_stop_by_rest_says_how_the_run_ended_and_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path(), &[&TRIAGE.replace("APPROVE", SUPPORT)]).await;
    let stop = async |user: &str, run: RunId| {
        let (status, told) = call(&house, user, "POST", &format!("/api/runs/{run}/cancel"), None).await;
        (status, told["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    let run = start(&house, "ann", "triage").await;
    let (question, digest) = asked(&house, run).await;
    let once = json!({"decision": "once", "digest": digest});
    assert_eq!(decide(&house, "sue", run, question, once).await.0, 202);
    ended(&house, run).await;
    let completed = "this run had completed before you stopped it; your stop was not used".to_owned();
    assert_eq!(stop("ann", run).await, (409, completed));

    let run = start(&house, "ann", "triage").await;
    let (question, _) = asked(&house, run).await;
    assert_eq!(stop("root", run).await.0, 202);
    ended(&house, run).await;
    let stopped = "root stopped this run before you; your stop was not needed".to_owned();
    assert_eq!(stop("ann", run).await, (409, stopped));
    let again = "this run was stopped before; your stop was not needed".to_owned();
    assert_eq!(stop("root", run).await, (409, again));
    let (status, told) = decide(&house, "sue", run, question, json!({"decision": "deny"})).await;
    assert_eq!((status, &told["error"]["code"]), (409, &json!("run_ended")));
    assert_eq!(told["error"]["message"], "the run ended before you answered; your denial was not used");
    house.close().await;
}
