//! `/api/audit`: everybody's runs for whoever has the right to see them.

use fastagency::message::MessageContent;
use fastagency::redact::Redactor;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::player::{Player, text_input};
use crate::support::client::{hear_json, say};
use crate::support::eventually::PATIENCE;
use crate::support::http::Event;
use crate::support::system::System;

/// A run that was asked, answered and ended.
async fn talked(deployment: &System, answer: &str) -> fastagency::ids::RunId {
    let run = deployment.started("echo").await;
    let mut player = Player::take(deployment, run).await;
    let question = player.ask(text_input("Say something", false)).await;
    let answers = format!("/api/runs/{run}/answers/{}", question.uuid);
    assert_eq!(deployment.post(&answers, json!({"value": answer})).await.0, 202);
    player.answered(&question).await;
    player.say(crate::gateway::player::message(MessageContent::text(format!("=1+1 {answer}")))).await;
    player.end(json!({"answer": answer, "pin": 1234})).await;
    run
}

fn kinds(timeline: &Value) -> Vec<&str> {
    timeline["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn runs_are_listed_told_and_exported() {
    let deployment = System::played().await;
    let first = talked(&deployment, "one").await;
    let second = talked(&deployment, "two").await;
    let (status, timeline) = deployment.get(&format!("/api/audit/runs/{first}")).await;
    assert_eq!(status, 200, "{timeline}");
    assert_eq!(kinds(&timeline), ["created", "claimed", "asked", "answered", "said", "ended"]);
    let answered = &timeline["events"][3];
    assert_eq!((&answered["text"], &answered["run"]), (&json!("one"), &json!(first.to_string())));
    assert_eq!(timeline["events"][4]["message"]["content"]["body"], "=1+1 one");
    assert_eq!(timeline["run"]["state"], "ended");
    assert_eq!(timeline["run"]["worker"], timeline["events"][1]["worker"]);

    let ids = |list: &Value| -> Vec<String> {
        list["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = deployment.get("/api/audit/runs?workflow=echo&state=completed").await;
    assert_eq!(ids(&all).len(), 2, "{all}");
    assert_eq!(all["next"], Value::Null);
    let (_, page) = deployment.get("/api/audit/runs?limit=1").await;
    let next = page["next"].as_str().unwrap();
    let (_, rest) = deployment.get(&format!("/api/audit/runs?limit=1&cursor={next}")).await;
    let mut both = [ids(&page), ids(&rest)].concat();
    both.sort();
    let mut expected = [first.to_string(), second.to_string()];
    expected.sort();
    assert_eq!((both, &rest["next"]), (expected.to_vec(), &Value::Null));
    let (_, found) = deployment.get("/api/audit/runs?q=TWO").await;
    assert_eq!(ids(&found), [second.to_string()]);
    assert_eq!(deployment.get("/api/audit/runs?state=odd").await.1["error"]["code"], "invalid_query");
    assert_eq!(deployment.get("/api/audit/runs?cursor=odd").await.1["error"]["code"], "invalid_query");
    assert_eq!(deployment.get(&format!("/api/audit/runs/{}", "0".repeat(32))).await.0, 404);

    let export = |query: &str| {
        let call = deployment
            .http
            .get(format!("{}/api/audit/export?{query}", deployment.url))
            .bearer_auth(deployment.admin.token());
        async move {
            let answer = call.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.text().await.unwrap()
        }
    };
    let lines = export("format=jsonl").await;
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 12);
    assert!(events.iter().all(|event| event["workflow"] == "echo"), "{lines}");
    let csv = export("format=csv&q=two").await;
    assert_eq!(csv.lines().count(), 7, "{csv}");
    assert!(csv.contains(",\"'=1+1 two\","), "what looks like a formula is none: {csv}");
    // What is left of a removed run: what it was, who removed it and why, and no word that was said in it.
    let titled = deployment.call("PATCH", &format!("/api/runs/{second}"), Some(json!({"title": "two titles"}))).await;
    assert_eq!(titled.0, 200);
    let (_, renamed) = deployment.get(&format!("/api/audit/runs/{second}")).await;
    let last = renamed["events"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["kind"], &last["to"], &last["seq"]), (&json!("renamed"), &json!("two titles"), &Value::Null));
    let odd = format!("/api/runs/{second}?reason=a%0Ab");
    assert_eq!(deployment.call("DELETE", &odd, None).await.1["error"]["code"], "invalid_query");
    let delete = format!("/api/runs/{second}?reason=a%20mistake");
    assert_eq!(deployment.call("DELETE", &delete, None).await.0, 204);
    let (_, gone) = deployment.get(&format!("/api/audit/runs/{second}")).await;
    assert_eq!(
        (kinds(&gone), &gone["run"]["state"], &gone["run"]["workflow"], &gone["run"]["outcome"]),
        (vec!["removed"], &json!("ended"), &json!("echo"), &json!("completed"))
    );
    assert_eq!(gone["events"][0]["reason"], "a mistake");
    assert!(gone["events"][0]["created_at"].is_string() && gone["events"][0]["usage"].is_object(), "{gone}");
    assert!(!gone.to_string().contains("two"), "{gone}");
    for query in ["workflow=echo", "state=removed"] {
        let (_, all) = deployment.get(&format!("/api/audit/runs?{query}")).await;
        let line = all["runs"].as_array().unwrap().iter().find(|run| run["id"] == second.to_string()).unwrap();
        assert_eq!((&line["removed"]["reason"], &line["outcome"]), (&json!("a mistake"), &json!("completed")));
    }
    assert!(export("format=csv").await.contains("a mistake"));
    assert!(export("format=jsonl&workflow=echo").await.contains("a mistake"));
    let (_, own) = deployment.get("/api/runs").await;
    assert_eq!(ids(&own), [first.to_string()], "people's own lists do not show it");
    let (_, overview) = deployment.get("/api/overview").await;
    assert_eq!((&overview["runs"]["ended"], &overview["costs"]["by_workflow"][0]["runs"]), (&json!(1), &json!(2)));
    deployment.end().await;
}

/// A field is known by its name in a record only; in a title there is but its value.
#[tokio::test]
async fn a_title_that_was_made_of_a_form_does_not_show_what_is_redacted() {
    let redactor = fastagency::redact::Redactor::new(&["iban".to_owned()], Vec::new());
    let deployment = System::played_with(|_| {}, |settings| settings.redactor = redactor).await;
    let run = deployment.started("echo").await;
    let mut player = Player::take(&deployment, run).await;
    let schema = json!({"type": "object", "properties": {"iban": {"type": "string"}, "name": {"type": "string"}}});
    let form = fastagency::message::FormQuestion {
        prompt: Some("Who?".into()),
        schema,
        can_decline: false,
        answerers: None,
        deadline: Default::default(),
    };
    let question = player.ask(fastagency::message::MessageContent::Form(form)).await;
    let value = json!({"iban": "DE02 1203 0000", "name": "Ann Other"});
    let path = format!("/api/runs/{run}/answers/{}", question.uuid);
    assert_eq!(deployment.post(&path, json!({"value": value})).await.0, 202);
    player.answered(&question).await;
    let (_, told) = deployment.get(&format!("/api/audit/runs/{run}")).await;
    assert_eq!(told["run"]["title"], "[redacted], Ann Other");
    assert!(!told.to_string().contains("DE02"), "{told}");
    let (_, told) = deployment.get(&format!("/api/runs/{run}")).await;
    assert_eq!(told["title"], "[redacted], Ann Other");
    deployment.end().await;
}

#[tokio::test]
async fn what_happens_is_told_while_it_happens() {
    let deployment = System::played().await;
    let url = format!("{}/api/audit/events?workflow=echo", deployment.url);
    let mut stream =
        deployment.http.get(url).bearer_auth(deployment.admin.token()).send().await.unwrap().bytes_stream();
    let run = talked(&deployment, "hello").await;
    deployment.started("boom").await;
    let mut text = String::new();
    let listen = async {
        while !text.contains("\"kind\":\"ended\"") {
            text.push_str(&String::from_utf8_lossy(&stream.next().await.unwrap().unwrap()));
        }
    };
    tokio::time::timeout(PATIENCE, listen).await.expect("the end is told");
    let events: Vec<Event> = text.split("\n\n").filter_map(Event::parse).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.data["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["created", "claimed", "asked", "answered", "said", "ended"]);
    assert!(events.iter().all(|event| event.data["run"] == run.to_string() && event.data["workflow"] == "echo"));
    deployment.end().await;
}

#[tokio::test]
async fn what_is_redacted_is_redacted_on_every_way() {
    let redactor = Redactor::new(&["PIN".to_owned()], vec![regex::Regex::new("s[e3]cret-[0-9]+").unwrap()]);
    let deployment = System::played_with(|_| {}, |settings| settings.redactor = redactor).await;
    let run = talked(&deployment, "my s3cret-42").await;
    for path in [
        format!("/api/audit/runs/{run}"),
        "/api/audit/runs".to_owned(),
        "/api/audit/export?format=jsonl".to_owned(),
        "/api/audit/export?format=csv".to_owned(),
    ] {
        let answer = deployment
            .http
            .get(format!("{}{path}", deployment.url))
            .bearer_auth(deployment.admin.token())
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(answer.contains("[redacted]"), "{path}: {answer}");
        assert!(!answer.contains("s3cret-42") && !answer.contains("1234"), "{path}: {answer}");
    }
    // Nobody finds the run by what is not shown.
    for (words, found) in [("s3cret-42", 0), ("my", 1)] {
        for list in ["runs?title", "runs?search", "audit/runs?title", "audit/runs?q"] {
            let (status, list) = deployment.call("GET", &format!("/api/{list}={words}"), None).await;
            assert_eq!((status, list["runs"].as_array().unwrap().len()), (200, found), "{words}: {list}");
        }
    }
    // A run that still asks, and one that was given a title: pages, lists, events, and FastAgency's socket. The played
    // worker knows nothing of redaction, as one whose configuration is older.
    let asking = deployment.started("echo").await;
    let mut player = Player::take(&deployment, asking).await;
    player.ask(text_input("is it s3cret-77?", false)).await;
    player.publish_summary().await;
    let titled = deployment.call("PATCH", &format!("/api/runs/{run}"), Some(json!({"title": "my s3cret-88"}))).await;
    assert_eq!(titled.1["title"], "my [redacted]");
    for path in [
        format!("/api/runs/{run}"),
        format!("/api/runs/{asking}"),
        format!("/api/runs/{run}/events"),
        format!("/api/runs/{asking}/events?follow=false"),
        "/api/runs".to_owned(),
        "/api/questions".to_owned(),
        "/api/overview".to_owned(),
        "/api/audit/runs".to_owned(),
    ] {
        let answer = deployment
            .http
            .get(format!("{}{path}", deployment.url))
            .bearer_auth(deployment.admin.token())
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(answer.contains("[redacted]") && !answer.contains("s3cret"), "{path}: {answer}");
    }
    let mut socket = deployment.socket().await;
    say(&mut socket, json!({"workflow_uuid": asking, "name": "echo", "params": {}}).to_string()).await;
    let mut heard = String::new();
    while !heard.contains("is it") {
        heard.push_str(&hear_json(&mut socket).await.to_string());
    }
    assert!(heard.contains("is it [redacted]?"), "{heard}");
    deployment.end().await;
}
