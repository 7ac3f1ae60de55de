//! Removing runs when their time is over, at a pace that disturbs nobody.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::stand::{ObservedRun, RunPhase};
use crate::broker::{Broker, RemovalMethod};
use crate::clock::{self, Clock, SystemClock, Timestamp};
use crate::ids::RunId;
use crate::protocol::log::RunRemoval;
use crate::run::remove::remove;
use crate::run::{self, Result, lists};

/// Removals a second: so few where there is time, that clearing up after a busy day disturbs nobody, and never more than that.
const REMOVALS: f64 = 200.0;
const MOST_REMOVALS: f64 = 2000.0;
/// How long a removal may take on a busy machine; so many of them are under way at once that the pace is kept.
const REMOVAL: Duration = Duration::from_millis(100);
/// How long a scan may remove; what is left is for the next one.
const REMOVE_FOR: Duration = Duration::from_secs(60);

/// When and how runs are removed.
pub(super) struct RunRemovals {
    /// How long an ended run is kept.
    pub(super) keep_ended: Duration,
    /// How long it is kept what a removed run was.
    pub(super) keep_evidence: Duration,
    /// When the last scan came to what was to be removed, and how long that took.
    at: Option<Instant>,
    pub(super) took: Duration,
}

impl RunRemovals {
    /// Nothing was removed yet.
    pub(super) fn new(keep_ended: Duration, keep_evidence: Duration) -> Self {
        Self { keep_ended, keep_evidence, at: None, took: Duration::ZERO }
    }

    /// Removes the runs that ended long enough ago, the oldest first, and says where their logs end.
    pub(super) async fn remove_old(
        &mut self,
        broker: &Broker,
        runs: &HashMap<RunId, ObservedRun>,
        now: Timestamp,
    ) -> Result<Vec<(RunId, u64)>> {
        let is_old = |met: &ObservedRun| met.stand == RunPhase::Ended && clock::until(met.at, now) >= self.keep_ended;
        let mut old: Vec<(Timestamp, RunId)> =
            runs.iter().filter(|(_, met)| is_old(met)).map(|(run, met)| (met.at, *run)).collect();
        old.sort_unstable();
        let begun = Instant::now();
        let pace = pace(old.len(), self.at.replace(begun).map(|last| begun - last));
        old.truncate((pace * REMOVE_FOR.as_secs_f64()) as usize);
        let at_once = (pace * REMOVAL.as_secs_f64()) as usize;
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / pace));
        let mut old = old.into_iter();
        let mut under_way = FuturesUnordered::new();
        let mut gone = Vec::new();
        loop {
            let all_started = old.len() == 0;
            tokio::select! {
                _ = ticks.tick(), if !all_started && under_way.len() < at_once => {
                    under_way.extend(old.next().map(|(_, run)| self.remove_one(broker, run)));
                }
                Some(done) = under_way.next() => {
                    if let Some((run, left)) = done? {
                        gone.push((run, left));
                    }
                }
                else => break,
            }
        }
        drop(under_way);
        self.took = begun.elapsed();
        Ok(gone)
    }

    /// Removes a run; none: it is gone already.
    async fn remove_one(&self, broker: &Broker, run: RunId) -> Result<Option<(RunId, u64)>> {
        let created = match run::created(broker, run).await? {
            Some(created) => created,
            // It is gone, or how it began cannot be read.
            None => match lists::line_of(broker, run).await? {
                Some(line) => line.as_created(),
                None => return Ok(None),
            },
        };
        let rule = format!("keep_ended: {}", in_days(self.keep_ended));
        let removal = RunRemoval { at: Some(SystemClock.now()), rule: Some(rule), ..RunRemoval::default() };
        let left = remove(broker, run, &created, removal, self.keep_evidence, RemovalMethod::Remove).await?;
        Ok(Some((run, left)))
    }
}

/// As a rule is written in the configuration.
fn in_days(span: Duration) -> String {
    let seconds = span.as_secs();
    match [(86_400, "d"), (3600, "h"), (60, "m")].iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// Removals a second where so many are due: twice as many as became due since the last scan came to them, so that there is an
/// end of them however many runs there are, and yet no rush.
fn pace(due: usize, since: Option<Duration>) -> f64 {
    let became_due = since.map_or(0.0, |since| due as f64 / since.as_secs_f64().max(1.0));
    (2.0 * became_due).clamp(REMOVALS, MOST_REMOVALS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_keep_pace_with_what_becomes_due_and_are_gentle_otherwise() {
        let minute = Some(Duration::from_secs(60));
        // Nothing is known yet, little is due, as much as comes, and more than is ever removed.
        for (due, since, wanted) in
            [(1_000_000, None, 200.0), (600, minute, 200.0), (30_000, minute, 1000.0), (600_000, minute, 2000.0)]
        {
            assert_eq!(pace(due, since), wanted, "{due} in {since:?}");
        }
    }
}
