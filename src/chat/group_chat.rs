//! Beginning a group's chat, and a group chat that a manager leads.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::pair::initiate;
use crate::chat::parties::{Chat, Ended, Floor, Group, Recipient, completed};
use crate::chat::{Result, Stage};
use crate::workflow::{Agent, GroupChat, SummaryMethod};

/// A group chat as it is held, with what a workflow computed for it.
#[derive(Debug, Clone)]
pub struct Led<'a> {
    /// The group chat as checked.
    pub chat: &'a GroupChat,
    /// The first message; none: a person is asked for it.
    pub message: Option<Value>,
    /// What is added to it.
    pub carryover: Vec<String>,
}

/// Holds a group chat, and returns the chat result.
pub async fn hold_group_chat(stage: &mut Stage<'_>, led: Led<'_>) -> Result<Value> {
    let Led { chat, message, carryover } = led;
    let members = chat.agents.iter().map(|name| stage.agent(name)).collect::<Result<Vec<_>>>()?;
    let group = Group {
        manager: chat.manager.clone(),
        members,
        max_round: chat.max_round,
        introduces: chat.send_introductions,
        floor: Floor::Method(chat.method),
        transitions: chat.transitions.clone(),
        selection: chat.selection.clone(),
    };
    let initiator = stage.agent(&chat.initiator)?;
    let start = Start {
        message,
        carryover,
        max_turns: chat.max_turns,
        summary: chat.summary.clone(),
        clear_history: chat.clear_history,
        silent: chat.silent,
    };
    let ended = begin(stage, initiator, group, start).await?;
    completed(stage, &ended).await?;
    Ok(ended.result())
}

/// How a group's chat begins.
pub(super) struct Start {
    pub message: Option<Value>,
    pub carryover: Vec<String>,
    pub max_turns: Option<u32>,
    pub summary: SummaryMethod,
    pub clear_history: bool,
    pub silent: bool,
}

/// Begins a group's chat, and holds it to its end.
pub(super) async fn begin(stage: &mut Stage<'_>, initiator: Arc<Agent>, group: Group, start: Start) -> Result<Ended> {
    let chat = Chat {
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
    };
    initiate(stage, &initiator, &Recipient::Group(Arc::new(group)), chat).await
}
