//! One run that shows every kind of tool its secrets, and each of them sends them back in what it says, prints and fails with: the
//! secrets are then looked for in all that a deployment stores, logs, sends and shows.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_nats::jetstream;
use async_nats::service::ServiceExt;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fastagency::ids::RunId;
use futures_util::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::client::{Heard, client, hear, say, socket};
use crate::support::eventually::{eventually, soon};
use crate::support::http::{Event, Gateways};
use crate::support::nats_server::NatsServer;
use crate::support::project::Project;
use crate::support::tier::Tier;

/// The secrets: what they are for, and their values.
const SECRETS: [(&str, &str); 18] = [
    ("header_http", "sesame-0001-header-http"),
    ("argument_http", "sesame-0002/argument+http"),
    ("key_api", "sesame-0003-key-api"),
    ("argument_api", "sesame-0004-argument-api"),
    ("client_api", "sesame-0005-client-api"),
    ("token_api", "sesame-0006-token-api"),
    ("argument_python", "sesame-0007-argument-python"),
    ("env_python", "sesame-0008-env-python"),
    ("argument_stdio", "sesame-0009-argument-stdio"),
    ("env_stdio", "sesame-0010-env-stdio"),
    ("argument_mcp", "sesame-0011-argument-mcp"),
    ("header_mcp", "sesame-0012-header-mcp"),
    ("argument_command", "sesame-0013-argument-command"),
    ("env_command", "sesame-0014-env-command"),
    ("argument_nats", "sesame-0015-argument-nats"),
    ("file_command", "sesame-0016-file-command"),
    ("printed_python", "sesame-0017-printed-python"),
    ("basic_api", "sesame-0018-basic-api"),
];

/// Every call of the script but the last, which a person is asked about: the tool, and the secrets that it is shown.
const CALLS: [(&str, &[&str]); 17] = [
    ("call_http", &["header_http", "argument_http"]),
    ("broken_http", &["argument_http"]),
    ("keyed", &["key_api", "argument_api"]),
    ("basic", &["basic_api"]),
    ("granted", &["token_api", "argument_api"]),
    ("refused", &["key_api", "argument_api"]),
    ("remember", &["argument_python", "env_python"]),
    ("forget", &["argument_python"]),
    ("printed", &["printed_python"]),
    ("books_lend", &["argument_stdio", "env_stdio"]),
    ("books_lose", &["argument_stdio"]),
    ("shelf_lend", &["argument_mcp", "header_mcp"]),
    ("shelf_lose", &["argument_mcp"]),
    ("report", &["argument_command", "env_command", "file_command"]),
    ("broken_report", &["argument_command"]),
    ("lookup", &["argument_nats"]),
    ("broken_lookup", &["argument_nats"]),
];

fn value_of(name: &str) -> &'static str {
    SECRETS.iter().find(|(known, _)| *known == name).expect("a secret").1
}

const WORKFLOW: &str = r#"
version: 1
name: secrets
agents:
  clerk:
    system_message: You call what there is.
    tools: [call_http, broken_http, api, python, printed, books, shelf, report, broken_report, lookup, broken_lookup, pay]
tools:
  call_http:
    description: Sends a note
    params: &params { type: object, properties: { note: { type: string }, api_key: { type: string } } }
    inject: { api_key: { secret: argument_http } }
    http:
      url: SERVER/echo
      headers: { Authorization: "Bearer {{ secrets.header_http }}" }
      query: { again: "{{ args.api_key }}" }
      json: { note: "{{ args.note }}", api_key: "{{ args.api_key }}" }
  broken_http:
    description: Fails
    params: *params
    inject: { api_key: { secret: argument_http } }
    http: POST SERVER/broken
  api:
    openapi: SERVER/openapi.json
    inject: { api_key: { secret: argument_api } }
    security: { key: key_api, oauth: oauth_api, basic: basic_api }
  python: { python: tools.py, inject: { api_key: { secret: argument_python } } }
  printed: { python: "printed.py:printed", inject: { api_key: { secret: printed_python } } }
  books: { mcp: books, prefix: books_, inject: { api_key: { secret: argument_stdio } } }
  shelf: { mcp: shelf, prefix: shelf_, inject: { api_key: { secret: argument_mcp } } }
  report:
    description: Reports
    params: *params
    inject: { api_key: { secret: argument_command }, from_file: { secret: file_command } }
    command: report
  broken_report:
    description: Fails
    params: *params
    inject: { api_key: { secret: argument_command } }
    command: broken
  lookup:
    description: Looks up
    params: *params
    inject: { api_key: { secret: argument_nats } }
    nats: orders.lookup
  broken_lookup:
    description: Fails
    params: *params
    inject: { api_key: { secret: argument_nats } }
    nats: orders.broken
  pay:
    description: Pays
    params: *params
    approve: always
    inject: { api_key: { secret: argument_command } }
    command: report
steps:
  - id: reply
    agent: { agent: clerk, message: "Go on.", max_tool_rounds: 30 }
  - message: "{{ steps.reply }}"
  - return: "{{ steps.reply }}"
"#;

const TOOLS: &str = r#"
import os, sys

def remember(note: str, api_key: str) -> dict:
    """Remembers a note"""
    print("printed", api_key, os.environ["ENV_KEY"])
    print("said", api_key, file=sys.stderr)
    os.write(2, ("raw " + api_key + "\n").encode())
    return {"note": note, "api_key": api_key, api_key: [os.environ["ENV_KEY"]]}

def forget(note: str, api_key: str) -> str:
    """Forgets a note"""
    raise ValueError("cannot forget " + api_key)
"#;

const PRINTED: &str = r#"
def printed(note: str, api_key: str) -> str:
    """Repeats"""
    print(api_key)
    return "it is " + api_key
"#;

/// A server of 2025-11-25 over standard input.
const BOOKS: &str = r#"
import json, os, sys

tool = lambda name: {"name": name, "description": "Does " + name, "inputSchema": {"type": "object", "properties": {
    "note": {"type": "string"}, "api_key": {"type": "string"}}}}
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    method, params = message["method"], message.get("params") or {}
    print("asked", line.strip(), os.environ["ENV_KEY"], file=sys.stderr, flush=True)
    if method == "initialize":
        result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "books", "version": os.environ["ENV_KEY"]}}
    elif method == "tools/list":
        result = {"tools": [tool("lend"), tool("lose")]}
    elif method == "tools/call":
        text = json.dumps([params, os.environ["ENV_KEY"]])
        result = {"content": [{"type": "text", "text": text}], "isError": params["name"] == "lose"}
    else:
        result = {}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"#;

fn configuration(server: &str, nats: &str) -> String {
    let value = value_of;
    let mut secrets = String::new();
    let mut add = |name: &str, source: String, receivers: &str| {
        secrets += &format!("  {name}: {{ {source}, {receivers} }}\n");
    };
    let plain = |name: &str| format!("value: \"{}\"", value_of(name));
    let here = "hosts: [127.0.0.1]";
    for name in ["header_http", "argument_http", "key_api", "argument_api"] {
        add(name, plain(name), here);
    }
    add("basic_api", format!("username: me, password: \"{}\"", value("basic_api")), here);
    let oauth = format!(
        "oauth: {{ token_url: {server}/token, client_id: me, client_secret: \"{}\", scopes: [read] }}",
        value("client_api")
    );
    add("oauth_api", oauth, here);
    add("argument_python", plain("argument_python"), "tools: { python: [tools.py] }");
    let print = format!("command: [sh, -c, \"echo {}\"]", value("printed_python"));
    add("printed_python", print, "tools: { python: [printed.py] }");
    add("argument_stdio", plain("argument_stdio"), "tools: { mcp: [books] }");
    add("argument_mcp", plain("argument_mcp"), "tools: { mcp: [shelf] }");
    add("argument_command", plain("argument_command"), "tools: { command: [report, broken] }");
    add("file_command", "file: secret.txt".to_owned(), "tools: { command: [report] }");
    add("argument_nats", plain("argument_nats"), "tools: { nats: [orders.>] }");
    let (env_python, env_stdio, env_command, header) =
        (value("env_python"), value("env_stdio"), value("env_command"), value("header_mcp"));
    format!(
        r#"
version: 1
nats: {{ url: "{nats}" }}
llms: {{ default: {{ provider: compatible, model: m, base_url: "{server}/v1", stream: false }} }}
outgoing: {{ allow_private: [127.0.0.1] }}
secrets:
{secrets}
python: {{ interpreter: [python3, -S], folder: ., env: {{ ENV_KEY: "{env_python}" }} }}
mcp:
  books: {{ command: [python3, books.py], env: {{ ENV_KEY: "{env_stdio}" }}, protocol: "2025-11-25" }}
  shelf: {{ url: "{server}/mcp", headers: {{ Authorization: "Bearer {header}" }}, protocol: "2026-07-28" }}
commands:
  report: {{ run: [sh, -c, "echo $ENV_KEY >&2; tee /dev/stderr; echo $ENV_KEY"], env: {{ ENV_KEY: "{env_command}" }} }}
  broken: {{ run: [sh, -c, "cat >&2; exit 3"] }}
"#
    )
}

/// Everything that is asked: the model, the API, the token's server, the MCP server, each with what it got.
#[derive(Default)]
struct Desk {
    url: Mutex<String>,
    /// What tools were shown: path, headers and body.
    shown: Mutex<Vec<String>>,
    /// What the model was told.
    prompts: Mutex<Vec<(String, Value)>>,
}

async fn serve(desk: Arc<Desk>) -> JoinSet<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    *desk.url.lock() = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(desk);
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await.unwrap() });
    server
}

async fn answer(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let seen = format!("{} {:?} {body}", parts.uri, parts.headers);
    let json_body: Value = serde_json::from_str(&body).unwrap_or_default();
    match parts.uri.path() {
        "/v1/chat/completions" => {
            let number = {
                let mut prompts = desk.prompts.lock();
                prompts.push((seen, json_body));
                prompts.len()
            };
            axum::Json(reply(number)).into_response()
        }
        "/openapi.json" => axum::Json(specification(&desk.url.lock())).into_response(),
        "/token" => {
            desk.shown.lock().push(seen);
            let token = value_of("token_api");
            axum::Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600})).into_response()
        }
        "/mcp" => {
            desk.shown.lock().push(seen.clone());
            axum::Json(mcp_answer(&json_body, &seen)).into_response()
        }
        path => {
            desk.shown.lock().push(seen.clone());
            let status = if ["/broken", "/refused"].contains(&path) { StatusCode::IM_A_TEAPOT } else { StatusCode::OK };
            (
                status,
                [("x-echo", seen.replace(|letter: char| letter.is_control(), " "))],
                axum::Json(json!([seen, body])),
            )
                .into_response()
        }
    }
}

/// What the model says: all calls, then the one that a person is asked about, then a word.
fn reply(number: usize) -> Value {
    let call = |(place, tool): (usize, &str)| {
        let arguments = json!({"note": format!("note {place}"), "api_key": "made up by the model"}).to_string();
        json!({"id": format!("call{number}-{place}"), "type": "function", "function": {"name": tool, "arguments": arguments}})
    };
    let calls: Vec<Value> = match number {
        1 => CALLS.iter().map(|(tool, _)| *tool).enumerate().map(call).collect(),
        2 => vec![call((0, "pay"))],
        _ => Vec::new(),
    };
    let message = match calls.is_empty() {
        true => json!({"role": "assistant", "content": "All is done."}),
        false => json!({"role": "assistant", "content": null, "tool_calls": calls}),
    };
    let reason = if calls.is_empty() { "stop" } else { "tool_calls" };
    json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}]})
}

fn specification(url: &str) -> Value {
    let body = json!({"required": true, "content": {"application/json": {"schema": {"type": "object", "properties": {
        "note": {"type": "string"}, "api_key": {"type": "string"},
    }}}}});
    let operation =
        |id: &str, security: Value| json!({"post": {"operationId": id, "security": security, "requestBody": body}});
    json!({
        "openapi": "3.1.0", "info": {"title": "Echo", "version": "1"}, "servers": [{"url": url}],
        "components": {"securitySchemes": {
            "key": {"type": "apiKey", "in": "query", "name": "key"},
            "basic": {"type": "http", "scheme": "basic"},
            "oauth": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": format!("{url}/token"), "scopes": {"read": ""}}}},
        }},
        "paths": {
            "/keyed": operation("keyed", json!([{"key": []}])),
            "/basic": operation("basic", json!([{"basic": []}])),
            "/granted": operation("granted", json!([{"oauth": ["read"]}])),
            "/refused": operation("refused", json!([{"key": []}])),
        },
    })
}

/// A server of 2026-07-28.
fn mcp_answer(message: &Value, seen: &str) -> Value {
    let tool = |name: &str| {
        json!({"name": name, "description": format!("Does {name}"), "inputSchema": {"type": "object", "properties": {
            "note": {"type": "string"}, "api_key": {"type": "string"},
        }}})
    };
    let result = match message["method"].as_str() {
        Some("server/discover") => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "ttlMs": 60000, "cacheScope": "private",
        }),
        Some("tools/list") => {
            json!({"resultType": "complete", "tools": [tool("lend"), tool("lose")], "ttlMs": 60000, "cacheScope": "private"})
        }
        Some("tools/call") => json!({
            "resultType": "complete", "isError": message["params"]["name"] == "lose",
            "content": [{"type": "text", "text": seen}],
        }),
        _ => json!({}),
    };
    json!({"jsonrpc": "2.0", "id": message["id"], "result": result})
}

/// A service that echoes what it is asked: as its reply, and as its error.
async fn orders(nats: &str, desk: Arc<Desk>) -> async_nats::service::Service {
    let client = async_nats::connect(nats).await.unwrap();
    let service = client.service_builder().start("orders", "1.0.0").await.unwrap();
    for subject in ["orders.lookup", "orders.broken"] {
        let mut endpoint = service.endpoint(subject).await.unwrap();
        let desk = desk.clone();
        tokio::spawn(async move {
            while let Some(request) = endpoint.next().await {
                let payload = request.message.payload.clone();
                let text = String::from_utf8_lossy(&payload).into_owned();
                desk.shown.lock().push(format!("{subject} {text}"));
                let reply = match subject {
                    "orders.broken" => Err(async_nats::service::error::Error { status: text, code: 500 }),
                    _ => Ok(payload),
                };
                request.respond(reply).await.unwrap();
            }
        });
    }
    client.flush().await.unwrap();
    service
}

/// Every message of every stream: subject, headers and payload.
pub async fn stored(nats: &str) -> Vec<(String, String)> {
    let jetstream = jetstream::new(async_nats::connect(nats).await.unwrap());
    let names: Vec<String> = jetstream.stream_names().try_collect().await.unwrap();
    let mut found = Vec::new();
    for name in names {
        let stream = jetstream.get_stream(&name).await.unwrap();
        let state = stream.cached_info().state.clone();
        for sequence in state.first_sequence..=state.last_sequence {
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            found.push((format!("{name} {}", message.subject), format!("{:?} {payload}", message.headers)));
        }
    }
    found
}

/// Every file below a folder.
pub fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}

/// The first text under a key, however deep.
fn text_at(key: &str, value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => match fields.get(key).and_then(Value::as_str) {
            Some(text) => Some(text.to_owned()),
            None => fields.values().find_map(|value| text_at(key, value)),
        },
        Value::Array(items) => items.iter().find_map(|value| text_at(key, value)),
        _ => None,
    }
}

/// The forms in which a secret could stand somewhere.
fn forms(value: &str) -> Vec<String> {
    let encoded: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let mut forms = vec![value.to_owned(), encoded, value.replace('/', "%2F").replace('+', "%2B")];
    forms.push(value.replace('/', "\\/"));
    forms.push(fastagency::outside::hidden::basic_login("me", value));
    forms.sort();
    forms.dedup();
    forms
}

#[tokio::test]
async fn no_secret_of_a_tool_is_stored_logged_sent_or_shown() {
    let test = "secrets_nowhere::no_secret_of_a_tool_is_stored_logged_sent_or_shown";
    let Some(nats) = NatsServer::start(test) else { return };
    let desk = Arc::new(Desk::default());
    let _server = serve(desk.clone()).await;
    let server = desk.url.lock().clone();
    let _orders = orders(&nats.url(), desk.clone()).await;
    let workflow = WORKFLOW.replace("SERVER", &server);
    let project = Project::new(&configuration(&server, &nats.url()), &[("secrets.yaml", &workflow)]);
    let write = |name: &str, text: &str| std::fs::write(project.path().join(name), text).unwrap();
    write("tools.py", TOOLS);
    write("printed.py", PRINTED);
    write("books.py", BOOKS);
    write("secret.txt", &format!("{}\n", value_of("file_command")));

    let all = Some("trace,hyper=info,h2=info,mio=info,tokio=info");
    let mut worker = Tier::start_logging(project.path(), &["worker", "--metrics-listen", "127.0.0.1:0"], all);
    let worker_metrics = worker.url("metrics");
    worker.says("worker ready");
    let arguments = ["gateway", "--port", "0", "--metrics-listen", "127.0.0.1:0"];
    let mut gateway = Tier::start_logging(project.path(), &arguments, all);
    let gateway_metrics = gateway.url("metrics");
    let url = gateway.url("gateway");

    // The run is started over FastAgency's socket, which is listened to until its end.
    let run = RunId::random();
    let http = client();
    let get = async |path: &str| {
        let answer = http.get(format!("{url}{path}")).send().await.unwrap();
        let status = answer.status();
        (path.to_owned(), format!("{status} {:?} {}", answer.headers().clone(), answer.text().await.unwrap()))
    };
    eventually("the workflow is known", async || {
        let workflows = get("/api/workflows").await.1;
        workflows.contains("\"secrets\"").then_some(()).ok_or(workflows)
    })
    .await;
    let mut frames = socket(&url).await;
    let init = json!({"user_id": "None", "workflow_uuid": run.dashed(), "name": "secrets", "params": {}});
    say(&mut frames, init.to_string()).await;
    let mut found: Vec<(String, String)> = Vec::new();
    let (mut answered, mut open_questions) = (false, Vec::new());
    loop {
        let frame = match hear(&mut frames).await {
            Heard::Json(frame) => frame,
            _ => break,
        };
        found.push(("a frame of the socket".to_owned(), frame.to_string()));
        if !answered && frame.to_string().contains("May I call `pay`?") {
            let question = eventually("the question is there", async || {
                let view: Value = http.get(format!("{url}/api/runs/{run}")).send().await.unwrap().json().await.unwrap();
                view["question"]["id"].as_str().map(str::to_owned).ok_or(view)
            })
            .await;
            open_questions.push(get("/api/questions").await.1);
            let mut digest = None;
            let gateways = Gateways::new([url.clone()]);
            let find = |event: Event| {
                digest = text_at("digest", &event.data);
                digest.is_none()
            };
            gateways.follow(0, &run.to_string(), 0, find).await;
            let answer = json!({"value": {"decision": "once", "digest": digest.expect("a digest")}});
            let path = format!("{url}/api/runs/{run}/answers/{question}");
            let taken = http.post(path).json(&answer).send().await.unwrap();
            let status = taken.status();
            assert!(status.is_success(), "{status} {}", taken.text().await.unwrap_or_default());
            answered = true;
        }
        if frame["type"] == "workflow_completed" {
            break;
        }
    }
    assert!(answered, "a person was asked: {found:#?}");
    eventually("the run has ended", async || {
        let run = get(&format!("/api/runs/{run}")).await.1;
        run.contains("\"ended\"").then_some(()).ok_or(run)
    })
    .await;

    // Everything was shown its secrets, or nothing of the rest means anything.
    let shown = desk.shown.lock().join("\n");
    for (name, value) in SECRETS {
        let is_of_server = ["http", "api", "mcp", "nats"].iter().any(|kind| name.ends_with(kind));
        assert!(!is_of_server || forms(value).iter().any(|form| shown.contains(form)), "{name} was shown to nobody");
    }
    assert!(!shown.contains("made up by the model"), "what a model gives for a secret is sent to nobody: {shown}");

    // REST, events, exports, metrics, the command line, logs, streams, files.
    let paths =
        ["/api/runs", "/api/workflows", "/api/overview", "/api/workers", "/api/questions", "/openapi.json", "/"];
    let audit = ["/api/audit/runs", "/api/audit/events", "/api/audit/export", "/api/audit/export?format=csv"];
    let of_run = [
        format!("/api/runs/{run}"),
        format!("/api/runs/{run}/events"),
        format!("/api/audit/runs/{run}"),
        format!("/api/audit/events?run={run}"),
    ];
    for path in paths.into_iter().chain(audit).map(str::to_owned).chain(of_run) {
        found.push(soon(get(&path)).await);
    }
    found.extend(open_questions.into_iter().map(|text| ("an open question".to_owned(), text)));
    for metrics in [&worker_metrics, &gateway_metrics] {
        let text = http.get(metrics).send().await.unwrap().text().await.unwrap();
        assert!(text.contains("# HELP"), "{text}");
        found.push((metrics.clone(), text));
    }
    let id = run.to_string();
    for arguments in [
        &["check"][..],
        &["audit", "show", &id, "--nats"],
        &["audit", "show", &id, "--prompts", "--nats"],
        &["audit", "export", "--nats"],
        &["doctor"],
    ] {
        let said = std::process::Command::new(env!("CARGO_BIN_EXE_fastagency"))
            .args(arguments)
            .current_dir(project.path())
            .env_remove("NATS_URL")
            .output()
            .unwrap();
        let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        found.push((format!("fastagency {}", arguments.join(" ")), text));
    }
    found.extend(desk.prompts.lock().iter().map(|(prompt, _)| ("a prompt".to_owned(), prompt.clone())));
    found.extend(stored(&nats.url()).await);
    worker.terminate();
    gateway.terminate();
    for (name, tier) in [("worker", &mut worker), ("gateway", &mut gateway)] {
        found.extend(tier.heard().iter().map(|line| (format!("the log of the {name}"), line.clone())));
    }
    files(nats.store(), &mut found);

    let mut leaks = BTreeSet::new();
    for (name, value) in SECRETS {
        for form in forms(value) {
            let places = found.iter().filter(|(_, text)| text.contains(&form));
            leaks.extend(places.map(|(place, text)| {
                let at = text.find(&form).unwrap_or_default();
                let (from, to) = (text.floor_char_boundary(at.saturating_sub(80)), text.ceil_char_boundary(at + 60));
                format!("{name} stands in {place}: …{}…", &text[from..to.min(text.len())])
            }));
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");

    // What came back was hidden, and not left out: each call shows the names of its secrets.
    let last = desk.prompts.lock()[1].1.clone();
    let results = last["messages"].as_array().cloned().unwrap_or_default();
    for (place, (tool, secrets)) in CALLS.iter().enumerate() {
        let id = format!("call1-{place}");
        let result = results.iter().find(|message| message["tool_call_id"] == id.as_str());
        let result = result.map(|message| message["content"].to_string()).unwrap_or_default();
        for secret in *secrets {
            // The name by which its owner knows it: a variable of an environment, a header, or that of the token's secret.
            let is_named = result.contains(&format!("[secret {secret}]"))
                || result.contains("ENV_KEY]")
                || result.contains("Authorization]")
                || result.contains("[secret oauth_api]");
            assert!(is_named, "{tool} does not show {secret} by its name: {result}");
        }
    }
    let asked =
        found.iter().any(|(place, text)| place == "an open question" || text.contains("the secret `argument_command`"));
    assert!(asked, "the question for approval names the secret");
}
