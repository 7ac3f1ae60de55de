//! Reads one workflow's file: everything that is wrong in it is noted in one pass. What concerns other files (the workflows
//! that it calls) is left to `folder`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::json_schema::{passwords_in, schema};
use super::names::Names;
use super::reader::{Call, Met, Reader};
use super::scope::{Declared, Scope};
use super::shapes::{AGENT, LIMITS, TOOL, WORKFLOW};
use super::steps;
use super::talks::{check_tools, handoffs, nested_chats};
use super::values;
use super::{
    Agent, AgentKind, Approve, CONVERSABLE_SYSTEM_MESSAGE, Definition, HumanInputMode, Limits, MOST_AUTO_REPLIES,
    ModelUse, Returns, Schema, Tool, Values, Workflow,
};
use crate::ids::Name;
use crate::money::Usd;
use crate::problem::Problem;
use crate::yaml::{self, Field, Fields, Review};

/// AG2's default system message of an assistant.
const ASSISTANT_SYSTEM_MESSAGE: &str = include_str!("assistant.txt");
const ASSISTANT_DESCRIPTION: &str = "A helpful and general-purpose AI assistant that has strong language skills, Python skills, and \
                                     Linux command line skills.";

/// A file as far as it could be read.
pub struct Read {
    /// The file.
    pub file: String,
    /// Its text.
    pub source: String,
    /// The workflow's name, even if other things are wrong.
    pub name: Option<Name>,
    /// The workflow; its definition has only its own text yet. None: something is wrong.
    pub workflow: Option<Workflow>,
    /// The workflows that it calls.
    pub calls: Vec<Call>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Where the name stands, to say that it is taken.
    pub name_problem: Problem,
}

/// Reads a workflow.
pub fn read(file: &str, source: &str) -> Read {
    let review = Review::new(file, source);
    let root = yaml::parse(source, &review);
    let mut read = Read {
        file: file.to_owned(),
        source: source.to_owned(),
        name: None,
        workflow: None,
        calls: Vec::new(),
        problems: Vec::new(),
        name_problem: Problem::of_file(file, ""),
    };
    if let Some(root) = &root {
        read_root(&Field::root(root, &review), &mut read);
    }
    if !review.is_clean() {
        read.workflow = None;
    }
    read.problems = review.take();
    read
}

fn read_root(root: &Field<'_>, read: &mut Read) {
    let Some(fields) = root.fields(&WORKFLOW) else { return };
    fields.read("version", version);
    if let Some(field) = fields.get("name") {
        read.name_problem = field.problem("");
        read.name = field.name();
    }
    let title = fields.read("title", Field::text).map(str::to_owned);
    let description = fields.read("description", Field::text).map(str::to_owned);
    let params = fields.get("params").filter(|field| !field.is_null()).and_then(|field| params(&field));
    let vars = fields.read("vars", vars).unwrap_or_default();
    let limits = fields.read("limits", limits).unwrap_or_default();

    let mut declared = Declared::default();
    declared.vars = vars.keys().cloned().collect();
    declared.params = declared_params(fields.get("params").is_some(), params.as_deref());
    let steps = fields.get("steps");
    if let Some(steps) = &steps {
        declared.find_steps(steps.node);
    }
    let names = Names::of(root.node);
    let agents = fields.read("agents", |field| agents(field, &names, &declared)).unwrap_or_default();
    let mut met = Met::default();
    let tools = fields.read("tools", |field| {
        let mut read =
            ToolReader { file: &read.file, declared: &declared, names: &names, agents: &agents, met: &mut met };
        read.tools(field)
    });
    let reader = Reader::new(&read.file, &declared, &names, &agents);
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
            definition: Arc::new(Definition { name: name.clone(), sources }),
            file: read.file.clone(),
        });
    }
}

/// `version: 1`.
pub fn version(field: &Field<'_>) -> Option<()> {
    let version: u64 = field.whole(1)?;
    if version != 1 {
        field.note_with_hint(format!("{version} is not a version of this language"), "this program reads version 1");
    }
    Some(())
}

fn params(field: &Field<'_>) -> Option<Arc<Schema>> {
    let schema = schema(field)?;
    let object = [
        "type",
        "properties",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "required",
        "additionalProperties",
        "patternProperties",
    ];
    let is_schema =
        schema.json.as_object().is_some_and(|map| map.is_empty() || object.iter().any(|key| map.contains_key(*key)));
    if !is_schema {
        let hint = "params is a JSON Schema: { type: object, properties: { topic: { type: string } } }";
        field.note_with_hint("this does not describe an object", hint);
        return None;
    }
    if schema.json.get("type").is_some_and(|kind| kind != "object") {
        field.note("the parameters are an object: `type: object`");
        return None;
    }
    // They stand in the log as they were given, and a password never may.
    for name in passwords_in(&schema.json) {
        field.note_with_hint(
            format!("the parameter {name:?} is a password, and parameters are stored in clear"),
            "ask for it in a step, with `text_input` and `password: true`",
        );
    }
    Some(schema)
}

/// The names of the parameters, if the schema lists them all.
fn declared_params(given: bool, schema: Option<&Schema>) -> Option<BTreeSet<String>> {
    let Some(schema) = schema else {
        // Without `params` there are none; after a mistake in them nobody knows.
        return if given { None } else { Some(BTreeSet::new()) };
    };
    let open = ["$ref", "allOf", "anyOf", "oneOf", "patternProperties", "if"];
    let map = schema.json.as_object()?;
    if open.iter().any(|key| map.contains_key(*key))
        || map.get("additionalProperties").is_some_and(|more| more != &Value::Bool(false))
    {
        return None;
    }
    map.get("properties").and_then(Value::as_object).map(|properties| properties.keys().cloned().collect())
}

fn vars(field: &Field<'_>) -> Option<Values> {
    if field.is_null() {
        return None;
    }
    Some(field.named_entries()?.into_iter().map(|(name, _, value)| (name.to_string(), value.json())).collect())
}

fn limits(field: &Field<'_>) -> Option<Limits> {
    let fields = field.fields(&LIMITS)?;
    Some(Limits {
        llm_calls: fields.read("llm_calls", |field| field.whole(1)).or(Limits::default().llm_calls),
        tool_calls: fields.read("tool_calls", |field| field.whole(1)),
        tokens: fields.read("tokens", |field| field.whole(1)),
        cost_usd: fields.read("cost_usd", |field| {
            let cost = field.number()?;
            if cost <= 0.0 { field.is_not("more than nothing") } else { Some(Usd::from_dollars(cost)) }
        }),
        duration: fields.read("duration", Field::duration),
        records: fields.read("records", |field| field.whole(10)).unwrap_or(Limits::default().records),
        steps: fields.read("steps", |field| field.whole(1)).unwrap_or(Limits::default().steps),
        repeated_calls: fields
            .read("repeated_calls", |field| field.whole(2))
            .unwrap_or(Limits::default().repeated_calls),
    })
}

/// Reads tools, each with steps of its own.
struct ToolReader<'w> {
    file: &'w str,
    declared: &'w Declared,
    names: &'w Names,
    agents: &'w BTreeMap<Name, Arc<Agent>>,
    met: &'w mut Met,
}

impl ToolReader<'_> {
    fn tools(&mut self, field: &Field<'_>) -> Option<BTreeMap<Name, Arc<Tool>>> {
        if field.is_null() {
            return None;
        }
        let mut tools = BTreeMap::new();
        for (name, _, field) in field.named_entries()? {
            if let Some(tool) = self.tool(name.clone(), &field) {
                tools.insert(name, Arc::new(tool));
            }
        }
        Some(tools)
    }

    fn tool(&mut self, name: Name, field: &Field<'_>) -> Option<Tool> {
        let fields = field.fields(&TOOL)?;
        let description = fields.read("description", Field::text);
        let params = match fields.get("params") {
            Some(field) => params(&field),
            None => no_params(),
        };
        let returns = [("value", Returns::Value), ("reply_result", Returns::ReplyResult)];
        let returns = fields.read("returns", |field| field.one_of(&returns)).unwrap_or_default();
        let approvals = [("never", Approve::Never), ("first", Approve::First), ("always", Approve::Always)];
        let approve = fields.read("approve", |field| field.one_of(&approvals)).unwrap_or_default();
        let Some(steps) = fields.get("do") else {
            // Another kind was named already as not in this version.
            if !["openapi", "mcp", "http", "command", "nats", "workflow"].iter().any(|kind| fields.get(kind).is_some())
            {
                field.note_with_hint("this tool does nothing", "its steps are in `do`");
            }
            return None;
        };
        let args = declared_params(true, params.as_deref());
        let declared = self.declared.of_tool(steps.node, args);
        let reader = Reader::new(self.file, &declared, self.names, self.agents);
        let steps = steps::of_tool(&reader, &steps);
        self.met.add(reader.into_met());
        Some(Tool { name, description: description?.to_owned(), params: params?, returns, approve, steps: steps? })
    }
}

/// What a tool without parameters tells models (`docs/reference/ag2-semantics.md`, section 5).
fn no_params() -> Option<Arc<Schema>> {
    let json = serde_json::json!({"type": "object", "properties": {}, "required": []});
    let validator = crate::schema::validator(&json).ok()?;
    Some(Arc::new(Schema { json, validator }))
}

fn agents(field: &Field<'_>, names: &Names, declared: &Declared) -> Option<BTreeMap<Name, Arc<Agent>>> {
    if field.is_null() {
        return None;
    }
    let read =
        |(name, _, field): (Name, _, Field<'_>)| Some((name.clone(), Arc::new(agent(name, &field, names, declared)?)));
    Some(field.named_entries()?.into_iter().filter_map(read).collect())
}

fn agent(name: Name, field: &Field<'_>, names: &Names, declared: &Declared) -> Option<Agent> {
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
    let own_message = fields.read("system_message", Field::text);
    let system_message = own_message.unwrap_or(match kind {
        AgentKind::Conversable => CONVERSABLE_SYSTEM_MESSAGE,
        AgentKind::Assistant => ASSISTANT_SYSTEM_MESSAGE,
        AgentKind::UserProxy => "",
    });
    let description = fields.read("description", Field::text).unwrap_or(match kind {
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
        max_consecutive_auto_reply: fields
            .read("max_consecutive_auto_reply", |field| field.whole(0))
            .unwrap_or(MOST_AUTO_REPLIES),
        default_auto_reply: fields.read("default_auto_reply", Field::text).unwrap_or_default().to_owned(),
        is_termination_msg: fields
            .read("is_termination_msg", |field| values::expression(field, &Scope::only(declared, "message"))),
        tools: fields.read("tools", |field| names.tools(field)).unwrap_or_default(),
        executes: fields.read("executes", |field| names.tools(field)).unwrap_or_default(),
        output: fields.read("output", schema),
        nested_chats: fields.read("nested_chats", |field| nested_chats(field, names, declared)).unwrap_or_default(),
        handoffs: fields.read("handoffs", |field| handoffs(field, names, declared)).unwrap_or_default(),
        update_system_message: fields
            .read("update_system_message", |field| values::template(field, &Scope::only(declared, "context"))),
    };
    check_tools(&fields, &agent);
    Some(agent)
}

/// The model of an agent: the one that is named, else `default`; a user proxy has none unless it is named (AG2).
fn model_use(fields: &Fields<'_>, kind: AgentKind) -> Option<ModelUse> {
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
