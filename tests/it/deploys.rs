//! Runs that outlive what they were started with: the workflow is changed, every worker is gone for a while, and whoever comes
//! next goes on with the run as it was begun.

use std::time::Duration;

use fastagency::ids::RunId;
use fastagency::run::answer::{AnswerAcceptance, AnswerPayload};
use fastagency::run::record::{RecordBody, RunOutcome};
use serde_json::json;

use crate::support::system::{System, count};

const BEFORE: &str = r#"
version: 1
name: lesson
steps:
  - id: topic
    text_input: { prompt: "Topic?" }
  - id: level
    text_input: { prompt: "Level of {{ steps.topic }}?" }
  - return: "{{ steps.topic }}, {{ steps.level }}"
"#;
/// The same name, and another story from its first step on.
const AFTER: &str = r#"
version: 1
name: lesson
steps:
  - message: "This lesson is new."
  - id: only
    text_input: { prompt: "Subject?" }
  - return: "new: {{ steps.only }}"
"#;

/// Nobody keeps a run in memory for longer.
const PARK_AFTER: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_run_goes_on_as_it_was_started_although_its_workflow_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(BEFORE).park_after(PARK_AFTER).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let topic = follower.question("Topic?").await;
    follower.until("parking", |body| matches!(body, RecordBody::Parked { .. }).then_some(())).await;
    drop(follower);
    deployment.close().await;

    // All workers are new ones, which know another workflow of that name.
    let deployment = System::at(folder.path()).worker(AFTER).park_after(PARK_AFTER).start().await;
    assert_eq!(deployment.answer(run, topic, AnswerPayload::Text("triangles".into())).await, AnswerAcceptance::Yes);
    let mut follower = deployment.follow(run).await;
    let level = follower.question("Level of triangles?").await;
    assert_eq!(deployment.answer(run, level, AnswerPayload::Text("easy".into())).await, AnswerAcceptance::Yes);
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("triangles, easy")));
    assert_eq!(count(&follower.seen, |body| matches!(body, RecordBody::Said { .. })), 2, "{:#?}", follower.seen);

    // What is started now is the new one.
    let new = RunId::random();
    deployment.start(new).await;
    let mut follower = deployment.follow(new).await;
    let subject = follower.question("Subject?").await;
    assert_eq!(deployment.answer(new, subject, AnswerPayload::Text("circles".into())).await, AnswerAcceptance::Yes);
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("new: circles")));
    deployment.close().await;
}

#[tokio::test]
async fn a_wait_is_over_in_time_although_no_worker_was_there() {
    let source = r#"
version: 1
name: nap
steps:
  - wait: 1s
  - return: awake
"#;
    let folder = tempfile::tempdir().unwrap();
    let run = RunId::random();
    let deployment = System::at(folder.path()).worker(source).park_after(PARK_AFTER).start().await;
    deployment.start(run).await;
    let mut follower = deployment.follow(run).await;
    let until = follower.until("parking", |body| match body {
        RecordBody::Parked { until } => Some(*until),
        _ => None,
    });
    let until = until.await.expect("a wait has an end");
    drop(follower);
    deployment.close().await;

    let deployment = System::at(folder.path()).worker(source).park_after(PARK_AFTER).start().await;
    let mut follower = deployment.follow(run).await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("awake")));
    let mut woken = follower.seen.iter().filter(|placed| matches!(placed.record.body, RecordBody::Claimed { .. }));
    assert!(
        woken.next_back().is_some_and(|claimed| claimed.at.as_millisecond() >= until.as_millisecond()),
        "{:#?}",
        follower.seen
    );
    deployment.close().await;
}
