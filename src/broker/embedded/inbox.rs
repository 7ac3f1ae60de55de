//! Answers and cancels in the embedded store.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rusqlite::{Connection, OptionalExtension, params};

use super::EmbeddedBroker;
use super::log::stored;
use super::store_change::{StoreChange, subscription};
use crate::broker::{Inbox, InboxSlot, InboxUpdate, PutOutcome, Result, StoredRecord};
use crate::ids::RunId;

#[async_trait]
impl Inbox for EmbeddedBroker {
    async fn put(&self, run: RunId, slot: InboxSlot, payload: Bytes) -> Result<PutOutcome> {
        Self::fits(&payload)?;
        self.store
            .call("put into a run's inbox", move |session| {
                if let Some(first) = find(session.sql, run, slot)? {
                    return Ok(PutOutcome::Taken(first));
                }
                let seq = session.next_sequence();
                session
                    .sql
                    .prepare_cached("insert into inbox (run, slot, seq, at, payload) values (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![run.to_string(), name(slot), seq, session.now_millis(), &payload[..]])?;
                let stored = StoredRecord { seq, at: session.now, payload };
                session.changes.push(StoreChange::InboxChanged(run, InboxUpdate::Stored { slot, stored }));
                Ok(PutOutcome::First)
            })
            .await
    }

    async fn replace(&self, run: RunId, slot: InboxSlot, payload: Bytes, kept: Duration) -> Result<()> {
        Self::fits(&payload)?;
        self.store
            .call("replace what is in a run's inbox", move |session| {
                let (id, slot_name, seq, now) =
                    (run.to_string(), name(slot), session.next_sequence(), session.now_millis());
                let until = now.saturating_add(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
                session
                    .sql
                    .prepare_cached(
                        "insert or replace into inbox (run, slot, seq, at, payload) values (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![id, slot_name, seq, now, &payload[..]])?;
                session
                    .sql
                    .prepare_cached("insert or replace into inbox_expiries (run, slot, until) values (?1, ?2, ?3)")?
                    .execute(params![id, slot_name, until])?;
                // What was there before is not to be found in the files any more.
                session.forgets = true;
                let stored = StoredRecord { seq, at: session.now, payload };
                session.changes.push(StoreChange::InboxChanged(run, InboxUpdate::Stored { slot, stored }));
                Ok(())
            })
            .await
    }

    async fn notify(&self, run: RunId, slot: InboxSlot, payload: Bytes) -> Result<()> {
        self.store
            .call("tell a run something", move |session| {
                let stored = StoredRecord { seq: 0, at: session.now, payload };
                session.changes.push(StoreChange::InboxChanged(run, InboxUpdate::Stored { slot, stored }));
                Ok(())
            })
            .await
    }

    async fn get(&self, run: RunId, slot: InboxSlot) -> Result<Option<StoredRecord>> {
        self.store.call("read a run's inbox", move |session| Ok(find(session.sql, run, slot)?)).await
    }

    async fn reopen(&self, run: RunId, slot: InboxSlot) -> Result<()> {
        self.store
            .call("empty a slot of a run's inbox", move |session| {
                let gone = session
                    .sql
                    .prepare_cached("delete from inbox where run = ?1 and slot = ?2")?
                    .execute(params![run.to_string(), name(slot)])?;
                session.forgets |= gone > 0;
                Ok(())
            })
            .await
    }

    async fn subscribe(&self, run: RunId) -> Result<BoxStream<'static, InboxUpdate>> {
        let (publisher, subscription) = subscription(InboxUpdate::Gap);
        self.store
            .call("listen to a run's inbox", move |session| {
                session.changes.push(StoreChange::FollowInbox(run, publisher));
                Ok(())
            })
            .await?;
        Ok(subscription.boxed())
    }
}

fn find(sql: &Connection, run: RunId, slot: InboxSlot) -> rusqlite::Result<Option<StoredRecord>> {
    sql.prepare_cached("select seq, at, payload from inbox where run = ?1 and slot = ?2")?
        .query_row(params![run.to_string(), name(slot)], stored)
        .optional()
}

fn name(slot: InboxSlot) -> String {
    match slot {
        InboxSlot::Answer(question) => question.to_string(),
        InboxSlot::Cancel => "cancel".to_owned(),
        InboxSlot::Peek => "peek".to_owned(),
        InboxSlot::Key => "key".to_owned(),
        InboxSlot::CallerToken => "token".to_owned(),
    }
}
