//! What the tools are called with which agents hand over by their models.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::Name;
use crate::workflow::{AgentHandoffs, HandoffTarget, LlmHandoff};

/// An agent's ways to hand over by its model, each with the name of its tool; one that is not offered keeps its number.
pub(super) fn named(handoffs: &AgentHandoffs) -> impl Iterator<Item = (String, &LlmHandoff)> {
    let name = |target: &HandoffTarget| match target {
        HandoffTarget::Agent(name) => name.to_string(),
        HandoffTarget::Random(_) => "random".to_owned(),
        HandoffTarget::NestedChats(_) => "nested_chat".to_owned(),
        HandoffTarget::Terminate => "terminate".to_owned(),
        HandoffTarget::Stay => "stay".to_owned(),
        HandoffTarget::RevertToUser => "revert_to_user".to_owned(),
        HandoffTarget::AskUser => "ask_user".to_owned(),
        HandoffTarget::GroupManager => "group_manager".to_owned(),
    };
    let numbered = handoffs.llm.iter().enumerate();
    numbered.map(move |(index, handoff)| (format!("transfer_to_{}_{}", name(&handoff.target), index + 1), handoff))
}

/// All of them.
pub(super) fn transfer_names(handoffs: &BTreeMap<Name, AgentHandoffs>) -> BTreeSet<String> {
    handoffs.values().flat_map(|handoffs| named(handoffs).map(|(name, _)| name)).collect()
}
