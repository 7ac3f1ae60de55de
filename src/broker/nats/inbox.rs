//! Answers and cancels in the stream `FA_RUNS`.

use async_nats::{HeaderMap, Message};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::headers;
use super::server::{Server, unavailable};
use crate::broker::subjects::{self, RUNS_STREAM};
use crate::broker::{Bell, Error, Inbox, Put, Result, Slot, Stored};
use crate::clock::Timestamp;
use crate::ids::RunId;

#[async_trait]
impl Inbox for Server {
    async fn put(&self, run: RunId, slot: Slot, payload: Bytes) -> Result<Put> {
        const DOING: &str = "put into a run's inbox";
        match self.store(DOING, subjects::inbox(run, slot), HeaderMap::new(), payload, Some(0)).await {
            Ok(_) => Ok(Put::First),
            // Between the refusal and this read the run may have been purged: then nobody is first any more.
            Err(Error::Conflict { .. }) => match self.get(run, slot).await? {
                Some(first) => Ok(Put::Taken(first)),
                None => Err(unavailable(DOING, "the run was removed meanwhile")),
            },
            Err(error) => Err(error),
        }
    }

    async fn tell(&self, run: RunId, slot: Slot, payload: Bytes) -> Result<()> {
        Server::tell(self, "tell a run something", subjects::told(run, slot), payload).await
    }

    async fn get(&self, run: RunId, slot: Slot) -> Result<Option<Stored>> {
        let found = self.last_message("read a run's inbox", RUNS_STREAM, &subjects::inbox(run, slot)).await?;
        Ok(found.map(|read| read.stored))
    }

    async fn erase(&self, run: RunId, slot: Slot) -> Result<()> {
        const DOING: &str = "erase an entry of a run's inbox";
        let Some(read) = self.last_message(DOING, RUNS_STREAM, &subjects::inbox(run, slot)).await? else {
            return Ok(());
        };
        self.overwrite(DOING, RUNS_STREAM, read.stored.seq).await
    }

    async fn bell(&self, run: RunId) -> Result<BoxStream<'static, Bell>> {
        self.hear("listen to a run's inbox", subjects::bell(run), rang, || Bell::Gap).await
    }
}

/// What a message on [`subjects::bell`] says.
fn rang(message: Message) -> Option<Bell> {
    let slot = subjects::slot_of(&message.subject)?;
    // What was told and not stored has no place.
    let (seq, at) = headers::place(&message).map_or((0, Timestamp::UNIX_EPOCH), |place| (place.seq, place.at));
    Some(Bell::Rang { slot, stored: Stored { seq, at, payload: message.payload } })
}
