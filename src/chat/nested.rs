//! Conversations within a conversation (`docs/reference/ag2-semantics.md`, section 7): an agent that is to reply talks to
//! others instead, and replies with what came of it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::chat::memory::OutgoingMessage;
use crate::chat::parties::{ChatRecipient, ChatRequest};
use crate::chat::queue::hold_next;
use crate::chat::summary::reflect;
use crate::chat::voice::{AgentReply, NoReplyReason};
use crate::chat::{ChatEvent, ConversationContext, RememberedMessage, Result, WorkflowStop};
use crate::ids::Name;
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, NestedCarryover, NestedChat};

/// How deep conversations may be within each other: agents that consult each other in a circle would never end.
const DEEPEST_CONVERSATION: u32 = 16;
/// The last messages of an outer conversation that are not carried over: in a group, the call that handed over and its result.
const TRANSIT_MESSAGES: usize = 2;

/// Holds the chats of `owner`, and replies with the summary of the last one. `heard` is the outer conversation.
pub(super) async fn reply(
    ctx: &mut ConversationContext<'_>,
    owner: &Arc<Agent>,
    chats: &[NestedChat],
    heard: &[Arc<RememberedMessage>],
) -> Result<AgentReply> {
    if ctx.depth == DEEPEST_CONVERSATION {
        let problem =
            format!("the nested chats of {:?} are {DEEPEST_CONVERSATION} deep: they never end", owner.name.as_str());
        return Err(WorkflowStop::failed(FailureKind::Limit, problem));
    }
    let mut recipients: Vec<Name> = chats.iter().map(|nested| nested.recipient.clone()).collect();
    recipients.dedup();
    ctx.tell(ChatEvent::NestedBegins { agent: owner.name.clone(), recipients }).await?;
    ctx.depth += 1;
    let summary = hold(ctx, owner, chats, heard).await;
    ctx.depth -= 1;
    ctx.tell(ChatEvent::NestedEnds { agent: owner.name.clone() }).await?;
    Ok(match summary? {
        Some(summary) => Ok(OutgoingMessage::text(summary)),
        None => Err(NoReplyReason::NoNestedChat),
    })
}

async fn hold(
    ctx: &mut ConversationContext<'_>,
    owner: &Arc<Agent>,
    chats: &[NestedChat],
    heard: &[Arc<RememberedMessage>],
) -> Result<Option<String>> {
    let mut finished = Vec::new();
    for (index, nested) in chats.iter().enumerate() {
        let last = if index == 0 { heard.last() } else { None };
        let mut message = first_message(nested, heard, last)?;
        if let (0, Some(carryover)) = (index, &nested.carryover) {
            message = Some(json!(with_context(ctx, owner, nested, carryover, heard).await?));
        }
        let Some(message) = message else { continue };
        let sender = match &nested.sender {
            Some(sender) => ctx.agent(sender)?,
            None => owner.clone(),
        };
        let chat = ChatRequest {
            sender: Some(sender.name.clone()),
            user_input: false,
            recipient: nested.recipient.clone(),
            message: Some(message),
            max_turns: nested.max_turns,
            summary: nested.summary.clone(),
            carryover: Vec::new(),
            without_summaries_of: Vec::new(),
            clear_history: nested.clear_history,
            silent: nested.silent,
            on_cut: nested.on_cut,
        };
        finished.push(hold_next(ctx, sender, chat, &finished).await?);
    }
    Ok(finished.pop().map(|ended| ended.summary))
}

/// What a nested chat begins with; nothing: it is left out.
fn first_message(
    nested: &NestedChat,
    heard: &[Arc<RememberedMessage>],
    last: Option<&Arc<RememberedMessage>>,
) -> Result<Option<Value>> {
    let message = match &nested.message {
        Some(data) => {
            let outer = heard.last().map(|line| line.in_context());
            let context = minijinja::context! { message => outer };
            let in_words = |error: crate::workflow::EvaluationError| {
                WorkflowStop::failed(FailureKind::Template, error.to_string())
            };
            Some(data.evaluate(&context).map_err(in_words)?)
        }
        None => last.map(|last| last.content.clone()),
    };
    let is_something = |message: &Value| match message {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => !parts.is_empty(),
        _ => true,
    };
    Ok(message.filter(is_something))
}

/// The first message with what was said outside (AG2 `carryover_config`; no space after the colon here).
async fn with_context(
    ctx: &mut ConversationContext<'_>,
    owner: &Arc<Agent>,
    nested: &NestedChat,
    carryover: &NestedCarryover,
    heard: &[Arc<RememberedMessage>],
) -> Result<String> {
    let said = &heard[..heard.len().saturating_sub(TRANSIT_MESSAGES)];
    let context = match carryover {
        NestedCarryover::All => {
            let texts = said.iter().filter(|line| !line.content.is_null()).map(|line| line.text());
            texts.collect::<Vec<_>>().join("\n")
        }
        NestedCarryover::LastMessage => said.last().map(|line| line.text()).unwrap_or_default(),
        NestedCarryover::Reflection { prompt, role } => {
            let recipient = ChatRecipient::Agent(ctx.agent(&nested.recipient)?);
            reflect(ctx, owner, &recipient, said, prompt.as_deref(), role.as_deref()).await?
        }
    };
    let own = match &nested.message {
        Some(_) => first_message(nested, heard, None)?,
        None => None,
    };
    Ok(match own {
        Some(Value::String(text)) => format!("{text}\nContext:\n{context}"),
        Some(other) => format!("{other}\nContext:\n{context}"),
        None => format!("Context:\n{context}"),
    })
}
