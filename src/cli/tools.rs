//! `fastagency tools`: what agents would be offered of an OpenAPI specification.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use reqwest::{Client, Url, redirect};
use serde_json::json;
use tokio::runtime::Handle;

use crate::cli::outcome::{self, CliError};
use crate::openapi::{
    DocumentSource, LARGEST_DOCUMENT, OpenApiDocument, OpenApiWarning, SkippedOperation, ToolSelection, files_below,
    read_file,
};
use crate::problem;
use crate::yaml::secrets;

/// How long the whole of a document may take to come.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the address of a document may lead to another one.
const MOST_REDIRECTS: usize = 5;
/// More tools than this no agent should have: servers of models refuse them.
const MANY_TOOLS: usize = 128;

/// List the tools of an OpenAPI specification.
#[derive(Args)]
pub(super) struct ToolsCommand {
    #[command(subcommand)]
    what: ToolsSubcommand,
}

#[derive(Subcommand)]
enum ToolsSubcommand {
    /// List the tools that the operations of a specification become, and the operations that become none.
    List(ListArguments),
}

#[derive(Args)]
struct ListArguments {
    /// The specification (OpenAPI 3, Swagger 2.0; JSON or YAML): a file, or an address.
    #[arg(long, value_name = "FILE|URL")]
    openapi: String,
    /// Only tools whose name matches one of these globs; one with a `/` is compared with method and path (`GET /pets*`).
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    only: Vec<String>,
    /// Print JSON.
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

impl ToolsCommand {
    pub(super) async fn run(self) -> Result<ExitCode, CliError> {
        let ToolsSubcommand::List(arguments) = self.what;
        let source = DocumentSource::parse(&arguments.openapi).map_err(CliError::Usage)?;
        let document = read(source).await?;
        let selection = ToolSelection { include: arguments.only, exclude: Vec::new() };
        for glob in selection.unmatched(document.operations()) {
            eprintln!("note: no tool matches {}", outcome::shown(glob));
        }
        let mut rows = Vec::new();
        let mut skipped: Vec<SkippedOperation> = document.skipped_of(&selection).cloned().collect();
        // One after the other: of thousands of tools only what is printed is kept.
        for entry in document.selected(&selection) {
            match document.tool(entry) {
                Ok(tool) => {
                    let (name, method, path) = (tool.name, tool.method, tool.path);
                    rows.push(ToolRow { name, method, path, warnings: tool.warnings });
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
            if rows.len() > MANY_TOOLS {
                eprintln!("note: an agent should have at most {MANY_TOOLS} tools; choose some with --only");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
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
    for row in &warned {
        for warning in &row.warnings {
            text += &format!("  {}: {warning}\n", row.name);
        }
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

/// Reads a specification, wherever it is.
async fn read(source: DocumentSource) -> Result<OpenApiDocument, CliError> {
    match source {
        DocumentSource::File(path) => {
            let bytes = read_file(&path)
                .map_err(|error| CliError::Usage(format!("{} cannot be read: {error}", path.display())))?;
            let load = files_below(&path);
            let source = DocumentSource::File(path);
            OpenApiDocument::read(&bytes, &source, &load).map_err(|error| unreadable(&source, &error))
        }
        DocumentSource::Url(url) => {
            let (bytes, url) = fetch(url, MOST_REDIRECTS).await.map_err(|why| CliError::Unreachable(anyhow!(why)))?;
            let source = DocumentSource::Url(url);
            // The reader waits for the other documents one after the other, on a thread that may wait.
            let runtime = Handle::current();
            let read = move || {
                let load = |sibling: &DocumentSource| match sibling {
                    // What is allowed is this address and no other.
                    DocumentSource::Url(url) => runtime.block_on(fetch(url.clone(), 0)).map(|(bytes, _)| bytes),
                    DocumentSource::File(path) => Err(format!("{} is a file", path.display())),
                };
                OpenApiDocument::read(&bytes, &source, &load).map_err(|error| unreadable(&source, &error))
            };
            tokio::task::spawn_blocking(read).await.map_err(anyhow::Error::from)?
        }
    }
}

fn unreadable(source: &DocumentSource, error: &crate::openapi::Error) -> CliError {
    CliError::Usage(secrets::without_logins(&format!("{source}: {error}")))
}

/// The bytes at an address, and the address that they came from in the end.
async fn fetch(url: Url, redirects: usize) -> Result<(Vec<u8>, Url), String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = match redirects {
        0 => redirect::Policy::none(),
        most => redirect::Policy::limited(most),
    };
    let shown = secrets::without_logins(url.as_str());
    let failed = |error: reqwest::Error| format!("{shown} cannot be fetched: {}", problem::chain(&error.without_url()));
    let client = Client::builder().timeout(FETCH_TIMEOUT).redirect(policy).build().map_err(failed)?;
    let request = client.get(url.clone()).header(reqwest::header::ACCEPT, "application/json, application/yaml, */*");
    let mut response = request.send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(format!("{shown} cannot be fetched: the server says {}", response.status()));
    }
    let from = response.url().clone();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        // The reader refuses what is longer, with its own sentence.
        if bytes.len() > LARGEST_DOCUMENT {
            break;
        }
    }
    Ok((bytes, from))
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
        let rows = [row("listPets", "GET", "/pets", vec![]), row("save", "POST", "/pets", vec![warning])];
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
