//! `fastagency tools import`: what to write down so that a workflow has the tools of a specification.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use reqwest::Url;

use super::list::unmatched;
use super::read::read;
use crate::cli::outcome::{self, CliError};
use crate::openapi::{
    DocumentSource, OpenApiDocument, OpenApiTool, RequiredScheme, SecurityAlternative, SecuritySchemeKind,
    ServerChoice, ToolSelection,
};
use crate::outside::addresses::AddressRules;
use crate::outside::openapi::{
    MOST_TOOLS, described, needs_person, never_allowed, secret_line, unsupported, yaml_text,
};

/// The host that is written where the specification names no server.
const NO_HOST: &str = "api.example.com";
/// The longest name of a set or of a secret.
const LONGEST_NAME: usize = 64;
/// So many tags are named to choose from.
const MOST_TAGS: usize = 12;

/// What to import.
#[derive(Args)]
pub(super) struct ImportArguments {
    /// The specification (OpenAPI 3, Swagger 2.0; JSON or YAML): a file, or an address.
    #[arg(long, value_name = "FILE|URL")]
    openapi: String,
    /// Only tools whose name matches one of these globs (`GET /pets*`: method and path; `tag:billing`: a tag).
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    only: Vec<String>,
    /// The name of the entry (default: made of the title of the specification).
    #[arg(long)]
    name: Option<String>,
}

/// What is written for a scheme.
#[derive(Debug)]
struct SchemeUse {
    /// With the scopes of all operations.
    scheme: RequiredScheme,
    hosts: BTreeSet<String>,
}

impl ImportArguments {
    pub(super) async fn run(self) -> Result<ExitCode, CliError> {
        let document = read(DocumentSource::parse(&self.openapi).map_err(CliError::Usage)?).await?;
        let selection = ToolSelection { include: self.only.clone(), exclude: Vec::new() };
        if let Some(words) = unmatched(&document, &selection) {
            return Err(CliError::Usage(words));
        }
        let count = document.selected(&selection).count();
        if count > MOST_TOOLS {
            return Err(CliError::Usage(too_many(&document, &selection, count)));
        }
        let found = document.tools(&selection);
        for skipped in &found.skipped {
            eprintln!("note: {} is no tool: {}", outcome::shown(&skipped.operation), outcome::shown(&skipped.reason));
        }
        if found.tools.is_empty() {
            return Err(CliError::Usage("no operation is selected that can be a tool".to_owned()));
        }
        let name = name_of(self.name.as_deref().unwrap_or(document.title()), "api");
        let private = private_hosts(&self.openapi, &found.tools).await;
        print!("{}", outcome::shown(&written(&name, &self.openapi, &self.only, &found.tools, &private)));
        Ok(ExitCode::SUCCESS)
    }
}

fn too_many(document: &OpenApiDocument, selection: &ToolSelection, count: usize) -> String {
    let mut tags: BTreeMap<&str, usize> = BTreeMap::new();
    for tag in document.selected(selection).flat_map(|entry| &entry.tags) {
        *tags.entry(tag).or_default() += 1;
    }
    let mut tags: Vec<(&str, usize)> = tags.into_iter().collect();
    tags.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let tags: Vec<String> = tags.iter().take(MOST_TAGS).map(|(tag, count)| format!("tag:{tag} ({count})")).collect();
    let tags = if tags.is_empty() { String::new() } else { format!("; its tags: {}", tags.join(", ")) };
    format!("these are {count} tools, and an agent can have at most {MOST_TOOLS}: choose some with --only{tags}")
}

/// A name, made of words.
fn name_of(words: &str, otherwise: &str) -> String {
    let letters: String =
        words.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let parts: Vec<&str> = letters.split('_').filter(|part| !part.is_empty()).collect();
    let mut name = parts.join("_");
    name.truncate(LONGEST_NAME);
    if name.is_empty() { otherwise.to_owned() } else { name }
}

/// The hosts of the specification and of its servers that only this machine or its network reaches: no workflow asks them unless the
/// configuration names them.
async fn private_hosts(source: &str, tools: &[OpenApiTool]) -> BTreeSet<String> {
    let rules = AddressRules::default();
    let own = Url::parse(source).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let servers = tools.iter().filter_map(|tool| tool.server(&ServerChoice::default()).ok());
    let hosts = servers.chain(own.clone()).filter_map(|url| url.host_str().map(str::to_owned));
    let mut private: BTreeSet<String> = hosts.filter(|host| rules.refuses_host(host).is_some()).collect();
    // The name of a server that was just asked is known.
    if let Some((url, host)) = own.as_ref().and_then(|url| Some((url, url.host_str()?)))
        && let Ok(addresses) = tokio::net::lookup_host((host, url.port_or_known_default().unwrap_or(443))).await
        && addresses.into_iter().any(|address| !rules.allows(address.ip()))
    {
        private.insert(host.to_owned());
    }
    private.into_iter().map(|host| host.trim_matches(['[', ']']).to_owned()).collect()
}

fn written(name: &str, source: &str, only: &[String], tools: &[OpenApiTool], private: &BTreeSet<String>) -> String {
    let (schemes, others) = schemes(tools);
    let secret = |scheme: &str| name_of(&format!("{name}_{scheme}"), "secret");
    let mut text = String::from("# In the workflow; agents name the tools that they may use.\ntools:\n");
    let _ = writeln!(text, "  {name}:\n    openapi: {}", yaml_text(source));
    if tools.iter().any(|tool| tool.server(&ServerChoice::default()).is_err()) {
        let _ = writeln!(text, "    server: https://{NO_HOST} # the specification does not say it: write it here");
    }
    let count = if tools.len() == 1 { "1 operation".to_owned() } else { format!("{} operations", tools.len()) };
    if only.is_empty() {
        let _ = writeln!(text, "    only: # {count}; leave out what no agent needs");
        for tool in tools {
            let _ = writeln!(text, "      - {} # {} {}", yaml_text(&tool.name), tool.method, tool.path);
        }
    } else {
        let globs: Vec<String> = only.iter().map(|glob| yaml_text(glob)).collect();
        let _ = writeln!(text, "    only: [{}] # {count}", globs.join(", "));
    }
    if !schemes.is_empty() {
        text += "    security: # the schemes of the specification, and the secrets for them\n";
        for scheme in schemes.keys() {
            let _ = writeln!(text, "      {}: {}", yaml_text(scheme), secret(scheme));
        }
        text += &outgoing(private);
        text += "\n# In fastagency.yaml. Each secret is sent to its hosts and to no others.\nsecrets:\n";
        for (scheme, used) in &schemes {
            let hosts: Vec<&str> = used.hosts.iter().map(String::as_str).collect();
            let name = secret(scheme);
            let kind = &used.scheme.kind;
            let line = secret_line(&used.scheme, &name, &hosts);
            let _ = writeln!(text, "  # {}\n  {name}: {line}", described(kind));
            if needs_person(kind) {
                let _ = writeln!(text, "  # a person signs in once, before the first run: fastagency login {name}");
            }
            if is_token(kind) {
                let hosts: Vec<String> = hosts.iter().map(|host| yaml_text(host)).collect();
                let _ = writeln!(
                    text,
                    "  # or by a program that prints a token: {{ command: [PROGRAM, ARGUMENT], refresh: 5m, hosts: [{}] }}",
                    hosts.join(", ")
                );
            }
        }
    }
    if schemes.is_empty() {
        text += &outgoing(private);
    }
    for (scheme, kind) in others {
        let never = if unsupported(&kind).is_some() { ", which is not supported" } else { "" };
        let _ = writeln!(text, "# Some operations take {scheme} as well: {}{never}.", described(&kind));
    }
    for tool in tools {
        if let Some(why) = never_allowed(tool.security()) {
            let _ = writeln!(text, "# {}: {why}.", tool.name);
        }
    }
    text
}

/// What lets workflows ask these hosts.
fn outgoing(private: &BTreeSet<String>) -> String {
    if private.is_empty() {
        return String::new();
    }
    let hosts: Vec<String> = private.iter().map(|host| yaml_text(host)).collect();
    format!(
        "\n# In fastagency.yaml. Workflows ask addresses of this machine and its network only where they are named.\n\
         outgoing: {{ allow_private: [{}] }}\n",
        hosts.join(", ")
    )
}

fn is_token(kind: &SecuritySchemeKind) -> bool {
    matches!(
        kind,
        SecuritySchemeKind::HttpBearer { .. }
            | SecuritySchemeKind::OAuth2(_)
            | SecuritySchemeKind::OpenIdConnect { .. }
    )
}

/// The schemes of the first alternatives that can be satisfied, and those of all others.
fn schemes(tools: &[OpenApiTool]) -> (BTreeMap<String, SchemeUse>, BTreeMap<String, SecuritySchemeKind>) {
    let mut used: BTreeMap<String, SchemeUse> = BTreeMap::new();
    for tool in tools {
        let host = tool.server(&ServerChoice::default()).ok().and_then(|url| Some(url.host_str()?.to_owned()));
        for scheme in first(tool.security()) {
            let of_scheme = used
                .entry(scheme.name.clone())
                .or_insert_with(|| SchemeUse { scheme: scheme.clone(), hosts: BTreeSet::new() });
            for scope in &scheme.scopes {
                if !of_scheme.scheme.scopes.contains(scope) {
                    of_scheme.scheme.scopes.push(scope.clone());
                }
            }
            of_scheme.hosts.insert(host.clone().unwrap_or_else(|| NO_HOST.to_owned()));
        }
    }
    let all = tools.iter().flat_map(|tool| tool.security()).flat_map(|one| &one.schemes);
    let others = all.filter(|scheme| !used.contains_key(&scheme.name));
    let others = others.map(|scheme| (scheme.name.clone(), scheme.kind.clone())).collect();
    (used, others)
}

fn first(alternatives: &[SecurityAlternative]) -> &[RequiredScheme] {
    let can_be = |scheme: &RequiredScheme| {
        !matches!(scheme.kind, SecuritySchemeKind::Unknown { .. } | SecuritySchemeKind::HttpOther { .. })
    };
    let usable = |one: &&SecurityAlternative| !one.schemes.is_empty() && one.schemes.iter().all(can_be);
    alternatives.iter().find(usable).map_or(&[], |one| &one.schemes)
}
