//! What one says in a conversation: a reply or the reason why there is none, when a message is the last, and how it is sent.

use std::sync::Arc;

use crate::chat::memory::{Utterance, content_text};
use crate::chat::{Event, Line, Result, Stage, Stop};
use crate::ids::Name;
use crate::protocol::dialogue::Role;
use crate::protocol::failure::FailureKind;
use crate::workflow::Expression;

/// A reply, or why there is none.
pub(super) type Reply = std::result::Result<Utterance, Silence>;

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// The last message is a termination message.
    Termination,
    /// A person ended the conversation.
    UserExit,
    /// The agent has given as many replies by itself as it may.
    MaxAutoReplies,
    /// None of the agent's nested chats has anything to begin with.
    NoNestedChat,
    /// The group has said as much as it may.
    MaxRounds,
    /// Nobody in the group speaks next.
    NoNextSpeaker,
    /// The group's next speaker said nothing.
    NoReply,
}

impl Silence {
    /// The word for `stop_reason`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Silence::Termination => "termination",
            Silence::UserExit => "user_exit",
            Silence::MaxAutoReplies => "max_auto_replies",
            Silence::NoNestedChat => "no_nested_chat",
            Silence::MaxRounds => "max_rounds",
            Silence::NoNextSpeaker => "no_next_speaker",
            Silence::NoReply => "no_reply",
        }
    }
}

/// Whether a message ends the conversation by a rule; `owner` is who has the rule.
pub(super) fn ends_conversation(rule: Option<&Expression>, owner: &Name, message: &Line) -> Result<bool> {
    let Some(rule) = rule else { return Ok(message.text() == "TERMINATE") };
    let context = minijinja::context! { message => message.in_context() };
    let in_words =
        |error| Stop::failed(FailureKind::Template, format!("is_termination_msg of {:?}: {error}", owner.as_str()));
    rule.holds(&context).map_err(in_words)
}

/// Sends a message: both remember it, each with its own role, and it is told, unless it is `silent`.
pub(super) async fn send(
    stage: &mut Stage<'_>,
    sender: &Name,
    recipient: &Name,
    utterance: &Utterance,
    silent: bool,
) -> Result<()> {
    stage.memory.push(sender, recipient, Arc::new(utterance.line(Role::Assistant, sender)));
    stage.memory.push(recipient, sender, Arc::new(utterance.line(Role::User, sender)));
    if silent { Ok(()) } else { tell_sent(stage, sender, recipient, utterance).await }
}

/// Tells what was sent.
pub(super) async fn tell_sent(stage: &Stage<'_>, sender: &Name, recipient: &Name, utterance: &Utterance) -> Result<()> {
    let (sender, recipient) = (sender.clone(), recipient.clone());
    let content = utterance.content.clone();
    let event = if utterance.role == Some(Role::Tool) {
        let responses = utterance.tool_responses.clone();
        Event::ToolResponse { sender, recipient, content: content_text(&content), responses }
    } else if !utterance.tool_calls.is_empty() {
        Event::ToolCall { sender, recipient, content, calls: utterance.tool_calls.clone() }
    } else {
        Event::Text { sender, recipient, content }
    };
    stage.fx.tell(event, utterance.shown_as).await
}
