//! Calling for runs that ought to go on and show no sign of it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::stand::{ObservedRun, RunPhase, UNDER_WAY};
use crate::broker::{Broker, Job, JobReason};
use crate::clock::{self, Timestamp};
use crate::ids::{Name, RunId};
use crate::protocol::log::RunOrigin;
use crate::protocol::queue_name::QueueName;
use crate::run::claim::{is_alive, last_claim};
use crate::run::lease::Lease;
use crate::run::{self, Result, look};

/// How long a run whose worker lives may show no sign of life before somebody looks: longer than a model may take.
const SILENT_FOR: Duration = Duration::from_secs(30 * 60);
/// How soon a run that was queued again is queued once more; doubles each time, up to the second.
const REQUEUE_PAUSE: Duration = Duration::from_secs(60);
const AGAIN_AT_MOST: Duration = Duration::from_secs(3600);

/// The runs that were queued again and have not moved since.
#[derive(Default)]
pub(super) struct RequeuedRuns(HashMap<RunId, RequeuedRun>);

struct RequeuedRun {
    /// The run's last record then.
    seq: u64,
    times: u32,
    next: Instant,
}

impl RequeuedRuns {
    /// Forgets those that have moved.
    pub(super) fn retain(&mut self, runs: &HashMap<RunId, ObservedRun>) {
        self.0.retain(|run, called| runs.get(run).is_some_and(|met| met.seq == called.seq));
    }

    /// Queues a run again, unless that was done lately and changed nothing.
    pub(super) async fn call(
        &mut self,
        broker: &Broker,
        run: RunId,
        seq: u64,
        served: &BTreeSet<Name>,
    ) -> Result<bool> {
        let times = match self.0.get(&run) {
            Some(called) if called.next > Instant::now() => return Ok(false),
            Some(called) => called.times,
            None => 0,
        };
        let Some(created) = run::created(broker, run).await? else { return Ok(false) };
        if created.origin == RunOrigin::ForeignWorker || !served.contains(&created.workflow) {
            return Ok(false);
        }
        let job = Job { run, reason: JobReason::Wake };
        let queue = QueueName::Workflow(created.workflow.clone());
        broker.queue.enqueue(&queue, &job, &format!("{run}.sweep.{seq}.{times}")).await?;
        let rest = REQUEUE_PAUSE.saturating_mul(1 << times.min(16)).min(AGAIN_AT_MOST);
        self.0.insert(run, RequeuedRun { seq, times: times + 1, next: Instant::now() + rest });
        tracing::info!(run.id = %run, workflow = %created.workflow, "the run showed no sign of life and was queued again");
        Ok(true)
    }
}

/// Whether a run ought to go on and shows no sign of it.
pub(super) async fn needs_a_call(
    broker: &Broker,
    run: RunId,
    met: &ObservedRun,
    now: Timestamp,
    lease: &Lease,
) -> Result<bool> {
    let late = |since: Timestamp| clock::until(since, now) >= UNDER_WAY;
    let silent_for = clock::until(met.at, now);
    Ok(match met.stand {
        RunPhase::Ended | RunPhase::Removed => false,
        RunPhase::Created => late(met.at),
        RunPhase::Parked { until } => {
            // An answer that came before the run was parked was seen by whoever parked it, or its job is still there.
            let answered = met.asked.is_some_and(|(seq, at)| seq > met.seq && late(at));
            answered || until.is_some_and(|until| late(until.max(met.at)))
        }
        RunPhase::UnderWay if silent_for >= SILENT_FOR => true,
        RunPhase::UnderWay if silent_for >= lease.span() + UNDER_WAY => {
            match last_claim(&look(broker, run, 0).await?.records) {
                Some((worker, _)) => !is_alive(broker, worker).await?,
                None => true,
            }
        }
        RunPhase::UnderWay => false,
    })
}
