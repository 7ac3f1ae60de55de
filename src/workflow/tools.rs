//! Reads `tools`: each entry is a tool of one kind, or a set of tools that somebody else has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::address::needed_args;
use super::approval::approval;
use super::lost_calls::on_lost;
use super::names::DeclaredNames;
use super::nats::nats_step;
use super::params::{declared_params, no_params, params};
use super::rate::rate;
use super::reader::{OutsideReferences, ProgramUse, StepReader, WorkflowCall};
use super::scope::{NameScope, WorkflowDeclarations};
use super::shapes::TOOL;
use super::steps::{self, retry};
use super::tool_table::{ToolTable, steps_of, visible_params};
use super::toolset::{ToolsetDeclaration, is_toolset, meant_by_text, toolset};
use super::values::inject;
use super::{
    Agent, AgentRequest, CompiledSchema, InjectedArguments, ProgramStep, SecretReceiver, StepAction, Template,
    ToolReturn, WorkflowTool,
};
use crate::ids::Name;
use crate::yaml::{FieldReader, MapReader};

/// Whether an object of this schema may have a property of this name.
fn may_have(schema: &Value, name: &str) -> bool {
    let is_open = |key: &&str| schema.get(key).is_some_and(|value| *value != Value::Bool(false));
    schema.pointer(&format!("/properties/{name}")).is_some()
        || ["additionalProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"].iter().any(is_open)
}

/// The kinds of tools that a workflow has itself.
const OWN_KINDS: [&str; 6] = ["do", "http", "agent", "workflow", "command", "nats"];
/// Keys that only some kinds have, and which.
const KEYS_OF_KINDS: [(&str, &[&str]); 13] = [
    ("only", &[]),
    ("except", &[]),
    ("server", &[]),
    ("security", &[]),
    ("prefix", &[]),
    ("inject", &["http", "command", "nats"]),
    ("max_result", &["command", "nats"]),
    ("idempotent", &["command", "nats"]),
    ("on_lost", &["http", "command", "nats"]),
    ("error_message", &["command", "nats"]),
    ("timeout", &["http", "command", "nats"]),
    ("retry", &["http", "command", "nats"]),
    ("rate", &["http", "command", "nats"]),
];
/// How long a program may take, unless it is said.
const WITHIN: Duration = Duration::from_secs(30);
/// What is kept of what a program prints, unless it is said, in bytes.
const MAX_RESULT: u64 = 256 << 10;
/// How often the calls of an agent's model are executed before it must reply.
const MAX_TOOL_ROUNDS: u32 = 10;

/// What an entry of `tools` stands for.
enum ToolEntry {
    /// A tool of the workflow's own.
    Tool(Arc<WorkflowTool>),
    /// Tools that somebody else has.
    Set(Arc<ToolsetDeclaration>),
}

/// Reads tools, each with steps of its own.
pub(super) struct ToolReader<'w> {
    pub file: &'w str,
    pub workflow: &'w Name,
    pub declared: &'w WorkflowDeclarations,
    pub names: &'w DeclaredNames,
    pub agents: &'w BTreeMap<Name, Arc<Agent>>,
    pub met: &'w mut OutsideReferences,
}

impl ToolReader<'_> {
    pub fn tools(&mut self, field: &FieldReader<'_>) -> Option<ToolTable> {
        if field.is_null() {
            return None;
        }
        let (mut tools, mut sets) = (BTreeMap::new(), BTreeMap::new());
        for (name, _, field) in field.named_entries()? {
            match self.entry(name.clone(), &field) {
                Some(ToolEntry::Tool(tool)) => drop(tools.insert(name, tool)),
                Some(ToolEntry::Set(set)) => drop(sets.insert(name, set)),
                None => {}
            }
        }
        Some(ToolTable::new(tools, sets))
    }

    fn entry(&mut self, name: Name, field: &FieldReader<'_>) -> Option<ToolEntry> {
        let text = field.scalar().filter(|_| !field.is_missing()).map(|scalar| scalar.text.as_str());
        if let Some(meant) = text.and_then(meant_by_text) {
            let (path, name) = (&field.path, name.as_str());
            field.note_with_hint(
                format!("`{path}` takes a map, e.g. `{name}: {meant}`"),
                "the key says what kind of tool it is: do, http, agent, workflow, command, nats, openapi, python, mcp",
            );
            return None;
        }
        let fields = field.fields(&TOOL)?;
        if is_toolset(&fields) {
            let set = toolset(name, &fields, self.declared, self.workflow)?;
            self.met.note_secrets(&set.inject, &set.secret_receiver());
            return Some(ToolEntry::Set(Arc::new(set)));
        }
        let kinds: Vec<&'static str> = OWN_KINDS.into_iter().filter(|kind| fields.get(kind).is_some()).collect();
        let Some(&kind) = kinds.first() else {
            let kinds = "it has one of: do, http, agent, workflow, command, nats, openapi, python, mcp";
            field.note_with_hint("this tool does nothing", kinds);
            return None;
        };
        if let Some(second) = kinds.get(1) {
            let message = format!("a tool has either `{kind}` or `{second}`");
            fields.field.review.add(fields.problem_at_key(second, message));
        }
        self.refuse_others(&fields, kind);
        self.tool(name, &fields, kind).map(Arc::new).map(ToolEntry::Tool)
    }

    /// Says which keys mean nothing for a tool of this kind.
    fn refuse_others(&self, fields: &MapReader<'_>, kind: &str) {
        for (key, kinds) in KEYS_OF_KINDS {
            if fields.get(key).is_none() || kinds.contains(&kind) {
                continue;
            }
            let hint = match (key, kind) {
                ("rate", "do") => "give it to the tools that its steps call".to_owned(),
                ("timeout" | "retry", "do") => format!("give {key} to the steps that need it"),
                ("on_lost", "do") => "give it to the tools that its steps call".to_owned(),
                ("on_lost", _) => "what it does is remembered: it goes on from there on another worker".to_owned(),
                (_, "http") => format!("write it into `http`, if it has {key}"),
                _ => "leave it out".to_owned(),
            };
            let problem = fields.problem_at_key(key, format!("`{key}` is not for a tool with `{kind}`"));
            fields.field.review.add(problem.with_hint(hint));
        }
        if let Some(approve) = fields.get("approve").filter(FieldReader::is_map)
            && let Some((entry, tools)) =
                approve.entries().into_iter().flatten().find(|(entry, _)| entry.key == "tools")
        {
            let message = "`tools` chooses among the tools of a set, and this is one tool";
            let problem = approve.review.problem(entry.key_place, &tools.path, message);
            fields.field.review.add(problem.with_hint("leave `tools` out: the person is asked about this tool"));
        }
        let own = match kind {
            "workflow" => "its parameters are those of the workflow",
            "agent" => "an agent is asked with one argument, `message`",
            _ => return,
        };
        if fields.get("params").is_some() {
            let problem = fields.problem_at_key("params", format!("`params` is not for a tool with `{kind}`"));
            fields.field.review.add(problem.with_hint(own));
        }
    }

    fn tool(&mut self, name: Name, fields: &MapReader<'_>, kind: &'static str) -> Option<WorkflowTool> {
        let description = fields.read("description", FieldReader::text).map(str::to_owned);
        if fields.get("description").is_none() && !matches!(kind, "agent" | "workflow") {
            fields.field.note("`description` is missing: models choose tools by it");
        }
        let params = match fields.get("params") {
            Some(field) => params(&field),
            None => no_params(),
        };
        let returns = [("value", ToolReturn::Value), ("reply_result", ToolReturn::ReplyResult)];
        let returns = fields.read("returns", |field| field.one_of(&returns)).unwrap_or_default();
        let approve = fields.read("approve", approval).unwrap_or_default();
        let any_agent_may_call = fields.read("any_agent_may_call", FieldReader::bool).unwrap_or(false);
        let parallel =
            fields.read("parallel", FieldReader::bool).unwrap_or(matches!(kind, "http" | "command" | "nats"));
        let field = fields.get(kind)?;
        let rate = rate(fields, self.workflow, &name);
        let on_lost = on_lost(fields);
        let unfinished = |description: Option<String>, params: Option<Arc<CompiledSchema>>| {
            let steps = Vec::new();
            let (asks, called) = (None, None);
            let (description, params) = (description?, params?);
            Some(WorkflowTool {
                name,
                description,
                params,
                returns,
                approve,
                any_agent_may_call,
                parallel,
                on_lost,
                asks,
                called,
                steps,
            })
        };
        match kind {
            "agent" => {
                let agent = self.agent(&field)?;
                let description = description.unwrap_or_else(|| agent.description.clone());
                let tool = unfinished(Some(description), asked_params())?;
                let steps = steps_of(&format!("the tool {}", tool.name), StepAction::Agent(question(agent)?), None)?;
                Some(WorkflowTool { asks: Some(agent.name.clone()), steps, ..tool })
            }
            "workflow" => {
                let called = field.name()?;
                self.met.calls.push(WorkflowCall { name: called.clone(), params: None, problem: field.problem("") });
                let tool = unfinished(Some(description.unwrap_or_default()), params)?;
                let action =
                    StepAction::Workflow { name: called.clone(), params: Vec::new(), all_args: true, wait: true };
                let steps = steps_of(&format!("the tool {}", tool.name), action, None)?;
                Some(WorkflowTool { called: Some(called), steps, ..tool })
            }
            "command" => {
                let program = field.name()?;
                let ToolInput { params, inject, .. } = self.input(fields, &field, params);
                self.met.note_secrets(&inject, &SecretReceiver::Command(program.to_string()));
                let step = ProgramStep {
                    program: program.to_string(),
                    inject,
                    rate,
                    within: fields.read("timeout", FieldReader::some_time).unwrap_or(WITHIN),
                    max_result: fields.read("max_result", FieldReader::some_size).unwrap_or(MAX_RESULT),
                    idempotent: fields.read("idempotent", FieldReader::bool).unwrap_or(false),
                    error_message: fields.read("error_message", FieldReader::text).map(str::to_owned),
                };
                let has_code = step.inject.names().any(|name| name == "code")
                    || params.as_ref().is_none_or(|params| may_have(&params.json, "code"));
                self.met.programs.push(ProgramUse { name: program, has_code, problem: field.problem("") });
                let tool = unfinished(description, params)?;
                let place = format!("the tool {}", tool.name);
                let steps = steps_of(&place, StepAction::Program(Box::new(step)), fields.read("retry", retry))?;
                Some(WorkflowTool { steps, ..tool })
            }
            "nats" => {
                let ToolInput { params, inject, declared } = self.input(fields, &field, params);
                let step = nats_step(&field, fields, (inject, rate), &tool_scope(&declared))?;
                self.met.services.push(field.problem(""));
                self.met.note_secrets(&step.inject, &SecretReceiver::of_subject(&step.subject));
                let tool = unfinished(description, params)?;
                self.doubt_optional(&field, "subject", &needed_args(&step.subject), &tool);
                let place = format!("the tool {}", tool.name);
                let steps = steps_of(&place, StepAction::Nats(Box::new(step)), fields.read("retry", retry))?;
                Some(WorkflowTool { steps, ..tool })
            }
            "http" => {
                let ToolInput { params, inject, declared } = self.input(fields, &field, params);
                let reader = StepReader::new(self.file, &declared, self.names, self.agents);
                let steps = steps::of_http_tool(&reader, &field, fields, (inject, rate));
                self.met.add(reader.into_met());
                let tool = WorkflowTool { steps: steps?, ..unfinished(description, params)? };
                if let Some(StepAction::Http(request)) = tool.single_action() {
                    let at = if field.is_map() { address_of(&field) } else { None };
                    self.doubt_optional(at.as_ref().unwrap_or(&field), "address", &needed_args(&request.url), &tool);
                }
                Some(tool)
            }
            _ => {
                let args = declared_params(true, params.as_deref());
                let declared = self.declared.of_tool(field.node, args);
                let reader = StepReader::new(self.file, &declared, self.names, self.agents);
                let steps = steps::of_tool(&reader, &field);
                self.met.add(reader.into_met());
                Some(WorkflowTool { steps: steps?, ..unfinished(description, params)? })
            }
        }
    }

    /// What a tool that sends its arguments on is given: by models, and besides.
    fn input(&self, fields: &MapReader<'_>, kind: &FieldReader<'_>, params: Option<Arc<CompiledSchema>>) -> ToolInput {
        let mut args = declared_params(true, params.as_deref());
        let given = self.declared.of_tool(kind.node, args.clone());
        let scope = tool_scope(&given).with_local("call");
        let inject = fields.read("inject", |field| inject(field, &scope)).unwrap_or_default();
        if let Some(args) = &mut args {
            args.extend(inject.names().map(str::to_owned));
        }
        let declared = self.declared.of_tool(kind.node, args);
        ToolInput { params: params.and_then(|params| visible_params(params, &inject)), inject, declared }
    }

    /// Notes which arguments that may be left out a place cannot do without.
    fn doubt_optional(&mut self, field: &FieldReader<'_>, place: &str, needed: &BTreeSet<&str>, tool: &WorkflowTool) {
        let Some(known) = tool.known_arguments() else { return };
        let required = tool.params.json.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
        let may_be_missing = |name: &&&str| {
            !required.contains(**name) && known.get(**name).is_some_and(|schema| schema.get("default").is_none())
        };
        for name in needed.iter().filter(may_be_missing) {
            let message = format!(
                "the {place} needs the argument {name:?}, which is optional in `params`: without it a call fails"
            );
            let hint = format!("make it required (params: {{ required: [{name}] }}), or give it a `default`");
            self.met.doubts.push(field.problem_at(&format!("args.{name}"), message).with_hint(hint));
        }
    }

    /// The agent that a tool asks.
    fn agent(&self, field: &FieldReader<'_>) -> Option<&Arc<Agent>> {
        let name = self.names.agent(field)?;
        let agent = self.agents.get(&name)?;
        if agent.llm.is_none() {
            field.note_with_hint(format!("the agent {:?} has no model to ask", name.as_str()), "give it an `llm:`");
        }
        Some(agent)
    }
}

/// Where the address of a request stands.
fn address_of<'a>(request: &FieldReader<'a>) -> Option<FieldReader<'a>> {
    request.entries()?.into_iter().find(|(entry, _)| entry.key == "url").map(|(_, url)| url)
}

/// What a tool that sends its arguments on is given.
struct ToolInput {
    /// What models are asked for.
    params: Option<Arc<CompiledSchema>>,
    /// Arguments that models do not see.
    inject: InjectedArguments,
    /// What its templates may name.
    declared: WorkflowDeclarations,
}

/// What may be named in a tool.
fn tool_scope(declared: &WorkflowDeclarations) -> NameScope<'_> {
    NameScope::new(declared).with_local("args").with_local("context")
}

/// What an agent is asked with.
fn asked_params() -> Option<Arc<CompiledSchema>> {
    let json = json!({
        "type": "object",
        "properties": {"message": {"type": "string", "description": "What the agent is asked to do, with all that it needs to know"}},
        "required": ["message"],
    });
    let validator = crate::schema::validator(&json).ok()?;
    Some(Arc::new(CompiledSchema { json, validator }))
}

fn question(agent: &Agent) -> Option<AgentRequest> {
    Some(AgentRequest {
        agent: agent.name.clone(),
        message: Template::parse("{{ args.message }}").ok()?,
        output: None,
        tools: None,
        max_tool_rounds: MAX_TOOL_ROUNDS,
        on_cut: None,
    })
}
