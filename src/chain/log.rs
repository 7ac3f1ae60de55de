//! The broker's log with links in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, TryFutureExt};
use parking_lot::{Mutex, MutexGuard};

use super::anchors::{AnchorWriter, LogAnchor, LogFate};
use super::{ChainHead, ChainKey, ChainLink, ChainMark, ROOM, digest, linked};
use crate::broker::{Broker, Error, Log, LogUpdate, RecordLane, Result, RunUpdate, ScannedItem, StoredRecord};
use crate::clock::Clock;
use crate::ids::{Name, RunId};

/// Heads of logs that are kept in memory, about a hundred bytes each; with one more all are read again as they are needed.
const HEADS: usize = 32_768;

/// The broker with a log that links whatever is appended to it, and writes down apart from it where each log ends.
pub fn chained(broker: Broker, key: ChainKey, anchors: Arc<AnchorWriter>, clock: Arc<dyn Clock>) -> Broker {
    let inner = broker.log.clone();
    Broker { log: Arc::new(ChainedLog { inner, key, anchors, clock, heads: Mutex::default() }), ..broker }
}

struct ChainedLog {
    inner: Arc<dyn Log>,
    key: ChainKey,
    anchors: Arc<AnchorWriter>,
    clock: Arc<dyn Clock>,
    /// Where the logs end that were read or written lately. What is wrong here is refused by the log itself.
    heads: Mutex<HashMap<RunId, ChainHead>>,
}

impl ChainedLog {
    fn heads(&self) -> MutexGuard<'_, HashMap<RunId, ChainHead>> {
        self.heads.lock()
    }

    fn remember(&self, run: RunId, head: ChainHead) {
        let mut heads = self.heads();
        if heads.len() >= HEADS {
            heads.clear();
        }
        heads.insert(run, head);
    }

    /// The head that an append after `expected` goes on from.
    async fn head(&self, run: RunId, expected: u64) -> Result<ChainHead> {
        if expected == 0 {
            return Ok(ChainHead::default());
        }
        if let Some(head) = self.heads().get(&run).filter(|head| head.seq == expected) {
            return Ok(*head);
        }
        match self.inner.last(run).await? {
            Some(last) if last.seq == expected => Ok(head_of(&last)),
            _ => Err(Error::Conflict { expected }),
        }
    }

    /// Appends a record with its link, by `append`.
    async fn append_linked<'a>(
        &'a self,
        run: RunId,
        payload: Bytes,
        expected: u64,
        append: impl FnOnce(Bytes) -> BoxFuture<'a, Result<Option<u64>>>,
    ) -> Result<Option<u64>> {
        let head = self.head(run, expected).await?;
        let link = ChainLink::after(&self.key, run, &head, self.clock.now(), &digest(&payload));
        match append(link.write_into(&payload)).await {
            Ok(None) => Ok(None),
            Ok(Some(seq)) => {
                let head = ChainHead { seq, number: link.number, mark: link.mark };
                self.remember(run, head);
                self.anchors.note(run, LogAnchor { head, fate: LogFate::Open });
                Ok(Some(seq))
            }
            Err(error) => {
                // It may have been stored all the same.
                self.heads().remove(&run);
                Err(match error {
                    Error::TooLarge { size, max } => Error::TooLarge { size, max: max.saturating_sub(ROOM) },
                    other => other,
                })
            }
        }
    }
}

/// The head of a log with this last record.
fn head_of(last: &StoredRecord) -> ChainHead {
    match linked(&last.payload) {
        Some(linked) => ChainHead { seq: last.seq, number: linked.link.number, mark: linked.link.mark },
        None => ChainHead { seq: last.seq, ..ChainHead::default() },
    }
}

#[async_trait]
impl Log for ChainedLog {
    async fn append(&self, run: RunId, lane: RecordLane, payload: Bytes, expected: u64) -> Result<u64> {
        let append = |linked| self.inner.append(run, lane, linked, expected).map_ok(Some).boxed();
        let appended = self.append_linked(run, payload, expected, append).await?;
        Ok(appended.expect("an append that does not fail has stored"))
    }

    async fn create(&self, run: RunId, workflow: &Name, payload: Bytes) -> Result<u64> {
        let create = |linked| {
            let workflow = workflow.clone();
            async move { self.inner.create(run, &workflow, linked).await.map(Some) }.boxed()
        };
        let created = self.append_linked(run, payload, 0, create).await?;
        Ok(created.expect("an append that does not fail has stored"))
    }

    fn note_delivered(&self, run: RunId, stored: &StoredRecord) {
        self.remember(run, head_of(stored));
        self.inner.note_delivered(run, stored);
    }

    async fn append_to_untouched(
        &self,
        run: RunId,
        lane: RecordLane,
        payload: Bytes,
        expected: u64,
    ) -> Result<Option<u64>> {
        let append = |linked| self.inner.append_to_untouched(run, lane, linked, expected);
        self.append_linked(run, payload, expected, append).await
    }

    fn new_run_id(&self) -> RunId {
        self.inner.new_run_id()
    }

    fn heard(&self, run: RunId) -> Option<Vec<StoredRecord>> {
        self.inner.heard(run)
    }

    async fn heard_soon(&self, run: RunId) -> Option<Vec<StoredRecord>> {
        self.inner.heard_soon(run).await
    }

    async fn read(&self, run: RunId, after: u64) -> Result<Vec<StoredRecord>> {
        let found = self.inner.read(run, after).await?;
        if let Some(last) = found.last() {
            self.remember(run, head_of(last));
        }
        Ok(found)
    }

    fn sees_inbox(&self) -> bool {
        self.inner.sees_inbox()
    }

    async fn read_new(&self, run: RunId) -> Result<Vec<StoredRecord>> {
        let found = self.inner.read_new(run).await?;
        if let Some(last) = found.last() {
            self.remember(run, head_of(last));
        }
        Ok(found)
    }

    fn read_backwards(&self, run: RunId) -> BoxStream<'_, Result<StoredRecord>> {
        self.inner.read_backwards(run)
    }

    /// Without its link: a writer knows its own words again by it.
    async fn last(&self, run: RunId) -> Result<Option<StoredRecord>> {
        Ok(self.inner.last(run).await?.map(unlinked))
    }

    async fn last_did(&self, run: RunId) -> Result<Option<StoredRecord>> {
        Ok(self.inner.last_did(run).await?.map(unlinked))
    }

    async fn last_did_of(&self, runs: &[RunId]) -> Result<Vec<(RunId, StoredRecord)>> {
        let found = self.inner.last_did_of(runs).await?;
        Ok(found.into_iter().map(|(run, last)| (run, unlinked(last))).collect())
    }

    async fn first(&self, run: RunId) -> Result<Option<StoredRecord>> {
        self.inner.first(run).await
    }

    async fn follow(&self, run: RunId) -> Result<BoxStream<'static, RunUpdate>> {
        self.inner.follow(run).await
    }

    async fn subscribe_all(&self) -> Result<BoxStream<'static, LogUpdate>> {
        self.inner.subscribe_all().await
    }

    async fn publish_delta(&self, run: RunId, delta: Bytes) -> Result<()> {
        self.inner.publish_delta(run, delta).await
    }

    async fn scan(&self) -> Result<BoxStream<'static, Result<ScannedItem>>> {
        self.inner.scan().await
    }

    async fn append_tombstone(&self, run: RunId, tombstone: Bytes, kept: Duration) -> Result<u64> {
        let before = self.inner.last(run).await?.map_or_else(ChainHead::default, |last| head_of(&last));
        let link = ChainLink::after(&self.key, run, &before, self.clock.now(), &digest(&tombstone));
        // What came before it will be gone: it must stand by itself.
        let link = ChainLink { before: Some((before.seq, before.mark)), ..link };
        self.heads().remove(&run);
        let seq = self.inner.append_tombstone(run, link.write_into(&tombstone), kept).await?;
        let head = ChainHead { seq: 0, number: link.number, mark: link.mark };
        let until = self.clock.now().checked_add(kept).ok();
        self.anchors.note(run, LogAnchor { head, fate: LogFate::Removed { until } });
        Ok(seq)
    }

    fn covered(&self, run: RunId, seq: u64, digest: &ChainMark) -> Option<String> {
        Some(self.key.cover(run, seq, digest))
    }

    async fn notify_cleaner(&self, run: RunId) -> Result<()> {
        self.inner.notify_cleaner(run).await
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}

/// A record as it was before it was chained.
fn unlinked(stored: StoredRecord) -> StoredRecord {
    match linked(&stored.payload).map(|linked| linked.payload()) {
        Some(payload) => StoredRecord { payload, ..stored },
        None => stored,
    }
}
