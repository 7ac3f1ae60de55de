//! Who speaks next in a group (`docs/reference/ag2-semantics.md`, section 6, "Selection"): who may, and which of them: in
//! order, by chance, by a person's choice or by a model's.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::chat::human::ask_person;
use crate::chat::memory::{unnamed, wire};
use crate::chat::parties::{Floor, Group};
use crate::chat::pattern::{Next, next_in_pattern};
use crate::chat::{Event, Line, Replied, Result, Stage, Stop, own_name};
use crate::ids::Name;
use crate::message::{InShort, TextInput};
use crate::protocol::dialogue::{ChatMessage, Request, Role};
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, Selection, SelectionMethod, SelectionRole, Transitions};

const WHO_NEXT: &str = "Enter the number of the next speaker (enter nothing or `q` to use auto selection): ";
/// How often a person is asked for a number before somebody else decides.
const MOST_TRIES: u32 = 2;
const CHECKER: &str = "checking_agent";
const SELECTOR: &str = "speaker_selection_agent";

/// Who speaks after `last`; none: nobody may.
pub(super) async fn next_speaker(
    stage: &mut Stage<'_>,
    group: &Group,
    last: &Arc<Agent>,
) -> Result<Option<Arc<Agent>>> {
    let method = match group.floor {
        Floor::Method(method) => method,
        Floor::Pattern => match next_in_pattern(stage, group, last).await? {
            Next::Speaker(speaker) => return Ok(Some(speaker)),
            Next::Nobody => return Ok(None),
            Next::Chosen(method) => method,
        },
    };
    let candidates = match candidates(stage, group, last)? {
        Candidates::One(only) => return Ok(Some(only)),
        Candidates::Several(several) => several,
        Candidates::Nobody => return Ok(None),
    };
    match method {
        SelectionMethod::RoundRobin => Ok(Some(next_in_order(group, last, &candidates))),
        SelectionMethod::Random => {
            let names: Vec<Name> = candidates.iter().map(|agent| agent.name.clone()).collect();
            let chosen = stage.fx.choose(&names).await?;
            Ok(candidates.get(chosen).cloned())
        }
        SelectionMethod::Manual => match ask_for_speaker(stage, group, &candidates).await? {
            Some(chosen) => Ok(Some(chosen)),
            // The prompt promises a model's choice, which only a group that hands over keeps.
            None if group.floor == Floor::Method(SelectionMethod::Manual) => {
                Ok(Some(next_in_order(group, last, &group.members)))
            }
            None => ask_model_for_speaker(stage, group, last, &candidates).await.map(Some),
        },
        SelectionMethod::Auto => ask_model_for_speaker(stage, group, last, &candidates).await.map(Some),
    }
}

enum Candidates {
    One(Arc<Agent>),
    Several(Vec<Arc<Agent>>),
    Nobody,
}

/// Who may speak: whoever can execute the tools that were called, and is allowed to speak after the last one.
fn candidates(stage: &Stage<'_>, group: &Group, last: &Agent) -> Result<Candidates> {
    let members = &group.members;
    if members.len() < 2 {
        return Err(Stop::failed(FailureKind::Workflow, "a group has at least two members"));
    }
    let mut able: Vec<Arc<Agent>> = members.clone();
    if let Some(said) = stage.memory.group(&group.manager.name).last()
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
                return Err(Stop::failed(FailureKind::Tool, problem));
            }
            [only] => return Ok(Candidates::One(only.clone())),
            _ => {}
        }
    }
    if !group.is_member(&last.name) {
        return Ok(Candidates::Several(members.clone()));
    }
    let allowed = |agent: &Arc<Agent>| match &group.transitions {
        Transitions::All => Some(true),
        Transitions::Repeating(names) => Some(agent.name != last.name || names.contains(&agent.name)),
        Transitions::Allowed(map) => map.get(&last.name).map(|after| after.contains(&agent.name)),
        Transitions::Disallowed(map) => Some(!map.get(&last.name).is_some_and(|after| after.contains(&agent.name))),
    };
    let mut eligible = Vec::new();
    for agent in &able {
        match allowed(agent) {
            Some(true) => eligible.push(agent.clone()),
            Some(false) => {}
            None => return Ok(Candidates::Nobody),
        }
    }
    Ok(match eligible.as_slice() {
        [] => Candidates::Several(members.clone()),
        [only] => Candidates::One(only.clone()),
        _ => Candidates::Several(eligible),
    })
}

/// The first candidate after `last`, in the order of the members; the first member after somebody who is none.
fn next_in_order(group: &Group, last: &Agent, candidates: &[Arc<Agent>]) -> Arc<Agent> {
    let members = &group.members;
    let after = members.iter().position(|member| member.name == last.name).map_or(0, |index| index + 1);
    let from_there = members.iter().cycle().skip(after).take(members.len());
    let is_candidate = |member: &&Arc<Agent>| candidates.iter().any(|candidate| candidate.name == member.name);
    from_there.clone().find(is_candidate).or_else(|| members.first()).cloned().expect("a group has members")
}

/// A person's choice, by number; none: the person leaves it to others.
async fn ask_for_speaker(
    stage: &mut Stage<'_>,
    group: &Group,
    candidates: &[Arc<Agent>],
) -> Result<Option<Arc<Agent>>> {
    let manager = group.manager.name.clone();
    let agents: Vec<Name> = candidates.iter().map(|agent| agent.name.clone()).collect();
    stage.tell(Event::SelectSpeaker { manager: manager.clone(), agents: agents.clone() }).await?;
    for _ in 0..MOST_TRIES {
        let says = TextInput {
            prompt: Some(WHO_NEXT.to_owned()),
            suggestions: (1..=agents.len()).map(|number| number.to_string()).collect(),
            in_short: Some(who_next(&agents, group.floor)),
            ..TextInput::default()
        };
        let input = ask_person(manager.as_str(), says, stage.fx).await?;
        if input.is_empty() || input == "q" {
            return Ok(None);
        }
        let number = input.trim().parse::<usize>().ok();
        if let Some(chosen) = number.and_then(|number| candidates.get(number.checked_sub(1)?)) {
            return Ok(Some(chosen.clone()));
        }
        stage.tell(Event::SelectSpeakerInvalidInput { agents: agents.clone() }).await?;
    }
    stage.tell(Event::SelectSpeakerTryCountExceeded { try_count: MOST_TRIES + 1, agents }).await?;
    Ok(None)
}

fn who_next(agents: &[Name], floor: Floor) -> InShort {
    let numbered = agents.iter().enumerate().map(|(index, name)| (name.to_string(), (index + 1).to_string()));
    // As `next_speaker` goes on then.
    let others = match floor {
        Floor::Method(_) => "The next in line",
        Floor::Pattern => "Let a model choose",
    };
    InShort::new("Who speaks next?", numbered.chain([(others.to_owned(), String::new())]))
}

/// A model's choice. An answer that names nobody, or several, is asked again; at last it is the next in order.
async fn ask_model_for_speaker(
    stage: &mut Stage<'_>,
    group: &Group,
    last: &Agent,
    candidates: &[Arc<Agent>],
) -> Result<Arc<Agent>> {
    let selection = &group.selection;
    let Some(llm) = selection.llm.as_ref().or(group.manager.llm.as_ref()) else {
        let problem = format!(
            "the group's manager {:?} has no model that could select a speaker: give it an llm, or select otherwise",
            group.manager.name.as_str()
        );
        return Err(Stop::failed(FailureKind::Workflow, problem));
    };
    let mut messages = vec![Arc::new(unnamed(Role::System, filled(&selection.message, candidates)))];
    let said = said_so_far(stage, group);
    messages.extend(wire(&said));
    let asked = match &selection.prompt {
        Some(prompt) => checker_says(selection, &filled(prompt, candidates)),
        None => said.last().map(|line| wire([line])).unwrap_or_default(),
    };
    tell_selection(stage, selection, CHECKER, SELECTOR, &asked).await?;
    messages.extend(asked);
    for retries_left in (0..=selection.max_retries).rev() {
        let parameters = llm.parameters.clone();
        let request = Request { messages: messages.clone(), parameters, ..Request::default() };
        let Replied { reply, .. } = stage.fx.ask_model(llm, request, None).await?.map_err(Stop::Failed)?;
        let answer = reply.content.unwrap_or_default();
        let answered = vec![Arc::new(ChatMessage {
            name: Some(SELECTOR.to_owned()),
            ..unnamed(Role::Assistant, answer.as_str())
        })];
        tell_selection(stage, selection, SELECTOR, CHECKER, &answered).await?;
        messages.extend(answered);
        // The two who select talk as all agents do, and so this word ends it.
        if answer == "TERMINATE" {
            break;
        }
        let template = match mentioned(&answer, candidates).as_slice() {
            [one] => return Ok((*one).clone()),
            [] => &selection.none,
            _ => &selection.several,
        };
        if retries_left > 0 {
            let again = checker_says(selection, &filled(template, candidates));
            tell_selection(stage, selection, CHECKER, SELECTOR, &again).await?;
            messages.extend(again);
        }
    }
    Ok(next_in_order(group, last, candidates))
}

/// What the group said, without the calls of its last message: nobody is to answer them here.
fn said_so_far(stage: &Stage<'_>, group: &Group) -> Vec<Line> {
    let mut said: Vec<Line> = stage.memory.group(&group.manager.name).iter().map(|line| Line::clone(line)).collect();
    if let Some(last) = said.last_mut() {
        last.message_mut().tool_calls.clear();
    }
    said
}

fn checker_says(selection: &Selection, text: &str) -> Vec<Arc<ChatMessage>> {
    let role = match selection.role {
        SelectionRole::System => Role::System,
        SelectionRole::User => Role::User,
        SelectionRole::Assistant => Role::Assistant,
    };
    vec![Arc::new(ChatMessage { name: Some(CHECKER.to_owned()), ..unnamed(role, text) })]
}

async fn tell_selection(
    stage: &Stage<'_>,
    selection: &Selection,
    sender: &str,
    recipient: &str,
    said: &[Arc<ChatMessage>],
) -> Result<()> {
    if !selection.verbose {
        return Ok(());
    }
    let content = said.last().map(|message| message.content.clone()).unwrap_or(Value::Null);
    stage.tell(Event::Text { sender: own_name(sender), recipient: own_name(recipient), content: json!(content) }).await
}

/// A template with `{roles}` and `{agentlist}` filled in.
fn filled(template: &str, candidates: &[Arc<Agent>]) -> String {
    let quoted: Vec<String> = candidates.iter().map(|agent| format!("'{}'", agent.name)).collect();
    let agentlist = format!("[{}]", quoted.join(", "));
    // The list goes first: a description may have braces in it.
    template.replace("{agentlist}", &agentlist).replace("{roles}", &Group::roles(candidates))
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
