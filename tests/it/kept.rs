//! Data folders of the embedded broker that earlier versions of the program have left, with runs that wait in every way: the
//! program of today takes such a folder, and each run in it ends as it would have. `tests/kept/<date>/` holds the project and
//! its data, as `scripts/keep-data.sh` made them; they are kept for ever.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use fastagency::broker::embedded;
use fastagency::ids::RunId;
use fastagency::run;
use fastagency::run::record::{LogEntry, RecordBody};
use serde_json::{Value, json};

use crate::support::deployment::OneProcess;
use crate::support::eventually::eventually;
use crate::support::http::Gateways;
use crate::support::project::Project;

/// What is answered to whom: the workflow, what its question begins with, the answer.
const ANSWERS: [(&str, &str, &str); 13] = [
    ("text", "Topic?", r#""triangles""#),
    ("choice", "Colour?", r#""green""#),
    ("password", "Password?", r#""hunter2""#),
    ("sealed", "Sure?", r#""yes""#),
    ("approval", "", r#"{"decision": "once"}"#),
    ("parent", "Level of squares?", r#""easy""#),
    ("child", "Level of circles?", r#""hard""#),
    ("detached", "And now?", r#""nothing""#),
    ("group", "Your reply", r#""And a circle?""#),
    ("handed", "Your reply", r#""And a square?""#),
    ("group", "Your reply", r#""Thank you.""#),
    ("at_once", "First?", r#""one""#),
    ("at_once", "Second?", r#""two""#),
];

/// What each run gives in the end.
const RESULTS: [(&str, &str); 15] = [
    ("approval", r#""It is paid. 7""#),
    ("at_once", r#""one and two""#),
    ("busy", r#""I have thought.""#),
    ("child", r#""circles, hard""#),
    ("choice", r#""green""#),
    ("deadline", r#""AAA-0""#),
    ("detached", r#""nothing""#),
    ("group", r#""Thank you.""#),
    ("handed", r#""A square has four.""#),
    ("over", r#""A triangle has three sides.""#),
    ("parent", r#""the child says squares, easy""#),
    ("password", "7"),
    ("sealed", r#""yes 7""#),
    ("text", r#""A triangle has three sides. triangles""#),
    ("timer", r#""awake""#),
];

/// The runs of a data folder, by their workflows, and their logs.
async fn logs(data: &Path) -> BTreeMap<String, (RunId, Vec<LogEntry>)> {
    let broker = embedded::open(data).expect("a store");
    let mut logs = BTreeMap::new();
    for summary in fastagency::audit::every_run(&broker).await.expect("all runs") {
        let run = summary.id;
        let log = run::read(&broker, run, 0).await.expect("a log");
        let RecordBody::Created(created) = &log[0].record.body else { panic!("{log:#?}") };
        logs.insert(created.workflow.to_string(), (run, log));
    }
    logs
}

/// The records as they are stored.
fn texts(log: &[LogEntry]) -> Vec<String> {
    log.iter().map(|entry| serde_json::to_string(&entry.record).expect("JSON")).collect()
}

/// What the question of a run for an approval names the call with.
async fn digest(gateways: &Gateways, run: &str) -> Value {
    let asked = gateways.history(run).await.into_iter().find(|event| event.data["message"]["type"] == "approval");
    asked.expect("a question").data["message"]["content"]["digest"].clone()
}

/// Whether the logs are proven to be as they were written.
async fn verify(project: &Project, name: &str) {
    let mut verify = project.start(name, &["audit", "verify"]);
    assert_eq!(verify.ended().await.0, Some(0), "{}", verify.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_of_the_version_before_are_taken_up_and_every_run_ends() {
    let kept = Path::new("tests/kept/2026-11-26");
    let project = Project::copy_of(kept);
    let before = logs(&Project::copy_of(kept).path().join("data")).await;
    assert!(before.keys().eq(RESULTS.iter().map(|(workflow, _)| workflow)), "{:?}", before.keys());
    let ended = |log: &[LogEntry]| matches!(log.last().map(|last| &last.record.body), Some(RecordBody::Ended(_)));
    assert_eq!(before.values().filter(|(_, log)| ended(log)).count(), 1, "one was over");
    let workflow_of: HashMap<String, &str> =
        before.iter().map(|(workflow, (run, _))| (run.to_string(), workflow.as_str())).collect();
    verify(&project, "verified before").await;

    let (mut process, gateways) = OneProcess::start_in(&project).await;
    let (mut open, mut seen) = (ANSWERS.to_vec(), HashSet::new());
    while !open.is_empty() {
        let question = eventually("a question that was not answered", async || {
            let (_, listed) = gateways.call("GET", "/api/questions", None, None).await;
            let questions = listed["questions"].as_array().expect("a list").clone();
            let is_meant = |question: &Value| {
                workflow_of[question["run"]["id"].as_str().unwrap()] != "deadline"
                    && !seen.contains(&question["id"].to_string())
            };
            questions.into_iter().find(is_meant).ok_or(listed)
        })
        .await;
        seen.insert(question["id"].to_string());
        let (run, prompt) = (question["run"]["id"].as_str().unwrap(), question["prompt"].as_str().unwrap_or_default());
        let workflow = workflow_of[run];
        let meant = |(of, begins, _): &(&str, &str, &str)| *of == workflow && prompt.starts_with(begins);
        let at = open.iter().position(meant).unwrap_or_else(|| panic!("{workflow} asks {question}"));
        let mut value: Value = serde_json::from_str(open.remove(at).2).expect("JSON");
        if workflow == "approval" {
            value["digest"] = digest(&gateways, run).await;
        }
        let path = format!("/api/runs/{run}/answers/{}", question["id"].as_str().unwrap());
        let (status, answer) = gateways.call("POST", &path, None, Some(&json!({"value": value}))).await;
        assert_eq!(status, 202, "{workflow}: {question}: {answer}");
    }
    for (workflow, result) in RESULTS {
        let run = &before[workflow].0;
        let shown = eventually(&format!("{workflow} ends"), async || {
            let (_, shown) = gateways.call("GET", &format!("/api/runs/{run}"), None, None).await;
            if shown["state"] == "ended" { Ok(shown) } else { Err(shown) }
        })
        .await;
        assert_eq!(shown["outcome"], "completed", "{shown}");
        let last = gateways.history(&run.to_string()).await.pop().expect("a history").data;
        assert_eq!(last["result"], serde_json::from_str::<Value>(result).unwrap(), "{workflow}: {last}");
    }
    assert_eq!(process.terminate().await.0, Some(0), "{}", process.log());
    verify(&project, "verified after").await;

    // What had happened is as it was, and nothing of it happened again.
    for (workflow, (run, after)) in logs(&project.path().join("data")).await {
        let (same, earlier) = &before[&workflow];
        assert_eq!((same, ended(&after)), (&run, true), "{workflow}");
        assert!(texts(&after).starts_with(&texts(earlier)), "{workflow}: {earlier:#?}\nis now {after:#?}");
        let done = after.iter().filter_map(|entry| match &entry.record.body {
            RecordBody::Said { key, .. } | RecordBody::Did { key, .. } => {
                Some((key.to_string(), matches!(entry.record.body, RecordBody::Did { .. })))
            }
            _ => None,
        });
        let done: Vec<_> = done.collect();
        assert_eq!(done.iter().collect::<HashSet<_>>().len(), done.len(), "{workflow} did something twice: {after:#?}");
    }
}
