//! A tour of all runs: one consumer for the whole of it, which gives the last message under each subject and then vanishes.

use std::sync::Arc;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::headers;
use super::pull::nanos;
use super::server::{Server, unavailable};
use crate::broker::subjects::{self, RUNS_STREAM};
use crate::broker::{Error, Result, Sighting, Stored};

const DOING: &str = "go round the runs";
/// Messages asked for at once.
const PAGE: usize = 256;
const _: () = assert!(PAGE < super::follow::UNREAD);
/// A consumer that nobody asks for so long is removed by the server.
const FORGOTTEN_AFTER: std::time::Duration = std::time::Duration::from_secs(30);

/// A tour under way.
struct Tour {
    server: Arc<Server>,
    consumer: String,
    inbox: String,
    replies: Subscriber,
    /// What the server still owes for what was asked.
    owed: usize,
    /// The last sequence that there was at the start.
    upto: u64,
    over: bool,
}

impl Server {
    /// [`crate::broker::Log::survey`].
    pub(super) async fn tour(self: &Arc<Self>) -> Result<BoxStream<'static, Result<Sighting>>> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            last_seq: u64,
        }
        let info: Info = self.api_plainly(DOING, format!("STREAM.INFO.{RUNS_STREAM}"), &Value::Null).await?;
        let consumer = format!("fa_survey_{}", crate::ids::hex(&rand::random::<[u8; 8]>()));
        let config = json!({
            "name": consumer,
            "filter_subjects": subjects::ALL_OF_RUNS,
            "deliver_policy": "last_per_subject",
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": nanos(FORGOTTEN_AFTER),
        });
        let body = json!({ "stream_name": RUNS_STREAM, "config": config, "action": "create" });
        self.api_plainly::<Value>(DOING, format!("CONSUMER.CREATE.{RUNS_STREAM}.{consumer}"), &body).await?;
        let inbox = self.client.new_inbox();
        let replies = self.subscribe(DOING, inbox.clone()).await?;
        let tour = Tour {
            server: self.clone(),
            consumer,
            inbox,
            replies,
            owed: 0,
            upto: info.state.last_seq,
            over: info.state.last_seq == 0,
        };
        Ok(stream::unfold(tour, |mut tour| async move { Some((tour.next().await?, tour)) }).boxed())
    }
}

impl Tour {
    async fn next(&mut self) -> Option<Result<Sighting>> {
        while !self.over {
            match self.step().await {
                Ok(Some(sighting)) => return Some(Ok(sighting)),
                Ok(None) => {}
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    async fn step(&mut self) -> Result<Option<Sighting>> {
        if self.owed == 0 {
            let call = format!("$JS.API.CONSUMER.MSG.NEXT.{RUNS_STREAM}.{}", self.consumer);
            let body = json!({ "batch": PAGE, "no_wait": true });
            self.server.ask(DOING, call, self.inbox.clone(), &body).await?;
            self.owed = PAGE;
        }
        let reply = self.server.answered(DOING, self.replies.next()).await?;
        let reply = reply.ok_or_else(|| unavailable(DOING, "the connection is closed"))?;
        match reply.status.map(|status| status.as_u16()) {
            None => {}
            // There is nothing more.
            Some(404 | 408) => {
                self.over = true;
                return Ok(None);
            }
            Some(_) => {
                let reason = reply.description.clone().unwrap_or_else(|| "the server refused".to_owned());
                return Err(Error::Refused { doing: DOING.to_owned(), reason });
            }
        }
        self.owed -= 1;
        let Some(place) = reply.reply.as_ref().and_then(|reply| headers::delivered(reply)) else { return Ok(None) };
        self.over = place.pending == 0 || place.stream_seq >= self.upto;
        Ok(sighting(reply, place))
    }
}

fn sighting(message: Message, place: headers::Delivered) -> Option<Sighting> {
    let (run, is_log) = subjects::run_of(&message.subject)?;
    let (seq, at) = (place.stream_seq, place.at);
    Some(match is_log {
        true => Sighting::Record { run, stored: Stored { seq, at, payload: message.payload } },
        false => Sighting::Inbox { run, slot: subjects::slot_of(&message.subject)?, seq, at },
    })
}
