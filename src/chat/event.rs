//! What happens in conversations, for whoever looks on: AG2's events under their own names
//! (`docs/reference/ag2-events.md`). What of it people are shown, and in which form, is decided above.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::{RememberedMessage, ToolResponse};
use crate::ids::Name;
use crate::protocol::dialogue::{CutReason, ToolCall};
use crate::workflow::HumanInputMode;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// Somebody said something.
    Text {
        /// Who.
        sender: Name,
        /// To whom.
        recipient: Name,
        /// What: a text, or a list of parts.
        content: Value,
        /// Why it is not all that a model had to say.
        cut: Option<CutReason>,
        /// The words of a refusal that is no part of what was said.
        refusal: Option<String>,
    },
    /// Somebody wants tools to be called.
    ToolCall {
        /// Who.
        sender: Name,
        /// To whom.
        recipient: Name,
        /// What is said beside; null: nothing.
        content: Value,
        /// The calls.
        calls: Vec<ToolCall>,
    },
    /// Somebody tells what came of calls.
    ToolResponse {
        /// Who.
        sender: Name,
        /// To whom.
        recipient: Name,
        /// All results as one text.
        content: String,
        /// The results.
        responses: Vec<ToolResponse>,
    },
    /// A tool is about to be executed.
    ExecuteFunction {
        /// By whom.
        agent: Name,
        /// The call.
        call: ToolCall,
        /// Its arguments.
        arguments: Value,
    },
    /// A tool was executed, or could not be.
    ExecutedFunction {
        /// By whom.
        agent: Name,
        /// The call.
        call: ToolCall,
        /// Its arguments; null if they could not be read.
        arguments: Value,
        /// The result: a text as the model is told it, or an object that says more than the model is told.
        content: Value,
        /// Whether it went well.
        success: bool,
    },
    /// An agent whose person had nothing to say replies by itself.
    UsingAutoReply {
        /// Whose message is replied to.
        sender: Name,
        /// Who replies.
        recipient: Name,
        /// Its mode.
        mode: HumanInputMode,
    },
    /// The person had nothing to say.
    NoHumanInput {
        /// Whose message waited for it.
        sender: Name,
        /// Who asked.
        recipient: Name,
    },
    /// A conversation is over.
    Termination {
        /// Who ended it.
        sender: Name,
        /// Whom it was with.
        recipient: Name,
        /// Why, in AG2's words.
        reason: String,
    },
    /// Somebody speaks next in a group.
    RunChat {
        /// Who.
        speaker: Name,
    },
    /// A person is about to be asked who speaks next.
    SelectSpeaker {
        /// Who leads the group.
        manager: Name,
        /// Who may be chosen.
        agents: Vec<Name>,
    },
    /// What the person said is no choice.
    SelectSpeakerInvalidInput {
        /// Who may be chosen.
        agents: Vec<Name>,
    },
    /// The person has tried often enough.
    SelectSpeakerTryCountExceeded {
        /// How often, the one that is not made included.
        try_count: u32,
        /// Who may be chosen.
        agents: Vec<Name>,
    },
    /// One chat of several, or a nested one, is about to begin.
    PostCarryover {
        /// Who begins.
        sender: Name,
        /// Who answers first.
        recipient: Name,
        /// The first message, without what is carried over.
        message: String,
        /// What is carried over.
        carryover: Vec<String>,
    },
    /// An agent that is to reply talks to others first; what follows is inside, up to [`ChatEvent::NestedEnds`].
    NestedBegins {
        /// Who.
        agent: Name,
        /// To whom.
        recipients: Vec<Name>,
    },
    /// It has talked to them.
    NestedEnds {
        /// Who.
        agent: Name,
    },
    /// A group goes on from messages that it is given.
    Resumed {
        /// Who said the last of them.
        last_speaker: String,
        /// The messages.
        messages: Vec<Value>,
    },
    /// An agent hands over.
    HandsOver {
        /// Why.
        because: HandoffCause,
        /// Who.
        source: Name,
        /// To whom, in AG2's words.
        target: String,
    },
    /// A chat is over and summed up.
    Completed {
        /// Its summary.
        summary: String,
        /// What the one who began remembers of it.
        messages: Vec<Arc<RememberedMessage>>,
        /// Who spoke last.
        last_speaker: Name,
    },
}

/// Why an agent hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandoffCause {
    /// Its work is done.
    AfterWork,
    /// The shared variables say so.
    OnContext,
    /// Its model says so.
    OnModel,
    /// A tool's result says so.
    OnReplyResult,
}
