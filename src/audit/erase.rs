//! Erasing a person's data: everything that was said in their runs goes, everywhere; what is left is the proof of what was
//! there, and who erased it, when and why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use crate::audit::keep::{self, RewriteOutcome};
use crate::broker::{Broker, ScannedItem};
use crate::ids::{RunId, UserId};
pub use crate::protocol::api::Erased;
use crate::protocol::log::{EffectOutcome, RecordBody, RunCreation, RunErasure};
use crate::run::summary::RunSummary;
use crate::run::{self, Result, answer, clean, remove, summary};

/// How long a run that is going on may take to end after it was cancelled.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How late a worker's last line in the lists may be.
const LATE_LINE: Duration = Duration::from_secs(1);

/// Erases everything of a user's runs. Those that are going on are cancelled first. After a failure, or if some have not
/// ended, it may be called again. What is left of runs that were removed before names the person no more, and is kept for
/// `kept` from now on.
pub async fn erase(broker: &Broker, user: &UserId, erasure: &RunErasure, kept: Duration) -> Result<Erased> {
    let mut erased = Erased::default();
    if broker.cleaner.is_none() {
        erased.cleaned_within_secs = Some(clean::CLEANED_WITHIN.as_secs());
    }
    let mut going_on = Vec::new();
    // How a run began may be what cannot be read; then its line in the lists says whose it is.
    let lines: BTreeMap<RunId, RunSummary> =
        summary::list(broker, Some(user)).await?.into_iter().map(|line| (line.id, line)).collect();
    for run in all_runs(broker).await? {
        let looked = run::look(broker, run, 0).await?;
        if let Some(RecordBody::Removed(left)) = looked.records.first().map(|first| &first.record.body) {
            if remove::erase(broker, run, left, user, erasure, kept).await? {
                erased.removed.push(run);
            }
            continue;
        }
        let created = match (looked.created(), lines.get(&run)) {
            (Some(created), _) => created.clone(),
            (None, Some(line)) if !looked.unreadable.is_empty() => line.as_created(),
            (None, _) => {
                if !looked.unreadable.is_empty() {
                    erased.unreadable.push(run);
                }
                continue;
            }
        };
        if created.user.as_ref() != Some(user) {
            if !looked.unreadable.is_empty() {
                erased.unreadable.push(run);
            }
            let answered = looked.records.iter().any(|placed| match &placed.record.body {
                RecordBody::Did { outcome: EffectOutcome::Answer(answered), .. } => answered.by.as_ref() == Some(user),
                _ => false,
            });
            if answered {
                erased.answered_elsewhere.push(run);
            }
            continue;
        }
        let stands = match keep::erase(broker, run, erasure).await {
            // It can never go on, and so it can never end.
            Ok(RewriteOutcome::NotEnded) if !looked.unreadable.is_empty() => {
                answer::cancel(broker, &created.workflow, run, None, None).await?;
                keep::erase_unreadable(broker, run, erasure).await
            }
            stands => stands,
        };
        match stands {
            Ok(RewriteOutcome::NotEnded) => {
                answer::cancel(broker, &created.workflow, run, None, None).await?;
                going_on.push((run, created));
            }
            // A newer program has written it.
            Err(run::Error::Unreadable(why)) => {
                tracing::warn!(run.id = %run, "the run could not be erased: {why}");
                erased.unreadable.push(run);
            }
            Err(error) => return Err(error),
            Ok(_) => {
                forget(broker, run, &created).await?;
                list_as_erased(broker, run).await?;
                erased.erased.push(run);
            }
        }
    }
    let until = Instant::now() + ENDS_WITHIN;
    let mut just_ended = Vec::new();
    for (run, created) in going_on {
        loop {
            if keep::erase(broker, run, erasure).await? != RewriteOutcome::NotEnded {
                forget(broker, run, &created).await?;
                list_as_erased(broker, run).await?;
                just_ended.push((run, created));
                erased.erased.push(run);
                break;
            }
            if Instant::now() >= until {
                erased.not_ended.push(run);
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    if !just_ended.is_empty() {
        // Their worker may put a last line into the lists after them.
        tokio::time::sleep(LATE_LINE).await;
        for (run, created) in just_ended {
            summary::remove_summary(broker, created.user.as_ref(), run).await?;
        }
    }
    Ok(erased)
}

/// Removes what is kept of a run beside its log.
async fn forget(broker: &Broker, run: RunId, created: &RunCreation) -> Result<()> {
    clean::forget_copies(broker, run, created).await?;
    summary::remove_summary(broker, created.user.as_ref(), run).await
}

/// The audit's lists show that it was erased, and by whom.
async fn list_as_erased(broker: &Broker, run: RunId) -> Result<()> {
    RunSummary::of(run, &run::read(broker, run, 0).await?).publish_removed_summary(broker, None).await
}

async fn all_runs(broker: &Broker) -> Result<BTreeSet<RunId>> {
    let mut runs = BTreeSet::new();
    let mut scan = broker.log.scan().await?;
    while let Some(item) = scan.next().await {
        if let ScannedItem::Record { run, .. } = item? {
            runs.insert(run);
        }
    }
    Ok(runs)
}
