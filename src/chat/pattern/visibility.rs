//! What a member of a group that hands over hears, and what its model is told first.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::handoff_state::in_words;
use crate::chat::memory::{RememberedMessage, RememberedMessages};
use crate::chat::{ConversationContext, Result};
use crate::ids::Name;
use crate::workflow::Agent;

/// What a member hears: without the calls that hand over and their results, if the group hides them
/// (`docs/reference/ag2-semantics.md`, section 8).
pub(in crate::chat) fn heard(ctx: &ConversationContext<'_>, agent: &Agent, peer: &Name) -> RememberedMessages {
    let list = ctx.memory.list(&agent.name, peer);
    match &ctx.handoff_state {
        Some(handoff_state) if handoff_state.plays(&agent.name) && !handoff_state.hidden.is_empty() => {
            without(list, &handoff_state.hidden)
        }
        _ => list.to_vec(),
    }
}

fn without(list: &[Arc<RememberedMessage>], hidden: &BTreeSet<String>) -> RememberedMessages {
    let mut removed: BTreeSet<String> = BTreeSet::new();
    let mut kept = Vec::with_capacity(list.len());
    for line in list {
        if line.tool_calls.is_empty() && line.tool_responses.is_empty() {
            kept.push(line.clone());
            continue;
        }
        let mut line = RememberedMessage::clone(line);
        if !line.tool_calls.is_empty() {
            line.message_mut().tool_calls.retain(|call| {
                let hides = hidden.contains(&call.function.name);
                if hides {
                    removed.insert(call.id.clone());
                }
                !hides
            });
            if line.tool_calls.is_empty() && matches!(line.text().as_str(), "" | "None") {
                continue;
            }
        }
        if !line.tool_responses.is_empty() {
            let is_removed = |id: &Option<String>| id.as_ref().is_some_and(|id| removed.contains(id));
            line.tool_responses.retain(|response| !is_removed(&response.tool_call_id));
            if line.tool_responses.is_empty() {
                continue;
            }
        }
        kept.push(Arc::new(line));
    }
    kept
}

/// What an agent's model is told first: in a group it may be made anew of what the agents share.
pub(in crate::chat) fn system_message(ctx: &ConversationContext<'_>, agent: &Agent) -> Result<String> {
    match (&ctx.handoff_state, &agent.update_system_message) {
        (Some(handoff_state), Some(template)) if handoff_state.plays(&agent.name) => {
            template.render(&handoff_state.in_context()).map_err(in_words)
        }
        _ => Ok(agent.system_message.clone()),
    }
}
