//! A walk over much of a stream: one consumer for the whole of it, which is deleted at its end. A direct read counts what is left
//! with each page, which costs the server the more the more subjects match; a consumer counts once. But while there is one, the
//! server counts again with each purge of the stream (seen: some 15 ms for 12 000 runs, and nothing else is stored meanwhile).

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::consumers::nanos;
use super::headers::{self, DeliveryMetadata};
use super::server::{NatsConnection, unavailable};
use crate::broker::{Error, Result};

/// Messages asked for at once.
const PAGE_SIZE: usize = 256;
const _: () = assert!(PAGE_SIZE < super::follow::MOST_UNREAD);
/// A consumer that nobody asks for so long, its walk was given up, is removed by the server.
const FORGOTTEN_AFTER: std::time::Duration = std::time::Duration::from_secs(30);

/// What a walk goes over.
pub(super) enum WalkRange<'a> {
    /// The last message under each subject that matches one of the filters.
    LastOf(&'a [&'a str]),
    /// The last message under each subject that matches the filter, and what comes meanwhile.
    LastAndLater(&'a str),
    /// What matches the filter, from a sequence on.
    From(&'a str, u64),
}

/// A walk under way.
pub(super) struct StreamWalk {
    doing: &'static str,
    stream: String,
    consumer: String,
    inbox: String,
    replies: Subscriber,
    /// What the server still owes for what was asked.
    owed: usize,
    /// Where it ends, if the stream goes on for longer.
    upto: u64,
    is_over: bool,
    is_cleared: bool,
}

impl StreamWalk {
    /// Makes the consumer. `doing` names the walk in an error.
    pub(super) async fn start(
        server: &NatsConnection,
        doing: &'static str,
        stream: &str,
        over: WalkRange<'_>,
    ) -> Result<Self> {
        let consumer = format!("fa_walk_{}", crate::ids::hex(&rand::random::<[u8; 8]>()));
        let mut config = json!({
            "name": consumer,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": nanos(FORGOTTEN_AFTER),
        });
        let upto = match over {
            WalkRange::LastOf(filters) => {
                config["filter_subjects"] = json!(filters);
                config["deliver_policy"] = json!("last_per_subject");
                last_sequence(server, doing, stream).await?
            }
            WalkRange::LastAndLater(filter) => {
                config["filter_subject"] = json!(filter);
                config["deliver_policy"] = json!("last_per_subject");
                u64::MAX
            }
            WalkRange::From(filter, first) => {
                config["filter_subject"] = json!(filter);
                config["deliver_policy"] = json!("by_start_sequence");
                config["opt_start_seq"] = json!(first);
                // What is written again meanwhile moves to the end, and must be met there.
                u64::MAX
            }
        };
        let body = json!({ "stream_name": stream, "config": config, "action": "create" });
        server.api_plainly::<Value>(doing, format!("CONSUMER.CREATE.{stream}.{consumer}"), &body).await?;
        let inbox = server.client.new_inbox();
        let replies = server.subscribe(doing, inbox.clone()).await?;
        Ok(Self {
            doing,
            stream: stream.to_owned(),
            consumer,
            inbox,
            replies,
            owed: 0,
            upto,
            is_over: upto == 0,
            is_cleared: false,
        })
    }

    /// The next message and its place; nothing comes after an error. Once there is nothing more, the consumer is gone.
    pub(super) async fn next(&mut self, server: &NatsConnection) -> Option<Result<(Message, DeliveryMetadata)>> {
        while !self.is_over {
            match self.step(server).await {
                Ok(Some(found)) => return Some(Ok(found)),
                Ok(None) => {}
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        if !std::mem::replace(&mut self.is_cleared, true) {
            self.clear(server).await;
        }
        None
    }

    /// Deletes the consumer. If that fails, it vanishes a little later by itself.
    async fn clear(&self, server: &NatsConnection) {
        let call = format!("CONSUMER.DELETE.{}.{}", self.stream, self.consumer);
        if let Err(error) = server.api_plainly::<Value>(self.doing, call, &Value::Null).await {
            tracing::debug!("the consumer of a walk is still there: {error}");
        }
    }

    async fn step(&mut self, server: &NatsConnection) -> Result<Option<(Message, DeliveryMetadata)>> {
        let call = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer);
        if self.owed == 0 {
            let body = json!({ "batch": PAGE_SIZE, "no_wait": true });
            server.ask(self.doing, call.clone(), self.inbox.clone(), &body).await?;
            self.owed = PAGE_SIZE;
        }
        let reply = server.answered(self.doing, &call, self.replies.next()).await?;
        let reply = reply.ok_or_else(|| unavailable(self.doing, "the connection is closed"))?;
        match reply.status.map(|status| status.as_u16()) {
            None => {}
            // There is nothing more.
            Some(404 | 408) => {
                self.is_over = true;
                return Ok(None);
            }
            Some(_) => {
                let reason = reply.description.clone().unwrap_or_else(|| "the server refused".to_owned());
                return Err(Error::Refused { doing: self.doing.to_owned(), reason });
            }
        }
        self.owed -= 1;
        let Some(place) = reply.reply.as_ref().and_then(|reply| headers::delivered(reply)) else { return Ok(None) };
        self.is_over = place.pending == 0 || place.stream_seq >= self.upto;
        Ok(Some((reply, place)))
    }
}

async fn last_sequence(server: &NatsConnection, doing: &str, stream: &str) -> Result<u64> {
    #[derive(Deserialize)]
    struct WalkStreamInfo {
        state: WalkStreamState,
    }
    #[derive(Deserialize)]
    struct WalkStreamState {
        last_seq: u64,
    }
    let info: WalkStreamInfo = server.api_plainly(doing, format!("STREAM.INFO.{stream}"), &Value::Null).await?;
    Ok(info.state.last_seq)
}
