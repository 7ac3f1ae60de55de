//! Who speaks next in a group (`docs/reference/ag2-semantics.md`, section 6, "Selection"): who may, and which of them: in
//! order, by chance, by a person's choice or by a model's.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::chat::human::ask_person;
use crate::chat::memory::wire;
use crate::chat::parties::{SpeakerGroup, SpeakerSelection};
use crate::chat::pattern::{NextSpeaker, next_in_pattern};
use crate::chat::thoughts::behind_thoughts;
use crate::chat::{ChatEvent, ConversationContext, IdentifiedReply, RememberedMessage, Result, WorkflowStop, own_name};
use crate::ids::Name;
use crate::message::{ShortTextInput, TextInput};
use crate::protocol::dialogue::{ChatMessage, ChatRole, ModelRequest};
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, SelectionMethod, SelectionPrompts, SelectionRole, SpeakerTransitions};

const WHO_NEXT: &str = "Enter the number of the next speaker (enter nothing or `q` to use auto selection): ";
/// How often a person is asked for a number before somebody else decides.
const MOST_TRIES: u32 = 2;
const CHECKER: &str = "checking_agent";
const SELECTOR: &str = "speaker_selection_agent";

/// Who speaks after `last`; none: nobody may.
pub(super) async fn next_speaker(
    ctx: &mut ConversationContext<'_>,
    group: &SpeakerGroup,
    last: &Arc<Agent>,
) -> Result<Option<Arc<Agent>>> {
    let method = match group.speaker_selection {
        SpeakerSelection::Method(method) => method,
        SpeakerSelection::Pattern => match next_in_pattern(ctx, group, last).await? {
            NextSpeaker::Speaker(speaker) => return Ok(Some(speaker)),
            NextSpeaker::Nobody => return Ok(None),
            NextSpeaker::Chosen(method) => method,
        },
    };
    let candidates = match candidates(ctx, group, last)? {
        SpeakerCandidates::One(only) => return Ok(Some(only)),
        SpeakerCandidates::Several(several) => several,
        SpeakerCandidates::Nobody => return Ok(None),
    };
    match method {
        SelectionMethod::RoundRobin => Ok(Some(next_in_order(group, last, &candidates))),
        SelectionMethod::Random => {
            let names: Vec<Name> = candidates.iter().map(|agent| agent.name.clone()).collect();
            let chosen = ctx.effects.choose(&names).await?;
            Ok(candidates.get(chosen).cloned())
        }
        SelectionMethod::Manual => match ask_for_speaker(ctx, group, &candidates).await? {
            Some(chosen) => Ok(Some(chosen)),
            // The prompt promises a model's choice, which only a group that hands over keeps.
            None if group.speaker_selection == SpeakerSelection::Method(SelectionMethod::Manual) => {
                Ok(Some(next_in_order(group, last, &group.members)))
            }
            None => ask_model_for_speaker(ctx, group, last, &candidates).await.map(Some),
        },
        SelectionMethod::Auto => ask_model_for_speaker(ctx, group, last, &candidates).await.map(Some),
    }
}

enum SpeakerCandidates {
    One(Arc<Agent>),
    Several(Vec<Arc<Agent>>),
    Nobody,
}

/// Who may speak: whoever can execute the tools that were called, and is allowed to speak after the last one.
fn candidates(ctx: &ConversationContext<'_>, group: &SpeakerGroup, last: &Agent) -> Result<SpeakerCandidates> {
    let members = &group.members;
    if members.len() < 2 {
        return Err(WorkflowStop::failed(FailureKind::Workflow, "a group has at least two members"));
    }
    let mut able: Vec<Arc<Agent>> = members.clone();
    if let Some(said) = ctx.memory.group(&group.manager.name).last()
        && !said.tool_calls.is_empty()
    {
        let called: Vec<&str> = said.tool_calls.iter().map(|call| call.function.name.as_str()).collect();
        let can_all =
            |agent: &Arc<Agent>| called.iter().all(|name| agent.executes.iter().any(|tool| tool.as_str() == *name));
        able = members.iter().filter(|agent| can_all(agent)).cloned().collect();
        if able.is_empty() {
            able = members.iter().filter(|agent| !agent.executes.is_empty()).cloned().collect();
        }
        match able.as_slice() {
            [] => {
                let problem = format!("no agent of the group can execute the tool {}", called.join(", "));
                return Err(WorkflowStop::failed(FailureKind::Tool, problem));
            }
            [only] => return Ok(SpeakerCandidates::One(only.clone())),
            _ => {}
        }
    }
    if !group.is_member(&last.name) {
        return Ok(SpeakerCandidates::Several(members.clone()));
    }
    let allowed = |agent: &Arc<Agent>| match &group.transitions {
        SpeakerTransitions::All => Some(true),
        SpeakerTransitions::Repeating(names) => Some(agent.name != last.name || names.contains(&agent.name)),
        SpeakerTransitions::Allowed(map) => map.get(&last.name).map(|after| after.contains(&agent.name)),
        SpeakerTransitions::Disallowed(map) => {
            Some(!map.get(&last.name).is_some_and(|after| after.contains(&agent.name)))
        }
    };
    let mut eligible = Vec::new();
    for agent in &able {
        match allowed(agent) {
            Some(true) => eligible.push(agent.clone()),
            Some(false) => {}
            None => return Ok(SpeakerCandidates::Nobody),
        }
    }
    Ok(match eligible.as_slice() {
        [] => SpeakerCandidates::Several(members.clone()),
        [only] => SpeakerCandidates::One(only.clone()),
        _ => SpeakerCandidates::Several(eligible),
    })
}

/// The first candidate after `last`, in the order of the members; the first member after somebody who is none.
fn next_in_order(group: &SpeakerGroup, last: &Agent, candidates: &[Arc<Agent>]) -> Arc<Agent> {
    let members = &group.members;
    let after = members.iter().position(|member| member.name == last.name).map_or(0, |index| index + 1);
    let from_there = members.iter().cycle().skip(after).take(members.len());
    let is_candidate = |member: &&Arc<Agent>| candidates.iter().any(|candidate| candidate.name == member.name);
    from_there.clone().find(is_candidate).or_else(|| members.first()).cloned().expect("a group has members")
}

/// A person's choice, by number; none: the person leaves it to others.
async fn ask_for_speaker(
    ctx: &mut ConversationContext<'_>,
    group: &SpeakerGroup,
    candidates: &[Arc<Agent>],
) -> Result<Option<Arc<Agent>>> {
    let manager = group.manager.name.clone();
    let agents: Vec<Name> = candidates.iter().map(|agent| agent.name.clone()).collect();
    ctx.tell(ChatEvent::SelectSpeaker { manager: manager.clone(), agents: agents.clone() }).await?;
    for _ in 0..MOST_TRIES {
        let says = TextInput {
            prompt: Some(WHO_NEXT.to_owned()),
            suggestions: (1..=agents.len()).map(|number| number.to_string()).collect(),
            in_short: Some(who_next(&agents, group.speaker_selection)),
            ..TextInput::default()
        };
        let input = ask_person(&manager, group.manager.answerers.as_ref(), says, ctx.effects).await?;
        if input.is_empty() || input == "q" {
            return Ok(None);
        }
        let number = input.trim().parse::<usize>().ok();
        if let Some(chosen) = number.and_then(|number| candidates.get(number.checked_sub(1)?)) {
            return Ok(Some(chosen.clone()));
        }
        ctx.tell(ChatEvent::SelectSpeakerInvalidInput { agents: agents.clone() }).await?;
    }
    ctx.tell(ChatEvent::SelectSpeakerTryCountExceeded { try_count: MOST_TRIES + 1, agents }).await?;
    Ok(None)
}

fn who_next(agents: &[Name], speaker_selection: SpeakerSelection) -> ShortTextInput {
    let numbered = agents.iter().enumerate().map(|(index, name)| (name.to_string(), (index + 1).to_string()));
    // As `next_speaker` goes on then.
    let others = match speaker_selection {
        SpeakerSelection::Method(_) => "The next in line",
        SpeakerSelection::Pattern => "Let a model choose",
    };
    ShortTextInput::new("Who speaks next?", numbered.chain([(others.to_owned(), String::new())]))
}

/// A model's choice. An answer that names nobody, or several, is asked again; at last it is the next in order.
async fn ask_model_for_speaker(
    ctx: &mut ConversationContext<'_>,
    group: &SpeakerGroup,
    last: &Agent,
    candidates: &[Arc<Agent>],
) -> Result<Arc<Agent>> {
    let selection = &group.selection;
    let Some(llm) = selection.llm.as_ref().or(group.manager.llm.as_ref()) else {
        let problem = format!(
            "the group's manager {:?} has no model that could select a speaker: give it an llm, or select otherwise",
            group.manager.name.as_str()
        );
        return Err(WorkflowStop::failed(FailureKind::Workflow, problem));
    };
    let mut messages = vec![Arc::new(ChatMessage::new(ChatRole::System, filled(&selection.message, candidates)))];
    let said = said_so_far(ctx, group);
    messages.extend(wire(&said));
    let asked = match &selection.prompt {
        Some(prompt) => checker_says(selection, &filled(prompt, candidates)),
        None => said.last().map(|line| wire([line])).unwrap_or_default(),
    };
    tell_selection(ctx, selection, CHECKER, SELECTOR, &asked).await?;
    messages.extend(asked);
    for retries_left in (0..=selection.max_retries).rev() {
        let parameters = llm.parameters.clone();
        let request = ModelRequest { messages: messages.clone(), parameters, ..ModelRequest::default() };
        let IdentifiedReply { reply, .. } =
            ctx.effects.ask_model(llm, request, None).await?.map_err(WorkflowStop::Failed)?;
        let answer = reply.content.unwrap_or_default();
        let answered = vec![Arc::new(ChatMessage {
            name: Some(SELECTOR.to_owned()),
            ..ChatMessage::new(ChatRole::Assistant, answer.as_str())
        })];
        tell_selection(ctx, selection, SELECTOR, CHECKER, &answered).await?;
        messages.extend(answered);
        // Who was only thought of is not chosen.
        let choice = behind_thoughts(&answer);
        // The two who select talk as all agents do, and so this word ends it.
        if answer == "TERMINATE" {
            break;
        }
        let template = match mentioned(choice, candidates).as_slice() {
            [one] => return Ok((*one).clone()),
            [] => &selection.none,
            _ => &selection.several,
        };
        if retries_left > 0 {
            let again = checker_says(selection, &filled(template, candidates));
            tell_selection(ctx, selection, CHECKER, SELECTOR, &again).await?;
            messages.extend(again);
        }
    }
    Ok(next_in_order(group, last, candidates))
}

/// What the group said, without the calls of its last message: nobody is to answer them here.
fn said_so_far(ctx: &ConversationContext<'_>, group: &SpeakerGroup) -> Vec<RememberedMessage> {
    let mut said: Vec<RememberedMessage> =
        ctx.memory.group(&group.manager.name).iter().map(|line| RememberedMessage::clone(line)).collect();
    if let Some(last) = said.last_mut() {
        last.message_mut().tool_calls.clear();
    }
    said
}

fn checker_says(selection: &SelectionPrompts, text: &str) -> Vec<Arc<ChatMessage>> {
    let role = match selection.role {
        SelectionRole::System => ChatRole::System,
        SelectionRole::User => ChatRole::User,
        SelectionRole::Assistant => ChatRole::Assistant,
    };
    vec![Arc::new(ChatMessage { name: Some(CHECKER.to_owned()), ..ChatMessage::new(role, text) })]
}

async fn tell_selection(
    ctx: &ConversationContext<'_>,
    selection: &SelectionPrompts,
    sender: &str,
    recipient: &str,
    said: &[Arc<ChatMessage>],
) -> Result<()> {
    if !selection.verbose {
        return Ok(());
    }
    let content = said.last().map(|message| message.content.clone()).unwrap_or(Value::Null);
    let (sender, recipient) = (own_name(sender), own_name(recipient));
    ctx.tell(ChatEvent::Text { sender, recipient, content: json!(content), cut: None, refusal: None }).await
}

/// A template with `{roles}` and `{agentlist}` filled in.
fn filled(template: &str, candidates: &[Arc<Agent>]) -> String {
    let quoted: Vec<String> = candidates.iter().map(|agent| format!("'{}'", agent.name)).collect();
    let agentlist = format!("[{}]", quoted.join(", "));
    // The list goes first: a description may have braces in it.
    template.replace("{agentlist}", &agentlist).replace("{roles}", &SpeakerGroup::roles(candidates))
}

/// The candidates whose names are in a text, each as a word by itself; `_` may be a space, or escaped.
fn mentioned<'a>(text: &str, candidates: &'a [Arc<Agent>]) -> Vec<&'a Arc<Agent>> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let stands_alone = |name: &str| {
        text.match_indices(name).any(|(at, _)| {
            !text[..at].chars().next_back().is_some_and(is_word)
                && !text[at + name.len()..].chars().next().is_some_and(is_word)
        })
    };
    let is_mentioned = |agent: &&Arc<Agent>| {
        let name = agent.name.as_str();
        stands_alone(name) || stands_alone(&name.replace('_', " ")) || stands_alone(&name.replace('_', "\\_"))
    };
    candidates.iter().filter(is_mentioned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::HumanInputMode;

    #[test]
    fn a_name_counts_where_it_stands_alone() {
        let agent = |name: &str| Arc::new(Agent::without_model(Name::parse(name).unwrap(), HumanInputMode::Never));
        let agents = [agent("Story_writer"), agent("Story")];
        let names = |text: &str| -> Vec<&str> {
            mentioned(text, &agents).into_iter().map(|agent| agent.name.as_str()).collect()
        };
        assert_eq!(names("Story_writer"), ["Story_writer"]);
        assert_eq!(names("the Story writer."), ["Story_writer", "Story"]);
        assert_eq!(names("**Story\\_writer**"), ["Story_writer", "Story"]);
        assert_eq!(names("Storyteller, story"), Vec::<&str>::new());
        assert_eq!(names("Story-Story"), ["Story"]);
        assert_eq!(names("éStory"), Vec::<&str>::new());
    }
}
