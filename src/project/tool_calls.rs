//! Whether the steps that call tools name tools that there are, with arguments that these take. What only a run knows is left to it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::findings::ProjectFindings;
use super::set_outline::{SetOutline, near_tool};
use crate::chat::fitted_arguments;
use crate::ids::Name;
use crate::problem::{Problem, did_you_mean};
use crate::schema;
use crate::workflow::{ToolCallStep, ToolsetDeclaration, Workflow, WorkflowTool, WrittenArgument};

/// What is known of each set that could be looked at; none: only its owner knows its tools.
pub(super) type SetOutlines = BTreeMap<Name, Option<SetOutline>>;

/// What is wrong with the calls of a workflow whose sets have the tools that are known.
pub(super) fn check_tool_calls(workflow: &Workflow, outlines: &SetOutlines) -> ProjectFindings {
    let mut found = ProjectFindings::default();
    for call in workflow.tool_calls() {
        match check_name(workflow, outlines, call) {
            CalledName::Wrong(problem) => found.problems.push(problem),
            CalledName::Doubtful(warning) => found.warnings.push(warning),
            CalledName::Unknown => {}
            CalledName::Tool(tool) => found.problems.extend(check_arguments(workflow, tool, call)),
        }
    }
    for (name, at) in workflow.offered_by_steps() {
        let Some((set, tool)) = name.as_str().split_once('.') else { continue };
        let Some(set) = workflow.tools.sets().get(set) else { continue };
        let outline = outlines.get(&set.name).and_then(Option::as_ref);
        found.problems.extend(wrong_member(set, outline, tool, at));
    }
    found
}

/// What the name in a call stands for.
enum CalledName<'w> {
    Tool(&'w WorkflowTool),
    /// It is known when a run begins.
    Unknown,
    Doubtful(Problem),
    Wrong(Problem),
}

fn check_name<'w>(workflow: &'w Workflow, outlines: &SetOutlines, call: &ToolCallStep) -> CalledName<'w> {
    let (set, tool) = match call.tool.as_str().split_once('.') {
        Some((set, tool)) => (set, Some(tool)),
        None => (call.tool.as_str(), None),
    };
    if let Some(set) = workflow.tools.sets().get(set) {
        // A set in which something is wrong says nothing of its tools.
        let Some(outline) = outlines.get(&set.name) else { return CalledName::Unknown };
        let checked = match tool {
            Some(tool) => wrong_member(set, outline.as_ref(), tool, &call.problem).map(CalledName::Wrong),
            None => check_whole_set(set, outline.as_ref(), call),
        };
        if let Some(checked) = checked {
            return checked;
        }
    }
    match workflow.tools.named(&call.tool)[..] {
        [tool] => CalledName::Tool(tool),
        _ => CalledName::Unknown,
    }
}

/// What is wrong with `set.tool`.
fn wrong_member(set: &ToolsetDeclaration, outline: Option<&SetOutline>, tool: &str, at: &Problem) -> Option<Problem> {
    let name = &set.name;
    let (message, hint) = if set.is_single() {
        (format!("{name} is one tool, and no set of tools"), format!("write {name} alone"))
    } else {
        let outline = outline.filter(|outline| !outline.may_have(tool))?;
        (format!("the set {name} has no tool {tool:?}"), near_tool(set, outline, tool))
    };
    Some(Problem { message, ..at.clone() }.with_hint(hint))
}

/// What is wrong with the name of a set alone, which stands for its tool if it has one only.
fn check_whole_set<'w>(
    set: &ToolsetDeclaration,
    outline: Option<&SetOutline>,
    call: &ToolCallStep,
) -> Option<CalledName<'w>> {
    if set.is_single() {
        return None;
    }
    let name = &set.name;
    let example = outline.and_then(|outline| outline.names().next()).unwrap_or("NAME");
    let hint = format!("say which one: `tool: {name}.{example}`");
    let message = match outline {
        Some(outline) if outline.tools.len() == 1 && outline.is_whole() => return None,
        Some(outline) if outline.tools.len() > 1 => {
            let more = if outline.is_whole() { "" } else { "at least " };
            format!("{name} is a set of {more}{} tools, and a step calls one", outline.tools.len())
        }
        _ => {
            let message =
                format!("{name} is a set of tools, and a step calls one: this fails unless the set has one only");
            return Some(CalledName::Doubtful(said(call, message).with_hint(hint)));
        }
    };
    Some(CalledName::Wrong(said(call, message).with_hint(hint)))
}

fn said(call: &ToolCallStep, message: String) -> Problem {
    Problem { message, ..call.problem.clone() }
}

/// What is wrong with the arguments of a call.
fn check_arguments(workflow: &Workflow, tool: &WorkflowTool, call: &ToolCallStep) -> Vec<Problem> {
    // The parameters of a workflow that could not be read are not known.
    let is_known = |called: &Name| workflow.definition.sources.contains_key(called);
    if tool.called.as_ref().is_some_and(|called| !is_known(called)) {
        return Vec::new();
    }
    let Some(arguments) = &call.arguments else { return Vec::new() };
    let mut problems: Vec<Problem> = arguments.iter().filter_map(|argument| unknown_argument(tool, argument)).collect();
    let literals: Map<String, Value> =
        arguments.iter().filter_map(|one| Some((one.name.clone(), one.value.clone()?))).collect();
    let fitted = Value::Object(fitted_arguments(tool, literals));
    for misfit in schema::misfits(&tool.params.validator, &fitted) {
        let name = misfit.place.split('/').next().unwrap_or_default();
        match arguments.iter().find(|argument| argument.name == name) {
            Some(WrittenArgument { value: Some(_), value_problem, .. }) => {
                // The place of the problem names the argument.
                let words = misfit.words.clone().filter(|_| misfit.place == name);
                let message = words.unwrap_or_else(|| misfit.to_string());
                problems.push(Problem { message, ..value_problem.clone() });
            }
            // What a run makes is looked at then.
            Some(_) => {}
            None if misfit.words.is_none() => {
                let (tool, place) = (&tool.name, &misfit.place);
                problems.push(said(call, format!("the tool {:?} needs the argument {place:?}", tool.as_str())));
            }
            None => {}
        }
    }
    problems
}

/// An argument that would be left out of the call.
fn unknown_argument(tool: &WorkflowTool, argument: &WrittenArgument) -> Option<Problem> {
    let name = argument.name.as_str();
    let said = |message: String| Problem { message, ..argument.name_problem.clone() };
    if tool.injected().is_some_and(|inject| inject.names().any(|given| given == name)) {
        let message = format!("{name:?} is given by `inject` of the tool, and what stands here is left out");
        return Some(said(message).with_hint("leave it out here, or there"));
    }
    let known = tool.known_arguments()?;
    if known.contains_key(name) {
        return None;
    }
    let hint = did_you_mean(name, known.keys().map(String::as_str)).unwrap_or_else(|| match known.is_empty() {
        true => "it takes none".to_owned(),
        false => format!("it takes {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
    });
    Some(said(format!("the tool {:?} has no argument {name:?}", tool.name.as_str())).with_hint(hint))
}
