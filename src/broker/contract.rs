//! FastAgency's own NATS contract (`docs/reference/fastagency-wire.md`, section 4), beside ours: what lets a Python
//! gateway find our workers, and our gateway find Python workers. Only the `nats` broker has it. Bodies are passed as
//! bytes; what they mean is known above.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::broker::Result;
use crate::ids::{MessageId, RunId};

/// A name and description from FastAgency's `discovery` bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredWorkflow {
    /// The workflow's name, as it was put: any text that NATS allows as a key.
    pub name: String,
    /// Its description.
    pub description: String,
}

/// A message on one of the conversation subjects, `chat.client.messages.<user>.<run>` or `chat.server.messages.…`.
#[derive(Debug, Clone)]
pub struct ConversationMessage {
    /// Its sequence in the `FastAgency` stream.
    pub seq: u64,
    /// The user's token.
    pub user: String,
    /// The conversation.
    pub run: RunId,
    /// The JSON body.
    pub body: Bytes,
    /// The sequence of the run's own log that it was copied from, if it is a copy of ours.
    pub copy_of: Option<u64>,
}

/// A message that must be settled, or it comes again.
#[async_trait]
pub trait SettleableMessage: Send + Sync {
    /// Its JSON body.
    fn body(&self) -> &Bytes;
    /// Where it was published.
    fn subject(&self) -> &str;
    /// Its sequence in the stream.
    fn seq(&self) -> u64;
    /// It is done.
    async fn ack(self: Box<Self>) -> Result<()>;
    /// It is for another worker, or for later.
    async fn retry_after(self: Box<Self>, delay: Duration) -> Result<()>;
    /// How often it was delivered, this time included.
    fn attempt(&self) -> u64;
}

/// FastAgency's subjects, stream, consumer and bucket.
#[async_trait]
pub trait FastAgencyContract: Send + Sync {
    /// Makes the stream and the bucket exactly as FastAgency's Python worker does, if they are not there; existing ones
    /// are left as they are.
    async fn prepare(&self) -> Result<()>;

    /// Whether the stream can be reached.
    async fn ready(&self) -> Result<()> {
        Ok(())
    }

    /// Puts a workflow's name and description into `discovery`.
    async fn announce(&self, name: &str, description: &str) -> Result<()>;

    /// All of `discovery`, in the order of the last put. Empty if the bucket does not exist.
    async fn discovered(&self) -> Result<Vec<DiscoveredWorkflow>>;

    /// Says something whenever `discovery` has changed, and once at the start.
    async fn watch_discovery(&self) -> Result<BoxStream<'static, ()>>;

    /// Joins the workers that share the durable `initiate_workers` (its deliver subject and group), making it if needed, and
    /// takes what gateways start.
    async fn initiations(&self) -> Result<BoxStream<'static, Result<Box<dyn SettleableMessage>>>>;

    /// Takes the answers that gateways publish on `chat.server.messages.*.*`, shared by all workers (a durable pull consumer).
    async fn answers(&self) -> Result<BoxStream<'static, Result<Box<dyn SettleableMessage>>>>;

    /// Everything on `chat.client.messages.*.*` from the start of the stream and on, in order (one ordered consumer).
    async fn worker_messages(&self) -> Result<BoxStream<'static, ConversationMessage>>;

    /// The last message on `chat.client.messages.<user>.<run>`.
    async fn last_copy(&self, user: &str, run: RunId) -> Result<Option<ConversationMessage>>;

    /// Publishes a copy of a message that our log holds at `seq`, after the copy `previous` (a sequence of the
    /// `FastAgency` stream; 0: the first), and returns its own sequence. [`crate::broker::Error::Conflict`] if another copy came first.
    async fn copy(
        &self,
        user: &str,
        run: RunId,
        message: MessageId,
        seq: u64,
        previous: u64,
        body: Bytes,
    ) -> Result<u64>;

    /// Asks for a run (`chat.server.initiate_chat`), stored when this returns.
    async fn initiate(&self, run: RunId, body: Bytes) -> Result<()>;

    /// Publishes an answer on `chat.server.messages.<user>.<run>`, stored when this returns.
    async fn answer(&self, user: &str, run: RunId, question: MessageId, body: Bytes) -> Result<()>;

    /// The last answer on `chat.server.messages.<user>.<run>`.
    async fn last_answer(&self, user: &str, run: RunId) -> Result<Option<ConversationMessage>>;

    /// Removes one message from the stream, for ever (an answer that was a password).
    async fn erase(&self, seq: u64) -> Result<()>;

    /// Removes everything of a conversation from the stream.
    async fn purge(&self, user: &str, run: RunId) -> Result<()>;
}
