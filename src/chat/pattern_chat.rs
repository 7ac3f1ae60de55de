//! Holding the chat of a group that hands over, from a first message or from several that were said before.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::group_chat::{GroupChatStart, begin};
use crate::chat::memory::OutgoingMessage;
use crate::chat::parties::{SpeakerGroup, SpeakerSelection, completed};
use crate::chat::pattern::{HandoffGroupRequest, HandoffState};
use crate::chat::{ChatEvent, ConversationContext, Result, WorkflowStop};
use crate::ids::Name;
use crate::protocol::dialogue::ChatRole;
use crate::protocol::failure::FailureKind;
use crate::protocol::participant::GROUP_USER;
use crate::workflow::{Agent, SelectionPrompts, SpeakerTransitions};

/// Holds a group's chat, and returns the chat result with `context_variables`.
pub async fn hold_group(ctx: &mut ConversationContext<'_>, grouped: HandoffGroupRequest<'_>) -> Result<Value> {
    let (handoff_state, members) = HandoffState::begin(ctx, &grouped)?;
    let messages = opening(grouped.messages)?;
    ctx.handoff_state = Some(handoff_state);
    let ended = play(ctx, grouped.group, members, messages).await;
    let handoff_state = ctx.handoff_state.take();
    let mut result = ended?;
    result["context_variables"] =
        Value::Object(handoff_state.map(|handoff_state| handoff_state.context).unwrap_or_default());
    Ok(result)
}

/// The messages that a group begins with.
fn opening(messages: Value) -> Result<Vec<Value>> {
    let is_message = |value: &Value| value.get("content").is_some() || value.get("tool_calls").is_some();
    match messages {
        Value::Array(list) if list.iter().all(is_message) && !list.is_empty() => Ok(list),
        Value::Array(list) if list.is_empty() => {
            Err(WorkflowStop::failed(FailureKind::Message, "a group begins with a message"))
        }
        one => Ok(vec![one]),
    }
}

async fn play(
    ctx: &mut ConversationContext<'_>,
    described: &crate::workflow::HandoffGroup,
    members: Vec<Arc<Agent>>,
    messages: Vec<Value>,
) -> Result<Value> {
    let group = SpeakerGroup {
        manager: described.manager.clone(),
        members,
        max_round: described.max_rounds,
        introduces: false,
        speaker_selection: SpeakerSelection::Pattern,
        transitions: SpeakerTransitions::All,
        selection: Arc::new(SelectionPrompts::default()),
    };
    let resumes = messages.len() > 1;
    let (initiator, message) = if resumes {
        resume(ctx, &group, messages).await?
    } else {
        let message = messages.into_iter().next().unwrap_or_default();
        (first_speaker(ctx, &group, &message)?, message)
    };
    let start = GroupChatStart {
        message: Some(message),
        carryover: Vec::new(),
        max_turns: None,
        summary: described.summary.clone(),
        clear_history: !resumes,
        silent: false,
        on_cut: described.on_cut,
    };
    let mut ended = begin(ctx, initiator, group, start).await?;
    for line in &mut ended.messages {
        // Nobody knows who that is.
        if line.name.as_deref() == Some(GROUP_USER) {
            Arc::make_mut(line).message_mut().name = None;
        }
    }
    completed(ctx, &ended).await?;
    Ok(ended.result())
}

/// Who says the one message that the group begins with: whom it names, or the user.
fn first_speaker(ctx: &ConversationContext<'_>, group: &SpeakerGroup, message: &Value) -> Result<Arc<Agent>> {
    let handoff_state = ctx.handoff_state.as_ref();
    let user = handoff_state.and_then(|handoff_state| handoff_state.user.as_ref()).map_or(GROUP_USER, Name::as_str);
    let name = message.get("name").and_then(Value::as_str).unwrap_or(user);
    let found = group.member(name).cloned();
    found.ok_or_else(|| {
        WorkflowStop::failed(FailureKind::Message, format!("the message is from {name:?}, who is not in the group"))
    })
}

/// Loads all messages but the last, and says who goes on with it (AG2's `resume`).
async fn resume(
    ctx: &mut ConversationContext<'_>,
    group: &SpeakerGroup,
    messages: Vec<Value>,
) -> Result<(Arc<Agent>, Value)> {
    let manager = &group.manager.name;
    let author = |message: &Value| {
        let name = message.get("name").and_then(Value::as_str).unwrap_or_default();
        let unknown = || {
            WorkflowStop::failed(
                FailureKind::Message,
                format!("a message to go on from is from {name:?}, who is not in the group"),
            )
        };
        group.member(name).cloned().ok_or_else(unknown)
    };
    ctx.memory.forget_group(manager);
    for member in &group.members {
        ctx.memory.forget(&member.name, manager);
        ctx.memory.forget(manager, &member.name);
    }
    let (last, before) = messages.split_last().expect("there are several");
    for message in before {
        let author = author(message)?;
        let said = OutgoingMessage::from_value(message.clone())?;
        let heard = Arc::new(said.line(ChatRole::User, &author.name));
        for member in &group.members {
            let own = member.name == author.name;
            let line = if own { Arc::new(said.line(ChatRole::Assistant, &author.name)) } else { heard.clone() };
            ctx.memory.push(&member.name, manager, line);
        }
        ctx.memory.push_to_group(manager, heard);
    }
    let speaker = author(last)?;
    let last_speaker = speaker.name.to_string();
    ctx.tell(ChatEvent::Resumed { last_speaker, messages: messages.clone() }).await?;
    Ok((speaker, last.clone()))
}
