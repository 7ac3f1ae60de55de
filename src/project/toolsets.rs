//! Whether the tools that a workflow takes from others can be there: their files, and what a specification in a file gives. Servers
//! are not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::findings::ProjectFindings;
use super::python_files::PythonFiles;
use super::set_outline::{SetOutline, near_tool};
use super::tool_calls::check_tool_calls;
use crate::config::{Config, McpAddress, McpCredential, McpReach};
use crate::ids::Name;
use crate::openapi::{DocumentSource, OpenApiDocument, OpenApiTool, ToolSelection, files_below, read_file};
use crate::outside::addresses::AddressRules;
use crate::outside::secrets::HOW_TO_SET;
use crate::problem::{Problem, did_you_mean};
use crate::protocol::toolset::ListedTool;
use crate::workflow::{MOST_TOOLS_OF_AN_AGENT, McpSource, OpenApiSource, ToolsetDeclaration, ToolsetSource, Workflow};
use crate::yaml::secrets;

/// What is wrong with the sets of a workflow, and with the steps that call its tools.
pub(super) fn check_tools(workflow: &Workflow, config: &Config, python: &PythonFiles) -> ProjectFindings {
    let mut found = ProjectFindings::default();
    let mut known = workflow.clone();
    let mut outlines = BTreeMap::new();
    for set in workflow.tools.sets().values() {
        found.problems.extend(check_security(set, config));
        found.problems.extend(check_twins(workflow, set));
        found.warnings.extend(without_value(set, config));
        if let ToolsetSource::Python(source) = &set.source {
            let left_out = python.left_out(source).into_iter();
            let warning = |(message, hint)| Problem { message, ..set.problem.clone() }.with_hint(hint);
            found.warnings.extend(left_out.map(warning));
        }
        match check_set(workflow, set, config, python) {
            Ok(outline) => {
                let tools = outline.iter().flat_map(|outline| outline.tools.clone()).collect();
                match known.with_some_tools(&set.name, tools) {
                    Ok(longer) => known = longer,
                    Err(message) => found.problems.push(Problem { message, ..set.problem.clone() }),
                }
                outlines.insert(set.name.clone(), outline);
            }
            Err(problem) => found.problems.push(*problem),
        }
    }
    found.add(check_tool_calls(&known, &outlines));
    found
}

/// A set whose tools another one has, too, under the same names. It is said of sets whose tools are not known here; the names of the
/// others are compared.
fn check_twins(workflow: &Workflow, set: &ToolsetDeclaration) -> Option<Problem> {
    let (owner, selection) = foreign_owner(&set.source)?;
    let before = workflow.tools.sets().values().take_while(|other| other.name != set.name);
    let mut same_owner = before.filter(|other| other.prefix == set.prefix).filter_map(|other| {
        let (other_owner, selection) = foreign_owner(&other.source)?;
        (other_owner == owner).then_some((other, selection))
    });
    let takes_all = |(only, except): Selection<'_>| only.is_empty() && except.is_empty();
    let has_the_same = |one: Selection<'_>, other: Selection<'_>| one == other || takes_all(one) || takes_all(other);
    let (other, _) = same_owner.find(|(_, others)| has_the_same(selection, *others))?;
    let message = format!("{} and {} have the same tools of {owner}, under the same names", other.name, set.name);
    Some(
        Problem { message, ..set.problem.clone() }.with_hint("give one of them a `prefix`, or other tools with `only`"),
    )
}

/// The globs of what is taken, and of what is left out.
type Selection<'s> = (&'s [String], &'s [String]);

/// Who has tools that are known only when a run begins, and which of them are taken.
fn foreign_owner(source: &ToolsetSource) -> Option<(String, Selection<'_>)> {
    match source {
        ToolsetSource::Mcp(tools) => Some((
            format!("the MCP server {:?}", tools.server.as_str()),
            (tools.only.as_slice(), tools.except.as_slice()),
        )),
        ToolsetSource::OpenApi(tools) if tools.document.contains("://") => {
            Some((secrets::without_logins(&tools.document), (tools.only.as_slice(), tools.except.as_slice())))
        }
        _ => None,
    }
}

/// The secrets that a set shows and that have no value here.
fn without_value(set: &ToolsetDeclaration, config: &Config) -> Vec<Problem> {
    let named: Vec<(&String, &Problem)> = match &set.source {
        ToolsetSource::OpenApi(tools) => {
            let place = |scheme: &String| set.security_problems.get(scheme).unwrap_or(&set.problem);
            tools.security.iter().map(|(scheme, name)| (name, place(scheme))).collect()
        }
        ToolsetSource::Mcp(tools) => match config.mcp.get(&tools.server).map(|server| &server.reach) {
            Some(McpReach::Address(McpAddress { credential: Some(McpCredential::Secret(name)), .. })) => {
                vec![(name, &set.problem)]
            }
            _ => Vec::new(),
        },
        ToolsetSource::Python(_) => Vec::new(),
    };
    let warning = |(name, place): (&String, &Problem)| {
        let why = config.secrets.get(name)?.missing.as_ref()?;
        let message = format!("the secret {name:?} has no value: {why}");
        Some(Problem { message, ..place.clone() }.with_hint(HOW_TO_SET))
    };
    named.into_iter().filter_map(warning).collect()
}

/// The sets of MCP servers at addresses that no request may go to. What names mean is known when they are asked, and not here; through a
/// proxy it is the proxy's matter.
pub(super) fn check_addresses(workflow: &Workflow, config: &Config) -> Vec<Problem> {
    if config.outgoing.proxy.is_some() {
        return Vec::new();
    }
    workflow.tools.sets().values().filter_map(|set| check_address(set, config)).collect()
}

fn check_address(set: &ToolsetDeclaration, config: &Config) -> Option<Problem> {
    let ToolsetSource::Mcp(tools) = &set.source else { return None };
    let McpReach::Address(address) = &config.mcp.get(&tools.server)?.reach else { return None };
    let url = Url::parse(address.url.expose_secret()).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    host.parse::<IpAddr>().ok()?;
    let why = AddressRules::new(&config.outgoing.allow_private).refuses_host(host)?;
    let message = format!("the MCP server {:?} cannot be asked: {why}", tools.server.as_str());
    let hint = format!("if workflows may ask it, in fastagency.yaml: outgoing: {{ allow_private: [{host:?}] }}");
    Some(Problem { message, ..set.problem.clone() }.with_hint(hint))
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
) -> Result<Option<SetOutline>, Box<Problem>> {
    let problem = |message: String| Problem { message, ..set.problem.clone() };
    let folder = config.path.parent().unwrap_or(Path::new(""));
    match &set.source {
        ToolsetSource::Python(tools) if !config.python.folder.join(&tools.file).is_file() => {
            let hint = "files are looked for below the folder of fastagency.yaml, or below python.folder";
            Err(Box::new(problem(format!("there is no file {}", tools.file)).with_hint(hint)))
        }
        ToolsetSource::OpenApi(tools) => {
            let Some(document) = check_openapi(tools, folder, problem)? else { return Ok(None) };
            if let Some(wrong) = check_names(tools, &document, problem) {
                return Err(Box::new(wrong));
            }
            let selection = ToolSelection { include: tools.only.clone(), exclude: tools.except.clone() };
            let outline = SetOutline::whole(document.tools(&selection).tools.iter().map(listed).collect());
            let wrong = check_outline(workflow, set, &outline, problem);
            let wrong = wrong.or_else(|| check_inject(set, &outline.tools, problem));
            wrong.map_or(Ok(Some(outline)), |wrong| Err(Box::new(wrong)))
        }
        ToolsetSource::Mcp(tools) => check_mcp(tools, config, problem).map_or(Ok(None), |wrong| Err(Box::new(wrong))),
        ToolsetSource::Python(tools) => {
            let outline = python.outline(tools);
            let wrong = python.check(set, tools, problem);
            let wrong = wrong.or_else(|| check_outline(workflow, set, outline.as_ref()?, problem));
            wrong.map_or(Ok(outline), |wrong| Err(Box::new(wrong)))
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

/// Whether the specification gives what is chosen of it.
fn check_names(
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
    None
}

/// Whether the names that a workflow has for tools of a set are names of tools that it has.
fn check_outline(
    workflow: &Workflow,
    set: &ToolsetDeclaration,
    outline: &SetOutline,
    problem: impl Fn(String) -> Problem,
) -> Option<Problem> {
    let hint = |name: &str| near_tool(set, outline, name);
    let is_one = |glob: &&String| outline.may_have_one(|name| set.names(glob, name));
    if let Some(glob) = set.approved_tools.iter().find(|glob| !is_one(glob)) {
        let at = set.approve.problem.clone().unwrap_or_else(|| problem(String::new()));
        let message = format!("no tool of {} is called {glob:?}, so nobody would be asked about it", set.name);
        return Some(Problem { message, ..at }.with_hint(hint(glob)));
    }
    let offered = workflow.agents.values().flat_map(|agent| agent.tools.iter().chain(&agent.executes));
    let own = offered.filter_map(|name| name.as_str().split_once('.')).filter(|(of, _)| *of == set.name.as_str());
    let unknown = own.map(|(_, tool)| tool).find(|tool| !outline.may_have(tool))?;
    Some(
        problem(format!("an agent has the tool \"{}.{unknown}\", and there is none", set.name))
            .with_hint(hint(unknown)),
    )
}
