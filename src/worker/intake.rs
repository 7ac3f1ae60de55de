//! Taking runs: one permit, then one delivery, then one task that drives the run and settles the delivery last.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::broker::{ACK_WAIT, AnyDelivery};
use crate::engine::Left;
use crate::ids::{Name, RunId};
use crate::run::claim::{Claim, claim};
use crate::run::{self};
use crate::worker::Worker;

/// How long a delivery rests before it is tried again after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Takes the jobs of one workflow until the end begins.
pub(super) async fn take(worker: Arc<Worker>, workflow: Name) {
    let shutdown = worker.shutdown.clone();
    while !shutdown.has_begun() {
        let mut jobs = match worker.broker.queue.take(&workflow).await {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::warn!(%workflow, "cannot take runs: {error}");
                tokio::select! {
                    () = tokio::time::sleep(AFTER_FAILURE) => continue,
                    () = shutdown.soft() => return,
                }
            }
        };
        loop {
            let Ok(permit) = worker.permits.clone().acquire_owned().await else { return };
            let delivery = tokio::select! {
                biased;
                () = shutdown.soft() => return,
                next = jobs.next() => match next {
                    Some(Ok(delivery)) => delivery,
                    Some(Err(error)) => {
                        tracing::warn!(%workflow, "cannot take runs: {error}");
                        continue;
                    }
                    None => break,
                },
            };
            let taking = worker.clone();
            shutdown.run(async move { work(taking, delivery, permit).await });
        }
    }
}

/// Does one job, and settles its delivery.
async fn work(worker: Arc<Worker>, delivery: AnyDelivery, permit: OwnedSemaphorePermit) {
    let run = delivery.job().run;
    match lock(&worker).entry(run) {
        // A redelivery of a run that is in memory: the run settles it in place of its older one.
        Entry::Occupied(mut held) => {
            held.insert(Some(delivery));
            return;
        }
        Entry::Vacant(place) => {
            place.insert(None);
        }
    }
    let _let_go = LetGo { worker: &worker, run };
    hold(&worker, delivery, run).await;
    drop(permit);
}

fn lock(worker: &Worker) -> MutexGuard<'_, HashMap<RunId, Option<AnyDelivery>>> {
    worker.held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a run from the register when it leaves memory, however it does.
struct LetGo<'a> {
    worker: &'a Worker,
    run: RunId,
}

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        lock(self.worker).remove(&self.run);
    }
}

/// Drives a run while telling the broker that it is still worked on.
async fn hold(worker: &Worker, mut delivery: AnyDelivery, run: RunId) {
    let newer = || lock(worker).get_mut(&run).and_then(Option::take);
    let mut driving = Box::pin(drive(worker, run));
    let mut beats = tokio::time::interval_at(tokio::time::Instant::now() + ACK_WAIT / 3, ACK_WAIT / 3);
    let settled = loop {
        tokio::select! {
            settled = &mut driving => break settled,
            _ = beats.tick() => {
                delivery = newer().unwrap_or(delivery);
                if let Err(error) = delivery.working().await {
                    tracing::debug!(run.id = %run, "the queue was not told that the run goes on: {error}");
                }
            }
        }
    };
    drop(driving);
    delivery = newer().unwrap_or(delivery);
    settle(
        match settled {
            Settle::Done => delivery.ack().await,
            Settle::Again(delay) => delivery.retry_after(delay).await,
        },
        run,
    );
}

fn settle(settled: crate::broker::Result<()>, run: RunId) {
    if let Err(error) = settled {
        // It is delivered again, and whoever takes it finds from the log what is left to do.
        tracing::debug!(run.id = %run, "a delivery was not settled: {error}");
    }
}

/// What becomes of a delivery.
enum Settle {
    Done,
    Again(Duration),
}

async fn drive(worker: &Worker, run: RunId) -> Settle {
    let describe = |created: &run::record::Created| {
        worker.serves.get(&created.workflow).and_then(|workflow| workflow.description.clone())
    };
    let owned = match Box::pin(claim(&worker.broker, &*worker.clock, run, worker.id, describe)).await {
        Ok(Claim::Mine(owned)) => owned,
        Ok(Claim::Nothing) => return Settle::Done,
        Ok(Claim::Held { by }) => {
            tracing::debug!(run.id = %run, "the run belongs to worker {by}, which lives");
            return Settle::Again(worker.lease / 2);
        }
        Err(error) => {
            tracing::warn!(run.id = %run, "the run could not be taken: {error}");
            return Settle::Again(AFTER_FAILURE);
        }
    };
    let Some(hash) = owned.created.definition.clone() else { return Settle::Done };
    let workflow = match worker.definition(&hash).await {
        Ok(workflow) => workflow,
        Err(problem) => {
            tracing::error!(run.id = %run, workflow = %owned.created.workflow, "the run's definition cannot be used: {problem}");
            return Settle::Again(AFTER_FAILURE * 6);
        }
    };
    match worker.engine.drive(owned, workflow, &worker.shutdown).await {
        Left::Ended | Left::Parked => Settle::Done,
        Left::HandedBack => Settle::Again(Duration::ZERO),
        Left::LetGo(why) => {
            tracing::warn!(run.id = %run, "the run was let go: {why}");
            Settle::Again(worker.lease / 2)
        }
    }
}
