//! Setting right the lines in the lists of runs that say something else than the logs.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::TryStreamExt;

use super::stand::{ObservedRun, RunPhase, UNDER_WAY};
use crate::broker::{Broker, Bucket};
use crate::clock::{self, Timestamp};
use crate::ids::{RunId, UserId};
use crate::protocol::log::{LogEntry, RecordBody, RunCreation};
use crate::redact::Redactor;
use crate::run::summary::{self, RunSummary};
use crate::run::{Result, lists, look, redaction};

/// How long a line in the lists may be late.
const LINE_LATE: Duration = Duration::from_secs(5);

/// What came of setting lines right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CorrectedLines {
    /// How many said something else.
    pub(super) corrected: usize,
    /// Some may be on their way yet: they are to be looked at again.
    pub(super) some_left: bool,
}

/// Sets right the lines of runs whose log says something else, and takes away those of runs that are gone.
pub(super) async fn correct_lines(
    broker: &Broker,
    redactor: &Redactor,
    runs: &HashMap<RunId, ObservedRun>,
    now: Timestamp,
) -> Result<CorrectedLines> {
    let mut done = CorrectedLines::default();
    let mut shown: HashMap<RunId, u64> = HashMap::with_capacity(runs.len());
    let mut lines = lists::every(broker);
    while let Some(line) = lines.try_next().await? {
        let gone = runs.get(&line.id).is_none_or(|met| met.stand == RunPhase::Removed);
        if gone && clock::until(line.updated_at, now) >= UNDER_WAY && is_gone(broker, line.id).await? {
            summary::remove_summary(broker, line.user.as_ref(), line.id).await?;
            done.corrected += 1;
        }
        shown.insert(line.id, line.seq);
    }
    for (run, met) in runs {
        let right = met.stand == RunPhase::Removed || shown.get(run).is_some_and(|seq| *seq >= met.seq);
        if right {
            continue;
        }
        if clock::until(met.at, now) < LINE_LATE {
            done.some_left = true;
            continue;
        }
        let records = look(broker, *run, 0).await?.records;
        if is_shown_wrong(broker, *run, &records).await? {
            redaction::summary_of(redactor, *run, &records).publish_summary(broker).await?;
            done.corrected += 1;
        }
    }
    Ok(done)
}

/// Whether a run that was not met on the scan is really not there: it may have been created meanwhile.
async fn is_gone(broker: &Broker, run: RunId) -> Result<bool> {
    let looked = look(broker, run, 0).await?;
    Ok(looked.is_empty()
        || looked.records.first().is_some_and(|first| matches!(first.record.body, RecordBody::Removed(_))))
}

/// Whether the line still says something else: its worker may have written it meanwhile.
async fn is_shown_wrong(broker: &Broker, run: RunId, records: &[LogEntry]) -> Result<bool> {
    let Some(RecordBody::Created(RunCreation { user, .. })) = records.first().map(|first| &first.record.body) else {
        return Ok(false);
    };
    let line = broker.catalogue.get(Bucket::Runs, &line_key(user.as_ref(), run)).await?;
    let shown = line.and_then(|line| crate::bounds::parse::<RunSummary>(&line).ok()).map_or(0, |line| line.seq);
    Ok(records.last().is_some_and(|last| last.seq > shown))
}

fn line_key(user: Option<&UserId>, run: RunId) -> String {
    RunSummary { user: user.cloned(), ..RunSummary::new(run) }.key()
}
