//! One agent's reply (`SEMANTICS.md` 3, "generate_reply"): first whether the conversation is over and whether a person has a
//! say, then the agent's model, then what it says by default.

use serde_json::{Value, json};

use crate::chat::human::{Verdict, check_termination};
use crate::chat::{Effects, Memory, Replied, Result, Speaking, Stop};
use crate::ids::{MessageId, Name};
use crate::model::{ChatMessage, Request, Role};
use crate::workflow::Agent;

/// A reply that is about to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    /// Its text.
    pub content: Value,
    /// The id under which it was shown while it was written.
    pub shown_as: Option<MessageId>,
}

/// Why an agent gave no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The last message is a termination message.
    Termination,
    /// A person ended the conversation.
    UserExit,
    /// It has given as many replies by itself as it may.
    MaxAutoReplies,
}

impl Silence {
    /// The word for `stop_reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Silence::Termination => "termination",
            Silence::UserExit => "user_exit",
            Silence::MaxAutoReplies => "max_auto_replies",
        }
    }
}

/// What `agent` replies to the last message of its conversation with `peer`, or why it does not.
pub(super) async fn generate_reply(
    agent: &Agent,
    peer: &Name,
    memory: &mut Memory,
    fx: &dyn Effects,
) -> Result<std::result::Result<Reply, Silence>> {
    match check_termination(agent, peer, memory, fx).await? {
        Verdict::Stop(silence) => return Ok(Err(silence)),
        Verdict::Reply(text) => return Ok(Ok(Reply { content: json!(text), shown_as: None })),
        Verdict::GoOn => {}
    }
    let Some(llm) = &agent.llm else {
        return Ok(Ok(Reply { content: json!(agent.default_auto_reply), shown_as: None }));
    };
    let mut messages = vec![ChatMessage {
        content: json!(agent.system_message),
        role: Role::System,
        name: None,
        tool_calls: None,
        tool_call_id: None,
    }];
    messages.extend_from_slice(memory.list(&agent.name, peer));
    let request = Request { messages, parameters: llm.parameters.clone(), ..Request::default() };
    let speaking = Speaking { sender: agent.name.as_str(), recipient: peer.as_str() };
    let Replied { reply, message } = fx.ask_model(llm, request, Some(speaking)).await?.map_err(Stop::Failed)?;
    // A reply without text is the empty message, and is sent (SEMANTICS.md 2).
    Ok(Ok(Reply { content: json!(reply.content.unwrap_or_default()), shown_as: Some(message) }))
}

/// Whether a message ends the conversation by the agent's rule.
pub(super) fn ends_conversation(agent: &Agent, content: &Value) -> Result<bool> {
    let text = content_text(content);
    let Some(rule) = &agent.is_termination_msg else { return Ok(text == "TERMINATE") };
    let context = minijinja::context! { message => minijinja::context! { content => text } };
    rule.holds(&context)
        .map_err(|error| Stop::failed("template", format!("is_termination_msg of agent {:?}: {error}", agent.name)))
}

/// The text of a content: a text as it is, the text parts of a list joined, nothing for null.
pub(super) fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("")
        }
        _ => String::new(),
    }
}

/// Sends a message: both remember it, each with its own role, and people see it.
pub(super) async fn send(from: &Agent, to: &Agent, reply: Reply, memory: &mut Memory, fx: &dyn Effects) -> Result<()> {
    let (sender, recipient) = (&from.name, &to.name);
    let line = |role| ChatMessage {
        content: reply.content.clone(),
        role,
        name: Some(sender.to_string()),
        tool_calls: None,
        tool_call_id: None,
    };
    memory.push(sender, recipient, line(Role::Assistant));
    memory.push(recipient, sender, line(Role::User));
    let says = crate::message::Content::text(content_text(&reply.content));
    fx.say(sender.as_str(), recipient.as_str(), says, reply.shown_as).await
}
