//! `fastagency tools list`: what agents are offered, by a workflow or of an OpenAPI specification.

use std::collections::HashMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::offered;
use super::read::read;
use crate::cli::CommonArguments;
use crate::cli::outcome::{self, CliError};
use crate::openapi::{DocumentSource, OpenApiDocument, OpenApiWarning, SkippedOperation, ToolSelection};
use crate::outside::openapi::{MOST_TOOLS, never_allowed};
use crate::problem::did_you_mean;

/// So many tools are named beside a warning that several have.
const NAMED_TOOLS: usize = 3;

/// What to list.
#[derive(Args)]
pub(super) struct ListArguments {
    /// The workflow whose agents' tools are listed. Its MCP servers and Python files are asked, and its specifications are read.
    #[arg(required_unless_present = "openapi", conflicts_with = "openapi")]
    workflow: Option<String>,
    /// One of its agents.
    #[arg(requires = "workflow")]
    agent: Option<String>,
    /// A specification (OpenAPI 3, Swagger 2.0; JSON or YAML) instead of a workflow: a file, or an address.
    #[arg(long, value_name = "FILE|URL")]
    openapi: Option<String>,
    /// Only tools whose name matches one of these globs; one with a `/` is compared with method and path (`GET /pets*`), one that
    /// begins with `tag:` with the tags.
    #[arg(long, value_name = "GLOB", num_args = 1.., conflicts_with = "workflow")]
    only: Vec<String>,
    /// Print JSON; of a workflow's tools with the whole schemas, as models are sent them.
    #[arg(long)]
    json: bool,
}

/// A tool in the list.
struct ToolRow {
    name: String,
    method: &'static str,
    path: String,
    warnings: Vec<OpenApiWarning>,
}

impl ListArguments {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        match (&self.openapi, &self.workflow) {
            (None, Some(workflow)) => offered::list(workflow, self.agent.as_deref(), self.json, &common).await,
            (Some(written), _) => self.of_specification(written).await,
            (None, None) => Err(CliError::Usage("name a workflow, or a specification with --openapi".to_owned())),
        }
    }

    async fn of_specification(&self, written: &str) -> Result<ExitCode, CliError> {
        let arguments = self;
        let source = DocumentSource::parse(written).map_err(CliError::Usage)?;
        let document = read(source).await?;
        let selection = ToolSelection { include: arguments.only.clone(), exclude: Vec::new() };
        let mut rows = Vec::new();
        let mut skipped: Vec<SkippedOperation> = document.skipped_of(&selection).cloned().collect();
        // One after the other: of thousands of tools only what is printed is kept.
        for entry in document.selected(&selection) {
            match document.tool(entry) {
                Ok(tool) => {
                    let refused = never_allowed(tool.security());
                    let refused = refused.map(|message| OpenApiWarning { place: "security".to_owned(), message });
                    let warnings = tool.warnings.iter().cloned().chain(refused).collect();
                    rows.push(ToolRow { name: tool.name, method: tool.method, path: tool.path, warnings });
                }
                Err(reason) => skipped.push(reason),
            }
        }
        if arguments.json {
            println!("{}", as_json(&rows, &skipped));
        } else {
            for warning in document.warnings() {
                eprintln!("warning: {}", outcome::shown(&warning.to_string()));
            }
            println!("{}", outcome::shown(table(&rows, &skipped).trim_end()));
            if rows.len() > MOST_TOOLS {
                eprintln!("note: an agent should have at most {MOST_TOOLS} tools; choose some with --only");
            }
        }
        match unmatched(&document, &selection) {
            Some(words) => Err(CliError::Usage(words)),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Which globs of a selection fit no operation, in a sentence; none: each fits one.
pub(super) fn unmatched(document: &OpenApiDocument, selection: &ToolSelection) -> Option<String> {
    let globs = selection.unmatched(document.operations());
    let first = globs.first()?;
    let all: Vec<String> = globs.iter().map(|glob| format!("{glob:?}")).collect();
    let names = document.operations().iter().map(|entry| entry.name.as_str());
    let hint = did_you_mean(first, names).unwrap_or_else(|| "without --only all operations are listed".to_owned());
    Some(format!("--only: no operation matches {} ({hint})", all.join(", ")))
}

fn as_json(rows: &[ToolRow], skipped: &[SkippedOperation]) -> serde_json::Value {
    let tool = |row: &ToolRow| {
        let warnings: Vec<String> = row.warnings.iter().map(ToString::to_string).collect();
        json!({"name": row.name, "method": row.method, "path": row.path, "warnings": warnings})
    };
    let skipped = skipped.iter().map(|one| json!({"operation": one.operation, "reason": one.reason}));
    json!({"tools": rows.iter().map(tool).collect::<Vec<_>>(), "skipped": skipped.collect::<Vec<_>>()})
}

/// The tools as a table, and what is to be said of them below it.
fn table(rows: &[ToolRow], skipped: &[SkippedOperation]) -> String {
    let mut text = String::new();
    let width = |cell: fn(&ToolRow) -> usize, head: usize| rows.iter().map(cell).max().unwrap_or(0).max(head);
    let (name, method) = (width(|row| row.name.len(), 4), width(|row| row.method.len(), 6));
    if !rows.is_empty() {
        text += &format!("{:<name$}  {:<method$}  PATH\n", "NAME", "METHOD");
    }
    for row in rows {
        text += &format!("{:<name$}  {:<method$}  {}\n", row.name, row.method, row.path);
    }
    let warned: Vec<&ToolRow> = rows.iter().filter(|row| !row.warnings.is_empty()).collect();
    if !warned.is_empty() {
        text += "\nWarnings\n";
    }
    for (message, places) in grouped(&warned) {
        let (name, place) = places[0];
        let more = match places.len() {
            1 => format!("{name}: {message} (at {place})"),
            many => {
                let names: Vec<&str> = places.iter().map(|(name, _)| *name).take(NAMED_TOOLS).collect();
                let rest = if many > NAMED_TOOLS { ", …" } else { "" };
                format!("{message} ({many} times: {}{rest}; first at {place})", names.join(", "))
            }
        };
        text += &format!("  {more}\n");
    }
    if !skipped.is_empty() {
        text += "\nSkipped\n";
    }
    for one in skipped {
        text += &format!("  {}: {}\n", one.operation, one.reason);
    }
    let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let warned = if warned.is_empty() { String::new() } else { format!(" ({} with warnings)", warned.len()) };
    if !text.is_empty() {
        text.push('\n');
    }
    text + &format!("{}{warned}, {} skipped", counted(rows.len(), "tool"), counted(skipped.len(), "operation"))
}

/// The warnings, each once, with the tools that have it and the places.
fn grouped<'r>(rows: &[&'r ToolRow]) -> Vec<(&'r str, Vec<(&'r str, &'r str)>)> {
    let mut groups: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        for warning in &row.warnings {
            let number = *known.entry(&warning.message).or_insert_with(|| {
                groups.push((&warning.message, Vec::new()));
                groups.len() - 1
            });
            groups[number].1.push((&row.name, &warning.place));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_for_people_or_for_programs() {
        let warning = OpenApiWarning { place: "#/paths/~1pets/post".to_owned(), message: "odd".to_owned() };
        let row = |name: &str, method, path: &str, warnings| ToolRow {
            name: name.to_owned(),
            method,
            path: path.to_owned(),
            warnings,
        };
        let rows = [row("listPets", "GET", "/pets", vec![]), row("save", "POST", "/pets", vec![warning.clone()])];
        let skipped = [SkippedOperation { operation: "QUERY /pets".to_owned(), reason: "it is new".to_owned() }];
        insta::assert_snapshot!(table(&rows, &skipped), @r"
        NAME      METHOD  PATH
        listPets  GET     /pets
        save      POST    /pets

        Warnings
          save: odd (at #/paths/~1pets/post)

        Skipped
          QUERY /pets: it is new

        2 tools (1 with warnings), 1 operation skipped
        ");
        let many: Vec<ToolRow> = ["a", "b", "c", "d"].map(|name| row(name, "GET", "/", vec![warning.clone()])).into();
        let many = table(&many, &[]);
        assert!(many.contains("\n  odd (4 times: a, b, c, …; first at #/paths/~1pets/post)\n\n"), "{many}");
        assert_eq!(table(&[], &[]), "0 tools, 0 operations skipped");
        let wanted = json!({
            "tools": [
                {"name": "listPets", "method": "GET", "path": "/pets", "warnings": []},
                {"name": "save", "method": "POST", "path": "/pets", "warnings": ["odd (at #/paths/~1pets/post)"]},
            ],
            "skipped": [{"operation": "QUERY /pets", "reason": "it is new"}],
        });
        assert_eq!(as_json(&rows, &skipped), wanted);
    }
}
