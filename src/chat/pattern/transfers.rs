//! How agents hand over: the tools that their models are offered for it, what a call of one means, and what the shared variables
//! decide before anybody is asked.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::handoff_state::{handoffs_in_group, in_words};
use super::transfer_names::{named, named_in_full};
use crate::chat::memory::OutgoingMessage;
use crate::chat::tools::{function, offered};
use crate::chat::{ChatEvent, ConversationContext, HandoffCause, Result};
use crate::ids::Name;
use crate::protocol::dialogue::ToolCall;
use crate::workflow::{Agent, HandoffGroup, HandoffTarget, Workflow};

/// The tools with which an agent's model hands over now.
pub(in crate::chat) fn transfer_tools(ctx: &ConversationContext<'_>, agent: &Agent) -> Result<Vec<Value>> {
    let Some(handoff_state) = ctx.handoff_state.as_ref().filter(|handoff_state| handoff_state.plays(&agent.name))
    else {
        return Ok(Vec::new());
    };
    let mut tools = Vec::new();
    for (name, handoff) in handoff_state.handoffs(&agent.name).into_iter().flat_map(named) {
        if handoff_state.holds(handoff.available.as_ref())? {
            let prompt = handoff.prompt.render(&handoff_state.in_context()).map_err(in_words)?;
            tools.push(transfer_tool(&name, &prompt));
        }
    }
    Ok(tools)
}

fn transfer_tool(name: &str, prompt: &str) -> Value {
    function(name, prompt, &json!({"type": "object", "properties": {}, "required": []}))
}

/// What the model of a member of a group is offered there.
#[derive(Debug, Clone)]
pub struct MemberTools {
    /// The member.
    pub agent: Name,
    /// Its tools and those with which it hands over, in the shape of OpenAI's chat completions. Where a description has `{{ … }}`, it
    /// stands there as written.
    pub tools: Vec<Value>,
    /// The names of the tools that are offered under a condition alone, each with the condition as written.
    pub conditions: BTreeMap<String, String>,
}

/// What the models of a group's members are offered there.
pub fn offered_in_group(workflow: &Workflow, group: &HandoffGroup) -> Vec<MemberTools> {
    let handoffs = handoffs_in_group(workflow, group);
    let members = group.agents.iter().filter_map(|name| workflow.agents.get(name));
    let offered = members.map(|agent| {
        let mut tools = offered(&workflow.tools, &agent.tools);
        let mut conditions = BTreeMap::new();
        for (name, handoff) in handoffs.get(&agent.name).into_iter().flat_map(named) {
            tools.push(transfer_tool(&name, handoff.prompt.source()));
            if let Some(condition) = &handoff.available {
                conditions.insert(name, condition.source().to_owned());
            }
        }
        MemberTools { agent: agent.name.clone(), tools, conditions }
    });
    offered.collect()
}

/// What people are told of a target.
pub(in crate::chat) fn display(target: &HandoffTarget) -> String {
    match target {
        HandoffTarget::Agent(name) => name.to_string(),
        HandoffTarget::Random(_) => "a random agent".to_owned(),
        HandoffTarget::NestedChats(_) => "a nested chat".to_owned(),
        HandoffTarget::Terminate => "Terminate".to_owned(),
        HandoffTarget::Stay => "Stay".to_owned(),
        HandoffTarget::RevertToUser => "Revert to User".to_owned(),
        HandoffTarget::AskUser => "Ask User".to_owned(),
        HandoffTarget::GroupManager => "the group manager".to_owned(),
    }
}

/// What a model is told when it has handed over.
pub(in crate::chat) fn handed_over(target: &HandoffTarget) -> String {
    match target {
        HandoffTarget::Terminate | HandoffTarget::RevertToUser | HandoffTarget::AskUser => display(target),
        HandoffTarget::Stay => "Stay with agent".to_owned(),
        _ => format!("Transfer to {}", display(target)),
    }
}

/// Hands over before anything else, if the shared variables say so.
pub(in crate::chat) async fn hands_over(
    ctx: &mut ConversationContext<'_>,
    agent: &Agent,
) -> Result<Option<OutgoingMessage>> {
    let Some(handoff_state) = ctx.handoff_state.as_mut().filter(|handoff_state| handoff_state.plays(&agent.name))
    else {
        return Ok(None);
    };
    let mut found = None;
    for handoff in handoff_state.handoffs(&agent.name).into_iter().flat_map(|handoffs| &handoffs.context) {
        if handoff_state.applies(handoff)? {
            found = Some(handoff.target.clone());
            break;
        }
    }
    let Some(target) = found else { return Ok(None) };
    let shown = display(&target);
    handoff_state.next = Some(target);
    let (because, source) = (HandoffCause::OnContext, agent.name.clone());
    ctx.tell(ChatEvent::HandsOver { because, source, target: shown.clone() }).await?;
    Ok(Some(OutgoingMessage::text(format!("[Handing off to {shown}]"))))
}

/// To whom a call hands over, if it does: by the tools of who calls, else by anybody's.
pub(in crate::chat) fn transfer(
    ctx: &ConversationContext<'_>,
    source: Option<&Name>,
    call: &ToolCall,
) -> Option<HandoffTarget> {
    let handoff_state = ctx.handoff_state.as_ref()?;
    let own = source.and_then(|source| handoff_state.handoffs(source));
    let all = own.into_iter().chain(handoff_state.handoffs.values());
    let mut all = all.flat_map(|handoffs| named(handoffs).chain(named_in_full(handoffs)));
    all.find(|(name, _)| *name == call.function.name).map(|(_, handoff)| handoff.target.clone())
}
