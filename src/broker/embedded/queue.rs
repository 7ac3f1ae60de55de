//! Jobs and timers in the embedded store. The file knows which jobs there are; who holds them is known in memory alone
//! (`house.rs`), so that after a restart everything unacknowledged is delivered again.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::Embedded;
use super::house::{House, Told, Wanting};
use super::log;
use super::store::{self, Session, WeakSender};
use crate::broker::{AnyDelivery, Delivery, Depth, Job, Queue, Result, Shelf};
use crate::clock::Timestamp;
use crate::ids::Name;

/// How long an id is remembered, so that the same job is not queued twice: as long as a NATS stream does by default.
const DEDUP_MILLIS: i64 = 120_000;
/// Timers that fire in one transaction.
const RIPE_AT_ONCE: i64 = 512;

#[async_trait]
impl Queue for Embedded {
    async fn enqueue(&self, workflow: &Name, job: &Job, dedup: &str) -> Result<()> {
        let (workflow, job, dedup) = (workflow.clone(), job.clone(), dedup.to_owned());
        self.store
            .call("queue a job", move |session| {
                let now = session.now_millis();
                session.sql.prepare_cached("delete from dedup where until <= ?1")?.execute([now])?;
                let new = session
                    .sql
                    .prepare_cached("insert or ignore into dedup (id, until) values (?1, ?2)")?
                    .execute(params![dedup, now + DEDUP_MILLIS])?;
                if new == 1 {
                    insert(session, workflow, job)?;
                }
                Ok(())
            })
            .await
    }

    async fn schedule(&self, workflow: &Name, job: &Job, at: Timestamp) -> Result<()> {
        let (workflow, job) = (workflow.clone(), job.clone());
        self.store
            .call("set a timer", move |session| {
                session
                    .sql
                    .prepare_cached("insert or replace into timers (run, workflow, job, due) values (?1, ?2, ?3, ?4)")?
                    .execute(params![job.run.to_string(), workflow.as_str(), written(&job), at.as_millisecond()])?;
                Ok(())
            })
            .await
    }

    async fn depth(&self, workflow: &Name) -> Result<Depth> {
        let workflow = workflow.clone();
        let (reply, depth) = oneshot::channel();
        self.store
            .call("count the jobs of a workflow", move |session| {
                session.told.push(Told::Count(workflow, reply));
                Ok(())
            })
            .await?;
        // The house has answered before it is gone, or there is nothing left to count.
        Ok(depth.await.unwrap_or_default())
    }

    async fn take(&self, workflow: &Name, patience: Duration) -> Result<BoxStream<'static, Result<AnyDelivery>>> {
        let workflow = workflow.clone();
        Ok(stream::unfold(self.store.weak(), move |store| {
            let workflow = workflow.clone();
            async move { Some((Ok(next(&store, workflow, patience).await?), store)) }
        })
        .boxed())
    }
}

/// Waits for the next job; `None` when the broker has ended.
async fn next(store: &WeakSender, workflow: Name, patience: Duration) -> Option<AnyDelivery> {
    let (reply, delivery) = oneshot::channel();
    let sender = store.upgrade();
    store::call(sender.as_ref(), "take a job", move |session| {
        session.told.push(Told::Wanted(workflow, Wanting { reply, patience }));
        Ok(())
    })
    .await
    .ok()?;
    // Held while waiting, the sender would keep the broker alive.
    drop(sender);
    delivery.await.ok()
}

/// A job that was handed out.
pub(super) struct Taken {
    id: u64,
    attempt: u64,
    job: Job,
    store: WeakSender,
}

impl Taken {
    /// One that settles through `store`.
    pub(super) fn new(id: u64, attempt: u64, job: Job, store: WeakSender) -> Self {
        Self { id, attempt, job, store }
    }

    async fn tell(&self, doing: &'static str, told: Told) -> Result<()> {
        store::call(self.store.upgrade().as_ref(), doing, move |session| {
            session.told.push(told);
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Delivery for Taken {
    fn job(&self) -> &Job {
        &self.job
    }

    fn attempt(&self) -> u64 {
        self.attempt
    }

    async fn working(&self) -> Result<()> {
        self.tell("keep a job", Told::Working(self.id, self.attempt)).await
    }

    async fn ack(self: Box<Self>) -> Result<()> {
        let id = self.id;
        store::call(self.store.upgrade().as_ref(), "acknowledge a job", move |session| {
            session.sql.prepare_cached("delete from jobs where id = ?1")?.execute([id])?;
            session.told.push(Told::Done(id));
            Ok(())
        })
        .await
    }

    async fn retry_after(self: Box<Self>, delay: Duration) -> Result<()> {
        self.tell("give a job back", Told::PutOff(self.id, self.attempt, delay)).await
    }
}

/// Fills an empty house with the jobs in the file.
pub(super) fn load(sql: &Connection, house: &mut House) -> rusqlite::Result<()> {
    let mut statement = sql.prepare("select id, workflow, job from jobs order by id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some((workflow, job)) = read(&row.get::<_, String>(1)?, &row.get::<_, String>(2)?) {
            house.tell(Told::Queued(row.get(0)?, workflow, job), Instant::now());
        }
    }
    Ok(())
}

/// When the first timer or the first expiry in the file is due, in milliseconds.
pub(super) fn next_due(sql: &Connection) -> rusqlite::Result<Option<i64>> {
    let timer: Option<i64> = sql.prepare_cached("select min(due) from timers")?.query_row([], |row| row.get(0))?;
    let expiry: Option<i64> = sql
        .prepare_cached("select min(expires) from catalogue where expires is not null")?
        .query_row([], |row| row.get(0))?;
    let tombstone: Option<i64> =
        sql.prepare_cached("select min(until) from tombstones")?.query_row([], |row| row.get(0))?;
    Ok([timer, expiry, tombstone].into_iter().flatten().min())
}

/// Turns due timers into jobs, and removes what has expired: entries of the catalogue, tombstones.
pub(super) fn ripen(session: &mut Session<'_>) -> rusqlite::Result<()> {
    let now = session.now_millis();
    let mut due = Vec::new();
    {
        let mut statement = session
            .sql
            .prepare_cached("select run, workflow, job from timers where due <= ?1 order by due limit ?2")?;
        let mut rows = statement.query(params![now, RIPE_AT_ONCE])?;
        while let Some(row) = rows.next()? {
            due.push((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
        }
    }
    for (run, workflow, job) in due {
        session.sql.prepare_cached("delete from timers where run = ?1")?.execute([run])?;
        if let Some((workflow, job)) = read(&workflow, &job) {
            insert(session, workflow, job)?;
        }
    }
    log::forget_removed(session, now)?;
    for shelf in Shelf::ALL {
        let gone = session
            .sql
            .prepare_cached("delete from catalogue where shelf = ?1 and expires is not null and expires <= ?2")?
            .execute(params![shelf.name(), now])?;
        if gone > 0 {
            session.told.push(Told::Changed(shelf));
        }
    }
    Ok(())
}

fn insert(session: &mut Session<'_>, workflow: Name, job: Job) -> rusqlite::Result<()> {
    session
        .sql
        .prepare_cached("insert into jobs (workflow, job) values (?1, ?2)")?
        .execute(params![workflow.as_str(), written(&job)])?;
    let id = u64::try_from(session.sql.last_insert_rowid()).expect("row ids of an own table are positive");
    session.told.push(Told::Queued(id, workflow, job));
    Ok(())
}

fn written(job: &Job) -> String {
    serde_json::to_string(job).expect("a job is two plain fields")
}

/// A job as it is in the file. One that cannot be read was damaged there: it is left out, and said so.
fn read(workflow: &str, job: &str) -> Option<(Name, Job)> {
    let read = Name::foreign(workflow).ok().zip(serde_json::from_str(job).ok());
    if read.is_none() {
        tracing::error!(workflow, job, "a queued job in the store cannot be read; it is left out");
    }
    read
}
