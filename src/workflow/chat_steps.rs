//! Reads conversations: chats of two, lists of chats, groups, and what agents do in them (nested chats, handing over). What
//! each key means is in `conversation`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::answerers::answerers;
use super::conversation::{
    AgentHandoffs, ContextHandoff, GroupChat, GroupChatManager, GroupPattern, HandoffGroup, HandoffTarget, LlmHandoff,
    NestedCarryover, NestedChat, NestedChatTrigger, NestedChats, SelectionMethod, SelectionPrompts, SelectionRole,
    SpeakerTransitions, SummaryMethod, TwoAgentChat,
};
use super::names::DeclaredNames;
use super::reader::StepReader;
use super::scope::{NameScope, WorkflowDeclarations};
use super::shapes::talks::{
    AFTER_WORK, CARRYOVER_CONFIG, CHAT, GROUP, GROUP_CHAT, HANDOFFS, LLM_HANDOFF, MANAGER, NESTED_CHAT, NESTED_CHATS,
    QUEUED_CHAT, SUMMARY_ARGS, TARGET,
};
use super::values::{data, entries, expression, on_cut, template};
use super::{Agent, DataTemplate, ModelUse, StepAction};
use crate::ids::Name;
use crate::protocol::participant::GROUP_MANAGER;
use crate::yaml::{FieldReader, MapReader};

pub(super) fn chat(reader: &StepReader<'_>, field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let fields = field.fields(&CHAT)?;
    let sender = fields.get("sender").map(|field| reader.names().agent(&field));
    let user_input = fields.read("user_input", FieldReader::bool).unwrap_or(false);
    if sender.is_some() && fields.get("user_input").is_some() {
        let hint = "with a sender, its human_input_mode says when a person is asked";
        field.review.add(fields.problem_at_key("user_input", "this is for a chat without a `sender`").with_hint(hint));
    }
    let chat = talk(reader, &fields, scope, Vec::new());
    let sender = match sender {
        Some(sender) => Some(sender?),
        None => None,
    };
    let chat = TwoAgentChat { sender, user_input, ..chat? };
    not_with_itself(&fields, chat.sender.as_ref(), &chat.recipient);
    doubt_executed(reader, &fields, &chat, chat.sender.as_ref());
    Some(StepAction::Chat(Box::new(chat)))
}

pub(super) fn chats(reader: &StepReader<'_>, field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let items = field.items()?;
    if items.is_empty() {
        field.note("there is no chat here");
    }
    let mut chats: Vec<TwoAgentChat> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(fields) = item.fields(&QUEUED_CHAT) else { continue };
        let sender = fields.get("sender").map(|field| reader.names().agent(&field));
        if index == 0 && sender.is_none() {
            item.note("the first chat says who begins: \"sender\" is missing");
        }
        let without = fields.read("finished_chat_indexes_to_exclude_from_carryover", |field| {
            let finished = |item: &FieldReader<'_>| {
                let number: usize = item.whole(0)?;
                if number >= index {
                    item.note(format!("the chat {number} is not before this one; the first one is 0"));
                }
                Some(number)
            };
            field.items()?.iter().map(finished).collect::<Option<Vec<_>>>()
        });
        let Some(chat) = talk(reader, &fields, scope, without.unwrap_or_default()) else { continue };
        let sender = sender.flatten();
        not_with_itself(&fields, sender.as_ref(), &chat.recipient);
        let chat = TwoAgentChat { sender, ..chat };
        // Who is not named is who began the first chat.
        let first = chats.first().and_then(|first| first.sender.as_ref());
        doubt_executed(reader, &fields, &chat, chat.sender.as_ref().or(first));
        chats.push(chat);
    }
    Some(StepAction::Chats(chats))
}

/// What all chats of a workflow's steps have.
fn talk(
    reader: &StepReader<'_>,
    fields: &MapReader<'_>,
    scope: &NameScope<'_>,
    without_summaries_of: Vec<usize>,
) -> Option<TwoAgentChat> {
    let recipient = fields.read("recipient", |field| reader.names().agent(field));
    let message = first_message(fields, scope);
    let carryover = fields.read("carryover", |field| data(field, scope));
    let max_turns = fields.read("max_turns", |field| field.whole(1));
    Some(TwoAgentChat {
        sender: None,
        user_input: false,
        message,
        max_turns,
        summary: summary(fields)?,
        carryover,
        without_summaries_of,
        clear_history: fields.read("clear_history", FieldReader::bool).unwrap_or(true),
        silent: fields.read("silent", FieldReader::bool).unwrap_or(false),
        on_cut: on_cut(fields),
        recipient: recipient?,
    })
}

pub(super) fn group_chat(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    scope: &NameScope<'_>,
) -> Option<StepAction> {
    let fields = field.fields(&GROUP_CHAT)?;
    let agents = fields.read("agents", |field| {
        at_least(2, reader.names().agents(field), field, "a group chat has at least two agents")
    });
    let initiator = fields.get("initiator").map(|field| reader.names().agent(&field));
    let methods = [
        ("auto", SelectionMethod::Auto),
        ("manual", SelectionMethod::Manual),
        ("random", SelectionMethod::Random),
        ("round_robin", SelectionMethod::RoundRobin),
    ];
    let method = fields.read("speaker_selection_method", |field| field.one_of(&methods));
    let method = method.unwrap_or(SelectionMethod::Auto);
    let transitions = transitions(reader, &fields, agents.as_deref().unwrap_or_default());
    let manager = manager(reader, &fields);
    let selection = selection(reader, &fields);
    if let (SelectionMethod::Auto, Some(GroupChatManager { llm: None, .. })) = (method, &manager)
        && selection.llm.is_none()
    {
        let problem = fields.problem_at_key("manager", "the manager has no model that could select a speaker");
        field.review.add(problem.with_hint("give it an `llm`, or another `speaker_selection_method`"));
    }
    let message = first_message(&fields, scope);
    let carryover = fields.read("carryover", |field| data(field, scope));
    let max_round = fields.read("max_round", |field| field.whole(1)).unwrap_or(10);
    let max_turns = fields.read("max_turns", |field| field.whole(1));
    let summary = summary(&fields);
    let agents = agents?;
    let initiator = match initiator {
        Some(initiator) => initiator?,
        None => agents.first()?.clone(),
    };
    Some(StepAction::GroupChat(Box::new(GroupChat {
        initiator,
        message,
        max_round,
        max_turns,
        method,
        transitions: transitions?,
        send_introductions: fields.read("send_introductions", FieldReader::bool).unwrap_or(false),
        selection: Arc::new(selection),
        manager: manager?,
        summary: summary?,
        carryover,
        clear_history: fields.read("clear_history", FieldReader::bool).unwrap_or(true),
        silent: fields.read("silent", FieldReader::bool).unwrap_or(false),
        on_cut: on_cut(&fields),
        agents,
    })))
}

fn transitions(reader: &StepReader<'_>, fields: &MapReader<'_>, members: &[Name]) -> Option<SpeakerTransitions> {
    let member = |field: &FieldReader<'_>| {
        let name = reader.names().agent(field)?;
        if !members.contains(&name) {
            field.note(format!("{:?} is not in the group", name.as_str()));
        }
        Some(name)
    };
    let list = |field: &FieldReader<'_>| field.items()?.iter().map(member).collect::<Option<Vec<_>>>();
    let repeating = fields.read("allow_repeat_speaker", |field| {
        if field.is_list() {
            return list(field).map(SpeakerTransitions::Repeating);
        }
        let all = field.bool()?;
        Some(if all { SpeakerTransitions::All } else { SpeakerTransitions::Repeating(Vec::new()) })
    });
    let disallowed = fields.read("transitions_type", |field| field.one_of(&[("allowed", false), ("disallowed", true)]));
    let Some(field) = fields.get("transitions") else {
        if fields.get("transitions_type").is_some() {
            let problem = fields.problem_at_key("transitions_type", "without `transitions` this means nothing");
            fields.field.review.add(problem);
        }
        return Some(repeating.unwrap_or(SpeakerTransitions::All));
    };
    if fields.get("allow_repeat_speaker").is_some() {
        let problem = fields.problem_at_key("allow_repeat_speaker", "`transitions` say already who may repeat");
        fields.field.review.add(problem);
    }
    let mut map: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
    for (name, entry, value) in field.named_entries()? {
        if !members.contains(&name) {
            let message = format!("{:?} is not in the group", name.as_str());
            field.review.note(entry.key_place, &value.path, message);
        }
        map.insert(name, list(&value).unwrap_or_default());
    }
    Some(if disallowed == Some(true) { SpeakerTransitions::Disallowed(map) } else { SpeakerTransitions::Allowed(map) })
}

fn manager(reader: &StepReader<'_>, fields: &MapReader<'_>) -> Option<GroupChatManager> {
    let default_name = || Name::parse(GROUP_MANAGER).ok();
    let Some(field) = fields.get("manager") else {
        let llm = model_named(reader, "default", fields.field.problem("").with_hint(MANAGER_HINT));
        return Some(GroupChatManager { name: default_name()?, llm, is_termination_msg: None, answerers: None });
    };
    let fields = field.fields(&MANAGER)?;
    let name = match fields.get("name") {
        Some(field) => field.name(),
        None => default_name(),
    };
    let rule =
        fields.read("is_termination_msg", |field| expression(field, &NameScope::only(reader.declared(), "message")));
    Some(GroupChatManager {
        llm: model_use(reader, &fields, "llm", MANAGER_HINT),
        is_termination_msg: rule,
        answerers: answerers(&fields),
        name: name?,
    })
}

/// What to do where the model is not there that a group's manager has without naming it.
const MANAGER_HINT: &str = "the group's manager chooses speakers with it: write `manager: { llm: NAME }` in the group, or describe `default` in `llms:` of fastagency.yaml";

/// A model that is not an agent's. `by_default`: without the key it is `default`, and what to do if that is not there.
fn model_use(reader: &StepReader<'_>, fields: &MapReader<'_>, key: &'static str, by_default: &str) -> Option<ModelUse> {
    match fields.get(key) {
        Some(field) if field.is_false() => None,
        Some(field) => {
            let name = field.name()?;
            reader.note_model(&name, field.problem(""));
            Some(ModelUse { name, parameters: fields.request_parameters() })
        }
        None => {
            let llm = model_named(reader, "default", fields.field.problem("").with_hint(by_default))?;
            Some(ModelUse { parameters: fields.request_parameters(), ..llm })
        }
    }
}

fn model_named(reader: &StepReader<'_>, name: &str, problem: crate::problem::Problem) -> Option<ModelUse> {
    let name = Name::parse(name).ok()?;
    reader.note_model(&name, problem);
    Some(ModelUse { name, parameters: super::ValueMap::new() })
}

fn selection(reader: &StepReader<'_>, fields: &MapReader<'_>) -> SelectionPrompts {
    let usual = SelectionPrompts::default();
    let text = |key| fields.read(key, |field| not_empty(field)).map(str::to_owned);
    let prompt = match fields.get("select_speaker_prompt_template") {
        Some(field) if field.is_null() || field.scalar().is_some_and(|scalar| scalar.text.is_empty()) => None,
        Some(field) => field.text().map(str::to_owned),
        None => usual.prompt,
    };
    let roles =
        [("system", SelectionRole::System), ("user", SelectionRole::User), ("assistant", SelectionRole::Assistant)];
    let role = fields.read("role_for_select_speaker_messages", |field| field.one_of(&roles));
    let retries = fields.read("max_retries_for_selecting_speaker", |field| field.whole(0));
    let llm = fields.read("select_speaker_auto_llm", |field| {
        let name = field.name()?;
        reader.note_model(&name, field.problem(""));
        Some(ModelUse { name, parameters: super::ValueMap::new() })
    });
    SelectionPrompts {
        message: text("select_speaker_message_template").unwrap_or(usual.message),
        prompt,
        none: text("select_speaker_auto_none_template").unwrap_or(usual.none),
        several: text("select_speaker_auto_multiple_template").unwrap_or(usual.several),
        role: role.unwrap_or(usual.role),
        max_retries: retries.unwrap_or(usual.max_retries),
        verbose: fields.read("select_speaker_auto_verbose", FieldReader::bool).unwrap_or(false),
        llm,
    }
}

pub(super) fn group(reader: &StepReader<'_>, field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let fields = field.fields(&GROUP)?;
    let patterns = [
        ("default", GroupPattern::Default),
        ("auto", GroupPattern::Auto),
        ("round_robin", GroupPattern::RoundRobin),
        ("random", GroupPattern::Random),
        ("manual", GroupPattern::Manual),
    ];
    let pattern = fields.read("pattern", |field| field.one_of(&patterns)).unwrap_or(GroupPattern::Default);
    let agents = fields
        .read("agents", |field| at_least(1, reader.names().agents(field), field, "a group has at least one agent"));
    let user_agent = fields.get("user_agent").map(|field| reader.names().agent(&field));
    let initial_agent = fields.read("initial_agent", |field| {
        let name = reader.names().agent(field)?;
        if agents.as_ref().is_some_and(|agents| !agents.contains(&name)) {
            field.note(format!("{:?} is not in the group", name.as_str()));
        }
        Some(name)
    });
    let messages = fields.read("messages", |field| data(field, scope));
    let context = fields.read("context_variables", |field| entries(field, scope));
    let after_work = fields.read("after_work", |field| target(field, reader.names(), reader.declared()));
    let decides = matches!(pattern, GroupPattern::Auto | GroupPattern::Manual);
    if decides && fields.get("after_work").is_some() {
        let problem = fields.problem_at_key("after_work", "this pattern says by itself who speaks next");
        field.review.add(problem);
    }
    let manager = manager(reader, &fields);
    let summary = summary(&fields);
    let group = HandoffGroup {
        pattern,
        initial_agent: initial_agent?,
        agents: agents?,
        user_agent: match user_agent {
            Some(user_agent) => Some(user_agent?),
            None => None,
        },
        messages: messages?,
        context: context.unwrap_or_default(),
        after_work: after_work.unwrap_or(HandoffTarget::Terminate),
        max_rounds: fields.read("max_rounds", |field| field.whole(1)).unwrap_or(20),
        exclude_transit_message: fields.read("exclude_transit_message", FieldReader::bool).unwrap_or(true),
        manager: manager?,
        summary: summary?,
        on_cut: on_cut(&fields),
    };
    check_targets(reader, &fields, &group);
    Some(StepAction::Group(Box::new(group)))
}

/// Says which agents hand over to somebody who is not there.
fn check_targets(reader: &StepReader<'_>, fields: &MapReader<'_>, group: &HandoffGroup) {
    let mut targets: Vec<(Option<&Name>, &HandoffTarget)> = vec![(None, &group.after_work)];
    for name in &group.agents {
        let Some(agent) = reader.agents().get(name) else { continue };
        let AgentHandoffs { llm, context, after_work } = &agent.handoffs;
        targets.extend(llm.iter().map(|handoff| (Some(name), &handoff.target)));
        targets.extend(context.iter().chain(after_work).map(|handoff| (Some(name), &handoff.target)));
    }
    let is_there = |name: &Name| group.agents.contains(name) || group.user_agent.as_ref() == Some(name);
    let says = |from: Option<&Name>| match from {
        Some(name) => format!("the agent {:?} hands over", name.as_str()),
        None => "`after_work` hands over".to_owned(),
    };
    let mut said = BTreeSet::new();
    for (from, target) in targets {
        let message = match target {
            HandoffTarget::Agent(name) if !is_there(name) => {
                format!("{} to {:?}, who is not in the group", says(from), name.as_str())
            }
            HandoffTarget::Random(names) => match names.iter().find(|name| !is_there(name)) {
                Some(name) => format!("{} to {:?}, who is not in the group", says(from), name.as_str()),
                None => continue,
            },
            HandoffTarget::RevertToUser if group.user_agent.is_none() => {
                format!("{} to the user, and there is no `user_agent`", says(from))
            }
            HandoffTarget::GroupManager if group.manager.llm.is_none() => {
                format!("{} to the group's manager, who has no model", says(from))
            }
            _ => continue,
        };
        if said.insert(message.clone()) {
            fields.field.review.add(fields.problem_at_key("agents", message));
        }
    }
}

/// Doubts a chat of two in which one has tools that the other does not execute: each call of those fails, as in AG2.
fn doubt_executed(reader: &StepReader<'_>, fields: &MapReader<'_>, chat: &TwoAgentChat, sender: Option<&Name>) {
    let Some(sender) = sender.filter(|_| chat.max_turns != Some(1)) else { return };
    for (caller, executor) in [(&chat.recipient, sender), (sender, &chat.recipient)] {
        let agents = reader.agents();
        let (Some(caller), Some(executor)) = (agents.get(caller), agents.get(executor)) else { continue };
        if !caller.nested_chats.is_empty() {
            // It may hold those instead of asking its model.
            continue;
        }
        let set_of =
            |name: &Name| name.as_str().split_once('.').map_or_else(|| name.to_string(), |(set, _)| set.to_owned());
        let is_executed = |tool: &&Name| {
            let executes = executor.executes.iter();
            executes.clone().any(|one| one == *tool || one.as_str() == set_of(tool) || set_of(one) == tool.as_str())
        };
        let missing: Vec<&str> = caller.tools.iter().filter(|tool| !is_executed(tool)).map(Name::as_str).collect();
        if missing.is_empty() {
            continue;
        }
        let tools = missing.join(", ");
        let message =
            format!("{} may call {tools}, and {} does not execute it: such a call fails", caller.name, executor.name);
        let hint = format!("agents: {{ {}: {{ executes: [{tools}] }} }}", executor.name);
        reader.note_doubt(fields.problem_at_key("recipient", message).with_hint(hint));
    }
}

fn not_with_itself(fields: &MapReader<'_>, sender: Option<&Name>, recipient: &Name) {
    if sender == Some(recipient)
        && let Some(field) = fields.get("recipient")
    {
        field.note("an agent does not chat with itself");
    }
}

/// Names, of which there are so many; a name that is wrong counts, it was noted already.
fn at_least(least: usize, names: Option<Vec<Name>>, field: &FieldReader<'_>, says: &str) -> Option<Vec<Name>> {
    let names = names?;
    if field.items().is_some_and(|items| items.len() < least) {
        field.note(says);
    }
    Some(names)
}

fn not_empty<'a>(field: &FieldReader<'a>) -> Option<&'a str> {
    let text = field.text()?;
    if text.is_empty() {
        field.note("there is nothing here");
    }
    Some(text)
}

fn first_message(fields: &MapReader<'_>, scope: &NameScope<'_>) -> Option<DataTemplate> {
    let field = fields.get("message").filter(|field| !field.is_null())?;
    if field.is_list() {
        return field.is_not("a message: a text or a map");
    }
    data(&field, scope)
}

fn summary(fields: &MapReader<'_>) -> Option<SummaryMethod> {
    #[derive(Clone, Copy, PartialEq)]
    enum WrittenSummaryMethod {
        Last,
        Reflection,
        Nothing,
    }
    let words = [
        ("last_msg", WrittenSummaryMethod::Last),
        ("reflection_with_llm", WrittenSummaryMethod::Reflection),
        ("none", WrittenSummaryMethod::Nothing),
    ];
    let method = fields.get("summary_method").map_or(Some(WrittenSummaryMethod::Last), |field| field.one_of(&words));
    let (prompt, role) = summary_args(fields, method.is_none_or(|method| method == WrittenSummaryMethod::Reflection));
    Some(match method? {
        WrittenSummaryMethod::Last => SummaryMethod::LastMessage,
        WrittenSummaryMethod::Reflection => SummaryMethod::Reflection { prompt, role },
        WrittenSummaryMethod::Nothing => SummaryMethod::Nothing,
    })
}

fn summary_args(fields: &MapReader<'_>, of_use: bool) -> (Option<String>, Option<String>) {
    let arguments = fields.read("summary_args", |field| field.fields(&SUMMARY_ARGS));
    let argument = |key| arguments.as_ref().and_then(|fields| fields.read(key, FieldReader::text)).map(str::to_owned);
    if arguments.is_some() && !of_use {
        let problem = fields.problem_at_key("summary_args", "only a model has use for this");
        fields.field.review.add(problem.with_hint("add `summary_method: reflection_with_llm`"));
    }
    (argument("summary_prompt"), argument("summary_role"))
}

/// `nested_chats` of an agent.
pub(super) fn nested_chats(
    field: &FieldReader<'_>,
    names: &DeclaredNames,
    declared: &WorkflowDeclarations,
) -> Option<Vec<NestedChats>> {
    let read = |item: &FieldReader<'_>| {
        let fields = item.fields(&NESTED_CHATS)?;
        let trigger = match (fields.get("trigger"), fields.get("trigger_except")) {
            (Some(field), None) if field.is_list() => names.agents(&field).map(NestedChatTrigger::From),
            (Some(field), None) => names.agent(&field).map(|name| NestedChatTrigger::From(vec![name])),
            (None, Some(field)) => names.agents(&field).map(NestedChatTrigger::Except),
            _ => {
                item.note_with_hint("nested chats have either `trigger` or `trigger_except`", "they name agents");
                None
            }
        };
        let chats = fields.read("chats", |field| nested_queue(field, names, declared));
        Some(NestedChats { trigger: trigger?, chats: chats? })
    };
    Some(field.items()?.iter().filter_map(read).collect())
}

fn nested_queue(
    field: &FieldReader<'_>,
    names: &DeclaredNames,
    declared: &WorkflowDeclarations,
) -> Option<Vec<NestedChat>> {
    let items = field.items()?;
    if items.is_empty() {
        field.note("there is no chat here");
    }
    let chats = items.iter().enumerate().map(|(index, item)| nested_chat(item, index, names, declared));
    Some(chats.collect::<Vec<_>>().into_iter().flatten().collect())
}

fn nested_chat(
    field: &FieldReader<'_>,
    index: usize,
    names: &DeclaredNames,
    declared: &WorkflowDeclarations,
) -> Option<NestedChat> {
    let fields = field.fields(&NESTED_CHAT)?;
    let sender = fields.get("sender").map(|field| names.agent(&field));
    let recipient = fields.read("recipient", |field| names.agent(field));
    let carryover = fields.read("carryover_config", |field| {
        if index > 0 {
            field.note("only the first chat carries over what was said outside");
        }
        carryover_config(field)
    });
    Some(NestedChat {
        message: first_message(&fields, &NameScope::only(declared, "message")),
        max_turns: fields.read("max_turns", |field| field.whole(1)),
        summary: summary(&fields)?,
        carryover,
        clear_history: fields.read("clear_history", FieldReader::bool).unwrap_or(true),
        silent: fields.read("silent", FieldReader::bool).unwrap_or(false),
        on_cut: on_cut(&fields),
        sender: match sender {
            Some(sender) => Some(sender?),
            None => None,
        },
        recipient: recipient?,
    })
}

fn carryover_config(field: &FieldReader<'_>) -> Option<NestedCarryover> {
    #[derive(Clone, Copy, PartialEq)]
    enum WrittenCarryoverMethod {
        All,
        Last,
        Reflection,
    }
    let fields = field.fields(&CARRYOVER_CONFIG)?;
    let words = [
        ("all", WrittenCarryoverMethod::All),
        ("last_msg", WrittenCarryoverMethod::Last),
        ("reflection_with_llm", WrittenCarryoverMethod::Reflection),
    ];
    let method = fields.read("summary_method", |field| field.one_of(&words));
    let (prompt, role) =
        summary_args(&fields, method.is_none_or(|method| method == WrittenCarryoverMethod::Reflection));
    Some(match method? {
        WrittenCarryoverMethod::All => NestedCarryover::All,
        WrittenCarryoverMethod::Last => NestedCarryover::LastMessage,
        WrittenCarryoverMethod::Reflection => NestedCarryover::Reflection { prompt, role },
    })
}

/// `handoffs` of an agent.
pub(super) fn handoffs(
    field: &FieldReader<'_>,
    names: &DeclaredNames,
    declared: &WorkflowDeclarations,
) -> Option<AgentHandoffs> {
    let fields = field.fields(&HANDOFFS)?;
    let scope = NameScope::only(declared, "context");
    let llm = |item: &FieldReader<'_>| {
        let fields = item.fields(&LLM_HANDOFF)?;
        let target = fields.read("target", |field| target(field, names, declared));
        let prompt = fields.read("prompt", |field| template(field, &scope));
        let available = fields.read("available", |field| expression(field, &scope));
        Some(LlmHandoff { target: target?, prompt: prompt?, available })
    };
    let conditional = |item: &FieldReader<'_>| {
        let fields = item.fields(&AFTER_WORK)?;
        let target = fields.read("target", |field| target(field, names, declared));
        let when = fields.read("when", |field| expression(field, &scope));
        let available = fields.read("available", |field| expression(field, &scope));
        Some(ContextHandoff { target: target?, when, available })
    };
    let always = |target: HandoffTarget| ContextHandoff { target, when: None, available: None };
    let after_work = fields.read("after_work", |field| {
        if !field.is_list() {
            return target(field, names, declared).map(|target| vec![always(target)]);
        }
        let item = |item: &FieldReader<'_>| match item.is_map() && item.node.get("target").is_some() {
            true => conditional(item),
            false => target(item, names, declared).map(always),
        };
        let items = field.items()?;
        let read: Vec<ContextHandoff> = items.iter().filter_map(item).collect();
        let unconditional = read.iter().position(|handoff| handoff.when.is_none() && handoff.available.is_none());
        if let Some(item) = unconditional.and_then(|index| items.get(index + 1)) {
            item.note_with_hint("this never counts", "what stands before it has no condition");
        }
        Some(read)
    });
    Some(AgentHandoffs {
        llm: fields.read("llm", |field| Some(field.items()?.iter().filter_map(llm).collect())).unwrap_or_default(),
        context: fields
            .read("context", |field| Some(field.items()?.iter().filter_map(conditional).collect()))
            .unwrap_or_default(),
        after_work: after_work.unwrap_or_default(),
    })
}

/// A target: an agent's name, one of the words, or a map.
fn target(field: &FieldReader<'_>, names: &DeclaredNames, declared: &WorkflowDeclarations) -> Option<HandoffTarget> {
    if !field.is_map() {
        let word = field.scalar().and_then(|scalar| HandoffTarget::word(&scalar.text));
        let words = HandoffTarget::WORDS.map(|(word, _)| word);
        return word.or_else(|| names.agent_or_word(field, &words).map(HandoffTarget::Agent));
    }
    let fields = field.fields(&TARGET)?;
    match (fields.get("agent"), fields.get("random"), fields.get("nested_chats")) {
        (Some(field), None, None) => names.agent(&field).map(HandoffTarget::Agent),
        (None, Some(field), None) => {
            at_least(1, names.agents(&field), &field, "there is nobody to choose from").map(HandoffTarget::Random)
        }
        (None, None, Some(field)) => nested_queue(&field, names, declared).map(HandoffTarget::NestedChats),
        _ => {
            field.note("a target is an agent's name, a word, or one of `agent`, `random` and `nested_chats`");
            None
        }
    }
}

/// An agent that has tools to offer needs a model to offer them to, and only a model's replies are cut off.
pub(super) fn check_tools(fields: &MapReader<'_>, agent: &Agent) {
    if agent.llm.is_none() && !agent.tools.is_empty() {
        let problem = fields.problem_at_key("tools", "the agent has no model that could call them");
        fields.field.review.add(problem.with_hint("give it an `llm`; who executes tools has them in `executes`"));
    }
    if agent.llm.is_none() && agent.on_cut.is_some() {
        let problem = fields.problem_at_key("on_cut", "the agent has no model whose replies could be cut off");
        fields.field.review.add(problem.with_hint("give it an `llm`, or leave this out"));
    }
}
