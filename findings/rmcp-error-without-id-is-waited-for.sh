#!/usr/bin/env bash
# rmcp 3.11.0, client over Streamable HTTP: a request whose POST is answered with an HTTP error and a JSON-RPC error without an id, as
# MCP 2025-11-25 lets a server refuse what it cannot accept (Transports, Sending Messages to the Server), is never finished: the client
# hears the error and waits on. With the id in the same error the request fails at once. One would guess that the answer to a POST is the
# answer to the request in it.
# Builds a client on the crate alone and calls a server of 40 lines. Needs cargo and python3. Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "client"
version = "0.0.0"
edition = "2024"
[dependencies]
rmcp = { version = "=3.11.0", default-features = false, features = ["client", "transport-streamable-http-client-reqwest"] }
tokio = { version = "=1.54.1", features = ["rt", "macros", "time"] }
[workspace]
TOML
cat > "$folder/src/main.rs" <<'RUST'
use std::time::{Duration, Instant};
use rmcp::{ServiceExt, model::CallToolRequestParams, transport::StreamableHttpClientTransport};
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    let client = ().serve(StreamableHttpClientTransport::from_uri(url)).await.unwrap();
    for tool in ["with_id", "without_id"] {
        let begun = Instant::now();
        let called = tokio::time::timeout(Duration::from_secs(20), client.call_tool(CallToolRequestParams::new(tool))).await;
        match called {
            Err(_) => println!("{tool}: no answer after {} s", begun.elapsed().as_secs()),
            Ok(answer) => println!("{tool}: {}", answer.unwrap_err()),
        }
    }
}
RUST
cat > "$folder/server.py" <<'PY'
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def send(self, status, message=None):
        body = b"" if message is None else json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.send_response(status)
        if body: self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self): self.send(405)
    do_DELETE = do_GET
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, id = request.get("method"), request.get("id")
        if id is None: return self.send(202)
        if method == "initialize":
            return self.send(200, {"id": id, "result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}})
        error = {"error": {"code": -32600, "message": "this request cannot be accepted"}}
        if method == "tools/call" and request["params"]["name"] == "without_id":
            return self.send(400, error)
        self.send(400, {"id": id, **error})
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
PY
(cd "$folder" && CARGO_TARGET_DIR="$folder/target" cargo build --quiet)
python3 "$folder/server.py" > "$folder/port" &
server=$!
for _ in $(seq 100); do [ -s "$folder/port" ] && break; sleep 0.1; done
timeout 60 "$folder/target/debug/client" "http://127.0.0.1:$(cat "$folder/port")/mcp" | tee "$folder/said"
grep -q '^with_id: .*this request cannot be accepted' "$folder/said"
grep -q '^without_id: no answer after 20 s' "$folder/said"
