//! Pulling from a consumer, for ever: over lost connections, consumers that vanished, and servers that fell silent.
//! Nothing is asked for that nobody waits for, so that a busy worker does not hoard what an idle one could do.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::consumers::{make_consumer, nanos};
use super::headers::{self, DeliveryMetadata};
use super::server::NatsConnection;
use crate::broker::{Error, Result};

/// How long the server may keep a request that it has nothing for.
pub(super) const LONG_EXPIRY: Duration = Duration::from_secs(60);
/// The shortest that is asked for: an idle consumer costs a request each time.
const SHORTEST_EXPIRY: Duration = Duration::from_millis(500);
/// How often the server says meanwhile that it is still there, if the request does not end sooner. A server that dies takes the request
/// with it, and nobody says so.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How much longer than the server should it may be silent.
const SILENCE_MARGIN: Duration = Duration::from_secs(2);
/// How long to wait before a consumer is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often it is said that this does not succeed.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// A caller who comes back within this time takes messages faster than single requests bring them.
const EAGER_WITHIN: Duration = Duration::from_millis(20);
/// The most that is asked for at once then.
const LARGEST_BATCH: usize = 32;
/// Messages that lay here for so long go back, before the server gives them to somebody else anyway.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// What the server must be asked for to have the consumer.
pub(super) struct ConsumerSetup {
    /// The stream.
    pub(super) stream: &'static str,
    /// The consumer's name for one that starts at a stream sequence, and its settings.
    pub(super) make: Box<dyn Fn(u64) -> (String, Value) + Send + Sync>,
    /// How long the server may keep a request that it has nothing for. What comes meanwhile is given to whoever asked, even if
    /// he was stopped since: it lies there until it is due again.
    pub(super) expiry: Duration,
}

/// The expiry for deliveries that may stay unsettled for `patience`: the requests of a worker that is stopped are over before
/// its own deliveries come again, so that none of them is given to it a second time.
pub(super) fn expiry_within(patience: Duration) -> Duration {
    (patience / 3).clamp(SHORTEST_EXPIRY, LONG_EXPIRY)
}

/// How much to ask for at once.
pub(super) enum PullBatch {
    /// As many as the caller shows to take at once.
    Caller(usize),
    /// Always so many: the caller keeps everything anyway.
    Fixed(usize),
}

/// A message and how to settle it.
pub(super) struct PulledMessage {
    /// The message.
    pub(super) message: Message,
    /// How to settle it.
    pub(super) receipt: MessageReceipt,
}

/// How a delivered message is settled.
pub(super) struct MessageReceipt {
    server: Arc<NatsConnection>,
    reply: Subject,
    /// What its subject says.
    pub(super) delivered: DeliveryMetadata,
}

/// A consumer being pulled from.
pub(super) struct ConsumerPull {
    server: Arc<NatsConnection>,
    consumer: ConsumerSetup,
    appetite: PullBatch,
    /// Whether anybody waits for a message; none: whoever polls does.
    demand: Option<watch::Receiver<bool>>,
    connections: watch::Receiver<u64>,
    link: Option<ConsumerLink>,
    /// The stream sequence after the last message that came.
    next_seq: u64,
    last_came: Instant,
    last_said: Option<Instant>,
    last_broken: Option<Instant>,
}

/// A consumer that is known to be there, and the subscription that its messages come to.
struct ConsumerLink {
    name: String,
    inbox: String,
    subscriber: Subscriber,
    /// How many messages the server still owes us.
    owed: usize,
}

/// What a status message of the server means.
enum PullStatus {
    /// It is there.
    Alive,
    /// The request is over; ask again.
    Over,
    /// The consumer is not what it was.
    Broken,
}

impl ConsumerPull {
    /// Starts before the message `next_seq` of the stream, where the consumer can do so.
    pub(super) fn new(
        server: Arc<NatsConnection>,
        consumer: ConsumerSetup,
        appetite: PullBatch,
        next_seq: u64,
    ) -> Self {
        let connections = server.connections.clone();
        Self {
            server,
            consumer,
            appetite,
            demand: None,
            connections,
            link: None,
            next_seq,
            last_came: Instant::now(),
            last_said: None,
            last_broken: None,
        }
    }

    /// One that asks for nothing as long as nobody waits for it, however often it is polled.
    pub(super) fn on_demand(self, demand: watch::Receiver<bool>) -> Self {
        Self { demand: Some(demand), ..self }
    }

    /// Makes the consumer now, so that its failure is the caller's and not the stream's.
    pub(super) async fn prepare(&mut self) -> Result<()> {
        self.link = Some(self.make_link().await?);
        Ok(())
    }

    /// Forgets the consumer: the next one starts at `next_seq`, where it can do so.
    pub(super) fn start_anew_at(&mut self, next_seq: u64) {
        self.link = None;
        self.next_seq = next_seq;
    }

    /// The next message. An error is the server's refusal; the call after it tries again. `None`: the client has ended.
    pub(super) async fn next(&mut self) -> Option<Result<PulledMessage>> {
        self.give_back_what_is_stale().await;
        loop {
            if self.link.is_none()
                && let Err(error) = self.prepare().await
            {
                tokio::time::sleep(RETRY_PAUSE).await;
                match error {
                    Error::Refused { .. } | Error::Denied { .. } => return Some(Err(error)),
                    error => self.say_now_and_then(&error),
                }
                continue;
            }
            let asked = self.ask().await;
            let link = self.link.as_mut()?;
            if asked.is_err() {
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            let message = tokio::select! {
                biased;
                message = link.subscriber.next() => message?,
                changed = self.connections.changed() => {
                    // The server has forgotten the request. What it has sent lies in the subscription's buffer still.
                    changed.ok()?;
                    link.owed = 0;
                    continue;
                }
                () = tokio::time::sleep(self.consumer.expiry.min(HEARTBEAT * 2) + SILENCE_MARGIN) => {
                    tracing::warn!(stream = self.consumer.stream, consumer = link.name, "a consumer fell silent");
                    self.link = None;
                    continue;
                }
            };
            match status(&message) {
                None => {}
                Some(PullStatus::Alive) => continue,
                Some(PullStatus::Over) => {
                    link.owed = 0;
                    self.less();
                    continue;
                }
                Some(PullStatus::Broken) => {
                    tracing::warn!(
                        stream = self.consumer.stream,
                        consumer = link.name,
                        reason = message.description,
                        "a consumer is gone; it is made again"
                    );
                    self.link = None;
                    // At once the first time; a stream that has no leader just now would keep us busy.
                    if self.last_broken.replace(Instant::now()).is_some_and(|last| last.elapsed() < RETRY_PAUSE * 2) {
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                    continue;
                }
            }
            link.owed = link.owed.saturating_sub(1);
            let reply = message.reply.clone();
            let Some(delivered) = reply.as_ref().and_then(|reply| headers::delivered(reply)) else { continue };
            let Some(reply) = reply else { continue };
            self.next_seq = delivered.stream_seq + 1;
            self.last_came = Instant::now();
            let receipt = MessageReceipt { server: self.server.clone(), reply, delivered };
            return Some(Ok(PulledMessage { message, receipt }));
        }
    }

    /// Asks for more if nothing is owed, once somebody waits for it.
    async fn ask(&mut self) -> Result<()> {
        if self.link.as_ref().is_none_or(|link| link.owed > 0) {
            return Ok(());
        }
        if let Some(demand) = &mut self.demand {
            // An error: nobody will wait any more, and nobody polls either.
            let _ = demand.wait_for(|is_wanted| *is_wanted).await;
            if self.last_came.elapsed() >= EAGER_WITHIN {
                self.less();
            }
        }
        let size = match &mut self.appetite {
            PullBatch::Fixed(size) => *size,
            PullBatch::Caller(size) => *size,
        };
        let Some(link) = self.link.as_mut() else { return Ok(()) };
        let expiry = self.consumer.expiry;
        let mut body = json!({ "batch": size, "expires": nanos(expiry) });
        // The end of a short request is a sign of life, too.
        if expiry > HEARTBEAT * 2 {
            body["idle_heartbeat"] = json!(nanos(HEARTBEAT));
        }
        let call = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.consumer.stream, link.name);
        self.server.ask("take messages", call, link.inbox.clone(), &body).await?;
        link.owed = size;
        if let PullBatch::Caller(size) = &mut self.appetite {
            *size = (*size * 2).min(LARGEST_BATCH);
        }
        Ok(())
    }

    fn say_now_and_then(&mut self, error: &Error) {
        if self.last_said.is_none_or(|said| said.elapsed() > SAY_EVERY) {
            self.last_said = Some(Instant::now());
            tracing::warn!(%error, stream = self.consumer.stream, "no messages from NATS for now; still trying");
        }
    }

    fn less(&mut self) {
        if let PullBatch::Caller(size) = &mut self.appetite {
            *size = 1;
        }
    }

    /// A caller who was away for long holds the messages that came meanwhile; others may have time for them.
    async fn give_back_what_is_stale(&mut self) {
        let away = self.last_came.elapsed();
        if !matches!(self.appetite, PullBatch::Caller(_)) || away < EAGER_WITHIN {
            return;
        }
        self.less();
        let (Some(link), true) = (&mut self.link, away > STALE_AFTER) else { return };
        while let Some(Some(message)) = link.subscriber.next().now_or_never() {
            match (status(&message), message.reply) {
                (None, Some(reply)) => {
                    link.owed = link.owed.saturating_sub(1);
                    let _ = self.server.tell("give a message back", reply, "-NAK".into()).await;
                }
                (None, None) | (Some(PullStatus::Alive), _) => {}
                (Some(PullStatus::Over | PullStatus::Broken), _) => link.owed = 0,
            }
        }
    }

    async fn make_link(&self) -> Result<ConsumerLink> {
        let (name, config) = (self.consumer.make)(self.next_seq);
        make_consumer(&self.server, self.consumer.stream, &name, config).await?;
        let inbox = self.server.client.new_inbox();
        let subscriber = self.server.subscribe("take messages", inbox.clone()).await?;
        Ok(ConsumerLink { name, inbox, subscriber, owed: 0 })
    }
}

impl MessageReceipt {
    /// One for a message of a push consumer.
    pub(super) fn of(server: Arc<NatsConnection>, message: &Message) -> Option<Self> {
        let reply = message.reply.clone()?;
        let delivered = headers::delivered(&reply)?;
        Some(Self { server, reply, delivered })
    }

    /// It is done; returns when the server knows it.
    pub(super) async fn ack(self, doing: &str) -> Result<()> {
        self.server.request(doing, self.reply, None, Bytes::from_static(b"+ACK")).await.map(drop)
    }

    /// The same without waiting for the server's word: it may come again.
    pub(super) async fn tell_ack(self, doing: &str) -> Result<()> {
        self.server.tell(doing, self.reply, Bytes::from_static(b"+ACK")).await
    }

    /// It is still worked on.
    pub(super) async fn working(&self, doing: &str) -> Result<()> {
        self.server.tell(doing, self.reply.clone(), Bytes::from_static(b"+WPI")).await
    }

    /// Not now: again after `delay`.
    pub(super) async fn retry_after(self, doing: &str, delay: Duration) -> Result<()> {
        let body = format!("-NAK {}", json!({ "delay": nanos(delay) }));
        self.server.tell(doing, self.reply, body.into()).await
    }

    /// Never again, to nobody: it cannot be read.
    pub(super) async fn discard(self) {
        let _ = self.server.tell("discard a message", self.reply, Bytes::from_static(b"+TERM")).await;
    }
}

fn status(message: &Message) -> Option<PullStatus> {
    let code = message.status?.as_u16();
    let text = message.description.as_deref().unwrap_or_default().to_ascii_lowercase();
    Some(match code {
        100 => PullStatus::Alive,
        404 | 408 => PullStatus::Over,
        // A full batch, a limit of the request; everything else said by 409 is about the consumer or the server.
        409 if text.contains("batch completed") || text.contains("max") => PullStatus::Over,
        _ => PullStatus::Broken,
    })
}
