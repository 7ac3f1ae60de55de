//! `/api/runs`: a run's whole life over REST, and everything that may be wrong with a call.

use fastagency::ids::{MessageId, RunId};
use fastagency::message::{ApprovalQuestion, MessageContent};
use fastagency::run;
use serde_json::{Value, json};

use super::player::{Player, text_input};
use crate::support::client::run_id;
use crate::support::eventually::eventually;
use crate::support::system::System;

#[tokio::test]
async fn a_run_is_started_answered_listed_renamed_and_removed() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let (status, found) = deployment.get(&format!("/api/runs/{run}")).await;
    assert_eq!((status, &found["state"], &found["workflow"]), (200, &json!("queued"), &json!("echo")));

    let mut player = Player::take(&deployment, run).await;
    let question = player.ask(text_input("Say something", false)).await;
    let (_, found) = deployment.get(&format!("/api/runs/{run}")).await;
    assert_eq!(found["question"], json!({"id": question.uuid, "prompt": "Say something"}));
    let answers = format!("/api/runs/{run}/answers/{}", question.uuid);
    assert_eq!(deployment.call("DELETE", &format!("/api/runs/{run}"), None).await.1["error"]["code"], "run_not_ended");
    assert_eq!(
        deployment.post(&answers, json!({"value": {"not": "a text"}})).await.1["error"]["code"],
        "invalid_answer"
    );
    assert_eq!(deployment.post(&answers, json!({"value": "hello"})).await.0, 202);
    let (status, late) = deployment.post(&answers, json!({"value": "ho"})).await;
    assert_eq!((status, &late["error"]["code"]), (409, &json!("already_answered")));
    assert!(late["error"]["at"].is_string() && late["error"].get("by").is_some(), "{late}");
    player.answered(&question).await;
    assert_eq!(deployment.post(&answers, json!({"value": "ho"})).await.1["error"]["code"], "already_answered");
    player.end(json!("echo: hi")).await;

    let (_, found) = deployment.get(&format!("/api/runs/{run}")).await;
    assert_eq!(
        (&found["state"], &found["outcome"], &found["title"]),
        (&json!("ended"), &json!("completed"), &json!("hello"))
    );
    assert_eq!(deployment.post(&format!("/api/runs/{run}/cancel"), json!({})).await.1["error"]["code"], "run_ended");
    let (status, renamed) =
        deployment.call("PATCH", &format!("/api/runs/{run}"), Some(json!({"title": " My run "}))).await;
    assert_eq!((status, &renamed["title"]), (200, &json!("My run")));
    let (_, list) = deployment.get("/api/runs?search=my%20run&state=ended&workflow=echo").await;
    assert_eq!(list["runs"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["runs"][0]["title"], "My run");
    let (_, renamed) = deployment.call("PATCH", &format!("/api/runs/{run}"), Some(json!({"title": null}))).await;
    assert_eq!(renamed["title"], "hello");

    assert_eq!(deployment.call("DELETE", &format!("/api/runs/{run}"), None).await.0, 204);
    assert_eq!(deployment.get(&format!("/api/runs/{run}")).await.1["error"]["code"], "unknown_run");
    assert_eq!(deployment.get(&format!("/api/runs/{run}/events")).await.0, 404);
    assert_eq!(deployment.get("/api/runs").await.1, json!({"runs": []}));
    deployment.end().await;
}

#[tokio::test]
async fn a_question_is_found_however_much_was_said_since() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let mut player = Player::take(&deployment, run).await;
    let (first, second) = (player.ask(text_input("One?", false)).await, player.ask(text_input("Two?", false)).await);
    for turn in 0..60 {
        player.say_text(&format!("turn {turn}")).await;
    }
    // Far larger than one message of the store: it comes in pieces.
    player.say_text(&"x".repeat(2_000_000)).await;
    let third = player.ask(text_input("Three?", false)).await;
    for question in [&first, &third, &second] {
        let answers = format!("/api/runs/{run}/answers/{}", question.uuid);
        assert_eq!(deployment.post(&answers, json!({"value": "hi"})).await.0, 202);
        player.answered(question).await;
        let (status, late) = deployment.post(&answers, json!({"value": "ho"})).await;
        assert_eq!((status, &late["error"]["code"]), (409, &json!("already_answered")));
    }
    let never = format!("/api/runs/{run}/answers/{}", MessageId::random());
    let (status, refused) = deployment.post(&never, json!({"value": "hi"})).await;
    assert_eq!((status, &refused["error"]["code"]), (404, &json!("unknown_question")));
}

#[tokio::test]
async fn an_approval_is_answered_with_a_decision_and_names_no_run() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let mut player = Player::take(&deployment, run).await;
    let asked = ApprovalQuestion {
        function_name: "pay".into(),
        arguments: fastagency::bounds::from_value(json!({"amount": 5, "account": 9007199254740993u64})).unwrap(),
        schema: Some(json!({"type": "object", "properties": {"amount": {"maximum": 100}}})),
        digest: Some("d1".into()),
        salt: Some("not to be shown".into()),
        ..ApprovalQuestion::default()
    };
    let question = player.ask(MessageContent::Approval(Box::new(asked))).await;
    let answers = format!("/api/runs/{run}/answers/{}", question.uuid);
    for wrong in [
        json!("once"),
        json!({"decision": "never"}),
        json!({"decision": "once"}),
        json!({"decision": "once", "digest": "d1", "arguments": {"amount": 500}}),
        json!({"decision": "once", "digest": "d1", "arguments": {"account": 9007199254740992u64}}),
        json!({"decision": "once", "digest": "d1", "changes": [{"path": "/amount", "json": "500"}]}),
        json!({"decision": "once", "digest": "d1", "changes": [{"path": "/amount/x", "json": "5"}]}),
        json!({"decision": "once", "digest": "d1", "changes": [{"path": "/amount", "json": "1e999"}]}),
    ] {
        let (status, refused) = deployment.post(&answers, json!({"value": wrong})).await;
        assert_eq!((status, &refused["error"]["code"]), (422, &json!("invalid_answer")), "{refused}");
    }
    let (status, refused) = deployment.post(&answers, json!({"value": {"decision": "always", "digest": "d2"}})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("other_digest")), "{refused}");
    let changes = json!({"decision": "once", "digest": "d1", "changes": [{"path": "/amount", "json": "4"}]});
    assert_eq!(deployment.post(&answers, json!({"value": changes})).await.0, 202);
    // What nobody changed stays as the server has it.
    let value = json!({"decision": "once", "arguments": {"amount": 4, "account": 9007199254740993u64}, "digest": "d1"});
    player.answered(&question).await;
    player.end(Value::Null).await;
    let (_, found) = deployment.get(&format!("/api/runs/{run}")).await;
    assert_eq!((&found["state"], &found["title"]), (&json!("ended"), &Value::Null));
    let events =
        deployment.http.get(format!("{}/api/runs/{run}/events?follow=false", deployment.url)).send().await.unwrap();
    let events = events.text().await.unwrap();
    let records: Vec<Value> = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let answered = records.iter().find(|record| record["kind"] == "answered").unwrap();
    assert_eq!((&answered["text"], &answered["value"]), (&json!("Allowed once"), &value));
    let said = records.iter().find(|record| record["message"]["type"] == "approval").unwrap();
    assert_eq!(said["message"]["content"]["call_id"], Value::Null);
    assert_eq!(said["message"]["content"]["digest"], json!("d1"));
    assert!(!events.contains("not to be shown"), "{events}");
    deployment.end().await;
}

#[tokio::test]
async fn a_run_that_nobody_takes_is_listed_after_a_moment() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let found = eventually("the run is listed", async || {
        let (_, list) = deployment.get("/api/runs?state=queued").await;
        list["runs"].as_array().unwrap().first().cloned()
    });
    assert_eq!(run_id(&found.await), run);
    deployment.end().await;
}

#[tokio::test]
async fn a_start_with_the_same_key_is_the_same_run() {
    let deployment = System::played().await;
    let start = |key: &'static str, workflow: &'static str| {
        let call = deployment.http.post(format!("{}/api/runs", deployment.url)).header("Idempotency-Key", key);
        async move {
            let answer = call.json(&json!({"workflow": workflow})).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let (first, again, other) = (start("a", "echo").await, start("a", "echo").await, start("b", "echo").await);
    assert_eq!((first.0, again.0, other.0), (201, 200, 201));
    assert_eq!(first.1["id"], again.1["id"]);
    assert_ne!(first.1["id"], other.1["id"]);
    assert_eq!(start("a", "boom").await.1["error"]["code"], "idempotency_key_used");
    deployment.end().await;
}

#[tokio::test]
async fn a_start_may_wait_for_the_first_question() {
    let deployment = System::played().await;
    let (_, run) = deployment.post("/api/runs?wait=0.05", json!({"workflow": "echo"})).await;
    assert_eq!(run["state"], "queued");
    let call = deployment.http.post(format!("{}/api/runs?wait=30", deployment.url)).header("Idempotency-Key", "k");
    let waiting = tokio::spawn(call.json(&json!({"workflow": "echo"})).send());
    let call = deployment.http.post(format!("{}/api/runs", deployment.url)).header("Idempotency-Key", "k");
    let run: Value = call.json(&json!({"workflow": "echo"})).send().await.unwrap().json().await.unwrap();
    let mut player = Player::take(&deployment, run_id(&run)).await;
    player.ask(text_input("well?", false)).await;
    let run: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!((&run["state"], &run["question"]["prompt"]), (&json!("waiting"), &json!("well?")));
    deployment.end().await;
}

#[tokio::test]
async fn parameters_are_checked_and_defaults_filled_in() {
    let deployment = System::played().await;
    let (status, wrong) = deployment.post("/api/runs", json!({"workflow": "lesson", "params": {"level": "odd"}})).await;
    assert_eq!((status, &wrong["error"]["code"]), (422, &json!("invalid_params")));
    let words = wrong["error"]["message"].as_str().unwrap();
    assert!(words.contains("level") && words.contains("topic"), "{words}");
    let misspelt = json!({"workflow": "lesson", "params": {"topic": "x", "levle": "hard"}});
    let (status, wrong) = deployment.post("/api/runs", misspelt).await;
    assert_eq!((status, &wrong["error"]["code"]), (422, &json!("invalid_params")));
    assert_eq!(
        wrong["error"]["message"],
        "the parameters do not fit: there is no parameter \"levle\" (did you mean \"level\"?)"
    );
    let (status, run) = deployment.post("/api/runs", json!({"workflow": "lesson", "params": {"topic": "x"}})).await;
    assert_eq!(status, 201, "{run}");
    let events = deployment.events(run_id(&run), "?follow=false").await;
    assert_eq!(events[0].data["params"], json!({"topic": "x", "level": "easy"}));
    deployment.end().await;
}

#[tokio::test]
async fn a_bad_call_is_answered_in_words() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let nobody = RunId::random();
    let question = MessageId::random();
    let table = [
        ("POST", "/api/runs".to_owned(), Some(json!({"workflow": "ecko"})), 404, "unknown_workflow"),
        ("POST", "/api/runs".to_owned(), Some(json!({"workflow": "a b/c\u{0}"})), 404, "unknown_workflow"),
        ("POST", "/api/runs".to_owned(), Some(json!({"workflow": 1})), 422, "invalid_body"),
        ("POST", "/api/runs".to_owned(), Some(json!({"workflow": "echo", "params": []})), 422, "invalid_body"),
        ("POST", "/api/runs".to_owned(), Some(json!({"workflow": "echo", "parms": {}})), 422, "invalid_body"),
        ("POST", "/api/runs".to_owned(), Some(json!([])), 422, "invalid_body"),
        ("POST", "/api/runs".to_owned(), None, 415, "unsupported_media_type"),
        ("POST", "/api/runs?wait=long".to_owned(), Some(json!({"workflow": "echo"})), 422, "invalid_query"),
        ("POST", "/api/runs?wait=-1".to_owned(), Some(json!({"workflow": "echo"})), 422, "invalid_query"),
        ("GET", "/api/runs?state=odd".to_owned(), None, 422, "invalid_query"),
        ("GET", "/api/runs?limit=many".to_owned(), None, 422, "invalid_query"),
        ("GET", "/api/runs?limt=3".to_owned(), None, 422, "invalid_query"),
        ("GET", "/api/workflows?x".to_owned(), None, 422, "invalid_query"),
        ("POST", format!("/api/runs/{run}/cancel?force=true"), None, 422, "invalid_query"),
        ("GET", "/api/runs/not-an-id".to_owned(), None, 404, "unknown_run"),
        ("GET", format!("/api/runs/{nobody}"), None, 404, "unknown_run"),
        ("GET", format!("/api/runs/{nobody}/events"), None, 404, "unknown_run"),
        ("GET", format!("/api/runs/{run}/events?after=x"), None, 422, "invalid_query"),
        ("POST", format!("/api/runs/{nobody}/cancel"), None, 404, "unknown_run"),
        ("DELETE", format!("/api/runs/{nobody}"), None, 404, "unknown_run"),
        ("PATCH", format!("/api/runs/{nobody}"), Some(json!({"title": "x"})), 404, "unknown_run"),
        ("PATCH", format!("/api/runs/{run}"), Some(json!({"title": "x".repeat(200)})), 422, "invalid_title"),
        ("PATCH", format!("/api/runs/{run}"), Some(json!({"title": 1})), 422, "invalid_body"),
        ("POST", format!("/api/runs/{run}/answers/{question}"), Some(json!({"value": "x"})), 404, "unknown_question"),
        ("POST", format!("/api/runs/{run}/answers/x"), Some(json!({"value": "x"})), 404, "unknown_question"),
        ("POST", format!("/api/runs/{nobody}/answers/{question}"), Some(json!({"value": "x"})), 404, "unknown_run"),
        ("POST", format!("/api/runs/{run}/answers/{question}"), Some(json!({})), 422, "invalid_body"),
        ("PUT", "/api/runs".to_owned(), None, 405, "method_not_allowed"),
        ("GET", "/api/nothing".to_owned(), None, 404, "unknown_path"),
    ];
    for (method, path, body, status, code) in table {
        let (got, answer) = deployment.call(method, &path, body.clone()).await;
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{method} {path} {body:?}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().len() > 10, "{answer}");
    }
    assert_eq!(deployment.get("/api/runs?limt=3").await.1["error"]["hint"], "did you mean \"limit\"?");
    let (_, wrong) = deployment.post("/api/runs", json!({"workflow": "ecko"})).await;
    assert_eq!(wrong["error"]["hint"], "did you mean \"echo\"?");
    deployment.end().await;
}

#[tokio::test]
async fn half_a_letter_in_what_a_person_sends_is_no_mistake() {
    let deployment = System::played().await;
    let post = async |path: String, body: &'static str| {
        let call = deployment.http.post(format!("{}{path}", deployment.url)).header("content-type", "application/json");
        let answer = call.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default())
    };
    let body = r#"{"workflow": "params", "params": {"topic": "a \ud83d", "right": "\ud83d\ude00"}}"#;
    let (status, run) = post("/api/runs".to_owned(), body).await;
    assert_eq!(status, 201, "{run}");
    let mut player = Player::take(&deployment, run_id(&run)).await;
    let question = player.ask(text_input("Say something", false)).await;
    let answers = format!("/api/runs/{}/answers/{}", run_id(&run), question.uuid);
    assert_eq!(post(answers, r#"{"value": "pasted \ud83d, cut"}"#).await.0, 202);
    player.answered(&question).await;
    player.end(Value::Null).await;
    let events = deployment.events(run_id(&run), "").await;
    let records: Vec<&Value> = events.iter().filter(|event| event.name == "record").map(|event| &event.data).collect();
    assert_eq!(records[0]["params"], json!({"topic": "a \u{fffd}", "right": "😀"}));
    let answered = records.iter().find(|record| record["kind"] == "answered").unwrap();
    assert_eq!(answered["value"], "pasted \u{fffd}, cut");
    // Two names that are one now are two in one object.
    let (status, refused) =
        post("/api/runs".to_owned(), r#"{"workflow": "params", "params": {"\ud83d": 1, "\ude00": 2}}"#).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("invalid_body")), "{refused}");
    deployment.end().await;
}

#[tokio::test]
async fn a_title_and_a_reason_are_one_line_in_which_nothing_is_hidden() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let path = format!("/api/runs/{run}");
    let rename = async |title: &str| deployment.call("PATCH", &path, Some(json!({"title": title}))).await;
    let hidden =
        ["\u{202e}", "\u{2066}", "\u{200b}", "\u{feff}", "\u{ad}", "\u{3164}", "\u{2800}", "\u{e0041}", "\t", "\u{1b}"];
    for letter in hidden {
        let text = format!("a{letter}b");
        let point = format!("U+{:04X}", u32::from(letter.chars().next().unwrap()));
        let (status, told) = rename(&text).await;
        assert_eq!((status, &told["error"]["code"]), (422, &json!("invalid_title")), "{letter:?}");
        assert!(told["error"]["message"].as_str().unwrap().contains(&point), "{told}");
        let erase = json!({"user": "nobody", "reason": text});
        let (status, told) = deployment.post("/api/audit/erase", erase).await;
        assert_eq!((status, &told["error"]["code"]), (422, &json!("invalid_body")), "{letter:?}");
        assert!(told["error"]["message"].as_str().unwrap().contains(&point), "{told}");
    }
    for text in ["a\u{2028}b", "a\u{2029}b", "a\u{85}b", "a\nb"] {
        let (status, told) = rename(text).await;
        assert_eq!(status, 422, "{text:?}");
        assert_eq!(told["error"]["message"], "title: must be one line of at most 120 characters", "{text:?}");
        assert_eq!(
            deployment.post("/api/audit/erase", json!({"user": "nobody", "reason": text})).await.0,
            422,
            "{text:?}"
        );
    }
    let long = json!({"user": "nobody", "reason": "x".repeat(501)});
    assert_eq!(deployment.post("/api/audit/erase", long).await.0, 422);
    // What joins letters and emoji is in many texts.
    for title in ["👩\u{200d}👩\u{200d}👧 ❤\u{fe0f}", "نامه\u{200c}ای", "5\u{a0}€"] {
        let (status, renamed) = rename(title).await;
        assert_eq!((status, renamed["title"].as_str()), (200, Some(title)));
    }
    Player::take(&deployment, run).await.end(json!("done")).await;
    for reason in ["a%E2%80%A8b", "a%E2%80%AEb", "a%09b"] {
        let (status, told) = deployment.call("DELETE", &format!("{path}?reason={reason}"), None).await;
        assert_eq!((status, &told["error"]["code"]), (422, &json!("invalid_query")), "{reason}: {told}");
    }
    assert_eq!(deployment.call("DELETE", &format!("{path}?reason=a%20mistake"), None).await.0, 204);
    deployment.end().await;
}

#[tokio::test]
async fn an_idempotency_key_has_no_controls_and_json_is_utf_8() {
    let deployment = System::played().await;
    let start = async |kind: &str, key: &[u8]| {
        let call = deployment.http.post(format!("{}/api/runs", deployment.url)).header("content-type", kind);
        let key = reqwest::header::HeaderValue::from_bytes(key).unwrap();
        let answer = call.header("idempotency-key", key).body(r#"{"workflow":"echo"}"#).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"]["code"].clone())
    };
    let json = "application/json";
    for key in [&b"a\tb"[..], b"", "k\u{e9}y".as_bytes()] {
        assert_eq!(start(json, key).await, (422, json!("invalid_idempotency_key")), "{key:?}");
    }
    assert_eq!(start(json, b"a key-1").await, (201, Value::Null));
    for kind in ["application/json; charset=utf-16", "application/json;charset=\"ISO-8859-1\""] {
        assert_eq!(start(kind, b"another").await, (415, json!("unsupported_media_type")), "{kind}");
    }
    assert_eq!(start("application/json; charset=UTF-8", b"a key-2").await, (201, Value::Null));
    deployment.end().await;
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_large_is_refused() {
    let deployment = System::played().await;
    let post = |body: String| {
        let call =
            deployment.http.post(format!("{}/api/runs", deployment.url)).header("content-type", "application/json");
        async move {
            let answer = call.body(body).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let (status, answer) = post("{\"workflow\": \"echo\",\n  x}".to_owned()).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("malformed_json")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("line 2"), "{answer}");
    let large = json!({"workflow": "params", "params": {"x": "x".repeat(5_000_000)}}).to_string();
    let (status, answer) = post(large).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("too_large")));
    let unstorable = json!({"workflow": "params", "params": {"x": "x".repeat(1_500_000)}}).to_string();
    assert_eq!(post(unstorable).await.1["error"]["code"], "too_large");
    deployment.end().await;
}

#[tokio::test]
async fn a_password_is_stored_nowhere() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let mut player = Player::take(&deployment, run).await;
    let question = player.ask(text_input("secret?", true)).await;
    let answering = {
        let (http, url) = (deployment.http.clone(), deployment.url.clone());
        let path = format!("{url}/api/runs/{run}/answers/{}", question.uuid);
        tokio::spawn(async move {
            http.post(path).json(&json!({"value": "hunter2"})).send().await.unwrap().status().as_u16()
        })
    };
    let given = player.answered(&question).await;
    assert_eq!(given.answer, fastagency::run::answer::AnswerPayload::Text("hunter2".into()));
    assert_eq!(answering.await.unwrap(), 202);
    player.end(json!("done")).await;
    for stored in deployment.broker.log.read(run, 0).await.unwrap() {
        assert!(!String::from_utf8_lossy(&stored.payload).contains("hunter2"));
    }
    let inbox =
        deployment.broker.inbox.get(run, fastagency::broker::InboxSlot::Answer(question.uuid)).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&inbox.payload).contains("hunter2"));
    let records = run::read(&deployment.broker, run, 0).await.unwrap();
    assert!(records.len() >= 5);
    deployment.end().await;
}

/// Two may answer at the same time: the password that is told is that of whoever was first, and no other.
#[tokio::test]
async fn the_password_of_whoever_was_too_late_is_told_to_nobody() {
    use fastagency::broker::{InboxSlot, InboxUpdate};
    use fastagency::run::answer::{AnswerPayload, SubmittedAnswer};
    use futures_util::StreamExt;
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let mut player = Player::take(&deployment, run).await;
    let question = player.ask(text_input("secret?", true)).await;
    let mut inbox_updates = deployment.broker.inbox.subscribe(run).await.unwrap();
    // As another gateway stores it for somebody else, who was a moment earlier.
    let slot = InboxSlot::Answer(question.uuid);
    let first = SubmittedAnswer::new(AnswerPayload::NotStored, fastagency::ids::UserId::new("alice"));
    deployment.broker.inbox.put(run, slot, serde_json::to_vec(&first).unwrap().into()).await.unwrap();
    let path = format!("/api/runs/{run}/answers/{}", question.uuid);
    assert_eq!(deployment.post(&path, json!({"value": "mallory's"})).await.0, 409);
    deployment.broker.inbox.notify(run, slot, "alice's".into()).await.unwrap();
    let told = loop {
        match inbox_updates.next().await {
            Some(InboxUpdate::Stored { stored, .. }) if stored.seq == 0 => break stored.payload,
            Some(_) => {}
            None => panic!("nothing comes into the inbox"),
        }
    };
    assert_eq!(told, "alice's");
    deployment.end().await;
}

#[tokio::test]
async fn a_run_is_cancelled_once() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    assert_eq!(deployment.call("POST", &format!("/api/runs/{run}/cancel"), None).await.0, 202);
    assert_eq!(deployment.call("POST", &format!("/api/runs/{run}/cancel"), None).await.0, 202);
    assert!(deployment.broker.inbox.get(run, fastagency::broker::InboxSlot::Cancel).await.unwrap().is_some());
    deployment.end().await;
}
