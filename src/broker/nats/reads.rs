//! Reading what a stream holds, without a consumer.

use async_nats::{HeaderMap, Message};
use base64::Engine;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use serde_json::json;

use super::headers;
use super::server::{Server, unavailable};
use crate::broker::{Error, Result, Stored};
use crate::clock::Timestamp;

/// Messages asked for at once. They must fit into the subscription's buffer.
const PAGE: u64 = 256;
/// Bytes asked for at once, so that pages of large records stay small too.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
const _: () = assert!((PAGE as usize) < super::follow::UNREAD);

const END_OF_BATCH: u16 = 204;
const NOT_FOUND: u16 = 404;

/// A message as a stream holds it.
#[derive(Debug)]
pub(super) struct Read {
    /// Where it was published.
    pub(super) subject: String,
    /// Its sequence, time and payload.
    pub(super) stored: Stored,
    /// Its headers.
    pub(super) headers: Option<HeaderMap>,
}

impl Server {
    /// Everything that matches `filter` after sequence `after`, in order. From a replicated stream it may lack the newest.
    pub(super) async fn read_all(&self, doing: &str, stream: &str, filter: &str, after: u64) -> Result<Vec<Read>> {
        let inbox = self.client.new_inbox();
        let mut replies = self.subscribe(doing, inbox.clone()).await?;
        let call = format!("$JS.API.DIRECT.GET.{stream}");
        let mut found: Vec<Read> = Vec::new();
        loop {
            let from = found.last().map_or(after, |read| read.stored.seq) + 1;
            let page = json!({ "seq": from, "next_by_subj": filter, "batch": PAGE, "max_bytes": PAGE_BYTES });
            self.ask(doing, call.clone(), inbox.clone(), &page).await?;
            loop {
                let reply = match replies.next().now_or_never() {
                    Some(reply) => reply,
                    None => self.answered(doing, replies.next()).await?,
                };
                let reply = reply.ok_or_else(|| unavailable(doing, "the connection is closed"))?;
                match reply.status.map(|status| status.as_u16()) {
                    None => found.push(read(doing, reply)?),
                    Some(NOT_FOUND) => return Ok(found),
                    Some(END_OF_BATCH) if headers::pending(&reply) == 0 => return Ok(found),
                    Some(END_OF_BATCH) => break,
                    Some(_) => return Err(refused(doing, &reply)),
                }
            }
        }
    }

    /// The last message that matches `subject`, never an older one.
    pub(super) async fn last_message(&self, doing: &str, stream: &str, subject: &str) -> Result<Option<Read>> {
        let body = json!({ "last_by_subj": subject });
        if self.replicated {
            self.leaders_message(doing, stream, body).await
        } else {
            self.direct(doing, stream, body).await
        }
    }

    /// The message at a sequence, from whichever replica answers.
    pub(super) async fn message_at(&self, doing: &str, stream: &str, seq: u64) -> Result<Option<Read>> {
        self.direct(doing, stream, json!({ "seq": seq })).await
    }

    /// One message, from whichever replica answers.
    async fn direct(&self, doing: &str, stream: &str, body: serde_json::Value) -> Result<Option<Read>> {
        let call = format!("$JS.API.DIRECT.GET.{stream}");
        let reply = self.request(doing, call, None, body.to_string().into()).await?;
        match reply.status.map(|status| status.as_u16()) {
            None => read(doing, reply).map(Some),
            Some(NOT_FOUND) => Ok(None),
            Some(_) => Err(refused(doing, &reply)),
        }
    }

    /// One message, from the stream's leader.
    pub(super) async fn leaders_message(
        &self,
        doing: &str,
        stream: &str,
        body: serde_json::Value,
    ) -> Result<Option<Read>> {
        let call = format!("STREAM.MSG.GET.{stream}");
        match self.api::<Got>(doing, call, &body).await? {
            Ok(got) => decode(doing, got.message).map(Some),
            Err(error) if error.code == NOT_FOUND => Ok(None),
            Err(error) => Err(error.into_broker(doing)),
        }
    }
}

#[derive(Deserialize)]
struct Got {
    message: Held,
}

#[derive(Deserialize)]
struct Held {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: Timestamp,
}

fn decode(doing: &str, held: Held) -> Result<Read> {
    let bytes = |text: &str| base64::engine::general_purpose::STANDARD.decode(text);
    let (Ok(data), Ok(block)) = (bytes(&held.data), bytes(&held.hdrs)) else {
        return Err(odd(doing));
    };
    let headers = (!block.is_empty()).then(|| headers::parse_block(&String::from_utf8_lossy(&block)));
    let stored = Stored { seq: held.seq, at: held.time, payload: Bytes::from(data) };
    Ok(Read { subject: held.subject, stored, headers })
}

fn read(doing: &str, message: Message) -> Result<Read> {
    let (Some(place), Some(subject)) = (headers::place(&message), headers::stored_subject(&message)) else {
        return Err(odd(doing));
    };
    let subject = subject.to_owned();
    let stored = Stored { seq: place.seq, at: place.at, payload: message.payload };
    Ok(Read { subject, stored, headers: message.headers })
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
