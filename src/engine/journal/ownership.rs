//! Whether a run is still this worker's: it is, unless the worker's lease may have run out since that was last certain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::broker;
use crate::engine::Error;
use crate::engine::context::EngineContext;
use crate::engine::journal::projection::LogProjection;
use crate::ids::RunId;
use crate::protocol::log::{LogEntry, RecordBody};
use crate::run;
use crate::run::claim::is_still_mine;

/// What this worker knows of its claim of a run.
pub(in crate::engine) struct OwnershipGuard {
    run: RunId,
    context: Arc<EngineContext>,
    /// The sequence of this worker's last claim.
    claimed: AtomicU64,
    /// The number of that claim.
    epoch: AtomicU64,
    /// How often the worker's lease had lapsed when the run was last known to be its own.
    confirmed: AtomicU64,
}

impl OwnershipGuard {
    /// The run was claimed at sequence `claimed`, or is to be claimed after it, after that many `lapses` of the lease: it may have
    /// lapsed again since.
    pub(super) fn new(run: RunId, context: Arc<EngineContext>, claimed: u64, epoch: u64, lapses: u64) -> Self {
        Self { run, context, claimed: claimed.into(), epoch: epoch.into(), confirmed: lapses.into() }
    }

    /// The record by which this worker claims the run once more.
    pub(super) fn next_claim(&self) -> RecordBody {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        RecordBody::Claimed { worker: self.context.lease.worker(), epoch, message: None }
    }

    /// The run was this worker's after that many lapses of its lease.
    pub(super) fn confirmed_at(&self, lapses: u64) {
        self.confirmed.store(lapses, Ordering::Relaxed);
    }

    /// Returns once it is certain that the run is still this worker's: at once, unless its lease may have run out since that
    /// was last certain. To be called before an effect that others would notice.
    pub(in crate::engine) async fn confirm(&self) -> Result<(), Error> {
        let lease = &self.context.lease;
        let mut pause = Duration::from_millis(50);
        while !self.is_certain() {
            lease.held().await;
            let lapses = lease.lapses();
            let claimed = self.claimed.load(Ordering::Relaxed);
            match is_still_mine(&self.context.broker, self.run, claimed, lease.worker()).await {
                Ok(true) => self.confirmed.store(lapses, Ordering::Relaxed),
                Ok(false) => return Err(Error::Lost { run: self.run }),
                Err(run::Error::Broker(broker::Error::Unavailable { .. })) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether the run is certainly this worker's.
    pub(super) fn is_certain(&self) -> bool {
        let lease = &self.context.lease;
        !lease.in_doubt() && self.confirmed.load(Ordering::Relaxed) == lease.lapses()
    }

    /// Looks after each lapse of the worker's lease whether the run is still its own; returns when it is not.
    pub(in crate::engine) async fn watch_lease(&self) -> Error {
        loop {
            self.context.lease.lapsed_again(self.confirmed.load(Ordering::Relaxed)).await;
            if let Err(lost) = self.confirm().await {
                return lost;
            }
        }
    }
}

impl LogProjection for Arc<OwnershipGuard> {
    fn apply(&mut self, entry: &LogEntry) {
        if let RecordBody::Claimed { epoch, .. } = entry.record.body {
            self.claimed.store(entry.seq, Ordering::Relaxed);
            self.epoch.store(epoch, Ordering::Relaxed);
        }
    }
}
