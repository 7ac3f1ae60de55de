//! Tools of real MCP servers: the Python SDK of both eras, fastmcp, and the reference server of the TypeScript SDK, over standard
//! input and over HTTP. `scripts/mcp-servers.sh` installs them; what is not there is skipped by name.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fastagency::config::{McpAddress, McpCommand, McpReach, McpRevision, McpServerConfig};
use fastagency::ids::Name;
use fastagency::outside::addresses::AddressRules;
use fastagency::outside::http::HttpSender;
use fastagency::outside::mcp::{McpServers, McpToolset};
use fastagency::outside::secrets::{LocalTokenStore, TokenStore};
use fastagency::outside::toolset::{ElicitationAnswer, ResumedCall, Toolset, ToolsetAnswer, ToolsetCall, ToolsetError};
use serde_json::{Map, Value, json};

use crate::support::eventually::{PATIENCE, eventually};
use crate::support::ports::free_port;

mod agents;
mod bad_servers;
mod connections;
pub mod fake_server;
mod headers;
mod logins;
mod lost_workers;
mod questions;
mod results;
mod sentences;
mod sessions;

/// Longer than any server of the tests takes.
const LONG: Duration = Duration::from_secs(60);

/// A server that may be here or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// The Python SDK of 2026-07-28.
    Python2,
    /// The Python SDK of 2025-11-25.
    Python1,
    /// A framework on the Python SDK.
    FastMcp,
    /// The reference server of the TypeScript SDK.
    Everything,
}

impl Peer {
    /// The program and its arguments, or a word about the test that is skipped.
    fn words(self, test: &str, transport: &str) -> Option<Vec<String>> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
        let (folder, program, script) = match self {
            Self::Python2 => ("mcp-2.3.0", "bin/python", "tests/mcp/server.py"),
            Self::Python1 => ("mcp-1.28.1", "bin/python", "tests/mcp/server.py"),
            Self::FastMcp => ("fastmcp-4.2.3", "bin/python", "tests/mcp/fast.py"),
            Self::Everything => {
                let script = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
                ("mcp-everything-2026.8.31", "node", script)
            }
        };
        let folder = tools.join(folder);
        if !folder.join(".complete").exists() {
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no {} (scripts/mcp-servers.sh)", folder.display());
            return None;
        }
        let (program, script) = match self {
            Self::Everything => (PathBuf::from(program), folder.join(script)),
            _ => (folder.join(program), Path::new(env!("CARGO_MANIFEST_DIR")).join(script)),
        };
        let words = [program.into_os_string(), script.into_os_string(), transport.into()];
        Some(words.map(|word| word.into_string().expect("a path in UTF-8")).into())
    }

    /// As a program that the worker starts.
    fn command(self, test: &str) -> Option<McpServerConfig> {
        Some(command(&self.words(test, "stdio")?))
    }

    /// As a server at an address, started beside the test.
    async fn served(self, test: &str) -> Option<ServedPeer> {
        self.served_with(test, &[]).await
    }

    /// The same with these variables in its environment.
    async fn served_with(self, test: &str, variables: &[(&str, &Path)]) -> Option<ServedPeer> {
        let port = free_port();
        let transport = if self == Self::Everything { "streamableHttp" } else { "http" };
        let mut words = self.words(test, transport)?;
        words.push(port.to_string());
        let mut child = Command::new(&words[0]);
        child.args(&words[1..]).env("PORT", port.to_string()).envs(variables.iter().copied());
        let child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server");
        let peer = ServedPeer { port, words, child };
        peer.is_up().await;
        Some(peer)
    }
}

/// A server beside the test, killed with it.
struct ServedPeer {
    port: u16,
    words: Vec<String>,
    child: Child,
}

impl ServedPeer {
    fn config(&self) -> McpServerConfig {
        address(&format!("http://127.0.0.1:{}/mcp", self.port))
    }

    async fn is_up(&self) {
        eventually("the server listens", async || tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await).await;
    }

    /// Kills it and starts another in its place, which knows none of its sessions.
    async fn restart(&mut self) {
        self.end();
        let mut child = Command::new(&self.words[0]);
        child.args(&self.words[1..]).env("PORT", self.port.to_string());
        self.child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server");
        self.is_up().await;
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ServedPeer {
    fn drop(&mut self) {
        self.end();
    }
}

fn config(reach: McpReach) -> McpServerConfig {
    McpServerConfig { reach, timeout: LONG, total: LONG * 2, only: Vec::new(), protocol: None }
}

fn command(words: &[String]) -> McpServerConfig {
    config(McpReach::Command(McpCommand {
        program: words[0].clone(),
        arguments: words[1..].to_vec(),
        environment: BTreeMap::new(),
        folder: PathBuf::new(),
    }))
}

fn address(url: &str) -> McpServerConfig {
    config(McpReach::Address(McpAddress { url: url.into(), headers: BTreeMap::new(), credential: None }))
}

/// The servers of a worker: one, by the name `docs`.
fn worker(config: &McpServerConfig) -> Arc<McpServers> {
    let http = Arc::new(HttpSender::new(AddressRules::new(&["127.0.0.1".to_owned()]), None));
    Arc::new(McpServers::new(
        &BTreeMap::from([(docs(), config.clone())]),
        &http,
        &BTreeMap::new(),
        &tokens(),
        &Arc::default(),
    ))
}

/// Where their tokens are kept.
fn tokens() -> Arc<dyn TokenStore> {
    Arc::new(LocalTokenStore::default())
}

fn docs() -> Name {
    Name::parse("docs").expect("a name")
}

fn toolset(servers: &Arc<McpServers>) -> McpToolset {
    servers.toolset(docs(), Vec::new())
}

/// A call with patience.
async fn call(tools: &McpToolset, tool: &str, arguments: Value) -> Result<ToolsetAnswer, ToolsetError> {
    call_within(tools, tool, arguments, LONG, None).await
}

/// A call that goes on.
async fn resume(
    tools: &McpToolset,
    tool: &str,
    arguments: Value,
    state: Value,
    answer: Option<ElicitationAnswer>,
) -> Result<ToolsetAnswer, ToolsetError> {
    call_within(tools, tool, arguments, LONG, Some(ResumedCall { state, answer })).await
}

async fn call_within(
    tools: &McpToolset,
    tool: &str,
    arguments: Value,
    within: Duration,
    resumed: Option<ResumedCall>,
) -> Result<ToolsetAnswer, ToolsetError> {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let call = ToolsetCall {
        tool,
        arguments: &arguments,
        secrets: &[],
        caller: None,
        key: "key-1",
        run: "run-1",
        within,
        max_result: 1000,
        resumed: resumed.as_ref(),
    };
    tokio::time::timeout(PATIENCE, tools.call(call)).await.expect("an answer in time")
}

/// The value of a call that is finished.
fn value(answer: Result<ToolsetAnswer, ToolsetError>) -> Value {
    match answer {
        Ok(ToolsetAnswer::Value(value)) => value,
        other => panic!("no value: {other:?}"),
    }
}

/// The words, the form and the state of a question.
fn question(answer: Result<ToolsetAnswer, ToolsetError>) -> (String, Value, Value) {
    match answer {
        Ok(ToolsetAnswer::Asks { message, schema, state }) => (message, schema, state),
        other => panic!("no question: {other:?}"),
    }
}

fn accept(content: Value) -> Option<ElicitationAnswer> {
    Some(ElicitationAnswer::Accept { content })
}

/// The configurations of a peer over both transports, and what must live as long as they are used.
async fn both(peer: Peer, test: &str) -> Vec<(String, McpServerConfig, Option<ServedPeer>)> {
    let mut all = Vec::new();
    if let Some(config) = peer.command(test) {
        all.push((format!("{peer:?} over stdio"), config, None));
    }
    if let Some(served) = peer.served(test).await {
        all.push((format!("{peer:?} over HTTP"), served.config(), Some(served)));
    }
    all
}

fn no_arguments() -> Value {
    Value::Object(Map::new())
}

fn size(size: u64) -> Option<ElicitationAnswer> {
    accept(json!({"size": size, "gift": true}))
}

fn with_protocol(config: &McpServerConfig, protocol: McpRevision) -> McpServerConfig {
    McpServerConfig { protocol: Some(protocol), ..config.clone() }
}
