//! Servers of 2025-11-25 at an address: what they are offered, and what becomes of a call whose session they do not know any more.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use parking_lot::Mutex;

use super::fake_server::FakeServer;
use super::*;

/// A server whose sessions are over for so many calls; and the revisions that it was offered.
async fn forgetful(refused: usize) -> (FakeServer, Arc<Mutex<Vec<Value>>>) {
    let left = AtomicUsize::new(refused);
    let offered = Arc::<Mutex<Vec<Value>>>::default();
    let noted = offered.clone();
    let server = FakeServer::start(move |method, params, _| match method {
        "server/discover" => Ok(json!({"jsonrpc_error": {"code": -32601, "message": "Method not found"}})),
        "initialize" => {
            noted.lock().push(params["protocolVersion"].clone());
            Ok(Value::Null)
        }
        "tools/list" => Ok(json!({"tools": [{"name": "say", "inputSchema": {"type": "object"}}]})),
        "tools/call" if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() => {
            Err(StatusCode::NOT_FOUND)
        }
        "tools/call" => Ok(json!({"content": [{"type": "text", "text": "said"}]})),
        _ => Ok(Value::Null),
    })
    .await;
    (server, offered)
}

fn times(server: &FakeServer, method: &str) -> usize {
    server.asked().iter().filter(|asked| *asked == method).count()
}

#[tokio::test]
async fn a_server_is_asked_for_its_revision_once_and_offered_the_one_that_it_speaks() {
    let (server, offered) = forgetful(1).await;
    let servers = worker(&server.config());
    let tools = toolset(&servers);
    for _ in 0..2 {
        assert_eq!(value(call(&tools, "say", no_arguments()).await), "said");
    }
    assert_eq!(*offered.lock(), ["2025-11-25", "2025-11-25"], "in the first session, and in the one after it");
    assert_eq!((times(&server, "server/discover"), times(&server, "tools/call")), (1, 3), "{:?}", server.asked());
    servers.close().await;
    // Another server is asked for itself.
    let (other, offered) = forgetful(0).await;
    let both = BTreeMap::from([(docs(), other.config()), (Name::parse("more").unwrap(), server.config())]);
    let http = Arc::new(HttpSender::new(AddressRules::new(&["127.0.0.1".to_owned()]), None));
    let servers = Arc::new(McpServers::new(&both, &http, &BTreeMap::new(), &tokens(), &Arc::default()));
    assert_eq!(value(call(&toolset(&servers), "say", no_arguments()).await), "said");
    assert_eq!((times(&other, "server/discover"), times(&server, "server/discover")), (1, 1));
    assert_eq!(*offered.lock(), ["2025-11-25"]);
    servers.close().await;
}

#[tokio::test]
async fn a_session_that_is_over_is_begun_anew_once_for_a_call() {
    let (server, offered) = forgetful(usize::MAX).await;
    let servers = worker(&server.config());
    let error = call(&toolset(&servers), "say", no_arguments()).await.unwrap_err();
    let words = "the MCP server docs cannot be used: its connection is lost again and again";
    assert_eq!(error, ToolsetError::Unavailable(words.to_owned()));
    assert_eq!((times(&server, "tools/call"), offered.lock().len()), (2, 2), "{:?}", server.asked());
    servers.close().await;
}
