//! How agents hand over: the tools that their models are offered for it, what a call of one means, and what the shared variables
//! decide before anybody is asked.

use serde_json::{Value, json};

use super::playing::in_words;
use super::transfer_names::named;
use crate::chat::memory::Utterance;
use crate::chat::tools::function;
use crate::chat::{Event, HandsOver, Result, Stage};
use crate::ids::Name;
use crate::protocol::dialogue::ToolCall;
use crate::workflow::{Agent, Target};

/// The tools with which an agent's model hands over now.
pub(in crate::chat) fn transfer_tools(stage: &Stage<'_>, agent: &Agent) -> Result<Vec<Value>> {
    let Some(playing) = stage.playing.as_ref().filter(|playing| playing.plays(&agent.name)) else {
        return Ok(Vec::new());
    };
    let parameters = json!({"type": "object", "properties": {}, "required": []});
    let mut tools = Vec::new();
    for (name, handoff) in playing.handoffs(&agent.name).into_iter().flat_map(named) {
        if playing.holds(handoff.available.as_ref())? {
            let prompt = handoff.prompt.render(&playing.in_context()).map_err(in_words)?;
            tools.push(function(&name, &prompt, &parameters));
        }
    }
    Ok(tools)
}

/// What people are told of a target.
pub(in crate::chat) fn display(target: &Target) -> String {
    match target {
        Target::Agent(name) => name.to_string(),
        Target::Random(_) => "a random agent".to_owned(),
        Target::NestedChats(_) => "a nested chat".to_owned(),
        Target::Terminate => "Terminate".to_owned(),
        Target::Stay => "Stay".to_owned(),
        Target::RevertToUser => "Revert to User".to_owned(),
        Target::AskUser => "Ask User".to_owned(),
        Target::GroupManager => "the group manager".to_owned(),
    }
}

/// What a model is told when it has handed over.
pub(in crate::chat) fn handed_over(target: &Target) -> String {
    match target {
        Target::Terminate | Target::RevertToUser | Target::AskUser => display(target),
        Target::Stay => "Stay with agent".to_owned(),
        _ => format!("Transfer to {}", display(target)),
    }
}

/// Hands over before anything else, if the shared variables say so.
pub(in crate::chat) async fn hands_over(stage: &mut Stage<'_>, agent: &Agent) -> Result<Option<Utterance>> {
    let Some(playing) = stage.playing.as_mut().filter(|playing| playing.plays(&agent.name)) else { return Ok(None) };
    let mut found = None;
    for handoff in playing.handoffs(&agent.name).into_iter().flat_map(|handoffs| &handoffs.context) {
        if playing.applies(handoff)? {
            found = Some(handoff.target.clone());
            break;
        }
    }
    let Some(target) = found else { return Ok(None) };
    let shown = display(&target);
    playing.next = Some(target);
    let (because, source) = (HandsOver::OnContext, agent.name.clone());
    stage.tell(Event::HandsOver { because, source, target: shown.clone() }).await?;
    Ok(Some(Utterance::text(format!("[Handing off to {shown}]"))))
}

/// To whom a call hands over, if it does: by the tools of who calls, else by anybody's.
pub(in crate::chat) fn transfer(stage: &Stage<'_>, source: Option<&Name>, call: &ToolCall) -> Option<Target> {
    let playing = stage.playing.as_ref()?;
    let own = source.and_then(|source| playing.handoffs(source));
    let mut all = own.into_iter().chain(playing.handoffs.values()).flat_map(named);
    all.find(|(name, _)| *name == call.function.name).map(|(_, handoff)| handoff.target.clone())
}
