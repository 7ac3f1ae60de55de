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
        "the MCP server docs cannot be used: its program \"no-such-program-0815\" is not there (fastagency.yaml: mcp.docs.command)"
    );
    let ended = |how: &str| format!("the MCP server docs cannot be used: its program {how}");
    let silent_end = ended("ended with exit code 0 before it answered anything");
    assert_eq!(refusal(&words(&["true"])).await, silent_end);
    for (script, how) in [
        (
            "echo No module named docs_0815 >&2; exit 3",
            "ended with exit code 3 before it answered anything; the log has its last words",
        ),
        ("kill -9 $$", "was ended by signal 9 before it answered anything"),
        (
            "echo Usage: docs PORT; exit 2",
            "ended with exit code 2 before it answered anything; what it wrote to its standard output is no MCP: the log has the first line",
        ),
    ] {
        assert_eq!(refusal(&words(&["sh", "-c", script])).await, ended(how));
    }
    let silent = McpServerConfig { timeout: Duration::from_millis(300), ..words(&["sleep", "1000"]) };
    assert_eq!(refusal(&silent).await, "the MCP server docs cannot be used: it did not begin within 300ms");
    let other = McpServerConfig {
        timeout: Duration::from_secs(2),
        ..words(&["sh", "-c", "echo Listening on http://localhost:8080; exec sleep 1000"])
    };
    assert_eq!(
        refusal(&other).await,
        "the MCP server docs cannot be used: it did not begin within 2s; what it wrote to its standard output is no MCP: the log has the first line"
    );
}

/// What the command `tools call` says of a tool of the server `docs`, which is a shell script; its output, and its error.
fn called(script: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("workflows")).unwrap();
    std::fs::write(at("docs.sh"), script).unwrap();
    let config = "version: 1\nmcp: { docs: { command: [sh, docs.sh], env: { DOCS_KEY: sesame-0815 } } }\n";
    std::fs::write(at("fastagency.yaml"), config).unwrap();
    let workflow = "version: 1\nname: w\ntools:\n  docs: { mcp: docs }\nsteps:\n  - return: 1\n";
    std::fs::write(at("workflows/w.yaml"), workflow).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(["tools", "call", "w", "be", "--args", r#"{"how": "well"}"#]).current_dir(folder.path());
    let said = command.env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL").env_remove("RUST_LOG").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(said.stdout), text(said.stderr))
}

/// The model reads how the program ended; its own words, which name paths and other things of this machine, are for the log.
#[test]
fn why_a_program_ends_at_once_is_in_the_log_with_its_last_words() {
    let (out, error) =
        called("for n in $(seq 40); do echo line $n >&2; done; echo cannot open /srv/$DOCS_KEY >&2; exit 3");
    assert_eq!(out, "");
    let warnings: Vec<&str> = error.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{error}");
    let how = "docs: its program ended with exit code 3 before it answered anything. Its last words: line 26 | ";
    assert!(warnings[0].contains(how), "{error}");
    assert!(warnings[0].ends_with(" | line 40 | cannot open /srv/[secret docs.DOCS_KEY] mcp.server=docs"), "{error}");
    let told = error.lines().last().unwrap();
    assert_eq!(
        told,
        "error: tools.docs: the MCP server docs cannot be used: its program ended with exit code 3 before it answered anything; \
         the log has its last words"
    );
}

#[test]
fn lines_that_are_no_messages_are_passed_over_with_one_warning_that_quotes_the_first() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/bad.py");
    let script = format!(
        "echo Docs 1.2 with $DOCS_KEY; for n in $(seq 20); do echo Loading $n; done; exec python3 {} numbers",
        server.display()
    );
    let (out, error) = called(&script);
    assert_eq!(out, "well\n", "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("such lines are passed over. The first: Docs 1.2 with [secret docs.DOCS_KEY]"), "{error}");
}

#[tokio::test]
async fn how_a_program_ended_is_said_by_the_call_that_it_was_lost_in() {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/bad.py");
    let words = [Path::new("python3"), &script, &folder.path().join("numbers")];
    let servers = worker(&command(&words.map(|word| word.to_str().unwrap().to_owned())));
    let lost = call(&toolset(&servers), "be", json!({"how": "dead"})).await;
    let why = "the MCP server docs was lost during the call, so nobody knows whether it was done: its program ended with exit code 3";
    assert_eq!(lost, Err(ToolsetError::Lost(why.to_owned())));
    servers.close().await;
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

/// As the Python SDK answers in 2026-07-28 to a tool that asks; some servers make a result of it.
#[tokio::test]
async fn a_server_that_asks_only_in_an_older_revision_is_told_from_a_tool_that_fails() {
    let refused =
        "Cannot send 'elicitation/create': this transport context has no back-channel for server-initiated requests.";
    let server = FakeServer::start(move |method, params, _| {
        let names = ["error", "result", "other"];
        let tools = names.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
        Ok(match (method, params["name"].as_str()) {
            ("tools/list", _) => json!({"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}),
            ("tools/call", Some("error")) => json!({"jsonrpc_error": {"code": -32600, "message": refused}}),
            ("tools/call", Some(name)) => {
                let text = if name == "other" { "no elicitation today" } else { refused };
                json!({"resultType": "complete", "isError": true, "content": [{"type": "text", "text": text}]})
            }
            _ => Value::Null,
        })
    })
    .await;
    let servers = worker(&server.config());
    let tools = toolset(&servers);
    let repair = "write in fastagency.yaml: mcp: { docs: { protocol: \"2025-11-25\" } }";
    for name in ["error", "result"] {
        let why = call(&tools, name, json!({})).await.unwrap_err().to_string();
        assert!(why.starts_with(refused) && why.ends_with(repair), "{name}: {why}");
    }
    assert_eq!(call(&tools, "other", json!({})).await.unwrap_err().to_string(), "no elicitation today");
    servers.close().await;
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
