//! A server as the runs of a worker share it: its connection, opened at the first use and again when it is lost, and its tools.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Url;
use rmcp::model::RequestMetaObject;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connection::{ConnectionOpener, McpConnection, SentRequest, result_json};
use super::http_client::LISTED_NAMES;
use super::listing::KnownTools;
use super::words::{NoAnswer, unavailable};
use crate::config::{McpReach, McpRevision, SecretSource};
use crate::outside::toolset::{ListedTool, ToolsetError};

/// Pages of a list of tools.
const MOST_PAGES: usize = 100;
/// Tools of a server.
const MOST_TOOLS: usize = 1000;
/// Calls of one server that a worker makes at once.
const MOST_CALLS: usize = 128;
/// Connections that one call each has for itself.
const MOST_OWN_CONNECTIONS: usize = 16;
/// How long a program may take to answer a ping after a call in which it gave no sign of life.
const PING_WITHIN: Duration = Duration::from_secs(5);
/// How long a server that could not be reached is left alone: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// A server.
#[derive(Debug)]
pub(super) struct McpServer {
    /// What opens its connections.
    pub(super) opener: ConnectionOpener,
    /// Room for calls.
    pub(super) room: Arc<Semaphore>,
    own_connections: Arc<Semaphore>,
    shared: tokio::sync::Mutex<SharedConnection>,
    revision: Mutex<Option<McpRevision>>,
    tools: Mutex<Option<Arc<KnownTools>>>,
    /// Whether it asks without saying for which call.
    asks_blindly: AtomicBool,
}

/// The connection that calls share.
#[derive(Debug, Default)]
struct SharedConnection {
    open: Option<Arc<McpConnection>>,
    failed: Option<OpeningFailure>,
}

/// Why it is not tried again at once.
#[derive(Debug, Clone)]
struct OpeningFailure {
    why: NoAnswer,
    until: Instant,
    pause: Duration,
}

/// A connection for a call.
#[derive(Debug)]
pub(super) struct CallConnection {
    /// The connection.
    pub(super) connection: Arc<McpConnection>,
    /// It has this one for itself.
    _own: Option<OwnedSemaphorePermit>,
}

impl McpServer {
    /// A server that was not used yet.
    pub(super) fn new(opener: ConnectionOpener) -> Self {
        Self {
            opener,
            room: Arc::new(Semaphore::new(MOST_CALLS)),
            own_connections: Arc::new(Semaphore::new(MOST_OWN_CONNECTIONS)),
            shared: tokio::sync::Mutex::default(),
            revision: Mutex::default(),
            tools: Mutex::default(),
            asks_blindly: AtomicBool::new(false),
        }
    }

    /// Why it cannot be used with the secret that it is shown; none: it can.
    pub(super) fn refuses(&self) -> Option<String> {
        let (supply, McpReach::Address(address)) = (self.opener.supply.as_ref()?, &self.opener.config.reach) else {
            return None;
        };
        let url = Url::parse(address.url.expose_secret()).ok()?;
        let why = supply.secrets.refuses_host(&supply.name, url.host_str().unwrap_or_default());
        why.or_else(|| match supply.secrets.source(&supply.name)? {
            SecretSource::Login { .. } | SecretSource::Certificate { .. } => {
                Some(format!("the secret {:?} is no token, which an MCP server needs", supply.name))
            }
            SecretSource::Caller(_) => Some(format!(
                "the secret {:?} is the caller's token, and all callers share the connection",
                supply.name
            )),
            _ => None,
        })
    }

    /// The connection that calls share.
    pub(super) async fn connection(&self) -> Result<Arc<McpConnection>, ToolsetError> {
        let name = &self.opener.name;
        // Held while it is opened: who comes meanwhile waits for the same one.
        let mut shared = self.shared.lock().await;
        if let Some(open) = shared.open.as_ref().filter(|open| !open.is_over()) {
            return Ok(open.clone());
        }
        if let Some(lost) = shared.open.take() {
            self.note_blind_questions(&lost);
            tracing::warn!(mcp.server = %name, "the connection to {name} was lost: it is opened again");
        }
        if let Some(failed) = shared.failed.as_ref().filter(|failed| failed.until > Instant::now()) {
            return Err(failed.why.clone().of_opening(name));
        }
        match self.open().await {
            Ok(opened) => {
                let opened = Arc::new(opened);
                *shared = SharedConnection { open: Some(opened.clone()), failed: None };
                Ok(opened)
            }
            Err(why) => {
                let pause = shared.failed.take().map_or(PAUSES[0], |failed| (failed.pause * 2).min(PAUSES[1]));
                shared.failed = Some(OpeningFailure { why: why.clone(), until: Instant::now() + pause, pause });
                Err(why.of_opening(name))
            }
        }
    }

    async fn open(&self) -> Result<McpConnection, NoAnswer> {
        let known = *self.revision.lock();
        let opened = match (self.opener.open(known).await, known) {
            // It may be another version of the server by now.
            (Err(NoAnswer::Failed(_) | NoAnswer::Refused(_)), Some(_)) => self.opener.open(None).await,
            (opened, _) => opened,
        };
        *self.revision.lock() = opened.as_ref().ok().map(|opened| opened.revision);
        opened
    }

    /// Lets a program go that says nothing to anything any more, so that the next call meets another one. Called where it gave no sign of
    /// life during a call: it may be at work, and then answers a ping.
    pub(super) fn check_life(self: &Arc<Self>, connection: &Arc<McpConnection>) {
        if !matches!(self.opener.config.reach, McpReach::Command(_)) || connection.is_over() {
            return;
        }
        let (server, connection) = (self.clone(), connection.clone());
        self.opener.tasks.spawn(async move {
            let answer = tokio::time::timeout(PING_WITHIN, connection.ping());
            tokio::select! {
                answered = answer => if answered == Ok(true) { return },
                () = connection.over() => return,
            }
            let name = &server.opener.name;
            tracing::warn!(mcp.server = %name, "{name} answers nothing any more: the next call starts it anew");
            server.forget(&connection).await;
        });
    }

    /// Leaves a connection to those who still use it.
    pub(super) async fn forget(&self, connection: &Arc<McpConnection>) {
        let mut shared = self.shared.lock().await;
        if shared.open.as_ref().is_some_and(|open| Arc::ptr_eq(open, connection)) {
            shared.open = None;
        }
    }

    /// A connection for a call: one of its own where the server does not say to which call its questions belong.
    pub(super) async fn connection_for_call(&self) -> Result<CallConnection, ToolsetError> {
        let shared = self.connection().await?;
        self.note_blind_questions(&shared);
        if !self.asks_blindly.load(Ordering::Relaxed) {
            return Ok(CallConnection { connection: shared, _own: None });
        }
        let Ok(own) = self.own_connections.clone().try_acquire_owned() else {
            return Err(unavailable(&self.opener.name, "too many of its calls wait for people"));
        };
        let opened = self.opener.open(Some(shared.revision)).await.map_err(|why| why.of_opening(&self.opener.name))?;
        Ok(CallConnection { connection: Arc::new(opened), _own: Some(own) })
    }

    fn note_blind_questions(&self, connection: &McpConnection) {
        if connection.calls.asks_blindly() && !self.asks_blindly.swap(true, Ordering::Relaxed) {
            let name = &self.opener.name;
            tracing::info!(
                mcp.server = %name,
                "{name} asks people without saying for which call: each call gets a connection of its own"
            );
        }
    }

    /// Its tools, as they are now; those of the last list while it cannot be reached.
    pub(super) async fn tools(&self) -> Result<Arc<KnownTools>, ToolsetError> {
        let last = || self.tools.lock().clone();
        let listed = async {
            let connection = self.connection().await?;
            match self.list(&connection).await {
                Err(why) if connection.is_over() || matches!(why, NoAnswer::SessionGone(_)) => {
                    self.forget(&connection).await;
                    let again = self.connection().await?;
                    self.list(&again).await.map_err(|why| why.of_opening(&self.opener.name))
                }
                listed => listed.map_err(|why| why.of_opening(&self.opener.name)),
            }
        };
        match (listed.await, last()) {
            (Err(why), Some(last)) => {
                let name = &self.opener.name;
                tracing::warn!(mcp.server = %name, "its last list of tools is taken: {why}");
                Ok(last)
            }
            (listed, _) => listed,
        }
    }

    /// What a call needs to know of the tools: listed on this connection once if the revision wants it, else at any time.
    pub(super) async fn tools_for_call(&self, connection: &McpConnection) -> Result<Arc<KnownTools>, NoAnswer> {
        // With 2026-07-28 over HTTP some arguments go into headers, as the list says.
        let is_listed_here =
            connection.revision == McpRevision::Session || !matches!(self.opener.config.reach, McpReach::Address(_));
        let last = self.tools.lock().clone();
        match last.filter(|_| is_listed_here) {
            Some(last) => Ok(last),
            None => connection.listed.get_or_try_init(|| self.list(connection)).await.cloned(),
        }
    }

    /// Lists the tools, all pages of it.
    pub(super) async fn list(&self, connection: &McpConnection) -> Result<Arc<KnownTools>, NoAnswer> {
        let (mut tools, mut left_out): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
        let mut cursor = Value::Null;
        for _ in 0..MOST_PAGES {
            let params = if cursor.is_null() { json!({}) } else { json!({"cursor": cursor}) };
            let mut page = self.ask(connection, "tools/list", params).await?;
            left_out.extend(taken_by_the_library(&page));
            match page.get_mut("tools").map(Value::take) {
                Some(Value::Array(more)) => tools.extend(more),
                _ => return Err(NoAnswer::Failed("its list of tools cannot be understood".to_owned())),
            }
            cursor = page.get_mut("nextCursor").map(Value::take).unwrap_or_default();
            if !cursor.is_string() || tools.len() >= MOST_TOOLS {
                break;
            }
        }
        if tools.len() > MOST_TOOLS || cursor.is_string() {
            let name = &self.opener.name;
            tracing::warn!(mcp.server = %name, "{name} has more than {MOST_TOOLS} tools: the rest is left out");
            tools.truncate(MOST_TOOLS);
        }
        let (known, warnings) = KnownTools::read(&tools, self.opener.secrets.hidden_texts());
        for warning in left_out.into_iter().chain(warnings) {
            let name = &self.opener.name;
            tracing::warn!(mcp.server = %name, "a tool of {name} is left out: {}", self.opener.secrets.hidden(&warning));
        }
        let known = Arc::new(known);
        *self.tools.lock() = Some(known.clone());
        // It is set already, or just being set, where a call has asked for it.
        let _ = connection.listed.set(known.clone());
        Ok(known)
    }

    /// Asks something that changes nothing.
    pub(super) async fn ask(
        &self,
        connection: &McpConnection,
        method: &'static str,
        params: Value,
    ) -> Result<Value, NoAnswer> {
        let secrets = &self.opener.secrets;
        let sent = match connection.send(method, params, RequestMetaObject::default()).await {
            Ok(sent) => sent,
            Err(error) => return Err(connection.no_answer(&error, secrets).await),
        };
        let SentRequest { handle, .. } = sent;
        let id = handle.id.clone();
        let answer = tokio::time::timeout(self.opener.config.timeout, handle.await_response()).await;
        connection.calls.leave(&id);
        match answer {
            Ok(Ok(result)) => Ok(result_json(&result)),
            Ok(Err(error)) => Err(connection.no_answer(&error, secrets).await),
            Err(_) => Err(NoAnswer::Lost(format!("it did not answer within {:?}", self.opener.config.timeout))),
        }
    }

    /// The tools of a list that workflows may call.
    pub(super) fn allowed(&self, tools: &KnownTools, only: &[String]) -> Result<Vec<ListedTool>, ToolsetError> {
        let name = &self.opener.name;
        let unknown = |unknown: Vec<String>| {
            const MOST: usize = 20;
            let known: Vec<&str> = tools.names().take(MOST).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            ToolsetError::Unavailable(format!(
                "the MCP server {name} has no tool {}; its tools: {known}",
                unknown.join(", ")
            ))
        };
        let by_operator = tools.only(&self.opener.config.only).map_err(unknown)?;
        let by_workflow = tools.only(only).map_err(unknown)?;
        let both = by_operator.iter().filter(|tool| by_workflow.iter().any(|other| other.own_name == tool.own_name));
        let listed: Vec<ListedTool> = both
            .map(|tool| tool.listed.clone().without_secrets(|value| self.opener.secrets.hidden_in(value)))
            .collect();
        match only.iter().find(|wanted| !listed.iter().any(|tool| is_called(tools, tool, wanted))) {
            Some(wanted) => Err(ToolsetError::Unavailable(format!(
                "workflows may not call the tool {wanted} of the MCP server {name} (fastagency.yaml: mcp.{name}.only)"
            ))),
            None => Ok(listed),
        }
    }
}

/// What is wrong with tools that the server listed, and that the library has taken from the list.
fn taken_by_the_library(page: &Value) -> Vec<String> {
    let names = page["_meta"][LISTED_NAMES].as_array().into_iter().flatten();
    let left =
        |name: &&Value| page["tools"].as_array().is_some_and(|tools| tools.iter().any(|tool| tool["name"] == **name));
    names.filter(|name| !left(name)).map(|name| format!("{name} has an x-mcp-header that cannot be used")).collect()
}

fn is_called(tools: &KnownTools, tool: &ListedTool, name: &str) -> bool {
    tool.name == name || tools.get(&tool.name).is_some_and(|known| known.own_name == name)
}
