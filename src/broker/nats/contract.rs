//! FastAgency's own stream, bucket and consumer, made and used as its Python worker does
//! (`docs/reference/fastagency-wire.md`, section 4). Existing ones are left as they are, and no setting of theirs is
//! relied on: a Python worker that starts resets them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::consumers::{self, nanos};
use super::headers::{self, COPY_OF, MESSAGE_ID};
use super::pull::{ConsumerPull, ConsumerSetup, LONG_EXPIRY, MessageReceipt, PullBatch, PulledMessage, expiry_within};
use super::reads;
use super::reads::StreamMessage;
use super::server::{NatsConnection, STREAM_NAME_IN_USE, STREAM_NOT_FOUND, unavailable};
use super::streams::{SetupOutcome, StreamSetup, not_allowed};
use crate::broker::contract::{ConversationMessage, DiscoveredWorkflow, FastAgencyContract, SettleableMessage};
use crate::broker::subjects::{
    self, ALL_CLIENT_MESSAGES, ALL_SERVER_MESSAGES, ANSWER_WORKERS, DISCOVERY_BUCKET, FASTAGENCY_STREAM, INITIATE_CHAT,
    INITIATE_WORKERS, bucket_entry,
};
use crate::broker::{Error, Result};
use crate::ids::{MessageId, RunId};

const DISCOVERY_STREAM: &str = "KV_discovery";

/// How long a consumer of ours that nobody pulls from stays.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// Messages asked for at once where all are wanted. They must fit into the subscription's buffer.
const LARGE_BATCH: usize = 256;
const _: () = assert!(LARGE_BATCH < super::follow::MOST_UNREAD);
/// How often the workers' shared consumer is looked at: another worker may have made it anew.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The contract over a connection.
pub(super) struct NatsContract {
    server: Arc<NatsConnection>,
}

impl NatsContract {
    /// One over `server`.
    pub(super) fn new(server: Arc<NatsConnection>) -> Self {
        Self { server }
    }

    /// The last message on one of the conversations' subjects.
    async fn last(&self, doing: &str, subject: String) -> Result<Option<ConversationMessage>> {
        let found =
            reads::leaders_message(&self.server, doing, FASTAGENCY_STREAM, json!({ "last_by_subj": subject })).await?;
        Ok(found.and_then(|read: StreamMessage| {
            let StreamMessage { subject, stored, headers } = read;
            carried(&subject, stored.seq, stored.payload, headers.as_ref())
        }))
    }

    /// Everything in `stream` on `filter` from sequence `from` on.
    fn ordered(&self, stream: &'static str, filter: String, headers_only: bool, from: u64) -> ConsumerPull {
        let make = move |from: u64| {
            let name = format!("fa_{}", Uuid::new_v4().as_simple());
            let config = json!({
                "name": name,
                "filter_subject": filter,
                "ack_policy": "none",
                "replay_policy": "instant",
                "max_deliver": 1,
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": nanos(FORGET_AFTER),
                "headers_only": headers_only,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": from.max(1),
            });
            (name, config)
        };
        let consumer = ConsumerSetup { stream, make: Box::new(make), expiry: LONG_EXPIRY };
        ConsumerPull::new(self.server.clone(), consumer, PullBatch::Fixed(LARGE_BATCH), from)
    }
}

/// Makes FastAgency's stream and bucket if they are not there.
pub(super) async fn ensure_all(server: &NatsConnection) -> Result<Vec<StreamSetup>> {
    Ok(vec![ensure(server, stream_config()).await?, ensure(server, bucket_config()).await?])
}

/// Whether this login may use FastAgency's stream, which need not be there.
pub(super) async fn may_use(server: &NatsConnection) -> Result<bool> {
    const DOING: &str = "find out whether this login may use FastAgency's stream";
    let asked = server.api_if_allowed(DOING, &format!("STREAM.INFO.{FASTAGENCY_STREAM}"), &Value::Null).await?;
    Ok(asked.is_some())
}

/// Makes a stream if there is none of its name.
async fn ensure(server: &NatsConnection, config: Value) -> Result<StreamSetup> {
    let name = config["name"].as_str().unwrap_or_default().to_owned();
    let doing = format!("make FastAgency's stream {name}");
    let set_up = |info: &Value, outcome| {
        let replicas = info["config"]["num_replicas"].as_u64().unwrap_or(1);
        StreamSetup { name: name.clone(), outcome, replicas }
    };
    match server.api::<Value>(&doing, format!("STREAM.INFO.{name}"), &Value::Null).await? {
        Ok(info) => return Ok(set_up(&info, SetupOutcome::Unchanged)),
        Err(error) if error.err_code == STREAM_NOT_FOUND => {}
        Err(error) => return Err(error.into_broker(&doing)),
    }
    match server.api::<Value>(&doing, format!("STREAM.CREATE.{name}"), &config).await {
        Ok(Ok(info)) => Ok(set_up(&info, SetupOutcome::Created)),
        Ok(Err(error)) if error.err_code == STREAM_NAME_IN_USE => Ok(set_up(&Value::Null, SetupOutcome::Unchanged)),
        Ok(Err(error)) => Err(error.into_broker(&doing)),
        Err(Error::Denied { .. }) => Err(not_allowed(&doing, &name, false)),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl FastAgencyContract for NatsContract {
    async fn ready(&self) -> Result<()> {
        let call = format!("STREAM.INFO.{FASTAGENCY_STREAM}");
        self.server.api_plainly::<Value>("reach FastAgency's stream", call, &Value::Null).await.map(drop)
    }

    async fn prepare(&self) -> Result<()> {
        ensure_all(&self.server).await.map(drop)
    }

    async fn announce(&self, name: &str, description: &str) -> Result<()> {
        const DOING: &str = "announce a workflow to FastAgency";
        let fits = !name.is_empty()
            && !name.starts_with('.')
            && !name.ends_with('.')
            && !name.contains("..")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-/_=.".contains(&byte));
        if !fits {
            let reason = format!("{name:?} is not a key that FastAgency takes (letters, digits and -/_=.)");
            return Err(Error::Refused { doing: DOING.to_owned(), reason });
        }
        let description = Bytes::copy_from_slice(description.as_bytes());
        let subject = bucket_entry(DISCOVERY_BUCKET, name);
        self.server.store(DOING, subject, HeaderMap::new(), description, None).await.map(drop)
    }

    async fn discovered(&self) -> Result<Vec<DiscoveredWorkflow>> {
        const DOING: &str = "read FastAgency's workflows";
        let prefix = bucket_entry(DISCOVERY_BUCKET, "");
        let filter = bucket_entry(DISCOVERY_BUCKET, ">");
        let mut found = Vec::new();
        let mut from = 1;
        // The bucket allows no direct gets. One message per request, but there are no more than there are workflows.
        loop {
            let next = json!({ "seq": from, "next_by_subj": filter });
            let Some(read) = reads::leaders_message(&self.server, DOING, DISCOVERY_STREAM, next).await? else {
                return Ok(found);
            };
            from = read.stored.seq + 1;
            if headers::is_gone(read.headers.as_ref()) {
                continue;
            }
            let Some(name) = read.subject.strip_prefix(&prefix) else { continue };
            // A name that was put again while we read comes twice: the later one holds.
            found.retain(|known: &DiscoveredWorkflow| known.name != name);
            let description = String::from_utf8_lossy(&read.stored.payload).into_owned();
            found.push(DiscoveredWorkflow { name: name.to_owned(), description });
        }
    }

    async fn watch_discovery(&self) -> Result<BoxStream<'static, ()>> {
        const DOING: &str = "watch FastAgency's workflows";
        // From a sequence rather than "what is new": a consumer that has to be made again then misses nothing.
        let from =
            match self.server.api::<Value>(DOING, format!("STREAM.INFO.{DISCOVERY_STREAM}"), &Value::Null).await? {
                Ok(info) => info["state"]["last_seq"].as_u64().unwrap_or(0) + 1,
                Err(error) if error.err_code == STREAM_NOT_FOUND => 1,
                Err(error) => return Err(error.into_broker(DOING)),
            };
        let pull = self.ordered(DISCOVERY_STREAM, bucket_entry(DISCOVERY_BUCKET, ">"), true, from);
        let changes = stream::unfold(pull, |mut pull| async move {
            loop {
                match pull.next().await? {
                    Ok(_) => return Some(((), pull)),
                    Err(error) => tracing::warn!(%error, "FastAgency's workflows cannot be watched for now"),
                }
            }
        });
        Ok(stream::once(async {}).chain(changes).boxed())
    }

    async fn initiations(&self) -> Result<BoxStream<'static, Result<Box<dyn SettleableMessage>>>> {
        let mut initiations = InitiationPulls::new(self.server.clone());
        initiations.join().await?;
        Ok(stream::unfold(initiations, |mut shared| async move { Some((shared.next().await?, shared)) }).boxed())
    }

    async fn answers(&self) -> Result<BoxStream<'static, Result<Box<dyn SettleableMessage>>>> {
        let make = |_: u64| (ANSWER_WORKERS.to_owned(), answers_config());
        let consumer =
            ConsumerSetup { stream: FASTAGENCY_STREAM, make: Box::new(make), expiry: expiry_within(BRING_IN_WAIT) };
        let mut pull = ConsumerPull::new(self.server.clone(), consumer, PullBatch::Caller(1), 1);
        pull.prepare().await?;
        Ok(stream::unfold(pull, |mut pull| async move {
            let item =
                pull.next().await?.map(|pulled| -> Box<dyn SettleableMessage> { Box::new(NatsMessage::from(pulled)) });
            Some((item, pull))
        })
        .boxed())
    }

    async fn worker_messages(&self) -> Result<BoxStream<'static, ConversationMessage>> {
        let pull = self.ordered(FASTAGENCY_STREAM, ALL_CLIENT_MESSAGES.to_owned(), false, 1);
        let state = OrderedMessages { pull, last: 0, consumer_seq: 0 };
        Ok(stream::unfold(state, |mut ordered| async move { Some((ordered.next().await?, ordered)) }).boxed())
    }

    async fn last_copy(&self, user: &str, run: RunId) -> Result<Option<ConversationMessage>> {
        self.last("read the last copy", subjects::client_messages(user, run)).await
    }

    async fn copy(
        &self,
        user: &str,
        run: RunId,
        message: MessageId,
        seq: u64,
        previous: u64,
        body: Bytes,
    ) -> Result<u64> {
        let mut headers = json_headers();
        headers.insert(MESSAGE_ID, message.to_string());
        headers.insert(COPY_OF, seq.to_string());
        let subject = subjects::client_messages(user, run);
        self.server.store("copy a message to FastAgency", subject, headers, body, Some(previous)).await
    }

    async fn initiate(&self, run: RunId, body: Bytes) -> Result<()> {
        let mut headers = json_headers();
        headers.insert(MESSAGE_ID, format!("initiate-{run}"));
        let subject = INITIATE_CHAT.to_owned();
        self.server.store("start a run with FastAgency", subject, headers, body, None).await.map(drop)
    }

    async fn answer(&self, user: &str, run: RunId, question: MessageId, body: Bytes) -> Result<()> {
        let mut headers = json_headers();
        headers.insert(MESSAGE_ID, format!("answer-{question}"));
        let subject = subjects::server_messages(user, run);
        self.server.store("answer a question of FastAgency", subject, headers, body, None).await.map(drop)
    }

    async fn last_answer(&self, user: &str, run: RunId) -> Result<Option<ConversationMessage>> {
        self.last("read the last answer", subjects::server_messages(user, run)).await
    }

    async fn erase(&self, seq: u64) -> Result<()> {
        self.server.overwrite("erase a message", FASTAGENCY_STREAM, seq).await
    }

    async fn purge(&self, user: &str, run: RunId) -> Result<()> {
        for filter in [subjects::client_messages(user, run), subjects::server_messages(user, run)] {
            let call = format!("STREAM.PURGE.{FASTAGENCY_STREAM}");
            let body = json!({ "filter": filter });
            self.server.api_plainly::<Value>("purge a conversation", call, &body).await?;
        }
        Ok(())
    }
}

/// Exactly what FastAgency's worker asks for.
fn stream_config() -> Value {
    json!({
        "name": FASTAGENCY_STREAM,
        "subjects": ["chat.server.initiate_chat", "chat.client.messages.*.*", "chat.server.messages.*.*", "discovery"],
        "discard": "old",
        "discard_new_per_subject": false,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "no_ack": false,
        "duplicate_window": 0,
        "sealed": false,
        "deny_delete": false,
        "deny_purge": false,
        "allow_rollup_hdrs": false,
        "max_age": 0,
    })
}

/// Exactly what nats-py asks for; a bucket made otherwise keeps a Python worker from starting.
fn bucket_config() -> Value {
    json!({
        "name": DISCOVERY_STREAM,
        "subjects": [bucket_entry(DISCOVERY_BUCKET, ">")],
        "max_consumers": -1,
        "max_msgs": -1,
        "discard": "new",
        "discard_new_per_subject": false,
        "max_msgs_per_subject": 1,
        "num_replicas": 1,
        "no_ack": false,
        "duplicate_window": 120_000_000_000_u64,
        "sealed": false,
        "deny_delete": true,
        "deny_purge": false,
        "allow_rollup_hdrs": true,
        "allow_msg_ttl": true,
        "max_age": 0,
    })
}

/// How long a worker may take to bring an answer in, before another one does: people wait for it.
const BRING_IN_WAIT: Duration = Duration::from_secs(5);

fn answers_config() -> Value {
    json!({
        "durable_name": ANSWER_WORKERS,
        "name": ANSWER_WORKERS,
        "filter_subject": ALL_SERVER_MESSAGES,
        "ack_policy": "explicit",
        "ack_wait": nanos(BRING_IN_WAIT),
        "deliver_policy": "all",
        "replay_policy": "instant",
        "max_deliver": -1,
        "max_ack_pending": -1,
    })
}

/// What FastAgency's receivers decode by, and what its library always sends.
fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json");
    headers.insert("correlation_id", Uuid::new_v4().hyphenated().to_string());
    headers
}

/// The messages of Python workers, each once and in order.
struct OrderedMessages {
    pull: ConsumerPull,
    last: u64,
    consumer_seq: u64,
}

impl OrderedMessages {
    async fn next(&mut self) -> Option<ConversationMessage> {
        loop {
            let PulledMessage { message, receipt } = match self.pull.next().await? {
                Ok(pulled) => pulled,
                Err(error) => {
                    tracing::warn!(%error, "messages of FastAgency's workers cannot be read for now");
                    continue;
                }
            };
            let place = receipt.delivered;
            // A new consumer counts from one; anything else that does not follow is a hole.
            if place.consumer_seq != self.consumer_seq + 1 && place.consumer_seq != 1 {
                self.pull.start_anew_at(self.last + 1);
                self.consumer_seq = 0;
                continue;
            }
            self.consumer_seq = place.consumer_seq;
            if place.stream_seq <= self.last {
                continue;
            }
            self.last = place.stream_seq;
            let carried = carried(&message.subject, place.stream_seq, message.payload, message.headers.as_ref());
            if carried.is_some() {
                return carried;
            }
        }
    }
}

/// A message on a conversation's subject; `None` if the subject is none.
fn carried(subject: &str, seq: u64, body: Bytes, headers: Option<&HeaderMap>) -> Option<ConversationMessage> {
    let (user, run) = conversation(subject)?;
    let copy_of = headers.and_then(|headers| headers::number(headers, COPY_OF));
    Some(ConversationMessage { seq, user, run, body, copy_of })
}

/// The user's token and the run in `chat.client.messages.<user>.<run>` or `chat.server.messages.<user>.<run>`.
fn conversation(subject: &str) -> Option<(String, RunId)> {
    let rest =
        subject.strip_prefix("chat.client.messages.").or_else(|| subject.strip_prefix("chat.server.messages."))?;
    let (user, run) = rest.split_once('.')?;
    Some((user.to_owned(), RunId::parse(run).ok()?))
}

/// A message that can be settled.
struct NatsMessage {
    message: Message,
    receipt: MessageReceipt,
}

impl From<PulledMessage> for NatsMessage {
    fn from(pulled: PulledMessage) -> Self {
        Self { message: pulled.message, receipt: pulled.receipt }
    }
}

#[async_trait]
impl SettleableMessage for NatsMessage {
    fn body(&self) -> &Bytes {
        &self.message.payload
    }

    fn subject(&self) -> &str {
        &self.message.subject
    }

    fn seq(&self) -> u64 {
        self.receipt.delivered.stream_seq
    }

    fn attempt(&self) -> u64 {
        self.receipt.delivered.attempt
    }

    async fn ack(self: Box<Self>) -> Result<()> {
        self.receipt.ack("acknowledge a message").await
    }

    async fn retry_after(self: Box<Self>, delay: Duration) -> Result<()> {
        self.receipt.retry_after("give a message back", delay).await
    }
}

/// A place among the workers that share `initiate_workers`.
struct InitiationPulls {
    server: Arc<NatsConnection>,
    connections: watch::Receiver<u64>,
    joined: Option<InitiationConsumer>,
}

struct InitiationConsumer {
    subscriber: Subscriber,
    deliver_subject: String,
    look_at: Instant,
}

impl InitiationPulls {
    fn new(server: Arc<NatsConnection>) -> Self {
        let connections = server.connections.clone();
        Self { server, connections, joined: None }
    }

    async fn next(&mut self) -> Option<Result<Box<dyn SettleableMessage>>> {
        loop {
            if self.joined.is_none()
                && let Err(error) = self.join().await
            {
                tokio::time::sleep(RETRY_PAUSE).await;
                match error {
                    Error::Refused { .. } | Error::Denied { .. } => return Some(Err(error)),
                    error => tracing::warn!(%error, "no starts from FastAgency's gateways for now"),
                }
                continue;
            }
            let joined = self.joined.as_mut()?;
            let look = tokio::select! {
                biased;
                message = joined.subscriber.next() => {
                    let message = message?;
                    let Some(receipt) = MessageReceipt::of(self.server.clone(), &message) else { continue };
                    return Some(Ok(Box::new(NatsMessage { message, receipt })));
                }
                changed = self.connections.changed() => changed.ok(),
                () = tokio::time::sleep_until(joined.look_at) => Some(()),
            };
            look?;
            joined.look_at = Instant::now() + LOOK_EVERY;
            match consumers::consumer_config(&self.server, FASTAGENCY_STREAM, INITIATE_WORKERS).await {
                Ok(Some(config)) if config["deliver_subject"] == joined.deliver_subject.as_str() => {}
                Ok(_) => {
                    tracing::warn!("the consumer {INITIATE_WORKERS} was made anew; joining it again");
                    self.joined = None;
                }
                // Whether it is still the same is asked again next time.
                Err(error) => tracing::debug!(%error, "the consumer {INITIATE_WORKERS} cannot be looked at"),
            }
        }
    }

    /// Joins the consumer's group, making the consumer if there is none.
    async fn join(&mut self) -> Result<()> {
        const DOING: &str = "join FastAgency's workers";
        let refused = |reason: &str| Error::Refused { doing: DOING.to_owned(), reason: reason.to_owned() };
        let mut config = consumers::consumer_config(&self.server, FASTAGENCY_STREAM, INITIATE_WORKERS).await?;
        if config.is_none() {
            self.make().await?;
            config = consumers::consumer_config(&self.server, FASTAGENCY_STREAM, INITIATE_WORKERS).await?;
        }
        let config = config.ok_or_else(|| unavailable(DOING, "the consumer vanished at once"))?;
        let deliver_subject = config["deliver_subject"]
            .as_str()
            .ok_or_else(|| refused("the consumer initiate_workers is no push consumer; it is not FastAgency's"))?;
        let group = config["deliver_group"].as_str().unwrap_or(INITIATE_WORKERS);
        let subscribed = self.server.client.queue_subscribe(deliver_subject.to_owned(), group.to_owned());
        let subscriber =
            self.server.answered(DOING, "", subscribed).await?.map_err(|source| unavailable(DOING, source))?;
        self.joined = Some(InitiationConsumer {
            subscriber,
            deliver_subject: deliver_subject.to_owned(),
            look_at: Instant::now() + LOOK_EVERY,
        });
        Ok(())
    }

    /// Makes the consumer as FastAgency's worker does, unless another worker has just done so: `create` never changes one
    /// that is there, and so never takes the subject away under those who have joined.
    async fn make(&self) -> Result<()> {
        const DOING: &str = "make the consumer initiate_workers";
        const CONSUMER_EXISTS: [u64; 2] = [10148, 10013];
        let config = json!({
            "durable_name": INITIATE_WORKERS,
            "name": INITIATE_WORKERS,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "filter_subject": INITIATE_CHAT,
            "replay_policy": "instant",
            "deliver_subject": self.server.client.new_inbox(),
            "deliver_group": INITIATE_WORKERS,
        });
        let call = format!("CONSUMER.CREATE.{FASTAGENCY_STREAM}.{INITIATE_WORKERS}.{INITIATE_CHAT}");
        let body = json!({ "stream_name": FASTAGENCY_STREAM, "config": config, "action": "create" });
        match self.server.api::<Value>(DOING, call, &body).await? {
            Ok(_) => Ok(()),
            Err(error) if CONSUMER_EXISTS.contains(&error.err_code) => Ok(()),
            Err(error) if error.err_code == STREAM_NOT_FOUND => Err(unavailable(DOING, error.description)),
            Err(error) => Err(error.into_broker(DOING)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_read_from_its_subject() {
        let run = RunId::random();
        for subject in [subjects::client_messages("alice", run), subjects::server_messages("alice", run)] {
            assert_eq!(conversation(&subject), Some(("alice".to_owned(), run)));
        }
        for other in ["chat.client.messages.alice", "chat.client.messages.a.b", "chat.server.initiate_chat", "x"] {
            assert_eq!(conversation(other), None);
        }
    }
}
