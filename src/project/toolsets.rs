//! Whether the tools that a workflow takes from others can be there: their files, and what a specification in a file gives. Servers
//! are not asked.

use std::path::Path;

use crate::config::Config;
use crate::ids::Name;
use crate::openapi::{DocumentSource, OpenApiDocument, ToolSelection, files_below, read_file};
use crate::problem::{Problem, did_you_mean};
use crate::workflow::{MOST_TOOLS_OF_A_SET, OpenApiSource, ToolsetDeclaration, ToolsetSource, Workflow};

/// What is wrong with the sets of a workflow.
pub fn check_toolsets(workflow: &Workflow, config: &Config) -> Vec<Problem> {
    let folder = config.path.parent().unwrap_or(Path::new(""));
    workflow.tools.sets().values().filter_map(|set| check_set(set, config, folder)).collect()
}

fn check_set(set: &ToolsetDeclaration, config: &Config, folder: &Path) -> Option<Problem> {
    let problem = |message: String| Problem { message, ..set.problem.clone() };
    match &set.source {
        ToolsetSource::Python(tools) if !config.python.folder.join(&tools.file).is_file() => {
            let hint = "files are looked for below the folder of fastagency.yaml, or below python.folder";
            Some(problem(format!("there is no file {}", tools.file)).with_hint(hint))
        }
        ToolsetSource::OpenApi(tools) => check_openapi(tools, config, folder, problem),
        ToolsetSource::Mcp(tools) if !config.mcp.contains_key(&tools.server) => {
            let near = did_you_mean(tools.server.as_str(), config.mcp.keys().map(Name::as_str));
            let hint = near.unwrap_or_else(|| {
                format!("in fastagency.yaml: mcp: {{ {}: {{ command: [program] }} }}", tools.server)
            });
            Some(problem(format!("there is no MCP server {:?}", tools.server.as_str())).with_hint(hint))
        }
        _ => None,
    }
}

fn check_openapi(
    tools: &OpenApiSource,
    config: &Config,
    folder: &Path,
    problem: impl Fn(String) -> Problem,
) -> Option<Problem> {
    if let Some(name) = tools.security.values().find(|name| !config.secrets.contains_key(*name)) {
        let near = did_you_mean(name, config.secrets.keys().map(String::as_str));
        let hint = near.unwrap_or_else(|| "secrets are described in `secrets:` of fastagency.yaml".to_owned());
        return Some(problem(format!("there is no secret {name:?}")).with_hint(hint));
    }
    if tools.document.contains("://") { None } else { check_document(tools, folder, problem) }
}

fn check_document(tools: &OpenApiSource, folder: &Path, problem: impl Fn(String) -> Problem) -> Option<Problem> {
    let path = folder.join(&tools.document);
    let document = read_file(&path).map_err(|error| format!("{} cannot be read: {error}", tools.document));
    let document = document.and_then(|bytes| {
        let source = DocumentSource::File(path.clone());
        let load = files_below(&path);
        OpenApiDocument::read(&bytes, &source, &load).map_err(|error| format!("{}: {error}", tools.document))
    });
    let document = match document {
        Ok(document) => document,
        Err(why) => return Some(problem(why)),
    };
    let selection = ToolSelection { include: tools.only.clone(), exclude: tools.except.clone() };
    if let Some(glob) = selection.unmatched(document.operations()).first() {
        return Some(
            problem(format!("no operation matches {glob:?}")).with_hint("fastagency tools list shows their names"),
        );
    }
    let count = document.selected(&selection).count();
    (count > MOST_TOOLS_OF_A_SET).then(|| {
        let message = format!("these are {count} tools, and models take {MOST_TOOLS_OF_A_SET} at most");
        problem(message).with_hint("choose some: only: [\"get_*\", \"POST /orders\"]")
    })
}
