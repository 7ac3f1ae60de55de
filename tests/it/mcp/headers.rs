//! Arguments that go into headers (`x-mcp-header`, 2026-07-28).

use parking_lot::Mutex;

use super::fake_server::FakeServer;
use super::*;

#[tokio::test]
async fn an_argument_goes_into_its_header_and_a_tool_is_not_left_out_in_silence() {
    let sent = Arc::<Mutex<Vec<String>>>::default();
    let noted = sent.clone();
    let server = FakeServer::start(move |method, params, headers| {
        let tool = |name: &str, header: &str| {
            let region = json!({"type": "string", "x-mcp-header": header});
            json!({"name": name, "inputSchema": {"type": "object", "properties": {"region": region}}})
        };
        let tools = json!([tool("search", "Region"), tool("broken", "")]);
        Ok(match method {
            "tools/list" => json!({"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}),
            "tools/call" => {
                let header = headers.get("mcp-param-region").map_or("", |value| value.to_str().unwrap());
                noted.lock().push(format!("{header} {}", params["arguments"]));
                json!({"resultType": "complete", "content": [{"type": "text", "text": "found"}]})
            }
            _ => Value::Null,
        })
    })
    .await;
    let log = LogText::default();
    let servers = worker(&server.config());
    let tools = toolset(&servers);
    let listed = log.of(tools.list()).await.unwrap();
    assert_eq!(listed.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["search"]);
    let why = "a tool of docs is left out: \"broken\" has an x-mcp-header that cannot be used";
    assert!(log.text().contains(why), "{}", log.text());
    assert_eq!(value(call(&tools, "search", json!({"region": "eu"})).await), "found");
    assert_eq!(*sent.lock(), [r#"eu {"region":"eu"}"#]);
    servers.close().await;
}

/// What is logged.
#[derive(Clone, Default)]
struct LogText(Arc<Mutex<Vec<u8>>>);

impl LogText {
    /// While this is waited for.
    async fn of<T>(&self, what: impl Future<Output = T>) -> T {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        what.await
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for LogText {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
