//! The logs of runs that were started here a moment ago, as they were heard. Who follows such a run, or answers its question, need not
//! read what this process knows.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

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
}

impl RecentLogs {
    /// The log of a run, as far as it was heard, if that is all of it up to a moment that has only just passed. A record that this
    /// process has appended is there.
    pub(super) fn get(&self, run: RunId) -> Option<Vec<StoredRecord>> {
        let mut held = self.0.lock();
        held.make_room(Instant::now());
        let log = held.logs.get(&run)?;
        log.records.last().is_some_and(|last| last.seq >= log.appended).then(|| log.records.clone())
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
        self.forget(run);
        let record = own(stored);
        let bytes = RUN_OVERHEAD + size(&record);
        self.bytes += bytes;
        self.logs.insert(run, RecentLog { records: vec![record], bytes, appended: 0 });
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
        self.bytes += bytes;
        self.make_room(Instant::now());
    }

    fn forget(&mut self, run: RunId) {
        if let Some(log) = self.logs.remove(&run) {
            self.bytes -= log.bytes;
        }
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
