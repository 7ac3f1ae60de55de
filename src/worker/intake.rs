//! Taking runs: one permit, then one delivery, then one task that drives the run and settles the delivery last.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

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
    let (replace, replacements) = mpsc::channel(1);
    let delivery = {
        let mut held = worker.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(&run) {
            // A redelivery of a run that is in memory: its newer handle replaces the older one.
            Some(holder) => match holder.try_send(delivery) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(delivery) | mpsc::error::TrySendError::Closed(delivery)) => {
                    Err(delivery)
                }
            },
            None => {
                held.insert(run, replace);
                Ok(delivery)
            }
        }
    };
    match delivery {
        Ok(delivery) => {
            let _let_go = LetGo { worker: &worker, run };
            hold(&worker, delivery, replacements, run).await;
        }
        Err(delivery) => settle(delivery.retry_after(Duration::from_secs(1)).await, run),
    }
    drop(permit);
}

/// Takes a run from the register when it leaves memory, however it does.
struct LetGo<'a> {
    worker: &'a Worker,
    run: RunId,
}

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        self.worker.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
    }
}

/// Drives a run while telling the broker that it is still worked on.
async fn hold(worker: &Worker, mut delivery: AnyDelivery, mut replacements: mpsc::Receiver<AnyDelivery>, run: RunId) {
    let mut driving = Box::pin(drive(worker, run));
    let mut beats = tokio::time::interval_at(tokio::time::Instant::now() + ACK_WAIT / 3, ACK_WAIT / 3);
    let settled = loop {
        tokio::select! {
            settled = &mut driving => break settled,
            Some(newer) = replacements.recv() => delivery = newer,
            _ = beats.tick() => {
                if let Err(error) = delivery.working().await {
                    tracing::debug!(run.id = %run, "the queue was not told that the run goes on: {error}");
                }
            }
        }
    };
    drop(driving);
    while let Ok(newer) = replacements.try_recv() {
        delivery = newer;
    }
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
    let owned = match claim(&worker.broker, &*worker.clock, run, worker.id, describe).await {
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
