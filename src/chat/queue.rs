//! Conversations one after the other (AG2's `initiate_chats`; `docs/reference/ag2-semantics.md`, section 7): each gets
//! the summaries of those before it.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::pair::initiate;
use crate::chat::parties::{ChatRecipient, ChatRequest, FinishedChat, completed};
use crate::chat::{ChatEvent, ConversationContext, Result, WorkflowStop};
use crate::protocol::failure::FailureKind;
use crate::workflow::Agent;

/// Holds conversations, and returns their chat results. Who has no sender begins as the first one's does.
pub async fn hold_all(ctx: &mut ConversationContext<'_>, chats: Vec<ChatRequest>) -> Result<Vec<Value>> {
    let Some(starter) = chats.first().and_then(|chat| chat.sender.clone()) else {
        return Err(WorkflowStop::failed(FailureKind::Workflow, "the first of several chats needs a sender"));
    };
    let mut finished = Vec::with_capacity(chats.len());
    for chat in chats {
        let sender = ctx.agent(chat.sender.as_ref().unwrap_or(&starter))?;
        let mut ended = hold_next(ctx, sender, chat, &finished).await?;
        // AG2 always names the one who began.
        ended.last_speaker = ended.sender.clone();
        completed(ctx, &ended).await?;
        finished.push(ended);
    }
    Ok(finished.iter().map(FinishedChat::result).collect())
}

/// Holds one of several conversations, with what is carried over from the finished ones.
pub(super) async fn hold_next(
    ctx: &mut ConversationContext<'_>,
    sender: Arc<Agent>,
    mut chat: ChatRequest,
    finished: &[FinishedChat],
) -> Result<FinishedChat> {
    let wanted = |(index, _): &(usize, &FinishedChat)| !chat.without_summaries_of.contains(index);
    let summaries: Vec<String> =
        finished.iter().enumerate().filter(wanted).map(|(_, ended)| ended.summary.clone()).collect();
    chat.carryover.extend(summaries);
    if !chat.silent {
        let message = match &chat.message {
            None => "None".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let (sender, recipient, carryover) = (sender.name.clone(), chat.recipient.clone(), chat.carryover.clone());
        ctx.tell(ChatEvent::PostCarryover { sender, recipient, message, carryover }).await?;
    }
    let recipient = ChatRecipient::Agent(ctx.agent(&chat.recipient)?);
    initiate(ctx, &sender, &recipient, chat).await
}
