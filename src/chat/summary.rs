//! What remains of a conversation (`docs/reference/ag2-semantics.md`, section 4).

use std::sync::Arc;

use crate::chat::memory::{content_text, wire};
use crate::chat::parties::ChatRecipient;
use crate::chat::request::request;
use crate::chat::{ConversationContext, IdentifiedReply, RememberedMessage, Result, cut};
use crate::ids::Name;
use crate::protocol::dialogue::{ChatMessage, ChatRole, ModelRequest};
use crate::workflow::{Agent, SummaryMethod};

const REFLECTION_PROMPT: &str = "Summarize the takeaway from the conversation. Do not add any introductory phrases.";

/// The summary of what `sender` and `recipient` said to each other.
pub(super) async fn summarize(
    method: &SummaryMethod,
    ctx: &mut ConversationContext<'_>,
    sender: &Agent,
    recipient: &ChatRecipient,
) -> Result<String> {
    match method {
        SummaryMethod::Nothing => Ok(String::new()),
        SummaryMethod::LastMessage => Ok(last_message(ctx, &sender.name, recipient)),
        SummaryMethod::Reflection { prompt, role } => {
            let lines = match recipient {
                ChatRecipient::Agent(agent) => ctx.memory.list(&agent.name, &sender.name).to_vec(),
                ChatRecipient::Group(group) => ctx.memory.group(&group.manager.name).to_vec(),
            };
            reflect(ctx, sender, recipient, &lines, prompt.as_deref(), role.as_deref()).await
        }
    }
}

/// Every TERMINATE goes, and nothing is trimmed: "Pi. TERMINATE" becomes "Pi. ".
fn last_message(ctx: &ConversationContext<'_>, sender: &Name, recipient: &ChatRecipient) -> String {
    let memory = &ctx.memory;
    let last = match recipient {
        ChatRecipient::Agent(agent) => memory.list(&agent.name, sender).last(),
        ChatRecipient::Group(group) if group.is_member(sender) => memory.group(&group.manager.name).last(),
        // Who is no member hears nothing of what the group says.
        ChatRecipient::Group(group) => memory.list(sender, &group.manager.name).last(),
    };
    last.map(|last| content_text(&last.content).replace("TERMINATE", "")).unwrap_or_default()
}

/// Asks the recipient's model, else the sender's, to sum up these messages.
pub(super) async fn reflect(
    ctx: &mut ConversationContext<'_>,
    sender: &Agent,
    recipient: &ChatRecipient,
    lines: &[Arc<RememberedMessage>],
    prompt: Option<&str>,
    role: Option<&str>,
) -> Result<String> {
    let mut messages = wire(lines.iter().map(AsRef::as_ref));
    messages.push(Arc::new(ChatMessage::new(
        role.map_or(ChatRole::System, role_named),
        prompt.unwrap_or(REFLECTION_PROMPT),
    )));
    let of_recipient = match recipient {
        ChatRecipient::Agent(agent) => agent.llm.as_ref().map(|llm| (llm, Some(agent.as_ref()))),
        ChatRecipient::Group(group) => group.manager.llm.as_ref().map(|llm| (llm, None)),
    };
    let Some((llm, asked)) = of_recipient.or_else(|| sender.llm.as_ref().map(|llm| (llm, Some(sender)))) else {
        return Ok(String::new());
    };
    let request = match asked {
        Some(agent) => request(ctx, agent, llm, messages)?,
        None => ModelRequest { messages, parameters: llm.parameters.clone(), ..ModelRequest::default() },
    };
    match cut::ask(ctx, asked, llm, request, None).await? {
        Ok(IdentifiedReply { reply, .. }) => Ok(reply.content.unwrap_or_default()),
        // As in AG2, a summary that cannot be had is empty, and the run goes on.
        Err(failure) => {
            tracing::warn!(kind = failure.kind.as_str(), "no summary could be had, it stays empty");
            Ok(String::new())
        }
    }
}

fn role_named(role: &str) -> ChatRole {
    match role {
        "user" => ChatRole::User,
        "assistant" => ChatRole::Assistant,
        _ => ChatRole::System,
    }
}
