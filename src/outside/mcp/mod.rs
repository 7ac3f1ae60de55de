//! Tools of MCP servers (Model Context Protocol). The servers are those of `mcp:` in `fastagency.yaml`; workflows name them. What
//! knows the protocol's library, which changes with each of its releases, is in this module alone.
//!
//! Two kinds of revisions are spoken. With 2026-07-28 there is no session: a question is the result of a call, and its answer comes
//! with the same call made again, from whichever worker. Up to 2025-11-25 a server asks on the connection of the call, so that the
//! answer must come from the process that made it.

mod calls;
mod connection;
mod credential;
mod http_client;
mod listing;
mod pending;
mod probe;
mod process;
mod program_record;
mod questions;
mod requests;
mod results;
mod server;
mod stdio;
mod waiting;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::calls::ServerCall;
use self::connection::ConnectionOpener;
use self::credential::TokenSupply;
use self::server::McpServer;
use self::waiting::WaitingCalls;
use super::hidden::HiddenTexts;
use super::http::HttpSender;
use super::secrets::{Secrets, TokenStore};
use super::toolset::{ListedTool, Toolset, ToolsetAnswer, ToolsetCall, ToolsetError};
use super::toolsets::ToolsetOpener;
use crate::config::{McpCredential, McpReach, McpServerConfig, SecretConfig, SecretSource, SecretTools};
use crate::ids::Name;
use crate::openapi::ToolSelection;
use crate::workflow::ToolsetSource;

/// How long the connections may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

/// The MCP servers of a worker. Runs share their connections, which are opened at the first use.
#[derive(Debug)]
pub struct McpServers {
    servers: BTreeMap<Name, Arc<McpServer>>,
    waiting: WaitingCalls,
    tasks: TaskTracker,
    ending: CancellationToken,
}

/// The tools of an MCP server, or some of them.
#[derive(Debug)]
pub struct McpToolset {
    server: Name,
    only: Vec<String>,
    selection: ToolSelection,
    servers: Arc<McpServers>,
}

/// Opens the MCP servers that workflows name.
#[derive(Debug)]
pub struct McpTools(Arc<McpServers>);

impl McpServers {
    /// As a configuration has them. `secrets` are those of the project, and `hidden` is what no result shows either.
    pub fn new(
        servers: &BTreeMap<Name, McpServerConfig>,
        http: &Arc<HttpSender>,
        secrets: &BTreeMap<String, SecretConfig>,
        tokens: &Arc<dyn TokenStore>,
        hidden: &Arc<HiddenTexts>,
    ) -> Self {
        let (tasks, ending) = (TaskTracker::new(), CancellationToken::new());
        let each = servers.iter().map(|(name, config)| {
            let secrets = secrets_of(name, config, secrets, hidden).with_http(http.clone()).with_tokens(tokens.clone());
            let secrets = Arc::new(secrets);
            let opener = ConnectionOpener {
                name: name.clone(),
                config: config.clone(),
                http: http.clone(),
                supply: supply(name, config, &secrets).map(Arc::new),
                secrets,
                tasks: tasks.clone(),
                ending: ending.clone(),
            };
            (name.clone(), Arc::new(McpServer::new(opener)))
        });
        Self { servers: each.collect(), waiting: WaitingCalls::new(), tasks, ending }
    }

    /// The tools of a server that a workflow names; an empty `only` stands for all that the configuration allows.
    pub fn toolset(self: &Arc<Self>, server: Name, only: Vec<String>) -> McpToolset {
        McpToolset { server, only, selection: ToolSelection::default(), servers: self.clone() }
    }

    /// Why workflows cannot name this server; none: they can.
    pub fn refuses(&self, server: &Name) -> Option<String> {
        match self.servers.get(server) {
            Some(server) => server.refuses(),
            None => Some(format!("there is no MCP server {:?} (fastagency.yaml: mcp)", server.as_str())),
        }
    }

    /// Ends all connections, and the programs that were started. Waits for them, but not for ever.
    pub async fn close(&self) {
        self.ending.cancel();
        self.waiting.clear();
        self.tasks.close();
        if tokio::time::timeout(ENDS_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("{} tasks of MCP servers did not end within {ENDS_WITHIN:?}", self.tasks.len());
        }
    }
}

impl Drop for McpServers {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl McpTools {
    /// With the servers of a project.
    pub fn new(servers: McpServers) -> Self {
        Self(Arc::new(servers))
    }
}

#[async_trait]
impl ToolsetOpener for McpTools {
    fn open(&self, source: &ToolsetSource) -> Option<Result<Arc<dyn Toolset>, ToolsetError>> {
        let ToolsetSource::Mcp(source) = source else { return None };
        let opened = match self.0.refuses(&source.server) {
            Some(why) => Err(ToolsetError::Unavailable(why)),
            None => {
                let selection = ToolSelection { include: source.only.clone(), exclude: source.except.clone() };
                let set = McpToolset { selection, ..self.0.toolset(source.server.clone(), Vec::new()) };
                Ok(Arc::new(set) as Arc<dyn Toolset>)
            }
        };
        Some(opened)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

impl McpToolset {
    fn server(&self) -> Result<&Arc<McpServer>, ToolsetError> {
        self.servers
            .servers
            .get(&self.server)
            .ok_or_else(|| ToolsetError::Unavailable(self.servers.refuses(&self.server).unwrap_or_default()))
    }
}

#[async_trait]
impl Toolset for McpToolset {
    async fn list(&self) -> Result<Vec<ListedTool>, ToolsetError> {
        let server = self.server()?;
        let tools = server.tools().await?;
        let mut allowed = server.allowed(&tools, &self.only)?;
        let names: Vec<&str> = allowed.iter().map(|tool| tool.name.as_str()).collect();
        let unmatched = self.selection.unmatched_names(&names);
        if let Some(wrong) = self.selection.misspelt_exception(&names) {
            return Err(ToolsetError::Failed(format!("of the MCP server {} nothing is offered: {wrong}", self.server)));
        }
        let unmatched = unmatched.join(", ");
        if !unmatched.is_empty() {
            let (server, names) = (&self.server, names.join(", "));
            let words = format!("the MCP server {server} has no tool that matches {unmatched}; it has {names}");
            // Without any tool an agent would talk of what it cannot do.
            if !allowed.iter().any(|tool| self.selection.selects_name(&tool.name)) {
                return Err(ToolsetError::Failed(words));
            }
            tracing::warn!("{words}");
        }
        allowed.retain(|tool| self.selection.selects_name(&tool.name));
        Ok(allowed)
    }

    async fn call(&self, call: ToolsetCall<'_>) -> Result<ToolsetAnswer, ToolsetError> {
        let server = self.server()?;
        ServerCall { server, call, waiting: &self.servers.waiting }.make().await
    }
}

/// Where the token comes from that a server is shown.
fn supply(name: &Name, config: &McpServerConfig, secrets: &Arc<Secrets>) -> Option<TokenSupply> {
    let McpReach::Address(address) = &config.reach else { return None };
    let (name, is_login) = match address.credential.as_ref()? {
        McpCredential::Secret(secret) => (secret.clone(), secrets.login_grant(secret).is_some()),
        McpCredential::OAuth(oauth) => (name.to_string(), oauth.is_login()),
    };
    Some(TokenSupply { secrets: secrets.clone(), name, is_login })
}

/// What no text of a server may show: the project's secrets, the values of its headers, its environment, and what its address asks.
fn secrets_of(
    name: &Name,
    config: &McpServerConfig,
    secrets: &BTreeMap<String, SecretConfig>,
    hidden: &Arc<HiddenTexts>,
) -> Secrets {
    let mut all = secrets.clone();
    let mut add = |what: &str, value: &str| {
        all.insert(format!("{name}.{what}"), SecretConfig::only_hidden(Some(SecretString::from(value))));
    };
    match &config.reach {
        McpReach::Address(address) => {
            for (header, value) in &address.headers {
                let value = value.expose_secret();
                // Of `Bearer abc` a server may repeat the second word alone.
                if let Some((_, last)) = value.rsplit_once(' ') {
                    add(header, last);
                }
                add(&format!("headers.{header}"), value);
            }
            let url = Url::parse(address.url.expose_secret()).ok();
            for (key, value) in url.iter().flat_map(|url| url.query_pairs()) {
                add(&format!("url.{key}"), &value);
            }
        }
        McpReach::Command(command) => {
            for (variable, value) in command.environment.iter().filter(|(name, _)| names_a_secret(name)) {
                add(variable, value.expose_secret());
            }
        }
    }
    if let McpReach::Address(address) = &config.reach
        && let Some(oauth) = address.oauth()
    {
        let host = Url::parse(address.url.expose_secret()).ok().and_then(|url| url.host_str().map(str::to_owned));
        let source = SecretSource::OAuth(Box::new(oauth.clone()));
        let secret =
            SecretConfig { source, hosts: host.into_iter().collect(), tools: SecretTools::default(), missing: None };
        all.insert(name.to_string(), secret);
    }
    Secrets::new(all).beside(hidden)
}

/// Whether a variable of an environment holds a secret, as its name says: `LOG_LEVEL` stays readable in results.
fn names_a_secret(variable: &str) -> bool {
    crate::yaml::secrets::is_secret(variable)
}
