//! Jobs and timers in the embedded store. The file knows which jobs there are; who holds them is known in memory alone
//! (`dispatcher.rs`), so that after a restart everything unacknowledged is delivered again, as what was delivered before.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rusqlite::params;
use tokio::sync::oneshot;

use super::EmbeddedBroker;
use super::due::{insert, written};
use super::store::{self, WeakSender};
use super::store_change::{AssignedJob, StoreChange, WaitingWorker};
use crate::broker::{AnyDelivery, Delivery, Job, Queue, QueueDepth, Result};
use crate::clock::Timestamp;
use crate::protocol::queue_name::QueueName;

/// How long an id is remembered, so that the same job is not queued twice: as long as a NATS stream does by default.
const DEDUP_MILLIS: i64 = 120_000;

#[async_trait]
impl Queue for EmbeddedBroker {
    async fn enqueue(&self, queue: &QueueName, job: &Job, dedup: &str) -> Result<()> {
        let (queue, job, dedup) = (queue.clone(), job.clone(), dedup.to_owned());
        self.store
            .call("queue a job", move |session| {
                let now = session.now_millis();
                session.sql.prepare_cached("delete from dedup where until <= ?1")?.execute([now])?;
                let new = session
                    .sql
                    .prepare_cached("insert or ignore into dedup (id, until) values (?1, ?2)")?
                    .execute(params![dedup, now + DEDUP_MILLIS])?;
                if new == 1 {
                    insert(session, queue, job)?;
                }
                Ok(())
            })
            .await
    }

    async fn schedule(&self, queue: &QueueName, job: &Job, at: Timestamp) -> Result<()> {
        let (queue, job) = (queue.to_string(), job.clone());
        self.store
            .call("set a timer", move |session| {
                session
                    .sql
                    .prepare_cached("insert or replace into timers (run, workflow, job, due) values (?1, ?2, ?3, ?4)")?
                    .execute(params![job.run.to_string(), queue, written(&job), at.as_millisecond()])?;
                Ok(())
            })
            .await
    }

    async fn depth(&self, queue: &QueueName) -> Result<QueueDepth> {
        let queue = queue.clone();
        let (reply, depth) = oneshot::channel();
        self.store
            .call("count the jobs of a queue", move |session| {
                session.changes.push(StoreChange::CountJobs(queue, reply));
                Ok(())
            })
            .await?;
        // The dispatcher has answered before it is gone, or there is nothing left to count.
        Ok(depth.await.unwrap_or_default())
    }

    async fn take(&self, queue: &QueueName, patience: Duration) -> Result<BoxStream<'static, Result<AnyDelivery>>> {
        let queue = queue.clone();
        Ok(stream::unfold(self.store.weak(), move |store| {
            let queue = queue.clone();
            async move { Some((Ok(next(&store, queue, patience).await?), store)) }
        })
        .boxed())
    }
}

/// Waits for the next job; `None` when the broker has ended.
async fn next(store: &WeakSender, queue: QueueName, patience: Duration) -> Option<AnyDelivery> {
    let (reply, delivery) = oneshot::channel();
    let sender = store.upgrade();
    store::call(sender.as_ref(), "take a job", move |session| {
        session.changes.push(StoreChange::WantJob(queue, WaitingWorker { reply, patience }));
        Ok(())
    })
    .await
    .ok()?;
    // Held while waiting, the sender would keep the broker alive.
    drop(sender);
    let AssignedJob { id, attempt, job } = delivery.await.ok()?;
    Some(Box::new(EmbeddedDelivery { id, attempt, job, store: store.clone() }))
}

/// A job that was handed out.
struct EmbeddedDelivery {
    id: u64,
    attempt: u64,
    job: Job,
    store: WeakSender,
}

impl EmbeddedDelivery {
    async fn tell(&self, doing: &'static str, change: StoreChange) -> Result<()> {
        store::call(self.store.upgrade().as_ref(), doing, move |session| {
            session.changes.push(change);
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Delivery for EmbeddedDelivery {
    fn job(&self) -> &Job {
        &self.job
    }

    fn attempt(&self) -> u64 {
        self.attempt
    }

    async fn working(&self) -> Result<()> {
        self.tell("keep a job", StoreChange::Working(self.id, self.attempt)).await
    }

    async fn ack(self: Box<Self>) -> Result<()> {
        let id = self.id;
        store::call(self.store.upgrade().as_ref(), "acknowledge a job", move |session| {
            session.sql.prepare_cached("delete from jobs where id = ?1")?.execute([id])?;
            session.changes.push(StoreChange::JobDone(id));
            Ok(())
        })
        .await
    }

    async fn retry_after(self: Box<Self>, delay: Duration) -> Result<()> {
        self.tell("give a job back", StoreChange::PutOff(self.id, self.attempt, delay)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{JobReason, embedded};
    use crate::ids::{Name, RunId};

    #[tokio::test]
    async fn no_delivery_after_a_restart_is_the_first_one() {
        let folder = tempfile::tempdir().unwrap();
        let queue = QueueName::Workflow(Name::parse("work").unwrap());
        let broker = embedded::open(folder.path()).unwrap();
        let job = Job { run: RunId::random(), reason: JobReason::Start };
        broker.queue.enqueue(&queue, &job, "job").await.unwrap();
        let taken = broker.queue.take(&queue, Duration::from_secs(30)).await.unwrap().next().await.unwrap().unwrap();
        assert_eq!(taken.attempt(), 1);
        drop((taken, broker));
        let broker = embedded::open(folder.path()).unwrap();
        let again = broker.queue.take(&queue, Duration::from_secs(30)).await.unwrap().next().await.unwrap().unwrap();
        assert_eq!((again.job(), again.attempt()), (&job, 2));
    }
}
