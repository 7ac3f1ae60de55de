//! The tour of all runs, now and then (`run::sweep`): by the first of the living workers, the others stand by.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::run::sweep::{Sweeper, Swept};
use crate::worker::{Worker, intake};

/// How often all runs are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// A tour that takes long is followed by a rest so many times as long: it costs a twentieth of a core at most.
const REST: u32 = 20;

/// Goes round until the end begins.
pub(super) async fn serve(worker: Arc<Worker>, keep_ended: Duration, keep_evidence: Duration) {
    let mut sweeper = Sweeper::new(worker.broker.clone(), keep_ended, keep_evidence);
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
                Ok(Swept { runs, called, removed, lines }) if called + removed + lines > 0 => tracing::info!(
                    runs, called, removed, lines,
                    "went round {runs} runs: {called} queued again, {removed} removed, {lines} lists' lines set right"
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
