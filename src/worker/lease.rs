//! "Still here": the worker's lease, renewed three times within its length, and at once when the broker is back.

use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::metrics;
use crate::run::directory::{self, WorkerCard};
use crate::run::lease::Lease;
use crate::worker::Worker;
use crate::worker::intake::REDELIVERY_MARGIN;

/// How soon a renewal that failed is tried again: others wait for a lease no longer than it lasts.
const RENEWAL_PAUSE: Duration = Duration::from_millis(500);

/// NATS removes a key up to so much later than its time to live says.
const REMOVED_LATE: Duration = Duration::from_secs(1);
/// The shortest time to live of a key that NATS knows.
const SHORTEST_TTL: Duration = Duration::from_secs(1);

/// How long the lease that is put down lasts: as much shorter than the configured one as NATS may be late to remove it, so
/// that others stop to believe in this worker in the time that its operator has set.
pub(super) fn span(configured: Duration) -> Duration {
    configured.saturating_sub(REMOVED_LATE).max(SHORTEST_TTL)
}

/// Renews the lease until the last call.
pub(super) async fn beat(worker: &Worker, card: &WorkerCard) {
    let span = worker.lease.span();
    let mut card = card.clone();
    let mut next = Instant::now() + span / 3;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = worker.shutdown.hard() => {
                // The runs append their last records and leave; only then is the lease given up.
                let all = worker.permits.available_permits().max(1) as u32;
                let _ = worker.permits.acquire_many(all).await;
                return;
            }
        }
        card.runs = worker.held.lock().len();
        let sent = Lease::moment(&*worker.clock);
        match directory::renew(&worker.broker, &card, span).await {
            Ok(()) => {
                worker.lease.renewed(sent);
                next = Instant::now() + span / 3;
                // The next renewal must not wait for either.
                let _ =
                    tokio::time::timeout(RENEWAL_PAUSE, worker.unheld.call(&worker.broker, REDELIVERY_MARGIN)).await;
                share_rates(worker).await;
            }
            Err(error) => {
                metrics().lease_renewal_failures.inc();
                tracing::warn!("the worker's lease could not be renewed: {error}");
                next = Instant::now() + RENEWAL_PAUSE.min(span / 3);
            }
        }
    }
}

/// Tells models and tools how many workers share their rates. One that the broker does not tell keeps the number that it knew.
pub(super) async fn share_rates(worker: &Worker) {
    if (worker.models.have_rates() || worker.rates.are_in_use())
        && let Ok(Ok(workers)) = tokio::time::timeout(RENEWAL_PAUSE, directory::workers(&worker.broker)).await
    {
        worker.models.are_shared_by(workers.len());
        worker.rates.are_shared_by(workers.len());
    }
}
