//! Runs that this worker may own by their logs and does not hold: it lost the broker while it took or drove them. They come back
//! with their deliveries. But an acknowledgement of an earlier attempt, thought lost, may arrive late and take a delivery
//! away, and the scan of all runs passes by a run whose worker lives. So the worker itself sees to it that they are taken again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::broker::{Broker, Job, JobReason};
use crate::ids::{MessageId, RunId};
use crate::protocol::queue_name::QueueName;
use crate::run::{self, Result};

/// The runs, each with the time at which it is queued again.
#[derive(Default)]
pub(super) struct UnheldRuns(Mutex<HashMap<RunId, Instant>>);

impl UnheldRuns {
    /// Takes note of a run whose delivery has `rest` to bring it back.
    pub(super) fn note(&self, run: RunId, rest: Duration) {
        self.runs().insert(run, Instant::now() + rest);
    }

    /// Forgets a run that this worker holds again, or that it need not hold.
    pub(super) fn forget(&self, run: RunId) {
        self.runs().remove(&run);
    }

    /// Queues those again that have not come back in time; each has another `rest` then.
    pub(super) async fn call(&self, broker: &Broker, rest: Duration) {
        let now = Instant::now();
        let late: Vec<RunId> = self.runs().iter().filter(|(_, at)| **at <= now).map(|(run, _)| *run).collect();
        for run in late {
            match queue_again(broker, run).await {
                Ok(true) => self.note(run, rest),
                Ok(false) => self.forget(run),
                Err(error) => return tracing::debug!(run.id = %run, "the run could not be queued again yet: {error}"),
            }
        }
    }

    /// Whether this worker is to see to it that the run is taken again.
    #[cfg(test)]
    pub(super) fn knows(&self, run: RunId) -> bool {
        self.runs().contains_key(&run)
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, Instant>> {
        self.0.lock()
    }
}

/// Queues a run again; `false` if it is gone.
async fn queue_again(broker: &Broker, run: RunId) -> Result<bool> {
    let Some(created) = run::created(broker, run).await? else { return Ok(false) };
    let job = Job { run, reason: JobReason::Wake };
    let queue = QueueName::Workflow(created.workflow);
    broker.queue.enqueue(&queue, &job, &format!("{run}.let_go.{}", MessageId::random())).await?;
    Ok(true)
}
