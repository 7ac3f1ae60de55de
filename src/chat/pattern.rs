//! Groups that hand over (`SEMANTICS.md` 8, AG2's `run_group_chat`): agents share variables and say who speaks next, by a tool
//! that their model calls, by a condition on the variables, by a tool's result, or when their work is done. One internal member
//! executes the tools of all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::chat::agent::Reply;
use crate::chat::group::{Floor, Group, Start, begin};
use crate::chat::memory::{Line, Lines, Utterance};
use crate::chat::pair::completed;
use crate::chat::tools::{execute, function, read_arguments, refuse, results};
use crate::chat::{Event, HandsOver, Result, Stage, Stop, ToolResponse, nested, own_name};
use crate::ids::Name;
use crate::model::{Role, ToolCall};
use crate::workflow::expression::seen_map;
use crate::workflow::{
    Agent, ContextHandoff, EvaluationError, Expression, Handoffs, HumanInputMode, LlmHandoff, NestedChat, Pattern,
    Returns, Selection, SelectionMethod, Target, Transitions,
};

const EXECUTOR: &str = "_Group_Tool_Executor";
const USER: &str = "_User";

/// A group as it is held, with what a workflow computed for it.
#[derive(Debug, Clone)]
pub struct Grouped<'a> {
    /// The group as checked.
    pub group: &'a crate::workflow::Group,
    /// The first message, or a list of messages to go on from.
    pub messages: Value,
    /// What the agents share, at first.
    pub context: Map<String, Value>,
}

/// Holds a group's chat, and returns the chat result with `context_variables`.
pub async fn hold_group(stage: &mut Stage<'_>, grouped: Grouped<'_>) -> Result<Value> {
    let (playing, members) = Playing::begin(stage, &grouped)?;
    let messages = opening(grouped.messages)?;
    stage.playing = Some(playing);
    let ended = play(stage, grouped.group, members, messages).await;
    let playing = stage.playing.take();
    let mut result = ended?;
    result["context_variables"] = Value::Object(playing.map(|playing| playing.context).unwrap_or_default());
    Ok(result)
}

/// What a group that hands over needs to know while it talks.
pub(super) struct Playing {
    executor: Name,
    /// The agents that the group was made of, without those that this module adds.
    agents: Vec<Name>,
    wrapped: Vec<Wrapped>,
    user: Option<Name>,
    initial: Name,
    after_work: Target,
    handoffs: BTreeMap<Name, Handoffs>,
    /// What the agents share.
    pub context: Map<String, Value>,
    /// Who was last named to speak next.
    next: Option<Target>,
    begun: bool,
    /// The tools of all agents, which the executor executes.
    tools: Vec<Name>,
    /// The tools that hand over, if agents are not to see their calls.
    hidden: BTreeSet<String>,
}

/// A member that holds nested chats for another, and then gives the floor back.
struct Wrapped {
    agent: Arc<Agent>,
    chats: Vec<NestedChat>,
}

impl Playing {
    /// Makes the members of the group: the executor first, then the agents, those that hold nested chats, and the user.
    fn begin(stage: &Stage<'_>, grouped: &Grouped<'_>) -> Result<(Self, Vec<Arc<Agent>>)> {
        let group = grouped.group;
        let agents = group.agents.iter().map(|name| stage.agent(name)).collect::<Result<Vec<_>>>()?;
        let user = group.user_agent.as_ref().map(|name| stage.agent(name)).transpose()?;
        let mut handoffs: BTreeMap<Name, Handoffs> =
            agents.iter().chain(&user).map(|agent| (agent.name.clone(), agent.handoffs.clone())).collect();
        check_targets(group, &handoffs)?;
        let wrapped = wrap_nested_chats(&mut handoffs, &group.agents);
        hand_on_by_pattern(group, &mut handoffs);
        let hidden = if group.exclude_transit_message { transfer_names(&handoffs) } else { BTreeSet::new() };

        let executor = Agent {
            system_message: "Tool Execution, do not use this agent directly.".to_owned(),
            description: "Tool Execution, do not use this agent directly.".to_owned(),
            ..Agent::without_model(own_name(EXECUTOR), HumanInputMode::Never)
        };
        let described = |agent: &Arc<Agent>| match agent.description.is_empty() && group.pattern == Pattern::Auto {
            true => Arc::new(Agent { description: format!("Agent {}", agent.name), ..Agent::clone(agent) }),
            false => agent.clone(),
        };
        let mut members = vec![Arc::new(executor)];
        members.extend(agents.iter().map(described));
        members.extend(wrapped.iter().map(|wrapped| wrapped.agent.clone()));
        members.push(match &user {
            Some(user) => user.clone(),
            None => Arc::new(Agent::without_model(own_name(USER), HumanInputMode::Always)),
        });
        let mut tools = Vec::new();
        for tool in agents.iter().flat_map(|agent| &agent.tools) {
            if !tools.contains(tool) {
                tools.push(tool.clone());
            }
        }
        let playing = Self {
            executor: own_name(EXECUTOR),
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
        Ok((playing, members))
    }

    fn in_context(&self) -> minijinja::Value {
        minijinja::context! { context => seen_map(&self.context) }
    }

    fn holds(&self, condition: Option<&Expression>) -> Result<bool> {
        condition.map_or(Ok(true), |condition| condition.holds(&self.in_context()).map_err(in_words))
    }

    fn applies(&self, handoff: &ContextHandoff) -> Result<bool> {
        Ok(self.holds(handoff.available.as_ref())? && self.holds(handoff.when.as_ref())?)
    }

    fn handoffs(&self, agent: &Name) -> Option<&Handoffs> {
        self.handoffs.get(agent)
    }

    /// Whether it is one of the agents that the group was made of.
    fn plays(&self, agent: &Name) -> bool {
        self.agents.contains(agent)
    }
}

fn in_words(error: EvaluationError) -> Stop {
    Stop::failed("template", error.to_string())
}

/// A model's choice needs a manager with a model, and who is named must be there.
fn check_targets(group: &crate::workflow::Group, handoffs: &BTreeMap<Name, Handoffs>) -> Result<()> {
    let mut by_manager = matches!(after_work_of(group), Target::GroupManager);
    for (name, handoffs) in handoffs {
        let targets = handoffs.llm.iter().map(|handoff| &handoff.target);
        let targets = targets.chain(handoffs.context.iter().chain(&handoffs.after_work).map(|handoff| &handoff.target));
        for target in targets {
            match target {
                Target::Agent(target)
                    if !group.agents.contains(target) && group.user_agent.as_ref() != Some(target) =>
                {
                    let problem = format!("{name} hands over to {target}, who is not in the group");
                    return Err(Stop::failed("workflow", problem));
                }
                Target::GroupManager => by_manager = true,
                _ => {}
            }
        }
    }
    if by_manager && group.manager.llm.is_none() {
        let problem = format!("{} is to choose who speaks, and has no model", group.manager.name);
        return Err(Stop::failed("workflow", problem));
    }
    Ok(())
}

/// Gives each list of nested chats that is a target a member of its own, which is the target instead.
fn wrap_nested_chats(handoffs: &mut BTreeMap<Name, Handoffs>, agents: &[Name]) -> Vec<Wrapped> {
    let mut wrapped = Vec::new();
    let mut back = Vec::new();
    for parent in agents {
        let Some(handoffs) = handoffs.get_mut(parent) else { continue };
        let Handoffs { llm, context, after_work } = handoffs;
        let targets = llm.iter_mut().map(|handoff| &mut handoff.target);
        let targets = targets.chain(context.iter_mut().chain(after_work).map(|handoff| &mut handoff.target));
        let mut count = 0;
        for target in targets {
            let Target::NestedChats(chats) = target else { continue };
            count += 1;
            let name = own_name(&shortened(&format!("wrapped_nested_{parent}_{count}")));
            let agent = Arc::new(Agent::without_model(name.clone(), HumanInputMode::Terminate));
            wrapped.push(Wrapped { agent, chats: std::mem::take(chats) });
            back.push((name.clone(), parent.clone()));
            *target = Target::Agent(name);
        }
    }
    for (name, parent) in back {
        handoffs.insert(name, Handoffs { after_work: vec![always(Target::Agent(parent))], ..Handoffs::default() });
    }
    wrapped
}

/// The last 64 characters: a name made of another may be too long.
fn shortened(name: &str) -> String {
    name.chars().skip(name.chars().count().saturating_sub(64)).collect()
}

fn always(target: Target) -> ContextHandoff {
    ContextHandoff { target, when: None, available: None }
}

fn after_work_of(group: &crate::workflow::Group) -> Target {
    match group.pattern {
        Pattern::Auto => Target::GroupManager,
        Pattern::Manual => Target::AskUser,
        Pattern::Default | Pattern::RoundRobin | Pattern::Random => group.after_work.clone(),
    }
}

/// What the agents hand on by the pattern, whatever they say themselves.
fn hand_on_by_pattern(group: &crate::workflow::Group, handoffs: &mut BTreeMap<Name, Handoffs>) {
    let others =
        group.agents.iter().filter(|name| **name != group.initial_agent && Some(*name) != group.user_agent.as_ref());
    let everybody: Vec<Name> = match group.pattern {
        Pattern::RoundRobin => {
            std::iter::once(&group.initial_agent).chain(others).chain(&group.user_agent).cloned().collect()
        }
        Pattern::Random => group.agents.iter().chain(&group.user_agent).cloned().collect(),
        Pattern::Default | Pattern::Auto | Pattern::Manual => return,
    };
    for (index, name) in everybody.iter().enumerate() {
        let target = match group.pattern {
            Pattern::RoundRobin => Target::Agent(everybody[(index + 1) % everybody.len()].clone()),
            _ => Target::Random(everybody.iter().filter(|other| *other != name).cloned().collect()),
        };
        handoffs.entry(name.clone()).or_default().after_work = vec![always(target)];
    }
}

/// The messages that a group begins with.
fn opening(messages: Value) -> Result<Vec<Value>> {
    let is_message = |value: &Value| value.get("content").is_some() || value.get("tool_calls").is_some();
    match messages {
        Value::Array(list) if list.iter().all(is_message) && !list.is_empty() => Ok(list),
        Value::Array(list) if list.is_empty() => Err(Stop::failed("message", "a group begins with a message")),
        one => Ok(vec![one]),
    }
}

async fn play(
    stage: &mut Stage<'_>,
    described: &crate::workflow::Group,
    members: Vec<Arc<Agent>>,
    messages: Vec<Value>,
) -> Result<Value> {
    let group = Group {
        manager: described.manager.clone(),
        members,
        max_round: described.max_rounds,
        introduces: false,
        floor: Floor::Pattern,
        transitions: Transitions::All,
        selection: Arc::new(Selection::default()),
    };
    let resumes = messages.len() > 1;
    let (initiator, message) = if resumes {
        resume(stage, &group, messages).await?
    } else {
        let message = messages.into_iter().next().unwrap_or_default();
        (first_speaker(stage, &group, &message)?, message)
    };
    let start = Start {
        message: Some(message),
        carryover: Vec::new(),
        max_turns: None,
        summary: described.summary.clone(),
        clear_history: !resumes,
        silent: false,
    };
    let mut ended = begin(stage, initiator, group, start).await?;
    for line in &mut ended.messages {
        // Nobody knows who that is.
        if line.name.as_deref() == Some(USER) {
            Arc::make_mut(line).message_mut().name = None;
        }
    }
    completed(stage, &ended).await?;
    Ok(ended.result())
}

/// Who says the one message that the group begins with: whom it names, or the user.
fn first_speaker(stage: &Stage<'_>, group: &Group, message: &Value) -> Result<Arc<Agent>> {
    let playing = stage.playing.as_ref();
    let user = playing.and_then(|playing| playing.user.as_ref()).map_or(USER, Name::as_str);
    let name = message.get("name").and_then(Value::as_str).unwrap_or(user);
    let found = group.member(name).cloned();
    found.ok_or_else(|| Stop::failed("message", format!("the message is from {name:?}, who is not in the group")))
}

/// Loads all messages but the last, and says who goes on with it (AG2's `resume`).
async fn resume(stage: &mut Stage<'_>, group: &Group, messages: Vec<Value>) -> Result<(Arc<Agent>, Value)> {
    let manager = &group.manager.name;
    let author = |message: &Value| {
        let name = message.get("name").and_then(Value::as_str).unwrap_or_default();
        let unknown =
            || Stop::failed("message", format!("a message to go on from is from {name:?}, who is not in the group"));
        group.member(name).cloned().ok_or_else(unknown)
    };
    stage.memory.forget_group(manager);
    for member in &group.members {
        stage.memory.forget(&member.name, manager);
        stage.memory.forget(manager, &member.name);
    }
    let (last, before) = messages.split_last().expect("there are several");
    for message in before {
        let author = author(message)?;
        let said = Utterance::from_value(message.clone())?;
        let heard = Arc::new(said.line(Role::User, &author.name));
        for member in &group.members {
            let own = member.name == author.name;
            let line = if own { Arc::new(said.line(Role::Assistant, &author.name)) } else { heard.clone() };
            stage.memory.push(&member.name, manager, line);
        }
        stage.memory.push_to_group(manager, heard);
    }
    let speaker = author(last)?;
    let last_speaker = speaker.name.to_string();
    stage.tell(Event::Resumed { last_speaker, messages: messages.clone() }).await?;
    Ok((speaker, last.clone()))
}

/// What a member hears: without the calls that hand over and their results, if the group hides them (`SEMANTICS.md` 8).
pub(super) fn heard(stage: &Stage<'_>, agent: &Agent, peer: &Name) -> Lines {
    let list = stage.memory.list(&agent.name, peer);
    match &stage.playing {
        Some(playing) if playing.plays(&agent.name) && !playing.hidden.is_empty() => without(list, &playing.hidden),
        _ => list.to_vec(),
    }
}

fn without(list: &[Arc<Line>], hidden: &BTreeSet<String>) -> Lines {
    let mut removed: BTreeSet<String> = BTreeSet::new();
    let mut kept = Vec::with_capacity(list.len());
    for line in list {
        if line.tool_calls.is_empty() && line.tool_responses.is_empty() {
            kept.push(line.clone());
            continue;
        }
        let mut line = Line::clone(line);
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
pub(super) fn system_message(stage: &Stage<'_>, agent: &Agent) -> Result<String> {
    match (&stage.playing, &agent.update_system_message) {
        (Some(playing), Some(template)) if playing.plays(&agent.name) => {
            template.render(&playing.in_context()).map_err(in_words)
        }
        _ => Ok(agent.system_message.clone()),
    }
}

/// The tools with which an agent's model hands over now.
pub(super) fn transfer_tools(stage: &Stage<'_>, agent: &Agent) -> Result<Vec<Value>> {
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

/// An agent's ways to hand over by its model, each with the name of its tool; one that is not offered keeps its number.
fn named(handoffs: &Handoffs) -> impl Iterator<Item = (String, &LlmHandoff)> {
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

fn transfer_names(handoffs: &BTreeMap<Name, Handoffs>) -> BTreeSet<String> {
    handoffs.values().flat_map(|handoffs| named(handoffs).map(|(name, _)| name)).collect()
}

/// What people are told of a target.
fn display(target: &Target) -> String {
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
fn handed_over(target: &Target) -> String {
    match target {
        Target::Terminate | Target::RevertToUser | Target::AskUser => display(target),
        Target::Stay => "Stay with agent".to_owned(),
        _ => format!("Transfer to {}", display(target)),
    }
}

/// Hands over before anything else, if the shared variables say so.
pub(super) async fn hands_over(stage: &mut Stage<'_>, agent: &Agent) -> Result<Option<Utterance>> {
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

/// The replies of the members that this module adds; none: it is an agent like any other.
pub(super) async fn own_reply(stage: &mut Stage<'_>, agent: &Arc<Agent>, heard: &[Arc<Line>]) -> Result<Option<Reply>> {
    let Some(playing) = &stage.playing else { return Ok(None) };
    if playing.executor == agent.name {
        return Ok(Some(Ok(match heard.last() {
            Some(last) if !last.tool_calls.is_empty() => execute_calls(stage, agent, last).await?,
            _ => Utterance::text(""),
        })));
    }
    let Some(wrapped) = playing.wrapped.iter().find(|wrapped| wrapped.agent.name == agent.name) else {
        return Ok(None);
    };
    let chats = wrapped.chats.clone();
    nested::reply(stage, agent, &chats, heard).await.map(Some)
}

/// Executes the calls of a member, one after the other, so that each sees what the one before it has set; the last one that
/// names somebody counts.
async fn execute_calls(stage: &mut Stage<'_>, executor: &Agent, message: &Line) -> Result<Utterance> {
    let source = message.name.as_deref().and_then(|name| Name::parse(name).ok());
    let mut responses = Vec::with_capacity(message.tool_calls.len());
    let mut next = None;
    for call in &message.tool_calls {
        let (text, target) = match transfer(stage, source.as_ref(), call) {
            Some(target) => match read_arguments(&call.function.arguments) {
                Ok(arguments) => {
                    tell_transfer(stage, executor, call, arguments, &target).await?;
                    (handed_over(&target), Some((target, HandsOver::OnModel)))
                }
                Err(error) => (refuse(stage, &executor.name, call, Value::Null, error).await?.text, None),
            },
            None => call_tool(stage, executor, call).await?,
        };
        if let Some((target, because)) = target {
            if let Some(source) = source.clone() {
                stage.tell(Event::HandsOver { because, source, target: display(&target) }).await?;
            }
            next = Some(target);
        }
        responses.push(ToolResponse::new(call, text));
    }
    if let Some(playing) = &mut stage.playing {
        playing.next = next;
    }
    Ok(results(responses, "\n"))
}

/// To whom a call hands over, if it does: by the tools of who calls, else by anybody's.
fn transfer(stage: &Stage<'_>, source: Option<&Name>, call: &ToolCall) -> Option<Target> {
    let playing = stage.playing.as_ref()?;
    let own = source.and_then(|source| playing.handoffs(source));
    let mut all = own.into_iter().chain(playing.handoffs.values()).flat_map(named);
    all.find(|(name, _)| *name == call.function.name).map(|(_, handoff)| handoff.target.clone())
}

async fn tell_transfer(
    stage: &Stage<'_>,
    executor: &Agent,
    call: &ToolCall,
    arguments: Map<String, Value>,
    target: &Target,
) -> Result<()> {
    let (agent, call, arguments) = (executor.name.clone(), call.clone(), Value::Object(arguments));
    let content = json!({"target": display(target)});
    stage
        .tell(Event::ExecuteFunction { agent: agent.clone(), call: call.clone(), arguments: arguments.clone() })
        .await?;
    stage.tell(Event::ExecutedFunction { agent, call, arguments, content, success: true }).await
}

/// Calls a tool of the group; its result may name who speaks next, and set what the agents share.
async fn call_tool(
    stage: &mut Stage<'_>,
    executor: &Agent,
    call: &ToolCall,
) -> Result<(String, Option<(Target, HandsOver)>)> {
    let tools = stage.playing.as_ref().map(|playing| playing.tools.clone()).unwrap_or_default();
    let done = execute(stage, &executor.name, &tools, call).await?;
    let decides = stage.tools.get(call.function.name.as_str()).is_some_and(|tool| tool.returns == Returns::ReplyResult);
    let Some(Value::Object(mut result)) = done.returned.filter(|_| decides) else { return Ok((done.text, None)) };
    if let (Some(Value::Object(set)), Some(playing)) = (result.remove("context_variables"), &mut stage.playing) {
        playing.context.extend(set);
    }
    let target = match result.remove("target") {
        None | Some(Value::Null) => None,
        Some(target) => Some((target_of(&target, call)?, HandsOver::OnReplyResult)),
    };
    Ok((done.text, target))
}

/// A target as a tool names it: an agent's name, one of the words, `{agent: …}` or `{random: […]}`.
fn target_of(value: &Value, call: &ToolCall) -> Result<Target> {
    let name = |value: &Value| value.as_str().and_then(|text| Name::parse(text).ok());
    let target = match value {
        Value::String(word) => Target::word(word).or_else(|| name(value).map(Target::Agent)),
        Value::Object(fields) => match (fields.get("agent"), fields.get("random").and_then(Value::as_array)) {
            (Some(agent), _) => name(agent).map(Target::Agent),
            (None, Some(names)) => names.iter().map(name).collect::<Option<Vec<_>>>().map(Target::Random),
            (None, None) => None,
        },
        _ => None,
    };
    target.ok_or_else(|| {
        Stop::failed("tool", format!("the tool {:?} hands over to {value}, which is no target", call.function.name))
    })
}

/// Who speaks next.
pub(super) enum Next {
    Speaker(Arc<Agent>),
    Nobody,
    /// Whom this method chooses.
    Chosen(SelectionMethod),
}

/// Who speaks after `last`.
pub(super) async fn next_in_pattern(stage: &mut Stage<'_>, group: &Group, last: &Agent) -> Result<Next> {
    let Some(playing) = stage.playing.as_mut() else {
        return Err(Stop::failed("workflow", "no group is playing"));
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
        None => Err(Stop::failed("workflow", format!("{name} is to speak next, who is not in the group"))),
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
    agents.next().ok_or_else(|| Stop::failed("workflow", "no agent of the group has spoken yet"))
}

/// Who a target is, and its name for people.
async fn resolve(stage: &Stage<'_>, group: &Group, target: &Target, current: &Name) -> Result<(Next, String)> {
    let next = match target {
        Target::Agent(name) => speaker(group, name)?,
        Target::Random(names) => {
            let others: Vec<Name> = names.iter().filter(|name| *name != current).cloned().collect();
            if others.is_empty() {
                return Err(Stop::failed(
                    "workflow",
                    format!("{current} hands over by chance, and there is nobody else"),
                ));
            }
            let chosen = stage.fx.choose(&others).await?;
            let name = others.get(chosen).unwrap_or(&others[0]);
            return Ok((speaker(group, name)?, name.to_string()));
        }
        Target::NestedChats(_) => return Err(Stop::failed("workflow", "nested chats need a member that holds them")),
        Target::Terminate => Next::Nobody,
        Target::Stay => speaker(group, current)?,
        Target::RevertToUser => match stage.playing.as_ref().and_then(|playing| playing.user.clone()) {
            Some(user) => speaker(group, &user)?,
            None => return Err(Stop::failed("workflow", "the group reverts to the user, and has no user_agent")),
        },
        Target::AskUser => Next::Chosen(SelectionMethod::Manual),
        Target::GroupManager => Next::Chosen(SelectionMethod::Auto),
    };
    Ok((next, display(target)))
}
