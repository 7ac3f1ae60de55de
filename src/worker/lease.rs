//! "Still here": the worker's lease, renewed three times within its length.

use crate::run::directory::{self, WorkerCard};
use crate::worker::Worker;

/// Renews the lease until the last call.
pub(super) async fn beat(worker: &Worker, card: &WorkerCard) {
    let mut beats = tokio::time::interval(worker.lease / 3);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beats.tick() => {}
            () = worker.shutdown.hard() => {
                // The runs append their last records and leave; only then is the lease given up.
                let all = worker.permits.available_permits().max(1) as u32;
                let _ = worker.permits.acquire_many(all).await;
                return;
            }
        }
        if let Err(error) = directory::renew(&worker.broker, card, worker.lease).await {
            tracing::warn!("the worker's lease could not be renewed: {error}");
        }
        share_models(worker).await;
    }
}

/// Tells the models how many workers share their rates. One that the broker does not tell keeps the number that it knew.
pub(super) async fn share_models(worker: &Worker) {
    if worker.models.have_rates()
        && let Ok(workers) = directory::workers(&worker.broker).await
    {
        worker.models.are_shared_by(workers.len());
    }
}
