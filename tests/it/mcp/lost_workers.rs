//! Calls of real servers in real workers over NATS, one of which is killed in the middle: what another worker goes on with, and what is
//! done a second time. The servers write down what they do.

use fastagency::ids::MessageId;
use fastagency::message::MessageContent;
use fastagency::run::record::{LogEntry, RecordBody};

use super::connections::is_running;
use super::*;
use crate::support::deployment::{Deployment, claims};
use crate::support::nats_server::NatsServer;

const SHOP: &str = r#"
version: 1
name: shop
tools:
  docs: { mcp: docs, MORE }
steps:
  - id: it
    call: { tool: docs.TOOL, args: ARGS }
    on_error: { value: "{{ error.kind }}: {{ error.message }}" }
  - return: "{{ steps.it }}"
"#;

/// A deployment with the workflow, and with the server `docs` as it is said here.
async fn deployment(test: &str, docs: &str, workflow: &str) -> Option<Deployment> {
    let nats = NatsServer::start(test)?;
    let settings = format!("outgoing: {{ allow_private: [127.0.0.1] }}\nmcp: {{ docs: {docs} }}\n");
    Some(Deployment::over(nats).settings(&settings).workflow(workflow).start().await)
}

/// The forms that a run has asked people to fill in.
fn forms(log: &[LogEntry]) -> Vec<MessageId> {
    let form = |placed: &LogEntry| match &placed.record.body {
        RecordBody::Said { message, .. } if matches!(message.says, MessageContent::Form(_)) => Some(message.uuid),
        _ => None,
    };
    log.iter().filter_map(form).collect()
}

async fn form(deployment: &Deployment, run: &str) -> MessageId {
    eventually("the run asks", async || {
        let log = deployment.log(run).await;
        forms(&log).first().copied().ok_or(log)
    })
    .await
}

async fn fill_in(deployment: &Deployment, run: &str, form: MessageId, value: Value) {
    let path = format!("/api/runs/{run}/answers/{form}");
    let (status, told) = deployment.gateways().call("POST", &path, None, Some(&json!({"value": value}))).await;
    assert_eq!(status, 202, "{told}");
}

/// Waits for the end; gives the log and the result.
async fn result(deployment: &Deployment, run: &str) -> (Vec<LogEntry>, String) {
    let log = deployment.ended(run).await;
    let Some(RecordBody::Ended(end)) = log.last().map(|last| &last.record.body) else { panic!("{log:#?}") };
    let result = end.result.as_str().expect("a text").to_owned();
    (log, result)
}

/// How often a server has done something, and the processes that have.
fn noted(notes: &Path, what: &str) -> Vec<String> {
    let notes = std::fs::read_to_string(notes).unwrap_or_default();
    let of = |line: &str| line.strip_prefix(what)?.strip_prefix(' ').map(str::to_owned);
    notes.lines().filter_map(of).collect()
}

/// 2026-07-28 over HTTP: what the server wants to see again is in the log, so any worker gives it the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_was_a_result_outlives_a_killed_worker() {
    const TEST: &str = "a_question_that_was_a_result_outlives_a_killed_worker";
    for is_answered_alone in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        let Some(served) = Peer::Python2.served_with(TEST, &[("MCP_NOTES", &notes)]).await else { return };
        let docs = format!("{{ url: 'http://127.0.0.1:{}/mcp' }}", served.port);
        let workflow = SHOP.replace("MORE", "only: [order]").replace("TOOL", "order").replace("ARGS", "{ item: pen }");
        let Some(deployment) = deployment(TEST, &docs, &workflow).await else { return };
        let mut first = deployment.worker("first").await;
        let run = deployment.gateways().start("shop", json!({}), "the run").await;
        let asked = form(&deployment, &run).await;
        assert_eq!((noted(&notes, "asked").len(), noted(&notes, "ordered").len()), (1, 0));
        let _second = match is_answered_alone {
            // While no worker is there.
            true => {
                first.kill();
                fill_in(&deployment, &run, asked, json!({"size": 7, "gift": true})).await;
                deployment.worker("second").await
            }
            false => {
                let second = deployment.worker("second").await;
                first.kill();
                fill_in(&deployment, &run, asked, json!({"size": 7, "gift": true})).await;
                second
            }
        };
        let (log, result) = result(&deployment, &run).await;
        assert_eq!(result, "pen in size 7");
        assert_eq!((claims(&log).len(), forms(&log).len()), (2, 1), "{log:#?}");
        assert_eq!(noted(&notes, "ordered").len(), 1);
    }
}

/// 2025-11-25 over standard input: the server ends with its worker, and the call with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_on_a_connection_is_cut_off_by_a_killed_worker_and_asked_again_only_where_it_says_so() {
    const TEST: &str = "a_question_on_a_connection_is_cut_off_by_a_killed_worker";
    let lost = "lost: the MCP server docs asked on a connection that is gone, so nobody knows what became of the call";
    for (more, expected, calls, orders) in
        [("only: [order]", lost, 1, 0), ("only: [order], idempotent: true", "pen in size 7", 2, 1)]
    {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        let Some(words) = Peer::Python1.words(TEST, "stdio") else { return };
        let docs = json!({"command": words, "env": {"MCP_NOTES": notes}}).to_string();
        let workflow = SHOP.replace("MORE", more).replace("TOOL", "order").replace("ARGS", "{ item: pen }");
        let Some(deployment) = deployment(TEST, &docs, &workflow).await else { return };
        let mut first = deployment.worker("first").await;
        let run = deployment.gateways().start("shop", json!({}), "the run").await;
        let asked = form(&deployment, &run).await;
        let server = noted(&notes, "begun").pop().expect("it was called");
        let _second = deployment.worker("second").await;
        first.kill();
        eventually("the server has ended with its worker", async || !is_running(&server)).await;
        fill_in(&deployment, &run, asked, json!({"size": 7, "gift": true})).await;
        let (log, result) = result(&deployment, &run).await;
        assert_eq!(result, expected, "{more}");
        assert_eq!((claims(&log).len(), forms(&log).len()), (2, 1), "nobody is asked twice: {log:#?}");
        assert_eq!((noted(&notes, "begun").len(), noted(&notes, "ordered").len()), (calls, orders), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_looked_at_by_another_worker_and_not_begun_again() {
    const TEST: &str = "a_task_is_looked_at_by_another_worker_and_not_begun_again";
    let folder = tempfile::tempdir().unwrap();
    let (notes, oven) = (folder.path().join("notes"), folder.path().join("done"));
    let variables: [(&str, &Path); 2] = [("MCP_NOTES", &notes), ("MCP_OVEN", &oven)];
    let Some(served) = Peer::Python2.served_with(TEST, &variables).await else { return };
    let docs = format!("{{ url: 'http://127.0.0.1:{}/mcp' }}", served.port);
    let workflow = SHOP.replace("MORE", "only: [bake]").replace("TOOL", "bake").replace("ARGS", "{ cake: plum }");
    let Some(deployment) = deployment(TEST, &docs, &workflow).await else { return };
    let mut first = deployment.worker("first").await;
    let run = deployment.gateways().start("shop", json!({}), "the run").await;
    let looks = || noted(&notes, "looked").len();
    eventually("the first worker looks at it", async || looks() >= 2).await;
    let log = deployment.log(&run).await;
    assert!(format!("{log:?}").contains("task-1"), "its id is in the log before the kill: {log:#?}");
    first.kill();
    let before = looks();
    let _second = deployment.worker("second").await;
    eventually("the second worker looks at it", async || looks() >= before + 2).await;
    std::fs::write(&oven, "").unwrap();
    let asked = form(&deployment, &run).await;
    fill_in(&deployment, &run, asked, json!({"brown": "dark"})).await;
    let (log, result) = result(&deployment, &run).await;
    assert_eq!(result, "a dark cake");
    assert_eq!((claims(&log).len(), forms(&log).len()), (2, 1), "{log:#?}");
    assert_eq!(noted(&notes, "begun").len(), 1, "one call in all");
}
