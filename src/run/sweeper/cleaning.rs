//! Removing for ever what is over and still there.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::stand::{ObservedRun, RunPhase};
use crate::broker::{Broker, Cleaner, RemovalMethod, TOMBSTONE_KEPT};
use crate::clock::{self, Timestamp};
use crate::ids::RunId;
use crate::protocol::log::{Record, RecordBody};
use crate::run::{Result, clean};

/// Runs that are cleaned at once, and how long a scan may clean.
const CLEANED_AT_ONCE: usize = 32;
const CLEAN_FOR: Duration = Duration::from_secs(30);
/// How often it is said that nobody cleans.
const SAY_EVERY: Duration = Duration::from_secs(600);

/// What is known of runs that are over.
#[derive(Default)]
pub(super) struct RunCleaning {
    /// Runs of which there is nothing left to clean, by the sequence of what their log ends with.
    clean: HashMap<RunId, u64>,
    /// When it was last said that nobody cleans.
    said: Option<Instant>,
}

impl RunCleaning {
    /// Of these runs there is nothing left to clean.
    pub(super) fn are_clean(&mut self, runs: Vec<(RunId, u64)>) {
        self.clean.extend(runs);
    }

    /// Removes for ever what is over and still there: no cleaner was called, or the call was lost, or the cleaner died.
    pub(super) async fn clean(
        &mut self,
        broker: &Broker,
        keep_evidence: Duration,
        runs: &HashMap<RunId, ObservedRun>,
        now: Timestamp,
    ) -> Result<usize> {
        self.clean.retain(|run, seq| runs.get(run).is_some_and(|met| met.seq == *seq));
        let is_over = |met: &ObservedRun| match met.stand {
            RunPhase::Removed => true,
            RunPhase::Ended => met.kept || met.has_secrets,
            _ => false,
        };
        let tombstones_kept = keep_evidence.max(TOMBSTONE_KEPT).saturating_add(TOMBSTONE_KEPT);
        let is_left = |met: &ObservedRun| met.has_older || met.has_secrets || met.asked.is_some();
        let mut over: Vec<FinishedRun> = runs
            .iter()
            .filter(|(run, met)| is_over(met) && (is_left(met) || self.clean.get(run) != Some(&met.seq)))
            .map(|(run, met)| FinishedRun {
                run: *run,
                seq: met.seq,
                is_left: is_left(met),
                // One that does not vanish by itself.
                is_old: met.stand == RunPhase::Removed && clock::until(met.at, now) > tombstones_kept,
            })
            .collect();
        let Some(cleaner) = broker.cleaner.clone() else {
            let waiting = over.iter().filter(|over| over.is_left).count();
            if waiting > 0 && self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                self.said = Some(Instant::now());
                tracing::warn!(
                    "{waiting} removed or ended runs wait to be cleaned: no worker that is up has the cleaner's login (nats.cleaner)"
                );
            }
            return Ok(0);
        };
        over.sort_unstable_by_key(|over| over.seq);
        let until = Instant::now() + CLEAN_FOR;
        let mut over = over.into_iter();
        let mut under_way = FuturesUnordered::new();
        let mut cleaned = 0;
        loop {
            while under_way.len() < CLEANED_AT_ONCE
                && Instant::now() < until
                && let Some(next) = over.next()
            {
                under_way.push(clean_one(broker, &*cleaner, next));
            }
            match under_way.next().await {
                Some(Ok((run, seq, done))) => {
                    cleaned += usize::from(done);
                    self.clean.insert(run, seq);
                }
                // One that cannot be cleaned does not keep the others.
                Some(Err(error)) => tracing::warn!("what is over could not be removed yet: {error}"),
                None => return Ok(cleaned),
            }
        }
    }
}

/// A run that is over and may have to be cleaned.
struct FinishedRun {
    run: RunId,
    seq: u64,
    is_left: bool,
    is_old: bool,
}

/// Cleans a run, if there is anything to clean; returns where its log ends, and whether there was.
async fn clean_one(broker: &Broker, cleaner: &dyn Cleaner, over: FinishedRun) -> Result<(RunId, u64, bool)> {
    let FinishedRun { run, seq, is_left, is_old } = over;
    if is_old {
        cleaner.forget(run, u64::MAX >> 1, RemovalMethod::Remove).await?;
    } else if is_left || starts_with_the_old(broker, run, seq).await? {
        clean::look(broker, cleaner, run).await?;
    } else {
        return Ok((run, seq, false));
    }
    Ok((run, seq, true))
}

/// Whether the log of a run that is over still begins with what was there before.
async fn starts_with_the_old(broker: &Broker, run: RunId, over: u64) -> Result<bool> {
    let Some(first) = broker.log.first(run).await? else { return Ok(false) };
    let is_new = |record: Record| matches!(record.body, RecordBody::Part { .. } | RecordBody::Kept(_));
    Ok(first.seq != over && !crate::bounds::parse(&first.payload).is_ok_and(is_new))
}
