//! The catalogue in key-value buckets, which the `nats kv` tool can look into.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::follow::UNREAD;
use super::headers::{KV_OPERATION, TTL, is_gone, seconds};
use super::server::Server;
use super::streams::MARKER_TTL;
use crate::broker::subjects::{bucket, bucket_entry, bucket_stream, shelf_changes};
use crate::broker::{Catalogue, Entry, Error, Result, Shelf, check_key};
use crate::clock::Timestamp;

#[async_trait]
impl Catalogue for Server {
    async fn put(&self, shelf: Shelf, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<()> {
        check_key(key)?;
        let mut headers = HeaderMap::new();
        if let Some(ttl) = ttl {
            headers.insert(TTL, seconds(ttl));
        }
        self.store("put into the catalogue", bucket_entry(&bucket(shelf), key), headers, value, None).await.map(drop)
    }

    async fn put_first(&self, shelf: Shelf, key: &str, value: Bytes) -> Result<Bytes> {
        check_key(key)?;
        const DOING: &str = "put into the catalogue";
        let subject = bucket_entry(&bucket(shelf), key);
        match self.store(DOING, subject, HeaderMap::new(), value.clone(), Some(0)).await {
            Ok(_) => Ok(value),
            Err(Error::Conflict { expected }) => self.get(shelf, key).await?.ok_or(Error::Conflict { expected }),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, shelf: Shelf, key: &str) -> Result<Option<Bytes>> {
        check_key(key)?;
        let bucket = bucket(shelf);
        let found =
            self.last_message("read the catalogue", &bucket_stream(&bucket), &bucket_entry(&bucket, key)).await?;
        Ok(found.filter(|read| !is_gone(read.headers.as_ref())).map(|read| read.stored.payload))
    }

    async fn put_at(&self, shelf: Shelf, key: &str) -> Result<Option<Timestamp>> {
        check_key(key)?;
        let bucket = bucket(shelf);
        let found =
            self.last_message("read the catalogue", &bucket_stream(&bucket), &bucket_entry(&bucket, key)).await?;
        Ok(found.filter(|read| !is_gone(read.headers.as_ref())).map(|read| read.stored.at))
    }

    async fn list(&self, shelf: Shelf, first: Option<&str>) -> Result<Vec<Entry>> {
        first.map_or(Ok(()), check_key)?;
        const DOING: &str = "list the catalogue";
        let bucket = bucket(shelf);
        let stream = bucket_stream(&bucket);
        let prefix = bucket_entry(&bucket, "");
        let mut found = Vec::new();
        match first {
            None => found = self.read_many(DOING, &stream, &bucket_entry(&bucket, ">")).await?,
            Some(first) => {
                found.extend(self.last_message(DOING, &stream, &bucket_entry(&bucket, first)).await?);
                found.extend(self.read_many(DOING, &stream, &bucket_entry(&bucket, &format!("{first}.>"))).await?);
                found.sort_by_key(|read| read.stored.seq);
            }
        }
        // A key that was put again while the pages were read comes twice: the later one holds.
        let mut newest = HashMap::with_capacity(found.len());
        for read in &found {
            newest.insert(read.subject.clone(), read.stored.seq);
        }
        Ok(found
            .into_iter()
            .filter(|read| newest.get(&read.subject) == Some(&read.stored.seq) && !is_gone(read.headers.as_ref()))
            .filter_map(|read| {
                let key = read.subject.strip_prefix(&prefix)?.to_owned();
                Some(Entry { key, value: read.stored.payload })
            })
            .collect())
    }

    async fn delete(&self, shelf: Shelf, key: &str) -> Result<()> {
        check_key(key)?;
        let mut headers = HeaderMap::new();
        headers.insert(KV_OPERATION, "DEL");
        // What says that the key is gone need not stay either.
        headers.insert(TTL, seconds(MARKER_TTL));
        let subject = bucket_entry(&bucket(shelf), key);
        self.store("delete from the catalogue", subject, headers, Bytes::new(), None).await.map(drop)
    }

    async fn watch(&self, shelf: Shelf) -> Result<BoxStream<'static, ()>> {
        let changes = self.hear("watch the catalogue", shelf_changes(shelf), |_| Some(()), || ()).await?;
        // Many changes at once are one: whoever watches reads the shelf again anyway.
        Ok(stream::once(async {}).chain(changes.ready_chunks(UNREAD).map(drop)).boxed())
    }
}
