//! The catalogue in key-value buckets, which the `nats kv` tool can look into.

use std::collections::HashMap;
use std::sync::Once;
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde_json::json;

use super::cleaner::OVERWRITTEN_AT_ONCE;
use super::follow;
use super::follow::MOST_UNREAD;
use super::headers::{KV_OPERATION, TTL, seconds};
use super::monitor::LeaderElections;
use super::reads;
use super::server::NatsConnection;
use super::streams::MARKER_TTL;
use crate::broker::subjects::{bucket_changes, bucket_entry, bucket_name, bucket_stream};
use crate::broker::{Bucket, Catalogue, CatalogueEntry, Error, Result, check_key};
use crate::clock::Timestamp;

const OVERWRITE: &str = "overwrite a line of the lists";

/// Whether a bucket has values from before the last one, until they are overwritten.
fn has_older(bucket: Bucket) -> bool {
    bucket == Bucket::Runs
}

#[async_trait]
impl Catalogue for NatsConnection {
    async fn put(&self, bucket: Bucket, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<()> {
        check_key(key)?;
        let mut headers = HeaderMap::new();
        if let Some(ttl) = ttl {
            headers.insert(TTL, seconds(ttl));
        }
        self.store("put into the catalogue", bucket_entry(&bucket_name(bucket), key), headers, value, None)
            .await
            .map(drop)
    }

    async fn put_first(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<Bytes> {
        check_key(key)?;
        const DOING: &str = "put into the catalogue";
        let subject = bucket_entry(&bucket_name(bucket), key);
        match self.store(DOING, subject, HeaderMap::new(), value.clone(), Some(0)).await {
            Ok(_) => Ok(value),
            Err(Error::Conflict { expected }) => self.get(bucket, key).await?.ok_or(Error::Conflict { expected }),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Bytes>> {
        check_key(key)?;
        let bucket_name = bucket_name(bucket);
        let found = reads::last_message(
            self,
            "read the catalogue",
            &bucket_stream(&bucket_name),
            &bucket_entry(&bucket_name, key),
        )
        .await?;
        Ok(found.filter(|read| self.clock.holds(read.stored.at, read.headers.as_ref())).map(|read| read.stored.payload))
    }

    async fn get_to_change(&self, bucket: Bucket, key: &str) -> Result<(Option<Bytes>, u64)> {
        check_key(key)?;
        let bucket_name = bucket_name(bucket);
        let found = reads::last_message(
            self,
            "read the catalogue",
            &bucket_stream(&bucket_name),
            &bucket_entry(&bucket_name, key),
        )
        .await?;
        // What says that an entry is gone has a revision, too.
        let revision = found.as_ref().map_or(0, |read| read.stored.seq);
        let there = found.filter(|read| self.clock.holds(read.stored.at, read.headers.as_ref()));
        Ok((there.map(|read| read.stored.payload), revision))
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
        let mut headers = HeaderMap::new();
        if let Some(ttl) = ttl {
            headers.insert(TTL, seconds(ttl));
        }
        let subject = bucket_entry(&bucket_name(bucket), key);
        self.store("put into the catalogue", subject, headers, value, Some(revision)).await.map(drop)
    }

    async fn put_at(&self, bucket: Bucket, key: &str) -> Result<Option<Timestamp>> {
        check_key(key)?;
        let bucket_name = bucket_name(bucket);
        let found = reads::last_message(
            self,
            "read the catalogue",
            &bucket_stream(&bucket_name),
            &bucket_entry(&bucket_name, key),
        )
        .await?;
        Ok(found.filter(|read| self.clock.holds(read.stored.at, read.headers.as_ref())).map(|read| read.stored.at))
    }

    async fn list(&self, bucket: Bucket, first: Option<&str>) -> Result<Vec<CatalogueEntry>> {
        first.map_or(Ok(()), check_key)?;
        const DOING: &str = "list the catalogue";
        let bucket_name = bucket_name(bucket);
        let stream = bucket_stream(&bucket_name);
        let prefix = bucket_entry(&bucket_name, "");
        let mut found = Vec::new();
        match first {
            None => {
                found =
                    reads::read_many(self, DOING, &stream, &bucket_entry(&bucket_name, ">"), has_older(bucket)).await?
            }
            Some(first) => {
                found.extend(reads::last_message(self, DOING, &stream, &bucket_entry(&bucket_name, first)).await?);
                let filter = bucket_entry(&bucket_name, &format!("{first}.>"));
                found.extend(reads::read_many(self, DOING, &stream, &filter, has_older(bucket)).await?);
                found.sort_by_key(|read| read.stored.seq);
            }
        }
        // A key that was put again while the pages were read comes twice, and on some buckets older values do: the last one holds.
        let mut newest = HashMap::with_capacity(found.len());
        for read in &found {
            newest.insert(read.subject.clone(), read.stored.seq);
            self.clock.saw(read.stored.at);
        }
        Ok(found
            .into_iter()
            .filter(|read| {
                newest.get(&read.subject) == Some(&read.stored.seq)
                    && self.clock.holds(read.stored.at, read.headers.as_ref())
            })
            .filter_map(|read| {
                let key = read.subject.strip_prefix(&prefix)?.to_owned();
                Some(CatalogueEntry { key, value: read.stored.payload })
            })
            .collect())
    }

    async fn delete(&self, bucket: Bucket, key: &str) -> Result<()> {
        check_key(key)?;
        if has_older(bucket) && overwrite_values(self, bucket, key, u64::MAX).await? {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(KV_OPERATION, "DEL");
        // What says that the key is gone need not stay either.
        headers.insert(TTL, seconds(MARKER_TTL));
        let subject = bucket_entry(&bucket_name(bucket), key);
        self.store("delete from the catalogue", subject, headers, Bytes::new(), None).await.map(drop)
    }

    async fn forget_older(&self, bucket: Bucket, key: &str) -> Result<()> {
        check_key(key)?;
        if !has_older(bucket) {
            return Ok(());
        }
        let bucket_name = bucket_name(bucket);
        let last = reads::last_message(self, OVERWRITE, &bucket_stream(&bucket_name), &bucket_entry(&bucket_name, key))
            .await?;
        match last {
            Some(last) => overwrite_values(self, bucket, key, last.stored.seq).await.map(drop),
            None => Ok(()),
        }
    }

    async fn watch(&self, bucket: Bucket) -> Result<BoxStream<'static, ()>> {
        let changes = follow::hear(
            self,
            "watch the catalogue",
            bucket_changes(bucket),
            LeaderElections::of_buckets,
            |_| Some(()),
            || (),
        );
        let changes = changes.await?;
        // Many changes at once are one: whoever watches reads the bucket again anyway.
        Ok(stream::once(async {}).chain(changes.ready_chunks(MOST_UNREAD).map(drop)).boxed())
    }
}

/// Overwrites the values of an entry before a sequence. Whether that could be done: not in a bucket that an earlier version
/// has made, and not with a login that may not.
async fn overwrite_values(server: &NatsConnection, bucket: Bucket, key: &str, before: u64) -> Result<bool> {
    static SAID: Once = Once::new();
    let bucket_name = bucket_name(bucket);
    let (stream, subject) = (bucket_stream(&bucket_name), bucket_entry(&bucket_name, key));
    let found = values(server, OVERWRITE, &stream, &subject, before).await?;
    let done = stream::iter(found.into_iter().map(Ok))
        .try_for_each_concurrent(OVERWRITTEN_AT_ONCE, |seq| server.overwrite(OVERWRITE, &stream, seq))
        .await;
    match done {
        Ok(()) => Ok(true),
        Err(error @ (Error::Denied { .. } | Error::Refused { .. })) => {
            SAID.call_once(|| {
                tracing::warn!("older lines of the lists stay in the files of the NATS server for a while: {error}");
            });
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The sequences of what was put under a key, before one. Of three servers only the leader knows all.
async fn values(server: &NatsConnection, doing: &str, stream: &str, subject: &str, before: u64) -> Result<Vec<u64>> {
    if !server.replicated {
        let found = reads::read_all(server, doing, stream, subject, 0).await?;
        return Ok(found.into_iter().map(|read| read.stored.seq).filter(|seq| *seq < before).collect());
    }
    let (mut found, mut from) = (Vec::new(), 1);
    loop {
        let next = json!({ "seq": from, "next_by_subj": subject });
        match reads::leaders_message(server, doing, stream, next).await? {
            Some(read) if read.stored.seq < before => {
                found.push(read.stored.seq);
                from = read.stored.seq + 1;
            }
            _ => return Ok(found),
        }
    }
}
