//! Sets of tools that somebody else has, as a workflow names them: `openapi`, `python`, `mcp`. What is in a set is known only to
//! its owner; a run asks for it before its first step.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;

use super::approval::approval;
use super::lost_calls::on_lost;
use super::rate::rate;
use super::scope::{NameScope, WorkflowDeclarations};
use super::shapes::TOOLSET_KINDS;
use super::steps::retry;
use super::values::inject;
use super::{InjectedArguments, OnLost, RetryPolicy, SecretReceiver, ToolApproval, ToolRate};
use crate::ids::Name;
use crate::openapi::ToolSelection;
use crate::problem::Problem;
use crate::protocol::toolset::ListedTool;
use crate::yaml::{FieldReader, MapReader, NodeContent};

/// How long a call may take, unless it is said.
const WITHIN: Duration = Duration::from_secs(30);
/// The same of an MCP server, whose own time-out in `mcp:` is shorter.
const WITHIN_OF_MCP: Duration = Duration::from_secs(24 * 3600);
/// What is kept of a result unless it is said, in bytes.
const MAX_RESULT: u64 = 256 << 10;
/// The longest prefix of names.
const LONGEST_PREFIX: usize = 32;

/// A set of tools.
#[derive(Debug, Clone)]
pub struct ToolsetDeclaration {
    /// Its name in the workflow.
    pub name: Name,
    /// Whose tools they are.
    pub source: ToolsetSource,
    /// Before the names of its tools.
    pub prefix: String,
    /// Which of its tools a person is asked about, and who may answer.
    pub approve: ToolApproval,
    /// Only about these is a person asked; empty: about all.
    pub approved_tools: Vec<String>,
    /// Whether agents may call its tools that they are not offered to, as in AG2.
    pub any_agent_may_call: bool,
    /// Whether its tools may be called at the same time as the other calls of a reply.
    pub parallel: bool,
    /// Arguments that models do not see.
    pub inject: InjectedArguments,
    /// How often its tools may be called, together.
    pub rate: Option<ToolRate>,
    /// How long a call may take without a sign of life.
    pub within: Duration,
    /// Whether and when a call is repeated after a failure.
    pub retry: Option<RetryPolicy>,
    /// What is kept of a result, in bytes.
    pub max_result: u64,
    /// Whether its tools may be called again if nobody knows whether they were; none: what each tool says.
    pub idempotent: Option<bool>,
    /// What happens to a call that nobody knows to be done; none: who calls it decides.
    pub on_lost: Option<OnLost>,
    /// The words for models and people in place of the owner's own.
    pub error_message: Option<String>,
    /// A problem at the place where its source is said; the message is to be filled in.
    pub problem: Problem,
    /// The same at the secret of each scheme in `security`.
    pub security_problems: BTreeMap<String, Problem>,
}

/// Whose tools they are. Two sets with an equal source have one owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ToolsetSource {
    /// The operations of an OpenAPI specification.
    OpenApi(OpenApiSource),
    /// The functions of a Python file.
    Python(PythonSource),
    /// The tools of an MCP server.
    Mcp(McpSource),
}

/// The operations of an OpenAPI specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OpenApiSource {
    /// The specification: a file below the project's folder, or an address.
    pub document: String,
    /// Globs of the operations; empty: all.
    pub only: Vec<String>,
    /// Globs of operations that are left out.
    pub except: Vec<String>,
    /// The server in place of the specification's own.
    pub server: Option<String>,
    /// The secrets by the names of the specification's security schemes.
    pub security: BTreeMap<String, String>,
}

/// The functions of a Python file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PythonSource {
    /// The file, below the project's folder.
    pub file: String,
    /// The one function; none: all.
    pub function: Option<String>,
}

/// The tools of an MCP server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct McpSource {
    /// Its name in `mcp:` of `fastagency.yaml`.
    pub server: Name,
    /// Globs of the tools; empty: all.
    pub only: Vec<String>,
    /// Globs of tools that are left out.
    pub except: Vec<String>,
}

impl ToolsetDeclaration {
    /// Whether a person is asked about the tool with this listed name.
    pub fn asks_about(&self, tool: &str) -> bool {
        self.approved_tools.is_empty() || self.approved_tools.iter().any(|glob| self.names(glob, tool))
    }

    /// Whether a glob means the tool with this listed name, with the prefix or without.
    pub fn names(&self, glob: &str, tool: &str) -> bool {
        let selection = ToolSelection { include: vec![glob.to_owned()], exclude: Vec::new() };
        selection.selects_name(tool) || selection.selects_name(&format!("{}{tool}", self.prefix))
    }

    /// The arguments that models do not see, of those that this tool takes.
    pub fn injected_into(&self, listed: &ListedTool) -> InjectedArguments {
        let properties = listed.params.get("properties").and_then(Value::as_object);
        let is_open = listed.params.get("additionalProperties").is_some_and(|more| more != &Value::Bool(false));
        self.inject.taken(|name| is_open || properties.is_some_and(|properties| properties.contains_key(name)))
    }

    /// Who gets the secrets among its arguments.
    pub fn secret_receiver(&self) -> SecretReceiver {
        match &self.source {
            ToolsetSource::OpenApi(_) => SecretReceiver::Api,
            ToolsetSource::Python(source) => SecretReceiver::Python(source.file.clone()),
            ToolsetSource::Mcp(source) => SecretReceiver::Mcp(source.server.to_string()),
        }
    }

    /// Whether it has one tool, which has the name of the entry.
    pub fn is_single(&self) -> bool {
        matches!(&self.source, ToolsetSource::Python(PythonSource { function: Some(_), .. }))
    }
}

/// Whether a tool's entry stands for a set.
pub(super) fn is_toolset(fields: &MapReader<'_>) -> bool {
    TOOLSET_KINDS.iter().any(|kind| fields.get(kind).is_some())
}

/// Reads a set.
pub(super) fn toolset(
    name: Name,
    fields: &MapReader<'_>,
    declared: &WorkflowDeclarations,
    workflow: &Name,
) -> Option<ToolsetDeclaration> {
    let kind = TOOLSET_KINDS.into_iter().find(|kind| fields.get(kind).is_some())?;
    refuse_others(fields, kind);
    let only = fields.read("only", globs).unwrap_or_default();
    let except = fields.read("except", globs).unwrap_or_default();
    let source = match kind {
        "openapi" => {
            let document = fields.read("openapi", document);
            let server = fields.read("server", server);
            let security = fields.read("security", security).unwrap_or_default();
            ToolsetSource::OpenApi(OpenApiSource { document: document?, only, except, server, security })
        }
        "python" => ToolsetSource::Python(fields.read("python", python)?),
        _ => ToolsetSource::Mcp(McpSource { server: fields.read("mcp", FieldReader::name)?, only, except }),
    };
    if let ToolsetSource::Python(PythonSource { function: Some(_), .. }) = &source
        && fields.get("prefix").is_some()
    {
        let message =
            format!("`prefix` says nothing of one function: the tool is called {:?}, as this entry", name.as_str());
        let hint = "leave it out, and give the entry the name that the tool is to have";
        fields.field.review.add(fields.problem_at_key("prefix", message).with_hint(hint));
    }
    let scope = NameScope::new(declared).with_local("args").with_local("context").with_local("call");
    let approved = fields.get("approve").filter(FieldReader::is_map).and_then(|field| {
        let fields = field.fields(&super::shapes::APPROVE)?;
        fields.read("tools", |field| {
            let globs = globs(field)?;
            for glob in globs.iter().filter(|glob| glob.contains('/') || glob.starts_with("tag:")) {
                field.note_with_hint(format!("{glob:?} is not the name of a tool"), "names alone, like delete_*");
            }
            Some(globs)
        })
    });
    Some(ToolsetDeclaration {
        rate: rate(fields, workflow, &name),
        name,
        source,
        prefix: fields.read("prefix", prefix).unwrap_or_default(),
        approve: fields.read("approve", approval).unwrap_or_default(),
        approved_tools: approved.unwrap_or_default(),
        any_agent_may_call: fields.read("any_agent_may_call", FieldReader::bool).unwrap_or(false),
        parallel: fields.read("parallel", FieldReader::bool).unwrap_or(true),
        inject: fields.read("inject", |field| inject(field, &scope)).unwrap_or_default(),
        within: fields.read("timeout", FieldReader::some_time).unwrap_or(if kind == "mcp" {
            WITHIN_OF_MCP
        } else {
            WITHIN
        }),
        retry: fields.read("retry", retry),
        max_result: fields.read("max_result", FieldReader::some_size).unwrap_or(MAX_RESULT),
        idempotent: fields.read("idempotent", FieldReader::bool),
        on_lost: on_lost(fields),
        error_message: fields.read("error_message", FieldReader::text).map(str::to_owned),
        problem: fields.get(kind)?.problem(""),
        security_problems: fields
            .get("security")
            .filter(FieldReader::is_map)
            .map(security_problems)
            .unwrap_or_default(),
    })
}

/// Says which keys mean nothing for a set of this kind.
fn refuse_others(fields: &MapReader<'_>, kind: &'static str) {
    let others = TOOLSET_KINDS.into_iter().filter(|other| *other != kind).chain(["do", "http", "command", "nats"]);
    for other in others.filter(|other| fields.get(other).is_some()) {
        let message = format!("a tool has either `{kind}` or `{other}`");
        fields.field.review.add(fields.problem_at_key(other, message));
    }
    for key in ["description", "params", "returns"].into_iter().filter(|key| fields.get(key).is_some()) {
        let from = match kind {
            "openapi" => "the specification says it of each operation",
            "python" => "the function says it: in its signature and its docstring",
            _ => "the server says it of each tool",
        };
        let problem = fields.problem_at_key(key, format!("`{key}` is not for a tool with `{kind}`"));
        fields.field.review.add(problem.with_hint(from));
    }
    let openapi_only = ["server", "security"].into_iter().filter(|_| kind != "openapi");
    let lists = ["only", "except"].into_iter().filter(|_| kind == "python");
    for key in openapi_only.chain(lists).filter(|key| fields.get(key).is_some()) {
        let problem = fields.problem_at_key(key, format!("`{key}` is not for a tool with `{kind}`"));
        let hint = match kind {
            "python" => hint_for_python(fields, key),
            _ => "leave it out".to_owned(),
        };
        fields.field.review.add(problem.with_hint(hint));
    }
}

/// What to write in place of `only` or `except` for functions.
fn hint_for_python(fields: &MapReader<'_>, key: &'static str) -> String {
    let Some(written) = fields.get("python").and_then(|field| field.scalar()).map(|scalar| scalar.text.trim()) else {
        return "leave it out".to_owned();
    };
    if let Some((_, function)) = written.rsplit_once(':') {
        return format!("leave it out: {written} is the one function {function}");
    }
    let names: Vec<&str> = match fields.get(key).map(|field| &field.node.content) {
        Some(NodeContent::List(items)) if key == "only" => items
            .iter()
            .filter_map(|item| match &item.content {
                NodeContent::Scalar(scalar) if is_identifier(&scalar.text) => Some(scalar.text.as_str()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    match names[..] {
        [] => format!("name one function: {written}:get_weather"),
        [name] => format!("name the function: {written}:{name}"),
        [name, ..] => format!("give each function an entry of its own: {written}:{name}"),
    }
}

/// The map that a text stands for where a tool's entry should be one: a Python file or function, or a specification.
pub(super) fn meant_by_text(text: &str) -> Option<String> {
    let (file, function) = text.rsplit_once(':').map_or((text, None), |(file, name)| (file, Some(name)));
    if file.ends_with(".py") && function.is_none_or(is_identifier) {
        return Some(format!("{{ python: {text} }}"));
    }
    let path = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?.path().to_lowercase();
    let is_document = [".json", ".yaml", ".yml"].iter().any(|end| path.ends_with(end));
    is_document.then(|| format!("{{ openapi: {text:?} }}"))
}

/// Whether it can be the name of a function in Python.
fn is_identifier(name: &str) -> bool {
    let begins = name.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_');
    begins && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

fn globs(field: &FieldReader<'_>) -> Option<Vec<String>> {
    let globs: Vec<String> = field.items()?.iter().filter_map(|item| item.text().map(str::to_owned)).collect();
    if globs.is_empty() { field.is_not("a list of names, which may have * in them") } else { Some(globs) }
}

fn document(field: &FieldReader<'_>) -> Option<String> {
    let text = field.text()?.trim();
    if text.contains("://") {
        return match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.username().is_empty() => Some(text.to_owned()),
            _ => field.is_not("a file, or an address that begins with https:// or http://"),
        };
    }
    below(field, text).map(|()| text.to_owned())
}

fn server(field: &FieldReader<'_>) -> Option<String> {
    let text = field.text()?.trim();
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() => {
            Some(text.to_owned())
        }
        _ => field.is_not("the address of a server, like https://api.example.com/v1"),
    }
}

fn security(field: &FieldReader<'_>) -> Option<BTreeMap<String, String>> {
    let entries = field.entries()?;
    let each = entries.iter().map(|(entry, value)| Some((entry.key.clone(), value.name()?.to_string())));
    each.collect()
}

fn security_problems(field: FieldReader<'_>) -> BTreeMap<String, Problem> {
    let entries = field.entries().unwrap_or_default();
    entries.iter().map(|(entry, value)| (entry.key.clone(), value.problem(""))).collect()
}

fn python(field: &FieldReader<'_>) -> Option<PythonSource> {
    let text = field.text()?.trim();
    let (file, function) = match text.rsplit_once(':') {
        Some((file, function)) => (file, Some(function)),
        None => (text, None),
    };
    if !file.ends_with(".py") || function.is_some_and(|function| !is_identifier(function)) {
        return field.is_not("a Python file, or one function of it, like tools.py or tools.py:get_weather");
    }
    below(field, file)?;
    Some(PythonSource { file: file.to_owned(), function: function.map(str::to_owned) })
}

/// A worker executes workflows that other workers have announced: a workflow names files of its own project alone.
fn below(field: &FieldReader<'_>, file: &str) -> Option<()> {
    let mut parts = Path::new(file).components();
    // What others have installed is no file of the project's own: a virtual environment has programs in it that install more.
    let is_own =
        |part: &str| !part.starts_with('.') && !matches!(part, "site-packages" | "dist-packages" | "node_modules");
    let is_below = parts.all(|part| match part {
        Component::Normal(part) => part.to_str().is_some_and(is_own),
        Component::CurDir => true,
        _ => false,
    });
    match is_below && !file.is_empty() && !file.contains('\\') {
        true => Some(()),
        false => field.is_not("a file of the project's own below the folder of fastagency.yaml (no `..`, no hidden folder, nothing that is installed)"),
    }
}

fn prefix(field: &FieldReader<'_>) -> Option<String> {
    let text = field.text()?;
    let fits = text.len() <= LONGEST_PREFIX && Name::parse(text).is_ok();
    if fits { Some(text.to_owned()) } else { field.is_not("1 to 32 letters, digits, \"_\" or \"-\"") }
}
