//! Who speaks next in a group that hands over.

use std::sync::Arc;

use super::transfers::display;
use crate::chat::parties::SpeakerGroup;
use crate::chat::{ChatEvent, ConversationContext, HandoffCause, Result, WorkflowStop};
use crate::ids::Name;
use crate::protocol::dialogue::ChatRole;
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, HandoffTarget, SelectionMethod};

/// Who speaks next.
pub(in crate::chat) enum NextSpeaker {
    Speaker(Arc<Agent>),
    Nobody,
    /// Whom this method chooses.
    Chosen(SelectionMethod),
}

/// Who speaks after `last`.
pub(in crate::chat) async fn next_in_pattern(
    ctx: &mut ConversationContext<'_>,
    group: &SpeakerGroup,
    last: &Agent,
) -> Result<NextSpeaker> {
    let Some(handoff_state) = ctx.handoff_state.as_mut() else {
        return Err(WorkflowStop::failed(FailureKind::Workflow, "no group is playing"));
    };
    if !std::mem::replace(&mut handoff_state.begun, true) {
        let initial = handoff_state.initial.clone();
        return speaker(group, &initial);
    }
    let Some(said) = ctx.memory.group(&group.manager.name).last().cloned() else { return Ok(NextSpeaker::Nobody) };
    if !said.tool_calls.is_empty() {
        return speaker(group, &handoff_state.executor);
    }
    if let Some(target) = handoff_state.next.take() {
        return resolve(ctx, group, &target, &last.name).await.map(|(next, _)| next);
    }
    let mut worked = last_agent(ctx, group)?;
    let handoff_state = ctx.handoff_state.as_ref().expect("it was there");
    if said.role == ChatRole::Tool {
        return speaker(group, &worked);
    }
    if handoff_state.user.as_ref() == Some(&last.name) {
        if handoff_state.handoffs(&last.name).is_none_or(|handoffs| handoffs.after_work.is_empty()) {
            return speaker(group, &worked);
        }
        worked = last.name.clone();
    }
    for handoff in handoff_state.handoffs(&worked).into_iter().flat_map(|handoffs| &handoffs.after_work) {
        if handoff_state.applies(handoff)? {
            let (next, target) = resolve(ctx, group, &handoff.target, &worked).await?;
            let source = worked.clone();
            ctx.tell(ChatEvent::HandsOver { because: HandoffCause::AfterWork, source, target }).await?;
            match next {
                // Who has nobody to hand over to leaves it to the group, as in AG2.
                NextSpeaker::Nobody => break,
                next => return Ok(next),
            }
        }
    }
    resolve(ctx, group, &handoff_state.after_work, &worked).await.map(|(next, _)| next)
}

fn speaker(group: &SpeakerGroup, name: &Name) -> Result<NextSpeaker> {
    match group.member(name.as_str()) {
        Some(member) => Ok(NextSpeaker::Speaker(member.clone())),
        None => Err(WorkflowStop::failed(
            FailureKind::Workflow,
            format!("{name} is to speak next, who is not in the group"),
        )),
    }
}

/// The agent that spoke last: neither the user, nor who executes tools.
fn last_agent(ctx: &ConversationContext<'_>, group: &SpeakerGroup) -> Result<Name> {
    let handoff_state = ctx.handoff_state.as_ref();
    let is_agent = |name: &Name| {
        handoff_state.is_some_and(|handoff_state| {
            handoff_state.plays(name) || handoff_state.wrapped.iter().any(|wrapped| &wrapped.agent.name == name)
        })
    };
    let names = ctx.memory.group(&group.manager.name).iter().rev().filter_map(|line| line.name.as_deref());
    let mut agents = names.filter_map(|name| Name::parse(name).ok()).filter(is_agent);
    agents.next().ok_or_else(|| WorkflowStop::failed(FailureKind::Workflow, "no agent of the group has spoken yet"))
}

/// Who a target is, and its name for people.
async fn resolve(
    ctx: &ConversationContext<'_>,
    group: &SpeakerGroup,
    target: &HandoffTarget,
    current: &Name,
) -> Result<(NextSpeaker, String)> {
    let next = match target {
        HandoffTarget::Agent(name) => speaker(group, name)?,
        HandoffTarget::Random(names) => {
            let others: Vec<Name> = names.iter().filter(|name| *name != current).cloned().collect();
            if others.is_empty() {
                return Err(WorkflowStop::failed(
                    FailureKind::Workflow,
                    format!("{current} hands over by chance, and there is nobody else"),
                ));
            }
            let chosen = ctx.effects.choose(&others).await?;
            let name = others.get(chosen).unwrap_or(&others[0]);
            return Ok((speaker(group, name)?, name.to_string()));
        }
        HandoffTarget::NestedChats(_) => {
            return Err(WorkflowStop::failed(FailureKind::Workflow, "nested chats need a member that holds them"));
        }
        HandoffTarget::Terminate => NextSpeaker::Nobody,
        HandoffTarget::Stay => speaker(group, current)?,
        HandoffTarget::RevertToUser => {
            match ctx.handoff_state.as_ref().and_then(|handoff_state| handoff_state.user.clone()) {
                Some(user) => speaker(group, &user)?,
                None => {
                    return Err(WorkflowStop::failed(
                        FailureKind::Workflow,
                        "the group reverts to the user, and has no user_agent",
                    ));
                }
            }
        }
        HandoffTarget::AskUser => NextSpeaker::Chosen(SelectionMethod::Manual),
        HandoffTarget::GroupManager => NextSpeaker::Chosen(SelectionMethod::Auto),
    };
    Ok((next, display(target)))
}
