//! Beginning a group's chat, and a group chat that a manager leads.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::pair::initiate;
use crate::chat::parties::{ChatRecipient, ChatRequest, FinishedChat, SpeakerGroup, SpeakerSelection, completed};
use crate::chat::{ConversationContext, Result};
use crate::workflow::{Agent, GroupChat, OnCut, SummaryMethod};

/// A group chat as it is held, with what a workflow computed for it.
#[derive(Debug, Clone)]
pub struct GroupChatRequest<'a> {
    /// The group chat as checked.
    pub chat: &'a GroupChat,
    /// The first message; none: a person is asked for it.
    pub message: Option<Value>,
    /// What is added to it.
    pub carryover: Vec<String>,
}

/// Holds a group chat, and returns the chat result.
pub async fn hold_group_chat(ctx: &mut ConversationContext<'_>, led: GroupChatRequest<'_>) -> Result<Value> {
    let GroupChatRequest { chat, message, carryover } = led;
    let members = chat.agents.iter().map(|name| ctx.agent(name)).collect::<Result<Vec<_>>>()?;
    let group = SpeakerGroup {
        manager: chat.manager.clone(),
        members,
        max_round: chat.max_round,
        introduces: chat.send_introductions,
        speaker_selection: SpeakerSelection::Method(chat.method),
        transitions: chat.transitions.clone(),
        selection: chat.selection.clone(),
    };
    let initiator = ctx.agent(&chat.initiator)?;
    let start = GroupChatStart {
        message,
        carryover,
        max_turns: chat.max_turns,
        summary: chat.summary.clone(),
        clear_history: chat.clear_history,
        silent: chat.silent,
        on_cut: chat.on_cut,
    };
    let ended = begin(ctx, initiator, group, start).await?;
    completed(ctx, &ended).await?;
    Ok(ended.result())
}

/// How a group's chat begins.
pub(super) struct GroupChatStart {
    pub message: Option<Value>,
    pub carryover: Vec<String>,
    pub max_turns: Option<u32>,
    pub summary: SummaryMethod,
    pub clear_history: bool,
    pub silent: bool,
    pub on_cut: Option<OnCut>,
}

/// Begins a group's chat, and holds it to its end.
pub(super) async fn begin(
    ctx: &mut ConversationContext<'_>,
    initiator: Arc<Agent>,
    group: SpeakerGroup,
    start: GroupChatStart,
) -> Result<FinishedChat> {
    let chat = ChatRequest {
        sender: Some(initiator.name.clone()),
        user_input: false,
        recipient: group.manager.name.clone(),
        message: start.message,
        max_turns: start.max_turns,
        summary: start.summary,
        carryover: start.carryover,
        without_summaries_of: Vec::new(),
        clear_history: start.clear_history,
        silent: start.silent,
        on_cut: start.on_cut,
    };
    initiate(ctx, &initiator, &ChatRecipient::Group(Arc::new(group)), chat).await
}
