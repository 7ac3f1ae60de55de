//! Real processes that are killed, stopped, cut off and asked to end, and runs that go on.

use std::time::Duration;

use fastagency::clock::{Clock, SystemClock, until};
use fastagency::run::record::{LogEntry, RecordBody};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::deployment::{Deployment, LEASE, OneProcess, claims, question};
use crate::support::eventually::{eventually, soon};
use crate::support::held_link::HeldLink;
use crate::support::nats_server::NatsServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_run_goes_on_elsewhere_within_the_lease_and_two_seconds() {
    let Some(deployment) = Deployment::of("crash::killed") else { return };
    let deployment = deployment.pace(Duration::from_millis(1500)).start().await;
    let mut first = deployment.worker("first").await;
    let run = deployment.answered().await;
    // The run is the first one's; the second comes in time to see it die, in the middle of the second reply.
    deployment.asked(1).await;
    let second = deployment.worker("second").await;
    deployment.asked(2).await;
    first.kill();
    let killed = SystemClock.now();
    let log = deployment.ended(&run).await;
    let claims = claims(&log);
    assert_eq!(claims.len(), 2, "{log:#?}");
    let lay = until(killed, claims[1].at);
    assert!(lay <= LEASE + Duration::from_secs(2), "it lay for {lay:?}");
    // The first reply was in the log; the second was cut off and asked for again.
    assert_eq!(deployment.effects(), ["one#0", "two#0", "two#0"]);
    drop(second);
}

/// A tool with effects of its own: it says something, asks a model, and says something again.
const TOOLS: &str = r#"
version: 1
name: lesson
agents:
  a: { system_message: You answer. }
tools:
  look_up:
    description: Looks up
    do:
      - message: begun
      - { id: found, agent: { agent: a, message: one } }
      - return: "{{ steps.found }}!"
steps:
  - text_input: { prompt: "What?" }
  - { id: two, call: { tool: look_up } }
  - return: "{{ steps.two }}"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_was_cut_off_by_a_kill_goes_on_where_it_was() {
    let Some(nats) = NatsServer::start("crash::tool") else { return };
    let deployment = Deployment::over(nats).pace(Duration::from_millis(700)).workflow(TOOLS).start().await;
    let mut first = deployment.worker("first").await;
    let run = deployment.answered().await;
    // Its call is in the log, what came of it is not.
    deployment.asked(1).await;
    let called =
        |log: &[LogEntry]| log.iter().filter(|one| matches!(one.record.body, RecordBody::Calling { .. })).count();
    assert_eq!(called(&deployment.log(&run).await), 1);
    let second = deployment.worker("second").await;
    first.kill();
    let log = deployment.ended(&run).await;
    assert_eq!(called(&log), 1, "{log:#?}");
    let said = |text: &str| log.iter().filter(|one| format!("{:?}", one.record.body).contains(text)).count();
    assert_eq!(said("\"begun\""), 1, "what it had said is not said again: {log:#?}");
    assert_eq!(deployment.effects().len(), 2, "only the reply that was cut off is asked for again");
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_is_stored_no_request_goes_ahead_and_a_kill_repeats_none() {
    let Some(nats) = NatsServer::start("crash::still") else { return };
    // The server itself is not stopped: when it went on it might write to the killed worker twice before it reads what that one has sent,
    // and then it closes the connection unread.
    let link = HeldLink::to(&nats.url()).await;
    let deployment = Deployment::over(nats).through(&link).pace(Duration::from_millis(300)).start().await;
    let mut first = deployment.worker("first").await;
    let run = deployment.answered().await;
    deployment.asked(1).await;
    link.hold();
    // The reply is here long before this, and on its way into the log.
    let second = tokio::time::timeout(Duration::from_secs(1), deployment.asked(2)).await;
    assert!(second.is_err(), "{:?}", deployment.effects());
    first.kill();
    link.release();
    let second = deployment.worker("second").await;
    let log = deployment.ended(&run).await;
    assert_eq!(deployment.effects(), ["one#0", "two#0"], "{log:#?}");
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_that_comes_back_has_lost_its_run_and_shows_nothing() {
    let Some(deployment) = Deployment::of("crash::stopped") else { return };
    let deployment = deployment.pace(Duration::from_millis(1500)).start().await;
    let first = deployment.worker("first").await;
    let run = deployment.answered().await;
    deployment.asked(1).await;
    let second = deployment.worker("second").await;
    first.signal("STOP");
    // The other has the run now, and its first reply is in the log.
    deployment.asked(3).await;
    first.signal("CONT");
    let log = deployment.ended(&run).await;
    eventually("it lets the run go", async || first.log().contains("the run was let go")).await;
    assert_eq!(claims(&log).len(), 2, "{log:#?}");
    assert_eq!(deployment.effects(), ["one#0", "one#0", "two#0"]);
    // What a client sees is one conversation.
    let said: Vec<Value> = deployment.gateways().history(&run).await.into_iter().map(|event| event.data).collect();
    let texts = said.iter().filter(|data| data["message"]["type"] == "text_message").count();
    assert_eq!(texts, 2, "{said:#?}");
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_for_long_costs_no_run_its_owner() {
    let Some(deployment) = Deployment::of("crash::away") else { return };
    let mut deployment = deployment.pace(Duration::from_secs(2)).start().await;
    let (first, second) = (deployment.worker("first").await, deployment.worker("second").await);
    let gateways = deployment.gateways();
    let waiting = gateways.start("lesson", json!({}), "one that waits").await;
    let open = question(&gateways, &waiting).await;
    let run = deployment.answered().await;
    deployment.asked(1).await;
    deployment.nats.kill();
    // All leases run out meanwhile; the model's reply comes and waits to be written down. AWAY_SECONDS=60 makes it a minute.
    let away = std::env::var("AWAY_SECONDS").ok().map(|seconds| seconds.parse().expect("a number"));
    tokio::time::sleep(away.map_or(LEASE * 2, Duration::from_secs)).await;
    let path = format!("/api/runs/{waiting}/answers/{open}");
    let (status, refused) =
        gateways.try_call(0, "POST", &path, None, Some(&json!({"value": "x"}))).await.expect("an answer");
    assert_eq!((status, refused["error"]["code"].as_str()), (503, Some("broker_unavailable")), "{refused}");
    let (status, answer) = deployment.gateways().try_call(0, "GET", "/readyz", None, None).await.expect("an answer");
    assert_eq!((status, answer["error"]["code"].as_str()), (503, Some("not_ready")), "{answer}");
    deployment.nats.start_again();
    let log = deployment.ended(&run).await;
    assert_eq!(claims(&log).len(), 1, "{log:#?}");
    assert_eq!(deployment.effects(), ["one#0", "two#0"]);
    eventually("the gateway is ready again", async || {
        deployment.gateways().try_call(0, "GET", "/readyz", None, None).await.expect("an answer").0 == 200
    })
    .await;
    for worker in [&first, &second] {
        let log = worker.log();
        assert!(log.contains("the connection to NATS was lost") && log.contains("there again"), "{log}");
    }
    assert!(gateways.answer(&waiting, &open, "squares").await);
    deployment.ended(&waiting).await;
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tier_drains_on_sigterm_and_a_rolling_restart_loses_nothing() {
    let Some(deployment) = Deployment::of("crash::drain") else { return };
    let mut deployment = deployment.pace(Duration::from_millis(600)).start().await;
    let mut first = deployment.worker("first").await;
    let gateways = deployment.gateways();
    let waiting = gateways.start("lesson", json!({}), "one that waits").await;
    let question = question(&gateways, &waiting).await;
    let busy = deployment.answered().await;
    deployment.asked(1).await;
    let mut second = deployment.worker("second").await;
    let (code, took) = first.terminate().await;
    assert_eq!(code, Some(0), "{}", first.log());
    assert!(took < Duration::from_secs(4), "{took:?}");
    // A client that listens is told where to go on.
    let (gateways_listened, listened) = (deployment.gateways(), waiting.clone());
    let (heard, mut listens) = tokio::sync::watch::channel(false);
    let listening = tokio::spawn(async move {
        let mut last = None;
        gateways_listened
            .follow(0, &listened, 0, |event| {
                heard.send_replace(event.name == "caught_up");
                last = Some(event);
                true
            })
            .await;
        last
    });
    soon(listens.wait_for(|listens| *listens)).await.expect("it has heard all that there is");
    let (code, took) = deployment.gateway.terminate().await;
    assert_eq!(code, Some(0), "{}", deployment.gateway.log());
    assert!(took < Duration::from_secs(4), "{took:?}");
    let goodbye = listening.await.unwrap().expect("something was heard");
    assert_eq!(goodbye.name, "goodbye", "{goodbye:?}");
    assert!(goodbye.data["after"].as_u64().is_some_and(|after| after > 0), "{goodbye:?}");
    deployment.gateway.start();
    deployment.gateway.says("gateway: http").await;
    assert!(gateways.answer(&waiting, &question, "squares").await);
    for run in [&busy, &waiting] {
        deployment.ended(run).await;
    }
    let (code, _) = second.terminate().await;
    assert_eq!(code, Some(0), "{}", second.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_in_one_process_goes_on_after_kill_9() {
    let OneProcess { model, project: _project, process: mut all, gateways } =
        OneProcess::start(Duration::from_millis(600)).await;
    let ended = gateways.start("lesson", json!({}), "one that ends").await;
    let asked = question(&gateways, &ended).await;
    assert!(gateways.answer(&ended, &asked, "a").await);
    let end_of = async |run: &str| {
        eventually("the run ends", async || {
            let mut last = Value::Null;
            gateways
                .follow(0, run, 0, |event| {
                    last = event.data;
                    last["kind"] != "ended"
                })
                .await;
            if last["kind"] == "ended" { Ok(last) } else { Err(last) }
        })
        .await
    };
    end_of(&ended).await;
    let waiting = gateways.start("lesson", json!({}), "one that waits").await;
    let open = question(&gateways, &waiting).await;
    let busy = gateways.start("lesson", json!({}), "one at work").await;
    let asked = question(&gateways, &busy).await;
    assert!(gateways.answer(&busy, &asked, "b").await);
    model.was_asked(4).await;
    let before = gateways.history(&ended).await;
    all.kill();
    all.start();
    all.says("page: http").await;
    let killed = Instant::now();
    // History, open questions and the run at work are there.
    let after = gateways.history(&ended).await;
    assert_eq!(
        before.iter().map(|event| event.id).collect::<Vec<_>>(),
        after.iter().map(|event| event.id).collect::<Vec<_>>()
    );
    assert_eq!(end_of(&busy).await["outcome"], "completed");
    assert!(killed.elapsed() < Duration::from_secs(4), "nobody else can have the runs of a killed process");
    let of_busy = model.asked().into_iter().filter(|asked| asked.run == busy).map(|asked| asked.effect);
    assert_eq!(of_busy.collect::<Vec<_>>(), ["one#0", "two#0", "two#0"]);
    assert!(gateways.answer(&waiting, &open, "c").await);
    assert_eq!(end_of(&waiting).await["outcome"], "completed");
}
