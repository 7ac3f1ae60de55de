//! The logs of the runs in the embedded store.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::EmbeddedBroker;
use super::due;
use super::scan;
use super::session::{CallFault, RunHead, StoreTransaction};
use super::store_change::{StoreChange, subscription};
use crate::broker::{
    Cleaner, Error, Inbox, InboxSlot, Job, JobReason, Log, LogUpdate, RecordLane, RemovalMethod, Result, RunUpdate,
    ScannedItem, StoredRecord, count_append,
};
use crate::clock::Timestamp;
use crate::ids::{Name, RunId};
use crate::protocol::queue_name::QueueName;

/// How many records are read back at most.
const LAST_RECORDS: u32 = 48;
/// A record that is larger takes too long to be written where it is made.
const SHORT_RECORD: usize = 64 * 1024;

#[async_trait]
impl Log for EmbeddedBroker {
    async fn append(&self, run: RunId, _lane: RecordLane, payload: Bytes, expected: u64) -> Result<u64> {
        Self::fits(&payload)?;
        let begun = Instant::now();
        let is_short = payload.len() <= SHORT_RECORD;
        let append = move |session: &mut StoreTransaction<'_>| append(session, run, payload, expected);
        let outcome = match is_short {
            true => self.store.short_call("append a record", append).await,
            false => self.store.call("append a record", append).await,
        };
        count_append(&outcome, begun);
        outcome
    }

    async fn create(&self, run: RunId, workflow: &Name, payload: Bytes) -> Result<u64> {
        Self::fits(&payload)?;
        let begun = Instant::now();
        let queue = QueueName::Workflow(workflow.clone());
        let create = move |session: &mut StoreTransaction<'_>| {
            let seq = append(session, run, payload, 0)?;
            due::insert(session, queue, Job { run, reason: JobReason::Start })?;
            Ok(seq)
        };
        let outcome = self.store.call("create a run", create).await;
        count_append(&outcome, begun);
        outcome
    }

    async fn append_to_untouched(
        &self,
        run: RunId,
        _lane: RecordLane,
        payload: Bytes,
        expected: u64,
    ) -> Result<Option<u64>> {
        Self::fits(&payload)?;
        let begun = Instant::now();
        let append = move |session: &mut StoreTransaction<'_>| {
            if inbox_holds_anything(session.sql, run)? {
                return Err(Error::Conflict { expected }.into());
            }
            append(session, run, payload, expected)
        };
        let outcome = self.store.short_call("append a record", append).await;
        count_append(&outcome, begun);
        outcome.map(Some)
    }

    fn sees_inbox(&self) -> bool {
        true
    }

    async fn read(&self, run: RunId, after: u64) -> Result<Vec<StoredRecord>> {
        self.store
            .call("read a run's log", move |session| {
                let Some(head) = find_head(session, run)? else { return Ok(Vec::new()) };
                let mut statement = session
                    .sql
                    .prepare_cached("select seq, at, payload from records where run = ?1 and seq > ?2 order by seq")?;
                let records = statement.query_map(params![head.no, after], stored)?;
                Ok(records.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    fn read_backwards(&self, run: RunId) -> BoxStream<'_, Result<StoredRecord>> {
        let read = self.store.call("read a run's last records", move |session| {
            let Some(head) = find_head(session, run)? else { return Ok(Vec::new()) };
            let mut statement = session
                .sql
                .prepare_cached("select seq, at, payload from records where run = ?1 order by seq desc limit ?2")?;
            let records = statement.query_map(params![head.no, LAST_RECORDS], stored)?;
            Ok(records.collect::<rusqlite::Result<Vec<_>>>()?)
        });
        stream::once(read).map_ok(|records| stream::iter(records.into_iter().map(Ok))).try_flatten().boxed()
    }

    async fn last(&self, run: RunId) -> Result<Option<StoredRecord>> {
        self.store
            .call("read a run's last record", move |session| {
                let Some(head) = find_head(session, run)? else { return Ok(None) };
                let mut statement =
                    session.sql.prepare_cached("select seq, at, payload from records where seq = ?1")?;
                Ok(statement.query_row([head.last], stored).optional()?)
            })
            .await
    }

    async fn last_did(&self, run: RunId) -> Result<Option<StoredRecord>> {
        self.last(run).await
    }

    async fn first(&self, run: RunId) -> Result<Option<StoredRecord>> {
        self.store
            .call("read a run's first record", move |session| {
                let Some(head) = find_head(session, run)? else { return Ok(None) };
                let mut statement = session
                    .sql
                    .prepare_cached("select seq, at, payload from records where run = ?1 order by seq limit 1")?;
                Ok(statement.query_row([head.no], stored).optional()?)
            })
            .await
    }

    async fn follow(&self, run: RunId) -> Result<BoxStream<'static, RunUpdate>> {
        let (publisher, subscription) = subscription(RunUpdate::Gap);
        self.store
            .call("follow a run", move |session| {
                session.changes.push(StoreChange::Follow(run, publisher));
                Ok(())
            })
            .await?;
        Ok(subscription.boxed())
    }

    async fn subscribe_all(&self) -> Result<BoxStream<'static, LogUpdate>> {
        let (publisher, subscription) = subscription(LogUpdate::Gap);
        self.store
            .call("listen to all runs", move |session| {
                session.changes.push(StoreChange::FollowAll(publisher));
                Ok(())
            })
            .await?;
        Ok(subscription.boxed())
    }

    async fn publish_delta(&self, run: RunId, delta: Bytes) -> Result<()> {
        Self::fits(&delta)?;
        self.store
            .short_call("send a delta", move |session| {
                session.changes.push(StoreChange::Live(run, RunUpdate::Delta(delta)));
                Ok(())
            })
            .await
    }

    async fn scan(&self) -> Result<BoxStream<'static, Result<ScannedItem>>> {
        Ok(scan::scan(self.store.weak()))
    }

    async fn append_tombstone(&self, run: RunId, tombstone: Bytes, kept: Duration) -> Result<u64> {
        Self::fits(&tombstone)?;
        self.store
            .call("remove a run", move |session| {
                session.room.lift(session.sql)?;
                let head = head(session, run)?;
                let seq = insert(session, run, tombstone, head)?;
                let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
                let until = session.now_millis().saturating_add(kept);
                session
                    .sql
                    .prepare_cached("insert or replace into tombstones (run, until) values (?1, ?2)")?
                    .execute(params![run.to_string(), until])?;
                Ok(seq)
            })
            .await
    }

    /// No call is needed: the process that buries here cleans, too.
    async fn notify_cleaner(&self, _run: RunId) -> Result<()> {
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        self.store.call("reach the broker", |_| Ok(())).await?;
        if self.store.full_lately() {
            return Err(Error::Full { what: "the store in the data folder, or its disk".to_owned() });
        }
        Ok(())
    }
}

#[async_trait]
impl Cleaner for EmbeddedBroker {
    /// The store overwrites whatever it removes.
    async fn forget(&self, run: RunId, before: u64, _how: RemovalMethod) -> Result<()> {
        self.store
            .call("remove a run's records", move |session| {
                let Some(head) = find_head(session, run)? else { return Ok(()) };
                Ok(remove(session, run, head, before)?)
            })
            .await
    }

    async fn erase(&self, run: RunId, slot: InboxSlot) -> Result<()> {
        self.reopen(run, slot).await
    }

    async fn notifications(&self) -> Result<BoxStream<'static, RunId>> {
        Ok(stream::pending().boxed())
    }
}

fn append(session: &mut StoreTransaction<'_>, run: RunId, payload: Bytes, expected: u64) -> Result<u64, CallFault> {
    // A run that is not there is not made by a writer who is refused.
    if find_head(session, run)?.map_or(0, |head| head.last) != expected {
        return Err(Error::Conflict { expected }.into());
    }
    let head = head(session, run)?;
    insert(session, run, payload, head)
}

fn insert(session: &mut StoreTransaction<'_>, run: RunId, payload: Bytes, head: RunHead) -> Result<u64, CallFault> {
    let seq = session.next_sequence();
    session
        .sql
        .prepare_cached("insert into records (seq, run, at, payload) values (?1, ?2, ?3, ?4)")?
        .execute(params![seq, head.no, session.now_millis(), &payload[..]])?;
    session.appended += 1;
    session.heads.insert(run, RunHead { last: seq, ..head });
    let stored = StoredRecord { seq, at: session.now, payload };
    session.changes.push(StoreChange::Live(run, RunUpdate::Record { stored, previous: head.last }));
    Ok(seq)
}

/// Whether anything lies in a run's inbox.
fn inbox_holds_anything(sql: &Connection, run: RunId) -> rusqlite::Result<bool> {
    let mut statement = sql.prepare_cached("select exists (select 1 from inbox where run = ?1)")?;
    statement.query_row([run.to_string()], |row| row.get(0))
}

/// Removes a run's records before a sequence, its inbox and its timer.
fn remove(session: &mut StoreTransaction<'_>, run: RunId, head: RunHead, before: u64) -> rusqlite::Result<()> {
    let id = run.to_string();
    session.forgets = true;
    let records = "delete from records where run = ?1 and seq < ?2";
    session.sql.prepare_cached(records)?.execute(params![head.no, before])?;
    session.sql.prepare_cached("delete from inbox where run = ?1")?.execute([&id])?;
    session.sql.prepare_cached("delete from timers where run = ?1")?.execute([&id])?;
    Ok(())
}

/// The run's head, made if the file does not know the run.
fn head(session: &mut StoreTransaction<'_>, run: RunId) -> rusqlite::Result<RunHead> {
    if let Some(head) = find_head(session, run)? {
        return Ok(head);
    }
    session.sql.prepare_cached("insert into runs (run) values (?1)")?.execute([run.to_string()])?;
    Ok(RunHead { no: session.sql.last_insert_rowid(), last: 0 })
}

fn find_head(session: &mut StoreTransaction<'_>, run: RunId) -> rusqlite::Result<Option<RunHead>> {
    if let Some(head) = session.heads.get(&run) {
        return Ok(Some(*head));
    }
    let mut statement = session.sql.prepare_cached(
        "select no, coalesce((select max(seq) from records where records.run = runs.no), 0) from runs where run = ?1",
    )?;
    let found =
        statement.query_row([run.to_string()], |row| Ok(RunHead { no: row.get(0)?, last: row.get(1)? })).optional()?;
    if let Some(head) = found {
        session.heads.insert(run, head);
    }
    Ok(found)
}

/// A record or an answer, from the columns `seq, at, payload`.
pub(super) fn stored(row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
    let at = Timestamp::from_millisecond(row.get(1)?).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(StoredRecord { seq: row.get(0)?, at, payload: Bytes::from(row.get::<_, Vec<u8>>(2)?) })
}
