//! What the tools are called with which agents hand over by their models.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::Name;
use crate::workflow::{AgentHandoffs, HandoffTarget, LlmHandoff};

/// The longest name of a function that OpenAI and others take.
const LONGEST_FUNCTION_NAME: usize = 64;

/// An agent's ways to hand over by its model, each with the name of its tool; one that is not offered keeps its number.
pub(super) fn named(handoffs: &AgentHandoffs) -> impl Iterator<Item = (String, &LlmHandoff)> {
    named_in_full(handoffs).map(|(name, handoff)| (shortened(name), handoff))
}

/// The same with AG2's names, which may be too long for a model's server. Earlier versions offered them, and logs have them.
pub(super) fn named_in_full(handoffs: &AgentHandoffs) -> impl Iterator<Item = (String, &LlmHandoff)> {
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

/// The name without its middle, if it is too long: the number at its end tells an agent's names apart.
fn shortened(name: String) -> String {
    if name.len() <= LONGEST_FUNCTION_NAME {
        return name;
    }
    // Names have only letters of one byte.
    let number = name.rfind('_').map_or("", |at| &name[at..]);
    format!("{}{number}", &name[..LONGEST_FUNCTION_NAME - number.len()])
}

/// All of them.
pub(super) fn transfer_names(handoffs: &BTreeMap<Name, AgentHandoffs>) -> BTreeSet<String> {
    handoffs
        .values()
        .flat_map(|handoffs| named(handoffs).chain(named_in_full(handoffs)).map(|(name, _)| name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_keeps_its_number() {
        assert_eq!(shortened("transfer_to_tech_1".to_owned()), "transfer_to_tech_1");
        let names = [1, 12].map(|number| shortened(format!("transfer_to_{}_{number}", "a".repeat(64))));
        assert!(names.iter().all(|name| name.len() == LONGEST_FUNCTION_NAME), "{names:?}");
        assert!(names[0].ends_with("a_1") && names[1].ends_with("a_12"), "{names:?}");
    }
}
