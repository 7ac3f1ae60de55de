//! The tiers as processes of their own around a real NATS server: it is not there yet, never comes, goes away and comes
//! back; and each tier ends when it is told to.

use std::time::Duration;

use fastagency::client::event::{Body, ClientEvent};
use fastagency::client::{GatewayClient, patiently};
use serde_json::{Map, json};
use tempfile::TempDir;

use crate::support::client::{client, hear_json, say, socket};
use crate::support::nats_server::NatsServer;
use crate::support::tier::Tier;

/// How long a call is tried again while the broker comes back.
const BACK: Duration = Duration::from_secs(30);

const ECHO: &str = r#"
version: 1
name: echo
steps:
  - id: said
    text_input: { prompt: "What shall I say?" }
  - return: "{{ steps.said }}"
"#;

/// A project with the workflow `echo`, for this server.
fn project(nats: &str, more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/echo.yaml"), ECHO).unwrap();
    let config = format!("version: 1\nname: tiers\nnats: {{ url: \"{nats}\"{more} }}\n");
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    folder
}

/// A worker and a gateway that are ready.
fn pair(folder: &TempDir) -> (Tier, Tier, String) {
    let mut worker = Tier::start(folder.path(), &["worker"]);
    let mut gateway = Tier::start(folder.path(), &["gateway", "--port", "0"]);
    let url = gateway.url("gateway");
    worker.says("worker ready");
    (worker, gateway, url)
}

#[tokio::test]
async fn a_server_that_comes_later_is_waited_for_by_every_tier() {
    let Some(mut server) = NatsServer::start("tiers::a_server_that_comes_later_is_waited_for_by_every_tier") else {
        return;
    };
    server.kill();
    let folder = project(&server.url(), "");
    let mut worker = Tier::start(folder.path(), &["worker"]);
    let mut gateway = Tier::start(folder.path(), &["gateway", "--port", "0"]);
    for tier in [&mut worker, &mut gateway] {
        let notice = tier.says("no NATS server can be reached yet");
        assert!(notice.contains(&server.url()), "{notice}");
    }
    server.start_again();
    let url = gateway.url("gateway");
    worker.says("worker ready");
    let client = GatewayClient::new(&url).unwrap();
    let run = client.start("echo", &Map::new(), "one").await.unwrap();
    assert_eq!(run.workflow.as_deref(), Some("echo"));
    assert!(worker.terminate().success() && gateway.terminate().success());
}

#[test]
fn a_server_that_never_comes_ends_every_tier_with_a_sentence() {
    let folder = project("nats://u:geheim@127.0.0.1:1", ", connect_wait: 1s");
    for arguments in [&["worker"][..], &["gateway", "--port", "0"]] {
        let mut tier = Tier::start(folder.path(), arguments);
        let said = tier.says("tried for 1 s");
        assert!(said.contains("no NATS server can be reached at nats://127.0.0.1:1"), "{said}");
        assert!(!tier.end().success());
        assert!(!tier.heard().concat().contains("geheim"), "{:#?}", tier.heard());
    }
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_costs_no_run_and_no_answer() {
    let Some(mut server) = NatsServer::start("tiers::a_server_that_goes_and_comes_back_costs_no_run_and_no_answer")
    else {
        return;
    };
    let folder = project(&server.url(), "");
    let (mut worker, mut gateway, url) = pair(&folder);
    let api = GatewayClient::new(&url).unwrap();
    // One run over REST and SSE, and one over FastAgency's socket; both wait for an answer.
    let run = api.start("echo", &Map::new(), "rest").await.unwrap().id;
    let mut follower = api.follow(run, 0);
    let question = loop {
        if let Body::Said { message } = next(&mut follower).await
            && message.says().asks()
        {
            break message.uuid;
        }
    };
    let mut talk = socket(&url).await;
    let uuid = fastagency::ids::RunId::random().dashed();
    say(&mut talk, json!({"name": "echo", "workflow_uuid": uuid, "params": {}}).to_string()).await;
    assert_eq!(hear_json(&mut talk).await["type"], "workflow_started");
    assert_eq!(hear_json(&mut talk).await["type"], "text_input");

    server.kill();
    gateway.says("the connection to NATS was lost");
    let http = client();
    let ready = http.get(format!("{url}/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503, "{}", ready.text().await.unwrap());
    let refused = api.answer(run, question, &json!("while it was away")).await.unwrap_err();
    assert_eq!(refused.code(), Some("broker_unavailable"), "{refused}");
    // The socket's client says it once, and it is kept until it can be stored.
    say(&mut talk, "said while it was away").await;

    server.start_again();
    patiently(BACK, async || api.answer(run, question, &json!("heard after all")).await).await.unwrap();
    let result = loop {
        if let Body::Ended(ended) = next(&mut follower).await {
            break ended.result;
        }
    };
    assert_eq!(result, json!("heard after all"));
    let completed = hear_json(&mut talk).await;
    assert_eq!(completed["type"], "workflow_completed", "{completed}");
    assert_eq!(completed["content"]["result"], "said while it was away");
    patiently(BACK, async || api.workflows().await).await.unwrap();
    assert!(worker.terminate().success() && gateway.terminate().success());
}

/// The next record that a follower sees.
async fn next(follower: &mut fastagency::client::follow::RunFollower) -> Body {
    let waiting = async {
        loop {
            if let ClientEvent::Record(record) =
                follower.next().await.expect("the run can be followed").expect("it goes on")
            {
                break record.body;
            }
        }
    };
    tokio::time::timeout(BACK, waiting).await.expect("something happens")
}

#[tokio::test]
async fn every_tier_ends_cleanly_when_it_is_told_to() {
    let Some(server) = NatsServer::start("tiers::every_tier_ends_cleanly_when_it_is_told_to") else { return };
    let folder = project(&server.url(), "");
    let (mut worker, mut gateway, url) = pair(&folder);
    let mut ui = Tier::start(folder.path(), &["ui", "--port", "0", "--gateway-url", &url]);
    let page = ui.url("page");
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0"]);
    all.url("page");
    // Each has something open: a socket of a run that waits, through the page's address.
    let mut talk = socket(&page).await;
    let uuid = fastagency::ids::RunId::random().dashed();
    say(&mut talk, json!({"name": "echo", "workflow_uuid": uuid, "params": {}}).to_string()).await;
    assert_eq!(hear_json(&mut talk).await["type"], "workflow_started");
    for (name, tier) in [("ui", &mut ui), ("gateway", &mut gateway), ("worker", &mut worker), ("all", &mut all)] {
        let status = tier.terminate();
        assert!(status.success(), "{name}: {status}, {:#?}", tier.heard());
    }
}
