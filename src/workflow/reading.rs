//! Reads one workflow's file: everything that is wrong in it is noted in one pass. What concerns other files (the workflows
//! that it calls) is left to `folder`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answerers::answerers;
use super::chat_steps::{check_tools, handoffs, nested_chats};
use super::json_schema::schema;
use super::names::DeclaredNames;
use super::params::{declared_params, params};
use super::reader::{OutsideReferences, StepReader, WorkflowCall};
use super::scope::{NameScope, WorkflowDeclarations};
use super::shapes::{AGENT, LIMITS, WORKFLOW};
use super::steps;
use super::tool_table::MOST_TOOLS_OF_AN_AGENT;
use super::tools::ToolReader;
use super::values;
use super::{
    Agent, AgentKind, CONVERSABLE_SYSTEM_MESSAGE, HumanInputMode, MOST_AUTO_REPLIES, ModelUse, RunLimits, ValueMap,
    Workflow, WorkflowDefinition,
};
use crate::ids::Name;
use crate::money::Usd;
use crate::problem::Problem;
use crate::yaml::{self, FieldReader, FileReview, MapReader};

/// AG2's default system message of an assistant.
const ASSISTANT_SYSTEM_MESSAGE: &str = include_str!("assistant.txt");
const ASSISTANT_DESCRIPTION: &str = "A helpful and general-purpose AI assistant that has strong language skills, Python skills, and \
                                     Linux command line skills.";

/// A file as far as it could be read.
pub struct WorkflowReading {
    /// The file.
    pub file: String,
    /// Its text.
    pub source: String,
    /// The workflow's name, even if other things are wrong.
    pub name: Option<Name>,
    /// The workflow; its definition has only its own text yet. None: something is wrong.
    pub workflow: Option<Workflow>,
    /// What could be read of one in which something is wrong.
    pub incomplete: Option<Workflow>,
    /// The workflows that it calls.
    pub calls: Vec<WorkflowCall>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Where the name stands, to say that it is taken.
    pub name_problem: Problem,
}

/// Reads a workflow.
pub fn read(file: &str, source: &str) -> WorkflowReading {
    let review = FileReview::new(file, source);
    let root = yaml::parse(source, &review);
    let mut read = WorkflowReading {
        file: file.to_owned(),
        source: source.to_owned(),
        name: None,
        workflow: None,
        incomplete: None,
        calls: Vec::new(),
        problems: Vec::new(),
        name_problem: Problem::of_file(file, ""),
    };
    if let Some(root) = &root {
        read_root(&FieldReader::root(root, &review), &mut read);
    }
    if !review.is_clean() {
        read.incomplete = read.workflow.take();
    }
    read.problems = review.take();
    read
}

fn read_root(root: &FieldReader<'_>, read: &mut WorkflowReading) {
    let Some(fields) = root.fields(&WORKFLOW) else { return };
    fields.read("version", version);
    if let Some(field) = fields.get("name") {
        read.name_problem = field.problem("");
        read.name = field.name();
    }
    let title = fields.read("title", FieldReader::text).map(str::to_owned);
    let description = fields.read("description", FieldReader::text).map(str::to_owned);
    let params = fields.get("params").filter(|field| !field.is_null()).and_then(|field| params(&field));
    let vars = fields.read("vars", vars).unwrap_or_default();
    let limits = fields.read("limits", limits).unwrap_or_default();

    let mut declared = WorkflowDeclarations::default();
    declared.vars = vars.keys().cloned().collect();
    declared.params = declared_params(fields.get("params").is_some(), params.as_deref());
    let steps = fields.get("steps");
    if let Some(steps) = &steps {
        declared.find_steps(steps.node);
    }
    let names = DeclaredNames::of(root.node);
    let agents = fields.read("agents", |field| agents(field, &names, &declared)).unwrap_or_default();
    let mut met = OutsideReferences::default();
    // One without a name is no workflow: it is only looked through.
    let own = read.name.clone().unwrap_or_else(|| Name::parse("workflow").expect("it is a name"));
    let tools = fields.read("tools", |field| {
        let (file, workflow) = (read.file.as_str(), &own);
        let mut read =
            ToolReader { file, workflow, declared: &declared, names: &names, agents: &agents, met: &mut met };
        read.tools(field)
    });
    let reader = StepReader::new(&read.file, &declared, &names, &agents);
    let steps = steps.and_then(|steps| steps::top(&reader, &steps)).unwrap_or_default();
    met.add(reader.into_met());
    read.calls = met.calls;
    if let Some(name) = &read.name {
        let sources = BTreeMap::from([(name.clone(), read.source.clone())]);
        read.workflow = Some(Workflow {
            name: name.clone(),
            title,
            description,
            params,
            vars,
            limits,
            agents,
            tools: tools.unwrap_or_default(),
            steps,
            models: met.models,
            secrets: met.secrets,
            hosts: met.hosts,
            programs: met.programs,
            services: met.services,
            tool_calls: met.tool_calls.into(),
            offered: met.offered.into(),
            doubts: met.doubts.into(),
            definition: Arc::new(WorkflowDefinition { name: name.clone(), sources }),
            file: read.file.clone(),
        });
    }
}

/// `version: 1`.
pub fn version(field: &FieldReader<'_>) -> Option<()> {
    let version: u64 = field.whole(1)?;
    if version != 1 {
        field.note_with_hint(format!("{version} is not a version of this language"), "this program reads version 1");
    }
    Some(())
}

fn vars(field: &FieldReader<'_>) -> Option<ValueMap> {
    if field.is_null() {
        return None;
    }
    Some(field.named_entries()?.into_iter().map(|(name, _, value)| (name.to_string(), value.json())).collect())
}

fn limits(field: &FieldReader<'_>) -> Option<RunLimits> {
    let fields = field.fields(&LIMITS)?;
    Some(RunLimits {
        llm_calls: fields.read("llm_calls", |field| field.whole(1)).or(RunLimits::default().llm_calls),
        tool_calls: fields.read("tool_calls", |field| field.whole(1)),
        tokens: fields.read("tokens", |field| field.whole(1)),
        cost_usd: fields.read("cost_usd", |field| {
            let cost = field.number()?;
            if cost <= 0.0 { field.is_not("more than nothing") } else { Some(Usd::from_dollars(cost)) }
        }),
        duration: fields.read("duration", FieldReader::duration),
        records: fields.read("records", |field| field.whole(10)).unwrap_or(RunLimits::default().records),
        steps: fields.read("steps", |field| field.whole(1)).unwrap_or(RunLimits::default().steps),
        repeated_calls: fields
            .read("repeated_calls", |field| field.whole(2))
            .unwrap_or(RunLimits::default().repeated_calls),
    })
}

fn agents(
    field: &FieldReader<'_>,
    names: &DeclaredNames,
    declared: &WorkflowDeclarations,
) -> Option<BTreeMap<Name, Arc<Agent>>> {
    if field.is_null() {
        return None;
    }
    let read = |(name, _, field): (Name, _, FieldReader<'_>)| {
        Some((name.clone(), Arc::new(agent(name, &field, names, declared)?)))
    };
    Some(field.named_entries()?.into_iter().filter_map(read).collect())
}

/// The tools that a model is offered.
fn offered(names: &DeclaredNames, field: &FieldReader<'_>) -> Option<Vec<Name>> {
    let tools = names.tools(field)?;
    if tools.len() > MOST_TOOLS_OF_AN_AGENT {
        let message = format!("these are {} tools, and models take {MOST_TOOLS_OF_AN_AGENT} at most", tools.len());
        field.note_with_hint(message, "share them out among several agents");
    }
    Some(tools)
}

fn agent(name: Name, field: &FieldReader<'_>, names: &DeclaredNames, declared: &WorkflowDeclarations) -> Option<Agent> {
    let fields = field.fields(&AGENT)?;
    let kinds = [
        ("conversable", AgentKind::Conversable),
        ("assistant", AgentKind::Assistant),
        ("user_proxy", AgentKind::UserProxy),
    ];
    let kind = fields.read("kind", |field| field.one_of(&kinds)).unwrap_or(AgentKind::Conversable);
    let modes = [
        ("NEVER", HumanInputMode::Never),
        ("TERMINATE", HumanInputMode::Terminate),
        ("ALWAYS", HumanInputMode::Always),
    ];
    let human_input_mode = fields.read("human_input_mode", |field| field.one_of(&modes)).unwrap_or(match kind {
        AgentKind::Conversable => HumanInputMode::Terminate,
        AgentKind::Assistant => HumanInputMode::Never,
        AgentKind::UserProxy => HumanInputMode::Always,
    });
    let own_message = fields.read("system_message", FieldReader::text);
    let system_message = own_message.unwrap_or(match kind {
        AgentKind::Conversable => CONVERSABLE_SYSTEM_MESSAGE,
        AgentKind::Assistant => ASSISTANT_SYSTEM_MESSAGE,
        AgentKind::UserProxy => "",
    });
    let description = fields.read("description", FieldReader::text).unwrap_or(match kind {
        AgentKind::Assistant if own_message.is_none() => ASSISTANT_DESCRIPTION,
        AgentKind::UserProxy => user_proxy_description(human_input_mode),
        _ => system_message,
    });
    let agent = Agent {
        name,
        kind,
        system_message: system_message.to_owned(),
        description: description.to_owned(),
        llm: model_use(&fields, kind),
        human_input_mode,
        answerers: answerers(&fields),
        max_consecutive_auto_reply: fields
            .read("max_consecutive_auto_reply", |field| field.whole(0))
            .unwrap_or(MOST_AUTO_REPLIES),
        default_auto_reply: fields.read("default_auto_reply", FieldReader::text).unwrap_or_default().to_owned(),
        is_termination_msg: fields
            .read("is_termination_msg", |field| values::expression(field, &NameScope::only(declared, "message"))),
        tools: fields.read("tools", |field| offered(names, field)).unwrap_or_default(),
        executes: fields.read("executes", |field| names.tools(field)).unwrap_or_default(),
        output: fields.read("output", schema),
        nested_chats: fields.read("nested_chats", |field| nested_chats(field, names, declared)).unwrap_or_default(),
        handoffs: fields.read("handoffs", |field| handoffs(field, names, declared)).unwrap_or_default(),
        update_system_message: fields
            .read("update_system_message", |field| values::template(field, &NameScope::only(declared, "context"))),
        on_cut: values::on_cut(&fields),
    };
    check_tools(&fields, &agent);
    Some(agent)
}

/// The model of an agent: the one that is named, else `default`; a user proxy has none unless it is named (AG2).
fn model_use(fields: &MapReader<'_>, kind: AgentKind) -> Option<ModelUse> {
    let parameters = fields.request_parameters();
    let name = match fields.get("llm") {
        Some(field) if field.is_false() => None,
        Some(field) => field.name(),
        None if kind == AgentKind::UserProxy => None,
        None => Name::parse("default").ok(),
    };
    Some(ModelUse { name: name?, parameters })
}

/// AG2's own descriptions.
fn user_proxy_description(mode: HumanInputMode) -> &'static str {
    match mode {
        HumanInputMode::Always => {
            "An attentive HUMAN user who can answer questions about the task, and can perform tasks such as running Python code or \
             inputting command line commands at a Linux terminal and reporting back the execution results."
        }
        HumanInputMode::Terminate => {
            "A user that can run Python code or input command line commands at a Linux terminal and report back the execution \
             results."
        }
        HumanInputMode::Never => {
            "A computer terminal that performs no other action than running Python scripts (provided to it quoted in ```python \
             code blocks), or sh shell scripts (provided to it quoted in ```sh code blocks)."
        }
    }
}
