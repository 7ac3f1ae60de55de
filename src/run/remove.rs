//! Removing a run that has ended, everywhere: its log and inbox, its line in the lists, its copy in FastAgency's stream. What is
//! left says what the run was, and who removed it, when and why: that must be accounted for, whatever somebody removes.

use std::time::Duration;

use tokio::try_join;

use crate::broker::{Broker, RemovalMethod, TOMBSTONE_KEPT};
use crate::ids::{RunId, UserId};
use crate::protocol::log::{LogEntry, Record, RecordBody, RunCreation, RunErasure, RunEvidence, RunRemoval};
use crate::run::assembler::RecordAssembler;
use crate::run::summary::{self, RunSummary};
use crate::run::{Result, clean, look};

/// Removes a run; `created` is how it began. What is left is a tombstone, so that whoever is late meets a conflict; it is kept
/// for `kept`. After a failure it may be called again. Returns the sequence of the tombstone.
pub async fn remove(
    broker: &Broker,
    run: RunId,
    created: &RunCreation,
    removal: RunRemoval,
    kept: Duration,
    how: RemovalMethod,
) -> Result<u64> {
    let mut evidence = evidence(broker, run).await?;
    if let Some(evidence) = &mut evidence {
        let renames = summary::renames(broker, created.user.as_ref(), run).await?;
        evidence.renamed = renames.into_iter().map(|rename| rename.renamed).collect();
    }
    // It comes first: there is no moment at which the run looks as if it had never been.
    let (left, line) = bury(broker, run, RunRemoval { evidence, ..removal }, kept).await?;
    clean::forget_copies(broker, run, created).await?;
    clean::forget(broker, run, left, how).await?;
    summary::remove_summary(broker, created.user.as_ref(), run).await?;
    // It comes last: in a full store there is room for it now.
    publish_summary(broker, line, kept).await?;
    Ok(left)
}

/// Takes a person out of what is left of a removed run, if it names them.
pub async fn erase(
    broker: &Broker,
    run: RunId,
    left: &RunRemoval,
    user: &UserId,
    erasure: &RunErasure,
    kept: Duration,
) -> Result<bool> {
    if !left.names(user) {
        return Ok(false);
    }
    let (left, line) = bury(broker, run, left.clone().without(user, erasure), kept).await?;
    publish_summary(broker, line, kept).await?;
    clean::forget(broker, run, left, RemovalMethod::Overwrite).await?;
    Ok(true)
}

/// Puts a tombstone in the place of a run. Returns its sequence and, if a person removed the run, its line for the lists of the audit.
async fn bury(broker: &Broker, run: RunId, removal: RunRemoval, kept: Duration) -> Result<(u64, Option<RunSummary>)> {
    let kept = kept.max(TOMBSTONE_KEPT);
    let by_rule = removal.rule.is_some();
    let record = Record::new(RecordBody::Removed(Box::new(removal)));
    let seq = broker.log.append_tombstone(run, record.payload(), kept).await?;
    if by_rule {
        return Ok((seq, None));
    }
    let Some(stored) = broker.log.last(run).await? else { return Ok((seq, None)) };
    let line = RunSummary::of(run, &[LogEntry { seq: stored.seq, at: stored.at, record }]);
    Ok((seq, Some(line)))
}

async fn publish_summary(broker: &Broker, line: Option<RunSummary>, kept: Duration) -> Result<()> {
    match line {
        Some(line) => line.publish_removed_summary(broker, Some(kept.max(TOMBSTONE_KEPT))).await,
        None => Ok(()),
    }
}

/// What a run was, from its first record and its last: a long log is not read for it.
async fn evidence(broker: &Broker, run: RunId) -> Result<Option<RunEvidence>> {
    let (first, last) = try_join!(broker.log.first(run), broker.log.last(run))?;
    let mut ends = Vec::new();
    for stored in [first, last].into_iter().flatten() {
        ends.extend(RecordAssembler::default().look(run, &stored).records);
    }
    let has = |wanted: fn(&RecordBody) -> bool, place: Option<&LogEntry>| {
        place.is_some_and(|placed| wanted(&placed.record.body))
    };
    let whole = has(|body| matches!(body, RecordBody::Created(_)), ends.first())
        && has(|body| matches!(body, RecordBody::Ended(_)), ends.last());
    Ok(RunEvidence::of(&if whole { ends } else { look(broker, run, 0).await?.records }))
}
