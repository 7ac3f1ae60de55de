//! Backups of the embedded store, of a process that has stopped and of one that works, and what comes back from them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::deployment::{OneProcess, question};
use crate::support::eventually::eventually;
use crate::support::http::Gateways;

/// Clients that start one run after the other while a backup is made.
const STARTERS: usize = 4;
/// Runs that were acknowledged before it.
const BEFORE: usize = 60;

/// A process at work, a run of it that waits, and the question that it waits with.
async fn at_work() -> (OneProcess, String, String) {
    let process = OneProcess::start(Duration::from_millis(50)).await;
    let waiting = process.gateways.start("lesson", json!({}), "one that waits").await;
    let open = question(&process.gateways, &waiting).await;
    (process, waiting, open)
}

/// How the run ended.
async fn outcome(gateways: &Gateways, run: &str) -> Value {
    eventually("the run ends", async || {
        let last = gateways.history(run).await.pop().expect("a history").data;
        if last["kind"] == "ended" { Ok(last["outcome"].clone()) } else { Err(last) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_brings_back_every_run_and_open_question() {
    let (OneProcess { model: _model, project, mut process, gateways }, waiting, open) = at_work().await;
    // As after a crash: nothing was tidied up.
    process.kill();
    let mut backup = project.start("backup", &["backup", "copy"]);
    assert_eq!(backup.ended().await.0, Some(0), "{}", backup.log());
    let mut occupied = project.start("occupied", &["restore", "copy"]);
    assert_eq!(occupied.ended().await.0, Some(1));
    assert!(occupied.log().contains("there is a store in"), "{}", occupied.log());
    std::fs::remove_dir_all(project.path().join("data")).unwrap();
    let mut restore = project.start("restore", &["restore", "copy"]);
    assert_eq!(restore.ended().await.0, Some(0), "{}", restore.log());
    assert!(project.path().join("data/seal.key").is_file());
    process.start();
    process.says("page: http").await;
    assert!(gateways.answer(&waiting, &open, "triangles").await);
    assert_eq!(outcome(&gateways, &waiting).await, "completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_process_at_work_has_every_run_that_was_acknowledged() {
    let (OneProcess { model, project, process: mut original, gateways }, waiting, open) = at_work().await;
    let over = gateways.start("lesson", json!({}), "one that ends").await;
    let asked = question(&gateways, &over).await;
    assert!(gateways.answer(&over, &asked, "squares").await);
    assert_eq!(outcome(&gateways, &over).await, "completed");
    let told = gateways.history(&over).await;

    let started = Arc::new(Mutex::new(vec![waiting.clone(), over.clone()]));
    let starters: Vec<_> = (0..STARTERS)
        .map(|one| {
            let (gateways, started) = (gateways.clone(), started.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    let run = gateways.start("lesson", json!({}), &format!("{one} {number}")).await;
                    started.lock().unwrap().push(run);
                }
            })
        })
        .collect();
    let so_far = || started.lock().unwrap().clone();
    eventually("enough runs are there", async || so_far().len() >= BEFORE).await;
    let before = so_far();
    let mut backup = project.start("backup", &["backup", "copy"]);
    assert_eq!(backup.ended().await.0, Some(0), "{}", backup.log());
    // Nobody was kept from working by it.
    let after = so_far().len();
    assert!(after > before.len(), "{after}");
    eventually("another run starts", async || so_far().len() > after).await;
    starters.iter().for_each(tokio::task::JoinHandle::abort);
    original.kill();

    let elsewhere = OneProcess::project(&model);
    let copy = project.path().join("copy");
    let mut restore = elsewhere.start("restore", &["restore", copy.to_str().unwrap()]);
    assert_eq!(restore.ended().await.0, Some(0), "{}", restore.log());
    let mut verify = elsewhere.start("verify", &["audit", "verify"]);
    assert_eq!(verify.ended().await.0, Some(0), "{}", verify.log());
    let (mut again, gateways) = OneProcess::start_in(&elsewhere).await;
    for run in &before {
        let (status, found) = gateways.call("GET", &format!("/api/runs/{run}"), None, None).await;
        assert_eq!((status, found["id"].as_str()), (200, Some(run.as_str())), "{found}");
    }
    let ids = |events: &[crate::support::http::Event]| events.iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids(&gateways.history(&over).await), ids(&told));
    assert!(gateways.answer(&waiting, &open, "triangles").await);
    assert_eq!(outcome(&gateways, &waiting).await, "completed");
    // A run that nobody had taken, or whose worker is gone now, goes on, too.
    let last = before.last().unwrap();
    let asked = question(&gateways, last).await;
    assert!(gateways.answer(last, &asked, "circles").await);
    assert_eq!(outcome(&gateways, last).await, "completed");
    assert_eq!(again.terminate().await.0, Some(0), "{}", again.log());
}

/// How many backups are killed, each a little later than the one before.
const KILLED: u64 = 12;
const LATER: Duration = Duration::from_millis(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_is_whole_or_nothing_and_holds_nobody_up() {
    let (OneProcess { model, project, process: mut original, gateways }, waiting, open) = at_work().await;
    let mut cut_off = 0;
    for number in 0..KILLED {
        let name = format!("copy{number}");
        let mut backup = project.start(&name, &["backup", &name]);
        // Anywhere between its first step and its last.
        tokio::time::sleep(LATER * number as u32).await;
        backup.kill();
        let elsewhere = OneProcess::project(&model);
        let copy = project.path().join(&name);
        let mut restore = elsewhere.start("restore", &["restore", copy.to_str().unwrap()]);
        let code = restore.ended().await.0;
        if copy.join("store.sqlite").is_file() {
            assert_eq!(code, Some(0), "{}", restore.log());
            let mut verify = elsewhere.start("verify", &["audit", "verify"]);
            assert_eq!(verify.ended().await.0, Some(0), "{}", verify.log());
        } else {
            cut_off += 1;
            assert_eq!(code, Some(1), "{}", restore.log());
            assert!(restore.log().contains("there is no store in"), "{}", restore.log());
        }
        // The process at work has not noticed: it goes on writing its store.
        gateways.start("lesson", json!({}), &format!("after {number}")).await;
    }
    assert!(cut_off > 0, "no backup was killed before its end");
    // What the first of them left is no obstacle to another.
    let mut backup = project.start("backup", &["backup", "copy0"]);
    assert_eq!(backup.ended().await.0, Some(0), "{}", backup.log());
    assert!(gateways.answer(&waiting, &open, "triangles").await);
    assert_eq!(outcome(&gateways, &waiting).await, "completed");
    assert_eq!(original.terminate().await.0, Some(0), "{}", original.log());
}
