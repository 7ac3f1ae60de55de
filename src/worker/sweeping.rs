//! The scan of all runs, now and then (`run::sweeper`): by the first of the living workers, the others stand by, and stand in. And
//! removing what is over for ever, whenever somebody who may not calls for it (`run::clean`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use crate::run::clean;
use crate::run::sweeper::{RunSweeper, SweepReport};
use crate::worker::{Worker, intake};

/// How often all runs are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// A scan that takes long is followed by a rest so many times as long: it costs a twentieth of a core at most.
const REST: u32 = 20;

/// Runs that are cleaned at once.
const CLEANED_AT_ONCE: usize = 8;
/// How long a failure to hear who calls is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Removes what is over when somebody calls, until the end begins, if this worker may.
pub(super) async fn clean_when_called(worker: Arc<Worker>) {
    let Some(cleaner) = worker.broker.cleaner.clone() else { return };
    loop {
        let calls = match cleaner.notifications().await {
            Ok(calls) => calls,
            Err(error) => {
                tracing::warn!("calls for the cleaner cannot be heard: {error}");
                tokio::select! {
                    () = worker.shutdown.soft() => return,
                    () = tokio::time::sleep(AFTER_FAILURE) => continue,
                }
            }
        };
        let cleaning = calls.for_each_concurrent(CLEANED_AT_ONCE, |run| {
            let (broker, cleaner) = (&worker.broker, &*cleaner);
            async move {
                // The next scan finds it again.
                if let Err(error) = clean::look(broker, cleaner, run).await {
                    tracing::warn!(run.id = %run, "what is over could not be removed yet: {error}");
                }
            }
        });
        tokio::select! {
            () = worker.shutdown.soft() => return,
            () = cleaning => {}
        }
    }
}

/// Goes round until the end begins.
pub(super) async fn serve(worker: Arc<Worker>, keep_ended: Duration, keep_evidence: Duration) {
    let mut sweeper = RunSweeper::new(worker.broker.clone(), keep_ended, keep_evidence)
        .checking_the_clock()
        .redacting(worker.redactor.clone());
    // The first soon: what was started again has often ended in trouble.
    let mut rest = worker.lease.span().min(EVERY);
    loop {
        tokio::select! {
            () = worker.shutdown.soft() => return,
            () = tokio::time::sleep(rest) => {}
        }
        let start = Instant::now();
        tokio::select! {
            () = worker.shutdown.soft() => return,
            swept = sweeper.sweep(&worker.lease, worker.permits.available_permits() > 0) => match swept {
                Ok(SweepReport { runs, called, removed, lines, cleaned }) if called + removed + lines + cleaned > 0 => tracing::info!(
                    runs, called, removed, lines, cleaned,
                    "went round {runs} runs: {called} queued again, {removed} removed, {cleaned} cleaned, {lines} lists' lines set right"
                ),
                Ok(_) => {}
                Err(error) => tracing::warn!("the runs could not be looked after: {error}"),
            },
        }
        if !worker.redactor.is_empty() {
            for run in sweeper.ended_in_clear() {
                if worker.shutdown.has_begun() {
                    return;
                }
                intake::redact(&worker, run).await;
            }
        }
        // Removals go at their own pace, which is no work to rest from; what they took of the rest is over.
        let removing = sweeper.removing();
        rest = EVERY.max(start.elapsed().saturating_sub(removing) * REST).saturating_sub(removing);
    }
}
