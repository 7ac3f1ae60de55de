//! Copies of the embedded store: whole at any moment, and never half.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastagency::broker::embedded::{self, BackupError, BackupInProgress};
use fastagency::broker::{Broker, RecordLane};
use fastagency::ids::RunId;

use super::SOON;
use crate::support::eventually::eventually_within;

/// Runs that are written to while copies are made.
const RUNS: usize = 8;
/// Copies, one after the other: they take longer than the time between two checkpoints.
const COPIES: usize = 20;
/// Large enough that copying takes its time, and so often that the store does not outgrow the test.
const PAYLOAD: usize = 8 * 1024;
const PACE: Duration = Duration::from_millis(4);

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    BackupInProgress::begin(from, to)?.finish()
}

/// What was acknowledged of each run.
type Acknowledged = Arc<Mutex<HashMap<RunId, Vec<u64>>>>;

async fn write(broker: Broker, run: RunId, acknowledged: Acknowledged) {
    let mut last = 0;
    loop {
        let payload = Bytes::from(vec![b'x'; PAYLOAD]);
        last = broker.log.append(run, RecordLane::Said, payload, last).await.unwrap();
        acknowledged.lock().unwrap().entry(run).or_default().push(last);
        tokio::time::sleep(PACE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_store_at_work_is_whole_and_has_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let broker = embedded::open(dir.path()).unwrap();
    let acknowledged = Acknowledged::default();
    let runs: Vec<RunId> = (0..RUNS).map(|_| RunId::random()).collect();
    let writers: Vec<_> =
        runs.iter().map(|run| tokio::spawn(write(broker.clone(), *run, acknowledged.clone()))).collect();
    for _ in 0..COPIES {
        let before = acknowledged.lock().unwrap().clone();
        let to = tempfile::tempdir().unwrap();
        let (from, there) = (dir.path().to_owned(), to.path().to_owned());
        tokio::task::spawn_blocking(move || copy(&from, &there)).await.unwrap().unwrap();
        let copied = embedded::open(to.path()).unwrap();
        for run in &runs {
            let found: Vec<u64> = copied.log.read(*run, 0).await.unwrap().iter().map(|stored| stored.seq).collect();
            let known = before.get(run).cloned().unwrap_or_default();
            assert!(found.starts_with(&known), "{found:?} lacks something of {known:?}");
        }
    }
    for writer in writers {
        writer.abort();
        let _ = writer.await;
    }
    // A process that ends amid a copy does not disturb it, nor does the next one.
    let to = tempfile::tempdir().unwrap();
    let copying = BackupInProgress::begin(dir.path(), to.path()).unwrap();
    drop(broker);
    let next = embedded::open(dir.path()).unwrap();
    let late = RunId::random();
    let seq = next.log.append(late, RecordLane::Did, "x".into(), 0).await.unwrap();
    copying.finish().unwrap();
    drop(next);
    let mut known = acknowledged.lock().unwrap().clone();
    known.insert(late, vec![seq]);
    for folder in [dir.path(), to.path()] {
        let opened = embedded::open(folder).unwrap();
        for (run, known) in &known {
            let found: Vec<u64> = opened.log.read(*run, 0).await.unwrap().iter().map(|stored| stored.seq).collect();
            assert!(found.starts_with(known), "{found:?} lacks something of {known:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_main_file_is_held_still_for_as_long_as_a_copy_takes() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = embedded::open(dir.path()).unwrap();
    let main_file = || std::fs::read(dir.path().join("store.sqlite")).unwrap();
    let acknowledged = Acknowledged::default();
    let writer = tokio::spawn(write(broker.clone(), RunId::random(), acknowledged.clone()));
    let before = main_file();
    eventually_within(SOON, "the store writes its main file", async || main_file() != before).await;

    let copying = BackupInProgress::begin(dir.path(), to.path()).unwrap();
    let held = main_file();
    let written = || acknowledged.lock().unwrap().values().map(Vec::len).sum::<usize>();
    // Longer than the store waits before it writes it.
    let from = written();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(written() > from, "nobody waits for the copy");
    assert!(main_file() == held, "the main file was written while it was copied");
    drop(copying);
    eventually_within(SOON, "a copy that was given up holds nobody up", async || main_file() != held).await;
    writer.abort();
}

#[tokio::test]
async fn half_a_copy_is_no_store_and_is_made_anew() {
    let (dir, to, third) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Err(BackupError::Nothing { .. }) = copy(dir.path(), to.path()) else { panic!("there is nothing to copy") };
    let run = RunId::random();
    let broker = embedded::open(dir.path()).unwrap();
    broker.log.append(run, RecordLane::Did, "x".into(), 0).await.unwrap();

    let begun = BackupInProgress::begin(dir.path(), to.path()).unwrap();
    assert!(!begun.replaces());
    let Err(BackupError::Open(embedded::StoreOpenError::InUse { .. })) = copy(dir.path(), to.path()) else {
        panic!("two copies in one folder")
    };
    // As if its process had been killed.
    drop(begun);
    let Err(BackupError::Nothing { .. }) = copy(to.path(), third.path()) else { panic!("half a copy was taken") };
    let again = BackupInProgress::begin(dir.path(), to.path()).unwrap();
    assert!(again.replaces());
    again.finish().unwrap();
    let mut files: Vec<_> = std::fs::read_dir(to.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["lock", "store.sqlite"]);
    copy(to.path(), third.path()).unwrap();
    let brought_back = embedded::open(third.path()).unwrap();
    assert_eq!(brought_back.log.read(run, 0).await.unwrap().len(), 1);
    let Err(BackupError::Occupied { .. }) = copy(dir.path(), to.path()) else { panic!("a store was replaced") };
}
