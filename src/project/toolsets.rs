//! Whether the tools that a workflow takes from others can be there: their files, and what a specification in a file gives. Servers
//! are not asked.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::python_files::PythonFiles;
use crate::config::{Config, McpAddress, McpCredential, McpReach};
use crate::ids::Name;
use crate::openapi::{DocumentSource, OpenApiDocument, OpenApiTool, ToolSelection, files_below, read_file};
use crate::problem::{Problem, did_you_mean};
use crate::protocol::toolset::ListedTool;
use crate::workflow::{MOST_TOOLS_OF_AN_AGENT, McpSource, OpenApiSource, ToolsetDeclaration, ToolsetSource, Workflow};

/// What is wrong with the sets of a workflow.
pub(super) fn check_toolsets(workflow: &Workflow, config: &Config, python: &PythonFiles) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut known = workflow.clone();
    for set in workflow.tools.sets().values() {
        problems.extend(check_security(set, config));
        match check_set(workflow, set, config, python) {
            Ok(None) => {}
            Ok(Some(listed)) => match known.with_list(&set.name, listed) {
                Ok(longer) => known = longer,
                Err(message) => problems.push(Problem { message, ..set.problem.clone() }),
            },
            Err(problem) => problems.push(*problem),
        }
    }
    problems
}

/// The secrets of security schemes that there are not, each where it stands.
fn check_security(set: &ToolsetDeclaration, config: &Config) -> Vec<Problem> {
    let ToolsetSource::OpenApi(tools) = &set.source else { return Vec::new() };
    let unknown = tools.security.iter().filter(|(_, name)| !config.secrets.contains_key(*name));
    let problem = |(scheme, name): (&String, &String)| {
        let near = did_you_mean(name, config.secrets.keys().map(String::as_str));
        let hint = near.unwrap_or_else(|| "secrets are described in `secrets:` of fastagency.yaml".to_owned());
        let at = set.security_problems.get(scheme).unwrap_or(&set.problem);
        Problem { message: format!("there is no secret {name:?}"), ..at.clone() }.with_hint(hint)
    };
    let homeless = tools
        .security
        .iter()
        .filter(|(_, name)| config.secrets.get(*name).is_some_and(|secret| secret.hosts.is_empty()));
    let no_hosts = |(scheme, name): (&String, &String)| {
        let at = set.security_problems.get(scheme).unwrap_or(&set.problem);
        let hint = format!("in fastagency.yaml: secrets.{name}: {{ hosts: [HOST OF THE API] }}");
        Problem { message: format!("the secret {name:?} has no hosts, so no server gets it"), ..at.clone() }
            .with_hint(hint)
    };
    unknown.map(problem).chain(homeless.map(no_hosts)).collect()
}

/// The tools of a set, as far as files say them.
fn check_set(
    workflow: &Workflow,
    set: &ToolsetDeclaration,
    config: &Config,
    python: &PythonFiles,
) -> Result<Option<Vec<ListedTool>>, Box<Problem>> {
    let problem = |message: String| Problem { message, ..set.problem.clone() };
    let folder = config.path.parent().unwrap_or(Path::new(""));
    match &set.source {
        ToolsetSource::Python(tools) if !config.python.folder.join(&tools.file).is_file() => {
            let hint = "files are looked for below the folder of fastagency.yaml, or below python.folder";
            Err(Box::new(problem(format!("there is no file {}", tools.file)).with_hint(hint)))
        }
        ToolsetSource::OpenApi(tools) => {
            let Some(document) = check_openapi(tools, folder, problem)? else { return Ok(None) };
            if let Some(wrong) = check_names(workflow, set, tools, &document, problem) {
                return Err(Box::new(wrong));
            }
            let selection = ToolSelection { include: tools.only.clone(), exclude: tools.except.clone() };
            let listed: Vec<ListedTool> = document.tools(&selection).tools.iter().map(listed).collect();
            check_inject(set, &listed, problem).map_or(Ok(Some(listed)), |wrong| Err(Box::new(wrong)))
        }
        ToolsetSource::Mcp(tools) => check_mcp(tools, config, problem).map_or(Ok(None), |wrong| Err(Box::new(wrong))),
        ToolsetSource::Python(tools) => {
            python.check(set, tools, problem).map_or(Ok(None), |wrong| Err(Box::new(wrong)))
        }
    }
}

fn listed(tool: &OpenApiTool) -> ListedTool {
    ListedTool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        params: Value::clone(tool.schema()),
        idempotent: tool.is_safe(),
    }
}

/// Whether each argument that models do not see is one of a tool.
fn check_inject(
    set: &ToolsetDeclaration,
    listed: &[ListedTool],
    problem: impl Fn(String) -> Problem,
) -> Option<Problem> {
    let takes_any =
        |tool: &ListedTool| tool.params.get("additionalProperties").is_some_and(|more| more != &Value::Bool(false));
    if listed.iter().any(takes_any) {
        return None;
    }
    let properties = listed.iter().filter_map(|tool| tool.params.get("properties")?.as_object());
    let known: BTreeSet<&str> = properties.flat_map(|properties| properties.keys().map(String::as_str)).collect();
    let unknown = set.inject.names().find(|name| !known.contains(name))?;
    let near = did_you_mean(unknown, known.iter().copied());
    let hint = near.unwrap_or_else(|| "`inject` gives arguments of the operations, by their names".to_owned());
    Some(problem(format!("no tool of {} has an argument {unknown:?}, which `inject` gives", set.name)).with_hint(hint))
}

fn check_mcp(tools: &McpSource, config: &Config, problem: impl Fn(String) -> Problem) -> Option<Problem> {
    let Some(server) = config.mcp.get(&tools.server) else {
        let near = did_you_mean(tools.server.as_str(), config.mcp.keys().map(Name::as_str));
        let hint = near
            .unwrap_or_else(|| format!("in fastagency.yaml: mcp: {{ {}: {{ command: [program] }} }}", tools.server));
        return Some(problem(format!("there is no MCP server {:?}", tools.server.as_str())).with_hint(hint));
    };
    let McpReach::Address(McpAddress { credential: Some(McpCredential::Secret(name)), .. }) = &server.reach else {
        return None;
    };
    match config.secrets.get(name) {
        Some(secret) if secret.is_of_caller() => {
            let message = format!(
                "the MCP server shows the secret {name:?} as its `auth`, which is the caller's token, and all callers share the connection"
            );
            return Some(
                problem(message).with_hint("call the server's API with http or openapi, or give it another secret"),
            );
        }
        Some(secret) if secret.hosts.is_empty() => {
            let hint = format!("in fastagency.yaml: secrets.{name}: {{ hosts: [HOST OF THE SERVER] }}");
            let message = format!(
                "the secret {name:?}, which the MCP server has as its `auth`, has no hosts, so no server gets it"
            );
            return Some(problem(message).with_hint(hint));
        }
        Some(_) => return None,
        None => {}
    }
    let near = did_you_mean(name, config.secrets.keys().map(String::as_str));
    let hint = near.unwrap_or_else(|| "secrets are described in `secrets:` of fastagency.yaml".to_owned());
    Some(problem(format!("there is no secret {name:?}, which the MCP server has as its `auth`")).with_hint(hint))
}

/// The specification, if it is in a file.
fn check_openapi(
    tools: &OpenApiSource,
    folder: &Path,
    problem: impl Fn(String) -> Problem,
) -> Result<Option<OpenApiDocument>, Box<Problem>> {
    if tools.document.contains("://") {
        return Ok(None);
    }
    let path = folder.join(&tools.document);
    let document = read_file(&path).map_err(|error| format!("{} cannot be read: {error}", tools.document));
    let document = document.and_then(|bytes| {
        let source = DocumentSource::File(path.clone());
        let load = files_below(&path);
        OpenApiDocument::read(&bytes, &source, &load).map_err(|error| format!("{}: {error}", tools.document))
    });
    let document = document.map_err(|why| Box::new(problem(why)))?;
    let schemes = document.security_schemes();
    if let Some(name) = tools.security.keys().find(|name| !schemes.contains(&name.as_str())) {
        let near = did_you_mean(name, schemes.iter().copied());
        let hint = near.unwrap_or_else(|| match schemes.is_empty() {
            true => "the specification describes none: leave `security` out".to_owned(),
            false => format!("there is {}", schemes.join(", ")),
        });
        let message = format!("{} has no security scheme {name:?}", tools.document);
        return Err(Box::new(problem(message).with_hint(hint)));
    }
    Ok(Some(document))
}

/// Whether all names of the workflow are names of tools that the specification gives.
fn check_names(
    workflow: &Workflow,
    set: &ToolsetDeclaration,
    tools: &OpenApiSource,
    document: &OpenApiDocument,
    problem: impl Fn(String) -> Problem,
) -> Option<Problem> {
    let selection = ToolSelection { include: tools.only.clone(), exclude: tools.except.clone() };
    let show = "fastagency tools list shows their names";
    let exceptions = selection.unmatched_exceptions(document.operations());
    if let Some(glob) = selection.unmatched(document.operations()).iter().chain(&exceptions).next() {
        return Some(problem(format!("no operation matches {glob:?}")).with_hint(show));
    }
    let names: Vec<&str> = document.selected(&selection).map(|entry| entry.name.as_str()).collect();
    if names.is_empty() && !document.operations().is_empty() {
        return Some(problem(format!("`except` leaves no operation of {}", tools.document)).with_hint(show));
    }
    if names.len() > MOST_TOOLS_OF_AN_AGENT {
        let message = format!("these are {} tools, and models take {MOST_TOOLS_OF_AN_AGENT} at most", names.len());
        return Some(problem(message).with_hint("choose some: only: [\"get_*\", \"POST /orders\"]"));
    }
    let hint = |name: &str| did_you_mean(name, names.iter().copied()).unwrap_or_else(|| show.to_owned());
    let is_one = |glob: &&String| names.iter().any(|name| set.names(glob, name));
    if let Some(glob) = set.approved_tools.iter().find(|glob| !is_one(glob)) {
        let at = set.approve.problem.clone().unwrap_or_else(|| problem(String::new()));
        let message = format!("no tool of {} is called {glob:?}, so nobody would be asked about it", set.name);
        return Some(Problem { message, ..at }.with_hint(hint(glob)));
    }
    let offered = workflow.agents.values().flat_map(|agent| agent.tools.iter().chain(&agent.executes));
    let own = offered.filter_map(|name| name.as_str().split_once('.')).filter(|(of, _)| *of == set.name.as_str());
    let unknown = own.map(|(_, tool)| tool).find(|tool| !names.contains(tool))?;
    Some(
        problem(format!("an agent has the tool \"{}.{unknown}\", and there is none", set.name))
            .with_hint(hint(unknown)),
    )
}
