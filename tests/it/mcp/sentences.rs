//! What is said when a server cannot be used, what is not shown, and what is left out.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;

use super::fake_server::{FakeServer, authorization};
use super::*;

async fn refusal(config: &McpServerConfig) -> String {
    let servers = worker(config);
    let error = toolset(&servers).list().await.unwrap_err();
    servers.close().await;
    match error {
        ToolsetError::Unavailable(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_used_is_said() {
    let words = |words: &[&str]| command(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    assert_eq!(
        refusal(&words(&["no-such-program-0815"])).await,
        "the MCP server docs cannot be used: its program, or its folder, was not found"
    );
    assert_eq!(refusal(&words(&["true"])).await, "the MCP server docs cannot be used: it has ended");
    let silent = McpServerConfig { timeout: Duration::from_millis(300), ..words(&["sleep", "1000"]) };
    assert_eq!(refusal(&silent).await, "the MCP server docs cannot be used: it did not begin within 300ms");
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_said() {
    let nobody = format!("http://127.0.0.1:{}/mcp", free_port());
    let why = refusal(&address(&nobody)).await;
    assert!(why.starts_with("the MCP server docs cannot be used: it cannot be reached: Connection refused"), "{why}");
    for (status, words) in [
        (401, "it wants a login (401 Unauthorized); give it one in fastagency.yaml"),
        (403, "it refuses this login (403 Forbidden)"),
        (503, "it answered 503 Service Unavailable"),
        (404, "its address is wrong: it answered 404 Not Found"),
        (302, "it redirects elsewhere (302 Found)"),
    ] {
        let server = FakeServer::start(move |_, _, _| Err(StatusCode::from_u16(status).unwrap())).await;
        let why = refusal(&server.config()).await;
        assert!(why.contains(words), "{status}: {why}");
        let asks_further = server.asked().iter().any(|method| method == "initialize");
        assert_eq!(asks_further, status == 404, "{status}: {:?}", server.asked());
    }
    let http = Arc::new(HttpSender::new(AddressRules::default(), None));
    let servers = BTreeMap::from([(docs(), address("http://127.0.0.1:9/mcp"))]);
    let servers = Arc::new(McpServers::new(&servers, &http, &BTreeMap::new(), &tokens(), &Arc::default()));
    let why = toolset(&servers).list().await.unwrap_err().to_string();
    assert!(why.contains("outgoing: { allow_private: [127.0.0.1] }"), "{why}");
}

/// A server that was down for a moment is a new one all the same.
#[tokio::test]
async fn a_server_that_was_down_is_asked_again() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    let server = FakeServer::start(move |method, _, _| match (down.load(Ordering::SeqCst), method) {
        (true, _) => Err(StatusCode::SERVICE_UNAVAILABLE),
        (_, "tools/list") => Ok(json!({"resultType": "complete", "tools": [], "ttlMs": 0, "cacheScope": "private"})),
        _ => Ok(Value::Null),
    })
    .await;
    let servers = worker(&server.config());
    let tools = toolset(&servers);
    assert!(tools.list().await.unwrap_err().to_string().contains("503"));
    is_down.store(false, Ordering::SeqCst);
    eventually("it is listed", async || tools.list().await).await;
    assert!(!server.asked().iter().any(|method| method == "initialize"), "{:?}", server.asked());
    servers.close().await;
}

#[tokio::test]
async fn what_cannot_be_called_is_left_out_and_all_pages_are_read() {
    let server = FakeServer::start(|method, params, _| {
        let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
        let page = |tools: Value, next: Value| {
            json!({"resultType": "complete", "tools": tools, "nextCursor": next, "ttlMs": 0, "cacheScope": "private"})
        };
        Ok(match (method, params["cursor"].as_str()) {
            ("tools/list", None) => page(json!([tool("a.b"), {"name": 7}, {"name": "bad"}]), json!("2")),
            ("tools/list", _) => page(json!([tool("c"), tool("a.b")]), Value::Null),
            ("tools/call", _) => json!({"resultType": "complete", "content": [{"type": "text", "text": params["name"]}]}),
            _ => Value::Null,
        })
    })
    .await;
    let servers = worker(&server.config());
    let tools = toolset(&servers);
    let names: Vec<String> = tools.list().await.unwrap().into_iter().map(|tool| tool.name).collect();
    assert_eq!(names, ["a_b", "c"]);
    assert_eq!(value(call(&tools, "a_b", no_arguments()).await), "a.b");
    servers.close().await;
}

#[tokio::test]
async fn a_header_is_sent_and_never_shown() {
    let server = FakeServer::start(|method, _, headers| {
        let said = authorization(headers).to_owned();
        Ok(match method {
            "tools/list" => json!({
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                "tools": [{"name": "who", "inputSchema": {"type": "object"}}],
            }),
            "tools/call" => json!({
                "resultType": "complete", "isError": false,
                "content": [{"type": "text", "text": format!("{said}, {}", said.replace("Bearer ", ""))}],
            }),
            _ => Value::Null,
        })
    })
    .await;
    let mut config = server.config();
    let McpReach::Address(address) = &mut config.reach else { unreachable!("it is an address") };
    address.headers.insert("Authorization".to_owned(), "Bearer sesame-0815".into());
    assert!(!format!("{config:?}").contains("sesame"));
    let servers = worker(&config);
    let tools = toolset(&servers);
    let said = value(call(&tools, "who", no_arguments()).await);
    assert_eq!(said, "[secret docs.headers.Authorization], [secret docs.Authorization]");
    assert!(!format!("{servers:?}").contains("sesame"));
    servers.close().await;
}
