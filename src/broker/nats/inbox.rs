//! Answers and cancels in the stream `FA_RUNS`.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::headers;
use super::live::LiveUpdates;
use super::reads;
use super::reads::StreamMessage;
use super::server::{NatsConnection, unavailable};
use crate::broker::subjects::{self, RUNS_STREAM};
use crate::broker::{Error, Inbox, InboxSlot, InboxUpdate, PutOutcome, Result, StoredRecord};
use crate::ids::RunId;

/// How often a slot that is opened again at the same moment is tried.
const PUT_TRIES: u32 = 4;

/// The inboxes, over a connection.
pub(super) struct NatsInbox {
    /// The connection.
    pub(super) server: Arc<NatsConnection>,
    /// What is heard over it.
    pub(super) live: Arc<LiveUpdates>,
}

#[async_trait]
impl Inbox for NatsInbox {
    async fn put(&self, run: RunId, slot: InboxSlot, payload: Bytes) -> Result<PutOutcome> {
        const DOING: &str = "put into a run's inbox";
        // The sequence of what says that the slot is open again; 0: nothing was ever in it.
        let mut open = 0;
        for _ in 0..PUT_TRIES {
            let subject = subjects::inbox(run, slot);
            match self.server.store(DOING, subject, HeaderMap::new(), payload.clone(), Some(open)).await {
                Ok(_) => return Ok(PutOutcome::First),
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
            match reads::last_message(&self.server, DOING, RUNS_STREAM, &subjects::inbox(run, slot)).await? {
                Some(read) if is_open(&read) => open = read.stored.seq,
                Some(read) => return Ok(PutOutcome::Taken(read.stored)),
                // Between the refusal and this read the run may have been removed: then nobody is first any more.
                None => return Err(unavailable(DOING, "the run was removed meanwhile")),
            }
        }
        Err(unavailable(DOING, "it is opened again and again"))
    }

    async fn replace(&self, run: RunId, slot: InboxSlot, payload: Bytes, kept: Duration) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(headers::TTL, headers::seconds(kept));
        let subject = subjects::inbox(run, slot);
        self.server.store("replace what is in a run's inbox", subject, headers, payload, None).await.map(drop)
    }

    async fn notify(&self, run: RunId, slot: InboxSlot, payload: Bytes) -> Result<()> {
        self.server.tell("tell a run something", subjects::transient_inbox(run, slot), payload).await
    }

    async fn get(&self, run: RunId, slot: InboxSlot) -> Result<Option<StoredRecord>> {
        let found =
            reads::last_message(&self.server, "read a run's inbox", RUNS_STREAM, &subjects::inbox(run, slot)).await?;
        Ok(found.filter(|read| !is_open(read)).map(|read| read.stored))
    }

    async fn reopen(&self, run: RunId, slot: InboxSlot) -> Result<()> {
        const DOING: &str = "empty a slot of a run's inbox";
        let subject = subjects::inbox(run, slot);
        let Some(read) = reads::last_message(&self.server, DOING, RUNS_STREAM, &subject).await? else { return Ok(()) };
        if is_open(&read) {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(headers::SLOT_OPEN, "1");
        match self.server.store(DOING, subject, headers, Bytes::new(), Some(read.stored.seq)).await {
            // Another process has opened it, or the run is gone.
            Ok(_) | Err(Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn subscribe(&self, run: RunId) -> Result<BoxStream<'static, InboxUpdate>> {
        self.live.inbox(&self.server, run).await
    }
}

/// Whether a message in a slot says that there is nothing in it.
fn is_open(read: &StreamMessage) -> bool {
    read.headers.as_ref().is_some_and(|headers| headers.get(headers::SLOT_OPEN).is_some())
}
