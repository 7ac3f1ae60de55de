//! What an operator should know of a configuration that is right.

use std::collections::BTreeMap;

use super::fields::SHORTEST_SECRET;
use super::secrets::{SHORTEST_HIDDEN, entries_of};
use super::{McpServerConfig, ProgramConfig, PythonConfig};
use crate::ids::Name;
use crate::problem::{Problem, did_you_mean};
use crate::yaml::{FieldReader, MapReader};

/// What is to be known of keys that hold, but not for long.
pub(super) fn short_keys(fields: &MapReader<'_>) -> Vec<Problem> {
    let audit = fields.get("audit").filter(FieldReader::is_map);
    let audit_key = audit.and_then(|audit| audit.entries()?.into_iter().find(|(entry, _)| entry.key == "key"));
    let keys = [("seal_key", fields.get("seal_key")), ("audit.key", audit_key.map(|(_, field)| field))];
    let short = keys.into_iter().filter_map(|(name, field)| {
        let field = field?;
        let bytes = field.scalar().filter(|scalar| !scalar.text.is_empty())?.text.len();
        let message = format!("{name} has fewer than {SHORTEST_SECRET} bytes, so it can be guessed");
        (bytes < SHORTEST_SECRET).then(|| field.problem(message).with_hint("make one with: openssl rand -base64 32"))
    });
    short.collect()
}

/// Secrets that are too short to be taken out of answers and logs.
pub(super) fn short_secrets(field: &FieldReader<'_>) -> Vec<Problem> {
    const TEXTS: [&str; 2] = ["value", "password"];
    let texts = entries_of(field).into_iter().filter(|(_, secret)| secret.is_map()).flat_map(|(name, secret)| {
        let texts = secret.entries().unwrap_or_default().into_iter();
        texts.filter(|(entry, _)| TEXTS.contains(&entry.key.as_str())).map(move |(_, text)| (name.key.clone(), text))
    });
    let short = texts.filter_map(|(name, text)| {
        let scalar = text.scalar().filter(|scalar| scalar.missing.is_none() && !scalar.text.is_empty())?;
        let message = format!(
            "the secret {name:?} has fewer than {SHORTEST_HIDDEN} characters, so it is not hidden where a server sends it back"
        );
        (scalar.text.len() < SHORTEST_HIDDEN).then(|| text.problem(message).with_hint("take a longer one"))
    });
    short.collect()
}

/// Names in `tools` of secrets that nothing has.
pub(super) fn unknown_tools(
    field: &FieldReader<'_>,
    commands: &BTreeMap<String, ProgramConfig>,
    mcp: &BTreeMap<Name, McpServerConfig>,
    python: &PythonConfig,
) -> Vec<Problem> {
    let below = |field: &FieldReader<'_>, key: &str| -> Vec<Problem> {
        let known: Vec<&str> = match key {
            "command" => commands.keys().map(String::as_str).collect(),
            "mcp" => mcp.keys().map(Name::as_str).collect(),
            _ => Vec::new(),
        };
        let unknown = |name: &FieldReader<'_>| {
            let text = name.scalar()?.text.clone();
            let (message, hint) = match key {
                "python" if python.folder.join(&text).is_file() => return None,
                "python" => {
                    (format!("there is no file {text:?}"), "files are named as in `python` of a tool".to_owned())
                }
                _ if known.contains(&text.as_str()) => return None,
                "command" => {
                    (format!("there is no command {text:?}"), "commands are described in `commands:`".to_owned())
                }
                _ => (format!("there is no MCP server {text:?}"), "MCP servers are described in `mcp:`".to_owned()),
            };
            let hint = did_you_mean(&text, known.iter().copied()).unwrap_or(hint);
            Some(name.problem(message).with_hint(hint))
        };
        let names = if field.is_list() { field.items() } else { None };
        names.unwrap_or_default().iter().filter_map(unknown).collect()
    };
    let mut problems = Vec::new();
    for (_, secret) in entries_of(field) {
        let tools = entries_of(&secret).into_iter().filter(|(entry, _)| entry.key == "tools");
        for (entry, names) in tools.flat_map(|(_, tools)| entries_of(&tools)) {
            if ["command", "python", "mcp"].contains(&entry.key.as_str()) {
                problems.extend(below(&names, &entry.key));
            }
        }
    }
    problems
}
