//! The logs of runs that were started here a moment ago, as they were heard. Who follows such a run, or answers its question, need not
//! read what this process knows.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::multiplexer::UpdateObserver;
use crate::broker::{RunUpdate, StoredRecord};
use crate::ids::RunId;

/// What all of them may hold, in bytes.
const MOST_HELD: usize = 8 << 20;
/// About what a record costs besides its payload, and a run besides its records.
const RECORD_OVERHEAD: usize = 64;
const RUN_OVERHEAD: usize = 160;
/// For how long a log is known after it began. What is redacted or removed later is known no longer than that.
const HELD_FOR: Duration = Duration::from_secs(300);

/// How long a record is waited for that the server has stored. It comes over the same connection as the word that it is stored, or from
/// another server of the cluster.
const COMES_WITHIN: Duration = Duration::from_millis(50);

/// The logs.
#[derive(Default)]
pub(super) struct RecentLogs(Mutex<HeldLogs>);

#[derive(Default)]
struct HeldLogs {
    logs: HashMap<RunId, RecentLog>,
    /// The oldest first. A run that is held no more may still be among them.
    order: VecDeque<(RunId, Instant)>,
    bytes: usize,
}

/// A log from its first record on, without a hole.
struct RecentLog {
    records: Vec<StoredRecord>,
    bytes: usize,
    /// The last record that this process has appended: what is older is not all that it knows.
    appended: u64,
    /// Those who wait for it.
    waiting: Vec<oneshot::Sender<()>>,
}

impl RecentLog {
    fn is_whole(&self) -> bool {
        self.records.last().is_some_and(|last| last.seq >= self.appended)
    }

    fn tell_waiting(&mut self) {
        if self.is_whole() {
            for waiting in self.waiting.drain(..) {
                let _ = waiting.send(());
            }
        }
    }
}

impl RecentLogs {
    /// The log of a run, as far as it was heard, if that is all of it up to a moment that has only just passed. A record that this
    /// process has appended is there.
    pub(super) fn get(&self, run: RunId) -> Option<Vec<StoredRecord>> {
        let mut held = self.0.lock();
        held.make_room(Instant::now());
        held.logs.get(&run).filter(|log| log.is_whole()).map(|log| log.records.clone())
    }

    /// The same; what this process has appended and not heard yet is waited for.
    pub(super) async fn get_soon(&self, run: RunId) -> Option<Vec<StoredRecord>> {
        let whole = {
            let mut held = self.0.lock();
            let log = held.logs.get_mut(&run)?;
            let (told, whole) = oneshot::channel();
            log.waiting.retain(|waiting| !waiting.is_closed());
            log.waiting.push(told);
            log.tell_waiting();
            whole
        };
        // It is given up when the run is forgotten.
        let is_late = tokio::time::timeout(COMES_WITHIN, whole).await.is_err();
        let mut held = self.0.lock();
        if is_late && held.logs.get(&run).is_some_and(|log| log.records.is_empty()) {
            // It will not come any more: nobody else is to wait for it.
            held.forget(run);
        }
        drop(held);
        self.get(run)
    }

    /// Takes note of the first record of a run, which this process has appended, and which it hears of.
    pub(super) fn created(&self, run: RunId, seq: u64) {
        let mut held = self.0.lock();
        match held.logs.get_mut(&run) {
            Some(log) => log.appended = log.appended.max(seq),
            None => held.hold(run, Vec::new(), seq, Instant::now()),
        }
    }

    /// Takes note of a record that this process has appended.
    pub(super) fn appended(&self, run: RunId, seq: u64) {
        if let Some(log) = self.0.lock().logs.get_mut(&run) {
            log.appended = log.appended.max(seq);
        }
    }
}

impl RecentLogs {
    /// Gives up what was heard of a run: it is removed, or heard in another way now.
    pub(super) fn forget(&self, run: RunId) {
        self.0.lock().forget(run);
    }
}

impl UpdateObserver<RunUpdate> for RecentLogs {
    fn saw(&self, run: RunId, update: &RunUpdate) {
        let mut held = self.0.lock();
        match update {
            RunUpdate::Delta(_) => {}
            RunUpdate::Gap => held.forget(run),
            RunUpdate::Record { stored, previous: 0 } => held.begin(run, stored, Instant::now()),
            RunUpdate::Record { stored, previous } => held.go_on(run, stored, *previous),
        }
    }

    fn missed(&self) {
        *self.0.lock() = HeldLogs::default();
    }
}

impl HeldLogs {
    fn begin(&mut self, run: RunId, stored: &StoredRecord, now: Instant) {
        let before = self.take(run);
        let record = own(stored);
        let (appended, waiting) = match before {
            Some(before) if before.records.is_empty() => (before.appended, before.waiting),
            _ => (0, Vec::new()),
        };
        self.hold(run, vec![record], appended, now);
        if let Some(log) = self.logs.get_mut(&run) {
            log.waiting = waiting;
            log.tell_waiting();
        }
    }

    fn hold(&mut self, run: RunId, records: Vec<StoredRecord>, appended: u64, now: Instant) {
        let bytes = RUN_OVERHEAD + records.iter().map(size).sum::<usize>();
        self.bytes += bytes;
        self.logs.insert(run, RecentLog { records, bytes, appended, waiting: Vec::new() });
        self.order.push_back((run, now));
        self.make_room(now);
    }

    fn go_on(&mut self, run: RunId, stored: &StoredRecord, previous: u64) {
        let Some(log) = self.logs.get_mut(&run) else { return };
        let last = log.records.last().map_or(0, |last| last.seq);
        if stored.seq <= last {
            return;
        }
        if previous != last {
            return self.forget(run);
        }
        let record = own(stored);
        let bytes = size(&record);
        log.bytes += bytes;
        log.records.push(record);
        log.tell_waiting();
        self.bytes += bytes;
        self.make_room(Instant::now());
    }

    fn forget(&mut self, run: RunId) {
        drop(self.take(run));
    }

    fn take(&mut self, run: RunId) -> Option<RecentLog> {
        let log = self.logs.remove(&run)?;
        self.bytes -= log.bytes;
        Some(log)
    }

    fn make_room(&mut self, now: Instant) {
        while let Some((run, begun)) = self.order.front().copied()
            && (self.bytes > MOST_HELD || now.duration_since(begun) > HELD_FOR || !self.logs.contains_key(&run))
        {
            self.order.pop_front();
            self.forget(run);
        }
    }
}

/// A record that does not hold on to all that came with it over the connection.
fn own(stored: &StoredRecord) -> StoredRecord {
    StoredRecord { payload: Bytes::copy_from_slice(&stored.payload), ..stored.clone() }
}

fn size(stored: &StoredRecord) -> usize {
    stored.payload.len() + RECORD_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn record(seq: u64, previous: u64, size: usize) -> RunUpdate {
        let stored = StoredRecord { seq, at: Timestamp::UNIX_EPOCH, payload: vec![0; size].into() };
        RunUpdate::Record { stored, previous }
    }

    fn places(logs: &RecentLogs, run: RunId) -> Option<Vec<u64>> {
        logs.get(run).map(|records| records.iter().map(|stored| stored.seq).collect())
    }

    #[test]
    fn a_log_is_known_from_its_first_record_on_and_only_without_a_hole() {
        let (logs, run, other) = (RecentLogs::default(), RunId::random(), RunId::random());
        logs.saw(other, &record(5, 4, 1));
        assert_eq!(places(&logs, other), None, "its beginning was not heard");
        for (seq, previous) in [(1, 0), (3, 1), (3, 1), (7, 3)] {
            logs.saw(run, &record(seq, previous, 1));
        }
        assert_eq!(places(&logs, run), Some(vec![1, 3, 7]));
        logs.saw(run, &RunUpdate::Delta("x".into()));
        logs.saw(run, &record(12, 9, 1));
        assert_eq!(places(&logs, run), None, "the record at 9 was not heard");
        logs.saw(run, &record(1, 0, 1));
        logs.missed();
        assert_eq!(places(&logs, run), None);
        assert_eq!(logs.0.lock().bytes, 0);
    }

    #[test]
    fn what_this_process_has_appended_is_there_or_nothing_is() {
        let (logs, run) = (RecentLogs::default(), RunId::random());
        logs.saw(run, &record(1, 0, 1));
        logs.appended(run, 4);
        assert_eq!(places(&logs, run), None);
        logs.saw(run, &record(4, 1, 1));
        assert_eq!(places(&logs, run), Some(vec![1, 4]));
    }

    #[tokio::test]
    async fn the_first_record_of_a_run_that_was_started_here_is_waited_for() {
        let (logs, run, other) = (RecentLogs::default(), RunId::random(), RunId::random());
        logs.created(run, 3);
        assert_eq!(places(&logs, run), None, "it was not heard yet");
        let soon = async {
            tokio::task::yield_now().await;
            logs.saw(run, &record(3, 0, 1));
        };
        let (heard, ()) = tokio::join!(logs.get_soon(run), soon);
        assert_eq!(heard.map(|records| records.len()), Some(1));
        // Heard before it was known to be stored.
        logs.saw(other, &record(4, 0, 1));
        logs.created(other, 4);
        assert_eq!(places(&logs, other), Some(vec![4]));
        let unheard = RunId::random();
        logs.created(unheard, 5);
        assert!(logs.get_soon(unheard).await.is_none(), "it is waited for a moment only");
        let gone = async {
            tokio::task::yield_now().await;
            logs.missed();
        };
        assert!(tokio::join!(logs.get_soon(unheard), gone).0.is_none());
        assert!(logs.get_soon(RunId::random()).await.is_none());
    }

    #[test]
    fn the_oldest_make_room_and_a_log_that_is_larger_than_all_is_not_held() {
        let logs = RecentLogs::default();
        let runs: Vec<RunId> = (0..4).map(|_| RunId::random()).collect();
        for run in &runs {
            logs.saw(*run, &record(1, 0, MOST_HELD / 3));
        }
        let held = runs.iter().map(|run| places(&logs, *run).is_some()).collect::<Vec<_>>();
        assert_eq!(held, [false, false, true, true]);
        logs.saw(runs[3], &record(2, 1, MOST_HELD));
        assert!(runs.iter().all(|run| logs.get(*run).is_none()));
        assert!(logs.0.lock().bytes == 0 && logs.0.lock().order.is_empty());
    }

    #[test]
    fn a_log_is_held_for_a_while_only() {
        let (mut held, run, now) = (HeldLogs::default(), RunId::random(), Instant::now());
        let RunUpdate::Record { stored, .. } = record(1, 0, 1) else { unreachable!() };
        held.begin(run, &stored, now);
        held.make_room(now + HELD_FOR);
        assert!(held.logs.contains_key(&run));
        held.make_room(now + HELD_FOR + Duration::from_secs(1));
        assert!(held.logs.is_empty() && held.bytes == 0);
    }
}
