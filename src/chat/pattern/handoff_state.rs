//! A group that hands over, made ready: its members, and to whom each of them may hand over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::HandoffGroupRequest;
use super::transfer_names::transfer_names;
use crate::chat::{ConversationContext, Result, WorkflowStop, own_name};
use crate::ids::Name;
use crate::protocol::failure::FailureKind;
use crate::protocol::participant::{GROUP_TOOL_EXECUTOR, GROUP_USER};
use crate::workflow::expression::seen_map;
use crate::workflow::{
    Agent, AgentHandoffs, ContextHandoff, EvaluationError, Expression, GroupPattern, HandoffGroup, HandoffTarget,
    HumanInputMode, NestedChat, Workflow,
};

/// What a group that hands over needs to know while it talks.
pub(in crate::chat) struct HandoffState {
    pub(in crate::chat) executor: Name,
    /// The agents that the group was made of, without those that this module adds.
    pub(in crate::chat) agents: Vec<Name>,
    pub(in crate::chat) wrapped: Vec<NestedChatMember>,
    pub(in crate::chat) user: Option<Name>,
    pub(in crate::chat) initial: Name,
    pub(in crate::chat) after_work: HandoffTarget,
    pub(in crate::chat) handoffs: BTreeMap<Name, AgentHandoffs>,
    /// What the agents share.
    pub context: Map<String, Value>,
    /// Who was last named to speak next.
    pub(in crate::chat) next: Option<HandoffTarget>,
    pub(in crate::chat) begun: bool,
    /// The tools of all agents, which the executor executes.
    pub(in crate::chat) tools: Vec<Name>,
    /// The tools that hand over, if agents are not to see their calls.
    pub(in crate::chat) hidden: BTreeSet<String>,
}

/// A member that holds nested chats for another, and then lets the other speak again.
pub(in crate::chat) struct NestedChatMember {
    pub(in crate::chat) agent: Arc<Agent>,
    pub(in crate::chat) chats: Vec<NestedChat>,
}

impl HandoffState {
    /// Makes the members of the group: the executor first, then the agents, those that hold nested chats, and the user.
    pub(in crate::chat) fn begin(
        ctx: &ConversationContext<'_>,
        grouped: &HandoffGroupRequest<'_>,
    ) -> Result<(Self, Vec<Arc<Agent>>)> {
        let group = grouped.group;
        let agents = group.agents.iter().map(|name| ctx.agent(name)).collect::<Result<Vec<_>>>()?;
        let user = group.user_agent.as_ref().map(|name| ctx.agent(name)).transpose()?;
        let mut handoffs = written_handoffs(agents.iter().chain(&user).map(AsRef::as_ref));
        check_targets(group, &handoffs)?;
        let wrapped = wrap_nested_chats(&mut handoffs, &group.agents);
        hand_on_by_pattern(group, &mut handoffs);
        let hidden = if group.exclude_transit_message { transfer_names(&handoffs) } else { BTreeSet::new() };

        let executor = Agent {
            system_message: "Tool Execution, do not use this agent directly.".to_owned(),
            description: "Tool Execution, do not use this agent directly.".to_owned(),
            ..Agent::without_model(own_name(GROUP_TOOL_EXECUTOR), HumanInputMode::Never)
        };
        let described = |agent: &Arc<Agent>| match agent.description.is_empty() && group.pattern == GroupPattern::Auto {
            true => Arc::new(Agent { description: format!("Agent {}", agent.name), ..Agent::clone(agent) }),
            false => agent.clone(),
        };
        let mut members = vec![Arc::new(executor)];
        members.extend(agents.iter().map(described));
        members.extend(wrapped.iter().map(|wrapped| wrapped.agent.clone()));
        members.push(match &user {
            Some(user) => user.clone(),
            None => Arc::new(Agent::without_model(own_name(GROUP_USER), HumanInputMode::Always)),
        });
        let mut tools = Vec::new();
        for tool in agents.iter().flat_map(|agent| &agent.tools) {
            if !tools.contains(tool) {
                tools.push(tool.clone());
            }
        }
        let handoff_state = Self {
            executor: own_name(GROUP_TOOL_EXECUTOR),
            agents: group.agents.clone(),
            wrapped,
            user: user.map(|user| user.name.clone()),
            initial: group.initial_agent.clone(),
            after_work: after_work_of(group),
            handoffs,
            context: grouped.context.clone(),
            next: None,
            begun: false,
            tools,
            hidden,
        };
        Ok((handoff_state, members))
    }

    pub(super) fn in_context(&self) -> minijinja::Value {
        minijinja::context! { context => seen_map(&self.context) }
    }

    pub(super) fn holds(&self, condition: Option<&Expression>) -> Result<bool> {
        condition.map_or(Ok(true), |condition| condition.holds(&self.in_context()).map_err(in_words))
    }

    pub(super) fn applies(&self, handoff: &ContextHandoff) -> Result<bool> {
        Ok(self.holds(handoff.available.as_ref())? && self.holds(handoff.when.as_ref())?)
    }

    pub(super) fn handoffs(&self, agent: &Name) -> Option<&AgentHandoffs> {
        self.handoffs.get(agent)
    }

    /// Whether it is one of the agents that the group was made of.
    pub(super) fn plays(&self, agent: &Name) -> bool {
        self.agents.contains(agent)
    }
}

fn written_handoffs<'a>(agents: impl Iterator<Item = &'a Agent>) -> BTreeMap<Name, AgentHandoffs> {
    agents.map(|agent| (agent.name.clone(), agent.handoffs.clone())).collect()
}

/// To whom the members of a group may hand over by their models.
pub(super) fn handoffs_in_group(workflow: &Workflow, group: &HandoffGroup) -> BTreeMap<Name, AgentHandoffs> {
    let members = group.agents.iter().filter_map(|name| workflow.agents.get(name));
    let mut handoffs = written_handoffs(members.map(AsRef::as_ref));
    wrap_nested_chats(&mut handoffs, &group.agents);
    handoffs
}

pub(super) fn in_words(error: EvaluationError) -> WorkflowStop {
    WorkflowStop::failed(FailureKind::Template, error.to_string())
}

/// A model's choice needs a manager with a model, and who is named must be there.
fn check_targets(group: &HandoffGroup, handoffs: &BTreeMap<Name, AgentHandoffs>) -> Result<()> {
    let mut by_manager = matches!(after_work_of(group), HandoffTarget::GroupManager);
    for (name, handoffs) in handoffs {
        let targets = handoffs.llm.iter().map(|handoff| &handoff.target);
        let targets = targets.chain(handoffs.context.iter().chain(&handoffs.after_work).map(|handoff| &handoff.target));
        for target in targets {
            match target {
                HandoffTarget::Agent(target)
                    if !group.agents.contains(target) && group.user_agent.as_ref() != Some(target) =>
                {
                    let problem = format!("{name} hands over to {target}, who is not in the group");
                    return Err(WorkflowStop::failed(FailureKind::Workflow, problem));
                }
                HandoffTarget::GroupManager => by_manager = true,
                _ => {}
            }
        }
    }
    if by_manager && group.manager.llm.is_none() {
        let problem = format!("{} is to choose who speaks, and has no model", group.manager.name);
        return Err(WorkflowStop::failed(FailureKind::Workflow, problem));
    }
    Ok(())
}

/// Gives each list of nested chats that is a target a member of its own, which is the target instead.
fn wrap_nested_chats(handoffs: &mut BTreeMap<Name, AgentHandoffs>, agents: &[Name]) -> Vec<NestedChatMember> {
    let mut wrapped = Vec::new();
    let mut back = Vec::new();
    for parent in agents {
        let Some(handoffs) = handoffs.get_mut(parent) else { continue };
        let AgentHandoffs { llm, context, after_work } = handoffs;
        let targets = llm.iter_mut().map(|handoff| &mut handoff.target);
        let targets = targets.chain(context.iter_mut().chain(after_work).map(|handoff| &mut handoff.target));
        let mut count = 0;
        for target in targets {
            let HandoffTarget::NestedChats(chats) = target else { continue };
            count += 1;
            let name = own_name(&shortened(&format!("wrapped_nested_{parent}_{count}")));
            let agent = Arc::new(Agent::without_model(name.clone(), HumanInputMode::Terminate));
            wrapped.push(NestedChatMember { agent, chats: std::mem::take(chats) });
            back.push((name.clone(), parent.clone()));
            *target = HandoffTarget::Agent(name);
        }
    }
    for (name, parent) in back {
        handoffs.insert(
            name,
            AgentHandoffs { after_work: vec![always(HandoffTarget::Agent(parent))], ..AgentHandoffs::default() },
        );
    }
    wrapped
}

/// The last 64 characters: a name made of another may be too long.
fn shortened(name: &str) -> String {
    name.chars().skip(name.chars().count().saturating_sub(64)).collect()
}

fn always(target: HandoffTarget) -> ContextHandoff {
    ContextHandoff { target, when: None, available: None }
}

fn after_work_of(group: &HandoffGroup) -> HandoffTarget {
    match group.pattern {
        GroupPattern::Auto => HandoffTarget::GroupManager,
        GroupPattern::Manual => HandoffTarget::AskUser,
        GroupPattern::Default | GroupPattern::RoundRobin | GroupPattern::Random => group.after_work.clone(),
    }
}

/// What the agents hand on by the pattern, whatever they say themselves.
fn hand_on_by_pattern(group: &HandoffGroup, handoffs: &mut BTreeMap<Name, AgentHandoffs>) {
    let others =
        group.agents.iter().filter(|name| **name != group.initial_agent && Some(*name) != group.user_agent.as_ref());
    let everybody: Vec<Name> = match group.pattern {
        GroupPattern::RoundRobin => {
            std::iter::once(&group.initial_agent).chain(others).chain(&group.user_agent).cloned().collect()
        }
        GroupPattern::Random => group.agents.iter().chain(&group.user_agent).cloned().collect(),
        GroupPattern::Default | GroupPattern::Auto | GroupPattern::Manual => return,
    };
    for (index, name) in everybody.iter().enumerate() {
        let target = match group.pattern {
            GroupPattern::RoundRobin => HandoffTarget::Agent(everybody[(index + 1) % everybody.len()].clone()),
            _ => HandoffTarget::Random(everybody.iter().filter(|other| *other != name).cloned().collect()),
        };
        handoffs.entry(name.clone()).or_default().after_work = vec![always(target)];
    }
}
