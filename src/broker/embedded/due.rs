//! Jobs, timers and whatever else the file holds until its time comes.

use rusqlite::{Connection, params};

use super::lines;
use super::session::StoreTransaction;
use super::store_change::StoreChange;
use crate::broker::{Bucket, Job};
use crate::ids::RunId;
use crate::protocol::queue_name::QueueName;

/// Timers that fire in one transaction.
const RIPE_AT_ONCE: i64 = 512;
/// Removed runs that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: i64 = 512;
/// Entries of a bucket that expire in one transaction.
const EXPIRED_AT_ONCE: i64 = 512;

/// The jobs in the file, as the dispatcher is told of them.
pub(super) fn queued(sql: &Connection) -> rusqlite::Result<Vec<StoreChange>> {
    let mut queued = Vec::new();
    let mut statement = sql.prepare("select id, workflow, job from jobs order by id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some((queue, job)) = read(&row.get::<_, String>(1)?, &row.get::<_, String>(2)?) {
            queued.push(StoreChange::JobFound(row.get(0)?, queue, job));
        }
    }
    Ok(queued)
}

/// When the first timer or the first expiry in the file is due, in milliseconds.
pub(super) fn next(sql: &Connection) -> rusqlite::Result<Option<i64>> {
    let timer: Option<i64> = sql.prepare_cached("select min(due) from timers")?.query_row([], |row| row.get(0))?;
    let expiry: Option<i64> = sql
        .prepare_cached("select min(expires) from catalogue where expires is not null")?
        .query_row([], |row| row.get(0))?;
    let tombstone: Option<i64> =
        sql.prepare_cached("select min(until) from tombstones")?.query_row([], |row| row.get(0))?;
    let inbox: Option<i64> =
        sql.prepare_cached("select min(until) from inbox_expiries")?.query_row([], |row| row.get(0))?;
    Ok([timer, expiry, tombstone, inbox].into_iter().flatten().min())
}

/// Turns due timers into jobs, and removes what has expired: entries of the catalogue and of inboxes, tombstones.
pub(super) fn ripen(session: &mut StoreTransaction<'_>) -> rusqlite::Result<()> {
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
    for (run, queue, job) in due {
        session.sql.prepare_cached("delete from timers where run = ?1")?.execute([run])?;
        if let Some((queue, job)) = read(&queue, &job) {
            insert(session, queue, job)?;
        }
    }
    forget_removed(session, now)?;
    forget_expired(session, now)?;
    for bucket in Bucket::ALL {
        let gone: Vec<String> = session
            .sql
            .prepare_cached(
                "delete from catalogue where shelf = ?1 and key in
                     (select key from catalogue where shelf = ?1 and expires is not null and expires <= ?2 limit ?3)
                 returning key",
            )?
            .query_map(params![bucket.name(), now, EXPIRED_AT_ONCE], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if bucket == Bucket::Runs {
            gone.iter().try_for_each(|key| lines::follow_catalogue(session.sql, key))?;
        }
        if !gone.is_empty() {
            session.changes.push(StoreChange::BucketChanged(bucket));
        }
    }
    Ok(())
}

/// Queues a job.
pub(super) fn insert(session: &mut StoreTransaction<'_>, queue: QueueName, job: Job) -> rusqlite::Result<()> {
    session
        .sql
        .prepare_cached("insert into jobs (workflow, job) values (?1, ?2)")?
        .execute(params![queue.to_string(), written(&job)])?;
    let id = u64::try_from(session.sql.last_insert_rowid()).expect("row ids of an own table are positive");
    session.changes.push(StoreChange::JobQueued(id, queue, job));
    Ok(())
}

/// A job as it is kept in the file.
pub(super) fn written(job: &Job) -> String {
    serde_json::to_string(job).expect("a job is two plain fields")
}

/// A job as it is in the file. One that cannot be read was damaged there: it is left out, and said so.
fn read(queue: &str, job: &str) -> Option<(QueueName, Job)> {
    let read = QueueName::read(queue).zip(crate::bounds::parse(job.as_bytes()).ok());
    if read.is_none() {
        tracing::error!(queue, job, "a queued job in the store cannot be read; it is left out");
    }
    read
}

/// Forgets what has lain in inboxes for as long as it was to be kept.
fn forget_expired(session: &mut StoreTransaction<'_>, now: i64) -> rusqlite::Result<()> {
    let gone = session
        .sql
        .prepare_cached(
            "delete from inbox where (run, slot) in (select run, slot from inbox_expiries where until <= ?1)",
        )?
        .execute([now])?;
    session.forgets |= gone > 0;
    session.sql.prepare_cached("delete from inbox_expiries where until <= ?1")?.execute([now])?;
    Ok(())
}

/// Forgets the runs whose tombstones have been kept for long enough.
fn forget_removed(session: &mut StoreTransaction<'_>, now: i64) -> rusqlite::Result<()> {
    let due: Vec<String> = session
        .sql
        .prepare_cached("select run from tombstones where until <= ?1 limit ?2")?
        .query_map(params![now, FORGOTTEN_AT_ONCE], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    session.forgets |= !due.is_empty();
    for id in due {
        session.sql.prepare_cached("delete from tombstones where run = ?1")?.execute([&id])?;
        session
            .sql
            .prepare_cached("delete from records where run = (select no from runs where run = ?1)")?
            .execute([&id])?;
        session.sql.prepare_cached("delete from runs where run = ?1")?.execute([&id])?;
        if let Ok(run) = RunId::parse(&id) {
            session.heads.remove(&run);
        }
    }
    Ok(())
}
