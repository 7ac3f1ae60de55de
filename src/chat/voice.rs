//! What one says in a conversation: a reply or the reason why there is none, when a message is the last, and how it is sent.

use std::sync::Arc;

use crate::chat::memory::{OutgoingMessage, content_text};
use crate::chat::{ChatEvent, ConversationContext, RememberedMessage, Result, WorkflowStop};
use crate::ids::Name;
use crate::protocol::dialogue::ChatRole;
use crate::protocol::failure::FailureKind;
use crate::workflow::Expression;

/// A reply, or why there is none.
pub(super) type AgentReply = std::result::Result<OutgoingMessage, NoReplyReason>;

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoReplyReason {
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

impl NoReplyReason {
    /// The word for `stop_reason`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            NoReplyReason::Termination => "termination",
            NoReplyReason::UserExit => "user_exit",
            NoReplyReason::MaxAutoReplies => "max_auto_replies",
            NoReplyReason::NoNestedChat => "no_nested_chat",
            NoReplyReason::MaxRounds => "max_rounds",
            NoReplyReason::NoNextSpeaker => "no_next_speaker",
            NoReplyReason::NoReply => "no_reply",
        }
    }
}

/// Whether a message ends the conversation by a rule; `owner` is who has the rule.
pub(super) fn ends_conversation(rule: Option<&Expression>, owner: &Name, message: &RememberedMessage) -> Result<bool> {
    let Some(rule) = rule else { return Ok(message.text() == "TERMINATE") };
    let context = minijinja::context! { message => message.in_context() };
    let in_words = |error| {
        WorkflowStop::failed(FailureKind::Template, format!("is_termination_msg of {:?}: {error}", owner.as_str()))
    };
    rule.holds(&context).map_err(in_words)
}

/// Sends a message: both remember it, each with its own role, and it is told, unless it is `silent`.
pub(super) async fn send(
    ctx: &mut ConversationContext<'_>,
    sender: &Name,
    recipient: &Name,
    utterance: &OutgoingMessage,
    silent: bool,
) -> Result<()> {
    ctx.memory.push(sender, recipient, Arc::new(utterance.line(ChatRole::Assistant, sender)));
    ctx.memory.push(recipient, sender, Arc::new(utterance.line(ChatRole::User, sender)));
    if silent { Ok(()) } else { tell_sent(ctx, sender, recipient, utterance).await }
}

/// Tells what was sent.
pub(super) async fn tell_sent(
    ctx: &ConversationContext<'_>,
    sender: &Name,
    recipient: &Name,
    utterance: &OutgoingMessage,
) -> Result<()> {
    let (sender, recipient) = (sender.clone(), recipient.clone());
    let content = utterance.content.clone();
    let event = if utterance.role == Some(ChatRole::Tool) {
        let responses = utterance.tool_responses.clone();
        ChatEvent::ToolResponse { sender, recipient, content: content_text(&content), responses }
    } else if !utterance.tool_calls.is_empty() {
        ChatEvent::ToolCall { sender, recipient, content, calls: utterance.tool_calls.clone() }
    } else {
        ChatEvent::Text { sender, recipient, content, cut: utterance.cut, refusal: utterance.refusal.clone() }
    };
    ctx.effects.tell(event, utterance.shown_as).await
}
