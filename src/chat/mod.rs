//! The rules of conversation, as AG2 has them (`docs/reference/ag2-semantics.md`), over [`Effects`] alone: this module
//! knows no clock, no network and no log. What it is given by `Effects` may come from a model just now or from a log of
//! last week; it cannot tell, and so a conversation goes on exactly where it stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::ids::{MessageId, Name};
use crate::message::MessageContent;
use crate::protocol::dialogue::{ModelReply, ModelRequest, ToolCall};
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, AnswererTerms, ModelUse, OnCut, ToolTable, WorkflowTool};

mod agent;
mod cut;
mod event;
mod executor;
mod group;
mod group_chat;
mod human;
mod memory;
mod nested;
mod pair;
mod parties;
mod pattern;
mod pattern_chat;
mod queue;
mod request;
mod single;
mod speaker;
mod summary;
mod thoughts;
mod tools;
mod voice;

pub use cut::ReplyEnds;
pub use event::{ChatEvent, HandoffCause};
pub use group_chat::{GroupChatRequest, hold_group_chat};
pub use memory::{AgentMemory, RememberedMessage, ToolResponse};
pub use pair::hold;
pub use parties::ChatRequest;
pub use pattern::{HandoffGroupRequest, MemberTools, offered_in_group};
pub use pattern_chat::hold_group;
pub use queue::hold_all;
pub use request::response_format;
pub use single::{AgentAnswer, AgentQuestion, ask_with_tools};
pub use thoughts::behind_thoughts;
pub use tools::{checked_arguments, denial, fitted_arguments, offered, result_text};

use agent::generate_reply;
use pattern::HandoffState;

/// Why a workflow does not go on.
#[derive(Debug, Clone)]
pub enum WorkflowStop {
    /// The workflow failed; `on_error` and `retry` may still save it.
    Failed(WorkflowFailure),
    /// The run cannot go on here. No step may catch this, and no rule asks why: whoever performs the effects knows.
    Halted(Arc<dyn std::error::Error + Send + Sync>),
}

/// A failure, as `error {kind, message, step}` in a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowFailure {
    /// What kind.
    pub kind: FailureKind,
    /// A sentence.
    pub message: String,
    /// The step in which it happened, as people find it.
    pub step: Option<String>,
}

impl WorkflowStop {
    /// A failure of that kind.
    pub fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        WorkflowStop::Failed(WorkflowFailure { kind, message: message.into(), step: None })
    }
}

/// A result that may stop the workflow.
pub type Result<T, E = WorkflowStop> = std::result::Result<T, E>;

/// A question to a person.
#[derive(Debug, Clone)]
pub struct HumanQuestion {
    /// Who asks.
    pub sender: String,
    /// Who is asked.
    pub recipient: String,
    /// What; its deadline is filled in from `timeout`.
    pub says: MessageContent,
    /// How long to wait; none: for ever.
    pub timeout: Option<Duration>,
    /// What counts as the answer then; none: [`HumanReply::TimedOut`].
    pub default: Option<Value>,
    /// Who may answer, where it is said.
    pub answerers: Option<Arc<AnswererTerms>>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum HumanReply {
    /// It was answered, or the default counts.
    Given(Value),
    /// Nobody answered in time.
    TimedOut,
}

/// Who is about to speak to whom, told to people while a model still writes.
#[derive(Debug, Clone, Copy)]
pub struct SpeakingPair<'a> {
    /// Who.
    pub sender: &'a str,
    /// To whom.
    pub recipient: &'a str,
    /// What was said before, if this goes on with it.
    pub after: Option<SpokenPart<'a>>,
}

impl<'a> SpeakingPair<'a> {
    /// Somebody who begins to speak.
    pub fn new(sender: &'a str, recipient: &'a str) -> Self {
        Self { sender, recipient, after: None }
    }
}

/// The first part of a text that a model is asked to go on with.
#[derive(Debug, Clone, Copy)]
pub struct SpokenPart<'a> {
    /// The id under which it was shown; the rest is shown under it as well.
    pub message: MessageId,
    /// The attempt in which it was written.
    pub attempt: u32,
    /// The text.
    pub text: &'a str,
}

/// A model's reply, and the id that its text has if it is said.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentifiedReply {
    /// The reply.
    pub reply: ModelReply,
    /// The id under which its text was shown while it was written.
    pub message: MessageId,
    /// The attempt that gave it, as those who look on count them.
    pub attempt: u32,
}

/// A call of a tool whose arguments fit its parameters.
#[derive(Debug, Clone, Copy)]
pub struct AllowedCall<'a> {
    /// The tool.
    pub tool: &'a Arc<WorkflowTool>,
    /// The call.
    pub call: &'a ToolCall,
    /// Who executes it.
    pub agent: &'a Name,
    /// Its arguments, with defaults.
    pub arguments: &'a Map<String, Value>,
    /// What the agents of the group share; none: there is no group that shares anything.
    pub context: Option<&'a Map<String, Value>>,
    /// By what a person has allowed exactly this call; none: nobody was asked about it.
    pub permit: Option<&'a CallPermit>,
}

/// A person's permission for one call: what was shown is what may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallPermit {
    /// The digest of the call ([`crate::message::CalledTool::digest`]).
    pub digest: String,
    /// What it was made with.
    pub salt: String,
}

/// Whether a tool may be called.
#[derive(Debug, Clone, PartialEq)]
pub enum CallPermission {
    /// As it is; with a permit, if a person was asked about this call.
    Granted(Option<CallPermit>),
    /// With these arguments instead.
    Changed(Map<String, Value>, Option<CallPermit>),
    /// No; perhaps with a reason, which the model is told.
    Denied(Option<String>),
}

/// The one narrow seam between a workflow and the world. Whatever goes through it is remembered: a finished effect is
/// never performed again, and gives the same when the workflow is executed again from its start.
#[async_trait]
pub trait Effects: Send + Sync {
    /// Tells what happened. `message` is the id of a text that was shown while it was written.
    async fn tell(&self, event: ChatEvent, message: Option<MessageId>) -> Result<()>;

    /// Asks a person, and waits: for seconds or for weeks.
    async fn ask(&self, question: HumanQuestion) -> Result<HumanReply>;

    /// Asks a model. With `speaking`, its text is shown while it is written. A failure of the model is remembered too.
    async fn ask_model(
        &self,
        model: &ModelUse,
        request: ModelRequest,
        speaking: Option<SpeakingPair<'_>>,
    ) -> Result<std::result::Result<IdentifiedReply, WorkflowFailure>>;

    /// Asks a person whether a tool that wants it so may be called, unless the run has the permission already.
    async fn may_call(&self, call: AllowedCall<'_>) -> Result<CallPermission>;

    /// Executes a tool. A failure of the tool is a result that the model is told; only what must stop the run is an error.
    async fn call_tool(&self, call: AllowedCall<'_>) -> Result<std::result::Result<Value, WorkflowFailure>>;

    /// Executes several tools, at the same time if that is possible; what came of them is in the order of the calls.
    async fn call_tools(
        &self,
        calls: Vec<AllowedCall<'_>>,
    ) -> Result<Vec<std::result::Result<Value, WorkflowFailure>>> {
        let mut came = Vec::with_capacity(calls.len());
        for call in calls {
            came.push(self.call_tool(call).await?);
        }
        Ok(came)
    }

    /// Chooses one of several by chance: its index.
    async fn choose(&self, among: &[Name]) -> Result<usize>;
}

/// Where conversations are held: who may take part, what they may call, what they remember, and the world outside.
pub struct ConversationContext<'s> {
    agents: &'s BTreeMap<Name, Arc<Agent>>,
    tools: &'s ToolTable,
    memory: &'s mut AgentMemory,
    effects: &'s dyn Effects,
    /// The group that hands over, while one does.
    handoff_state: Option<HandoffState>,
    /// How deep the nested chats are within each other.
    depth: u32,
    /// What is done about replies that are cut off, whoever gives them; none: what each agent says.
    on_cut: Option<OnCut>,
    /// How the replies ended so far.
    replies: ReplyEnds,
    /// How an agent replies. A conversation has replies in it, and a reply may have conversations in it: so those who hold
    /// conversations are given this, and stand below it.
    generate_reply: ReplyGenerator,
}

type ReplyGenerator =
    for<'f> fn(&'f mut ConversationContext<'_>, &'f Arc<Agent>, &'f Name) -> BoxFuture<'f, Result<voice::AgentReply>>;

impl<'s> ConversationContext<'s> {
    /// A stage for these agents and tools.
    pub fn new(
        agents: &'s BTreeMap<Name, Arc<Agent>>,
        tools: &'s ToolTable,
        memory: &'s mut AgentMemory,
        effects: &'s dyn Effects,
    ) -> Self {
        let replies = ReplyEnds::default();
        Self { agents, tools, memory, effects, handoff_state: None, depth: 0, on_cut: None, replies, generate_reply }
    }

    /// How the replies of models ended so far.
    pub fn reply_ends(&self) -> &ReplyEnds {
        &self.replies
    }

    fn agent(&self, name: &Name) -> Result<Arc<Agent>> {
        // The check has seen to it; a definition that came from elsewhere may still be wrong.
        let found = self.agents.get(name).cloned();
        found.ok_or_else(|| {
            WorkflowStop::failed(FailureKind::Workflow, format!("there is no agent {:?}", name.as_str()))
        })
    }

    /// What `agent` replies to the last message of its conversation with `peer`.
    fn reply<'f>(&'f mut self, agent: &'f Arc<Agent>, peer: &'f Name) -> BoxFuture<'f, Result<voice::AgentReply>> {
        (self.generate_reply)(self, agent, peer)
    }

    async fn tell(&self, event: ChatEvent) -> Result<()> {
        self.effects.tell(event, None).await
    }
}

/// A name that this program gives by itself.
fn own_name(text: &str) -> Name {
    Name::parse(text).expect("the program's own names are names")
}
