//! Reads steps: one function per action, and around them what a place may name. Each function reads all of its fields before
//! it gives up, so that one pass finds every mistake.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::chat_steps;
use super::http::http_request;
use super::json_schema::schema;
use super::questions::{form, message, multiple_choice, text_input};
use super::reader::{StepReader, ToolCallStep, WorkflowCall, WrittenArgument};
use super::scope::{NameScope, WorkflowDeclarations};
use super::shapes::{ACTIONS, ARM, ASK_AGENT, CALL, CALLED, FOREACH, LOOP, ON_ERROR, RETRY, STEP, WAIT};
use super::values::{data, entries, expression, list_or_expression, on_cut, template};
use super::{
    AgentRequest, BranchArm, DataTemplate, HttpRequest, InjectedArguments, LoopCondition, OnError, RetryPolicy,
    SecretReceiver, StepAction, Template, ToolRate, WaitTime, WorkflowStep,
};
use crate::ids::Name;
use crate::problem::did_you_mean;
use crate::protocol::failure::FailureKind;
use crate::yaml::{FieldReader, MapReader, parse_duration};

/// How often the calls of an agent's model are executed before it must reply.
const MAX_TOOL_ROUNDS: u32 = 10;

/// Where a body stands.
struct StepBody<'p> {
    /// Before the paths of its steps.
    prefix: &'p str,
}

/// The workflow's own steps.
pub fn top(reader: &StepReader<'_>, field: &FieldReader<'_>) -> Option<Vec<WorkflowStep>> {
    read_body(reader, field, &mut NameScope::new(reader.declared()), &StepBody { prefix: "" })
}

/// The steps of a tool.
pub fn of_tool(reader: &StepReader<'_>, field: &FieldReader<'_>) -> Option<Vec<WorkflowStep>> {
    let mut scope = NameScope::new(reader.declared()).with_local("args").with_local("context");
    read_body(reader, field, &mut scope, &StepBody { prefix: "" })
}

/// The one step of a tool that sends a request.
pub fn of_http_tool(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    tool: &MapReader<'_>,
    (inject, rate): (InjectedArguments, Option<ToolRate>),
) -> Option<Vec<WorkflowStep>> {
    let scope = NameScope::new(reader.declared()).with_local("args").with_local("context");
    let request = http_request(reader, field, &scope, true).map(|request| HttpRequest {
        inject,
        rate,
        is_whole_tool: true,
        ..request
    });
    if let Some(request) = &request {
        request.inject.refuse_in(&request.url, field);
        if request.rest_in_query() {
            request.inject.refuse_along(&request.named_args(), field);
        }
        for one in &request.inject.secrets {
            reader.note_secret(&one.secret, SecretReceiver::Host(request.host.clone()), one.problem.clone());
        }
    }
    let timeout = tool.read("timeout", FieldReader::some_time);
    let retry = tool.read("retry", retry);
    let id = Name::parse("response").ok()?;
    let place = place(reader, field);
    let step = WorkflowStep {
        path: id.to_string(),
        id: Some(id),
        place: place.clone(),
        when: None,
        timeout: None,
        retry,
        on_error: OnError::Fail,
        action: StepAction::Http(Box::new(within(request?, timeout))),
    };
    let returned = WorkflowStep {
        id: None,
        path: "1".to_owned(),
        place,
        when: None,
        timeout: None,
        retry: None,
        on_error: OnError::Fail,
        action: StepAction::Return(DataTemplate::Text(Template::parse("{{ steps.response }}").ok()?)),
    };
    Some(vec![step, returned])
}

/// A request that may take as long as its step or tool says.
fn within(request: HttpRequest, timeout: Option<Duration>) -> HttpRequest {
    HttpRequest { within: timeout.unwrap_or(request.within), ..request }
}

/// Where a step stands, without the folder: people who see it need not know where the worker keeps its files.
fn place(reader: &StepReader<'_>, field: &FieldReader<'_>) -> String {
    let file = Path::new(reader.file()).file_name().and_then(|name| name.to_str()).unwrap_or(reader.file());
    format!("{file}:{}", field.node.place.line)
}

/// A list of steps. What ran in it is in the scope afterwards.
fn read_body(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    scope: &mut NameScope<'_>,
    body: &StepBody<'_>,
) -> Option<Vec<WorkflowStep>> {
    let fields = field.items()?;
    if fields.is_empty() {
        field.note("there is nothing to do here");
    }
    let mut ids = BTreeMap::new();
    let mut steps: Vec<WorkflowStep> = Vec::new();
    let mut ended = false;
    for (index, field) in fields.iter().enumerate() {
        if ended {
            field.note_with_hint("this step is never reached", "what stands before it always ends the run");
            ended = false;
        }
        let Some(step) = one_step(reader, field, index, &mut ids, scope, body) else { continue };
        ended = step.when.is_none() && always_ends(&step.action);
        steps.push(step);
    }
    Some(steps)
}

fn one_step(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    index: usize,
    ids: &mut BTreeMap<Name, usize>,
    scope: &mut NameScope<'_>,
    body: &StepBody<'_>,
) -> Option<WorkflowStep> {
    if let Some(word) = field.scalar().map(|scalar| scalar.text.as_str()) {
        let hint = if ACTIONS.contains(&word) {
            format!("write `- {word}: …`")
        } else {
            "like `- message: Hello`".to_owned()
        };
        field.note_with_hint("a step is a map with one action", hint);
        return None;
    }
    let fields = field.fields(&STEP)?;
    let id = fields.get("id").and_then(|field| step_id(&field, ids));
    let path = match &id {
        Some(id) => format!("{}{id}", body.prefix),
        None => format!("{}{index}", body.prefix),
    };
    fields.read("name", FieldReader::text);
    let when = fields.read("when", |field| expression(field, scope));
    let timeout = fields.read("timeout", FieldReader::some_time);
    let retry = fields.read("retry", retry);
    let before = scope.clone();
    let action = match action(reader, &fields, scope, &path) {
        Some(StepAction::Http(request)) => Some(StepAction::Http(Box::new(within(*request, timeout)))),
        action => action,
    };
    let on_error = fields.read("on_error", |field| on_error(reader, field, &before, scope, &path)).unwrap_or_default();
    scope.ran(id.iter().map(Name::to_string));
    let place = place(reader, field);
    Some(WorkflowStep { id, path, place, when, timeout, retry, on_error, action: action? })
}

fn on_error(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    before: &NameScope<'_>,
    scope: &mut NameScope<'_>,
    path: &str,
) -> Option<OnError> {
    if !field.is_map() {
        return match field.scalar().map(|scalar| scalar.text.as_str()) {
            Some("fail") => Some(OnError::Fail),
            Some("continue") => Some(OnError::Continue),
            _ => field.is_not("fail, continue, { value: … } or { do: […] }"),
        };
    }
    let fields = field.fields(&ON_ERROR)?;
    let mut within = before.with_local("error");
    match (fields.get("value"), fields.get("do")) {
        (Some(value), None) => data(&value, &within).map(OnError::Value),
        (None, Some(steps)) => {
            let read = read_body(reader, &steps, &mut within, &StepBody { prefix: &format!("{path}/on_error/") });
            scope.ran(WorkflowDeclarations::steps_below(steps.node));
            read.map(OnError::Do)
        }
        _ => {
            field.note("on_error has either `value` or `do`");
            None
        }
    }
}

fn action(
    reader: &StepReader<'_>,
    fields: &MapReader<'_>,
    scope: &mut NameScope<'_>,
    path: &str,
) -> Option<StepAction> {
    let known = |key: &str| ACTIONS.iter().find(|action| **action == key).copied();
    let actions: Vec<&'static str> = fields.entries().iter().filter_map(|entry| known(&entry.key)).collect();
    let action = match actions.as_slice() {
        [action] => *action,
        [] => {
            // An unknown key was named already; most likely it was meant to be the action.
            let all_known = fields.entries().iter().all(|entry| STEP.all_keys().any(|key| key.name == entry.key));
            if all_known {
                let hint = format!("one of {}", ACTIONS.join(", "));
                fields.field.note_with_hint("this step has no action", hint);
            }
            return None;
        }
        [first, second, ..] => {
            let message = format!("a step has one action; this one has {first:?} already");
            fields.field.review.add(fields.problem_at_key(second, message).with_hint("make two steps of it"));
            return None;
        }
    };
    let field = fields.get(action)?;
    match action {
        "text_input" => text_input(&field, scope),
        "multiple_choice" => multiple_choice(&field, scope),
        "form" => form(&field, scope),
        "message" => message(&field, scope).map(StepAction::Message),
        "agent" => ask_agent(reader, &field, scope),
        "chat" => chat_steps::chat(reader, &field, scope),
        "chats" => chat_steps::chats(reader, &field, scope),
        "group_chat" => chat_steps::group_chat(reader, &field, scope),
        "group" => chat_steps::group(reader, &field, scope),
        "call" => call(reader, &field, scope),
        "branch" => branch(reader, &field, scope, path),
        "loop" => repeat(reader, &field, scope, path),
        "foreach" => foreach(reader, &field, scope, path),
        "parallel" => parallel(reader, &field, scope, path),
        "http" => http_request(reader, &field, scope, false).map(|request| StepAction::Http(Box::new(request))),
        "workflow" => workflow(reader, &field, scope),
        "set" => set(&field, scope),
        "wait" => wait(&field, scope).map(StepAction::Wait),
        "return" => {
            if scope.in_parallel {
                let hint = "a branch that runs beside others cannot end the run; return after they are joined";
                fields
                    .field
                    .review
                    .add(fields.problem_at_key("return", "`return` is not possible here").with_hint(hint));
            }
            data(&field, scope).map(StepAction::Return)
        }
        "fail" => template(&field, scope).map(StepAction::Fail),
        _ => None,
    }
}

fn ask_agent(reader: &StepReader<'_>, field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let fields = field.fields(&ASK_AGENT)?;
    let agent = fields.get("agent").and_then(|field| {
        let name = reader.names().agent(&field)?;
        if reader.agents().get(&name).is_some_and(|agent| agent.llm.is_none()) {
            field.note_with_hint(format!("the agent {:?} has no model to ask", name.as_str()), "give it an `llm:`");
        }
        Some(name)
    });
    let message = fields.read("message", |field| template(field, scope));
    let output = fields.read("output", schema);
    let tools = fields.read("tools", |field| {
        let tools = reader.names().tools(field)?;
        let place = |name: &Name| {
            field.items()?.into_iter().find(|item| item.scalar().is_some_and(|scalar| scalar.text == name.as_str()))
        };
        for name in tools.iter().filter(|name| name.as_str().contains('.')) {
            reader.note_offered(name.clone(), place(name).as_ref().unwrap_or(field).problem(""));
        }
        Some(tools)
    });
    let max_tool_rounds = fields.read("max_tool_rounds", |field| field.whole(0)).unwrap_or(MAX_TOOL_ROUNDS);
    let on_cut = on_cut(&fields);
    Some(StepAction::Agent(AgentRequest { agent: agent?, message: message?, output, tools, max_tool_rounds, on_cut }))
}

fn call(reader: &StepReader<'_>, field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let fields = field.fields(&CALL)?;
    let tool = fields.read("tool", |field| Some((reader.names().tool(field)?, field.problem(""))));
    let args = fields.read("args", |field| {
        let args = entries(field, scope)?;
        let written = written_arguments(&args, field);
        Some((args, written))
    });
    let is_read = args.is_some() || fields.get("args").is_none();
    let ((tool, problem), (args, written)) = (tool?, args.unwrap_or_default());
    let arguments = is_read.then_some(written);
    reader.note_tool_call(ToolCallStep { tool: tool.clone(), arguments, problem });
    Some(StepAction::Call { tool, args })
}

/// The arguments of a call, each with its place.
fn written_arguments(args: &[(String, DataTemplate)], field: &FieldReader<'_>) -> Vec<WrittenArgument> {
    let entries = field.entries().unwrap_or_default();
    let written = args.iter().zip(entries).map(|((name, data), (entry, value))| WrittenArgument {
        name: name.clone(),
        value: data.literal(),
        name_problem: field.review.problem(entry.key_place, &value.path, ""),
        value_problem: value.problem(""),
    });
    written.collect()
}

fn branch(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    scope: &mut NameScope<'_>,
    path: &str,
) -> Option<StepAction> {
    let items = field.items()?;
    if items.is_empty() {
        field.note("a branch has at least one arm");
    }
    let before = scope.clone();
    let mut arms = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(fields) = item.fields(&ARM) else { continue };
        let when = fields.get("when");
        let (when, steps) = match (when, fields.get("do"), fields.get("else")) {
            (Some(when), Some(steps), None) => (expression(&when, &before), steps),
            (None, None, Some(steps)) => {
                if index + 1 < items.len() {
                    item.note("`else` is the last arm");
                }
                (None, steps)
            }
            _ => {
                item.note_with_hint("an arm of a branch is `when` and `do`, or `else`", "like { when: …, do: […] }");
                continue;
            }
        };
        let prefix = format!("{path}/branch/{index}/");
        let body = read_body(reader, &steps, &mut before.clone(), &StepBody { prefix: &prefix });
        scope.ran(WorkflowDeclarations::steps_below(steps.node));
        arms.push(BranchArm { when, body: body.unwrap_or_default() });
    }
    Some(StepAction::Branch(arms))
}

fn repeat(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    scope: &mut NameScope<'_>,
    path: &str,
) -> Option<StepAction> {
    let fields = field.fields(&LOOP)?;
    let max = fields.read("max", |field| field.whole(1));
    let steps = fields.get("do");
    // An iteration sees what the one before it has done.
    let below = steps.as_ref().map(|steps| WorkflowDeclarations::steps_below(steps.node)).unwrap_or_default();
    scope.ran(below);
    let within = scope.with_local("loop");
    let condition = match (fields.get("until"), fields.get("while")) {
        (Some(_), Some(_)) => {
            field.review.add(fields.problem_at_key("while", "a loop has either `until` or `while`"));
            None
        }
        (Some(until), None) => expression(&until, &within).map(LoopCondition::Until),
        (None, Some(condition)) => expression(&condition, &within).map(LoopCondition::While),
        (None, None) => None,
    };
    let body = steps
        .and_then(|steps| read_body(reader, &steps, &mut within.clone(), &StepBody { prefix: &format!("{path}/do/") }));
    Some(StepAction::Loop { max: max?, condition, body: body? })
}

fn foreach(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    scope: &mut NameScope<'_>,
    path: &str,
) -> Option<StepAction> {
    let fields = field.fields(&FOREACH)?;
    let items = fields.read("in", |field| list_or_expression(field, scope, |field| data(field, scope)));
    let variable = match fields.get("as") {
        Some(field) => item_name(&field),
        None => Name::parse("item").ok(),
    };
    let parallel = fields.read("parallel", |field| field.whole(1)).unwrap_or(1);
    let steps = fields.get("do");
    let below = steps.as_ref().map(|steps| WorkflowDeclarations::steps_below(steps.node)).unwrap_or_default();
    let item = variable.as_ref().map_or("item", Name::as_str);
    let mut within = scope.with_local("loop").with_local(item);
    if parallel > 1 {
        within.in_parallel = true;
    } else {
        within = within.with_steps(below.clone());
    }
    let body =
        steps.and_then(|steps| read_body(reader, &steps, &mut within, &StepBody { prefix: &format!("{path}/do/") }));
    scope.ran(below);
    Some(StepAction::Foreach { items: items?, variable: variable?, parallel, body: body? })
}

fn parallel(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    scope: &mut NameScope<'_>,
    path: &str,
) -> Option<StepAction> {
    let entries = field.named_entries()?;
    if entries.is_empty() {
        field.note("there is nothing to do here");
    }
    let before = scope.clone();
    let mut branches = Vec::new();
    for (name, _, steps) in entries {
        let mut within = before.clone();
        within.in_parallel = true;
        let body = read_body(reader, &steps, &mut within, &StepBody { prefix: &format!("{path}/parallel/{name}/") });
        scope.ran(WorkflowDeclarations::steps_below(steps.node));
        branches.push((name, body.unwrap_or_default()));
    }
    Some(StepAction::Parallel(branches))
}

fn workflow(reader: &StepReader<'_>, field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let fields = field.fields(&CALLED)?;
    let params = fields.read("params", |field| entries(field, scope)).unwrap_or_default();
    let wait = fields.read("wait", FieldReader::bool).unwrap_or(true);
    let field = fields.get("name")?;
    let name = field.name()?;
    let given = params.iter().map(|(name, _)| name.clone()).collect();
    reader.note_call(WorkflowCall { name: name.clone(), params: Some(given), problem: field.problem("") });
    Some(StepAction::Workflow { name, params, all_args: false, wait })
}

/// Whether nothing after this can be reached.
fn always_ends(action: &StepAction) -> bool {
    let body_ends = |body: &[WorkflowStep]| body.iter().any(|step| step.when.is_none() && always_ends(&step.action));
    match action {
        StepAction::Return(_) | StepAction::Fail(_) => true,
        StepAction::Branch(arms) => {
            arms.last().is_some_and(|arm| arm.when.is_none()) && arms.iter().all(|arm| body_ends(&arm.body))
        }
        _ => false,
    }
}

fn step_id(field: &FieldReader<'_>, ids: &mut BTreeMap<Name, usize>) -> Option<Name> {
    let id = field.name()?;
    if id.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
        field.note_with_hint(
            format!("the id {:?} is a number", id.as_str()),
            "steps without an id are numbered already; give it a word",
        );
        return None;
    }
    let line = field.node.place.line;
    if let Some(first) = ids.insert(id.clone(), line) {
        let message = format!("there is a step with the id {:?} already", id.as_str());
        field.note_with_hint(message, format!("it stands on line {first}"));
        return None;
    }
    Some(id)
}

fn item_name(field: &FieldReader<'_>) -> Option<Name> {
    let name = field.name()?;
    let text = name.as_str();
    let taken = [
        "steps",
        "vars",
        "params",
        "user",
        "run",
        "args",
        "loop",
        "error",
        "message",
        "self",
        "range",
        "dict",
        "namespace",
    ];
    let words =
        ["true", "false", "none", "null", "and", "or", "not", "in", "is", "if", "else", "True", "False", "None"];
    if taken.contains(&text) || words.contains(&text) {
        field.note(format!("{text:?} means something else already"));
        return None;
    }
    if text.contains('-') || text.starts_with(|c: char| c.is_ascii_digit()) || text.starts_with("__") {
        field.note_with_hint(
            format!("{text:?} cannot be named in a template"),
            "letters, digits and \"_\", beginning with a letter",
        );
        return None;
    }
    Some(name)
}

pub(super) fn retry(field: &FieldReader<'_>) -> Option<RetryPolicy> {
    let fields = field.fields(&RETRY)?;
    let on = fields.read("on", |field| field.items()?.iter().map(failure_kind).collect());
    Some(RetryPolicy {
        delay: fields.read("delay", FieldReader::duration).unwrap_or(Duration::from_secs(1)),
        on: on.unwrap_or_default(),
        max: fields.read("max", |field| field.whole(1))?,
    })
}

/// A kind of failure that some step can have.
fn failure_kind(field: &FieldReader<'_>) -> Option<FailureKind> {
    let text = field.text()?;
    let FailureKind::Custom(unknown) = FailureKind::from(text.to_owned()) else { return Some(text.to_owned().into()) };
    let known: Vec<&str> = FailureKind::ALL.iter().map(FailureKind::as_str).collect();
    let hint = did_you_mean(&unknown, known.iter().copied()).unwrap_or_else(|| format!("one of {}", known.join(", ")));
    field.note_with_hint(format!("{unknown:?} is no kind of failure"), hint);
    None
}

fn set(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<StepAction> {
    let mut set = Vec::new();
    for (name, entry, value) in field.named_entries()? {
        if let Err((message, hint)) = scope.check_var(name.as_str()) {
            let problem = field.review.problem(entry.key_place, &value.path, message);
            field.review.add(match hint {
                Some(hint) => problem.with_hint(hint),
                None => problem,
            });
        }
        if let Some(value) = data(&value, scope) {
            set.push((name, value));
        }
    }
    Some(StepAction::Set(set))
}

fn wait(field: &FieldReader<'_>, scope: &NameScope<'_>) -> Option<WaitTime> {
    if field.is_map() {
        let until = field.fields(&WAIT)?.get("until")?;
        let template = template(&until, scope)?;
        if let Some(text) = template.as_plain()
            && text.parse::<jiff::Timestamp>().is_err()
        {
            until.note_with_hint(format!("{text:?} is not a time"), "like 2026-12-24T18:00:00+01:00 (RFC 3339)");
        }
        return Some(WaitTime::Until(DataTemplate::Text(template)));
    }
    let duration = data(field, scope)?;
    match &duration {
        DataTemplate::Text(template) if template.as_plain().is_none_or(|text| parse_duration(text).is_some()) => {}
        _ => {
            field.duration()?;
        }
    }
    Some(WaitTime::For(duration))
}
