//! Answers and cancels in the embedded store.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rusqlite::{Connection, OptionalExtension, params};

use super::Embedded;
use super::log::stored;
use super::store_change::{StoreChange, listener};
use crate::broker::{Bell, Inbox, Put, Result, Slot, Stored};
use crate::ids::RunId;

#[async_trait]
impl Inbox for Embedded {
    async fn put(&self, run: RunId, slot: Slot, payload: Bytes) -> Result<Put> {
        Self::fits(&payload)?;
        self.store
            .call("put into a run's inbox", move |session| {
                if let Some(first) = find(session.sql, run, slot)? {
                    return Ok(Put::Taken(first));
                }
                let seq = session.next_sequence();
                session
                    .sql
                    .prepare_cached("insert into inbox (run, slot, seq, at, payload) values (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![run.to_string(), name(slot), seq, session.now_millis(), &payload[..]])?;
                let stored = Stored { seq, at: session.now, payload };
                session.told.push(StoreChange::Rang(run, Bell::Rang { slot, stored }));
                Ok(Put::First)
            })
            .await
    }

    async fn tell(&self, run: RunId, slot: Slot, payload: Bytes) -> Result<()> {
        self.store
            .call("tell a run something", move |session| {
                let stored = Stored { seq: 0, at: session.now, payload };
                session.told.push(StoreChange::Rang(run, Bell::Rang { slot, stored }));
                Ok(())
            })
            .await
    }

    async fn get(&self, run: RunId, slot: Slot) -> Result<Option<Stored>> {
        self.store.call("read a run's inbox", move |session| Ok(find(session.sql, run, slot)?)).await
    }

    async fn reopen(&self, run: RunId, slot: Slot) -> Result<()> {
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

    async fn bell(&self, run: RunId) -> Result<BoxStream<'static, Bell>> {
        let (voice, ear) = listener(Bell::Gap);
        self.store
            .call("listen to a run's inbox", move |session| {
                session.told.push(StoreChange::Listen(run, voice));
                Ok(())
            })
            .await?;
        Ok(ear.boxed())
    }
}

fn find(sql: &Connection, run: RunId, slot: Slot) -> rusqlite::Result<Option<Stored>> {
    sql.prepare_cached("select seq, at, payload from inbox where run = ?1 and slot = ?2")?
        .query_row(params![run.to_string(), name(slot)], stored)
        .optional()
}

fn name(slot: Slot) -> String {
    match slot {
        Slot::Answer(question) => question.to_string(),
        Slot::Cancel => "cancel".to_owned(),
        Slot::Peek => "peek".to_owned(),
        Slot::Key => "key".to_owned(),
    }
}
