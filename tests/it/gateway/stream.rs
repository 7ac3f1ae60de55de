//! Server-sent events: what a client sees is what the log holds, from wherever it resumes.

use std::time::Duration;

use fastagency::ids::Name;
use fastagency::protocol::queue_name::QueueName;
use fastagency::run::attach::TextDelta;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::player::{Player, message, text_input};
use crate::support::client::run_id;
use crate::support::eventually::{PATIENCE, eventually, soon};
use crate::support::http::Event;
use crate::support::system::System;

fn names(events: &[Event]) -> Vec<String> {
    let kind = |event: &Event| event.data["kind"].as_str().map(str::to_owned);
    events.iter().map(|event| kind(event).unwrap_or_else(|| event.name.clone())).collect()
}

#[tokio::test]
async fn a_client_that_resumes_anywhere_misses_nothing_and_sees_nothing_twice() {
    let deployment = System::played().await;
    let run = deployment.started("echo").await;
    let mut player = Player::take(&deployment, run).await;
    player.say_text("A **triangle**.").await;
    let question = player.ask(text_input("well?", false)).await;

    let history = deployment.events(run, "?follow=false").await;
    assert_eq!(names(&history), ["created", "claimed", "said", "said", "caught_up"]);
    assert_eq!(history[2].data["message"]["html"], "<p>A <strong>triangle</strong>.</p>\n");
    assert_eq!(history[1].data["message"]["type"], "workflow_started");
    assert_eq!(history[4].data["seq"], json!(history[3].id));

    // Connected before the rest happens, to its end.
    let (http, url) = (deployment.http.clone(), deployment.url.clone());
    let after = history[2].id.unwrap();
    let following = tokio::spawn(async move {
        let call = http.get(format!("{url}/api/runs/{run}/events?after=1")).header("Last-Event-ID", after.to_string());
        call.send().await.unwrap().text().await.unwrap()
    });
    let answers = format!("/api/runs/{run}/answers/{}", question.uuid);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(deployment.post(&answers, json!({"value": "so"})).await.0, 202);
    player.answered(&question).await;
    player.end(json!({"a": 1})).await;
    let text = tokio::time::timeout(PATIENCE, following).await.expect("it ends by itself").unwrap();
    let live: Vec<Event> = text.split("\n\n").filter_map(Event::parse).collect();
    let without_mark: Vec<Event> = live.iter().filter(|event| event.name == "record").cloned().collect();
    assert_eq!(names(&without_mark), ["said", "answered", "ended"]);
    assert_eq!(live.iter().filter(|event| event.name == "caught_up").count(), 1);
    assert_eq!(without_mark[1].data["text"], "so");
    assert_eq!(without_mark[2].data["result"], json!({"a": 1}));

    let all: Vec<Event> = deployment.events(run, "").await.into_iter().filter(|event| event.name == "record").collect();
    assert_eq!(names(&all), ["created", "claimed", "said", "said", "answered", "ended"]);
    for (index, event) in all.iter().enumerate() {
        let rest = deployment.events(run, &format!("?after={}", event.id.unwrap())).await;
        let rest: Vec<Event> = rest.into_iter().filter(|event| event.name == "record").collect();
        assert_eq!(rest, all[index + 1..]);
    }
    deployment.end().await;
}

#[tokio::test]
async fn records_that_were_stored_as_one_have_one_place_and_only_behind_the_last_is_gone_on() {
    let source = "version: 1\nname: echo\nsteps:\n  - { id: word, text_input: { prompt: well? } }\n  - return: \"{{ steps.word }}\"\n";
    let deployment = System::in_own_folder().gateway(|_| {}).worker(source).start().await;
    let run = eventually("the workflow is known", async || {
        let (status, run) = deployment.post("/api/runs", json!({"workflow": "echo"})).await;
        (status == 201).then(|| run_id(&run))
    })
    .await;
    let question = eventually("it asks", async || {
        let history = deployment.events(run, "?follow=false").await;
        let asked = history.into_iter().find(|event| event.data["message"]["type"] == "text_input")?;
        Some(asked.data["message"]["uuid"].as_str()?.to_owned())
    })
    .await;
    assert_eq!(deployment.post(&format!("/api/runs/{run}/answers/{question}"), json!({"value": "so"})).await.0, 202);
    let records = |events: Vec<Event>| events.into_iter().filter(|event| event.name == "record").collect::<Vec<_>>();
    let all = records(deployment.events(run, "").await);
    assert_eq!(names(&all), ["created", "claimed", "said", "answered", "ended"]);
    let places: Vec<_> =
        all.iter().map(|event| (event.data["seq"].as_u64(), event.data["step"].as_u64(), event.id)).collect();
    let [first, second, third] = [0, 2, 4].map(|index| places[index].0);
    let wanted = [
        (first, None, first),
        (second, Some(1), None),
        (second, None, second),
        (third, Some(1), None),
        (third, None, third),
    ];
    assert_eq!(places, wanted);
    for (index, event) in all.iter().enumerate().filter(|(_, event)| event.id.is_some()) {
        let rest = records(deployment.events(run, &format!("?after={}", event.id.unwrap())).await);
        assert_eq!(rest, all[index + 1..]);
    }
    deployment.end().await;
}

/// Reads a stream of events until one of that name.
async fn until(
    stream: &mut (impl futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    name: &str,
) -> Value {
    let mut text = String::new();
    loop {
        let piece = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an event").expect("no end").unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
        let found = text.split("\n\n").filter_map(Event::parse).find(|event| event.name == name);
        if let Some(event) = found {
            return event.data;
        }
    }
}

#[tokio::test]
async fn deltas_pass_and_a_gateway_that_goes_says_where_to_go_on() {
    let deployment = System::played_with(|_| {}, |settings| settings.keep_alive = Duration::from_millis(50)).await;
    let run = deployment.started("echo").await;
    let mut player = Player::take(&deployment, run).await;
    let last = player.say_text("hi").await;
    let answer = deployment.http.get(format!("{}/api/runs/{run}/events", deployment.url)).send().await.unwrap();
    let mut stream = answer.bytes_stream();
    until(&mut stream, "caught_up").await;
    let delta = TextDelta {
        message: message(text_input("", false)).uuid,
        attempt: 1,
        offset: 3,
        text: "a\nb".into(),
        sender: Some("Teacher".into()),
        recipient: None,
        within: Vec::new(),
    };
    deployment.broker.log.publish_delta(run, serde_json::to_vec(&delta).unwrap().into()).await.unwrap();
    assert_eq!(until(&mut stream, "delta").await["text"], "a\nb");
    // A silent stream is kept alive.
    let silence = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(silence, ": alive\n\n");
    deployment.shutdown.begin();
    assert_eq!(until(&mut stream, "goodbye").await, json!({"after": last}));
    assert!(stream.next().await.is_none());
    assert_eq!(deployment.end().await, fastagency::lifecycle::LifecycleEnd::Clean);
}

#[tokio::test]
async fn a_list_shows_a_run_as_ended_once_a_client_was_told_so() {
    const SHORT: &str = "version: 1\nname: short\nsteps:\n  - text_input: { prompt: Well? }\n  - return: done\n";
    let system = System::in_own_folder().gateway(|_| {}).worker(SHORT).start().await;
    let other = system.another(|_| {}).await;
    let found_at = async |url: &str, run: &str| {
        let call = system.http.get(format!("{url}/api/runs"));
        let listed: Value = call.send().await.unwrap().json().await.unwrap();
        let found = listed["runs"].as_array().unwrap().iter().find(|listed| listed["id"] == run).cloned();
        found.unwrap_or_default()
    };
    let listed = async |run: &str| found_at(&system.url, run).await;
    let audited = async |run: &str| {
        let call = system.http.get(format!("{}/api/audit/runs", system.url)).bearer_auth(system.admin.token());
        let listed: Value = call.send().await.unwrap().json().await.unwrap();
        listed["runs"].as_array().unwrap().iter().find(|listed| listed["id"] == run).cloned().unwrap_or_default()
    };
    eventually("the workflow is known", async || system.post("/api/runs", json!({"workflow": "short"})).await.0 == 201)
        .await;
    for _ in 0..10 {
        let (_, started) = system.post("/api/runs?wait=30", json!({"workflow": "short"})).await;
        let (id, question) = (started["id"].as_str().unwrap(), started["question"]["id"].as_str().unwrap());
        eventually("it is listed as waiting", async || listed(id).await["state"] == "waiting").await;
        let path = format!("/api/runs/{id}/answers/{question}");
        assert_eq!(system.post(&path, json!({"value": "yes"})).await.0, 202);
        let events = system.events(run_id(&started), "").await;
        assert!(names(&events).contains(&"ended".to_owned()), "{events:?}");
        let found = listed(id).await;
        assert_eq!((&found["state"], &found["outcome"]), (&json!("ended"), &json!("completed")), "{found}");
        let found = audited(id).await;
        assert_eq!((&found["state"], &found["outcome"]), (&json!("ended"), &json!("completed")), "{found}");
        // A gateway that nobody heard it from has it from the list, a moment later.
        eventually("the other gateway lists it as ended", async || found_at(&other.url, id).await["state"] == "ended")
            .await;
    }
    other.end().await;
    system.close().await;
}

#[tokio::test]
async fn a_job_that_its_worker_never_got_is_queued_again_soon() {
    let system = System::played().await;
    let queue = QueueName::Workflow(Name::parse("echo").unwrap());
    // Longer than anybody waits here: what is not acknowledged does not come again by itself.
    let mut jobs = system.broker.queue.take(&queue, 10 * PATIENCE).await.unwrap();
    let run = system.started("echo").await;
    let lost = soon(jobs.next()).await.unwrap().unwrap();
    let again = soon(jobs.next()).await.unwrap().unwrap();
    assert_eq!((lost.job().run, again.job().run), (run, run));
    again.ack().await.unwrap();
    lost.ack().await.unwrap();
    system.close().await;
}

#[tokio::test]
async fn several_runs_come_in_one_stream_each_from_its_own_place() {
    let deployment = System::played().await;
    let (one, two) = (deployment.started("echo").await, deployment.started("echo").await);
    let mut player_of_one = Player::take(&deployment, one).await;
    let mut player_of_two = Player::take(&deployment, two).await;
    let said = player_of_one.say_text("of the first").await;
    player_of_two.say_text("of the second").await;
    let unknown = "0".repeat(32);

    let (http, url) = (deployment.http.clone(), deployment.url.clone());
    let following = tokio::spawn(async move {
        let answer =
            http.get(format!("{url}/api/events?runs={one}:{said},{two},{unknown},{two}:7")).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        answer.text().await.unwrap()
    });
    player_of_two.end(json!("two")).await;
    player_of_one.say_text("once more").await;
    player_of_one.end(json!("one")).await;
    let text = tokio::time::timeout(PATIENCE, following).await.expect("it ends with the last run").unwrap();

    // What each run's own stream says, with the run before the place.
    let told = |run: &str| -> Vec<(String, String)> {
        let blocks = text.split("\n\n").filter(|block| !block.starts_with(':'));
        let named = blocks.filter_map(|block| block.split("\nid: ").nth(1)?.split_once('\n'));
        named
            .filter_map(|(id, data)| {
                let (of, seq) = id.split_once(':').unwrap_or((id, ""));
                (of == run && !data.contains("\"delta\"")).then(|| (seq.to_owned(), data.to_owned()))
            })
            .collect()
    };
    for (run, query) in [(one, format!("?after={said}")), (two, String::new())] {
        let records = told(&run.to_string()).into_iter().filter(|(seq, _)| !seq.is_empty());
        let records: Vec<(u64, Value)> = records
            .map(|(seq, data)| (seq.parse().unwrap(), serde_json::from_str(data.trim_start_matches("data: ")).unwrap()))
            .collect();
        let own = deployment.events(run, &query).await.into_iter().filter(|event| event.name == "record");
        assert_eq!(records, own.map(|event| (event.id.unwrap(), event.data)).collect::<Vec<_>>());
        assert_eq!(told(&run.to_string()).iter().filter(|(seq, _)| seq.is_empty()).count(), 1, "caught_up: {text}");
    }
    let refused = told(&"0".repeat(32));
    assert!(matches!(&refused[..], [(seq, data)] if seq.is_empty() && data.contains("unknown_run")), "{refused:?}");
    deployment.end().await;
}

#[tokio::test]
async fn a_stream_of_several_runs_says_what_it_cannot_follow() {
    let deployment = System::played().await;
    for (query, code, words) in [
        ("", "invalid_query", "it names nothing to follow"),
        ("?runs=", "invalid_query", "it names nothing to follow"),
        ("?runs=x", "invalid_query", "number 1 is no id of a run"),
        ("?audit=maybe", "invalid_query", "the query does not fit"),
        ("?audit=true", "admin_link_required", "the audit needs the admin link"),
    ] {
        let (status, answer) = deployment.get(&format!("/api/events{query}")).await;
        assert_eq!(answer["error"]["code"], code, "{query}: {status} {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{query}: {answer}");
    }
    deployment.end().await;
}
