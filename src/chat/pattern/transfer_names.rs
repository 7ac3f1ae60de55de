//! What the tools are called with which agents hand over by their models.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::Name;
use crate::workflow::{Handoffs, LlmHandoff, Target};

/// An agent's ways to hand over by its model, each with the name of its tool; one that is not offered keeps its number.
pub(super) fn named(handoffs: &Handoffs) -> impl Iterator<Item = (String, &LlmHandoff)> {
    let name = |target: &Target| match target {
        Target::Agent(name) => name.to_string(),
        Target::Random(_) => "random".to_owned(),
        Target::NestedChats(_) => "nested_chat".to_owned(),
        Target::Terminate => "terminate".to_owned(),
        Target::Stay => "stay".to_owned(),
        Target::RevertToUser => "revert_to_user".to_owned(),
        Target::AskUser => "ask_user".to_owned(),
        Target::GroupManager => "group_manager".to_owned(),
    };
    let numbered = handoffs.llm.iter().enumerate();
    numbered.map(move |(index, handoff)| (format!("transfer_to_{}_{}", name(&handoff.target), index + 1), handoff))
}

/// All of them.
pub(super) fn transfer_names(handoffs: &BTreeMap<Name, Handoffs>) -> BTreeSet<String> {
    handoffs.values().flat_map(|handoffs| named(handoffs).map(|(name, _)| name)).collect()
}
