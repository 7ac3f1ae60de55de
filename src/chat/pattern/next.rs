//! Who speaks next in a group that hands over.

use std::sync::Arc;

use super::transfers::display;
use crate::chat::parties::Group;
use crate::chat::{Event, HandsOver, Result, Stage, Stop};
use crate::ids::Name;
use crate::protocol::dialogue::Role;
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, SelectionMethod, Target};

/// Who speaks next.
pub(in crate::chat) enum Next {
    Speaker(Arc<Agent>),
    Nobody,
    /// Whom this method chooses.
    Chosen(SelectionMethod),
}

/// Who speaks after `last`.
pub(in crate::chat) async fn next_in_pattern(stage: &mut Stage<'_>, group: &Group, last: &Agent) -> Result<Next> {
    let Some(playing) = stage.playing.as_mut() else {
        return Err(Stop::failed(FailureKind::Workflow, "no group is playing"));
    };
    if !std::mem::replace(&mut playing.begun, true) {
        let initial = playing.initial.clone();
        return speaker(group, &initial);
    }
    let Some(said) = stage.memory.group(&group.manager.name).last().cloned() else { return Ok(Next::Nobody) };
    if !said.tool_calls.is_empty() {
        return speaker(group, &playing.executor);
    }
    if let Some(target) = playing.next.take() {
        return resolve(stage, group, &target, &last.name).await.map(|(next, _)| next);
    }
    let mut worked = last_agent(stage, group)?;
    let playing = stage.playing.as_ref().expect("it was there");
    if said.role == Role::Tool {
        return speaker(group, &worked);
    }
    if playing.user.as_ref() == Some(&last.name) {
        if playing.handoffs(&last.name).is_none_or(|handoffs| handoffs.after_work.is_empty()) {
            return speaker(group, &worked);
        }
        worked = last.name.clone();
    }
    for handoff in playing.handoffs(&worked).into_iter().flat_map(|handoffs| &handoffs.after_work) {
        if playing.applies(handoff)? {
            let (next, target) = resolve(stage, group, &handoff.target, &worked).await?;
            let source = worked.clone();
            stage.tell(Event::HandsOver { because: HandsOver::AfterWork, source, target }).await?;
            match next {
                // Who has nobody to hand over to leaves it to the group, as in AG2.
                Next::Nobody => break,
                next => return Ok(next),
            }
        }
    }
    resolve(stage, group, &playing.after_work, &worked).await.map(|(next, _)| next)
}

fn speaker(group: &Group, name: &Name) -> Result<Next> {
    match group.member(name.as_str()) {
        Some(member) => Ok(Next::Speaker(member.clone())),
        None => Err(Stop::failed(FailureKind::Workflow, format!("{name} is to speak next, who is not in the group"))),
    }
}

/// The agent that spoke last: neither the user, nor who executes tools.
fn last_agent(stage: &Stage<'_>, group: &Group) -> Result<Name> {
    let playing = stage.playing.as_ref();
    let is_agent = |name: &Name| {
        playing.is_some_and(|playing| {
            playing.plays(name) || playing.wrapped.iter().any(|wrapped| &wrapped.agent.name == name)
        })
    };
    let names = stage.memory.group(&group.manager.name).iter().rev().filter_map(|line| line.name.as_deref());
    let mut agents = names.filter_map(|name| Name::parse(name).ok()).filter(is_agent);
    agents.next().ok_or_else(|| Stop::failed(FailureKind::Workflow, "no agent of the group has spoken yet"))
}

/// Who a target is, and its name for people.
async fn resolve(stage: &Stage<'_>, group: &Group, target: &Target, current: &Name) -> Result<(Next, String)> {
    let next = match target {
        Target::Agent(name) => speaker(group, name)?,
        Target::Random(names) => {
            let others: Vec<Name> = names.iter().filter(|name| *name != current).cloned().collect();
            if others.is_empty() {
                return Err(Stop::failed(
                    FailureKind::Workflow,
                    format!("{current} hands over by chance, and there is nobody else"),
                ));
            }
            let chosen = stage.fx.choose(&others).await?;
            let name = others.get(chosen).unwrap_or(&others[0]);
            return Ok((speaker(group, name)?, name.to_string()));
        }
        Target::NestedChats(_) => {
            return Err(Stop::failed(FailureKind::Workflow, "nested chats need a member that holds them"));
        }
        Target::Terminate => Next::Nobody,
        Target::Stay => speaker(group, current)?,
        Target::RevertToUser => match stage.playing.as_ref().and_then(|playing| playing.user.clone()) {
            Some(user) => speaker(group, &user)?,
            None => {
                return Err(Stop::failed(
                    FailureKind::Workflow,
                    "the group reverts to the user, and has no user_agent",
                ));
            }
        },
        Target::AskUser => Next::Chosen(SelectionMethod::Manual),
        Target::GroupManager => Next::Chosen(SelectionMethod::Auto),
    };
    Ok((next, display(target)))
}
