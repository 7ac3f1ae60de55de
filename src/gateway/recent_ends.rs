//! The ends of runs that a client of this gateway has been told of. A worker puts a run's line in the list down a moment after the
//! run has ended; who has heard of the end, and lists runs then, must not find it running.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::ids::RunId;
use crate::run::record::{LogEntry, RecordBody, RunOutcome};
use crate::run::summary::RunSummary;

/// Longer than a worker takes to put the line down.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// The most that are kept; with more, the lists are as late as the workers.
const MOST: usize = 10_000;

/// Those of the last seconds.
#[derive(Default)]
pub struct RecentEnds(Mutex<HashMap<RunId, RecentEnd>>);

struct RecentEnd {
    seq: u64,
    at: Timestamp,
    outcome: RunOutcome,
    reason: Option<String>,
    seen: Instant,
}

impl RecentEnds {
    /// A client is about to be sent this record.
    pub fn saw(&self, run: RunId, placed: &LogEntry) {
        let RecordBody::Ended(ended) = &placed.record.body else { return };
        let seen = Instant::now();
        let end =
            RecentEnd { seq: placed.seq, at: placed.at, outcome: ended.outcome, reason: ended.reason.clone(), seen };
        let mut ends = self.0.lock();
        if ends.len() >= MOST {
            ends.retain(|_, end| seen - end.seen < KEPT_FOR);
        }
        if ends.len() < MOST {
            ends.insert(run, end);
        }
    }

    /// Ends the lines of runs that are known to have ended.
    pub fn apply(&self, runs: &mut [RunSummary]) {
        let mut ends = self.0.lock();
        if ends.is_empty() {
            return;
        }
        let now = Instant::now();
        ends.retain(|_, end| now - end.seen < KEPT_FOR);
        for run in runs {
            if let Some(end) = ends.get(&run.id).filter(|end| end.seq > run.seq) {
                run.seq = end.seq;
                run.updated_at = end.at;
                run.end(end.outcome, end.reason.as_deref());
            }
        }
    }
}
