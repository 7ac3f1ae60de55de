//! Reading what a stream holds.

use std::collections::HashMap;

use async_nats::{HeaderMap, Message, Subscriber};
use base64::Engine;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::json;

use super::headers;
use super::server::{NatsConnection, unavailable};
use super::walk::{StreamWalk, WalkRange};
use crate::broker::{Error, Result, StoredRecord};
use crate::clock::Timestamp;

/// Messages asked for at once. They must fit into the subscription's buffer.
const PAGE_SIZE: u64 = 256;
/// Bytes asked for at once, so that pages of large records stay small too.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
const _: () = assert!((PAGE_SIZE as usize) < super::follow::MOST_UNREAD);

/// How many single messages are asked for at once.
const SINGLE_READS: usize = 64;

const END_OF_BATCH: u16 = 204;
const NOT_FOUND: u16 = 404;

/// A message as a stream holds it.
#[derive(Debug)]
pub(super) struct StreamMessage {
    /// Where it was published.
    pub(super) subject: String,
    /// Its sequence, time and payload.
    pub(super) stored: StoredRecord,
    /// Its headers.
    pub(super) headers: Option<HeaderMap>,
}

/// Everything that matches `filter` after sequence `after`, in order. From a replicated stream it may lack the newest.
/// For few subjects; [`read_many`] is for many.
pub(super) async fn read_all(
    server: &NatsConnection,
    doing: &str,
    stream: &str,
    filter: &str,
    after: u64,
) -> Result<Vec<StreamMessage>> {
    let mut pages = PagedRead::start(server, doing, stream, filter).await?;
    let mut found: Vec<StreamMessage> = Vec::new();
    while pages.read(server, doing, found.last().map_or(after, |read| read.stored.seq) + 1, &mut found).await? > 0 {}
    Ok(found)
}

/// Everything that matches `filter`, in order, where that may be under any number of subjects. `has_older`: there may be
/// several messages under each, and not all of the older ones are wanted.
pub(super) async fn read_many(
    server: &NatsConnection,
    doing: &'static str,
    stream: &str,
    filter: &str,
    has_older: bool,
) -> Result<Vec<StreamMessage>> {
    let mut found = Vec::new();
    let left = PagedRead::start(server, doing, stream, filter).await?.read(server, doing, 1, &mut found).await?;
    if left == 0 {
        return Ok(found);
    }
    let first = found.last().map_or(0, |read| read.stored.seq) + 1;
    let over = if has_older { WalkRange::LastAndLater(filter) } else { WalkRange::From(filter, first) };
    if has_older {
        found.clear();
    }
    let mut walk = StreamWalk::start(server, doing, stream, over).await?;
    while let Some(next) = walk.next(server).await {
        let (Message { subject, payload, headers, .. }, place) = next?;
        let stored = StoredRecord { seq: place.stream_seq, at: place.at, payload };
        found.push(StreamMessage { subject: subject.to_string(), stored, headers });
    }
    Ok(found)
}

/// The last message under `subject`, which has no wildcards; never an older one.
pub(super) async fn last_message(
    server: &NatsConnection,
    doing: &str,
    stream: &str,
    subject: &str,
) -> Result<Option<StreamMessage>> {
    if server.replicated {
        return leaders_message(server, doing, stream, json!({ "last_by_subj": subject })).await;
    }
    // Named in the call, the subject needs no JSON; and a server knows that there is one answer, where accounts are told apart
    // (nats-server.tiers.conf).
    direct(server, doing, format!("$JS.API.DIRECT.GET.{stream}.{subject}"), Bytes::new()).await
}

/// The last message under each of the subjects, which have no wildcards; never an older one. Where a replica could have an older one
/// the leader is asked for each of them.
pub(super) async fn last_messages(
    server: &NatsConnection,
    doing: &str,
    stream: &str,
    subjects: &[String],
) -> Result<Vec<Option<StreamMessage>>> {
    let mut found: HashMap<String, StreamMessage> = HashMap::new();
    let mut is_complete = false;
    if !server.replicated && subjects.len() > 1 {
        is_complete = true;
        for subjects in subjects.chunks(PAGE_SIZE as usize) {
            let mut page = Vec::new();
            let wanted = json!({ "multi_last": subjects, "batch": PAGE_SIZE });
            let left =
                PagedRead::start(server, doing, stream, "").await?.page(server, doing, &wanted, &mut page).await?;
            is_complete &= left == 0;
            found.extend(page.into_iter().map(|read| (read.subject.clone(), read)));
        }
    }
    let singly: Vec<_> = subjects
        .iter()
        .map(|subject| {
            let known = found.remove(subject);
            async move {
                match known {
                    None if !is_complete => last_message(server, doing, stream, subject).await,
                    known => Ok(known),
                }
            }
        })
        .collect();
    futures_util::stream::iter(singly).buffered(SINGLE_READS).try_collect().await
}

/// The first message under `subject`, from whichever replica answers; that there is none is for the leader to say, as a replica may be
/// behind. It may have wildcards, if few subjects match: from a stream's beginning on, and only from there, the server looks for the
/// first of them where it keeps its subjects, and at no other message.
pub(super) async fn first_message(
    server: &NatsConnection,
    doing: &str,
    stream: &str,
    subject: &str,
) -> Result<Option<StreamMessage>> {
    let wanted = json!({ "seq": 1, "next_by_subj": subject });
    match direct_by(server, doing, stream, wanted.clone()).await? {
        None if server.replicated => leaders_message(server, doing, stream, wanted).await,
        found => Ok(found),
    }
}

/// The message at a sequence, from whichever replica answers.
pub(super) async fn message_at(
    server: &NatsConnection,
    doing: &str,
    stream: &str,
    seq: u64,
) -> Result<Option<StreamMessage>> {
    direct_by(server, doing, stream, json!({ "seq": seq })).await
}

async fn direct_by(
    server: &NatsConnection,
    doing: &str,
    stream: &str,
    body: serde_json::Value,
) -> Result<Option<StreamMessage>> {
    direct(server, doing, format!("$JS.API.DIRECT.GET.{stream}"), body.to_string().into()).await
}

/// One message, from whichever replica answers.
async fn direct(server: &NatsConnection, doing: &str, call: String, body: Bytes) -> Result<Option<StreamMessage>> {
    let reply = server.request(doing, call, None, body).await?;
    match reply.status.map(|status| status.as_u16()) {
        None => read(doing, reply).map(Some),
        Some(NOT_FOUND) => Ok(None),
        Some(_) => Err(refused(doing, &reply)),
    }
}

/// One message, from the stream's leader.
pub(super) async fn leaders_message(
    server: &NatsConnection,
    doing: &str,
    stream: &str,
    body: serde_json::Value,
) -> Result<Option<StreamMessage>> {
    let call = format!("STREAM.MSG.GET.{stream}");
    match server.api::<MessageResponse>(doing, call, &body).await? {
        Ok(got) => decode(doing, got.message).map(Some),
        Err(error) if error.code == NOT_FOUND => Ok(None),
        Err(error) => Err(error.into_broker(doing)),
    }
}

/// Direct reads of a page each.
struct PagedRead {
    call: String,
    filter: String,
    inbox: String,
    replies: Subscriber,
}

impl PagedRead {
    async fn start(server: &NatsConnection, doing: &str, stream: &str, filter: &str) -> Result<Self> {
        let inbox = server.client.new_inbox();
        let replies = server.subscribe(doing, inbox.clone()).await?;
        Ok(Self { call: format!("$JS.API.DIRECT.GET.{stream}"), filter: filter.to_owned(), inbox, replies })
    }

    /// Reads the page that begins at `from`, and returns how many messages are left after it.
    async fn read(
        &mut self,
        server: &NatsConnection,
        doing: &str,
        from: u64,
        found: &mut Vec<StreamMessage>,
    ) -> Result<u64> {
        let wanted = json!({ "seq": from, "next_by_subj": self.filter, "batch": PAGE_SIZE, "max_bytes": PAGE_BYTES });
        self.page(server, doing, &wanted, found).await
    }

    /// Reads what one request asks for, and returns how many messages are left after it.
    async fn page(
        &mut self,
        server: &NatsConnection,
        doing: &str,
        wanted: &serde_json::Value,
        found: &mut Vec<StreamMessage>,
    ) -> Result<u64> {
        let had = found.len();
        server.ask(doing, self.call.clone(), self.inbox.clone(), wanted).await?;
        let mut asked = 1;
        let left = loop {
            let reply = match self.replies.next().now_or_never() {
                Some(reply) => reply,
                None => match server.answered_soon(doing, &self.call, asked, self.replies.next()).await? {
                    Some(reply) => reply,
                    None => {
                        server.ask(doing, self.call.clone(), self.inbox.clone(), wanted).await?;
                        asked += 1;
                        continue;
                    }
                },
            };
            let reply = reply.ok_or_else(|| unavailable(doing, "the connection is closed"))?;
            match reply.status.map(|status| status.as_u16()) {
                None => found.push(read(doing, reply)?),
                // After others it says that the next one was removed while they were sent: there may be more.
                Some(NOT_FOUND) => break u64::from(found.len() > had),
                Some(END_OF_BATCH) => break headers::pending(&reply),
                Some(_) => return Err(refused(doing, &reply)),
            }
        };
        if asked > 1 {
            // The same may have come twice, and may come still.
            found[had..].sort_by_key(|read| read.stored.seq);
            found.dedup_by_key(|read| read.stored.seq);
        }
        if asked > 1 && left > 0 {
            self.inbox = server.client.new_inbox();
            self.replies = server.subscribe(doing, self.inbox.clone()).await?;
        }
        Ok(left)
    }
}

#[derive(Deserialize)]
struct MessageResponse {
    message: MessageFields,
}

#[derive(Deserialize)]
struct MessageFields {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: Timestamp,
}

fn decode(doing: &str, held: MessageFields) -> Result<StreamMessage> {
    let bytes = |text: &str| base64::engine::general_purpose::STANDARD.decode(text);
    let (Ok(data), Ok(block)) = (bytes(&held.data), bytes(&held.hdrs)) else {
        return Err(odd(doing));
    };
    let headers = (!block.is_empty()).then(|| headers::parse_block(&String::from_utf8_lossy(&block)));
    let stored = StoredRecord { seq: held.seq, at: held.time, payload: Bytes::from(data) };
    Ok(StreamMessage { subject: held.subject, stored, headers })
}

fn read(doing: &str, message: Message) -> Result<StreamMessage> {
    let (Some(place), Some(subject)) = (headers::place(&message), headers::stored_subject(&message)) else {
        return Err(odd(doing));
    };
    let subject = subject.to_owned();
    let stored = StoredRecord { seq: place.seq, at: place.at, payload: message.payload };
    Ok(StreamMessage { subject, stored, headers: message.headers })
}

fn odd(doing: &str) -> Error {
    Error::Refused { doing: doing.to_owned(), reason: "the server's answer cannot be read".to_owned() }
}

fn refused(doing: &str, reply: &Message) -> Error {
    if reply.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
        return unavailable(doing, "nothing answers on the server: is JetStream on, and the stream there?");
    }
    let reason = reply.description.clone().unwrap_or_else(|| "the server refused".to_owned());
    Error::Refused { doing: doing.to_owned(), reason }
}
