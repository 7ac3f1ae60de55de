//! Lists the tools of the MCP server at an address, calls each of them with made-up arguments, and accepts what they ask with the
//! defaults of the form. `scripts/mcp-conformance.sh` plays the scenarios of the protocol's conformance suite with it.
//!
//!     mcp_client URL

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fastagency::config::{McpAddress, McpReach, McpServerConfig};
use fastagency::ids::Name;
use fastagency::outside::addresses::AddressRules;
use fastagency::outside::http::HttpSender;
use fastagency::outside::mcp::{McpServers, McpToolset};
use fastagency::outside::secrets::LocalTokenStore;
use fastagency::outside::toolset::{ElicitationAnswer, ListedTool, ResumedCall, Toolset, ToolsetAnswer, ToolsetCall};
use serde_json::{Map, Value, json};

/// How long each call may be silent.
const WITHIN: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).map(PathBuf::from).context("mcp_client URL")?;
    let url = url.to_str().context("an address")?;
    let config = McpServerConfig {
        reach: McpReach::Address(McpAddress { url: url.into(), headers: BTreeMap::new(), credential: None }),
        timeout: WITHIN,
        total: WITHIN,
        only: Vec::new(),
        protocol: None,
    };
    let rules = AddressRules::new(&["localhost".to_owned(), "127.0.0.0/8".to_owned(), "::1".to_owned()]);
    let http = Arc::new(HttpSender::new(rules, None));
    let name = Name::parse("server").expect("a name");
    let (servers, tokens) = (BTreeMap::from([(name.clone(), config)]), Arc::new(LocalTokenStore::default()) as _);
    let servers = Arc::new(McpServers::new(&servers, &http, &BTreeMap::new(), &tokens, &Arc::default()));
    let tools = servers.toolset(name, Vec::new());
    for tool in tools.list().await? {
        println!("{}: {:?}", tool.name, call(&tools, &tool).await?);
    }
    servers.close().await;
    Ok(())
}

/// Calls a tool, and goes on with the call until it is done.
async fn call(tools: &McpToolset, tool: &ListedTool) -> Result<Value> {
    let arguments = made_up(&tool.params);
    let mut resumed: Option<ResumedCall> = None;
    loop {
        let call = ToolsetCall {
            tool: &tool.name,
            arguments: &arguments,
            secrets: &[],
            caller: None,
            key: "key",
            run: "run",
            within: WITHIN,
            max_result: 10_000,
            resumed: resumed.as_ref(),
        };
        resumed = match tools.call(call).await {
            Ok(ToolsetAnswer::Value(value)) => return Ok(value),
            Ok(ToolsetAnswer::Asks { schema, state, .. }) => {
                let content = Value::Object(made_up(&schema));
                Some(ResumedCall { state, answer: Some(ElicitationAnswer::Accept { content }) })
            }
            Ok(ToolsetAnswer::Continues { state, after_ms, .. }) => {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                Some(ResumedCall { state, answer: None })
            }
            Ok(ToolsetAnswer::CutOff { why }) => bail!("{why}"),
            Err(error) => bail!("{error}"),
        };
    }
}

/// Values for the fields of a schema: their defaults, or something of their type.
fn made_up(schema: &Value) -> Map<String, Value> {
    let fields = schema["properties"].as_object().into_iter().flatten();
    let value = |field: &Value| match (field.get("default"), field["type"].as_str()) {
        (Some(default), _) => default.clone(),
        (None, Some("number" | "integer")) => json!(2),
        (None, Some("boolean")) => json!(true),
        (None, Some("array")) => json!([]),
        (None, Some("object")) => json!({}),
        _ => field["enum"][0].as_str().unwrap_or("text").into(),
    };
    fields.map(|(name, field)| (name.clone(), value(field))).collect()
}
