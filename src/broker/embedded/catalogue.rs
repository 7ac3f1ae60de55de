//! The catalogue in the embedded store.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rusqlite::{OptionalExtension, Row, params};
use tokio::sync::oneshot;

use super::session::StoreTransaction;
use super::store_change::StoreChange;
use super::{EmbeddedBroker, lines};
use crate::broker::{Bucket, Catalogue, CatalogueEntry, Error, Result, check_key};

#[async_trait]
impl Catalogue for EmbeddedBroker {
    async fn put(&self, bucket: Bucket, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<()> {
        check_key(key)?;
        Self::fits(&value)?;
        let key = key.to_owned();
        self.store
            .call("put into the catalogue", move |session| {
                let expires = expiry(session.now_millis(), ttl);
                let put = session.next_sequence();
                session
                    .sql
                    .prepare_cached(
                        "insert or replace into catalogue (shelf, key, value, put, expires) values (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![bucket.name(), key, &value[..], put, expires])?;
                changed(session, bucket, &key)?;
                Ok(())
            })
            .await
    }

    async fn put_first(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<Bytes> {
        check_key(key)?;
        Self::fits(&value)?;
        let key = key.to_owned();
        self.store
            .call("put into the catalogue", move |session| {
                let put = session.next_sequence();
                let stored = session
                    .sql
                    .prepare_cached(
                        "insert into catalogue (shelf, key, value, put, expires) values (?1, ?2, ?3, ?4, null)
                         on conflict do nothing",
                    )?
                    .execute(params![bucket.name(), key, &value[..], put])?;
                if stored > 0 {
                    changed(session, bucket, &key)?;
                    return Ok(value);
                }
                let mut statement =
                    session.sql.prepare_cached("select value from catalogue where shelf = ?1 and key = ?2")?;
                let value: Vec<u8> = statement.query_row(params![bucket.name(), key], |row| row.get(0))?;
                Ok(Bytes::from(value))
            })
            .await
    }

    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Bytes>> {
        check_key(key)?;
        let key = key.to_owned();
        self.store
            .call("read the catalogue", move |session| {
                let mut statement = session.sql.prepare_cached(
                    "select value from catalogue
                     where shelf = ?1 and key = ?2 and (expires is null or expires > ?3)",
                )?;
                let value: Option<Vec<u8>> = statement
                    .query_row(params![bucket.name(), key, session.now_millis()], |row| row.get(0))
                    .optional()?;
                Ok(value.map(Bytes::from))
            })
            .await
    }

    async fn get_to_change(&self, bucket: Bucket, key: &str) -> Result<(Option<Bytes>, u64)> {
        check_key(key)?;
        let key = key.to_owned();
        self.store
            .call("read the catalogue", move |session| {
                let mut statement = session.sql.prepare_cached(
                    "select put, case when expires is null or expires > ?3 then value end from catalogue
                     where shelf = ?1 and key = ?2",
                )?;
                let found = statement
                    .query_row(params![bucket.name(), key, session.now_millis()], |row| {
                        Ok((row.get::<_, Option<Vec<u8>>>(1)?.map(Bytes::from), row.get(0)?))
                    })
                    .optional()?;
                Ok(found.unwrap_or((None, 0)))
            })
            .await
    }

    async fn put_over(
        &self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
        revision: u64,
        ttl: Option<Duration>,
    ) -> Result<()> {
        check_key(key)?;
        Self::fits(&value)?;
        let key = key.to_owned();
        self.store
            .call("put into the catalogue", move |session| {
                let found: Option<u64> = session
                    .sql
                    .prepare_cached("select put from catalogue where shelf = ?1 and key = ?2")?
                    .query_row(params![bucket.name(), key], |row| row.get(0))
                    .optional()?;
                if found.unwrap_or(0) != revision {
                    return Err(Error::Conflict { expected: revision }.into());
                }
                let (put, expires) = (session.next_sequence(), expiry(session.now_millis(), ttl));
                session
                    .sql
                    .prepare_cached(
                        "insert or replace into catalogue (shelf, key, value, put, expires) values (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![bucket.name(), key, &value[..], put, expires])?;
                changed(session, bucket, &key)?;
                Ok(())
            })
            .await
    }

    async fn list(&self, bucket: Bucket, first: Option<&str>) -> Result<Vec<CatalogueEntry>> {
        first.map_or(Ok(()), check_key)?;
        let first = first.map(str::to_owned);
        self.store
            .call("list the catalogue", move |session| {
                let now = session.now_millis();
                let entries = match first {
                    None => session
                        .sql
                        .prepare_cached(
                            "select key, value from catalogue
                             where shelf = ?1 and (expires is null or expires > ?2) order by put",
                        )?
                        .query_map(params![bucket.name(), now], entry)?
                        .collect::<rusqlite::Result<_>>()?,
                    // '/' is the character after '.', so that this is every key that begins with "first.".
                    Some(first) => session
                        .sql
                        .prepare_cached(
                            "select key, value from catalogue
                             where shelf = ?1 and (key = ?3 or (key > ?3 || '.' and key < ?3 || '/'))
                                and (expires is null or expires > ?2) order by put",
                        )?
                        .query_map(params![bucket.name(), now, first], entry)?
                        .collect::<rusqlite::Result<_>>()?,
                };
                Ok(entries)
            })
            .await
    }

    async fn delete(&self, bucket: Bucket, key: &str) -> Result<()> {
        check_key(key)?;
        let key = key.to_owned();
        self.store
            .call("delete from the catalogue", move |session| {
                let gone = session
                    .sql
                    .prepare_cached("delete from catalogue where shelf = ?1 and key = ?2")?
                    .execute(params![bucket.name(), key])?;
                if gone > 0 {
                    session.forgets = true;
                    changed(session, bucket, &key)?;
                }
                Ok(())
            })
            .await
    }

    async fn watch(&self, bucket: Bucket) -> Result<BoxStream<'static, ()>> {
        let (reply, receiver) = oneshot::channel();
        self.store
            .call("watch the catalogue", move |session| {
                session.changes.push(StoreChange::WatchBucket(bucket, reply));
                Ok(())
            })
            .await?;
        let mut changes =
            receiver.await.map_err(|_| Error::Unavailable { doing: "watch the catalogue".to_owned(), source: None })?;
        changes.mark_changed();
        Ok(stream::unfold(changes, |mut changes| async move {
            changes.changed().await.ok()?;
            Some(((), changes))
        })
        .boxed())
    }
}

/// An entry was put or removed: the index of the lists follows in the same transaction, and watchers are told after it.
fn changed(session: &mut StoreTransaction<'_>, bucket: Bucket, key: &str) -> rusqlite::Result<()> {
    if bucket == Bucket::Runs {
        lines::follow_catalogue(session.sql, key)?;
    }
    session.changes.push(StoreChange::BucketChanged(bucket));
    Ok(())
}

/// When an entry vanishes, in milliseconds.
fn expiry(now: i64, ttl: Option<Duration>) -> Option<i64> {
    ttl.map(|ttl| now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<CatalogueEntry> {
    Ok(CatalogueEntry { key: row.get(0)?, value: Bytes::from(row.get::<_, Vec<u8>>(1)?) })
}
