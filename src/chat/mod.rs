//! The rules of conversation, as AG2 has them (`SEMANTICS.md`), over [`Effects`] alone: this module knows no clock, no
//! network and no log. What it is given by `Effects` may come from a model just now or from a log of last week; it cannot
//! tell, and so a conversation goes on exactly where it stopped.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::ids::{MessageId, Name};
use crate::message::Content;
use crate::model::{self, ChatMessage};
use crate::workflow::ModelUse;

mod agent;
mod human;
pub mod pair;
mod summary;

/// Why a workflow does not go on.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// The workflow failed; `on_error` and `retry` may still save it.
    Failed(Failure),
    /// The run cannot go on here: another worker owns it, or the broker refuses. No step may catch this.
    Halted(String),
}

/// A failure, as `error {kind, message, step}` in a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind: `model`, `timeout`, `template`, `limit`, `fail`, ….
    pub kind: String,
    /// A sentence.
    pub message: String,
    /// The step in which it happened, as people find it.
    pub step: Option<String>,
}

impl Stop {
    /// A failure of that kind.
    pub fn failed(kind: &str, message: impl Into<String>) -> Self {
        Stop::Failed(Failure { kind: kind.to_owned(), message: message.into(), step: None })
    }
}

/// A result that may stop the workflow.
pub type Result<T, E = Stop> = std::result::Result<T, E>;

/// A question to a person.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who asks.
    pub sender: String,
    /// Who is asked.
    pub recipient: String,
    /// What; its deadline is filled in from `timeout`.
    pub says: Content,
    /// How long to wait; none: for ever.
    pub timeout: Option<Duration>,
    /// What counts as the answer then; none: [`Answer::TimedOut`].
    pub default: Option<Value>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It was answered, or the default counts.
    Given(Value),
    /// Nobody answered in time.
    TimedOut,
}

/// Who is about to speak to whom, told to people while a model still writes.
#[derive(Debug, Clone, Copy)]
pub struct Speaking<'a> {
    /// Who.
    pub sender: &'a str,
    /// To whom.
    pub recipient: &'a str,
}

/// A model's reply, and the id that its text has if it is said.
#[derive(Debug, Clone, PartialEq)]
pub struct Replied {
    /// The reply.
    pub reply: model::Reply,
    /// The id under which its text was shown while it was written.
    pub message: MessageId,
}

/// The one narrow seam between a workflow and the world. Whatever goes through it is remembered: a finished effect is
/// never performed again, and gives the same when the workflow is executed again from its start.
#[async_trait]
pub trait Effects: Send + Sync {
    /// Says something to people. `message` is the id of a text that was shown while it was written.
    async fn say(&self, sender: &str, recipient: &str, says: Content, message: Option<MessageId>) -> Result<()>;

    /// Asks a person, and waits: for seconds or for weeks.
    async fn ask(&self, question: Question) -> Result<Answer>;

    /// Asks a model. With `speaking`, its text is shown while it is written. A failure of the model is remembered too.
    async fn ask_model(
        &self,
        model: &ModelUse,
        request: model::Request,
        speaking: Option<Speaking<'_>>,
    ) -> Result<std::result::Result<Replied, Failure>>;
}

/// What the agents of one run remember of their conversations: for each agent one list for each peer (`SEMANTICS.md` 2).
/// A parallel branch works on a copy.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    lists: HashMap<(Name, Name), Vec<ChatMessage>>,
    auto_replies: HashMap<(Name, Name), u32>,
}

impl Memory {
    /// What `owner` remembers of its conversation with `peer`.
    pub fn list(&self, owner: &Name, peer: &Name) -> &[ChatMessage] {
        self.lists.get(&(owner.clone(), peer.clone())).map_or(&[], Vec::as_slice)
    }

    fn push(&mut self, owner: &Name, peer: &Name, message: ChatMessage) {
        self.lists.entry((owner.clone(), peer.clone())).or_default().push(message);
    }

    fn forget(&mut self, owner: &Name, peer: &Name) {
        self.lists.remove(&(owner.clone(), peer.clone()));
    }

    /// How many replies `owner` has given `peer` by itself since a person had a say.
    fn auto_replies(&self, owner: &Name, peer: &Name) -> u32 {
        self.auto_replies.get(&(owner.clone(), peer.clone())).copied().unwrap_or(0)
    }

    fn set_auto_replies(&mut self, owner: &Name, peer: &Name, count: u32) {
        self.auto_replies.insert((owner.clone(), peer.clone()), count);
    }
}
