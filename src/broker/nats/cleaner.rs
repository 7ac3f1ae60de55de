//! Removing for ever: purges, and messages that are overwritten. On a server with a login for each tier one login alone may do
//! it, over a connection of its own.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::follow;
use super::headers::TTL;
use super::reads;
use super::server::NatsConnection;
use crate::broker::subjects::{self, QUEUE_STREAM, RUNS_STREAM};
use crate::broker::{Cleaner, InboxSlot, RemovalMethod, Result, TOMBSTONE_KEPT};
use crate::ids::RunId;

const DOING: &str = "remove a run's records";
/// Messages that are overwritten at once: each costs the server a write.
pub(super) const OVERWRITTEN_AT_ONCE: usize = 16;

/// Removes over one connection what is read and heard over another, or over the same.
pub(super) struct NatsCleaner {
    /// Whose login may purge.
    hand: Arc<NatsConnection>,
    /// Whose login may read.
    eyes: Arc<NatsConnection>,
}

impl NatsCleaner {
    /// One that removes with `hand` and reads with `eyes`.
    pub(super) fn new(hand: Arc<NatsConnection>, eyes: Arc<NatsConnection>) -> Self {
        Self { hand, eyes }
    }

    /// Whether a record stays for a shorter time than any of ours. Whoever may write a log could ask with such a one that all before it be
    /// removed, and then write what was said in the run into its empty log a second time, signatures and all.
    async fn goes_away(&self, seq: u64) -> Result<bool> {
        let found = reads::leaders_message(&self.eyes, DOING, RUNS_STREAM, json!({ "seq": seq })).await?;
        let ttl = found.and_then(|read| Some(stays(read.headers.as_ref()?.get(TTL)?.as_str())));
        Ok(ttl.flatten().is_some_and(|seconds| seconds < TOMBSTONE_KEPT.as_secs()))
    }

    /// Overwrites the messages that match before a sequence. What JetStream purges it only forgets.
    async fn overwrite(&self, filter: &str, before: u64) -> Result<()> {
        let found = reads::read_all(&self.eyes, DOING, RUNS_STREAM, filter, 0).await?;
        stream::iter(found.into_iter().map(|read| read.stored.seq).filter(|seq| *seq < before).map(Ok))
            .try_for_each_concurrent(OVERWRITTEN_AT_ONCE, |seq| self.hand.overwrite(DOING, RUNS_STREAM, seq))
            .await
    }
}

/// How long a record with this header stays, in seconds; none: for ever. What is not written as we do is taken for short.
fn stays(ttl: &str) -> Option<u64> {
    (ttl != "never").then(|| ttl.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).unwrap_or(0))
}

/// Whether this login may purge: asked for a run that never was.
pub(super) async fn may_clean(server: &NatsConnection) -> Result<bool> {
    const DOING: &str = "find out whether this login may clean";
    let body = json!({ "filter": subjects::records(RunId::random()) });
    match server.api_if_allowed(DOING, &format!("STREAM.PURGE.{RUNS_STREAM}"), &body).await? {
        None => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) => Err(error.into_broker(DOING)),
    }
}

#[async_trait]
impl Cleaner for NatsCleaner {
    async fn forget(&self, run: RunId, before: u64, how: RemovalMethod) -> Result<()> {
        if self.goes_away(before).await? {
            tracing::warn!(run.id = %run, "the run is not cleaned: what asks for it goes away by itself too soon to be ours");
            return Ok(());
        }
        let (records, inbox) = (subjects::records(run), subjects::inboxes(run));
        if how == RemovalMethod::Overwrite {
            tokio::try_join!(self.overwrite(&records, before), self.overwrite(&inbox, u64::MAX))?;
        }
        let purges = [
            (RUNS_STREAM, json!({ "filter": records, "seq": before })),
            (RUNS_STREAM, json!({ "filter": inbox })),
            (QUEUE_STREAM, json!({ "filter": subjects::timer(run) })),
        ];
        try_join_all(purges.iter().map(|(stream, body)| async move {
            self.hand.api_plainly::<Value>(DOING, format!("STREAM.PURGE.{stream}"), body).await
        }))
        .await?;
        Ok(())
    }

    async fn erase(&self, run: RunId, slot: InboxSlot) -> Result<()> {
        const DOING: &str = "erase an entry of a run's inbox";
        if slot == InboxSlot::CallerToken {
            // What was replaced is still in the stream until its time is over.
            return self.overwrite(&subjects::inbox(run, slot), u64::MAX).await;
        }
        let Some(read) = reads::last_message(&self.eyes, DOING, RUNS_STREAM, &subjects::inbox(run, slot)).await? else {
            return Ok(());
        };
        self.hand.overwrite(DOING, RUNS_STREAM, read.stored.seq).await
    }

    async fn notifications(&self) -> Result<BoxStream<'static, RunId>> {
        let read = |message: async_nats::Message| Some(subjects::cleaned_run_of(&message.subject));
        let heard = follow::hear(
            &self.eyes,
            "hear calls for the cleaner",
            subjects::ALL_CLEANER_CALLS.to_owned(),
            // Nobody stores them.
            |_| 0,
            read,
            || None,
        );
        Ok(heard.await?.filter_map(std::future::ready).boxed())
    }
}
